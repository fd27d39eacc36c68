//! How a chain is broken.

use jiff::Timestamp;
use sha2::{Digest, Sha256};

/// Where a chain is not what Weir wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Break {
    /// The record cannot be read.
    #[error("offset {offset}: the record behind {behind} others is not Weir's: {why} (SHA-256 {digest}...)")]
    Unreadable {
        /// Its offset in the topic.
        offset: i64,
        /// How many records the chain has before it.
        behind: u64,
        /// SHA-256 of its value, the beginning.
        digest: String,
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
    #[error(
        "offset {offset}: record {sequence} of another chain ({found}) comes behind {behind} records of the one before \
         ({expected}), which was not at its end"
    )]
    Forked {
        /// Its offset in the topic.
        offset: i64,
        /// How many records the chain before has.
        behind: u64,
        /// The record's place in its own chain.
        sequence: u64,
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
    /// The beginning is missing, and a checkpoint knows some of it that is younger than the topic's retention.
    #[error(
        "the chain begins with record {found}, and a checkpoint of {time} knows {expected}: its beginning was removed"
    )]
    Beheaded {
        /// The first record that is there.
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
    #[error("offset {offset}: record {sequence}: {why}")]
    BadCheckpoint {
        /// Its offset in the topic.
        offset: i64,
        /// Its place.
        sequence: u64,
        /// Why.
        why: String,
    },
    /// A checkpoint outside of the topic does not verify.
    #[error("{place}: {why}")]
    BadKept {
        /// Where it is.
        place: String,
        /// Why.
        why: String,
    },
    /// Among the last records one says that somebody confirmed breaks, and no checkpoint covers it.
    #[error("one of the last of {records} records says that breaks were confirmed, and no checkpoint covers it")]
    Unsigned {
        /// Records that are there.
        records: u64,
    },
    /// The last records are not sealed as Weir seals each transaction.
    #[error("the last of {records} records is not sealed with a key that is known: somebody else may have written it")]
    Unsealed {
        /// Records that are there.
        records: u64,
    },
    /// So many that they are not told apart.
    #[error("offset {offset}: {count} more breaks end here, not told apart ({digest})")]
    More {
        /// The offset of the last.
        offset: i64,
        /// How many.
        count: u64,
        /// SHA-256 of all of them, the beginning.
        digest: String,
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

impl Break {
    /// What stands for it where somebody confirms it: the same in a copy of the topic, and of a checkpoint that knows more, whatever the
    /// topic holds meanwhile.
    pub fn token(&self) -> String {
        let mut anywhere = self.clone();
        match &mut anywhere {
            Self::CutOff { time, .. }
            | Self::Beheaded { time, .. }
            | Self::Replaced { time, .. }
            | Self::Empty { time, .. }
            | Self::Rewritten { time, .. } => {
                return short(format!("a checkpoint of {time} is not met"));
            }
            Self::Unreadable { offset, .. }
            | Self::Relabelled { offset, .. }
            | Self::Forked { offset, .. }
            | Self::Gap { offset, .. }
            | Self::Repeated { offset, .. }
            | Self::Altered { offset, .. }
            | Self::BadCheckpoint { offset, .. }
            | Self::More { offset, .. } => *offset = 0,
            Self::BadKept { .. } | Self::Unsigned { .. } | Self::Unsealed { .. } => {}
        }
        short(anywhere.to_string())
    }
}

/// Breaks that nobody confirmed, in the order of the topic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", sentences(.0))]
pub struct Broken(pub Vec<Break>);

impl Broken {
    /// What a person confirms: exactly these.
    pub fn token(&self) -> String {
        short(self.0.iter().map(Break::token).collect::<String>())
    }

    /// The tokens of all of them, as the entries of the event that says that they are confirmed.
    pub fn entries(&self) -> Vec<String> {
        let tokens: Vec<_> = self.0.iter().map(Break::token).collect();
        tokens.chunks(IN_ENTRY).map(|some| some.join(" ")).collect()
    }
}

/// The tokens in such an entry.
pub(super) fn tokens(entry: &str) -> impl Iterator<Item = String> {
    entry.split(' ').map(str::to_owned)
}

fn sentences(breaks: &[Break]) -> String {
    let (named, others) = breaks.split_at(breaks.len().min(NAMED));
    let count = |what: &Break| if let Break::More { count, .. } = what { *count } else { 1 };
    let more = others.iter().map(count).sum::<u64>();
    let more = (more > 0).then(|| format!("and {more} more"));
    named.iter().map(ToString::to_string).chain(more).collect::<Vec<_>>().join("; ")
}

/// How many breaks are named.
const NAMED: usize = 20;
/// How many tokens an entry of an event has; an event has no more than twenty entries.
const IN_ENTRY: usize = TOLD_APART / 20;
/// How many breaks are told apart.
const TOLD_APART: usize = 500;

/// Breaks as they are found: beyond the bound they are told together.
#[derive(Debug, Default)]
pub(super) struct Found(Vec<Break>);

impl Found {
    pub(super) fn add(&mut self, offset: i64, what: Break) {
        if self.0.len() < TOLD_APART {
            return self.0.push(what);
        }
        let (before, count) = match self.0.pop() {
            Some(Break::More { count, digest, .. }) => (digest, count),
            Some(last) => (last.token(), 1),
            None => (String::new(), 0),
        };
        self.0.push(Break::More { offset, count: count + 1, digest: short(before + &what.token()) });
    }

    /// Takes out those that were confirmed.
    pub(super) fn settle(&mut self, is_confirmed: impl Fn(&Break) -> bool) -> Vec<Break> {
        let (settled, open) = std::mem::take(&mut self.0).into_iter().partition(is_confirmed);
        self.0 = open;
        settled
    }

    pub(super) fn none_or(self) -> Result<(), Broken> {
        if self.0.is_empty() { Ok(()) } else { Err(Broken(self.0)) }
    }
}

/// SHA-256 of something, the beginning, in hexadecimal.
pub(super) fn short(of: impl AsRef<[u8]>) -> String {
    hex::encode(&Sha256::digest(of)[..8])
}
