//! Configurations of topics and brokers (KIP-133, KIP-339). A broker's own go to that broker.

use std::collections::BTreeMap;

use futures::FutureExt as _;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResult;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{DescribeConfigsRequest, IncrementalAlterConfigsRequest};

use super::{CONFIG_BROKER, CONFIG_TOPIC, in_order};
use crate::kafka::api::text;
use crate::kafka::batch::in_chunks;
use crate::kafka::cluster::{Cluster, To};
use crate::kafka::codes;
use crate::ports::{ConfigDelta, ConfigEntry, ConfigResource, KafkaError, PerItem};

/// Topics in one request: a description has some thirty keys each.
const TOPICS: usize = 500;
/// `AlterConfigOp.OpType`.
const SET: i8 = 0;
/// Likewise: back to the default.
const DELETE: i8 = 1;
/// `DescribeConfigsResponse.ConfigSource` of keys set on a topic.
const SOURCE_TOPIC: i8 = 1;
/// Likewise, set on one broker while it runs.
const SOURCE_BROKER: i8 = 2;

type Entries = BTreeMap<String, ConfigEntry>;

/// See [`crate::ports::KafkaAdmin::describe_configs`].
pub(in crate::kafka) async fn describe(cluster: &Cluster, resources: &[ConfigResource]) -> PerItem<Entries> {
    let cut = chunks_by_broker(resources, |resource| resource);
    in_chunks(resources, cut, |batch| async move { send_describe(cluster, &batch).await }.boxed()).await
}

async fn send_describe(cluster: &Cluster, of: &[&ConfigResource]) -> Result<PerItem<Entries>, KafkaError> {
    let resource = |resource: &&ConfigResource| {
        let (kind, name) = key(resource);
        DescribeConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(text(&name))
            .with_configuration_keys(None)
    };
    let request = DescribeConfigsRequest::default().with_resources(of.iter().map(resource).collect());
    let response = cluster.send(destination(of.first().copied()), &request).await?;
    let answers = response.results.iter().map(|r| ((r.resource_type, r.resource_name.to_string()), entries(r)));
    Ok(in_order(of.iter().map(|resource| key(resource)), answers))
}

fn entries(result: &DescribeConfigsResult) -> Result<Entries, KafkaError> {
    codes::check(result.error_code, result.error_message.as_deref())?;
    let own = if result.resource_type == CONFIG_BROKER { SOURCE_BROKER } else { SOURCE_TOPIC };
    let entry = result.configs.iter().map(|config| {
        let value = config.value.as_ref().filter(|_| !config.is_sensitive).map(|v| v.to_string());
        (config.name.to_string(), ConfigEntry { value, dynamic: config.config_source == own })
    });
    Ok(entry.collect())
}

/// See [`crate::ports::KafkaAdmin::alter_configs`].
pub(in crate::kafka) async fn alter(cluster: &Cluster, deltas: &[ConfigDelta], dry_run: bool) -> PerItem<()> {
    let cut = chunks_by_broker(deltas, |delta| &delta.resource);
    in_chunks(deltas, cut, |batch| async move { send_alter(cluster, &batch, dry_run).await }.boxed()).await
}

async fn send_alter(cluster: &Cluster, deltas: &[&ConfigDelta], dry_run: bool) -> Result<PerItem<()>, KafkaError> {
    let config = |(key, value): (&String, &Option<String>)| {
        AlterableConfig::default()
            .with_name(text(key))
            .with_config_operation(if value.is_some() { SET } else { DELETE })
            .with_value(value.as_deref().map(text))
    };
    let resource = |delta: &&ConfigDelta| {
        let (kind, name) = key(&delta.resource);
        AlterConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(text(&name))
            .with_configs(delta.changes.iter().map(config).collect())
    };
    let request = IncrementalAlterConfigsRequest::default()
        .with_resources(deltas.iter().map(resource).collect())
        .with_validate_only(dry_run);
    let response = cluster.send(destination(deltas.first().map(|delta| &delta.resource)), &request).await?;
    let answers = response.responses.iter().map(|r| {
        let key = (r.resource_type, r.resource_name.to_string());
        (key, codes::check(r.error_code, r.error_message.as_deref()))
    });
    Ok(in_order(deltas.iter().map(|delta| key(&delta.resource)), answers))
}

/// Topics by the hundreds, each broker alone.
fn chunks_by_broker<T>(items: &[T], resource: impl Fn(&T) -> &ConfigResource) -> Vec<Vec<usize>> {
    let is_topic = |&i: &usize| matches!(resource(&items[i]), ConfigResource::Topic(_));
    let (topics, brokers): (Vec<usize>, Vec<usize>) = (0..items.len()).partition(is_topic);
    topics.chunks(TOPICS).map(<[usize]>::to_vec).chain(brokers.into_iter().map(|i| vec![i])).collect()
}

fn destination(of: Option<&ConfigResource>) -> To {
    match of {
        Some(ConfigResource::Broker(id)) => To::Broker(*id),
        _ => To::Any,
    }
}

fn key(resource: &ConfigResource) -> (i8, String) {
    match resource {
        ConfigResource::Topic(name) => (CONFIG_TOPIC, name.clone()),
        ConfigResource::Broker(id) => (CONFIG_BROKER, id.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::chunks_by_broker;
    use crate::ports::ConfigResource;

    #[test]
    fn a_brokers_configuration_travels_alone() {
        let topic = |n: &str| ConfigResource::Topic(n.into());
        let items = [topic("a"), ConfigResource::Broker(1), topic("b"), ConfigResource::Broker(2)];
        assert_eq!(chunks_by_broker(&items, |r| r), vec![vec![0, 2], vec![1], vec![3]]);
    }
}
