//! What the cluster has, read as a whole.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::try_join_all;
use kube::ResourceExt;
use tokio::time::Instant;
use tracing::warn;

use super::session::{Dirty, Session, SessionError};
use crate::api::CredentialType;
use crate::domain::acl::AclEntry;
use crate::domain::plan::Observed;
use crate::ports::{AclFilter, ScramInfo};

/// What the cluster has, as of the last snapshot and what was done since.
#[derive(Debug, Default)]
pub(super) struct Cache {
    /// By principal, without `User:`.
    pub principals: BTreeMap<String, Observed>,
    /// Entries of principals of other types than `User`.
    pub others: BTreeSet<AclEntry>,
    /// SCRAM credentials by user.
    pub scram: BTreeMap<String, Vec<ScramInfo>>,
}

impl Cache {
    /// Every entry.
    pub fn entries(&self) -> impl Iterator<Item = &AclEntry> {
        self.principals.values().flat_map(|o| &o.entries).chain(&self.others)
    }

    /// Of one principal.
    pub fn of(&mut self, principal: &str) -> &mut Observed {
        self.principals.entry(principal.to_owned()).or_default()
    }
}

impl Session<'_> {
    /// Reads the whole cluster, and makes everything dirty.
    pub(super) async fn observe_all(&mut self, dirty: &mut Dirty) -> Result<(), SessionError> {
        let (acls, quotas) = tokio::try_join!(
            self.admin.describe_acls(None, &[AclFilter::All]),
            self.admin.describe_user_quotas(None),
        )?;
        let scram = self.scram_everywhere().await?;
        let mut cache = Cache { scram, ..Cache::default() };
        for entry in acls {
            match entry.principal.strip_prefix("User:").map(str::to_owned) {
                Some(name) => drop(cache.of(&name).entries.insert(entry)),
                None => drop(cache.others.insert(entry)),
            }
        }
        for (user, quotas) in quotas {
            cache.of(&user).quotas = quotas;
        }
        self.observed = cache;
        self.late.looked(Instant::now(), &self.ledger, &self.observed);
        {
            let mut state = self.handle.state();
            state.late_until = self.late.until();
            state.late_principals = self.late.principals();
        }
        self.looked.clear();
        self.forget_the_gone();
        dirty.resync = false;
        self.everything(dirty);
        self.find_lost_identities();
        self.find_foreign().await
    }

    /// Finds clients whose current SCRAM user some broker does not have: their Secrets still have it, to be given again.
    fn find_lost_identities(&self) {
        let scram = self.ledger.clients.values().filter(|r| r.kind == CredentialType::ScramSha512);
        let lost: Vec<_> = scram
            .filter_map(|r| Some((r.current()?.principal.clone(), r.key())))
            .filter(|(principal, _)| !self.observed.scram.contains_key(principal))
            .collect();
        self.handle.state().lost_identities = lost.iter().map(|(principal, _)| principal.clone()).collect();
        for (principal, client) in &lost {
            warn!(principal, "a broker lost a SCRAM user");
            self.context.world.reconcile_client(client);
        }
    }

    /// SCRAM credentials that every broker has. One that restarts may lack some: Kafka 4.3.1 loses them where it reads removals
    /// at its start.
    async fn scram_everywhere(&self) -> Result<BTreeMap<String, Vec<ScramInfo>>, SessionError> {
        let brokers = self.serving_brokers().await?;
        let mut views = try_join_all(brokers.iter().map(|id| self.admin.describe_scram(Some(*id), None))).await?;
        let mut everywhere = views.pop().unwrap_or_default();
        everywhere.retain(|user, _| views.iter().all(|view| view.contains_key(user)));
        Ok(everywhere)
    }

    /// Forgets what was known of objects that are gone.
    fn forget_the_gone(&self) {
        let index = self.context.world.index();
        let products: BTreeSet<_> = index.products_on(self.cluster).filter_map(|(_, p)| p.uid()).collect();
        let clients: BTreeSet<_> = index.clients_on(self.cluster).filter_map(|(_, c)| c.uid()).collect();
        let mut state = self.handle.state();
        state.products.retain(|uid, _| products.contains(uid));
        state.credentials.retain(|uid, _| clients.contains(uid));
        state.client_problems.retain(|uid, _| clients.contains(uid));
    }

    /// Makes everything dirty that should be on the cluster, or may be.
    fn everything(&self, dirty: &mut Dirty) {
        let index = self.context.world.index();
        dirty.principals.extend(index.principals_on(self.cluster).map(|k| k.principal.clone()));
        dirty.principals.extend(self.ledger.grants.keys().cloned());
        dirty.products.extend(index.products_on(self.cluster).map(|(k, _)| k.clone()));
        dirty.clients.extend(index.clients_on(self.cluster).map(|(k, _)| k.clone()));
        let versions = self.ledger.clients.values().flat_map(|c| &c.versions);
        dirty.principals.extend(versions.map(|v| v.principal.clone()));
    }
}
