//! Kubernetes: addresses, configuration and command lines of its components.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::build::Built;
use super::command::{read, render, run, write};
use super::paths::{INSIDE, Paths};
use super::pki::pair;

/// The node's name.
pub const NODE: &str = "weir-lab";
/// The node's address, where the API server and cluster DNS answer.
pub const NODE_IP: &str = "10.240.0.10";
/// The addresses of pods.
pub const POD_CIDR: &str = "10.244.0.0/24";
/// The addresses of Services.
const SERVICE_CIDR: &str = "10.96.0.0/16";
/// The API server's own address among them.
pub const SERVICE_IP: &str = "10.96.0.1";
/// Where the API server answers, inside the lab.
pub const API_SERVER: &str = "https://10.240.0.10:6443";
/// The issuer of ServiceAccount tokens.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// `/etc/hosts` inside the lab.
pub const HOSTS: &str = "127.0.0.1 localhost\n::1 localhost\n10.240.0.10 weir-lab\n";
/// `/etc/resolv.conf` inside the lab: cluster DNS, as in a pod of `default`.
pub const RESOLV_CONF: &str = "nameserver 10.240.0.10\n\
    search default.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:2\n";

/// Those who have a kubeconfig, named like their certificates.
const USERS: [&str; 6] = ["admin", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "coredns"];

/// A process of the lab.
#[derive(Clone, Debug)]
pub struct Component {
    /// What it is called in the state, in `status` and by its log.
    pub name: &'static str,
    /// The program and its arguments.
    pub argv: Vec<String>,
}

impl Component {
    /// A component of a program and its arguments.
    pub fn new(name: &'static str, program: impl AsRef<Path>, arguments: Vec<String>) -> Self {
        let mut argv = vec![program.as_ref().display().to_string()];
        argv.extend(arguments);
        Self { name, argv }
    }
}

/// Writes the kubeconfigs and the components' configuration files.
pub fn configure(paths: &Paths) -> Result<()> {
    for user in USERS {
        let config = kubeconfig(&paths.state, user)?;
        write(&paths.state.join("kubeconfig").join(user), &config)?;
        if user == "admin" {
            write(&paths.kubeconfig(), &config)?;
        }
    }
    let cgroup = paths.cgroup();
    let values = [("NODE", NODE), ("NODE_IP", NODE_IP), ("POD_CIDR", POD_CIDR), ("CGROUP", &cgroup)];
    for (name, text) in [
        ("kubelet.yaml", include_str!("../../manifests/kubelet.yaml")),
        ("kube-proxy.yaml", include_str!("../../manifests/kube-proxy.yaml")),
        ("Corefile", include_str!("../../manifests/Corefile")),
        ("cluster.yaml", include_str!("../../manifests/cluster.yaml")),
    ] {
        write(&paths.state.join("config").join(name), render(text, &values))?;
    }
    Ok(())
}

/// A kubeconfig that holds the certificates themselves, so that a test may
/// give it to a pod. JSON is YAML.
fn kubeconfig(state: &Path, user: &str) -> Result<String> {
    let encode = |path: &Path| Ok::<_, anyhow::Error>(STANDARD.encode(read(path)?));
    let files = pair(state, user);
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "weir-lab",
        "clusters": [{"name": "weir-lab", "cluster": {
            "server": API_SERVER,
            "certificate-authority-data": encode(&pair(state, "ca").cert)?,
        }}],
        "users": [{"name": user, "user": {
            "client-certificate-data": encode(&files.cert)?,
            "client-key-data": encode(&files.key)?,
        }}],
        "contexts": [{"name": "weir-lab", "context": {"cluster": "weir-lab", "user": user}}],
    });
    Ok(format!("{config:#}\n"))
}

fn cert(name: &str) -> String {
    pair(Path::new(INSIDE), name).cert.display().to_string()
}

fn key(name: &str) -> String {
    pair(Path::new(INSIDE), name).key.display().to_string()
}

/// etcd. What it holds need not survive the machine, so it never waits for the disk.
pub fn etcd(built: &Built) -> Component {
    let url = "http://127.0.0.1:2379";
    let arguments = vec![
        format!("--data-dir={INSIDE}/etcd"),
        format!("--listen-client-urls={url}"),
        format!("--advertise-client-urls={url}"),
        "--listen-peer-urls=http://127.0.0.1:2380".to_owned(),
        "--unsafe-no-fsync".to_owned(),
        "--quota-backend-bytes=4294967296".to_owned(),
        "--auto-compaction-mode=periodic".to_owned(),
        "--auto-compaction-retention=10m".to_owned(),
        "--log-level=warn".to_owned(),
    ];
    Component::new("etcd", built.etcd(), arguments)
}

/// The API server.
pub fn api_server(built: &Built) -> Component {
    let arguments = vec![
        format!("--advertise-address={NODE_IP}"),
        "--secure-port=6443".to_owned(),
        "--etcd-servers=http://127.0.0.1:2379".to_owned(),
        format!("--service-cluster-ip-range={SERVICE_CIDR}"),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        "--allow-privileged=true".to_owned(),
        "--profiling=false".to_owned(),
        format!("--client-ca-file={}", cert("ca")),
        format!("--tls-cert-file={}", cert("apiserver")),
        format!("--tls-private-key-file={}", key("apiserver")),
        format!("--service-account-issuer={ISSUER}"),
        format!("--service-account-key-file={}", cert("service-accounts")),
        format!("--service-account-signing-key-file={}", key("service-accounts")),
        format!("--kubelet-certificate-authority={}", cert("ca")),
        format!("--kubelet-client-certificate={}", cert("apiserver-kubelet-client")),
        format!("--kubelet-client-key={}", key("apiserver-kubelet-client")),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
    ];
    Component::new("kube-apiserver", built.kubernetes("kube-apiserver"), arguments)
}

/// What runs once the API server answers.
pub fn others(built: &Built) -> Vec<Component> {
    let config = |name: &str| format!("{INSIDE}/kubeconfig/{name}");
    let controlled = |name: &str| {
        vec![
            format!("--kubeconfig={}", config(name)),
            format!("--authentication-kubeconfig={}", config(name)),
            format!("--authorization-kubeconfig={}", config(name)),
            "--authentication-tolerate-lookup-failure=true".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
            "--leader-elect=false".to_owned(),
        ]
    };
    let mut manager = controlled("kube-controller-manager");
    manager.extend([
        "--use-service-account-credentials=true".to_owned(),
        // Tests make and delete thousands of objects at a time.
        "--kube-api-qps=300".to_owned(),
        "--kube-api-burst=600".to_owned(),
        format!("--service-account-private-key-file={}", key("service-accounts")),
        format!("--root-ca-file={}", cert("ca")),
        format!("--cluster-signing-cert-file={}", cert("ca")),
        format!("--cluster-signing-key-file={}", key("ca")),
    ]);
    let kubelet = vec![
        format!("--config={INSIDE}/config/kubelet.yaml"),
        format!("--kubeconfig={}", config("kubelet")),
        format!("--hostname-override={NODE}"),
        format!("--node-ip={NODE_IP}"),
        format!("--root-dir={INSIDE}/kubelet"),
        format!("--cert-dir={INSIDE}/kubelet/pki"),
    ];
    let program = |name: &'static str, arguments| Component::new(name, built.kubernetes(name), arguments);
    vec![
        program("kube-controller-manager", manager),
        program("kube-scheduler", controlled("kube-scheduler")),
        program("kubelet", kubelet),
        program("kube-proxy", vec![format!("--config={INSIDE}/config/kube-proxy.yaml")]),
        Component::new("coredns", built.coredns(), vec![format!("-conf={INSIDE}/config/Corefile")]),
    ]
}

/// `kubectl` as the administrator. Called inside the lab.
pub fn kubectl(paths: &Paths) -> Command {
    let mut command = Command::new(paths.bin().join("kubectl"));
    command.env("KUBECONFIG", paths.kubeconfig());
    command
}

/// Applies what the cluster needs beside the API server's defaults.
pub fn apply(paths: &Paths, file: &Path) -> Result<()> {
    run(kubectl(paths).args(["apply", "--server-side", "--force-conflicts", "-f"]).arg(file)).map(drop)
}
