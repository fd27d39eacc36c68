//! Step 5: a binding is deleted under a running consumer.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;

use super::Step;
use super::clients::{denied, got, running};
use super::shell::{Pod, sh, try_sh};
use super::stage::Stage;

/// The step.
pub const STEP: Step = Step {
    title: "A binding is deleted: its running consumer is denied",
    shows: "scorer-live reads placed. Its binding goes; every broker refuses its next fetch, and the client gets Kafka's \
            TopicAuthorizationException, although its token and its connection are still good.",
    look: "kubectl -n fraud logs scorer-live --tail=3",
    state: &[
        "kubectl -n fraud describe pod scorer-live",
        "kubectl -n fraud logs scorer-live --tail=10",
        "kubectl -n fraud describe rolebindings.weir.dev",
        "kubectl -n weir-system logs deployment/weir --tail=40",
    ],
    run: revoked,
};

const LIVE: Pod = Pod { namespace: "fraud", name: "scorer-live" };
const PRINCIPAL: &str = "system:serviceaccount:fraud:scorer";
/// How long a revocation may take, as the brokers show it. Aimed at is one second; a busy machine may need more.
const LIMIT: Duration = Duration::from_secs(5);
/// Records of step 4 that it reads before.
const RECORDS: usize = 100;

fn revoked(stage: &mut Stage) -> Result<()> {
    start_reading(stage)?;
    let deleted = delete_the_binding(stage)?;
    every_broker_denies(stage, deleted)?;
    the_client_is_told(stage, deleted)?;
    nothing_is_left_on_the_cluster(stage)
}

fn start_reading(stage: &Stage) -> Result<()> {
    stage.apply(include_str!("../../manifests/demo/scorer-live.yaml"))?;
    running(stage, &LIVE)?;
    stage.until("scorer-live to read", Duration::from_secs(60), || {
        let count = got(&log()).len();
        if count == RECORDS { Ok(()) } else { Err(format!("{count} records of {RECORDS}")) }
    })?;
    let log = log();
    ensure!(denied(&log).is_none(), "scorer-live is denied while it is bound: {log}");
    stage.doing(&format!("scorer-live has read {RECORDS} records and waits for more"));
    Ok(())
}

fn log() -> String {
    try_sh("kubectl -n fraud logs scorer-live").1
}

/// Deletes it, and returns when that was asked for.
fn delete_the_binding(stage: &Stage) -> Result<Timestamp> {
    stage.doing("kubectl -n fraud delete srb scorer-reads-placed");
    let (at, start) = (Timestamp::now(), Instant::now());
    sh("kubectl -n fraud delete srb scorer-reads-placed --timeout=60s")?;
    stage.seen(&format!("gone after {:.2} s, once every broker had been asked", start.elapsed().as_secs_f64()));
    Ok(at)
}

fn every_broker_denies(stage: &Stage, deleted: Timestamp) -> Result<()> {
    // placed has three partitions, led by a broker each: the consumer fetches from all three.
    let refusals = stage.until("a refusal by every broker", Duration::from_secs(15), || {
        let refusals = stage.refusals(PRINCIPAL, deleted).map_err(|error| error.to_string())?;
        if refusals.len() == 3 { Ok(refusals) } else { Err(format!("{} of 3 brokers refuse", refusals.len())) }
    })?;
    let mut times = Vec::new();
    for (broker, at, _) in &refusals {
        let after = since(deleted, *at)?;
        ensure!(after <= LIMIT, "kafka-{broker} refused only after {:.2} s", after.as_secs_f64());
        times.push(format!("kafka-{broker} after {:.2} s", after.as_secs_f64()));
    }
    stage.seen(&format!("first fetch denied by {}", times.join(", ")));
    Ok(())
}

fn since(then: Timestamp, at: Timestamp) -> Result<Duration> {
    Duration::try_from(at.duration_since(then)).context("failed to compare times")
}

fn the_client_is_told(stage: &Stage, deleted: Timestamp) -> Result<()> {
    let line = stage.until("scorer-live to be denied", Duration::from_secs(30), || {
        let log = log();
        let line = log.lines().find(|l| l.starts_with("DENIED") && l.contains("TopicAuthorizationException"));
        line.map(str::to_owned).ok_or(log)
    })?;
    let Some((at, what)) = line.strip_prefix("DENIED ").and_then(|rest| rest.split_once(' ')) else {
        bail!("scorer-live printed: {line}");
    };
    let at: Timestamp = at.parse().context("failed to read when scorer-live was denied")?;
    stage.seen(&format!("scorer-live after {:.2} s: {what}", since(deleted, at)?.as_secs_f64()));
    Ok(())
}

fn nothing_is_left_on_the_cluster(stage: &Stage) -> Result<()> {
    let list = sh(&format!(
        "kafka-acls.sh --bootstrap-server $KAFKA_BOOTSTRAP --command-config $KAFKA_ADMIN_PROPERTIES \
         --list --principal User:{PRINCIPAL}"
    ))?;
    ensure!(!list.contains("operation="), "entries are left: {list}");
    stage.seen(&format!("kafka-acls.sh --list --principal User:{PRINCIPAL}: nothing"));
    Ok(())
}
