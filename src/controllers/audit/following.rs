//! Logs of brokers that somebody writes into a topic of their cluster: read there, from where another instance had come.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::audit::intake::ToCount;
use crate::controllers::context::Context;
use crate::domain::audit::heard::post;
use crate::kafka::{Begin, Follower};
use crate::ports::{KafkaEndpoint, TopicError};

/// How often it is looked which topics there are to follow.
const EVERY: Duration = Duration::from_secs(5);
/// How long after a failure a topic is followed again.
const AGAIN: Duration = Duration::from_secs(10);
/// How often it is tried again to remember how far a topic was read.
const TRIES: u32 = 30;
/// The most records that are read at once.
const BATCH: usize = 2_000;
/// How long a batch is gathered.
const GATHER: Duration = Duration::from_millis(500);
/// The consumer group.
const GROUP: &str = "weir-broker-logs";

/// A topic, and how it is entered.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    cluster: String,
    topic: String,
}

/// Follows what the StreamClusters name, for ever.
pub async fn follow(context: Arc<Context>, heard: ToCount) {
    let mut following: BTreeMap<Place, (KafkaEndpoint, AbortHandle)> = BTreeMap::new();
    loop {
        let wanted = wanted(&context);
        following.retain(|place, (endpoint, task)| {
            let stays = wanted.get(place) == Some(endpoint);
            if !stays {
                task.abort();
            }
            stays
        });
        for (place, endpoint) in wanted {
            following.entry(place.clone()).or_insert_with(|| {
                let task = tokio::spawn(keep_following(place, endpoint.clone(), heard.clone()));
                (endpoint, task.abort_handle())
            });
        }
        sleep(EVERY).await;
    }
}

fn wanted(context: &Context) -> BTreeMap<Place, KafkaEndpoint> {
    let places: Vec<_> = {
        let index = context.world.index();
        let of = |cluster: &str| {
            let logs = index.cluster_spec(cluster).and_then(|s| s.broker_logs.clone());
            let topics = logs.map(|l| l.topics).unwrap_or_default();
            topics.into_iter().map(|topic| Place { cluster: cluster.to_owned(), topic }).collect::<Vec<_>>()
        };
        index.cluster_names().flat_map(of).collect()
    };
    places.into_iter().filter_map(|place| Some((place.clone(), context.endpoint(&place.cluster)?))).collect()
}

async fn keep_following(place: Place, endpoint: KafkaEndpoint, heard: ToCount) {
    let Place { cluster, topic } = &place;
    loop {
        if let Err(error) = follow_one(&place, &endpoint, &heard).await {
            warn!(cluster, topic, %error, "logs of brokers cannot be read; it is tried again");
        }
        sleep(AGAIN).await;
    }
}

async fn follow_one(place: &Place, endpoint: &KafkaEndpoint, heard: &ToCount) -> Result<(), TopicError> {
    let follower = Follower::open(endpoint, &place.topic, GROUP, Begin::Next).await?;
    info!(cluster = place.cluster, topic = place.topic, "following logs of brokers");
    loop {
        let batch = follower.next(BATCH, GATHER).await?;
        // One record is one message: nothing in it begins another.
        let told = batch.records.iter().map(|s| post::record(&s.record.value));
        let refusals: Vec<_> = told.flat_map(|post| post.refusals).collect();
        if !refusals.is_empty() && !heard.send(&place.cluster, refusals).await {
            return Ok(());
        }
        // Whoever counts has them now, and counts them before an instance ends. One that is killed loses what it did not tell yet.
        // Whoever begins anew because that cannot be remembered counts them again: it is tried for a while.
        let mut tries = 0;
        while let Err(error) = follower.done(&batch, batch.records.len()).await {
            tries += 1;
            if tries > TRIES {
                return Err(error);
            }
            warn!(cluster = place.cluster, topic = place.topic, %error, "how far logs were read cannot be remembered; it is tried again");
            sleep(AGAIN).await;
        }
    }
}
