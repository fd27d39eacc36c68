//! Weir's objects in consumers' namespaces: what they are, and what it takes to make them so.

use std::collections::BTreeMap;
use std::fmt::Debug;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret as KubeSecret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::core::NamespaceResourceScope;
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::connection::SECRET_TYPE;
use super::names::ObjectKey;
use super::secret::Secret;
use crate::api::{MANAGED_BY, MANAGED_BY_LABEL};

/// A kind that Weir writes into consumers' namespaces.
pub trait Publication:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
    + Send
    + 'static
{
    /// Whether this holds all that `wanted` does, and nothing beside it. Metadata does not count.
    fn has_content_of(&self, wanted: &Self) -> bool;

    /// Whether the API server refuses every update of this to `wanted`.
    fn is_fixed(&self, wanted: &Self) -> bool;
}

impl Publication for KubeSecret {
    fn has_content_of(&self, wanted: &Self) -> bool {
        self.data == wanted.data && self.type_ == wanted.type_
    }

    // The type of a Secret is immutable, and so is everything in one that somebody marked as such.
    fn is_fixed(&self, wanted: &Self) -> bool {
        self.immutable == Some(true) || self.type_ != wanted.type_
    }
}

impl Publication for ConfigMap {
    fn has_content_of(&self, wanted: &Self) -> bool {
        self.data == wanted.data && self.binary_data.as_ref().is_none_or(BTreeMap::is_empty)
    }

    fn is_fixed(&self, _wanted: &Self) -> bool {
        self.immutable == Some(true)
    }
}

/// What to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// Nothing: it is as it should be.
    Nothing,
    /// Create it.
    Create,
    /// Update it.
    Replace,
    /// Delete it and create it anew, for it cannot be updated.
    Recreate,
    /// Nothing: what has its name belongs to somebody else.
    Taken,
    /// Nothing: what cannot be updated is being deleted, and somebody else's finalizer keeps it.
    Leaving,
}

/// Decides what to write, so that `wanted` is there. Labels, annotations and owners beside Weir's are others' business.
pub fn write<K: Publication>(existing: Option<&K>, wanted: &K) -> Write {
    let Some(existing) = existing else { return Write::Create };
    let owners = wanted.owner_references();
    let mut labels = wanted.labels().iter();
    if !owners.iter().all(|owner| is_owned(existing, owner)) {
        Write::Taken
    } else if existing.has_content_of(wanted)
        && owners.iter().all(|owner| existing.owner_references().iter().any(|found| is_same(found, owner)))
        && labels.all(|(key, value)| existing.labels().get(key) == Some(value))
    {
        Write::Nothing
    } else if !existing.is_fixed(wanted) {
        Write::Replace
    } else if existing.meta().deletion_timestamp.is_some() {
        Write::Leaving
    } else {
        Write::Recreate
    }
}

/// The metadata to update an object with: Weir's in place, that of others as it was.
pub fn updated(existing: &ObjectMeta, wanted: &ObjectMeta) -> ObjectMeta {
    let mut meta = ObjectMeta { managed_fields: None, ..existing.clone() };
    meta.labels.get_or_insert_default().extend(wanted.labels.clone().unwrap_or_default());
    let owners = wanted.owner_references.clone().unwrap_or_default();
    let all = meta.owner_references.get_or_insert_default();
    all.retain(|found| owners.iter().all(|owner| owner.uid != found.uid));
    all.extend(owners);
    meta
}

/// Whether `object` is controlled by exactly this owner.
pub fn is_owned<K: Resource>(object: &K, owner: &OwnerReference) -> bool {
    object.owner_references().iter().any(|r| r.uid == owner.uid && r.controller == Some(true))
}

fn is_same(found: &OwnerReference, owner: &OwnerReference) -> bool {
    let named =
        |o: &OwnerReference| (o.api_version.clone(), o.kind.clone(), o.name.clone(), o.uid.clone(), o.controller);
    named(found) == named(owner)
}

/// The Secret of a client.
pub fn secret(key: &ObjectKey, owner: &OwnerReference, data: &BTreeMap<String, Secret>) -> KubeSecret {
    let bytes = |value: &Secret| ByteString(value.expose().as_bytes().to_vec());
    KubeSecret {
        metadata: metadata(key, owner),
        type_: Some(SECRET_TYPE.into()),
        data: Some(data.iter().map(|(key, value)| (key.clone(), bytes(value))).collect()),
        ..KubeSecret::default()
    }
}

/// The ConfigMap of a binding.
pub fn config_map(key: &ObjectKey, owner: &OwnerReference, data: BTreeMap<String, String>) -> ConfigMap {
    ConfigMap { metadata: metadata(key, owner), data: Some(data), ..ConfigMap::default() }
}

fn metadata(key: &ObjectKey, owner: &OwnerReference) -> ObjectMeta {
    ObjectMeta {
        name: Some(key.name.clone()),
        namespace: Some(key.namespace.clone()),
        labels: Some(BTreeMap::from([(MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned())])),
        owner_references: Some(vec![owner.clone()]),
        ..ObjectMeta::default()
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    fn owner(uid: &str) -> OwnerReference {
        OwnerReference { uid: uid.into(), controller: Some(true), name: "app".into(), ..OwnerReference::default() }
    }

    fn wanted() -> KubeSecret {
        secret(&ObjectKey::new("fraud", "app"), &owner("1"), &BTreeMap::from([("a".into(), Secret::new("b"))]))
    }

    fn edited(edit: impl FnOnce(&mut KubeSecret)) -> Write {
        let mut existing = wanted();
        existing.metadata.resource_version = Some("7".into());
        edit(&mut existing);
        write(Some(&existing), &wanted())
    }

    fn put(secret: &mut KubeSecret, key: &str, value: &str) {
        secret.data.get_or_insert_default().insert(key.into(), ByteString(value.into()));
    }

    #[test]
    fn what_is_as_it_should_be_is_not_written() {
        assert_eq!(edited(|_| ()), Write::Nothing);
        assert_eq!(write(None, &wanted()), Write::Create);
    }

    #[test]
    fn any_key_that_was_edited_added_or_removed_is_put_right() {
        assert_eq!(edited(|s| put(s, "a", "c")), Write::Replace);
        assert_eq!(edited(|s| put(s, "more", "")), Write::Replace);
        assert_eq!(edited(|s| s.data = None), Write::Replace);
    }

    #[test]
    fn label_and_owner_are_put_right_and_those_of_others_let_be() {
        assert_eq!(edited(|s| s.metadata.labels = None), Write::Replace);
        assert_eq!(
            edited(|s| s.metadata.owner_references.iter_mut().flatten().for_each(|o| o.name = "b".into())),
            Write::Replace
        );
        assert_eq!(edited(|s| drop(s.labels_mut().insert("team".into(), "x".into()))), Write::Nothing);
        assert_eq!(edited(|s| drop(s.annotations_mut().insert("note".into(), "x".into()))), Write::Nothing);
        assert_eq!(edited(|s| s.owner_references_mut().push(OwnerReference::default())), Write::Nothing);
    }

    #[test]
    fn an_update_keeps_what_others_put_there() {
        let mut existing = wanted();
        existing.metadata.resource_version = Some("7".into());
        existing.metadata.labels = Some(BTreeMap::from([("team".into(), "x".into())]));
        existing.annotations_mut().insert("note".into(), "x".into());
        existing.owner_references_mut().iter_mut().for_each(|o| o.name = "b".into());
        existing.owner_references_mut().push(OwnerReference { uid: "2".into(), ..OwnerReference::default() });
        let after = updated(&existing.metadata, &wanted().metadata);
        existing.metadata = after;
        assert_eq!(write(Some(&existing), &wanted()), Write::Nothing);
        assert_eq!(existing.labels()["team"], "x");
        assert_eq!(existing.annotations()["note"], "x");
        assert_eq!(existing.owner_references().len(), 2);
        assert_eq!(existing.resource_version().as_deref(), Some("7"), "nobody else wrote meanwhile");
    }

    #[test]
    fn what_cannot_be_updated_is_made_anew() {
        let fix = |s: &mut KubeSecret| {
            s.immutable = Some(true);
            s.data = None;
        };
        assert_eq!(edited(fix), Write::Recreate);
        assert_eq!(edited(|s| s.type_ = Some("Opaque".into())), Write::Recreate);
        assert_eq!(edited(|s| s.immutable = Some(true)), Write::Nothing, "it is as it should be for now");
        let leave = |s: &mut KubeSecret| {
            fix(s);
            s.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        };
        assert_eq!(edited(leave), Write::Leaving, "somebody's finalizer keeps it");
    }

    #[test]
    fn what_is_another_owners_is_never_touched() {
        assert_eq!(edited(|s| s.metadata.owner_references = None), Write::Taken);
        assert_eq!(edited(|s| s.metadata.owner_references = Some(vec![owner("2")])), Write::Taken);
        assert_eq!(edited(|s| s.owner_references_mut().iter_mut().for_each(|o| o.controller = None)), Write::Taken);
    }

    #[test]
    fn a_config_map_has_nothing_beside_what_it_should() {
        let key = ObjectKey::new("fraud", "weir-b");
        let wanted = config_map(&key, &owner("1"), BTreeMap::from([("a".into(), "b".into())]));
        let mut existing = wanted.clone();
        assert_eq!(write(Some(&existing), &wanted), Write::Nothing);
        existing.binary_data = Some(BTreeMap::from([("a2".into(), ByteString(vec![0]))]));
        assert_eq!(write(Some(&existing), &wanted), Write::Replace);
        existing.immutable = Some(true);
        assert_eq!(write(Some(&existing), &wanted), Write::Recreate);
    }
}
