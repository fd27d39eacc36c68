//! The last events on record: they are not put there twice.

use std::collections::{BTreeSet, VecDeque};

/// How many are remembered.
const REMEMBERED: usize = 20_000;

/// The last events on record, by UID.
#[derive(Default)]
pub struct Recent {
    order: VecDeque<String>,
    uids: BTreeSet<String>,
}

impl Recent {
    /// Remembers one.
    pub fn insert(&mut self, uid: &str) {
        if self.uids.insert(uid.to_owned()) {
            self.order.push_back(uid.to_owned());
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.uids.remove(&oldest);
        }
    }

    /// Whether it is one of them.
    pub fn has(&self, uid: &str) -> bool {
        self.uids.contains(uid)
    }
}
