//! What was last told of the access of bindings, and of partners. Their statuses say the same, but a watch may still give an older one,
//! and they name the first entries only.

use std::collections::BTreeSet;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::last_told::LastTold;
use crate::api::{Action, EntriesStatus, RoleBindingStatus};
use crate::domain::binding::Grant;

/// How many entries a status names.
const SAMPLE: usize = 20;

/// What each binding, and guest, was last told to have, by UID, since this process began.
#[derive(Debug, Default)]
pub struct Announced(LastTold<Told>);

#[derive(Debug)]
struct Told {
    entries: Option<EntriesStatus>,
    /// All of it.
    grants: Vec<Arc<Grant>>,
}

impl Announced {
    /// The status with what was last told of the binding.
    pub fn correct(&self, uid: &str, status: RoleBindingStatus) -> RoleBindingStatus {
        self.0.with(uid, |told| match told {
            Some(Told { entries, .. }) => RoleBindingStatus { entries: entries.clone(), ..status },
            None => status,
        })
    }

    /// All entries that it was told to have, where `was` says so; `None` where nobody knows all of them.
    pub fn had(&self, uid: &str, was: &EntriesStatus) -> Option<BTreeSet<String>> {
        self.0.with(uid, |told| match told {
            Some(Told { entries: Some(entries), grants }) if entries.hash == was.hash => Some(entries_of(grants)),
            _ => (i64::try_from(was.sample.len()) == Ok(was.count)).then(|| was.sample.iter().cloned().collect()),
        })
    }

    /// Remembers what was told.
    pub fn note(&self, uid: &str, entries: Option<EntriesStatus>, grants: Vec<Arc<Grant>>) {
        self.0.note(uid, Told { entries, grants });
    }

    /// Forgets one that goes.
    pub fn forget(&self, uid: &str) {
        self.0.forget(uid);
    }
}

/// All entries of `grants`, as events and statuses name them.
pub fn entries_of(grants: &[Arc<Grant>]) -> BTreeSet<String> {
    grants.iter().flat_map(|grant| &grant.entries).map(ToString::to_string).collect()
}

/// What `grants` give, as a status has it; `None` where that is nothing.
pub fn in_short(grants: &[Arc<Grant>]) -> Option<EntriesStatus> {
    let entries: BTreeSet<_> = grants.iter().flat_map(|grant| &grant.entries).collect();
    let mut hash = Sha256::new();
    for entry in &entries {
        hash.update(entry.to_string());
        hash.update([0]);
    }
    (!entries.is_empty()).then(|| EntriesStatus {
        count: i64::try_from(entries.len()).unwrap_or(i64::MAX),
        hash: hex::encode(&hash.finalize()[..8]),
        sample: entries.iter().take(SAMPLE).map(ToString::to_string).collect(),
    })
}

/// What an end of access takes: all that it `had`, or where nobody knows that, what the status names, and how many entries there are.
pub fn taken(had: Option<BTreeSet<String>>, was: &EntriesStatus) -> (BTreeSet<String>, Option<i64>) {
    had.map_or_else(|| (was.sample.iter().cloned().collect(), Some(was.count)), |had| (had, None))
}

/// One thing to tell of access that goes on.
#[derive(Debug, PartialEq)]
pub struct Changed {
    pub action: Action,
    /// Why, in a word.
    pub reason: &'static str,
    /// Why, in a sentence.
    pub message: &'static str,
    /// What was given, or taken.
    pub entries: BTreeSet<String>,
}

/// What there is to tell of access that was told as `was`, which were the entries that it `had`, as far as that is known, and that is now
/// told as `is`, which are those that it `has`: of a change that takes and gives, both.
pub fn changes(
    (was, had): (&EntriesStatus, Option<&BTreeSet<String>>),
    (is, has): (Option<&EntriesStatus>, &BTreeSet<String>),
) -> Vec<Changed> {
    if is.is_some_and(|is| is.hash == was.hash) {
        return Vec::new();
    }
    let tell = |action, reason, message, entries| Changed { action, reason, message, entries };
    let changed = match had {
        None => vec![tell(Action::AccessGranted, "Changed", "access changed", has.clone())],
        Some(had) => {
            let [taken, given] = [had.difference(has), has.difference(had)].map(|entries| entries.cloned().collect());
            let taken = tell(Action::AccessNarrowed, "Narrowed", "access became less", taken);
            vec![taken, tell(Action::AccessGranted, "Widened", "access became more", given)]
        }
    };
    changed.into_iter().filter(|changed| !changed.entries.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;

    use super::{Announced, changes, entries_of};
    use crate::api::{Action, EntriesStatus, RoleBindingStatus};
    use crate::domain::acl::{AclEntry, Operation, PatternType, ResourceType};
    use crate::domain::binding::Grant;
    use crate::domain::names::{ObjectKey, PrincipalKey};

    fn entries(hash: &str) -> Option<EntriesStatus> {
        Some(EntriesStatus { count: 1, hash: hash.into(), sample: Vec::new() })
    }

    fn reads(topics: &[&str]) -> Arc<Grant> {
        let entry =
            |topic: &&str| AclEntry::allow("app", Operation::Read, ResourceType::Topic, PatternType::Literal, topic);
        Arc::new(Grant {
            key: PrincipalKey { cluster: "main".into(), principal: "app".into() },
            binding: ObjectKey::new("n", "b"),
            binding_uid: "u".into(),
            entries: topics.iter().map(entry).collect(),
            quotas: BTreeMap::new(),
            subject_uid: None,
        })
    }

    #[test]
    fn what_was_told_counts_and_not_an_older_status() {
        let old = RoleBindingStatus { entries: entries("old"), ..RoleBindingStatus::default() };
        let announced = Announced::default();
        assert_eq!(announced.correct("u", old.clone()), old, "nothing was told since this process began");
        for told in [entries("new"), None] {
            announced.note("u", told.clone(), Vec::new());
            assert_eq!(announced.correct("u", old.clone()).entries, told);
        }
        announced.forget("u");
        assert_eq!(announced.correct("u", old.clone()), old);
    }

    #[test]
    fn what_it_was_told_to_have_is_known_from_memory_or_from_a_status_that_names_all() {
        let announced = Announced::default();
        let all: BTreeSet<_> = entries_of(&[reads(&["a", "b"]), reads(&["b", "c"])]);
        assert_eq!(all.len(), 3);
        let whole = EntriesStatus { count: 3, hash: "abc".into(), sample: all.iter().cloned().collect() };
        let part = EntriesStatus { count: 9, ..whole.clone() };
        assert_eq!((announced.had("u", &whole), announced.had("u", &part)), (Some(all.clone()), None));
        announced.note("u", Some(part.clone()), vec![reads(&["a"])]);
        assert_eq!(announced.had("u", &part), Some(entries_of(&[reads(&["a"])])));
        let other = EntriesStatus { hash: "other".into(), ..part };
        assert_eq!(announced.had("u", &other), None, "that is not what was told last");
    }

    #[test]
    fn a_change_is_told_with_what_came_and_what_went() {
        use Action::{AccessGranted, AccessNarrowed};
        let set = |texts: &str| texts.chars().map(String::from).collect::<BTreeSet<_>>();
        type Told<'a> = &'a [(Action, &'a str, &'a str)];
        let cases: &[(&str, Option<&str>, &str, Told)] = &[
            ("a", Some("a"), "a", &[]),
            ("a", None, "a", &[]),
            ("ab", Some("ab"), "b", &[(AccessNarrowed, "Narrowed", "a")]),
            ("a", Some("a"), "ab", &[(AccessGranted, "Widened", "b")]),
            ("ab", Some("ab"), "bc", &[(AccessNarrowed, "Narrowed", "a"), (AccessGranted, "Widened", "c")]),
            // Where nobody knows what it had, it may be more.
            ("ab", None, "b", &[(AccessGranted, "Changed", "b")]),
            ("ab", Some("ab"), "", &[(AccessNarrowed, "Narrowed", "ab")]),
            ("ab", None, "", &[]),
        ];
        for (was, had, has, told) in cases {
            let (had, is) = (had.map(set), entries(has));
            let found = changes((&entries(was).unwrap(), had.as_ref()), (is.as_ref(), &set(has)));
            let found = found.into_iter().map(|c| (c.action, c.reason, c.entries));
            let told = told.iter().map(|(action, reason, entries)| (*action, *reason, set(entries)));
            assert_eq!(found.collect::<Vec<_>>(), told.collect::<Vec<_>>(), "{was} {has}");
        }
    }
}
