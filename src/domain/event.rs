//! SecurityEvents: what is said of what happened. One for a change of a binding, never one for an ACL.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::{Action, Actor, ObjectRef, Outcome, SecurityEventSpec, Severity};

/// How many principals an event names.
const MOST_PRINCIPALS: usize = 20;

/// What happened, before it has a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Happening {
    /// What was done.
    pub action: Action,
    /// To what.
    pub object: ObjectRef,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, in a word.
    pub reason: String,
    /// Why, in a sentence.
    pub message: String,
    /// On which cluster.
    pub cluster: Option<String>,
    /// Whose access it is.
    pub principals: Vec<String>,
}

/// Who did what Weir does by itself.
pub const WEIR: &str = "weir";

/// The event of what `actor` did.
pub fn event(actor: &str, happening: Happening, now: Timestamp) -> SecurityEventSpec {
    let Happening { action, object, outcome, reason, message, cluster, mut principals } = happening;
    principals.truncate(MOST_PRINCIPALS);
    SecurityEventSpec {
        time: Time(now),
        actor: Actor { name: actor.into() },
        action,
        object,
        outcome,
        reason,
        message,
        severity: severity(action, outcome),
        cluster,
        principals,
    }
}

/// How many events a namespace keeps as resources.
pub const KEPT: usize = 1000;
/// How long one is kept at most.
pub const KEPT_FOR: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Which events of one namespace go: those that are too old, and the oldest of too many. Each is its time and its name.
pub fn past_retention(mut events: Vec<(Timestamp, String)>, now: Timestamp) -> Vec<String> {
    events.sort_by(|a, b| b.cmp(a));
    let kept = |at: &Timestamp| now.duration_since(*at) <= KEPT_FOR;
    let places = events.into_iter().enumerate();
    places.filter(|(place, (at, _))| *place >= KEPT || !kept(at)).map(|(_, (_, name))| name).collect()
}

/// How grave an event is.
pub fn severity(action: Action, outcome: Outcome) -> Severity {
    match (action, outcome) {
        (Action::AccessOrphaned, _) => Severity::High,
        (_, Outcome::Failure) if action != Action::RequestRefused => Severity::High,
        (Action::DriftFound | Action::RevocationsHeld, _) => Severity::High,
        (Action::RevocationsConfirmed | Action::DriftRepaired | Action::RequestRefused, _) => Severity::Medium,
        (Action::AccessRevoked | Action::AccessNarrowed | Action::CredentialRevoked, _) => Severity::Low,
        _ => Severity::Informational,
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::{KEPT, KEPT_FOR, past_retention};

    #[test]
    fn old_events_go_and_the_oldest_of_too_many() {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(10_000);
        let at = |ago: i64| now - SignedDuration::from_secs(ago);
        let fresh: Vec<_> = (0..KEPT + 2).map(|n| (at(n as i64), format!("e{n}"))).collect();
        let mut gone = past_retention(fresh, now);
        gone.sort();
        assert_eq!(gone, [format!("e{KEPT}"), format!("e{}", KEPT + 1)]);
        let old = vec![(now - KEPT_FOR - SignedDuration::from_secs(1), "old".to_owned()), (at(1), "new".to_owned())];
        assert_eq!(past_retention(old, now), ["old"]);
    }
}
