//! DataProduct: reports its topics and who uses it, and lets it go once nothing of it is left to do.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::controller::Action;

use super::applier::{Link, ProductOutcome, not_connected};
use super::context::Context;
use super::reconcile::{PERIODICALLY, ReconcileError};
use super::refusals;
use crate::api::{self, DataProduct, DataProductStatus, Reason, StreamStatus};
use crate::domain::approval::requesters;
use crate::domain::conditions::{Progress, conditions, merge, progress};
use crate::domain::event::Happening;
use crate::domain::names::ObjectKey;
use crate::domain::problem::Problem;
use crate::domain::{product, role};
use crate::k8s::objects::{add_finalizer, has_finalizer, object_ref, remove_finalizer, write_status};

/// Reconciles one product. Topics are the appliers' work; this reports them.
///
/// # Errors
/// The API server refused or did not answer.
pub async fn reconcile(product: Arc<DataProduct>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let (outcome, link) = outcome(&context, &product);
    let deleting = product.metadata.deletion_timestamp.is_some();
    if deleting && !has_finalizer(product.as_ref()) {
        return Ok(Action::await_change());
    }
    if deleting && (outcome.as_ref().is_some_and(|o| o.gone) || let_go(&context, &product, &link)) {
        let gone =
            happening(&context, &product, api::Action::ProductDeleted, "Deleted", "nothing is granted on it any more");
        context.record(gone, "deleted").await;
        remove_finalizer(&context.client, product.as_ref()).await?;
        context.told_of_products.forget(&product.uid().unwrap_or_default());
        return Ok(Action::await_change());
    }
    if !deleting && !has_finalizer(product.as_ref()) {
        add_finalizer(&context.client, product.as_ref()).await?;
        return Ok(Action::await_change());
    }
    let current = product.status.as_ref().is_some_and(|s| s.observed_generation == product.metadata.generation);
    if current && !context.is_settled(&product.spec.cluster_ref.name) {
        return Ok(Action::requeue(PERIODICALLY));
    }
    let (after, far) = status(&context, &product, outcome, &link, Timestamp::now());
    let uid = product.uid().unwrap_or_default();
    let before = context.told_of_products.or(&uid, product.status.as_ref());
    if product.status.as_ref() != Some(&after) || before != after {
        announce(&context, &product, (&before, &after), &far).await;
        context.told_of_products.note(&uid, after.clone());
        write_status(&context.client, product.as_ref(), &after).await?;
    }
    Ok(Action::requeue(PERIODICALLY))
}

/// What the applier says of the product, and how it stands with the cluster; `None` where there is no such cluster.
fn outcome(context: &Context, product: &DataProduct) -> (Option<ProductOutcome>, Option<Link>) {
    let Some(handle) = context.world.handle(&product.spec.cluster_ref.name) else { return (None, None) };
    let state = handle.state();
    (product.uid().and_then(|uid| state.products.get(&uid).cloned()), Some(state.link.clone()))
}

/// Whether a deleted product may go without its cluster: that was given up, or never was.
fn let_go(context: &Context, product: &DataProduct, link: &Option<Link>) -> bool {
    let index = context.world.index();
    let cluster = index.cluster(&product.spec.cluster_ref.name);
    let abandoned = cluster.is_none_or(|c| c.annotations().contains_key(api::ABANDON_ANNOTATION));
    abandoned && *link != Some(Link::Governing)
}

fn status(
    context: &Context,
    product: &DataProduct,
    outcome: Option<ProductOutcome>,
    link: &Option<Link>,
    now: Timestamp,
) -> (DataProductStatus, Progress) {
    let index = context.world.index();
    let key = index.key_of(product);
    let view = product::view(&index, product);
    let cluster = &product.spec.cluster_ref.name;
    let current = outcome.filter(|o| o.generation == product.metadata.generation);
    let mut problems = view.problems.clone();
    match (&current, link) {
        _ if product.metadata.deletion_timestamp.is_some() => problems.push(Problem::waiting(
            Reason::Deleting,
            format!(
                "{} bindings and {} shares still give access to it, or their access is being removed",
                index.bindings_of_product(&key),
                index.shares_of_product(&key)
            ),
        )),
        (_, None) if index.cluster(cluster).is_none() => {
            problems.push(Problem::waiting(Reason::ClusterNotFound, format!("StreamCluster {cluster} does not exist")))
        }
        (Some(outcome), _) => problems.extend(outcome.problems.iter().cloned()),
        (None, Some(Link::Governing)) => {
            problems.push(Problem::waiting(Reason::Applying, "topics are being looked at"))
        }
        (None, Some(link)) => problems.extend(link.obstacle(cluster)),
        (None, None) => problems.push(not_connected(cluster)),
    }
    problems.sort();
    problems.dedup();
    let partitions = |topic: &str| current.as_ref().and_then(|o| o.partitions.get(topic).copied());
    let ready = Progress::Ready(format!("{} topics are there", view.streams.len()));
    let far = progress(&problems, ready);
    let streams = view.streams.iter().map(|s| StreamStatus {
        name: s.name.clone(),
        topic: s.topic.clone(),
        partitions: partitions(&s.topic),
    });
    let before = product.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    let generation = product.metadata.generation;
    let status = DataProductStatus {
        observed_generation: generation,
        conditions: merge(before, conditions(&far), generation, now),
        classification: Some(product::classification(&index, product)),
        offered_by: offered_by(&index, &key),
        bindings: i64::try_from(index.bindings_of_product(&key)).ok(),
        shares: i64::try_from(index.shares_of_product(&key)).ok(),
        streams: streams.collect(),
    };
    (status, far)
}

/// Roles of the product's namespace that select it.
fn offered_by(index: &crate::domain::index::Index, key: &ObjectKey) -> Vec<String> {
    let selects = |role_key: &ObjectKey, role: &api::StreamRole| {
        role.spec
            .privileges
            .iter()
            .any(|privilege| role::products(index, role_key, privilege).0.iter().any(|p| index.key_of(*p) == *key))
    };
    index.roles_in(&key.namespace).filter(|(k, r)| selects(k, r)).map(|(k, _)| k.name.clone()).collect()
}

/// What became of it since the status before: it is there, it is classified otherwise, it is refused.
async fn announce(
    context: &Context,
    product: &DataProduct,
    (before, after): (&DataProductStatus, &DataProductStatus),
    far: &Progress,
) {
    let has_topics = |status: &DataProductStatus| status.streams.iter().any(|s| s.partitions.is_some());
    if has_topics(after) && !has_topics(before) {
        let topics: Vec<_> = after.streams.iter().map(|s| s.topic.as_str()).collect();
        let mut created = happening(
            context,
            product,
            api::Action::ProductCreated,
            "Created",
            &format!("topics: {}", topics.join(", ")),
        );
        if let Some(first) = requesters(product).next() {
            created = created.by(api::ActorType::User, first);
        }
        context.record(created, "created").await;
    }
    if let (Some(was), Some(is)) = (before.classification, after.classification)
        && was != is
    {
        let message = format!("it was {was:?}, and is {is:?}");
        let consumers = {
            let index = context.world.index();
            index.consumers_of(&index.key_of(product), MOST_CONSUMERS)
        };
        let reclassified = happening(context, product, api::Action::ProductReclassified, "Reclassified", &message)
            .concerning(consumers);
        let version = product.resource_version().unwrap_or_default();
        context.record(reclassified, &version).await;
    }
    let refused = |action, reason: &str, message: &str| happening(context, product, action, reason, message);
    refusals::announce(context, product, far.refusal().as_ref(), &before.conditions, refused).await;
}

/// How many namespaces of consumers are told of a change of a product.
const MOST_CONSUMERS: usize = 100;

fn happening(context: &Context, product: &DataProduct, action: api::Action, reason: &str, message: &str) -> Happening {
    let key = context.world.index().key_of(product);
    Happening::new(action, object_ref("DataProduct", &key, product.uid()), reason, message)
        .on(&product.spec.cluster_ref.name)
        .asked_by(requesters(product))
}
