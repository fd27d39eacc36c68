//! StreamClient: has its credentials issued, puts them into its Secret, and reports.

mod status;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret as KubeSecret;
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt};

use super::applier::{Link, Order, fingerprint};
use super::context::Context;
use super::patience;
use super::reconcile::{PERIODICALLY, ReconcileError};
use crate::api::{self, Reason, StreamClient};
use crate::domain::conditions::whole_seconds;
use crate::domain::connection::{Issued, Version, authentication_of, listener, secret_data};
use crate::domain::event::Happening;
use crate::domain::ledger::ClientRecord;
use crate::domain::names::{ObjectKey, PrincipalKey};
use crate::domain::problem::Problem;
use crate::domain::rotation::{IssueReason, MOST_VERSIONS, ROTATE, Situation, Step, WINDOW, decide, due, not_renewed};
use crate::domain::secret::Secret;
use crate::k8s::objects::{
    PublishError, add_finalizer, has_finalizer, is_owned, object_ref, publish_secret, read_secret, remove_finalizer,
    write_status,
};
use crate::pki::belongs;

/// What a reconciliation found and did.
struct Report {
    problems: Vec<Problem>,
    record: Option<ClientRecord>,
    secret_name: String,
    wake: Option<Timestamp>,
    /// When the present certificate ends, where it should be renewed and its authority lasts no longer.
    last_certificate: Option<Timestamp>,
}

/// Reconciles one client.
///
/// # Errors
/// The API server refused or did not answer.
pub async fn reconcile(client: Arc<StreamClient>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let key = context.world.index().key_of(client.as_ref());
    if client.metadata.deletion_timestamp.is_some() {
        return finish(&client, &key, &context).await;
    }
    if !has_finalizer(client.as_ref()) {
        add_finalizer(&context.client, client.as_ref()).await?;
        return Ok(Action::await_change());
    }
    let current = client.status.as_ref().is_some_and(|s| s.observed_generation == client.metadata.generation);
    if (current && !context.is_settled(&client.spec.cluster_ref.name)) || context.is_leaving(client.namespace()) {
        return Ok(Action::requeue(PERIODICALLY));
    }
    let report = advance(&client, &key, &context).await?;
    let now = Timestamp::now();
    let far = status::far(&report);
    if context.patience.waits(client.metadata.uid.as_deref(), &far) {
        return Ok(Action::requeue(patience::LIMIT));
    }
    let after = status::status(&client, &report, &far, now);
    if client.status.as_ref() != Some(&after) {
        announce(&client, &key, &report, &context).await;
        write_status(&context.client, client.as_ref(), &after).await?;
    }
    let wait = report.wake.map(|at| at.duration_since(now)).and_then(|d| std::time::Duration::try_from(d).ok());
    Ok(Action::requeue(wait.unwrap_or(PERIODICALLY).min(PERIODICALLY)))
}

/// Takes the next step in the life of its credentials.
async fn advance(client: &StreamClient, key: &ObjectKey, context: &Context) -> Result<Report, ReconcileError> {
    let uid = client.uid().unwrap_or_default();
    let cluster = &client.spec.cluster_ref.name;
    let secret_name = client.spec.credentials.secret_name.clone().unwrap_or_else(|| key.name.clone());
    let record = context.world.index().client_record(&uid).cloned();
    let mut report =
        Report { problems: Vec::new(), record, secret_name: secret_name.clone(), wake: None, last_certificate: None };
    let handle = match admitted(client, key, context) {
        Ok(handle) => handle,
        Err(problem) => {
            report.problems.push(problem);
            return Ok(report);
        }
    };
    let secret = match read_secret(&context.client, &key.namespace, &secret_name).await {
        Ok(secret) => secret,
        Err(error) => return unpublished(report, error, context, key),
    };
    let Some(owner) = client.controller_owner_ref(&()) else { return Ok(report) };
    if secret.as_ref().is_some_and(|s| !is_owned(s, &owner)) {
        let taken = PublishError::NameTaken(format!("Secret {key_ns}/{secret_name}", key_ns = key.namespace));
        return unpublished(report, taken, context, key);
    }
    let held = handle.state().credentials.get(&uid).cloned();
    let issuing = report.record.as_ref().and_then(|r| r.issuing()).map(|v| v.version);
    let in_secret = secret.as_ref().and_then(fingerprint_in);
    let authority = handle.state().authority.clone().and_then(Result::ok);
    let step = decide(&Situation {
        record: report.record.as_ref(),
        in_secret: in_secret.as_deref(),
        in_memory: held.as_ref().is_some_and(|(version, _)| Some(*version) == issuing),
        on_brokers: report.record.as_ref().is_some_and(|r| on_brokers(context, cluster, r)),
        credentials: &client.spec.credentials,
        rotate: client.annotations().get(ROTATE).map(String::as_str),
        authority,
        running_since: context.running_since,
        now: Timestamp::now(),
    });
    if let Some(current) = report.record.as_ref().and_then(|r| r.current())
        && in_secret.as_ref() == Some(&current.fingerprint)
        && handle.state().lost_identities.contains(&current.principal)
        && let Some(password) = secret.as_ref().and_then(password_in)
    {
        handle.order(Order::Restore(current.principal.clone(), password));
    }
    let problem = handle.state().client_problems.get(&uid).cloned();
    match step {
        Step::Issue(reason) => {
            let last = report.record.as_ref().map_or(0, |r| r.last_version);
            handle.order(Order::Issue(key.clone(), last));
            // After a failure the next try waits; without one, the record that comes wakes this client at once.
            report.wake = problem.is_some().then(|| Timestamp::now() + jiff::SignedDuration::from_secs(5));
            let rotating = report.record.as_ref().is_some_and(|r| r.current().is_some());
            if !rotating || reason == IssueReason::SecretLost {
                report.problems.push(Problem::waiting(Reason::Applying, "a credential is being issued"));
            }
        }
        Step::AwaitBrokers if report.record.as_ref().is_none_or(|r| r.current().is_none()) => {
            report.problems.push(Problem::waiting(Reason::Applying, "the credential is on its way to every broker"));
        }
        Step::AwaitBrokers => {}
        Step::Publish => {
            if let Some((_, issued)) = held {
                let published = publish(client, context, &report, &issued, &owner).await;
                if let Err(error) = published {
                    return unpublished(report, error, context, key);
                }
                handle.order(Order::Published(key.clone(), issuing.unwrap_or_default()));
            }
            report.problems.push(Problem::waiting(Reason::Applying, "the Secret is written"));
        }
        Step::MarkPublished => {
            handle.order(Order::Published(key.clone(), issuing.unwrap_or_default()));
            report.problems.push(Problem::waiting(Reason::Applying, "the Secret is written"));
        }
        Step::AwaitTurn(at) => {
            report.wake = Some(at);
            report.problems.push(too_many(at));
        }
        Step::Rest(next) => {
            let now = Timestamp::now();
            let spec = &client.spec.credentials;
            report.last_certificate = report.record.as_ref().and_then(|r| not_renewed(r, spec, authority, now));
            // It is looked at again when it ends: it works until then.
            let end = report.last_certificate;
            report.wake = next.into_iter().chain(end.filter(|at| *at > now)).min();
            if let Some(at) = end.filter(|at| *at <= now) {
                report.problems.push(Problem::waiting(
                    Reason::SignerExpiring,
                    format!("the certificate ended at {at} with its authority: ask the platform team to renew that of StreamCluster {cluster}"),
                ));
            }
        }
    }
    report.problems.extend(problem);
    Ok(report)
}

fn too_many(at: Timestamp) -> Problem {
    let minutes = WINDOW.as_mins();
    Problem::waiting(
        Reason::TooManyVersions,
        format!(
            "{MOST_VERSIONS} versions were issued within {minutes} minutes: the next one comes at {at}; find out who deletes \
             or edits the Secret",
            at = whole_seconds(at)
        ),
    )
}

/// The applier of the client's cluster, if the client may be known there.
fn admitted(
    client: &StreamClient,
    key: &ObjectKey,
    context: &Context,
) -> Result<Arc<super::applier::ClusterHandle>, Problem> {
    let cluster = &client.spec.cluster_ref.name;
    let handle = context.world.handle(cluster);
    let index = context.world.index();
    let Some(spec) = index.cluster_spec(cluster) else {
        return Err(Problem::waiting(Reason::ClusterNotFound, format!("StreamCluster {cluster} does not exist")));
    };
    index.tenant(cluster, &key.namespace)?;
    let kind = client.spec.credentials.type_;
    if listener(spec, authentication_of(kind)).is_none() {
        return Err(Problem::invalid(
            Reason::NoListener,
            format!("StreamCluster {cluster} has no listener for credentials of type {kind:?}"),
        ));
    }
    let waiting =
        |what: &str| Problem::waiting(Reason::ClusterNotReady, format!("StreamCluster {cluster} is not Ready: {what}"));
    let handle = handle.ok_or_else(|| waiting("it is not connected"))?;
    let link = handle.state().link.clone();
    match link.obstacle() {
        None => Ok(handle),
        Some(why) => Err(waiting(why)),
    }
}

/// Whether every broker knows the version being issued, with all the access that it should have.
fn on_brokers(context: &Context, cluster: &str, record: &ClientRecord) -> bool {
    let Some(issuing) = record.issuing() else { return false };
    let key = PrincipalKey { cluster: cluster.to_owned(), principal: issuing.principal.clone() };
    let desired = context.world.index().desired(&key).grants;
    let Some(handle) = context.world.handle(cluster) else { return false };
    let state = handle.state();
    let access = match state.verified.get(&issuing.principal) {
        Some(grants) => *grants == desired,
        None => desired.is_empty(),
    };
    access && state.known_identities.contains(&issuing.principal)
}

async fn publish(
    client: &StreamClient,
    context: &Context,
    report: &Report,
    issued: &Issued,
    owner: &k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference,
) -> Result<(), PublishError> {
    let cluster = &client.spec.cluster_ref.name;
    let ca_pem = context.ca_pem(cluster);
    let data = {
        let index = context.world.index();
        let listener =
            index.cluster_spec(cluster).and_then(|s| listener(s, authentication_of(client.spec.credentials.type_)));
        let (Some(listener), Some(version)) = (listener, report.record.as_ref().and_then(|r| r.issuing())) else {
            return Ok(());
        };
        let version = Version {
            secret_name: &report.secret_name,
            principal: &version.principal,
            version: version.version,
            issued,
            issued_at: version.issued_at,
            rotates_at: due(client.spec.credentials.type_, version, &client.spec.credentials),
        };
        secret_data(listener, ca_pem.as_deref(), &version)
    };
    let namespace = client.namespace().unwrap_or_default();
    publish_secret(&context.client, owner, &namespace, &report.secret_name, data).await
}

/// Why the Secret could not be read or written, as a problem.
fn unpublished(
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
        PublishError::Kube(error) => return Err(error.into()),
    });
    Ok(report)
}

/// The fingerprint of the credential in a Secret; a certificate without its key is none.
fn fingerprint_in(secret: &KubeSecret) -> Option<String> {
    let data = secret.data.as_ref()?;
    let text = |key: &str| data.get(key).and_then(|value| std::str::from_utf8(&value.0).ok());
    match text("password") {
        Some(password) => Some(fingerprint(password)),
        None => {
            let certificate = text("tls.crt")?;
            belongs(certificate, &Secret::new(text("tls.key")?)).then(|| fingerprint(certificate))
        }
    }
}

/// The password in a Secret.
fn password_in(secret: &KubeSecret) -> Option<Secret> {
    let value = secret.data.as_ref()?.get("password")?;
    Some(Secret::new(std::str::from_utf8(&value.0).ok()?))
}

/// Lets a deleted client go once the brokers have forgotten every version of it.
async fn finish(client: &StreamClient, key: &ObjectKey, context: &Context) -> Result<Action, ReconcileError> {
    if !has_finalizer(client) {
        return Ok(Action::await_change());
    }
    let cluster = &client.spec.cluster_ref.name;
    let governing = context.world.handle(cluster).is_some_and(|h| h.state().link == Link::Governing);
    let (abandoned, known) = {
        let index = context.world.index();
        let object = index.cluster(cluster);
        let known = client.uid().is_some_and(|uid| index.client_record(&uid).is_some());
        (object.is_none_or(|c| c.annotations().contains_key(api::ABANDON_ANNOTATION)), known)
    };
    if (governing && !known) || (abandoned && !governing) {
        if abandoned && !governing {
            let happening = Happening {
                action: api::Action::AccessOrphaned,
                object: object_ref("StreamClient", key, client.uid()),
                outcome: api::Outcome::Success,
                reason: "ClusterAbandoned".into(),
                message: format!(
                    "credentials may be left on StreamCluster {cluster}; they are removed when it returns"
                ),
                cluster: Some(cluster.clone()),
                principals: Vec::new(),
            };
            context.record(happening, "deleted").await;
        }
        context.patience.forget(client.metadata.uid.as_deref());
        remove_finalizer(&context.client, client).await?;
        return Ok(Action::await_change());
    }
    if !governing {
        let after = status::deleting(client, Timestamp::now());
        if client.status.as_ref() != Some(&after) {
            write_status(&context.client, client, &after).await?;
        }
    }
    Ok(Action::requeue(PERIODICALLY))
}

/// One SecurityEvent for each version that came into the Secret, and for each refusal.
async fn announce(client: &StreamClient, key: &ObjectKey, report: &Report, context: &Context) {
    let before = client.status.as_ref().and_then(|s| s.principal.clone());
    let current = report.record.as_ref().and_then(|r| r.current());
    let happening = |action, outcome, reason: &str, message: String, principals| Happening {
        action,
        object: object_ref("StreamClient", key, client.uid()),
        outcome,
        reason: reason.into(),
        message,
        cluster: Some(client.spec.cluster_ref.name.clone()),
        principals,
    };
    if let Some(current) = current.filter(|c| Some(&c.principal) != before.as_ref()) {
        let (action, reason) = match before {
            None => (api::Action::CredentialIssued, "Issued"),
            Some(_) => (api::Action::CredentialRotated, "Rotated"),
        };
        let message = format!("Secret {} has version {}", report.secret_name, current.version);
        context.events.note(client, false, reason, &message).await;
        let principals = vec![current.principal.clone()];
        context.record(happening(action, api::Outcome::Success, reason, message, principals), &current.principal).await;
    }
    let conditions = client.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    for problem in report.problems.iter().filter(|p| p.remedy == crate::domain::problem::Remedy::Invalid) {
        if conditions.iter().any(|c| c.type_ == "Stalled" && c.message.contains(&problem.message)) {
            continue;
        }
        let reason = problem.reason.as_str();
        context.events.note(client, true, reason, &problem.message).await;
        let refused =
            happening(api::Action::RequestRefused, api::Outcome::Failure, reason, problem.message.clone(), Vec::new());
        context.record(refused, &format!("{:?}/{}", client.metadata.generation, problem.message)).await;
    }
}
