//! Callers whom Weir's own endpoints turn away, the intake and the partner API: they are nobody known. Equal ones are one event for each
//! closed window, as refusals of brokers are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::heard::{Refusal, Refused};
use super::windows::{Closed, Kind, What, Windows};
use crate::api::EventSource;

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

    /// Counts one from `address`, turned away `now` for a reason that is none of its own words.
    pub fn turn_away(&self, address: IpAddr, why: String, now: Timestamp) {
        let refusal = Refusal {
            what: Refused::Login { mechanism: None },
            principal: None,
            address: Some(address.to_canonical().to_string()),
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

/// A closed window of an endpoint in another process, on its way to the one that tells of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Report {
    endpoint: String,
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
/// The longest reason in one, in characters.
const LONGEST: usize = 200;

impl Report {
    /// Of a window that is over.
    pub fn of(closed: Closed) -> Self {
        let parse = |address: &String| address.parse().ok();
        Self {
            endpoint: closed.kind.cluster,
            address: closed.kind.address.as_ref().and_then(parse),
            addresses: closed.addresses.iter().filter_map(parse).collect(),
            count: closed.count,
            first: closed.first,
            last: closed.last,
            opened: closed.opened,
            why: closed.why,
        }
    }

    /// The window, as of the partner API: whoever else could write a report tells of nothing else.
    fn closed(self) -> Closed {
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
            first: self.first,
            last: self.last.max(self.first),
            opened: self.opened,
            addresses: self.addresses.iter().map(ToString::to_string).collect(),
            why: self.why.map(|why| why.chars().take(LONGEST).collect()),
            source: EventSource::Endpoint,
        }
    }
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

/// The windows of the reports that wait; what cannot be read is left out.
pub fn read(waiting: &BTreeMap<String, String>) -> Vec<Closed> {
    let reports = waiting.values().take(WAITING).filter_map(|text| serde_json::from_str::<Report>(text).ok());
    reports.map(Report::closed).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::{SignedDuration, Timestamp};

    use super::{Callers, INTAKE, PARTNERS, Report, WAITING, add, read};
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
    fn a_report_of_another_process_says_the_same_and_there_is_no_end_of_room() {
        let closed = turned_away(PARTNERS, 2).close_all();
        let mut waiting = BTreeMap::new();
        for _ in 0..2 {
            assert!(add(&mut waiting, closed.iter().cloned().map(Report::of).collect()).is_empty());
        }
        assert_eq!(read(&waiting), closed, "told twice it is one");
        waiting.insert("x".into(), r#"{"endpoint": "weir-partners", "principal": "boss"}"#.into());
        assert_eq!(read(&waiting), closed);
        let of_intake = turned_away(INTAKE, 1).close_all().remove(0);
        let mut forged = BTreeMap::new();
        add(&mut forged, vec![Report::of(of_intake)]);
        assert_eq!(read(&forged)[0].kind.cluster, PARTNERS, "it tells of the partner API only");
        let many = (0..WAITING as u64).map(|count| Report { count, ..Report::of(closed[0].clone()) });
        assert_eq!(add(&mut waiting, many.collect()).len(), 1, "one of them is there already");
        assert_eq!(waiting.len(), WAITING);
    }
}
