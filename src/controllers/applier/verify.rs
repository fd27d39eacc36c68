//! Asks every broker whether it shows what was done. Only then is a status true.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::try_join_all;
use tokio::time::Instant;
use tracing::warn;

use super::session::{Session, SessionError};
use super::state::remove;
use crate::domain::acl::AclEntry;
use crate::domain::index::DesiredAccess;
use crate::domain::ledger::{ClientRecord, VersionRecord};
use crate::domain::names::ObjectKey;
use crate::ports::{AclFilter, KafkaError, ScramInfo};

/// Reading this many entries costs about as much as one more request: where a cluster has fewer, all are read sooner than two
/// principals are asked about one by one.
const ENTRIES_A_REQUEST: usize = 2000;
/// The longest wait between two looks.
const LONGEST: Duration = Duration::from_secs(2);
/// After so many looks, a person hears of it.
const MANY: u32 = 8;

/// What every broker must show of one principal.
#[derive(Debug, Default)]
pub(super) struct Expectation {
    /// What must be there; `None` where it could not be made, and only removals are looked for.
    pub desired: Option<DesiredAccess>,
    /// Entries that must not be there.
    pub must_not: BTreeSet<AclEntry>,
    /// No entry may be there.
    pub none_at_all: bool,
    /// UIDs of the bindings that lost their access with this, and what they are called.
    pub removed_bindings: BTreeMap<String, ObjectKey>,
    /// More is wanted than this, and what is in its way stays so when this is seen.
    pub more_waits: bool,
}

/// What one broker shows.
struct View {
    entries: BTreeMap<String, BTreeSet<AclEntry>>,
    scram: BTreeMap<String, Vec<ScramInfo>>,
}

/// What every broker is asked at one look.
struct Question {
    /// None where no principal's entries are looked for.
    filters: Vec<AclFilter>,
    /// SCRAM users that are looked for.
    users: BTreeSet<String>,
    /// Whether they are asked about by name, and not read with all others.
    by_name: bool,
}

impl Session<'_> {
    /// Looks once, tells of what holds, and sets the time of the next look for what does not.
    pub(super) async fn verify(&mut self) -> Result<(), SessionError> {
        let brokers = self.serving_brokers().await?;
        let question = self.question();
        let views = try_join_all(brokers.iter().map(|id| self.view(*id, &question))).await?;
        let shown = |principal: &str, expected: &Expectation| {
            let none = BTreeSet::new();
            !views.is_empty()
                && views.iter().all(|view| {
                    let entries = view.entries.get(principal).unwrap_or(&none);
                    expected.desired.as_ref().is_none_or(|d| entries.is_superset(&d.entries))
                        && entries.is_disjoint(&expected.must_not)
                        && (!expected.none_at_all || entries.is_empty())
                })
        };
        let holds: Vec<_> = self.pending.iter().filter(|(p, e)| shown(p, e)).map(|(p, _)| p.clone()).collect();
        self.know_identities(&views);
        let is_absent = |user: &str| {
            !views.is_empty() && question.users.contains(user) && views.iter().all(|v| !v.scram.contains_key(user))
        };
        self.departures.seen(is_absent);
        let clients = self.owners_of(&holds);
        for principal in holds {
            if let Some(expectation) = self.pending.remove(&principal) {
                self.verified(&principal, expectation);
            }
        }
        clients.iter().for_each(|key| self.context.world.reconcile_client(key));
        let looks = self.next_look.map_or(0, |(_, looks)| looks + 1);
        self.next_look = self.is_anything_to_verify().then(|| {
            if looks == MANY {
                let waiting: Vec<_> = self.pending.keys().cloned().chain(self.departures.told()).take(20).collect();
                warn!(?waiting, "brokers do not show what was done; looking on");
            }
            let wait = Duration::from_millis(10) * 2u32.saturating_pow(looks.min(16));
            (Instant::now() + wait.min(LONGEST), looks)
        });
        Ok(())
    }

    /// Whether other brokers serve than before: one that came back is looked at as a whole.
    pub(super) async fn brokers_changed(&self) -> Result<bool, SessionError> {
        Ok(self.serving_brokers().await? != self.compared)
    }

    /// Looks again whether the brokers that serve now are closed by default: one that was started anew may have other settings.
    pub(super) async fn still_closed(&mut self) -> Result<(), SessionError> {
        self.compared = self.serving_brokers().await?;
        self.canary.denied(self.context, self.admin.as_ref(), &self.compared).await
    }

    /// Every broker that serves, also noted among the facts.
    pub(super) async fn serving_brokers(&self) -> Result<BTreeSet<i32>, KafkaError> {
        let brokers = self.admin.describe_cluster().await?.serving();
        let mut state = self.handle.state();
        if let Some(facts) = state.facts.as_mut().filter(|f| f.brokers != brokers) {
            facts.brokers.clone_from(&brokers);
            drop(state);
            self.context.world.reconcile_cluster(self.cluster);
        }
        Ok(brokers)
    }

    /// What to ask each broker.
    fn question(&self) -> Question {
        let principals: Vec<_> = self.pending.keys().cloned().collect();
        let few = (self.observed.entries().count() / ENTRIES_A_REQUEST).max(1);
        let filters = if principals.len() <= few {
            principals.iter().map(|p| AclFilter::Principal(format!("User:{p}"))).collect()
        } else {
            vec![AclFilter::All]
        };
        let users: BTreeSet<_> = self.unknown_identities().into_iter().chain(self.departures.told()).collect();
        Question { filters, by_name: users.len() <= few, users }
    }

    async fn view(&self, broker: i32, question: &Question) -> Result<View, KafkaError> {
        let Question { filters, users, by_name } = question;
        let named = by_name.then(|| users.iter().cloned().collect::<Vec<_>>());
        let (acls, scram) = tokio::try_join!(
            async {
                if filters.is_empty() {
                    Ok(BTreeSet::new())
                } else {
                    self.admin.describe_acls(Some(broker), filters).await
                }
            },
            async {
                if users.is_empty() {
                    Ok(BTreeMap::new())
                } else {
                    self.admin.describe_scram(Some(broker), named.as_deref()).await
                }
            },
        )?;
        let mut entries: BTreeMap<String, BTreeSet<AclEntry>> = BTreeMap::new();
        for entry in acls {
            if let Some(name) = entry.principal.strip_prefix("User:") {
                entries.entry(name.to_owned()).or_default().insert(entry);
            }
        }
        Ok(View { entries, scram })
    }

    /// Also a client that no binding names must be known to every broker before its Secret is written.
    pub(super) fn is_anything_to_verify(&self) -> bool {
        !self.pending.is_empty() || !self.unknown_identities().is_empty() || self.departures.told().next().is_some()
    }

    /// Looks at `when` at the latest, if no look is planned.
    pub(super) fn look_again_at(&mut self, when: Instant) {
        self.next_look.get_or_insert((when, 0));
    }

    /// SCRAM users that were issued and not yet seen on every broker.
    pub(super) fn unknown_identities(&self) -> Vec<String> {
        let state = self.handle.state();
        self.scram_versions()
            .filter(|v| !state.known_identities.contains(&v.principal))
            .map(|v| v.principal.clone())
            .collect()
    }

    fn scram_versions(&self) -> impl Iterator<Item = &VersionRecord> {
        let scram = |kind| kind == crate::api::CredentialType::ScramSha512;
        let records = self.ledger.clients.values().filter(move |r| scram(r.kind));
        records.flat_map(|r| r.versions.iter().filter(|v| !v.retired))
    }

    fn know_identities(&self, views: &[View]) {
        let known: Vec<_> = self
            .unknown_identities()
            .into_iter()
            .filter(|user| !views.is_empty() && views.iter().all(|v| v.scram.contains_key(user)))
            .collect();
        let mut state = self.handle.state();
        state.known_identities.extend(known.iter().cloned());
        drop(state);
        if !known.is_empty() {
            for record in self.ledger.clients.values() {
                if record.versions.iter().any(|v| known.contains(&v.principal)) {
                    self.context.world.reconcile_client(&record.key());
                }
            }
        }
    }

    fn verified(&self, principal: &str, expectation: Expectation) {
        let Expectation { desired, removed_bindings, more_waits, .. } = expectation;
        let mut bindings: Vec<_> = removed_bindings.values().cloned().collect();
        let mut state = self.handle.state();
        for uid in removed_bindings.keys() {
            remove(&mut state.unverified, uid, principal);
        }
        if let Some(desired) = desired {
            bindings.extend(desired.grants.values().map(|g| g.binding.clone()));
            if !more_waits {
                state.failed.remove(principal);
                state.shown_before.remove(principal);
            }
            if desired.grants.is_empty() {
                state.verified.remove(principal);
            } else {
                state.verified.insert(principal.to_owned(), desired.grants);
            }
        }
        drop(state);
        bindings.iter().for_each(|key| self.context.world.reconcile_binding(key));
    }

    /// The clients that any of `principals` was issued to.
    fn owners_of(&self, principals: &[String]) -> BTreeSet<ObjectKey> {
        let principals: BTreeSet<_> = principals.iter().collect();
        let records = self.ledger.clients.values();
        records
            .filter(|r| r.versions.iter().any(|v| principals.contains(&v.principal)))
            .map(ClientRecord::key)
            .collect()
    }
}
