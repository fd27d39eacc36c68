//! What a user writes and reads: one file a kind, its spec and its status. No logic.

mod access_approval;
mod audit_trail;
mod conditions;
mod data_product;
mod external_share;
mod invitation;
mod partner;
mod replication;
mod role_binding;
mod security_event;
mod shared;
mod stream_client;
mod stream_cluster;
mod stream_role;

pub use access_approval::{
    Acceptance, AccessApproval, AccessApprovalSpec, ApprovedStream, Decision, PARTNER_REVIEWER, REQUESTERS_ANNOTATION,
    RequestKind, RequestRef, Scope, Side, TargetKind, TargetRef,
};
pub use audit_trail::{AuditTrail, AuditTrailSpec, AuditTrailStatus, Checkpoints, Webhook};
pub use conditions::{ConditionType, Reason};
pub use data_product::{
    Classification, DataProduct, DataProductSpec, DataProductStatus, DeletionPolicy, Owner, ProductRef, Stream,
    StreamStatus,
};
pub use external_share::{
    ExternalShare, ExternalShareSpec, ExternalShareStatus, GroupUsage, PartnerRef, Proven, Revocation, Revoke,
    ShareCredentials, SharePhase, ShareUsage, SharedProduct, SharedWith, UsageWindow, Validity,
};
pub use invitation::{Invitation, InvitationSpec, UidRef};
pub use partner::{Agreement, Partner, PartnerSpec, PartnerStanding, PartnerStatus};
pub use replication::{
    ClusterLink, ConnectCredentials, ConsumerTuning, CopyTuning, Destination, DestinationPolicy, History, HistoryStart,
    KafkaConnect, MirrorMaker2, ProducerTuning, PullPolicy, ReplicationEngine, ReplicationStatus, Strimzi,
    TargetTopicPolicy,
};
pub use role_binding::{
    BindingUsage, EntriesStatus, RoleBinding, RoleBindingSpec, RoleBindingStatus, RoleRef, Subject, SubjectKind,
};
pub use security_event::{
    Action, Actor, ActorType, ClientRequest, EventSource, EventWindow, ObjectRef, Outcome, SecurityEvent,
    SecurityEventSpec, Severity,
};
pub use shared::{Access, ClusterRef, Limits, Pattern, Quotas, SecretRef, Usage};
pub(crate) use stream_client::default_overlap;
pub use stream_client::{
    CredentialState, CredentialStatus, CredentialType, Credentials, Rotation, StreamClient, StreamClientSpec,
    StreamClientStatus,
};
pub use stream_cluster::{
    AdminCredentialType, AdminCredentials, Audience, BrokerLogs, BrokerPods, Drift, HeldRevocations, Identity,
    Listener, ListenerAuthentication, MtlsIdentity, OauthAdmin, OauthIdentity, QuotaMetrics, StreamCluster,
    StreamClusterSpec, StreamClusterStatus, Tenancy, Tls, UserClaim,
};
pub use stream_role::{
    Approval, BindableFrom, BindableFromMode, EffectivePrivilege, PendingRequest, PreApproved, Privilege,
    ProductSelection, StreamRole, StreamRoleSpec, StreamRoleStatus,
};

/// The API group.
pub const GROUP: &str = "weir.dev";
/// The finalizer on everything whose removal must first be carried out on a Kafka cluster.
pub const FINALIZER: &str = "weir.dev/finalizer";
/// On a StreamCluster: the token of [`HeldRevocations`] that a person confirms. On an AuditTrail: that of breaks that one looked at.
pub const CONFIRM_ANNOTATION: &str = "weir.dev/confirm";
/// Who set it, as admission knew them.
pub const CONFIRMED_BY_ANNOTATION: &str = "weir.dev/confirmed-by";
/// On a StreamCluster: objects waiting for this cluster are let go; what stays behind is removed when it returns.
pub const ABANDON_ANNOTATION: &str = "weir.dev/abandon";
/// The label on every object that Weir writes into a consumer's namespace.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY_LABEL`].
pub const MANAGED_BY: &str = "weir";
/// On a SecurityEvent: how grave it is.
pub const SEVERITY_LABEL: &str = "weir.dev/severity";
/// On a SecurityEvent: what was done.
pub const ACTION_LABEL: &str = "weir.dev/action";
/// On a SecurityEvent: to what, as `kind.name`; what is longer than a label may be is cut off.
pub const OBJECT_LABEL: &str = "weir.dev/object";
/// On a SecurityEvent that the audit topic does not have yet.
pub const UNRECORDED_LABEL: &str = "weir.dev/unrecorded";
