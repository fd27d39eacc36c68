//! Whose use it is, and what is told of it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::traffic::{Heard, Traffic};
use super::{ADDRESSES, Access, Finding, GROUPS, Group, Look, Member, Watch, merged, pick, tell, whose};
use crate::api::{Action, BindingUsage, EventSource};
use crate::domain::acl::PatternType;
use crate::domain::names::ObjectKey;
use crate::domain::usage::Offsets;

const MONTH: SignedDuration = SignedDuration::from_hours(720);

fn at(time: &str) -> Timestamp {
    format!("2026-06-01T{time}Z").parse().unwrap()
}

fn strings(of: &[&str]) -> BTreeSet<String> {
    of.iter().map(|s| (*s).to_owned()).collect()
}

/// A binding of one principal, whose groups begin with `group`.
fn access(name: &str, principal: &str, group: &str, reads: &[&str], writes: &[&str]) -> Access {
    let groups = (!group.is_empty()).then(|| ((PatternType::Prefixed, group.into()), strings(&[principal])));
    Access {
        binding: ObjectKey::new("billing", name),
        uid: name.into(),
        owner: "payments".into(),
        requested_by: Vec::new(),
        ready_since: Some(at("00:00:00")),
        principals: strings(&[principal]),
        groups: groups.into_iter().collect(),
        reads: strings(reads),
        writes: strings(writes),
    }
}

fn reader() -> Access {
    access("reads", "invoicer", "billing.invoicer.", &["placed"], &[])
}

fn offsets(topic: &str, offset: i64) -> Offsets {
    BTreeMap::from([((topic.to_owned(), 0), offset)])
}

/// A group that has read `placed` up to `offset`, with members there that read it.
fn group(offset: i64, addresses: &[&str]) -> Group {
    let member = |a: &&str| Member { address: Some(a.parse().unwrap()), topics: strings(&["placed"]) };
    Group { committed: Some(offsets("placed", offset)), members: Some(addresses.iter().map(member).collect()) }
}

fn look(groups: &[(&str, Group)]) -> Look {
    Look {
        groups: groups.iter().map(|(name, group)| ((*name).to_owned(), group.clone())).collect(),
        begins: offsets("placed", 100),
        ..Look::default()
    }
}

/// One binding on cluster `main`, as it is looked at.
struct Watched(Access, Watch);

impl Watched {
    fn new(access: Access, status: Option<&BindingUsage>, now: &str) -> Self {
        Self(access, Watch::begin("main", status, at(now)))
    }

    fn look(&mut self, now: &str, look: &Look) -> Vec<Finding> {
        self.look_at(at(now), look)
    }

    fn look_at(&mut self, now: Timestamp, look: &Look) -> Vec<Finding> {
        let seen = whose(std::slice::from_ref(&self.0), look).remove(0);
        self.1.look("main", &self.0, &seen, &look.begins, (now, MONTH))
    }

    fn usage(&self) -> BindingUsage {
        self.1.usage().unwrap().clone()
    }

    fn end(self) -> (Access, Option<Finding>) {
        (self.0, self.1.end())
    }
}

#[test]
fn what_was_read_is_told_when_the_hour_is_over_and_when_the_binding_ends() {
    let mut watched = Watched::new(reader(), None, "10:10:00");
    assert_eq!(watched.look("10:10:00", &look(&[("billing.invoicer.a", group(150, &[]))])), []);
    assert_eq!(watched.usage().last_used_at, None, "before it nobody looked");
    let both = [("billing.invoicer.a", group(170, &[])), ("billing.invoicer.b", group(120, &[]))];
    assert_eq!(watched.look("10:20:00", &look(&both)), []);
    assert_eq!(watched.usage().last_used_at.map(|t| t.0), Some(at("10:00:00")));
    let [Finding::Used(window)] = &watched.look("11:00:30", &look(&both))[..] else { panic!("the hour is over") };
    let (told, key) = tell(&reader(), "main", &Finding::Used(window.clone()), at("11:00:30"));
    assert_eq!(
        told.message,
        "read 40 records of 1 topic by groups billing.invoicer.a, billing.invoicer.b (by committed offsets: who never \
         commits is not seen)"
    );
    assert_eq!((told.count, key.as_str(), told.actor.name.as_str()), (40, "main/2026-06-01T10:00:00Z", "invoicer"));
    assert_eq!((told.concerns, told.action), (vec!["payments".to_owned()], Action::AccessUsed));
    assert_eq!(watched.look("11:30:00", &look(&[("billing.invoicer.a", group(171, &[]))])), []);
    let (_, Some(Finding::Used(last))) = watched.end() else { panic!("it was used in this hour") };
    let (_, key) = tell(&reader(), "main", &Finding::Used(last.clone()), at("11:40:00"));
    assert_eq!(key, "main/2026-06-01T11:00:00Z/2026-06-01T11:30:00Z", "what follows in that hour is another");
    assert_eq!((last.hour, last.records), (at("11:00:00"), BTreeMap::from([("billing.invoicer.a".to_owned(), 1)])));
}

#[test]
fn another_s_groups_and_topics_do_not_count() {
    let mut watched = Watched::new(reader(), None, "10:00:00");
    watched.look("10:00:00", &look(&[]));
    let foreign = Group { committed: Some(offsets("refunded", 5)), members: Some(Vec::new()) };
    watched.look("10:01:00", &look(&[("fraud.scorer.a", group(200, &["10.0.0.1"])), ("billing.invoicer.r", foreign)]));
    let usage = watched.usage();
    assert_eq!((usage.last_used_at, usage.addresses), (None, Vec::new()));
    assert!(watched.end().1.is_none());
}

#[test]
fn where_others_may_have_done_it_each_used_it_and_nobody_was_anywhere() {
    let own = reader();
    let other = access("other", "auditor", "billing.", &["placed"], &[]);
    let seen = whose(&[own.clone(), other], &look(&[("billing.invoicer.a", group(150, &["10.0.0.1"]))]));
    for seen in &seen {
        assert!(seen.attended && seen.addresses.is_empty() && seen.shared.contains("billing.invoicer.a"), "{seen:?}");
    }
    // The same principal by two bindings is nobody else, and neither is who may read something else in that group.
    let again = Access { uid: "again".into(), ..own.clone() };
    let elsewhere = access("elsewhere", "auditor", "billing.", &["refunded"], &[]);
    let seen = whose(&[own, again, elsewhere], &look(&[("billing.invoicer.a", group(150, &["10.0.0.1"]))]));
    assert_eq!(seen.iter().map(|s| s.addresses.len()).collect::<Vec<_>>(), [1, 1, 0]);
    assert_eq!(seen.iter().map(|s| s.attended).collect::<Vec<_>>(), [true, true, false]);
}

#[test]
fn the_first_addresses_are_known_and_every_other_one_is_new_once() {
    let mut watched = Watched::new(reader(), None, "10:00:00");
    let at_these = |addresses: &[&str]| look(&[("billing.invoicer.a", group(150, addresses))]);
    assert_eq!(watched.look("10:00:00", &at_these(&["10.0.0.1", "10.0.0.2"])), []);
    let found = watched.look("10:01:00", &at_these(&["10.0.0.2", "10.0.0.3"]));
    assert_eq!(found, [Finding::NewAddress("10.0.0.3".parse().unwrap())]);
    assert_eq!(watched.look("10:02:00", &at_these(&["10.0.0.3"])), []);
    let (told, key) = tell(&reader(), "main", &found[0], at("10:01:00"));
    assert!(told.message.contains("invoicer used its access from 10.0.0.3"), "{}", told.message);
    assert_eq!(key, "main/2026-06-01T10:00:00Z/10.0.0.3");
    // After a restart they are known from the status.
    let status = watched.usage();
    assert_eq!(status.addresses, ["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    let mut restarted = Watched::new(reader(), Some(&status), "10:03:00");
    assert_eq!(restarted.look("10:03:00", &at_these(&["10.0.0.1"])), []);
    assert_eq!(restarted.look("10:04:00", &at_these(&["10.0.0.4"])).len(), 1);
}

#[test]
fn addresses_beyond_the_bound_are_told_once_an_hour_at_most() {
    let mut watched = Watched::new(reader(), None, "10:00:00");
    let first: Vec<_> = (0..ADDRESSES).map(|n| format!("10.0.1.{n}")).collect();
    let all: Vec<_> = first.iter().map(String::as_str).chain(["10.0.2.1"]).collect();
    let of = |addresses: &[&str]| look(&[("billing.invoicer.a", group(150, addresses))]);
    watched.look("10:00:00", &of(&all[..ADDRESSES]));
    let told = |found: Vec<Finding>| found.iter().filter(|f| matches!(f, Finding::NewAddress(_))).count();
    assert_eq!(told(watched.look("10:01:00", &of(&all))), 1);
    assert_eq!(told(watched.look("10:02:00", &of(&all))), 0);
    assert_eq!(told(watched.look("10:30:00", &of(&all[..1]))), 0);
    assert_eq!(told(watched.look("10:31:00", &of(&all))), 0, "half an hour ago");
    assert_eq!(told(watched.look("11:40:00", &of(&all[..1]))), 0);
    assert_eq!(told(watched.look("11:41:00", &of(&all))), 1);
    assert_eq!(watched.usage().addresses.len(), ADDRESSES);
}

#[test]
fn what_nobody_uses_is_told_once_and_again_only_after_it_was_used() {
    let mut watched = Watched::new(reader(), None, "10:00:00");
    let begun = at("10:00:00");
    let idle = look(&[("billing.invoicer.a", group(150, &[]))]);
    assert_eq!(watched.look_at(begun, &idle), []);
    assert_eq!(watched.look_at(begun + MONTH, &idle), [], "ready for longer, but looked at for a month only");
    let later = begun + MONTH + SignedDuration::from_secs(1);
    assert_eq!(watched.look_at(later, &idle), [Finding::Unused(begun, false)]);
    assert_eq!(watched.look_at(later + MONTH, &idle), []);
    // Nor after a restart.
    let status = watched.usage();
    assert_eq!(status.unused_since.as_ref().map(|t| t.0), Some(begun));
    let mut watched = Watched::new(reader(), Some(&status), "10:00:00");
    assert_eq!(watched.look_at(later + MONTH, &idle), []);
    // Somebody is there: it is used, although nothing was committed.
    let used = later + MONTH * 2;
    assert_eq!(watched.look_at(used, &look(&[("billing.invoicer.a", group(150, &["10.0.0.1"]))])), []);
    assert_eq!(watched.usage().unused_since, None);
    let found = watched.look_at(used + MONTH + SignedDuration::from_secs(1), &idle);
    assert!(matches!(found[..], [Finding::Used(_), Finding::Unused(at, true)] if at == used), "{found:?}");
    let (told, _) = tell(&reader(), "main", &found[1], used);
    assert!(told.message.starts_with("not used since 2026-"), "{}", told.message);
}

#[test]
fn in_doubt_nothing_is_unused() {
    let long = at("10:00:00") + MONTH * 2;
    let never = |access: Access, then: &Look| {
        let mut watched = Watched::new(access, None, "10:00:00");
        watched.look("10:00:00", &look(&[]));
        watched.look_at(long, then).iter().any(|f| matches!(f, Finding::Unused(..)))
    };
    assert!(never(reader(), &look(&[])));
    let unread = Group { committed: None, members: Some(Vec::new()) };
    assert!(!never(reader(), &look(&[("billing.invoicer.a", unread)])), "a group that could not be read");
    let closed = Group { committed: Some(Offsets::new()), members: None };
    assert!(!never(reader(), &look(&[("billing.invoicer.a", closed)])), "members that could not be read");
    assert!(!never(reader(), &Look { beyond: strings(&["reads"]), ..look(&[]) }), "more groups than are looked at");
    assert!(!never(reader(), &Look { unknown: strings(&["placed"]), ..look(&[]) }), "offsets that could not be read");
    assert!(!never(reader(), &Look { others: strings(&["billing.invoicer.s"]), ..look(&[]) }), "a share group");
    assert!(!never(Access { ready_since: None, ..reader() }, &look(&[])), "it is not Ready");
    assert!(!never(access("x", "p", "", &["placed"], &[]), &look(&[])), "who may use no group is never seen to read");
    assert!(!never(access("x", "p", "g.", &[], &[]), &look(&[])), "only to describe");
}

#[test]
fn whoever_may_write_has_used_it_when_the_topic_grows() {
    let mut watched = Watched::new(access("writes", "orders", "", &[], &["placed"]), None, "10:00:00");
    let ends = |end| Look { ends: offsets("placed", end), ..Look::default() };
    watched.look("10:00:00", &ends(70));
    assert_eq!(watched.usage().last_used_at, None);
    watched.look("10:01:00", &ends(100));
    // Made anew, with something in it.
    watched.look("10:02:00", &ends(5));
    let (access, Some(found)) = watched.end() else { panic!("it was used") };
    let (told, _) = tell(&access, "main", &found, at("10:02:00"));
    assert!(told.message.starts_with("topics that it may write to grew by 35 records, whoever wrote them: placed"));
    let request = told.client.unwrap();
    assert_eq!((request.operation.as_deref(), request.resource_name.as_deref()), (Some("Write"), Some("placed")));
}

#[test]
fn what_moved_while_nobody_looked_is_use() {
    let mut watched = Watched::new(reader(), None, "10:00:00");
    let until = |offset| look(&[("billing.invoicer.a", group(offset, &[]))]);
    watched.look("10:00:00", &until(150));
    let status = watched.usage();
    let mut same = Watched::new(reader(), Some(&status), "12:00:00");
    same.look("12:00:00", &until(150));
    assert_eq!(same.usage().last_used_at, None);
    let mut moved = Watched::new(reader(), Some(&status), "12:00:00");
    moved.look("12:00:00", &until(151));
    assert_eq!(moved.usage().last_used_at.map(|t| t.0), Some(at("12:00:00")));
    let (access, Some(found)) = moved.end() else { panic!("it was used") };
    assert!(tell(&access, "main", &found, at("12:00:00")).0.message.contains("while Weir did not look"));
}

#[test]
fn what_was_granted_a_moment_ago_does_not_count_from_the_beginning() {
    let mut watched = Watched::new(reader(), None, "10:00:00");
    watched.look("10:00:00", &look(&[]));
    watched.0.reads.insert("refunded".into());
    let old = Group { committed: Some(offsets("refunded", 1_000_000)), members: Some(Vec::new()) };
    let begins = Look { begins: offsets("refunded", 0), ..look(&[("billing.invoicer.r", old)]) };
    watched.look("10:01:00", &begins);
    assert!(watched.end().1.is_none());
}

#[test]
fn the_status_changes_once_an_hour_unless_an_address_is_new() {
    let mut watched = Watched::new(reader(), None, "10:00:00");
    let of = |offset, addresses: &[&str]| look(&[("billing.invoicer.a", group(offset, addresses))]);
    watched.look("10:00:00", &of(150, &["10.0.0.1"]));
    let first = watched.usage();
    watched.look("10:01:00", &of(160, &["10.0.0.1"]));
    assert_eq!(watched.usage(), first);
    watched.look("10:02:00", &of(170, &["10.0.0.2"]));
    assert_eq!(watched.usage().addresses.len(), 2);
    watched.look("11:01:00", &of(170, &[]));
    assert_eq!(watched.usage().last_used_at, first.last_used_at);
    watched.look("11:02:00", &of(171, &[]));
    assert_eq!(watched.usage().last_used_at.map(|t| t.0), Some(at("11:00:00")));
}

#[test]
fn of_each_binding_a_hundred_groups_are_looked_at() {
    let names: Vec<_> = (0..GROUPS + 2).map(|n| format!("billing.invoicer.{n:03}")).collect();
    let listed = names.iter().map(String::as_str).chain(["fraud.scorer.a"]).map(|name| (name, false));
    let picked = pick(&[reader()], listed);
    assert_eq!((picked.groups.len(), picked.beyond), (GROUPS, strings(&["reads"])));
    assert!(!picked.groups.contains("fraud.scorer.a"));
    let picked = pick(&[reader()], [("billing.invoicer.a", false), ("billing.invoicer.long", true)]);
    assert_eq!(
        (picked.groups, picked.beyond),
        (strings(&["billing.invoicer.a"]), strings(&["reads"])),
        "one has no whole name"
    );
}

#[test]
fn of_several_clusters_the_last_use_counts() {
    let of = |last: &str, addresses: &[&str], cluster: &str| {
        let mut watched = Watched(reader(), Watch::begin(cluster, None, at("08:00:00")));
        watched.look("08:00:00", &look(&[]));
        watched.look(last, &look(&[("billing.invoicer.a", group(150, addresses))]));
        BindingUsage { positions: BTreeMap::from([(cluster.to_owned(), "d".to_owned())]), ..watched.usage() }
    };
    let (a, b) = (of("09:30:00", &["10.0.0.2"], "a"), of("10:30:00", &["10.0.0.1"], "b"));
    let both = merged([&a, &b]).unwrap();
    assert_eq!(both.last_used_at, b.last_used_at);
    assert_eq!(both.addresses, ["10.0.0.1", "10.0.0.2"]);
    assert_eq!(both.positions.len(), 2);
}

/// What exporters tell of these principals: bytes a second that are fetched, and produced.
fn told(rates: &[(&str, f64, f64)]) -> Look {
    let of = |(who, fetched, produced): &(&str, f64, f64)| {
        ((*who).to_owned(), Traffic { fetched: *fetched, produced: *produced })
    };
    Look { heard: Some(Heard { rates: rates.iter().map(of).collect(), faults: Vec::new() }), ..Look::default() }
}

#[test]
fn who_reads_without_a_group_is_seen_by_what_quotas_count() {
    let mut watched = Watched::new(reader(), None, "10:10:00");
    watched.look("10:10:00", &told(&[("invoicer", 1e6, 0.0)]));
    assert_eq!(watched.usage().last_used_at, None, "it may have been by other access");
    watched.look("10:10:30", &told(&[("invoicer", 100.0, 5.0), ("other", 1e9, 1e9)]));
    watched.look("10:11:30", &told(&[("invoicer", 50.0, 0.0)]));
    watched.look("10:59:30", &told(&[("invoicer", 10.0, 0.0)]));
    assert_eq!(watched.usage().last_used_at.map(|t| t.0), Some(at("10:00:00")));
    let [found @ Finding::Used(window)] = &watched.look("11:00:30", &told(&[]))[..] else { panic!("the hour is over") };
    assert_eq!(window.bytes, Traffic { fetched: 3000.0 + 3000.0 + 1200.0, produced: 0.0 }, "for two minutes at most");
    let (told, _) = tell(&reader(), "main", found, at("11:00:30"));
    assert_eq!(
        told.message,
        "fetched about 7.2 kB by quota metrics (answers without records, and refusals, count, too)"
    );
    assert_eq!((told.count, told.source), (1, EventSource::QuotaMetrics));
    assert_eq!(told.client.unwrap().operation.as_deref(), Some("Read"));
}

#[test]
fn what_a_principal_of_several_bindings_fetches_is_use_of_each_that_may_read() {
    let writer = access("writes", "invoicer", "", &[], &["placed"]);
    let all = [reader(), access("other", "invoicer", "", &["refunded"], &[]), writer.clone()];
    let seen = whose(&all, &told(&[("invoicer", 100.0, 0.0)]));
    let read: Vec<_> = seen.iter().map(|s| (s.traffic.fetched, s.traffic_is_shared)).collect();
    assert_eq!(read, [(100.0, true), (100.0, true), (0.0, false)]);
    let mut watched = Watched::new(writer, None, "10:00:00");
    watched.look("10:00:00", &told(&[]));
    watched.look("10:01:00", &told(&[("invoicer", 0.0, 2e6)]));
    let (writer, Some(found)) = watched.end() else { panic!("it was used") };
    let (told, _) = tell(&writer, "main", &found, at("10:01:00"));
    assert!(told.message.starts_with("produced about 120 MB by quota metrics"), "{}", told.message);
    assert_eq!(told.client.unwrap().operation.as_deref(), Some("Write"));
}

#[test]
fn how_much_it_was_is_told_of_nobody_who_has_other_access() {
    let all = [reader(), access("other", "invoicer", "", &["refunded"], &[])];
    let mut watch = Watch::begin("main", None, at("10:00:00"));
    for (time, rates) in [("10:00:00", told(&[])), ("10:01:00", told(&[("invoicer", 1e9, 0.0)]))] {
        let seen = whose(&all, &rates).remove(0);
        watch.look("main", &all[0], &seen, &rates.begins, (at(time), MONTH));
    }
    let (told, _) = tell(&all[0], "main", &watch.end().unwrap(), at("10:02:00"));
    let said = "fetched by quota metrics (its principals have other bindings, too, that it may have been by)";
    assert_eq!(told.message, said);
}

#[test]
fn what_somebody_fetches_whose_access_is_not_whole_or_over_is_no_use_of_it() {
    let rates = told(&[("invoicer", 100.0, 0.0)]);
    let over = access("over", "invoicer", "", &["refunded"], &[]).ended();
    let [own, over] = &whose(&[reader(), over], &rates)[..] else { panic!() };
    assert!(over.traffic.is_none() && !own.traffic.is_none());
    assert!(own.traffic_is_shared, "it may have been by that, too");
}

#[test]
fn the_time_in_which_not_all_brokers_tell_is_not_one_without_use() {
    let mut watched = Watched::new(reader(), None, "00:00:00");
    let part = Look { heard: Some(Heard { faults: vec!["away".into()], ..Heard::default() }), ..Look::default() };
    watched.look("00:00:00", &part);
    let later = at("00:00:00") + MONTH;
    assert_eq!(watched.look_at(later, &part), []);
    assert_eq!(watched.look_at(later + SignedDuration::from_secs(1), &told(&[])), []);
    let begun = told(&[("invoicer", 1.0, 0.0)]);
    let over = later + MONTH + SignedDuration::from_secs(1);
    assert_eq!(Watched::new(reader(), None, "00:00:00").look_at(over, &begun), [], "it fetches just now");
    assert!(matches!(watched.look_at(over, &told(&[]))[..], [Finding::Unused(..)]));
}
