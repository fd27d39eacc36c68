//! What the API server and the clusters' ledgers hold, with every reference resolved: an in-memory graph.
//!
//! A change recomputes what it touches, not the world. The union over bindings is the reference count: an entry lives as
//! long as any grant needs it.

mod access;
mod claims;
mod engines;
#[cfg(test)]
mod laws;
mod links;
mod recorded;
mod shares;
mod spread;
#[cfg(test)]
mod tests;
mod update;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use kube::{Resource, ResourceExt};

use self::claims::Claimant;
use self::links::Links;
use super::approval::Awaited;
use super::binding::{Grant, Resolution};
use super::engine::Worker;
use super::ledger::ClientRecord;
use super::names::{EngineKey, ObjectKey, PrincipalKey, engine_of_worker, is_internal, share_of_guest};
use super::problem::Problem;
use super::share::Guests;
use super::share::copy::Copy;
use super::tenancy::{Namespace, Tenancies, Tenant};
use crate::api::{
    ABANDON_ANNOTATION, AccessApproval, AuditTrail, DataProduct, ExternalShare, Invitation, Partner, Reason,
    RoleBinding, StreamClient, StreamCluster, StreamClusterSpec, StreamRole,
};

pub use access::DesiredAccess;
pub use engines::SeenLink;
pub use update::Update;

/// The graph. See the module.
#[derive(Debug, Default)]
pub struct Index {
    clusters: BTreeMap<String, Cluster>,
    namespaces: BTreeMap<String, Namespace>,
    products: BTreeMap<ObjectKey, Arc<DataProduct>>,
    roles: BTreeMap<ObjectKey, Arc<StreamRole>>,
    clients: BTreeMap<ObjectKey, Arc<StreamClient>>,
    bindings: BTreeMap<ObjectKey, Arc<RoleBinding>>,
    accounts: BTreeMap<ObjectKey, String>,
    approvals: BTreeMap<ObjectKey, Arc<AccessApproval>>,
    partners: BTreeMap<String, Arc<Partner>>,
    shares: BTreeMap<ObjectKey, Arc<ExternalShare>>,
    /// By guest's UID: the partner's last wish for another version of its credential.
    wishes: BTreeMap<String, String>,
    invitations: BTreeMap<ObjectKey, Arc<Invitation>>,
    trail: Option<Arc<AuditTrail>>,
    /// By share. Their clients and resolutions stand among the others, under the guests' keys.
    guests: BTreeMap<ObjectKey, Arc<Guests>>,
    /// By share, what it copies. The ends stand among clients and resolutions, too, and the copies among the products.
    copies: BTreeMap<ObjectKey, Arc<Copy>>,
    /// The workers of engines that are in use, or were until of late.
    workers: BTreeMap<EngineKey, Arc<Worker>>,
    /// Engines that were seen to have nothing left of any share.
    idle: BTreeSet<EngineKey>,
    /// By share, what was seen of its cluster link.
    links: BTreeMap<ObjectKey, SeenLink>,
    /// The API server holds reviewers and requesters to their names.
    approvals_enforced: bool,

    /// The principals that Weir itself uses, by cluster, once known.
    admins: BTreeMap<String, String>,

    /// Clusters whose ledger was read: of the others it is not known what Weir has there.
    ledgers_read: BTreeSet<String>,
    /// From ledgers: by client UID, with the cluster.
    client_records: BTreeMap<String, (String, ClientRecord)>,
    /// From ledgers: principals that Weir issued, to the client's UID.
    issued: BTreeMap<String, String>,
    /// From ledgers: cluster and topic to the UID of the product that has it.
    governed: BTreeMap<(String, String), String>,
    /// The same of those that somebody else is yet to make for it.
    promised: BTreeMap<(String, String), String>,
    /// From ledgers: binding UID, principal and cluster to the ServiceAccount's UID.
    subject_uids: BTreeMap<(String, String, String), String>,

    /// By cluster and topic, who claims it, oldest first.
    claims: BTreeMap<(String, String), BTreeSet<Claimant>>,
    /// What a product claims, and as whom.
    claimed_by: BTreeMap<ObjectKey, (Claimant, BTreeSet<(String, String)>)>,
    bindings_of_role: Links,
    bindings_of_product: Links,
    /// By StreamClient or ServiceAccount, whichever has the name.
    bindings_of_subject: Links,
    heirs: Links,
    approvals_of_request: Links,
    waiting_for_role: Links,
    derived: Links,
    resolutions: BTreeMap<ObjectKey, Arc<Resolution>>,
    grants: BTreeMap<PrincipalKey, BTreeMap<String, Arc<Grant>>>,
    expiries: BTreeSet<(Timestamp, ObjectKey)>,
}

#[derive(Debug)]
struct Cluster {
    object: Arc<StreamCluster>,
    tenancies: Tenancies,
}

/// What a change touched: whose status and whose access may differ now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// StreamClusters.
    pub clusters: BTreeSet<String>,
    /// DataProducts.
    pub products: BTreeSet<ObjectKey>,
    /// StreamRoles.
    pub roles: BTreeSet<ObjectKey>,
    /// StreamClients.
    pub clients: BTreeSet<ObjectKey>,
    /// RoleBindings.
    pub bindings: BTreeSet<ObjectKey>,
    /// Partners.
    pub partners: BTreeSet<String>,
    /// ExternalShares.
    pub shares: BTreeSet<ObjectKey>,
    /// Replication engines.
    pub engines: BTreeSet<EngineKey>,
    /// Principals whose desired access may differ.
    pub principals: BTreeSet<PrincipalKey>,
}

impl Touched {
    /// Adds all of `other`.
    pub fn merge(&mut self, other: Self) {
        self.clusters.extend(other.clusters);
        self.products.extend(other.products);
        self.roles.extend(other.roles);
        self.clients.extend(other.clients);
        self.bindings.extend(other.bindings);
        self.partners.extend(other.partners);
        self.shares.extend(other.shares);
        self.engines.extend(other.engines);
        self.principals.extend(other.principals);
    }
}

impl Index {
    /// Namespace and name of an object.
    pub fn key_of<K: Resource>(&self, object: &K) -> ObjectKey {
        ObjectKey::new(object.namespace().unwrap_or_default(), object.name_any())
    }

    /// A cluster's spec.
    pub fn cluster_spec(&self, name: &str) -> Option<&StreamClusterSpec> {
        self.clusters.get(name).map(|c| &c.object.spec)
    }

    /// Every cluster's name.
    pub fn cluster_names(&self) -> impl Iterator<Item = &str> {
        self.clusters.keys().map(String::as_str)
    }

    /// A cluster's object.
    pub fn cluster(&self, name: &str) -> Option<&Arc<StreamCluster>> {
        self.clusters.get(name).map(|c| &c.object)
    }

    /// The AuditTrail, where there is one.
    pub fn trail(&self) -> Option<&Arc<AuditTrail>> {
        self.trail.as_ref()
    }

    /// The principal that Weir itself uses on a cluster, once known.
    pub fn admin_principal(&self, cluster: &str) -> Option<&str> {
        self.admins.get(cluster).map(String::as_str)
    }

    /// What `namespace` may do on `cluster`.
    ///
    /// # Errors
    /// Why it gets nothing.
    pub fn tenant(&self, cluster: &str, namespace: &str) -> Result<&Tenant, Problem> {
        let missing = || Problem::waiting(Reason::ClusterNotFound, format!("StreamCluster {cluster} does not exist"));
        self.clusters.get(cluster).ok_or_else(missing)?.tenancies.get(cluster, namespace)
    }

    /// A namespace.
    pub fn namespace(&self, name: &str) -> Option<&Namespace> {
        self.namespaces.get(name)
    }

    /// A product, or what a share copies.
    pub fn product(&self, key: &ObjectKey) -> Option<&DataProduct> {
        self.products.get(key).map(AsRef::as_ref)
    }

    /// A product that somebody made: what a share copies is nobody's to name, to give or to share.
    pub fn named_product(&self, key: &ObjectKey) -> Option<&DataProduct> {
        self.product(key).filter(|_| !is_internal(&key.name))
    }

    /// The products of a namespace that somebody made.
    pub fn products_in<'a, 'n>(&'a self, namespace: &'n str) -> impl Iterator<Item = &'a DataProduct> + use<'a, 'n> {
        in_namespace(&self.products, namespace).filter(|(key, _)| !is_internal(&key.name)).map(|(_, p)| p.as_ref())
    }

    /// The products on a cluster.
    pub fn products_on<'a>(&'a self, cluster: &'a str) -> impl Iterator<Item = (&'a ObjectKey, &'a Arc<DataProduct>)> {
        self.products.iter().filter(move |(_, p)| p.spec.cluster_ref.name == cluster)
    }

    /// A role.
    pub fn role(&self, key: &ObjectKey) -> Option<&StreamRole> {
        self.roles.get(key).map(AsRef::as_ref)
    }

    /// The roles of a namespace.
    pub fn roles_in<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = (&'a ObjectKey, &'a Arc<StreamRole>)> {
        in_namespace(&self.roles, namespace)
    }

    /// A client.
    pub fn client(&self, key: &ObjectKey) -> Option<&StreamClient> {
        self.clients.get(key).map(AsRef::as_ref)
    }

    /// The clients on a cluster.
    pub fn clients_on<'a>(&'a self, cluster: &'a str) -> impl Iterator<Item = (&'a ObjectKey, &'a Arc<StreamClient>)> {
        self.clients.iter().filter(move |(_, c)| c.spec.cluster_ref.name == cluster)
    }

    /// A binding.
    pub fn binding(&self, key: &ObjectKey) -> Option<&Arc<RoleBinding>> {
        self.bindings.get(key)
    }

    /// A decision.
    pub fn approval(&self, key: &ObjectKey) -> Option<&Arc<AccessApproval>> {
        self.approvals.get(key)
    }

    /// Every binding.
    pub fn bindings(&self) -> impl Iterator<Item = (&ObjectKey, &Arc<RoleBinding>)> {
        self.bindings.iter()
    }

    /// The decisions about a binding, also about one of the same name that was before it.
    pub fn approvals_of<'a>(
        &'a self,
        request: &ObjectKey,
    ) -> impl Iterator<Item = (&'a ObjectKey, &'a AccessApproval)> + use<'a> {
        let decided = self.approvals_of_request.to(request);
        decided.filter_map(|key| self.approvals.get_key_value(key)).map(|(key, a)| (key, a.as_ref()))
    }

    /// Bindings that wait for an approval by the owner of a role, with what they wait for.
    pub fn waiting_for(&self, role: &ObjectKey) -> impl Iterator<Item = (&Arc<RoleBinding>, &Awaited)> {
        let of = |binding| Some((self.bindings.get(binding)?, self.resolutions.get(binding)?.awaited.get(role)?));
        self.waiting_for_role.to(role).filter_map(of)
    }

    /// Whether an approval can count.
    pub fn are_approvals_enforced(&self) -> bool {
        self.approvals_enforced
    }

    /// Every object whose status depends on a cluster.
    pub fn everything_on(&self, cluster: &str) -> Touched {
        Touched {
            clusters: BTreeSet::from([cluster.to_owned()]),
            products: self.products_on(cluster).map(|(key, _)| key.clone()).collect(),
            clients: self.clients_on(cluster).map(|(key, _)| key.clone()).collect(),
            bindings: self.bindings.keys().cloned().collect(),
            shares: self.shares.keys().cloned().collect(),
            ..Touched::default()
        }
    }

    /// What a binding comes to.
    pub fn resolution(&self, key: &ObjectKey) -> Option<&Arc<Resolution>> {
        self.resolutions.get(key)
    }

    /// UID of a ServiceAccount.
    pub fn account(&self, key: &ObjectKey) -> Option<&str> {
        self.accounts.get(key).map(String::as_str)
    }

    /// UID of the ServiceAccount of another namespace that a binding was first granted to.
    pub fn recorded_subject(&self, binding_uid: &str, principal: &str) -> Option<&str> {
        self.recorded_subjects(binding_uid, principal).next()
    }

    /// The same on each cluster that the binding concerns.
    pub fn recorded_subjects(&self, binding_uid: &str, principal: &str) -> impl Iterator<Item = &str> {
        let first = (binding_uid.to_owned(), principal.to_owned(), String::new());
        let wanted = (first.0.clone(), first.1.clone());
        let of_both = self.subject_uids.range(first..);
        of_both.take_while(move |((b, p, _), _)| (b, p) == (&wanted.0, &wanted.1)).map(|(_, uid)| uid.as_str())
    }

    /// What the ledger has of a client.
    pub fn client_record(&self, uid: &str) -> Option<&ClientRecord> {
        self.client_records.get(uid).map(|(_, record)| record)
    }

    /// The cluster that a client has credentials on, or may have until every broker was seen without them.
    pub fn client_cluster(&self, uid: &str) -> Option<&str> {
        let has_some = |(_, record): &&(String, ClientRecord)| !record.versions.is_empty();
        self.client_records.get(uid).filter(has_some).map(|(cluster, _)| cluster.as_str())
    }

    /// The cluster whose ledger knows a client, also where it has no credentials any more.
    pub fn recorded_on(&self, uid: &str) -> Option<&str> {
        self.client_records.get(uid).map(|(cluster, _)| cluster.as_str())
    }

    /// Whether an identity that nobody made, and that has no credentials now, may get some again: then the ledger keeps its last
    /// version, for no principal is used twice.
    pub fn may_return(&self, key: &ObjectKey) -> bool {
        match share_of_guest(key) {
            Some((share, _)) => self.share(&share).is_some_and(|s| s.metadata.deletion_timestamp.is_none()),
            None => engine_of_worker(key).is_some(),
        }
    }

    /// The principals that a client has now: every version that is not retired.
    pub fn client_principals(&self, client: &StreamClient) -> Vec<String> {
        let record = client.uid().and_then(|uid| self.client_record(&uid));
        let valid = |r: &ClientRecord| r.versions.iter().filter(|v| !v.retired).map(|v| v.principal.clone()).collect();
        record.map(valid).unwrap_or_default()
    }

    /// Bindings that refer to a role, in order.
    pub fn bindings_of_role(&self, key: &ObjectKey) -> impl Iterator<Item = &Arc<RoleBinding>> {
        self.bindings_of_role.to(key).filter_map(|binding| self.bindings.get(binding))
    }

    /// How many bindings give access to a product.
    pub fn bindings_of_product(&self, key: &ObjectKey) -> usize {
        self.bindings_of_product.to(key).filter(|by| share_of_guest(by).is_none()).count()
    }

    /// Namespaces of RoleBindings that give access to a product, the first `most`.
    pub fn consumers_of(&self, product: &ObjectKey, most: usize) -> BTreeSet<String> {
        let bindings = self.bindings_of_product.to(product).filter(|by| share_of_guest(by).is_none());
        let namespaces: BTreeSet<_> = bindings.map(|binding| binding.namespace.clone()).collect();
        namespaces.into_iter().take(most).collect()
    }

    /// The next moment at which a binding expires.
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.expiries.first().map(|(at, _)| *at)
    }

    /// Whether any product or client refers to a cluster; Weir's own do not count where it is given up.
    pub fn cluster_in_use(&self, cluster: &str) -> bool {
        let given_up = self.is_given_up(cluster);
        let counts = |key: &ObjectKey| !given_up || !is_internal(&key.name);
        self.products_on(cluster).any(|(key, _)| counts(key)) || self.clients_on(cluster).any(|(key, _)| counts(key))
    }

    /// Whether the platform gave a cluster up.
    pub fn is_given_up(&self, cluster: &str) -> bool {
        self.cluster(cluster).is_some_and(|c| c.annotations().contains_key(ABANDON_ANNOTATION))
    }

    /// Whether it is known what Weir has on a cluster.
    pub fn is_ledger_read(&self, cluster: &str) -> bool {
        self.ledgers_read.contains(cluster)
    }
}

fn in_namespace<'a, 'n, V>(
    map: &'a BTreeMap<ObjectKey, V>,
    namespace: &'n str,
) -> impl Iterator<Item = (&'a ObjectKey, &'a V)> + use<'a, 'n, V> {
    map.range(ObjectKey::new(namespace, "")..).take_while(move |(key, _)| key.namespace == namespace)
}
