//! A cluster's status.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::governs;
use crate::api::{CONFIRM_ANNOTATION, ConditionType, HeldRevocations, Reason, StreamCluster, StreamClusterStatus};
use crate::controllers::applier::{ClusterState, Link};
use crate::controllers::context::Context;
use crate::domain::certificate;
use crate::domain::conditions::{Progress, conditions, merge, whole_seconds};

/// How many names a list in the status holds.
const SAMPLE: usize = 20;

/// The status to write.
pub fn status(
    cluster: &StreamCluster,
    context: &Context,
    problem: Option<(Reason, String)>,
    now: Timestamp,
) -> StreamClusterStatus {
    let name = cluster.name_any();
    let handle = context.world.handle(&name);
    let before = cluster.status.clone().unwrap_or_default();
    let generation = cluster.metadata.generation;
    let Some(handle) = handle else {
        let (reason, message) = problem.unwrap_or((Reason::ClusterNotReady, "it is being connected".into()));
        let all = conditions(&Progress::Stalled(reason, message));
        return StreamClusterStatus {
            observed_generation: generation,
            conditions: merge(&before.conditions, all, generation, now),
            ..before
        };
    };
    let state = handle.state();
    let mut all = conditions(&far(cluster, &state, problem));
    if governs(&state.link) {
        all.extend(drifted(&state));
    }
    all.extend(held(&name, &state));
    all.extend(signer(cluster, &state, now));
    all.extend(metrics(cluster, &state));
    let facts = state.facts.as_ref();
    StreamClusterStatus {
        observed_generation: generation,
        conditions: merge(&before.conditions, all, generation, now),
        cluster_id: facts.map(|f| f.cluster_id.clone()).or(before.cluster_id),
        brokers: facts.and_then(|f| i32::try_from(f.brokers.len()).ok()).or(before.brokers),
        kafka_version: facts.and_then(|f| f.metadata_version.clone()).or(before.kafka_version),
        delegation_tokens: facts.and_then(|f| f.delegation_tokens),
        session_lifetime_seconds: facts.and_then(|f| f.session_lifetime_seconds),
        principals: i64::try_from(state.counts.0).ok(),
        entries: i64::try_from(state.counts.1).ok(),
        foreign_entries: i64::try_from(state.foreign.len()).ok(),
        foreign_sample: state.foreign.iter().take(SAMPLE).map(ToString::to_string).collect(),
        last_resync: state.last_resync.map(|at| Time(whole_seconds(at))),
        held_revocations: state.held.as_ref().map(|h| HeldRevocations {
            principals: i64::try_from(h.principals.len()).unwrap_or(i64::MAX),
            sample: h.principals.iter().take(SAMPLE).cloned().collect(),
            confirm: h.token.clone(),
        }),
    }
}

fn far(cluster: &StreamCluster, state: &ClusterState, problem: Option<(Reason, String)>) -> Progress {
    if cluster.metadata.deletion_timestamp.is_some() {
        let message = "DataProducts or StreamClients still refer to it: delete them first".into();
        return Progress::Reconciling(Reason::InUse, message);
    }
    match (&state.link, problem) {
        (Link::Governing, None) => {
            let brokers = state.facts.as_ref().map_or(0, |f| f.brokers.len());
            Progress::Ready(format!("{brokers} brokers answer"))
        }
        (_, Some((reason, message))) => Progress::Stalled(reason, message),
        (Link::Connecting, None) => Progress::Reconciling(Reason::ClusterNotReady, "it is being connected".into()),
        (Link::Refused(reason, message), None) => Progress::Stalled(*reason, message.clone()),
        (Link::Unreachable(message), None) => Progress::Reconciling(Reason::BrokersUnreachable, message.clone()),
    }
}

fn drifted(state: &ClusterState) -> Option<(ConditionType, bool, Reason, String)> {
    Some(if state.foreign.is_empty() {
        (ConditionType::Drifted, false, Reason::InSync, "no foreign entries on governed topics".into())
    } else {
        let message = format!("{} entries on governed topics that no resource asks for", state.foreign.len());
        (ConditionType::Drifted, true, Reason::ForeignEntries, message)
    })
}

fn signer(
    cluster: &StreamCluster,
    state: &ClusterState,
    now: Timestamp,
) -> Option<(ConditionType, bool, Reason, String)> {
    let secret = &cluster.spec.identity.mtls.as_ref()?.signer_secret_ref.name;
    let (holds, reason, message) = match state.authority.clone()? {
        Ok(end) if certificate::shortens(end, now) => (
            false,
            Reason::SignerExpiring,
            format!(
                "the authority in Secret {secret} ends at {end}: client certificates end then, too; have the brokers trust a \
                 new one beside it, and put that there"
            ),
        ),
        Ok(end) => (true, Reason::Ready, format!("the authority in Secret {secret} signs until {end}")),
        Err(why) => (false, Reason::SecretInvalid, why),
    };
    Some((ConditionType::SignerReady, holds, reason, message))
}

fn metrics(cluster: &StreamCluster, state: &ClusterState) -> Option<(ConditionType, bool, Reason, String)> {
    let wanted = cluster.spec.quota_metrics.as_ref()?;
    let (_, faults) = state.metrics.as_ref().filter(|(asked, _)| *asked == wanted.endpoints)?;
    Some(match faults.first() {
        None => (ConditionType::QuotaMetricsRead, true, Reason::Ready, "all brokers tell what quotas count".into()),
        Some(first) => {
            let others = match faults.len() - 1 {
                0 => String::new(),
                n => format!("; and {n} more"),
            };
            (ConditionType::QuotaMetricsRead, false, Reason::MetricsUnread, format!("{first}{others}"))
        }
    })
}

fn held(name: &str, state: &ClusterState) -> Option<(ConditionType, bool, Reason, String)> {
    let held = state.held.as_ref()?;
    let message = format!(
        "{} principals would lose access although nobody deleted them or their bindings; to let exactly this go on: kubectl \
         annotate --overwrite streamcluster {name} {CONFIRM_ANNOTATION}={}",
        held.principals.len(),
        held.token
    );
    Some((ConditionType::RevocationsHeld, true, Reason::ConfirmationRequired, message))
}
