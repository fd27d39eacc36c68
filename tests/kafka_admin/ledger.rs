//! The ledger.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir::kafka::KafkaLedger;
use weir::ports::{KafkaAdmin, Ledger, NewTopic, TopicError};

use crate::kafka_lab::{admin, all, lab, topic, unique};

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn what_was_committed_is_there_when_the_ledger_opens_again() {
    let admin = admin().await;
    let name = unique("ledger");
    let ledger = KafkaLedger::new(&lab().admin(), Arc::clone(&admin) as Arc<dyn KafkaAdmin>, &name).unwrap();
    assert!(matches!(ledger.commit(&[("k".into(), None)]).await, Err(TopicError::Unavailable(_))));
    assert_eq!(ledger.read().await, Ok(BTreeMap::new()));
    assert_eq!(
        admin.describe_topics(Some(std::slice::from_ref(&name))).await,
        Ok(Vec::new()),
        "reading makes no topic"
    );
    assert_eq!(ledger.open().await, Ok(BTreeMap::new()));
    let changes: Vec<_> = (0..1000).map(|i| (format!("key-{i:04}"), Some(format!("value-{i}")))).collect();
    let start = Instant::now();
    ledger.commit(&changes).await.unwrap();
    eprintln!("1,000 records committed in {:?}", start.elapsed());
    ledger.commit(&[("key-0000".into(), None), ("key-0001".into(), Some("new".into()))]).await.unwrap();
    for pause in [0, 0, 0, 300, 300] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let start = Instant::now();
        ledger.commit(&[("key-0002".into(), Some("value-2".into()))]).await.unwrap();
        eprintln!("1 record committed in {:?} after {pause} ms", start.elapsed());
    }

    let mut wanted: BTreeMap<_, _> = changes.into_iter().filter_map(|(k, v)| v.map(|v| (k, v))).collect();
    wanted.remove("key-0000");
    wanted.insert("key-0001".into(), "new".into());
    let start = Instant::now();
    assert_eq!(ledger.open().await.as_ref(), Ok(&wanted));
    eprintln!("ledger of {} opened in {:?}", wanted.len(), start.elapsed());

    let second = KafkaLedger::new(&lab().admin(), Arc::clone(&admin) as Arc<dyn KafkaAdmin>, &name).unwrap();
    assert_eq!(second.read().await.as_ref(), Ok(&wanted));
    ledger.commit(&[("key-0003".into(), None)]).await.expect("reading puts no writer out of office");
    wanted.remove("key-0003");
    assert_eq!(second.open().await.as_ref(), Ok(&wanted), "opening goes on from what was read");
    let late = [("late".to_owned(), Some("write".to_owned()))];
    assert_eq!(ledger.commit(&late).await, Err(TopicError::Fenced));
    assert_eq!(ledger.commit(&late).await, Err(TopicError::Fenced), "it stays fenced");
    second.commit(&[("last".into(), Some("word".into()))]).await.unwrap();
    wanted.insert("last".into(), "word".into());
    assert_eq!(second.open().await, Ok(wanted));
    all(admin.delete_topics(&[name]).await.unwrap());
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_topic_that_forgets_is_no_ledger() {
    let admin = admin().await;
    let (forgetful, wide) = (unique("forgetful"), unique("wide"));
    let config = BTreeMap::from([("cleanup.policy".to_owned(), "compact".to_owned())]);
    let compacted = NewTopic { config, ..topic(&wide, 2) };
    all(admin.create_topics(&[topic(&forgetful, 1), compacted], false).await.unwrap());
    for (name, why) in [(&forgetful, "cleanup.policy=delete"), (&wide, "2 partitions")] {
        let ledger = KafkaLedger::new(&lab().admin(), Arc::clone(&admin) as Arc<dyn KafkaAdmin>, name).unwrap();
        let e = ledger.open().await.unwrap_err();
        assert!(e.to_string().contains(why), "{e}");
    }
    all(admin.delete_topics(&[forgetful, wide]).await.unwrap());
}
