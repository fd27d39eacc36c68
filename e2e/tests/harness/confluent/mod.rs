//! Confluent Server, as far as it is cluster links: it cannot be had here, and a stand-in takes its place. Its REST API is held to the
//! contract beside it, Weir's requests and its own answers alike. What a link says is done for real, by Kafka clients that log in as
//! the link does: records keep their offsets, as on a mirror topic. That such a topic takes no records of others is not so here.

pub mod contract;
mod mirror;
mod server;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::task::AbortHandle;

use self::server::Server;
use super::https;
use super::other_kafka::OtherKafka;
use super::tenant::Tenant;
use super::{Harness, NAMESPACE};

/// The name, and the password, by which Weir is known there.
const CALLER: (&str, &str) = ("weir", "let-me-in");

/// See the module.
pub struct Confluent {
    server: Arc<Server>,
    serving: AbortHandle,
    url: String,
    ca: String,
    /// Of the Secret in Weir's namespace.
    secret: String,
}

impl Confluent {
    /// Serves before a Kafka, whose administrator it is.
    pub async fn start(kafka: &OtherKafka) -> Self {
        let id = kafka.brokers.cluster_id().await;
        let server = Arc::new(Server::new(&id, kafka.brokers.login(), CALLER));
        let (url, ca, serving) = https::serve(server::router(server.clone())).await;
        Self { server, serving, url, ca, secret: kafka.name.clone() }
    }

    /// What Weir is told of it.
    pub fn engine(&self) -> Value {
        json!({"url": self.url, "secretRef": {"name": self.secret}})
    }

    /// Has Weir know how it is known there.
    pub async fn introduce(&self, h: &Harness, password: Option<&str>) {
        let known = Tenant::existing(h.client.clone(), NAMESPACE);
        known
            .apply_value(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": self.secret},
                "stringData": {"ca.crt": self.ca, "username": CALLER.0, "password": password.unwrap_or(CALLER.1)}}))
            .await;
    }

    /// From now on links are refused for this reason; or are not.
    pub fn refuse(&self, why: Option<&str>) {
        *self.server.refuses.lock().unwrap() = why.map(str::to_owned);
    }

    /// Its links' mirror topics, each with its status.
    pub fn mirrors(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        self.server.mirrors()
    }

    /// Has every mirror topic stand still and say that it is active; or go on.
    pub fn stall(&self, is_stalled: bool) {
        self.server.stall(is_stalled);
    }

    /// Somebody promotes a mirror topic.
    pub fn promote(&self, copy: &str) {
        self.server.promote(copy);
    }

    /// Somebody deletes every link by force.
    pub fn lose(&self) {
        self.server.lose();
    }

    /// Somebody changes the configuration of every link.
    pub fn set(&self, key: &str, value: &str) {
        self.server.set(key, value);
    }

    /// The value of a key of every link's configuration, secret or not.
    pub fn configured(&self, key: &str) -> Vec<String> {
        self.server.configured(key)
    }

    /// Ends it. Nothing that was asked, and nothing that was answered, was against the contract.
    pub async fn end(self, h: &Harness) {
        self.serving.abort();
        let faults = self.server.faults.lock().unwrap().clone();
        assert!(faults.is_empty(), "{faults:#?}");
        let asked = self.server.asked.lock().unwrap().clone();
        assert!(asked.len() > 1, "nothing was asked: {asked:?}");
        let known = Tenant::existing(h.client.clone(), NAMESPACE);
        known.delete::<k8s_openapi::api::core::v1::Secret>(&self.secret).await;
    }
}
