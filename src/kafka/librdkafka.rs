//! An endpoint in librdkafka's words, and the tokens that it asks for. No I/O of its own.

use std::error::Error;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rdkafka::client::OAuthToken;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{DeliveryResult, ProducerContext};
use rdkafka::{ClientConfig, ClientContext};
use tokio::runtime::Handle;

use super::sasl::oauth::TokenSource;
use crate::ports::{KafkaEndpoint, KafkaError, KafkaSasl, TopicError};

/// The properties that dial and log in to `endpoint`. They hold secrets: never to be printed.
pub(super) fn client_config(endpoint: &KafkaEndpoint, client_id: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", endpoint.bootstrap_servers.join(",")).set("client.id", client_id);
    let protocol = match (&endpoint.tls, &endpoint.sasl) {
        (Some(_), Some(_)) => "sasl_ssl",
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (None, None) => "plaintext",
    };
    config.set("security.protocol", protocol).set("allow.auto.create.topics", "false");
    if let Some(tls) = &endpoint.tls {
        config.set("ssl.endpoint.identification.algorithm", "https");
        match &tls.ca_pem {
            Some(pem) => config.set("ssl.ca.pem", pem),
            // A vendored OpenSSL does not know where the system keeps its authorities.
            None => config.set("ssl.ca.location", "probe"),
        };
        if let Some((chain, key)) = &tls.client {
            config.set("ssl.certificate.pem", chain).set("ssl.key.pem", key.expose());
        }
    }
    match &endpoint.sasl {
        None => {}
        Some(KafkaSasl::OauthBearer(_)) => {
            config.set("sasl.mechanism", "OAUTHBEARER");
        }
        Some(KafkaSasl::Plain { username, password }) => {
            config.set("sasl.mechanism", "PLAIN");
            config.set("sasl.username", username).set("sasl.password", password.expose());
        }
        Some(KafkaSasl::ScramSha256 { username, password }) => {
            config.set("sasl.mechanism", "SCRAM-SHA-256");
            config.set("sasl.username", username).set("sasl.password", password.expose());
        }
        Some(KafkaSasl::ScramSha512 { username, password }) => {
            config.set("sasl.mechanism", "SCRAM-SHA-512");
            config.set("sasl.username", username).set("sasl.password", password.expose());
        }
    }
    config
}

/// What librdkafka calls back for: tokens, where the endpoint has them.
#[derive(Clone)]
pub(super) struct Context {
    tokens: Option<Arc<TokenSource>>,
    runtime: Handle,
}

impl Context {
    /// For clients of `endpoint`. Must be called inside of the runtime.
    pub(super) fn new(endpoint: &KafkaEndpoint) -> Result<Self, KafkaError> {
        let cluster_ca = endpoint.tls.as_ref().and_then(|tls| tls.ca_pem.as_deref());
        let tokens = match &endpoint.sasl {
            Some(KafkaSasl::OauthBearer(client)) => Some(Arc::new(TokenSource::new(client.clone(), cluster_ca)?)),
            _ => None,
        };
        Ok(Self { tokens, runtime: Handle::current() })
    }
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    /// The end of a partition is how reading ends, not an error.
    fn error(&self, error: rdkafka::error::KafkaError, reason: &str) {
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::PartitionEOF) {
            tracing::warn!(%error, reason, "librdkafka");
        }
    }

    /// Called on librdkafka's polling thread or a blocking one, never on one that drives the runtime.
    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        let tokens = self.tokens.as_ref().ok_or("the endpoint has no OAuth client")?;
        let (token, left) = self.runtime.block_on(tokens.token_with_lifetime())?;
        let expires = SystemTime::now().duration_since(UNIX_EPOCH)? + left;
        Ok(OAuthToken {
            token: token.expose().to_owned(),
            principal_name: tokens.client_id().to_owned(),
            lifetime_ms: i64::try_from(expires.as_millis())?,
        })
    }
}

impl ConsumerContext for Context {}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    /// A record that was not delivered fails its transaction: there is nothing to do here.
    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

/// Does what blocks where that holds nobody up.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TopicError> + Send + 'static,
) -> Result<T, TopicError> {
    let gone = |_| TopicError::Unavailable("the runtime is shutting down".into());
    tokio::task::spawn_blocking(work).await.map_err(gone)?
}

#[cfg(test)]
mod tests {
    use super::client_config;
    use crate::domain::secret::Secret;
    use crate::ports::{KafkaEndpoint, KafkaSasl, KafkaTls};

    #[test]
    fn the_security_protocol_follows_from_transport_and_credential() {
        let tls = KafkaTls { ca_pem: Some("PEM".into()), client: Some(("CHAIN".into(), Secret::new("KEY"))) };
        let sasl = KafkaSasl::ScramSha512 { username: "u".into(), password: Secret::new("p") };
        let of = |tls: Option<&KafkaTls>, sasl: Option<&KafkaSasl>| {
            let bootstrap_servers = vec!["a:1".into(), "b:2".into()];
            client_config(&KafkaEndpoint { bootstrap_servers, tls: tls.cloned(), sasl: sasl.cloned() }, "weir")
        };
        let both = of(Some(&tls), Some(&sasl));
        assert_eq!(both.get("bootstrap.servers"), Some("a:1,b:2"));
        assert_eq!(both.get("security.protocol"), Some("sasl_ssl"));
        assert_eq!((both.get("ssl.ca.pem"), both.get("ssl.key.pem")), (Some("PEM"), Some("KEY")));
        assert_eq!((both.get("sasl.mechanism"), both.get("sasl.password")), (Some("SCRAM-SHA-512"), Some("p")));
        assert_eq!(of(Some(&tls), None).get("security.protocol"), Some("ssl"));
        assert_eq!(of(None, Some(&sasl)).get("security.protocol"), Some("sasl_plaintext"));
        assert_eq!(of(None, None).get("security.protocol"), Some("plaintext"));
    }
}
