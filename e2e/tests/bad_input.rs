//! Bad input: each is answered by a condition whose reason and message say what is wrong, with what, and where.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod harness;

use harness::brokers::{groups, reads};
use harness::install::cluster_manifest;
use harness::manifests::{
    account, binding, binding_with, client, client_with, privilege, product, product_with, role, role_with,
};
use harness::{Harness, Tenant};
use serde_json::{Value, json};
use weir::api::{DataProduct, Reason, RoleBinding, StreamClient, StreamCluster, StreamRole};

/// An owner with product `orders` and a role `reader` on its stream `placed`, and a consumer with client `app`.
async fn owner_and_consumer(h: &Harness) -> (Tenant, Tenant) {
    let (owner, consumer) = (h.tenant("owner").await, h.tenant("consumer").await);
    owner.apply(&product("orders", &["placed"])).await;
    owner.apply(&role("reader", "orders", &["placed"], "Read")).await;
    consumer.apply(&client("app")).await;
    owner.ready::<DataProduct>("orders").await;
    consumer.ready::<StreamClient>("app").await;
    (owner, consumer)
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn what_a_binding_names_must_be_there() {
    let h = Harness::start().await;
    let (owner, consumer) = owner_and_consumer(&h).await;
    let (own, here) = (owner.name.as_str(), consumer.name.as_str());
    owner.apply(&role("no-product", "returns", &[], "Read")).await;
    owner.apply(&role("no-stream", "orders", &["shipped"], "Read")).await;
    owner.refused::<StreamRole>("no-product", Reason::ProductNotFound, &[&format!("{own}/returns")]).await;
    owner.refused::<StreamRole>("no-stream", Reason::StreamNotFound, &["shipped", &format!("{own}/orders")]).await;
    let client_ghost = "subjects: [{kind: StreamClient, name: ghost}]";
    let account_ghost = "subjects: [{kind: ServiceAccount, name: ghost}]";
    let app = "subjects: [{kind: StreamClient, name: app}]";
    let in_the_past = format!("expiresAt: '2020-01-01T00:00:00Z', {app}");
    let rows = [
        ("role", "ghost", app, Reason::RoleNotFound, vec![format!("StreamRole {own}/ghost does not exist")]),
        (
            "product",
            "no-product",
            app,
            Reason::ProductNotFound,
            vec![format!("DataProduct {own}/returns"), format!("{own}/no-product")],
        ),
        (
            "stream",
            "no-stream",
            app,
            Reason::StreamNotFound,
            vec!["stream shipped".into(), format!("{own}/no-stream"), format!("{own}/orders")],
        ),
        (
            "client",
            "reader",
            client_ghost,
            Reason::SubjectNotFound,
            vec![format!("StreamClient {here}/ghost does not exist")],
        ),
        (
            "account",
            "reader",
            account_ghost,
            Reason::SubjectNotFound,
            vec![format!("ServiceAccount {here}/ghost does not exist")],
        ),
        ("expired", "reader", &*in_the_past, Reason::Expired, vec!["expired at 2020-01-01T00:00:00Z".into()]),
    ];
    for (name, role, spec, _, _) in &rows {
        consumer.apply(&binding_with(name, own, role, spec)).await;
    }
    for (name, _, _, reason, words) in &rows {
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        consumer.refused::<RoleBinding>(name, *reason, &words).await;
    }
    let app = consumer.principal("app").await;
    assert_eq!(h.brokers.entries(&app).await, Ok([].into()), "none of it gives anything");
    consumer.end().await;
    owner.end().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn what_a_role_inherits_in_doubt_is_told_and_takes_nothing_from_the_rest() {
    let h = Harness::start().await;
    let (owner, consumer) = owner_and_consumer(&h).await;
    let own = owner.name.as_str();
    let inherits = |names: &[&str]| {
        let names: Vec<_> = names.iter().map(|name| format!("{{namespace: {own}, name: {name}}}")).collect();
        format!("inherits: [{}], bindableFrom: {{mode: All}}", names.join(", "))
    };
    for (name, inherited) in [("a", &["b", "reader"][..]), ("b", &["c"]), ("c", &["a"]), ("d", &["ghost", "reader"])] {
        owner.apply(&role_with(name, &inherits(inherited))).await;
    }
    let way = format!("{own}/a -> {own}/b -> {own}/c -> {own}/a");
    let ghost = format!("StreamRole {own}/ghost, which {own}/d inherits, does not exist");
    for name in ["a", "b", "c"] {
        owner.refused::<StreamRole>(name, Reason::RoleCycle, &[&way]).await;
    }
    owner.refused::<StreamRole>("d", Reason::RoleNotFound, &[&ghost]).await;
    consumer.apply(&client("other")).await;
    consumer.apply(&binding("cycle", own, "a", "app")).await;
    consumer.apply(&binding("ghost", own, "d", "other")).await;
    consumer.refused::<RoleBinding>("cycle", Reason::RoleCycle, &[&way]).await;
    consumer.refused::<RoleBinding>("ghost", Reason::RoleNotFound, &[&ghost]).await;
    let placed = format!("{own}.orders.placed");
    for name in ["app", "other"] {
        let principal = consumer.principal(name).await;
        let group = groups(&principal, &format!("{}.{name}.", consumer.name));
        h.brokers.show(&principal, [reads(&principal, &placed), group]).await;
    }
    owner.apply(&role_with("c", &inherits(&["reader"]))).await;
    owner.apply(&role("ghost", "orders", &["placed"], "Describe")).await;
    for name in ["cycle", "ghost"] {
        consumer.ready::<RoleBinding>(name).await;
    }
    consumer.end().await;
    owner.end().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_role_says_from_where_it_may_be_bound() {
    let h = Harness::start().await;
    let (owner, consumer) = owner_and_consumer(&h).await;
    let spec = privilege("names: [orders]", &["placed"], "Read");
    owner.apply(&role_with("private", &format!("{spec}, bindableFrom: {{mode: Same}}"))).await;
    consumer.apply(&binding("b", &owner.name, "private", "app")).await;
    let private = format!("{}/private", owner.name);
    consumer.refused::<RoleBinding>("b", Reason::NotBindable, &[&private, &consumer.name, "bindableFrom"]).await;
    owner.apply(&role_with("brief", &format!("{spec}, maxDuration: 1h, bindableFrom: {{mode: All}}"))).await;
    consumer.apply(&binding("endless", &owner.name, "brief", "app")).await;
    consumer.refused::<RoleBinding>("endless", Reason::DurationTooLong, &["brief", "spec.expiresAt"]).await;
    owner.apply(&product_with("purposeful", "purposes: [fraud], streams: [{name: s, replicas: 3}]")).await;
    owner.apply(&role("purposeful", "purposeful", &[], "Read")).await;
    let spec = "purpose: curiosity, subjects: [{kind: StreamClient, name: app}]";
    consumer.apply(&binding_with("curious", &owner.name, "purposeful", spec)).await;
    let product = format!("{}/purposeful", owner.name);
    consumer.refused::<RoleBinding>("curious", Reason::PurposeRequired, &[&product, "fraud"]).await;
    consumer.end().await;
    owner.end().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn topics_keep_to_the_namespace_to_kafka_and_to_what_is_there() {
    let h = Harness::start().await;
    let (owner, other) = (h.tenant("owner").await, h.tenant("other").await);
    let own = owner.name.as_str();
    let taken = format!("{own}.taken");
    let wanted = format!("{own}.wanted");
    h.brokers.make_topic(&taken).await;
    let foreign = format!("{}.theirs", other.name);
    let long = format!("{own}.{}", "x".repeat(248 - own.len()));
    let long_stream = "s".repeat(63);
    let label = "p".repeat(63);
    let stream = |spec: &str| format!("streams: [{{name: s, {spec}}}]");
    let rows = [
        (
            "outside",
            stream(&format!("topic: {foreign}")),
            Reason::TopicOutsideNamespace,
            vec!["stream s", &*foreign, own],
        ),
        ("exists", stream(&format!("topic: {taken}")), Reason::TopicExists, vec!["stream s", &*taken, "adopt"]),
        ("many", stream("partitions: 65"), Reason::LimitExceeded, vec!["stream s", "65", "64"]),
        ("key", stream("config: {segment.ms: '1000'}"), Reason::LimitExceeded, vec!["segment.ms", "retention.ms"]),
        (
            "value",
            stream("config: {retention.ms: soon}"),
            Reason::RefusedByBroker,
            vec!["the broker says", "soon", "retention.ms"],
        ),
        ("adopts", stream(&format!("adopt: true, topic: {wanted}")), Reason::LimitExceeded, vec!["adopt", &*wanted]),
        ("long", stream(&format!("topic: {long}")), Reason::Ready, vec![]),
    ];
    for (name, spec, _, _) in &rows {
        owner.apply(&product_with(name, spec)).await;
    }
    for (name, _, reason, words) in &rows {
        if *reason == Reason::Ready {
            owner.ready::<DataProduct>(name).await;
        } else {
            owner.refused::<DataProduct>(name, *reason, words).await;
        }
    }
    // Neither a name of 250 characters nor one with a space gets past the schema.
    let too_long = product_with("longer", &stream(&format!("topic: {long}x")));
    assert!(owner.try_apply(&too_long).await.unwrap_err().contains("spec.streams[0].topic"));
    let refusal = owner.try_apply(&product_with("space", &stream("topic: 'a b'"))).await.unwrap_err();
    assert!(refusal.contains("a b"), "{refusal}");
    // One that is made of names that are each short enough, and is too long as a whole.
    let (deep, labels) = (h.stranger(&"n".repeat(50), &[("weir.dev/tenant", "true")]).await, 249);
    assert!(deep.name.len() + label.len() + long_stream.len() + 2 <= labels, "such names always fit Kafka");
    deep.apply(&product_with(&label, &format!("streams: [{{name: {long_stream}}}]"))).await;
    deep.ready::<DataProduct>(&label).await;
    h.brokers.delete_topic(&taken).await;
    for tenant in [owner, other, deep] {
        tenant.end().await;
    }
    h.brokers.delete_topic(&long).await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_governed_topic_stays_with_its_product_until_that_names_it_no_more() {
    let h = Harness::start().await;
    let (owner, consumer) = (h.stranger("free", &[("weir.dev/tenant", "free")]).await, h.tenant("consumer").await);
    let shared = format!("{}.shared", owner.name);
    let offer = |name: &str, topic: &str| {
        let stream = format!("name: s, replicas: 3, adopt: true, topic: {}.{topic}", owner.name);
        product_with(name, &format!("deletionPolicy: Delete, streams: [{{{stream}}}]"))
    };
    // By its name it is the older one also where both are made within a second.
    owner.apply(&offer("elder", "else")).await;
    owner.ready::<DataProduct>("elder").await;
    owner.apply(&offer("holder", "shared")).await;
    owner.apply(&role("reader", "holder", &[], "Read")).await;
    consumer.apply(&client("app")).await;
    consumer.apply(&binding("b", &owner.name, "reader", "app")).await;
    consumer.ready::<RoleBinding>("b").await;
    owner.apply(&offer("elder", "shared")).await;
    let holder = format!("belongs to DataProduct {}/holder", owner.name);
    owner.refused::<DataProduct>("elder", Reason::TopicTaken, &["stream s", &*shared, &*holder]).await;
    let app = consumer.principal("app").await;
    let group = groups(&app, &format!("{}.app.", consumer.name));
    h.brokers.show(&app, [reads(&app, &shared), group.clone()]).await;
    owner.ready::<DataProduct>("holder").await;
    consumer.ready::<RoleBinding>("b").await;
    // It passes the topic on, and does not take it along when it is deleted.
    owner.apply(&offer("holder", "moved")).await;
    owner.ready::<DataProduct>("elder").await;
    consumer.ready::<RoleBinding>("b").await;
    h.brokers.show(&app, [reads(&app, &format!("{}.moved", owner.name)), group]).await;
    owner.delete_and_wait::<DataProduct>("holder").await;
    assert_eq!(h.brokers.partitions(&shared).await, Some(1));
    // One that waits has the topic anew when the former owner deletes it.
    owner.apply(&offer("heir", "shared")).await;
    owner.refused::<DataProduct>("heir", Reason::TopicTaken, &[&*shared, "elder"]).await;
    owner.delete_and_wait::<DataProduct>("elder").await;
    owner.ready::<DataProduct>("heir").await;
    assert_eq!(h.brokers.partitions(&shared).await, Some(1));
    consumer.end().await;
    owner.end().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_configuration_that_the_broker_refuses_is_answered_in_its_own_words() {
    let h = Harness::start().await;
    let free = h.stranger("free", &[("weir.dev/tenant", "free")]).await;
    free.apply(&product_with("odd", "streams: [{name: s, replicas: 3, config: {retention.mss: '1'}}]")).await;
    free.refused::<DataProduct>("odd", Reason::RefusedByBroker, &["odd.s", "the broker says", "retention.mss"]).await;
    free.apply(&product_with("few", "streams: [{name: s, replicas: 5}]")).await;
    free.refused::<DataProduct>("few", Reason::RefusedByBroker, &["few.s", "the broker says", "5"]).await;
    free.end().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn partitions_do_not_shrink_and_retention_not_by_accident() {
    let h = Harness::start().await;
    let owner = h.tenant("owner").await;
    let spec = |partitions: u32, retention: u32| {
        let config = format!("config: {{retention.ms: '{retention}'}}");
        product_with(
            "p",
            &format!("deletionPolicy: Delete, streams: [{{name: s, partitions: {partitions}, {config}}}]"),
        )
    };
    let topic = format!("{}.p.s", owner.name);
    owner.apply(&spec(3, 600_000)).await;
    owner.ready::<DataProduct>("p").await;
    owner.apply(&spec(2, 600_000)).await;
    owner
        .refused::<DataProduct>("p", Reason::PartitionsShrunk, &["stream s", &topic, "3 partitions", "shrink to 2"])
        .await;
    owner.apply(&spec(4, 600_000)).await;
    owner.ready::<DataProduct>("p").await;
    assert_eq!(h.brokers.partitions(&topic).await, Some(4));
    owner.apply(&spec(4, 1000)).await;
    let words = ["stream s", "600000 to 1000", "weir.dev/acknowledge-retention"];
    owner.refused::<DataProduct>("p", Reason::RetentionShortened, &words).await;
    owner.end().await;
}

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
async fn a_namespace_that_no_tenancy_selects_gets_nothing() {
    let h = Harness::start().await;
    let (owner, consumer) = owner_and_consumer(&h).await;
    let outsider = h.stranger("outsider", &[]).await;
    outsider.enrol().await;
    outsider.apply(&product("p", &["s"])).await;
    outsider.apply(&client("app")).await;
    outsider.apply(&account("robot")).await;
    let robot = "subjects: [{kind: ServiceAccount, name: robot}]";
    outsider.apply(&binding_with("b", &owner.name, "reader", robot)).await;
    let words = ["StreamCluster main", &*outsider.name, "tenancy"];
    outsider.refused::<DataProduct>("p", Reason::NotATenant, &words).await;
    outsider.refused::<StreamClient>("app", Reason::NotATenant, &words).await;
    outsider.refused::<RoleBinding>("b", Reason::NotATenant, &words).await;
    assert_eq!(h.brokers.entries_with(&outsider.name).await, Ok([].into()));
    for tenant in [outsider, consumer, owner] {
        tenant.end().await;
    }
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
    platform.ready::<StreamCluster>(harness::CLUSTER).await;
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
