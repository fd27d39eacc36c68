//! Step 3: payments offers a product, fraud and billing ask for access.

use std::time::Duration;

use anyhow::Result;

use super::Step;
use super::shell::{sh, try_sh};
use super::stage::Stage;

/// The step.
pub const STEP: Step = Step {
    title: "payments offers the product orders; fraud and billing bind its roles, billing once payments approves",
    shows: "The samples, applied as they are. Ready means: asked on every broker, the topics and exactly these entries are \
            there, and what a client needs stands in its namespace. What billing asks for waits until Olga of payments, who \
            did not ask for it herself, approves it.",
    look: "kubectl get weir --all-namespaces",
    state: &[
        "kubectl get weir --all-namespaces",
        "kubectl describe dataproducts,streamclients,rolebindings.weir.dev --all-namespaces",
        "kubectl -n weir-system logs deployment/weir --tail=40",
    ],
    run: shared,
};

/// What must be Ready without anybody's approval.
const OBJECTS: [&str; 8] = [
    "-n payments dataproduct/orders",
    "-n payments streamrole/orders-reader-placed",
    "-n payments streamrole/orders-reader-refunded",
    "-n payments streamrole/orders-writer",
    "-n payments streamclient/orders-service",
    "-n payments rolebindings.weir.dev/orders-service-writes",
    "-n fraud rolebindings.weir.dev/scorer-reads-placed",
    "-n billing streamclient/invoicer",
];
/// What waits for one.
const ASKED_FOR: &str = "invoicer-reads-refunded";

fn shared(stage: &mut Stage) -> Result<()> {
    stage.doing("kubectl apply -f config/samples/payments -f config/samples/fraud -f config/samples/billing");
    let folders =
        ["payments", "fraud", "billing"].map(|team| format!("-f {}", stage.file(&format!("config/samples/{team}"))));
    sh(&format!("kubectl apply {}", folders.join(" ")))?;
    for object in OBJECTS {
        stage.until_ready(object, Duration::from_secs(60))?;
    }
    approved(stage)?;
    stage.seen(&sh("kubectl get rolebindings.weir.dev --all-namespaces -o wide")?);
    stage.seen(&sh("kubectl get streamclients --all-namespaces")?);
    published(stage)
}

fn approved(stage: &Stage) -> Result<()> {
    let asked_for = format!("-n billing rolebindings.weir.dev/{ASKED_FOR}");
    stage.until("billing to wait for an approval", Duration::from_secs(60), || {
        let path = "jsonpath={.status.conditions[?(@.type==\"Ready\")].reason}";
        let (_, reason) = try_sh(&format!("kubectl get {asked_for} -o '{path}'"));
        if reason == "AwaitingApproval" { Ok(()) } else { Err(reason) }
    })?;
    let weir = "kubectl weir --as olga@payments.example --namespace payments";
    let requests = format!("{weir} requests");
    stage.doing(&requests);
    stage.seen(&sh(&requests)?);
    let approve = format!("{weir} approve billing/{ASKED_FOR} --reason 'invoices need refunds' --for 2160h");
    stage.doing(&approve);
    stage.seen(&sh(&approve)?);
    stage.until_ready(&asked_for, Duration::from_secs(60))
}

fn published(stage: &Stage) -> Result<()> {
    for (what, object) in [
        ("Secret billing/invoicer has", "-n billing secret/invoicer"),
        ("ConfigMap fraud/weir-scorer-reads-placed has", "-n fraud configmap/weir-scorer-reads-placed"),
    ] {
        let template = "{{range $k, $v := .data}}{{$k}} {{end}}";
        stage.seen(&format!("{what}: {}", sh(&format!("kubectl get {object} -o go-template='{template}'"))?.trim()));
    }
    Ok(())
}
