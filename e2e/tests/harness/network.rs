//! What NetworkPolicies let through, by np-guard's Network Config Analyzer: nothing in the lab enforces them.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};
use weir_e2e::lab::build::network_analyzer;
use weir_e2e::lab::paths::Paths;

use super::shell::{kubectl, run};

/// Who reaches pods of a namespace.
pub struct Reach(Vec<Rule>);

struct Rule {
    from: Source,
    pods: Vec<String>,
    connections: String,
}

enum Source {
    Networks(Vec<IpNet>),
    Namespaces(Vec<String>),
}

impl Reach {
    /// As the namespaces, the pods of `namespace` and of those of `others`, and its NetworkPolicies have it now.
    pub async fn of(namespace: &str, others: &[&str]) -> Self {
        let mut objects = vec![get(&["get", "namespaces"]).await];
        for namespace in [&[namespace], others].concat() {
            objects.push(get(&["-n", namespace, "get", "pods"]).await);
        }
        objects.push(get(&["-n", namespace, "get", "networkpolicies"]).await);
        let items: Vec<_> = objects.iter_mut().flat_map(|o| o["items"].as_array_mut().unwrap().drain(..)).collect();
        let path = std::env::temp_dir().join(format!("{namespace}.json"));
        std::fs::write(&path, json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()).unwrap();
        let (at, path) = (network_analyzer(&Paths::find().unwrap()), path.display().to_string());
        let packages = format!("PYTHONPATH={}", at.display());
        let program = at.join("bin/nca").display().to_string();
        let said =
            run("env", &[&packages, "python3", &program, "--connectivity", &path, "-r", &path, "-o", "txt"]).await;
        let rules: Vec<_> = said.lines().filter_map(|line| Rule::read(line, namespace)).collect();
        assert!(!rules.is_empty(), "{said}");
        Self(rules)
    }

    /// Whether an address reaches a port of a pod, by TCP.
    pub fn reaches(&self, address: &str, pod: &str, port: u16) -> bool {
        let address: IpAddr = address.parse().unwrap();
        self.any(pod, port, |from| matches!(from, Source::Networks(all) if all.iter().any(|n| n.contains(&address))))
    }

    /// Whether pods of a namespace do.
    pub fn pods_reach(&self, namespace: &str, pod: &str, port: u16) -> bool {
        let named = |all: &[String]| all.iter().any(|name| name == namespace);
        self.any(pod, port, |from| matches!(from, Source::Namespaces(all) if named(all)))
    }

    fn any(&self, pod: &str, port: u16, from: impl Fn(&Source) -> bool) -> bool {
        let to_it = |rule: &&Rule| rule.pods.iter().any(|name| name == pod || name == "*") && rule.has(port);
        self.0.iter().filter(to_it).any(|rule| from(&rule.from))
    }
}

impl Rule {
    /// `src: CIDR,CIDR dst_ns: [a] dst_pods: [*] conn: All connections`, or with `src_ns: [a,b] src_pods: [*]`.
    fn read(line: &str, namespace: &str) -> Option<Self> {
        let (from, rest) = line.split_once(" dst_ns: ")?;
        let (namespaces, rest) = rest.split_once(" dst_pods: ")?;
        let (pods, connections) = rest.split_once(" conn: ")?;
        list(namespaces).contains(&namespace.to_owned()).then_some(())?;
        let from = match from.strip_prefix("src: ") {
            Some(networks) => Source::Networks(networks.split(',').filter_map(|n| n.trim().parse().ok()).collect()),
            None => Source::Namespaces(list(from.strip_prefix("src_ns: ")?.split_once(" src_pods: ")?.0)),
        };
        Some(Self { from, pods: list(pods), connections: connections.to_owned() })
    }

    /// `All connections`, or as `{protocols:TCP,dst_ports:1-9091,9093-65535},{protocols:UDP, SCTP}`.
    fn has(&self, port: u16) -> bool {
        let of_tcp = |part: &str| {
            let (protocols, ports) = part.split_once(",dst_ports:").map_or((part, None), |(a, b)| (a, Some(b)));
            let is_in = |range: &str| {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                let number = |text: &str| text.trim().parse::<u16>().unwrap();
                (number(first)..=number(last)).contains(&port)
            };
            protocols.contains("TCP") && ports.is_none_or(|ports| ports.split(',').any(is_in))
        };
        let mut parts = self.connections.split(['{', '}']).filter(|part| part.starts_with("protocols:"));
        self.connections == "All connections" || parts.any(of_tcp)
    }
}

async fn get(arguments: &[&str]) -> Value {
    let text = kubectl(&[arguments, &["-o", "json"]].concat()).await;
    serde_json::from_str(&text).unwrap()
}

/// `[a,b]`.
fn list(text: &str) -> Vec<String> {
    text.trim_matches(['[', ']']).split(',').map(|name| name.trim().to_owned()).collect()
}
