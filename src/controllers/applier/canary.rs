//! Asks every broker whether it lets in whom nobody gave anything. See [`crate::domain::canary`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::credentials::password;
use super::session::SessionError;
use crate::api::Reason;
use crate::controllers::context::Context;
use crate::domain::canary::{DISTINGUISHED_NAME, Proof, TOPIC, USER, certificate, closed_by_configuration, proof};
use crate::domain::secret::Secret;
use crate::k8s::credentials::AdminAccess;
use crate::kafka::KafkaProbe;
use crate::pki::sign_client_certificate;
use crate::ports::{
    AccessProbe, ConfigResource, KafkaAdmin, KafkaEndpoint, KafkaError, KafkaSasl, KafkaTls, ProbeOutcome, ScramChange,
    ScramMechanism,
};

/// How long brokers may take to learn of a user.
const LEARNING: Duration = Duration::from_secs(5);

/// Someone without any entry.
pub struct Canary {
    cluster: String,
    tls: Option<KafkaTls>,
    /// Nobody keeps it: the next session has another.
    password: Secret,
}

impl Canary {
    /// That of `cluster`, which Weir enters by `access`.
    ///
    /// # Errors
    /// The system has no randomness for its password.
    pub fn new(cluster: &str, access: &AdminAccess) -> Result<Self, SessionError> {
        let tls = access.endpoint.tls.as_ref().map(|tls| KafkaTls { ca_pem: tls.ca_pem.clone(), client: None });
        let password = password().map_err(|why| SessionError::Refused(Reason::DefaultUnknown, why))?;
        Ok(Self { cluster: cluster.into(), tls, password })
    }

    /// Asks every one of `brokers`, in the best way that the cluster has.
    ///
    /// # Errors
    /// A broker lets it in, or none can tell.
    pub async fn denied(
        &self,
        context: &Context,
        admin: &dyn KafkaAdmin,
        brokers: &BTreeSet<i32>,
    ) -> Result<(), SessionError> {
        let spec = context.world.index().cluster_spec(&self.cluster).cloned();
        let Some(spec) = spec else { return Err(self.not_known("it was deleted")) };
        let advice = |what: &str, servers: &[String], remedy: &str| {
            format!("refuses {what} on {}: {remedy}, or correct spec.listeners", servers.join(", "))
        };
        let (outcomes, advice) = match proof(&spec) {
            Proof::Scram(servers) => (
                self.as_user(context, servers, admin, brokers).await?,
                advice("SCRAM-SHA-512", servers, "enable it there"),
            ),
            Proof::Certificate { servers, signer } => {
                let client = match signed(context, signer).await {
                    Ok(client) => client,
                    // What governs must not end with an authority that signs no more.
                    Err(why) => return self.by_configuration(admin, brokers, &why).await,
                };
                (
                    self.by_certificate(client, servers, brokers).await?,
                    advice("certificates of identity.mtls", servers, "have it trust their authority"),
                )
            }
            Proof::Configuration => {
                let why = "there is no listener for ScramSha512, nor one for Mtls with identity.mtls";
                return self.by_configuration(admin, brokers, why).await;
            }
        };
        let those = |wanted| outcomes.iter().filter(move |(_, o)| **o == wanted).map(|(b, _)| b.to_string());
        let open: Vec<_> = those(ProbeOutcome::Allowed).collect();
        if !open.is_empty() {
            return Err(SessionError::Refused(
                Reason::OpenByDefault,
                format!(
                    "StreamCluster {} is open by default: a principal without any entry was let in by broker {}: set \
                     allow.everyone.if.no.acl.found=false on every broker",
                    self.cluster,
                    open.join(", ")
                ),
            ));
        }
        let refused: Vec<_> = those(ProbeOutcome::LoginRefused).collect();
        if refused.is_empty() {
            return Ok(());
        }
        Err(self.not_known(&format!("broker {} {advice}", refused.join(", "))))
    }

    fn not_known(&self, why: &str) -> SessionError {
        let message = format!("whether StreamCluster {} is open by default is not known: {why}", self.cluster);
        SessionError::Refused(Reason::DefaultUnknown, message)
    }

    /// By a SCRAM user. It is made where a broker does not know it, and stays: a broker of Kafka 4.3.1 that reads removals of
    /// SCRAM users at its start may lose others with them.
    async fn as_user(
        &self,
        context: &Context,
        servers: &[String],
        admin: &dyn KafkaAdmin,
        brokers: &BTreeSet<i32>,
    ) -> Result<BTreeMap<i32, ProbeOutcome>, SessionError> {
        let sasl = KafkaSasl::ScramSha512 { username: USER.into(), password: self.password.clone() };
        let endpoint = KafkaEndpoint { bootstrap_servers: servers.to_vec(), tls: self.tls.clone(), sasl: Some(sasl) };
        let seen = outcomes(&endpoint, brokers, Duration::ZERO).await?;
        if !seen.values().any(|o| *o == ProbeOutcome::LoginRefused) {
            return Ok(seen);
        }
        context.may_write()?;
        let user = ScramChange::Upsert {
            user: USER.into(),
            mechanism: ScramMechanism::Sha512,
            iterations: 4096,
            password: self.password.clone(),
        };
        for result in admin.alter_scram(&[user]).await? {
            result?;
        }
        Ok(outcomes(&endpoint, brokers, LEARNING).await?)
    }

    async fn by_certificate(
        &self,
        client: (String, Secret),
        servers: &[String],
        brokers: &BTreeSet<i32>,
    ) -> Result<BTreeMap<i32, ProbeOutcome>, SessionError> {
        let tls = self.tls.clone().map(|tls| KafkaTls { client: Some(client), ..tls });
        let endpoint = KafkaEndpoint { bootstrap_servers: servers.to_vec(), tls, sasl: None };
        Ok(outcomes(&endpoint, brokers, Duration::ZERO).await?)
    }

    /// By what every broker says of itself, as `nobody` can log in to be denied.
    async fn by_configuration(
        &self,
        admin: &dyn KafkaAdmin,
        brokers: &BTreeSet<i32>,
        nobody: &str,
    ) -> Result<(), SessionError> {
        let resources: Vec<_> = brokers.iter().map(|id| ConfigResource::Broker(*id)).collect();
        let configurations = admin.describe_configs(&resources).await?;
        for (id, configuration) in brokers.iter().zip(configurations) {
            let values = configuration?.into_iter().map(|(key, entry)| (key, entry.value)).collect();
            closed_by_configuration(&values).map_err(|why| {
                self.not_known(&format!("broker {id} {why}; and Weir cannot see itself denied: {nobody}"))
            })?;
        }
        Ok(())
    }
}

/// A certificate without any entry, with its key.
async fn signed(context: &Context, signer: &str) -> Result<(String, Secret), String> {
    let (ca, key) = context.secrets.signer(signer).await.map_err(|e| e.to_string())?;
    let signed = sign_client_certificate(&ca, &key, DISTINGUISHED_NAME, &certificate(), None)
        .map_err(|why| format!("Secret {signer}: {why}"))?;
    Ok((signed.certificate_pem, signed.key_pem))
}

/// What each of `brokers` does. They learn of a new credential one after the other: a login that is refused is tried again for
/// a while.
async fn outcomes(
    endpoint: &KafkaEndpoint,
    brokers: &BTreeSet<i32>,
    patience: Duration,
) -> Result<BTreeMap<i32, ProbeOutcome>, KafkaError> {
    let ids: Vec<_> = brokers.iter().copied().collect();
    let deadline = Instant::now() + patience;
    loop {
        let outcomes = KafkaProbe.probe_fetch(endpoint, TOPIC, Some(&ids)).await?;
        let refused = outcomes.values().any(|o| *o == ProbeOutcome::LoginRefused);
        if !refused || Instant::now() > deadline {
            return Ok(outcomes);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
