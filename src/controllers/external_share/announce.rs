//! What is put on record of a share: that it is asked for, or refused, and one SecurityEvent for each step of each partner. Who sees
//! it is its own namespace.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::Found;
use crate::api::{
    self, ExternalShare, ExternalShareStatus, PARTNER_REVIEWER, ReplicationStatus, SharePhase, SharedWith,
};
use crate::controllers::announced::{Changed, changes, entries_of, taken};
use crate::controllers::context::Context;
use crate::controllers::refusals;
use crate::domain::approval::requesters;
use crate::domain::event::Happening;
use crate::domain::names::{ObjectKey, guest_uid};
use crate::domain::share::progress::{newly_asked, still_asked};
use crate::k8s::objects::object_ref;

/// Tells of what changed since the status that was last told.
pub async fn announce(
    context: &Context,
    share: &ExternalShare,
    key: &ObjectKey,
    found: &[Found<'_>],
    (before, after): (&ExternalShareStatus, &ExternalShareStatus),
) {
    let asked = newly_asked(&before.partners, &after.partners);
    if !asked.is_empty() {
        let partners = asked.join(", ");
        let message = format!("for Partner {partners}");
        let happening = about(share, key, api::Action::AccessRequested, "AwaitingApproval", &message);
        let which = format!("{:?}/{partners}", share.metadata.generation);
        context.record(happening.by_requester_of(share), &which).await;
    }
    let obstacles = found.iter().flat_map(|f| f.seen.obstacles());
    let refused = |action, reason: &str, message: &str| about(share, key, action, reason, message);
    refusals::announce(context, share, obstacles, &before.conditions, refused).await;
    copy_removed(context, share, key, before.replication.as_ref(), after.replication.as_ref()).await;
    for now in &after.partners {
        let was = before.partners.iter().find(|p| p.name == now.name);
        let version = share.resource_version().unwrap_or_default();
        let one = found.iter().find(|f| f.seen.guest.partner == now.name);
        let has = one.map(|f| entries_of(&f.grants)).unwrap_or_default();
        let changed = match was.and_then(|was| was.entries.as_ref()) {
            Some(was) if one.is_some_and(Found::is_told) => {
                let had = context.announced.had(&uid_of(share, now), was);
                changes((was, had.as_ref()), (now.entries.as_ref(), &has))
            }
            _ => Vec::new(),
        };
        for Step { action, reason, message, entries } in with_entries(steps(was, now), &has, changed, &now.name) {
            let mut happening = happening(share, key, now, (action, reason, &message));
            happening.entries = entries.into_iter().collect();
            let is_end = matches!(action, api::Action::AccessRevoked | api::Action::ShareSuspended);
            if let Some(was) = was.filter(|_| is_end) {
                name_all(context, share, was, &mut happening);
            }
            if let Some(partner) = context.world.index().partner(&now.name) {
                // Who puts a partner under quarantine stops its shares.
                let others = requesters(share).filter(|name| !requesters(partner).any(|other| other == *name));
                happening = happening.asked_by(requesters(partner).chain(others));
            }
            if action == api::Action::CredentialFetched {
                happening = happening.by(api::ActorType::Partner, format!("{PARTNER_REVIEWER}{}", now.name));
            }
            // What is seen twice before the status is written is one step, though the principal may be gone the second time.
            let is_of_version = matches!(action, api::Action::CredentialIssued | api::Action::CredentialRotated);
            let principal = now.principal.as_deref().filter(|_| is_of_version).unwrap_or_default();
            // Access may change again before the watch brings this status back.
            let is_change = matches!(action, api::Action::AccessGranted | api::Action::AccessNarrowed);
            let which = now.entries.as_ref().filter(|_| is_change).map_or(principal, |entries| &entries.hash);
            context.record(happening, &format!("{version}/{}/{which}", now.name)).await;
            context.events.note(share, action == api::Action::ShareEnded, reason, &message).await;
        }
    }
}

/// Tells of each part of a copy that is gone since the status before.
async fn copy_removed(
    context: &Context,
    share: &ExternalShare,
    key: &ObjectKey,
    before: Option<&ReplicationStatus>,
    after: Option<&ReplicationStatus>,
) {
    let Some(after) = after else { return };
    type At = fn(&ReplicationStatus) -> Option<&Time>;
    let removed: At = |status| status.removed_at.as_ref();
    let released: At = |status| status.topics_released_at.as_ref();
    let parts = [
        (removed, "ConnectorRemoved", format!("connector {} is gone, with its positions", after.connector)),
        (released, "TopicsReleased", "the topics of the copies were deleted, or let go".to_owned()),
    ];
    for (at, reason, message) in parts {
        let is_new = at(after).is_some() && before.and_then(at).is_none();
        if is_new {
            let happening = about(share, key, api::Action::CopyRemoved, reason, &message).on(&after.destination);
            context.record(happening, &format!("{reason}/{}", after.connector)).await;
        }
    }
}

/// One thing to tell of a partner.
struct Step {
    action: api::Action,
    /// Why, in a word.
    reason: &'static str,
    /// Why, in a sentence.
    message: String,
    /// What was given, or taken.
    entries: BTreeSet<String>,
}

/// Steps, and what else `changed`: a beginning names all that the partner `has`. What an end takes is not told beside it.
fn with_entries(
    steps: Vec<(api::Action, &'static str, String)>,
    has: &BTreeSet<String>,
    changed: Vec<Changed>,
    partner: &str,
) -> Vec<Step> {
    use api::Action::{AccessGranted, AccessNarrowed, AccessRevoked, ShareResumed, ShareStarted, ShareSuspended};
    let any = |of: &[api::Action]| steps.iter().any(|(action, ..)| of.contains(action));
    let (begins, ends) = (any(&[ShareStarted, ShareResumed]), any(&[AccessRevoked, ShareSuspended]));
    let is_told = |c: &Changed| (begins && c.action == AccessGranted) || (ends && c.action == AccessNarrowed);
    let others = changed.into_iter().filter(|c| !is_told(c)).map(|Changed { action, reason, message, entries }| Step {
        action,
        reason,
        message: format!("of Partner {partner}: {message}"),
        entries,
    });
    let steps = steps.into_iter().map(|(action, reason, message)| {
        let names_all = matches!(action, ShareStarted | ShareResumed);
        let entries = if names_all { has.clone() } else { BTreeSet::new() };
        Step { action, reason, message, entries }
    });
    others.chain(steps).collect()
}

/// What became of a partner from one status to the next.
fn steps(was: Option<&SharedWith>, now: &SharedWith) -> Vec<(api::Action, &'static str, String)> {
    use SharePhase::{Active, Expired, Rejected, Revoked, Suspended};
    let before = was.map(|w| w.phase);
    let mut steps = Vec::new();
    let partner = &now.name;
    if now.principal.is_some() && now.principal.as_ref() != was.and_then(|w| w.principal.as_ref()) {
        let (action, reason) = match was.and_then(|w| w.principal.as_ref()) {
            None => (api::Action::CredentialIssued, "Issued"),
            Some(_) => (api::Action::CredentialRotated, "Rotated"),
        };
        steps.push((action, reason, format!("Partner {partner} can fetch a credential")));
    }
    if now.fetched_at.is_some() && now.fetched_at.as_ref() != was.and_then(|w| w.fetched_at.as_ref()) {
        steps.push((api::Action::CredentialFetched, "Fetched", format!("Partner {partner} fetched its credential")));
    }
    let removed_at = |of: &SharedWith| of.revocation.as_ref().and_then(|r| r.access_removed_at.clone());
    if removed_at(now).is_some() && was.and_then(removed_at).is_none() {
        let message = format!("no broker shows an entry of Partner {partner} any more");
        steps.push((api::Action::AccessRevoked, "AccessRemoved", message));
    }
    if before == Some(now.phase) {
        return steps;
    }
    let step = match (before, now.phase) {
        (Some(Suspended), Active) => Some((api::Action::ShareResumed, "Resumed", "goes on")),
        (_, Active) => Some((api::Action::ShareStarted, "Started", "can read")),
        (Some(_), Suspended) => Some((api::Action::ShareSuspended, "Suspended", "is stopped for the time being")),
        (Some(_), Revoked) => Some((api::Action::ShareEnded, "Revoked", "is over")),
        (Some(_), Expired) => Some((api::Action::ShareEnded, "Expired", "is over")),
        (Some(_), Rejected) => Some((api::Action::ShareEnded, "Rejected", "is over")),
        _ => None,
    };
    steps.extend(step.map(|(action, reason, what)| {
        (action, reason, format!("the share with Partner {partner} {what}: {}", now.message))
    }));
    steps
}

/// Tells that partners which the share names no more are gone from every broker.
pub async fn removed(context: &Context, share: &ExternalShare, key: &ObjectKey, gone: &[SharedWith]) {
    for was in gone.iter().filter(|p| p.phase == SharePhase::Revoking || p.principal.is_some()) {
        let message = format!("the share does not name Partner {} any more; no broker shows anything of it", was.name);
        let mut happening = happening(share, key, was, (api::Action::ShareEnded, "Removed", &message));
        name_all(context, share, was, &mut happening);
        let version = share.resource_version().unwrap_or_default();
        context.record(happening, &format!("{version}/{}/removed", was.name)).await;
    }
}

/// Tells that a deleted share is gone from every broker, for each partner that had something of it; but for a cluster that was
/// given up. For those that it waited for an approval of, the request is withdrawn.
pub async fn ended(
    context: &Context,
    share: &ExternalShare,
    key: &ObjectKey,
    before: &ExternalShareStatus,
    abandoned: Option<&str>,
) {
    let asked = still_asked(&before.partners);
    if !asked.is_empty() {
        let message = format!("for Partner {}: it was deleted while it waited for an approval", asked.join(", "));
        context.record(about(share, key, api::Action::RequestWithdrawn, "Deleted", &message), "deleted").await;
    }
    for was in before.partners.iter().filter(|p| p.principal.is_some() || p.phase == SharePhase::Revoking) {
        let (action, reason, how) = match abandoned {
            None => (api::Action::ShareEnded, "Deleted", "no broker shows anything of it".to_owned()),
            Some(cluster) => {
                let how = format!("StreamCluster {cluster} is abandoned: what is on record there goes when it returns");
                (api::Action::AccessOrphaned, "ClusterAbandoned", how)
            }
        };
        let message = format!("the share with Partner {} was deleted; {how}", was.name);
        let mut happening = happening(share, key, was, (action, reason, &message));
        name_all(context, share, was, &mut happening);
        context.record(happening, &format!("deleted/{}", was.name)).await;
    }
}

/// Names what a partner was last told to have, as far as it is known.
fn name_all(context: &Context, share: &ExternalShare, was: &SharedWith, happening: &mut Happening) {
    let Some(was_given) = &was.entries else { return };
    let (entries, of) = taken(context.announced.had(&uid_of(share, was), was_given), was_given);
    (happening.entries, happening.entry_count) = (entries.into_iter().collect(), of);
}

/// The UID of a guest of the share.
pub fn uid_of(share: &ExternalShare, partner: &SharedWith) -> String {
    guest_uid(&share.uid().unwrap_or_default(), partner.uid.as_deref().unwrap_or_default())
}

fn happening(
    share: &ExternalShare,
    key: &ObjectKey,
    partner: &SharedWith,
    (action, reason, message): (api::Action, &str, &str),
) -> Happening {
    about(share, key, action, reason, message).of(partner.principal.iter().cloned().collect())
}

/// What happened to the share itself.
fn about(share: &ExternalShare, key: &ObjectKey, action: api::Action, reason: &str, message: &str) -> Happening {
    Happening::new(action, object_ref("ExternalShare", key, share.uid()), reason, message).asked_by(requesters(share))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::{steps, with_entries};
    use crate::api::{Action, SharedWith};
    use crate::controllers::announced::Changed;

    fn partner(phase: &str, more: Value) -> SharedWith {
        let mut partner = json!({"name": "acme", "phase": phase, "reason": "r", "message": "m"});
        partner.as_object_mut().unwrap().append(&mut more.as_object().unwrap().clone());
        serde_json::from_value(partner).unwrap()
    }

    #[test]
    fn each_step_of_a_partner_is_told_by_its_own_name() {
        let nothing = || json!({});
        let first = || json!({"principal": "p1"});
        let second = || json!({"principal": "p2"});
        let fetched = || json!({"principal": "p1", "fetchedAt": "2026-01-01T00:00:00Z"});
        let removed =
            || json!({"revocation": {"begunAt": "2026-01-01T00:00:00Z", "accessRemovedAt": "2026-01-01T00:00:01Z"}});
        for (was, is, told) in [
            (("Invited", nothing()), ("Provisioning", nothing()), None),
            (("Provisioning", nothing()), ("Provisioning", first()), Some((Action::CredentialIssued, "Issued"))),
            (("Provisioning", first()), ("Active", first()), Some((Action::ShareStarted, "Started"))),
            (("Active", first()), ("Active", first()), None),
            (("Active", first()), ("Active", fetched()), Some((Action::CredentialFetched, "Fetched"))),
            (("Active", first()), ("Active", second()), Some((Action::CredentialRotated, "Rotated"))),
            (("Active", first()), ("Suspended", first()), Some((Action::ShareSuspended, "Suspended"))),
            (("Suspended", first()), ("Active", first()), Some((Action::ShareResumed, "Resumed"))),
            (("Active", nothing()), ("Revoking", nothing()), None),
            (("Revoking", nothing()), ("Revoking", removed()), Some((Action::AccessRevoked, "AccessRemoved"))),
            (("Revoking", removed()), ("Revoked", removed()), Some((Action::ShareEnded, "Revoked"))),
            (("Revoking", removed()), ("Expired", removed()), Some((Action::ShareEnded, "Expired"))),
            (("Invited", nothing()), ("Rejected", nothing()), Some((Action::ShareEnded, "Rejected"))),
        ] {
            let [was, is] = [was, is].map(|(phase, more)| partner(phase, more));
            let steps: Vec<_> =
                steps(Some(&was), &is).into_iter().map(|(action, reason, _)| (action, reason)).collect();
            assert_eq!(steps, Vec::from_iter(told), "{was:?} {is:?}");
        }
        let of_a_new_one = steps(None, &partner("Active", first()));
        assert_eq!(
            of_a_new_one.iter().map(|step| step.0).collect::<Vec<_>>(),
            [Action::CredentialIssued, Action::ShareStarted]
        );
    }

    #[test]
    fn a_beginning_names_all_an_end_is_told_once_and_else_what_came_and_what_went_is_told() {
        use Action::{AccessGranted, AccessNarrowed, AccessRevoked, ShareEnded, ShareStarted, ShareSuspended};
        let set = |texts: &str| texts.chars().map(String::from).collect::<BTreeSet<_>>();
        type Entries<'a> = &'a [(Action, &'a str)];
        let cases: &[(&[Action], &str, Entries, Entries)] = &[
            (
                &[],
                "abc",
                &[(AccessNarrowed, "d"), (AccessGranted, "c")],
                &[(AccessNarrowed, "d"), (AccessGranted, "c")],
            ),
            (&[ShareStarted], "abc", &[(AccessGranted, "c")], &[(ShareStarted, "abc")]),
            (&[ShareStarted], "ab", &[(AccessNarrowed, "c")], &[(AccessNarrowed, "c"), (ShareStarted, "ab")]),
            (&[ShareSuspended], "", &[(AccessNarrowed, "ab")], &[(ShareSuspended, "")]),
            (&[AccessRevoked, ShareEnded], "", &[(AccessNarrowed, "ab")], &[(AccessRevoked, ""), (ShareEnded, "")]),
            (&[AccessRevoked], "", &[], &[(AccessRevoked, "")]),
        ];
        for (steps, has, changed, told) in cases {
            let steps = steps.iter().map(|action| (*action, "r", "m".to_owned())).collect();
            let changed = changed.iter().map(|(action, entries)| Changed {
                action: *action,
                reason: "r",
                message: "m",
                entries: set(entries),
            });
            let found = with_entries(steps, &set(has), changed.collect(), "acme");
            let found: Vec<_> = found.into_iter().map(|step| (step.action, step.entries)).collect();
            assert_eq!(found, told.iter().map(|(action, of)| (*action, set(of))).collect::<Vec<_>>(), "{has}");
        }
    }
}
