//! Step 8: another organisation reads a copy, on a cluster of its own.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};

use super::Step;
use super::acme::{Acme, agree, phase};
use super::clients::ORDERS_SERVICE;
use super::shell::{sh, sh_with};
use super::stage::Stage;
use crate::lab::kafka_cluster::KafkaCluster;

/// The step.
pub const STEP: Step = Step {
    title: "A private product leaves by copy only, and the copy ends with its evidence",
    shows: "payments shares placed of orders, which is Private, with Acme: real MirrorMaker 2, which Weir runs, copies it to \
            the sharing account, another Kafka. Acme reads there with its bundle alone, and is refused at the source. The \
            share is revoked, and its evidence is printed; another one expires by itself.",
    look: "kubectl -n payments describe externalshare orders-out",
    state: &[
        "kubectl -n payments get externalshares,accessapprovals,invitations -o wide",
        "kubectl -n payments describe externalshare orders-out",
        "kubectl describe streamcluster sharing",
        "kubectl -n weir-system get pods",
        "kubectl -n weir-system logs -l app.kubernetes.io/name=weir-connect --tail=40",
        "kubectl -n weir-system logs deployment/weir --tail=40",
    ],
    run: copied,
};

const SHARE: &str = "orders-out";
const TOPIC: &str = "payments.orders.placed";
const COPY: &str = "payments.orders-out.payments.orders.placed";
const RECORDS: usize = 50;

fn copied(stage: &mut Stage) -> Result<()> {
    let acme = Acme::again(stage);
    sharing_account(stage)?;
    sh(&format!("kubectl apply -f {}", stage.file("config/samples/sharing/share.yaml")))?;
    phase(stage, SHARE, "PendingApproval")?;
    agree(stage, &acme, SHARE)?;
    reads_the_copy(stage, &acme)?;
    another_expires(stage, &acme)?;
    revoked(stage, &acme)
}

/// The second Kafka, and Weir's leave to run Kafka Connect.
fn sharing_account(stage: &Stage) -> Result<()> {
    stage.doing("a second Kafka comes up in namespace kafka-sharing");
    let jwks = sh("kubectl -n kafka get configmap kafka-config -o 'jsonpath={.data.jwks\\.json}'")?;
    let kafka = KafkaCluster::beside(&stage.lab, "kafka-sharing", &jwks);
    sh_with("kubectl apply -f -", &kafka.manifest_with_new_certificate(&stage.lab)?)?;
    sh("kubectl -n kafka-sharing rollout restart statefulset/kafka")?;
    sh("kubectl -n kafka-sharing rollout status statefulset/kafka --timeout=180s")?;
    let values = "--set replication.enabled=true";
    stage.doing(&format!("helm upgrade weir charts/weir --namespace weir-system --reuse-values {values} --wait"));
    sh(&format!(
        "helm upgrade weir {} --namespace weir-system --reuse-values {values} --wait --timeout 3m",
        stage.file("charts/weir")
    ))?;
    stage.doing("kubectl apply -f config/samples/sharing/streamcluster.yaml");
    let sample = std::fs::read_to_string(stage.file("config/samples/sharing/streamcluster.yaml"))
        .context("failed to read the sample")?;
    // The lab has an image of its own, and no registry.
    let image = format!("image: {}\n        imagePullPolicy: Never", stage.lab.images.kafka);
    sh_with("kubectl apply -f -", &sample.replace("image: apache/kafka:4.3.1", &image))?;
    stage.until_ready("streamcluster/sharing", Duration::from_secs(90))
}

fn reads_the_copy(stage: &Stage, acme: &Acme) -> Result<()> {
    ORDERS_SERVICE.run(&format!(
        "java Writer /bindings/orders-service/client.properties {TOPIC} copied-{} 0 {RECORDS} 2>/dev/null",
        stage.run
    ))?;
    stage.doing(&format!("orders-service wrote {RECORDS} records to {TOPIC}"));
    stage.seen(&acme.partner(stage, &format!("credential {SHARE} --output copy"), "none")?);
    let wanted: BTreeSet<_> = (1..=RECORDS).map(|n| format!("copied-{}-{n:06}", stage.run)).collect();
    stage.until("Acme to read the copy", Duration::from_secs(60), || {
        let (ok, text) = acme.kcat("copy", &format!("-C -q -e -o beginning -t {COPY} 2>/dev/null"));
        let got: BTreeSet<_> = text.lines().map(str::to_owned).collect();
        if ok && got == wanted { Ok(()) } else { Err(format!("{} of {RECORDS} records: {text}", got.len())) }
    })?;
    stage.seen(&format!("acme read {RECORDS} of {RECORDS} records of {COPY}, and none from before the share"));
    used(stage, acme)?;
    let (ok, text) = acme.kcat("copy", &format!("-X bootstrap.servers={} -L -m 20", stage.lab.kafka.scram));
    let refusal = text.lines().find(|l| l.contains("Authentication failed"));
    ensure!(!ok && refusal.is_some(), "acme was not refused at the source: {text}");
    stage.seen(&format!("acme at the source: {}", refusal.unwrap_or_default()));
    let pods = "kubectl -n weir-system get pods -l app.kubernetes.io/name=weir-connect";
    stage.doing(pods);
    stage.seen(&sh(pods)?);
    stage.seen(&sh("kubectl -n payments describe externalshare orders-out | sed -n '/Replication:/,/Streams:/p'")?);
    stage.seen(&acme.partner(stage, "shares", "none")?);
    Ok(())
}

/// A consumer group of Acme's reads it, and both sides see how much.
fn used(stage: &Stage, acme: &Acme) -> Result<()> {
    let of = |path: &str| sh(&format!("kubectl -n payments get externalshare {SHARE} -o 'jsonpath={{{path}}}'"));
    stage.until("a first look at what Acme reads", Duration::from_secs(60), || {
        let since = of(".status.partners[0].usage.since").map_err(|e| e.to_string())?;
        if since.is_empty() { Err("nobody looked yet".into()) } else { Ok(()) }
    })?;
    let group = format!("{}demo", of(".status.partners[0].groupPrefix")?);
    let (ok, text) = acme.kcat("copy", &format!("-X auto.offset.reset=earliest -q -e -G {group} {COPY} 2>/dev/null"));
    ensure!(ok, "acme's group could not read: {text}");
    stage.until("what Acme read to be seen", Duration::from_secs(60), || {
        let records = of(".status.partners[0].usage.records").map_err(|e| e.to_string())?;
        if records == RECORDS.to_string() { Ok(()) } else { Err(format!("{records} of {RECORDS}")) }
    })?;
    stage.seen(&sh(&format!("kubectl -n payments describe externalshare {SHARE} | sed -n '/Usage:/,/Phase:/p'"))?);
    stage.seen(&acme.partner(stage, &format!("contract {SHARE}"), "none")?);
    Ok(())
}

/// What was proven of an end.
fn proven(stage: &Stage, share: &str) -> Result<()> {
    let path =
        "jsonpath={.status.partners[0].message}{\"\\n\"}{.status.partners[0].revocation}{\"\\n\"}{.status.replication}";
    stage.seen(&sh(&format!("kubectl -n payments get externalshare {share} -o '{path}'"))?);
    let proven = sh(&format!(
        "kubectl -n payments get externalshare {share} -o 'jsonpath={{.status.partners[0].revocation.proven}}'"
    ))?;
    ensure!(proven == "LoginRefused", "the end of {share} is proven as {proven} only");
    Ok(())
}

/// A share for half a minute.
fn another_expires(stage: &Stage, acme: &Acme) -> Result<()> {
    let end = Timestamp::now() + SignedDuration::from_secs(45);
    let sample = std::fs::read_to_string(stage.file("config/samples/sharing/share.yaml"))
        .context("failed to read the sample")?;
    let brief = sample.replace("orders-out", "orders-brief").replace("2099-12-31T00:00:00Z", &format!("{end:.0}"));
    sh_with("kubectl apply -f -", &brief)?;
    stage.doing(&format!("orders-brief, the same until {end:.0}"));
    phase(stage, "orders-brief", "PendingApproval")?;
    agree(stage, acme, "orders-brief")?;
    phase(stage, "orders-brief", "Expired")?;
    proven(stage, "orders-brief")
}

fn revoked(stage: &Stage, acme: &Acme) -> Result<()> {
    let revoke = "kubectl -n payments patch externalshare orders-out --type merge -p '{\"spec\":{\"revoke\":{\"reason\":\"the contract is over\"}}}'";
    stage.doing(revoke);
    sh(revoke)?;
    phase(stage, SHARE, "Revoked")?;
    proven(stage, "orders-out")?;
    let (ok, text) = acme.kcat("copy", "-L -m 20");
    let refusal = text.lines().find(|l| l.contains("Authentication failed"));
    ensure!(!ok && refusal.is_some(), "acme was not refused: {text}");
    stage.seen(&format!("acme at the sharing account: {}", refusal.unwrap_or_default()));
    Ok(())
}
