//! What stands on record of one thing.

use serde_json::Value;

pub use crate::harness::trail::{export, export_as, verify};

/// What was told, as Weir has it: the events of an action about an object of a namespace.
pub async fn recorded(action: &str, namespace: &str) -> Vec<Value> {
    let is = |event: &&Value| event["action"] == action && event["object"]["namespace"] == namespace;
    let all = export().await;
    all.iter().map(|event| &event["unmapped"]["event"]).filter(is).cloned().collect()
}
