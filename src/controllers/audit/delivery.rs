//! What is on record is sent to the webhook, too: in order, at least once, from where it had come when another instance led. What the
//! receiver refuses for itself goes to a topic of dead letters, and the rest goes on.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::Standing;
use crate::audit::webhook::{Delivery, Receiver, Webhook};
use crate::controllers::context::Context;
use crate::domain::audit::chain::{self, Record};
use crate::domain::event::cloudevent;
use crate::kafka::{AuditLog, Begin, Follower, Stored};
use crate::ports::{KafkaEndpoint, TopicError};

/// The most events in a batch.
const BATCH: usize = 100;
/// How long a batch is gathered.
const GATHER: Duration = Duration::from_millis(500);
/// How often it is looked whether there is a webhook.
const EVERY: Duration = Duration::from_secs(2);
/// How long after a failure it is tried again: at first, and at most.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How often the AuditTrail is looked at while events are sent.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// How the webhook is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Sending {
    /// There is none.
    #[default]
    Unwanted,
    /// Events are sent.
    Working,
    /// They wait.
    Waiting(String),
    /// The receiver refused some for themselves, and no whole batch was taken since.
    Refused(String),
}

/// Where events go, and from where.
#[derive(Clone, PartialEq)]
struct Wanted {
    endpoint: KafkaEndpoint,
    topic: String,
    receiver: Receiver,
}

/// How long it waits after the receiver did not take events, whatever else is done meanwhile.
#[derive(Debug)]
struct Backoff {
    wait: Duration,
    due: Instant,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { wait: AGAIN.0, due: Instant::now() }
    }
}

impl Backoff {
    /// It did not take them: the next time is later than the one before.
    fn put_off(&mut self) {
        self.due = Instant::now() + self.wait;
        self.wait = (self.wait * 2).min(AGAIN.1);
    }

    /// How long it is until then.
    fn left(&self) -> Duration {
        self.due.saturating_duration_since(Instant::now())
    }
}

/// What is known of a receiver while it is the one.
#[derive(Default)]
struct Course {
    backoff: Backoff,
    /// How many it refused since a whole batch was taken.
    refused: u64,
}

/// Sends, for ever.
pub async fn deliver(context: Arc<Context>) {
    let (mut last, mut course) = (None, Course::default());
    loop {
        let asked = wanted(&context).await;
        if let Ok(asked) = &asked
            && *asked != last
        {
            (last, course) = (asked.clone(), Course::default());
        }
        match asked {
            Ok(None) => context.trail.set_sending(Sending::Unwanted),
            // Whether it is the same receiver is looked at again meanwhile.
            Ok(Some(_)) if !course.backoff.left().is_zero() => {
                sleep(course.backoff.left().min(LOOK_EVERY)).await;
                continue;
            }
            Ok(Some(wanted)) => {
                if let Err(why) = send(&context, &wanted, &mut course).await {
                    context.trail.set_sending(Sending::Waiting(why));
                }
            }
            Err(why) => context.trail.set_sending(Sending::Waiting(why)),
        }
        sleep(EVERY).await;
    }
}

/// What the AuditTrail asks for, once its topic is written.
async fn wanted(context: &Context) -> Result<Option<Wanted>, String> {
    let Some(trail) = context.world.index().trail().cloned() else { return Ok(None) };
    let Some(webhook) = &trail.spec.webhook else { return Ok(None) };
    if context.trail.standing() != Standing::Open {
        return Err("the audit topic is not open".into());
    }
    let endpoint = context.endpoint(&trail.spec.cluster_ref.name).ok_or("its cluster is not known")?;
    let (token, ca_pem) = context.secrets.webhook(&webhook.secret_ref.name).await.map_err(|e| e.to_string())?;
    let receiver = Receiver { url: webhook.url.clone(), ca_pem, token };
    Ok(Some(Wanted { endpoint, topic: trail.spec.topic.clone(), receiver }))
}

/// Sends until something else is asked for, or something fails.
async fn send(context: &Context, wanted: &Wanted, course: &mut Course) -> Result<(), String> {
    let said = |e: TopicError| e.to_string();
    let webhook = Webhook::new(&wanted.receiver).map_err(|e| e.to_string())?;
    let group = format!("{}-webhook", wanted.topic);
    let follower = Follower::open(&wanted.endpoint, &wanted.topic, &group, Begin::First).await.map_err(said)?;
    info!(url = wanted.receiver.url, "sending events to the webhook");
    let mut looked = Instant::now();
    loop {
        if looked.elapsed() > LOOK_EVERY {
            looked = Instant::now();
            if self::wanted(context).await.ok().flatten().as_ref() != Some(wanted) {
                return Ok(());
            }
        }
        if !context.leadership.holds() {
            return Ok(());
        }
        let batch = follower.next(BATCH, GATHER).await.map_err(said)?;
        if batch.records.is_empty() {
            continue;
        }
        let sender = Sender { context, wanted, webhook: &webhook };
        let (progress, ended) = sender.post(&batch.records, course).await;
        // Also where the rest waits: what was taken is not sent again.
        follower.done(&batch, progress.done()).await.map_err(said)?;
        context.trail.counts.sent.fetch_add(progress.taken as u64, Ordering::Relaxed);
        if let Err(why) = ended {
            course.refused += progress.refused.len() as u64;
            return Err(why);
        }
        context.trail.set_sending(course.after(&progress, wanted));
    }
}

/// How far a batch is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Progress {
    /// Events that were taken.
    taken: usize,
    /// Why others never will be.
    refused: Vec<String>,
}

impl Progress {
    /// How many are done with.
    fn done(&self) -> usize {
        self.taken + self.refused.len()
    }
}

impl Course {
    /// What to say after a batch.
    fn after(&mut self, progress: &Progress, wanted: &Wanted) -> Sending {
        let Some(why) = progress.refused.last() else {
            self.refused = 0;
            return Sending::Working;
        };
        self.refused += progress.refused.len() as u64;
        Sending::Refused(format!(
            "the webhook refused {} events since it last took all of a batch: they are in topic {}; of the last one {why}",
            self.refused,
            letters(&wanted.topic)
        ))
    }
}

/// Sends batches.
struct Sender<'a> {
    context: &'a Context,
    wanted: &'a Wanted,
    webhook: &'a Webhook,
}

impl Sender<'_> {
    /// Sends a batch, whole or, where it is refused, one by one. How far it came, and whether the rest waits.
    async fn post(&self, batch: &[Stored], course: &mut Course) -> (Progress, Result<(), String>) {
        let mut progress = Progress::default();
        let events: Vec<_> = batch.iter().map(event).collect();
        let known: Vec<_> = events.iter().flatten().cloned().collect();
        if known.len() > 1 {
            match self.patiently(&known, course).await {
                Ok(Ok(())) => return (Progress { taken: batch.len(), ..progress }, Ok(())),
                Ok(Err(_)) => {}
                Err(why) => return (progress, Err(why)),
            }
        }
        for (stored, event) in batch.iter().zip(&events) {
            let Some(event) = event else {
                progress.taken += 1;
                continue;
            };
            let said = match self.patiently(std::slice::from_ref(event), course).await {
                Ok(said) => said,
                Err(why) => return (progress, Err(why)),
            };
            let Err(why) = said else {
                progress.taken += 1;
                continue;
            };
            if let Err(why) = self.bury(&stored.record, &why).await {
                return (progress, Err(why));
            }
            progress.refused.push(why);
        }
        (progress, Ok(()))
    }

    /// Sends until it is taken, or refused. Waits ever longer in between, and for long somewhere else.
    async fn patiently(&self, events: &[Value], course: &mut Course) -> Result<Result<(), String>, String> {
        let start = Instant::now();
        loop {
            let why = match self.webhook.post(events).await {
                Delivery::Taken => {
                    course.backoff = Backoff::default();
                    return Ok(Ok(()));
                }
                Delivery::Refused(why) => {
                    course.backoff = Backoff::default();
                    return Ok(Err(why));
                }
                Delivery::PutOff(why) => why,
            };
            warn!(why, "the webhook does not take events; they wait");
            self.context.trail.set_sending(Sending::Waiting(why.clone()));
            course.backoff.put_off();
            // Whoever waits for long looks at the AuditTrail again: address or token may be others now.
            let until = start.elapsed() + course.backoff.left();
            if until > LOOK_EVERY || !self.context.leadership.holds() {
                return Err(why);
            }
            sleep(course.backoff.left()).await;
        }
    }

    /// Puts a record that the receiver will never take where somebody can find it.
    async fn bury(&self, record: &Record, why: &str) -> Result<(), String> {
        let topic = letters(&self.wanted.topic);
        warn!(key = record.key, why, topic, "the webhook refuses an event: it is a dead letter");
        let endpoint = &self.wanted.endpoint;
        let log = AuditLog::connect(endpoint, "weir-audit", &topic, None).await.map_err(|e| e.to_string())?;
        let mut letter = record.clone();
        letter.headers.push(("weir_reason".into(), why.to_owned()));
        log.open(0).await.map_err(|e| e.to_string())?;
        log.append(&[letter]).await.map_err(|e| e.to_string())?;
        self.context.trail.counts.dead.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// The topic of dead letters.
fn letters(topic: &str) -> String {
    format!("{topic}-dead-letters")
}

/// A record in CloudEvents' JSON format; `None` of what is not Weir's, which the trail tells of.
fn event(stored: &Stored) -> Option<Value> {
    let value = &stored.record.value;
    match chain::read(value) {
        Ok((event, _)) => Some(cloudevent(&event, serde_json::from_slice(value).ok()?)),
        Err(why) => {
            warn!(offset = stored.offset, why, "a record of the audit topic is not Weir's: it is not sent");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{AGAIN, Backoff, Course, Progress, Sending, Wanted};
    use crate::audit::webhook::Receiver;
    use crate::ports::KafkaEndpoint;

    #[test]
    fn it_is_tried_ever_more_rarely_and_at_most_once_a_minute() {
        let mut backoff = Backoff::default();
        let waits = (0..10).map(|_| {
            let wait = backoff.wait;
            backoff.put_off();
            assert!(backoff.left() <= wait && !backoff.left().is_zero());
            wait.as_secs()
        });
        assert_eq!(waits.collect::<Vec<_>>(), [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
        assert_eq!(Backoff::default().wait, AGAIN.0);
    }

    #[test]
    fn what_was_refused_is_told_until_a_whole_batch_is_taken() {
        let endpoint = KafkaEndpoint { bootstrap_servers: Vec::new(), tls: None, sasl: None };
        let receiver = Receiver { url: String::new(), ca_pem: None, token: None };
        let wanted = Wanted { endpoint, topic: "weir-audit".into(), receiver };
        let mut course = Course::default();
        let part = Progress { taken: 1, refused: vec!["it answered 422".into(); 2] };
        assert_eq!(part.done(), 3);
        course.after(&part, &wanted);
        let Sending::Refused(said) = course.after(&part, &wanted) else { panic!() };
        assert!(
            said.contains("refused 4 events") && said.contains("weir-audit-dead-letters") && said.contains("422"),
            "{said}"
        );
        let whole = Progress { taken: 3, refused: Vec::new() };
        assert_eq!(course.after(&whole, &wanted), Sending::Working);
        assert!(matches!(course.after(&part, &wanted), Sending::Refused(said) if said.contains("refused 2 events")));
    }
}
