//! From the streams that a product should have and the topics that the cluster has, to what must be done.

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt;

use super::index::Index;
use super::ledger::{Change, TopicRecord};
use super::names::{ObjectKey, share_of_guest};
use super::problem::Problem;
use super::product::{Maker, Mirrored, ValidStream};
use crate::api::{DeletionPolicy, Reason};

/// Annotation on a DataProduct that lets retention be shortened: `<stream>:<key>=<value>`, several with commas. A comma
/// within a value is written `+`.
pub const ACKNOWLEDGE_RETENTION: &str = "weir.dev/acknowledge-retention";

/// A topic as the cluster has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedTopic {
    /// Its partitions.
    pub partitions: i32,
    /// Every key's value in force.
    pub config: BTreeMap<String, String>,
}

/// What must be done for one stream.
#[derive(Clone, Debug, PartialEq)]
pub enum TopicStep {
    /// Record that the topic is the product's, then make it.
    Create,
    /// Record that the topic, which exists, is the product's.
    Adopt,
    /// Record that somebody else is to make the topic for the product.
    Promise,
    /// Record no more that the topic is to be made for the product, for a stranger made one of that name.
    Release(Problem),
    /// Grow it and set configuration, as far as either is there.
    Change {
        /// The new total, where it grows.
        partitions: Option<i32>,
        /// Keys to set.
        config: BTreeMap<String, Option<String>>,
    },
    /// It is as it should be, or somebody else is to see to that.
    Keep,
    /// It cannot be.
    Refuse(Problem),
}

/// Plans for one stream of the product with `product_uid`.
pub fn plan(
    stream: &ValidStream,
    product_uid: &str,
    record: Option<&TopicRecord>,
    observed: Option<&ObservedTopic>,
    acknowledged: &str,
) -> TopicStep {
    if let Maker::Link(mirrored) = stream.maker {
        return plan_linked(stream, product_uid, record, observed, mirrored);
    }
    let Some(observed) = observed else { return TopicStep::Create };
    if record.is_none_or(|r| r.product_uid != product_uid) {
        return if stream.adopt { TopicStep::Adopt } else { TopicStep::Refuse(exists(stream, record)) };
    }
    if observed.partitions > stream.partitions {
        return TopicStep::Refuse(Problem::invalid(
            Reason::PartitionsShrunk,
            format!(
                "stream {}: topic {} has {} partitions and cannot shrink to {}: set partitions to at least {}",
                stream.name, stream.topic, observed.partitions, stream.partitions, observed.partitions
            ),
        ));
    }
    let partitions = (observed.partitions < stream.partitions).then_some(stream.partitions);
    let config: BTreeMap<_, _> = stream
        .config
        .iter()
        .filter(|(key, value)| observed.config.get(*key) != Some(value))
        .map(|(key, value)| (key.clone(), Some(value.clone())))
        .collect();
    if let Some(problem) = shortened(stream, &config, observed, acknowledged) {
        return TopicStep::Refuse(problem);
    }
    if partitions.is_none() && config.is_empty() { TopicStep::Keep } else { TopicStep::Change { partitions, config } }
}

/// The same for a stream whose topic a cluster link makes, has grow and configures. That is recorded before the link is asked; once the
/// link was seen to have the topic among its own, it is the product's, whatever is seen of it later: looks may be stale.
fn plan_linked(
    stream: &ValidStream,
    product_uid: &str,
    record: Option<&TopicRecord>,
    observed: Option<&ObservedTopic>,
    mirrored: Mirrored,
) -> TopicStep {
    match (record.filter(|r| r.product_uid == product_uid), mirrored) {
        (Some(record), _) if !record.is_promised => TopicStep::Keep,
        (_, Mirrored::Listed) => TopicStep::Adopt,
        (Some(_), Mirrored::Strange) if observed.is_some() => TopicStep::Release(exists(stream, None)),
        (Some(_), _) => TopicStep::Keep,
        (None, _) if observed.is_some() => TopicStep::Refuse(exists(stream, record)),
        (None, _) => TopicStep::Promise,
    }
}

/// Of `recorded`, the topics that were promised, and that their link has among its own: now they are the share's, also where that is over.
pub fn kept_promises(index: &Index, recorded: &BTreeMap<String, TopicRecord>) -> Vec<Change> {
    let is_kept = |topic: &str, record: &TopicRecord| {
        let product = ObjectKey::new(&record.namespace, &record.name);
        share_of_guest(&product).is_some_and(|(share, _)| index.mirrored(&share, topic) == Mirrored::Listed)
    };
    let kept = recorded.iter().filter(|(topic, record)| record.is_promised && is_kept(topic, record));
    let made = |record: &TopicRecord| TopicRecord { is_promised: false, ..record.clone() };
    kept.map(|(topic, record)| Change::Topic(topic.clone(), Some(made(record)))).collect()
}

/// What becomes of a topic on record once nobody has access to it by Weir.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Its product lives: the record stays.
    Stays,
    /// The record goes, the topic stays.
    Released,
    /// The topic goes, with its records, and then the record.
    Deleted,
}

/// What becomes of `topic`. `deletionPolicy: Delete` is about what the product had until the end: what it let another one
/// have before is not deleted with it.
pub fn ending(index: &Index, cluster: &str, topic: &str, record: &TopicRecord) -> Ending {
    let key = ObjectKey::new(&record.namespace, &record.name);
    let product = index.product(&key).filter(|p| p.uid().as_ref() == Some(&record.product_uid));
    let Some(product) = product else { return Ending::Released };
    if product.metadata.deletion_timestamp.is_none() {
        return Ending::Stays;
    }
    // A link that is still there may yet make the topic; and it is to let go of it first.
    if index.is_held_by_link(&key) {
        return Ending::Stays;
    }
    let passed_on = index.topic_owner(cluster, topic).is_some_and(|owner| *owner != key);
    match product.spec.deletion_policy {
        DeletionPolicy::Delete if !passed_on && !record.is_promised => Ending::Deleted,
        DeletionPolicy::Delete | DeletionPolicy::Retain => Ending::Released,
    }
}

fn exists(stream: &ValidStream, record: Option<&TopicRecord>) -> Problem {
    let of = match record {
        Some(r) => format!("is that of an earlier DataProduct {}/{}", r.namespace, r.name),
        None => "was not made by Weir".into(),
    };
    Problem::invalid(
        Reason::TopicExists,
        format!(
            "stream {}: topic {} exists and {of}: set adopt: true to take it over with its records and readers, or name \
             another topic",
            stream.name, stream.topic
        ),
    )
}

/// Shorter retention, and another way of cleaning up, delete records: someone has to say that this is meant.
fn shortened(
    stream: &ValidStream,
    changes: &BTreeMap<String, Option<String>>,
    observed: &ObservedTopic,
    acknowledged: &str,
) -> Option<Problem> {
    ["retention.ms", "retention.bytes", "cleanup.policy"].into_iter().find_map(|key| {
        let new = changes.get(key)?.as_ref()?;
        let old = observed.config.get(key)?;
        let loses = if key == "cleanup.policy" { cleans_more(old, new) } else { amount(new)? < amount(old)? };
        let wanted = format!("{}:{key}={}", stream.name, new.replace(',', "+"));
        let meant = acknowledged.split(',').any(|a| a.trim() == wanted);
        (loses && !meant).then(|| {
            Problem::invalid(
                Reason::RetentionShortened,
                format!(
                    "stream {}: {key} from {old} to {new} deletes records of topic {}: if that is meant, annotate the \
                     DataProduct with {ACKNOWLEDGE_RETENTION}={wanted}",
                    stream.name, stream.topic
                ),
            )
        })
    })
}

/// Retention below zero is unlimited.
fn amount(text: &str) -> Option<i64> {
    text.parse::<i64>().ok().map(|n| if n < 0 { i64::MAX } else { n })
}

/// Whether records go by a policy that they did not go by before: by age and size (`delete`), or by key (`compact`).
fn cleans_more(old: &str, new: &str) -> bool {
    let policies = |text: &str| -> BTreeSet<String> {
        text.split(',').map(|p| p.trim().to_owned()).filter(|p| !p.is_empty()).collect()
    };
    !policies(new).is_subset(&policies(old))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Ending, ObservedTopic, TopicStep, ending, plan};
    use crate::api::Reason;
    use crate::domain::ledger::TopicRecord;
    use crate::domain::product::{Maker, Mirrored, ValidStream};
    use crate::domain::testing::{World, key, topic_record};

    fn stream(partitions: i32, config: &[(&str, &str)]) -> ValidStream {
        ValidStream {
            name: "placed".into(),
            topic: "payments.orders.placed".into(),
            partitions,
            replicas: -1,
            config: map(config),
            adopt: false,
            maker: Maker::Weir,
        }
    }

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()
    }

    fn ours() -> TopicRecord {
        TopicRecord { product_uid: "u".into(), namespace: "payments".into(), name: "orders".into(), is_promised: false }
    }

    fn refusal(step: TopicStep) -> (Reason, String) {
        match step {
            TopicStep::Refuse(problem) => (problem.reason, problem.message),
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn a_missing_topic_is_created() {
        assert_eq!(plan(&stream(3, &[]), "u", None, None, ""), TopicStep::Create);
    }

    #[test]
    fn a_topic_that_exists_is_only_taken_when_adopted() {
        let observed = ObservedTopic { partitions: 3, config: map(&[]) };
        assert_eq!(refusal(plan(&stream(3, &[]), "u", None, Some(&observed), "")).0, Reason::TopicExists);
        let adopting = ValidStream { adopt: true, ..stream(3, &[]) };
        assert_eq!(plan(&adopting, "u", None, Some(&observed), ""), TopicStep::Adopt);
    }

    #[test]
    fn a_topic_that_a_link_makes_is_promised_first_and_never_taken_from_anybody() {
        let linked = |mirrored| ValidStream { maker: Maker::Link(mirrored), ..stream(3, &[("a", "b")]) };
        let (there, promised) =
            (ObservedTopic { partitions: 9, config: map(&[]) }, TopicRecord { is_promised: true, ..ours() });
        let step =
            |mirrored, record: Option<&TopicRecord>, observed| plan(&linked(mirrored), "u", record, observed, "");
        assert_eq!(step(Mirrored::Unseen, None, None), TopicStep::Promise);
        assert_eq!(step(Mirrored::Unseen, Some(&promised), Some(&there)), TopicStep::Keep, "the link may yet say so");
        assert_eq!(step(Mirrored::Listed, Some(&promised), Some(&there)), TopicStep::Adopt);
        assert_eq!(step(Mirrored::Listed, None, Some(&there)), TopicStep::Adopt);
        for mirrored in [Mirrored::Unseen, Mirrored::Listed, Mirrored::Strange] {
            assert_eq!(
                step(mirrored, Some(&ours()), Some(&there)),
                TopicStep::Keep,
                "looks may be stale: {mirrored:?}"
            );
        }
        assert_eq!(refusal(step(Mirrored::Unseen, None, Some(&there))).0, Reason::TopicExists);
        assert_eq!(step(Mirrored::Strange, Some(&promised), None), TopicStep::Keep, "the stranger's is gone by now");
        match step(Mirrored::Strange, Some(&promised), Some(&there)) {
            TopicStep::Release(problem) => assert_eq!(problem.reason, Reason::TopicExists),
            other => panic!("not released: {other:?}"),
        }
    }

    #[test]
    fn the_topic_of_an_earlier_product_of_the_same_name_is_not_inherited() {
        let observed = ObservedTopic { partitions: 3, config: map(&[]) };
        let (reason, message) = refusal(plan(&stream(3, &[]), "another", Some(&ours()), Some(&observed), ""));
        assert_eq!(reason, Reason::TopicExists);
        assert!(message.contains("payments/orders"), "{message}");
    }

    #[test]
    fn partitions_grow_and_never_shrink() {
        let observed = ObservedTopic { partitions: 3, config: map(&[]) };
        assert_eq!(
            plan(&stream(6, &[]), "u", Some(&ours()), Some(&observed), ""),
            TopicStep::Change { partitions: Some(6), config: BTreeMap::new() }
        );
        assert_eq!(refusal(plan(&stream(1, &[]), "u", Some(&ours()), Some(&observed), "")).0, Reason::PartitionsShrunk);
    }

    #[test]
    fn only_named_keys_that_differ_are_set() {
        let observed = ObservedTopic { partitions: 1, config: map(&[("retention.ms", "5"), ("segment.ms", "7")]) };
        assert_eq!(
            plan(&stream(1, &[("retention.ms", "5")]), "u", Some(&ours()), Some(&observed), ""),
            TopicStep::Keep
        );
    }

    #[test]
    fn shortening_retention_needs_an_acknowledgement_of_this_value() {
        let observed = ObservedTopic { partitions: 1, config: map(&[("retention.ms", "-1")]) };
        let wanted = stream(1, &[("retention.ms", "1000")]);
        let (reason, message) = refusal(plan(&wanted, "u", Some(&ours()), Some(&observed), "placed:retention.ms=2000"));
        assert_eq!(reason, Reason::RetentionShortened);
        assert!(message.contains("placed:retention.ms=1000"), "{message}");
        let acknowledged = plan(&wanted, "u", Some(&ours()), Some(&observed), "x, placed:retention.ms=1000");
        assert!(matches!(acknowledged, TopicStep::Change { .. }));
    }

    #[test]
    fn another_cleanup_policy_deletes_records_and_needs_an_acknowledgement_too() {
        let observed = ObservedTopic { partitions: 1, config: map(&[("cleanup.policy", "compact")]) };
        for (new, acknowledge) in
            [("delete", "placed:cleanup.policy=delete"), ("compact,delete", "placed:cleanup.policy=compact+delete")]
        {
            let wanted = stream(1, &[("cleanup.policy", new)]);
            let (reason, message) = refusal(plan(&wanted, "u", Some(&ours()), Some(&observed), ""));
            assert_eq!(reason, Reason::RetentionShortened);
            assert!(message.ends_with(acknowledge), "{message}");
            assert!(matches!(
                plan(&wanted, "u", Some(&ours()), Some(&observed), acknowledge),
                TopicStep::Change { .. }
            ));
        }
        let both = ObservedTopic { partitions: 1, config: map(&[("cleanup.policy", "compact,delete")]) };
        let wanted = stream(1, &[("cleanup.policy", "compact")]);
        assert!(matches!(plan(&wanted, "u", Some(&ours()), Some(&both), ""), TopicStep::Change { .. }));
    }

    /// What becomes of the topic of stream `placed` once `payments/orders` is deleted, and names stream `names` only.
    fn ending_of_deleted(world: &mut World, names: &str, policy: &str) -> Ending {
        world.put(&format!(
            "
kind: DataProduct
metadata: {{namespace: payments, name: orders, deletionTimestamp: 2026-06-01T00:00:00Z}}
spec: {{clusterRef: {{name: prod}}, deletionPolicy: {policy}, streams: [{{name: {names}}}]}}
"
        ));
        recorded_ending(world)
    }

    fn recorded_ending(world: &World) -> Ending {
        let topic = "payments.orders.placed";
        ending(&world.index, "prod", topic, &world.ledger.topics[topic])
    }

    #[test]
    fn a_topic_on_record_stays_while_its_product_lives_and_then_follows_the_policy() {
        let mut world = World::payments();
        assert_eq!(recorded_ending(&world), Ending::Stays);
        assert_eq!(ending_of_deleted(&mut world, "placed", "Retain"), Ending::Released);
        assert_eq!(ending_of_deleted(&mut world, "placed", "Delete"), Ending::Deleted);
        world.delete("DataProduct payments/orders");
        assert_eq!(recorded_ending(&world), Ending::Released, "nobody can say any more what was meant");
    }

    #[test]
    fn a_topic_that_was_passed_on_is_not_deleted_with_its_former_product() {
        let mut world = World::payments();
        world.put(
            "
kind: DataProduct
metadata: {namespace: payments, name: next}
spec: {clusterRef: {name: prod}, streams: [{name: s, topic: payments.orders.placed}]}
",
        );
        assert_eq!(ending_of_deleted(&mut world, "placed", "Delete"), Ending::Deleted, "it has it until the end");
        assert_eq!(ending_of_deleted(&mut world, "else", "Delete"), Ending::Released);
        world.commit([topic_record("payments.orders.placed", "payments/next")]);
        assert_eq!(recorded_ending(&world), Ending::Stays);
        assert_eq!(world.index.topic_owner("prod", "payments.orders.placed"), Some(&key("payments/next")));
    }
}
