//! The life of credentials, step by step.

use jiff::{SignedDuration, Timestamp};

use super::{IssueReason, MOST_VERSIONS, Situation, Step, decide, issued, next_rotation, pardoned, published, retired};
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
        expires_at: None,
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
        recent: Vec::new(),
    }
}

fn next(record: Option<&ClientRecord>, version: VersionRecord, rotate: Option<&str>) -> ClientRecord {
    issued(record, empty(), version, rotate, &credentials())
}

fn at(minutes: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes)
}

/// A client with what its record says in its Secret, and nothing under way.
fn at_rest<'a>(record: &'a ClientRecord, credentials: &'a Credentials, now: Timestamp) -> Situation<'a> {
    Situation {
        record: Some(record),
        in_secret: record.current().map(|v| v.fingerprint.as_str()),
        in_memory: false,
        on_brokers: true,
        credentials,
        rotate: None,
        authority: None,
        running_since: Timestamp::UNIX_EPOCH,
        now,
    }
}

fn step(
    record: Option<&ClientRecord>,
    in_secret: Option<&str>,
    in_memory: bool,
    on_brokers: bool,
    now: Timestamp,
) -> Step {
    let credentials = credentials();
    decide(&Situation {
        record,
        in_secret,
        in_memory,
        on_brokers,
        credentials: &credentials,
        rotate: None,
        authority: None,
        running_since: Timestamp::UNIX_EPOCH,
        now,
    })
}

#[test]
fn a_version_is_issued_then_verified_then_published_then_recorded() {
    let now = at(0);
    assert_eq!(step(None, None, false, false, now), Step::Issue(IssueReason::First));
    let record = next(None, version(1), None);
    assert_eq!(step(Some(&record), None, true, false, now), Step::AwaitBrokers);
    assert_eq!(step(Some(&record), None, true, true, now), Step::Publish);
    assert_eq!(step(Some(&record), Some("f1"), false, true, now), Step::MarkPublished);
    let record = published(&record, &credentials(), now);
    assert_eq!(step(Some(&record), Some("f1"), false, true, now), Step::Rest(Some(at(60))));
    assert_eq!(step(Some(&record), Some("f1"), false, true, at(60)), Step::Issue(IssueReason::Due));
}

#[test]
fn a_credential_lost_before_it_was_published_is_never_used_again() {
    let record = next(None, version(1), None);
    assert_eq!(step(Some(&record), None, false, true, at(0)), Step::Issue(IssueReason::IssueLost));
    let record = next(Some(&record), version(2), None);
    assert!(record.versions[0].retired);
    assert_eq!(record.issuing().map(|v| v.version), Some(2));
}

#[test]
fn the_version_before_retires_after_the_overlap_and_not_earlier() {
    let record = published(&next(None, version(1), None), &credentials(), at(0));
    let record = published(&next(Some(&record), version(2), None), &credentials(), at(60));
    assert_eq!(record.current().map(|v| v.version), Some(2));
    assert_eq!(retired(&record, false, at(69)), None);
    let after = retired(&record, false, at(70)).unwrap();
    assert_eq!(after.versions.iter().map(|v| v.retired).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn a_secret_that_lost_its_credential_gets_a_new_version() {
    let record = published(&next(None, version(1), None), &credentials(), at(0));
    assert_eq!(step(Some(&record), None, false, true, at(1)), Step::Issue(IssueReason::SecretLost));
    assert_eq!(step(Some(&record), Some("other"), false, true, at(1)), Step::Issue(IssueReason::SecretLost));
}

#[test]
fn publishing_twice_retires_nothing_more() {
    let record = published(&next(None, version(1), None), &credentials(), at(0));
    assert_eq!(published(&record, &credentials(), at(5)), record);
}

#[test]
fn each_new_value_of_the_annotation_asks_for_one_version() {
    let record = published(&next(None, version(1), None), &credentials(), at(0));
    let credentials = credentials();
    let step = |record: &ClientRecord, rotate| decide(&Situation { rotate, ..at_rest(record, &credentials, at(1)) });
    assert_eq!(step(&record, Some("now")), Step::Issue(IssueReason::Asked));
    let record = published(&next(Some(&record), version(2), Some("now")), &credentials, at(1));
    assert!(matches!(step(&record, Some("now")), Step::Rest(_)));
    assert_eq!(step(&record, Some("again")), Step::Issue(IssueReason::Asked));
}

/// A client of type Mtls whose certificate lasts for 90 minutes, in its Secret since it was issued.
fn certified(credentials: &Credentials) -> ClientRecord {
    let template = ClientRecord { kind: CredentialType::Mtls, ..empty() };
    let first = VersionRecord { expires_at: Some(at(90)), ..version(1) };
    published(&issued(None, template, first, None, credentials), credentials, at(0))
}

fn renewal(record: &ClientRecord, credentials: &Credentials, authority: Option<Timestamp>, now: Timestamp) -> Step {
    decide(&Situation { authority, ..at_rest(record, credentials, now) })
}

#[test]
fn a_certificate_is_renewed_although_the_spec_asks_for_no_rotation() {
    let silent = Credentials::default();
    let record = certified(&silent);
    assert_eq!(next_rotation(&record, &silent), Some(at(60)));
    assert_eq!(renewal(&record, &silent, Some(at(9000)), at(59)), Step::Rest(Some(at(60))));
    assert_eq!(renewal(&record, &silent, Some(at(9000)), at(60)), Step::Issue(IssueReason::Due));
}

#[test]
fn a_password_without_rotation_is_never_due() {
    let silent = Credentials::default();
    let record = published(&issued(None, empty(), version(1), None, &silent), &silent, at(0));
    assert_eq!(next_rotation(&record, &silent), None);
}

#[test]
fn a_certificate_that_ends_with_its_authority_waits_for_another_one_and_not_for_ever_shorter_ones() {
    let silent = Credentials::default();
    let record = certified(&silent);
    assert_eq!(renewal(&record, &silent, Some(at(90)), at(70)), Step::Rest(None));
    assert_eq!(renewal(&record, &silent, None, at(70)), Step::Rest(None));
    assert_eq!(renewal(&record, &silent, Some(at(91)), at(70)), Step::Issue(IssueReason::Due));
    let hourly = credentials();
    let record = certified(&hourly);
    assert_eq!(renewal(&record, &hourly, Some(at(90)), at(70)), Step::Issue(IssueReason::Due), "the spec says so");
}

#[test]
fn a_renewed_certificate_leaves_time_but_not_more_than_the_one_before_has() {
    let silent = Credentials::default();
    let retires = |end, now| {
        let mut record = certified(&silent);
        record.versions[0].expires_at = Some(end);
        let second = VersionRecord { issued_at: now, expires_at: Some(at(90_000)), ..version(2) };
        let record = issued(Some(&record), empty(), second, None, &silent);
        published(&record, &silent, now).versions[0].retires_at
    };
    let week = 7 * 24 * 60;
    assert_eq!(retires(at(90), at(60)), Some(at(90)));
    assert_eq!(retires(at(90_000), at(60_000)), Some(at(60_000 + week)));
    assert_eq!(retires(at(90_000), at(100)), Some(at(160)), "somebody asked for it, or the Secret was lost");
}

/// A client whose Secret was lost once a minute, and each time got the next version.
fn losing(times: u32) -> ClientRecord {
    (1..=times).fold(empty(), |record, n| {
        let version = VersionRecord { issued_at: at(n.into()), ..version(n) };
        published(&next(Some(&record), version, None), &credentials(), at(n.into()))
    })
}

#[test]
fn a_client_that_loses_its_secret_again_and_again_waits() {
    let most = u32::try_from(MOST_VERSIONS).unwrap();
    assert_eq!(step(Some(&losing(most - 1)), None, false, true, at(6)), Step::Issue(IssueReason::SecretLost));
    assert_eq!(step(Some(&losing(most)), None, false, true, at(6)), Step::AwaitTurn(at(11)));
    assert_eq!(step(Some(&losing(most)), None, false, true, at(11)), Step::Issue(IssueReason::SecretLost));
    assert_eq!(losing(40).recent.len(), 10, "older ones are forgotten");
}

#[test]
fn what_is_due_or_on_its_way_does_not_wait_for_a_turn() {
    let record = losing(6);
    let current = record.current().unwrap().fingerprint.clone();
    assert_eq!(step(Some(&record), Some(&current), false, true, at(66)), Step::Issue(IssueReason::Due));
    let minutely: Credentials = serde_json::from_str(r#"{"rotation": {"every": "1m", "overlap": "10s"}}"#).unwrap();
    let record = (1..=40).fold(empty(), |record, n| {
        let version = VersionRecord { issued_at: at(n.into()), ..version(n) };
        published(&issued(Some(&record), empty(), version, None, &minutely), &minutely, at(n.into()))
    });
    assert_eq!(record.recent.len(), 0, "versions that are due do not count");
    assert_eq!(step(Some(&record), None, false, true, at(40)), Step::Issue(IssueReason::SecretLost));
    let issuing = next(Some(&losing(6)), version(7), None);
    assert_eq!(step(Some(&issuing), None, true, true, at(6)), Step::Publish);
}

#[test]
fn versions_that_ended_with_their_process_do_not_count_against_the_client() {
    // Each process issues one, and ends before it is published.
    let record = (1..=20).fold(losing(2), |record, n| {
        let version = VersionRecord { issued_at: at(2) + SignedDuration::from_secs(n.into()), ..version(n + 2) };
        let began = version.issued_at - SignedDuration::from_millis(500);
        next(Some(&pardoned(&record, began)), version, None)
    });
    assert_eq!(record.recent.len(), 3, "the two before them, and the last");
    // Versions that this process cannot get through do.
    let most = i64::try_from(MOST_VERSIONS).unwrap();
    let refused = (1..=most).fold(empty(), |record, n| {
        let version = VersionRecord { issued_at: at(n), ..version(u32::try_from(n).unwrap()) };
        next(Some(&pardoned(&record, at(0))), version, None)
    });
    assert_eq!(step(Some(&refused), None, false, false, at(6)), Step::AwaitTurn(at(11)));
}
