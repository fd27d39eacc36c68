//! Writes that somebody sent before this session began, and that may yet arrive: a leader before this one, or a session that
//! broke off. Whoever sent them had recorded in the ledger what they create; what is recorded and not there may therefore still
//! come. It stays recorded, also when it is wanted no more, until the cluster was looked at once more after a minute.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::observe::Cache;
use crate::domain::acl::AclEntry;
use crate::domain::ledger::Ledger;

/// After so long nothing arrives any more: it is longer than a Lease lasts and than a request may take.
const ARRIVES_WITHIN: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug)]
pub(super) struct LateWrites {
    over: Instant,
    looked: bool,
    entries: BTreeSet<AclEntry>,
    users: BTreeSet<String>,
}

impl LateWrites {
    /// Those from before `began`.
    pub fn since(began: Instant) -> Self {
        Self { over: began + ARRIVES_WITHIN, looked: false, entries: BTreeSet::new(), users: BTreeSet::new() }
    }

    /// Takes note of a look at the whole cluster: the first says what may come, one after the minute what came.
    pub fn looked(&mut self, now: Instant, ledger: &Ledger, observed: &Cache) {
        if now >= self.over {
            self.entries.clear();
            self.users.clear();
        } else if !self.looked {
            let there: BTreeSet<_> = observed.entries().collect();
            let recorded = ledger.grants.values().flat_map(|g| g.values()).flat_map(|r| &r.entries);
            self.entries = recorded.filter(|e| !there.contains(e)).cloned().collect();
            // Who leaves may have been given a password of Weir's, which comes after it was forgotten.
            let versions = ledger.clients.values().flat_map(|c| &c.versions);
            let may_come = versions.filter(|v| v.retired || !observed.scram.contains_key(&v.principal));
            self.users = may_come.map(|v| v.principal.clone()).collect();
        }
        self.looked = true;
    }

    /// When to look at the whole cluster next, which would otherwise be at `then`.
    pub fn next_look(&self, then: Instant) -> Instant {
        if self.over > Instant::now() { then.min(self.over) } else { then }
    }

    /// The principals of these entries, without `User:`.
    pub fn principals(&self) -> BTreeSet<String> {
        self.entries.iter().filter_map(|e| e.principal.strip_prefix("User:")).map(str::to_owned).collect()
    }

    /// Until when they may come; `None` once nothing is waited for.
    pub fn until(&self) -> Option<Timestamp> {
        let wait = self.over.saturating_duration_since(Instant::now());
        (!self.entries.is_empty()).then(|| Timestamp::now() + wait)
    }

    /// Entries that may yet come.
    pub fn entries(&self) -> &BTreeSet<AclEntry> {
        &self.entries
    }

    /// SCRAM users that may yet come.
    pub fn users(&self) -> &BTreeSet<String> {
        &self.users
    }
}
