//! The life of a StreamClient's credentials: when the next version is issued, published, and the one before retired.

use jiff::Timestamp;

use super::ledger::{ClientRecord, VersionRecord};
use crate::api::Credentials;

/// Annotation on a StreamClient: each new value asks for a new version.
pub const ROTATE: &str = "weir.dev/rotate";

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
    match next_rotation(record, s.credentials) {
        Some(at) if at <= s.now => Step::Issue(IssueReason::Due),
        next => Step::Rest(next),
    }
}

/// When the next version is due.
pub fn next_rotation(record: &ClientRecord, credentials: &Credentials) -> Option<Timestamp> {
    let every = std::time::Duration::from(credentials.rotation.as_ref()?.every);
    record.current()?.issued_at.checked_add(every).ok()
}

/// The record with a new version. Versions that were never published are retired with it.
pub fn issued(
    record: Option<&ClientRecord>,
    template: ClientRecord,
    version: VersionRecord,
    rotate: Option<&str>,
) -> ClientRecord {
    let mut record = record.cloned().unwrap_or(template);
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
    let overlap = credentials.rotation.as_ref().map_or_else(crate::api::default_overlap, |r| r.overlap);
    let retires_at = now.checked_add(std::time::Duration::from(overlap)).unwrap_or(now);
    let mut record = record.clone();
    let Some(newest) = record.issuing().map(|v| v.version) else { return record };
    for version in &mut record.versions {
        if version.version == newest {
            version.published = true;
        } else if version.retires_at.is_none() {
            version.retires_at = Some(retires_at);
        }
    }
    record
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
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::{IssueReason, Situation, Step, decide, issued, published, retired};
    use crate::api::{CredentialType, Credentials};
    use crate::domain::ledger::{ClientRecord, VersionRecord};

    fn credentials() -> Credentials {
        serde_json::from_str(r#"{"rotation": {"every": "1h", "overlap": "10m"}}"#).unwrap()
    }

    fn version(n: u32) -> VersionRecord {
        VersionRecord {
            version: n,
            principal: format!("p-{n}"),
            fingerprint: format!("f{n}"),
            issued_at: Timestamp::UNIX_EPOCH,
            published: false,
            retires_at: None,
            retired: false,
        }
    }

    fn empty() -> ClientRecord {
        ClientRecord {
            namespace: "fraud".into(),
            name: "scorer".into(),
            kind: CredentialType::ScramSha512,
            last_version: 0,
            versions: Vec::new(),
            rotate: None,
        }
    }

    fn at(minutes: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes)
    }

    fn step(
        record: Option<&ClientRecord>,
        in_secret: Option<&str>,
        in_memory: bool,
        on_brokers: bool,
        now: Timestamp,
    ) -> Step {
        let credentials = credentials();
        decide(&Situation { record, in_secret, in_memory, on_brokers, credentials: &credentials, rotate: None, now })
    }

    #[test]
    fn a_version_is_issued_then_verified_then_published_then_recorded() {
        let now = at(0);
        assert_eq!(step(None, None, false, false, now), Step::Issue(IssueReason::First));
        let record = issued(None, empty(), version(1), None);
        assert_eq!(step(Some(&record), None, true, false, now), Step::AwaitBrokers);
        assert_eq!(step(Some(&record), None, true, true, now), Step::Publish);
        assert_eq!(step(Some(&record), Some("f1"), false, true, now), Step::MarkPublished);
        let record = published(&record, &credentials(), now);
        assert_eq!(step(Some(&record), Some("f1"), false, true, now), Step::Rest(Some(at(60))));
        assert_eq!(step(Some(&record), Some("f1"), false, true, at(60)), Step::Issue(IssueReason::Due));
    }

    #[test]
    fn a_credential_lost_before_it_was_published_is_never_used_again() {
        let record = issued(None, empty(), version(1), None);
        assert_eq!(step(Some(&record), None, false, true, at(0)), Step::Issue(IssueReason::IssueLost));
        let record = issued(Some(&record), empty(), version(2), None);
        assert!(record.versions[0].retired);
        assert_eq!(record.issuing().map(|v| v.version), Some(2));
    }

    #[test]
    fn the_version_before_retires_after_the_overlap_and_not_earlier() {
        let record = published(&issued(None, empty(), version(1), None), &credentials(), at(0));
        let record = published(&issued(Some(&record), empty(), version(2), None), &credentials(), at(60));
        assert_eq!(record.current().map(|v| v.version), Some(2));
        assert_eq!(retired(&record, false, at(69)), None);
        let after = retired(&record, false, at(70)).unwrap();
        assert_eq!(after.versions.iter().map(|v| v.retired).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn a_secret_that_lost_its_credential_gets_a_new_version() {
        let record = published(&issued(None, empty(), version(1), None), &credentials(), at(0));
        assert_eq!(step(Some(&record), None, false, true, at(1)), Step::Issue(IssueReason::SecretLost));
        assert_eq!(step(Some(&record), Some("other"), false, true, at(1)), Step::Issue(IssueReason::SecretLost));
    }

    #[test]
    fn publishing_twice_retires_nothing_more() {
        let record = published(&issued(None, empty(), version(1), None), &credentials(), at(0));
        assert_eq!(published(&record, &credentials(), at(5)), record);
    }

    #[test]
    fn each_new_value_of_the_annotation_asks_for_one_version() {
        let record = published(&issued(None, empty(), version(1), None), &credentials(), at(0));
        let credentials = credentials();
        let step = |record: &ClientRecord, rotate| {
            let in_secret = record.current().map(|v| v.fingerprint.as_str());
            decide(&Situation {
                record: Some(record),
                in_secret,
                in_memory: false,
                on_brokers: true,
                credentials: &credentials,
                rotate,
                now: at(1),
            })
        };
        assert_eq!(step(&record, Some("now")), Step::Issue(IssueReason::Asked));
        let record = published(&issued(Some(&record), empty(), version(2), Some("now")), &credentials, at(1));
        assert!(matches!(step(&record, Some("now")), Step::Rest(_)));
        assert_eq!(step(&record, Some("again")), Step::Issue(IssueReason::Asked));
    }
}
