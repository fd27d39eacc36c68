//! Events as CloudEvents 1.0 (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md>) whose data is OCSF.

use serde_json::{Value, json};

use super::catalogue::event_type;
use super::ocsf::class_address;
use crate::api::SecurityEventSpec;

/// The media type of `data`.
pub const CONTENT_TYPE: &str = "application/json";
/// Before each type.
const PREFIX: &str = "dev.weir";

/// An event in the JSON format, with `data` in OCSF.
pub fn cloudevent(event: &SecurityEventSpec, data: Value) -> Value {
    let mut whole = json!({"datacontenttype": CONTENT_TYPE, "data": data});
    for (name, value) in attributes(event) {
        whole[name] = json!(value);
    }
    whole
}

/// The context attributes, by name: `id`, `source`, `type`, ...
pub fn attributes(event: &SecurityEventSpec) -> Vec<(&'static str, String)> {
    let object = &event.object;
    let cluster = event.cluster.as_ref().map(|c| format!("/clusters/{c}")).unwrap_or_default();
    let namespace = object.namespace.as_ref().map(|ns| format!("/namespaces/{ns}")).unwrap_or_default();
    let source = match format!("{cluster}{namespace}") {
        whole if whole.is_empty() => "/weir".to_owned(),
        whole => whole,
    };
    let mut attributes = vec![
        ("specversion", "1.0".to_owned()),
        ("id", event.uid.clone()),
        ("source", source),
        ("type", format!("{PREFIX}.{}.v1", event_type(event.action).name)),
        ("subject", format!("{}/{}", object.kind.to_lowercase(), object.name)),
        ("time", event.time.0.to_string()),
        ("dataschema", class_address(event.action)),
    ];
    if let Some(correlation) = &event.correlation {
        attributes.push(("partitionkey", correlation.clone()));
    }
    attributes
}
