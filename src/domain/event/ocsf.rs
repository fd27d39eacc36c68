//! Events as OCSF 1.8.0 has them (<https://schema.ocsf.io/1.8.0>). What it has no place for, and the event as Weir tells it, stands
//! in `unmapped`: nothing is lost on the way.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use serde_json::{Map, Value, json};

use super::catalogue::{Class, Finding, event_type};
use crate::api::{Action, Actor, ActorType, ClientRequest, ObjectRef, Outcome, SecurityEventSpec, Severity};

/// The version of the schema.
pub const VERSION: &str = "1.8.0";
/// Kafka's error code of a refusal (<https://kafka.apache.org/43/design/protocol/#error-codes>), by the kind of resource: of topics,
/// groups, the cluster, transactional ids and delegation tokens; -1 is an unknown error.
fn error_code(resource_type: Option<&str>) -> i32 {
    match resource_type {
        Some("Topic") => 29,
        Some("Group") => 30,
        Some("Cluster") => 31,
        Some("TransactionalId") => 53,
        Some("DelegationToken") => 65,
        _ => -1,
    }
}

/// Where the schema of a class stands.
pub fn class_address(action: Action) -> String {
    format!("https://schema.ocsf.io/{VERSION}/classes/{}", event_type(action).class.name())
}

/// An event in OCSF. `chain` says where it stands in the audit topic.
pub fn ocsf(event: &SecurityEventSpec, chain: Option<(u64, Value)>) -> Value {
    let class = event_type(event.action).class;
    let activity = activity(class, event);
    let mut fields = Map::new();
    let mut set = |key: &str, value: Value| drop(fields.insert(key.to_owned(), value));
    set("category_uid", json!(class.uid() / 1000));
    set("class_uid", json!(class.uid()));
    set("activity_id", json!(activity));
    set("type_uid", json!(u64::from(class.uid()) * 100 + u64::from(activity)));
    set("severity_id", json!(severity_id(event.severity)));
    set("time", millis(&event.time));
    set("message", json!(event.message));
    set("count", json!(event.count));
    set("status_id", json!(status_id(class, event.outcome)));
    set("status_detail", json!(event.reason));
    if let Some(window) = &event.window {
        set("start_time", millis(&window.start));
        set("end_time", millis(&window.end));
    }
    set("metadata", metadata(event, class, chain.as_ref().map(|(sequence, _)| *sequence)));
    if class.has_actor() {
        set("actor", actor(&event.actor));
    }
    for (key, value) in of_class(class, event) {
        set(key, value);
    }
    let mut unmapped = json!({"event": event});
    if let Some((_, chain)) = chain {
        unmapped["chain"] = chain;
    }
    set("unmapped", unmapped);
    Value::Object(fields)
}

fn metadata(event: &SecurityEventSpec, class: Class, sequence: Option<u64>) -> Value {
    let mut metadata = json!({
        "version": VERSION,
        "product": {"name": "Weir", "vendor_name": "Weir", "version": env!("CARGO_PKG_VERSION")},
        "uid": event.uid,
        "event_code": event_type(event.action).name,
        "log_provider": format!("{:?}", event.source),
    });
    if let Some(correlation) = &event.correlation {
        metadata["correlation_uid"] = json!(correlation);
    }
    if let Some(sequence) = sequence {
        metadata["sequence"] = json!(sequence);
    }
    if class == Class::ApiActivity {
        metadata["profiles"] = json!(["security_control"]);
    }
    metadata
}

/// What only events of the class tell.
fn of_class(class: Class, event: &SecurityEventSpec) -> Vec<(&'static str, Value)> {
    let client = event.client.clone().unwrap_or_default();
    let finding = || json!({"uid": event.uid, "title": event.message});
    match class {
        Class::ComplianceFinding(_) => vec![
            ("finding_info", finding()),
            ("compliance", json!({"control": event.reason, "status_id": 3})),
            ("resources", resources(event)),
        ],
        Class::DetectionFinding(_) => vec![
            ("finding_info", finding()),
            (
                "evidences",
                json!([{"data": {"principals": event.principals, "entries": event.entries, "client": event.client}}]),
            ),
            ("resources", resources(event)),
        ],
        Class::AccountChange(_) => {
            let credentials: Vec<_> =
                event.principals.iter().map(|p| json!({"uid": p, "type": "Kafka principal"})).collect();
            let mut user = json!({"name": name_of(&event.object), "type": "Service", "type_id": 4});
            if !credentials.is_empty() {
                user["programmatic_credentials"] = json!(credentials);
            }
            vec![("user", user)]
        }
        Class::Authentication(_) => vec![
            ("user", json!({"name": event.principals.first().map_or("unknown", String::as_str)})),
            ("service", json!({"name": event.cluster.as_deref().unwrap_or("Apache Kafka")})),
            ("src_endpoint", endpoint(&client)),
        ],
        Class::EntityManagement(_) => vec![("entity", entity(&event.object)), ("comment", json!(event.message))],
        Class::UserAccess(_) => vec![
            ("user", json!({"name": event.principals.first().cloned().unwrap_or_else(|| name_of(&event.object))})),
            ("privileges", json!(event.entries)),
            ("resources", resources(event)),
        ],
        Class::ApplicationLifecycle(_) => {
            vec![("app", json!({"name": "Weir", "vendor_name": "Weir", "version": env!("CARGO_PKG_VERSION")}))]
        }
        Class::ApiActivity => vec![
            (
                "api",
                json!({
                    "operation": client.api.as_ref().or(client.operation.as_ref()).map_or("unknown", String::as_str),
                    "service": {"name": event.cluster.as_deref().unwrap_or("Apache Kafka")},
                    "response": {"code": error_code(client.resource_type.as_deref()), "error": "authorization failed"},
                }),
            ),
            ("src_endpoint", endpoint(&client)),
            (
                "resources",
                json!([{
                    "name": client.resource_name.as_deref().unwrap_or("unknown"),
                    "type": client.resource_type.as_deref().unwrap_or("unknown"),
                }]),
            ),
            ("action_id", json!(2)),
            ("disposition_id", json!(26)),
            ("authorizations", json!([{"decision": "Denied"}])),
        ],
        Class::DatastoreActivity => {
            let cluster = event.cluster.as_deref().unwrap_or("unknown");
            let mut used = vec![
                ("database", json!({"name": cluster, "type": "Apache Kafka", "type_id": 99})),
                ("src_endpoint", endpoint(&client)),
            ];
            used.extend(client.resource_name.map(|topic| ("table", json!({"name": topic}))));
            used
        }
    }
}

fn actor(actor: &Actor) -> Value {
    match actor.type_ {
        ActorType::Weir => json!({"app_name": actor.name}),
        ActorType::User | ActorType::Partner => json!({"user": {"name": actor.name, "type": "User", "type_id": 1}}),
        ActorType::Principal => json!({"user": {"name": actor.name, "type": "Service", "type_id": 4}}),
    }
}

/// Where a client called from; the schema wants something.
fn endpoint(client: &ClientRequest) -> Value {
    match &client.address {
        Some(address) if address.parse::<std::net::IpAddr>().is_ok() => json!({"ip": address}),
        Some(address) => json!({"name": address}),
        None => json!({"name": "unknown"}),
    }
}

fn resources(event: &SecurityEventSpec) -> Value {
    let ObjectRef { kind, namespace, name, uid } = &event.object;
    let mut resource = json!({"name": name, "type": kind});
    if let Some(namespace) = namespace {
        resource["namespace"] = json!(namespace);
    }
    if let Some(uid) = uid {
        resource["uid"] = json!(uid);
    }
    json!([resource])
}

fn entity(object: &ObjectRef) -> Value {
    let mut entity = json!({"name": name_of(object), "type": object.kind, "type_id": 99});
    if let Some(uid) = &object.uid {
        entity["uid"] = json!(uid);
    }
    entity
}

/// `namespace/name`, or the name of what has no namespace.
pub fn name_of(object: &ObjectRef) -> String {
    match &object.namespace {
        Some(namespace) => format!("{namespace}/{}", object.name),
        None => object.name.clone(),
    }
}

fn millis(time: &MicroTime) -> Value {
    json!(time.0.as_millisecond())
}

fn activity(class: Class, event: &SecurityEventSpec) -> u32 {
    match class {
        Class::ComplianceFinding(finding) | Class::DetectionFinding(finding) => match finding {
            Finding::Create => 1,
            Finding::Update => 2,
            Finding::Close => 3,
        },
        Class::AccountChange(activity)
        | Class::Authentication(activity)
        | Class::EntityManagement(activity)
        | Class::UserAccess(activity)
        | Class::ApplicationLifecycle(activity) => activity,
        Class::ApiActivity => match event.client.as_ref().and_then(|c| c.operation.as_deref()) {
            Some("Create") => 1,
            Some("Read" | "Describe" | "DescribeConfigs") => 2,
            Some("Write" | "Alter" | "AlterConfigs" | "IdempotentWrite") => 3,
            Some("Delete") => 4,
            _ => 99,
        },
        Class::DatastoreActivity => match event.client.as_ref().and_then(|c| c.operation.as_deref()) {
            Some("Write") => 5,
            _ => 1,
        },
    }
}

fn severity_id(severity: Severity) -> u32 {
    match severity {
        Severity::Informational => 1,
        Severity::Low => 2,
        Severity::Medium => 3,
        Severity::High => 4,
        Severity::Critical => 5,
    }
}

/// Findings are new, in progress or resolved; everything else succeeded or did not.
fn status_id(class: Class, outcome: Outcome) -> u32 {
    match (class, outcome) {
        (Class::ComplianceFinding(finding) | Class::DetectionFinding(finding), _) => match finding {
            Finding::Create => 1,
            Finding::Update => 2,
            Finding::Close => 4,
        },
        (_, Outcome::Success) => 1,
        (_, Outcome::Failure) => 2,
        (_, Outcome::Pending) => 99,
    }
}
