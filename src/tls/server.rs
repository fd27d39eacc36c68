//! The server's side: HTTPS with TLS 1.3, a certificate that is read again when it changes, and bounds on every caller.

use std::convert::Infallible;
use std::future::ready;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context, anyhow};
use axum::Router;
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::middleware::map_response;
use axum::response::Response;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// How often the certificate is looked at.
const EVERY: Duration = Duration::from_secs(60);
/// How long a TLS handshake, or the head of a request, may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The server's certificate, as it is now.
#[derive(Clone)]
pub struct Certificates {
    directory: PathBuf,
    clients: Arc<dyn ClientCertVerifier>,
    current: Arc<RwLock<(Vec<u8>, TlsAcceptor)>>,
}

impl Certificates {
    /// Reads `tls.crt` and `tls.key`. What clients show is looked at by `clients`.
    ///
    /// # Errors
    /// One is missing, or they do not go together.
    pub fn read(directory: &Path, clients: Arc<dyn ClientCertVerifier>) -> anyhow::Result<Self> {
        let current = Arc::new(RwLock::new(load(directory, clients.clone())?));
        Ok(Self { directory: directory.to_owned(), clients, current })
    }

    fn acceptor(&self) -> TlsAcceptor {
        self.current.read().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// Takes a new certificate when there is one; one that cannot be read leaves the present one.
    async fn keep_reading(self, shutdown: CancellationToken) {
        while timeout(EVERY, shutdown.cancelled()).await.is_err() {
            match load(&self.directory, self.clients.clone()) {
                Ok(loaded) => {
                    let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
                    if current.0 != loaded.0 {
                        info!("the certificate was renewed");
                        *current = loaded;
                    }
                }
                Err(error) => {
                    warn!(error = format!("{error:#}"), "the certificate cannot be read; the one before stays")
                }
            }
        }
    }
}

fn load(directory: &Path, clients: Arc<dyn ClientCertVerifier>) -> anyhow::Result<(Vec<u8>, TlsAcceptor)> {
    let read = |name: &str| {
        let path = directory.join(name);
        std::fs::read(&path).with_context(|| format!("failed to read {}", path.display()))
    };
    let (certificate, key) = (read("tls.crt")?, read("tls.key")?);
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&certificate).collect();
    let chain = chain.map_err(|e| anyhow!("tls.crt is no certificate in PEM: {e}"))?;
    let private = PrivateKeyDer::from_pem_slice(&key).map_err(|_| anyhow!("tls.key is no private key in PEM"))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .context("TLS 1.3 is not to be had")?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, private)
        .context("tls.crt and tls.key do not go together")?;
    Ok((certificate, TlsAcceptor::from(Arc::new(config))))
}

/// What callers may take up.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections at once; more wait.
    pub connections: usize,
    /// How long a connection may last.
    pub longest: Duration,
    /// How long one may last on which nothing was answered with success yet: its place is wanted by others.
    pub unproven: Duration,
}

/// Serves until `shutdown`. `routes` makes what answers on a connection.
///
/// # Errors
/// Never, while the process lives.
pub async fn serve(
    listener: TcpListener,
    certificates: Certificates,
    bounds: Bounds,
    shutdown: CancellationToken,
    routes: impl Fn(&TlsStream<TcpStream>, SocketAddr) -> Router + Clone + Send + 'static,
) -> anyhow::Result<()> {
    tokio::spawn(certificates.clone().keep_reading(shutdown.clone()));
    let places = Arc::new(Semaphore::new(bounds.connections));
    loop {
        let place = places.clone().acquire_owned().await.context("the semaphore is never closed")?;
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => return Ok(()),
        };
        let Ok((stream, address)) = accepted else {
            // No more file descriptors, or a caller that gave up.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        // Small writes follow upon one another: none waits until the caller has acknowledged the one before.
        let _ = stream.set_nodelay(true);
        let (acceptor, routes, free) = (certificates.acceptor(), routes.clone(), places.clone());
        // Some callers make a connection for each request, and leave it open: where places are few, none is kept for the next.
        let sparing = map_response(move |mut response: Response| {
            if free.available_permits() < bounds.connections / 2 {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            ready(response)
        });
        let routes = move |stream: &_, address| routes(stream, address).layer(sparing.clone());
        tokio::spawn(async move {
            let proven = Arc::new(AtomicBool::new(false));
            let served = pin!(connection(stream, address, acceptor, routes, proven.clone()));
            if !matches!(within(bounds, served, &proven).await, Some(Ok(()))) {
                debug!(%address, "a connection ended early");
            }
            drop(place);
        });
    }
}

/// What comes of a connection within its time; `None` where that is over.
async fn within<T>(bounds: Bounds, mut served: Pin<&mut impl Future<Output = T>>, proven: &AtomicBool) -> Option<T> {
    let unproven = bounds.unproven.min(bounds.longest);
    match timeout(unproven, &mut served).await {
        Ok(served) => Some(served),
        Err(_) if !proven.load(Ordering::Relaxed) => None,
        Err(_) => timeout(bounds.longest - unproven, served).await.ok(),
    }
}

async fn connection(
    stream: TcpStream,
    address: SocketAddr,
    acceptor: TlsAcceptor,
    routes: impl Fn(&TlsStream<TcpStream>, SocketAddr) -> Router,
    proven: Arc<AtomicBool>,
) -> anyhow::Result<()> {
    let stream = timeout(PATIENCE, acceptor.accept(stream)).await??;
    let routes = TowerToHyperService::new(routes(&stream, address));
    let service = service_fn(move |request| {
        let (answer, proven) = (routes.call(request), proven.clone());
        async move {
            let answer = answer.await?;
            if answer.status().is_success() {
                proven.store(true, Ordering::Relaxed);
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service);
    connection.await.inspect_err(|error| debug!(%address, %error, "a connection failed")).context("a connection failed")
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::pin::pin;
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Bounds, within};

    #[tokio::test]
    async fn a_connection_without_success_ends_soon() {
        let (unproven, longest) = (Duration::from_millis(20), Duration::from_millis(60));
        let bounds = Bounds { connections: 1, longest, unproven };
        for (proven, lasts) in [(false, unproven), (true, longest)] {
            let begun = Instant::now();
            assert!(within(bounds, pin!(pending::<()>()), &AtomicBool::new(proven)).await.is_none());
            assert!(begun.elapsed() >= lasts && (proven || begun.elapsed() < longest), "{:?}", begun.elapsed());
        }
        let done = within(bounds, pin!(async { 7 }), &AtomicBool::new(false)).await;
        assert_eq!(done, Some(7));
    }
}
