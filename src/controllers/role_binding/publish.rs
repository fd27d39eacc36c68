//! The ConfigMap `weir-<binding>`: where a binding's subjects connect, and under which names. It holds no secret.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Resource, ResourceExt};

use crate::api::{ListenerAuthentication, Reason, RoleBinding, SubjectKind};
use crate::controllers::context::Context;
use crate::controllers::reconcile::ReconcileError;
use crate::domain::binding::Resolution;
use crate::domain::connection::{BindingConnection, config_map_data, listener};
use crate::domain::foreign_edit::Owner;
use crate::domain::names::ObjectKey;
use crate::domain::publication;
use crate::k8s::publish::PublishError;

/// What became of the ConfigMap.
pub enum Published {
    /// There is nothing to publish.
    Nothing,
    /// It is there under this name.
    Done(String),
    /// It is not.
    Failed(Reason, String),
}

impl Published {
    /// The condition `ConnectionPublished`.
    pub fn condition(self) -> Option<(bool, Reason, String)> {
        match self {
            Self::Nothing => None,
            Self::Done(name) => Some((true, Reason::Ready, format!("ConfigMap {name} says where to connect"))),
            Self::Failed(reason, message) => Some((false, reason, message)),
        }
    }
}

/// Writes the ConfigMap if it is missing or differs.
///
/// # Errors
/// The API server did not answer.
pub async fn config_map(
    context: &Context,
    binding: &RoleBinding,
    resolution: &Resolution,
) -> Result<Published, ReconcileError> {
    let Some(data) = data(context, binding, resolution) else { return Ok(Published::Nothing) };
    let name = format!("weir-{}", binding.name_any());
    let namespace = binding.namespace().unwrap_or_default();
    let Some(owner) = binding.controller_owner_ref(&()) else { return Ok(Published::Nothing) };
    let key = ObjectKey::new(&namespace, &name);
    let publisher = &context.publisher;
    let of = Owner::Binding(context.world.index().key_of(binding));
    let written = match publisher.read::<ConfigMap>(&key, of).await {
        Ok(existing) => publisher.publish(existing, publication::config_map(&key, &owner, data)).await,
        Err(error) => Err(error),
    };
    match written {
        Ok(()) => Ok(Published::Done(name)),
        Err(PublishError::NotEnrolled(_)) => Ok(Published::Failed(
            Reason::NamespaceNotEnrolled,
            context.enrolment_advice(&namespace, &format!("ConfigMap {name}")),
        )),
        Err(PublishError::NameTaken(what)) => {
            Ok(Published::Failed(Reason::NameTaken, format!("{what} exists and is not Weir's: rename or delete it")))
        }
        Err(PublishError::Refused(why)) => Ok(Published::Failed(Reason::NotWritten, why)),
        Err(PublishError::Kube(error)) => Err(error.into()),
    }
}

fn data(
    context: &Context,
    binding: &RoleBinding,
    resolution: &Resolution,
) -> Option<std::collections::BTreeMap<String, String>> {
    let cluster = resolution.grants.iter().map(|grant| &grant.key.cluster).min()?;
    let ca_pem = context.ca_pem(cluster);
    let index = context.world.index();
    let spec = index.cluster_spec(cluster)?;
    let tokens = binding.spec.subjects.iter().any(|s| s.kind == SubjectKind::ServiceAccount);
    let oauth = listener(spec, ListenerAuthentication::OauthBearer).zip(spec.identity.oauth.as_ref());
    let topics: BTreeSet<_> = resolution.topics.iter().map(String::as_str).collect();
    Some(config_map_data(&BindingConnection {
        topics: topics.into_iter().collect(),
        prefixes: resolution.prefixes.iter().map(String::as_str).collect(),
        oauth: oauth.filter(|_| tokens).map(|(l, o)| (l, o.audience.as_str())),
        ca_pem: ca_pem.as_deref(),
    }))
}
