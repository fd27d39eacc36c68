//! What an applier knows of its cluster, as the reconcilers read it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

use super::Order;
use crate::api::Reason;
use crate::domain::acl::AclEntry;
use crate::domain::audit::trials::Trials;
use crate::domain::binding::Grant;
use crate::domain::connection::Issued;
use crate::domain::evidence::Evidence;
use crate::domain::ledger::{Change, GrantRecord, Ledger};
use crate::domain::names::{ObjectKey, share_of_guest};
use crate::domain::plan::Hold;
use crate::domain::problem::Problem;

/// How the applier stands with its cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Link {
    /// Not yet connected.
    #[default]
    Connecting,
    /// Connected, admitted, the ledger open.
    Governing,
    /// The cluster must not be governed as it is.
    Refused(Reason, String),
    /// The brokers did not answer; what is known is from before.
    Unreachable(String),
}

impl Link {
    /// Why the cluster must not be governed as it is.
    pub fn refusal(&self) -> Option<Problem> {
        match self {
            Self::Refused(reason, why) => Some(Problem::invalid(*reason, why)),
            Self::Connecting | Self::Governing | Self::Unreachable(_) => None,
        }
    }

    /// Why `cluster` is not governed; `None` where it is.
    pub fn obstacle(&self, cluster: &str) -> Option<Problem> {
        match self {
            Self::Governing => None,
            Self::Connecting => Some(not_ready(cluster, "it is being connected")),
            Self::Refused(_, why) | Self::Unreachable(why) => Some(not_ready(cluster, why)),
        }
    }
}

/// What is so of a cluster that has no applier.
pub fn not_connected(cluster: &str) -> Problem {
    not_ready(cluster, "it is not connected")
}

fn not_ready(cluster: &str, why: &str) -> Problem {
    Problem::waiting(Reason::ClusterNotReady, format!("StreamCluster {cluster} is not Ready: {why}"))
}

/// What the cluster says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Kafka's cluster id.
    pub cluster_id: String,
    /// Ids of the brokers.
    pub brokers: BTreeSet<i32>,
    /// The finalized `metadata.version`, as Kafka names it.
    pub metadata_version: Option<String>,
    /// Whether clients can get delegation tokens, as far as the brokers say.
    pub delegation_tokens: Option<bool>,
    /// The session lifetime that the brokers grant, in seconds.
    pub session_lifetime_seconds: Option<i64>,
}

/// The grants of one principal, by binding UID.
pub type Grants = BTreeMap<String, Arc<Grant>>;

/// How far a product is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProductOutcome {
    /// The generation that it is about.
    pub generation: Option<i64>,
    /// What stands in the way.
    pub problems: Vec<Problem>,
    /// Partitions of each topic that exists.
    pub partitions: BTreeMap<String, i32>,
    /// It was deleted, and nothing of it is left to do.
    pub gone: bool,
}

/// What is known. See the module.
#[derive(Debug, Default)]
pub struct ClusterState {
    /// How the applier stands with the cluster.
    pub link: Link,
    /// What the cluster says of itself.
    pub facts: Option<Facts>,
    /// Everything was carried out and verified once since the process began: what is not known here is not so.
    pub settled: bool,
    /// By principal: the grants that every broker was last seen to show.
    pub verified: BTreeMap<String, Grants>,
    /// The same of those of which less is shown since, and nothing of that was Weir's doing: it could not be given again yet.
    pub shown_before: BTreeMap<String, Grants>,
    /// By principal: what was refused since.
    pub failed: BTreeMap<String, Problem>,
    /// Binding UIDs to the principals for which the ledger still has something of them.
    pub recorded: BTreeMap<String, BTreeSet<String>>,
    /// UIDs of RoleBindings to the principals that brokers took entries of, of which no end was told since.
    pub begun: BTreeMap<String, BTreeSet<String>>,
    /// Binding UIDs to the principals that lost their access by them, until every broker was seen without it.
    pub unverified: BTreeMap<String, BTreeSet<String>>,
    /// Until when writes from before this session may arrive.
    pub late_until: Option<Timestamp>,
    /// Principals that they may be for: what the ledger has of them stays recorded until then.
    pub late_principals: BTreeSet<String>,
    /// By product UID.
    pub products: BTreeMap<String, ProductOutcome>,
    /// Credentials on their way to Secrets, by client UID, with their version.
    pub credentials: BTreeMap<String, (u32, Issued)>,
    /// Principals that every broker knows.
    pub known_identities: BTreeSet<String>,
    /// Principals of current credentials that some broker lost.
    pub lost_identities: BTreeSet<String>,
    /// What was proven of principals that left, by the UID of the guest, or of the end of a copy, and by principal.
    pub evidence: BTreeMap<String, BTreeMap<String, Evidence>>,
    /// As whom Weir tries to log in just now, or tried of late.
    pub on_trial: Trials,
    /// Why a client's credential could not be issued, by client UID.
    pub client_problems: BTreeMap<String, Problem>,
    /// When the authority that signs clients' certificates ends, or why nobody can tell; `None` where there is to be none.
    pub authority: Option<Result<Timestamp, String>>,
    /// Which exporters of brokers' metrics were asked, and why they do not tell all; `None` where nobody asked yet.
    pub metrics: Option<(Vec<String>, Vec<String>)>,
    /// Removals that wait for a person.
    pub held: Option<Hold>,
    /// When the present hold began, which is part of its token.
    pub held_since: String,
    /// Foreign entries on governed topics.
    pub foreign: BTreeSet<AclEntry>,
    /// Those of them that were removed at the last look, or that came back since.
    pub repaired: BTreeSet<AclEntry>,
    /// Those of them that something keeps putting back.
    pub given_up: BTreeSet<AclEntry>,
    /// When the whole cluster was last compared.
    pub last_resync: Option<Timestamp>,
    /// How many principals and entries are kept.
    pub counts: (usize, usize),
    /// How many principals have a change that is not verified.
    pub pending: usize,
    /// Requests sent in this session, by API.
    pub requests: BTreeMap<&'static str, u64>,
    /// Whether the ledger was ever read: before that, nobody knows what is on the cluster.
    pub ledger_read: bool,
}

impl ClusterState {
    /// Takes what was found at the start of a session.
    pub fn admit(&mut self, facts: Facts, ledger: &Ledger) {
        self.link = Link::Governing;
        self.facts = Some(facts);
        self.recorded = ledger.holders().clone();
        // Whoever led before may have told of nothing, or of the beginning alone.
        ledger.grants.iter().for_each(|(principal, recorded)| self.note_begun(principal, recorded));
        self.ledger_read = true;
    }

    /// Takes what was committed to the ledger.
    pub fn committed(&mut self, changes: &[Change]) {
        for change in changes {
            let Change::Grant(key, record) = change else { continue };
            if record.as_ref().is_some_and(GrantRecord::holds_access) {
                self.recorded.entry(key.binding_uid.clone()).or_default().insert(key.principal.clone());
            } else {
                remove(&mut self.recorded, &key.binding_uid, &key.principal);
            }
        }
    }

    /// Notes that brokers took entries of a principal, by what the ledger has of it. Of guests their shares tell.
    pub fn note_begun(&mut self, principal: &str, recorded: &BTreeMap<String, GrantRecord>) {
        let is_binding = |record: &GrantRecord| {
            let is_guest = share_of_guest(&ObjectKey::new(record.namespace.as_str(), record.name.as_str())).is_some();
            record.holds_access() && !is_guest
        };
        for (binding_uid, _) in recorded.iter().filter(|(_, record)| is_binding(record)) {
            self.begun.entry(binding_uid.clone()).or_default().insert(principal.to_owned());
        }
    }

    /// Whether every broker was last seen to show these grants of a principal, and no others.
    pub fn shows(&self, principal: &str, grants: &Grants) -> bool {
        self.verified.get(principal).map_or(grants.is_empty(), |shown| same(shown, grants))
    }

    /// What every broker was last seen to show of the binding, principal by principal.
    pub fn shown<'a>(&'a self, binding_uid: &'a str) -> impl Iterator<Item = &'a Arc<Grant>> {
        let recorded = self.recorded.get(binding_uid).into_iter().flatten();
        let leaving = self.unverified.get(binding_uid).into_iter().flatten();
        let principals: BTreeSet<_> = recorded.chain(leaving).collect();
        principals.into_iter().filter_map(move |principal| self.verified.get(principal)?.get(binding_uid))
    }

    /// Whether nothing of the binding is left: not in the ledger, and on no broker.
    pub fn is_free_of(&self, binding_uid: &str) -> bool {
        self.ledger_read && !self.recorded.contains_key(binding_uid) && !self.unverified.contains_key(binding_uid)
    }
}

/// Whether both are the same grants, which is so too where one was resolved anew to an equal value.
fn same(a: &Grants, b: &Grants) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|((ka, va), (kb, vb))| ka == kb && (Arc::ptr_eq(va, vb) || va == vb))
}

/// Whether both have the same bindings with the same entries.
pub(super) fn have_same_entries(a: &Grants, b: &Grants) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|((ka, va), (kb, vb))| ka == kb && va.entries == vb.entries)
}

/// Takes `value` out of the set at `key`, and the set with its last value.
pub fn remove(map: &mut BTreeMap<String, BTreeSet<String>>, key: &str, value: &str) {
    if let Some(set) = map.get_mut(key) {
        set.remove(value);
        if set.is_empty() {
            map.remove(key);
        }
    }
}

/// How others reach an applier.
pub struct ClusterHandle {
    orders: UnboundedSender<Order>,
    ended: CancellationToken,
    state: Mutex<ClusterState>,
}

impl ClusterHandle {
    pub(super) fn new(orders: UnboundedSender<Order>) -> Self {
        Self { orders, ended: CancellationToken::new(), state: Mutex::default() }
    }

    /// Asks for something. Nobody listens only while the process ends, or the cluster was taken away.
    pub fn order(&self, order: Order) {
        let _ = self.orders.send(order);
    }

    /// Ends the applier: the cluster was taken away, or is entered otherwise now.
    pub fn end(&self) {
        self.ended.cancel();
    }

    /// Returns once [`Self::end`] was called.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// What is known, locked. Hold it shortly, and across no await.
    pub fn state(&self) -> MutexGuard<'_, ClusterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
