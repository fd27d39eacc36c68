//! What the end-to-end tests share: Weir installed in the lab by its chart, namespaces of their own, and the brokers' own
//! word on who may do what.
//!
//! Nothing here sleeps for luck: [`until`] asks again and again until a condition holds, and when its deadline has passed it
//! says what there was instead.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

pub mod brokers;
pub mod confluent;
pub mod connect;
pub mod contracts;
pub mod https;
pub mod install;
pub mod manifests;
pub mod network;
pub mod operator;
pub mod other_kafka;
pub mod records;
pub mod second_kubernetes;
pub mod sharing;
pub mod shell;
pub mod strimzi;
pub mod tenant;
pub mod trail;
mod wait;

use std::time::Duration;

use kube::Client;
use tokio::sync::OnceCell;
use weir_e2e::lab::Lab;

use brokers::Brokers;
pub use install::{CLUSTER, NAMESPACE};

pub use tenant::Tenant;
pub use wait::{condition, until};

/// Long enough for anything that is expected to happen, on a machine that is busy with other tests.
pub const SOON: Duration = Duration::from_secs(60);

/// The lab with Weir in it, as one test uses it.
pub struct Harness {
    pub lab: Lab,
    pub client: Client,
    pub brokers: Brokers,
}

static INSTALLED: OnceCell<()> = OnceCell::const_new();

impl Harness {
    /// Installs Weir, once for each test binary, and connects.
    pub async fn start() -> Self {
        let lab = Lab::current().unwrap();
        // Each test has a runtime of its own, and connections live in the one that made them.
        let client = Client::try_default().await.unwrap();
        INSTALLED.get_or_init(|| install::install(&lab, &client)).await;
        let brokers = Brokers::connect(&lab).await;
        Self { lab, client, brokers }
    }

    /// A namespace of this test's own, known to the platform as a tenant, and enrolled for credentials.
    pub async fn tenant(&self, name: &str) -> Tenant {
        let tenant = self.stranger(name, &[("weir.dev/tenant", "true")]).await;
        tenant.enrol().await;
        tenant
    }

    /// A namespace of this test's own with these labels, which did not enrol.
    pub async fn stranger(&self, name: &str, labels: &[(&str, &str)]) -> Tenant {
        Tenant::create(self.client.clone(), name, labels).await
    }

    /// An owner with product `orders` and a role `reader` on its stream `placed`, and a consumer.
    pub async fn owner_and_consumer(&self) -> (Tenant, Tenant) {
        let (owner, consumer) = (self.tenant("owner").await, self.tenant("consumer").await);
        owner.apply(&manifests::product("orders", &["placed"])).await;
        owner.apply(&manifests::role("reader", "orders", &["placed"], "Read")).await;
        owner.ready::<weir::api::DataProduct>("orders").await;
        (owner, consumer)
    }

    /// Objects that have no namespace.
    pub fn platform(&self) -> Tenant {
        Tenant::platform(self.client.clone())
    }

    /// The operator's namespace.
    pub fn own_namespace(&self) -> Tenant {
        Tenant::existing(self.client.clone(), NAMESPACE)
    }
}
