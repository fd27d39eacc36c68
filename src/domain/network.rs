//! Where partners come from, where brokers run in this Kubernetes: NetworkPolicies before the listeners for partners.
//!
//! A NetworkPolicy knows addresses and no principals: a port is open to the networks of all partners that read on the cluster. Which
//! of them reads what, the brokers decide.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, OwnerReference};
use kube::Resource;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::connection::{authentication_of, external_listener};
use super::index::Index;
use super::names::ObjectKey;
use super::share::Guest;
use crate::api::{BrokerPods, MANAGED_BY, MANAGED_BY_LABEL, Partner};

/// Who reaches a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sources {
    /// Everybody.
    Anywhere,
    /// These networks.
    Networks(BTreeSet<IpNet>),
}

impl Sources {
    /// Those of a partner; one without networks comes from anywhere. What is no network lets nobody in.
    pub fn of(partner: &Partner) -> Self {
        if partner.spec.networks.is_empty() {
            return Self::Anywhere;
        }
        let networks = partner.spec.networks.iter().filter_map(|n| n.parse::<IpNet>().ok());
        Self::Networks(networks.map(|network| network.trunc()).collect())
    }

    /// Whether all of these are among them.
    pub fn has(&self, others: &Self) -> bool {
        match (self, others) {
            (Self::Anywhere, _) => true,
            (Self::Networks(_), Self::Anywhere) => false,
            (Self::Networks(all), Self::Networks(some)) => some.is_subset(all),
        }
    }

    fn add(&mut self, others: Self) {
        match (self, others) {
            (Self::Networks(all), Self::Networks(some)) => all.extend(some),
            (own @ Self::Networks(_), Self::Anywhere) => *own = Self::Anywhere,
            (Self::Anywhere, _) => {}
        }
    }
}

/// A NetworkPolicy as it should be: which ports of which pods who reaches.
#[derive(Clone, Debug, PartialEq)]
pub struct Fence {
    /// Its namespace, which is that of the pods, and its name.
    pub key: ObjectKey,
    /// The StreamCluster, with which it goes.
    pub owner: OwnerReference,
    /// Which pods.
    pub selector: LabelSelector,
    /// Ports for partners, each with who reaches it. All other ports are open, as without it.
    pub ports: BTreeMap<u16, Sources>,
}

/// The fences of a cluster.
pub fn fences(index: &Index, cluster: &str) -> BTreeMap<ObjectKey, Fence> {
    let mut fences: BTreeMap<ObjectKey, Fence> = BTreeMap::new();
    let Some((object, owner)) = index.cluster(cluster).and_then(|c| Some((c, c.owner_ref(&())?))) else {
        return fences;
    };
    for pods in object.spec.listeners.iter().filter_map(|listener| listener.broker_pods.as_ref()) {
        let key = key(cluster, pods);
        let (owner, selector) = (owner.clone(), pods.selector.clone());
        let fence = fences.entry(key.clone()).or_insert(Fence { key, owner, selector, ports: BTreeMap::new() });
        fence.ports.insert(port(pods), Sources::Networks(BTreeSet::new()));
    }
    if fences.is_empty() {
        return fences;
    }
    for (_, guest) in index.all_guests().filter(|(_, guest)| guest.is_on(cluster)) {
        let Some((key, port, sources)) = before(index, guest) else { continue };
        if let Some(let_in) = fences.get_mut(&key).and_then(|fence| fence.ports.get_mut(&port)) {
            let_in.add(sources);
        }
    }
    fences
}

/// The fence before a guest, and its port, with where its partner comes from; `None` where there is none, or nothing is given for
/// the time being.
pub fn before(index: &Index, guest: &Guest) -> Option<(ObjectKey, u16, Sources)> {
    let client = guest.client.as_ref().filter(|_| !guest.is_withheld)?;
    let cluster = &client.spec.cluster_ref.name;
    let listener = external_listener(index.cluster_spec(cluster)?, authentication_of(client.spec.credentials.type_))?;
    let (pods, partner) = (listener.broker_pods.as_ref()?, index.partner(&guest.partner)?);
    Some((key(cluster, pods), port(pods), Sources::of(partner)))
}

/// What selects the same pods is one fence: those of the same pods add up to what any of them lets in.
fn key(cluster: &str, pods: &BrokerPods) -> ObjectKey {
    let hash = hex::encode(&Sha256::digest(json!(pods.selector).to_string())[..4]);
    ObjectKey::new(&pods.namespace, format!("weir-{cluster}-{hash}"))
}

fn port(pods: &BrokerPods) -> u16 {
    u16::try_from(pods.port).unwrap_or(u16::MAX)
}

/// The NetworkPolicy; `weir` is the namespace of Weir's own pods, which look at brokers as partners do.
///
/// # Errors
/// It is none, which cannot be.
pub fn policy(fence: &Fence, weir: &str) -> Result<NetworkPolicy, serde_json::Error> {
    let tcp = others(fence.ports.keys().copied()).into_iter().map(|(from, to)| {
        if from == to {
            json!({"protocol": "TCP", "port": from})
        } else {
            json!({"protocol": "TCP", "port": from, "endPort": to})
        }
    });
    let rest = ["UDP", "SCTP"].map(|protocol| json!({"protocol": protocol}));
    let open = json!({"ports": tcp.chain(rest).collect::<Vec<_>>()});
    let for_partners = fence.ports.iter().map(|(port, sources)| {
        let ports = json!([{"protocol": "TCP", "port": port}]);
        match sources {
            Sources::Anywhere => json!({"ports": ports}),
            Sources::Networks(networks) => {
                let weir = json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": weir}}});
                let networks = networks.iter().map(|network| json!({"ipBlock": {"cidr": network.to_string()}}));
                let from: Vec<_> = [weir].into_iter().chain(networks).collect();
                json!({"ports": ports, "from": from})
            }
        }
    });
    let ingress: Vec<_> = [open].into_iter().chain(for_partners).collect();
    serde_json::from_value(json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "namespace": fence.key.namespace,
            "name": fence.key.name,
            "labels": {MANAGED_BY_LABEL: MANAGED_BY},
            "annotations": {"weir.dev/cluster": fence.owner.name},
            "ownerReferences": [fence.owner],
        },
        "spec": {
            "podSelector": fence.selector,
            "policyTypes": ["Ingress"],
            "ingress": ingress,
        },
    }))
}

/// The ports that are none of these, as ranges.
fn others(ports: impl Iterator<Item = u16>) -> Vec<(u16, u16)> {
    let mut ranges = Vec::new();
    let mut next = 1_u32;
    for port in ports.collect::<BTreeSet<_>>() {
        if u32::from(port) > next {
            ranges.push((next, u32::from(port) - 1));
        }
        next = next.max(u32::from(port) + 1);
    }
    if next <= u32::from(u16::MAX) {
        ranges.push((next, u32::from(u16::MAX)));
    }
    let narrow = |port: u32| u16::try_from(port).unwrap_or(u16::MAX);
    ranges.into_iter().map(|(from, to)| (narrow(from), narrow(to))).collect()
}

/// The address that all have whom one caller can call from: its own; of IPv6, that of its network of 64 bits.
pub fn of_one(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::{Fence, ObjectKey, OwnerReference, Sources, others, policy};
    use crate::api::Partner;

    fn partner(networks: &[&str]) -> Partner {
        serde_json::from_value(
            json!({"metadata": {"name": "acme"}, "spec": {"organisation": "Acme", "networks": networks}}),
        )
        .unwrap()
    }

    fn networks(networks: &[&str]) -> Sources {
        Sources::Networks(networks.iter().map(|n| n.parse().unwrap()).collect())
    }

    #[test]
    fn a_partner_comes_from_its_networks_or_from_anywhere() {
        assert_eq!(Sources::of(&partner(&[])), Sources::Anywhere);
        // As Kubernetes wants it: no bits behind the mask.
        assert_eq!(
            Sources::of(&partner(&["192.0.2.7/24", "2001:db8::1/48"])),
            networks(&["192.0.2.0/24", "2001:db8::/48"])
        );
        assert_eq!(Sources::of(&partner(&["anything"])), networks(&[]), "doubt lets nobody in");
        let mut all = networks(&["192.0.2.0/24"]);
        assert!(!all.has(&Sources::Anywhere) && !all.has(&networks(&["198.51.100.0/24"])));
        all.add(networks(&["198.51.100.0/24"]));
        assert!(all.has(&networks(&["198.51.100.0/24"])));
        all.add(Sources::Anywhere);
        all.add(networks(&["203.0.113.0/24"]));
        assert!(all.has(&Sources::Anywhere));
    }

    #[test]
    fn every_other_port_is_open() {
        assert_eq!(others([9094].into_iter()), [(1, 9093), (9095, 65535)]);
        assert_eq!(others([9095, 9094].into_iter()), [(1, 9093), (9096, 65535)]);
        assert_eq!(others([1, 65535].into_iter()), [(2, 65534)]);
        assert_eq!(others([2].into_iter()), [(1, 1), (3, 65535)]);
    }

    #[test]
    fn a_policy_lets_in_networks_and_weir_and_nobody_where_there_is_no_partner() {
        let fence = |sources: Sources| Fence {
            key: ObjectKey::new("kafka", "weir-main-1"),
            owner: OwnerReference { name: "main".into(), uid: "u".into(), ..OwnerReference::default() },
            selector: serde_json::from_value(json!({"matchLabels": {"app": "kafka"}})).unwrap(),
            ports: [(9094, sources)].into(),
        };
        let from = |sources: Sources| {
            let rules = policy(&fence(sources), "weir-system").unwrap().spec.unwrap().ingress.unwrap();
            assert_eq!(rules.len(), 2);
            assert_eq!(rules[0].from, None);
            rules[1].from.clone()
        };
        assert_eq!(from(Sources::Anywhere), None);
        let blocks = |sources: Sources| -> BTreeSet<String> {
            from(sources).unwrap().into_iter().filter_map(|peer| Some(peer.ip_block?.cidr)).collect()
        };
        assert_eq!(blocks(networks(&["192.0.2.0/24", "2001:db8::/48"])).len(), 2);
        let nobody = from(networks(&[])).unwrap();
        assert_eq!(nobody.len(), 1, "Weir's own pods, for a rule without any peer is one for all");
        assert!(nobody[0].namespace_selector.is_some());
    }
}
