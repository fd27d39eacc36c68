//! Writes decisions about requests: AccessApprovals in one's own name.

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{ListParams, ObjectMeta, PostParams};
use kube::{Api, Client, ResourceExt};

use super::me;
use super::requests::waiting;
use crate::api::{
    self, AccessApproval, AccessApprovalSpec, ApprovedStream, Decision, ExternalShare, PendingRequest, RequestKind,
    RequestRef, Scope, StreamRole, TargetKind, TargetRef, UidRef,
};

/// Which request, and why.
#[derive(Args, Debug)]
pub struct Against {
    /// A RoleBinding, as NAMESPACE/NAME
    #[arg(value_parser = request, required_unless_present = "share", conflicts_with = "share")]
    request: Option<Request>,
    /// Only for this StreamRole of the namespace; by default for each that the RoleBinding is about
    #[arg(long, conflicts_with = "share")]
    role: Option<String>,
    /// An ExternalShare of the namespace
    #[arg(long, requires = "partner")]
    share: Option<String>,
    /// With which Partner
    #[arg(long, requires = "share")]
    partner: Option<String>,
    /// Of a share: as whom one decides
    #[arg(long, value_enum, default_value = "owner", requires = "share")]
    side: Side,
    /// Why, for people
    #[arg(long)]
    reason: Option<String>,
}

/// As whom one decides.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Side {
    /// The namespace, which has the data: takes the verb approve
    Owner,
    /// The security team: takes the verb approve-security
    Security,
}

impl From<Side> for api::Side {
    fn from(side: Side) -> Self {
        match side {
            Side::Owner => Self::Owner,
            Side::Security => Self::Security,
        }
    }
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

/// A span of time longer than nothing.
pub(super) fn duration(text: &str) -> Result<SignedDuration, String> {
    let lasts: SignedDuration = text.parse().map_err(|e: jiff::Error| e.to_string())?;
    if lasts > SignedDuration::ZERO { Ok(lasts) } else { Err("it must be longer than nothing".into()) }
}

/// What is decided upon.
struct Matter {
    request: RequestRef,
    target: TargetRef,
    partner: Option<UidRef>,
    side: api::Side,
}

/// Approves what waits.
///
/// # Errors
/// Nothing of the request waits; or the API server refuses.
pub async fn approve(client: &Client, namespace: &str, what: Approve) -> anyhow::Result<()> {
    let Approve { of, streams, lasts } = what;
    let not_after = lasts.map(|lasts| Timestamp::now() + lasts);
    let approved = match &of.share {
        Some(share) => approved_share(client, namespace, share, &of).await?,
        None => approved_requests(client, namespace, &of).await?,
    };
    let of_these = |scope| choose(scope, &streams);
    let chosen: Vec<_> = approved.into_iter().filter_map(|(matter, s)| Some((matter, of_these(s)?))).collect();
    if chosen.is_empty() {
        bail!("none of {} waits for an approval", streams.join(", "));
    }
    for (matter, mut scope) in chosen {
        let end = not_after.into_iter().chain(scope.not_after.map(|at| at.0)).min();
        scope.not_after = end.map(Time);
        let said: Vec<_> = scope.streams.iter().map(|s| format!("{}/{} {:?}", s.product, s.stream, s.access)).collect();
        write(client, namespace, matter, (Decision::Approved, Some(scope)), &of).await?;
        println!("  {}", said.join(", "));
    }
    Ok(())
}

/// What waits of a RoleBinding, by role.
async fn approved_requests(client: &Client, namespace: &str, of: &Against) -> anyhow::Result<Vec<(Matter, Scope)>> {
    let roles: Api<StreamRole> = Api::namespaced(client.clone(), namespace);
    let waits = waiting(&roles).await?.into_iter().filter(|(role, p)| of.is_about(role, &p.request));
    let pending: Vec<_> =
        waits.map(|(role, PendingRequest { request, scope, .. })| (of_role(&role, request), scope)).collect();
    if pending.is_empty() {
        bail!(
            "nothing of {} waits for an approval in namespace {namespace}: kubectl weir requests --namespace {namespace} lists \
             what does",
            of.name()
        );
    }
    Ok(pending)
}

/// All that a share offers to a partner, to its end.
async fn approved_share(
    client: &Client,
    namespace: &str,
    name: &str,
    of: &Against,
) -> anyhow::Result<Vec<(Matter, Scope)>> {
    let (share, matter) = of_share(client, namespace, name, of).await?;
    let streams = share.status.as_ref().map(|s| s.streams.clone()).unwrap_or_default();
    if streams.is_empty() {
        bail!("ExternalShare {namespace}/{name} offers nothing yet: kubectl describe tells why");
    }
    let scope = Scope {
        subjects: Vec::new(),
        pattern: Some(share.spec.pattern),
        destination: share.spec.destination.as_ref().map(|to| to.cluster_ref.name.clone()),
        purpose: share.spec.purpose.clone(),
        streams,
        not_after: Some(share.spec.validity.not_after.clone()),
    };
    Ok(vec![(matter, scope)])
}

/// Denies a request, or takes it back.
///
/// # Errors
/// The request is not known in the namespace; or the API server refuses.
pub async fn against(client: &Client, namespace: &str, of: Against, decision: Decision) -> anyhow::Result<()> {
    let matters = match &of.share {
        Some(share) => vec![of_share(client, namespace, share, &of).await?.1],
        None => bound(client, namespace, &of).await?,
    };
    for matter in matters {
        write(client, namespace, matter, (decision, None), &of).await?;
    }
    Ok(())
}

/// The bindings that a role of the namespace knows, whether they wait or not.
async fn bound(client: &Client, namespace: &str, of: &Against) -> anyhow::Result<Vec<Matter>> {
    let roles: Api<StreamRole> = Api::namespaced(client.clone(), namespace);
    let roles = roles.list(&ListParams::default()).await.context("failed to list StreamRoles")?;
    let bound = |role: StreamRole| {
        let name = role.name_any();
        let bound_by = role.status.map(|s| s.bound_by).unwrap_or_default();
        bound_by.into_iter().map(move |request| (name.clone(), request))
    };
    let known = roles.into_iter().flat_map(bound).filter(|(role, r)| of.is_about(role, r));
    let known: Vec<_> = known.map(|(role, request)| of_role(&role, request)).collect();
    if known.is_empty() {
        bail!(
            "{} is not among the first hundred of any StreamRole of namespace {namespace}: kubectl --namespace {namespace} get \
             streamroles -o yaml shows status.boundBy",
            of.name()
        );
    }
    Ok(known)
}

fn of_role(role: &str, request: RequestRef) -> Matter {
    let name = role.rsplit('/').next().unwrap_or_default().to_owned();
    let target = TargetRef { kind: TargetKind::StreamRole, name };
    Matter { request, target, partner: None, side: api::Side::Owner }
}

/// A share with one of its partners.
async fn of_share(
    client: &Client,
    namespace: &str,
    name: &str,
    of: &Against,
) -> anyhow::Result<(ExternalShare, Matter)> {
    let (share, partner) = share_with(client, namespace, name, of.partner.as_deref().unwrap_or_default()).await?;
    let request = RequestRef {
        kind: RequestKind::ExternalShare,
        namespace: namespace.into(),
        name: name.into(),
        uid: share.uid().unwrap_or_default(),
    };
    let target = TargetRef { kind: TargetKind::ExternalShare, name: name.into() };
    Ok((share, Matter { request, target, partner: Some(partner), side: of.side.into() }))
}

/// A share, and the reference to one of its partners, which Weir has to know.
///
/// # Errors
/// There is no such share, or it does not name the partner, or there is no such partner.
pub(super) async fn share_with(
    client: &Client,
    namespace: &str,
    name: &str,
    partner: &str,
) -> anyhow::Result<(ExternalShare, UidRef)> {
    let shares: Api<ExternalShare> = Api::namespaced(client.clone(), namespace);
    let share = shares.get(name).await.with_context(|| format!("failed to read ExternalShare {namespace}/{name}"))?;
    let known = share.status.iter().flat_map(|s| &s.partners).find(|p| p.name == partner).and_then(|p| p.uid.clone());
    let Some(uid) = known else {
        let named: Vec<_> = share.spec.partner_refs.iter().map(|p| p.name.as_str()).collect();
        bail!("ExternalShare {namespace}/{name} knows no Partner {partner}; it names {}", named.join(", "));
    };
    Ok((share, UidRef { name: partner.to_owned(), uid }))
}

impl Against {
    fn is_about(&self, role: &str, request: &RequestRef) -> bool {
        let name = role.rsplit('/').next().unwrap_or_default();
        self.request.as_ref().is_some_and(|r| (&r.namespace, &r.name) == (&request.namespace, &request.name))
            && self.role.as_ref().is_none_or(|wanted| wanted == name)
    }

    /// The RoleBinding.
    fn name(&self) -> String {
        self.request.as_ref().map(|r| format!("RoleBinding {}/{}", r.namespace, r.name)).unwrap_or_default()
    }
}

/// What of a scope is among `streams`; all of it where none are named.
fn choose(mut scope: Scope, streams: &[String]) -> Option<Scope> {
    let chosen = |s: &ApprovedStream| streams.iter().any(|name| *name == format!("{}/{}", s.product, s.stream));
    scope.streams.retain(|s| streams.is_empty() || chosen(s));
    (!scope.streams.is_empty()).then_some(scope)
}

async fn write(
    client: &Client,
    namespace: &str,
    matter: Matter,
    (decision, scope): (Decision, Option<Scope>),
    of: &Against,
) -> anyhow::Result<()> {
    let word = match decision {
        Decision::Approved => "approved",
        Decision::Denied => "denied",
        Decision::Revoked => "revoked",
    };
    let Matter { request, target, partner, side } = matter;
    let what = format!("{:?} {namespace}/{}", target.kind, target.name);
    let whose = match &partner {
        Some(partner) => format!("Partner {}", partner.name),
        None => format!("{}/{}", request.namespace, request.name),
    };
    let approval = AccessApproval {
        metadata: ObjectMeta { generate_name: Some(format!("{}-{word}-", request.name)), ..ObjectMeta::default() },
        spec: AccessApprovalSpec {
            request_ref: request,
            target_ref: target,
            partner_ref: partner,
            side,
            decision,
            scope,
            acceptance: None,
            reason: of.reason.clone(),
            reviewer: me(client).await?,
        },
    };
    let approvals: Api<AccessApproval> = Api::namespaced(client.clone(), namespace);
    let made = approvals.create(&PostParams::default(), &approval).await;
    let made = made.with_context(|| format!("failed to write the decision about {what}"))?;
    println!("accessapproval.weir.dev/{} made: {what} {word} for {whose}", made.name_any());
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
        let scope = json!({"subjects": [{"kind": "StreamClient", "name": "scorer"}],
            "streams": [{"product": "orders", "stream": "placed", "access": ["Read"]},
                {"product": "orders", "stream": "paid", "access": ["Read"]}]});
        let scope: crate::api::Scope = serde_json::from_value(scope).unwrap();
        let of = |streams: &[&str]| {
            let streams: Vec<_> = streams.iter().map(|s| (*s).to_owned()).collect();
            choose(scope.clone(), &streams).map_or(0, |s| s.streams.len())
        };
        assert_eq!([of(&[]), of(&["orders/paid"]), of(&["orders/else"])], [2, 1, 0]);
    }
}
