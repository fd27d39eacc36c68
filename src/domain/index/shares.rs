//! Shares and partners: their guests stand among the clients and the bindings.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::update::set;
use super::{Index, ObjectKey, Touched, in_namespace};
use crate::api::{ExternalShare, Invitation, Partner};
use crate::domain::names::share_of_guest;
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
        set(&mut self.shares, key.clone(), object);
        touched.shares.insert(key);
    }

    /// Shares that name a product.
    pub(super) fn touch_shares_of(&self, product: &ObjectKey, touched: &mut Touched) {
        let names = |s: &ExternalShare| s.spec.products.iter().any(|p| p.name == product.name);
        let naming = in_namespace(&self.shares, &product.namespace).filter(|(_, share)| names(share));
        touched.shares.extend(naming.map(|(key, _)| key.clone()));
    }

    /// Resolves one share anew: guests get and lose their identities and their access.
    pub(super) fn resolve_share(&mut self, key: &ObjectKey, now: Timestamp, touched: &mut Touched) {
        let after = self.shares.get(key).map(|s| Arc::new(share::resolve(self, s, now)));
        let before = self.guests.remove(key).unwrap_or_default();
        let none = Arc::new(Guests::new());
        let all = after.as_ref().unwrap_or(&none);
        let guests: BTreeSet<_> = before.keys().chain(all.keys()).cloned().collect();
        for guest in guests {
            let (was, is) = (before.get(&guest), all.get(&guest));
            let client = is.and_then(|g| g.client.clone());
            if was.and_then(|g| g.client.as_ref()) != client.as_ref() {
                self.set_client(guest.clone(), client, touched);
            }
            self.replace(&guest, is.map(|g| g.resolution.clone()), now, touched);
        }
        set(&mut self.guests, key.clone(), after);
    }
}
