//! A client's status.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::Report;
use crate::api::{CredentialState, CredentialStatus, Reason, StreamClient, StreamClientStatus};
use crate::domain::conditions::{Progress, conditions, merge, progress, whole_seconds};
use crate::domain::ledger::{ClientRecord, VersionRecord};
use crate::domain::rotation::next_rotation;

/// How far the client is.
pub fn far(report: &Report) -> Progress {
    let current = report.record.as_ref().and_then(ClientRecord::current);
    let ready = match current {
        Some(version) => {
            let ends = report.last_certificate.map(|at| {
                format!(
                    "; its certificate ends at {at} and is not renewed, for its authority lasts no longer: ask the platform \
                     team to renew that of the StreamCluster"
                )
            });
            let has = format!("Secret {} has version {}", report.secret_name, version.version);
            Progress::Ready(has + &ends.unwrap_or_default())
        }
        None => Progress::Reconciling(Reason::Applying, "a credential is being issued".into()),
    };
    progress(&report.problems, ready)
}

/// The status to write.
pub fn status(client: &StreamClient, report: &Report, far: &Progress, now: Timestamp) -> StreamClientStatus {
    let record = report.record.as_ref();
    let current = record.and_then(ClientRecord::current);
    let before = client.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    let generation = client.metadata.generation;
    StreamClientStatus {
        observed_generation: generation,
        conditions: merge(before, conditions(far), generation, now),
        principal: current.map(|v| v.principal.clone()),
        secret_name: current.map(|_| report.secret_name.clone()),
        credentials: record.map(credential_statuses).unwrap_or_default(),
        next_rotation: record
            .and_then(|r| next_rotation(r, &client.spec.credentials))
            .map(|at| Time(whole_seconds(at))),
    }
}

/// Every version that is not retired, newest first.
pub fn credential_statuses(record: &ClientRecord) -> Vec<CredentialStatus> {
    let versions = record.versions.iter().rev().filter(|v| !v.retired);
    versions.map(|v| credential(v, record.current())).collect()
}

fn credential(version: &VersionRecord, current: Option<&VersionRecord>) -> CredentialStatus {
    CredentialStatus {
        principal: version.principal.clone(),
        state: if !version.published {
            CredentialState::Issuing
        } else if current == Some(version) {
            CredentialState::Current
        } else {
            CredentialState::Overlapping
        },
        issued_at: Time(whole_seconds(version.issued_at)),
        retires_at: version.retires_at.map(|at| Time(whole_seconds(at))),
        expires_at: version.expires_at.map(|at| Time(whole_seconds(at))),
    }
}

/// The status of a client that is being deleted while its cluster is out of reach.
pub fn deleting(client: &StreamClient, now: Timestamp) -> StreamClientStatus {
    let before = client.status.clone().unwrap_or_default();
    let message = format!(
        "its credentials are to be removed from StreamCluster {name}, which is not Ready; if that cluster is gone for good, the \
         platform team can set the annotation weir.dev/abandon on it",
        name = client.spec.cluster_ref.name
    );
    let all = conditions(&Progress::Reconciling(Reason::Deleting, message));
    let generation = client.metadata.generation;
    StreamClientStatus {
        observed_generation: generation,
        conditions: merge(&before.conditions, all, generation, now),
        ..before
    }
}
