//! Where the tests' Kafka is, and what several of them need.
//!
//! `WEIR_TEST_KAFKA` is the path of a JSON file with one object a listener:
//!
//! - `scram512`, `scram256`, `plain`: `bootstrap` (list of `host:port`), `ca` (path of a PEM file), `username`,
//!   `password`, of a super user;
//! - `mtls`: `bootstrap`, `ca`, `certificate` and `key` (paths of PEM files) of a super user;
//! - `oauth`, optional: `bootstrap`, `ca`, `signing_key` (path of a PKCS#8 PEM file with a P-256 key whose public half
//!   the brokers' JWKS holds), `key_id`, `issuer`, `audience`, `subject` (a super user);
//! - `broker_pids`, optional: broker id to the path of a file with its process id, for the failover test;
//! - `classpath`, optional: where `kafka-clients` and what it needs are, for the test against Kafka's own enums.
//!
//! The `scram256` listener grants sessions of a few seconds (`connections.max.reauth.ms`), the others longer ones than a
//! test takes or unlimited ones; the brokers run with the StandardAuthorizer and deny by default. The lab of `e2e/` writes
//! such a file.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use weir::domain::acl::{AclEntry, Operation, PatternType, Permission, ResourceType};
use weir::domain::secret::Secret;
use weir::kafka::KafkaAdminClient;
use weir::ports::{KafkaEndpoint, KafkaSasl, KafkaTls, NewTopic};

#[derive(Clone, Deserialize)]
pub struct Lab {
    pub scram512: Password,
    pub scram256: Password,
    pub plain: Password,
    pub mtls: Certificate,
    pub oauth: Option<Oauth>,
    pub broker_pids: Option<BTreeMap<i32, String>>,
    pub classpath: Option<String>,
}

#[derive(Clone, Deserialize)]
pub struct Password {
    pub bootstrap: Vec<String>,
    pub ca: String,
    pub username: String,
    pub password: String,
}

#[derive(Clone, Deserialize)]
pub struct Certificate {
    pub bootstrap: Vec<String>,
    pub ca: String,
    pub certificate: String,
    pub key: String,
}

#[derive(Clone, Deserialize)]
pub struct Oauth {
    pub bootstrap: Vec<String>,
    pub ca: String,
    pub signing_key: String,
    pub key_id: String,
    pub issuer: String,
    pub audience: String,
    pub subject: String,
}

/// Reads the description of the lab; the test fails without one.
pub fn lab() -> Lab {
    let path = std::env::var("WEIR_TEST_KAFKA")
        .expect("set WEIR_TEST_KAFKA to the lab's description (`make test` does): see tests/kafka_lab/mod.rs");
    serde_json::from_str(&file(&path)).expect("the lab's description is JSON as tests/kafka_lab/mod.rs has it")
}

pub fn file(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("failed to read {path}: {e}"))
}

impl Lab {
    /// The SCRAM-SHA-512 listener, as `username`.
    pub fn as_user(&self, username: &str, password: &str) -> KafkaEndpoint {
        let sasl = KafkaSasl::ScramSha512 { username: username.into(), password: Secret::new(password) };
        endpoint(&self.scram512.bootstrap, &self.scram512.ca, Some(sasl))
    }

    /// The SCRAM-SHA-512 listener, as its super user.
    pub fn admin(&self) -> KafkaEndpoint {
        self.as_user(&self.scram512.username, &self.scram512.password)
    }
}

pub fn endpoint(bootstrap: &[String], ca: &str, sasl: Option<KafkaSasl>) -> KafkaEndpoint {
    let tls = Some(KafkaTls { ca_pem: Some(file(ca)), client: None });
    KafkaEndpoint { bootstrap_servers: bootstrap.to_vec(), tls, sasl }
}

/// A client of the super user.
pub async fn admin() -> Arc<KafkaAdminClient> {
    Arc::new(KafkaAdminClient::connect(&lab().admin(), "weir-test").await.unwrap())
}

/// A name that no other test run has.
pub fn unique(what: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    format!("weir-test.{what}.{now:x}")
}

/// An entry that lets `user` read `topic`.
pub fn may_read(user: &str, topic: &str) -> AclEntry {
    AclEntry {
        principal: format!("User:{user}").into(),
        resource_type: ResourceType::Topic,
        pattern_type: PatternType::Literal,
        resource: topic.into(),
        operation: Operation::Read,
        permission: Permission::Allow,
        host: "*".into(),
    }
}

pub fn topic(name: &str, partitions: i32) -> NewTopic {
    NewTopic { name: name.into(), partitions, replicas: -1, config: BTreeMap::new() }
}

/// Every item succeeded.
pub fn all<T: std::fmt::Debug, E: std::fmt::Debug>(results: Vec<Result<T, E>>) -> Vec<T> {
    results.into_iter().map(Result::unwrap).collect()
}

/// Asks until `check` has an answer; fails after 30 s, naming `what`.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, check: impl Fn() -> F) -> T {
    eventually_within(Duration::from_secs(30), what, check).await
}

/// The same with another limit.
pub async fn eventually_within<T, F: Future<Output = Option<T>>>(
    limit: Duration,
    what: &str,
    check: impl Fn() -> F,
) -> T {
    let asking = async {
        loop {
            if let Some(answer) = check().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(limit, asking).await.unwrap_or_else(|_| panic!("not in time: {what}"))
}
