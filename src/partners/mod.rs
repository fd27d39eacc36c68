//! The partner API: where other organisations answer invitations, fetch credentials and see their shares, without any access to
//! Kubernetes. A process of its own, with few rights and no secrets: what it hands out is encrypted for the partner already.
//!
//! | module | what |
//! | --- | --- |
//! | [`tls`] | TLS 1.3; a client's certificate proves that it has a key, and nothing else |
//! | [`limits`] | how much a caller may ask |
//! | [`routes`] | HTTP |
//! | [`desk`] | what each call does |
//! | [`turned_away`] | who gets nothing is reported to the operator |

mod desk;
mod limits;
mod routes;
mod tls;
mod turned_away;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use kube::Client;
use prometheus::{IntCounterVec, Opts, Registry};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tracing::info;

use self::desk::Desk;
use self::limits::Limits;
use self::tls::Peer;
use crate::domain::audit::callers::{Callers, PARTNERS};
use crate::k8s::reports::Reports;
use crate::tls::server::{self, Bounds, Certificates};

/// What callers may take up.
const BOUNDS: Bounds = Bounds { connections: 256, longest: Duration::from_secs(30), unproven: Duration::from_secs(30) };

/// How it is run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Weir's own namespace, where partners' credentials are on their way.
    pub namespace: String,
    /// Where partners call.
    pub listen: SocketAddr,
    /// Where probes call, over plain HTTP.
    pub probes: SocketAddr,
    /// `tls.crt` and `tls.key` of this server; read again when they change.
    pub certificate: PathBuf,
}

/// Serves until `shutdown`.
///
/// # Errors
/// It cannot reach the API server, or read its certificate, or listen.
pub async fn run(settings: Settings, shutdown: CancellationToken) -> anyhow::Result<()> {
    let client = Client::try_default().await.context("failed to find out how to reach the API server")?;
    let certificates = Certificates::read(&settings.certificate, tls::any_key())?;
    let listener = TcpListener::bind(settings.listen).await;
    let listener = listener.with_context(|| format!("failed to listen on {}", settings.listen))?;
    let readiness = crate::web::Readiness::default();
    let registry = Registry::new();
    let help = "Answers of the partner API, by HTTP status";
    let answers = IntCounterVec::new(Opts::new("weir_partner_answers_total", help), &["status"])?;
    registry.register(Box::new(answers.clone()))?;
    let probes = tokio::spawn(crate::web::serve(settings.probes, readiness.clone(), registry, shutdown.clone()));
    let reports = Reports::new(client.clone(), &settings.namespace);
    let desk = Arc::new(Desk::open(client, &settings.namespace, &shutdown).await?);
    let callers = Arc::new(Callers::new(PARTNERS));
    let served = CancellationToken::new();
    let reporting = tokio::spawn(turned_away::report(callers.clone(), reports, served.clone()));
    readiness.set(true);
    info!(address = %settings.listen, "serving partners");
    let limits = Arc::new(Limits::default());
    let routes = move |stream: &TlsStream<TcpStream>, address| {
        routes::router(desk.clone(), limits.clone(), Peer::of(stream, address), (answers.clone(), callers.clone()))
    };
    server::serve(listener, certificates, BOUNDS, shutdown, routes).await?;
    served.cancel();
    reporting.await.context("the reporter of callers failed")?;
    probes.await.context("the server of probes failed")?.context("failed to serve probes")
}
