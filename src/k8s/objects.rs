//! Reads and writes of Weir's own kinds, and of what it owns in consumers' namespaces.

use std::collections::BTreeMap;
use std::fmt::Debug;

use k8s_openapi::api::core::v1::{ConfigMap, Secret as KubeSecret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::api::{FINALIZER, MANAGED_BY, MANAGED_BY_LABEL, ObjectRef};
use crate::domain::connection::SECRET_TYPE;
use crate::domain::names::ObjectKey;
use crate::domain::secret::Secret;

/// The field manager of all that Weir writes.
pub const FIELD_MANAGER: &str = "weir";

/// Why an object of Weir's in a consumer's namespace could not be written.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The namespace did not bind the ClusterRole `weir-credentials`.
    #[error("namespace {0} did not enrol")]
    NotEnrolled(String),
    /// There is one of that name which is not Weir's for this owner.
    #[error("{0} exists and is not this object's")]
    NameTaken(String),
    /// Anything else.
    #[error(transparent)]
    Kube(#[from] kube::Error),
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

fn gone_is_fine(result: Result<(), kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other,
    }
}

/// The Secret `name` in `namespace`, if it is there.
///
/// # Errors
/// `NotEnrolled` where Weir may not read it.
pub async fn read_secret(client: &Client, namespace: &str, name: &str) -> Result<Option<KubeSecret>, PublishError> {
    let api: Api<KubeSecret> = Api::namespaced(client.clone(), namespace);
    api.get_opt(name).await.map_err(|e| publish_error(e, namespace))
}

/// Writes a Secret that `owner` owns. One that it does not own is never touched.
///
/// # Errors
/// See [`PublishError`].
pub async fn publish_secret(
    client: &Client,
    owner: &OwnerReference,
    namespace: &str,
    name: &str,
    data: BTreeMap<String, Secret>,
) -> Result<(), PublishError> {
    let api: Api<KubeSecret> = Api::namespaced(client.clone(), namespace);
    let existing = read_secret(client, namespace, name).await?;
    let mut secret = KubeSecret {
        metadata: metadata(owner, namespace, name),
        type_: Some(SECRET_TYPE.into()),
        string_data: Some(data.iter().map(|(k, v)| (k.clone(), v.expose().to_owned())).collect()),
        ..KubeSecret::default()
    };
    let result = match existing {
        None => api.create(&PostParams::default(), &secret).await,
        Some(existing) if is_owned(&existing, owner) => {
            secret.metadata.resource_version = existing.resource_version();
            api.replace(name, &PostParams::default(), &secret).await
        }
        Some(_) => return Err(PublishError::NameTaken(format!("Secret {namespace}/{name}"))),
    };
    result.map(drop).map_err(|e| publish_error(e, namespace))
}

/// Writes a ConfigMap that `owner` owns, if it differs. One that it does not own is never touched.
///
/// # Errors
/// See [`PublishError`].
pub async fn publish_config_map(
    client: &Client,
    owner: &OwnerReference,
    namespace: &str,
    name: &str,
    data: BTreeMap<String, String>,
) -> Result<(), PublishError> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let existing = api.get_opt(name).await.map_err(|e| publish_error(e, namespace))?;
    let mut map = ConfigMap { metadata: metadata(owner, namespace, name), data: Some(data), ..ConfigMap::default() };
    let result = match existing {
        None => api.create(&PostParams::default(), &map).await,
        Some(existing) if !is_owned(&existing, owner) => {
            return Err(PublishError::NameTaken(format!("ConfigMap {namespace}/{name}")));
        }
        Some(existing) if existing.data == map.data => return Ok(()),
        Some(existing) => {
            map.metadata.resource_version = existing.resource_version();
            api.replace(name, &PostParams::default(), &map).await
        }
    };
    result.map(drop).map_err(|e| publish_error(e, namespace))
}

/// Whether `object` is controlled by exactly this owner.
pub fn is_owned<K: Resource>(object: &K, owner: &OwnerReference) -> bool {
    object.owner_references().iter().any(|r| r.uid == owner.uid && r.controller == Some(true))
}

fn metadata(owner: &OwnerReference, namespace: &str, name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.into()),
        namespace: Some(namespace.into()),
        labels: Some(BTreeMap::from([(MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned())])),
        owner_references: Some(vec![owner.clone()]),
        ..ObjectMeta::default()
    }
}

fn publish_error(error: kube::Error, namespace: &str) -> PublishError {
    match error {
        kube::Error::Api(status) if status.code == 403 && !status.message.contains("being terminated") => {
            PublishError::NotEnrolled(namespace.into())
        }
        other => PublishError::Kube(other),
    }
}

/// A reference to an object of `kind`, as SecurityEvents have it.
pub fn object_ref(kind: &str, key: &ObjectKey, uid: Option<String>) -> ObjectRef {
    let namespace = (!key.namespace.is_empty()).then(|| key.namespace.clone());
    ObjectRef { kind: kind.into(), namespace, name: key.name.clone(), uid }
}
