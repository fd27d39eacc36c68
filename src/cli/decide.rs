//! Writes decisions about requests: AccessApprovals in one's own name.

use anyhow::{Context, bail};
use clap::Args;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{ListParams, ObjectMeta, PostParams};
use kube::{Api, Client, ResourceExt};

use super::requests::waiting;
use crate::api::{
    AccessApproval, AccessApprovalSpec, Decision, PendingRequest, RequestRef, Scope, Side, StreamRole, TargetKind,
    TargetRef,
};

/// Which request, and why.
#[derive(Args, Debug)]
pub struct Against {
    /// The RoleBinding, as NAMESPACE/NAME
    #[arg(value_parser = request)]
    request: Request,
    /// Only for this StreamRole of the namespace; by default for each that the request is about
    #[arg(long)]
    role: Option<String>,
    /// Why, for people
    #[arg(long)]
    reason: Option<String>,
}

/// What to approve.
#[derive(Args, Debug)]
pub struct Approve {
    #[command(flatten)]
    of: Against,
    /// Only this stream, as PRODUCT/STREAM; may be given several times
    #[arg(long = "stream", value_name = "PRODUCT/STREAM")]
    streams: Vec<String>,
    /// For how long, e.g. 720h
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    lasts: Option<SignedDuration>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Request {
    namespace: String,
    name: String,
}

fn request(text: &str) -> Result<Request, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
            Ok(Request { namespace: namespace.into(), name: name.into() })
        }
        _ => Err("write it as NAMESPACE/NAME of the RoleBinding".into()),
    }
}

fn duration(text: &str) -> Result<SignedDuration, String> {
    let lasts: SignedDuration = text.parse().map_err(|e: jiff::Error| e.to_string())?;
    if lasts > SignedDuration::ZERO { Ok(lasts) } else { Err("it must be longer than nothing".into()) }
}

/// Approves what waits.
///
/// # Errors
/// Nothing of the request waits; or the API server refuses.
pub async fn approve(client: &Client, namespace: &str, what: Approve) -> anyhow::Result<()> {
    let roles: Api<StreamRole> = Api::namespaced(client.clone(), namespace);
    let Approve { of, streams, lasts } = what;
    let not_after = lasts.map(|lasts| Time(Timestamp::now() + lasts));
    let pending: Vec<_> =
        waiting(&roles).await?.into_iter().filter(|(role, p)| of.is_about(role, &p.request)).collect();
    if pending.is_empty() {
        bail!(
            "nothing of RoleBinding {}/{} waits for an approval in namespace {namespace}: kubectl weir requests --namespace \
             {namespace} lists what does",
            of.request.namespace,
            of.request.name
        );
    }
    let chosen: Vec<_> = pending.into_iter().filter_map(|(role, p)| Some((role, choose(p, &streams)?))).collect();
    if chosen.is_empty() {
        bail!("none of {} waits for an approval", streams.join(", "));
    }
    let reviewer = reviewer(client).await?;
    for (role, PendingRequest { request, scope, .. }) in chosen {
        let scope = Scope { not_after: not_after.clone(), ..scope };
        let said: Vec<_> = scope.streams.iter().map(|s| format!("{}/{} {:?}", s.product, s.stream, s.access)).collect();
        let decision = (Decision::Approved, Some(scope));
        write(client, &role, request, decision, &of, &reviewer).await?;
        println!("  {}", said.join(", "));
    }
    Ok(())
}

/// Denies a request, or takes it back.
///
/// # Errors
/// The request is not known in the namespace; or the API server refuses.
pub async fn against(client: &Client, namespace: &str, of: Against, decision: Decision) -> anyhow::Result<()> {
    let roles: Api<StreamRole> = Api::namespaced(client.clone(), namespace);
    let roles = roles.list(&ListParams::default()).await.context("failed to list StreamRoles")?;
    let bound = |role: StreamRole| {
        let name = format!("{namespace}/{}", role.name_any());
        let bound_by = role.status.map(|s| s.bound_by).unwrap_or_default();
        bound_by.into_iter().map(move |request| (name.clone(), request))
    };
    let known: Vec<_> = roles.into_iter().flat_map(bound).filter(|(role, r)| of.is_about(role, r)).collect();
    if known.is_empty() {
        bail!(
            "RoleBinding {}/{} is not among the first hundred of any StreamRole of namespace {namespace}: kubectl --namespace \
             {namespace} get streamroles -o yaml shows status.boundBy",
            of.request.namespace,
            of.request.name
        );
    }
    let reviewer = reviewer(client).await?;
    for (role, request) in known {
        write(client, &role, request, (decision, None), &of, &reviewer).await?;
    }
    Ok(())
}

impl Against {
    fn is_about(&self, role: &str, request: &RequestRef) -> bool {
        let name = role.rsplit('/').next().unwrap_or_default();
        (&request.namespace, &request.name) == (&self.request.namespace, &self.request.name)
            && self.role.as_ref().is_none_or(|wanted| wanted == name)
    }
}

/// What of a request is among `streams`; all of it where none are named.
fn choose(mut pending: PendingRequest, streams: &[String]) -> Option<PendingRequest> {
    let chosen = |product: &str, stream: &str| streams.iter().any(|s| *s == format!("{product}/{stream}"));
    pending.scope.streams.retain(|s| streams.is_empty() || chosen(&s.product, &s.stream));
    (!pending.scope.streams.is_empty()).then_some(pending)
}

/// Whom the API server takes one for.
async fn reviewer(client: &Client) -> anyhow::Result<String> {
    let reviews: Api<SelfSubjectReview> = Api::all(client.clone());
    let (params, empty) = (PostParams::default(), SelfSubjectReview::default());
    let review = reviews.create(&params, &empty).await.context("failed to ask the API server for one's own name")?;
    review.status.and_then(|s| s.user_info).and_then(|u| u.username).context("the API server gives one no name")
}

async fn write(
    client: &Client,
    role: &str,
    request: RequestRef,
    (decision, scope): (Decision, Option<Scope>),
    of: &Against,
    reviewer: &str,
) -> anyhow::Result<()> {
    let (namespace, name) = role.split_once('/').unwrap_or_default();
    let word = match decision {
        Decision::Approved => "approved",
        Decision::Denied => "denied",
        Decision::Revoked => "revoked",
    };
    let approval = AccessApproval {
        metadata: ObjectMeta { generate_name: Some(format!("{}-{word}-", request.name)), ..ObjectMeta::default() },
        spec: AccessApprovalSpec {
            request_ref: request,
            target_ref: TargetRef { kind: TargetKind::StreamRole, name: name.into() },
            partner_ref: None,
            side: Side::Owner,
            decision,
            scope,
            acceptance: None,
            reason: of.reason.clone(),
            reviewer: reviewer.into(),
        },
    };
    let approvals: Api<AccessApproval> = Api::namespaced(client.clone(), namespace);
    let made = approvals.create(&PostParams::default(), &approval).await;
    let made = made.with_context(|| format!("failed to write the decision about StreamRole {role}"))?;
    println!(
        "accessapproval.weir.dev/{} made: {role} {word} for {}/{}",
        made.name_any(),
        of.request.namespace,
        of.request.name
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{choose, duration, request};

    #[test]
    fn a_request_is_named_with_its_namespace() {
        assert_eq!(request("fraud/orders").map(|r| (r.namespace, r.name)), Ok(("fraud".into(), "orders".into())));
        for bad in ["orders", "/orders", "fraud/"] {
            assert!(request(bad).unwrap_err().contains("NAMESPACE/NAME"));
        }
    }

    #[test]
    fn a_duration_is_as_in_the_kinds() {
        assert_eq!(duration("720h").map(|d| d.as_hours()), Ok(720));
        assert!(duration("0s").is_err());
        assert!(duration("soon").is_err());
    }

    #[test]
    fn of_a_request_only_the_streams_are_approved_that_are_named() {
        let pending = json!({"kind": "RoleBinding", "namespace": "fraud", "name": "orders", "uid": "1",
            "subjects": [{"kind": "StreamClient", "name": "scorer"}],
            "streams": [{"product": "orders", "stream": "placed", "access": ["Read"]},
                {"product": "orders", "stream": "paid", "access": ["Read"]}]});
        let pending: crate::api::PendingRequest = serde_json::from_value(pending).unwrap();
        let of = |streams: &[&str]| {
            let streams: Vec<_> = streams.iter().map(|s| (*s).to_owned()).collect();
            choose(pending.clone(), &streams).map_or(0, |p| p.scope.streams.len())
        };
        assert_eq!([of(&[]), of(&["orders/paid"]), of(&["orders/else"])], [2, 1, 0]);
    }
}
