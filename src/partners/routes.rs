//! HTTP of the partner API. Every answer is JSON; every refusal says why, and tells strangers nothing.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use jiff::Timestamp;
use prometheus::IntCounterVec;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::desk::{Desk, Refused};
use super::limits::Limits;
use super::tls::Peer;
use crate::domain::audit::callers::Callers;
use crate::domain::exchange::{Accept, Because, Refusal};
use crate::domain::secret::Secret;

/// The largest request that is read, in bytes.
const LARGEST: usize = 16 * 1024;

/// One connection: who it is, and whom it asks.
#[derive(Clone)]
struct Call {
    desk: Arc<Desk>,
    limits: Arc<Limits>,
    peer: Peer,
}

/// The routes, as `peer` calls them. `answers` counts by status; who is turned away is counted among the `callers`.
pub fn router(
    desk: Arc<Desk>,
    limits: Arc<Limits>,
    peer: Peer,
    (answers, callers): (IntCounterVec, Arc<Callers>),
) -> Router {
    let address = peer.address;
    let count = move |answer: Response| {
        answers.with_label_values(&[answer.status().as_str()]).inc();
        if let Some(why) = turned_away(answer.status()) {
            callers.turn_away(address, why.to_owned(), Timestamp::now());
        }
        async { answer }
    };
    Router::new()
        .route("/v1/invitation", get(look))
        .route("/v1/invitation/contract", get(offered_contract))
        .route("/v1/invitation/acceptance", post(accept))
        .route("/v1/invitation/rejection", post(reject))
        .route("/v1/shares", get(shares))
        .route("/v1/shares/{share}/contract", get(contract))
        .route("/v1/shares/{share}/credential", post(fetch))
        .route("/v1/shares/{share}/rotation", post(rotate))
        .route("/v1/shares/{share}/withdrawal", post(withdraw))
        .fallback(|| async { refused(StatusCode::NOT_FOUND, "there is nothing here") })
        .layer(DefaultBodyLimit::max(LARGEST))
        .layer(map_response(count))
        .with_state(Call { desk, limits, peer })
}

impl Call {
    /// The secret of an invitation.
    fn invitation(&self, headers: &HeaderMap) -> Result<Secret, Refused> {
        self.heard()?;
        if !self.limits.allow_stranger() {
            return Err(too_many());
        }
        let value = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
        let secret = value.and_then(|v| v.strip_prefix("Bearer ")).filter(|secret| !secret.is_empty());
        let missing =
            || Refused::new(StatusCode::UNAUTHORIZED, "this takes the header Authorization: Bearer INVITATION");
        Ok(Secret::new(secret.ok_or_else(missing)?))
    }

    /// The key of a partner.
    fn key(&self) -> Result<&str, Refused> {
        self.heard()?;
        let missing = || {
            Refused::new(
                StatusCode::UNAUTHORIZED,
                "this takes the certificate that was made when the share was accepted",
            )
        };
        self.peer.key.as_deref().ok_or_else(missing)
    }

    fn heard(&self) -> Result<(), Refused> {
        if self.limits.allow(self.peer.address) { Ok(()) } else { Err(too_many()) }
    }
}

/// Why somebody gets nothing at all, by the status of the answer.
fn turned_away(status: StatusCode) -> Option<&'static str> {
    match status {
        StatusCode::UNAUTHORIZED => Some("it has neither an accepted key nor an invitation that can be answered"),
        StatusCode::FORBIDDEN => Some("no such share was accepted with its certificate"),
        _ => None,
    }
}

fn too_many() -> Refused {
    Refused::new(StatusCode::TOO_MANY_REQUESTS, "that was asked too often: try again in a minute")
}

async fn look(State(call): State<Call>, headers: HeaderMap) -> Response {
    let done = async { call.desk.look(&call.invitation(&headers)?, call.peer.key.as_deref()).await };
    answer(StatusCode::OK, done.await)
}

async fn offered_contract(State(call): State<Call>, headers: HeaderMap) -> Response {
    let done = async { call.desk.offered_contract(&call.invitation(&headers)?, call.peer.key.as_deref()).await };
    answer(StatusCode::OK, done.await)
}

async fn contract(State(call): State<Call>, Path(share): Path<String>) -> Response {
    let done = async { call.desk.contract(call.key()?, &share) };
    answer(StatusCode::OK, done.await)
}

async fn accept(State(call): State<Call>, headers: HeaderMap, body: Bytes) -> Response {
    let done = async {
        let secret = call.invitation(&headers)?;
        let key = call.key()?;
        call.desk.accept(&secret, key, read::<Accept>(&body)?).await
    };
    answer(StatusCode::CREATED, done.await)
}

async fn reject(State(call): State<Call>, headers: HeaderMap, body: Bytes) -> Response {
    let done = async {
        let secret = call.invitation(&headers)?;
        call.desk.reject(&secret, read::<Because>(&body)?).await
    };
    answer(StatusCode::CREATED, done.await)
}

async fn shares(State(call): State<Call>) -> Response {
    let done = async { Ok(call.desk.shares(call.key()?)) };
    answer(StatusCode::OK, done.await)
}

async fn fetch(State(call): State<Call>, Path(share): Path<String>) -> Response {
    let done = async { call.desk.fetch(call.key()?, &share).await };
    answer(StatusCode::OK, done.await)
}

async fn rotate(State(call): State<Call>, Path(share): Path<String>) -> Response {
    let done = async { call.desk.rotate(call.key()?, &share).await };
    answer(StatusCode::ACCEPTED, done.await)
}

async fn withdraw(State(call): State<Call>, Path(share): Path<String>, body: Bytes) -> Response {
    let done = async { call.desk.withdraw(call.key()?, &share, read::<Because>(&body)?).await };
    answer(StatusCode::CREATED, done.await)
}

fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, Refused> {
    serde_json::from_slice(body)
        .map_err(|e| Refused::new(StatusCode::BAD_REQUEST, format!("failed to read the body: {e}")))
}

fn answer<T: Serialize>(status: StatusCode, done: Result<T, Refused>) -> Response {
    match done {
        Ok(value) => json(status, &value),
        Err(Refused { status, why }) => refused(status, &why),
    }
}

fn refused(status: StatusCode, why: &str) -> Response {
    json(status, &Refusal { error: why.to_owned() })
}

fn json<T: Serialize>(status: StatusCode, value: &T) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    // These types have string keys only: this cannot fail.
    (status, headers, serde_json::to_vec(value).unwrap_or_default()).into_response()
}
