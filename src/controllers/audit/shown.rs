//! SecurityEvents, within bounds: what floods is on record, and summed up by namespace here.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use jiff::Timestamp;
use tokio::sync::mpsc;
use tracing::warn;

use crate::api::{Action, EventSource, ObjectRef, SecurityEventSpec, Severity};
use crate::controllers::context::Context;
use crate::domain::event::{Happening, event, event_type};

/// How many SecurityEvents of routine are made at once, and then each second.
const ROUTINE: (u32, u32) = (200, 5);
/// The same of all others of Weir's own.
const OTHERS: (u32, u32) = (500, 10);
/// The same of what brokers, and groups of consumers, tell: who has itself refused hides nothing of Weir's own.
const HEARD: (u32, u32) = (500, 10);
/// Events that wait for the API server; what comes beyond is summed up.
const QUEUE: usize = 1000;
/// How often it is told how much was summed up.
pub const EVERY: Duration = Duration::from_secs(60);

/// See the module.
pub struct Shown {
    context: Arc<Context>,
    queue: mpsc::Sender<SecurityEventSpec>,
    routine: DefaultDirectRateLimiter,
    others: DefaultDirectRateLimiter,
    heard: DefaultDirectRateLimiter,
    /// By namespace and action, how many are not shown.
    summed: BTreeMap<(String, &'static str), u64>,
}

impl Shown {
    /// Makes them by `context`'s client, in a task of its own.
    pub fn new(context: Arc<Context>) -> Self {
        let (queue, mut waiting) = mpsc::channel::<SecurityEventSpec>(QUEUE);
        let of_task = context.clone();
        tokio::spawn(async move {
            while let Some(event) = waiting.recv().await {
                make(&of_task, &event).await;
            }
        });
        let limiter = |(burst, rate): (u32, u32)| {
            let of = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
            RateLimiter::direct(Quota::per_second(of(rate)).allow_burst(of(burst)))
        };
        let [routine, others, heard] = [ROUTINE, OTHERS, HEARD].map(limiter);
        Self { context, queue, routine, others, heard, summed: BTreeMap::new() }
    }

    /// Shows an event soon, or sums it up.
    pub fn show(&mut self, event: SecurityEventSpec) {
        let Some(event) = self.admit(event) else { return };
        if let Err(mpsc::error::TrySendError::Full(event)) = self.queue.try_send(event) {
            self.sum_up(&event);
        }
    }

    /// Gives an event back that may be shown; sums it up where it may not.
    pub fn admit(&mut self, event: SecurityEventSpec) -> Option<SecurityEventSpec> {
        if event_type(event.action).record_only {
            return None;
        }
        if self.may_show(&event) {
            return Some(event);
        }
        self.sum_up(&event);
        None
    }

    /// Makes the SecurityEvents of an event before this returns.
    pub async fn make(&self, event: SecurityEventSpec) {
        make(&self.context, &event).await;
    }

    /// Whether an event may be kept until the audit topic has it. What floods is summed up; Weir's own is kept in any case.
    pub fn may_keep(&mut self, event: &SecurityEventSpec) -> bool {
        if event.source == EventSource::Weir || self.may_show(event) {
            return true;
        }
        self.sum_up(event);
        false
    }

    fn may_show(&self, event: &SecurityEventSpec) -> bool {
        let limiter = match (event.source, event.severity) {
            (_, Severity::Critical) => return true,
            (EventSource::Weir, Severity::Informational) => &self.routine,
            (EventSource::Weir, _) => &self.others,
            _ => &self.heard,
        };
        let copies = self.context.events.namespaces(event).len();
        let copies = u32::try_from(copies).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
        matches!(limiter.check_n(copies), Ok(Ok(())))
    }

    fn sum_up(&mut self, event: &SecurityEventSpec) {
        self.context.trail.counts.summed.fetch_add(1, Ordering::Relaxed);
        let name = event_type(event.action).name;
        for namespace in self.context.events.namespaces(event) {
            *self.summed.entry((namespace, name)).or_default() += 1;
        }
    }

    /// What was summed up since the last time: one event for each namespace.
    pub fn summary(&mut self, now: Timestamp) -> Vec<SecurityEventSpec> {
        let mut by_namespace: BTreeMap<String, Vec<(&'static str, u64)>> = BTreeMap::new();
        for ((namespace, name), count) in std::mem::take(&mut self.summed) {
            by_namespace.entry(namespace).or_default().push((name, count));
        }
        let tell = |(namespace, counts): (String, Vec<(&'static str, u64)>)| {
            let total: u64 = counts.iter().map(|(_, count)| count).sum();
            let each: Vec<_> = counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
            let message = format!("more happened than SecurityEvents are made of: {}", each.join(", "));
            let object =
                ObjectRef { kind: "Namespace".into(), namespace: Some(namespace.clone()), name: namespace, uid: None };
            let happening = Happening::new(Action::EventsSummarised, object, "TooMany", message);
            let count = i64::try_from(total).unwrap_or(i64::MAX);
            event(Happening { count, ..happening }, &now.to_string(), now)
        };
        by_namespace.into_iter().map(tell).collect()
    }
}

async fn make(context: &Context, event: &SecurityEventSpec) {
    if let Err(error) = context.events.show(event).await {
        warn!(%error, uid = event.uid, "failed to make a SecurityEvent");
    }
    context.trail.shown.notify_one();
}
