//! The partner API: where other organisations answer invitations, fetch credentials and see their shares, without any access to
//! Kubernetes. A process of its own, with few rights and no secrets: what it hands out is encrypted for the partner already.
//!
//! | module | what |
//! | --- | --- |
//! | [`tls`] | TLS 1.3; a client's certificate proves that it has a key, and nothing else |
//! | [`limits`] | how much a caller may ask |
//! | [`routes`] | HTTP |
//! | [`desk`] | what each call does |

mod desk;
mod limits;
mod routes;
mod tls;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use kube::Client;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use self::desk::Desk;
use self::limits::Limits;
use self::tls::{Certificates, Peer};

/// Connections at once; more wait.
const CONNECTIONS: usize = 256;
/// How long a TLS handshake, or the head of a request, may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a connection may last.
const LONGEST: Duration = Duration::from_secs(30);

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
    let certificates = Certificates::read(&settings.certificate)?;
    let listener = TcpListener::bind(settings.listen).await;
    let listener = listener.with_context(|| format!("failed to listen on {}", settings.listen))?;
    let readiness = crate::web::Readiness::default();
    let probes =
        tokio::spawn(crate::web::serve(settings.probes, readiness.clone(), Default::default(), shutdown.clone()));
    let desk = Arc::new(Desk::open(client, &settings.namespace, &shutdown).await?);
    readiness.set(true);
    info!(address = %settings.listen, "serving partners");
    tokio::spawn(certificates.clone().keep_reading(shutdown.clone()));
    let limits = Arc::new(Limits::default());
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = places.clone().acquire_owned().await.context("the semaphore is never closed")?;
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        let Ok((stream, address)) = accepted else {
            // No more file descriptors, or a caller that gave up.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (certificates, desk, limits) = (certificates.clone(), desk.clone(), limits.clone());
        tokio::spawn(async move {
            let served = timeout(LONGEST, serve(stream, address, certificates, desk, limits)).await;
            if !matches!(served, Ok(Ok(()))) {
                debug!(%address, "a connection ended early");
            }
            drop(place);
        });
    }
    probes.await.context("the server of probes failed")?.context("failed to serve probes")
}

async fn serve(
    stream: TcpStream,
    address: SocketAddr,
    certificates: Certificates,
    desk: Arc<Desk>,
    limits: Arc<Limits>,
) -> anyhow::Result<()> {
    let stream = timeout(PATIENCE, certificates.acceptor().accept(stream)).await??;
    let peer = Peer::of(&stream, address);
    let service = TowerToHyperService::new(routes::router(desk, limits, peer));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service);
    connection.await.inspect_err(|error| warn!(%address, %error, "a connection failed")).context("a connection failed")
}
