//! The intake: shippers of brokers' logs post to it over HTTPS, each with the token of its StreamCluster. What is sent is parsed here
//! and nothing of it is kept but refusals of clients. Whoever sends more than can be taken is told to come again.
//!
//! Only the leader takes anything. The other instances pass connections on to it as they are, without looking into them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http_body_util::BodyExt;
use prometheus::{IntCounterVec, Opts, Registry};
use rustls::server::WebPkiClientVerifier;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower_http::decompression::RequestDecompressionLayer;

use crate::domain::audit::heard::{Refusal, post};
use crate::tls::server::{Bounds, Certificates, serve};

/// The largest body that is taken, in bytes, once it is decompressed.
pub const LARGEST: usize = 4 * 1024 * 1024;
/// How much of what is not taken is read all the same, in bytes: whoever still sends would not see the answer.
const HEARD_OUT: usize = 16 * 1024 * 1024;
/// The same for callers without a token.
const OF_STRANGERS: usize = 64 * 1024;
/// Bodies that are read at once.
const AT_ONCE: usize = 4;
/// What shippers may take up. They keep their connections.
const BOUNDS: Bounds = Bounds { connections: 128, longest: Duration::from_secs(600) };
/// Posts that wait to be counted.
const QUEUE: usize = 64;
/// How long a body may take.
const BODY: Duration = Duration::from_secs(30);
/// How long it may take to reach the leader.
const PATIENCE: Duration = Duration::from_secs(5);
/// Connections that are passed on at once.
const PASSED_ON: usize = 128;

/// What one post told.
#[derive(Debug)]
pub struct Heard {
    /// Of which StreamCluster.
    pub cluster: String,
    /// Who was refused what.
    pub refusals: Vec<Refusal>,
}

/// The tokens that are taken, by StreamCluster: SHA-256 of each.
#[derive(Clone, Default)]
pub struct Tokens(Arc<RwLock<BTreeMap<String, Vec<[u8; 32]>>>>);

impl Tokens {
    /// Takes these, and no others.
    pub fn set(&self, tokens: BTreeMap<String, Vec<String>>) {
        let digest = |token: &String| Sha256::digest(token.trim()).into();
        let digests = tokens.iter().map(|(cluster, of)| (cluster.clone(), of.iter().map(digest).collect())).collect();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = digests;
    }

    /// Digests are compared: how long that takes tells nothing of a token.
    fn has(&self, cluster: &str, token: &str) -> bool {
        let digest: [u8; 32] = Sha256::digest(token).into();
        let tokens = self.0.read().unwrap_or_else(PoisonError::into_inner);
        tokens.get(cluster).is_some_and(|of| of.contains(&digest))
    }
}

#[derive(Clone)]
struct Intake {
    tokens: Tokens,
    heard: mpsc::Sender<Heard>,
    records: IntCounterVec,
    bodies: Arc<Semaphore>,
}

/// Where the leader's intake is, as far as it is known.
pub type Leader = watch::Receiver<Option<SocketAddr>>;

/// Passes connections on to the leader, until `leading`.
pub async fn pass_on(listener: &TcpListener, leader: Leader, leading: CancellationToken) {
    let places = Arc::new(Semaphore::new(PASSED_ON));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = leading.cancelled() => return,
        };
        let to = *leader.borrow();
        // Without a leader, or a place, it is closed: shippers come again.
        let (Ok((mut from, _)), Some(to), Ok(place)) = (accepted, to, places.clone().try_acquire_owned()) else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let leading = leading.clone();
        tokio::spawn(async move {
            if let Ok(Ok(mut to)) = timeout(PATIENCE, TcpStream::connect(to)).await {
                tokio::select! {
                    copied = timeout(BOUNDS.longest, copy_bidirectional(&mut from, &mut to)) => drop(copied),
                    () = leading.cancelled() => {}
                }
            }
            drop(place);
        });
    }
}

/// What is heard, on its way to whoever counts it.
pub fn channel() -> (mpsc::Sender<Heard>, mpsc::Receiver<Heard>) {
    mpsc::channel(QUEUE)
}

/// Takes what is posted until `shutdown`, and passes it to `heard`.
///
/// # Errors
/// The metrics are there already.
pub fn take(
    (listener, certificates): (TcpListener, Certificates),
    tokens: Tokens,
    heard: mpsc::Sender<Heard>,
    registry: &Registry,
    shutdown: CancellationToken,
) -> prometheus::Result<()> {
    let help = "Records posted to the intake, by what became of them";
    let records = IntCounterVec::new(Opts::new("weir_intake_records_total", help), &["result"])?;
    registry.register(Box::new(records.clone()))?;
    let intake = Intake { tokens, heard, records, bodies: Arc::new(Semaphore::new(AT_ONCE)) };
    let router = Router::new()
        .route("/v1/clusters/{cluster}/logs", post(take_logs))
        .fallback(|| async { refused(StatusCode::NOT_FOUND, "post to /v1/clusters/{StreamCluster}/logs") })
        .layer(RequestDecompressionLayer::new())
        .with_state(intake);
    tokio::spawn(serve(listener, certificates, BOUNDS, shutdown, move |_, _| router.clone()));
    Ok(())
}

/// The intake's certificate. Callers show none: they have tokens.
///
/// # Errors
/// It cannot be read.
pub fn certificates(directory: &std::path::Path) -> anyhow::Result<Certificates> {
    Certificates::read(directory, WebPkiClientVerifier::no_client_auth())
}

async fn take_logs(
    State(intake): State<Intake>,
    Path(cluster): Path<String>,
    headers: HeaderMap,
    request: Request,
) -> Response {
    let count = |result: &str, n: usize| intake.records.with_label_values(&[result]).inc_by(n as u64);
    let value = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    let token = value.and_then(|v| v.strip_prefix("Bearer "));
    if !token.is_some_and(|token| intake.tokens.has(&cluster, token)) {
        count("unauthorized", 1);
        let _ = timeout(PATIENCE, read(request, 0, OF_STRANGERS)).await;
        let why = "this takes the header Authorization: Bearer TOKEN, with a token of the StreamCluster";
        return refused(StatusCode::UNAUTHORIZED, why);
    }
    // Never closed.
    let _place = intake.bodies.acquire().await;
    let body = match timeout(BODY, read(request, LARGEST, HEARD_OUT)).await {
        Ok(Some(body)) => body,
        Ok(None) => {
            count("unreadable", 1);
            let why = format!("the body cannot be read, or has more than {LARGEST} bytes: send smaller batches");
            return refused(StatusCode::PAYLOAD_TOO_LARGE, &why);
        }
        Err(_) => return put_off("the body did not come in time: send it again"),
    };
    let post = match parse(&headers, &body) {
        Ok(post) => post,
        Err((status, why)) => {
            count("unreadable", 1);
            return refused(status, &why);
        }
    };
    let (refusals, others) = (post.refusals.len(), post.others);
    if refusals > 0 && intake.heard.try_send(Heard { cluster, refusals: post.refusals }).is_err() {
        count("put-off", refusals);
        return put_off("there is too much to take just now: send it again");
    }
    count("refusal", refusals);
    count("other", others);
    // What an exporter of OTLP takes for a whole success.
    answer(StatusCode::OK, &json!({}))
}

/// A body of `most` bytes at most; of a larger one nothing, once `heard_out` bytes of it are read.
async fn read(request: Request, most: usize, heard_out: usize) -> Option<Vec<u8>> {
    let mut body = request.into_body();
    let (mut kept, mut seen) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.ok()?.into_data() else { continue };
        seen += data.len();
        if seen <= most {
            kept.extend_from_slice(&data);
        } else if seen > heard_out {
            return None;
        }
    }
    (seen <= most).then_some(kept)
}

fn parse(headers: &HeaderMap, body: &[u8]) -> Result<post::Post, (StatusCode, String)> {
    let type_ = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("text/plain");
    match type_.split(';').next().unwrap_or_default().trim() {
        "text/plain" => Ok(post::lines(body)),
        "application/json"
        | "application/x-ndjson"
        | "application/cloudevents+json"
        | "application/cloudevents-batch+json" => post::json(body).map_err(|why| (StatusCode::BAD_REQUEST, why)),
        other => {
            let why =
                format!("{other}: send text/plain or application/json (an OpenTelemetry exporter: encoding: json)");
            Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, why))
        }
    }
}

/// Whoever can, sends it again.
fn put_off(why: &str) -> Response {
    ([(header::RETRY_AFTER, "1")], refused(StatusCode::SERVICE_UNAVAILABLE, why)).into_response()
}

fn refused(status: StatusCode, why: &str) -> Response {
    let refused = answer(status, &json!({"error": why}));
    // Whoever is unknown keeps no connection.
    let close = [(header::CONNECTION, "close")];
    if status == StatusCode::UNAUTHORIZED { (close, refused).into_response() } else { refused }
}

fn answer(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
