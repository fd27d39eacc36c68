//! Whether a cluster may be governed at all: with an authorizer, and by this installation. That it is closed by default,
//! [`super::canary`] finds out.

use std::collections::BTreeMap;

use kube::ResourceExt;

use super::Facts;
use super::session::SessionError;
use crate::api::Reason;
use crate::controllers::context::Context;
use crate::domain::canary;
use crate::domain::ledger::{Change, Installation, Ledger};
use crate::ports::{self, AclFilter, KafkaAdmin};

/// `SECURITY_DISABLED`: the brokers have no authorizer.
const SECURITY_DISABLED: i16 = 54;

/// Looks at the cluster.
///
/// # Errors
/// It has no authorizer, or cannot be reached.
pub async fn look(name: &str, admin: &dyn KafkaAdmin) -> Result<Facts, SessionError> {
    let description = admin.describe_cluster().await?;
    if let Err(error) = admin.describe_acls(None, &[AclFilter::Principal(format!("User:{}", canary::USER))]).await {
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
        brokers: description.serving(),
        cluster_id: description.id,
        metadata_version: features.metadata_version,
        delegation_tokens: features.delegation_tokens,
        session_lifetime_seconds: features.session_lifetime.and_then(|l| i64::try_from(l.as_secs()).ok()),
    })
}

/// Whether the cluster is free for this installation, by this StreamCluster. Changes nothing on it: the writer that governs it goes
/// on.
///
/// # Errors
/// Another installation has it, or this one by another StreamCluster.
pub async fn unclaimed(
    context: &Context,
    name: &str,
    facts: &Facts,
    store: &dyn ports::Ledger,
) -> Result<(), SessionError> {
    let ledger = read(&store.read().await?)?;
    ours(context, name, facts, &ledger)
}

/// Opens the ledger, which fences every writer before, and claims the cluster for this installation.
///
/// # Errors
/// See [`unclaimed`].
pub async fn open_ledger(
    context: &Context,
    name: &str,
    facts: &Facts,
    store: &dyn ports::Ledger,
) -> Result<Ledger, SessionError> {
    let mut ledger = read(&store.open().await?)?;
    ours(context, name, facts, &ledger)?;
    let own = Installation { stream_cluster: uid_of(context, name), ..context.installation.clone() };
    if ledger.installation.as_ref() != Some(&own) {
        let claim = Change::Installation(own);
        store.commit(&[claim.to_record()]).await?;
        ledger.apply(claim);
    }
    Ok(ledger)
}

fn uid_of(context: &Context, name: &str) -> Option<String> {
    context.world.index().cluster(name).and_then(|c| c.uid())
}

fn read(records: &BTreeMap<String, String>) -> Result<Ledger, SessionError> {
    Ledger::read(records).map_err(|e| SessionError::Refused(Reason::Invalid, e.to_string()))
}

fn ours(context: &Context, name: &str, facts: &Facts, ledger: &Ledger) -> Result<(), SessionError> {
    let Some(claim) = &ledger.installation else { return Ok(()) };
    let refused = |why: String| {
        let id = &facts.cluster_id;
        Err(SessionError::Refused(Reason::GovernedByAnother, format!("Kafka cluster {id} is governed by {why}")))
    };
    if claim.id != context.installation.id {
        return refused(format!(
            "another installation of Weir (namespace {}, UID {}): two would remove each other's work",
            claim.namespace, claim.id
        ));
    }
    let index = context.world.index();
    let other = claim.stream_cluster.as_ref().and_then(|uid| {
        index
            .cluster_names()
            .find(|other| *other != name && index.cluster(other).is_some_and(|c| c.uid().as_ref() == Some(uid)))
    });
    match other {
        Some(other) => refused(format!("StreamCluster {other}: delete one of the two")),
        None => Ok(()),
    }
}
