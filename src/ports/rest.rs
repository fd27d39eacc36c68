//! REST interfaces of what copies.

use std::fmt::Display;

use crate::domain::secret::Secret;

/// Where a REST interface is, whom to trust, and how to be known there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestEndpoint {
    /// An `https://` address.
    pub url: String,
    /// The authority of the certificates there, in PEM; `None` trusts the system's.
    pub ca_pem: Option<String>,
    /// The caller's certificate and its key, in PEM.
    pub client: Option<(String, Secret)>,
    /// The caller's name and password (RFC 7617).
    pub basic: Option<(String, Secret)>,
}

/// What was asked for was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RestError {
    /// The status of HTTP; `None` where no answer came.
    pub status: Option<u16>,
    /// The other side's own words, or what happened to the connection.
    pub message: String,
}

impl RestError {
    /// No answer came, or none that could be read.
    pub fn unanswered(why: impl Display) -> Self {
        Self { status: None, message: why.to_string() }
    }

    /// What was asked is on its way, and the same will succeed once it is there.
    pub fn not_yet(message: impl Into<String>) -> Self {
        Self { status: Some(409), message: message.into() }
    }

    /// Kafka Connect's workers share out their work anew, or are not done with what was asked before: the same may succeed soon.
    pub fn is_passing(&self) -> bool {
        self.status.is_none_or(|status| matches!(status, 404 | 409 | 500 | 503))
    }
}
