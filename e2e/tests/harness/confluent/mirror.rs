//! A mirror topic: what a link does for it, with a real client at the source and another one at the destination.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Message, Timestamp};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use crate::harness::brokers::Login;
use crate::harness::records;

/// How long brokers may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often partitions are counted.
const COUNTED: Duration = Duration::from_secs(1);

/// What is asked of it, and how it is.
pub struct Shared {
    /// `mirror_status`.
    pub status: &'static str,
    /// Who it is at the source. Another one is taken up at once.
    pub login: Login,
    /// It says that it is active, and does nothing.
    pub is_stalled: bool,
    ended: bool,
}

/// See the module.
pub struct Mirror {
    pub source: String,
    pub made: Instant,
    pub shared: Arc<Mutex<Shared>>,
    thread: Option<JoinHandle<()>>,
}

impl Mirror {
    /// Begins. `copy` is there, with as many partitions as `source`; `begin` is where each of them begins.
    pub fn start(source: &str, copy: &str, login: Login, destination: Login, begin: BTreeMap<i32, i64>) -> Self {
        let (status, is_stalled, ended) = ("PENDING_MIRROR", false, false);
        let shared = Arc::new(Mutex::new(Shared { status, login, is_stalled, ended }));
        let (source, copy) = (source.to_owned(), copy.to_owned());
        let work = Work { source: source.clone(), copy, destination, begin, shared: shared.clone() };
        Self { source, made: Instant::now(), shared, thread: Some(std::thread::spawn(move || work.run())) }
    }

    pub fn status(&self) -> &'static str {
        self.shared.lock().unwrap().status
    }

    /// Ends it; what it made stays.
    pub fn end(&mut self, status: &'static str) {
        let mut shared = self.shared.lock().unwrap();
        (shared.ended, shared.status) = (true, status);
        drop(shared);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.end("STOPPED");
    }
}

struct Work {
    source: String,
    copy: String,
    destination: Login,
    begin: BTreeMap<i32, i64>,
    shared: Arc<Mutex<Shared>>,
}

impl Work {
    fn run(self) {
        let mut is_begun = false;
        while let Some((login, is_at_work)) = self.asked() {
            if !is_at_work {
                std::thread::sleep(Duration::from_millis(50));
                continue;
            }
            let done = match is_begun {
                true => self.copy(&login),
                false => self.skip().map(|()| is_begun = true),
            };
            if let Err(error) = done {
                eprintln!("the stand-in for Confluent Server: {}: {error}", self.source);
                self.say("SOURCE_UNAVAILABLE");
                std::thread::sleep(Duration::from_millis(300));
            }
        }
    }

    /// Who to be, and whether to do anything; `None` where it is over.
    fn asked(&self) -> Option<(Login, bool)> {
        let shared = self.shared.lock().unwrap();
        (!shared.ended).then(|| (shared.login.clone(), shared.status != "PAUSED" && !shared.is_stalled))
    }

    fn say(&self, status: &'static str) {
        let mut shared = self.shared.lock().unwrap();
        if !shared.ended && shared.status != "PAUSED" {
            shared.status = status;
        }
    }

    /// Has the offsets of the copy begin where those of the source do that are copied: what comes before never is.
    fn skip(&self) -> Result<(), String> {
        let producer: BaseProducer = records::config(&self.destination).create().map_err(said)?;
        let mut until = TopicPartitionList::new();
        for (partition, begin) in self.begin.iter().filter(|(_, begin)| **begin > 0) {
            for _ in 0..*begin {
                let nothing = BaseRecord::<str, str>::to(&self.copy).partition(*partition).payload("");
                producer.send(nothing).map_err(|(e, _)| e.to_string())?;
            }
            until.add_partition_offset(&self.copy, *partition, Offset::Offset(*begin)).map_err(said)?;
        }
        producer.flush(PATIENCE).map_err(said)?;
        if until.count() > 0 {
            let admin: AdminClient<DefaultClientContext> = records::config(&self.destination).create().map_err(said)?;
            block_on(admin.delete_records(&until, &AdminOptions::new())).map_err(said)?;
        }
        Ok(())
    }

    /// Copies until something else is asked.
    fn copy(&self, login: &Login) -> Result<(), String> {
        let mut config = records::config(login);
        // No group is looked for: who reads at the source may use none.
        config.set("group.id", "none").set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
        config.set("isolation.level", "read_uncommitted");
        let consumer: BaseConsumer = config.create().map_err(said)?;
        let producer: BaseProducer = records::config(&self.destination).create().map_err(said)?;
        let partitions = |topic: &str| {
            let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).map_err(said)?;
            let found = metadata.topics().first().ok_or("no topic")?;
            match found.error() {
                Some(error) => Err(format!("{:?}", RDKafkaErrorCode::from(error))),
                None => Ok(found.partitions().len()),
            }
        };
        let count = partitions(&self.source)?;
        self.grow(&producer, count)?;
        let mut next = BTreeMap::new();
        let mut from = TopicPartitionList::new();
        for partition in 0..count as i32 {
            let (_, end) = producer.client().fetch_watermarks(&self.copy, partition, PATIENCE).map_err(said)?;
            next.insert(partition, end);
            from.add_partition_offset(&self.source, partition, Offset::Offset(end)).map_err(said)?;
        }
        consumer.assign(&from).map_err(said)?;
        self.say("ACTIVE");
        let mut counted = Instant::now();
        while self.asked().is_some_and(|(now, is_at_work)| is_at_work && now == *login) {
            if counted.elapsed() > COUNTED {
                counted = Instant::now();
                if partitions(&self.source)? != count {
                    return Ok(());
                }
            }
            let message = match consumer.poll(Duration::from_millis(100)) {
                None => continue,
                Some(Ok(message)) => message,
                Some(Err(KafkaError::MessageConsumption(RDKafkaErrorCode::GroupAuthorizationFailed))) => continue,
                Some(Err(error)) => return Err(error.to_string()),
            };
            let partition = message.partition();
            let expected = next.get_mut(&partition).ok_or("an unknown partition")?;
            if message.offset() != *expected {
                return Err(format!("offset {} and not {expected}: transactions are not mirrored", message.offset()));
            }
            *expected += 1;
            let mut record = BaseRecord::<[u8], [u8]>::to(&self.copy).partition(partition);
            record = message.payload().map_or(record, |payload| {
                BaseRecord::<[u8], [u8]>::to(&self.copy).partition(partition).payload(payload)
            });
            record.key = message.key();
            if let Timestamp::CreateTime(at) = message.timestamp() {
                record = record.timestamp(at);
            }
            producer.send(record).map_err(|(e, _)| e.to_string())?;
            producer.flush(PATIENCE).map_err(said)?;
        }
        Ok(())
    }

    /// Has the copy as many partitions as the source.
    fn grow(&self, producer: &BaseProducer, count: usize) -> Result<(), String> {
        let metadata = producer.client().fetch_metadata(Some(&self.copy), PATIENCE).map_err(said)?;
        let has = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
        if has >= count {
            return Ok(());
        }
        let admin: AdminClient<DefaultClientContext> = records::config(&self.destination).create().map_err(said)?;
        let more = [NewPartitions::new(&self.copy, count)];
        let grown = block_on(admin.create_partitions(&more, &AdminOptions::new())).map_err(said)?;
        grown.into_iter().try_for_each(|one| one.map(drop).map_err(|(topic, why)| format!("{topic}: {why}")))
    }
}

fn said(error: KafkaError) -> String {
    error.to_string()
}
