//! What goes on of a plan while nothing more can be given, and what is so by then.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::sync::Arc;

use super::{Observed, PrincipalPlan};
use crate::domain::acl::AclEntry;
use crate::domain::binding::{Grant, widen};
use crate::domain::event::Gain;
use crate::domain::index::DesiredAccess;
use crate::domain::ledger::{Change, GrantKey, GrantRecord};

/// What the ledger has of one principal, by binding UID.
type Records = BTreeMap<String, GrantRecord>;

impl PrincipalPlan {
    /// What it gives, beside what it takes away: entries, and quotas that are higher than those that the brokers have, or no more. A
    /// quota for whom had none is a limit.
    pub fn gains(&self, observed: &Observed) -> Vec<Gain> {
        let entries = self.create.iter().map(|entry| Gain::of(&self.principal, entry));
        let raised =
            self.quotas.iter().filter(|(key, value)| observed.quotas.get(*key).is_some_and(|now| *value > now));
        let quota = |key: &String, value: &dyn Display| {
            Gain::of(&self.principal, format!("Quota User:{} {key}={value}", self.principal))
        };
        let raised = raised.map(|(key, value)| quota(key, value));
        let lifted = self.lifted_quotas.iter().map(|key| quota(key, &"none"));
        entries.chain(raised).chain(lifted).collect()
    }

    /// The part of it that takes away: no entry is created, no quota set but one that is lower than what the brokers have, none taken
    /// from who keeps access, and the ledger only forgets. What a binding lets go and another one keeps alive passes to that one, so
    /// that all that exists stays in the ledger.
    pub fn narrowing(&self, recorded: &Records, observed: &Observed) -> Self {
        let passed_on = PassedOn::by(self, recorded);
        let is_recorded = |key: &String| recorded.values().any(|record| record.quotas.contains_key(key));
        let is_lower = |key: &String, value: &f64| observed.quotas.get(key).is_some_and(|now| value < now);
        let lower = self.quotas.iter().filter(|(key, value)| is_recorded(key) && is_lower(key, value));
        let mut part = Self {
            record: self.record.iter().filter_map(|change| passed_on.forgetting(change, recorded)).collect(),
            create: BTreeSet::new(),
            quotas: lower.map(|(key, value)| (key.clone(), *value)).collect(),
            lifted_quotas: BTreeSet::new(),
            ..self.clone()
        };
        if !self.lifted_quotas.is_empty() {
            part.keep_quotas(&self.lifted_quotas, recorded);
        }
        part
    }

    /// Keeps these quotas in the ledger: with the bindings that have them, or else with one that keeps entries. Where no binding does,
    /// they go.
    fn keep_quotas(&mut self, lifted: &BTreeSet<String>, recorded: &Records) {
        let mut after = recorded.clone();
        for change in &self.record {
            let Change::Grant(key, record) = change else { continue };
            match record {
                Some(record) => drop(after.insert(key.binding_uid.clone(), record.clone())),
                None => drop(after.remove(&key.binding_uid)),
            }
        }
        for key in lifted {
            let had = |record: &GrantRecord| record.quotas.get(key).copied();
            let mut is_kept = false;
            for (uid, record) in after.iter_mut().filter(|(_, record)| !record.entries.is_empty()) {
                if let Some(value) = recorded.get(uid).and_then(had) {
                    record.quotas.insert(key.clone(), value);
                    is_kept = true;
                }
            }
            if is_kept {
                continue;
            }
            let least = recorded.values().filter_map(had).reduce(f64::min);
            match after.values_mut().find(|record| !record.entries.is_empty()).zip(least) {
                Some((record, value)) => drop(record.quotas.insert(key.clone(), value)),
                None => drop(self.unset_quotas.insert(key.clone())),
            }
        }
        let uids: BTreeSet<_> =
            recorded.keys().chain(after.keys()).filter(|uid| recorded.get(*uid) != after.get(*uid)).collect();
        let change = |uid: &String| {
            let key = GrantKey { binding_uid: uid.clone(), principal: self.principal.clone() };
            Change::Grant(key, after.get(uid).cloned())
        };
        self.record = uids.into_iter().map(change).collect();
    }
}

/// What bindings let go that others may keep alive.
struct PassedOn<'a> {
    entries: BTreeSet<&'a AclEntry>,
    quotas: BTreeMap<&'a String, f64>,
}

impl<'a> PassedOn<'a> {
    /// What no binding would have in the ledger any more if each kept only what it had.
    fn by(plan: &'a PrincipalPlan, recorded: &'a Records) -> Self {
        let changed: BTreeMap<_, _> = plan.record.iter().filter_map(of_binding).collect();
        let stays = |uid: &String| match changed.get(uid) {
            None => recorded.get(uid),
            Some(after) => *after,
        };
        let (mut entries, mut quotas): (BTreeSet<_>, BTreeMap<_, f64>) = Default::default();
        for (key, value) in recorded.values().flat_map(|record| &record.quotas) {
            quotas.entry(key).and_modify(|least| *least = least.min(*value)).or_insert(*value);
        }
        entries.extend(recorded.values().flat_map(|record| &record.entries));
        for (before, after) in recorded.iter().filter_map(|(uid, before)| Some((before, stays(uid)?))) {
            entries.retain(|entry| !(before.entries.contains(*entry) && after.entries.contains(*entry)));
            quotas.retain(|key, _| !(before.quotas.contains_key(*key) && after.quotas.contains_key(*key)));
        }
        Self { entries, quotas }
    }

    /// A change of the ledger as far as it forgets; `None` where it does not.
    fn forgetting(&self, change: &Change, recorded: &Records) -> Option<Change> {
        let Change::Grant(key, Some(after)) = change else { return Some(change.clone()) };
        let before = recorded.get(&key.binding_uid);
        let had =
            |entry: &&AclEntry| before.is_some_and(|b| b.entries.contains(*entry)) || self.entries.contains(*entry);
        let least = |(key, value): (&String, &f64)| {
            let was = before.and_then(|b| b.quotas.get(key)).or_else(|| self.quotas.get(key))?;
            Some((key.clone(), value.min(*was)))
        };
        let record = GrantRecord {
            entries: after.entries.iter().filter(had).cloned().collect(),
            quotas: after.quotas.iter().filter_map(least).collect(),
            ..before.unwrap_or(after).clone()
        };
        let remembers = before.is_some() && record.subject_uid.is_some();
        let record = (record.holds_access() || remembers).then_some(record);
        (record.as_ref() != before).then(|| Change::Grant(key.clone(), record))
    }
}

fn of_binding(change: &Change) -> Option<(&String, Option<&GrantRecord>)> {
    let Change::Grant(key, after) = change else { return None };
    Some((&key.binding_uid, after.as_ref()))
}

/// What of `desired` is so by now: in the ledger, and on the brokers. The very same grants where nothing of them is missing.
pub fn so_far(desired: &DesiredAccess, recorded: &Records, observed: &Observed) -> DesiredAccess {
    let mut so_far = DesiredAccess::default();
    for (uid, grant) in &desired.grants {
        let Some(record) = recorded.get(uid) else { continue };
        let is_there = |entry: &&AclEntry| record.entries.contains(*entry) && observed.entries.contains(*entry);
        let entries: BTreeSet<_> = grant.entries.iter().filter(is_there).cloned().collect();
        if entries.is_empty() && !grant.entries.is_empty() {
            continue;
        }
        let is_set = |key: &String, value: &f64| {
            record.quotas.get(key) == Some(value) && observed.quotas.get(key) == desired.quotas.get(key)
        };
        // One that is wanted no more is still in force.
        let stays = |key: &String| !desired.quotas.contains_key(key) && observed.quotas.contains_key(key);
        let set = grant.quotas.iter().filter(|(key, value)| is_set(key, value));
        let quotas: BTreeMap<_, _> = set
            .chain(record.quotas.iter().filter(|(key, _)| stays(key)))
            .map(|(key, value)| (key.clone(), *value))
            .collect();
        so_far.entries.extend(entries.iter().cloned());
        widen(&mut so_far.quotas, &quotas);
        let is_all = (&entries, &quotas) == (&grant.entries, &grant.quotas);
        let part = if is_all { grant.clone() } else { Arc::new(Grant { entries, quotas, ..Grant::clone(grant) }) };
        so_far.grants.insert(uid.clone(), part);
    }
    so_far
}
