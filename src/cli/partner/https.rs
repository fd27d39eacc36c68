//! Calls of the partner API.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, Uri, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::keys::Keys;
use crate::domain::exchange::Refusal;
use crate::domain::secret::Secret;

/// How long a call may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The largest answer that is read, in bytes.
const LARGEST: usize = 4 * 1024 * 1024;

/// The partner API, as somebody calls it.
pub struct Server {
    host: String,
    port: u16,
    tls: Arc<ClientConfig>,
    invitation: Option<Secret>,
}

impl Server {
    /// That at `url`, with a certificate or an invitation, or both.
    ///
    /// # Errors
    /// The address, an authority or a key cannot be read.
    pub fn new(url: &str, ca: Option<&Path>, keys: Option<&Keys>, invitation: Option<Secret>) -> anyhow::Result<Self> {
        let uri: Uri = url.parse().with_context(|| format!("failed to read the address {url:?}"))?;
        let host = uri.host().filter(|_| uri.scheme_str() == Some("https"));
        let host = host.ok_or_else(|| anyhow!("the address {url:?} is not of the form https://HOST:PORT"))?;
        // IPv6 literals come in brackets, which a name to verify has not.
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .context("TLS 1.3 is not to be had")?
            .with_root_certificates(authorities(ca)?);
        let tls = match keys {
            None => tls.with_no_client_auth(),
            Some(keys) => {
                let certificate = CertificateDer::from_pem_slice(keys.certificate_pem.as_bytes());
                let certificate = certificate.map_err(|e| anyhow!("tls.crt is no certificate in PEM: {e}"))?;
                let key = PrivateKeyDer::from_pem_slice(keys.key_pem.expose().as_bytes());
                let key = key.map_err(|_| anyhow!("tls.key is no private key in PEM"))?;
                tls.with_client_auth_cert(vec![certificate], key).context("tls.crt and tls.key do not go together")?
            }
        };
        Ok(Self { host, port: uri.port_u16().unwrap_or(443), tls: Arc::new(tls), invitation })
    }

    /// Calls, and reads the answer.
    ///
    /// # Errors
    /// It cannot be reached, or refuses: the error has its words.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> anyhow::Result<T> {
        let place = format!("{}:{}", self.host, self.port);
        let answered = timeout(PATIENCE, self.exchange(method, path, body)).await;
        let (status, body) =
            answered.map_err(|_| anyhow!("{place} did not answer within {} s", PATIENCE.as_secs()))??;
        if !status.is_success() {
            let said = serde_json::from_slice::<Refusal>(&body).map(|r| r.error);
            bail!("refused ({}): {}", status.as_u16(), said.unwrap_or_else(|_| "it did not say why".to_owned()));
        }
        serde_json::from_slice(&body).with_context(|| format!("failed to read the answer of {place}"))
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> anyhow::Result<(hyper::StatusCode, Bytes)> {
        let place = format!("{}:{}", self.host, self.port);
        let failed = || format!("failed to reach the partner API at {place}");
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await.with_context(failed)?;
        let name = ServerName::try_from(self.host.clone()).with_context(failed)?;
        let stream = TlsConnector::from(self.tls.clone()).connect(name, tcp).await.with_context(failed)?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.with_context(failed)?;
        let connection = tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, &place);
        if let Some(invitation) = &self.invitation {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", invitation.expose()));
        }
        let body = body.map(|b| Bytes::from(b.to_string())).unwrap_or_default();
        let request = request.header(header::CONTENT_TYPE, "application/json").body(Full::new(body))?;
        let response = sender.send_request(request).await.with_context(failed)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LARGEST).collect().await;
        let body = body.map_err(|e| anyhow!("failed to read the answer of {place}: {e}"))?.to_bytes();
        connection.abort();
        Ok((status, body))
    }
}

fn authorities(ca: Option<&Path>) -> anyhow::Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    match ca {
        Some(path) => {
            let pem = std::fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate = certificate.map_err(|e| anyhow!("{} is no certificate: {e}", path.display()))?;
                store.add(certificate).with_context(|| format!("failed to trust {}", path.display()))?;
            }
            if store.is_empty() {
                bail!("{} has no certificate in PEM", path.display());
            }
        }
        None => {
            for certificate in rustls_native_certs::load_native_certs().certs {
                // One that cannot be read is not trusted.
                let _ = store.add(certificate);
            }
        }
    }
    Ok(store)
}
