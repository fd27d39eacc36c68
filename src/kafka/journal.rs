//! A topic of one partition that one process at a time extends, by transactions (KIP-98).
//!
//! The transactional id is the topic's name, so that opening fences whoever had it open. librdkafka's calls block; they run on the
//! blocking pool.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};
use tokio::sync::Mutex;

use super::librdkafka::{Context, blocking, client_config};
use crate::ports::{
    ConfigDelta, ConfigResource, Disposition, KafkaAdmin, KafkaEndpoint, KafkaError, NewTopic, OffsetSpec, TopicError,
};

/// How long opening, and a transaction, may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Reading gives up when nothing came for so long.
const SILENCE: Duration = Duration::from_secs(30);
/// `TOPIC_ALREADY_EXISTS`.
const TOPIC_ALREADY_EXISTS: i16 = 36;

type Producer = ThreadedProducer<Context>;

/// See the module.
pub(super) struct Journal {
    admin: Arc<dyn KafkaAdmin>,
    topic: String,
    /// What the topic is made with; its `cleanup.policy` is looked at each time.
    settings: BTreeMap<String, String>,
    config: ClientConfig,
    context: Context,
    state: Mutex<State>,
}

/// Whether this process may write.
enum State {
    Closed,
    Open(Arc<Producer>),
    /// It stays so until it is opened again.
    Fenced,
}

/// A record that is to be written.
pub(super) struct Entry {
    pub(super) key: String,
    /// `None` is a tombstone.
    pub(super) value: Option<Vec<u8>>,
    pub(super) headers: Vec<(String, String)>,
}

impl Journal {
    /// In `topic` of the cluster at `endpoint`, which `admin` administers. Does nothing yet; must be called inside of the
    /// runtime. The principal needs Create, Describe, Read and Write on the topic, Write on the transactional id and Describe on
    /// the group, both of the topic's name.
    pub(super) fn new(
        endpoint: &KafkaEndpoint,
        admin: Arc<dyn KafkaAdmin>,
        topic: &str,
        settings: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Result<Self, KafkaError> {
        Ok(Self {
            admin,
            topic: topic.to_owned(),
            settings: settings.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
            config: client_config(endpoint, topic),
            context: Context::new(endpoint)?,
            state: Mutex::new(State::Closed),
        })
    }

    /// Creates the topic where it is missing, refuses one that forgets in another way, and has it keep its records for as long as it
    /// should.
    async fn ensure_topic(&self) -> Result<(), TopicError> {
        let created = self.admin.create_topics(&[self.new_topic()], false).await.map_err(unavailable)?;
        for result in created {
            match result {
                Err(e) if e.code != Some(TOPIC_ALREADY_EXISTS) => return Err(unavailable(e)),
                _ => {}
            }
        }
        let partitions = self.until_known().await?;
        if partitions != 1 {
            let words = format!("the topic {:?} has {partitions} partitions, not one", self.topic);
            return Err(TopicError::Unavailable(words));
        }
        let resource = ConfigResource::Topic(self.topic.clone());
        let config = self.admin.describe_configs(&[resource]).await.map_err(unavailable)?;
        let config = config.into_iter().next().unwrap_or_else(|| Ok(BTreeMap::new())).map_err(unavailable)?;
        let policy = config.get("cleanup.policy").and_then(|entry| entry.value.as_deref()).unwrap_or_default();
        let due = self.settings.get("cleanup.policy").map_or("delete", String::as_str);
        if policy != due {
            let words = format!(
                "the topic {:?} has cleanup.policy={policy}, which forgets what must be kept: set it to {due}",
                self.topic
            );
            return Err(TopicError::Unavailable(words));
        }
        let now = |key: &str| config.get(key).and_then(|entry| entry.value.as_deref());
        let wrong = self.settings.iter().filter(|(key, due)| key.starts_with("retention.") && now(key) != Some(due));
        let changes: BTreeMap<_, _> = wrong.map(|(key, due)| (key.clone(), Some(due.clone()))).collect();
        if changes.is_empty() {
            return Ok(());
        }
        let delta = ConfigDelta { resource: ConfigResource::Topic(self.topic.clone()), changes };
        let results = self.admin.alter_configs(&[delta], false).await.map_err(unavailable)?;
        results.into_iter().try_for_each(|result| result.map_err(unavailable))
    }

    fn new_topic(&self) -> NewTopic {
        NewTopic { name: self.topic.clone(), partitions: 1, replicas: -1, config: self.settings.clone() }
    }

    /// The number of partitions, as soon as the brokers know the topic and lead it.
    async fn until_known(&self) -> Result<i32, TopicError> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let found =
                self.admin.describe_topics(Some(std::slice::from_ref(&self.topic))).await.map_err(unavailable)?;
            if let (Some(topic), Ok(_)) = (found.first(), self.range().await) {
                return Ok(topic.partitions);
            }
            if Instant::now() > deadline {
                return Err(TopicError::Unavailable(format!("the topic {:?} has no leader", self.topic)));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Whether the topic exists.
    pub(super) async fn exists(&self) -> Result<bool, TopicError> {
        let found = self.admin.describe_topics(Some(std::slice::from_ref(&self.topic))).await.map_err(unavailable)?;
        Ok(!found.is_empty())
    }

    /// The first offset, and one past the last.
    pub(super) async fn range(&self) -> Result<(i64, i64), TopicError> {
        let asked = [OffsetSpec::Earliest, OffsetSpec::Latest].map(|spec| (self.topic.clone(), 0, spec));
        let answers = self.admin.list_offsets(&asked).await.map_err(unavailable)?;
        match <[_; 2]>::try_from(answers) {
            Ok([first, end]) => Ok((first.map_err(unavailable)?, end.map_err(unavailable)?)),
            Err(_) => Err(TopicError::Unavailable(format!("no answer for the topic {:?}", self.topic))),
        }
    }

    /// Becomes the only writer. Transactions that an earlier one left open are aborted by then.
    async fn fence(&self) -> Result<Arc<Producer>, TopicError> {
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

    /// Becomes the only writer, and does `read` once nobody else moves the end any more. It is open if that succeeds.
    pub(super) async fn open<T>(&self, read: impl Future<Output = Result<T, TopicError>>) -> Result<T, TopicError> {
        let mut state = self.state.lock().await;
        if let State::Open(earlier) = std::mem::replace(&mut *state, State::Closed) {
            discard(earlier);
        }
        self.ensure_topic().await?;
        let producer = self.fence().await?;
        match read.await {
            Ok(read) => {
                *state = State::Open(producer);
                Ok(read)
            }
            Err(e) => {
                discard(producer);
                Err(e)
            }
        }
    }

    /// Writes all of `entries` in one transaction, or none.
    pub(super) async fn write(&self, entries: Vec<Entry>) -> Result<(), TopicError> {
        let mut state = self.state.lock().await;
        if entries.is_empty() {
            return Ok(());
        }
        // Taken out: a write that is cancelled half-way leaves an unknown outcome, hence a closed journal.
        let producer = match std::mem::replace(&mut *state, State::Closed) {
            State::Open(producer) => producer,
            State::Closed => return Err(TopicError::Unavailable("it is not open".into())),
            State::Fenced => {
                *state = State::Fenced;
                return Err(TopicError::Fenced);
            }
        };
        let (topic, writer) = (self.topic.clone(), Arc::clone(&producer));
        let written = blocking(move || write_all(&writer, &topic, &entries)).await;
        match &written {
            Ok(()) => *state = State::Open(producer),
            Err(e) => {
                if *e == TopicError::Fenced {
                    *state = State::Fenced;
                }
                discard(producer);
            }
        }
        written
    }

    /// Gives each committed record from offset `from` on to `each`, which may fail; returns what it made. With an `end`, all up to it or
    /// it fails: somebody else's open transaction hides what lies behind. Without, up to the first transaction that is open.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        (from, end): (i64, Option<i64>),
        mut made: T,
        mut each: impl FnMut(&mut T, &BorrowedMessage<'_>) -> Result<(), TopicError> + Send + 'static,
    ) -> Result<T, TopicError> {
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
            read_all(&config, context, &topic, (from, end), |message| each(&mut made, message))?;
            Ok(made)
        })
        .await
    }
}

/// Reads from an offset up to another, or to the end of what is committed.
fn read_all(
    config: &ClientConfig,
    context: Context,
    topic: &str,
    (from, end): (i64, Option<i64>),
    mut each: impl FnMut(&BorrowedMessage<'_>) -> Result<(), TopicError>,
) -> Result<(), TopicError> {
    let consumer: BaseConsumer<Context> = config.create_with_context(context).map_err(|e| failed(&e))?;
    let mut assignment = TopicPartitionList::new();
    // A number spares librdkafka a question for which it waits half a second.
    assignment.add_partition_offset(topic, 0, Offset::Offset(from)).map_err(|e| failed(&e))?;
    consumer.assign(&assignment).map_err(|e| failed(&e))?;
    let mut last = Instant::now();
    loop {
        match consumer.poll(Duration::from_millis(100)) {
            // Written since it was asked for: somebody else's.
            Some(Ok(message)) if end.is_some_and(|end| message.offset() >= end) => return Ok(()),
            Some(Ok(message)) => {
                last = Instant::now();
                each(&message)?;
            }
            // The first record of a transaction that is still open looks like the end, and so does what a new leader of the partition
            // does not show yet.
            Some(Err(ClientError::PartitionEOF(_))) if end.is_none_or(|end| position(&consumer) >= end) => {
                return Ok(());
            }
            Some(Err(ClientError::PartitionEOF(_))) => {}
            Some(Err(e @ ClientError::MessageConsumptionFatal(_))) => return Err(failed(&e)),
            // librdkafka goes on by itself after everything else.
            Some(Err(e)) => tracing::debug!(error = %e, topic, "reading a topic"),
            None => {}
        }
        if last.elapsed() > SILENCE {
            return Err(TopicError::Unavailable(format!("the topic {topic:?} could not be read to its end in time")));
        }
    }
}

/// The offset that is read next, as far as is known: markers of transactions count.
fn position(consumer: &BaseConsumer<Context>) -> i64 {
    let elements = consumer.position().map(|at| at.elements().first().map(|e| e.offset()));
    match elements {
        Ok(Some(Offset::Offset(at))) => at,
        _ => -1,
    }
}

fn write_all(producer: &Producer, topic: &str, entries: &[Entry]) -> Result<(), TopicError> {
    producer.begin_transaction().map_err(|e| explain(producer, &e))?;
    for entry in entries {
        if let Err(e) = send(producer, topic, entry) {
            return Err(abort(producer, &e));
        }
    }
    let deadline = Instant::now() + TIMEOUT;
    // The binding's own flush looks up only every 100 ms, which would be most of a small transaction's time. Its `poll` spins through
    // what is left of a millisecond, and the producer's own thread polls already.
    while producer.in_flight_count() > 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
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
fn send(producer: &Producer, topic: &str, entry: &Entry) -> Result<(), ClientError> {
    let deadline = Instant::now() + TIMEOUT;
    let mut record: BaseRecord<'_, str, [u8]> = BaseRecord::to(topic).key(entry.key.as_str()).partition(0);
    if let Some(value) = &entry.value {
        record = record.payload(value);
    }
    if !entry.headers.is_empty() {
        let headers = OwnedHeaders::new_with_capacity(entry.headers.len());
        let add = |headers: OwnedHeaders, (key, value): &(String, String)| {
            headers.insert(Header { key, value: Some(value.as_str()) })
        };
        record = record.headers(entry.headers.iter().fold(headers, add));
    }
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

fn abort(producer: &Producer, cause: &ClientError) -> TopicError {
    let cause = explain(producer, cause);
    match producer.abort_transaction(TIMEOUT) {
        Ok(()) => cause,
        // Being fenced explains all that went before.
        Err(e) => match explain(producer, &e) {
            TopicError::Fenced => TopicError::Fenced,
            TopicError::Unavailable(_) => cause,
        },
    }
}

/// A fatal error hides its reason behind a general code.
fn explain(producer: &Producer, e: &ClientError) -> TopicError {
    let fatal = producer.client().fatal_error().map(|(code, _)| code);
    if fatal.is_some_and(fences) { TopicError::Fenced } else { failed(e) }
}

fn failed(e: &ClientError) -> TopicError {
    let code = match e {
        ClientError::Transaction(t) => Some(t.code()),
        other => other.rdkafka_error_code(),
    };
    if code.is_some_and(fences) { TopicError::Fenced } else { TopicError::Unavailable(e.to_string()) }
}

fn fences(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::{Fenced, InvalidProducerEpoch, ProducerFenced};
    matches!(code, Fenced | InvalidProducerEpoch | ProducerFenced)
}

fn unavailable(e: KafkaError) -> TopicError {
    let hint = if e.disposition == Disposition::UnknownOutcome { " (outcome unknown)" } else { "" };
    TopicError::Unavailable(format!("{}{hint}", e.message))
}

/// Destroying a producer waits for its threads.
fn discard(producer: Arc<Producer>) {
    drop(tokio::task::spawn_blocking(move || drop(producer)));
}
