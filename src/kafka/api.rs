//! The requests that this adapter sends: their names, the versions it can read, their throttle times. No I/O.

use std::time::Duration;

use kafka_protocol::messages::{
    AlterClientQuotasRequest, AlterUserScramCredentialsRequest, ApiVersionsRequest, ConsumerGroupDescribeRequest,
    CreateAclsRequest, CreatePartitionsRequest, CreateTopicsRequest, DeleteAclsRequest, DeleteGroupsRequest,
    DeleteTopicsRequest, DescribeAclsRequest, DescribeClientQuotasRequest, DescribeClusterRequest,
    DescribeConfigsRequest, DescribeDelegationTokenRequest, DescribeGroupsRequest, DescribeLogDirsRequest,
    DescribeUserScramCredentialsRequest, FetchRequest, FindCoordinatorRequest, IncrementalAlterConfigsRequest,
    ListGroupsRequest, ListOffsetsRequest, MetadataRequest, OffsetFetchRequest, SaslAuthenticateRequest,
    SaslHandshakeRequest,
};
use kafka_protocol::protocol::{Request, StrBytes};

/// Brokers answer these from memory: one that takes longer is stuck, and another one is asked.
const READ: Duration = Duration::from_secs(10);
/// These wait for the controller ([`BROKER_TIMEOUT_MS`]); giving up earlier would only leave the outcome unknown.
const WRITE: Duration = Duration::from_secs(30);

/// A request with what the transport needs to know of it.
pub(super) trait Api: Request + Send + Sync {
    /// Kafka's name of the API.
    const NAME: &'static str;
    /// The lowest version that means what this adapter wants.
    const MIN: i16;
    /// The highest version that this adapter speaks.
    const MAX: i16;
    /// How long an answer may take before the connection is given up.
    const TIMEOUT: Duration;
    /// How long the broker wants this connection to be silent, in milliseconds (KIP-219).
    fn throttle_ms(response: &Self::Response) -> i32;
}

macro_rules! apis {
    ($($request:ident $name:literal $min:literal..=$max:literal $timeout:ident),+ $(,)?) => {
        $(impl Api for $request {
            const NAME: &'static str = $name;
            const MIN: i16 = $min;
            const MAX: i16 = $max;
            const TIMEOUT: Duration = $timeout;
            fn throttle_ms(response: &Self::Response) -> i32 {
                response.throttle_time_ms
            }
        })+
    };
}

apis! {
    AlterClientQuotasRequest "AlterClientQuotas" 0..=1 WRITE,
    AlterUserScramCredentialsRequest "AlterUserScramCredentials" 0..=0 WRITE,
    ApiVersionsRequest "ApiVersions" 3..=4 READ,
    // KIP-848.
    ConsumerGroupDescribeRequest "ConsumerGroupDescribe" 0..=1 READ,
    CreateAclsRequest "CreateAcls" 1..=3 WRITE,
    CreatePartitionsRequest "CreatePartitions" 0..=3 WRITE,
    CreateTopicsRequest "CreateTopics" 4..=7 WRITE,
    DeleteAclsRequest "DeleteAcls" 1..=3 WRITE,
    DeleteGroupsRequest "DeleteGroups" 0..=2 WRITE,
    DeleteTopicsRequest "DeleteTopics" 1..=6 WRITE,
    DescribeAclsRequest "DescribeAcls" 1..=3 READ,
    DescribeClientQuotasRequest "DescribeClientQuotas" 0..=1 READ,
    DescribeClusterRequest "DescribeCluster" 0..=2 READ,
    DescribeConfigsRequest "DescribeConfigs" 1..=4 READ,
    DescribeDelegationTokenRequest "DescribeDelegationToken" 1..=3 READ,
    DescribeGroupsRequest "DescribeGroups" 0..=6 READ,
    DescribeLogDirsRequest "DescribeLogDirs" 1..=4 READ,
    DescribeUserScramCredentialsRequest "DescribeUserScramCredentials" 0..=0 READ,
    // From version 13 on topics go by id; the probe asks by name.
    FetchRequest "Fetch" 4..=12 READ,
    // Batched keys (KIP-699).
    FindCoordinatorRequest "FindCoordinator" 4..=6 READ,
    IncrementalAlterConfigsRequest "IncrementalAlterConfigs" 0..=1 WRITE,
    ListGroupsRequest "ListGroups" 0..=5 READ,
    ListOffsetsRequest "ListOffsets" 1..=10 READ,
    // Topic ids (KIP-516).
    MetadataRequest "Metadata" 10..=13 READ,
    // Batched groups (KIP-709), still by topic name.
    OffsetFetchRequest "OffsetFetch" 8..=9 READ,
}

macro_rules! unthrottled {
    ($($request:ident $name:literal $min:literal..=$max:literal $timeout:ident),+ $(,)?) => {
        $(impl Api for $request {
            const NAME: &'static str = $name;
            const MIN: i16 = $min;
            const MAX: i16 = $max;
            const TIMEOUT: Duration = $timeout;
            fn throttle_ms(_: &Self::Response) -> i32 {
                0
            }
        })+
    };
}

unthrottled! {
    // Version 1 announces SaslAuthenticate (KIP-152).
    SaslHandshakeRequest "SaslHandshake" 1..=1 READ,
    // Session lifetimes came with version 1 (KIP-368).
    SaslAuthenticateRequest "SaslAuthenticate" 0..=2 READ,
}

/// A string for the wire.
pub(super) fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

/// A number of milliseconds as most requests carry their time limit: how long the broker may take.
pub(super) const BROKER_TIMEOUT_MS: i32 = 25_000;
