//! Nothing is lost from the counts, and nothing passes the bounds.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::{Strategy, any, prop, proptest};
use proptest::test_runner::Config;
use proptest::{prop_assert, prop_assert_eq};

use super::{Closed, OF_ADDRESS, OF_ALL, OF_CLUSTER, OF_LOGINS, OF_ONE, SHORTEST, What, Windows};
use crate::api::EventSource;
use crate::domain::audit::heard::{Refusal, Refused};

fn denied(principal: &str, topic: &str) -> Refusal {
    let what = Refused::Access {
        operation: "Read".into(),
        resource_type: "Topic".into(),
        resource_name: topic.into(),
        api: Some("Fetch".into()),
    };
    let address = Some("10.0.0.1".to_owned());
    Refusal { what, principal: Some(principal.into()), address, why: None, at: None, source: EventSource::BrokerLog }
}

fn failed(principal: Option<&str>, address: &str, why: &str) -> Refusal {
    let what = Refused::Login { mechanism: None };
    let (principal, address, why) = (principal.map(str::to_owned), Some(address.to_owned()), Some(why.to_owned()));
    Refusal { what, principal, address, why, at: None, source: EventSource::BrokerLog }
}

fn total(closed: &[Closed]) -> u64 {
    closed.iter().map(|c| c.count).sum()
}

fn after(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
}

#[test]
fn equal_refusals_are_one_event_and_windows_of_what_goes_on_grow() {
    let mut windows = Windows::default();
    let mut lengths = Vec::new();
    let mut opened = after(0);
    let mut told = 0;
    for second in 0..3000 {
        windows.take("c", &denied("a", "t"), after(second));
        for closed in windows.close(after(second)) {
            lengths.push(after(second).duration_since(opened).as_secs());
            opened = after(second + 1);
            told += closed.count;
        }
    }
    assert_eq!(lengths, [5, 10, 20, 40, 80, 160, 320, 600, 600, 600]);
    assert_eq!(told + windows.close(after(10_000)).iter().map(|c| c.count).sum::<u64>(), 3000);
    // Silence for as long as the last window was begins anew.
    windows.take("c", &denied("a", "t"), after(20_000));
    assert_eq!(windows.close(after(20_000) + SHORTEST).len(), 1);
}

#[test]
fn a_flood_of_different_things_is_counted_together() {
    let mut windows = Windows::default();
    for n in 0..10_000 {
        windows.take("c", &denied("a", &format!("t{n}")), after(0));
    }
    assert_eq!(windows.open.len(), OF_ONE + 1);
    for n in 0..10_000 {
        windows.take("c", &denied(&format!("p{n}"), "t"), after(0));
    }
    assert!(windows.open.len() <= OF_ALL + 1, "{}", windows.open.len());
    let closed = windows.close(after(60));
    assert_eq!(closed.iter().map(|c| c.count).sum::<u64>(), 20_000, "nothing is lost from the counts");
    assert!(windows.open.is_empty() && windows.taken.is_empty());
}

#[test]
fn what_a_broker_s_clock_says_is_believed_within_bounds() {
    let mut windows = Windows::default();
    let now = after(100_000);
    for at in [now - SignedDuration::from_mins(1), after(0), now + SignedDuration::from_hours(9)] {
        windows.take("c", &Refusal { at: Some(at), ..denied("a", "t") }, now);
    }
    let closed = windows.close(now + SHORTEST);
    assert_eq!((closed[0].first, closed[0].last), (now - SignedDuration::from_mins(1), now));
}

#[test]
fn what_a_stranger_sent_tells_no_failed_logins_apart() {
    let mut windows = Windows::default();
    for n in 0..100 {
        windows.take("c", &failed(None, "10.0.0.1", &format!("bad magic {n}")), after(0));
    }
    let closed = windows.close(after(60));
    assert_eq!((closed.len(), closed[0].count, closed[0].why.as_deref()), (1, 100, Some("bad magic 0")));
}

#[test]
fn strangers_with_any_number_of_addresses_and_names_take_no_place_of_who_logged_in() {
    let mut windows = Windows::default();
    for n in 0..20_000 {
        let cluster = format!("c{}", n % 10);
        windows.take(&cluster, &failed(None, &format!("2001:db8::{n:x}"), "why"), after(0));
        windows.take(&cluster, &failed(Some(&format!("n{n}")), &format!("2001:db8:1::{n:x}"), "why"), after(0));
    }
    assert!(windows.open.len() <= OF_LOGINS + 10, "{}", windows.open.len());
    windows.take("c0", &denied("app", "t"), after(0));
    let closed = windows.close(after(60));
    assert_eq!(total(&closed), 40_001, "nothing is lost from the counts");
    assert!(closed.iter().any(|c| c.kind.principal.as_deref() == Some("app") && c.kind.what != What::Requests));
    // Nor of what was heard before: the next window is longer, as it should be.
    windows.take("c0", &denied("app", "t"), after(60));
    assert!(windows.close(after(66)).is_empty());
    assert_eq!(windows.close_all().len(), 1);
}

/// Somebody of few or many names, addresses, things and clusters.
fn refusal() -> impl Strategy<Value = (String, Refusal)> {
    let who = prop::option::of(0..2_000_u16);
    (any::<bool>(), who, 0..1_000_u16, 0..2_000_u16, 0..3_u8).prop_map(|(is_login, who, from, thing, cluster)| {
        let name = who.map(|n| format!("p{n}"));
        let from = format!("2001:db8::{:x}", from / 3);
        let refusal = if is_login {
            let what = Refused::Login { mechanism: ["PLAIN", "GSSAPI"].into_iter().nth(usize::from(thing % 3)) };
            Refusal { what, ..failed(name.as_deref(), &from, &thing.to_string()) }
        } else {
            denied(name.as_deref().unwrap_or("one"), &format!("t{thing}"))
        };
        (format!("c{cluster}"), refusal)
    })
}

proptest! {
    #![proptest_config(Config { cases: 12, ..Config::default() })]

    #[test]
    fn whatever_is_refused_the_bounds_hold_and_all_of_it_is_counted(
        refusals in prop::collection::vec(refusal(), 0..6_000), pace in 1..2_000_usize,
    ) {
        let (mut windows, mut told) = (Windows::default(), 0);
        for (n, (cluster, refusal)) in refusals.iter().enumerate() {
            let now = after(i64::try_from(n / pace).unwrap());
            windows.take(cluster, refusal, now);
            if n % 500 == 0 {
                told += total(&windows.close(now));
            }
            if n % 250 == 0 {
                let mut logins = BTreeMap::<_, usize>::new();
                let mut addresses = BTreeMap::<_, usize>::new();
                let mut principals = BTreeMap::<_, usize>::new();
                for kind in windows.open.keys() {
                    let What::This(what) = &kind.what else { continue };
                    let is_login = what.is_login();
                    *logins.entry(Some(&kind.cluster).filter(|_| is_login)).or_default() += 1;
                    *principals.entry((is_login, &kind.cluster, &kind.principal)).or_default() += 1;
                    *addresses.entry((&kind.cluster, &kind.address)).or_default() += 1;
                }
                prop_assert!(logins.iter().all(|(of, n)| *n <= of.map_or(OF_ALL, |_| OF_CLUSTER)));
                prop_assert!(logins.iter().filter(|(of, _)| of.is_some()).map(|(_, n)| n).sum::<usize>() <= OF_LOGINS);
                prop_assert!(principals.iter().all(|((_, _, who), n)| who.is_none() || *n <= OF_ONE));
                prop_assert!(addresses.iter().all(|((_, from), n)| from.is_none() || *n <= OF_ADDRESS));
                prop_assert!(windows.open.len() <= OF_ALL + OF_LOGINS + 2 * 3, "{}", windows.open.len());
            }
        }
        told += total(&windows.close(after(100_000)));
        prop_assert!(windows.open.is_empty() && windows.taken.is_empty());
        prop_assert_eq!(told, refusals.len() as u64);
    }
}
