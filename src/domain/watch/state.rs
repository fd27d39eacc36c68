//! What is known of one binding's use on one cluster, from look to look.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use sha2::{Digest, Sha256};

use super::traffic::Traffic;
use super::{ADDRESSES, Access, GROUPS, HOUR, Seen};
use crate::api::BindingUsage;
use crate::domain::conditions::whole_seconds;
use crate::domain::usage::{Offsets, hour};

/// How many further addresses are remembered for an hour, so that each is told of once an hour at most.
const LATELY: usize = 200;
/// For how long at most a rate is believed to have been what it is.
const LONGEST: SignedDuration = SignedDuration::from_mins(2);

/// What is to be told.
#[derive(Clone, Debug, PartialEq)]
pub enum Finding {
    /// It was used within an hour.
    Used(Window),
    /// It is used from an address that was not known.
    NewAddress(IpAddr),
    /// It is not used since then; whether any use was ever seen.
    Unused(Timestamp, bool),
}

/// The use within an hour of the clock.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Window {
    /// The hour.
    pub hour: Timestamp,
    /// When use was first seen in it.
    pub since: Timestamp,
    /// When last.
    pub until: Timestamp,
    /// Records that groups read; of those beyond the bound, under the empty name.
    pub records: BTreeMap<String, i64>,
    /// Topics that they read.
    pub topics: BTreeSet<String>,
    /// By how many records topics grew that it may write to.
    pub grown: BTreeMap<String, i64>,
    /// Where its principals were, as far as that is known.
    pub addresses: BTreeSet<IpAddr>,
    /// Somebody was in a group of its.
    pub attended: bool,
    /// Others may have used the same groups.
    pub shared: bool,
    /// About how many bytes its principals fetched and produced.
    pub bytes: Traffic,
    /// Other bindings of theirs may have been used so.
    pub bytes_are_shared: bool,
    /// Something moved of which it is not known how much it was.
    pub unlooked: bool,
    /// The binding ended before the hour was over. Should it give something again, there is another window of that hour.
    pub is_cut: bool,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Watch {
    /// The last offsets that were seen of each group that there is.
    known: BTreeMap<String, Offsets>,
    ends: Offsets,
    /// What the binding gave at the last look, and whether all could be seen of that; `None` before the first one.
    before: Option<(Access, bool)>,
    /// The offsets that were seen before this process began, in short.
    remembered: Option<String>,
    since: Timestamp,
    /// When it was last looked, since this process began.
    looked: Option<Timestamp>,
    /// For how long since it was last used not all could be heard of what principals fetch and produce.
    deaf: SignedDuration,
    last_used: Option<Timestamp>,
    unused: Option<Timestamp>,
    addresses: BTreeSet<IpAddr>,
    /// Further addresses, and when each was last seen.
    lately: BTreeMap<IpAddr, Timestamp>,
    window: Option<Window>,
    /// What the status says, and the hour that it is from.
    usage: Option<(Timestamp, BindingUsage)>,
}

impl Watch {
    /// Begins with what the status says from before.
    pub fn begin(cluster: &str, status: Option<&BindingUsage>, now: Timestamp) -> Self {
        // The last use was at some time of that hour, as late as that may be.
        let last_used =
            status.and_then(|s| s.last_used_at.as_ref()).map(|at| at.0 + HOUR - SignedDuration::from_secs(1));
        Self {
            known: BTreeMap::new(),
            ends: Offsets::new(),
            before: None,
            remembered: status.and_then(|s| s.positions.get(cluster).cloned()),
            since: status.map_or(whole_seconds(now), |s| s.since.0),
            looked: None,
            deaf: SignedDuration::ZERO,
            last_used: last_used.map(|at| at.min(now)),
            unused: status.and_then(|s| s.unused_since.as_ref()).map(|at| at.0),
            addresses: status.iter().flat_map(|s| &s.addresses).filter_map(|a| a.parse().ok()).collect(),
            lately: BTreeMap::new(),
            window: None,
            usage: None,
        }
    }

    /// Takes the next look, and says what is to be told of it. `begins` is where partitions begin.
    pub fn look(
        &mut self,
        cluster: &str,
        access: &Access,
        seen: &Seen,
        begins: &Offsets,
        (now, unused_after): (Timestamp, SignedDuration),
    ) -> Vec<Finding> {
        let mut findings: Vec<_> =
            self.window.take_if(|w| w.hour != hour(now)).map(Finding::Used).into_iter().collect();
        let mut window = Window { attended: seen.attended, bytes: self.bytes(seen, now), ..self.fresh(now) };
        let moved = self.read(seen, begins, &mut window) | self.grew(seen, &mut window);
        let digest = digest(seen);
        window.unlooked |= match self.remembered.take() {
            Some(before) => before != digest,
            // What was granted a moment ago may have been used before the first look; what was there long before Weir looked, long ago.
            None => self.before.is_none() && !seen.committed.is_empty() && access.is_young(now),
        };
        if moved || seen.attended || window.unlooked || !window.bytes.is_none() {
            self.last_used = Some(now);
            self.unused = None;
            self.deaf = SignedDuration::ZERO;
            window.shared = window.records.keys().any(|group| seen.shared.contains(group));
            window.bytes_are_shared = seen.traffic_is_shared && !window.bytes.is_none();
            window.addresses.extend(&seen.addresses);
            self.add(window);
        }
        findings.extend(self.met(&seen.addresses, now).into_iter().map(Finding::NewAddress));
        findings.extend(self.idle(access, seen, now, unused_after));
        self.remember(access, seen, now);
        self.report(cluster, digest, now);
        findings
    }

    /// The binding gives nothing any more here.
    pub fn end(self) -> Option<Finding> {
        self.window.map(|window| Finding::Used(Window { is_cut: true, ..window }))
    }

    /// What the status is to say.
    pub fn usage(&self) -> Option<&BindingUsage> {
        self.usage.as_ref().map(|(_, usage)| usage)
    }

    fn fresh(&self, now: Timestamp) -> Window {
        Window { hour: hour(now), since: now, until: now, ..Window::default() }
    }

    /// What its principals fetched and produced since the last look, if they did all the time what they do now. What they did before
    /// the first one may have been by other access.
    fn bytes(&self, seen: &Seen, now: Timestamp) -> Traffic {
        let since = self.looked.map_or(0.0, |at| now.duration_since(at).min(LONGEST).as_secs_f64().max(0.0));
        seen.traffic.times(since)
    }

    /// What its groups read since the last look; says whether any of them moved.
    fn read(&self, seen: &Seen, begins: &Offsets, window: &mut Window) -> bool {
        let Some((before, was_unsure)) = &self.before else { return false };
        let mut moved = false;
        for (group, committed) in seen.committed.iter().filter(|(group, _)| before.matches(group)) {
            let known = self.known.get(group);
            // Of what was only granted since, nobody knows when it was read.
            for (at, offset) in committed.iter().filter(|((topic, _), _)| before.reads.contains(topic)) {
                let from = match known.and_then(|k| k.get(at)) {
                    Some(from) if from == offset => continue,
                    Some(from) => from,
                    None if *was_unsure => {
                        window.unlooked = true;
                        continue;
                    }
                    None => begins.get(at).unwrap_or(offset),
                };
                moved = true;
                window.topics.insert(at.0.clone());
                add_to(&mut window.records, group, (offset - from).max(0));
            }
        }
        moved
    }

    /// By how much topics grew that it may write to; says whether any did.
    fn grew(&self, seen: &Seen, window: &mut Window) -> bool {
        let Some((before, was_unsure)) = &self.before else { return false };
        for (at, end) in seen.ends.iter().filter(|((topic, _), _)| before.writes.contains(topic)) {
            let by = match self.ends.get(at) {
                // It was made anew.
                Some(from) if end < from => *end,
                Some(from) => end - from,
                None if *was_unsure => {
                    window.unlooked |= *end > 0;
                    continue;
                }
                None => *end,
            };
            if by > 0 {
                add_to(&mut window.grown, &at.0, by);
            }
        }
        !window.grown.is_empty()
    }

    /// Adds what was seen now to the hour's window.
    fn add(&mut self, now: Window) {
        let begun = Window { hour: now.hour, since: now.since, ..Window::default() };
        let window = self.window.get_or_insert(begun);
        for (group, records) in now.records {
            let has_place = window.records.contains_key(&group) || window.records.len() < GROUPS;
            add_to(&mut window.records, if has_place { &group } else { "" }, records);
        }
        for (topic, records) in now.grown {
            add_to(&mut window.grown, &topic, records);
        }
        window.until = now.until;
        window.topics.extend(now.topics);
        let room = ADDRESSES.saturating_sub(window.addresses.len());
        window.addresses.extend(now.addresses.into_iter().take(room));
        window.attended |= now.attended;
        window.shared |= now.shared;
        window.bytes += now.bytes;
        window.bytes_are_shared |= now.bytes_are_shared;
        window.unlooked |= now.unlooked;
    }

    /// Which of the addresses are new. The very first ones are not.
    fn met(&mut self, seen: &BTreeSet<IpAddr>, now: Timestamp) -> Vec<IpAddr> {
        let is_first = self.addresses.is_empty();
        let mut new = Vec::new();
        for address in seen.iter().filter(|a| !self.addresses.contains(a)).copied().collect::<Vec<_>>() {
            let has_room = self.addresses.len() < ADDRESSES;
            let is_told = self.lately.contains_key(&address);
            if has_room {
                self.addresses.insert(address);
            } else if is_told || self.lately.len() < LATELY {
                self.lately.insert(address, now);
            }
            // One that nobody can remember would be told of at each look.
            let is_remembered = has_room || self.lately.contains_key(&address);
            if !is_first && !is_told && is_remembered {
                new.push(address);
            }
        }
        self.lately.retain(|_, last| now.duration_since(*last) < HOUR);
        new
    }

    /// Whether it is not used for too long. Once, until it is used again.
    fn idle(&mut self, access: &Access, seen: &Seen, now: Timestamp, after: SignedDuration) -> Option<Finding> {
        let since = whole_seconds(access.ready_since?.max(self.since).max(self.last_used.unwrap_or(self.since)));
        if seen.untold {
            self.deaf += self.looked.map_or(SignedDuration::ZERO, |at| now.duration_since(at));
        }
        let is_certain = access.is_visible() && !seen.unsure && !seen.untold && seen.traffic.is_none();
        if !is_certain || self.unused.is_some() || now.duration_since(since) <= after.saturating_add(self.deaf) {
            return None;
        }
        self.unused = Some(since);
        Some(Finding::Unused(since, self.last_used.is_some()))
    }

    fn remember(&mut self, access: &Access, seen: &Seen, now: Timestamp) {
        self.known.retain(|group, _| seen.groups.contains(group));
        self.known.extend(seen.committed.iter().map(|(group, committed)| (group.clone(), committed.clone())));
        self.ends.retain(|(topic, _), _| access.writes.contains(topic));
        self.ends.extend(seen.ends.iter().map(|(at, end)| (at.clone(), *end)));
        self.before = Some((access.clone(), seen.unsure));
        self.looked = Some(now);
    }

    /// What the status is to say: anew once an hour, and where an address, or whether it is used, is new.
    fn report(&mut self, cluster: &str, digest: String, now: Timestamp) {
        let usage = BindingUsage {
            since: Time(self.since),
            last_used_at: self.last_used.map(|at| Time(hour(at))),
            unused_since: self.unused.map(Time),
            addresses: self.addresses.iter().map(ToString::to_string).collect(),
            positions: BTreeMap::from([(cluster.to_owned(), digest)]),
        };
        let is_same = |(of, before): &(Timestamp, BindingUsage)| {
            *of == hour(now) && BindingUsage { positions: before.positions.clone(), ..usage.clone() } == *before
        };
        if !self.usage.as_ref().is_some_and(is_same) {
            self.usage = Some((hour(now), usage));
        }
    }
}

/// Anybody may commit any offset: sums end at the largest number.
fn add_to(sums: &mut BTreeMap<String, i64>, name: &str, records: i64) {
    let sum = sums.entry(name.to_owned()).or_default();
    *sum = sum.saturating_add(records);
}

/// All offsets that were seen, in short.
fn digest(seen: &Seen) -> String {
    let mut hash = Sha256::new();
    let groups = seen.committed.iter().map(|(group, offsets)| (group.as_str(), offsets));
    for (group, offsets) in groups.chain([("", &seen.ends)]) {
        for ((topic, partition), offset) in offsets {
            hash.update(format!("{group}\0{topic}\0{partition}\0{offset}\0"));
        }
    }
    hex::encode(&hash.finalize()[..8])
}

/// What the status says of a binding that gives something on each of several clusters.
pub fn merged<'a>(of_clusters: impl IntoIterator<Item = &'a BindingUsage>) -> Option<BindingUsage> {
    of_clusters.into_iter().cloned().reduce(|a, b| {
        let addresses: BTreeSet<IpAddr> =
            a.addresses.iter().chain(&b.addresses).filter_map(|t| t.parse().ok()).collect();
        BindingUsage {
            since: Time(a.since.0.min(b.since.0)),
            last_used_at: [a.last_used_at, b.last_used_at].into_iter().flatten().max_by_key(|at| at.0),
            unused_since: a.unused_since.zip(b.unused_since).map(|(a, b)| if a.0 < b.0 { b } else { a }),
            addresses: addresses.iter().take(ADDRESSES).map(ToString::to_string).collect(),
            positions: a.positions.into_iter().chain(b.positions).collect(),
        }
    })
}
