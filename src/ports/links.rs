//! Cluster links, as far as copies need them.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;

use crate::domain::replication::link::ObservedLink;
use crate::domain::secret::Secret;
use crate::ports::RestError;

/// The cluster links of one destination.
#[async_trait]
pub trait ClusterLinks: Send + Sync {
    /// Those whose names begin with one of `prefixes`, with their mirror topics; what they were given is not known here.
    async fn list(&self, prefixes: &BTreeSet<String>) -> Result<BTreeMap<String, ObservedLink>, RestError>;
    /// Makes one to the cluster with the id `source`.
    async fn create(&self, name: &str, source: &str, config: &BTreeMap<String, Secret>) -> Result<(), RestError>;
    /// Sets configuration of one.
    async fn configure(&self, name: &str, config: &BTreeMap<String, Secret>) -> Result<(), RestError>;
    /// Has it mirror a topic into another one, which it makes.
    async fn mirror(&self, name: &str, source: &str, copy: &str) -> Result<(), RestError>;
    /// Has mirror topics stand still.
    async fn pause(&self, name: &str, copies: &BTreeSet<String>) -> Result<(), RestError>;
    /// Has them go on.
    async fn resume(&self, name: &str, copies: &BTreeSet<String>) -> Result<(), RestError>;
    /// Makes ordinary topics of them, with what they have by then.
    async fn failover(&self, name: &str, copies: &BTreeSet<String>) -> Result<(), RestError>;
    /// Deletes one whose mirror topics are ordinary ones by now.
    async fn remove(&self, name: &str) -> Result<(), RestError>;
}
