//! Kafka clusters that must not be governed as they are, each a real one: Weir says why, gives nothing there, and begins by
//! itself once the cluster was put right.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod harness;

use std::collections::BTreeSet;

use harness::brokers::{groups, reads};
use harness::install::{cluster_manifest, secrets};
use harness::manifests::{account, binding, binding_with, client, product_with, role};
use harness::operator::Operator;
use harness::other_kafka::{OtherKafka, says};
use harness::second_kubernetes::SecondKubernetes;
use harness::{CLUSTER, Harness, NAMESPACE, SOON, Tenant};
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use serde_json::json;
use weir::api::{DataProduct, Reason, RoleBinding, StreamClient, StreamCluster, StreamRole};
use weir::ports::ProbeOutcome;

const NO_AUTHORIZER: (&str, &str) = ("authorizer.class.name", "");
const OPEN: (&str, &str) = ("allow.everyone.if.no.acl.found", "true");

/// An owner with product `orders` and a role `reader`, and a consumer with client `app` and bindings of it and of a
/// ServiceAccount, all of them on the other Kafka.
async fn owner_and_consumer(h: &Harness, kafka: &OtherKafka) -> (Tenant, Tenant) {
    let (owner, consumer) = (kafka.tenant(h, "owner").await, kafka.tenant(h, "consumer").await);
    let streams = "streams: [{name: placed, partitions: 1}, {name: refunded, partitions: 1}]";
    owner.apply(&kafka.here(&product_with("orders", streams))).await;
    owner.apply(&role("reader", "orders", &["placed"], "Read")).await;
    consumer.apply(&kafka.here(&client("app"))).await;
    consumer.apply(&binding("b", &owner.name, "reader", "app")).await;
    consumer.apply(&account("robot")).await;
    let robot = "subjects: [{kind: ServiceAccount, name: robot}]";
    consumer.apply(&binding_with("r", &owner.name, "reader", robot)).await;
    (owner, consumer)
}

/// Every object says that the cluster is not Ready, a binding and a client also why.
async fn nothing_is_ready(owner: &Tenant, consumer: &Tenant, why: &str) {
    let waits = Reason::ClusterNotReady;
    owner.refused::<DataProduct>("orders", waits, &["is not Ready"]).await;
    consumer.refused::<StreamClient>("app", waits, &["is not Ready", why]).await;
    consumer.refused::<RoleBinding>("r", waits, &["is not Ready", why]).await;
    // It has no principal yet to which anything could be given.
    let b = consumer.get::<RoleBinding>("b").await.unwrap().status.unwrap_or_default();
    assert!(
        b.principals.is_empty() && !b.conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True"),
        "{b:#?}"
    );
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_kafka_without_an_authorizer_gets_nothing() {
    let h = Harness::start().await;
    let platform = h.platform();
    let kafka = OtherKafka::start(&h, "bare", &[NO_AUTHORIZER]).await;
    platform.apply_value(kafka.stream_cluster()).await;
    let why = format!("the brokers of StreamCluster {} have no authorizer", kafka.name);
    platform.refused::<StreamCluster>(&kafka.name, Reason::NoAuthorizer, &[&why, "authorizer.class.name"]).await;
    let (owner, consumer) = owner_and_consumer(&h, &kafka).await;
    nothing_is_ready(&owner, &consumer, &why).await;
    assert_eq!(kafka.brokers.topics().await, [""; 0], "neither a topic nor a ledger");
    assert_eq!(kafka.brokers.users("").await, Ok(["admin".to_owned()].into()), "nor a user");
    platform.ready::<StreamCluster>(CLUSTER).await;
    kafka.abandon(&h).await;
    kafka.end(&h, [consumer, owner]).await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_kafka_that_is_open_by_default_gets_nothing_until_it_is_closed() {
    let h = Harness::start().await;
    let platform = h.platform();
    let mut kafka = OtherKafka::start(&h, "open", &[OPEN]).await;
    let name = kafka.name.clone();
    platform.apply_value(kafka.stream_cluster()).await;
    let why = format!("StreamCluster {name} is open by default: a principal without any entry was let in by broker 0");
    let words = [why.as_str(), "allow.everyone.if.no.acl.found=false"];
    platform.refused::<StreamCluster>(&name, Reason::OpenByDefault, &words).await;
    let (owner, consumer) = owner_and_consumer(&h, &kafka).await;
    nothing_is_ready(&owner, &consumer, &why).await;
    assert_eq!(kafka.brokers.topics().await, [""; 0], "neither a topic nor a ledger");
    let users = ["admin", "~weir-canary"].map(str::to_owned);
    assert_eq!(kafka.brokers.users("").await, Ok(users.into()), "none but the one that is let in");
    assert_eq!(kafka.brokers.entries_with("").await, Ok([].into()));
    // Put right, it is governed without anybody's doing.
    kafka.set(&h, &[]).await;
    platform.ready::<StreamCluster>(&name).await;
    owner.ready::<DataProduct>("orders").await;
    consumer.ready::<RoleBinding>("b").await;
    consumer.ready::<RoleBinding>("r").await;
    let app = consumer.principal("app").await;
    let (placed, refunded) = (format!("{}.orders.placed", owner.name), format!("{}.orders.refunded", owner.name));
    kafka.brokers.show(&app, [reads(&app, &placed), groups(&app, &format!("{}.app.", consumer.name))]).await;
    let login = consumer.login("app").await;
    kafka.brokers.let_fetch(&login, &placed, ProbeOutcome::Allowed).await;
    kafka.brokers.let_fetch(&login, &refunded, ProbeOutcome::Denied).await;
    // A broker that comes back with other settings is noticed, too.
    kafka.set(&h, &[OPEN]).await;
    platform.refused::<StreamCluster>(&name, Reason::OpenByDefault, &words).await;
    kafka.set(&h, &[]).await;
    platform.ready::<StreamCluster>(&name).await;
    consumer.ready::<RoleBinding>("b").await;
    kafka.end(&h, [consumer, owner]).await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_listener_on_which_nobody_can_log_in_by_scram_proves_nothing() {
    let h = Harness::start().await;
    let platform = h.platform();
    let kafka = OtherKafka::start(&h, "mistaken", &[OPEN]).await;
    let mut cluster = kafka.stream_cluster();
    // What is said to take SCRAM takes tokens.
    let mistaken = format!("bootstrap.{}.svc.cluster.local:9093", kafka.name);
    cluster["spec"]["listeners"] =
        json!([{"name": "scram", "bootstrapServers": [mistaken], "authentication": "ScramSha512"}]);
    platform.apply_value(cluster).await;
    let words = ["open by default is not known", "broker 0 refuses SCRAM-SHA-512", &mistaken, "spec.listeners"];
    platform.refused::<StreamCluster>(&kafka.name, Reason::DefaultUnknown, &words).await;
    assert_eq!(kafka.brokers.topics().await, [""; 0], "neither a topic nor a ledger");
    platform.apply_value(kafka.stream_cluster()).await;
    platform.refused::<StreamCluster>(&kafka.name, Reason::OpenByDefault, &[]).await;
    kafka.end(&h, []).await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_kafka_that_takes_no_passwords_is_known_to_be_closed_all_the_same() {
    let h = Harness::start().await;
    let platform = h.platform();
    let mut kafka = OtherKafka::start(&h, "silent", &[OPEN]).await;
    let name = kafka.name.clone();
    let offering = |authentication: &str| {
        let mut cluster = kafka.stream_cluster();
        let all = cluster["spec"]["listeners"].as_array_mut().unwrap();
        all.retain(|l| l["authentication"] == authentication && l["audience"].is_null());
        assert_eq!(all.len(), 1, "the sample has such a listener");
        cluster
    };
    let (by_certificate, mut by_token) = (offering("Mtls"), offering("OauthBearer"));
    by_token["spec"]["identity"].as_object_mut().unwrap().remove("mtls");
    // A certificate that Weir signs is let in, then denied.
    platform.apply_value(by_certificate).await;
    let words = ["a principal without any entry was let in by broker 0"];
    platform.refused::<StreamCluster>(&name, Reason::OpenByDefault, &words).await;
    kafka.set(&h, &[]).await;
    platform.ready::<StreamCluster>(&name).await;
    // Where Weir can get neither password nor certificate, the brokers' configuration tells.
    platform.apply_value(by_token).await;
    kafka.set(&h, &[OPEN]).await;
    let words = ["not known", "broker 0 sets allow.everyone.if.no.acl.found and hides its value", "identity.mtls"];
    platform.refused::<StreamCluster>(&name, Reason::DefaultUnknown, &words).await;
    kafka.set(&h, &[]).await;
    platform.ready::<StreamCluster>(&name).await;
    assert_eq!(kafka.brokers.users("").await, Ok(["admin".to_owned()].into()), "no user was made");
    kafka.end(&h, []).await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_second_installation_is_refused_and_does_not_disturb_the_first() {
    let h = Harness::start().await;
    let operator = Operator::of(&h);
    let (owner, consumer) = h.owner_and_consumer().await;
    let leader = operator.leader().await;
    let restarts = operator.restarts(&leader).await;

    let second = SecondKubernetes::start(&h).await;
    let platform = Tenant::platform(second.client.clone());
    secrets(&h.lab, &second.client).await;
    platform.apply_value(cluster_manifest()).await;
    let _weir = second.weir();
    let uid = h.platform().get::<Namespace>(NAMESPACE).await.unwrap().uid().unwrap();
    let words = [&*h.lab.kafka.cluster_id, "another installation of Weir", NAMESPACE, &uid];
    platform.refused::<StreamCluster>(CLUSTER, Reason::GovernedByAnother, &words).await;

    // It asks again every two seconds; the first works on as if it were alone.
    let bound = |n: usize| format!("r{n}");
    for n in 0..8 {
        consumer.apply(&account(&bound(n))).await;
        let subject = format!("subjects: [{{kind: ServiceAccount, name: {}}}]", bound(n));
        consumer.apply(&binding_with(&bound(n), &owner.name, "reader", &subject)).await;
        consumer.ready::<RoleBinding>(&bound(n)).await;
        let refused = || async {
            let times = second.said("is governed by another installation");
            if times > n { Ok(()) } else { Err(format!("{times} times")) }
        };
        harness::until(SOON, &[], "the second was refused once more", refused).await;
    }
    let refused = platform.refused::<StreamCluster>(CLUSTER, Reason::GovernedByAnother, &words).await;
    assert!(says(&refused).contains("would remove each other's work"));
    assert_eq!(operator.leader().await, leader, "nobody put the first out of office");
    assert_eq!(operator.restarts(&leader).await, restarts);
    let entries = h.brokers.entries_with(&consumer.name).await.unwrap();
    let expected: BTreeSet<_> = (0..8)
        .flat_map(|n| {
            let principal = format!("system:serviceaccount:{}:{}", consumer.name, bound(n));
            [
                reads(&principal, &format!("{}.orders.placed", owner.name)),
                groups(&principal, &format!("{}.{}.", consumer.name, bound(n))),
            ]
        })
        .collect();
    assert_eq!(entries, expected);
    assert!(owner.get::<StreamRole>("reader").await.is_some());
    consumer.end().await;
    owner.end().await;
}
