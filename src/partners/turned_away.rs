//! Whom the partner API turned away is reported to the operator, which puts it on record.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::domain::audit::callers::{Callers, Report};
use crate::k8s::reports::Reports;

/// How often it is looked for windows that are over.
const EVERY: Duration = Duration::from_secs(1);
/// Reports that wait for room, or for the API server; what comes beyond is logged.
const WAITING: usize = 1000;

/// Reports until `shutdown`, and then what is left.
pub async fn report(callers: Arc<Callers>, reports: Reports, shutdown: CancellationToken) {
    let mut waiting = Vec::new();
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let is_over = tokio::select! {
            _ = tick.tick() => false,
            () = shutdown.cancelled() => true,
        };
        let closed = if is_over { callers.close_all() } else { callers.close(Timestamp::now()) };
        waiting.extend(closed.into_iter().map(Report::of));
        if waiting.len() > WAITING {
            let lost = waiting.split_off(WAITING);
            warn!(reports = lost.len(), "there is no room for reports of callers who were turned away: {lost:?}");
        }
        if !waiting.is_empty() {
            match reports.put(waiting.clone()).await {
                Ok(left) => waiting = left,
                Err(error) => warn!(%error, "failed to report who was turned away; it is tried again"),
            }
        }
        if is_over {
            return;
        }
    }
}
