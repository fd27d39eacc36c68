//! The laws of a plan, against a broker that is a set: never wider on the way, everything of ours in the ledger at each
//! moment, and the same end after a crash at any step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};
use proptest::test_runner::Config;

use crate::domain::acl::{AclEntry, Operation, PatternType, Permission, ResourceType};
use crate::domain::binding::{Grant, widen};
use crate::domain::index::{DesiredAccess, Index};
use crate::domain::ledger::{Change, GrantKey, GrantRecord, Ledger};
use crate::domain::plan::{Observed, PrincipalPlan, keep_recorded, plan, so_far};
use crate::domain::testing::{World, key, on_cluster, principal_of};

/// What one binding gives: which of the entries, and a quota.
type Gives = (BTreeSet<u8>, Option<u8>);

#[derive(Clone, Debug)]
struct Case {
    issued: bool,
    recorded: BTreeMap<u8, Gives>,
    desired: BTreeMap<u8, Gives>,
    /// Of what is recorded, only this exists.
    exists: BTreeSet<u8>,
    quota_exists: bool,
    /// Entries that somebody else made; from 6 on they are denials.
    foreign: BTreeSet<u8>,
    foreign_quota: bool,
}

fn gives() -> impl Strategy<Value = BTreeMap<u8, Gives>> {
    let one = (prop::collection::btree_set(0..6u8, 0..4), prop::option::of(1..4u8));
    prop::collection::btree_map(0..3u8, one, 0..3)
}

fn case() -> impl Strategy<Value = Case> {
    let exists = prop_oneof![Just((0..6).collect()), prop::collection::btree_set(0..6u8, 0..6)];
    let foreign = prop::collection::btree_set(0..8u8, 0..3);
    (any::<bool>(), gives(), gives(), exists, any::<bool>(), foreign, any::<bool>()).prop_map(
        |(issued, recorded, desired, exists, quota_exists, foreign, foreign_quota)| Case {
            issued,
            recorded,
            desired,
            exists,
            quota_exists,
            foreign,
            foreign_quota,
        },
    )
}

/// The brokers and the ledger, and what of all that is ours.
struct Model<'a> {
    index: &'a Index,
    principal: String,
    desired: DesiredAccess,
    ledger: Ledger,
    observed: Observed,
    ours: BTreeSet<AclEntry>,
    our_quotas: BTreeSet<String>,
    /// The union of before and after.
    most: BTreeSet<AclEntry>,
}

impl<'a> Model<'a> {
    fn new(index: &'a Index, case: &Case) -> Self {
        let principal = if case.issued { principal_of("fraud/gone", 1) } else { "alice".to_owned() };
        let mut ledger = Ledger::default();
        let mut recorded_quotas = BTreeMap::new();
        let mut ours = BTreeSet::new();
        for (uid, gives) in &case.recorded {
            let grant = grant(&principal, *uid, gives);
            ours.extend(grant.entries.clone());
            widen(&mut recorded_quotas, &grant.quotas);
            let at = GrantKey { binding_uid: grant.binding_uid.clone(), principal: principal.clone() };
            let record = GrantRecord {
                namespace: "fraud".into(),
                name: grant.binding.name.clone(),
                entries: grant.entries,
                quotas: grant.quotas,
                subject_uid: None,
            };
            ledger.apply(Change::Grant(at, Some(record)));
        }
        let exists: BTreeSet<_> = case.exists.iter().map(|n| entry(&principal, *n)).collect();
        ours.retain(|e| exists.contains(e));
        let foreign = case.foreign.iter().map(|n| entry(&principal, *n));
        let mut observed = Observed { entries: ours.iter().cloned().chain(foreign).collect(), ..Observed::default() };
        if case.quota_exists {
            observed.quotas = recorded_quotas;
        }
        let our_quotas = observed.quotas.keys().cloned().collect();
        if case.foreign_quota {
            observed.quotas.insert("foreign".into(), 1.0);
        }
        let grants: BTreeMap<_, _> = case
            .desired
            .iter()
            .map(|(uid, g)| grant(&principal, *uid, g))
            .map(|g| (g.binding_uid.clone(), Arc::new(g)))
            .collect();
        let mut desired = DesiredAccess { grants, ..DesiredAccess::default() };
        for grant in desired.grants.values() {
            desired.entries.extend(grant.entries.clone());
            widen(&mut desired.quotas, &grant.quotas);
        }
        let most = observed.entries.union(&desired.entries).cloned().collect();
        Self { index, principal, desired, ledger, observed, ours, our_quotas, most }
    }

    fn plan(&self) -> PrincipalPlan {
        plan(self.index, &self.principal, &self.desired, self.ledger.grants.get(&self.principal), &self.observed)
    }

    fn recorded(&self) -> BTreeMap<String, GrantRecord> {
        self.ledger.grants.get(&self.principal).cloned().unwrap_or_default()
    }

    /// The plan where all that is in the ledger and not on the brokers may still arrive there; and what that is.
    fn plan_with_late(&mut self) -> (PrincipalPlan, BTreeSet<AclEntry>) {
        let recorded = self.recorded();
        let entries: BTreeSet<_> = recorded.values().flat_map(|r| r.entries.clone()).collect();
        let late: BTreeSet<_> = entries.difference(&self.observed.entries).cloned().collect();
        self.most.extend(late.iter().cloned());
        let mut plan = self.plan();
        keep_recorded(&mut plan, &recorded, &late);
        (plan, late)
    }

    /// Those of `late` that are among `arrives` arrive.
    fn arrive(&mut self, arrives: &BTreeSet<u8>, late: &BTreeSet<AclEntry>) -> Vec<AclEntry> {
        let arrived: Vec<_> = arrives.iter().map(|n| entry(&self.principal, *n)).filter(|e| late.contains(e)).collect();
        self.observed.entries.extend(arrived.iter().cloned());
        self.ours.extend(arrived.iter().cloned());
        self.check();
        arrived
    }

    /// Carries out what goes on while nothing can be given, and holds that it takes away alone.
    fn narrow(&mut self, plan: &PrincipalPlan) {
        let recorded = self.recorded();
        let narrowing = plan.narrowing(&recorded, &self.observed);
        assert!(narrowing.create.is_empty() && narrowing.gains(&self.observed).is_empty());
        assert!(
            narrowing.quotas.iter().all(|(key, value)| self.observed.quotas.get(key).is_some_and(|now| value < now))
        );
        let known: BTreeSet<_> = recorded.values().flat_map(|r| r.entries.clone()).collect();
        let known_quotas: BTreeSet<_> = recorded.values().flat_map(|r| r.quotas.keys().cloned()).collect();
        let before = self.observed.clone();
        assert!(self.carry_out(&narrowing, usize::MAX));
        assert!(self.observed.entries.is_subset(&before.entries));
        assert!(
            self.ours.is_empty() || before.quotas.keys().all(|key| self.observed.quotas.contains_key(key)),
            "a quota was lifted"
        );
        let after = self.recorded();
        assert!(
            after.values().all(|r| r.entries.is_subset(&known) && r.quotas.keys().all(|k| known_quotas.contains(k)))
        );
        let so_far = so_far(&self.desired, &after, &self.observed);
        assert!(so_far.entries.is_subset(&self.observed.entries) && so_far.entries.is_subset(&self.desired.entries));
        assert!(so_far.grants.iter().all(|(uid, grant)| grant.entries.is_subset(&after[uid].entries)));
    }

    /// Takes the plan's steps in their order, and no more than `steps` of them. Says whether that was all.
    fn carry_out(&mut self, plan: &PrincipalPlan, mut steps: usize) -> bool {
        let mut crashed = || {
            steps = steps.saturating_sub(1);
            steps == 0
        };
        if plan.delete_all {
            if crashed() {
                return false;
            }
            self.observed.entries.clear();
            self.ours.clear();
            self.check();
        }
        for entry in &plan.delete {
            if crashed() {
                return false;
            }
            self.observed.entries.remove(entry);
            self.ours.remove(entry);
            self.check();
        }
        for quota in plan.unset_quotas.iter().chain(&plan.lifted_quotas) {
            if crashed() {
                return false;
            }
            self.observed.quotas.remove(quota);
            self.our_quotas.remove(quota);
            self.check();
        }
        if crashed() {
            return false;
        }
        for change in &plan.record {
            self.ledger.apply(change.clone());
        }
        self.check();
        for (quota, value) in &plan.quotas {
            if crashed() {
                return false;
            }
            self.observed.quotas.insert(quota.clone(), *value);
            self.our_quotas.insert(quota.clone());
            self.check();
        }
        for entry in &plan.create {
            if crashed() {
                return false;
            }
            self.observed.entries.insert(entry.clone());
            self.ours.insert(entry.clone());
            self.check();
        }
        true
    }

    /// What holds at every moment.
    fn check(&self) {
        assert!(self.observed.entries.is_subset(&self.most), "wider than before and after");
        let records: Vec<_> = self.ledger.grants.get(&self.principal).into_iter().flat_map(BTreeMap::values).collect();
        for entry in &self.ours {
            assert!(records.iter().any(|r| r.entries.contains(entry)), "not in the ledger: {entry}");
        }
        for quota in &self.our_quotas {
            assert!(records.iter().any(|r| r.quotas.contains_key(quota)), "not in the ledger: {quota}");
        }
    }
}

fn entry(principal: &str, n: u8) -> AclEntry {
    AclEntry {
        principal: format!("User:{principal}").into(),
        resource_type: ResourceType::Topic,
        pattern_type: PatternType::Literal,
        resource: format!("t{}", n % 6).into(),
        operation: Operation::Read,
        permission: if n < 6 { Permission::Allow } else { Permission::Deny },
        host: "*".into(),
    }
}

fn grant(principal: &str, uid: u8, (entries, quota): &Gives) -> Grant {
    Grant {
        key: on_cluster(principal),
        binding: key(&format!("fraud/b{uid}")),
        binding_uid: uid.to_string(),
        entries: entries.iter().map(|n| entry(principal, *n)).collect(),
        quotas: quota.iter().map(|q| (format!("quota{}", q % 2), f64::from(*q))).collect(),
        subject_uid: None,
    }
}

proptest! {
    #![proptest_config(Config { cases: 512, failure_persistence: None, ..Config::default() })]

    #[test]
    fn a_plan_carried_out_in_its_order_keeps_every_promise_and_survives_a_crash_at_any_step(case in case(), crash in 1..20usize) {
        let world = World::empty();
        let mut model = Model::new(&world.index, &case);
        let (before, ours, our_quotas) = (model.observed.clone(), model.ours.clone(), model.our_quotas.clone());
        let recorded: BTreeSet<_> = model.ledger.grants.values().flat_map(BTreeMap::values).flat_map(|r| r.entries.clone()).collect();
        model.check();
        let first = model.plan();
        if !model.carry_out(&first, crash) {
            let again = model.plan();
            assert!(model.carry_out(&again, usize::MAX));
        }
        let gone = case.issued && model.desired.grants.is_empty();
        // What somebody else made of an entry that is in the ledger cannot be told from what Weir made.
        let foreign = before.entries.iter().filter(|e| !gone && !ours.contains(*e) && !recorded.contains(*e));
        let expected: BTreeSet<_> = model.desired.entries.iter().chain(foreign).cloned().collect();
        assert_eq!(model.observed.entries, expected);
        let mut quotas = before.quotas;
        quotas.retain(|k, _| !our_quotas.contains(k));
        quotas.extend(model.desired.quotas.clone());
        assert_eq!(model.observed.quotas, quotas);
        let left: BTreeSet<_> = model.ledger.grants.values().flat_map(BTreeMap::keys).collect();
        assert_eq!(left, model.desired.grants.keys().collect::<BTreeSet<_>>());
        assert!(model.plan().is_empty());
    }

    #[test]
    fn a_write_from_before_that_arrives_late_is_known_and_removed(case in case(), arrives in prop::collection::btree_set(0..6u8, 0..6)) {
        let world = World::empty();
        let mut model = Model::new(&world.index, &case);
        let (plan, late) = model.plan_with_late();
        assert!(model.carry_out(&plan, usize::MAX));
        let arrived = model.arrive(&arrives, &late);
        let again = model.plan();
        assert!(model.carry_out(&again, usize::MAX));
        assert!(arrived.iter().all(|e| !model.observed.entries.contains(e) || model.desired.entries.contains(e)));
        assert!(model.plan().is_empty());
    }

    #[test]
    fn what_only_takes_away_gives_nothing_and_the_rest_leads_to_the_same_end(case in case(), rounds in 1..3usize) {
        let world = World::empty();
        let (mut model, mut at_once) = (Model::new(&world.index, &case), Model::new(&world.index, &case));
        let full = at_once.plan();
        assert!(at_once.carry_out(&full, usize::MAX));
        for _ in 0..rounds {
            let plan = model.plan();
            model.narrow(&plan);
        }
        let rest = model.plan();
        assert!(rest.narrowing(&model.recorded(), &model.observed).is_empty(), "once is enough");
        assert!(!rest.narrows());
        assert!(model.carry_out(&rest, usize::MAX));
        assert_eq!((&model.observed, &model.ledger), (&at_once.observed, &at_once.ledger));
        assert_eq!(so_far(&model.desired, &model.recorded(), &model.observed), model.desired);
    }

    #[test]
    fn what_only_takes_away_keeps_late_writes_recorded(case in case(), arrives in prop::collection::btree_set(0..6u8, 0..6)) {
        let world = World::empty();
        let mut model = Model::new(&world.index, &case);
        let (plan, late) = model.plan_with_late();
        model.narrow(&plan);
        let arrived = model.arrive(&arrives, &late);
        let again = model.plan();
        model.narrow(&again);
        assert!(arrived.iter().all(|e| !model.observed.entries.contains(e) || model.desired.entries.contains(e)));
        let rest = model.plan();
        assert!(model.carry_out(&rest, usize::MAX));
        assert!(model.plan().is_empty());
    }
}
