//! The brokers of one cluster: who they are, one connection to each, failover and reconnection.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{MetadataRequest, MetadataResponse, TopicName};
use tokio::time::{Instant, sleep_until};

use super::api::{Api, text};
use super::codes::{self, permanent, retry};
use super::connection::{Connection, lock};
use super::dial::{DialError, Dialer};
use crate::ports::{Disposition, KafkaEndpoint, KafkaError};

/// A connection that was silent for longer is replaced: brokers drop idle ones after ten minutes by default
/// (`connections.max.idle.ms`), load balancers earlier.
const MAX_IDLE: Duration = Duration::from_secs(240);
/// The longest pause before a broker is dialled again.
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum To {
    /// Any broker that answers; it forwards to the controller what is the controller's.
    Any,
    /// This broker and no other.
    Broker(i32),
}

/// The client's view of a cluster.
pub(super) struct Cluster {
    pub(super) dialer: Dialer,
    seeds: Vec<(String, u16)>,
    nodes: Mutex<BTreeMap<i32, Arc<Node>>>,
    /// Turns on with each failure, so that the next try meets another broker.
    turn: AtomicUsize,
}

/// A broker by the address that the dialled listener advertises.
struct Node {
    id: i32,
    host: String,
    port: u16,
    slot: tokio::sync::Mutex<Slot>,
}

#[derive(Default)]
struct Slot {
    connection: Option<Arc<Connection>>,
    failures: u32,
    not_before: Option<Instant>,
}

impl Slot {
    /// The connection, unless it has ended or gone stale.
    fn live(&mut self) -> Option<Arc<Connection>> {
        let connection = self.connection.as_ref()?;
        if connection.is_open() && connection.idle() < MAX_IDLE {
            return Some(Arc::clone(connection));
        }
        if !connection.is_open() {
            self.failed();
        }
        self.connection = None;
        None
    }

    fn failed(&mut self) {
        let pause = Duration::from_millis(50) * 2_u32.saturating_pow(self.failures.min(10));
        self.failures += 1;
        self.not_before = Some(Instant::now() + pause.min(MAX_BACKOFF));
    }
}

impl Node {
    async fn connection(&self, dialer: &Dialer) -> Result<Arc<Connection>, DialError> {
        let mut slot = self.slot.lock().await;
        if let Some(connection) = slot.live() {
            return Ok(connection);
        }
        match dialer.dial(&self.host, self.port).await {
            Ok(connection) => {
                *slot = Slot { connection: Some(Arc::clone(&connection)), ..Slot::default() };
                Ok(connection)
            }
            Err(e) => {
                slot.failed();
                Err(e)
            }
        }
    }

    /// Whether the broker failed a moment ago. One that is being dialled by someone else counts as well.
    fn resting(&self) -> bool {
        self.slot.try_lock().map_or(true, |slot| slot.not_before.is_some_and(|until| until > Instant::now()))
    }
}

impl Cluster {
    /// Reads the endpoint; dials nothing yet.
    pub(super) fn new(endpoint: &KafkaEndpoint, client_id: &str) -> Result<Self, KafkaError> {
        let seeds = endpoint.bootstrap_servers.iter().map(|s| address(s)).collect::<Result<Vec<_>, _>>()?;
        if seeds.is_empty() {
            return Err(permanent("failed to find the cluster: no bootstrap servers"));
        }
        let dialer = Dialer::new(endpoint, client_id)?;
        Ok(Self { dialer, seeds, nodes: Mutex::default(), turn: AtomicUsize::new(0) })
    }

    /// Sends one request once. Failing over to another broker happens while connecting, never after sending.
    pub(super) async fn send<R: Api>(&self, to: To, request: &R) -> Result<R::Response, KafkaError> {
        let connection = self.connection(to).await.map_err(|e| e.error)?;
        let result = connection.send(request).await;
        if result.is_err() {
            self.turn.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    /// A connection that may be used.
    pub(super) async fn connection(&self, to: To) -> Result<Arc<Connection>, DialError> {
        match to {
            To::Any => self.any().await,
            To::Broker(id) => self.broker(id).await,
        }
    }

    /// Asks for the brokers and the topics named (`None`: every topic), and remembers the brokers.
    pub(super) async fn metadata(&self, to: To, topics: Option<&[String]>) -> Result<MetadataResponse, KafkaError> {
        let response = self.send(to, &metadata_request(topics)).await?;
        self.learn(&response);
        Ok(response)
    }

    /// Ids of the brokers that serve at the moment, freshly asked.
    pub(super) async fn broker_ids(&self) -> Result<Vec<i32>, KafkaError> {
        let response = self.metadata(To::Any, Some(&[])).await?;
        Ok(response.brokers.iter().map(|broker| broker.node_id.0).collect())
    }

    async fn any(&self) -> Result<Arc<Connection>, DialError> {
        if let Some(connection) = self.live() {
            return Ok(connection);
        }
        let nodes = self.in_turn();
        let mut failure = None;
        let (resting, ready): (Vec<_>, Vec<_>) = nodes.into_iter().partition(|node| node.resting());
        for node in ready.into_iter().chain(resting) {
            match node.connection(&self.dialer).await {
                Ok(connection) => return Ok(connection),
                Err(e) => keep_worst(&mut failure, e)?,
            }
        }
        self.bootstrap(failure).await
    }

    /// A connection that is there already.
    fn live(&self) -> Option<Arc<Connection>> {
        self.in_turn().iter().find_map(|node| node.slot.try_lock().ok()?.live())
    }

    /// Finds the cluster anew through the bootstrap servers.
    async fn bootstrap(&self, mut failure: Option<DialError>) -> Result<Arc<Connection>, DialError> {
        for (host, port) in &self.seeds {
            match self.learn_from(host, *port).await {
                Ok(()) => {
                    if let Some(connection) = self.live() {
                        return Ok(connection);
                    }
                    for node in self.in_turn() {
                        match node.connection(&self.dialer).await {
                            Ok(connection) => return Ok(connection),
                            Err(e) => keep_worst(&mut failure, e)?,
                        }
                    }
                }
                Err(e) => keep_worst(&mut failure, e)?,
            }
        }
        // There is at least one seed, and each either connected or left its failure.
        Err(failure.unwrap_or_else(|| retry("failed to find a broker: the cluster names none").into()))
    }

    async fn learn_from(&self, host: &str, port: u16) -> Result<(), DialError> {
        let connection = self.dialer.dial(host, port).await?;
        let response = connection.send(&metadata_request(Some(&[]))).await?;
        self.learn(&response);
        // Many clusters advertise what was dialled: that connection need not be made twice.
        let known = lock(&self.nodes).values().find(|node| node.host == host && node.port == port).cloned();
        if let Some(node) = known {
            let mut slot = node.slot.lock().await;
            if slot.live().is_none() {
                *slot = Slot { connection: Some(connection), ..Slot::default() };
            }
        }
        Ok(())
    }

    async fn broker(&self, id: i32) -> Result<Arc<Connection>, DialError> {
        let find = || lock(&self.nodes).get(&id).cloned();
        let node = match find() {
            Some(node) => node,
            None => {
                self.refresh().await?;
                find().ok_or_else(|| retry(format!("failed to find broker {id}: the cluster does not list it")))?
            }
        };
        let until = node.slot.lock().await.not_before;
        if let Some(until) = until {
            sleep_until(until).await;
        }
        let dialled = node.connection(&self.dialer).await;
        if dialled.as_ref().is_err_and(|e| !e.login_refused) {
            // It may have moved to another address; a failure to ask changes nothing.
            let _ = self.refresh().await;
            let moved = find().filter(|now| !Arc::ptr_eq(now, &node));
            if let Some(now) = moved {
                return now.connection(&self.dialer).await;
            }
        }
        dialled
    }

    /// Asks any broker for the addresses of all.
    async fn refresh(&self) -> Result<(), DialError> {
        let connection = self.any().await?;
        self.learn(&connection.send(&metadata_request(Some(&[]))).await?);
        Ok(())
    }

    /// The known brokers, beginning with the one whose turn it is.
    fn in_turn(&self) -> Vec<Arc<Node>> {
        let mut nodes: Vec<_> = lock(&self.nodes).values().cloned().collect();
        if !nodes.is_empty() {
            let turn = self.turn.load(Ordering::Relaxed) % nodes.len();
            nodes.rotate_left(turn);
        }
        nodes
    }

    /// Takes over the brokers of an answer; connections to those that stayed are kept.
    fn learn(&self, response: &MetadataResponse) {
        if response.brokers.is_empty() {
            return;
        }
        let mut nodes = lock(&self.nodes);
        let mut next = BTreeMap::new();
        for broker in &response.brokers {
            let (id, host) = (broker.node_id.0, broker.host.to_string());
            let Ok(port) = u16::try_from(broker.port) else { continue };
            let same = nodes.remove(&id).filter(|node| node.host == host && node.port == port);
            let node = same.unwrap_or_else(|| Arc::new(Node { id, host, port, slot: Default::default() }));
            next.insert(node.id, node);
        }
        *nodes = next;
    }
}

/// Keeps the failure that says most: one that stays beats one that may pass. A refused login ends the search.
fn keep_worst(kept: &mut Option<DialError>, e: DialError) -> Result<(), DialError> {
    if e.login_refused {
        return Err(e);
    }
    let keep = kept.as_ref().is_some_and(|k| k.error.disposition == Disposition::Permanent);
    if !keep {
        *kept = Some(e);
    }
    Ok(())
}

fn metadata_request(topics: Option<&[String]>) -> MetadataRequest {
    let topic = |name: &String| MetadataRequestTopic::default().with_name(Some(TopicName(text(name))));
    MetadataRequest::default()
        .with_topics(topics.map(|names| names.iter().map(topic).collect()))
        .with_allow_auto_topic_creation(false)
}

/// Splits `host:port`; IPv6 literals come in brackets.
fn address(server: &str) -> Result<(String, u16), KafkaError> {
    let invalid = || permanent(format!("failed to use the bootstrap server {server:?}: not host:port"));
    let (host, port) = server.rsplit_once(':').ok_or_else(invalid)?;
    let port = port.parse().map_err(|_| invalid())?;
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let host = bare.unwrap_or(host);
    if host.is_empty() || (bare.is_none() && host.contains(':')) {
        return Err(invalid());
    }
    Ok((host.to_owned(), port))
}

/// The leaders of partitions, as an answer gives them.
pub(super) fn leaders(response: &MetadataResponse) -> BTreeMap<(String, i32), Result<i32, KafkaError>> {
    let mut found = BTreeMap::new();
    for topic in &response.topics {
        let Some(name) = &topic.name else { continue };
        for partition in &topic.partitions {
            let leader = match partition.leader_id.0 {
                id if id >= 0 => Ok(id),
                _ => Err(codes::error(codes::LEADER_NOT_AVAILABLE, None)),
            };
            found.insert((name.to_string(), partition.partition_index), leader);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn bootstrap_servers_are_host_and_port() {
        assert_eq!(address("kafka-0.kafka:9092").unwrap(), ("kafka-0.kafka".into(), 9092));
        assert_eq!(address("[::1]:9092").unwrap(), ("::1".into(), 9092));
        for wrong in ["kafka", "kafka:", ":9092", "kafka:99999", "::1:9092", ""] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }
}
