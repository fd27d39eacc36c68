//! Decisions about requests, and who made a request.

use anyhow::{Context, Result, ensure};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};

use crate::cases::Action::{Create, Delete, DeleteCollection, Patch as Change};
use crate::cases::Expect::{Accepted, Refused};
use crate::cases::Persona::{
    self, Consumer, NamespaceAdmin, NamespaceController, Owner, Platform, Root, Tenant, Viewer, Weir,
};
use crate::cases::{Case, about, object};
use crate::cluster::{Cluster, eventually, parse};

const MUTATING: [&str; 2] = ["MutatingAdmissionPolicyBinding", "MutatingAdmissionPolicy"];
/// What cases of stamped and unstamped requests are about: see `store`.
const REQUESTS: [(&str, &str); 2] = [("stamped", "annotations: {weir.dev/requesters: '{me}'}, "), ("unstamped", "")];

/// A decision `name` by `reviewer` about role `reader`; `rest` goes on with its spec.
pub fn decision(name: &str, reviewer: &str, rest: &str) -> String {
    let spec = format!(
        "spec: {{requestRef: {{kind: RoleBinding, namespace: '{{consumer}}', name: asks, uid: u1}}, \
         targetRef: {{kind: StreamRole, name: reader}}, reviewer: '{reviewer}', {rest}}}"
    );
    object("AccessApproval", "{owner}", name, &spec)
}

/// Of a decision's spec: it says no.
pub const DENIED: &str = "decision: Denied";
/// Of a decision's spec: it says yes to one stream.
const APPROVED: &str = "decision: Approved, scope: {subjects: [{kind: StreamClient, name: app}], \
                        streams: [{product: orders, stream: placed, access: [Read]}]}";

/// The rules of the definition.
pub fn rules() -> Vec<Case> {
    let immutable = "an AccessApproval never changes: make another one";
    let scope = "scope goes with decision Approved, and only with it";
    let label = decision("stored", "{me}", DENIED).replace("metadata: {", "metadata: {labels: {a: b}, ");
    let change = |spec: &str| object("AccessApproval", "{owner}", "stored", &format!("spec: {{{spec}}}"));
    let new = |rest: &str| decision("new", "{me}", rest);
    let all = APPROVED.replace("Approved", "Denied");
    [
        about(
            immutable,
            [
                ("a decision is labelled", Root, Change, label.replace("reviewer: '{me}', ", ""), Accepted),
                ("a decision is turned", Root, Change, change("decision: Revoked"), Refused(immutable)),
                ("a decision gets a reason", Root, Change, change("reason: later"), Refused(immutable)),
            ],
        ),
        about(
            scope,
            [
                ("approved within a scope", Owner, Create, new(APPROVED), Accepted),
                ("denied", Owner, Create, new(DENIED), Accepted),
                ("approved without end", Owner, Create, new("decision: Approved"), Refused(scope)),
                ("denied in part", Owner, Create, new(&all), Refused(scope)),
            ],
        ),
    ]
    .concat()
}

/// Of the policies, while nothing stamps requests.
pub fn cases() -> Vec<Case> {
    [reviewer(), right(), requesters(), confirmations()].concat()
}

fn reviewer() -> Vec<Case> {
    let rule = "the reviewer of an approval is whoever makes it";
    let refused = Refused("nobody decides in the name of another");
    about(
        rule,
        [
            ("the owner decides in its own name", Owner, Create, decision("new", "{me}", APPROVED), Accepted),
            ("the owner decides in another's name", Owner, Create, decision("new", "alice", APPROVED), refused),
            ("a tenant decides in another's name", Tenant, Create, decision("new", "alice", APPROVED), refused),
            ("the administrator decides in another's name", Root, Create, decision("new", "alice", DENIED), refused),
            ("Weir decides in another's name", Weir, Create, decision("new", "alice", DENIED), Refused("is forbidden")),
        ],
    )
}

fn right() -> Vec<Case> {
    let rule = "a decision takes the verb approve, or approve-security, on what it is about";
    let refused = Refused("takes the verb approve on streamroles.weir.dev");
    let rbac = Refused("is forbidden: User");
    let new = || decision("new", "{me}", APPROVED);
    let stored = || decision("stored", "{me}", DENIED);
    about(
        rule,
        [
            ("the owner approves", Owner, Create, new(), Accepted),
            ("an admin of the namespace approves", NamespaceAdmin, Create, new(), Accepted),
            ("a viewer who may make approvals, but not approve", Viewer, Create, new(), refused),
            ("who may approve one role approves it", Viewer, Create, new().replace("reader", "approvable"), Accepted),
            ("a viewer takes a denial back", Viewer, Delete, stored(), refused),
            (
                "a viewer takes all denials back",
                Viewer,
                DeleteCollection,
                stored(),
                Refused("with binding 'weir-approvals'"),
            ),
            ("the owner takes a denial back", Owner, Delete, stored(), Accepted),
            ("a decision goes with its namespace", NamespaceController, DeleteCollection, stored(), Accepted),
            ("a consumer approves", Consumer, Create, new(), rbac),
            ("a consumer takes a denial back", Consumer, Delete, stored(), rbac),
        ],
    )
}

fn requesters() -> Vec<Case> {
    let rule = "weir.dev/requesters names who made the request and who changed it";
    let refused = Refused("it names who made the request and who changed it, as the API server knows them");
    let stored = |name: &str, annotation: &str, spec: &str| {
        let binding = object("RoleBinding", "{consumer}", name, &format!("spec: {{{spec}}}"));
        annotated(&binding, &format!("{{weir.dev/requesters: {annotation}}}"))
    };
    let more = "purpose: more";
    about(
        rule,
        [
            ("who asks says so", Consumer, Create, request("new", REQUESTS[0].1), Accepted),
            ("who asks says nothing", Consumer, Create, request("new", ""), Accepted),
            (
                "who asks says it was another",
                Consumer,
                Create,
                request("new", "annotations: {weir.dev/requesters: alice}, "),
                refused,
            ),
            (
                "the administrator says it was another",
                Root,
                Create,
                request("new", "annotations: {weir.dev/requesters: alice}, "),
                refused,
            ),
            ("who asked changes it", Consumer, Change, stored("stamped", "'{me}'", more), Accepted),
            (
                "another changes it in that name",
                Root,
                Change,
                object("RoleBinding", "{consumer}", "stamped", "spec: {purpose: more}"),
                refused,
            ),
            ("another changes it, and says so", Root, Change, stored("stamped", "\"{asker}\\n{me}\"", more), Accepted),
            ("another takes the name away", Root, Change, stored("stamped", "null", ""), refused),
            ("another puts its own name instead", Root, Change, stored("stamped", "'{me}'", more), refused),
            (
                "another only labels it",
                Root,
                Change,
                object("RoleBinding", "{consumer}", "stamped", "spec: {}")
                    .replace("metadata: {", "metadata: {labels: {a: b}, "),
                Accepted,
            ),
            ("who makes a role says so", Owner, Create, role("'{me}'"), Accepted),
            ("who makes a role says it was another", Owner, Create, role("alice"), refused),
            (
                "nobody says later who made it",
                Consumer,
                Change,
                stored("unstamped", "'{me}'", ""),
                Refused("is not there, and cannot be added"),
            ),
            (
                "what nobody claims can be changed",
                Consumer,
                Change,
                object("RoleBinding", "{consumer}", "unstamped", "spec: {purpose: more}"),
                Accepted,
            ),
        ],
    )
}

fn confirmations() -> Vec<Case> {
    let rule = "weir.dev/confirmed-by names who set weir.dev/confirm";
    let another = Refused("names who set weir.dev/confirm, as the API server knows them: it must be ");
    about(
        rule,
        [
            (
                "who confirms says so",
                Platform,
                Change,
                confirmed("confirm: t, weir.dev/confirmed-by: '{me}'"),
                Accepted,
            ),
            ("who confirms says nothing", Platform, Change, confirmed("confirm: t"), another),
            (
                "who confirms says it was another",
                Platform,
                Change,
                confirmed("confirm: t, weir.dev/confirmed-by: alice"),
                another,
            ),
            ("somebody else is named beforehand", Root, Change, confirmed("confirmed-by: alice"), Refused("left out")),
            ("nothing is confirmed", Platform, Change, confirmed("other: t"), Accepted),
        ],
    )
}

/// The AuditTrail with `weir.dev/{annotations}`.
fn confirmed(annotations: &str) -> String {
    annotated(&object("AuditTrail", "", "default", "spec: {}"), &format!("{{weir.dev/{annotations}}}"))
}

/// A manifest with these annotations.
fn annotated(manifest: &str, annotations: &str) -> String {
    manifest.replace("metadata: {", &format!("metadata: {{annotations: {annotations}, "))
}

fn request(name: &str, metadata: &str) -> String {
    object(
        "RoleBinding",
        "{consumer}",
        name,
        "spec: {roleRef: {namespace: elsewhere, name: reader}, subjects: [{kind: StreamClient, name: app}]}",
    )
    .replace("metadata: {", &format!("metadata: {{{metadata}"))
}

/// A role that this annotation says to be made by somebody.
fn role(annotation: &str) -> String {
    let privilege = "spec: {privileges: [{products: {names: [orders]}, access: [Read]}]}";
    annotated(&object("StreamRole", "{owner}", "new", privilege), &format!("{{weir.dev/requesters: {annotation}}}"))
}

/// Takes away what stamps requests, so that what is stored has no stamp but where it says so.
pub async fn stop_stamping(cluster: &Cluster) -> Result<()> {
    for policy in stamping(cluster)? {
        let gone = cluster.api(&cluster.admin, &policy).delete(&policy.name_any(), &DeleteParams::default()).await;
        match gone {
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            gone => drop(gone?),
        }
    }
    eventually("requests without a stamp", || async {
        let made = dry_run(cluster, Consumer, &request("new", "")).await?;
        ensure!(stamp(&made).is_none(), "stamped with {:?}", stamp(&made));
        Ok(())
    })
    .await
}

/// Puts it back.
pub async fn stamp_again(cluster: &Cluster) -> Result<()> {
    for policy in stamping(cluster)? {
        cluster.apply_as_helm(policy).await?;
    }
    Ok(())
}

/// Stores what the cases change.
pub async fn store(cluster: &Cluster) -> Result<()> {
    for (name, metadata) in REQUESTS {
        let (api, object) = target(cluster, Consumer, &request(name, metadata))?;
        api.create(&PostParams::default(), &object).await.with_context(|| format!("failed to store {name}"))?;
    }
    Ok(())
}

/// With the policies that stamp them, requests bear the names of those who made and changed them, whatever they say.
pub async fn requests_are_stamped(cluster: &Cluster) -> Result<()> {
    stamp_again(cluster).await?;
    let asks = cluster.user(Consumer);
    let forged = request("new", "annotations: {weir.dev/requesters: alice}, ");
    eventually("requests with a stamp", || async {
        for manifest in [&request("new", ""), &forged] {
            let made = dry_run(cluster, Consumer, manifest).await?;
            ensure!(stamp(&made) == Some(asks.as_str()), "{manifest} got {:?}", stamp(&made));
        }
        Ok(())
    })
    .await?;
    let both = format!("{asks}\n{}", cluster.user(Root));
    for (name, annotations, spec, expected) in [
        ("stamped", "{}", "purpose: more", Some(both.as_str())),
        ("stamped", "{weir.dev/requesters: null}", "purpose: more", Some(both.as_str())),
        ("stamped", "{weir.dev/requesters: alice}", "", Some(asks.as_str())),
        ("stamped", "{a: b}", "", Some(asks.as_str())),
        ("unstamped", "{}", "purpose: more", None),
    ] {
        let patch = annotated(&object("RoleBinding", "{consumer}", name, &format!("spec: {{{spec}}}")), annotations);
        let (api, patch) = target(cluster, Root, &patch)?;
        let dry = PatchParams { dry_run: true, ..PatchParams::default() };
        let changed = api.patch(name, &dry, &Patch::Merge(&patch)).await?;
        ensure!(stamp(&changed) == expected, "{name}, {annotations}, {spec}: got {:?}", stamp(&changed));
    }
    let forged = |kind, spec| annotated(&object(kind, "", "new", spec), "{weir.dev/requesters: alice}");
    for (by, manifest) in [
        (Platform, forged("Partner", "spec: {organisation: Acme}")),
        (
            Platform,
            forged(
                "StreamCluster",
                "spec: {bootstrapServers: ['broker:9093'], adminCredentials: {type: Mtls, secretRef: {name: admin}}, tls: {}}",
            ),
        ),
        (Owner, role("alice")),
    ] {
        let made = dry_run(cluster, by, &manifest).await?;
        ensure!(stamp(&made) == Some(cluster.user(by).as_str()), "{manifest}: got {:?}", stamp(&made));
    }
    for annotations in ["confirm: t", "confirm: t, weir.dev/confirmed-by: alice"] {
        let (api, patch) = target(cluster, Root, &confirmed(annotations))?;
        let dry = PatchParams { dry_run: true, ..PatchParams::default() };
        let changed = api.patch("default", &dry, &Patch::Merge(&patch)).await?;
        let by = changed.annotations().get("weir.dev/confirmed-by");
        ensure!(by == Some(&cluster.user(Root)), "{annotations}: got {by:?}");
    }
    Ok(())
}

/// The policies of the chart, and what binds them: in the order in which they may go.
fn stamping(cluster: &Cluster) -> Result<Vec<DynamicObject>> {
    let of_kind = |kind| cluster.rendered.iter().filter(move |o| o["kind"] == kind);
    let found: Vec<_> = MUTATING.into_iter().flat_map(of_kind).cloned().collect();
    ensure!(found.len() == 4, "the chart renders {} of {MUTATING:?}", found.len());
    found.into_iter().map(|o| Ok(serde_json::from_value(o)?)).collect()
}

async fn dry_run(cluster: &Cluster, persona: Persona, manifest: &str) -> Result<DynamicObject> {
    let (api, object) = target(cluster, persona, manifest)?;
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    Ok(api.create(&dry, &object).await?)
}

fn target(cluster: &Cluster, persona: Persona, manifest: &str) -> Result<(Api<DynamicObject>, DynamicObject)> {
    let object = parse(&cluster.filled_in(manifest, persona), &cluster.owner, &cluster.consumer)?;
    Ok((cluster.api(cluster.client(persona), &object), object))
}

fn stamp(object: &DynamicObject) -> Option<&str> {
    object.annotations().get("weir.dev/requesters").map(String::as_str)
}
