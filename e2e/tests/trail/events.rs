//! What the commands about the audit topic print.

use serde_json::Value;

use crate::harness::shell::{run, try_run};

/// Every event on record since the topic was made, in OCSF.
pub async fn export() -> Vec<Value> {
    let text = run("weir", &["audit", "export"]).await;
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

/// What was told of these, as Weir has it: the events of an action about an object of a namespace.
pub async fn recorded(action: &str, namespace: &str) -> Vec<Value> {
    let is = |event: &&Value| event["action"] == action && event["object"]["namespace"] == namespace;
    let all = export().await;
    all.iter().map(|event| &event["unmapped"]["event"]).filter(is).cloned().collect()
}

/// Whether `weir audit verify` with these arguments proves the topic; what it says.
pub async fn verify(arguments: &[&str]) -> (bool, String) {
    try_run("weir", &[&["audit", "verify"], arguments].concat(), "").await
}
