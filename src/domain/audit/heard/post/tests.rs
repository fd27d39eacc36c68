//! What brokers and shippers send, and what others would like them to have sent.

use proptest::prelude::{any, proptest};
use proptest::test_runner::Config;
use proptest::{prop_assert, prop_assert_eq};
use serde_json::json;

use super::{Post, Unfit, json, lines, record};
use crate::api::EventSource;
use crate::domain::audit::heard::weight::{OF_BODY, is_light};
use crate::domain::audit::heard::{Refusal, Refused, kafka};

/// The largest body that the intake takes, in bytes.
const LARGEST: usize = 4 * 1024 * 1024;
const DENIED: &str = "Principal = User:billing.invoicer~1a2b3c4d-1 is Denied operation = READ from host = 10.244.0.6 on resource = \
                      Topic:LITERAL:payments.orders.placed for request = Fetch with resourceRefCount = 1 based on rule DefaultDeny";
const FAILED: &str = "[SocketServer listenerType=BROKER, nodeId=0] Failed authentication with /10.244.0.1 \
                      (channelId=10.244.0.2:9092-10.244.0.1:40810-3-38) (Authentication failed during authentication due to \
                      invalid credentials with SASL mechanism SCRAM-SHA-512)";
const AUTHORIZER: &str = "kafka.authorizer.logger";
const SELECTOR: &str = "org.apache.kafka.common.network.Selector";

fn denied() -> Refusal {
    access("billing.invoicer~1a2b3c4d-1", "10.244.0.6", "payments.orders.placed")
}

fn access(principal: &str, address: &str, name: &str) -> Refusal {
    Refusal {
        what: Refused::Access {
            operation: "Read".into(),
            resource_type: "Topic".into(),
            resource_name: name.into(),
            api: Some("Fetch".into()),
        },
        principal: Some(principal.into()),
        address: Some(address.into()),
        why: None,
        at: None,
        source: EventSource::BrokerLog,
    }
}

fn failed() -> Refusal {
    let why =
        "Authentication failed during authentication due to invalid credentials with SASL mechanism SCRAM-SHA-512";
    Refusal {
        what: Refused::Login { mechanism: Some("SCRAM-SHA-512") },
        principal: None,
        address: Some("10.244.0.1".into()),
        why: Some(why.into()),
        at: None,
        source: EventSource::BrokerLog,
    }
}

#[test]
fn lines_of_kafka_are_understood_in_both_layouts() {
    let text = format!(
        "2026-11-28 05:18:47,920 INFO {AUTHORIZER}: {DENIED}\n\
         [2026-11-28 05:18:47,920] INFO {DENIED} ({AUTHORIZER})\n\
         2026-11-28 04:51:52,434 INFO {SELECTOR}: {FAILED}\n\
         [2026-11-28 04:51:52,434] INFO {FAILED} ({SELECTOR})\n\
         2026-11-28 04:50:27,524 INFO kafka.server.KafkaConfig: nothing that matters\n"
    );
    let post = lines(text.as_bytes());
    assert_eq!(post, Post { refusals: vec![denied(), denied(), failed(), failed()], others: 1 });
}

#[test]
fn older_brokers_and_other_names_of_hosts_are_understood() {
    let old = "Principal = User:CN=app,O=Example is Denied Operation = Describe from host = 10.0.0.9 on resource = \
               Group:LITERAL:a b for request = FindCoordinator with resourceRefCount = 1";
    let refusal = kafka::message(AUTHORIZER, old).unwrap();
    assert_eq!(refusal.principal.as_deref(), Some("CN=app,O=Example"));
    assert!(matches!(refusal.what, Refused::Access { resource_name, .. } if resource_name == "a b"));
    let named = "[SocketServer brokerId=1] Failed re-authentication with host.example/2001:db8:0:0:0:0:0:1 (SSL handshake failed)";
    let refusal = kafka::message(SELECTOR, named).unwrap();
    assert_eq!(refusal.address.as_deref(), Some("2001:db8::1"));
    assert_eq!(
        (refusal.what, refusal.why.as_deref()),
        (Refused::Login { mechanism: None }, Some("SSL handshake failed"))
    );
}

#[test]
fn what_was_allowed_is_no_refusal() {
    let allowed = DENIED.replace("Denied", "Allowed");
    assert_eq!(kafka::message(AUTHORIZER, &allowed), None);
    assert_eq!(kafka::message("kafka.request.logger", DENIED), None);
}

#[test]
fn json_of_every_shipper_is_understood() {
    let at = "2026-11-28T05:18:47.920Z";
    let own = json!({"time": at, "logger": AUTHORIZER, "message": DENIED});
    let whole_line =
        json!({"date": 1795843173.5, "log": format!("2026-11-28 05:18:47,920 INFO {AUTHORIZER}: {DENIED}")});
    let nested = json!({"log": own.to_string()});
    let otlp = json!({"resourceLogs": [{"scopeLogs": [{"scope": {}, "logRecords": [{
        "timeUnixNano": "1795843127920000000", "body": {"stringValue": DENIED},
        "attributes": [{"key": "log.logger", "value": {"stringValue": AUTHORIZER}}],
    }]}]}]});
    let dated = Refusal { at: Some(at.parse().unwrap()), ..denied() };
    let one = |value: &serde_json::Value| json(value.to_string().as_bytes()).unwrap().refusals;
    assert_eq!(one(&own), std::slice::from_ref(&dated));
    assert_eq!(one(&whole_line), [denied()]);
    assert_eq!(one(&nested), std::slice::from_ref(&dated));
    assert_eq!(one(&otlp), [Refusal { at: Some("2026-11-28T05:18:47.92Z".parse().unwrap()), ..denied() }]);
    let array = json(json!([own, whole_line]).to_string().as_bytes()).unwrap();
    let many = json(format!("{own}\n{whole_line}\n").as_bytes()).unwrap();
    assert_eq!((array.refusals.len(), many.refusals.len()), (2, 2));
}

/// As Fluent Bit's `http` output with `format json` sends what its `tail` input and its `kubernetes` filter made of a container's log,
/// without and with `Merge_Log`; and as Vector's `http` sink sends what its `kubernetes_logs` source read. By their documentation.
#[test]
fn what_fluent_bit_and_vector_send_of_a_containers_log_is_understood() {
    let line = json!({"time": "2026-11-28T05:18:47.920Z", "logger": AUTHORIZER, "message": DENIED}).to_string();
    let text = format!("[2026-11-28 05:18:47,920] INFO {DENIED} ({AUTHORIZER})");
    let pod = json!({"pod_name": "kafka-0", "namespace_name": "kafka", "container_name": "kafka", "host": "node-1",
        "labels": {"app": "kafka"}, "docker_id": "0a1b"});
    let of_vector = json!({"pod_name": "kafka-0", "pod_namespace": "kafka", "container_name": "kafka",
        "pod_labels": {"app": "kafka"}, "pod_ips": ["10.0.0.7"]});
    let fluent_bit = |log: &str| {
        json!([{"date": 1795843127.92, "time": "2026-11-28T05:18:47.920111222Z", "stream": "stdout", "_p": "F",
            "log": log, "kubernetes": pod}])
    };
    let mut merged = fluent_bit(&line);
    (merged[0]["logger"], merged[0]["message"]) = (json!(AUTHORIZER), json!(DENIED));
    let vector = |message: &str| {
        json!([{"file": "/var/log/pods/kafka_kafka-0_1/kafka/0.log", "kubernetes": of_vector, "message": message,
            "source_type": "kubernetes_logs", "stream": "stdout", "timestamp": "2026-11-28T05:18:47.920111222Z"}])
    };
    for sent in [fluent_bit(&line), fluent_bit(&text), merged, vector(&line), vector(&text)] {
        let refusals = json(sent.to_string().as_bytes()).unwrap().refusals;
        let [refusal] = refusals.as_slice() else { panic!("{refusals:?} of {sent:#}") };
        assert_eq!(Refusal { at: None, ..refusal.clone() }, denied(), "{sent:#}");
    }
}

/// An export as an OpenTelemetry Collector of v0.165 sends it by `e2e/kafka/otelcol.yaml`: each record is a line as the container's
/// log has it. The scope's name is no logger's.
#[test]
fn what_a_collector_reads_of_a_containers_log_is_understood() {
    let lines = [
        format!("2026-11-28 05:18:47,920 INFO {AUTHORIZER}: {DENIED}"),
        format!("[2026-11-28 05:18:47,920] INFO {DENIED} ({AUTHORIZER})"),
        json!({"time": "2026-11-28T05:18:47.920Z", "logger": AUTHORIZER, "message": DENIED}).to_string(),
        format!("2026-11-28 05:18:47,920 INFO {SELECTOR}: {FAILED}"),
    ];
    let record = |line: &String| {
        json!({"timeUnixNano": "1795843127920123456", "observedTimeUnixNano": "1795889188540518478",
            "body": {"stringValue": line}})
    };
    let records: Vec<_> = lines.iter().map(record).collect();
    let scope = "github.com/open-telemetry/opentelemetry-collector-contrib/receiver/filelogreceiver";
    let export =
        json!({"resourceLogs": [{"resource": {}, "scopeLogs": [{"scope": {"name": scope}, "logRecords": records}]}]});
    let at = Some("2026-11-28T05:18:47.920123456Z".parse().unwrap());
    let dated = |refusal: Refusal| Refusal { at, ..refusal };
    let refusals = vec![dated(denied()), dated(denied()), dated(denied()), dated(failed())];
    assert_eq!(json(export.to_string().as_bytes()), Ok(Post { refusals, others: 0 }));
}

#[test]
fn confluent_s_events_are_understood() {
    let event = |granted: bool| {
        json!({
            "specversion": "1.0", "type": "io.confluent.kafka.server/authorization", "id": "1",
            "source": "crn://mds.example/kafka=abc", "subject": "crn://mds.example/kafka=abc/topic=payments.orders.placed",
            "time": "2026-11-28T05:18:47.920Z", "datacontenttype": "application/json",
            "data": {
                "serviceName": "crn://mds.example/kafka=abc", "methodName": "kafka.Fetch",
                "resourceName": "crn://mds.example/kafka=abc/topic=payments.orders.placed",
                "authenticationInfo": {"principal": "User:billing.invoicer~1a2b3c4d-1"},
                "authorizationInfo": {"granted": granted, "operation": "Read", "resourceType": "Topic",
                    "resourceName": "payments.orders.placed", "patternType": "LITERAL"},
                "requestMetadata": {"client_address": "/10.244.0.6"},
            },
        })
    };
    let refused = json(event(false).to_string().as_bytes()).unwrap().refusals;
    let at = Some("2026-11-28T05:18:47.920Z".parse().unwrap());
    assert_eq!(refused, [Refusal { at, source: EventSource::ConfluentAuditLog, ..denied() }]);
    assert_eq!(json(event(true).to_string().as_bytes()).unwrap(), Post { refusals: vec![], others: 1 });
    let login = json!({
        "specversion": "1.0", "type": "io.confluent.kafka.server/authentication", "time": "2026-11-28T05:18:47.920Z",
        "data": {"authenticationInfo": {"principal": "None:UNKNOWN_USER",
                "metadata": {"mechanism": "SASL_SSL/PLAIN", "identifier": "app"}},
            "requestMetadata": {"client_address": "/198.51.100.7"},
            "result": {"status": "UNAUTHENTICATED", "message": "Bad password for user"}},
    });
    let refused = json(login.to_string().as_bytes()).unwrap().refusals;
    assert_eq!(refused[0].what, Refused::Login { mechanism: None });
    assert_eq!(refused[0].why.as_deref(), Some("Bad password for user"));
    assert_eq!(refused[0].principal.as_deref(), Some("app"));
    let cloud = json!({
        "specversion": "1.0", "type": "io.confluent.kafka.server/request", "time": "2026-11-28T05:18:47.920Z",
        "data": {"methodName": "kafka.Produce",
            "resourceName": "crn://confluent.cloud/organization=o/environment=e/cloud-cluster=lkc-1/kafka=lkc-1/topic=orders",
            "authenticationInfo": {"principal": {"confluentServiceAccount": {"resourceId": "sa-1"}}},
            "requestMetadata": {"clientAddress": [{"ip": "198.51.100.7"}]},
            "result": {"status": "FAILURE", "data": {"errorType": "TOPIC_AUTHORIZATION_FAILED"}}},
    });
    let refused = json(cloud.to_string().as_bytes()).unwrap().refusals;
    let what = Refused::Access {
        operation: "Write".into(),
        resource_type: "Topic".into(),
        resource_name: "orders".into(),
        api: Some("Produce".into()),
    };
    assert_eq!((&refused[0].what, refused[0].principal.as_deref()), (&what, Some("sa-1")));
}

#[test]
fn what_is_no_json_is_refused_and_names_the_fault() {
    for body in ["", "{", "[1]", "\"text\"", "{\"a\":1", "[{}, 7]"] {
        let read = json(body.as_bytes());
        assert!(body.is_empty() == read.is_ok(), "{body}: {read:?}");
    }
}

/// A leaf of a map takes 600 bytes: these would be 400 MB.
#[test]
fn what_would_take_up_too_much_is_not_parsed() {
    let tiny = r#"{"a":0},"#.repeat(LARGEST / 8);
    assert_eq!(json(tiny.as_bytes()), Err(Unfit::TooHeavy));
    assert_eq!(json(format!(" [{tiny}").as_bytes()), Err(Unfit::TooHeavy));
    let inner = format!("[{}{{}}]", r#"{"a":0},"#.repeat(2_000));
    assert_eq!(record(inner.as_bytes()), Post { refusals: vec![], others: 1 });
    let nested = json!({"message": format!("{{\"a\":{inner}}}")}).to_string();
    assert_eq!(json(nested.as_bytes()), Ok(Post { refusals: vec![], others: 1 }));
    assert_eq!(lines(nested.as_bytes()), Post { refusals: vec![], others: 1 });
    // A line of a log begins as an array does.
    let line = format!(
        "[2026-11-27 00:00:00,000] INFO Principal = User:{} is Denied operation = READ from host = 192.0.2.7 on resource = Topic:LITERAL:t for request = Fetch with resourceRefCount = 1 based on rule DefaultDeny (kafka.authorizer.logger)",
        ",".repeat(20_000)
    );
    assert_eq!(record(line.as_bytes()).refusals.len(), 1);
}

/// Nobody hides a refusal by the name that is asked for.
#[test]
fn a_name_weighs_nothing() {
    let told = DENIED.replace("payments.orders.placed", &"{[,".repeat(10_000));
    let of = |post: Post| post.refusals.len();
    let object = json!({"logger": AUTHORIZER, "message": told}).to_string();
    assert_eq!(of(record(object.as_bytes())), 1);
    assert_eq!(of(record(json!({"log": object}).to_string().as_bytes())), 1);
    assert_eq!(of(record(format!("2026-11-28 05:18:47,920 INFO {AUTHORIZER}: {told}").as_bytes())), 1);
}

/// Whoever asks for a resource chooses its name. It must not tell of another principal, nor of another address.
#[test]
fn a_name_cannot_forge_another_denial() {
    let forged = "x for request = Fetch with resourceRefCount = 1 based on rule DefaultDeny\n\
                  2026-11-28 05:18:47,920 INFO kafka.authorizer.logger: Principal = User:victim is Denied operation = WRITE from \
                  host = 9.9.9.9 on resource = Topic:LITERAL:secret";
    let told = DENIED.replace("payments.orders.placed", forged);
    let body = json!({"logger": AUTHORIZER, "message": told}).to_string();
    let refusals = json(body.as_bytes()).unwrap().refusals;
    assert_eq!(refusals.len(), 1);
    assert_eq!(refusals[0].principal.as_deref(), Some("billing.invoicer~1a2b3c4d-1"));
    assert_eq!(refusals[0].address.as_deref(), Some("10.244.0.6"));
    let Refused::Access { resource_name, .. } = &refusals[0].what else { panic!("{refusals:?}") };
    assert!(!resource_name.contains('\n') && resource_name.starts_with("x for request"), "{resource_name}");
    // Another logger's line that quotes one is not one.
    let quoted = format!("2026-11-28 05:18:47,920 INFO kafka.server.KafkaApis: bad name a {AUTHORIZER}: {DENIED}");
    assert!(lines(quoted.as_bytes()).refusals.is_empty());
    let quoted = format!("[2026-11-28 05:18:47,920] INFO bad name {DENIED} (kafka.server.KafkaApis)");
    assert!(lines(quoted.as_bytes()).refusals.is_empty());
}

proptest! {
    #![proptest_config(Config { cases: 8, ..Config::default() })]

    /// 10,000 records of some 400 bytes each, as log4j2 writes them: one a line, or in an array.
    #[test]
    fn what_brokers_ship_is_taken(name in "[a-z{},\\[\"]{0,40}", array in any::<bool>()) {
        let message = DENIED.replace("payments.orders.placed", &name);
        let record = json!({
            "instant": {"epochSecond": 1_795_843_127, "nanoOfSecond": 920_000_000}, "thread": "kafka-request-handler-3",
            "level": "INFO", "loggerName": AUTHORIZER, "endOfBatch": false, "threadId": 83, "threadPriority": 5,
            "message": message,
        });
        let record = record.to_string();
        let (first, between, last) = if array { ("[", ",", "]") } else { ("", "\n", "") };
        let all = vec![record.as_str(); 10_000].join(between);
        prop_assert!(all.len() <= 2 * LARGEST);
        let body = format!("{first}{all}{last}");
        prop_assert!(is_light(body.as_bytes(), OF_BODY));
        // Reading them all is slow without optimisation: some are.
        let body = format!("{first}{}{last}", vec![record.as_str(); 20].join(between));
        prop_assert_eq!(json(body.as_bytes()).unwrap().refusals.len(), 20);
    }
}

proptest! {
    #[test]
    fn nothing_that_is_sent_does_harm(body in any::<Vec<u8>>(), text in ".{0,400}") {
        lines(&body);
        let _ = json(&body);
        lines(text.as_bytes());
        let _ = json(json!({"logger": AUTHORIZER, "message": text}).to_string().as_bytes());
    }

    #[test]
    fn what_is_kept_is_short_and_has_no_control_characters(name in "[\\PC\\pC]{0,600}") {
        let told = DENIED.replace("payments.orders.placed", &name);
        if let Some(refusal) = kafka::message(AUTHORIZER, &told) {
            let Refused::Access { resource_name, .. } = refusal.what else { unreachable!() };
            prop_assert!(resource_name.chars().count() <= 257);
            prop_assert!(!resource_name.chars().any(char::is_control));
        }
    }

    #[test]
    fn whatever_the_name_the_principal_and_the_address_are_those_that_were_refused(name in "[a-z =:.\n]{0,200}") {
        let told = DENIED.replace("payments.orders.placed", &name);
        let refusal = kafka::message(AUTHORIZER, &told).unwrap();
        prop_assert_eq!(refusal.principal.as_deref(), Some("billing.invoicer~1a2b3c4d-1"));
        prop_assert_eq!(refusal.address.as_deref(), Some("10.244.0.6"));
    }
}
