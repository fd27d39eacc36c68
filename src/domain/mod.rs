//! Decisions: pure functions over values. No client, no clock (time is a parameter), no environment.
//!
//! The way of a decision: [`index`] holds what the API server has; [`tenancy`], [`product`], [`role`], [`approval`] and [`binding`]
//! turn it into grants, and so does [`share`] for partners, with whom [`exchange`], [`contract`] and [`bundle`] deal; [`ledger`] remembers what
//! was granted; [`plan`] compares both with what a cluster has; [`topics`] and [`rotation`] do the same for topics and
//! credentials, and [`evidence`] says what was proven of those that are gone; [`usage`] says what partners read, and [`watch`] how bindings are used; [`publication`] and [`foreign_edit`] for what stands in consumers' namespaces; [`conditions`] and [`event`]
//! say what came of it.

pub mod acl;
pub mod approval;
pub mod audit;
pub mod binding;
pub mod bundle;
pub mod canary;
pub mod certificate;
pub mod conditions;
pub mod connection;
pub mod contract;
pub mod engine;
pub mod event;
pub mod evidence;
pub mod exchange;
pub mod foreign_edit;
pub mod index;
pub mod ledger;
pub mod names;
pub mod network;
pub mod plan;
pub mod problem;
pub mod product;
pub mod publication;
pub mod replication;
pub mod role;
pub mod rotation;
pub mod secret;
pub mod share;
pub mod tenancy;
#[cfg(test)]
pub(crate) mod testing;
pub mod topics;
pub mod usage;
pub mod watch;
