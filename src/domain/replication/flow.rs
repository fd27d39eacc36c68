//! Whether records flow, by what the source has and what the engine says that it copied.
//!
//! The last position of a partition need not be a record: a transaction ends with a marker, and what was aborted is passed over. So
//! a rest that stays is no fault by itself; it is one where the source grew and nothing was copied since.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

/// By topic and partition of the source.
pub type Positions = BTreeMap<(String, i32), i64>;

/// Over how long a rate is measured.
const WINDOW: SignedDuration = SignedDuration::from_secs(60);

/// What was seen of a copy's progress until a moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    /// The offset of the last record copied.
    copied: Positions,
    /// The source's ends: one past the last offset.
    ends: Positions,
    /// Since when the source has grown without anything being copied.
    waiting_since: Option<Timestamp>,
    /// When something was last seen to be copied.
    pub last_copied_at: Option<Timestamp>,
    /// Positions copied in all, at moments of the last minute, oldest first.
    marks: Vec<(Timestamp, i64)>,
}

impl Flow {
    /// The first look.
    pub fn first(ends: Positions, copied: Positions, now: Timestamp) -> Self {
        let marks = vec![(now, total(&copied))];
        // Of what was copied in part nobody can tell yet whether the rest are records.
        let behind = ends.iter().any(|(at, end)| *end > 0 && !copied.contains_key(at));
        Self { copied, ends, waiting_since: behind.then_some(now), last_copied_at: None, marks }
    }

    /// The next look.
    pub fn then(&self, ends: Positions, copied: Positions, now: Timestamp) -> Self {
        let progress = copied.iter().any(|(at, offset)| self.copied.get(at).is_none_or(|before| offset > before));
        let grew = ends.iter().any(|(at, end)| self.ends.get(at).is_none_or(|before| end > before) && *end > 0);
        let complete = lag(&ends, &copied) == 0;
        let waiting_since = match self.waiting_since {
            _ if complete => None,
            // What grew together with it may yet be on its way.
            _ if progress => grew.then_some(now),
            None => grew.then_some(now),
            since => since,
        };
        let mut marks = self.marks.clone();
        marks.push((now, total(&copied)));
        let keep = marks.iter().rposition(|(at, _)| now.duration_since(*at) >= WINDOW).unwrap_or(0);
        marks.drain(..keep);
        Self {
            copied,
            ends,
            waiting_since,
            last_copied_at: if progress { Some(now) } else { self.last_copied_at },
            marks,
        }
    }

    /// Positions at the source that are not copied.
    pub fn lag(&self) -> i64 {
        lag(&self.ends, &self.copied)
    }

    /// For how long records have been waiting.
    pub fn waits_for(&self, now: Timestamp) -> SignedDuration {
        self.waiting_since.map(|since| now.duration_since(since)).unwrap_or_default()
    }

    /// Whether records have been waiting for longer than that.
    pub fn is_stuck(&self, now: Timestamp, patience: SignedDuration) -> bool {
        self.waits_for(now) > patience
    }

    /// Records a second.
    pub fn rate(&self) -> Option<i64> {
        let ((first, before), (last, after)) = (self.marks.first()?, self.marks.last()?);
        let seconds = last.duration_since(*first).as_secs();
        (seconds > 0).then(|| (after - before).max(0) / seconds)
    }
}

fn total(copied: &Positions) -> i64 {
    copied.values().map(|offset| offset + 1).sum()
}

fn lag(ends: &Positions, copied: &Positions) -> i64 {
    ends.iter().map(|(at, end)| (end - copied.get(at).map_or(0, |offset| offset + 1)).max(0)).sum()
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::{Flow, Positions};

    const PATIENCE: SignedDuration = SignedDuration::from_secs(60);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
    }

    fn one(offset: i64) -> Positions {
        Positions::from([(("orders".to_owned(), 0), offset)])
    }

    #[test]
    fn a_copy_that_keeps_up_is_never_stuck() {
        let mut flow = Flow::first(one(10), one(9), at(0));
        for minute in 1..10 {
            flow = flow.then(one(10 + minute), one(9 + minute), at(60 * minute));
            assert!(!flow.is_stuck(at(60 * minute), PATIENCE));
        }
        assert_eq!(flow.lag(), 0);
        assert_eq!(flow.rate(), Some(0), "one a minute");
    }

    #[test]
    fn the_marker_of_a_transaction_is_no_record_that_waits() {
        let flow = Flow::first(one(10), one(9), at(0)).then(one(13), one(9), at(5)).then(one(13), one(11), at(10));
        assert_eq!(flow.lag(), 1);
        assert!(!flow.is_stuck(at(3600), PATIENCE), "{flow:?}");
    }

    #[test]
    fn a_source_that_grows_while_nothing_is_copied_shows_that_it_is_stuck() {
        let flow = Flow::first(one(10), one(9), at(0)).then(one(12), one(9), at(10));
        assert!(!flow.is_stuck(at(60), PATIENCE));
        let flow = flow.then(one(14), one(9), at(65));
        assert!(flow.is_stuck(at(71), PATIENCE));
        assert_eq!(flow.waits_for(at(71)).as_secs(), 61);
        let flow = flow.then(one(14), one(13), at(80));
        assert!(!flow.is_stuck(at(4000), PATIENCE));
        assert_eq!(flow.last_copied_at, Some(at(80)));
    }

    #[test]
    fn what_waited_before_the_first_look_counts_from_then() {
        let flow = Flow::first(one(10), Positions::new(), at(0)).then(one(10), Positions::new(), at(61));
        assert!(flow.is_stuck(at(61), PATIENCE));
        assert_eq!(flow.lag(), 10);
    }
}
