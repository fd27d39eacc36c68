//! How much partners read: asked of every cluster that they read on, twice a minute.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::debug;

use super::context::Context;
use super::readers::{Readers, offsets, partitions};
use crate::domain::names::{ObjectKey, guest_prefix, share_of_guest};
use crate::domain::usage::{Look, Offsets, Usage};
use crate::ports::{KafkaAdmin, KafkaError, OffsetSpec, PerItem};

/// How often it is asked.
const EVERY: Duration = Duration::from_secs(30);

/// How long one cluster may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How many groups of a guest are looked at, in the order of their names: a partner may make as many as it likes.
const GROUPS: usize = 100;

/// What was found, by guest's UID.
#[derive(Debug, Default)]
pub struct Usages(Mutex<BTreeMap<String, Usage>>);

impl Usages {
    /// That of a guest; `None` where nobody looked yet.
    pub fn get(&self, guest_uid: &str) -> Option<Usage> {
        self.lock().get(guest_uid).cloned()
    }

    /// Takes a look at a guest; says whether anything is another than before.
    fn take(&self, guest_uid: &str, look: Look) -> bool {
        let mut all = self.lock();
        let before = all.get(guest_uid);
        let now = Timestamp::now();
        let after = match before {
            None => Usage::first(look, now),
            Some(before) => before.then(look, now),
        };
        let is_new = before != Some(&after);
        all.insert(guest_uid.to_owned(), after);
        is_new
    }

    fn retain(&self, guests: &BTreeSet<&str>) {
        self.lock().retain(|uid, _| guests.contains(uid.as_str()));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Usage>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A partner that reads.
struct Reader {
    share: ObjectKey,
    uid: String,
    topics: BTreeSet<String>,
}

/// Asks for ever.
pub async fn run(context: Arc<Context>) {
    let mut connections = Readers::default();
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let readers = readers(&context);
        context.usages.retain(&readers.values().flatten().map(|r| r.uid.as_str()).collect());
        for (cluster, readers) in &readers {
            match timeout(PATIENCE, look(&context, &mut connections, cluster, readers)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    debug!(cluster, %error, "failed to look at what partners read");
                    connections.forget(cluster);
                }
                Err(_) => debug!(cluster, "what partners read could not be looked at in time"),
            }
        }
    }
}

/// Those who read, by the cluster that they do it on.
fn readers(context: &Context) -> BTreeMap<String, Vec<Reader>> {
    let index = context.world.index();
    let mut readers: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (key, guest) in index.all_guests() {
        let (Some(client), Some((share, _))) = (&guest.client, share_of_guest(key)) else { continue };
        let topics = guest.resolution.topics.iter().cloned().collect();
        let of_cluster = readers.entry(client.spec.cluster_ref.name.clone()).or_default();
        of_cluster.push(Reader { share, uid: guest.uid.clone(), topics });
    }
    readers
}

async fn look(
    context: &Context,
    connections: &mut Readers,
    cluster: &str,
    readers: &[Reader],
) -> Result<(), KafkaError> {
    let admin = connections.of(context, cluster).await?;
    let prefixes: BTreeMap<_, _> = readers.iter().map(|r| (guest_prefix(&r.uid), r)).collect();
    // A prefix ends with the second dot, so that a group's name tells whose it is.
    let whose = |group: &str| {
        let end = group.match_indices('.').nth(1)?.0;
        prefixes.get(group.get(..=end)?).map(|r| r.uid.as_str())
    };
    let listed = admin.list_groups().await?.into_iter().filter(|group| !group.is_cut).map(|group| group.id);
    let mut groups: Vec<_> = listed.filter(|group| whose(group).is_some()).collect();
    groups.sort();
    let mut counted: BTreeMap<String, usize> = BTreeMap::new();
    groups.retain(|group| {
        let count = counted.entry(whose(group).unwrap_or_default().to_owned()).or_default();
        *count += 1;
        *count <= GROUPS
    });
    let committed = if groups.is_empty() { Vec::new() } else { admin.group_offsets(&groups).await? };
    let topics: BTreeSet<_> = readers.iter().flat_map(|r| &r.topics).collect();
    let (begins, ends) = bounds(admin, &topics).await?;
    for reader in readers {
        let of_it = |at: &(String, i32)| reader.topics.contains(&at.0);
        let only =
            |offsets: &Offsets| offsets.iter().filter(|(at, _)| of_it(at)).map(|(at, o)| (at.clone(), *o)).collect();
        let of_reader = groups.iter().zip(&committed).filter(|(group, _)| whose(group) == Some(&reader.uid));
        let committed = of_reader.filter_map(|(group, offsets)| Some((group.clone(), only(offsets.as_ref().ok()?))));
        let look = Look { committed: committed.collect(), begins: only(&begins), ends: only(&ends) };
        if context.usages.take(&reader.uid, look) {
            context.world.report_share(&reader.share);
        }
    }
    Ok(())
}

/// Where each partition of the topics that are there begins, and where it ends.
async fn bounds(admin: &dyn KafkaAdmin, topics: &BTreeSet<&String>) -> Result<(Offsets, Offsets), KafkaError> {
    let all = partitions(admin, topics.iter().copied()).await?;
    let begins = offsets(admin, &all, OffsetSpec::Earliest).await?;
    let ends = offsets(admin, &all, OffsetSpec::Latest).await?;
    let known = |found: PerItem<i64>| -> Offsets {
        all.iter().cloned().zip(found).filter_map(|(at, offset)| Some((at, offset.ok()?))).collect()
    };
    Ok((known(begins), known(ends)))
}
