//! A share's status.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::Found;
use crate::api::{
    Access, ApprovedStream, ExternalShare, ExternalShareStatus, GroupUsage, Proven, Reason, ReplicationStatus,
    Revocation, SharePhase, ShareUsage, SharedWith, UsageWindow,
};
use crate::controllers::announced::in_short;
use crate::controllers::stream_client::credential_statuses;
use crate::domain::conditions::{Progress, conditions, merge, whole_seconds};
use crate::domain::ledger::ClientRecord;
use crate::domain::share::Guest;
use crate::domain::share::progress::share_conditions;
use crate::domain::usage::{Usage, Window};

/// How many topics a status names.
const TOPICS: usize = 100;
/// How many streams it names.
const STREAMS: usize = 256;

/// The status to write, after one that was told as `before`.
pub fn status(
    share: &ExternalShare,
    before: &ExternalShareStatus,
    found: &[Found<'_>],
    replication: Option<ReplicationStatus>,
    now: Timestamp,
) -> ExternalShareStatus {
    let generation = share.metadata.generation;
    let seen: Vec<_> = found.iter().map(|f| f.seen.clone()).collect();
    let was = |name: &str| before.partners.iter().find(|p| p.name == name);
    ExternalShareStatus {
        observed_generation: generation,
        conditions: merge(&before.conditions, share_conditions(&seen), generation, now),
        phase: seen.iter().map(|s| s.phase()).min(),
        replication,
        streams: seen.first().map(|s| offered(s.guest)).unwrap_or_default(),
        partners: found.iter().map(|f| partner(f, was(&f.seen.guest.partner), now)).collect(),
    }
}

/// The same for each partner.
fn offered(guest: &Guest) -> Vec<ApprovedStream> {
    let stream = |(product, stream): &(String, String)| ApprovedStream {
        product: product.clone(),
        stream: stream.clone(),
        access: vec![Access::Read],
    };
    guest.offered.iter().take(STREAMS).map(stream).collect()
}

fn partner(found: &Found<'_>, before: Option<&SharedWith>, now: Timestamp) -> SharedWith {
    let Found { seen, credential, .. } = found;
    let (guest, phase) = (seen.guest, seen.phase());
    let renewing = guest.renewal.iter().flat_map(|(_, sides)| sides);
    let awaits: BTreeSet<_> = guest.awaits.iter().chain(renewing).copied().collect();
    let (reason, message) = match seen.progress() {
        Progress::Ready(message) => ("Ready".to_owned(), message),
        Progress::Reconciling(reason, message) | Progress::Stalled(reason, message) => (reason.to_string(), message),
    };
    let record = credential.record.as_ref();
    SharedWith {
        name: guest.partner.clone(),
        organisation: guest.organisation.clone(),
        phase,
        reason,
        message,
        uid: guest.partner_uid.clone(),
        awaits: awaits.into_iter().collect(),
        principal: record.and_then(ClientRecord::current).map(|v| v.principal.clone()),
        group_prefix: guest.client.as_ref().map(|_| guest.group_prefix.clone()),
        bootstrap_servers: credential.bootstrap_servers.clone(),
        topics: guest.resolution.topics.iter().take(TOPICS).cloned().collect(),
        entries: if found.is_told() { in_short(&found.grants) } else { before.and_then(|b| b.entries.clone()) },
        credentials: record.map(credential_statuses).unwrap_or_default(),
        fetched_at: credential.fetched_at.clone(),
        ends_at: guest.ends_at.map(|at| Time(whole_seconds(at))),
        usage: found.usage.as_ref().map(usage).or_else(|| before.and_then(|b| b.usage.clone())),
        revocation: revocation(found, phase, before.and_then(|b| b.revocation.clone()), now),
    }
}

/// The status of a share that is being deleted and cannot go yet.
pub fn deleting(share: &ExternalShare, progress: &Progress, now: Timestamp) -> ExternalShareStatus {
    let before = share.status.clone().unwrap_or_default();
    let generation = share.metadata.generation;
    ExternalShareStatus {
        observed_generation: generation,
        conditions: merge(&before.conditions, conditions(progress), generation, now),
        phase: Some(SharePhase::Revoking),
        ..before
    }
}

/// A partner that the share names no more.
pub fn leaving(was: SharedWith) -> SharedWith {
    SharedWith {
        phase: SharePhase::Revoking,
        reason: Reason::Applying.to_string(),
        message: "the share does not name it any more, and what it had is being removed".into(),
        topics: Vec::new(),
        ..was
    }
}

/// How many groups a status names.
const GROUPS: usize = 20;

fn usage(usage: &Usage) -> ShareUsage {
    let time = |at: Timestamp| Time(whole_seconds(at));
    let group = |(name, records): (&String, &i64)| GroupUsage {
        name: name.clone(),
        records: *records,
        lag_records: usage.lags.get(name).copied().unwrap_or_default(),
    };
    let window = |w: Window| UsageWindow { since: time(w.since), until: time(w.until), records: w.records };
    ShareUsage {
        since: time(usage.since),
        records: usage.records.values().sum(),
        lag_records: usage.lags.values().sum(),
        last_read_at: usage.last_read_at.map(time),
        groups: usage.records.iter().take(GROUPS).map(group).collect(),
        previous: usage.before.map(window),
    }
}

/// The times of the steps of an end, each as it was first seen.
fn revocation(found: &Found<'_>, phase: SharePhase, before: Option<Revocation>, now: Timestamp) -> Option<Revocation> {
    use SharePhase::{Expired, Rejected, Revoked, Revoking};
    if !matches!(phase, Revoking | Revoked | Expired | Rejected) {
        return None;
    }
    let now = Time(whole_seconds(now));
    let begun = || Revocation {
        begun_at: now.clone(),
        access_removed_at: None,
        fetch_denied_at: None,
        credentials_removed_at: None,
        login_refused_at: None,
        sessions_end_at: None,
        proven: Proven::AclOnly,
        evidence: None,
    };
    let mut revocation = before.unwrap_or_else(begun);
    if !found.seen.has_access {
        revocation.access_removed_at.get_or_insert_with(|| now.clone());
    }
    if !found.seen.has_identity {
        revocation.credentials_removed_at.get_or_insert(now);
    }
    // What was seen once stays so: this process may know of no attempt of one before it.
    if let Some(evidence) = &found.evidence {
        let time = |at: Option<Timestamp>| at.map(|at| Time(whole_seconds(at)));
        revocation.fetch_denied_at = revocation.fetch_denied_at.or(time(evidence.denied_at));
        revocation.login_refused_at = revocation.login_refused_at.or(time(evidence.refused_at));
        revocation.sessions_end_at = time(evidence.sessions_end_at);
        revocation.proven = revocation.proven.max(evidence.proven());
        revocation.evidence = Some(evidence.said()).filter(|said| !said.is_empty());
    }
    Some(revocation)
}
