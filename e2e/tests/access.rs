//! Who may do what, from objects to the brokers and back: run by `make test`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod harness;

use std::time::Duration;

use harness::brokers::{groups, reads, topic_entry, writes};
use harness::manifests::{
    account, binding, binding_with, client, client_with, privilege, product, product_with, role, role_with,
};
use harness::shell::{kubectl, run, try_run};
use harness::{Harness, SOON, Tenant};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret, ServiceAccount};
use serde_json::json;
use weir::api::{Action, CredentialState, DataProduct, Reason, RoleBinding, StreamClient, StreamRole};
use weir::domain::acl::Operation;
use weir::ports::ProbeOutcome;

/// An owner with product `orders` (streams placed and refunded), and a consumer with client `app`.
async fn owner_and_consumer(h: &Harness) -> (Tenant, Tenant) {
    let (owner, consumer) = (h.tenant("owner").await, h.tenant("consumer").await);
    owner.apply(&product("orders", &["placed", "refunded"])).await;
    consumer.apply(&client("app")).await;
    owner.ready::<DataProduct>("orders").await;
    (owner, consumer)
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_binding_gives_exactly_what_its_role_says_on_every_broker() {
    let h = Harness::start().await;
    let (owner, consumer) = owner_and_consumer(&h).await;
    owner.apply(&role("reader", "orders", &["placed"], "Read")).await;
    consumer.apply(&binding("b", &owner.name, "reader", "app")).await;
    let bound = consumer.ready::<RoleBinding>("b").await;
    let app = consumer.principal("app").await;
    let (topic, prefix) = (format!("{}.orders.placed", owner.name), format!("{}.app.", consumer.name));
    h.brokers.show(&app, [reads(&app, &topic), groups(&app, &prefix)]).await;
    let status = bound.status.unwrap();
    assert_eq!(status.principals, [app]);
    assert_eq!(status.topics, std::slice::from_ref(&topic));
    assert_eq!(status.prefixes, [prefix]);
    assert_eq!(status.entries.unwrap().count, 2);
    let login = consumer.login("app").await;
    h.brokers.let_fetch(&login, &topic, ProbeOutcome::Allowed).await;
    h.brokers.let_fetch(&login, &format!("{}.orders.refunded", owner.name), ProbeOutcome::Denied).await;
    // One for a binding, not for an entry.
    consumer.told(Action::AccessGranted, 1).await;
    consumer.end().await;
    owner.end().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn what_came_and_what_went_is_told_and_all_of_it_is_evidence() {
    let h = Harness::start().await;
    let (owner, consumer) = (h.tenant("owner").await, h.tenant("consumer").await);
    let streams: Vec<_> = (0..25).map(|n| format!("s{n}")).collect();
    let names: Vec<_> = streams.iter().map(String::as_str).collect();
    owner.apply(&product("orders", &names)).await;
    consumer.apply(&client("app")).await;
    owner.apply(&role("reader", "orders", &names[..24], "Read")).await;
    consumer.apply(&binding("b", &owner.name, "reader", "app")).await;
    consumer.ready::<RoleBinding>("b").await;
    let app = consumer.principal("app").await;
    let entry = |stream: &str| reads(&app, &format!("{}.orders.{stream}", owner.name)).to_string();
    let granted = consumer.told(Action::AccessGranted, 1).await.remove(0).spec;
    assert_eq!((granted.entries.len(), granted.entry_count), (20, Some(25)), "24 topics and the groups: {granted:#?}");
    // One comes and one goes.
    owner.apply(&role("reader", "orders", &names[1..], "Read")).await;
    let narrowed = consumer.told(Action::AccessNarrowed, 1).await.remove(0).spec;
    assert_eq!((narrowed.entries, narrowed.entry_count), (vec![entry("s0")], None));
    let widened = consumer.told(Action::AccessGranted, 2).await;
    let widened = widened.iter().find(|e| e.spec.reason == "Widened").expect("one of them");
    assert_eq!(widened.spec.entries, [entry("s24")]);
    consumer.delete_and_wait::<RoleBinding>("b").await;
    let evidence = run("weir", &["audit", "evidence", "-n", &consumer.name, "rolebinding/b"]).await;
    let of = |action: &str| evidence.split("\n\n").find(|part| part.contains(action)).unwrap_or_default();
    let (granted, revoked) = (of("  AccessGranted  "), of("  AccessRevoked  "));
    for stream in &names[..24] {
        assert!(granted.contains(&entry(stream)), "{stream}: {evidence}");
    }
    for stream in &names[1..] {
        assert!(revoked.contains(&entry(stream)), "{stream}: {evidence}");
    }
    consumer.end().await;
    owner.end().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn who_reads_a_product_is_told_that_it_is_classified_otherwise() {
    let h = Harness::start().await;
    let (owner, consumer) = owner_and_consumer(&h).await;
    owner.apply(&role("reader", "orders", &["placed"], "Read")).await;
    consumer.apply(&binding("b", &owner.name, "reader", "app")).await;
    consumer.ready::<RoleBinding>("b").await;
    owner.patch::<DataProduct>("orders", json!({"spec": {"classification": "Confidential"}})).await;
    let theirs = consumer.told(Action::ProductReclassified, 1).await.remove(0).spec;
    let own = owner.told(Action::ProductReclassified, 1).await.remove(0).spec;
    assert_eq!(theirs, own, "one event, in both namespaces");
    assert_eq!(own.object.name, "orders");
    consumer.end().await;
    owner.end().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn an_entry_that_two_bindings_need_goes_with_the_last() {
    let h = Harness::start().await;
    let (owner, consumer) = owner_and_consumer(&h).await;
    owner.apply(&role("one", "orders", &["placed"], "Read")).await;
    owner.apply(&role("both", "orders", &["placed", "refunded"], "Read")).await;
    consumer.apply(&binding("one", &owner.name, "one", "app")).await;
    consumer.apply(&binding("both", &owner.name, "both", "app")).await;
    consumer.ready::<RoleBinding>("one").await;
    consumer.ready::<RoleBinding>("both").await;
    let app = consumer.principal("app").await;
    let placed = reads(&app, &format!("{}.orders.placed", owner.name));
    let refunded = reads(&app, &format!("{}.orders.refunded", owner.name));
    let group = groups(&app, &format!("{}.app.", consumer.name));
    h.brokers.show(&app, [placed.clone(), refunded, group.clone()]).await;
    consumer.delete_and_wait::<RoleBinding>("both").await;
    assert_eq!(h.brokers.entries(&app).await, Ok([placed, group].into()), "what the other binding needs stays");
    consumer.ready::<RoleBinding>("one").await;
    consumer.delete_and_wait::<RoleBinding>("one").await;
    assert_eq!(h.brokers.entries(&app).await, Ok([].into()));
    consumer.end().await;
    owner.end().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_deleted_binding_is_without_effect_on_every_broker_at_once() {
    let h = Harness::start().await;
    let (owner, consumer) = owner_and_consumer(&h).await;
    owner.apply(&role("reader", "orders", &["placed"], "Read")).await;
    consumer.apply(&binding("b", &owner.name, "reader", "app")).await;
    consumer.ready::<RoleBinding>("b").await;
    let app = consumer.principal("app").await;
    let login = consumer.login("app").await;
    consumer.delete::<RoleBinding>("b").await;
    let took = h.brokers.show_nothing_of(&app, Duration::from_secs(10)).await;
    eprintln!("revocation: {} ms from the deletion to the last broker", took.as_millis());
    let placed = format!("{}.orders.placed", owner.name);
    assert_eq!(h.brokers.fetch(&login, &placed).await, Ok(ProbeOutcome::Denied));
    consumer.gone::<RoleBinding>("b").await;
    consumer.told(Action::AccessRevoked, 1).await;
    consumer.end().await;
    owner.end().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_role_that_widens_or_narrows_takes_its_bindings_along() {
    let h = Harness::start().await;
    let (owner, consumer) = owner_and_consumer(&h).await;
    owner.apply(&role("r", "orders", &["placed"], "Read")).await;
    consumer.apply(&binding("b", &owner.name, "r", "app")).await;
    consumer.ready::<RoleBinding>("b").await;
    let app = consumer.principal("app").await;
    let group = groups(&app, &format!("{}.app.", consumer.name));
    let placed = format!("{}.orders.placed", owner.name);
    let refunded = format!("{}.orders.refunded", owner.name);
    owner.apply(&role("r", "orders", &["placed", "refunded"], "Read, Write")).await;
    let all = [reads(&app, &placed), writes(&app, &placed), reads(&app, &refunded), writes(&app, &refunded)];
    let [a, b, c, d] = all;
    h.brokers.show(&app, [a, b, c, d, group.clone()]).await;
    let count = |wanted| {
        let consumer = &consumer;
        async move {
            consumer
                .until("the binding's status follows the role", || async {
                    let status = consumer.get::<RoleBinding>("b").await.and_then(|b| b.status).unwrap_or_default();
                    let count = status.entries.as_ref().map(|e| e.count);
                    if count == Some(wanted) { Ok(status) } else { Err(format!("{status:#?}")) }
                })
                .await
        }
    };
    count(5).await;
    owner.apply(&role("r", "orders", &["refunded"], "Read")).await;
    h.brokers.show(&app, [reads(&app, &refunded), group]).await;
    assert_eq!(count(2).await.topics, std::slice::from_ref(&refunded));
    consumer.ready::<RoleBinding>("b").await;
    consumer
        .until("widening and narrowing are on record", || async {
            let narrowed = consumer.security_events(Action::AccessNarrowed).await.len();
            let revoked = consumer.security_events(Action::AccessRevoked).await.len();
            if (narrowed, revoked) == (1, 0) { Ok(()) } else { Err(format!("narrowed {narrowed}, revoked {revoked}")) }
        })
        .await;
    consumer.end().await;
    owner.end().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_role_with_a_selector_follows_the_labels_of_products() {
    let h = Harness::start().await;
    let (owner, consumer) = owner_and_consumer(&h).await;
    let public = privilege("selector: {matchLabels: {tier: gold}}", &[], "Read");
    owner.apply(&role_with("gold", &format!("{public}, bindableFrom: {{mode: All}}"))).await;
    consumer.apply(&binding("b", &owner.name, "gold", "app")).await;
    consumer.ready::<RoleBinding>("b").await;
    let app = consumer.principal("app").await;
    h.brokers.show(&app, []).await;
    owner.patch::<DataProduct>("orders", json!({"metadata": {"labels": {"tier": "gold"}}})).await;
    let topic = |name: &str| format!("{}.{name}", owner.name);
    let group = groups(&app, &format!("{}.app.", consumer.name));
    let (placed, refunded) = (reads(&app, &topic("orders.placed")), reads(&app, &topic("orders.refunded")));
    h.brokers.show(&app, [placed.clone(), refunded.clone(), group.clone()]).await;
    let labelled = product("late", &["only"]).replace("{name: late}", "{name: late, labels: {tier: gold}}");
    owner.apply(&labelled).await;
    h.brokers.show(&app, [placed, refunded, reads(&app, &topic("late.only")), group.clone()]).await;
    owner.patch::<DataProduct>("orders", json!({"metadata": {"labels": {"tier": null}}})).await;
    h.brokers.show(&app, [reads(&app, &topic("late.only")), group]).await;
    consumer.end().await;
    owner.end().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_binding_expires_by_itself() {
    let h = Harness::start().await;
    let (owner, consumer) = owner_and_consumer(&h).await;
    owner.apply(&role("reader", "orders", &["placed"], "Read")).await;
    consumer.ready::<StreamClient>("app").await;
    let ends = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(8);
    let subject = "subjects: [{kind: StreamClient, name: app}]";
    let until = format!("expiresAt: '{}', {subject}", jiff::Timestamp::from_second(ends.as_second()).unwrap());
    consumer.apply(&binding_with("b", &owner.name, "reader", &until)).await;
    consumer.ready::<RoleBinding>("b").await;
    let app = consumer.principal("app").await;
    assert!(!h.brokers.entries(&app).await.unwrap().is_empty());
    consumer.refused::<RoleBinding>("b", Reason::Expired, &["expired at"]).await;
    assert_eq!(h.brokers.entries(&app).await, Ok([].into()), "it says Expired only once that is so");
    let late = jiff::Timestamp::now().duration_since(ends);
    eprintln!("expiry: Expired {} ms after the end, to the second", late.as_millis());
    let revoked = consumer.told(Action::AccessExpired, 1).await;
    assert_eq!(revoked[0].spec.reason, "Expired");
    consumer.end().await;
    owner.end().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn what_a_role_inherits_without_consent_grants_nothing() {
    let h = Harness::start().await;
    let (owner, consumer) = owner_and_consumer(&h).await;
    let middle = h.tenant("middle").await;
    let private = privilege("names: [orders]", &["refunded"], "Read");
    owner.apply(&role_with("private", &format!("{private}, bindableFrom: {{mode: Same}}"))).await;
    owner.apply(&role("open", "orders", &["placed"], "Read")).await;
    let inherits = ["private", "open"].map(|r| format!("{{namespace: {}, name: {r}}}", owner.name)).join(", ");
    middle.apply(&role_with("laundry", &format!("inherits: [{inherits}], bindableFrom: {{mode: All}}"))).await;
    consumer.apply(&binding("b", &middle.name, "laundry", "app")).await;
    let names = [format!("{}/private", owner.name), consumer.name.clone()];
    consumer.refused::<RoleBinding>("b", Reason::NotBindable, &[&names[0], &names[1]]).await;
    let app = consumer.principal("app").await;
    let placed = reads(&app, &format!("{}.orders.placed", owner.name));
    // What may be bound from here is given all the same.
    h.brokers.show(&app, [placed, groups(&app, &format!("{}.app.", consumer.name))]).await;
    for tenant in [consumer, middle, owner] {
        tenant.end().await;
    }
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_product_deleted_while_bound_is_revoked_first_and_its_topics_follow_the_policy() {
    let h = Harness::start().await;
    let (owner, consumer) = owner_and_consumer(&h).await;
    let streams = "streams: [{name: s, partitions: 1, replicas: 3}]";
    for (name, policy) in [("kept", "Retain"), ("dropped", "Delete")] {
        owner.apply(&product_with(name, &format!("{streams}, deletionPolicy: {policy}"))).await;
        owner.apply(&role(name, name, &[], "Read")).await;
        consumer.apply(&binding(name, &owner.name, name, "app")).await;
        consumer.ready::<RoleBinding>(name).await;
    }
    let app = consumer.principal("app").await;
    let topic = |product: &str| format!("{}.{product}.s", owner.name);
    for (name, stays) in [("kept", true), ("dropped", false)] {
        owner.delete_and_wait::<DataProduct>(name).await;
        let entries = h.brokers.entries(&app).await.unwrap();
        assert!(!entries.iter().any(|e| e.contains(&topic(name))), "the product went before its access: {entries:?}");
        owner
            .until("the topic follows the policy", || async {
                let there = h.brokers.partitions(&topic(name)).await.is_some();
                if there == stays { Ok(()) } else { Err(format!("{} is there: {there}", topic(name))) }
            })
            .await;
        let gone = format!("{}/{name}", owner.name);
        consumer.refused::<RoleBinding>(name, Reason::ProductNotFound, &[&gone, "does not exist"]).await;
    }
    h.brokers.show(&app, []).await;
    h.brokers.delete_topic(&topic("kept")).await;
    consumer.end().await;
    owner.end().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_namespace_that_is_deleted_leaves_nothing_behind() {
    let h = Harness::start().await;
    let (owner, consumer) = owner_and_consumer(&h).await;
    owner.apply(&role("rw", "orders", &[], "Read, Write")).await;
    owner.apply(&client("own")).await;
    owner.apply(&binding("own", &owner.name, "rw", "own")).await;
    consumer.apply(&binding("b", &owner.name, "rw", "app")).await;
    owner.ready::<RoleBinding>("own").await;
    consumer.ready::<RoleBinding>("b").await;
    let (own, app) = (owner.principal("own").await, consumer.principal("app").await);
    let consumer_name = consumer.name.clone();
    consumer.end().await;
    assert_eq!(h.brokers.entries(&app).await, Ok([].into()));
    assert_eq!(h.brokers.users(&consumer_name).await, Ok([].into()), "its SCRAM users are gone");
    assert!(!h.brokers.entries(&own).await.unwrap().is_empty(), "others keep what they have");
    owner.end().await;
    assert_eq!(h.brokers.entries(&own).await, Ok([].into()));
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_rotated_client_has_both_versions_until_the_overlap_is_over() {
    let h = Harness::start().await;
    let (owner, consumer) = owner_and_consumer(&h).await;
    owner.apply(&role("reader", "orders", &["placed"], "Read")).await;
    let rotation = "type: ScramSha512, rotation: {every: 24h, overlap: 10s}";
    consumer.apply(&client_with("app", rotation)).await;
    consumer.apply(&binding("b", &owner.name, "reader", "app")).await;
    consumer.ready::<RoleBinding>("b").await;
    let first = consumer.principal("app").await;
    let old = consumer.login("app").await;
    let topic = format!("{}.orders.placed", owner.name);
    assert_eq!(h.brokers.fetch(&old, &topic).await, Ok(ProbeOutcome::Allowed));
    consumer.patch::<StreamClient>("app", json!({"metadata": {"annotations": {"weir.dev/rotate": "now"}}})).await;
    let second = consumer
        .until("the Secret has another version", || async {
            let client = consumer.get::<StreamClient>("app").await.and_then(|c| c.status).unwrap_or_default();
            match client.principal {
                Some(principal) if principal != first => Ok(principal),
                _ => Err(format!("{client:#?}")),
            }
        })
        .await;
    let new = consumer.login("app").await;
    assert_eq!(h.brokers.fetch(&new, &topic).await, Ok(ProbeOutcome::Allowed), "the new one works at once");
    assert_eq!(h.brokers.fetch(&old, &topic).await, Ok(ProbeOutcome::Allowed), "the old one works in the overlap");
    let status = consumer.get::<StreamClient>("app").await.and_then(|c| c.status).unwrap();
    let states: Vec<_> = status.credentials.iter().map(|c| (c.principal.as_str(), c.state)).collect();
    assert_eq!(states, [(&*second, CredentialState::Current), (&*first, CredentialState::Overlapping)]);
    h.brokers.let_fetch(&old, &topic, ProbeOutcome::LoginRefused).await;
    assert_eq!(h.brokers.entries(&first).await, Ok([].into()));
    assert_eq!(h.brokers.fetch(&new, &topic).await, Ok(ProbeOutcome::Allowed));
    consumer.ready::<StreamClient>("app").await;
    consumer.told(Action::CredentialRotated, 1).await;
    consumer.end().await;
    owner.end().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_certificate_is_a_credential_too() {
    let h = Harness::start().await;
    let (owner, consumer) = owner_and_consumer(&h).await;
    owner.apply(&role("reader", "orders", &["placed"], "Read")).await;
    consumer.apply(&client_with("cert", "type: Mtls")).await;
    consumer.apply(&binding("b", &owner.name, "reader", "cert")).await;
    consumer.ready::<RoleBinding>("b").await;
    let principal = consumer.principal("cert").await;
    let topic = format!("{}.orders.placed", owner.name);
    let group = groups(&principal, &format!("{}.cert.", consumer.name));
    h.brokers.show(&principal, [reads(&principal, &topic), group]).await;
    let login = consumer.login("cert").await;
    h.brokers.let_fetch(&login, &topic, ProbeOutcome::Allowed).await;
    consumer.delete_and_wait::<RoleBinding>("b").await;
    assert_eq!(h.brokers.fetch(&login, &topic).await, Ok(ProbeOutcome::Denied));
    consumer.end().await;
    owner.end().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_service_account_needs_no_secret() {
    let h = Harness::start().await;
    let (owner, consumer) = owner_and_consumer(&h).await;
    owner.apply(&role("reader", "orders", &["placed"], "Read")).await;
    consumer.apply(&account("scorer")).await;
    let subjects = "subjects: [{kind: ServiceAccount, name: scorer}]";
    consumer.apply(&binding_with("b", &owner.name, "reader", subjects)).await;
    consumer.says::<RoleBinding>("b", "ConnectionPublished", "True", Reason::Ready, &["weir-b"]).await;
    consumer.ready::<RoleBinding>("b").await;
    let principal = format!("system:serviceaccount:{}:scorer", consumer.name);
    let (topic, prefix) = (format!("{}.orders.placed", owner.name), format!("{}.scorer.", consumer.name));
    h.brokers.show(&principal, [reads(&principal, &topic), groups(&principal, &prefix)]).await;
    let data = consumer.get::<ConfigMap>("weir-b").await.unwrap().data.unwrap();
    for (key, value) in [("topics", &topic), ("prefixes", &prefix), ("audience", &h.lab.kafka.oauth_audience)] {
        assert_eq!(data.get(key), Some(value));
    }
    assert_eq!(data["bootstrapServers"], h.lab.kafka.oauth);
    assert!(data["ca.crt"].contains("BEGIN CERTIFICATE"));
    assert_eq!(consumer.names::<Secret>().await, ["app"], "no Secret but that of the StreamClient");
    consumer.delete::<ServiceAccount>("scorer").await;
    h.brokers.show_nothing_of(&principal, SOON).await;
    consumer.end().await;
    owner.end().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn quotas_are_the_largest_of_the_roles() {
    let h = Harness::start().await;
    let (owner, consumer) = owner_and_consumer(&h).await;
    for (name, quotas) in [
        ("slow", "consumerByteRate: 1000, producerByteRate: 500"),
        ("fast", "consumerByteRate: 9000, requestPercentage: 50"),
    ] {
        let spec = privilege("names: [orders]", &["placed"], "Read");
        owner.apply(&role_with(name, &format!("{spec}, quotas: {{{quotas}}}, bindableFrom: {{mode: All}}"))).await;
        consumer.apply(&binding(name, &owner.name, name, "app")).await;
        consumer.ready::<RoleBinding>(name).await;
    }
    let app = consumer.principal("app").await;
    let shown = async |wanted: &[(&str, f64)]| {
        let wanted = wanted.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect();
        consumer
            .until("the brokers have the quotas", || async {
                let quotas = h.brokers.quotas(&app).await?;
                if quotas == wanted { Ok(()) } else { Err(format!("{quotas:?}, not {wanted:?}")) }
            })
            .await;
    };
    shown(&[("consumer_byte_rate", 9000.0), ("producer_byte_rate", 500.0), ("request_percentage", 50.0)]).await;
    consumer.delete_and_wait::<RoleBinding>("fast").await;
    shown(&[("consumer_byte_rate", 1000.0), ("producer_byte_rate", 500.0)]).await;
    consumer.delete_and_wait::<RoleBinding>("slow").await;
    shown(&[]).await;
    consumer.end().await;
    owner.end().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn an_entry_deleted_by_hand_is_restored() {
    let h = Harness::start().await;
    let (owner, consumer) = owner_and_consumer(&h).await;
    owner.apply(&role("reader", "orders", &["placed"], "Read")).await;
    consumer.apply(&binding("b", &owner.name, "reader", "app")).await;
    consumer.ready::<RoleBinding>("b").await;
    let app = consumer.principal("app").await;
    let topic = format!("{}.orders.placed", owner.name);
    h.brokers.take_away(topic_entry(&app, Operation::Read, &topic)).await;
    h.brokers.show(&app, [reads(&app, &topic), groups(&app, &format!("{}.app.", consumer.name))]).await;
    consumer.ready::<RoleBinding>("b").await;
    consumer.end().await;
    owner.end().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_namespace_that_did_not_enrol_gets_no_secret_and_is_told_how_to() {
    let h = Harness::start().await;
    let shy = h.stranger("shy", &[("weir.dev/tenant", "true")]).await;
    shy.apply(&client("app")).await;
    let advice = format!("--namespace {} --clusterrole weir-credentials", shy.name);
    shy.refused::<StreamClient>("app", Reason::NamespaceNotEnrolled, &[&shy.name, "Secret app", &advice]).await;
    assert!(shy.names::<Secret>().await.is_empty());
    let account = format!("system:serviceaccount:{}:weir", harness::NAMESPACE);
    for verb in ["create", "get", "list", "watch", "update", "delete"] {
        let (may, said) =
            try_run("kubectl", &["auth", "can-i", verb, "secrets", "-n", &shy.name, "--as", &account], "").await;
        assert!(!may, "Weir may {verb} Secrets in a namespace that did not enrol: {said}");
    }
    shy.enrol().await;
    let (may, said) =
        try_run("kubectl", &["auth", "can-i", "create", "secrets", "-n", &shy.name, "--as", &account], "").await;
    assert!(may, "{said}");
    shy.ready::<StreamClient>("app").await;
    assert_eq!(shy.names::<Secret>().await, ["app"]);
    shy.end().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_secret_that_is_not_weirs_is_never_overwritten() {
    let h = Harness::start().await;
    let consumer = h.tenant("consumer").await;
    consumer.apply("{apiVersion: v1, kind: Secret, metadata: {name: app}, stringData: {mine: precious}}").await;
    let before = consumer.get::<Secret>("app").await.unwrap();
    consumer.apply(&client("app")).await;
    consumer
        .refused::<StreamClient>("app", Reason::NameTaken, &["Secret", "/app exists", "credentials.secretName"])
        .await;
    let after = consumer.get::<Secret>("app").await.unwrap();
    assert_eq!(before.metadata.resource_version, after.metadata.resource_version);
    consumer.apply(&client_with("app", "type: ScramSha512, secretName: app-kafka")).await;
    consumer.ready::<StreamClient>("app").await;
    assert!(consumer.names::<Secret>().await.contains(&"app-kafka".to_owned()));
    consumer.end().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn the_samples_become_ready_and_differ_in_nothing_afterwards() {
    let h = Harness::start().await;
    kubectl(&["apply", "-f", "config/samples/platform/namespaces.yaml"]).await;
    let folders = ["payments", "fraud", "billing"];
    for folder in folders {
        kubectl(&["apply", "-f", &format!("config/samples/{folder}")]).await;
    }
    let here = |name: &str| Tenant::existing(h.client.clone(), name);
    here("payments").ready::<DataProduct>("orders").await;
    here("payments").ready::<RoleBinding>("orders-service-writes").await;
    here("payments").ready::<StreamRole>("orders-writer").await;
    here("fraud").ready::<RoleBinding>("scorer-reads-placed").await;
    let olga = ["weir", "--as", "olga@payments.example", "--namespace", "payments"];
    let approve = [&olga[..], &["approve", "billing/invoicer-reads-refunded"]].concat();
    here("payments")
        .until("olga approves", || async {
            match try_run("kubectl", &approve, "").await {
                (true, _) => Ok(()),
                (false, why) => Err(why),
            }
        })
        .await;
    here("billing").ready::<RoleBinding>("invoicer-reads-refunded").await;
    here("billing").ready::<StreamClient>("invoicer").await;
    for folder in folders {
        let (same, diff) = try_run("kubectl", &["diff", "-f", &format!("config/samples/{folder}")], "").await;
        assert!(same && diff.is_empty(), "{diff}");
    }
    let cluster = serde_yaml::to_string(&harness::install::cluster_manifest()).unwrap();
    let arguments = ["diff", "--server-side", "--field-manager=weir-e2e", "-f", "-"];
    let (same, diff) = try_run("kubectl", &arguments, &cluster).await;
    assert!(same && diff.is_empty(), "{diff}");
    for name in ["billing", "fraud", "payments"] {
        here(name).end().await;
    }
    assert!(h.platform().get::<Namespace>("payments").await.is_none());
    for topic in ["payments.orders.placed", "payments.orders.refunded"] {
        h.brokers.delete_topic(topic).await;
    }
}
