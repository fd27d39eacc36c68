//! Kubernetes Events and SecurityEvents.

use std::collections::{BTreeMap, BTreeSet};

use kube::api::{DeleteParams, ListParams, ObjectMeta};
use kube::runtime::events::{Event as Note, EventType, Recorder, Reporter};
use kube::{Api, Client, Resource};
use sha2::{Digest, Sha256};
use tracing::warn;

use super::objects::as_weir;
use crate::api::{SecurityEvent, SecurityEventSpec, UNRECORDED_LABEL};
use crate::domain::event::{in_short, labels};

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

    /// Where events about objects without a namespace go.
    pub fn own_namespace(&self) -> &str {
        &self.own_namespace
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
    /// The API server refused one, or did not answer; the others are made all the same.
    pub async fn show(&self, event: &SecurityEventSpec) -> Result<(), kube::Error> {
        let mut outcome = Ok(());
        for namespace in self.namespaces(event) {
            outcome = outcome.and(self.create(&namespace, name_of(event), event, labels(event)).await.map(drop));
        }
        outcome
    }

    /// Keeps an event until the audit topic has it: a SecurityEvent that says so, in Weir's namespace and in each that it concerns.
    ///
    /// # Errors
    /// The API server did not take the one in Weir's namespace, which outlives all others.
    pub async fn keep(&self, event: &SecurityEventSpec) -> Result<(), kube::Error> {
        let mut labels = labels(event);
        labels.insert(UNRECORDED_LABEL.to_owned(), "true".to_owned());
        let name = format!("{}{UNRECORDED}", name_of(event));
        match self.create(&self.own_namespace, name.clone(), event, labels.clone()).await? {
            Made::There => {}
            Made::NoNamespace(error) => return Err(error),
        }
        for namespace in self.namespaces(event) {
            if let Err(error) = self.create(&namespace, name.clone(), event, labels.clone()).await {
                warn!(%error, namespace, uid = event.uid, "failed to show an event that is not on record yet");
            }
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
    /// The API server refused, or did not answer; where it is kept in Weir's namespace is left for last.
    pub async fn release(&self, event: &SecurityEventSpec) -> Result<(), kube::Error> {
        let mut outcome = self.show(event).await;
        let name = format!("{}{UNRECORDED}", name_of(event));
        let others = self.namespaces(event).into_iter().filter(|ns| *ns != self.own_namespace);
        for namespace in others.chain([self.own_namespace.clone()]) {
            let api: Api<SecurityEvent> = Api::namespaced(self.client.clone(), &namespace);
            match api.delete(&name, &DeleteParams::default()).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        outcome
    }

    async fn create(
        &self,
        namespace: &str,
        name: String,
        spec: &SecurityEventSpec,
        labels: BTreeMap<String, String>,
    ) -> Result<Made, kube::Error> {
        let metadata = ObjectMeta {
            name: Some(name),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels),
            ..ObjectMeta::default()
        };
        let api: Api<SecurityEvent> = Api::namespaced(self.client.clone(), namespace);
        match api.create(&as_weir(), &SecurityEvent { metadata, spec: in_short(spec) }).await {
            Ok(_) => Ok(Made::There),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Made::There),
            Err(error @ kube::Error::Api(_)) if is_gone(&error) => Ok(Made::NoNamespace(error)),
            Err(error) => Err(error),
        }
    }
}

/// What came of making a SecurityEvent.
enum Made {
    /// It is there.
    There,
    /// Its namespace is gone, or going.
    NoNamespace(kube::Error),
}

fn is_gone(error: &kube::Error) -> bool {
    is_terminating(error) || matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// What the name of a SecurityEvent ends in until the audit topic has it.
const UNRECORDED: &str = ".unrecorded";

/// The same happening has the same name.
fn name_of(spec: &SecurityEventSpec) -> String {
    // Labels of a DNS name begin and end with what is no hyphen; names of Kafka's resources hold anything.
    let label = |text: &str| {
        let fit = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        let label: String = text.chars().map(fit).take(100).collect();
        label.trim_matches('-').to_owned()
    };
    let (kind, name) = (label(&spec.object.kind), label(&spec.object.name));
    let parts = [kind, name, hex::encode(&Sha256::digest(&spec.uid)[..8])];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".")
}

/// A namespace that is going takes no new objects.
pub(super) fn is_terminating(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403 && status.message.contains("being terminated"))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::name_of;
    use crate::api::{Action, ObjectRef};
    use crate::domain::event::{Happening, event, labels};

    #[test]
    fn whatever_a_resource_is_called_its_events_have_valid_names_and_labels() {
        for name in ["orders.placed", "a..b", "-a-", "...", "", "Ünïcode\u{202e}", "a_b", &"x".repeat(500), "--x.-"] {
            let object = ObjectRef { kind: "Topic".into(), namespace: None, name: name.to_owned(), uid: None };
            let spec = event(Happening::new(Action::AccessDenied, object, "r", "m"), "k", Timestamp::UNIX_EPOCH);
            let made = name_of(&spec);
            assert!(made.len() <= 253, "{made}");
            for label in made.split('.') {
                let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
                assert!(!label.is_empty() && label.chars().all(inner), "{made}");
                assert!(!label.starts_with('-') && !label.ends_with('-'), "{made}");
            }
            for value in labels(&spec).values() {
                let ends = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
                assert!(value.len() <= 63 && ends(value.chars().next()) && ends(value.chars().next_back()), "{value}");
            }
        }
    }
}
