//! What was last told of bindings' access. Their statuses say the same, but a watch may still give an older one.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::api::{EntriesStatus, RoleBindingStatus};

/// The entries that each binding was last told to have, by UID, since this process began.
#[derive(Debug, Default)]
pub struct Announced(Mutex<HashMap<String, Option<EntriesStatus>>>);

impl Announced {
    /// The status with what was last told of the binding.
    pub fn correct(&self, uid: &str, status: RoleBindingStatus) -> RoleBindingStatus {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).get(uid) {
            Some(entries) => RoleBindingStatus { entries: entries.clone(), ..status },
            None => status,
        }
    }

    /// Remembers what was told.
    pub fn note(&self, uid: &str, entries: Option<EntriesStatus>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(uid.to_owned(), entries);
    }

    /// Forgets a binding that goes.
    pub fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::Announced;
    use crate::api::{EntriesStatus, RoleBindingStatus};

    #[test]
    fn what_was_told_counts_and_not_an_older_status() {
        let entries = |hash: &str| Some(EntriesStatus { count: 1, hash: hash.into(), sample: Vec::new() });
        let old = RoleBindingStatus { entries: entries("old"), ..RoleBindingStatus::default() };
        let announced = Announced::default();
        assert_eq!(announced.correct("u", old.clone()), old, "nothing was told since this process began");
        for told in [entries("new"), None] {
            announced.note("u", told.clone());
            assert_eq!(announced.correct("u", old.clone()).entries, told);
        }
        announced.forget("u");
        assert_eq!(announced.correct("u", old.clone()), old);
    }
}
