//! Each record tells the hash of the one before. A record is the exact bytes that Kafka keeps: nothing is brought into another form
//! before it is hashed.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::api::SecurityEventSpec;
use crate::domain::event::{CONTENT_TYPE, attributes, name_of, ocsf};

/// The header with which the last record of each transaction is sealed.
pub const SEAL: &str = "weir_seal";

/// A record as Kafka keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What it is about: records of one thing are found by it.
    pub key: String,
    /// The event in OCSF, with its place in the chain.
    pub value: Vec<u8>,
    /// The context attributes of CloudEvents, in Kafka's binary mode.
    pub headers: Vec<(String, String)>,
}

/// A record's place, as it stands in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Which chain.
    pub id: String,
    /// The place, from 0.
    pub sequence: u64,
    /// SHA-256 of the record before, in hexadecimal; of the first one's, 64 zeros.
    pub previous: String,
}

impl Record {
    /// The seal, if it has one.
    pub fn seal(&self) -> Option<&str> {
        self.headers.iter().find(|(name, _)| name == SEAL).map(|(_, seal)| seal.as_str())
    }
}

/// Where a chain goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Which chain.
    pub id: String,
    /// How many records it has.
    pub records: u64,
    /// SHA-256 of the last one, in hexadecimal.
    pub hash: String,
}

impl Head {
    /// Of a chain without records.
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), records: 0, hash: "0".repeat(64) }
    }

    /// The record of an event as the next one, and where the chain goes on behind it.
    pub fn follow(&self, event: &SecurityEventSpec) -> (Record, Self) {
        let link = Link { id: self.id.clone(), sequence: self.records, previous: self.hash.clone() };
        let value = ocsf(event, Some((link.sequence, json!(link)))).to_string().into_bytes();
        let after = Self { id: self.id.clone(), records: self.records + 1, hash: hash(&value) };
        (Record { key: key(event), value, headers: headers(event) }, after)
    }

    /// Where a chain goes on behind a record of it.
    pub fn behind(value: &[u8], link: &Link) -> Self {
        Self { id: link.id.clone(), records: link.sequence.saturating_add(1), hash: hash(value) }
    }
}

/// SHA-256 of a record's bytes, in hexadecimal.
pub fn hash(value: &[u8]) -> String {
    hex::encode(Sha256::digest(value))
}

/// What a record's bytes tell.
///
/// # Errors
/// Why it is no record of Weir's.
pub fn read(value: &[u8]) -> Result<(SecurityEventSpec, Link), String> {
    let mut told: Value = serde_json::from_slice(value).map_err(|e| format!("it is no JSON: {e}"))?;
    let mut part = |name: &str| told.get_mut("unmapped").and_then(|u| u.get_mut(name)).map(Value::take);
    let link = part("chain").ok_or("it has no unmapped.chain")?;
    let event = part("event").ok_or("it has no unmapped.event")?;
    let link = serde_json::from_value(link).map_err(|e| format!("its unmapped.chain cannot be read: {e}"))?;
    let event = serde_json::from_value(event).map_err(|e| format!("its unmapped.event cannot be read: {e}"))?;
    Ok((event, link))
}

/// The key of an event's record.
pub fn key(event: &SecurityEventSpec) -> String {
    format!("{}/{}", event.object.kind, name_of(&event.object))
}

/// The headers of an event's record (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md>).
pub fn headers(event: &SecurityEventSpec) -> Vec<(String, String)> {
    let attributes = attributes(event).into_iter().map(|(name, value)| (format!("ce_{name}"), value));
    attributes.chain([("content-type".to_owned(), CONTENT_TYPE.to_owned())]).collect()
}
