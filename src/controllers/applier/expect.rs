//! What every broker must show of what was done, and what is said of what was not.

use std::collections::{BTreeMap, BTreeSet};

use tracing::warn;

use super::session::Session;
use super::verify::Expectation;
use crate::domain::index::DesiredAccess;
use crate::domain::ledger::{Change, GrantRecord};
use crate::domain::names::ObjectKey;
use crate::domain::plan::{Observed, PrincipalPlan, so_far};
use crate::domain::problem::Problem;

/// Bindings by UID.
type Bindings = BTreeMap<String, ObjectKey>;

impl Session<'_> {
    /// Notes whose access is going before the ledger forgets it: there is no moment at which a binding seems free of access
    /// that no broker was asked about.
    pub(super) fn expect_removals(&mut self, plans: &[PrincipalPlan], removed: &BTreeMap<String, Bindings>) {
        let mut state = self.handle.state();
        for plan in plans {
            let Some(bindings) = removed.get(&plan.principal) else { continue };
            for uid in bindings.keys() {
                state.unverified.entry(uid.clone()).or_default().insert(plan.principal.clone());
            }
            let expectation = self.pending.entry(plan.principal.clone()).or_default();
            expectation.must_not.extend(plan.delete.iter().cloned());
            expectation.none_at_all |= plan.delete_all;
            expectation.removed_bindings.extend(bindings.clone());
        }
    }

    /// By principal, the bindings whose record the plans take away.
    pub(super) fn removed_bindings(&self, plans: &[PrincipalPlan]) -> BTreeMap<String, Bindings> {
        let mut removed: BTreeMap<String, Bindings> = BTreeMap::new();
        for change in plans.iter().flat_map(|p| &p.record) {
            let Change::Grant(key, after) = change else { continue };
            if after.as_ref().is_some_and(GrantRecord::holds_access) {
                continue;
            }
            let record = self.ledger.grants.get(&key.principal).and_then(|g| g.get(&key.binding_uid));
            if let Some(record) = record {
                let name = ObjectKey::new(&record.namespace, &record.name);
                removed.entry(key.principal.clone()).or_default().insert(key.binding_uid.clone(), name);
            }
        }
        removed
    }

    pub(super) fn report_failure(&self, principal: &str, problem: Problem, desired: &DesiredAccess) {
        warn!(principal, problem = %problem.message, "failed to apply access");
        self.handle.state().failed.insert(principal.to_owned(), problem);
        for grant in desired.grants.values() {
            self.context.world.reconcile_binding(&grant.binding);
        }
    }

    /// Notes what every broker must show before anybody hears of it.
    pub(super) fn expect(&mut self, plan: &PrincipalPlan, desired: DesiredAccess, removed: Bindings) {
        let verified = {
            let state = self.handle.state();
            !state.failed.contains_key(&plan.principal) && state.shows(&plan.principal, &desired.grants)
        };
        if plan.is_empty() && verified && !self.pending.contains_key(&plan.principal) {
            return;
        }
        self.look_for(plan, desired, removed, false);
    }

    /// The same where more is wanted that waits: what was done is looked for, and told of; what was not is no part of it.
    pub(super) fn expect_so_far(&mut self, plan: &PrincipalPlan, desired: &DesiredAccess, removed: Bindings) {
        let (no_records, nothing) = (BTreeMap::new(), Observed::default());
        let recorded = self.ledger.grants.get(&plan.principal).unwrap_or(&no_records);
        let observed = self.observed.principals.get(&plan.principal).unwrap_or(&nothing);
        let so_far = so_far(desired, recorded, observed);
        let mut state = self.handle.state();
        let known = state.shows(&plan.principal, &so_far.grants);
        if plan.narrows() {
            state.shown_before.remove(&plan.principal);
        } else if !known && let Some(before) = state.verified.get(&plan.principal).cloned() {
            state.shown_before.entry(plan.principal.clone()).or_insert(before);
        }
        drop(state);
        let rests = !plan.narrows() && plan.record.is_empty() && !self.pending.contains_key(&plan.principal);
        if !(known && rests) {
            self.look_for(plan, so_far, removed, true);
        }
    }

    fn look_for(&mut self, plan: &PrincipalPlan, desired: DesiredAccess, removed: Bindings, more_waits: bool) {
        let before = self.pending.remove(&plan.principal).unwrap_or_default();
        let mut must_not: BTreeSet<_> = before.must_not;
        must_not.extend(plan.delete.iter().cloned());
        must_not.retain(|e| !desired.entries.contains(e));
        let mut removed_bindings = before.removed_bindings;
        removed_bindings.extend(removed);
        removed_bindings.retain(|uid, _| !desired.grants.contains_key(uid));
        let mut state = self.handle.state();
        for uid in removed_bindings.keys() {
            state.unverified.entry(uid.clone()).or_default().insert(plan.principal.clone());
        }
        drop(state);
        self.pending.insert(
            plan.principal.clone(),
            Expectation {
                none_at_all: plan.delete_all || before.none_at_all && desired.entries.is_empty(),
                must_not,
                removed_bindings,
                desired: Some(desired),
                more_waits,
            },
        );
        self.next_look = None;
    }
}
