//! Partner: reports how many shares name it.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::Action;

use super::context::Context;
use super::reconcile::{PERIODICALLY, ReconcileError};
use crate::api::{Partner, PartnerStanding, PartnerStatus, Reason};
use crate::domain::conditions::{Progress, conditions, merge};
use crate::k8s::objects::write_status;

/// Reconciles one partner: it is only a status.
///
/// # Errors
/// The API server refused or did not answer.
pub async fn reconcile(partner: Arc<Partner>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let shares = context.world.index().shares_with(&partner.name_any()).count();
    let progress = match partner.spec.standing {
        PartnerStanding::Active => Progress::Ready(format!("{shares} shares name it")),
        PartnerStanding::Quarantined => {
            Progress::Stalled(Reason::Quarantined, format!("spec.standing stops all its {shares} shares"))
        }
    };
    let before = partner.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    let generation = partner.metadata.generation;
    let after = PartnerStatus {
        observed_generation: generation,
        conditions: merge(before, conditions(&progress), generation, Timestamp::now()),
        shares: i64::try_from(shares).ok(),
    };
    if partner.status.as_ref() != Some(&after) && partner.metadata.deletion_timestamp.is_none() {
        write_status(&context.client, partner.as_ref(), &after).await?;
    }
    Ok(Action::requeue(PERIODICALLY))
}
