//! What was found at a look, and whose it is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use super::traffic::{Heard, Traffic};
use super::{Access, GROUPS};
use crate::domain::acl::PatternType;
use crate::domain::usage::Offsets;

/// What was found on a cluster.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// The groups that were looked at.
    pub groups: BTreeMap<String, Group>,
    /// Groups of types whose members and offsets are not read, with members in them.
    pub others: BTreeSet<String>,
    /// UIDs of bindings with more groups than were looked at.
    pub beyond: BTreeSet<String>,
    /// Topics of which something could not be read.
    pub unknown: BTreeSet<String>,
    /// Where partitions begin that groups committed something of.
    pub begins: Offsets,
    /// One past the last offset of each partition of the topics that somebody may write to.
    pub ends: Offsets,
    /// How much principals fetch and produce; `None` where the cluster has nobody who tells.
    pub heard: Option<Heard>,
}

/// A group that was looked at.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// The next offset that it would read of each partition; `None` where that could not be read.
    pub committed: Option<Offsets>,
    /// Who is in it; `None` where that could not be read.
    pub members: Option<Vec<Member>>,
}

/// A member of a group.
#[derive(Clone, Debug, Default)]
pub struct Member {
    /// Where it was seen.
    pub address: Option<IpAddr>,
    /// Topics that it reads; empty where that is not told.
    pub topics: BTreeSet<String>,
}

/// What of a look concerns one binding.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// By group, what it committed of topics that the binding gives to read.
    pub committed: BTreeMap<String, Offsets>,
    /// Groups that were looked at, whether they could be read or not.
    pub groups: BTreeSet<String>,
    /// Those of them that others may use to read the same.
    pub shared: BTreeSet<String>,
    /// One past the last offset of each partition that the binding gives to write to.
    pub ends: Offsets,
    /// Where its principals are, without doubt.
    pub addresses: BTreeSet<IpAddr>,
    /// Somebody is in a group of its.
    pub attended: bool,
    /// Not all could be seen.
    pub unsure: bool,
    /// What its principals fetch, where it gives something to read, and produce, where it gives something to write to.
    pub traffic: Traffic,
    /// One of those has other bindings that give as much.
    pub traffic_is_shared: bool,
    /// There is somebody who tells what principals fetch and produce, and did not tell all.
    pub untold: bool,
}

/// Which groups are looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picked {
    /// Their names.
    pub groups: BTreeSet<String>,
    /// UIDs of bindings with more than are looked at.
    pub beyond: BTreeSet<String>,
}

/// Which principals of which binding may use a group.
struct Matcher<'a> {
    literal: HashMap<&'a str, Vec<(usize, &'a BTreeSet<String>)>>,
    prefixed: HashMap<&'a str, Vec<(usize, &'a BTreeSet<String>)>>,
    /// The lengths of prefixes.
    lengths: BTreeSet<usize>,
}

impl<'a> Matcher<'a> {
    fn of(accesses: &'a [Access]) -> Self {
        let (mut literal, mut prefixed) = (HashMap::<_, Vec<_>>::new(), HashMap::<_, Vec<_>>::new());
        for (i, access) in accesses.iter().enumerate() {
            for ((type_, name), principals) in &access.groups {
                let by_name = if *type_ == PatternType::Prefixed { &mut prefixed } else { &mut literal };
                by_name.entry(&**name).or_default().push((i, principals));
            }
        }
        let lengths = prefixed.keys().map(|prefix| prefix.len()).collect();
        Self { literal, prefixed, lengths }
    }

    /// By the place of the binding.
    fn users(&self, group: &str) -> BTreeMap<usize, BTreeSet<&'a str>> {
        let starts = self.lengths.iter().filter_map(|length| group.get(..*length));
        let by_prefix = starts.filter_map(|start| self.prefixed.get(start)).flatten();
        let mut users: BTreeMap<usize, BTreeSet<&str>> = BTreeMap::new();
        for (i, principals) in self.literal.get(group).into_iter().flatten().chain(by_prefix) {
            users.entry(*i).or_default().extend(principals.iter().map(String::as_str));
        }
        users
    }
}

/// Which of the groups that there are, in the order of their names, are looked at. Those of which only the beginning of the name is
/// known, which comes with each, are not.
pub fn pick<'a>(accesses: &[Access], groups: impl IntoIterator<Item = (&'a str, bool)>) -> Picked {
    let matcher = Matcher::of(accesses);
    let mut counts = vec![0; accesses.len()];
    let mut picked = Picked::default();
    for (group, is_cut) in groups.into_iter().collect::<BTreeSet<_>>() {
        for i in matcher.users(group).into_keys() {
            counts[i] += usize::from(!is_cut);
            if counts[i] <= GROUPS && !is_cut {
                picked.groups.insert(group.to_owned());
            } else {
                picked.beyond.insert(accesses[i].uid.clone());
            }
        }
    }
    picked
}

/// What concerns each of `accesses`, in their order.
pub fn whose(accesses: &[Access], look: &Look) -> Vec<Seen> {
    let matcher = Matcher::of(accesses);
    let mut ends_of: BTreeMap<&str, Vec<(i32, i64)>> = BTreeMap::new();
    for ((topic, partition), end) in &look.ends {
        ends_of.entry(topic).or_default().push((*partition, *end));
    }
    let begun = |access: &Access| Seen {
        unsure: look.beyond.contains(&access.uid)
            || look.unknown.iter().any(|t| access.reads.contains(t) || access.writes.contains(t)),
        ends: access
            .writes
            .iter()
            .flat_map(|topic| {
                ends_of.get(topic.as_str()).into_iter().flatten().map(|(p, end)| ((topic.clone(), *p), *end))
            })
            .collect(),
        ..Seen::default()
    };
    let mut all: Vec<Seen> = accesses.iter().map(begun).collect();
    if let Some(heard) = &look.heard {
        add_traffic(&mut all, accesses, heard);
    }
    for (name, group) in &look.groups {
        let users = matcher.users(name);
        for &i in users.keys() {
            if all[i].groups.len() < GROUPS {
                add(&mut all[i], name, group, &Users { accesses, users: &users, i });
            }
        }
    }
    for i in look.others.iter().flat_map(|name| matcher.users(name).into_keys()) {
        all[i].attended = true;
    }
    all
}

/// Kafka tells whose traffic it is, and not of what: it is use of each binding of that principal that has all that it should.
fn add_traffic(all: &mut [Seen], accesses: &[Access], heard: &Heard) {
    let of = |principal: &str, access: &Access| {
        let traffic = heard.rates.get(principal).copied().unwrap_or_default();
        traffic.within(!access.reads.is_empty(), !access.writes.is_empty())
    };
    // How many bindings each fetches by, and produces by.
    let mut users: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for access in accesses {
        for principal in &access.principals {
            let Traffic { fetched, produced } = of(principal, access);
            let (readers, writers) = users.entry(principal).or_default();
            *readers += usize::from(fetched > 0.0);
            *writers += usize::from(produced > 0.0);
        }
    }
    for (seen, access) in all.iter_mut().zip(accesses) {
        let is_shared = |principal: &String| {
            let Traffic { fetched, produced } = of(principal, access);
            let (readers, writers) = users[principal.as_str()];
            (fetched > 0.0 && readers > 1) || (produced > 0.0 && writers > 1)
        };
        if access.ready_since.is_some() {
            seen.traffic = access.principals.iter().map(|principal| of(principal, access)).sum();
        }
        seen.traffic_is_shared = access.principals.iter().any(is_shared);
        seen.untold = !heard.faults.is_empty();
    }
}

/// Who may use a group, as one of them sees it.
struct Users<'a> {
    accesses: &'a [Access],
    users: &'a BTreeMap<usize, BTreeSet<&'a str>>,
    i: usize,
}

impl Users<'_> {
    /// Whether a principal that has no such access by this binding may read the topic, or any of its topics, in the group.
    fn is_shared(&self, topic: Option<&str>) -> bool {
        let own = &self.users[&self.i];
        let reads = |access: &Access| match topic {
            Some(topic) => access.reads.contains(topic),
            None => true,
        };
        self.users.iter().any(|(i, who)| *i != self.i && who != own && reads(&self.accesses[*i]))
    }
}

fn add(seen: &mut Seen, name: &str, group: &Group, users: &Users<'_>) {
    let reads = &users.accesses[users.i].reads;
    seen.groups.insert(name.to_owned());
    seen.unsure |= group.committed.is_none() || group.members.is_none();
    if let Some(committed) = &group.committed {
        let of_it = committed.iter().filter(|((topic, _), _)| reads.contains(topic));
        let of_it: Offsets = of_it.map(|(at, offset)| (at.clone(), *offset)).collect();
        if of_it.keys().any(|(topic, _)| users.is_shared(Some(topic))) {
            seen.shared.insert(name.to_owned());
        }
        if !of_it.is_empty() {
            seen.committed.insert(name.to_owned(), of_it);
        }
    }
    for member in group.members.iter().flatten() {
        let is_alone = if member.topics.is_empty() {
            !users.is_shared(None)
        } else {
            let mut own = member.topics.iter().filter(|topic| reads.contains(*topic)).peekable();
            if own.peek().is_none() {
                continue;
            }
            own.any(|topic| !users.is_shared(Some(topic)))
        };
        seen.attended = true;
        seen.addresses.extend(member.address.filter(|_| is_alone));
    }
}
