//! Which products claim a topic, and which of them has it.

use std::collections::BTreeSet;

use kube::ResourceExt;

use super::{Index, ObjectKey, Touched};
use crate::api::DataProduct;
use crate::domain::product;

/// A product as far as its claims go. Older ones come first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Claimant {
    created: i64,
    pub(super) key: ObjectKey,
    uid: Option<String>,
    deleting: bool,
}

impl Claimant {
    fn of(key: &ObjectKey, product: &DataProduct) -> Self {
        Self {
            created: product.creation_timestamp().map_or(i64::MAX, |t| t.0.as_millisecond()),
            key: key.clone(),
            uid: product.uid(),
            deleting: product.metadata.deletion_timestamp.is_some(),
        }
    }
}

impl Index {
    /// The product that has a topic: of those that claim it the one that it is on record for, until that is gone; else the
    /// oldest that is not being deleted.
    pub fn topic_owner(&self, cluster: &str, topic: &str) -> Option<&ObjectKey> {
        let at = (cluster.to_owned(), topic.to_owned());
        let claimants = self.claims.get(&at)?;
        let recorded = self.governed.get(&at);
        let holder = claimants.iter().find(|c| recorded.is_some() && c.uid.as_ref() == recorded);
        holder.or_else(|| claimants.iter().find(|c| !c.deleting)).map(|c| &c.key)
    }

    /// Whether the ledger says that the topic was made, or taken over, for this very product.
    pub fn is_governed(&self, cluster: &str, topic: &str, product: &DataProduct) -> bool {
        product.uid().is_some_and(|uid| self.is_governed_by(cluster, topic, &uid))
    }

    /// The same for the product with this UID.
    pub fn is_governed_by(&self, cluster: &str, topic: &str, product_uid: &str) -> bool {
        self.governed.get(&(cluster.to_owned(), topic.to_owned())).is_some_and(|uid| uid == product_uid)
    }

    /// Renews what a product claims, and touches whoever claims the same. It claims only what it could have: a name outside
    /// the namespace's prefixes must not keep the topic from those whom it belongs to.
    pub(super) fn claim(&mut self, key: &ObjectKey, touched: &mut Touched) {
        let product = self.products.get(key);
        let after = product.map(|p| self.claimed(key, p)).unwrap_or_default();
        let is = product.map(|p| Claimant::of(key, p));
        let (was, before) = self.claimed_by.remove(key).unzip();
        let before = before.unwrap_or_default();
        // One that was deleted and made anew, or is being deleted, may have it no longer.
        let stays = |claim: &(String, String)| was == is && before.contains(claim) && after.contains(claim);
        let mut rivals = BTreeSet::new();
        for claim in before.iter().filter(|c| !stays(c)) {
            let (Some(claimants), Some(was)) = (self.claims.get_mut(claim), &was) else { continue };
            claimants.remove(was);
            rivals.extend(claimants.iter().map(|c| c.key.clone()));
            if claimants.is_empty() {
                self.claims.remove(claim);
            }
        }
        for claim in after.iter().filter(|c| !stays(c)) {
            let claimants = self.claims.entry(claim.clone()).or_default();
            rivals.extend(claimants.iter().map(|c| c.key.clone()));
            claimants.extend(is.clone());
        }
        if let Some(is) = is.filter(|_| !after.is_empty()) {
            self.claimed_by.insert(key.clone(), (is, after));
        }
        for rival in rivals.iter().filter(|r| *r != key) {
            self.touch_product(rival, touched);
        }
    }

    /// By cluster, the topics that a product names and could have.
    fn claimed(&self, key: &ObjectKey, product: &DataProduct) -> BTreeSet<(String, String)> {
        let cluster = &product.spec.cluster_ref.name;
        let Ok(tenant) = self.tenant_of(cluster, key) else { return BTreeSet::new() };
        let topics = product.spec.streams.iter().map(|s| product::topic_of(&tenant, &key.name, s));
        let allowed = topics.filter(|topic| product::may_have(&tenant, &key.namespace, topic).is_ok());
        allowed.map(|topic| (cluster.clone(), topic)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Update;
    use crate::api::Reason;
    use crate::domain::ledger::Change;
    use crate::domain::product;
    use crate::domain::testing::{World, key, principal_of, topic_record};

    const JANUARY: &str = "2026-01-01T00:00:00Z";
    const FEBRUARY: &str = "2026-02-01T00:00:00Z";
    const MARCH: &str = "2026-03-01T00:00:00Z";

    /// A product of `payments` with one stream on the topic.
    fn rival(name: &str, topic: &str, created: &str) -> String {
        format!(
            "
kind: DataProduct
metadata: {{namespace: payments, name: {name}, creationTimestamp: {created}}}
spec: {{clusterRef: {{name: prod}}, streams: [{{name: s, topic: {topic}}}]}}
"
        )
    }

    fn owner(world: &World, topic: &str) -> String {
        world.index.topic_owner("prod", topic).unwrap().to_string()
    }

    fn reasons(world: &World, product: &str) -> Vec<Reason> {
        let product = world.index.product(&key(product)).unwrap();
        product::view(&world.index, product).problems.into_iter().map(|p| p.reason).collect()
    }

    #[test]
    fn of_two_products_the_older_has_the_topic_and_passes_it_on_when_it_goes() {
        let mut world = World::payments();
        world.put(&rival("young", "payments.shared", MARCH));
        assert_eq!(reasons(&world, "payments/young"), []);
        let touched = world.put(&rival("old", "payments.shared", FEBRUARY));
        assert!(touched.products.contains(&key("payments/young")));
        assert_eq!(reasons(&world, "payments/young"), [Reason::TopicTaken]);
        assert_eq!(reasons(&world, "payments/old"), []);
        let touched = world.delete("DataProduct payments/old");
        assert!(touched.products.contains(&key("payments/young")));
        assert_eq!(owner(&world, "payments.shared"), "payments/young");
    }

    #[test]
    fn a_product_made_anew_is_as_young_as_that() {
        let mut world = World::payments();
        world.put(&rival("a", "payments.shared", FEBRUARY));
        world.put(&rival("b", "payments.shared", MARCH));
        let touched = world.put(&rival("a", "payments.shared", "2026-04-01T00:00:00Z"));
        assert!(touched.products.contains(&key("payments/b")));
        assert_eq!(owner(&world, "payments.shared"), "payments/b");
    }

    #[test]
    fn a_product_cannot_keep_a_topic_of_another_namespace_from_it() {
        let mut world = World::payments();
        world.put(
            "
kind: DataProduct
metadata: {namespace: fraud, name: squatter, creationTimestamp: 2025-01-01T00:00:00Z}
spec: {clusterRef: {name: prod}, streams: [{name: s, topic: payments.orders.placed}]}
",
        );
        assert_eq!(reasons(&world, "fraud/squatter"), [Reason::TopicOutsideNamespace]);
        assert_eq!(reasons(&world, "payments/orders"), []);
    }

    #[test]
    fn two_streams_of_a_product_cannot_have_one_topic() {
        let mut world = World::payments();
        world.put(
            "
kind: DataProduct
metadata: {namespace: payments, name: twins}
spec: {clusterRef: {name: prod}, streams: [{name: a, topic: payments.t}, {name: b, topic: payments.t}]}
",
        );
        assert_eq!(reasons(&world, "payments/twins"), [Reason::TopicTaken]);
    }

    #[test]
    fn a_governed_topic_stays_with_its_product_when_an_older_one_names_it() {
        let mut world = World::payments();
        world.bind("payments/reader", "{kind: StreamClient, name: scorer}");
        let before = world.entries(&principal_of("fraud/scorer", 1));
        let touched = world.put(&rival("old", "payments.orders.placed", "2025-01-01T00:00:00Z"));
        assert!(touched.principals.is_empty());
        assert_eq!(world.entries(&principal_of("fraud/scorer", 1)), before);
        assert_eq!(reasons(&world, "payments/orders"), []);
        let view = product::view(&world.index, world.index.product(&key("payments/old")).unwrap());
        assert_eq!(view.problems[0].reason, Reason::TopicTaken);
        assert!(view.problems[0].message.contains("belongs to DataProduct payments/orders"), "{:?}", view.problems);
    }

    #[test]
    fn a_ledger_that_is_read_late_gives_the_topic_back_to_its_product() {
        let mut world = World::payments();
        world.put(&rival("old", "payments.orders.placed", "2025-01-01T00:00:00Z"));
        world.index.apply(Update::Ledger("prod".into(), Box::default()), world.now);
        assert_eq!(owner(&world, "payments.orders.placed"), "payments/old");
        let touched = world.index.apply(Update::Ledger("prod".into(), Box::new(world.ledger.clone())), world.now);
        assert!(touched.products.contains(&key("payments/old")));
        assert_eq!(owner(&world, "payments.orders.placed"), "payments/orders");
    }

    #[test]
    fn a_topic_that_its_product_names_no_more_goes_to_the_oldest_of_the_others() {
        let mut world = World::payments();
        world.put(&rival("holder", "payments.shared", MARCH));
        world.commit([topic_record("payments.shared", "payments/holder")]);
        world.put(&rival("young", "payments.shared", FEBRUARY));
        world.put(&rival("old", "payments.shared", JANUARY));
        assert_eq!(owner(&world, "payments.shared"), "payments/holder");
        let touched = world.put(&rival("holder", "payments.else", MARCH));
        assert!(touched.products.contains(&key("payments/young")) && touched.products.contains(&key("payments/old")));
        assert_eq!(owner(&world, "payments.shared"), "payments/old");
        world.put(&rival("holder", "payments.shared", MARCH));
        assert_eq!(owner(&world, "payments.shared"), "payments/holder", "nobody took it over meanwhile");
        world.put(&rival("holder", "payments.else", MARCH));
        let touched = world.commit([topic_record("payments.shared", "payments/old")]);
        assert!(touched.products.contains(&key("payments/young")));
        world.put(&rival("holder", "payments.shared", MARCH));
        assert_eq!(reasons(&world, "payments/holder"), [Reason::TopicTaken]);
    }

    #[test]
    fn a_product_that_is_being_deleted_keeps_what_is_on_record_and_nothing_else() {
        let mut world = World::payments();
        let deleted = |topic: &str| {
            rival("leaving", topic, JANUARY)
                .replace("name: leaving,", "name: leaving, deletionTimestamp: 2026-06-01T00:00:00Z,")
        };
        world.put(&rival("leaving", "payments.shared", JANUARY));
        world.put(&rival("next", "payments.shared", FEBRUARY));
        world.commit([topic_record("payments.shared", "payments/leaving")]);
        world.put(&deleted("payments.shared"));
        assert_eq!(owner(&world, "payments.shared"), "payments/leaving");
        let touched = world.commit([Change::Topic("payments.shared".into(), None)]);
        assert!(touched.products.contains(&key("payments/next")));
        assert_eq!(owner(&world, "payments.shared"), "payments/next");
        world.put(&rival("leaving", "payments.shared", JANUARY));
        assert_eq!(owner(&world, "payments.shared"), "payments/leaving");
        let touched = world.put(&deleted("payments.shared"));
        assert!(touched.products.contains(&key("payments/next")));
        assert_eq!(owner(&world, "payments.shared"), "payments/next");
    }
}
