//! The REST API of the stand-in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use weir::domain::secret::Secret;
use weir::kafka::KafkaAdminClient;
use weir::ports::{ConfigResource, KafkaAdmin, KafkaEndpoint, KafkaSasl, KafkaTls, NewTopic, OffsetSpec};

use super::contract::{Contract, decoded};
use super::mirror::Mirror;
use crate::harness::brokers::Login;

/// So long after its making a link is not known yet.
const UNKNOWN_AT_FIRST: Duration = Duration::from_millis(700);
/// So long after its making a mirror topic is not listed yet.
const UNLISTED_AT_FIRST: Duration = Duration::from_millis(1500);
/// Keys whose values are not told.
const SENSITIVE: [&str; 4] =
    ["sasl.jaas.config", "ssl.keystore.certificate.chain", "ssl.keystore.key", "ssl.truststore.certificates"];
/// What is told of every link, whatever was asked.
const DEFAULTS: [(&str, &str); 4] = [
    ("acl.sync.enable", "false"),
    ("auto.create.mirror.topics.enable", "false"),
    ("consumer.offset.sync.enable", "false"),
    ("link.mode", "DESTINATION"),
];

/// See the module.
pub struct Server {
    cluster: String,
    admin: Login,
    authorization: String,
    contract: Contract,
    links: Mutex<BTreeMap<String, Link>>,
    /// Why links are refused.
    pub refuses: Mutex<Option<String>>,
    /// What was against the contract.
    pub faults: Mutex<Vec<String>>,
    /// Which operations were asked for.
    pub asked: Mutex<BTreeSet<String>>,
}

struct Link {
    made: Instant,
    source: String,
    config: BTreeMap<String, String>,
    mirrors: BTreeMap<String, Mirror>,
}

/// A status, and a body.
type Answer = (u16, Value);

fn refusal(status: u16, code: u32, message: impl Into<String>) -> Answer {
    (status, json!({"error_code": code, "message": message.into()}))
}

impl Server {
    pub fn new(cluster: &str, admin: Login, (name, password): (&str, &str)) -> Self {
        Self {
            cluster: cluster.to_owned(),
            admin,
            authorization: format!("Basic {}", STANDARD.encode(format!("{name}:{password}"))),
            contract: Contract::read(),
            links: Mutex::default(),
            refuses: Mutex::default(),
            faults: Mutex::default(),
            asked: Mutex::default(),
        }
    }

    pub fn mirrors(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        let of = |link: &Link| link.mirrors.iter().map(|(copy, m)| (copy.clone(), m.status().to_owned())).collect();
        self.links.lock().unwrap().iter().map(|(name, link)| (name.clone(), of(link))).collect()
    }

    pub fn stall(&self, is_stalled: bool) {
        for mirror in self.links.lock().unwrap().values().flat_map(|link| link.mirrors.values()) {
            mirror.shared.lock().unwrap().is_stalled = is_stalled;
        }
    }

    pub fn set(&self, key: &str, value: &str) {
        for link in self.links.lock().unwrap().values_mut() {
            link.config.insert(key.to_owned(), value.to_owned());
        }
    }

    /// Somebody promotes a mirror topic: it is an ordinary one.
    pub fn promote(&self, copy: &str) {
        let mut links = self.links.lock().unwrap();
        let mirror = links.values_mut().find_map(|link| link.mirrors.get_mut(copy)).unwrap();
        mirror.end("STOPPED");
    }

    /// Somebody deletes every link by force.
    pub fn lose(&self) {
        self.links.lock().unwrap().clear();
    }

    pub fn configured(&self, key: &str) -> Vec<String> {
        self.links.lock().unwrap().values().filter_map(|link| link.config.get(key).cloned()).collect()
    }

    async fn answer(&self, request: Request) -> Response {
        let (head, body) = request.into_parts();
        let body = to_bytes(body, 1 << 20).await.unwrap();
        let body: Value = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
        let query: BTreeMap<_, _> = head.uri.query().into_iter().flat_map(|q| q.split('&')).filter_map(pair).collect();
        let (status, said) = if head.headers.get(header::AUTHORIZATION).is_none_or(|a| a != &self.authorization) {
            refusal(401, 40101, "Unauthorized")
        } else {
            self.held_to_contract(head.method.as_str(), head.uri.path(), &query, &body).await
        };
        let said = if said.is_null() { Body::empty() } else { Body::from(said.to_string()) };
        (StatusCode::from_u16(status).unwrap(), [(header::CONTENT_TYPE, "application/json")], said).into_response()
    }

    async fn held_to_contract(
        &self,
        method: &str,
        path: &str,
        query: &BTreeMap<String, String>,
        body: &Value,
    ) -> Answer {
        let fault = |what: String| self.faults.lock().unwrap().push(format!("{method} {path}: {what}"));
        let Some(operation) = self.contract.operation(method, path) else {
            fault("there is no such operation".into());
            return refusal(404, 404, "HTTP 404 Not Found");
        };
        let wrong = self.contract.faults_of_request(&operation, query, body);
        if !wrong.is_empty() {
            // A body may have a password in it.
            fault(format!("{wrong:?}"));
            return refusal(400, 400, "Bad Request");
        }
        self.asked.lock().unwrap().insert(operation.id.clone());
        let link = operation.path.get("link_name").map(String::as_str).unwrap_or_default();
        let answer = if operation.path["cluster_id"] == self.cluster {
            self.act(&operation.id, link, query, body).await
        } else {
            refusal(404, 404, format!("Cluster {} cannot be found.", operation.path["cluster_id"]))
        };
        let wrong = self.contract.faults_of_answer(&operation, answer.0, &answer.1);
        wrong.into_iter().for_each(|wrong| fault(format!("the stand-in's own answer: {wrong}")));
        answer
    }

    async fn act(&self, operation: &str, link: &str, query: &BTreeMap<String, String>, body: &Value) -> Answer {
        match operation {
            "listLinks" => self.list(),
            "createLink" => self.create(&query["link_name"], body).await,
            "deleteLink" => self.delete(link, query.get("force").is_some_and(|force| force == "true")),
            "listLinkConfigs" => self.configs(link),
            "alterLinkConfigs" => self.alter(link, body),
            "listMirrors" => self.list_mirrors(link),
            "createMirror" => self.mirror(link, body).await,
            "pauseMirrors" => self.turn(link, body, "PAUSED"),
            "resumeMirrors" => self.turn(link, body, "PENDING_MIRROR"),
            "failoverMirrors" => self.turn(link, body, "PENDING_STOPPED"),
            other => panic!("{other} is in the contract and not here"),
        }
    }

    fn list(&self) -> Answer {
        let links = self.links.lock().unwrap();
        let one = |(name, link): (&String, &Link)| {
            json!({"kind": "KafkaLinkData", "metadata": {"self": name}, "link_name": name, "link_id": "", "cluster_link_id": "id",
                "topic_names": link.mirrors.keys().collect::<Vec<_>>(), "source_cluster_id": link.source,
                "link_state": "ACTIVE", "link_error": "NO_ERROR", "link_error_message": ""})
        };
        // Seen on servers: a link of nobody's, without a name.
        let nameless = json!({"kind": "KafkaLinkData", "metadata": {"self": ""}, "link_name": "", "link_id": "",
            "cluster_link_id": "",
            "topic_names": []});
        let data: Vec<_> = links.iter().map(one).chain([nameless]).collect();
        (200, json!({"kind": "KafkaLinkDataList", "metadata": {"self": "links"}, "data": data}))
    }

    async fn create(&self, name: &str, body: &Value) -> Answer {
        if let Some(why) = self.refuses.lock().unwrap().clone() {
            return refusal(400, 400, why);
        }
        if self.links.lock().unwrap().contains_key(name) {
            return refusal(400, 400, format!("Cluster link '{name}' already exists."));
        }
        let config: BTreeMap<String, String> = body["configs"].as_array().into_iter().flatten().map(named).collect();
        if config.get("cluster.link.prefix").is_some_and(|prefix| prefix.len() > 12) {
            return refusal(400, 40002, "cluster.link.prefix is longer than 12 characters");
        }
        let source = body["source_cluster_id"].as_str().unwrap_or_default().to_owned();
        // `validate_link`, which is on where nothing else is said.
        let found = match KafkaAdminClient::connect(&login(&config), "confluent").await {
            Ok(admin) => admin.describe_cluster().await.map(|cluster| cluster.id),
            Err(error) => Err(error),
        };
        match found {
            Ok(id) if id == source => {}
            Ok(id) => return refusal(400, 400, format!("the source is {id} and not {source}")),
            Err(error) => return refusal(400, 400, format!("Unable to validate cluster link: {error}")),
        }
        let link = Link { made: Instant::now(), source, config, mirrors: BTreeMap::new() };
        self.links.lock().unwrap().insert(name.to_owned(), link);
        (201, Value::Null)
    }

    fn delete(&self, name: &str, by_force: bool) -> Answer {
        let mut links = self.links.lock().unwrap();
        let Some(link) = links.get(name) else { return unknown(name) };
        if !by_force && link.mirrors.values().any(|mirror| mirror.status() != "STOPPED") {
            return refusal(400, 400, format!("Cluster link '{name}' has mirror topics"));
        }
        links.remove(name);
        (204, Value::Null)
    }

    fn configs(&self, name: &str) -> Answer {
        let links = self.links.lock().unwrap();
        let Some(link) = links.get(name).filter(|link| link.made.elapsed() > UNKNOWN_AT_FIRST) else {
            return unknown(name);
        };
        let mut all: BTreeMap<&str, &str> = DEFAULTS.into();
        all.extend(link.config.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        let one = |(key, value): (&str, &str)| {
            let is_sensitive = SENSITIVE.contains(&key);
            json!({"kind": "KafkaLinkConfigData", "metadata": {"self": key}, "cluster_id": self.cluster, "link_name": name,
                "name": key, "value": (!is_sensitive).then_some(value), "is_default": false, "is_read_only": false,
                "is_sensitive": is_sensitive, "source": "DYNAMIC_CLUSTER_LINK_CONFIG", "synonyms": []})
        };
        let data: Vec<_> = all.into_iter().map(one).collect();
        (200, json!({"kind": "KafkaLinkConfigDataList", "metadata": {"self": "configs"}, "data": data}))
    }

    fn alter(&self, name: &str, body: &Value) -> Answer {
        let mut links = self.links.lock().unwrap();
        let Some(link) = links.get_mut(name) else { return unknown(name) };
        for change in body["data"].as_array().into_iter().flatten() {
            let (key, value) = named(change);
            match change["operation"].as_str() {
                _ if key == "cluster.link.prefix" => return refusal(400, 40002, format!("{key} cannot be changed")),
                Some("DELETE") => drop(link.config.remove(&key)),
                _ => drop(link.config.insert(key, value)),
            }
        }
        let login = login(&link.config);
        for mirror in link.mirrors.values() {
            mirror.shared.lock().unwrap().login = login.clone();
        }
        (204, Value::Null)
    }

    fn list_mirrors(&self, name: &str) -> Answer {
        let mut links = self.links.lock().unwrap();
        let Some(link) = links.get_mut(name) else { return unknown(name) };
        let mut data = Vec::new();
        for (copy, mirror) in link.mirrors.iter_mut().filter(|(_, mirror)| mirror.made.elapsed() > UNLISTED_AT_FIRST) {
            let status = mirror.status();
            data.push(json!({"kind": "KafkaMirrorData", "metadata": {"self": copy}, "link_name": name,
                "mirror_topic_name": copy, "source_topic_name": mirror.source, "num_partitions": 1, "mirror_status": status,
                "mirror_lags": [{"partition": 0, "lag": 0, "last_source_fetch_offset": -1}], "state_time_ms": 0,
                "mirror_topic_error": "NO_ERROR"}));
            // Whoever looks again sees that it is done.
            if status == "PENDING_STOPPED" {
                mirror.end("STOPPED");
            }
        }
        (200, json!({"kind": "KafkaMirrorDataList", "metadata": {"self": "mirrors"}, "data": data}))
    }

    async fn mirror(&self, name: &str, body: &Value) -> Answer {
        let source = body["source_topic_name"].as_str().unwrap_or_default().to_owned();
        let (config, made) = match self.links.lock().unwrap().get(name) {
            Some(link) => (link.config.clone(), link.made),
            None => return unknown(name),
        };
        if made.elapsed() < UNKNOWN_AT_FIRST {
            return refusal(404, 404, format!("Unable to resolve cluster link information for {name}"));
        }
        let copy = format!("{}{source}", config.get("cluster.link.prefix").map(String::as_str).unwrap_or_default());
        if body["mirror_topic_name"].as_str().is_some_and(|wanted| wanted != copy) {
            return refusal(400, 40035, "Topic renaming for mirroring not yet supported.");
        }
        let login = login(&config);
        let begin = match self.make(&login, &source, &copy, &config).await {
            Ok(begin) => begin,
            Err(refused) => return refused,
        };
        let mirror = Mirror::start(&source, &copy, login, self.admin.clone(), begin);
        if let Some(link) = self.links.lock().unwrap().get_mut(name) {
            link.mirrors.insert(copy, mirror);
        }
        (201, Value::Null)
    }

    /// Makes a mirror topic as its source is. Returns where each partition begins.
    async fn make(
        &self,
        login: &Login,
        source: &str,
        copy: &str,
        config: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<i32, i64>, Answer> {
        let failed = |what: &dyn std::fmt::Display| refusal(500, 50002, what.to_string());
        let there = KafkaAdminClient::connect(login, "confluent").await.map_err(|e| failed(&e))?;
        let names = [source.to_owned()];
        let denied = || {
            let message = format!(
                "fetching the description of topic {source} over the cluster link: Topic authorization failed."
            );
            refusal(403, 40301, message)
        };
        let topics = there.describe_topics(Some(&names)).await.map_err(|e| failed(&e))?;
        let partitions = topics.first().ok_or_else(denied)?.partitions;
        let configs =
            there.describe_configs(&[ConfigResource::Topic(source.to_owned())]).await.map_err(|e| failed(&e))?;
        let configs = configs.into_iter().next().and_then(Result::ok).ok_or_else(denied)?;
        let spec = match config.get("mirror.start.offset.spec").map(String::as_str) {
            Some("earliest") | None => OffsetSpec::Earliest,
            Some("latest") => OffsetSpec::Latest,
            Some(at) => OffsetSpec::Timestamp(at.parse::<jiff::Timestamp>().unwrap().as_millisecond()),
        };
        let asked: Vec<_> = (0..partitions).map(|p| (source.to_owned(), p, spec)).collect();
        let offsets = there.list_offsets(&asked).await.map_err(|e| failed(&e))?;
        let here = KafkaAdminClient::connect(&self.admin, "confluent").await.map_err(|e| failed(&e))?;
        if !here.describe_topics(Some(&[copy.to_owned()])).await.map_err(|e| failed(&e))?.is_empty() {
            return Err(refusal(400, 40002, format!("Topic '{copy}' already exists.")));
        }
        let kept = ["cleanup.policy", "retention.ms"];
        let config = kept.iter().filter_map(|key| Some(((*key).to_owned(), configs.get(*key)?.value.clone()?)));
        let topic = NewTopic { name: copy.to_owned(), partitions, replicas: -1, config: config.collect() };
        let made = here.create_topics(&[topic], false).await.map_err(|e| failed(&e))?;
        made.into_iter().try_for_each(|one| one.map(drop)).map_err(|e| failed(&e))?;
        Ok((0..partitions).zip(offsets.into_iter().map(|offset| offset.unwrap_or_default().max(0))).collect())
    }

    fn turn(&self, name: &str, body: &Value, status: &'static str) -> Answer {
        let mut links = self.links.lock().unwrap();
        let Some(link) = links.get_mut(name) else { return unknown(name) };
        let names = body["mirror_topic_names"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let mut data = Vec::new();
        for copy in names {
            let is_stopped = |mirror: &&mut Mirror| matches!(mirror.status(), "STOPPED" | "PENDING_STOPPED");
            let refused = match link.mirrors.get_mut(copy) {
                None => Some(format!("Topic '{copy}' is not a mirror topic")),
                Some(mirror) if is_stopped(&mirror) => Some(format!("Topic '{copy}' has already stopped its mirror")),
                Some(mirror) => {
                    mirror.shared.lock().unwrap().status = status;
                    None
                }
            };
            data.push(json!({"kind": "AlterMirrorsData", "metadata": {"self": copy}, "mirror_topic_name": copy,
                "error_code": refused.as_ref().map(|_| 400), "error_message": refused, "mirror_lags": []}));
        }
        (200, json!({"kind": "KafkaAlterMirrorsDataList", "metadata": {"self": "mirrors"}, "data": data}))
    }
}

fn unknown(link: &str) -> Answer {
    refusal(404, 404, format!("The cluster link doesn't exist: {link}"))
}

fn named(one: &Value) -> (String, String) {
    let text = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
    (text("name"), text("value"))
}

fn pair(text: &str) -> Option<(String, String)> {
    let (key, value) = text.split_once('=')?;
    Some((decoded(key)?, decoded(value)?))
}

/// Who a link is at its source.
fn login(config: &BTreeMap<String, String>) -> Login {
    let value = |key: &str| config.get(key).cloned();
    let jaas = value("sasl.jaas.config").unwrap_or_default();
    let part = |name: &str| {
        let (_, rest) = jaas.split_once(&format!(" {name}=\""))?;
        Some(rest.split_once('"')?.0.to_owned())
    };
    let sasl = part("username")
        .zip(part("password"))
        .map(|(username, password)| KafkaSasl::ScramSha512 { username, password: Secret::new(password) });
    let client = value("ssl.keystore.certificate.chain").zip(value("ssl.keystore.key").map(Secret::new));
    KafkaEndpoint {
        bootstrap_servers: value("bootstrap.servers").iter().flat_map(|s| s.split(',')).map(str::to_owned).collect(),
        tls: Some(KafkaTls { ca_pem: value("ssl.truststore.certificates"), client }),
        sasl,
    }
}

/// What answers as it.
pub fn router(server: Arc<Server>) -> Router {
    Router::new().fallback(move |request: Request| {
        let server = server.clone();
        // What was begun is done, also where the caller is killed meanwhile.
        let answer = tokio::spawn(async move { server.answer(request).await });
        async move { answer.await.unwrap() }
    })
}
