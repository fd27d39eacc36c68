//! ACLs (KIP-140): described by pipelined filters, created and deleted in chunks.
//!
//! Deletions are exact tuples, or every entry of one principal. Nothing else is ever sent as a deletion.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt as _, try_join_all};
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::delete_acls_response::{DeleteAclsFilterResult, DeleteAclsMatchingAcl};
use kafka_protocol::messages::{CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest, DescribeAclsResponse};
use kafka_protocol::protocol::StrBytes;

use crate::domain::acl::{AclEntry, Operation, PatternType, Permission, ResourceType};
use crate::kafka::api::text;
use crate::kafka::batch::{Limit, chunks, in_chunks, reading};
use crate::kafka::cluster::{Cluster, To};
use crate::kafka::codes::{self, permanent, unknown_outcome};
use crate::ports::{AclFilter, KafkaError, PerItem};

/// Creating is quadratic in the size of the request, and 10,000 is the most that a broker takes.
const CREATE: Limit = Limit { items: 1000, weight: usize::MAX };
/// A request deletes by at most this many units, where an exact tuple is one and a principal is five: every filter
/// walks all entries, and a request that matches more than 10,000 fails.
const DELETE: Limit = Limit { items: 100, weight: 100 };
/// How many descriptions are in flight at a time.
const PIPELINE: usize = 32;
/// The wildcard of filters, alike in Kafka's four enums.
const ANY: i8 = 1;

/// The parts of a filter, as both requests carry them.
struct Parts {
    resource_type: i8,
    resource: Option<StrBytes>,
    pattern_type: i8,
    principal: Option<StrBytes>,
    host: Option<StrBytes>,
    operation: i8,
    permission: i8,
}

impl Parts {
    fn new(filter: &AclFilter) -> Self {
        let any = Self {
            resource_type: ANY,
            resource: None,
            pattern_type: ANY,
            principal: None,
            host: None,
            operation: ANY,
            permission: ANY,
        };
        match filter {
            AclFilter::All => any,
            AclFilter::ResourceType(of) => Self { resource_type: of.code(), ..any },
            AclFilter::Principal(principal) => Self { principal: Some(text(principal)), ..any },
            AclFilter::Exact(entry) => Self {
                resource_type: entry.resource_type.code(),
                resource: Some(text(&entry.resource)),
                pattern_type: entry.pattern_type.code(),
                principal: Some(text(&entry.principal)),
                host: Some(text(&entry.host)),
                operation: entry.operation.code(),
                permission: entry.permission.code(),
            },
        }
    }
}

/// See [`crate::ports::KafkaAdmin::describe_acls`].
pub(in crate::kafka) async fn describe(
    cluster: &Cluster,
    to: To,
    filters: &[AclFilter],
) -> Result<BTreeSet<AclEntry>, KafkaError> {
    let mut found = BTreeSet::new();
    for some in filters.chunks(PIPELINE) {
        let mut each = Vec::with_capacity(some.len());
        for filter in some {
            each.push(reading(move || describe_one(cluster, to, filter)).boxed());
        }
        found.extend(try_join_all(each).await?.into_iter().flatten());
    }
    Ok(found)
}

async fn describe_one(cluster: &Cluster, to: To, filter: &AclFilter) -> Result<Vec<AclEntry>, KafkaError> {
    let parts = Parts::new(filter);
    let request = DescribeAclsRequest::default()
        .with_resource_type_filter(parts.resource_type)
        .with_resource_name_filter(parts.resource)
        .with_pattern_type_filter(parts.pattern_type)
        .with_principal_filter(parts.principal)
        .with_host_filter(parts.host)
        .with_operation(parts.operation)
        .with_permission_type(parts.permission);
    let response = cluster.send(to, &request).await?;
    codes::check(response.error_code, response.error_message.as_deref())?;
    Ok(entries(&response))
}

fn entries(response: &DescribeAclsResponse) -> Vec<AclEntry> {
    let mut found = Vec::new();
    for resource in &response.resources {
        let name: Arc<str> = Arc::from(resource.resource_name.as_str());
        found.extend(resource.acls.iter().map(|acl| AclEntry {
            principal: Arc::from(acl.principal.as_str()),
            resource_type: ResourceType::from_code(resource.resource_type),
            pattern_type: PatternType::from_code(resource.pattern_type),
            resource: Arc::clone(&name),
            operation: Operation::from_code(acl.operation),
            permission: Permission::from_code(acl.permission_type),
            host: Arc::from(acl.host.as_str()),
        }));
    }
    found
}

/// See [`crate::ports::KafkaAdmin::create_acls`]. One bad code would fail its whole request, so entries with unknown
/// ones are refused here.
pub(in crate::kafka) async fn create(cluster: &Cluster, wanted: &[AclEntry]) -> PerItem<()> {
    let refusals: Vec<_> = wanted.iter().map(unfit).collect();
    let fit: Vec<&AclEntry> = wanted.iter().zip(&refusals).filter(|(_, no)| no.is_none()).map(|(e, _)| e).collect();
    let cut = chunks(&fit, CREATE, |_| 1);
    let created = in_chunks(&fit, cut, |batch| {
        let entries: Vec<AclEntry> = batch.into_iter().map(|&entry| entry.clone()).collect();
        async move { send_create(cluster, &entries).await }.boxed()
    })
    .await;
    merge(refusals, created)
}

async fn send_create(cluster: &Cluster, entries: &[AclEntry]) -> Result<PerItem<()>, KafkaError> {
    let creation = |entry: &AclEntry| {
        AclCreation::default()
            .with_resource_type(entry.resource_type.code())
            .with_resource_name(text(&entry.resource))
            .with_resource_pattern_type(entry.pattern_type.code())
            .with_principal(text(&entry.principal))
            .with_host(text(&entry.host))
            .with_operation(entry.operation.code())
            .with_permission_type(entry.permission.code())
    };
    let request = CreateAclsRequest::default().with_creations(entries.iter().map(creation).collect());
    let response = cluster.send(To::Any, &request).await?;
    expect_as_many(response.results.len(), entries.len())?;
    Ok(response.results.iter().map(|r| codes::check(r.error_code, r.error_message.as_deref())).collect())
}

/// See [`crate::ports::KafkaAdmin::delete_acls`].
pub(in crate::kafka) async fn delete(cluster: &Cluster, filters: &[AclFilter]) -> PerItem<Vec<AclEntry>> {
    let refusals: Vec<_> = filters.iter().map(undeletable).collect();
    let fit: Vec<&AclFilter> = filters.iter().zip(&refusals).filter(|(_, no)| no.is_none()).map(|(f, _)| f).collect();
    let weight = |filter: &&AclFilter| if matches!(filter, AclFilter::Exact(_)) { 1 } else { 5 };
    let cut = chunks(&fit, DELETE, weight);
    let deleted = in_chunks(&fit, cut, |batch| {
        let filters: Vec<AclFilter> = batch.into_iter().map(|&filter| filter.clone()).collect();
        async move { delete_or_split(cluster, &filters).await }.boxed()
    })
    .await;
    merge(refusals, deleted)
}

/// Deletes by halves where the whole matches more entries than the broker removes at once: it answers
/// `INVALID_REQUEST` and removes none.
fn delete_or_split<'a>(
    cluster: &'a Cluster,
    filters: &'a [AclFilter],
) -> BoxFuture<'a, Result<PerItem<Vec<AclEntry>>, KafkaError>> {
    async move {
        let results = send_delete(cluster, filters).await?;
        let too_many = |r: &Result<_, KafkaError>| r.as_ref().is_err_and(|e| e.code == Some(codes::INVALID_REQUEST));
        if filters.len() < 2 || !results.iter().all(too_many) {
            return Ok(results);
        }
        let mut results = Vec::with_capacity(filters.len());
        let (left, right) = filters.split_at(filters.len() / 2);
        for half in [left, right] {
            match delete_or_split(cluster, half).await {
                Ok(some) => results.extend(some),
                Err(e) => results.extend(half.iter().map(|_| Err(e.clone()))),
            }
        }
        Ok(results)
    }
    .boxed()
}

async fn send_delete(cluster: &Cluster, filters: &[AclFilter]) -> Result<PerItem<Vec<AclEntry>>, KafkaError> {
    let filter = |filter: &AclFilter| {
        let parts = Parts::new(filter);
        DeleteAclsFilter::default()
            .with_resource_type_filter(parts.resource_type)
            .with_resource_name_filter(parts.resource)
            .with_pattern_type_filter(parts.pattern_type)
            .with_principal_filter(parts.principal)
            .with_host_filter(parts.host)
            .with_operation(parts.operation)
            .with_permission_type(parts.permission)
    };
    let request = DeleteAclsRequest::default().with_filters(filters.iter().map(filter).collect());
    let response = cluster.send(To::Any, &request).await?;
    expect_as_many(response.filter_results.len(), filters.len())?;
    Ok(response.filter_results.iter().map(deleted).collect())
}

fn deleted(result: &DeleteAclsFilterResult) -> Result<Vec<AclEntry>, KafkaError> {
    codes::check(result.error_code, result.error_message.as_deref())?;
    let entry = |acl: &DeleteAclsMatchingAcl| {
        codes::check(acl.error_code, acl.error_message.as_deref())?;
        Ok(AclEntry {
            principal: Arc::from(acl.principal.as_str()),
            resource_type: ResourceType::from_code(acl.resource_type),
            pattern_type: PatternType::from_code(acl.pattern_type),
            resource: Arc::from(acl.resource_name.as_str()),
            operation: Operation::from_code(acl.operation),
            permission: Permission::from_code(acl.permission_type),
            host: Arc::from(acl.host.as_str()),
        })
    };
    result.matching_acls.iter().map(entry).collect()
}

/// Why an entry is not sent, if so.
fn unfit(entry: &AclEntry) -> Option<KafkaError> {
    let known = entry.resource_type.name().is_some()
        && entry.pattern_type.name().is_some()
        && entry.operation.name().is_some()
        && entry.permission.name().is_some();
    if !known {
        return Some(permanent(format!("failed to send the entry \"{entry}\": it has a code that is not known")));
    }
    let named = !entry.resource.is_empty() && !entry.host.is_empty() && entry.principal.contains(':');
    (!named).then(|| permanent(format!("failed to send the entry \"{entry}\": a part of it is empty")))
}

/// Why a filter is not sent as a deletion, if so.
fn undeletable(filter: &AclFilter) -> Option<KafkaError> {
    match filter {
        AclFilter::Exact(entry) => unfit(entry),
        AclFilter::Principal(principal) => {
            let named = principal.split_once(':').is_some_and(|(kind, name)| !kind.is_empty() && !name.is_empty());
            (!named).then(|| permanent(format!("failed to delete the entries of {principal:?}: not a principal")))
        }
        AclFilter::ResourceType(_) | AclFilter::All => {
            Some(permanent("failed to delete entries: a filter that names no principal only describes"))
        }
    }
}

fn expect_as_many(got: usize, wanted: usize) -> Result<(), KafkaError> {
    if got == wanted {
        return Ok(());
    }
    Err(unknown_outcome(format!("the broker answered {got} of {wanted} items")))
}

/// Puts the answers of what was sent between the refusals of what was not.
fn merge<T>(refusals: Vec<Option<KafkaError>>, answers: PerItem<T>) -> PerItem<T> {
    let mut answers = answers.into_iter();
    let missing = || Err(unknown_outcome("the broker's answer leaves this item out"));
    refusals
        .into_iter()
        .map(|refusal| match refusal {
            Some(e) => Err(e),
            None => answers.next().unwrap_or_else(missing),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{ANY, Parts, merge, undeletable, unfit};
    use crate::domain::acl::{AclEntry, Operation, PatternType, Permission, ResourceType};
    use crate::kafka::codes::permanent;
    use crate::ports::AclFilter;

    fn entry() -> AclEntry {
        AclEntry {
            principal: "User:a".into(),
            resource_type: ResourceType::Topic,
            pattern_type: PatternType::Literal,
            resource: "t".into(),
            operation: Operation::Read,
            permission: Permission::Allow,
            host: "*".into(),
        }
    }

    #[test]
    fn deletions_are_exact_or_by_principal() {
        assert_eq!(undeletable(&AclFilter::Exact(entry())), None);
        assert_eq!(undeletable(&AclFilter::Principal("User:a".into())), None);
        for filter in [
            AclFilter::All,
            AclFilter::ResourceType(ResourceType::Topic),
            AclFilter::Principal(String::new()),
            AclFilter::Principal("User:".into()),
        ] {
            assert!(undeletable(&filter).is_some(), "{filter:?}");
        }
    }

    #[test]
    fn wildcard_codes_hidden_as_unknown_ones_are_never_sent() {
        for code in [0, 1, 2, 99] {
            let broad = AclEntry { pattern_type: PatternType::Unknown(code), ..entry() };
            assert!(unfit(&broad).is_some() && undeletable(&AclFilter::Exact(broad)).is_some());
            let broad = AclEntry { resource_type: ResourceType::Unknown(code), ..entry() };
            assert!(undeletable(&AclFilter::Exact(broad)).is_some());
            let broad = AclEntry { operation: Operation::Unknown(code), ..entry() };
            assert!(undeletable(&AclFilter::Exact(broad)).is_some());
            let broad = AclEntry { permission: Permission::Unknown(code), ..entry() };
            assert!(undeletable(&AclFilter::Exact(broad)).is_some());
        }
        assert!(unfit(&AclEntry { resource: "".into(), ..entry() }).is_some());
    }

    #[test]
    fn only_the_principal_narrows_its_filter() {
        let parts = Parts::new(&AclFilter::Principal("User:a".into()));
        assert_eq!(parts.principal.as_deref(), Some("User:a"));
        assert_eq!((parts.resource, parts.host), (None, None));
        assert_eq!([parts.resource_type, parts.pattern_type, parts.operation, parts.permission], [ANY; 4]);
    }

    #[test]
    fn refusals_keep_their_places() {
        let merged = merge(vec![None, Some(permanent("no")), None], vec![Ok(1), Ok(2)]);
        assert_eq!(merged, vec![Ok(1), Err(permanent("no")), Ok(2)]);
    }
}
