//! Step 4: real clients, in pods, read exactly what they may.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Step;
use super::install::TEAMS;
use super::shell::{Pod, sh, try_sh};
use super::stage::Stage;
use crate::lab::command::create_dir;
use crate::lab::toolchain;

/// The step.
pub const STEP: Step = Step {
    title: "Real clients read exactly what they may",
    shows: "A Java producer writes with its Secret. In fraud a Java consumer reads placed with its ServiceAccount's token and \
            no Secret; in billing a C consumer (librdkafka) reads refunded with its Secret. Each is denied on the other \
            stream, and outside its namespace's consumer groups.",
    look: "kubectl -n fraud exec scorer -- java Reader /bindings/scorer/client.properties payments.orders.placed \
           fraud.scorer.me end",
    state: &[
        "kubectl get pods --all-namespaces",
        "kubectl -n payments describe pods",
        "kubectl -n fraud describe pods",
        "kubectl -n billing describe pods",
        "kubectl -n kafka logs kafka-0 --tail=20",
    ],
    run: clients,
};

/// The producer, in Java.
/// Writes.
pub const ORDERS_SERVICE: Pod = Pod { namespace: "payments", name: "orders-service" };
/// The consumer with a token, in Java.
const SCORER: Pod = Pod { namespace: "fraud", name: "scorer" };
/// The consumer with a Secret, in C.
pub const INVOICER: Pod = Pod { namespace: "billing", name: "invoicer-kcat" };

const PLACED: &str = "payments.orders.placed";
const REFUNDED: &str = "payments.orders.refunded";
const SCORER_PROPERTIES: &str = "/bindings/scorer/client.properties";

fn clients(stage: &mut Stage) -> Result<()> {
    start_pods(stage)?;
    fraud_has_no_secret(stage)?;
    let placed = write(stage, PLACED, "placed", 100)?;
    let refunded = write(stage, REFUNDED, "refunded", 60)?;
    fraud_reads_exactly_placed(stage, &placed)?;
    billing_reads_exactly_refunded(stage, &refunded)?;
    fraud_is_denied_the_rest(stage)?;
    billing_is_denied_the_rest(stage)?;
    the_broker_says_so_too(stage)?;
    payments_sees_it(stage)
}

/// Compiles the Java clients against the lab's Kafka, and starts the pods.
fn start_pods(stage: &Stage) -> Result<()> {
    stage.doing("compiling e2e/clients/*.java; starting orders-service, scorer (Java) and invoicer-kcat (C)");
    let classes = stage.paths.state.join("demo/classes");
    create_dir(&classes)?;
    let javac = toolchain::jdk()?.join("bin/javac");
    sh(&format!(
        "{} -nowarn -cp '{}/kafka/home/libs/*' -d {} {}/*.java",
        javac.display(),
        stage.paths.state.display(),
        classes.display(),
        stage.file("e2e/clients")
    ))
    .context("failed to compile the Java clients: a JDK >= 17 is needed")?;
    for team in TEAMS {
        sh(&format!("kubectl -n {team} create configmap clients --from-file={}", classes.display()))?;
    }
    stage.apply(include_str!("../../manifests/demo/clients.yaml"))?;
    for pod in [ORDERS_SERVICE, SCORER, INVOICER] {
        running(stage, &pod)?;
    }
    Ok(())
}

/// Waits until a pod runs.
///
/// # Errors
/// It does not.
pub fn running(stage: &Stage, pod: &Pod) -> Result<()> {
    let ask = format!("kubectl -n {} get pod {} -o jsonpath='{{.status.phase}}'", pod.namespace, pod.name);
    stage.until(&format!("pod {}/{} to run", pod.namespace, pod.name), Duration::from_secs(60), || {
        match try_sh(&ask).1 {
            phase if phase == "Running" => Ok(()),
            phase => Err(phase),
        }
    })
}

fn fraud_has_no_secret(stage: &Stage) -> Result<()> {
    let secrets = sh("kubectl -n fraud get secrets -o name")?;
    ensure!(secrets.trim().is_empty(), "there are Secrets in fraud: {secrets}");
    stage.seen("fraud has no Secret at all");
    Ok(())
}

/// Writes numbered records, and returns their values.
fn write(stage: &Stage, topic: &str, word: &str, count: usize) -> Result<Vec<String>> {
    let prefix = format!("{word}-{}", stage.run);
    let said = ORDERS_SERVICE.run(&format!(
        "java Writer /bindings/orders-service/client.properties {topic} {prefix} 0 {count} 2>/dev/null"
    ))?;
    ensure!(said.contains(&format!("WROTE {count}")), "the producer did not write {count} records: {said}");
    stage.doing(&format!("orders-service wrote {count} records to {topic}"));
    Ok((1..=count).map(|n| format!("{prefix}-{n:06}")).collect())
}

fn fraud_reads_exactly_placed(stage: &Stage, wanted: &[String]) -> Result<()> {
    let text = SCORER.run(&format!("java Reader {SCORER_PROPERTIES} {PLACED} fraud.scorer.demo-{} end", stage.run))?;
    compare("scorer", got(&text).into_iter().map(|r| r.value).collect(), wanted)?;
    stage.seen(&format!(
        "fraud/scorer (Java, token) read {} of {} records of {PLACED}, every value as written",
        wanted.len(),
        wanted.len()
    ));
    Ok(())
}

fn billing_reads_exactly_refunded(stage: &Stage, wanted: &[String]) -> Result<()> {
    let text = INVOICER.run(&format!(
        "timeout 60 kcat -F /bindings/invoicer/librdkafka.conf -X auto.offset.reset=earliest -q -e \
         -G billing.invoicer.demo-{} {REFUNDED} 2>/dev/null",
        stage.run
    ))?;
    compare("invoicer", text.lines().map(str::to_owned).collect(), wanted)?;
    stage.seen(&format!(
        "billing/invoicer (C, Secret) read {} of {} records of {REFUNDED}, every value as written",
        wanted.len(),
        wanted.len()
    ));
    Ok(())
}

/// A record that a `Reader` printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    /// Its partition and offset.
    pub position: (u32, u64),
    /// Its value.
    pub value: String,
}

/// The records in what a `Reader` printed.
pub fn got(text: &str) -> Vec<Got> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.strip_prefix("GOT ")?.splitn(3, ' ');
            let position = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            Some(Got { position, value: words.next()?.to_owned() })
        })
        .collect()
}

/// Fails unless `got` has the values that are wanted, each once, and nothing else.
fn compare(who: &str, mut got: Vec<String>, wanted: &[String]) -> Result<()> {
    got.sort();
    if got != wanted {
        let missing = wanted.iter().filter(|value| !got.contains(value)).count();
        let extra: Vec<_> = got.iter().filter(|value| !wanted.contains(value)).take(5).collect();
        bail!(
            "{who} read {} records instead of {}: {missing} are missing; not expected: {extra:?}",
            got.len(),
            wanted.len()
        );
    }
    Ok(())
}

fn fraud_is_denied_the_rest(stage: &Stage) -> Result<()> {
    for (topic, group, wanted) in [
        (REFUNDED, "fraud.scorer.demo", "TopicAuthorizationException"),
        (PLACED, "billing.invoicer.demo", "GroupAuthorizationException"),
    ] {
        let (_, text) = SCORER.try_run(&format!("java Reader {SCORER_PROPERTIES} {topic} {group} end"));
        let denied = denied(&text).filter(|line| line.contains(wanted));
        let Some(line) = denied else { bail!("scorer was not denied {topic} in group {group}: {text}") };
        ensure!(got(&text).is_empty(), "scorer read {topic} in group {group}: {text}");
        stage.seen(&format!("fraud/scorer denied: {line}"));
    }
    Ok(())
}

/// The first refusal that a `Reader` printed, without its time.
pub fn denied(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("DENIED ")?.split_once(' ').map(|(_, what)| what))
}

fn billing_is_denied_the_rest(stage: &Stage) -> Result<()> {
    for (what, arguments, wanted) in [
        (PLACED, format!("-C -t {PLACED} -o beginning -e"), "Topic authorization failed"),
        ("group fraud.scorer.demo", format!("-G fraud.scorer.demo {REFUNDED}"), "Group authorization failed"),
    ] {
        let (_, text) =
            INVOICER.try_run(&format!("timeout 10 kcat -F /bindings/invoicer/librdkafka.conf {arguments} 2>&1"));
        let Some(line) = text.lines().find(|line| line.contains(wanted)) else {
            bail!("invoicer was not denied {what}: {text}");
        };
        ensure!(!text.contains(&stage.run), "invoicer read records it may not: {text}");
        stage.seen(&format!("billing/invoicer denied: {line}"));
    }
    Ok(())
}

fn the_broker_says_so_too(stage: &Stage) -> Result<()> {
    let principal = principal_of("billing", "invoicer")?;
    for principal in ["system:serviceaccount:fraud:scorer", &principal] {
        let refusals = stage.refusals(principal, stage.began)?;
        let Some((broker, _, line)) = refusals.first() else {
            bail!("no broker logged a refusal of {principal}");
        };
        let said = line.split_once("Principal").map_or(line.as_str(), |(_, rest)| rest);
        stage.seen(&format!("kafka-{broker}'s authorizer: Principal{said}"));
    }
    Ok(())
}

/// The broker's log4j2 shipped the refusal to Weir's intake: the owner of the topic sees it as a SecurityEvent.
fn payments_sees_it(stage: &Stage) -> Result<()> {
    let principal = principal_of("billing", "invoicer")?;
    let told = stage.until("a SecurityEvent of the denial", Duration::from_secs(30), || {
        let ask = "kubectl -n payments get se -l weir.dev/action=AccessDenied -o json";
        let list: Value = serde_json::from_str(&try_sh(ask).1).map_err(|e| e.to_string())?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let is = |e: &&Value| {
            let client = &e["spec"]["client"];
            e["spec"]["actor"]["name"] == principal.as_str()
                && (&client["resourceName"], &client["resourceType"]) == (&json!(PLACED), &json!("Topic"))
                && client["operation"].is_string()
                && client["address"].as_str().is_some_and(|a| a.parse::<std::net::IpAddr>().is_ok())
        };
        items.iter().find(is).cloned().ok_or_else(|| format!("{} events", items.len()))
    })?;
    let spec = &told["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let shown = |at: &Value| text(at).parse::<Timestamp>().map_err(|e| anyhow::anyhow!("{e}: {at}"));
    let after = shown(&told["metadata"]["creationTimestamp"])?.duration_since(shown(&spec["window"]["start"])?);
    stage.seen(&format!(
        "kubectl -n payments get se: {} {}, from {}, {} times; {} s after the first",
        text(&spec["action"]),
        text(&spec["message"]),
        text(&spec["client"]["address"]),
        spec["count"],
        after.as_secs()
    ));
    Ok(())
}

/// The current principal of a StreamClient.
///
/// # Errors
/// It has none.
pub fn principal_of(namespace: &str, name: &str) -> Result<String> {
    let text = sh(&format!("kubectl -n {namespace} get streamclient {name} -o json"))?;
    let object: Value = serde_json::from_str(&text).context("failed to read a StreamClient")?;
    object["status"]["principal"]
        .as_str()
        .map(str::to_owned)
        .with_context(|| format!("{namespace}/{name} has no principal"))
}

#[cfg(test)]
mod tests {
    use super::{compare, denied, got};

    #[test]
    fn what_a_reader_prints_is_read() {
        let text =
            "NOTE: x\nGOT 2 17 placed-1 a\nDENIED 2026-01-01T00:00:00Z TopicAuthorizationException: no\nCLOSED 1\n";
        let records = got(text);
        assert_eq!((records[0].position, records[0].value.as_str()), ((2, 17), "placed-1 a"));
        assert_eq!(records.len(), 1);
        assert_eq!(denied(text), Some("TopicAuthorizationException: no"));
    }

    #[test]
    fn a_record_that_is_missing_or_repeated_is_told() {
        let wanted = ["a".to_owned(), "b".to_owned()];
        assert!(compare("x", vec!["b".into(), "a".into()], &wanted).is_ok());
        assert!(compare("x", vec!["a".into()], &wanted).is_err());
        assert!(compare("x", vec!["a".into(), "a".into(), "b".into()], &wanted).is_err());
    }
}
