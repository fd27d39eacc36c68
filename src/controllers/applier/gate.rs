//! Whether a cluster may be governed at all: with an authorizer, and by this installation. That it is closed by default,
//! [`super::canary`] finds out.

use std::collections::BTreeMap;

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
