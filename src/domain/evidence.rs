//! Evidence that a principal of a share which is over can do nothing: what brokers made of it when Weir tried.
//!
//! That no broker shows an entry or a credential is what brokers say of themselves. So Weir replaces the principal's credential by
//! one that only Weir has, and tries: every broker must deny it what it read, and, once the credential is removed, refuse it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use crate::api::Proven;

/// What a broker made of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProbeOutcome {
    /// It did not accept the credential.
    LoginRefused,
    /// It accepted the credential and refused the topic, or all of several.
    Denied,
    /// It would have answered.
    Allowed,
}

impl ProbeOutcome {
    /// Stands for the brokers where the login was refused before they could be learnt.
    pub const ANY_BROKER: i32 = -1;
}

/// What each broker made of it, by id; or why that is not known.
pub type Attempt = Result<BTreeMap<i32, ProbeOutcome>, String>;

/// How far a principal that has no entry any more is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Every broker is asked, with a credential that only Weir has, for what the principal read.
    Denying,
    /// That is over, whatever came of it.
    Denied,
    /// Brokers were told to forget the credential.
    Told,
    /// Every broker was seen without it.
    Absent,
    /// Every broker is asked whether it still takes the credential.
    Refusing,
    /// That is over, too.
    Refused,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Try what it read.
    Deny,
    /// Tell brokers to forget its credential.
    Tell,
    /// Try to log in.
    Refuse,
    /// Strike it from the ledger.
    Forget,
    /// Nothing.
    Wait,
}

/// Decides: `wants_evidence` before anything was tried, `can_log_in` once every broker took Weir's credential for it, `has_user`
/// where brokers hold a credential that they can forget.
pub fn next(stage: Option<Stage>, wants_evidence: bool, can_log_in: bool, has_user: bool) -> Next {
    match stage {
        None if wants_evidence => Next::Deny,
        None | Some(Stage::Denied) if has_user => Next::Tell,
        Some(Stage::Absent) if can_log_in => Next::Refuse,
        None | Some(Stage::Denied | Stage::Absent | Stage::Refused) => Next::Forget,
        Some(Stage::Denying | Stage::Told | Stage::Refusing) => Next::Wait,
    }
}

/// What was proven of one principal, or of several together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// The brokers that were asked, by id.
    pub brokers: BTreeSet<i32>,
    /// When every one of them had denied a fetch of each topic.
    pub denied_at: Option<Timestamp>,
    /// When every one of them had refused the login that they all had accepted before.
    pub refused_at: Option<Timestamp>,
    /// Until when a connection may stay open that was; `None` where brokers set no bound.
    pub sessions_end_at: Option<Timestamp>,
    /// What speaks against it: a broker did otherwise.
    pub against: BTreeSet<String>,
    /// What was not proven, and why.
    pub gaps: BTreeSet<String>,
}

impl Evidence {
    /// Takes what came of trying to read `topics`. Returns whether every broker took the credential.
    pub fn tried(&mut self, attempt: Attempt, topics: &BTreeSet<String>, now: Timestamp) -> bool {
        let Some(outcomes) = self.outcomes(attempt, "a fetch") else { return false };
        let refused = those(&outcomes, ProbeOutcome::LoginRefused);
        let allowed = those(&outcomes, ProbeOutcome::Allowed);
        if !allowed.is_empty() {
            let why = "an entry that is not Weir's is for everybody";
            self.against.insert(format!("broker {allowed} let it read {}: {why}", names(topics)));
        } else if !refused.is_empty() {
            self.gap(format!("broker {refused} did not take the credential with which a fetch was tried"));
        } else if topics.is_empty() {
            self.gap("nothing that it read is there to be tried");
        } else {
            self.denied_at = Some(now);
        }
        refused.is_empty()
    }

    /// Takes what came of trying to log in once more. `lifetime` is that of sessions on the brokers (KIP-368).
    pub fn tried_login(&mut self, attempt: Attempt, lifetime: Option<SignedDuration>, now: Timestamp) {
        let Some(outcomes) = self.outcomes(attempt, "a login") else { return };
        let accepted: BTreeMap<_, _> = outcomes.into_iter().filter(|(_, o)| *o != ProbeOutcome::LoginRefused).collect();
        if accepted.is_empty() {
            self.refused_at = Some(now);
            self.sessions_end_at = lifetime.and_then(|lasts| now.checked_add(lasts).ok());
        } else {
            let accepted: Vec<_> = accepted.keys().map(ToString::to_string).collect();
            self.against.insert(format!("broker {} still accepts the login", accepted.join(", ")));
        }
    }

    /// Takes back that a fetch was denied, of who had access from these hosts only: Weir tried from another.
    pub fn tried_from_elsewhere(&mut self, hosts: &[String]) {
        self.denied_at = None;
        self.gap(format!(
            "it could read from {} only, and a fetch was tried from Weir's own address",
            hosts.join(", ")
        ));
    }

    /// Notes what was not proven, and why.
    pub fn gap(&mut self, why: impl Into<String>) {
        self.gaps.insert(why.into());
    }

    /// In a word.
    pub fn proven(&self) -> Proven {
        match (self.denied_at, self.refused_at) {
            (_, Some(_)) => Proven::LoginRefused,
            (Some(_), None) => Proven::FetchDenied,
            (None, None) => Proven::AclOnly,
        }
    }

    /// What holds for all of `each`; `None` where there is none.
    pub fn of_all<'a>(each: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        let both = |a: Self, b: Self| Self {
            brokers: a.brokers.union(&b.brokers).copied().collect(),
            denied_at: a.denied_at.zip(b.denied_at).map(|(a, b)| a.max(b)),
            refused_at: a.refused_at.zip(b.refused_at).map(|(a, b)| a.max(b)),
            sessions_end_at: a.sessions_end_at.zip(b.sessions_end_at).map(|(a, b)| a.max(b)),
            against: a.against.union(&b.against).cloned().collect(),
            gaps: a.gaps.union(&b.gaps).cloned().collect(),
        };
        each.into_iter().cloned().reduce(both)
    }

    /// For people.
    pub fn said(&self) -> String {
        let brokers: Vec<_> = self.brokers.iter().map(ToString::to_string).collect();
        let brokers = brokers.join(", ");
        let mut clauses = Vec::new();
        if self.denied_at.is_some() {
            clauses.push(format!("broker {brokers} denied a fetch of every topic"));
        }
        if self.refused_at.is_some() {
            clauses.push(format!("broker {brokers} refused the login"));
            clauses.push(match self.sessions_end_at {
                Some(at) => format!("a connection that was open ends by {at:.0}"),
                None => "a connection that was open may stay so: the brokers bound no session".to_owned(),
            });
        }
        clauses.extend(self.against.iter().cloned());
        clauses.extend(self.gaps.iter().map(|why| format!("not proven: {why}")));
        clauses.join("; ")
    }

    fn outcomes(&mut self, attempt: Attempt, what: &str) -> Option<BTreeMap<i32, ProbeOutcome>> {
        match attempt {
            Ok(outcomes) if !outcomes.is_empty() => {
                self.brokers.extend(outcomes.keys());
                Some(outcomes)
            }
            Ok(_) => {
                self.gap(format!("no broker was there for {what} to be tried"));
                None
            }
            Err(why) => {
                self.gap(format!("{what} could not be tried: {why}"));
                None
            }
        }
    }
}

fn those(outcomes: &BTreeMap<i32, ProbeOutcome>, wanted: ProbeOutcome) -> String {
    let those = outcomes.iter().filter(|(_, outcome)| **outcome == wanted);
    those.map(|(id, _)| id.to_string()).collect::<Vec<_>>().join(", ")
}

fn names(topics: &BTreeSet<String>) -> String {
    topics.iter().take(5).cloned().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use jiff::{SignedDuration, Timestamp};

    use super::ProbeOutcome::{Allowed, Denied, LoginRefused};
    use super::{Attempt, Evidence, Next, ProbeOutcome, Stage, next};

    fn all(outcomes: &[ProbeOutcome]) -> Attempt {
        Ok(outcomes.iter().enumerate().map(|(id, o)| (i32::try_from(id).unwrap(), *o)).collect())
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn topics() -> BTreeSet<String> {
        ["payments.placed".to_owned()].into()
    }

    #[test]
    fn every_way_out_ends_and_tells_brokers_to_forget_what_they_can() {
        for (wants, can_log_in, has_user) in (0..8).map(|bits| (bits & 1 == 1, bits & 2 == 2, bits & 4 == 4)) {
            let (mut stage, mut done) = (None, Vec::new());
            loop {
                let step = next(stage, wants, can_log_in && wants, has_user);
                assert_ne!(step, Next::Wait, "{stage:?}");
                done.push(step);
                stage = Some(match step {
                    Next::Deny => Stage::Denied,
                    Next::Tell => Stage::Absent,
                    Next::Refuse => Stage::Refused,
                    Next::Forget | Next::Wait => break,
                });
            }
            let wanted = [
                wants.then_some(Next::Deny),
                has_user.then_some(Next::Tell),
                (wants && can_log_in && has_user).then_some(Next::Refuse),
                Some(Next::Forget),
            ];
            assert_eq!(done, wanted.into_iter().flatten().collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_every_broker_denied_and_refused_is_proven() {
        let mut evidence = Evidence::default();
        assert!(evidence.tried(all(&[Denied, Denied]), &topics(), at(10)));
        evidence.tried_login(all(&[LoginRefused, LoginRefused]), Some(SignedDuration::from_secs(60)), at(20));
        let proven = Evidence {
            brokers: [0, 1].into(),
            denied_at: Some(at(10)),
            refused_at: Some(at(20)),
            sessions_end_at: Some(at(80)),
            ..Evidence::default()
        };
        assert_eq!(evidence, proven);
    }

    #[test]
    fn one_broker_that_does_otherwise_is_enough_to_doubt() {
        for (outcomes, takes) in [
            (all(&[Denied, Allowed]), true),
            (all(&[Denied, LoginRefused]), false),
            (Ok(BTreeMap::new()), false),
            (Err("timed out".into()), false),
        ] {
            let mut evidence = Evidence::default();
            assert_eq!(evidence.tried(outcomes.clone(), &topics(), at(0)), takes, "{outcomes:?}");
            assert_eq!((evidence.denied_at, evidence.against.len() + evidence.gaps.len()), (None, 1), "{evidence:?}");
        }
        for outcomes in [all(&[LoginRefused, Denied]), all(&[LoginRefused, Allowed]), Ok(BTreeMap::new())] {
            let mut evidence = Evidence::default();
            evidence.tried_login(outcomes, None, at(0));
            assert_eq!((evidence.refused_at, evidence.against.len() + evidence.gaps.len()), (None, 1), "{evidence:?}");
        }
        // Denied what nobody is about proves nothing of what it read.
        let mut evidence = Evidence::default();
        assert!(evidence.tried(all(&[Denied]), &BTreeSet::new(), at(0)));
        assert_eq!(evidence.denied_at, None);
    }

    #[test]
    fn of_several_principals_that_is_proven_which_is_of_each() {
        let proven = |denied, refused| Evidence { denied_at: denied, refused_at: refused, ..Evidence::default() };
        let each = [proven(Some(at(1)), Some(at(4))), proven(Some(at(3)), None)];
        let all = Evidence::of_all(&each).unwrap();
        assert_eq!((all.denied_at, all.refused_at), (Some(at(3)), None));
        assert_eq!(Evidence::of_all([]), None);
    }
}
