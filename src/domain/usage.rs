//! How much of what is shared a partner reads, by what its consumer groups commit: brokers tell administrators nothing else of what a
//! principal reads.
//!
//! Positions are not records: a transaction's marker counts, and what compaction took away. A group that begins counts as if it had
//! read each partition from its first record on. What is read once more after going back counts as far as it was seen to be past that;
//! and who never commits is not seen.

use std::collections::BTreeMap;

use jiff::Timestamp;

/// Offsets by topic and partition.
pub type Offsets = BTreeMap<(String, i32), i64>;

/// What was found at a look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// By group: the next offset that each would read.
    pub committed: BTreeMap<String, Offsets>,
    /// The first offset of each partition.
    pub begins: Offsets,
    /// One past the last offset of each.
    pub ends: Offsets,
}

impl Look {
    fn lags(&self) -> BTreeMap<String, i64> {
        let lag = |committed: &Offsets| {
            committed.iter().map(|(at, offset)| (self.ends.get(at).unwrap_or(offset) - offset).max(0)).sum()
        };
        self.committed.iter().map(|(group, committed)| (group.clone(), lag(committed))).collect()
    }
}

/// What was read until a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The last offsets that were seen of each group, also where the last look saw none.
    known: BTreeMap<String, Offsets>,
    /// Records that each group of the last look has yet to read, of partitions that it has begun.
    pub lags: BTreeMap<String, i64>,
    /// Since when it is counted.
    pub since: Timestamp,
    /// Records by group since then.
    pub records: BTreeMap<String, i64>,
    /// The window before, if it was looked at.
    pub before: Option<Window>,
    /// When a group was last seen to have gone on.
    pub last_read_at: Option<Timestamp>,
}

/// A window that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its beginning.
    pub since: Timestamp,
    /// Its end.
    pub until: Timestamp,
    /// Records of all groups.
    pub records: i64,
}

impl Usage {
    /// The first look: what was read before it is not known.
    pub fn first(look: Look, now: Timestamp) -> Self {
        let records = look.committed.keys().map(|group| (group.clone(), 0)).collect();
        let lags = look.lags();
        Self { known: look.committed, lags, since: now, records, before: None, last_read_at: None }
    }

    /// The next look.
    pub fn then(&self, look: Look, now: Timestamp) -> Self {
        let began = hour(now);
        let is_another = began > self.since;
        let over = Window { since: self.since, until: began, records: self.records.values().sum() };
        let mut records = if is_another { BTreeMap::new() } else { self.records.clone() };
        let mut progress = 0;
        for (group, committed) in &look.committed {
            let read = self.read(group, committed, &look.begins);
            progress += read;
            *records.entry(group.clone()).or_default() += read;
        }
        // A group that is gone has read what it has read; of one that read nothing in the window there is nothing to say.
        records.retain(|group, records| *records > 0 || look.committed.contains_key(group));
        let mut known = self.known.clone();
        for (group, committed) in &look.committed {
            known.entry(group.clone()).or_default().extend(committed.iter().map(|(at, offset)| (at.clone(), *offset)));
        }
        Self {
            known,
            lags: look.lags(),
            since: if is_another { began } else { self.since },
            records,
            before: if is_another { Some(over) } else { self.before },
            last_read_at: if progress > 0 { Some(now) } else { self.last_read_at },
        }
    }

    /// What the group has read since the last look.
    fn read(&self, group: &str, committed: &Offsets, begins: &Offsets) -> i64 {
        let before = self.known.get(group);
        let of = |(at, offset): (&(String, i32), &i64)| {
            let from = before.and_then(|b| b.get(at)).or_else(|| begins.get(at)).unwrap_or(offset);
            (offset - from).max(0)
        };
        committed.iter().map(of).sum()
    }
}

/// The hour of the clock (UTC) that a moment lies in.
pub fn hour(at: Timestamp) -> Timestamp {
    let past = at.as_nanosecond().rem_euclid(3_600_000_000_000);
    Timestamp::from_nanosecond(at.as_nanosecond() - past).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;

    use super::{Look, Offsets, Usage, Window};

    fn at(time: &str) -> Timestamp {
        format!("2026-06-01T{time}Z").parse().unwrap()
    }

    fn offsets(of: i64) -> Offsets {
        BTreeMap::from([(("placed".to_owned(), 0), of)])
    }

    /// One partition that begins at 100 and ends at 200, and the groups' positions.
    fn look(groups: &[(&str, i64)]) -> Look {
        Look {
            committed: groups.iter().map(|(group, offset)| ((*group).to_owned(), offsets(*offset))).collect(),
            begins: offsets(100),
            ends: offsets(200),
        }
    }

    #[test]
    fn what_groups_commit_is_what_was_read() {
        let usage = Usage::first(look(&[("a", 150)]), at("10:10:00"));
        assert_eq!((usage.records["a"], usage.lags["a"], usage.last_read_at), (0, 50, None), "before it nobody looked");
        let usage = usage.then(look(&[("a", 170), ("b", 120)]), at("10:11:00"));
        assert_eq!((usage.records["a"], usage.records["b"], usage.lags.values().sum::<i64>()), (20, 20, 110));
        assert_eq!(usage.last_read_at, Some(at("10:11:00")));
        // Back to the beginning, and over it once more.
        let back = usage.then(look(&[("a", 100), ("b", 120)]), at("10:12:00"));
        assert_eq!((back.records["a"], back.last_read_at), (20, usage.last_read_at));
        let again = back.then(look(&[("a", 200)]), at("10:13:00"));
        assert_eq!(
            (again.records["a"], again.records["b"], again.lags.values().sum::<i64>()),
            (120, 20, 0),
            "b read what it read"
        );
    }

    #[test]
    fn a_window_is_an_hour_of_the_clock_and_the_one_before_stays() {
        let usage = Usage::first(look(&[("a", 100)]), at("10:50:00")).then(look(&[("a", 130)]), at("10:59:00"));
        let next = usage.then(look(&[("a", 135), ("idle", 100)]), at("11:00:30"));
        assert_eq!(next.before, Some(Window { since: at("10:50:00"), until: at("11:00:00"), records: 30 }));
        assert_eq!((next.since, next.records["a"], next.records["idle"]), (at("11:00:00"), 5, 0));
        let later = next.then(look(&[]), at("13:00:00"));
        assert_eq!(later.before.map(|w| w.records), Some(5));
        assert!(later.records.is_empty(), "{later:?}");
    }

    #[test]
    fn what_was_not_seen_for_a_while_does_not_count_again() {
        let usage = Usage::first(look(&[("a", 150)]), at("10:00:00"));
        let unseen = usage.then(Look::default(), at("10:01:00"));
        assert_eq!(unseen.then(look(&[("a", 160)]), at("10:02:00")).records["a"], 10);
    }

    #[test]
    fn a_topic_made_anew_counts_from_its_new_beginning() {
        let usage = Usage::first(look(&[("a", 190)]), at("10:00:00"));
        let anew = Look { begins: offsets(0), ends: offsets(10), ..look(&[("a", 5)]) };
        assert_eq!(usage.then(anew.clone(), at("10:01:00")).records["a"], 0, "it went back");
        assert_eq!(Usage::first(Look::default(), at("10:00:00")).then(anew, at("10:01:00")).records["a"], 5);
    }
}
