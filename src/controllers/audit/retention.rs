//! SecurityEvents are a bounded window: those past their retention are deleted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::api::{SecurityEvent, UNRECORDED_LABEL};
use crate::controllers::context::Context;
use crate::domain::event::{Origin, origin, past_retention};

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

/// Deletes what is past its retention, in every namespace, also where one of them cannot be rid of something. Returns how much.
///
/// # Errors
/// The events could not be read, or the first that could not be deleted.
async fn prune(context: &Context) -> Result<usize, kube::Error> {
    let (mut deleted, mut first) = (0, None);
    for ((namespace, _), events) in kept(context).await? {
        let api: Api<SecurityEvent> = Api::namespaced(context.client.clone(), &namespace);
        for name in past_retention(events, Timestamp::now()) {
            match api.delete(&name, &DeleteParams::default()).await {
                Ok(_) => deleted += 1,
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => drop(first.get_or_insert(error)),
            }
        }
    }
    first.map_or(Ok(deleted), Err)
}

/// What is there, by namespace and origin: the time and the name of each. What is to be put on record yet is nowhere else, and stays.
async fn kept(context: &Context) -> Result<BTreeMap<(String, Origin), Vec<(Timestamp, String)>>, kube::Error> {
    let all: Api<SecurityEvent> = Api::all(context.client.clone());
    let is_recorded = context.world.index().trail().is_some();
    let mut kept: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list = all.list(&page).await?;
        let next = list.metadata.continue_.clone().filter(|token| !token.is_empty());
        let stays = |event: &SecurityEvent| is_recorded && event.labels().contains_key(UNRECORDED_LABEL);
        for event in list.into_iter().filter(|event| !stays(event)) {
            let namespace = event.namespace().unwrap_or_default();
            let origin = origin(&event.spec, &namespace, &context.installation.namespace);
            kept.entry((namespace, origin)).or_default().push((event.spec.time.0, event.name_any()));
        }
        let Some(token) = next else { return Ok(kept) };
        page = page.continue_token(&token);
    }
}
