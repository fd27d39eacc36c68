//! Every way in, and what is said of those that stay closed.

use std::time::{Duration, Instant};

use weir::domain::secret::Secret;
use weir::kafka::KafkaAdminClient;
use weir::ports::{Disposition, KafkaAdmin, KafkaEndpoint, KafkaError, KafkaSasl, KafkaTls};

use crate::kafka_lab::{endpoint, file, lab};

async fn refused(endpoint: &KafkaEndpoint) -> KafkaError {
    KafkaAdminClient::connect(endpoint, "weir-test").await.err().expect("refused")
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn every_mechanism_logs_in() {
    let lab = lab();
    let (name, password) = (lab.plain.username.clone(), Secret::new(lab.plain.password.clone()));
    let plain = KafkaSasl::Plain { username: name, password };
    let (name, password) = (lab.scram256.username.clone(), Secret::new(lab.scram256.password.clone()));
    let scram256 = KafkaSasl::ScramSha256 { username: name, password };
    let client = Some((file(&lab.mtls.certificate), Secret::new(file(&lab.mtls.key))));
    let tls = Some(KafkaTls { ca_pem: Some(file(&lab.mtls.ca)), client });
    let endpoints = [
        lab.admin(),
        endpoint(&lab.scram256.bootstrap, &lab.scram256.ca, Some(scram256)),
        endpoint(&lab.plain.bootstrap, &lab.plain.ca, Some(plain)),
        KafkaEndpoint { bootstrap_servers: lab.mtls.bootstrap.clone(), tls, sasl: None },
    ];
    let mut ids = Vec::new();
    for endpoint in endpoints {
        let client = KafkaAdminClient::connect(&endpoint, "weir-test").await.unwrap();
        // What only a super user may.
        client.describe_scram(None, None).await.unwrap();
        ids.push(client.describe_cluster().await.unwrap().id);
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "one cluster behind all listeners");
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_wrong_password_is_named_by_user_and_mechanism_and_never_shown() {
    let lab = lab();
    let password = || Secret::new("wr0ng-secret");
    let username = || "somebody".to_owned();
    for (sasl, mechanism) in [
        (KafkaSasl::ScramSha512 { username: username(), password: password() }, "SCRAM-SHA-512"),
        (KafkaSasl::ScramSha256 { username: username(), password: password() }, "SCRAM-SHA-256"),
        (KafkaSasl::Plain { username: username(), password: password() }, "PLAIN"),
    ] {
        let e = refused(&endpoint(&lab.plain.bootstrap, &lab.plain.ca, Some(sasl))).await;
        assert_eq!((e.code, e.disposition), (Some(58), Disposition::Permanent), "{e}");
        assert!(e.message.contains("\"somebody\"") && e.message.contains(mechanism), "{e}");
        assert!(!format!("{e:?}").contains("wr0ng-secret"), "{e}");
    }
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_cluster_of_another_authority_is_not_trusted() {
    let mut endpoint = lab().admin();
    let other = rcgen::generate_simple_self_signed(["other".to_owned()]).unwrap().cert.pem();
    endpoint.tls = Some(KafkaTls { ca_pem: Some(other), client: None });
    let e = refused(&endpoint).await;
    assert_eq!(e.disposition, Disposition::Permanent);
    assert!(e.message.starts_with("failed to trust the certificate of "), "{e}");
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_listener_for_certificates_refuses_a_client_without_one() {
    let lab = lab();
    let e = refused(&endpoint(&lab.mtls.bootstrap, &lab.mtls.ca, None)).await;
    assert_eq!(e.disposition, Disposition::Permanent, "{e}");
    assert!(e.message.contains("refused the TLS session"), "{e}");
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_dead_bootstrap_server_is_passed_over() {
    let mut endpoint = lab().admin();
    // Port 1 on loopback: nothing listens there.
    endpoint.bootstrap_servers.insert(0, "127.0.0.1:1".into());
    KafkaAdminClient::connect(&endpoint, "weir-test").await.unwrap();
    endpoint.bootstrap_servers.truncate(1);
    let e = refused(&endpoint).await;
    assert_eq!(e.disposition, Disposition::Retry);
    assert!(e.message.starts_with("failed to connect to 127.0.0.1:1: "), "{e}");
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_connection_outlives_its_session_by_authenticating_again() {
    let lab = lab();
    let (username, password) = (lab.scram256.username.clone(), Secret::new(lab.scram256.password.clone()));
    let sasl = KafkaSasl::ScramSha256 { username, password };
    let endpoint = endpoint(&lab.scram256.bootstrap, &lab.scram256.ca, Some(sasl));
    let client = KafkaAdminClient::connect(&endpoint, "weir-test").await.unwrap();
    let lifetime = client.features().await.unwrap().session_lifetime.expect("the listener bounds sessions");
    assert!(lifetime <= Duration::from_secs(60), "{lifetime:?}");
    let dialled = client.requests_sent()["ApiVersions"];
    let start = Instant::now();
    // Several callers at once, so that requests are in flight whenever a session is renewed.
    let callers = (0..8).map(|_| async {
        let mut calls = 0_u64;
        while start.elapsed() < lifetime * 2 + Duration::from_secs(1) {
            client.describe_cluster().await.unwrap();
            calls += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        calls
    });
    let calls: u64 = futures::future::join_all(callers).await.into_iter().sum();
    let sent = client.requests_sent();
    assert_eq!(sent["ApiVersions"], dialled, "the connection was never replaced");
    assert!(sent["SaslHandshake"] >= dialled + 2, "{sent:?}");
    assert_eq!(sent["DescribeCluster"], calls, "no call had to be repeated");
}
