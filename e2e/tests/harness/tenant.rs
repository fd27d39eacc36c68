//! A namespace with its objects, as the people in it see them.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::{GroupVersionKind, Resource};
use kube::{Api, Client, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use weir::api::Reason;

use super::brokers::{Login, login};
use super::{SOON, condition, until};

/// On every namespace that a test makes.
pub const TEST_LABEL: &str = "weir.dev/e2e=true";

/// See the module.
#[derive(Clone)]
pub struct Tenant {
    client: Client,
    /// The namespace's name; empty for objects that have none.
    pub name: String,
}

/// What can be asked about, whatever kind it is.
pub trait Object: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned {}
impl<K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned> Object for K {}

impl Tenant {
    /// Makes a namespace whose name no other test has.
    pub async fn create(client: Client, name: &str, labels: &[(&str, &str)]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u32;
        let name = format!("{name}-{now:08x}{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let (key, value) = TEST_LABEL.split_once('=').unwrap();
        let mut all = json!({key: value});
        for (key, value) in labels {
            all[*key] = json!(value);
        }
        let platform = Self::platform(client.clone());
        platform
            .apply_value(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": all}}))
            .await;
        Self { client, name }
    }

    /// Objects that have no namespace.
    pub fn platform(client: Client) -> Self {
        Self { client, name: String::new() }
    }

    /// A namespace that is there.
    pub fn existing(client: Client, name: &str) -> Self {
        Self { client, name: name.into() }
    }

    /// Lets Weir write Secrets and ConfigMaps into the namespace.
    pub async fn enrol(&self) {
        self.bind("weir-credentials").await;
    }

    /// Binds a ClusterRole to Weir in the namespace.
    pub async fn bind(&self, role: &str) {
        self.apply(&format!(
            "
            apiVersion: rbac.authorization.k8s.io/v1
            kind: RoleBinding
            metadata: {{name: {role}}}
            roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {role}}}
            subjects: [{{kind: ServiceAccount, name: weir, namespace: weir-system}}]"
        ))
        .await;
    }

    /// Takes that back.
    pub async fn unenrol(&self) {
        self.delete::<k8s_openapi::api::rbac::v1::RoleBinding>("weir-credentials").await;
    }

    /// Applies an object by server-side apply, which must be taken.
    pub async fn apply(&self, manifest: &str) {
        if let Err(refusal) = self.try_apply(manifest).await {
            panic!("refused: {refusal}\n{manifest}");
        }
    }

    /// Applies an object; the API server's words if it refuses.
    pub async fn try_apply(&self, manifest: &str) -> Result<(), String> {
        self.try_apply_value(serde_yaml::from_str(manifest).unwrap()).await
    }

    /// [`Self::apply`] for a value.
    pub async fn apply_value(&self, manifest: Value) {
        if let Err(refusal) = self.try_apply_value(manifest.clone()).await {
            panic!("refused: {refusal}\n{manifest:#}");
        }
    }

    async fn try_apply_value(&self, manifest: Value) -> Result<(), String> {
        let text = |field: &str| manifest[field].as_str().unwrap().to_owned();
        let (api_version, kind) = (text("apiVersion"), text("kind"));
        let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &kind));
        let api: Api<DynamicObject> = if self.name.is_empty() {
            Api::all_with(self.client.clone(), &resource)
        } else {
            Api::namespaced_with(self.client.clone(), &self.name, &resource)
        };
        let name = manifest["metadata"]["name"].as_str().unwrap().to_owned();
        let params = PatchParams::apply("weir-e2e").force();
        match api.patch(&name, &params, &Patch::Apply(&manifest)).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) => Err(status.message.clone()),
            Err(error) => panic!("failed to apply {kind} {name}: {error}"),
        }
    }

    fn values<K: Object>(&self) -> Api<DynamicObject> {
        let resource = ApiResource::erase::<K>(&());
        if self.name.is_empty() {
            Api::all_with(self.client.clone(), &resource)
        } else {
            Api::namespaced_with(self.client.clone(), &self.name, &resource)
        }
    }

    /// An object, if it is there.
    pub async fn get<K: Object>(&self, name: &str) -> Option<K> {
        let found = self.values::<K>().get_opt(name).await.unwrap()?;
        Some(serde_json::from_value(serde_json::to_value(found).unwrap()).unwrap())
    }

    /// Merges `patch` into an object.
    pub async fn patch<K: Object>(&self, name: &str, patch: Value) {
        self.values::<K>().patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    /// Deletes an object, and does not wait until it is gone.
    pub async fn delete<K: Object>(&self, name: &str) {
        let result = self.values::<K>().delete(name, &DeleteParams::background()).await;
        result.unwrap_or_else(|e| panic!("failed to delete {} {}/{name}: {e}", K::kind(&()), self.name));
    }

    /// Deletes an object, and waits until it is gone.
    pub async fn delete_and_wait<K: Object>(&self, name: &str) {
        self.delete::<K>(name).await;
        self.gone::<K>(name).await;
    }

    /// Waits until an object is gone. After a change of leader that may take a minute: so long, writes of before may arrive.
    pub async fn gone<K: Object>(&self, name: &str) {
        let what = format!("{} {}/{name} is gone", K::kind(&()), self.name);
        until(SOON * 2, &[&self.name], &what, || async {
            match self.get::<K>(name).await {
                None => Ok(()),
                Some(_) => Err("it is there".into()),
            }
        })
        .await;
    }

    /// [`until`] with this namespace told of on failure.
    pub async fn until<T, F>(&self, what: &str, look: impl FnMut() -> F) -> T
    where
        F: Future<Output = Result<T, String>>,
    {
        let around: &[&str] = if self.name.is_empty() { &[] } else { &[&self.name] };
        until(SOON, around, what, look).await
    }

    /// Waits until an object is Ready in its present generation.
    pub async fn ready<K: Object>(&self, name: &str) -> K {
        self.says::<K>(name, "Ready", "True", Reason::Ready, &[]).await
    }

    /// Waits until an object is not Ready for `reason`, with each of `words` in the message.
    pub async fn refused<K: Object>(&self, name: &str, reason: Reason, words: &[&str]) -> K {
        self.says(name, "Ready", "False", reason, words).await
    }

    /// Waits until an object has a condition about its present generation.
    pub async fn says<K: Object>(&self, name: &str, type_: &str, status: &str, reason: Reason, words: &[&str]) -> K {
        let what = format!("{} {}/{name} has {type_}={status} for {reason}: {words:?}", K::kind(&()), self.name);
        self.until(&what, || async {
            let found = self.values::<K>().get_opt(name).await.map_err(|e| e.to_string())?;
            let object = serde_json::to_value(found.ok_or("it does not exist")?).unwrap();
            let condition = condition(&object, type_).ok_or_else(|| format!("{:#}", object["status"]["conditions"]))?;
            let message = condition["message"].as_str().unwrap_or_default();
            let holds = condition["status"] == status
                && condition["reason"] == reason.as_str()
                && words.iter().all(|w| message.contains(w));
            if holds { Ok(serde_json::from_value(object).unwrap()) } else { Err(format!("{condition:#}")) }
        })
        .await
    }

    /// The way in that a Secret of this namespace describes.
    pub async fn login(&self, secret: &str) -> Login {
        login(&self.get::<Secret>(secret).await.unwrap_or_else(|| panic!("no Secret {}/{secret}", self.name)))
    }

    /// The present principal of a StreamClient that is Ready.
    pub async fn principal(&self, client: &str) -> String {
        self.ready::<weir::api::StreamClient>(client).await.status.and_then(|s| s.principal).unwrap()
    }

    /// Messages of the SecurityEvents of an action here.
    pub async fn security_events(&self, action: weir::api::Action) -> Vec<weir::api::SecurityEvent> {
        let all: Api<weir::api::SecurityEvent> = Api::namespaced(self.client.clone(), &self.name);
        let all = all.list(&Default::default()).await.unwrap();
        all.into_iter().filter(|e| e.spec.action == action).collect()
    }

    /// Waits until `n` SecurityEvents of an action are here; there are no more.
    pub async fn told(&self, action: weir::api::Action, n: usize) -> Vec<weir::api::SecurityEvent> {
        let what = format!("{n} SecurityEvents {action:?}");
        let told = self.until(&what, || async {
            let events = self.security_events(action).await;
            if events.len() >= n { Ok(events) } else { Err(format!("{events:#?}")) }
        });
        let told = told.await;
        assert_eq!(told.len(), n, "{told:#?}");
        told
    }

    /// Ends the namespace, and waits until it is gone: so everything in it was revoked.
    pub async fn end(self) {
        let platform = Self::platform(self.client.clone());
        platform.delete::<Namespace>(&self.name).await;
        let what = format!("namespace {} goes away", self.name);
        until(SOON * 2, &[&self.name], &what, || async {
            match platform.get::<Namespace>(&self.name).await {
                None => Ok(()),
                Some(namespace) => Err(serde_yaml::to_string(&namespace.status).unwrap_or_default()),
            }
        })
        .await;
    }

    /// A kind's objects here.
    pub async fn all<K: Object>(&self) -> Vec<Value> {
        let all = self.values::<K>().list(&Default::default()).await.unwrap();
        all.iter().map(|object| serde_json::to_value(object).unwrap()).collect()
    }

    /// Names of a kind's objects here.
    pub async fn names<K: Object>(&self) -> Vec<String> {
        self.values::<K>().list(&Default::default()).await.unwrap().iter().map(ResourceExt::name_any).collect()
    }
}
