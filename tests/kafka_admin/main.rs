//! The Kafka adapter against real brokers. `tests/kafka_lab/mod.rs` says how the tests find them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

#[path = "../kafka_lab/mod.rs"]
mod kafka_lab;

mod access;
mod acls;
mod codes;
mod groups;
mod identities;
mod ledger;
mod logins;
mod oauth;
mod topics;
