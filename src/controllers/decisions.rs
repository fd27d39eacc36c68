//! Puts on record what people decided: an event for each AccessApproval, by its reviewer, and for each Invitation, by its inviter.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use tokio::sync::mpsc::UnboundedReceiver;

use super::context::Context;
use crate::api::{AccessApproval, Action, ActorType, Decision, Invitation, Side};
use crate::domain::approval::because;
use crate::domain::event::Happening;
use crate::domain::names::ObjectKey;
use crate::k8s::objects::object_ref;

/// Older ones were put on record by whoever led before: it was not away for so long.
const FRESH: SignedDuration = SignedDuration::from_mins(10);

/// What somebody decided.
pub enum Decided {
    /// About a request, or a share.
    Approval(Arc<AccessApproval>),
    /// To invite a partner.
    Invitation(Arc<Invitation>),
}

/// Puts each decision that comes on record, for ever; the same one once.
pub async fn announce(context: Arc<Context>, mut decisions: UnboundedReceiver<Decided>) {
    while let Some(decided) = decisions.recv().await {
        let (at, happening) = match &decided {
            Decided::Approval(approval) => (approval.creation_timestamp(), decision(approval)),
            Decided::Invitation(invitation) => (invitation.creation_timestamp(), invited(invitation)),
        };
        if at.is_some_and(|at| Timestamp::now().duration_since(at.0) < FRESH) {
            context.record(happening, "decided").await;
        }
    }
}

fn decision(approval: &AccessApproval) -> Happening {
    let spec = &approval.spec;
    let (action, word) = match (spec.side, spec.decision) {
        (Side::Consumer, Decision::Approved) => (Action::ShareAccepted, "accepted"),
        (Side::Consumer, Decision::Denied) => (Action::ShareRejected, "rejected"),
        (Side::Consumer, Decision::Revoked) => (Action::ShareWithdrawn, "withdrawn"),
        (_, Decision::Approved) => (Action::RequestApproved, "approved"),
        (_, Decision::Denied) => (Action::RequestDenied, "denied"),
        (_, Decision::Revoked) => (Action::RequestRevoked, "revoked"),
    };
    let (request, target) = (&spec.request_ref, &spec.target_ref);
    let whose = match &spec.partner_ref {
        Some(partner) => format!("Partner {}", partner.name),
        None => format!("RoleBinding {}/{}", request.namespace, request.name),
    };
    let message = format!("{:?} {} {word} for {whose}{}", target.kind, target.name, because(spec));
    let actor = if spec.side == Side::Consumer { ActorType::Partner } else { ActorType::User };
    let key = ObjectKey::new(approval.namespace().unwrap_or_default(), approval.name_any());
    let object = object_ref("AccessApproval", &key, approval.uid());
    let happening = Happening::new(action, object, format!("{:?}", spec.decision), message)
        .by(actor, &spec.reviewer)
        .concerning([request.namespace.clone()]);
    Happening { correlation: Some(request.uid.clone()), ..happening }
}

fn invited(invitation: &Invitation) -> Happening {
    let spec = &invitation.spec;
    let key = ObjectKey::new(invitation.namespace().unwrap_or_default(), invitation.name_any());
    let message = format!("Partner {} is invited to ExternalShare {}", spec.partner_ref.name, spec.share_ref.name);
    let happening =
        Happening::new(Action::ShareInvited, object_ref("Invitation", &key, invitation.uid()), "Invited", message)
            .by(ActorType::User, &spec.inviter);
    Happening { correlation: Some(spec.share_ref.uid.clone()), ..happening }
}
