//! By cluster links.

use std::collections::BTreeMap;

use kube::ResourceExt;
use serde_json::{Value, json};
use weir::api::{DataProduct, ExternalShare, Reason, SharePhase};
use weir::domain::acl::Operation;
use weir::domain::names::link_prefix;
use weir::ports::ProbeOutcome;

use crate::copying::{AWHILE, Copying};
use crate::harness::brokers::{Login, groups, reads, topic_entry};
use crate::harness::confluent::Confluent;
use crate::harness::confluent::contract::Contract;
use crate::harness::other_kafka::OtherKafka;
use crate::harness::records::{numbered, write};
use crate::harness::shell::kubectl;
use crate::harness::{Harness, until};

/// A share that is copied by a link, and whoever makes that.
struct Linked {
    c: Copying,
    confluent: Confluent,
}

impl Linked {
    async fn begin(name: &str, more: &str) -> Self {
        let h = Harness::start().await;
        let kafka = OtherKafka::start(&h, name, &[]).await;
        let confluent = Confluent::start(&kafka).await;
        let mut destination = kafka.destination(&h.lab);
        destination["spec"]["replicationEngines"] = json!([{"name": "link", "clusterLink": confluent.engine()}]);
        let c = Copying::to(h, kafka, destination, &format!("engine: link, {more}")).await;
        Self { c, confluent }
    }

    /// The mirror topic of a stream.
    async fn copy(&self, stream: &str) -> String {
        let share = self.c.s.owner.get::<ExternalShare>("out").await.unwrap();
        format!("{}{}", link_prefix(&share.uid().unwrap()), self.c.s.topic(stream))
    }

    /// Waits until its mirror topics are so, each by its stream.
    async fn mirrors(&self, wanted: &[(&str, &str)]) {
        let mut all = BTreeMap::new();
        for (stream, status) in wanted {
            all.insert(self.copy(stream).await, (*status).to_owned());
        }
        until(AWHILE, &[&self.c.s.owner.name], &format!("mirror topics are {all:?}"), || async {
            let found = self.confluent.mirrors();
            if found.values().next() == Some(&all) && found.len() == 1 { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
    }

    async fn revoke(&self) {
        self.c.s.owner.patch::<ExternalShare>("out", json!({"spec": {"revoke": {"reason": "breach"}}})).await;
        self.c.phase(SharePhase::Revoked, Reason::Revoked).await;
        let status = until(AWHILE, &[&self.c.s.owner.name], "the copy is gone", || async {
            let status = self.c.replication().await;
            let ends = [&status.principals_removed_at, &status.logins_refused_at, &status.removed_at];
            let all = ends.into_iter().chain([&status.topics_released_at]).all(Option::is_some);
            if all { Ok(status) } else { Err(format!("{status:?}")) }
        })
        .await;
        assert_eq!(status.state, None);
        assert_eq!(self.confluent.mirrors(), [].into(), "no link is left");
        self.c.nobody_is_left().await;
    }

    async fn end(self) {
        let Self { c, confluent } = self;
        confluent.end(&c.s.h).await;
        c.end().await;
    }
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_cluster_link_copies_as_the_share_s_reader_and_is_let_go_when_that_is_over() {
    let mut l = Linked::begin("linked", "history: {from: FromNow}").await;
    let admin = l.c.s.h.brokers.login();
    l.c.write(&admin, "placed", &numbered("before", 10));

    // Weir has to be let in there, and the link to be taken.
    l.c.s.ask("").await;
    l.c.agree().await;
    l.c.healthy("False", "does not exist: create it in the namespace that Weir runs in").await;
    l.confluent.introduce(&l.c.s.h, Some("wrong")).await;
    l.c.healthy("False", "Unauthorized").await;
    l.confluent.refuse(Some("Cluster Linking is not enabled in this cluster"));
    l.confluent.introduce(&l.c.s.h, None).await;
    l.c.healthy("False", "Cluster Linking is not enabled in this cluster").await;
    assert_eq!(l.c.s.is_in(SharePhase::Active, Reason::Ready).await.err().map(drop), Some(()));
    l.confluent.refuse(None);
    let shared = l.c.phase(SharePhase::Active, Reason::Ready).await;
    l.mirrors(&[("placed", "ACTIVE"), ("refunded", "ACTIVE")]).await;
    assert_eq!(l.c.replication().await.state.as_deref(), Some("RUNNING"));
    let placed = l.copy("placed").await;
    let mut wanted = numbered("after", 50);
    l.c.write(&admin, "placed", &wanted);
    let login = l.c.s.fetch().await;
    l.c.has(&login, &placed, &wanted).await;

    // Who copies reads at the source, and nobody writes at the destination; the partner reads there, and nowhere else.
    let reader = l.c.reader().await;
    let source = ["placed", "refunded"].map(|stream| l.c.s.topic(stream));
    let described = source.iter().map(|topic| topic_entry(&reader, Operation::DescribeConfigs, topic).to_string());
    let read = source.iter().map(|topic| reads(&reader, topic));
    l.c.s.h.brokers.show(&reader, read.chain(described)).await;
    assert_eq!(l.c.kafka.brokers.entries_with("Write").await.unwrap(), [].into());
    let (principal, prefix) = (shared.principal.unwrap(), shared.group_prefix.unwrap());
    let topics = [&placed, &l.copy("refunded").await].map(|topic| reads(&principal, topic));
    l.c.kafka.brokers.show(&principal, topics.into_iter().chain([groups(&principal, &prefix)])).await;
    let at_source = Login { bootstrap_servers: admin.bootstrap_servers.clone(), ..login.clone() };
    assert_eq!(l.c.s.h.brokers.fetch(&at_source, &source[0]).await, Ok(ProbeOutcome::LoginRefused));
    let [jaas] = <[_; 1]>::try_from(l.confluent.configured("sasl.jaas.config")).unwrap();
    let password = jaas.split("password=\"").nth(1).unwrap().split('"').next().unwrap();
    let told = kubectl(&["get", "externalshares,streamclusters,events,securityevents", "-A", "-o", "json"]).await;
    assert!(password.len() > 8 && jaas.contains(&reader) && !told.contains(password), "nobody is told the password");

    // Suspended, and on again: what came meanwhile follows.
    l.c.s.ask("suspended: true").await;
    l.c.phase(SharePhase::Suspended, Reason::Suspended).await;
    l.mirrors(&[("placed", "PAUSED"), ("refunded", "PAUSED")]).await;
    assert_eq!(l.c.s.h.brokers.entries(&reader).await, Ok([].into()));
    l.c.write(&admin, "placed", &numbered("meanwhile", 10));
    l.c.s.ask("").await;
    l.c.phase(SharePhase::Active, Reason::Ready).await;
    wanted.extend(numbered("meanwhile", 10));
    l.c.has(&login, &placed, &wanted).await;

    // What would have more cross over is turned off again; another version of the credential is taken up.
    l.confluent.set("acl.sync.enable", "true");
    until(AWHILE, &[], "it is turned off again", || async {
        let found = l.confluent.configured("acl.sync.enable");
        if found == ["false"] { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
    l.c.s.pattern += ", credentials: {rotation: {every: 1m, overlap: 5s}}";
    l.c.s.ask("").await;
    l.c.is_no_more(&reader).await;
    until(AWHILE, &[&l.c.s.owner.name], "the link has the new version", || async {
        let (newest, found) = (l.c.reader().await, l.confluent.configured("sasl.jaas.config"));
        // The password is not for the test's output.
        if found.iter().all(|jaas| jaas.contains(&format!("\"{newest}\""))) { Ok(()) } else { Err(newest) }
    })
    .await;
    wanted.extend(numbered("rotated", 10));
    l.c.write(&admin, "placed", &numbered("rotated", 10));
    l.c.has(&l.c.kafka.brokers.login(), &placed, &wanted).await;

    // It says that all is well, and copies nothing.
    l.confluent.stall(true);
    l.c.write(&admin, "placed", &numbered("stalled", 5));
    l.c.healthy("False", "says that it runs: nothing was copied for").await;
    let stalled = l.c.replication().await;
    assert!(stalled.lag_records > Some(0) && stalled.lag_seconds >= Some(60), "{stalled:?}");
    l.confluent.stall(false);
    l.c.healthy("True", "").await;

    // Somebody takes a topic out of the link, and does what is advised.
    l.confluent.promote(&placed);
    l.c.healthy("False", &format!("somebody took topic {placed} out of link")).await;
    l.c.kafka.brokers.delete_topic(&placed).await;
    l.c.healthy("True", "").await;
    l.c.write(&admin, "placed", &numbered("anew", 5));
    l.c.has(&l.c.kafka.brokers.login(), &placed, &numbered("anew", 5)).await;

    // Over: the topics are let go as they are, then the link goes.
    l.revoke().await;
    assert!(l.c.kafka.brokers.topics().await.contains(&placed), "targetTopicPolicy is Retain");
    l.end().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_cluster_link_takes_no_topic_of_somebody_else_and_follows_its_source() {
    let l = Linked::begin("strange", "history: {from: All}, targetTopicPolicy: Delete").await;
    let admin = l.c.s.h.brokers.login();
    let mut wanted = numbered("before", 10);
    l.c.write(&admin, "placed", &wanted);
    // Before Weir can look at links, somebody makes a topic with the name of a copy; and the share ends.
    l.c.s.ask("").await;
    let theirs = l.copy("refunded").await;
    l.c.agree().await;
    l.c.healthy("False", "does not exist: create it in the namespace that Weir runs in").await;
    l.c.kafka.brokers.make_topic(&theirs).await;
    l.c.s.owner.delete::<ExternalShare>("out").await;
    l.confluent.introduce(&l.c.s.h, None).await;
    l.c.s.owner.gone::<ExternalShare>("out").await;
    assert!(l.c.kafka.brokers.topics().await.contains(&theirs), "it is not Weir's to delete");
    assert_eq!(l.c.kafka.brokers.entries_with(&theirs).await, Ok([].into()), "nobody reads it by the share");
    l.c.kafka.brokers.delete_topic(&theirs).await;

    l.c.s.ask("").await;
    let (placed, refunded) = (l.copy("placed").await, l.copy("refunded").await);
    // One topic is there before anybody agreed, another comes before the link does.
    l.confluent.refuse(Some("not now"));
    l.c.kafka.brokers.make_topic(&placed).await;
    l.c.agree().await;
    l.c.condition("Ready", "False", &format!("topic {placed} exists and was not made by Weir: delete it")).await;
    l.c.healthy("False", "not now").await;
    l.c.kafka.brokers.make_topic(&refunded).await;
    l.c.condition("Ready", "False", &format!("topic {refunded} exists and was not made by Weir: delete it")).await;
    let ledger = l.c.kafka.brokers.ledger().await.unwrap();
    assert!(!ledger.topics.contains_key(&placed) && !ledger.topics.contains_key(&refunded), "neither is Weir's");
    assert_eq!(l.c.kafka.brokers.entries_with(&placed).await, Ok([].into()), "nobody reads it by the share");
    l.confluent.refuse(None);
    l.c.kafka.brokers.delete_topic(&placed).await;
    l.c.kafka.brokers.delete_topic(&refunded).await;
    l.c.phase(SharePhase::Active, Reason::Ready).await;
    let login = l.c.s.fetch().await;
    l.c.has(&login, &placed, &wanted).await;

    // More partitions follow by themselves.
    let streams = json!([{"name": "placed", "partitions": 2}, {"name": "refunded"}]);
    l.c.s.owner.patch::<DataProduct>("orders", json!({"spec": {"streams": streams}})).await;
    until(AWHILE, &[&l.c.s.owner.name], "the copy grows", || async {
        match l.c.kafka.brokers.partitions(&placed).await {
            Some(2) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    write(&admin, &l.c.s.topic("placed"), 1, &numbered("grown", 10), None);
    wanted.extend(numbered("grown", 10));
    l.c.has(&login, &placed, &wanted).await;

    // Somebody deletes the link: its topics stay the share's, and what to do is said.
    l.confluent.lose();
    l.c.healthy("False", &format!("topic {placed} is there, and link")).await;
    let ledger = l.c.kafka.brokers.ledger().await.unwrap();
    assert!([&placed, &refunded].iter().all(|topic| ledger.topics.get(*topic).is_some_and(|r| !r.is_promised)));
    for topic in [&placed, &refunded] {
        l.c.kafka.brokers.delete_topic(topic).await;
    }
    l.c.healthy("True", "").await;
    l.c.has(&login, &placed, &wanted).await;

    // A stream less stands still at once; nobody reads it.
    l.c.s.ask("products: [{name: orders, streams: [placed]}]").await;
    l.mirrors(&[("placed", "ACTIVE"), ("refunded", "PAUSED")]).await;
    assert_eq!(l.c.kafka.brokers.entries_with(&refunded).await, Ok([].into()));

    // Over: link and topics go.
    l.revoke().await;
    let topics = l.c.kafka.brokers.topics().await;
    assert!(!topics.contains(&placed) && !topics.contains(&refunded), "{topics:?}");
    l.end().await;
}

#[test]
fn the_contract_takes_what_is_right_and_nothing_else() {
    let contract = Contract::read();
    let path = "/kafka/v3/clusters/c/links/weir%2Dxs/mirrors:pause";
    let pause = contract.operation("POST", path).unwrap();
    assert_eq!((pause.id.as_str(), pause.path["link_name"].as_str()), ("pauseMirrors", "weir-xs"));
    let none = BTreeMap::new();
    assert_eq!(contract.faults_of_request(&pause, &none, &json!({"mirror_topic_names": ["a"]})), [""; 0]);
    for wrong in
        [json!({}), json!({"mirror_topic_names": []}), json!({"mirror_topic_names": ["a"], "x": 1}), Value::Null]
    {
        assert!(!contract.faults_of_request(&pause, &none, &wrong).is_empty(), "{wrong}");
    }
    let create = contract.operation("POST", "/kafka/v3/clusters/c/links").unwrap();
    assert!(!contract.faults_of_request(&create, &none, &json!({})).is_empty(), "no name");
    assert!(contract.operation("POST", "/kafka/v3/clusters/c/links/l/configs:alter").is_none(), "it is PUT");
    let answer = json!({"error_code": 40002, "message": null});
    assert_eq!(contract.faults_of_answer(&create, 400, &answer), [""; 0]);
    assert!(!contract.faults_of_answer(&create, 200, &Value::Null).is_empty());
    assert!(!contract.faults_of_answer(&pause, 200, &json!({"data": []})).is_empty());
}
