//! What a broker refuses a real client is seen by whom it concerns. The brokers' own log4j2 ships it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir::api::{Action, ActorType, EventSource, SecurityEvent, StreamCluster};
use weir::domain::secret::Secret;
use weir::ports::{KafkaSasl, ProbeOutcome};

use crate::events::{metric, recorded, seen, verify};
use crate::harness::manifests::{binding, client};
use crate::harness::{CLUSTER, Harness, SOON, records, until};

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn what_a_broker_refuses_a_client_is_seen_by_owner_and_consumer() {
    let h = Harness::start().await;
    let (owner, consumer) = h.owner_and_consumer().await;
    consumer.apply(&client("app")).await;
    let principal = consumer.principal("app").await;
    let login = consumer.login("app").await;
    let topic = format!("{}.orders.placed", owner.name);
    let start = Instant::now();
    h.brokers.let_fetch(&login, &topic, ProbeOutcome::Denied).await;
    let of_topic = |e: &SecurityEvent| {
        e.spec.client.as_ref().is_some_and(|c| c.resource_name.as_deref() == Some(topic.as_str()))
            && e.spec.principals == [principal.clone()]
    };
    let owners = seen(&owner, Action::AccessDenied, of_topic).await;
    eprintln!("a denial is a SecurityEvent after {:.1} s", start.elapsed().as_secs_f64());
    let consumers = seen(&consumer, Action::AccessDenied, of_topic).await;
    assert_eq!(owners.spec, consumers.spec, "one event, under one uid");
    let spec = owners.spec;
    assert_eq!((spec.actor.name.as_str(), spec.actor.type_), (principal.as_str(), ActorType::Principal));
    assert_eq!((spec.object.kind.as_str(), spec.object.name.as_str()), ("DataProduct", "orders"));
    assert_eq!(spec.source, EventSource::BrokerLog);
    let request = spec.client.unwrap();
    assert_eq!(request.operation.as_deref(), Some("Read"));
    assert!(request.address.is_some_and(|a| a.parse::<std::net::IpAddr>().is_ok()));
    // Each of the brokers refused at least once, within one window or two.
    let counts: i64 = owner.security_events(Action::AccessDenied).await.iter().map(|e| e.spec.count).sum();
    assert!(counts >= 3, "{counts}");
    // On record before it was shown.
    let record = recorded("AccessDenied", &owner.name).await;
    assert!(record.iter().any(|e| e["uid"] == spec.uid), "{record:#?}");
    // What is bound to a role may read, and is refused no more.
    consumer.apply(&binding("b", &owner.name, "reader", "app")).await;
    h.brokers.let_fetch(&login, &topic, ProbeOutcome::Allowed).await;
    consumer.end().await;
    owner.end().await;
    let (proven, said) = verify(&[]).await;
    assert!(proven, "{said}");
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_login_that_fails_is_an_event_of_the_cluster() {
    let h = Harness::start().await;
    let consumer = h.tenant("consumer").await;
    consumer.apply(&client("app")).await;
    consumer.principal("app").await;
    let mut login = consumer.login("app").await;
    let Some(KafkaSasl::ScramSha512 { password, .. }) = &mut login.sasl else { panic!("{login:?}") };
    *password = Secret::new("wrong");
    let begun = jiff::Timestamp::now();
    let outcome = h.brokers.fetch(&login, "any").await;
    assert!(!matches!(outcome, Ok(ProbeOutcome::Allowed | ProbeOutcome::Denied)), "{outcome:?}");
    // Others fail to log in, too, and have done so before.
    let is_it = |e: &SecurityEvent| e.spec.time.0 > begun && e.spec.message.contains("SCRAM-SHA-512");
    let event = seen(&h.own_namespace(), Action::AuthenticationFailed, is_it).await;
    assert_eq!(event.spec.cluster.as_deref(), Some("main"));
    assert!(event.spec.client.unwrap().address.is_some());
    consumer.end().await;
}

/// With an own certificate that brokers still believe, a version that was retired gets as far as to be refused by name.
#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_retired_credential_that_is_still_tried_is_called_that() {
    let h = Harness::start().await;
    let consumer = h.tenant("consumer").await;
    consumer.apply(&crate::harness::manifests::client_with("app", "type: Mtls")).await;
    let principal = consumer.principal("app").await;
    let login = consumer.login("app").await;
    consumer.delete_and_wait::<weir::api::StreamClient>("app").await;
    let until_told = Duration::from_secs(30);
    until(until_told, &[&consumer.name], "a retired credential that is tried", || async {
        let _ = h.brokers.fetch(&login, "any").await;
        let all = consumer.security_events(Action::RetiredCredentialUsed).await;
        let own = all.iter().find(|e| e.spec.principals == [principal.clone()]);
        own.map(|_| ()).ok_or_else(|| format!("{all:#?}"))
    })
    .await;
    metric(&h, "weir_security_events_total{action=\"RetiredCredentialUsed\"}", |n| n >= 1.0).await;
    consumer.end().await;
}

/// Confluent Server cannot be had here: its audit log is played by records that are as it publishes them.
#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn logs_that_are_written_into_a_topic_are_read_there() {
    let h = Harness::start().await;
    let (owner, consumer) = h.owner_and_consumer().await;
    let logs = format!("{}-logs", consumer.name);
    h.brokers.make_topic(&logs).await;
    let platform = h.platform();
    let with = |topics: Value| json!({"spec": {"brokerLogs": {"topics": topics}}});
    platform.patch::<StreamCluster>(CLUSTER, with(json!([logs]))).await;
    let topic = format!("{}.orders.placed", owner.name);
    let event = json!({
        "specversion": "1.0", "id": "1", "source": "crn:///kafka=abc", "type": "io.confluent.kafka.server/authorization",
        "datacontenttype": "application/json", "subject": format!("crn:///kafka=abc/topic={topic}"),
        "time": jiff::Timestamp::now().to_string(), "route": "confluent-audit-log-events",
        "data": {
            "serviceName": "crn:///kafka=abc", "methodName": "kafka.Metadata", "resourceName": format!("crn:///kafka=abc/topic={topic}"),
            "authenticationInfo": {"principal": "User:alice", "principalResourceId": ""},
            "authorizationInfo": {"granted": false, "operation": "Describe", "resourceType": "Topic", "resourceName": topic,
                "patternType": "LITERAL"},
            "request": {"correlation_id": "53", "client_id": "console-producer"},
            "requestMetadata": {"client_address": "/172.21.0.1"},
        },
    });
    // Followed from the next record on: until it is, what is written is not heard.
    let told = until(SOON, &[&owner.name], "what stands in the topic is told", || async {
        let login = h.brokers.login();
        let (logs, values) = (logs.clone(), vec![event.to_string()]);
        tokio::task::spawn_blocking(move || records::write(&login, &logs, 0, &values, None)).await.unwrap();
        let all = owner.security_events(Action::AccessDenied).await;
        all.into_iter().find(|e| e.spec.actor.name == "alice").ok_or_else(|| "nothing".to_owned())
    })
    .await;
    assert_eq!(told.spec.source, EventSource::ConfluentAuditLog);
    assert_eq!(told.spec.client.unwrap().address.as_deref(), Some("172.21.0.1"));
    platform.patch::<StreamCluster>(CLUSTER, with(Value::Null)).await;
    h.brokers.delete_topic(&logs).await;
    consumer.end().await;
    owner.end().await;
}
