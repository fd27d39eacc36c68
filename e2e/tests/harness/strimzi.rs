//! Strimzi: its own definition of KafkaMirrorMaker2, and in the place of its operator, which cannot be had here, a stand-in that runs
//! real Kafka Connect workers by what a resource says and by nothing else. It does what Strimzi's documentation says of states,
//! of positions and of the status.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::task::AbortHandle;
use weir_e2e::lab::build::strimzi_crd;
use weir_e2e::lab::paths::Paths;

use super::shell::{kubectl, try_run};
use super::tenant::Tenant;
use super::{Harness, SOON, until};

const RESOURCES: &str = "kafkamirrormaker2s.kafka.strimzi.io";
/// Where the workers see the Secret that a resource names.
const SECRETS: &str = "/etc/secrets";
/// How often the stand-in looks.
const EVERY: Duration = Duration::from_millis(500);

/// See the module.
pub struct Strimzi {
    pub namespace: Tenant,
    image: String,
    operator: Option<AbortHandle>,
}

impl Strimzi {
    /// A namespace for its resources, which did not enrol, in a Kubernetes that does not know it.
    pub async fn absent(h: &Harness) -> Self {
        kubectl(&["delete", "--ignore-not-found", "crd", RESOURCES]).await;
        Self { namespace: h.stranger("strimzi", &[]).await, image: h.lab.images.kafka.clone(), operator: None }
    }

    /// What Weir is told of it.
    pub fn engine(&self) -> Value {
        json!({"namespace": self.namespace.name, "resources": {"requests": {"memory": "320Mi", "cpu": "50m"}}})
    }

    /// Has the API server know Strimzi's kind.
    pub async fn define(&self) {
        let definition = strimzi_crd(&Paths::find().unwrap()).unwrap();
        kubectl(&["apply", "--server-side", "-f", &definition.display().to_string()]).await;
        until(SOON, &[], "the kind is served", || async {
            let (is_served, said) = try_run("kubectl", &["-n", &self.namespace.name, "get", RESOURCES], "").await;
            if is_served { Ok(()) } else { Err(said) }
        })
        .await;
    }

    /// Begins to do what Strimzi does.
    pub fn operate(&mut self) {
        let (namespace, image) = (self.namespace.name.clone(), self.image.clone());
        let operator = tokio::spawn(async move {
            loop {
                for resource in resources(&namespace).await {
                    if let Err(why) = reconcile(&namespace, &image, &resource).await {
                        eprintln!("the stand-in for Strimzi: {why}");
                    }
                }
                tokio::time::sleep(EVERY).await;
            }
        });
        self.operator = Some(operator.abort_handle());
    }

    /// Strimzi's resources there.
    pub async fn resources(&self) -> Vec<Value> {
        resources(&self.namespace.name).await
    }

    /// Whether the API server takes the resource as it is, where no field may be unknown.
    pub async fn is_valid(&self, resource: &Value) -> Result<(), String> {
        let mut resource = resource.clone();
        resource["metadata"] = json!({"name": "as-new", "annotations": resource["metadata"]["annotations"]});
        let create = ["-n", &self.namespace.name, "create", "--dry-run=server", "--validate=strict", "-f", "-"];
        let (taken, said) = try_run("kubectl", &create, &resource.to_string()).await;
        if taken { Ok(()) } else { Err(said) }
    }

    /// The names of the Secrets and ConfigMaps there that are Weir's.
    pub async fn left(&self) -> String {
        let weirs = ["-l", "app.kubernetes.io/managed-by=weir", "-o", "name"];
        kubectl(&[&["-n", &self.namespace.name, "get", "secrets,configmaps"], &weirs[..]].concat()).await
    }

    /// Deletes the one resource.
    pub async fn delete(&self) {
        kubectl(&["-n", &self.namespace.name, "delete", RESOURCES, "--all", "--cascade=foreground"]).await;
    }

    /// Edits a field of what the one resource copies.
    pub async fn edit(&self, field: &str, value: &str) {
        let resource = self.resources().await.remove(0);
        let change = json!([{"op": "replace", "path": format!("/spec/mirrors/0/{field}"), "value": value}]).to_string();
        let name = text(&resource["metadata"]["name"]);
        kubectl(&["-n", &self.namespace.name, "patch", RESOURCES, name, "--type=json", "-p", &change]).await;
    }

    /// Ends it, and what it was.
    pub async fn end(self) {
        if let Some(operator) = &self.operator {
            operator.abort();
        }
        self.namespace.end().await;
        kubectl(&["delete", "crd", RESOURCES]).await;
    }
}

async fn resources(namespace: &str) -> Vec<Value> {
    let (_, text) = try_run("kubectl", &["-n", namespace, "get", RESOURCES, "-o", "json"], "").await;
    let all: Value = serde_json::from_str(&text).unwrap_or_default();
    all["items"].as_array().cloned().unwrap_or_default()
}

/// Has one resource be as it says: its workers, its connector, its positions, its status.
async fn reconcile(namespace: &str, image: &str, resource: &Value) -> Result<(), String> {
    if !resource["metadata"]["deletionTimestamp"].is_null() {
        return Ok(());
    }
    let name = text(&resource["metadata"]["name"]);
    deploy(namespace, image, resource).await?;
    let target = &resource["spec"]["target"];
    let mirror = &resource["spec"]["mirrors"][0];
    let connector = format!("{}->{}.MirrorSourceConnector", text(&mirror["source"]["alias"]), text(&target["alias"]));
    let url = format!("http://{name}.{namespace}.svc:8083/connectors");
    let at = format!("{url}/{}", connector.replace('>', "%3E"));
    let config = config(resource);
    let asked = text(&mirror["sourceConnector"]["state"]);
    match call("GET", &format!("{at}/config"), None).await {
        // Up to 1.1 Strimzi makes connectors that run, whatever is asked, and stops them at a later look.
        Err(_) => {
            call("GET", &url, None).await?;
            call("PUT", &format!("{at}/config"), Some(&config)).await?;
            return Ok(());
        }
        Ok(mut there) => {
            there.as_object_mut().ok_or("no configuration")?.remove("name");
            if there != config {
                call("PUT", &format!("{at}/config"), Some(&config)).await?;
            }
        }
    }
    let status = call("GET", &format!("{at}/status"), None).await?;
    let is_stopped = status["connector"]["state"] == "STOPPED";
    match asked {
        "stopped" if !is_stopped => drop(call("PUT", &format!("{at}/stop"), None).await?),
        "running" if is_stopped => drop(call("PUT", &format!("{at}/resume"), None).await?),
        _ => {}
    }
    positions(namespace, resource, &connector, &at, is_stopped).await?;
    let status = call("GET", &format!("{at}/status"), None).await?;
    let status = json!({"status": {"connectors": [status], "observedGeneration": resource["metadata"]["generation"],
        "conditions": [{"type": "Ready", "status": "True"}]}});
    if status["status"]["connectors"] != resource["status"]["connectors"] {
        patch(namespace, name, &["--subresource=status"], &status).await?;
    }
    Ok(())
}

/// Does what the annotation says about positions, and takes it off.
async fn positions(
    namespace: &str,
    resource: &Value,
    connector: &str,
    at: &str,
    is_stopped: bool,
) -> Result<(), String> {
    let annotations = &resource["metadata"]["annotations"];
    let what = annotations["strimzi.io/connector-offsets"].as_str();
    if what.is_none() || annotations["strimzi.io/mirrormaker-connector"] != connector {
        return Ok(());
    }
    let source = &resource["spec"]["mirrors"][0]["sourceConnector"];
    let key = format!("{}.json", connector.replace("->", "--"));
    match what {
        Some("list") => {
            let listed = call("GET", &format!("{at}/offsets"), None).await?;
            let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
                "name": source["listOffsets"]["toConfigMap"]["name"], "ownerReferences": [owner(resource)]},
                "data": {key: listed.to_string()}});
            apply(namespace, &map).await?;
        }
        Some("alter") if is_stopped => {
            let from = text(&source["alterOffsets"]["fromConfigMap"]["name"]);
            let (_, map) = try_run("kubectl", &["-n", namespace, "get", "configmap", from, "-o", "json"], "").await;
            let map: Value = serde_json::from_str(&map).map_err(|e| format!("{from}: {e}"))?;
            let body = serde_json::from_str(text(&map["data"][key])).map_err(|e| format!("{from}: {e}"))?;
            call("PATCH", &format!("{at}/offsets"), Some(&body)).await?;
        }
        // Strimzi says so in a condition, and leaves it for its next look.
        _ => return Err(format!("{what:?} of a connector that is not stopped")),
    }
    let off = json!({"metadata": {"annotations":
        {"strimzi.io/connector-offsets": null, "strimzi.io/mirrormaker-connector": null}}});
    patch(namespace, text(&resource["metadata"]["name"]), &[], &off).await
}

/// The workers of a resource.
async fn deploy(namespace: &str, image: &str, resource: &Value) -> Result<(), String> {
    let (name, target) = (text(&resource["metadata"]["name"]), &resource["spec"]["target"]);
    let mut lines = BTreeMap::from([
        ("group.id".to_owned(), text(&target["groupId"]).to_owned()),
        ("config.storage.topic".to_owned(), text(&target["configStorageTopic"]).to_owned()),
        ("offset.storage.topic".to_owned(), text(&target["offsetStorageTopic"]).to_owned()),
        ("status.storage.topic".to_owned(), text(&target["statusStorageTopic"]).to_owned()),
        ("listeners".to_owned(), "http://0.0.0.0:8083".to_owned()),
        ("rest.advertised.host.name".to_owned(), format!("{name}.{namespace}.svc")),
        ("plugin.discovery".to_owned(), "service_load".to_owned()),
        ("config.providers".to_owned(), "secrets".to_owned()),
        (
            "config.providers.secrets.class".to_owned(),
            "org.apache.kafka.common.config.provider.DirectoryConfigProvider".to_owned(),
        ),
    ]);
    for converter in ["key.converter", "value.converter"] {
        lines.insert(converter.into(), "org.apache.kafka.connect.converters.ByteArrayConverter".into());
    }
    for prefix in ["", "producer.", "consumer.", "admin."] {
        lines.extend(login(prefix, target).into_iter().map(|(key, value)| (key, text(&value).to_owned())));
    }
    let given = target["config"].as_object().into_iter().flatten();
    lines.extend(given.map(|(key, value)| (key.clone(), value.to_string().trim_matches('"').to_owned())));
    let properties: String = lines.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
    let auth = &target["authentication"];
    let of = |kind: &str| auth[kind]["secretName"].as_str();
    let secret = of("passwordSecret").or_else(|| of("certificateAndKey")).ok_or("no Secret")?;
    let metadata = json!({"name": name, "ownerReferences": [owner(resource)]});
    let labels = json!({"app": name});
    let settings = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("{name}-connect"),
        "ownerReferences": [owner(resource)]}, "data": {"worker.properties": properties}});
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata,
        "spec": {"selector": labels, "ports": [{"port": 8083}]}});
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {
        "selector": {"matchLabels": labels}, "strategy": {"type": "Recreate"}, "template": {
            // Other properties, other pods.
            "metadata": {"labels": labels, "annotations": {"properties": properties}}, "spec": {
                "automountServiceAccountToken": false,
                "containers": [{
                    "name": "connect", "image": image, "imagePullPolicy": "Never",
                    "command": ["/opt/kafka/bin/connect-distributed.sh", "/etc/connect/worker.properties"],
                    "env": [{"name": "KAFKA_HEAP_OPTS", "value": "-Xmx200m"}, {"name": "LOG_DIR", "value": "/tmp/logs"}],
                    "resources": resource["spec"]["resources"],
                    "volumeMounts": [{"name": "own", "mountPath": "/etc/connect"}, {"name": "secrets", "mountPath": SECRETS}]}],
                "volumes": [{"name": "own", "configMap": {"name": format!("{name}-connect")}},
                    {"name": "secrets", "secret": {"secretName": secret}}]}}}});
    for object in [settings, service, deployment] {
        apply(namespace, &object).await?;
    }
    Ok(())
}

/// The configuration of a resource's connector: what is the connector's own comes over what is of the clusters.
fn config(resource: &Value) -> Value {
    let mirror = &resource["spec"]["mirrors"][0];
    let source = &mirror["sourceConnector"];
    let mut config = Map::new();
    for (prefix, cluster) in [("source.cluster.", &mirror["source"]), ("target.cluster.", &resource["spec"]["target"])]
    {
        config.insert(format!("{prefix}alias"), cluster["alias"].clone());
        config.extend(login(prefix, cluster));
    }
    config.extend(source["config"].as_object().cloned().unwrap_or_default());
    config.insert("topics".into(), mirror["topicsPattern"].clone());
    config.insert("topics.exclude".into(), mirror["topicsExcludePattern"].clone());
    config.insert("connector.class".into(), json!("org.apache.kafka.connect.mirror.MirrorSourceConnector"));
    config.insert("tasks.max".into(), json!(source["tasksMax"].to_string()));
    Value::Object(config)
}

/// How workers, or a connector of theirs, log in to a cluster.
fn login(prefix: &str, cluster: &Value) -> Map<String, Value> {
    let secret = |key: &Value| format!("${{secrets:{SECRETS}:{}}}", text(key));
    let mut login = Map::new();
    let mut set = |key: &str, value: String| drop(login.insert(format!("{prefix}{key}"), json!(value)));
    set("bootstrap.servers", text(&cluster["bootstrapServers"]).to_owned());
    if let Some(authority) = cluster["tls"]["trustedCertificates"].get(0) {
        set("ssl.truststore.type", "PEM".into());
        set("ssl.truststore.certificates", secret(&authority["certificate"]));
    }
    let auth = &cluster["authentication"];
    if auth["type"] == "tls" {
        set("security.protocol", "SSL".into());
        set("ssl.keystore.type", "PEM".into());
        set("ssl.keystore.certificate.chain", secret(&auth["certificateAndKey"]["certificate"]));
        set("ssl.keystore.key", secret(&auth["certificateAndKey"]["key"]));
    } else {
        let module = "org.apache.kafka.common.security.scram.ScramLoginModule";
        let (user, password) = (text(&auth["username"]), secret(&auth["passwordSecret"]["password"]));
        set("security.protocol", "SASL_SSL".into());
        set("sasl.mechanism", "SCRAM-SHA-512".into());
        set("sasl.jaas.config", format!("{module} required username=\"{user}\" password=\"{password}\";"));
    }
    login
}

fn owner(resource: &Value) -> Value {
    json!({"apiVersion": "kafka.strimzi.io/v1", "kind": "KafkaMirrorMaker2", "name": resource["metadata"]["name"],
        "uid": resource["metadata"]["uid"], "blockOwnerDeletion": true})
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

async fn apply(namespace: &str, object: &Value) -> Result<(), String> {
    let (done, said) = try_run("kubectl", &["-n", namespace, "apply", "-f", "-"], &object.to_string()).await;
    if done { Ok(()) } else { Err(said) }
}

async fn patch(namespace: &str, name: &str, more: &[&str], patch: &Value) -> Result<(), String> {
    let patch = patch.to_string();
    let of = ["-n", namespace, "patch", RESOURCES, name, "--type=merge", "-p", &patch];
    let (done, said) = try_run("kubectl", &[&of, more].concat(), "").await;
    if done { Ok(()) } else { Err(said) }
}

async fn call(method: &str, url: &str, body: Option<&Value>) -> Result<Value, String> {
    let body = body.map(Value::to_string);
    let mut arguments =
        vec!["--silent", "--show-error", "--fail-with-body", "--max-time", "30", "--request", method, url];
    if let Some(body) = &body {
        arguments.extend(["--header", "Content-Type: application/json", "--data", body]);
    }
    let (done, said) = try_run("curl", &arguments, "").await;
    if done { Ok(serde_json::from_str(&said).unwrap_or_default()) } else { Err(format!("{method} {url}: {said}")) }
}
