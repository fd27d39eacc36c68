//! The calls of [`crate::ports::KafkaAdmin`], one file a subject.

pub(super) mod acls;
pub(super) mod configs;
pub(super) mod groups;
pub(super) mod log_dirs;
pub(super) mod members;
pub(super) mod offsets;
pub(super) mod quotas;
pub(super) mod scram;
pub(super) mod tokens;
pub(super) mod topics;

use std::collections::HashMap;
use std::hash::Hash;

use super::codes::unknown_outcome;
use crate::ports::{KafkaError, PerItem};

/// Kafka's code of the resource type in configuration requests (`ConfigResource.Type`).
const CONFIG_TOPIC: i8 = 2;
/// Likewise, for brokers.
const CONFIG_BROKER: i8 = 4;

/// Brings answers that are told apart by key into the order of `keys`. A key that the answer leaves out may or may not
/// have been acted on.
fn in_order<K: Hash + Eq, T: Clone>(
    keys: impl Iterator<Item = K>,
    answers: impl Iterator<Item = (K, Result<T, KafkaError>)>,
) -> PerItem<T> {
    let answers: HashMap<K, Result<T, KafkaError>> = answers.collect();
    let missing = || Err(unknown_outcome("the broker's answer leaves this item out"));
    keys.map(|key| answers.get(&key).cloned().unwrap_or_else(missing)).collect()
}

#[cfg(test)]
mod tests {
    use super::in_order;

    #[test]
    fn answers_follow_the_order_of_the_question() {
        let answers = in_order(["b", "a", "c"].into_iter(), [("a", Ok(1)), ("b", Ok(2))].into_iter());
        assert_eq!(answers[..2], [Ok(2), Ok(1)]);
        assert!(answers[2].is_err());
    }
}
