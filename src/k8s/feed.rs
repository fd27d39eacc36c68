//! A watch that tells of each object once, and of each removal also when it happened while the watch was down.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::hash::Hash;
use std::pin::pin;

use futures::TryStreamExt;
use kube::runtime::reflector::store::Writer;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tracing::warn;

use crate::domain::names::ObjectKey;

/// What a feed tells.
pub enum Fed<K> {
    /// An object is there, or changed.
    Present(ObjectKey, K),
    /// An object is gone.
    Gone(ObjectKey),
    /// All that was there at the start has been told.
    Synced,
}

/// Watches `api` for ever and tells `tell`; `store` has each object before `tell` hears of it.
pub async fn feed<K>(api: Api<K>, mut store: Writer<K>, mut tell: impl FnMut(Fed<K>))
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    K::DynamicType: Eq + Hash + Clone + Default,
{
    let mut known = BTreeSet::new();
    let mut listed = BTreeSet::new();
    let mut synced = false;
    let mut events = pin!(watcher(api, watcher::Config::default()).default_backoff());
    loop {
        let event = match events.try_next().await {
            Ok(Some(event)) => event,
            Ok(None) => return,
            Err(error) => {
                warn!(%error, "watch of {} broke off; it is taken up again", K::kind(&K::DynamicType::default()));
                continue;
            }
        };
        store.apply_watcher_event(&event);
        match event {
            watcher::Event::Init => listed.clear(),
            watcher::Event::InitApply(object) => {
                listed.insert(key(&object));
                known.insert(key(&object));
                tell(Fed::Present(key(&object), object));
            }
            watcher::Event::InitDone => {
                for gone in known.difference(&listed).cloned().collect::<Vec<_>>() {
                    known.remove(&gone);
                    tell(Fed::Gone(gone));
                }
                if !std::mem::replace(&mut synced, true) {
                    tell(Fed::Synced);
                }
            }
            watcher::Event::Apply(object) => {
                known.insert(key(&object));
                tell(Fed::Present(key(&object), object));
            }
            watcher::Event::Delete(object) => {
                known.remove(&key(&object));
                tell(Fed::Gone(key(&object)));
            }
        }
    }
}

fn key<K: Resource>(object: &K) -> ObjectKey {
    ObjectKey::new(object.meta().namespace.clone().unwrap_or_default(), object.name_any())
}
