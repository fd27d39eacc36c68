//! Topics, partitions, configurations, disks, and the cluster itself.

use std::collections::BTreeMap;

use weir::ports::{ConfigDelta, ConfigResource, Disposition, KafkaAdmin, NewTopic};

use crate::kafka_lab::{admin, all, eventually, topic, unique};

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_topic_is_created_grown_and_deleted() {
    let admin = admin().await;
    let name = unique("topic");
    let names = [name.clone()];
    let config = BTreeMap::from([("retention.ms".to_owned(), "60000".to_owned())]);
    let new = NewTopic { config, ..topic(&name, 2) };
    all(admin.create_topics(std::slice::from_ref(&new), true).await.unwrap());
    assert!(admin.describe_topics(Some(&names)).await.unwrap().is_empty(), "a dry run creates nothing");
    all(admin.create_topics(std::slice::from_ref(&new), false).await.unwrap());
    let again = admin.create_topics(&[new], false).await.unwrap();
    assert_eq!(again[0].as_ref().unwrap_err().code, Some(36));

    let found =
        eventually("the topic is there", || async { admin.describe_topics(Some(&names)).await.unwrap().pop() }).await;
    assert_eq!((found.name.as_str(), found.partitions), (name.as_str(), 2));
    assert!(found.replicas >= 1 && found.id != [0; 16]);

    all(admin.create_partitions(&[(name.clone(), 4)], false).await.unwrap());
    let fewer = admin.create_partitions(&[(name.clone(), 1)], false).await.unwrap();
    let e = fewer[0].as_ref().unwrap_err();
    assert_eq!((e.code, e.disposition), (Some(37), Disposition::Permanent), "{e}");
    assert!(e.message.starts_with("INVALID_PARTITIONS: "), "the broker's own words: {e}");
    eventually("the topic has grown", || async {
        let found = admin.describe_topics(None).await.unwrap();
        found.into_iter().find(|t| t.name == name && t.partitions == 4)
    })
    .await;

    let absent = unique("absent");
    let deleted = admin.delete_topics(&[absent, name.clone()]).await.unwrap();
    assert_eq!(deleted[0].as_ref().unwrap_err().code, Some(3));
    assert_eq!(deleted[1], Ok(()));
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn bad_topics_fail_alone_in_the_brokers_words() {
    let admin = admin().await;
    let name = unique("bad");
    let config = BTreeMap::from([("no.such.key".to_owned(), "1".to_owned())]);
    let wanted = [
        NewTopic { config, ..topic(&format!("{name}.config"), 1) },
        topic(&format!("{name}.good"), 1),
        topic("not a name", 1),
        NewTopic { replicas: 99, ..topic(&format!("{name}.replicas"), 1) },
        topic(&format!("{name}.partitions"), 0),
    ];
    let results = admin.create_topics(&wanted, false).await.unwrap();
    let codes: Vec<_> = results.iter().map(|r| r.as_ref().err().and_then(|e| e.code)).collect();
    assert_eq!(codes, [Some(40), None, Some(17), Some(38), Some(37)], "{results:?}");
    assert!(results[0].as_ref().unwrap_err().message.contains("no.such.key"), "{results:?}");
    all(admin.delete_topics(&[format!("{name}.good")]).await.unwrap());
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn configurations_change_key_by_key() {
    let admin = admin().await;
    let name = unique("config");
    all(admin.create_topics(&[topic(&name, 1)], false).await.unwrap());
    let of_topic = ConfigResource::Topic(name.clone());
    let delta = |changes: &[(&str, Option<&str>)]| ConfigDelta {
        resource: of_topic.clone(),
        changes: changes.iter().map(|(k, v)| ((*k).to_owned(), v.map(str::to_owned))).collect(),
    };
    let set = delta(&[("retention.ms", Some("1234567")), ("cleanup.policy", Some("compact"))]);
    all(admin.alter_configs(std::slice::from_ref(&set), true).await.unwrap());
    all(admin.alter_configs(&[set], false).await.unwrap());
    all(admin.alter_configs(&[delta(&[("cleanup.policy", None)])], false).await.unwrap());
    let bad = admin.alter_configs(&[delta(&[("retention.ms", Some("soon"))])], true).await.unwrap();
    let e = bad[0].as_ref().unwrap_err();
    assert_eq!(e.code, Some(40));
    assert!(e.message.contains("retention.ms"), "{e}");

    let brokers = admin.describe_cluster().await.unwrap().brokers;
    let mut of = vec![of_topic.clone(), ConfigResource::Topic(unique("absent"))];
    of.extend(brokers.iter().map(|broker| ConfigResource::Broker(broker.id)));
    eventually("the change is seen", || async {
        let found = admin.describe_configs(&of).await.unwrap();
        let config = found[0].as_ref().ok()?;
        let retention = config.get("retention.ms").filter(|entry| entry.dynamic)?;
        let cleanup = config.get("cleanup.policy").filter(|entry| !entry.dynamic)?;
        assert_eq!(found[1].as_ref().unwrap_err().code, Some(3));
        for (found, broker) in found[2..].iter().zip(&brokers) {
            let id = found.as_ref().unwrap()["node.id"].value.clone();
            assert_eq!(id, Some(broker.id.to_string()), "each broker answers for itself");
            assert_eq!(found.as_ref().unwrap()["ssl.keystore.password"].value, None);
        }
        let values = (retention.value.as_deref(), cleanup.value.as_deref());
        (values == (Some("1234567"), Some("delete"))).then_some(())
    })
    .await;
    all(admin.delete_topics(&[name]).await.unwrap());
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn disks_and_the_cluster_are_described() {
    let admin = admin().await;
    let name = unique("disk");
    all(admin.create_topics(&[topic(&name, 3)], false).await.unwrap());
    let cluster = admin.describe_cluster().await.unwrap();
    assert!(!cluster.id.is_empty() && cluster.brokers.iter().all(|b| !b.fenced && b.port > 0));
    eventually("every replica lies on a disk", || async {
        let mut partitions = std::collections::BTreeSet::new();
        for broker in &cluster.brokers {
            let sizes = admin.log_dirs(broker.id).await.unwrap();
            partitions.extend(sizes.into_iter().filter(|s| s.topic == name && s.bytes >= 0).map(|s| s.partition));
        }
        (partitions.len() == 3).then_some(())
    })
    .await;
    let features = admin.features().await.unwrap();
    assert_eq!(features.metadata_version.as_deref(), Some("4.3-IV0"), "{features:?}");
    assert_eq!(features.delegation_tokens, Some(false), "the lab's brokers have no key to make them with");
    all(admin.delete_topics(&[name]).await.unwrap());
}
