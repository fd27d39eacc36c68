//! Records, written and read by librdkafka.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use weir::ports::KafkaSasl;

use super::brokers::Login;

/// How long brokers may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// By partition, in their order, the values of a topic.
pub type Values = BTreeMap<i32, Vec<String>>;

pub fn config(login: &Login) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set_log_level(RDKafkaLogLevel::Error);
    config.set("bootstrap.servers", login.bootstrap_servers.join(","));
    let tls = login.tls.as_ref().expect("every listener of the lab has TLS");
    config.set("ssl.ca.pem", tls.ca_pem.as_deref().unwrap_or_default());
    if let Some((chain, key)) = &tls.client {
        config.set("security.protocol", "ssl");
        config.set("ssl.certificate.pem", chain).set("ssl.key.pem", key.expose());
    }
    let (mechanism, username, password) = match &login.sasl {
        Some(KafkaSasl::ScramSha512 { username, password }) => ("SCRAM-SHA-512", username, password),
        Some(KafkaSasl::Plain { username, password }) => ("PLAIN", username, password),
        _ => return config,
    };
    config.set("security.protocol", "sasl_ssl").set("sasl.mechanism", mechanism);
    config.set("sasl.username", username).set("sasl.password", password.expose());
    config
}

/// Writes `values` to a partition. With `commit`, in a transaction that ends so.
pub fn write(login: &Login, topic: &str, partition: i32, values: &[String], commit: Option<bool>) {
    let mut config = config(login);
    if commit.is_some() {
        config.set("transactional.id", format!("{topic}-{partition}"));
    }
    let producer: BaseProducer = config.create().unwrap();
    if commit.is_some() {
        producer.init_transactions(PATIENCE).unwrap();
        producer.begin_transaction().unwrap();
    }
    for value in values {
        producer.send(BaseRecord::<str, str>::to(topic).partition(partition).payload(value)).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
    match commit {
        Some(true) => producer.commit_transaction(PATIENCE).unwrap(),
        Some(false) => producer.abort_transaction(PATIENCE).unwrap(),
        None => {}
    }
}

/// Everything that a topic has now, as somebody sees it who reads what was committed.
///
/// `group` is one that the login may use: librdkafka asks for its offsets whether they are used or not.
pub fn read(login: &Login, group: &str, topic: &str) -> Result<Values, String> {
    let what = |e: rdkafka::error::KafkaError| e.to_string();
    let mut config = config(login);
    config.set("group.id", group).set("enable.auto.commit", "false").set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create().map_err(what)?;
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).map_err(what)?;
    let partitions: Vec<_> = metadata.topics().iter().flat_map(|t| t.partitions()).map(|p| p.id()).collect();
    if partitions.is_empty() {
        return Err(format!("{topic} has no partitions that one may see"));
    }
    let mut from = TopicPartitionList::new();
    for partition in &partitions {
        from.add_partition_offset(topic, *partition, Offset::Beginning).map_err(what)?;
    }
    consumer.assign(&from).map_err(what)?;
    let mut values: Values = partitions.iter().map(|p| (*p, Vec::new())).collect();
    let mut ended = 0;
    while ended < partitions.len() {
        match consumer.poll(PATIENCE) {
            None => return Err(format!("{topic}: nothing came in {PATIENCE:?}")),
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => ended += 1,
            Some(Err(error)) => return Err(error.to_string()),
            Some(Ok(message)) => {
                let value = String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned();
                values.entry(message.partition()).or_default().push(value);
            }
        }
    }
    Ok(values)
}

/// Says that `group` has read a partition up to `next`.
pub fn commit(login: &Login, group: &str, topic: &str, partition: i32, next: i64) {
    let mut config = config(login);
    config.set("group.id", group).set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(topic, partition, Offset::Offset(next)).unwrap();
    consumer.commit(&offsets, CommitMode::Sync).unwrap();
}

/// `name-1` to `name-n`.
pub fn numbered(name: &str, n: usize) -> Vec<String> {
    (1..=n).map(|i| format!("{name}-{i}")).collect()
}
