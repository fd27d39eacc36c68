//! How a change is taken in: each kind of object, and what it concerns.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use super::{Cluster, Index, Namespace, ObjectKey, SeenLink, Tenancies, Touched};
use crate::api::{
    ABANDON_ANNOTATION, AccessApproval, AuditTrail, DataProduct, ExternalShare, Invitation, Partner, ReplicationEngine,
    RoleBinding, StreamClient, StreamCluster, StreamRole,
};
use crate::domain::ledger::{Change, Ledger};
use crate::domain::names::{EngineKey, share_of_guest};
use crate::domain::tenancy;

/// One change of what the API server or a ledger holds. `None` is a removal.
#[derive(Clone, Debug)]
pub enum Update {
    /// A StreamCluster.
    Cluster(String, Option<Arc<StreamCluster>>),
    /// The principal that Weir uses on a cluster.
    Admin(String, Option<String>),
    /// A Kubernetes namespace.
    Namespace(String, Option<Namespace>),
    /// A DataProduct.
    Product(ObjectKey, Option<Arc<DataProduct>>),
    /// A StreamRole.
    Role(ObjectKey, Option<Arc<StreamRole>>),
    /// A StreamClient.
    Client(ObjectKey, Option<Arc<StreamClient>>),
    /// A RoleBinding.
    Binding(ObjectKey, Option<Arc<RoleBinding>>),
    /// An AccessApproval.
    Approval(ObjectKey, Option<Arc<AccessApproval>>),
    /// A Partner.
    Partner(String, Option<Arc<Partner>>),
    /// An ExternalShare.
    Share(ObjectKey, Option<Arc<ExternalShare>>),
    /// An Invitation.
    Invitation(ObjectKey, Option<Arc<Invitation>>),
    /// The AuditTrail.
    Trail(Option<Arc<AuditTrail>>),
    /// A partner's last wish for another version, by its guest's UID; of the share named.
    Wish(ObjectKey, String, Option<String>),
    /// Whether an engine was seen to have nothing left of any share.
    EngineIdle(EngineKey, bool),
    /// What was seen of the cluster link of a share.
    Link(ObjectKey, SeenLink),
    /// Whether the API server holds reviewers and requesters to their names.
    ApprovalsEnforced(bool),
    /// A ServiceAccount's UID.
    Account(ObjectKey, Option<String>),
    /// Everything in the ledger of a cluster.
    Ledger(String, Box<Ledger>),
    /// Changes that were committed to the ledger of a cluster.
    Committed(String, Vec<Change>),
    /// Time passed.
    Tick,
}

impl Index {
    /// Takes a change, as of `now`, and says what it touched.
    pub fn apply(&mut self, update: Update, now: Timestamp) -> Touched {
        let mut touched = Touched::default();
        match update {
            Update::Cluster(name, object) => self.set_cluster(name, object, &mut touched),
            Update::Admin(name, admin) => self.set_admin(name, admin, &mut touched),
            Update::Namespace(name, namespace) => self.set_namespace(name, namespace, &mut touched),
            Update::Product(key, object) => self.set_product(key, object, &mut touched),
            Update::Role(key, object) => self.set_role(key, object, &mut touched),
            Update::Client(key, object) => self.set_client(key, object, &mut touched),
            Update::Binding(key, object) => self.set_binding(key, object, &mut touched),
            Update::Approval(key, object) => self.set_approval(key, object, &mut touched),
            Update::ApprovalsEnforced(enforced) => {
                if std::mem::replace(&mut self.approvals_enforced, enforced) != enforced {
                    touched.bindings.extend(self.bindings.keys().cloned());
                    touched.shares.extend(self.shares.keys().cloned());
                }
            }
            Update::Partner(name, object) => self.set_partner(name, object, &mut touched),
            Update::Invitation(key, object) => self.set_invitation(key, object, &mut touched),
            Update::Trail(object) => self.trail = object,
            Update::Wish(share, guest, wish) => {
                set(&mut self.wishes, guest, wish);
                touched.shares.insert(share);
            }
            Update::EngineIdle(engine, idle) => {
                let changed = if idle { self.idle.insert(engine.clone()) } else { self.idle.remove(&engine) };
                touched.engines.extend(changed.then_some(engine));
            }
            Update::Link(share, seen) => self.set_link(share, seen, &mut touched),
            Update::Share(key, object) => self.set_share(key, object, &mut touched),
            Update::Account(key, uid) => self.set_account(key, uid, &mut touched),
            Update::Ledger(cluster, ledger) => self.set_ledger(cluster, *ledger, &mut touched),
            Update::Committed(cluster, changes) => self.committed(&cluster, changes, &mut touched),
            Update::Tick => {
                for (_, key) in self.expiries.iter().take_while(|(at, _)| *at <= now) {
                    match share_of_guest(key) {
                        Some((share, _)) => touched.shares.insert(share),
                        None => touched.bindings.insert(key.clone()),
                    };
                }
            }
        }
        for key in touched.shares.clone() {
            self.resolve_share(&key, now, &mut touched);
        }
        for key in touched.engines.clone() {
            self.resolve_engine(&key, now, &mut touched);
        }
        for key in touched.bindings.clone() {
            self.resolve(&key, now, &mut touched);
        }
        touched
    }

    fn set_cluster(&mut self, name: String, object: Option<Arc<StreamCluster>>, touched: &mut Touched) {
        let after = object.map(|object| match self.clusters.get(&name) {
            Some(before) if before.object.spec == object.spec => {
                Cluster { object, tenancies: before.tenancies.clone() }
            }
            _ => Cluster { tenancies: Tenancies::assign(&name, &object.spec, &self.namespaces), object },
        });
        let same = match (self.clusters.get(&name), &after) {
            (Some(before), Some(after)) => {
                let (b, a) = (&before.object.spec, &after.object.spec);
                before.tenancies == after.tenancies
                    && (&b.identity, &b.listeners, &b.tls) == (&a.identity, &a.listeners, &a.tls)
                    && (&b.destinations, &b.replication_engines) == (&a.destinations, &a.replication_engines)
            }
            (None, None) => true,
            _ => false,
        };
        let abandoned = |c: &Cluster| c.object.annotations().contains_key(ABANDON_ANNOTATION);
        if self.clusters.get(&name).map(abandoned) != after.as_ref().map(abandoned) {
            // What is deleted waits for the cluster, or need not any more.
            touched.merge(self.everything_on(&name));
        }
        let engines =
            self.clusters.get(&name).into_iter().chain(&after).flat_map(|c| &c.object.spec.replication_engines);
        let engine = |e: &ReplicationEngine| EngineKey { cluster: name.clone(), name: e.name.clone() };
        touched.engines.extend(engines.map(engine));
        set(&mut self.clusters, name.clone(), after);
        if !same {
            self.touch_all_on(&name, touched);
        }
        touched.clusters.insert(name);
    }

    fn set_admin(&mut self, name: String, admin: Option<String>, touched: &mut Touched) {
        if self.admins.get(&name) != admin.as_ref() {
            self.touch_all_on(&name, touched);
            set(&mut self.admins, name, admin);
        }
    }

    fn set_namespace(&mut self, name: String, namespace: Option<Namespace>, touched: &mut Touched) {
        let before = self.namespaces.get(&name).cloned();
        if before == namespace {
            return;
        }
        let labels = || before.iter().chain(&namespace).map(|ns| &ns.labels);
        let concerned: Vec<_> = self
            .clusters
            .iter()
            .filter(|(_, c)| labels().any(|l| Tenancies::may_select(&c.object.spec, l)))
            .map(|(cluster, _)| cluster.clone())
            .collect();
        set(&mut self.namespaces, name.clone(), namespace);
        touched.shares.extend(super::in_namespace(&self.shares, &name).map(|(key, _)| key.clone()));
        // Consent may be given by the labels of the binding's namespace, or of a subject's.
        touched.bindings.extend(super::in_namespace(&self.bindings, &name).map(|(key, _)| key.clone()));
        touched.bindings.extend(self.bindings_of_subject.to_all_of(&name).cloned());
        let mut changed = BTreeSet::from([name]);
        for name in concerned {
            if let Some(cluster) = self.clusters.get_mut(&name) {
                let after = Tenancies::assign(&name, &cluster.object.spec, &self.namespaces);
                changed.extend(tenancy::changed(&cluster.tenancies, &after));
                cluster.tenancies = after;
            }
        }
        for namespace in changed {
            let products: Vec<_> =
                super::in_namespace(&self.products, &namespace).map(|(key, _)| key.clone()).collect();
            for key in products {
                self.claim(&key, touched);
                self.touch_product(&key, touched);
            }
            touched.clients.extend(super::in_namespace(&self.clients, &namespace).map(|(key, _)| key.clone()));
            touched.bindings.extend(super::in_namespace(&self.bindings, &namespace).map(|(key, _)| key.clone()));
        }
    }

    pub(super) fn set_product(&mut self, key: ObjectKey, object: Option<Arc<DataProduct>>, touched: &mut Touched) {
        touched.products.insert(key.clone());
        let before = self.products.get(&key).cloned();
        if let (Some(b), Some(a)) = (&before, &object)
            && b.spec == a.spec
            && same_object(&b.metadata, &a.metadata)
        {
            set(&mut self.products, key, object);
            return;
        }
        let sources = |p: Option<&Arc<DataProduct>>| -> BTreeSet<_> {
            p.into_iter().flat_map(|p| &p.spec.derived_from).map(|r| ObjectKey::new(&r.namespace, &r.name)).collect()
        };
        self.derived.renew(&key, &sources(before.as_ref()), &sources(object.as_ref()));
        // Roles that selected it by labels that it had, and then those that select it now.
        self.touch_product(&key, touched);
        set(&mut self.products, key.clone(), object);
        self.claim(&key, touched);
        self.touch_product(&key, touched);
        self.touch_derived(&key, touched);
    }

    fn set_role(&mut self, key: ObjectKey, object: Option<Arc<StreamRole>>, touched: &mut Touched) {
        touched.roles.insert(key.clone());
        let before = self.roles.get(&key).cloned();
        if let (Some(b), Some(a)) = (&before, &object)
            && b.spec == a.spec
            && same_object(&b.metadata, &a.metadata)
        {
            set(&mut self.roles, key, object);
            return;
        }
        let inherited = |r: Option<&Arc<StreamRole>>| -> BTreeSet<_> {
            r.into_iter().flat_map(|r| &r.spec.inherits).map(|i| ObjectKey::new(&i.namespace, &i.name)).collect()
        };
        self.heirs.renew(&key, &inherited(before.as_ref()), &inherited(object.as_ref()));
        self.touch_selected(&key, touched);
        set(&mut self.roles, key.clone(), object);
        self.touch_selected(&key, touched);
        self.touch_role(&key, touched);
    }

    pub(super) fn set_client(&mut self, key: ObjectKey, object: Option<Arc<StreamClient>>, touched: &mut Touched) {
        let before = self.clients.get(&key).cloned();
        // Access that an issued principal has beside its bindings' goes with the client too.
        for client in before.iter().chain(&object) {
            self.touch_issued(client.metadata.uid.as_deref().unwrap_or_default(), touched);
        }
        set(&mut self.clients, key.clone(), object);
        touched.bindings.extend(self.bindings_of_subject.to(&key).cloned());
        touched.clients.insert(key);
    }

    fn set_binding(&mut self, key: ObjectKey, object: Option<Arc<RoleBinding>>, touched: &mut Touched) {
        let before = self.bindings.get(&key).cloned();
        let role = |b: Option<&Arc<RoleBinding>>| -> BTreeSet<_> {
            b.into_iter().map(|b| ObjectKey::new(&b.spec.role_ref.namespace, &b.spec.role_ref.name)).collect()
        };
        let (role_before, role_after) = (role(before.as_ref()), role(object.as_ref()));
        // A role lists its bindings by UID, and what those that wait for it say of themselves.
        let uid = |b: Option<&Arc<RoleBinding>>| b.and_then(|b| b.metadata.uid.clone());
        if uid(before.as_ref()) != uid(object.as_ref()) {
            touched.roles.extend(role_before.union(&role_after).cloned());
        }
        touched.roles.extend(self.resolutions.get(&key).iter().flat_map(|r| r.awaited.keys()).cloned());
        self.bindings_of_role.renew(&key, &role_before, &role_after);
        let subjects = |b: Option<&Arc<RoleBinding>>| -> BTreeSet<_> {
            let subjects = b.into_iter().flat_map(|b| &b.spec.subjects);
            subjects.map(|s| ObjectKey::new(s.namespace.as_ref().unwrap_or(&key.namespace), &s.name)).collect()
        };
        self.bindings_of_subject.renew(&key, &subjects(before.as_ref()), &subjects(object.as_ref()));
        // What the ledger remembers of the subjects of a binding that goes is to be forgotten.
        for binding in before.iter() {
            self.touch_recorded_subjects(binding.metadata.uid.as_deref().unwrap_or_default(), touched);
        }
        set(&mut self.bindings, key.clone(), object);
        touched.bindings.insert(key);
    }

    fn set_approval(&mut self, key: ObjectKey, object: Option<Arc<AccessApproval>>, touched: &mut Touched) {
        let request = |a: Option<&Arc<AccessApproval>>| -> BTreeSet<_> {
            let of = a.map(|a| &a.spec.request_ref);
            of.map(|of| ObjectKey::new(&of.namespace, &of.name)).into_iter().collect()
        };
        let (before, after) = (request(self.approvals.get(&key)), request(object.as_ref()));
        self.approvals_of_request.renew(&key, &before, &after);
        // A binding and a share may have the same name.
        touched.bindings.extend(before.union(&after).filter(|k| self.bindings.contains_key(k)).cloned());
        touched.shares.extend(before.union(&after).filter(|k| self.shares.contains_key(k)).cloned());
        set(&mut self.approvals, key, object);
    }

    fn set_account(&mut self, key: ObjectKey, uid: Option<String>, touched: &mut Touched) {
        if self.accounts.get(&key) != uid.as_ref() {
            touched.bindings.extend(self.bindings_of_subject.to(&key).cloned());
            set(&mut self.accounts, key, uid);
        }
    }
}

/// Whether nothing differs that decisions look at beside the spec: status, annotations and finalizers are not among it.
fn same_object(a: &ObjectMeta, b: &ObjectMeta) -> bool {
    a.uid == b.uid
        && a.labels == b.labels
        && a.creation_timestamp == b.creation_timestamp
        && a.deletion_timestamp == b.deletion_timestamp
}

pub(super) fn set<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}
