//! A connector as a resource of Strimzi's: a KafkaMirrorMaker2 (`kafka.strimzi.io/v1`) with one mirror, which has workers, and at the
//! destination a group and three topics, of its own.
//!
//! The connector's configuration is written down beside it as it was asked for, so that what Strimzi makes of it need not be read
//! backwards; where the two do not agree, somebody edited the resource.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::connector::{ENGINE, Login, POSITIONED, Part, file_of, pattern, positioned};
use super::plan::{ObservedConnector, State};
use super::reported::{Reported, first_line};
use crate::api::{CredentialType, Strimzi};
use crate::domain::names::kept_topic;
use crate::domain::share::copy::KEPT_TOPICS;

/// The annotation with the connector's configuration, as JSON.
pub const CONFIG: &str = "weir.dev/connector-config";
/// The label with the connector's name.
pub const CONNECTOR: &str = "weir.dev/connector";
/// In a connector's configuration: [`crate::domain::names::kept_name`].
pub const KEPT: &str = "weir.kept";
/// In what is observed of a resource that is not as Weir wrote it.
const EDITED: &str = "weir.edited";

/// A pattern of topics that is no topic's name.
const NOTHING: &str = "~";

/// Where the connector's state is asked for (`spec.mirrors[].sourceConnector.state`).
pub const STATE: &str = "/spec/mirrors/0/sourceConnector/state";
const SOURCE_CONNECTOR: &str = "/spec/mirrors/0/sourceConnector";
const SOURCE: &str = "source.cluster.";
const TARGET: &str = "target.cluster.";

/// What a connector's configuration says of how an end of it logs in, by parts in the Secret `secret`. Its producers log in as the
/// workers do.
pub(super) fn login(prefix: &str, login: &Login, secret: &str) -> BTreeMap<String, String> {
    if ![SOURCE, TARGET].contains(&prefix) {
        return BTreeMap::new();
    }
    let kind = match login.kind {
        CredentialType::ScramSha512 => "scram-sha-512",
        CredentialType::Mtls => "tls",
    };
    let servers = login.bootstrap_servers.join(",");
    let said = [
        ("bootstrap.servers", Some(servers.as_str())),
        ("kind", Some(kind)),
        ("user", login.user.as_deref()),
        ("secret", Some(secret)),
        ("files", Some(login.files.as_str())),
        ("authority", login.ca_pem.as_ref().map(|_| "own")),
    ];
    said.into_iter().filter_map(|(key, value)| Some((format!("{prefix}{key}"), value?.to_owned()))).collect()
}

/// The specification of the resource, but for [`STATE`].
pub fn spec(config: &BTreeMap<String, String>, of: &Strimzi, positions: &Positions<'_>) -> Value {
    let value = |key: &str| config.get(key).map(String::as_str).unwrap_or_default();
    let passed_on =
        |key: &str| ![SOURCE, TARGET].iter().any(|prefix| key.starts_with(prefix)) && !ELSEWHERE.contains(&key);
    // Until its first position is set, nothing of a topic may be copied, and Strimzi may start a connector before it stops it.
    let begun: BTreeSet<_> = positioned(config).iter().map(|topic| pattern(topic)).collect();
    let topics: Vec<_> = value("topics").split(',').filter(|topic| begun.contains(*topic)).collect();
    let topics = if topics.is_empty() { NOTHING.to_owned() } else { topics.join(",") };
    let mut target = cluster(config, TARGET);
    let kept = value(KEPT);
    target.insert("groupId".into(), json!(kept));
    let fields = ["configStorageTopic", "offsetStorageTopic", "statusStorageTopic"];
    target
        .extend(fields.into_iter().zip(KEPT_TOPICS).map(|(field, what)| (field.into(), json!(kept_topic(kept, what)))));
    // How far it is, is known only as often as it writes that down; and copies are made by Weir.
    target.insert("config".into(), json!({"offset.flush.interval.ms": 5000, "topic.creation.enable": false}));
    let mut spec = json!({
        "replicas": of.replicas,
        "target": target,
        "mirrors": [{
            "source": cluster(config, SOURCE),
            "sourceConnector": {
                "tasksMax": of.tuning.tasks_max,
                "autoRestart": {"enabled": true},
                "listOffsets": {"toConfigMap": {"name": positions.listed}},
                "alterOffsets": {"fromConfigMap": {"name": positions.first}},
                "config": config.iter().filter(|(key, _)| passed_on(key)).collect::<BTreeMap<_, _>>(),
            },
            "topicsPattern": topics,
            "topicsExcludePattern": value("topics.exclude"),
        }],
    });
    let more = [
        ("version", of.version.as_ref().map(|v| json!(v))),
        ("image", of.image.as_ref().map(|v| json!(v))),
        ("resources", of.resources.as_ref().map(|v| json!(v))),
    ];
    for (key, value) in more {
        if let Some(value) = value {
            spec[key] = value;
        }
    }
    spec
}

/// Asks for a state of a resource's connector: `running` or `stopped`.
pub fn ask(resource: &mut Value, state: &str) {
    if let Some(connector) = resource.pointer_mut(SOURCE_CONNECTOR).and_then(Value::as_object_mut) {
        connector.insert("state".into(), json!(state));
    }
}

/// The ConfigMaps with positions of one resource.
#[derive(Clone, Copy, Debug)]
pub struct Positions<'a> {
    /// How far it is, as Strimzi lists it.
    pub listed: &'a str,
    /// Where it begins.
    pub first: &'a str,
}

/// What of a configuration a resource has in places of its own.
const ELSEWHERE: [&str; 6] = ["name", "connector.class", "tasks.max", "topics", "topics.exclude", KEPT];

fn cluster(config: &BTreeMap<String, String>, prefix: &str) -> Map<String, Value> {
    let value = |key: &str| config.get(&format!("{prefix}{key}")).map(String::as_str);
    let (secret, files) = (value("secret").unwrap_or_default(), value("files").unwrap_or_default());
    let file = |what: Part| file_of(files, what);
    let authority = value("authority").map(|_| json!({"secretName": secret, "certificate": file(Part::Authority)}));
    let authentication = match value("user") {
        Some(user) => json!({"type": value("kind"), "username": user,
            "passwordSecret": {"secretName": secret, "password": file(Part::Password)}}),
        None => json!({"type": value("kind"), "certificateAndKey":
            {"secretName": secret, "certificate": file(Part::Certificate), "key": file(Part::Key)}}),
    };
    Map::from_iter([
        ("alias".into(), json!(value("alias"))),
        ("bootstrapServers".into(), json!(value("bootstrap.servers"))),
        ("tls".into(), json!({"trustedCertificates": authority.into_iter().collect::<Vec<_>>()})),
        ("authentication".into(), authentication),
    ])
}

/// The connector that a resource is, with its name; `None` where it says nothing of one.
pub fn observed(resource: &Value, of: &Strimzi, positions: &Positions<'_>) -> Option<(String, ObservedConnector)> {
    let name = resource.pointer("/spec/target/alias")?.as_str()?.to_owned();
    let noted = resource.pointer("/metadata/annotations").and_then(|all| all.get(CONFIG)).and_then(Value::as_str);
    let mut config: BTreeMap<String, String> =
        noted.and_then(|noted| serde_json::from_str(noted).ok()).unwrap_or_default();
    let mut found = json!({"spec": resource.get("spec")});
    let labelled = resource.pointer("/metadata/labels").and_then(|all| all.get(CONNECTOR)).and_then(Value::as_str);
    let connector = found.pointer_mut(SOURCE_CONNECTOR).and_then(Value::as_object_mut);
    let asked = connector.and_then(|c| c.remove("state"));
    if found["spec"] != spec(&config, of, positions) || labelled != Some(&name) {
        config.insert(EDITED.into(), "true".into());
    }
    // What the connector itself has is what its positions were set for, and whose it is.
    for key in [POSITIONED, ENGINE] {
        match found.pointer(SOURCE_CONNECTOR).and_then(|c| c.get("config")?.get(key)?.as_str()) {
            Some(value) => drop(config.insert(key.into(), value.to_owned())),
            None => drop(config.remove(key)),
        }
    }
    let reported = resource.pointer("/status/connectors/0");
    let reported: Option<Reported> = reported.and_then(|r| serde_json::from_value(r.clone()).ok());
    let is_asked_to_stop = asked.as_ref().and_then(Value::as_str) == Some("stopped");
    let state = match reported.as_ref().map(Reported::state) {
        // It is yet to be seen to go on.
        Some(State::Stopped) if !is_asked_to_stop => State::Unassigned,
        Some(state) => state,
        None => State::Unassigned,
    };
    let tasks = reported.as_ref().map(Reported::tasks).unwrap_or_default();
    let failure = reported.as_ref().and_then(Reported::failure).or_else(|| not_ready(resource));
    let is_current = resource.pointer("/status/observedGeneration") == resource.pointer("/metadata/generation");
    Some((name, ObservedConnector { state, tasks, failure, config, is_tended: true, is_current }))
}

/// What Strimzi has to say of something that was asked of it and that it could not do.
pub fn warning(resource: &Value) -> Option<String> {
    condition(resource, "Warning")
}

/// Why Strimzi cannot have it be as it should.
fn not_ready(resource: &Value) -> Option<String> {
    condition(resource, "NotReady")
}

fn condition(resource: &Value, type_: &str) -> Option<String> {
    let conditions = resource.pointer("/status/conditions")?.as_array()?;
    let condition = conditions.iter().find(|c| c["type"] == type_ && c["status"] == "True")?;
    Some(format!("Strimzi: {}", first_line(condition["message"].as_str().unwrap_or(type_))))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::{CONFIG, CONNECTOR, Positions, STATE, ask, observed, spec};
    use crate::api::{CredentialType, Strimzi};
    use crate::domain::replication::connector::{self, Connector, Login, POSITIONED, Secrets, Setting};
    use crate::domain::replication::plan::{State, Step, next};

    const POSITIONS: Positions<'static> = Positions { listed: "x-listed", first: "x-first" };

    fn engine() -> Strimzi {
        serde_json::from_value(json!({"namespace": "kafka", "replicas": 2, "version": "4.3.1", "tasksMax": 3})).unwrap()
    }

    fn connector(topics: &[&str]) -> Connector {
        let share = serde_json::from_value(json!({
            "metadata": {"namespace": "payments", "name": "out", "uid": "01234567-89ab-cdef-0123-456789abcdef"},
            "spec": {"products": [], "partnerRefs": [], "pattern": "Copy", "validity": {"notAfter": "2026-12-01T00:00:00Z"}}}))
        .unwrap();
        let login = |files: &str, kind: CredentialType, user: Option<&str>| Login {
            bootstrap_servers: vec!["a:9092".into(), "b:9092".into()],
            kind,
            ca_pem: user.map(|_| "PEM".into()),
            files: files.into(),
            user: user.map(str::to_owned),
        };
        let source = login("s-1", CredentialType::ScramSha512, Some("~xs.1-1"));
        let target = login("t-2", CredentialType::Mtls, None);
        let engine = engine();
        let setting =
            Setting { engine: "w/shared/strimzi", tuning: &engine.tuning, secrets: Secrets::Secret("weir-connect-1") };
        let topics: BTreeSet<_> = topics.iter().map(|t| (*t).to_owned()).collect();
        connector::connector(&share, "main", setting, &topics, Some((&source, &target)))
    }

    /// As the API server has it once it was asked to be so.
    fn resource(connector: &Connector, positioned: &[&str], asked: &str, status: &Value) -> Value {
        let config = connector.config_with(&positioned.iter().map(|t| (*t).to_owned()).collect());
        let mut resource = json!({
            "metadata": {"labels": {CONNECTOR: connector.name},
                "annotations": {CONFIG: serde_json::to_string(&config).unwrap()}},
            "spec": spec(&config, &engine(), &POSITIONS),
            "status": status,
        });
        ask(&mut resource, asked);
        assert_eq!(resource.pointer(STATE), Some(&json!(asked)));
        resource
    }

    fn status(state: &str, task: &str) -> Value {
        json!({"connectors": [{"name": "payments->x.MirrorSourceConnector", "connector": {"state": state, "worker_id": "w"},
            "tasks": [{"id": 0, "state": task, "worker_id": "w"}], "type": "source"}]})
    }

    #[test]
    fn a_resource_logs_in_by_parts_of_a_secret_and_copies_nothing_else() {
        let connector = connector(&["payments.orders.placed"]);
        let before = spec(&connector.config_with(&BTreeSet::new()), &engine(), &POSITIONS);
        assert_eq!(before["mirrors"][0]["topicsPattern"], "~", "not before it has a position");
        let config = connector.config_with(&["payments.orders.placed".to_owned()].into());
        let spec = spec(&config, &engine(), &POSITIONS);
        let kept = "payments.out.0123456789abcdef";
        assert_eq!(spec["target"]["groupId"], kept);
        assert_eq!(spec["target"]["offsetStorageTopic"], format!("{kept}-offsets-internal"));
        let mirror = &spec["mirrors"][0];
        assert_eq!(mirror["topicsPattern"], "payments\\.orders\\.placed");
        assert_eq!(mirror["source"]["alias"], "payments");
        assert_eq!(
            mirror["source"]["authentication"],
            json!({"type": "scram-sha-512", "username": "~xs.1-1",
                "passwordSecret": {"secretName": "weir-connect-1", "password": "s-1.password"}})
        );
        assert_eq!(
            mirror["source"]["tls"],
            json!({"trustedCertificates": [{"secretName": "weir-connect-1", "certificate": "s-1.ca"}]})
        );
        assert_eq!(spec["target"]["tls"], json!({"trustedCertificates": []}), "as the system trusts");
        assert_eq!(spec["target"]["authentication"]["certificateAndKey"]["key"], "t-2.key");
        let passed_on = mirror["sourceConnector"]["config"].as_object().unwrap();
        assert_eq!(passed_on["source.consumer.isolation.level"], "read_committed");
        assert_eq!(passed_on["replication.policy.separator"], ".out.");
        assert!(!passed_on.keys().any(|key| key.contains("cluster.") || key.contains("sasl") || key == "name"));
        assert!(!spec.to_string().contains("checkpointConnector"));
    }

    #[test]
    fn a_resource_as_it_was_asked_for_needs_no_step_and_an_edited_one_is_written_anew() {
        let topics = ["payments.orders.placed"];
        let connector = connector(&topics);
        let running = resource(&connector, &topics, "running", &status("RUNNING", "RUNNING"));
        let (name, seen) = observed(&running, &engine(), &POSITIONS).unwrap();
        assert_eq!(name, connector.name);
        assert_eq!(next(Some(&connector), Some(&seen)), None);
        let edits: [fn(&mut Value); 4] = [
            |r| r["spec"]["mirrors"][0]["topicsPattern"] = json!(".*"),
            |r| r["spec"]["mirrors"][0]["sourceConnector"]["config"]["source.consumer.isolation.level"] = json!("x"),
            |r| r["spec"]["mirrors"][0]["checkpointConnector"] = json!({}),
            |r| r["metadata"]["annotations"] = json!({}),
        ];
        for edit in edits {
            let mut edited = running.clone();
            edit(&mut edited);
            let (_, seen) = observed(&edited, &engine(), &POSITIONS).unwrap();
            let wanted = connector.config_with(&topics.map(str::to_owned).into());
            assert_eq!(next(Some(&connector), Some(&seen)), Some(Step::Configure(wanted)));
        }
        let mut grown = engine();
        grown.replicas = 3;
        let (_, seen) = observed(&running, &grown, &POSITIONS).unwrap();
        assert!(matches!(next(Some(&connector), Some(&seen)), Some(Step::Configure(_))));
    }

    #[test]
    fn it_is_stopped_only_once_that_was_asked_for_and_seen() {
        let connector = connector(&["payments.orders.placed"]);
        let state = |asked: &str, status: &Value| {
            observed(&resource(&connector, &[], asked, status), &engine(), &POSITIONS).unwrap().1.state
        };
        assert_eq!(state("stopped", &Value::Null), State::Unassigned);
        assert_eq!(state("stopped", &status("RUNNING", "RUNNING")), State::Running);
        assert_eq!(state("stopped", &status("STOPPED", "STOPPED")), State::Stopped);
        assert_eq!(state("running", &status("STOPPED", "STOPPED")), State::Unassigned);
        // Nothing begins before its first positions are set, and those are set only while it stands still.
        let made = resource(&connector, &[], "stopped", &Value::Null);
        let (_, seen) = observed(&made, &engine(), &POSITIONS).unwrap();
        assert_eq!(next(Some(&connector), Some(&seen)), Some(Step::StopToPosition));
        let stopped = resource(&connector, &[], "stopped", &status("STOPPED", "STOPPED"));
        let (_, seen) = observed(&stopped, &engine(), &POSITIONS).unwrap();
        assert!(!seen.config.contains_key(POSITIONED) || seen.config[POSITIONED].is_empty());
        assert!(matches!(next(Some(&connector), Some(&seen)), Some(Step::Position(..))));
    }

    #[test]
    fn what_strimzi_cannot_do_is_said() {
        let connector = connector(&["payments.orders.placed"]);
        let status = json!({"conditions": [{"type": "NotReady", "status": "True", "message": "Unsupported Kafka.spec.kafka.version"}]});
        let made = resource(&connector, &[], "running", &status);
        let (_, seen) = observed(&made, &engine(), &POSITIONS).unwrap();
        assert_eq!(seen.failure.as_deref(), Some("Strimzi: Unsupported Kafka.spec.kafka.version"));
    }
}
