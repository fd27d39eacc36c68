//! NetworkPolicies before brokers.

use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};

use super::objects::{FIELD_MANAGER, gone_is_fine};
use crate::api::{MANAGED_BY, MANAGED_BY_LABEL};
use crate::domain::names::ObjectKey;

/// Makes one as it should be.
///
/// # Errors
/// As the API server says; one of that name is somebody else's.
pub async fn apply(client: &Client, policy: &NetworkPolicy) -> Result<(), kube::Error> {
    let api = of(client, &policy.namespace().unwrap_or_default());
    let (name, params) = (policy.name_any(), PatchParams::apply(FIELD_MANAGER).force());
    let before = api.get_metadata_opt(&name).await?;
    if before.is_some_and(|b| b.labels().get(MANAGED_BY_LABEL).is_none_or(|by| by != MANAGED_BY)) {
        let why = format!("NetworkPolicy {name} is not Weir's: delete it, and Weir makes its own");
        return Err(kube::Error::Service(why.into()));
    }
    api.patch(&name, &params, &Patch::Apply(policy)).await.map(drop)
}

/// Removes one.
///
/// # Errors
/// As the API server says; what is gone is no error.
pub async fn remove(client: &Client, policy: &ObjectKey) -> Result<(), kube::Error> {
    gone_is_fine(of(client, &policy.namespace).delete(&policy.name, &DeleteParams::default()).await.map(drop))
}

fn of(client: &Client, namespace: &str) -> Api<NetworkPolicy> {
    Api::namespaced(client.clone(), namespace)
}
