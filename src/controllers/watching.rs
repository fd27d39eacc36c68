//! How the access of bindings is used: asked of every cluster once a minute. Whatever fails here, fails nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tracing::debug;

use super::context::Context;
use super::readers::{Readers, offsets, partitions};
use crate::api::{BindingUsage, QuotaMetrics, RoleBinding};
use crate::audit::exporters;
use crate::domain::binding::Resolution;
use crate::domain::event::Happening;
use crate::domain::names::ObjectKey;
use crate::domain::usage::Offsets;
use crate::domain::watch::traffic::Heard;
use crate::domain::watch::{Access, Finding, Group, Look, Member, Seen, Watch, merged, pick, tell, whose};
use crate::ports::{GroupListing, GroupMember, KafkaAdmin, KafkaError, OffsetSpec};

/// How often a cluster is asked.
const EVERY: Duration = Duration::from_secs(60);
/// How often one is asked whose `unusedAfter` is shorter than [`SHORT`].
const EVERY_IF_SHORT: Duration = Duration::from_secs(5);
/// See there.
const SHORT: Duration = Duration::from_secs(3600);
/// How long one cluster may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How many events are told at once.
const AT_ONCE: usize = 32;
/// States of groups that nobody is in.
const DESERTED: [&str; 2] = ["empty", "dead"];

/// What was found, by binding's UID and by cluster.
#[derive(Debug, Default)]
pub struct Watches(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    usages: BTreeMap<String, BTreeMap<String, BindingUsage>>,
    new_addresses: BTreeMap<String, u64>,
}

impl Watches {
    /// What the status of the binding with this UID is to say; `None` where nobody looked since this process began. `before` is what it
    /// says: it stays true of those of `clusters` that were not looked at yet.
    pub fn usage(
        &self,
        binding_uid: &str,
        before: Option<&BindingUsage>,
        clusters: &BTreeSet<String>,
    ) -> Option<BindingUsage> {
        let known = self.lock();
        let of_clusters = known.usages.get(binding_uid)?;
        let mut usage = merged(of_clusters.values())?;
        let unseen = before.iter().flat_map(|b| &b.positions).filter(|(cluster, _)| clusters.contains(*cluster));
        for (cluster, digest) in unseen {
            usage.positions.entry(cluster.clone()).or_insert_with(|| digest.clone());
        }
        Some(usage)
    }

    /// How many bindings nobody uses on a cluster.
    pub fn unused(&self, cluster: &str) -> usize {
        let is_unused =
            |of: &&BTreeMap<String, BindingUsage>| of.get(cluster).is_some_and(|u| u.unused_since.is_some());
        self.lock().usages.values().filter(is_unused).count()
    }

    /// From how many new addresses bindings were used on a cluster, since this process began.
    pub fn new_addresses(&self, cluster: &str) -> u64 {
        self.lock().new_addresses.get(cluster).copied().unwrap_or_default()
    }

    /// Takes what is known of a binding on a cluster; says whether it is another than before.
    fn set(&self, binding_uid: &str, cluster: &str, usage: BindingUsage) -> bool {
        let mut known = self.lock();
        let of_binding = known.usages.entry(binding_uid.to_owned()).or_default();
        of_binding.insert(cluster.to_owned(), usage.clone()) != Some(usage)
    }

    fn forget(&self, binding_uid: &str, cluster: &str) {
        let mut known = self.lock();
        let Some(of_binding) = known.usages.get_mut(binding_uid) else { return };
        of_binding.remove(cluster);
        if of_binding.is_empty() {
            known.usages.remove(binding_uid);
        }
    }

    fn count(&self, cluster: &str, new_addresses: usize) {
        *self.lock().new_addresses.entry(cluster.to_owned()).or_default() += new_addresses as u64;
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A binding that is watched on a cluster.
struct Watched {
    access: Access,
    watch: Watch,
}

/// A cluster whose bindings are watched.
#[derive(Default)]
struct Cluster {
    /// By UID.
    bindings: BTreeMap<String, Watched>,
    looked: Option<Instant>,
}

/// Asks for ever.
pub async fn run(context: Arc<Context>) {
    let mut connections = Readers::default();
    let mut clusters: BTreeMap<String, Cluster> = BTreeMap::new();
    let mut ticks = interval(EVERY_IF_SHORT);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let there: BTreeMap<String, Duration> = {
            let index = context.world.index();
            let after = |name: &str| index.cluster_spec(name).map_or(SHORT, |spec| spec.unused_after.into());
            index.cluster_names().map(|name| (name.to_owned(), after(name))).collect()
        };
        let gone: Vec<_> = clusters.extract_if(.., |name, _| !there.contains_key(name)).collect();
        for (name, cluster) in gone {
            connections.forget(&name);
            end(&context, &name, cluster.bindings).await;
        }
        for (name, unused_after) in &there {
            let cluster = clusters.entry(name.clone()).or_default();
            let every = if *unused_after < SHORT { EVERY_IF_SHORT } else { EVERY };
            let is_due = cluster.looked.is_none_or(|at| at.elapsed() >= every);
            if is_due && context.world.handle(name).is_some() && context.is_settled(name) {
                cluster.looked = Some(Instant::now());
                watch(&context, &mut connections, name, cluster, *unused_after).await;
            }
        }
    }
}

/// Looks at a cluster, and tells what is new.
async fn watch(
    context: &Context,
    connections: &mut Readers,
    name: &str,
    cluster: &mut Cluster,
    unused_after: Duration,
) {
    let mut accesses = accesses(context, name);
    let granted: BTreeSet<String> = accesses.iter().map(|(access, _)| access.uid.clone()).collect();
    // Of what was taken away since, the last use is still to be seen.
    let ended = cluster.bindings.iter().filter(|(uid, _)| !granted.contains(*uid));
    accesses.extend(ended.map(|(_, watched)| (watched.access.ended(), None)));
    let (accesses, statuses): (Vec<_>, Vec<_>) = accesses.into_iter().unzip();
    let looking = timeout(PATIENCE, look(context, connections, name, &accesses));
    let (look, heard) = tokio::join!(looking, hear(context, name, &accesses));
    let look = match look {
        Ok(Ok(look)) => Look { heard, ..look },
        Ok(Err(error)) => {
            debug!(cluster = name, %error, "failed to look at how bindings are used");
            return connections.forget(name);
        }
        Err(_) => {
            debug!(cluster = name, "how bindings are used could not be looked at in time");
            return connections.forget(name);
        }
    };
    let after = SignedDuration::try_from(unused_after).unwrap_or(SignedDuration::MAX);
    let seen = whose(&accesses, &look);
    let found = accesses.into_iter().zip(statuses).zip(seen);
    take(context, name, cluster, found, (&look.begins, after)).await;
    let gone: BTreeMap<_, _> = cluster.bindings.extract_if(.., |uid, _| !granted.contains(uid)).collect();
    end(context, name, gone).await;
}

/// What principals fetch and produce; `None` where there is nobody to ask.
async fn hear(context: &Context, name: &str, accesses: &[Access]) -> Option<Heard> {
    let handle = context.world.handle(name)?;
    let metrics = context.world.index().cluster_spec(name).and_then(|spec| spec.quota_metrics.clone());
    let Some(QuotaMetrics { endpoints }) = metrics else {
        handle.state().metrics = None;
        return None;
    };
    let wanted = accesses.iter().flat_map(|access| access.principals.iter().cloned()).collect();
    let asked = timeout(PATIENCE, exporters::ask(&endpoints, context.ca_pem(name).as_deref(), wanted)).await;
    let answers =
        asked.unwrap_or_else(|_| vec![Err(format!("not all endpoints answered within {} s", PATIENCE.as_secs()))]);
    let brokers = handle.state().facts.as_ref().map_or(0, |facts| facts.brokers.len());
    let heard = Heard::of(answers, brokers);
    let said = Some((endpoints, heard.faults.clone()));
    let before = std::mem::replace(&mut handle.state().metrics, said.clone());
    if before != said {
        context.world.reconcile_cluster(name);
    }
    Some(heard)
}

/// Takes what was found, tells of it, and only then has the statuses say so.
async fn take(
    context: &Context,
    name: &str,
    cluster: &mut Cluster,
    found: impl Iterator<Item = ((Access, Option<BindingUsage>), Seen)>,
    (begins, unused_after): (&Offsets, SignedDuration),
) {
    let now = Timestamp::now();
    let mut told = Vec::new();
    let mut new_addresses = 0;
    for ((access, status), seen) in found {
        let begin = || Watched { access: access.clone(), watch: Watch::begin(name, status.as_ref(), now) };
        let watched = cluster.bindings.entry(access.uid.clone()).or_insert_with(begin);
        let findings = watched.watch.look(name, &access, &seen, begins, (now, unused_after));
        new_addresses += findings.iter().filter(|f| matches!(f, Finding::NewAddress(_))).count();
        told.extend(findings.iter().map(|finding| tell(&access, name, finding, now)));
        watched.access = access;
    }
    context.watches.count(name, new_addresses);
    record(context, told).await;
    for (uid, Watched { access, watch }) in &cluster.bindings {
        if let Some(usage) = watch.usage()
            && context.watches.set(uid, name, usage.clone())
        {
            context.world.reconcile_binding(&access.binding);
        }
    }
}

/// These bindings give nothing any more.
async fn end(context: &Context, cluster: &str, ended: BTreeMap<String, Watched>) {
    let now = Timestamp::now();
    let mut told = Vec::new();
    for (uid, Watched { access, watch }) in ended {
        context.watches.forget(&uid, cluster);
        told.extend(watch.end().map(|finding| tell(&access, cluster, &finding, now)));
    }
    record(context, told).await;
}

async fn record(context: &Context, told: Vec<(Happening, String)>) {
    let each = futures::stream::iter(told);
    each.for_each_concurrent(AT_ONCE, |(happening, key)| async move { context.record(happening, &key).await }).await;
}

/// A binding with what it comes to.
type Resolved = (ObjectKey, Arc<RoleBinding>, Arc<Resolution>);

/// What bindings give on a cluster, each with what its status says of its use.
fn accesses(context: &Context, cluster: &str) -> Vec<(Access, Option<BindingUsage>)> {
    let resolved: Vec<Resolved> = {
        let index = context.world.index();
        let all = index.bindings();
        all.filter_map(|(key, b)| Some((key.clone(), b.clone(), index.resolution(key)?.clone()))).collect()
    };
    let on_it = |(key, binding, resolution): Resolved| {
        let mut grants = resolution.grants.iter().filter(|g| g.key.cluster == cluster).map(AsRef::as_ref).peekable();
        grants.peek()?;
        let status = binding.status.as_ref().and_then(|s| s.usage.clone());
        Some((Access::of(key, &binding, grants), status))
    };
    resolved.into_iter().filter_map(on_it).collect()
}

async fn look(
    context: &Context,
    connections: &mut Readers,
    cluster: &str,
    accesses: &[Access],
) -> Result<Look, KafkaError> {
    if accesses.is_empty() {
        return Ok(Look::default());
    }
    let admin = connections.of(context, cluster).await?;
    let listed = admin.list_groups().await?;
    let picked = pick(accesses, listed.iter().map(|group| (group.id.as_str(), group.is_cut)));
    let mut look = Look { beyond: picked.beyond, ..Look::default() };
    let (read, others): (Vec<_>, Vec<_>) =
        listed.into_iter().filter(|g| picked.groups.contains(&g.id)).partition(is_read);
    look.others = others.into_iter().filter(is_attended).map(|g| g.id).collect();
    look.groups = groups(admin, &read).await?;
    let reads: BTreeSet<_> = accesses.iter().flat_map(|a| &a.reads).collect();
    let committed = look.groups.values().flat_map(|g| g.committed.iter().flatten()).map(|(at, _)| at);
    let committed: BTreeSet<_> = committed.filter(|(topic, _)| reads.contains(topic)).cloned().collect();
    let writes: BTreeSet<_> = accesses.iter().flat_map(|a| &a.writes).collect();
    let written = partitions(admin, writes).await?;
    let committed: Vec<_> = committed.into_iter().collect();
    look.begins = known(admin, &committed, OffsetSpec::Earliest, &mut look.unknown).await?;
    look.ends = known(admin, &written, OffsetSpec::Latest, &mut look.unknown).await?;
    Ok(look)
}

/// Whether somebody is in a group.
fn is_attended(group: &GroupListing) -> bool {
    !DESERTED.contains(&group.state.to_ascii_lowercase().as_str())
}

/// Whether offsets and members of a group are read: not those of share groups (KIP-932), and of Kafka Streams' own (KIP-1071).
fn is_read(group: &GroupListing) -> bool {
    matches!(group.group_type.to_ascii_lowercase().as_str(), "" | "classic" | "consumer")
}

async fn groups(admin: &dyn KafkaAdmin, listed: &[GroupListing]) -> Result<BTreeMap<String, Group>, KafkaError> {
    if listed.is_empty() {
        return Ok(BTreeMap::new());
    }
    let names: Vec<_> = listed.iter().map(|group| group.id.clone()).collect();
    let committed = admin.group_offsets(&names).await?;
    let attended: Vec<_> = listed.iter().filter(|group| is_attended(group)).cloned().collect();
    let described = if attended.is_empty() { Vec::new() } else { admin.describe_groups(&attended).await? };
    let of = |(name, committed): (String, Result<Offsets, KafkaError>)| {
        (name, Group { committed: committed.ok(), members: Some(Vec::new()) })
    };
    let mut groups: BTreeMap<_, _> = names.into_iter().zip(committed).map(of).collect();
    let member = |m: GroupMember| Member { address: m.address, topics: m.topics };
    for (group, described) in attended.into_iter().zip(described) {
        let members = described.ok().map(|d| d.members.into_iter().map(member).collect());
        groups.entry(group.id).or_default().members = members;
    }
    Ok(groups)
}

/// The offset of each partition as far as it can be read. Topics of which one cannot are `unknown`.
async fn known(
    admin: &dyn KafkaAdmin,
    partitions: &[(String, i32)],
    what: OffsetSpec,
    unknown: &mut BTreeSet<String>,
) -> Result<Offsets, KafkaError> {
    let mut known = Offsets::new();
    for (at, offset) in partitions.iter().zip(offsets(admin, partitions, what).await?) {
        match offset {
            Ok(offset) => drop(known.insert(at.clone(), offset)),
            Err(_) => drop(unknown.insert(at.0.clone())),
        }
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::Watches;
    use crate::api::BindingUsage;

    fn usage(cluster: &str, digest: &str, is_unused: bool) -> BindingUsage {
        let time = || Time(jiff::Timestamp::UNIX_EPOCH);
        BindingUsage {
            since: time(),
            last_used_at: None,
            unused_since: is_unused.then(time),
            addresses: Vec::new(),
            positions: BTreeMap::from([(cluster.to_owned(), digest.to_owned())]),
        }
    }

    #[test]
    fn what_was_seen_before_stays_of_clusters_that_were_not_looked_at_yet() {
        let watches = Watches::default();
        let before = BindingUsage {
            positions: ["a", "b", "left"].map(|c| (c.to_owned(), "old".to_owned())).into(),
            ..usage("a", "old", false)
        };
        let clusters = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
        assert_eq!(watches.usage("u", Some(&before), &clusters), None, "nobody looked");
        assert!(watches.set("u", "a", usage("a", "new", true)));
        assert!(!watches.set("u", "a", usage("a", "new", true)), "the same");
        let after = watches.usage("u", Some(&before), &clusters).unwrap();
        assert_eq!(after.positions, [("a", "new"), ("b", "old")].map(|(c, d)| (c.to_owned(), d.to_owned())).into());
        assert_eq!((watches.unused("a"), watches.unused("b")), (1, 0));
        watches.forget("u", "a");
        assert_eq!((watches.usage("u", None, &clusters), watches.unused("a")), (None, 0));
    }
}
