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
use crate::domain::event::{Happening, event, event_type, in_short};

/// How many SecurityEvents of routine are made at once, and then each second.
const ROUTINE: (u32, u32) = (200, 5);
/// The same of all others of Weir's own.
const OTHERS: (u32, u32) = (500, 10);
/// The same of what brokers, and groups of consumers, tell: who has itself refused hides nothing of Weir's own.
const HEARD: (u32, u32) = (500, 10);
/// The same of whom Weir's own endpoints turn away: anybody can call them.
const TURNED_AWAY: (u32, u32) = (50, 1);
/// Events that wait for the API server; what comes beyond is summed up.
const QUEUE: usize = 1000;
/// How often it is told how much was summed up.
pub const EVERY: Duration = Duration::from_secs(60);
/// Of how many namespaces it is told each time; of all others together.
const MOST_NAMESPACES: usize = 100;

/// How many events of each type were not shown.
type Counts = BTreeMap<&'static str, u64>;

/// See the module.
pub struct Shown {
    context: Arc<Context>,
    queue: mpsc::Sender<SecurityEventSpec>,
    routine: DefaultDirectRateLimiter,
    others: DefaultDirectRateLimiter,
    heard: DefaultDirectRateLimiter,
    turned_away: DefaultDirectRateLimiter,
    /// By namespace.
    summed: BTreeMap<String, Counts>,
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
        let [routine, others, heard, turned_away] = [ROUTINE, OTHERS, HEARD, TURNED_AWAY].map(limiter);
        Self { context, queue, routine, others, heard, turned_away, summed: BTreeMap::new() }
    }

    /// Shows an event soon, or sums it up.
    pub fn show(&mut self, event: SecurityEventSpec) {
        let Some(event) = self.admit(event) else { return };
        if let Err(mpsc::error::TrySendError::Full(event)) = self.queue.try_send(in_short(&event)) {
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

    /// Whether an event may be kept until the audit topic has it. What floods is summed up; Weir's own is kept in any case, but for
    /// refusals, of which anybody can cause as many as they like.
    pub fn may_keep(&mut self, event: &SecurityEventSpec) -> bool {
        let may_flood = event.source != EventSource::Weir || event.action == Action::RequestRefused;
        if !may_flood || self.may_show(event) {
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
            (EventSource::Endpoint, _) => &self.turned_away,
            _ => &self.heard,
        };
        let copies = self.context.events.namespaces(event).len();
        let copies = u32::try_from(copies).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
        matches!(limiter.check_n(copies), Ok(Ok(())))
    }

    fn sum_up(&mut self, event: &SecurityEventSpec) {
        // It would be told of again and again.
        if event.action == Action::EventsSummarised {
            return;
        }
        self.context.trail.counts.summed.fetch_add(1, Ordering::Relaxed);
        let name = event_type(event.action).name;
        for namespace in self.context.events.namespaces(event) {
            *self.summed.entry(namespace).or_default().entry(name).or_default() += 1;
        }
    }

    /// What was summed up since the last time: one event for each namespace.
    pub fn summary(&mut self, now: Timestamp) -> Vec<SecurityEventSpec> {
        let summed = bounded(std::mem::take(&mut self.summed), self.context.events.own_namespace());
        let tell = |(namespace, counts): (String, Counts)| {
            let each: Vec<_> = counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
            let message = format!("more happened than SecurityEvents are made of: {}", each.join(", "));
            let object =
                ObjectRef { kind: "Namespace".into(), namespace: Some(namespace.clone()), name: namespace, uid: None };
            let happening = Happening::new(Action::EventsSummarised, object, "TooMany", message);
            let count = i64::try_from(total(&counts)).unwrap_or(i64::MAX);
            event(Happening { count, ..happening }, &now.to_string(), now)
        };
        summed.into_iter().map(tell).collect()
    }
}

fn total(counts: &Counts) -> u64 {
    counts.values().sum()
}

/// The same of those namespaces in which there are most, and in `own` of all others together.
fn bounded(summed: BTreeMap<String, Counts>, own: &str) -> BTreeMap<String, Counts> {
    let mut all: Vec<_> = summed.into_iter().collect();
    all.sort_by_key(|(_, counts)| std::cmp::Reverse(total(counts)));
    let others = all.split_off(all.len().min(MOST_NAMESPACES));
    let mut bounded: BTreeMap<_, _> = all.into_iter().collect();
    for (name, count) in others.into_iter().flat_map(|(_, counts)| counts) {
        *bounded.entry(own.to_owned()).or_default().entry(name).or_default() += count;
    }
    bounded
}

async fn make(context: &Context, event: &SecurityEventSpec) {
    if let Err(error) = context.events.show(event).await {
        warn!(%error, uid = event.uid, "failed to make a SecurityEvent");
    }
    context.trail.shown.notify_one();
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Counts, MOST_NAMESPACES, bounded, total};

    #[test]
    fn however_many_namespaces_there_are_few_are_told_of_and_none_is_left_out() {
        let of = |n: usize| (format!("n{n}"), Counts::from([("AccessDenied", n as u64), ("DenialBurst", 1)]));
        let few: BTreeMap<_, _> = (0..MOST_NAMESPACES).map(of).collect();
        assert_eq!(bounded(few.clone(), "weir-system"), few);
        let many: BTreeMap<_, _> = (0..10_000).map(of).collect();
        let told = bounded(many.clone(), "weir-system");
        assert_eq!(told.len(), MOST_NAMESPACES + 1);
        assert!(told.contains_key("n9999") && !told.contains_key("n0"));
        let all = |summed: &BTreeMap<String, Counts>| summed.values().map(total).sum::<u64>();
        assert_eq!(all(&told), all(&many));
        assert_eq!(told["weir-system"]["DenialBurst"], 10_000 - MOST_NAMESPACES as u64);
    }
}
