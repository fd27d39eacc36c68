//! Equal refusals are one event for each closed window. A window of what was not heard of late is short, so that the first refusal is
//! seen at once; each that follows upon the one before is twice as long. Memory, and the number of events, have bounds; what is beyond
//! them is counted together, and nothing is lost from the counts.
//!
//! Whoever fails to log in is nobody known, and chooses name and address: logins have bounds of their own, so that requests of
//! principals that did log in always find places.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::heard::{Refusal, Refused};
use crate::api::EventSource;

/// How long the first window is.
pub const SHORTEST: SignedDuration = SignedDuration::from_secs(5);
/// How long a window is at most.
const LONGEST: SignedDuration = SignedDuration::from_mins(10);
/// How many different things a principal's windows are open for; further ones are counted together. As many names are told apart that
/// are tried from one address.
pub const OF_ONE: usize = 20;
/// How many windows of requests are open in all; further ones are counted together for each cluster.
pub const OF_ALL: usize = 2_000;
/// How many windows of logins without a name are open for one address; further ones are counted together for each cluster.
pub const OF_ADDRESS: usize = 5;
/// The same for all logins on one cluster.
pub const OF_CLUSTER: usize = 500;
/// The same for all logins.
pub const OF_LOGINS: usize = 1_000;
/// How many addresses a window tells apart.
const ADDRESSES: usize = 20;

/// What makes refusals equal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    /// The StreamCluster, or Weir's own endpoint.
    pub cluster: String,
    /// Who was refused; for logins, the name that was tried, as far as known.
    pub principal: Option<String>,
    /// For logins of somebody unknown: from where.
    pub address: Option<String>,
    /// What.
    pub what: What,
}

/// What a window is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// Just this.
    This(Refused),
    /// Requests that are beyond the bounds.
    Requests,
    /// Logins that are beyond the bounds.
    Logins,
}

/// A closed window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// What was refused.
    pub kind: Kind,
    /// How often.
    pub count: u64,
    /// When the first happened.
    pub first: Timestamp,
    /// When the last happened.
    pub last: Timestamp,
    /// When the window was opened: of two windows of one kind, it differs.
    pub opened: Timestamp,
    /// From where, the first twenty.
    pub addresses: BTreeSet<String>,
    /// Why the first login failed, in the broker's words.
    pub why: Option<String>,
    /// Who tells.
    pub source: EventSource,
}

#[derive(Clone, Debug)]
struct Open {
    closed: Closed,
    ends: Timestamp,
    length: SignedDuration,
    /// The bounds that it takes a place of.
    places: Vec<Bound>,
}

/// What has so many windows open and no more.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Bound {
    /// All requests.
    Requests,
    /// All logins.
    Logins,
    /// The requests of a principal, or the logins by a name, on a cluster.
    Principal(bool, String, String),
    /// The logins on a cluster.
    Cluster(String),
    /// The logins from an address on a cluster, with a name or without one.
    Address(bool, String, String),
}

impl Bound {
    /// How many.
    fn most(&self) -> usize {
        match self {
            Self::Requests => OF_ALL,
            Self::Logins => OF_LOGINS,
            Self::Principal(..) | Self::Address(true, ..) => OF_ONE,
            Self::Cluster(_) => OF_CLUSTER,
            Self::Address(false, ..) => OF_ADDRESS,
        }
    }

    /// Those that a refusal is held to, when it is told apart from all others.
    fn of(cluster: &str, refusal: &Refusal) -> Vec<Self> {
        let (is_login, cluster) = (refusal.what.is_login(), cluster.to_owned());
        let of_principal = |name| Self::Principal(is_login, cluster.clone(), name);
        if !is_login {
            // Those of whom nobody tells are as one.
            return vec![Self::Requests, of_principal(refusal.principal.clone().unwrap_or_default())];
        }
        let address = refusal.address.clone().unwrap_or_default();
        let of_address = Self::Address(refusal.principal.is_some(), cluster.clone(), address);
        let mut all = vec![Self::Logins, Self::Cluster(cluster.clone()), of_address];
        all.extend(refusal.principal.clone().map(of_principal));
        all
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Windows {
    open: BTreeMap<Kind, Open>,
    /// How many windows are open for each bound.
    taken: BTreeMap<Bound, usize>,
    /// Requests, and logins, whose window closed of late: how long it was, and until when that counts.
    before: [BTreeMap<Kind, (SignedDuration, Timestamp)>; 2],
}

impl Windows {
    /// Takes a refusal on `cluster`, heard `now`.
    pub fn take(&mut self, cluster: &str, refusal: &Refusal, now: Timestamp) {
        let at = refusal.time(now);
        let (kind, places) = self.place(cluster, refusal);
        if !self.open.contains_key(&kind) {
            self.open(kind.clone(), places, refusal, now);
        }
        let Some(Open { closed: window, .. }) = self.open.get_mut(&kind) else { return };
        window.count += 1;
        window.first = window.first.min(at);
        window.last = window.last.max(at);
        if let Some(address) = &refusal.address
            && window.addresses.len() < ADDRESSES
        {
            window.addresses.insert(address.clone());
        }
    }

    fn open(&mut self, kind: Kind, places: Vec<Bound>, refusal: &Refusal, now: Timestamp) {
        for bound in &places {
            *self.taken.entry(bound.clone()).or_default() += 1;
        }
        let before = self.before[shelf(&kind)].get(&kind).filter(|(_, until)| *until > now);
        let length = before.map_or(SHORTEST, |(length, _)| (*length * 2).min(LONGEST));
        let at = refusal.time(now);
        let closed = Closed {
            kind: kind.clone(),
            count: 0,
            first: at,
            last: at,
            opened: now,
            addresses: BTreeSet::new(),
            why: refusal.why.clone(),
            source: refusal.source,
        };
        self.open.insert(kind, Open { closed, ends: now + length, length, places });
    }

    /// The kind that a refusal is counted as, and the bounds that its window takes a place of.
    fn place(&self, cluster: &str, refusal: &Refusal) -> (Kind, Vec<Bound>) {
        let is_login = refusal.what.is_login();
        let exact = Kind {
            cluster: cluster.to_owned(),
            principal: refusal.principal.clone(),
            // Logins of nobody known are told apart by where they come from.
            address: refusal.address.clone().filter(|_| is_login && refusal.principal.is_none()),
            what: What::This(refusal.what.clone()),
        };
        let bounds = Bound::of(cluster, refusal);
        if self.open.contains_key(&exact) || bounds.iter().all(|bound| self.has_room(bound)) {
            return (exact, bounds);
        }
        // One for each cluster is always open to what is beyond.
        let (cluster, address) = (exact.cluster, None);
        if is_login {
            return (Kind { cluster, principal: None, address, what: What::Logins }, Vec::new());
        }
        let together = Kind { cluster, principal: exact.principal, address, what: What::Requests };
        if self.open.contains_key(&together) || self.has_room(&Bound::Requests) {
            return (together, vec![Bound::Requests]);
        }
        (Kind { principal: None, ..together }, Vec::new())
    }

    fn has_room(&self, bound: &Bound) -> bool {
        self.taken.get(bound).is_none_or(|taken| *taken < bound.most())
    }

    /// Takes out the windows that are over.
    pub fn close(&mut self, now: Timestamp) -> Vec<Closed> {
        self.before.iter_mut().for_each(|before| before.retain(|_, (_, until)| *until > now));
        let over: Vec<_> = self.open.iter().filter(|(_, w)| w.ends <= now).map(|(kind, _)| kind.clone()).collect();
        over.into_iter().filter_map(|kind| self.close_one(kind, now)).collect()
    }

    /// Takes out all of them, over or not.
    pub fn close_all(&mut self) -> Vec<Closed> {
        self.taken.clear();
        std::mem::take(&mut self.open).into_values().map(|window| window.closed).collect()
    }

    fn close_one(&mut self, kind: Kind, now: Timestamp) -> Option<Closed> {
        let Open { closed, length, places, .. } = self.open.remove(&kind)?;
        for bound in places {
            if let Some(taken) = self.taken.get_mut(&bound) {
                *taken -= 1;
                if *taken == 0 {
                    self.taken.remove(&bound);
                }
            }
        }
        let before = &mut self.before[shelf(&kind)];
        if before.len() < OF_ALL {
            before.insert(kind, (length, now + length));
        }
        Some(closed)
    }
}

/// Of requests, or of logins.
fn shelf(kind: &Kind) -> usize {
    match &kind.what {
        What::This(what) => usize::from(what.is_login()),
        What::Requests => 0,
        What::Logins => 1,
    }
}

#[cfg(test)]
mod tests;
