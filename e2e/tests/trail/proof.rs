//! Whoever changes the record is found out. Kafka lets nobody change a record in its place, so what somebody with the brokers' disks
//! could make of the topic stands in topics of its own.

use weir::api::AuditTrail;
use weir::domain::audit::chain::{self, Record};
use weir::kafka::{AuditLog, Stored};
use weir::ports::TopicError;

use crate::events::verify;
use crate::harness::Harness;

/// The audit topic's records.
async fn records(h: &Harness) -> Vec<Record> {
    let log = log(h, "weir-audit").await;
    let take = |all: &mut Vec<Record>, stored: Stored| {
        all.push(stored.record);
        Ok(())
    };
    log.read(Vec::new(), take).await.unwrap()
}

async fn log(h: &Harness, topic: &str) -> AuditLog {
    AuditLog::connect(&h.brokers.login(), "weir-e2e", topic, None).await.unwrap()
}

/// Whether a topic with these records is proven, and what is said of it.
async fn verify_these(h: &Harness, name: &str, records: &[Record]) -> (bool, String) {
    let topic = format!("weir-audit-{name}-{}", jiff::Timestamp::now().as_millisecond());
    let copy = log(h, &topic).await;
    copy.open(1).await.unwrap();
    copy.append(records).await.unwrap();
    let said = verify(&["--topic", &topic]).await;
    h.brokers.delete_topic(&topic).await;
    said
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_record_that_was_changed_removed_reordered_or_cut_off_is_found() {
    let h = Harness::start().await;
    let platform = h.platform();
    let signed = platform.until("a checkpoint covers some records", || async {
        let status = platform.get::<AuditTrail>("default").await.and_then(|t| t.status).unwrap_or_default();
        status.signed_records.filter(|n| *n > 4).ok_or_else(|| format!("{status:#?}"))
    });
    let signed = usize::try_from(signed.await).unwrap();
    let whole = records(&h).await;
    let (proven, said) = verify_these(&h, "copy", &whole).await;
    assert!(proven, "{said}");
    let tells_one = |at: &usize| String::from_utf8_lossy(&whole[*at].value).contains("\"count\":1,");
    let middle = (whole.len() / 2..whole.len() - 2).find(tells_one).expect("most events happened once");
    // Another test may have put what is not Weir's before it.
    let (_, link) = chain::read(&whole[middle].value).unwrap();
    let change = |what: &dyn Fn(&mut Vec<Record>)| {
        let mut records = whole.clone();
        what(&mut records);
        records
    };
    let tampered = change(&|all| {
        let text = String::from_utf8(all[middle].value.clone()).unwrap();
        all[middle].value = text.replacen("\"count\":1,", "\"count\":2,", 1).into_bytes();
    });
    let cases = [
        ("tampered", tampered, format!("record {} is not the one", link.sequence)),
        ("removed", change(&|all| drop(all.remove(middle))), "records were removed".to_owned()),
        ("reordered", change(&|all| all.swap(middle, middle + 1)), "put in another order".to_owned()),
        ("repeated", change(&|all| all.insert(middle, all[middle].clone())), "repeated".to_owned()),
        ("headless", change(&|all| drop(all.remove(0))), "records were removed".to_owned()),
        // The AuditTrail knows a checkpoint of more.
        ("cut", change(&|all| all.truncate(signed - 1)), "cut off".to_owned()),
        ("foreign", change(&|all| all[middle].value = b"{\"a\": 1}".to_vec()), "is not Weir's".to_owned()),
    ];
    for (name, records, words) in cases {
        let (proven, said) = verify_these(&h, name, &records).await;
        assert!(!proven && said.contains(&words), "{name}: {said}");
    }
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn whoever_opens_the_topic_shuts_the_writer_before_it_out_for_ever() {
    let h = Harness::start().await;
    let topic = format!("weir-audit-fenced-{}", jiff::Timestamp::now().as_millisecond());
    let (stale, next) = (log(&h, &topic).await, log(&h, &topic).await);
    let record = |n: u8| Record { key: n.to_string(), headers: Vec::new(), value: vec![n] };
    stale.open(10).await.unwrap();
    stale.append(&[record(1)]).await.unwrap();
    assert_eq!(next.open(10).await.unwrap().len(), 1);
    for _ in 0..2 {
        assert_eq!(stale.append(&[record(2)]).await, Err(TopicError::Fenced));
    }
    next.append(&[record(3)]).await.unwrap();
    let there = next.open(10).await.unwrap();
    assert_eq!(there.iter().map(|s| s.record.value[0]).collect::<Vec<_>>(), [1, 3]);
    h.brokers.delete_topic(&topic).await;
}
