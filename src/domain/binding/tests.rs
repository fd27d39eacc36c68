//! What bindings come to, and why not more.

mod approvals;
mod inheritance;
mod subjects;

use crate::api::Reason;
use crate::domain::binding::{behind, may_ask};
use crate::domain::testing::{World, client_record, key, principal_of, topic_record};

const SCORER: &str = "{kind: StreamClient, name: scorer}";

/// `payments()` with the binding of `fraud/scorer` to the role with this spec.
fn with_role(spec: &str) -> World {
    let mut world = World::payments();
    world.put(&format!("{{kind: StreamRole, metadata: {{namespace: payments, name: special}}, spec: {spec}}}"));
    world.bind("payments/special", SCORER);
    world
}

fn scorer(world: &World) -> Vec<String> {
    world.entries(&principal_of("fraud/scorer", 1))
}

#[track_caller]
fn assert_only_problem(world: &World, reason: Reason, part: &str) {
    let problems = world.problems();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].0, reason, "{problems:?}");
    assert!(problems[0].1.contains(part), "{problems:?}");
}

/// Nothing is granted, for this one reason.
#[track_caller]
fn assert_refused(world: &World, reason: Reason, part: &str) {
    assert_only_problem(world, reason, part);
    assert!(world.principals().is_empty(), "{:?}", world.principals());
}

#[test]
fn a_reader_has_one_entry_a_stream_and_one_for_its_groups() {
    let mut world = World::payments();
    world.bind("payments/reader", SCORER);
    assert_eq!(
        scorer(&world),
        [
            "Topic:Literal:payments.orders.paid:Read",
            "Topic:Literal:payments.orders.placed:Read",
            "Group:Prefixed:fraud.scorer.:Read",
        ]
    );
    assert_eq!(world.problems(), []);
}

#[test]
fn a_writer_has_transactional_ids_and_no_groups() {
    let world = with_role(
        "{privileges: [{products: {names: [orders]}, streams: [paid], access: [Write, Describe]}], \
         transactionalIds: Prefixed, bindableFrom: {mode: All}}",
    );
    assert_eq!(
        scorer(&world),
        ["Topic:Literal:payments.orders.paid:Write", "TransactionalId:Prefixed:fraud.scorer.:Write"]
    );
}

#[test]
fn internal_topics_lie_under_a_prefix_of_the_subject() {
    let world = with_role(
        "{privileges: [{products: {names: [orders]}, streams: [paid], access: [Describe]}], internalTopics: Prefixed, \
         bindableFrom: {mode: All}}",
    );
    assert_eq!(
        scorer(&world),
        [
            "Topic:Literal:payments.orders.paid:Describe",
            "Topic:Prefixed:fraud._scorer.:Read",
            "Topic:Prefixed:fraud._scorer.:Write",
            "Topic:Prefixed:fraud._scorer.:Create",
            "Topic:Prefixed:fraud._scorer.:Delete",
            "Group:Prefixed:fraud._scorer.:Read",
            "TransactionalId:Prefixed:fraud._scorer.:Write",
        ]
    );
}

#[test]
fn a_product_cannot_have_a_topic_where_applications_delete_their_own() {
    let mut world = World::payments();
    world.put(
        "
kind: DataProduct
metadata: {namespace: fraud, name: trap}
spec: {clusterRef: {name: prod}, streams: [{name: s, topic: fraud._scorer.s}]}
",
    );
    let view = crate::domain::product::view(&world.index, world.index.product(&key("fraud/trap")).unwrap());
    assert_eq!(view.streams, []);
    assert_eq!(view.problems[0].reason, Reason::InvalidTopicName);
}

#[test]
fn a_role_that_does_not_exist_gives_nothing() {
    let mut world = World::payments();
    world.bind("payments/nobody", SCORER);
    assert_refused(&world, Reason::RoleNotFound, "StreamRole payments/nobody does not exist");
}

#[test]
fn a_role_that_is_being_deleted_gives_nothing() {
    let mut world = World::payments();
    world.bind("payments/reader", SCORER);
    world.put(
        "
kind: StreamRole
metadata: {namespace: payments, name: reader, deletionTimestamp: 2026-06-01T00:00:00Z}
spec: {privileges: [{products: {names: [orders]}, access: [Read]}], bindableFrom: {mode: All}}
",
    );
    assert_refused(&world, Reason::Deleting, "StreamRole payments/reader is being deleted");
}

#[test]
fn a_product_that_does_not_exist_takes_nothing_from_the_others() {
    let world =
        with_role("{privileges: [{products: {names: [orders, ghosts]}, access: [Read]}], bindableFrom: {mode: All}}");
    assert_only_problem(&world, Reason::ProductNotFound, "DataProduct payments/ghosts, which StreamRole");
    assert_eq!(scorer(&world).len(), 3);
}

#[test]
fn a_stream_that_does_not_exist_takes_nothing_from_the_others() {
    let world = with_role(
        "{privileges: [{products: {names: [orders]}, streams: [paid, lost], access: [Read]}], bindableFrom: {mode: All}}",
    );
    assert_only_problem(&world, Reason::StreamNotFound, "stream lost");
    assert_eq!(scorer(&world).len(), 2);
}

#[test]
fn a_stream_that_the_role_does_not_name_cannot_trouble_the_binding() {
    let mut world = World::payments();
    world.put(
        "
kind: DataProduct
metadata: {namespace: payments, name: orders}
spec: {clusterRef: {name: prod}, streams: [{name: placed}, {name: stray, topic: elsewhere.x}]}
---
kind: StreamRole
metadata: {namespace: payments, name: special}
spec:
  privileges: [{products: {names: [orders]}, streams: [placed], access: [Read]}]
  bindableFrom: {mode: All}
",
    );
    world.bind("payments/special", SCORER);
    assert_eq!(world.problems(), []);
    world.bind("payments/reader", SCORER);
    assert_only_problem(&world, Reason::TopicOutsideNamespace, "elsewhere.x lies outside");
}

#[test]
fn a_client_that_does_not_exist_is_named() {
    let mut world = World::payments();
    world.bind("payments/reader", "{kind: StreamClient, name: nobody}");
    assert_refused(&world, Reason::SubjectNotFound, "StreamClient fraud/nobody does not exist");
}

#[test]
fn a_client_without_a_credential_waits_for_it() {
    let mut world = World::payments();
    world.put("{kind: StreamClient, metadata: {namespace: fraud, name: new}, spec: {clusterRef: {name: prod}}}");
    world.bind("payments/reader", "{kind: StreamClient, name: new}");
    assert_refused(&world, Reason::Applying, "StreamClient fraud/new has no credential yet");
    world.commit([client_record("fraud/new", &[(1, false)])]);
    assert_eq!(world.problems(), []);
    assert_eq!(world.entries(&principal_of("fraud/new", 1)).len(), 3);
}

#[test]
fn a_client_on_another_cluster_is_refused() {
    let mut world = World::payments();
    world.put("{kind: StreamClient, metadata: {namespace: fraud, name: scorer}, spec: {clusterRef: {name: other}}}");
    world.bind("payments/reader", SCORER);
    assert_refused(
        &world,
        Reason::SubjectNotFound,
        "is known on StreamCluster other, and the role's products are on prod",
    );
}

#[test]
fn every_version_that_is_not_retired_has_the_access() {
    let mut world = World::payments();
    world.bind("payments/reader", SCORER);
    world.commit([client_record("fraud/scorer", &[(1, false), (2, false)])]);
    assert_eq!(world.principals().len(), 2);
    world.commit([client_record("fraud/scorer", &[(1, true), (2, false)])]);
    assert_eq!(world.principals().into_iter().collect::<Vec<_>>(), [principal_of("fraud/scorer", 2)]);
}

#[test]
fn a_client_made_anew_has_nothing_of_the_one_before() {
    let mut world = World::payments();
    world.bind("payments/reader", SCORER);
    world.put("{kind: StreamClient, metadata: {namespace: fraud, name: scorer, uid: ffff-2}, spec: {clusterRef: {name: prod}}}");
    assert_refused(&world, Reason::Applying, "has no credential yet");
}

#[test]
fn a_role_is_bound_only_from_where_its_owner_allows() {
    let mut world = with_role("{privileges: [{products: {names: [orders]}, access: [Read]}]}");
    assert_refused(&world, Reason::NotBindable, "StreamRole payments/special may not be bound from namespace fraud");
    let may_ask = |world: &World| may_ask(&world.index, world.index.binding(&key("fraud/orders")).unwrap());
    assert!(!may_ask(&world));
    world.put(
        "
kind: StreamRole
metadata: {namespace: payments, name: special}
spec:
  privileges: [{products: {names: [orders]}, access: [Read]}]
  bindableFrom: {mode: Selector, namespaceSelector: {matchLabels: {tier: trusted}}}
",
    );
    assert_eq!(scorer(&world).len(), 3);
    assert!(may_ask(&world));
    world.put("{kind: Namespace, metadata: {name: fraud, labels: {tenant: 'yes'}}}");
    assert_refused(&world, Reason::NotBindable, "payments/special");
    assert!(!may_ask(&world));
    world.bind("elsewhere/reader", SCORER);
    assert!(!may_ask(&world), "there is no such role");
}

#[test]
fn behind_what_a_binding_gives_are_its_requesters_and_then_those_of_its_role() {
    let named = |names: &str| format!("annotations: {{weir.dev/requesters: \"{names}\"}}");
    let bound = |role: &str| {
        let mut world = World::payments();
        world.put(&format!(
            "{{kind: StreamRole, metadata: {{namespace: payments, name: special, {}}}, spec: {{privileges: \
             [{{products: {{names: [orders]}}, access: [Read]}}], {role}}}}}",
            named("olga\\neve\\noscar")
        ));
        world.put(&format!(
            "{{kind: RoleBinding, metadata: {{namespace: fraud, name: orders, {}}}, spec: {{roleRef: {{namespace: payments, \
             name: special}}, subjects: [{SCORER}]}}}}",
            named("eve\\ndora")
        ));
        let binding = world.index.binding(&key("fraud/orders")).unwrap();
        behind(&world.index, binding).join(" ")
    };
    assert_eq!(bound("bindableFrom: {mode: All}"), "eve dora olga oscar");
    assert_eq!(
        bound("bindableFrom: {mode: Same}"),
        "eve dora",
        "who edits a role is nobody's business that may not bind it"
    );
}

#[test]
fn a_product_with_purposes_wants_one_of_them() {
    let mut world = World::payments();
    world.put(
        "
kind: DataProduct
metadata: {namespace: payments, name: orders}
spec: {clusterRef: {name: prod}, purposes: [fraud, audit], streams: [{name: placed}]}
",
    );
    for purpose in ["", "purpose: marketing"] {
        world.bind_with("payments/reader", SCORER, purpose);
        assert_refused(&world, Reason::PurposeRequired, "wants spec.purpose to be one of: fraud, audit");
    }
    world.bind_with("payments/reader", SCORER, "purpose: audit");
    assert_eq!(scorer(&world).len(), 2);
}

#[test]
fn a_binding_lasts_no_longer_than_each_role_allows() {
    let mut world = with_role(
        "{privileges: [{products: {names: [orders]}, access: [Read]}], bindableFrom: {mode: All}, maxDuration: 8760h}",
    );
    assert_refused(&world, Reason::DurationTooLong, "StreamRole payments/special wants an end");
    world.bind_with("payments/special", SCORER, "duration: 9000h");
    assert_refused(&world, Reason::DurationTooLong, "allows bindings until 2027-01-01T00:00:00Z");
    world.bind_with("payments/special", SCORER, "duration: 8000h");
    assert_eq!(scorer(&world).len(), 3);
    world.put(
        "
kind: StreamRole
metadata: {namespace: risk, name: relay}
spec: {inherits: [{namespace: payments, name: special}], bindableFrom: {mode: All}}
",
    );
    world.bind("risk/relay", SCORER);
    assert_refused(&world, Reason::DurationTooLong, "StreamRole payments/special");
}

#[test]
fn a_binding_expires_when_time_passes() {
    let mut world = World::payments();
    world.bind_with("payments/reader", SCORER, "expiresAt: 2026-06-01T02:00:00Z");
    assert_eq!(scorer(&world).len(), 3);
    assert_eq!(world.index.next_expiry(), Some("2026-06-01T02:00:00Z".parse().unwrap()));
    assert!(world.pass(1).principals.is_empty());
    assert_eq!(world.pass(1).principals.len(), 1);
    assert_refused(&world, Reason::Expired, "RoleBinding fraud/orders expired at 2026-06-01T02:00:00Z");
    assert_eq!(world.index.next_expiry(), None);
}

#[test]
fn of_two_ends_the_earlier_counts_and_a_negative_duration_is_over() {
    let mut world = World::payments();
    world.bind_with("payments/reader", SCORER, "expiresAt: 2026-01-02T00:00:00Z, duration: 9000h");
    assert_refused(&world, Reason::Expired, "2026-01-02");
    world.bind_with("payments/reader", SCORER, "duration: -9000h");
    assert_refused(&world, Reason::Expired, "expired");
}

#[test]
fn a_namespace_that_is_no_tenant_gets_nothing() {
    let mut world = World::payments();
    world.bind("payments/reader", SCORER);
    world.put("{kind: Namespace, metadata: {name: fraud}}");
    assert_refused(&world, Reason::NotATenant, "no tenancy entry of StreamCluster prod selects namespace fraud");
    let product = key("payments/orders");
    assert_eq!(world.index.bindings_of_product(&product), 0);
}

#[test]
fn a_cluster_that_is_missing_gives_nothing() {
    let mut world = World::payments();
    world.bind("payments/reader", SCORER);
    world.delete("StreamCluster prod");
    assert_refused(&world, Reason::ClusterNotFound, "StreamCluster prod does not exist");
}

#[test]
fn a_topic_that_is_not_weirs_yet_is_waited_for() {
    let mut world = World::payments();
    world.bind("payments/reader", SCORER);
    world.commit([crate::domain::ledger::Change::Topic("payments.orders.paid".into(), None)]);
    assert_only_problem(&world, Reason::Applying, "topic payments.orders.paid is not Weir's yet");
    assert_eq!(scorer(&world).len(), 2);
    world.commit([topic_record("payments.orders.paid", "payments/orders")]);
    assert_eq!(scorer(&world).len(), 3);
}
