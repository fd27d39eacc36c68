//! Groups and offsets, made by a real producer and a real consumer.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use weir::ports::{KafkaAdmin, NewTopic, OffsetSpec};

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
