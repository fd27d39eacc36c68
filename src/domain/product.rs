//! A product's spec, validated: which topics it has, and why not.

use std::collections::{BTreeMap, BTreeSet};

use super::index::Index;
use super::names::{ObjectKey, topic_name_fault};
use super::problem::Problem;
use super::share::copy;
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
    /// Who makes its topic, has it grow and configures it.
    pub maker: Maker,
}

/// Who makes a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    /// Weir.
    Weir,
    /// A cluster link, which mirrors a topic of another cluster; and what was seen of that.
    Link(Mirrored),
}

/// What was seen of a topic that a cluster link is to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mirrored {
    /// Nothing that could be relied on.
    Unseen,
    /// The link has it among its own.
    Listed,
    /// It has been there for a while, and no link has it among its own.
    Strange,
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
    view_of(index, product, &[])
}

/// Validates those streams of `product` that are named, or all of them where none is.
pub fn view_of(index: &Index, product: &DataProduct, names: &[String]) -> ProductView {
    let key = index.key_of(product);
    let cluster = &product.spec.cluster_ref.name;
    let tenant = match index.tenant_of(cluster, &key) {
        Ok(tenant) => tenant,
        Err(problem) => return ProductView { streams: Vec::new(), problems: vec![problem] },
    };
    let mut view = ProductView::default();
    let mut taken: BTreeMap<String, &str> = BTreeMap::new();
    for stream in &product.spec.streams {
        let topic = topic_of(&tenant, &key.name, stream);
        let first = *taken.entry(topic.clone()).or_insert(&stream.name);
        if !names.is_empty() && !names.contains(&stream.name) {
            continue;
        }
        let valid = if first == stream.name {
            validate(index, cluster, &key, &tenant, stream, topic)
        } else {
            Err(fault(stream, Reason::TopicTaken, format!("topic {topic} is that of stream {first}")))
        };
        match valid {
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
    let mut seen = BTreeSet::from([index.key_of(product)]);
    let mut to_visit: Vec<_> =
        product.spec.derived_from.iter().map(|r| ObjectKey::new(&r.namespace, &r.name)).collect();
    while let Some(key) = to_visit.pop() {
        if !seen.insert(key.clone()) {
            continue;
        }
        match index.named_product(&key) {
            None => return Classification::Confidential,
            Some(source) => {
                strictest = strictest.max(source.spec.classification);
                to_visit.extend(source.spec.derived_from.iter().map(|r| ObjectKey::new(&r.namespace, &r.name)));
            }
        }
    }
    strictest
}

fn fault(stream: &Stream, reason: Reason, what: String) -> Problem {
    Problem::invalid(reason, format!("stream {}: {what}", stream.name))
}

/// Whether a product of the tenant may have `topic` at all, whoever else claims it.
///
/// # Errors
/// Why not.
pub fn may_have(tenant: &Tenant, namespace: &str, topic: &str) -> Result<(), (Reason, String)> {
    if let Some(why) = topic_name_fault(topic) {
        return Err((Reason::InvalidTopicName, format!("topic {topic:?} {why}")));
    }
    if !tenant.covers(topic) {
        let prefixes = tenant.prefixes.join(", ");
        let what = format!("topic {topic} lies outside the prefixes of namespace {namespace} ({prefixes})");
        return Err((Reason::TopicOutsideNamespace, what));
    }
    if tenant.is_internal(topic) {
        let under = format!("{}_", tenant.default_prefix());
        let what = format!("topic {topic} lies under {under}, where applications make and delete their own topics");
        return Err((Reason::InvalidTopicName, what));
    }
    Ok(())
}

fn validate(
    index: &Index,
    cluster: &str,
    key: &ObjectKey,
    tenant: &Tenant,
    stream: &Stream,
    topic: String,
) -> Result<ValidStream, Problem> {
    may_have(tenant, &key.namespace, &topic).map_err(|(reason, what)| fault(stream, reason, what))?;
    if let Some(owner) = index.topic_owner(cluster, &topic).filter(|owner| *owner != key) {
        let what = format!(
            "topic {topic} belongs to DataProduct {owner} as long as that names it: name another topic in one of the two"
        );
        return Err(fault(stream, Reason::TopicTaken, what));
    }
    if stream.adopt && !tenant.allow_adopt {
        return Err(fault(
            stream,
            Reason::LimitExceeded,
            format!("the tenancy of namespace {} does not allow to adopt topic {topic}", key.namespace),
        ));
    }
    within_limits(tenant, stream, &topic).map_err(|what| fault(stream, Reason::LimitExceeded, what))?;
    let maker = copy::maker(index, key, &topic);
    Ok(ValidStream {
        name: stream.name.clone(),
        topic,
        partitions: stream.partitions,
        replicas: stream.replicas.and_then(|r| i16::try_from(r).ok()).unwrap_or(-1),
        config: stream.config.clone(),
        adopt: stream.adopt,
        maker,
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
