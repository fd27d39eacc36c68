//! RoleBinding: reports what became of it, and publishes where its subjects connect.

mod news;
mod publish;
mod status;

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::join;
use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::Action;

use self::news::{Change, News, is_asking};
use super::announced::entries_of;
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
use crate::domain::event::{Gain, Happening, in_parts};
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
    let noted = (published, seen.or_else(|| before.usage.clone()));
    let told = context.announced.correct(&uid, before.clone());
    let after = status::status(&binding, &resolution, (&live, &told), noted, Timestamp::now());
    if after != before || after.entries != told.entries {
        let had = told.entries.as_ref().and_then(|was| context.announced.had(&uid, was));
        let change = Change { before: &told, had, after: &after, has: &entries_of(&live.grants) };
        let mut news = news::of_change(change, &live.progress);
        if after.entries.is_none() && !live.unsettled {
            let begun = forget_begun(&context, &uid);
            news.iter_mut().for_each(|news| news.principals.extend(begun.iter().cloned()));
        }
        announce(&context, &binding, (&told, &after), news, &live.progress).await;
    }
    if !live.unsettled {
        context.announced.note(&uid, after.entries.clone(), live.grants);
    }
    if after != before {
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
        let had = before.entries.as_ref().and_then(|was| context.announced.had(&uid, was));
        let news = news::of_deletion(&before, had, begun(context, &uid), blocking.abandoned.as_deref());
        if let Some(news) = news {
            context.record_all(happenings(binding, &news, "deleted")).await;
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

/// What there is to tell of a change of a binding. All of it is told at once.
async fn announce(
    context: &Context,
    binding: &RoleBinding,
    (before, after): (&RoleBindingStatus, &RoleBindingStatus),
    news: Vec<News>,
    progress: &Progress,
) {
    let mut told = Vec::new();
    if is_asking(after) && !is_asking(before) {
        let message = format!("StreamRole {}/{}", binding.spec.role_ref.namespace, binding.spec.role_ref.name);
        let asked = happening(binding, api::Action::AccessRequested, "AwaitingApproval", &message);
        told.push((asked.by_requester_of(binding), format!("{:?}", binding.metadata.generation)));
    }
    // The same after a crash before the status was written, another one each time that the access changes.
    let version = binding.resource_version().unwrap_or_default();
    let key = |status: &RoleBindingStatus| {
        let which = status.entries.as_ref().map(|e| e.hash.as_str()).unwrap_or_default();
        format!("{version}/{which}")
    };
    for news in &news {
        let is_change = matches!(news.action, api::Action::AccessGranted | api::Action::AccessNarrowed);
        let mut parts = happenings(binding, news, &key(if is_change { after } else { before }));
        if is_change {
            // A role that widens, or narrows, does so to its bindings.
            let index = context.world.index();
            let asked =
                |(happening, key): (Happening, String)| (happening.asked_by(behind(&index, binding).into_iter()), key);
            parts = parts.into_iter().map(asked).collect();
        }
        told.extend(parts);
    }
    let has_expired = news.iter().any(|news| news.action == api::Action::AccessExpired);
    let refusal = progress.refusal().filter(|_| !has_expired);
    let refused = |action, reason: &str, message: &str| refused(context, binding, action, reason, message, after);
    join!(
        context.record_all(told),
        refusals::announce(context, binding, refusal.as_ref(), &before.conditions, refused)
    );
    for news in news {
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
    let refused = happening(binding, action, reason, message).of(status.principals.clone());
    if may_ask(&context.world.index(), binding) { refused } else { refused.concerning([]) }
}

/// News as one event, or as many as it takes to name all entries, each with its key.
fn happenings(binding: &RoleBinding, news: &News, key: &str) -> Vec<(Happening, String)> {
    let principals = news.principals.iter().cloned().collect();
    let told = happening(binding, news.action, news.reason, &news.message).of(principals);
    let told = Happening { entry_count: news.of, ..told };
    let entries: Vec<_> = news.entries.iter().map(Gain::new).collect();
    if entries.is_empty() {
        return vec![(told, key.to_owned())];
    }
    let part = |(n, part)| (part, if n == 0 { key.to_owned() } else { format!("{key}/{n}") });
    in_parts(&told, &entries).into_iter().enumerate().map(part).collect()
}

/// What happened to a binding, which the owner of its role sees, too.
fn happening(binding: &RoleBinding, action: api::Action, reason: &str, message: &str) -> Happening {
    let key = ObjectKey::new(binding.namespace().unwrap_or_default(), binding.name_any());
    Happening::new(action, object_ref("RoleBinding", &key, binding.uid()), reason, message)
        .asked_by(requesters(binding))
        .concerning([binding.spec.role_ref.namespace.clone()])
}
