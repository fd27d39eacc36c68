//! What the AuditTrail says.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Sending, Standing};
use crate::api::{AuditTrail, AuditTrailStatus, ConditionType, Reason};
use crate::domain::audit::chain::Head;
use crate::domain::conditions::{Progress, conditions, merge, whole_seconds};
use crate::domain::problem::Problem;

/// The last checkpoint.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The head of the chain that it is of.
    pub head: Head,
    /// When it was made.
    pub at: Timestamp,
    /// It.
    pub text: String,
    /// The key that it verifies with.
    pub public_key: String,
}

/// The status to write. Numbers are those of the last checkpoint, so that it changes no more often.
pub fn status(
    trail: &AuditTrail,
    standing: &Standing,
    unclear: Option<&Problem>,
    sending: &Sending,
    signed: Option<&Signed>,
    now: Timestamp,
) -> AuditTrailStatus {
    let before = trail.status.clone().unwrap_or_default();
    let progress = match standing {
        Standing::Open if let Some(Problem { reason, message, .. }) = unclear => {
            let words = format!("events are put on record as they were asked for before: {message}");
            Progress::Reconciling(*reason, words)
        }
        Standing::Open => Progress::Ready("every event is on record before it is shown".into()),
        Standing::Lost(reason @ Reason::AuditBroken, why) => Progress::Stalled(*reason, why.clone()),
        Standing::Lost(reason, why) => Progress::Reconciling(*reason, why.clone()),
        Standing::Opening | Standing::Unwanted => Progress::Reconciling(Reason::Applying, "it is being opened".into()),
    };
    let mut all = conditions(&progress);
    all.extend(match sending {
        Sending::Unwanted => None,
        Sending::Working => {
            let words = "the webhook takes what is on record".to_owned();
            Some((ConditionType::WebhookDelivered, true, Reason::Ready, words))
        }
        Sending::Waiting(why) => Some((ConditionType::WebhookDelivered, false, Reason::WebhookWaiting, why.clone())),
        Sending::Refused(why) => Some((ConditionType::WebhookDelivered, false, Reason::WebhookRefused, why.clone())),
    });
    let generation = trail.metadata.generation;
    let mut after = AuditTrailStatus {
        observed_generation: generation,
        conditions: merge(&before.conditions, all, generation, now),
        ..before
    };
    // A checkpoint and what it verifies with are written together, or not at all.
    if let Some(Signed { head, at, text, public_key }) = signed {
        after.chain = Some(head.id.clone());
        // The checkpoint is a record, too.
        after.records = i64::try_from(head.records + 1).ok();
        after.signed_records = i64::try_from(head.records).ok();
        after.checkpoint_time = Some(Time(whole_seconds(*at)));
        after.checkpoint = Some(text.clone());
        after.public_key = Some(public_key.clone());
    }
    after
}
