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
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::files::labels;
use super::objects::{FIELD_MANAGER, as_weir, gone_is_fine};
use crate::api::Strimzi;
use crate::domain::names::resource_name;
use crate::domain::replication::flow::Positions;
use crate::domain::replication::offsets::Offsets;
use crate::domain::replication::plan::ObservedConnector;
use crate::domain::replication::strimzi::{self, CONFIG, CONNECTOR, STATE};
use crate::ports::{Connectors, Listed, RestError};

/// What Strimzi is to do with positions: `list` or `alter`.
const OFFSETS: &str = "strimzi.io/connector-offsets";
/// With which connector of the resource.
const OF_CONNECTOR: &str = "strimzi.io/mirrormaker-connector";
/// Which positions were asked to be set last.
const ASKED: &str = "weir.dev/positions";
/// How often Strimzi lists how far a connector is. It looks at the whole resource for that, as it does by itself every two minutes.
const LISTED: Duration = Duration::from_secs(120);

/// The resources of one engine.
pub struct StrimziResources {
    client: Client,
    engine: Strimzi,
    workers: String,
    listings: Mutex<BTreeMap<String, Listing>>,
}

/// How far one connector is, as Strimzi listed it.
#[derive(Default)]
struct Listing {
    /// When it was asked for last.
    asked: Option<Instant>,
    /// As what it is yet to be read.
    awaited: Option<Moment>,
    /// What it was.
    last: Option<(Moment, Positions)>,
}

/// A resource, by its UID, and its generation: as long as both are the same, nothing else was asked of the connector.
type Moment = (Option<String>, Option<i64>);

fn moment(resource: &DynamicObject) -> Moment {
    (resource.uid(), resource.metadata.generation)
}

fn not_yet_listed() -> RestError {
    RestError::not_yet("Strimzi has yet to list how far it is")
}

impl StrimziResources {
    /// Those of `engine`, whose workers are called `workers`.
    pub fn new(client: Client, engine: Strimzi, workers: &str) -> Self {
        Self { client, engine, workers: workers.to_owned(), listings: Mutex::default() }
    }

    fn resources(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.engine.namespace, &kind())
    }

    fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &self.engine.namespace)
    }

    async fn get(&self, connector: &str) -> Result<DynamicObject, RestError> {
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
        strimzi::ask(&mut resource, state);
        resource
    }

    /// Asks for a state; an error as long as it is on its way there.
    async fn turn(&self, connector: &str, state: &str) -> Result<(), RestError> {
        let mut resource = json!(self.get(connector).await?);
        if resource.pointer(STATE).and_then(Value::as_str) == Some(state) {
            return Err(RestError::not_yet(format!(
                "Strimzi was asked to have it {state}, and has yet to report that"
            )));
        }
        strimzi::ask(&mut resource, state);
        self.replace(&resource_name(connector), resource).await
    }

    async fn replace(&self, name: &str, resource: Value) -> Result<(), RestError> {
        let resource: DynamicObject = serde_json::from_value(resource).map_err(|e| failure(&e))?;
        self.resources().replace(name, &as_weir(), &resource).await.map(drop).map_err(|e| self.refused(e))
    }

    /// Has Strimzi do something about the positions of a connector.
    async fn order(&self, resource: &DynamicObject, what: &str, asked: Option<&str>) -> Result<(), RestError> {
        let mut annotations = json!({OFFSETS: what, OF_CONNECTOR: name_in(resource)});
        if let Some(asked) = asked {
            annotations[ASKED] = json!(asked);
        }
        let patch = json!({"metadata": {
            "annotations": annotations, "resourceVersion": resource.resource_version()}});
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let done = self.resources().patch(&resource.name_any(), &params, &Patch::Merge(&patch)).await;
        done.map(drop).map_err(|e| self.refused(e))
    }

    fn listing<T>(&self, connector: &str, with: impl FnOnce(&mut Listing) -> T) -> T {
        let mut all = self.listings.lock().unwrap_or_else(PoisonError::into_inner);
        with(all.entry(connector.to_owned()).or_default())
    }

    /// Has Strimzi list how far a connector is; `None` while it is at that, or at something else.
    async fn list_anew(&self, connector: &str, resource: &DynamicObject) -> Result<Option<Positions>, RestError> {
        if resource.annotations().contains_key(OFFSETS) {
            return Ok(None);
        }
        let now = moment(resource);
        if self.listing(connector, |listing| listing.awaited.as_ref() != Some(&now)) {
            self.order(resource, "list", None).await?;
            self.listing(connector, |listing| (listing.asked, listing.awaited) = (Some(Instant::now()), Some(now)));
            return Ok(None);
        }
        let listed = Maps::of(&resource_name(connector)).listed;
        let found = self.config_maps().get_opt(&listed).await.map_err(|e| self.refused(e))?;
        let text = found.and_then(|map| map.data?.into_values().next());
        let offsets: Option<Offsets> =
            text.map(|text| serde_json::from_str(&text)).transpose().map_err(|e| failure(&e))?;
        let positions = offsets.map(Offsets::positions);
        // Where there is nothing, the order was lost, and is given again.
        self.listing(connector, |listing| {
            listing.awaited = None;
            listing.last = positions.clone().map(|positions| (now, positions));
        });
        Ok(positions)
    }

    /// Whether Strimzi's kind is unknown here in any version.
    async fn is_unknown(&self) -> bool {
        let groups = self.client.list_api_groups().await;
        groups.is_ok_and(|all| !all.groups.iter().any(|group| group.name == GROUP))
    }

    fn refused(&self, error: kube::Error) -> RestError {
        let namespace = &self.engine.namespace;
        let kube::Error::Api(status) = &error else { return failure(&error) };
        let advice = match status.code {
            403 => format!(": bind the ClusterRole weir-strimzi to Weir's account in namespace {namespace}"),
            404 if status.reason != "NotFound" || status.message.contains("page not found") => {
                ": kafkamirrormaker2s.kafka.strimzi.io/v1 is not served here: install Strimzi 1.0 or later".to_owned()
            }
            _ => String::new(),
        };
        RestError { status: Some(status.code), message: format!("{}{advice}", status.message) }
    }
}

const GROUP: &str = "kafka.strimzi.io";

fn kind() -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, "v1", "KafkaMirrorMaker2"), "kafkamirrormaker2s")
}

fn failure(error: &dyn std::error::Error) -> RestError {
    RestError::unanswered(error)
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

/// The name that Strimzi gives to the connector of a resource.
fn name_in(resource: &DynamicObject) -> String {
    let alias = |at: &str| resource.data.pointer(at).and_then(Value::as_str).unwrap_or_default();
    format!("{}->{}.MirrorSourceConnector", alias("/spec/mirrors/0/source/alias"), alias("/spec/target/alias"))
}

/// The key under which Strimzi has positions of a connector in a ConfigMap.
fn key_of(resource: &DynamicObject) -> String {
    format!("{}.json", name_in(resource).replace("->", "--"))
}

#[async_trait]
impl Connectors for StrimziResources {
    async fn list(&self, prefix: &str) -> Result<BTreeMap<String, ObservedConnector>, RestError> {
        // Not by labels, which somebody may have taken off.
        let all = match self.resources().list(&ListParams::default()).await {
            Ok(all) => all,
            Err(kube::Error::Api(status)) if status.code == 404 && self.is_unknown().await => {
                return Ok(BTreeMap::new());
            }
            Err(error) => return Err(self.refused(error)),
        };
        let observed = all.items.iter().filter_map(|resource| {
            let maps = Maps::of(&resource.name_any());
            strimzi::observed(&json!(resource), &self.engine, &maps.names())
        });
        Ok(observed.filter(|(name, _)| name.starts_with(prefix)).collect())
    }

    /// Strimzi's images have MirrorMaker 2.
    async fn has_plugin(&self, _: &str) -> Result<bool, RestError> {
        Ok(true)
    }

    async fn create(&self, name: &str, config: &BTreeMap<String, String>) -> Result<(), RestError> {
        let resource: DynamicObject =
            serde_json::from_value(self.resource(name, config, "stopped")).map_err(|e| failure(&e))?;
        self.resources().create(&as_weir(), &resource).await.map(drop).map_err(|e| self.refused(e))
    }

    async fn configure(&self, name: &str, config: &BTreeMap<String, String>) -> Result<(), RestError> {
        let before = self.get(name).await?;
        let asked = before.data.pointer(STATE).and_then(Value::as_str).unwrap_or("stopped");
        let ours = self.resource(name, config, asked);
        // What else is said of it stays: among that, what Strimzi was told to do about positions.
        let mut resource = json!(before);
        for part in ["labels", "annotations"] {
            let mut all = resource["metadata"][part].as_object().cloned().unwrap_or_default();
            all.extend(ours["metadata"][part].as_object().cloned().unwrap_or_default());
            resource["metadata"][part] = Value::Object(all);
        }
        resource["spec"] = ours["spec"].clone();
        self.replace(&resource_name(name), resource).await
    }

    async fn stop(&self, name: &str) -> Result<(), RestError> {
        self.turn(name, "stopped").await
    }

    async fn resume(&self, name: &str) -> Result<(), RestError> {
        self.turn(name, "running").await
    }

    /// Strimzi does that by itself (`autoRestart`), ever more rarely.
    async fn restart(&self, _: &str, _: bool) -> Result<(), RestError> {
        Err(RestError::not_yet("Strimzi starts what failed again by itself"))
    }

    async fn positions(&self, name: &str) -> Result<Listed, RestError> {
        let (is_awaited, is_due, last) = self.listing(name, |listing| {
            let is_due = listing.asked.is_none_or(|at| at.elapsed() >= LISTED);
            (listing.awaited.is_some(), is_due, listing.last.clone())
        });
        let before = |last: Option<(Moment, Positions)>| last.map(|(_, positions)| Listed { positions, is_new: false });
        if !is_awaited && !is_due {
            return before(last).ok_or_else(not_yet_listed);
        }
        match self.list_anew(name, &self.get(name).await?).await? {
            Some(positions) => Ok(Listed { positions, is_new: true }),
            None => before(last).ok_or_else(not_yet_listed),
        }
    }

    async fn begun(&self, name: &str) -> Result<Positions, RestError> {
        let resource = self.get(name).await?;
        // What was listed before it stood still, or of one that was deleted, says nothing of how far it came.
        let last = self.listing(name, |listing| listing.last.clone());
        match last.filter(|(of, _)| *of == moment(&resource)) {
            Some((_, positions)) => Ok(positions),
            None => self.list_anew(name, &resource).await?.ok_or_else(not_yet_listed),
        }
    }

    async fn set_positions(&self, name: &str, alias: &str, positions: &Positions) -> Result<(), RestError> {
        let resource = self.get(name).await?;
        let asked = resource.annotations().get(ASKED);
        // Ends move on while Strimzi is at it: what was asked first counts, if it was about the same partitions.
        let partitions = positions.keys().map(|(topic, partition)| format!("{topic}-{partition}"));
        let hash = Sha256::digest(partitions.collect::<Vec<_>>().join(","));
        let wanted = hex::encode(&hash[..16]);
        let is_asked = asked == Some(&wanted);
        match resource.annotations().get(OFFSETS).map(String::as_str) {
            None if is_asked => return Ok(()),
            Some("alter") if is_asked => {
                let why = strimzi::warning(&json!(resource)).map(|why| format!(": {why}")).unwrap_or_default();
                return Err(RestError::not_yet(format!("Strimzi has yet to set where it begins{why}")));
            }
            _ => {}
        }
        let map: ConfigMap = serde_json::from_value(json!({
            "metadata": {
                "name": Maps::of(&resource_name(name)).first,
                "labels": labels(&self.workers),
                "ownerReferences": [resource.owner_ref(&kind())],
            },
            "data": {key_of(&resource): json!(Offsets::of(alias, positions)).to_string()},
        }))
        .map_err(|e| failure(&e))?;
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let name = map.name_any();
        self.config_maps().patch(&name, &params, &Patch::Apply(&map)).await.map_err(|e| self.refused(e))?;
        self.order(&resource, "alter", Some(&wanted)).await?;
        Err(RestError::not_yet("Strimzi has yet to set where it begins"))
    }

    /// Its positions are in topics of its own, which go with the share, and in ConfigMaps that Kubernetes removes after it.
    async fn remove(&self, connector: &str, _: &BTreeMap<String, String>) -> Result<(), RestError> {
        let name = resource_name(connector);
        let found = self.resources().get_metadata_opt(&name).await.map_err(|e| self.refused(e))?;
        if found.is_some_and(|resource| resource.metadata.deletion_timestamp.is_some()) {
            return Err(RestError::not_yet("Kubernetes is removing it"));
        }
        let gone = self.resources().delete(&name, &DeleteParams::foreground()).await;
        self.listings.lock().unwrap_or_else(PoisonError::into_inner).remove(connector);
        gone_is_fine(gone.map(drop)).map_err(|e| self.refused(e))
    }
}
