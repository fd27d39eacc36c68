//! Calls over HTTPS. Redirects are not followed.

use std::error::Error;
use std::fmt::{Display, Formatter};
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::ClientConfig;
use tokio::time::timeout;

/// What calls over HTTPS, and over nothing else.
pub struct HttpsClient {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    patience: Duration,
}

impl HttpsClient {
    /// A caller with this TLS, whose calls may take as long as `patience`.
    pub fn new(tls: ClientConfig, patience: Duration) -> Self {
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1().build();
        Self { client: Client::builder(TokioExecutor::new()).build(connector), patience }
    }

    /// Calls, and reads the whole answer, which may have as many bytes as `largest`.
    ///
    /// # Errors
    /// See [`Unanswered`].
    pub async fn call(&self, request: Request<Full<Bytes>>, largest: usize) -> Result<(StatusCode, Bytes), Unanswered> {
        let exchange = async {
            let response = self.client.request(request).await.map_err(|e| Unanswered::Failed(e.into()))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), largest).collect().await.map_err(Unanswered::Failed)?;
            Ok((status, body.to_bytes()))
        };
        timeout(self.patience, exchange).await.unwrap_or(Err(Unanswered::Late(self.patience)))
    }

    /// Calls, and passes over what is answered beside the status.
    ///
    /// # Errors
    /// See [`Unanswered`].
    pub async fn status(&self, request: Request<Full<Bytes>>) -> Result<StatusCode, Unanswered> {
        match timeout(self.patience, self.client.request(request)).await {
            Ok(answered) => answered.map(|response| response.status()).map_err(|e| Unanswered::Failed(e.into())),
            Err(_) => Err(Unanswered::Late(self.patience)),
        }
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Unanswered {
    /// There was none in this time.
    Late(Duration),
    /// It cannot be reached, or does not speak HTTPS as it should.
    Failed(Box<dyn Error + Send + Sync>),
}

impl Unanswered {
    /// The fault of the TLS session, if it is one.
    pub fn tls(&self) -> Option<&rustls::Error> {
        let Self::Failed(error) = self else { return None };
        let mut next: Option<&(dyn Error + 'static)> = Some(error.as_ref());
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref() {
                return Some(found);
            }
            // The source of an error of I/O is that of what it wraps.
            let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            next = wrapped.map(|e| e as &(dyn Error + 'static)).or_else(|| error.source());
        }
        None
    }
}

impl Display for Unanswered {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Late(patience) => write!(f, "no answer within {} s", patience.as_secs()),
            Self::Failed(error) => {
                write!(f, "{error}")?;
                let mut source = error.source();
                while let Some(inner) = source {
                    write!(f, ": {inner}")?;
                    source = inner.source();
                }
                Ok(())
            }
        }
    }
}

impl Error for Unanswered {}
