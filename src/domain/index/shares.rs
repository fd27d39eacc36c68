//! Shares and partners: their guests stand among the clients and the bindings.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::update::set;
use super::{Index, ObjectKey, Touched, in_namespace};
use crate::api::{ExternalShare, Invitation, Partner, StreamClient};
use crate::domain::binding::Resolution;
use crate::domain::names::share_of_guest;
use crate::domain::share::copy::{self, Copy};
use crate::domain::share::progress::Invited;
use crate::domain::share::{self, Guest, Guests};

impl Index {
    /// A Partner.
    pub fn partner(&self, name: &str) -> Option<&Partner> {
        self.partners.get(name).map(AsRef::as_ref)
    }

    /// The guests of a share.
    pub fn guests(&self, share: &ObjectKey) -> Option<&Arc<Guests>> {
        self.guests.get(share)
    }

    /// A guest by its key.
    pub fn guest(&self, key: &ObjectKey) -> Option<&Guest> {
        self.guests.get(&share_of_guest(key)?.0)?.get(key)
    }

    /// Every guest, by its key.
    pub fn all_guests(&self) -> impl Iterator<Item = (&ObjectKey, &Guest)> {
        self.guests.values().flat_map(|guests| guests.iter())
    }

    /// What a share copies.
    pub fn copy(&self, share: &ObjectKey) -> Option<&Arc<Copy>> {
        self.copies.get(share)
    }

    /// Every share that copies, with what.
    pub fn copies(&self) -> impl Iterator<Item = (&ObjectKey, &Arc<Copy>)> {
        self.copies.iter()
    }

    /// An ExternalShare.
    pub fn share(&self, key: &ObjectKey) -> Option<&Arc<ExternalShare>> {
        self.shares.get(key)
    }

    /// The UID of the guest, or of the end of a copy, with this key.
    pub(super) fn uid_of_guest(&self, key: &ObjectKey) -> Option<&str> {
        if let Some(guest) = self.guest(key) {
            return Some(&guest.uid);
        }
        let share = share_of_guest(key)?.0;
        let copiers = self.copies.get(&share)?.copiers(&share);
        copiers.into_iter().find(|(of, _)| of == key).map(|(_, copier)| copier.uid.as_str())
    }

    /// The shares that copy to a cluster.
    pub(super) fn touch_shares_to(&self, cluster: &str, touched: &mut Touched) {
        let to_it = self.shares.iter().filter(|(_, s)| copy::destination(s).is_some_and(|to| to == cluster));
        touched.shares.extend(to_it.map(|(key, _)| key.clone()));
    }

    /// The shares that name a partner.
    pub fn shares_with<'a>(&'a self, partner: &'a str) -> impl Iterator<Item = &'a ObjectKey> {
        let names = move |s: &&Arc<ExternalShare>| s.spec.partner_refs.iter().any(|p| p.name == partner);
        self.shares.iter().filter(move |(_, s)| names(s)).map(|(key, _)| key)
    }

    /// How many shares give access to a product now.
    pub fn shares_of_product(&self, key: &ObjectKey) -> usize {
        let shares = self.bindings_of_product.to(key).filter_map(share_of_guest).map(|(share, _)| share);
        shares.collect::<BTreeSet<_>>().len()
    }

    /// A partner's last wish for another version of its credential.
    pub fn wish(&self, guest: &str) -> Option<&String> {
        self.wishes.get(guest)
    }

    /// What became of the invitations of a partner to a share.
    pub fn invited(&self, share: &ExternalShare, partner: &str, now: Timestamp) -> Invited {
        let partner = self.partner(partner).and_then(|p| p.metadata.uid.as_deref());
        let namespace = share.metadata.namespace.as_deref().unwrap_or_default();
        let of_both = in_namespace(&self.invitations, namespace).filter(|(_, invitation)| {
            let spec = &invitation.spec;
            Some(&spec.share_ref.uid) == share.metadata.uid.as_ref() && Some(&*spec.partner_ref.uid) == partner
        });
        match of_both.max_by_key(|(key, invitation)| (invitation.metadata.creation_timestamp.clone(), *key)) {
            None => Invited::NotYet,
            Some((_, newest)) if newest.spec.expires_at.0 <= now => Invited::Expired,
            Some(_) => Invited::Open,
        }
    }

    pub(super) fn set_invitation(&mut self, key: ObjectKey, object: Option<Arc<Invitation>>, touched: &mut Touched) {
        let shares = self.invitations.get(&key).into_iter().chain(&object).map(|i| i.spec.share_ref.name.clone());
        touched.shares.extend(shares.map(|name| ObjectKey::new(&key.namespace, name)));
        set(&mut self.invitations, key, object);
    }

    pub(super) fn set_partner(&mut self, name: String, object: Option<Arc<Partner>>, touched: &mut Touched) {
        touched.shares.extend(self.shares_with(&name).cloned());
        set(&mut self.partners, name.clone(), object);
        touched.partners.insert(name);
    }

    pub(super) fn set_share(&mut self, key: ObjectKey, object: Option<Arc<ExternalShare>>, touched: &mut Touched) {
        let partners = self.shares.get(&key).into_iter().chain(&object).flat_map(|s| &s.spec.partner_refs);
        touched.partners.extend(partners.map(|p| p.name.clone()));
        if object.is_none() {
            self.links.remove(&key);
        }
        set(&mut self.shares, key.clone(), object);
        touched.shares.insert(key);
    }

    /// Shares that name a product, or whose copies it is.
    pub(super) fn touch_shares_of(&self, product: &ObjectKey, touched: &mut Touched) {
        touched.shares.extend(share_of_guest(product).map(|(share, _)| share));
        let names = |s: &ExternalShare| s.spec.products.iter().any(|p| p.name == product.name);
        let naming = in_namespace(&self.shares, &product.namespace).filter(|(_, share)| names(share));
        touched.shares.extend(naming.map(|(key, _)| key.clone()));
    }

    /// Resolves one share anew: guests and the ends of its copy get and lose their identities and their access, and its copies
    /// come and go.
    pub(super) fn resolve_share(&mut self, key: &ObjectKey, now: Timestamp, touched: &mut Touched) {
        let after = self.shares.get(key).map(|s| share::resolve(self, s, now));
        let (guests, copy) = after.map_or((None, None), |s| (Some(Arc::new(s.guests)), s.copy.map(Arc::new)));
        let before = parts(key, self.guests.get(key), self.copies.get(key));
        let parts = parts(key, guests.as_ref(), copy.as_ref());
        for part in before.keys().chain(parts.keys()).cloned().collect::<BTreeSet<_>>() {
            let (was, is) = (before.get(&part), parts.get(&part));
            let client = is.and_then(|(client, _)| client.clone());
            if was.and_then(|(client, _)| client.as_ref()) != client.as_ref() {
                self.set_client(part.clone(), client, touched);
            }
            self.replace(&part, is.map(|(_, resolution)| resolution.clone()), now, touched);
        }
        let copy_before = self.copies.get(key).cloned();
        let [before, after]: [BTreeMap<_, _>; 2] = [&copy_before, &copy].map(|copy| {
            let products = copy.iter().flat_map(|copy| copy.products());
            products.map(|product| (self.key_of(product.as_ref()), product.clone())).collect()
        });
        for of in before.keys().chain(after.keys()).cloned().collect::<BTreeSet<_>>() {
            if before.get(&of) != after.get(&of) {
                self.set_product(of.clone(), after.get(&of).cloned(), touched);
            }
        }
        touched.engines.extend(copy_before.iter().chain(&copy).filter_map(|c| c.engine.clone()));
        set(&mut self.guests, key.clone(), guests);
        set(&mut self.copies, key.clone(), copy);
    }
}

/// By their keys, the identities and the access of a share's guests, and of the ends of its copy.
fn parts(share: &ObjectKey, guests: Option<&Arc<Guests>>, copy: Option<&Arc<Copy>>) -> BTreeMap<ObjectKey, Part> {
    let guests = guests.into_iter().flat_map(|guests| guests.iter());
    let guests = guests.map(|(key, guest)| (key.clone(), (guest.client.clone(), guest.resolution.clone())));
    let copiers = copy.into_iter().flat_map(|copy| copy.copiers(share));
    guests.chain(copiers.map(|(key, copier)| (key, (copier.client.clone(), copier.resolution.clone())))).collect()
}

/// An identity and its access.
type Part = (Option<Arc<StreamClient>>, Arc<Resolution>);
