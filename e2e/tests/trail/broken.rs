//! A topic that is not what Weir wrote is not written, until somebody has looked at it and says so; one break hides no other.

use k8s_openapi::api::core::v1::Secret;
use serde_json::json;
use weir::api::{Action, ActorType, AuditTrail, ObjectRef, Reason, RoleBinding, StreamClient};
use weir::domain::audit::chain::{self, Head};
use weir::domain::event::{Happening, event};
use weir::kafka::AuditLog;

use crate::events::{export, verify};
use crate::harness::manifests::{binding, client};
use crate::harness::{Harness, SOON, records, until};
use crate::schema::keep_record;

/// The token that the AuditTrail names once it is broken by all of `words`.
async fn broken(h: &Harness, words: &[&str]) -> String {
    let platform = h.platform();
    until(SOON * 4, &[], "the AuditTrail says that it is broken, and how to go on", || async {
        let status = platform.get::<AuditTrail>("default").await.and_then(|t| t.status).unwrap_or_default();
        let stalled = status.conditions.iter().find(|c| c.reason == Reason::AuditBroken.as_str());
        let said = stalled.map(|c| c.message.clone()).unwrap_or_default();
        let token = said.split_once("weir.dev/confirm=").map(|(_, rest)| rest[..16].to_owned());
        match token {
            Some(token) if words.iter().all(|w| said.contains(w)) => Ok(token),
            _ => Err(format!("{:#?}", status.conditions)),
        }
    })
    .await
}

async fn annotate(h: &Harness, token: Option<&str>) {
    let annotations = json!({"metadata": {"annotations": {"weir.dev/confirm": token}}});
    h.platform().patch::<AuditTrail>("default", annotations).await;
}

/// The topic is opened anew where its retention becomes another one.
async fn retain(h: &Harness, retention: Option<&str>) {
    h.platform().patch::<AuditTrail>("default", json!({"spec": {"retention": retention}})).await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_topic_that_was_deleted_or_written_to_is_found_and_confirmed_break_by_break() {
    let h = Harness::start().await;
    let (owner, consumer) = h.owner_and_consumer().await;
    consumer.apply(&client("app")).await;
    consumer.ready::<StreamClient>("app").await;
    let (platform, own) = (h.platform(), h.own_namespace());
    let known = platform.until("the AuditTrail has a checkpoint", || async {
        let status = platform.get::<AuditTrail>("default").await.and_then(|t| t.status).unwrap_or_default();
        status.checkpoint.ok_or_else(|| "it has none".to_owned())
    });
    let known = known.await;

    keep_record().await;
    h.brokers.delete_topic("weir-audit").await;
    consumer.apply(&client("noticed")).await;
    let token = broken(&h, &["has no record"]).await;
    consumer.apply(&binding("b", &owner.name, "reader", "app")).await;
    consumer.says::<RoleBinding>("b", "Ready", "False", Reason::AuditUnavailable, &["AuditTrail default"]).await;
    annotate(&h, Some(&token)).await;
    platform.ready::<AuditTrail>("default").await;
    consumer.ready::<RoleBinding>("b").await;
    annotate(&h, None).await;
    let (proven, said) = verify(&[]).await;
    assert!(proven, "{said}");
    let kept = std::env::temp_dir().join(format!("weir-kept-{}", std::process::id()));
    std::fs::write(&kept, &known).unwrap();
    let (_, said) = verify(&["--checkpoints", kept.to_str().unwrap()]).await;
    assert!(said.contains("was replaced"), "{said}");

    // Two records of somebody else's, one of them behind a record of Weir's.
    let login = h.brokers.login();
    for (n, name) in [(1, "first"), (2, "second")] {
        records::write(&login, "weir-audit", 0, &[format!("{{\"not\": \"Weir's {n}\"}}")], None);
        consumer.apply(&client(name)).await;
        consumer.ready::<StreamClient>(name).await;
    }
    let (proven, said) = verify(&[]).await;
    assert!(!proven && said.matches("is not Weir's").count() == 2, "{said}");
    // And one behind which nothing of Weir's is when the topic is opened.
    records::write(&login, "weir-audit", 0, &["{\"not\": \"Weir's last\"}".to_owned()], None);
    retain(&h, Some("8760h")).await;
    let token = broken(&h, &["is not Weir's", "; offset"]).await;
    annotate(&h, Some(&token)).await;
    platform.ready::<AuditTrail>("default").await;
    annotate(&h, None).await;
    assert_eq!(h.brokers.topic_config("weir-audit", "retention.ms").await.unwrap(), "31536000000");
    consumer
        .until("what was confirmed is proven, and said", || async {
            let (proven, said) = verify(&[]).await;
            if proven && said.matches("somebody confirmed it").count() == 3 { Ok(()) } else { Err(said) }
        })
        .await;
    // It is opened again without anybody's confirming anew.
    retain(&h, None).await;
    platform
        .until("the topic keeps its records for ever", || async {
            let now = h.brokers.topic_config("weir-audit", "retention.ms").await?;
            if now == "-1" { Ok(()) } else { Err(now) }
        })
        .await;
    platform.ready::<AuditTrail>("default").await;
    let told = own.security_events(Action::AuditTrailBroken).await;
    let confirmed = told.iter().filter(|e| e.spec.reason == "Confirmed").count();
    assert!(confirmed >= 2 && told.len() - confirmed >= 2, "{told:#?}");
    // The tests are the administrator.
    let is_named = |e: &&weir::api::SecurityEvent| e.spec.actor.type_ == ActorType::User;
    assert_eq!(told.iter().filter(is_named).count(), confirmed, "{told:#?}");
    consumer.end().await;
    owner.end().await;
}

/// Whoever may do what Weir may, and has not its key, can chain a record; what Weir wrote last is sealed.
#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_record_that_is_chained_as_weir_s_are_and_not_sealed_is_found() {
    let h = Harness::start().await;
    let (platform, consumer) = (h.platform(), h.tenant("consumer").await);
    platform.ready::<AuditTrail>("default").await;
    let log = AuditLog::connect(&h.brokers.login(), "weir-e2e", "weir-audit", None).await.unwrap();
    // Weir is shut out by that, and opens the topic anew.
    let last = log.open(1).await.unwrap().pop().unwrap().record.value;
    let (_, link) = chain::read(&last).unwrap();
    let object = ObjectRef {
        kind: "RoleBinding".into(),
        namespace: Some(consumer.name.clone()),
        name: "forged".into(),
        uid: Some("u".into()),
    };
    let told = Happening::new(Action::AccessGranted, object, "Granted", "Weir never said that");
    let told = event(told, &consumer.name, jiff::Timestamp::now());
    let (forged, _) = Head::behind(&last, &link).follow(&told);
    log.append(&[forged]).await.unwrap();
    let (_, said) = verify(&[]).await;
    assert!(said.contains("the last one is not sealed"), "{said}");
    consumer.apply(&client("app")).await;
    let token = broken(&h, &["is not sealed"]).await;
    annotate(&h, Some(&token)).await;
    platform.ready::<AuditTrail>("default").await;
    annotate(&h, None).await;
    consumer.ready::<StreamClient>("app").await;
    consumer
        .until("that it was not sealed stays known", || async {
            let (proven, said) = verify(&[]).await;
            let is_known = said.lines().any(|l| l.contains("somebody confirmed it") && l.contains("is not sealed"));
            if proven && is_known { Ok(()) } else { Err(said) }
        })
        .await;
    consumer.end().await;
}

/// Whoever takes the AuditTrail away is seen to have, and another one goes on behind.
#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn an_audit_trail_that_is_deleted_ends_signed_and_another_goes_on_behind_it() {
    let h = Harness::start().await;
    let (platform, own, consumer) = (h.platform(), h.own_namespace(), h.tenant("consumer").await);
    // What is shown is on record: the topic is open.
    consumer.apply(&client("app")).await;
    consumer.told(Action::CredentialIssued, 1).await;
    let trail = platform.ready::<AuditTrail>("default").await;
    let began = jiff::Timestamp::now();
    platform.delete_and_wait::<AuditTrail>("default").await;
    own.until("its end is told", || async {
        let told = own.security_events(Action::AuditTrailEnded).await;
        if told.iter().any(|e| e.spec.time.0 >= began) { Ok(()) } else { Err(format!("{told:#?}")) }
    })
    .await;
    let another = json!({"apiVersion": "weir.dev/v1alpha1", "kind": "AuditTrail", "metadata": {"name": "default"}, "spec": trail.spec});
    platform.apply_value(another).await;
    platform.ready::<AuditTrail>("default").await;
    platform
        .until("both are one chain, proven", || async {
            let (proven, said) = verify(&[]).await;
            let all = export().await;
            let ended = all.iter().position(|e| e["unmapped"]["event"]["action"] == "AuditTrailEnded");
            let next = ended.map(|at| all[at + 1]["unmapped"]["event"]["action"].clone());
            if proven && next == Some(json!("AuditCheckpoint")) { Ok(()) } else { Err(format!("{next:?} {said}")) }
        })
        .await;
    consumer.end().await;
}

/// Also where nothing happens that would be put on record.
#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn an_audit_trail_says_of_each_generation_how_it_is() {
    let h = Harness::start().await;
    let platform = h.platform();
    let checkpoints = |part| json!({"spec": {"checkpoints": part}});
    platform.patch::<AuditTrail>("default", checkpoints(json!({"every": "4s"}))).await;
    platform.ready::<AuditTrail>("default").await;
    let key = |name| checkpoints(json!({"signingKeyRef": {"name": name}, "every": "3s"}));
    let own = h.own_namespace();
    let another = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem();
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "another"}, "stringData": {"signing.key": another}});
    own.apply_value(secret).await;
    let known = async |not: Option<&String>| {
        let status = platform.get::<AuditTrail>("default").await.and_then(|t| t.status).unwrap_or_default();
        status.public_key.filter(|key| Some(key) != not).ok_or_else(|| format!("{:?}", status.conditions))
    };
    let first = platform.until("the key is known", || known(None)).await;
    platform.patch::<AuditTrail>("default", key("another")).await;
    platform.until("the head is signed with another key", || known(Some(&first))).await;
    let (proven, said) = verify(&["--public-key", &first]).await;
    assert!(proven && !said.contains("keys that are not known"), "{said}");
    platform.patch::<AuditTrail>("default", key("nowhere")).await;
    platform
        .refused::<AuditTrail>("default", Reason::SecretInvalid, &["as they were asked for before", "nowhere"])
        .await;
    platform.patch::<AuditTrail>("default", key("weir-audit")).await;
    platform.ready::<AuditTrail>("default").await;
    own.delete::<Secret>("another").await;
}
