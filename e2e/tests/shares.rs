//! Products for other organisations: run by `make test`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod harness;

use std::sync::Arc;
use std::time::Duration;

use harness::brokers::{Login, groups, reads, topic_entry};
use harness::contracts::valid;
use harness::install::PARTNERS_HOST;
use harness::network::Reach;
use harness::other_kafka::OtherKafka;
use harness::records::{commit, numbered, write};
use harness::sharing::{Outside, Sharing};
use harness::shell::{kubectl, run, try_run};
use harness::{Harness, NAMESPACE, SOON, Tenant, until};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use weir::api::{
    Action, ActorType, DataProduct, Decision, ExternalShare, GroupUsage, Outcome, Partner, Proven, Reason, SharePhase,
    StreamCluster,
};
use weir::domain::acl::Operation;
use weir::ports::ProbeOutcome;
use weir::sealing::new_identity;
use weir::tls::Versions;
use weir_e2e::lab::holder::PARTNER;

/// Usage is looked at twice a minute.
const LONG: Duration = Duration::from_secs(120);

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_partner_reads_what_was_approved_and_accepted_until_it_is_revoked() {
    let s = Sharing::begin().await;
    s.ask("").await;
    s.phase(SharePhase::PendingApproval, Reason::AwaitingApproval).await;
    let asked = &s.owner.told(Action::AccessRequested, 1).await[0].spec;
    assert_eq!((asked.actor.type_, &*asked.actor.name), (ActorType::User, "eve"), "{asked:#?}");
    assert_eq!(asked.requested_by, ["eve"]);
    s.decide("approve", &["--reason", "the contract of May"]).await;
    s.phase(SharePhase::Invited, Reason::AwaitingAcceptance).await;
    s.accept().await;
    let shared = s.phase(SharePhase::Active, Reason::Ready).await;
    let principal = shared.principal.unwrap();
    let prefix = shared.group_prefix.unwrap();
    let both = [reads(&principal, &s.topic("placed")), reads(&principal, &s.topic("refunded"))];
    s.h.brokers.show(&principal, both.into_iter().chain([groups(&principal, &prefix)])).await;
    let login = s.fetch().await;
    s.h.brokers.let_fetch(&login, &s.topic("placed"), ProbeOutcome::Allowed).await;
    let again = s.partner("", &["credential", "--output", "/nowhere-that-is-used"]).await.unwrap_err();
    assert!(again.contains("is handed out once"), "{again}");
    let contract = s.partner("", &["contract"]).await.unwrap();
    let olga = ["weir", "--as", "olga", "--namespace", &s.owner.name, "contract", "out", "--partner", &s.who.partner];
    assert_eq!(kubectl(&olga).await.trim(), contract.trim(), "both sides see the same");
    let contract = valid(&contract);
    assert_eq!(contract["schema"][0]["physicalName"], s.topic("placed"));
    assert_eq!(contract["servers"][0]["host"], login.bootstrap_servers.join(","));
    let listed = s.partner("", &["shares"]).await.unwrap();
    assert!(listed.contains("Active") && listed.contains(&s.topic("placed")), "{listed}");
    usage_is_seen(&s, &login).await;
    s.decide("revoke", &["--reason", "breach"]).await;
    let ended = s.phase(SharePhase::Revoked, Reason::Revoked).await;
    let end = ended.revocation.unwrap();
    let steps = [&end.access_removed_at, &end.fetch_denied_at, &end.credentials_removed_at, &end.login_refused_at];
    assert!(end.proven == Proven::LoginRefused && steps.iter().all(|at| at.is_some()), "{end:#?}");
    let brokers: Vec<_> = s.h.brokers.ids().await.unwrap().iter().map(ToString::to_string).collect();
    let said = format!("broker {} denied a fetch of every topic", brokers.join(", "));
    assert!(end.evidence.as_ref().is_some_and(|evidence| evidence.starts_with(&said)), "{end:#?}");
    assert_eq!(s.h.brokers.entries(&principal).await, Ok([].into()));
    assert_eq!(s.h.brokers.users(&principal).await, Ok([].into()));
    assert_eq!(s.h.brokers.fetch(&login, &s.topic("placed")).await, Ok(ProbeOutcome::LoginRefused));
    for action in [
        Action::ShareAccepted,
        Action::CredentialIssued,
        Action::CredentialFetched,
        Action::ShareStarted,
        Action::AccessRevoked,
        Action::CredentialRevoked,
        Action::RevocationProbed,
        Action::ShareEnded,
    ] {
        s.owner.told(action, 1).await;
    }
    let evidence = run("weir", &["audit", "evidence", "-n", &s.owner.name, "externalshare/out"]).await;
    let what = reads(&principal, &s.topic("placed"));
    for word in [
        "AccessRequested  by eve",
        "RequestApproved  by olga",
        "the contract of May",
        &what,
        "LoginRefused",
        "is proven",
    ] {
        assert!(evidence.contains(word), "{evidence} lacks {word}");
    }
    // Taken back, it goes on with another principal: that one is never used again.
    s.take_back(Decision::Revoked).await;
    let shared = s.phase(SharePhase::Active, Reason::Ready).await;
    assert_ne!(shared.principal.as_ref(), Some(&principal));
    assert_eq!(shared.revocation, None);
    s.h.brokers.let_fetch(&s.fetch().await, &s.topic("placed"), ProbeOutcome::Allowed).await;
    s.end().await;
}

/// The partner's group reads 7 of 10 records, and both sides see it.
async fn usage_is_seen(s: &Sharing, login: &Login) {
    let usage = || async {
        let partner = s.is_in(SharePhase::Active, Reason::Ready).await?;
        let group = format!("{}reader", partner.group_prefix.unwrap_or_default());
        Ok::<_, String>((group, partner.usage.ok_or("nobody looked")?))
    };
    let topic = s.topic("placed");
    write(&s.h.brokers.login(), &topic, 0, &numbered("order", 10), None);
    let (group, before) = until(LONG, &[&s.owner.name], "a first look", usage).await;
    assert_eq!((before.records, before.groups.as_slice()), (0, [].as_slice()));
    commit(login, &group, &topic, 0, 7);
    let read = GroupUsage { name: group, records: 7, lag_records: 3 };
    until(LONG, &[&s.owner.name], "7 of 10 are read", || async {
        let (_, seen) = usage().await?;
        let all = (seen.records, seen.lag_records, seen.groups.as_slice()) == (7, 3, [read.clone()].as_slice());
        if all && seen.last_read_at.is_some() { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
    let listed = s.partner("", &["shares"]).await.unwrap();
    assert!(listed.contains("7 since "), "{listed}");
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_share_stops_for_a_while_and_ends_by_itself() {
    let s = Sharing::begin().await;
    s.ask("").await;
    s.phase(SharePhase::PendingApproval, Reason::AwaitingApproval).await;
    s.decide("approve", &[]).await;
    s.phase(SharePhase::Invited, Reason::AwaitingAcceptance).await;
    s.accept().await;
    let principal = s.phase(SharePhase::Active, Reason::Ready).await.principal.unwrap();
    let login = s.fetch().await;
    for (stop, go, reason) in
        [("suspended: true", "", Reason::Suspended), ("Quarantined", "Active", Reason::Quarantined)]
    {
        if reason == Reason::Quarantined {
            s.stand(stop).await
        } else {
            s.ask(stop).await
        }
        s.phase(SharePhase::Suspended, reason).await;
        assert_eq!(s.h.brokers.entries(&principal).await, Ok([].into()));
        assert_eq!(s.h.brokers.fetch(&login, &s.topic("placed")).await, Ok(ProbeOutcome::Denied));
        if reason == Reason::Quarantined {
            s.stand(go).await
        } else {
            s.ask(go).await
        }
        s.phase(SharePhase::Active, Reason::Ready).await;
        s.h.brokers.let_fetch(&login, &s.topic("placed"), ProbeOutcome::Allowed).await;
    }
    // Somebody lets everybody read: that Weir's entries are gone does not keep the partner out.
    let everybody = topic_entry("*", Operation::Read, &s.topic("placed"));
    s.h.brokers.add(everybody.clone()).await;
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(8);
    s.ask(&format!("validity: {{notAfter: '{soon:.0}'}}")).await;
    let end = s.phase(SharePhase::Expired, Reason::Expired).await.revocation.unwrap();
    assert_eq!(s.h.brokers.entries(&principal).await, Ok([].into()));
    assert_eq!(s.h.brokers.fetch(&login, &s.topic("placed")).await, Ok(ProbeOutcome::LoginRefused));
    assert_eq!((end.fetch_denied_at, end.proven), (None, Proven::LoginRefused));
    assert!(end.evidence.as_ref().is_some_and(|e| e.contains("let it read")), "{:?}", end.evidence);
    let probed = s.owner.told(Action::RevocationProbed, 1).await;
    assert_eq!(probed[0].spec.outcome, Outcome::Failure, "{probed:?}");
    s.h.brokers.take_away(everybody).await;
    s.end().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn what_is_not_public_is_not_shared_directly_and_nobody_approves_for_themselves() {
    let s = Sharing::begin().await;
    s.ask("").await;
    s.phase(SharePhase::PendingApproval, Reason::AwaitingApproval).await;
    let eve =
        ["weir", "--as", "eve", "--namespace", &s.owner.name, "approve", "--share", "out", "--partner", &s.who.partner];
    kubectl(&eve).await;
    s.accept().await;
    s.phase(SharePhase::PendingApproval, Reason::AwaitingApproval).await;
    s.decide("approve", &[]).await;
    let principal = s.phase(SharePhase::Active, Reason::Ready).await.principal.unwrap();
    s.owner.patch::<DataProduct>("orders", json!({"spec": {"classification": "Private"}})).await;
    s.phase(SharePhase::Suspended, Reason::ClassificationForbidsPattern).await;
    assert_eq!(s.h.brokers.entries(&principal).await, Ok([].into()));
    s.end().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn an_invitation_is_answered_once_by_whoever_has_the_newest() {
    let s = Sharing::begin().await;
    s.ask("").await;
    s.phase(SharePhase::PendingApproval, Reason::AwaitingApproval).await;
    s.decide("approve", &[]).await;
    s.phase(SharePhase::Invited, Reason::AwaitingAcceptance).await;
    let first = s.invite().await;
    let terms = until(SOON, &[], "the partner looks", || s.partner(&first, &["look"])).await;
    for word in ["out", "Acme", "orders", "placed, refunded", "Direct"] {
        assert!(terms.contains(word), "{terms} lacks {word}");
    }
    let void = "unknown, expired, answered, or replaced";
    let contract = valid(&s.partner(&first, &["contract"]).await.unwrap());
    assert_eq!((&contract["status"], &contract["servers"]), (&json!("proposed"), &json!(null)));
    let guessed = s.partner("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", &["look"]).await.unwrap_err();
    assert!(guessed.contains(void), "{guessed}");
    let second = s.invite().await;
    until(SOON, &[], "the first is void", || async {
        match s.partner(&first, &["look"]).await {
            Err(why) if why.contains(void) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    until(SOON, &[], "the partner accepts", || s.partner(&second, &["accept", "--yes"])).await;
    // The same keys again: as when the answer was lost.
    s.partner(&second, &["accept", "--yes"]).await.unwrap();
    std::fs::rename(s.who.home.join("keys"), s.who.home.join("kept")).unwrap();
    let stolen = s.partner(&second, &["accept", "--yes"]).await.unwrap_err();
    assert!(stolen.contains(void), "{stolen}");
    let other = rcgen::generate_simple_self_signed(["other".to_owned()]).unwrap();
    std::fs::create_dir(s.who.home.join("keys")).unwrap();
    for (name, text) in [
        ("tls.crt", other.cert.pem()),
        ("tls.key", other.signing_key.serialize_pem()),
        ("identity.age", new_identity().0.expose().to_owned()),
    ] {
        std::fs::write(s.who.home.join("keys").join(name), text).unwrap();
    }
    let stolen = s.partner(&second, &["accept", "--yes"]).await.unwrap_err();
    assert!(stolen.contains(void), "{stolen}");
    let others = s.partner("", &["shares", "--json"]).await.unwrap();
    assert_eq!(others.trim(), "[]", "another's keys show nothing");
    std::fs::remove_dir_all(s.who.home.join("keys")).unwrap();
    std::fs::rename(s.who.home.join("kept"), s.who.home.join("keys")).unwrap();
    let principal = s.phase(SharePhase::Active, Reason::Ready).await.principal.unwrap();
    let old = s.fetch().await;
    s.partner("", &["rotate"]).await.unwrap();
    s.owner
        .until("another version", || async {
            let share = s.owner.get::<ExternalShare>("out").await.unwrap();
            let now = share.status.unwrap().partners.remove(0).principal;
            if now.as_ref() == Some(&principal) { Err(format!("{now:?}")) } else { Ok(()) }
        })
        .await;
    let new = s.fetch().await;
    for login in [&old, &new] {
        s.h.brokers.let_fetch(login, &s.topic("placed"), ProbeOutcome::Allowed).await;
    }
    it_is_renewed(&s).await;
    s.partner("", &["withdraw", "--reason", "we are done"]).await.unwrap();
    let ended = s.phase(SharePhase::Revoked, Reason::Revoked).await;
    assert!(
        ended.message.contains("withdrawn by partner:") && ended.message.ends_with(": we are done"),
        "{}",
        ended.message
    );
    for login in [&old, &new] {
        assert_eq!(s.h.brokers.fetch(login, &s.topic("placed")).await, Ok(ProbeOutcome::LoginRefused));
    }
    s.end().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_partner_may_say_no() {
    let s = Sharing::begin().await;
    s.ask("").await;
    s.phase(SharePhase::PendingApproval, Reason::AwaitingApproval).await;
    s.decide("approve", &[]).await;
    s.phase(SharePhase::Invited, Reason::AwaitingAcceptance).await;
    let invitation = s.invite().await;
    until(SOON, &[], "the partner rejects", || s.partner(&invitation, &["reject", "--reason", "not yet"])).await;
    let rejected = s.phase(SharePhase::Rejected, Reason::Rejected).await;
    assert!(rejected.message.contains("not yet"), "{}", rejected.message);
    let told = s.owner.told(Action::ShareRejected, 1).await.remove(0);
    assert_eq!(told.spec.actor.type_, ActorType::Partner);
    assert!(s.partner(&invitation, &["accept", "--yes"]).await.is_err());
    let evidence = run("weir", &["audit", "evidence", "-n", &s.owner.name, "externalshare/out"]).await;
    for word in ["RequestApproved  by olga", "ShareInvited  by olga", "ShareRejected", "not yet", "is proven"] {
        assert!(evidence.contains(word), "{evidence} lacks {word}");
    }
    s.end().await;
}

/// It is to last for longer, to which everybody has to agree; until then it goes on as agreed.
async fn it_is_renewed(s: &Sharing) {
    s.ask("validity: {notAfter: 2099-06-01T00:00:00Z}").await;
    let requests = ["--as", "olga", "--namespace", &s.owner.name, "requests"];
    let waits = async |is_waiting: bool, words: &str| {
        s.owner
            .until(words, || async {
                let share = s.owner.get::<ExternalShare>("out").await.ok_or("no share")?;
                let status = share.status.unwrap_or_default();
                let says = status.conditions.iter().any(|c| c.status == "True" && c.message.contains(words));
                let listed = kubectl(&[&["weir"], &requests[..]].concat()).await.contains("/out");
                let holds = (says, listed) == (is_waiting, is_waiting) && status.phase == Some(SharePhase::Active);
                if holds { Ok(()) } else { Err(format!("{listed} {status:#?}")) }
            })
            .await;
    };
    waits(true, "lasting until 2099-06-01T00:00:00Z waits for side Owner").await;
    s.decide("approve", &[]).await;
    waits(false, "waits for side Owner").await;
    s.accept().await;
    s.owner
        .until("the later end", || async {
            let partner = s.is_in(SharePhase::Active, Reason::Ready).await?;
            let ends_at = partner.ends_at.map(|at| at.0.to_string());
            if ends_at.as_deref() == Some("2099-06-01T00:00:00Z") { Ok(()) } else { Err(format!("{ends_at:?}")) }
        })
        .await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_partner_s_certificate_ends_with_the_share() {
    let s = Sharing::begin().await;
    let end = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(30);
    s.ask(&format!("validity: {{notAfter: '{end:.0}'}}, credentials: {{type: Mtls}}")).await;
    s.phase(SharePhase::PendingApproval, Reason::AwaitingApproval).await;
    s.decide("approve", &[]).await;
    s.phase(SharePhase::Invited, Reason::AwaitingAcceptance).await;
    s.accept().await;
    let shared = s.phase(SharePhase::Active, Reason::Ready).await;
    let expires = shared.credentials[0].expires_at.as_ref().unwrap().0;
    assert!(expires <= end, "{expires} is after {end}");
    let login = s.fetch().await;
    s.h.brokers.let_fetch(&login, &s.topic("placed"), ProbeOutcome::Allowed).await;
    s.owner.patch::<ExternalShare>("out", json!({"spec": {"revoke": {"reason": "breach"}}})).await;
    let ended = s.phase(SharePhase::Revoked, Reason::Revoked).await;
    assert!(ended.message.ends_with("was revoked: breach"), "{}", ended.message);
    let end = ended.revocation.unwrap();
    assert_eq!((end.proven, &end.login_refused_at), (Proven::FetchDenied, &None));
    assert!(
        end.evidence.as_ref().is_some_and(|e| e.contains("its certificate can log in until")),
        "{:?}",
        end.evidence
    );
    // A certificate still logs in, and can do nothing.
    assert_eq!(s.h.brokers.fetch(&login, &s.topic("placed")).await, Ok(ProbeOutcome::Denied));
    s.end().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn of_two_partners_each_has_its_own() {
    let mut s = Sharing::begin().await;
    let mut other = Outside::register(&s.h, &s.owner.name.replace("owner", "umbrella")).await;
    let both = format!("partnerRefs: [{{name: {}}}, {{name: {}}}]", s.who.partner, other.partner);
    s.ask(&both).await;
    let mut logins = Vec::new();
    for _ in 0..2 {
        s.phase(SharePhase::PendingApproval, Reason::AwaitingApproval).await;
        s.decide("approve", &[]).await;
        s.phase(SharePhase::Invited, Reason::AwaitingAcceptance).await;
        s.accept().await;
        let shared = s.phase(SharePhase::Active, Reason::Ready).await;
        let login = s.fetch().await;
        s.h.brokers.let_fetch(&login, &s.topic("placed"), ProbeOutcome::Allowed).await;
        logins.push((shared.principal.unwrap(), login));
        std::mem::swap(&mut s.who, &mut other);
    }
    s.decide("revoke", &[]).await;
    s.phase(SharePhase::Revoked, Reason::Revoked).await;
    let (first, second) = (&logins[0], &logins[1]);
    assert_eq!(s.h.brokers.entries(&first.0).await, Ok([].into()));
    assert_eq!(s.h.brokers.fetch(&first.1, &s.topic("placed")).await, Ok(ProbeOutcome::LoginRefused));
    assert_eq!(s.h.brokers.fetch(&second.1, &s.topic("placed")).await, Ok(ProbeOutcome::Allowed));
    // One that the share names no more loses what it had.
    s.ask("").await;
    let ended = s.owner.until("an end for each", || async {
        let ended = s.owner.security_events(Action::ShareEnded).await;
        if ended.len() == 2 { Ok(ended) } else { Err(format!("{ended:?}")) }
    });
    let ended = ended.await;
    assert!(ended.iter().any(|e| e.spec.reason == "Removed"), "{ended:#?}");
    assert_eq!(s.h.brokers.entries(&second.0).await, Ok([].into()));
    assert_eq!(s.h.brokers.fetch(&second.1, &s.topic("placed")).await, Ok(ProbeOutcome::LoginRefused));
    other.leave(&s.h).await;
    s.end().await;
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn where_brokers_run_here_partners_come_from_their_networks_only() {
    let h = Harness::start().await;
    let kafka = OtherKafka::start(&h, "fenced", &[]).await;
    let mut cluster = kafka.stream_cluster();
    let pods = json!({"namespace": kafka.name, "selector": {"matchLabels": {"app": "kafka"}}, "port": 9092});
    let listeners = cluster["spec"]["listeners"].as_array_mut().unwrap();
    let external = |l: &&mut Value| l["audience"] == "External" && l["authentication"] == "ScramSha512";
    listeners.iter_mut().find(external).unwrap()["brokerPods"] = pods;
    h.platform().apply_value(cluster).await;
    h.platform().ready::<StreamCluster>(&kafka.name).await;
    let s = Sharing::on(h, &kafka).await;
    let platform = s.h.platform();
    let from = async |networks: Value| {
        platform.patch::<Partner>(&s.who.partner, json!({"spec": {"networks": networks}})).await;
    };
    from(json!(["203.0.113.7/24", "2001:db8::/32"])).await;

    // Whoever runs the brokers has yet to let Weir in.
    s.ask("").await;
    s.phase(SharePhase::PendingApproval, Reason::AwaitingApproval).await;
    s.decide("approve", &[]).await;
    s.phase(SharePhase::Invited, Reason::AwaitingAcceptance).await;
    s.accept().await;
    let waits = s.phase(SharePhase::Provisioning, Reason::Applying).await;
    until(SOON, &[&s.owner.name], "it says what to do", || async {
        let share = s.owner.get::<ExternalShare>("out").await.and_then(|s| s.status).unwrap_or_default();
        let text = format!("{:?}", share.conditions);
        if text.contains("bind the ClusterRole weir-network") { Ok(()) } else { Err(format!("{text} {waits:?}")) }
    })
    .await;
    Tenant::existing(s.h.client.clone(), &kafka.name).bind("weir-network").await;
    s.phase(SharePhase::Active, Reason::Ready).await;
    let others = [NAMESPACE, s.owner.name.as_str()];
    let reach = async || Reach::of(&kafka.name, &others).await;
    let now = reach().await;
    for (address, is_let_in) in
        [("203.0.113.200", true), ("2001:db8::7", true), ("198.51.100.1", false), ("::1", false)]
    {
        assert_eq!(now.reaches(address, "kafka-0", 9092), is_let_in, "{address}");
        assert!(now.reaches(address, "kafka-0", 9093), "what is not for partners is as it was");
    }
    assert!(now.pods_reach(NAMESPACE, "kafka-0", 9092), "Weir itself looks at brokers as partners do");
    assert!(!now.pods_reach(&kafka.name, "kafka-0", 9092) && now.pods_reach(&kafka.name, "kafka-0", 9094));

    // One that says nothing of networks comes from anywhere; and what others edit comes back.
    let anywhere = async |is_let_in: bool| {
        until(LONG, &[], "the policy follows", || async {
            let lets_in = reach().await.reaches("198.51.100.1", "kafka-0", 9092);
            if lets_in == is_let_in { Ok(()) } else { Err(format!("{lets_in}")) }
        })
        .await;
    };
    from(json!([])).await;
    anywhere(true).await;
    from(json!(["203.0.113.0/24"])).await;
    anywhere(false).await;
    let policy = kubectl(&["-n", &kafka.name, "get", "networkpolicies", "-o", "name"]).await;
    let open = r#"{"spec": {"ingress": [{}]}}"#;
    kubectl(&["-n", &kafka.name, "patch", policy.trim(), "--type=merge", "-p", open]).await;
    anywhere(false).await;

    // It is over: nobody comes in any more, and with the StreamCluster the policy goes.
    s.decide("revoke", &["--reason", "breach"]).await;
    s.phase(SharePhase::Revoked, Reason::Revoked).await;
    until(SOON, &[], "nobody is let in", || async {
        if reach().await.reaches("203.0.113.7", "kafka-0", 9092) { Err("somebody is".to_owned()) } else { Ok(()) }
    })
    .await;
    s.owner.delete_and_wait::<ExternalShare>("out").await;
    s.owner.delete_and_wait::<DataProduct>("orders").await;
    platform.delete_and_wait::<StreamCluster>(&kafka.name).await;
    until(SOON, &[], "the policy goes", || async {
        let left = kubectl(&["-n", &kafka.name, "get", "networkpolicies", "-o", "name"]).await;
        if left.trim().is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
    let Sharing { h, owner, who, .. } = s;
    who.leave(&h).await;
    kafka.end(&h, [owner]).await;
}

/// Begins a request to the partner API's pod.
async fn slow(pod: &str, ca: &str, beginning: &str) -> TlsStream<TcpStream> {
    let ca = std::fs::read_to_string(ca).unwrap();
    let config = weir::tls::client_config(Some(&ca), None, Versions::Tls13).unwrap();
    let stream = TcpStream::connect(format!("{}:8443", pod.trim())).await.unwrap();
    let name = ServerName::try_from(PARTNERS_HOST).unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    stream.write_all(beginning.as_bytes()).await.unwrap();
    stream
}

/// What comes of a connection until the other side ends it.
async fn end_of(mut stream: impl AsyncRead + Unpin) -> String {
    let mut said = Vec::new();
    let ended = tokio::time::timeout(SOON, stream.read_to_end(&mut said)).await;
    // An end without a word of TLS is one, too.
    let _ = ended.expect("a slow caller keeps its place");
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn who_calls_too_often_too_much_too_slowly_or_by_an_old_protocol_is_not_heard() {
    let h = Harness::start().await;
    let who = Outside::register(&h, "nobody-in-particular").await;
    // One pod by its own address: what it makes of this caller is nobody else's concern.
    let path = "jsonpath={.items[0].status.podIP}";
    let of_partners = ["-n", NAMESPACE, "get", "pods", "-l", "app.kubernetes.io/component=partners", "-o", path];
    let pod = kubectl(&of_partners).await;
    let (ca, to) = (who.home.join("ca.crt").display().to_string(), format!("{PARTNERS_HOST}:443:{}:8443", pod.trim()));
    let call = async |more: &[&str], path: &str| {
        let url = format!("https://{PARTNERS_HOST}{path}");
        let curl = ["netns", "exec", PARTNER, "curl", "--silent", "--show-error", "--cacert", &ca, "--connect-to", &to];
        try_run(
            "ip",
            &[&curl[..], &["--output", "/dev/null", "--write-out", "%{http_code}\n"], more, &[&url]].concat(),
            "",
        )
        .await
        .1
    };
    assert_eq!(call(&[], "/v1/invitation").await.trim(), "401");
    let path = "jsonpath={.items[0].metadata.name}";
    let name =
        kubectl(&["-n", NAMESPACE, "get", "pods", "-l", "app.kubernetes.io/component=partners", "-o", path]).await;
    let metrics = format!("/api/v1/namespaces/{NAMESPACE}/pods/{name}:8080/proxy/metrics");
    let metrics = kubectl(&["get", "--raw", &metrics]).await;
    assert!(metrics.contains(r#"weir_partner_answers_total{status="401"}"#), "{metrics}");
    let old = call(&["--tls-max", "1.2"], "/v1/invitation").await;
    assert!(old.contains("alert protocol version") && !old.contains("401"), "{old}");
    let large = who.home.join("large");
    std::fs::write(&large, vec![b'x'; 17 * 1024]).unwrap();
    let large = format!("@{}", large.display());
    let body = ["--data-binary", &large, "--header", "Content-Type: application/json"];
    assert_eq!(call(&body, "/v1/invitation/acceptance").await.trim(), "413");
    let head = format!("X-Large: {}", "x".repeat(600 * 1024));
    let config = who.home.join("config");
    std::fs::write(&config, format!("header = \"{head}\"\n")).unwrap();
    let config = config.display().to_string();
    let sent = call(&["--config", &config], "/v1/invitation").await;
    assert!(!sent.contains("200") && !sent.contains("401"), "{sent}");

    // Who says nothing is let go, and who says it too slowly: a head, or a body.
    let silent = TcpStream::connect(format!("{}:8443", pod.trim())).await.unwrap();
    let head = "POST /v1/invitation/acceptance HTTP/1.1\r\nHost: partners\r\n";
    let body =
        format!("{head}Authorization: Bearer guess\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{{");
    let (slow_head, slow_body) = tokio::join!(slow(&pod, &ca, head), slow(&pod, &ca, &body));
    let (silent, slow_head, slow_body) = tokio::join!(end_of(silent), end_of(slow_head), end_of(slow_body));
    assert_eq!((silent.as_str(), slow_head.as_str()), ("", ""));
    assert!(!slow_body.contains("HTTP/1.1 2"), "{slow_body}");

    // A guess a time, up to so many a minute; another address is heard meanwhile.
    let began = jiff::Timestamp::now();
    let guesses = call(&["--header", "Authorization: Bearer guess"], "/v1/invitation?[1-150]").await;
    let of = |code: &str| guesses.lines().filter(|line| *line == code).count();
    assert!(of("429") >= 10 && of("404") + of("401") + of("403") >= 50 && of("200") == 0, "{guesses}");
    let url = format!("https://{PARTNERS_HOST}/v1/invitation");
    let (_, other) = try_run(
        "curl",
        &[
            "--silent",
            "--cacert",
            &ca,
            "--connect-to",
            &to,
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code}",
            &url,
        ],
        "",
    )
    .await;
    assert_eq!(other, "401");
    let guessed = of("401") + of("403");
    h.turned_away("weir-partners", began, guessed.try_into().unwrap()).await;
    who.leave(&h).await;
}
