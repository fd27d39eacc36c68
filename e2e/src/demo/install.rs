//! Step 1: Helm installs the chart.

use std::time::Duration;

use anyhow::{Result, anyhow};
use serde_json::json;

use super::Step;
use super::platform::{give, secret};
use super::shell::{sh, try_sh};
use super::stage::Stage;
use crate::lab::command::read;
use crate::lab::pki::pair;

/// The step.
pub const STEP: Step = Step {
    title: "Helm installs Weir",
    shows: "The chart brings the kinds, the operator (two replicas, one leads) and the policies. It becomes ready.",
    look: "kubectl -n weir-system get deployments,pods,leases",
    state: &[
        "kubectl -n weir-system describe pods",
        "kubectl -n weir-system logs deployment/weir --tail=40",
        "kubectl get streamclusters,dataproducts,streamclients,rolebindings.weir.dev --all-namespaces",
    ],
    run: installed,
};

/// The namespaces of the samples.
pub const TEAMS: [&str; 3] = ["payments", "fraud", "billing"];

fn installed(stage: &mut Stage) -> Result<()> {
    install(stage)?;
    someone_leads(stage)?;
    nothing_is_left_of_an_earlier_run(stage)
}

fn install(stage: &Stage) -> Result<()> {
    // The tag says nothing of what is in the image: the annotation rolls the pods over when that changes.
    let digest = image_digest(&stage.lab.images.weir)?;
    // The brokers of the lab post to the intake, and believe the authority that signed its certificate.
    sh("kubectl create namespace weir-system --dry-run=client -o yaml | kubectl apply -f -")?;
    let tls = pair(&stage.lab.state, "intake");
    let data = json!({"tls.crt": read(&tls.cert)?, "tls.key": read(&tls.key)?});
    give(&[secret("weir-intake-tls", "kubernetes.io/tls", &data)])?;
    let values = "--set intake.enabled=true --set intake.tls.secretName=weir-intake-tls";
    stage.doing(&format!("helm upgrade --install weir charts/weir --namespace weir-system {values} --wait"));
    sh(&format!(
        "helm upgrade --install weir {} --namespace weir-system {values} --wait --timeout 3m \
         --set-string 'podAnnotations.weir-demo/image={digest}'",
        stage.file("charts/weir")
    ))?;
    stage.seen(&sh("kubectl -n weir-system get deployment weir")?);
    Ok(())
}

fn image_digest(image: &str) -> Result<String> {
    let list = sh("ctr images list")?;
    list.lines()
        .find(|line| line.starts_with(&format!("{image} ")))
        .and_then(|line| line.split_whitespace().find(|word| word.starts_with("sha256:")))
        .map(|digest| digest.trim_start_matches("sha256:").to_owned())
        .ok_or_else(|| anyhow!("the image {image} is not in the lab: run `e2e/lab image weir` first"))
}

fn someone_leads(stage: &Stage) -> Result<()> {
    let ask = "kubectl -n weir-system get lease weir -o jsonpath={.spec.holderIdentity}";
    let pods = "kubectl -n weir-system get pods -o name";
    let leader = stage.until("a living replica to lead", Duration::from_secs(60), || {
        let holder = try_sh(ask).1;
        let lives = !holder.is_empty() && try_sh(pods).1.lines().any(|pod| pod == format!("pod/{holder}"));
        if lives { Ok(holder) } else { Err(holder) }
    })?;
    stage.seen(&format!("{leader} leads"));
    Ok(())
}

/// Deletes what an earlier run made, as its owners would: access first, then the product with its topics, then the rest.
fn nothing_is_left_of_an_earlier_run(stage: &Stage) -> Result<()> {
    let there = sh("kubectl get namespaces -o name")?;
    let left: Vec<_> =
        TEAMS.into_iter().filter(|team| there.lines().any(|line| line == format!("namespace/{team}"))).collect();
    if left.is_empty() {
        return Ok(());
    }
    stage.doing(&format!("removing what an earlier run left: {}", left.join(", ")));
    for team in &left {
        sh(&format!("kubectl -n {team} delete deployments,pods --all --grace-period=1 --wait=false"))?;
        sh(&format!(
            "kubectl -n {team} delete externalshares,rolebindings.weir.dev,streamclients --all --timeout=60s"
        ))?;
    }
    // The samples keep the topics; here the records of the run before would be in the way.
    for product in ["orders", "rates"] {
        let deleted = "{\"spec\":{\"deletionPolicy\":\"Delete\"}}";
        try_sh(&format!("kubectl -n payments patch dataproduct {product} --type=merge -p '{deleted}'"));
    }
    for team in &left {
        sh(&format!("kubectl -n {team} delete streamroles,dataproducts --all --timeout=60s"))?;
    }
    sh(&format!("kubectl delete namespace {} --timeout=90s", left.join(" ")))?;
    sh("kubectl delete streamcluster main sharing --ignore-not-found --timeout=60s")?;
    sh("kubectl delete namespace kafka-sharing --ignore-not-found --timeout=90s")?;
    sh("kubectl delete partners --all --timeout=60s")?;
    Ok(())
}
