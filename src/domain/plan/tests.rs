//! What must be done, what must wait, and what must never be touched.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::acl::{AclEntry, Operation, PatternType, Permission, ResourceType};
use crate::domain::index::Update;
use crate::domain::plan::{Observed, PrincipalPlan, foreign, hold, is_repairable, so_far};
use crate::domain::testing::{World, client_record, principal_of};

const SCORER: &str = "{kind: StreamClient, name: scorer}";

fn entry(principal: &str, resource: &str) -> AclEntry {
    AclEntry {
        principal: format!("User:{principal}").into(),
        resource_type: ResourceType::Topic,
        pattern_type: PatternType::Literal,
        resource: resource.into(),
        operation: Operation::Read,
        permission: Permission::Allow,
        host: "*".into(),
    }
}

fn deny(principal: &str, resource: &str) -> AclEntry {
    AclEntry { permission: Permission::Deny, ..entry(principal, resource) }
}

/// `fraud/scorer` reads `payments/orders` by `fraud/orders`, and the brokers have it.
fn settled() -> (World, String, Observed) {
    let mut world = World::payments();
    world.bind("payments/reader", SCORER);
    let principal = principal_of("fraud/scorer", 1);
    let mut observed = Observed::default();
    world.settle(&principal, &mut observed);
    (world, principal, observed)
}

#[test]
fn what_is_missing_is_recorded_and_created_and_then_nothing_is_left_to_do() {
    let (world, principal, observed) = settled();
    assert_eq!(observed.entries, world.desired(&principal).entries);
    assert!(world.plan(&principal, &observed).is_empty());
    assert!(world.ledger.has_binding(&crate::domain::testing::uid("RoleBinding fraud/orders")));
}

#[test]
fn what_someone_removed_is_created_again() {
    let (world, principal, mut observed) = settled();
    let lost = observed.entries.pop_first().unwrap();
    let plan = world.plan(&principal, &observed);
    assert_eq!(plan.create, BTreeSet::from([lost]));
    assert!(plan.record.is_empty() && plan.delete.is_empty());
}

#[test]
fn of_two_bindings_that_share_an_entry_one_can_go_without_it() {
    let (mut world, principal, mut observed) = settled();
    world.bind_in("fraud/again", "payments/reader", SCORER, "");
    world.settle(&principal, &mut observed);
    world.delete("RoleBinding fraud/orders");
    let before = observed.clone();
    let plan = world.settle(&principal, &mut observed);
    assert!(plan.delete.is_empty() && plan.create.is_empty() && plan.record.len() == 1);
    assert_eq!(observed, before);
    world.delete("RoleBinding fraud/again");
    let plan = world.settle(&principal, &mut observed);
    assert!(plan.delete.len() == 3 && !plan.unasked);
    assert_eq!(observed.entries, BTreeSet::new());
    assert!(world.ledger.grants.is_empty());
}

#[test]
fn denials_and_entries_of_others_are_never_removed() {
    let (mut world, principal, mut observed) = settled();
    let foreign = BTreeSet::from([deny(&principal, "payments.orders.placed"), entry(&principal, "elsewhere")]);
    observed.entries.extend(foreign.clone());
    world.delete("RoleBinding fraud/orders");
    world.settle(&principal, &mut observed);
    assert_eq!(observed.entries, foreign);
}

#[test]
fn a_retired_principal_loses_all_that_it_has() {
    let (mut world, principal, mut observed) = settled();
    observed.entries.insert(entry(&principal, "elsewhere"));
    world.commit([client_record("fraud/scorer", &[(1, true), (2, false)])]);
    let plan = world.settle(&principal, &mut observed);
    assert!(plan.delete_all && !plan.unasked);
    assert!(observed.entries.is_empty());
    assert!(world.plan(&principal, &observed).is_empty());
}

#[test]
fn deleting_a_client_touches_its_principal_also_when_it_has_no_binding() {
    let mut world = World::payments();
    let principal = principal_of("fraud/scorer", 1);
    let observed = Observed { entries: BTreeSet::from([entry(&principal, "elsewhere")]), ..Observed::default() };
    assert!(!world.plan(&principal, &observed).delete_all);
    let touched = world.delete("StreamClient fraud/scorer");
    assert!(touched.principals.iter().any(|p| p.principal == principal));
    assert!(world.plan(&principal, &observed).delete_all);
}

#[test]
fn a_principal_that_weir_cannot_have_issued_keeps_what_it_has() {
    let world = World::payments();
    let observed = Observed { entries: BTreeSet::from([entry("svc~legacy", "x")]), ..Observed::default() };
    assert!(world.plan("svc~legacy", &observed).is_empty());
}

#[test]
fn quotas_are_removed_before_the_ledger_forgets_them_and_those_of_others_stay() {
    let (mut world, principal, mut observed) = settled();
    let role = |quotas: &str| {
        format!(
            "
kind: StreamRole
metadata: {{namespace: payments, name: reader}}
spec:
  privileges: [{{products: {{names: [orders]}}, access: [Read]}}]
  bindableFrom: {{mode: All}}
  {quotas}
"
        )
    };
    observed.quotas.insert("request_percentage".into(), 5.0);
    world.put(&role("quotas: {consumerByteRate: 9}"));
    let plan = world.settle(&principal, &mut observed);
    assert_eq!(plan.quotas, BTreeMap::from([("consumer_byte_rate".to_owned(), 9.0)]));
    world.put(&role(""));
    let plan = world.settle(&principal, &mut observed);
    assert_eq!(plan.lifted_quotas, BTreeSet::from(["consumer_byte_rate".to_owned()]));
    assert!(plan.unset_quotas.is_empty() && !plan.narrows(), "without it the principal can do more");
    assert_eq!(observed.quotas, BTreeMap::from([("request_percentage".to_owned(), 5.0)]));
}

#[test]
fn a_quota_of_who_keeps_access_goes_on_record_first_and_stays_in_the_ledger_until_then() {
    let (mut world, principal) = (World::payments(), principal_of("fraud/scorer", 1));
    world.put(&gives("placed", "quotas: {consumerByteRate: 9}"));
    world.bind("payments/reader", SCORER);
    world.bind_in("fraud/again", "payments/reader", SCORER, "");
    let mut observed = Observed::default();
    world.settle(&principal, &mut observed);
    world.put(&gives("placed", ""));
    world.delete("RoleBinding fraud/again");
    let plan = world.plan(&principal, &observed);
    let gained: Vec<_> = plan.gains(&observed).into_iter().map(|gain| gain.entry).collect();
    assert_eq!(gained, [format!("Quota User:{principal} consumer_byte_rate=none")]);
    let part = plan.narrowing(&world.ledger.grants[&principal], &observed);
    assert!(part.lifted_quotas.is_empty() && part.unset_quotas.is_empty());
    world.commit(part.record);
    let records: Vec<_> = world.ledger.grants[&principal].values().collect();
    assert_eq!(records.len(), 1, "the deleted binding does not wait");
    assert_eq!(records[0].quotas, BTreeMap::from([("consumer_byte_rate".to_owned(), 9.0)]));
    let so_far = so_far(&world.desired(&principal), &world.ledger.grants[&principal], &observed);
    assert_eq!(so_far.entries, world.desired(&principal).entries);
    assert_ne!(so_far.grants, world.desired(&principal).grants, "the limit is there");
    // Nothing is left to limit.
    world.delete("RoleBinding fraud/orders");
    let plan = world.plan(&principal, &observed);
    assert!(plan.lifted_quotas.is_empty() && plan.unset_quotas.len() == 1);
}

/// The role of `payments` that gives this stream, and these quotas.
fn gives(stream: &str, quotas: &str) -> String {
    format!(
        "
kind: StreamRole
metadata: {{namespace: payments, name: reader}}
spec:
  privileges: [{{products: {{names: [orders]}}, streams: [{stream}], access: [Read]}}]
  bindableFrom: {{mode: All}}
  {quotas}
"
    )
}

#[test]
fn of_a_change_that_takes_and_gives_the_taking_goes_on_alone() {
    let (mut world, principal) = (World::payments(), principal_of("fraud/scorer", 1));
    world.put(&gives("placed", "quotas: {consumerByteRate: 9, producerByteRate: 9}"));
    world.bind("payments/reader", SCORER);
    let mut observed = Observed::default();
    world.settle(&principal, &mut observed);
    world.put(&gives("paid", "quotas: {consumerByteRate: 5, producerByteRate: 20}"));
    let plan = world.plan(&principal, &observed);
    let gained: Vec<_> = plan.gains(&observed).into_iter().map(|gain| gain.entry).collect();
    let quota = format!("Quota User:{principal} producer_byte_rate=20");
    assert!(gained.contains(&quota) && gained.iter().any(|e| e.contains("payments.orders.paid")), "{gained:?}");
    assert_eq!(gained.len(), 1 + plan.create.len(), "a quota that is lowered is no gain");
    let recorded = world.ledger.grants[&principal].clone();
    let part = plan.narrowing(&recorded, &observed);
    assert_eq!(part.delete, plan.delete);
    assert_eq!(part.quotas, BTreeMap::from([("consumer_byte_rate".to_owned(), 5.0)]));
    world.commit(part.record.clone());
    observed.entries.retain(|e| !part.delete.contains(e));
    observed.quotas.extend(part.quotas.clone());
    let so_far = so_far(&world.desired(&principal), &world.ledger.grants[&principal], &observed);
    let topics = |entries: &BTreeSet<AclEntry>| entries.iter().any(|e| e.resource_type == ResourceType::Topic);
    assert!(!topics(&so_far.entries) && !so_far.entries.is_empty(), "the groups stay");
    assert_eq!(so_far.quotas, BTreeMap::from([("consumer_byte_rate".to_owned(), 5.0)]));
    assert!(so_far.grants.iter().all(|(uid, grant)| *grant != world.desired(&principal).grants[uid]));
}

#[test]
fn what_one_binding_lets_go_and_another_one_keeps_alive_stays_on_record() {
    let (mut world, principal, observed) = settled();
    world.delete("RoleBinding fraud/orders");
    world.bind_in("fraud/again", "payments/reader", SCORER, "");
    world.put(&gives("placed", ""));
    let plan = world.plan(&principal, &observed);
    let part = plan.narrowing(&world.ledger.grants[&principal], &observed);
    assert_eq!(part, plan, "nothing is given: it was there before");
    world.commit(part.record);
    assert!(!world.ledger.has_binding(&crate::domain::testing::uid("RoleBinding fraud/orders")));
    assert!(world.ledger.has_binding(&crate::domain::testing::uid("RoleBinding fraud/again")));
}

#[test]
fn what_nobody_deleted_is_unasked_and_what_somebody_did_is_not() {
    let narrowed = "
kind: StreamRole
metadata: {namespace: payments, name: reader}
spec: {privileges: [{products: {names: [orders]}, access: [Read]}]}
";
    let (mut world, principal, observed) = settled();
    world.put(narrowed);
    assert!(world.plan(&principal, &observed).unasked);

    let (mut world, principal, observed) = settled();
    world.put("{kind: Namespace, metadata: {name: fraud}}");
    assert!(world.plan(&principal, &observed).unasked);

    for deleted in ["RoleBinding fraud/orders", "StreamClient fraud/scorer"] {
        let (mut world, principal, observed) = settled();
        world.delete(deleted);
        let plan = world.plan(&principal, &observed);
        assert!(!plan.unasked && !plan.delete.is_empty(), "{deleted}");
    }
}

#[test]
fn expiry_is_not_unasked() {
    let mut world = World::payments();
    world.bind_with("payments/reader", SCORER, "expiresAt: 2026-06-01T01:00:00Z");
    let principal = principal_of("fraud/scorer", 1);
    let mut observed = Observed::default();
    world.settle(&principal, &mut observed);
    world.pass(1);
    let plan = world.plan(&principal, &observed);
    assert!(plan.delete.len() == 3 && !plan.unasked);
}

#[test]
fn what_an_owner_takes_back_is_not_unasked_nor_what_it_gave_for_a_time() {
    let approval = |decision: &str| {
        let request = crate::domain::testing::uid("RoleBinding fraud/orders");
        format!(
            "
kind: AccessApproval
metadata: {{namespace: payments, name: one}}
spec: {{requestRef: {{kind: RoleBinding, namespace: fraud, name: orders, uid: {request}}},
  targetRef: {{kind: StreamRole, name: reader}}, reviewer: olga, {decision}}}
"
        )
    };
    let wanted = "
kind: StreamRole
metadata: {namespace: payments, name: reader}
spec: {privileges: [{products: {names: [orders]}, access: [Read]}], bindableFrom: {mode: All}, approval: Owner}
";
    for against in ["Denied", "Revoked"] {
        let (mut world, principal, observed) = settled();
        world.put(&approval(&format!("decision: {against}")));
        let plan = world.plan(&principal, &observed);
        assert!(!plan.unasked && !plan.delete.is_empty(), "{against}");
    }
    // A role that wants approvals from now on may be a mistake.
    let (mut world, principal, observed) = settled();
    world.index.apply(Update::ApprovalsEnforced(true), world.now);
    world.put(&format!(
        "
kind: RoleBinding
metadata: {{namespace: fraud, name: orders, annotations: {{weir.dev/requesters: eve}}}}
spec: {{roleRef: {{namespace: payments, name: reader}}, subjects: [{SCORER}]}}
"
    ));
    world.put(wanted);
    assert!(world.plan(&principal, &observed).unasked);
    // An approval that ends does not.
    world.put(&approval(&format!(
        "decision: Approved, scope: {{subjects: [{SCORER}], streams: [{{product: orders, stream: placed, access: [Read]}}], \
         notAfter: 2026-01-02T00:00:00Z}}"
    )));
    let plan = world.plan(&principal, &observed);
    assert!(!plan.unasked && !plan.delete.is_empty());
}

#[test]
fn an_approval_that_ended_and_was_renewed_or_was_of_another_request_asks_for_nothing() {
    let approval = |name: &str, uid: &str, end: &str| {
        format!(
            "
kind: AccessApproval
metadata: {{namespace: payments, name: {name}}}
spec: {{requestRef: {{kind: RoleBinding, namespace: fraud, name: orders, uid: {uid}}},
  targetRef: {{kind: StreamRole, name: reader}}, reviewer: olga, decision: Approved, scope: {{subjects: [{SCORER}],
  streams: [{{product: orders, stream: placed, access: [Read]}}, {{product: orders, stream: paid, access: [Read]}}], notAfter: {end}}}}}
"
        )
    };
    let narrowed = "
kind: StreamRole
metadata: {namespace: payments, name: reader}
spec: {privileges: [{products: {names: [orders]}, streams: [placed], access: [Read]}], bindableFrom: {mode: All}}
";
    let request = crate::domain::testing::uid("RoleBinding fraud/orders");
    for uid in [request.as_str(), "one-before-it"] {
        let (mut world, principal, observed) = settled();
        world.put(&approval("ended", uid, "2026-01-02T00:00:00Z"));
        world.put(&approval("renewed", &request, "2027-01-01T00:00:00Z"));
        world.put(narrowed);
        let plan = world.plan(&principal, &observed);
        assert!(plan.unasked && !plan.delete.is_empty(), "{uid}");
    }
}

#[test]
fn deleting_a_service_account_is_not_unasked() {
    let mut world = World::payments();
    world.put("{kind: ServiceAccount, metadata: {namespace: fraud, name: job}}");
    world.bind("payments/reader", "{kind: ServiceAccount, name: job}");
    let principal = "system:serviceaccount:fraud:job";
    let mut observed = Observed::default();
    world.settle(principal, &mut observed);
    world.delete("ServiceAccount fraud/job");
    let plan = world.plan(principal, &observed);
    assert!(plan.delete.len() == 3 && !plan.unasked);
}

#[test]
fn what_somebody_asked_for_goes_on_while_the_rest_of_a_plan_waits() {
    let mut world = World::payments();
    for stream in ["placed", "paid"] {
        world.put(&format!(
            "
kind: StreamRole
metadata: {{namespace: payments, name: {stream}}}
spec: {{privileges: [{{products: {{names: [orders]}}, streams: [{stream}], access: [Read]}}], bindableFrom: {{mode: All}}}}
"
        ));
        world.bind_in(&format!("fraud/{stream}"), &format!("payments/{stream}"), SCORER, "");
    }
    let principal = principal_of("fraud/scorer", 1);
    let mut observed = Observed::default();
    world.settle(&principal, &mut observed);
    world.delete("StreamRole payments/placed");
    world.delete("RoleBinding fraud/paid");
    let plan = world.plan(&principal, &observed);
    assert!(plan.unasked && plan.delete.len() > 1);
    let topic = "payments.orders.paid";
    let held = plan.held();
    assert_eq!(held.delete, BTreeSet::from([entry(&principal, topic)]));
    assert!(held.record.is_empty() && held.create.is_empty() && !held.delete_all);
}

fn taking(principal: &str, unasked: bool) -> PrincipalPlan {
    let delete = BTreeSet::from([entry(principal, "t")]);
    PrincipalPlan { principal: principal.into(), delete, unasked, ..PrincipalPlan::default() }
}

#[test]
fn up_to_the_most_allowed_removals_pass_and_more_wait() {
    let none = BTreeSet::new();
    let plans = [taking("a", true), taking("b", true), taking("c", false)];
    assert_eq!(hold(&plans, &none, 2, None, ""), None);
    let held = hold(&plans, &none, 1, None, "").unwrap();
    assert_eq!(held.principals, BTreeSet::from(["a".to_owned(), "b".to_owned()]));
}

#[test]
fn deliberate_removals_never_wait() {
    let plans: Vec<_> = (0..100).map(|n| taking(&format!("p{n}"), false)).collect();
    assert_eq!(hold(&plans, &BTreeSet::new(), 0, None, ""), None);
}

#[test]
fn what_waited_waits_on_when_fewer_are_left() {
    let held = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
    assert!(hold(&[taking("a", true)], &held, 1, None, "").is_some());
    assert_eq!(hold(&[taking("z", true)], &held, 1, None, ""), None);
    assert_eq!(hold(&[taking("a", false)], &held, 1, None, ""), None);
}

#[test]
fn few_new_removals_do_not_join_those_that_wait() {
    let held = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
    let waits = |others: &[&str]| {
        let plans: Vec<_> = ["a", "b"].iter().chain(others).map(|p| taking(p, true)).collect();
        hold(&plans, &held, 1, None, "").unwrap()
    };
    assert_eq!(waits(&["z"]), waits(&[]));
    assert_eq!(waits(&["y", "z"]).principals.len(), 4);
}

#[test]
fn a_person_confirms_exactly_these_removals() {
    let none = BTreeSet::new();
    let plans = [taking("a", true), taking("b", true)];
    let token = hold(&plans, &none, 0, None, "").unwrap().token;
    let reversed = [taking("b", true), taking("a", true)];
    assert_eq!(hold(&reversed, &none, 0, Some(&token), ""), None);
    for other in ["", "true", &token[1..]] {
        assert!(hold(&plans, &none, 0, Some(other), "").is_some());
    }
    let more = [taking("a", true), taking("b", true), taking("c", true)];
    let held = hold(&more, &none, 0, Some(&token), "").unwrap();
    assert_ne!(held.token, token);
}

#[test]
fn foreign_entries_are_those_on_governed_topics_that_nothing_asks_for() {
    let governed = |topic: &str| topic == "t";
    let under = |prefix: &str| "t".starts_with(prefix);
    let prefixed = AclEntry { pattern_type: PatternType::Prefixed, ..entry("m", "") };
    let group = AclEntry { resource_type: ResourceType::Group, ..entry("m", "t") };
    let all =
        [entry("m", "t"), entry("m", "*"), entry("m", "u"), deny("m", "t"), prefixed.clone(), group, entry("ops", "t")];
    let expected = entry("ours", "t");
    let found = foreign(all.iter().chain([&expected]), governed, under, |e| *e == expected, |p| p == "User:ops");
    assert_eq!(found, BTreeSet::from([entry("m", "t"), entry("m", "*"), deny("m", "t"), prefixed]));
    let repairable: Vec<_> = found.iter().filter(|e| is_repairable(e)).collect();
    assert_eq!(repairable, [&entry("m", "t")]);
}

#[test]
fn what_weir_does_not_know_is_not_repaired() {
    assert!(!is_repairable(&AclEntry { operation: Operation::Unknown(99), ..entry("m", "t") }));
    assert!(!is_repairable(&AclEntry { permission: Permission::Unknown(9), ..entry("m", "t") }));
}
