//! How long credentials last, and how many of them there are: run by `make test`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod harness;

use std::time::Duration;

use harness::manifests::{client, client_with};
use harness::{CLUSTER, Harness, Tenant};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};
use serde_json::{Value, json};
use weir::api::{Action, ListenerAuthentication, Reason, StreamClient, StreamClientStatus, StreamCluster};

/// An authority that nobody trusts, which ends at `end`.
fn authority(end: Timestamp) -> Value {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs(end.as_second().try_into().unwrap());
    json!({"tls.crt": params.self_signed(&key).unwrap().pem(), "tls.key": key.serialize_pem()})
}

/// Has Weir sign with this authority from now on, and waits until the StreamCluster says so.
async fn sign_with(h: &Harness, data: Value, status: &str, reason: Reason, words: &[&str]) {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "kafka-clients-ca"},
            "type": "kubernetes.io/tls", "stringData": data});
    h.own_namespace().apply_value(secret).await;
    // Secrets are looked at once a minute, and with each change of the StreamCluster.
    let platform = h.platform();
    let look = json!({"metadata": {"annotations": {"look": Timestamp::now().to_string()}}});
    platform.patch::<StreamCluster>(CLUSTER, look).await;
    platform.says::<StreamCluster>(CLUSTER, "SignerReady", status, reason, words).await;
}

async fn status_of(tenant: &Tenant, name: &str) -> StreamClientStatus {
    tenant.get::<StreamClient>(name).await.and_then(|c| c.status).unwrap_or_default()
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_certificate_ends_with_its_authority_and_is_renewed_by_the_next_one_without_being_asked() {
    let h = Harness::start().await;
    let kafka = &h.lab.kafka;
    let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap();
    let trusted = json!({"tls.crt": read(&kafka.clients_ca), "tls.key": read(&kafka.clients_ca_key)});
    let end = Timestamp::from_second(Timestamp::now().as_second()).unwrap() + SignedDuration::from_secs(60);
    sign_with(&h, authority(end), "False", Reason::SignerExpiring, &["kafka-clients-ca", &end.to_string()]).await;
    let consumer = h.tenant("consumer").await;
    consumer.apply(&client_with("cert", "type: Mtls")).await;
    let first = consumer.principal("cert").await;
    let status = status_of(&consumer, "cert").await;
    assert_eq!(status.credentials[0].expires_at.as_ref().map(|t| t.0), Some(end), "{status:#?}");
    let due = status.next_rotation.as_ref().unwrap().0;
    assert!(due < end, "{status:#?}");
    // Once it is due, the authority has nothing longer to give, and that is said instead of signing for ever shorter.
    consumer.says::<StreamClient>("cert", "Ready", "True", Reason::Ready, &["not renewed", &end.to_string()]).await;
    assert_eq!(status_of(&consumer, "cert").await.principal.as_ref(), Some(&first));
    consumer
        .refused::<StreamClient>("cert", Reason::SignerExpiring, &["the certificate ended at", &end.to_string()])
        .await;
    sign_with(&h, trusted, "True", Reason::Ready, &["signs until"]).await;
    let status = consumer
        .until("the certificate is renewed", || async {
            let status = status_of(&consumer, "cert").await;
            if status.principal.as_ref() == Some(&first) { Err(format!("{status:#?}")) } else { Ok(status) }
        })
        .await;
    let year = status.credentials[0].expires_at.as_ref().unwrap().0.duration_since(Timestamp::now());
    assert!(year > SignedDuration::from_hours(364 * 24), "{status:#?}");
    let next = status.next_rotation.unwrap().0.duration_since(Timestamp::now()).as_hours();
    assert!((240 * 24..245 * 24).contains(&next), "after two thirds of its time: {next} h");
    consumer.told(Action::CredentialRotated, 1).await;
    consumer.end().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_secret_that_is_deleted_again_and_again_makes_no_version_each_time() {
    let h = Harness::start().await;
    let consumer = h.tenant("consumer").await;
    consumer.apply(&client("app")).await;
    let mut before = consumer.principal("app").await;
    for _ in 1..weir::domain::rotation::MOST_VERSIONS {
        consumer.delete::<Secret>("app").await;
        before = consumer
            .until("there is another version", || async {
                let principal = status_of(&consumer, "app").await.principal.unwrap_or_default();
                let secret = consumer.get::<Secret>("app").await.is_some();
                if secret && principal != before { Ok(principal) } else { Err(principal) }
            })
            .await;
    }
    consumer.delete::<Secret>("app").await;
    let words = ["6 versions were issued within 10 minutes", "the next one comes at"];
    consumer.refused::<StreamClient>("app", Reason::TooManyVersions, &words).await;
    assert_eq!(status_of(&consumer, "app").await.principal, Some(before));
    assert!(consumer.get::<Secret>("app").await.is_none());
    consumer.end().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_secret_follows_the_addresses_of_its_cluster_and_keeps_its_credential() {
    let h = Harness::start().await;
    let consumer = h.tenant("consumer").await;
    consumer.apply(&client("app")).await;
    let principal = consumer.principal("app").await;
    let cluster = h.platform().get::<StreamCluster>(CLUSTER).await.unwrap();
    let before = cluster.spec.listeners;
    let mut after = before.clone();
    let scram = after.iter_mut().find(|l| l.authentication == ListenerAuthentication::ScramSha512).unwrap();
    scram.bootstrap_servers.push("another.example:9092".into());
    let addresses = scram.bootstrap_servers.join(",");
    h.platform().patch::<StreamCluster>(CLUSTER, json!({"spec": {"listeners": after}})).await;
    consumer
        .until("the Secret has the new addresses", || async {
            let data = consumer.get::<Secret>("app").await.and_then(|s| s.data).unwrap_or_default();
            let text = |key: &str| String::from_utf8_lossy(&data[key].0).into_owned();
            let properties = text("client.properties").contains(&format!("bootstrap.servers={addresses}\n"));
            let found = (text("bootstrapServers"), properties, text("principal"));
            if found == (addresses.clone(), true, principal.clone()) { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
    h.platform().patch::<StreamCluster>(CLUSTER, json!({"spec": {"listeners": before}})).await;
    consumer.end().await;
}
