//! Confluent's REST API v3, as far as it is about cluster links. What it is documented to answer, and what servers were seen to answer,
//! differ in the codes of success: every one of them counts.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream;
use hyper::Method;
use serde::Deserialize;
use serde_json::json;

use super::rest::{RestClient, segment};
use crate::domain::replication::link::{MirrorState, ObservedLink, ObservedMirror, absent, changeable};
use crate::domain::replication::reported::first_line;
use crate::domain::secret::Secret;
use crate::ports::{ClusterLinks, FoundLink, RestEndpoint, RestError};

/// How many links are looked at at once.
const AT_ONCE: usize = 8;

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
            false => serde_json::from_slice(&body)
                .map_err(|e| RestError::unanswered(format!("failed to read what was done: {e}")))?,
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
        Some(
            message.map_or_else(
                || error.to_owned(),
                |message| format!("{error}: {}", first_line(without_passwords(message))),
            ),
        )
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
        let failure = matches!(state, MirrorState::Failed | MirrorState::Waiting)
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

/// What of a login nobody else may read, piece by piece.
fn secrets(login: &BTreeMap<String, Secret>) -> Vec<&str> {
    let is_secret = |(key, _): &(&String, &Secret)| ["sasl.jaas.config", "ssl.keystore.key"].contains(&key.as_str());
    let values = login.iter().filter(is_secret).map(|(_, value)| value.expose());
    // The whole, then its lines, and what stands in quotes.
    let pieces = values.flat_map(|value| [value].into_iter().chain(value.split(['"', '\n'])));
    pieces.filter(|piece| piece.len() > 8).collect()
}

/// Keys with what they are set to.
fn pairs<'a>(config: &'a BTreeMap<String, String>, login: &'a BTreeMap<String, Secret>) -> Vec<(&'a str, &'a str)> {
    let config = config.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    config.chain(login.iter().map(|(key, value)| (key.as_str(), value.expose()))).collect()
}

/// What is said of a link, without what may be a password in it.
fn without_passwords(text: &str) -> &str {
    text.split("password").next().unwrap_or_default()
}

impl LinkClient {
    async fn look(&self, link: OneLink) -> FoundLink {
        let (configs, mirrors) = (self.of(&link.link_name, "/configs"), self.of(&link.link_name, "/mirrors"));
        let (configs, mirrors) =
            tokio::join!(self.rest.read::<Listed<OneConfig>>(&configs), self.rest.read::<Listed<OneMirror>>(&mirrors));
        let mirrors = mirrors?.data.into_iter().map(OneMirror::observed).collect();
        // What cannot be told is taken for as it was given.
        let configs = configs.map(|configs| configs.data).unwrap_or_default();
        let config = configs.into_iter().filter_map(|c| Some((c.name, c.value?))).collect();
        Ok(ObservedLink { failure: link.failure(), config, given: None, mirrors })
    }
}

#[async_trait]
impl ClusterLinks for LinkClient {
    async fn list(&self, prefixes: &BTreeSet<String>) -> Result<BTreeMap<String, FoundLink>, RestError> {
        let all: Listed<OneLink> = self.rest.read(&self.links).await?;
        let is_asked_for = |link: &OneLink| prefixes.iter().any(|prefix| link.link_name.starts_with(prefix));
        let looks = all.data.into_iter().filter(is_asked_for).map(|link| async move {
            let name = link.link_name.clone();
            (name, self.look(link).await)
        });
        Ok(stream::iter(looks).buffer_unordered(AT_ONCE).collect().await)
    }

    async fn create(
        &self,
        name: &str,
        source: &str,
        config: &BTreeMap<String, String>,
        login: &BTreeMap<String, Secret>,
    ) -> Result<(), RestError> {
        let path = format!("{}?link_name={}", self.links, segment(name));
        let configs = pairs(config, login).into_iter().map(|(name, value)| json!({"name": name, "value": value}));
        let body = json!({"source_cluster_id": source, "configs": configs.collect::<Vec<_>>()});
        self.rest.act_in_secret(Method::POST, &path, body, &secrets(login)).await
    }

    async fn configure(
        &self,
        name: &str,
        config: &BTreeMap<String, String>,
        login: &BTreeMap<String, Secret>,
    ) -> Result<(), RestError> {
        let config = changeable(config);
        let set = pairs(&config, login).into_iter();
        let set = set.map(|(name, value)| json!({"name": name, "value": value, "operation": "SET"}));
        let absent = absent(login).into_iter().map(|name| json!({"name": name, "operation": "DELETE"}));
        let body = json!({"data": set.chain(absent).collect::<Vec<_>>()});
        self.rest.act_in_secret(Method::PUT, &self.of(name, "/configs:alter"), body, &secrets(login)).await
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

    async fn remove(&self, name: &str, by_force: bool) -> Result<(), RestError> {
        let query = if by_force { "?force=true" } else { "" };
        self.rest.act(Method::DELETE, &self.of(name, query), None).await
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Altered, Listed, OneLink, OneMirror, secrets, without_passwords};
    use crate::domain::replication::link::MirrorState;
    use crate::domain::secret::Secret;

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
    fn a_login_s_secrets_are_its_password_and_its_key() {
        let jaas = "org.x.ScramLoginModule required username=\"~xs.0123456789-1\" password=\"0123456789\";";
        let login = [("sasl.jaas.config", jaas), ("bootstrap.servers", "kafka.example.com:9092")];
        let login = login.map(|(key, value)| (key.to_owned(), Secret::new(value))).into();
        let secrets = secrets(&login);
        assert!(secrets.contains(&jaas) && secrets.contains(&"0123456789"), "{secrets:?}");
        assert!(!secrets.contains(&"kafka.example.com:9092"), "it is to be told which brokers were not reached");
        assert_eq!(without_passwords("bad jaas: password=\"0123\""), "bad jaas: ");
    }
}
