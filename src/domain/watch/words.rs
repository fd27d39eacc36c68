//! The events of what was found.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use super::{Access, Finding, Window};
use crate::api::{Action, ActorType, ClientRequest, EventSource, EventWindow, ObjectRef};
use crate::domain::audit::heard::fit;
use crate::domain::event::{Happening, micros};
use crate::domain::usage::hour;

/// How many groups and topics a message names.
const NAMED: usize = 5;

/// What to tell of a finding about `access` on `cluster`, and the key that it is told once by.
pub fn tell(access: &Access, cluster: &str, finding: &Finding, now: Timestamp) -> (Happening, String) {
    let object = ObjectRef {
        kind: "RoleBinding".into(),
        namespace: Some(access.binding.namespace.clone()),
        name: access.binding.name.clone(),
        uid: Some(access.uid.clone()),
    };
    let (happening, key) = match finding {
        Finding::Used(window) => (used(access, object, window), window.hour),
        Finding::NewAddress(address) => {
            let message = format!("{} used its access from {address}, where it was not seen before", who(access));
            let mut met = Happening::new(Action::NewAddressSeen, object, "NewAddress", message);
            met.client = Some(ClientRequest { address: Some(address.to_string()), ..ClientRequest::default() });
            (by_principals(met, access), hour(now))
        }
        Finding::Unused(since, was_used) => {
            let seen = if *was_used { "it was used before" } else { "no use of it was ever seen" };
            let message = format!(
                "not used since {since:.0}, as far as committed offsets, members of groups, ends of topics and quota metrics, where \
                 they are read, tell; {seen}"
            );
            (Happening::new(Action::GrantUnused, object, "Unused", message), hour(*since))
        }
    };
    let key = match finding {
        Finding::NewAddress(address) => format!("{cluster}/{key}/{address}"),
        Finding::Used(window) if window.is_cut => format!("{cluster}/{key}/{}", window.until),
        _ => format!("{cluster}/{key}"),
    };
    let happening = happening
        .on(cluster)
        .of(access.principals.iter().cloned().collect())
        .asked_by(access.requested_by.iter().map(String::as_str))
        .concerning([access.owner.clone()]);
    let source = match finding {
        Finding::Used(window) if is_by_bytes_alone(window) => EventSource::QuotaMetrics,
        _ => EventSource::ConsumerGroups,
    };
    (Happening { source, ..happening }, key)
}

fn used(access: &Access, object: ObjectRef, window: &Window) -> Happening {
    let read = sum(&window.records);
    let mut used = Happening::new(Action::AccessUsed, object, "Used", words(window, read));
    used.count = read.max(1);
    used.window = Some(EventWindow { start: MicroTime(micros(window.since)), end: MicroTime(micros(window.until)) });
    let is_read = !window.records.is_empty() || window.attended || window.bytes.fetched > 0.0;
    let is_written = !window.grown.is_empty() || window.bytes.produced > 0.0;
    let topics: Vec<_> = window.topics.iter().chain(window.grown.keys()).collect();
    used.client = Some(ClientRequest {
        operation: Some(if is_written && !is_read { "Write" } else { "Read" }.into()),
        resource_type: topics.first().map(|_| "Topic".into()),
        resource_name: only(topics).cloned(),
        api: None,
        address: only(&window.addresses).map(ToString::to_string),
    });
    by_principals(used, access)
}

/// Whether nothing else says that there was any use.
fn is_by_bytes_alone(window: &Window) -> bool {
    let is_otherwise = !window.records.is_empty() || !window.grown.is_empty() || window.attended || window.unlooked;
    !is_otherwise && !window.bytes.is_none()
}

fn sum(records: &BTreeMap<String, i64>) -> i64 {
    records.values().fold(0, |sum, more| sum.saturating_add(*more))
}

fn words(window: &Window, read: i64) -> String {
    let mut said = Vec::new();
    if !window.records.is_empty() {
        said.push(format!(
            "read {} of {} by groups {}",
            count(read, "record"),
            count(as_count(window.topics.len()), "topic"),
            named(window.records.keys().map(String::as_str))
        ));
    } else if window.attended {
        said.push("clients were in its groups, and committed nothing new".to_owned());
    }
    if !window.grown.is_empty() {
        let grown = count(sum(&window.grown), "record");
        let topics = named(window.grown.keys().map(String::as_str));
        said.push(format!("topics that it may write to grew by {grown}, whoever wrote them: {topics}"));
    }
    said.extend(bytes(window));
    if window.unlooked {
        said.push("something moved while Weir did not look, and how much is not known".to_owned());
    }
    if window.shared {
        said.push("other bindings give the same to others who may use these groups".to_owned());
    }
    let said = said.join("; ");
    if window.bytes.is_none() { format!("{said} (by committed offsets: who never commits is not seen)") } else { said }
}

/// What quota metrics say. How much it was is told where all of it was by this binding: else it would tell of others' streams.
fn bytes(window: &Window) -> Option<String> {
    let done = [("fetched", window.bytes.fetched), ("produced", window.bytes.produced)];
    let done = done.into_iter().filter(|(_, bytes)| *bytes > 0.0);
    let said: Vec<_> = if window.bytes_are_shared {
        done.map(|(done, _)| done.to_owned()).collect()
    } else {
        done.map(|(done, bytes)| format!("{done} about {}", size(bytes))).collect()
    };
    let caveat = if window.bytes_are_shared {
        "its principals have other bindings, too, that it may have been by"
    } else {
        "answers without records, and refusals, count, too"
    };
    (!said.is_empty()).then(|| format!("{} by quota metrics ({caveat})", said.join(" and ")))
}

/// Bytes, to three digits or so.
fn size(bytes: f64) -> String {
    let (unit, name) = match bytes {
        n if n >= 1e9 => (1e9, "GB"),
        n if n >= 1e6 => (1e6, "MB"),
        n if n >= 1e3 => (1e3, "kB"),
        _ => (1.0, "bytes"),
    };
    let of_unit = bytes / unit;
    if unit == 1.0 || of_unit >= 100.0 { format!("{of_unit:.0} {name}") } else { format!("{of_unit:.1} {name}") }
}

fn by_principals(happening: Happening, access: &Access) -> Happening {
    happening.by(ActorType::Principal, who(access))
}

/// Whose access it is. Kafka does not tell which of several it was.
fn who(access: &Access) -> String {
    match only(&access.principals) {
        Some(principal) => principal.clone(),
        None => format!("one of {}", count(as_count(access.principals.len()), "principal")),
    }
}

/// The only one of them.
fn only<T>(all: impl IntoIterator<Item = T>) -> Option<T> {
    let mut all = all.into_iter();
    all.next().filter(|_| all.next().is_none())
}

/// The first few names. That of what is beyond a bound is empty, and the first in order.
fn named<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let all: Vec<_> = names.collect();
    let known: Vec<_> = all.iter().filter(|name| !name.is_empty()).collect();
    let first: Vec<_> = known.iter().take(NAMED).map(|name| fit(name)).collect();
    let more = match (known.len().saturating_sub(NAMED), known.len() < all.len()) {
        (0, false) => return first.join(", "),
        (more, false) => format!("{more} more"),
        (_, true) => "more".to_owned(),
    };
    format!("{} and {more}", first.join(", "))
}

fn as_count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn count(n: i64, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}
