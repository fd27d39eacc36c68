//! Confluent's REST API v3, as far as it is about cluster links. What it is documented to answer, and what servers were seen to answer,
//! differ in the codes of success: every one of them counts.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use hyper::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::rest::{RestClient, failure, segment};
use crate::domain::replication::link::{MirrorState, ObservedLink, ObservedMirror};
use crate::domain::replication::reported::first_line;
use crate::domain::secret::Secret;
use crate::ports::{ClusterLinks, RestEndpoint, RestError};

/// A caller of the REST API of one cluster.
pub struct LinkClient {
    rest: RestClient,
    /// The path of its links.
    links: String,
}

impl LinkClient {
    /// Of the cluster with the id `cluster`, at `endpoint`; `path` is what stands before `/v3` there.
    ///
    /// # Errors
    /// The credentials cannot be used.
    pub fn new(endpoint: &RestEndpoint, path: &str, cluster: &str) -> Result<Self, RestError> {
        let links = format!("{path}/v3/clusters/{}/links", segment(cluster));
        Ok(Self { rest: RestClient::new(endpoint)?, links })
    }

    /// Below one link.
    fn of(&self, name: &str, rest: &str) -> String {
        format!("{}/{}{rest}", self.links, segment(name))
    }

    /// Has something done with mirror topics. It counts as done only where it was for each of them.
    async fn alter(&self, name: &str, what: &str, copies: &BTreeSet<String>) -> Result<(), RestError> {
        let path = self.of(name, &format!("/mirrors:{what}"));
        let body = self.rest.call(Method::POST, &path, Some(json!({"mirror_topic_names": copies}))).await?;
        // Some servers have nothing to say where all is done.
        let altered: Listed<Altered> = match body.is_empty() {
            true => Listed { data: Vec::new() },
            false => {
                serde_json::from_slice(&body).map_err(|e| failure(format!("failed to read what was done: {e}")))?
            }
        };
        match altered.data.into_iter().find_map(Altered::refusal) {
            None => Ok(()),
            Some(refusal) => Err(refusal),
        }
    }
}

/// A list as the REST API has it.
#[derive(Deserialize)]
struct Listed<T> {
    data: Vec<T>,
}

/// A link.
#[derive(Deserialize)]
struct OneLink {
    #[serde(default)]
    link_name: String,
    link_error: Option<String>,
    link_error_message: Option<String>,
}

impl OneLink {
    /// What is wrong with it, in the server's words.
    fn failure(&self) -> Option<String> {
        let error = self.link_error.as_deref().filter(|error| *error != NO_ERROR)?;
        let message = self.link_error_message.as_deref().filter(|message| !message.is_empty());
        Some(message.map_or_else(|| error.to_owned(), |message| format!("{error}: {}", first_line(message))))
    }
}

/// What stands in the place of an error where there is none.
const NO_ERROR: &str = "NO_ERROR";

/// One key of a link's configuration; what is secret has no value.
#[derive(Deserialize)]
struct OneConfig {
    name: String,
    value: Option<String>,
}

/// A mirror topic.
#[derive(Deserialize)]
struct OneMirror {
    mirror_topic_name: String,
    source_topic_name: String,
    mirror_status: String,
    mirror_topic_error: Option<String>,
}

impl OneMirror {
    fn observed(self) -> (String, ObservedMirror) {
        let state = MirrorState::of(&self.mirror_status);
        let error = self.mirror_topic_error.filter(|error| error != NO_ERROR && error != "NOT_SET");
        let failure = (state == MirrorState::Failed)
            .then(|| error.map_or(self.mirror_status.clone(), |error| format!("{}: {error}", self.mirror_status)));
        (self.mirror_topic_name, ObservedMirror { source: self.source_topic_name, state, failure })
    }
}

/// What became of one mirror topic.
#[derive(Deserialize)]
struct Altered {
    mirror_topic_name: String,
    error_code: Option<i64>,
    error_message: Option<String>,
}

impl Altered {
    fn refusal(self) -> Option<RestError> {
        let code = self.error_code.filter(|code| *code != 0)?;
        let why = first_line(&self.error_message.unwrap_or_default());
        // Codes of five digits begin with the status of HTTP that they are for.
        let status = u16::try_from(if code > 999 { code / 100 } else { code }).ok();
        Some(RestError { status, message: format!("{}: {why}", self.mirror_topic_name) })
    }
}

/// Takes out of a server's words what it was told and nobody else may read.
fn redacted(error: RestError, config: &BTreeMap<String, Secret>) -> RestError {
    let secrets =
        config.values().map(Secret::expose).flat_map(|value| value.split(['"', '\n'])).filter(|s| s.len() > 8);
    let message = secrets.fold(error.message, |message, secret| message.replace(secret, "***"));
    RestError { message, ..error }
}

fn pairs(config: &BTreeMap<String, Secret>) -> Vec<Value> {
    config.iter().map(|(name, value)| json!({"name": name, "value": value.expose()})).collect()
}

#[async_trait]
impl ClusterLinks for LinkClient {
    async fn list(&self, prefixes: &BTreeSet<String>) -> Result<BTreeMap<String, ObservedLink>, RestError> {
        let all: Listed<OneLink> = self.rest.read(&self.links).await?;
        let mut found = BTreeMap::new();
        let is_asked_for = |link: &OneLink| prefixes.iter().any(|prefix| link.link_name.starts_with(prefix));
        for link in all.data.into_iter().filter(is_asked_for) {
            let (configs, mirrors) = (self.of(&link.link_name, "/configs"), self.of(&link.link_name, "/mirrors"));
            let (configs, mirrors): (Listed<OneConfig>, Listed<OneMirror>) =
                tokio::try_join!(self.rest.read(&configs), self.rest.read(&mirrors))?;
            let config = configs.data.into_iter().filter_map(|c| Some((c.name, c.value?))).collect();
            let mirrors = mirrors.data.into_iter().map(OneMirror::observed).collect();
            let failure = link.failure();
            found.insert(link.link_name, ObservedLink { failure, config, given: None, mirrors });
        }
        Ok(found)
    }

    async fn create(&self, name: &str, source: &str, config: &BTreeMap<String, Secret>) -> Result<(), RestError> {
        let path = format!("{}?link_name={}", self.links, segment(name));
        let body = json!({"source_cluster_id": source, "configs": pairs(config)});
        self.rest.act(Method::POST, &path, Some(body)).await.map_err(|error| redacted(error, config))
    }

    async fn configure(&self, name: &str, config: &BTreeMap<String, Secret>) -> Result<(), RestError> {
        let mut data = pairs(config);
        data.iter_mut().filter_map(Value::as_object_mut).for_each(|one| {
            one.insert("operation".into(), json!("SET"));
        });
        let path = self.of(name, "/configs:alter");
        let body = json!({"data": data});
        self.rest.act(Method::PUT, &path, Some(body)).await.map_err(|error| redacted(error, config))
    }

    async fn mirror(&self, name: &str, source: &str, copy: &str) -> Result<(), RestError> {
        let body = json!({"source_topic_name": source, "mirror_topic_name": copy});
        self.rest.act(Method::POST, &self.of(name, "/mirrors"), Some(body)).await
    }

    async fn pause(&self, name: &str, copies: &BTreeSet<String>) -> Result<(), RestError> {
        self.alter(name, "pause", copies).await
    }

    async fn resume(&self, name: &str, copies: &BTreeSet<String>) -> Result<(), RestError> {
        self.alter(name, "resume", copies).await
    }

    async fn failover(&self, name: &str, copies: &BTreeSet<String>) -> Result<(), RestError> {
        self.alter(name, "failover", copies).await
    }

    async fn remove(&self, name: &str) -> Result<(), RestError> {
        self.rest.act(Method::DELETE, &self.of(name, ""), None).await
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Altered, Listed, OneLink, OneMirror, redacted};
    use crate::domain::replication::link::MirrorState;
    use crate::domain::secret::Secret;
    use crate::ports::RestError;

    #[test]
    fn a_link_that_is_well_says_so_in_the_place_of_an_error() {
        let read = |text: &str| serde_json::from_str::<OneLink>(text).unwrap().failure();
        assert_eq!(read(r#"{"link_name": "a", "link_error": "NO_ERROR", "link_error_message": ""}"#), None);
        assert_eq!(read(r#"{"link_name": "a"}"#), None, "up to Confluent Platform 7 nothing is said");
        let refused = r#"{"link_name": "a", "link_error": "AUTHENTICATION_ERROR", "link_error_message": "no\nsuch"}"#;
        assert_eq!(read(refused).as_deref(), Some("AUTHENTICATION_ERROR: no"));
    }

    #[test]
    fn mirror_topics_are_read_with_what_is_wrong_with_them() {
        let text = r#"{"data": [
            {"mirror_topic_name": "p.a", "source_topic_name": "a", "mirror_status": "ACTIVE", "mirror_topic_error": "NO_ERROR",
             "mirror_lags": [{"partition": 1, "lag": -3, "last_source_fetch_offset": -1}]},
            {"mirror_topic_name": "p.b", "source_topic_name": "b", "mirror_status": "FAILED",
             "mirror_topic_error": "SOURCE_TOPIC_MAY_BE_DELETED"},
            {"mirror_topic_name": "p.c", "source_topic_name": "c", "mirror_status": "SOMETHING_NEW"}]}"#;
        let read: Listed<OneMirror> = serde_json::from_str(text).unwrap();
        let seen: BTreeMap<_, _> = read.data.into_iter().map(OneMirror::observed).collect();
        assert_eq!((seen["p.a"].state, &seen["p.a"].failure), (MirrorState::Active, &None));
        assert_eq!(seen["p.b"].failure.as_deref(), Some("FAILED: SOURCE_TOPIC_MAY_BE_DELETED"));
        assert_eq!((seen["p.c"].state, seen["p.c"].source.as_str()), (MirrorState::Pending, "c"));
    }

    #[test]
    fn what_failed_for_one_mirror_topic_did_not_succeed() {
        let one =
            r#"{"mirror_topic_name": "p.a", "error_code": 400, "error_message": "stopped already", "mirror_lags": []}"#;
        let refusal = serde_json::from_str::<Altered>(one).unwrap().refusal().unwrap();
        assert_eq!((refusal.status, refusal.message.as_str()), (Some(400), "p.a: stopped already"));
        let well = r#"{"mirror_topic_name": "p.a", "error_code": null, "error_message": null, "mirror_lags": []}"#;
        assert_eq!(serde_json::from_str::<Altered>(well).unwrap().refusal(), None);
    }

    #[test]
    fn a_server_that_repeats_a_password_is_not_passed_on() {
        let jaas = "org.x.ScramLoginModule required username=\"~xs.1-1\" password=\"0123456789\";";
        let config = BTreeMap::from([("sasl.jaas.config".to_owned(), Secret::new(jaas))]);
        let said = RestError { status: Some(400), message: format!("bad value {jaas} with 0123456789") };
        let passed_on = redacted(said, &config).message;
        assert!(!passed_on.contains("0123456789") && passed_on.starts_with("bad value"), "{passed_on}");
    }
}
