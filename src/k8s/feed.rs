//! Watches that tell of each object once, and of each removal also when it happened while the watch was down.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::hash::Hash;
use std::pin::pin;

use futures::TryStreamExt;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::store::Writer;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tracing::{debug, warn};

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
    let mut told = Told::default();
    let mut events = pin!(watcher(api, watcher::Config::default()).default_backoff());
    loop {
        match events.try_next().await {
            Ok(Some(event)) => {
                store.apply_watcher_event(&event);
                told.take(event, &mut tell);
            }
            Ok(None) => return,
            Err(error) => broke_off::<K>(&error),
        }
    }
}

/// Watches the metadata of the objects that have a label, until the API server refuses that.
pub async fn feed_labelled<K>(
    api: Api<PartialObjectMeta<K>>,
    label: &str,
    mut tell: impl FnMut(Fed<PartialObjectMeta<K>>),
) where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + 'static,
{
    // From the API server's cache: what is newer than that comes with the watch.
    let config = watcher::Config::default().labels(label).any_semantic();
    let mut told = Told::default();
    let mut events = pin!(watcher(api, config).default_backoff());
    loop {
        match events.try_next().await {
            Ok(Some(event)) => told.take(event, &mut tell),
            Ok(None) => return,
            Err(error) if is_refusal(&error) => {
                debug!(%error, "a watch of {} was refused", K::kind(&()));
                return;
            }
            Err(error) => broke_off::<K>(&error),
        }
    }
}

/// What a feed has told.
#[derive(Default)]
struct Told {
    known: BTreeSet<ObjectKey>,
    listed: BTreeSet<ObjectKey>,
    synced: bool,
}

impl Told {
    fn take<K: Resource>(&mut self, event: watcher::Event<K>, tell: &mut impl FnMut(Fed<K>)) {
        match event {
            watcher::Event::Init => self.listed.clear(),
            watcher::Event::InitApply(object) => {
                self.listed.insert(key(&object));
                self.known.insert(key(&object));
                tell(Fed::Present(key(&object), object));
            }
            watcher::Event::InitDone => {
                for gone in self.known.difference(&std::mem::take(&mut self.listed)).cloned().collect::<Vec<_>>() {
                    self.known.remove(&gone);
                    tell(Fed::Gone(gone));
                }
                if !std::mem::replace(&mut self.synced, true) {
                    tell(Fed::Synced);
                }
            }
            watcher::Event::Apply(object) => {
                self.known.insert(key(&object));
                tell(Fed::Present(key(&object), object));
            }
            watcher::Event::Delete(object) => {
                self.known.remove(&key(&object));
                tell(Fed::Gone(key(&object)));
            }
        }
    }
}

fn broke_off<K: Resource>(error: &watcher::Error)
where
    K::DynamicType: Default,
{
    warn!(%error, "watch of {} broke off; it is taken up again", K::kind(&K::DynamicType::default()));
}

fn is_refusal(error: &watcher::Error) -> bool {
    use watcher::Error::{InitialListFailed, NoResourceVersion, WatchError, WatchFailed, WatchStartFailed};
    match error {
        InitialListFailed(error) | WatchStartFailed(error) | WatchFailed(error) => {
            matches!(error, kube::Error::Api(status) if status.code == 403)
        }
        WatchError(status) => status.code == 403,
        NoResourceVersion => false,
    }
}

fn key<K: Resource>(object: &K) -> ObjectKey {
    ObjectKey::new(object.meta().namespace.clone().unwrap_or_default(), object.name_any())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::core::Status;

    use super::*;

    fn map(name: &str) -> ConfigMap {
        let mut map = ConfigMap::default();
        map.metadata.name = Some(name.into());
        map
    }

    fn telling(events: impl IntoIterator<Item = watcher::Event<ConfigMap>>) -> Vec<String> {
        let mut told = Told::default();
        let mut heard = Vec::new();
        for event in events {
            told.take(event, &mut |fed| {
                heard.push(match fed {
                    Fed::Present(key, _) => format!("+{}", key.name),
                    Fed::Gone(key) => format!("-{}", key.name),
                    Fed::Synced => "synced".into(),
                });
            });
        }
        heard
    }

    #[test]
    fn what_went_while_the_watch_was_down_is_told_with_the_next_list() {
        use watcher::Event::{Apply, Delete, Init, InitApply, InitDone};
        let first = [Init, InitApply(map("a")), InitApply(map("b")), InitDone, Apply(map("c")), Delete(map("b"))];
        let second = [Init, InitApply(map("c")), InitDone];
        let heard = telling(first.into_iter().chain(second));
        assert_eq!(heard, ["+a", "+b", "synced", "+c", "-b", "+c", "-a"]);
    }

    #[test]
    fn only_a_refusal_ends_a_watch() {
        let answer = |code: u16| kube::Error::Api(Status { code, ..Status::default() }.boxed());
        assert!(is_refusal(&watcher::Error::InitialListFailed(answer(403))));
        assert!(is_refusal(&watcher::Error::WatchStartFailed(answer(403))));
        assert!(!is_refusal(&watcher::Error::WatchStartFailed(answer(410))));
        assert!(!is_refusal(&watcher::Error::InitialListFailed(answer(500))));
    }
}
