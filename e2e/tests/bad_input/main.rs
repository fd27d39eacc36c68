//! Bad input: each is answered by a condition whose reason and message say what is wrong, with what, and where.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bindings;
mod clusters;
#[path = "../harness/mod.rs"]
mod harness;
mod identities;
mod topics;

use harness::manifests::client;
use harness::{Harness, Tenant};
use weir::api::StreamClient;

/// An owner with product `orders` and a role `reader` on its stream `placed`, and a consumer with client `app`.
async fn owner_and_consumer(h: &Harness) -> (Tenant, Tenant) {
    let (owner, consumer) = h.owner_and_consumer().await;
    consumer.apply(&client("app")).await;
    consumer.ready::<StreamClient>("app").await;
    (owner, consumer)
}
