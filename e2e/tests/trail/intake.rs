//! The intake as others see it: who may post, what is taken, and that nothing that is posted does harm.

use std::time::Duration;

use serde_json::json;
use weir::api::Action;
use weir_e2e::lab::kafka::intake_token;
use weir_e2e::lab::pki::INTAKE;

use crate::events::{export, verify};
use crate::harness::operator::Operator;
use crate::harness::shell::try_run;
use crate::harness::{Harness, SOON, until};

/// Posts with `curl`, as a shipper would; the status, and what is answered.
pub struct Poster {
    pub ca: String,
    pub token: String,
}

impl Poster {
    pub fn of(h: &Harness) -> Self {
        Self { ca: h.lab.kafka.ca.display().to_string(), token: intake_token(&h.lab.state).unwrap() }
    }

    pub fn url(cluster: &str) -> String {
        format!("https://{INTAKE}/v1/clusters/{cluster}/logs")
    }

    async fn post(&self, token: &str, cluster: &str, arguments: &[&str], body: &str) -> (u16, String) {
        let url = Self::url(cluster);
        let header = format!("Authorization: Bearer {token}");
        let all = [
            &["-sS", "--cacert", &self.ca, "-H", &header, "-w", "\n%{http_code}", "--data-binary", "@-"],
            arguments,
            &[url.as_str()],
        ]
        .concat();
        // While nobody leads, connections are closed before anything is sent: who posts comes again.
        until(SOON, &[], "the intake answers", || async {
            let (_, text) = try_run("curl", &all, body).await;
            let (answer, status) = text.trim_end().rsplit_once('\n').unwrap_or(("", &text));
            let status = status.trim().parse().ok().filter(|status| *status > 0);
            let is_closed = ["curl: (7)", "curl: (35)"].iter().any(|failure| text.contains(failure));
            assert!(status.is_some() || is_closed, "{text}");
            status.map(|status| (status, answer.to_owned())).ok_or(text)
        })
        .await
    }

    pub async fn json(&self, body: &str) -> (u16, String) {
        self.post(&self.token, "main", &["-H", "Content-Type: application/json"], body).await
    }
}

/// A record of a broker that refused this principal to read this topic.
pub fn denied(principal: &str, name: &str) -> String {
    let message = format!(
        "Principal = User:{principal} is Denied operation = READ from host = 192.0.2.7 on resource = Topic:LITERAL:{name} for \
         request = Fetch with resourceRefCount = 1 based on rule DefaultDeny"
    );
    json!({"logger": "kafka.authorizer.logger", "message": message}).to_string()
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn only_who_has_the_token_of_a_cluster_may_tell_of_it() {
    let h = Harness::start().await;
    let poster = Poster::of(&h);
    let body = denied("somebody", "t");
    let json = ["-H", "Content-Type: application/json"];
    let began = jiff::Timestamp::now();
    for (token, cluster) in [("wrong", "main"), ("", "main"), (poster.token.as_str(), "other"), ("wrong", "other")] {
        let (status, said) = poster.post(token, cluster, &json, &body).await;
        assert_eq!(status, 401, "{said}");
        assert!(said.contains("Authorization: Bearer TOKEN"), "the same for all: {said}");
    }
    assert_eq!(poster.json(&body).await.0, 200);
    h.turned_away("weir-intake", began, 4).await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn what_shippers_send_is_taken_and_what_is_no_log_is_refused_with_the_reason() {
    let h = Harness::start().await;
    let poster = Poster::of(&h);
    let text = ["-H", "Content-Type: text/plain"];
    let line = "[2026-11-28 05:18:47,920] INFO nothing that matters (kafka.server.KafkaServer)";
    assert_eq!(poster.post(&poster.token, "main", &text, line).await.0, 200);
    for (body, status, words) in
        [("{\"a\":", 400, "no JSON"), ("[1, 2]", 400, "no JSON object"), ("\u{0}\u{1}garbage", 400, "no JSON")]
    {
        let (got, said) = poster.json(body).await;
        assert!(got == status && said.contains(words), "{body:?}: {got} {said}");
    }
    let huge = denied("somebody", &"x".repeat(6 * 1024 * 1024));
    assert_eq!(poster.json(&huge).await.0, 413);
    let protobuf = ["-H", "Content-Type: application/x-protobuf"];
    let (status, said) = poster.post(&poster.token, "main", &protobuf, "x").await;
    assert!(status == 415 && said.contains("encoding: json"), "{said}");
}

/// A name that a client chose, with the rest of another line in it; a clock that is wrong; fields that only Weir fills.
#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn what_is_forged_is_told_of_nobody_else() {
    let h = Harness::start().await;
    let poster = Poster::of(&h);
    let forger = format!("forger-{}", jiff::Timestamp::now().as_millisecond());
    let name = "t for request = Fetch\n2026-11-28 05:18:47,920 INFO kafka.authorizer.logger: Principal = User:victim is Denied \
                operation = WRITE from host = 9.9.9.9 on resource = Topic:LITERAL:secret";
    let mut record: serde_json::Value = serde_json::from_str(&denied(&forger, name)).unwrap();
    record["time"] = json!("2001-01-01T00:00:00Z");
    record["severity"] = json!("Critical");
    record["actor"] = json!("weir");
    assert_eq!(poster.json(&record.to_string()).await.0, 200);
    let own = h.own_namespace();
    let event = until(Duration::from_secs(30), &[], "what the forger was refused", || async {
        let all = own.security_events(Action::AccessDenied).await;
        all.into_iter().find(|e| e.spec.actor.name == forger).ok_or_else(|| "nothing".to_owned())
    })
    .await;
    let spec = event.spec;
    assert_eq!((spec.principals.as_slice(), spec.count), ([forger.clone()].as_slice(), 1));
    let client = spec.client.unwrap();
    assert_eq!(client.address.as_deref(), Some("192.0.2.7"));
    assert!(!client.resource_name.unwrap().contains('\n') && !spec.message.contains('\n'));
    assert_eq!(format!("{:?}", spec.severity), "Medium");
    assert!(jiff::Timestamp::now().duration_since(spec.time.0) < jiff::SignedDuration::from_mins(2), "{}", spec.time.0);
    let all = own.security_events(Action::AccessDenied).await;
    assert!(all.iter().all(|e| e.spec.actor.name != "victim"), "{all:#?}");
}

/// Its window would have been open for five seconds more.
#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn what_was_heard_last_is_on_record_though_its_leader_ends() {
    let h = Harness::start().await;
    let (poster, operator) = (Poster::of(&h), Operator::of(&h));
    let last = format!("last-{}", jiff::Timestamp::now().as_millisecond());
    operator.governing().await;
    assert_eq!(poster.json(&denied(&last, "t")).await.0, 200);
    let ended = operator.end_leader().await;
    operator.led_by_another_than(&ended).await;
    let own = h.own_namespace();
    own.until("it is on record, and shown", || async {
        let all = export().await;
        let events = all.iter().map(|e| &e["unmapped"]["event"]);
        let counted: i64 =
            events.filter(|e| e["actor"]["name"] == last.as_str()).filter_map(|e| e["count"].as_i64()).sum();
        let shown = own.security_events(Action::AccessDenied).await;
        let is_shown = shown.iter().any(|e| e.spec.actor.name == last);
        if counted == 1 && is_shown { Ok(()) } else { Err(format!("{counted} {is_shown}")) }
    })
    .await;
    let (proven, said) = verify(&[]).await;
    assert!(proven, "{said}");
}
