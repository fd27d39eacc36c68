//! The same where the destination's brokers fetch by themselves.

use std::collections::BTreeSet;

use super::{PLACED, SHARE, approve, copy, destination, entries, guest, issue, made_at, one, reasons, share, world};
use crate::api::Reason;
use crate::domain::index::Update;
use crate::domain::names::link_prefix;
use crate::domain::product::{self, Maker};
use crate::domain::testing::{World, key, uid};

fn linked() -> World {
    let mut world = world();
    let mut cluster = serde_json::to_value(world.index.cluster("shared").unwrap().as_ref()).unwrap();
    cluster["spec"]["replicationEngines"] =
        serde_json::json!([{"name": "mm2", "clusterLink": {"url": "https://s:8090", "secretRef": {"name": "s"}}}]);
    world.put(&serde_yaml::to_string(&cluster).unwrap());
    world
}

fn mirror_topic() -> String {
    format!("{}{PLACED}", link_prefix(&uid("ExternalShare payments/out")))
}

fn make(world: &mut World) {
    let made = made_at(world, &mirror_topic());
    world.index.apply(Update::Committed("shared".into(), vec![made]), world.now);
}

fn makers(world: &World) -> Vec<Maker> {
    let view = product::view(&world.index, &copy(world).mirror);
    assert_eq!(view.problems, []);
    view.streams.into_iter().map(|stream| stream.maker).collect()
}

#[test]
fn a_link_s_copies_have_short_names_and_nobody_writes_them() {
    let mut world = linked();
    let topic = mirror_topic();
    assert_eq!(link_prefix(&uid("ExternalShare payments/out")).len(), 12, "as long as Cluster Linking takes");
    assert_eq!(copy(&world).mirror.spec.streams[0].topic.as_ref(), Some(&topic));
    assert_eq!(makers(&world), [Maker::Link { is_strange: false }]);
    make(&mut world);
    issue(&mut world);
    let copy = copy(&world);
    assert!(copy.is_linked && copy.target.client.is_none() && copy.target.resolution.grants.is_empty());
    let reader = ["Read", "DescribeConfigs"].map(|operation| format!("Topic:Literal:{PLACED}:{operation}"));
    assert_eq!(entries(&world, "prod", &copy.source.uid), reader.into());
    let partner = entries(&world, "shared", &guest(&world).uid);
    assert!(partner.contains(&format!("Topic:Literal:{topic}:Read")) && partner.len() == 2, "{partner:?}");
    assert_eq!(copy.flows[PLACED], topic);
}

#[test]
fn a_topic_that_the_link_did_not_make_is_known_as_a_stranger_s() {
    let mut world = linked();
    make(&mut world);
    let strange =
        |world: &mut World, topics: BTreeSet<String>| world.index.apply(Update::Strange(key(SHARE), topics), world.now);
    let touched = strange(&mut world, one(&mirror_topic()));
    assert!(touched.products.iter().any(|of| of.name.ends_with("~mirror")), "{touched:?}");
    assert_eq!(makers(&world), [Maker::Link { is_strange: true }]);
    strange(&mut world, BTreeSet::new());
    assert_eq!(makers(&world), [Maker::Link { is_strange: false }]);
    strange(&mut world, one(&mirror_topic()));
    world.delete("ExternalShare payments/out");
    share(&mut world, "");
    assert_eq!(makers(&world), [Maker::Link { is_strange: false }], "of a share that is gone nothing is known");
}

#[test]
fn a_link_s_copies_go_where_the_destination_takes_none() {
    let mut world = linked();
    make(&mut world);
    issue(&mut world);
    assert_eq!(reasons(&world), []);
    // The engine is another one by that name: what it was is not taken for what it is.
    destination(&mut world, "namespaceSelector: {}");
    let (source, partner) = (copy(&world).source.uid, guest(&world).uid);
    assert!(copy(&world).flows.is_empty() && !copy(&world).is_linked);
    assert!(entries(&world, "prod", &source).is_empty() && entries(&world, "shared", &partner).is_empty());
    approve(&mut world, "Owner", "olga", "", "elsewhere");
    assert_eq!(reasons(&world), [Reason::AwaitingApproval]);
}
