//! Kubernetes Events and SecurityEvents.

use std::collections::{BTreeMap, BTreeSet};

use kube::api::{DeleteParams, ListParams, ObjectMeta};
use kube::runtime::events::{Event as Note, EventType, Recorder, Reporter};
use kube::{Api, Client, Resource};
use sha2::{Digest, Sha256};
use tracing::warn;

use super::objects::as_weir;
use crate::api::{SecurityEvent, SecurityEventSpec, UNRECORDED_LABEL};
use crate::domain::event::labels;

/// Writes both kinds of events.
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

    /// Tells `kubectl describe` of it. Failing to is logged, and stops nothing.
    pub async fn note<K: Resource<DynamicType = ()>>(&self, object: &K, warning: bool, reason: &str, message: &str) {
        let event = Note {
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

    /// The namespaces that an event stands in.
    pub fn namespaces(&self, event: &SecurityEventSpec) -> BTreeSet<String> {
        let own = event.object.namespace.clone().unwrap_or_else(|| self.own_namespace.clone());
        event.concerns.iter().cloned().chain([own]).collect()
    }

    /// Makes the SecurityEvents of an event, in each namespace that it concerns. One that is there already is passed over, and so is
    /// a namespace that is gone, or going.
    ///
    /// # Errors
    /// The API server refused one, or did not answer.
    pub async fn show(&self, event: &SecurityEventSpec) -> Result<(), kube::Error> {
        for namespace in self.namespaces(event) {
            self.create(&namespace, name_of(event), event, labels(event)).await?;
        }
        Ok(())
    }

    /// Keeps an event until the audit topic has it: a SecurityEvent that says so.
    ///
    /// # Errors
    /// The API server refused it, or did not answer.
    pub async fn keep(&self, event: &SecurityEventSpec) -> Result<(), kube::Error> {
        let mut labels = labels(event);
        labels.insert(UNRECORDED_LABEL.to_owned(), "true".to_owned());
        for namespace in self.namespaces(event) {
            let name = format!("{}{UNRECORDED}", name_of(event));
            self.create(&namespace, name, event, labels.clone()).await?;
        }
        Ok(())
    }

    /// The events that are kept until the audit topic has them, oldest first.
    ///
    /// # Errors
    /// The API server refused, or did not answer.
    pub async fn kept(&self) -> Result<Vec<SecurityEventSpec>, kube::Error> {
        let all: Api<SecurityEvent> = Api::all(self.client.clone());
        let found = all.list(&ListParams::default().labels(UNRECORDED_LABEL)).await?;
        // Each has a copy in every namespace that it concerns.
        let by_uid: BTreeMap<_, _> = found.into_iter().map(|object| (object.spec.uid.clone(), object.spec)).collect();
        let mut events: Vec<_> = by_uid.into_values().collect();
        events.sort_by(|a, b| (a.time.0, &a.uid).cmp(&(b.time.0, &b.uid)));
        Ok(events)
    }

    /// Shows an event that was kept, now that the audit topic has it.
    ///
    /// # Errors
    /// The API server refused, or did not answer.
    pub async fn release(&self, event: &SecurityEventSpec) -> Result<(), kube::Error> {
        self.show(event).await?;
        for namespace in self.namespaces(event) {
            let api: Api<SecurityEvent> = Api::namespaced(self.client.clone(), &namespace);
            let name = format!("{}{UNRECORDED}", name_of(event));
            match api.delete(&name, &DeleteParams::default()).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn create(
        &self,
        namespace: &str,
        name: String,
        spec: &SecurityEventSpec,
        labels: BTreeMap<String, String>,
    ) -> Result<(), kube::Error> {
        let metadata = ObjectMeta {
            name: Some(name),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels),
            ..ObjectMeta::default()
        };
        let api: Api<SecurityEvent> = Api::namespaced(self.client.clone(), namespace);
        match api.create(&as_weir(), &SecurityEvent { metadata, spec: spec.clone() }).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 => Ok(()),
            Err(error) if is_terminating(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// What the name of a SecurityEvent ends in until the audit topic has it.
const UNRECORDED: &str = ".unrecorded";

/// The same happening has the same name.
fn name_of(spec: &SecurityEventSpec) -> String {
    let object = format!("{}.{}", spec.object.kind, spec.object.name).to_lowercase();
    // A name holds what DNS does; those of Kafka's resources hold more.
    let fit = |c: char| if c.is_ascii_alphanumeric() || c == '.' || c == '-' { c } else { '-' };
    let object: String = object.chars().map(fit).take(200).collect();
    format!("{}.{}", object.trim_matches(['.', '-']), hex::encode(&Sha256::digest(&spec.uid)[..8]))
}

/// A namespace that is going takes no new objects.
pub(super) fn is_terminating(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403 && status.message.contains("being terminated"))
}
