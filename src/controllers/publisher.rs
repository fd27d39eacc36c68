//! Reads and writes what Weir owns in consumers' namespaces, and watches it: an edit or a deletion by somebody else wakes its
//! owner.
//!
//! Weir may watch only where a namespace enrolled. So a watch, of one kind in one namespace, begins with the first object that
//! was written or read there, ends when the API server refuses, and begins again with the next success. It holds no object, only
//! its `resourceVersion`, by which own writes are told from those of others.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::PartialObjectMeta;
use kube::{Api, Client, Resource, ResourceExt};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::context::Context;
use crate::api::{MANAGED_BY, MANAGED_BY_LABEL};
use crate::domain::foreign_edit::{Owner, Pace, Versions, owner_of};
use crate::domain::names::ObjectKey;
use crate::domain::publication::Publication;
use crate::k8s::feed::{Fed, feed_labelled};
use crate::k8s::publish::{PublishError, publish, read};

/// How long after the refusal of a watch it is not tried again, although objects can be read.
const AFTER_REFUSAL: Duration = Duration::from_secs(60);

/// What is watched: a namespace, and a kind in it.
type Scope = (String, Cow<'static, str>);

/// See the module.
pub struct Publisher {
    client: Client,
    shutdown: CancellationToken,
    watches: Arc<Watches>,
}

struct Watches {
    by_scope: Mutex<BTreeMap<Scope, Watch>>,
    owners: UnboundedSender<Owner>,
}

#[derive(Default)]
struct Watch {
    versions: Versions,
    /// Ends it; `None` while there is none.
    end: Option<CancellationToken>,
    refused: Option<Instant>,
}

impl Publisher {
    /// One whose watches send whoever is to be woken to `owners`, and end with `shutdown`.
    pub fn new(client: Client, owners: UnboundedSender<Owner>, shutdown: CancellationToken) -> Self {
        Self { client, shutdown, watches: Arc::new(Watches { by_scope: Mutex::default(), owners }) }
    }

    /// An object, if it is there. It is `owner`'s, whatever it says itself.
    ///
    /// # Errors
    /// See [`read`].
    pub async fn read<K: Publication>(&self, key: &ObjectKey, owner: Owner) -> Result<Option<K>, PublishError> {
        let found = read(&self.client, key).await;
        self.heed::<K, _>(&key.namespace, &found);
        let found: Option<K> = found?;
        if let Some(object) = &found {
            self.known::<K>(object.meta(), owner);
        }
        Ok(found)
    }

    /// Writes an object if what was read differs.
    ///
    /// # Errors
    /// See [`publish`].
    pub async fn publish<K: Publication>(&self, existing: Option<K>, wanted: K) -> Result<(), PublishError> {
        let (scope, name) = ((wanted.namespace().unwrap_or_default(), K::kind(&())), wanted.name_any());
        let owner = owner_of(wanted.meta());
        self.watches.with(&scope, |versions| {
            versions.writing(&name);
            None
        });
        let written = publish(&self.client, existing, wanted).await;
        self.heed::<K, _>(&scope.0, &written);
        if let (Ok(meta), Some(owner)) = (&written, owner) {
            self.known::<K>(meta, owner);
        }
        self.watches.with(&scope, |versions| versions.written(&name));
        written.map(drop)
    }

    /// A namespace is gone: its watches end.
    pub fn forget(&self, namespace: &str) {
        self.watches.end(|(of, _)| of == namespace);
    }

    /// Ends the watch where the API server refused a read or a write.
    fn heed<K: Publication, T>(&self, namespace: &str, result: &Result<T, PublishError>) {
        if matches!(result, Err(PublishError::NotEnrolled(_))) {
            self.watches.end(|(of, kind)| of == namespace && *kind == K::kind(&()));
        }
    }

    /// Remembers what was written or read, and watches over it from now on.
    fn known<K: Publication>(&self, meta: &ObjectMeta, owner: Owner) {
        let (Some(namespace), Some(name), Some(version)) = (&meta.namespace, &meta.name, &meta.resource_version) else {
            return;
        };
        let scope = (namespace.clone(), K::kind(&()));
        let mut watches = self.watches.lock();
        let watch = watches.entry(scope.clone()).or_default();
        watch.versions.known(name, owner, version).into_iter().for_each(|owner| self.watches.wake(owner));
        if watch.end.is_none() && watch.refused.is_none_or(|at| at.elapsed() >= AFTER_REFUSAL) {
            watch.end = Some(self.begin::<K>(scope));
        }
    }

    fn begin<K: Publication>(&self, scope: Scope) -> CancellationToken {
        debug!(namespace = scope.0, kind = %scope.1, "watching");
        let end = self.shutdown.child_token();
        let api: Api<PartialObjectMeta<K>> = Api::namespaced(self.client.clone(), &scope.0);
        let (watches, ended) = (self.watches.clone(), end.clone());
        tokio::spawn(async move {
            let label = format!("{MANAGED_BY_LABEL}={MANAGED_BY}");
            tokio::select! {
                () = ended.cancelled() => {}
                () = feed_labelled(api, &label, |fed| watches.take(&scope, &ended, fed)) => watches.refused(&scope, &ended),
            }
        });
        end
    }
}

impl Watches {
    /// Tells the versions of a scope something, and wakes whom they name.
    fn with(&self, scope: &Scope, tell: impl FnOnce(&mut Versions) -> Option<Owner>) {
        let woken = self.lock().get_mut(scope).and_then(|watch| tell(&mut watch.versions));
        woken.into_iter().for_each(|owner| self.wake(owner));
    }

    /// What a watch tells. One that was ended says nothing any more.
    fn take<K: Resource>(&self, scope: &Scope, end: &CancellationToken, fed: Fed<K>) {
        let mut watches = self.lock();
        let Some(watch) = watches.get_mut(scope).filter(|_| !end.is_cancelled()) else { return };
        let woken = match fed {
            Fed::Present(key, object) => {
                let version = object.resource_version().unwrap_or_default();
                watch.versions.seen(&key.name, owner_of(object.meta()), &version).into_iter().collect()
            }
            Fed::Gone(key) => watch.versions.gone(&key.name).into_iter().collect(),
            Fed::Synced => watch.versions.listed(),
        };
        woken.into_iter().for_each(|owner| self.wake(owner));
    }

    fn refused(&self, scope: &Scope, end: &CancellationToken) {
        let mut watches = self.lock();
        if let Some(watch) = watches.get_mut(scope).filter(|_| !end.is_cancelled()) {
            *watch = Watch { refused: Some(Instant::now()), ..Watch::default() };
        }
    }

    fn end(&self, which: impl Fn(&Scope) -> bool) {
        self.lock().retain(|scope, watch| {
            let ends = which(scope);
            if let Some(end) = watch.end.as_ref().filter(|_| ends) {
                debug!(namespace = scope.0, kind = %scope.1, "not watching any more");
                end.cancel();
            }
            !ends
        });
    }

    fn wake(&self, owner: Owner) {
        // The receiver is gone only while the process ends.
        let _ = self.owners.send(owner);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Scope, Watch>> {
        self.by_scope.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes those whose objects were edited or deleted, each one when it is its turn, for ever.
pub async fn wake_owners(context: Arc<Context>, mut owners: UnboundedReceiver<Owner>) {
    let mut pace = Pace::default();
    let mut turns = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some(owner) = owners.recv() => {
                let now = Timestamp::now();
                let Some(at) = pace.turn(&owner, now) else { continue };
                let wait = Duration::try_from(at.duration_since(now)).unwrap_or_default();
                turns.push(async move {
                    tokio::time::sleep(wait).await;
                    owner
                });
            }
            Some(owner) = turns.next() => {
                debug!(?owner, "what was written for it was edited or deleted");
                match owner {
                    Owner::Client(key) => context.world.reconcile_client(&key),
                    Owner::Binding(key) => context.world.reconcile_binding(&key),
                }
            }
            else => return,
        }
    }
}
