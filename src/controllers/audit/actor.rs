//! Takes events, and looks after the topic.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::opening::{Closed, Opened, Place, open};
use super::shown::{EVERY as SUMMARY_EVERY, Shown};
use super::status::{Known, Signed, status};
use super::{Sending, Standing, Told};
use crate::api::{Action, AuditTrail, CONFIRM_ANNOTATION, ObjectRef, Reason, SecurityEventSpec};
use crate::controllers::context::Context;
use crate::domain::audit::chain::Head;
use crate::domain::audit::checkpoint::{self, Signer};
use crate::domain::event::{Happening, event};
use crate::domain::names::ObjectKey;
use crate::domain::problem::Problem;
use crate::k8s::objects::{object_ref, write_status};
use crate::kafka::AuditLog;
use crate::ports::TopicError;

/// How often the topic is looked after.
const EVERY: Duration = Duration::from_millis(300);
/// How long after a failure it is opened again; after each further one so much later.
const AFTER_FAILURE: Duration = Duration::from_secs(3);
/// So many failures make no further difference.
const MOST_FAILURES: u32 = 10;
/// How often it is looked whether the topic is still the one that is asked for.
const WHILE_OPEN: Duration = Duration::from_secs(30);
/// How long events wait for a topic that is being opened, before they are kept elsewhere.
const GRACE: Duration = Duration::from_secs(4);
/// The most events that one transaction takes.
const AT_ONCE: usize = 500;
/// How many SecurityEvents are made at once.
const MADE_AT_ONCE: usize = 16;
/// How many of the last events are remembered: they are not put on record twice.
const REMEMBERED: usize = 20_000;
/// What was put on record since before the leader changed may not have been shown.
const SHOWN_AGAIN: SignedDuration = SignedDuration::from_mins(5);

/// What the AuditTrail asks for.
#[derive(Clone, Debug, PartialEq)]
struct Wanted {
    place: Place,
    key: String,
    every: Duration,
}

/// The chain, as it is being written.
struct Chain {
    of: Wanted,
    log: Arc<AuditLog>,
    head: Head,
    signer: Arc<Signer>,
    /// How many records there were right after the last checkpoint.
    signed: u64,
    signed_at: Instant,
}

/// A topic that is being opened.
struct Opening {
    of: Wanted,
    signer: Arc<Signer>,
    task: JoinHandle<Result<Opened, Closed>>,
}

enum Topic {
    /// There is no AuditTrail.
    Unwanted,
    /// It is not open.
    Closed,
    Opening(Box<Opening>),
    Open(Box<Chain>),
}

struct Actor {
    context: Arc<Context>,
    shown: Shown,
    topic: Topic,
    /// Since when the topic should be open and is not.
    closed_since: Instant,
    /// When it is looked whether it can be opened.
    look_due: Instant,
    /// Since when it is known that it cannot be.
    lost: Option<Timestamp>,
    /// How often in a row it could not be opened, or written.
    failures: u32,
    recent: Recent,
    /// Wait for a topic that is being opened.
    waiting: Vec<Told>,
    summary_due: Instant,
    /// How the webhook was when that was last reported.
    sending: Sending,
}

/// The last events on record, by UID.
#[derive(Default)]
struct Recent {
    order: VecDeque<String>,
    uids: BTreeSet<String>,
}

impl Recent {
    fn insert(&mut self, uid: &str) {
        if self.uids.insert(uid.to_owned()) {
            self.order.push_back(uid.to_owned());
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.uids.remove(&oldest);
        }
    }

    fn has(&self, event: &SecurityEventSpec) -> bool {
        self.uids.contains(&event.uid)
    }
}

/// Takes events, for ever.
pub async fn run(context: Arc<Context>, mut inbox: mpsc::Receiver<Told>) {
    let mut actor = Actor {
        shown: Shown::new(context.clone()),
        context,
        topic: Topic::Unwanted,
        closed_since: Instant::now(),
        look_due: Instant::now(),
        lost: None,
        failures: 0,
        recent: Recent::default(),
        waiting: Vec::new(),
        summary_due: Instant::now() + SUMMARY_EVERY,
        sending: Sending::default(),
    };
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut told = Vec::new();
    loop {
        tokio::select! {
            biased;
            _ = tick.tick() => actor.look_after().await,
            n = inbox.recv_many(&mut told, AT_ONCE) => {
                if n == 0 {
                    return;
                }
                actor.take(std::mem::take(&mut told)).await;
            }
        }
    }
}

impl Actor {
    async fn look_after(&mut self) {
        match self.trail() {
            Some(trail) => {
                self.open(&trail).await;
                self.sign(&trail).await;
                let sending = self.context.trail.sending();
                if std::mem::replace(&mut self.sending, sending.clone()) != sending {
                    self.report(&trail, None).await;
                }
            }
            None => self.give_up().await,
        }
        if self.summary_due <= Instant::now() {
            self.summary_due = Instant::now() + SUMMARY_EVERY;
            for event in self.shown.summary(Timestamp::now()) {
                self.tell(event).await;
            }
        }
    }

    fn trail(&self) -> Option<Arc<AuditTrail>> {
        self.context.world.index().trail().cloned()
    }

    /// There is no AuditTrail, or none any more.
    async fn give_up(&mut self) {
        if !matches!(self.topic, Topic::Unwanted) {
            warn!("there is no AuditTrail any more: events are not put on record");
            self.topic = Topic::Unwanted;
            self.lost = None;
        }
        self.context.trail.set_standing(Standing::Unwanted);
        let waiting = std::mem::take(&mut self.waiting);
        self.take(waiting).await;
    }

    /// Opens the topic that is asked for, again where that failed.
    async fn open(&mut self, trail: &AuditTrail) {
        if matches!(self.topic, Topic::Unwanted) {
            self.topic = Topic::Closed;
            (self.closed_since, self.look_due) = (Instant::now(), Instant::now());
            self.context.trail.set_standing(Standing::Opening);
        }
        match std::mem::replace(&mut self.topic, Topic::Closed) {
            Topic::Opening(opening) if !opening.task.is_finished() => self.topic = Topic::Opening(opening),
            Topic::Opening(opening) => {
                let opening = *opening;
                match opening.task.await.unwrap_or_else(|e| Err(Closed::Unavailable(e.to_string()))) {
                    Ok(opened) => self.opened(trail, opening.of, opening.signer, opened).await,
                    Err(closed) => self.not_open(trail, closed.reason(), closed.to_string()).await,
                }
            }
            now if self.look_due > Instant::now() => self.topic = now,
            Topic::Open(chain) => {
                self.look_due = Instant::now() + WHILE_OPEN;
                match self.wanted(trail).await {
                    Ok((wanted, signer)) if wanted != chain.of => self.begin(trail, wanted, signer),
                    // What cannot be looked up just now stays as it is.
                    _ => self.topic = Topic::Open(chain),
                }
            }
            Topic::Unwanted | Topic::Closed => match self.wanted(trail).await {
                Ok((wanted, signer)) => self.begin(trail, wanted, signer),
                Err(Problem { reason, message, .. }) => self.not_open(trail, reason, message).await,
            },
        }
        let is_late = self.lost.is_some() || self.closed_since.elapsed() > GRACE;
        if !matches!(self.topic, Topic::Open(_)) && is_late {
            let waiting = std::mem::take(&mut self.waiting);
            self.put_aside(waiting).await;
        }
    }

    /// What the AuditTrail asks for, and what checkpoints are signed with.
    async fn wanted(&self, trail: &AuditTrail) -> Result<(Wanted, Signer), Problem> {
        let spec = &trail.spec;
        let cluster = &spec.cluster_ref.name;
        let endpoint = self.context.endpoint(cluster).ok_or_else(|| {
            let words = format!("StreamCluster {cluster} does not exist, or its credentials cannot be read");
            Problem::waiting(Reason::ClusterNotReady, words)
        })?;
        let key = spec.checkpoints.signing_key_ref.name.clone();
        let invalid = |why: String| Problem::waiting(Reason::SecretInvalid, why);
        let pem = self.context.secrets.signing_key(&key).await.map_err(|e| invalid(e.to_string()))?;
        let signer = Signer::from_pem(&pem).map_err(|why| invalid(format!("Secret {key}, key signing.key: {why}")))?;
        let place = Place { endpoint, topic: spec.topic.clone(), retention: spec.retention.map(Duration::from) };
        Ok((Wanted { place, key, every: spec.checkpoints.every.into() }, signer))
    }

    fn begin(&mut self, trail: &AuditTrail, of: Wanted, signer: Signer) {
        let known = trail.status.as_ref().and_then(|s| {
            let (text, key) = s.checkpoint.as_ref().zip(s.public_key.as_ref())?;
            checkpoint::verify(text, key).ok()
        });
        let confirmed = trail.annotations().get(CONFIRM_ANNOTATION).cloned();
        let task = tokio::spawn(open(of.place.clone(), known, confirmed));
        self.topic = Topic::Opening(Box::new(Opening { of, signer: Arc::new(signer), task }));
    }

    async fn opened(&mut self, trail: &AuditTrail, of: Wanted, signer: Arc<Signer>, opened: Opened) {
        let Opened { log, head, last, broken } = opened;
        info!(records = head.records, "the audit topic is open");
        let is_new = head.records == 0;
        // The first checkpoint of a leader comes at once: it says what was found.
        let signed_at = Instant::now().checked_sub(of.every).unwrap_or_else(Instant::now);
        self.topic = Topic::Open(Box::new(Chain { of, log, head, signer, signed: 0, signed_at }));
        self.look_due = Instant::now() + WHILE_OPEN;
        last.iter().for_each(|event| self.recent.insert(&event.uid));
        if self.first_words(trail, is_new, broken.map(|b| b.to_string())).await.is_err() {
            // It can be read, and not be written: nothing has changed.
            return;
        }
        self.context.trail.set_standing(Standing::Open);
        (self.lost, self.failures) = (None, 0);
        self.kept().await;
        let waiting = std::mem::take(&mut self.waiting);
        self.take(waiting).await;
        let now = Timestamp::now();
        let fresh = last.into_iter().filter(|event| now.duration_since(event.time.0) < SHOWN_AGAIN);
        fresh.for_each(|event| self.shown.show(event));
        self.report(trail, None).await;
    }

    /// What is told of the topic itself, once it is open: only then is it known that it can be written.
    async fn first_words(&mut self, trail: &AuditTrail, is_new: bool, broken: Option<String>) -> Result<(), ()> {
        let begun = is_new.then(|| "the audit topic's chain begins here".to_owned());
        let restored = self.lost.map(|since| format!("the audit topic is written again; it was not since {since:.0}"));
        let words = [
            (Action::AuditTrailBegun, "Begun", begun),
            (Action::AuditTrailBroken, "Confirmed", broken),
            (Action::AuditTrailRestored, "Restored", restored),
        ];
        let now = Timestamp::now();
        let told = words.into_iter().filter_map(|(action, reason, words)| {
            Some(event(Happening::new(action, about(trail), reason, words?), &now.to_string(), now))
        });
        let told: Vec<_> = told.collect();
        self.append(told.iter()).await?;
        told.into_iter().for_each(|event| self.shown.show(event));
        Ok(())
    }

    /// Puts on record what was kept until it could be.
    async fn kept(&mut self) {
        let kept = match self.context.events.kept().await {
            Ok(kept) => kept,
            Err(error) => return warn!(%error, "failed to look for events that are not on record yet"),
        };
        for chunk in kept.chunks(AT_ONCE) {
            if self.append(chunk.iter()).await.is_err() {
                return;
            }
            for event in chunk {
                if let Err(error) = self.context.events.release(event).await {
                    warn!(%error, "failed to release an event that is on record now");
                }
            }
        }
    }

    /// Takes what was told.
    async fn take(&mut self, told: Vec<Told>) {
        match &self.topic {
            Topic::Unwanted if self.trail().is_none() => {
                let made = told.into_iter().filter_map(|Told { event, heard }| {
                    let _ = heard.send(true);
                    self.shown.admit(event)
                });
                let made: Vec<_> = made.collect();
                let made = futures::stream::iter(made).map(|event| self.shown.make(event));
                made.buffer_unordered(MADE_AT_ONCE).collect::<()>().await;
            }
            Topic::Open(_) => {
                if self.append(told.iter().map(|t| &t.event)).await.is_err() {
                    return self.put_aside(told).await;
                }
                for Told { event, heard } in told {
                    let _ = heard.send(true);
                    self.shown.show(event);
                }
            }
            _ if self.lost.is_none() && self.closed_since.elapsed() <= GRACE => self.waiting.extend(told),
            _ => self.put_aside(told).await,
        }
    }

    /// Tells of an event of the actor's own.
    async fn tell(&mut self, event: SecurityEventSpec) {
        let is_unwanted = matches!(self.topic, Topic::Unwanted);
        if is_unwanted || self.append(std::iter::once(&event)).await.is_ok() {
            self.shown.show(event);
        } else {
            self.shown.keep(event).await;
        }
    }

    /// Keeps events until the topic has them.
    async fn put_aside(&mut self, told: Vec<Told>) {
        for Told { event, heard } in told {
            // What was only intended is not done now.
            if event.action != Action::AccessWidening {
                self.shown.keep(event).await;
            }
            let _ = heard.send(false);
        }
    }

    /// Puts on record what is not there yet, in one transaction.
    async fn append<'a>(&mut self, events: impl Iterator<Item = &'a SecurityEventSpec> + Clone) -> Result<(), ()> {
        let Topic::Open(chain) = &mut self.topic else { return Err(()) };
        if !self.context.leadership.holds() {
            return Err(());
        }
        let mut head = chain.head.clone();
        let mut records = Vec::new();
        let mut uids = BTreeSet::new();
        for event in events.clone().filter(|e| !self.recent.has(e) && uids.insert(&e.uid)) {
            let (record, after) = head.follow(event);
            records.push(record);
            head = after;
        }
        if records.is_empty() {
            return Ok(());
        }
        match chain.log.append(&records).await {
            Ok(()) => {
                chain.head = head;
                self.context.trail.counts.recorded.fetch_add(records.len() as u64, Ordering::Relaxed);
                events.for_each(|event| self.recent.insert(&event.uid));
                Ok(())
            }
            Err(TopicError::Fenced) => {
                error!("another instance of Weir writes the audit topic");
                self.context.step_down();
                Err(())
            }
            // It may be on record all the same: opening the topic again tells.
            Err(TopicError::Unavailable(why)) => {
                (self.topic, self.closed_since) = (Topic::Closed, Instant::now());
                if let Some(trail) = self.trail() {
                    self.lose(&trail, Reason::AuditUnavailable, why).await;
                }
                Err(())
            }
        }
    }

    /// The topic could not be opened. It is lost once that has lasted.
    async fn not_open(&mut self, trail: &AuditTrail, reason: Reason, why: String) {
        self.topic = Topic::Closed;
        let is_new = self.lost.is_none() && reason != Reason::AuditBroken;
        if is_new && self.closed_since.elapsed() < GRACE {
            return;
        }
        self.lose(trail, reason, why).await;
    }

    /// Takes note that the topic cannot be written.
    async fn lose(&mut self, trail: &AuditTrail, reason: Reason, why: String) {
        self.failures = (self.failures + 1).min(MOST_FAILURES);
        self.look_due = Instant::now() + AFTER_FAILURE * self.failures;
        let standing = Standing::Lost(reason, why.clone());
        if self.context.trail.standing() != standing {
            warn!(why, "the audit topic cannot be written: what widens access waits");
            self.context.trail.set_standing(standing);
        }
        if self.lost.is_none() {
            let now = Timestamp::now();
            self.lost = Some(now);
            let action = if reason == Reason::AuditBroken { Action::AuditTrailBroken } else { Action::AuditTrailLost };
            let happening = Happening::new(action, about(trail), reason.as_str(), why);
            self.shown.keep(event(happening, &now.to_string(), now)).await;
        }
        self.report(trail, None).await;
    }

    /// Signs the head of the chain when it is time.
    async fn sign(&mut self, trail: &AuditTrail) {
        let Topic::Open(chain) = &mut self.topic else { return };
        if chain.head.records <= chain.signed || chain.signed_at.elapsed() < chain.of.every {
            return;
        }
        let now = Timestamp::now();
        let (records, text) = (chain.head.records, chain.signer.sign(&chain.head, now));
        chain.signed_at = Instant::now();
        chain.signed = records + 1;
        let happening = Happening::new(Action::AuditCheckpoint, about(trail), "Signed", &text);
        let checkpoint = event(happening, &format!("{records}/{now}"), now);
        if self.append(std::iter::once(&checkpoint)).await.is_ok() {
            self.report(trail, Some(Signed { records, at: now, text })).await;
        }
    }

    async fn report(&self, trail: &AuditTrail, signed: Option<Signed>) {
        let chain = match &self.topic {
            Topic::Open(chain) => Some(chain),
            _ => None,
        };
        let known = Known { head: chain.map(|c| &c.head), signed, public_key: chain.map(|c| c.signer.public_key()) };
        let of = &self.context.trail;
        let after = status(trail, &of.standing(), &of.sending(), known, Timestamp::now());
        if trail.status.as_ref() != Some(&after)
            && let Err(error) = write_status(&self.context.client, trail, &after).await
        {
            warn!(%error, "failed to write the status of the AuditTrail");
        }
    }
}

/// The AuditTrail, as events have it.
fn about(trail: &AuditTrail) -> ObjectRef {
    object_ref("AuditTrail", &ObjectKey::new("", trail.name_any()), trail.uid())
}
