//! One actor for each StreamCluster: it alone writes to that Kafka cluster.
//!
//! It gathers what became dirty, so that thousands of changes are tens of requests, and then carries out topics, credentials and
//! access, in this order; what it did it verifies on every broker before it says so.

mod access;
mod canary;
mod credentials;
mod departure;
mod drift;
mod expect;
mod gate;
mod late;
mod observe;
mod on_record;
mod pace;
mod probe;
mod session;
mod state;
mod topics;
mod verify;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tracing::{Instrument, info_span, warn};

use super::context::Context;
use crate::domain::names::{ObjectKey, PrincipalKey};
use crate::domain::secret::Secret;
use crate::k8s::credentials::AdminAccess;
use crate::ports::TopicError;
use session::{Dirty, Session};

pub use credentials::fingerprint;
pub use session::SessionError;
pub use state::{ClusterHandle, ClusterState, Facts, Grants, Link, ProductOutcome, not_connected};

/// The ledger's topic.
pub const LEDGER_TOPIC: &str = "__weir_ledger";
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
                let before = std::mem::replace(&mut self.handle.state().link, link);
                self.context.world.reconcile_cluster(&self.cluster);
                if before == Link::Governing {
                    self.report_failed();
                }
                if matches!(error, SessionError::NotLeading | SessionError::Ledger(TopicError::Fenced)) {
                    self.context.step_down();
                    return;
                }
                tokio::time::sleep(RETRY).await;
            }
        }
        .instrument(span)
        .await;
    }

    /// What was in the way of these is not what is in their way now.
    fn report_failed(&self) {
        let failed: Vec<_> = self.handle.state().failed.keys().cloned().collect();
        let key = |principal| PrincipalKey { cluster: self.cluster.clone(), principal };
        let bindings: BTreeSet<_> = {
            let index = self.context.world.index();
            let desired = failed.into_iter().map(|principal| index.desired(&key(principal)));
            desired.flat_map(|d| d.grants.into_values()).map(|grant| grant.binding.clone()).collect()
        };
        bindings.iter().for_each(|binding| self.context.world.reconcile_binding(binding));
    }

    async fn session(&mut self) -> Result<(), SessionError> {
        // What came while the cluster was out of reach is kept once each.
        while let Ok(order) = self.inbox.try_recv() {
            self.dirty.take(order);
        }
        let mut session = Session::begin(&self.cluster, &self.context, &self.handle, &self.access).await?;
        session.pending = std::mem::take(&mut self.pending);
        self.dirty.resync = true;
        let ended = session.serve(&mut self.inbox, &mut self.dirty).await;
        // What was done and not seen on every broker is looked for in the next session.
        self.pending = session.pending;
        ended
    }
}
