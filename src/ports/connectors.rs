//! Kafka Connect, as far as copies need it, by its REST interface or by whoever runs it.

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::domain::replication::flow::Positions;
use crate::domain::replication::plan::ObservedConnector;
use crate::domain::secret::Secret;

/// Where a Kafka Connect is, whom to trust, and how to be known there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectEndpoint {
    /// Its REST interface: an `https://` address without a path.
    pub url: String,
    /// The authority of the workers' certificates, in PEM; `None` trusts the system's.
    pub ca_pem: Option<String>,
    /// The caller's certificate and its key, in PEM.
    pub client: Option<(String, Secret)>,
    /// The caller's name and password (RFC 7617).
    pub basic: Option<(String, Secret)>,
}

/// The connectors of one Kafka Connect.
#[async_trait]
pub trait Connectors: Send + Sync {
    /// Those whose names begin so. The others' configurations, which may have secrets in them, are not asked for.
    async fn list(&self, prefix: &str) -> Result<BTreeMap<String, ObservedConnector>, ConnectError>;
    /// Whether connectors of a class can be made.
    async fn has_plugin(&self, class: &str) -> Result<bool, ConnectError>;
    /// Makes one that does not run (KIP-980).
    async fn create(&self, name: &str, config: &BTreeMap<String, String>) -> Result<(), ConnectError>;
    /// Puts a configuration in the place of the one before.
    async fn configure(&self, name: &str, config: &BTreeMap<String, String>) -> Result<(), ConnectError>;
    /// Has it let go of its tasks (KIP-875).
    async fn stop(&self, name: &str) -> Result<(), ConnectError>;
    /// Has it go on.
    async fn resume(&self, name: &str) -> Result<(), ConnectError>;
    /// Starts it again with its tasks, or only what failed of these (KIP-745).
    async fn restart(&self, name: &str, only_failed: bool) -> Result<(), ConnectError>;
    /// The last offset copied of each partition (KIP-875).
    async fn positions(&self, name: &str) -> Result<Listed, ConnectError>;
    /// The same of one that stands still, as it is now.
    async fn begun(&self, name: &str) -> Result<Positions, ConnectError>;
    /// Says what counts as the last offset copied of a connector that is stopped; `alias` is that of its source.
    async fn set_positions(&self, name: &str, alias: &str, positions: &Positions) -> Result<(), ConnectError>;
    /// Removes one that is stopped, with its positions; before that it may be given `config`, which logs in nowhere.
    async fn remove(&self, name: &str, config: &BTreeMap<String, String>) -> Result<(), ConnectError>;
}

/// How far a connector is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The last offset copied of each partition.
    pub positions: Positions,
    /// It was looked at since this was asked for the last time.
    pub is_new: bool,
}

/// Kafka Connect did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConnectError {
    /// The status of HTTP; `None` where no answer came.
    pub status: Option<u16>,
    /// Its own words, or what happened to the connection.
    pub message: String,
}

impl ConnectError {
    /// What was asked is on its way, and the same will succeed once it is there.
    pub fn not_yet(message: impl Into<String>) -> Self {
        Self { status: Some(409), message: message.into() }
    }

    /// The workers share out their work anew, or are not done with what was asked before: the same may succeed soon.
    pub fn is_passing(&self) -> bool {
        self.status.is_none_or(|status| matches!(status, 404 | 409 | 500 | 503))
    }
}
