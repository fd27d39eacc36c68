//! Ten thousand refusals a second: SecurityEvents stay within their bounds, nothing is lost from the counts, and Weir does its work.

use std::time::{Duration, Instant};

use serde_json::json;
use weir::api::{Action, RoleBinding};
use weir::kafka::KafkaAdminClient;
use weir::ports::{ConfigResource, KafkaAdmin};

use crate::events::{export, metric};
use crate::harness::manifests::{binding, client};
use crate::harness::{Harness, SOON, until};
use crate::intake::Poster;

/// How many refusals are posted each second, and for how long.
const A_SECOND: usize = 10_000;
const SECONDS: usize = 12;
/// In so many posts.
const POSTS: usize = 10;

/// One post: fifty principals, and topics that no other record has, as somebody would send who wants to fill etcd.
fn post(run: &str, second: usize, post: usize) -> String {
    let record = |n: usize| {
        let message = format!(
            "Principal = User:{run}-{} is Denied operation = READ from host = 192.0.2.{} on resource = \
             Topic:LITERAL:storm.{second}.{post}.{n} for request = Fetch with resourceRefCount = 1 based on rule DefaultDeny",
            n % 50,
            n % 250
        );
        json!({"logger": "kafka.authorizer.logger", "message": message})
    };
    let records: Vec<_> = (0..A_SECOND / POSTS).map(record).collect();
    json!(records).to_string()
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_storm_of_refusals_stays_within_bounds_and_is_counted() {
    let h = Harness::start().await;
    let (owner, consumer) = h.owner_and_consumer().await;
    let own = h.own_namespace();
    // Sent, and shown of it, by this clock.
    let begun = jiff::Timestamp::now();
    let poster = Poster::of(&h);
    let run = format!("storm-{}", jiff::Timestamp::now().as_millisecond());
    let start = Instant::now();
    let mut put_off = 0;
    for second in 0..SECONDS {
        let began = Instant::now();
        for number in 0..POSTS {
            let body = post(&run, second, number);
            // Put off, it is sent again, as a shipper would.
            loop {
                let (status, said) = poster.json(&body).await;
                if status == 200 {
                    break;
                }
                assert_eq!(status, 503, "{said}");
                put_off += 1;
            }
        }
        tokio::time::sleep(Duration::from_secs(1).saturating_sub(began.elapsed())).await;
        if second == SECONDS / 2 {
            // Meanwhile somebody wants access.
            consumer.apply(&client("app")).await;
            consumer.apply(&binding("b", &owner.name, "reader", "app")).await;
            let asked = Instant::now();
            consumer.ready::<RoleBinding>("b").await;
            eprintln!("amid the storm a binding is Ready after {:.1} s", asked.elapsed().as_secs_f64());
        }
    }
    let took = start.elapsed();
    let sent = A_SECOND * SECONDS;
    let rate = sent as f64 / took.as_secs_f64();
    eprintln!("{sent} refusals in {:.1} s: {rate:.0} a second; {put_off} posts were put off", took.as_secs_f64());
    // Windows close within ten seconds; then everything is on record.
    own.until("all of it is counted on record", || async {
        let counted: i64 = export()
            .await
            .iter()
            .map(|e| &e["unmapped"]["event"])
            .filter(|e| e["action"] == "AccessDenied" && e["actor"]["name"].as_str().unwrap().starts_with(&run))
            .map(|e| e["count"].as_i64().unwrap())
            .sum();
        if counted == i64::try_from(sent).unwrap() { Ok(()) } else { Err(format!("{counted} of {sent}")) }
    })
    .await;
    let all = own.all::<weir::api::SecurityEvent>().await;
    let of_brokers: Vec<_> = all.iter().filter(|e| e["spec"]["source"] == "BrokerLog").collect();
    let made = of_brokers
        .iter()
        .filter(|e| e["metadata"]["creationTimestamp"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap() >= begun);
    // A burst of 500, and ten a second since.
    let (made, most) = (made.count(), 700 + 10 * usize::try_from(start.elapsed().as_secs()).unwrap());
    eprintln!("{made} SecurityEvents were made of it, of {} that are kept", of_brokers.len());
    assert!((1..=most).contains(&made), "{made} were made, {most} at most");
    // A thousand are kept, and what came since it was last looked.
    assert!(of_brokers.len() <= 1_000 + most, "{} are kept", of_brokers.len());
    let summed = own
        .until("what was not shown is summed up", || async {
            let told = own.security_events(Action::EventsSummarised).await;
            let new: Vec<_> = told.into_iter().filter(|e| e.spec.time.0 >= begun).map(|e| e.spec.message).collect();
            if new.is_empty() { Err("nothing".to_owned()) } else { Ok(new) }
        })
        .await;
    eprintln!("summed up: {summed:?}");
    metric(&h, "weir_client_refusals_total", |n| n >= sent as f64).await;
    consumer.end().await;
    owner.end().await;
}

/// The same by a client of flesh and blood: brokers refuse it thousands of topics a second, and ship of that what their queues hold.
#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_client_that_tries_everything_is_told_of_in_a_few_events() {
    let h = Harness::start().await;
    let consumer = h.tenant("consumer").await;
    consumer.apply(&client("app")).await;
    let principal = consumer.principal("app").await;
    let admin = KafkaAdminClient::connect(&consumer.login("app").await, "weir-e2e-storm").await.unwrap();
    let start = Instant::now();
    let mut refused = 0;
    for round in 0.. {
        if start.elapsed() > Duration::from_secs(10) {
            break;
        }
        let topic = |n| ConfigResource::Topic(format!("storm.{round}.{n}"));
        let topics: Vec<_> = (0..1_000).map(topic).collect();
        let described = admin.describe_configs(&topics).await.unwrap();
        assert!(described.iter().all(Result::is_err));
        refused += topics.len();
    }
    let took = start.elapsed().as_secs_f64();
    eprintln!("{refused} topics were refused in {took:.1} s: {:.0} a second", refused as f64 / took);
    consumer
        .until("the burst is told", || async {
            let bursts = consumer.security_events(Action::DenialBurst).await;
            if bursts.is_empty() { Err("it is not".to_owned()) } else { Ok(()) }
        })
        .await;
    metric(&h, "weir_security_events_total{action=\"DenialBurst\"}", |n| n >= 1.0).await;
    let told =
        until(SOON * 3, &[], "windows are closed, on record, and no more is counted than was refused", || async {
            let of_it = |e: &&serde_json::Value| {
                e["action"] == "AccessDenied" && e["actor"]["name"].as_str() == Some(principal.as_str())
            };
            let all = export().await;
            let told: Vec<_> = all.iter().map(|e| &e["unmapped"]["event"]).filter(of_it).collect();
            let counted: i64 = told.iter().map(|e| e["count"].as_i64().unwrap()).sum();
            let together = told.iter().any(|e| e["reason"] == "TooManyDifferent");
            eprintln!("{} events count {counted} of {refused} refusals", told.len());
            // The brokers' queues alone hold more.
            if together && counted > 1_000 && counted <= i64::try_from(refused).unwrap() {
                Ok(told.len())
            } else {
                Err(format!("{counted}"))
            }
        })
        .await;
    // Twenty things are told apart at once; each window lasts five seconds at least.
    let most = 21 * (usize::try_from(start.elapsed().as_secs()).unwrap() / 5 + 1);
    assert!(told <= most, "{told} events, {most} at most");
    consumer.end().await;
}
