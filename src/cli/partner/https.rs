//! Calls of the partner API.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, Uri, header};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::keys::Keys;
use crate::domain::exchange::Refusal;
use crate::domain::secret::Secret;
use crate::tls::https::HttpsClient;
use crate::tls::{Versions, client_config};

/// How long a call may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The largest answer that is read, in bytes.
const LARGEST: usize = 4 * 1024 * 1024;

/// The partner API, as somebody calls it.
pub struct Server {
    base: String,
    http: HttpsClient,
    invitation: Option<Secret>,
}

impl Server {
    /// That at `url`, with a certificate or an invitation, or both.
    ///
    /// # Errors
    /// The address, an authority or a key cannot be read.
    pub fn new(url: &str, ca: Option<&Path>, keys: Option<&Keys>, invitation: Option<Secret>) -> anyhow::Result<Self> {
        let uri: Uri = url.parse().with_context(|| format!("failed to read the address {url:?}"))?;
        let authority = uri.authority().filter(|_| uri.scheme_str() == Some("https"));
        let authority = authority.ok_or_else(|| anyhow!("the address {url:?} is not of the form https://HOST:PORT"))?;
        let ca =
            ca.map(|path| std::fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display())));
        let client = keys.map(|keys| (keys.certificate_pem.as_str(), &keys.key_pem));
        let tls = client_config(ca.transpose()?.as_deref(), client, Versions::Tls13)?;
        Ok(Self { base: format!("https://{authority}"), http: HttpsClient::new(tls, PATIENCE), invitation })
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
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(invitation) = &self.invitation {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", invitation.expose()));
        }
        let body = body.map(|b| Bytes::from(b.to_string())).unwrap_or_default();
        let request = request.header(header::CONTENT_TYPE, "application/json").body(Full::new(body))?;
        let answered = self.http.call(request, LARGEST).await;
        let (status, body) = answered.with_context(|| format!("failed to call the partner API at {}", self.base))?;
        if !status.is_success() {
            let said = serde_json::from_slice::<Refusal>(&body).map(|r| r.error);
            bail!("refused ({}): {}", status.as_u16(), said.unwrap_or_else(|_| "it did not say why".to_owned()));
        }
        serde_json::from_slice(&body).with_context(|| format!("failed to read the answer of {}", self.base))
    }
}
