//! Products that are copied for other organisations, by real MirrorMaker 2: run by `make test`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod copying;
mod existing;
#[path = "../harness/mod.rs"]
mod harness;
mod linked;
mod managed;
mod strimzi;
