//! Whether the API server holds reviewers and requesters to their names: the admission policies of the chart.

use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use kube::{Api, Client};

/// Without these, anybody could approve in the name of another.
const POLICIES: [&str; 2] = ["weir-approvals", "weir-requesters"];

/// Whether each of the policies is there, refuses in doubt, and is bound without exception.
///
/// # Errors
/// The API server refused, or did not answer.
pub async fn are_approvals_enforced(client: &Client) -> Result<bool, kube::Error> {
    let policies: Api<ValidatingAdmissionPolicy> = Api::all(client.clone());
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client.clone());
    for name in POLICIES {
        let (policy, binding) = tokio::try_join!(policies.get_opt(name), bindings.get_opt(name))?;
        if !policy.is_some_and(|p| refuses_in_doubt(&p)) || !binding.is_some_and(|b| binds(&b, name)) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn refuses_in_doubt(policy: &ValidatingAdmissionPolicy) -> bool {
    policy.spec.as_ref().is_some_and(|spec| {
        // What is not said is `Fail`.
        spec.failure_policy.as_deref().is_none_or(|p| p == "Fail")
            && spec.validations.as_ref().is_some_and(|v| !v.is_empty())
    })
}

fn binds(binding: &ValidatingAdmissionPolicyBinding, name: &str) -> bool {
    let spec = &binding.spec;
    spec.policy_name == name
        && spec.validation_actions.iter().any(|action| action == "Deny")
        && spec.match_resources.is_none()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{binds, refuses_in_doubt};

    #[test]
    fn a_binding_with_an_exception_or_that_only_warns_holds_nobody() {
        let bound =
            |spec| binds(&serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap(), "p");
        assert!(bound(json!({"policyName": "p", "validationActions": ["Deny", "Audit"]})));
        assert!(!bound(json!({"policyName": "q", "validationActions": ["Deny"]})));
        assert!(!bound(json!({"policyName": "p", "validationActions": ["Warn"]})));
        let except = json!({"namespaceSelector": {"matchLabels": {"a": "b"}}});
        assert!(!bound(json!({"policyName": "p", "validationActions": ["Deny"], "matchResources": except})));
    }

    #[test]
    fn a_policy_that_lets_pass_what_it_cannot_judge_holds_nobody() {
        let holds = |spec| refuses_in_doubt(&serde_json::from_value(json!({"spec": spec})).unwrap());
        let validations = json!([{"expression": "true"}]);
        assert!(holds(json!({"validations": validations})));
        assert!(holds(json!({"failurePolicy": "Fail", "validations": validations})));
        assert!(!holds(json!({"failurePolicy": "Ignore", "validations": validations})));
        assert!(!holds(json!({"failurePolicy": "Fail"})));
    }
}
