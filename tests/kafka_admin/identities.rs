//! SCRAM credentials and quotas.

use std::collections::BTreeMap;
use std::time::Instant;

use weir::domain::secret::Secret;
use weir::kafka::KafkaAdminClient;
use weir::ports::{KafkaAdmin, QuotaDelta, ScramChange, ScramInfo, ScramMechanism};

use crate::kafka_lab::{admin, all, eventually, lab, unique};

fn upsert(user: &str, mechanism: ScramMechanism, iterations: i32, password: &str) -> ScramChange {
    ScramChange::Upsert { user: user.into(), mechanism, iterations, password: Secret::new(password) }
}

fn delete(user: &str, mechanism: ScramMechanism) -> ScramChange {
    ScramChange::Delete { user: user.into(), mechanism }
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_credential_logs_in_until_it_is_deleted() {
    let admin = admin().await;
    let user = unique("login");
    let set = upsert(&user, ScramMechanism::Sha512, 4096, "first, second=third");
    all(admin.alter_scram(&[set]).await.unwrap());
    let names = [user.clone()];
    for broker in admin.describe_cluster().await.unwrap().brokers {
        eventually("every broker has the credential", || async {
            let seen = admin.describe_scram(Some(broker.id), Some(&names)).await.unwrap();
            let info = ScramInfo { mechanism: ScramMechanism::Sha512, iterations: 4096 };
            (seen.get(&user) == Some(&vec![info])).then_some(())
        })
        .await;
    }
    let endpoint = lab().as_user(&user, "first, second=third");
    KafkaAdminClient::connect(&endpoint, "weir-test").await.unwrap();

    all(admin.alter_scram(&[delete(&user, ScramMechanism::Sha512)]).await.unwrap());
    // Deleting what is gone is success.
    all(admin.alter_scram(&[delete(&user, ScramMechanism::Sha512)]).await.unwrap());
    eventually("the login is refused", || async {
        KafkaAdminClient::connect(&endpoint, "weir-test").await.err().filter(|e| e.code == Some(58))
    })
    .await;
    assert!(admin.describe_scram(None, Some(&names)).await.unwrap().is_empty());
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_bad_credential_fails_alone_and_both_mechanisms_of_a_user_go_in_turn() {
    let admin = admin().await;
    let (user, bad) = (unique("both"), unique("bad"));
    let changes = [
        upsert(&user, ScramMechanism::Sha256, 4096, "a"),
        upsert(&bad, ScramMechanism::Sha512, 100, "b"),
        upsert(&user, ScramMechanism::Sha512, 8192, "c"),
        delete(&unique("nobody"), ScramMechanism::Sha512),
    ];
    let results = admin.alter_scram(&changes).await.unwrap();
    assert_eq!(results[1].as_ref().unwrap_err().code, Some(93), "{results:?}");
    assert_eq!((&results[0], &results[2], &results[3]), (&Ok(()), &Ok(()), &Ok(())));
    eventually("both mechanisms are there", || async {
        let seen = admin.describe_scram(None, None).await.unwrap();
        (seen.get(&user).map(Vec::len) == Some(2)).then_some(())
    })
    .await;
    let gone = [delete(&user, ScramMechanism::Sha256), delete(&user, ScramMechanism::Sha512)];
    all(admin.alter_scram(&gone).await.unwrap());
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_thousand_users_take_two_requests() {
    let admin = admin().await;
    let prefix = unique("users");
    let names: Vec<String> = (0..1000).map(|i| format!("{prefix}.{i}")).collect();
    let changes: Vec<_> = names.iter().map(|u| upsert(u, ScramMechanism::Sha512, 4096, "password")).collect();
    let start = Instant::now();
    all(admin.alter_scram(&changes).await.unwrap());
    eprintln!("1,000 SCRAM users in {:?}", start.elapsed());
    assert_eq!(admin.requests_sent()["AlterUserScramCredentials"], 2);
    eventually("all are there", || async {
        let seen = admin.describe_scram(None, Some(&names)).await.unwrap();
        (seen.len() == 1000).then_some(())
    })
    .await;
    let gone: Vec<_> = names.iter().map(|u| delete(u, ScramMechanism::Sha512)).collect();
    all(admin.alter_scram(&gone).await.unwrap());
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn quotas_are_set_read_on_every_broker_and_removed() {
    let admin = admin().await;
    let (user, bad) = (unique("quota"), unique("quota-bad"));
    let delta = |user: &str, changes: &[(&str, Option<f64>)]| QuotaDelta {
        user: user.into(),
        changes: changes.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect(),
    };
    let set = delta(&user, &[("consumer_byte_rate", Some(1_048_576.0)), ("request_percentage", Some(12.5))]);
    let wrong = delta(&bad, &[("no_such_quota", Some(1.0))]);
    let results = admin.alter_user_quotas(&[wrong, set]).await.unwrap();
    assert_eq!(results[0].as_ref().unwrap_err().code, Some(42));
    assert!(results[0].as_ref().unwrap_err().message.contains("no_such_quota"), "{results:?}");
    assert_eq!(results[1], Ok(()));
    let wanted =
        BTreeMap::from([("consumer_byte_rate".to_owned(), 1_048_576.0), ("request_percentage".to_owned(), 12.5)]);
    for broker in admin.describe_cluster().await.unwrap().brokers {
        eventually("every broker has the quotas", || async {
            let seen = admin.describe_user_quotas(Some(broker.id)).await.unwrap();
            (seen.get(&user) == Some(&wanted)).then_some(())
        })
        .await;
    }
    let unset =
        delta(&user, &[("consumer_byte_rate", None), ("request_percentage", None), ("producer_byte_rate", None)]);
    all(admin.alter_user_quotas(&[unset]).await.unwrap());
    eventually("the quotas are gone", || async {
        let seen = admin.describe_user_quotas(None).await.unwrap();
        (!seen.contains_key(&user)).then_some(())
    })
    .await;
}
