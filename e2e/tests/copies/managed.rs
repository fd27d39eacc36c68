//! By a Kafka Connect that Weir runs.

use std::collections::BTreeSet;

use serde_json::json;
use weir::api::{DataProduct, ExternalShare, Reason, SharePhase, StreamCluster};
use weir::ports::ProbeOutcome;

use crate::copying::{AWHILE, Copying, flat};
use crate::harness::brokers::{Login, groups, reads, writes};
use crate::harness::install::cluster_manifest;
use crate::harness::records::{numbered, read, write};
use crate::harness::shell::kubectl;
use crate::harness::{CLUSTER, NAMESPACE, until};

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_partner_reads_copies_of_what_is_written_from_now_on_and_never_the_source() {
    let c = Copying::begin("sharing", "").await;
    let admin = c.s.h.brokers.login();
    c.write(&admin, "placed", &numbered("before", 10));
    c.s.ask("").await;
    c.agree().await;
    let shared = c.phase(SharePhase::Active, Reason::Ready).await;
    assert_eq!(c.replication().await.state.as_deref(), Some("RUNNING"), "what is written from now on is copied");
    c.write(&admin, "placed", &numbered("after", 100));
    write(&admin, &c.s.topic("placed"), 0, &numbered("aborted", 10), Some(false));
    write(&admin, &c.s.topic("placed"), 0, &numbered("committed", 10), Some(true));
    let login = c.s.fetch().await;
    let wanted = [numbered("after", 100), numbered("committed", 10)].concat();
    c.copied(&login, "placed", &wanted).await;
    let principal = shared.principal.unwrap();
    let prefix = shared.group_prefix.unwrap();
    let both = [reads(&principal, &c.copy("placed")), reads(&principal, &c.copy("refunded"))];
    c.kafka.brokers.show(&principal, both.into_iter().chain([groups(&principal, &prefix)])).await;
    assert_eq!(c.s.h.brokers.entries(&principal).await, Ok([].into()), "nothing at the source");
    let at_source = Login { bootstrap_servers: admin.bootstrap_servers.clone(), ..login.clone() };
    assert_eq!(c.s.h.brokers.fetch(&at_source, &c.s.topic("placed")).await, Ok(ProbeOutcome::LoginRefused));
    // Those who copy: one reads there, one writes here, and neither does anything else.
    let source = c.s.h.brokers.entries_with(&c.s.topic("placed")).await.unwrap();
    let reader = source.iter().find_map(|e| e.split("User:").nth(1)?.split(' ').next().map(str::to_owned)).unwrap();
    c.s.h.brokers.show(&reader, [reads(&reader, &c.s.topic("placed")), reads(&reader, &c.s.topic("refunded"))]).await;
    let target = c.kafka.brokers.entries_with("Write").await.unwrap();
    let writer = target.iter().find(|e| e.contains(&c.copy("placed"))).unwrap();
    let writer = writer.split("User:").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    c.kafka.brokers.show(&writer, [writes(&writer, &c.copy("placed")), writes(&writer, &c.copy("refunded"))]).await;
    let replication = c.replication().await;
    assert_eq!((replication.state.as_deref(), replication.engine.as_str()), (Some("RUNNING"), "mm2"));
    // Revoked: everything of it goes on both sides, and the copies stay, which nobody can read.
    c.s.decide("revoke", &["--reason", "breach"]).await;
    c.phase(SharePhase::Revoked, Reason::Revoked).await;
    assert_eq!(c.kafka.brokers.fetch(&login, &c.copy("placed")).await, Ok(ProbeOutcome::LoginRefused));
    c.s.owner.patch::<ExternalShare>("out", json!({"spec": {"revoke": {"reason": "breach"}}})).await;
    let ended = until(AWHILE, &[&c.s.owner.name], "the copy is gone", || async {
        let status = c.replication().await;
        let principals = [&status.principals_removed_at, &status.logins_refused_at];
        let ends = [principals, [&status.removed_at, &status.topics_released_at]].concat();
        if ends.iter().all(|at| at.is_some()) { Ok(status) } else { Err(format!("{status:?}")) }
    })
    .await;
    assert_eq!(ended.state, None);
    c.nobody_is_left().await;
    assert!(c.kafka.brokers.topics().await.contains(&c.copy("placed")), "targetTopicPolicy is Retain");
    assert_eq!(c.s.h.brokers.entries(&reader).await, Ok([].into()));
    assert_eq!(c.s.h.brokers.users(&reader).await, Ok([].into()));
    c.end().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn nothing_is_lost_while_a_copy_stops_grows_and_loses_its_worker() {
    let mut c = Copying::begin("growing", ", history: {from: All}, targetTopicPolicy: Delete").await;
    let admin = c.s.h.brokers.login();
    let mut wanted = numbered("before", 10);
    c.write(&admin, "placed", &wanted);
    c.s.ask("").await;
    c.agree().await;
    c.phase(SharePhase::Active, Reason::Ready).await;
    let login = c.s.fetch().await;
    c.copied(&login, "placed", &wanted).await;

    // Suspended, and on again: what came meanwhile follows, and nothing comes twice.
    c.s.ask("suspended: true").await;
    c.phase(SharePhase::Suspended, Reason::Suspended).await;
    c.write(&admin, "placed", &numbered("meanwhile", 10));
    assert_eq!(c.kafka.brokers.fetch(&login, &c.copy("placed")).await, Ok(ProbeOutcome::Denied));
    c.s.ask("").await;
    c.phase(SharePhase::Active, Reason::Ready).await;
    wanted.extend(numbered("meanwhile", 10));
    c.copied(&login, "placed", &wanted).await;

    // More partitions, and one more stream, which everybody has to agree to.
    let streams = json!([{"name": "placed", "partitions": 2}, {"name": "refunded"}, {"name": "paid"}]);
    c.s.owner.patch::<DataProduct>("orders", json!({"spec": {"streams": streams}})).await;
    c.phase(SharePhase::Active, Reason::AwaitingApproval).await;
    until(AWHILE, &[], "the copy grows", || async {
        match c.kafka.brokers.partitions(&c.copy("placed")).await {
            Some(2) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    write(&admin, &c.s.topic("placed"), 1, &numbered("grown", 10), None);
    wanted.extend(numbered("grown", 10));
    c.copied(&login, "placed", &wanted).await;
    c.write(&admin, "paid", &numbered("paid", 10));
    assert_eq!(c.kafka.brokers.partitions(&c.copy("paid")).await, None, "not before everybody agreed");
    c.s.decide("approve", &[]).await;
    c.phase(SharePhase::Active, Reason::AwaitingAcceptance).await;
    c.s.accept().await;
    c.phase(SharePhase::Active, Reason::Ready).await;
    c.copied(&login, "paid", &numbered("paid", 10)).await;

    // The worker dies: another one goes on. What was on its way may come twice, as MirrorMaker 2 has it.
    let worker = c.workers().await.remove(0);
    kubectl(&["-n", NAMESPACE, "delete", &worker, "--force", "--grace-period=0"]).await;
    write(&admin, &c.s.topic("placed"), 1, &numbered("later", 10), None);
    until(AWHILE, &[&c.s.owner.name], "all of it is copied", || async {
        let all = once(flat(&read(&login, &c.group().await, &c.copy("placed"))?));
        let wanted = [&wanted[..], &numbered("later", 10)].concat();
        if all == wanted { Ok(()) } else { Err(format!("{all:?}")) }
    })
    .await;
    c.phase(SharePhase::Active, Reason::Ready).await;

    // The destination's broker, and one of the source's, start anew.
    kubectl(&["-n", &c.kafka.name, "rollout", "restart", "statefulset/kafka"]).await;
    kubectl(&["-n", &c.s.h.lab.kafka.namespace, "delete", "pod", "kafka-1"]).await;
    write(&admin, &c.s.topic("refunded"), 0, &numbered("restarted", 10), None);
    let all = numbered("restarted", 10).into_iter().collect();
    until(AWHILE, &[&c.s.owner.name], "what came amid restarts is copied", || async {
        let copied: BTreeSet<_> =
            read(&c.kafka.brokers.login(), "any", &c.copy("refunded"))?.into_values().flatten().collect();
        if copied == all { Ok(()) } else { Err(format!("{copied:?}")) }
    })
    .await;
    c.phase(SharePhase::Active, Reason::Ready).await;

    // Another version of everybody's credential, while it runs.
    let reader = c.reader().await;
    c.s.pattern += ", credentials: {rotation: {every: 1m, overlap: 5s}}";
    c.s.ask("").await;
    c.is_no_more(&reader).await;
    c.write(&admin, "paid", &numbered("rotated", 10));
    until(AWHILE, &[&c.s.owner.name], "what came after the rotation is copied, and nothing of it twice", || async {
        let all = flat(&read(&c.kafka.brokers.login(), "any", &c.copy("paid"))?);
        // Those from just before the worker died may be there twice.
        let (before, after): (Vec<_>, Vec<_>) = all.iter().cloned().partition(|value| value.starts_with("paid-"));
        let is_so = once(before) == numbered("paid", 10) && after == numbered("rotated", 10);
        if is_so { Ok(()) } else { Err(format!("{all:?}")) }
    })
    .await;

    // It ends by itself, and its copies go with it.
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(5);
    c.s.ask(&format!("validity: {{notAfter: '{soon:.0}'}}")).await;
    c.phase(SharePhase::Expired, Reason::Expired).await;
    assert_eq!(c.kafka.brokers.partitions(&c.copy("placed")).await, None, "targetTopicPolicy is Delete");
    c.nobody_is_left().await;
    c.end().await;
}

/// Each at its first place.
fn once(mut values: Vec<String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    values.retain(|value| seen.insert(value.clone()));
    values
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn what_cannot_be_copied_says_why_and_gives_nothing() {
    let c = Copying::begin("strict", "").await;
    let platform = c.s.h.platform();
    let destinations = |selector: serde_json::Value| json!({"spec": {"destinations": [{"name": "all", "namespaceSelector": selector}]}});
    // Somebody has the name of the copy already.
    c.kafka.brokers.make_topic(&c.copy("placed")).await;
    c.s.ask("").await;
    c.agree().await;
    let refused = c.phase(SharePhase::Provisioning, Reason::TopicExists).await;
    assert!(refused.message.contains(&c.copy("placed")), "{}", refused.message);
    assert!(refused.topics.is_empty() || refused.topics == [c.copy("refunded")], "{:?}", refused.topics);
    platform.patch::<StreamCluster>(&c.kafka.name, destinations(json!({"matchLabels": {"never": "so"}}))).await;
    let refused = c.phase(SharePhase::Suspended, Reason::DestinationNotAllowed).await;
    assert!(refused.message.contains("no entry of destinations"), "{}", refused.message);
    assert_eq!(c.kafka.brokers.entries_with(&c.copy("refunded")).await, Ok([].into()));
    platform.patch::<StreamCluster>(&c.kafka.name, destinations(json!({}))).await;
    c.phase(SharePhase::Provisioning, Reason::TopicExists).await;
    c.kafka.brokers.delete_topic(&c.copy("placed")).await;
    platform.patch::<StreamCluster>(&c.kafka.name, json!({"spec": {"resyncInterval": "10s"}})).await;
    c.phase(SharePhase::Active, Reason::Ready).await;
    let here = format!("clusterRef: {{name: {}}}", c.kafka.name);
    let itself = c.s.manifest("").replace(&here, "clusterRef: {name: main}").replace("name: out", "name: itself");
    c.s.owner.apply(&itself).await;
    c.s.owner.refused::<ExternalShare>("itself", Reason::DestinationNotAllowed, &["is that of the products"]).await;
    let none = c.s.manifest("").replace("engine: mm2", "engine: none").replace("name: out", "name: engineless");
    c.s.owner.apply(&none).await;
    c.s.owner
        .says::<ExternalShare>(
            "engineless",
            "ReplicationHealthy",
            "False",
            Reason::EngineNotFound,
            &["offers no engine none, but mm2"],
        )
        .await;
    // The source under another name is refused as that, and so is everything to it.
    let twin = format!("twin-{}", c.kafka.name);
    let mut cluster = cluster_manifest();
    cluster["metadata"] = json!({"name": twin, "labels": {"weir.dev/e2e": "true"}});
    cluster["spec"]["tenancy"] = json!([]);
    platform.apply_value(cluster).await;
    let words = ["is governed by StreamCluster main"];
    platform.refused::<StreamCluster>(&twin, Reason::GovernedByAnother, &words).await;
    platform.ready::<StreamCluster>(CLUSTER).await;
    platform.delete_and_wait::<StreamCluster>(&twin).await;
    for name in ["itself", "engineless"] {
        c.s.owner.delete_and_wait::<ExternalShare>(name).await;
    }
    c.end().await;
}
