//! A receiver of what is on record: each event, in order, also after it was away; what it will never take is a dead letter.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, header};
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};
use weir::api::{AuditTrail, Reason, StreamClient};

use crate::harness::https;
use crate::harness::manifests::client;
use crate::harness::operator::Operator;
use crate::harness::records;
use crate::harness::shell::try_run;
use crate::harness::{Harness, SOON, until};
use crate::schema::is_cloudevent;

const TOKEN: &str = "a-token-that-only-weir-has";

/// What a receiver got, and what it answers.
struct Receiver {
    got: Mutex<Vec<Value>>,
    answers: AtomicU16,
    /// Which event it cannot read.
    cannot_read: Mutex<Option<String>>,
    faults: Mutex<Vec<String>>,
}

impl Receiver {
    fn take(&self, headers: &HeaderMap, body: &Bytes) -> StatusCode {
        let fault = |why: String| self.faults.lock().unwrap().push(why);
        if headers.get(header::AUTHORIZATION).is_none_or(|v| v != format!("Bearer {TOKEN}").as_str()) {
            fault(format!("{:?}", headers.get(header::AUTHORIZATION)));
        }
        let type_ = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        if !type_.starts_with("application/cloudevents-batch+json") {
            fault(type_.to_owned());
        }
        let status = StatusCode::from_u16(self.answers.load(Ordering::SeqCst)).unwrap();
        if !status.is_success() {
            return status;
        }
        let batch: Vec<Value> = serde_json::from_slice(body).unwrap();
        let cannot = self.cannot_read.lock().unwrap().clone();
        if batch.iter().any(|e| cannot.as_deref().is_some_and(|c| e["subject"].as_str().unwrap().contains(c))) {
            return StatusCode::UNPROCESSABLE_ENTITY;
        }
        self.got.lock().unwrap().extend(batch);
        status
    }

    /// Sequences in the order in which each came for the first time.
    fn sequences(&self) -> Vec<u64> {
        let got = self.got.lock().unwrap();
        let mut seen = BTreeSet::new();
        let all = got.iter().map(|e| e["data"]["metadata"]["sequence"].as_u64().unwrap());
        all.filter(|sequence| seen.insert(*sequence)).collect()
    }

    fn has(&self, name: &str) -> bool {
        self.got.lock().unwrap().iter().any(|e| e["subject"].as_str().unwrap().contains(name))
    }
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_receiver_gets_each_event_in_order_and_what_it_cannot_read_is_a_dead_letter() {
    let h = Harness::start().await;
    let receiver = Arc::new(Receiver {
        got: Mutex::default(),
        answers: AtomicU16::new(200),
        cannot_read: Mutex::default(),
        faults: Mutex::default(),
    });
    let of_route = receiver.clone();
    let app = Router::new().fallback(move |headers: HeaderMap, body: Bytes| {
        let status = of_route.take(&headers, &body);
        async move { status }
    });
    let (url, ca, serving) = https::serve(app).await;
    // What was put on record before comes, too: names of this run's own.
    let run = jiff::Timestamp::now().as_millisecond();
    let named = |name: &str| format!("{name}-{run}");
    h.own_namespace()
        .apply_value(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "siem"},
            "stringData": {"token": TOKEN, "ca.crt": ca}}))
        .await;
    let platform = h.platform();
    let webhook = |webhook: Value| json!({"spec": {"webhook": webhook}});
    platform.patch::<AuditTrail>("default", webhook(json!({"url": url, "secretRef": {"name": "siem"}}))).await;
    let consumer = h.tenant("consumer").await;
    consumer.apply(&client(&named("first"))).await;
    consumer.ready::<StreamClient>(&named("first")).await;
    arrives(&receiver, &named("first")).await;
    platform.says::<AuditTrail>("default", "WebhookDelivered", "True", Reason::Ready, &[]).await;

    // It is away for a while: events wait, and nothing is lost.
    receiver.answers.store(503, Ordering::SeqCst);
    consumer.apply(&client(&named("second"))).await;
    consumer.ready::<StreamClient>(&named("second")).await;
    platform.says::<AuditTrail>("default", "WebhookDelivered", "False", Reason::WebhookWaiting, &["503"]).await;
    assert!(!receiver.has(&named("second")));
    receiver.answers.store(200, Ordering::SeqCst);
    arrives(&receiver, &named("second")).await;

    // One that it cannot read holds nothing up.
    *receiver.cannot_read.lock().unwrap() = Some(named("third"));
    consumer.apply(&client(&named("third"))).await;
    consumer.ready::<StreamClient>(&named("third")).await;
    consumer.apply(&client(&named("fourth"))).await;
    consumer.ready::<StreamClient>(&named("fourth")).await;
    arrives(&receiver, &named("fourth")).await;
    assert!(!receiver.has(&named("third")));
    let letters = records::read(&h.brokers.login(), "weir-e2e-letters", "weir-audit-dead-letters").unwrap();
    assert!(letters.values().flatten().any(|l| l.contains(&named("third"))), "{letters:#?}");

    // That is said until it takes a whole batch again.
    *receiver.cannot_read.lock().unwrap() = Some(String::new());
    consumer.apply(&client(&named("none"))).await;
    let letters = ["weir-audit-dead-letters"];
    platform.says::<AuditTrail>("default", "WebhookDelivered", "False", Reason::WebhookRefused, &letters).await;
    *receiver.cannot_read.lock().unwrap() = None;
    consumer.apply(&client(&named("fifth"))).await;
    arrives(&receiver, &named("fifth")).await;
    platform.says::<AuditTrail>("default", "WebhookDelivered", "True", Reason::Ready, &[]).await;

    // Another leader goes on where the one before was, and leaves nothing out.
    receiver.answers.store(503, Ordering::SeqCst);
    consumer.apply(&client(&named("sixth"))).await;
    consumer.ready::<StreamClient>(&named("sixth")).await;
    let operator = Operator::of(&h);
    let killed = operator.kill_leader().await;
    receiver.answers.store(200, Ordering::SeqCst);
    operator.led_by_another_than(&killed).await;
    arrives(&receiver, &named("sixth")).await;
    let mut sequences = receiver.sequences();
    assert!(sequences.is_sorted(), "{sequences:?}");
    let letters = records::read(&h.brokers.login(), "weir-e2e-letters", "weir-audit-dead-letters").unwrap();
    let letters = letters.values().flatten().map(|l| serde_json::from_str::<Value>(l).unwrap());
    let refused: BTreeSet<_> = letters.map(|l| l["metadata"]["sequence"].as_u64().unwrap()).collect();
    let (first, last) = (sequences[0], sequences[sequences.len() - 1]);
    sequences.extend(refused.range(first..last));
    sequences.sort_unstable();
    assert!(sequences.into_iter().eq(first..=last), "each event is taken, or a dead letter");
    // What it has is proven with the checkpoints among it. Another test signed some with a key that is gone.
    let present = platform.get::<AuditTrail>("default").await.and_then(|t| t.status?.checkpoint).unwrap();
    let signer = |checkpoint: &str| checkpoint.split('.').next().map(str::to_owned);
    let checkpoints: Vec<_> = {
        let got = receiver.got.lock().unwrap();
        let signed = got.iter().filter(|e| e["type"] == "dev.weir.audit.checkpoint.v1");
        let all = signed.map(|e| e["data"]["message"].as_str().unwrap().to_owned());
        all.filter(|checkpoint| signer(checkpoint) == signer(&present)).collect()
    };
    assert!(!checkpoints.is_empty());
    let file = std::env::temp_dir().join(format!("weir-checkpoints-{}", std::process::id()));
    std::fs::write(&file, checkpoints.join("\n")).unwrap();
    let (proven, said) = try_run("weir", &["audit", "verify", "--checkpoints", &file.display().to_string()], "").await;
    std::fs::remove_file(&file).unwrap();
    assert!(proven, "{said}");
    platform.patch::<AuditTrail>("default", webhook(Value::Null)).await;
    serving.abort();
    h.own_namespace().delete::<Secret>("siem").await;
    receiver.got.lock().unwrap().iter().for_each(is_cloudevent);
    let faults = receiver.faults.lock().unwrap().clone();
    assert!(faults.is_empty(), "{faults:?}");
    consumer.end().await;
}

async fn arrives(receiver: &Receiver, subject: &str) {
    until(SOON + Duration::from_secs(30), &[], &format!("{subject} arrives"), || async {
        if receiver.has(subject) { Ok(()) } else { Err(format!("{} events so far", receiver.sequences().len())) }
    })
    .await;
}
