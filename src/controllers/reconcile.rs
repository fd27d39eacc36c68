//! What the reconcilers of all kinds share.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::channel::mpsc::UnboundedReceiver;
use kube::Resource;
use kube::runtime::controller::{Action, Config, ReconcileRequest, applier};
use kube::runtime::reflector::Store;
use serde::de::DeserializeOwned;
use tracing::{Instrument, debug, info_span, warn};

use super::context::Context;

/// How often everything is reconciled although nothing changed.
pub const PERIODICALLY: Duration = Duration::from_secs(300);
/// How long after a failure it is tried again.
const AFTER_FAILURE: Duration = Duration::from_secs(5);
/// How many objects of a kind are reconciled at once.
const CONCURRENCY: u16 = 16;

/// Why a reconciliation failed; it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The API server refused, or did not answer.
    #[error("failed to talk to the API server: {0}")]
    Kube(#[from] kube::Error),
}

impl ReconcileError {
    /// Another write came first: the watch brings the newer object, which is then reconciled.
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Kube(kube::Error::Api(status)) if status.reason == "Conflict")
    }
}

/// Reconciles what comes from `queue`, for ever. The store has each object; one that is gone is passed over.
pub async fn reconcile_kind<K, F, Fut>(
    context: Arc<Context>,
    store: Store<K>,
    queue: UnboundedReceiver<ReconcileRequest<K>>,
    debounce: Duration,
    reconcile: F,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    F: Fn(Arc<K>, Arc<Context>) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<Action, ReconcileError>> + Send + 'static,
{
    let queue = queue.map(Ok::<_, std::convert::Infallible>);
    let config = Config::default().concurrency(CONCURRENCY).debounce(debounce);
    let spanned = move |object: Arc<K>, context| {
        let meta = object.meta();
        let span = info_span!("reconcile", kind = %K::kind(&()), namespace = meta.namespace, name = meta.name);
        let reconcile = reconcile.clone();
        Box::pin(async move { reconcile(object, context).await }.instrument(span))
    };
    applier(spanned, on_error, context, store, queue, config)
        .for_each(|result| async {
            if let Err(error) = result {
                debug!(%error, "not reconciled");
            }
        })
        .await;
}

fn on_error<K: Resource<DynamicType = ()>>(object: Arc<K>, error: &ReconcileError, _context: Arc<Context>) -> Action {
    if error.is_conflict() {
        return Action::requeue(Duration::from_millis(200));
    }
    let meta = object.meta();
    warn!(kind = %K::kind(&()), namespace = meta.namespace, name = meta.name, %error, "reconciliation failed");
    Action::requeue(AFTER_FAILURE)
}
