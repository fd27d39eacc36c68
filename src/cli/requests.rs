//! Lists what waits for an approval.

use std::io::Write;

use anyhow::Context;
use clap::Args;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use tabwriter::TabWriter;

use crate::api::{PendingRequest, StreamRole};

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
    let waiting = waiting(&roles).await?;
    if waiting.is_empty() {
        let place = if which.all_namespaces { "any namespace".to_owned() } else { format!("namespace {namespace}") };
        eprintln!("Nothing waits for an approval in {place}.");
        return Ok(());
    }
    let mut table = TabWriter::new(std::io::stdout());
    writeln!(table, "ROLE\tREQUEST\tBY\tFOR\tPURPOSE\tWAITS FOR")?;
    for (role, request) in &waiting {
        writeln!(table, "{role}\t{}", row(request))?;
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

/// A request, in columns.
fn row(request: &PendingRequest) -> String {
    let PendingRequest { request: of, requesters, scope } = request;
    let subjects: Vec<_> = scope.subjects.iter().map(|s| format!("{:?}/{}", s.kind, s.name)).collect();
    let stream = |s: &crate::api::ApprovedStream| {
        let access: Vec<_> = s.access.iter().map(|a| format!("{a:?}")).collect();
        format!("{}/{} ({})", s.product, s.stream, access.join(", "))
    };
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
