//! Writes down what people decided: a SecurityEvent for each AccessApproval, by its reviewer.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use tokio::sync::mpsc::UnboundedReceiver;

use super::context::Context;
use crate::api::{AccessApproval, Action, Decision, Outcome};
use crate::domain::event::Happening;
use crate::k8s::objects::object_ref;

/// Older ones were written down by whoever led before: it was not away for so long.
const FRESH: SignedDuration = SignedDuration::from_mins(10);

/// Writes down each decision that comes, for ever; the same one once.
pub async fn announce(context: Arc<Context>, mut decisions: UnboundedReceiver<Arc<AccessApproval>>) {
    while let Some(approval) = decisions.recv().await {
        let fresh = |at: Timestamp| Timestamp::now().duration_since(at) < FRESH;
        if approval.creation_timestamp().is_some_and(|at| fresh(at.0)) {
            context.record_by(&approval.spec.reviewer, happening(&context, &approval), "decided").await;
        }
    }
}

fn happening(context: &Context, approval: &AccessApproval) -> Happening {
    let spec = &approval.spec;
    let (action, word) = match spec.decision {
        Decision::Approved => (Action::RequestApproved, "approved"),
        Decision::Denied => (Action::RequestDenied, "denied"),
        Decision::Revoked => (Action::RequestRevoked, "revoked"),
    };
    let key = context.world.index().key_of(approval);
    let (request, role) = (&spec.request_ref, &spec.target_ref.name);
    let why = spec.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    Happening {
        action,
        object: object_ref("AccessApproval", &key, approval.uid()),
        outcome: Outcome::Success,
        reason: format!("{:?}", spec.decision),
        message: format!("StreamRole {role} {word} for RoleBinding {}/{}{why}", request.namespace, request.name),
        cluster: None,
        principals: Vec::new(),
    }
}
