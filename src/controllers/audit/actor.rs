//! Takes events, and puts them on record.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{error, warn};

use super::batches::batches;
use super::opening::Place;
use super::recent::Recent;
use super::shown::{EVERY as SUMMARY_EVERY, Shown};
use super::status::{Signed, status};
use super::tending::{Health, Opening};
use super::{Sending, Told};
use crate::api::{Action, AuditTrail, ObjectRef, Reason, SecurityEventSpec};
use crate::controllers::context::Context;
use crate::domain::audit::chain::{Head, SEAL};
use crate::domain::audit::checkpoint::Signer;
use crate::domain::event::{Happening, event, in_short};
use crate::k8s::objects::write_status;
use crate::kafka::AuditLog;
use crate::ports::TopicError;

/// How often the topic is looked after.
const EVERY: Duration = Duration::from_millis(300);
/// How often it is looked whether events are kept that are not on record yet.
const KEPT_EVERY: Duration = Duration::from_secs(60);
/// How often it is tried anew with what could be neither put on record nor kept.
const AGAIN_EVERY: Duration = Duration::from_secs(3);
/// How long events wait for a topic that is being opened, before they are kept elsewhere.
pub(super) const GRACE: Duration = Duration::from_secs(4);
/// The most events that one transaction takes.
const AT_ONCE: usize = 500;
/// How long a write may take once the process ends.
const LAST_WRITE: Duration = Duration::from_secs(2);
/// How many SecurityEvents are made at once.
const MADE_AT_ONCE: usize = 16;
/// Events that the API server did not take either, which are held in memory.
const IN_MEMORY: usize = 10_000;

/// What is written: another one is another topic, or another signature.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted {
    pub(super) place: Place,
    pub(super) public_key: String,
}

/// The chain, as it is being written.
pub(super) struct Chain {
    pub(super) of: Wanted,
    /// The AuditTrail.
    pub(super) about: ObjectRef,
    pub(super) log: Arc<AuditLog>,
    pub(super) head: Head,
    pub(super) signer: Arc<Signer>,
    /// How many records there were right after the last checkpoint.
    pub(super) signed: u64,
    /// When it was made; `None` where a new one is due.
    pub(super) signed_at: Option<Instant>,
}

pub(super) enum Topic {
    /// There is no AuditTrail.
    Unwanted,
    /// It is not open.
    Closed,
    Opening(Box<Opening>),
    Open(Box<Chain>),
}

pub(super) struct Actor {
    pub(super) context: Arc<Context>,
    pub(super) shown: Shown,
    pub(super) topic: Topic,
    pub(super) health: Health,
    pub(super) recent: Recent,
    /// Where the chain was when it was written last, and when.
    pub(super) written: Option<(Head, Timestamp)>,
    /// The last checkpoint of this process.
    pub(super) signed: Option<Signed>,
    /// Wait for a topic that is being opened.
    waiting: Vec<Told>,
    /// Neither on record nor kept.
    in_memory: VecDeque<SecurityEventSpec>,
    again_due: Instant,
    kept_due: Instant,
    summary_due: Instant,
    /// How the webhook was when that was last reported.
    sending: Sending,
}

/// Takes events until [`super::Trail::finish`].
pub async fn run(context: Arc<Context>, mut inbox: mpsc::Receiver<Told>) {
    let finish = context.trail.finish.clone();
    let mut actor = Actor {
        shown: Shown::new(context.clone()),
        context,
        topic: Topic::Unwanted,
        health: Health::default(),
        recent: Recent::default(),
        written: None,
        signed: None,
        waiting: Vec::new(),
        in_memory: VecDeque::new(),
        again_due: Instant::now(),
        kept_due: Instant::now() + KEPT_EVERY,
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
                for batch in batches(std::mem::take(&mut told)) {
                    actor.take(batch).await;
                }
            }
            () = finish.cancelled() => return actor.finish().await,
        }
    }
}

impl Actor {
    async fn look_after(&mut self) {
        match self.trail() {
            Some(trail) => {
                self.tend(&trail).await;
                self.sign_when_due(&trail).await;
                let sending = self.context.trail.sending();
                if std::mem::replace(&mut self.sending, sending.clone()) != sending {
                    self.report(&trail).await;
                }
            }
            None => self.give_up().await,
        }
        if self.kept_due <= Instant::now() {
            self.kept().await;
        }
        if self.again_due <= Instant::now() {
            self.again_due = Instant::now() + AGAIN_EVERY;
            let again = self.in_memory.len().min(AT_ONCE);
            let again = self.in_memory.drain(..again).collect();
            self.tell(again).await;
        }
        if self.summary_due <= Instant::now() {
            self.summary_due = Instant::now() + SUMMARY_EVERY;
            let summary = self.shown.summary(Timestamp::now());
            self.tell(summary).await;
        }
    }

    pub(super) fn trail(&self) -> Option<Arc<AuditTrail>> {
        self.context.world.index().trail().cloned()
    }

    /// The last that this instance does: what waits is on record, or kept, and the head is signed.
    async fn finish(mut self) {
        self.wait_no_longer().await;
        let in_memory: Vec<_> = self.in_memory.drain(..).collect();
        if self.append(in_memory.iter()).await.is_err() {
            self.keep(in_memory).await;
        }
        if !self.in_memory.is_empty() {
            error!(events = self.in_memory.len(), "events could be neither put on record nor kept: they are lost");
        }
        let Some(trail) = self.trail() else { return };
        if self.sign().await {
            self.report(&trail).await;
        }
    }

    /// Those that wait for a topic that is being opened wait no longer.
    pub(super) async fn wait_no_longer(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        self.put_aside(waiting).await;
    }

    /// Those that waited for the topic.
    pub(super) async fn take_waiting(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        self.take(waiting).await;
    }

    /// Puts on record what was kept until it could be.
    pub(super) async fn kept(&mut self) {
        self.kept_due = Instant::now() + KEPT_EVERY;
        if !matches!(self.topic, Topic::Open(_)) {
            return;
        }
        let kept = match self.context.events.kept().await {
            Ok(kept) => kept,
            Err(error) => return warn!(%error, "failed to look for events that are not on record yet"),
        };
        for chunk in kept.chunks(AT_ONCE) {
            if self.append(chunk.iter()).await.is_err() {
                return;
            }
            let context = &self.context;
            let released = futures::stream::iter(chunk.to_vec()).map(|event| async move {
                if let Err(error) = context.events.release(&event).await {
                    warn!(%error, "failed to release an event that is on record now");
                }
            });
            released.buffer_unordered(MADE_AT_ONCE).collect::<()>().await;
        }
    }

    /// Takes what was told.
    async fn take(&mut self, told: Vec<Told>) {
        match &self.topic {
            Topic::Unwanted if self.trail().is_none() => {
                self.context.trail.count(told.iter().map(|t| t.event.action));
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
            _ if self.health.may_be_waited_for() => self.waiting.extend(told),
            _ => self.put_aside(told).await,
        }
    }

    /// Tells of events that nobody waits for.
    pub(super) async fn tell(&mut self, events: Vec<SecurityEventSpec>) {
        let is_unwanted = matches!(self.topic, Topic::Unwanted);
        if is_unwanted || self.append(events.iter()).await.is_ok() {
            events.into_iter().for_each(|event| self.shown.show(event));
        } else {
            self.keep(events).await;
        }
    }

    /// Keeps what was told until the topic has it.
    async fn put_aside(&mut self, told: Vec<Told>) {
        let (events, heard): (Vec<_>, Vec<_>) = told.into_iter().map(|t| (t.event, t.heard)).unzip();
        // What was only intended is not done now.
        self.keep(events.into_iter().filter(|e| e.action != Action::AccessWidening).collect()).await;
        heard.into_iter().for_each(|heard| {
            let _ = heard.send(false);
        });
    }

    /// Keeps events until the topic has them: in etcd, or as long as that does not take them, in memory.
    pub(super) async fn keep(&mut self, events: Vec<SecurityEventSpec>) {
        let events: Vec<_> = events.into_iter().filter(|event| self.shown.may_keep(event)).collect();
        let kept = futures::stream::iter(events).map(|event| async {
            let result = self.context.events.keep(&event).await;
            result.map_err(|error| (event, error))
        });
        let kept: Vec<_> = kept.buffer_unordered(MADE_AT_ONCE).collect().await;
        for result in kept {
            let counts = &self.context.trail.counts;
            match result {
                Ok(()) => drop(counts.kept.fetch_add(1, Ordering::Relaxed)),
                Err((event, error)) if self.in_memory.len() < IN_MEMORY => {
                    warn!(%error, uid = event.uid, "failed to keep an event; it is tried again");
                    self.in_memory.push_back(in_short(&event));
                }
                Err((event, error)) => {
                    error!(%error, uid = event.uid, "failed to keep an event, and there is no place for it: it is lost");
                    counts.lost.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// Puts on record what is not there yet, in one transaction. Another leader's opening the topic shuts this one out: no lease is
    /// asked for.
    pub(super) async fn append<'a>(
        &mut self,
        events: impl Iterator<Item = &'a SecurityEventSpec> + Clone,
    ) -> Result<(), ()> {
        let Topic::Open(chain) = &mut self.topic else { return Err(()) };
        let mut head = chain.head.clone();
        let mut records = Vec::new();
        let (mut uids, mut actions) = (BTreeSet::new(), Vec::new());
        for event in events.clone().filter(|e| !self.recent.has(&e.uid) && uids.insert(&e.uid)) {
            let (record, after) = head.follow(event);
            records.push(record);
            actions.push(event.action);
            head = after;
        }
        let Some(last) = records.last_mut() else { return Ok(()) };
        last.headers.push((SEAL.to_owned(), chain.signer.seal(&head)));
        self.context.trail.set_writing(Some(Instant::now()));
        let finish = self.context.trail.finish.clone();
        let at_the_end = async {
            finish.cancelled().await;
            tokio::time::sleep(LAST_WRITE).await;
        };
        let appended = tokio::select! {
            appended = chain.log.append(&records) => appended,
            () = at_the_end => Err(TopicError::Unavailable("the process ends".into())),
        };
        self.context.trail.set_writing(None);
        match appended {
            Ok(()) => {
                self.written = Some((head.clone(), Timestamp::now()));
                chain.head = head;
                self.context.trail.counts.recorded.fetch_add(records.len() as u64, Ordering::Relaxed);
                self.context.trail.count(actions);
                events.for_each(|event| self.recent.insert(&event.uid));
                Ok(())
            }
            Err(TopicError::Fenced) => {
                error!("another instance of Weir writes the audit topic");
                self.topic = Topic::Closed;
                self.context.step_down();
                Err(())
            }
            // It may be on record all the same: opening the topic again tells.
            Err(TopicError::Unavailable(why)) => {
                self.lose_sight(&why).await;
                Err(())
            }
        }
    }

    /// The topic was open, and cannot be written any more.
    async fn lose_sight(&mut self, why: &str) {
        self.topic = Topic::Closed;
        self.health.closed();
        if let Some(trail) = self.trail() {
            self.lose(&trail, Reason::AuditUnavailable, why.to_owned()).await;
        }
    }

    /// Signs the head of the chain when it is time; also where nothing happens, so that the topic never empties by its retention.
    async fn sign_when_due(&mut self, trail: &AuditTrail) {
        let Topic::Open(chain) = &self.topic else { return };
        let has_more = chain.head.records > chain.signed;
        let age = chain.signed_at.map_or(Duration::MAX, |at| at.elapsed());
        let every = Duration::from(trail.spec.checkpoints.every);
        let is_quiet = chain.of.place.retention.is_some_and(|r| age > r / 4);
        if (has_more && age >= every || is_quiet) && self.sign().await {
            self.report(trail).await;
        }
    }

    /// Signs the head of the chain, if there is one to sign; says whether it did.
    pub(super) async fn sign(&mut self) -> bool {
        let Topic::Open(chain) = &mut self.topic else { return false };
        let (head, at) = (chain.head.clone(), Timestamp::now());
        let text = chain.signer.sign(&head, at);
        chain.signed_at = Some(Instant::now());
        chain.signed = head.records + 1;
        let signed = Signed { public_key: chain.signer.public_key(), head, at, text };
        let happening = Happening::new(Action::AuditCheckpoint, chain.about.clone(), "Signed", &signed.text);
        let checkpoint = event(happening, &format!("{}/{at}", signed.head.records), at);
        let is_on_record = self.append(std::iter::once(&checkpoint)).await.is_ok();
        if is_on_record {
            self.signed = Some(signed);
        }
        is_on_record
    }

    pub(super) async fn report(&self, trail: &AuditTrail) {
        let of = &self.context.trail;
        let unclear = self.health.unclear.as_ref();
        let after = status(trail, &of.standing(), unclear, &of.sending(), self.signed.as_ref(), Timestamp::now());
        if trail.status.as_ref() != Some(&after)
            && let Err(error) = write_status(&self.context.client, trail, &after).await
        {
            warn!(%error, "failed to write the status of the AuditTrail");
        }
    }
}
