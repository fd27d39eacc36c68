//! What was last told of bindings' access. Their statuses say the same, but a watch may still give an older one, and they name the first
//! entries only.

use std::collections::{BTreeSet, HashSet};
use std::hash::{BuildHasher, RandomState};

use crate::api::{EntriesStatus, RoleBindingStatus};
use crate::controllers::last_told::LastTold;
use crate::domain::acl::AclEntry;

/// What each binding was last told to have, by UID, since this process began.
#[derive(Debug, Default)]
pub struct Announced {
    told: LastTold<Told>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Told {
    entries: Option<EntriesStatus>,
    /// Hashes of all of them.
    all: HashSet<u64>,
}

impl Announced {
    /// The status with what was last told of the binding.
    pub fn correct(&self, uid: &str, status: RoleBindingStatus) -> RoleBindingStatus {
        self.told.with(uid, |told| match told {
            Some(Told { entries, .. }) => RoleBindingStatus { entries: entries.clone(), ..status },
            None => status,
        })
    }

    /// Whether nothing comes to what a binding was told to have if it has these `now`. Where nobody knows, something may.
    pub fn gains_nothing(&self, uid: &str, was: &EntriesStatus, now: &BTreeSet<&AclEntry>) -> bool {
        self.told.with(uid, |told| match told {
            Some(Told { entries: Some(entries), all }) if entries.hash == was.hash => {
                now.iter().all(|entry| all.contains(&self.hasher.hash_one(entry)))
            }
            _ => {
                let names_all = i64::try_from(was.sample.len()) == Ok(was.count);
                names_all && now.iter().all(|entry| was.sample.contains(&entry.to_string()))
            }
        })
    }

    /// Remembers what was told.
    pub fn note(&self, uid: &str, entries: Option<EntriesStatus>, all: &BTreeSet<&AclEntry>) {
        let all = all.iter().map(|entry| self.hasher.hash_one(entry)).collect();
        self.told.note(uid, Told { entries, all });
    }

    /// Forgets a binding that goes.
    pub fn forget(&self, uid: &str) {
        self.told.forget(uid);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Announced;
    use crate::api::{EntriesStatus, RoleBindingStatus};
    use crate::domain::acl::{AclEntry, Operation, PatternType, ResourceType};

    fn entries(hash: &str) -> Option<EntriesStatus> {
        Some(EntriesStatus { count: 1, hash: hash.into(), sample: Vec::new() })
    }

    #[test]
    fn what_was_told_counts_and_not_an_older_status() {
        let old = RoleBindingStatus { entries: entries("old"), ..RoleBindingStatus::default() };
        let announced = Announced::default();
        assert_eq!(announced.correct("u", old.clone()), old, "nothing was told since this process began");
        for told in [entries("new"), None] {
            announced.note("u", told.clone(), &BTreeSet::new());
            assert_eq!(announced.correct("u", old.clone()).entries, told);
        }
        announced.forget("u");
        assert_eq!(announced.correct("u", old.clone()), old);
    }

    #[test]
    fn what_it_was_told_to_have_is_known_from_memory_or_from_a_status_that_names_all() {
        let reads =
            |topic: &str| AclEntry::allow("app", Operation::Read, ResourceType::Topic, PatternType::Literal, topic);
        let (a, b, c) = (reads("a"), reads("b"), reads("c"));
        let announced = Announced::default();
        let whole = EntriesStatus { count: 2, hash: "ab".into(), sample: vec![a.to_string(), b.to_string()] };
        let part = EntriesStatus { count: 3, ..whole.clone() };
        let gains_nothing =
            |was: &EntriesStatus, now: &[&AclEntry]| announced.gains_nothing("u", was, &now.iter().copied().collect());
        assert!(gains_nothing(&whole, &[&a]) && !gains_nothing(&whole, &[&c]));
        assert!(!gains_nothing(&part, &[&a]), "it names two of three");
        announced.note("u", Some(part.clone()), &[&a, &b, &c].into());
        assert!(gains_nothing(&part, &[&a, &c]));
        assert!(!gains_nothing(&part, &[&reads("d")]));
    }
}
