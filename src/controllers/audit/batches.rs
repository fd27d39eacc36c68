//! Events that are put on record together, in as many parts as memory has room for.

use super::Told;

/// The most text of principals and entries in events that are put on record together, in bytes.
const HEAVIEST: usize = 4 * 1024 * 1024;

/// The events as transactions take them: few of those that name much.
pub fn batches(told: Vec<Told>) -> Vec<Vec<Told>> {
    let (mut batches, mut weight) = (Vec::<Vec<Told>>::new(), 0);
    for one in told {
        let own: usize = one.event.principals.iter().chain(&one.event.entries).map(String::len).sum();
        match batches.last_mut() {
            Some(batch) if weight + own <= HEAVIEST => batch.push(one),
            _ => {
                batches.push(vec![one]);
                weight = 0;
            }
        }
        weight += own;
    }
    batches
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use tokio::sync::oneshot;

    use super::{HEAVIEST, Told, batches};
    use crate::api::{Action, ObjectRef};
    use crate::domain::event::{Happening, event};

    #[test]
    fn a_transaction_takes_many_events_and_few_of_those_that_name_much() {
        let object = ObjectRef { kind: "RoleBinding".into(), namespace: None, name: "b".into(), uid: None };
        let told = |entries: usize| {
            let happening = Happening::new(Action::AccessGranted, object.clone(), "r", "m");
            let entries = (0..entries).map(|n| format!("{n:0100}")).collect();
            let event = event(Happening { entries, ..happening }, "k", Timestamp::UNIX_EPOCH);
            Told { event, heard: oneshot::channel().0 }
        };
        let sizes = |told: Vec<Told>| batches(told).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes((0..500).map(|_| told(1)).collect()), [500]);
        let most = HEAVIEST / 100_000;
        assert_eq!(sizes((0..=most).map(|_| told(1000)).collect()), [most, 1]);
        assert!(sizes(Vec::new()).is_empty());
    }
}
