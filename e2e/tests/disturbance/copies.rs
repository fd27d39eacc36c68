//! A share by copy, while the operator is killed within each step of its beginning, its pauses and its end.

use std::collections::BTreeSet;
use std::time::Duration;

use kube::ResourceExt;
use serde_json::json;
use weir::api::{DataProduct, ExternalShare, StreamCluster};
use weir::domain::acl::Operation;
use weir::domain::ledger::Ledger;
use weir::domain::names::link_prefix;
use weir::sealing::new_identity;

use crate::harness::brokers::{groups, reads, topic_entry, writes};
use crate::harness::confluent::Confluent;
use crate::harness::manifests::{partner, product_with};
use crate::harness::operator::Operator;
use crate::harness::other_kafka::OtherKafka;
use crate::harness::records::{numbered, read, write};
use crate::harness::shell::kubectl;
use crate::harness::strimzi::Strimzi;
use crate::harness::{Harness, Tenant, until};
use crate::kills::{AFTERWARDS, Seeded, from_environment};
use crate::shares::everybody_says_yes;

/// What copies.
enum By {
    /// Kafka Connect, which Weir runs.
    Weir,
    /// Resources of Strimzi's.
    Strimzi(Strimzi),
    /// A cluster link.
    Link(Confluent),
}

impl By {
    async fn strimzi(h: &Harness) -> Self {
        let mut strimzi = Strimzi::absent(h).await;
        strimzi.namespace.bind("weir-strimzi").await;
        strimzi.define().await;
        strimzi.operate();
        Self::Strimzi(strimzi)
    }

    async fn link(h: &Harness, kafka: &OtherKafka) -> Self {
        let confluent = Confluent::start(kafka).await;
        confluent.introduce(h, None).await;
        Self::Link(confluent)
    }

    /// What is left of any share.
    async fn left(&self) -> String {
        match self {
            Self::Weir => String::new(),
            Self::Strimzi(strimzi) => match strimzi.resources().await.len() {
                0 => strimzi.left().await,
                n => format!("{n} resources"),
            },
            Self::Link(confluent) => confluent.mirrors().into_keys().collect(),
        }
    }

    async fn end(self, h: &Harness) {
        match self {
            Self::Weir => {}
            Self::Strimzi(strimzi) => strimzi.end().await,
            Self::Link(confluent) => confluent.end(h).await,
        }
    }
}

/// What people want of the share.
struct Wishes {
    owner: Tenant,
    kafka: OtherKafka,
    by: By,
    partner: String,
    recipient: String,
    /// It is there, approved and accepted.
    agreed: bool,
    suspended: bool,
    quarantined: bool,
    /// How many shares were made so far: each is another one.
    made: usize,
    /// How many records were written at the source.
    written: usize,
}

impl Wishes {
    async fn first(h: &Harness, kafka: OtherKafka, by: By) -> Self {
        let mut destination = kafka.destination(&h.lab);
        let engine = &mut destination["spec"]["replicationEngines"][0];
        match &by {
            By::Weir => {}
            By::Strimzi(strimzi) => *engine = json!({"name": "mm2", "strimzi": strimzi.engine()}),
            By::Link(confluent) => *engine = json!({"name": "mm2", "clusterLink": confluent.engine()}),
        }
        h.platform().apply_value(destination).await;
        h.platform().ready::<StreamCluster>(&kafka.name).await;
        let owner = h.tenant("owner").await;
        let partner = owner.name.replace("owner", "acme");
        owner.apply(&product_with("orders", "classification: Private, streams: [{name: placed, partitions: 1}]")).await;
        owner.ready::<DataProduct>("orders").await;
        let recipient = new_identity().1;
        let (agreed, suspended, quarantined, made, written) = (false, false, false, 0, 0);
        let wishes = Self { owner, kafka, by, partner, recipient, agreed, suspended, quarantined, made, written };
        wishes.say_partner(h).await;
        wishes
    }

    async fn say_partner(&self, h: &Harness) {
        let standing = if self.quarantined { "Quarantined" } else { "Active" };
        h.platform().apply(&partner(&self.partner, standing)).await;
    }

    async fn say_share(&self) {
        let share = json!({"apiVersion": "weir.dev/v1alpha1", "kind": "ExternalShare", "metadata": {"name": "out"},
            "spec": {"products": [{"name": "orders"}], "partnerRefs": [{"name": self.partner}], "pattern": "Copy",
                "destination": {"clusterRef": {"name": self.kafka.name}}, "engine": "mm2", "history": {"from": "All"},
                "targetTopicPolicy": "Delete", "suspended": self.suspended,
                "validity": {"notAfter": "2099-01-01T00:00:00Z"}}});
        self.owner.apply_value(share).await;
    }

    /// Everybody says yes, whatever Weir has seen of it yet.
    async fn agree(&mut self, h: &Harness) {
        self.suspended = false;
        self.say_share().await;
        self.made += 1;
        let scope = json!({"pattern": "Copy", "destination": self.kafka.name,
            "streams": [{"product": "orders", "stream": "placed", "access": ["Read"]}]});
        everybody_says_yes(h, &self.owner, &self.partner, &self.recipient, self.made, scope).await;
        self.agreed = true;
    }

    /// Changes one thing, and says which.
    async fn change(&mut self, h: &Harness, random: &mut Seeded) -> String {
        match random.below(6) {
            0 => {
                self.quarantined = !self.quarantined;
                self.say_partner(h).await;
                format!("quarantined {}", self.quarantined)
            }
            1 | 2 => {
                self.written += 5;
                let values = numbered("record", self.written).split_off(self.written - 5);
                write(&h.brokers.login(), &self.topic(), 0, &values, None);
                format!("{} records", self.written)
            }
            3 if self.agreed => {
                self.suspended = !self.suspended;
                self.say_share().await;
                format!("suspended {}", self.suspended)
            }
            4 if self.agreed => {
                self.owner.delete::<ExternalShare>("out").await;
                self.agreed = false;
                "-share".into()
            }
            _ if self.agreed || self.owner.get::<ExternalShare>("out").await.is_some() => "-".into(),
            _ => {
                self.agree(h).await;
                "+share".into()
            }
        }
    }

    fn topic(&self) -> String {
        format!("{}.orders.placed", self.owner.name)
    }

    async fn copy(&self) -> String {
        let share = self.owner.get::<ExternalShare>("out").await;
        match (&self.by, share.and_then(|share| share.uid())) {
            (By::Link(_), Some(uid)) => format!("{}{}", link_prefix(&uid), self.topic()),
            _ => format!("{}.out.{}", self.owner.name, self.topic()),
        }
    }

    /// What who reads at the source has there.
    fn reading(&self, user: &str) -> Vec<String> {
        let mut entries = vec![reads(user, &self.topic())];
        if let By::Link(_) = self.by {
            entries.push(topic_entry(user, Operation::DescribeConfigs, &self.topic()).to_string());
        }
        entries
    }

    /// Both clusters have exactly what is wanted: no entry and no user more. Where the share is agreed and not stopped, everything
    /// that was written is copied.
    async fn is_so(&self, h: &Harness) -> Result<(), String> {
        let flows = self.agreed && !self.suspended && !self.quarantined;
        let (source, target) = (&h.brokers, &self.kafka.brokers);
        let at_source = principals(&source.ledger().await?, |c| c == "~xs.out.~source");
        let ledger = target.ledger().await?;
        let copy = self.copy().await;
        let writer = principals(&ledger, |c| c == "~xs.out.~target");
        let reader = principals(&ledger, |c| c.starts_with("~xs.out.") && !c.contains(".~"));
        let workers = principals(&ledger, |c| c.starts_with("~worker."));
        let mut wanted = BTreeSet::new();
        if flows {
            wanted.extend(writer.iter().map(|user| writes(user, &copy)));
            for user in &reader {
                let prefix = format!("{}.", user.rsplit_once('-').map_or("", |(guest, _)| guest));
                wanted.extend([reads(user, &copy), groups(user, &prefix)]);
            }
        }
        let entries: BTreeSet<_> = target.entries_with("~xs.").await?;
        // What Kafka Connect keeps is another matter.
        let own = format!("{}.out.", self.owner.name);
        let is_kept = |e: &String| {
            e.contains(":__weir_connect.") || e.contains("-internal") || (e.contains("Group") && e.contains(&own))
        };
        let entries: BTreeSet<_> = entries.into_iter().filter(|e| !is_kept(e)).collect();
        let reading = at_source.iter().filter(|_| flows).flat_map(|user| self.reading(user));
        let wanted_there: BTreeSet<_> = reading.collect();
        let there = source.entries_with("~xs.").await?;
        let everybody: BTreeSet<_> = writer.iter().chain(&reader).chain(&workers).cloned().collect();
        let known = target.users("~xs.").await?;
        let known_there = source.users("~xs.").await?;
        let writes_itself = matches!(self.by, By::Link(_));
        let identities = [&at_source, &reader].iter().all(|users| users.is_empty() != self.agreed)
            && writer.is_empty() == (writes_itself || !self.agreed);
        let left = if self.agreed { String::new() } else { self.by.left().await };
        let topics = target.topics().await.into_iter().filter(|t| t.ends_with(&self.topic()) || t.starts_with(&own));
        let topics: Vec<_> = topics.filter(|_| !self.agreed).collect();
        let rest = self.agreed || (workers.is_empty() && topics.is_empty() && left.is_empty());
        let exact = entries == wanted && there == wanted_there && known == everybody && known_there == at_source;
        if !(exact && identities && rest) {
            return Err(format!(
                "agreed {}, flows {flows}, left {left:?} {topics:?}\nentries {entries:#?}, not {wanted:#?}\nat the source {there:#?}, not \
                 {wanted_there:#?}\nusers {known:?}, not {everybody:?}; at the source {known_there:?}, not {at_source:?}",
                self.agreed
            ));
        }
        if !flows {
            return Ok(());
        }
        let copied: BTreeSet<_> = read(&target.login(), "test", &copy)?.into_values().flatten().collect();
        let written: BTreeSet<_> = numbered("record", self.written).into_iter().collect();
        if copied == written { Ok(()) } else { Err(format!("{} of {} are copied", copied.len(), written.len())) }
    }
}

/// The principals of the clients whose name is so, that are not retired.
fn principals(ledger: &Ledger, name: impl Fn(&str) -> bool) -> BTreeSet<String> {
    let clients = ledger.clients.values().filter(|c| name(&c.name));
    clients.flat_map(|c| &c.versions).map(|v| v.principal.clone()).collect()
}

/// `WEIR_E2E_COPY_KILLS` says how often it is killed, `WEIR_E2E_SEED` when and amid what.
#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn an_operator_killed_amid_a_copy_copies_everything_and_leaves_nothing() {
    let h = Harness::start().await;
    let kafka = OtherKafka::start(&h, "killed", &[]).await;
    let wishes = Wishes::first(&h, kafka, By::Weir).await;
    killed_amid(&h, wishes, from_environment("WEIR_E2E_COPY_KILLS", 15)).await;
}

/// The same with `WEIR_E2E_STRIMZI_KILLS`.
#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn an_operator_killed_amid_a_copy_by_strimzi_copies_everything_and_leaves_nothing() {
    let h = Harness::start().await;
    let kafka = OtherKafka::start(&h, "killed-strimzi", &[]).await;
    let by = By::strimzi(&h).await;
    let wishes = Wishes::first(&h, kafka, by).await;
    killed_amid(&h, wishes, from_environment("WEIR_E2E_STRIMZI_KILLS", 5)).await;
}

/// The same with `WEIR_E2E_LINK_KILLS`.
#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn an_operator_killed_amid_a_copy_by_a_link_copies_everything_and_leaves_nothing() {
    let h = Harness::start().await;
    let kafka = OtherKafka::start(&h, "killed-link", &[]).await;
    let by = By::link(&h, &kafka).await;
    let wishes = Wishes::first(&h, kafka, by).await;
    killed_amid(&h, wishes, from_environment("WEIR_E2E_LINK_KILLS", 10)).await;
}

async fn killed_amid(h: &Harness, mut wishes: Wishes, kills: u64) {
    let operator = Operator::of(h);
    let mut random = Seeded(from_environment("WEIR_E2E_SEED", 1));
    wishes.agree(h).await;
    for kill in 1..=kills {
        if random.below(3) != 0 {
            operator.governing().await;
        }
        let mut changes = Vec::new();
        for _ in 0..=random.below(3) {
            changes.push(wishes.change(h, &mut random).await);
        }
        // When it is killed is part of the seeded schedule. Kafka Connect takes its time for each step.
        tokio::time::sleep(Duration::from_millis(random.below(4000))).await;
        operator.kill_leader().await;
        eprintln!("kill {kill}: {changes:?}");
    }
    let around = [wishes.owner.name.clone()];
    let around: Vec<_> = around.iter().map(String::as_str).collect();
    until(AFTERWARDS, &around, "all is as agreed", || wishes.is_so(h)).await;
    if !wishes.agreed {
        wishes.owner.gone::<ExternalShare>("out").await;
        wishes.agree(h).await;
    }
    (wishes.suspended, wishes.quarantined) = (false, false);
    wishes.say_share().await;
    wishes.say_partner(h).await;
    until(AFTERWARDS, &around, "everything is copied", || wishes.is_so(h)).await;
    wishes.owner.delete::<ExternalShare>("out").await;
    wishes.agreed = false;
    until(AFTERWARDS, &around, "nothing is left", || wishes.is_so(h)).await;
    wishes.owner.gone::<ExternalShare>("out").await;
    wishes.owner.end().await;
    wishes.by.end(h).await;
    wishes.kafka.end(h, []).await;
    kubectl(&["delete", "partner", &wishes.partner]).await;
}
