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

use self::subject::{identify, subject_label};
use super::acl::AclEntry;
use super::approval::{self, Allowance, Awaited, requesters};
use super::index::Index;
use super::names::{ObjectKey, PrincipalKey};
use super::problem::Problem;
use super::product;
use super::role;
use super::tenancy::Tenant;
use crate::api::{Access, Reason, RequestKind, RoleBinding, StreamRole, Subject, Usage};

pub use entries::{ANYWHERE, ClusterAccess, bounded, entries, quota_map, widen};

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
    /// What waits for an approval, by role.
    pub awaited: BTreeMap<ObjectKey, Awaited>,
    /// When something of this changes by itself.
    pub changes_at: Option<Timestamp>,
    /// Something waits for an approval, and one ended by itself: nobody need be asked about what went with it.
    pub lapsed: bool,
}

/// Resolves `binding` as of `index` and `now`.
pub fn resolve(index: &Index, binding: &RoleBinding, now: Timestamp) -> Resolution {
    let start = start(index, binding);
    let mut resolution = Resolution { expires_at: expiry(binding, start), ..Resolution::default() };
    resolution.changes_at = resolution.expires_at;
    if let Some(problem) = over(index, binding, now, resolution.expires_at) {
        resolution.problems.push(problem);
        return resolution;
    }
    resolution.changes_at = resolution.changes_at.into_iter().chain(approval::next_end(index, binding, now)).min();
    let closure = role::closure(index, &role_of(binding));
    resolution.problems.extend(closure.problems);
    let request = Request { binding, start, now };
    for alike in subjects_by_consent(index, binding) {
        for (cluster, access) in access(index, &request, &closure.roles, &alike, &mut resolution) {
            grant_on(index, binding, &cluster, &access, &alike.1, &mut resolution);
            resolution.clusters.insert(cluster);
        }
    }
    resolution.lapsed =
        !resolution.awaited.is_empty() && approval::lapsed(index, binding, RequestKind::RoleBinding, now);
    let key = index.key_of(binding);
    let waits = resolution.awaited.iter().map(|(role, awaited)| approval::awaiting(role, &key, awaited));
    resolution.problems.extend(waits.collect::<Vec<_>>());
    resolution.problems.sort();
    resolution.problems.dedup();
    resolution
}

/// A binding at a moment.
struct Request<'a> {
    binding: &'a RoleBinding,
    start: Option<Timestamp>,
    now: Timestamp,
}

/// When the clock of `binding` begins: with its creation; where its role wants an approval, with the first; `None` before that.
fn start(index: &Index, binding: &RoleBinding) -> Option<Timestamp> {
    let key = role_of(binding);
    match index.role(&key) {
        Some(role) if approval::is_wanted(index, binding, role) => approval::start(index, binding, &key),
        _ => created(binding),
    }
}

/// When `binding` ends that begins at `start`; `None` is never, or not known yet. An end that cannot be computed is the beginning
/// of time, and of two the earlier one counts.
fn expiry(binding: &RoleBinding, start: Option<Timestamp>) -> Option<Timestamp> {
    let at = binding.spec.expires_at.as_ref().map(|t| t.0);
    let after = binding.spec.duration.zip(start).map(|(lasts, start)| later(start, lasts));
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

/// Subjects of a namespace, for which one answer holds.
type Alike<'a> = (String, BTreeSet<&'a Subject>);

/// Subjects by the namespace that consent is asked for; each alone where somebody decided about them.
fn subjects_by_consent<'a>(index: &Index, binding: &'a RoleBinding) -> Vec<Alike<'a>> {
    let key = index.key_of(binding);
    let namespace = |s: &Subject| s.namespace.clone().unwrap_or_else(|| key.namespace.clone());
    if index.approvals_of(&key).next().is_some() {
        return binding.spec.subjects.iter().map(|s| (namespace(s), BTreeSet::from([s]))).collect();
    }
    let mut by_namespace: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for subject in &binding.spec.subjects {
        by_namespace.entry(namespace(subject)).or_default().insert(subject);
    }
    by_namespace.into_iter().collect()
}

/// Whether the owner of the role that `binding` names lets its namespace ask for it.
pub fn may_ask(index: &Index, binding: &RoleBinding) -> bool {
    let (key, own) = (role_of(binding), index.key_of(binding).namespace);
    index.role(&key).is_some_and(|role| role::bindable(index, &key, role, &own, key.namespace == own).is_ok())
}

/// Whose doing it is what a binding gives: who asked for it, then who made and changed the role that it names, where that lets it be
/// bound. What of it is approved asks for the former only.
pub fn behind<'a>(index: &'a Index, binding: &'a RoleBinding) -> Vec<&'a str> {
    let role = index.role(&role_of(binding)).filter(|_| may_ask(index, binding));
    let mut named = BTreeSet::new();
    let all = requesters(binding).chain(role.into_iter().flat_map(requesters));
    all.filter(|name| named.insert(*name)).collect()
}

/// What `roles` give to subjects that are alike, by cluster.
fn access(
    index: &Index,
    request: &Request<'_>,
    roles: &[ObjectKey],
    alike: &Alike<'_>,
    resolution: &mut Resolution,
) -> BTreeMap<String, ClusterAccess> {
    let mut by_cluster = BTreeMap::new();
    for key in roles {
        let Some(role) = index.role(key) else { continue };
        match consent(index, request, key, role, &alike.0) {
            Ok(allowance) => {
                let source = Source { request, key, role, allowance, subjects: &alike.1 };
                add_privileges(index, &source, &mut by_cluster, resolution);
            }
            Err(problem) => resolution.problems.push(problem),
        }
    }
    by_cluster
}

/// A role as a binding has it, and for whom.
struct Source<'a> {
    request: &'a Request<'a>,
    key: &'a ObjectKey,
    role: &'a StreamRole,
    allowance: Allowance<'a>,
    subjects: &'a BTreeSet<&'a Subject>,
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
fn consent<'a>(
    index: &'a Index,
    request: &Request<'a>,
    key: &'a ObjectKey,
    role: &StreamRole,
    whose: &str,
) -> Result<Allowance<'a>, Problem> {
    let binding = request.binding;
    let own = index.key_of(binding).namespace;
    // Admission asks for `bind` where the role bound is of the binding's own namespace. One that is only inherited, by way of a
    // role elsewhere, was not asked about.
    let asked = binding.spec.role_ref.namespace == own;
    role::bindable(index, key, role, &own, asked)?;
    if key.namespace != own && whose != own {
        role::bindable(index, key, role, whose, true)?;
    }
    within_max_duration(key, role, request)?;
    approval::allowance(index, binding, key, role, asked && key.namespace == own, request.now)
}

/// The clock of one that waits for its approval has not begun: it is looked at as if it did now.
fn within_max_duration(key: &ObjectKey, role: &StreamRole, request: &Request<'_>) -> Result<(), Problem> {
    let Some(max) = role.spec.max_duration else { return Ok(()) };
    let start = request.start.unwrap_or(request.now);
    let latest = later(start, max).unwrap_or(start);
    match expiry(request.binding, Some(start)) {
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
    source: &Source<'_>,
    by_cluster: &mut BTreeMap<String, ClusterAccess>,
    resolution: &mut Resolution,
) {
    let Source { key: role_key, role, .. } = *source;
    let binding = source.request.binding;
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
                let allowed = source.allowed(&product_key.name, &stream.name, &privilege.access, resolution);
                if allowed.is_empty() {
                    continue;
                }
                let access = by_cluster.entry(cluster.clone()).or_default();
                access.products.insert(product_key.clone());
                access.groups |= role.spec.consumer_groups == Usage::Prefixed && allowed.contains(&Access::Read);
                access.transactions |=
                    role.spec.transactional_ids == Usage::Prefixed && allowed.contains(&Access::Write);
                access.topics.entry(stream.topic).or_default().extend(allowed);
                access.internal |= role.spec.internal_topics == Usage::Prefixed;
                widen(&mut access.quotas, &quota_map(role.spec.quotas.as_ref()));
            }
        }
    }
}

impl Source<'_> {
    /// What of `access` to a stream is allowed; notes what waits.
    fn allowed(&self, product: &str, stream: &str, access: &[Access], resolution: &mut Resolution) -> BTreeSet<Access> {
        let allowed = self.allowance.of(self.subjects, product, stream, access);
        let waits: BTreeSet<_> = access.iter().copied().filter(|a| !allowed.contains(a)).collect();
        if !waits.is_empty() {
            let awaited = resolution.awaited.entry(self.key.clone()).or_default();
            awaited.subjects.extend(self.subjects.iter().map(|s| (*s).clone()));
            awaited.streams.entry((product.to_owned(), stream.to_owned())).or_default().extend(waits);
        }
        allowed
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
            let entries = entries(&principal, access, &usable, internal.as_deref(), &ANYWHERE);
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
