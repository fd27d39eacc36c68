//! Strimzi's KafkaMirrorMaker2 resources (`kafka.strimzi.io/v1`), one a connector. What is asked of Strimzi takes it a while: a call
//! that it is not done with yet says so, and is made again.
//!
//! Positions go by ConfigMaps and annotations: Strimzi does what `strimzi.io/connector-offsets` says, and takes it off once that is
//! done.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::files::{INSTANCE, labels};
use super::objects::{FIELD_MANAGER, gone_is_fine};
use crate::api::Strimzi;
use crate::domain::names::resource_name;
use crate::domain::replication::flow::Positions;
use crate::domain::replication::offsets::Offsets;
use crate::domain::replication::plan::ObservedConnector;
use crate::domain::replication::strimzi::{self, CONFIG, CONNECTOR, STATE};
use crate::ports::{ConnectError, Connectors};

/// What Strimzi is to do with positions: `list` or `alter`.
const OFFSETS: &str = "strimzi.io/connector-offsets";
/// With which connector of the resource.
const OF_CONNECTOR: &str = "strimzi.io/mirrormaker-connector";
/// Which positions were asked to be set last.
const ASKED: &str = "weir.dev/positions";
/// How often Strimzi lists how far a connector is: each time it looks at the whole resource.
const LISTED: Duration = Duration::from_secs(20);

/// The resources of one engine.
pub struct StrimziResources {
    client: Client,
    engine: Strimzi,
    workers: String,
    asked: Mutex<BTreeMap<String, Instant>>,
}

impl StrimziResources {
    /// Those of `engine`, whose workers are called `workers`.
    pub fn new(client: Client, engine: Strimzi, workers: &str) -> Self {
        Self { client, engine, workers: workers.to_owned(), asked: Mutex::default() }
    }

    fn resources(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.engine.namespace, &kind())
    }

    fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &self.engine.namespace)
    }

    async fn get(&self, connector: &str) -> Result<DynamicObject, ConnectError> {
        self.resources().get(&resource_name(connector)).await.map_err(|e| self.refused(e))
    }

    /// The resource with this configuration; `state` is what it is asked to be.
    fn resource(&self, connector: &str, config: &BTreeMap<String, String>, state: &str) -> Value {
        let name = resource_name(connector);
        let maps = Maps::of(&name);
        let mut labels = labels(&self.workers);
        labels.insert(CONNECTOR.to_owned(), connector.to_owned());
        let mut resource = json!({
            "apiVersion": kind().api_version,
            "kind": kind().kind,
            "metadata": {"name": name, "labels": labels, "annotations": {CONFIG: json!(config).to_string()}},
            "spec": strimzi::spec(config, &self.engine, &maps.names()),
        });
        ask(&mut resource, state);
        resource
    }

    /// Asks for a state; an error as long as it is on its way there.
    async fn turn(&self, connector: &str, state: &str) -> Result<(), ConnectError> {
        let mut resource = json!(self.get(connector).await?);
        if resource.pointer(STATE).and_then(Value::as_str) == Some(state) {
            return Err(ConnectError::not_yet(format!(
                "Strimzi was asked to have it {state}, and has yet to report that"
            )));
        }
        ask(&mut resource, state);
        self.replace(&resource_name(connector), resource).await
    }

    async fn replace(&self, name: &str, resource: Value) -> Result<(), ConnectError> {
        let resource: DynamicObject = serde_json::from_value(resource).map_err(|e| failure(&e))?;
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        self.resources().replace(name, &params, &resource).await.map(drop).map_err(|e| self.refused(e))
    }

    /// Has Strimzi do something about the positions of a connector.
    async fn order(&self, resource: &DynamicObject, what: &str, asked: Option<&str>) -> Result<(), ConnectError> {
        let target = resource.data.pointer("/spec/target/alias").and_then(Value::as_str).unwrap_or_default();
        let source = resource.data.pointer("/spec/mirrors/0/source/alias").and_then(Value::as_str).unwrap_or_default();
        let mut annotations = json!({OFFSETS: what, OF_CONNECTOR: format!("{source}->{target}.MirrorSourceConnector")});
        if let Some(asked) = asked {
            annotations[ASKED] = json!(asked);
        }
        let patch = json!({"metadata": {
            "annotations": annotations, "resourceVersion": resource.resource_version()}});
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let done = self.resources().patch(&resource.name_any(), &params, &Patch::Merge(&patch)).await;
        done.map(drop).map_err(|e| self.refused(e))
    }

    /// Whether it is time to have positions listed again.
    fn is_due(&self, connector: &str) -> bool {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = asked.get(connector).is_none_or(|at| at.elapsed() >= LISTED);
        if is_due {
            asked.insert(connector.to_owned(), Instant::now());
        }
        is_due
    }

    fn refused(&self, error: kube::Error) -> ConnectError {
        let namespace = &self.engine.namespace;
        let kube::Error::Api(status) = &error else { return failure(&error) };
        let advice = match status.code {
            403 => format!(": bind the ClusterRole weir-strimzi to Weir's account in namespace {namespace}"),
            404 if status.reason != "NotFound" || status.message.contains("page not found") => {
                ": kafkamirrormaker2s.kafka.strimzi.io/v1 is not served here: install Strimzi 1.0 or later".to_owned()
            }
            _ => String::new(),
        };
        ConnectError { status: Some(status.code), message: format!("{}{advice}", status.message) }
    }
}

fn kind() -> ApiResource {
    ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk("kafka.strimzi.io", "v1", "KafkaMirrorMaker2"),
        "kafkamirrormaker2s",
    )
}

fn ask(resource: &mut Value, state: &str) {
    if let Some(connector) = resource.pointer_mut("/spec/mirrors/0/sourceConnector").and_then(Value::as_object_mut) {
        connector.insert("state".into(), json!(state));
    }
}

fn failure(error: &dyn std::error::Error) -> ConnectError {
    ConnectError { status: None, message: error.to_string() }
}

/// The names of a resource's ConfigMaps.
struct Maps {
    listed: String,
    first: String,
}

impl Maps {
    fn of(resource: &str) -> Self {
        Self { listed: format!("{resource}-listed"), first: format!("{resource}-first") }
    }

    fn names(&self) -> strimzi::Positions<'_> {
        strimzi::Positions { listed: &self.listed, first: &self.first }
    }
}

/// The key under which Strimzi has positions of a connector in a ConfigMap.
fn key_of(resource: &Value) -> String {
    let alias = |at: &str| resource.pointer(at).and_then(Value::as_str).unwrap_or_default();
    format!("{}--{}.MirrorSourceConnector.json", alias("/spec/mirrors/0/source/alias"), alias("/spec/target/alias"))
}

#[async_trait]
impl Connectors for StrimziResources {
    async fn list(&self, prefix: &str) -> Result<BTreeMap<String, ObservedConnector>, ConnectError> {
        let of_it = ListParams::default().labels(&format!("{INSTANCE}={}", self.workers));
        let all = self.resources().list(&of_it).await.map_err(|e| self.refused(e))?;
        let observed = all.items.iter().filter_map(|resource| {
            let maps = Maps::of(&resource.name_any());
            strimzi::observed(&json!(resource), &self.engine, &maps.names())
        });
        Ok(observed.filter(|(name, _)| name.starts_with(prefix)).collect())
    }

    /// Strimzi's images have MirrorMaker 2.
    async fn has_plugin(&self, _: &str) -> Result<bool, ConnectError> {
        Ok(true)
    }

    async fn create(&self, name: &str, config: &BTreeMap<String, String>) -> Result<(), ConnectError> {
        let resource: DynamicObject =
            serde_json::from_value(self.resource(name, config, "stopped")).map_err(|e| failure(&e))?;
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        self.resources().create(&params, &resource).await.map(drop).map_err(|e| self.refused(e))
    }

    async fn configure(&self, name: &str, config: &BTreeMap<String, String>) -> Result<(), ConnectError> {
        let before = self.get(name).await?;
        let asked = before.data.pointer(STATE).and_then(Value::as_str).unwrap_or("stopped");
        let mut resource = self.resource(name, config, asked);
        // What else is said of it stays: among that, what Strimzi was told to do about positions.
        let mut annotations = before.annotations().clone();
        annotations.insert(CONFIG.to_owned(), json!(config).to_string());
        resource["metadata"]["annotations"] = json!(annotations);
        resource["metadata"]["resourceVersion"] = json!(before.resource_version());
        self.replace(&resource_name(name), resource).await
    }

    async fn stop(&self, name: &str) -> Result<(), ConnectError> {
        self.turn(name, "stopped").await
    }

    async fn resume(&self, name: &str) -> Result<(), ConnectError> {
        self.turn(name, "running").await
    }

    /// Strimzi does that by itself (`autoRestart`), ever more rarely.
    async fn restart(&self, _: &str, _: bool) -> Result<(), ConnectError> {
        Err(ConnectError::not_yet("Strimzi starts what failed again by itself"))
    }

    async fn positions(&self, name: &str) -> Result<Positions, ConnectError> {
        if self.is_due(name) {
            let resource = self.get(name).await?;
            if !resource.annotations().contains_key(OFFSETS) {
                self.order(&resource, "list", None).await?;
            }
        }
        let listed = Maps::of(&resource_name(name)).listed;
        let found = self.config_maps().get_opt(&listed).await.map_err(|e| self.refused(e))?;
        let text = found.and_then(|map| map.data?.into_values().next());
        let text = text.ok_or_else(|| ConnectError::not_yet("Strimzi has yet to list how far it is"))?;
        let offsets: Offsets = serde_json::from_str(&text).map_err(|e| failure(&e))?;
        Ok(offsets.positions())
    }

    async fn set_positions(&self, name: &str, alias: &str, positions: &Positions) -> Result<(), ConnectError> {
        let resource = self.get(name).await?;
        let asked = resource.annotations().get(ASKED);
        // Ends move on while Strimzi is at it: what was asked first counts, if it was about the same partitions.
        let partitions = positions.keys().map(|(topic, partition)| format!("{topic}-{partition}"));
        let hash = Sha256::digest(partitions.collect::<Vec<_>>().join(","));
        let wanted = hex::encode(&hash[..16]);
        let is_asked = asked == Some(&wanted);
        match resource.annotations().get(OFFSETS).map(String::as_str) {
            None if is_asked => return Ok(()),
            Some("alter") if is_asked => return Err(ConnectError::not_yet("Strimzi has yet to set where it begins")),
            _ => {}
        }
        let map: ConfigMap = serde_json::from_value(json!({
            "metadata": {
                "name": Maps::of(&resource_name(name)).first,
                "labels": labels(&self.workers),
                "ownerReferences": [{"apiVersion": kind().api_version, "kind": kind().kind, "name": resource.name_any(),
                    "uid": resource.uid()}],
            },
            "data": {key_of(&json!(resource)): json!(Offsets::of(alias, positions)).to_string()},
        }))
        .map_err(|e| failure(&e))?;
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let name = map.name_any();
        self.config_maps().patch(&name, &params, &Patch::Apply(&map)).await.map_err(|e| self.refused(e))?;
        self.order(&resource, "alter", Some(&wanted)).await?;
        Err(ConnectError::not_yet("Strimzi has yet to set where it begins"))
    }

    /// Its positions are in topics of its own, which go with the share, and in ConfigMaps that Kubernetes removes with it.
    async fn remove(&self, name: &str, _: &BTreeMap<String, String>) -> Result<(), ConnectError> {
        let name = resource_name(name);
        let found = self.resources().get_metadata_opt(&name).await.map_err(|e| self.refused(e))?;
        if found.is_some_and(|resource| resource.metadata.deletion_timestamp.is_some()) {
            return Err(ConnectError::not_yet("Kubernetes is removing it, with its workers"));
        }
        let gone = self.resources().delete(&name, &DeleteParams::foreground()).await;
        gone_is_fine(gone.map(drop)).map_err(|e| self.refused(e))
    }
}
