//! How the access of bindings is used: by what their consumer groups commit, who is in those, and where topics end. Brokers tell
//! administrators nothing else; their exporters tell how many bytes a second each principal fetches and produces.
//!
//! Doubt never makes access unused. What a group that several bindings match reads is use of each; of whom its members are nothing
//! is concluded then. Where a topic grows, whoever may write to it has used that. Groups that could not be read, or are too many, are no
//! proof of anything. What moved while nobody looked is use, however much it was.
//!
//! | module | what |
//! | --- | --- |
//! | [`look`] | what was found at a look, and whose it is |
//! | [`state`] | what is known of one binding's use on one cluster, from look to look |
//! | [`traffic`] | bytes a second, as exporters tell them |
//! | [`words`] | the events |

mod look;
mod state;
#[cfg(test)]
mod tests;
pub mod traffic;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

pub use self::look::{Group, Look, Member, Picked, Seen, pick, whose};
pub use self::state::{Finding, Watch, Window, merged};
pub use self::words::tell;
use super::acl::{Operation, PatternType, ResourceType};
use super::approval::requesters;
use super::binding::Grant;
use super::names::ObjectKey;
use crate::api::RoleBinding;

/// How many groups of a binding are looked at, in the order of their names.
pub const GROUPS: usize = 100;
/// How many addresses of a binding are known.
pub const ADDRESSES: usize = 20;

/// Names of groups: how a pattern matches, and its text.
type GroupPattern = (PatternType, Arc<str>);

/// What a binding gives on one cluster, as far as its use can be seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Access {
    /// The binding.
    pub binding: ObjectKey,
    /// Its UID.
    pub uid: String,
    /// The namespace that the role is of.
    pub owner: String,
    /// Who asked for it.
    pub requested_by: Vec<String>,
    /// Since when it has all that it should.
    pub ready_since: Option<Timestamp>,
    /// Whose access it is, without `User:`.
    pub principals: BTreeSet<String>,
    /// Who may use groups of which names.
    groups: BTreeMap<GroupPattern, BTreeSet<String>>,
    /// Topics that may be read.
    pub reads: BTreeSet<String>,
    /// Topics that may be written to.
    pub writes: BTreeSet<String>,
}

impl Access {
    /// What `grants`, all of one cluster, give by `binding`.
    pub fn of<'a>(key: ObjectKey, binding: &RoleBinding, grants: impl IntoIterator<Item = &'a Grant>) -> Self {
        let conditions = binding.status.iter().flat_map(|s| &s.conditions);
        let ready = conditions.into_iter().find(|c| c.type_ == "Ready" && c.status == "True");
        let mut access = Self {
            binding: key,
            uid: binding.metadata.uid.clone().unwrap_or_default(),
            owner: binding.spec.role_ref.namespace.clone(),
            requested_by: requesters(binding).map(str::to_owned).collect(),
            ready_since: ready.map(|c| c.last_transition_time.0),
            principals: BTreeSet::new(),
            groups: BTreeMap::new(),
            reads: BTreeSet::new(),
            writes: BTreeSet::new(),
        };
        grants.into_iter().for_each(|grant| access.add(grant));
        access
    }

    fn add(&mut self, grant: &Grant) {
        let principal = &grant.key.principal;
        self.principals.insert(principal.clone());
        for entry in &grant.entries {
            let named = entry.pattern_type == PatternType::Literal;
            match (entry.resource_type, entry.operation) {
                (ResourceType::Group, Operation::Read) => {
                    let pattern = (entry.pattern_type, entry.resource.clone());
                    self.groups.entry(pattern).or_default().insert(principal.clone());
                }
                (ResourceType::Topic, Operation::Read) if named => drop(self.reads.insert(entry.resource.to_string())),
                (ResourceType::Topic, Operation::Write) if named => {
                    self.writes.insert(entry.resource.to_string());
                }
                _ => {}
            }
        }
    }

    /// The same of a binding that gives nothing any more: its last use counts, and it is not unused.
    pub fn ended(&self) -> Self {
        Self { ready_since: None, ..self.clone() }
    }

    /// Whether a group of this name may be used by it.
    pub fn matches(&self, group: &str) -> bool {
        self.groups.keys().any(|(type_, name)| match type_ {
            PatternType::Prefixed => group.starts_with(&**name),
            _ => group == &**name,
        })
    }

    /// Whether it began so lately that all use of it is late.
    fn is_young(&self, now: Timestamp) -> bool {
        const YOUNG: SignedDuration = SignedDuration::from_mins(10);
        self.ready_since.is_none_or(|at| now.duration_since(at) < YOUNG)
    }

    /// Whether use of it would be seen: there is something to read or to write, and who reads may do so in groups.
    pub fn is_visible(&self) -> bool {
        !(self.reads.is_empty() && self.writes.is_empty()) && (self.reads.is_empty() || !self.groups.is_empty())
    }
}

/// An hour of the clock.
const HOUR: SignedDuration = SignedDuration::from_hours(1);
