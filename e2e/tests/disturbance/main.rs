//! What is so when the operator, the brokers or people fail. These tests disturb everybody, so they run one at a time
//! (`--test-threads=1`).

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod copies;
#[path = "../harness/mod.rs"]
mod harness;
mod kills;
mod shares;

use std::collections::BTreeSet;

use harness::brokers::{groups, reads};
use harness::install::helm_install;
use harness::manifests::{account, binding_with, client, role};
use harness::operator::Operator;
use harness::shell::{kubectl, rolled_out, run, try_run};
use harness::{CLUSTER, Harness, NAMESPACE, SOON, Tenant, condition};
use serde_json::json;
use weir::api::{Action, ActorType, Reason, RoleBinding, SecurityEvent, StreamClient, StreamCluster, StreamRole};

/// Makes `n` ServiceAccounts and as many bindings, `r0`, `r1`, ...
async fn bind_robots(owner: &Tenant, consumer: &Tenant, robots: std::ops::Range<usize>) {
    for n in robots {
        consumer.apply(&account(&format!("r{n}"))).await;
        consumer.apply(&binding_of_robot(owner, n)).await;
    }
}

fn binding_of_robot(owner: &Tenant, n: usize) -> String {
    let name = format!("r{n}");
    binding_with(&name, &owner.name, "reader", &format!("subjects: [{{kind: ServiceAccount, name: {name}}}]"))
}

/// What the brokers should show of principals of `consumer`: the ServiceAccounts' and the clients'.
fn wanted(owner: &Tenant, consumer: &Tenant, bound: impl IntoIterator<Item = (String, String)>) -> BTreeSet<String> {
    let topic = format!("{}.orders.placed", owner.name);
    let entries = |(principal, subject): (String, String)| {
        [reads(&principal, &topic), groups(&principal, &format!("{}.{subject}.", consumer.name))]
    };
    bound.into_iter().flat_map(entries).collect()
}

fn robots(consumer: &Tenant, which: impl IntoIterator<Item = usize>) -> Vec<(String, String)> {
    let name = |n| (format!("system:serviceaccount:{}:r{n}", consumer.name), format!("r{n}"));
    which.into_iter().map(name).collect()
}

/// Waits until the brokers show exactly `wanted` of a namespace.
async fn brokers_show(h: &Harness, consumer: &Tenant, wanted: &BTreeSet<String>) {
    let look = || async {
        let shown = h.brokers.entries_with(&consumer.name).await?;
        let missing: Vec<_> = wanted.difference(&shown).collect();
        let extra: Vec<_> = shown.difference(wanted).collect();
        if missing.is_empty() && extra.is_empty() {
            Ok(())
        } else {
            Err(format!("missing {missing:#?}, extra {extra:#?}"))
        }
    };
    harness::until(SOON * 2, &[&consumer.name], "the brokers show exactly what they should", look).await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_leader_that_was_stopped_writes_nothing_when_it_goes_on() {
    let h = Harness::start().await;
    let operator = Operator::of(&h);
    let (owner, consumer) = h.owner_and_consumer().await;
    bind_robots(&owner, &consumer, 0..5).await;
    brokers_show(&h, &consumer, &wanted(&owner, &consumer, robots(&consumer, 0..5))).await;
    let stopped = operator.leader().await;
    let restarts = operator.restarts(&stopped).await;
    // It has much to do, and is stopped in the middle.
    bind_robots(&owner, &consumer, 5..10).await;
    let frozen = operator.freeze(&stopped).await;
    bind_robots(&owner, &consumer, 10..15).await;
    operator.led_by_another_than(&stopped).await;
    brokers_show(&h, &consumer, &wanted(&owner, &consumer, robots(&consumer, 0..15))).await;
    for n in 0..15 {
        consumer.delete_and_wait::<RoleBinding>(&format!("r{n}")).await;
    }
    frozen.thaw();
    // It finds that it no longer leads, and ends.
    harness::until(SOON, &[], "the leader of before ends", || async {
        let now = operator.restarts(&stopped).await;
        if now > restarts { Ok(()) } else { Err(format!("{stopped} restarted {now} times")) }
    })
    .await;
    brokers_show(&h, &consumer, &BTreeSet::new()).await;
    harness::trail::is_whole(&h, &[&consumer, &owner]).await;
    consumer.end().await;
    owner.end().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_broker_that_is_lost_and_comes_back_shows_the_same() {
    let h = Harness::start().await;
    let (owner, consumer) = h.owner_and_consumer().await;
    bind_robots(&owner, &consumer, 0..2).await;
    consumer.ready::<RoleBinding>("r0").await;
    kubectl(&["-n", "kafka", "delete", "pod", "kafka-2", "--grace-period=0", "--force"]).await;
    consumer.delete::<RoleBinding>("r0").await;
    bind_robots(&owner, &consumer, 2..4).await;
    consumer.ready::<RoleBinding>("r3").await;
    consumer.gone::<RoleBinding>("r0").await;
    rolled_out("kafka", "statefulset/kafka").await;
    harness::until(SOON * 2, &[], "three brokers serve", || async {
        let ids = h.brokers.ids().await.map_err(|e| e.to_string())?;
        if ids == [0, 1, 2] { Ok(()) } else { Err(format!("{ids:?}")) }
    })
    .await;
    brokers_show(&h, &consumer, &wanted(&owner, &consumer, robots(&consumer, 1..4))).await;
    h.platform().ready::<StreamCluster>(CLUSTER).await;
    consumer.end().await;
    owner.end().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn when_all_brokers_are_unreachable_it_says_so_and_catches_up_afterwards() {
    let h = Harness::start().await;
    let platform = h.platform();
    let (owner, consumer) = h.owner_and_consumer().await;
    consumer.apply(&client("app")).await;
    bind_robots(&owner, &consumer, 0..2).await;
    consumer.ready::<StreamClient>("app").await;
    consumer.ready::<RoleBinding>("r0").await;
    consumer.ready::<RoleBinding>("r1").await;
    kubectl(&["-n", "kafka", "scale", "statefulset", "kafka", "--replicas=0"]).await;
    kubectl(&["-n", "kafka", "wait", "--for=delete", "pod", "kafka-0", "kafka-1", "kafka-2", "--timeout=120s"]).await;
    consumer.delete::<RoleBinding>("r0").await;
    bind_robots(&owner, &consumer, 2..3).await;
    platform.refused::<StreamCluster>(CLUSTER, Reason::BrokersUnreachable, &[]).await;
    consumer.refused::<RoleBinding>("r2", Reason::ClusterNotReady, &["StreamCluster main is not Ready"]).await;
    consumer.refused::<RoleBinding>("r0", Reason::Deleting, &["StreamCluster main", "weir.dev/abandon"]).await;
    // The platform gives the cluster up: what is deleted goes, and it is told what stays behind.
    let abandon = |value| json!({"metadata": {"annotations": {"weir.dev/abandon": value}}});
    platform.patch::<StreamCluster>(CLUSTER, abandon(json!("true"))).await;
    consumer.gone::<RoleBinding>("r0").await;
    consumer.delete_and_wait::<StreamClient>("app").await;
    // The audit topic was on that cluster: events are kept until it is there again.
    consumer
        .until("what was left behind is told", || async {
            let orphaned = consumer.security_events(Action::AccessOrphaned).await;
            let kinds: BTreeSet<_> = orphaned.iter().map(|e| e.spec.object.kind.as_str()).collect();
            if kinds == ["RoleBinding", "StreamClient"].into() { Ok(()) } else { Err(format!("{orphaned:#?}")) }
        })
        .await;
    kubectl(&["-n", "kafka", "scale", "statefulset", "kafka", "--replicas=3"]).await;
    rolled_out("kafka", "statefulset/kafka").await;
    platform.ready::<StreamCluster>(CLUSTER).await;
    platform.patch::<StreamCluster>(CLUSTER, abandon(json!(null))).await;
    consumer.ready::<RoleBinding>("r2").await;
    // It came back after all: what was left behind is removed.
    harness::until(SOON * 2, &[&consumer.name], "the abandoned client's user is gone", || async {
        let users = h.brokers.users(&format!("{}.app~", consumer.name)).await?;
        if users.is_empty() { Ok(()) } else { Err(format!("{users:?}")) }
    })
    .await;
    brokers_show(&h, &consumer, &wanted(&owner, &consumer, robots(&consumer, 1..3))).await;
    consumer.end().await;
    owner.end().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_role_removed_by_mistake_under_fifty_bindings_is_held_for_a_person() {
    let h = Harness::start().await;
    let platform = h.platform();
    let (owner, consumer) = h.owner_and_consumer().await;
    bind_robots(&owner, &consumer, 0..50).await;
    let all = wanted(&owner, &consumer, robots(&consumer, 0..50));
    brokers_show(&h, &consumer, &all).await;
    for n in 0..50 {
        consumer.ready::<RoleBinding>(&format!("r{n}")).await;
    }
    let held = Reason::ConfirmationRequired;
    owner.delete_and_wait::<StreamRole>("reader").await;
    let words = ["50 principals", "weir.dev/confirm"];
    platform.says::<StreamCluster>(CLUSTER, "RevocationsHeld", "True", held, &words).await;
    assert_eq!(h.brokers.entries_with(&consumer.name).await, Ok(all.clone()), "nothing went");
    // The mistake is mended: everything is as before.
    owner.apply(&role("reader", "orders", &["placed"], "Read")).await;
    not_held(&platform).await;
    for n in 0..50 {
        consumer.ready::<RoleBinding>(&format!("r{n}")).await;
    }
    assert_eq!(h.brokers.entries_with(&consumer.name).await, Ok(all));
    // It is meant: a person confirms.
    owner.delete_and_wait::<StreamRole>("reader").await;
    let cluster: StreamCluster = platform.says(CLUSTER, "RevocationsHeld", "True", held, &words).await;
    let token = cluster.status.unwrap().held_revocations.unwrap().confirm;
    let confirm = |value| json!({"metadata": {"annotations": {"weir.dev/confirm": value}}});
    platform.patch::<StreamCluster>(CLUSTER, confirm(json!("something else"))).await;
    platform.says::<StreamCluster>(CLUSTER, "RevocationsHeld", "True", held, &[&token]).await;
    platform.patch::<StreamCluster>(CLUSTER, confirm(json!(token))).await;
    brokers_show(&h, &consumer, &BTreeSet::new()).await;
    not_held(&platform).await;
    platform.patch::<StreamCluster>(CLUSTER, confirm(json!(null))).await;
    let missing = format!("StreamRole {}/reader does not exist", owner.name);
    consumer.refused::<RoleBinding>("r0", Reason::RoleNotFound, &[&missing]).await;
    let own = h.own_namespace();
    own.until("it is told that a person confirmed", || async {
        let told = own.security_events(Action::RevocationsConfirmed).await;
        let it = told.iter().find(|e| e.spec.message.contains(&token)).ok_or_else(|| format!("{told:#?}"))?;
        if it.spec.actor.type_ == ActorType::User { Ok(()) } else { Err(format!("{it:#?}")) }
    })
    .await;
    consumer.end().await;
    owner.end().await;
}

async fn not_held(platform: &Tenant) {
    platform
        .until("nothing is held any more", || async {
            let cluster = platform.get::<StreamCluster>(CLUSTER).await.unwrap();
            let object = serde_json::to_value(cluster).unwrap();
            let condition = condition(&object, "RevocationsHeld").cloned();
            match (condition, &object["status"]["heldRevocations"]) {
                (None, held) if held.is_null() => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn entries_added_by_hand_are_reported_and_repaired_only_where_asked() {
    use weir::domain::acl::{Operation, Permission};
    let h = Harness::start().await;
    let (platform, operator) = (h.platform(), h.own_namespace());
    let (owner, _consumer) = h.owner_and_consumer().await;
    let topic = format!("{}.orders.placed", owner.name);
    let intruder = format!("intruder-{}", owner.name);
    let allow = harness::brokers::topic_entry(&intruder, Operation::Read, &topic);
    let mut deny = harness::brokers::topic_entry(&intruder, Operation::Write, &topic);
    deny.permission = Permission::Deny;
    h.brokers.add(allow.clone()).await;
    h.brokers.add(deny.clone()).await;
    let found = Reason::ForeignEntries;
    let cluster: StreamCluster = platform.says(CLUSTER, "Drifted", "True", found, &["2 entries"]).await;
    let sample = cluster.status.unwrap().foreign_sample;
    assert!(sample.contains(&allow.to_string()) && sample.contains(&deny.to_string()), "{sample:?}");
    let events = |action| {
        let (operator, intruder) = (&operator, &intruder);
        async move {
            let all = operator.security_events(action).await;
            all.into_iter().filter(|e| e.spec.message.contains(intruder.as_str())).collect::<Vec<_>>()
        }
    };
    let told = operator
        .until("a SecurityEvent tells of it", || async {
            let told = events(Action::DriftFound).await;
            if told.is_empty() { Err("there is none".into()) } else { Ok(told) }
        })
        .await;
    assert!(told.iter().all(|e| e.spec.principals.contains(&intruder)), "{told:#?}");
    let uids = |of: &[SecurityEvent]| of.iter().map(|e| e.spec.uid.clone()).collect::<BTreeSet<_>>();
    owner
        .until("the owner of the topic has the same", || async {
            let (owners, all) = (owner.security_events(Action::DriftFound).await, events(Action::DriftFound).await);
            if uids(&owners) == uids(&all) { Ok(()) } else { Err(format!("{owners:#?} {all:#?}")) }
        })
        .await;
    assert_eq!(h.brokers.entries(&intruder).await.unwrap().len(), 2, "with drift: Report nothing is removed");
    platform.patch::<StreamCluster>(CLUSTER, json!({"spec": {"drift": "Repair"}})).await;
    h.brokers.show(&intruder, [deny.to_string()]).await;
    platform.says::<StreamCluster>(CLUSTER, "Drifted", "True", found, &["1 entries"]).await;
    assert!(!events(Action::DriftRepaired).await.is_empty());
    assert_eq!(h.brokers.entries(&intruder).await, Ok([deny.to_string()].into()), "never a denial");
    // Something puts it back each time.
    operator
        .until("that is given up", || async {
            if !events(Action::DriftGivenUp).await.is_empty() {
                return Ok(());
            }
            let there = h.brokers.entries(&intruder).await?;
            if !there.contains(&allow.to_string()) {
                h.brokers.add(allow.clone()).await;
            }
            Err(format!("{there:?}"))
        })
        .await;
    assert_eq!(h.brokers.entries(&intruder).await.unwrap().len(), 2, "what is given up stays");
    platform.patch::<StreamCluster>(CLUSTER, json!({"spec": {"drift": "Report"}})).await;
    h.brokers.take_away(deny).await;
    h.brokers.take_away(allow).await;
    platform.says::<StreamCluster>(CLUSTER, "Drifted", "False", Reason::InSync, &[]).await;
    owner.end().await;
    _consumer.end().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn the_chart_is_upgraded_rolled_back_and_uninstalled() {
    let h = Harness::start().await;
    let operator = Operator::of(&h);
    let (owner, consumer) = h.owner_and_consumer().await;
    bind_robots(&owner, &consumer, 0..2).await;
    consumer.ready::<RoleBinding>("r0").await;
    consumer.ready::<RoleBinding>("r1").await;
    helm_install(&h.lab, &["--set", "log.level=debug"]).await;
    consumer.delete_and_wait::<RoleBinding>("r0").await;
    run("helm", &["-n", NAMESPACE, "rollback", "weir", "--wait", "--timeout=120s"]).await;
    brokers_show(&h, &consumer, &wanted(&owner, &consumer, robots(&consumer, 1..2))).await;
    bind_robots(&owner, &consumer, 2..3).await;
    consumer.ready::<RoleBinding>("r2").await;
    let (gone, said) = try_run("helm", &["-n", NAMESPACE, "uninstall", "weir", "--timeout=120s"], "").await;
    assert!(!gone, "it was uninstalled while objects live: {said}");
    let why = kubectl(&["-n", NAMESPACE, "logs", "job/weir-preflight-uninstall"]).await;
    assert!(why.contains("would be stranded") && why.contains("--no-hooks"), "{why}");
    // It was left working.
    consumer.delete_and_wait::<RoleBinding>("r1").await;
    run("helm", &["-n", NAMESPACE, "uninstall", "weir", "--no-hooks", "--wait", "--timeout=120s"]).await;
    operator.no_pod_is_left().await;
    let kept = wanted(&owner, &consumer, robots(&consumer, 2..3));
    assert_eq!(h.brokers.entries_with(&consumer.name).await, Ok(kept.clone()), "what was granted stays");
    assert!(consumer.get::<RoleBinding>("r2").await.is_some(), "what people wrote stays");
    helm_install(&h.lab, &[]).await;
    bind_robots(&owner, &consumer, 3..4).await;
    consumer.ready::<RoleBinding>("r3").await;
    brokers_show(&h, &consumer, &wanted(&owner, &consumer, robots(&consumer, 2..4))).await;
    consumer.end().await;
    owner.end().await;
}
