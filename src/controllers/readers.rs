//! Connections to clusters for those who only look, beside the appliers' own.

use std::collections::BTreeMap;

use super::context::Context;
use crate::kafka::KafkaAdminClient;
use crate::ports::{Disposition, KafkaAdmin, KafkaError, OffsetSpec, PerItem};

/// By StreamCluster.
#[derive(Default)]
pub struct Readers(BTreeMap<String, KafkaAdminClient>);

impl Readers {
    /// The connection to a cluster, made where there is none.
    ///
    /// # Errors
    /// The cluster is not connected, or does not answer.
    pub async fn of(&mut self, context: &Context, cluster: &str) -> Result<&dyn KafkaAdmin, KafkaError> {
        if !self.0.contains_key(cluster) {
            let endpoint = context.endpoint(cluster).ok_or_else(|| KafkaError {
                code: None,
                message: format!("StreamCluster {cluster} is not connected"),
                disposition: Disposition::Retry,
            })?;
            let admin = KafkaAdminClient::connect(&endpoint, &format!("weir-{cluster}-reader")).await?;
            self.0.insert(cluster.to_owned(), admin);
        }
        Ok(&self.0[cluster])
    }

    /// Ends the connection to a cluster, whose addresses and credentials may have changed.
    pub fn forget(&mut self, cluster: &str) {
        self.0.remove(cluster);
    }
}

/// Every partition of those of `topics` that are there.
///
/// # Errors
/// The cluster does not answer.
pub async fn partitions(
    admin: &dyn KafkaAdmin,
    topics: impl IntoIterator<Item = &String>,
) -> Result<Vec<(String, i32)>, KafkaError> {
    let names: Vec<_> = topics.into_iter().cloned().collect();
    let described = if names.is_empty() { Vec::new() } else { admin.describe_topics(Some(&names)).await? };
    Ok(described.into_iter().flat_map(|t| (0..t.partitions).map(move |p| (t.name.clone(), p))).collect())
}

/// The offset of each partition that `what` asks for.
///
/// # Errors
/// The cluster does not answer.
pub async fn offsets(
    admin: &dyn KafkaAdmin,
    partitions: &[(String, i32)],
    what: OffsetSpec,
) -> Result<PerItem<i64>, KafkaError> {
    let of: Vec<_> = partitions.iter().map(|(topic, partition)| (topic.clone(), *partition, what)).collect();
    if of.is_empty() { Ok(Vec::new()) } else { admin.list_offsets(&of).await }
}
