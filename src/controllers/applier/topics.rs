//! Carries out what products' topics should be.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kube::ResourceExt;
use tokio::time::Instant;
use tracing::{info, warn};

use super::session::{Session, SessionError};
use super::{Order, ProductOutcome};
use crate::api::Reason;
use crate::domain::ledger::{Change, TopicRecord};
use crate::domain::names::ObjectKey;
use crate::domain::problem::Problem;
use crate::domain::product::{self, ValidStream};
use crate::domain::topics::{self, ACKNOWLEDGE_RETENTION, Ending, ObservedTopic, TopicStep};
use crate::ports::{ConfigDelta, ConfigResource, Disposition, KafkaError, NewTopic};

/// How long brokers may take to show a topic that was made, and to forget one that was deleted.
const SHOWN_WITHIN: Duration = Duration::from_secs(5);

/// The topic is gone already.
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;

/// What a look at a product was about. The same one need not be repeated before the whole cluster is compared again.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Look {
    uid: String,
    generation: Option<i64>,
    acknowledged: String,
    problems: Vec<Problem>,
    streams: Vec<ValidStream>,
}

/// A product that is looked at.
struct Work {
    key: ObjectKey,
    uid: String,
    acknowledged: String,
    outcome: ProductOutcome,
    streams: Vec<ValidStream>,
}

impl Work {
    fn look(&self) -> Look {
        Look {
            uid: self.uid.clone(),
            generation: self.outcome.generation,
            acknowledged: self.acknowledged.clone(),
            problems: self.outcome.problems.clone(),
            streams: self.streams.clone(),
        }
    }

    fn record(&self) -> TopicRecord {
        TopicRecord {
            product_uid: self.uid.clone(),
            namespace: self.key.namespace.clone(),
            name: self.key.name.clone(),
            is_promised: false,
        }
    }
}

/// What is to be done for all products together, each item with the place of its product.
#[derive(Default)]
struct Steps {
    create: Vec<(usize, NewTopic)>,
    adopt: Vec<(usize, String)>,
    promise: Vec<(usize, String)>,
    release: Vec<String>,
    grow: Vec<(usize, (String, i32))>,
    configure: Vec<(usize, ConfigDelta)>,
}

impl Session<'_> {
    /// Looks at products, and makes their topics as they should be.
    pub(super) async fn topics(&mut self, products: BTreeSet<ObjectKey>) -> Result<(), SessionError> {
        let mut work = self.work(products);
        work.retain(|w| self.looked.get(&w.key) != Some(&w.look()));
        if work.is_empty() {
            return Ok(());
        }
        let looks: Vec<_> = work.iter().map(Work::look).collect();
        let observed = self.observe_topics(&work).await?;
        let steps = self.steps(&mut work, &observed);
        let made = self.make_topics(&mut work, steps).await?;
        let shown = self.shown(&work, &made).await?;
        let mut state = self.handle.state();
        for (mut w, look) in work.into_iter().zip(looks) {
            w.outcome.partitions =
                w.streams.iter().filter_map(|s| Some((s.topic.clone(), *shown.get(&s.topic)?))).collect();
            let complete = w.outcome.partitions.len() == w.streams.len();
            if complete && w.outcome.problems == look.problems {
                self.looked.insert(w.key.clone(), look);
            } else {
                self.looked.remove(&w.key);
            }
            w.outcome.problems.sort();
            state.products.insert(w.uid, w.outcome);
            self.context.world.reconcile_product(&w.key);
        }
        Ok(())
    }

    fn work(&self, products: BTreeSet<ObjectKey>) -> Vec<Work> {
        let index = self.context.world.index();
        let alive = |key: ObjectKey| {
            let product = index
                .product(&key)
                .filter(|p| p.metadata.deletion_timestamp.is_none() && p.spec.cluster_ref.name == self.cluster)?;
            let view = product::view(&index, product);
            Some(Work {
                uid: product.uid()?,
                acknowledged: product.annotations().get(ACKNOWLEDGE_RETENTION).cloned().unwrap_or_default(),
                outcome: ProductOutcome {
                    generation: product.metadata.generation,
                    problems: view.problems,
                    ..ProductOutcome::default()
                },
                streams: view.streams,
                key,
            })
        };
        products.into_iter().filter_map(alive).collect()
    }

    async fn observe_topics(&self, work: &[Work]) -> Result<BTreeMap<String, ObservedTopic>, KafkaError> {
        let names: Vec<_> = work.iter().flat_map(|w| w.streams.iter().map(|s| s.topic.clone())).collect();
        let topics = self.admin.describe_topics(Some(&names)).await?;
        let configured: BTreeSet<_> = work
            .iter()
            .flat_map(|w| w.streams.iter().filter(|s| !s.config.is_empty()).map(|s| s.topic.as_str()))
            .collect();
        let asked: Vec<_> = topics.iter().map(|t| t.name.clone()).filter(|t| configured.contains(t.as_str())).collect();
        let resources: Vec<_> = asked.iter().cloned().map(ConfigResource::Topic).collect();
        let configs = if resources.is_empty() { Vec::new() } else { self.admin.describe_configs(&resources).await? };
        let mut observed: BTreeMap<_, _> = topics
            .into_iter()
            .map(|t| (t.name, ObservedTopic { partitions: t.partitions, config: BTreeMap::new() }))
            .collect();
        for (name, config) in asked.into_iter().zip(configs) {
            if let Some(topic) = observed.get_mut(&name) {
                // A configuration that cannot be read is set again, and the broker then says what is wrong.
                topic.config = config.into_iter().flatten().filter_map(|(k, e)| Some((k, e.value?))).collect();
            }
        }
        Ok(observed)
    }

    fn steps(&self, work: &mut [Work], observed: &BTreeMap<String, ObservedTopic>) -> Steps {
        let mut steps = Steps::default();
        for (place, w) in work.iter_mut().enumerate() {
            for stream in &w.streams {
                let (record, seen) = (self.ledger.topics.get(&stream.topic), observed.get(&stream.topic));
                match topics::plan(stream, &w.uid, record, seen, &w.acknowledged) {
                    TopicStep::Keep => {}
                    TopicStep::Refuse(problem) => w.outcome.problems.push(problem),
                    TopicStep::Adopt => steps.adopt.push((place, stream.topic.clone())),
                    TopicStep::Promise => steps.promise.push((place, stream.topic.clone())),
                    TopicStep::Release(problem) => {
                        steps.release.push(stream.topic.clone());
                        w.outcome.problems.push(problem);
                    }
                    TopicStep::Create => steps.create.push((place, new_topic(stream))),
                    TopicStep::Change { partitions, config } => {
                        if let Some(total) = partitions {
                            steps.grow.push((place, (stream.topic.clone(), total)));
                        }
                        if !config.is_empty() {
                            let resource = ConfigResource::Topic(stream.topic.clone());
                            steps.configure.push((place, ConfigDelta { resource, changes: config }));
                        }
                    }
                }
            }
        }
        steps
    }

    /// Carries the steps out. Returns how many partitions those topics have now that were made, or grew.
    async fn make_topics(&mut self, work: &mut [Work], steps: Steps) -> Result<BTreeMap<String, i32>, SessionError> {
        let Steps { create, adopt, promise, release, grow, configure } = steps;
        let claims = |of: &[(usize, String)], work: &[Work]| -> Vec<Change> {
            of.iter().map(|(place, topic)| Change::Topic(topic.clone(), Some(work[*place].record()))).collect()
        };
        let creating: Vec<_> = create.iter().map(|(place, t)| (*place, t.name.clone())).collect();
        let mut changes = claims(&creating, work);
        changes.extend(claims(&adopt, work));
        let promised = |(place, topic): &(usize, String)| {
            let record = TopicRecord { is_promised: true, ..work[*place].record() };
            Change::Topic(topic.clone(), Some(record))
        };
        let promises: Vec<_> = promise.iter().map(promised).collect();
        changes.extend(promises.iter().cloned());
        changes.extend(release.iter().map(|topic| Change::Topic(topic.clone(), None)));
        self.commit(changes).await?;
        if !(create.is_empty() && grow.is_empty() && configure.is_empty()) {
            self.context.may_write()?;
        }
        let mut made: BTreeMap<_, _> = create.iter().map(|(_, t)| (t.name.clone(), t.partitions)).collect();
        let refused = self.create_topics(work, create).await?;
        made.retain(|topic, _| !refused.contains(topic));
        let (places, totals): (Vec<_>, Vec<_>) = grow.into_iter().unzip();
        if !totals.is_empty() {
            let results = self.admin.create_partitions(&totals, false).await?;
            made.extend(totals.iter().zip(&results).filter(|(_, r)| r.is_ok()).map(|(total, _)| total.clone()));
            note_failures(work, &places, totals.iter().map(|(t, _)| t.as_str()), results)?;
        }
        let (places, deltas): (Vec<_>, Vec<_>) = configure.into_iter().unzip();
        if !deltas.is_empty() {
            let results = self.admin.alter_configs(&deltas, false).await?;
            let names = deltas.iter().map(|d| match &d.resource {
                ConfigResource::Topic(name) => name.as_str(),
                ConfigResource::Broker(_) => "",
            });
            note_failures(work, &places, names, results)?;
        }
        let unclaim: Vec<_> = refused.iter().map(|topic| Change::Topic(topic.clone(), None)).collect();
        self.commit(unclaim).await?;
        let created: Vec<_> = creating.into_iter().filter(|(_, topic)| !refused.contains(topic)).collect();
        let mut announced = claims(&created, work);
        announced.extend(claims(&adopt, work));
        announced.extend(promises);
        announced.extend(release.into_iter().map(|topic| Change::Topic(topic, None)));
        // What was adopted may still need partitions and configuration: it is looked at once more.
        let again: BTreeSet<_> = adopt.iter().map(|(place, _)| work[*place].key.clone()).collect();
        if !again.is_empty() {
            self.handle.order(Order::Dirty { principals: BTreeSet::new(), products: again, clients: BTreeSet::new() });
        }
        self.announce(announced);
        Ok(made)
    }

    /// Makes topics; returns those that were refused.
    async fn create_topics(
        &self,
        work: &mut [Work],
        create: Vec<(usize, NewTopic)>,
    ) -> Result<BTreeSet<String>, SessionError> {
        let (places, topics): (Vec<_>, Vec<_>) = create.into_iter().unzip();
        let mut refused = BTreeSet::new();
        if topics.is_empty() {
            return Ok(refused);
        }
        let results = self.admin.create_topics(&topics, false).await?;
        for (topic, result) in topics.iter().zip(&results) {
            match result {
                Ok(()) => info!(topic = %topic.name, "made a topic"),
                Err(_) => drop(refused.insert(topic.name.clone())),
            }
        }
        note_failures(work, &places, topics.iter().map(|t| t.name.as_str()), results)?;
        Ok(refused)
    }

    /// Partitions of the products' topics, once the brokers show what was made.
    async fn shown(&self, work: &[Work], made: &BTreeMap<String, i32>) -> Result<BTreeMap<String, i32>, SessionError> {
        let names: Vec<_> = work.iter().flat_map(|w| &w.streams).map(|s| s.topic.clone()).collect();
        let complete = |shown: &BTreeMap<String, i32>| {
            made.iter().all(|(topic, partitions)| shown.get(topic).is_some_and(|p| p >= partitions))
        };
        self.shown_until(&names, complete).await
    }

    /// Partitions of those of `names` that are there, once they are as wanted, or it takes too long.
    async fn shown_until(
        &self,
        names: &[String],
        wanted: impl Fn(&BTreeMap<String, i32>) -> bool,
    ) -> Result<BTreeMap<String, i32>, SessionError> {
        let deadline = Instant::now() + SHOWN_WITHIN;
        loop {
            let topics = self.admin.describe_topics(Some(names)).await?;
            let shown = topics.into_iter().map(|t| (t.name, t.partitions)).collect();
            if wanted(&shown) || Instant::now() > deadline {
                return Ok(shown);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Lets go of topics whose product was deleted, once nobody has access to them by Weir any more.
    pub(super) async fn delete_products(&mut self) -> Result<(), SessionError> {
        self.keep_promises().await?;
        let (mut ended, delete) = self.ended_topics();
        let failed = self.delete_topics(delete).await?;
        ended.retain(|topic| !failed.contains(topic));
        let changes: Vec<_> = ended.into_iter().map(|topic| Change::Topic(topic, None)).collect();
        self.commit(changes.clone()).await?;
        self.announce(changes);
        self.report_gone();
        Ok(())
    }

    /// Records that topics are the shares', which a link was seen to have made.
    async fn keep_promises(&mut self) -> Result<(), SessionError> {
        let kept = topics::kept_promises(&self.context.world.index(), &self.ledger.topics);
        self.commit(kept.clone()).await?;
        self.announce(kept);
        Ok(())
    }

    /// Deletes topics; returns those that are still there.
    async fn delete_topics(&self, mut topics: Vec<String>) -> Result<BTreeSet<String>, SessionError> {
        let mut failed = BTreeSet::new();
        if topics.is_empty() {
            return Ok(failed);
        }
        self.context.may_write()?;
        let results = self.admin.delete_topics(&topics).await?;
        for (topic, result) in topics.iter().zip(results) {
            match result {
                Ok(()) => info!(topic, "deleted a topic of a deleted product"),
                Err(error) if error.code == Some(UNKNOWN_TOPIC_OR_PARTITION) => {}
                Err(error) => {
                    warn!(topic, %error, "failed to delete a topic of a deleted product; it is tried again");
                    failed.insert(topic.clone());
                }
            }
        }
        // Another product that waits for the name must not take a topic that is on its way out.
        topics.retain(|topic| !failed.contains(topic));
        self.shown_until(&topics, BTreeMap::is_empty).await?;
        Ok(failed)
    }

    /// Topics in the ledger without a living product and without grants, and those of them to delete.
    fn ended_topics(&self) -> (Vec<String>, Vec<String>) {
        let index = self.context.world.index();
        let (mut ended, mut delete) = (Vec::new(), Vec::new());
        for (topic, record) in &self.ledger.topics {
            let ending = topics::ending(&index, self.cluster, topic, record);
            if ending == Ending::Stays || self.is_granted(topic) {
                continue;
            }
            if ending == Ending::Deleted {
                delete.push(topic.clone());
            }
            ended.push(topic.clone());
        }
        (ended, delete)
    }

    fn is_granted(&self, topic: &str) -> bool {
        let recorded = self.ledger.grants.values().flat_map(|g| g.values()).flat_map(|r| &r.entries);
        let pending = self.pending.values().flat_map(|e| &e.must_not);
        recorded.chain(pending).any(|e| &*e.resource == topic)
    }

    /// Deleted products of which nothing is left.
    fn report_gone(&self) {
        let index = self.context.world.index();
        let held: BTreeSet<_> = self.ledger.topics.values().map(|r| r.product_uid.as_str()).collect();
        let deleted = index.products_on(self.cluster).filter(|(_, p)| p.metadata.deletion_timestamp.is_some());
        let mut state = self.handle.state();
        for (key, product) in deleted {
            let Some(uid) = product.uid().filter(|uid| !held.contains(uid.as_str())) else { continue };
            let outcome = state.products.entry(uid).or_default();
            if !std::mem::replace(&mut outcome.gone, true) {
                self.context.world.reconcile_product(key);
            }
        }
    }
}

fn new_topic(stream: &ValidStream) -> NewTopic {
    NewTopic {
        name: stream.topic.clone(),
        partitions: stream.partitions,
        replicas: stream.replicas,
        config: stream.config.clone(),
    }
}

/// Turns refusals of the brokers into problems of the products, in the brokers' own words.
fn note_failures<'a>(
    work: &mut [Work],
    places: &[usize],
    topics: impl Iterator<Item = &'a str>,
    results: Vec<Result<(), KafkaError>>,
) -> Result<(), SessionError> {
    for ((place, topic), result) in places.iter().zip(topics).zip(results) {
        let Err(error) = result else { continue };
        let message = format!("topic {topic}: the broker says: {}", error.message);
        let problem = match error.disposition {
            Disposition::UnknownOutcome => return Err(error.into()),
            Disposition::Permanent => Problem::invalid(Reason::RefusedByBroker, message),
            Disposition::Retry => Problem::waiting(Reason::RefusedByBroker, message),
        };
        work[*place].outcome.problems.push(problem);
    }
    Ok(())
}
