//! One actor for each StreamCluster: it alone writes to that Kafka cluster.
//!
//! It gathers what became dirty, so that thousands of changes are tens of requests, and then carries out topics, credentials and
//! access, in this order; what it did it verifies on every broker before it says so.

mod access;
mod canary;
mod credentials;
mod drift;
mod gate;
mod late;
mod observe;
mod pace;
mod state;
mod topics;
mod verify;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;
use tracing::{Instrument, info, info_span, warn};

use super::context::Context;
use crate::api::Reason;
use crate::domain::index::Update;
use crate::domain::ledger::{Change, Ledger};
use crate::domain::names::{ObjectKey, PrincipalKey};
use crate::domain::problem::Problem;
use crate::domain::secret::Secret;
use crate::k8s::credentials::AdminAccess;
use crate::kafka::{KafkaAdminClient, KafkaLedger};
use crate::ports::{self, KafkaAdmin, KafkaError, LedgerError};

pub use credentials::fingerprint;
pub use state::{ClusterHandle, ClusterState, Facts, Grants, Link, ProductOutcome};

/// The ledger's topic.
pub const LEDGER_TOPIC: &str = "__weir_ledger";
/// How often the brokers are asked whether they are there.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How long after a failed session the next one is tried.
const RETRY: Duration = Duration::from_secs(2);

/// What an applier is asked to do.
#[derive(Clone, Debug)]
pub enum Order {
    /// Look at these again.
    Dirty {
        /// Principals, without `User:`.
        principals: BTreeSet<String>,
        /// DataProducts.
        products: BTreeSet<ObjectKey>,
        /// StreamClients.
        clients: BTreeSet<ObjectKey>,
    },
    /// Issue the version after this one of a client's credential; passed over if that happened already.
    Issue(ObjectKey, u32),
    /// The client's Secret has this version, which is being issued.
    Published(ObjectKey, u32),
    /// Give the brokers the current credential of a principal again, which some broker lost.
    Restore(String, Secret),
}

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
    #[error("{0}")]
    Ledger(#[from] LedgerError),
    /// Another instance leads, or may: nothing more may be sent.
    #[error("leadership was lost")]
    NotLeading,
}

/// What waits to be looked at.
#[derive(Debug, Default)]
struct Dirty {
    principals: BTreeSet<String>,
    products: BTreeSet<ObjectKey>,
    clients: BTreeSet<ObjectKey>,
    issue: BTreeMap<ObjectKey, u32>,
    published: BTreeMap<ObjectKey, u32>,
    restore: BTreeMap<String, Secret>,
    resync: bool,
}

impl Dirty {
    /// How many objects and principals wait.
    fn len(&self) -> usize {
        let of_clients = self.clients.len() + self.issue.len() + self.published.len() + self.restore.len();
        self.principals.len() + self.products.len() + of_clients
    }

    fn take(&mut self, order: Order) {
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
pub struct Applier {
    cluster: String,
    context: Arc<Context>,
    handle: Arc<ClusterHandle>,
    access: AdminAccess,
    inbox: UnboundedReceiver<Order>,
    dirty: Dirty,
    pending: BTreeMap<String, verify::Expectation>,
}

/// A session: connected, admitted, with the ledger open.
struct Session<'a> {
    cluster: &'a str,
    context: &'a Context,
    handle: &'a ClusterHandle,
    admin: Arc<dyn KafkaAdmin>,
    store: Arc<dyn ports::Ledger>,
    ledger: Ledger,
    canary: canary::Canary,
    /// The brokers that served when the whole cluster was last compared.
    compared: BTreeSet<i32>,
    observed: observe::Cache,
    pending: BTreeMap<String, verify::Expectation>,
    /// When the brokers are asked next whether they show what was done, and how often they were.
    next_look: Option<(Instant, u32)>,
    /// When a version of a client's credential retires next.
    next_retirement: Option<Instant>,
    late: late::LateWrites,
    pace: pace::Pace,
    /// Products that were looked at and are as they should be.
    looked: BTreeMap<ObjectKey, topics::Look>,
    /// SCRAM users that the brokers were told to forget, and whether every broker was seen without them.
    leaving: BTreeMap<String, bool>,
}

/// Makes the handle of a new applier, and the end that [`Applier::run`] reads.
pub fn channel() -> (Arc<ClusterHandle>, UnboundedReceiver<Order>) {
    let (sender, inbox): (UnboundedSender<Order>, _) = unbounded_channel();
    (Arc::new(ClusterHandle::new(sender)), inbox)
}

impl Applier {
    /// The applier of `cluster`, entering it by `access`.
    pub fn new(
        cluster: &str,
        context: Arc<Context>,
        handle: Arc<ClusterHandle>,
        access: AdminAccess,
        inbox: UnboundedReceiver<Order>,
    ) -> Self {
        Self {
            cluster: cluster.into(),
            context,
            handle,
            access,
            inbox,
            dirty: Dirty::default(),
            pending: BTreeMap::new(),
        }
    }

    /// Runs until leadership is lost or the handle is ended; a session that fails is begun anew.
    pub async fn run(self) {
        let handle = self.handle.clone();
        tokio::select! {
            () = handle.ended() => {}
            () = self.sessions() => {}
        }
    }

    async fn sessions(mut self) {
        let span = info_span!("applier", cluster = %self.cluster);
        async {
            loop {
                let error = match self.session().await {
                    Ok(()) => return,
                    Err(error) => error,
                };
                warn!(%error, "session ended");
                let link = match &error {
                    SessionError::Refused(reason, message) => Link::Refused(*reason, message.clone()),
                    other => Link::Unreachable(other.to_string()),
                };
                self.handle.state().link = link;
                self.context.world.reconcile_cluster(&self.cluster);
                if matches!(error, SessionError::NotLeading | SessionError::Ledger(LedgerError::Fenced)) {
                    self.context.step_down();
                    return;
                }
                tokio::time::sleep(RETRY).await;
            }
        }
        .instrument(span)
        .await;
    }

    async fn session(&mut self) -> Result<(), SessionError> {
        let client_id = format!("weir-{}", self.cluster);
        let admin: Arc<dyn KafkaAdmin> = Arc::new(KafkaAdminClient::connect(&self.access.endpoint, &client_id).await?);
        let facts = gate::look(&self.cluster, admin.as_ref()).await?;
        let store: Arc<dyn ports::Ledger> =
            Arc::new(KafkaLedger::new(&self.access.endpoint, admin.clone(), LEDGER_TOPIC)?);
        gate::unclaimed(&self.context, &facts, store.as_ref()).await?;
        let canary = canary::Canary::new(&self.cluster, &self.access);
        canary.denied(&self.context, admin.as_ref(), &facts.brokers).await?;
        self.context.may_write()?;
        let ledger = gate::open_ledger(&self.context, &facts, store.as_ref()).await?;
        let mut session = Session {
            cluster: &self.cluster,
            context: &self.context,
            handle: &self.handle,
            admin,
            store,
            canary,
            compared: facts.brokers.clone(),
            observed: observe::Cache::default(),
            pending: std::mem::take(&mut self.pending),
            next_look: None,
            next_retirement: None,
            late: late::LateWrites::since(Instant::now()),
            pace: pace::Pace::default(),
            looked: BTreeMap::new(),
            leaving: BTreeMap::new(),
            ledger,
        };
        self.handle.state().admit(facts, &session.ledger);
        let world = &self.context.world;
        world.apply(Update::Admin(self.cluster.clone(), self.access.principal.clone()));
        world.apply(Update::Ledger(self.cluster.clone(), Box::new(session.ledger.clone())));
        world.reconcile_cluster(&self.cluster);
        info!("governing");
        self.dirty.resync = true;
        let ended = session.serve(&mut self.inbox, &mut self.dirty).await;
        // What was done and not seen on every broker is looked for in the next session.
        self.pending = session.pending;
        ended
    }
}

impl Session<'_> {
    /// Gathers, carries out, verifies, until something fails.
    async fn serve(&mut self, inbox: &mut UnboundedReceiver<Order>, dirty: &mut Dirty) -> Result<(), SessionError> {
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
                    let refused: BTreeSet<_> = self.handle.state().failed.keys().cloned().collect();
                    if !refused.is_empty() {
                        // It is tried again.
                        dirty.principals.extend(refused);
                        self.pace.came(false, Instant::now());
                    }
                    next_heartbeat = Instant::now() + HEARTBEAT;
                }
                () = at(self.next_retirement) => self.carry_out(dirty).await?,
                () = at(self.next_look.map(|(at, _)| at)) => {
                    self.verify().await?;
                    self.finish().await?;
                }
            }
        }
    }

    async fn carry_out(&mut self, dirty: &mut Dirty) -> Result<(), SessionError> {
        self.pace.carries_out(dirty.len());
        self.topics(std::mem::take(&mut dirty.products)).await?;
        let clients = std::mem::take(&mut dirty.clients);
        let issue = std::mem::take(&mut dirty.issue);
        let published = std::mem::take(&mut dirty.published);
        self.restore(std::mem::take(&mut dirty.restore)).await?;
        let touched = self.credentials(clients, issue, published).await?;
        dirty.principals.extend(touched);
        // The index may have made principals dirty through the inbox meanwhile; they come with the next round.
        let principals = std::mem::take(&mut dirty.principals);
        if let Err(error) = self.access(&principals).await {
            dirty.principals.extend(principals);
            return Err(error);
        }
        self.next_retirement = self.next_retirement();
        if self.is_anything_to_verify() && self.next_look.is_none() {
            let patience = self.pace.first_look();
            if !patience.is_zero() {
                self.look_again_at(Instant::now() + patience);
                return Ok(());
            }
            self.verify().await?;
        }
        self.finish().await
    }

    /// What waits until every broker was seen without the access that is gone.
    async fn finish(&mut self) -> Result<(), SessionError> {
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
    async fn commit(&mut self, changes: Vec<Change>) -> Result<(), SessionError> {
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
    fn announce(&self, changes: Vec<Change>) {
        if !changes.is_empty() {
            self.context.world.apply(Update::Committed(self.cluster.to_owned(), changes));
        }
    }

    fn key(&self, principal: &str) -> PrincipalKey {
        PrincipalKey { cluster: self.cluster.to_owned(), principal: principal.to_owned() }
    }

    fn resync_interval(&self) -> Duration {
        let index = self.context.world.index();
        index.cluster_spec(self.cluster).map_or(Duration::from_secs(600), |s| s.resync_interval.into())
    }

    fn next_retirement(&self) -> Option<Instant> {
        let next = self.ledger.clients.values().filter_map(crate::domain::rotation::next_retirement).min()?;
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
fn waiting(error: &KafkaError) -> Problem {
    Problem::waiting(Reason::RefusedByBroker, error.message.clone())
}
