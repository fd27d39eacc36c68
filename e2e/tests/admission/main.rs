//! Every CEL rule of the definitions and every admission policy of the chart, on a real API server: one case at least that
//! is accepted and one that is refused, as the personas that would try. And what RBAC gives to whom, Weir included.
//!
//! Needs no operator. Cases are dry runs, so that nothing but a few objects to change is ever stored.

mod access;
mod approvals;
mod cases;
mod cluster;
mod copies;
mod coverage;
mod engines;
mod policies;
mod rules;
mod shares;
mod strict;

use anyhow::Result;
use cases::{Case, Expect};
use cluster::{Cluster, eventually};

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn every_rule_and_policy_accepts_what_it_should_and_refuses_what_it_should() -> Result<()> {
    within_cluster(async |cluster| {
        let cases: Vec<Case> = [rules::cases(), policies::cases(), approvals::cases(), shares::cases()].concat();
        coverage::of_policies(&cluster.rendered, &cases)?;
        approvals::store(cluster).await?;
        // Policies and rights take effect a moment after they are written.
        eventually("every case", || failures(cluster, &cases)).await?;
        // And from then on they hold each time.
        failures(cluster, &cases).await?;
        approvals::requests_are_stamped(cluster).await
    })
    .await
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn rbac_gives_each_persona_and_weir_itself_no_more_than_documented() -> Result<()> {
    within_cluster(async |cluster| {
        eventually("the rights of every persona", || access::deviations(cluster)).await?;
        access::enrolment_alone_lets_weir_write_secrets(cluster).await
    })
    .await
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn security_events_go_with_their_namespace_and_their_owner() -> Result<()> {
    // Tearing down waits until the namespaces are gone, SecurityEvents and all.
    within_cluster(async |cluster| cluster.garbage_collection_removes_a_security_event().await).await
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn the_chart_and_the_samples_pass_a_strict_server_side_dry_run() -> Result<()> {
    within_cluster(async |cluster| strict::dry_run(cluster).await).await
}

/// Runs `test` and tears down, whatever comes of it.
async fn within_cluster(test: impl AsyncFnOnce(&Cluster) -> Result<()>) -> Result<()> {
    let cluster = Cluster::set_up().await?;
    let outcome = test(&cluster).await;
    let torn_down = cluster.tear_down().await;
    outcome.and(torn_down)
}

async fn failures(cluster: &Cluster, cases: &[Case]) -> Result<()> {
    let mut failed = Vec::new();
    for case in cases {
        let outcome = cluster.attempt(case).await;
        let wrong = match (&case.expect, &outcome) {
            (Expect::Accepted, Ok(())) => None,
            (Expect::Accepted, Err(message)) => Some(format!("refused: {message}")),
            (Expect::Refused(_), Ok(())) => Some("accepted".to_owned()),
            (Expect::Refused(part), Err(message)) if message.contains(part) => None,
            (Expect::Refused(part), Err(message)) => Some(format!("refused, but not with {part:?}: {message}")),
        };
        failed.extend(wrong.map(|w| format!("{} ({:?}): {w}", case.name, case.persona)));
    }
    anyhow::ensure!(failed.is_empty(), "{} of {} cases:\n{}", failed.len(), cases.len(), failed.join("\n"));
    Ok(())
}
