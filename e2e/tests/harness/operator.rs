//! The operator's processes: which one leads, and what can befall it.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, LogParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::shell::run;
use super::wait::until;
use super::{Harness, NAMESPACE, SOON};

const LEASE: &str = "weir";

/// See the module.
pub struct Operator {
    pods: Api<Pod>,
    leases: Api<Lease>,
}

/// A process that is stopped, and goes on at the latest when this is dropped.
pub struct Frozen(Pid);

impl Frozen {
    /// Lets it go on.
    pub fn thaw(self) {}
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // It may have been ended meanwhile.
        let _ = kill(self.0, Signal::SIGCONT);
    }
}

impl Operator {
    pub fn of(h: &Harness) -> Self {
        let client = h.client.clone();
        Self { pods: Api::namespaced(client.clone(), NAMESPACE), leases: Api::namespaced(client, NAMESPACE) }
    }

    /// The pod that leads.
    pub async fn leader(&self) -> String {
        until(SOON, &[], "an instance leads", || async {
            let holder = self.holder().await.ok_or("nobody leads")?;
            let pod = self.pods.get_opt(&holder).await.map_err(|e| e.to_string())?;
            if pod.is_some_and(|p| container(&p).is_some()) { Ok(holder) } else { Err(format!("{holder} is gone")) }
        })
        .await
    }

    /// The pod that leads, once it governs the lab's Kafka.
    pub async fn governing(&self) -> String {
        until(SOON, &[], "an instance governs", || async {
            let holder = self.holder().await.ok_or("nobody leads")?;
            if self.governs(&holder).await { Ok(holder) } else { Err(format!("{holder} does not yet")) }
        })
        .await
    }

    /// Whether a pod came so far as to govern, by its log.
    pub async fn governs(&self, pod: &str) -> bool {
        // One that just starts, or is just gone, has no log.
        let log = self.pods.logs(pod, &LogParams::default()).await.unwrap_or_default();
        log.contains("\"governing\"")
    }

    async fn holder(&self) -> Option<String> {
        let lease = self.leases.get_opt(LEASE).await.unwrap()?;
        lease.spec?.holder_identity.filter(|h| !h.is_empty())
    }

    /// Waits until an instance other than `before` leads.
    pub async fn led_by_another_than(&self, before: &str) {
        until(SOON, &[], &format!("another than {before} leads"), || async {
            match self.holder().await {
                Some(holder) if holder != before => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }

    /// How often a pod's container was started anew.
    pub async fn restarts(&self, pod: &str) -> i32 {
        let pod = self.pods.get(pod).await.unwrap();
        pod.status.and_then(|s| s.container_statuses).map_or(0, |c| c.iter().map(|c| c.restart_count).sum())
    }

    /// Has whoever leads end in an orderly way. Returns its name.
    pub async fn end_leader(&self) -> String {
        let leader = self.leader().await;
        self.pods.delete(&leader, &DeleteParams::default()).await.unwrap();
        leader
    }

    /// Kills whoever leads with SIGKILL, and takes its pod away. Its Lease is taken from it, since it is surely dead, so that
    /// nobody waits for the end of its time. Returns its name.
    ///
    /// At times the kubelet starts the container once more before it learns that the pod is gone. That one may lead for a
    /// moment, until it is ended without a way to say so: then the Lease has to run out.
    pub async fn kill_leader(&self) -> String {
        let leader = self.leader().await;
        if let Some(pid) = self.pid(&leader).await {
            let _ = kill(pid, Signal::SIGKILL);
        }
        // Without that, the kubelet would wait longer and longer before it starts the container again.
        let _ = self.pods.delete(&leader, &DeleteParams::default().grace_period(0)).await;
        until(SOON, &[], &format!("{leader} is gone"), || async {
            match self.pods.get_opt(&leader).await.map_err(|e| e.to_string())? {
                None => Ok(()),
                Some(_) => Err("it is there".into()),
            }
        })
        .await;
        let lease = self.leases.get(LEASE).await.unwrap();
        if lease.spec.and_then(|s| s.holder_identity).as_ref() == Some(&leader) {
            let nobody = json!({"spec": {"holderIdentity": ""}});
            self.leases.patch(LEASE, &PatchParams::default(), &Patch::Merge(nobody)).await.unwrap();
        }
        leader
    }

    /// Stops a pod's process.
    pub async fn freeze(&self, pod: &str) -> Frozen {
        let pid = self.pid(pod).await.unwrap_or_else(|| panic!("{pod} has no process"));
        kill(pid, Signal::SIGSTOP).unwrap();
        Frozen(pid)
    }

    /// The process of a pod's container, as containerd has it.
    async fn pid(&self, pod: &str) -> Option<Pid> {
        let id = container(&self.pods.get(pod).await.unwrap())?;
        let tasks = run("ctr", &["tasks", "list"]).await;
        let task = tasks.lines().find(|line| line.starts_with(&id))?;
        Some(Pid::from_raw(task.split_whitespace().nth(1)?.parse().ok()?))
    }

    /// Has so many replicas; waits for it where there are to be none.
    pub async fn scale(&self, replicas: u8) {
        let to = format!("--replicas={replicas}");
        run("kubectl", &["-n", NAMESPACE, "scale", "deployment", "weir", &to]).await;
        if replicas == 0 {
            self.none_is_left(&ListParams::default().labels("app.kubernetes.io/component=operator")).await;
        }
    }

    /// Waits until nothing of Weir's runs.
    pub async fn no_pod_is_left(&self) {
        self.none_is_left(&ListParams::default()).await;
    }

    async fn none_is_left(&self, which: &ListParams) {
        until(Duration::from_secs(60), &[], "no pod of the operator is left", || async {
            let pods = self.pods.list(which).await.map_err(|e| e.to_string())?;
            let running: Vec<_> = pods.iter().filter(|p| container(p).is_some()).map(ResourceExt::name_any).collect();
            if running.is_empty() { Ok(()) } else { Err(format!("{running:?}")) }
        })
        .await;
    }
}

/// The id of a pod's running container.
fn container(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
    status.state.as_ref()?.running.as_ref()?;
    Some(status.container_id.as_ref()?.strip_prefix("containerd://")?.to_owned())
}
