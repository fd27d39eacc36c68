//! Tokens of the OAuth 2.0 client credentials grant (RFC 6749, section 4.4), kept while they are fresh.
//!
//! Speaks HTTPS only, follows no redirect, reads at most 64 KiB, and never logs or returns a token.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Uri, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::domain::secret::Secret;
use crate::kafka::codes::{permanent, retry};
use crate::kafka::tls::refused;
use crate::ports::{KafkaError, OauthClient};
use crate::tls::https::HttpsClient;
use crate::tls::{Versions, client_config};

/// How long the token endpoint may take altogether.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 * 1024;
/// Taken where the endpoint does not say `expires_in`.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(300);
/// `application/x-www-form-urlencoded` without the unreserved characters (RFC 3986, section 2.3).
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Fetches tokens, and hands the same one out until half of its lifetime has passed.
pub(in crate::kafka) struct TokenSource {
    client: OauthClient,
    url: Uri,
    http: HttpsClient,
    kept: Mutex<Option<Kept>>,
}

struct Kept {
    token: Secret,
    fetched: Instant,
    lifetime: Duration,
}

/// The answer of RFC 6749, section 5.1; `access_token` is moved into custody at once.
#[derive(Deserialize)]
struct Answer {
    access_token: String,
    expires_in: Option<u64>,
}

/// The answer of RFC 6749, section 5.2.
#[derive(Deserialize)]
struct Refusal {
    error: String,
    error_description: Option<String>,
}

impl TokenSource {
    /// Checks the endpoint's address and authorities; sends nothing yet.
    pub(in crate::kafka) fn new(client: OauthClient, cluster_ca: Option<&str>) -> Result<Self, KafkaError> {
        let invalid =
            || permanent(format!("failed to use the token endpoint {:?}: not an https:// URL", client.token_url));
        let url: Uri = client.token_url.parse().map_err(|_| invalid())?;
        if url.scheme_str() != Some("https") {
            return Err(invalid());
        }
        let ca_pem = client.ca_pem.as_deref().or(cluster_ca);
        let tls = client_config(ca_pem, None, Versions::SinceTls12).map_err(|e| permanent(e.to_string()))?;
        Ok(Self { client, url, http: HttpsClient::new(tls, TIMEOUT), kept: Mutex::new(None) })
    }

    /// The OAuth client's id.
    pub(in crate::kafka) fn client_id(&self) -> &str {
        &self.client.client_id
    }

    /// A token with at least half of its lifetime ahead.
    pub(in crate::kafka) async fn token(&self) -> Result<Secret, KafkaError> {
        self.token_with_lifetime().await.map(|(token, _)| token)
    }

    /// Like [`Self::token`], with the time that the token has left.
    pub(in crate::kafka) async fn token_with_lifetime(&self) -> Result<(Secret, Duration), KafkaError> {
        let mut kept = self.kept.lock().await;
        if let Some(k) = kept.as_ref().filter(|k| k.fetched.elapsed() * 2 < k.lifetime) {
            return Ok((k.token.clone(), k.lifetime.saturating_sub(k.fetched.elapsed())));
        }
        let fetched = Instant::now();
        let (token, lifetime) = self.fetch().await?;
        *kept = Some(Kept { token: token.clone(), fetched, lifetime });
        Ok((token, lifetime))
    }

    /// Drops the kept token: a broker refused it.
    pub(in crate::kafka) async fn forget(&self) {
        *self.kept.lock().await = None;
    }

    fn name(&self) -> String {
        format!("the token endpoint {}", self.client.token_url)
    }

    async fn fetch(&self) -> Result<(Secret, Duration), KafkaError> {
        let answered = self.http.call(self.request()?, MAX_ANSWER).await;
        let (status, body) = answered.map_err(|e| match e.tls() {
            Some(why) => refused(self.url.host().unwrap_or_default(), why),
            None => retry(format!("failed to reach {}: {e}", self.name())),
        })?;
        self.read(status, &Zeroizing::new(body.to_vec()))
    }

    fn request(&self) -> Result<Request<Full<Bytes>>, KafkaError> {
        // RFC 6749, section 2.3.1: id and secret are form-encoded before Basic joins them.
        let id = utf8_percent_encode(&self.client.client_id, FORM);
        let secret = Zeroizing::new(utf8_percent_encode(self.client.client_secret.expose(), FORM).to_string());
        let basic = Zeroizing::new(format!("{id}:{}", *secret));
        let mut body = "grant_type=client_credentials".to_owned();
        if let Some(scope) = &self.client.scope {
            body.push_str("&scope=");
            body.extend(utf8_percent_encode(scope, FORM));
        }
        Request::post(&self.url)
            .header(header::AUTHORIZATION, format!("Basic {}", BASE64.encode(basic.as_bytes())))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|e| permanent(format!("failed to ask {}: {e}", self.name())))
    }

    fn read(&self, status: hyper::StatusCode, body: &[u8]) -> Result<(Secret, Duration), KafkaError> {
        if status.is_success() {
            // The parser's own words could quote the answer.
            let answer: Answer = serde_json::from_slice(body)
                .map_err(|_| permanent(format!("failed to read the answer of {}: no token in it", self.name())))?;
            let lifetime = answer.expires_in.map_or(DEFAULT_LIFETIME, Duration::from_secs);
            return Ok((Secret::new(answer.access_token), lifetime));
        }
        let id = &self.client.client_id;
        let reason = match serde_json::from_slice::<Refusal>(body) {
            Ok(Refusal { error, error_description: Some(words) }) => format!("{error}: {words}"),
            Ok(Refusal { error, error_description: None }) => error,
            Err(_) => status.to_string(),
        };
        let reason: String = reason.chars().take(300).collect();
        let message = format!("failed to get a token from {} as {id:?}: {reason}", self.name());
        Err(if status.is_server_error() { retry(message) } else { permanent(message) })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hyper::StatusCode;
    use tokio::net::TcpListener;

    use super::TokenSource;
    use crate::domain::secret::Secret;
    use crate::kafka::tls::tests::server;
    use crate::ports::{Disposition, OauthClient};

    fn source(url: &str) -> Result<TokenSource, crate::ports::KafkaError> {
        let ca = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
        let client = OauthClient {
            token_url: url.into(),
            ca_pem: Some(ca),
            client_id: "weir:1".into(),
            client_secret: Secret::new("p&ss"),
            scope: Some("kafka admin".into()),
        };
        TokenSource::new(client, None)
    }

    #[test]
    fn only_https_urls_are_token_endpoints() {
        for url in ["http://localhost/token", "localhost", "https://", "ftp://x/y"] {
            assert!(source(url).is_err(), "{url}");
        }
    }

    #[test]
    fn the_request_is_that_of_the_client_credentials_grant() {
        let request = source("https://localhost:8443/token?x=1").unwrap().request().unwrap();
        assert_eq!(*request.uri(), "https://localhost:8443/token?x=1");
        // base64 of "weir%3A1:p%26ss".
        assert_eq!(request.headers()["authorization"], "Basic d2VpciUzQTE6cCUyNnNz");
        let body = format!("{:?}", request.body());
        assert!(body.contains("grant_type=client_credentials&scope=kafka%20admin"), "{body}");
    }

    #[test]
    fn answers_become_tokens_or_reasons() {
        let source = source("https://localhost/token").unwrap();
        let read = |status, body: &str| source.read(status, body.as_bytes());
        let (token, lifetime) = read(StatusCode::OK, r#"{"access_token":"t","expires_in":60}"#).unwrap();
        assert_eq!((token.expose(), lifetime), ("t", Duration::from_secs(60)));
        let e = read(StatusCode::OK, r#"{"access_token":7,"x":"s3cret"}"#).unwrap_err();
        assert!(!e.message.contains("s3cret"), "{e}");
        let e = read(StatusCode::UNAUTHORIZED, r#"{"error":"invalid_client"}"#).unwrap_err();
        assert_eq!(e.disposition, Disposition::Permanent);
        assert!(e.message.ends_with("as \"weir:1\": invalid_client"), "{e}");
        assert_eq!(read(StatusCode::BAD_GATEWAY, "").unwrap_err().disposition, Disposition::Retry);
    }

    #[tokio::test]
    async fn an_endpoint_that_is_not_trusted_stays_so_and_one_that_is_not_there_may_come() {
        let (acceptor, _) = server("localhost");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let source = source(&format!("https://localhost:{}/", listener.local_addr().unwrap().port())).unwrap();
        let serving = async {
            let (tcp, _) = listener.accept().await.unwrap();
            acceptor.accept(tcp).await.unwrap_err()
        };
        let (fetched, _) = tokio::join!(source.token(), serving);
        let e = fetched.unwrap_err();
        assert_eq!(e.disposition, Disposition::Permanent, "{e}");
        assert!(e.message.starts_with("failed to trust the certificate of localhost: "), "{e}");
        drop(listener);
        let e = source.token().await.unwrap_err();
        assert_eq!(e.disposition, Disposition::Retry, "{e}");
        assert!(e.message.contains("refused"), "{e}");
    }
}
