//! Whether a cluster may be governed at all: with an authorizer, closed by default, and by this installation.

use std::collections::BTreeSet;
use std::fmt::Write;

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

/// Looks at the cluster.
///
/// # Errors
/// It has no authorizer, lets everybody in, or cannot be reached.
pub async fn admit(
    context: &Context,
    name: &str,
    admin: &dyn KafkaAdmin,
    access: &AdminAccess,
) -> Result<Facts, SessionError> {
    let description = admin.describe_cluster().await?;
    if let Err(error) = admin.describe_acls(None, &[AclFilter::Principal("User:~weir-canary".into())]).await {
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
    let brokers: BTreeSet<_> = description.brokers.iter().filter(|b| !b.fenced).map(|b| b.id).collect();
    canary(context, name, admin, access, &brokers).await?;
    let features = admin.features().await?;
    Ok(Facts {
        cluster_id: description.id,
        brokers,
        metadata_version: features.metadata_version,
        session_lifetime_seconds: features.session_lifetime.and_then(|l| i64::try_from(l.as_secs()).ok()),
    })
}

/// Logs in as a principal that has no entry, and asks every broker for a topic that no entry is about.
async fn canary(
    context: &Context,
    name: &str,
    admin: &dyn KafkaAdmin,
    access: &AdminAccess,
    brokers: &BTreeSet<i32>,
) -> Result<(), SessionError> {
    let Some(bootstrap_servers) = scram_servers(context, name, access) else {
        warn!("StreamCluster {name} has no listener for SCRAM-SHA-512: whether it is open by default cannot be probed");
        return Ok(());
    };
    context.may_write()?;
    // It stays, with a password that nobody keeps: a broker of Kafka 4.3.1 that reads removals of SCRAM users at its start may
    // lose others with them.
    let (username, password) = (CANARY_USER.to_owned(), Secret::new(random_hex(32)));
    let mechanism = ScramMechanism::Sha512;
    let upsert =
        ScramChange::Upsert { user: username.clone(), mechanism, iterations: 4096, password: password.clone() };
    for result in admin.alter_scram(&[upsert]).await? {
        result?;
    }
    let endpoint = KafkaEndpoint {
        bootstrap_servers,
        tls: access.endpoint.tls.as_ref().map(|tls| ports::KafkaTls { ca_pem: tls.ca_pem.clone(), client: None }),
        sasl: Some(KafkaSasl::ScramSha512 { username, password }),
    };
    let open: Vec<_> = probe(&endpoint, brokers)
        .await?
        .into_iter()
        .filter(|(_, o)| *o == ProbeOutcome::Allowed)
        .map(|(b, _)| b.to_string())
        .collect();
    if open.is_empty() {
        return Ok(());
    }
    Err(SessionError::Refused(
        Reason::OpenByDefault,
        format!(
            "StreamCluster {name} is open by default: a principal without any entry was let in by broker {}: set \
             allow.everyone.if.no.acl.found=false on every broker",
            open.join(", ")
        ),
    ))
}

/// The brokers learn of a new credential one after the other: a login that is refused is tried again for a while.
async fn probe(
    endpoint: &KafkaEndpoint,
    brokers: &BTreeSet<i32>,
) -> Result<std::collections::BTreeMap<i32, ProbeOutcome>, ports::KafkaError> {
    let ids: Vec<_> = brokers.iter().copied().collect();
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(5);
    loop {
        let outcomes = KafkaProbe.probe_fetch(endpoint, CANARY_TOPIC, Some(&ids)).await?;
        let refused = outcomes.values().any(|o| *o == ProbeOutcome::LoginRefused);
        if !refused || tokio::time::Instant::now() > deadline {
            return Ok(outcomes);
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
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

/// Opens the ledger, which fences every writer before, and claims the cluster for this installation.
///
/// # Errors
/// Another installation has it.
pub async fn open_ledger(context: &Context, facts: &Facts, store: &dyn ports::Ledger) -> Result<Ledger, SessionError> {
    let records = store.open().await?;
    let ledger = Ledger::read(&records).map_err(|e| SessionError::Refused(Reason::Invalid, e.to_string()))?;
    let own = &context.installation;
    match &ledger.installation {
        Some(other) if other.id != own.id => Err(SessionError::Refused(
            Reason::GovernedByAnother,
            format!(
                "Kafka cluster {} is governed by another installation of Weir (namespace {}, UID {}): two would remove each \
                 other's work",
                facts.cluster_id, other.namespace, other.id
            ),
        )),
        Some(_) => Ok(ledger),
        None => {
            let claim = Change::Installation(Installation { id: own.id.clone(), namespace: own.namespace.clone() });
            store.commit(&[claim.to_record()]).await?;
            let mut ledger = ledger;
            ledger.apply(claim);
            Ok(ledger)
        }
    }
}
