//! A Kafka of one broker beside the lab's own, set as a test wants it, and the StreamCluster that names it.

use kube::ResourceExt;
use serde_json::{Value, json};
use weir::api::StreamCluster;
use weir_e2e::lab::Lab;
use weir_e2e::lab::kafka_cluster::KafkaCluster;

use super::brokers::Brokers;
use super::install::cluster_manifest;
use super::shell::{kubectl, rolled_out, try_run};
use super::tenant::TEST_LABEL;
use super::{Harness, SOON, Tenant, until};

/// On namespaces that are tenants of such a Kafka; the value is its StreamCluster's name.
const TENANT_LABEL: &str = "weir.dev/kafka";

/// See the module.
pub struct OtherKafka {
    /// Name of its namespace and of its StreamCluster.
    pub name: String,
    pub brokers: Brokers,
    cluster: KafkaCluster,
    namespace: Tenant,
}

impl OtherKafka {
    /// Starts one with these broker properties.
    pub async fn start(h: &Harness, name: &str, properties: &[(&'static str, &'static str)]) -> Self {
        let namespace = h.stranger(name, &[]).await;
        let jwks = "jsonpath={.data.jwks\\.json}";
        let jwks = kubectl(&["-n", &h.lab.kafka.namespace, "get", "configmap", "kafka-config", "-o", jwks]).await;
        let mut cluster = KafkaCluster::beside(&h.lab, &namespace.name, &jwks);
        cluster.properties = properties.to_vec();
        deploy(h, &cluster).await;
        let brokers = connect(h, &cluster).await;
        Self { name: namespace.name.clone(), brokers, cluster, namespace }
    }

    /// Changes its broker's properties and starts it anew.
    pub async fn set(&mut self, h: &Harness, properties: &[(&'static str, &'static str)]) {
        self.cluster.properties = properties.to_vec();
        deploy(h, &self.cluster).await;
        kubectl(&["-n", &self.name, "rollout", "restart", "statefulset/kafka"]).await;
        rolled_out(&self.name, "statefulset/kafka").await;
        self.brokers = connect(h, &self.cluster).await;
    }

    /// The lab's StreamCluster, for this Kafka and for its own tenants.
    pub fn stream_cluster(&self) -> Value {
        let text =
            cluster_manifest().to_string().replace("bootstrap.kafka.svc", &format!("bootstrap.{}.svc", self.name));
        let mut object: Value = serde_json::from_str(&text).unwrap();
        let (key, value) = TEST_LABEL.split_once('=').unwrap();
        object["metadata"] = json!({"name": self.name, "labels": {key: value}});
        object["spec"]["tenancy"] = json!([{
            "name": "tenants",
            "namespaceSelector": {"matchLabels": {TENANT_LABEL: self.name}},
            "topicPrefixes": ["{namespace}."],
        }]);
        object["spec"]["identity"]["userClaims"] = json!([]);
        object
    }

    /// The same, which takes copies of every namespace, by an engine `mm2`.
    pub fn destination(&self, lab: &Lab) -> Value {
        let mut object = self.stream_cluster();
        object["spec"]["destinations"] = json!([{"name": "all", "namespaceSelector": {}}]);
        object["spec"]["replicationEngines"] = json!([{"name": "mm2", "mirrorMaker2": {
            "image": lab.images.kafka, "imagePullPolicy": "Never",
            "resources": {"requests": {"memory": "320Mi", "cpu": "50m"}}}}]);
        object
    }

    /// A namespace that is a tenant there, and of no other cluster.
    pub async fn tenant(&self, h: &Harness, name: &str) -> Tenant {
        let tenant = h.stranger(name, &[(TENANT_LABEL, &self.name)]).await;
        tenant.enrol().await;
        tenant
    }

    /// The manifest of an object, for this cluster instead of the lab's.
    pub fn here(&self, manifest: &str) -> String {
        manifest.replace("clusterRef: {name: main}", &format!("clusterRef: {{name: {}}}", self.name))
    }

    /// Ends `tenants`, then its StreamCluster, then itself.
    pub async fn end(self, h: &Harness, tenants: impl IntoIterator<Item = Tenant>) {
        let platform = h.platform();
        for tenant in tenants {
            tenant.end().await;
        }
        if platform.get::<StreamCluster>(&self.name).await.is_some() {
            platform.delete_and_wait::<StreamCluster>(&self.name).await;
        }
        self.namespace.end().await;
        let _ = std::fs::remove_dir_all(self.cluster.data(&h.lab.state));
    }

    /// Lets objects that wait for it go, although it is not governed.
    pub async fn abandon(&self, h: &Harness) {
        let annotations = json!({"metadata": {"annotations": {weir::api::ABANDON_ANNOTATION: "true"}}});
        h.platform().patch::<StreamCluster>(&self.name, annotations).await;
    }
}

async fn deploy(h: &Harness, cluster: &KafkaCluster) {
    let manifest = cluster.manifest_with_new_certificate(&h.lab).unwrap();
    let (applied, said) = try_run("kubectl", &["apply", "-f", "-"], &manifest).await;
    assert!(applied, "{said}");
    rolled_out(&cluster.namespace, "statefulset/kafka").await;
}

/// Waits until it answers its administrator.
async fn connect(h: &Harness, cluster: &KafkaCluster) -> Brokers {
    let bootstrap = cluster.bootstrap(9092);
    let around = [cluster.namespace.as_str()];
    until(SOON, &around, "the other Kafka answers", || async {
        let brokers = Brokers::at(&h.lab, &bootstrap).await.map_err(|e| e.to_string())?;
        match brokers.ids().await {
            Ok(ids) if ids == [0] => Ok(brokers),
            other => Err(format!("{other:?}")),
        }
    })
    .await
}

/// The message of a StreamCluster's condition Ready.
pub fn says(cluster: &StreamCluster) -> String {
    let ready = cluster.status.iter().flat_map(|s| &s.conditions).find(|c| c.type_ == "Ready");
    ready.map(|c| c.message.clone()).unwrap_or_else(|| panic!("{} says nothing", cluster.name_any()))
}
