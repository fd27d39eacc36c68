//! By resources of Strimzi's.

use serde_json::json;
use weir::api::{ExternalShare, Reason, SharePhase};

use crate::copying::{AWHILE, Copying};
use crate::harness::other_kafka::OtherKafka;
use crate::harness::records::numbered;
use crate::harness::strimzi::Strimzi;
use crate::harness::{Harness, until};

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn strimzi_copies_with_a_resource_a_share_that_has_no_secret_in_it() {
    let h = Harness::start().await;
    let kafka = OtherKafka::start(&h, "tended", &[]).await;
    let mut strimzi = Strimzi::absent(&h).await;
    let mut destination = kafka.destination(&h.lab);
    destination["spec"]["replicationEngines"] = json!([{"name": "strimzi", "strimzi": strimzi.engine()}]);
    let mut c = Copying::to(h, kafka, destination, "engine: strimzi, history: {from: FromNow}").await;
    let admin = c.s.h.brokers.login();
    c.write(&admin, "placed", &numbered("before", 10));

    // Its operators have yet to let Weir in, and to install Strimzi.
    c.s.ask("").await;
    c.agree().await;
    c.healthy("False", "forbidden").await;
    strimzi.namespace.bind("weir-strimzi").await;
    c.healthy("False", "install Strimzi").await;
    strimzi.define().await;
    let [resource] = until(AWHILE, &[&c.s.owner.name], "a resource is made", || async {
        <[_; 1]>::try_from(strimzi.resources().await).map_err(|all| format!("{} resources", all.len()))
    })
    .await;
    assert_eq!(strimzi.is_valid(&resource).await, Ok(()));
    let mirror = &resource["spec"]["mirrors"][0];
    assert_eq!(mirror["sourceConnector"]["state"], "stopped", "not before it has a position");
    assert_eq!(mirror["topicsPattern"], "~", "whatever becomes of its state");
    let mut unknown = resource.clone();
    unknown["spec"]["mirrors"][0]["anything"] = json!("more");
    assert!(strimzi.is_valid(&unknown).await.is_err(), "what is not Strimzi's is refused");

    strimzi.operate();
    c.phase(SharePhase::Active, Reason::Ready).await;
    let mut wanted = numbered("after", 20);
    c.write(&admin, "placed", &wanted);
    let login = c.s.fetch().await;
    c.copied(&login, "placed", &wanted).await;
    let [resource] = <[_; 1]>::try_from(strimzi.resources().await).unwrap();
    assert_eq!(strimzi.is_valid(&resource).await, Ok(()));

    // Suspended, and on again; somebody deletes the resource meanwhile, and what was begun goes on.
    c.s.ask("suspended: true").await;
    c.phase(SharePhase::Suspended, Reason::Suspended).await;
    until(AWHILE, &[&c.s.owner.name], "it stands still", || async {
        let state = c.replication().await.state;
        if state.as_deref() == Some("STOPPED") { Ok(()) } else { Err(format!("{state:?}")) }
    })
    .await;
    c.write(&admin, "placed", &numbered("meanwhile", 10));
    strimzi.delete().await;
    c.s.ask("").await;
    c.phase(SharePhase::Active, Reason::Ready).await;
    wanted.extend(numbered("meanwhile", 10));
    c.copied(&login, "placed", &wanted).await;

    // Somebody edits it, and that is undone.
    strimzi.edit("topicsPattern", ".*").await;
    until(AWHILE, &[&c.s.owner.name], "the edit is undone", || async {
        let resource = strimzi.resources().await.pop().unwrap_or_default();
        let pattern = resource["spec"]["mirrors"][0]["topicsPattern"].as_str().unwrap_or_default().to_owned();
        if pattern.contains("placed") { Ok(()) } else { Err(pattern) }
    })
    .await;

    // Another version of everybody's credential, while it runs.
    let reader = c.reader().await;
    c.s.pattern += ", credentials: {rotation: {every: 1m, overlap: 5s}}";
    c.s.ask("").await;
    c.is_no_more(&reader).await;
    c.write(&admin, "placed", &numbered("rotated", 10));
    wanted.extend(numbered("rotated", 10));
    c.copied(&c.kafka.brokers.login(), "placed", &wanted).await;
    until(AWHILE, &[&c.s.owner.name], "how far it is, is known", || async {
        let replication = c.replication().await;
        if replication.lag_records == Some(0) { Ok(()) } else { Err(format!("{replication:?}")) }
    })
    .await;

    // It is over: the resource, its topics, its Secret and its positions go.
    c.s.owner.patch::<ExternalShare>("out", json!({"spec": {"revoke": {"reason": "breach"}}})).await;
    c.phase(SharePhase::Revoked, Reason::Revoked).await;
    until(AWHILE, &[&strimzi.namespace.name], "what Weir made for it is gone", || async {
        let (resources, left) = (strimzi.resources().await, strimzi.left().await);
        let topics: Vec<_> = c.kafka.brokers.topics().await.into_iter().filter(|t| t.ends_with("-internal")).collect();
        if resources.is_empty() && left.is_empty() && topics.is_empty() {
            Ok(())
        } else {
            Err(format!("{} resources, {left}, {topics:?}", resources.len()))
        }
    })
    .await;
    c.nobody_is_left().await;
    c.end().await;
    strimzi.end().await;
}
