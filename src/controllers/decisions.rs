//! Writes down what people decided: a SecurityEvent for each AccessApproval, by its reviewer.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use tokio::sync::mpsc::UnboundedReceiver;

use super::context::Context;
use crate::api::{AccessApproval, Action, ActorType, Decision, Side};
use crate::domain::approval::because;
use crate::domain::event::Happening;
use crate::k8s::objects::object_ref;

/// Older ones were written down by whoever led before: it was not away for so long.
const FRESH: SignedDuration = SignedDuration::from_mins(10);

/// Writes down each decision that comes, for ever; the same one once.
pub async fn announce(context: Arc<Context>, mut decisions: UnboundedReceiver<Arc<AccessApproval>>) {
    while let Some(approval) = decisions.recv().await {
        let fresh = |at: Timestamp| Timestamp::now().duration_since(at) < FRESH;
        if approval.creation_timestamp().is_some_and(|at| fresh(at.0)) {
            context.record(happening(&context, &approval), "decided").await;
        }
    }
}

fn happening(context: &Context, approval: &AccessApproval) -> Happening {
    let spec = &approval.spec;
    let (action, word) = match (spec.side, spec.decision) {
        (Side::Consumer, Decision::Approved) => (Action::ShareAccepted, "accepted"),
        (Side::Consumer, Decision::Denied) => (Action::ShareRejected, "rejected"),
        (Side::Consumer, Decision::Revoked) => (Action::ShareWithdrawn, "withdrawn"),
        (_, Decision::Approved) => (Action::RequestApproved, "approved"),
        (_, Decision::Denied) => (Action::RequestDenied, "denied"),
        (_, Decision::Revoked) => (Action::RequestRevoked, "revoked"),
    };
    let key = context.world.index().key_of(approval);
    let (request, target) = (&spec.request_ref, &spec.target_ref);
    let whose = match &spec.partner_ref {
        Some(partner) => format!("Partner {}", partner.name),
        None => format!("RoleBinding {}/{}", request.namespace, request.name),
    };
    let why = because(spec);
    let message = format!("{:?} {} {word} for {whose}{why}", target.kind, target.name);
    let actor = if spec.side == Side::Consumer { ActorType::Partner } else { ActorType::User };
    let happening = Happening::new(
        action,
        object_ref("AccessApproval", &key, approval.uid()),
        format!("{:?}", spec.decision),
        message,
    )
    .by(actor, &spec.reviewer)
    .concerning([request.namespace.clone()]);
    Happening { correlation: request.uid.clone().into(), ..happening }
}
