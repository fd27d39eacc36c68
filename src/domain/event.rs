//! SecurityEvents: what is said of what happened. One for a change of a binding, never one for an ACL.

use jiff::Timestamp;
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

/// The event of a happening. What Weir does by itself has the actor `weir`.
pub fn event(happening: Happening, now: Timestamp) -> SecurityEventSpec {
    let Happening { action, object, outcome, reason, message, cluster, mut principals } = happening;
    principals.truncate(MOST_PRINCIPALS);
    SecurityEventSpec {
        time: Time(now),
        actor: Actor { name: "weir".into() },
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
