//! One caller of REST interfaces: HTTPS with a certificate, or a name and a password, and answers in JSON.

use std::fmt::Display;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::domain::replication::reported::first_line;
use crate::domain::secret::Secret;
use crate::ports::{RestEndpoint, RestError};
use crate::tls::https::HttpsClient;
use crate::tls::{Versions, client_config};

/// How long a call may take. Kafka Connect waits up to 90 s for its own workers; what takes longer is asked for again.
const PATIENCE: Duration = Duration::from_secs(20);
/// The largest answer that is read, in bytes.
const LARGEST: usize = 16 * 1024 * 1024;

/// See the module.
pub struct RestClient {
    base: String,
    authorization: Option<HeaderValue>,
    http: HttpsClient,
}

impl RestClient {
    /// Of what is at `endpoint`.
    ///
    /// # Errors
    /// The credentials cannot be used.
    pub fn new(endpoint: &RestEndpoint) -> Result<Self, RestError> {
        let client = endpoint.client.as_ref().map(|(certificate, key)| (certificate.as_str(), key));
        let tls =
            client_config(endpoint.ca_pem.as_deref(), client, Versions::SinceTls12).map_err(RestError::unanswered)?;
        let http = HttpsClient::new(tls, PATIENCE);
        let authorization = endpoint.basic.as_ref().map(|(name, password)| basic(name, password)).transpose()?;
        Ok(Self { base: endpoint.url.clone(), authorization, http })
    }

    /// Asks for what is at `path`.
    ///
    /// # Errors
    /// See [`RestError`].
    pub async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, RestError> {
        let body = self.call(Method::GET, path, None).await?;
        serde_json::from_slice(&body)
            .map_err(|e| RestError::unanswered(format!("failed to read the answer of {}: {e}", self.base)))
    }

    /// Has something done, whatever is answered to it.
    ///
    /// # Errors
    /// See [`RestError`].
    pub async fn act(&self, method: Method, path: &str, body: Option<Value>) -> Result<(), RestError> {
        self.call(method, path, body).await.map(drop)
    }

    /// The same with a body in which something is secret: where the other side repeats that, it is not passed on.
    ///
    /// # Errors
    /// See [`RestError`].
    pub async fn act_in_secret(
        &self,
        method: Method,
        path: &str,
        body: Value,
        secrets: &[&str],
    ) -> Result<(), RestError> {
        let (status, answer) = self.exchange(method, path, Some(body)).await?;
        if status.is_success() { Ok(()) } else { Err(refusal(status, &answer, secrets)) }
    }

    /// One call with its answer.
    ///
    /// # Errors
    /// See [`RestError`].
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Bytes, RestError> {
        let (status, body) = self.exchange(method, path, body).await?;
        if status.is_success() { Ok(body) } else { Err(refusal(status, &body, &[])) }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<(StatusCode, Bytes), RestError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let body = Full::new(body.map(|b| Bytes::from(b.to_string())).unwrap_or_default());
        let request = request.body(body).map_err(RestError::unanswered)?;
        self.http.call(request, LARGEST).await.map_err(|e| RestError::unanswered(format!("{}: {e}", self.base)))
    }
}

/// Basic authentication (RFC 7617).
fn basic(name: &str, password: &Secret) -> Result<HeaderValue, RestError> {
    let both = Zeroizing::new(format!("{name}:{}", password.expose()));
    let encoded = Zeroizing::new(STANDARD.encode(both.as_bytes()));
    let mut value = HeaderValue::try_from(format!("Basic {}", encoded.as_str())).map_err(RestError::unanswered)?;
    value.set_sensitive(true);
    Ok(value)
}

/// One segment of a path.
pub fn segment(text: &str) -> impl Display {
    utf8_percent_encode(text, NON_ALPHANUMERIC)
}

fn refusal(status: StatusCode, body: &[u8], secrets: &[&str]) -> RestError {
    #[derive(Deserialize)]
    struct Refusal {
        message: String,
    }
    let hide = |message: String| secrets.iter().fold(message, |message, secret| message.replace(secret, "***"));
    let said = serde_json::from_slice::<Refusal>(body).map(|r| first_line(&hide(r.message)));
    let message = said.unwrap_or_else(|_| format!("HTTP status {status}"));
    RestError { status: Some(status.as_u16()), message }
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;

    use super::refusal;

    #[test]
    fn what_is_secret_is_taken_out_before_the_rest_is_cut_off() {
        let said = format!(r#"{{"message": "{}0123456789 is no password"}}"#, "x".repeat(505));
        let refused = refusal(StatusCode::BAD_REQUEST, said.as_bytes(), &["0123456789"]);
        assert!(refused.message.contains("x*** is") && !refused.message.contains("0123"), "{}", refused.message);
    }
}
