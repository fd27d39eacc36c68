//! The audit topic cannot be written: nothing is given, what is taken away is taken away at once, and is on record afterwards.

use std::collections::BTreeMap;
use std::time::Duration;

use weir::api::{Action, AuditTrail, DataProduct, Reason, RoleBinding, StreamClient};
use weir::domain::acl::{AclEntry, Operation};
use weir::ports::{ConfigDelta, ConfigResource, KafkaAdmin, ProbeOutcome};

use crate::events::{metric, recorded, verify};
use crate::harness::brokers::{Login, topic_entry};
use crate::harness::manifests::{binding, client, privilege, product, role, role_with};
use crate::harness::tenant::Tenant;
use crate::harness::{Harness, until};

/// A transaction that no broker takes is given up after half a minute at most.
const UNTIL_NOTICED: Duration = Duration::from_secs(120);

/// Takes no records that are as long as Weir's: the topic can be read, and not be written.
async fn writable(h: &Harness, is: bool) {
    let changes = BTreeMap::from([("max.message.bytes".to_owned(), (!is).then(|| "200".to_owned()))]);
    let delta = ConfigDelta { resource: ConfigResource::Topic("weir-audit".into()), changes };
    h.brokers.admin.alter_configs(&[delta], false).await.unwrap().into_iter().for_each(|r| r.unwrap());
}

/// One client that reads one topic, and another one instead of it by the same change.
struct Swap {
    principal: String,
    login: Login,
    topics: [String; 2],
}

impl Swap {
    /// It reads the first.
    async fn begin(owner: &Tenant, consumer: &Tenant) -> Self {
        owner.apply(&product("pair", &["first", "second"])).await;
        owner.apply(&role("one-of-two", "pair", &["first"], "Read")).await;
        owner.ready::<DataProduct>("pair").await;
        consumer.apply(&client("swaps")).await;
        let principal = consumer.principal("swaps").await;
        consumer.apply(&binding("swaps", &owner.name, "one-of-two", "swaps")).await;
        consumer.ready::<RoleBinding>("swaps").await;
        let topics = ["first", "second"].map(|stream| format!("{}.pair.{stream}", owner.name));
        Self { principal, login: consumer.login("swaps").await, topics }
    }

    /// The first goes at once, everywhere where that is said; the second waits.
    async fn half(&self, h: &Harness, owner: &Tenant, consumer: &Tenant) {
        owner.apply(&role("one-of-two", "pair", &["second"], "Read")).await;
        let [first, second] = &self.topics;
        h.brokers.let_fetch(&self.login, first, ProbeOutcome::Denied).await;
        consumer
            .says::<RoleBinding>("swaps", "Ready", "False", Reason::AuditUnavailable, &["AuditTrail default"])
            .await;
        consumer
            .until("the ledger has neither topic, and the binding says so", || async {
                let ledger = h.brokers.ledger().await?;
                let recorded: Vec<_> =
                    ledger.grants.get(&self.principal).into_iter().flatten().map(|(_, r)| &r.entries).collect();
                let binding = consumer.get::<RoleBinding>("swaps").await.ok_or("no binding")?;
                let shown = binding.status.and_then(|s| s.entries).map(|e| e.sample).unwrap_or_default();
                let has = |entries: &str| self.topics.iter().any(|topic| entries.contains(topic));
                let (recorded, shown) = (format!("{recorded:?}"), format!("{shown:?}"));
                if has(&recorded) || has(&shown) { Err(format!("{recorded}, {shown}")) } else { Ok(()) }
            })
            .await;
        consumer.told(Action::AccessNarrowed, 1).await;
        assert_eq!(h.brokers.fetch(&self.login, second).await, Ok(ProbeOutcome::Denied));
    }

    /// The second comes.
    async fn end(&self, h: &Harness, consumer: &Tenant) {
        let [first, second] = &self.topics;
        h.brokers.let_fetch(&self.login, second, ProbeOutcome::Allowed).await;
        consumer.ready::<RoleBinding>("swaps").await;
        assert_eq!(h.brokers.fetch(&self.login, first).await, Ok(ProbeOutcome::Denied));
    }
}

/// One client that reads one topic up to a quota.
struct Limited {
    principal: String,
    entry: AclEntry,
}

impl Limited {
    fn role(quotas: &str) -> String {
        let privileges = privilege("names: [orders]", &["placed"], "Read");
        role_with("limited", &format!("{privileges}, quotas: {{{quotas}}}, bindableFrom: {{mode: All}}"))
    }

    async fn begin(owner: &Tenant, consumer: &Tenant) -> Self {
        owner.apply(&Self::role("consumerByteRate: 9000")).await;
        consumer.apply(&client("limited")).await;
        let principal = consumer.principal("limited").await;
        consumer.apply(&binding("limited", &owner.name, "limited", "limited")).await;
        consumer.ready::<RoleBinding>("limited").await;
        let entry = topic_entry(&principal, Operation::Read, &format!("{}.orders.placed", owner.name));
        Self { principal, entry }
    }

    /// Its owner takes the limit away, and then somebody its entry: the second is seen, and neither is given.
    async fn half(&self, h: &Harness, owner: &Tenant, consumer: &Tenant) {
        owner.apply(&Self::role("")).await;
        let why = &["AuditTrail default"];
        consumer.says::<RoleBinding>("limited", "Ready", "False", Reason::AuditUnavailable, why).await;
        h.brokers.take_away(self.entry.clone()).await;
        consumer
            .until("the binding shows the entry no more", || async {
                let status = consumer.get::<RoleBinding>("limited").await.and_then(|b| b.status);
                let shown = status.and_then(|s| s.entries).map_or(0, |e| e.count);
                if shown == 1 { Ok(()) } else { Err(format!("{shown} entries are shown")) }
            })
            .await;
        let limit = BTreeMap::from([("consumer_byte_rate".to_owned(), 9000.0)]);
        assert_eq!(h.brokers.quotas(&self.principal).await, Ok(limit));
    }

    /// Both are given, and the first is told as what it is.
    async fn end(&self, h: &Harness, consumer: &Tenant) {
        consumer.ready::<RoleBinding>("limited").await;
        assert_eq!(h.brokers.quotas(&self.principal).await, Ok(BTreeMap::new()));
        assert!(h.brokers.entries(&self.principal).await.unwrap().contains(&self.entry.to_string()));
        let own = h.own_namespace();
        own.until("the restored entry is told", || async {
            let told = own.security_events(Action::DriftRepaired).await;
            let is_it = |e: &weir::api::SecurityEvent| {
                e.spec.reason == "EntriesRestored" && e.spec.entries.contains(&self.entry.to_string())
            };
            if told.iter().any(is_it) { Ok(()) } else { Err(format!("{told:#?}")) }
        })
        .await;
    }
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn while_it_cannot_be_written_narrowing_goes_on_and_widening_waits() {
    let h = Harness::start().await;
    let (owner, consumer) = h.owner_and_consumer().await;
    let topic = format!("{}.orders.placed", owner.name);
    for name in ["leaves", "comes"] {
        consumer.apply(&client(name)).await;
        consumer.principal(name).await;
    }
    consumer.apply(&binding("leaves", &owner.name, "reader", "leaves")).await;
    consumer.ready::<RoleBinding>("leaves").await;
    let swap = Swap::begin(&owner, &consumer).await;
    let limited = Limited::begin(&owner, &consumer).await;
    let (leaves, comes) = (consumer.login("leaves").await, consumer.login("comes").await);
    h.brokers.let_fetch(&leaves, &topic, ProbeOutcome::Allowed).await;

    writable(&h, false).await;
    // Whatever is told next does not get on record.
    consumer.apply(&client("noticed")).await;
    let platform = h.platform();
    until(UNTIL_NOTICED, &[], "the AuditTrail says that it is lost", || async {
        let trail = platform.get::<AuditTrail>("default").await.and_then(|t| t.status).unwrap_or_default();
        let lost = trail.conditions.iter().any(|c| c.type_ == "Ready" && c.status == "False");
        if lost { Ok(()) } else { Err(format!("{:#?}", trail.conditions)) }
    })
    .await;
    consumer.says::<StreamClient>("noticed", "Ready", "False", Reason::AuditUnavailable, &["AuditTrail default"]).await;
    let users = h.brokers.users(&format!("{}.noticed", consumer.name)).await;
    assert_eq!(users, Ok(std::collections::BTreeSet::new()), "no credential is issued");
    metric(&h, "weir_audit_available", |n| n == 0.0).await;
    consumer.apply(&binding("comes", &owner.name, "reader", "comes")).await;
    consumer.delete_and_wait::<RoleBinding>("leaves").await;
    h.brokers.let_fetch(&leaves, &topic, ProbeOutcome::Denied).await;
    consumer.says::<RoleBinding>("comes", "Ready", "False", Reason::AuditUnavailable, &["AuditTrail default"]).await;
    assert_eq!(h.brokers.fetch(&comes, &topic).await, Ok(ProbeOutcome::Denied));
    swap.half(&h, &owner, &consumer).await;
    limited.half(&h, &owner, &consumer).await;
    // Who looks sees it all the same.
    let revoked = consumer.told(Action::AccessRevoked, 1).await.remove(0);
    assert_eq!(revoked.metadata.labels.unwrap()["weir.dev/unrecorded"], "true");

    writable(&h, true).await;
    until(UNTIL_NOTICED, &[&consumer.name], "what waited is given", || async {
        let outcome = h.brokers.fetch(&comes, &topic).await?;
        if outcome == ProbeOutcome::Allowed { Ok(()) } else { Err(format!("{outcome:?}")) }
    })
    .await;
    consumer.ready::<RoleBinding>("comes").await;
    swap.end(&h, &consumer).await;
    limited.end(&h, &consumer).await;
    consumer.ready::<StreamClient>("noticed").await;
    metric(&h, "weir_audit_available", |n| n == 1.0).await;
    let own = h.own_namespace();
    for action in [Action::AuditTrailLost, Action::AuditTrailRestored] {
        own.until(&format!("{action:?} is told"), || async {
            if own.security_events(action).await.is_empty() { Err("it is not".to_owned()) } else { Ok(()) }
        })
        .await;
    }
    let uid = revoked.spec.uid;
    consumer
        .until("the revocation is on record, once, and no longer marked", || async {
            let record = recorded("AccessRevoked", &consumer.name).await;
            let times = record.iter().filter(|e| e["uid"] == uid).count();
            let events = consumer.security_events(Action::AccessRevoked).await;
            let marked =
                |e: &weir::api::SecurityEvent| e.metadata.labels.as_ref().unwrap().contains_key("weir.dev/unrecorded");
            if times == 1 && events.len() == 1 && !marked(&events[0]) {
                Ok(())
            } else {
                Err(format!("{times}: {events:#?}"))
            }
        })
        .await;
    consumer.end().await;
    owner.end().await;
    let (proven, said) = verify(&[]).await;
    assert!(proven, "{said}");
}
