//! Who may be bound.

use super::{SCORER, assert_only_problem, assert_refused};
use crate::api::Reason;
use crate::domain::plan::Observed;
use crate::domain::testing::World;

#[test]
fn users_that_stand_for_others_can_never_be_bound() {
    let mut world = World::payments();
    claim(&mut world, "*x");
    claim(&mut world, "a*");
    world.index.apply(crate::domain::index::Update::Admin("prod".into(), Some("admin".into())), world.now);
    let cases = [
        ("*", "it stands for everybody"),
        ("ANONYMOUS", "it stands for everybody"),
        ("root", "it is a super user"),
        ("boss", "it is a super user"),
        ("admin", "it is a super user"),
        ("a~b", "given out by Weir"),
        ("system:serviceaccount:risk:job", "given out by Weir or by Kubernetes"),
        ("mallory", "no entry of identity.userClaims gives it to namespace fraud"),
    ];
    for (name, why) in cases {
        world.bind("payments/reader", &format!("{{kind: User, name: '{name}'}}"));
        assert_refused(&world, Reason::UserNotAllowed, why);
    }
    world.bind("payments/reader", "{kind: User, name: alice}");
    assert_eq!(world.entries("alice").len(), 3);
}

/// Lets namespaces with `tier: trusted` name users of this pattern.
fn claim(world: &mut World, pattern: &str) {
    world.put(&format!(
        "
kind: StreamCluster
metadata: {{name: prod}}
spec:
  bootstrapServers: ['kafka:9092']
  adminCredentials: {{type: Plain, secretRef: {{name: admin}}}}
  identity:
    superUsers: [root, 'User:boss']
    userClaims: [{{namespaceSelector: {{matchLabels: {{tier: trusted}}}}, pattern: '{pattern}'}}]
  tenancy:
  - {{name: teams, namespaceSelector: {{matchLabels: {{tenant: 'yes'}}}}, topicPrefixes: ['{{namespace}}.']}}
"
    ));
}

#[test]
fn a_claim_for_a_namespace_does_not_reach_into_one_whose_name_goes_on() {
    let mut world = World::payments();
    claim(&mut world, "{namespace}-*");
    world.bind("payments/reader", "{kind: User, name: fraud-eu-app}");
    assert_refused(&world, Reason::UserNotAllowed, "no entry of identity.userClaims");
    claim(&mut world, "{namespace}.*");
    world.bind("payments/reader", "{kind: User, name: fraud.app}");
    assert_eq!(world.principals().into_iter().collect::<Vec<_>>(), ["fraud.app"]);
    world.bind("payments/reader", "{kind: User, name: fraud-eu.app}");
    assert_refused(&world, Reason::UserNotAllowed, "no entry of identity.userClaims");
}

#[test]
fn a_user_whose_name_is_no_label_needs_prefixes() {
    let mut world = World::payments();
    claim(&mut world, "CN=*");
    world.bind("payments/reader", "{kind: User, name: 'CN=App'}");
    assert_only_problem(&world, Reason::PrefixOutsideNamespace, "name its consumer groups' prefixes");
    assert_eq!(world.entries("CN=App").len(), 2);
    world.bind_with("payments/reader", "{kind: User, name: 'CN=App'}", "prefixes: [fraud.app.]");
    assert!(world.entries("CN=App").contains(&"Group:Prefixed:fraud.app.:Read".to_owned()));
}

#[test]
fn prefixes_outside_the_namespaces_are_refused() {
    let mut world = World::payments();
    for bad in ["payments.x", "fraud.", "fraud", "f", "*"] {
        world.bind_with("payments/reader", SCORER, &format!("prefixes: ['{bad}']"));
        assert_refused(&world, Reason::PrefixOutsideNamespace, "lies outside the prefixes of this namespace (fraud.)");
    }
}

#[test]
fn only_the_roles_own_namespace_binds_a_service_account_of_another() {
    let mut world = World::payments();
    world.put("{kind: ServiceAccount, metadata: {namespace: risk, name: job}}");
    let subject = "{kind: ServiceAccount, namespace: risk, name: job}";
    world.bind("payments/reader", subject);
    assert_refused(&world, Reason::SubjectNotAllowed, "ServiceAccount risk/job is of another namespace");
    world.bind_in("payments/risk", "payments/reader", subject, "");
    let principal = "system:serviceaccount:risk:job";
    assert!(world.entries(principal).contains(&"Group:Prefixed:payments.risk_job.:Read".to_owned()));
}

#[test]
fn a_client_of_another_namespace_is_refused() {
    let mut world = World::payments();
    world.bind_in("payments/fraud", "payments/reader", "{kind: StreamClient, namespace: fraud, name: scorer}", "");
    let problems = world.problems_of("payments/fraud");
    assert_eq!(problems[0].0, Reason::SubjectNotAllowed, "{problems:?}");
    assert!(world.principals().is_empty());
}

#[test]
fn a_service_account_needs_to_exist_and_the_cluster_to_take_its_tokens() {
    let mut world = World::payments();
    world.bind(
        "payments/reader",
        "{kind: ServiceAccount, name: job}, {kind: ServiceAccount, namespace: fraud, name: job}",
    );
    assert_refused(&world, Reason::SubjectNotFound, "ServiceAccount fraud/job does not exist");
    world.put("{kind: ServiceAccount, metadata: {namespace: fraud, name: job}}");
    assert_eq!(world.entries("system:serviceaccount:fraud:job").len(), 3);
    let resolution = world.index.resolution(&crate::domain::testing::key("fraud/orders")).unwrap();
    assert_eq!(resolution.grants.len(), 1);
    claim(&mut world, "a*");
    assert_refused(&world, Reason::NoListener, "StreamCluster prod has no identity.oauth");
}

#[test]
fn a_service_account_made_anew_is_refused_for_as_long_as_the_binding_lives() {
    let mut world = World::payments();
    let principal = "system:serviceaccount:risk:job";
    let subject = "{kind: ServiceAccount, namespace: risk, name: job}";
    world.put("{kind: ServiceAccount, metadata: {namespace: risk, name: job}}");
    world.bind_in("payments/risk", "payments/reader", subject, "");
    let mut observed = Observed::default();
    world.settle(principal, &mut observed);
    assert_eq!(observed.entries.len(), 3);
    world.put("{kind: ServiceAccount, metadata: {namespace: risk, name: job, uid: another}}");
    for _ in 0..2 {
        assert_eq!(world.problems_of("payments/risk")[0].0, Reason::SubjectRecreated);
        let plan = world.settle(principal, &mut observed);
        assert!(observed.entries.is_empty() && !plan.unasked);
        // Something unconcerned resolves it again.
        world.put("{kind: Namespace, metadata: {name: payments, labels: {tenant: 'yes', new: label}}}");
    }
    assert_eq!(world.problems_of("payments/risk")[0].0, Reason::SubjectRecreated);
    let touched = world.delete("RoleBinding payments/risk");
    assert!(touched.principals.iter().any(|p| p.principal == principal));
    world.settle(principal, &mut observed);
    assert!(world.ledger.grants.is_empty());
}
