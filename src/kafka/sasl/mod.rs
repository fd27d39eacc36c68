//! SASL over Kafka's own requests (KIP-43, KIP-152): picks the mechanism, runs it, reports the session's lifetime.
//!
//! Never logs or returns anything that was exchanged: errors name the mechanism and the user.

pub(super) mod oauth;
pub(super) mod scram;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use kafka_protocol::messages::{SaslAuthenticateRequest, SaslHandshakeRequest};
use zeroize::Zeroizing;

use self::oauth::TokenSource;
use self::scram::Scram;
use super::api::text;
use super::codes::{self, permanent};
use super::connection::Connection;
use crate::domain::secret::Secret;
use crate::ports::{Disposition, KafkaError, KafkaSasl, KafkaTls, ScramMechanism};

/// What authenticates connections: a mechanism with its credential.
#[derive(Clone)]
pub(super) enum Login {
    /// RFC 4616.
    Plain { username: String, password: Secret },
    /// RFC 5802.
    Scram { mechanism: ScramMechanism, username: String, password: Secret },
    /// RFC 7628; the tokens are shared by all connections.
    OauthBearer(Arc<TokenSource>),
}

impl Login {
    /// Takes the credential from the endpoint. `tls` is what the token endpoint is trusted by where it names nothing
    /// of its own.
    pub(super) fn new(sasl: &KafkaSasl, tls: Option<&KafkaTls>) -> Result<Self, KafkaError> {
        Ok(match sasl {
            KafkaSasl::Plain { username, password } => {
                Self::Plain { username: username.clone(), password: password.clone() }
            }
            KafkaSasl::ScramSha256 { username, password } => Self::Scram {
                mechanism: ScramMechanism::Sha256,
                username: username.clone(),
                password: password.clone(),
            },
            KafkaSasl::ScramSha512 { username, password } => Self::Scram {
                mechanism: ScramMechanism::Sha512,
                username: username.clone(),
                password: password.clone(),
            },
            KafkaSasl::OauthBearer(client) => {
                let cluster_ca = tls.and_then(|tls| tls.ca_pem.as_deref());
                Self::OauthBearer(Arc::new(TokenSource::new(client.clone(), cluster_ca)?))
            }
        })
    }

    /// The mechanism's registered name.
    pub(super) fn mechanism(&self) -> &'static str {
        match self {
            Self::Plain { .. } => "PLAIN",
            Self::Scram { mechanism: ScramMechanism::Sha256, .. } => "SCRAM-SHA-256",
            Self::Scram { mechanism: ScramMechanism::Sha512, .. } => "SCRAM-SHA-512",
            Self::OauthBearer(_) => "OAUTHBEARER",
        }
    }

    fn user(&self) -> &str {
        match self {
            Self::Plain { username, .. } | Self::Scram { username, .. } => username,
            Self::OauthBearer(tokens) => tokens.client_id(),
        }
    }

    /// Authenticates, or re-authenticates, `connection`, and returns the lifetime of the session where the broker
    /// bounds it (KIP-368). Ordinary requests must not be sent meanwhile.
    pub(super) async fn authenticate(&self, connection: &Connection) -> Result<Option<Duration>, KafkaError> {
        let mut exchange = Exchange { connection, login: self, lifetime: None };
        exchange.handshake().await?;
        match self {
            Self::Plain { username, password } => {
                let message = Zeroizing::new(format!("\0{username}\0{}", password.expose()));
                exchange.step(message.as_bytes()).await?;
            }
            Self::Scram { mechanism, username, password } => {
                exchange.scram(*mechanism, username, password).await?;
            }
            Self::OauthBearer(tokens) => {
                let token = tokens.token().await?;
                if let Err(e) = exchange.oauth_bearer(&token).await {
                    tokens.forget().await;
                    return Err(e);
                }
            }
        }
        Ok(exchange.lifetime)
    }
}

/// Whether an error is a broker's refusal of the credential or the mechanism.
pub(super) fn is_refusal(e: &KafkaError) -> bool {
    matches!(
        e.code,
        Some(codes::SASL_AUTHENTICATION_FAILED | codes::UNSUPPORTED_SASL_MECHANISM | codes::ILLEGAL_SASL_STATE)
    )
}

struct Exchange<'a> {
    connection: &'a Connection,
    login: &'a Login,
    lifetime: Option<Duration>,
}

impl Exchange<'_> {
    async fn handshake(&self) -> Result<(), KafkaError> {
        let request = SaslHandshakeRequest::default().with_mechanism(text(self.login.mechanism()));
        let version = self.connection.version::<SaslHandshakeRequest>()?;
        let response = self.connection.send_ungated(&request, version).await?;
        let mut offered: Vec<_> = response.mechanisms.iter().map(|m| m.as_str()).collect();
        offered.sort_unstable();
        let words = format!("the listener offers {}", offered.join(", "));
        codes::check(response.error_code, Some(&words)).map_err(|e| self.refused(e))
    }

    /// Sends one message of the mechanism and returns the broker's answer to it.
    async fn step(&mut self, message: &[u8]) -> Result<Bytes, KafkaError> {
        let request = SaslAuthenticateRequest::default().with_auth_bytes(Bytes::copy_from_slice(message));
        let version = self.connection.version::<SaslAuthenticateRequest>()?;
        let response = self.connection.send_ungated(&request, version).await?;
        codes::check(response.error_code, response.error_message.as_deref()).map_err(|e| self.refused(e))?;
        let lifetime = u64::try_from(response.session_lifetime_ms).unwrap_or_default();
        self.lifetime = (lifetime > 0).then(|| Duration::from_millis(lifetime));
        Ok(response.auth_bytes)
    }

    async fn scram(&mut self, mechanism: ScramMechanism, username: &str, password: &Secret) -> Result<(), KafkaError> {
        let scram = Scram::new(mechanism, username, password.clone(), nonce()?);
        let server_first = self.step(scram.first().as_bytes()).await?;
        let server_first = String::from_utf8_lossy(&server_first).into_owned();
        // PBKDF2 takes a millisecond or more of a core.
        let proof = tokio::task::spawn_blocking(move || scram.prove(&server_first)).await;
        let (message, proven) = match proof {
            Ok(Ok(proof)) => proof,
            Ok(Err(e)) => return Err(self.refused(permanent(e.to_string()))),
            Err(_) => return Err(codes::retry("failed to compute the SCRAM proof: the runtime is shutting down")),
        };
        let server_final = self.step(message.as_bytes()).await?;
        proven.verify(&String::from_utf8_lossy(&server_final)).map_err(|e| self.refused(permanent(e.to_string())))
    }

    async fn oauth_bearer(&mut self, token: &Secret) -> Result<(), KafkaError> {
        let message = Zeroizing::new(format!("n,,\u{1}auth=Bearer {}\u{1}\u{1}", token.expose()));
        let challenge = self.step(message.as_bytes()).await?;
        if challenge.is_empty() {
            return Ok(());
        }
        // RFC 7628, section 3.2.3: the refusal comes as a challenge; a lone control-A makes the broker say it plainly.
        let status = serde_json::from_slice::<serde_json::Value>(&challenge)
            .ok()
            .and_then(|v| v.get("status").and_then(|s| s.as_str().map(str::to_owned)))
            .unwrap_or_else(|| "unspecified".to_owned());
        match self.step(b"\x01").await {
            Err(e) if is_refusal(&e) => Err(e),
            _ => Err(self.refused(codes::error(codes::SASL_AUTHENTICATION_FAILED, Some(&status)))),
        }
    }

    fn refused(&self, e: KafkaError) -> KafkaError {
        let (peer, user, mechanism) = (self.connection.peer(), self.login.user(), self.login.mechanism());
        let message = format!("failed to log in to {peer} as {user:?} with {mechanism}: {}", e.message);
        KafkaError { code: e.code, message, disposition: Disposition::Permanent }
    }
}

/// 18 random bytes as text.
fn nonce() -> Result<String, KafkaError> {
    let mut bytes = [0; 18];
    getrandom::fill(&mut bytes).map_err(|e| codes::retry(format!("failed to get random bytes: {e}")))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}
