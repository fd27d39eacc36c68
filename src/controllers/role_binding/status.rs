//! A binding's status.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use sha2::{Digest, Sha256};

use super::publish::Published;
use crate::api::{BindingUsage, ConditionType, EntriesStatus, RoleBinding, RoleBindingStatus};
use crate::controllers::live::Live;
use crate::domain::acl::AclEntry;
use crate::domain::binding::Resolution;
use crate::domain::conditions::{Progress, conditions, merge, whole_seconds};

/// How many topics a status names.
const TOPICS: usize = 100;
/// How many entries a status names.
const SAMPLE: usize = 20;

/// The status to write.
pub fn status(
    binding: &RoleBinding,
    resolution: &Resolution,
    live: &Live,
    (published, usage): (Published, Option<BindingUsage>),
    now: Timestamp,
) -> RoleBindingStatus {
    let before = binding.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    let mut all = conditions(&live.progress);
    if let Some((holds, reason, message)) = published.condition() {
        all.push((ConditionType::ConnectionPublished, holds, reason, message));
    }
    let entries = entries(live);
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
        // What gives nothing is not unused.
        usage: usage.map(|u| BindingUsage { unused_since: u.unused_since.filter(|_| !entries.is_empty()), ..u }),
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

/// All entries that every broker shows of the binding.
pub fn entries(live: &Live) -> BTreeSet<&AclEntry> {
    live.grants.iter().flat_map(|grant| grant.entries.iter()).collect()
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
