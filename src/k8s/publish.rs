//! Reads and writes of what Weir owns in consumers' namespaces.

use kube::api::{DeleteParams, ObjectMeta, PostParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use tracing::info;

use super::events::is_terminating;
use crate::domain::names::ObjectKey;
use crate::domain::publication::{Publication, Write, updated, write};

/// Why an object of Weir's in a consumer's namespace could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The namespace did not bind the ClusterRole `weir-credentials`.
    #[error("namespace {0} did not enrol")]
    NotEnrolled(String),
    /// There is one of that name which is not Weir's for this owner.
    #[error("{0} exists and is not this object's")]
    NameTaken(String),
    /// It cannot be written now, for a reason that whoever has the namespace can mend.
    #[error("{0}")]
    Refused(String),
    /// Anything else.
    #[error(transparent)]
    Kube(#[from] kube::Error),
}

/// An object in a consumer's namespace, if it is there.
///
/// # Errors
/// `NotEnrolled` where Weir may not read it.
pub async fn read<K: Publication>(client: &Client, key: &ObjectKey) -> Result<Option<K>, PublishError> {
    let api: Api<K> = Api::namespaced(client.clone(), &key.namespace);
    api.get_opt(&key.name).await.map_err(|e| publish_error(e, &key.namespace))
}

/// Writes `wanted` if what [`read`] found differs. One that its owner does not control is never touched. Returns the metadata of
/// what is there then.
///
/// # Errors
/// See [`PublishError`].
pub async fn publish<K: Publication>(
    client: &Client,
    existing: Option<K>,
    mut wanted: K,
) -> Result<ObjectMeta, PublishError> {
    let (namespace, name) = (wanted.namespace().unwrap_or_default(), wanted.name_any());
    let api: Api<K> = Api::namespaced(client.clone(), &namespace);
    let params = PostParams::default();
    let todo = write(existing.as_ref(), &wanted);
    let before = existing.map(|e| e.meta().clone()).unwrap_or_default();
    let object = format!("{} {namespace}/{name}", K::kind(&()));
    let result = match todo {
        Write::Nothing => return Ok(before),
        Write::Taken => return Err(PublishError::NameTaken(object)),
        Write::Leaving => {
            let why = "is being deleted, and a finalizer that is not Weir's keeps it: remove that";
            return Err(PublishError::Refused(format!("{object} {why}")));
        }
        Write::Create => api.create(&params, &wanted).await,
        Write::Replace => {
            *wanted.meta_mut() = updated(&before, wanted.meta());
            api.replace(&name, &params, &wanted).await
        }
        Write::Recreate => {
            let only = Preconditions { resource_version: before.resource_version, uid: before.uid };
            let removed = api.delete(&name, &DeleteParams::default().preconditions(only)).await;
            removed.map_err(|e| publish_error(e, &namespace))?;
            api.create(&params, &wanted).await
        }
    };
    if todo != Write::Create {
        info!(object, "renewed or put right");
    }
    result.map(|written| written.meta().clone()).map_err(|e| publish_error(e, &namespace))
}

fn publish_error(error: kube::Error, namespace: &str) -> PublishError {
    match error {
        error if is_terminating(&error) => PublishError::Kube(error),
        kube::Error::Api(status) if status.code == 403 && is_by_rbac(&status.message) => {
            PublishError::NotEnrolled(namespace.into())
        }
        kube::Error::Api(status) if status.code == 403 => PublishError::Refused(status.message),
        other => PublishError::Kube(other),
    }
}

/// Whether a refusal is for want of rights, and not by a quota or an admission policy: the API server says who cannot do what.
fn is_by_rbac(message: &str) -> bool {
    message.contains(" cannot ") && message.contains(" resource ")
}

#[cfg(test)]
mod tests {
    use super::is_by_rbac;

    #[test]
    fn a_quota_is_no_want_of_enrolment() {
        let forbidden = "secrets \"app\" is forbidden: User \"system:serviceaccount:weir-system:weir\" cannot get resource \
                         \"secrets\" in API group \"\" in the namespace \"fraud\"";
        assert!(is_by_rbac(forbidden));
        let quota = "secrets \"app\" is forbidden: exceeded quota: few, requested: count/secrets=1, used: count/secrets=9, \
                     limited: count/secrets=9";
        assert!(!is_by_rbac(quota));
    }
}
