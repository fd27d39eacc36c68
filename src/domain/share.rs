//! What an ExternalShare comes to: for each partner a guest, which has an identity once everybody agreed, and access as far as
//! everybody agreed and nothing stands in the way.
//!
//! A guest is known to the index as a client and as a binding are: rotation, the ledger, verification and drift need not know
//! the difference.

mod consent;
pub mod copy;
#[cfg(test)]
mod copy_tests;
mod offer;
pub mod progress;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::core::ObjectMeta;

use self::consent::{Consent, consent};
use self::copy::Copy;
use self::offer::{Offer, offer};
use super::acl::AclEntry;
use super::approval;
use super::binding::{ANYWHERE, ClusterAccess, Grant, Resolution, bounded, entries, quota_map};
use super::index::Index;
use super::names::{ObjectKey, PrincipalKey, TARGET, guest_key, guest_prefix, guest_uid, share_of_guest};
use super::problem::Problem;
use super::rotation::ROTATE;
use crate::api::{
    Acceptance, Access, ClusterRef, CredentialType, Credentials, ExternalShare, Partner, PartnerStanding, Reason,
    RequestKind, Rotation, ShareCredentials, Side, StreamClient, StreamClientSpec,
};

/// What one partner has by a share.
#[derive(Clone, Debug, PartialEq)]
pub struct Guest {
    /// The Partner's name.
    pub partner: String,
    /// The Partner's UID.
    pub partner_uid: Option<String>,
    /// The Partner's organisation.
    pub organisation: Option<String>,
    /// The guest's UID, of this share and this partner.
    pub uid: String,
    /// Its identity, from when everybody agreed until it is over.
    pub client: Option<Arc<StreamClient>>,
    /// Its access, and what stands in the way of more.
    pub resolution: Arc<Resolution>,
    /// Who has to agree to what waits.
    pub awaits: BTreeSet<Side>,
    /// What is offered to it, whoever agreed: products and their streams.
    pub offered: BTreeSet<(String, String)>,
    /// What of that waits for somebody to agree.
    pub awaited: BTreeSet<(String, String)>,
    /// Topics of the products that everybody agreed to.
    pub approved: BTreeSet<String>,
    /// None of them is given for the time being.
    pub is_withheld: bool,
    /// How the partner is known since it accepted, unless it took that back.
    pub acceptance: Option<Acceptance>,
    /// Its group prefix.
    pub group_prefix: String,
    /// When its access ends by itself.
    pub ends_at: Option<Timestamp>,
    /// Until when it would last, with those who have yet to agree to that.
    pub renewal: Option<(Timestamp, BTreeSet<Side>)>,
}

impl Guest {
    /// Whether it has, or may have, an identity on a cluster.
    pub fn is_on(&self, cluster: &str) -> bool {
        self.client.as_ref().is_some_and(|client| client.spec.cluster_ref.name == cluster)
    }
}

/// The guests of a share, by the keys under which the index has them.
pub type Guests = BTreeMap<ObjectKey, Guest>;

/// What a share comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Sharing {
    /// For each partner.
    pub guests: Guests,
    /// What it copies, with pattern Copy.
    pub copy: Option<Copy>,
}

impl Guest {
    /// One that has nothing, and that nothing is known of.
    fn without_anything(partner: &str, uid: String) -> Self {
        Self {
            partner: partner.to_owned(),
            partner_uid: None,
            organisation: None,
            group_prefix: guest_prefix(&uid),
            uid,
            client: None,
            resolution: Arc::default(),
            awaits: BTreeSet::new(),
            offered: BTreeSet::new(),
            awaited: BTreeSet::new(),
            approved: BTreeSet::new(),
            is_withheld: true,
            acceptance: None,
            ends_at: None,
            renewal: None,
        }
    }
}

/// Resolves `share` as of `index` and `now`.
pub fn resolve(index: &Index, share: &ExternalShare, now: Timestamp) -> Sharing {
    let key = index.key_of(share);
    let offer = offer(index, share);
    let guest = |partner: &str| (guest_key(&key, partner), resolve_guest(index, share, &offer, partner, now));
    let guests = share.spec.partner_refs.iter().map(|p| guest(&p.name)).collect();
    let is_over = over(index, share, share.spec.validity.not_after.0, now).is_some();
    let copy = copy::copy(index, share, &offer, &guests, is_over);
    Sharing { guests, copy }
}

fn resolve_guest(index: &Index, share: &ExternalShare, offer: &Offer<'_>, name: &str, now: Timestamp) -> Guest {
    let partner = index.partner(name);
    let uid = guest_uid(&share.uid().unwrap_or_default(), &partner.and_then(ResourceExt::uid).unwrap_or_default());
    let mut guest = Guest {
        partner_uid: partner.and_then(ResourceExt::uid),
        organisation: partner.map(|p| p.spec.organisation.clone()),
        ..Guest::without_anything(name, uid)
    };
    let mut resolution = Resolution::default();
    let validity = [share.spec.validity.not_before.as_ref(), Some(&share.spec.validity.not_after)];
    let validity = validity.into_iter().flatten().map(|at| at.0);
    resolution.changes_at = validity.clone().filter(|at| *at > now).min();
    let Some(partner) = partner else {
        let message = format!("Partner {name} does not exist");
        resolution.problems.push(Problem::waiting(Reason::PartnerNotFound, message));
        return Guest { resolution: Arc::new(resolution), ..guest };
    };
    let end = end(share, partner);
    let between = Between { index, share, partner, end, now };
    resolution.changes_at = validity.chain([end]).filter(|at| *at > now).min();
    resolution.clusters.extend((!offer.cluster.is_empty()).then(|| offer.cluster.clone()));
    if let Some(problem) = over(index, share, end, now) {
        resolution.problems.push(problem);
        return Guest { resolution: Arc::new(resolution), ..guest };
    }
    resolution.problems.extend(offer.problems.iter().cloned());
    match consent(index, share, partner, now) {
        Ok(consent) => between.agreed(offer, &consent, &mut guest, &mut resolution),
        Err(problem) => resolution.problems.push(problem),
    }
    resolution.problems.sort();
    resolution.problems.dedup();
    Guest { resolution: Arc::new(resolution), ..guest }
}

/// The topics that a guest, or who reads at the source of a copy, has read, as far as they are still there; none of who writes.
pub fn read_by(index: &Index, guest: &ObjectKey) -> BTreeSet<String> {
    let of = share_of_guest(guest).filter(|(_, who)| *who != TARGET);
    let share = of.and_then(|(key, who)| Some((index.share(&key)?, who)));
    share.map(|(share, who)| offer::read_by(index, share, who)).unwrap_or_default()
}

/// The hosts that a guest could read from, where these are not all.
pub fn bound_to(index: &Index, guest: &ObjectKey) -> Option<Vec<String>> {
    let partner = index.partner(share_of_guest(guest)?.1)?;
    Some(hosts(partner)).filter(|hosts| *hosts != ANYWHERE.map(str::to_owned))
}

/// When the share ends for a partner by what is written: with its validity, or with the last agreement.
fn end(share: &ExternalShare, partner: &Partner) -> Timestamp {
    let contract = partner.spec.agreements.iter().map(|a| a.not_after.0).max();
    contract.into_iter().chain([share.spec.validity.not_after.0]).min().unwrap_or(Timestamp::MIN)
}

/// Why the share gives nothing any more.
fn over(index: &Index, share: &ExternalShare, end: Timestamp, now: Timestamp) -> Option<Problem> {
    let key = index.key_of(share);
    if share.metadata.deletion_timestamp.is_some() {
        return Some(Problem::waiting(Reason::Deleting, format!("ExternalShare {key} is being deleted")));
    }
    if let Some(revoke) = &share.spec.revoke {
        return Some(Problem::invalid(Reason::Revoked, format!("ExternalShare {key} was revoked: {}", revoke.reason)));
    }
    (end <= now).then(|| Problem::invalid(Reason::Expired, format!("ExternalShare {key} expired at {end}")))
}

/// A share with one of its partners, at a moment.
struct Between<'a> {
    index: &'a Index,
    share: &'a ExternalShare,
    partner: &'a Partner,
    /// When it ends by what is written.
    end: Timestamp,
    now: Timestamp,
}

impl Between<'_> {
    /// What a guest has once it is known who agreed to what.
    fn agreed(&self, offer: &Offer<'_>, consent: &Consent<'_>, guest: &mut Guest, resolution: &mut Resolution) {
        let Self { index, share, partner, end, now } = *self;
        resolution.changes_at = resolution.changes_at.into_iter().chain(consent.next_end(now)).min();
        guest.acceptance = consent.acceptance().cloned();
        let mut topics = BTreeMap::new();
        for shared in &offer.streams {
            let (name, stream) = (shared.product.name_any(), shared.stream.name.clone());
            guest.offered.insert((name.clone(), stream.clone()));
            let missing = consent.missing(&name, &stream);
            if missing.is_empty() {
                guest.approved.insert(shared.stream.topic.clone());
                resolution.products.insert(index.key_of(shared.product));
                if shared.is_there(index, share) {
                    topics.insert(shared.read().to_owned(), BTreeSet::from([Access::Read]));
                } else {
                    let message =
                        format!("topic {} is not there yet on StreamCluster {}", shared.read(), offer.cluster);
                    resolution.problems.push(Problem::waiting(Reason::Applying, message));
                }
            } else {
                guest.awaits.extend(missing);
                guest.awaited.insert((name, stream));
            }
        }
        resolution.lapsed =
            !guest.awaited.is_empty() && approval::lapsed(index, share, RequestKind::ExternalShare, now);
        resolution.problems.extend(consent::awaiting(&index.key_of(share), guest));
        // Who was known on another cluster would be issued the same principals there anew once it came back.
        let before = index.recorded_on(&guest.uid).filter(|on| *on != offer.cluster && !offer.cluster.is_empty());
        if let Some(before) = before {
            let message = format!(
                "it was shared on StreamCluster {before} before, and its products are on {} now: make another share",
                offer.cluster
            );
            resolution.problems.push(Problem::invalid(Reason::SeveralClusters, message));
            return;
        }
        if guest.acceptance.is_some() && consent.is_agreed() && !offer.cluster.is_empty() {
            guest.ends_at = Some(consent.end().map_or(end, |at| at.min(end)));
            guest.renewal = Some((end, consent.ends_before(end))).filter(|(_, sides)| !sides.is_empty());
            guest.client = Some(Arc::new(client(share, guest, &offer.cluster, index.wish(&guest.uid))));
        }
        let access = ClusterAccess { topics, groups: true, ..ClusterAccess::default() };
        let withheld = withheld(share, partner, now);
        guest.is_withheld = withheld.is_some();
        let granted = match withheld {
            Some(problem) => Err(problem),
            None if offer.is_withheld => Ok(()),
            None => self.grant(guest, &offer.cluster, access, resolution),
        };
        resolution.problems.extend(granted.err());
    }

    fn grant(
        &self,
        guest: &Guest,
        cluster: &str,
        mut access: ClusterAccess,
        resolution: &mut Resolution,
    ) -> Result<(), Problem> {
        let Self { index, share, partner, .. } = *self;
        let Some(client) = guest.client.as_ref().filter(|_| !access.topics.is_empty()) else { return Ok(()) };
        let tenant = index.tenant_of(cluster, &guest_key(&index.key_of(share), &guest.partner))?;
        access.quotas = bounded(&quota_map(share.spec.quotas.as_ref()), &quota_map(tenant.limits.quotas.as_ref()));
        let prefixes = BTreeSet::from([guest.group_prefix.clone()]);
        let hosts = hosts(partner);
        let hosts: Vec<_> = hosts.iter().map(String::as_str).collect();
        let of = |principal: &str| entries(principal, &access, &prefixes, None, &hosts);
        resolution.grants = own_grants(index, client, &access.quotas, of);
        resolution.prefixes = prefixes;
        resolution.topics.extend(access.topics.into_keys());
        Ok(())
    }
}

/// Why a guest that has an identity has no access for the time being.
fn withheld(share: &ExternalShare, partner: &Partner, now: Timestamp) -> Option<Problem> {
    if partner.spec.standing == PartnerStanding::Quarantined {
        let message = format!("Partner {} is quarantined by the platform team", partner.name_any());
        return Some(Problem::waiting(Reason::Quarantined, message));
    }
    if share.spec.suspended {
        return Some(Problem::waiting(Reason::Suspended, "spec.suspended is set"));
    }
    let begins = share.spec.validity.not_before.as_ref().filter(|at| at.0 > now)?;
    Some(Problem::waiting(Reason::NotYetValid, format!("it begins at {}", begins.0)))
}

/// The identity, as if somebody had made a StreamClient.
fn client(share: &ExternalShare, guest: &Guest, cluster: &str, wish: Option<&String>) -> StreamClient {
    let key = guest_key(&ObjectKey::new(share.namespace().unwrap_or_default(), share.name_any()), &guest.partner);
    let ShareCredentials { type_, rotation } = share.spec.credentials.clone();
    let mut client = identity(&key, guest.uid.clone(), cluster, type_, rotation);
    client.metadata.annotations = wish.map(|at| BTreeMap::from([(ROTATE.to_owned(), at.clone())]));
    client
}

/// A client on `cluster` that nobody made.
fn identity(
    key: &ObjectKey,
    uid: String,
    cluster: &str,
    type_: CredentialType,
    rotation: Option<Rotation>,
) -> StreamClient {
    StreamClient {
        metadata: ObjectMeta {
            namespace: Some(key.namespace.clone()),
            name: Some(key.name.clone()),
            uid: Some(uid),
            ..ObjectMeta::default()
        },
        spec: StreamClientSpec {
            cluster_ref: ClusterRef { name: cluster.to_owned() },
            credentials: Credentials { type_, rotation, secret_name: None },
        },
        status: None,
    }
}

/// What a client that nobody made has: a grant for each principal of it, in its own name.
pub(super) fn own_grants(
    index: &Index,
    client: &StreamClient,
    quotas: &BTreeMap<String, f64>,
    entries: impl Fn(&str) -> BTreeSet<AclEntry>,
) -> Vec<Arc<Grant>> {
    let cluster = &client.spec.cluster_ref.name;
    let grant = |principal: String| Grant {
        entries: entries(&principal),
        key: PrincipalKey { cluster: cluster.clone(), principal },
        binding: index.key_of(client),
        binding_uid: client.uid().unwrap_or_default(),
        quotas: quotas.clone(),
        subject_uid: None,
    };
    index.client_principals(client).into_iter().map(grant).map(Arc::new).collect()
}

/// The hosts that brokers let a partner in from. Kafka's entries know addresses and no ranges; it compares them with what Java's
/// `InetAddress.getHostAddress` says, which leaves nothing of an IPv6 address out.
pub fn hosts(partner: &Partner) -> Vec<String> {
    let single = |network: &String| {
        let (address, bits) = network.split_once('/')?;
        match (address.parse().ok()?, bits) {
            (IpAddr::V4(v4), "32") => Some(v4.to_string()),
            (IpAddr::V6(v6), "128") => Some(v6.segments().map(|s| format!("{s:x}")).join(":")),
            _ => None,
        }
    };
    let addresses: Option<Vec<_>> = partner.spec.networks.iter().map(single).collect();
    addresses.filter(|a| !a.is_empty()).unwrap_or_else(|| ANYWHERE.map(str::to_owned).to_vec())
}
