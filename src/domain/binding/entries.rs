//! What access comes to on a cluster: the fewest entries, and quotas.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::api::{Access, Quotas};
use crate::domain::acl::{AclEntry, Operation, PatternType, Permission, ResourceType};
use crate::domain::names::ObjectKey;

/// The hosts of an entry that looks at none.
pub const ANYWHERE: [&str; 1] = ["*"];

/// Access to topics of one cluster, and to what the subject needs beside them.
#[derive(Clone, Debug, Default)]
pub struct ClusterAccess {
    /// Of these products.
    pub products: BTreeSet<ObjectKey>,
    /// What may be done, by topic.
    pub topics: BTreeMap<String, BTreeSet<Access>>,
    /// Groups under the subject's prefixes.
    pub groups: bool,
    /// Transactional ids under them.
    pub transactions: bool,
    /// Internal topics under its own.
    pub internal: bool,
    /// Kafka's quotas, by their keys.
    pub quotas: BTreeMap<String, f64>,
}

/// The fewest entries that give `access` to `principal` from each of `hosts`: Read, Write and Delete imply Describe.
pub fn entries(
    principal: &str,
    access: &ClusterAccess,
    prefixes: &BTreeSet<String>,
    internal: Option<&str>,
    hosts: &[&str],
) -> BTreeSet<AclEntry> {
    hosts.iter().flat_map(|host| from_host(principal, access, prefixes, internal, host)).collect()
}

fn from_host(
    principal: &str,
    access: &ClusterAccess,
    prefixes: &BTreeSet<String>,
    internal: Option<&str>,
    host: &str,
) -> BTreeSet<AclEntry> {
    let principal: Arc<str> = format!("User:{principal}").into();
    let host: Arc<str> = host.into();
    let entry = |resource_type, pattern_type, resource: &str, operation| AclEntry {
        principal: principal.clone(),
        resource_type,
        pattern_type,
        resource: resource.into(),
        operation,
        permission: Permission::Allow,
        host: host.clone(),
    };
    let mut entries = BTreeSet::new();
    for (topic, access) in &access.topics {
        let implied = access.contains(&Access::Read) || access.contains(&Access::Write);
        for operation in access.iter().filter(|a| **a != Access::Describe || !implied).map(|a| match a {
            Access::Read => Operation::Read,
            Access::Write => Operation::Write,
            Access::Describe => Operation::Describe,
        }) {
            entries.insert(entry(ResourceType::Topic, PatternType::Literal, topic, operation));
        }
    }
    if let Some(internal) = internal.filter(|_| access.internal) {
        for operation in [Operation::Create, Operation::Delete, Operation::Read, Operation::Write] {
            entries.insert(entry(ResourceType::Topic, PatternType::Prefixed, internal, operation));
        }
        // Kafka Streams names its internal topics by its application id, which is its group id too.
        entries.insert(entry(ResourceType::Group, PatternType::Prefixed, internal, Operation::Read));
        entries.insert(entry(ResourceType::TransactionalId, PatternType::Prefixed, internal, Operation::Write));
    }
    for prefix in prefixes {
        if access.groups {
            entries.insert(entry(ResourceType::Group, PatternType::Prefixed, prefix, Operation::Read));
        }
        if access.transactions {
            entries.insert(entry(ResourceType::TransactionalId, PatternType::Prefixed, prefix, Operation::Write));
        }
    }
    entries
}

/// Quotas under Kafka's keys.
pub fn quota_map(quotas: Option<&Quotas>) -> BTreeMap<String, f64> {
    let Some(quotas) = quotas else { return BTreeMap::new() };
    [
        ("producer_byte_rate", quotas.producer_byte_rate),
        ("consumer_byte_rate", quotas.consumer_byte_rate),
        ("request_percentage", quotas.request_percentage),
        ("controller_mutation_rate", quotas.controller_mutation_rate),
    ]
    .into_iter()
    .filter_map(|(key, value)| Some((key.to_owned(), value? as f64)))
    .collect()
}

/// Takes the larger of each.
pub fn widen(into: &mut BTreeMap<String, f64>, other: &BTreeMap<String, f64>) {
    for (key, value) in other {
        into.entry(key.clone()).and_modify(|v| *v = v.max(*value)).or_insert(*value);
    }
}

/// Keeps `quotas` within `limits`; what is limited and not set is set at the limit.
pub fn bounded(quotas: &BTreeMap<String, f64>, limits: &BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    let mut bounded = limits.clone();
    for (key, value) in quotas {
        let value = limits.get(key).map_or(*value, |limit| value.min(*limit));
        bounded.insert(key.clone(), value);
    }
    bounded
}
