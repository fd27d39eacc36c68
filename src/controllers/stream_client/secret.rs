//! A client's Secret: what is in it, and how it comes to be as it should.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret as KubeSecret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;

use super::Report;
use crate::api::{CredentialType, Reason, StreamClient};
use crate::controllers::context::Context;
use crate::controllers::reconcile::ReconcileError;
use crate::domain::connection::{Issued, MOUNT_ROOT, Version, authentication_of, listener, secret_data};
use crate::domain::foreign_edit::Owner;
use crate::domain::ledger::VersionRecord;
use crate::domain::names::ObjectKey;
use crate::domain::problem::Problem;
use crate::domain::publication::{self, is_owned};
use crate::domain::secret::Secret;
use crate::k8s::publish::PublishError;
use crate::pki::belongs;

/// The client's Secret, if it is there.
///
/// # Errors
/// See [`PublishError`].
pub async fn read(
    context: &Context,
    client: &StreamClient,
    place: &ObjectKey,
) -> Result<Option<KubeSecret>, PublishError> {
    let key = context.world.index().key_of(client);
    let found = context.publisher.read::<KubeSecret>(place, Owner::Client(key)).await?;
    match found {
        Some(secret) if !is_owned(&secret, &owner(client)) => Err(PublishError::NameTaken(format!("Secret {place}"))),
        found => Ok(found),
    }
}

/// Makes the Secret what it should be for this version of the credential; writes nothing where it is that. Returns whether it is
/// so: not where the cluster has no listener for it any more.
///
/// # Errors
/// See [`PublishError`].
pub async fn publish(
    context: &Context,
    client: &StreamClient,
    place: &ObjectKey,
    existing: Option<KubeSecret>,
    record: &VersionRecord,
    issued: &Issued,
) -> Result<bool, PublishError> {
    let cluster = &client.spec.cluster_ref.name;
    let credentials = &client.spec.credentials;
    let ca_pem = context.ca_pem(cluster);
    let data = {
        let index = context.world.index();
        let spec = index.cluster_spec(cluster);
        let Some(listener) = spec.and_then(|s| listener(s, authentication_of(credentials.type_))) else {
            return Ok(false);
        };
        let directory = format!("{MOUNT_ROOT}/{}", place.name);
        secret_data(listener, ca_pem.as_deref(), &Version::of(&directory, record, issued, credentials))
    };
    context.publisher.publish(existing, publication::secret(place, &owner(client), &data)).await?;
    Ok(true)
}

/// The credential in a Secret; a certificate without its key is none.
pub fn credential_in(secret: &KubeSecret, kind: CredentialType) -> Option<Issued> {
    let data = secret.data.as_ref()?;
    let text = |key: &str| data.get(key).and_then(|value| std::str::from_utf8(&value.0).ok());
    match kind {
        CredentialType::ScramSha512 => Some(Issued::Password(Secret::new(text("password")?))),
        CredentialType::Mtls => {
            let (certificate, key) = (text("tls.crt")?, Secret::new(text("tls.key")?));
            belongs(certificate, &key)
                .then(|| Issued::Certificate { certificate_pem: certificate.to_owned(), key_pem: key })
        }
    }
}

/// Every object that the API server gave has a name and a UID, and so an owner reference.
fn owner(client: &StreamClient) -> OwnerReference {
    client.controller_owner_ref(&()).unwrap_or_default()
}

/// Why the Secret could not be read or written, as a problem.
pub fn unpublished(
    mut report: Report,
    error: PublishError,
    context: &Context,
    key: &ObjectKey,
) -> Result<Report, ReconcileError> {
    let secret = format!("Secret {}", report.secret_name);
    report.problems.push(match error {
        PublishError::NotEnrolled(_) => {
            report.wake = Some(Timestamp::now() + jiff::SignedDuration::from_secs(15));
            Problem::invalid(Reason::NamespaceNotEnrolled, context.enrolment_advice(&key.namespace, &secret))
        }
        PublishError::NameTaken(what) => {
            report.wake = Some(Timestamp::now() + jiff::SignedDuration::from_secs(15));
            Problem::invalid(
                Reason::NameTaken,
                format!("{what} exists and is not this StreamClient's: delete it, or set credentials.secretName"),
            )
        }
        PublishError::Refused(why) => {
            report.wake = Some(Timestamp::now() + jiff::SignedDuration::from_secs(15));
            Problem::waiting(Reason::NotWritten, why)
        }
        PublishError::Kube(error) => return Err(error.into()),
    });
    Ok(report)
}
