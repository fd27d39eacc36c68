//! What a share with pattern Copy comes to, on both clusters.

mod linked;

use std::collections::BTreeSet;
use std::sync::Arc;

use super::copy::Copy;
use super::{Guest, read_by};
use crate::api::{Reason, Side};
use crate::domain::index::{Index, Update};
use crate::domain::ledger::{Change, Ledger, TopicRecord};
use crate::domain::names::{
    EngineKey, MIRROR, ObjectKey, PrincipalKey, SOURCE, TARGET, connector_name, guest_key, worker_key,
};
use crate::domain::product;
use crate::domain::testing::{World, key, record_of, topic_record, uid};

const SHARE: &str = "payments/out";
const PLACED: &str = "payments.orders.placed";
const COPY: &str = "payments.out.payments.orders.placed";

/// `payments` copies the Private `orders` to `shared` for acme; eve made the share, olga and acme agree.
fn world() -> World {
    let mut world = World::payments();
    world.index.apply(Update::ApprovalsEnforced(true), world.now);
    destination(&mut world, "namespaceSelector: {}");
    world.put("{kind: Partner, metadata: {name: acme}, spec: {organisation: Acme}}");
    share(&mut world, "");
    for (side, reviewer, acceptance) in [
        ("Owner", "olga", ""),
        ("Consumer", "'partner:acme'", "acceptance: {invitation: i, publicKeyHash: h, recipient: age1},"),
    ] {
        approve(&mut world, side, reviewer, acceptance, "shared");
    }
    world
}

fn approve(world: &mut World, side: &str, reviewer: &str, acceptance: &str, destination: &str) {
    let (share, partner) = (uid("ExternalShare payments/out"), uid("Partner /acme"));
    world.put(&format!(
        "
kind: AccessApproval
metadata: {{namespace: payments, name: '{side}'}}
spec:
  {{requestRef: {{kind: ExternalShare, namespace: payments, name: out, uid: {share}}}, side: {side}, reviewer: {reviewer},
    targetRef: {{kind: ExternalShare, name: out}}, partnerRef: {{name: acme, uid: {partner}}}, decision: Approved, {acceptance}
    scope: {{pattern: Copy, destination: {destination}, streams: [{{product: orders, stream: placed, access: [Read]}}]}}}}
"
    ));
}

fn destination(world: &mut World, selector: &str) {
    world.put(&format!(
        "
kind: StreamCluster
metadata: {{name: shared}}
spec:
  bootstrapServers: ['s:9092']
  adminCredentials: {{type: ScramSha512, secretRef: {{name: s}}}}
  listeners: [{{name: scram, bootstrapServers: ['s:9092'], authentication: ScramSha512}}]
  destinations: [{{name: all, {selector}}}]
  replicationEngines: [{{name: mm2, mirrorMaker2: {{image: kafka}}}}]
"
    ));
}

fn share(world: &mut World, more: &str) {
    share_named(world, "out", &format!("products: [{{name: orders, streams: [placed]}}], {more}"));
}

fn share_named(world: &mut World, name: &str, more: &str) {
    world.put(&format!(
        "
kind: ExternalShare
metadata: {{namespace: payments, name: {name}, annotations: {{weir.dev/requesters: eve}}}}
spec:
  {{partnerRefs: [{{name: acme}}], pattern: Copy,
    destination: {{clusterRef: {{name: shared}}}}, engine: mm2, validity: {{notAfter: 2026-12-01T00:00:00Z}}, {more}}}
"
    ));
}

fn copy(world: &World) -> Copy {
    world.index.copy(&key(SHARE)).unwrap().as_ref().clone()
}

fn guest(world: &World) -> Guest {
    world.index.guest(&guest_key(&key(SHARE), "acme")).unwrap().clone()
}

fn reasons(world: &World) -> Vec<Reason> {
    guest(world).resolution.problems.iter().map(|p| p.reason).collect()
}

/// The destination's word that the copy was made.
fn made(world: &World) -> Change {
    made_at(world, COPY)
}

fn made_at(world: &World, topic: &str) -> Change {
    let mirror = guest_key(&key(SHARE), MIRROR);
    let product_uid = copy(world).mirror.metadata.uid.clone().unwrap();
    let record = TopicRecord { product_uid, namespace: mirror.namespace, name: mirror.name, is_promised: false };
    Change::Topic(topic.into(), Some(record))
}

fn make_copy(world: &mut World) {
    let made = made(world);
    world.index.apply(Update::Committed("shared".into(), vec![made]), world.now);
}

/// The ledgers' word on the first versions of everybody who has to do with it: at the source, and at the destination.
fn versions(world: &World) -> [Vec<Change>; 2] {
    let copy = copy(world);
    let first = |part: &str, uid: &str| record_of(&guest_key(&key(SHARE), part), uid.to_owned(), &[(1, false)]);
    let target = [first(TARGET, &copy.target.uid), first("acme", &guest(world).uid)];
    [vec![first(SOURCE, &copy.source.uid)], target.into()]
}

fn issue(world: &mut World) {
    for (cluster, changes) in ["prod", "shared"].into_iter().zip(versions(world)) {
        world.index.apply(Update::Committed(cluster.into(), changes), world.now);
    }
}

/// What Weir knows of Kubernetes before it has read any ledger.
fn begun_anew(world: &World) -> Index {
    let mut index = Index::default();
    let before = &world.index;
    let share = key(SHARE);
    let mut updates = vec![
        Update::ApprovalsEnforced(true),
        Update::Namespace("payments".into(), before.namespace("payments").cloned()),
        Update::Partner("acme".into(), before.partner("acme").cloned().map(Arc::new)),
    ];
    for cluster in ["prod", "shared"] {
        updates.push(Update::Cluster(cluster.into(), before.cluster(cluster).cloned()));
    }
    let product = key("payments/orders");
    updates.push(Update::Product(product.clone(), before.product(&product).cloned().map(Arc::new)));
    updates.push(Update::Share(share.clone(), before.share(&share).cloned()));
    let approvals = before.approvals_of(&share);
    updates.extend(approvals.map(|(key, approval)| Update::Approval(key.clone(), Some(Arc::new(approval.clone())))));
    for update in updates {
        index.apply(update, world.now);
    }
    index
}

fn flowing() -> World {
    let mut world = world();
    make_copy(&mut world);
    issue(&mut world);
    world
}

/// Entries of the first version, with its cluster.
fn entries(world: &World, cluster: &str, uid: &str) -> BTreeSet<String> {
    let principals = world.index.principals_on(cluster);
    let digits: String = uid.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    let of_it: Vec<PrincipalKey> = principals.filter(|p| p.principal == format!("~xs.{digits}-1")).cloned().collect();
    let all = of_it.iter().flat_map(|p| world.index.desired(p).entries);
    all.map(|e| format!("{:?}:{:?}:{}:{:?}", e.resource_type, e.pattern_type, e.resource, e.operation)).collect()
}

fn one(entry: &str) -> BTreeSet<String> {
    BTreeSet::from([entry.to_owned()])
}

#[test]
fn copies_are_made_before_anybody_may_read_or_write_them() {
    let mut world = world();
    assert_eq!(reasons(&world), [Reason::Applying], "its copy is not there yet");
    let mirror = copy(&world).mirror;
    assert_eq!(mirror.spec.streams[0].topic.as_deref(), Some(COPY));
    assert_eq!(product::view(&world.index, &mirror).problems, []);
    issue(&mut world);
    assert!(copy(&world).flows.is_empty());
    let before = copy(&world);
    assert!(before.source.resolution.grants.is_empty() && before.target.resolution.grants.is_empty());
    make_copy(&mut world);
    assert_eq!(reasons(&world), []);
    let copy = copy(&world);
    assert_eq!(entries(&world, "prod", &copy.source.uid), one(&format!("Topic:Literal:{PLACED}:Read")));
    assert_eq!(entries(&world, "shared", &copy.target.uid), one(&format!("Topic:Literal:{COPY}:Write")));
    let partner = entries(&world, "shared", &guest(&world).uid);
    assert!(partner.contains(&format!("Topic:Literal:{COPY}:Read")) && partner.len() == 2, "{partner:?}");
    assert!(entries(&world, "prod", &guest(&world).uid).is_empty(), "the partner never reaches the source");
    assert_eq!((copy.flows.len(), copy.flows[PLACED].as_str()), (1, COPY));
}

#[test]
fn an_approval_for_another_destination_is_none() {
    let mut world = flowing();
    approve(&mut world, "Owner", "olga", "", "elsewhere");
    assert_eq!(reasons(&world), [Reason::AwaitingApproval]);
    assert!(copy(&world).flows.is_empty());
    assert!(copy(&world).source.client.is_none());
    assert_eq!(guest(&world).awaits, [Side::Owner].into());
}

#[test]
fn a_destination_that_takes_no_copies_of_the_namespace_stops_them() {
    let mut world = flowing();
    destination(&mut world, "namespaceSelector: {matchLabels: {never: so}}");
    assert_eq!(reasons(&world), [Reason::DestinationNotAllowed]);
    assert!(copy(&world).flows.is_empty());
    let ends = [("prod", copy(&world).source.uid), ("shared", copy(&world).target.uid), ("shared", guest(&world).uid)];
    assert!(ends.iter().all(|(cluster, uid)| entries(&world, cluster, uid).is_empty()));
    destination(&mut world, "namespaceSelector: {}");
    assert_eq!(reasons(&world), []);
    assert_eq!(copy(&world).flows.len(), 1);
}

#[test]
fn the_source_is_no_destination() {
    let mut world = flowing();
    let mut share = serde_json::to_value(world.index.share(&key(SHARE)).unwrap().as_ref()).unwrap();
    share["spec"]["destination"]["clusterRef"]["name"] = "prod".into();
    world.put(&serde_yaml::to_string(&share).unwrap());
    assert!(reasons(&world).contains(&Reason::DestinationNotAllowed), "{:?}", reasons(&world));
    assert!(copy(&world).flows.is_empty() && copy(&world).source.client.is_none());
}

#[test]
fn a_suspended_share_keeps_its_copies_and_its_identities() {
    let mut world = flowing();
    share(&mut world, "suspended: true");
    let suspended = copy(&world);
    assert!(suspended.flows.is_empty() && suspended.source.client.is_some() && suspended.target.client.is_some());
    assert!(suspended.source.resolution.grants.is_empty() && suspended.target.resolution.grants.is_empty());
    assert!(suspended.mirror.metadata.deletion_timestamp.is_none());
    assert_eq!(suspended.mirror.spec.streams.len(), 1);
    share(&mut world, "");
    assert_eq!(copy(&world).flows.len(), 1);
}

#[test]
fn a_share_that_is_over_has_no_identities_and_its_copies_go_as_their_policy_says() {
    let mut world = flowing();
    share(&mut world, "revoke: {reason: breach}, targetTopicPolicy: Delete");
    let over = copy(&world);
    assert!(over.is_over && over.source.client.is_none() && over.target.client.is_none() && over.flows.is_empty());
    assert!(over.mirror.metadata.deletion_timestamp.is_some());
    let ends = [("prod", &over.source.uid), ("shared", &over.target.uid)];
    assert!(ends.iter().all(|(cluster, uid)| entries(&world, cluster, uid).is_empty()));
    let record = TopicRecord {
        product_uid: over.mirror.metadata.uid.clone().unwrap(),
        namespace: "payments".into(),
        name: guest_key(&key(SHARE), MIRROR).name,
        is_promised: false,
    };
    let ending = crate::domain::topics::ending(&world.index, "shared", COPY, &record);
    assert_eq!(ending, crate::domain::topics::Ending::Deleted);
}

#[test]
fn what_was_read_is_known_when_it_is_over_too() {
    let mut world = flowing();
    for spec in ["", "revoke: {reason: breach}", "suspended: true"] {
        share(&mut world, spec);
        for (who, topics) in [("acme", vec![COPY]), (SOURCE, vec![PLACED]), (TARGET, vec![])] {
            let read = read_by(&world.index, &guest_key(&key(SHARE), who));
            assert_eq!(read.iter().map(String::as_str).collect::<Vec<_>>(), topics, "{who}, {spec}");
        }
    }
    assert!(read_by(&world.index, &key("payments/orders")).is_empty(), "nobody's guest");
}

#[test]
fn versions_go_on_where_they_ended_as_long_as_what_they_are_for_is_there() {
    let mut world = flowing();
    let [partner, source] = ["acme", SOURCE].map(|who| guest_key(&key(SHARE), who));
    let worker = worker_key(&EngineKey { cluster: "shared".into(), name: "mm2".into() });
    let may = |world: &World, key: &ObjectKey| world.index.may_return(key);
    share(&mut world, "revoke: {reason: breach}");
    assert!(may(&world, &partner) && may(&world, &source) && may(&world, &worker));
    assert!(!may(&world, &key("fraud/scorer")), "a client is another one when it is made anew");
    let mut over = world.index.share(&key(SHARE)).unwrap().as_ref().clone();
    over.metadata.deletion_timestamp = over.metadata.creation_timestamp.clone();
    world.index.apply(Update::Share(key(SHARE), Some(Arc::new(over))), world.now);
    assert!(!may(&world, &partner) && !may(&world, &source) && may(&world, &worker));
}

#[test]
fn nothing_is_taken_away_while_the_other_cluster_s_ledger_is_not_read() {
    let before = flowing();
    let granted = |world: &World| {
        let copy = copy(world);
        let uids =
            [("prod", copy.source.uid.clone()), ("shared", copy.target.uid.clone()), ("shared", guest(world).uid)];
        uids.map(|(cluster, uid)| entries(world, cluster, &uid))
    };
    let all = granted(&before);
    assert!(all.iter().all(|entries| !entries.is_empty()));
    let ledger = |changes: Vec<Change>| {
        let mut ledger = Ledger::default();
        changes.into_iter().for_each(|change| ledger.apply(change));
        Box::new(ledger)
    };
    let [at_source, mut at_destination] = versions(&before);
    at_destination.push(made(&before));
    let topic = topic_record(PLACED, "payments/orders");
    let prod = ("prod", ledger(at_source.into_iter().chain([topic]).collect()), 0..1);
    let shared = ("shared", ledger(at_destination), 1..3);
    for [first, then] in [[&prod, &shared], [&shared, &prod]] {
        let mut world = flowing();
        world.index = begun_anew(&before);
        world.index.apply(Update::Ledger(first.0.into(), first.1.clone()), world.now);
        assert_eq!(granted(&world)[first.2.clone()], all[first.2.clone()], "{} first", first.0);
        world.index.apply(Update::Ledger(then.0.into(), then.1.clone()), world.now);
        assert_eq!(granted(&world), all);
    }
}

#[test]
fn another_source_is_another_reader_and_another_connector() {
    let mut world = flowing();
    let before = copy(&world);
    let mut product = serde_json::to_value(world.index.product(&key("payments/orders")).unwrap()).unwrap();
    product["spec"]["clusterRef"]["name"] = "elsewhere".into();
    world.put(&serde_yaml::to_string(&product).unwrap());
    let after = copy(&world);
    assert_eq!(after.source_cluster, "elsewhere");
    assert_ne!(before.source.uid, after.source.uid);
    assert_eq!(before.target.uid, after.target.uid);
    assert!(entries(&world, "prod", &before.source.uid).is_empty());
    assert_ne!(connector_name("u", &before.source_cluster), connector_name("u", &after.source_cluster));
}

#[test]
fn nobody_gives_a_copy_by_its_name() {
    let mut world = flowing();
    world.put(
        "
kind: StreamRole
metadata: {namespace: payments, name: thief}
spec: {privileges: [{products: {names: ['~xs.out.~mirror']}, access: [Read, Write]}], bindableFrom: {mode: All}}
",
    );
    world.bind("payments/thief", "{kind: StreamClient, name: scorer}");
    let all: BTreeSet<_> = world.index.principals_on("shared").map(|p| p.principal.clone()).collect();
    assert!(all.iter().all(|p| p.starts_with("~xs.")), "{all:?}");
    share_named(&mut world, "again", "products: [{name: '~xs.out.~mirror'}]");
    let again = world.index.guest(&guest_key(&key("payments/again"), "acme")).unwrap();
    assert!(again.resolution.problems.iter().any(|p| p.reason == Reason::ProductNotFound), "{again:?}");
}

#[test]
fn no_role_gives_what_a_share_copied() {
    let mut world = flowing();
    world.put(
        "
kind: StreamRole
metadata: {namespace: payments, name: everything}
spec: {privileges: [{products: {selector: {}}, access: [Read]}], bindableFrom: {mode: All}}
",
    );
    world.bind("payments/everything", "{kind: StreamClient, name: scorer}");
    let clusters: BTreeSet<_> = world.index.principals_on("shared").map(|p| p.principal.clone()).collect();
    assert!(clusters.iter().all(|p| p.starts_with("~xs.")), "{clusters:?}");
    let mirror = guest_key(&key(SHARE), MIRROR);
    assert!(world.index.product(&mirror).is_some());
    assert_eq!(world.index.bindings_of_product(&mirror), 0);
}

#[test]
fn workers_have_an_identity_while_anything_is_copied_and_until_nothing_is_left() {
    let mut world = flowing();
    let engine = EngineKey { cluster: "shared".into(), name: "mm2".into() };
    let worker = world.index.worker(&engine).unwrap().clone();
    let change = record_of(&worker_key(&engine), worker.uid.clone(), &[(1, false)]);
    world.index.apply(Update::Committed("shared".into(), vec![change]), world.now);
    let own = entries(&world, "shared", &worker.uid);
    assert_eq!(own.len(), 5, "{own:?}");
    assert!(own.iter().all(|e| e.contains(":Prefixed:__weir_connect.")), "nothing but its own: {own:?}");
    share(&mut world, "revoke: {reason: breach}");
    assert!(world.index.worker(&engine).is_some(), "connectors have to be removed yet");
    world.index.apply(Update::EngineIdle(engine.clone(), true), world.now);
    assert!(world.index.worker(&engine).is_none());
    assert!(entries(&world, "shared", &worker.uid).is_empty());
}

#[test]
fn a_namespace_cannot_have_a_topic_that_is_a_copy() {
    let mut world = flowing();
    let mut cluster = serde_json::to_value(world.index.cluster("shared").unwrap().as_ref()).unwrap();
    cluster["spec"]["tenancy"] =
        serde_json::json!([{"name": "t", "namespaceSelector": {}, "topicPrefixes": ["{namespace}."]}]);
    world.put(&serde_yaml::to_string(&cluster).unwrap());
    world.put(&format!(
        "
kind: DataProduct
metadata: {{namespace: payments, name: thief, creationTimestamp: 2025-01-01T00:00:00Z}}
spec: {{clusterRef: {{name: shared}}, streams: [{{name: s, topic: {COPY}}}]}}
"
    ));
    let thief = world.index.product(&ObjectKey::new("payments", "thief")).unwrap();
    let problems: Vec<_> = product::view(&world.index, thief).problems.iter().map(|p| p.reason).collect();
    assert_eq!(problems, [Reason::TopicTaken]);
}
