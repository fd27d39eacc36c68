//! Calls of the partner API.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, Uri, header};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::keys::Keys;
use crate::domain::exchange::Refusal;
use crate::domain::secret::Secret;
use crate::tls::{Versions, client_config};

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
        let ca =
            ca.map(|path| std::fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display())));
        let client = keys.map(|keys| (keys.certificate_pem.as_str(), &keys.key_pem));
        let tls = client_config(ca.transpose()?.as_deref(), client, Versions::Tls13)?;
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
