//! The trail: every event is on record in the audit topic before it is a SecurityEvent.
//!
//! One actor writes. Whoever tells of an event waits until it is on record, or kept until it can be: what narrows access never waits
//! for the topic. What widens access is on record before the cluster is asked, and waits while it cannot be.
//!
//! | module | what |
//! | --- | --- |
//! | [`actor`] | takes events, and puts them on record |
//! | [`batches`] | events that are put on record together |
//! | [`tending`] | looks after the topic: opens it, again where that failed, and tells how it is |
//! | [`delivery`] | the webhook |
//! | [`following`] | logs of brokers in topics |
//! | [`hearing`] | what brokers refuse clients |
//! | [`opening`] | the topic as it is found: where the chain goes on, or where it is broken |
//! | [`recent`] | what is on record of late |
//! | [`shown`] | SecurityEvents, within bounds |
//! | [`retention`] | SecurityEvents go when their time is over |
//! | [`status`] | what the AuditTrail says |

mod actor;
mod batches;
mod delivery;
mod following;
mod hearing;
mod opening;
mod recent;
pub mod retention;
mod shown;
mod status;
mod tending;

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

pub use self::actor::run;
pub use self::delivery::{Sending, deliver};
pub use self::following::follow;
pub use self::hearing::{hear, tokens, turned_away};
use crate::api::{Action, EventSource, Reason, SecurityEventSpec};
use crate::domain::event::{Happening, event};
use crate::domain::problem::Problem;

/// How long whoever tells of an event waits for it at most.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the topic may take for what is being written, until it is not waited for any more.
const STUCK: Duration = Duration::from_secs(2);
/// How long is waited for a topic that is stuck.
const WHILE_STUCK: Duration = Duration::from_millis(50);
/// Events on their way to the actor; who tells of more waits.
const QUEUE: usize = 4096;

/// An event on its way to the actor.
pub struct Told {
    event: SecurityEventSpec,
    /// Whether it is on record.
    heard: oneshot::Sender<bool>,
}

/// How the audit topic is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// Nobody asked for one.
    #[default]
    Unwanted,
    /// It is being opened.
    Opening,
    /// It is written.
    Open,
    /// It cannot be written.
    Lost(Reason, String),
}

/// What all tell events to.
pub struct Trail {
    inbox: mpsc::Sender<Told>,
    standing: Mutex<Standing>,
    sending: Mutex<Sending>,
    /// SecurityEvents were made: there may be too many.
    shown: Notify,
    /// Since when something is being written.
    writing: Mutex<Option<Instant>>,
    /// What was told is put on record, and then nothing more.
    finish: CancellationToken,
    /// What was counted since this instance began.
    pub counts: Counts,
    /// Events that are on record, or were told where there is no AuditTrail, by action.
    told: Mutex<HashMap<Action, u64>>,
}

/// What was counted.
#[derive(Debug, Default)]
pub struct Counts {
    /// Events on record.
    pub recorded: AtomicU64,
    /// Events that were kept elsewhere, because the audit topic could not be written.
    pub kept: AtomicU64,
    /// SecurityEvents that were not made, because there were too many.
    pub summed: AtomicU64,
    /// Refusals of clients that brokers told of.
    pub refusals: AtomicU64,
    /// Events that could be neither put on record nor kept.
    pub lost: AtomicU64,
    /// Events that the webhook took.
    pub sent: AtomicU64,
    /// Events that it will never take.
    pub dead: AtomicU64,
}

impl Trail {
    /// A trail, and where its actor takes events from.
    pub fn new() -> (Self, mpsc::Receiver<Told>) {
        let (inbox, outbox) = mpsc::channel(QUEUE);
        let trail = Self {
            inbox,
            standing: Mutex::default(),
            sending: Mutex::default(),
            shown: Notify::new(),
            writing: Mutex::default(),
            finish: CancellationToken::new(),
            counts: Counts::default(),
            told: Mutex::default(),
        };
        (trail, outbox)
    }

    /// Tells of an event. Returns whether it is on record, or kept until it can be; `None` where nobody took it in time: then it may
    /// still be.
    ///
    /// What brokers told waits for as long as it takes: whoever sends more of it is put off meanwhile.
    pub async fn tell(&self, event: SecurityEventSpec) -> Option<bool> {
        let patience = match (event.source, self.is_stuck()) {
            (EventSource::Weir, true) => WHILE_STUCK,
            (EventSource::Weir, false) => PATIENCE,
            _ => Duration::MAX,
        };
        let (heard, answer) = oneshot::channel();
        let told = async {
            self.inbox.send(Told { event, heard }).await.ok()?;
            answer.await.ok()
        };
        timeout(patience, told).await.ok().flatten()
    }

    /// Puts on record what is about to be done.
    ///
    /// # Errors
    /// It is not on record: then it must not be done.
    pub async fn intend(&self, happening: Happening, key: &str) -> Result<(), Problem> {
        if let Standing::Lost(_, why) = self.standing() {
            return Err(unavailable(&why));
        }
        let recorded = self.tell(event(happening, key, Timestamp::now())).await;
        if recorded == Some(true) { Ok(()) } else { Err(unavailable("it did not take the record in time")) }
    }

    /// Whether what is being written takes too long.
    fn is_stuck(&self) -> bool {
        let writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        writing.is_some_and(|since| since.elapsed() > STUCK)
    }

    fn set_writing(&self, since: Option<Instant>) {
        *self.writing.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    /// Has what was told put on record, and then nothing more: [`run`] ends.
    pub fn finish(&self) {
        self.finish.cancel();
    }

    /// How many events are on record since this instance began, or were told where there is no AuditTrail, by action.
    pub fn told(&self) -> HashMap<Action, u64> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn count(&self, actions: impl IntoIterator<Item = Action>) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        actions.into_iter().for_each(|action| *told.entry(action).or_default() += 1);
    }

    /// How the audit topic is.
    pub fn standing(&self) -> Standing {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How the webhook is.
    pub fn sending(&self) -> Sending {
        self.sending.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_sending(&self, sending: Sending) {
        *self.sending.lock().unwrap_or_else(PoisonError::into_inner) = sending;
    }

    fn set_standing(&self, standing: Standing) {
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner) = standing;
    }
}

fn unavailable(why: &str) -> Problem {
    let message = format!("nothing is granted while the audit topic cannot be written: {why}; see AuditTrail default");
    Problem::waiting(Reason::AuditUnavailable, message)
}
