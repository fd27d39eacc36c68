//! The access probe: asks brokers, as a given principal, for records, and tells from the refusal what they would allow.
//! Never reads a record: it asks for an offset that no partition has.

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures::future::try_join_all;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest, TopicName};

use super::api::text;
use super::batch::reading;
use super::cluster::{Cluster, To};
use super::codes;
use crate::ports::{AccessProbe, KafkaEndpoint, KafkaError, ProbeOutcome};

/// The probe over Kafka's own protocol. Each call logs in anew and leaves nothing behind.
#[derive(Clone, Debug, Default)]
pub struct KafkaProbe;

#[async_trait]
impl AccessProbe for KafkaProbe {
    async fn probe_fetch(
        &self,
        endpoint: &KafkaEndpoint,
        topics: &[String],
        brokers: Option<&[i32]>,
    ) -> Result<BTreeMap<i32, ProbeOutcome>, KafkaError> {
        let cluster = Cluster::new(endpoint, "weir-probe")?;
        let ids = match cluster.connection(To::Any).await {
            Ok(_) => reading(|| cluster.broker_ids()).await?,
            Err(e) if e.login_refused => {
                // Without a login the brokers are not known: those asked for stand for them.
                let asked = brokers.unwrap_or(&[ProbeOutcome::ANY_BROKER]);
                return Ok(asked.iter().map(|&id| (id, ProbeOutcome::LoginRefused)).collect());
            }
            Err(e) => return Err(e.error),
        };
        let ids = brokers.map_or(ids, <[i32]>::to_vec);
        let (cluster, asked) = (&cluster, ids.into_iter());
        let each = asked.map(|id| reading(move || async move { Ok((id, probe(cluster, id, topics).await?)) }));
        Ok(try_join_all(each).await?.into_iter().collect())
    }

    async fn addresses(&self, endpoint: &KafkaEndpoint) -> Result<BTreeMap<i32, String>, KafkaError> {
        let response = Cluster::new(endpoint, "weir-probe")?.metadata(To::Any, Some(&[])).await?;
        let at = |host: &str, port: i32| {
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
        };
        Ok(response.brokers.iter().map(|b| (b.node_id.0, at(&b.host, b.port))).collect())
    }
}

async fn probe(cluster: &Cluster, broker: i32, topics: &[String]) -> Result<ProbeOutcome, KafkaError> {
    let connection = match cluster.connection(To::Broker(broker)).await {
        Ok(connection) => connection,
        Err(e) if e.login_refused => return Ok(ProbeOutcome::LoginRefused),
        Err(e) => return Err(e.error),
    };
    // Brokers authorize first, and by name alone; whether they lead the partition, or it exists, they look at later.
    let partition = || FetchPartition::default().with_fetch_offset(i64::MAX).with_partition_max_bytes(1);
    let of = |topic| FetchTopic::default().with_topic(TopicName(text(topic))).with_partitions(vec![partition()]);
    let request = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(0)
        .with_min_bytes(0)
        .with_max_bytes(1)
        .with_session_epoch(-1)
        .with_topics(topics.iter().map(|topic| of(topic)).collect());
    let response = connection.send(&request).await?;
    codes::check(response.error_code, None)?;
    let answered: Vec<_> = response.responses.iter().flat_map(|t| &t.partitions).map(|p| p.error_code).collect();
    if answered.len() != topics.len() {
        return Err(codes::permanent("failed to probe: the broker's answer leaves a topic out"));
    }
    let unclear = |code: &&i16| codes::disposition(**code) == crate::ports::Disposition::UnknownOutcome;
    if let Some(code) = answered.iter().find(unclear) {
        return Err(codes::error(*code, None));
    }
    let denied = answered.iter().all(|code| *code == codes::TOPIC_AUTHORIZATION_FAILED);
    Ok(if denied { ProbeOutcome::Denied } else { ProbeOutcome::Allowed })
}
