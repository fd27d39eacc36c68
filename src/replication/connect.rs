//! Kafka Connect's REST interface (KIP-875, KIP-980; Apache Kafka 3.7 and later).

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::domain::replication::flow::Positions;
use crate::domain::replication::offsets::Offsets;
use crate::domain::replication::plan::ObservedConnector;
use crate::domain::replication::reported::{Reported, first_line};
use crate::domain::secret::Secret;
use crate::ports::{ConnectEndpoint, ConnectError, Connectors, Listed};
use crate::tls::{Versions, client_config};

/// How long a call may take. Kafka Connect waits up to 90 s for its own workers; what takes longer is asked for again.
const PATIENCE: Duration = Duration::from_secs(20);
/// The largest answer that is read, in bytes.
const LARGEST: usize = 16 * 1024 * 1024;

/// A caller of one Kafka Connect.
pub struct ConnectClient {
    base: String,
    authorization: Option<HeaderValue>,
    http: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl ConnectClient {
    /// Of that at `endpoint`.
    ///
    /// # Errors
    /// The credentials cannot be used.
    pub fn new(endpoint: &ConnectEndpoint) -> Result<Self, ConnectError> {
        let client = endpoint.client.as_ref().map(|(certificate, key)| (certificate.as_str(), key));
        let tls = client_config(endpoint.ca_pem.as_deref(), client, Versions::SinceTls12).map_err(failure)?;
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1().build();
        let http = Client::builder(TokioExecutor::new()).build(connector);
        let authorization = endpoint.basic.as_ref().map(|(name, password)| basic(name, password)).transpose()?;
        Ok(Self { base: endpoint.url.clone(), authorization, http })
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Bytes, ConnectError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let body = Full::new(body.map(|b| Bytes::from(b.to_string())).unwrap_or_default());
        let request = request.body(body).map_err(failure)?;
        let exchange = async {
            let response = self.http.request(request).await.map_err(|e| failure(chain(&e)))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), LARGEST).collect().await.map_err(failure)?.to_bytes();
            Ok((status, body))
        };
        let answered = timeout(PATIENCE, exchange).await;
        let late = |_| failure(format!("{} did not answer within {} s", self.base, PATIENCE.as_secs()));
        let (status, body) = answered.map_err(late)??;
        if status.is_success() { Ok(body) } else { Err(refusal(status, &body)) }
    }

    async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, ConnectError> {
        let body = self.call(Method::GET, path, None).await?;
        serde_json::from_slice(&body).map_err(|e| failure(format!("failed to read the answer of {}: {e}", self.base)))
    }

    async fn act(&self, method: Method, path: &str, body: Option<Value>) -> Result<(), ConnectError> {
        self.call(method, path, body).await.map(drop)
    }
}

/// Basic authentication (RFC 7617).
fn basic(name: &str, password: &Secret) -> Result<HeaderValue, ConnectError> {
    let both = Zeroizing::new(format!("{name}:{}", password.expose()));
    let encoded = Zeroizing::new(STANDARD.encode(both.as_bytes()));
    let mut value = HeaderValue::try_from(format!("Basic {}", encoded.as_str())).map_err(failure)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Below one connector.
fn of(name: &str, rest: &str) -> String {
    format!("/connectors/{}{rest}", utf8_percent_encode(name, NON_ALPHANUMERIC))
}

fn failure(why: impl Display) -> ConnectError {
    ConnectError { status: None, message: why.to_string() }
}

/// An error with what it comes from.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

fn refusal(status: StatusCode, body: &[u8]) -> ConnectError {
    #[derive(Deserialize)]
    struct Refusal {
        message: String,
    }
    let said = serde_json::from_slice::<Refusal>(body).map(|r| first_line(&r.message));
    let message = said.unwrap_or_else(|_| format!("HTTP status {status}"));
    ConnectError { status: Some(status.as_u16()), message }
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
    async fn list(&self, prefix: &str) -> Result<BTreeMap<String, ObservedConnector>, ConnectError> {
        let names: Vec<String> = self.read("/connectors").await?;
        if names.iter().all(|name| name.starts_with(prefix)) {
            let all: BTreeMap<String, Both> = self.read("/connectors?expand=status&expand=info").await?;
            let all = all.into_iter().filter(|(name, _)| name.starts_with(prefix));
            return Ok(all.map(|(name, listed)| (name, listed.observed())).collect());
        }
        let mut found = BTreeMap::new();
        for name in names.into_iter().filter(|name| name.starts_with(prefix)) {
            let (info, status) = (of(&name, ""), of(&name, "/status"));
            let (info, status) = tokio::try_join!(self.read(&info), self.read(&status))?;
            found.insert(name, Both { info, status }.observed());
        }
        Ok(found)
    }

    async fn has_plugin(&self, class: &str) -> Result<bool, ConnectError> {
        let all: Vec<Plugin> = self.read("/connector-plugins?connectorsOnly=true").await?;
        Ok(all.iter().any(|plugin| plugin.class == class))
    }

    async fn create(&self, name: &str, config: &BTreeMap<String, String>) -> Result<(), ConnectError> {
        let body = json!({"name": name, "config": config, "initial_state": "STOPPED"});
        self.act(Method::POST, "/connectors", Some(body)).await
    }

    async fn configure(&self, name: &str, config: &BTreeMap<String, String>) -> Result<(), ConnectError> {
        self.act(Method::PUT, &of(name, "/config"), Some(json!(config))).await
    }

    async fn stop(&self, name: &str) -> Result<(), ConnectError> {
        self.act(Method::PUT, &of(name, "/stop"), None).await
    }

    async fn resume(&self, name: &str) -> Result<(), ConnectError> {
        self.act(Method::PUT, &of(name, "/resume"), None).await
    }

    async fn restart(&self, name: &str, only_failed: bool) -> Result<(), ConnectError> {
        let path = format!("/restart?includeTasks=true&onlyFailed={only_failed}");
        self.act(Method::POST, &of(name, &path), None).await
    }

    async fn positions(&self, name: &str) -> Result<Listed, ConnectError> {
        let offsets: Offsets = self.read(&of(name, "/offsets")).await?;
        Ok(Listed { positions: offsets.positions(), is_new: true })
    }

    async fn begun(&self, name: &str) -> Result<Positions, ConnectError> {
        Ok(self.positions(name).await?.positions)
    }

    async fn set_positions(&self, name: &str, alias: &str, positions: &Positions) -> Result<(), ConnectError> {
        let body = json!(Offsets::of(alias, positions));
        self.act(Method::PATCH, &of(name, "/offsets"), Some(body)).await
    }

    async fn remove(&self, name: &str, config: &BTreeMap<String, String>) -> Result<(), ConnectError> {
        self.configure(name, config).await?;
        self.act(Method::DELETE, &of(name, "/offsets"), None).await?;
        self.act(Method::DELETE, &of(name, ""), None).await
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
