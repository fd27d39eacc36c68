//! Puts on record what people decided: an event for each AccessApproval, by its reviewer, and for each Invitation, by its inviter;
//! and one for each approval that somebody deleted.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use tokio::sync::mpsc::UnboundedReceiver;

use super::context::Context;
use crate::api::{AccessApproval, Action, ActorType, Decision, Invitation, Side};
use crate::domain::approval::{because, is_in_force, is_there};
use crate::domain::event::Happening;
use crate::domain::index::Index;
use crate::domain::names::ObjectKey;
use crate::k8s::objects::object_ref;

/// Decisions from so long before the last leader was heard of may not be on record: it may not have come to them. What is, is not
/// put there twice.
const BEFORE: SignedDuration = SignedDuration::from_mins(10);
/// A decision that is told so long after it was made says when that was.
const LATE: SignedDuration = SignedDuration::from_mins(1);
/// How many are told at once.
const AT_ONCE: usize = 100;
/// The watch that tells of a decision may be ahead of the one that tells of the request by so much.
const BEHIND: Duration = Duration::from_secs(1);

/// What somebody decided.
pub enum Decided {
    /// About a request, or a share.
    Approval(Arc<AccessApproval>),
    /// That such a decision is to count no more: it was deleted.
    Deleted(Arc<AccessApproval>),
    /// To invite a partner.
    Invitation(Arc<Invitation>),
}

impl Decided {
    /// What it means that `key` is this AccessApproval now, or none; `index` does not know yet.
    pub fn of(index: &Index, key: &ObjectKey, now: Option<&Arc<AccessApproval>>) -> impl Iterator<Item = Self> + use<> {
        let before = index.approval(key).filter(|before| now.is_none_or(|now| now.uid() != before.uid()));
        let gone = before.filter(|before| is_in_force(index, before, Timestamp::now())).cloned();
        gone.map(Self::Deleted).into_iter().chain(now.cloned().map(Self::Approval))
    }

    fn made_at(&self) -> Option<Timestamp> {
        let at = match self {
            Self::Approval(approval) => approval.creation_timestamp(),
            Self::Deleted(_) => None,
            Self::Invitation(invitation) => invitation.creation_timestamp(),
        };
        at.map(|at| at.0)
    }

    /// Tells it from all others.
    fn id(&self) -> (bool, String) {
        match self {
            Self::Approval(approval) => (false, approval.uid().unwrap_or_default()),
            Self::Deleted(approval) => (true, approval.uid().unwrap_or_default()),
            Self::Invitation(invitation) => (false, invitation.uid().unwrap_or_default()),
        }
    }

    /// When it was made, if that was so long ago that it has to be said.
    fn made_long_ago(&self) -> Option<Timestamp> {
        self.made_at().filter(|at| Timestamp::now().duration_since(*at) > LATE)
    }

    /// Whether it is a new one about a request that is not known, or not yet.
    fn is_ahead(&self, index: &Index) -> bool {
        match self {
            Self::Approval(approval) => self.made_long_ago().is_none() && !is_there(index, &approval.spec.request_ref),
            Self::Deleted(_) | Self::Invitation(_) => false,
        }
    }

    fn happening(&self, index: &Index) -> (Happening, String) {
        match self {
            Self::Approval(approval) => (decision(approval, index), "decided".to_owned()),
            Self::Deleted(approval) => (deletion(approval), "deleted".to_owned()),
            Self::Invitation(invitation) => (invited(invitation), "decided".to_owned()),
        }
    }
}

/// Puts each decision that comes on record, for ever; the same one once.
pub async fn announce(context: Arc<Context>, mut decisions: UnboundedReceiver<Decided>) {
    let since = context.away_since.checked_sub(BEFORE).unwrap_or(Timestamp::MIN);
    let (mut some, mut known) = (Vec::new(), BTreeSet::new());
    while decisions.recv_many(&mut some, AT_ONCE).await > 0 {
        some.retain(|decided: &Decided| decided.made_at().is_none_or(|at| at >= since) && known.insert(decided.id()));
        let is_ahead = some.iter().any(|decided| decided.is_ahead(&context.world.index()));
        if is_ahead {
            tokio::time::sleep(BEHIND).await;
        }
        let told = some.drain(..).map(|decided| {
            let (mut happening, key) = decided.happening(&context.world.index());
            happening.message.extend(decided.made_long_ago().map(|at| format!("; decided at {at}")));
            (happening, key)
        });
        let told = told.collect();
        context.record_all(told).await;
    }
}

fn decision(approval: &AccessApproval, index: &Index) -> Happening {
    let spec = &approval.spec;
    let (action, word) = match (spec.side, spec.decision) {
        (Side::Consumer, Decision::Approved) => (Action::ShareAccepted, "accepted"),
        (Side::Consumer, Decision::Denied) => (Action::ShareRejected, "rejected"),
        (Side::Consumer, Decision::Revoked) => (Action::ShareWithdrawn, "withdrawn"),
        (_, Decision::Approved) => (Action::RequestApproved, "approved"),
        (_, Decision::Denied) => (Action::RequestDenied, "denied"),
        (_, Decision::Revoked) => (Action::RequestRevoked, "revoked"),
    };
    let message = format!("{} {word} for {}{}", target(approval), requester(approval), because(spec));
    let actor = if spec.side == Side::Consumer { ActorType::Partner } else { ActorType::User };
    let happening = about(approval, action, &format!("{:?}", spec.decision), message).by(actor, &spec.reviewer);
    // Whoever decides may name any request: that of another namespace is shown there if there is just that one.
    let concerned = is_there(index, &spec.request_ref).then(|| spec.request_ref.namespace.clone());
    happening.concerning(concerned)
}

/// An approval does not count any more. Who deleted it only the API server knows.
fn deletion(approval: &AccessApproval) -> Happening {
    let what = format!("the approval by {} was deleted: {}", approval.spec.reviewer, target(approval));
    let message = format!("{what} is not approved by it any more for {}", requester(approval));
    about(approval, Action::RequestRevoked, "Deleted", message).concerning([approval
        .spec
        .request_ref
        .namespace
        .clone()])
}

fn target(approval: &AccessApproval) -> String {
    format!("{:?} {}", approval.spec.target_ref.kind, approval.spec.target_ref.name)
}

fn requester(approval: &AccessApproval) -> String {
    let request = &approval.spec.request_ref;
    match &approval.spec.partner_ref {
        Some(partner) => format!("Partner {}", partner.name),
        None => format!("RoleBinding {}/{}", request.namespace, request.name),
    }
}

fn about(approval: &AccessApproval, action: Action, reason: &str, message: String) -> Happening {
    let key = ObjectKey::new(approval.namespace().unwrap_or_default(), approval.name_any());
    let happening = Happening::new(action, object_ref("AccessApproval", &key, approval.uid()), reason, message);
    Happening { correlation: Some(approval.spec.request_ref.uid.clone()), ..happening }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Decided, decision, deletion};
    use crate::api::{AccessApproval, Action, ActorType};
    use crate::domain::index::Update;
    use crate::domain::testing::{World, key, uid};

    /// An approval of `fraud/orders` until this year, which is made anew with another UID each time.
    fn approval(object: &str, request: &str, until: i16) -> Arc<AccessApproval> {
        let approval = serde_json::json!({
            "metadata": {"namespace": "payments", "name": "one", "uid": object},
            "spec": {"requestRef": {"kind": "RoleBinding", "namespace": "fraud", "name": "orders", "uid": request},
                "targetRef": {"kind": "StreamRole", "name": "reader"}, "reviewer": "olga", "decision": "Approved",
                "scope": {"streams": [], "notAfter": format!("{until}-01-01T00:00:00Z")}}});
        Arc::new(serde_json::from_value(approval).unwrap())
    }

    fn world(approval: &Arc<AccessApproval>) -> World {
        let mut world = World::payments();
        world.bind("payments/reader", "{kind: StreamClient, name: scorer}");
        world.index.apply(Update::Approval(key("payments/one"), Some(approval.clone())), world.now);
        world
    }

    fn heard(world: &World, now: Option<&Arc<AccessApproval>>) -> Vec<(bool, String)> {
        Decided::of(&world.index, &key("payments/one"), now).map(|decided| decided.id()).collect()
    }

    #[test]
    fn an_approval_that_is_deleted_is_taken_back_if_it_still_gave_anything() {
        let request = uid("RoleBinding fraud/orders");
        let before = approval("a", &request, 9000);
        let gone = || (true, "a".to_owned());
        let made = |uid: &str| (false, uid.to_owned());
        assert_eq!(heard(&world(&before), None), [gone()]);
        assert_eq!(heard(&world(&before), Some(&before)), [made("a")], "it changed");
        assert_eq!(
            heard(&world(&before), Some(&approval("b", &request, 9000))),
            [gone(), made("b")],
            "it was made anew"
        );
        assert_eq!(heard(&world(&approval("a", &request, 2020)), None), [], "its time was over");
        assert_eq!(heard(&world(&approval("a", "another", 9000)), None), [], "what it approved is gone");
    }

    #[test]
    fn a_decision_is_shown_to_the_namespace_of_its_request_only_if_there_is_one() {
        let request = uid("RoleBinding fraud/orders");
        let of = approval("a", &request, 9000);
        let told = decision(&of, &world(&of).index);
        assert_eq!((told.action, told.concerns.as_slice()), (Action::RequestApproved, ["fraud".to_owned()].as_slice()));
        let of = approval("a", "made-up", 9000);
        assert!(decision(&of, &world(&of).index).concerns.is_empty());
        let told = deletion(&of);
        assert_eq!((told.action, told.reason.as_str()), (Action::RequestRevoked, "Deleted"));
        assert_eq!(told.actor.type_, ActorType::Weir, "who deleted it is not known");
    }
}
