//! Kubernetes Events and SecurityEvents.

use kube::api::{ObjectMeta, PostParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client, Resource};
use sha2::{Digest, Sha256};
use tracing::warn;

use crate::api::{SecurityEvent, SecurityEventSpec};

/// Writes both kinds of events. Failing to write one is logged, and stops nothing.
#[derive(Clone)]
pub struct Events {
    client: Client,
    recorder: Recorder,
    /// Where events about objects without a namespace go.
    own_namespace: String,
}

impl Events {
    /// Events of the instance `instance` running in `own_namespace`.
    pub fn new(client: Client, own_namespace: &str, instance: &str) -> Self {
        let reporter = Reporter { controller: "weir".into(), instance: Some(instance.into()) };
        Self { recorder: Recorder::new(client.clone(), reporter), client, own_namespace: own_namespace.into() }
    }

    /// Tells `kubectl describe` of it.
    pub async fn note<K: Resource<DynamicType = ()>>(&self, object: &K, warning: bool, reason: &str, message: &str) {
        let event = Event {
            type_: if warning { EventType::Warning } else { EventType::Normal },
            reason: reason.into(),
            note: Some(message.chars().take(1000).collect()),
            action: reason.into(),
            secondary: None,
        };
        match self.recorder.publish(&event, &object.object_ref(&())).await {
            Ok(()) => {}
            Err(error) if is_terminating(&error) => {}
            Err(error) => warn!(%error, "failed to write an Event"),
        }
    }

    /// Records a SecurityEvent in the namespace of its object. `key` says which happening it is: the same one is written once,
    /// also after a crash.
    pub async fn record(&self, spec: SecurityEventSpec, key: &str) {
        let namespace = spec.object.namespace.clone().unwrap_or_else(|| self.own_namespace.clone());
        let object = format!("{}.{}", spec.object.kind, spec.object.name).to_lowercase();
        let mut hash = Sha256::new();
        hash.update(format!("{:?}/{:?}/{key}", spec.action, spec.object));
        let name = format!("{}.{}", object.chars().take(200).collect::<String>(), hex::encode(&hash.finalize()[..8]));
        let metadata = ObjectMeta { name: Some(name), namespace: Some(namespace.clone()), ..ObjectMeta::default() };
        let api: Api<SecurityEvent> = Api::namespaced(self.client.clone(), &namespace);
        match api.create(&PostParams::default(), &SecurityEvent { metadata, spec }).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) if is_terminating(&error) => {}
            Err(error) => warn!(%error, "failed to write a SecurityEvent"),
        }
    }
}

/// A namespace that is going takes no new objects.
pub(super) fn is_terminating(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403 && status.message.contains("being terminated"))
}
