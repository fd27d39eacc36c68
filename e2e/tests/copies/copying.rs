//! A Private product that is copied to a Kafka of its own, and a partner who reads there.

use std::time::Duration;

use serde_json::Value;
use weir::api::{ExternalShare, Reason, ReplicationStatus, SharePhase, SharedWith, StreamCluster};

use crate::harness::brokers::Login;
use crate::harness::other_kafka::OtherKafka;
use crate::harness::records::{Values, read, write};
use crate::harness::sharing::Sharing;
use crate::harness::shell::kubectl;
use crate::harness::{Harness, NAMESPACE, until};

/// The label of all workers.
const WORKERS: &str = "app.kubernetes.io/name=weir-connect";
/// How long Kafka Connect may take to start, on a machine that is busy with other tests.
pub const AWHILE: Duration = Duration::from_secs(240);

/// See the module.
pub struct Copying {
    pub s: Sharing,
    pub kafka: OtherKafka,
}

impl Copying {
    pub async fn begin(name: &str, more: &str) -> Self {
        let h = Harness::start().await;
        let kafka = OtherKafka::start(&h, name, &[]).await;
        let destination = kafka.destination(&h.lab);
        Self::to(h, kafka, destination, &format!("engine: mm2{more}")).await
    }

    /// To `destination`, which is that Kafka as a StreamCluster, with more of the share's fields.
    pub async fn to(h: Harness, kafka: OtherKafka, destination: Value, more: &str) -> Self {
        h.platform().apply_value(destination).await;
        h.platform().ready::<StreamCluster>(&kafka.name).await;
        let pattern = format!("pattern: Copy, destination: {{clusterRef: {{name: {}}}}}, {more}", kafka.name);
        let s = Sharing::of(h, "Private", pattern).await;
        Self { s, kafka }
    }

    /// Eve asks, olga approves, the partner accepts.
    pub async fn agree(&self) {
        self.s.phase(SharePhase::PendingApproval, Reason::AwaitingApproval).await;
        self.s.decide("approve", &[]).await;
        self.s.phase(SharePhase::Invited, Reason::AwaitingAcceptance).await;
        self.s.accept().await;
    }

    pub async fn phase(&self, phase: SharePhase, reason: Reason) -> SharedWith {
        let around = [self.s.owner.name.as_str()];
        until(AWHILE, &around, &format!("the share is {phase:?} for {reason}"), || self.s.is_in(phase, reason)).await
    }

    /// Waits until the share's condition ReplicationHealthy has this status, and says so.
    pub async fn healthy(&self, status: &str, words: &str) {
        self.condition("ReplicationHealthy", status, words).await;
    }

    /// The same of any of its conditions.
    pub async fn condition(&self, type_: &str, status: &str, words: &str) {
        until(AWHILE, &[&self.s.owner.name], &format!("{type_} is {status}: {words}"), || async {
            let share = self.s.owner.get::<ExternalShare>("out").await.ok_or("no share")?;
            let conditions = share.status.map(|s| s.conditions).unwrap_or_default();
            let condition = conditions.iter().find(|c| c.type_ == type_);
            match condition {
                Some(c) if c.status == status && c.message.contains(words) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }

    /// The name of the copy of a stream.
    pub fn copy(&self, stream: &str) -> String {
        format!("{}.out.{}", self.s.owner.name, self.s.topic(stream))
    }

    pub fn write(&self, login: &Login, stream: &str, values: &[String]) {
        write(login, &self.s.topic(stream), 0, values, None);
    }

    /// Waits until the copy of a stream has exactly these.
    pub async fn copied(&self, login: &Login, stream: &str, wanted: &[String]) {
        self.has(login, &self.copy(stream), wanted).await;
    }

    /// Waits until a topic at the destination has exactly these.
    pub async fn has(&self, login: &Login, topic: &str, wanted: &[String]) {
        let group = self.group().await;
        until(AWHILE, &[&self.s.owner.name], &format!("{} records in {topic}", wanted.len()), || async {
            let all = read(login, &group, topic)?;
            if flat(&all) == wanted { Ok(()) } else { Err(format!("{all:?}")) }
        })
        .await;
    }

    /// A consumer group that the partner may use.
    pub async fn group(&self) -> String {
        let partners = self.s.owner.get::<ExternalShare>("out").await.unwrap().status.unwrap().partners;
        format!("{}reader", partners[0].group_prefix.as_deref().unwrap_or_default())
    }

    /// The newest principal that reads at the source.
    pub async fn reader(&self) -> String {
        let entries = self.s.h.brokers.entries_with(&self.s.topic("placed")).await.unwrap_or_default();
        let names = entries.iter().filter_map(|e| e.split("User:").nth(1)?.split(' ').next().map(str::to_owned));
        names.max().unwrap_or_default()
    }

    /// Waits until who reads at the source has another version than this.
    pub async fn is_no_more(&self, reader: &str) {
        until(AWHILE, &[&self.s.owner.name], "who copies has another version", || async {
            let now = self.reader().await;
            if now == reader { Err(now) } else { Ok(()) }
        })
        .await;
    }

    /// The pods of the workers.
    pub async fn workers(&self) -> Vec<String> {
        let engine = format!("{}/mm2", self.kafka.name);
        let path =
            format!("jsonpath={{.items[?(@.metadata.annotations.weir\\.dev/engine=='{engine}')].metadata.name}}");
        let name = kubectl(&["-n", NAMESPACE, "get", "deployments", "-l", WORKERS, "-o", &path]).await;
        let instance = format!("app.kubernetes.io/instance={}", name.trim());
        let pods = kubectl(&["-n", NAMESPACE, "get", "pods", "-l", &instance, "-o", "name"]).await;
        pods.lines().map(str::to_owned).collect()
    }

    /// Waits until the destination knows nobody that Weir made there.
    pub async fn nobody_is_left(&self) {
        until(AWHILE, &[&self.s.owner.name], "nobody is left", || async {
            match self.kafka.brokers.users("~xs.").await {
                Ok(users) if users.is_empty() => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        assert_eq!(self.workers().await, [""; 0]);
    }

    pub async fn replication(&self) -> ReplicationStatus {
        let share = self.s.owner.get::<ExternalShare>("out").await.unwrap();
        share.status.and_then(|s| s.replication).unwrap_or_default()
    }

    pub async fn end(self) {
        self.s.owner.delete_and_wait::<ExternalShare>("out").await;
        self.s.owner.end().await;
        self.s.who.leave(&self.s.h).await;
        self.kafka.end(&self.s.h, []).await;
    }
}

pub fn flat(values: &Values) -> Vec<String> {
    values.values().flatten().cloned().collect()
}
