//! One trail from request to denial: what stands on record, what is shown of it, and how one finds out that somebody changed it. Run
//! by `make test`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../harness/mod.rs"]
mod harness;

mod broken;
mod denials;
mod events;
mod fuzz;
mod intake;
mod lost;
mod proof;
mod schema;
mod shippers;
mod shown;
mod storm;
mod untaken;
mod watching;
mod webhook;
