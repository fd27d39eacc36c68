//! What a principal should have: the union of its grants.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Index, ObjectKey, PrincipalKey};
use crate::api::Reason;
use crate::domain::acl::AclEntry;
use crate::domain::binding::{Grant, Resolution, widen};
use crate::domain::names::{client_of, engine_of_worker, service_account_of, share_of_guest, uid8};

/// What one principal should have on its cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DesiredAccess {
    /// By binding UID.
    pub grants: BTreeMap<String, Arc<Grant>>,
    /// The union of their entries.
    pub entries: BTreeSet<AclEntry>,
    /// The largest of their quotas.
    pub quotas: BTreeMap<String, f64>,
}

impl Index {
    /// What `principal` should have now.
    pub fn desired(&self, principal: &PrincipalKey) -> DesiredAccess {
        let grants = self.grants.get(principal).cloned().unwrap_or_default();
        let mut quotas = BTreeMap::new();
        let mut entries = BTreeSet::new();
        for grant in grants.values() {
            entries.extend(grant.entries.iter().cloned());
            widen(&mut quotas, &grant.quotas);
        }
        DesiredAccess { grants, entries, quotas }
    }

    /// Every principal that should have something on `cluster`.
    pub fn principals_on<'a>(&'a self, cluster: &'a str) -> impl Iterator<Item = &'a PrincipalKey> {
        let first = PrincipalKey { cluster: cluster.to_owned(), principal: String::new() };
        self.grants.range(first..).map(|(key, _)| key).take_while(move |key| key.cluster == cluster)
    }

    /// Whether the binding, or guest, with this UID exists, is not being deleted, has not expired, and nobody said that it should
    /// have less: access that it loses was then taken by something else, which nobody may have meant.
    pub fn is_binding_live(&self, key: &ObjectKey, uid: &str) -> bool {
        let meant = |r: &Arc<Resolution>| r.lapsed || r.problems.iter().any(|p| is_meant(p.reason));
        self.has_binding(key, uid) && !self.resolutions.get(key).is_some_and(meant)
    }

    /// Whether the binding, guest, copier or worker with this UID exists and is not being deleted, expired or not.
    pub fn has_binding(&self, key: &ObjectKey, uid: &str) -> bool {
        if let Some((share, _)) = share_of_guest(key) {
            let is_there = self.shares.get(&share).is_some_and(|s| s.metadata.deletion_timestamp.is_none());
            return is_there && self.uid_of_guest(key) == Some(uid);
        }
        if let Some(engine) = engine_of_worker(key) {
            return self.workers.get(&engine).is_some_and(|worker| worker.uid == uid);
        }
        let binding = self.bindings.get(key);
        binding.is_some_and(|b| b.metadata.uid.as_deref() == Some(uid) && b.metadata.deletion_timestamp.is_none())
    }

    /// Whether `principal` was issued to a client that nobody deleted, in a version that is not retired.
    pub fn is_issued_and_live(&self, principal: &str) -> bool {
        let record = self.issued.get(principal).and_then(|uid| Some((uid, self.client_record(uid)?)));
        record.is_some_and(|(uid, record)| {
            let version = record.versions.iter().any(|v| v.principal == principal && !v.retired);
            version
                && self
                    .clients
                    .get(&record.key())
                    .is_some_and(|c| c.metadata.uid.as_ref() == Some(uid) && c.metadata.deletion_timestamp.is_none())
        })
    }

    /// The StreamClient or ServiceAccount of a principal, with its UID as far as it is known. A namespace that is not there has none: who
    /// tells of a principal may make up as many as they like.
    pub fn home_of(&self, principal: &str) -> Option<(ObjectKey, Option<&str>)> {
        let is_there = |key: &ObjectKey| self.namespace(&key.namespace).is_some();
        if let Some(key) = client_of(principal).filter(is_there) {
            let uid = self.clients.get(&key).and_then(|client| client.metadata.uid.as_deref());
            return Some((key, uid));
        }
        let key = service_account_of(principal).filter(is_there)?;
        let uid = self.account(&key);
        Some((key, uid))
    }

    /// Whether `principal` is a version of a credential on `cluster` whose removal is under way.
    pub fn is_leaving(&self, cluster: &str, principal: &str) -> bool {
        let uid = self.issued.get(principal).filter(|uid| self.client_cluster(uid) == Some(cluster));
        uid.is_some() && !self.is_issued_and_live(principal)
    }

    /// Whether `principal` was ever issued on `cluster`, as far as its ledger tells: versions that it still has, and those before of
    /// clients that are still there.
    pub fn was_issued(&self, cluster: &str, principal: &str) -> bool {
        if let Some(uid) = self.issued.get(principal) {
            return self.client_cluster(uid) == Some(cluster);
        }
        let client = client_of(principal).and_then(|key| self.clients.get(&key));
        let uid = client.and_then(|client| client.metadata.uid.as_deref());
        let record =
            uid.filter(|uid| self.client_cluster(uid) == Some(cluster)).and_then(|uid| self.client_record(uid));
        uid.zip(record).is_some_and(|(uid, record)| {
            let marker = format!("~{}-", uid8(uid));
            let version = principal.split_once(&marker).map(|(_, rest)| rest.split(',').next().unwrap_or(rest));
            version
                .and_then(|v| v.parse().ok())
                .is_some_and(|version: u32| (1..=record.last_version).contains(&version))
        })
    }

    /// Topics on `cluster` that products have, with the product's UID.
    pub fn governed_on<'a>(&'a self, cluster: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        on(&self.governed, cluster)
    }

    /// The same with topics that somebody else is yet to make for one.
    pub fn topics_on_record<'a>(&'a self, cluster: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        on(&self.promised, cluster).chain(on(&self.governed, cluster))
    }
}

/// Of what is known by cluster and topic, what is on `cluster`.
fn on<'a>(known: &'a BTreeMap<(String, String), String>, cluster: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let of_cluster = known.range((cluster.to_owned(), String::new())..).take_while(move |((c, _), _)| c == cluster);
    of_cluster.map(|((_, topic), uid)| (topic.as_str(), uid.as_str()))
}

/// Whether somebody said that there should be less access, or had said when it ends.
fn is_meant(reason: Reason) -> bool {
    use Reason::{Denied, Expired, Quarantined, Rejected, Revoked, Suspended};
    matches!(reason, Denied | Expired | Quarantined | Rejected | Revoked | Suspended)
}
