//! What is told of a binding's access while the API server does not take what Weir writes of the binding.

use serde_json::{Value, json};
use weir::api::{Action, Reason, RoleBinding};

use crate::harness::manifests::{binding, client, product, role};
use crate::harness::operator::Operator;
use crate::harness::shell::kubectl;
use crate::harness::{Harness, NAMESPACE, Tenant};

/// A webhook that nobody serves: until this ends, nothing of a resource is written in a namespace.
struct Untaken {
    platform: Tenant,
    name: String,
}

impl Untaken {
    /// `object` is one of them that is there, as the API server's paths have it.
    async fn of(h: &Harness, tenant: &Tenant, resource: &str, (api, object): (&str, &str)) -> Self {
        let platform = h.platform();
        let rule = json!({"apiGroups": ["*"], "apiVersions": ["*"], "resources": [resource], "operations": ["*"]});
        let webhook = json!({
            "name": "nobody.weir.dev",
            "clientConfig": {"service": {"namespace": tenant.name, "name": "nobody"}},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": tenant.name}},
            "rules": [rule], "failurePolicy": "Fail", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        });
        platform.apply_value(Self::configuration(&tenant.name, &[webhook])).await;
        let path = format!("/{api}/namespaces/{}/{object}?dryRun=All", tenant.name);
        tenant
            .until("the API server asks the webhook", || async {
                let request = http::Request::patch(&path)
                    .header("Content-Type", "application/merge-patch+json")
                    .header("Impersonate-User", format!("system:serviceaccount:{NAMESPACE}:weir"))
                    .body(br#"{"status": {"role": "another"}}"#.to_vec());
                match h.client.request_text(request.unwrap()).await {
                    Err(error) if error.to_string().contains("nobody.weir.dev") => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            })
            .await;
        Self { platform, name: tenant.name.clone() }
    }

    fn configuration(name: &str, webhooks: &[Value]) -> Value {
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": name}, "webhooks": webhooks})
    }

    async fn end(self) {
        self.platform.apply_value(Self::configuration(&self.name, &[])).await;
        kubectl(&["delete", "validatingwebhookconfiguration", &self.name]).await;
    }
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn access_that_ends_before_its_status_says_that_it_began_is_told_to_have_ended() {
    let h = Harness::start().await;
    let (owner, consumer) = h.owner_and_consumer().await;
    consumer.apply(&client("app")).await;
    let principal = consumer.principal("app").await;
    // Without the ConfigMap that it publishes, nothing comes of its status.
    let object = ("api/v1", "configmaps/kube-root-ca.crt");
    let untaken = Untaken::of(&h, &consumer, "configmaps", object).await;
    consumer.apply(&binding("brief", &owner.name, "reader", "app")).await;
    consumer
        .until("the brokers have it", || async {
            let entries = h.brokers.entries(&principal).await?;
            if entries.is_empty() { Err("no entries".to_owned()) } else { Ok(()) }
        })
        .await;
    consumer.delete_and_wait::<RoleBinding>("brief").await;
    let revoked = consumer.told(Action::AccessRevoked, 1).await.remove(0).spec;
    assert_eq!((revoked.object.name.as_str(), &revoked.principals[..]), ("brief", &[principal.clone()][..]));
    assert!(consumer.security_events(Action::AccessGranted).await.is_empty(), "its status said nothing of it");
    assert_eq!(h.brokers.entries(&principal).await, Ok([].into()));
    untaken.end().await;
    consumer.end().await;
    owner.end().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn what_was_told_is_not_told_again_where_the_status_could_not_be_written() {
    let h = Harness::start().await;
    let (owner, consumer) = (h.tenant("owner").await, h.tenant("consumer").await);
    owner.apply(&product("pair", &["first", "second"])).await;
    owner.apply(&role("both", "pair", &["first", "second"], "Read")).await;
    consumer.apply(&client("app")).await;
    consumer.apply(&binding("app", &owner.name, "both", "app")).await;
    consumer.ready::<RoleBinding>("app").await;
    consumer.told(Action::AccessGranted, 1).await;
    let object = ("apis/weir.dev/v1alpha1", "rolebindings/app/status");
    let untaken = Untaken::of(&h, &consumer, "rolebindings/status", object).await;
    owner.apply(&role("both", "pair", &["first"], "Read")).await;
    consumer.told(Action::AccessNarrowed, 1).await;
    // Of another version of the binding, it would be another narrowing.
    consumer.patch::<RoleBinding>("app", json!({"metadata": {"labels": {"another": "version"}}})).await;
    let leader = Operator::of(&h).leader().await;
    let failures = async || {
        let log = kubectl(&["-n", NAMESPACE, "logs", &leader]).await;
        log.lines().filter(|line| line.contains(&consumer.name) && line.contains("reconciliation failed")).count()
    };
    let before = failures().await;
    consumer
        .until("it was reconciled twice since", || async {
            let now = failures().await;
            if now >= before + 2 { Ok(()) } else { Err(format!("failed {before} times, and now {now}")) }
        })
        .await;
    untaken.end().await;
    consumer
        .until("its status says what it has", || async {
            let status = consumer.get::<RoleBinding>("app").await.and_then(|b| b.status).unwrap_or_default();
            if status.topics.len() == 1 { Ok(()) } else { Err(format!("{status:?}")) }
        })
        .await;
    consumer.says::<RoleBinding>("app", "Ready", "True", Reason::Ready, &[]).await;
    for (action, times) in [(Action::AccessGranted, 1), (Action::AccessNarrowed, 1), (Action::AccessRevoked, 0)] {
        consumer.told(action, times).await;
    }
    consumer.end().await;
    owner.end().await;
}
