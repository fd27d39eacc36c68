//! What the API server says of everything in `config/` and of the rendered chart: no field unknown, none missing.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use kube::ResourceExt;
use kube::api::{DynamicObject, Patch, PatchParams, ValidationDirective};
use serde_json::Value;

use crate::cluster::{Cluster, documents, render};

/// Everything that is off by default and that a plain API server knows.
const EVERYTHING_ON: [&str; 16] = [
    "--set",
    "networkPolicy.enabled=true",
    "--set",
    "networkPolicy.from[0].namespaceSelector.matchLabels.team=observability",
    "--set",
    "networkPolicy.egress[0].ports[0].port=9092",
    "--set",
    "priorityClassName=system-cluster-critical,nodeSelector.disk=ssd,podAnnotations.a=b,podLabels.a=b,commonLabels.c=d",
    "--set",
    "tolerations[0].key=dedicated,tolerations[0].operator=Exists,imagePullSecrets[0].name=pull",
    "--set",
    "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].key=a",
    "--set",
    "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].operator=Exists",
    "--set",
    "extraArgs[0]=--help,extraEnv[0].name=A,extraEnv[0].value=b,serviceAccount.annotations.a=b,service.annotations.a=b",
];

/// Fails with everything that the API server would refuse.
pub async fn dry_run(cluster: &Cluster) -> Result<()> {
    let mut objects = render(&[])?;
    objects.extend(render(&EVERYTHING_ON)?);
    let samples = sample_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../config"))?;
    ensure!(samples.len() > 5, "found only {} samples", samples.len());
    for sample in samples {
        let text = std::fs::read_to_string(&sample)?;
        objects.extend(documents(&text).with_context(|| sample.display().to_string())?);
    }
    for object in &mut objects {
        // The namespaces need not be there, and what stands in them already decides nothing.
        if object["metadata"]["namespace"].is_string() {
            object["metadata"]["namespace"] = cluster.owner.clone().into();
        }
    }
    let mut refused = Vec::new();
    for object in objects {
        refused.extend(refusal(cluster, object).await?);
    }
    ensure!(refused.is_empty(), "{}", refused.join("\n"));
    Ok(())
}

async fn refusal(cluster: &Cluster, object: Value) -> Result<Option<String>> {
    let what = format!("{} {}", object["kind"], object["metadata"]["name"]);
    let object: DynamicObject = serde_json::from_value(object).with_context(|| what.clone())?;
    let strict = PatchParams {
        dry_run: true,
        field_validation: Some(ValidationDirective::Strict),
        ..PatchParams::apply("weir-e2e-strict").force()
    };
    let outcome = cluster.api(&cluster.admin, &object).patch(&object.name_any(), &strict, &Patch::Apply(&object)).await;
    Ok(outcome.err().map(|e| match e {
        kube::Error::Api(status) => format!("{what}: {}", status.message),
        other => format!("{what}: {other}"),
    }))
}

fn sample_files(dir: &Path) -> Result<Vec<std::path::PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| format!("failed to read {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(sample_files(&path)?);
        } else if path.extension().is_some_and(|e| e == "yaml") {
            files.push(path);
        }
    }
    Ok(files)
}
