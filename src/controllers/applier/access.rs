//! Carries out what principals should have.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use tracing::{info, warn};

use super::Order;
use super::session::{Session, SessionError, waiting};
use super::state::have_same_entries;
use crate::api::{Action, CONFIRM_ANNOTATION};
use crate::domain::acl::AclEntry;
use crate::domain::index::DesiredAccess;
use crate::domain::ledger::Change;
use crate::domain::plan::{self, Observed, PrincipalPlan};
use crate::domain::problem::Problem;
use crate::ports::{AclFilter, Disposition, QuotaDelta};

/// What was refused, or waits, by principal.
pub(super) type Problems = BTreeMap<String, Problem>;

impl Session<'_> {
    /// Plans for `principals` and carries the plans out: removals, then the record, then the ledger, then creations.
    pub(super) async fn access(&mut self, principals: &BTreeSet<String>) -> Result<(), SessionError> {
        // Those that waited before are looked at each time, so that they go on once nothing is taken from them any more.
        let held = self.handle.state().held.as_ref().map(|h| h.principals.clone()).unwrap_or_default();
        let (mut plans, desired) = self.plans(&principals.union(&held).cloned().collect());
        let held = self.hold(&mut plans);
        let mut failed = Problems::new();
        self.remove(&plans, &mut failed).await?;
        plans.retain(|p| !failed.contains_key(&p.principal));
        // From here on a plan may be one that only takes away.
        let mut waits = self.put_on_record(&mut plans).await;
        self.remove_quotas(&plans, &mut failed).await?;
        plans.retain(|p| !failed.contains_key(&p.principal));
        let mut removed = self.removed_bindings(&plans);
        self.expect_removals(&plans, &removed);
        let record: Vec<_> = plans.iter().flat_map(|p| p.record.iter().cloned()).collect();
        self.commit(record.clone()).await?;
        self.announce(
            record.into_iter().filter(|c| matches!(c, Change::Grant(_, Some(r)) if r.subject_uid.is_some())).collect(),
        );
        waits.extend(self.give(&plans, &desired).await?);
        let planned: BTreeMap<_, _> = plans.iter().map(|p| (p.principal.as_str(), p)).collect();
        for (principal, desired) in desired.into_iter().filter(|(principal, _)| !held.contains(principal)) {
            if let Some(problem) = failed.remove(&principal) {
                // What was removed before is still looked for; nothing else is known of it.
                if let Some(expectation) = self.pending.get_mut(&principal) {
                    expectation.desired = None;
                    expectation.must_not.retain(|e| !desired.entries.contains(e));
                }
                self.report_failure(&principal, problem, &desired);
                continue;
            }
            let Some(plan) = planned.get(principal.as_str()) else { continue };
            let removed = removed.remove(&principal).unwrap_or_default();
            match waits.remove(&principal) {
                Some(problem) => {
                    self.expect_so_far(plan, &desired, removed);
                    self.report_failure(&principal, problem, &desired);
                }
                None => {
                    self.intents.forget(&principal);
                    self.expect(plan, desired, removed);
                }
            }
        }
        Ok(())
    }

    /// Third: quotas and creations, of those whose ledger records were written. Returns what was refused.
    async fn give(
        &mut self,
        plans: &[PrincipalPlan],
        desired: &[(String, DesiredAccess)],
    ) -> Result<Problems, SessionError> {
        let mut refused = Problems::new();
        self.set_quotas(plans, &mut refused).await?;
        let mut missing = self.missing(plans, desired);
        let created = self.create_entries(plans, &mut refused).await;
        missing.retain(|principal, _| !refused.contains_key(*principal));
        self.tell_of_restored(missing.into_values().flatten().collect()).await;
        created.map(|()| refused)
    }

    /// Entries that every broker was seen to have, and that someone else removed since, by principal.
    fn missing<'a>(
        &self,
        plans: &'a [PrincipalPlan],
        desired: &[(String, DesiredAccess)],
    ) -> BTreeMap<&'a str, BTreeSet<AclEntry>> {
        let state = self.handle.state();
        let desired: BTreeMap<_, _> = desired.iter().map(|(principal, d)| (principal, &d.grants)).collect();
        let unchanged = |plan: &&PrincipalPlan| {
            let shown = state.shown_before.get(&plan.principal).or_else(|| state.verified.get(&plan.principal));
            shown.zip(desired.get(&plan.principal)).is_some_and(|(shown, desired)| have_same_entries(shown, desired))
        };
        plans.iter().filter(unchanged).map(|plan| (plan.principal.as_str(), plan.create.clone())).collect()
    }

    async fn tell_of_restored(&self, missing: BTreeSet<AclEntry>) {
        if !missing.is_empty() {
            warn!(entries = missing.len(), "entries were removed by someone else; they are made again");
            self.context.record_all(self.told(Action::DriftRepaired, "EntriesRestored", &missing)).await;
        }
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
        self.takes_from(principals)
    }

    /// Whether anything is to be taken from any of `principals`.
    pub(super) fn takes_from(&self, principals: &BTreeSet<String>) -> bool {
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
        let mut taken = BTreeSet::new();
        for ((principal, _), (entry, result)) in wanted.into_iter().zip(entries.into_iter().zip(results)) {
            match result {
                Ok(()) => {
                    self.observed.of(principal).entries.insert(entry);
                    taken.insert(principal);
                }
                Err(error) if error.disposition == Disposition::UnknownOutcome => return Err(error.into()),
                Err(error) => drop(failed.insert(principal.to_owned(), waiting(&error))),
            }
        }
        let mut state = self.handle.state();
        let recorded = taken.into_iter().filter_map(|p| Some((p, self.ledger.grants.get(p)?)));
        recorded.for_each(|(principal, recorded)| state.note_begun(principal, recorded));
        Ok(())
    }

    /// Quotas that are Weir's and wanted no more. After the ledger forgot them nobody would know whose they are.
    async fn remove_quotas(&mut self, plans: &[PrincipalPlan], failed: &mut Problems) -> Result<(), SessionError> {
        let removed =
            |p: &PrincipalPlan| p.unset_quotas.union(&p.lifted_quotas).map(|key| (key.clone(), None)).collect();
        self.alter_quotas(plans, removed, failed).await
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
}
