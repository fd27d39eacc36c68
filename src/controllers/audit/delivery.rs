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
}

/// Where events go, and from where.
#[derive(Clone, PartialEq)]
struct Wanted {
    endpoint: KafkaEndpoint,
    topic: String,
    receiver: Receiver,
}

/// Sends, for ever.
pub async fn deliver(context: Arc<Context>) {
    loop {
        match wanted(&context).await {
            Ok(None) => context.trail.set_sending(Sending::Unwanted),
            Ok(Some(wanted)) => {
                if let Err(why) = send(&context, &wanted).await {
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
async fn send(context: &Context, wanted: &Wanted) -> Result<(), String> {
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
        post(context, wanted, &webhook, &batch.records).await?;
        follower.done(&batch).await.map_err(said)?;
        context.trail.set_sending(Sending::Working);
        context.trail.counts.sent.fetch_add(batch.records.len() as u64, Ordering::Relaxed);
    }
}

/// Sends a batch, whole or, where it is refused, one by one.
async fn post(context: &Context, wanted: &Wanted, webhook: &Webhook, batch: &[Stored]) -> Result<(), String> {
    let events: Vec<_> = batch.iter().map(|s| event(&s.record)).collect();
    match patiently(context, webhook, &events).await? {
        Ok(()) => return Ok(()),
        Err(why) if batch.len() == 1 => return bury(context, wanted, &batch[0].record, &why).await,
        Err(_) => {}
    }
    for (stored, event) in batch.iter().zip(&events) {
        if let Err(why) = patiently(context, webhook, std::slice::from_ref(event)).await? {
            bury(context, wanted, &stored.record, &why).await?;
        }
    }
    Ok(())
}

/// Sends until it is taken, or refused. Waits ever longer in between.
async fn patiently(context: &Context, webhook: &Webhook, events: &[Value]) -> Result<Result<(), String>, String> {
    let (mut wait, longest) = AGAIN;
    let start = Instant::now();
    loop {
        match webhook.post(events).await {
            Delivery::Taken => return Ok(Ok(())),
            Delivery::Refused(why) => return Ok(Err(why)),
            Delivery::PutOff(why) => {
                warn!(why, "the webhook does not take events; they wait");
                context.trail.set_sending(Sending::Waiting(why.clone()));
                // Whoever waits for long looks at the AuditTrail again: address or token may be others now.
                if start.elapsed() > LOOK_EVERY || !context.leadership.holds() {
                    return Err(why);
                }
                sleep(wait).await;
                wait = (wait * 2).min(longest);
            }
        }
    }
}

/// A record in CloudEvents' JSON format; what is not Weir's goes as it is.
fn event(record: &Record) -> Value {
    let data = serde_json::from_slice(&record.value).unwrap_or(Value::Null);
    match chain::read(&record.value) {
        Ok((event, _)) => cloudevent(&event, data),
        Err(_) => data,
    }
}

/// Puts a record that the receiver will never take where somebody can find it.
async fn bury(context: &Context, wanted: &Wanted, record: &Record, why: &str) -> Result<(), String> {
    let topic = format!("{}-dead-letters", wanted.topic);
    warn!(key = record.key, why, topic, "the webhook refuses an event: it is a dead letter");
    let log = AuditLog::connect(&wanted.endpoint, "weir-audit", &topic, None).await.map_err(|e| e.to_string())?;
    let mut letter = record.clone();
    letter.headers.push(("weir_reason".into(), why.to_owned()));
    log.open(0).await.map_err(|e| e.to_string())?;
    log.append(&[letter]).await.map_err(|e| e.to_string())?;
    context.trail.counts.dead.fetch_add(1, Ordering::Relaxed);
    Ok(())
}
