//! ACLs.

use std::collections::BTreeSet;
use std::time::Instant;

use weir::domain::acl::{AclEntry, PatternType, ResourceType};
use weir::ports::{AclFilter, Disposition, KafkaAdmin};

use crate::kafka_lab::{admin, all, eventually, may_read, unique};

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn thousands_of_entries_are_created_seen_on_every_broker_and_deleted() {
    let admin = admin().await;
    let user = unique("many");
    let entries: Vec<AclEntry> = (0..2500).map(|i| may_read(&user, &format!("{user}.{i}"))).collect();
    let wanted: BTreeSet<AclEntry> = entries.iter().cloned().collect();
    let before = admin.requests_sent().get("CreateAcls").copied().unwrap_or_default();

    let start = Instant::now();
    all(admin.create_acls(&entries[..1000]).await.unwrap());
    eprintln!("1,000 entries created in {:?}", start.elapsed());
    // A thousand of these exist already: that is success.
    all(admin.create_acls(&entries).await.unwrap());
    assert_eq!(admin.requests_sent()["CreateAcls"] - before, 4);

    let of_user = [AclFilter::Principal(format!("User:{user}"))];
    for broker in admin.describe_cluster().await.unwrap().brokers {
        eventually(&format!("broker {} has all entries", broker.id), || async {
            let seen = admin.describe_acls(Some(broker.id), &of_user).await.unwrap();
            (seen == wanted).then_some(())
        })
        .await;
    }
    let start = Instant::now();
    let everything = admin.describe_acls(None, &[AclFilter::All]).await.unwrap();
    eprintln!("{} entries described in {:?}", everything.len(), start.elapsed());
    assert!(everything.is_superset(&wanted));

    let exact: Vec<AclFilter> = entries[..250].iter().cloned().map(AclFilter::Exact).collect();
    let start = Instant::now();
    let deleted = all(admin.delete_acls(&exact).await.unwrap());
    eprintln!("250 entries deleted by exact filters in {:?}", start.elapsed());
    let deleted: Vec<AclEntry> = deleted.into_iter().flatten().collect();
    assert_eq!(deleted, entries[..250]);
    let start = Instant::now();
    let deleted = all(admin.delete_acls(&of_user).await.unwrap());
    eprintln!("{} entries deleted by principal in {:?}", deleted[0].len(), start.elapsed());
    assert_eq!(deleted[0].len(), 2250);
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn filters_read_what_they_name_in_one_batch() {
    let admin = admin().await;
    let (user, other) = (unique("filters"), unique("filters-other"));
    let read = may_read(&user, "t");
    let group = AclEntry { resource_type: ResourceType::Group, pattern_type: PatternType::Prefixed, ..read.clone() };
    let stranger = may_read(&other, "t");
    all(admin.create_acls(&[read.clone(), group.clone(), stranger.clone()]).await.unwrap());
    let both = [AclFilter::Exact(group.clone()), AclFilter::Principal(format!("User:{other}"))];
    eventually("the entries are there", || async {
        let seen = admin.describe_acls(None, &both).await.unwrap();
        (seen == BTreeSet::from([group.clone(), stranger.clone()])).then_some(())
    })
    .await;
    let topics = admin.describe_acls(None, &[AclFilter::ResourceType(ResourceType::Topic)]).await.unwrap();
    assert!(topics.contains(&read) && topics.contains(&stranger) && !topics.contains(&group));
    let users = [AclFilter::Principal(format!("User:{user}")), AclFilter::Principal(format!("User:{other}"))];
    let deleted = all(admin.delete_acls(&users).await.unwrap());
    assert_eq!(deleted.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn one_bad_entry_fails_alone() {
    let admin = admin().await;
    let user = unique("bad");
    let good = may_read(&user, "t");
    let unknown = AclEntry { pattern_type: PatternType::Unknown(2), ..good.clone() };
    // The cluster has one name only: the broker refuses this one by itself.
    let odd = AclEntry { resource_type: ResourceType::Cluster, ..good.clone() };
    let results = admin.create_acls(&[unknown.clone(), good.clone(), odd]).await.unwrap();
    assert_eq!(results[0].as_ref().unwrap_err().disposition, Disposition::Permanent);
    assert_eq!(results[1], Ok(()));
    assert_eq!(results[2].as_ref().unwrap_err().code, Some(42), "{results:?}");

    let filters = [AclFilter::All, AclFilter::Exact(unknown), AclFilter::Exact(good.clone())];
    let deleted = admin.delete_acls(&filters).await.unwrap();
    assert!(deleted[0].is_err() && deleted[1].is_err(), "{deleted:?}");
    assert_eq!(deleted[2], Ok(vec![good.clone()]));
    assert_eq!(admin.delete_acls(&[AclFilter::Exact(good)]).await.unwrap(), vec![Ok(Vec::new())]);
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_deletion_that_matches_more_than_a_broker_takes_at_once_is_split() {
    let admin = admin().await;
    let users = [unique("crowd-a"), unique("crowd-b"), unique("crowd-c")];
    let of = |user: &String| (0..4000).map(|i| may_read(user, &format!("t{i}"))).collect::<Vec<_>>();
    let entries: Vec<AclEntry> = users.iter().flat_map(of).collect();
    all(admin.create_acls(&entries).await.unwrap());
    let filters: Vec<_> = users.iter().map(|user| AclFilter::Principal(format!("User:{user}"))).collect();
    let deleted = all(admin.delete_acls(&filters).await.unwrap());
    assert_eq!(deleted.iter().map(Vec::len).collect::<Vec<_>>(), [4000; 3]);
    assert_eq!(admin.requests_sent()["DeleteAcls"], 3, "all at once in vain, then one, then two");
}
