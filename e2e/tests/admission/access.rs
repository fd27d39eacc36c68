//! What RBAC gives to whom, as SubjectAccessReviews: what `kubectl auth can-i --as` asks.

use anyhow::{Result, ensure};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use crate::cases::Persona::{
    self, Consumer, NamespaceAdmin, NamespaceEditor, Owner, Partners, Platform, Security, Stranger, Viewer, Weir,
};
use crate::cluster::{Cluster, eventually};

/// Where.
#[derive(Clone, Copy, Debug)]
enum At {
    Cluster,
    Owner,
    Consumer,
    /// Weir's own namespace.
    System,
}

use At::{Cluster as Everywhere, Consumer as InConsumer, Owner as InOwner, System as InSystem};

/// Who, may or may not, which verbs, on which resources (`group/resource/subresource#name`), where.
type Right = (Persona, bool, &'static [&'static str], &'static [&'static str], At);

#[rustfmt::skip]
const RIGHTS: &[Right] = &[
    (Platform, true, &["list", "create", "patch", "delete"], &["weir.dev/streamclusters"], Everywhere),
    (Platform, true, &["list"], &["weir.dev/dataproducts", "weir.dev/streamroles", "weir.dev/rolebindings", "weir.dev/securityevents"], Everywhere),
    (Platform, false, &["create", "patch", "delete"], &["weir.dev/dataproducts", "weir.dev/rolebindings"], InOwner),
    (Platform, false, &["create"], &["weir.dev/securityevents"], InOwner),
    (Platform, true, &["list", "create", "patch", "delete"], &["weir.dev/partners"], Everywhere),
    (Platform, false, &["create", "patch", "approve", "invite"], &["weir.dev/externalshares"], InOwner),
    (Security, true, &["approve-security"], &["weir.dev/externalshares"], InOwner),
    (Security, false, &["approve", "invite", "create", "patch"], &["weir.dev/externalshares"], InOwner),
    (Partners, true, &["get", "list", "watch"], &["weir.dev/externalshares", "weir.dev/partners", "weir.dev/invitations", "weir.dev/dataproducts"], Everywhere),
    (Partners, true, &["create"], &["weir.dev/accessapprovals"], InOwner),
    (Partners, true, &["get", "update"], &["/configmaps"], InSystem),
    (Partners, false, &["get", "list", "watch", "create", "update", "patch"], &["/secrets"], InSystem),
    (Partners, false, &["get", "list"], &["/secrets", "/configmaps"], InConsumer),
    (Partners, false, &["patch", "update", "create", "delete"], &["weir.dev/externalshares", "weir.dev/partners", "weir.dev/invitations", "weir.dev/externalshares/status"], InOwner),
    (Platform, true, &["list", "create", "patch", "delete"], &["weir.dev/audittrails"], Everywhere),
    (Platform, false, &["get"], &["/secrets"], InSystem),

    (Owner, true, &["create", "patch", "delete"], &["weir.dev/dataproducts", "weir.dev/streamroles", "weir.dev/rolebindings", "weir.dev/streamclients"], InOwner),
    (Owner, true, &["bind", "approve"], &["weir.dev/streamroles"], InOwner),
    (Owner, true, &["create", "patch", "delete", "approve", "invite"], &["weir.dev/externalshares"], InOwner),
    (Owner, false, &["approve-security"], &["weir.dev/externalshares"], InOwner),
    (Owner, true, &["create", "delete"], &["weir.dev/invitations"], InOwner),
    (Owner, false, &["create", "patch", "delete"], &["weir.dev/partners", "weir.dev/audittrails"], Everywhere),
    (Owner, true, &["list", "create", "delete"], &["weir.dev/accessapprovals"], InOwner),
    (Owner, false, &["update", "patch"], &["weir.dev/accessapprovals"], InOwner),
    (Owner, true, &["list"], &["weir.dev/securityevents"], InOwner),
    (Owner, false, &["create", "patch", "delete"], &["weir.dev/securityevents", "weir.dev/dataproducts/status"], InOwner),
    (Owner, false, &["list", "create"], &["weir.dev/dataproducts", "weir.dev/rolebindings"], InConsumer),
    (Owner, false, &["get", "create"], &["weir.dev/streamclusters"], Everywhere),

    (Consumer, true, &["create", "patch", "delete"], &["weir.dev/rolebindings", "weir.dev/streamclients"], InConsumer),
    (Consumer, true, &["list"], &["weir.dev/dataproducts", "weir.dev/streamroles", "weir.dev/securityevents"], InConsumer),
    (Consumer, false, &["create", "patch", "delete"], &["weir.dev/dataproducts", "weir.dev/streamroles"], InConsumer),
    (Consumer, false, &["bind", "approve"], &["weir.dev/streamroles"], InOwner),
    (Consumer, true, &["list"], &["weir.dev/accessapprovals"], InOwner),
    (Consumer, false, &["create", "delete"], &["weir.dev/accessapprovals"], InOwner),

    (Viewer, true, &["list"], &["weir.dev/dataproducts", "weir.dev/streamroles", "weir.dev/rolebindings", "weir.dev/streamclients", "weir.dev/securityevents"], InOwner),
    (Viewer, false, &["create", "patch", "delete"], &["weir.dev/dataproducts", "weir.dev/rolebindings"], InOwner),

    // The built-in roles contain Weir's.
    (NamespaceAdmin, true, &["create", "delete"], &["weir.dev/dataproducts", "weir.dev/streamroles", "weir.dev/rolebindings"], InOwner),
    (NamespaceAdmin, true, &["bind", "approve"], &["weir.dev/streamroles"], InOwner),
    (NamespaceAdmin, false, &["patch"], &["weir.dev/dataproducts/status", "weir.dev/securityevents"], InOwner),
    (NamespaceEditor, true, &["create", "delete"], &["weir.dev/rolebindings", "weir.dev/streamclients"], InOwner),
    (NamespaceEditor, false, &["create", "patch"], &["weir.dev/dataproducts", "weir.dev/streamroles"], InOwner),
    (NamespaceEditor, false, &["bind", "approve"], &["weir.dev/streamroles"], InOwner),

    (Stranger, false, &["list", "create"], &["weir.dev/rolebindings", "weir.dev/dataproducts", "weir.dev/securityevents"], InOwner),

    // Weir itself.
    (Weir, true, &["get", "list", "watch"], &["weir.dev/streamclusters", "weir.dev/dataproducts", "weir.dev/streamroles", "weir.dev/streamclients", "weir.dev/rolebindings", "weir.dev/accessapprovals", "weir.dev/partners", "weir.dev/externalshares", "weir.dev/invitations", "weir.dev/audittrails", "/namespaces", "/serviceaccounts"], Everywhere),
    (Weir, true, &["patch"], &["weir.dev/dataproducts", "weir.dev/dataproducts/status", "weir.dev/rolebindings/status", "weir.dev/streamroles/status", "weir.dev/streamclusters/status", "weir.dev/audittrails/status"], Everywhere),
    (Weir, true, &["create", "list", "delete"], &["weir.dev/securityevents"], Everywhere),
    (Weir, true, &["create", "patch"], &["/events", "events.k8s.io/events"], Everywhere),
    (Weir, true, &["get", "list", "watch"], &["/secrets"], InSystem),
    (Weir, true, &["get", "create", "update", "patch"], &["coordination.k8s.io/leases"], InSystem),
    (Weir, false, &["create", "update", "patch", "delete"], &["/secrets"], InSystem),
    (Weir, true, &["get", "list", "watch", "create", "update", "delete"], &["/configmaps"], InSystem),
    (Weir, false, &["get", "list", "watch", "create", "update", "patch", "delete"], &["/secrets", "/configmaps"], InConsumer),
    (Weir, false, &["list", "watch"], &["/secrets", "/configmaps"], Everywhere),
    (Weir, false, &["create", "delete"], &["weir.dev/dataproducts", "weir.dev/streamroles", "weir.dev/rolebindings", "weir.dev/streamclusters"], Everywhere),
    (Weir, false, &["update", "patch"], &["weir.dev/securityevents", "weir.dev/streamroles"], Everywhere),
    (Weir, false, &["create", "update", "patch", "bind", "escalate"], &["rbac.authorization.k8s.io/roles", "rbac.authorization.k8s.io/clusterroles", "rbac.authorization.k8s.io/rolebindings", "rbac.authorization.k8s.io/clusterrolebindings"], Everywhere),
    (Weir, true, &["get"], &["admissionregistration.k8s.io/validatingadmissionpolicies#weir-approvals", "admissionregistration.k8s.io/validatingadmissionpolicybindings#weir-requesters"], Everywhere),
    (Weir, false, &["get"], &["admissionregistration.k8s.io/validatingadmissionpolicies"], Everywhere),
    (Weir, false, &["create", "update", "patch", "delete"], &["weir.dev/accessapprovals"], Everywhere),
    (Weir, false, &["impersonate"], &["/users", "/groups", "/serviceaccounts"], Everywhere),
    (Weir, false, &["create"], &["/pods", "apps/deployments", "/serviceaccounts/token"], InSystem),
    (Weir, false, &["create", "update", "delete"], &["admissionregistration.k8s.io/validatingadmissionpolicies", "apiextensions.k8s.io/customresourcedefinitions"], Everywhere),
];

/// Fails with everything that is not as the table says.
pub async fn deviations(cluster: &Cluster) -> Result<()> {
    let mut wrong = Vec::new();
    for (persona, expected, verbs, resources, at) in RIGHTS {
        for resource in *resources {
            for verb in *verbs {
                if may(cluster, *persona, verb, resource, namespace(cluster, *at)).await? != *expected {
                    let not = if *expected { "may not" } else { "may" };
                    wrong.push(format!("{persona:?} {not} {verb} {resource} ({at:?})"));
                }
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// `kubectl create rolebinding weir-credentials`, as the chart's notes have it.
pub async fn enrolment_alone_lets_weir_write_secrets(cluster: &Cluster) -> Result<()> {
    let enrolment = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "weir-credentials", "namespace": cluster.consumer},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "weir-credentials"},
        "subjects": [{"kind": "ServiceAccount", "name": "weir", "namespace": "weir-system"}]});
    let bindings: Api<k8s_openapi::api::rbac::v1::RoleBinding> =
        Api::namespaced(cluster.admin.clone(), &cluster.consumer);
    bindings.create(&PostParams::default(), &serde_json::from_value(enrolment)?).await?;
    for verb in ["create", "update", "delete"] {
        for resource in ["/secrets", "/configmaps"] {
            eventually("enrolment", || async {
                let enrolled = may(cluster, Weir, verb, resource, &cluster.consumer).await?;
                ensure!(enrolled, "Weir may not {verb} {resource} in {}", cluster.consumer);
                Ok(())
            })
            .await?;
            ensure!(!may(cluster, Weir, verb, resource, &cluster.owner).await?, "Weir may {verb} {resource} elsewhere");
        }
    }
    bindings.delete("weir-credentials", &kube::api::DeleteParams::default()).await?;
    eventually("the end of enrolment", || async {
        ensure!(!may(cluster, Weir, "create", "/secrets", &cluster.consumer).await?, "Weir may still write Secrets");
        Ok(())
    })
    .await
}

fn namespace(cluster: &Cluster, at: At) -> &str {
    match at {
        At::Cluster => "",
        At::Owner => &cluster.owner,
        At::Consumer => &cluster.consumer,
        At::System => "weir-system",
    }
}

async fn may(cluster: &Cluster, persona: Persona, verb: &str, resource: &str, namespace: &str) -> Result<bool> {
    let (resource, name) = resource.split_once('#').unwrap_or((resource, ""));
    let mut parts = resource.split('/');
    let mut part = || parts.next().unwrap_or_default();
    let (group, resource, subresource) = (part(), part(), part());
    let review: SubjectAccessReview = serde_json::from_value(json!({"spec": {
        "user": cluster.user(persona),
        "groups": ["system:authenticated"],
        "resourceAttributes": {"verb": verb, "group": group, "resource": resource, "subresource": subresource,
            "namespace": namespace, "name": name}}}))?;
    let review = Api::all(cluster.admin.clone()).create(&PostParams::default(), &review).await?;
    Ok(review.status.is_some_and(|s| s.allowed))
}
