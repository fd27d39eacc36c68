//! What all controllers share: the index, the appliers' states, and the queues of objects to reconcile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::channel::mpsc::UnboundedSender;
use jiff::Timestamp;
use kube::Resource;
use kube::runtime::controller::{ReconcileReason, ReconcileRequest};
use kube::runtime::reflector::ObjectRef;
use tokio::sync::watch;

use super::applier::{ClusterHandle, Order};
use crate::api::{DataProduct, ExternalShare, Partner, RoleBinding, StreamClient, StreamCluster, StreamRole};
use crate::domain::index::{Index, Touched, Update};
use crate::domain::names::{ObjectKey, is_internal, share_of_guest};

/// Where each kind's reconciler takes its work from.
pub struct Queues {
    /// StreamClusters.
    pub clusters: UnboundedSender<ReconcileRequest<StreamCluster>>,
    /// DataProducts.
    pub products: UnboundedSender<ReconcileRequest<DataProduct>>,
    /// StreamRoles.
    pub roles: UnboundedSender<ReconcileRequest<StreamRole>>,
    /// StreamClients.
    pub clients: UnboundedSender<ReconcileRequest<StreamClient>>,
    /// RoleBindings.
    pub bindings: UnboundedSender<ReconcileRequest<RoleBinding>>,
    /// Partners.
    pub partners: UnboundedSender<ReconcileRequest<Partner>>,
    /// ExternalShares.
    pub shares: UnboundedSender<ReconcileRequest<ExternalShare>>,
}

/// See the module.
pub struct World {
    index: Mutex<Index>,
    clusters: Mutex<BTreeMap<String, Arc<ClusterHandle>>>,
    queues: Queues,
    /// Counts changes that engines may have to do with.
    replication: watch::Sender<u64>,
}

impl World {
    /// An empty one.
    pub fn new(queues: Queues) -> Self {
        Self { index: Mutex::default(), clusters: Mutex::default(), queues, replication: watch::Sender::new(0) }
    }

    /// Tells of changes that engines may have to do with.
    pub fn replication_changes(&self) -> watch::Receiver<u64> {
        self.replication.subscribe()
    }

    fn wake_engines(&self) {
        self.replication.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// The index, locked. Hold it shortly, and across no await.
    pub fn index(&self) -> MutexGuard<'_, Index> {
        // A panic while it was held left whole values behind: each update is one call.
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a change, wakes the appliers and reconcilers that it touches.
    pub fn apply(&self, update: Update) {
        let touched = self.index().apply(update, Timestamp::now());
        self.wake(touched);
    }

    /// Wakes the appliers and reconcilers of what was touched.
    pub fn wake(&self, touched: Touched) {
        let handles = self.handles();
        let mut principals: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for key in &touched.principals {
            principals.entry(key.cluster.clone()).or_default().insert(key.principal.clone());
        }
        for (name, handle) in &handles {
            let principals = principals.remove(name).unwrap_or_default();
            let index = self.index();
            let on = |cluster: Option<&str>| cluster.is_none_or(|c| c == name);
            let products: BTreeSet<_> = touched
                .products
                .iter()
                .filter(|k| on(index.product(k).map(|p| p.spec.cluster_ref.name.as_str())))
                .cloned()
                .collect();
            let clients: BTreeSet<_> = touched
                .clients
                .iter()
                .filter(|k| on(index.client(k).map(|c| c.spec.cluster_ref.name.as_str())))
                .cloned()
                .collect();
            drop(index);
            if !(principals.is_empty() && products.is_empty() && clients.is_empty()) {
                handle.order(Order::Dirty { principals, products, clients });
            }
        }
        if !touched.engines.is_empty() {
            self.wake_engines();
        }
        self.report(&touched);
    }

    /// Asks for the status of all of these.
    pub fn report(&self, touched: &Touched) {
        touched.clusters.iter().for_each(|name| self.reconcile_cluster(name));
        touched.products.iter().for_each(|key| self.reconcile_product(key));
        touched.roles.iter().for_each(|key| request(&self.queues.roles, key));
        touched.clients.iter().for_each(|key| self.reconcile_client(key));
        touched.bindings.iter().for_each(|key| self.reconcile_binding(key));
        touched.partners.iter().for_each(|name| request(&self.queues.partners, &ObjectKey::new("", name)));
        touched.shares.iter().for_each(|key| self.report_share(key));
    }

    /// Asks for the status of a StreamCluster.
    pub fn reconcile_cluster(&self, name: &str) {
        request(&self.queues.clusters, &ObjectKey::new("", name));
    }

    /// Asks for the status of a RoleBinding, or of the share of a guest, or has a worker's engine looked at.
    pub fn reconcile_binding(&self, key: &ObjectKey) {
        match share_of_guest(key) {
            Some((share, _)) => self.reconcile_share(&share),
            None if is_internal(&key.name) => self.wake_engines(),
            None => request(&self.queues.bindings, key),
        }
    }

    /// Asks for the status of a StreamClient, or of the share of a guest, or has a worker's engine looked at.
    pub fn reconcile_client(&self, key: &ObjectKey) {
        match share_of_guest(key) {
            Some((share, _)) => self.reconcile_share(&share),
            None if is_internal(&key.name) => self.wake_engines(),
            None => request(&self.queues.clients, key),
        }
    }

    /// Asks for the status of an ExternalShare.
    pub fn reconcile_share(&self, key: &ObjectKey) {
        // What the applier did for a share may be what an engine waits for. The index may be locked here: it is not asked.
        self.wake_engines();
        request(&self.queues.shares, key);
    }

    /// The same, where it is an engine that tells.
    pub fn report_share(&self, key: &ObjectKey) {
        request(&self.queues.shares, key);
    }

    /// Asks for the status of a DataProduct, or of the share whose copies it is.
    pub fn reconcile_product(&self, key: &ObjectKey) {
        match share_of_guest(key) {
            Some((share, _)) => self.reconcile_share(&share),
            None => request(&self.queues.products, key),
        }
    }

    /// The applier of a cluster.
    pub fn handle(&self, cluster: &str) -> Option<Arc<ClusterHandle>> {
        self.clusters.lock().unwrap_or_else(PoisonError::into_inner).get(cluster).cloned()
    }

    /// Every applier.
    pub fn handles(&self) -> BTreeMap<String, Arc<ClusterHandle>> {
        self.clusters.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts an applier in place, or takes it away; the one before ends.
    pub fn set_handle(&self, cluster: &str, handle: Option<Arc<ClusterHandle>>) {
        let mut clusters = self.clusters.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match handle {
            Some(handle) => clusters.insert(cluster.to_owned(), handle),
            None => clusters.remove(cluster),
        };
        if let Some(before) = before {
            before.end();
        }
    }
}

fn request<K: Resource<DynamicType = ()>>(queue: &UnboundedSender<ReconcileRequest<K>>, key: &ObjectKey) {
    let mut object = ObjectRef::new(&key.name);
    if !key.namespace.is_empty() {
        object = object.within(&key.namespace);
    }
    // The receiver is gone only while the process ends.
    let _ = queue.unbounded_send(ReconcileRequest { obj_ref: object, reason: ReconcileReason::Unknown });
}
