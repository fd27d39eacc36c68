//! Step 2: the platform team registers its Kafka cluster.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::Step;
use super::install::TEAMS;
use super::shell::{sh, sh_with};
use super::stage::Stage;
use crate::lab::command::read;
use crate::lab::kafka::intake_token;
use crate::lab::pki::audit_key;

/// The step.
pub const STEP: Step = Step {
    title: "The platform team registers its Kafka cluster",
    shows: "Five Secrets in Weir's own namespace, one StreamCluster, an AuditTrail, three namespaces that are tenants by their label. Weir \
            looks at the brokers: version, authorizer, whether a principal without any entry is kept out.",
    look: "kubectl describe streamcluster main",
    state: &["kubectl describe streamcluster main", "kubectl -n weir-system logs deployment/weir --tail=40"],
    run: registered,
};

fn registered(stage: &mut Stage) -> Result<()> {
    give_the_secrets(stage)?;
    stage.doing("kubectl apply -f config/samples/platform");
    sh(&format!("kubectl apply -f {}", stage.file("config/samples/platform")))?;
    for team in TEAMS {
        sh(&format!("kubectl label namespace {team} pod-security.kubernetes.io/enforce=restricted --overwrite"))?;
    }
    stage.until_ready("streamcluster/main", Duration::from_secs(90))?;
    stage.until_ready("audittrail/default", Duration::from_secs(60))?;
    stage.seen(&sh("kubectl get streamcluster main")?);
    stage.seen(&sh("kubectl get audittrail default")?);
    Ok(())
}

fn give_the_secrets(stage: &Stage) -> Result<()> {
    let kafka = &stage.lab.kafka;
    let secrets = [
        secret("kafka-admin", "Opaque", &json!({"username": kafka.admin.username, "password": kafka.admin.password})),
        secret("kafka-ca", "Opaque", &json!({"ca.crt": read(&kafka.ca)?})),
        secret(
            "kafka-clients-ca",
            "kubernetes.io/tls",
            &json!({"tls.crt": read(&kafka.clients_ca)?, "tls.key": read(&kafka.clients_ca_key)?}),
        ),
        secret("kafka-logs", "Opaque", &json!({"token": intake_token(&stage.lab.state)?})),
        secret("weir-audit", "Opaque", &json!({"signing.key": audit_key(&stage.lab.state)?})),
    ];
    give(&secrets)?;
    stage.doing("Secrets kafka-admin, kafka-ca, kafka-clients-ca, kafka-logs and weir-audit are in weir-system");
    Ok(())
}

/// Puts Secrets into Weir's namespace.
///
/// # Errors
/// The API server refused.
pub fn give(secrets: &[Value]) -> Result<()> {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": secrets});
    // On the server's side: no copy of the contents in an annotation.
    sh_with("kubectl apply --server-side --force-conflicts --field-manager=weir-demo -f -", &list.to_string())
        .context("failed to give Weir its Secrets")
        .map(drop)
}

/// A Secret of Weir's namespace.
pub fn secret(name: &str, kind: &str, data: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": kind,
        "metadata": {"name": name, "namespace": "weir-system"},
        "stringData": data,
    })
}
