//! What callers are answered.

use std::net::Ipv4Addr;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use axum::response::Response;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use prometheus::{IntCounterVec, Opts};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout};

use super::{
    Heard, Intake, Known, LARGEST, PATIENCE, QUEUE, Taken, Tokens, WAITING, channel, digest, pass_between, router,
};
use crate::api::EventSource;
use crate::domain::audit::callers::{Callers, INTAKE};
use crate::domain::audit::heard::{Refusal, Refused};

const TOKEN: &str = "a-token-of-the-cluster";
const DENIED: &str = r#"{"logger":"kafka.authorizer.logger","message":"Principal = User:a is Denied operation = READ from host = 192.0.2.7 on resource = Topic:LITERAL:t for request = Fetch"}"#;

fn intake(tokens: &Tokens) -> (TowerToHyperService<axum::Router>, mpsc::Receiver<Heard>) {
    let (intake, to_count, _) = counted(tokens);
    (intake, to_count)
}

/// The same, with who counts whom it turned away.
fn counted(tokens: &Tokens) -> (TowerToHyperService<axum::Router>, mpsc::Receiver<Heard>, Arc<Callers>) {
    let (heard, to_count) = channel();
    let callers = Arc::new(Callers::new(INTAKE));
    let records = IntCounterVec::new(Opts::new("records", "of a test"), &["result"]).unwrap();
    let places = |n| Arc::new(Semaphore::new(n));
    let (of_all, bodies, parsing) = (callers.clone(), places(4), places(2));
    let intake = Intake { tokens: tokens.clone(), heard, callers: of_all, records, bodies, parsing };
    (TowerToHyperService::new(router(intake, Ipv4Addr::LOCALHOST.into())), to_count, callers)
}

/// What Secrets say: of these clusters, these tokens.
fn known(of: &[(&str, &[&str])]) -> Known {
    let taken = |tokens: &[&str]| Taken { digests: tokens.iter().map(|t| digest(t)).collect(), is_certain: true };
    of.iter().map(|(cluster, tokens)| ((*cluster).to_owned(), taken(tokens))).collect()
}

/// They are read, and whenever somebody shows an unknown token read anew.
fn keep(tokens: &Tokens, first: Known, then: Known) {
    tokens.set(Instant::now(), first);
    let tokens = tokens.clone();
    tokio::spawn(async move {
        loop {
            tokens.wanted().await;
            tokens.set(Instant::now(), then.clone());
        }
    });
}

fn read(cluster: &str) -> Tokens {
    let tokens = Tokens::default();
    keep(&tokens, known(&[(cluster, &[TOKEN])]), known(&[(cluster, &[TOKEN])]));
    tokens
}

async fn post(intake: &TowerToHyperService<axum::Router>, path: &str, body: impl Into<Body>) -> Response {
    let request = Request::post(path).header(header::AUTHORIZATION, format!("Bearer {TOKEN}"));
    let request = request.header(header::CONTENT_TYPE, "application/json").body(body.into()).unwrap();
    intake.call(request).await.unwrap()
}

fn closes(answer: &Response) -> bool {
    answer.headers().get(header::CONNECTION).is_some_and(|v| v == "close")
}

#[tokio::test]
async fn while_nobody_knows_the_tokens_a_shipper_is_asked_to_come_again() {
    let tokens = Tokens::default();
    let (intake, _heard) = intake(&tokens);
    let before = post(&intake, "/v1/clusters/main/logs", DENIED).await;
    assert_eq!(before.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(before.headers().contains_key(header::RETRY_AFTER) && !closes(&before));
    // Of this one nobody could ask yet; of the other one the Secret is wrong.
    let all = [known(&[("other", &[])]), [("main".to_owned(), Taken::default())].into()];
    let all: Known = all.into_iter().flatten().collect();
    keep(&tokens, all.clone(), all);
    let status = async |cluster: &str| post(&intake, &format!("/v1/clusters/{cluster}/logs"), DENIED).await.status();
    assert_eq!(status("main").await, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(status("other").await, StatusCode::UNAUTHORIZED);
    assert_eq!(status("of-nobody").await, StatusCode::UNAUTHORIZED);
}

/// Not who is put off.
#[tokio::test]
async fn whoever_has_no_token_is_counted() {
    let (intake, _heard, callers) = counted(&read("main"));
    for (cluster, status) in [("main", StatusCode::OK), ("other", StatusCode::UNAUTHORIZED)] {
        assert_eq!(post(&intake, &format!("/v1/clusters/{cluster}/logs"), DENIED).await.status(), status);
    }
    let (waiting, _heard, of_waiting) = counted(&Tokens::default());
    assert_eq!(post(&waiting, "/v1/clusters/x/logs", DENIED).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(of_waiting.close_all().is_empty());
    let counted = callers.close_all();
    let [one] = counted.as_slice() else { panic!("{counted:?}") };
    assert_eq!((one.count, one.why.as_deref()), (1, Some("it shows a token that is none of StreamCluster other")));
    assert_eq!(one.addresses, ["127.0.0.1".to_owned()].into());
}

/// A shipper throws away what is refused.
#[tokio::test]
async fn a_token_that_was_made_a_moment_ago_is_not_refused() {
    let tokens = Tokens::default();
    keep(
        &tokens,
        known(&[("main", &["the-one-before"])]),
        known(&[("main", &["the-one-before", TOKEN]), ("new", &[TOKEN])]),
    );
    let (intake, _heard) = intake(&tokens);
    for cluster in ["new", "main"] {
        let path = format!("/v1/clusters/{cluster}/logs");
        assert_eq!(post(&intake, &path, DENIED).await.status(), StatusCode::OK);
    }
}

/// While it cannot be asked whether a token is a new one, it may be.
#[tokio::test]
async fn a_token_that_nobody_can_ask_about_is_put_off_and_known_ones_are_taken() {
    let tokens = Tokens::default();
    let before = |token: &str| Taken { digests: vec![digest(token)], is_certain: false };
    tokens.set(Instant::now(), [("main".to_owned(), before(TOKEN)), ("other".to_owned(), before("older"))].into());
    let (intake, _heard) = intake(&tokens);
    assert_eq!(post(&intake, "/v1/clusters/main/logs", DENIED).await.status(), StatusCode::OK);
    let other = post(&intake, "/v1/clusters/other/logs", DENIED).await;
    assert_eq!(other.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn what_is_taken_is_passed_on_and_whoever_is_refused_keeps_no_connection() {
    let (intake, mut heard) = intake(&read("main"));
    let taken = post(&intake, "/v1/clusters/main/logs", DENIED).await;
    assert!(taken.status() == StatusCode::OK && !closes(&taken));
    assert_eq!(heard.recv().await.unwrap().refusals.len(), 1);
    for (path, body, status) in [
        ("/v1/clusters/other/logs", DENIED, StatusCode::UNAUTHORIZED),
        ("/v1/clusters/main/logs", "{", StatusCode::BAD_REQUEST),
        ("/elsewhere", DENIED, StatusCode::NOT_FOUND),
    ] {
        let answer = post(&intake, path, body).await;
        assert!(answer.status() == status && closes(&answer), "{path}: {answer:?}");
    }
}

#[tokio::test]
async fn whoever_sends_more_than_there_is_room_for_is_asked_to_come_again_and_then_heard() {
    let (intake, mut heard) = intake(&read("main"));
    let path = "/v1/clusters/main/logs";
    for _ in 0..QUEUE {
        assert_eq!(post(&intake, path, DENIED).await.status(), StatusCode::OK);
    }
    let answer = post(&intake, path, DENIED).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key(header::RETRY_AFTER) && !closes(&answer), "{answer:?}");
    // What tells of nobody's refusal takes no room.
    assert_eq!(post(&intake, path, r#"{"message":"started"}"#).await.status(), StatusCode::OK);
    drop(heard.recv().await);
    assert_eq!(post(&intake, path, DENIED).await.status(), StatusCode::OK);
    let taken = std::iter::from_fn(|| heard.try_recv().ok()).count();
    assert_eq!(taken, QUEUE, "all that was answered with 200, and nothing else");
}

#[tokio::test]
async fn a_body_that_would_take_up_too_much_is_too_large() {
    let (intake, _heard) = intake(&read("main"));
    let answer = post(&intake, "/v1/clusters/main/logs", r#"{"a":0},"#.repeat(LARGEST / 8)).await;
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let said = axum::body::to_bytes(answer.into_body(), 1024).await.unwrap();
    assert!(String::from_utf8_lossy(&said).contains("send smaller batches"), "{said:?}");
}

#[tokio::test]
async fn no_more_refusals_wait_than_there_is_room_for() {
    let refusal = Refusal {
        what: Refused::Login { mechanism: None },
        principal: None,
        address: None,
        why: None,
        at: None,
        source: EventSource::BrokerLog,
    };
    let (to_count, mut heard) = channel();
    assert!(to_count.try_send("main", vec![refusal.clone(); WAITING]));
    assert!(!to_count.try_send("main", vec![refusal.clone()]));
    drop(heard.recv().await);
    assert!(to_count.try_send("main", vec![refusal]));
}

#[tokio::test]
async fn what_the_leader_ends_is_over_also_where_the_caller_stays() {
    let bind = || async { TcpListener::bind("127.0.0.1:0").await.unwrap() };
    let (standby, leader) = (bind().await, bind().await);
    let mut caller = TcpStream::connect(standby.local_addr().unwrap()).await.unwrap();
    let (mut from, _) = standby.accept().await.unwrap();
    let mut to = TcpStream::connect(leader.local_addr().unwrap()).await.unwrap();
    let (mut asked, _) = leader.accept().await.unwrap();
    let passed = tokio::spawn(async move { pass_between(&mut from, &mut to).await });
    caller.write_all(b"ask").await.unwrap();
    let mut heard = [0; 3];
    asked.read_exact(&mut heard).await.unwrap();
    asked.write_all(b"end").await.unwrap();
    drop(asked);
    timeout(PATIENCE, passed).await.unwrap().unwrap();
    let mut answered = Vec::new();
    caller.read_to_end(&mut answered).await.unwrap();
    assert_eq!((&heard, answered.as_slice()), (b"ask", b"end".as_slice()));
}
