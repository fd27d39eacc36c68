//! A session with a cluster: connected, admitted, with the ledger open. It ends with the first failure that concerns all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;
use tracing::info;

use super::canary::Canary;
use super::departure::Departures;
use super::late::LateWrites;
use super::observe::Cache;
use super::pace::Pace;
use super::state::ClusterHandle;
use super::topics::Look;
use super::verify::Expectation;
use super::{LEDGER_TOPIC, Order, gate};
use crate::api::Reason;
use crate::controllers::context::Context;
use crate::controllers::intents::Intents;
use crate::domain::index::Update;
use crate::domain::ledger::{Change, Ledger};
use crate::domain::names::{ObjectKey, PrincipalKey};
use crate::domain::problem::Problem;
use crate::domain::rotation;
use crate::domain::secret::Secret;
use crate::k8s::credentials::AdminAccess;
use crate::kafka::{KafkaAdminClient, KafkaLedger};
use crate::ports::{self, KafkaAdmin, KafkaError, TopicError};

/// How often the brokers are asked whether they are there.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Why a session with the cluster ended.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The cluster must not be governed, or cannot be as it is.
    #[error("{0}: {1}")]
    Refused(Reason, String),
    /// The brokers did not answer.
    #[error("{0}")]
    Kafka(#[from] KafkaError),
    /// The ledger could not be written.
    #[error("failed to use the ledger: {0}")]
    Ledger(#[from] TopicError),
    /// Another instance leads, or may: nothing more may be sent.
    #[error("leadership was lost")]
    NotLeading,
}

/// What waits to be looked at.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    pub(super) principals: BTreeSet<String>,
    pub(super) products: BTreeSet<ObjectKey>,
    pub(super) clients: BTreeSet<ObjectKey>,
    pub(super) issue: BTreeMap<ObjectKey, u32>,
    pub(super) published: BTreeMap<ObjectKey, u32>,
    pub(super) restore: BTreeMap<String, Secret>,
    pub(super) resync: bool,
}

impl Dirty {
    /// How many objects and principals wait.
    fn len(&self) -> usize {
        let of_clients = self.clients.len() + self.issue.len() + self.published.len() + self.restore.len();
        self.principals.len() + self.products.len() + of_clients
    }

    pub(super) fn take(&mut self, order: Order) {
        match order {
            Order::Dirty { principals, products, clients } => {
                self.principals.extend(principals);
                self.products.extend(products);
                self.clients.extend(clients);
            }
            Order::Issue(client, after) => drop(self.issue.insert(client, after)),
            Order::Published(client, version) => drop(self.published.insert(client, version)),
            Order::Restore(principal, password) => drop(self.restore.insert(principal, password)),
        }
    }
}

/// See the module.
pub(super) struct Session<'a> {
    pub(super) cluster: &'a str,
    pub(super) context: &'a Context,
    pub(super) handle: &'a ClusterHandle,
    pub(super) admin: Arc<dyn KafkaAdmin>,
    pub(super) store: Arc<dyn ports::Ledger>,
    pub(super) ledger: Ledger,
    pub(super) canary: Canary,
    /// The brokers that served when the whole cluster was last compared.
    pub(super) compared: BTreeSet<i32>,
    pub(super) observed: Cache,
    pub(super) pending: BTreeMap<String, Expectation>,
    /// When the brokers are asked next whether they show what was done, and how often they were.
    pub(super) next_look: Option<(Instant, u32)>,
    /// When a version of a client's credential retires next.
    pub(super) next_retirement: Option<Instant>,
    pub(super) late: LateWrites,
    pub(super) pace: Pace,
    /// Products that were looked at and are as they should be.
    pub(super) looked: BTreeMap<ObjectKey, Look>,
    pub(super) departures: Departures,
    pub(super) intents: Intents,
}

impl<'a> Session<'a> {
    /// Connects to the cluster, finds out whether it may be governed, and takes it over.
    pub(super) async fn begin(
        cluster: &'a str,
        context: &'a Context,
        handle: &'a ClusterHandle,
        access: &AdminAccess,
    ) -> Result<Self, SessionError> {
        let client_id = format!("weir-{cluster}");
        let admin: Arc<dyn KafkaAdmin> = Arc::new(KafkaAdminClient::connect(&access.endpoint, &client_id).await?);
        let facts = gate::look(cluster, admin.as_ref()).await?;
        let store: Arc<dyn ports::Ledger> = Arc::new(KafkaLedger::new(&access.endpoint, admin.clone(), LEDGER_TOPIC)?);
        gate::unclaimed(context, cluster, &facts, store.as_ref()).await?;
        let canary = Canary::new(cluster, access)?;
        canary.denied(context, admin.as_ref(), &facts.brokers).await?;
        context.may_write()?;
        let ledger = gate::open_ledger(context, cluster, &facts, store.as_ref()).await?;
        let compared = facts.brokers.clone();
        handle.state().admit(facts, &ledger);
        context.world.apply(Update::Admin(cluster.to_owned(), access.principal.clone()));
        context.world.apply(Update::Ledger(cluster.to_owned(), Box::new(ledger.clone())));
        context.world.reconcile_cluster(cluster);
        info!("governing");
        Ok(Self {
            cluster,
            context,
            handle,
            admin,
            store,
            ledger,
            canary,
            compared,
            observed: Cache::default(),
            pending: BTreeMap::new(),
            next_look: None,
            next_retirement: None,
            late: LateWrites::since(Instant::now()),
            pace: Pace::default(),
            looked: BTreeMap::new(),
            departures: Departures::default(),
            intents: Intents::default(),
        })
    }

    /// Gathers, carries out, verifies, until something fails.
    pub(super) async fn serve(
        &mut self,
        inbox: &mut UnboundedReceiver<Order>,
        dirty: &mut Dirty,
    ) -> Result<(), SessionError> {
        let mut next_resync = Instant::now();
        let mut next_heartbeat = Instant::now() + HEARTBEAT;
        loop {
            if dirty.resync {
                self.pace.carries_out(dirty.len());
                self.observe_all(dirty).await?;
                next_resync = self.late.next_look(Instant::now() + self.resync_interval());
                self.carry_out(dirty).await?;
            }
            tokio::select! {
                order = inbox.recv() => {
                    let Some(order) = order else { return Ok(()) };
                    self.pace.came(self.narrows(&order), Instant::now());
                    dirty.take(order);
                }
                () = at(self.pace.due()) => self.carry_out(dirty).await?,
                () = at(Some(next_resync)) => {
                    self.still_closed().await?;
                    dirty.resync = true;
                }
                () = at(Some(next_heartbeat)) => {
                    if self.brokers_changed().await? {
                        self.still_closed().await?;
                        dirty.resync = true;
                    }
                    self.try_again(dirty).await?;
                    next_heartbeat = Instant::now() + HEARTBEAT;
                }
                () = at(self.next_retirement) => self.carry_out(dirty).await?,
                Some((principal, answer)) = self.departures.answered() => {
                    self.answered(&principal, answer);
                    self.finish().await?;
                }
                () = at(self.next_look.map(|(at, _)| at)) => {
                    self.verify().await?;
                    self.finish().await?;
                }
            }
        }
    }

    /// What was refused, or waits for a person, and what has to be finished, is looked at with each heartbeat.
    async fn try_again(&mut self, dirty: &mut Dirty) -> Result<(), SessionError> {
        {
            let state = self.handle.state();
            dirty.principals.extend(state.failed.keys().cloned());
            dirty.principals.extend(state.held.iter().flat_map(|hold| hold.principals.iter().cloned()));
        }
        // In the middle of gathering it comes with the rest.
        if self.pace.due().is_none() { self.carry_out(dirty).await } else { self.finish().await }
    }

    async fn carry_out(&mut self, dirty: &mut Dirty) -> Result<(), SessionError> {
        let planned = self.next_look.map(|(at, _)| at);
        self.pace.carries_out(dirty.len());
        self.topics(std::mem::take(&mut dirty.products)).await?;
        let (clients, published) = (std::mem::take(&mut dirty.clients), std::mem::take(&mut dirty.published));
        let issue = std::mem::take(&mut dirty.issue);
        dirty.principals.extend(self.settle_versions(&clients, &published).await?);
        if !issue.is_empty() && self.takes_from(&dirty.principals) {
            // What is issued may wait for its record; what is taken away does not wait with it.
            self.access_of(dirty).await?;
        }
        dirty.principals.extend(self.credentials(issue).await?);
        // The index may have made principals dirty through the inbox meanwhile; they come with the next round.
        self.access_of(dirty).await?;
        dirty.restore = self.restore(std::mem::take(&mut dirty.restore)).await?;
        self.next_retirement = self.next_retirement();
        if self.is_anything_to_verify() && self.next_look.is_none() {
            if let Some(at) = self.pace.first_look(planned, Instant::now()) {
                self.look_again_at(at);
                return Ok(());
            }
            self.verify().await?;
        }
        self.finish().await
    }

    async fn access_of(&mut self, dirty: &mut Dirty) -> Result<(), SessionError> {
        let principals = std::mem::take(&mut dirty.principals);
        let done = self.access(&principals).await;
        if done.is_err() {
            dirty.principals.extend(principals);
        }
        done
    }

    /// What waits until every broker was seen without the access that is gone.
    pub(super) async fn finish(&mut self) -> Result<(), SessionError> {
        self.forget_retired().await?;
        self.delete_products().await?;
        self.settle();
        self.publish_counts();
        Ok(())
    }

    /// Once nothing is on its way any more, statuses may say what is not so, too.
    fn settle(&self) {
        if !self.pending.is_empty() || std::mem::replace(&mut self.handle.state().settled, true) {
            return;
        }
        info!("settled");
        let everything = self.context.world.index().everything_on(self.cluster);
        self.context.world.report(&everything);
    }

    /// Writes to the ledger, then to our copies of it.
    pub(super) async fn commit(&mut self, changes: Vec<Change>) -> Result<(), SessionError> {
        if changes.is_empty() {
            return Ok(());
        }
        self.context.may_write()?;
        let records: Vec<_> = changes.iter().map(Change::to_record).collect();
        self.store.commit(&records).await?;
        self.handle.state().committed(&changes);
        for change in &changes {
            self.ledger.apply(change.clone());
        }
        Ok(())
    }

    /// Tells the index of what was committed, and of nothing that is not so on the brokers.
    pub(super) fn announce(&self, changes: Vec<Change>) {
        if !changes.is_empty() {
            self.context.world.apply(Update::Committed(self.cluster.to_owned(), changes));
        }
    }

    pub(super) fn key(&self, principal: &str) -> PrincipalKey {
        PrincipalKey { cluster: self.cluster.to_owned(), principal: principal.to_owned() }
    }

    fn resync_interval(&self) -> Duration {
        let index = self.context.world.index();
        index.cluster_spec(self.cluster).map_or(Duration::from_secs(600), |s| s.resync_interval.into())
    }

    fn next_retirement(&self) -> Option<Instant> {
        let next = self.ledger.clients.values().filter_map(rotation::next_retirement).min()?;
        let wait = next.duration_since(Timestamp::now()).max(jiff::SignedDuration::ZERO);
        Some(Instant::now() + Duration::try_from(wait).unwrap_or_default())
    }
}

/// Waits until `when`, or for ever.
async fn at(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}

/// A failure of Kafka's as a problem that goes away by itself.
pub(super) fn waiting(error: &KafkaError) -> Problem {
    Problem::waiting(Reason::RefusedByBroker, error.message.clone())
}
