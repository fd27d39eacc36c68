//! What was last told of objects: a watch may still give an older status, and nothing is told twice.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// By UID, what was last told since this process began.
#[derive(Debug)]
pub struct LastTold<T>(Mutex<HashMap<String, T>>);

impl<T> Default for LastTold<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> LastTold<T> {
    /// What `look` makes of it; of `None` where nothing was told.
    pub fn with<R>(&self, uid: &str, look: impl FnOnce(Option<&T>) -> R) -> R {
        look(self.0.lock().unwrap_or_else(PoisonError::into_inner).get(uid))
    }

    /// What was told, or else what the object's status says.
    pub fn or(&self, uid: &str, status: Option<&T>) -> T
    where
        T: Clone + Default,
    {
        self.with(uid, |told| told.or(status).cloned().unwrap_or_default())
    }

    /// Remembers what was told.
    pub fn note(&self, uid: &str, told: T) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(uid.to_owned(), told);
    }

    /// Forgets an object that goes.
    pub fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::LastTold;

    #[test]
    fn what_was_told_counts_and_not_an_older_status() {
        let told = LastTold::default();
        assert_eq!((told.or("u", Some(&1)), told.or("u", None)), (1, 0));
        told.note("u", 2);
        assert_eq!((told.or("u", Some(&1)), told.or("v", Some(&1))), (2, 1));
        told.forget("u");
        assert_eq!(told.or("u", Some(&1)), 1);
    }
}
