//! What a RoleBinding comes to: grants, and why not more.
//!
//! What resolves is granted and the rest is a problem: a missing stream does not take the others away, and never gives
//! anything. Only what is wrong with the binding as a whole (deleted, expired, no such role, a cycle) grants nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use super::acl::{AclEntry, Operation, PatternType, Permission, ResourceType};
use super::index::Index;
use super::names::{ObjectKey, PrincipalKey, is_dns_label, is_reserved_for_weir, service_account_principal};
use super::problem::Problem;
use super::product;
use super::role;
use super::tenancy::{Tenant, selects};
use crate::api::{Access, Quotas, Reason, RoleBinding, StreamClusterSpec, StreamRole, Subject, SubjectKind, Usage};

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

/// Access to one topic, and to what the subject needs beside it.
#[derive(Clone, Debug, Default)]
struct ClusterAccess {
    topics: BTreeMap<String, BTreeSet<Access>>,
    groups: bool,
    transactions: bool,
    internal: bool,
    quotas: BTreeMap<String, f64>,
}

/// Resolves `binding` as of `index` and `now`.
pub fn resolve(index: &Index, binding: &RoleBinding, now: Timestamp) -> Resolution {
    let mut resolution = Resolution { expires_at: expiry(binding), ..Resolution::default() };
    match access(index, binding, now, &mut resolution) {
        Ok(by_cluster) => {
            resolution.clusters = by_cluster.keys().cloned().collect();
            for (cluster, access) in &by_cluster {
                grant_on(index, binding, cluster, access, &mut resolution);
            }
        }
        Err(problem) => resolution.problems.push(problem),
    }
    resolution.problems.sort();
    resolution.problems.dedup();
    resolution
}

/// When `binding` ends; `None` is never. An end that cannot be computed is the beginning of time.
pub fn expiry(binding: &RoleBinding) -> Option<Timestamp> {
    if let Some(at) = &binding.spec.expires_at {
        return Some(at.0);
    }
    let lasts = std::time::Duration::from(binding.spec.duration?);
    let created = binding.creation_timestamp().map_or(Timestamp::MIN, |t| t.0);
    Some(created.checked_add(lasts).unwrap_or(Timestamp::MIN))
}

/// What the binding's role gives its namespace, by cluster.
fn access(
    index: &Index,
    binding: &RoleBinding,
    now: Timestamp,
    resolution: &mut Resolution,
) -> Result<BTreeMap<String, ClusterAccess>, Problem> {
    let key = index.key_of(binding);
    if binding.metadata.deletion_timestamp.is_some() {
        return Err(Problem::waiting(Reason::Deleting, format!("RoleBinding {key} is being deleted")));
    }
    if let Some(at) = resolution.expires_at.filter(|at| *at <= now) {
        return Err(Problem::invalid(Reason::Expired, format!("RoleBinding {key} expired at {at}")));
    }
    let role_ref = ObjectKey::new(&binding.spec.role_ref.namespace, &binding.spec.role_ref.name);
    let mut by_cluster = BTreeMap::new();
    for role_key in role::closure(index, &role_ref)? {
        let Some(role) = index.role(&role_key) else { continue };
        let consent = role::bindable(index, &role_key, role, &key.namespace)
            .and_then(|()| within_max_duration(&role_key, role, binding, resolution.expires_at, now));
        match consent {
            Ok(()) => add_privileges(index, binding, &role_key, role, &mut by_cluster, resolution),
            Err(problem) => resolution.problems.push(problem),
        }
    }
    Ok(by_cluster)
}

fn within_max_duration(
    key: &ObjectKey,
    role: &StreamRole,
    binding: &RoleBinding,
    expires_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), Problem> {
    let Some(max) = role.spec.max_duration else { return Ok(()) };
    let created = binding.creation_timestamp().map_or(now, |t| t.0);
    let latest = created.checked_add(std::time::Duration::from(max)).unwrap_or(created);
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
            let view = product::view(index, product);
            for problem in view.problems {
                let message = format!("DataProduct {product_key}: {}", problem.message);
                resolution.problems.push(Problem::waiting(problem.reason, message));
            }
            let wanted = |name: &String| privilege.streams.is_empty() || privilege.streams.contains(name);
            for stream in view.streams.into_iter().filter(|s| wanted(&s.name)) {
                if !index.is_governed(cluster, &stream.topic, product) {
                    resolution.problems.push(Problem::waiting(
                        Reason::Applying,
                        format!("DataProduct {product_key}: topic {} is not Weir's yet", stream.topic),
                    ));
                    continue;
                }
                resolution.products.insert(product_key.clone());
                resolution.topics.insert(stream.topic.clone());
                let access = by_cluster.entry(cluster.clone()).or_default();
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

/// Grants `access` on one cluster to every subject that may have it.
fn grant_on(index: &Index, binding: &RoleBinding, cluster: &str, access: &ClusterAccess, resolution: &mut Resolution) {
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
    for subject in &binding.spec.subjects {
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
        let usable: BTreeSet<_> = own.into_iter().chain(prefixes.iter().cloned()).collect();
        for principal in identified.principals {
            let entries = entries(&principal, access, &usable, internal.as_deref());
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

/// The part of names that stands for the subject. One of another namespace cannot meet a local one: labels have no `_`.
fn subject_label(subject: &Subject, namespace: &str) -> Option<String> {
    match &subject.namespace {
        _ if !is_dns_label(&subject.name) => None,
        Some(other) if other != namespace => Some(format!("{other}_{}", subject.name)),
        _ => Some(subject.name.clone()),
    }
}

/// Who a subject is on a cluster.
struct Identified {
    principals: Vec<String>,
    uid: Option<String>,
}

fn identify(
    index: &Index,
    binding: &RoleBinding,
    cluster: &str,
    spec: &StreamClusterSpec,
    subject: &Subject,
) -> Result<Identified, Problem> {
    let namespace = index.key_of(binding).namespace;
    match subject.kind {
        SubjectKind::StreamClient => stream_client(index, &ObjectKey::new(namespace, &subject.name), cluster),
        SubjectKind::ServiceAccount => service_account(index, binding, cluster, spec, subject),
        SubjectKind::User => user(index, &namespace, cluster, spec, &subject.name),
    }
}

fn stream_client(index: &Index, key: &ObjectKey, cluster: &str) -> Result<Identified, Problem> {
    let client = index
        .client(key)
        .ok_or_else(|| Problem::invalid(Reason::SubjectNotFound, format!("StreamClient {key} does not exist")))?;
    if client.metadata.deletion_timestamp.is_some() {
        return Err(Problem::waiting(Reason::Deleting, format!("StreamClient {key} is being deleted")));
    }
    if client.spec.cluster_ref.name != cluster {
        return Err(Problem::invalid(
            Reason::SubjectNotFound,
            format!(
                "StreamClient {key} is known on StreamCluster {}, and the role's products are on {cluster}",
                client.spec.cluster_ref.name
            ),
        ));
    }
    let principals = index.client_principals(client);
    if principals.is_empty() {
        return Err(Problem::waiting(Reason::Applying, format!("StreamClient {key} has no credential yet")));
    }
    Ok(Identified { principals, uid: None })
}

fn service_account(
    index: &Index,
    binding: &RoleBinding,
    cluster: &str,
    spec: &StreamClusterSpec,
    subject: &Subject,
) -> Result<Identified, Problem> {
    let own = index.key_of(binding).namespace;
    let account = ObjectKey::new(subject.namespace.as_ref().unwrap_or(&own), &subject.name);
    let foreign = account.namespace != own;
    if foreign && binding.spec.role_ref.namespace != own {
        return Err(Problem::invalid(
            Reason::SubjectNotAllowed,
            format!(
                "ServiceAccount {account} is of another namespace: only a binding in the role's own namespace may name it"
            ),
        ));
    }
    if spec.identity.oauth.is_none() {
        return Err(Problem::invalid(
            Reason::NoListener,
            format!("StreamCluster {cluster} has no identity.oauth: ServiceAccounts cannot be bound on it"),
        ));
    }
    if !is_dns_label(&account.name) {
        return Err(Problem::invalid(
            Reason::SubjectNotAllowed,
            format!(
                "ServiceAccount {account} has a dot in its name, which would reach into the prefix of another subject"
            ),
        ));
    }
    let uid = index
        .account(&account)
        .ok_or_else(|| Problem::waiting(Reason::SubjectNotFound, format!("ServiceAccount {account} does not exist")))?;
    let principal = service_account_principal(&account);
    if foreign && index.recorded_subject(&binding.uid().unwrap_or_default(), &principal).is_some_and(|was| was != uid) {
        return Err(Problem::invalid(
            Reason::SubjectRecreated,
            format!(
                "ServiceAccount {account} was deleted and made anew since it was bound: delete this binding and make it again"
            ),
        ));
    }
    Ok(Identified { principals: vec![principal], uid: foreign.then(|| uid.to_owned()) })
}

fn user(
    index: &Index,
    namespace: &str,
    cluster: &str,
    spec: &StreamClusterSpec,
    name: &str,
) -> Result<Identified, Problem> {
    let refuse = |why: &str| {
        Err(Problem::invalid(
            Reason::UserNotAllowed,
            format!("User {name:?} cannot be bound on StreamCluster {cluster}: {why}"),
        ))
    };
    if name == "*" || name == "ANONYMOUS" || name.is_empty() {
        return refuse("it stands for everybody");
    }
    if is_reserved_for_weir(name) || name.starts_with("system:") {
        return refuse("principals of this form are given out by Weir or by Kubernetes");
    }
    if spec.identity.super_users.iter().any(|s| s == name) || index.admin_principal(cluster).is_some_and(|a| a == name)
    {
        return refuse("it is a super user");
    }
    let labels = index.namespace(namespace).map(|ns| &ns.labels);
    let claimed = spec.identity.user_claims.iter().any(|claim| {
        labels.is_some_and(|l| selects(&claim.namespace_selector, l)) && matches(&claim.pattern, namespace, name)
    });
    if claimed {
        return Ok(Identified { principals: vec![name.to_owned()], uid: None });
    }
    refuse(&format!("no entry of identity.userClaims gives it to namespace {namespace}"))
}

fn matches(pattern: &str, namespace: &str, name: &str) -> bool {
    let pattern = pattern.replace("{namespace}", namespace);
    match pattern.strip_suffix('*') {
        Some(start) => !start.is_empty() && name.starts_with(start),
        None => pattern == name,
    }
}

/// The fewest entries that give `access` to `principal`: Read, Write and Delete imply Describe.
fn entries(
    principal: &str,
    access: &ClusterAccess,
    prefixes: &BTreeSet<String>,
    internal: Option<&str>,
) -> BTreeSet<AclEntry> {
    let principal: Arc<str> = format!("User:{principal}").into();
    let host: Arc<str> = "*".into();
    let entry = |resource_type, pattern_type, resource: &str, operation| AclEntry {
        principal: principal.clone(),
        resource_type,
        pattern_type,
        resource: resource.into(),
        operation,
        permission: Permission::Allow,
        host: host.clone(),
    };
    let mut entries = BTreeSet::new();
    for (topic, access) in &access.topics {
        let implied = access.contains(&Access::Read) || access.contains(&Access::Write);
        for operation in access.iter().filter(|a| **a != Access::Describe || !implied).map(|a| match a {
            Access::Read => Operation::Read,
            Access::Write => Operation::Write,
            Access::Describe => Operation::Describe,
        }) {
            entries.insert(entry(ResourceType::Topic, PatternType::Literal, topic, operation));
        }
    }
    if let Some(internal) = internal.filter(|_| access.internal) {
        for operation in [Operation::Create, Operation::Delete, Operation::Read, Operation::Write] {
            entries.insert(entry(ResourceType::Topic, PatternType::Prefixed, internal, operation));
        }
        // Kafka Streams names its internal topics by its application id, which is its group id too.
        entries.insert(entry(ResourceType::Group, PatternType::Prefixed, internal, Operation::Read));
        entries.insert(entry(ResourceType::TransactionalId, PatternType::Prefixed, internal, Operation::Write));
    }
    for prefix in prefixes {
        if access.groups {
            entries.insert(entry(ResourceType::Group, PatternType::Prefixed, prefix, Operation::Read));
        }
        if access.transactions {
            entries.insert(entry(ResourceType::TransactionalId, PatternType::Prefixed, prefix, Operation::Write));
        }
    }
    entries
}

/// Quotas under Kafka's keys.
pub fn quota_map(quotas: Option<&Quotas>) -> BTreeMap<String, f64> {
    let Some(quotas) = quotas else { return BTreeMap::new() };
    [
        ("producer_byte_rate", quotas.producer_byte_rate),
        ("consumer_byte_rate", quotas.consumer_byte_rate),
        ("request_percentage", quotas.request_percentage),
        ("controller_mutation_rate", quotas.controller_mutation_rate),
    ]
    .into_iter()
    .filter_map(|(key, value)| Some((key.to_owned(), value? as f64)))
    .collect()
}

/// Takes the larger of each.
pub fn widen(into: &mut BTreeMap<String, f64>, other: &BTreeMap<String, f64>) {
    for (key, value) in other {
        into.entry(key.clone()).and_modify(|v| *v = v.max(*value)).or_insert(*value);
    }
}

/// Keeps `quotas` within `limits`; what is limited and not set is set at the limit.
fn bounded(quotas: &BTreeMap<String, f64>, limits: &BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    let mut bounded = limits.clone();
    for (key, value) in quotas {
        let value = limits.get(key).map_or(*value, |limit| value.min(*limit));
        bounded.insert(key.clone(), value);
    }
    bounded
}
