//! How a change spreads through the graph.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::update::set;
use super::{Index, ObjectKey, Touched};
use crate::domain::binding;
use crate::domain::role;

impl Index {
    pub(super) fn touch_all_on(&mut self, cluster: &str, touched: &mut Touched) {
        let products: Vec<_> = self.products_on(cluster).map(|(key, _)| key.clone()).collect();
        touched.clients.extend(self.clients_on(cluster).map(|(key, _)| key.clone()));
        let mut roles = BTreeSet::new();
        for key in products {
            self.claim(&key, touched);
            roles.extend(self.roles_selecting(&key));
            self.touch_shares_of(&key, touched);
            touched.products.insert(key);
        }
        for role in roles {
            self.touch_role(&role, touched);
        }
        self.touch_shares_to(cluster, touched);
    }

    /// The product, and every role and share that selects it.
    pub(super) fn touch_product(&self, key: &ObjectKey, touched: &mut Touched) {
        touched.products.insert(key.clone());
        self.touch_shares_of(key, touched);
        for role in self.roles_selecting(key) {
            self.touch_role(&role, touched);
        }
    }

    fn roles_selecting(&self, product: &ObjectKey) -> Vec<ObjectKey> {
        let none = BTreeMap::new();
        let labels = self.product(product).and_then(|p| p.metadata.labels.as_ref()).unwrap_or(&none);
        let selecting =
            self.roles_in(&product.namespace).filter(|(_, r)| role::selects_product(&r.spec, &product.name, labels));
        selecting.map(|(role, _)| role.clone()).collect()
    }

    /// Products that a role selects say so in their status.
    pub(super) fn touch_selected(&self, key: &ObjectKey, touched: &mut Touched) {
        let Some(role) = self.roles.get(key) else { return };
        let none = BTreeMap::new();
        let selected = super::in_namespace(&self.products, &key.namespace).filter(|(product, object)| {
            let labels = object.metadata.labels.as_ref().unwrap_or(&none);
            role::selects_product(&role.spec, &product.name, labels)
        });
        touched.products.extend(selected.map(|(product, _)| product.clone()));
    }

    /// Those derived from a product, directly or not, may be classified otherwise now.
    pub(super) fn touch_derived(&self, key: &ObjectKey, touched: &mut Touched) {
        let mut to_visit = vec![key];
        let mut seen = BTreeSet::from([key]);
        while let Some(source) = to_visit.pop() {
            to_visit.extend(self.derived.to(source).filter(|derived| seen.insert(derived)));
        }
        seen.iter().for_each(|product| self.touch_shares_of(product, touched));
        touched.products.extend(seen.into_iter().cloned());
    }

    /// The role, every role that inherits it, and their bindings.
    pub(super) fn touch_role(&self, key: &ObjectKey, touched: &mut Touched) {
        let mut to_visit = vec![key];
        let mut seen = BTreeSet::from([key]);
        while let Some(role) = to_visit.pop() {
            touched.bindings.extend(self.bindings_of_role.to(role).cloned());
            to_visit.extend(self.heirs.to(role).filter(|heir| seen.insert(heir)));
        }
        touched.roles.extend(seen.into_iter().cloned());
    }

    /// Resolves one binding anew, and touches the principals and products that it gained, kept with a difference, or lost.
    pub(super) fn resolve(&mut self, key: &ObjectKey, now: Timestamp, touched: &mut Touched) {
        let after = self.bindings.get(key).map(|b| Arc::new(binding::resolve(self, b, now)));
        self.replace(key, after, now, touched);
    }

    /// Puts what a binding, or a guest, comes to in the place of what it came to before.
    pub(super) fn replace(
        &mut self,
        key: &ObjectKey,
        after: Option<Arc<binding::Resolution>>,
        now: Timestamp,
        touched: &mut Touched,
    ) {
        let before = self.resolutions.remove(key);
        if let Some(at) = before.as_ref().and_then(|r| r.changes_at) {
            self.expiries.remove(&(at, key.clone()));
        }
        if before == after {
            self.remember(key, after, now);
            return;
        }
        // Roles say which bindings wait for an approval.
        let waits = |r: Option<&Arc<binding::Resolution>>| -> BTreeSet<_> {
            r.into_iter().flat_map(|r| r.awaited.keys().cloned()).collect()
        };
        let (waited, waits) = (waits(before.as_ref()), waits(after.as_ref()));
        touched.roles.extend(waited.union(&waits).cloned());
        self.waiting_for_role.renew(key, &waited, &waits);
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
        touched.products.extend(products_before.symmetric_difference(products_after).cloned());
        self.bindings_of_product.renew(key, products_before, products_after);
        self.remember(key, after, now);
    }

    fn remember(&mut self, key: &ObjectKey, resolution: Option<Arc<binding::Resolution>>, now: Timestamp) {
        if let Some(at) = resolution.as_ref().and_then(|r| r.changes_at).filter(|at| *at > now) {
            self.expiries.insert((at, key.clone()));
        }
        set(&mut self.resolutions, key.clone(), resolution);
    }
}
