//! RoleBinding: reports what became of it, and publishes where its subjects connect.

mod announced;
mod news;
mod publish;
mod status;

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::join;
use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::Action;

pub use self::announced::Announced;
use self::news::{News, is_asking};
use super::applier::ClusterHandle;
use super::context::Context;
use super::live::live;
use super::patience;
use super::reconcile::{PERIODICALLY, ReconcileError};
use super::refusals;
use super::removal::blocking;
use crate::api::{self, RoleBinding, RoleBindingStatus};
use crate::domain::approval::requesters;
use crate::domain::binding::{behind, clusters_of, may_ask};
use crate::domain::conditions::Progress;
use crate::domain::event::Happening;
use crate::domain::names::ObjectKey;
use crate::k8s::objects::{add_finalizer, has_finalizer, object_ref, remove_finalizer, write_status};

/// Reconciles one binding. Access itself is the appliers' work; this reports it.
///
/// # Errors
/// The API server refused or did not answer.
pub async fn reconcile(binding: Arc<RoleBinding>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let key = context.world.index().key_of(binding.as_ref());
    if binding.metadata.deletion_timestamp.is_some() {
        return finish(&binding, &context).await;
    }
    if !has_finalizer(binding.as_ref()) {
        // The watch brings the object back with it.
        add_finalizer(&context.client, binding.as_ref()).await?;
        return Ok(Action::await_change());
    }
    let resolution = context.world.index().resolution(&key).cloned().unwrap_or_default();
    let live = live(&context, &binding.uid().unwrap_or_default(), &resolution);
    if (live.unsettled && is_current(&binding)) || context.is_leaving(binding.namespace()) {
        return Ok(Action::requeue(PERIODICALLY));
    }
    if context.patience.waits(binding.metadata.uid.as_deref(), &live.progress) {
        return Ok(Action::requeue(patience::LIMIT));
    }
    let published = publish::config_map(&context, &binding, &resolution).await?;
    let before = binding.status.clone().unwrap_or_default();
    let uid = binding.uid().unwrap_or_default();
    let seen = context.watches.usage(&uid, before.usage.as_ref(), &resolution.clusters);
    let told = (published, seen.or_else(|| before.usage.clone()));
    let after = status::status(&binding, &resolution, &live, told, Timestamp::now());
    let (told, entries) = (context.announced.correct(&uid, before.clone()), status::entries(&live));
    if after != before || after.entries != told.entries {
        let was = told.entries.as_ref();
        let gains_nothing = was.is_some_and(|was| context.announced.gains_nothing(&uid, was, &entries));
        let mut news = news::of_change(&told, &after, gains_nothing, &live.progress);
        if let Some(news) = news.as_mut().filter(|_| after.entries.is_none()) {
            news.name(forget_begun(&context, &uid));
        }
        announce(&context, &binding, (&told, &after), news, &live.progress).await;
        context.announced.note(&uid, after.entries.clone(), &entries);
        write_status(&context.client, binding.as_ref(), &after).await?;
    }
    Ok(Action::requeue(PERIODICALLY))
}

/// Whether the status is about the spec as it is.
fn is_current(binding: &RoleBinding) -> bool {
    binding.status.as_ref().is_some_and(|s| s.observed_generation == binding.metadata.generation)
}

/// Lets a deleted binding go once no broker shows anything of it.
async fn finish(binding: &RoleBinding, context: &Context) -> Result<Action, ReconcileError> {
    if !has_finalizer(binding) {
        return Ok(Action::await_change());
    }
    let uid = binding.uid().unwrap_or_default();
    let blocking = blocking(context, concerned(context, binding, &uid), &[uid.as_str()]);
    let before = context.announced.correct(&uid, binding.status.clone().unwrap_or_default());
    if blocking.waiting.is_empty() {
        context.patience.forget(Some(&uid));
        let news = news::of_deletion(before, begun(context, &uid), blocking.abandoned.as_deref());
        if let Some(news) = news {
            context.record(news_of(binding, &news), "deleted").await;
        }
        remove_finalizer(&context.client, binding).await?;
        context.announced.forget(&uid);
        forget_begun(context, &uid);
        return Ok(Action::await_change());
    }
    let (progress, working) = blocking.progress();
    // Most removals are on every broker within a second.
    if working && context.patience.waits(Some(&uid), &Progress::Reconciling(api::Reason::Applying, String::new())) {
        return Ok(Action::requeue(patience::LIMIT));
    }
    let after = status::deleting(binding, &before, &progress, Timestamp::now());
    if after != before {
        write_status(&context.client, binding, &after).await?;
    }
    Ok(Action::requeue(PERIODICALLY))
}

/// The principals that any cluster began to give something to by the binding, of which no end was told.
fn begun(context: &Context, uid: &str) -> BTreeSet<String> {
    let handles = context.world.handles();
    handles.into_values().filter_map(|handle| handle.state().begun.get(uid).cloned()).flatten().collect()
}

/// The same, once: it is told now.
fn forget_begun(context: &Context, uid: &str) -> BTreeSet<String> {
    let handles = context.world.handles();
    handles.into_values().filter_map(|handle| handle.state().begun.remove(uid)).flatten().collect()
}

/// Clusters that the binding concerns by what it says, and those that still have something of it.
fn concerned(context: &Context, binding: &RoleBinding, uid: &str) -> BTreeSet<String> {
    let mut names = clusters_of(&context.world.index(), binding);
    let has_something = |h: &Arc<ClusterHandle>| h.state().ledger_read && !h.state().is_free_of(uid);
    let handles = context.world.handles();
    names.extend(handles.into_iter().filter(|(_, h)| has_something(h)).map(|(name, _)| name));
    names
}

/// One SecurityEvent for a change of a binding. All of them are told at once.
async fn announce(
    context: &Context,
    binding: &RoleBinding,
    (before, after): (&RoleBindingStatus, &RoleBindingStatus),
    news: Option<News>,
    progress: &Progress,
) {
    let mut told = Vec::new();
    if is_asking(after) && !is_asking(before) {
        let message = format!("StreamRole {}/{}", binding.spec.role_ref.namespace, binding.spec.role_ref.name);
        let asked = happening(binding, api::Action::AccessRequested, "AwaitingApproval", &message, after);
        told.push((asked.by_requester_of(binding), format!("{:?}", binding.metadata.generation)));
    }
    if let Some(news) = &news {
        let mut happening = news_of(binding, news);
        if matches!(news.action, api::Action::AccessGranted | api::Action::AccessNarrowed) {
            // A role that widens, or narrows, does so to its bindings.
            happening = happening.asked_by(behind(&context.world.index(), binding).into_iter());
        }
        // The same after a crash before the status was written, another one each time that the access changes.
        let version = binding.resource_version().unwrap_or_default();
        let which = news.about.entries.as_ref().map(|e| e.hash.as_str()).unwrap_or_default();
        told.push((happening, format!("{version}/{which}")));
    }
    let has_expired = news.as_ref().is_some_and(|news| news.action == api::Action::AccessExpired);
    let refusal = progress.refusal().filter(|_| !has_expired);
    let refused = |action, reason: &str, message: &str| refused(context, binding, action, reason, message, after);
    join!(
        context.record_all(told),
        refusals::announce(context, binding, refusal.as_ref(), &before.conditions, refused)
    );
    if let Some(news) = news {
        context.events.note(binding, after.entries.is_none(), news.reason, &news.message).await;
    }
}

/// That a binding cannot be as it says. The owner of its role sees that only where there is one who lets this namespace ask: who
/// names any role anywhere is not to fill anybody's window.
fn refused(
    context: &Context,
    binding: &RoleBinding,
    action: api::Action,
    reason: &str,
    message: &str,
    status: &RoleBindingStatus,
) -> Happening {
    let refused = happening(binding, action, reason, message, status);
    if may_ask(&context.world.index(), binding) { refused } else { refused.concerning([]) }
}

fn news_of(binding: &RoleBinding, news: &News) -> Happening {
    happening(binding, news.action, news.reason, &news.message, &news.about)
}

/// What happened to a binding, which the owner of its role sees, too.
fn happening(
    binding: &RoleBinding,
    action: api::Action,
    reason: &str,
    message: &str,
    status: &RoleBindingStatus,
) -> Happening {
    let key = ObjectKey::new(binding.namespace().unwrap_or_default(), binding.name_any());
    let happening = Happening::new(action, object_ref("RoleBinding", &key, binding.uid()), reason, message)
        .of(status.principals.clone())
        .asked_by(requesters(binding))
        .concerning([binding.spec.role_ref.namespace.clone()]);
    Happening { entries: status.entries.iter().flat_map(|e| e.sample.iter().cloned()).collect(), ..happening }
}
