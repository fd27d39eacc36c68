//! Shares, partners and invitations.

use crate::approvals::DENIED;
use crate::cases::Action::{Create, Delete, Patch};
use crate::cases::Expect::{Accepted, Refused};
use crate::cases::Persona::{
    Consumer, NamespaceAdmin, NamespaceEditor, Owner, Partners, Platform, Root, Security, Tenant, Viewer,
};
use crate::cases::{Case, about, object};

/// Stored for the cases to change.
pub const STORED: &str = "kind: ExternalShare, metadata: {namespace: '{owner}', name: shared}, spec: {products: [{name: orders}], \
                          partnerRefs: [{name: acme}], pattern: Direct, validity: {notAfter: 2099-01-01T00:00:00Z}, \
                          revoke: {reason: over}}";

/// An invitation to it.
pub fn invitation(name: &str, inviter: &str) -> String {
    let hash = "a".repeat(64);
    object(
        "Invitation",
        "{owner}",
        name,
        &format!(
            "spec: {{shareRef: {{name: shared, uid: u}}, partnerRef: {{name: acme, uid: p}}, secretHash: '{hash}', \
             expiresAt: '2099-01-01T00:00:00Z', inviter: '{inviter}'}}"
        ),
    )
}

fn share(more: &str) -> String {
    let validity = if more.contains("validity") { "" } else { "validity: {notAfter: 2099-01-01T00:00:00Z}, " };
    share_named("new", &format!("{validity}{more}"))
}

fn share_named(name: &str, spec: &str) -> String {
    let spec =
        format!("spec: {{products: [{{name: orders}}], partnerRefs: [{{name: acme}}], pattern: Direct, {spec}}}");
    object("ExternalShare", "{owner}", name, &spec)
}

/// A decision about the share, with this at the end of its spec.
fn decision(side: &str, reviewer: &str, rest: &str) -> String {
    about_what(
        "ExternalShare",
        "ExternalShare, name: shared",
        &format!("partnerRef: {{name: acme, uid: p}}, side: {side}, reviewer: '{reviewer}', {rest}"),
    )
}

fn about_what(request: &str, target: &str, rest: &str) -> String {
    let spec = format!(
        "spec: {{requestRef: {{kind: {request}, namespace: '{{owner}}', name: shared, uid: u}}, targetRef: {{kind: {target}}}, {rest}}}"
    );
    object("AccessApproval", "{owner}", "new", &spec)
}

const SCOPE: &str = "scope: {pattern: Direct, streams: [{product: orders, stream: placed, access: [Read]}]}";

fn accepted() -> String {
    let key = "0".repeat(64);
    format!("decision: Approved, {SCOPE}, acceptance: {{invitation: i, publicKeyHash: '{key}', recipient: age1qqq}}")
}

/// The rules of the definitions.
pub fn rules() -> Vec<Case> {
    [share_rules(), product_names(), partner_rules(), decision_rules()].concat()
}

fn share_rules() -> Vec<Case> {
    let stays = "a revoked share stays revoked: make another one";
    let kind = "credentials.type is immutable: make another share";
    let label = "metadata.name must be a DNS label (no dots): it is part of names that the partner sees";
    let after = "notAfter must lie after notBefore";
    let quota = "name at least one quota";
    let (every, overlap) = ("every must be at least 1m", "overlap must be shorter than every");
    let change = |spec: &str| object("ExternalShare", "{owner}", "shared", &format!("spec: {{{spec}}}"));
    let rotating = |rotation: &str| share(&format!("credentials: {{rotation: {{{rotation}}}}}"));
    let valid = |validity: &str| share(&format!("validity: {{{validity}}}"));
    [
        about(
            stays,
            [
                ("another reason", Owner, Patch, change("revoke: {reason: breach}"), Accepted),
                ("a revoked share comes back", Owner, Patch, change("revoke: null"), Refused(stays)),
            ],
        ),
        about(
            kind,
            [
                ("the same kind of credential", Owner, Patch, change("credentials: {type: ScramSha512}"), Accepted),
                ("another kind of credential", Owner, Patch, change("credentials: {type: Mtls}"), Refused(kind)),
            ],
        ),
        about(
            label,
            [
                ("a name that is a label", Owner, Create, share(""), Accepted),
                (
                    "a name with a dot",
                    Owner,
                    Create,
                    share_named("a.b", "validity: {notAfter: 2099-01-01T00:00:00Z}"),
                    Refused(label),
                ),
            ],
        ),
        about(
            after,
            [
                (
                    "an end after the beginning",
                    Owner,
                    Create,
                    valid("notBefore: 2098-01-01T00:00:00Z, notAfter: 2099-01-01T00:00:00Z"),
                    Accepted,
                ),
                (
                    "an end before it",
                    Owner,
                    Create,
                    valid("notBefore: 2099-01-01T00:00:00Z, notAfter: 2098-01-01T00:00:00Z"),
                    Refused(after),
                ),
                ("no end", Owner, Create, valid("notBefore: 2099-01-01T00:00:00Z"), Refused("notAfter")),
            ],
        ),
        about(
            quota,
            [
                ("a quota", Owner, Create, share("quotas: {consumerByteRate: 1024}"), Accepted),
                ("quotas of nothing", Owner, Create, share("quotas: {}"), Refused(quota)),
            ],
        ),
        about(
            every,
            [
                ("every day", Owner, Create, rotating("every: 24h"), Accepted),
                ("every second", Owner, Create, rotating("every: 1s, overlap: 0s"), Refused(every)),
            ],
        ),
        about(
            overlap,
            [
                ("a short overlap", Owner, Create, rotating("every: 24h, overlap: 1h"), Accepted),
                ("a long overlap", Owner, Create, rotating("every: 1h, overlap: 24h"), Refused(overlap)),
            ],
        ),
    ]
    .concat()
}

fn product_names() -> Vec<Case> {
    let of = |name: &str| share("").replace("{name: orders}", &format!("{{name: '{name}'}}"));
    let label = Refused("spec.products[0].name in body should match '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'");
    let second = share("").replace("{name: orders}", "{name: orders}, {name: returns.eu}");
    about(
        "bounds of shared products",
        [
            ("a product of one letter", Owner, Create, of("p"), Accepted),
            ("a product with dashes in its name", Owner, Create, of("4-orders--eu"), Accepted),
            ("a product with a long name", Owner, Create, of(&"p".repeat(63)), Accepted),
            ("a product with capitals in its name", Owner, Create, of("Orders"), label),
            ("a product with a dot in its name", Owner, Create, of("orders.eu"), label),
            ("a product with a slash in its name", Owner, Create, of("other/orders"), label),
            ("a product with a line more in its name", Owner, Create, of("orders\\n").replace('\'', "\""), label),
            ("a product that begins with a dash", Owner, Create, of("-orders"), label),
            ("a product that ends with a dash", Owner, Create, of("orders-"), label),
            (
                "a second product with a dot in its name",
                Owner,
                Create,
                second,
                Refused("spec.products[1].name in body should match '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'"),
            ),
            (
                "a product with too long a name",
                Owner,
                Create,
                of(&"p".repeat(64)),
                Refused("spec.products[0].name: Too long: may not be more than 63 bytes"),
            ),
            (
                "a product with an empty name",
                Owner,
                Create,
                of(""),
                Refused("spec.products[0].name in body should be at least 1 chars long"),
            ),
        ],
    )
}

fn partner_rules() -> Vec<Case> {
    let label = "metadata.name must be a DNS label (no dots): it is part of names that the partner sees";
    let cidr = "each network is a CIDR, as 192.0.2.7/32 or 2001:db8::/48";
    let never = "an Invitation never changes: make another one";
    let partner =
        |name: &str, more: &str| object("Partner", "", name, &format!("spec: {{organisation: Acme, {more}}}"));
    let extend = object("Invitation", "{owner}", "invited", "spec: {expiresAt: '2100-01-01T00:00:00Z'}");
    let labels = object("Invitation", "{owner}", "invited", "spec: {}");
    let labels = labels.replace("metadata: {", "metadata: {labels: {a: b}, ");
    [
        about(
            label,
            [
                ("a partner with a label for a name", Platform, Create, partner("acme-eu", ""), Accepted),
                ("a partner with a dot in its name", Platform, Create, partner("acme.eu", ""), Refused(label)),
            ],
        ),
        about(
            cidr,
            [
                (
                    "networks",
                    Platform,
                    Create,
                    partner("admitted", "networks: ['192.0.2.7/32', '2001:db8::/48']"),
                    Accepted,
                ),
                (
                    "an address without its length",
                    Platform,
                    Create,
                    partner("admitted", "networks: ['192.0.2.7']"),
                    Refused(cidr),
                ),
                ("a name", Platform, Create, partner("admitted", "networks: [acme.example]"), Refused(cidr)),
            ],
        ),
        about(
            never,
            [
                ("an invitation is labelled", Root, Patch, labels, Accepted),
                ("an invitation is extended", Root, Patch, extend, Refused(never)),
            ],
        ),
        about(
            "RBAC",
            [
                ("an owner registers a partner", Owner, Create, partner("admitted", ""), Refused("is forbidden: User")),
                ("an editor shares", NamespaceEditor, Create, share(""), Refused("is forbidden: User")),
                ("an admin shares", NamespaceAdmin, Create, share(""), Accepted),
                ("a consumer shares", Consumer, Create, share(""), Refused("is forbidden: User")),
            ],
        ),
    ]
    .concat()
}

fn decision_rules() -> Vec<Case> {
    let itself = "a RoleBinding is decided about for a StreamRole, an ExternalShare for itself";
    let acceptance = "acceptance goes with side Consumer and decision Approved, and only with them";
    let sides = "of a RoleBinding only side Owner decides";
    let partner = "partnerRef goes with an ExternalShare, and only with one";
    let whose = "partners decide for side Consumer, and nobody else does";
    let scope = "the scope of a RoleBinding names subjects, that of an ExternalShare its pattern";
    let ours = || decision("Owner", "{me}", DENIED);
    let approved = format!("decision: Approved, {SCOPE}");
    let of_role =
        |rest: &str| about_what("RoleBinding", "StreamRole, name: reader", &format!("reviewer: '{{me}}', {rest}"));
    let partners = |rest: &str| decision("Consumer", "partner:acme", rest);
    [
        about(
            itself,
            [
                ("a share for itself", Owner, Create, ours(), Accepted),
                (
                    "a share for another",
                    Owner,
                    Create,
                    ours().replace("ExternalShare, name: shared}", "ExternalShare, name: other}"),
                    Refused(itself),
                ),
                (
                    "a share for a role",
                    Owner,
                    Create,
                    ours().replace("targetRef: {kind: ExternalShare", "targetRef: {kind: StreamRole"),
                    Refused(itself),
                ),
            ],
        ),
        about(
            acceptance,
            [
                ("a partner accepts", Partners, Create, partners(&accepted()), Accepted),
                ("a partner accepts without a key", Partners, Create, partners(&approved), Refused(acceptance)),
                (
                    "an owner approves with a key",
                    Owner,
                    Create,
                    decision("Owner", "{me}", &accepted()),
                    Refused(acceptance),
                ),
            ],
        ),
        about(
            sides,
            [
                ("an owner decides about a binding", Owner, Create, of_role(DENIED), Accepted),
                (
                    "the security team decides about a binding",
                    Owner,
                    Create,
                    of_role(&format!("side: Security, {DENIED}")),
                    Refused(sides),
                ),
            ],
        ),
        about(
            partner,
            [
                ("about one partner", Owner, Create, ours(), Accepted),
                (
                    "about no partner",
                    Owner,
                    Create,
                    ours().replace("partnerRef: {name: acme, uid: p}, ", ""),
                    Refused(partner),
                ),
                (
                    "about a binding's partner",
                    Owner,
                    Create,
                    of_role(&format!("partnerRef: {{name: acme, uid: p}}, {DENIED}")),
                    Refused(partner),
                ),
            ],
        ),
        about(
            whose,
            [
                ("a partner rejects", Partners, Create, partners(DENIED), Accepted),
                (
                    "a partner decides for the owner",
                    Partners,
                    Create,
                    decision("Owner", "partner:acme", DENIED),
                    Refused(whose),
                ),
                ("somebody decides for a partner", Owner, Create, decision("Consumer", "{me}", DENIED), Refused(whose)),
            ],
        ),
        about(
            scope,
            [
                ("approved within a scope", Owner, Create, decision("Owner", "{me}", &approved), Accepted),
                (
                    "approved without a pattern",
                    Owner,
                    Create,
                    decision("Owner", "{me}", &approved.replace("pattern: Direct, ", "")),
                    Refused(scope),
                ),
            ],
        ),
    ]
    .concat()
}

/// Of the policies.
pub fn cases() -> Vec<Case> {
    let partners = "what a partner decides is written by Weir's partner API alone, and stays";
    let may_not = Refused("may not decide for Partner acme");
    let inviter = "the inviter is whoever makes the invitation";
    let invite = "to invite takes the verb invite on the ExternalShare";
    let right = "a decision takes the verb approve, or approve-security, on what it is about";
    let by_partner = || decision("Consumer", "partner:acme", DENIED);
    let security = || decision("Security", "{me}", DENIED);
    let stored = || object("AccessApproval", "{owner}", "by-partner", "spec: {}");
    [
        about(
            partners,
            [
                ("a partner decides", Partners, Create, by_partner(), Accepted),
                ("an owner decides for it", Owner, Create, by_partner(), may_not),
                ("a tenant decides for it", Tenant, Create, by_partner(), may_not),
                ("the administrator decides for it", Root, Create, by_partner(), may_not),
                ("an owner takes back what it decided", Owner, Delete, stored(), may_not),
                ("the administrator takes it back", Root, Delete, stored(), may_not),
                (
                    "the partner API decides for an owner",
                    Partners,
                    Create,
                    decision("Owner", "{me}", DENIED),
                    Refused("takes the verb approve on"),
                ),
            ],
        ),
        about(
            right,
            [
                ("an owner decides about a share", Owner, Create, decision("Owner", "{me}", DENIED), Accepted),
                ("the security team decides about a share", Security, Create, security(), Accepted),
                (
                    "an owner decides for the security team",
                    Owner,
                    Create,
                    security(),
                    Refused("takes the verb approve-security on externalshares.weir.dev"),
                ),
                (
                    "the security team decides for an owner",
                    Security,
                    Create,
                    decision("Owner", "{me}", DENIED),
                    Refused("takes the verb approve on externalshares.weir.dev"),
                ),
                (
                    "a viewer who may make approvals, but not approve",
                    Viewer,
                    Create,
                    decision("Owner", "{me}", DENIED),
                    Refused("takes the verb approve on externalshares.weir.dev"),
                ),
            ],
        ),
        about(
            inviter,
            [
                ("an owner invites", Owner, Create, invitation("new", "{me}"), Accepted),
                (
                    "an owner invites in another's name",
                    Owner,
                    Create,
                    invitation("new", "alice"),
                    Refused("kubectl weir invite writes it as it should be"),
                ),
            ],
        ),
        about(
            invite,
            [
                ("an owner invites to its share", Owner, Create, invitation("new", "{me}"), Accepted),
                (
                    "who may make invitations, but not invite",
                    Viewer,
                    Create,
                    invitation("new", "{me}"),
                    Refused("takes the verb invite on externalshares.weir.dev"),
                ),
            ],
        ),
    ]
    .concat()
}

/// A partner's decision, for the cases to take back.
pub fn by_partner() -> String {
    decision("Consumer", "partner:acme", DENIED).replace("name: 'new'", "name: 'by-partner'")
}
