//! Kafka Connect's REST interface (KIP-875, KIP-980; Apache Kafka 3.7 and later).

use std::collections::BTreeMap;

use async_trait::async_trait;
use hyper::Method;
use serde::Deserialize;
use serde_json::json;

use super::rest::{RestClient, segment};
use crate::domain::replication::flow::Positions;
use crate::domain::replication::offsets::Offsets;
use crate::domain::replication::plan::ObservedConnector;
use crate::domain::replication::reported::Reported;
use crate::ports::{Connectors, Listed, RestEndpoint, RestError};

/// A caller of one Kafka Connect.
pub struct ConnectClient(RestClient);

impl ConnectClient {
    /// Of that at `endpoint`.
    ///
    /// # Errors
    /// The credentials cannot be used.
    pub fn new(endpoint: &RestEndpoint) -> Result<Self, RestError> {
        RestClient::new(endpoint).map(Self)
    }
}

/// Below one connector.
fn of(name: &str, rest: &str) -> String {
    format!("/connectors/{}{rest}", segment(name))
}

#[derive(Deserialize)]
struct Plugin {
    class: String,
}

#[derive(Deserialize)]
struct Both {
    info: Info,
    status: Reported,
}

#[derive(Deserialize)]
struct Info {
    config: BTreeMap<String, String>,
}

impl Both {
    fn observed(self) -> ObservedConnector {
        let Self { info, status } = self;
        let (state, tasks, failure) = (status.state(), status.tasks(), status.failure());
        ObservedConnector { state, tasks, failure, config: info.config, is_tended: false, is_current: true }
    }
}

#[async_trait]
impl Connectors for ConnectClient {
    async fn list(&self, prefix: &str) -> Result<BTreeMap<String, ObservedConnector>, RestError> {
        let names: Vec<String> = self.0.read("/connectors").await?;
        if names.iter().all(|name| name.starts_with(prefix)) {
            let all: BTreeMap<String, Both> = self.0.read("/connectors?expand=status&expand=info").await?;
            let all = all.into_iter().filter(|(name, _)| name.starts_with(prefix));
            return Ok(all.map(|(name, listed)| (name, listed.observed())).collect());
        }
        let mut found = BTreeMap::new();
        for name in names.into_iter().filter(|name| name.starts_with(prefix)) {
            let (info, status) = (of(&name, ""), of(&name, "/status"));
            let (info, status) = tokio::try_join!(self.0.read(&info), self.0.read(&status))?;
            found.insert(name, Both { info, status }.observed());
        }
        Ok(found)
    }

    async fn has_plugin(&self, class: &str) -> Result<bool, RestError> {
        let all: Vec<Plugin> = self.0.read("/connector-plugins?connectorsOnly=true").await?;
        Ok(all.iter().any(|plugin| plugin.class == class))
    }

    async fn create(&self, name: &str, config: &BTreeMap<String, String>) -> Result<(), RestError> {
        let body = json!({"name": name, "config": config, "initial_state": "STOPPED"});
        self.0.act(Method::POST, "/connectors", Some(body)).await
    }

    async fn configure(&self, name: &str, config: &BTreeMap<String, String>) -> Result<(), RestError> {
        self.0.act(Method::PUT, &of(name, "/config"), Some(json!(config))).await
    }

    async fn stop(&self, name: &str) -> Result<(), RestError> {
        self.0.act(Method::PUT, &of(name, "/stop"), None).await
    }

    async fn resume(&self, name: &str) -> Result<(), RestError> {
        self.0.act(Method::PUT, &of(name, "/resume"), None).await
    }

    async fn restart(&self, name: &str, only_failed: bool) -> Result<(), RestError> {
        let path = format!("/restart?includeTasks=true&onlyFailed={only_failed}");
        self.0.act(Method::POST, &of(name, &path), None).await
    }

    async fn positions(&self, name: &str) -> Result<Listed, RestError> {
        let offsets: Offsets = self.0.read(&of(name, "/offsets")).await?;
        Ok(Listed { positions: offsets.positions(), is_new: true })
    }

    async fn begun(&self, name: &str) -> Result<Positions, RestError> {
        Ok(self.positions(name).await?.positions)
    }

    async fn set_positions(&self, name: &str, alias: &str, positions: &Positions) -> Result<(), RestError> {
        let body = json!(Offsets::of(alias, positions));
        self.0.act(Method::PATCH, &of(name, "/offsets"), Some(body)).await
    }

    async fn remove(&self, name: &str, config: &BTreeMap<String, String>) -> Result<(), RestError> {
        self.configure(name, config).await?;
        self.0.act(Method::DELETE, &of(name, "/offsets"), None).await?;
        self.0.act(Method::DELETE, &of(name, ""), None).await
    }
}

#[cfg(test)]
mod tests {
    use super::Both;
    use crate::domain::replication::plan::State;

    #[test]
    fn a_listing_is_read_as_kafka_connect_writes_it() {
        let listed: Both = serde_json::from_str(
            r#"{"status": {"name": "a", "connector": {"state": "RUNNING", "worker_id": "w:8083", "version": "4.3.1"},
                "tasks": [{"id": 0, "state": "FAILED", "worker_id": "w:8083",
                    "trace": "org.apache.kafka.connect.errors.ConnectException: gave up\n\tat a.b(C.java:1)\nCaused by: org.apache.kafka.common.errors.TopicAuthorizationException: Not authorized to access topics: [x]\n\tat d"}],
                "type": "source"},
              "info": {"name": "a", "config": {"topics": "x"}, "tasks": [], "type": "source"}}"#,
        )
        .unwrap();
        let observed = listed.observed();
        assert_eq!((observed.state, observed.tasks.as_slice()), (State::Running, [State::Failed].as_slice()));
        let cause = "org.apache.kafka.common.errors.TopicAuthorizationException: Not authorized to access topics: [x]";
        assert_eq!(observed.failure.as_deref(), Some(cause));
        assert_eq!(observed.config["topics"], "x");
    }
}
