//! What the brokers themselves say: each one's entries, users and quotas, and what a credential is let do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret as KubeSecret;
use weir::controllers::applier::LEDGER_TOPIC;
use weir::domain::acl::{AclEntry, Operation, PatternType, ResourceType};
use weir::domain::ledger::Ledger;
use weir::domain::secret::Secret;
use weir::kafka::{KafkaAdminClient, KafkaLedger, KafkaProbe};
use weir::ports::Ledger as _;
use weir::ports::{
    AccessProbe, AclFilter, ConfigResource, KafkaAdmin, KafkaEndpoint, KafkaError, KafkaSasl, KafkaTls, NewTopic,
    ProbeOutcome,
};
use weir_e2e::lab::Lab;

use super::wait::until;

/// Somebody's way in.
pub type Login = KafkaEndpoint;

/// Brokers, asked as their administrator.
pub struct Brokers {
    pub admin: KafkaAdminClient,
    endpoint: KafkaEndpoint,
}

impl Brokers {
    pub async fn connect(lab: &Lab) -> Self {
        Self::at(lab, &lab.kafka.scram).await.unwrap()
    }

    /// Those of another Kafka with the same administrators.
    pub async fn at(lab: &Lab, bootstrap: &str) -> Result<Self, KafkaError> {
        let kafka = &lab.kafka;
        // A broker of Kafka 4.3.1 may lose SCRAM users when it starts, the administrator's among them.
        let sasl = KafkaSasl::Plain {
            username: kafka.plain_admin.username.clone(),
            password: Secret::new(&kafka.plain_admin.password),
        };
        let endpoint = KafkaEndpoint {
            bootstrap_servers: vec![bootstrap.to_owned()],
            tls: Some(KafkaTls { ca_pem: Some(std::fs::read_to_string(&kafka.ca).unwrap()), client: None }),
            sasl: Some(sasl),
        };
        Ok(Self { admin: KafkaAdminClient::connect(&endpoint, "weir-e2e").await?, endpoint })
    }

    /// The administrator's way in.
    pub fn login(&self) -> Login {
        self.endpoint.clone()
    }

    /// What Weir has written down of what it made here.
    pub async fn ledger(&self) -> Result<Ledger, String> {
        let admin = KafkaAdminClient::connect(&self.endpoint, "weir-e2e").await.map_err(|e| e.to_string())?;
        let ledger = KafkaLedger::new(&self.endpoint, Arc::new(admin), LEDGER_TOPIC).map_err(|e| e.to_string())?;
        Ledger::read(&ledger.read().await.map_err(|e| e.to_string())?).map_err(|e| e.to_string())
    }

    /// Ids of the brokers that serve.
    pub async fn ids(&self) -> Result<Vec<i32>, KafkaError> {
        Ok(self.admin.describe_cluster().await?.serving().into_iter().collect())
    }

    /// What every broker shows of a principal, if all show the same; `Err` with what each shows otherwise.
    pub async fn entries(&self, principal: &str) -> Result<BTreeSet<String>, String> {
        self.agreed(AclFilter::Principal(format!("User:{principal}")), "").await
    }

    /// What every broker shows of principals whose name has `part` in it, and of topics and groups that have.
    pub async fn entries_with(&self, part: &str) -> Result<BTreeSet<String>, String> {
        self.agreed(AclFilter::All, part).await
    }

    /// The brokers are asked one after the other, and other tests go on meanwhile: only what is asked about is compared.
    async fn agreed(&self, filter: AclFilter, part: &str) -> Result<BTreeSet<String>, String> {
        let filters = [filter];
        let mut each = BTreeMap::new();
        for id in self.ids().await.map_err(|e| e.to_string())? {
            let entries =
                self.admin.describe_acls(Some(id), &filters).await.map_err(|e| format!("broker {id}: {e}"))?;
            let concerned = entries.iter().map(ToString::to_string).filter(|e| e.contains(part));
            each.insert(id, concerned.collect::<BTreeSet<_>>());
        }
        let first = each.values().next().cloned().unwrap_or_default();
        if each.values().all(|e| *e == first) { Ok(first) } else { Err(format!("brokers differ: {each:#?}")) }
    }

    /// Waits until every broker shows exactly `wanted` of a principal.
    pub async fn show(&self, principal: &str, wanted: impl IntoIterator<Item = String>) {
        let wanted: BTreeSet<_> = wanted.into_iter().collect();
        let what = format!("every broker shows exactly what {principal} should have: {wanted:#?}");
        until(super::SOON, &[], &what, || async {
            let entries = self.entries(principal).await?;
            if entries == wanted { Ok(()) } else { Err(format!("{entries:#?}")) }
        })
        .await;
    }

    /// Waits until no broker shows anything of a principal, and says how long that took.
    pub async fn show_nothing_of(&self, principal: &str, within: Duration) -> Duration {
        let start = Instant::now();
        until(within, &[], &format!("no broker shows anything of {principal}"), || async {
            let entries = self.entries(principal).await?;
            if entries.is_empty() { Ok(()) } else { Err(format!("{entries:#?}")) }
        })
        .await;
        start.elapsed()
    }

    /// SCRAM users whose name starts so.
    pub async fn users(&self, start: &str) -> Result<BTreeSet<String>, String> {
        let users = self.admin.describe_scram(None, None).await.map_err(|e| e.to_string())?;
        Ok(users.into_keys().filter(|u| u.starts_with(start)).collect())
    }

    /// A principal's quotas.
    pub async fn quotas(&self, principal: &str) -> Result<BTreeMap<String, f64>, String> {
        let all = self.admin.describe_user_quotas(None).await.map_err(|e| e.to_string())?;
        Ok(all.get(principal).cloned().unwrap_or_default())
    }

    /// Kafka's id of the cluster.
    pub async fn cluster_id(&self) -> String {
        self.admin.describe_cluster().await.unwrap().id
    }

    /// Names of all topics.
    pub async fn topics(&self) -> Vec<String> {
        self.admin.describe_topics(None).await.unwrap().into_iter().map(|t| t.name).collect()
    }

    /// How many partitions a topic has; `None` where it does not exist.
    pub async fn partitions(&self, topic: &str) -> Option<i32> {
        let found = self.admin.describe_topics(Some(&[topic.to_owned()])).await.unwrap();
        found.first().map(|t| t.partitions)
    }

    /// The value of a key of a topic's configuration.
    pub async fn topic_config(&self, topic: &str, key: &str) -> Result<String, String> {
        let resource = ConfigResource::Topic(topic.to_owned());
        let mut all = self.admin.describe_configs(&[resource]).await.map_err(|e| e.to_string())?;
        let config = all.remove(0).map_err(|e| e.to_string())?;
        config.get(key).and_then(|entry| entry.value.clone()).ok_or(format!("{topic} has no {key}"))
    }

    /// Makes a topic by hand.
    pub async fn make_topic(&self, name: &str) {
        let topic = NewTopic { name: name.into(), partitions: 1, replicas: -1, config: BTreeMap::new() };
        let results = self.admin.create_topics(&[topic], false).await.unwrap();
        results.into_iter().for_each(|r| r.unwrap());
    }

    /// Deletes a topic by hand.
    pub async fn delete_topic(&self, name: &str) {
        let results = self.admin.delete_topics(&[name.to_owned()]).await.unwrap();
        results.into_iter().for_each(|r| r.unwrap());
    }

    /// Adds an entry by hand.
    pub async fn add(&self, entry: AclEntry) {
        self.admin.create_acls(&[entry]).await.unwrap().into_iter().for_each(|r| r.unwrap());
    }

    /// Takes an entry away by hand.
    pub async fn take_away(&self, entry: AclEntry) {
        let taken = self.admin.delete_acls(&[AclFilter::Exact(entry.clone())]).await.unwrap().remove(0).unwrap();
        assert_eq!(taken.len(), 1, "there was no entry {entry}");
    }

    /// What every broker makes of a login that fetches from a topic, if all say the same.
    pub async fn fetch(&self, login: &Login, topic: &str) -> Result<ProbeOutcome, String> {
        let each = KafkaProbe.probe_fetch(login, &[topic.to_owned()], None).await.map_err(|e| e.to_string())?;
        let outcomes: Vec<_> = each.values().collect();
        match outcomes.split_first() {
            Some((first, others)) if others.iter().all(|o| o == first) => Ok(**first),
            _ => Err(format!("brokers differ: {each:?}")),
        }
    }

    /// Waits until every broker makes `wanted` of a fetch.
    pub async fn let_fetch(&self, login: &Login, topic: &str, wanted: ProbeOutcome) {
        until(super::SOON, &[], &format!("a fetch from {topic} is {wanted:?} on every broker"), || async {
            let outcome = self.fetch(login, topic).await?;
            if outcome == wanted { Ok(()) } else { Err(format!("{outcome:?}")) }
        })
        .await;
    }
}

/// The way in that a client's Secret describes.
pub fn login(secret: &KubeSecret) -> Login {
    let data = secret.data.as_ref().unwrap();
    login_with(|key| data.get(key).map(|v| String::from_utf8(v.0.clone()).unwrap()))
}

/// The way in that these contents of files, by their names, describe.
pub fn login_with(get: impl Fn(&str) -> Option<String>) -> Login {
    let need = |key: &str| get(key).unwrap_or_else(|| panic!("there is no {key}"));
    let certificate = get("tls.crt").map(|cert| (cert, Secret::new(need("tls.key"))));
    let sasl =
        get("username").map(|username| KafkaSasl::ScramSha512 { username, password: Secret::new(need("password")) });
    KafkaEndpoint {
        bootstrap_servers: vec![need("bootstrapServers")],
        tls: Some(KafkaTls { ca_pem: get("ca.crt"), client: certificate }),
        sasl,
    }
}

/// The entry that lets `principal` do `operation` on a topic.
pub fn topic_entry(principal: &str, operation: Operation, topic: &str) -> AclEntry {
    AclEntry::allow(principal, operation, ResourceType::Topic, PatternType::Literal, topic)
}

/// The entry that lets `principal` use groups that start with `prefix`.
pub fn group_entry(principal: &str, prefix: &str) -> AclEntry {
    AclEntry::allow(principal, Operation::Read, ResourceType::Group, PatternType::Prefixed, prefix)
}

/// [`topic_entry`] for Read, as the brokers' view has it.
pub fn reads(principal: &str, topic: &str) -> String {
    topic_entry(principal, Operation::Read, topic).to_string()
}

/// [`topic_entry`] for Write, as the brokers' view has it.
pub fn writes(principal: &str, topic: &str) -> String {
    topic_entry(principal, Operation::Write, topic).to_string()
}

/// [`group_entry`], as the brokers' view has it.
pub fn groups(principal: &str, prefix: &str) -> String {
    group_entry(principal, prefix).to_string()
}
