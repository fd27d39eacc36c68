//! A small world for tests: resources as users write them, in YAML, and what the ledgers say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::index::{DesiredAccess, Index, Touched, Update};
use super::ledger::{Change, ClientRecord, GrantKey, GrantRecord, Ledger, TopicRecord, VersionRecord};
use super::names::{ObjectKey, PrincipalKey, guest_key, guest_uid, issued_principal};
use super::plan::{Observed, PrincipalPlan};
use super::tenancy::Namespace;
use crate::api::{CredentialType, Reason};

/// The cluster that is meant where none is named.
pub(crate) const CLUSTER: &str = "prod";
/// When everything was made that does not say.
pub(crate) const CREATED: &str = "2026-01-01T00:00:00Z";

/// An index beside the ledger of [`CLUSTER`], and the time.
pub(crate) struct World {
    pub(crate) index: Index,
    pub(crate) ledger: Ledger,
    pub(crate) now: Timestamp,
}

/// A UID that stays the same for the same text.
pub(crate) fn uid(text: &str) -> String {
    format!("{}-0000-4000-8000-000000000000", hex::encode(&Sha256::digest(text)[..4]))
}

/// `namespace/name`.
pub(crate) fn key(text: &str) -> ObjectKey {
    let (namespace, name) = text.split_once('/').unwrap();
    ObjectKey::new(namespace, name)
}

pub(crate) fn on_cluster(principal: &str) -> PrincipalKey {
    PrincipalKey { cluster: CLUSTER.into(), principal: principal.into() }
}

/// One resource in YAML as an update. `uid` and `creationTimestamp` are made up where absent.
pub(crate) fn update(yaml: &str) -> Update {
    update_of(serde_yaml::from_str(yaml).unwrap_or_else(|e| panic!("{e}: {yaml}")))
}

/// The same from JSON.
pub(crate) fn update_of(mut object: Value) -> Update {
    fn read<T: DeserializeOwned>(object: Value) -> Option<Arc<T>> {
        Some(Arc::new(serde_json::from_value(object).unwrap()))
    }
    let kind = object["kind"].as_str().unwrap().to_owned();
    let meta = object["metadata"].as_object_mut().unwrap();
    let text = |meta: &serde_json::Map<String, Value>, k: &str| meta.get(k).and_then(Value::as_str).map(str::to_owned);
    let name = text(meta, "name").unwrap();
    let at = ObjectKey::new(text(meta, "namespace").unwrap_or_default(), &name);
    meta.entry("uid").or_insert_with(|| json!(uid(&format!("{kind} {at}"))));
    meta.entry("creationTimestamp").or_insert_with(|| json!(CREATED));
    object["apiVersion"] = json!("weir.dev/v1alpha1");
    match kind.as_str() {
        "StreamCluster" => Update::Cluster(name, read(object)),
        "DataProduct" => Update::Product(at, read(object)),
        "StreamRole" => Update::Role(at, read(object)),
        "StreamClient" => Update::Client(at, read(object)),
        "RoleBinding" => Update::Binding(at, read(object)),
        "AccessApproval" => Update::Approval(at, read(object)),
        "Partner" => Update::Partner(name, read(object)),
        "ExternalShare" => Update::Share(at, read(object)),
        "ServiceAccount" => Update::Account(at, object["metadata"]["uid"].as_str().map(str::to_owned)),
        "Namespace" => {
            let meta = &object["metadata"];
            let labels = serde_json::from_value(meta.get("labels").cloned().unwrap_or_else(|| json!({}))).unwrap();
            let created: Timestamp = meta["creationTimestamp"].as_str().unwrap().parse().unwrap();
            let namespace = Namespace { labels, created: created.as_millisecond(), deleting: false };
            Update::Namespace(name, Some(namespace))
        }
        other => panic!("no such kind: {other}"),
    }
}

/// The removal of a resource, named as `Kind namespace/name`.
pub(crate) fn removal(of: &str) -> Update {
    let (kind, name) = of.split_once(' ').unwrap();
    match kind {
        "StreamCluster" => Update::Cluster(name.into(), None),
        "Namespace" => Update::Namespace(name.into(), None),
        "DataProduct" => Update::Product(key(name), None),
        "StreamRole" => Update::Role(key(name), None),
        "StreamClient" => Update::Client(key(name), None),
        "RoleBinding" => Update::Binding(key(name), None),
        "AccessApproval" => Update::Approval(key(name), None),
        "Partner" => Update::Partner(name.into(), None),
        "ExternalShare" => Update::Share(key(name), None),
        "ServiceAccount" => Update::Account(key(name), None),
        other => panic!("no such kind: {other}"),
    }
}

/// The ledger's word that `topic` was made for the product.
pub(crate) fn topic_record(topic: &str, product: &str) -> Change {
    let ObjectKey { namespace, name } = key(product);
    let product_uid = uid(&format!("DataProduct {product}"));
    Change::Topic(topic.into(), Some(TopicRecord { product_uid, namespace, name, is_promised: false }))
}

/// The ledger's word on the versions of a client, with those that are retired.
pub(crate) fn client_record(client: &str, versions: &[(u32, bool)]) -> Change {
    record_of(&key(client), uid(&format!("StreamClient {client}")), versions)
}

/// The same of the guest that a partner is by a share.
pub(crate) fn guest_record(share: &str, partner: &str, versions: &[(u32, bool)]) -> Change {
    record_of(&guest_key(&key(share), partner), uid_of_guest(share, partner), versions)
}

/// The principal of a version of a guest.
pub(crate) fn principal_of_guest(share: &str, partner: &str, version: u32) -> String {
    let (at, uid) = (guest_key(&key(share), partner), uid_of_guest(share, partner));
    issued_principal(CredentialType::ScramSha512, &at, &uid, version)
}

fn uid_of_guest(share: &str, partner: &str) -> String {
    guest_uid(&uid(&format!("ExternalShare {share}")), &uid(&format!("Partner /{partner}")))
}

/// The same of whatever has an identity.
pub(crate) fn record_of(at: &ObjectKey, uid: String, versions: &[(u32, bool)]) -> Change {
    let kind = CredentialType::ScramSha512;
    let version = |&(version, retired): &(u32, bool)| VersionRecord {
        version,
        principal: issued_principal(kind, at, &uid, version),
        fingerprint: format!("f{version}"),
        issued_at: CREATED.parse().unwrap(),
        published: true,
        retires_at: None,
        expires_at: None,
        retired,
    };
    let record = ClientRecord {
        namespace: at.namespace.clone(),
        name: at.name.clone(),
        kind,
        last_version: versions.iter().map(|v| v.0).max().unwrap_or_default(),
        versions: versions.iter().map(version).collect(),
        rotate: None,
        recent: Vec::new(),
    };
    Change::Client(uid, Some(record))
}

/// The principal of a version of a client.
pub(crate) fn principal_of(client: &str, version: u32) -> String {
    issued_principal(CredentialType::ScramSha512, &key(client), &uid(&format!("StreamClient {client}")), version)
}

impl World {
    /// Nothing at all.
    pub(crate) fn empty() -> Self {
        let now = "2026-06-01T00:00:00Z".parse().unwrap();
        Self { index: Index::default(), ledger: Ledger::default(), now }
    }

    /// Namespace `payments` offers its product `orders` (streams `placed` and `paid`, topics made) by its role `reader` to
    /// all; `fraud` has the client `scorer` with a credential, and no binding yet.
    pub(crate) fn payments() -> Self {
        let mut world = Self::empty();
        world.put(
            "
kind: StreamCluster
metadata: {name: prod}
spec:
  bootstrapServers: ['kafka:9092']
  adminCredentials: {type: Plain, secretRef: {name: admin}}
  identity: {oauth: {audience: kafka}, superUsers: [root, 'User:boss']}
  tenancy:
  - {name: teams, namespaceSelector: {matchLabels: {tenant: 'yes'}}, topicPrefixes: ['{namespace}.']}
---
{kind: Namespace, metadata: {name: payments, labels: {tenant: 'yes'}}}
---
{kind: Namespace, metadata: {name: fraud, labels: {tenant: 'yes', tier: trusted}}}
---
{kind: Namespace, metadata: {name: risk, labels: {tenant: 'yes'}}}
---
kind: DataProduct
metadata: {namespace: payments, name: orders, labels: {kind: event}}
spec: {clusterRef: {name: prod}, streams: [{name: placed}, {name: paid}]}
---
kind: StreamRole
metadata: {namespace: payments, name: reader}
spec: {privileges: [{products: {names: [orders]}, access: [Read]}], bindableFrom: {mode: All}}
---
{kind: StreamClient, metadata: {namespace: fraud, name: scorer}, spec: {clusterRef: {name: prod}}}
",
        );
        world.commit([
            topic_record("payments.orders.placed", "payments/orders"),
            topic_record("payments.orders.paid", "payments/orders"),
            client_record("fraud/scorer", &[(1, false)]),
        ]);
        world
    }

    /// Takes resources in YAML, several with `---`.
    pub(crate) fn put(&mut self, yaml: &str) -> Touched {
        let mut touched = Touched::default();
        for document in yaml.split("\n---\n").filter(|d| !d.trim().is_empty()) {
            touched.merge(self.index.apply(update(document), self.now));
        }
        touched
    }

    /// `fraud/orders` gives the role to the subject, both as they stand in the spec.
    pub(crate) fn bind(&mut self, role: &str, subject: &str) -> Touched {
        self.bind_with(role, subject, "")
    }

    /// The same, with more in the spec.
    pub(crate) fn bind_with(&mut self, role: &str, subject: &str, more: &str) -> Touched {
        self.bind_in("fraud/orders", role, subject, more)
    }

    /// The same, with a binding of another name or namespace.
    pub(crate) fn bind_in(&mut self, binding: &str, role: &str, subject: &str, more: &str) -> Touched {
        let (binding, role) = (key(binding), key(role));
        self.put(&format!(
            "
kind: RoleBinding
metadata: {{namespace: {}, name: {}}}
spec: {{roleRef: {{namespace: {}, name: {}}}, subjects: [{subject}], {more}}}
",
            binding.namespace, binding.name, role.namespace, role.name
        ))
    }

    /// Takes a resource away: `Kind namespace/name`.
    pub(crate) fn delete(&mut self, of: &str) -> Touched {
        self.index.apply(removal(of), self.now)
    }

    /// Writes to the ledger of [`CLUSTER`].
    pub(crate) fn commit(&mut self, changes: impl IntoIterator<Item = Change>) -> Touched {
        let changes: Vec<_> = changes.into_iter().collect();
        for change in &changes {
            self.ledger.apply(change.clone());
        }
        self.index.apply(Update::Committed(CLUSTER.into(), changes), self.now)
    }

    /// Time passes.
    pub(crate) fn pass(&mut self, hours: i64) -> Touched {
        self.now += SignedDuration::from_hours(hours);
        self.index.apply(Update::Tick, self.now)
    }

    /// What stands in the way of `fraud/orders`.
    pub(crate) fn problems(&self) -> Vec<(Reason, String)> {
        self.problems_of("fraud/orders")
    }

    /// What stands in the way of a binding.
    pub(crate) fn problems_of(&self, binding: &str) -> Vec<(Reason, String)> {
        let problems = &self.index.resolution(&key(binding)).unwrap().problems;
        problems.iter().map(|p| (p.reason, p.message.clone())).collect()
    }

    pub(crate) fn desired(&self, principal: &str) -> DesiredAccess {
        self.index.desired(&on_cluster(principal))
    }

    /// The entries of a principal in short, e.g. `Topic:Literal:payments.orders.placed:Read`.
    pub(crate) fn entries(&self, principal: &str) -> Vec<String> {
        let short =
            |e: super::acl::AclEntry| format!("{}:{}:{}:{}", e.resource_type, e.pattern_type, e.resource, e.operation);
        self.desired(principal).entries.into_iter().map(short).collect()
    }

    /// Every principal of [`CLUSTER`] that should have something.
    pub(crate) fn principals(&self) -> BTreeSet<String> {
        self.index.principals_on(CLUSTER).map(|p| p.principal.clone()).collect()
    }

    /// Plans for a principal of which the brokers have `observed`.
    pub(crate) fn plan(&self, principal: &str, observed: &Observed) -> PrincipalPlan {
        let recorded = self.ledger.grants.get(principal);
        super::plan::plan(&self.index, principal, &self.desired(principal), recorded, observed)
    }

    /// Carries out the plan for a principal, from what `observed` has to what it then has.
    pub(crate) fn settle(&mut self, principal: &str, observed: &mut Observed) -> PrincipalPlan {
        let plan = self.plan(principal, observed);
        observed.entries.retain(|e| !plan.delete_all && !plan.delete.contains(e));
        observed.quotas.retain(|k, _| !plan.unset_quotas.contains(k) && !plan.lifted_quotas.contains(k));
        self.commit(plan.record.clone());
        observed.quotas.extend(plan.quotas.clone());
        observed.entries.extend(plan.create.iter().cloned());
        plan
    }
}

/// A record of a grant with nothing in it but the subject's UID.
pub(crate) fn subject_record(binding: &str, principal: &str, subject_uid: Option<&str>) -> Change {
    let ObjectKey { namespace, name } = key(binding);
    let at = GrantKey { binding_uid: uid(&format!("RoleBinding {binding}")), principal: principal.into() };
    let record = |subject: &str| GrantRecord {
        namespace,
        name,
        entries: BTreeSet::new(),
        quotas: BTreeMap::new(),
        subject_uid: Some(subject.to_owned()),
    };
    Change::Grant(at, subject_uid.map(record))
}
