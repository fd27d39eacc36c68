//! A Kafka in a namespace of its own: the objects that its brokers are made of.
//! The lab's own is one; a test may start another beside it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::command::{read, render};
use super::facts::Lab;
use super::images;
use super::kubernetes::ISSUER;
use super::paths::INSIDE;
use super::pki::{self, INTAKE, pair};
use super::test_kafka::OAUTH_ADMIN;

/// The audience of the tokens that Kafka accepts.
pub const AUDIENCE: &str = "kafka";

/// What tells one Kafka from another. All have the listeners, users and rules of
/// `e2e/kafka/server.properties`, and authorities in common.
#[derive(Clone, Debug)]
pub struct KafkaCluster {
    /// Where its objects are; also in its brokers' names.
    pub namespace: String,
    /// How many brokers, each also a controller.
    pub replicas: usize,
    /// The cluster id: 16 bytes in URL-safe Base64 without padding.
    pub id: String,
    /// The password of `admin` and `plain-admin`.
    pub password: String,
    /// The keys of tokens that it accepts, as a JWK set.
    pub jwks: String,
    /// Broker properties beside, or instead of, those of all.
    pub properties: Vec<(&'static str, &'static str)>,
    /// With which token its brokers ship refusals of clients to Weir's intake, as StreamCluster `main`, if they do.
    pub intake_token: Option<String>,
}

/// What brokers prove themselves with, and whom they believe: PEM.
#[derive(Clone, Debug)]
pub struct BrokerTls {
    broker: String,
    ca: String,
    clients_ca: String,
}

impl BrokerTls {
    /// With this certificate and key, and the authorities of the lab in `state`.
    pub fn new(state: &Path, cert: &str, key: &str) -> Result<Self> {
        Ok(Self {
            broker: format!("{key}{cert}"),
            ca: read(&pair(state, "kafka-ca").cert)?,
            clients_ca: read(&pair(state, "clients-ca").cert)?,
        })
    }
}

impl KafkaCluster {
    /// One broker beside the lab's own Kafka, with the same users, and an id that its namespace tells.
    pub fn beside(lab: &Lab, namespace: &str, jwks: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            replicas: 1,
            id: URL_SAFE_NO_PAD.encode(&Sha256::digest(namespace)[..16]),
            password: lab.kafka.admin.password.clone(),
            jwks: jwks.to_owned(),
            properties: Vec::new(),
            intake_token: None,
        }
    }

    /// Bootstrap servers of the listener on `port`; `e2e/README.md` has them all.
    pub fn bootstrap(&self, port: u16) -> String {
        format!("bootstrap.{}.svc.cluster.local:{port}", self.namespace)
    }

    /// Where the brokers' data lies, in the state directory `state`.
    pub fn data(&self, state: &Path) -> PathBuf {
        state.join("kafka/data").join(&self.namespace)
    }

    /// The names that the brokers answer to.
    pub fn names(&self) -> Vec<String> {
        let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let brokers = (0..self.replicas).map(|n| format!("kafka-{n}.kafka"));
        for host in brokers.chain(["bootstrap".to_owned()]) {
            for suffix in [".svc.cluster.local", ".svc", ""] {
                names.push(format!("{host}.{}{suffix}", self.namespace));
            }
        }
        names
    }

    /// All its objects, with a new certificate, as YAML for `kubectl apply`.
    pub fn manifest_with_new_certificate(&self, lab: &Lab) -> Result<String> {
        let (cert, key) = pki::brokers(&lab.state, self.names())?;
        self.manifest(&BrokerTls::new(&lab.state, &cert, &key)?)
    }

    /// All its objects, as YAML for `kubectl apply`.
    pub fn manifest(&self, tls: &BrokerTls) -> Result<String> {
        let given = [
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}}),
            self.configuration(),
            self.secret(
                "kafka-tls",
                &json!({"broker.pem": tls.broker, "ca.pem": tls.ca, "clients-ca.pem": tls.clients_ca}),
            ),
            self.secret("kafka-admin", &self.environment()),
        ];
        let (replicas, data) = (self.replicas.to_string(), self.data(Path::new(INSIDE)).display().to_string());
        let values =
            [("IMAGE", images::KAFKA), ("NAMESPACE", &self.namespace), ("REPLICAS", &replicas), ("DATA", &data)];
        let mut text = String::new();
        for object in given {
            text += &serde_json::to_string(&object).context("failed to write an object of Kafka's")?;
            text += "\n---\n";
        }
        Ok(text + &render(include_str!("../../manifests/kafka.yaml"), &values))
    }

    /// What brokers get as their environment.
    fn environment(&self) -> Value {
        let mut environment = json!({"CLUSTER_ID": self.id, "ADMIN_PASSWORD": self.password});
        if let Some(token) = &self.intake_token {
            environment["INTAKE_URL"] = json!(format!("https://{INTAKE}/v1/clusters/main/logs"));
            environment["INTAKE_TOKEN"] = json!(token);
        }
        environment
    }

    fn configuration(&self) -> Value {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "kafka-config", "namespace": self.namespace},
            "data": {
                "server.properties": self.server_properties(),
                "log4j2.properties": include_str!("../../kafka/log4j2.properties"),
                "log4j2-shipping.properties": include_str!("../../kafka/log4j2-shipping.properties"),
                "jmx.yaml": include_str!("../../kafka/jmx.yaml"),
                "java.security": include_str!("../../kafka/java.security"),
                "start.sh": include_str!("../../kafka/start.sh"),
                "jwks.json": self.jwks,
            },
        })
    }

    fn server_properties(&self) -> String {
        let voter = |n: usize| format!("{n}@kafka-{n}.kafka.{}.svc.cluster.local:9090", self.namespace);
        let voters: Vec<_> = (0..self.replicas).map(voter).collect();
        let more: Vec<_> = self.properties.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let values = [
            ("NAMESPACE", self.namespace.as_str()),
            ("VOTERS", &voters.join(",")),
            ("REPLICAS", &self.replicas.to_string()),
            ("IN_SYNC", &self.replicas.div_ceil(2).to_string()),
            ("AUDIENCE", AUDIENCE),
            ("ISSUER", ISSUER),
            ("OAUTH_ADMIN", OAUTH_ADMIN),
            ("MORE", &more.join("\n")),
        ];
        render(include_str!("../../kafka/server.properties"), &values)
    }

    fn secret(&self, name: &str, data: &Value) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": name, "namespace": self.namespace},
            "stringData": data,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::KafkaCluster;

    fn cluster(replicas: usize) -> KafkaCluster {
        let text = String::new;
        let properties = vec![("authorizer.class.name", "")];
        KafkaCluster {
            namespace: "other".into(),
            replicas,
            id: text(),
            password: text(),
            jwks: text(),
            properties,
            intake_token: None,
        }
    }

    #[test]
    fn a_cluster_has_its_own_names_and_number_of_brokers() {
        let three = cluster(3).server_properties();
        assert!(three.contains("voters=0@kafka-0.kafka.other.svc.cluster.local:9090,1@kafka-1."), "{three}");
        assert!(three.contains("\ndefault.replication.factor=3\nmin.insync.replicas=2\n"), "{three}");
        let one = cluster(1).server_properties();
        assert!(one.contains("\ndefault.replication.factor=1\nmin.insync.replicas=1\n"), "{one}");
        assert!(!one.contains("${"), "{one}");
        assert!(cluster(1).names().contains(&"kafka-0.kafka.other.svc.cluster.local".to_owned()));
    }

    #[test]
    fn the_last_word_on_a_property_is_the_clusters_own() {
        let properties = cluster(1).server_properties();
        let last = properties.lines().rfind(|line| line.starts_with("authorizer.class.name="));
        assert_eq!(last, Some("authorizer.class.name="));
    }
}
