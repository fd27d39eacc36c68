//! StreamCluster: keeps one applier for each, and reports how it stands.

mod status;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::Action;

use super::applier::{self, Applier, Link, Order};
use super::context::Context;
use super::reconcile::{PERIODICALLY, ReconcileError};
use super::refusals;
use crate::api::{self, CONFIRM_ANNOTATION, Reason, StreamCluster};
use crate::domain::approval::requesters;
use crate::domain::event::Happening;
use crate::domain::names::ObjectKey;
use crate::domain::plan::Hold;
use crate::k8s::objects::{add_finalizer, has_finalizer, object_ref, remove_finalizer, write_status};
use crate::pki::authority_end;

/// How often Secrets are looked at again: they are not watched.
const SECRETS_EVERY: Duration = Duration::from_secs(60);

/// Reconciles one cluster.
///
/// # Errors
/// The API server refused or did not answer.
pub async fn reconcile(cluster: Arc<StreamCluster>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let name = cluster.name_any();
    if cluster.metadata.deletion_timestamp.is_some() && !context.world.index().cluster_in_use(&name) {
        context.world.set_handle(&name, None);
        context.forget_access(&name);
        if has_finalizer(cluster.as_ref()) {
            remove_finalizer(&context.client, cluster.as_ref()).await?;
        }
        return Ok(Action::await_change());
    }
    if cluster.metadata.deletion_timestamp.is_none() && !has_finalizer(cluster.as_ref()) {
        add_finalizer(&context.client, cluster.as_ref()).await?;
        return Ok(Action::await_change());
    }
    let problem = connect(&name, &cluster, &context).await;
    look_at_signer(&name, &cluster, &context).await;
    nudge_confirmed(&name, &cluster, &context);
    let current = cluster.status.as_ref().is_some_and(|s| s.observed_generation == cluster.metadata.generation);
    let connecting = context.world.handle(&name).is_some_and(|h| h.state().link == Link::Connecting);
    if current && connecting && problem.is_none() {
        return Ok(Action::requeue(SECRETS_EVERY));
    }
    let after = status::status(&cluster, &context, problem, Timestamp::now());
    if cluster.status.as_ref() != Some(&after) {
        refuse(&cluster, &context).await;
        announce(&cluster, &context, &after).await;
        write_status(&context.client, cluster.as_ref(), &after).await?;
    }
    Ok(Action::requeue(SECRETS_EVERY.min(PERIODICALLY)))
}

/// Starts the cluster's applier, or a new one where its credentials changed. Returns what stands in the way.
async fn connect(name: &str, cluster: &StreamCluster, context: &Arc<Context>) -> Option<(Reason, String)> {
    let access = match context.secrets.admin(&cluster.spec).await {
        Ok(access) => access,
        Err(error) => return Some((Reason::SecretInvalid, error.to_string())),
    };
    if context.access_is(name, &access) && context.world.handle(name).is_some() {
        return None;
    }
    let (handle, inbox) = applier::channel();
    context.world.set_handle(name, Some(handle.clone()));
    context.remember_access(name, access.clone());
    let applier = Applier::new(name, context.clone(), handle, access, inbox);
    tokio::spawn(applier.run());
    None
}

/// Finds out when the authority ends that signs certificates; clients with one may be renewed now by another.
async fn look_at_signer(name: &str, cluster: &StreamCluster, context: &Context) {
    let Some(handle) = context.world.handle(name) else { return };
    let after = match &cluster.spec.identity.mtls {
        Some(mtls) => {
            let signer = &mtls.signer_secret_ref.name;
            let found = context.secrets.signer(signer).await.map_err(|e| e.to_string());
            Some(found.and_then(|(pem, _)| authority_end(&pem).map_err(|why| format!("Secret {signer}: {why}"))))
        }
        None => None,
    };
    let before = std::mem::replace(&mut handle.state().authority, after.clone());
    if before != after {
        let index = context.world.index();
        let certified = |c: &api::StreamClient| c.spec.credentials.type_ == api::CredentialType::Mtls;
        index.clients_on(name).filter(|(_, c)| certified(c)).for_each(|(key, _)| context.world.reconcile_client(key));
    }
}

/// A person confirmed held removals: the applier looks again.
fn nudge_confirmed(name: &str, cluster: &StreamCluster, context: &Context) {
    let Some(handle) = context.world.handle(name) else { return };
    let held = handle.state().held.clone();
    if let Some(Hold { principals, token }) = held
        && cluster.annotations().get(CONFIRM_ANNOTATION) == Some(&token)
    {
        handle.order(Order::Dirty { principals, products: Default::default(), clients: Default::default() });
    }
}

/// Tells that the cluster must not be governed as it is.
async fn refuse(cluster: &StreamCluster, context: &Context) {
    let name = cluster.name_any();
    let refusal = context.world.handle(&name).and_then(|h| h.state().link.refusal());
    let before = cluster.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    let happening = |action, reason: &str, message: &str| happening(cluster, action, reason, message);
    refusals::announce(context, cluster, refusal.as_ref(), before, happening).await;
}

/// Held removals are an event when they begin and when a person lets them go on.
async fn announce(cluster: &StreamCluster, context: &Context, after: &api::StreamClusterStatus) {
    let before = cluster.status.as_ref().and_then(|s| s.held_revocations.as_ref());
    let (action, reason, held) = match (before, &after.held_revocations) {
        (before, Some(held)) if before.map(|h| &h.confirm) != Some(&held.confirm) => {
            (api::Action::RevocationsHeld, "TooMany", held)
        }
        (Some(held), None) if cluster.annotations().get(CONFIRM_ANNOTATION) == Some(&held.confirm) => {
            (api::Action::RevocationsConfirmed, "Confirmed", held)
        }
        _ => return,
    };
    let message = format!("{} principals lose access (confirm: {})", held.principals, held.confirm);
    let outcome = if action == api::Action::RevocationsHeld { api::Outcome::Pending } else { api::Outcome::Success };
    let mut happening = happening(cluster, action, reason, &message).ended(outcome).of(held.sample.clone());
    happening.principal_count = Some(held.principals);
    if action == api::Action::RevocationsConfirmed {
        happening = happening.confirmed_on(cluster);
    }
    context.events.note(cluster, action == api::Action::RevocationsHeld, reason, &happening.message).await;
    let version = cluster.resource_version().unwrap_or_default();
    let key = format!("{version}/{}", held.confirm);
    let mut told = vec![(happening, key.clone())];
    if action == api::Action::RevocationsHeld {
        told.extend(of_each_home(cluster, context, &held.confirm, &key));
    }
    context.record_all(told).await;
}

/// In how many namespaces it is told that removals are held.
const MOST_HOMES: usize = 100;

/// That removals are held, as those see it whose principals they are: nothing of others'.
fn of_each_home(cluster: &StreamCluster, context: &Context, token: &str, key: &str) -> Vec<(Happening, String)> {
    let held = context.world.handle(&cluster.name_any()).and_then(|handle| handle.state().held.clone());
    let held = held.filter(|held| held.token == token);
    let mut homes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let index = context.world.index();
    for principal in held.into_iter().flat_map(|held| held.principals) {
        if let Some((home, _)) = index.home_of(&principal) {
            homes.entry(home.namespace).or_default().push(principal);
        }
    }
    let tell = |(namespace, principals): (String, Vec<String>)| {
        let message =
            format!("{} principals of namespace {namespace} keep for now what they are to lose", principals.len());
        let told = happening(cluster, api::Action::RevocationsHeld, "TooMany", &message).ended(api::Outcome::Pending);
        let key = format!("{key}/{namespace}");
        // Who governs the cluster is nothing of theirs.
        (told.of(principals).asked_by([].into_iter()).concerning([namespace]), key)
    };
    homes.into_iter().take(MOST_HOMES).map(tell).collect()
}

/// What happened to the cluster.
fn happening(cluster: &StreamCluster, action: api::Action, reason: &str, message: &str) -> Happening {
    let of = object_ref("StreamCluster", &ObjectKey::new("", cluster.name_any()), cluster.uid());
    Happening::new(action, of, reason, message).on(cluster.name_any()).asked_by(requesters(cluster))
}

/// Whether the applier governs the cluster.
fn governs(link: &Link) -> bool {
    *link == Link::Governing
}
