//! A binding's status.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::publish::Published;
use crate::api::{BindingUsage, ConditionType, RoleBinding, RoleBindingStatus};
use crate::controllers::announced::in_short;
use crate::controllers::live::Live;
use crate::domain::binding::Resolution;
use crate::domain::conditions::{Progress, conditions, merge, whole_seconds};

/// How many topics a status names.
const TOPICS: usize = 100;

/// The status to write. While a cluster was not looked at yet, what was told of its access stays.
pub fn status(
    binding: &RoleBinding,
    resolution: &Resolution,
    (live, told): (&Live, &RoleBindingStatus),
    (published, usage): (Published, Option<BindingUsage>),
    now: Timestamp,
) -> RoleBindingStatus {
    let before = binding.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    let mut all = conditions(&live.progress);
    if let Some((holds, reason, message)) = published.condition() {
        all.push((ConditionType::ConnectionPublished, holds, reason, message));
    }
    let principals: BTreeSet<_> = live.grants.iter().map(|g| g.key.principal.clone()).collect();
    let (entries, principals) = if live.unsettled {
        (told.entries.clone(), told.principals.clone())
    } else {
        (in_short(&live.grants), principals.into_iter().collect())
    };
    RoleBindingStatus {
        observed_generation: binding.metadata.generation,
        conditions: merge(before, all, binding.metadata.generation, now),
        role: Some(format!("{}/{}", binding.spec.role_ref.namespace, binding.spec.role_ref.name)),
        principals,
        topics: resolution.topics.iter().take(TOPICS).cloned().collect(),
        prefixes: resolution.prefixes.iter().cloned().collect(),
        expires_at: resolution.expires_at.map(|at| Time(whole_seconds(at))),
        // What gives nothing is not unused.
        usage: usage.map(|u| BindingUsage { unused_since: u.unused_since.filter(|_| entries.is_some()), ..u }),
        entries,
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
