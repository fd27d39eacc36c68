//! Observe, validate, plan, apply, report: one folder a kind, and one applier a Kafka cluster.
//!
//! Watches feed the [`world`]'s index; each change wakes the [`applier`] of the clusters that it touches; what comes of it
//! wakes the reconciler of the objects concerned, which only report.

pub mod announced;
pub mod applier;
pub mod audit;
pub mod context;
pub mod copies;
pub mod data_product;
pub mod decisions;
pub mod external_share;
pub mod fences;
pub mod intents;
pub mod issuing;
pub mod last_told;
pub mod live;
pub mod metrics;
pub mod partner;
pub mod patience;
pub mod publisher;
pub mod readers;
pub mod reconcile;
pub mod refusals;
pub mod removal;
pub mod replication;
pub mod role_binding;
pub mod stream_client;
pub mod stream_cluster;
pub mod stream_role;
pub mod usages;
pub mod watching;
pub mod world;
