//! Asks every broker whether it lets in whom nobody gave anything. See [`crate::domain::canary`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::credentials::password;
use super::probe::{self, Credential, LEARNING, endpoint, signed};
use super::session::SessionError;
use crate::api::Reason;
use crate::controllers::context::Context;
use crate::domain::canary::{DISTINGUISHED_NAME, Proof, TOPIC, USER, closed_by_configuration, proof};
use crate::domain::secret::Secret;
use crate::k8s::credentials::AdminAccess;
use crate::ports::{
    ConfigResource, KafkaAdmin, KafkaEndpoint, KafkaError, KafkaTls, ProbeOutcome, ScramChange, ScramMechanism,
};

/// Someone without any entry.
pub struct Canary {
    cluster: String,
    /// By what brokers are known.
    pub(super) tls: Option<KafkaTls>,
    /// Nobody keeps it: the next session has another.
    password: Secret,
}

impl Canary {
    /// That of `cluster`, which Weir enters by `access`.
    ///
    /// # Errors
    /// The system has no randomness for its password.
    pub fn new(cluster: &str, access: &AdminAccess) -> Result<Self, SessionError> {
        let password = password().map_err(|why| SessionError::Refused(Reason::DefaultUnknown, why))?;
        Ok(Self { cluster: cluster.into(), tls: access.endpoint.tls.clone(), password })
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
                let certificate = match signed(context, signer, DISTINGUISHED_NAME).await {
                    Ok(certificate) => certificate,
                    // What governs must not end with an authority that signs no more.
                    Err(why) => return self.by_configuration(admin, brokers, &why).await,
                };
                (
                    outcomes(&endpoint(self.tls.as_ref(), servers, certificate), brokers, Duration::ZERO).await?,
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
        if let Some(handle) = context.world.handle(&self.cluster) {
            // Until brokers know its password they refuse it, and name nobody.
            handle.state().on_trial.begin(USER, Timestamp::now(), SignedDuration::from_secs(30));
        }
        let user = Credential::User(USER.into(), self.password.clone());
        let endpoint = endpoint(self.tls.as_ref(), servers, user);
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

async fn outcomes(
    endpoint: &KafkaEndpoint,
    brokers: &BTreeSet<i32>,
    patience: Duration,
) -> Result<BTreeMap<i32, ProbeOutcome>, KafkaError> {
    probe::outcomes(endpoint, &[TOPIC.to_owned()], brokers, patience).await
}
