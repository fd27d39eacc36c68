//! From what a principal should have, what the ledger recorded and what the brokers have, to what must be done.
//!
//! The order of carrying out is part of the plan's meaning: removals first, then the ledger, then quotas, then creations. At each
//! moment the access is within the union of before and after, and everything that exists is in the ledger.

#[cfg(test)]
mod laws;
mod narrowing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

pub use self::narrowing::so_far;
use super::acl::{AclEntry, PatternType, Permission, ResourceType};
use super::index::{DesiredAccess, Index};
use super::ledger::{Change, GrantKey, GrantRecord};
use super::names::{ObjectKey, has_issued_form, is_reserved_for_weir, service_account_of};

/// What the brokers have of one principal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// Its entries.
    pub entries: BTreeSet<AclEntry>,
    /// Its quotas by Kafka's key.
    pub quotas: BTreeMap<String, f64>,
}

/// What must be done for one principal. Empty where everything is as it should be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PrincipalPlan {
    /// The principal, without `User:`.
    pub principal: String,
    /// First: entries to remove.
    pub delete: BTreeSet<AclEntry>,
    /// Remove every entry of the principal instead, since Weir issued it and it has no access any more.
    pub delete_all: bool,
    /// After the removals: quotas to remove. Once the ledger has forgotten them nobody would know that they are Weir's.
    pub unset_quotas: BTreeSet<String>,
    /// The same of who keeps access, and can do more without them.
    pub lifted_quotas: BTreeSet<String>,
    /// Second, and only once the removals are done: what the ledger must say.
    pub record: Vec<Change>,
    /// Third, and only once the ledger says so: entries to create.
    pub create: BTreeSet<AclEntry>,
    /// Before the creations, and only once the ledger says so: quotas to set.
    pub quotas: BTreeMap<String, f64>,
    /// Those of `delete` that somebody asked for, by deleting or by letting expire: they never wait for a person.
    pub asked: BTreeSet<AclEntry>,
    /// It takes access away although nobody deleted the binding or the client, and nothing expired.
    pub unasked: bool,
}

impl PrincipalPlan {
    /// What goes on of a plan that waits for a person: the removals that somebody asked for.
    pub fn held(&self) -> Self {
        Self { principal: self.principal.clone(), delete: self.asked.clone(), ..Self::default() }
    }

    /// It takes something away.
    pub fn narrows(&self) -> bool {
        !self.delete.is_empty() || self.delete_all || !self.unset_quotas.is_empty()
    }

    /// Nothing to do.
    pub fn is_empty(&self) -> bool {
        let gives = !(self.create.is_empty() && self.quotas.is_empty() && self.lifted_quotas.is_empty());
        !self.narrows() && self.record.is_empty() && !gives
    }
}

/// Plans for one principal.
pub fn plan(
    index: &Index,
    principal: &str,
    desired: &DesiredAccess,
    recorded: Option<&BTreeMap<String, GrantRecord>>,
    observed: &Observed,
) -> PrincipalPlan {
    let none = BTreeMap::new();
    let recorded = recorded.unwrap_or(&none);
    let ours: BTreeSet<_> = recorded.values().flat_map(|r| &r.entries).collect();
    let delete: BTreeSet<_> =
        observed.entries.iter().filter(|e| ours.contains(e) && !desired.entries.contains(e)).cloned().collect();
    let gone = has_issued_form(principal) && desired.grants.is_empty() && !index.is_issued_and_live(principal);
    let keeps_access = !gone && (!desired.entries.is_empty() || observed.entries.len() > delete.len());
    let (unset, quotas) = quotas(desired, recorded, observed);
    let (lifted_quotas, unset_quotas) = unset.into_iter().partition(|_| keeps_access);
    let asked: BTreeSet<_> =
        delete.iter().filter(|e| !taken_by_nobody(index, principal, e, recorded)).cloned().collect();
    PrincipalPlan {
        principal: principal.to_owned(),
        unasked: asked.len() < delete.len(),
        asked,
        delete_all: gone && !observed.entries.is_empty(),
        delete,
        unset_quotas,
        lifted_quotas,
        record: record(index, principal, desired, recorded),
        create: desired.entries.difference(&observed.entries).cloned().collect(),
        quotas,
    }
}

/// Whether some binding that nobody deleted still stands for an entry that is to go.
fn taken_by_nobody(index: &Index, principal: &str, entry: &AclEntry, recorded: &BTreeMap<String, GrantRecord>) -> bool {
    if is_reserved_for_weir(principal) && !index.is_issued_and_live(principal) {
        return false;
    }
    let account = service_account_of(principal).map(|key| index.account(&key));
    recorded.iter().any(|(uid, record)| {
        // Who deleted the ServiceAccount meant it, and its name must not live on for someone else.
        let subject_stays = match account {
            None => true,
            Some(None) => false,
            Some(Some(now)) => record.subject_uid.as_ref().is_none_or(|was| was == now),
        };
        subject_stays
            && record.entries.contains(entry)
            && index.is_binding_live(&ObjectKey::new(&record.namespace, &record.name), uid)
    })
}

fn record(
    index: &Index,
    principal: &str,
    desired: &DesiredAccess,
    recorded: &BTreeMap<String, GrantRecord>,
) -> Vec<Change> {
    let key = |uid: &String| GrantKey { binding_uid: uid.clone(), principal: principal.to_owned() };
    let new = desired.grants.iter().filter_map(|(uid, grant)| {
        let record = GrantRecord {
            namespace: grant.binding.namespace.clone(),
            name: grant.binding.name.clone(),
            entries: grant.entries.clone(),
            quotas: grant.quotas.clone(),
            subject_uid: grant.subject_uid.clone(),
        };
        (recorded.get(uid) != Some(&record)).then(|| Change::Grant(key(uid), Some(record)))
    });
    let gone = recorded.iter().filter(|(uid, _)| !desired.grants.contains_key(*uid)).filter_map(|(uid, record)| {
        let rest = remembered(index, uid, record);
        (rest.as_ref() != Some(record)).then(|| Change::Grant(key(uid), rest))
    });
    new.chain(gone).collect()
}

/// Keeps `late` entries in the ledger although they are wanted no more: a write that someone else sent may yet create them, and
/// only what is in the ledger is known to be Weir's then.
pub fn keep_recorded(plan: &mut PrincipalPlan, recorded: &BTreeMap<String, GrantRecord>, late: &BTreeSet<AclEntry>) {
    if late.is_empty() {
        return;
    }
    let kept = |change: Change| {
        let Change::Grant(key, after) = change else { return Some(change) };
        let Some(before) = recorded.get(&key.binding_uid) else { return Some(Change::Grant(key, after)) };
        let keep: BTreeSet<_> = before.entries.intersection(late).cloned().collect();
        if keep.is_empty() {
            return Some(Change::Grant(key, after));
        }
        let mut record = after.unwrap_or_else(|| GrantRecord {
            entries: BTreeSet::new(),
            quotas: BTreeMap::new(),
            ..before.clone()
        });
        record.entries.extend(keep);
        (record != *before).then_some(Change::Grant(key, Some(record)))
    };
    plan.record = std::mem::take(&mut plan.record).into_iter().filter_map(kept).collect();
}

/// What stays of a record whose access is gone: to which ServiceAccount of another namespace the binding was given, for as
/// long as there is the binding. Otherwise one made anew under that name would pass for the first.
fn remembered(index: &Index, binding_uid: &str, record: &GrantRecord) -> Option<GrantRecord> {
    let binding = ObjectKey::new(&record.namespace, &record.name);
    (record.subject_uid.is_some() && index.has_binding(&binding, binding_uid)).then(|| GrantRecord {
        entries: BTreeSet::new(),
        quotas: BTreeMap::new(),
        ..record.clone()
    })
}

/// Quotas to remove, and quotas to set.
fn quotas(
    desired: &DesiredAccess,
    recorded: &BTreeMap<String, GrantRecord>,
    observed: &Observed,
) -> (BTreeSet<String>, BTreeMap<String, f64>) {
    let ours: BTreeSet<_> = recorded.values().flat_map(|r| r.quotas.keys()).collect();
    let gone = ours.into_iter().filter(|k| !desired.quotas.contains_key(*k) && observed.quotas.contains_key(*k));
    let wrong = desired.quotas.iter().filter(|(key, value)| observed.quotas.get(*key) != Some(value));
    (gone.cloned().collect(), wrong.map(|(k, v)| (k.clone(), *v)).collect())
}

/// Removals that wait for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The principals.
    pub principals: BTreeSet<String>,
    /// What `weir.dev/confirm` must say for exactly these removals to go on.
    pub token: String,
}

/// Decides which plans must wait. `held` are the principals that waited before: they wait on until their plan takes nothing
/// unasked any more or a person confirms, also when others were let go meanwhile. `most` is how many new ones need not wait.
/// `occasion` is new each time that a hold begins, so that what a person confirmed once is not confirmed for later.
pub fn hold(
    plans: &[PrincipalPlan],
    held: &BTreeSet<String>,
    most: u32,
    confirmed: Option<&str>,
    occasion: &str,
) -> Option<Hold> {
    let (before, new): (Vec<_>, Vec<_>) = plans.iter().filter(|p| p.unasked).partition(|p| held.contains(&p.principal));
    // Few new ones do not join those that wait: one owner's mass removal must not keep the narrowings of others waiting.
    let mut unasked = before;
    if new.len() > most as usize {
        unasked.extend(new);
    }
    if unasked.is_empty() {
        return None;
    }
    unasked.sort_by_key(|p| &p.principal);
    let mut hash = Sha256::new();
    hash.update(occasion);
    for plan in &unasked {
        for entry in &plan.delete {
            hash.update(entry.to_string());
            hash.update([0]);
        }
    }
    let token = hex::encode(&hash.finalize()[..6]);
    if confirmed == Some(token.as_str()) {
        return None;
    }
    Some(Hold { principals: unasked.iter().map(|p| p.principal.clone()).collect(), token })
}

/// Entries on governed topics that nothing asks for, of principals that are not exempt.
pub fn foreign<'a>(
    observed: impl Iterator<Item = &'a AclEntry>,
    is_governed: impl Fn(&str) -> bool,
    governed_under: impl Fn(&str) -> bool,
    is_expected: impl Fn(&AclEntry) -> bool,
    is_exempt: impl Fn(&str) -> bool,
) -> BTreeSet<AclEntry> {
    observed
        .filter(|e| e.resource_type == ResourceType::Topic)
        .filter(|e| match e.pattern_type {
            PatternType::Literal => &*e.resource == "*" || is_governed(&e.resource),
            _ => governed_under(&e.resource),
        })
        .filter(|e| !is_exempt(&e.principal) && !is_expected(e))
        .cloned()
        .collect()
}

/// Whether `drift: Repair` may remove a foreign entry: it allows, on one topic by its literal name, and Kafka knows all of it.
pub fn is_repairable(entry: &AclEntry) -> bool {
    entry.permission == Permission::Allow
        && entry.resource_type == ResourceType::Topic
        && entry.pattern_type == PatternType::Literal
        && &*entry.resource != "*"
        && entry.operation.name().is_some()
}
