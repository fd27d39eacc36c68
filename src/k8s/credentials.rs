//! What stands in Secrets of the operator's own namespace: how to enter a Kafka cluster, and who signs certificates.

use k8s_openapi::api::core::v1::Secret as KubeSecret;
use kube::{Api, Client};

use crate::api::{AdminCredentialType, StreamClusterSpec};
use crate::domain::secret::Secret;
use crate::ports::{KafkaEndpoint, KafkaSasl, KafkaTls, OauthClient, RestEndpoint};

/// A Secret that a StreamCluster names is missing or incomplete.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// It does not exist.
    #[error("Secret {0} does not exist: create it in the namespace that Weir runs in")]
    Missing(String),
    /// It lacks a key.
    #[error("Secret {secret} has no key {key:?} with text in it")]
    NoKey {
        /// Namespace and name.
        secret: String,
        /// The key.
        key: &'static str,
    },
    /// It cannot be read.
    #[error("failed to read Secret {secret}: {error}")]
    Unreadable {
        /// Namespace and name.
        secret: String,
        /// Why.
        error: Box<kube::Error>,
    },
}

/// The fewest characters of a token.
const SHORTEST_TOKEN: usize = 16;

/// The Secrets of one namespace.
#[derive(Clone)]
pub struct Secrets {
    api: Api<KubeSecret>,
    namespace: String,
}

/// How to enter a cluster, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminAccess {
    /// The endpoint with its credentials.
    pub endpoint: KafkaEndpoint,
    /// The brokers' authority in PEM.
    pub ca_pem: Option<String>,
    /// The principal's name, as far as the credentials tell it.
    pub principal: Option<String>,
}

impl Secrets {
    /// Those of `namespace`.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { api: Api::namespaced(client, namespace), namespace: namespace.into() }
    }

    /// Resolves how `spec` says that Weir enters the cluster.
    ///
    /// # Errors
    /// Names the Secret and the key at fault.
    pub async fn admin(&self, spec: &StreamClusterSpec) -> Result<AdminAccess, CredentialsError> {
        let ca_pem = match spec.tls.as_ref().and_then(|tls| tls.ca_secret_ref.as_ref()) {
            Some(ca) => Some(self.get(&ca.name).await?.text("ca.crt")?),
            None => None,
        };
        let admin = &spec.admin_credentials;
        let secret = self.get(&admin.secret_ref.name).await?;
        let mut client = None;
        let mut principal = None;
        let mut login = |secret: &Found| -> Result<(String, Secret), CredentialsError> {
            let username = secret.text("username")?;
            principal = Some(username.clone());
            Ok((username, Secret::new(secret.text("password")?)))
        };
        let sasl = match admin.type_ {
            AdminCredentialType::ScramSha512 => {
                let (username, password) = login(&secret)?;
                Some(KafkaSasl::ScramSha512 { username, password })
            }
            AdminCredentialType::ScramSha256 => {
                let (username, password) = login(&secret)?;
                Some(KafkaSasl::ScramSha256 { username, password })
            }
            AdminCredentialType::Plain => {
                let (username, password) = login(&secret)?;
                Some(KafkaSasl::Plain { username, password })
            }
            AdminCredentialType::Mtls => {
                client = Some((secret.text("tls.crt")?, Secret::new(secret.text("tls.key")?)));
                None
            }
            AdminCredentialType::OauthBearer => {
                let oauth = admin.oauth.as_ref();
                Some(KafkaSasl::OauthBearer(OauthClient {
                    token_url: oauth.map(|o| o.token_url.clone()).unwrap_or_default(),
                    ca_pem: ca_pem.clone(),
                    client_id: secret.text("client-id")?,
                    client_secret: Secret::new(secret.text("client-secret")?),
                    scope: oauth.and_then(|o| o.scope.clone()),
                }))
            }
        };
        let tls = spec.tls.as_ref().map(|_| KafkaTls { ca_pem: ca_pem.clone(), client });
        let endpoint = KafkaEndpoint { bootstrap_servers: spec.bootstrap_servers.clone(), tls, sasl };
        Ok(AdminAccess { endpoint, ca_pem, principal })
    }

    /// Certificate and key, in PEM, of the authority that signs client certificates.
    ///
    /// # Errors
    /// Names the Secret and the key at fault.
    pub async fn signer(&self, name: &str) -> Result<(String, Secret), CredentialsError> {
        let secret = self.get(name).await?;
        Ok((secret.text("tls.crt")?, Secret::new(secret.text("tls.key")?)))
    }

    /// The tokens with which logs of brokers may be posted: the values of all keys.
    ///
    /// # Errors
    /// The Secret is missing, or cannot be read; one of its values is too short to be a secret.
    pub async fn tokens(&self, name: &str) -> Result<Vec<String>, CredentialsError> {
        let Found { secret, object } = self.get(name).await?;
        let values = object.data.unwrap_or_default().into_values();
        let tokens: Vec<_> = values.filter_map(|v| String::from_utf8(v.0).ok()).map(|t| t.trim().to_owned()).collect();
        if tokens.is_empty() || tokens.iter().any(|token| token.len() < SHORTEST_TOKEN) {
            return Err(CredentialsError::NoKey { secret, key: "whose value is a token of 16 characters or more" });
        }
        Ok(tokens)
    }

    /// How Weir is known to a webhook: its token, and the authority of the receiver's certificate in PEM.
    ///
    /// # Errors
    /// The Secret is missing, or has no token: whoever takes events from anybody proves nothing by having them.
    pub async fn webhook(&self, name: &str) -> Result<(Option<Secret>, Option<String>), CredentialsError> {
        let secret = self.get(name).await?;
        Ok((Some(Secret::new(secret.text("token")?)), secret.text("ca.crt").ok()))
    }

    /// The key that checkpoints of the audit topic are signed with, in PEM.
    ///
    /// # Errors
    /// Names the Secret and the key at fault.
    pub async fn signing_key(&self, name: &str) -> Result<Secret, CredentialsError> {
        Ok(Secret::new(self.get(name).await?.text("signing.key")?))
    }

    /// How Weir is known to the REST interface at `url`, which somebody else runs.
    ///
    /// # Errors
    /// Names the Secret and the key at fault.
    pub async fn rest(&self, url: &str, name: &str) -> Result<RestEndpoint, CredentialsError> {
        let secret = self.get(name).await?;
        let both = |first: &'static str, second: &'static str| -> Result<Option<(String, Secret)>, CredentialsError> {
            let Ok(first) = secret.text(first) else { return Ok(None) };
            Ok(Some((first, Secret::new(secret.text(second)?))))
        };
        let (client, basic) = (both("tls.crt", "tls.key")?, both("username", "password")?);
        if client.is_none() && basic.is_none() {
            // Whoever lets in anybody is not to be given credentials.
            return Err(CredentialsError::NoKey { secret: secret.secret, key: "tls.crt or username" });
        }
        Ok(RestEndpoint { url: url.to_owned(), ca_pem: secret.text("ca.crt").ok(), client, basic })
    }

    async fn get(&self, name: &str) -> Result<Found, CredentialsError> {
        let secret = format!("{}/{name}", self.namespace);
        match self.api.get_opt(name).await {
            Ok(Some(object)) => Ok(Found { secret, object }),
            Ok(None) => Err(CredentialsError::Missing(secret)),
            Err(error) => Err(CredentialsError::Unreadable { secret, error: Box::new(error) }),
        }
    }
}

struct Found {
    secret: String,
    object: KubeSecret,
}

impl Found {
    fn text(&self, key: &'static str) -> Result<String, CredentialsError> {
        let value =
            self.object.data.as_ref().and_then(|d| d.get(key)).and_then(|v| String::from_utf8(v.0.clone()).ok());
        value.filter(|v| !v.is_empty()).ok_or_else(|| CredentialsError::NoKey { secret: self.secret.clone(), key })
    }
}
