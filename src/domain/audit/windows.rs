//! Equal refusals are one event for each closed window. A window of what was not heard of late is short, so that the first refusal is
//! seen at once; each that follows upon the one before is twice as long. Memory, and the number of events, have bounds; what is beyond
//! them is counted together, and nothing is lost from the counts.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::heard::{Refusal, Refused};
use crate::api::EventSource;

/// How long the first window is.
pub const SHORTEST: SignedDuration = SignedDuration::from_secs(5);
/// How long a window is at most.
const LONGEST: SignedDuration = SignedDuration::from_mins(10);
/// How many different things a principal's windows are open for; further ones are counted together.
pub const OF_ONE: usize = 20;
/// How many windows are open in all; further ones are counted together for each cluster.
pub const OF_ALL: usize = 2_000;
/// How many addresses a window tells apart.
const ADDRESSES: usize = 20;

/// What makes refusals equal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    /// The StreamCluster.
    pub cluster: String,
    /// Who was refused; for logins, as far as known.
    pub principal: Option<String>,
    /// For logins of somebody unknown: from where.
    pub address: Option<String>,
    /// What; `None` for all that is beyond the bounds.
    pub what: Option<Refused>,
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
    /// Who tells.
    pub source: EventSource,
}

#[derive(Clone, Debug)]
struct Open {
    count: u64,
    first: Timestamp,
    last: Timestamp,
    opened: Timestamp,
    ends: Timestamp,
    length: SignedDuration,
    addresses: BTreeSet<String>,
    source: EventSource,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Windows {
    open: BTreeMap<Kind, Open>,
    /// By cluster and principal, how many windows are open.
    of_one: BTreeMap<(String, Option<String>), usize>,
    /// Kinds whose window closed of late: how long it was, and until when that counts.
    before: BTreeMap<Kind, (SignedDuration, Timestamp)>,
}

impl Windows {
    /// Takes a refusal on `cluster`, heard `now`.
    pub fn take(&mut self, cluster: &str, refusal: &Refusal, now: Timestamp) {
        let at = refusal.time(now);
        let kind = self.place(cluster, refusal);
        let one = (kind.cluster.clone(), kind.principal.clone());
        let is_new = !self.open.contains_key(&kind);
        if is_new {
            *self.of_one.entry(one).or_default() += 1;
        }
        let before = self.before.get(&kind).filter(|(_, until)| *until > now);
        let length = before.map_or(SHORTEST, |(length, _)| (*length * 2).min(LONGEST));
        let window = self.open.entry(kind).or_insert_with(|| Open {
            count: 0,
            first: at,
            last: at,
            opened: now,
            ends: now + length,
            length,
            addresses: BTreeSet::new(),
            source: refusal.source,
        });
        window.count += 1;
        window.first = window.first.min(at);
        window.last = window.last.max(at);
        if let Some(address) = &refusal.address
            && window.addresses.len() < ADDRESSES
        {
            window.addresses.insert(address.clone());
        }
    }

    /// The kind that a refusal is counted as.
    fn place(&self, cluster: &str, refusal: &Refusal) -> Kind {
        let login = matches!(refusal.what, Refused::Login { .. });
        let exact = Kind {
            cluster: cluster.to_owned(),
            principal: refusal.principal.clone(),
            address: refusal.address.clone().filter(|_| login && refusal.principal.is_none()),
            what: Some(refusal.what.clone()),
        };
        if self.open.contains_key(&exact) {
            return exact;
        }
        let of_one = self.of_one.get(&(exact.cluster.clone(), exact.principal.clone())).copied().unwrap_or_default();
        // Logins of nobody known are told apart by where they come from.
        let most = if exact.principal.is_none() { OF_ALL } else { OF_ONE };
        if of_one < most && self.open.len() < OF_ALL {
            return exact;
        }
        let together = Kind { what: None, address: None, ..exact };
        if self.open.contains_key(&together) || self.open.len() < OF_ALL {
            return together;
        }
        Kind { principal: None, ..together }
    }

    /// Takes out the windows that are over.
    pub fn close(&mut self, now: Timestamp) -> Vec<Closed> {
        self.before.retain(|_, (_, until)| *until > now);
        let over: Vec<_> = self.open.iter().filter(|(_, w)| w.ends <= now).map(|(kind, _)| kind.clone()).collect();
        over.into_iter().filter_map(|kind| self.close_one(kind, now)).collect()
    }

    fn close_one(&mut self, kind: Kind, now: Timestamp) -> Option<Closed> {
        let window = self.open.remove(&kind)?;
        let one = (kind.cluster.clone(), kind.principal.clone());
        if let Some(count) = self.of_one.get_mut(&one) {
            *count -= 1;
            if *count == 0 {
                self.of_one.remove(&one);
            }
        }
        if self.before.len() < OF_ALL {
            self.before.insert(kind.clone(), (window.length, now + window.length));
        }
        let Open { count, first, last, opened, addresses, source, .. } = window;
        Some(Closed { kind, count, first, last, opened, addresses, source })
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::{OF_ALL, OF_ONE, SHORTEST, Windows};
    use crate::api::EventSource;
    use crate::domain::audit::heard::{Refusal, Refused};

    fn denied(principal: &str, topic: &str) -> Refusal {
        let what = Refused::Access {
            operation: "Read".into(),
            resource_type: "Topic".into(),
            resource_name: topic.into(),
            api: Some("Fetch".into()),
        };
        let address = Some("10.0.0.1".to_owned());
        Refusal { what, principal: Some(principal.into()), address, at: None, source: EventSource::BrokerLog }
    }

    fn after(seconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
    }

    #[test]
    fn equal_refusals_are_one_event_and_windows_of_what_goes_on_grow() {
        let mut windows = Windows::default();
        let mut lengths = Vec::new();
        let mut opened = after(0);
        let mut told = 0;
        for second in 0..3000 {
            windows.take("c", &denied("a", "t"), after(second));
            for closed in windows.close(after(second)) {
                lengths.push(after(second).duration_since(opened).as_secs());
                opened = after(second + 1);
                told += closed.count;
            }
        }
        assert_eq!(lengths, [5, 10, 20, 40, 80, 160, 320, 600, 600, 600]);
        assert_eq!(told + windows.close(after(10_000)).iter().map(|c| c.count).sum::<u64>(), 3000);
        // Silence for as long as the last window was begins anew.
        windows.take("c", &denied("a", "t"), after(20_000));
        assert_eq!(windows.close(after(20_000) + SHORTEST).len(), 1);
    }

    #[test]
    fn a_flood_of_different_things_is_counted_together() {
        let mut windows = Windows::default();
        for n in 0..10_000 {
            windows.take("c", &denied("a", &format!("t{n}")), after(0));
        }
        assert_eq!(windows.open.len(), OF_ONE + 1);
        for n in 0..10_000 {
            windows.take("c", &denied(&format!("p{n}"), "t"), after(0));
        }
        assert!(windows.open.len() <= OF_ALL + 1, "{}", windows.open.len());
        let closed = windows.close(after(60));
        assert_eq!(closed.iter().map(|c| c.count).sum::<u64>(), 20_000, "nothing is lost from the counts");
        assert!(windows.open.is_empty() && windows.of_one.is_empty());
    }

    #[test]
    fn what_a_broker_s_clock_says_is_believed_within_bounds() {
        let mut windows = Windows::default();
        let now = after(100_000);
        for at in [now - SignedDuration::from_mins(1), after(0), now + SignedDuration::from_hours(9)] {
            windows.take("c", &Refusal { at: Some(at), ..denied("a", "t") }, now);
        }
        let closed = windows.close(now + SHORTEST);
        assert_eq!((closed[0].first, closed[0].last), (now - SignedDuration::from_mins(1), now));
    }
}
