//! The ledger: a map kept in a compacted topic of one partition, extended by transactions.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use rdkafka::Message as _;
use rdkafka::message::BorrowedMessage;
use tokio::sync::Mutex;

use super::journal::{Entry, Journal};
use crate::ports::{KafkaAdmin, KafkaEndpoint, KafkaError, Ledger, TopicError};

/// The ledger of one cluster.
pub struct KafkaLedger {
    journal: Journal,
    /// What was read before anything was fenced, up to which offset: opening goes on from there.
    seen: Mutex<Option<Seen>>,
}

/// The newest value of every key before an offset.
struct Seen {
    entries: BTreeMap<String, String>,
    end: i64,
}

impl KafkaLedger {
    /// A ledger in `topic` of the cluster at `endpoint`, which `admin` administers. Does nothing yet; must be called
    /// inside of the runtime. The principal needs Create, Describe, Read and Write on the topic, Write on the
    /// transactional id and Describe on the group, both of the topic's name.
    pub fn new(endpoint: &KafkaEndpoint, admin: Arc<dyn KafkaAdmin>, topic: &str) -> Result<Self, KafkaError> {
        // Small segments: the active one is never compacted, and every opening reads it.
        let settings =
            [("cleanup.policy", "compact"), ("segment.bytes", "16777216"), ("min.cleanable.dirty.ratio", "0.2")];
        let settings = settings.map(|(key, value)| (key, value.to_owned()));
        Ok(Self { journal: Journal::new(endpoint, admin, topic, settings)?, seen: Mutex::new(None) })
    }

    /// The newest value of every key of the topic, starting from what was seen. Once it is fenced, all of it: before, whoever wrote last
    /// may have died amid a transaction.
    async fn read_on(&self, seen: Option<Seen>, is_fenced: bool) -> Result<Seen, TopicError> {
        let (first, end) = self.journal.range().await?;
        // A topic that is shorter than what was seen of it is another one.
        let seen = seen.filter(|s| s.end <= end).unwrap_or(Seen { entries: BTreeMap::new(), end: first });
        if seen.end == end {
            return Ok(seen);
        }
        self.journal.read((seen.end, is_fenced.then_some(end)), seen, take).await
    }
}

fn take(seen: &mut Seen, message: &BorrowedMessage<'_>) -> Result<(), TopicError> {
    seen.end = message.offset() + 1;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec());
    match (message.key().map(text).transpose(), message.payload().map(text).transpose()) {
        (Ok(Some(key)), Ok(Some(value))) => drop(seen.entries.insert(key, value)),
        (Ok(Some(key)), Ok(None)) => drop(seen.entries.remove(&key)),
        _ => {
            let words = format!("the record at offset {} of {:?} is not Weir's", message.offset(), message.topic());
            return Err(TopicError::Unavailable(words));
        }
    }
    Ok(())
}

#[async_trait]
impl Ledger for KafkaLedger {
    async fn read(&self) -> Result<BTreeMap<String, String>, TopicError> {
        if !self.journal.exists().await? {
            return Ok(BTreeMap::new());
        }
        let seen = self.read_on(None, false).await?;
        Ok(self.seen.lock().await.insert(seen).entries.clone())
    }

    async fn open(&self) -> Result<BTreeMap<String, String>, TopicError> {
        // Asked only once it is fenced: no earlier writer moves the end any more.
        let read = async {
            let seen = self.seen.lock().await.take();
            self.read_on(seen, true).await
        };
        Ok(self.journal.open(read).await?.entries)
    }

    async fn commit(&self, changes: &[(String, Option<String>)]) -> Result<(), TopicError> {
        let entry = |(key, value): &(String, Option<String>)| Entry {
            key: key.clone(),
            value: value.clone().map(String::into_bytes),
            headers: Vec::new(),
        };
        self.journal.write(changes.iter().map(entry).collect()).await
    }
}
