//! Who the subjects of a binding are, and which of them may be.

use kube::ResourceExt;

use crate::api::{Reason, RoleBinding, StreamClusterSpec, Subject, SubjectKind};
use crate::domain::index::Index;
use crate::domain::names::{ObjectKey, is_dns_label, is_reserved_for_weir, service_account_principal};
use crate::domain::problem::Problem;
use crate::domain::tenancy::selects;

/// The part of names that stands for the subject. One of another namespace cannot meet a local one: labels have no `_`.
pub(super) fn subject_label(subject: &Subject, namespace: &str) -> Option<String> {
    match &subject.namespace {
        _ if !is_dns_label(&subject.name) => None,
        Some(other) if other != namespace => Some(format!("{other}_{}", subject.name)),
        _ => Some(subject.name.clone()),
    }
}

/// Who a subject is on a cluster.
pub(super) struct Identified {
    /// The principals, without `User:`.
    pub(super) principals: Vec<String>,
    /// UID of a ServiceAccount of another namespace.
    pub(super) uid: Option<String>,
}

pub(super) fn identify(
    index: &Index,
    binding: &RoleBinding,
    cluster: &str,
    spec: &StreamClusterSpec,
    subject: &Subject,
) -> Result<Identified, Problem> {
    let namespace = index.key_of(binding).namespace;
    if let Some(other) = subject.namespace.as_ref().filter(|n| **n != namespace)
        && subject.kind != SubjectKind::ServiceAccount
    {
        return Err(Problem::invalid(
            Reason::SubjectNotAllowed,
            format!(
                "{:?} {other}/{} is of another namespace: only a ServiceAccount can be",
                subject.kind, subject.name
            ),
        ));
    }
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
    let binding_uid = binding.uid().unwrap_or_default();
    if foreign && index.recorded_subjects(&binding_uid, &principal).any(|was| was != uid) {
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
    let super_users = spec.identity.super_users.iter().map(|s| s.strip_prefix("User:").unwrap_or(s));
    if super_users.chain(index.admin_principal(cluster)).any(|s| s == name) {
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

/// Whether a claim's `pattern` gives `name` to `namespace`. One that ends in `*` gives nothing where the text after
/// `{namespace}` could go on a namespace's name: of `{namespace}-*`, namespace `a` would get what is meant for `a-b`.
fn matches(pattern: &str, namespace: &str, name: &str) -> bool {
    const NAMESPACE: &str = "{namespace}";
    let Some(start) = pattern.strip_suffix('*') else { return pattern.replace(NAMESPACE, namespace) == name };
    let goes_on = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let ends_namespace = match start.rsplit_once(NAMESPACE) {
        Some((_, after)) => after.contains(|c| !goes_on(c)),
        None => !start.is_empty(),
    };
    ends_namespace && name.starts_with(&start.replace(NAMESPACE, namespace))
}
