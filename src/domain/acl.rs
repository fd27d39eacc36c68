//! Kafka's access control entries, as values.
//!
//! Names and wire codes are those of Kafka's own enums (`org.apache.kafka.common.acl` and `.resource`; KIP-11,
//! KIP-290). A code that this version does not know is kept raw, so that it can be reported, and is never sent
//! in a deletion.

use std::fmt;
use std::sync::Arc;

/// Declares an enum of Kafka's with its wire codes and its CamelCase names.
macro_rules! kafka_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $code:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$vmeta])* $variant,)+
            /// A code that this version of Weir does not know.
            Unknown(i8),
        }

        impl $name {
            /// Every variant that has a name.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The code on the wire.
            pub const fn code(self) -> i8 {
                match self {
                    $(Self::$variant => $code,)+
                    Self::Unknown(code) => code,
                }
            }

            /// The variant of a code on the wire; never fails.
            pub const fn from_code(code: i8) -> Self {
                match code {
                    $($code => Self::$variant,)+
                    other => Self::Unknown(other),
                }
            }

            /// Kafka's name for it in CamelCase, or `None` where the code is unknown.
            pub const fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$variant => Some(stringify!($variant)),)+
                    Self::Unknown(_) => None,
                }
            }

            /// The variant of [`Self::name`].
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $(stringify!($variant) => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, "Unknown({})", self.code()),
                }
            }
        }
    };
}

kafka_enum! {
    /// What an entry is about (`ResourceType`).
    ResourceType {
        /// A topic.
        Topic = 2,
        /// A consumer group.
        Group = 3,
        /// The cluster itself; its only name is `kafka-cluster`.
        Cluster = 4,
        /// A transactional id of a producer.
        TransactionalId = 5,
        /// A delegation token.
        DelegationToken = 6,
        /// A user principal (KIP-373).
        User = 7,
    }
}

kafka_enum! {
    /// How the resource's name matches (`PatternType`, KIP-290).
    PatternType {
        /// The name itself; the literal `*` is the wildcard.
        Literal = 3,
        /// Every name that starts so.
        Prefixed = 4,
    }
}

kafka_enum! {
    /// What the principal does (`AclOperation`).
    Operation {
        /// Every operation.
        All = 2,
        /// Fetch records; commit offsets of a group. Implies `Describe`.
        Read = 3,
        /// Produce records; use a transactional id. Implies `Describe`.
        Write = 4,
        /// Create a topic.
        Create = 5,
        /// Delete a topic, records or a group. Implies `Describe`.
        Delete = 6,
        /// Change partitions, ACLs or credentials. Implies `Describe`.
        Alter = 7,
        /// Read metadata.
        Describe = 8,
        /// What brokers ask of each other.
        ClusterAction = 9,
        /// Read configuration.
        DescribeConfigs = 10,
        /// Change configuration. Implies `DescribeConfigs`.
        AlterConfigs = 11,
        /// Produce idempotently (implied by `Write` on any topic since Kafka 2.8).
        IdempotentWrite = 12,
        /// Create delegation tokens for a user (KIP-373).
        CreateTokens = 13,
        /// Describe delegation tokens of a user (KIP-373).
        DescribeTokens = 14,
        /// Two-phase commit transactions (KIP-939).
        TwoPhaseCommit = 15,
    }
}

kafka_enum! {
    /// Whether an entry allows or denies (`AclPermissionType`). A denial beats every allowance.
    Permission {
        /// It denies.
        Deny = 2,
        /// It allows.
        Allow = 3,
    }
}

/// One access control entry: the exact tuple that the broker stores and deletes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AclEntry {
    /// Whom it is for, as `User:name`.
    pub principal: Arc<str>,
    /// What kind of resource it is about.
    pub resource_type: ResourceType,
    /// How `resource` matches.
    pub pattern_type: PatternType,
    /// The resource's name, or its prefix.
    pub resource: Arc<str>,
    /// What may be done.
    pub operation: Operation,
    /// Allowed or denied.
    pub permission: Permission,
    /// From which address; `*` is any.
    pub host: Arc<str>,
}

impl AclEntry {
    /// That a principal, by its name without `User:`, may do something, from any address.
    pub fn allow(
        principal: &str,
        operation: Operation,
        resource_type: ResourceType,
        pattern_type: PatternType,
        resource: &str,
    ) -> Self {
        Self {
            principal: format!("User:{principal}").into(),
            resource_type,
            pattern_type,
            resource: resource.into(),
            operation,
            permission: Permission::Allow,
            host: "*".into(),
        }
    }
}

impl fmt::Display for AclEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { principal, resource_type, pattern_type, resource, operation, permission, host } = self;
        write!(f, "{permission} {principal} {operation} {resource_type}:{pattern_type}:{resource} from {host}")
    }
}

#[cfg(test)]
mod tests {
    use super::{Operation, PatternType, Permission, ResourceType};

    #[test]
    fn codes_and_names_go_both_ways() {
        for &op in Operation::ALL {
            assert_eq!(Operation::from_code(op.code()), op);
            assert_eq!(Operation::from_name(op.name().unwrap_or_default()), Some(op));
        }
        assert_eq!(Operation::from_code(99), Operation::Unknown(99));
        assert_eq!(ResourceType::Unknown(42).to_string(), "Unknown(42)");
        assert_eq!(PatternType::from_name("Match"), None);
        assert_eq!(Permission::Deny.code(), 2);
    }
}
