//! Who is in a group: classic ones by DescribeGroups, those of KIP-848 by ConsumerGroupDescribe. Groups of other types, share groups
//! (KIP-932) and those of Kafka Streams (KIP-1071), are not described.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use futures::FutureExt as _;
use kafka_protocol::messages::consumer_group_describe_response::{Assignment, Member};
use kafka_protocol::messages::describe_groups_response::DescribedGroupMember;
use kafka_protocol::messages::{ConsumerGroupDescribeRequest, DescribeGroupsRequest, GroupId};

use super::groups::coordinators;
use super::in_order;
use crate::kafka::api::text;
use crate::kafka::batch::{Limit, chunks, in_chunks};
use crate::kafka::cluster::{Cluster, To};
use crate::kafka::codes;
use crate::ports::{GroupDescription, GroupListing, GroupMember, KafkaError, PerItem};

/// The most topics of a member that are read, and the longest bytes: clients write what they like there.
const MOST_TOPICS: i32 = 1_000;
const LONGEST: usize = 256 * 1024;
/// How many groups are asked about at once: each answer is in memory as a whole.
const AT_ONCE: Limit = Limit { items: 20, weight: usize::MAX };
/// The protocol type whose bytes say topics.
const CONSUMERS: &str = "consumer";

/// How a group is asked about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Protocol {
    Classic,
    /// KIP-848.
    Consumer,
}

impl Protocol {
    /// That of a group; brokers before ListGroups v5 (KIP-848) know classic ones only, and tell no type.
    fn of(group: &GroupListing) -> Option<Self> {
        match group.group_type.to_ascii_lowercase().as_str() {
            "" | "classic" => Some(Self::Classic),
            "consumer" => Some(Self::Consumer),
            _ => None,
        }
    }
}

type Described = Vec<(String, Result<GroupDescription, KafkaError>)>;

/// See [`crate::ports::KafkaAdmin::describe_groups`].
pub(in crate::kafka) async fn describe(cluster: &Cluster, groups: &[GroupListing]) -> PerItem<GroupDescription> {
    let cut = chunks(groups, AT_ONCE, |_| 1);
    in_chunks(groups, cut, |batch| async move { ask(cluster, &batch).await }.boxed()).await
}

async fn ask(cluster: &Cluster, groups: &[&GroupListing]) -> Result<PerItem<GroupDescription>, KafkaError> {
    let mut protocols: BTreeMap<&str, Protocol> = BTreeMap::new();
    let mut others: HashMap<String, Result<GroupDescription, KafkaError>> = HashMap::new();
    for group in groups {
        match Protocol::of(group) {
            Some(protocol) => drop(protocols.insert(&group.id, protocol)),
            None => {
                let why = format!("groups of type {} are not described", group.group_type);
                others.insert(group.id.clone(), Err(codes::permanent(why)));
            }
        }
    }
    let ids: Vec<String> = protocols.keys().map(|id| (*id).to_owned()).collect();
    let ids: Vec<&String> = ids.iter().collect();
    let (by_broker, mut answers) =
        if ids.is_empty() { Default::default() } else { coordinators::<GroupDescription>(cluster, &ids).await? };
    answers.extend(others);
    for (broker, groups) in by_broker {
        let (consumer, classic): (Vec<_>, Vec<_>) =
            groups.into_iter().partition(|id| protocols.get(id.as_str()) == Some(&Protocol::Consumer));
        for (protocol, groups) in [(Protocol::Classic, classic), (Protocol::Consumer, consumer)] {
            if groups.is_empty() {
                continue;
            }
            let described = match protocol {
                Protocol::Classic => classic_from(cluster, broker, &groups).await,
                Protocol::Consumer => consumer_from(cluster, broker, &groups).await,
            };
            match described {
                Ok(some) => answers.extend(some),
                Err(e) => answers.extend(groups.into_iter().map(|g| (g, Err(e.clone())))),
            }
        }
    }
    Ok(in_order(groups.iter().map(|g| g.id.clone()), answers.into_iter()))
}

fn ids(groups: &[String]) -> Vec<GroupId> {
    groups.iter().map(|id| GroupId(text(id))).collect()
}

async fn classic_from(cluster: &Cluster, broker: i32, groups: &[String]) -> Result<Described, KafkaError> {
    let request = DescribeGroupsRequest::default().with_groups(ids(groups));
    let response = cluster.send(To::Broker(broker), &request).await?;
    let described = response.groups.iter().map(|group| {
        let is_told = group.protocol_type.as_str() == CONSUMERS;
        let of = || GroupDescription {
            state: group.group_state.to_string(),
            members: group.members.iter().map(|m| classic(m, is_told)).collect(),
        };
        let checked = codes::check(group.error_code, group.error_message.as_deref());
        (group.group_id.to_string(), checked.map(|()| of()))
    });
    Ok(described.collect())
}

async fn consumer_from(cluster: &Cluster, broker: i32, groups: &[String]) -> Result<Described, KafkaError> {
    let request = ConsumerGroupDescribeRequest::default().with_group_ids(ids(groups));
    let response = cluster.send(To::Broker(broker), &request).await?;
    let described = response.groups.iter().map(|group| {
        let of = || GroupDescription {
            state: group.group_state.to_string(),
            members: group.members.iter().map(consumer).collect(),
        };
        let checked = codes::check(group.error_code, group.error_message.as_deref());
        (group.group_id.to_string(), checked.map(|()| of()))
    });
    Ok(described.collect())
}

fn classic(member: &DescribedGroupMember, is_told: bool) -> GroupMember {
    let assigned = || assigned(&member.member_assignment).filter(|topics| !topics.is_empty());
    let topics = is_told.then(|| assigned().or_else(|| subscribed(&member.member_metadata))).flatten();
    GroupMember {
        client_id: member.client_id.to_string(),
        address: address(&member.client_host),
        topics: topics.unwrap_or_default(),
    }
}

fn consumer(member: &Member) -> GroupMember {
    let names = |assignment: &Assignment| -> BTreeSet<String> {
        assignment.topic_partitions.iter().map(|t| t.topic_name.to_string()).collect()
    };
    let mut topics = names(&member.assignment);
    if topics.is_empty() {
        topics = names(&member.target_assignment);
    }
    if topics.is_empty() {
        topics = member.subscribed_topic_names.iter().map(|name| name.to_string()).collect();
    }
    GroupMember { client_id: member.client_id.to_string(), address: address(&member.client_host), topics }
}

/// The address in what Java writes of one: `/10.0.0.1`, or `name/10.0.0.1`, that of IPv6 with a zone or without.
fn address(host: &str) -> Option<IpAddr> {
    let literal = host.rsplit('/').next()?;
    let literal = literal.split('%').next()?;
    let address: IpAddr = literal.parse().ok()?;
    Some(address.to_canonical())
}

/// The topics of a subscription, as a client of the classic protocol wrote it.
fn subscribed(bytes: &[u8]) -> Option<BTreeSet<String>> {
    topics(bytes, |_| Some(()))
}

/// The topics of an assignment, as the group's leader, a client, wrote it.
fn assigned(bytes: &[u8]) -> Option<BTreeSet<String>> {
    let partitions = |reader: &mut Reader<'_>| {
        let count = usize::try_from(reader.int()?).ok()?;
        reader.take(count.checked_mul(4)?).map(drop)
    };
    topics(bytes, partitions)
}

/// Both begin with a version and an array of topics (`ConsumerProtocolSubscription`, `ConsumerProtocolAssignment`), in all versions
/// alike. Clients write them and brokers pass them on unread: a count in them is believed only as far as bytes follow.
fn topics(bytes: &[u8], mut after_each: impl FnMut(&mut Reader<'_>) -> Option<()>) -> Option<BTreeSet<String>> {
    let mut reader = Reader(bytes);
    reader.take(2)?;
    let mut topics = BTreeSet::new();
    let count = reader.int()?.max(0);
    // Who names more has them taken for not told.
    if count > MOST_TOPICS || bytes.len() > LONGEST {
        return None;
    }
    for _ in 0..count {
        let length = usize::from(u16::from_be_bytes(reader.take(2)?.try_into().ok()?));
        topics.insert(std::str::from_utf8(reader.take(length)?).ok()?.to_owned());
        after_each(&mut reader)?;
    }
    Some(topics)
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, left) = self.0.split_at_checked(length)?;
        self.0 = left;
        Some(taken)
    }

    fn int(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{address, assigned, subscribed};

    /// Version, and the number of topics.
    fn begin(topics: i32) -> Vec<u8> {
        [&3_i16.to_be_bytes()[..], &topics.to_be_bytes()].concat()
    }

    fn name(name: &str) -> Vec<u8> {
        [&u16::try_from(name.len()).unwrap().to_be_bytes()[..], name.as_bytes()].concat()
    }

    #[test]
    fn addresses_are_read_as_java_writes_them() {
        let read = |host| address(host).map(|a| a.to_string());
        assert_eq!(read("/10.0.0.1").as_deref(), Some("10.0.0.1"));
        assert_eq!(read("reader.example/10.0.0.1").as_deref(), Some("10.0.0.1"));
        assert_eq!(read("/0:0:0:0:0:0:0:1%lo").as_deref(), Some("::1"));
        assert_eq!(read("/::ffff:10.0.0.1").as_deref(), Some("10.0.0.1"), "one address, one spelling");
        for none in ["", "/", "reader.example", "/10.0.0"] {
            assert_eq!(read(none), None, "{none}");
        }
    }

    #[test]
    fn the_topics_of_classic_members_are_read() {
        let topics = BTreeSet::from(["placed".to_owned(), "refunded".to_owned()]);
        let subscription = [begin(2), name("placed"), name("refunded"), (-1_i32).to_be_bytes().to_vec()].concat();
        assert_eq!(subscribed(&subscription).as_ref(), Some(&topics));
        let partitions = |of: &[i32]| -> Vec<u8> {
            let count = i32::try_from(of.len()).unwrap();
            std::iter::once(&count).chain(of).flat_map(|i| i.to_be_bytes()).collect()
        };
        let each = [begin(2), name("placed"), partitions(&[0, 1]), name("refunded"), partitions(&[7])].concat();
        assert_eq!(assigned(&each), Some(topics));
        assert_eq!(assigned(&begin(0)), Some(BTreeSet::new()));
    }

    #[test]
    fn counts_that_nothing_follows_are_not_believed() {
        assert_eq!(subscribed(&begin(i32::MAX)), None);
        assert_eq!(assigned(&[begin(1), name("placed"), i32::MAX.to_be_bytes().to_vec()].concat()), None);
        assert_eq!(assigned(&[begin(1), name("placed"), (-5_i32).to_be_bytes().to_vec()].concat()), None);
        assert_eq!(subscribed(&[]), None);
        assert_eq!(subscribed(&begin(-1)), Some(BTreeSet::new()));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_do_any_harm(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..64)) {
            let _ = (subscribed(&bytes), assigned(&bytes));
        }
    }
}
