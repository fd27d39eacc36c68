//! A principal that is refused so often, or so many different things, that somebody should look: an application that was set up
//! wrongly, or somebody who tries doors. Who fails to log in chooses the name: such are watched apart from those who did log in.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::heard::{Refusal, Refused};
use crate::api::EventSource;

/// Within which time it is counted.
const WITHIN: SignedDuration = SignedDuration::from_mins(1);
/// How many refusals are a burst.
pub const MANY: u64 = 500;
/// How many different things refused are one.
pub const DIFFERENT: usize = 20;
/// How long it is told of a principal once.
const QUIET: SignedDuration = SignedDuration::from_mins(10);
/// How many principals are watched at once, and how many names of logins that fail. Those beyond are not; their refusals are counted
/// all the same.
const WATCHED: [usize; 2] = [2_000, 500];
/// How often it is looked for those who are quiet, while there is no room.
const SWEEP: SignedDuration = SignedDuration::from_secs(1);

/// Who is refused too much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Burst {
    /// On which StreamCluster.
    pub cluster: String,
    /// Who; of logins, the name that was tried.
    pub principal: String,
    /// Whether it was logins that failed.
    pub is_login: bool,
    /// How often so far.
    pub count: u64,
    /// How many different things, as far as they are told apart.
    pub different: usize,
    /// From where, the last time.
    pub address: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// Who told of the last one.
    pub source: EventSource,
}

#[derive(Clone, Debug)]
struct Watched {
    since: Timestamp,
    count: u64,
    different: BTreeSet<Refused>,
    quiet_until: Option<Timestamp>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Bursts {
    /// Principals, and names of logins, by cluster.
    watched: [BTreeMap<(String, String), Watched>; 2],
    swept: [Option<Timestamp>; 2],
}

impl Bursts {
    /// Takes a refusal, heard `now`; says whether it makes a burst that was not told yet.
    pub fn take(&mut self, cluster: &str, refusal: &Refusal, now: Timestamp) -> Option<Burst> {
        let principal = refusal.principal.clone()?;
        let is_login = refusal.what.is_login();
        let key = (cluster.to_owned(), principal.clone());
        if !self.has_room(usize::from(is_login), &key, now) {
            return None;
        }
        let fresh = || Watched { since: now, count: 0, different: BTreeSet::new(), quiet_until: None };
        let watched = self.watched[usize::from(is_login)].entry(key).or_insert_with(fresh);
        if watched.since + WITHIN <= now {
            *watched = Watched { quiet_until: watched.quiet_until.filter(|until| *until > now), ..fresh() };
        }
        watched.count += 1;
        if watched.different.len() < DIFFERENT {
            watched.different.insert(refusal.what.clone());
        }
        let is_burst = watched.count >= MANY || watched.different.len() >= DIFFERENT;
        if !is_burst || watched.quiet_until.is_some() {
            return None;
        }
        watched.quiet_until = Some(now + QUIET);
        Some(Burst {
            cluster: cluster.to_owned(),
            principal,
            is_login,
            count: watched.count,
            different: watched.different.len(),
            address: refusal.address.clone(),
            since: watched.since,
            source: refusal.source,
        })
    }

    fn has_room(&mut self, shelf: usize, key: &(String, String), now: Timestamp) -> bool {
        let (watched, swept) = (&mut self.watched[shelf], &mut self.swept[shelf]);
        if watched.len() < WATCHED[shelf] || watched.contains_key(key) {
            return true;
        }
        if swept.is_some_and(|at| now < at + SWEEP) {
            return false;
        }
        *swept = Some(now);
        watched.retain(|_, w| w.since + WITHIN > now || w.quiet_until.is_some_and(|until| until > now));
        watched.len() < WATCHED[shelf]
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::{Bursts, DIFFERENT, MANY, WATCHED};
    use crate::api::EventSource;
    use crate::domain::audit::heard::{Refusal, Refused};

    fn denied(principal: &str, topic: usize) -> Refusal {
        let what = Refused::Access {
            operation: "Read".into(),
            resource_type: "Topic".into(),
            resource_name: format!("t{topic}"),
            api: None,
        };
        Refusal {
            what,
            principal: Some(principal.into()),
            address: None,
            why: None,
            at: None,
            source: EventSource::BrokerLog,
        }
    }

    fn after(seconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
    }

    #[test]
    fn who_tries_many_doors_is_told_of_once_in_a_while() {
        let mut bursts = Bursts::default();
        let told: Vec<_> = (0..100).filter_map(|n| bursts.take("c", &denied("a", n), after(0))).collect();
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].count, told[0].different), (DIFFERENT as u64, DIFFERENT));
        assert!((0..100).all(|n| bursts.take("c", &denied("a", n), after(300)).is_none()), "it was told already");
        let again = (0..100).filter_map(|n| bursts.take("c", &denied("a", n), after(700)));
        assert_eq!(again.count(), 1, "it goes on");
    }

    #[test]
    fn a_client_that_tries_one_thing_now_and_then_is_none() {
        let mut bursts = Bursts::default();
        assert!((0..2000).all(|n| bursts.take("c", &denied("a", 1), after(n)).is_none()));
        let told = (0..MANY).filter_map(|_| bursts.take("c", &denied("b", 1), after(0)));
        assert_eq!(told.count(), 1);
    }

    #[test]
    fn no_more_are_watched_than_there_is_room_for() {
        let mut bursts = Bursts::default();
        for n in 0..3 * WATCHED[0] {
            bursts.take("c", &denied(&format!("p{n}"), 1), after(0));
        }
        assert_eq!(bursts.watched[0].len(), WATCHED[0]);
        bursts.take("c", &denied("late", 1), after(100));
        assert_eq!(bursts.watched[0].len(), 1, "those who are quiet make room");
    }

    #[test]
    fn names_that_strangers_try_are_watched_apart() {
        let mut bursts = Bursts::default();
        let failed = |name: &str| Refusal { what: Refused::Login { mechanism: None }, ..denied(name, 1) };
        for n in 0..3 * WATCHED[1] {
            bursts.take("c", &failed(&format!("p{n}")), after(0));
        }
        assert_eq!(bursts.watched[1].len(), WATCHED[1]);
        let told: Vec<_> = (0..100).filter_map(|n| bursts.take("c", &denied("a", n), after(0))).collect();
        assert_eq!(told.len(), 1, "who logged in has a place");
        let told: Vec<_> = (0..MANY).filter_map(|_| bursts.take("c", &failed("p1"), after(1))).collect();
        assert!(told.len() == 1 && told[0].is_login);
    }
}
