//! Transport security: builds rustls configurations and wraps connections. Host names are always verified.

use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::codes::permanent;
use crate::ports::{KafkaError, KafkaTls};
use crate::tls::{self, Versions};

/// A byte stream, with or without TLS.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Builds the client's side of TLS once for all connections. Fails, permanently, on PEM that cannot be used; never
/// names its content.
pub(super) fn client_config(tls: &KafkaTls) -> Result<Arc<ClientConfig>, KafkaError> {
    let client = tls.client.as_ref().map(|(chain, key)| (chain.as_str(), key));
    let config = tls::client_config(tls.ca_pem.as_deref(), client, Versions::SinceTls12);
    config.map(Arc::new).map_err(|e| permanent(e.to_string()))
}

/// Runs the TLS handshake on `tcp` as a client of `host`.
pub(super) async fn handshake(
    config: Arc<ClientConfig>,
    host: &str,
    tcp: TcpStream,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, KafkaError> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| permanent(format!("failed to verify {host}: not a host name or address")))?;
    TlsConnector::from(config).connect(name, tcp).await.map_err(|e| error(host, &e))
}

/// What a failed handshake, or an alert read later, means. A certificate that is not trusted, a wrong host name and
/// a client certificate that was refused stay so; anything else may pass.
pub(super) fn error(host: &str, e: &std::io::Error) -> KafkaError {
    match e.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(inner) => refused(host, inner),
        None => super::codes::retry(format!("failed to set up TLS with {host}: {e}")),
    }
}

/// What a failed session with `host` means.
pub(super) fn refused(host: &str, e: &rustls::Error) -> KafkaError {
    permanent(match e {
        rustls::Error::InvalidCertificate(reason) => format!("failed to trust the certificate of {host}: {reason}"),
        rustls::Error::AlertReceived(alert) => {
            format!("failed to enter {host}: it refused the TLS session ({alert:?})")
        }
        other => format!("failed to set up TLS with {host}: {other}"),
    })
}

/// Whether the peer ended the session over the client's certificate. With TLS 1.3 that is seen only on reading, after
/// the handshake (RFC 8446, section 4.4.2.4 and appendix B.2).
pub(super) fn is_certificate_refusal(e: &std::io::Error) -> bool {
    use rustls::AlertDescription as Alert;
    let inner = e.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::AlertReceived(alert)) = inner else { return false };
    matches!(
        alert,
        Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::CertificateRequired
    )
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_rustls::TlsAcceptor;

    use super::{client_config, handshake};
    use crate::domain::secret::Secret;
    use crate::ports::{Disposition, KafkaError, KafkaTls};

    /// What serves TLS as `name`, and its certificate in PEM.
    pub fn server(name: &str) -> (TlsAcceptor, String) {
        let own = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)
            .unwrap();
        (TlsAcceptor::from(Arc::new(config)), own.cert.pem())
    }

    /// Serves TLS on loopback as `name`, and connects to it as `host` while trusting what `trust` makes of its
    /// certificate.
    async fn connect(name: &str, host: &str, trust: impl Fn(String) -> String) -> Result<(), KafkaError> {
        let (acceptor, pem) = server(name);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let (tcp, _) = listener.accept().await.unwrap();
            // The client's refusal is the point.
            let _ = acceptor.accept(tcp).await;
        });
        let tls = KafkaTls { ca_pem: Some(trust(pem)), client: None };
        let tcp = TcpStream::connect(address).await.unwrap();
        let result = handshake(client_config(&tls)?, host, tcp).await.map(|_| ());
        serving.await.unwrap();
        result
    }

    #[tokio::test]
    async fn a_trusted_certificate_of_the_right_name_lets_us_in() {
        assert_eq!(connect("localhost", "localhost", |pem| pem).await, Ok(()));
    }

    #[tokio::test]
    async fn a_certificate_for_another_host_is_refused_for_good() {
        let e = connect("elsewhere.test", "localhost", |pem| pem).await.unwrap_err();
        assert_eq!(e.disposition, Disposition::Permanent);
        assert!(e.message.starts_with("failed to trust the certificate of localhost: "), "{e}");
        assert!(e.message.contains("not valid for"), "{e}");
    }

    #[tokio::test]
    async fn a_certificate_of_an_unknown_authority_is_refused_for_good() {
        let other = |_| rcgen::generate_simple_self_signed(["other".to_owned()]).unwrap().cert.pem();
        let e = connect("localhost", "localhost", other).await.unwrap_err();
        assert_eq!(e.disposition, Disposition::Permanent);
        assert!(e.message.starts_with("failed to trust the certificate of localhost: "), "{e}");
    }

    #[test]
    fn pem_without_a_certificate_is_named_and_not_shown() {
        let tls = KafkaTls { ca_pem: Some("not pem".into()), client: None };
        let message = client_config(&tls).map(|_| ()).map_err(|e| e.message);
        assert_eq!(message, Err("failed to read the certificate authority: no certificate in the PEM".into()));
    }

    #[test]
    fn a_broken_private_key_is_not_shown() {
        let pem = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap().cert.pem();
        let tls = KafkaTls { ca_pem: Some(pem.clone()), client: Some((pem, Secret::new("hunter2"))) };
        let message = client_config(&tls).map(|_| ()).map_err(|e| e.message).unwrap_err();
        assert!(message.contains("private key") && !message.contains("hunter2"), "{message}");
    }
}
