//! What a RoleBinding comes to: grants, and why not more.
//!
//! What resolves is granted and the rest is a problem: a missing stream does not take the others away, and never gives
//! anything. Only what is wrong with the binding as a whole (deleted, expired, no such role) grants nothing.

mod entries;
mod subject;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::core::Duration;

use self::entries::{ClusterAccess, bounded};
use self::subject::{identify, subject_label};
use super::acl::AclEntry;
use super::index::Index;
use super::names::{ObjectKey, PrincipalKey};
use super::problem::Problem;
use super::product;
use super::role;
use super::tenancy::Tenant;
use crate::api::{Access, Reason, RoleBinding, StreamRole, Subject, Usage};

pub use entries::{quota_map, widen};

/// What one principal gets from one binding.
#[derive(Clone, Debug, PartialEq)]
pub struct Grant {
    /// Who, and where.
    pub key: PrincipalKey,
    /// The binding.
    pub binding: ObjectKey,
    /// UID of the binding.
    pub binding_uid: String,
    /// The entries that it needs.
    pub entries: BTreeSet<AclEntry>,
    /// Quotas by Kafka's key.
    pub quotas: BTreeMap<String, f64>,
    /// UID of a ServiceAccount of another namespace.
    pub subject_uid: Option<String>,
}

/// What a binding comes to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resolution {
    /// One a principal.
    pub grants: Vec<Arc<Grant>>,
    /// What stands in the way of more, sorted.
    pub problems: Vec<Problem>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// Products that it gives access to.
    pub products: BTreeSet<ObjectKey>,
    /// Topics that it gives access to.
    pub topics: BTreeSet<String>,
    /// Prefixes of groups and transactional ids.
    pub prefixes: BTreeSet<String>,
    /// Clusters that it concerns.
    pub clusters: BTreeSet<String>,
}

/// Resolves `binding` as of `index` and `now`.
pub fn resolve(index: &Index, binding: &RoleBinding, now: Timestamp) -> Resolution {
    let mut resolution = Resolution { expires_at: expiry(binding), ..Resolution::default() };
    if let Some(problem) = over(index, binding, now, resolution.expires_at) {
        resolution.problems.push(problem);
        return resolution;
    }
    let closure = role::closure(index, &role_of(binding));
    resolution.problems.extend(closure.problems);
    for (namespace, subjects) in subjects_by_namespace(index, binding) {
        for (cluster, access) in access(index, binding, &closure.roles, &namespace, &mut resolution) {
            grant_on(index, binding, &cluster, &access, &subjects, &mut resolution);
            resolution.clusters.insert(cluster);
        }
    }
    resolution.problems.sort();
    resolution.problems.dedup();
    resolution
}

/// When `binding` ends; `None` is never. An end that cannot be computed is the beginning of time, and of two the earlier
/// one counts.
pub fn expiry(binding: &RoleBinding) -> Option<Timestamp> {
    let at = binding.spec.expires_at.as_ref().map(|t| t.0);
    let after = binding.spec.duration.map(|lasts| created(binding).and_then(|c| later(c, lasts)));
    let after = after.map(|at| at.unwrap_or(Timestamp::MIN));
    at.into_iter().chain(after).min()
}

fn created(binding: &RoleBinding) -> Option<Timestamp> {
    binding.creation_timestamp().map(|t| t.0)
}

/// `None` where `lasts` is negative or leads beyond the end of time.
fn later(from: Timestamp, lasts: Duration) -> Option<Timestamp> {
    // The conversion below would drop the sign.
    (!lasts.is_negative()).then(|| from.checked_add(std::time::Duration::from(lasts)).ok())?
}

/// Why the binding gives nothing any more, whatever its role says.
fn over(index: &Index, binding: &RoleBinding, now: Timestamp, expires_at: Option<Timestamp>) -> Option<Problem> {
    let key = index.key_of(binding);
    if binding.metadata.deletion_timestamp.is_some() {
        return Some(Problem::waiting(Reason::Deleting, format!("RoleBinding {key} is being deleted")));
    }
    let at = expires_at.filter(|at| *at <= now)?;
    Some(Problem::invalid(Reason::Expired, format!("RoleBinding {key} expired at {at}")))
}

fn role_of(binding: &RoleBinding) -> ObjectKey {
    ObjectKey::new(&binding.spec.role_ref.namespace, &binding.spec.role_ref.name)
}

/// Subjects by the namespace that consent is asked for.
fn subjects_by_namespace<'a>(index: &Index, binding: &'a RoleBinding) -> BTreeMap<String, BTreeSet<&'a Subject>> {
    let own = index.key_of(binding).namespace;
    let mut by_namespace: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for subject in &binding.spec.subjects {
        let namespace = subject.namespace.clone().unwrap_or_else(|| own.clone());
        by_namespace.entry(namespace).or_default().insert(subject);
    }
    by_namespace
}

/// What `roles` give subjects of namespace `whose`, by cluster.
fn access(
    index: &Index,
    binding: &RoleBinding,
    roles: &[ObjectKey],
    whose: &str,
    resolution: &mut Resolution,
) -> BTreeMap<String, ClusterAccess> {
    let mut by_cluster = BTreeMap::new();
    for key in roles {
        let Some(role) = index.role(key) else { continue };
        match consent(index, binding, key, role, whose, resolution.expires_at) {
            Ok(()) => add_privileges(index, binding, key, role, &mut by_cluster, resolution),
            Err(problem) => resolution.problems.push(problem),
        }
    }
    by_cluster
}

/// The clusters on which a binding may have given anything, also one that is being deleted: those of the products that its role
/// selects, or all of them where its role, one that it inherits, or a product, is not known any more.
pub fn clusters_of(index: &Index, binding: &RoleBinding) -> BTreeSet<String> {
    let closure = role::closure(index, &role_of(binding));
    let known = closure.problems.is_empty().then_some(closure.roles).and_then(|roles| {
        let mut clusters = BTreeSet::new();
        for (key, role) in roles.iter().filter_map(|key| Some((key, index.role(key)?))) {
            for privilege in &role.spec.privileges {
                let (products, missing) = role::products(index, key, privilege);
                if !missing.is_empty() {
                    return None;
                }
                clusters.extend(products.iter().map(|p| p.spec.cluster_ref.name.clone()));
            }
        }
        Some(clusters)
    });
    known.unwrap_or_else(|| index.cluster_names().map(str::to_owned).collect())
}

/// Whether the owner of `role` lets subjects of namespace `whose` have it by `binding`. A namespace may pass its own roles on
/// to a ServiceAccount of another one; what it inherits from a third, only as that one allows for both.
fn consent(
    index: &Index,
    binding: &RoleBinding,
    key: &ObjectKey,
    role: &StreamRole,
    whose: &str,
    expires_at: Option<Timestamp>,
) -> Result<(), Problem> {
    let own = index.key_of(binding).namespace;
    // Admission asks for `bind` where the role bound is of the binding's own namespace. One that is only inherited, by way of a
    // role elsewhere, was not asked about.
    let asked = binding.spec.role_ref.namespace == own;
    role::bindable(index, key, role, &own, asked)?;
    if key.namespace != own && whose != own {
        role::bindable(index, key, role, whose, true)?;
    }
    within_max_duration(key, role, binding, expires_at)
}

fn within_max_duration(
    key: &ObjectKey,
    role: &StreamRole,
    binding: &RoleBinding,
    expires_at: Option<Timestamp>,
) -> Result<(), Problem> {
    let Some(max) = role.spec.max_duration else { return Ok(()) };
    let created = created(binding).unwrap_or(Timestamp::MIN);
    let latest = later(created, max).unwrap_or(created);
    match expires_at {
        Some(at) if at <= latest => Ok(()),
        Some(at) => Err(Problem::invalid(
            Reason::DurationTooLong,
            format!("StreamRole {key} allows bindings until {latest}, and this one ends {at}"),
        )),
        None => Err(Problem::invalid(
            Reason::DurationTooLong,
            format!("StreamRole {key} wants an end: set spec.expiresAt no later than {latest}, or spec.duration"),
        )),
    }
}

fn add_privileges(
    index: &Index,
    binding: &RoleBinding,
    role_key: &ObjectKey,
    role: &StreamRole,
    by_cluster: &mut BTreeMap<String, ClusterAccess>,
    resolution: &mut Resolution,
) {
    for privilege in &role.spec.privileges {
        let (products, problems) = role::products(index, role_key, privilege);
        resolution.problems.extend(problems);
        for product in products {
            let product_key = index.key_of(product);
            if product.metadata.deletion_timestamp.is_some() {
                resolution
                    .problems
                    .push(Problem::waiting(Reason::Deleting, format!("DataProduct {product_key} is being deleted")));
                continue;
            }
            let purposes = &product.spec.purposes;
            if !purposes.is_empty() && !binding.spec.purpose.as_ref().is_some_and(|p| purposes.contains(p)) {
                resolution.problems.push(Problem::invalid(
                    Reason::PurposeRequired,
                    format!("DataProduct {product_key} wants spec.purpose to be one of: {}", purposes.join(", ")),
                ));
                continue;
            }
            let cluster = &product.spec.cluster_ref.name;
            let view = product::view_of(index, product, &privilege.streams);
            for problem in view.problems {
                let message = format!("DataProduct {product_key}: {}", problem.message);
                resolution.problems.push(Problem::waiting(problem.reason, message));
            }
            for stream in view.streams {
                if !index.is_governed(cluster, &stream.topic, product) {
                    resolution.clusters.insert(cluster.clone());
                    resolution.problems.push(Problem::waiting(
                        Reason::Applying,
                        format!("DataProduct {product_key}: topic {} is not Weir's yet", stream.topic),
                    ));
                    continue;
                }
                let access = by_cluster.entry(cluster.clone()).or_default();
                access.products.insert(product_key.clone());
                access.topics.entry(stream.topic).or_default().extend(privilege.access.iter().copied());
                access.groups |=
                    role.spec.consumer_groups == Usage::Prefixed && privilege.access.contains(&Access::Read);
                access.transactions |=
                    role.spec.transactional_ids == Usage::Prefixed && privilege.access.contains(&Access::Write);
                access.internal |= role.spec.internal_topics == Usage::Prefixed;
                widen(&mut access.quotas, &quota_map(role.spec.quotas.as_ref()));
            }
        }
    }
}

/// Grants `access` on one cluster to each of `subjects` that may have it.
fn grant_on(
    index: &Index,
    binding: &RoleBinding,
    cluster: &str,
    access: &ClusterAccess,
    subjects: &BTreeSet<&Subject>,
    resolution: &mut Resolution,
) {
    let key = index.key_of(binding);
    let Some(spec) = index.cluster_spec(cluster) else {
        let message = format!("StreamCluster {cluster} does not exist");
        resolution.problems.push(Problem::waiting(Reason::ClusterNotFound, message));
        return;
    };
    let tenant = match index.tenant(cluster, &key.namespace) {
        Ok(tenant) => tenant,
        Err(problem) => return resolution.problems.push(problem),
    };
    let prefixes = match own_prefixes(binding, tenant) {
        Ok(prefixes) => prefixes,
        Err(problem) => return resolution.problems.push(problem),
    };
    let quotas = bounded(&access.quotas, &quota_map(tenant.limits.quotas.as_ref()));
    for subject in subjects {
        let identified = match identify(index, binding, cluster, spec, subject) {
            Ok(identified) => identified,
            Err(problem) => {
                resolution.problems.push(problem);
                continue;
            }
        };
        let label = subject_label(subject, &key.namespace);
        let own = label.as_ref().map(|l| format!("{}{l}.", tenant.default_prefix()));
        let internal = label.as_ref().map(|l| format!("{}_{l}.", tenant.default_prefix()));
        if own.is_none() && prefixes.is_empty() && (access.groups || access.transactions) {
            resolution.problems.push(Problem::invalid(
                Reason::PrefixOutsideNamespace,
                format!("User {:?} is no DNS label: name its consumer groups' prefixes in spec.prefixes", subject.name),
            ));
        }
        if internal.is_none() && access.internal {
            resolution.problems.push(Problem::invalid(
                Reason::PrefixOutsideNamespace,
                format!("User {:?} is no DNS label: it cannot have internal topics", subject.name),
            ));
        }
        let usable: BTreeSet<_> = own.into_iter().chain(prefixes.iter().cloned()).collect();
        for principal in identified.principals {
            let granted = |g: &Arc<Grant>| g.key.principal == principal && g.key.cluster == cluster;
            if resolution.grants.iter().any(granted) {
                continue; // A ServiceAccount named both with its namespace and without.
            }
            let entries = entries::entries(&principal, access, &usable, internal.as_deref());
            resolution.grants.push(Arc::new(Grant {
                key: PrincipalKey { cluster: cluster.into(), principal },
                binding: key.clone(),
                binding_uid: binding.uid().unwrap_or_default(),
                entries,
                quotas: quotas.clone(),
                subject_uid: identified.uid.clone(),
            }));
        }
        if access.groups || access.transactions {
            resolution.prefixes.extend(usable);
        }
        resolution.products.extend(access.products.iter().cloned());
        resolution.topics.extend(access.topics.keys().cloned());
    }
}

/// Further prefixes, each within the namespace's.
fn own_prefixes(binding: &RoleBinding, tenant: &Tenant) -> Result<Vec<String>, Problem> {
    match binding.spec.prefixes.iter().find(|p| !tenant.covers(p)) {
        None => Ok(binding.spec.prefixes.clone()),
        Some(bad) => Err(Problem::invalid(
            Reason::PrefixOutsideNamespace,
            format!(
                "spec.prefixes: {bad:?} lies outside the prefixes of this namespace ({})",
                tenant.prefixes.join(", ")
            ),
        )),
    }
}
