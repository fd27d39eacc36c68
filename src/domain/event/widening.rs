//! What is given, or taken, in events that name all of it.

use std::collections::BTreeSet;

use super::{Happening, ROOM, length_of};

/// How many entries one event names at most, and so no more principals.
const MOST: usize = 1000;

/// One thing that is given, or taken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gain {
    /// To which principal, without `User:`; `None` where it has none yet.
    pub principal: Option<String>,
    /// What, as the event has it.
    pub entry: String,
}

impl Gain {
    /// That `principal` gets `entry`.
    pub fn of(principal: &str, entry: impl ToString) -> Self {
        Self { principal: Some(principal.to_owned()), entry: entry.to_string() }
    }

    /// The same of what has no principal yet.
    pub fn new(entry: impl ToString) -> Self {
        Self { principal: None, entry: entry.to_string() }
    }
}

/// `happening`, once for as many of `gains` as one event can name: nothing of what is given goes unnamed. Where they name no principals
/// those of `happening` stay.
pub fn in_parts(happening: &Happening, gains: &[Gain]) -> Vec<Happening> {
    let mut parts: Vec<Vec<&Gain>> = Vec::new();
    let mut length = 0;
    for gain in gains {
        // Each may be another principal's.
        let own = length_of(&gain.entry).max(gain.principal.as_deref().map_or(0, length_of));
        match parts.last_mut() {
            Some(part) if part.len() < MOST && length + own <= ROOM => part.push(gain),
            _ => {
                parts.push(vec![gain]);
                length = 0;
            }
        }
        length += own;
    }
    parts.into_iter().map(|part| naming(happening, &part)).collect()
}

fn naming(happening: &Happening, gains: &[&Gain]) -> Happening {
    let principals: BTreeSet<_> = gains.iter().filter_map(|gain| gain.principal.clone()).collect();
    let mut part = happening.clone();
    part.entries = gains.iter().map(|gain| gain.entry.clone()).collect();
    if !principals.is_empty() {
        part.principals = principals.into_iter().collect();
    }
    part
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{Gain, MOST, ROOM, in_parts};
    use crate::api::{Action, ObjectRef};
    use crate::domain::event::{Happening, event};

    fn widening() -> Happening {
        let object = ObjectRef { kind: "StreamCluster".into(), namespace: None, name: "prod".into(), uid: None };
        Happening::new(Action::AccessWidening, object, "Widening", "more")
    }

    #[test]
    fn each_entry_and_each_principal_is_named_once_however_many_there_are() {
        let gains: Vec<_> = (0..2 * MOST + 1).map(|n| Gain::of(&format!("p{}", n / 2), format!("e{n}"))).collect();
        let parts = in_parts(&widening(), &gains);
        assert_eq!(parts.iter().map(|p| p.entries.len()).collect::<Vec<_>>(), [MOST, MOST, 1]);
        let entries: Vec<_> = parts.iter().flat_map(|p| p.entries.clone()).collect();
        assert_eq!(entries, gains.iter().map(|g| g.entry.clone()).collect::<Vec<_>>());
        assert_eq!(parts[1].principals.len(), MOST / 2);
        assert_eq!(parts[2].principals, ["p1000"]);
        // And none of them is cut off on the way to the record.
        let told = event(parts[0].clone(), "0", Timestamp::UNIX_EPOCH);
        assert_eq!((told.entries.len(), told.principals.len()), (MOST, MOST / 2));
    }

    #[test]
    fn long_names_make_more_events_and_no_longer_ones() {
        let long = "\u{1}".repeat(400);
        let gains: Vec<_> = (0..200).map(|n| Gain::new(format!("{n}{long}"))).collect();
        let parts = in_parts(&widening(), &gains);
        assert!(parts.len() > 1);
        let json = |h: &Happening| serde_json::to_string(&h.entries).unwrap().len();
        assert!(parts.iter().all(|p| json(p) <= ROOM + 2));
        assert!(parts.iter().all(|p| event(p.clone(), "k", Timestamp::UNIX_EPOCH).entry_count.is_none()));
        assert_eq!(parts.iter().map(|p| p.entries.len()).sum::<usize>(), 200);
        assert!(in_parts(&widening(), &[]).is_empty());
    }
}
