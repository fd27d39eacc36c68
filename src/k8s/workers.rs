//! The workers of replication engines, which Weir runs in its own namespace: a Deployment with a Service before it, and a Secret
//! with all that they read. A second Secret has what Weir calls them with, which they never see.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Secret as KubeSecret, Service};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use super::files::{CONNECT, FilesSecret, INSTANCE, NAME, labels};
use super::objects::{FIELD_MANAGER, gone_is_fine};
use crate::api::{MANAGED_BY, MANAGED_BY_LABEL, MirrorMaker2};
use crate::domain::names::EngineKey;
use crate::domain::replication::connector::DIRECTORY;
use crate::domain::replication::worker::{PROPERTIES, REST_PORT};

/// On the Deployment: the cluster and the engine, for people.
const ENGINE: &str = "weir.dev/engine";
/// On pods: of which of their files a hash is in it. Those are read at the start; a change replaces the pods.
const CONFIGURED: &str = "weir.dev/configured";
/// On pods: of the other files. A change of it has the kubelet look at the Secret at once.
const FILES: &str = "weir.dev/files";
/// What starts a worker where the engine does not say.
const COMMAND: &str = "/opt/kafka/bin/connect-distributed.sh";

/// The workers of one engine.
pub struct Workers {
    client: Client,
    namespace: String,
    engine: EngineKey,
    name: String,
}

impl Workers {
    /// Those of `engine` that are called `name`, in `namespace`.
    pub fn new(client: Client, namespace: &str, engine: &EngineKey, name: &str) -> Self {
        Self { client, namespace: namespace.to_owned(), engine: engine.clone(), name: name.to_owned() }
    }

    /// The name that their Service answers to.
    pub fn host(&self) -> String {
        format!("{}.{}.svc", self.name, self.namespace)
    }

    /// Where they are called.
    pub fn url(&self) -> String {
        format!("https://{}:{REST_PORT}", self.host())
    }

    /// What they read; there is none where there are no workers.
    pub fn files(&self) -> FilesSecret {
        FilesSecret::new(&self.client, &self.namespace, &self.name, &self.name)
    }

    /// What Weir calls them with.
    pub fn caller(&self) -> FilesSecret {
        FilesSecret::new(&self.client, &self.namespace, &caller(&self.name), &self.name)
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

    fn labels(&self) -> BTreeMap<String, String> {
        labels(&self.name)
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

/// The name of the Secret with what Weir calls workers with.
fn caller(workers: &str) -> String {
    format!("{workers}-caller")
}

/// The Secret that the workers read goes last: as long as it is there, the rest is looked for.
async fn remove(client: &Client, namespace: &str, name: &str) -> Result<(), kube::Error> {
    let now = DeleteParams::background();
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    gone_is_fine(deployments.delete(name, &now).await.map(drop))?;
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    gone_is_fine(services.delete(name, &now).await.map(drop))?;
    let secrets: Api<KubeSecret> = Api::namespaced(client.clone(), namespace);
    gone_is_fine(secrets.delete(&caller(name), &now).await.map(drop))?;
    gone_is_fine(secrets.delete(name, &now).await.map(drop))
}
