//! Kafka Connect, as far as copies need it, by its REST interface or by whoever runs it.

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::domain::replication::flow::Positions;
use crate::domain::replication::plan::ObservedConnector;
use crate::ports::RestError;

/// The connectors of one Kafka Connect.
#[async_trait]
pub trait Connectors: Send + Sync {
    /// Those whose names begin so. The others' configurations, which may have secrets in them, are not asked for.
    async fn list(&self, prefix: &str) -> Result<BTreeMap<String, ObservedConnector>, RestError>;
    /// Whether connectors of a class can be made.
    async fn has_plugin(&self, class: &str) -> Result<bool, RestError>;
    /// Makes one that does not run (KIP-980).
    async fn create(&self, name: &str, config: &BTreeMap<String, String>) -> Result<(), RestError>;
    /// Puts a configuration in the place of the one before.
    async fn configure(&self, name: &str, config: &BTreeMap<String, String>) -> Result<(), RestError>;
    /// Has it let go of its tasks (KIP-875).
    async fn stop(&self, name: &str) -> Result<(), RestError>;
    /// Has it go on.
    async fn resume(&self, name: &str) -> Result<(), RestError>;
    /// Starts it again with its tasks, or only what failed of these (KIP-745).
    async fn restart(&self, name: &str, only_failed: bool) -> Result<(), RestError>;
    /// The last offset copied of each partition (KIP-875).
    async fn positions(&self, name: &str) -> Result<Listed, RestError>;
    /// The same of one that stands still, as it is now.
    async fn begun(&self, name: &str) -> Result<Positions, RestError>;
    /// Says what counts as the last offset copied of a connector that is stopped; `alias` is that of its source.
    async fn set_positions(&self, name: &str, alias: &str, positions: &Positions) -> Result<(), RestError>;
    /// Removes one that is stopped, with its positions; before that it may be given `config`, which logs in nowhere.
    async fn remove(&self, name: &str, config: &BTreeMap<String, String>) -> Result<(), RestError>;
}

/// How far a connector is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The last offset copied of each partition.
    pub positions: Positions,
    /// It was looked at since this was asked for the last time.
    pub is_new: bool,
}
