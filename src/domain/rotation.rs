//! The life of a StreamClient's credentials: when the next version is issued, published, and the one before retired.

use jiff::{SignedDuration, Timestamp};

use super::certificate;
use super::ledger::{ClientRecord, VersionRecord};
use crate::api::{CredentialType, Credentials};

/// Annotation on a StreamClient: each new value asks for a new version.
pub const ROTATE: &str = "weir.dev/rotate";
/// So many versions of a client are issued within [`WINDOW`], beside those that are due: whoever deletes its Secret again and
/// again makes users and records on the cluster by that.
pub const MOST_VERSIONS: usize = 6;
/// See [`MOST_VERSIONS`]. It is short, so that a client that lost its credentials by no fault of its own does not wait long.
pub const WINDOW: SignedDuration = SignedDuration::from_mins(10);

/// What there is to decide upon.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// What the ledger has.
    pub record: Option<&'a ClientRecord>,
    /// Fingerprint of the credential in the client's Secret; `None` where there is none, or one that is not readable.
    pub in_secret: Option<&'a str>,
    /// Whether this process still holds the credential being issued: only then can it be put into the Secret.
    pub in_memory: bool,
    /// Whether every broker shows the version being issued, with all its access.
    pub on_brokers: bool,
    /// The spec.
    pub credentials: &'a Credentials,
    /// The value of [`ROTATE`].
    pub rotate: Option<&'a str>,
    /// When the authority ends that signs certificates on the cluster, as far as it is known.
    pub authority: Option<Timestamp>,
    /// When this process began.
    pub running_since: Timestamp,
    /// Now.
    pub now: Timestamp,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make the next version, and give it the access of the client.
    Issue(IssueReason),
    /// Wait for the brokers to show the version being issued.
    AwaitBrokers,
    /// Put the version being issued into the Secret.
    Publish,
    /// The Secret has the version being issued: record that, and let the one before retire after the overlap.
    MarkPublished,
    /// Too many versions were issued of late: the next one comes not before this.
    AwaitTurn(Timestamp),
    /// Nothing, until the time given, if any.
    Rest(Option<Timestamp>),
}

/// Why a version is issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IssueReason {
    /// It is the first.
    First,
    /// The current one is as old as the spec allows.
    Due,
    /// Someone asked.
    Asked,
    /// The Secret lost the current one.
    SecretLost,
    /// The one being issued was lost before it was published.
    IssueLost,
}

/// Decides.
pub fn decide(s: &Situation<'_>) -> Step {
    let step = unbounded(s);
    match (&step, s.record) {
        (Step::Issue(reason), Some(record)) if *reason != IssueReason::Due => {
            next_turn(&pardoned(record, s.running_since), s.now).map_or(step, Step::AwaitTurn)
        }
        _ => step,
    }
}

/// The moment from which on another version may be issued; `None` is now.
pub fn next_turn(record: &ClientRecord, now: Timestamp) -> Option<Timestamp> {
    let recent = recent(record, now);
    let hinders = recent.len().checked_sub(MOST_VERSIONS)?;
    recent.get(hinders)?.checked_add(WINDOW).ok()
}

/// The record where a version that ended with the process that issued it does not count: that is nothing the client did.
pub fn pardoned(record: &ClientRecord, running_since: Timestamp) -> ClientRecord {
    let lost = record.issuing().map(|v| v.issued_at).filter(|at| *at < running_since);
    let mut record = record.clone();
    record.recent.retain(|at| Some(*at) != lost);
    record
}

/// When versions were issued within the window, oldest first. A time that lies ahead is of a clock that was wrong.
fn recent(record: &ClientRecord, now: Timestamp) -> Vec<Timestamp> {
    let counts = |at: &&Timestamp| **at <= now && now.duration_since(**at) < WINDOW;
    record.recent.iter().filter(counts).copied().collect()
}

/// Decides, whatever was issued of late.
fn unbounded(s: &Situation<'_>) -> Step {
    let Some(record) = s.record else { return Step::Issue(IssueReason::First) };
    if let Some(issuing) = record.issuing() {
        return if s.in_secret == Some(issuing.fingerprint.as_str()) {
            Step::MarkPublished
        } else if !s.in_memory {
            Step::Issue(IssueReason::IssueLost)
        } else if s.on_brokers {
            Step::Publish
        } else {
            Step::AwaitBrokers
        };
    }
    let Some(current) = record.current() else { return Step::Issue(IssueReason::First) };
    if s.in_secret != Some(current.fingerprint.as_str()) {
        return Step::Issue(IssueReason::SecretLost);
    }
    if s.rotate.is_some() && s.rotate != record.rotate.as_deref() {
        return Step::Issue(IssueReason::Asked);
    }
    let by_period = period_over(current, s.credentials).filter(|at| *at <= s.now);
    match next_rotation(record, s.credentials) {
        Some(_) if by_period.is_none() && not_renewed(record, s.credentials, s.authority, s.now).is_some() => {
            Step::Rest(period_over(current, s.credentials))
        }
        Some(at) if at <= s.now => Step::Issue(IssueReason::Due),
        next => Step::Rest(next),
    }
}

/// When the next version is due.
pub fn next_rotation(record: &ClientRecord, credentials: &Credentials) -> Option<Timestamp> {
    due(record.kind, record.current()?, credentials)
}

/// When the version after `version` is due: once the period is over that the spec names, and a certificate once two thirds of
/// its time are.
pub fn due(kind: CredentialType, version: &VersionRecord, credentials: &Credentials) -> Option<Timestamp> {
    let renewal = (kind == CredentialType::Mtls).then(|| certificate::renew_at(version.issued_at, version.expires_at));
    period_over(version, credentials).into_iter().chain(renewal).min()
}

/// The end of the current certificate, where it is due and the authority lasts no longer than it does.
pub fn not_renewed(
    record: &ClientRecord,
    credentials: &Credentials,
    authority: Option<Timestamp>,
    now: Timestamp,
) -> Option<Timestamp> {
    let current = record.current()?;
    let is_due = next_rotation(record, credentials).is_some_and(|at| at <= now);
    (is_due && !certificate::is_longer(authority, current.expires_at)).then_some(current.expires_at)?
}

fn period_over(version: &VersionRecord, credentials: &Credentials) -> Option<Timestamp> {
    let every = std::time::Duration::from(credentials.rotation.as_ref()?.every);
    version.issued_at.checked_add(every).ok()
}

/// The record with a new version. Versions that were never published are retired with it.
pub fn issued(
    record: Option<&ClientRecord>,
    template: ClientRecord,
    version: VersionRecord,
    rotate: Option<&str>,
    credentials: &Credentials,
) -> ClientRecord {
    let mut record = record.cloned().unwrap_or(template);
    let is_due = next_rotation(&record, credentials).is_some_and(|at| at <= version.issued_at);
    record.recent = recent(&record, version.issued_at);
    if !is_due {
        record.recent.push(version.issued_at);
    }
    for other in record.versions.iter_mut().filter(|v| !v.published) {
        other.retired = true;
    }
    record.last_version = version.version;
    record.versions.push(version);
    record.rotate = rotate.map(str::to_owned);
    record
}

/// The record once the version being issued is in the Secret; unchanged where none is being issued.
pub fn published(record: &ClientRecord, credentials: &Credentials, now: Timestamp) -> ClientRecord {
    let retires_at = now.checked_add(overlap(record, credentials, now)).unwrap_or(now);
    let mut record = record.clone();
    let Some(newest) = record.issuing().map(|v| v.version) else { return record };
    for version in &mut record.versions {
        if version.version == newest {
            version.published = true;
        } else if version.retires_at.is_none() {
            version.retires_at = Some(version.expires_at.map_or(retires_at, |end| retires_at.min(end)));
        }
    }
    record
}

/// How long the version before stays valid: what the spec says; where it says nothing, a week after a certificate that was
/// renewed because of its age, and else what [`crate::api::Rotation`] has by default.
fn overlap(record: &ClientRecord, credentials: &Credentials, now: Timestamp) -> SignedDuration {
    let aged = credentials.rotation.is_none() && next_rotation(record, credentials).is_some_and(|at| at <= now);
    if aged {
        return certificate::RENEWAL_OVERLAP;
    }
    let overlap = credentials.rotation.as_ref().map_or_else(crate::api::default_overlap, |r| r.overlap);
    SignedDuration::try_from(std::time::Duration::from(overlap)).unwrap_or(SignedDuration::ZERO)
}

/// The record with every version retired whose time is over, or with all of them; `None` where that changes nothing.
pub fn retired(record: &ClientRecord, all: bool, now: Timestamp) -> Option<ClientRecord> {
    let mut after = record.clone();
    for version in &mut after.versions {
        version.retired |= all || version.retires_at.is_some_and(|at| at <= now);
    }
    (after != *record).then_some(after)
}

/// The record without the versions that the brokers have forgotten.
pub fn forgotten(record: &ClientRecord, principals: &[String]) -> ClientRecord {
    let mut after = record.clone();
    after.versions.retain(|v| !(v.retired && principals.contains(&v.principal)));
    after
}

/// The next moment at which a version of `record` retires.
pub fn next_retirement(record: &ClientRecord) -> Option<Timestamp> {
    record.versions.iter().filter(|v| !v.retired).filter_map(|v| v.retires_at).min()
}

#[cfg(test)]
mod tests;
