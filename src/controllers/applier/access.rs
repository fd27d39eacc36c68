//! Carries out what principals should have.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use tracing::{info, warn};

use super::session::{Session, SessionError, waiting};
use super::verify::Expectation;
use super::{Grants, Order};
use crate::api::{Action, CONFIRM_ANNOTATION, Outcome};
use crate::domain::acl::AclEntry;
use crate::domain::event::Happening;
use crate::domain::index::DesiredAccess;
use crate::domain::ledger::{Change, GrantRecord};
use crate::domain::names::ObjectKey;
use crate::domain::plan::{self, Observed, PrincipalPlan};
use crate::domain::problem::Problem;
use crate::ports::{AclFilter, Disposition, QuotaDelta};

/// What was refused, by principal.
type Problems = BTreeMap<String, Problem>;

impl Session<'_> {
    /// Plans for `principals` and carries the plans out: removals, then the ledger, then creations.
    pub(super) async fn access(&mut self, principals: &BTreeSet<String>) -> Result<(), SessionError> {
        // Those that waited before are looked at each time, so that they go on once nothing is taken from them any more.
        let waiting = self.handle.state().held.as_ref().map(|h| h.principals.clone()).unwrap_or_default();
        let (mut plans, desired) = self.plans(&principals.union(&waiting).cloned().collect());
        let waiting = self.hold(&mut plans);
        let mut failed = BTreeMap::new();
        self.remove(&plans, &mut failed).await?;
        self.unset_quotas(&plans, &mut failed).await?;
        self.put_on_record(&plans, &mut failed).await;
        let done = |p: &&PrincipalPlan, failed: &Problems| !failed.contains_key(&p.principal);
        let mut removed = self.removed_bindings(&plans);
        self.expect_removals(&plans, &removed, &failed);
        let record: Vec<_> = plans.iter().filter(|p| done(p, &failed)).flat_map(|p| p.record.iter().cloned()).collect();
        self.commit(record.clone()).await?;
        self.announce(
            record.into_iter().filter(|c| matches!(c, Change::Grant(_, Some(r)) if r.subject_uid.is_some())).collect(),
        );
        self.set_quotas(&plans, &mut failed).await?;
        self.tell_of_restored(&plans, &desired, &failed).await;
        self.create_entries(&plans, &mut failed).await?;
        let planned: BTreeMap<_, _> = plans.iter().map(|p| (p.principal.as_str(), p)).collect();
        for (principal, desired) in desired.into_iter().filter(|(principal, _)| !waiting.contains(principal)) {
            match failed.remove(&principal) {
                Some(problem) => {
                    // What was removed is still looked for; what was not made is not.
                    if let Some(expectation) = self.pending.get_mut(&principal) {
                        expectation.desired = None;
                        expectation.must_not.retain(|e| !desired.entries.contains(e));
                    }
                    self.report_failure(&principal, problem, &desired);
                }
                None => {
                    if let Some(plan) = planned.get(principal.as_str()) {
                        let removed = removed.remove(&principal).unwrap_or_default();
                        self.expect(plan, desired, removed);
                    }
                }
            }
        }
        Ok(())
    }

    /// What is about to be created is on record first. Where it cannot be, it is not created.
    async fn put_on_record(&self, plans: &[PrincipalPlan], failed: &mut Problems) {
        let wider: Vec<_> =
            plans.iter().filter(|p| !p.create.is_empty() && !failed.contains_key(&p.principal)).collect();
        let entries: BTreeSet<_> = wider.iter().flat_map(|p| &p.create).map(ToString::to_string).collect();
        if entries.is_empty() {
            return;
        }
        let message = format!("{} principals are about to get {} entries", wider.len(), entries.len());
        let principals = wider.iter().map(|p| p.principal.clone()).collect();
        if let Err(problem) = self.intend(message, principals, entries).await {
            failed.extend(wider.iter().map(|p| (p.principal.clone(), problem.clone())));
        }
    }

    /// Puts on record that more is about to be given.
    ///
    /// # Errors
    /// It cannot be put on record: then it is not to be given.
    pub(super) async fn intend(
        &self,
        message: String,
        principals: Vec<String>,
        entries: BTreeSet<String>,
    ) -> Result<(), Problem> {
        let mut happening = Happening::new(Action::AccessWidening, self.object(), "Widening", message)
            .ended(Outcome::Pending)
            .on(self.cluster)
            .of(principals);
        happening.count = i64::try_from(entries.len().max(1)).unwrap_or(i64::MAX);
        happening.entries = entries.into_iter().collect();
        self.context.trail.intend(happening, &Timestamp::now().to_string()).await
    }

    /// Entries that every broker was seen to have, and that someone else removed since.
    async fn tell_of_restored(&self, plans: &[PrincipalPlan], desired: &[(String, DesiredAccess)], failed: &Problems) {
        let missing: BTreeSet<_> = {
            let state = self.handle.state();
            let desired: BTreeMap<_, _> = desired.iter().map(|(principal, d)| (principal, &d.grants)).collect();
            let unchanged =
                |plan: &&PrincipalPlan| match (state.verified.get(&plan.principal), desired.get(&plan.principal)) {
                    (Some(verified), Some(desired)) => same(verified, desired),
                    _ => false,
                };
            let made = plans.iter().filter(|p| !failed.contains_key(&p.principal));
            made.filter(unchanged).flat_map(|plan| plan.create.iter().cloned()).collect()
        };
        if !missing.is_empty() {
            warn!(entries = missing.len(), "entries were removed by someone else; they are made again");
            self.tell(Action::DriftRepaired, "EntriesRestored", &missing).await;
        }
    }

    /// Notes whose access is going before the ledger forgets it: there is no moment at which a binding seems free of access
    /// that no broker was asked about.
    fn expect_removals(
        &mut self,
        plans: &[PrincipalPlan],
        removed: &BTreeMap<String, BTreeMap<String, ObjectKey>>,
        failed: &Problems,
    ) {
        let mut state = self.handle.state();
        for plan in plans.iter().filter(|p| !failed.contains_key(&p.principal)) {
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
    fn removed_bindings(&self, plans: &[PrincipalPlan]) -> BTreeMap<String, BTreeMap<String, ObjectKey>> {
        let mut removed: BTreeMap<String, BTreeMap<String, ObjectKey>> = BTreeMap::new();
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

    fn plans(&self, principals: &BTreeSet<String>) -> (Vec<PrincipalPlan>, Vec<(String, DesiredAccess)>) {
        let index = self.context.world.index();
        let none = Observed::default();
        principals
            .iter()
            .map(|principal| {
                let desired = index.desired(&self.key(principal));
                let observed = self.observed.principals.get(principal).unwrap_or(&none);
                let recorded = self.ledger.grants.get(principal);
                let mut plan = plan::plan(&index, principal, &desired, recorded, observed);
                if let Some(recorded) = recorded {
                    plan::keep_recorded(&mut plan, recorded, self.late.entries());
                }
                (plan, (principal.clone(), desired))
            })
            .unzip()
    }

    /// Whether an order takes access from any principal.
    pub(super) fn narrows(&self, order: &Order) -> bool {
        let Order::Dirty { principals, .. } = order else { return false };
        self.plans(principals).0.iter().any(PrincipalPlan::narrows)
    }

    /// Cuts the plans that wait for a person down to what somebody asked for. Returns the principals that wait.
    fn hold(&self, plans: &mut [PrincipalPlan]) -> BTreeSet<String> {
        let (most, confirmed) = {
            let index = self.context.world.index();
            let object = index.cluster(self.cluster);
            let confirmed = object.and_then(|c| c.metadata.annotations.as_ref()?.get(CONFIRM_ANNOTATION).cloned());
            (object.map_or(0, |c| c.spec.max_revocations), confirmed)
        };
        let mut state = self.handle.state();
        if state.held.is_none() {
            state.held_since = Timestamp::now().to_string();
        }
        let before = state.held.as_ref().map(|h| h.principals.clone()).unwrap_or_default();
        let hold = plan::hold(plans, &before, most, confirmed.as_deref(), &state.held_since);
        let waiting = hold.as_ref().map(|h| h.principals.clone()).unwrap_or_default();
        if state.held != hold {
            if let Some(hold) = &hold {
                warn!(principals = hold.principals.len(), token = %hold.token, "removals wait for a person");
            }
            state.held = hold;
            drop(state);
            self.context.world.reconcile_cluster(self.cluster);
        }
        for plan in plans.iter_mut().filter(|p| waiting.contains(&p.principal)) {
            *plan = plan.held();
        }
        waiting
    }

    /// First: removals. A principal whose removals failed is left as it is.
    async fn remove(&mut self, plans: &[PrincipalPlan], failed: &mut Problems) -> Result<(), SessionError> {
        let mut filters = Vec::new();
        let mut owners = Vec::new();
        for plan in plans {
            if plan.delete_all {
                filters.push(AclFilter::Principal(format!("User:{}", plan.principal)));
                owners.push(plan.principal.as_str());
            } else {
                filters.extend(plan.delete.iter().cloned().map(AclFilter::Exact));
                owners.extend(plan.delete.iter().map(|_| plan.principal.as_str()));
            }
        }
        if filters.is_empty() {
            return Ok(());
        }
        self.context.may_write()?;
        let results = self.admin.delete_acls(&filters).await?;
        for ((result, filter), principal) in results.into_iter().zip(filters).zip(owners) {
            match result {
                Ok(_) => {
                    let observed = self.observed.of(principal);
                    match filter {
                        AclFilter::Exact(entry) => drop(observed.entries.remove(&entry)),
                        _ => observed.entries.clear(),
                    }
                }
                Err(error) if error.disposition == Disposition::UnknownOutcome => return Err(error.into()),
                Err(error) => drop(failed.insert(principal.to_owned(), waiting(&error))),
            }
        }
        info!(principals = plans.iter().filter(|p| p.delete_all || !p.delete.is_empty()).count(), "removed access");
        Ok(())
    }

    /// Third: creations, of those whose ledger records were written.
    async fn create_entries(&mut self, plans: &[PrincipalPlan], failed: &mut Problems) -> Result<(), SessionError> {
        let wanted: Vec<(&str, &AclEntry)> = plans
            .iter()
            .filter(|p| !failed.contains_key(&p.principal))
            .flat_map(|p| p.create.iter().map(|e| (p.principal.as_str(), e)))
            .collect();
        if wanted.is_empty() {
            return Ok(());
        }
        self.context.may_write()?;
        let entries: Vec<_> = wanted.iter().map(|(_, e)| (*e).clone()).collect();
        let results = self.admin.create_acls(&entries).await?;
        for ((principal, _), (entry, result)) in wanted.into_iter().zip(entries.into_iter().zip(results)) {
            match result {
                Ok(()) => drop(self.observed.of(principal).entries.insert(entry)),
                Err(error) if error.disposition == Disposition::UnknownOutcome => return Err(error.into()),
                Err(error) => drop(failed.insert(principal.to_owned(), waiting(&error))),
            }
        }
        Ok(())
    }

    /// With the removals: quotas that are Weir's and wanted no more. After the ledger forgot them nobody would know whose they are.
    async fn unset_quotas(&mut self, plans: &[PrincipalPlan], failed: &mut Problems) -> Result<(), SessionError> {
        let unset = |p: &PrincipalPlan| p.unset_quotas.iter().map(|key| (key.clone(), None)).collect();
        self.alter_quotas(plans, unset, failed).await
    }

    async fn set_quotas(&mut self, plans: &[PrincipalPlan], failed: &mut Problems) -> Result<(), SessionError> {
        let set = |p: &PrincipalPlan| p.quotas.iter().map(|(key, value)| (key.clone(), Some(*value))).collect();
        self.alter_quotas(plans, set, failed).await
    }

    async fn alter_quotas(
        &mut self,
        plans: &[PrincipalPlan],
        changes: impl Fn(&PrincipalPlan) -> BTreeMap<String, Option<f64>>,
        failed: &mut Problems,
    ) -> Result<(), SessionError> {
        let deltas: Vec<_> = plans
            .iter()
            .filter(|p| !failed.contains_key(&p.principal))
            .map(|p| QuotaDelta { user: p.principal.clone(), changes: changes(p) })
            .filter(|d| !d.changes.is_empty())
            .collect();
        if deltas.is_empty() {
            return Ok(());
        }
        self.context.may_write()?;
        let results = self.admin.alter_user_quotas(&deltas).await?;
        for (delta, result) in deltas.into_iter().zip(results) {
            match result {
                Ok(()) => {
                    let quotas = &mut self.observed.of(&delta.user).quotas;
                    for (key, value) in delta.changes {
                        match value {
                            Some(value) => quotas.insert(key, value),
                            None => quotas.remove(&key),
                        };
                    }
                }
                Err(error) if error.disposition == Disposition::UnknownOutcome => return Err(error.into()),
                Err(error) => drop(failed.insert(delta.user, waiting(&error))),
            }
        }
        Ok(())
    }

    fn report_failure(&self, principal: &str, problem: Problem, desired: &DesiredAccess) {
        warn!(principal, problem = %problem.message, "failed to apply access");
        self.handle.state().failed.insert(principal.to_owned(), problem);
        for grant in desired.grants.values() {
            self.context.world.reconcile_binding(&grant.binding);
        }
    }

    /// Notes what every broker must show before anybody hears of it.
    fn expect(&mut self, plan: &PrincipalPlan, desired: DesiredAccess, removed: BTreeMap<String, ObjectKey>) {
        let verified = {
            let state = self.handle.state();
            !state.failed.contains_key(&plan.principal)
                && match state.verified.get(&plan.principal) {
                    Some(grants) => same(grants, &desired.grants),
                    None => desired.grants.is_empty(),
                }
        };
        if plan.is_empty() && verified && !self.pending.contains_key(&plan.principal) {
            return;
        }
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
            },
        );
        self.next_look = None;
    }
}

/// Whether both are the same grants, which is so too where one was resolved anew to an equal value.
fn same(a: &Grants, b: &Grants) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|((ka, va), (kb, vb))| ka == kb && (Arc::ptr_eq(va, vb) || va == vb))
}
