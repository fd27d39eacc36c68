//! Waiting for conditions, and telling what there was where one did not come to hold.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::NAMESPACE;
use super::shell::try_run;

/// How often a condition is looked at.
const EVERY: Duration = Duration::from_millis(50);

/// Looks until `look` has an answer. When `within` has passed it fails with `what`, the last answer, and what stands in
/// `namespaces`.
pub async fn until<T, F>(within: Duration, namespaces: &[&str], what: &str, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, String>>,
{
    let start = Instant::now();
    loop {
        let last = match look().await {
            Ok(answer) => return answer,
            Err(last) => last,
        };
        if start.elapsed() > within {
            let around = around(namespaces).await;
            panic!("not within {within:?}: {what}\n--- last: {last}\n{around}");
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// The condition `type_` of an object, if it is about the object's generation.
pub fn condition<'a>(object: &'a Value, type_: &str) -> Option<&'a Value> {
    let all = object["status"]["conditions"].as_array()?;
    let condition = all.iter().find(|c| c["type"] == type_)?;
    (condition["observedGeneration"] == object["metadata"]["generation"]).then_some(condition)
}

/// What a person would look at: the objects, their events, the operator's log.
async fn around(namespaces: &[&str]) -> String {
    let mut text = String::new();
    for namespace in namespaces {
        let (_, objects) = try_run("kubectl", &["-n", namespace, "get", "weir", "-o", "yaml"], "").await;
        let (_, events) = try_run("kubectl", &["-n", namespace, "get", "events", "--sort-by=.lastTimestamp"], "").await;
        text += &format!("--- objects of {namespace}\n{objects}\n--- events of {namespace}\n{}\n", tail(&events, 30));
    }
    let arguments =
        ["-n", NAMESPACE, "logs", "-l", "app.kubernetes.io/name=weir", "--tail=40", "--prefix", "--timestamps"];
    let (_, log) = try_run("kubectl", &arguments, "").await;
    let (_, clusters) = try_run("kubectl", &["get", "streamclusters", "-o", "wide"], "").await;
    text + &format!("--- clusters\n{clusters}\n--- operator\n{log}")
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<_> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
