//! Labels and removals: what a change touches, and what is left of it.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::{Classification, Reason};
use crate::domain::index::{Index, Update};
use crate::domain::product;
use crate::domain::testing::{World, client_record, key, principal_of, topic_record, uid};

const SCORER: &str = "{kind: StreamClient, name: scorer}";

#[test]
fn the_topic_of_an_earlier_product_of_that_name_gives_nothing() {
    let mut world = World::payments();
    world.bind("payments/reader", SCORER);
    let product = "
kind: DataProduct
metadata: {namespace: payments, name: orders, uid: another}
spec: {clusterRef: {name: prod}, streams: [{name: placed}]}
";
    world.put(product);
    assert!(world.principals().is_empty());
    assert_eq!(world.problems()[0].0, Reason::Applying);
}

#[test]
fn a_selector_follows_labels() {
    let mut world = World::payments();
    world.put(
        "
kind: StreamRole
metadata: {namespace: payments, name: events}
spec:
  privileges: [{products: {selector: {matchLabels: {kind: event}}}, access: [Read]}]
  bindableFrom: {mode: All}
",
    );
    world.bind("payments/events", SCORER);
    assert_eq!(world.entries(&principal_of("fraud/scorer", 1)).len(), 3);
    let refunds = |labels: &str| {
        format!(
            "
kind: DataProduct
metadata: {{namespace: payments, name: refunds, labels: {labels}}}
spec: {{clusterRef: {{name: prod}}, streams: [{{name: made}}]}}
"
        )
    };
    world.commit([topic_record("payments.refunds.made", "payments/refunds")]);
    assert!(world.put(&refunds("{kind: event}")).principals.len() == 1);
    assert_eq!(world.entries(&principal_of("fraud/scorer", 1)).len(), 4);
    assert!(world.put(&refunds("{}")).principals.len() == 1);
    assert_eq!(world.entries(&principal_of("fraud/scorer", 1)).len(), 3);
}

#[test]
fn deleting_a_product_revokes_the_access_to_it() {
    let mut world = World::payments();
    world.bind("payments/reader", SCORER);
    assert_eq!(world.index.bindings_of_product(&key("payments/orders")), 1);
    let touched = world.put(
        "
kind: DataProduct
metadata: {namespace: payments, name: orders, deletionTimestamp: 2026-06-01T00:00:00Z}
spec: {clusterRef: {name: prod}, streams: [{name: placed}, {name: paid}]}
",
    );
    assert_eq!(touched.principals.len(), 1);
    assert!(world.principals().is_empty());
    assert_eq!(world.problems()[0].0, Reason::Deleting);
    assert_eq!(world.index.bindings_of_product(&key("payments/orders")), 0);
}

#[test]
fn a_status_that_changes_resolves_nothing() {
    let mut world = World::payments();
    world.bind("payments/reader", SCORER);
    let touched = world.put(
        "
kind: DataProduct
metadata: {namespace: payments, name: orders, labels: {kind: event}, resourceVersion: '7'}
spec: {clusterRef: {name: prod}, streams: [{name: placed}, {name: paid}]}
status: {bindings: 1}
",
    );
    assert_eq!((touched.products.len(), touched.bindings.len()), (1, 0));
    assert!(world.index.product(&key("payments/orders")).unwrap().status.is_some());
}

#[test]
fn a_change_touches_only_those_whom_it_concerns() {
    let mut world = World::payments();
    world.put("{kind: StreamClient, metadata: {namespace: fraud, name: other}, spec: {clusterRef: {name: prod}}}");
    world.commit([client_record("fraud/other", &[(1, false)])]);
    world.bind("payments/reader", SCORER);
    world.bind_in("fraud/others", "payments/reader", "{kind: StreamClient, name: other}", "");
    let touched = world.commit([client_record("fraud/other", &[(1, false), (2, false)])]);
    assert_eq!(touched.bindings, BTreeSet::from([key("fraud/others")]));
    let touched = world.put(
        "
kind: DataProduct
metadata: {namespace: payments, name: unconcerned}
spec: {clusterRef: {name: prod}, streams: [{name: s}]}
",
    );
    assert!(touched.bindings.is_empty());
}

#[test]
fn quotas_are_the_largest_of_the_roles_within_the_tenancys_limits() {
    let mut world = World::payments();
    for (role, rate) in [("slow", 10), ("fast", 5000)] {
        world.put(&format!(
            "
kind: StreamRole
metadata: {{namespace: payments, name: {role}}}
spec:
  privileges: [{{products: {{names: [orders]}}, access: [Read]}}]
  quotas: {{consumerByteRate: {rate}}}
  bindableFrom: {{mode: All}}
"
        ));
        world.bind_in(&format!("fraud/{role}"), &format!("payments/{role}"), SCORER, "");
    }
    let quotas = |world: &World| world.desired(&principal_of("fraud/scorer", 1)).quotas;
    assert_eq!(quotas(&world), BTreeMap::from([("consumer_byte_rate".to_owned(), 5000.0)]));
    world.put(
        "
kind: StreamCluster
metadata: {name: prod}
spec:
  bootstrapServers: ['kafka:9092']
  adminCredentials: {type: Plain, secretRef: {name: admin}}
  tenancy:
  - name: teams
    namespaceSelector: {matchLabels: {tenant: 'yes'}}
    topicPrefixes: ['{namespace}.']
    limits: {quotas: {consumerByteRate: 1000, producerByteRate: 7}}
",
    );
    let bounded = [("consumer_byte_rate".to_owned(), 1000.0), ("producer_byte_rate".to_owned(), 7.0)];
    assert_eq!(quotas(&world), BTreeMap::from(bounded));
}

#[test]
fn what_a_ledger_no_longer_holds_is_forgotten_when_it_is_read_again() {
    let mut world = World::payments();
    world.bind("payments/reader", SCORER);
    let principal = principal_of("fraud/scorer", 1);
    assert!(world.index.is_issued_and_live(&principal));
    let touched = world.index.apply(Update::Ledger("prod".into(), Box::default()), world.now);
    assert!(touched.principals.iter().any(|p| p.principal == principal));
    assert!(!world.index.is_issued_and_live(&principal));
    assert!(world.principals().is_empty());
    assert_eq!(world.index.client_record(&uid("StreamClient fraud/scorer")), None);
}

#[test]
fn classification_follows_sources_through_others_and_doubts_missing_ones() {
    let mut world = World::payments();
    let derived = |name: &str, from: &str, own: &str| {
        format!(
            "
kind: DataProduct
metadata: {{namespace: payments, name: {name}}}
spec:
  clusterRef: {{name: prod}}
  classification: {own}
  derivedFrom: [{from}]
  streams: [{{name: s}}]
"
        )
    };
    let of = |world: &World, name: &str| {
        let product = world.index.product(&key(name)).unwrap();
        product::classification(&world.index, product)
    };
    world.put(&derived("leaf", "{namespace: payments, name: middle}", "Public"));
    assert_eq!(of(&world, "payments/leaf"), Classification::Confidential);
    world.put(&derived("middle", "{namespace: payments, name: root}", "Public"));
    let touched = world.put(&derived("root", "", "Private"));
    assert!(touched.products.contains(&key("payments/leaf")));
    assert_eq!(of(&world, "payments/leaf"), Classification::Private);
    let cyclic = derived("root", "{namespace: payments, name: leaf}", "Private");
    world.put(&cyclic);
    assert_eq!(of(&world, "payments/leaf"), Classification::Private);
}

#[test]
fn the_admins_principal_may_be_known_before_the_cluster() {
    let mut index = Index::default();
    let now = World::empty().now;
    index.apply(Update::Admin("prod".into(), Some("admin".into())), now);
    assert_eq!(index.admin_principal("prod"), Some("admin"));
}
