//! Kafka's error codes: their names, and what each means for whoever tries again. No I/O.

use crate::ports::{Disposition, KafkaError};

/// Success.
pub(super) const NONE: i16 = 0;
/// The topic or partition does not exist here.
pub(super) const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
/// The topic's name can never exist.
pub(super) const INVALID_TOPIC_EXCEPTION: i16 = 17;
/// The partition has no leader at the moment.
pub(super) const LEADER_NOT_AVAILABLE: i16 = 5;
/// The principal may not do that with the topic.
pub(super) const TOPIC_AUTHORIZATION_FAILED: i16 = 29;
/// The listener does not offer the SASL mechanism.
pub(super) const UNSUPPORTED_SASL_MECHANISM: i16 = 33;
/// SASL requests came in the wrong order.
pub(super) const ILLEGAL_SASL_STATE: i16 = 34;
/// The broker does not speak this version of the request.
pub(super) const UNSUPPORTED_VERSION: i16 = 35;
/// The request as such is wrong; for deletions of ACLs also: it matches too many.
pub(super) const INVALID_REQUEST: i16 = 42;
/// The SASL credential was refused.
pub(super) const SASL_AUTHENTICATION_FAILED: i16 = 58;
/// The brokers issue no delegation tokens.
pub(super) const DELEGATION_TOKEN_AUTH_DISABLED: i16 = 61;
/// What is to be described or deleted is not there (SCRAM credentials).
pub(super) const RESOURCE_NOT_FOUND: i16 = 91;

/// Feature levels of `metadata.version` (KIP-584) with Kafka's names of them, as of Kafka 4.3.
pub const METADATA_VERSIONS: &[(i16, &str)] = &[
    (7, "3.3-IV3"),
    (8, "3.4-IV0"),
    (9, "3.5-IV0"),
    (10, "3.5-IV1"),
    (11, "3.5-IV2"),
    (12, "3.6-IV0"),
    (13, "3.6-IV1"),
    (14, "3.6-IV2"),
    (15, "3.7-IV0"),
    (16, "3.7-IV1"),
    (17, "3.7-IV2"),
    (18, "3.7-IV3"),
    (19, "3.7-IV4"),
    (20, "3.8-IV0"),
    (21, "3.9-IV0"),
    (22, "4.0-IV0"),
    (23, "4.0-IV1"),
    (24, "4.0-IV2"),
    (25, "4.0-IV3"),
    (26, "4.1-IV0"),
    (27, "4.1-IV1"),
    (28, "4.2-IV0"),
    (29, "4.2-IV1"),
    (30, "4.3-IV0"),
    (31, "4.4-IV0"),
];

/// Kafka's name of a feature level of `metadata.version`.
pub(super) fn metadata_version(level: i16) -> String {
    let known = METADATA_VERSIONS.iter().find(|(known, _)| *known == level);
    known.map_or_else(|| format!("level {level}"), |(_, name)| (*name).to_owned())
}

/// Every code of `org.apache.kafka.common.protocol.Errors` in Kafka 4.3, except 0.
pub const ERROR_NAMES: &[(i16, &str)] = &[
    (-1, "UNKNOWN_SERVER_ERROR"),
    (1, "OFFSET_OUT_OF_RANGE"),
    (2, "CORRUPT_MESSAGE"),
    (3, "UNKNOWN_TOPIC_OR_PARTITION"),
    (4, "INVALID_FETCH_SIZE"),
    (5, "LEADER_NOT_AVAILABLE"),
    (6, "NOT_LEADER_OR_FOLLOWER"),
    (7, "REQUEST_TIMED_OUT"),
    (8, "BROKER_NOT_AVAILABLE"),
    (9, "REPLICA_NOT_AVAILABLE"),
    (10, "MESSAGE_TOO_LARGE"),
    (11, "STALE_CONTROLLER_EPOCH"),
    (12, "OFFSET_METADATA_TOO_LARGE"),
    (13, "NETWORK_EXCEPTION"),
    (14, "COORDINATOR_LOAD_IN_PROGRESS"),
    (15, "COORDINATOR_NOT_AVAILABLE"),
    (16, "NOT_COORDINATOR"),
    (17, "INVALID_TOPIC_EXCEPTION"),
    (18, "RECORD_LIST_TOO_LARGE"),
    (19, "NOT_ENOUGH_REPLICAS"),
    (20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND"),
    (21, "INVALID_REQUIRED_ACKS"),
    (22, "ILLEGAL_GENERATION"),
    (23, "INCONSISTENT_GROUP_PROTOCOL"),
    (24, "INVALID_GROUP_ID"),
    (25, "UNKNOWN_MEMBER_ID"),
    (26, "INVALID_SESSION_TIMEOUT"),
    (27, "REBALANCE_IN_PROGRESS"),
    (28, "INVALID_COMMIT_OFFSET_SIZE"),
    (29, "TOPIC_AUTHORIZATION_FAILED"),
    (30, "GROUP_AUTHORIZATION_FAILED"),
    (31, "CLUSTER_AUTHORIZATION_FAILED"),
    (32, "INVALID_TIMESTAMP"),
    (33, "UNSUPPORTED_SASL_MECHANISM"),
    (34, "ILLEGAL_SASL_STATE"),
    (35, "UNSUPPORTED_VERSION"),
    (36, "TOPIC_ALREADY_EXISTS"),
    (37, "INVALID_PARTITIONS"),
    (38, "INVALID_REPLICATION_FACTOR"),
    (39, "INVALID_REPLICA_ASSIGNMENT"),
    (40, "INVALID_CONFIG"),
    (41, "NOT_CONTROLLER"),
    (42, "INVALID_REQUEST"),
    (43, "UNSUPPORTED_FOR_MESSAGE_FORMAT"),
    (44, "POLICY_VIOLATION"),
    (45, "OUT_OF_ORDER_SEQUENCE_NUMBER"),
    (46, "DUPLICATE_SEQUENCE_NUMBER"),
    (47, "INVALID_PRODUCER_EPOCH"),
    (48, "INVALID_TXN_STATE"),
    (49, "INVALID_PRODUCER_ID_MAPPING"),
    (50, "INVALID_TRANSACTION_TIMEOUT"),
    (51, "CONCURRENT_TRANSACTIONS"),
    (52, "TRANSACTION_COORDINATOR_FENCED"),
    (53, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED"),
    (54, "SECURITY_DISABLED"),
    (55, "OPERATION_NOT_ATTEMPTED"),
    (56, "KAFKA_STORAGE_ERROR"),
    (57, "LOG_DIR_NOT_FOUND"),
    (58, "SASL_AUTHENTICATION_FAILED"),
    (59, "UNKNOWN_PRODUCER_ID"),
    (60, "REASSIGNMENT_IN_PROGRESS"),
    (61, "DELEGATION_TOKEN_AUTH_DISABLED"),
    (62, "DELEGATION_TOKEN_NOT_FOUND"),
    (63, "DELEGATION_TOKEN_OWNER_MISMATCH"),
    (64, "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED"),
    (65, "DELEGATION_TOKEN_AUTHORIZATION_FAILED"),
    (66, "DELEGATION_TOKEN_EXPIRED"),
    (67, "INVALID_PRINCIPAL_TYPE"),
    (68, "NON_EMPTY_GROUP"),
    (69, "GROUP_ID_NOT_FOUND"),
    (70, "FETCH_SESSION_ID_NOT_FOUND"),
    (71, "INVALID_FETCH_SESSION_EPOCH"),
    (72, "LISTENER_NOT_FOUND"),
    (73, "TOPIC_DELETION_DISABLED"),
    (74, "FENCED_LEADER_EPOCH"),
    (75, "UNKNOWN_LEADER_EPOCH"),
    (76, "UNSUPPORTED_COMPRESSION_TYPE"),
    (77, "STALE_BROKER_EPOCH"),
    (78, "OFFSET_NOT_AVAILABLE"),
    (79, "MEMBER_ID_REQUIRED"),
    (80, "PREFERRED_LEADER_NOT_AVAILABLE"),
    (81, "GROUP_MAX_SIZE_REACHED"),
    (82, "FENCED_INSTANCE_ID"),
    (83, "ELIGIBLE_LEADERS_NOT_AVAILABLE"),
    (84, "ELECTION_NOT_NEEDED"),
    (85, "NO_REASSIGNMENT_IN_PROGRESS"),
    (86, "GROUP_SUBSCRIBED_TO_TOPIC"),
    (87, "INVALID_RECORD"),
    (88, "UNSTABLE_OFFSET_COMMIT"),
    (89, "THROTTLING_QUOTA_EXCEEDED"),
    (90, "PRODUCER_FENCED"),
    (91, "RESOURCE_NOT_FOUND"),
    (92, "DUPLICATE_RESOURCE"),
    (93, "UNACCEPTABLE_CREDENTIAL"),
    (94, "INCONSISTENT_VOTER_SET"),
    (95, "INVALID_UPDATE_VERSION"),
    (96, "FEATURE_UPDATE_FAILED"),
    (97, "PRINCIPAL_DESERIALIZATION_FAILURE"),
    (98, "SNAPSHOT_NOT_FOUND"),
    (99, "POSITION_OUT_OF_RANGE"),
    (100, "UNKNOWN_TOPIC_ID"),
    (101, "DUPLICATE_BROKER_REGISTRATION"),
    (102, "BROKER_ID_NOT_REGISTERED"),
    (103, "INCONSISTENT_TOPIC_ID"),
    (104, "INCONSISTENT_CLUSTER_ID"),
    (105, "TRANSACTIONAL_ID_NOT_FOUND"),
    (106, "FETCH_SESSION_TOPIC_ID_ERROR"),
    (107, "INELIGIBLE_REPLICA"),
    (108, "NEW_LEADER_ELECTED"),
    (109, "OFFSET_MOVED_TO_TIERED_STORAGE"),
    (110, "FENCED_MEMBER_EPOCH"),
    (111, "UNRELEASED_INSTANCE_ID"),
    (112, "UNSUPPORTED_ASSIGNOR"),
    (113, "STALE_MEMBER_EPOCH"),
    (114, "MISMATCHED_ENDPOINT_TYPE"),
    (115, "UNSUPPORTED_ENDPOINT_TYPE"),
    (116, "UNKNOWN_CONTROLLER_ID"),
    (117, "UNKNOWN_SUBSCRIPTION_ID"),
    (118, "TELEMETRY_TOO_LARGE"),
    (119, "INVALID_REGISTRATION"),
    (120, "TRANSACTION_ABORTABLE"),
    (121, "INVALID_RECORD_STATE"),
    (122, "SHARE_SESSION_NOT_FOUND"),
    (123, "INVALID_SHARE_SESSION_EPOCH"),
    (124, "FENCED_STATE_EPOCH"),
    (125, "INVALID_VOTER_KEY"),
    (126, "DUPLICATE_VOTER"),
    (127, "VOTER_NOT_FOUND"),
    (128, "INVALID_REGULAR_EXPRESSION"),
    (129, "REBOOTSTRAP_REQUIRED"),
    (130, "STREAMS_INVALID_TOPOLOGY"),
    (131, "STREAMS_INVALID_TOPOLOGY_EPOCH"),
    (132, "STREAMS_TOPOLOGY_FENCED"),
    (133, "SHARE_SESSION_LIMIT_REACHED"),
];

/// Kafka's name of an error code, or `None` where this version of Weir does not know it.
pub fn error_name(code: i16) -> Option<&'static str> {
    ERROR_NAMES.iter().find(|(known, _)| *known == code).map(|(_, name)| *name)
}

/// What an error code means for whoever tries again.
///
/// Unknown codes are permanent: a newer broker's reason is for a person to read. -1, 7 and 13 leave open whether a
/// controller has acted.
pub fn disposition(code: i16) -> Disposition {
    match code {
        -1 | 7 | 13 => Disposition::UnknownOutcome,
        // Leadership and coordination in motion: nothing was done.
        5 | 6 | 9 | 14 | 15 | 16 | 41 | 51 | 72 | 74 | 75 | 78 | 88 => Disposition::Retry,
        // The controller mutation quota (KIP-599), or another reassignment under way.
        60 | 89 => Disposition::Retry,
        _ => Disposition::Permanent,
    }
}

/// The error of a code with the broker's own words, where it gave any.
pub(super) fn error(code: i16, message: Option<&str>) -> KafkaError {
    let message = match (message.filter(|text| !text.is_empty()), error_name(code)) {
        (Some(text), Some(name)) => format!("{name}: {text}"),
        (Some(text), None) => format!("error {code}: {text}"),
        (None, Some(name)) => name.to_owned(),
        (None, None) => format!("error {code}, which this version does not know"),
    };
    KafkaError { code: Some(code), message, disposition: disposition(code) }
}

/// `Ok` for code 0, else [`error`].
pub(super) fn check(code: i16, message: Option<&str>) -> Result<(), KafkaError> {
    if code == NONE { Ok(()) } else { Err(error(code, message)) }
}

/// An error without an answer of a broker after which the same call may succeed.
pub(super) fn retry(message: impl Into<String>) -> KafkaError {
    KafkaError { code: None, message: message.into(), disposition: Disposition::Retry }
}

/// An error without an answer of a broker that stays.
pub(super) fn permanent(message: impl Into<String>) -> KafkaError {
    KafkaError { code: None, message: message.into(), disposition: Disposition::Permanent }
}

/// An error that leaves open whether the broker acted.
pub(super) fn unknown_outcome(message: impl Into<String>) -> KafkaError {
    KafkaError { code: None, message: message.into(), disposition: Disposition::UnknownOutcome }
}

#[cfg(test)]
mod tests {
    use super::{check, disposition, error, error_name};
    use crate::ports::Disposition;

    #[test]
    fn an_error_carries_the_name_and_the_brokers_words() {
        assert_eq!(
            error(40, Some("Unknown topic config name: x")).message,
            "INVALID_CONFIG: Unknown topic config name: x"
        );
        assert_eq!(error(41, None).message, "NOT_CONTROLLER");
        assert_eq!(error(999, None).message, "error 999, which this version does not know");
        assert_eq!(check(0, Some("ignored")), Ok(()));
    }

    #[test]
    fn dispositions_tell_the_outcome_apart() {
        for code in [5, 6, 14, 15, 16, 41, 89] {
            assert_eq!(disposition(code), Disposition::Retry, "{:?}", error_name(code));
        }
        for code in [-1, 7, 13] {
            assert_eq!(disposition(code), Disposition::UnknownOutcome, "{:?}", error_name(code));
        }
        for code in [3, 17, 29, 31, 36, 37, 38, 39, 40, 42, 44, 54, 58, 91, 92, 93, 12345] {
            assert_eq!(disposition(code), Disposition::Permanent, "{:?}", error_name(code));
        }
    }
}
