//! Who is in a consumer group.

use std::collections::BTreeSet;
use std::net::IpAddr;

/// A group with those who are in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupDescription {
    /// Its state in Kafka's word, e.g. `Stable` or `Empty`.
    pub state: String,
    /// Its members; none once all have left.
    pub members: Vec<GroupMember>,
}

/// A member of a group, as its coordinator knows it. Kafka does not tell as which principal it logged in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupMember {
    /// `client.id`, which is whatever the client says.
    pub client_id: String,
    /// The address that the coordinator sees it at; `None` where that is none.
    pub address: Option<IpAddr>,
    /// The topics that it is assigned, or subscribed to while it is assigned none. Empty where the coordinator does not tell: of a
    /// group that is no consumers', or while the group comes together.
    pub topics: BTreeSet<String>,
}
