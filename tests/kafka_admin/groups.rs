//! Groups and offsets, made by a real producer and a real consumer.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use weir::ports::{GroupListing, KafkaAdmin, NewTopic, OffsetSpec};

use crate::kafka_lab::{Password, admin, all, eventually, lab, topic, unique};

fn config(listener: &Password) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", listener.bootstrap.join(","))
        .set("security.protocol", "sasl_ssl")
        .set("ssl.ca.location", &listener.ca)
        .set("sasl.mechanism", "SCRAM-SHA-512")
        .set("sasl.username", &listener.username)
        .set("sasl.password", &listener.password);
    config
}

/// Produces ten records to each of two partitions and consumes all of them in `group`.
fn produce_and_consume(listener: &Password, topic: &str, group: &str) {
    let producer: BaseProducer = config(listener).create().unwrap();
    for i in 0..20 {
        let value = i.to_string();
        let record = BaseRecord::<str, str>::to(topic).payload(&value).partition(i % 2).timestamp(1000 + i64::from(i));
        producer.send(record).map_err(|(e, _)| e).unwrap();
    }
    producer.flush(Duration::from_secs(20)).unwrap();
    let consumer: BaseConsumer =
        config(listener).set("group.id", group).set("auto.offset.reset", "earliest").create().unwrap();
    consumer.subscribe(&[topic]).unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    let mut seen = 0;
    while seen < 20 {
        assert!(std::time::Instant::now() < deadline, "consumed {seen} of 20");
        seen += usize::from(matches!(consumer.poll(Duration::from_millis(100)), Some(Ok(_))));
    }
    consumer.commit_consumer_state(CommitMode::Sync).unwrap();
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn groups_and_offsets_are_read_and_groups_deleted() {
    let admin = admin().await;
    let (name, group) = (unique("offsets"), unique("group"));
    // The records' timestamps are of 1970: without this, retention may take them at any moment.
    let config = BTreeMap::from([("retention.ms".to_owned(), "-1".to_owned())]);
    all(admin.create_topics(&[NewTopic { config, ..topic(&name, 2) }], false).await.unwrap());
    let (listener, of, by) = (lab().scram512, name.clone(), group.clone());
    tokio::task::spawn_blocking(move || produce_and_consume(&listener, &of, &by)).await.unwrap();

    let listed = eventually("the group is empty", || async {
        let groups = admin.list_groups().await.unwrap();
        groups.into_iter().find(|g| g.id == group && g.state == "Empty")
    })
    .await;
    assert_eq!(listed.group_type, "classic");

    let absent = unique("absent");
    let offsets = admin.group_offsets(&[group.clone(), absent.clone()]).await.unwrap();
    let committed = offsets[0].as_ref().unwrap();
    assert_eq!((committed[&(name.clone(), 0)], committed[&(name.clone(), 1)]), (10, 10));
    assert!(offsets[1].as_ref().is_ok_and(BTreeMap::is_empty), "{offsets:?}");

    let at = |partition, spec| (name.clone(), partition, spec);
    let asked = [
        at(0, OffsetSpec::Latest),
        at(0, OffsetSpec::Earliest),
        at(1, OffsetSpec::Timestamp(1005)),
        at(1, OffsetSpec::Timestamp(9999)),
        at(7, OffsetSpec::Latest),
        (absent.clone(), 0, OffsetSpec::Latest),
    ];
    let found = admin.list_offsets(&asked).await.unwrap();
    assert_eq!(found[..4], [Ok(10), Ok(0), Ok(2), Ok(-1)]);
    assert_eq!(found[4].as_ref().unwrap_err().code, Some(3));
    assert_eq!(found[5].as_ref().unwrap_err().code, Some(3));

    let deleted = admin.delete_groups(&[absent, group.clone()]).await.unwrap();
    assert_eq!(deleted[0].as_ref().unwrap_err().code, Some(69));
    assert_eq!(deleted[1], Ok(()));
    assert!(!admin.list_groups().await.unwrap().iter().any(|g| g.id == group));
    all(admin.delete_topics(&[name]).await.unwrap());
}

/// A consumer that has joined `group` by a protocol of librdkafka's, and is assigned what there is of `topic`.
fn join(listener: &Password, topic: &str, group: &str, protocol: &str) -> BaseConsumer {
    let mut config = config(listener);
    config.set("group.id", group).set("group.protocol", protocol).set("client.id", "weir-test");
    let consumer: BaseConsumer = config.create().unwrap();
    consumer.subscribe(&[topic]).unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while consumer.assignment().unwrap().count() == 0 {
        assert!(std::time::Instant::now() < deadline, "{group} is assigned nothing by the {protocol} protocol");
        let _ = consumer.poll(Duration::from_millis(100));
    }
    consumer
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn members_of_groups_of_both_protocols_are_told_with_their_addresses_and_topics() {
    let admin = admin().await;
    let name = unique("members");
    all(admin.create_topics(&[topic(&name, 2)], false).await.unwrap());
    let (classic, consumer) = (unique("classic"), unique("consumer"));
    let joined = |group: &str, protocol: &'static str| {
        let (listener, of, group) = (lab().scram512, name.clone(), group.to_owned());
        tokio::task::spawn_blocking(move || join(&listener, &of, &group, protocol))
    };
    let members = (joined(&classic, "classic").await.unwrap(), joined(&consumer, "consumer").await.unwrap());

    let listed = eventually("both groups are listed as stable", || async {
        let groups = admin.list_groups().await.unwrap();
        let of = |id: &str| groups.iter().find(|g| g.id == id && g.state == "Stable").cloned();
        Some([of(&classic)?, of(&consumer)?])
    })
    .await;
    assert_eq!(listed.each_ref().map(|g| g.group_type.to_ascii_lowercase()), ["classic", "consumer"]);
    let of_another = GroupListing { id: unique("other"), group_type: "share".into(), ..listed[0].clone() };
    let absent = GroupListing { id: unique("absent"), ..listed[1].clone() };
    let asked = [listed[0].clone(), absent, of_another, listed[1].clone()];
    let described = admin.describe_groups(&asked).await.unwrap();
    for group in [&described[0], &described[3]] {
        let group = group.as_ref().unwrap();
        let [member] = group.members.as_slice() else { panic!("{group:?}") };
        assert_eq!((group.state.as_str(), member.client_id.as_str()), ("Stable", "weir-test"));
        assert!(member.address.is_some(), "{member:?}");
        assert_eq!(member.topics.iter().collect::<Vec<_>>(), [&name]);
    }
    assert_eq!(described[1].as_ref().unwrap_err().code, Some(69));
    assert!(described[2].as_ref().unwrap_err().message.contains("share"));
    tokio::task::spawn_blocking(move || drop(members)).await.unwrap();
    all(admin.delete_topics(&[name]).await.unwrap());
}
