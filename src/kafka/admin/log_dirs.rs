//! What lies on a broker's disks (KIP-113).

use kafka_protocol::messages::DescribeLogDirsRequest;

use crate::kafka::batch::reading;
use crate::kafka::cluster::{Cluster, To};
use crate::kafka::codes;
use crate::ports::{KafkaError, ReplicaSize};

/// See [`crate::ports::KafkaAdmin::log_dirs`]. Replicas that are being moved between disks count where they are
/// served from. Fails when a directory is offline: its replicas are there, and their size unknown.
pub(in crate::kafka) async fn describe(cluster: &Cluster, broker: i32) -> Result<Vec<ReplicaSize>, KafkaError> {
    let request = DescribeLogDirsRequest::default().with_topics(None);
    reading(|| async {
        let response = cluster.send(To::Broker(broker), &request).await?;
        codes::check(response.error_code, None)?;
        let mut sizes = Vec::new();
        for dir in &response.results {
            codes::check(dir.error_code, Some(&format!("log directory {}", dir.log_dir.as_str())))?;
            for topic in &dir.topics {
                let served = topic.partitions.iter().filter(|partition| !partition.is_future_key);
                sizes.extend(served.map(|partition| ReplicaSize {
                    topic: topic.name.to_string(),
                    partition: partition.partition_index,
                    bytes: partition.partition_size,
                }));
            }
        }
        Ok(sizes)
    })
    .await
}
