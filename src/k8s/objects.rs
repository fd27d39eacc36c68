//! Writes of Weir's own kinds.

use std::fmt::Debug;

use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::api::{FINALIZER, ObjectRef};
use crate::domain::names::ObjectKey;

/// The field manager of all that Weir writes.
pub const FIELD_MANAGER: &str = "weir";

/// Creates and replaces as Weir.
pub(super) fn as_weir() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

/// Writes `status` of the object, by server-side apply of its status subresource.
///
/// # Errors
/// As the API server says; an object that is gone is no error.
pub async fn write_status<K>(client: &Client, object: &K, status: &impl Serialize) -> Result<(), kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    K::Scope: ScopeOf<K>,
{
    let patch = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"uid": object.uid()},
        "status": status,
    });
    let params = PatchParams::apply(FIELD_MANAGER).force();
    gone_is_fine(
        api_of(client, object).patch_status(&object.name_any(), &params, &Patch::Apply(&patch)).await.map(drop),
    )
}

/// Adds Weir's finalizer.
///
/// # Errors
/// As the API server says; among others a conflict if the object changed meanwhile.
pub async fn add_finalizer<K>(client: &Client, object: &K) -> Result<(), kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    K::Scope: ScopeOf<K>,
{
    let mut finalizers = object.finalizers().to_vec();
    finalizers.push(FINALIZER.into());
    set_finalizers(client, object, finalizers).await
}

/// Takes Weir's finalizer away.
///
/// # Errors
/// As the API server says; an object that is gone is no error.
pub async fn remove_finalizer<K>(client: &Client, object: &K) -> Result<(), kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    K::Scope: ScopeOf<K>,
{
    let finalizers = object.finalizers().iter().filter(|f| *f != FINALIZER).cloned().collect();
    gone_is_fine(set_finalizers(client, object, finalizers).await)
}

async fn set_finalizers<K>(client: &Client, object: &K, finalizers: Vec<String>) -> Result<(), kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    K::Scope: ScopeOf<K>,
{
    let patch = json!({"metadata": {"resourceVersion": object.resource_version(), "finalizers": finalizers}});
    api_of(client, object).patch(&object.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await.map(drop)
}

/// Whether the object has Weir's finalizer.
pub fn has_finalizer<K: Resource>(object: &K) -> bool {
    object.finalizers().iter().any(|f| f == FINALIZER)
}

/// Chooses the API of an object by the scope of its kind.
pub trait ScopeOf<K: Resource> {
    /// The API that `object` is in.
    fn api(client: &Client, object: &K) -> Api<K>;
}

impl<K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>> ScopeOf<K>
    for kube::core::NamespaceResourceScope
{
    fn api(client: &Client, object: &K) -> Api<K> {
        Api::namespaced(client.clone(), &object.namespace().unwrap_or_default())
    }
}

impl<K: Resource<DynamicType = (), Scope = kube::core::ClusterResourceScope>> ScopeOf<K>
    for kube::core::ClusterResourceScope
{
    fn api(client: &Client, _object: &K) -> Api<K> {
        Api::all(client.clone())
    }
}

fn api_of<K>(client: &Client, object: &K) -> Api<K>
where
    K: Resource<DynamicType = ()>,
    K::Scope: ScopeOf<K>,
{
    K::Scope::api(client, object)
}

/// What is gone already need not be changed.
pub(super) fn gone_is_fine(result: Result<(), kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other,
    }
}

/// A reference to an object of `kind`, as SecurityEvents have it.
pub fn object_ref(kind: &str, key: &ObjectKey, uid: Option<String>) -> ObjectRef {
    let namespace = (!key.namespace.is_empty()).then(|| key.namespace.clone());
    ObjectRef { kind: kind.into(), namespace, name: key.name.clone(), uid }
}
