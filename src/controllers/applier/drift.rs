//! What stands on governed topics and nobody asked for.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use tracing::warn;

use super::session::{Session, SessionError};
use crate::api::{Action, Drift, ObjectRef};
use crate::domain::acl::{AclEntry, PatternType, ResourceType};
use crate::domain::event::Happening;
use crate::domain::plan;
use crate::ports::AclFilter;

/// How many entries are named in a message.
const SAMPLE: usize = 5;

impl Session<'_> {
    /// Compares the snapshot with what is asked for, reports what is foreign, and repairs what may be repaired.
    pub(super) async fn find_foreign(&mut self) -> Result<(), SessionError> {
        let (foreign, drift) = self.foreign();
        let before = std::mem::replace(&mut self.handle.state().foreign, foreign.clone());
        self.handle.state().last_resync = Some(Timestamp::now());
        self.context.world.reconcile_cluster(self.cluster);
        let new: BTreeSet<_> = foreign.difference(&before).cloned().collect();
        let mut found = Vec::new();
        if !new.is_empty() {
            warn!(entries = new.len(), "foreign entries on governed topics");
            found.extend(self.told(Action::DriftFound, "ForeignEntries", &new));
        }
        let repaired = if drift == Drift::Repair { self.repair(&foreign, &mut found).await } else { Ok(()) };
        self.context.record_all(found).await;
        repaired
    }

    /// Removes what may be removed, and was not already at the last look. Adds what there is to tell to `found`.
    async fn repair(
        &mut self,
        foreign: &BTreeSet<AclEntry>,
        found: &mut Vec<(Happening, String)>,
    ) -> Result<(), SessionError> {
        // One that was repaired at the last look, and is back, is left: something keeps putting it back.
        let mut repaired = std::mem::take(&mut self.handle.state().repaired);
        repaired.retain(|e| foreign.contains(e));
        let given_up: BTreeSet<_> = repaired.iter().filter(|e| plan::is_repairable(e)).cloned().collect();
        let before = std::mem::replace(&mut self.handle.state().given_up, given_up.clone());
        let new: BTreeSet<_> = given_up.difference(&before).cloned().collect();
        if !new.is_empty() {
            warn!(entries = new.len(), "something keeps putting foreign entries back; they are left");
            found.extend(self.told(Action::DriftGivenUp, "PutBack", &new));
        }
        let repair: Vec<_> =
            foreign.iter().filter(|e| plan::is_repairable(e) && !repaired.contains(e)).cloned().collect();
        self.handle.state().repaired = repaired;
        let removed = self.remove_foreign(repair).await?;
        self.handle.state().repaired.extend(removed.iter().cloned());
        if !removed.is_empty() {
            found.extend(self.told(Action::DriftRepaired, "ForeignEntriesRemoved", &removed));
        }
        Ok(())
    }

    fn foreign(&self) -> (BTreeSet<AclEntry>, Drift) {
        let index = self.context.world.index();
        let governed: BTreeSet<_> = index.governed_on(self.cluster).map(|(topic, _)| topic.to_owned()).collect();
        let (drift, exempt) = index
            .cluster_spec(self.cluster)
            .map(|s| (s.drift, s.exempt_principals.iter().cloned().collect::<BTreeSet<_>>()))
            .unwrap_or_default();
        let recorded = |e: &AclEntry| {
            let principal = e.principal.strip_prefix("User:").unwrap_or_default();
            let records = self.ledger.grants.get(principal).into_iter().flat_map(|g| g.values());
            records.into_iter().any(|r| r.entries.contains(e))
                || index.desired(&self.key(principal)).entries.contains(e)
        };
        let under = |prefix: &str| governed.range(prefix.to_owned()..).next().is_some_and(|t| t.starts_with(prefix));
        let foreign = plan::foreign(
            self.observed.entries(),
            |topic| governed.contains(topic),
            under,
            recorded,
            |principal| exempt.contains(principal),
        );
        (foreign, drift)
    }

    /// Removes entries; returns those that are gone.
    async fn remove_foreign(&mut self, entries: Vec<AclEntry>) -> Result<BTreeSet<AclEntry>, SessionError> {
        if entries.is_empty() {
            return Ok(BTreeSet::new());
        }
        self.context.may_write()?;
        let filters: Vec<_> = entries.iter().cloned().map(AclFilter::Exact).collect();
        let results = self.admin.delete_acls(&filters).await?;
        let repaired: BTreeSet<_> =
            entries.into_iter().zip(results).filter(|(_, r)| r.is_ok()).map(|(e, _)| e).collect();
        for entry in &repaired {
            if let Some(observed) =
                entry.principal.strip_prefix("User:").and_then(|p| self.observed.principals.get_mut(p))
            {
                observed.entries.remove(entry);
            }
        }
        Ok(repaired)
    }

    /// The cluster, as events have it.
    pub(super) fn object(&self) -> ObjectRef {
        let uid = self.context.world.index().cluster(self.cluster).and_then(|c| c.metadata.uid.clone());
        ObjectRef { kind: "StreamCluster".into(), namespace: None, name: self.cluster.to_owned(), uid }
    }

    /// What one look found, with its key: an event for each namespace whose topics it is about and each whose principals, which see
    /// nothing of others', and one for the rest.
    pub(super) fn told(&self, action: Action, reason: &str, entries: &BTreeSet<AclEntry>) -> Vec<(Happening, String)> {
        let (object, now) = (self.object(), Timestamp::now());
        let mut by_concerned: BTreeMap<BTreeSet<String>, Vec<&AclEntry>> = BTreeMap::new();
        for entry in entries {
            let is_of_topic = entry.resource_type == ResourceType::Topic && entry.pattern_type == PatternType::Literal;
            let index = self.context.world.index();
            let owner = index.topic_owner(self.cluster, &entry.resource).filter(|_| is_of_topic);
            let home = entry.principal.strip_prefix("User:").and_then(|principal| index.home_of(principal));
            let concerned = owner.into_iter().chain(home.as_ref().map(|(key, _)| key));
            by_concerned.entry(concerned.map(|key| key.namespace.clone()).collect()).or_default().push(entry);
        }
        let tell = |(concerned, entries): (BTreeSet<String>, Vec<&AclEntry>)| {
            let sample: Vec<_> = entries.iter().take(SAMPLE).map(ToString::to_string).collect();
            let more = entries.len().saturating_sub(sample.len());
            let and_more = if more > 0 { format!("; and {more} more") } else { String::new() };
            let principals: BTreeSet<_> =
                entries.iter().map(|e| e.principal.strip_prefix("User:").unwrap_or(&e.principal).to_owned()).collect();
            let message = format!("{}{and_more}", sample.join("; "));
            let key = format!("{now}/{concerned:?}");
            let happening = Happening::new(action, object.clone(), reason, message)
                .on(self.cluster)
                .of(principals.into_iter().collect())
                .concerning(concerned);
            (Happening { entries: entries.iter().map(ToString::to_string).collect(), ..happening }, key)
        };
        by_concerned.into_iter().map(tell).collect()
    }

    /// Writes down how much is kept.
    pub(super) fn publish_counts(&self) {
        let entries =
            self.ledger.grants.values().map(|g| g.values().flat_map(|r| &r.entries).collect::<BTreeSet<_>>().len());
        let counts = (self.ledger.grants.len(), entries.sum());
        let mut state = self.handle.state();
        state.pending = self.pending.len();
        state.requests = self.admin.requests_sent();
        if std::mem::replace(&mut state.counts, counts) != counts {
            drop(state);
            self.context.world.reconcile_cluster(self.cluster);
        }
    }
}
