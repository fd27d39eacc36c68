//! Looks after the topic: opens it, again where that failed, and tells how it is.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{info, warn};

use super::Standing;
use super::actor::{Actor, Chain, GRACE, Topic, Wanted};
use super::opening::{Closed, Known, Opened, Place, open};
use crate::api::{Action, AuditTrail, CONFIRM_ANNOTATION, ObjectRef, Outcome, Reason};
use crate::domain::approval::requesters;
use crate::domain::audit::breaks::Broken;
use crate::domain::audit::checkpoint::{Checkpoint, Signer};
use crate::domain::audit::proof::CONFIRMED;
use crate::domain::event::{Happening, event};
use crate::domain::names::ObjectKey;
use crate::domain::problem::Problem;
use crate::k8s::objects::object_ref;

/// How long after a failure it is opened again; after each further one so much later.
const AFTER_FAILURE: Duration = Duration::from_secs(3);
/// So many failures make no further difference.
const MOST_FAILURES: u32 = 10;
/// How often it is looked whether the topic is still the one that is asked for.
const WHILE_OPEN: Duration = Duration::from_secs(30);
/// What was put on record since before the leader changed may not have been shown.
const SHOWN_AGAIN: SignedDuration = SignedDuration::from_mins(5);

/// A topic that is being opened.
pub(super) struct Opening {
    of: Wanted,
    signer: Arc<Signer>,
    task: JoinHandle<Result<Opened, Closed>>,
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How it goes with opening the topic.
pub(super) struct Health {
    /// Since when the topic should be open and is not.
    closed_since: Instant,
    /// When it is looked whether it can be opened.
    look_due: Instant,
    /// Since when it is known that it cannot be, and why.
    lost: Option<(Timestamp, Reason)>,
    /// How often in a row it could not be opened, or written.
    failures: u32,
    /// It was open before, in this process.
    was_open: bool,
    /// The AuditTrail, while there is one.
    about: Option<ObjectRef>,
    /// The generation of the AuditTrail, and what its annotation confirmed, at the last look.
    asked: (Option<i64>, Option<String>),
    /// Why it could not be looked up, at the last look, whether the topic that is open is still the one that is asked for.
    pub(super) unclear: Option<Problem>,
}

impl Default for Health {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            closed_since: now,
            look_due: now,
            lost: None,
            failures: 0,
            was_open: false,
            about: None,
            asked: (None, None),
            unclear: None,
        }
    }
}

impl Health {
    /// It is to be opened from now on.
    pub(super) fn closed(&mut self) {
        (self.closed_since, self.look_due) = (Instant::now(), Instant::now());
    }

    /// Whether events wait for it, rather than be kept elsewhere.
    pub(super) fn may_be_waited_for(&self) -> bool {
        self.lost.is_none() && self.closed_since.elapsed() <= GRACE
    }
}

impl Actor {
    /// Opens the topic that is asked for, again where that failed.
    pub(super) async fn tend(&mut self, trail: &AuditTrail) {
        if matches!(self.topic, Topic::Unwanted) {
            self.topic = Topic::Closed;
            self.health = Health { was_open: self.health.was_open, ..Health::default() };
            self.context.trail.set_standing(Standing::Opening);
        }
        self.health.about.get_or_insert_with(|| about(trail));
        let asked = (trail.metadata.generation, trail.annotations().get(CONFIRM_ANNOTATION).cloned());
        // What is asked for while it is being opened is looked at once that is over.
        if self.health.asked != asked && !matches!(self.topic, Topic::Opening(_)) {
            self.health.asked = asked;
            self.health.look_due = Instant::now();
        }
        match std::mem::replace(&mut self.topic, Topic::Closed) {
            Topic::Opening(opening) if !opening.task.is_finished() => self.topic = Topic::Opening(opening),
            Topic::Opening(mut opening) => {
                match (&mut opening.task).await.unwrap_or_else(|e| Err(Closed::Unavailable(e.to_string()))) {
                    Ok(opened) => self.opened(trail, &opening, opened).await,
                    Err(closed) => self.not_open(trail, closed.reason(), closed.to_string()).await,
                }
            }
            now if self.health.look_due > Instant::now() => self.topic = now,
            Topic::Open(chain) => {
                let wanted = self.wanted(trail).await;
                self.health.unclear = wanted.as_ref().err().cloned();
                let pause = if self.health.unclear.is_some() { AFTER_FAILURE } else { WHILE_OPEN };
                self.health.look_due = Instant::now() + pause;
                match wanted {
                    Ok((wanted, signer)) if wanted != chain.of => {
                        self.health.closed();
                        self.begin(trail, wanted, signer);
                    }
                    // What cannot be looked up just now stays open as it is, and says so.
                    _ => {
                        self.topic = Topic::Open(chain);
                        self.report(trail).await;
                    }
                }
            }
            Topic::Unwanted | Topic::Closed => match self.wanted(trail).await {
                Ok((wanted, signer)) => self.begin(trail, wanted, signer),
                Err(Problem { reason, message, .. }) => self.not_open(trail, reason, message).await,
            },
        }
        if !matches!(self.topic, Topic::Open(_)) && !self.health.may_be_waited_for() {
            self.wait_no_longer().await;
        }
    }

    /// There is no AuditTrail, or none any more.
    pub(super) async fn give_up(&mut self) {
        let is_open = matches!(self.topic, Topic::Open(_));
        if let Some(about) = self.health.about.take() {
            let words = "the AuditTrail was deleted: what happens from here on is on record nowhere";
            let now = Timestamp::now();
            let ended = event(Happening::new(Action::AuditTrailEnded, about, "Deleted", words), &now.to_string(), now);
            if is_open {
                self.tell(vec![ended]).await;
                self.sign().await;
            } else {
                self.shown.show(ended);
            }
            warn!("there is no AuditTrail any more: events are not put on record");
            self.topic = Topic::Unwanted;
            // Another AuditTrail is told what its topic holds, and nothing of this one.
            (self.written, self.signed) = (None, None);
        }
        self.context.trail.set_standing(Standing::Unwanted);
        self.take_waiting().await;
    }

    /// What the AuditTrail asks for, and what checkpoints are signed with.
    async fn wanted(&self, trail: &AuditTrail) -> Result<(Wanted, Signer), Problem> {
        let spec = &trail.spec;
        let cluster = &spec.cluster_ref.name;
        let endpoint = self.context.endpoint(cluster).ok_or_else(|| {
            let words = format!("StreamCluster {cluster} does not exist, or its credentials cannot be read");
            Problem::waiting(Reason::ClusterNotReady, words)
        })?;
        let key = &spec.checkpoints.signing_key_ref.name;
        let invalid = |why: String| Problem::waiting(Reason::SecretInvalid, why);
        let pem = self.context.secrets.signing_key(key).await.map_err(|e| invalid(e.to_string()))?;
        let signer = Signer::from_pem(&pem).map_err(|why| invalid(format!("Secret {key}, key signing.key: {why}")))?;
        let place = Place { endpoint, topic: spec.topic.clone(), retention: spec.retention.map(Duration::from) };
        Ok((Wanted { place, public_key: signer.public_key() }, signer))
    }

    fn begin(&mut self, trail: &AuditTrail, of: Wanted, signer: Signer) {
        // Whoever opens the topic shuts out everybody else.
        if !self.context.leadership.holds() {
            return;
        }
        self.health.unclear = None;
        let mut known = Known::of(trail.status.as_ref());
        known.public_keys.push(of.public_key.clone());
        known.public_keys.extend(self.signed.iter().map(|signed| signed.public_key.clone()));
        let written = self.written.iter().map(|(head, at)| (head, *at));
        let signed = self.signed.iter().map(|signed| (&signed.head, signed.at));
        known.checkpoints.extend(written.chain(signed).map(|(head, time)| {
            let (chain, hash) = (head.id.clone(), head.hash.clone());
            Checkpoint { chain, records: head.records, hash, time }
        }));
        known.confirmed = trail.annotations().get(CONFIRM_ANNOTATION).cloned();
        let task = tokio::spawn(open(of.place.clone(), known, self.context.leadership.clone()));
        self.topic = Topic::Opening(Box::new(Opening { of, signer: Arc::new(signer), task }));
    }

    async fn opened(&mut self, trail: &AuditTrail, opening: &Opening, opened: Opened) {
        let Opened { log, head, last, confirmed } = opened;
        info!(records = head.records, "the audit topic is open");
        let is_new = head.records == 0;
        let (of, signer) = (opening.of.clone(), opening.signer.clone());
        // The first checkpoint of a leader comes at once: it says what was found.
        let chain = Chain { of, about: about(trail), log, head, signer, signed: 0, signed_at: None };
        self.topic = Topic::Open(Box::new(chain));
        self.health.look_due = Instant::now() + WHILE_OPEN;
        last.iter().for_each(|event| self.recent.insert(&event.uid));
        if self.first_words(trail, is_new, confirmed).await.is_err() {
            // It can be read, and not be written: nothing has changed.
            return;
        }
        self.context.trail.set_standing(Standing::Open);
        let was_open = std::mem::replace(&mut self.health.was_open, true);
        (self.health.lost, self.health.failures) = (None, 0);
        self.kept().await;
        self.take_waiting().await;
        if !was_open {
            let now = Timestamp::now();
            let fresh = last.into_iter().filter(|event| now.duration_since(event.time.0) < SHOWN_AGAIN);
            fresh.for_each(|event| self.shown.show(event));
        }
        self.report(trail).await;
    }

    /// What is told of the topic itself, once it is open: only then is it known that it can be written.
    async fn first_words(&mut self, trail: &AuditTrail, is_new: bool, confirmed: Option<Broken>) -> Result<(), ()> {
        let of = |action, reason, words: String| {
            Happening::new(action, about(trail), reason, words).asked_by(requesters(trail))
        };
        let begun = is_new.then(|| of(Action::AuditTrailBegun, "Begun", "the audit topic's chain begins here".into()));
        let broken = confirmed.map(|broken| {
            let told = of(Action::AuditTrailBroken, CONFIRMED, broken.to_string());
            // Meanwhile somebody else may have confirmed something else.
            let is_of_it = trail.annotations().get(CONFIRM_ANNOTATION) == Some(&broken.token());
            let told = if is_of_it { told.confirmed_on(trail) } else { told };
            Happening { entries: broken.entries(), ..told }
        });
        let restored = self.health.lost.map(|(since, _)| {
            let words = format!("the audit topic is written again; it was not since {since:.0}");
            of(Action::AuditTrailRestored, "Restored", words)
        });
        let now = Timestamp::now();
        let told = [begun, broken, restored].into_iter().flatten();
        let told: Vec<_> = told.map(|happening| event(happening, &now.to_string(), now)).collect();
        self.append(told.iter()).await?;
        told.into_iter().for_each(|event| self.shown.show(event));
        Ok(())
    }

    /// The topic could not be opened. It is lost once that has lasted.
    async fn not_open(&mut self, trail: &AuditTrail, reason: Reason, why: String) {
        self.topic = Topic::Closed;
        if self.health.may_be_waited_for() && reason != Reason::AuditBroken {
            return;
        }
        self.lose(trail, reason, why).await;
    }

    /// Takes note that the topic cannot be written.
    pub(super) async fn lose(&mut self, trail: &AuditTrail, reason: Reason, why: String) {
        self.health.failures = (self.health.failures + 1).min(MOST_FAILURES);
        self.health.look_due = Instant::now() + AFTER_FAILURE * self.health.failures;
        let standing = Standing::Lost(reason, why.clone());
        if self.context.trail.standing() != standing {
            warn!(why, "the audit topic cannot be written: what widens access waits");
            self.context.trail.set_standing(standing);
        }
        let before = self.health.lost;
        let is_broken = reason == Reason::AuditBroken;
        if before.is_none_or(|(_, before)| is_broken && before != reason) {
            let now = Timestamp::now();
            self.health.lost = Some((before.map_or(now, |(since, _)| since), reason));
            let action = if is_broken { Action::AuditTrailBroken } else { Action::AuditTrailLost };
            let happening = Happening::new(action, about(trail), reason.as_str(), why)
                .ended(Outcome::Failure)
                .asked_by(requesters(trail));
            self.keep(vec![event(happening, &now.to_string(), now)]).await;
        }
        self.report(trail).await;
    }
}

/// The AuditTrail, as events have it.
fn about(trail: &AuditTrail) -> ObjectRef {
    object_ref("AuditTrail", &ObjectKey::new("", trail.name_any()), trail.uid())
}
