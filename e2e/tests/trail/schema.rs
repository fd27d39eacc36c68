//! Events, held to the schema of OCSF 1.8.0 and to that of CloudEvents.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use cloudevents::{AttributesReader, event::SpecVersion};
use jiff::Timestamp;
use jsonschema::Validator;
use serde_json::{Value, json};
use weir::api::{Action, ClientRequest, ObjectRef, Outcome, SecurityEventSpec};
use weir::domain::event::{CATALOGUE, Happening, cloudevent, event, event_type, ocsf};
use weir_e2e::lab::build::ocsf_schema;
use weir_e2e::lab::paths::Paths;

use crate::events::{export, export_as};
use crate::harness::Harness;

/// The validators of the classes that were needed.
#[derive(Default)]
struct Schemas(BTreeMap<u64, Validator>);

impl Schemas {
    /// What is wrong with an event.
    fn faults(&mut self, event: &Value) -> Vec<String> {
        let class = event["class_uid"].as_u64().unwrap();
        let validator = self.0.entry(class).or_insert_with(|| {
            let path = ocsf_schema(&Paths::find().unwrap(), class);
            let schema = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
            jsonschema::validator_for(&schema).unwrap()
        });
        validator.iter_errors(event).map(|e| format!("{}: {e}", e.instance_path())).collect()
    }
}

fn sample(action: Action, full: bool) -> Value {
    let some = |text: &str| full.then(|| text.to_owned());
    let object =
        ObjectRef { kind: "RoleBinding".into(), namespace: some("billing"), name: "reads".into(), uid: some("u") };
    let mut happening = Happening::new(action, object, "Because", "it was so");
    if full {
        happening = happening.on("main").of(vec!["billing.invoicer~1a2b3c4d-1".into()]).ended(Outcome::Failure);
        happening.entries = vec!["Allow User:x Read Topic:Literal:t from *".into()];
        happening.client = Some(ClientRequest {
            operation: Some("Read".into()),
            resource_type: Some("Topic".into()),
            resource_name: Some("payments.orders.placed".into()),
            api: Some("Fetch".into()),
            address: Some("10.0.0.1".into()),
        });
    }
    ocsf(&event(happening, "k", Timestamp::UNIX_EPOCH), Some((7, json!({"sequence": 7}))))
}

#[test]
#[ignore = "needs the lab: make test"]
fn every_type_of_event_is_valid_ocsf_however_much_it_tells() {
    let mut schemas = Schemas::default();
    for row in CATALOGUE {
        for full in [false, true] {
            let event = sample(row.action, full);
            let faults = schemas.faults(&event);
            assert!(faults.is_empty(), "{:?} ({full}): {faults:#?}\n{event:#}", row.action);
            assert_eq!(event["type_uid"].as_u64().unwrap() / 100, event["class_uid"].as_u64().unwrap());
            // A schema that takes anything would prove nothing.
            let mut broken = event.clone();
            broken["severity_id"] = json!("grave");
            assert!(!schemas.faults(&broken).is_empty());
        }
    }
}

/// Everything that is on record, and what was on record in a topic that a test took away.
async fn everything() -> Vec<Value> {
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    let taken_away = std::fs::read_to_string(taken_away()).unwrap_or_default();
    let mut all: Vec<Value> = taken_away.lines().map(parse).collect();
    all.extend(export().await);
    all
}

fn taken_away() -> PathBuf {
    Paths::find().unwrap().state.join("audit-topics-taken-away.jsonl")
}

/// Keeps what is on record, before the topic is taken away.
pub async fn keep_record() {
    let mut file = OpenOptions::new().create(true).append(true).open(taken_away()).unwrap();
    for event in export().await {
        writeln!(file, "{event}").unwrap();
    }
}

/// What the other tests, and those before them, put on record.
#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn everything_on_record_is_valid_ocsf_and_valid_cloudevents() {
    let _h = Harness::start().await;
    valid_events().await;
    export_as("cloudevents").await.iter().for_each(is_cloudevent);
}

/// All that is on record, each event found valid, and about what, by whom, and from where its row of the catalogue says.
async fn valid_events() -> Vec<Value> {
    let (all, mut schemas) = (everything().await, Schemas::default());
    for event in &all {
        let faults = schemas.faults(event);
        assert!(faults.is_empty(), "{faults:#?}\n{event:#}");
        let told: SecurityEventSpec = serde_json::from_value(event["unmapped"]["event"].clone()).unwrap();
        let row = event_type(told.action);
        let kind = told.object.kind.as_str();
        assert!(row.objects.is_empty() || row.objects.contains(&kind), "{:?} is about a {kind}", told.action);
        assert!(row.actors.contains(&told.actor.type_), "{:?} by {:?}", told.action, told.actor);
        assert!(row.sources.contains(&told.source), "{:?} from {:?}", told.action, told.source);
    }
    all
}

/// As the SDK of CloudEvents itself reads it, and what that lets pass: CloudEvents 1.0.2, section 3.1, of names and of values.
pub fn is_cloudevent(event: &Value) {
    let read: cloudevents::Event = serde_json::from_value(event.clone()).unwrap_or_else(|e| panic!("{e}: {event:#}"));
    assert_eq!(read.specversion(), SpecVersion::V10);
    assert!([read.id(), read.source(), read.ty()].iter().all(|text| !text.is_empty()), "{event:#}");
    assert!(read.time().is_some() && read.subject().is_some(), "{event:#}");
    assert!(read.dataschema().unwrap().as_str().starts_with("https://schema.ocsf.io/1.8.0/classes/"));
    assert!(read.ty().starts_with("dev.weir.") && read.ty().ends_with(".v1"), "{event:#}");
    let fit = |name: &String| name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    assert!(event.as_object().unwrap().keys().all(fit), "{event:#}");
    assert_eq!(read.id(), event["data"]["metadata"]["uid"]);
}

#[test]
fn what_is_no_cloudevent_is_found() {
    let object = ObjectRef { kind: "RoleBinding".into(), namespace: None, name: "reads".into(), uid: None };
    let told = event(Happening::new(Action::AccessGranted, object, "r", "m"), "k", Timestamp::UNIX_EPOCH);
    let whole = cloudevent(&told, ocsf(&told, None));
    is_cloudevent(&whole);
    for (name, wrong) in [
        ("id", Value::Null),
        ("source", json!("")),
        ("type", json!("com.example")),
        ("specversion", json!("0.9")),
        ("time", json!("yesterday")),
        ("dataschema", json!("::")),
        ("Weir", json!("no such name")),
    ] {
        let mut event = whole.clone();
        event[name] = wrong;
        assert!(std::panic::catch_unwind(|| is_cloudevent(&event)).is_err(), "{name}");
    }
}

/// Only after all other suites, which began at `WEIR_E2E_SINCE`: each type has a test that makes it happen.
#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn last_of_all_every_type_of_the_catalogue_is_on_record_and_valid() {
    let _h = Harness::start().await;
    let since = std::env::var("WEIR_E2E_SINCE").map_or(Timestamp::MIN, |since| since.parse().unwrap());
    let is_new = |event: &&Value| event["time"].as_str().unwrap().parse::<Timestamp>().unwrap() >= since;
    let action = |event: &Value| event["action"].as_str().unwrap().to_owned();
    let all = valid_events().await;
    let told = all.iter().map(|event| &event["unmapped"]["event"]);
    let seen: BTreeSet<_> = told.filter(is_new).map(action).collect();
    let all = CATALOGUE.iter().map(|row| format!("{:?}", row.action));
    let unseen: Vec<_> = all.filter(|action| !seen.contains(action)).collect();
    assert!(unseen.is_empty(), "{unseen:?} never happened; {} types did", seen.len());
}
