//! Condition types and reasons, closed: what a status says, and when it says so.

use std::fmt;

/// Declares an enum whose variants are written as their names.
macro_rules! named {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$vmeta])* $variant,)+
        }

        impl $name {
            /// Every variant.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The variant's name, as it stands in a status.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($variant),)+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

named! {
    /// `type` of a condition.
    ConditionType {
        /// The brokers were asked, and have what the spec says.
        Ready,
        /// Weir is at work on it, or waits for something that is expected to come.
        Reconciling,
        /// Only a change by the user mends it.
        Stalled,
        /// StreamCluster: removals wait for a person (see `status.heldRevocations`).
        RevocationsHeld,
        /// StreamCluster: the cluster has entries on governed topics that no resource asks for.
        Drifted,
        /// StreamCluster: the authority that signs clients' certificates is there, and outlives those that it signs now.
        SignerReady,
        /// StreamCluster: every broker's exporter tells how much principals fetch and produce.
        QuotaMetricsRead,
        /// RoleBinding: what a client needs to connect stands in its namespace.
        ConnectionPublished,
        /// ExternalShare: everybody on this side who has to approve has approved, for every partner.
        OwnerApproved,
        /// ExternalShare: every partner accepted.
        ConsumerAccepted,
        /// ExternalShare: classification, standing of the partners and agreements allow it.
        PolicyCompliant,
        /// ExternalShare: every partner that accepted has a credential, or can fetch it.
        CredentialsReady,
        /// ExternalShare: every broker shows what each partner should have, and nothing else.
        AccessApplied,
        /// AuditTrail: the webhook takes what is on record.
        WebhookDelivered,
        /// ExternalShare with pattern Copy: records flow as they should, or none are meant to.
        ReplicationHealthy,
    }
}

named! {
    /// `reason` of a condition.
    Reason {
        /// Everything holds.
        Ready,
        /// Applied to the cluster and being verified on every broker, or waiting for its turn.
        Applying,
        /// The object is being deleted, and its removal is being carried out.
        Deleting,
        /// The binding's time is over; its access was revoked.
        Expired,
        /// The StreamCluster named does not exist.
        ClusterNotFound,
        /// The StreamCluster is not Ready.
        ClusterNotReady,
        /// No tenancy entry of the StreamCluster selects this namespace.
        NotATenant,
        /// More than one tenancy entry selects this namespace, or its prefixes overlap those of another one.
        TenancyConflict,
        /// A role named, or one that it inherits, does not exist.
        RoleNotFound,
        /// A product named does not exist.
        ProductNotFound,
        /// A stream named is not one of the product's.
        StreamNotFound,
        /// A StreamClient or ServiceAccount named does not exist.
        SubjectNotFound,
        /// A ServiceAccount of another namespace was deleted and made anew since it was bound.
        SubjectRecreated,
        /// A role inherits itself.
        RoleCycle,
        /// The role, or one that it inherits, may not be bound from this namespace.
        NotBindable,
        /// A product wants a purpose named, and the binding names none, or another one.
        PurposeRequired,
        /// The binding lasts longer than the role allows, or has no end where the role wants one.
        DurationTooLong,
        /// A `User` that no claim gives this namespace, or that nobody may bind.
        UserNotAllowed,
        /// A subject of another namespace in a binding outside the role's namespace.
        SubjectNotAllowed,
        /// A group or transactional id prefix outside the namespace's prefixes.
        PrefixOutsideNamespace,
        /// A topic outside the namespace's prefixes.
        TopicOutsideNamespace,
        /// A topic name that Kafka does not take.
        InvalidTopicName,
        /// Another product, or another stream, has the topic.
        TopicTaken,
        /// The topic exists on the cluster and was not made by Weir; see `adopt`.
        TopicExists,
        /// Kafka cannot take partitions away.
        PartitionsShrunk,
        /// A limit of the tenancy is passed.
        LimitExceeded,
        /// Shortening retention deletes records: it needs `weir.dev/acknowledge-retention`.
        RetentionShortened,
        /// The broker refused the topic or its configuration.
        RefusedByBroker,
        /// The namespace did not bind the ClusterRole `weir-credentials`.
        NamespaceNotEnrolled,
        /// The owner of the role has to approve it.
        AwaitingApproval,
        /// The owner of the role denied it.
        Denied,
        /// The owner of the role took it back.
        Revoked,
        /// The partner has to accept.
        AwaitingAcceptance,
        /// The partner did not answer its invitation in time.
        InvitationExpired,
        /// The partner did not accept, or withdrew.
        Rejected,
        /// The share begins later.
        NotYetValid,
        /// The share is suspended.
        Suspended,
        /// The partner is quarantined.
        Quarantined,
        /// A Partner named does not exist.
        PartnerNotFound,
        /// A product's classification does not allow this pattern.
        ClassificationForbidsPattern,
        /// The products of a share lie on several clusters.
        SeveralClusters,
        /// The destination does not take copies of this namespace, or is the source itself.
        DestinationNotAllowed,
        /// The destination offers no engine of that name.
        EngineNotFound,
        /// The engine is starting, or takes up the share.
        ReplicationStarting,
        /// The engine is out of reach, fails, or records do not flow although it says that it runs.
        ReplicationFailing,
        /// Who made the request is not known, so nobody can be told from its reviewer.
        RequesterUnknown,
        /// The admission policies are missing that hold reviewers to their names.
        ApprovalsNotEnforced,
        /// A Secret or ConfigMap of that name exists and is not Weir's.
        NameTaken,
        /// The API server does not let Weir write a Secret or ConfigMap, as where a quota is used up.
        NotWritten,
        /// A Secret that the StreamCluster names is missing, or lacks a key.
        SecretInvalid,
        /// The StreamCluster offers no listener for this kind of credential.
        NoListener,
        /// The authority that signs clients' certificates ends before a certificate of full length would, or has ended with the
        /// client's certificate.
        SignerExpiring,
        /// So many versions of a client's credential were issued of late that the next one waits.
        TooManyVersions,
        /// The brokers cannot be reached, or refuse the login.
        BrokersUnreachable,
        /// The brokers have no authorizer.
        NoAuthorizer,
        /// A principal without any entry was let in: the brokers are open by default.
        OpenByDefault,
        /// Whether the brokers are open by default cannot be told.
        DefaultUnknown,
        /// Not all exporters of brokers' metrics answer, or what they tell is not all.
        MetricsUnread,
        /// Another installation of Weir governs this Kafka cluster.
        GovernedByAnother,
        /// Products or clients still refer to this StreamCluster.
        InUse,
        /// Removals wait for `weir.dev/confirm`.
        ConfirmationRequired,
        /// The cluster has what it should, and nothing else on governed topics.
        InSync,
        /// Entries that no resource asks for are on governed topics.
        ForeignEntries,
        /// The webhook does not take events: they wait.
        WebhookWaiting,
        /// The webhook refused events for themselves: they are dead letters. Until it takes a whole batch again.
        WebhookRefused,
        /// The audit topic cannot be written: what widens access waits.
        AuditUnavailable,
        /// The audit topic is not what Weir wrote: a person has to look, and to confirm that it goes on.
        AuditBroken,
        /// The spec is not valid in another way; the message says which.
        Invalid,
    }
}
