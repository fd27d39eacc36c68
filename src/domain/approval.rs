//! What people decided about a request: an upper bound of what it gets. See [`crate::api::AccessApproval`].

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use kube::{Resource, ResourceExt};

use super::index::Index;
use super::names::ObjectKey;
use super::problem::Problem;
use super::tenancy::selects;
use crate::api::{
    Access, AccessApproval, AccessApprovalSpec, Approval, ApprovedStream, Decision, PendingRequest,
    REQUESTERS_ANNOTATION, Reason, RequestKind, RequestRef, RoleBinding, Scope, StreamRole, Subject, TargetKind,
};

/// What a role may give to a binding, as far as people have a say.
#[derive(Clone, Debug)]
pub enum Allowance<'a> {
    /// Nobody needs to decide.
    Everything,
    /// What lies within one of these.
    Within(Vec<&'a Scope>),
}

/// What waits for an approval.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Awaited {
    /// For whom.
    pub subjects: BTreeSet<Subject>,
    /// Products of the role's namespace with their streams, and what would be done with them.
    pub streams: BTreeMap<(String, String), BTreeSet<Access>>,
}

impl Allowance<'_> {
    /// What of `access` to a stream `subjects` may have, all of them.
    pub fn of(
        &self,
        subjects: &BTreeSet<&Subject>,
        product: &str,
        stream: &str,
        access: &[Access],
    ) -> BTreeSet<Access> {
        let Self::Within(scopes) = self else { return access.iter().copied().collect() };
        let allows = |scope: &Scope, access: Access| {
            subjects.iter().all(|s| scope.subjects.contains(s)) && covers(scope, product, stream, access)
        };
        access.iter().copied().filter(|a| scopes.iter().any(|scope| allows(scope, *a))).collect()
    }
}

/// What the owner of `role` lets `binding` have. `asked` says that admission asked for the verb `bind` on it: that is the owner's
/// word already, unless somebody took it back.
///
/// # Errors
/// Somebody denied or revoked it; or no approval can count.
pub fn allowance<'a>(
    index: &'a Index,
    binding: &'a RoleBinding,
    key: &'a ObjectKey,
    role: &StreamRole,
    asked: bool,
    now: Timestamp,
) -> Result<Allowance<'a>, Problem> {
    let decisions: Vec<_> = decisions(index, binding, key).collect();
    if let Some(against) = decisions.iter().find(|d| d.spec.decision != Decision::Approved) {
        return Err(refusal(against, key));
    }
    if asked || !is_wanted(index, binding, role) {
        return Ok(Allowance::Everything);
    }
    can_count(index, binding)?;
    let scopes = decisions.iter().filter(|a| is_by_another(a, binding)).filter_map(|a| a.spec.scope.as_ref());
    Ok(Allowance::Within(scopes.filter(|s| s.purpose == binding.spec.purpose && !is_over(s, now)).collect()))
}

/// Whether any approval of `request` can count.
///
/// # Errors
/// Why none can.
pub fn can_count<K: Resource>(index: &Index, request: &K) -> Result<(), Problem> {
    if !index.are_approvals_enforced() {
        return Err(Problem::waiting(
            Reason::ApprovalsNotEnforced,
            "no approval counts: the API server lacks Weir's admission policies weir-approvals and weir-requesters, or their \
             bindings; the chart has them",
        ));
    }
    if requesters(request).next().is_none() {
        let message =
            format!("nobody can tell who asked for it ({REQUESTERS_ANNOTATION}): delete it and make it again");
        return Err(Problem::invalid(Reason::RequesterUnknown, message));
    }
    Ok(())
}

/// Whether `scope` has that this is done with a stream.
pub fn covers(scope: &Scope, product: &str, stream: &str, access: Access) -> bool {
    scope.streams.iter().any(|s| s.product == product && s.stream == stream && s.access.contains(&access))
}

/// Whether `approval` is about this very object of `kind`, and not about one of its name that was before it.
pub fn is_of(approval: &AccessApproval, kind: RequestKind, uid: Option<&str>) -> bool {
    let of = &approval.spec.request_ref;
    of.kind == kind && Some(of.uid.as_str()) == uid && approval.metadata.deletion_timestamp.is_none()
}

/// Whether there is this very request, and not only one of its name.
pub fn is_there(index: &Index, request: &RequestRef) -> bool {
    let key = ObjectKey::new(&request.namespace, &request.name);
    let uid = match request.kind {
        RequestKind::RoleBinding => index.binding(&key).and_then(|binding| binding.uid()),
        RequestKind::ExternalShare => index.share(&key).and_then(|share| share.uid()),
    };
    uid.as_ref() == Some(&request.uid)
}

/// Whether access may end when `approval` is taken away: it approves something, still, of a request that there is.
pub fn is_in_force(index: &Index, approval: &AccessApproval, now: Timestamp) -> bool {
    let scope = approval.spec.scope.as_ref().filter(|_| approval.spec.decision == Decision::Approved);
    scope.is_some_and(|scope| !is_over(scope, now)) && is_there(index, &approval.spec.request_ref)
}

/// The reason of a decision, to end a sentence with.
pub fn because(decision: &AccessApprovalSpec) -> String {
    decision.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default()
}

/// Streams as `product/stream`, the first five.
pub fn few<'a>(streams: impl Iterator<Item = &'a (String, String)>) -> String {
    let names: Vec<_> = streams.map(|(product, stream)| format!("{product}/{stream}")).collect();
    let (first, rest) = names.split_at(names.len().min(5));
    let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
    first.join(", ") + &more
}

/// The decisions about a binding by a role's owner.
fn decisions<'a>(
    index: &'a Index,
    binding: &'a RoleBinding,
    role: &'a ObjectKey,
) -> impl Iterator<Item = &'a AccessApproval> {
    let request = index.key_of(binding);
    index
        .approvals_of(&request)
        .filter(move |(key, approval)| {
            let target = &approval.spec.target_ref;
            key.namespace == role.namespace
                && (target.kind, &target.name) == (TargetKind::StreamRole, &role.name)
                && is_of(approval, RequestKind::RoleBinding, binding.metadata.uid.as_deref())
        })
        .map(|(_, approval)| approval)
}

fn refusal(against: &AccessApproval, role: &ObjectKey) -> Problem {
    let (reason, what) = match against.spec.decision {
        Decision::Revoked => (Reason::Revoked, "revoked"),
        _ => (Reason::Denied, "denied"),
    };
    let why = because(&against.spec);
    Problem::invalid(reason, format!("StreamRole {role} was {what} by {}{why}", against.spec.reviewer))
}

/// Whether somebody has to approve what `binding` asks for of `role`, a role of another namespace.
pub fn is_wanted(index: &Index, binding: &RoleBinding, role: &StreamRole) -> bool {
    let own = binding.namespace().unwrap_or_default();
    let selected = |labels| role.spec.pre_approved.iter().any(|p| selects(&p.namespace_selector, labels));
    let pre_approved = index.namespace(&own).is_some_and(|namespace| selected(&namespace.labels));
    role.spec.approval == Approval::Owner && role.namespace().unwrap_or_default() != own && !pre_approved
}

/// Who made a request, and who changed its spec.
pub fn requesters<K: Resource>(request: &K) -> impl Iterator<Item = &str> {
    let annotation = request.meta().annotations.as_ref().and_then(|a| a.get(REQUESTERS_ANNOTATION));
    annotation.into_iter().flat_map(|all| all.lines())
}

/// Nobody approves what they ask for themselves. A name of several lines could be any of them.
pub fn is_by_another<K: Resource>(approval: &AccessApproval, request: &K) -> bool {
    let reviewer = &approval.spec.reviewer;
    reviewer.lines().count() == 1 && !requesters(request).any(|requester| requester == reviewer)
}

/// Whether an approval's time is over.
pub fn is_over(scope: &Scope, now: Timestamp) -> bool {
    scope.not_after.as_ref().is_some_and(|end| end.0 <= now)
}

/// Whether any approval of this very request is over.
pub fn lapsed<K: Resource>(index: &Index, request: &K, kind: RequestKind, now: Timestamp) -> bool {
    let key = ObjectKey::new(
        request.meta().namespace.clone().unwrap_or_default(),
        request.meta().name.clone().unwrap_or_default(),
    );
    let of_it = index.approvals_of(&key).filter(|(_, a)| is_of(a, kind, request.meta().uid.as_deref()));
    of_it.filter_map(|(_, a)| a.spec.scope.as_ref()).any(|scope| is_over(scope, now))
}

/// When the next of the approvals of a request ends.
pub fn next_end(index: &Index, binding: &RoleBinding, now: Timestamp) -> Option<Timestamp> {
    let scopes = index.approvals_of(&index.key_of(binding)).filter_map(|(_, a)| a.spec.scope.as_ref());
    scopes.filter_map(|s| s.not_after.as_ref()).map(|end| end.0).filter(|end| *end > now).min()
}

/// When the clock of a binding's `duration` begins: with the first approval that counts, where its role wants one.
pub fn start(index: &Index, binding: &RoleBinding, role: &ObjectKey) -> Option<Timestamp> {
    let approved =
        decisions(index, binding, role).filter(|a| a.spec.decision == Decision::Approved && is_by_another(a, binding));
    approved.filter_map(|a| a.creation_timestamp().map(|t| t.0)).min()
}

/// A binding, as a decision about it names it.
pub fn reference(binding: &RoleBinding) -> RequestRef {
    RequestRef {
        kind: RequestKind::RoleBinding,
        namespace: binding.namespace().unwrap_or_default(),
        name: binding.name_any(),
        uid: binding.uid().unwrap_or_default(),
    }
}

/// What waits, as an approval of all of it would say.
pub fn pending(binding: &RoleBinding, awaited: &Awaited) -> PendingRequest {
    let stream = |((product, stream), access): (&(String, String), &BTreeSet<Access>)| ApprovedStream {
        product: product.clone(),
        stream: stream.clone(),
        access: access.iter().copied().collect(),
    };
    PendingRequest {
        request: reference(binding),
        requesters: requesters(binding).map(str::to_owned).collect(),
        scope: Scope {
            subjects: awaited.subjects.iter().cloned().collect(),
            purpose: binding.spec.purpose.clone(),
            pattern: None,
            destination: None,
            streams: awaited.streams.iter().map(stream).collect(),
            not_after: None,
        },
    }
}

/// What to say of what waits.
pub fn awaiting(role: &ObjectKey, request: &ObjectKey, awaited: &Awaited) -> Problem {
    Problem::waiting(
        Reason::AwaitingApproval,
        format!(
            "StreamRole {role} waits for its owner's approval of {}: kubectl weir approve --namespace {} {request}",
            few(awaited.streams.keys()),
            role.namespace
        ),
    )
}
