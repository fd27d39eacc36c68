//! What comes with roles that are inherited, and what does not.

use super::{SCORER, assert_only_problem, assert_refused, scorer};
use crate::api::Reason;
use crate::domain::binding::clusters_of;
use crate::domain::testing::{World, key};

/// The role that may be bound in its own namespace only.
const OWN_READER: &str = "
kind: StreamRole
metadata: {namespace: payments, name: reader}
spec: {privileges: [{products: {names: [orders]}, access: [Read]}]}
";

#[test]
fn what_a_role_inherits_in_doubt_takes_nothing_from_the_rest() {
    let mut world = World::payments();
    for ghost in ["ghost", "special"] {
        world.put(&format!(
            "
kind: StreamRole
metadata: {{namespace: payments, name: special}}
spec:
  privileges: [{{products: {{names: [orders]}}, streams: [paid], access: [Write]}}]
  inherits: [{{namespace: payments, name: {ghost}}}, {{namespace: payments, name: reader}}]
  bindableFrom: {{mode: All}}
"
        ));
        world.bind("payments/special", SCORER);
        let reason = if ghost == "ghost" { Reason::RoleNotFound } else { Reason::RoleCycle };
        assert_only_problem(&world, reason, &format!("payments/{ghost}"));
        assert_eq!(
            scorer(&world),
            [
                "Topic:Literal:payments.orders.paid:Read",
                "Topic:Literal:payments.orders.paid:Write",
                "Topic:Literal:payments.orders.placed:Read",
                "Group:Prefixed:fraud.scorer.:Read",
            ]
        );
    }
}

#[test]
fn a_binding_concerns_every_cluster_where_what_its_role_inherits_is_not_known() {
    let mut world = World::payments();
    world.put("{kind: StreamCluster, metadata: {name: lab}, spec: {bootstrapServers: ['k:1'], adminCredentials: {type: Plain, secretRef: {name: s}}}}");
    let relay = |inherits: &str| {
        format!(
            "
kind: StreamRole
metadata: {{namespace: payments, name: relay}}
spec: {{inherits: [{{namespace: payments, name: {inherits}}}], bindableFrom: {{mode: All}}}}
"
        )
    };
    let clusters = |world: &World| {
        let binding = world.index.binding(&key("fraud/orders")).unwrap();
        clusters_of(&world.index, binding).into_iter().collect::<Vec<_>>()
    };
    world.bind("payments/relay", SCORER);
    assert_eq!(clusters(&world), ["lab", "prod"], "the role itself is not known");
    for (inherits, concerned) in [("reader", &["prod"][..]), ("ghost", &["lab", "prod"]), ("relay", &["lab", "prod"])] {
        world.put(&relay(inherits));
        assert_eq!(clusters(&world), concerned, "{inherits}");
    }
}

#[test]
fn inheriting_a_role_does_not_launder_its_owners_consent() {
    let mut world = World::payments();
    world.put(OWN_READER);
    world.put(
        "
kind: StreamRole
metadata: {namespace: risk, name: relay}
spec: {inherits: [{namespace: payments, name: reader}, {namespace: payments, name: ghost}], bindableFrom: {mode: All}}
",
    );
    world.bind("risk/relay", SCORER);
    assert_eq!(world.principals(), [].into());
    let reasons: Vec<_> = world.problems().into_iter().map(|(reason, _)| reason).collect();
    assert_eq!(reasons, [Reason::RoleNotFound, Reason::NotBindable]);
    world.put("{kind: StreamRole, metadata: {namespace: payments, name: ghost}, spec: {}}");
    assert_eq!(world.problems().len(), 2, "{:?}", world.problems());
    assert!(world.problems()[1].1.contains("StreamRole payments/reader may not be bound from namespace fraud"));
}

#[test]
fn consent_to_one_namespace_is_not_passed_on_to_a_service_account_of_another() {
    let mut world = World::payments();
    world.put(
        "
kind: StreamRole
metadata: {namespace: payments, name: reader}
spec:
  privileges: [{products: {names: [orders]}, access: [Read]}]
  bindableFrom: {mode: Selector, namespaceSelector: {matchLabels: {tier: trusted}}}
---
kind: StreamRole
metadata: {namespace: fraud, name: own}
spec: {inherits: [{namespace: payments, name: reader}]}
---
{kind: ServiceAccount, metadata: {namespace: risk, name: job}}
",
    );
    world.bind("fraud/own", SCORER);
    assert_eq!(scorer(&world).len(), 3);
    world.bind("fraud/own", "{kind: ServiceAccount, namespace: risk, name: job}");
    assert_refused(&world, Reason::NotBindable, "StreamRole payments/reader may not be bound from namespace risk");
    world.put("{kind: Namespace, metadata: {name: risk, labels: {tier: trusted}}}");
    assert_eq!(world.problems(), []);
}

#[test]
fn a_role_elsewhere_is_no_way_around_the_bind_verb_of_ones_own_namespace() {
    let mut world = World::payments();
    world.put(OWN_READER);
    world.put(
        "
kind: StreamRole
metadata: {namespace: fraud, name: detour}
spec: {inherits: [{namespace: payments, name: reader}], bindableFrom: {mode: All}}
---
{kind: ServiceAccount, metadata: {namespace: payments, name: insider}}
---
kind: RoleBinding
metadata: {namespace: payments, name: insider}
spec: {roleRef: {namespace: fraud, name: detour}, subjects: [{kind: ServiceAccount, name: insider}]}
",
    );
    assert_eq!(world.entries("system:serviceaccount:payments:insider"), Vec::<String>::new());
    world.put(
        "
kind: RoleBinding
metadata: {namespace: payments, name: straight}
spec: {roleRef: {namespace: payments, name: reader}, subjects: [{kind: ServiceAccount, name: insider}]}
",
    );
    assert!(!world.entries("system:serviceaccount:payments:insider").is_empty());
}
