//! Whether a cluster may be governed at all: with an authorizer, closed by default, and by this installation.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::{Facts, SessionError};
use crate::api::{ListenerAuthentication, Reason};
use crate::controllers::context::Context;
use crate::domain::ledger::{Change, Installation, Ledger};
use crate::domain::secret::Secret;
use crate::k8s::credentials::AdminAccess;
use crate::kafka::KafkaProbe;
use crate::ports::{
    self, AccessProbe, AclFilter, KafkaAdmin, KafkaEndpoint, KafkaSasl, ProbeOutcome, ScramChange, ScramMechanism,
};

/// `SECURITY_DISABLED`: the brokers have no authorizer.
const SECURITY_DISABLED: i16 = 54;
/// A topic that nothing is about: a principal without any entry must be denied it.
const CANARY_TOPIC: &str = "__weir_canary";

/// The user that must be denied. Nobody but Weir makes users with a `~`.
const CANARY_USER: &str = "~weir-canary";
/// How long brokers may take to learn of a user.
const LEARNING: Duration = Duration::from_secs(5);

/// Looks at the cluster.
///
/// # Errors
/// It has no authorizer, or cannot be reached.
pub async fn look(name: &str, admin: &dyn KafkaAdmin) -> Result<Facts, SessionError> {
    let description = admin.describe_cluster().await?;
    if let Err(error) = admin.describe_acls(None, &[AclFilter::Principal(format!("User:{CANARY_USER}"))]).await {
        return Err(if error.code == Some(SECURITY_DISABLED) {
            SessionError::Refused(
                Reason::NoAuthorizer,
                format!(
                    "the brokers of StreamCluster {name} have no authorizer: set authorizer.class.name on every broker"
                ),
            )
        } else {
            error.into()
        });
    }
    let features = admin.features().await?;
    Ok(Facts {
        cluster_id: description.id,
        brokers: description.brokers.iter().filter(|b| !b.fenced).map(|b| b.id).collect(),
        metadata_version: features.metadata_version,
        session_lifetime_seconds: features.session_lifetime.and_then(|l| i64::try_from(l.as_secs()).ok()),
    })
}

/// A principal that has no entry, by which it shows whether brokers let in whom nobody gave anything.
pub struct Canary {
    endpoint: KafkaEndpoint,
    password: Secret,
}

impl Canary {
    /// `None` where no listener is known on which a SCRAM user can log in.
    pub fn new(context: &Context, name: &str, access: &AdminAccess) -> Option<Self> {
        let Some(bootstrap_servers) = scram_servers(context, name, access) else {
            warn!(
                "StreamCluster {name} has no listener for SCRAM-SHA-512: whether it is open by default cannot be probed"
            );
            return None;
        };
        // A password that nobody keeps.
        let password = Secret::new(random_hex(32));
        let endpoint = KafkaEndpoint {
            bootstrap_servers,
            tls: access.endpoint.tls.as_ref().map(|tls| ports::KafkaTls { ca_pem: tls.ca_pem.clone(), client: None }),
            sasl: Some(KafkaSasl::ScramSha512 { username: CANARY_USER.into(), password: password.clone() }),
        };
        Some(Self { endpoint, password })
    }

    /// Gives the brokers the user. It stays: a broker of Kafka 4.3.1 that reads removals of SCRAM users at its start may lose
    /// others with them.
    ///
    /// # Errors
    /// The brokers do not take it, or this instance may no longer write.
    pub async fn release(&self, context: &Context, admin: &dyn KafkaAdmin) -> Result<(), SessionError> {
        context.may_write()?;
        let upsert = ScramChange::Upsert {
            user: CANARY_USER.into(),
            mechanism: ScramMechanism::Sha512,
            iterations: 4096,
            password: self.password.clone(),
        };
        for result in admin.alter_scram(&[upsert]).await? {
            result?;
        }
        Ok(())
    }

    /// Whether each of `brokers` knows the user.
    ///
    /// # Errors
    /// One does not answer.
    pub async fn can_log_in(&self, brokers: &BTreeSet<i32>) -> Result<bool, ports::KafkaError> {
        let outcomes = self.outcomes(brokers, Duration::ZERO).await?;
        Ok(outcomes.values().all(|o| *o != ProbeOutcome::LoginRefused))
    }

    /// Asks every one of `brokers` for a topic that no entry is about, which each must deny.
    ///
    /// # Errors
    /// A broker lets it in, or none can tell.
    pub async fn probe(&self, name: &str, brokers: &BTreeSet<i32>) -> Result<(), SessionError> {
        let outcomes = self.outcomes(brokers, LEARNING).await?;
        let those = |wanted| outcomes.iter().filter(move |(_, o)| **o == wanted).map(|(b, _)| b.to_string());
        let open: Vec<_> = those(ProbeOutcome::Allowed).collect();
        if !open.is_empty() {
            return Err(SessionError::Refused(
                Reason::OpenByDefault,
                format!(
                    "StreamCluster {name} is open by default: a principal without any entry was let in by broker {}: set \
                     allow.everyone.if.no.acl.found=false on every broker",
                    open.join(", ")
                ),
            ));
        }
        let refused: Vec<_> = those(ProbeOutcome::LoginRefused).collect();
        if !refused.is_empty() {
            return Err(SessionError::Refused(
                Reason::BrokersUnreachable,
                format!(
                    "whether StreamCluster {name} is open by default is not known: broker {} refuses SCRAM-SHA-512 on {}: \
                     enable it there, or correct spec.listeners",
                    refused.join(", "),
                    self.endpoint.bootstrap_servers.join(", ")
                ),
            ));
        }
        Ok(())
    }

    /// The brokers learn of a new credential one after the other: a login that is refused is tried again for a while.
    async fn outcomes(
        &self,
        brokers: &BTreeSet<i32>,
        patience: Duration,
    ) -> Result<BTreeMap<i32, ProbeOutcome>, ports::KafkaError> {
        let ids: Vec<_> = brokers.iter().copied().collect();
        let deadline = Instant::now() + patience;
        loop {
            let outcomes = KafkaProbe.probe_fetch(&self.endpoint, CANARY_TOPIC, Some(&ids)).await?;
            let refused = outcomes.values().any(|o| *o == ProbeOutcome::LoginRefused);
            if !refused || Instant::now() > deadline {
                return Ok(outcomes);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Where a SCRAM user can log in: where Weir itself does, else on the listener for SCRAM clients.
fn scram_servers(context: &Context, name: &str, access: &AdminAccess) -> Option<Vec<String>> {
    if matches!(access.endpoint.sasl, Some(KafkaSasl::ScramSha512 { .. })) {
        return Some(access.endpoint.bootstrap_servers.clone());
    }
    let index = context.world.index();
    let listeners = &index.cluster_spec(name)?.listeners;
    let listener = listeners.iter().find(|l| l.authentication == ListenerAuthentication::ScramSha512)?;
    Some(listener.bootstrap_servers.clone())
}

fn random_hex(bytes: usize) -> String {
    let mut buffer = vec![0; bytes];
    // Without the system's randomness nothing secret can be made: going on would be worse.
    #[expect(clippy::expect_used)]
    getrandom::fill(&mut buffer).expect("the system gives random bytes");
    buffer.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Whether the cluster is free for this installation. Changes nothing on it: the writer that governs it goes on.
///
/// # Errors
/// Another installation has it.
pub async fn unclaimed(context: &Context, facts: &Facts, store: &dyn ports::Ledger) -> Result<(), SessionError> {
    let ledger = read(&store.read().await?)?;
    ours(context, facts, &ledger)
}

/// Opens the ledger, which fences every writer before, and claims the cluster for this installation.
///
/// # Errors
/// Another installation has it.
pub async fn open_ledger(context: &Context, facts: &Facts, store: &dyn ports::Ledger) -> Result<Ledger, SessionError> {
    let mut ledger = read(&store.open().await?)?;
    ours(context, facts, &ledger)?;
    if ledger.installation.is_none() {
        let own = &context.installation;
        let claim = Change::Installation(Installation { id: own.id.clone(), namespace: own.namespace.clone() });
        store.commit(&[claim.to_record()]).await?;
        ledger.apply(claim);
    }
    Ok(ledger)
}

fn read(records: &BTreeMap<String, String>) -> Result<Ledger, SessionError> {
    Ledger::read(records).map_err(|e| SessionError::Refused(Reason::Invalid, e.to_string()))
}

fn ours(context: &Context, facts: &Facts, ledger: &Ledger) -> Result<(), SessionError> {
    match &ledger.installation {
        Some(other) if other.id != context.installation.id => Err(SessionError::Refused(
            Reason::GovernedByAnother,
            format!(
                "Kafka cluster {} is governed by another installation of Weir (namespace {}, UID {}): two would remove each \
                 other's work",
                facts.cluster_id, other.namespace, other.id
            ),
        )),
        _ => Ok(()),
    }
}
