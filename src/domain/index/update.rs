//! How a change spreads through the graph.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use super::{Cluster, Index, Namespace, ObjectKey, Tenancies, Touched};
use crate::api::{DataProduct, RoleBinding, StreamClient, StreamCluster, StreamRole};
use crate::domain::binding;
use crate::domain::ledger::{Change, ClientRecord, Ledger};
use crate::domain::names::PrincipalKey;
use crate::domain::product;
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
            Update::Admin(name, admin) => self.set_admin(&name, admin, &mut touched),
            Update::Namespace(name, namespace) => self.set_namespace(name, namespace, &mut touched),
            Update::Product(key, object) => self.set_product(key, object, &mut touched),
            Update::Role(key, object) => self.set_role(key, object, &mut touched),
            Update::Client(key, object) => self.set_client(key, object, &mut touched),
            Update::Binding(key, object) => self.set_binding(key, object, &mut touched),
            Update::Account(key, uid) => self.set_account(key, uid, &mut touched),
            Update::Ledger(cluster, ledger) => self.set_ledger(&cluster, *ledger, &mut touched),
            Update::Committed(cluster, changes) => self.committed(&cluster, changes, &mut touched),
            Update::Tick => {
                let due = self.expiries.iter().take_while(|(at, _)| *at <= now);
                touched.bindings.extend(due.map(|(_, key)| key.clone()));
            }
        }
        for key in touched.bindings.clone() {
            self.resolve(&key, now, &mut touched);
        }
        touched
    }

    fn set_cluster(&mut self, name: String, object: Option<Arc<StreamCluster>>, touched: &mut Touched) {
        let before = self.clusters.get(&name).map(|c| (c.object.spec.clone(), c.tenancies.clone(), c.admin.clone()));
        let after = object.map(|object| Cluster {
            tenancies: Tenancies::assign(&name, &object.spec, &self.namespaces),
            object,
            admin: before.as_ref().and_then(|(_, _, admin)| admin.clone()),
        });
        let same = match (&before, &after) {
            (Some((spec, tenancies, _)), Some(after)) => {
                *tenancies == after.tenancies && spec.identity == after.object.spec.identity
            }
            (None, None) => true,
            _ => false,
        };
        match after {
            Some(cluster) => self.clusters.insert(name.clone(), cluster),
            None => self.clusters.remove(&name),
        };
        if !same {
            self.touch_all_on(&name, touched);
        }
        touched.clusters.insert(name);
    }

    fn set_admin(&mut self, name: &str, admin: Option<String>, touched: &mut Touched) {
        if let Some(cluster) = self.clusters.get_mut(name)
            && cluster.admin != admin
        {
            cluster.admin = admin;
            self.touch_all_on(name, touched);
        }
    }

    fn touch_all_on(&mut self, cluster: &str, touched: &mut Touched) {
        let products: Vec<_> = self.products_on(cluster).map(|(key, _)| key.clone()).collect();
        let clients: Vec<_> = self.clients_on(cluster).map(|(key, _)| key.clone()).collect();
        touched.clients.extend(clients);
        for key in products {
            self.claim(&key, touched);
            self.touch_product(&key, touched);
        }
    }

    fn set_namespace(&mut self, name: String, namespace: Option<Namespace>, touched: &mut Touched) {
        match namespace {
            Some(namespace) if self.namespaces.get(&name) == Some(&namespace) => return,
            Some(namespace) => self.namespaces.insert(name.clone(), namespace),
            None => self.namespaces.remove(&name),
        };
        touched.bindings.extend(super::in_namespace(&self.bindings, &name).map(|(key, _)| key.clone()));
        let mut changed = BTreeSet::from([name]);
        for (cluster_name, cluster) in &mut self.clusters {
            let after = Tenancies::assign(cluster_name, &cluster.object.spec, &self.namespaces);
            changed.extend(tenancy::changed(&cluster.tenancies, &after));
            cluster.tenancies = after;
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

    fn set_product(&mut self, key: ObjectKey, object: Option<Arc<DataProduct>>, touched: &mut Touched) {
        set(&mut self.products, key.clone(), object);
        self.claim(&key, touched);
        self.touch_product(&key, touched);
        // Those derived from it may be classified otherwise now.
        let derived = self
            .products
            .iter()
            .filter(|(_, p)| p.spec.derived_from.iter().any(|r| r.namespace == key.namespace && r.name == key.name));
        touched.products.extend(derived.map(|(k, _)| k.clone()));
    }

    /// Renews what a product claims, and touches whoever claims the same.
    fn claim(&mut self, key: &ObjectKey, touched: &mut Touched) {
        let after: BTreeSet<_> = self
            .products
            .get(key)
            .and_then(|p| {
                let cluster = &p.spec.cluster_ref.name;
                let tenant = self.tenant(cluster, &key.namespace).ok()?;
                let topics = p.spec.streams.iter().map(|s| product::topic_of(tenant, &key.name, s));
                Some(topics.map(|topic| (cluster.clone(), topic)).collect())
            })
            .unwrap_or_default();
        let created =
            self.products.get(key).and_then(|p| p.creation_timestamp()).map_or(i64::MAX, |t| t.0.as_millisecond());
        let before = self.claimed_by.remove(key).unwrap_or_default();
        let mut rivals = BTreeSet::new();
        for claim in before.difference(&after) {
            if let Some(claimants) = self.claims.get_mut(claim) {
                claimants.retain(|(_, k)| k != key);
                rivals.extend(claimants.iter().map(|(_, k)| k.clone()));
                if claimants.is_empty() {
                    self.claims.remove(claim);
                }
            }
        }
        for claim in after.difference(&before) {
            let claimants = self.claims.entry(claim.clone()).or_default();
            rivals.extend(claimants.iter().map(|(_, k)| k.clone()));
            claimants.insert((created, key.clone()));
        }
        if !after.is_empty() {
            self.claimed_by.insert(key.clone(), after);
        }
        for rival in rivals.iter().filter(|r| *r != key) {
            self.touch_product(rival, touched);
        }
    }

    fn touch_product(&self, key: &ObjectKey, touched: &mut Touched) {
        touched.products.insert(key.clone());
        let roles: Vec<_> = self.roles_in(&key.namespace).map(|(role, _)| role.clone()).collect();
        for role in roles {
            self.touch_role(&role, touched);
        }
    }

    fn set_role(&mut self, key: ObjectKey, object: Option<Arc<StreamRole>>, touched: &mut Touched) {
        let spec_before = self.roles.get(&key).map(|r| r.spec.clone());
        let spec_after = object.as_ref().map(|r| r.spec.clone());
        set(&mut self.roles, key.clone(), object);
        touched.roles.insert(key.clone());
        if spec_before != spec_after {
            touched.products.extend(super::in_namespace(&self.products, &key.namespace).map(|(k, _)| k.clone()));
            self.touch_role(&key, touched);
        }
    }

    /// The role, every role that inherits it, and their bindings.
    fn touch_role(&self, key: &ObjectKey, touched: &mut Touched) {
        let mut to_visit = vec![key.clone()];
        let mut seen = BTreeSet::new();
        while let Some(role) = to_visit.pop() {
            if !seen.insert(role.clone()) {
                continue;
            }
            let heirs = self
                .roles
                .iter()
                .filter(|(_, r)| r.spec.inherits.iter().any(|i| i.namespace == role.namespace && i.name == role.name));
            to_visit.extend(heirs.map(|(k, _)| k.clone()));
            touched.bindings.extend(self.bindings_of_role.get(&role).into_iter().flatten().cloned());
            touched.roles.insert(role);
        }
    }

    fn set_client(&mut self, key: ObjectKey, object: Option<Arc<StreamClient>>, touched: &mut Touched) {
        set(&mut self.clients, key.clone(), object);
        self.touch_subject(&key, touched);
        touched.clients.insert(key);
    }

    /// The bindings of its namespace that name it.
    fn touch_subject(&self, key: &ObjectKey, touched: &mut Touched) {
        let naming = super::in_namespace(&self.bindings, &key.namespace)
            .filter(|(_, b)| b.spec.subjects.iter().any(|s| s.name == key.name));
        touched.bindings.extend(naming.map(|(k, _)| k.clone()));
    }

    fn set_binding(&mut self, key: ObjectKey, object: Option<Arc<RoleBinding>>, touched: &mut Touched) {
        let before = self.bindings.get(&key).map(|b| role_of(b));
        let after = object.as_ref().map(|b| role_of(b));
        if before != after {
            if let Some(role) = before
                && let Some(bindings) = self.bindings_of_role.get_mut(&role)
            {
                bindings.remove(&key);
                if bindings.is_empty() {
                    self.bindings_of_role.remove(&role);
                }
                touched.roles.insert(role);
            }
            if let Some(role) = after {
                self.bindings_of_role.entry(role.clone()).or_default().insert(key.clone());
                touched.roles.insert(role);
            }
        }
        set(&mut self.bindings, key.clone(), object);
        touched.bindings.insert(key);
    }

    fn set_account(&mut self, key: ObjectKey, uid: Option<String>, touched: &mut Touched) {
        if self.accounts.get(&key) == uid.as_ref() {
            return;
        }
        set(&mut self.accounts, key.clone(), uid);
        self.touch_subject(&key, touched);
        let named_from_elsewhere = self.bindings.iter().filter(|(_, b)| {
            b.spec.subjects.iter().any(|s| s.name == key.name && s.namespace.as_ref() == Some(&key.namespace))
        });
        touched.bindings.extend(named_from_elsewhere.map(|(k, _)| k.clone()));
    }

    fn set_ledger(&mut self, cluster: &str, ledger: Ledger, touched: &mut Touched) {
        self.governed.retain(|(c, _), _| c != cluster);
        for (principal, of_principal) in &ledger.grants {
            touched.principals.insert(PrincipalKey { cluster: cluster.to_owned(), principal: principal.clone() });
            for (uid, record) in of_principal {
                if let Some(subject) = &record.subject_uid {
                    self.subject_uids.insert((uid.clone(), principal.clone()), subject.clone());
                }
            }
        }
        for (topic, record) in ledger.topics {
            self.governed.insert((cluster.to_owned(), topic), record.product_uid);
        }
        for (uid, record) in &ledger.clients {
            self.issued.extend(record.versions.iter().map(|v| (v.principal.clone(), uid.clone())));
        }
        self.client_records.extend(ledger.clients);
        self.touch_all_on(cluster, touched);
        let clients: Vec<_> = touched.clients.iter().cloned().collect();
        for key in clients {
            self.touch_subject(&key, touched);
        }
    }

    fn committed(&mut self, cluster: &str, changes: Vec<Change>, touched: &mut Touched) {
        for change in changes {
            match change {
                Change::Installation(_) => {}
                Change::Grant(key, record) => {
                    let subject = record.and_then(|r| r.subject_uid);
                    set(&mut self.subject_uids, (key.binding_uid, key.principal), subject);
                }
                Change::Client(uid, record) => self.set_client_record(uid, record, touched),
                Change::Topic(topic, record) => {
                    let owner = record.as_ref().map(|r| ObjectKey::new(&r.namespace, &r.name));
                    set(&mut self.governed, (cluster.to_owned(), topic), record.map(|r| r.product_uid));
                    if let Some(owner) = owner {
                        self.touch_product(&owner, touched);
                    }
                }
            }
        }
    }

    fn set_client_record(&mut self, uid: String, record: Option<ClientRecord>, touched: &mut Touched) {
        let key = record.as_ref().or_else(|| self.client_records.get(&uid)).map(ClientRecord::key);
        let principals = |r: Option<&ClientRecord>| -> BTreeSet<String> {
            r.map(|r| r.versions.iter().filter(|v| !v.retired).map(|v| v.principal.clone()).collect())
                .unwrap_or_default()
        };
        let same_principals = principals(self.client_records.get(&uid)) == principals(record.as_ref());
        for version in self.client_records.get(&uid).iter().flat_map(|r| &r.versions) {
            self.issued.remove(&version.principal);
        }
        for version in record.iter().flat_map(|r| &r.versions) {
            self.issued.insert(version.principal.clone(), uid.clone());
        }
        set(&mut self.client_records, uid, record);
        if let Some(key) = key {
            if !same_principals {
                self.touch_subject(&key, touched);
            }
            touched.clients.insert(key);
        }
    }

    /// Resolves one binding anew, and touches the principals and products that it gained, kept with a difference, or lost.
    fn resolve(&mut self, key: &ObjectKey, now: Timestamp, touched: &mut Touched) {
        let before = self.resolutions.remove(key);
        if let Some(at) = before.as_ref().and_then(|r| r.expires_at) {
            self.expiries.remove(&(at, key.clone()));
        }
        let after = self.bindings.get(key).map(|b| Arc::new(binding::resolve(self, b, now)));
        if before == after {
            self.remember(key, after, now);
            return;
        }
        for grant in before.iter().flat_map(|r| &r.grants) {
            touched.principals.insert(grant.key.clone());
            if let Some(grants) = self.grants.get_mut(&grant.key) {
                grants.remove(&grant.binding_uid);
                if grants.is_empty() {
                    self.grants.remove(&grant.key);
                }
            }
        }
        for grant in after.iter().flat_map(|r| &r.grants) {
            touched.principals.insert(grant.key.clone());
            self.grants.entry(grant.key.clone()).or_default().insert(grant.binding_uid.clone(), grant.clone());
        }
        let none = BTreeSet::new();
        let products_before = before.as_ref().map_or(&none, |r| &r.products);
        let products_after = after.as_ref().map_or(&none, |r| &r.products);
        for product in products_before.symmetric_difference(products_after) {
            let bindings = self.bindings_of_product.entry(product.clone()).or_default();
            if products_after.contains(product) {
                bindings.insert(key.clone())
            } else {
                bindings.remove(key)
            };
            touched.products.insert(product.clone());
        }
        self.remember(key, after, now);
    }

    fn remember(&mut self, key: &ObjectKey, resolution: Option<Arc<binding::Resolution>>, now: Timestamp) {
        if let Some(at) = resolution.as_ref().and_then(|r| r.expires_at).filter(|at| *at > now) {
            self.expiries.insert((at, key.clone()));
        }
        set(&mut self.resolutions, key.clone(), resolution);
    }
}

fn role_of(binding: &RoleBinding) -> ObjectKey {
    ObjectKey::new(&binding.spec.role_ref.namespace, &binding.spec.role_ref.name)
}

fn set<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}
