//! As whom Weir itself tries to enter a cluster, to see that it is refused: brokers tell of that as of any other refusal.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::denied::is_canary;
use super::heard::Refusal;

/// How long after an attempt its refusals may be heard.
pub const HEARD_WITHIN: SignedDuration = SignedDuration::from_secs(60);
/// How much earlier a broker's clock may be.
const CLOCKS: SignedDuration = SignedDuration::from_secs(5);
/// How long an attempt is known after it: a broker's time is believed for as long.
const KNOWN: SignedDuration = SignedDuration::from_hours(1);

/// By principal: since when, and until when, its refusals are Weir's own.
#[derive(Clone, Debug, Default)]
pub struct Trials(BTreeMap<String, (Timestamp, Timestamp)>);

impl Trials {
    /// An attempt begins `now`, which ends within `lasts`.
    pub fn begin(&mut self, principal: &str, now: Timestamp, lasts: SignedDuration) {
        self.0.retain(|_, (_, until)| *until + KNOWN > now);
        let until = now + lasts + HEARD_WITHIN;
        let times = self.0.entry(principal.to_owned()).or_insert((now, until));
        let since = if times.1 < now { now } else { times.0 };
        *times = (since, until);
    }

    /// An attempt ended `now`.
    pub fn end(&mut self, principal: &str, now: Timestamp) {
        if let Some((_, until)) = self.0.get_mut(principal) {
            *until = now + HEARD_WITHIN;
        }
    }

    /// Whether a refusal that was heard `now` is Weir's own. Of some logins brokers name nobody: these are, where they come from
    /// Weir's `own` address while it tries anybody.
    pub fn has(&self, refusal: &Refusal, own: Option<&str>, now: Timestamp) -> bool {
        let at = refusal.time(now);
        let is_then = |(since, until): &(Timestamp, Timestamp)| *since - CLOCKS <= at && at <= *until;
        match refusal.principal.as_deref() {
            principal @ Some(name) => is_canary(principal) || self.0.get(name).is_some_and(is_then),
            None => {
                let is_from_here = own.is_some() && refusal.address.as_deref() == own;
                is_from_here && refusal.what.is_login() && self.0.values().any(is_then)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::{HEARD_WITHIN, Trials};
    use crate::api::EventSource;
    use crate::domain::audit::heard::{Refusal, Refused};
    use crate::domain::canary;

    const OWN: Option<&str> = Some("10.0.0.1");

    fn login(principal: Option<&str>, address: &str) -> Refusal {
        let (principal, address) = (principal.map(str::to_owned), Some(address.to_owned()));
        let what = Refused::Login { mechanism: None };
        Refusal { what, principal, address, why: None, at: None, source: EventSource::BrokerLog }
    }

    #[test]
    fn only_who_is_on_trial_is_weir_itself_and_only_then() {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(9);
        let after = |seconds: i64| now + SignedDuration::from_secs(seconds);
        let mut trials = Trials::default();
        assert!(!trials.has(&login(None, "10.0.0.1"), OWN, now), "nobody is tried");
        trials.begin("a", now, SignedDuration::from_secs(60));
        // Wherever a broker sees it from.
        assert!(trials.has(&login(Some("a"), "192.0.2.7"), OWN, after(1)));
        assert!(!trials.has(&login(Some("b"), "10.0.0.1"), OWN, after(1)));
        assert!(trials.has(&login(None, "10.0.0.1"), OWN, after(1)));
        assert!(!trials.has(&login(None, "192.0.2.7"), OWN, after(1)));
        assert!(!trials.has(&login(None, "10.0.0.1"), None, after(1)));
        let request = Refused::Access {
            operation: "Read".into(),
            resource_type: "Topic".into(),
            resource_name: "t".into(),
            api: None,
        };
        assert!(!trials.has(&Refusal { what: request, ..login(None, "10.0.0.1") }, OWN, after(1)));
        trials.end("a", after(10));
        let over = after(11) + HEARD_WITHIN;
        assert!(!trials.has(&login(Some("a"), "192.0.2.7"), OWN, over));
        // A shipper may be late, and the broker's time tells.
        let late = |at| Refusal { at: Some(at), ..login(Some("a"), "192.0.2.7") };
        assert!(trials.has(&late(after(5)), OWN, over) && !trials.has(&late(after(-60)), OWN, after(1)));
        assert!(trials.has(&login(Some(canary::USER), "192.0.2.7"), OWN, over));
    }
}
