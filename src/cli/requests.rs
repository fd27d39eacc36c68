//! Lists what waits for an approval.

use std::io::Write;

use anyhow::Context;
use clap::Args;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use tabwriter::TabWriter;

use crate::api::{ApprovedStream, ExternalShare, PendingRequest, Side, StreamRole};
use crate::domain::approval::requesters;

/// Which ones.
#[derive(Args, Debug)]
pub struct Requests {
    /// Of all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
}

/// Prints them.
///
/// # Errors
/// The roles cannot be read.
pub async fn list(client: &Client, namespace: &str, which: &Requests) -> anyhow::Result<()> {
    let roles =
        if which.all_namespaces { Api::all(client.clone()) } else { Api::namespaced(client.clone(), namespace) };
    let shares: Api<ExternalShare> =
        if which.all_namespaces { Api::all(client.clone()) } else { Api::namespaced(client.clone(), namespace) };
    let mut rows: Vec<_> =
        waiting(&roles).await?.iter().map(|(role, request)| format!("{role}\t{}", row(request))).collect();
    rows.extend(waiting_shares(&shares).await?);
    if rows.is_empty() {
        let place = if which.all_namespaces { "any namespace".to_owned() } else { format!("namespace {namespace}") };
        eprintln!("Nothing waits for an approval in {place}.");
        return Ok(());
    }
    let mut table = TabWriter::new(std::io::stdout());
    writeln!(table, "ROLE OR SHARE\tREQUEST\tBY\tFOR\tPURPOSE\tWAITS FOR")?;
    for row in &rows {
        writeln!(table, "{row}")?;
    }
    table.flush().context("failed to print")
}

/// Roles, as `namespace/name`, with each request for them that waits.
///
/// # Errors
/// The roles cannot be read.
pub async fn waiting(roles: &Api<StreamRole>) -> anyhow::Result<Vec<(String, PendingRequest)>> {
    let roles = roles.list(&ListParams::default()).await.context("failed to list StreamRoles")?;
    let of = |role: StreamRole| {
        let name = format!("{}/{}", role.namespace().unwrap_or_default(), role.name_any());
        let requests = role.status.map(|s| s.requests).unwrap_or_default();
        requests.into_iter().map(move |request| (name.clone(), request))
    };
    Ok(roles.into_iter().flat_map(of).collect())
}

/// Shares that wait for somebody on this side, in columns.
async fn waiting_shares(shares: &Api<ExternalShare>) -> anyhow::Result<Vec<String>> {
    let mut rows = Vec::new();
    for share in shares.list(&ListParams::default()).await.context("failed to list ExternalShares")? {
        let name = format!("{}/{}", share.namespace().unwrap_or_default(), share.name_any());
        let requesters: Vec<_> = requesters(&share).collect();
        let purpose = share.spec.purpose.clone().unwrap_or_default();
        let Some(status) = &share.status else { continue };
        let streams: Vec<_> = status.streams.iter().map(stream).collect();
        for partner in &status.partners {
            let sides: Vec<_> =
                partner.awaits.iter().filter(|s| **s != Side::Consumer).map(|s| format!("{s:?}")).collect();
            if !sides.is_empty() {
                let what = format!("{} by {}", streams.join(", "), sides.join(" and "));
                let whom = format!("Partner/{}", partner.name);
                rows.push([name.as_str(), "share", &requesters.join(", "), &whom, &purpose, &what].join("\t"));
            }
        }
    }
    Ok(rows)
}

fn stream(s: &ApprovedStream) -> String {
    let access: Vec<_> = s.access.iter().map(|a| format!("{a:?}")).collect();
    format!("{}/{} ({})", s.product, s.stream, access.join(", "))
}

/// A request, in columns.
fn row(request: &PendingRequest) -> String {
    let PendingRequest { request: of, requesters, scope } = request;
    let subjects: Vec<_> = scope.subjects.iter().map(|s| format!("{:?}/{}", s.kind, s.name)).collect();
    let streams: Vec<_> = scope.streams.iter().map(stream).collect();
    [
        format!("{}/{}", of.namespace, of.name),
        requesters.join(", "),
        subjects.join(", "),
        scope.purpose.clone().unwrap_or_default(),
        streams.join(", "),
    ]
    .join("\t")
}
