//! A share with a partner, as people on both sides make it.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::Secret as KubeSecret;
use serde_json::json;
use weir::api::{AccessApproval, DataProduct, Decision, ExternalShare, Partner, Reason, SharePhase, SharedWith};

use weir_e2e::lab::holder::PARTNER;

use super::brokers::{Login, login_with};
use super::install::{PARTNERS_HOST, PARTNERS_TLS};
use super::manifests::{partner, product_with};
use super::other_kafka::OtherKafka;
use super::shell::{kubectl, try_run};
use super::{Harness, SOON, Tenant, until};

/// An owner with a product, whose eve asks and whose olga approves, and a partner.
pub struct Sharing {
    pub h: Harness,
    pub owner: Tenant,
    pub who: Outside,
    /// How it is shared, as fields of the spec.
    pub pattern: String,
}

fn product_of(classification: &str) -> String {
    let streams = "streams: [{name: placed}, {name: refunded}]";
    product_with("orders", &format!("classification: {classification}, {streams}"))
}

/// A partner: its name, and its own files.
pub struct Outside {
    pub partner: String,
    pub home: PathBuf,
}

impl Sharing {
    /// Of a Public product, which partners read directly.
    pub async fn begin() -> Self {
        let h = Harness::start().await;
        Self::of(h, "Public", "pattern: Direct".to_owned()).await
    }

    /// Of a product of this classification, shared in this way.
    pub async fn of(h: Harness, classification: &str, pattern: String) -> Self {
        let owner = h.tenant("owner").await;
        Self::by(h, owner, &product_of(classification), pattern).await
    }

    /// Of a Public product on another Kafka, which partners read directly.
    pub async fn on(h: Harness, kafka: &OtherKafka) -> Self {
        let owner = kafka.tenant(&h, "owner").await;
        Self::by(h, owner, &kafka.here(&product_of("Public")), "pattern: Direct".to_owned()).await
    }

    async fn by(h: Harness, owner: Tenant, product: &str, pattern: String) -> Self {
        owner.apply(product).await;
        owner.ready::<DataProduct>("orders").await;
        let people =
            ["eve", "olga"].map(|p| json!({"kind": "User", "name": p, "apiGroup": "rbac.authorization.k8s.io"}));
        owner
            .apply_value(json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "owners"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "weir-owner"},
                "subjects": people}))
            .await;
        let who = Outside::register(&h, &owner.name.replace("owner", "acme")).await;
        Self { h, owner, who, pattern }
    }

    pub async fn stand(&self, standing: &str) {
        self.who.stand(&self.h, standing).await;
    }

    pub fn manifest(&self, more: &str) -> String {
        let partners = format!("partnerRefs: [{{name: {}}}],", self.who.partner);
        let partners = if more.contains("partnerRefs") { "" } else { &partners };
        let validity = if more.contains("validity") { "" } else { "validity: {notAfter: 2099-01-01T00:00:00Z}," };
        let products = if more.contains("products") { "" } else { "products: [{name: orders}]," };
        format!(
            "{{apiVersion: weir.dev/v1alpha1, kind: ExternalShare, metadata: {{name: out}}, spec: {{{products} \
             {partners} {}, {validity} {more}}}}}",
            self.pattern
        )
    }

    /// Eve makes, or changes, the share.
    pub async fn ask(&self, more: &str) {
        let manifest = self.manifest(more);
        self.owner
            .until("eve may share", || async {
                let arguments = ["--as", "eve", "-n", &self.owner.name, "apply", "-f", "-"];
                match try_run("kubectl", &arguments, &manifest).await {
                    (true, _) => Ok(()),
                    (false, text) => Err(text),
                }
            })
            .await;
    }

    pub async fn decide(&self, verb: &str, more: &[&str]) {
        let olga = ["weir", "--as", "olga", "--namespace", &self.owner.name, verb];
        let all = [&olga[..], &["--share", "out", "--partner", &self.who.partner], more].concat();
        kubectl(&all).await;
    }

    /// Olga deletes her decisions that say so.
    pub async fn take_back(&self, decision: Decision) {
        let decisions = self.owner.all::<AccessApproval>().await;
        for said in decisions.into_iter().filter(|d| d["spec"]["decision"] == json!(decision)) {
            let name = said["metadata"]["name"].as_str().unwrap();
            kubectl(&["--as", "olga", "--namespace", &self.owner.name, "delete", "accessapprovals", name]).await;
        }
    }

    /// Olga invites the partner: the secret.
    pub async fn invite(&self) -> String {
        let olga =
            ["weir", "--as", "olga", "--namespace", &self.owner.name, "invite", "out", "--partner", &self.who.partner];
        kubectl(&olga).await.lines().next().unwrap().to_owned()
    }

    /// What `weir partner` says to the partner, which is in a network of its own and has no kubeconfig.
    pub async fn partner(&self, invitation: &str, arguments: &[&str]) -> Result<String, String> {
        let path = |name: &str| self.who.home.join(name).display().to_string();
        let (ca, keys) = (path("ca.crt"), path("keys"));
        let invitation = format!("WEIR_INVITATION={invitation}");
        let elsewhere = ["netns", "exec", PARTNER, "env", "-u", "KUBECONFIG", &invitation, "weir", "partner"];
        let place = ["--server", &format!("https://{PARTNERS_HOST}"), "--ca", &ca, "--keys", &keys];
        match try_run("ip", &[&elsewhere[..], &place, arguments].concat(), "").await {
            (true, text) => Ok(text),
            (false, text) => Err(text),
        }
    }

    pub async fn accept(&self) {
        let invitation = self.invite().await;
        // The partner API hears of it a moment later.
        until(SOON, &[], "the partner accepts", || self.partner(&invitation, &["accept", "--yes"])).await;
    }

    /// Waits until the share with the partner is in this phase, for this reason.
    pub async fn phase(&self, phase: SharePhase, reason: Reason) -> SharedWith {
        let what = format!("the share is {phase:?} for {reason}");
        self.owner.until(&what, || self.is_in(phase, reason)).await
    }

    /// How the share with the partner is, if it is in this phase for this reason.
    pub async fn is_in(&self, phase: SharePhase, reason: Reason) -> Result<SharedWith, String> {
        let share = self.owner.get::<ExternalShare>("out").await.ok_or("no share")?;
        let status = share.status.ok_or("no status")?;
        let mut partners = status.partners.into_iter();
        let partner = partners.find(|p| p.name == self.who.partner).ok_or("no partner")?;
        let holds = (partner.phase, partner.reason.as_str()) == (phase, reason.as_str());
        if holds { Ok(partner) } else { Err(format!("{partner:#?}")) }
    }

    /// What the partner can log in with, once it can be fetched.
    pub async fn fetch(&self) -> Login {
        let to = self.who.home.join("credential");
        let output = to.display().to_string();
        let arguments = ["credential", "--output", &output];
        until(SOON, &[], "a credential", || self.partner("", &arguments)).await;
        let login = login_with(|name| std::fs::read_to_string(to.join(name)).ok());
        // Of the next credential, which may be of another kind, nothing of this one is to be left.
        std::fs::remove_dir_all(to).unwrap();
        login
    }

    pub fn topic(&self, stream: &str) -> String {
        format!("{}.orders.{stream}", self.owner.name)
    }

    pub async fn end(self) {
        self.owner.delete_and_wait::<ExternalShare>("out").await;
        self.owner.end().await;
        self.who.leave(&self.h).await;
    }
}

impl Outside {
    pub async fn register(h: &Harness, name: &str) -> Self {
        let home = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&home).unwrap();
        let tls = h.own_namespace().get::<KubeSecret>(PARTNERS_TLS).await.unwrap();
        std::fs::write(home.join("ca.crt"), &tls.data.unwrap()["tls.crt"].0).unwrap();
        let outside = Self { partner: name.to_owned(), home };
        outside.stand(h, "Active").await;
        outside
    }

    pub async fn stand(&self, h: &Harness, standing: &str) {
        h.platform().apply(&partner(&self.partner, standing)).await;
    }

    pub async fn leave(self, h: &Harness) {
        h.platform().delete::<Partner>(&self.partner).await;
        std::fs::remove_dir_all(&self.home).unwrap();
    }
}
