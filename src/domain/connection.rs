//! What a client is given to connect: the contents of its Secret and of the ConfigMap beside it.
//!
//! Keys follow the Service Binding Specification for Kubernetes (type `kafka`), as Quarkus and Spring read them, plus a
//! ready `client.properties` for Java and `librdkafka.conf` for C, Python, Go and .NET.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::ledger::VersionRecord;
use super::rotation::due;
use super::secret::Secret;
use crate::api::{Audience, CredentialType, Credentials, Listener, ListenerAuthentication, StreamClusterSpec};

/// Type of the Secrets that Weir writes.
pub const SECRET_TYPE: &str = "servicebinding.io/kafka";
/// Where a pod mounts the Secret by the Service Binding convention; paths in `librdkafka.conf` assume it.
pub const MOUNT_ROOT: &str = "/bindings";
/// Where a pod mounts its projected token; paths in the ConfigMap's files assume it.
pub const TOKEN_PATH: &str = "/var/run/secrets/kafka/token";

/// A credential as it is issued, which never leaves memory but for the client's Secret.
#[derive(Clone, Debug)]
pub enum Issued {
    /// A SCRAM password.
    Password(Secret),
    /// A certificate and its key, in PEM.
    Certificate {
        /// The certificate.
        certificate_pem: String,
        /// Its private key.
        key_pem: Secret,
    },
}

/// What the files of one version say.
#[derive(Clone, Debug)]
pub struct Version<'a> {
    /// Where its files lie for the client, as paths in them say.
    pub directory: &'a str,
    /// The principal, without `User:`.
    pub principal: &'a str,
    /// The version's number.
    pub version: u32,
    /// The credential.
    pub issued: &'a Issued,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When the next version is due, where that is set.
    pub rotates_at: Option<Timestamp>,
}

impl<'a> Version<'a> {
    /// The one that `record` is of, with its credential, whose files lie in `directory`.
    pub fn of(directory: &'a str, record: &'a VersionRecord, issued: &'a Issued, credentials: &Credentials) -> Self {
        Self {
            directory,
            principal: &record.principal,
            version: record.version,
            issued,
            issued_at: record.issued_at,
            rotates_at: due(credentials.type_, record, credentials),
        }
    }
}

/// The cluster's first listener for a kind of authentication: of those for this organisation's own applications, else of all.
pub fn listener(spec: &StreamClusterSpec, authentication: ListenerAuthentication) -> Option<&Listener> {
    let listeners = || spec.listeners.iter().filter(|l| l.authentication == authentication);
    listeners().find(|l| l.audience == Audience::Internal).or_else(|| listeners().next())
}

/// The cluster's first listener for a kind of authentication that partners reach.
pub fn external_listener(spec: &StreamClusterSpec, authentication: ListenerAuthentication) -> Option<&Listener> {
    spec.listeners.iter().find(|l| l.authentication == authentication && l.audience == Audience::External)
}

/// The kind of listener that a credential needs.
pub fn authentication_of(kind: CredentialType) -> ListenerAuthentication {
    match kind {
        CredentialType::ScramSha512 => ListenerAuthentication::ScramSha512,
        CredentialType::Mtls => ListenerAuthentication::Mtls,
    }
}

/// The data of a client's Secret. `ca_pem` is the brokers' authority.
pub fn secret_data(listener: &Listener, ca_pem: Option<&str>, version: &Version<'_>) -> BTreeMap<String, Secret> {
    let bootstrap = listener.bootstrap_servers.join(",");
    let mut data = BTreeMap::new();
    let mut put = |key: &str, value: &str| data.insert(key.to_owned(), Secret::new(value));
    put("type", "kafka");
    put("provider", "weir");
    put("bootstrapServers", &bootstrap);
    put("bootstrap-servers", &bootstrap);
    put("principal", version.principal);
    put("version", &version.version.to_string());
    put("issued-at", &version.issued_at.to_string());
    if let Some(at) = version.rotates_at {
        put("rotates-at", &at.to_string());
    }
    if let Some(ca) = ca_pem {
        put("ca.crt", ca);
    }
    match version.issued {
        Issued::Password(password) => {
            put("securityProtocol", "SASL_SSL");
            put("saslMechanism", "SCRAM-SHA-512");
            put("user", version.principal);
            put("username", version.principal);
            put("password", password.expose());
        }
        Issued::Certificate { certificate_pem, key_pem } => {
            put("securityProtocol", "SSL");
            put("tls.crt", certificate_pem);
            put("tls.key", key_pem.expose());
        }
    }
    put("client.properties", &java_properties(&bootstrap, ca_pem, version));
    put("librdkafka.conf", &librdkafka_conf(&bootstrap, ca_pem.is_some(), version));
    data
}

/// `sasl.jaas.config` of a Java client that logs in with a password which Weir made. Neither holds a quote or a backslash: names are DNS
/// labels, passwords are base64url.
pub fn scram_jaas(user: &str, password: &Secret) -> String {
    let module = "org.apache.kafka.common.security.scram.ScramLoginModule";
    format!("{module} required username=\"{user}\" password=\"{}\";", password.expose())
}

fn java_properties(bootstrap: &str, ca_pem: Option<&str>, version: &Version<'_>) -> String {
    let mut lines = vec![format!("bootstrap.servers={bootstrap}")];
    match version.issued {
        Issued::Password(password) => {
            lines.push("security.protocol=SASL_SSL".into());
            lines.push("sasl.mechanism=SCRAM-SHA-512".into());
            lines.push(format!("sasl.jaas.config={}", scram_jaas(version.principal, password)));
        }
        Issued::Certificate { certificate_pem, key_pem } => {
            lines.push("security.protocol=SSL".into());
            lines.push("ssl.keystore.type=PEM".into());
            lines.push(format!("ssl.keystore.certificate.chain={}", one_line(certificate_pem)));
            lines.push(format!("ssl.keystore.key={}", one_line(key_pem.expose())));
        }
    }
    lines.extend(java_trust(ca_pem));
    lines.join("\n") + "\n"
}

/// Properties of a Java client that trusts the brokers' authority; none where that is the system's to know.
pub(super) fn java_trust(ca_pem: Option<&str>) -> Vec<String> {
    ca_pem.map_or_else(Vec::new, |ca| {
        vec!["ssl.truststore.type=PEM".into(), format!("ssl.truststore.certificates={}", one_line(ca))]
    })
}

/// PEM as the value of one Java property: `\n` stands for a new line there.
fn one_line(pem: &str) -> String {
    pem.trim_end().replace('\r', "").replace('\n', "\\n")
}

fn librdkafka_conf(bootstrap: &str, has_ca: bool, version: &Version<'_>) -> String {
    let at = version.directory;
    let mut lines =
        vec![format!("# Paths assume that these files lie in {at}"), format!("bootstrap.servers={bootstrap}")];
    match version.issued {
        Issued::Password(password) => {
            lines.push("security.protocol=sasl_ssl".into());
            lines.push("sasl.mechanisms=SCRAM-SHA-512".into());
            lines.push(format!("sasl.username={}", version.principal));
            lines.push(format!("sasl.password={}", password.expose()));
        }
        Issued::Certificate { .. } => {
            lines.push("security.protocol=ssl".into());
            lines.push(format!("ssl.certificate.location={at}/tls.crt"));
            lines.push(format!("ssl.key.location={at}/tls.key"));
        }
    }
    if has_ca {
        lines.push(format!("ssl.ca.location={at}/ca.crt"));
    }
    lines.join("\n") + "\n"
}

/// What a binding's ConfigMap says of one cluster.
#[derive(Clone, Debug)]
pub struct BindingConnection<'a> {
    /// Topics, sorted.
    pub topics: Vec<&'a str>,
    /// Prefixes of groups and transactional ids, sorted.
    pub prefixes: Vec<&'a str>,
    /// The listener for ServiceAccounts and the audience that their tokens need; `None` where no subject is one.
    pub oauth: Option<(&'a Listener, &'a str)>,
    /// The brokers' authority.
    pub ca_pem: Option<&'a str>,
}

/// The data of a binding's ConfigMap. It holds no secret.
pub fn config_map_data(connection: &BindingConnection<'_>) -> BTreeMap<String, String> {
    let mut data = BTreeMap::from([
        ("topics".to_owned(), connection.topics.join("\n")),
        ("prefixes".to_owned(), connection.prefixes.join("\n")),
    ]);
    if let Some(ca) = connection.ca_pem {
        data.insert("ca.crt".into(), ca.into());
    }
    if let Some((listener, audience)) = connection.oauth {
        let bootstrap = listener.bootstrap_servers.join(",");
        data.insert("client.properties".into(), java_oauth(&bootstrap, connection.ca_pem));
        data.insert("bootstrapServers".into(), bootstrap);
        data.insert("securityProtocol".into(), "SASL_SSL".into());
        data.insert("saslMechanism".into(), "OAUTHBEARER".into());
        data.insert("audience".into(), audience.into());
        data.insert("tokenPath".into(), TOKEN_PATH.into());
    }
    data
}

fn java_oauth(bootstrap: &str, ca_pem: Option<&str>) -> String {
    let mut lines = vec![
        format!("# Mount a projected ServiceAccount token at {TOKEN_PATH}, and start the JVM with"),
        format!("# -Dorg.apache.kafka.sasl.oauthbearer.allowed.urls=file://{TOKEN_PATH}"),
        format!("bootstrap.servers={bootstrap}"),
        "security.protocol=SASL_SSL".into(),
        "sasl.mechanism=OAUTHBEARER".into(),
        "sasl.login.callback.handler.class=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler".into(),
        "sasl.oauthbearer.jwt.retriever.class=org.apache.kafka.common.security.oauthbearer.FileJwtRetriever".into(),
        format!("sasl.oauthbearer.token.endpoint.url=file://{TOKEN_PATH}"),
        "sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;".into(),
    ];
    lines.extend(java_trust(ca_pem));
    lines.join("\n") + "\n"
}
