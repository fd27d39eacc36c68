//! Roles and bindings: what they name, and who consents.

use crate::harness::Harness;
use crate::harness::brokers::{groups, reads};
use crate::harness::manifests::{
    account, binding, binding_with, client, privilege, product, product_with, role, role_with,
};
use crate::owner_and_consumer;
use weir::api::{DataProduct, Reason, RoleBinding, StreamClient, StreamRole};

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
