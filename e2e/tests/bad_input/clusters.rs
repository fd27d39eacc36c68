//! Clusters that cannot be entered.

use crate::harness::Harness;
use crate::harness::install::cluster_manifest;
use serde_json::{Value, json};
use weir::api::{Reason, StreamCluster};

/// The lab's StreamCluster under another name, changed by `change`.
fn cluster(name: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut cluster = cluster_manifest();
    cluster["metadata"]["name"] = json!(name);
    // No namespace is a tenant of two clusters in these tests.
    cluster["spec"]["tenancy"] = json!([]);
    change(&mut cluster["spec"]);
    cluster
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_stream_cluster_that_cannot_be_entered_says_why() {
    let h = Harness::start().await;
    let platform = h.platform();
    h.own_namespace()
        .apply("{apiVersion: v1, kind: Secret, metadata: {name: broken-admin}, stringData: {user: admin}}")
        .await;
    let rows = [
        (
            "broken-keys",
            "/adminCredentials/secretRef/name",
            json!("broken-admin"),
            Reason::SecretInvalid,
            vec!["weir-system/broken-admin", "\"username\""],
        ),
        (
            "broken-secret",
            "/adminCredentials/secretRef/name",
            json!("nowhere"),
            Reason::SecretInvalid,
            vec!["weir-system/nowhere does not exist"],
        ),
        (
            "broken-ca",
            "/tls/caSecretRef/name",
            json!("broken-admin"),
            Reason::SecretInvalid,
            vec!["weir-system/broken-admin", "\"ca.crt\""],
        ),
        (
            "broken-port",
            "/bootstrapServers",
            json!(["kafka-0.kafka.kafka.svc.cluster.local:1"]),
            Reason::BrokersUnreachable,
            vec!["kafka-0.kafka.kafka.svc.cluster.local:1"],
        ),
        (
            "broken-name",
            "/bootstrapServers",
            json!(["nowhere.invalid:9092"]),
            Reason::BrokersUnreachable,
            vec!["nowhere.invalid:9092"],
        ),
    ];
    for (name, field, value, _, _) in &rows {
        let change = |spec: &mut Value| *spec.pointer_mut(field).unwrap() = value.clone();
        platform.apply_value(cluster(name, change)).await;
    }
    for (name, _, _, reason, words) in &rows {
        platform.refused::<StreamCluster>(name, *reason, words).await;
    }
    for (name, ..) in &rows {
        platform.delete_and_wait::<StreamCluster>(name).await;
    }
    h.own_namespace().delete::<k8s_openapi::api::core::v1::Secret>("broken-admin").await;
    // The one that is whole was not concerned.
    platform.ready::<StreamCluster>(crate::harness::CLUSTER).await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_wrong_password_is_told_from_brokers_that_are_down() {
    let h = Harness::start().await;
    let platform = h.platform();
    h.own_namespace()
        .apply("{apiVersion: v1, kind: Secret, metadata: {name: wrong-admin}, stringData: {username: admin, password: no}}")
        .await;
    let manifest = cluster("wrong", |spec| spec["adminCredentials"]["secretRef"]["name"] = json!("wrong-admin"));
    platform.apply_value(manifest).await;
    platform.refused::<StreamCluster>("wrong", Reason::BrokersUnreachable, &["uthentication"]).await;
    platform.delete_and_wait::<StreamCluster>("wrong").await;
    h.own_namespace().delete::<k8s_openapi::api::core::v1::Secret>("wrong-admin").await;
}
