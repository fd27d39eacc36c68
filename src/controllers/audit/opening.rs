//! The audit topic as it is found: where the chain goes on, or where it is broken.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::api::{Reason, SecurityEventSpec};
use crate::domain::audit::chain::Head;
use crate::domain::audit::checkpoint::Checkpoint;
use crate::domain::audit::proof::{Break, Proof};
use crate::kafka::{AuditLog, Stored};
use crate::ports::{KafkaEndpoint, TopicError};

/// How many of the last records are read: events that were told twice are found among them.
const TAIL: i64 = 10_000;

/// Where the topic is, and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its cluster.
    pub endpoint: KafkaEndpoint,
    /// Its name.
    pub topic: String,
    /// How long records are kept.
    pub retention: Option<Duration>,
}

/// A topic that is open.
pub struct Opened {
    /// It.
    pub log: Arc<AuditLog>,
    /// Where the chain goes on.
    pub head: Head,
    /// The last events on record, oldest first.
    pub last: Vec<SecurityEventSpec>,
    /// A break that somebody confirmed.
    pub broken: Option<Break>,
}

/// Why a topic is not open.
#[derive(Debug, thiserror::Error)]
pub enum Closed {
    /// It may be later.
    #[error("{0}")]
    Unavailable(String),
    /// It is not what Weir wrote.
    #[error(
        "{what}. Find out who did it; then have Weir go on behind it: kubectl annotate trail default {}={token} --overwrite",
        crate::api::CONFIRM_ANNOTATION
    )]
    Broken {
        /// Where.
        what: Break,
        /// What a person confirms.
        token: String,
    },
}

impl Closed {
    /// The reason of the condition.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Unavailable(_) => Reason::AuditUnavailable,
            Self::Broken { .. } => Reason::AuditBroken,
        }
    }
}

impl From<TopicError> for Closed {
    fn from(error: TopicError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// Becomes the topic's only writer, and finds out where its chain goes on. `known` is the last checkpoint that stands elsewhere;
/// `confirmed` the token of a break that a person looked at.
///
/// # Errors
/// See [`Closed`].
pub async fn open(place: Place, known: Option<Checkpoint>, confirmed: Option<String>) -> Result<Opened, Closed> {
    let log = AuditLog::connect(&place.endpoint, "weir-audit", &place.topic, place.retention).await;
    let log = Arc::new(log.map_err(|error| Closed::Unavailable(error.to_string()))?);
    let tail = log.open(TAIL).await?;
    let Looked { last, head, broken } = look(&tail, known);
    if let Some(what) = &broken {
        let token = token(what);
        if confirmed.as_ref() != Some(&token) {
            return Err(Closed::Broken { what: what.clone(), token });
        }
    }
    Ok(Opened { log, head: head.unwrap_or_else(|| Head::new(random())), last, broken })
}

/// What the last records say.
struct Looked {
    /// Their events.
    last: Vec<SecurityEventSpec>,
    /// Where the chain goes on, if the last record can be read.
    head: Option<Head>,
    /// The first break among them.
    broken: Option<Break>,
}

fn look(tail: &[Stored], known: Option<Checkpoint>) -> Looked {
    let mut proof = Proof::new(Vec::new(), known, false);
    let (mut last, mut place) = (Vec::with_capacity(tail.len()), None);
    for stored in tail {
        let (event, link) = proof.take(stored.offset, &stored.record).unzip();
        last.extend(event);
        place = link;
    }
    let head = tail.last().zip(place).map(|(stored, link)| Head::behind(&stored.record.value, &link));
    Looked { last, head, broken: proof.end().err() }
}

fn token(what: &Break) -> String {
    hex::encode(&Sha256::digest(what.to_string())[..8])
}

fn random() -> String {
    let mut bytes = [0; 16];
    // Without randomness no connection was made either.
    let _ = getrandom::fill(&mut bytes);
    crate::domain::event::uuid(bytes)
}
