//! What may be of no use is done again ever more rarely.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The first wait before what failed is started again; each next one is twice as long.
const BACKOFF: Duration = Duration::from_secs(2);
/// The longest.
const LONGEST_BACKOFF: Duration = Duration::from_secs(120);
/// So long may a connector be without tasks, or its tasks on their way, before it is started again.
const ON_ITS_WAY: Duration = Duration::from_secs(15);

/// By connector, or link.
#[derive(Default)]
pub(super) struct Retries {
    restarts: BTreeMap<String, Retry>,
    configured: BTreeMap<String, (BTreeMap<String, String>, Retry)>,
}

/// When something is done again.
#[derive(Clone, Copy)]
struct Retry {
    at: Instant,
    wait: Duration,
}

impl Retry {
    /// Whether it is time. The next time is later by ever more.
    fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let is_due = self.at <= now;
        if is_due {
            *self = Self { at: now + self.wait, wait: (self.wait * 2).min(LONGEST_BACKOFF) };
        }
        is_due
    }
}

impl Retries {
    /// Whether it is time to start one again, of which something failed, or nothing is at work.
    pub(super) fn may_restart(&mut self, name: &str, has_failed: bool) -> bool {
        let now = Instant::now();
        // What did not fail may be on its way.
        let at = if has_failed { now } else { now + ON_ITS_WAY };
        self.restarts.entry(name.to_owned()).or_insert(Retry { at, wait: BACKOFF }).is_due()
    }

    /// What flows well may fail as if for the first time.
    pub(super) fn forgive(&mut self, name: &str) {
        self.restarts.remove(name);
    }

    /// Whether a configuration is a new one, or it is time to give it again.
    pub(super) fn may_configure(&mut self, name: &str, config: &BTreeMap<String, String>) -> bool {
        match self.configured.get_mut(name) {
            Some((before, retry)) if before == config => retry.is_due(),
            _ => true,
        }
    }

    /// Takes note of a configuration that was given.
    pub(super) fn configured(&mut self, name: &str, config: BTreeMap<String, String>) {
        if self.configured.get(name).is_none_or(|(before, _)| *before != config) {
            let retry = Retry { at: Instant::now() + BACKOFF, wait: BACKOFF * 2 };
            self.configured.insert(name.to_owned(), (config, retry));
        }
    }

    /// Forgets the configurations of those that are no more.
    pub(super) fn retain(&mut self, is_there: impl Fn(&String) -> bool) {
        self.configured.retain(|name, _| is_there(name));
    }
}
