//! Names: of objects, principals, topics and prefixes.

use std::fmt;
use std::ops::RangeInclusive;

use sha2::{Digest, Sha256};

use crate::api::CredentialType;

/// An object of a namespace. A namespace is part of every reference.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ObjectKey {
    /// The object `name` in `namespace`.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A replication engine of the cluster that it copies to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EngineKey {
    /// Name of the StreamCluster.
    pub cluster: String,
    /// The engine's name there.
    pub name: String,
}

/// A principal on one cluster, without `User:`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PrincipalKey {
    /// Name of the StreamCluster.
    pub cluster: String,
    /// The principal's name.
    pub principal: String,
}

/// The principal of one version of a StreamClient's credential. It is never used twice: it carries the object's UID and
/// the version.
///
/// A SCRAM user is `<namespace>.<name>~<uid8>-<version>`. A certificate's is its whole distinguished name as RFC 2253
/// writes it, which is what brokers use by default; each attribute stays within the 64 characters of X.520. That of a guest, a
/// copier or a worker is `~xs.<uid16>-<version>`, or that as the only attribute: it tells other organisations no names.
pub fn issued_principal(kind: CredentialType, client: &ObjectKey, uid: &str, version: u32) -> String {
    let ObjectKey { namespace, name } = client;
    let uid8 = uid8(uid);
    if is_internal(name) {
        let guest = format!("{SHARED}{}-{version}", uid16(uid));
        return match kind {
            CredentialType::ScramSha512 => guest,
            CredentialType::Mtls => format!("CN={guest}"),
        };
    }
    match kind {
        CredentialType::ScramSha512 => format!("{namespace}.{name}~{uid8}-{version}"),
        CredentialType::Mtls => format!("CN=~{uid8}-{version},OU={name},O={namespace}"),
    }
}

/// Before the names of everything that a share gives to a partner. No object of Kubernetes can have such a name, and no prefix of
/// a tenancy begins so.
const SHARED: &str = "~xs.";

/// The guest that `partner` is by `share`: an identity like that of a StreamClient, under a name that no object can have.
pub fn guest_key(share: &ObjectKey, partner: &str) -> ObjectKey {
    // Both names are DNS labels, so that the dot between them is the only one.
    ObjectKey::new(&share.namespace, format!("{SHARED}{}.{partner}", share.name))
}

/// The share and the partner that a guest is of, or [`SOURCE`], [`TARGET`], [`MIRROR`], [`KEPT`]; `None` for the key of anything else.
pub fn share_of_guest(key: &ObjectKey) -> Option<(ObjectKey, &str)> {
    let (share, partner) = key.name.strip_prefix(SHARED)?.split_once('.')?;
    Some((ObjectKey::new(&key.namespace, share), partner))
}

/// In the place of a partner: who reads at the source what a share copies.
pub const SOURCE: &str = "~source";
/// In the place of a partner: who writes the copies.
pub const TARGET: &str = "~target";
/// In the place of a partner: the product that a share's copies are.
pub const MIRROR: &str = "~mirror";

/// In the place of a partner: the product of what an engine keeps for a share alone at the destination.
pub const KEPT: &str = "~kept";

/// Before the names of engines' workers.
const WORKER: &str = "~worker.";

/// The identity of an engine's workers on the cluster that they copy to. Both names are DNS labels.
pub fn worker_key(engine: &EngineKey) -> ObjectKey {
    ObjectKey::new("", format!("{WORKER}{}.{}", engine.cluster, engine.name))
}

/// The engine whose workers have this identity.
pub fn engine_of_worker(key: &ObjectKey) -> Option<EngineKey> {
    let (cluster, name) = key.name.strip_prefix(WORKER)?.rsplit_once('.')?;
    Some(EngineKey { cluster: cluster.to_owned(), name: name.to_owned() })
}

/// Whether an object's name is that of Weir's own, and of none that anybody made: those have no such names.
pub fn is_internal(name: &str) -> bool {
    name.starts_with('~')
}

/// The prefix of everything that the workers of an engine keep on Kafka: their group, and the topics of Kafka Connect.
pub fn worker_prefix(uid: &str) -> String {
    format!("__weir_connect.{}.", uid16(uid))
}

/// The name of a share's connector, of the share's UID, that reads from the cluster `source`: positions are that cluster's.
pub fn connector_name(share_uid: &str, source: &str) -> String {
    let hash = hex::encode(&Sha256::digest(source)[..4]);
    format!("{}{hash}", connector_prefix(share_uid))
}

/// Before the names of all connectors of a share.
pub fn connector_prefix(share_uid: &str) -> String {
    format!("{CONNECTOR}{share_uid}-")
}

/// Before the names of all connectors of Weir's.
pub const CONNECTOR: &str = "weir-xs-";

/// Before the names of a share's copies: MirrorMaker 2's alias of the source, as the share has it, and the dot that follows.
pub fn mirror_prefix(share: &ObjectKey) -> String {
    format!("{}.{}.", share.namespace, share.name)
}

/// Before the names of a share's copies where a cluster link makes them, by the share's UID. Cluster Linking takes twelve characters,
/// and no namespace has capitals in its name.
pub fn link_prefix(share_uid: &str) -> String {
    format!("XS.{}.", uid8(share_uid))
}

/// The name of what an engine keeps for a share alone at the destination: of its group, and before the names of its topics.
pub fn kept_name(share: &ObjectKey, uid: &str) -> String {
    format!("{}{}", mirror_prefix(share), uid16(uid))
}

/// One of those topics. No copy has such a name: MirrorMaker 2 passes over topics whose names end so.
pub fn kept_topic(name: &str, what: &str) -> String {
    format!("{name}-{what}-internal")
}

/// The name of the resource that has a connector, shorter than that: Strimzi puts more behind it.
pub fn resource_name(connector: &str) -> String {
    format!("{CONNECTOR}{}", hex::encode(&Sha256::digest(connector)[..8]))
}

/// The UID of a guest: of one share and one partner, both by their UIDs, and the same each time.
pub fn guest_uid(share_uid: &str, partner_uid: &str) -> String {
    let hash = hex::encode(Sha256::digest(format!("{share_uid}/{partner_uid}")));
    format!("{}-{}-{}-{}-{}", &hash[..8], &hash[8..12], &hash[12..16], &hash[16..20], &hash[20..32])
}

/// The prefix of a guest's consumer groups: the same for all its versions, and no other guest's.
pub fn guest_prefix(uid: &str) -> String {
    format!("{SHARED}{}.", uid16(uid))
}

/// The first sixteen hexadecimal digits of a UID. Where nothing else is in a name, eight would be too few.
fn uid16(uid: &str) -> String {
    uid.chars().filter(char::is_ascii_hexdigit).take(16).collect()
}

/// The name of all objects of an engine's workers, of the workers' UID.
pub fn workers_name(uid: &str) -> String {
    format!("weir-connect-{}", uid16(uid))
}

/// The first eight hexadecimal digits of a UID.
pub fn uid8(uid: &str) -> String {
    uid.chars().filter(char::is_ascii_hexdigit).take(8).collect()
}

/// Whether only Weir gives out principals of this form. Anything with a `~` counts, so that doubt is on the safe side.
pub fn is_reserved_for_weir(principal: &str) -> bool {
    principal.contains('~')
}

/// Whether `principal` is exactly of a form of [`issued_principal`]: only then may all that it has be removed by its name.
pub fn has_issued_form(principal: &str) -> bool {
    let labels = |a: &str, b: &str| is_dns_label(a) && is_dns_label(b);
    let version_of = |text: &str, digits: RangeInclusive<usize>| {
        text.split_once('-').is_some_and(|(uid, version)| {
            digits.contains(&uid.len())
                && uid.chars().all(|c| c.is_ascii_hexdigit())
                && version.parse::<u32>().is_ok_and(|v| v.to_string() == version)
        })
    };
    let version = |text: &str| version_of(text, 1..=8);
    if let Some(guest) = principal.strip_prefix("CN=").unwrap_or(principal).strip_prefix(SHARED) {
        return version_of(guest, 16..=16);
    }
    match principal.strip_prefix("CN=~") {
        Some(rest) => rest.split_once(",OU=").is_some_and(|(v, rest)| {
            version(v) && rest.split_once(",O=").is_some_and(|(name, namespace)| labels(namespace, name))
        }),
        None => principal.split_once('~').is_some_and(|(client, v)| {
            version(v) && client.split_once('.').is_some_and(|(namespace, name)| labels(namespace, name))
        }),
    }
}

/// The StreamClient that a principal was issued to, by its form; a share's, and a worker's, have none.
pub fn client_of(principal: &str) -> Option<ObjectKey> {
    if !has_issued_form(principal) {
        return None;
    }
    if let Some((_, rest)) = principal.strip_prefix("CN=~").and_then(|rest| rest.split_once(",OU=")) {
        return rest.split_once(",O=").map(|(name, namespace)| ObjectKey::new(namespace, name));
    }
    let (namespace, name) = principal.split_once('~')?.0.split_once('.')?;
    Some(ObjectKey::new(namespace, name))
}

/// The ServiceAccount that brokers know as `principal`, if it is one.
pub fn service_account_of(principal: &str) -> Option<ObjectKey> {
    let (namespace, name) = principal.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    Some(ObjectKey::new(namespace, name))
}

/// The principal that brokers take from a ServiceAccount's token (its claim `sub`).
pub fn service_account_principal(account: &ObjectKey) -> String {
    format!("system:serviceaccount:{}:{}", account.namespace, account.name)
}

/// Whether `name` is a label as of RFC 1123: safe as one part of a dotted name.
pub fn is_dns_label(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !name.is_empty() && name.len() <= 63 && name.chars().all(inner) && !name.starts_with('-') && !name.ends_with('-')
}

/// Why Kafka would not take `topic` as a name (`org.apache.kafka.common.internals.Topic`), or `None` if it would.
pub fn topic_name_fault(topic: &str) -> Option<String> {
    if topic.is_empty() || topic == "." || topic == ".." {
        return Some("is empty or consists of dots".into());
    }
    if topic.len() > 249 {
        return Some(format!("has {} characters, and Kafka takes 249", topic.len()));
    }
    let bad = topic.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')))?;
    Some(format!("contains {bad:?}; Kafka takes letters, digits, '.', '_' and '-'"))
}

#[cfg(test)]
mod tests {
    use super::{
        ObjectKey, guest_key, guest_prefix, guest_uid, has_issued_form, is_dns_label, is_reserved_for_weir,
        issued_principal, share_of_guest, topic_name_fault,
    };
    use crate::api::CredentialType;

    #[test]
    fn principals_carry_namespace_name_uid_and_version() {
        let client = ObjectKey::new("fraud", "scorer");
        let uid = "1a2b3c4d-0000-4000-8000-000000000000";
        assert_eq!(issued_principal(CredentialType::ScramSha512, &client, uid, 3), "fraud.scorer~1a2b3c4d-3");
        assert_eq!(issued_principal(CredentialType::Mtls, &client, uid, 3), "CN=~1a2b3c4d-3,OU=scorer,O=fraud");
    }

    #[test]
    fn guests_have_names_that_nothing_else_has() {
        let share = ObjectKey::new("payments", "orders-out");
        let guest = guest_key(&share, "acme");
        assert_eq!(share_of_guest(&guest), Some((share, "acme")));
        assert_eq!(share_of_guest(&ObjectKey::new("payments", "orders-out.acme")), None);
        let uid = guest_uid("u1", "u2");
        assert_eq!(uid, guest_uid("u1", "u2"));
        assert_ne!(uid, guest_uid("u1", "u3"));
        let scram = issued_principal(CredentialType::ScramSha512, &guest, &uid, 3);
        assert_eq!(scram, format!("{}-3", guest_prefix(&uid).trim_end_matches('.')));
        let certificate = issued_principal(CredentialType::Mtls, &guest, &uid, 3);
        assert_eq!(certificate, format!("CN={scram}"));
        assert!([&scram, &certificate].iter().all(|p| has_issued_form(p) && is_reserved_for_weir(p)));
        assert!(!has_issued_form("~xs.1a2b3c4d-1") && !has_issued_form("CN=~xs.0123456789abcdef-1,O=x"));
    }

    #[test]
    fn only_what_weir_could_have_issued_has_the_issued_form() {
        let client = ObjectKey::new("fraud", "scorer");
        for kind in [CredentialType::ScramSha512, CredentialType::Mtls] {
            assert!(has_issued_form(&issued_principal(kind, &client, "1a2b3c4d-0000-4000-8000-000000000000", 12)));
        }
        for other in
            ["svc~legacy", "a.b~", "a.b~1a2b-01", "a.b.c~1a2b-1", "CN=~1a-1,OU=a", "a.b~1a2b-1~2", "alice", "~"]
        {
            assert!(!has_issued_form(other), "{other}");
        }
    }

    #[test]
    fn dns_labels_have_no_dots() {
        assert!(is_dns_label("a-1"));
        for bad in ["", "a.b", "-a", "a-", "A", &"a".repeat(64)] {
            assert!(!is_dns_label(bad), "{bad}");
        }
    }

    #[test]
    fn kafka_topic_names_are_checked_as_kafka_checks_them() {
        assert_eq!(topic_name_fault("payments.orders.placed"), None);
        assert!(topic_name_fault(&"x".repeat(250)).is_some_and(|m| m.contains("250")));
        assert!(topic_name_fault("a b").is_some());
        assert!(topic_name_fault("..").is_some());
    }
}
