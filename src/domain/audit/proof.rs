//! Proves a chain, record by record, or names the first break.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::chain::{self, Head, Link, Record};
use super::checkpoint::{Checkpoint, key_id, thumbprint, verify};
use crate::api::{Action, SecurityEventSpec};

/// Where a chain is not what Weir wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Break {
    /// The record cannot be read.
    #[error("offset {offset}: the record is not Weir's: {why}")]
    Unreadable {
        /// Its offset in the topic.
        offset: i64,
        /// Why.
        why: String,
    },
    /// Key or headers do not say what the record says.
    #[error("offset {offset}: record {sequence} is labelled with another {what} than it says itself")]
    Relabelled {
        /// Its offset in the topic.
        offset: i64,
        /// Its place.
        sequence: u64,
        /// The key, or headers.
        what: &'static str,
    },
    /// A record of another chain stands in between.
    #[error("offset {offset}: another chain begins ({found}), and the one before ({expected}) was not at its end")]
    Forked {
        /// Its offset in the topic.
        offset: i64,
        /// The chain so far.
        expected: String,
        /// The chain of the record.
        found: String,
    },
    /// Records are missing.
    #[error(
        "offset {offset}: record {found} follows where {expected} should: records were removed, or put in another order"
    )]
    Gap {
        /// The offset of the record behind the gap.
        offset: i64,
        /// The place that should come.
        expected: u64,
        /// The place that came.
        found: u64,
    },
    /// A record stands a second time, or behind a later one.
    #[error(
        "offset {offset}: record {found} comes where {expected} should: records were repeated, or put in another order"
    )]
    Repeated {
        /// Its offset in the topic.
        offset: i64,
        /// The place that should come.
        expected: u64,
        /// The place that came.
        found: u64,
    },
    /// The record before is not the one that was there when this one was written.
    #[error(
        "offset {offset}: record {before} is not the one that record {sequence} was written behind: it was changed"
    )]
    Altered {
        /// The offset of the record behind.
        offset: i64,
        /// The place of the changed record.
        before: u64,
        /// The place of the record behind.
        sequence: u64,
    },
    /// A checkpoint knows records that are not there.
    #[error("the chain ends behind {found} records, and a checkpoint of {time} knows {expected}: its end was cut off")]
    CutOff {
        /// Records that are there.
        found: u64,
        /// Records that the checkpoint knows.
        expected: u64,
        /// When it was signed.
        time: Timestamp,
    },
    /// A checkpoint knows another record at its place.
    #[error("record {sequence} is not the one that a checkpoint of {time} was made of: the chain was written anew")]
    Rewritten {
        /// Which one.
        sequence: u64,
        /// When it was signed.
        time: Timestamp,
    },
    /// A checkpoint is of another chain.
    #[error("a checkpoint of {time} is of chain {expected}, and the topic has chain {found}: the topic was replaced")]
    Replaced {
        /// The checkpoint's.
        expected: String,
        /// The topic's.
        found: String,
        /// When it was signed.
        time: Timestamp,
    },
    /// A checkpoint in the topic does not verify.
    #[error("offset {offset}: {why}")]
    BadCheckpoint {
        /// Its offset in the topic.
        offset: i64,
        /// Why.
        why: String,
    },
    /// There is no record, and a checkpoint knows some.
    #[error("the topic has no record, and a checkpoint of {time} knows {expected}")]
    Empty {
        /// Records that the checkpoint knows.
        expected: u64,
        /// When it was signed.
        time: Timestamp,
    },
}

/// What was proven.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proven {
    /// Which chain.
    pub chain: String,
    /// The place of its first record that is there: those before are past the topic's retention.
    pub first: u64,
    /// How many records it has, those before the first included.
    pub records: u64,
    /// How many of them a checkpoint covers.
    pub signed: u64,
    /// When that was made.
    pub signed_at: Option<Timestamp>,
    /// When the last record was written of.
    pub last_time: Option<Timestamp>,
    /// Checkpoints among them that another key signed.
    pub of_other_keys: u64,
}

/// Takes the records of a topic in their order.
pub struct Proof {
    public_keys: Vec<String>,
    /// By how many records they know: checkpoints from outside of the topic.
    outside: BTreeMap<u64, Checkpoint>,
    /// Nothing is past a retention: the first record must be there.
    is_whole: bool,
    head: Option<Head>,
    /// The first break: behind it nothing is looked at.
    broken: Option<Break>,
    proven: Proven,
}

impl Proof {
    /// Of a chain whose checkpoints verify with one of `public_keys`, and agree with those of `outside`. One that `is_whole` has no
    /// retention: its first record must be there. Checkpoints of other keys prove nothing, and break nothing.
    pub fn new(public_keys: Vec<String>, outside: impl IntoIterator<Item = Checkpoint>, is_whole: bool) -> Self {
        let outside = outside.into_iter().map(|c| (c.records, c)).collect();
        Self { public_keys, outside, is_whole, head: None, broken: None, proven: Proven::default() }
    }

    /// Takes the next record; gives back what it tells, whether or not it is what follows.
    pub fn take(&mut self, offset: i64, record: &Record) -> Option<(SecurityEventSpec, Link)> {
        let told = chain::read(&record.value).map_err(|why| Break::Unreadable { offset, why });
        if self.broken.is_none() {
            let checked = told.as_ref().map_err(Break::clone);
            self.broken = checked.and_then(|(event, link)| self.check(offset, record, event, link)).err();
        }
        told.ok()
    }

    fn check(&mut self, offset: i64, record: &Record, event: &SecurityEventSpec, link: &Link) -> Result<(), Break> {
        let sequence = link.sequence;
        if record.key != chain::key(event) {
            return Err(Break::Relabelled { offset, sequence, what: "key" });
        }
        if record.headers != chain::headers(event) {
            return Err(Break::Relabelled { offset, sequence, what: "headers" });
        }
        self.follows(offset, link)?;
        let head = Head::behind(&record.value, link);
        if event.action == Action::AuditCheckpoint {
            self.checkpoint(offset, event, sequence)?;
        }
        if let Some(outside) = self.outside.get(&head.records) {
            Self::agree(&head, outside)?;
            self.proven.signed = head.records;
            self.proven.signed_at = Some(outside.time);
        }
        if self.head.is_none() {
            self.proven.first = sequence;
            self.proven.chain = link.id.clone();
        }
        self.proven.records = head.records;
        self.proven.last_time = Some(event.time.0);
        self.head = Some(head);
        Ok(())
    }

    fn follows(&self, offset: i64, link: &Link) -> Result<(), Break> {
        let Some(head) = &self.head else {
            let is_cut = self.is_whole && link.sequence > 0;
            return if is_cut { Err(Break::Gap { offset, expected: 0, found: link.sequence }) } else { Ok(()) };
        };
        let (expected, found) = (head.records, link.sequence);
        if link.id != head.id {
            return Err(Break::Forked { offset, expected: head.id.clone(), found: link.id.clone() });
        }
        if found > expected {
            return Err(Break::Gap { offset, expected, found });
        }
        if found < expected {
            return Err(Break::Repeated { offset, expected, found });
        }
        if link.previous != head.hash {
            return Err(Break::Altered { offset, before: found.saturating_sub(1), sequence: found });
        }
        Ok(())
    }

    /// A checkpoint in the topic is of the record right before it.
    fn checkpoint(&mut self, offset: i64, event: &SecurityEventSpec, sequence: u64) -> Result<(), Break> {
        let kid = key_id(&event.message);
        let Some(public_key) = self.public_keys.iter().find(|key| kid.as_ref() == Some(&thumbprint(key))) else {
            self.proven.of_other_keys += 1;
            return Ok(());
        };
        let bad = |why: String| Break::BadCheckpoint { offset, why };
        let checkpoint = verify(&event.message, public_key).map_err(bad)?;
        if checkpoint.records != sequence {
            return Err(bad("the checkpoint is of another place in the chain".into()));
        }
        if let Some(head) = &self.head {
            Self::agree(head, &checkpoint)?;
        }
        self.proven.signed = checkpoint.records;
        self.proven.signed_at = Some(checkpoint.time);
        Ok(())
    }

    fn agree(head: &Head, checkpoint: &Checkpoint) -> Result<(), Break> {
        let time = checkpoint.time;
        if head.id != checkpoint.chain {
            return Err(Break::Replaced { expected: checkpoint.chain.clone(), found: head.id.clone(), time });
        }
        if head.hash != checkpoint.hash {
            return Err(Break::Rewritten { sequence: head.records.saturating_sub(1), time });
        }
        Ok(())
    }

    /// The end of the topic.
    ///
    /// # Errors
    /// The first break; or checkpoints know more.
    pub fn end(self) -> Result<Proven, Break> {
        if let Some(broken) = self.broken {
            return Err(broken);
        }
        let last = self.outside.last_key_value().map(|(_, c)| c.clone());
        match (&self.head, last) {
            (None, Some(c)) => Err(Break::Empty { expected: c.records, time: c.time }),
            (Some(head), Some(c)) if head.id != c.chain => {
                Err(Break::Replaced { expected: c.chain, found: head.id.clone(), time: c.time })
            }
            (Some(head), Some(c)) if head.records < c.records => {
                Err(Break::CutOff { found: head.records, expected: c.records, time: c.time })
            }
            _ => Ok(self.proven),
        }
    }
}
