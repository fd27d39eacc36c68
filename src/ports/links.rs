//! Cluster links, as far as copies need them.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;

use crate::domain::replication::link::ObservedLink;
use crate::domain::secret::Secret;
use crate::ports::RestError;

/// A link, or why it could not be looked at.
pub type FoundLink = Result<ObservedLink, RestError>;
type Config = BTreeMap<String, String>;
type Login = BTreeMap<String, Secret>;

/// The cluster links of one destination.
#[async_trait]
pub trait ClusterLinks: Send + Sync {
    /// Those whose names begin with one of `prefixes`, with their mirror topics; what they were given is not known here.
    async fn list(&self, prefixes: &BTreeSet<String>) -> Result<BTreeMap<String, FoundLink>, RestError>;
    /// Makes one to the cluster with the id `source`.
    async fn create(&self, name: &str, source: &str, config: &Config, login: &Login) -> Result<(), RestError>;
    /// Gives one the configuration that can be changed, and who it is.
    async fn configure(&self, name: &str, config: &Config, login: &Login) -> Result<(), RestError>;
    /// Has it mirror a topic into another one, which it makes.
    async fn mirror(&self, name: &str, source: &str, copy: &str) -> Result<(), RestError>;
    /// Has mirror topics stand still.
    async fn pause(&self, name: &str, copies: &BTreeSet<String>) -> Result<(), RestError>;
    /// Has them go on.
    async fn resume(&self, name: &str, copies: &BTreeSet<String>) -> Result<(), RestError>;
    /// Makes ordinary topics of them, with what they have by then.
    async fn failover(&self, name: &str, copies: &BTreeSet<String>) -> Result<(), RestError>;
    /// Deletes one whose mirror topics are ordinary ones by now, or whatever they are.
    async fn remove(&self, name: &str, by_force: bool) -> Result<(), RestError>;
}
