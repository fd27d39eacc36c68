//! What the AuditTrail says.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Sending, Standing};
use crate::api::{AuditTrail, AuditTrailStatus, ConditionType, Reason};
use crate::domain::audit::chain::Head;
use crate::domain::conditions::{Progress, conditions, merge, whole_seconds};

/// What is known of the chain.
pub struct Known<'a> {
    /// Where it goes on.
    pub head: Option<&'a Head>,
    /// A checkpoint that was made just now.
    pub signed: Option<Signed>,
    /// The key that it verifies with.
    pub public_key: Option<String>,
}

/// A checkpoint.
pub struct Signed {
    /// How many records it covers.
    pub records: u64,
    /// When it was made.
    pub at: Timestamp,
    /// It.
    pub text: String,
}

/// The status to write. Numbers are those of the last checkpoint, so that it changes no more often.
pub fn status(
    trail: &AuditTrail,
    standing: &Standing,
    sending: &Sending,
    known: Known<'_>,
    now: Timestamp,
) -> AuditTrailStatus {
    let before = trail.status.clone().unwrap_or_default();
    let progress = match standing {
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
        public_key: known.public_key.or(before.public_key),
        ..before
    };
    if let Some(head) = known.head {
        after.chain = Some(head.id.clone());
    }
    if let Some(Signed { records, at, text }) = known.signed {
        after.records = known.head.and_then(|h| i64::try_from(h.records).ok());
        after.signed_records = i64::try_from(records).ok();
        after.checkpoint_time = Some(Time(whole_seconds(at)));
        after.checkpoint = Some(text);
    }
    after
}
