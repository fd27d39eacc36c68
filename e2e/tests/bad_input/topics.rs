//! Products and their topics.

use crate::harness::Harness;
use crate::harness::brokers::{groups, reads};
use crate::harness::manifests::{binding, client, product_with, role};
use weir::api::{DataProduct, Reason, RoleBinding};

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn topics_keep_to_the_namespace_to_kafka_and_to_what_is_there() {
    let h = Harness::start().await;
    let (owner, other) = (h.tenant("owner").await, h.tenant("other").await);
    let own = owner.name.as_str();
    let taken = format!("{own}.taken");
    let wanted = format!("{own}.wanted");
    h.brokers.make_topic(&taken).await;
    let foreign = format!("{}.theirs", other.name);
    let long = format!("{own}.{}", "x".repeat(248 - own.len()));
    let long_stream = "s".repeat(63);
    let label = "p".repeat(63);
    let stream = |spec: &str| format!("streams: [{{name: s, {spec}}}]");
    let rows = [
        (
            "outside",
            stream(&format!("topic: {foreign}")),
            Reason::TopicOutsideNamespace,
            vec!["stream s", &*foreign, own],
        ),
        ("exists", stream(&format!("topic: {taken}")), Reason::TopicExists, vec!["stream s", &*taken, "adopt"]),
        ("many", stream("partitions: 65"), Reason::LimitExceeded, vec!["stream s", "65", "64"]),
        ("key", stream("config: {segment.ms: '1000'}"), Reason::LimitExceeded, vec!["segment.ms", "retention.ms"]),
        (
            "value",
            stream("config: {retention.ms: soon}"),
            Reason::RefusedByBroker,
            vec!["the broker says", "soon", "retention.ms"],
        ),
        ("adopts", stream(&format!("adopt: true, topic: {wanted}")), Reason::LimitExceeded, vec!["adopt", &*wanted]),
        ("long", stream(&format!("topic: {long}")), Reason::Ready, vec![]),
    ];
    for (name, spec, _, _) in &rows {
        owner.apply(&product_with(name, spec)).await;
    }
    for (name, _, reason, words) in &rows {
        if *reason == Reason::Ready {
            owner.ready::<DataProduct>(name).await;
        } else {
            owner.refused::<DataProduct>(name, *reason, words).await;
        }
    }
    // Neither a name of 250 characters nor one with a space gets past the schema.
    let too_long = product_with("longer", &stream(&format!("topic: {long}x")));
    assert!(owner.try_apply(&too_long).await.unwrap_err().contains("spec.streams[0].topic"));
    let refusal = owner.try_apply(&product_with("space", &stream("topic: 'a b'"))).await.unwrap_err();
    assert!(refusal.contains("a b"), "{refusal}");
    // One that is made of names that are each short enough, and is too long as a whole.
    let (deep, labels) = (h.stranger(&"n".repeat(50), &[("weir.dev/tenant", "true")]).await, 249);
    assert!(deep.name.len() + label.len() + long_stream.len() + 2 <= labels, "such names always fit Kafka");
    deep.apply(&product_with(&label, &format!("streams: [{{name: {long_stream}}}]"))).await;
    deep.ready::<DataProduct>(&label).await;
    h.brokers.delete_topic(&taken).await;
    for tenant in [owner, other, deep] {
        tenant.end().await;
    }
    h.brokers.delete_topic(&long).await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_governed_topic_stays_with_its_product_until_that_names_it_no_more() {
    let h = Harness::start().await;
    let (owner, consumer) = (h.stranger("free", &[("weir.dev/tenant", "free")]).await, h.tenant("consumer").await);
    let shared = format!("{}.shared", owner.name);
    let offer = |name: &str, topic: &str| {
        let stream = format!("name: s, replicas: 3, adopt: true, topic: {}.{topic}", owner.name);
        product_with(name, &format!("deletionPolicy: Delete, streams: [{{{stream}}}]"))
    };
    // By its name it is the older one also where both are made within a second.
    owner.apply(&offer("elder", "else")).await;
    owner.ready::<DataProduct>("elder").await;
    owner.apply(&offer("holder", "shared")).await;
    owner.apply(&role("reader", "holder", &[], "Read")).await;
    consumer.apply(&client("app")).await;
    consumer.apply(&binding("b", &owner.name, "reader", "app")).await;
    consumer.ready::<RoleBinding>("b").await;
    owner.apply(&offer("elder", "shared")).await;
    let holder = format!("belongs to DataProduct {}/holder", owner.name);
    owner.refused::<DataProduct>("elder", Reason::TopicTaken, &["stream s", &*shared, &*holder]).await;
    let app = consumer.principal("app").await;
    let group = groups(&app, &format!("{}.app.", consumer.name));
    h.brokers.show(&app, [reads(&app, &shared), group.clone()]).await;
    owner.ready::<DataProduct>("holder").await;
    consumer.ready::<RoleBinding>("b").await;
    // It passes the topic on, and does not take it along when it is deleted.
    owner.apply(&offer("holder", "moved")).await;
    owner.ready::<DataProduct>("elder").await;
    consumer.ready::<RoleBinding>("b").await;
    h.brokers.show(&app, [reads(&app, &format!("{}.moved", owner.name)), group]).await;
    owner.delete_and_wait::<DataProduct>("holder").await;
    assert_eq!(h.brokers.partitions(&shared).await, Some(1));
    // One that waits has the topic anew when the former owner deletes it.
    owner.apply(&offer("heir", "shared")).await;
    owner.refused::<DataProduct>("heir", Reason::TopicTaken, &[&*shared, "elder"]).await;
    owner.delete_and_wait::<DataProduct>("elder").await;
    owner.ready::<DataProduct>("heir").await;
    assert_eq!(h.brokers.partitions(&shared).await, Some(1));
    consumer.end().await;
    owner.end().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_configuration_that_the_broker_refuses_is_answered_in_its_own_words() {
    let h = Harness::start().await;
    let free = h.stranger("free", &[("weir.dev/tenant", "free")]).await;
    free.apply(&product_with("odd", "streams: [{name: s, replicas: 3, config: {retention.mss: '1'}}]")).await;
    free.refused::<DataProduct>("odd", Reason::RefusedByBroker, &["odd.s", "the broker says", "retention.mss"]).await;
    free.apply(&product_with("few", "streams: [{name: s, replicas: 5}]")).await;
    free.refused::<DataProduct>("few", Reason::RefusedByBroker, &["few.s", "the broker says", "5"]).await;
    free.end().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn partitions_do_not_shrink_and_retention_not_by_accident() {
    let h = Harness::start().await;
    let owner = h.tenant("owner").await;
    let spec = |partitions: u32, retention: u32| {
        let config = format!("config: {{retention.ms: '{retention}'}}");
        product_with(
            "p",
            &format!("deletionPolicy: Delete, streams: [{{name: s, partitions: {partitions}, {config}}}]"),
        )
    };
    let topic = format!("{}.p.s", owner.name);
    owner.apply(&spec(3, 600_000)).await;
    owner.ready::<DataProduct>("p").await;
    owner.apply(&spec(2, 600_000)).await;
    owner
        .refused::<DataProduct>("p", Reason::PartitionsShrunk, &["stream s", &topic, "3 partitions", "shrink to 2"])
        .await;
    owner.apply(&spec(4, 600_000)).await;
    owner.ready::<DataProduct>("p").await;
    assert_eq!(h.brokers.partitions(&topic).await, Some(4));
    owner.apply(&spec(4, 1000)).await;
    let words = ["stream s", "600000 to 1000", "weir.dev/acknowledge-retention"];
    owner.refused::<DataProduct>("p", Reason::RetentionShortened, &words).await;
    owner.end().await;
}
