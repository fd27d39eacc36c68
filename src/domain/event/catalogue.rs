//! Every type of SecurityEvent: when there is one, how grave it is, what class of OCSF 1.8.0 it is, and where Weir has it from.
//!
//! The documentation's table is made of this one.

use crate::api::{Action, ActorType, EventSource, Severity};

/// A class of OCSF 1.8.0 with an activity of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// 2003 Compliance Finding.
    ComplianceFinding(Finding),
    /// 2004 Detection Finding.
    DetectionFinding(Finding),
    /// 3001 Account Change: 1 Create, 4 Password Reset, 5 Disable, 99 Other.
    AccountChange(u32),
    /// 3002 Authentication: 1 Logon.
    Authentication(u32),
    /// 3004 Entity Management: 1 Create, 2 Read, 3 Update, 4 Delete, 6 Enroll, 7 Unenroll, 8 Enable, 9 Disable, 10 Activate,
    /// 11 Deactivate, 12 Suspend, 13 Resume, 99 Other.
    EntityManagement(u32),
    /// 3005 User Access Management: 1 Assign Privileges, 2 Revoke Privileges.
    UserAccess(u32),
    /// 6002 Application Lifecycle: 3 Start, 4 Stop, 6 Enable, 7 Disable, 8 Update, 99 Other.
    ApplicationLifecycle(u32),
    /// 6003 API Activity; the activity follows from Kafka's operation.
    ApiActivity,
    /// 6005 Datastore Activity: 1 Read, 5 Write, as Kafka's operation is.
    DatastoreActivity,
}

/// Activities of findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// 1: found.
    Create,
    /// 2: there is more to say of it.
    Update,
    /// 3: it is over.
    Close,
}

impl Class {
    /// `class_uid`.
    pub const fn uid(self) -> u32 {
        match self {
            Self::ComplianceFinding(_) => 2003,
            Self::DetectionFinding(_) => 2004,
            Self::AccountChange(_) => 3001,
            Self::Authentication(_) => 3002,
            Self::EntityManagement(_) => 3004,
            Self::UserAccess(_) => 3005,
            Self::ApplicationLifecycle(_) => 6002,
            Self::ApiActivity => 6003,
            Self::DatastoreActivity => 6005,
        }
    }

    /// Its name in the schema's addresses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ComplianceFinding(_) => "compliance_finding",
            Self::DetectionFinding(_) => "detection_finding",
            Self::AccountChange(_) => "account_change",
            Self::Authentication(_) => "authentication",
            Self::EntityManagement(_) => "entity_management",
            Self::UserAccess(_) => "user_access",
            Self::ApplicationLifecycle(_) => "application_lifecycle",
            Self::ApiActivity => "api_activity",
            Self::DatastoreActivity => "datastore_activity",
        }
    }

    /// Whether events of the class tell who did it, without a profile.
    pub const fn has_actor(self) -> bool {
        matches!(
            self,
            Self::AccountChange(_)
                | Self::Authentication(_)
                | Self::EntityManagement(_)
                | Self::UserAccess(_)
                | Self::ApiActivity
                | Self::DatastoreActivity
        )
    }

    /// What an event of the class tells beside what all tell, as attributes of OCSF.
    pub const fn attributes(self) -> &'static str {
        match self {
            Self::ComplianceFinding(_) => "finding_info, compliance, resources",
            Self::DetectionFinding(_) => "finding_info, evidences, resources",
            Self::AccountChange(_) => "user, user.programmatic_credentials",
            Self::Authentication(_) => "user, service, src_endpoint",
            Self::EntityManagement(_) => "entity",
            Self::UserAccess(_) => "user, privileges, resources",
            Self::ApplicationLifecycle(_) => "app",
            Self::ApiActivity => "api, src_endpoint, resources, action_id, disposition_id, authorizations",
            Self::DatastoreActivity => "database, table, src_endpoint",
        }
    }
}

/// One type of SecurityEvent.
#[derive(Clone, Copy, Debug)]
pub struct EventType {
    /// What was done.
    pub action: Action,
    /// The type in CloudEvents, without the prefix.
    pub name: &'static str,
    /// When there is one.
    pub when: &'static str,
    /// How grave it is, where it did not fail.
    pub severity: Severity,
    /// What it is in OCSF.
    pub class: Class,
    /// Where Weir may have it from.
    pub sources: &'static [EventSource],
    /// The kinds of object that it is about; none where it may be any kind of resource of Kafka's.
    pub objects: &'static [&'static str],
    /// Who may have done it.
    pub actors: &'static [ActorType],
    /// It is on record only: there is no resource of it.
    pub record_only: bool,
}

/// The type of an action.
pub const fn event_type(action: Action) -> &'static EventType {
    // A test holds that each stands at its place.
    &CATALOGUE[action as usize]
}

const WEIR: &[EventSource] = &[EventSource::Weir];
/// What gives access.
const GIVERS: &[&str] = &["RoleBinding", "ExternalShare"];
const SHARE: &[&str] = &["ExternalShare"];
const APPROVAL: &[&str] = &["AccessApproval"];
const PRODUCT: &[&str] = &["DataProduct"];
const CLUSTER: &[&str] = &["StreamCluster"];
const TRAIL: &[&str] = &["AuditTrail"];
const BINDING: &[&str] = &["RoleBinding"];
/// What has credentials.
const HOLDERS: &[&str] = &["StreamClient", "ExternalShare", "StreamCluster"];
const GROUPS: &[EventSource] = &[EventSource::ConsumerGroups];
const USE: &[EventSource] = &[EventSource::ConsumerGroups, EventSource::QuotaMetrics];
const BROKERS: &[EventSource] = &[EventSource::BrokerLog, EventSource::ConfluentAuditLog];

const LOGINS: &[EventSource] = &[EventSource::BrokerLog, EventSource::ConfluentAuditLog, EventSource::Endpoint];

const fn row(
    action: Action,
    name: &'static str,
    severity: Severity,
    class: Class,
    sources: &'static [EventSource],
    when: &'static str,
) -> EventType {
    let actors = &[ActorType::Weir];
    EventType { action, name, when, severity, class, sources, objects: &[], actors, record_only: false }
}

impl EventType {
    /// The same about these kinds of object.
    const fn about(self, objects: &'static [&'static str]) -> Self {
        Self { objects, ..self }
    }

    /// The same by these.
    const fn by(self, actors: &'static [ActorType]) -> Self {
        Self { actors, ..self }
    }
}

const fn on_record_only(row: EventType) -> EventType {
    EventType { record_only: true, ..row }
}

/// Every type, in the order of [`Action`].
pub const CATALOGUE: &[EventType] = {
    use ActorType::{Partner, Principal, User, Weir};
    use Class::{
        AccountChange, ApiActivity, ApplicationLifecycle, Authentication, ComplianceFinding, DatastoreActivity,
        DetectionFinding, EntityManagement, UserAccess,
    };
    use Severity::{Critical, High, Informational, Low, Medium};
    &[
        on_record_only(
            row(
                Action::AccessWidening,
                "access.widening",
                Informational,
                UserAccess(1),
                WEIR,
                "Weir is about to give principals of a cluster more than they have; it is on record \
                 before the cluster is asked",
            )
            .about(&["StreamCluster", "ExternalShare"]),
        ),
        row(
            Action::AccessGranted,
            "access.granted",
            Informational,
            UserAccess(1),
            WEIR,
            "a binding's access began or widened, or a partner's that had begun widened, and every \
             broker shows it",
        )
        .about(GIVERS),
        row(
            Action::AccessNarrowed,
            "access.narrowed",
            Low,
            UserAccess(2),
            WEIR,
            "a binding's, or a partner's, access became less and did not end",
        )
        .about(GIVERS),
        row(
            Action::AccessRevoked,
            "access.revoked",
            Low,
            UserAccess(2),
            WEIR,
            "a binding's, or a partner's, access ended",
        )
        .about(GIVERS),
        row(
            Action::AccessExpired,
            "access.expired",
            Low,
            UserAccess(2),
            WEIR,
            "a binding's time was over, and its access ended",
        )
        .about(BINDING),
        row(
            Action::RequestRefused,
            "request.refused",
            Medium,
            ComplianceFinding(Finding::Create),
            WEIR,
            "a binding, share, product, client, role or cluster cannot be as it says: what it names \
             is not there, or a rule of the platform, or of another owner, forbids it",
        )
        .about(&["RoleBinding", "ExternalShare", "DataProduct", "StreamClient", "StreamRole", "StreamCluster"]),
        row(
            Action::AccessRequested,
            "access.requested",
            Informational,
            EntityManagement(1),
            WEIR,
            "somebody asked, by a binding or a share, for access that waits for an approval",
        )
        .about(GIVERS)
        .by(&[User, Weir]),
        row(
            Action::RequestWithdrawn,
            "request.withdrawn",
            Informational,
            EntityManagement(4),
            WEIR,
            "a binding, or a share, was deleted that waited for an approval",
        )
        .about(GIVERS),
        row(
            Action::RequestApproved,
            "request.approved",
            Informational,
            EntityManagement(8),
            WEIR,
            "somebody approved what a binding, or a share, asks for",
        )
        .about(APPROVAL)
        .by(&[User]),
        row(Action::RequestDenied, "request.denied", Low, EntityManagement(9), WEIR, "somebody denied it")
            .about(APPROVAL)
            .by(&[User]),
        row(
            Action::RequestRevoked,
            "request.revoked",
            Low,
            EntityManagement(9),
            WEIR,
            "somebody took an approval back",
        )
        .about(APPROVAL)
        .by(&[User, Weir]),
        row(
            Action::ShareInvited,
            "share.invited",
            Informational,
            EntityManagement(6),
            WEIR,
            "a partner was invited to a share",
        )
        .about(&["Invitation"])
        .by(&[User]),
        row(
            Action::ShareAccepted,
            "share.accepted",
            Informational,
            EntityManagement(8),
            WEIR,
            "a partner accepted what is shared with it",
        )
        .about(APPROVAL)
        .by(&[Partner]),
        row(
            Action::ShareRejected,
            "share.rejected",
            Informational,
            EntityManagement(9),
            WEIR,
            "a partner did not accept it",
        )
        .about(APPROVAL)
        .by(&[Partner]),
        row(
            Action::ShareWithdrawn,
            "share.withdrawn",
            Low,
            EntityManagement(7),
            WEIR,
            "a partner took its acceptance back",
        )
        .about(APPROVAL)
        .by(&[Partner]),
        row(
            Action::ShareStarted,
            "share.started",
            Low,
            EntityManagement(10),
            WEIR,
            "a partner can read what is shared with it",
        )
        .about(SHARE),
        row(
            Action::ShareSuspended,
            "share.suspended",
            Low,
            EntityManagement(12),
            WEIR,
            "a share was stopped for the time being",
        )
        .about(SHARE),
        row(Action::ShareResumed, "share.resumed", Low, EntityManagement(13), WEIR, "a share that was stopped goes on")
            .about(SHARE),
        row(
            Action::ShareEnded,
            "share.ended",
            Low,
            EntityManagement(11),
            WEIR,
            "a share with a partner is over, and no broker shows anything of it",
        )
        .about(SHARE),
        row(
            Action::CopyRemoved,
            "share.copy-removed",
            Low,
            EntityManagement(4),
            WEIR,
            "what a share copied with is gone: its connector with the positions, or what was on \
             record of its topics",
        )
        .about(SHARE),
        row(
            Action::CredentialFetched,
            "credential.fetched",
            Informational,
            EntityManagement(2),
            WEIR,
            "a partner fetched its credential",
        )
        .about(SHARE)
        .by(&[Partner]),
        row(
            Action::CredentialIssued,
            "credential.issued",
            Informational,
            AccountChange(1),
            WEIR,
            "the first version of a credential was issued",
        )
        .about(HOLDERS),
        row(
            Action::CredentialRotated,
            "credential.rotated",
            Informational,
            AccountChange(4),
            WEIR,
            "a credential was replaced by its next version",
        )
        .about(HOLDERS),
        row(
            Action::CredentialRevoked,
            "credential.revoked",
            Low,
            AccountChange(5),
            WEIR,
            "a version of a credential was removed",
        )
        .about(HOLDERS),
        row(
            Action::RevocationProbed,
            "credential.revocation-probed",
            Informational,
            EntityManagement(99),
            WEIR,
            "Weir tried, as somebody whose access had ended, what that principal could do before: evidence",
        )
        .about(HOLDERS),
        row(
            Action::DriftFound,
            "drift.found",
            High,
            DetectionFinding(Finding::Create),
            WEIR,
            "a cluster has entries on governed topics that no resource asks for",
        )
        .about(CLUSTER),
        row(
            Action::DriftRepaired,
            "drift.repaired",
            Medium,
            DetectionFinding(Finding::Close),
            WEIR,
            "they were removed, or what somebody else had removed was made again",
        )
        .about(CLUSTER),
        row(
            Action::DriftGivenUp,
            "drift.given-up",
            High,
            DetectionFinding(Finding::Update),
            WEIR,
            "something keeps putting them back, and Weir stopped removing them",
        )
        .about(CLUSTER),
        row(
            Action::RevocationsHeld,
            "revocations.held",
            High,
            DetectionFinding(Finding::Create),
            WEIR,
            "so many principals would lose access without anybody having asked for it that a person \
             has to confirm",
        )
        .about(CLUSTER),
        row(
            Action::RevocationsConfirmed,
            "revocations.confirmed",
            Medium,
            DetectionFinding(Finding::Close),
            WEIR,
            "a person confirmed it",
        )
        .about(CLUSTER)
        .by(&[User, Weir]),
        row(
            Action::AccessOrphaned,
            "access.orphaned",
            High,
            DetectionFinding(Finding::Create),
            WEIR,
            "access was left behind on a cluster that was given up",
        )
        .about(&["RoleBinding", "ExternalShare", "StreamClient"]),
        row(
            Action::ProductCreated,
            "product.created",
            Informational,
            EntityManagement(1),
            WEIR,
            "a product's topics are there and governed",
        )
        .about(PRODUCT)
        .by(&[User, Weir]),
        row(
            Action::ProductReclassified,
            "product.reclassified",
            Medium,
            EntityManagement(3),
            WEIR,
            "a product's effective classification changed",
        )
        .about(PRODUCT),
        row(
            Action::ProductDeleted,
            "product.deleted",
            Low,
            EntityManagement(4),
            WEIR,
            "a product is gone, and all that was granted on it",
        )
        .about(PRODUCT),
        row(
            Action::AccessDenied,
            "access.denied",
            Medium,
            ApiActivity,
            BROKERS,
            "a broker refused what a client asked for; one for each closed window",
        )
        .by(&[Principal]),
        row(
            Action::AuthenticationFailed,
            "authentication.failed",
            Medium,
            Authentication(1),
            LOGINS,
            "a client failed to prove to a broker who it is, or a caller to the intake or the partner \
              API; one for each closed window",
        )
        .about(&["StreamCluster", "Service"])
        .by(&[Principal]),
        row(
            Action::DenialBurst,
            "access.denial-burst",
            High,
            DetectionFinding(Finding::Create),
            BROKERS,
            "a principal was refused so often, or so many different things, that somebody should look",
        )
        .about(&["StreamClient", "ServiceAccount", "StreamCluster"])
        .by(&[Principal]),
        row(
            Action::RetiredCredentialUsed,
            "credential.retired-used",
            High,
            DetectionFinding(Finding::Create),
            BROKERS,
            "a credential that was retired is still being tried",
        )
        .by(&[Principal]),
        row(
            Action::LeaderChanged,
            "weir.leader-changed",
            Informational,
            ApplicationLifecycle(3),
            WEIR,
            "another instance of Weir leads, or the same one anew",
        )
        .about(&["Lease"]),
        row(
            Action::AuditTrailBegun,
            "audit.begun",
            Informational,
            ApplicationLifecycle(6),
            WEIR,
            "the audit topic's chain begins",
        )
        .about(TRAIL),
        row(
            Action::AuditTrailLost,
            "audit.lost",
            Critical,
            ApplicationLifecycle(7),
            WEIR,
            "the audit topic cannot be written: what widens access waits",
        )
        .about(TRAIL),
        row(
            Action::AuditTrailRestored,
            "audit.restored",
            Low,
            ApplicationLifecycle(6),
            WEIR,
            "it can be written again, and what happened meanwhile is on record",
        )
        .about(TRAIL),
        row(
            Action::AuditTrailBroken,
            "audit.broken",
            Critical,
            DetectionFinding(Finding::Create),
            WEIR,
            "the audit topic is not what Weir wrote: records were changed or cut off",
        )
        .about(TRAIL)
        .by(&[Weir, User]),
        row(
            Action::AuditTrailEnded,
            "audit.ended",
            Critical,
            ApplicationLifecycle(7),
            WEIR,
            "the AuditTrail was deleted: what happens from there on is on record nowhere",
        )
        .about(TRAIL),
        on_record_only(
            row(
                Action::AuditCheckpoint,
                "audit.checkpoint",
                Informational,
                ApplicationLifecycle(99),
                WEIR,
                "the head of the chain, signed",
            )
            .about(TRAIL),
        ),
        row(
            Action::EventsSummarised,
            "events.summarised",
            Low,
            ApplicationLifecycle(99),
            WEIR,
            "more happened in a namespace than SecurityEvents are kept of: how much, by type; each is \
              on record",
        )
        .about(&["Namespace"]),
        row(
            Action::AccessUsed,
            "access.used",
            Informational,
            DatastoreActivity,
            USE,
            "a binding's access was used, as far as consumer groups, the ends of topics and quota \
             metrics tell; one for each hour of the clock in which it was, count says how many \
             records were read",
        )
        .about(BINDING)
        .by(&[Principal]),
        row(
            Action::NewAddressSeen,
            "access.new-address",
            Medium,
            DetectionFinding(Finding::Create),
            GROUPS,
            "principals of a binding, whose addresses were known, use it from another one",
        )
        .about(BINDING)
        .by(&[Principal]),
        row(
            Action::GrantUnused,
            "access.unused",
            Low,
            ComplianceFinding(Finding::Create),
            GROUPS,
            "no use of a binding's access was seen for as long as its cluster says; once until it is \
             used again",
        )
        .about(BINDING),
    ]
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use schemars::schema_for;

    use super::{CATALOGUE, event_type};
    use crate::api::Action;

    #[test]
    fn every_action_has_its_type_at_its_place() {
        let schema = serde_json::to_value(schema_for!(Action)).unwrap();
        let named: Vec<_> = schema["oneOf"].as_array().unwrap().iter().map(|v| v["const"].clone()).collect();
        let listed: Vec<_> = CATALOGUE.iter().map(|t| serde_json::to_value(t.action).unwrap()).collect();
        assert_eq!(listed, named, "the order is that of Action");
        for row in CATALOGUE {
            assert_eq!(event_type(row.action).name, row.name);
            assert!(!row.sources.is_empty() && !row.actors.is_empty());
        }
    }

    #[test]
    fn names_are_unique_and_explanations_are_clauses() {
        let names: BTreeSet<_> = CATALOGUE.iter().map(|t| t.name).collect();
        assert_eq!(names.len(), CATALOGUE.len());
        for row in CATALOGUE {
            assert!(row.name.contains('.') && row.name.chars().all(|c| c.is_ascii_lowercase() || ".-".contains(c)));
            assert!(!row.when.ends_with('.') && row.when.len() > 10, "{}", row.when);
        }
    }
}
