//! A product's spec, validated: which topics it has, and why not.

use std::collections::BTreeMap;

use super::index::Index;
use super::names::{ObjectKey, topic_name_fault};
use super::problem::Problem;
use super::tenancy::Tenant;
use crate::api::{Classification, DataProduct, Reason, Stream};

/// A stream whose topic the product may have.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidStream {
    /// Its name within the product.
    pub name: String,
    /// The topic.
    pub topic: String,
    /// Partitions that it should have.
    pub partitions: i32,
    /// Replicas at creation; -1 is the broker's default.
    pub replicas: i16,
    /// The configuration keys that the spec names.
    pub config: BTreeMap<String, String>,
    /// It may take over a topic that exists.
    pub adopt: bool,
}

/// What a product comes to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProductView {
    /// The streams without fault.
    pub streams: Vec<ValidStream>,
    /// What is wrong with the others.
    pub problems: Vec<Problem>,
}

/// Validates `product` as of `index`.
pub fn view(index: &Index, product: &DataProduct) -> ProductView {
    let key = index.key_of(product);
    let cluster = &product.spec.cluster_ref.name;
    let tenant = match index.tenant(cluster, &key.namespace) {
        Ok(tenant) => tenant,
        Err(problem) => return ProductView { streams: Vec::new(), problems: vec![problem] },
    };
    let mut view = ProductView::default();
    for stream in &product.spec.streams {
        match validate(index, cluster, &key, tenant, stream) {
            Ok(valid) => view.streams.push(valid),
            Err(problem) => view.problems.push(problem),
        }
    }
    view.problems.sort();
    view
}

/// The topic that `stream` claims.
pub fn topic_of(tenant: &Tenant, product: &str, stream: &Stream) -> String {
    stream.topic.clone().unwrap_or_else(|| format!("{}{product}.{}", tenant.default_prefix(), stream.name))
}

/// The effective classification: the strictest of the product's own and its sources'. A source that is missing counts as
/// Confidential, since nobody can say what it was.
pub fn classification(index: &Index, product: &DataProduct) -> Classification {
    let mut strictest = product.spec.classification;
    let mut seen = vec![index.key_of(product)];
    let mut to_visit: Vec<_> =
        product.spec.derived_from.iter().map(|r| ObjectKey::new(&r.namespace, &r.name)).collect();
    while let Some(key) = to_visit.pop() {
        if seen.contains(&key) {
            continue;
        }
        match index.product(&key) {
            None => return Classification::Confidential,
            Some(source) => {
                strictest = strictest.max(source.spec.classification);
                to_visit.extend(source.spec.derived_from.iter().map(|r| ObjectKey::new(&r.namespace, &r.name)));
            }
        }
        seen.push(key);
    }
    strictest
}

fn validate(
    index: &Index,
    cluster: &str,
    key: &ObjectKey,
    tenant: &Tenant,
    stream: &Stream,
) -> Result<ValidStream, Problem> {
    let topic = topic_of(tenant, &key.name, stream);
    let fault = |reason, what: String| Problem::invalid(reason, format!("stream {}: {what}", stream.name));
    if let Some(why) = topic_name_fault(&topic) {
        return Err(fault(Reason::InvalidTopicName, format!("topic {topic:?} {why}")));
    }
    if !tenant.covers(&topic) {
        return Err(fault(
            Reason::TopicOutsideNamespace,
            format!(
                "topic {topic} lies outside the prefixes of namespace {} ({})",
                key.namespace,
                tenant.prefixes.join(", ")
            ),
        ));
    }
    if let Some(owner) = index.topic_owner(cluster, &topic).filter(|owner| *owner != key) {
        return Err(fault(Reason::TopicTaken, format!("topic {topic} belongs to DataProduct {owner}, which is older")));
    }
    if stream.adopt && !tenant.allow_adopt {
        return Err(fault(
            Reason::LimitExceeded,
            format!("the tenancy of namespace {} does not allow to adopt topic {topic}", key.namespace),
        ));
    }
    within_limits(tenant, stream, &topic).map_err(|what| fault(Reason::LimitExceeded, what))?;
    Ok(ValidStream {
        name: stream.name.clone(),
        topic,
        partitions: stream.partitions,
        replicas: stream.replicas.and_then(|r| i16::try_from(r).ok()).unwrap_or(-1),
        config: stream.config.clone(),
        adopt: stream.adopt,
    })
}

fn within_limits(tenant: &Tenant, stream: &Stream, topic: &str) -> Result<(), String> {
    let limits = &tenant.limits;
    if let Some(most) = limits.partitions.filter(|most| stream.partitions > *most) {
        return Err(format!("topic {topic} wants {} partitions; the tenancy allows {most}", stream.partitions));
    }
    if let (Some(most), Some(replicas)) = (limits.replicas, stream.replicas)
        && replicas > most
    {
        return Err(format!("topic {topic} wants {replicas} replicas; the tenancy allows {most}"));
    }
    if let Some(keys) = &limits.config_keys
        && let Some(key) = stream.config.keys().find(|k| !keys.contains(k))
    {
        return Err(format!("topic {topic} sets {key}; the tenancy allows {}", keys.join(", ")));
    }
    Ok(())
}
