//! A binding's status, from what it should be and what the brokers were seen to have.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use sha2::{Digest, Sha256};

use super::publish::Published;
use crate::api::{ConditionType, EntriesStatus, Reason, RoleBinding, RoleBindingStatus};
use crate::controllers::applier::not_connected;
use crate::controllers::context::Context;
use crate::domain::acl::AclEntry;
use crate::domain::binding::{Grant, Resolution};
use crate::domain::conditions::{Progress, conditions, merge, progress, whole_seconds};
use crate::domain::problem::Problem;

/// How many topics a status names.
const TOPICS: usize = 100;
/// How many entries a status names.
const SAMPLE: usize = 20;

/// What is so on the brokers.
pub struct Live {
    /// How far the binding is.
    pub progress: Progress,
    /// Its grants that every broker was last seen to show: while a change is on its way, those from before it.
    pub grants: Vec<Arc<Grant>>,
    /// A cluster that it concerns was not looked at since this process began: nothing new can be said.
    pub unsettled: bool,
}

/// Compares what the binding should give with what the appliers verified.
pub fn live(context: &Context, binding: &RoleBinding, resolution: &Resolution) -> Live {
    let uid = binding.uid().unwrap_or_default();
    let mut problems = resolution.problems.clone();
    problems.extend(resolution.grants.iter().filter_map(|grant| verdict(context, &uid, grant)));
    let remains = remains(context, &uid, resolution);
    if remains.is_some() {
        // Expired means that its access was revoked, and that is still under way.
        problems.retain(|p| p.reason != Reason::Expired);
    }
    problems.extend(remains);
    blame_clusters(context, &resolution.clusters, &mut problems);
    problems.sort();
    problems.dedup();
    let handles = context.world.handles();
    let concerns = |name: &String| resolution.clusters.is_empty() || resolution.clusters.contains(name);
    let unsettled = handles.iter().any(|(name, handle)| concerns(name) && !handle.state().settled)
        || resolution.clusters.iter().any(|name| !handles.contains_key(name));
    let grants: Vec<_> =
        handles.values().flat_map(|handle| handle.state().shown(&uid).cloned().collect::<Vec<_>>()).collect();
    let entries: usize = grants.iter().map(|g| g.entries.len()).sum();
    let ready = Progress::Ready(format!(
        "{} on {}: every broker shows {}",
        count(grants.len(), "principal"),
        count(resolution.topics.len(), "topic"),
        count(entries, "entry")
    ));
    Live { progress: progress(&problems, ready), grants, unsettled }
}

/// Why a grant is not yet seen on every broker; `None` where it is.
fn verdict(context: &Context, uid: &str, grant: &Arc<Grant>) -> Option<Problem> {
    let (cluster, principal) = (&grant.key.cluster, &grant.key.principal);
    let Some(handle) = context.world.handle(cluster) else {
        return Some(not_connected(cluster));
    };
    let state = handle.state();
    if state.verified.get(principal).and_then(|grants| grants.get(uid)) == Some(grant) {
        return None;
    }
    if let Some(problem) = state.failed.get(principal) {
        return Some(problem.clone());
    }
    if let Some(obstacle) = state.link.obstacle(cluster) {
        return Some(obstacle);
    }
    Some(if state.held.as_ref().is_some_and(|h| h.principals.contains(principal)) {
        Problem::waiting(
            Reason::ConfirmationRequired,
            format!("a change of principal {principal} waits for a person to confirm on StreamCluster {cluster}"),
        )
    } else {
        Problem::waiting(Reason::Applying, format!("applying to principal {principal}"))
    })
}

/// Nothing is being applied to a cluster that is not governed: what waits for that waits for the cluster.
fn blame_clusters(context: &Context, clusters: &BTreeSet<String>, problems: &mut Vec<Problem>) {
    if !problems.iter().any(|p| p.reason == Reason::Applying) {
        return;
    }
    let why = |cluster: &String| match context.world.handle(cluster) {
        Some(handle) => handle.state().link.obstacle(cluster),
        None => Some(not_connected(cluster)),
    };
    let blamed: Vec<_> = clusters.iter().filter_map(why).collect();
    // Where one of several is governed, the change may be on its way there.
    if blamed.len() == clusters.len() && !blamed.is_empty() {
        problems.retain(|p| p.reason != Reason::Applying);
    }
    problems.extend(blamed);
}

/// Access that should be gone and is not yet.
fn remains(context: &Context, uid: &str, resolution: &Resolution) -> Option<Problem> {
    let wanted: BTreeSet<_> = resolution.grants.iter().map(|g| (&g.key.cluster, &g.key.principal)).collect();
    for (name, handle) in context.world.handles() {
        let state = handle.state();
        let left = state.recorded.get(uid).into_iter().chain(state.unverified.get(uid)).flatten();
        if let Some(principal) = left.into_iter().find(|p| !wanted.contains(&(&name, *p))) {
            let held = state.held.as_ref().is_some_and(|h| h.principals.contains(principal));
            return Some(if held {
                Problem::waiting(
                    Reason::ConfirmationRequired,
                    format!(
                        "removing access of principal {principal} waits for a person to confirm on StreamCluster {name}"
                    ),
                )
            } else {
                Problem::waiting(Reason::Applying, format!("removing access of principal {principal}"))
            });
        }
    }
    None
}

/// The status to write.
pub fn status(
    binding: &RoleBinding,
    resolution: &Resolution,
    live: &Live,
    published: Published,
    now: Timestamp,
) -> RoleBindingStatus {
    let before = binding.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    let mut all = conditions(&live.progress);
    if let Some((holds, reason, message)) = published.condition() {
        all.push((ConditionType::ConnectionPublished, holds, reason, message));
    }
    let entries: BTreeSet<_> = live.grants.iter().flat_map(|g| g.entries.iter()).collect();
    let principals: BTreeSet<_> = live.grants.iter().map(|g| g.key.principal.clone()).collect();
    RoleBindingStatus {
        observed_generation: binding.metadata.generation,
        conditions: merge(before, all, binding.metadata.generation, now),
        role: Some(format!("{}/{}", binding.spec.role_ref.namespace, binding.spec.role_ref.name)),
        principals: principals.into_iter().collect(),
        topics: resolution.topics.iter().take(TOPICS).cloned().collect(),
        prefixes: resolution.prefixes.iter().cloned().collect(),
        entries: (!entries.is_empty()).then(|| in_short(&entries)),
        expires_at: resolution.expires_at.map(|at| Time(whole_seconds(at))),
    }
}

/// The status of a binding that is being deleted and cannot go yet.
pub fn deleting(
    binding: &RoleBinding,
    before: &RoleBindingStatus,
    progress: &Progress,
    now: Timestamp,
) -> RoleBindingStatus {
    let all = conditions(progress);
    RoleBindingStatus {
        observed_generation: binding.metadata.generation,
        conditions: merge(&before.conditions, all, binding.metadata.generation, now),
        ..before.clone()
    }
}

fn in_short(entries: &BTreeSet<&AclEntry>) -> EntriesStatus {
    let mut hash = Sha256::new();
    for entry in entries {
        hash.update(entry.to_string());
        hash.update([0]);
    }
    EntriesStatus {
        count: i64::try_from(entries.len()).unwrap_or(i64::MAX),
        hash: hex::encode(&hash.finalize()[..8]),
        sample: entries.iter().take(SAMPLE).map(ToString::to_string).collect(),
    }
}

fn count(n: usize, what: &str) -> String {
    match (n, what.strip_suffix('y')) {
        (1, _) => format!("1 {what}"),
        (_, Some(stem)) => format!("{n} {stem}ies"),
        (_, None) => format!("{n} {what}s"),
    }
}
