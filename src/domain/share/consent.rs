//! Who agreed to what of a share: an upper bound of what a partner gets. See [`crate::api::AccessApproval`].

use std::collections::BTreeSet;

use jiff::Timestamp;
use kube::ResourceExt;

use super::{Guest, copy};
use crate::api::{
    Acceptance, Access, AccessApproval, Decision, ExternalShare, Partner, Reason, RequestKind, Scope, Side, UidRef,
};
use crate::domain::approval::{because, can_count, covers, few, is_by_another, is_of, is_over};
use crate::domain::index::Index;
use crate::domain::names::ObjectKey;
use crate::domain::problem::Problem;

/// What was approved by every side that has a say, and holds now.
pub(super) struct Consent<'a> {
    sides: Vec<(Side, Vec<&'a Scope>)>,
    acceptance: Option<&'a Acceptance>,
}

/// Who agreed to what.
///
/// # Errors
/// Somebody denied or revoked it; or no approval can count.
pub(super) fn consent<'a>(
    index: &'a Index,
    share: &ExternalShare,
    partner: &Partner,
    now: Timestamp,
) -> Result<Consent<'a>, Problem> {
    let decisions: Vec<_> = decisions(index, share, partner).collect();
    if let Some(against) = decisions.iter().find(|d| d.spec.decision != Decision::Approved) {
        return Err(refusal(against));
    }
    can_count(index, share)?;
    let required: BTreeSet<_> = share.spec.approvals.iter().copied().chain([Side::Consumer]).collect();
    let holds = |scope: &&Scope| {
        scope.pattern == Some(share.spec.pattern)
            && scope.destination.as_ref() == copy::destination(share)
            && scope.purpose == share.spec.purpose
            && !is_over(scope, now)
    };
    let of = |side: Side| {
        let by_it = decisions.iter().filter(|d| d.spec.side == side && is_by_another(d, share));
        (side, by_it.filter_map(|d| d.spec.scope.as_ref()).filter(holds).collect())
    };
    let holding = decisions.iter().filter(|d| d.spec.scope.as_ref().is_some_and(|s| holds(&s)));
    let newest = holding.filter(|d| d.spec.acceptance.is_some()).max_by_key(|d| (d.creation_timestamp(), d.name_any()));
    let acceptance = newest.and_then(|d| d.spec.acceptance.as_ref());
    Ok(Consent { sides: required.into_iter().map(of).collect(), acceptance })
}

/// The decisions about a share with a partner.
fn decisions<'a>(
    index: &'a Index,
    share: &ExternalShare,
    partner: &Partner,
) -> impl Iterator<Item = &'a AccessApproval> + use<'a> {
    let request = index.key_of(share);
    let (uid, of_partner) = (share.uid(), partner.uid().map(|uid| UidRef { name: partner.name_any(), uid }));
    let namespace = request.namespace.clone();
    index
        .approvals_of(&request)
        .filter(move |(key, approval)| {
            key.namespace == namespace
                && is_of(approval, RequestKind::ExternalShare, uid.as_deref())
                && of_partner.is_some()
                && approval.spec.partner_ref == of_partner
        })
        .map(|(_, approval)| approval)
}

fn refusal(against: &AccessApproval) -> Problem {
    let spec = &against.spec;
    let why = because(spec);
    let (reason, what) = match (spec.side, spec.decision) {
        (Side::Consumer, Decision::Revoked) => (Reason::Revoked, "withdrawn"),
        (Side::Consumer, _) => (Reason::Rejected, "rejected"),
        (_, Decision::Revoked) => (Reason::Revoked, "revoked"),
        (..) => (Reason::Denied, "denied"),
    };
    Problem::invalid(reason, format!("it was {what} by {}{why}", spec.reviewer))
}

impl Consent<'_> {
    /// How the partner is known that accepted anything that holds now: by what it said last.
    pub(super) fn acceptance(&self) -> Option<&Acceptance> {
        self.acceptance
    }

    /// Whether every side approved anything that holds now.
    pub(super) fn is_agreed(&self) -> bool {
        self.sides.iter().all(|(_, scopes)| !scopes.is_empty())
    }

    /// The sides that did not approve that this stream is read.
    pub(super) fn missing(&self, product: &str, stream: &str) -> BTreeSet<Side> {
        let allows = |scope: &&Scope| covers(scope, product, stream, Access::Read);
        let lacking = self.sides.iter().filter(|(_, scopes)| !scopes.iter().any(&allows));
        lacking.map(|(side, _)| *side).collect()
    }

    /// When the next of what was approved ends.
    pub(super) fn next_end(&self, now: Timestamp) -> Option<Timestamp> {
        let ends = self.sides.iter().flat_map(|(_, scopes)| scopes).filter_map(|s| s.not_after.as_ref());
        ends.map(|at| at.0).filter(|at| *at > now).min()
    }

    /// When the last of what was approved ends, where that is before the end of time, on the side where it ends first.
    pub(super) fn end(&self) -> Option<Timestamp> {
        self.sides.iter().filter_map(|(_, scopes)| last_end(scopes)).min()
    }

    /// The sides whose approvals all end before that.
    pub(super) fn ends_before(&self, end: Timestamp) -> BTreeSet<Side> {
        let early = self.sides.iter().filter(|(_, scopes)| last_end(scopes).is_some_and(|at| at < end));
        early.map(|(side, _)| *side).collect()
    }
}

/// When the last of these ends, where all of them do.
fn last_end(scopes: &[&Scope]) -> Option<Timestamp> {
    let ends: Option<Vec<_>> = scopes.iter().map(|s| s.not_after.as_ref().map(|at| at.0)).collect();
    ends.and_then(|ends| ends.into_iter().max())
}

/// What to say of what waits, side by side.
pub(super) fn awaiting(share: &ObjectKey, guest: &Guest) -> Option<Problem> {
    let what = few(guest.awaited.iter());
    let ours: Vec<_> = guest.awaits.iter().filter(|s| **s != Side::Consumer).map(|s| format!("{s:?}")).collect();
    let ObjectKey { namespace, name } = share;
    let partner = &guest.partner;
    if !ours.is_empty() {
        return Some(Problem::waiting(
            Reason::AwaitingApproval,
            format!(
                "{what} for Partner {partner} waits for approval by side {}: kubectl weir approve --namespace {namespace} \
                 --share {name} --partner {partner}",
                ours.join(" and ")
            ),
        ));
    }
    guest.awaits.contains(&Side::Consumer).then(|| {
        Problem::waiting(
            Reason::AwaitingAcceptance,
            format!(
                "{what} waits for Partner {partner} to accept: kubectl weir invite --namespace {namespace} {name} --partner \
                 {partner} makes an invitation"
            ),
        )
    })
}
