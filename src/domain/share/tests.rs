//! Who has to agree to a share, what it then gives, and what ends it.

use super::Guest;
use crate::api::{Reason, Side};
use crate::domain::index::Update;
use crate::domain::names::guest_key;
use crate::domain::testing::{World, guest_record, key, principal_of_guest, uid};

const SHARE: &str = "payments/out";
const PLACED: &str = "{product: orders, stream: placed, access: [Read]}";
const PAID: &str = "{product: orders, stream: paid, access: [Read]}";

/// `payments` shares `orders`, which is Public, with acme; eve made the share.
fn world() -> World {
    let mut world = World::payments();
    world.index.apply(Update::ApprovalsEnforced(true), world.now);
    classify(&mut world, "Public");
    world.put("{kind: Partner, metadata: {name: acme}, spec: {organisation: Acme}}");
    share(&mut world, "");
    world
}

fn classify(world: &mut World, classification: &str) {
    let mut product = serde_json::to_value(world.index.product(&key("payments/orders")).unwrap()).unwrap();
    product["spec"]["classification"] = classification.into();
    world.put(&serde_yaml::to_string(&product).unwrap());
}

fn share(world: &mut World, more: &str) {
    let validity = if more.contains("validity") { "" } else { "validity: {notAfter: 2026-12-01T00:00:00Z}," };
    world.put(&format!(
        "
kind: ExternalShare
metadata: {{namespace: payments, name: out, annotations: {{weir.dev/requesters: eve}}}}
spec: {{products: [{{name: orders}}], partnerRefs: [{{name: acme}}], pattern: Direct, {validity} {more}}}
"
    ));
}

/// What `side` says of the share with acme.
fn decide(world: &mut World, name: &str, side: &str, rest: &str) {
    let (share, partner) = (uid("ExternalShare payments/out"), uid("Partner /acme"));
    let reviewer = match side {
        _ if rest.contains("reviewer") => "",
        "Consumer" => "reviewer: 'partner:acme',",
        _ => "reviewer: olga,",
    };
    world.put(&format!(
        "
kind: AccessApproval
metadata: {{namespace: payments, name: {name}}}
spec:
  {{requestRef: {{kind: ExternalShare, namespace: payments, name: out, uid: {share}}}, side: {side}, {reviewer}
    targetRef: {{kind: ExternalShare, name: out}}, partnerRef: {{name: acme, uid: {partner}}}, {rest}}}
"
    ));
}

fn approve(world: &mut World, name: &str, side: &str, streams: &str) {
    approve_with(world, name, side, &format!("streams: [{streams}]"));
}

fn approve_with(world: &mut World, name: &str, side: &str, scope: &str) {
    let acceptance =
        if side == "Consumer" { "acceptance: {invitation: i, publicKeyHash: h, recipient: age1}," } else { "" };
    decide(world, name, side, &format!("decision: Approved, {acceptance} scope: {{pattern: Direct, {scope}}}"));
}

/// The owner approves both streams, acme accepts them, and has its first credential.
fn agreed() -> World {
    let mut world = world();
    agree(&mut world);
    world
}

fn agree(world: &mut World) {
    approve(world, "owner", "Owner", &format!("{PLACED}, {PAID}"));
    approve(world, "acme", "Consumer", &format!("{PLACED}, {PAID}"));
    world.commit([guest_record(SHARE, "acme", &[(1, false)])]);
}

fn guest(world: &World) -> Guest {
    world.index.guest(&guest_key(&key(SHARE), "acme")).unwrap().clone()
}

fn topics(world: &World) -> Vec<String> {
    let entries = world.entries(&principal_of_guest(SHARE, "acme", 1));
    entries.iter().filter_map(|e| e.strip_prefix("Topic:Literal:payments.orders.").map(str::to_owned)).collect()
}

fn reasons(world: &World) -> Vec<Reason> {
    guest(world).resolution.problems.iter().map(|p| p.reason).collect()
}

#[test]
fn whom_another_cluster_knows_is_given_nothing_here() {
    let mut world = world();
    let elsewhere = vec![guest_record(SHARE, "acme", &[(1, false)])];
    world.index.apply(Update::Committed("elsewhere".into(), elsewhere), world.now);
    approve(&mut world, "owner", "Owner", &format!("{PLACED}, {PAID}"));
    approve(&mut world, "acme", "Consumer", &format!("{PLACED}, {PAID}"));
    assert_eq!(reasons(&world), [Reason::SeveralClusters]);
    assert!(guest(&world).client.is_none() && guest(&world).resolution.grants.is_empty());
    // What that cluster forgets is not forgotten here.
    let mut world = agreed();
    let forgotten = vec![guest_record(SHARE, "acme", &[])];
    world.index.apply(Update::Committed("elsewhere".into(), forgotten), world.now);
    assert_eq!(topics(&world), BOTH);
}

const BOTH: [&str; 2] = ["paid:Read", "placed:Read"];

#[test]
fn a_partner_reads_once_the_owner_approved_and_it_accepted() {
    let mut world = world();
    assert_eq!(reasons(&world), [Reason::AwaitingApproval]);
    assert_eq!(guest(&world).awaits, [Side::Owner, Side::Consumer].into());
    approve(&mut world, "owner", "Owner", &format!("{PLACED}, {PAID}"));
    assert_eq!(reasons(&world), [Reason::AwaitingAcceptance]);
    assert!(guest(&world).client.is_none(), "an identity comes with the acceptance");
    approve(&mut world, "acme", "Consumer", &format!("{PLACED}, {PAID}"));
    assert!(guest(&world).client.is_some());
    assert!(guest(&world).resolution.grants.is_empty(), "no version was issued yet");
    world.commit([guest_record(SHARE, "acme", &[(1, false)])]);
    assert_eq!(topics(&world), BOTH);
    assert_eq!(reasons(&world), []);
    let product = key("payments/orders");
    assert_eq!((world.index.shares_of_product(&product), world.index.bindings_of_product(&product)), (1, 0));
    let entries = world.entries(&principal_of_guest(SHARE, "acme", 1));
    let group = format!("Group:Prefixed:{}:Read", guest(&world).group_prefix);
    assert_eq!(entries.len(), 3);
    assert!(entries.contains(&group), "{entries:?}");
}

#[test]
fn everybody_has_to_agree_to_a_stream() {
    let mut world = world();
    approve(&mut world, "owner", "Owner", PLACED);
    approve(&mut world, "acme", "Consumer", &format!("{PLACED}, {PAID}"));
    world.commit([guest_record(SHARE, "acme", &[(1, false)])]);
    assert_eq!(topics(&world), ["placed:Read"]);
    assert_eq!(guest(&world).awaited, [("orders".to_owned(), "paid".to_owned())].into());
    approve(&mut world, "owner-2", "Owner", PAID);
    assert_eq!(topics(&world), BOTH);
    share(&mut world, "approvals: [Owner, Security]");
    assert_eq!(topics(&world), [""; 0], "another side has a say now");
    approve(&mut world, "security", "Security", PAID);
    assert_eq!(topics(&world), ["paid:Read"]);
    share(&mut world, "approvals: []");
    assert_eq!(topics(&world), BOTH, "the partner always has one");
}

#[test]
fn what_is_agreed_holds_to_its_own_end_while_more_waits() {
    let mut world = world();
    let until = |at: &str| format!("notAfter: {at}, streams: [{PLACED}, {PAID}]");
    approve_with(&mut world, "owner", "Owner", &until("2026-07-01T00:00:00Z"));
    approve_with(&mut world, "acme", "Consumer", &until("2026-12-01T00:00:00Z"));
    world.commit([guest_record(SHARE, "acme", &[(1, false)])]);
    let at = |text: &str| text.parse::<jiff::Timestamp>().unwrap();
    assert_eq!((topics(&world), reasons(&world)), (BOTH.map(str::to_owned).to_vec(), vec![]));
    assert_eq!(guest(&world).ends_at, Some(at("2026-07-01T00:00:00Z")));
    assert_eq!(guest(&world).renewal, Some((at("2026-12-01T00:00:00Z"), [Side::Owner].into())));
    approve_with(&mut world, "owner-2", "Owner", &until("2026-12-01T00:00:00Z"));
    assert_eq!((guest(&world).ends_at, guest(&world).renewal), (Some(at("2026-12-01T00:00:00Z")), None));
}

#[test]
fn nobody_approves_what_they_ask_for_and_nobody_for_another_share_or_partner() {
    let both = format!("decision: Approved, scope: {{pattern: Direct, streams: [{PLACED}, {PAID}]}}");
    for other in [
        format!("{both}, reviewer: eve"),
        both.replace("scope: {", "scope: {purpose: research, "),
        both.replace("scope: {", "scope: {notAfter: 2026-01-02T00:00:00Z, "),
    ] {
        let mut world = agreed();
        decide(&mut world, "owner", "Owner", &other);
        assert_eq!(topics(&world), [""; 0], "{other}");
    }
    let mut world = agreed();
    world.put("{kind: Partner, metadata: {name: acme, uid: another}, spec: {organisation: Acme}}");
    assert_eq!(reasons(&world), [Reason::AwaitingApproval], "a partner made anew is another one");
    assert!(world.principals().is_empty());
    let mut world = agreed();
    world.put(
        "{kind: ExternalShare, metadata: {namespace: payments, name: out}, spec: {products: [{name: orders}], \
               partnerRefs: [{name: acme}], pattern: Direct, validity: {notAfter: 2026-12-01T00:00:00Z}}}",
    );
    assert_eq!(reasons(&world), [Reason::RequesterUnknown]);
    let mut world = agreed();
    world.index.apply(Update::ApprovalsEnforced(false), world.now);
    assert_eq!(reasons(&world), [Reason::ApprovalsNotEnforced]);
    assert!(world.principals().is_empty());
}

#[test]
fn what_is_against_it_takes_the_identity_too() {
    for (side, decision, reason) in [
        ("Owner", "Denied", Reason::Denied),
        ("Owner", "Revoked", Reason::Revoked),
        ("Security", "Denied", Reason::Denied),
        ("Consumer", "Denied", Reason::Rejected),
        ("Consumer", "Revoked", Reason::Revoked),
    ] {
        let mut world = agreed();
        decide(&mut world, "against", side, &format!("decision: {decision}, reason: because"));
        assert_eq!(reasons(&world), [reason], "{side} {decision}");
        assert!(guest(&world).resolution.problems[0].message.ends_with(": because"));
        assert!(guest(&world).client.is_none() && world.principals().is_empty());
    }
    let mut world = agreed();
    share(&mut world, "revoke: {reason: breach}");
    assert_eq!(reasons(&world), [Reason::Revoked]);
    assert!(guest(&world).client.is_none() && world.principals().is_empty());
}

#[test]
fn what_stops_it_for_a_while_leaves_the_identity() {
    let quarantine = |world: &mut World, standing: &str| {
        world.put(&format!(
            "{{kind: Partner, metadata: {{name: acme}}, spec: {{organisation: Acme, standing: {standing}}}}}"
        ));
    };
    let mut world = agreed();
    quarantine(&mut world, "Quarantined");
    assert_eq!(reasons(&world), [Reason::Quarantined]);
    assert!(guest(&world).client.is_some() && world.principals().is_empty());
    quarantine(&mut world, "Active");
    assert_eq!(topics(&world), BOTH);
    share(&mut world, "suspended: true");
    assert_eq!(reasons(&world), [Reason::Suspended]);
    assert!(guest(&world).client.is_some() && world.principals().is_empty());
    share(&mut world, "");
    assert_eq!(topics(&world), BOTH);
    classify(&mut world, "Private");
    assert_eq!(reasons(&world), [Reason::ClassificationForbidsPattern]);
    assert!(guest(&world).client.is_some() && world.principals().is_empty());
}

#[test]
fn it_begins_and_ends_by_itself() {
    let mut world = world();
    share(&mut world, "validity: {notBefore: 2026-06-01T02:00:00Z, notAfter: 2026-06-01T06:00:00Z}");
    agree(&mut world);
    assert_eq!(reasons(&world), [Reason::NotYetValid]);
    assert!(guest(&world).client.is_some() && world.principals().is_empty(), "its credential can be fetched before");
    world.pass(2);
    assert_eq!(topics(&world), BOTH);
    assert_eq!(guest(&world).ends_at, Some("2026-06-01T06:00:00Z".parse().unwrap()));
    world.pass(3);
    assert_eq!(topics(&world), BOTH);
    world.pass(1);
    assert_eq!(reasons(&world), [Reason::Expired]);
    assert!(guest(&world).client.is_none() && world.principals().is_empty());
}

#[test]
fn a_renewal_waits_for_approval_while_what_was_approved_runs_to_its_end() {
    let mut world = world();
    let until = |end: &str| format!("notAfter: {end}, streams: [{PLACED}, {PAID}]");
    share(&mut world, "validity: {notAfter: 2026-06-01T04:00:00Z}");
    approve_with(&mut world, "owner", "Owner", &until("2026-06-01T04:00:00Z"));
    approve(&mut world, "acme", "Consumer", &format!("{PLACED}, {PAID}"));
    world.commit([guest_record(SHARE, "acme", &[(1, false)])]);
    share(&mut world, "validity: {notAfter: 2026-07-01T00:00:00Z}");
    assert_eq!(topics(&world), BOTH);
    assert_eq!(guest(&world).ends_at, Some("2026-06-01T04:00:00Z".parse().unwrap()));
    let mut renewed = agreed();
    world.pass(4);
    assert_eq!(reasons(&world), [Reason::AwaitingApproval]);
    assert!(guest(&world).client.is_none() && world.principals().is_empty());
    approve_with(&mut renewed, "more", "Owner", &until("2026-07-01T00:00:00Z"));
    renewed.pass(4);
    assert_eq!(topics(&renewed), BOTH);
}

#[test]
fn it_ends_with_the_last_agreement() {
    let mut world = agreed();
    world.put(
        "{kind: Partner, metadata: {name: acme}, spec: {organisation: Acme, agreements: [\
         {name: a, notAfter: 2026-06-01T01:00:00Z}, {name: b, notAfter: 2026-06-01T03:00:00Z}]}}",
    );
    world.pass(2);
    assert_eq!(topics(&world), BOTH);
    world.pass(1);
    assert_eq!(reasons(&world), [Reason::Expired]);
}

#[test]
fn single_addresses_are_hosts_and_ranges_are_not() {
    for (networks, hosts) in [
        ("[192.0.2.7/32, '2001:db8::1/128']", &["192.0.2.7", "2001:db8:0:0:0:0:0:1"][..]),
        ("[192.0.2.0/24]", &["*"]),
        ("[192.0.2.7/32, 198.51.100.0/24]", &["*"]),
        ("[]", &["*"]),
    ] {
        let mut world = agreed();
        world.put(&format!(
            "{{kind: Partner, metadata: {{name: acme}}, spec: {{organisation: Acme, networks: {networks}}}}}"
        ));
        let desired = world.desired(&principal_of_guest(SHARE, "acme", 1));
        let got: std::collections::BTreeSet<_> = desired.entries.iter().map(|e| &*e.host).collect();
        assert_eq!(got, hosts.iter().copied().collect(), "{networks}");
    }
}

#[test]
fn what_it_cannot_give_is_told_and_takes_nothing_from_the_rest() {
    let mut world = agreed();
    world.put("{kind: ExternalShare, metadata: {namespace: payments, name: out, annotations: {weir.dev/requesters: eve}}, spec: \
               {products: [{name: orders, streams: [placed, lost]}, {name: gone}], partnerRefs: [{name: acme}], pattern: Direct, \
               validity: {notAfter: 2026-12-01T00:00:00Z}}}");
    assert_eq!(reasons(&world), [Reason::ProductNotFound, Reason::StreamNotFound]);
    assert_eq!(topics(&world), ["placed:Read"]);
}
