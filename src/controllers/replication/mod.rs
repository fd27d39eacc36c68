//! Replication engines: one task for each runs its workers, and has their connectors be what the shares that copy by it need.
//!
//! It never gives anybody access: who reads and who writes are principals of the shares, whose access is the appliers' work.

mod credentials;
mod deployment;
mod linked;
mod positions;
mod report;
mod retries;
mod round;
mod steps;
mod tended;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};
use tracing::{Instrument, debug, info_span, warn};

use self::round::Engine;
use super::context::Context;
use crate::domain::engine;
use crate::domain::names::{EngineKey, workers_name};
use crate::k8s::workers;

/// How often an engine is looked at where nothing changed.
const EVERY: Duration = Duration::from_secs(5);
/// How often workers are looked for that nobody offers.
const SWEPT: Duration = Duration::from_secs(30);
/// What changes together is looked at once.
const LULL: Duration = Duration::from_millis(100);

/// Runs every engine that any cluster offers.
pub async fn run(context: Arc<Context>) {
    let mut changes = context.world.replication_changes();
    let mut engines: BTreeMap<EngineKey, tokio::task::AbortHandle> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    let mut sweeps = interval(SWEPT);
    loop {
        let offered: Vec<_> = context.world.index().engines().collect();
        engines.retain(|key, task| {
            let stays = offered.contains(key);
            if !stays {
                task.abort();
            }
            stays
        });
        for key in offered {
            engines.entry(key).or_insert_with_key(|key| {
                let span = info_span!("engine", cluster = %key.cluster, name = %key.name);
                tasks.spawn(serve(context.clone(), key.clone(), changes.clone()).instrument(span))
            });
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            _ = sweeps.tick() => sweep(&context).await,
            Some(ended) = tasks.join_next() => if let Err(error) = ended && error.is_panic() {
                warn!(%error, "an engine's task ended that never should; it is begun anew");
                engines.retain(|_, task| !task.is_finished());
            },
        }
    }
}

/// Removes the workers of engines that nobody offers any more.
async fn sweep(context: &Context) {
    let offered = {
        let index = context.world.index();
        let names = index.engines().filter_map(|key| engine::worker_uid(&index, &key));
        names.map(|uid| workers_name(&uid)).collect()
    };
    if let Err(error) = workers::sweep(&context.client, &context.installation.namespace, &offered).await {
        // Without the right to, there are none.
        debug!(%error, "failed to look for workers that nobody offers");
    }
}

async fn serve(context: Arc<Context>, key: EngineKey, mut changes: watch::Receiver<u64>) {
    let mut engine = Engine::new(context, key);
    loop {
        changes.mark_unchanged();
        let again = match engine.round().await {
            Ok(again) => again,
            Err(error) => {
                debug!(%error, "a round failed");
                false
            }
        };
        if again {
            sleep(LULL).await;
            continue;
        }
        tokio::select! {
            () = sleep(EVERY) => {}
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
                sleep(LULL).await;
            }
        }
    }
}
