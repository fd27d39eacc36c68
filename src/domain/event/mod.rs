//! SecurityEvents: what is said of what happened. One for a change of a binding, never one for an ACL.

mod catalogue;
mod cloudevent;
mod ocsf;
mod widening;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::ResourceExt;
use sha2::{Digest, Sha256};

pub use self::catalogue::{CATALOGUE, Class, EventType, Finding, event_type};
pub use self::cloudevent::{CONTENT_TYPE, attributes, cloudevent};
pub use self::ocsf::{VERSION, class_address, name_of, ocsf};
pub use self::widening::{Gain, in_parts};
use super::approval::requesters;
use super::conditions::truncated;
use crate::api::{
    ACTION_LABEL, Action, Actor, ActorType, CONFIRMED_BY_ANNOTATION, ClientRequest, EventSource, EventWindow,
    OBJECT_LABEL, ObjectRef, Outcome, SEVERITY_LABEL, SecurityEventSpec, Severity,
};

/// How many principals, and entries, an event names where it is shown.
const MOST_SHOWN: usize = 20;
/// How many who made a request an event names.
const MOST_REQUESTERS: usize = 50;
/// How much room an event has for the names of those who made a request, as JSON, in bytes.
const ROOM_OF_REQUESTERS: usize = 20_000;
/// The same for principals, and for entries. In a record they stand twice, and brokers take 1 MB where nobody said otherwise.
const ROOM: usize = 200_000;
/// The longest sentence, or entry, of an event, in bytes. A record whose parts had no bounds could be too large for the audit topic.
const LONGEST: usize = 2048;
/// The longest name, in bytes.
const LONGEST_NAME: usize = 512;

/// What happened, before it has a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Happening {
    /// Who did it.
    pub actor: Actor,
    /// What was done.
    pub action: Action,
    /// To what.
    pub object: ObjectRef,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, in a word.
    pub reason: String,
    /// Why, in a sentence.
    pub message: String,
    /// Where Weir has it from.
    pub source: EventSource,
    /// On which cluster.
    pub cluster: Option<String>,
    /// Whose access it is.
    pub principals: Vec<String>,
    /// How many there are, where not all are known.
    pub principal_count: Option<i64>,
    /// Which entries it is about.
    pub entries: Vec<String>,
    /// How many there are, where not all are known.
    pub entry_count: Option<i64>,
    /// Who made the request that it is about.
    pub requested_by: Vec<String>,
    /// UID of what ties it to other events.
    pub correlation: Option<String>,
    /// What a client asked a broker for.
    pub client: Option<ClientRequest>,
    /// How often it happened.
    pub count: i64,
    /// Within which time.
    pub window: Option<EventWindow>,
    /// Namespaces that it concerns beside the object's own: they see it, too.
    pub concerns: Vec<String>,
}

impl Happening {
    /// What Weir did to `object`, once.
    pub fn new(action: Action, object: ObjectRef, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            actor: weir(),
            action,
            correlation: object.uid.clone(),
            object,
            outcome: Outcome::Success,
            reason: reason.into(),
            message: message.into(),
            source: EventSource::Weir,
            cluster: None,
            principals: Vec::new(),
            principal_count: None,
            entries: Vec::new(),
            entry_count: None,
            requested_by: Vec::new(),
            client: None,
            count: 1,
            window: None,
            concerns: Vec::new(),
        }
    }

    /// The same by somebody else.
    pub fn by(self, type_: ActorType, name: impl Into<String>) -> Self {
        Self { actor: Actor { name: name.into(), type_ }, ..self }
    }

    /// The same by who asked for it with `request`, or changed it last, as far as admission knew them.
    pub fn by_requester_of(self, request: &impl ResourceExt) -> Self {
        match requesters(request).last() {
            Some(name) => self.by(ActorType::User, name),
            None => self,
        }
    }

    /// The same by who confirmed it on `object`, as far as admission knew them.
    pub fn confirmed_on(self, object: &impl ResourceExt) -> Self {
        match object.annotations().get(CONFIRMED_BY_ANNOTATION) {
            Some(name) if !name.is_empty() => self.by(ActorType::User, name),
            _ => self,
        }
    }

    /// The same, ended otherwise.
    pub fn ended(self, outcome: Outcome) -> Self {
        Self { outcome, ..self }
    }

    /// The same on a cluster.
    pub fn on(self, cluster: impl Into<String>) -> Self {
        Self { cluster: Some(cluster.into()), ..self }
    }

    /// The same about the access of these.
    pub fn of(self, principals: Vec<String>) -> Self {
        Self { principals, ..self }
    }

    /// The same, asked for by these.
    pub fn asked_by<'a>(self, requesters: impl Iterator<Item = &'a str>) -> Self {
        Self { requested_by: requesters.map(str::to_owned).collect(), ..self }
    }

    /// The same, which these namespaces see, too.
    pub fn concerning(self, namespaces: impl IntoIterator<Item = String>) -> Self {
        Self { concerns: namespaces.into_iter().collect(), ..self }
    }
}

/// Who did what Weir does by itself.
pub fn weir() -> Actor {
    Actor { name: "weir".into(), type_: ActorType::Weir }
}

/// The event of a happening. `key` says which one it is: the same one is told once, also after a crash.
pub fn event(happening: Happening, key: &str, now: Timestamp) -> SecurityEventSpec {
    let mut hash = Sha256::new();
    hash.update(format!("{:?}/{:?}/{key}", happening.action, happening.object));
    let digest = hash.finalize();
    let mut uid = [0; 16];
    uid.copy_from_slice(&digest[..16]);
    let name = |text| truncated(text, LONGEST_NAME);
    let requesters = happening.requested_by.into_iter().take(MOST_REQUESTERS).map(name).collect();
    let principals = happening.principals.into_iter().map(name).collect();
    let principals = Named::of(principals, happening.principal_count);
    let entries = happening.entries.into_iter().map(|entry| truncated(entry, LONGEST)).collect();
    let entries = Named::of(entries, happening.entry_count);
    let object = ObjectRef { name: name(happening.object.name), ..happening.object };
    let actor = Actor { name: name(happening.actor.name), ..happening.actor };
    SecurityEventSpec {
        uid: uuid(uid),
        time: happening.window.as_ref().map_or_else(|| MicroTime(micros(now)), |w| w.end.clone()),
        actor,
        severity: severity(happening.action, happening.outcome),
        action: happening.action,
        object,
        outcome: happening.outcome,
        reason: happening.reason,
        message: truncated(happening.message, LONGEST),
        source: happening.source,
        cluster: happening.cluster,
        principals: principals.texts,
        principal_count: principals.of,
        entries: entries.texts,
        entry_count: entries.of,
        requested_by: fitting(requesters, ROOM_OF_REQUESTERS),
        correlation: happening.correlation,
        client: happening.client,
        count: happening.count,
        window: happening.window,
        concerns: happening.concerns,
    }
}

/// The event as it is shown, and kept where there is no room for all of it: it names the first only, and says how many there are.
pub fn in_short(event: &SecurityEventSpec) -> SecurityEventSpec {
    let principals = Named::first(&event.principals, event.principal_count);
    let entries = Named::first(&event.entries, event.entry_count);
    SecurityEventSpec {
        principals: principals.texts,
        principal_count: principals.of,
        entries: entries.texts,
        entry_count: entries.of,
        ..event.clone()
    }
}

/// The first of several texts.
struct Named {
    texts: Vec<String>,
    /// How many there are, where these are not all.
    of: Option<i64>,
}

impl Named {
    /// As many as an event has room for; `of` so many, where these are not all.
    fn of(texts: Vec<String>, of: Option<i64>) -> Self {
        let all = of.unwrap_or(count(texts.len()));
        let texts = fitting(texts, ROOM);
        Self { of: (count(texts.len()) < all).then_some(all), texts }
    }

    /// As many as are shown, of those that an event names.
    fn first(texts: &[String], of: Option<i64>) -> Self {
        let cut = texts.len() > MOST_SHOWN;
        Self { texts: texts.iter().take(MOST_SHOWN).cloned().collect(), of: of.or(cut.then(|| count(texts.len()))) }
    }
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// The first texts, as many as fit into so many bytes of JSON.
fn fitting(mut texts: Vec<String>, room: usize) -> Vec<String> {
    let mut taken = 0;
    let fits = |text: &&String| {
        taken += length_of(text);
        taken <= room
    };
    texts.truncate(texts.iter().take_while(fits).count());
    texts
}

/// How much room a text takes in JSON, in bytes.
fn length_of(text: &str) -> usize {
    serde_json::to_string(text).map_or(text.len() * 6, |json| json.len() + 1)
}

/// As precise as it is told.
pub fn micros(time: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(time.as_microsecond()).unwrap_or(time)
}

/// The longest value of a label.
const LONGEST_LABEL: usize = 63;

/// The labels that SecurityEvents are found by.
pub fn labels(event: &SecurityEventSpec) -> BTreeMap<String, String> {
    let fit = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '-' };
    let object = format!("{}.{}", event.object.kind, event.object.name);
    let object: String = object.chars().map(fit).take(LONGEST_LABEL).collect();
    let labels = [
        (SEVERITY_LABEL, format!("{:?}", event.severity)),
        (ACTION_LABEL, format!("{:?}", event.action)),
        (OBJECT_LABEL, object.trim_matches(['.', '-', '_']).to_owned()),
    ];
    labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// A UUID of version 8 (RFC 9562, section 5.8) from 16 bytes.
pub fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let text = hex::encode(bytes);
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}

/// Where an event in a namespace comes from. What others can cause without end pushes nothing out that they cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Weir tells it of what is the namespace's own.
    Own,
    /// Weir tells it of what is another namespace's, and concerns this one.
    Copied,
    /// Brokers told it, or callers who were turned away caused it, or it sums up what there was too much of.
    Brokers,
    /// It is of how access is used.
    Used,
}

/// The origin of an event that stands in `namespace`. What has no namespace is Weir's, whose own is `weir_s`.
pub fn origin(event: &SecurityEventSpec, namespace: &str, weir_s: &str) -> Origin {
    let home = event.object.namespace.as_deref().unwrap_or(weir_s);
    match event.source {
        EventSource::Weir if event.action == Action::EventsSummarised => Origin::Brokers,
        EventSource::Weir if home == namespace => Origin::Own,
        EventSource::Weir => Origin::Copied,
        EventSource::BrokerLog | EventSource::ConfluentAuditLog | EventSource::Endpoint => Origin::Brokers,
        EventSource::ConsumerGroups | EventSource::QuotaMetrics => Origin::Used,
    }
}

/// How many events of one origin a namespace keeps as resources.
pub const KEPT: usize = 1000;
/// How long one is kept at most.
pub const KEPT_FOR: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Which events of one namespace go: those that are too old, and the oldest of too many. Each is its time and its name.
pub fn past_retention(mut events: Vec<(Timestamp, String)>, now: Timestamp) -> Vec<String> {
    events.sort_by(|a, b| b.cmp(a));
    let kept = |at: &Timestamp| now.duration_since(*at) <= KEPT_FOR;
    let places = events.into_iter().enumerate();
    places.filter(|(place, (at, _))| *place >= KEPT || !kept(at)).map(|(_, (_, name))| name).collect()
}

/// How grave an event is.
pub fn severity(action: Action, outcome: Outcome) -> Severity {
    let usual = event_type(action).severity;
    // A refusal, or a failed login, is a failure already.
    let told = matches!(action, Action::RequestRefused | Action::AccessDenied | Action::AuthenticationFailed);
    if outcome == Outcome::Failure && !told { usual.max(Severity::High) } else { usual }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::{CATALOGUE, Happening, KEPT, KEPT_FOR, Origin, event, in_short, labels, origin, past_retention};
    use crate::api::{Action, ActorType, EventSource, OBJECT_LABEL, ObjectRef, SecurityEventSpec};
    use crate::domain::audit::chain::Head;

    #[test]
    fn what_others_cause_is_counted_apart() {
        let of = |namespace: Option<&str>, source| {
            let namespace = namespace.map(str::to_owned);
            let object = ObjectRef { kind: "RoleBinding".into(), namespace, name: "b".into(), uid: None };
            let happening = Happening { source, ..Happening::new(Action::RequestRefused, object, "r", "m") };
            origin(&event(happening, "k", Timestamp::UNIX_EPOCH), "payments", "weir-system")
        };
        assert_eq!(of(Some("payments"), EventSource::Weir), Origin::Own);
        assert_eq!(of(Some("fraud"), EventSource::Weir), Origin::Copied);
        assert_eq!(of(None, EventSource::Weir), Origin::Copied);
        assert_eq!(of(Some("payments"), EventSource::BrokerLog), Origin::Brokers);
        let object = ObjectRef { kind: "StreamCluster".into(), namespace: None, name: "prod".into(), uid: None };
        let told = event(Happening::new(Action::DriftFound, object, "r", "m"), "k", Timestamp::UNIX_EPOCH);
        assert_eq!(origin(&told, "weir-system", "weir-system"), Origin::Own);
        let summary = SecurityEventSpec { action: Action::EventsSummarised, ..told };
        assert_eq!(origin(&summary, "weir-system", "weir-system"), Origin::Brokers);
    }

    #[test]
    fn whatever_somebody_writes_into_their_objects_a_record_has_room_in_the_topic() {
        let long = "\u{1}".repeat(100_000);
        let many: Vec<_> = (0..1000).map(|n| format!("{n}{long}")).collect();
        let object =
            ObjectRef { kind: "RoleBinding".into(), namespace: Some("payments".into()), name: long.clone(), uid: None };
        for action in CATALOGUE.iter().map(|row| row.action) {
            let happening = Happening {
                entries: many.clone(),
                requested_by: many.clone(),
                ..Happening::new(action, object.clone(), "r", &long).of(many.clone()).by(ActorType::User, &long)
            };
            let told = event(happening, "k", Timestamp::UNIX_EPOCH);
            assert!(told.message.ends_with('…'));
            assert_eq!((told.entry_count, told.principal_count), (Some(1000), Some(1000)));
            let (record, _) = Head::new("c").follow(&told);
            let headers: usize = record.headers.iter().map(|(_, value)| value.len()).sum();
            let length = record.value.len() + record.key.len() + headers;
            // Brokers, and the client, take 1 MB.
            assert!(length < 900_000, "{action:?}: {length}");
        }
    }

    #[test]
    fn on_record_all_are_named_and_where_it_is_shown_the_first_and_how_many() {
        let many =
            |n: usize| (0..n).map(|n| format!("Allow User:app Read Topic:Literal:{n} from *")).collect::<Vec<_>>();
        let object = ObjectRef { kind: "RoleBinding".into(), namespace: Some("n".into()), name: "b".into(), uid: None };
        let of = |n| {
            let happening = Happening::new(Action::AccessGranted, object.clone(), "r", "m").of(many(n));
            event(Happening { entries: many(n), ..happening }, "k", Timestamp::UNIX_EPOCH)
        };
        let all = of(1000);
        assert_eq!((all.entries.len(), all.entry_count, all.principal_count), (1000, None, None));
        let shown = in_short(&all);
        assert_eq!((&shown.entries, shown.entry_count), (&many(20), Some(1000)));
        assert_eq!((&shown.principals, shown.principal_count), (&many(20), Some(1000)));
        assert_eq!(in_short(&shown), shown);
        assert_eq!(in_short(&of(20)), of(20));
    }

    #[test]
    fn a_label_begins_and_ends_as_a_label_must() {
        let label = |kind: &str, name: &str| {
            let object = ObjectRef { kind: kind.into(), namespace: None, name: name.into(), uid: None };
            let happening = Happening::new(Action::AccessDenied, object, "NotAuthorized", "");
            labels(&event(happening, "", Timestamp::UNIX_EPOCH)).remove(OBJECT_LABEL).unwrap()
        };
        assert_eq!(label("_", "_"), "");
        assert_eq!(label("_", "a."), "a");
        assert_eq!(label("Topic", "__a b__"), "Topic.__a-b");
        let long = label("Topic", &format!("{}_", "x".repeat(56)));
        assert!(long.len() <= 63 && long.ends_with('x'), "{long}");
    }

    #[test]
    fn old_events_go_and_the_oldest_of_too_many() {
        let now = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(10_000);
        let at = |ago: i64| now - SignedDuration::from_secs(ago);
        let fresh: Vec<_> = (0..KEPT + 2).map(|n| (at(n as i64), format!("e{n}"))).collect();
        let mut gone = past_retention(fresh, now);
        gone.sort();
        assert_eq!(gone, [format!("e{KEPT}"), format!("e{}", KEPT + 1)]);
        let old = vec![(now - KEPT_FOR - SignedDuration::from_secs(1), "old".to_owned()), (at(1), "new".to_owned())];
        assert_eq!(past_retention(old, now), ["old"]);
    }
}
