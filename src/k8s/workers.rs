//! The workers of replication engines, which Weir runs in its own namespace: a Deployment with a Service before it, and a Secret
//! with all that they read. A second Secret has what Weir calls them with, which they never see.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Secret as KubeSecret, Service};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use super::objects::{FIELD_MANAGER, gone_is_fine};
use crate::api::{MANAGED_BY, MANAGED_BY_LABEL, MirrorMaker2};
use crate::domain::names::{EngineKey, workers_name};
use crate::domain::replication::connector::DIRECTORY;
use crate::domain::replication::worker::{PROPERTIES, REST_PORT};
use crate::domain::secret::Secret;

/// The label that all workers have, and its value.
const NAME: &str = "app.kubernetes.io/name";
const CONNECT: &str = "weir-connect";
/// The label that tells the workers of one engine from those of another.
const INSTANCE: &str = "app.kubernetes.io/instance";
/// On the Deployment: the cluster and the engine, for people.
const ENGINE: &str = "weir.dev/engine";
/// On pods: of which of their files a hash is in it. Those are read at the start; a change replaces the pods.
const CONFIGURED: &str = "weir.dev/configured";
/// On pods: of the other files. A change of it has the kubelet look at the Secret at once.
const FILES: &str = "weir.dev/files";
/// What starts a worker where the engine does not say.
const COMMAND: &str = "/opt/kafka/bin/connect-distributed.sh";

/// The end of the names of files that are binary.
const BINARY: &str = ".p12";

/// Contents by key; of binary ones, whose names end in `.p12`, in Base64.
pub type Files = BTreeMap<String, Secret>;

/// The workers of one engine.
pub struct Workers {
    client: Client,
    namespace: String,
    engine: EngineKey,
    name: String,
}

impl Workers {
    /// Those of `engine`, whose identity has `uid`, in `namespace`.
    pub fn new(client: Client, namespace: &str, engine: &EngineKey, uid: &str) -> Self {
        let name = workers_name(uid);
        Self { client, namespace: namespace.to_owned(), engine: engine.clone(), name }
    }

    /// The name that their Service answers to.
    pub fn host(&self) -> String {
        format!("{}.{}.svc", self.name, self.namespace)
    }

    /// Where they are called.
    pub fn url(&self) -> String {
        format!("https://{}:{REST_PORT}", self.host())
    }

    /// What they read; `None` where there are none.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn files(&self) -> Result<Option<Files>, kube::Error> {
        self.read(&self.name).await
    }

    /// What Weir calls them with.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn caller(&self) -> Result<Option<Files>, kube::Error> {
        self.read(&self.caller_name()).await
    }

    async fn read(&self, name: &str) -> Result<Option<Files>, kube::Error> {
        let text = |key: &str, bytes: Vec<u8>| {
            if key.ends_with(BINARY) { Some(STANDARD.encode(bytes)) } else { String::from_utf8(bytes).ok() }
        };
        let file = |(key, bytes): (String, ByteString)| text(&key, bytes.0).map(|text| (key, Secret::new(text)));
        let files = |secret: KubeSecret| secret.data.into_iter().flatten().filter_map(file).collect();
        Ok(self.api::<KubeSecret>().get_opt(name).await?.map(files))
    }

    /// Writes what they read.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn put_files(&self, files: &Files) -> Result<(), kube::Error> {
        self.put(&self.name, files).await
    }

    /// Writes what Weir calls them with.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn put_caller(&self, files: &Files) -> Result<(), kube::Error> {
        self.put(&self.caller_name(), files).await
    }

    async fn put(&self, name: &str, files: &Files) -> Result<(), kube::Error> {
        let bytes = |key: &str, text: &Secret| {
            let decoded = key.ends_with(BINARY).then(|| STANDARD.decode(text.expose()).ok()).flatten();
            decoded.unwrap_or_else(|| text.expose().as_bytes().to_vec())
        };
        let data = files.iter().map(|(key, text)| (key.clone(), ByteString(bytes(key, text))));
        let secrets = self.api::<KubeSecret>();
        let before = secrets.get_metadata_opt(name).await?;
        let mut secret = KubeSecret { data: Some(data.collect()), ..KubeSecret::default() };
        secret.metadata.name = Some(name.to_owned());
        secret.metadata.labels = Some(self.labels());
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        match before {
            None => secrets.create(&params, &secret).await.map(drop),
            Some(before) if before.labels().get(INSTANCE) != Some(&self.name) => Err(kube::Error::Service(
                format!("Secret {name} is not Weir's: delete it, and Weir makes its own").into(),
            )),
            Some(before) => {
                secret.metadata.resource_version = before.resource_version();
                secrets.replace(name, &params, &secret).await.map(drop)
            }
        }
    }

    /// Makes the Deployment and the Service as they should be. `configured` is a hash of what the workers read at their start.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn deploy(&self, engine: &MirrorMaker2, configured: &str) -> Result<(), kube::Error> {
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let service = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": self.name, "labels": self.labels()},
            "spec": {
                "selector": self.labels(),
                "ports": [{"name": "rest", "port": REST_PORT, "targetPort": "rest"}],
            },
        });
        self.api::<Service>().patch(&self.name, &params, &Patch::Apply(service)).await?;
        let deployment = self.deployment(engine, configured);
        self.api::<Deployment>().patch(&self.name, &params, &Patch::Apply(deployment)).await.map(drop)
    }

    fn deployment(&self, engine: &MirrorMaker2, configured: &str) -> Value {
        let default = vec![COMMAND.to_owned()];
        let command = if engine.command.is_empty() { &default } else { &engine.command };
        let mut container = json!({
            "name": "worker",
            "image": engine.image,
            "command": command,
            "args": [format!("{DIRECTORY}/{PROPERTIES}")],
            "env": [
                {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "KAFKA_HEAP_OPTS", "value": "-XX:MaxRAMPercentage=60.0"},
                {"name": "LOG_DIR", "value": "/tmp/logs"},
            ],
            "ports": [{"name": "rest", "containerPort": REST_PORT}],
            // Who calls needs a certificate, which a kubelet has not.
            "readinessProbe": {"tcpSocket": {"port": "rest"}, "periodSeconds": 2},
            "livenessProbe": {"tcpSocket": {"port": "rest"}, "initialDelaySeconds": 60, "periodSeconds": 20, "failureThreshold": 6},
            "startupProbe": {"tcpSocket": {"port": "rest"}, "periodSeconds": 2, "failureThreshold": 150},
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            },
            "volumeMounts": [
                {"name": "files", "mountPath": DIRECTORY, "readOnly": true},
                {"name": "tmp", "mountPath": "/tmp"},
            ],
        });
        if let Some(policy) = engine.image_pull_policy {
            container["imagePullPolicy"] = json!(policy);
        }
        // A backlog of a share takes a task 365 MB: measured with a heap of 256 MB.
        let default = json!({"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"memory": "1Gi"}});
        container["resources"] = engine.resources.as_ref().map_or(default, |r| json!(r));
        let engine_name = format!("{}/{}", self.engine.cluster, self.engine.name);
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": self.name, "labels": self.labels(), "annotations": {ENGINE: engine_name}},
            "spec": {
                "replicas": engine.replicas,
                "selector": {"matchLabels": self.labels()},
                "template": {
                    "metadata": {"labels": self.labels(), "annotations": {CONFIGURED: configured}},
                    "spec": {
                        "automountServiceAccountToken": false,
                        "enableServiceLinks": false,
                        "securityContext": {
                            "runAsNonRoot": true, "runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000,
                            "seccompProfile": {"type": "RuntimeDefault"},
                        },
                        "containers": [container],
                        "volumes": [
                            {"name": "files", "secret": {"secretName": self.name, "defaultMode": 0o440}},
                            {"name": "tmp", "emptyDir": {}},
                        ],
                    },
                },
            },
        })
    }

    /// Has every worker see its files at once, which a kubelet else looks at about once a minute.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn show_files(&self, hash: &str) -> Result<(), kube::Error> {
        let pods = self.api::<Pod>();
        let selector = ListParams::default().labels(&format!("{INSTANCE}={}", self.name));
        for pod in pods.list(&selector).await? {
            if pod.annotations().get(FILES).is_none_or(|seen| seen != hash) {
                let patch = json!({"metadata": {"annotations": {FILES: hash}}});
                match pods.patch(&pod.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await {
                    Err(kube::Error::Api(status)) if status.is_not_found() => {}
                    result => drop(result?),
                }
            }
        }
        Ok(())
    }

    /// Removes all of it.
    ///
    /// # Errors
    /// As the API server says; what is gone is no error.
    pub async fn remove(&self) -> Result<(), kube::Error> {
        remove(&self.client, &self.namespace, &self.name).await
    }

    fn caller_name(&self) -> String {
        format!("{}-caller", self.name)
    }

    fn labels(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            (MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned()),
            (NAME.to_owned(), CONNECT.to_owned()),
            (INSTANCE.to_owned(), self.name.clone()),
        ])
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

/// Removes the workers of engines that nobody offers any more: all but those with these names.
///
/// # Errors
/// As the API server says.
pub async fn sweep(client: &Client, namespace: &str, offered: &BTreeSet<String>) -> Result<(), kube::Error> {
    let secrets: Api<KubeSecret> = Api::namespaced(client.clone(), namespace);
    let ours = ListParams::default().labels(&format!("{NAME}={CONNECT},{MANAGED_BY_LABEL}={MANAGED_BY}"));
    let found = secrets.list_metadata(&ours).await?;
    let named: BTreeSet<_> = found.iter().filter_map(|s| s.labels().get(INSTANCE).cloned()).collect();
    for name in named.difference(offered) {
        remove(client, namespace, name).await?;
    }
    Ok(())
}

/// The Secret that the workers read goes last: as long as it is there, the rest is looked for.
async fn remove(client: &Client, namespace: &str, name: &str) -> Result<(), kube::Error> {
    let now = DeleteParams::background();
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    gone_is_fine(deployments.delete(name, &now).await.map(drop))?;
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    gone_is_fine(services.delete(name, &now).await.map(drop))?;
    let secrets: Api<KubeSecret> = Api::namespaced(client.clone(), namespace);
    gone_is_fine(secrets.delete(&format!("{name}-caller"), &now).await.map(drop))?;
    gone_is_fine(secrets.delete(name, &now).await.map(drop))
}
