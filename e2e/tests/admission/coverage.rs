//! No rule without a case that is accepted and one that is refused.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::cases::{Case, Expect};
use crate::{cluster, rules};

#[test]
fn every_cel_rule_of_the_definitions_has_an_accepted_and_a_refused_case() -> Result<()> {
    let mut expected = BTreeSet::new();
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds"))? {
        let crd: Value = serde_yaml::from_str(&std::fs::read_to_string(entry?.path())?)?;
        let kind = crd["spec"]["names"]["kind"].as_str().context("a definition without a kind")?;
        let mut messages = BTreeSet::new();
        collect_messages(&crd, &mut messages);
        expected.extend(messages.into_iter().map(|m| (kind.to_owned(), m)));
    }
    ensure!(expected.len() > 10, "found only {} rules in crds/", expected.len());
    missing(&expected, &rules::cases(), |case| {
        cluster::parse(&case.manifest, "owner", "consumer").map(|o| o.types.map_or(String::new(), |t| t.kind))
    })
}

/// Every validation of every policy that the chart renders.
pub fn of_policies(rendered: &[Value], cases: &[Case]) -> Result<()> {
    let policies: Vec<_> = rendered.iter().filter(|o| o["kind"] == "ValidatingAdmissionPolicy").collect();
    let bound = |name: &Value| {
        rendered.iter().any(|o| o["kind"] == "ValidatingAdmissionPolicyBinding" && o["spec"]["policyName"] == *name)
    };
    ensure!(!policies.is_empty(), "the chart has no policies");
    let mut expected = BTreeSet::new();
    for policy in policies {
        let name = &policy["metadata"]["name"];
        ensure!(bound(name), "policy {name} is not bound");
        for validation in policy["spec"]["validations"].as_array().into_iter().flatten() {
            let message = validation["message"].as_str().with_context(|| format!("{name}: no message"))?;
            expected.insert((String::new(), message.to_owned()));
        }
    }
    missing(&expected, cases, |_| Ok(String::new()))
}

fn collect_messages(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for rule in map.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten() {
                into.insert(rule["message"].as_str().unwrap_or("a rule without a message").to_owned());
            }
            map.values().for_each(|v| collect_messages(v, into));
        }
        Value::Array(items) => items.iter().for_each(|v| collect_messages(v, into)),
        _ => {}
    }
}

fn missing(
    expected: &BTreeSet<(String, String)>,
    cases: &[Case],
    kind: impl Fn(&Case) -> Result<String>,
) -> Result<()> {
    let (mut accepted, mut refused) = (BTreeSet::new(), BTreeSet::new());
    for case in cases {
        let key = (kind(case)?, case.rule.to_owned());
        match case.expect {
            Expect::Accepted => accepted.insert(key),
            Expect::Refused(_) => refused.insert(key),
        };
    }
    let lacking = |have: &BTreeSet<_>| expected.difference(have).map(|(k, m)| format!("{k}: {m}")).collect::<Vec<_>>();
    let (no_accepted, no_refused) = (lacking(&accepted), lacking(&refused));
    ensure!(no_accepted.is_empty(), "no accepted case for:\n{}", no_accepted.join("\n"));
    ensure!(no_refused.is_empty(), "no refused case for:\n{}", no_refused.join("\n"));
    Ok(())
}
