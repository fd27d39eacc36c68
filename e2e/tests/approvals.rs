//! Requests and decisions by people who are not one another, with `kubectl weir`: run by `make test`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod harness;

use harness::brokers::{groups, reads};
use harness::manifests::{binding, client, privilege, product, role_with};
use harness::shell::{run, try_run};
use harness::{Harness, Tenant};
use serde_json::json;
use weir::api::{AccessApproval, Action, DataProduct, PendingRequest, Reason, RoleBinding, StreamRole};

/// An owner whose role `reader` wants its approval, and a consumer with client `app`. In the owner's namespace olga and oscar
/// may approve and vera may look; in the consumer's eve and olga may ask.
struct Teams {
    h: Harness,
    owner: Tenant,
    consumer: Tenant,
}

impl Teams {
    async fn meet() -> Self {
        let h = Harness::start().await;
        let (owner, consumer) = (h.tenant("owner").await, h.tenant("consumer").await);
        owner.apply(&product("orders", &["placed", "refunded"])).await;
        owner.ready::<DataProduct>("orders").await;
        consumer.apply(&client("app")).await;
        let teams = Self { h, owner, consumer };
        teams.offer(&["placed"], "approval: Owner").await;
        for (tenant, people, role) in [
            (&teams.owner, ["olga", "oscar"], "weir-owner"),
            (&teams.owner, ["vera", "victor"], "weir-viewer"),
            (&teams.consumer, ["eve", "olga"], "weir-consumer"),
        ] {
            let subjects = people.map(|p| json!({"kind": "User", "name": p, "apiGroup": "rbac.authorization.k8s.io"}));
            tenant
                .apply_value(json!({
                    "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": role},
                    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                    "subjects": subjects}))
                .await;
        }
        teams
    }

    async fn offer(&self, streams: &[&str], more: &str) {
        let privilege = privilege("names: [orders]", streams, "Read");
        self.owner.apply(&role_with("reader", &format!("{privilege}, bindableFrom: {{mode: All}}, {more}"))).await;
    }

    /// `user` makes, or changes, the binding `b`.
    async fn ask(&self, user: &str) {
        let manifest = binding("b", &self.owner.name, "reader", "app");
        // Rights take effect a moment after they are written.
        self.consumer
            .until(&format!("{user} may ask"), || async {
                let arguments = ["--as", user, "-n", &self.consumer.name, "apply", "-f", "-"];
                match try_run("kubectl", &arguments, &manifest).await {
                    (true, _) => Ok(()),
                    (false, text) => Err(text),
                }
            })
            .await;
    }

    /// What `kubectl weir` says to `user` in the owner's namespace.
    async fn weir(&self, user: &str, arguments: &[&str]) -> Result<String, String> {
        let all = [&["weir", "--as", user, "--namespace", &self.owner.name], arguments].concat();
        match try_run("kubectl", &all, "").await {
            (true, text) => Ok(text),
            (false, text) => Err(text),
        }
    }

    /// The same, when it must succeed.
    async fn decide(&self, user: &str, verb: &str, more: &[&str]) -> String {
        let request = self.request();
        self.weir(user, &[&[verb, &request], more].concat()).await.unwrap()
    }

    fn request(&self) -> String {
        format!("{}/b", self.consumer.name)
    }

    /// Waits until the binding waits, and the role says so.
    async fn waits(&self) {
        self.consumer.refused::<RoleBinding>("b", Reason::AwaitingApproval, &["kubectl weir approve"]).await;
        self.requests(1).await;
    }

    /// Waits until so many requests wait.
    async fn requests(&self, count: usize) {
        self.listed(&format!("{count} requests wait"), |requests| requests.len() == count).await;
    }

    /// Waits until the role lists such requests: what is listed is what gets approved.
    async fn listed(&self, what: &str, wanted: impl Fn(&[PendingRequest]) -> bool) {
        self.owner
            .until(what, || async {
                let role = self.owner.get::<StreamRole>("reader").await.ok_or("no role")?;
                let requests = role.status.map(|s| s.requests).unwrap_or_default();
                if wanted(&requests) { Ok(()) } else { Err(format!("{requests:?}")) }
            })
            .await;
    }

    /// Every broker lets the client read these streams, and nothing else.
    async fn reads(&self, streams: &[&str]) {
        let app = self.consumer.principal("app").await;
        let entries = streams.iter().map(|s| reads(&app, &format!("{}.orders.{s}", self.owner.name)));
        let group = groups(&app, &format!("{}.app.", self.consumer.name));
        let wanted: Vec<_> = if streams.is_empty() { Vec::new() } else { entries.chain([group]).collect() };
        self.h.brokers.show(&app, wanted).await;
    }

    async fn part(self) {
        self.consumer.end().await;
        self.owner.end().await;
    }
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn access_comes_with_the_owner_s_approval_and_goes_with_its_revocation() {
    let teams = Teams::meet().await;
    teams.ask("eve").await;
    teams.waits().await;
    teams.reads(&[]).await;
    let listed = teams.weir("vera", &["requests"]).await.unwrap();
    for word in [&*teams.request(), "eve", "orders/placed (Read)", "StreamClient/app"] {
        assert!(listed.contains(word), "{listed} lacks {word}");
    }
    teams.decide("olga", "approve", &["--reason", "for the report"]).await;
    teams.consumer.ready::<RoleBinding>("b").await;
    teams.reads(&["placed"]).await;
    teams.requests(0).await;
    let again = teams.weir("olga", &["approve", &teams.request()]).await.unwrap_err();
    assert!(again.contains("waits for an approval"), "{again}");
    teams.decide("oscar", "revoke", &["--reason", "the report is done"]).await;
    teams.consumer.refused::<RoleBinding>("b", Reason::Revoked, &["revoked by oscar: the report is done"]).await;
    teams.reads(&[]).await;
    for (action, by) in
        [(Action::AccessRequested, "eve"), (Action::RequestApproved, "olga"), (Action::RequestRevoked, "oscar")]
    {
        teams
            .owner
            .until(&format!("an event {action:?} by {by}"), || async {
                let events = teams.owner.security_events(action).await;
                let by: Vec<_> = events.iter().filter(|e| e.spec.actor.name == by).collect();
                if by.len() == 1 { Ok(()) } else { Err(format!("{events:?}")) }
            })
            .await;
    }
    for action in [Action::AccessGranted, Action::AccessNarrowed, Action::AccessRevoked] {
        let told = teams.consumer.security_events(action).await;
        let asked = |e: &weir::api::SecurityEvent| e.spec.requested_by.first().is_some_and(|first| first == "eve");
        assert!(told.iter().all(asked), "{told:#?}");
    }
    assert!(!teams.consumer.security_events(Action::AccessGranted).await.is_empty());
    // Also once it is gone.
    teams.consumer.delete_and_wait::<RoleBinding>("b").await;
    let evidence = run("weir", &["audit", "evidence", "-n", &teams.consumer.name, "rolebinding/b"]).await;
    let app = format!("{}.orders.placed", teams.owner.name);
    for word in [
        "AccessRequested  by eve",
        "RequestApproved  by olga",
        "for the report",
        "AccessGranted",
        &app,
        "RequestRevoked  by oscar",
        "the report is done",
        "AccessRevoked",
        "is proven",
    ] {
        assert!(evidence.contains(word), "{evidence} lacks {word}");
    }
    teams.part().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn nobody_approves_what_they_ask_for_or_change() {
    let teams = Teams::meet().await;
    teams.ask("olga").await;
    teams.waits().await;
    teams.decide("olga", "approve", &[]).await;
    let own: Vec<_> = teams.owner.names::<AccessApproval>().await;
    assert_eq!(own.len(), 1, "it can be made, but does not count");
    teams.waits().await;
    // Who changes a request asks, too.
    teams.consumer.delete_and_wait::<RoleBinding>("b").await;
    teams.ask("eve").await;
    teams.waits().await;
    let patch = r#"{"spec": {"purpose": "more"}}"#;
    let arguments = ["--as", "olga", "-n", &teams.consumer.name, "patch", "srb", "b", "--type=merge", "-p", patch];
    let (ok, text) = try_run("kubectl", &arguments, "").await;
    assert!(ok, "{text}");
    teams.listed("the change waits", |all| all.iter().any(|r| r.scope.purpose.as_deref() == Some("more"))).await;
    teams.decide("olga", "approve", &[]).await;
    teams.waits().await;
    teams.reads(&[]).await;
    teams.decide("oscar", "approve", &[]).await;
    teams.consumer.ready::<RoleBinding>("b").await;
    teams.reads(&["placed"]).await;
    teams.part().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn who_may_not_approve_is_told_so() {
    let teams = Teams::meet().await;
    teams.ask("eve").await;
    teams.waits().await;
    for (user, words) in
        [("vera", "cannot create resource \"accessapprovals\""), ("eve", "streamroles.weir.dev is forbidden")]
    {
        let refusal = teams.weir(user, &["approve", &teams.request()]).await.unwrap_err();
        assert!(refusal.contains(words), "{user}: {refusal}");
    }
    let unknown = teams.weir("olga", &["revoke", "elsewhere/b"]).await.unwrap_err();
    assert!(unknown.contains("elsewhere/b is not among"), "{unknown}");
    teams.waits().await;
    teams.part().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn an_approval_is_of_one_request_and_not_of_the_next_of_its_name() {
    let teams = Teams::meet().await;
    teams.ask("eve").await;
    teams.waits().await;
    teams.decide("olga", "approve", &[]).await;
    teams.reads(&["placed"]).await;
    teams.consumer.delete_and_wait::<RoleBinding>("b").await;
    teams.ask("eve").await;
    teams.waits().await;
    teams.reads(&[]).await;
    teams.part().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_role_that_widens_waits_for_another_approval_and_one_that_narrows_does_not() {
    let teams = Teams::meet().await;
    teams.ask("eve").await;
    teams.waits().await;
    teams.decide("olga", "approve", &[]).await;
    teams.consumer.ready::<RoleBinding>("b").await;
    teams.offer(&["placed", "refunded"], "approval: Owner").await;
    teams.waits().await;
    teams.reads(&["placed"]).await;
    teams.decide("olga", "approve", &["--stream", "orders/refunded"]).await;
    teams.consumer.ready::<RoleBinding>("b").await;
    teams.reads(&["placed", "refunded"]).await;
    teams.offer(&["refunded"], "approval: Owner").await;
    teams.reads(&["refunded"]).await;
    teams.consumer.ready::<RoleBinding>("b").await;
    teams.part().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn an_approval_ends_by_itself() {
    let teams = Teams::meet().await;
    teams.ask("eve").await;
    teams.waits().await;
    teams.decide("olga", "approve", &["--for", "8s"]).await;
    teams.reads(&["placed"]).await;
    teams.reads(&[]).await;
    teams.waits().await;
    teams.part().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn some_namespaces_are_approved_beforehand_and_a_denial_beats_that() {
    let teams = Teams::meet().await;
    let all = "approval: Owner, preApproved: [{namespaceSelector: {matchLabels: {weir.dev/tenant: 'true'}}}]";
    teams.offer(&["placed"], all).await;
    teams.ask("eve").await;
    teams.consumer.ready::<RoleBinding>("b").await;
    teams.reads(&["placed"]).await;
    teams.decide("olga", "deny", &["--reason", "not this team"]).await;
    teams.consumer.refused::<RoleBinding>("b", Reason::Denied, &["denied by olga: not this team"]).await;
    teams.reads(&[]).await;
    // A denial is taken back by whoever may decide.
    let denial = teams.owner.names::<AccessApproval>().await.pop().unwrap();
    let (ok, text) = try_run("kubectl", &["--as", "oscar", "-n", &teams.owner.name, "delete", "aa", &denial], "").await;
    assert!(ok, "{text}");
    teams.reads(&["placed"]).await;
    teams.part().await;
}
