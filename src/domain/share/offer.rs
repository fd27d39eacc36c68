//! What a share offers, to whomever: streams, and where they are read.

use std::collections::BTreeSet;

use kube::ResourceExt;

use super::copy;
use crate::api::{Classification, DataProduct, ExternalShare, Pattern, Reason};
use crate::domain::index::Index;
use crate::domain::names::{MIRROR, ObjectKey, SOURCE};
use crate::domain::problem::Problem;
use crate::domain::product;

/// A stream that is shared.
pub(super) struct Shared<'a> {
    pub(super) product: &'a DataProduct,
    pub(super) stream: product::ValidStream,
    /// Its copy, with pattern Copy.
    pub(super) copy: Option<String>,
}

impl Shared<'_> {
    /// The topic that partners read.
    pub(super) fn read(&self) -> &str {
        self.copy.as_ref().unwrap_or(&self.stream.topic)
    }

    /// Whether it is there to be read: what is copied is once its copy was made.
    pub(super) fn is_there(&self, index: &Index, share: &ExternalShare) -> bool {
        self.copy.as_ref().is_none_or(|copy| is_made(index, share, copy))
    }
}

/// What is shared, from which cluster, and on which it is read.
#[derive(Default)]
pub(super) struct Offer<'a> {
    /// The cluster of the products; empty where none of them exists.
    pub(super) source: String,
    /// The cluster that partners read on; empty where that is not known.
    pub(super) cluster: String,
    pub(super) streams: Vec<Shared<'a>>,
    pub(super) problems: Vec<Problem>,
    /// Nothing is given, for a reason among the problems.
    pub(super) is_withheld: bool,
}

/// Whether a copy was made.
fn is_made(index: &Index, share: &ExternalShare, copy: &str) -> bool {
    let uid = copy::copier_uid(share, MIRROR);
    copy::destination(share).is_some_and(|cluster| index.is_governed_by(cluster, copy, &uid))
}

/// What the share offers.
pub(super) fn offer<'a>(index: &'a Index, share: &ExternalShare) -> Offer<'a> {
    let namespace = share.namespace().unwrap_or_default();
    let mut offer = Offer::default();
    for shared in &share.spec.products {
        let key = ObjectKey::new(&namespace, &shared.name);
        let Some(product) = index.named_product(&key).filter(|p| p.metadata.deletion_timestamp.is_none()) else {
            let message = format!("DataProduct {key} does not exist");
            offer.problems.push(Problem::waiting(Reason::ProductNotFound, message));
            continue;
        };
        let cluster = &product.spec.cluster_ref.name;
        if offer.source.is_empty() {
            offer.source.clone_from(cluster);
        }
        match forbidden(index, share, &key, product, &offer.source) {
            Some(problem) => offer.problems.push(problem),
            None => add(index, share, &key, product, &shared.streams, &mut offer),
        }
    }
    offer.cluster.clone_from(copy::destination(share).unwrap_or(&offer.source));
    if share.spec.pattern == Pattern::Copy
        && let Err(problem) = copy::place(index, share, &offer.source)
    {
        offer.problems.push(problem);
        offer.is_withheld = true;
    }
    offer
}

/// Why a product may not be shared so.
fn forbidden(
    index: &Index,
    share: &ExternalShare,
    key: &ObjectKey,
    product: &DataProduct,
    cluster: &str,
) -> Option<Problem> {
    let on = &product.spec.cluster_ref.name;
    if on != cluster {
        let message = format!("DataProduct {key} is on StreamCluster {on}, another on {cluster}: make a share of each");
        return Some(Problem::invalid(Reason::SeveralClusters, message));
    }
    let purposes = &product.spec.purposes;
    if !purposes.is_empty() && !share.spec.purpose.as_ref().is_some_and(|p| purposes.contains(p)) {
        let message = format!("DataProduct {key} wants spec.purpose to be one of: {}", purposes.join(", "));
        return Some(Problem::invalid(Reason::PurposeRequired, message));
    }
    let classification = product::classification(index, product);
    let why = match (share.spec.pattern, classification) {
        (Pattern::Direct, Classification::Public)
        | (Pattern::Copy, Classification::Public | Classification::Private) => {
            return None;
        }
        (Pattern::Direct, Classification::Private) => "it is shared with pattern Copy",
        (_, Classification::Confidential) => "it is not shared before its fields can be protected",
    };
    let pattern = share.spec.pattern;
    let message = format!("DataProduct {key} is {classification:?}, which pattern {pattern:?} is not for: {why}");
    Some(Problem::invalid(Reason::ClassificationForbidsPattern, message))
}

/// The topics that the partner, or the end of a copy, `who` reads of what the share names now, whoever agreed to it and whatever
/// stands in the way.
pub(super) fn read_by(index: &Index, share: &ExternalShare, who: &str) -> BTreeSet<String> {
    let namespace = share.namespace().unwrap_or_default();
    let topics = share.spec.products.iter().flat_map(|shared| {
        let product = index.named_product(&ObjectKey::new(&namespace, &shared.name));
        product.map(|p| product::view_of(index, p, &shared.streams).streams).unwrap_or_default()
    });
    let copies = copy::destination(share).filter(|_| who != SOURCE).map(|_| copy::prefix(index, share));
    topics.map(|stream| format!("{}{}", copies.as_deref().unwrap_or_default(), stream.topic)).collect()
}

fn add<'a>(
    index: &'a Index,
    share: &ExternalShare,
    key: &ObjectKey,
    product: &'a DataProduct,
    streams: &[String],
    offer: &mut Offer<'a>,
) {
    let named = |name: &&String| !product.spec.streams.iter().any(|s| s.name == **name);
    for missing in streams.iter().filter(named) {
        let message = format!("DataProduct {key} has no stream {missing}");
        offer.problems.push(Problem::waiting(Reason::StreamNotFound, message));
    }
    let view = product::view_of(index, product, streams);
    for problem in view.problems {
        offer.problems.push(Problem::waiting(problem.reason, format!("DataProduct {key}: {}", problem.message)));
    }
    let copies = copy::destination(share).map(|_| copy::prefix(index, share));
    for stream in view.streams {
        let copy = copies.as_ref().map(|prefix| format!("{prefix}{}", stream.topic));
        // Before the source's ledger is read, as when Weir starts anew, what was copied before still is: nothing must be taken away
        // at the destination for not knowing.
        let governed = index.is_governed(&offer.source, &stream.topic, product)
            || (!index.is_ledger_read(&offer.source) && copy.as_ref().is_some_and(|copy| is_made(index, share, copy)));
        let problem = if !governed {
            Some(Problem::waiting(Reason::Applying, format!("topic {} is not Weir's yet", stream.topic)))
        } else if copy.is_some() {
            copy::not_copied(index, share, &stream.topic).map(|why| Problem::invalid(Reason::InvalidTopicName, why))
        } else {
            None
        };
        match problem {
            Some(problem) => {
                let message = format!("DataProduct {key}: {}", problem.message);
                offer.problems.push(Problem { message, ..problem });
            }
            None => offer.streams.push(Shared { product, stream, copy }),
        }
    }
}
