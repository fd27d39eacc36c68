//! Step 7: another organisation reads, without any access to Kubernetes.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rcgen::generate_simple_self_signed;
use serde_json::json;

use super::Step;
use super::acme::{Acme, HOST, OLGA, agree, phase};
use super::clients::ORDERS_SERVICE;
use super::platform::{give, secret};
use super::shell::sh;
use super::stage::Stage;

/// The step.
pub const STEP: Step = Step {
    title: "A partner reads, without any access to Kubernetes, until it is revoked",
    shows: "payments shares its public product rates with Acme. Olga approves and invites; Acme accepts over the partner API with \
            weir partner, which makes its keys, and fetches its credential, which is encrypted for it. kcat reads with that \
            alone. Then the share is revoked: every broker was asked, and the login is refused.",
    look: "kubectl -n payments describe externalshare rates-out",
    state: &[
        "kubectl -n payments get externalshares,accessapprovals,invitations -o wide",
        "kubectl -n payments describe externalshare rates-out",
        "kubectl -n weir-system logs deployment/weir-partners --tail=20",
        "kubectl -n weir-system logs deployment/weir --tail=40",
    ],
    run: shared,
};

const SHARE: &str = "rates-out";
const TOPIC: &str = "payments.rates.daily";
const RECORDS: usize = 20;

fn shared(stage: &mut Stage) -> Result<()> {
    let acme = Acme::new(stage)?;
    serve_partners(stage, &acme)?;
    offer(stage)?;
    agree(stage, &acme, SHARE)?;
    fetches(stage, &acme)?;
    reads(stage, &acme)?;
    revoked(stage, &acme)
}

fn serve_partners(stage: &Stage, acme: &Acme) -> Result<()> {
    let made = generate_simple_self_signed([HOST.to_owned()]).context("failed to make a certificate")?;
    let data = json!({"tls.crt": made.cert.pem(), "tls.key": made.signing_key.serialize_pem()});
    give(&[secret("weir-partners-tls", "kubernetes.io/tls", &data)])?;
    std::fs::write(acme.home.join("ca.crt"), made.cert.pem()).context("failed to write the authority")?;
    let values = "--set partners.enabled=true --set partners.tls.secretName=weir-partners-tls";
    stage.doing(&format!("helm upgrade weir charts/weir --namespace weir-system --reuse-values {values} --wait"));
    sh(&format!(
        "helm upgrade weir {} --namespace weir-system --reuse-values {values} --wait --timeout 3m",
        stage.file("charts/weir")
    ))?;
    // An earlier run's pods have an earlier certificate.
    sh("kubectl -n weir-system rollout restart deployment weir-partners")?;
    sh("kubectl -n weir-system rollout status deployment weir-partners --timeout=120s").map(drop)
}

fn offer(stage: &Stage) -> Result<()> {
    stage.doing("kubectl apply -f config/samples/partner");
    sh(&format!("kubectl apply -f {}", stage.file("config/samples/partner")))?;
    stage.until_ready("-n payments dataproduct/rates", Duration::from_secs(60))?;
    stage.until_ready("-n payments rolebindings.weir.dev/orders-service-writes-rates", Duration::from_secs(60))?;
    ORDERS_SERVICE.run(&format!(
        "java Writer /bindings/orders-service/client.properties {TOPIC} rate-{} 0 {RECORDS} 2>/dev/null",
        stage.run
    ))?;
    stage.doing(&format!("orders-service wrote {RECORDS} records to {TOPIC}"));
    phase(stage, SHARE, "PendingApproval")
}

fn fetches(stage: &Stage, acme: &Acme) -> Result<()> {
    stage.seen(&acme.partner(stage, "credential --output kafka", "none")?);
    stage.seen(&acme.partner(stage, "shares", "none")?);
    stage.seen(&sh("kubectl -n payments get externalshares")?);
    Ok(())
}

/// Reads all of it, and nothing else.
fn reads(stage: &Stage, acme: &Acme) -> Result<()> {
    let path = "jsonpath={.status.partners[0].groupPrefix}";
    let groups = sh(&format!("kubectl -n payments get externalshare rates-out -o '{path}'"))?;
    let (ok, text) =
        acme.kcat("kafka", &format!("-X auto.offset.reset=earliest -q -e -G {groups}demo {TOPIC} 2>/dev/null"));
    let got: BTreeSet<_> = text.lines().map(str::to_owned).collect();
    let wanted: BTreeSet<_> = (1..=RECORDS).map(|n| format!("rate-{}-{n:06}", stage.run)).collect();
    ensure!(ok && got == wanted, "acme read {got:?}");
    stage.seen(&format!(
        "acme (C, credential alone) read {RECORDS} of {RECORDS} records of {TOPIC}, every value as written"
    ));
    let (ok, text) = acme.kcat("kafka", "-C -e -t payments.orders.placed");
    let denial = text.lines().find(|l| l.contains("Topic authorization failed"));
    ensure!(!ok && denial.is_some(), "acme was not denied payments.orders.placed: {text}");
    stage.seen(&format!("acme denied: {}", denial.unwrap_or_default()));
    Ok(())
}

fn revoked(stage: &Stage, acme: &Acme) -> Result<()> {
    let revoke = format!("{OLGA} revoke --share rates-out --partner acme --reason 'the contract is over'");
    stage.doing(&revoke);
    stage.seen(&sh(&revoke)?);
    phase(stage, SHARE, "Revoked")?;
    let path = "jsonpath={.status.partners[0].message}{\"\\n\"}{.status.partners[0].revocation}";
    stage.seen(&sh(&format!("kubectl -n payments get externalshare rates-out -o '{path}'"))?);
    let (ok, text) = acme.kcat("kafka", "-L -m 20");
    let refusal = text.lines().find(|l| l.contains("Authentication failed"));
    ensure!(!ok && refusal.is_some(), "acme was not refused: {text}");
    stage.seen(&format!("acme: {}", refusal.unwrap_or_default()));
    Ok(())
}
