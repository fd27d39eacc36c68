//! From an address to a connection that may be used: TCP, TLS, ApiVersions, SASL, and re-authentication from then on.

use std::sync::{Arc, Weak};
use std::time::Duration;

use kafka_protocol::messages::ApiVersionsRequest;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::api::{Api, text};
use super::codes::{self, retry};
use super::connection::{Connection, Counts};
use super::sasl::{self, Login};
use super::tls::{self, Stream};
use crate::ports::{KafkaEndpoint, KafkaError};

/// How long it may take until a broker has let us in.
const SETUP_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens connections with one credential.
pub(super) struct Dialer {
    tls: Option<Arc<ClientConfig>>,
    login: Option<Login>,
    client_id: String,
    pub(super) counts: Counts,
}

/// Why a connection was not opened.
#[derive(Debug)]
pub(super) struct DialError {
    /// The broker is there and refused the credential: asking another broker would be asking again.
    pub(super) login_refused: bool,
    /// What to report.
    pub(super) error: KafkaError,
}

impl From<KafkaError> for DialError {
    fn from(error: KafkaError) -> Self {
        Self { login_refused: sasl::is_refusal(&error), error }
    }
}

impl Dialer {
    /// Reads the endpoint's certificates and credential; dials nothing yet.
    pub(super) fn new(endpoint: &KafkaEndpoint, client_id: &str) -> Result<Self, KafkaError> {
        let tls = endpoint.tls.as_ref().map(tls::client_config).transpose()?;
        let login = endpoint.sasl.as_ref().map(|sasl| Login::new(sasl, endpoint.tls.as_ref())).transpose()?;
        if tls.is_none() && login.is_some() {
            tracing::warn!(servers = ?endpoint.bootstrap_servers, "credentials travel to Kafka without TLS");
        }
        Ok(Self { tls, login, client_id: client_id.to_owned(), counts: Counts::default() })
    }

    /// Opens a connection to a broker.
    pub(super) async fn dial(&self, host: &str, port: u16) -> Result<Arc<Connection>, DialError> {
        let late = |_| retry(format!("{host}:{port} did not let us in within {} s", SETUP_TIMEOUT.as_secs()));
        timeout(SETUP_TIMEOUT, self.set_up(host, port)).await.map_err(late)?
    }

    async fn set_up(&self, host: &str, port: u16) -> Result<Arc<Connection>, DialError> {
        let peer = format!("{host}:{port}");
        let tcp =
            TcpStream::connect((host, port)).await.map_err(|e| retry(format!("failed to connect to {peer}: {e}")))?;
        tcp.set_nodelay(true).map_err(|e| retry(format!("failed to set up the connection to {peer}: {e}")))?;
        let stream: Box<dyn Stream> = match &self.tls {
            Some(config) => Box::new(tls::handshake(Arc::clone(config), host, tcp).await?),
            None => Box::new(tcp),
        };
        let connection = Arc::new(Connection::new(stream, peer, self.client_id.clone(), Arc::clone(&self.counts)));
        self.enter(&connection).await.map_err(|error| DialError {
            login_refused: connection.login_refused() || sasl::is_refusal(&error),
            error,
        })?;
        Ok(connection)
    }

    async fn enter(&self, connection: &Arc<Connection>) -> Result<(), KafkaError> {
        negotiate(connection).await?;
        let Some(login) = &self.login else { return Ok(()) };
        let lifetime = login.authenticate(connection).await?;
        connection.set_session_lifetime(lifetime);
        if let Some(lifetime) = lifetime {
            let task = tokio::spawn(keep_authenticated(Arc::downgrade(connection), login.clone(), lifetime));
            connection.adopt(task.abort_handle());
        }
        Ok(())
    }
}

/// Asks what the broker speaks, from the newest version of the question down (KIP-511).
async fn negotiate(connection: &Connection) -> Result<(), KafkaError> {
    for version in (ApiVersionsRequest::MIN..=ApiVersionsRequest::MAX).rev() {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(text("weir"))
            .with_client_software_version(text(env!("CARGO_PKG_VERSION")));
        let response = connection.send_ungated(&request, version).await?;
        if response.error_code != codes::UNSUPPORTED_VERSION {
            codes::check(response.error_code, None)?;
            connection.set_versions(response);
            return Ok(());
        }
    }
    Err(codes::error(codes::UNSUPPORTED_VERSION, Some("the broker is older than Kafka 2.4")))
}

/// Authenticates again before each session ends (KIP-368), for as long as the connection lives.
async fn keep_authenticated(connection: Weak<Connection>, login: Login, mut lifetime: Duration) {
    loop {
        // Between 85 and 95 % of the lifetime, as Kafka's own clients: spread out, and in time.
        let mut byte = [0];
        let percent = 85 + getrandom::fill(&mut byte).map_or(0, |()| u32::from(byte[0]) % 10);
        sleep(lifetime * percent / 100).await;
        let Some(connection) = connection.upgrade() else { return };
        let held = connection.hold().await;
        let granted = timeout(SETUP_TIMEOUT, login.authenticate(&connection))
            .await
            .unwrap_or_else(|_| Err(retry(format!("{} did not authenticate us again in time", connection.peer()))));
        drop(held);
        match granted {
            Ok(Some(next)) => {
                connection.set_session_lifetime(Some(next));
                lifetime = next;
            }
            Ok(None) => {
                connection.set_session_lifetime(None);
                return;
            }
            Err(e) => {
                tracing::warn!(broker = connection.peer(), error = %e, "re-authentication failed");
                connection.close(retry(e.message));
                return;
            }
        }
    }
}
