//! What the connector of a share should be: MirrorMaker 2's source connector (KIP-382), which reads as the share's one principal
//! and writes as its other one.

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt;
use serde_json::Value;

use super::strimzi;
use crate::api::{CopyTuning, CredentialType, ExternalShare, History};
use crate::domain::names::{ObjectKey, connector_name};
use crate::domain::share::copy::{kept_by, source_alias};

/// Where the files of [`super::worker`] lie in the pods of workers that Weir runs.
pub const DIRECTORY: &str = "/etc/weir";
/// The name of the configuration provider of those workers, of the class `FileConfigProvider`.
pub const PROVIDER: &str = "file";
/// In a connector's configuration: topics whose first position is set. Kafka Connect keeps what it does not know.
pub const POSITIONED: &str = "weir.positioned";

/// In a connector's configuration: patterns of the topics that it copies.
const TOPICS: &str = "topics";

/// Before the properties of those who log in: at the source, at the destination, and there as a producer.
pub const LOGINS: [&str; 3] = ["source.cluster.", "target.cluster.", "producer.override."];

/// A connector as it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Connector {
    /// Its name.
    pub name: String,
    /// Its configuration but for [`POSITIONED`].
    pub config: BTreeMap<String, String>,
    /// What it copies.
    pub topics: BTreeSet<String>,
    /// From which record on.
    pub history: History,
    /// Whether it can log in at both ends.
    pub has_login: bool,
}

/// How one end of a copy logs in, without what is secret of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Login {
    /// `host:port` pairs of the listener.
    pub bootstrap_servers: Vec<String>,
    /// Which kind of credential.
    pub kind: CredentialType,
    /// The brokers' authority.
    pub ca_pem: Option<String>,
    /// What the names of the files with the rest begin with: see [`file_of`].
    pub files: String,
    /// The name of a user with a password, where a file has it alone.
    pub user: Option<String>,
}

/// What is the same for all connectors of an engine.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// Which engine it is, of which Weir: what else goes on at its Kafka Connect is somebody else's.
    pub engine: &'a str,
    /// How copies are tuned.
    pub tuning: &'a CopyTuning,
    /// Where the workers find what is secret.
    pub secrets: Secrets<'a>,
}

/// Where workers find what is secret of a login.
#[derive(Clone, Copy, Debug)]
pub enum Secrets<'a> {
    /// In files with the properties of a Java client, by a configuration provider of the workers (KIP-297).
    Files {
        /// The provider, which reads files.
        provider: &'a str,
        /// The directory that they have the files in.
        directory: &'a str,
    },
    /// In a Secret beside the resource, by whoever reads that: see [`super::strimzi`].
    Secret(&'a str),
}

/// What the names of the files of one version of a copier's credential begin with.
pub fn files_of(uid: &str, version: u32) -> String {
    format!("{uid}-{version}")
}

/// One of these files: the properties of a Java client, or a part of what is in them.
pub fn file_of(files: &str, what: Part) -> String {
    let end = match what {
        Part::Properties => "properties",
        Part::User => "user",
        Part::Password => "password",
        Part::Certificate => "crt",
        Part::Key => "key",
        Part::Authority => "ca",
    };
    format!("{files}.{end}")
}

/// What a file has of a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it, as the properties of a Java client.
    Properties,
    /// The name of a user with a password.
    User,
    /// That password.
    Password,
    /// A certificate with its chain, in PEM.
    Certificate,
    /// Its key, in PEM.
    Key,
    /// The brokers' authority, in PEM.
    Authority,
}

/// MirrorMaker 2's source connector, among the plugins of Kafka Connect.
pub const CLASS: &str = "org.apache.kafka.connect.mirror.MirrorSourceConnector";
/// In a connector's configuration: [`Setting::engine`].
pub const ENGINE: &str = "weir.engine";

/// The connector of `share`, which copies `topics` of the cluster `source`, where both ends can log in.
pub fn connector(
    share: &ExternalShare,
    source: &str,
    setting: Setting<'_>,
    topics: &BTreeSet<String>,
    logins: Option<(&Login, &Login)>,
) -> Connector {
    let key = ObjectKey::new(share.namespace().unwrap_or_default(), share.name_any());
    let name = connector_name(&share.uid().unwrap_or_default(), source);
    let patterns: Vec<_> = topics.iter().map(|topic| pattern(topic)).collect();
    let mut config = BTreeMap::new();
    let mut set = |key: &str, value: &str| drop(config.insert(key.to_owned(), value.to_owned()));
    set("name", &name);
    set("connector.class", CLASS);
    set("tasks.max", &setting.tuning.tasks_max.to_string());
    set(TOPICS, &patterns.join(","));
    set("weir.share", &key.to_string());
    set(ENGINE, setting.engine);
    // The copy's name is the alias, the separator, and the topic's name. An alias with the separator in it would be read back as
    // another one.
    set("source.cluster.alias", source_alias(&key));
    set("replication.policy.class", "org.apache.kafka.connect.mirror.DefaultReplicationPolicy");
    set("replication.policy.separator", &format!(".{}.", key.name));
    // A topic one of whose parts is this alias would be taken for one that came from there, and be left out.
    set("target.cluster.alias", &name);
    for (key, value) in FIXED {
        set(key, value);
    }
    for (prefix, tuning) in [
        ("source.consumer.", serde_json::to_value(&setting.tuning.consumer)),
        ("producer.override.", serde_json::to_value(&setting.tuning.producer)),
    ] {
        // Structs of numbers and text: this cannot fail.
        for (name, value) in tuning.ok().as_ref().and_then(Value::as_object).into_iter().flatten() {
            set(&format!("{prefix}{}", dotted(name)), &value.as_str().map_or(value.to_string(), str::to_owned));
        }
    }
    if let Some((source, target)) = logins {
        for (prefix, login) in LOGINS.into_iter().zip([source, target, target]) {
            config.extend(match setting.secrets {
                Secrets::Files { provider, directory } => self::login(prefix, login, provider, directory),
                Secrets::Secret(name) => strimzi::login(prefix, login, name),
            });
        }
    }
    if let Secrets::Secret(_) = setting.secrets {
        config.insert(strimzi::KEPT.to_owned(), kept_by(share));
    }
    let (history, has_login) = (share.spec.history.clone(), logins.is_some());
    Connector { name, config, topics: topics.clone(), history, has_login }
}

/// The pattern of one topic, as MirrorMaker 2 takes patterns: a topic's name has no other sign that means anything there.
pub(super) fn pattern(topic: &str) -> String {
    topic.replace('.', "\\.")
}

/// The topics of a configuration whose first position is set.
pub fn positioned(config: &BTreeMap<String, String>) -> BTreeSet<String> {
    listed(config, POSITIONED)
}

/// The topics that a configuration copies, as patterns.
pub fn copied(config: &BTreeMap<String, String>) -> BTreeSet<String> {
    listed(config, TOPICS)
}

fn listed(config: &BTreeMap<String, String>, key: &str) -> BTreeSet<String> {
    let listed = config.get(key).map(String::as_str).unwrap_or_default();
    listed.split(',').filter(|topic| !topic.is_empty()).map(str::to_owned).collect()
}

/// Kafka's name of a property: with dots instead of capitals.
fn dotted(name: &str) -> String {
    let part = |c: char| if c.is_ascii_uppercase() { format!(".{}", c.to_ascii_lowercase()) } else { c.to_string() };
    name.chars().map(part).collect()
}

const BYTES: &str = "org.apache.kafka.connect.converters.ByteArrayConverter";

/// What is the same for all. Whatever could make more than these topics cross over is off: access lists, groups' offsets,
/// configuration and heartbeats.
const FIXED: [(&str, &str); 14] = [
    ("key.converter", BYTES),
    ("value.converter", BYTES),
    ("header.converter", BYTES),
    ("source.consumer.isolation.level", "read_committed"),
    ("source.consumer.auto.offset.reset", "earliest"),
    ("topics.exclude", "__.*"),
    ("refresh.topics.enabled", "true"),
    ("refresh.topics.interval.seconds", "10"),
    ("sync.topic.configs.enabled", "false"),
    ("sync.topic.acls.enabled", "false"),
    // Without them there is no topic of theirs, on either side.
    ("emit.offset-syncs.enabled", "false"),
    ("emit.heartbeats.enabled", "false"),
    ("emit.checkpoints.enabled", "false"),
    ("heartbeats.replication.enabled", "false"),
];

/// What a client needs to log in, each secret by reference to the file.
fn login(prefix: &str, login: &Login, provider: &str, directory: &str) -> BTreeMap<String, String> {
    let mut config = BTreeMap::new();
    let mut set = |key: &str, value: String| drop(config.insert(format!("{prefix}{key}"), value));
    let file = file_of(&login.files, Part::Properties);
    let from_file = |key: &str| format!("${{{provider}:{directory}/{file}:{key}}}");
    set("bootstrap.servers", login.bootstrap_servers.join(","));
    match login.kind {
        CredentialType::ScramSha512 => {
            set("security.protocol", "SASL_SSL".into());
            set("sasl.mechanism", "SCRAM-SHA-512".into());
            set("sasl.jaas.config", from_file("sasl.jaas.config"));
        }
        CredentialType::Mtls => {
            set("security.protocol", "SSL".into());
            set("ssl.keystore.type", "PEM".into());
            set("ssl.keystore.certificate.chain", from_file("ssl.keystore.certificate.chain"));
            set("ssl.keystore.key", from_file("ssl.keystore.key"));
        }
    }
    if let Some(ca) = &login.ca_pem {
        set("ssl.truststore.type", "PEM".into());
        set("ssl.truststore.certificates", ca.clone());
    }
    config
}

impl Connector {
    /// Whether it runs.
    pub fn runs(&self) -> bool {
        self.has_login && !self.topics.is_empty()
    }

    /// The same without the topics that a connector with this configuration does not copy.
    pub fn within(&self, config: &BTreeMap<String, String>) -> Self {
        let copied = copied(config);
        let topics: BTreeSet<_> =
            self.topics.iter().filter(|topic| copied.contains(&pattern(topic))).cloned().collect();
        let mut within = Self { topics, ..self.clone() };
        let patterns: Vec<_> = within.topics.iter().map(|topic| pattern(topic)).collect();
        within.config.insert(TOPICS.to_owned(), patterns.join(","));
        within
    }

    /// The configuration once the first positions of `positioned` are set.
    pub fn config_with(&self, positioned: &BTreeSet<String>) -> BTreeMap<String, String> {
        let mut config = self.config.clone();
        let positioned: Vec<_> = positioned.iter().map(String::as_str).collect();
        config.insert(POSITIONED.into(), positioned.join(","));
        config
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::{DIRECTORY, Login, Secrets, Setting, connector};
    use crate::api::CredentialType;

    #[test]
    fn a_connector_copies_its_topics_and_no_others_and_names_no_secret() {
        let share = serde_json::from_value(json!({
            "metadata": {"namespace": "payments", "name": "out", "uid": "u"},
            "spec": {"products": [], "partnerRefs": [], "pattern": "Copy", "validity": {"notAfter": "2026-12-01T00:00:00Z"}}}))
        .unwrap();
        let tuning = serde_json::from_value(json!({
            "consumer": {"maxPollRecords": 100}, "producer": {"compressionType": "lz4", "lingerMs": 5}}))
        .unwrap();
        let secrets = Secrets::Files { provider: "file", directory: DIRECTORY };
        let setting = Setting { engine: "w/shared/mm2", tuning: &tuning, secrets };
        let topics = BTreeSet::from(["payments.orders.placed".to_owned(), "payments.paid".to_owned()]);
        let login = |files: &str| Login {
            bootstrap_servers: vec!["a:9092".into(), "b:9092".into()],
            kind: CredentialType::ScramSha512,
            ca_pem: None,
            files: files.into(),
            user: None,
        };
        let connector = connector(&share, "main", setting, &topics, Some((&login("s-1"), &login("t-2"))));
        let value = |key: &str| connector.config[key].as_str();
        assert_eq!(value("topics"), "payments\\.orders\\.placed,payments\\.paid");
        assert_eq!((value("source.cluster.alias"), value("replication.policy.separator")), ("payments", ".out."));
        assert_eq!(value("source.consumer.max.poll.records"), "100");
        assert_eq!((value("producer.override.compression.type"), value("producer.override.linger.ms")), ("lz4", "5"));
        assert_eq!(value("source.cluster.bootstrap.servers"), "a:9092,b:9092");
        assert_eq!(value("source.cluster.sasl.jaas.config"), "${file:/etc/weir/s-1.properties:sasl.jaas.config}");
        for prefix in ["target.cluster.", "producer.override."] {
            let jaas = "${file:/etc/weir/t-2.properties:sasl.jaas.config}";
            assert_eq!(value(&format!("{prefix}sasl.jaas.config")), jaas);
        }
        assert_eq!((value("weir.engine"), value("tasks.max")), ("w/shared/mm2", "1"));
        assert!(connector.runs());
    }
}
