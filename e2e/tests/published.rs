//! What Weir wrote into consumers' namespaces stays as it wrote it, whoever edits or deletes it: run by `make test`.
//!
//! Nothing here touches the StreamClients and RoleBindings themselves: that would have Weir look by itself.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod harness;

use std::collections::BTreeMap;

use harness::manifests::{account, binding_with, client, client_with, product, role};
use harness::shell::try_run;
use harness::{Harness, Tenant};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use serde_json::json;
use weir::api::{DataProduct, MANAGED_BY_LABEL, Reason, RoleBinding, StreamClient};

async fn data(tenant: &Tenant, secret: &str) -> BTreeMap<String, String> {
    let data = tenant.get::<Secret>(secret).await.and_then(|s| s.data).unwrap_or_default();
    data.into_iter().map(|(key, value)| (key, String::from_utf8(value.0).unwrap())).collect()
}

/// Waits until a Secret holds just this again.
async fn is_back(tenant: &Tenant, secret: &str, wanted: &BTreeMap<String, String>) {
    let what = format!("Secret {secret} is as it was");
    tenant
        .until(&what, || async {
            let data = data(tenant, secret).await;
            // Values are secrets: names of keys say enough.
            let differs = |key: &&String| data.get(*key) != wanted.get(*key);
            let keys: Vec<_> = data.keys().chain(wanted.keys()).filter(differs).collect();
            if keys.is_empty() { Ok(()) } else { Err(format!("{keys:?} differ")) }
        })
        .await;
}

/// Waits until a Secret holds the credential of another principal.
async fn has_another_than(tenant: &Tenant, secret: &str, principal: &str) -> String {
    tenant
        .until("the Secret has another principal", || async {
            match data(tenant, secret).await.remove("principal") {
                Some(other) if other != principal => Ok(other),
                other => Err(format!("{other:?}")),
            }
        })
        .await
}

/// The `resourceVersion` of each Secret.
async fn versions(tenant: &Tenant) -> Vec<String> {
    tenant.all::<Secret>().await.iter().map(|object| object["metadata"]["resourceVersion"].to_string()).collect()
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_secret_that_is_deleted_comes_back_as_a_new_version() {
    let h = Harness::start().await;
    let consumer = h.tenant("consumer").await;
    consumer.apply(&client("app")).await;
    let first = consumer.principal("app").await;
    consumer.delete::<Secret>("app").await;
    has_another_than(&consumer, "app", &first).await;
    consumer.end().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_password_that_is_edited_becomes_a_new_version() {
    let h = Harness::start().await;
    let consumer = h.tenant("consumer").await;
    consumer.apply(&client("app")).await;
    let first = consumer.principal("app").await;
    consumer.patch::<Secret>("app", json!({"stringData": {"password": "guessed"}})).await;
    has_another_than(&consumer, "app", &first).await;
    assert_ne!(data(&consumer, "app").await["password"], "guessed");
    consumer.end().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn whatever_else_of_a_secret_is_edited_comes_back_with_the_same_credential() {
    let h = Harness::start().await;
    let consumer = h.tenant("consumer").await;
    consumer.apply(&client("app")).await;
    consumer.apply(&client_with("cert", "type: Mtls")).await;
    for name in ["app", "cert"] {
        let principal = consumer.principal(name).await;
        let before = data(&consumer, name).await;
        let edits = [
            json!({"stringData": {"bootstrapServers": "elsewhere:9092", "client.properties": ""}}),
            json!({"data": {"ca.crt": null}}),
            json!({"stringData": {"more": "than there was", "principal": "another"}}),
            // What cannot be updated is made anew.
            json!({"stringData": {"version": "99"}, "immutable": true}),
        ];
        for edit in edits {
            consumer.patch::<Secret>(name, edit).await;
            is_back(&consumer, name, &before).await;
        }
        consumer.patch::<Secret>(name, json!({"metadata": {"labels": {MANAGED_BY_LABEL: null}}})).await;
        consumer
            .until("the label is back", || async {
                let secret = consumer.get::<Secret>(name).await.ok_or("there is no Secret")?;
                let labels = secret.metadata.labels.unwrap_or_default();
                if labels.contains_key(MANAGED_BY_LABEL) { Ok(()) } else { Err(format!("{labels:?}")) }
            })
            .await;
        assert_eq!(consumer.principal(name).await, principal);
    }
    consumer.end().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_secret_that_can_neither_be_updated_nor_go_is_waited_for() {
    let h = Harness::start().await;
    let consumer = h.tenant("consumer").await;
    consumer.apply(&client("app")).await;
    let first = consumer.principal("app").await;
    let stuck = json!({
        "metadata": {"finalizers": ["example.com/keep"]},
        "stringData": {"version": "99"},
        "immutable": true,
    });
    consumer.patch::<Secret>("app", stuck).await;
    let words = ["app is being deleted", "a finalizer that is not Weir's", "remove that"];
    consumer.refused::<StreamClient>("app", Reason::NotWritten, &words).await;
    consumer.patch::<Secret>("app", json!({"metadata": {"finalizers": null}})).await;
    has_another_than(&consumer, "app", &first).await;
    consumer.ready::<StreamClient>("app").await;
    consumer.end().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_config_map_comes_back_and_nothing_is_written_without_need() {
    let h = Harness::start().await;
    let (owner, consumer) = (h.tenant("owner").await, h.tenant("consumer").await);
    owner.apply(&product("orders", &["placed"])).await;
    owner.ready::<DataProduct>("orders").await;
    owner.apply(&role("reader", "orders", &["placed"], "Read")).await;
    consumer.apply(&client("app")).await;
    consumer.apply(&account("scorer")).await;
    let subjects = "subjects: [{kind: ServiceAccount, name: scorer}, {kind: StreamClient, name: app}]";
    consumer.apply(&binding_with("b", &owner.name, "reader", subjects)).await;
    consumer.ready::<RoleBinding>("b").await;
    consumer.ready::<StreamClient>("app").await;
    let config = || async { consumer.get::<ConfigMap>("weir-b").await.and_then(|map| map.data) };
    let before = config().await.unwrap();
    let is_back = || {
        consumer.until("the ConfigMap is as it was", || async {
            let now = config().await;
            let binary = consumer.get::<ConfigMap>("weir-b").await.and_then(|map| map.binary_data);
            if now.as_ref() == Some(&before) && binary.is_none() { Ok(()) } else { Err(format!("{now:#?}")) }
        })
    };
    let secrets = versions(&consumer).await;
    consumer.patch::<ConfigMap>("weir-b", json!({"metadata": {"annotations": {"note": "mine"}}})).await;
    consumer.patch::<ConfigMap>("weir-b", json!({"data": {"topics": "all"}, "binaryData": {"more": "eA=="}})).await;
    is_back().await;
    let map = consumer.get::<ConfigMap>("weir-b").await.unwrap();
    assert_eq!(map.metadata.annotations.unwrap()["note"], "mine");
    consumer.delete::<ConfigMap>("weir-b").await;
    is_back().await;
    assert_eq!(versions(&consumer).await, secrets, "a Secret was written that was as it should be");
    consumer.end().await;
    owner.end().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_namespace_that_leaves_and_enrols_again_is_watched_again() {
    let h = Harness::start().await;
    let consumer = h.tenant("consumer").await;
    consumer.apply(&client("app")).await;
    let mut last = consumer.principal("app").await;
    consumer.unenrol().await;
    let account = format!("system:serviceaccount:{}:weir", harness::NAMESPACE);
    consumer
        .until("Weir may read Secrets no more", || async {
            let ask = ["auth", "can-i", "get", "secrets", "-n", &consumer.name, "--as", &account];
            let (may, said) = try_run("kubectl", &ask, "").await;
            if may { Err(said) } else { Ok(()) }
        })
        .await;
    consumer.patch::<Secret>("app", json!({"stringData": {"bootstrapServers": "elsewhere:9092"}})).await;
    consumer.refused::<StreamClient>("app", Reason::NamespaceNotEnrolled, &["did not enrol"]).await;
    consumer.enrol().await;
    consumer.ready::<StreamClient>("app").await;
    for _ in 0..2 {
        consumer.delete::<Secret>("app").await;
        last = has_another_than(&consumer, "app", &last).await;
    }
    consumer.end().await;
}
