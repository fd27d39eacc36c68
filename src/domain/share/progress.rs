//! How far a share is: with each partner, and as a whole.

use super::Guest;
use crate::api::{ConditionType, Reason, SharePhase, SharedWith, Side};
use crate::domain::conditions::{Progress, conditions, progress};
use crate::domain::problem::Problem;
use ConditionType::ReplicationHealthy;

/// One partner, with what was seen.
#[derive(Clone, Debug)]
pub struct Seen<'a> {
    /// What it should have.
    pub guest: &'a Guest,
    /// What stands in the way of that, sorted.
    pub problems: Vec<Problem>,
    /// A credential is current and can be fetched, or was.
    pub has_credential: bool,
    /// Some broker may still show an entry of it.
    pub has_access: bool,
    /// Some broker may still know a credential of it.
    pub has_identity: bool,
    /// An invitation that can still be answered.
    pub invitation: Invited,
    /// The share copies what it shares.
    pub is_copied: bool,
    /// What is left of a copy that is over.
    pub remains: Option<String>,
    /// What to say where nothing stands in the way.
    pub ready: String,
}

/// What became of a partner's invitations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invited {
    /// There is none.
    NotYet,
    /// There is one that can be answered.
    Open,
    /// The newest was not answered in time.
    Expired,
}

/// What ends a share, and the phase that it is in then.
const ENDS: [(Reason, SharePhase); 5] = [
    (Reason::Deleting, SharePhase::Revoking),
    (Reason::Revoked, SharePhase::Revoked),
    (Reason::Expired, SharePhase::Expired),
    (Reason::Denied, SharePhase::Rejected),
    (Reason::Rejected, SharePhase::Rejected),
];

impl Seen<'_> {
    fn has(&self, reason: Reason) -> bool {
        self.problems.iter().any(|p| p.reason == reason)
    }

    /// In a word.
    pub fn phase(&self) -> SharePhase {
        if let Some((_, phase)) = ENDS.into_iter().find(|(reason, _)| self.has(*reason)) {
            return if self.has_access || self.has_identity { SharePhase::Revoking } else { phase };
        }
        let stopped = [
            Reason::Suspended,
            Reason::Quarantined,
            Reason::ClassificationForbidsPattern,
            Reason::DestinationNotAllowed,
        ];
        let agreed = self.guest.client.is_some();
        if agreed && stopped.into_iter().any(|reason| self.has(reason)) {
            return if self.has_access { SharePhase::Revoking } else { SharePhase::Suspended };
        }
        if agreed {
            let reads = !self.guest.resolution.topics.is_empty();
            let on_its_way = [Reason::Applying, Reason::ClusterNotReady, Reason::ReplicationStarting];
            let applied = !on_its_way.into_iter().any(|reason| self.has(reason));
            return if reads && applied && self.has_credential { SharePhase::Active } else { SharePhase::Provisioning };
        }
        if self.guest.awaits == [Side::Consumer].into() {
            return if self.invitation == Invited::Expired {
                SharePhase::InvitationExpired
            } else {
                SharePhase::Invited
            };
        }
        SharePhase::PendingApproval
    }

    /// What stands in its way that nobody decided, and that is not over.
    pub fn obstacles(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(|p| !ENDS.iter().any(|(reason, _)| p.reason == *reason))
    }

    /// For people. That it is over, or stopped, is said once no broker shows anything of it.
    pub fn progress(&self) -> Progress {
        progress(&self.told(), Progress::Ready(self.ready.clone()))
    }

    fn told(&self) -> Vec<Problem> {
        if self.phase() != SharePhase::Revoking {
            return self.problems.clone();
        }
        use Reason::{Applying, ClusterNotReady, ConfirmationRequired, Deleting};
        let under_way = |p: &&Problem| matches!(p.reason, Applying | ClusterNotReady | ConfirmationRequired | Deleting);
        let mut told: Vec<_> = self.problems.iter().filter(under_way).cloned().collect();
        if told.is_empty() {
            let left = self.remains.as_deref().unwrap_or("its credentials are being removed from every broker");
            told.push(Problem::waiting(Applying, left));
        }
        told
    }
}

/// Partners that somebody on this side has to approve, and had not to as of the status before.
pub fn newly_asked<'a>(before: &[SharedWith], after: &'a [SharedWith]) -> Vec<&'a str> {
    let asked = |name: &str| before.iter().any(|was| was.name == name && awaits_approval(was));
    let new = after.iter().filter(|now| awaits_approval(now) && !asked(&now.name));
    new.map(|now| now.name.as_str()).collect()
}

/// Partners that somebody on this side had yet to approve, and that had nothing of the share.
pub fn still_asked(partners: &[SharedWith]) -> Vec<&str> {
    let asked = partners.iter().filter(|p| awaits_approval(p) && p.principal.is_none());
    asked.map(|p| p.name.as_str()).collect()
}

/// Whether a partner gets nothing before somebody on this side approves it. That it has to accept, too, is no matter.
fn awaits_approval(partner: &SharedWith) -> bool {
    partner.phase == SharePhase::PendingApproval && partner.awaits.iter().any(|side| *side != Side::Consumer)
}

/// The conditions of a share: each holds when it does for every partner.
pub fn share_conditions(all: &[Seen<'_>]) -> Vec<(ConditionType, bool, Reason, String)> {
    let named = |seen: &Seen<'_>, problem: &Problem| Problem {
        message: format!("Partner {}: {}", seen.guest.partner, problem.message),
        ..problem.clone()
    };
    let mut problems: Vec<_> =
        all.iter().flat_map(|s| s.told().iter().map(|p| named(s, p)).collect::<Vec<_>>()).collect();
    problems.sort();
    let about: Vec<_> = all.iter().map(|s| format!("Partner {}: {}", s.guest.partner, s.ready)).collect();
    let mut list = conditions(&progress(&problems, Progress::Ready(about.join("; "))));
    let copies = all.iter().any(|seen| seen.is_copied);
    for (type_, reasons, holds) in CONDITIONS.into_iter().filter(|(type_, ..)| copies || *type_ != ReplicationHealthy) {
        let against = problems.iter().find(|p| reasons.contains(&p.reason));
        list.push(match against {
            Some(problem) => (type_, false, problem.reason, problem.message.clone()),
            None => match renewals(all, type_) {
                Some(waits) => (type_, true, Reason::AwaitingApproval, format!("{holds}; {waits}")),
                None => (type_, true, Reason::Ready, holds.to_owned()),
            },
        });
    }
    let lacking = all.iter().find(|s| s.guest.client.is_none() || !s.has_credential);
    list.push(match lacking {
        Some(seen) => {
            let message = format!("Partner {} has no credential", seen.guest.partner);
            (ConditionType::CredentialsReady, false, Reason::Applying, message)
        }
        None => (ConditionType::CredentialsReady, true, Reason::Ready, "every partner has a credential".into()),
    });
    list
}

/// What a condition about agreement has to say of shares that are to last for longer: what is agreed holds to its own end.
fn renewals(all: &[Seen<'_>], of: ConditionType) -> Option<String> {
    let is_of = |side: &&Side| match of {
        ConditionType::OwnerApproved => **side != Side::Consumer,
        ConditionType::ConsumerAccepted => **side == Side::Consumer,
        _ => false,
    };
    let waits = all.iter().filter_map(|seen| {
        let (until, sides) = seen.guest.renewal.as_ref()?;
        let sides: Vec<_> = sides.iter().filter(is_of).map(|s| format!("{s:?}")).collect();
        let (partner, ends_at) = (&seen.guest.partner, seen.guest.ends_at?);
        (!sides.is_empty()).then(|| {
            format!(
                "for Partner {partner} it ends at {ends_at}: lasting until {until} waits for side {}",
                sides.join(" and ")
            )
        })
    });
    let waits: Vec<_> = waits.collect();
    (!waits.is_empty()).then(|| waits.join("; "))
}

/// A condition, what speaks against it, and what to say where nothing does.
type Rule = (ConditionType, &'static [Reason], &'static str);

const CONDITIONS: [Rule; 5] = [
    (
        ConditionType::OwnerApproved,
        &[
            Reason::AwaitingApproval,
            Reason::Denied,
            Reason::Revoked,
            Reason::RequesterUnknown,
            Reason::ApprovalsNotEnforced,
        ],
        "everybody on this side who has to approve has approved",
    ),
    (
        ConditionType::ConsumerAccepted,
        &[Reason::AwaitingApproval, Reason::AwaitingAcceptance, Reason::Rejected],
        "every partner accepted",
    ),
    (
        ConditionType::PolicyCompliant,
        &[
            Reason::ClassificationForbidsPattern,
            Reason::PurposeRequired,
            Reason::Quarantined,
            Reason::SeveralClusters,
            Reason::PartnerNotFound,
            Reason::DestinationNotAllowed,
        ],
        "classification, purposes and the partners' standing allow it",
    ),
    (
        ConditionType::AccessApplied,
        &[
            Reason::Applying,
            Reason::ClusterNotReady,
            Reason::ClusterNotFound,
            Reason::ConfirmationRequired,
            Reason::RefusedByBroker,
        ],
        "every broker shows what each partner should have now",
    ),
    (
        ReplicationHealthy,
        &[Reason::EngineNotFound, Reason::ReplicationStarting, Reason::ReplicationFailing],
        "records flow as they should, or none are meant to",
    ),
];

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Invited, Seen, newly_asked, still_asked};
    use crate::api::{Reason, SharedWith};
    use crate::domain::problem::Problem;
    use crate::domain::share::Guest;

    fn partner(name: &str, phase: &str, awaits: Value) -> SharedWith {
        let partner = json!({"name": name, "phase": phase, "reason": "r", "message": "m", "awaits": awaits});
        serde_json::from_value(partner).unwrap()
    }

    #[test]
    fn a_share_asks_once_for_each_partner_that_waits_for_this_side() {
        let pending = |name: &str| partner(name, "PendingApproval", json!(["Owner", "Consumer"]));
        let acme = [pending("acme")];
        assert_eq!(newly_asked(&[], &acme), ["acme"]);
        assert!(newly_asked(&acme, &acme).is_empty());
        assert_eq!(newly_asked(&acme, &[pending("acme"), pending("globex")]), ["globex"]);
        // What nobody has to decide yet, and what is decided on this side, is no request of it.
        for (phase, awaits) in
            [("PendingApproval", json!([])), ("Invited", json!(["Consumer"])), ("Active", json!(["Owner"]))]
        {
            let other = [partner("acme", phase, awaits)];
            assert!(newly_asked(&[], &other).is_empty() && still_asked(&other).is_empty(), "{phase}");
            assert_eq!(newly_asked(&other, &acme), ["acme"], "{phase}");
        }
    }

    #[test]
    fn a_request_is_withdrawn_for_those_who_had_nothing_of_it() {
        let pending = |name: &str| partner(name, "PendingApproval", json!(["Security"]));
        let lapsed = SharedWith { principal: Some("weir~1".into()), ..pending("globex") };
        assert_eq!(still_asked(&[pending("acme"), lapsed]), ["acme"]);
    }

    #[test]
    fn what_was_decided_or_is_over_is_no_obstacle() {
        let guest = Guest::without_anything("acme", String::new());
        use Reason::{ClassificationForbidsPattern, Deleting, Denied, Expired, Rejected, Revoked};
        let reasons = [Deleting, Revoked, Expired, Denied, Rejected, ClassificationForbidsPattern];
        let seen = Seen {
            guest: &guest,
            problems: reasons.map(|reason| Problem::invalid(reason, reason.as_str())).to_vec(),
            has_credential: false,
            has_access: false,
            has_identity: false,
            invitation: Invited::NotYet,
            is_copied: false,
            remains: None,
            ready: String::new(),
        };
        let left: Vec<_> = seen.obstacles().map(|p| p.reason).collect();
        assert_eq!(left, [ClassificationForbidsPattern]);
    }
}
