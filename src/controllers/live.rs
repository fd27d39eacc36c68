//! What bindings and guests give, as the brokers were last seen to show it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::applier::{ClusterHandle, not_connected};
use super::context::Context;
use crate::api::Reason;
use crate::domain::binding::{Grant, Resolution};
use crate::domain::conditions::{Progress, progress};
use crate::domain::evidence::Evidence;
use crate::domain::problem::Problem;

/// What is so on the brokers.
pub struct Live {
    /// What stands in the way of all that it should give, sorted.
    pub problems: Vec<Problem>,
    /// How far it is.
    pub progress: Progress,
    /// Its grants that every broker was last seen to show: while a change is on its way, those from before it.
    pub grants: Vec<Arc<Grant>>,
    /// A cluster that it concerns was not looked at since this process began: nothing new can be said.
    pub unsettled: bool,
}

/// Compares what the binding, or guest, with this UID should give with what the appliers verified.
pub fn live(context: &Context, uid: &str, resolution: &Resolution) -> Live {
    let mut problems = resolution.problems.clone();
    problems.extend(resolution.grants.iter().filter_map(|grant| verdict(context, uid, grant)));
    let remains = remains(context, uid, resolution);
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
        handles.values().flat_map(|handle| handle.state().shown(uid).cloned().collect::<Vec<_>>()).collect();
    let entries: usize = grants.iter().map(|g| g.entries.len()).sum();
    let ready = Progress::Ready(format!(
        "{} on {}: every broker shows {}",
        count(grants.len(), "principal"),
        count(resolution.topics.len(), "topic"),
        count(entries, "entry")
    ));
    Live { progress: progress(&problems, ready), problems, grants, unsettled }
}

/// What was proven of the principals of the guest, or the end of a copy, with this UID that left since this process began.
pub fn evidence(context: &Context, uid: &str) -> Option<Evidence> {
    let of = |handle: &Arc<ClusterHandle>| handle.state().evidence.get(uid).cloned().unwrap_or_default();
    let each: Vec<_> = context.world.handles().values().flat_map(|handle| of(handle).into_values()).collect();
    Evidence::of_all(&each)
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
    // Whatever was in the way before: now the cluster is.
    if let Some(obstacle) = state.link.obstacle(cluster) {
        return Some(obstacle);
    }
    if let Some(problem) = state.failed.get(principal) {
        return Some(problem.clone());
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

fn count(n: usize, what: &str) -> String {
    match (n, what.strip_suffix('y')) {
        (1, _) => format!("1 {what}"),
        (_, Some(stem)) => format!("{n} {stem}ies"),
        (_, None) => format!("{n} {what}s"),
    }
}
