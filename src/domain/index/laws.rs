//! The law of the index: changes taken one by one come to the same as the final state taken at once, in any order.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::{Strategy, any, prop, proptest};
use proptest::test_runner::Config;
use serde_json::{Value, json};

use crate::domain::index::{Index, ObjectKey, Touched, Update};
use crate::domain::ledger::{Change, Ledger};
use crate::domain::product::{self, ProductView};
use crate::domain::testing::{
    World, client_record, guest_record, key, removal, subject_record, topic_record, uid, update_of,
};

const CLUSTERS: [&str; 2] = ["prod", "lab"];
const PRODUCERS: [&str; 2] = ["payments", "risk"];
const CONSUMERS: [&str; 2] = ["payments", "fraud"];
const PARTNERS: [&str; 2] = ["acme", "umbrella"];

/// Kind, name and namespace.
const SUBJECTS: [Subject; 4] = [
    Subject("User", "fraud.app", None),
    Subject("ServiceAccount", "x", None),
    Subject("ServiceAccount", "x", Some("fraud")),
    Subject("ServiceAccount", "x", Some("payments")),
];

#[derive(Clone, Copy)]
struct Subject(&'static str, &'static str, Option<&'static str>);

impl Subject {
    fn json(self) -> Value {
        json!({"kind": self.0, "name": self.1, "namespace": self.2})
    }
}

/// One step: which object, and which variant of it.
type Step = (u8, u8, u8, u8);

/// What a step does.
enum Act {
    Put(Value),
    Remove(String),
    Admin(&'static str, Option<String>),
    Commit(&'static str, Change),
    Reload(&'static str, bool),
    Enforce(bool),
    Pass,
}

fn pick<T: Copy>(of: &[T], n: u8) -> T {
    of[usize::from(n) % of.len()]
}

fn act((what, which, variant, more): Step) -> Act {
    let day = |n: u8| format!("2026-0{}-01T00:00:00Z", 1 + n % 3);
    let role = |n: u8| json!({"namespace": pick(&PRODUCERS, n), "name": pick(&["r", "t"], n / 2)});
    let removed = |kind: &str, object: &Value| {
        let meta = &object["metadata"];
        let name = meta["name"].as_str().unwrap_or_default();
        Act::Remove(match meta["namespace"].as_str() {
            Some(namespace) => format!("{kind} {namespace}/{name}"),
            None => format!("{kind} {name}"),
        })
    };
    let object = match what % 19 {
        0 => json!({"kind": "StreamCluster", "metadata": {"name": pick(&CLUSTERS, which)}, "spec": {
            "bootstrapServers": ["k:1"], "adminCredentials": {"type": "Plain", "secretRef": {"name": "s"}},
            "identity": if more % 3 == 1 { json!({}) } else { json!({"oauth": {"audience": "a"},
                "userClaims": [{"namespaceSelector": {"matchLabels": {"team": "x"}}, "pattern": "{namespace}.*"}]}) },
            "tenancy": [{"name": "t", "topicPrefixes": [pick(&["{namespace}.", "x."], more / 3)],
                "namespaceSelector": if more % 2 == 0 { json!({}) } else { json!({"matchLabels": {"team": "x"}}) }}]}}),
        1 => return Act::Admin(pick(&CLUSTERS, which), (variant % 3 > 0).then(|| "fraud.app".to_owned())),
        2 => json!({"kind": "Namespace", "metadata": {"name": pick(&["payments", "risk", "fraud"], which),
            "labels": {"team": pick(&["x", "y"], more)}, "creationTimestamp": day(more / 2)}}),
        3 => json!({"kind": "DataProduct", "metadata": {"namespace": pick(&PRODUCERS, which),
            "name": pick(&["p", "q"], which / 2), "labels": {"tier": pick(&["gold", "tin"], more)},
            "creationTimestamp": day(more / 2), "uid": if more % 7 == 6 { json!(format!("new{which}")) } else { Value::Null },
            "deletionTimestamp": if variant == 5 { json!(day(2)) } else { Value::Null }},
            "spec": {"clusterRef": {"name": pick(&CLUSTERS, u8::from(more % 5 == 4))},
                "purposes": if more % 4 == 3 { json!(["audit"]) } else { json!([]) },
                "classification": if more % 6 == 5 { "Private" } else { "Public" },
                "derivedFrom": if variant == 4 { json!([{"namespace": "payments", "name": "q"}]) } else { json!([]) },
                "streams": [{"name": "s"}, {"name": "u", "topic": pick(&["payments.u", "risk.u", "x.u"], more)}]}}),
        4 => json!({"kind": "StreamRole", "metadata": {"namespace": pick(&PRODUCERS, which),
            "name": pick(&["r", "t"], which / 2),
            "deletionTimestamp": if variant == 5 { json!(day(2)) } else { Value::Null }},
            "spec": {"privileges": [{"access": [pick(&["Read", "Write"], more)], "products":
                    if more % 3 == 0 { json!({"selector": {"matchLabels": {"tier": "gold"}}}) } else { json!({"names": ["p"]}) }}],
                "inherits": match more % 4 {
                    1 => json!([role(more / 4)]),
                    2 => json!([role(more / 4), role(variant)]),
                    _ => json!([]),
                },
                "approval": if more % 7 == 3 { "Owner" } else { "None" },
                "bindableFrom": if more % 5 == 2 { json!({"mode": "Selector", "namespaceSelector": {"matchLabels": {"team": "x"}}}) }
                    else { json!({"mode": pick(&["All", "All", "Same"], more)}) }}}),
        5 => json!({"kind": "StreamClient", "metadata": {"namespace": pick(&CONSUMERS, which), "name": "x",
            "uid": if more % 4 == 3 { json!(format!("new{which}")) } else { Value::Null }}, "spec": {"clusterRef": {"name": "prod"}}}),
        6 | 7 => json!({"kind": "RoleBinding", "metadata": {"namespace": pick(&CONSUMERS, which),
            "name": pick(&["m", "n"], which / 2), "uid": if more % 8 == 7 { json!(format!("new{which}")) } else { Value::Null },
            "annotations": {"weir.dev/requesters": pick(&["dora", "olga"], variant)}},
            "spec": {"roleRef": role(more), "purpose": pick(&["audit", "else"], more),
                "expiresAt": if variant == 5 { json!(format!("2026-06-01T0{}:00:00Z", more % 6)) } else { Value::Null },
                "subjects": [{"kind": "StreamClient", "name": "x"}, pick(&SUBJECTS, more / 4).json()]}}),
        8 => json!({"kind": "ServiceAccount", "metadata": {"namespace": pick(&CONSUMERS, which), "name": "x",
            "uid": pick(&["one", "two"], more)}}),
        9 => {
            let (topic, product) = pick(
                &[
                    ("payments.p.s", "payments/p"),
                    ("payments.u", "payments/p"),
                    ("payments.u", "payments/q"),
                    ("risk.p.s", "risk/p"),
                    ("risk.u", "risk/q"),
                    ("x.u", "risk/p"),
                ],
                which,
            );
            let change = match topic_record(topic, product) {
                Change::Topic(topic, _) if variant == 0 => Change::Topic(topic, None),
                change => change,
            };
            return Act::Commit(pick(&CLUSTERS, u8::from(more % 5 == 4)), change);
        }
        10 => {
            let versions = pick(&[&[(1, false)][..], &[(1, false), (2, false)], &[(1, true), (2, false)]], more);
            let change = match client_record(pick(&["payments/x", "fraud/x"], which), versions) {
                Change::Client(uid, _) if variant == 0 => Change::Client(uid, None),
                change => change,
            };
            return Act::Commit("prod", change);
        }
        11 => {
            let binding = pick(&["payments/m", "payments/n"], which);
            let change = subject_record(
                binding,
                "system:serviceaccount:fraud:x",
                (variant > 0).then(|| pick(&["one", "two"], more)),
            );
            return Act::Commit(pick(&CLUSTERS, more / 2), change);
        }
        12 => {
            let binding = key(pick(&["fraud/m", "fraud/n", "payments/m", "payments/n"], which));
            let (reference, scope) = (
                role(more),
                json!({"subjects": [{"kind": "StreamClient", "name": "x"}],
                "purpose": pick(&["audit", "else"], more), "notAfter": format!("2026-06-01T0{}:00:00Z", more % 6),
                "streams": [{"product": "p", "stream": pick(&["s", "u"], variant), "access": ["Read", "Write"]}]}),
            );
            json!({"kind": "AccessApproval", "metadata": {"namespace": reference["namespace"],
                "name": format!("a{which}"), "creationTimestamp": day(more)},
                "spec": {"requestRef": {"kind": "RoleBinding", "namespace": binding.namespace, "name": binding.name,
                        "uid": uid(&format!("RoleBinding {binding}"))},
                    "targetRef": {"kind": "StreamRole", "name": reference["name"]}, "reviewer": "olga",
                    "decision": if variant == 5 { "Denied" } else { "Approved" },
                    "scope": if variant == 5 { Value::Null } else { scope }}})
        }
        13 => return Act::Enforce(more % 4 > 0),
        14 => json!({"kind": "Partner", "metadata": {"name": pick(&PARTNERS, which),
            "uid": if more % 8 == 7 { json!(format!("new{which}")) } else { Value::Null }},
            "spec": {"organisation": "o", "standing": pick(&["Active", "Active", "Quarantined"], more),
                "networks": pick(&[&[][..], &["192.0.2.7/32"], &["192.0.2.0/24"]], variant),
                "agreements": if more % 5 == 4 { json!([{"name": "c", "notAfter": "2026-06-01T03:00:00Z"}]) } else { json!([]) }}}),
        15 => {
            json!({"kind": "ExternalShare", "metadata": {"namespace": pick(&PRODUCERS, which), "name": pick(&["m", "o"], which / 2),
            "annotations": {"weir.dev/requesters": pick(&["dora", "dora", "olga"], variant)},
            "uid": if more % 16 == 15 { json!(format!("new{which}")) } else { Value::Null },
            "deletionTimestamp": if variant == 5 { json!(day(2)) } else { Value::Null }},
            "spec": {"products": [{"name": "p", "streams": if more % 3 == 1 { json!(["s"]) } else { json!([]) }},
                    {"name": pick(&["q", "none"], more / 2)}], "pattern": "Direct", "purpose": "audit",
                "partnerRefs": if more % 4 == 3 { json!([{"name": "acme"}]) } else { json!([{"name": "acme"}, {"name": "umbrella"}]) },
                "suspended": more % 11 == 10, "validity": {"notAfter": format!("2026-06-01T0{}:00:00Z", 2 + more % 7),
                    "notBefore": if more % 6 == 5 { json!("2026-06-01T01:00:00Z") } else { Value::Null }}}})
        }
        16 | 17 => {
            let (share, partner) = (pick(&["payments/m", "payments/m", "risk/o"], which), pick(&PARTNERS, more));
            let side = pick(&["Owner", "Consumer"], what);
            let uids = |kind: &str, name: &str| uid(&format!("{kind} {name}"));
            json!({"kind": "AccessApproval", "metadata": {"namespace": key(share).namespace, "name": format!("b{which}{side}{partner}")},
                "spec": {"requestRef": {"kind": "ExternalShare", "namespace": key(share).namespace, "name": key(share).name,
                        "uid": uids("ExternalShare", share)},
                    "targetRef": {"kind": "ExternalShare", "name": key(share).name}, "side": side, "reviewer": "olga",
                    "partnerRef": {"name": partner, "uid": uids("Partner", &format!("/{partner}"))},
                    "decision": if variant == 5 { "Revoked" } else { "Approved" },
                    "acceptance": if side == "Owner" { Value::Null }
                        else { json!({"invitation": "i", "publicKeyHash": "h", "recipient": pick(&["age1a", "age1b"], variant)}) },
                    "scope": if variant == 5 { Value::Null } else { json!({"pattern": "Direct", "purpose": "audit",
                        "notAfter": format!("2026-06-01T0{}:00:00Z", more % 9), "streams": [
                            {"product": "p", "stream": "s", "access": ["Read"]}, {"product": "q", "stream": "u", "access": ["Read"]}]}) }}})
        }
        18 => {
            let versions = pick(&[&[(1, false)][..], &[(1, false), (2, false)], &[(1, true), (2, false)]], more);
            let change = match guest_record("payments/m", pick(&PARTNERS, which), versions) {
                Change::Client(uid, _) if variant == 0 => Change::Client(uid, None),
                change => change,
            };
            return Act::Commit("prod", change);
        }
        _ => return if which % 3 == 0 { Act::Reload(pick(&CLUSTERS, more), variant == 0) } else { Act::Pass },
    };
    if variant == 0 {
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        removed(&kind, &object)
    } else {
        Act::Put(without_nulls(object))
    }
}

fn without_nulls(mut object: Value) -> Value {
    if let Some(meta) = object["metadata"].as_object_mut() {
        meta.retain(|_, v| !v.is_null());
    }
    object
}

/// The graph and, beside it, what it should be the same as.
struct Both {
    index: Index,
    now: Timestamp,
    objects: BTreeMap<String, Update>,
    admins: BTreeMap<&'static str, Option<String>>,
    ledgers: BTreeMap<&'static str, Ledger>,
    enforced: bool,
}

impl Both {
    fn take(&mut self, act: Act) -> Touched {
        let update = match act {
            Act::Put(object) => {
                let update = update_of(object.clone());
                let meta = &object["metadata"];
                self.objects
                    .insert(format!("{} {} {}", object["kind"], meta["namespace"], meta["name"]), update.clone());
                update
            }
            Act::Remove(of) => {
                let (kind, name) = of.split_once(' ').unwrap_or_default();
                let id = match name.split_once('/') {
                    Some(_) => format!("\"{kind}\" \"{}\" \"{}\"", key(name).namespace, key(name).name),
                    None => format!("\"{kind}\" null \"{name}\""),
                };
                self.objects.remove(&id);
                removal(&of)
            }
            Act::Admin(cluster, admin) => {
                self.admins.insert(cluster, admin.clone());
                Update::Admin(cluster.into(), admin)
            }
            Act::Commit(cluster, change) => {
                self.ledgers.entry(cluster).or_default().apply(change.clone());
                Update::Committed(cluster.into(), vec![change])
            }
            Act::Reload(cluster, emptied) => {
                let ledger = self.ledgers.entry(cluster).or_default();
                if emptied {
                    *ledger = Ledger::default();
                }
                Update::Ledger(cluster.into(), Box::new(ledger.clone()))
            }
            Act::Enforce(enforced) => {
                self.enforced = enforced;
                Update::ApprovalsEnforced(enforced)
            }
            Act::Pass => {
                self.now += SignedDuration::from_hours(1);
                Update::Tick
            }
        };
        self.index.apply(update, self.now)
    }

    /// The final state taken at once, in an order that `seed` shuffles.
    fn fresh(&self, seed: u64) -> Index {
        let mut index = Index::default();
        let admins = self.admins.iter().map(|(c, a)| Update::Admin((*c).into(), a.clone()));
        let ledgers = self.ledgers.iter().map(|(c, l)| Update::Ledger((*c).into(), Box::new(l.clone())));
        let updates = self.objects.values().cloned().chain(admins).chain(ledgers);
        let mut updates: Vec<_> = updates.chain([Update::ApprovalsEnforced(self.enforced)]).enumerate().collect();
        updates.sort_by_key(|(n, _)| (*n as u64 + 1).wrapping_mul(seed | 1).rotate_left(17));
        for (_, update) in updates {
            index.apply(update, self.now);
        }
        index
    }
}

/// Everything there, so that steps find something to change.
fn populated() -> Both {
    let now = World::empty().now;
    let (objects, admins, ledgers) = Default::default();
    let mut both = Both { index: Index::default(), now, objects, admins, ledgers, enforced: false };
    both.take(Act::Enforce(true));
    let kinds = [0, 2, 3, 4, 5, 6, 8, 9, 10, 14, 15, 16, 17, 18].into_iter();
    for (what, count) in kinds.zip([2, 3, 4, 4, 2, 4, 2, 6, 2, 2, 4, 4, 4, 2]) {
        for which in 0..count {
            let more = match what {
                6 => which * 5,
                // Both partners, to the end of what may be.
                16 | 17 => 8 + which % 2,
                _ => 0,
            };
            both.take(act((what, which, 1, more)));
        }
    }
    both
}

fn views(index: &Index) -> BTreeMap<ObjectKey, ProductView> {
    index.products.iter().map(|(key, product)| (key.clone(), product::view(index, product))).collect()
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec((0..19u8, 0..6u8, 0..6u8, 0..32u8), 1..30)
}

proptest! {
    #![proptest_config(Config { cases: 96, failure_persistence: None, ..Config::default() })]

    #[test]
    fn changes_one_by_one_come_to_the_same_as_the_final_state_at_once(steps in steps(), seed in any::<u64>()) {
        let mut both = populated();
        assert!(both.index.grants.len() > 1, "{:?}", both.index.resolutions);
        assert!(both.index.grants.values().flat_map(|g| g.values()).any(|g| g.binding.name.starts_with("~xs.")), "{:?}", both.index.guests);
        for step in steps {
            both.take(act(step));
        }
        both.index.apply(Update::Tick, both.now);
        let fresh = both.fresh(seed);
        assert_eq!(both.index.resolutions, fresh.resolutions);
        assert_eq!(both.index.grants, fresh.grants);
        assert_eq!(both.index.guests, fresh.guests);
        assert_eq!(both.index.clients, fresh.clients);
        for principal in fresh.grants.keys() {
            assert_eq!(both.index.desired(principal), fresh.desired(principal));
        }
        assert_eq!(both.index.expiries, fresh.expiries);
        assert_eq!(both.index.claims, fresh.claims);
        assert_eq!(both.index.claimed_by, fresh.claimed_by);
        assert_eq!(views(&both.index), views(&fresh));
        assert_eq!(both.index.governed, fresh.governed);
        assert_eq!(both.index.issued, fresh.issued);
        assert_eq!(both.index.client_records, fresh.client_records);
        assert_eq!(both.index.subject_uids, fresh.subject_uids);
        for links in [
            (&both.index.bindings_of_role, &fresh.bindings_of_role),
            (&both.index.bindings_of_product, &fresh.bindings_of_product),
            (&both.index.bindings_of_subject, &fresh.bindings_of_subject),
            (&both.index.heirs, &fresh.heirs),
            (&both.index.approvals_of_request, &fresh.approvals_of_request),
            (&both.index.waiting_for_role, &fresh.waiting_for_role),
            (&both.index.derived, &fresh.derived),
        ] {
            assert_eq!(links.0, links.1);
        }
    }

    #[test]
    fn everything_whose_access_or_topics_change_is_touched(steps in steps()) {
        let mut both = populated();
        for step in steps {
            let before = (both.index.grants.clone(), views(&both.index));
            let guests = both.index.guests.clone();
            let touched = both.take(act(step));
            for share in guests.keys().chain(both.index.guests.keys()) {
                assert!(guests.get(share) == both.index.guests.get(share) || touched.shares.contains(share));
            }
            let after = (&both.index.grants, views(&both.index));
            for principal in before.0.keys().chain(after.0.keys()) {
                assert!(before.0.get(principal) == after.0.get(principal) || touched.principals.contains(principal));
            }
            for product in before.1.keys().chain(after.1.keys()) {
                assert!(before.1.get(product) == after.1.get(product) || touched.products.contains(product));
            }
        }
    }

    #[test]
    fn a_topic_is_that_of_the_product_on_record_or_else_of_the_oldest(steps in steps()) {
        let mut both = populated();
        for step in steps {
            both.take(act(step));
            for (at, claimants) in &both.index.claims {
                let claiming = || claimants.iter().map(|c| (&c.key, &both.index.products[&c.key]));
                let on_record = claiming().find(|(_, p)| both.index.is_governed(&at.0, &at.1, p));
                let living = claiming().filter(|(_, p)| p.metadata.deletion_timestamp.is_none());
                let oldest = living.min_by_key(|(key, p)| (p.metadata.creation_timestamp.clone(), *key));
                assert_eq!(both.index.topic_owner(&at.0, &at.1), on_record.or(oldest).map(|(key, _)| key));
            }
        }
    }
}
