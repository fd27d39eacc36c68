//! StreamClient: has its credentials issued, puts them into its Secret, and reports.

mod announce;
mod secret;
mod status;

pub use status::credential_statuses;

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::Action;

use super::applier::{Link, Order, fingerprint};
use super::context::Context;
use super::issuing::{Life, too_many};
use super::patience;
use super::reconcile::{PERIODICALLY, ReconcileError};
use crate::api::{self, Reason, StreamClient};
use crate::domain::connection::{Issued, listener};
use crate::domain::event::Happening;
use crate::domain::ledger::ClientRecord;
use crate::domain::names::ObjectKey;
use crate::domain::problem::Problem;
use crate::domain::rotation::{IssueReason, Step, not_renewed};
use crate::k8s::objects::{add_finalizer, has_finalizer, object_ref, remove_finalizer, write_status};

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
        announce::announce(&client, &key, &report, &context).await;
        write_status(&context.client, client.as_ref(), &after).await?;
    }
    let wait = report.wake.map(|at| at.duration_since(now)).and_then(|d| std::time::Duration::try_from(d).ok());
    Ok(Action::requeue(wait.unwrap_or(PERIODICALLY).min(PERIODICALLY)))
}

/// Takes the next step in the life of its credentials.
async fn advance(client: &StreamClient, key: &ObjectKey, context: &Context) -> Result<Report, ReconcileError> {
    let secret_name = client.spec.credentials.secret_name.clone().unwrap_or_else(|| key.name.clone());
    let record = client.uid().and_then(|uid| context.world.index().client_record(&uid).cloned());
    let mut report =
        Report { problems: Vec::new(), record, secret_name: secret_name.clone(), wake: None, last_certificate: None };
    let mut life = match Life::of(context, client, |spec, kind| listener(spec, kind).is_some()) {
        Ok(life) => life,
        Err(problem) => {
            report.problems.push(problem);
            return Ok(report);
        }
    };
    report.record.clone_from(&life.record);
    let place = ObjectKey::new(&key.namespace, &secret_name);
    let existing = match secret::read(context, client, &place).await {
        Ok(existing) => existing,
        Err(error) => return secret::unpublished(report, error, context, key),
    };
    let present = existing.as_ref().and_then(|s| secret::credential_in(s, client.spec.credentials.type_));
    let in_secret = present.as_ref().map(fingerprint);
    let step = life.step(context, client, in_secret.as_deref());
    let Life { handle, issuing, held, authority, problem, .. } = life;
    let number = issuing.as_ref().map(|v| v.version);
    let current = report.record.as_ref().and_then(|r| r.current()).cloned();
    let current = current.zip(present).filter(|(version, _)| in_secret.as_ref() == Some(&version.fingerprint));
    if let Some((version, Issued::Password(password))) = &current
        && handle.state().lost_identities.contains(&version.principal)
    {
        handle.order(Order::Restore(version.principal.clone(), password.clone()));
    }
    match step {
        Step::Issue(reason) => {
            let last = report.record.as_ref().map_or(0, |r| r.last_version);
            handle.order(Order::Issue(key.clone(), last));
            // After a failure the next try waits; without one, the record that comes wakes this client at once.
            report.wake = problem.is_some().then(|| Timestamp::now() + jiff::SignedDuration::from_secs(5));
            let rotating = report.record.as_ref().is_some_and(|r| r.current().is_some());
            if problem.is_none() && (!rotating || reason == IssueReason::SecretLost) {
                report.problems.push(Problem::waiting(Reason::Applying, "a credential is being issued"));
            }
        }
        Step::AwaitBrokers if report.record.as_ref().is_none_or(|r| r.current().is_none()) => {
            report.problems.push(Problem::waiting(Reason::Applying, "the credential is on its way to every broker"));
        }
        Step::AwaitBrokers => {}
        Step::Publish => {
            if let Some((version, (_, issued))) = issuing.zip(held) {
                match secret::publish(context, client, &place, existing, &version, &issued).await {
                    Ok(true) => handle.order(Order::Published(key.clone(), version.version)),
                    Ok(false) => {}
                    Err(error) => return secret::unpublished(report, error, context, key),
                }
            }
            report.problems.push(Problem::waiting(Reason::Applying, "the Secret is written"));
        }
        Step::MarkPublished => {
            handle.order(Order::Published(key.clone(), number.unwrap_or_default()));
            report.problems.push(Problem::waiting(Reason::Applying, "the Secret is written"));
        }
        Step::AwaitTurn(at) => {
            report.wake = Some(at);
            report.problems.push(too_many(at, "deletes or edits the Secret"));
        }
        Step::Rest(next) => {
            if let Some((version, issued)) = current
                && let Err(error) = secret::publish(context, client, &place, existing, &version, &issued).await
            {
                return secret::unpublished(report, error, context, key);
            }
            rest(&mut report, client, next, authority);
        }
    }
    report.problems.extend(problem);
    Ok(report)
}

/// Nothing is to be issued; a certificate may have come to its end all the same.
fn rest(report: &mut Report, client: &StreamClient, next: Option<Timestamp>, authority: Option<Timestamp>) {
    let now = Timestamp::now();
    let spec = &client.spec.credentials;
    report.last_certificate = report.record.as_ref().and_then(|r| not_renewed(r, spec, authority, now));
    // It is looked at again when it ends: it works until then.
    let end = report.last_certificate;
    report.wake = next.into_iter().chain(end.filter(|at| *at > now)).min();
    if let Some(at) = end.filter(|at| *at <= now) {
        let cluster = &client.spec.cluster_ref.name;
        report.problems.push(Problem::waiting(
            Reason::SignerExpiring,
            format!("the certificate ended at {at} with its authority: ask the platform team to renew that of StreamCluster {cluster}"),
        ));
    }
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
            let message =
                format!("credentials may be left on StreamCluster {cluster}; they are removed when it returns");
            let object = object_ref("StreamClient", key, client.uid());
            let happening = Happening::new(api::Action::AccessOrphaned, object, "ClusterAbandoned", message);
            context.record(happening.on(cluster), "deleted").await;
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
