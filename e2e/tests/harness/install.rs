//! Weir, installed by its chart, with the lab's Kafka as StreamCluster `main`.

use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use serde_json::{Value, json};
use weir::api::{AuditTrail, StreamCluster};
use weir_e2e::lab::Lab;
use weir_e2e::lab::kafka::intake_token;
use weir_e2e::lab::pki::{audit_key, pair};

use super::shell::{run, try_run};
use super::tenant::{TEST_LABEL, Tenant};

/// Where Weir runs.
pub const NAMESPACE: &str = "weir-system";
/// Where partners call.
pub const PARTNERS_HOST: &str = "weir-partners.weir-system.svc.cluster.local";
/// The Secret of the partner API's certificate.
pub const PARTNERS_TLS: &str = "weir-partners-tls";
/// The Secret of the intake's certificate.
const INTAKE_TLS: &str = "weir-intake-tls";
/// The StreamCluster.
pub const CLUSTER: &str = "main";

/// Installs or upgrades Weir, and waits until it governs the lab's Kafka.
pub async fn install(lab: &Lab, client: &Client) {
    // What an earlier run that was ended left behind; nobody waits for it. The Kafka of such a StreamCluster goes, too.
    for command in [
        &["annotate", "streamclusters", "-l", TEST_LABEL, "weir.dev/abandon=true"][..],
        &["delete", "streamclusters", "-l", TEST_LABEL, "--wait=false"],
    ] {
        let _ = try_run("kubectl", command, "").await;
    }
    let _ = try_run("kubectl", &["delete", "namespaces", "-l", TEST_LABEL, "--wait=false"], "").await;
    partners_certificate(client).await;
    intake_certificate(lab, client).await;
    helm_install(lab, &[]).await;
    secrets(lab, client).await;
    let platform = Tenant::platform(client.clone());
    platform.apply_value(cluster_manifest()).await;
    platform.ready::<StreamCluster>(CLUSTER).await;
    let trail = include_str!("../../../config/samples/platform/audittrail.yaml");
    platform.apply(&trail.replace("every: 1m", "every: 3s")).await;
    platform.ready::<AuditTrail>("default").await;
}

/// The certificate of the partner API, with the authority that partners trust.
async fn partners_certificate(client: &Client) {
    let platform = Tenant::platform(client.clone());
    platform.apply_value(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})).await;
    let own = Tenant::existing(client.clone(), NAMESPACE);
    if own.get::<Secret>(PARTNERS_TLS).await.is_none() {
        let made = rcgen::generate_simple_self_signed([PARTNERS_HOST.to_owned()]).unwrap();
        let data = json!({"tls.crt": made.cert.pem(), "tls.key": made.signing_key.serialize_pem()});
        own.apply_value(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": PARTNERS_TLS},
            "type": "kubernetes.io/tls", "stringData": data}))
            .await;
    }
}

/// The certificate of the intake, which the lab's brokers believe.
async fn intake_certificate(lab: &Lab, client: &Client) {
    let pair = pair(&lab.state, "intake");
    let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap();
    let data = json!({"tls.crt": read(&pair.cert), "tls.key": read(&pair.key)});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": INTAKE_TLS},
        "type": "kubernetes.io/tls", "stringData": data});
    Tenant::existing(client.clone(), NAMESPACE).apply_value(secret).await;
}

/// `helm upgrade --install` of the chart, with the image that is loaded now.
pub async fn helm_install(lab: &Lab, more: &[&str]) {
    // The tag stays while the image changes: its digest in the pods lets Helm see that.
    let images = run("ctr", &["images", "list", &format!("name=={}", lab.images.weir)]).await;
    let digest = images.split_whitespace().find_map(|word| word.strip_prefix("sha256:"));
    let digest = digest.unwrap_or_else(|| panic!("load the image first (e2e/lab image weir): {images}"));
    let annotation = format!("podAnnotations.image-digest={digest}");
    let mut arguments = vec!["upgrade", "--install", "weir", "charts/weir", "-n", NAMESPACE, "--create-namespace"];
    arguments.extend(["--wait", "--timeout=120s", "--set-string", &annotation]);
    let intake = format!("intake.enabled=true,intake.tls.secretName={INTAKE_TLS}");
    arguments.extend(["--set", &intake]);
    let partners = format!("partners.enabled=true,partners.tls.secretName={PARTNERS_TLS},replication.enabled=true");
    arguments.extend(["--set", &partners]);
    arguments.extend(more);
    run("helm", &arguments).await;
}

/// The Secrets that the StreamCluster names.
pub async fn secrets(lab: &Lab, client: &Client) {
    let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap();
    let kafka = &lab.kafka;
    let own = Tenant::existing(client.clone(), NAMESPACE);
    for (name, type_, data) in [
        (
            "kafka-admin",
            "Opaque",
            json!({"username": kafka.plain_admin.username, "password": kafka.plain_admin.password}),
        ),
        ("kafka-ca", "Opaque", json!({"ca.crt": read(&kafka.ca)})),
        ("kafka-logs", "Opaque", json!({"token": intake_token(&lab.state).unwrap()})),
        ("weir-audit", "Opaque", json!({"signing.key": audit_key(&lab.state).unwrap()})),
        (
            "kafka-clients-ca",
            "kubernetes.io/tls",
            json!({"tls.crt": read(&kafka.clients_ca), "tls.key": read(&kafka.clients_ca_key)}),
        ),
    ] {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
            "type": type_, "stringData": data});
        own.apply_value(secret).await;
    }
}

/// The sample's StreamCluster, compared more often, with principals that namespaces may name, and with namespaces whose
/// products may have any configuration.
pub fn cluster_manifest() -> Value {
    let sample = include_str!("../../../config/samples/platform/streamcluster.yaml");
    let mut cluster: Value = serde_yaml::from_str(sample).unwrap();
    let tenants = json!({"matchLabels": {"weir.dev/tenant": "true"}});
    let spec = &mut cluster["spec"];
    // Not SCRAM: a broker of Kafka 4.3.1 may lose SCRAM users when it starts, the administrator's among them.
    spec["adminCredentials"]["type"] = json!("Plain");
    spec["identity"]["superUsers"] = json!(["admin", "plain-admin"]);
    spec["drift"] = json!("Report");
    spec["resyncInterval"] = json!("5s");
    spec["identity"]["userClaims"] = json!([{"namespaceSelector": tenants, "pattern": "legacy-{namespace}.*"}]);
    spec["tenancy"].as_array_mut().unwrap().push(json!({
        "name": "free",
        "namespaceSelector": {"matchLabels": {"weir.dev/tenant": "free"}},
        "topicPrefixes": ["{namespace}."],
        "allowAdopt": true,
    }));
    cluster
}
