//! Step 9: the SecurityEvents of all that.

use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::Value;

use super::Step;
use super::shell::{sh, try_sh};
use super::stage::Stage;

/// The step.
pub const STEP: Step = Step {
    title: "What happened stands in SecurityEvents, and on record",
    shows: "One event for each change of a binding or a credential: granted, issued, rotated, revoked; and for what a broker refused. They never change. Before that, each is on record in a Kafka topic, which weir audit proves.",
    look: "kubectl get se --all-namespaces --sort-by=.spec.time",
    state: &[
        "kubectl get se --all-namespaces --sort-by=.spec.time",
        "kubectl -n weir-system logs deployment/weir --tail=40",
    ],
    run: told,
};

/// What must be told: action, namespace, object.
const WANTED: [(&str, &str, &str); 14] = [
    ("CredentialIssued", "payments", "orders-service"),
    ("CredentialIssued", "billing", "invoicer"),
    ("AccessGranted", "payments", "orders-service-writes"),
    ("AccessGranted", "fraud", "scorer-reads-placed"),
    ("AccessGranted", "billing", "invoicer-reads-refunded"),
    ("AccessRevoked", "fraud", "scorer-reads-placed"),
    ("CredentialRotated", "billing", "invoicer"),
    ("CredentialRevoked", "billing", "invoicer"),
    ("ShareStarted", "payments", "rates-out"),
    ("CredentialFetched", "payments", "rates-out"),
    ("ShareEnded", "payments", "rates-out"),
    ("ShareStarted", "payments", "orders-out"),
    ("ShareEnded", "payments", "orders-out"),
    ("ShareEnded", "payments", "orders-brief"),
];

fn told(stage: &mut Stage) -> Result<()> {
    stage.until("an event for everything that happened", Duration::from_secs(30), || {
        let events = events_since(stage.began).map_err(|error| error.to_string())?;
        let missing: Vec<_> = WANTED
            .iter()
            .filter(|wanted| !events.iter().any(|event| event == *wanted))
            .map(|(action, namespace, name)| format!("{action} {namespace}/{name}"))
            .collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("no event {}", missing.join(", no event "))) }
    })?;
    stage.seen(&sh("kubectl get se --all-namespaces --sort-by=.spec.time")?);
    immutable(stage)?;
    on_record(stage)
}

/// All of it is on record: what happened to one share, and that nobody changed anything.
fn on_record(stage: &Stage) -> Result<()> {
    stage.doing("weir audit evidence -n payments externalshare/rates-out");
    stage.seen(&sh("weir audit evidence -n payments externalshare/rates-out")?);
    stage.doing("weir audit verify");
    stage.seen(&sh("weir audit verify")?);
    Ok(())
}

/// Action, namespace and name of the object, of the events since `since`.
fn events_since(since: Timestamp) -> Result<Vec<(&'static str, &'static str, &'static str)>> {
    let list: Value = serde_json::from_str(&sh("kubectl get securityevents --all-namespaces -o json")?)
        .context("failed to read the SecurityEvents")?;
    let items = list["items"].as_array().cloned().unwrap_or_default();
    let recent = items.iter().map(|item| &item["spec"]).filter(|spec| {
        let time = spec["time"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
        // Times in a status have whole seconds.
        time.is_some_and(|time| time.as_second() >= since.as_second())
    });
    let known = recent.filter_map(|spec| {
        let object = &spec["object"];
        WANTED.into_iter().find(|(action, namespace, name)| {
            spec["action"] == *action && object["namespace"] == *namespace && object["name"] == *name
        })
    });
    Ok(known.collect())
}

fn immutable(stage: &Stage) -> Result<()> {
    let name = sh("kubectl -n fraud get se -o name")?;
    let Some(name) = name.lines().next() else { return Ok(()) };
    let (changed, text) =
        try_sh(&format!("kubectl -n fraud patch {name} --type=merge -p '{{\"spec\":{{\"reason\":\"Nothing\"}}}}'"));
    anyhow::ensure!(!changed, "the administrator could change {name}");
    stage.seen(&format!("the administrator may not change one: {}", text.trim()));
    Ok(())
}
