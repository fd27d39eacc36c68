//! A Kafka Connect that a platform team runs, with TLS and passwords on its REST port.

use k8s_openapi::api::core::v1::Secret as KubeSecret;
use serde_json::{Value, json};
use weir::pki;

use super::other_kafka::OtherKafka;
use super::shell::{kubectl, rolled_out, try_run};
use super::tenant::Tenant;
use super::{Harness, NAMESPACE};

/// The name, and the password, by which Weir is known there.
const CALLER: (&str, &str) = ("weir", "let-me-in");
/// What Weir makes for the workers.
const COPIES: &str = "weir-copies";

/// See the module.
pub struct Connect {
    pub namespace: Tenant,
    image: String,
    ca: std::path::PathBuf,
}

impl Connect {
    /// With what it reads, not yet running, in a namespace that did not enrol. It keeps its own topics on `kafka`.
    pub async fn start(h: &Harness, kafka: &OtherKafka) -> Self {
        let namespace = h.stranger("connect", &[]).await;
        let host = format!("connect.{}.svc", namespace.name);
        let pair = pki::pair(&[host]).unwrap();
        let login = kafka.brokers.login();
        let admin = &h.lab.kafka.plain_admin;
        let properties = format!(
            "bootstrap.servers={}
security.protocol=SASL_SSL
sasl.mechanism=PLAIN
sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required username=\"{}\" password=\"{}\";
ssl.truststore.type=PEM
ssl.truststore.location=/etc/connect/kafka.pem
group.id=theirs
config.storage.topic=theirs-configs
offset.storage.topic=theirs-offsets
status.storage.topic=theirs-status
config.storage.replication.factor=1
offset.storage.replication.factor=1
status.storage.replication.factor=1
offset.flush.interval.ms=2000
key.converter=org.apache.kafka.connect.json.JsonConverter
value.converter=org.apache.kafka.connect.json.JsonConverter
plugin.discovery=service_load
config.providers=file
config.providers.file.class=org.apache.kafka.common.config.provider.FileConfigProvider
config.providers.file.param.allowed.paths=/etc/{COPIES}
listeners=https://0.0.0.0:8083
rest.advertised.host.name=connect.{}.svc
rest.extension.classes=org.apache.kafka.connect.rest.basic.auth.extension.BasicAuthSecurityRestExtension
listeners.https.ssl.client.auth=none
listeners.https.ssl.keystore.type=PKCS12
listeners.https.ssl.keystore.location=/etc/connect/rest.p12
listeners.https.ssl.keystore.password={password}
listeners.https.ssl.key.password={password}
listeners.https.ssl.truststore.type=PKCS12
listeners.https.ssl.truststore.location=/etc/connect/rest.p12
listeners.https.ssl.truststore.password={password}
",
            login.bootstrap_servers.join(","),
            admin.username,
            admin.password,
            namespace.name,
            password = pair.password.expose(),
        );
        let jaas = "KafkaConnect {org.apache.kafka.connect.rest.basic.auth.extension.PropertyFileLoginModule required \
                    file=\"/etc/connect/users\";};";
        let store = serde_json::to_value(k8s_openapi::ByteString(pair.server_store)).unwrap();
        let kafka_ca = std::fs::read_to_string(&h.lab.kafka.ca).unwrap();
        namespace
            .apply_value(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "connect"},
                "data": {"rest.p12": store},
                "stringData": {"worker.properties": properties, "jaas.conf": jaas, "kafka.pem": kafka_ca,
                    "users": format!("{}={}", CALLER.0, CALLER.1)}}))
            .await;
        let known = Tenant::existing(h.client.clone(), NAMESPACE);
        known
            .apply_value(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": namespace.name},
                "stringData": {"ca.crt": pair.authority_pem, "username": CALLER.0, "password": CALLER.1}}))
            .await;
        let ca = std::env::temp_dir().join(format!("{}.crt", namespace.name));
        std::fs::write(&ca, pair.authority_pem).unwrap();
        Self { namespace, image: h.lab.images.kafka.clone(), ca }
    }

    /// What Weir is told of it.
    pub fn engine(&self) -> Value {
        json!({"url": self.url(), "secretRef": {"name": self.namespace.name},
            "credentials": {"namespace": self.namespace.name, "secretName": COPIES, "directory": format!("/etc/{COPIES}")}})
    }

    fn url(&self) -> String {
        format!("https://connect.{}.svc:8083", self.namespace.name)
    }

    /// Runs it, with MirrorMaker 2 among its plugins or without.
    pub async fn run(&self, with_mirror_maker: bool) {
        let jar = "/opt/kafka/libs/connect-mirror-[0-9]*.jar";
        let before = if with_mirror_maker { String::new() } else { format!("rm {jar}; ") };
        let start = format!("{before}exec /opt/kafka/bin/connect-distributed.sh /etc/connect/worker.properties");
        let labels = json!({"app": "connect"});
        self.namespace
            .apply_value(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "connect"},
                "spec": {"selector": labels, "ports": [{"port": 8083}]}}))
            .await;
        self.namespace
            .apply_value(json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "connect"}, "spec": {
                "selector": {"matchLabels": labels}, "strategy": {"type": "Recreate"}, "template": {
                    "metadata": {"labels": labels}, "spec": {
                        "automountServiceAccountToken": false,
                        "containers": [{
                            "name": "connect", "image": self.image, "imagePullPolicy": "Never",
                            "command": ["sh", "-c", start],
                            "env": [{"name": "KAFKA_OPTS", "value": "-Djava.security.auth.login.config=/etc/connect/jaas.conf"},
                                {"name": "KAFKA_HEAP_OPTS", "value": "-Xmx200m"}, {"name": "LOG_DIR", "value": "/tmp/logs"}],
                            "readinessProbe": {"tcpSocket": {"port": 8083}, "periodSeconds": 2},
                            "volumeMounts": [{"name": "own", "mountPath": "/etc/connect"},
                                {"name": "copies", "mountPath": format!("/etc/{COPIES}")}]}],
                        "volumes": [{"name": "own", "secret": {"secretName": "connect"}},
                            {"name": "copies", "secret": {"secretName": COPIES, "optional": true}}]}}}}))
            .await;
        rolled_out(&self.namespace.name, "deployment/connect").await;
    }

    /// What its REST interface says.
    pub async fn get(&self, path: &str) -> String {
        self.call(path, &[]).await
    }

    /// Gives it a configuration by hand.
    pub async fn put(&self, path: &str, config: &Value) {
        let config = config.to_string();
        self.call(path, &["--request", "PUT", "--header", "Content-Type: application/json", "--data", &config]).await;
    }

    async fn call(&self, path: &str, more: &[&str]) -> String {
        let (user, url) = (format!("{}:{}", CALLER.0, CALLER.1), format!("{}{path}", self.url()));
        let ca = self.ca.display().to_string();
        let call = ["--silent", "--show-error", "--fail-with-body", "--cacert", &ca, "--user", &user, &url];
        let (ok, text) = try_run("curl", &[&call, more].concat(), "").await;
        assert!(ok, "{path}: {text}");
        text.trim().to_owned()
    }

    /// What Weir made for its workers.
    pub async fn secret(&self) -> Option<KubeSecret> {
        self.namespace.get::<KubeSecret>(COPIES).await
    }

    pub async fn end(self) {
        kubectl(&["-n", NAMESPACE, "delete", "secret", &self.namespace.name]).await;
        std::fs::remove_file(&self.ca).unwrap();
        self.namespace.end().await;
    }
}
