//! Another Kubernetes: an API server of its own, without nodes, for an installation of Weir that runs as a process.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::process::{Child, Command};

use super::shell::run;
use super::{Harness, NAMESPACE, SOON, until};

/// Where its API server answers, and what is served of its Weir.
const PORT: u16 = 6444;
const METRICS: &str = "127.0.0.1:18080";

/// See the module. Everything ends when this is dropped.
pub struct SecondKubernetes {
    pub client: Client,
    kubeconfig: PathBuf,
    log: PathBuf,
    _api_server: Child,
}

impl SecondKubernetes {
    /// Starts it, with Weir's kinds and namespace.
    pub async fn start(h: &Harness) -> Self {
        let start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        let mut argv = arguments_of("kube-apiserver", &h.lab.state);
        argv.retain(|word| !word.starts_with("--secure-port="));
        // It shares etcd with the lab's own, and nothing in it.
        argv.extend([format!("--secure-port={PORT}"), format!("--etcd-prefix=/second-{start}")]);
        let api_server = spawn(Command::new(&argv[0]).args(&argv[1..]), &h.lab.state.join("logs/second-apiserver.log"));
        let kubeconfig = h.lab.state.join("kubeconfig/second");
        let first = std::fs::read_to_string(&h.lab.kubeconfig).unwrap();
        std::fs::write(&kubeconfig, first.replace(":6443", &format!(":{PORT}"))).unwrap();
        let config = Kubeconfig::read_from(&kubeconfig).unwrap();
        let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.unwrap();
        let client = Client::try_from(config).unwrap();
        let second =
            Self { client, kubeconfig, log: h.lab.state.join("logs/second-weir.log"), _api_server: api_server };
        let file = second.kubeconfig.display().to_string();
        until(SOON, &[], "the second API server answers", || async {
            second.client.apiserver_version().await.map(drop).map_err(|e| e.to_string())
        })
        .await;
        run("kubectl", &["--kubeconfig", &file, "apply", "--server-side", "-f", "crds"]).await;
        run("kubectl", &["--kubeconfig", &file, "wait", "--for=condition=Established", "crd", "--all"]).await;
        run("kubectl", &["--kubeconfig", &file, "create", "namespace", NAMESPACE]).await;
        second
    }

    /// Runs Weir there.
    pub fn weir(&self) -> Child {
        let arguments = ["run", "--namespace", NAMESPACE, "--name", "second", "--listen", METRICS];
        spawn(Command::new("weir").args(arguments).env("KUBECONFIG", &self.kubeconfig), &self.log)
    }

    /// How often Weir there wrote `words` to its log.
    pub fn said(&self, words: &str) -> usize {
        std::fs::read_to_string(&self.log).unwrap().matches(words).count()
    }
}

/// With which arguments a component of the lab runs, its program first.
fn arguments_of(component: &str, state: &Path) -> Vec<String> {
    let state: serde_json::Value = serde_json::from_slice(&std::fs::read(state.join("state.json")).unwrap()).unwrap();
    let pid = &state["components"][component]["pid"];
    let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    line.split_terminator('\0').map(str::to_owned).collect()
}

fn spawn(command: &mut Command, log: &Path) -> Child {
    let log = std::fs::File::create(log).unwrap();
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).kill_on_drop(true).spawn().unwrap()
}
