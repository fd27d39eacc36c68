//! Copies by cluster links: from the link that a share should have and the one that the destination has, to the next step.
//!
//! The destination's brokers fetch as the share's principal at the source; mirror topics are theirs, read-only, with the offsets and
//! the partitions of the source. What a mirror topic is called is the link's prefix and the name of its source, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use super::connector::{Login, Part, file_of};
use crate::api::{CredentialType, History, HistoryStart};
use crate::domain::connection::scram_jaas;
use crate::domain::secret::Secret;

/// A link as it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// Its configuration but for who it is at the source.
    pub config: BTreeMap<String, String>,
    /// Who it is there; `None` while it has no credential.
    pub login: Option<BTreeMap<String, Secret>>,
    /// Its mirror topics, each with its source.
    pub mirrors: BTreeMap<String, String>,
}

/// A link as the destination has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObservedLink {
    /// What the destination says is wrong with it.
    pub failure: Option<String>,
    /// Its configuration, as far as that is told: nothing that is secret is.
    pub config: BTreeMap<String, String>,
    /// The login that it was given last, as [`fingerprint`] has it, as far as Weir knows.
    pub given: Option<String>,
    /// Its mirror topics.
    pub mirrors: BTreeMap<String, ObservedMirror>,
}

/// A mirror topic.
#[derive(Clone, Debug, PartialEq)]
pub struct ObservedMirror {
    /// The topic that it mirrors.
    pub source: String,
    /// How it is.
    pub state: MirrorState,
    /// What is said to be wrong with it.
    pub failure: Option<String>,
}

/// How a mirror topic is (`mirror_status` of Confluent's REST API v3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MirrorState {
    /// It fetches.
    Active,
    /// Somebody asked it to stand still.
    Paused,
    /// It is an ordinary topic by now.
    Stopped,
    /// It becomes one.
    Stopping,
    /// It fetches nothing for what is wrong with its link, or with its source, and goes on by itself.
    Waiting,
    /// It fetches nothing, and does not go on.
    Failed,
    /// It is on its way, or in a state that is not known here.
    Pending,
}

impl MirrorState {
    /// By the REST API's word.
    pub fn of(word: &str) -> Self {
        match word {
            "ACTIVE" => Self::Active,
            "PAUSED" => Self::Paused,
            "STOPPED" => Self::Stopped,
            "PENDING_STOPPED" => Self::Stopping,
            "LINK_FAILED" | "LINK_PAUSED" | "SOURCE_UNAVAILABLE" => Self::Waiting,
            "FAILED" => Self::Failed,
            _ => Self::Pending,
        }
    }
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum LinkStep {
    /// Make it, without a mirror topic.
    Create,
    /// Give it its configuration and its login.
    Configure,
    /// Have it mirror these: each copy with its source.
    Mirror(BTreeMap<String, String>),
    /// Have these mirror topics stand still.
    Pause(BTreeSet<String>),
    /// Have these go on.
    Resume(BTreeSet<String>),
    /// Make ordinary topics of these, also where the source does not answer any more.
    Failover(BTreeSet<String>),
    /// Delete it; by force where its mirror topics could not be let go.
    Remove {
        /// Whatever there still is.
        by_force: bool,
    },
}

/// What else is known where steps are chosen.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// Topics that are at the destination.
    pub there: &'a BTreeSet<String>,
    /// Mirror topics of which it is not on record yet that they are the share's.
    pub unrecorded: bool,
    /// It was to go long ago.
    pub is_late: bool,
}

impl LinkStep {
    /// Whether it has more flow than before, and may take as long as the source takes to answer.
    pub fn widens(&self) -> bool {
        matches!(self, Self::Create | Self::Mirror(_) | Self::Resume(_))
    }

    /// Whether it has less flow than before.
    pub fn narrows(&self) -> bool {
        matches!(self, Self::Pause(_) | Self::Failover(_) | Self::Remove { .. })
    }

    /// Of what `flows`, each topic to its copy, the topics that begin to flow with it.
    pub fn copied(&self, flows: &BTreeMap<String, String>) -> BTreeSet<String> {
        let sources_of = |begins: &dyn Fn(&String) -> bool| {
            flows.iter().filter(|(_, copy)| begins(copy)).map(|(source, _)| source.clone()).collect()
        };
        match self {
            Self::Create => sources_of(&|_| true),
            Self::Mirror(topics) => topics.values().cloned().collect(),
            Self::Resume(copies) => sources_of(&|copy| copies.contains(copy)),
            Self::Configure | Self::Pause(_) | Self::Failover(_) | Self::Remove { .. } => BTreeSet::new(),
        }
    }

    /// In a word, for logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Configure => "configure",
            Self::Mirror(_) => "mirror",
            Self::Pause(_) => "pause",
            Self::Resume(_) => "resume",
            Self::Failover(_) => "failover",
            Self::Remove { .. } => "remove",
        }
    }
}

/// Whatever could make more than the mirror topics cross over is off: access lists, groups' offsets, topics that nobody named.
const FIXED: [(&str, &str); 4] = [
    ("acl.sync.enable", "false"),
    ("auto.create.mirror.topics.enable", "false"),
    ("consumer.offset.sync.enable", "false"),
    ("link.mode", "DESTINATION"),
];
/// The prefix of all its mirror topics, which never changes.
const PREFIX: &str = "cluster.link.prefix";
/// Where mirror topics begin that are made from now on.
const BEGIN: &str = "mirror.start.offset.spec";

/// The configuration of a link whose mirror topics' names begin so, and which fetches what `history` says.
pub fn config(prefix: &str, history: &History) -> BTreeMap<String, String> {
    let begin = match (history.from, &history.since) {
        (HistoryStart::All, _) => "earliest".to_owned(),
        (HistoryStart::Since, Some(since)) => since.0.to_string(),
        (HistoryStart::FromNow | HistoryStart::Since, _) => "latest".to_owned(),
    };
    let all = FIXED.into_iter().chain([(PREFIX, prefix), (BEGIN, &begin)]);
    all.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// What a login may have; what it has not is taken out where another one had it.
const LOGIN: [&str; 7] = [
    "sasl.jaas.config",
    "sasl.mechanism",
    "ssl.keystore.certificate.chain",
    "ssl.keystore.key",
    "ssl.keystore.type",
    "ssl.truststore.certificates",
    "ssl.truststore.type",
];

/// The keys of a login that this one does not have.
pub fn absent(login: &BTreeMap<String, Secret>) -> BTreeSet<&'static str> {
    LOGIN.into_iter().filter(|key| !login.contains_key(*key)).collect()
}

/// A login as a link has it, with the files that have what is secret of it.
pub fn login(login: &Login, files: &BTreeMap<String, Secret>) -> Option<BTreeMap<String, Secret>> {
    let file = |part: Part| files.get(&file_of(&login.files, part)).cloned();
    let mut config = BTreeMap::new();
    let mut set = |key: &str, value: Secret| drop(config.insert(key.to_owned(), value));
    set("bootstrap.servers", Secret::new(login.bootstrap_servers.join(",")));
    match login.kind {
        CredentialType::ScramSha512 => {
            let (user, password) = (file(Part::User)?, file(Part::Password)?);
            set("security.protocol", Secret::new("SASL_SSL"));
            set("sasl.mechanism", Secret::new("SCRAM-SHA-512"));
            set("sasl.jaas.config", Secret::new(scram_jaas(user.expose(), &password)));
        }
        CredentialType::Mtls => {
            set("security.protocol", Secret::new("SSL"));
            set("ssl.keystore.type", Secret::new("PEM"));
            set("ssl.keystore.certificate.chain", file(Part::Certificate)?);
            set("ssl.keystore.key", file(Part::Key)?);
        }
    }
    if let Some(ca) = &login.ca_pem {
        set("ssl.truststore.type", Secret::new("PEM"));
        set("ssl.truststore.certificates", Secret::new(ca));
    }
    Some(config)
}

/// Tells one login from another and says nothing of it: SHA-256, in hexadecimal.
pub fn fingerprint(login: &BTreeMap<String, Secret>) -> String {
    let mut hash = Sha256::new();
    for (key, value) in login {
        for part in [key.as_str(), value.expose()] {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
    }
    hex::encode(hash.finalize())
}

impl ObservedLink {
    /// Whether all of these mirror topics fetch.
    pub fn is_running(&self, mirrors: &BTreeMap<String, String>) -> bool {
        let active = |copy| self.mirrors.get(copy).is_some_and(|m: &ObservedMirror| m.state == MirrorState::Active);
        self.failure.is_none() && !mirrors.is_empty() && mirrors.keys().all(active)
    }

    fn in_state(&self, is_so: impl Fn(MirrorState) -> bool) -> BTreeSet<String> {
        self.mirrors.iter().filter(|(_, m)| is_so(m.state)).map(|(copy, _)| copy.clone()).collect()
    }
}

/// What to do next, all of it: none waits for another one to succeed. What narrows comes first.
pub fn steps(desired: Option<&Link>, observed: Option<&ObservedLink>, around: Around<'_>) -> Vec<LinkStep> {
    match (desired, observed) {
        (None, None) => Vec::new(),
        (None, Some(observed)) => leaving(observed, around).into_iter().collect(),
        (Some(desired), None) => {
            let is_due = desired.login.is_some() && !desired.mirrors.is_empty();
            is_due.then_some(LinkStep::Create).into_iter().collect()
        }
        (Some(desired), Some(observed)) => living(desired, observed, around),
    }
}

/// The end of a link: its topics become ordinary ones, and then it goes.
fn leaving(observed: &ObservedLink, around: Around<'_>) -> Option<LinkStep> {
    if around.unrecorded {
        return None;
    }
    if around.is_late {
        return Some(LinkStep::Remove { by_force: true });
    }
    let lives = observed.in_state(|s| !matches!(s, MirrorState::Stopped | MirrorState::Stopping));
    if !lives.is_empty() {
        return Some(LinkStep::Failover(lives));
    }
    // A link that is deleted while a topic leaves it may take that with it.
    let leaves = !observed.in_state(|s| s == MirrorState::Stopping).is_empty();
    (!leaves).then_some(LinkStep::Remove { by_force: false })
}

fn living(desired: &Link, observed: &ObservedLink, around: Around<'_>) -> Vec<LinkStep> {
    let wanted = |copy: &String| desired.login.is_some() && desired.mirrors.contains_key(copy);
    let mut steps = Vec::new();
    let mut surplus =
        observed.in_state(|s| matches!(s, MirrorState::Active | MirrorState::Waiting | MirrorState::Pending));
    surplus.retain(|copy| !wanted(copy));
    if !surplus.is_empty() {
        steps.push(LinkStep::Pause(surplus));
    }
    let Some(login) = &desired.login else { return steps };
    let is_as_given = observed.given.as_ref() == Some(&fingerprint(login)) && observed.failure.is_none();
    if !is_as_given || differs(&desired.config, &observed.config) || is_elsewhere(login, &observed.config) {
        steps.push(LinkStep::Configure);
    }
    let mut paused = observed.in_state(|s| s == MirrorState::Paused);
    paused.retain(wanted);
    if !paused.is_empty() {
        steps.push(LinkStep::Resume(paused));
    }
    // Nothing can be mirrored into a topic that is there, whosever it is. One that left the link may be deleted, and made anew.
    let is_its_own = |copy: &String| observed.mirrors.get(copy).is_some_and(|m| m.state != MirrorState::Stopped);
    let missing = desired.mirrors.iter().filter(|(copy, _)| !is_its_own(copy) && !around.there.contains(*copy));
    let missing: BTreeMap<_, _> = missing.map(|(copy, source)| (copy.clone(), source.clone())).collect();
    if !missing.is_empty() {
        steps.push(LinkStep::Mirror(missing));
    }
    steps
}

/// Whether somebody turned on what is to be off. How a moment is written, and what is not told, is no difference.
fn differs(desired: &BTreeMap<String, String>, observed: &BTreeMap<String, String>) -> bool {
    let is_other = |key: &str| match (desired.get(key), observed.get(key)) {
        (Some(wanted), Some(seen)) => !wanted.eq_ignore_ascii_case(seen),
        _ => false,
    };
    FIXED.iter().any(|(key, _)| is_other(key))
}

/// Whether somebody had it go to other brokers, or in another way. What is secret is not told.
fn is_elsewhere(login: &BTreeMap<String, Secret>, observed: &BTreeMap<String, String>) -> bool {
    ["bootstrap.servers", "security.protocol", "sasl.mechanism"].iter().any(|key| {
        let (wanted, seen) = (login.get(*key).map(Secret::expose), observed.get(*key).map(String::as_str));
        wanted.is_some() && seen.is_some() && wanted != seen
    })
}

/// What of a configuration can be given to a link that is there.
pub fn changeable(config: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let fixed = |key: &String| key == PREFIX || key == "link.mode";
    config.iter().filter(|(key, _)| !fixed(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::{
        Around, Link, LinkStep, MirrorState, ObservedLink, ObservedMirror, changeable, config, fingerprint, login,
        steps,
    };
    use crate::api::{CredentialType, History, HistoryStart};
    use crate::domain::replication::connector::Login;
    use crate::domain::secret::Secret;

    fn secrets(password: &str) -> BTreeMap<String, Secret> {
        let file = |end: &str, text: &str| (format!("u-1.{end}"), Secret::new(text));
        let files = BTreeMap::from([file("user", "~xs.1-1"), file("password", password)]);
        let of = Login {
            bootstrap_servers: vec!["a:1".into(), "b:1".into()],
            kind: CredentialType::ScramSha512,
            ca_pem: Some("CA".into()),
            files: "u-1".into(),
            user: Some("~xs.1-1".into()),
        };
        login(&of, &files).unwrap()
    }

    fn desired(topics: &[&str]) -> Link {
        let mirrors = topics.iter().map(|t| (format!("XS.1.{t}"), (*t).to_owned())).collect();
        Link { config: config("XS.1.", &History::default()), login: Some(secrets("s3cret")), mirrors }
    }

    fn observed(mirrors: &[(&str, MirrorState)]) -> ObservedLink {
        let mirror = |(topic, state): &(&str, MirrorState)| {
            (format!("XS.1.{topic}"), ObservedMirror { source: (*topic).into(), state: *state, failure: None })
        };
        ObservedLink {
            config: config("XS.1.", &History::default()),
            given: Some(fingerprint(&secrets("s3cret"))),
            mirrors: mirrors.iter().map(mirror).collect(),
            ..ObservedLink::default()
        }
    }

    fn around(there: &BTreeSet<String>) -> Around<'_> {
        Around { there, unrecorded: false, is_late: false }
    }

    fn next(desired: Option<&Link>, observed: Option<&ObservedLink>) -> Vec<LinkStep> {
        let there = observed.iter().flat_map(|o| o.mirrors.keys().cloned()).collect();
        steps(desired, observed, around(&there))
    }

    fn copies(topics: &[&str]) -> BTreeSet<String> {
        topics.iter().map(|t| format!("XS.1.{t}")).collect()
    }

    #[test]
    fn a_link_is_made_then_mirrors_what_is_missing_and_rests() {
        let desired = desired(&["a", "b"]);
        assert_eq!(next(Some(&desired), None), [LinkStep::Create]);
        let only_b = BTreeMap::from([("XS.1.b".to_owned(), "b".to_owned())]);
        let has_a = observed(&[("a", MirrorState::Active)]);
        assert_eq!(next(Some(&desired), Some(&has_a)), [LinkStep::Mirror(only_b)]);
        let all = observed(&[("a", MirrorState::Active), ("b", MirrorState::Pending)]);
        assert_eq!(next(Some(&desired), Some(&all)), []);
        assert!(!all.is_running(&desired.mirrors));
        let all = observed(&[("a", MirrorState::Active), ("b", MirrorState::Active)]);
        assert!(all.is_running(&desired.mirrors));
    }

    #[test]
    fn what_begins_to_flow_is_known_before_it_does() {
        let flows: BTreeMap<_, _> = ["a", "b"].map(|t| (t.to_owned(), format!("XS.1.{t}"))).into();
        let mirror = LinkStep::Mirror(BTreeMap::from([("XS.1.b".to_owned(), "b".to_owned())]));
        let topics = |step: &LinkStep| step.copied(&flows).into_iter().collect::<String>();
        for (step, begins) in [(LinkStep::Create, "ab"), (mirror, "b"), (LinkStep::Resume(copies(&["a"])), "a")] {
            assert!(step.widens() && !step.narrows() && topics(&step) == begins, "{step:?}");
        }
        let gone = LinkStep::Remove { by_force: true };
        for step in [LinkStep::Pause(copies(&["a"])), LinkStep::Failover(copies(&["a"])), gone] {
            assert!(step.narrows() && !step.widens() && topics(&step).is_empty(), "{step:?}");
        }
        assert!(
            !LinkStep::Configure.widens() && !LinkStep::Configure.narrows(),
            "another login is no more and no less"
        );
    }

    #[test]
    fn nothing_is_made_without_a_login_or_without_anything_to_copy() {
        assert_eq!(next(Some(&desired(&[])), None), []);
        let without = Link { login: None, ..desired(&["a"]) };
        assert_eq!(next(Some(&without), None), []);
        let active = observed(&[("a", MirrorState::Active)]);
        assert_eq!(next(Some(&without), Some(&active)), [LinkStep::Pause(copies(&["a"]))]);
    }

    #[test]
    fn what_is_not_to_flow_any_more_stands_still_and_holds_nothing_up() {
        let three = observed(&[("a", MirrorState::Paused), ("b", MirrorState::Waiting), ("c", MirrorState::Failed)]);
        let narrowed = Link { login: Some(secrets("another")), ..desired(&["a"]) };
        let [b, a] = ["b", "a"].map(|topic| copies(&[topic]));
        assert_eq!(
            next(Some(&narrowed), Some(&three)),
            [LinkStep::Pause(b), LinkStep::Configure, LinkStep::Resume(a)],
            "what failed does not flow"
        );
        let paused = observed(&[("a", MirrorState::Paused)]);
        assert_eq!(next(Some(&desired(&[])), Some(&paused)), []);
    }

    #[test]
    fn another_login_and_what_somebody_turned_on_are_set_right() {
        let rotated = Link { login: Some(secrets("another")), ..desired(&["a"]) };
        let mut seen = observed(&[("a", MirrorState::Active)]);
        assert_eq!(next(Some(&rotated), Some(&seen)), [LinkStep::Configure]);
        let given = rotated.login.as_ref().map(fingerprint);
        assert_eq!(next(Some(&rotated), Some(&ObservedLink { given, ..seen.clone() })), []);
        seen.config.insert("acl.sync.enable".into(), "true".into());
        assert_eq!(next(Some(&desired(&["a"])), Some(&seen)), [LinkStep::Configure]);
        seen.config.remove("acl.sync.enable");
        seen.config.insert("bootstrap.servers".into(), "elsewhere:1".into());
        assert_eq!(next(Some(&desired(&["a"])), Some(&seen)), [LinkStep::Configure]);
        seen.config.remove("bootstrap.servers");
        let broken = ObservedLink { failure: Some("AUTHENTICATION_ERROR".into()), ..seen.clone() };
        assert_eq!(next(Some(&desired(&["a"])), Some(&broken)), [LinkStep::Configure]);
        seen.config.insert("link.mode".into(), "destination".into());
        assert_eq!(next(Some(&desired(&["a"])), Some(&seen)), [], "what is not told is no difference");
        assert!(changeable(&seen.config).keys().all(|key| key != "link.mode" && key != "cluster.link.prefix"));
    }

    #[test]
    fn a_link_that_is_over_lets_its_topics_go_before_it_is_deleted() {
        let seen = observed(&[("a", MirrorState::Failed), ("b", MirrorState::Stopping), ("c", MirrorState::Paused)]);
        assert_eq!(next(None, Some(&seen)), [LinkStep::Failover(copies(&["a", "c"]))]);
        assert_eq!(next(None, Some(&observed(&[("a", MirrorState::Stopping)]))), []);
        let gone = LinkStep::Remove { by_force: false };
        assert_eq!(next(None, Some(&observed(&[("a", MirrorState::Stopped)]))), [gone]);
        assert_eq!(next(None, None), []);
    }

    #[test]
    fn a_link_goes_by_force_in_the_end_but_not_before_its_topics_are_on_record() {
        let (nothing, seen) = (BTreeSet::new(), observed(&[("a", MirrorState::Stopping)]));
        let late = Around { is_late: true, ..around(&nothing) };
        assert_eq!(steps(None, Some(&seen), late), [LinkStep::Remove { by_force: true }]);
        assert_eq!(steps(None, Some(&seen), Around { unrecorded: true, ..late }), []);
    }

    #[test]
    fn nothing_is_mirrored_into_a_topic_that_is_there() {
        let there = copies(&["a"]);
        assert_eq!(steps(Some(&desired(&["a"])), Some(&observed(&[])), around(&there)), []);
        let left = observed(&[("a", MirrorState::Stopped)]);
        assert_eq!(steps(Some(&desired(&["a"])), Some(&left), around(&there)), []);
        let nothing = BTreeSet::new();
        let anew = steps(Some(&desired(&["a"])), Some(&left), around(&nothing));
        assert!(matches!(anew.as_slice(), [LinkStep::Mirror(_)]), "somebody deleted it: {anew:?}");
    }

    #[test]
    fn history_is_where_mirror_topics_begin() {
        let begin = |history: &History| config("XS.1.", history)["mirror.start.offset.spec"].clone();
        assert_eq!(begin(&History::default()), "latest");
        assert_eq!(begin(&History { from: HistoryStart::All, since: None }), "earliest");
        let since = Some(Time("2026-01-01T00:00:00Z".parse().unwrap()));
        assert_eq!(begin(&History { from: HistoryStart::Since, since }), "2026-01-01T00:00:00Z");
    }

    #[test]
    fn a_login_has_what_a_java_client_needs() {
        let login = secrets("s3cret");
        let value = |key: &str| login[key].expose();
        assert_eq!((value("bootstrap.servers"), value("security.protocol")), ("a:1,b:1", "SASL_SSL"));
        let jaas = "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"~xs.1-1\" password=\"s3cret\";";
        assert_eq!((value("sasl.jaas.config"), value("ssl.truststore.certificates")), (jaas, "CA"));
        assert_ne!(fingerprint(&login), fingerprint(&secrets("another")));
        assert_eq!(fingerprint(&login).len(), 64);
    }
}
