//! Products for other organisations: run by `make test`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod harness;

use harness::brokers::{Login, groups, reads};
use harness::manifests::product_with;
use harness::shell::{kubectl, try_run};
use harness::{Harness, SOON, Tenant, until};
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};
use weir::api::{Action, DataProduct, ExternalShare, Partner, Reason, SharePhase, SharedWith};
use weir::domain::secret::Secret;
use weir::ports::{KafkaEndpoint, KafkaSasl, KafkaTls, ProbeOutcome};
use weir::sealing::{new_identity, open};

const API: &str = "system:serviceaccount:weir-system:weir-partners";

/// An owner with a Public product, whose eve asks and whose olga approves, and a partner.
struct Sharing {
    h: Harness,
    owner: Tenant,
    partner: String,
    identity: Secret,
    recipient: String,
}

impl Sharing {
    async fn begin() -> Self {
        let h = Harness::start().await;
        let owner = h.tenant("owner").await;
        owner
            .apply(&product_with("orders", "classification: Public, streams: [{name: placed}, {name: refunded}]"))
            .await;
        owner.ready::<DataProduct>("orders").await;
        let people =
            ["eve", "olga"].map(|p| json!({"kind": "User", "name": p, "apiGroup": "rbac.authorization.k8s.io"}));
        owner
            .apply_value(json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "owners"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "weir-owner"},
                "subjects": people}))
            .await;
        let partner = owner.name.replace("owner", "acme");
        let (identity, recipient) = new_identity();
        let sharing = Self { h, owner, partner, identity, recipient };
        sharing.stand("Active").await;
        sharing
    }

    async fn stand(&self, standing: &str) {
        let (key, value) = harness::TEST_LABEL.split_once('=').unwrap();
        self.h
            .platform()
            .apply_value(json!({"apiVersion": "weir.dev/v1alpha1", "kind": "Partner",
                "metadata": {"name": self.partner, "labels": {key: value}},
                "spec": {"organisation": "Acme", "standing": standing}}))
            .await;
    }

    fn manifest(&self, more: &str) -> String {
        let validity = if more.contains("validity") { "" } else { "validity: {notAfter: 2099-01-01T00:00:00Z}," };
        format!(
            "{{apiVersion: weir.dev/v1alpha1, kind: ExternalShare, metadata: {{name: out}}, spec: {{products: [{{name: orders}}], \
             partnerRefs: [{{name: {}}}], pattern: Direct, {validity} {more}}}}}",
            self.partner
        )
    }

    /// Eve makes, or changes, the share.
    async fn ask(&self, more: &str) {
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

    async fn decide(&self, verb: &str, more: &[&str]) {
        let olga = ["weir", "--as", "olga", "--namespace", &self.owner.name, verb];
        let all = [&olga[..], &["--share", "out", "--partner", &self.partner], more].concat();
        kubectl(&all).await;
    }

    /// What the partner decides, as its API writes it.
    async fn accept(&self) {
        let share = self.owner.get::<ExternalShare>("out").await.unwrap();
        let partner = self.h.platform().get::<Partner>(&self.partner).await.unwrap();
        let approval = json!({"apiVersion": "weir.dev/v1alpha1", "kind": "AccessApproval",
            "metadata": {"name": format!("accepted-{}", self.partner)}, "spec": {
                "requestRef": {"kind": "ExternalShare", "namespace": self.owner.name, "name": "out", "uid": share.metadata.uid},
                "targetRef": {"kind": "ExternalShare", "name": "out"},
                "partnerRef": {"name": self.partner, "uid": partner.metadata.uid},
                "side": "Consumer", "decision": "Approved", "reviewer": format!("partner:{}", self.partner),
                "acceptance": {"invitation": "i", "publicKeyHash": "0".repeat(64), "recipient": self.recipient},
                "scope": {"pattern": "Direct", "streams": share.status.unwrap().streams}}});
        let arguments = ["--as", API, "--as-group", "system:masters", "-n", &self.owner.name, "create", "-f", "-"];
        let (ok, text) = try_run("kubectl", &arguments, &approval.to_string()).await;
        assert!(ok, "{text}");
    }

    /// Waits until the share with the partner is in this phase, for this reason.
    async fn phase(&self, phase: SharePhase, reason: Reason) -> SharedWith {
        self.owner
            .until(&format!("the share is {phase:?} for {reason}"), || async {
                let share = self.owner.get::<ExternalShare>("out").await.ok_or("no share")?;
                let status = share.status.ok_or("no status")?;
                let partner = status.partners.into_iter().next().ok_or("no partner")?;
                let holds = (partner.phase, partner.reason.as_str()) == (phase, reason.as_str());
                if holds { Ok(partner) } else { Err(format!("{partner:#?}")) }
            })
            .await
    }

    /// What the partner can log in with, once it can be fetched.
    async fn fetch(&self, version: &str) -> Login {
        let own = self.h.own_namespace();
        let sealed = until(SOON, &[], &format!("a bundle of version {version}"), || async {
            let all = own.all::<ConfigMap>().await;
            let of = |map: &&Value| map["data"]["partner"] == *self.partner && map["data"]["version"] == version;
            let sealed = all.iter().find(of).and_then(|map| map["data"]["bundle.age"].as_str());
            sealed.map(str::to_owned).ok_or_else(|| format!("{all:?}"))
        })
        .await;
        let files: Value = serde_json::from_str(open(&self.identity, &sealed).unwrap().expose()).unwrap();
        let text = |key: &str| files[key].as_str().unwrap().to_owned();
        KafkaEndpoint {
            bootstrap_servers: text("bootstrapServers").split(',').map(str::to_owned).collect(),
            tls: Some(KafkaTls { ca_pem: Some(text("ca.crt")), client: None }),
            sasl: Some(KafkaSasl::ScramSha512 { username: text("username"), password: Secret::new(text("password")) }),
        }
    }

    fn topic(&self, stream: &str) -> String {
        format!("{}.orders.{stream}", self.owner.name)
    }

    async fn end(self) {
        self.owner.delete_and_wait::<ExternalShare>("out").await;
        self.owner.end().await;
        self.h.platform().delete::<Partner>(&self.partner).await;
    }
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_partner_reads_what_was_approved_and_accepted_until_it_is_revoked() {
    let s = Sharing::begin().await;
    s.ask("").await;
    s.phase(SharePhase::PendingApproval, Reason::AwaitingApproval).await;
    s.decide("approve", &["--reason", "the contract of May"]).await;
    s.phase(SharePhase::Invited, Reason::AwaitingAcceptance).await;
    s.accept().await;
    let shared = s.phase(SharePhase::Active, Reason::Ready).await;
    let principal = shared.principal.unwrap();
    let prefix = shared.group_prefix.unwrap();
    let both = [reads(&principal, &s.topic("placed")), reads(&principal, &s.topic("refunded"))];
    s.h.brokers.show(&principal, both.into_iter().chain([groups(&principal, &prefix)])).await;
    let login = s.fetch("1").await;
    s.h.brokers.let_fetch(&login, &s.topic("placed"), ProbeOutcome::Allowed).await;
    s.decide("revoke", &["--reason", "breach"]).await;
    let ended = s.phase(SharePhase::Revoked, Reason::Revoked).await;
    let evidence = ended.revocation.unwrap();
    assert!(evidence.access_removed_at.is_some() && evidence.credentials_removed_at.is_some(), "{evidence:?}");
    assert_eq!(s.h.brokers.entries(&principal).await, Ok([].into()));
    assert_eq!(s.h.brokers.users(&principal).await, Ok([].into()));
    assert_eq!(s.h.brokers.fetch(&login, &s.topic("placed")).await, Ok(ProbeOutcome::LoginRefused));
    for action in [Action::CredentialIssued, Action::ShareStarted, Action::ShareEnded] {
        let events = s.owner.security_events(action).await;
        assert_eq!(events.len(), 1, "{action:?}: {events:?}");
    }
    s.end().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_share_stops_for_a_while_and_ends_by_itself() {
    let s = Sharing::begin().await;
    s.ask("").await;
    s.phase(SharePhase::PendingApproval, Reason::AwaitingApproval).await;
    s.decide("approve", &[]).await;
    s.phase(SharePhase::Invited, Reason::AwaitingAcceptance).await;
    s.accept().await;
    let principal = s.phase(SharePhase::Active, Reason::Ready).await.principal.unwrap();
    let login = s.fetch("1").await;
    for (stop, go, reason) in
        [("suspended: true", "", Reason::Suspended), ("Quarantined", "Active", Reason::Quarantined)]
    {
        if reason == Reason::Quarantined {
            s.stand(stop).await
        } else {
            s.ask(stop).await
        }
        s.phase(SharePhase::Suspended, reason).await;
        assert_eq!(s.h.brokers.entries(&principal).await, Ok([].into()));
        assert_eq!(s.h.brokers.fetch(&login, &s.topic("placed")).await, Ok(ProbeOutcome::Denied));
        if reason == Reason::Quarantined {
            s.stand(go).await
        } else {
            s.ask(go).await
        }
        s.phase(SharePhase::Active, Reason::Ready).await;
        s.h.brokers.let_fetch(&login, &s.topic("placed"), ProbeOutcome::Allowed).await;
    }
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(8);
    s.ask(&format!("validity: {{notAfter: '{soon:.0}'}}")).await;
    s.phase(SharePhase::Expired, Reason::Expired).await;
    assert_eq!(s.h.brokers.entries(&principal).await, Ok([].into()));
    assert_eq!(s.h.brokers.fetch(&login, &s.topic("placed")).await, Ok(ProbeOutcome::LoginRefused));
    s.end().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn what_is_not_public_is_not_shared_directly_and_nobody_approves_for_themselves() {
    let s = Sharing::begin().await;
    s.ask("").await;
    s.phase(SharePhase::PendingApproval, Reason::AwaitingApproval).await;
    let eve =
        ["weir", "--as", "eve", "--namespace", &s.owner.name, "approve", "--share", "out", "--partner", &s.partner];
    kubectl(&eve).await;
    s.accept().await;
    s.phase(SharePhase::PendingApproval, Reason::AwaitingApproval).await;
    s.decide("approve", &[]).await;
    let principal = s.phase(SharePhase::Active, Reason::Ready).await.principal.unwrap();
    s.owner.patch::<DataProduct>("orders", json!({"spec": {"classification": "Private"}})).await;
    s.phase(SharePhase::Suspended, Reason::ClassificationForbidsPattern).await;
    assert_eq!(s.h.brokers.entries(&principal).await, Ok([].into()));
    s.end().await;
}
