//! One connection to one broker: frames, correlation ids, requests in flight, throttling.
//!
//! Requests are pipelined: many may be in flight, and Kafka answers in order. A request that was lost before its
//! first byte was written failed for certain; one lost later may have taken effect.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::ApiVersionsResponse;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{RwLock, RwLockWriteGuard, mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::api::Api;
use super::codes::{retry, unknown_outcome};
use super::frame;
use super::tls::{self, Stream};
use crate::ports::{Disposition, KafkaError};

/// Requests sent by API name, shared by all connections of a client.
pub(super) type Counts = Arc<Mutex<BTreeMap<&'static str, u64>>>;

/// Locks a mutex whose holders cannot leave it half changed.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection. Dropping it closes it.
pub(super) struct Connection {
    shared: Arc<Shared>,
    queue: mpsc::UnboundedSender<(i32, Bytes)>,
    /// Ordinary requests pass under a read lock; re-authentication holds it alone (KIP-368: the broker takes no other
    /// request between the steps of SASL).
    gate: RwLock<()>,
    versions: OnceLock<ApiVersionsResponse>,
    client_id: String,
    counts: Counts,
    quiet_until: Mutex<Option<Instant>>,
    last_used: Mutex<Instant>,
    session_lifetime: Mutex<Option<Duration>>,
}

struct Shared {
    /// `host:port`, for messages.
    peer: String,
    state: Mutex<State>,
    tasks: Mutex<Vec<AbortHandle>>,
}

#[derive(Default)]
struct State {
    next_id: i32,
    waiting: HashMap<i32, Waiting>,
    closed: Option<Closed>,
}

struct Waiting {
    sent: bool,
    reply: oneshot::Sender<Result<Bytes, KafkaError>>,
}

#[derive(Clone)]
struct Closed {
    reason: KafkaError,
    login_refused: bool,
}

impl Connection {
    /// Starts to speak over `stream`. Nothing is sent yet.
    pub(super) fn new(stream: Box<dyn Stream>, peer: String, client_id: String, counts: Counts) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        let (queue, frames) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared { peer, state: Mutex::default(), tasks: Mutex::default() });
        let reading = tokio::spawn(read_frames(Arc::clone(&shared), reader)).abort_handle();
        let writing = tokio::spawn(write_frames(Arc::clone(&shared), writer, frames)).abort_handle();
        lock(&shared.tasks).extend([reading, writing]);
        Self {
            shared,
            queue,
            gate: RwLock::new(()),
            versions: OnceLock::new(),
            client_id,
            counts,
            quiet_until: Mutex::new(None),
            last_used: Mutex::new(Instant::now()),
            session_lifetime: Mutex::new(None),
        }
    }

    /// Sends a request at the highest version that both sides speak, and waits for its answer. Error codes inside the
    /// answer are the caller's to read.
    pub(super) async fn send<R: Api>(&self, request: &R) -> Result<R::Response, KafkaError> {
        let version = self.version::<R>()?;
        let quiet_until = *lock(&self.quiet_until);
        if let Some(until) = quiet_until {
            sleep_until(until).await;
        }
        let answer = {
            let _pass = self.gate.read().await;
            self.enqueue(request, version)?
        };
        self.response::<R>(version, answer).await
    }

    /// Sends a request without passing the gate: for what sets the connection up, and for whoever holds
    /// [`Self::hold`].
    pub(super) async fn send_ungated<R: Api>(&self, request: &R, version: i16) -> Result<R::Response, KafkaError> {
        let answer = self.enqueue(request, version)?;
        self.response::<R>(version, answer).await
    }

    /// Keeps ordinary requests waiting until the guard is dropped.
    pub(super) async fn hold(&self) -> RwLockWriteGuard<'_, ()> {
        self.gate.write().await
    }

    /// The version at which `R` goes to this broker.
    pub(super) fn version<R: Api>(&self) -> Result<i16, KafkaError> {
        let offered = self.versions.get().and_then(|v| v.api_keys.iter().find(|api| api.api_key == R::KEY));
        let highest = offered.map(|api| api.max_version.min(R::MAX));
        match (offered, highest) {
            (Some(api), Some(version)) if version >= R::MIN.max(api.min_version) => Ok(version),
            _ => Err(KafkaError {
                code: Some(super::codes::UNSUPPORTED_VERSION),
                message: format!("failed to send {} to {}: it does not speak a usable version", R::NAME, self.peer()),
                disposition: Disposition::Permanent,
            }),
        }
    }

    /// What the broker said that it speaks.
    pub(super) fn versions(&self) -> Option<&ApiVersionsResponse> {
        self.versions.get()
    }

    /// Remembers what the broker speaks; the first answer stays.
    pub(super) fn set_versions(&self, versions: ApiVersionsResponse) {
        self.versions.get_or_init(|| versions);
    }

    /// The session lifetime that the broker granted last (KIP-368).
    pub(super) fn session_lifetime(&self) -> Option<Duration> {
        *lock(&self.session_lifetime)
    }

    /// Remembers a session lifetime.
    pub(super) fn set_session_lifetime(&self, lifetime: Option<Duration>) {
        *lock(&self.session_lifetime) = lifetime;
    }

    /// `host:port` of the broker.
    pub(super) fn peer(&self) -> &str {
        &self.shared.peer
    }

    /// Whether requests may still be sent.
    pub(super) fn is_open(&self) -> bool {
        lock(&self.shared.state).closed.is_none()
    }

    /// Whether the broker ended the connection over the client's certificate.
    pub(super) fn login_refused(&self) -> bool {
        lock(&self.shared.state).closed.as_ref().is_some_and(|closed| closed.login_refused)
    }

    /// How long nothing was sent.
    pub(super) fn idle(&self) -> Duration {
        lock(&self.last_used).elapsed()
    }

    /// Ends the connection and everything in flight on it.
    pub(super) fn close(&self, reason: KafkaError) {
        self.shared.close(Closed { reason, login_refused: false });
    }

    /// Lets a task end together with the connection.
    pub(super) fn adopt(&self, task: AbortHandle) {
        lock(&self.shared.tasks).push(task);
    }

    fn enqueue<R: Api>(&self, request: &R, version: i16) -> Result<Answer, KafkaError> {
        let (reply, answer) = oneshot::channel();
        let mut state = lock(&self.shared.state);
        if let Some(closed) = &state.closed {
            return Err(before_send(closed));
        }
        let id = state.next_id;
        state.next_id = id.wrapping_add(1);
        let frame = frame::encode(request, version, id, &self.client_id)?;
        state.waiting.insert(id, Waiting { sent: false, reply });
        // Queued under the lock, so that frames leave in the order of their ids.
        if self.queue.send((id, frame)).is_err() {
            state.waiting.remove(&id);
            return Err(retry(format!("failed to send to {}: the connection is closed", self.peer())));
        }
        drop(state);
        *lock(&self.last_used) = Instant::now();
        *lock(&self.counts).entry(R::NAME).or_default() += 1;
        Ok(answer)
    }

    async fn response<R: Api>(&self, version: i16, answer: Answer) -> Result<R::Response, KafkaError> {
        let frame = match timeout(R::TIMEOUT, answer).await {
            Ok(Ok(frame)) => frame?,
            Ok(Err(_)) => {
                return Err(unknown_outcome(format!("failed to hear from {}: the connection is closed", self.peer())));
            }
            Err(_) => {
                let seconds = R::TIMEOUT.as_secs();
                let e = unknown_outcome(format!("{} did not answer {} within {seconds} s", self.peer(), R::NAME));
                self.close(e.clone());
                return Err(e);
            }
        };
        let response = frame::decode::<R>(frame, version).map_err(|e| {
            unknown_outcome(format!("failed to read the answer of {} to {}: {e}", self.peer(), R::NAME))
        })?;
        let throttle = R::throttle_ms(&response);
        if throttle > 0 {
            let until = Instant::now() + Duration::from_millis(u64::from(throttle.unsigned_abs()));
            let mut quiet_until = lock(&self.quiet_until);
            *quiet_until = Some(quiet_until.map_or(until, |earlier| earlier.max(until)));
        }
        Ok(response)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close(retry("the connection is no longer needed"));
    }
}

type Answer = oneshot::Receiver<Result<Bytes, KafkaError>>;

fn before_send(closed: &Closed) -> KafkaError {
    match closed.reason.disposition {
        Disposition::Permanent => closed.reason.clone(),
        _ => retry(closed.reason.message.clone()),
    }
}

impl Shared {
    fn close(&self, closed: Closed) {
        let waiting = {
            let mut state = lock(&self.state);
            if state.closed.is_none() {
                state.closed = Some(closed.clone());
            }
            std::mem::take(&mut state.waiting)
        };
        for (_, Waiting { sent, reply }) in waiting {
            let e = match closed.reason.disposition {
                Disposition::Permanent => closed.reason.clone(),
                _ if sent => unknown_outcome(closed.reason.message.clone()),
                _ => retry(closed.reason.message.clone()),
            };
            // The caller may be gone.
            let _ = reply.send(Err(e));
        }
        for task in lock(&self.tasks).drain(..) {
            task.abort();
        }
    }

    fn fail(&self, e: &std::io::Error) {
        let login_refused = tls::is_certificate_refusal(e);
        let reason = if login_refused {
            tls::error(&self.peer, e)
        } else {
            unknown_outcome(format!("lost the connection to {}: {e}", self.peer))
        };
        self.close(Closed { reason, login_refused });
    }
}

async fn write_frames(
    shared: Arc<Shared>,
    mut writer: WriteHalf<Box<dyn Stream>>,
    mut frames: mpsc::UnboundedReceiver<(i32, Bytes)>,
) {
    while let Some((id, frame)) = frames.recv().await {
        if let Some(waiting) = lock(&shared.state).waiting.get_mut(&id) {
            waiting.sent = true;
        }
        let written = async {
            writer.write_all(&frame).await?;
            writer.flush().await
        };
        if let Err(e) = written.await {
            // A refusal comes as an alert; the reader is about to see it and says more than a broken pipe.
            tokio::time::sleep(Duration::from_millis(200)).await;
            shared.fail(&e);
            return;
        }
    }
}

async fn read_frames(shared: Arc<Shared>, mut reader: ReadHalf<Box<dyn Stream>>) {
    loop {
        match frame::read(&mut reader).await {
            Ok((id, frame)) => {
                let waiting = lock(&shared.state).waiting.remove(&id);
                if let Some(waiting) = waiting {
                    // The caller may have stopped waiting.
                    let _ = waiting.reply.send(Ok(frame));
                }
            }
            Err(e) => {
                shared.fail(&e);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kafka_protocol::messages::api_versions_response::ApiVersion;
    use kafka_protocol::messages::{ApiVersionsResponse, DescribeAclsRequest, ListGroupsRequest};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::{Connection, Counts};
    use crate::ports::Disposition;

    fn connection() -> (Connection, DuplexStream) {
        let (ours, theirs) = duplex(1 << 20);
        let connection = Connection::new(Box::new(ours), "broker:9092".into(), "test".into(), Counts::default());
        let api = |key, max| ApiVersion::default().with_api_key(key).with_max_version(max);
        connection.set_versions(ApiVersionsResponse::default().with_api_keys(vec![api(16, 4), api(29, 0)]));
        (connection, theirs)
    }

    #[tokio::test]
    async fn a_request_lost_after_it_was_written_has_an_unknown_outcome() {
        let (connection, mut broker) = connection();
        let call = tokio::spawn(async move { connection.send(&ListGroupsRequest::default()).await.map(|_| ()) });
        let mut length = [0; 4];
        broker.read_exact(&mut length).await.unwrap();
        drop(broker);
        assert_eq!(call.await.unwrap().unwrap_err().disposition, Disposition::UnknownOutcome);
    }

    #[tokio::test]
    async fn a_request_on_a_closed_connection_did_not_happen() {
        let (connection, broker) = connection();
        drop(broker);
        tokio::time::timeout(Duration::from_secs(5), async {
            while connection.is_open() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
        let e = connection.send(&ListGroupsRequest::default()).await.map(|_| ()).unwrap_err();
        assert_eq!(e.disposition, Disposition::Retry);
    }

    #[tokio::test]
    async fn a_frame_beyond_the_limit_ends_the_connection() {
        let (connection, mut broker) = connection();
        broker.write_i32(i32::MAX).await.unwrap();
        let e = connection.send(&ListGroupsRequest::default()).await.map(|_| ()).unwrap_err();
        assert!(e.message.contains("a frame of 2147483647 bytes"), "{e}");
    }

    #[tokio::test]
    async fn an_api_that_the_broker_speaks_only_in_older_versions_is_refused_by_name() {
        let (connection, _broker) = connection();
        let e = connection.send(&DescribeAclsRequest::default()).await.map(|_| ()).unwrap_err();
        assert_eq!(e.message, "failed to send DescribeAcls to broker:9092: it does not speak a usable version");
    }

    #[tokio::test]
    async fn a_throttled_connection_stays_silent_for_as_long_as_the_broker_wants() {
        let (connection, mut broker) = connection();
        let serving = tokio::spawn(async move {
            for id in 0..2 {
                let length = broker.read_i32().await.unwrap();
                let mut request = vec![0; usize::try_from(length).unwrap()];
                broker.read_exact(&mut request).await.unwrap();
                // Header with an empty tag section, 300 ms of throttle, no error, no groups, no tags.
                broker.write_all(&[0, 0, 0, 14, 0, 0, 0, id, 0, 0, 0, 1, 44, 0, 0, 1, 0, 0]).await.unwrap();
            }
            broker
        });
        connection.send(&ListGroupsRequest::default()).await.unwrap();
        let start = std::time::Instant::now();
        connection.send(&ListGroupsRequest::default()).await.unwrap();
        assert!(start.elapsed() >= Duration::from_millis(290), "{:?}", start.elapsed());
        drop(serving.await);
    }
}
