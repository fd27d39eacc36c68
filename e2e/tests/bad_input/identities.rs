//! Who a subject may be, and what it may be called.

use crate::harness::Harness;
use crate::harness::brokers::groups;
use crate::harness::manifests::{account, binding_with, client, client_with};
use crate::owner_and_consumer;
use weir::api::{Reason, RoleBinding, StreamClient};

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_user_is_bound_only_where_the_platform_gave_it() {
    let h = Harness::start().await;
    let (owner, consumer) = owner_and_consumer(&h).await;
    let (own, here) = (owner.name.as_str(), consumer.name.as_str());
    let bind = |name: &str, user: &str, more: &str| {
        binding_with(name, own, "reader", &format!("subjects: [{{kind: User, name: '{user}'}}]{more}"))
    };
    for user in ["*", "ANONYMOUS", "system:serviceaccount:a:b", "a.b~12345678-1"] {
        let refusal = consumer.try_apply(&bind("reserved", user, "")).await.unwrap_err();
        assert!(refusal.contains("can never be bound"), "{user}: {refusal}");
    }
    let refusal = consumer.try_apply(&bind("typed", "User:legacy", "")).await.unwrap_err();
    assert!(refusal.contains("without User:"), "{refusal}");
    consumer.apply(&bind("admin", "admin", "")).await;
    consumer.refused::<RoleBinding>("admin", Reason::UserNotAllowed, &["\"admin\"", "super user"]).await;
    consumer.apply(&bind("stranger", "CN=somebody", "")).await;
    let words = ["CN=somebody", "identity.userClaims", here];
    consumer.refused::<RoleBinding>("stranger", Reason::UserNotAllowed, &words).await;
    let theirs = format!("legacy-{own}.app");
    consumer.apply(&bind("theirs", &theirs, "")).await;
    consumer.refused::<RoleBinding>("theirs", Reason::UserNotAllowed, &[&theirs, here]).await;
    let ours = format!("legacy-{here}.app");
    consumer.apply(&bind("ours", &ours, &format!(", prefixes: [{here}.x.]"))).await;
    consumer.ready::<RoleBinding>("ours").await;
    assert!(h.brokers.entries(&ours).await.unwrap().contains(&groups(&ours, &format!("{here}.x."))));
    consumer.end().await;
    assert_eq!(h.brokers.entries(&ours).await, Ok([].into()));
    owner.end().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn prefixes_and_subjects_stay_in_the_namespace() {
    let h = Harness::start().await;
    let (owner, consumer) = owner_and_consumer(&h).await;
    let app = "subjects: [{kind: StreamClient, name: app}]";
    let theirs = format!("{}.x.", owner.name);
    consumer.apply(&binding_with("group", &owner.name, "reader", &format!("prefixes: ['{theirs}'], {app}"))).await;
    let words = ["spec.prefixes", &*theirs, &*consumer.name];
    consumer.refused::<RoleBinding>("group", Reason::PrefixOutsideNamespace, &words).await;
    owner.apply(&account("robot")).await;
    let robot = format!("subjects: [{{kind: ServiceAccount, name: robot, namespace: {}}}]", owner.name);
    consumer.apply(&binding_with("robot", &owner.name, "reader", &robot)).await;
    let words = [format!("ServiceAccount {}/robot", owner.name)];
    consumer.refused::<RoleBinding>("robot", Reason::SubjectNotAllowed, &[&words[0]]).await;
    let principal = consumer.principal("app").await;
    assert_eq!(h.brokers.entries(&principal).await, Ok([].into()));
    consumer.end().await;
    owner.end().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn names_that_are_taken_and_credentials_that_nobody_issues() {
    let h = Harness::start().await;
    let consumer = h.tenant("consumer").await;
    consumer.apply("{apiVersion: v1, kind: Secret, metadata: {name: app}, stringData: {a: b}}").await;
    consumer.apply(&client("app")).await;
    let secret = format!("Secret {}/app exists", consumer.name);
    consumer.refused::<StreamClient>("app", Reason::NameTaken, &[&secret, "credentials.secretName"]).await;
    let lost = client("lost").replace("name: main", "name: elsewhere");
    consumer.apply(&lost).await;
    consumer
        .refused::<StreamClient>("lost", Reason::ClusterNotFound, &["StreamCluster elsewhere does not exist"])
        .await;
    let refusal = consumer.try_apply(&client_with("dotted.name", "type: Mtls")).await.unwrap_err();
    assert!(refusal.contains("DNS label"), "{refusal}");
    let refusal = consumer.try_apply(&client_with("hasty", "rotation: {every: 2m, overlap: 3m}")).await.unwrap_err();
    assert!(refusal.contains("overlap must be shorter than every"), "{refusal}");
    consumer.end().await;
}
