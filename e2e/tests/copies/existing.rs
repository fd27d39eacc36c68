//! By a Kafka Connect that somebody else runs.

use serde_json::json;
use weir::api::{ExternalShare, Reason, SharePhase};

use crate::copying::{AWHILE, Copying};
use crate::harness::connect::Connect;
use crate::harness::other_kafka::OtherKafka;
use crate::harness::records::numbered;
use crate::harness::{Harness, until};

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_kafka_connect_that_is_there_copies_with_credentials_that_only_its_workers_see() {
    let h = Harness::start().await;
    let kafka = OtherKafka::start(&h, "theirs", &[]).await;
    let connect = Connect::start(&h, &kafka).await;
    let mut destination = kafka.destination(&h.lab);
    destination["spec"]["replicationEngines"] = json!([{"name": "theirs", "kafkaConnect": connect.engine()}]);
    let mut c = Copying::to(h, kafka, destination, "engine: theirs, history: {from: All}").await;
    let admin = c.s.h.brokers.login();
    let mut wanted = numbered("before", 20);
    c.write(&admin, "placed", &wanted);

    // Its operators have yet to let Weir in, and to install MirrorMaker 2.
    connect.run(false).await;
    c.s.ask("").await;
    c.agree().await;
    c.healthy("False", "forbidden").await;
    connect.namespace.enrol().await;
    c.healthy("False", "has no org.apache.kafka.connect.mirror.MirrorSourceConnector").await;
    connect.run(true).await;
    c.phase(SharePhase::Active, Reason::Ready).await;
    let login = c.s.fetch().await;
    c.copied(&login, "placed", &wanted).await;

    // What it can be asked for has no password in it, and what is not Weir's stays as it is.
    let config = connect.get(&format!("/connectors/{}/config", c.replication().await.connector)).await;
    assert!(config.contains("${file:/etc/weir-copies/") && !config.contains("password="), "{config}");
    let theirs = json!({"connector.class": "org.apache.kafka.connect.mirror.MirrorHeartbeatConnector",
        "source.cluster.alias": "a", "target.cluster.alias": "b", "weir.engine": "somebody/else/s"});
    connect.put("/connectors/weir-xs-somebodys/config", &theirs).await;

    // Another version of everybody's credential, while it runs.
    let reader = c.reader().await;
    c.s.pattern += ", credentials: {rotation: {every: 1m, overlap: 5s}}";
    c.s.ask("").await;
    c.is_no_more(&reader).await;
    wanted.extend(numbered("rotated", 10));
    c.write(&admin, "placed", &numbered("rotated", 10));
    c.copied(&c.kafka.brokers.login(), "placed", &wanted).await;

    // It is over: connector, positions and Secret go, and nothing else.
    c.s.owner.patch::<ExternalShare>("out", json!({"spec": {"revoke": {"reason": "breach"}}})).await;
    c.phase(SharePhase::Revoked, Reason::Revoked).await;
    until(AWHILE, &[&connect.namespace.name], "what Weir made for it is gone", || async {
        let left = connect.secret().await;
        let connectors = connect.get("/connectors").await;
        if left.is_none() && connectors == r#"["weir-xs-somebodys"]"# {
            Ok(())
        } else {
            Err(format!("{connectors} {}", left.is_some()))
        }
    })
    .await;
    c.nobody_is_left().await;
    c.end().await;
    connect.end().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn an_engine_stays_what_it_is() {
    let h = Harness::start().await;
    let kafka = OtherKafka::start(&h, "stays", &[]).await;
    let platform = h.platform();
    platform.apply_value(kafka.destination(&h.lab)).await;
    let mut other = kafka.destination(&h.lab);
    other["spec"]["replicationEngines"] = json!([{"name": "mm2", "kafkaConnect": {
        "url": "https://connect:8083", "secretRef": {"name": "c"},
        "credentials": {"namespace": "connect", "secretName": "copies", "directory": "/etc/copies"}}}]);
    let refused = platform.try_apply(&other.to_string()).await.unwrap_err();
    assert!(refused.contains("what an engine is is immutable"), "{refused}");
    kafka.end(&h, []).await;
}
