//! NetworkPolicies before the listeners for partners, kept as they should be.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use super::context::Context;
use crate::api::Reason;
use crate::domain::names::{ObjectKey, share_of_guest};
use crate::domain::network::{self, Fence, before, policy};
use crate::domain::problem::Problem;
use crate::domain::share::Guest;
use crate::k8s::fences::{apply, remove};

/// How often it is looked whether others are let in.
const EVERY: Duration = Duration::from_millis(500);
/// How often a NetworkPolicy is written although nothing changed, so that what others changed comes back.
const WRITTEN: Duration = Duration::from_secs(60);
/// How long after a failure it is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// What was written.
#[derive(Debug, Default)]
pub struct Fences(Mutex<BTreeMap<ObjectKey, Written>>);

#[derive(Clone, Debug)]
struct Written {
    /// What is known to be there.
    fence: Option<Fence>,
    /// What stood in the way the last time.
    failure: Option<String>,
    /// When it is written again.
    again: Instant,
}

impl Fences {
    /// What stands between a guest and the brokers.
    pub fn problem(&self, context: &Context, guest: &Guest) -> Option<Problem> {
        let (key, port, sources) = before(&context.world.index(), guest)?;
        let written = self.lock().get(&key).cloned();
        let is_open = |fence: &Fence| fence.ports.get(&port).is_some_and(|of| of.has(&sources));
        if written.as_ref().and_then(|w| w.fence.as_ref()).is_some_and(is_open) {
            return None;
        }
        let why = written.and_then(|w| w.failure).unwrap_or_else(|| "it is being written".to_owned());
        let message = format!("NetworkPolicy {key} does not let its networks in yet: {why}");
        Some(Problem::waiting(Reason::Applying, message))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ObjectKey, Written>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps them for ever.
pub async fn run(context: Arc<Context>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let wanted = wanted(&context);
        for fence in wanted.values() {
            keep(&context, fence).await;
        }
        let before: Vec<_> = context.fences.lock().keys().cloned().collect();
        for key in before.into_iter().filter(|key| !wanted.contains_key(key)) {
            // Of a cluster that is not looked at for the moment, nothing is taken away.
            if is_known(&context, &key) {
                take_away(&context, key).await;
            }
        }
    }
}

fn wanted(context: &Context) -> BTreeMap<ObjectKey, Fence> {
    let clusters: Vec<_> = context.world.index().cluster_names().map(str::to_owned).collect();
    let settled = clusters.into_iter().filter(|cluster| context.is_settled(cluster));
    settled.flat_map(|cluster| network::fences(&context.world.index(), &cluster)).collect()
}

fn is_known(context: &Context, key: &ObjectKey) -> bool {
    let cluster = context.fences.lock().get(key).and_then(|w| Some(w.fence.as_ref()?.owner.name.clone()));
    cluster.is_none_or(|cluster| context.is_settled(&cluster))
}

/// Writes one where it is another than before, or was written long ago.
async fn keep(context: &Context, fence: &Fence) {
    let key = &fence.key;
    let before = context.fences.lock().get(key).cloned();
    let is_same = before.as_ref().is_some_and(|b| b.failure.is_some() || b.fence.as_ref() == Some(fence));
    if context.may_write().is_err() || (is_same && before.as_ref().is_some_and(|b| b.again > Instant::now())) {
        return;
    }
    let is_new = before.as_ref().is_none_or(|b| b.fence.as_ref() != Some(fence));
    let done = match policy(fence, &context.installation.namespace) {
        Ok(policy) => apply(&context.client, &policy).await.map_err(|e| advice(&e, &key.namespace)),
        Err(error) => Err(error.to_string()),
    };
    let was = before.as_ref().and_then(|b| b.fence.clone());
    let written = match done {
        Ok(()) => Written { fence: Some(fence.clone()), failure: None, again: Instant::now() + WRITTEN },
        Err(why) => Written { fence: was, failure: Some(why), again: Instant::now() + AGAIN },
    };
    match &written.failure {
        None if is_new => info!(policy = %key, "wrote a NetworkPolicy"),
        None => {}
        Some(why) => warn!(policy = %key, why, "failed to write a NetworkPolicy"),
    }
    let is_news = is_new || before.and_then(|b| b.failure) != written.failure;
    context.fences.lock().insert(key.clone(), written);
    if is_news {
        tell(context, &fence.owner.name);
    }
}

async fn take_away(context: &Context, key: ObjectKey) {
    if context.may_write().is_err() {
        return;
    }
    match remove(&context.client, &key).await {
        Ok(()) => {
            info!(policy = %key, "removed a NetworkPolicy");
            context.fences.lock().remove(&key);
        }
        Err(error) => warn!(policy = %key, %error, "failed to remove a NetworkPolicy"),
    }
}

fn advice(error: &kube::Error, namespace: &str) -> String {
    match error {
        kube::Error::Api(status) if status.code == 403 => {
            format!("{}: bind the ClusterRole weir-network to Weir's account in namespace {namespace}", status.message)
        }
        other => other.to_string(),
    }
}

/// Has the shares looked at whose partners read on a cluster.
fn tell(context: &Context, cluster: &str) {
    let on_it: Vec<_> = {
        let index = context.world.index();
        let on_it = index.all_guests().filter(|(_, guest)| guest.is_on(cluster));
        on_it.filter_map(|(key, _)| Some(share_of_guest(key)?.0)).collect()
    };
    on_it.iter().for_each(|share| context.world.report_share(share));
}
