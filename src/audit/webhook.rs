//! A receiver of CloudEvents over HTTPS: batches in JSON (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md>,
//! section 3.3), with a bearer token. Redirects are not followed.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderValue};
use hyper::{Request, StatusCode};
use serde_json::Value;

use crate::domain::secret::Secret;
use crate::tls::https::HttpsClient;
use crate::tls::{TlsError, Versions, client_config};

/// How long a call may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where it is, and how to be known there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// An `https://` address.
    pub url: String,
    /// The authority of its certificate, in PEM; `None` trusts the system's.
    pub ca_pem: Option<String>,
    /// The bearer token, where it wants one.
    pub token: Option<Secret>,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It was taken.
    Taken,
    /// It is refused, and would be again.
    Refused(String),
    /// It may be taken later.
    PutOff(String),
}

/// See the module.
pub struct Webhook {
    url: String,
    authorization: Option<HeaderValue>,
    http: HttpsClient,
}

impl Webhook {
    /// To a receiver.
    ///
    /// # Errors
    /// The authority or the token cannot be used.
    pub fn new(receiver: &Receiver) -> Result<Self, TlsError> {
        let tls = client_config(receiver.ca_pem.as_deref(), None, Versions::SinceTls12)?;
        let bearer = |token: &Secret| {
            let value = HeaderValue::try_from(format!("Bearer {}", token.expose()));
            value.map_err(|_| TlsError::new("the token holds what no header can"))
        };
        let mut authorization = receiver.token.as_ref().map(bearer).transpose()?;
        authorization.iter_mut().for_each(|value| value.set_sensitive(true));
        let http = HttpsClient::new(tls, PATIENCE);
        Ok(Self { url: receiver.url.clone(), authorization, http })
    }

    /// Posts events, each a CloudEvent in JSON.
    pub async fn post(&self, events: &[Value]) -> Delivery {
        let body = Full::new(Bytes::from(Value::from(events.to_vec()).to_string()));
        let mut request =
            Request::post(&self.url).header(header::CONTENT_TYPE, "application/cloudevents-batch+json; charset=utf-8");
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = match request.body(body) {
            Ok(request) => request,
            Err(error) => return Delivery::PutOff(format!("{}: {error}", self.url)),
        };
        match self.http.status(request).await {
            Ok(status) => judge(status),
            Err(error) => Delivery::PutOff(format!("{}: {error}", self.url)),
        }
    }
}

/// What a status says. Whoever does not let Weir in may do so later; a receiver that cannot read what is sent will not learn to.
fn judge(status: StatusCode) -> Delivery {
    let said = format!("it answered {status}");
    match status.as_u16() {
        200..=299 => Delivery::Taken,
        400 | 413 | 415 | 422 => Delivery::Refused(said),
        _ => Delivery::PutOff(said),
    }
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;

    use super::{Delivery, judge};

    #[test]
    fn only_what_is_refused_for_itself_is_given_up() {
        let of = |code: u16| judge(StatusCode::from_u16(code).unwrap());
        assert_eq!([of(200), of(204)], [Delivery::Taken, Delivery::Taken]);
        for code in [400, 413, 415, 422] {
            assert!(matches!(of(code), Delivery::Refused(_)), "{code}");
        }
        for code in [301, 307, 401, 403, 404, 408, 429, 500, 502, 503, 504] {
            assert!(matches!(of(code), Delivery::PutOff(_)), "{code}");
        }
    }
}
