//! TLS of the partner API. Whoever calls may show a certificate; its key is who the caller is, and nobody signs it: a partner made
//! it when it accepted.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context, anyhow};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use x509_parser::parse_x509_certificate;

/// How often the certificate is looked at.
const EVERY: Duration = Duration::from_secs(60);

/// Who calls.
#[derive(Clone, Debug)]
pub struct Peer {
    /// From where.
    pub address: IpAddr,
    /// SHA-256 of its public key (DER, SubjectPublicKeyInfo), in hexadecimal, where it showed a certificate.
    pub key: Option<String>,
}

impl Peer {
    /// Whoever is at the other end.
    pub fn of(stream: &TlsStream<TcpStream>, address: SocketAddr) -> Self {
        let shown = stream.get_ref().1.peer_certificates().and_then(|all| all.first());
        Self { address: address.ip(), key: shown.and_then(public_key_hash) }
    }
}

/// SHA-256 of a certificate's public key, in hexadecimal.
pub fn public_key_hash(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = parse_x509_certificate(certificate).ok()?;
    Some(hex::encode(Sha256::digest(parsed.tbs_certificate.subject_pki.raw)))
}

/// This server's certificate, as it is now.
#[derive(Clone)]
pub struct Certificates {
    directory: PathBuf,
    current: Arc<RwLock<(Vec<u8>, TlsAcceptor)>>,
}

impl Certificates {
    /// Reads `tls.crt` and `tls.key`.
    ///
    /// # Errors
    /// One is missing, or they do not go together.
    pub fn read(directory: &Path) -> anyhow::Result<Self> {
        let current = Arc::new(RwLock::new(load(directory)?));
        Ok(Self { directory: directory.to_owned(), current })
    }

    /// What new connections are accepted with.
    pub fn acceptor(&self) -> TlsAcceptor {
        self.current.read().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// Takes a new certificate when there is one; one that cannot be read leaves the present one.
    pub async fn keep_reading(self, shutdown: CancellationToken) {
        while tokio::time::timeout(EVERY, shutdown.cancelled()).await.is_err() {
            match load(&self.directory) {
                Ok(loaded) => {
                    let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
                    if current.0 != loaded.0 {
                        info!("the certificate was renewed");
                        *current = loaded;
                    }
                }
                Err(error) => {
                    warn!(error = format!("{error:#}"), "the certificate cannot be read; the one before stays")
                }
            }
        }
    }
}

fn load(directory: &Path) -> anyhow::Result<(Vec<u8>, TlsAcceptor)> {
    let read = |name: &str| {
        let path = directory.join(name);
        std::fs::read(&path).with_context(|| format!("failed to read {}", path.display()))
    };
    let (certificate, key) = (read("tls.crt")?, read("tls.key")?);
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&certificate).collect();
    let chain = chain.map_err(|e| anyhow!("tls.crt is no certificate in PEM: {e}"))?;
    let private = PrivateKeyDer::from_pem_slice(&key).map_err(|_| anyhow!("tls.key is no private key in PEM"))?;
    let provider = Arc::new(ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .context("TLS 1.3 is not to be had")?
        .with_client_cert_verifier(Arc::new(AnyKey(provider)))
        .with_single_cert(chain, private)
        .context("tls.crt and tls.key do not go together")?;
    Ok((certificate, TlsAcceptor::from(Arc::new(config))))
}

/// Accepts every certificate whose key the caller has.
#[derive(Debug)]
struct AnyKey(Arc<CryptoProvider>);

impl ClientCertVerifier for AnyKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
