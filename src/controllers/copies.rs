//! How copies are, as the shares' reconcilers read it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::problem::Problem;
use crate::domain::replication::flow::Flow;
use crate::domain::replication::plan::State;

/// How the copy of one share is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CopyState {
    /// Topics that were meant to flow when that was seen.
    pub meant: BTreeSet<String>,
    /// The connector's state; `None` where there is none.
    pub connector: Option<State>,
    /// What stands in the way of records' flowing.
    pub problem: Option<Problem>,
    /// What was seen to flow.
    pub flow: Option<Flow>,
    /// The share is over, and its engine was asked since: there is no connector, and no position of it.
    pub is_gone: bool,
}

/// By share's UID.
#[derive(Debug, Default)]
pub struct Copies(Mutex<BTreeMap<String, CopyState>>);

impl Copies {
    /// That of a share; `None` where its engine was not looked at yet.
    pub fn get(&self, share_uid: &str) -> Option<CopyState> {
        self.lock().get(share_uid).cloned()
    }

    /// Takes note; says whether a status has to be written at once: what flows is looked at now and then.
    pub fn set(&self, share_uid: &str, state: CopyState) -> bool {
        let before = self.lock().insert(share_uid.to_owned(), state.clone());
        before.is_none_or(|before| CopyState { flow: None, ..before } != CopyState { flow: None, ..state })
    }

    /// Forgets a share that goes.
    pub fn forget(&self, share_uid: &str) {
        self.lock().remove(share_uid);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, CopyState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
