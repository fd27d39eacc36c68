//! Which namespaces may use a cluster, under which prefixes and limits.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt};

use super::problem::Problem;
use crate::api::{Limits, Reason, StreamClusterSpec};

/// A namespace as far as decisions need it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Its labels, which the platform controls.
    pub labels: BTreeMap<String, String>,
    /// When it was made, in milliseconds since the epoch: of two with overlapping prefixes, the older one keeps them.
    pub created: i64,
    /// It is being deleted.
    pub deleting: bool,
}

/// What one namespace may do on one cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Tenant {
    /// Its prefixes, each ending in `.`; only Weir's own workers have none.
    pub prefixes: Vec<String>,
    /// Upper bounds.
    pub limits: Limits,
    /// Whether it may take over existing topics.
    pub allow_adopt: bool,
}

impl Tenant {
    /// The prefix under which names are made by default.
    pub fn default_prefix(&self) -> &str {
        self.prefixes.first().map_or("", String::as_str)
    }

    /// Whether `topic` lies where subjects with internal topics may create and delete as they like.
    pub fn is_internal(&self, topic: &str) -> bool {
        topic.strip_prefix(self.default_prefix()).is_some_and(|rest| rest.starts_with('_'))
    }

    /// Whether `name` lies under one of the prefixes and is more than the prefix itself.
    pub fn covers(&self, name: &str) -> bool {
        self.prefixes.iter().any(|p| !p.is_empty() && name.len() > p.len() && name.starts_with(p.as_str()))
    }
}

/// Every namespace that uses one cluster, or why it cannot.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tenancies {
    tenants: BTreeMap<String, Result<Tenant, Problem>>,
}

impl Tenancies {
    /// Assigns prefixes to `namespaces`, oldest first, so that no two overlap.
    pub fn assign(cluster: &str, spec: &StreamClusterSpec, namespaces: &BTreeMap<String, Namespace>) -> Self {
        let mut by_age: Vec<_> = namespaces.iter().collect();
        by_age.sort_by_key(|(name, ns)| (ns.created, name.as_str()));
        let mut taken = BTreeMap::new();
        let tenants = by_age
            .into_iter()
            .filter_map(|(name, ns)| Some((name.clone(), tenant(cluster, spec, name, ns, &mut taken)?)))
            .collect();
        Self { tenants }
    }

    /// Whether a namespace with these labels may be a tenant: one that is none has no part in the assignment.
    pub fn may_select(spec: &StreamClusterSpec, labels: &BTreeMap<String, String>) -> bool {
        spec.tenancy.iter().any(|t| selects(&t.namespace_selector, labels))
    }

    /// What `namespace` may do.
    ///
    /// # Errors
    /// Why it gets nothing.
    pub fn get(&self, cluster: &str, namespace: &str) -> Result<&Tenant, Problem> {
        match self.tenants.get(namespace) {
            Some(Ok(tenant)) => Ok(tenant),
            Some(Err(problem)) => Err(problem.clone()),
            None => Err(Problem::invalid(
                Reason::NotATenant,
                format!(
                    "no tenancy entry of StreamCluster {cluster} selects namespace {namespace}: ask the platform team to \
                     add one, or to label the namespace"
                ),
            )),
        }
    }

    /// The namespaces that may use the cluster.
    pub fn namespaces(&self) -> impl Iterator<Item = &str> {
        self.tenants.iter().filter(|(_, t)| t.is_ok()).map(|(name, _)| name.as_str())
    }
}

fn tenant(
    cluster: &str,
    spec: &StreamClusterSpec,
    name: &str,
    namespace: &Namespace,
    taken: &mut BTreeMap<String, String>,
) -> Option<Result<Tenant, Problem>> {
    let mut entries = spec.tenancy.iter().filter(|t| selects(&t.namespace_selector, &namespace.labels));
    let entry = entries.next()?;
    if let Some(other) = entries.next() {
        return Some(Err(Problem::invalid(
            Reason::TenancyConflict,
            format!(
                "tenancy entries {} and {} of StreamCluster {cluster} both select namespace {name}: make their \
                 selectors exclude each other",
                entry.name, other.name
            ),
        )));
    }
    let prefixes: Vec<_> = entry.topic_prefixes.iter().map(|p| p.replace("{namespace}", name)).collect();
    for prefix in &prefixes {
        if prefix.contains(['{', '}']) || prefix.len() < 2 {
            return Some(Err(Problem::invalid(
                Reason::TenancyConflict,
                format!(
                    "topic prefix {prefix:?} of tenancy entry {} of StreamCluster {cluster} is not usable",
                    entry.name
                ),
            )));
        }
        if let Some((theirs, owner)) = overlap(taken, prefix, name) {
            return Some(Err(Problem::invalid(
                Reason::TenancyConflict,
                format!(
                    "topic prefix {prefix:?} of namespace {name} overlaps {theirs:?} of namespace {owner}, which is older: \
                     change the tenancy entries of StreamCluster {cluster}"
                ),
            )));
        }
    }
    taken.extend(prefixes.iter().map(|p| (p.clone(), name.to_owned())));
    Some(Ok(Tenant { prefixes, limits: entry.limits.clone(), allow_adopt: entry.allow_adopt }))
}

/// A prefix of another namespace that contains `prefix`, or that `prefix` contains.
fn overlap(taken: &BTreeMap<String, String>, prefix: &str, name: &str) -> Option<(String, String)> {
    let longer = taken.range(prefix.to_owned()..).take_while(|(p, _)| p.starts_with(prefix));
    let shorter = prefix.match_indices('.').filter_map(|(at, _)| taken.get_key_value(&prefix[..=at]));
    longer.chain(shorter).find(|(_, owner)| *owner != name).map(|(p, o)| (p.clone(), o.clone()))
}

/// Whether `selector` matches `labels`. One that is not valid matches nothing.
pub fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    Selector::try_from(selector.clone()).is_ok_and(|s| s.matches(labels))
}

/// The names in `a` whose value differs in `b`, or that only one of them has.
pub fn changed(a: &Tenancies, b: &Tenancies) -> BTreeSet<String> {
    let names = a.tenants.keys().chain(b.tenants.keys());
    names.filter(|n| a.tenants.get(*n) != b.tenants.get(*n)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Namespace, Tenancies};
    use crate::api::{Reason, StreamClusterSpec};

    fn spec(tenancy: serde_json::Value) -> StreamClusterSpec {
        serde_json::from_value(serde_json::json!({
            "bootstrapServers": ["k:9092"],
            "adminCredentials": {"type": "Plain", "secretRef": {"name": "s"}},
            "tenancy": tenancy,
        }))
        .unwrap()
    }

    fn namespaces(names: &[(&str, i64)]) -> BTreeMap<String, Namespace> {
        names
            .iter()
            .map(|(n, created)| {
                let labels = BTreeMap::from([("tenant".to_owned(), (*n).to_owned())]);
                ((*n).to_owned(), Namespace { labels, created: *created, deleting: false })
            })
            .collect()
    }

    #[test]
    fn a_namespace_that_no_entry_selects_gets_nothing() {
        let spec = spec(serde_json::json!([
            {"name": "a", "namespaceSelector": {"matchLabels": {"tenant": "a"}}, "topicPrefixes": ["{namespace}."]}
        ]));
        let tenancies = Tenancies::assign("c", &spec, &namespaces(&[("a", 1), ("b", 2)]));
        assert_eq!(tenancies.get("c", "a").unwrap().prefixes, ["a."]);
        assert_eq!(tenancies.get("c", "b").unwrap_err().reason, Reason::NotATenant);
    }

    #[test]
    fn of_two_overlapping_prefixes_the_older_namespace_keeps_its_own() {
        let spec = spec(serde_json::json!([
            {"name": "a", "namespaceSelector": {"matchLabels": {"tenant": "a"}}, "topicPrefixes": ["x."]},
            {"name": "b", "namespaceSelector": {"matchLabels": {"tenant": "b"}}, "topicPrefixes": ["x.y."]},
        ]));
        for (a, b, winner) in [(1, 2, "a"), (2, 1, "b")] {
            let tenancies = Tenancies::assign("c", &spec, &namespaces(&[("a", a), ("b", b)]));
            let loser = if winner == "a" { "b" } else { "a" };
            assert!(tenancies.get("c", winner).is_ok());
            assert_eq!(tenancies.get("c", loser).unwrap_err().reason, Reason::TenancyConflict);
        }
    }

    #[test]
    fn a_namespace_that_two_entries_select_gets_nothing() {
        let entry = |n| serde_json::json!({"name": n, "namespaceSelector": {}, "topicPrefixes": ["{namespace}."]});
        let tenancies =
            Tenancies::assign("c", &spec(serde_json::json!([entry("p"), entry("q")])), &namespaces(&[("a", 1)]));
        assert_eq!(tenancies.get("c", "a").unwrap_err().reason, Reason::TenancyConflict);
    }

    #[test]
    fn a_prefix_covers_what_lies_under_it_and_not_itself() {
        let spec =
            spec(serde_json::json!([{"name": "all", "namespaceSelector": {}, "topicPrefixes": ["{namespace}."]}]));
        let tenancies = Tenancies::assign("c", &spec, &namespaces(&[("pay", 1), ("payments", 2)]));
        let pay = tenancies.get("c", "pay").unwrap();
        assert!(pay.covers("pay.orders.placed"));
        assert!(!pay.covers("pay."));
        assert!(!pay.covers("payments.orders.placed"));
    }
}
