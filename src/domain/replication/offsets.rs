//! Positions as Kafka Connect writes and reads them (KIP-875), for MirrorMaker 2's source connector.

use serde::{Deserialize, Serialize};

use super::flow::Positions;

/// The body of `/connectors/{name}/offsets`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Offsets {
    offsets: Vec<One>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct One {
    partition: Partition,
    offset: Option<Offset>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Partition {
    cluster: String,
    topic: String,
    partition: i32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Offset {
    offset: i64,
}

impl Offsets {
    /// Of the source with this alias.
    pub fn of(alias: &str, positions: &Positions) -> Self {
        let one = |((topic, partition), offset): (&(String, i32), &i64)| One {
            partition: Partition { cluster: alias.to_owned(), topic: topic.clone(), partition: *partition },
            offset: Some(Offset { offset: *offset }),
        };
        Self { offsets: positions.iter().map(one).collect() }
    }

    /// The last offset copied of each partition.
    pub fn positions(self) -> Positions {
        let known = self.offsets.into_iter().filter_map(|one| Some((one.partition, one.offset?.offset)));
        known.map(|(of, offset)| ((of.topic, of.partition), offset)).collect()
    }
}
