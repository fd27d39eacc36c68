//! Whom the partner API turned away is reported to the operator, which puts it on record.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::domain::audit::callers::{Callers, Report, bounded};
use crate::domain::audit::windows::Closed;
use crate::k8s::reports::Reports;

/// How often it is looked for windows that are over.
const EVERY: Duration = Duration::from_secs(1);
/// How often it is tried at the end; another replica may write at the same moment.
const LAST_TRIES: usize = 5;

/// Reports until `over`, and then what is left.
pub async fn report(callers: Arc<Callers>, reports: Reports, over: CancellationToken) {
    let mut waiting = Vec::new();
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = over.cancelled() => break,
        }
        waiting = put(&reports, waiting, callers.close(Timestamp::now())).await;
    }
    waiting = put(&reports, waiting, callers.close_all()).await;
    for _ in 1..LAST_TRIES {
        if waiting.is_empty() {
            return;
        }
        tick.tick().await;
        waiting = put(&reports, waiting, Vec::new()).await;
    }
    if !waiting.is_empty() {
        error!(reports = waiting.len(), "who was turned away last could not be reported");
    }
}

/// Reports what waits and what is over; what could not be reported waits on, within bounds.
async fn put(reports: &Reports, mut waiting: Vec<Report>, closed: Vec<Closed>) -> Vec<Report> {
    waiting.extend(closed.into_iter().map(Report::of));
    if waiting.is_empty() {
        return waiting;
    }
    let waiting = bounded(waiting);
    match reports.put(waiting.clone()).await {
        Ok(left) => left,
        Err(error) => {
            warn!(%error, "failed to report who was turned away; it is tried again");
            waiting
        }
    }
}
