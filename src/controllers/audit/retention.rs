//! SecurityEvents are a bounded window: those past their retention are deleted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::api::{EventSource, SecurityEvent};
use crate::controllers::context::Context;
use crate::domain::event::past_retention;

/// How often it is looked where nothing happens.
const EVERY: Duration = Duration::from_secs(600);
/// How often it is looked at most.
const AT_MOST: Duration = Duration::from_secs(20);
/// How many events are read at once.
const PAGE: u32 = 500;

/// Deletes what is past its retention, for ever.
pub async fn run(context: Arc<Context>) {
    loop {
        tokio::time::sleep(AT_MOST).await;
        let _ = timeout(EVERY, context.trail.shown.notified()).await;
        match prune(&context).await {
            Ok(0) => {}
            Ok(deleted) => info!(deleted, "deleted SecurityEvents past their retention"),
            Err(error) => warn!(%error, "failed to delete SecurityEvents past their retention; it is tried again"),
        }
    }
}

async fn prune(context: &Context) -> Result<usize, kube::Error> {
    let all: Api<SecurityEvent> = Api::all(context.client.clone());
    let mut by_namespace: BTreeMap<(String, bool), Vec<_>> = BTreeMap::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list = all.list(&page).await?;
        let next = list.metadata.continue_.clone().filter(|token| !token.is_empty());
        for event in list {
            let origin = event.spec.source == EventSource::Weir;
            let namespace = by_namespace.entry((event.namespace().unwrap_or_default(), origin)).or_default();
            namespace.push((event.spec.time.0, event.name_any()));
        }
        let Some(token) = next else { break };
        page = page.continue_token(&token);
    }
    let mut deleted = 0;
    for ((namespace, _), events) in by_namespace {
        let api: Api<SecurityEvent> = Api::namespaced(context.client.clone(), &namespace);
        for name in past_retention(events, jiff::Timestamp::now()) {
            match api.delete(&name, &DeleteParams::default()).await {
                Ok(_) => deleted += 1,
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(deleted)
}
