//! The intake: shippers of brokers' logs post to it over HTTPS, each with the token of its StreamCluster. What is sent is parsed here
//! and nothing of it is kept but refusals of clients. Whoever sends more than can be taken is told to come again.
//!
//! Only the leader takes anything. The other instances pass connections on to it as they are, without looking into them.

mod tokens;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http_body_util::BodyExt;
use jiff::Timestamp;
use prometheus::{IntCounterVec, Opts, Registry};
use rustls::server::WebPkiClientVerifier;
use serde_json::{Value, json};
use tokio::io::{AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower_http::decompression::RequestDecompressionLayer;

pub use self::tokens::{Digested, Known, Taken, Tokens, digest};
use crate::domain::audit::callers::Callers;
use crate::domain::audit::heard::post::{self, Unfit};
use crate::domain::audit::heard::{Refusal, fit};
use crate::tls::server::{Bounds, Certificates, serve};

/// The largest body that is taken, in bytes, once it is decompressed.
pub const LARGEST: usize = 4 * 1024 * 1024;
/// How much of what is not taken is read all the same, in bytes: whoever still sends would not see the answer.
const HEARD_OUT: usize = 16 * 1024 * 1024;
/// The same for callers without a token.
const OF_STRANGERS: usize = 64 * 1024;
/// Bodies that are read at once.
const AT_ONCE: usize = 4;
/// Bodies that are parsed at once.
const PARSED: usize = 2;
/// What shippers may take up. They keep their connections.
const BOUNDS: Bounds =
    Bounds { connections: 128, longest: Duration::from_secs(600), unproven: Duration::from_secs(30) };
/// Posts that wait to be counted.
const QUEUE: usize = 64;
/// Refusals in them.
const WAITING: usize = 100_000;
/// How long a body may take.
const BODY: Duration = Duration::from_secs(30);
/// How long it may take to reach the leader.
const PATIENCE: Duration = Duration::from_secs(5);
/// Connections that are passed on at once.
const PASSED_ON: usize = 128;

/// Passes on in both directions until the leader ends it, whatever the caller still holds open.
async fn pass_between(from: &mut TcpStream, to: &mut TcpStream) {
    let ((mut asked, mut told), (mut answered, mut asking)) = (from.split(), to.split());
    let there = async {
        let _ = copy(&mut asked, &mut asking).await;
        // The leader sees that the caller is gone.
        let _ = asking.shutdown().await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        answered = copy(&mut answered, &mut told) => drop(answered),
        () = there => {}
    }
}

/// What one post told.
#[derive(Debug)]
pub struct Heard {
    /// Of which StreamCluster.
    pub cluster: String,
    /// Who was refused what.
    pub refusals: Vec<Refusal>,
    /// What it takes up until it is counted.
    _room: OwnedSemaphorePermit,
}

/// What is heard, on its way to whoever counts it: so many posts, and so many refusals in them.
#[derive(Clone)]
pub struct ToCount {
    posts: mpsc::Sender<Heard>,
    room: Arc<Semaphore>,
}

impl ToCount {
    /// Passes refusals on; whether there was room.
    fn try_send(&self, cluster: &str, refusals: Vec<Refusal>) -> bool {
        let Ok(_room) = self.room.clone().try_acquire_many_owned(size(&refusals)) else { return false };
        self.posts.try_send(Heard { cluster: cluster.to_owned(), refusals, _room }).is_ok()
    }

    /// The same, once there is room; `false` where nobody counts any more.
    pub async fn send(&self, cluster: &str, refusals: Vec<Refusal>) -> bool {
        let Ok(_room) = self.room.clone().acquire_many_owned(size(&refusals)).await else { return false };
        self.posts.send(Heard { cluster: cluster.to_owned(), refusals, _room }).await.is_ok()
    }
}

fn size(refusals: &[Refusal]) -> u32 {
    u32::try_from(refusals.len().min(WAITING)).unwrap_or(u32::MAX)
}

/// Both ends of that way.
pub fn channel() -> (ToCount, mpsc::Receiver<Heard>) {
    let (posts, heard) = mpsc::channel(QUEUE);
    (ToCount { posts, room: Arc::new(Semaphore::new(WAITING)) }, heard)
}

#[derive(Clone)]
struct Intake {
    tokens: Tokens,
    heard: ToCount,
    callers: Arc<Callers>,
    records: IntCounterVec,
    bodies: Arc<Semaphore>,
    parsing: Arc<Semaphore>,
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
                // What comes is passed on at once, however small.
                let _ = from.set_nodelay(true).and(to.set_nodelay(true));
                tokio::select! {
                    passed = timeout(BOUNDS.longest, pass_between(&mut from, &mut to)) => drop(passed),
                    () = leading.cancelled() => {}
                }
            }
            drop(place);
        });
    }
}

/// Takes what is posted until `shutdown`, and passes it to `heard`; who has no token is counted among the `callers`.
///
/// # Errors
/// The metrics are there already.
pub fn take(
    (listener, certificates): (TcpListener, Certificates),
    tokens: Tokens,
    (heard, callers): (ToCount, Arc<Callers>),
    registry: &Registry,
    shutdown: CancellationToken,
) -> prometheus::Result<()> {
    let help = "Records posted to the intake, by what became of them";
    let records = IntCounterVec::new(Opts::new("weir_intake_records_total", help), &["result"])?;
    registry.register(Box::new(records.clone()))?;
    let places = |n| Arc::new(Semaphore::new(n));
    let intake = Intake { tokens, heard, callers, records, bodies: places(AT_ONCE), parsing: places(PARSED) };
    let routes = move |_: &_, address: SocketAddr| router(intake.clone(), address.ip());
    tokio::spawn(serve(listener, certificates, BOUNDS, shutdown, routes));
    Ok(())
}

/// The routes, as somebody calls them from `address`.
fn router(intake: Intake, address: IpAddr) -> Router {
    Router::new()
        .route("/v1/clusters/{cluster}/logs", post(take_logs))
        .fallback(nothing_there)
        .layer(RequestDecompressionLayer::new())
        .layer(map_response(close_unless_taken))
        .with_state((intake, address))
}

async fn nothing_there(request: Request) -> Response {
    hear_out(request).await;
    refused(StatusCode::NOT_FOUND, "post to /v1/clusters/{StreamCluster}/logs")
}

/// Whoever is refused keeps no connection; whoever comes again does.
async fn close_unless_taken(mut answer: Response) -> Response {
    if !answer.status().is_success() && answer.status() != StatusCode::SERVICE_UNAVAILABLE {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

/// The intake's certificate. Callers show none: they have tokens.
///
/// # Errors
/// It cannot be read.
pub fn certificates(directory: &std::path::Path) -> anyhow::Result<Certificates> {
    Certificates::read(directory, WebPkiClientVerifier::no_client_auth())
}

async fn take_logs(
    State((intake, address)): State<(Intake, IpAddr)>,
    Path(cluster): Path<String>,
    headers: HeaderMap,
    request: Request,
) -> Response {
    let count = |result: &str, n: usize| intake.records.with_label_values(&[result]).inc_by(n as u64);
    let value = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    let token = value.and_then(|v| v.strip_prefix("Bearer "));
    let has_it = match token {
        Some(token) => intake.tokens.has(&cluster, token).await,
        None => Some(false),
    };
    match has_it {
        Some(true) => {}
        Some(false) => {
            count("unauthorized", 1);
            let shown = if token.is_some() { "shows a token that is none" } else { "shows no token" };
            let why = format!("it {shown} of StreamCluster {}", fit(&cluster));
            intake.callers.turn_away(address, why, Timestamp::now());
            hear_out(request).await;
            let why = "this takes the header Authorization: Bearer TOKEN, with a token of the StreamCluster";
            return refused(StatusCode::UNAUTHORIZED, why);
        }
        // A shipper may throw away what is refused.
        None => {
            count("put-off", 1);
            hear_out(request).await;
            return put_off("which tokens are taken is not known yet: send it again");
        }
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
    let post = match parse_in_turn(&intake.parsing, headers, body).await {
        Ok(post) => post,
        Err((status, why)) => {
            count("unreadable", 1);
            return refused(status, &why);
        }
    };
    let (refusals, others) = (post.refusals.len(), post.others);
    if refusals > 0 && !intake.heard.try_send(&cluster, post.refusals) {
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

/// Reads what a caller without rights still sends, up to a bound: it would not see the answer.
async fn hear_out(request: Request) {
    let _ = timeout(PATIENCE, read(request, 0, OF_STRANGERS)).await;
}

/// Parses where that holds nobody up. The place is taken until it is done, also where the caller is gone.
async fn parse_in_turn(places: &Arc<Semaphore>, headers: HeaderMap, body: Vec<u8>) -> Result<post::Post, Refusing> {
    let place = places.clone().acquire_owned().await;
    let parsed = spawn_blocking(move || {
        let _place = place;
        parse(&headers, &body)
    });
    parsed.await.unwrap_or_else(|_| Err((StatusCode::INTERNAL_SERVER_ERROR, "the body cannot be read".into())))
}

/// Why something is not taken.
type Refusing = (StatusCode, String);

fn parse(headers: &HeaderMap, body: &[u8]) -> Result<post::Post, Refusing> {
    let type_ = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("text/plain");
    match type_.split(';').next().unwrap_or_default().trim() {
        "text/plain" => Ok(post::lines(body)),
        "application/json"
        | "application/x-ndjson"
        | "application/cloudevents+json"
        | "application/cloudevents-batch+json" => post::json(body).map_err(|why| match why {
            Unfit::TooHeavy => (StatusCode::PAYLOAD_TOO_LARGE, why.to_string()),
            Unfit::Unreadable(why) => (StatusCode::BAD_REQUEST, why),
        }),
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
    answer(status, &json!({"error": why}))
}

fn answer(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

#[cfg(test)]
mod tests;
