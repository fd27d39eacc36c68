//! What stands on record of one thing.

use serde_json::Value;
use weir::api::{Action, SecurityEvent};

use crate::harness::operator::Operator;
pub use crate::harness::trail::{export, export_as, verify};
use crate::harness::{Harness, NAMESPACE, SOON, Tenant, until};

/// The first event of an action in a namespace that `is` it.
pub async fn seen(tenant: &Tenant, action: Action, is: impl Fn(&SecurityEvent) -> bool) -> SecurityEvent {
    until(SOON, &[&tenant.name], &format!("a SecurityEvent {action:?} in {}", tenant.name), || async {
        let all = tenant.security_events(action).await;
        all.iter().find(|e| is(e)).cloned().ok_or_else(|| format!("{all:#?}"))
    })
    .await
}

/// What the metrics of a pod of Weir's say of a series, if it has that.
pub async fn metric_of(h: &Harness, pod: &str, series: &str) -> Option<f64> {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{pod}:8080/proxy/metrics");
    let request = http::Request::get(path).body(Vec::new()).unwrap();
    let metrics = h.client.request_text(request).await.unwrap();
    let value = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.map(|text| text.trim().parse().unwrap())
}

/// Waits until the leader's metrics say so of a series.
pub async fn metric(h: &Harness, series: &str, is: impl Fn(f64) -> bool) {
    let leader = Operator::of(h).governing().await;
    until(SOON, &[], &format!("what the metric {series} should say"), || async {
        let value = metric_of(h, &leader, series).await;
        if value.is_some_and(&is) { Ok(()) } else { Err(format!("{value:?}")) }
    })
    .await;
}

/// What was told, as Weir has it: the events of an action about an object of a namespace.
pub async fn recorded(action: &str, namespace: &str) -> Vec<Value> {
    let is = |event: &&Value| event["action"] == action && event["object"]["namespace"] == namespace;
    let all = export().await;
    all.iter().map(|event| &event["unmapped"]["event"]).filter(is).cloned().collect()
}
