//! What it costs that every widening is on record before it is carried out.

use std::time::Duration;

use anyhow::{Context, Result};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use weir::api::AuditTrail;

use crate::new_bindings::{is_ready, once, wait};

/// How often each is measured, in turn.
const ROUNDS: usize = 2;
/// How long the record may take to begin or end.
const LIMIT: Duration = Duration::from_secs(120);

/// New bindings with the AuditTrail that is there, and without one, in turn. Prints the ratio. The record ends and begins each time, and
/// what is shown meanwhile is on none: tests that compare both want a fresh lab.
///
/// # Errors
/// There is no AuditTrail, or the operator does not get there.
pub async fn run(n: usize) -> Result<()> {
    let client = Client::try_default().await.context("no cluster: run this by `make bench`")?;
    let trails: Api<AuditTrail> = Api::all(client.clone());
    let trail = trails.get("default").await.context("no AuditTrail default: make demo has it")?;
    let (mut with, mut without) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..ROUNDS {
        println!("with a record");
        with += once(&client, n).await?;
        trails.delete("default", &DeleteParams::default()).await?;
        wait(LIMIT, "AuditTrail gone", || async { Ok(trails.get_opt("default").await?.is_none()) }).await?;
        println!("without");
        let measured = once(&client, n).await;
        let mut anew = AuditTrail::new("default", trail.spec.clone());
        anew.metadata.labels = trail.metadata.labels.clone();
        trails.create(&PostParams::default(), &anew).await?;
        wait(LIMIT, "AuditTrail Ready", || async {
            Ok(is_ready(trails.get("default").await?.status.map(|status| status.conditions)))
        })
        .await?;
        without += measured?;
    }
    println!(
        "with a record / without: {:.2} (until all are Ready, {ROUNDS} x {n})",
        with.as_secs_f64() / without.as_secs_f64()
    );
    Ok(())
}
