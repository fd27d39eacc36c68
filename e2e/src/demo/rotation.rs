//! Step 6: credentials rotate under a running consumer, and no record is missed or repeated.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::Step;
use super::clients::{Got, INVOICER, got, principal_of, running};
use super::shell::{Pod, sh, try_sh};
use super::stage::Stage;
use crate::lab::command::{create_dir, read};

/// The step.
pub const STEP: Step = Step {
    title: "Credentials rotate: the consumer rolls over, misses nothing and repeats nothing",
    shows: "While refunds are written, invoicer gets its next version. Its Deployment is restarted, and the new pod goes on \
            with the new Secret. The old version works through the overlap; after it the brokers refuse its login.",
    look: "kubectl -n billing get streamclient invoicer -o jsonpath={.status.credentials}",
    state: &[
        "kubectl -n billing describe streamclient invoicer",
        "kubectl -n billing get pods",
        "kubectl -n billing logs deployment/invoicer --tail=5",
        "kubectl -n payments logs refunds --tail=5",
        "kubectl -n weir-system logs deployment/weir --tail=40",
    ],
    run: rotated,
};

const REFUNDS: Pod = Pod { namespace: "payments", name: "refunds" };
/// How long the old version works beside the new one: a rollout takes some seconds.
const OVERLAP: &str = "30s";

fn rotated(stage: &mut Stage) -> Result<()> {
    keep_the_old_version(stage)?;
    let mut logs = Logs::new(stage)?;
    start_writing_and_reading(stage, &mut logs)?;
    let before = rotate(stage)?;
    the_old_version_still_works(stage)?;
    roll_over(stage, &mut logs)?;
    let written = stop_writing(stage)?;
    nothing_missed_nothing_repeated(stage, &logs, written)?;
    the_old_version_is_refused(stage, &before)
}

fn keep_the_old_version(stage: &Stage) -> Result<()> {
    INVOICER.run("cp /bindings/invoicer/librdkafka.conf /tmp/old.conf && cp /bindings/invoicer/ca.crt /tmp/ca.crt")?;
    stage.doing("a copy of the old version's librdkafka.conf is kept in the pod invoicer-kcat");
    Ok(())
}

fn start_writing_and_reading(stage: &Stage, logs: &mut Logs) -> Result<()> {
    stage.apply(include_str!("../../manifests/demo/refunds.yaml"))?;
    stage.apply(include_str!("../../manifests/demo/invoicer.yaml"))?;
    running(stage, &REFUNDS)?;
    let pod = only_pod(stage, None)?;
    logs.follow(&pod)?;
    until_it_reads(stage, logs, &pod)?;
    stage.doing(&format!("refunds writes without end; pod {pod} reads"));
    Ok(())
}

/// The Deployment's pod that runs and is not `old`.
fn only_pod(stage: &Stage, old: Option<&str>) -> Result<String> {
    let ask = "kubectl -n billing get pods -l app=invoicer --field-selector=status.phase=Running \
               -o jsonpath='{range .items[*]}{.metadata.name}{\"\\n\"}{end}'";
    stage.until("a pod of the Deployment invoicer to run", Duration::from_secs(60), || {
        let names = try_sh(ask).1;
        names.lines().find(|name| Some(*name) != old && name.starts_with("invoicer-")).map(str::to_owned).ok_or(names)
    })
}

fn until_it_reads(stage: &Stage, logs: &Logs, pod: &str) -> Result<()> {
    stage.until(&format!("pod {pod} to read what is written now"), Duration::from_secs(90), || {
        let text = logs.of(pod);
        let live = got(&text).iter().filter(|record| record.value.starts_with("rotation-")).count();
        if live >= 20 { Ok(()) } else { Err(format!("{live} of the first 20 records")) }
    })
}

/// Asks for the next version, and returns the principal of the one before.
fn rotate(stage: &Stage) -> Result<String> {
    let before = principal_of("billing", "invoicer")?;
    let rotation =
        format!("{{\"spec\":{{\"credentials\":{{\"rotation\":{{\"every\":\"1h\",\"overlap\":\"{OVERLAP}\"}}}}}}}}");
    sh(&format!("kubectl -n billing patch streamclient invoicer --type=merge -p '{rotation}'"))?;
    stage
        .doing(&format!("kubectl -n billing annotate streamclient invoicer weir.dev/rotate={} --overwrite", stage.run));
    sh(&format!("kubectl -n billing annotate streamclient invoicer weir.dev/rotate={} --overwrite", stage.run))?;
    let ask = "kubectl -n billing get secret invoicer -o go-template='{{.data.principal | base64decode}}'";
    let after = stage.until("the next version in the Secret", Duration::from_secs(30), || match try_sh(ask) {
        (true, principal) if principal != before => Ok(principal),
        (_, text) => Err(text),
    })?;
    stage.seen(&format!("Secret billing/invoicer: {before} became {after}"));
    Ok(before)
}

fn the_old_version_still_works(stage: &Stage) -> Result<()> {
    let (ok, text) = try_old_version();
    ensure!(ok, "the old version does not work within the overlap: {text}");
    stage.seen("the old version still logs in: the overlap has begun");
    Ok(())
}

/// Logs in with the old version and asks for the metadata of the stream.
fn try_old_version() -> (bool, String) {
    INVOICER.try_run(
        "timeout 15 kcat -F /tmp/old.conf -X ssl.ca.location=/tmp/ca.crt -L -t payments.orders.refunded -m 5 2>&1",
    )
}

fn roll_over(stage: &Stage, logs: &mut Logs) -> Result<()> {
    let old = only_pod(stage, None)?;
    stage.doing("kubectl -n billing rollout restart deployment invoicer");
    sh("kubectl -n billing rollout restart deployment invoicer")?;
    let new = only_pod(stage, Some(&old))?;
    logs.follow(&new)?;
    sh("kubectl -n billing rollout status deployment invoicer --timeout=60s")?;
    stage.until(&format!("pod {old} to close"), Duration::from_secs(60), || {
        let text = logs.of(&old);
        if text.contains("CLOSED") { Ok(()) } else { Err(text.lines().last().unwrap_or_default().to_owned()) }
    })?;
    until_it_reads(stage, logs, &new)?;
    stage.seen(&format!("{old} closed, {new} reads on, in the same consumer group"));
    Ok(())
}

/// Ends the producer, and returns how many records the brokers acknowledged.
fn stop_writing(stage: &Stage) -> Result<u64> {
    REFUNDS.run("kill -TERM 1")?;
    stage.until("the producer to end", Duration::from_secs(30), || {
        let text = try_sh("kubectl -n payments logs refunds").1;
        let count = text.lines().find_map(|line| line.strip_prefix("WROTE ")?.parse().ok());
        count.ok_or(text)
    })
}

fn nothing_missed_nothing_repeated(stage: &Stage, logs: &Logs, written: u64) -> Result<()> {
    let last = format!("rotation-{}-{written:06}", stage.run);
    stage.until("the last record to be read", Duration::from_secs(60), || {
        let all = logs.all();
        if all.iter().any(|(_, text)| text.contains(&last)) { Ok(()) } else { Err(format!("{last} was not read yet")) }
    })?;
    let all = logs.all();
    for (pod, text) in &all {
        ensure!(!text.contains("DENIED"), "pod {pod} was denied: {text}");
    }
    let read: Vec<Got> = all.iter().flat_map(|(_, text)| got(text)).collect();
    let prefix = format!("rotation-{}-", stage.run);
    let report = account(&read, &prefix, written);
    ensure!(report.is_empty(), "of {written} records that were written:\n{}", report.join("\n"));
    let shares: Vec<_> = all.iter().map(|(pod, text)| format!("{} by {pod}", got(text).len())).collect();
    stage.seen(&format!(
        "{written} records written; {} read, {} ({} of step 4 before): none missed, none repeated",
        read.len(),
        shares.join(", "),
        read.len() as u64 - written
    ));
    Ok(())
}

/// What is wrong with what was read: numbers missed, offsets read twice.
fn account(read: &[Got], prefix: &str, written: u64) -> Vec<String> {
    let mut times: BTreeMap<(u32, u64), u32> = BTreeMap::new();
    for record in read {
        *times.entry(record.position).or_default() += 1;
    }
    let numbers: std::collections::BTreeSet<u64> =
        read.iter().filter_map(|record| record.value.strip_prefix(prefix)?.parse().ok()).collect();
    let mut wrong: Vec<_> = times
        .iter()
        .filter(|(_, n)| **n > 1)
        .map(|((p, o), n)| format!("partition {p} offset {o} was read {n} times"))
        .collect();
    wrong.extend((1..=written).filter(|n| !numbers.contains(n)).map(|n| format!("{prefix}{n:06} was missed")));
    wrong.truncate(10);
    wrong
}

fn the_old_version_is_refused(stage: &Stage, before: &str) -> Result<()> {
    let ask = "kubectl -n billing get streamclient invoicer -o jsonpath='{.status.credentials[*].principal}'";
    stage.doing(&format!("waiting for the end of the overlap ({OVERLAP})"));
    stage.until("the old version to retire", Duration::from_secs(120), || {
        let names = try_sh(ask).1;
        if names.split_whitespace().any(|name| name == before) { Err(names) } else { Ok(()) }
    })?;
    let line = stage.until("the brokers to refuse the old version", Duration::from_secs(20), || {
        let (ok, text) = try_old_version();
        let line = text.lines().find(|line| line.contains("uthentication"));
        if ok { Err(text) } else { line.map(str::to_owned).ok_or(text) }
    })?;
    let said = line.find("SASL").map_or(line.as_str(), |at| &line[at..]);
    stage.seen(&format!("{before}: {said}"));
    let lives = only_pod(stage, None)?;
    let text = sh(&format!("kubectl -n billing logs {lives} --tail=1"))?;
    if text.contains("DENIED") || text.contains("CLOSED") {
        bail!("pod {lives} does not read any more: {text}");
    }
    stage.seen(&format!("{lives} is connected as before"));
    Ok(())
}

/// What pods print, followed into files from their start: a pod that is gone has no log.
struct Logs {
    dir: PathBuf,
    pods: Vec<(String, Child)>,
}

impl Logs {
    fn new(stage: &Stage) -> Result<Self> {
        let dir = stage.paths.state.join("demo").join(&stage.run);
        create_dir(&dir)?;
        Ok(Self { dir, pods: Vec::new() })
    }

    fn follow(&mut self, pod: &str) -> Result<()> {
        let path = self.dir.join(pod);
        let file = File::create(&path).with_context(|| format!("failed to write {}", path.display()))?;
        let child = Command::new("kubectl")
            .args(["-n", "billing", "logs", "--follow", pod])
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(Stdio::null())
            .spawn()
            .context("failed to start kubectl")?;
        self.pods.push((pod.to_owned(), child));
        Ok(())
    }

    fn of(&self, pod: &str) -> String {
        read(&self.dir.join(pod)).unwrap_or_default()
    }

    fn all(&self) -> Vec<(String, String)> {
        self.pods.iter().map(|(pod, _)| (pod.clone(), self.of(pod))).collect()
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        for (_, child) in &mut self.pods {
            // It may have ended with its pod.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::clients::got;
    use super::account;

    #[test]
    fn a_record_missed_or_repeated_across_pods_is_told() {
        let old = "GOT 0 0 refunded-1\nGOT 0 1 r-000001\nGOT 0 2 r-000002\n";
        let fine = got(&format!("{old}GOT 0 3 r-000003"));
        assert!(account(&fine, "r-", 3).is_empty());
        let repeated = got(&format!("{old}GOT 0 2 r-000002\nGOT 0 3 r-000003"));
        assert_eq!(account(&repeated, "r-", 3), ["partition 0 offset 2 was read 2 times"]);
        let missed = got("GOT 0 1 r-000001\nGOT 0 3 r-000003");
        assert_eq!(account(&missed, "r-", 3), ["r-000002 was missed"]);
    }
}
