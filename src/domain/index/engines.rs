//! Replication engines: who may copy where, and the workers that do.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::update::set;
use super::{Index, Touched};
use crate::api::{Limits, Reason};
use crate::domain::engine::{self, Worker};
use crate::domain::names::{
    EngineKey, MIRROR, ObjectKey, engine_of_worker, guest_key, mirror_prefix, share_of_guest, worker_key,
};
use crate::domain::problem::Problem;
use crate::domain::product::Mirrored;
use crate::domain::share::copy::{self, Copy};
use crate::domain::tenancy::{Tenant, selects};

/// What was seen of the cluster link of a share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenLink {
    /// The topics that it has among its own.
    pub listed: BTreeSet<String>,
    /// Topics that have names of the share's copies, have been there for a while, and are not among those.
    pub strange: BTreeSet<String>,
    /// The share is over, and there is no link of it any more.
    pub is_gone: bool,
}

impl Index {
    /// The workers of an engine, where they are in use.
    pub fn worker(&self, engine: &EngineKey) -> Option<&Arc<Worker>> {
        self.workers.get(engine)
    }

    /// What was seen of a topic that the link of a share is to make.
    pub fn mirrored(&self, share: &ObjectKey, topic: &str) -> Mirrored {
        match self.links.get(share) {
            Some(seen) if seen.listed.contains(topic) => Mirrored::Listed,
            Some(seen) if seen.strange.contains(topic) => Mirrored::Strange,
            _ => Mirrored::Unseen,
        }
    }

    /// Whether the topics of a product are a cluster link's, which was not seen to be gone, and could be asked.
    pub fn is_held_by_link(&self, product: &ObjectKey) -> bool {
        let Some((share, MIRROR)) = share_of_guest(product) else { return false };
        let can_be_asked = |copy: &Copy| copy.engine.is_some() && !self.is_given_up(&copy.cluster);
        let is_linked = self.copy(&share).is_some_and(|copy| copy.is_linked && can_be_asked(copy));
        is_linked && !self.links.get(&share).is_some_and(|seen| seen.is_gone)
    }

    /// Topics that have names of a share's copies and are a stranger's.
    pub fn strange(&self, share: &ObjectKey) -> BTreeSet<String> {
        self.links.get(share).map(|seen| seen.strange.clone()).unwrap_or_default()
    }

    /// Whether a topic is on record that somebody else is yet to make.
    pub fn is_promised(&self, cluster: &str, topic: &str) -> bool {
        self.promised.contains_key(&(cluster.to_owned(), topic.to_owned()))
    }

    /// Whether it is on record that somebody makes, or made, a topic for the product with this UID.
    pub fn is_promised_to(&self, cluster: &str, topic: &str, product_uid: &str) -> bool {
        let at = (cluster.to_owned(), topic.to_owned());
        [&self.promised, &self.governed].iter().any(|of| of.get(&at).is_some_and(|uid| uid == product_uid))
    }

    /// Topics on record for the product with this UID, whoever made them, or is to.
    pub fn recorded_for<'a>(&'a self, cluster: &'a str, product_uid: &'a str) -> impl Iterator<Item = &'a str> {
        self.topics_on_record(cluster).filter(move |(_, uid)| *uid == product_uid).map(|(topic, _)| topic)
    }

    pub(super) fn set_link(&mut self, share: ObjectKey, seen: SeenLink, touched: &mut Touched) {
        if self.links.get(&share) != Some(&seen) {
            self.touch_product(&guest_key(&share, MIRROR), touched);
            self.links.insert(share, seen);
        }
    }

    /// Every engine that any cluster offers.
    pub fn engines(&self) -> impl Iterator<Item = EngineKey> {
        self.clusters.iter().flat_map(|(cluster, c)| {
            let key = move |name: &String| EngineKey { cluster: cluster.clone(), name: name.clone() };
            c.object.spec.replication_engines.iter().map(move |e| key(&e.name))
        })
    }

    /// Whether any share copies by an engine, or will.
    pub fn is_engine_wanted(&self, engine: &EngineKey) -> bool {
        self.copies.values().any(|c| c.engine.as_ref() == Some(engine) && c.source.client.is_some())
    }

    /// What a share may have on a cluster that it copies to.
    ///
    /// # Errors
    /// Copies of its namespace are not let in.
    pub fn destination(&self, cluster: &str, share: &ObjectKey) -> Result<Tenant, Problem> {
        let missing = || Problem::waiting(Reason::ClusterNotFound, format!("StreamCluster {cluster} does not exist"));
        let spec = self.cluster_spec(cluster).ok_or_else(missing)?;
        let labels = self.namespace(&share.namespace).map(|ns| &ns.labels);
        let entry = labels.and_then(|l| spec.destinations.iter().find(|d| selects(&d.namespace_selector, l)));
        let limits = entry.map(|e| e.limits.clone()).ok_or_else(|| {
            let namespace = &share.namespace;
            let message = format!(
                "spec.destination: no entry of destinations of StreamCluster {cluster} selects namespace {namespace}: ask the \
                 platform team to add one"
            );
            Problem::invalid(Reason::DestinationNotAllowed, message)
        })?;
        let prefix = self.share(share).map_or_else(|| mirror_prefix(share), |spec| copy::prefix(self, spec));
        Ok(Tenant { prefixes: vec![prefix], limits, allow_adopt: false })
    }

    /// What may be had on a cluster in the name of `key`: by its namespace's tenancy; by a share's copies, and those who write and
    /// read them, as the cluster is a destination; and by workers without either.
    ///
    /// # Errors
    /// Why nothing may.
    pub fn tenant_of(&self, cluster: &str, key: &ObjectKey) -> Result<Cow<'_, Tenant>, Problem> {
        if engine_of_worker(key).is_some() {
            return Ok(Cow::Owned(Tenant { prefixes: Vec::new(), limits: Limits::default(), allow_adopt: false }));
        }
        let share = share_of_guest(key).map(|(share, _)| share);
        let copies_to = |share: &ObjectKey| self.shares.get(share).and_then(|s| copy::destination(s));
        match share {
            Some(share) if copies_to(&share).is_some_and(|to| to == cluster) => {
                self.destination(cluster, &share).map(Cow::Owned)
            }
            _ => self.tenant(cluster, &key.namespace).map(Cow::Borrowed),
        }
    }

    /// Gives the workers of an engine their identity while it is in use, and until nothing of any share is left there.
    pub(super) fn resolve_engine(&mut self, key: &EngineKey, now: Timestamp, touched: &mut Touched) {
        let is_known = engine::worker_uid(self, key).is_some_and(|uid| self.client_cluster(&uid).is_some());
        let in_use = self.is_engine_wanted(key);
        if in_use {
            self.idle.remove(key);
        }
        let is_wanted = in_use || (is_known && !self.idle.contains(key));
        let after = engine::worker(self, key, is_wanted).map(Arc::new);
        let before = self.workers.get(key).cloned();
        let client = |worker: Option<&Arc<Worker>>| worker.map(|w| w.client.clone());
        if client(before.as_ref()) != client(after.as_ref()) {
            self.set_client(worker_key(key), client(after.as_ref()), touched);
        }
        self.replace(&worker_key(key), after.as_ref().map(|w| w.resolution.clone()), now, touched);
        set(&mut self.workers, key.clone(), after);
    }
}
