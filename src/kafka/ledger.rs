//! The ledger: a map kept in a compacted topic of one partition, extended by transactions (KIP-98).
//!
//! The transactional id is the topic's name, so that opening the ledger fences whoever had it open. librdkafka's calls
//! block; they run on the blocking pool.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};
use tokio::sync::Mutex;

use super::librdkafka::{Context, client_config};
use crate::ports::{
    ConfigResource, Disposition, KafkaAdmin, KafkaEndpoint, KafkaError, Ledger, LedgerError, NewTopic, OffsetSpec,
};

/// How long opening, and a transaction, may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Reading gives up when nothing came for so long.
const SILENCE: Duration = Duration::from_secs(30);
/// `TOPIC_ALREADY_EXISTS`.
const TOPIC_ALREADY_EXISTS: i16 = 36;

type Producer = ThreadedProducer<Context>;

/// The ledger of one cluster.
pub struct KafkaLedger {
    admin: Arc<dyn KafkaAdmin>,
    topic: String,
    config: ClientConfig,
    context: Context,
    state: Mutex<State>,
    /// What was read before anything was fenced, up to which offset: opening goes on from there.
    seen: Mutex<Option<Seen>>,
}

/// The newest value of every key before an offset.
struct Seen {
    entries: BTreeMap<String, String>,
    end: i64,
}

/// Whether this process may write.
enum State {
    Closed,
    Open(Arc<Producer>),
    /// It stays so until [`Ledger::open`] is asked for again.
    Fenced,
}

impl KafkaLedger {
    /// A ledger in `topic` of the cluster at `endpoint`, which `admin` administers. Does nothing yet; must be called
    /// inside of the runtime. The principal needs Create, Describe, Read and Write on the topic, Write on the
    /// transactional id and Describe on the group, both of the topic's name.
    pub fn new(endpoint: &KafkaEndpoint, admin: Arc<dyn KafkaAdmin>, topic: &str) -> Result<Self, KafkaError> {
        Ok(Self {
            admin,
            topic: topic.to_owned(),
            config: client_config(endpoint, topic),
            context: Context::new(endpoint)?,
            state: Mutex::new(State::Closed),
            seen: Mutex::new(None),
        })
    }

    /// Creates the topic where it is missing, and refuses one that forgets.
    async fn ensure_topic(&self) -> Result<(), LedgerError> {
        let created = self.admin.create_topics(&[self.new_topic()], false).await.map_err(unavailable)?;
        for result in created {
            match result {
                Err(e) if e.code != Some(TOPIC_ALREADY_EXISTS) => return Err(unavailable(e)),
                _ => {}
            }
        }
        let topic = self.until_known().await?;
        if topic != 1 {
            let words = format!("the topic {:?} has {topic} partitions, not one", self.topic);
            return Err(LedgerError::Unavailable(words));
        }
        let resource = ConfigResource::Topic(self.topic.clone());
        let config = self.admin.describe_configs(&[resource]).await.map_err(unavailable)?;
        let config = config.into_iter().next().unwrap_or_else(|| Ok(BTreeMap::new())).map_err(unavailable)?;
        match config.get("cleanup.policy").and_then(|entry| entry.value.as_deref()) {
            Some("compact") => Ok(()),
            other => Err(LedgerError::Unavailable(format!(
                "the topic {:?} has cleanup.policy={}, which forgets entries: set it to compact",
                self.topic,
                other.unwrap_or_default()
            ))),
        }
    }

    fn new_topic(&self) -> NewTopic {
        // Small segments: the active one is never compacted, and every opening reads it.
        let config =
            [("cleanup.policy", "compact"), ("segment.bytes", "16777216"), ("min.cleanable.dirty.ratio", "0.2")];
        let config = config.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        NewTopic { name: self.topic.clone(), partitions: 1, replicas: -1, config }
    }

    /// The number of partitions, as soon as the brokers know the topic and lead it.
    async fn until_known(&self) -> Result<i32, LedgerError> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let found =
                self.admin.describe_topics(Some(std::slice::from_ref(&self.topic))).await.map_err(unavailable)?;
            if let (Some(topic), Ok(_)) = (found.first(), self.range().await) {
                return Ok(topic.partitions);
            }
            if Instant::now() > deadline {
                return Err(LedgerError::Unavailable(format!("the topic {:?} has no leader", self.topic)));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The first offset, and one past the last.
    async fn range(&self) -> Result<(i64, i64), KafkaError> {
        let asked = [OffsetSpec::Earliest, OffsetSpec::Latest].map(|spec| (self.topic.clone(), 0, spec));
        match <[_; 2]>::try_from(self.admin.list_offsets(&asked).await?) {
            Ok([first, end]) => Ok((first?, end?)),
            Err(_) => Err(super::codes::unknown_outcome("no answer for the topic")),
        }
    }

    /// Becomes the only writer. Transactions that an earlier one left open are aborted by then.
    async fn fence(&self) -> Result<Arc<Producer>, LedgerError> {
        let mut config = self.config.clone();
        config
            .set("transactional.id", &self.topic)
            .set("enable.idempotence", "true")
            .set("transaction.timeout.ms", "60000")
            // Nothing is gained by waiting for more: a transaction's records come at once.
            .set("linger.ms", "0")
            .set("socket.nagle.disable", "true");
        let context = self.context.clone();
        blocking(move || {
            let producer: Producer = config.create_with_context(context).map_err(|e| failed(&e))?;
            producer.init_transactions(TIMEOUT).map_err(|e| failed(&e))?;
            Ok(Arc::new(producer))
        })
        .await
    }

    /// The newest value of every key of the topic, starting from what was seen.
    async fn read_on(&self, seen: Option<Seen>) -> Result<Seen, LedgerError> {
        let (first, end) = self.range().await.map_err(unavailable)?;
        // A topic that is shorter than what was seen of it is another one.
        let mut seen = seen.filter(|s| s.end <= end).unwrap_or(Seen { entries: BTreeMap::new(), end: first });
        if seen.end == end {
            return Ok(seen);
        }
        let mut config = self.config.clone();
        // librdkafka wants a group's name even where partitions are assigned by hand; nothing is committed to it.
        config
            .set("group.id", &self.topic)
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            // The end shows as an empty answer, for which a broker waits so long.
            .set("fetch.wait.max.ms", "10")
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "earliest");
        let (context, topic) = (self.context.clone(), self.topic.clone());
        blocking(move || {
            read_all(&config, context, &topic, &mut seen)?;
            Ok(seen)
        })
        .await
    }

    async fn exists(&self) -> Result<bool, LedgerError> {
        let found = self.admin.describe_topics(Some(std::slice::from_ref(&self.topic))).await.map_err(unavailable)?;
        Ok(!found.is_empty())
    }
}

#[async_trait]
impl Ledger for KafkaLedger {
    async fn read(&self) -> Result<BTreeMap<String, String>, LedgerError> {
        if !self.exists().await? {
            return Ok(BTreeMap::new());
        }
        let seen = self.read_on(None).await?;
        Ok(self.seen.lock().await.insert(seen).entries.clone())
    }

    async fn open(&self) -> Result<BTreeMap<String, String>, LedgerError> {
        let mut state = self.state.lock().await;
        if let State::Open(earlier) = std::mem::replace(&mut *state, State::Closed) {
            discard(earlier);
        }
        self.ensure_topic().await?;
        let producer = self.fence().await?;
        // Asked only now: no earlier writer moves it any more.
        let seen = self.seen.lock().await.take();
        match self.read_on(seen).await {
            Ok(read) => {
                *state = State::Open(producer);
                Ok(read.entries)
            }
            Err(e) => {
                discard(producer);
                Err(e)
            }
        }
    }

    async fn commit(&self, changes: &[(String, Option<String>)]) -> Result<(), LedgerError> {
        let mut state = self.state.lock().await;
        if changes.is_empty() {
            return Ok(());
        }
        // Taken out: a commit that is cancelled half-way leaves an unknown outcome, hence a closed ledger.
        let producer = match std::mem::replace(&mut *state, State::Closed) {
            State::Open(producer) => producer,
            State::Closed => return Err(LedgerError::Unavailable("it is not open".into())),
            State::Fenced => {
                *state = State::Fenced;
                return Err(LedgerError::Fenced);
            }
        };
        let (topic, changes, writer) = (self.topic.clone(), changes.to_vec(), Arc::clone(&producer));
        let written = blocking(move || write_all(&writer, &topic, &changes)).await;
        match &written {
            Ok(()) => *state = State::Open(producer),
            Err(e) => {
                if *e == LedgerError::Fenced {
                    *state = State::Fenced;
                }
                discard(producer);
            }
        }
        written
    }
}

/// Reads on from where `seen` ends, to the end of what is committed.
fn read_all(config: &ClientConfig, context: Context, topic: &str, seen: &mut Seen) -> Result<(), LedgerError> {
    let consumer: BaseConsumer<Context> = config.create_with_context(context).map_err(|e| failed(&e))?;
    let mut from = TopicPartitionList::new();
    // A number spares librdkafka a question for which it waits half a second.
    from.add_partition_offset(topic, 0, Offset::Offset(seen.end)).map_err(|e| failed(&e))?;
    consumer.assign(&from).map_err(|e| failed(&e))?;
    let Seen { entries, end } = seen;
    let mut last = Instant::now();
    loop {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                last = Instant::now();
                *end = message.offset() + 1;
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec());
                let record = (message.key().map(text).transpose(), message.payload().map(text).transpose());
                match record {
                    (Ok(Some(key)), Ok(Some(value))) => entries.insert(key, value),
                    (Ok(Some(key)), Ok(None)) => entries.remove(&key),
                    _ => {
                        let words = format!("the record at offset {} of {topic:?} is not Weir's", message.offset());
                        return Err(LedgerError::Unavailable(words));
                    }
                };
            }
            // The end, or the first record of a transaction that is still open.
            Some(Err(ClientError::PartitionEOF(_))) => return Ok(()),
            Some(Err(e @ ClientError::MessageConsumptionFatal(_))) => return Err(failed(&e)),
            // librdkafka goes on by itself after everything else.
            Some(Err(e)) => tracing::debug!(error = %e, topic, "reading the ledger"),
            None => {}
        }
        if last.elapsed() > SILENCE {
            return Err(LedgerError::Unavailable(format!("the topic {topic:?} could not be read to its end in time")));
        }
    }
}

fn write_all(producer: &Producer, topic: &str, changes: &[(String, Option<String>)]) -> Result<(), LedgerError> {
    producer.begin_transaction().map_err(|e| explain(producer, &e))?;
    for (key, value) in changes {
        if let Err(e) = send(producer, topic, key, value.as_deref()) {
            return Err(abort(producer, &e));
        }
    }
    let deadline = Instant::now() + TIMEOUT;
    // The binding's own flush looks up only every 100 ms, which would be most of a small transaction's time.
    while producer.in_flight_count() > 0 && Instant::now() < deadline {
        producer.poll(Duration::from_millis(1));
    }
    loop {
        let e = match producer.commit_transaction(TIMEOUT) {
            Ok(()) => return Ok(()),
            Err(e) => e,
        };
        match &e {
            ClientError::Transaction(t) if t.txn_requires_abort() => return Err(abort(producer, &e)),
            // Committing again is the way on, and never commits twice.
            ClientError::Transaction(t) if t.is_retriable() && Instant::now() < deadline => {}
            _ => return Err(explain(producer, &e)),
        }
    }
}

/// Queues one record; waits while the queue is full.
fn send(producer: &Producer, topic: &str, key: &str, value: Option<&str>) -> Result<(), ClientError> {
    let deadline = Instant::now() + TIMEOUT;
    let record: BaseRecord<'_, str, str> = BaseRecord::to(topic).key(key).partition(0);
    let mut record = match value {
        Some(value) => record.payload(value),
        None => record,
    };
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((ClientError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) if Instant::now() < deadline => {
                record = back;
                std::thread::sleep(Duration::from_millis(5));
            }
            Err((e, _)) => return Err(e),
        }
    }
}

fn abort(producer: &Producer, cause: &ClientError) -> LedgerError {
    let cause = explain(producer, cause);
    match producer.abort_transaction(TIMEOUT) {
        Ok(()) => cause,
        // Being fenced explains all that went before.
        Err(e) => match explain(producer, &e) {
            LedgerError::Fenced => LedgerError::Fenced,
            LedgerError::Unavailable(_) => cause,
        },
    }
}

/// A fatal error hides its reason behind a general code.
fn explain(producer: &Producer, e: &ClientError) -> LedgerError {
    let fatal = producer.client().fatal_error().map(|(code, _)| code);
    if fatal.is_some_and(fences) { LedgerError::Fenced } else { failed(e) }
}

fn failed(e: &ClientError) -> LedgerError {
    let code = match e {
        ClientError::Transaction(t) => Some(t.code()),
        other => other.rdkafka_error_code(),
    };
    if code.is_some_and(fences) { LedgerError::Fenced } else { LedgerError::Unavailable(e.to_string()) }
}

fn fences(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::{Fenced, InvalidProducerEpoch, ProducerFenced};
    matches!(code, Fenced | InvalidProducerEpoch | ProducerFenced)
}

fn unavailable(e: KafkaError) -> LedgerError {
    let hint = if e.disposition == Disposition::UnknownOutcome { " (outcome unknown)" } else { "" };
    LedgerError::Unavailable(format!("{}{hint}", e.message))
}

/// Destroying a producer waits for its threads.
fn discard(producer: Arc<Producer>) {
    drop(tokio::task::spawn_blocking(move || drop(producer)));
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LedgerError> + Send + 'static,
) -> Result<T, LedgerError> {
    let gone = |_| LedgerError::Unavailable("the runtime is shutting down".into());
    tokio::task::spawn_blocking(work).await.map_err(gone)?
}
