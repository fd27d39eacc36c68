//! How access is used: who read how much, from where, and what nobody uses.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Value, json};
use tokio::task::{JoinHandle, spawn_blocking};
use weir::api::{Action, ActorType, BindingUsage, EventSource, Reason, RoleBinding, SecurityEvent, StreamCluster};

use crate::events::{metric, recorded, seen, verify};
use crate::harness::brokers::Login;
use crate::harness::manifests::{binding, client, privilege, role_with};
use crate::harness::{CLUSTER, Harness, Tenant, records};

/// How many records there are to read.
const RECORDS: usize = 10;

/// Something that a client does again and again, until it is told to go, or dropped.
struct Staying {
    goes: Arc<AtomicBool>,
    task: Option<JoinHandle<()>>,
}

impl Drop for Staying {
    fn drop(&mut self) {
        self.goes.store(true, Ordering::Relaxed);
    }
}

impl Staying {
    fn begin(mut does: impl FnMut() + Send + 'static) -> Self {
        let goes = Arc::new(AtomicBool::new(false));
        let is_over = goes.clone();
        let task = spawn_blocking(move || {
            while !is_over.load(Ordering::Relaxed) {
                does();
            }
        });
        Self { goes, task: Some(task) }
    }

    /// A consumer in a group that commits what it reads.
    fn reading(login: &Login, group: &str, topic: &str) -> Self {
        let mut config = records::config(login);
        config.set("group.id", group).set("auto.offset.reset", "earliest").set("enable.auto.commit", "false");
        let consumer: BaseConsumer = config.create().unwrap();
        consumer.subscribe(&[topic]).unwrap();
        Self::begin(move || {
            if let Some(Ok(_)) = consumer.poll(Duration::from_millis(100)) {
                consumer.commit_consumer_state(CommitMode::Sync).unwrap();
            }
        })
    }

    async fn end(mut self) {
        self.goes.store(true, Ordering::Relaxed);
        self.task.take().unwrap().await.unwrap();
    }
}

/// The usage in a binding's status, once `is` holds.
async fn usage(tenant: &Tenant, name: &str, what: &str, is: impl Fn(&BindingUsage) -> bool) -> BindingUsage {
    tenant
        .until(&format!("RoleBinding {name}: {what}"), || async {
            let binding = tenant.get::<RoleBinding>(name).await.ok_or("it is not there")?;
            let usage = binding.status.and_then(|s| s.usage).ok_or("nobody looked")?;
            if is(&usage) { Ok(usage) } else { Err(format!("{usage:#?}")) }
        })
        .await
}

/// The first event of an action about a binding.
async fn event(tenant: &Tenant, action: Action, name: &str) -> SecurityEvent {
    seen(tenant, action, |e| e.spec.object.name == name).await
}

/// A pod of the consumer's, whose address is another than that of this process, in `group`.
async fn other_place(tenant: &Tenant, client: &str, group: &str, topic: &str) {
    let kcat = format!("exec kcat -F /bindings/{client}/librdkafka.conf -q -G {group} {topic}");
    tenant
        .apply(&format!(
            r#"
            apiVersion: v1
            kind: Pod
            metadata: {{name: elsewhere}}
            spec:
              automountServiceAccountToken: false
              terminationGracePeriodSeconds: 1
              securityContext:
                runAsNonRoot: true
                runAsUser: 1000
                runAsGroup: 1000
                fsGroup: 1000
                seccompProfile: {{type: RuntimeDefault}}
              containers:
                - name: kcat
                  image: weir.local/kcat:1
                  imagePullPolicy: Never
                  command: [sh, -c, "{kcat}"]
                  securityContext:
                    allowPrivilegeEscalation: false
                    readOnlyRootFilesystem: true
                    capabilities: {{drop: [ALL]}}
                  volumeMounts:
                    - {{name: binding, mountPath: /bindings/{client}}}
                    - {{name: tmp, mountPath: /tmp}}
              volumes:
                - {{name: binding, secret: {{secretName: {client}}}}}
                - {{name: tmp, emptyDir: {{}}}}"#
        ))
        .await;
}

async fn unused_after(h: &Harness, value: Value) {
    h.platform().patch::<StreamCluster>(CLUSTER, json!({"spec": {"unusedAfter": value}})).await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn how_access_is_used_is_told_to_owner_and_consumer() {
    let h = Harness::start().await;
    // Shorter than an hour: then it is looked at every five seconds.
    unused_after(&h, json!("20s")).await;
    let (owner, consumer) = h.owner_and_consumer().await;
    for name in ["app", "idle"] {
        consumer.apply(&client(name)).await;
        consumer.apply(&binding(name, &owner.name, "reader", name)).await;
        consumer.ready::<RoleBinding>(name).await;
    }
    let principal = consumer.principal("app").await;
    let topic = format!("{}.orders.placed", owner.name);
    let (login, of) = (h.brokers.login(), topic.clone());
    let values = records::numbered("placed", RECORDS);
    spawn_blocking(move || records::write(&login, &of, 0, &values, None)).await.unwrap();

    // Somebody reads.
    let first = usage(&consumer, "app", "it was looked at", |_| true).await;
    assert_eq!((first.last_used_at, first.addresses.as_slice()), (None, [].as_slice()));
    let group = format!("{}.app.reader", consumer.name);
    let staying = Staying::reading(&consumer.login("app").await, &group, &topic);
    let used = usage(&consumer, "app", "its use", |u| u.last_used_at.is_some() && !u.addresses.is_empty()).await;
    assert_eq!((used.addresses.len(), &used.unused_since), (1, &None));
    assert!(used.addresses[0].parse::<std::net::IpAddr>().is_ok(), "{used:?}");
    assert_eq!(consumer.security_events(Action::NewAddressSeen).await, [], "the first one is not new");

    // From somewhere else, too.
    other_place(&consumer, "app", &group, &topic).await;
    let new = event(&consumer, Action::NewAddressSeen, "app").await;
    let address = new.spec.client.clone().unwrap().address.unwrap();
    assert!(!used.addresses.contains(&address), "{new:#?}");
    assert_eq!((new.spec.actor.name.as_str(), new.spec.actor.type_), (principal.as_str(), ActorType::Principal));
    let both = usage(&consumer, "app", "both addresses", |u| u.addresses.len() == 2).await;
    assert!(both.addresses.contains(&address), "{both:?}");

    // Nobody uses the other binding.
    let unused = event(&consumer, Action::GrantUnused, "idle").await;
    assert_eq!(unused.spec.source, EventSource::ConsumerGroups);
    assert_eq!(event(&owner, Action::GrantUnused, "idle").await.spec, unused.spec, "one event, under one uid");
    let idle = usage(&consumer, "idle", "unused", |u| u.unused_since.is_some()).await;
    assert_eq!(idle.last_used_at, None);
    metric(&h, &format!("weir_grants_unused{{cluster=\"{CLUSTER}\"}}"), |n| n >= 1.0).await;
    metric(&h, &format!("weir_new_addresses_total{{cluster=\"{CLUSTER}\"}}"), |n| n >= 1.0).await;
    assert!(usage(&consumer, "app", "used", |_| true).await.unused_since.is_none());

    // What was used is told at the end, if the hour is not over before.
    staying.end().await;
    consumer.delete_and_wait::<RoleBinding>("app").await;
    let of_app = |e: &&SecurityEvent| e.spec.object.name == "app";
    let told = consumer
        .until("what was read is told", || async {
            let all = consumer.security_events(Action::AccessUsed).await;
            let told: Vec<_> = all.into_iter().filter(|e| of_app(&e)).collect();
            // Where nothing was read, but somebody was there, the count is one.
            let read = told.iter().filter(|e| e.spec.message.starts_with("read ")).map(|e| e.spec.count).sum::<i64>();
            if read == RECORDS as i64 { Ok(told) } else { Err(format!("{told:#?}")) }
        })
        .await;
    let read = told.iter().find(|e| e.spec.message.contains(&group)).unwrap();
    assert!(read.spec.message.contains("by committed offsets"), "{}", read.spec.message);
    assert_eq!(read.spec.principals, [principal]);
    // One namespace has its copy after the other.
    seen(&owner, Action::AccessUsed, |e| e.spec.uid == read.spec.uid).await;
    let record = recorded("AccessUsed", &consumer.name).await;
    assert!(record.iter().any(|e| e["uid"] == read.spec.uid), "{record:#?}");
    unused_after(&h, Value::Null).await;
    consumer.end().await;
    owner.end().await;
    let (proven, said) = verify(&[]).await;
    assert!(proven, "{said}");
}

/// Where the lab's brokers tell what their quotas count, for all three by one name.
const METRICS: &str = "http://kafka.kafka.svc.cluster.local:9404/metrics";

async fn quota_metrics(h: &Harness, value: Value) {
    h.platform().patch::<StreamCluster>(CLUSTER, json!({"spec": {"quotaMetrics": value}})).await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn who_reads_without_a_group_and_who_writes_is_seen_by_quota_metrics() {
    let h = Harness::start().await;
    let platform = h.platform();
    unused_after(&h, json!("20s")).await;
    quota_metrics(&h, json!({"endpoints": [METRICS, "http://kafka.kafka.svc.cluster.local:9405/metrics"]})).await;
    let is_read = "QuotaMetricsRead";
    platform.says::<StreamCluster>(CLUSTER, is_read, "False", Reason::MetricsUnread, &["9405"]).await;
    let one = METRICS.replace("kafka.kafka", "kafka-0.kafka.kafka");
    quota_metrics(&h, json!({"endpoints": [one]})).await;
    platform.says::<StreamCluster>(CLUSTER, is_read, "False", Reason::MetricsUnread, &["1 of 3 brokers"]).await;
    quota_metrics(&h, json!({"endpoints": [METRICS]})).await;

    let (owner, consumer) = h.owner_and_consumer().await;
    let topic = format!("{}.orders.placed", owner.name);
    // Brokers count where there are quotas.
    for (name, access) in [("viewer", "Read"), ("author", "Write")] {
        let privileges = privilege("names: [orders]", &["placed"], access);
        let quotas = "quotas: {consumerByteRate: 100000000, producerByteRate: 100000000}";
        owner.apply(&role_with(name, &format!("{privileges}, {quotas}, bindableFrom: {{mode: All}}"))).await;
        consumer.apply(&client(name)).await;
        consumer.apply(&binding(name, &owner.name, name, name)).await;
        consumer.ready::<RoleBinding>(name).await;
        usage(&consumer, name, "it was looked at", |_| true).await;
    }
    let (author, mut config) = (consumer.login("author").await, records::config(&consumer.login("viewer").await));
    // It is in no group, and commits nothing; librdkafka wants one named.
    config.set("group.id", format!("{}.viewer.none", consumer.name)).set("enable.auto.commit", "false");
    let viewer: BaseConsumer = config.create().unwrap();
    let mut places = TopicPartitionList::new();
    places.add_partition_offset(&topic, 0, Offset::Beginning).unwrap();
    viewer.assign(&places).unwrap();
    let both = Staying::begin(move || {
        records::write(&author, &topic, 0, &records::numbered("placed", RECORDS), None);
        viewer.poll(Duration::from_millis(100)).transpose().unwrap();
    });
    platform.says::<StreamCluster>(CLUSTER, is_read, "True", Reason::Ready, &["all brokers"]).await;
    for name in ["viewer", "author"] {
        let seen = usage(&consumer, name, "its use", |u| u.last_used_at.is_some()).await;
        assert_eq!(seen.addresses, [""; 0], "exporters tell of none");
    }
    both.end().await;
    for (name, done, source, operation) in [
        ("viewer", "fetched about ", EventSource::QuotaMetrics, "Read"),
        ("author", "produced about ", EventSource::ConsumerGroups, "Write"),
    ] {
        let principal = consumer.principal(name).await;
        consumer.delete_and_wait::<RoleBinding>(name).await;
        let used = event(&consumer, Action::AccessUsed, name).await.spec;
        assert!(used.message.contains(done) && used.message.contains("by quota metrics"), "{}", used.message);
        assert_eq!((used.source, used.principals.as_slice()), (source, [principal].as_slice()), "{}", used.message);
        assert_eq!(event(&owner, Action::AccessUsed, name).await.spec, used, "one event, under one uid");
        assert_eq!(used.client.unwrap().operation.as_deref(), Some(operation));
    }
    quota_metrics(&h, Value::Null).await;
    unused_after(&h, Value::Null).await;
    consumer.end().await;
    owner.end().await;
}
