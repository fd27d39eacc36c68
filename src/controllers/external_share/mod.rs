//! ExternalShare: has each partner's credentials issued and encrypted for it, and reports. Access itself is the appliers' work.

mod announce;
mod copying;
mod credentials;
mod status;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::Action;

use self::copying::Copying;
use super::applier::ClusterHandle;
use super::context::Context;
use super::live::{evidence, live};
use super::patience;
use super::reconcile::{PERIODICALLY, ReconcileError};
use super::removal::blocking;
use crate::api::{ExternalShare, ExternalShareStatus, Reason, SharePhase, SharedWith};
use crate::domain::binding::Grant;
use crate::domain::conditions::Progress;
use crate::domain::evidence::Evidence;
use crate::domain::names::{ObjectKey, guest_uid};
use crate::domain::share::progress::Seen;
use crate::domain::share::{Guest, Guests};
use crate::domain::usage::Usage;
use crate::k8s::objects::{add_finalizer, has_finalizer, remove_finalizer, write_status};

/// Reconciles one share.
///
/// # Errors
/// The API server refused or did not answer.
pub async fn reconcile(share: Arc<ExternalShare>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let key = context.world.index().key_of(share.as_ref());
    if share.metadata.deletion_timestamp.is_some() {
        return finish(&share, &key, &context).await;
    }
    if !has_finalizer(share.as_ref()) {
        add_finalizer(&context.client, share.as_ref()).await?;
        return Ok(Action::await_change());
    }
    let guests = context.world.index().guests(&key).cloned().unwrap_or_default();
    let copy = context.world.index().copy(&key).cloned();
    let uid = share.uid().unwrap_or_default();
    let copying = copy.as_ref().map(|copy| copying::look(&context, &share, copy));
    let mut seen = Vec::new();
    let mut wake = None;
    for guest in guests.values() {
        let Some(one) = look(&context, &share, guest, copying.as_ref()).await? else {
            return Ok(Action::requeue(PERIODICALLY));
        };
        wake = wake.into_iter().chain(one.credential.wake).min();
        seen.push(one);
    }
    let living: Vec<_> = guests.values().filter(|g| g.client.is_some()).map(|g| g.uid.as_str()).collect();
    context.bundles.keep_only(&uid, &living).await?;
    let now = Timestamp::now();
    let far: Vec<_> = seen.iter().map(|s| s.seen.progress()).collect();
    // One partner that is on its way is what the others wait for.
    let slowest = far.iter().find(|p| patience::is_passing(p)).or(far.first());
    if slowest.is_some_and(|progress| context.patience.waits(share.metadata.uid.as_deref(), progress)) {
        return Ok(Action::requeue(patience::LIMIT));
    }
    let before = context.told_of_shares.or(&uid, share.status.as_ref());
    let mut after = status::status(&share, &before, &seen, copying.map(|c| c.status), now);
    let (leaving, gone) = departed(&context, &uid, &before, &guests);
    after.partners.extend(leaving);
    if share.status.as_ref() != Some(&after) || before != after {
        announce::announce(&context, &share, &key, &seen, (&before, &after)).await;
        announce::removed(&context, &share, &key, &gone).await;
        gone.iter().for_each(|was| context.announced.forget(&announce::uid_of(&share, was)));
        context.told_of_shares.note(&uid, after.clone());
    }
    for one in seen.into_iter().filter(Found::is_told) {
        let told = after.partners.iter().find(|p| p.name == one.seen.guest.partner);
        context.announced.note(&one.seen.guest.uid, told.and_then(|p| p.entries.clone()), one.grants);
    }
    if share.status.as_ref() != Some(&after) {
        write_status(&context.client, share.as_ref(), &after).await?;
    }
    let wait = wake.map(|at| at.duration_since(now)).and_then(|d| Duration::try_from(d).ok());
    // How far a copy is changes all the time, and is told now and then.
    let longest = if copy.is_some_and(|c| !c.flows.is_empty()) { MEASURED } else { PERIODICALLY };
    Ok(Action::requeue(wait.unwrap_or(longest).min(longest)))
}

/// How often a status says how far a copy is.
const MEASURED: Duration = Duration::from_secs(30);

/// One partner, as it was found.
struct Found<'a> {
    seen: Seen<'a>,
    credential: credentials::Report,
    evidence: Option<Evidence>,
    usage: Option<Usage>,
    /// What every broker shows of it.
    grants: Vec<Arc<Grant>>,
    /// A cluster that it concerns was not looked at since this process began.
    unsettled: bool,
}

impl Found<'_> {
    /// Whether what it has is told as it is: not before all is known, nor while it is being taken away.
    fn is_told(&self) -> bool {
        let is_leaving = self.seen.has_access && self.seen.phase() == SharePhase::Revoking;
        !self.unsettled && !is_leaving
    }
}

/// Looks at one partner, and takes the next step in the life of its credentials; `None` where nothing new can be said yet.
async fn look<'a>(
    context: &Context,
    share: &ExternalShare,
    guest: &'a Guest,
    copying: Option<&Copying>,
) -> Result<Option<Found<'a>>, ReconcileError> {
    let current = share.status.as_ref().is_some_and(|s| s.observed_generation == share.metadata.generation);
    let access = live(context, &guest.uid, &guest.resolution);
    if access.unsettled && current {
        return Ok(None);
    }
    let credential = credentials::advance(context, share, guest).await?;
    let mut problems = access.problems;
    problems.extend(credential.problems.iter().cloned());
    problems.extend(context.fences.problem(context, guest));
    // What stands in the way of the copy does so for everybody who reads it.
    problems.extend(copying.filter(|_| guest.client.is_some()).iter().flat_map(|c| c.problems.iter().cloned()));
    problems.sort();
    problems.dedup();
    let entries: usize = access.grants.iter().map(|g| g.entries.len()).sum();
    let copies = copying.is_some_and(|c| c.remains.is_some());
    let handles = context.world.handles();
    let mut concerned = concerned(context, share, &[&guest.uid]).into_iter().filter_map(|name| handles.get(&name));
    let has_access = copies || !concerned.all(|handle| handle.state().is_free_of(&guest.uid));
    let seen = Seen {
        guest,
        problems,
        has_credential: credential.record.as_ref().is_some_and(|r| r.current().is_some()),
        has_access,
        has_identity: credential.record.as_ref().is_some_and(|r| !r.versions.is_empty()),
        invitation: context.world.index().invited(share, &guest.partner, Timestamp::now()),
        is_copied: copying.is_some(),
        remains: copying.and_then(|c| c.remains.clone()),
        ready: format!("reads {} topics; every broker shows {entries} entries", guest.resolution.topics.len()),
    };
    let evidence = evidence(context, &guest.uid);
    let usage = context.usages.get(&guest.uid);
    Ok(Some(Found { seen, credential, evidence, usage, grants: access.grants, unsettled: access.unsettled }))
}

/// Partners that the share names no more: those of which something is left, and those of which nothing is.
fn departed(
    context: &Context,
    share_uid: &str,
    before: &ExternalShareStatus,
    guests: &Guests,
) -> (Vec<SharedWith>, Vec<SharedWith>) {
    let departed = before.partners.iter().filter(|was| !guests.values().any(|g| g.partner == was.name)).cloned();
    let (leaving, gone): (Vec<_>, Vec<_>) = departed.partition(|was| {
        let uid = guest_uid(share_uid, was.uid.as_deref().unwrap_or_default());
        let known = context.world.index().client_cluster(&uid).is_some();
        known || context.world.handles().values().any(|handle| !handle.state().is_free_of(&uid))
    });
    (leaving.into_iter().map(status::leaving).collect(), gone)
}

/// Lets a deleted share go once the brokers have forgotten everything of it.
async fn finish(share: &ExternalShare, key: &ObjectKey, context: &Context) -> Result<Action, ReconcileError> {
    if !has_finalizer(share) {
        return Ok(Action::await_change());
    }
    let uid = share.uid().unwrap_or_default();
    context.bundles.keep_only(&uid, &[]).await?;
    let before = context.told_of_shares.or(&uid, share.status.as_ref());
    let guests = everybody(context, &uid, &before, key);
    let uids: Vec<_> = guests.iter().map(String::as_str).collect();
    let copy = context.world.index().copy(key).cloned();
    let remains = copy.as_ref().and_then(|copy| copying::look(context, share, copy).remains);
    let blocking = blocking(context, concerned(context, share, &uids), &uids);
    if blocking.waiting.is_empty() && remains.is_none() {
        announce::ended(context, share, key, &before, blocking.abandoned.as_deref()).await;
        context.patience.forget(Some(&uid));
        context.copies.forget(&uid);
        let forget = |handle: &Arc<ClusterHandle>| handle.state().evidence.retain(|uid, _| !guests.contains(uid));
        context.world.handles().values().for_each(forget);
        remove_finalizer(&context.client, share).await?;
        context.told_of_shares.forget(&uid);
        guests.iter().for_each(|guest| context.announced.forget(guest));
        return Ok(Action::await_change());
    }
    let (progress, working) = match remains {
        Some(what) if blocking.waiting.is_empty() => (Progress::Reconciling(Reason::Deleting, what), true),
        _ => blocking.progress(),
    };
    if working && context.patience.waits(Some(&uid), &Progress::Reconciling(Reason::Applying, String::new())) {
        return Ok(Action::requeue(patience::LIMIT));
    }
    let after = status::deleting(share, &progress, Timestamp::now());
    if share.status.as_ref() != Some(&after) {
        write_status(&context.client, share, &after).await?;
    }
    Ok(Action::requeue(patience::LIMIT))
}

/// UIDs of all guests that the share has, or had of late.
fn everybody(context: &Context, share_uid: &str, before: &ExternalShareStatus, key: &ObjectKey) -> BTreeSet<String> {
    let now = context.world.index().guests(key).cloned().unwrap_or_default();
    let before = before.partners.iter().map(|p| guest_uid(share_uid, p.uid.as_deref().unwrap_or_default()));
    let copiers = context.world.index().copy(key).map(|copy| [copy.source.uid.clone(), copy.target.uid.clone()]);
    let copiers = copiers.into_iter().flatten();
    now.values().map(|guest| guest.uid.clone()).chain(before).chain(copiers).collect()
}

/// Clusters that the share concerns by what it says, and those that still have something of it.
fn concerned(context: &Context, share: &ExternalShare, guests: &[&str]) -> BTreeSet<String> {
    let index = context.world.index();
    let namespace = share.namespace().unwrap_or_default();
    let product = |name: &String| index.product(&ObjectKey::new(&namespace, name));
    let products: Option<BTreeSet<_>> =
        share.spec.products.iter().map(|p| Some(product(&p.name)?.spec.cluster_ref.name.clone())).collect();
    let mut names = products.unwrap_or_else(|| index.cluster_names().map(str::to_owned).collect());
    names.extend(share.spec.destination.iter().map(|to| to.cluster_ref.name.clone()));
    names.extend(guests.iter().filter_map(|uid| index.client_cluster(uid)).map(str::to_owned));
    drop(index);
    let has_something = |handle: &Arc<ClusterHandle>| {
        let state = handle.state();
        state.ledger_read && guests.iter().any(|uid| !state.is_free_of(uid))
    };
    names.extend(context.world.handles().into_iter().filter(|(_, h)| has_something(h)).map(|(name, _)| name));
    names
}
