//! The audit topic: records are added, and never changed. What they say is not looked at here.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::Message as _;
use rdkafka::message::{BorrowedMessage, Headers as _};

use super::KafkaAdminClient;
use super::journal::{Entry, Journal};
use crate::domain::audit::chain::Record;
use crate::ports::{KafkaEndpoint, KafkaError, TopicError};

/// The audit topic of one cluster.
pub struct AuditLog {
    journal: Journal,
}

/// A record, and where it lies.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its offset.
    pub offset: i64,
    /// What it is.
    pub record: Record,
}

impl AuditLog {
    /// Enters the cluster at `endpoint`, as a client called `client_id`. Records of `topic` are kept for `retention`; without, for
    /// ever. See [`Journal::new`] for what the principal needs.
    ///
    /// # Errors
    /// The cluster cannot be entered.
    pub async fn connect(
        endpoint: &KafkaEndpoint,
        client_id: &str,
        topic: &str,
        retention: Option<Duration>,
    ) -> Result<Self, KafkaError> {
        let admin = Arc::new(KafkaAdminClient::connect(endpoint, client_id).await?);
        let retention_ms = retention.and_then(|r| i64::try_from(r.as_millis()).ok());
        let settings = [
            ("cleanup.policy", "delete".to_owned()),
            ("retention.ms", retention_ms.unwrap_or(-1).to_string()),
            ("retention.bytes", "-1".to_owned()),
        ];
        Ok(Self { journal: Journal::new(endpoint, admin, topic, settings)? })
    }

    /// Becomes the only writer, and reads the last records: at least `tail` of them, where there are so many.
    ///
    /// # Errors
    /// See [`TopicError`].
    pub async fn open(&self, tail: i64) -> Result<Vec<Stored>, TopicError> {
        self.journal.open(self.last(tail)).await
    }

    async fn last(&self, tail: i64) -> Result<Vec<Stored>, TopicError> {
        let (first, end) = self.journal.range().await?;
        // Each transaction takes an offset more than it has records; at worst, every record has its own.
        let mut from = (end - 2 * tail - 1).max(first);
        loop {
            let take = |all: &mut Vec<Stored>, message: &BorrowedMessage<'_>| {
                all.push(stored(message));
                Ok(())
            };
            let records =
                if from == end { Vec::new() } else { self.journal.read((from, Some(end)), Vec::new(), take).await? };
            // Transactions that were aborted take offsets and show nothing.
            if from == first || i64::try_from(records.len()).unwrap_or(i64::MAX) >= tail {
                return Ok(records);
            }
            from = (from - 2 * tail).max(first);
        }
    }

    /// Adds all of these, in one transaction, or none. Returns once the brokers have them.
    ///
    /// # Errors
    /// See [`TopicError`].
    pub async fn append(&self, records: &[Record]) -> Result<(), TopicError> {
        let entry = |record: &Record| Entry {
            key: record.key.clone(),
            value: Some(record.value.clone()),
            headers: record.headers.clone(),
        };
        self.journal.write(records.iter().map(entry).collect()).await
    }

    /// Gives every record to `each`, in order, until it fails; changes nothing.
    ///
    /// # Errors
    /// See [`TopicError`]; there is no topic.
    pub async fn read<T: Send + 'static>(
        &self,
        made: T,
        mut each: impl FnMut(&mut T, Stored) -> Result<(), TopicError> + Send + 'static,
    ) -> Result<T, TopicError> {
        let (first, end) = self.journal.range().await?;
        if first == end {
            return Ok(made);
        }
        self.journal.read((first, None), made, move |made, message| each(made, stored(message))).await
    }
}

/// What is no text shows as such: whoever reads the record finds out that it is not Weir's.
pub(super) fn stored(message: &BorrowedMessage<'_>) -> Stored {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = message
        .headers()
        .map(|headers| headers.iter().map(|h| (h.key.to_owned(), h.value.map(text).unwrap_or_default())).collect());
    let record = Record {
        key: message.key().map(text).unwrap_or_default(),
        value: message.payload().unwrap_or_default().to_vec(),
        headers: headers.unwrap_or_default(),
    };
    Stored { offset: message.offset(), record }
}
