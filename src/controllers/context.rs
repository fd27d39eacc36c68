//! What every controller is given.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::future::join_all;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use kube::Client;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::announced::Announced;
use super::applier::SessionError;
use super::audit::{Standing, Trail};
use super::copies::Copies;
use super::fences::Fences;
use super::last_told::LastTold;
use super::patience::Patience;
use super::publisher::Publisher;
use super::usages::Usages;
use super::watching::Watches;
use super::world::World;
use crate::api::{DataProductStatus, ExternalShareStatus};
use crate::domain::event::{Gain, Happening, event, in_parts};
use crate::domain::ledger::Installation;
use crate::domain::problem::Problem;
use crate::k8s::bundles::Bundles;
use crate::k8s::credentials::{AdminAccess, Secrets};
use crate::k8s::events::Events;
use crate::k8s::lease::Leadership;
use crate::ports::KafkaEndpoint;

/// How many parts of what is about to be given are put on record at once: together they are a transaction of a few megabytes.
const PARTS_AT_ONCE: usize = 8;

/// See the module.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// What all share.
    pub world: World,
    /// What Weir owns in consumers' namespaces.
    pub publisher: Publisher,
    /// Secrets of the operator's own namespace.
    pub secrets: Secrets,
    /// Partners' credentials on their way.
    pub bundles: Bundles,
    /// How copies are.
    pub copies: Copies,
    /// How much partners read.
    pub usages: Usages,
    /// How bindings are used.
    pub watches: Watches,
    /// NetworkPolicies before brokers.
    pub fences: Fences,
    /// Kubernetes Events and SecurityEvents.
    pub events: Events,
    /// What happened is told to it.
    pub trail: Trail,
    /// Proof of leadership.
    pub leadership: Leadership,
    /// Which installation this is.
    pub installation: Installation,
    /// When this process began.
    pub running_since: Timestamp,
    /// Since when nobody led before that.
    pub away_since: Timestamp,
    /// Ends the process.
    pub shutdown: CancellationToken,
    /// What is under way and not worth a status write yet.
    pub patience: Patience,
    /// What was last told of bindings' access.
    pub announced: Announced,
    /// The same of products.
    pub told_of_products: LastTold<DataProductStatus>,
    /// The same of shares.
    pub told_of_shares: LastTold<ExternalShareStatus>,
    /// How each cluster is entered.
    pub access: Mutex<BTreeMap<String, AdminAccess>>,
    /// `namespace:name` of Weir's own ServiceAccount, for advice.
    pub service_account: String,
}

impl Context {
    /// Whether anything may be sent that changes a cluster.
    ///
    /// # Errors
    /// Another instance may lead.
    pub fn may_write(&self) -> Result<(), SessionError> {
        if self.leadership.holds() { Ok(()) } else { Err(SessionError::NotLeading) }
    }

    /// Ends the process: another instance takes over.
    pub fn step_down(&self) {
        self.shutdown.cancel();
    }

    /// Tells of what happened; returns once it is on record, or kept until it can be. `key` says which happening it is: the same one
    /// is told once, also after a crash.
    pub async fn record(&self, happening: Happening, key: &str) {
        let event = event(happening, key, Timestamp::now());
        if self.trail.tell(event.clone()).await.is_some() || self.trail.standing() == Standing::Unwanted {
            return;
        }
        // Nobody took it in time. Kept twice, it is put on record once.
        if let Err(error) = self.events.keep(&event).await {
            warn!(%error, uid = event.uid, "failed to keep an event");
            self.trail.counts.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The same of several, each with its key: who tells waits once for all of them.
    pub async fn record_all(&self, told: Vec<(Happening, String)>) {
        let each = told.into_iter().map(|(happening, key)| async move { self.record(happening, &key).await });
        join_all(each).await;
    }

    /// Puts on record that `gains` are about to be given, all of them; see [`Trail::intend`].
    ///
    /// # Errors
    /// Not all of it is on record: then nothing of it is to be given.
    pub async fn intend(&self, happening: Happening, gains: &[Gain]) -> Result<(), Problem> {
        let now = Timestamp::now();
        let parts = in_parts(&happening, gains).into_iter().enumerate();
        let told = parts.map(|(n, part)| {
            let count = i64::try_from(part.entries.len()).unwrap_or(i64::MAX);
            let part = Happening { count, ..part };
            async move { self.trail.intend(part, &format!("{now}/{n}")).await }
        });
        futures::stream::iter(told).buffered(PARTS_AT_ONCE).try_collect().await
    }

    /// Whether a cluster was looked at as a whole since this process began; before that, nothing new can be said of it. One that
    /// nobody registered counts, too: that much is known.
    pub fn is_settled(&self, cluster: &str) -> bool {
        match self.world.handle(cluster) {
            Some(handle) => handle.state().settled,
            None => self.world.index().cluster(cluster).is_none(),
        }
    }

    /// Whether a namespace is being deleted: nothing can be created in it any more, and what becomes of its objects is clear.
    pub fn is_leaving(&self, namespace: Option<String>) -> bool {
        namespace.is_some_and(|ns| self.world.index().namespace(&ns).is_some_and(|ns| ns.deleting))
    }

    /// The authority of a cluster's brokers, in PEM.
    pub fn ca_pem(&self, cluster: &str) -> Option<String> {
        self.access().get(cluster)?.ca_pem.clone()
    }

    /// How a cluster is entered.
    pub fn endpoint(&self, cluster: &str) -> Option<KafkaEndpoint> {
        Some(self.access().get(cluster)?.endpoint.clone())
    }

    /// Whether a cluster is entered by just this.
    pub fn access_is(&self, cluster: &str, access: &AdminAccess) -> bool {
        self.access().get(cluster) == Some(access)
    }

    /// Takes note of how a cluster is entered.
    pub fn remember_access(&self, cluster: &str, access: AdminAccess) {
        self.access().insert(cluster.to_owned(), access);
    }

    /// Forgets how a cluster is entered.
    pub fn forget_access(&self, cluster: &str) {
        self.access().remove(cluster);
    }

    /// What to say where a namespace did not let Weir write into it.
    pub fn enrolment_advice(&self, namespace: &str, what: &str) -> String {
        format!(
            "namespace {namespace} did not enrol, so {what} cannot be written: kubectl create rolebinding weir-credentials \
             --namespace {namespace} --clusterrole weir-credentials --serviceaccount {}",
            self.service_account
        )
    }

    fn access(&self) -> MutexGuard<'_, BTreeMap<String, AdminAccess>> {
        self.access.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
