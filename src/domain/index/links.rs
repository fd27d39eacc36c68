//! References read backwards: from what is named to who names it.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::names::ObjectKey;

/// Who names what. Kept up to date by [`Links::renew`], so that nobody searches.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Links(BTreeMap<ObjectKey, BTreeSet<ObjectKey>>);

impl Links {
    /// Who names `key`.
    pub(super) fn to<'a>(&'a self, key: &ObjectKey) -> impl Iterator<Item = &'a ObjectKey> + use<'a> {
        self.0.get(key).into_iter().flatten()
    }

    /// Who names anything of `namespace`.
    pub(super) fn to_all_of<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a ObjectKey> {
        super::in_namespace(&self.0, namespace).flat_map(|(_, by)| by)
    }

    /// `by` named `before`, and names `after` now.
    pub(super) fn renew(&mut self, by: &ObjectKey, before: &BTreeSet<ObjectKey>, after: &BTreeSet<ObjectKey>) {
        for gone in before.difference(after) {
            if let Some(naming) = self.0.get_mut(gone) {
                naming.remove(by);
                if naming.is_empty() {
                    self.0.remove(gone);
                }
            }
        }
        for new in after.difference(before) {
            self.0.entry(new.clone()).or_default().insert(by.clone());
        }
    }
}
