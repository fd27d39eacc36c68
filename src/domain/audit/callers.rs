//! Callers whom Weir's own endpoints turn away, the intake and the partner API: they are nobody known. Equal ones are one event for each
//! closed window, as refusals of brokers are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::heard::{Refusal, Refused, fit};
use super::windows::{Closed, Kind, What, Windows};
use crate::api::EventSource;
use crate::domain::network::of_one;

/// The intake, by the name of its Service.
pub const INTAKE: &str = "weir-intake";
/// The partner API, by the name of its Service.
pub const PARTNERS: &str = "weir-partners";

/// Who was turned away from one endpoint, counted.
#[derive(Debug)]
pub struct Callers {
    endpoint: &'static str,
    windows: Mutex<Windows>,
}

impl Callers {
    /// Of an endpoint.
    pub fn new(endpoint: &'static str) -> Self {
        Self { endpoint, windows: Mutex::default() }
    }

    /// Counts one from `address`, turned away `now` for a reason that is none of its own words. Who has one network of IPv6 has as many
    /// addresses as they like: they count as one.
    pub fn turn_away(&self, address: IpAddr, why: String, now: Timestamp) {
        let refusal = Refusal {
            what: Refused::Login { mechanism: None },
            principal: None,
            address: Some(of_one(address).to_string()),
            why: Some(why),
            at: None,
            source: EventSource::Endpoint,
        };
        self.windows.lock().unwrap_or_else(PoisonError::into_inner).take(self.endpoint, &refusal, now);
    }

    /// Takes out the windows that are over.
    pub fn close(&self, now: Timestamp) -> Vec<Closed> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner).close(now)
    }

    /// Takes out all of them, over or not.
    pub fn close_all(&self) -> Vec<Closed> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner).close_all()
    }
}

/// A closed window of the partner API, on its way from that process to the one that tells of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Absent where too many different ones are counted together.
    address: Option<IpAddr>,
    addresses: BTreeSet<IpAddr>,
    count: u64,
    first: Timestamp,
    last: Timestamp,
    opened: Timestamp,
    why: Option<String>,
}

/// How many reports wait at most.
const WAITING: usize = 200;
/// How many addresses a report of several names.
const ADDRESSES: usize = 20;
/// How long before it is read something may have happened, to be believed.
const PAST: SignedDuration = SignedDuration::from_hours(1);

impl Report {
    /// Of a window that is over.
    pub fn of(closed: Closed) -> Self {
        let parse = |address: &String| address.parse().ok();
        Self {
            address: closed.kind.address.as_ref().and_then(parse),
            addresses: closed.addresses.iter().filter_map(parse).collect(),
            count: closed.count,
            first: closed.first,
            last: closed.last,
            opened: closed.opened,
            why: closed.why,
        }
    }

    /// The window, as of the partner API, read `now`: whoever could write a report of their own tells of nothing else.
    fn closed(self, now: Timestamp) -> Closed {
        let believed = |at: Timestamp| at.clamp(now.checked_sub(PAST).unwrap_or(now), now);
        let together = self.address.is_none();
        let what = if together { What::Logins } else { What::This(Refused::Login { mechanism: None }) };
        let kind = Kind {
            cluster: PARTNERS.into(),
            principal: None,
            address: self.address.map(|address| address.to_string()),
            what,
        };
        Closed {
            kind,
            count: self.count.max(1),
            first: believed(self.first.min(self.last)),
            last: believed(self.last),
            opened: self.opened,
            addresses: self.addresses.iter().take(ADDRESSES).map(ToString::to_string).collect(),
            why: self.why.map(|why| fit(&why)),
            source: EventSource::Endpoint,
        }
    }

    /// Both in one, which tells no addresses apart.
    fn with(self, other: &Self) -> Self {
        Self {
            address: None,
            addresses: self.addresses.union(&other.addresses).take(ADDRESSES).copied().collect(),
            count: self.count.saturating_add(other.count),
            first: self.first.min(other.first),
            last: self.last.max(other.last),
            opened: self.opened.min(other.opened),
            ..self
        }
    }
}

/// The reports, of which those beyond what can wait are one: nothing is lost from the counts.
pub fn bounded(mut reports: Vec<Report>) -> Vec<Report> {
    let beyond = reports.split_off(reports.len().min(WAITING));
    reports.extend(beyond.into_iter().reduce(|all, one| all.with(&one)));
    reports
}

/// Puts reports among those that wait, as many as there is room for; the others come back. One that is there already stays.
pub fn add(waiting: &mut BTreeMap<String, String>, reports: Vec<Report>) -> Vec<Report> {
    let mut left = Vec::new();
    for report in reports {
        // These types have string keys only: this cannot fail.
        let text = serde_json::to_string(&report).unwrap_or_default();
        let name = hex::encode(&Sha256::digest(&text)[..16]);
        if waiting.len() < WAITING || waiting.contains_key(&name) {
            waiting.insert(name, text);
        } else {
            left.push(report);
        }
    }
    left
}

/// The windows of the reports that wait, read `now`, and how many cannot be read.
pub fn read(waiting: &BTreeMap<String, String>, now: Timestamp) -> (Vec<Closed>, usize) {
    let reports: Vec<_> = waiting.values().filter_map(|text| serde_json::from_str::<Report>(text).ok()).collect();
    let unread = waiting.len() - reports.len();
    (bounded(reports).into_iter().map(|report| report.closed(now)).collect(), unread)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::{SignedDuration, Timestamp};

    use super::{Callers, INTAKE, PARTNERS, PAST, Report, WAITING, add, bounded, read};
    use crate::api::{Action, EventSource};
    use crate::domain::audit::denied::happening;
    use crate::domain::testing::World;

    fn turned_away(endpoint: &'static str, times: u32) -> Callers {
        let callers = Callers::new(endpoint);
        for n in 0..times {
            let now = Timestamp::UNIX_EPOCH + SignedDuration::from_millis(n.into());
            callers.turn_away("::ffff:192.0.2.7".parse().unwrap(), "it has no token".into(), now);
        }
        callers
    }

    #[test]
    fn whoever_is_turned_away_again_and_again_is_one_event_about_the_endpoint() {
        let closed = turned_away(INTAKE, 3).close(Timestamp::UNIX_EPOCH + SignedDuration::from_mins(1));
        let (told, _) = happening(&World::payments().index, &closed[0]);
        assert_eq!((told.action, told.count, told.source), (Action::AuthenticationFailed, 3, EventSource::Endpoint));
        assert_eq!((told.object.kind.as_str(), told.object.name.as_str(), told.cluster), ("Service", INTAKE, None));
        assert_eq!(told.message, "weir-intake turned somebody away from 192.0.2.7: it has no token");
        assert_eq!(told.client.unwrap().address.as_deref(), Some("192.0.2.7"));
        assert!(told.principals.is_empty() && told.concerns.is_empty());
    }

    #[test]
    fn a_report_of_another_process_says_the_same_and_nothing_of_anybody_else() {
        let (closed, now) =
            (turned_away(PARTNERS, 2).close_all(), Timestamp::UNIX_EPOCH + SignedDuration::from_secs(9));
        let mut waiting = BTreeMap::new();
        for _ in 0..2 {
            assert!(add(&mut waiting, closed.iter().cloned().map(Report::of).collect()).is_empty());
        }
        assert_eq!(read(&waiting, now), (closed.clone(), 0), "told twice it is one");
        waiting.insert("x".into(), "no report".into());
        assert_eq!(read(&waiting, now), (closed.clone(), 1));
        let of_intake = turned_away(INTAKE, 1).close_all().remove(0);
        let forged = Report {
            first: Timestamp::MIN,
            last: Timestamp::MAX,
            why: Some("\u{1b}[2J".into()),
            ..Report::of(of_intake)
        };
        let mut waiting = BTreeMap::new();
        add(&mut waiting, vec![forged]);
        let told = read(&waiting, now).0.remove(0);
        assert_eq!((told.kind.cluster.as_str(), told.last, told.first), (PARTNERS, now, now - PAST));
        assert_eq!(told.why.as_deref(), Some("\u{fffd}[2J"));
    }

    #[test]
    fn however_many_there_are_each_is_counted() {
        let one = Report::of(turned_away(PARTNERS, 1).close_all().remove(0));
        let many = || (1..=1000).map(|count| Report { count, ..one.clone() }).collect::<Vec<_>>();
        let bounded = bounded(many());
        assert_eq!(bounded.len(), WAITING + 1);
        assert_eq!(bounded.iter().map(|report| report.count).sum::<u64>(), 500_500);
        assert_eq!(bounded[WAITING].address, None);
        let mut waiting = BTreeMap::new();
        assert_eq!(add(&mut waiting, many()).len(), 1000 - WAITING, "the others come back");
        assert_eq!(add(&mut waiting, many()).len(), 1000 - WAITING, "those that are there stay");
    }

    #[test]
    fn all_addresses_of_one_network_of_ipv6_are_one_caller() {
        let callers = Callers::new(PARTNERS);
        for n in 0..100 {
            callers.turn_away(format!("2001:db8::{n:x}").parse().unwrap(), "why".into(), Timestamp::UNIX_EPOCH);
        }
        let closed = callers.close_all();
        assert_eq!((closed.len(), closed[0].count), (1, 100));
    }
}
