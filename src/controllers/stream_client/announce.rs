//! What is put on record of a client.

use kube::ResourceExt;

use super::Report;
use crate::api::{self, StreamClient};
use crate::controllers::context::Context;
use crate::controllers::refusals;
use crate::domain::approval::requesters;
use crate::domain::event::Happening;
use crate::domain::names::ObjectKey;
use crate::k8s::objects::object_ref;

/// One SecurityEvent for each version that came into the Secret, and for each refusal.
pub async fn announce(client: &StreamClient, key: &ObjectKey, report: &Report, context: &Context) {
    let before = client.status.as_ref().and_then(|s| s.principal.clone());
    let current = report.record.as_ref().and_then(|r| r.current());
    let happening = |action, reason: &str, message: &str| {
        Happening::new(action, object_ref("StreamClient", key, client.uid()), reason, message)
            .on(&client.spec.cluster_ref.name)
            .asked_by(requesters(client))
    };
    if let Some(current) = current.filter(|c| Some(&c.principal) != before.as_ref()) {
        let (action, reason) = match before {
            None => (api::Action::CredentialIssued, "Issued"),
            Some(_) => (api::Action::CredentialRotated, "Rotated"),
        };
        let message = format!("Secret {} has version {}", report.secret_name, current.version);
        context.events.note(client, false, reason, &message).await;
        let issued = happening(action, reason, &message).of(vec![current.principal.clone()]);
        context.record(issued, &current.principal).await;
    }
    let conditions = client.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    refusals::announce(context, client, &report.problems, conditions, happening).await;
}
