//! Proves a chain, record by record, or names its breaks. Behind a break it is looked on as if it began there: one break hides no other.
//!
//! A break that a person confirmed counts no more once it is on record that it was, and a checkpoint covers that record.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::breaks::{Break, Broken, Found, short, tokens};
use super::chain::{self, Head, Link, Record, SEAL};
use super::checkpoint::{Checkpoint, is_sealed, key_id, thumbprint, verify};
use super::heard::fit;
use crate::api::{Action, SecurityEventSpec};

/// The reason of an event that says that somebody confirmed breaks; it names their tokens.
pub const CONFIRMED: &str = "Confirmed";

/// How far the brokers' clocks, by which they remove what is past the topic's retention, may be ahead.
const SKEW: SignedDuration = SignedDuration::from_mins(10);

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
    /// Whether the last one is sealed: nobody else wrote any behind Weir's.
    pub is_sealed: bool,
    /// Breaks that a person confirmed, as is on record and signed.
    pub confirmed: Vec<Break>,
}

/// Takes the records of a topic in their order.
pub struct Proof {
    public_keys: Vec<String>,
    /// By how many records they know: checkpoints from outside of the topic that it has not been seen to agree with.
    outside: BTreeMap<u64, Vec<Checkpoint>>,
    retention: Option<Duration>,
    head: Option<Head>,
    /// That of the last record.
    seal: Option<String>,
    /// Nothing was taken yet.
    is_fresh: bool,
    is_tail: bool,
    /// What the first record follows upon is not known, and would have to be.
    is_too_short: bool,
    found: Found,
    /// Tokens of breaks that the record says were confirmed, since the last break: they count once a checkpoint covers it.
    told: BTreeSet<String>,
    /// Those that count.
    confirmed: BTreeSet<String>,
    proven: Proven,
}

impl Proof {
    /// Of a chain whose checkpoints verify with one of `public_keys`, and agree with those of `outside`. Records are kept for
    /// `retention`; without, its first record must be there. Checkpoints of other keys prove nothing, and break nothing.
    pub fn new(
        public_keys: Vec<String>,
        outside: impl IntoIterator<Item = Checkpoint>,
        retention: Option<Duration>,
    ) -> Self {
        let mut by_records: BTreeMap<u64, Vec<Checkpoint>> = BTreeMap::new();
        for checkpoint in outside {
            let known = by_records.entry(checkpoint.records).or_default();
            if !known.contains(&checkpoint) {
                known.push(checkpoint);
            }
        }
        Self {
            public_keys,
            outside: by_records,
            retention,
            head: None,
            seal: None,
            is_fresh: true,
            is_tail: false,
            is_too_short: false,
            found: Found::default(),
            told: BTreeSet::new(),
            confirmed: BTreeSet::new(),
            proven: Proven::default(),
        }
    }

    /// The same of a topic's last records only, which nobody writes just now: that there are none before is no break. That somebody
    /// confirmed breaks is one where no checkpoint covers it, and so is a last record that is not sealed.
    pub fn of_tail(self) -> Self {
        Self { is_fresh: false, is_tail: true, ..self }
    }

    /// Something is wrong with what is known from outside.
    pub fn fault(&mut self, what: Break) {
        self.found.add(0, what);
    }

    /// Takes the next record; gives back what it tells, whether or not it is what follows.
    pub fn take(&mut self, offset: i64, record: &Record) -> Option<(SecurityEventSpec, Link)> {
        let told = match chain::read(&record.value) {
            Ok((event, link)) => {
                self.check(offset, record, &event, &link);
                Some((event, link))
            }
            // What lies behind follows upon what lies before, or else it is a break of its own.
            Err(why) => {
                if self.head.is_none() {
                    self.is_too_short = self.is_tail;
                    // What it was found behind is past the topic's retention by now.
                    if self.retention.is_some() && !self.is_tail {
                        return None;
                    }
                }
                let behind = self.head.as_ref().map_or(0, |head| head.records);
                let (digest, why) = (short(&record.value), fit(&why));
                self.found.add(offset, Break::Unreadable { offset, behind, digest, why });
                None
            }
        };
        self.is_fresh = false;
        told
    }

    fn check(&mut self, offset: i64, record: &Record, event: &SecurityEventSpec, link: &Link) {
        let sequence = link.sequence;
        if record.key != chain::key(event) {
            self.found.add(offset, Break::Relabelled { offset, sequence, what: "key" });
        } else if !record.headers.iter().filter(|(name, _)| name != SEAL).eq(&chain::headers(event)) {
            self.found.add(offset, Break::Relabelled { offset, sequence, what: "headers" });
        }
        if self.head.is_none() {
            self.proven.first = sequence;
        }
        if let Err(what) = self.follows(offset, link) {
            self.found.add(offset, what);
            // Checkpoints behind a break cover nothing before it.
            self.told.clear();
        }
        if event.action == Action::AuditCheckpoint {
            self.checkpoint(offset, event, sequence);
        }
        let head = Head::behind(&record.value, link);
        self.meet(offset, &head);
        if event.action == Action::AuditTrailBroken && event.reason == CONFIRMED {
            let confirmed: BTreeSet<_> = event.entries.iter().flat_map(|entry| tokens(entry)).collect();
            // Behind it all is sealed again: that it once was not is seen by this alone.
            let unsealed = self.head.as_ref().map(|head| Break::Unsealed { records: head.records });
            if let Some(unsealed) = unsealed.filter(|what| confirmed.contains(&what.token())) {
                self.found.add(offset, unsealed);
            }
            self.told.extend(confirmed);
        }
        self.proven.chain.clone_from(&link.id);
        self.proven.records = head.records;
        self.proven.last_time = Some(event.time.0);
        self.head = Some(head);
        self.seal = record.seal().map(str::to_owned);
    }

    fn follows(&self, offset: i64, link: &Link) -> Result<(), Break> {
        let Some(head) = &self.head else {
            let is_cut = self.is_fresh && self.retention.is_none() && link.sequence > 0;
            return if is_cut { Err(Break::Gap { offset, expected: 0, found: link.sequence }) } else { Ok(()) };
        };
        let (expected, found) = (head.records, link.sequence);
        if link.id != head.id {
            let (behind, sequence) = (expected, found);
            let (expected, found) = (fit(&head.id), fit(&link.id));
            return Err(Break::Forked { offset, behind, sequence, expected, found });
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
    fn checkpoint(&mut self, offset: i64, event: &SecurityEventSpec, sequence: u64) {
        let kid = key_id(&event.message);
        let Some(public_key) = self.public_keys.iter().find(|key| kid.as_ref() == Some(&thumbprint(key))) else {
            self.proven.of_other_keys += 1;
            return;
        };
        let bad = |why: String| Break::BadCheckpoint { offset, sequence, why: fit(&why) };
        let checkpoint = match verify(&event.message, public_key) {
            Ok(checkpoint) if checkpoint.records == sequence => checkpoint,
            Ok(_) => return self.found.add(offset, bad("the checkpoint is of another place in the chain".into())),
            Err(why) => return self.found.add(offset, bad(why)),
        };
        match &self.head {
            Some(head) if head.id != checkpoint.chain => {
                self.found.add(offset, bad("the checkpoint is of another chain".into()));
            }
            Some(head) if head.records == checkpoint.records && head.hash != checkpoint.hash => {
                let sequence = checkpoint.records.saturating_sub(1);
                self.found.add(offset, Break::Rewritten { sequence, time: checkpoint.time });
            }
            _ => self.covered(&checkpoint),
        }
    }

    /// Checkpoints from outside know the chain as it is here, or they do not.
    fn meet(&mut self, offset: i64, head: &Head) {
        let Some(known) = self.outside.remove(&head.records) else { return };
        let (met, others): (Vec<_>, Vec<_>) = known.into_iter().partition(|c| c.chain == head.id);
        if !others.is_empty() {
            self.outside.insert(head.records, others);
        }
        for checkpoint in met {
            if checkpoint.hash == head.hash {
                self.covered(&checkpoint);
            } else {
                let sequence = head.records.saturating_sub(1);
                self.found.add(offset, Break::Rewritten { sequence, time: checkpoint.time });
            }
        }
    }

    /// A checkpoint covers all up to here.
    fn covered(&mut self, checkpoint: &Checkpoint) {
        self.proven.signed = checkpoint.records;
        self.proven.signed_at = Some(checkpoint.time);
        self.confirmed.append(&mut self.told);
        self.settle();
    }

    fn settle(&mut self) {
        let confirmed = &self.confirmed;
        self.proven.confirmed.extend(self.found.settle(|what| confirmed.contains(&what.token())));
    }

    /// Whether what was taken is enough to judge the topic's last records by, if it is not all that the topic has: they go back to what
    /// is known from outside.
    pub fn is_enough(&self, now: Timestamp) -> bool {
        let first = self.proven.first;
        let is_before = |c: &Checkpoint| c.records <= first && !self.is_past(c, now + SKEW);
        let is_known_before = self.head.is_some() && self.outside.values().flatten().any(is_before);
        !(self.is_too_short || is_known_before)
    }

    /// Whether the records that a checkpoint knows may be gone by the topic's retention.
    fn is_past(&self, checkpoint: &Checkpoint, now: Timestamp) -> bool {
        let age = Duration::try_from(now.duration_since(checkpoint.time));
        self.retention.is_some_and(|retention| age.is_ok_and(|age| age > retention))
    }

    /// The end of the topic.
    ///
    /// # Errors
    /// Breaks that nobody confirmed; checkpoints that know what is not there, unless that is past the retention `now`.
    pub fn end(mut self, now: Timestamp) -> Result<Proven, Broken> {
        let outside: Vec<_> = std::mem::take(&mut self.outside).into_values().flatten().collect();
        for checkpoint in outside {
            if self.is_past(&checkpoint, now) {
                continue;
            }
            let (first, is_nearly_past) = (self.proven.first, self.is_past(&checkpoint, now + SKEW));
            let Checkpoint { chain, records, time, .. } = checkpoint;
            let what = match &self.head {
                None => Break::Empty { expected: records, time },
                Some(head) if head.id != chain => Break::Replaced { expected: chain, found: fit(&head.id), time },
                Some(head) if head.records < records => Break::CutOff { found: head.records, expected: records, time },
                // The checkpoint is itself the record behind those that it knows.
                Some(_) if records < first && !is_nearly_past => {
                    Break::Beheaded { found: first, expected: records, time }
                }
                // Of the records right before the first, or of some that a break tells of.
                Some(_) => continue,
            };
            self.found.add(0, what);
        }
        let is_sealed = |head: &Head, seal: &str| self.public_keys.iter().any(|key| is_sealed(head, seal, key));
        self.proven.is_sealed = matches!((&self.head, &self.seal), (Some(head), Some(seal)) if is_sealed(head, seal));
        // Weir goes on behind its own words only.
        if self.is_tail && self.head.is_some() && !self.proven.is_sealed {
            self.found.add(0, Break::Unsealed { records: self.proven.records });
        }
        if self.is_tail && !self.told.is_empty() {
            self.found.add(0, Break::Unsigned { records: self.proven.records });
        }
        self.settle();
        self.found.none_or().map(|()| self.proven)
    }
}
