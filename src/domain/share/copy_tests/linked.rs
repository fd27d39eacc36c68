//! The same where the destination's brokers fetch by themselves.

use super::{PLACED, SHARE, approve, copy, destination, entries, guest, issue, made_at, one, reasons, share, world};
use crate::api::Reason;
use crate::domain::index::{SeenLink, Update};
use crate::domain::ledger::{Change, TopicRecord};
use crate::domain::names::link_prefix;
use crate::domain::product::{self, Maker, Mirrored};
use crate::domain::testing::{World, key, uid};
use crate::domain::topics::{Ending, ending, kept_promises};

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
    assert_eq!(makers(&world), [Maker::Link(Mirrored::Unseen)]);
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
fn what_a_link_is_to_make_is_given_once_the_link_has_it() {
    let mut world = linked();
    let Change::Topic(topic, Some(record)) = made_at(&world, &mirror_topic()) else { panic!("no record") };
    let record = TopicRecord { is_promised: true, ..record };
    let recorded = [(topic.clone(), record.clone())].into();
    world.index.apply(Update::Committed("shared".into(), vec![Change::Topic(topic.clone(), Some(record))]), world.now);
    issue(&mut world);
    assert_eq!(copy(&world).flows[PLACED], topic, "the link reads at the source before it makes the topic");
    assert!(!entries(&world, "prod", &copy(&world).source.uid).is_empty());
    assert_eq!(reasons(&world), [Reason::Applying], "a topic of that name may be anybody's");
    assert!(entries(&world, "shared", &guest(&world).uid).is_empty());
    assert!(world.index.is_promised("shared", &topic) && world.index.governed_on("shared").next().is_none());
    assert_eq!(kept_promises(&world.index, &recorded), []);
    world.index.apply(Update::Link(key(SHARE), SeenLink { listed: one(&topic), ..SeenLink::default() }), world.now);
    assert_eq!(kept_promises(&world.index, &recorded), [made_at(&world, &topic)]);
    make(&mut world);
    assert_eq!(reasons(&world), []);
    assert!(!world.index.is_promised("shared", &topic));
}

#[test]
fn what_was_seen_of_a_link_is_known_until_its_share_is_gone() {
    let mut world = linked();
    make(&mut world);
    let see = |world: &mut World, seen: SeenLink| world.index.apply(Update::Link(key(SHARE), seen), world.now);
    let topics = || one(&mirror_topic());
    let touched = see(&mut world, SeenLink { strange: topics(), ..SeenLink::default() });
    assert!(touched.products.iter().any(|of| of.name.ends_with("~mirror")), "{touched:?}");
    assert_eq!(makers(&world), [Maker::Link(Mirrored::Strange)]);
    see(&mut world, SeenLink { listed: topics(), strange: topics(), ..SeenLink::default() });
    assert_eq!(makers(&world), [Maker::Link(Mirrored::Listed)], "what a link has is no stranger's");
    world.delete("ExternalShare payments/out");
    share(&mut world, "");
    assert_eq!(makers(&world), [Maker::Link(Mirrored::Unseen)]);
}

#[test]
fn topics_of_a_link_go_after_it_and_only_those_that_it_made() {
    let mut world = linked();
    make(&mut world);
    issue(&mut world);
    share(&mut world, "revoke: {reason: breach}, targetTopicPolicy: Delete");
    let Change::Topic(topic, Some(record)) = made_at(&world, &mirror_topic()) else { panic!("no record") };
    let promised = TopicRecord { is_promised: true, ..record.clone() };
    let end = |world: &World, record: &TopicRecord| ending(&world.index, "shared", &topic, record);
    assert_eq!([end(&world, &record), end(&world, &promised)], [Ending::Stays, Ending::Stays], "the link is there");
    world.index.apply(Update::Link(key(SHARE), SeenLink { is_gone: true, ..SeenLink::default() }), world.now);
    assert_eq!([end(&world, &record), end(&world, &promised)], [Ending::Deleted, Ending::Released]);
    // An engine that is not offered cannot be asked.
    world.index.apply(Update::Link(key(SHARE), SeenLink::default()), world.now);
    let mut cluster = serde_json::to_value(world.index.cluster("shared").unwrap().as_ref()).unwrap();
    cluster["spec"]["replicationEngines"] = serde_json::json!([]);
    world.put(&serde_yaml::to_string(&cluster).unwrap());
    assert!(copy(&world).is_linked, "its topics tell what it was");
    assert_eq!(end(&world, &record), Ending::Deleted);
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
