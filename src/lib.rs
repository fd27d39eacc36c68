//! Weir governs who may use the streaming data products on Apache Kafka.
//!
//! The layers, each of which may use only those above it (`tests/import_law.rs` holds it):
//!
//! - [`api`]: what a user writes and reads; one file a kind, no logic.
//! - [`domain`]: decides; pure values, no I/O, no clock.
//! - [`ports`]: what the deciders need from the world.
//! - [`tls`]: TLS, for the adapters and for what others call.
//! - [`audit`], [`kafka`], [`replication`], [`k8s`], [`pki`], [`sealing`], [`web`]: the adapters; they never import each other.
//! - [`controllers`]: observe, validate, plan, apply, report.
//! - [`run`]: wires all of it together; [`partners`]: what partners call; [`cli`]: what people do
//!   by hand.

// Each printer column of the derive looks like the same attribute again.
#[allow(clippy::duplicated_attributes)]
pub mod api;
pub mod audit;
pub mod cli;
pub mod controllers;
pub mod crds;
pub mod domain;
pub mod k8s;
pub mod kafka;
pub mod partners;
pub mod pki;
pub mod ports;
pub mod replication;
pub mod run;
pub mod sealing;
pub mod tls;
pub mod uninstall;
pub mod web;
