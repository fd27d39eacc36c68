//! What Weir records on the governed cluster before it acts: its memory of what it made there.
//!
//! Keys and values are text: `installation`, `grant/<binding uid>/<principal>`, `client/<client uid>` and
//! `topic/<topic>`, each with a JSON value.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::acl::{AclEntry, Operation, PatternType, Permission, ResourceType};
use super::names::ObjectKey;
use crate::api::CredentialType;

/// Key of [`Installation`].
pub const INSTALLATION_KEY: &str = "installation";

/// Which installation of Weir governs the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installation {
    /// UID of the namespace that Weir runs in.
    pub id: String,
    /// That namespace's name, for people.
    pub namespace: String,
    /// UID of the StreamCluster that it governs the cluster by.
    #[serde(default, rename = "streamCluster", skip_serializing_if = "Option::is_none")]
    pub stream_cluster: Option<String>,
}

/// What one binding was given on one principal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrantRecord {
    /// The binding's namespace.
    pub namespace: String,
    /// The binding's name.
    pub name: String,
    /// Entries that may exist because of it.
    #[serde(with = "entries")]
    pub entries: BTreeSet<AclEntry>,
    /// Quotas that may exist because of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", serialize_with = "whole_numbers")]
    pub quotas: BTreeMap<String, f64>,
    /// UID of a ServiceAccount of another namespace when it was first granted; kept as long as the binding exists, also
    /// when the access is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_uid: Option<String>,
}

/// Every version of a StreamClient's credential that the cluster may know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientRecord {
    /// The client's namespace.
    pub namespace: String,
    /// The client's name.
    pub name: String,
    /// Which kind of credential.
    pub kind: CredentialType,
    /// The highest version ever issued, also when it is gone.
    pub last_version: u32,
    /// Versions, oldest first.
    pub versions: Vec<VersionRecord>,
    /// The value of the annotation `weir.dev/rotate` that was last obeyed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotate: Option<String>,
    /// When versions were issued of late that were not due; see [`super::rotation::next_turn`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recent: Vec<Timestamp>,
}

/// One version of a credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionRecord {
    /// Its number, from 1.
    pub version: u32,
    /// Its principal, without `User:`.
    pub principal: String,
    /// SHA-256 of the password (256 random bits) or certificate, in hexadecimal.
    pub fingerprint: String,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// It is, or was, in the client's Secret.
    pub published: bool,
    /// When it stops working; set when a newer one is published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retires_at: Option<Timestamp>,
    /// When a certificate ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// It is being removed: it has no access any more, and is forgotten once the brokers have forgotten it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retired: bool,
}

/// A topic that Weir made, or took over, for a product; or that somebody else is to make for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicRecord {
    /// The product's UID.
    pub product_uid: String,
    /// The product's namespace.
    pub namespace: String,
    /// The product's name.
    pub name: String,
    /// Somebody else is to make it, and was not seen to have: a topic of that name may be a stranger's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_promised: bool,
}

/// Key of a [`GrantRecord`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GrantKey {
    /// UID of the binding.
    pub binding_uid: String,
    /// The principal, without `User:`.
    pub principal: String,
}

/// The whole ledger in memory. Changed by [`Ledger::apply`] only.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ledger {
    /// Who governs the cluster.
    pub installation: Option<Installation>,
    /// By principal, then binding UID.
    pub grants: BTreeMap<String, BTreeMap<String, GrantRecord>>,
    /// By client UID.
    pub clients: BTreeMap<String, ClientRecord>,
    /// By topic.
    pub topics: BTreeMap<String, TopicRecord>,
    /// By binding UID: the principals whose records still hold access.
    holders: BTreeMap<String, BTreeSet<String>>,
}

/// One change of the ledger.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Claim the cluster.
    Installation(Installation),
    /// Record a grant, or forget it.
    Grant(GrantKey, Option<GrantRecord>),
    /// Record a client, or forget it.
    Client(String, Option<ClientRecord>),
    /// Record a topic, or forget it.
    Topic(String, Option<TopicRecord>),
}

/// A record that this version cannot read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to read ledger record {key:?}: {why}")]
pub struct UnreadableRecord {
    /// Its key.
    pub key: String,
    /// What is wrong.
    pub why: String,
}

impl Ledger {
    /// Reads every record.
    ///
    /// # Errors
    /// The first record that cannot be read: a newer Weir may have written it, so nothing may be decided without it.
    pub fn read(records: &BTreeMap<String, String>) -> Result<Self, UnreadableRecord> {
        let mut ledger = Self::default();
        for (key, value) in records {
            let change = parse(key, value).map_err(|why| UnreadableRecord { key: key.clone(), why })?;
            ledger.apply(change);
        }
        Ok(ledger)
    }

    /// Takes a change that was committed.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Installation(installation) => self.installation = Some(installation),
            Change::Grant(key, Some(record)) => {
                self.set_holder(&key, record.holds_access());
                self.grants.entry(key.principal).or_default().insert(key.binding_uid, record);
            }
            Change::Grant(key, None) => {
                self.set_holder(&key, false);
                if let Some(of_principal) = self.grants.get_mut(&key.principal) {
                    of_principal.remove(&key.binding_uid);
                    if of_principal.is_empty() {
                        self.grants.remove(&key.principal);
                    }
                }
            }
            Change::Client(uid, record) => set(&mut self.clients, uid, record),
            Change::Topic(topic, record) => set(&mut self.topics, topic, record),
        }
    }

    /// Whether any access recorded still stems from the binding.
    pub fn has_binding(&self, uid: &str) -> bool {
        self.holders.contains_key(uid)
    }

    /// By binding UID, the principals for which some access of it is recorded.
    pub fn holders(&self) -> &BTreeMap<String, BTreeSet<String>> {
        &self.holders
    }

    fn set_holder(&mut self, key: &GrantKey, holds: bool) {
        if holds {
            self.holders.entry(key.binding_uid.clone()).or_default().insert(key.principal.clone());
        } else if let Some(principals) = self.holders.get_mut(&key.binding_uid) {
            principals.remove(&key.principal);
            if principals.is_empty() {
                self.holders.remove(&key.binding_uid);
            }
        }
    }
}

fn set<V>(map: &mut BTreeMap<String, V>, key: String, value: Option<V>) {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}

fn parse(key: &str, value: &str) -> Result<Change, String> {
    let json = |e: serde_json::Error| e.to_string();
    match key.split_once('/') {
        None if key == INSTALLATION_KEY => Ok(Change::Installation(serde_json::from_str(value).map_err(json)?)),
        Some(("grant", rest)) => {
            let (uid, principal) = rest.split_once('/').ok_or("its key lacks a principal")?;
            let key = GrantKey { binding_uid: uid.into(), principal: principal.into() };
            let mut record: GrantRecord = serde_json::from_str(value).map_err(json)?;
            let kafka_principal: Arc<str> = format!("User:{principal}").into();
            record.entries =
                record.entries.into_iter().map(|e| AclEntry { principal: kafka_principal.clone(), ..e }).collect();
            Ok(Change::Grant(key, Some(record)))
        }
        Some(("client", uid)) => Ok(Change::Client(uid.into(), Some(serde_json::from_str(value).map_err(json)?))),
        Some(("topic", topic)) => Ok(Change::Topic(topic.into(), Some(serde_json::from_str(value).map_err(json)?))),
        _ => Err("its kind is unknown to this version of Weir".into()),
    }
}

impl Change {
    /// The record's key and its new value; `None` removes it.
    pub fn to_record(&self) -> (String, Option<String>) {
        // Serialising these types cannot fail: they are structs with string keys.
        fn json<T: Serialize>(value: &T) -> String {
            serde_json::to_string(value).unwrap_or_default()
        }
        match self {
            Self::Installation(i) => (INSTALLATION_KEY.into(), Some(json(i))),
            Self::Grant(key, record) => {
                (format!("grant/{}/{}", key.binding_uid, key.principal), record.as_ref().map(json))
            }
            Self::Client(uid, record) => (format!("client/{uid}"), record.as_ref().map(json)),
            Self::Topic(topic, record) => (format!("topic/{topic}"), record.as_ref().map(json)),
        }
    }
}

impl GrantRecord {
    /// Whether it stands for any access; one that does not only remembers whom it was for.
    pub fn holds_access(&self) -> bool {
        !self.entries.is_empty() || !self.quotas.is_empty()
    }
}

impl ClientRecord {
    /// The version in the Secret: the newest one that was published and is not retiring.
    pub fn current(&self) -> Option<&VersionRecord> {
        self.versions.iter().rev().find(|v| v.published && !v.retired)
    }

    /// A version on its way to the Secret.
    pub fn issuing(&self) -> Option<&VersionRecord> {
        self.versions.iter().rev().find(|v| !v.published && !v.retired)
    }

    /// The client that it is about.
    pub fn key(&self) -> ObjectKey {
        ObjectKey::new(&self.namespace, &self.name)
    }
}

/// Quotas are whole numbers; written with a point, serde_json would not always read the same number back.
fn whole_numbers<S: serde::Serializer>(quotas: &BTreeMap<String, f64>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(quotas.iter().map(|(key, value)| (key, *value as i64)))
}

/// Entries as `Topic:Literal:Read:name`. The principal is in the key; the host is `*` and the permission `Allow`, as in all
/// that Weir makes.
mod entries {
    use super::{AclEntry, Arc, BTreeSet, Operation, PatternType, Permission, ResourceType};
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    pub fn serialize<S: Serializer>(entries: &BTreeSet<AclEntry>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(
            entries.iter().map(|e| format!("{}:{}:{}:{}", e.resource_type, e.pattern_type, e.operation, e.resource)),
        )
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<AclEntry>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts.iter().map(|t| parse(t).ok_or_else(|| D::Error::custom(format!("entry {t:?} is not known")))).collect()
    }

    fn parse(text: &str) -> Option<AclEntry> {
        let mut parts = text.splitn(4, ':');
        Some(AclEntry {
            principal: Arc::from(""),
            resource_type: ResourceType::from_name(parts.next()?)?,
            pattern_type: PatternType::from_name(parts.next()?)?,
            operation: Operation::from_name(parts.next()?)?,
            permission: Permission::Allow,
            host: Arc::from("*"),
            resource: Arc::from(parts.next()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::{Strategy, any, prop, prop_oneof, proptest};
    use proptest::sample::select;
    use proptest::test_runner::Config;

    use super::{Change, GrantKey, GrantRecord, Installation, Ledger};
    use crate::domain::acl::{AclEntry, Operation, PatternType, ResourceType};
    use crate::domain::testing::{client_record, topic_record};

    fn change() -> impl Strategy<Value = Change> {
        let entry = (select(ResourceType::ALL), select(PatternType::ALL), select(Operation::ALL), "[a-z.:/_*-]{1,6}");
        let quotas = prop::collection::btree_map("[a-z_]{1,4}", any::<i64>().prop_map(|n| n as f64), 0..3);
        let grant =
            (0..3u8, "[a-zA-Z~=,:/. é-]{1,8}", prop::collection::vec(entry, 0..4), quotas, any::<Option<bool>>());
        let grant = grant.prop_map(|(uid, principal, entries, quotas, keep)| {
            let entry = |(resource_type, pattern_type, operation, resource): (_, _, _, String)| {
                AclEntry::allow(&principal, operation, resource_type, pattern_type, &resource)
            };
            let record = GrantRecord {
                namespace: "fraud".into(),
                name: "orders".into(),
                entries: entries.into_iter().map(entry).collect(),
                quotas,
                subject_uid: keep.and_then(|k| k.then(|| "subject".to_owned())),
            };
            Change::Grant(GrantKey { binding_uid: uid.to_string(), principal }, keep.map(|_| record))
        });
        prop_oneof![
            4 => grant,
            1 => "[a-z]{1,3}".prop_map(|id| Change::Installation(Installation { id, namespace: "weir".into(), stream_cluster: None })),
            1 => (1..4u32, any::<bool>()).prop_map(|(v, retired)| client_record("fraud/x", &[(v, retired)])),
            1 => "[a-z.]{1,4}".prop_map(|topic| topic_record(&topic, "payments/orders")),
            1 => "[a-z.]{1,4}".prop_map(|topic| Change::Topic(topic, None)),
        ]
    }

    proptest! {
        #![proptest_config(Config { cases: 256, failure_persistence: None, ..Config::default() })]

        #[test]
        fn what_is_written_is_read_back(changes in prop::collection::vec(change(), 0..12)) {
            let mut expected = Ledger::default();
            let mut records = BTreeMap::new();
            for change in changes {
                let (key, value) = change.to_record();
                match value {
                    Some(value) => records.insert(key, value),
                    None => records.remove(&key),
                };
                expected.apply(change);
            }
            assert_eq!(Ledger::read(&records).unwrap(), expected);
        }
    }

    #[test]
    fn a_binding_is_in_the_ledger_while_any_principal_has_access_by_it() {
        let grant = |principal: &str, quota: Option<f64>| {
            let record = quota.map(|quota| GrantRecord {
                namespace: "fraud".into(),
                name: "orders".into(),
                entries: Default::default(),
                quotas: BTreeMap::from([("consumer_byte_rate".to_owned(), quota)]),
                subject_uid: None,
            });
            Change::Grant(GrantKey { binding_uid: "u".into(), principal: principal.into() }, record)
        };
        let mut ledger = Ledger::default();
        for (change, has) in [
            (grant("a", Some(1.0)), true),
            (grant("b", Some(1.0)), true),
            (grant("a", None), true),
            (grant("b", None), false),
        ] {
            ledger.apply(change);
            assert_eq!(ledger.has_binding("u"), has);
        }
    }

    #[test]
    fn a_record_of_an_unknown_kind_stops_the_reader() {
        let records = BTreeMap::from([("future/x".to_owned(), "{}".to_owned())]);
        assert_eq!(Ledger::read(&records).unwrap_err().key, "future/x");
    }
}
