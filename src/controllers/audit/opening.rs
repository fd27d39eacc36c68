//! The audit topic as it is found: where the chain goes on, or where it is broken.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tracing::info;

use crate::api::{AuditTrailStatus, Reason, SecurityEventSpec};
use crate::domain::audit::breaks::{Break, Broken};
use crate::domain::audit::chain::Head;
use crate::domain::audit::checkpoint::{Checkpoint, verify};
use crate::domain::audit::proof::Proof;
use crate::domain::event::{in_short, uuid};
use crate::k8s::lease::Leadership;
use crate::kafka::{AuditLog, Stored};
use crate::ports::{KafkaEndpoint, TopicError};

/// How many of the last records are read at least: events that were told twice are found among them.
const TAIL: i64 = 10_000;
/// How many events of them are kept at most.
const LAST: usize = 20_000;

/// Where the topic is, and how long records are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its cluster.
    pub endpoint: KafkaEndpoint,
    /// Its name.
    pub topic: String,
    /// How long records are kept.
    pub retention: Option<Duration>,
}

/// What is known of the chain from elsewhere.
#[derive(Debug, Default)]
pub struct Known {
    /// Keys that its checkpoints verify with.
    pub public_keys: Vec<String>,
    /// What it was, and must still be.
    pub checkpoints: Vec<Checkpoint>,
    /// What cannot be believed of it.
    pub fault: Option<Break>,
    /// The token of breaks that a person looked at.
    pub confirmed: Option<String>,
}

impl Known {
    /// What the AuditTrail's status says.
    pub fn of(status: Option<&AuditTrailStatus>) -> Self {
        let Some(text) = status.and_then(|s| s.checkpoint.as_ref()) else { return Self::default() };
        let read = match status.and_then(|s| s.public_key.as_ref()) {
            Some(key) => verify(text, key).map(|checkpoint| (key.clone(), checkpoint)),
            None => Err("there is no status.publicKey that it verifies with".to_owned()),
        };
        match read {
            Ok((key, checkpoint)) => Self { public_keys: vec![key], checkpoints: vec![checkpoint], ..Self::default() },
            Err(why) => {
                let place = "AuditTrail default, status.checkpoint".to_owned();
                Self { fault: Some(Break::BadKept { place, why }), ..Self::default() }
            }
        }
    }
}

/// A topic that is open.
pub struct Opened {
    /// It.
    pub log: Arc<AuditLog>,
    /// Where the chain goes on.
    pub head: Head,
    /// The last events on record, oldest first.
    pub last: Vec<SecurityEventSpec>,
    /// Breaks that somebody confirmed just now.
    pub confirmed: Option<Broken>,
}

/// Why a topic is not open.
#[derive(Debug, thiserror::Error)]
pub enum Closed {
    /// It may be later.
    #[error("{0}")]
    Unavailable(String),
    /// It is not what Weir wrote.
    // However many breaks there are, how to go on is not cut off.
    #[error(
        "find out who did it; then have Weir go on behind it: kubectl annotate trail default {name}={token} --overwrite. {0}",
        name = crate::api::CONFIRM_ANNOTATION,
        token = .0.token()
    )]
    Broken(Broken),
}

impl Closed {
    /// The reason of the condition.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Unavailable(_) => Reason::AuditUnavailable,
            Self::Broken(_) => Reason::AuditBroken,
        }
    }
}

impl From<TopicError> for Closed {
    fn from(error: TopicError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// Becomes the topic's only writer, and finds out where its chain goes on.
///
/// # Errors
/// See [`Closed`].
pub async fn open(place: Place, known: Known, leadership: Leadership) -> Result<Opened, Closed> {
    let log = AuditLog::connect(&place.endpoint, "weir-audit", &place.topic, place.retention).await;
    let log = Arc::new(log.map_err(|error| Closed::Unavailable(error.to_string()))?);
    // Whoever opens it shuts out everybody else.
    if !leadership.holds() {
        return Err(Closed::Unavailable("leadership lapsed".into()));
    }
    let tail = log.open(TAIL).await?;
    let (now, confirmed) = (Timestamp::now(), known.confirmed.clone());
    let mut look = Look::new(&known, place.retention);
    tail.iter().for_each(|stored| look.take(stored));
    if !look.proof.is_enough(now) {
        info!("what is known of the audit topic lies before its last records: all of it is read");
        let anew = Look::new(&known, place.retention);
        let take = |look: &mut Look, stored: Stored| {
            look.take(&stored);
            Ok(())
        };
        look = log.read(anew, take).await?;
    }
    let broken = look.proof.end(now).err();
    if let Some(broken) = &broken
        && confirmed != Some(broken.token())
    {
        return Err(Closed::Broken(broken.clone()));
    }
    let head = look.head.unwrap_or_else(|| Head::new(random()));
    Ok(Opened { log, head, last: look.last.into(), confirmed: broken })
}

/// Looks at records in their order.
struct Look {
    proof: Proof,
    /// The last events.
    last: VecDeque<SecurityEventSpec>,
    /// Where the chain goes on, if any record can be read.
    head: Option<Head>,
}

impl Look {
    fn new(known: &Known, retention: Option<Duration>) -> Self {
        let mut proof = Proof::new(known.public_keys.clone(), known.checkpoints.clone(), retention).of_tail();
        known.fault.iter().for_each(|what| proof.fault(what.clone()));
        Self { proof, last: VecDeque::new(), head: None }
    }

    fn take(&mut self, stored: &Stored) {
        // Behind what is not Weir's the chain goes on from before.
        let Some((event, link)) = self.proof.take(stored.offset, &stored.record) else { return };
        if self.last.len() == LAST {
            self.last.pop_front();
        }
        self.last.push_back(in_short(&event));
        self.head = Some(Head::behind(&stored.record.value, &link));
    }
}

fn random() -> String {
    let mut bytes = [0; 16];
    // Without randomness no connection was made either.
    let _ = getrandom::fill(&mut bytes);
    uuid(bytes)
}

#[cfg(test)]
mod tests {
    use super::{Broken, Closed};
    use crate::domain::audit::breaks::Break;
    use crate::domain::conditions::truncated;

    #[test]
    fn however_many_breaks_there_are_a_condition_says_how_to_go_on() {
        let junk = |n: i64| Break::Unreadable { offset: n, behind: 7, digest: "d".repeat(16), why: "x".repeat(256) };
        let broken = Broken((0..20).map(junk).collect());
        let said = truncated(Closed::Broken(broken.clone()).to_string(), 2048);
        assert!(said.contains(&format!("weir.dev/confirm={} --overwrite", broken.token())), "{said}");
        assert!(said.contains("offset 0: "), "{said}");
    }
}
