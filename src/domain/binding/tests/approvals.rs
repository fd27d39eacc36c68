//! What somebody has to approve, and what an approval comes to.

use super::{SCORER, assert_only_problem, assert_refused, scorer};
use crate::api::{Access, Reason};
use crate::domain::approval;
use crate::domain::index::Update;
use crate::domain::testing::{World, key, uid};

const ROBOT: &str = "{kind: ServiceAccount, name: robot}";
const PLACED: &str = "{product: orders, stream: placed, access: [Read]}";
const PAID: &str = "{product: orders, stream: paid, access: [Read]}";

/// `payments()`, where its role wants approvals, and the API server holds reviewers to their names.
fn world() -> World {
    let mut world = World::payments();
    world.index.apply(Update::ApprovalsEnforced(true), world.now);
    role(&mut world, "approval: Owner");
    world
}

/// Role `payments/reader` with more in its spec.
fn role(world: &mut World, more: &str) {
    world.put(&format!(
        "
kind: StreamRole
metadata: {{namespace: payments, name: reader}}
spec: {{privileges: [{{products: {{names: [orders]}}, access: [Read]}}], bindableFrom: {{mode: All}}, {more}}}
"
    ));
}

/// Eve asked, and Dora changed it: `fraud/orders` binds the role for these subjects.
fn ask_for(world: &mut World, role: &str, subjects: &str, more: &str) {
    let role = key(role);
    world.put(&format!(
        "
kind: RoleBinding
metadata: {{namespace: fraud, name: orders, annotations: {{weir.dev/requesters: \"eve\\ndora\"}}}}
spec: {{roleRef: {{namespace: {}, name: {}}}, subjects: [{subjects}], {more}}}
",
        role.namespace, role.name
    ));
}

fn ask(world: &mut World) {
    ask_for(world, "payments/reader", SCORER, "");
}

/// A decision in `payments` about `fraud/orders` and the role `reader`.
fn decide(world: &mut World, name: &str, decision: &str) {
    decide_about(world, &format!("payments/{name}"), "reader", decision);
}

fn decide_about(world: &mut World, name: &str, role: &str, decision: &str) {
    let (name, request) = (key(name), uid("RoleBinding fraud/orders"));
    let reviewer = if decision.contains("reviewer:") { "" } else { "reviewer: olga," };
    world.put(&format!(
        "
kind: AccessApproval
metadata: {{namespace: {}, name: {}}}
spec:
  {{requestRef: {{kind: RoleBinding, namespace: fraud, name: orders, uid: {request}}},
    targetRef: {{kind: StreamRole, name: {role}}}, {reviewer} {decision}}}
",
        name.namespace, name.name
    ));
}

fn approve(world: &mut World, name: &str, streams: &str) {
    decide(world, name, &approved(&format!("subjects: [{SCORER}], streams: [{streams}]")));
}

fn approved(scope: &str) -> String {
    format!("decision: Approved, scope: {{{scope}}}")
}

fn topics(world: &World) -> Vec<String> {
    let topic = |entry: String| entry.strip_prefix("Topic:Literal:payments.orders.").map(str::to_owned);
    scorer(world).into_iter().filter_map(topic).collect()
}

#[test]
fn nothing_is_given_before_somebody_approves_and_then_what_was_approved() {
    let mut world = world();
    ask(&mut world);
    let advice = "kubectl weir approve --namespace payments fraud/orders";
    assert_refused(&world, Reason::AwaitingApproval, advice);
    approve(&mut world, "one", PLACED);
    assert_eq!(topics(&world), ["placed:Read"]);
    assert_only_problem(&world, Reason::AwaitingApproval, "approval of orders/paid:");
    approve(&mut world, "two", PAID);
    assert_eq!(topics(&world), ["paid:Read", "placed:Read"]);
    assert_eq!(world.problems(), []);
    world.delete("AccessApproval payments/one");
    assert_eq!(topics(&world), ["paid:Read"], "it is taken back by deleting it");
}

#[test]
fn the_role_says_who_waits_for_what() {
    let mut world = world();
    ask_for(&mut world, "payments/reader", SCORER, "purpose: audit");
    approve(&mut world, "of-no-purpose", PLACED);
    let role = key("payments/reader");
    let pending: Vec<_> = world.index.waiting_for(&role).map(|(b, awaited)| approval::pending(b, awaited)).collect();
    let [pending] = pending.as_slice() else { panic!("{pending:?}") };
    assert_eq!(pending.requesters, ["eve", "dora"]);
    assert_eq!((&*pending.request.namespace, &*pending.request.name), ("fraud", "orders"));
    // An approval that says just this is enough.
    let scope = serde_json::to_string(&pending.scope).unwrap();
    assert!(scope.contains("audit"), "{scope}");
    decide(&mut world, "all", &format!("decision: Approved, scope: {scope}"));
    assert_eq!(topics(&world), ["paid:Read", "placed:Read"]);
    assert_eq!(world.index.waiting_for(&role).count(), 0);
}

#[test]
fn a_request_that_changes_in_a_way_that_nothing_depends_on_is_listed_anew() {
    let mut world = world();
    ask_for(&mut world, "payments/reader", SCORER, "purpose: audit");
    let touched = world.put(
        "
kind: RoleBinding
metadata: {namespace: fraud, name: orders, annotations: {weir.dev/requesters: \"eve\\nolga\"}}
spec: {roleRef: {namespace: payments, name: reader}, subjects: [{kind: StreamClient, name: scorer}], purpose: report}
",
    );
    assert!(touched.roles.contains(&key("payments/reader")), "{touched:?}");
}

#[test]
fn what_comes_later_is_not_covered_by_what_was_approved() {
    let mut world = world();
    ask(&mut world);
    approve(&mut world, "all", &format!("{PLACED}, {PAID}"));
    assert_eq!(world.problems(), []);
    // The role widens.
    world.put(
        "
kind: StreamRole
metadata: {namespace: payments, name: reader}
spec:
  privileges: [{products: {selector: {}}, access: [Read, Write]}]
  bindableFrom: {mode: All}
  approval: Owner
",
    );
    assert_eq!(topics(&world), ["paid:Read", "placed:Read"]);
    assert_only_problem(&world, Reason::AwaitingApproval, "orders/paid, orders/placed");
    // Somebody else is to have it, too.
    role(&mut world, "approval: Owner");
    world.put("{kind: ServiceAccount, metadata: {namespace: fraud, name: robot}}");
    ask_for(&mut world, "payments/reader", &format!("{SCORER}, {ROBOT}"), "");
    assert_eq!(topics(&world), ["paid:Read", "placed:Read"]);
    assert_eq!(world.entries("system:serviceaccount:fraud:robot"), [""; 0]);
    // It is to be used for something else.
    ask_for(&mut world, "payments/reader", SCORER, "purpose: marketing");
    assert_refused(&world, Reason::AwaitingApproval, "");
}

#[test]
fn an_approval_is_of_this_very_request_by_somebody_else_about_this_role() {
    let all = approved(&format!("subjects: [{SCORER}], streams: [{PLACED}, {PAID}]"));
    let mut world = world();
    ask(&mut world);
    decide(&mut world, "by-dora", &format!("reviewer: dora, {all}"));
    assert_refused(&world, Reason::AwaitingApproval, "");
    decide_about(&mut world, "payments/of-another-role", "writer", &all);
    decide_about(&mut world, "risk/elsewhere", "reader", &all);
    decide_about(&mut world, "fraud/by-the-consumer", "reader", &all);
    assert_refused(&world, Reason::AwaitingApproval, "");
    decide(&mut world, "good", &all);
    assert_eq!(topics(&world).len(), 2);
    // The request is deleted and made anew.
    world.delete("RoleBinding fraud/orders");
    world.put(&format!(
        "
kind: RoleBinding
metadata: {{namespace: fraud, name: orders, uid: another, annotations: {{weir.dev/requesters: \"eve\\ndora\"}}}}
spec: {{roleRef: {{namespace: payments, name: reader}}, subjects: [{SCORER}]}}
"
    ));
    assert_refused(&world, Reason::AwaitingApproval, "");
}

#[test]
fn a_denial_beats_approvals_whoever_it_is_by_and_whether_or_not_one_is_wanted() {
    let mut world = world();
    ask(&mut world);
    approve(&mut world, "all", &format!("{PLACED}, {PAID}"));
    decide(&mut world, "no", "decision: Denied, reason: not yet");
    assert_refused(&world, Reason::Denied, "StreamRole payments/reader was denied by olga: not yet");
    role(&mut world, "approval: None");
    assert_refused(&world, Reason::Denied, "");
    world.delete("AccessApproval payments/no");
    assert_eq!(topics(&world).len(), 2);
    decide(&mut world, "back", "reviewer: dora, decision: Revoked");
    assert_refused(&world, Reason::Revoked, "revoked by dora");
}

#[test]
fn no_approval_counts_while_nobody_holds_reviewers_to_their_names() {
    let mut world = world();
    ask(&mut world);
    approve(&mut world, "all", &format!("{PLACED}, {PAID}"));
    world.index.apply(Update::ApprovalsEnforced(false), world.now);
    assert_refused(&world, Reason::ApprovalsNotEnforced, "weir-approvals");
    world.index.apply(Update::ApprovalsEnforced(true), world.now);
    assert_eq!(topics(&world).len(), 2);
    world.bind("payments/reader", SCORER);
    assert_refused(&world, Reason::RequesterUnknown, "weir.dev/requesters");
}

#[test]
fn an_approval_may_end() {
    let mut world = world();
    ask(&mut world);
    let until = |hour: u8| {
        let scope = "subjects: [{kind: StreamClient, name: scorer}]";
        approved(&format!("{scope}, streams: [{PLACED}], notAfter: '2026-06-01T0{hour}:00:00Z'"))
    };
    decide(&mut world, "short", &until(1));
    decide(&mut world, "long", &until(3));
    assert_eq!(topics(&world), ["placed:Read"]);
    for (hours, expected) in [(1, 1), (1, 1), (1, 0)] {
        world.pass(hours);
        assert_eq!(topics(&world).len(), expected);
    }
    assert_eq!(world.index.next_expiry(), None);
}

#[test]
fn a_duration_begins_with_the_approval() {
    let mut world = world();
    role(&mut world, "approval: Owner, maxDuration: 2h");
    ask_for(&mut world, "payments/reader", SCORER, "duration: 2h");
    assert_refused(&world, Reason::AwaitingApproval, "");
    let scope = approved(&format!("subjects: [{SCORER}], streams: [{PLACED}, {PAID}]"));
    let request = uid("RoleBinding fraud/orders");
    world.put(&format!(
        "
kind: AccessApproval
metadata: {{namespace: payments, name: late, creationTimestamp: '2026-05-31T23:00:00Z'}}
spec:
  {{requestRef: {{kind: RoleBinding, namespace: fraud, name: orders, uid: {request}}},
    targetRef: {{kind: StreamRole, name: reader}}, reviewer: olga, {scope}}}
"
    ));
    assert_eq!(topics(&world).len(), 2);
    world.pass(1);
    assert_refused(&world, Reason::Expired, "2026-06-01T01:00:00Z");
    ask_for(&mut world, "payments/reader", SCORER, "duration: 3h");
    assert_refused(&world, Reason::DurationTooLong, "");
}

#[test]
fn ones_own_roles_and_pre_approved_namespaces_need_no_approval() {
    let mut world = world();
    role(&mut world, "approval: Owner, preApproved: [{namespaceSelector: {matchLabels: {tier: trusted}}}]");
    ask(&mut world);
    assert_eq!(topics(&world).len(), 2);
    world.put("{kind: Namespace, metadata: {name: fraud, labels: {tenant: 'yes'}}}");
    assert_refused(&world, Reason::AwaitingApproval, "");
    world.put("{kind: ServiceAccount, metadata: {namespace: payments, name: robot}}");
    world.bind_in("payments/own", "payments/reader", ROBOT, "");
    assert_eq!(world.problems_of("payments/own"), []);
    assert!(!world.entries("system:serviceaccount:payments:robot").is_empty());
}

#[test]
fn what_is_inherited_wants_the_approval_of_its_own_owner() {
    let mut world = world();
    let relay = "{inherits: [{namespace: payments, name: reader}], bindableFrom: {mode: All}}";
    for namespace in ["risk", "fraud"] {
        world.put(&format!("{{kind: StreamRole, metadata: {{namespace: {namespace}, name: relay}}, spec: {relay}}}"));
    }
    for role in ["risk/relay", "fraud/relay"] {
        ask_for(&mut world, role, SCORER, "");
        assert_refused(&world, Reason::AwaitingApproval, "StreamRole payments/reader waits");
        let all = approved(&format!("subjects: [{SCORER}], streams: [{PLACED}, {PAID}]"));
        decide_about(&mut world, "risk/own", "relay", &all);
        assert_refused(&world, Reason::AwaitingApproval, "StreamRole payments/reader waits");
        decide(&mut world, "own", &all);
        assert_eq!(topics(&world).len(), 2);
        world.delete("AccessApproval payments/own");
    }
    let resolution = world.index.resolution(&key("fraud/orders")).unwrap();
    let awaited = &resolution.awaited[&key("payments/reader")];
    assert_eq!(awaited.streams[&("orders".into(), "paid".into())], [Access::Read].into());
}

#[test]
fn a_decision_concerns_the_request_with_its_uid_and_no_other() {
    let mut world = world();
    ask(&mut world);
    approve(&mut world, "one", PLACED);
    let approval = world.index.approval(&key("payments/one")).unwrap().clone();
    let of = |change: &dyn Fn(&mut crate::api::RequestRef)| {
        let mut request = approval.spec.request_ref.clone();
        change(&mut request);
        approval::is_there(&world.index, &request)
    };
    assert!(of(&|_| {}));
    assert!(!of(&|request| request.uid = "another".into()));
    assert!(!of(&|request| request.namespace = "risk".into()));
    assert!(!of(&|request| request.kind = crate::api::RequestKind::ExternalShare));
}

#[test]
fn access_may_end_with_an_approval_that_is_neither_over_nor_of_a_request_that_is_gone() {
    let mut world = world();
    ask(&mut world);
    approve(&mut world, "one", PLACED);
    decide(&mut world, "against", "decision: Denied");
    let in_force = |world: &World, name: &str| {
        let approval = world.index.approval(&key(name)).unwrap();
        approval::is_in_force(&world.index, approval, world.now)
    };
    assert!(in_force(&world, "payments/one") && !in_force(&world, "payments/against"));
    let over = format!("subjects: [{SCORER}], streams: [{PLACED}], notAfter: 2026-01-02T00:00:00Z");
    decide(&mut world, "one", &approved(&over));
    assert!(!in_force(&world, "payments/one"));
    approve(&mut world, "one", PLACED);
    world.delete("RoleBinding fraud/orders");
    assert!(!in_force(&world, "payments/one"));
}
