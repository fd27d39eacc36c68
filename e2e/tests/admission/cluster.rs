//! The API server, what is installed on it, and the personas.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, ValidationDirective};
use kube::core::{ApiResource, GroupVersionKind, Request};
use kube::{Client, Config, ResourceExt};
use serde_json::{Value, json};

use crate::approvals::{self, DENIED, decision};
use crate::cases::{Action, Case, Persona};
use crate::rules::stored_trail;
use crate::{copies, engines, shares};

/// Weir's account in the chart's default installation.
pub const WEIR: &str = "system:serviceaccount:weir-system:weir";
/// A principal that the chart is installed to reserve.
pub const RESERVED: &str = "weir-e2e-reserved";

const DEADLINE: Duration = Duration::from_secs(60);
/// What of the chart is installed here: everything but what runs, and what stamps requests (see `approvals`).
const KINDS: [&str; 8] = [
    "CustomResourceDefinition",
    "ServiceAccount",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
];

pub struct Cluster {
    /// What the chart renders.
    pub rendered: Vec<Value>,
    pub owner: String,
    pub consumer: String,
    pub admin: Client,
    personas: BTreeMap<Persona, Client>,
    suffix: String,
}

impl Cluster {
    /// Installs the chart's definitions, policies and rights, and makes two namespaces with personas of their own.
    pub async fn set_up() -> Result<Self> {
        let admin = Client::try_default().await.context("failed to read KUBECONFIG: run inside the lab")?;
        let suffix = format!("{:x}", SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() & 0xff_ffff_ffff);
        let mut cluster = Self {
            rendered: render(&[
                "--no-hooks",
                "--set=partners.enabled=true,partners.tls.secretName=none",
                &format!("--set=admission.reservedPrincipals={{{RESERVED}}}"),
            ])?,
            owner: format!("admission-owner-{suffix}"),
            consumer: format!("admission-consumer-{suffix}"),
            admin,
            personas: BTreeMap::new(),
            suffix,
        };
        cluster.install().await?;
        cluster.make_personas().await?;
        eventually("the end of stamps", || approvals::stop_stamping(&cluster)).await?;
        // The definitions are served a moment after they are written.
        eventually("the stored objects", || cluster.store()).await?;
        Ok(cluster)
    }

    /// The name by which `persona` is known.
    pub fn user(&self, persona: Persona) -> String {
        match persona {
            Persona::Weir => WEIR.to_owned(),
            Persona::Partners => format!("{WEIR}-partners"),
            Persona::NamespaceController => "system:serviceaccount:kube-system:namespace-controller".to_owned(),
            _ => format!("weir-e2e:{persona:?}:{}", self.suffix),
        }
    }

    /// Acts as `persona`.
    pub fn client(&self, persona: Persona) -> &Client {
        &self.personas[&persona]
    }

    /// `manifest` with `{me}` for the name of `persona`, and `{asker}` for that of the consumer.
    pub fn filled_in(&self, manifest: &str, persona: Persona) -> String {
        manifest.replace("{me}", &self.user(persona)).replace("{asker}", &self.user(Persona::Consumer))
    }

    /// Tries `case`, as a dry run.
    ///
    /// # Errors
    /// What the API server says.
    pub async fn attempt(&self, case: &Case) -> Result<(), String> {
        let manifest = self.filled_in(&case.manifest, case.persona);
        let object = parse(&manifest, &self.owner, &self.consumer).map_err(|e| format!("{e:#}"))?;
        let api = self.api(&self.personas[&case.persona], &object);
        let name = object.name_any();
        let post = PostParams { dry_run: true, ..PostParams::default() };
        let patch = PatchParams {
            dry_run: true,
            field_validation: Some(ValidationDirective::Strict),
            ..PatchParams::default()
        };
        let delete = DeleteParams { dry_run: true, ..DeleteParams::default() };
        let outcome = match case.action {
            Action::Create => self.create(&api, case.persona, &object).await,
            Action::Patch => api.patch(&name, &patch, &Patch::Merge(&object)).await.map(drop),
            Action::PatchStatus => api.patch_status(&name, &patch, &Patch::Merge(&object)).await.map(drop),
            Action::Replace => self.replace(&api, &post, object).await,
            Action::Delete => api.delete(&name, &delete).await.map(drop),
            Action::DeleteCollection => api.delete_collection(&delete, &ListParams::default()).await.map(drop),
        };
        outcome.map_err(|e| match e {
            kube::Error::Api(status) => status.message,
            other => format!("{other}"),
        })
    }

    /// As kubectl does, and unlike `Api::create`: unknown fields are refused, so that a case cannot pass by a slip.
    async fn create(&self, api: &Api<DynamicObject>, persona: Persona, object: &DynamicObject) -> kube::Result<()> {
        let body = serde_json::to_vec(object).map_err(kube::Error::SerdeError)?;
        let post = PostParams { dry_run: true, ..PostParams::default() };
        let mut request = Request::new(api.resource_url()).create(&post, body).map_err(kube::Error::BuildRequest)?;
        if let Ok(uri) = format!("{}&fieldValidation=Strict", request.uri()).parse() {
            *request.uri_mut() = uri;
        }
        self.personas[&persona].request::<DynamicObject>(request).await.map(drop)
    }

    async fn replace(
        &self,
        api: &Api<DynamicObject>,
        post: &PostParams,
        mut object: DynamicObject,
    ) -> kube::Result<()> {
        let stored = self.api(&self.admin, &object).get(&object.name_any()).await?;
        object.metadata.resource_version = stored.metadata.resource_version;
        api.replace(&object.name_any(), post, &object).await.map(drop)
    }

    pub fn api(&self, client: &Client, object: &DynamicObject) -> Api<DynamicObject> {
        let types = object.types.as_ref();
        let (version, kind) = types.map_or(("", ""), |t| (t.api_version.as_str(), t.kind.as_str()));
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        match object.metadata.namespace.as_deref() {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
            None => Api::all_with(client.clone(), &resource),
        }
    }

    /// As `helm install weir` would: Helm takes these objects over where it comes later.
    async fn install(&self) -> Result<()> {
        self.namespace("weir-system").await?;
        for object in self.rendered.iter().filter(|o| KINDS.iter().any(|k| o["kind"] == *k)) {
            self.apply_as_helm(serde_json::from_value(object.clone())?).await?;
        }
        Ok(())
    }

    /// Applies what the chart renders.
    pub async fn apply_as_helm(&self, mut object: DynamicObject) -> Result<()> {
        let annotations = object.annotations_mut();
        annotations.insert("meta.helm.sh/release-name".into(), "weir".into());
        annotations.insert("meta.helm.sh/release-namespace".into(), "weir-system".into());
        self.apply("helm", &object).await
    }

    async fn apply(&self, manager: &str, object: &DynamicObject) -> Result<()> {
        let what = format!("{} {}", object.types.as_ref().map_or("", |t| &t.kind), object.name_any());
        self.api(&self.admin, object)
            .patch(&object.name_any(), &PatchParams::apply(manager).force(), &Patch::Apply(object))
            .await
            .with_context(|| format!("failed to apply {what}"))
            .map(drop)
    }

    async fn namespace(&self, name: &str) -> Result<()> {
        let namespace: DynamicObject =
            serde_json::from_value(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))?;
        self.apply("weir-e2e", &namespace).await
    }

    async fn make_personas(&mut self) -> Result<()> {
        self.namespace(&self.owner).await?;
        self.namespace(&self.consumer).await?;
        for persona in [
            Persona::Platform,
            Persona::Owner,
            Persona::Consumer,
            Persona::Viewer,
            Persona::NamespaceAdmin,
            Persona::NamespaceEditor,
            Persona::Tenant,
            Persona::Stranger,
            Persona::Root,
            Persona::Security,
            Persona::Weir,
            Persona::Partners,
            Persona::NamespaceController,
        ] {
            let mut config = Config::infer().await?;
            config.auth_info.impersonate = Some(self.user(persona));
            if persona == Persona::Root {
                config.auth_info.impersonate_groups = Some(vec!["system:masters".into()]);
            }
            self.personas.insert(persona, Client::try_from(config)?);
        }
        for right in self.rights() {
            self.apply("weir-e2e", &serde_json::from_value(right)?).await?;
        }
        Ok(())
    }

    fn rights(&self) -> Vec<Value> {
        let rbac = "rbac.authorization.k8s.io";
        let version = format!("{rbac}/v1");
        let bind = |namespace: &str, kind: &str, role: &str, persona: Persona| {
            json!({"apiVersion": version, "kind": "RoleBinding",
                "metadata": {"name": format!("{role}-{persona:?}").to_lowercase(), "namespace": namespace},
                "roleRef": {"apiGroup": rbac, "kind": kind, "name": role},
                "subjects": [{"apiGroup": rbac, "kind": "User", "name": self.user(persona)}]})
        };
        let role = |name: &str, rules: Value| {
            json!({"apiVersion": version, "kind": "Role", "metadata": {"name": name, "namespace": self.owner},
                "rules": rules})
        };
        let mut platform = bind("", "ClusterRole", "weir-platform", Persona::Platform);
        platform["kind"] = json!("ClusterRoleBinding");
        platform["metadata"] = json!({"name": self.user(Persona::Platform).to_lowercase()});
        vec![
            platform,
            bind(&self.owner, "ClusterRole", "weir-owner", Persona::Owner),
            bind(&self.owner, "ClusterRole", "weir-consumer", Persona::Consumer),
            bind(&self.consumer, "ClusterRole", "weir-consumer", Persona::Consumer),
            bind(&self.owner, "ClusterRole", "weir-viewer", Persona::Viewer),
            bind(&self.owner, "ClusterRole", "weir-security", Persona::Security),
            bind(&self.owner, "ClusterRole", "admin", Persona::NamespaceAdmin),
            bind(&self.owner, "ClusterRole", "edit", Persona::NamespaceEditor),
            role("everything", json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}])),
            bind(&self.owner, "Role", "everything", Persona::Tenant),
            role(
                "bind-one",
                json!([{"apiGroups": ["weir.dev"], "resources": ["streamroles"],
                "resourceNames": ["bindable"], "verbs": ["bind"]}]),
            ),
            bind(&self.owner, "Role", "bind-one", Persona::Consumer),
            role(
                "approve-one",
                json!([{"apiGroups": ["weir.dev"], "resources": ["accessapprovals", "invitations"],
                    "verbs": ["create", "delete", "deletecollection"]},
                {"apiGroups": ["weir.dev"], "resources": ["streamroles"],
                    "resourceNames": ["approvable"], "verbs": ["approve"]}]),
            ),
            bind(&self.owner, "Role", "approve-one", Persona::Viewer),
            // So that what the schema says of a changed event is heard at all: RBAC gives Weir no such right.
            role(
                "change-events",
                json!([{"apiGroups": ["weir.dev"], "resources": ["securityevents"],
                "verbs": ["patch"]}]),
            ),
            bind(&self.owner, "Role", "change-events", Persona::Weir),
        ]
    }

    /// The objects that cases change.
    async fn store(&self) -> Result<()> {
        let mine = "metadata: {finalizers: [weir.dev/finalizer], namespace: '{owner}', name:";
        let subjects = "subjects: [{kind: StreamClient, name: app}]";
        for manifest in [
            format!(
                "{{kind: DataProduct, {mine} orders}}, spec: {{clusterRef: {{name: main}}, streams: [{{name: placed}}]}}}}"
            ),
            format!("{{kind: StreamClient, {mine} app}}, spec: {{clusterRef: {{name: main}}}}}}"),
            format!(
                "{{kind: StreamClient, {mine} certified}}, spec: {{clusterRef: {{name: main}}, credentials: {{type: Mtls}}}}}}"
            ),
            format!(
                "{{kind: RoleBinding, {mine} bound}}, spec: {{roleRef: {{namespace: '{{owner}}', name: reader}}, {subjects}}}}}"
            ),
            format!(
                "{{kind: RoleBinding, metadata: {{namespace: '{{consumer}}', name: asks}}, spec: {{roleRef: {{namespace: '{{owner}}', name: reader}}, {subjects}}}}}"
            ),
            format!("{{{}}}", shares::STORED),
            format!("{{{}}}", copies::PLAIN),
            format!("{{{}}}", copies::DETAILED),
            format!("{{{}}}", copies::ASKED),
        ] {
            let manifest = manifest.replacen('{', "{apiVersion: weir.dev/v1alpha1, ", 1);
            self.apply("weir-e2e", &parse(&manifest, &self.owner, &self.consumer)?).await?;
        }
        self.create_as(Persona::Platform, &engines::stored()).await?;
        self.create_as(Persona::Platform, &stored_trail()).await?;
        self.create_as(Persona::Weir, &event("{owner}", "seen")).await?;
        self.create_as(Persona::Owner, &decision("stored", "{me}", DENIED)).await?;
        self.create_as(Persona::Owner, &shares::invitation("invited", "{me}")).await?;
        self.create_as(Persona::Partners, &shares::by_partner()).await
    }

    /// Creates what not everybody may create, unless it is there.
    async fn create_as(&self, persona: Persona, manifest: &str) -> Result<()> {
        let object = parse(&self.filled_in(manifest, persona), &self.owner, &self.consumer)?;
        match self.api(self.client(persona), &object).create(&PostParams::default(), &object).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
            other => other.with_context(|| format!("failed to create {manifest} as {persona:?}")).map(drop),
        }
    }

    /// A SecurityEvent whose owner is deleted goes, though nobody but Weir may delete it.
    pub async fn garbage_collection_removes_a_security_event(&self) -> Result<()> {
        let maps: Api<ConfigMap> = Api::namespaced(self.admin.clone(), &self.owner);
        let owner: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "owner"}}))?;
        let owner = maps.create(&PostParams::default(), &owner).await?;
        let mut owned = parse(&event("{owner}", "owned"), &self.owner, &self.consumer)?;
        owned.metadata.owner_references = Some(serde_json::from_value(json!([
            {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.uid()}]))?);
        self.api(&self.personas[&Persona::Weir], &owned).create(&PostParams::default(), &owned).await?;
        maps.delete("owner", &DeleteParams::default()).await?;
        let events = self.api(&self.admin, &owned);
        eventually("the garbage collector", || async {
            ensure!(events.get_opt("owned").await?.is_none(), "SecurityEvent owned is still there");
            Ok(())
        })
        .await
    }

    /// Removes what is in no namespace, and the namespaces, and waits until those are gone.
    pub async fn tear_down(&self) -> Result<()> {
        approvals::stamp_again(self).await?;
        for (kind, name) in [
            ("DataProduct", "orders"),
            ("StreamClient", "app"),
            ("StreamClient", "certified"),
            ("RoleBinding", "bound"),
        ] {
            let manifest = crate::cases::object(kind, "{owner}", name, "spec: {}");
            let api = self.api(&self.personas[&Persona::Root], &parse(&manifest, &self.owner, &self.consumer)?);
            api.patch(name, &PatchParams::default(), &Patch::Merge(json!({"metadata": {"finalizers": null}}))).await?;
        }
        let namespaces: Api<Namespace> = Api::all(self.admin.clone());
        for name in [&self.owner, &self.consumer] {
            namespaces.delete(name, &DeleteParams::default()).await?;
        }
        for (group, version, kind, name) in [
            ("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", self.user(Persona::Platform).to_lowercase()),
            ("weir.dev", "v1alpha1", "StreamCluster", self.owner.clone()),
        ] {
            let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
            let all: Api<DynamicObject> = Api::all_with(self.admin.clone(), &resource);
            all.delete(&name, &DeleteParams::default()).await?;
        }
        eventually("the namespaces' end", || async {
            for name in [&self.owner, &self.consumer] {
                let left = namespaces.get_opt(name).await?;
                ensure!(left.is_none(), "{name} is still there: {:?}", left.and_then(|n| n.status));
            }
            Ok(())
        })
        .await
    }
}

/// A SecurityEvent.
pub fn event(namespace: &str, name: &str) -> String {
    // An old one would be removed at once where Weir runs.
    let spec = format!(
        "spec: {{time: '{}', actor: {{name: weir}}, action: AccessGranted, object: {{kind: RoleBinding, name: bound}}, outcome: \
         Success, reason: Applied, message: access began, severity: Informational}}",
        jiff::Timestamp::now()
    );
    crate::cases::object("SecurityEvent", namespace, name, &spec)
}

/// Reads a manifest.
pub fn parse(manifest: &str, owner: &str, consumer: &str) -> Result<DynamicObject> {
    let yaml = manifest.replace("{owner}", owner).replace("{consumer}", consumer);
    serde_yaml::from_str(&yaml).with_context(|| format!("failed to read {yaml}"))
}

/// Asks until it holds, at most a minute.
pub async fn eventually<F, T>(what: &str, mut holds: F) -> Result<()>
where
    F: FnMut() -> T,
    T: Future<Output = Result<()>>,
{
    let end = tokio::time::Instant::now() + DEADLINE;
    loop {
        match holds().await {
            Ok(()) => return Ok(()),
            Err(error) if tokio::time::Instant::now() > end => {
                return Err(error.context(format!("{what}: not after {DEADLINE:?}")));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

/// What `helm template` makes of the chart with the arguments given.
pub fn render(arguments: &[&str]) -> Result<Vec<Value>> {
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/weir");
    let output = Command::new("helm")
        .args(["template", "weir", chart, "--namespace", "weir-system"])
        // As an installation sees for itself; a template alone knows nothing of the API server.
        .args(["--api-versions", "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy"])
        .args(arguments)
        .output()
        .context("failed to run helm")?;
    ensure!(output.status.success(), "helm template: {}", String::from_utf8_lossy(&output.stderr));
    documents(&String::from_utf8(output.stdout)?)
}

/// The documents of a YAML stream that hold anything.
pub fn documents(text: &str) -> Result<Vec<Value>> {
    let documents = serde_yaml::Deserializer::from_str(text);
    let values = documents.map(|d| <Value as serde::Deserialize>::deserialize(d).map_err(|e| anyhow!(e)));
    values.filter(|v| !matches!(v, Ok(Value::Null))).collect()
}
