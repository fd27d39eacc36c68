//! What brokers tell of clients that they refused. Everything here was written by somebody else, and much of it by whoever was
//! refused: nothing of it is believed beyond what it says of itself.
//!
//! | module | what |
//! | --- | --- |
//! | [`kafka`] | the log of Apache Kafka |
//! | [`confluent`] | the audit log of Confluent Server |
//! | [`post`] | what shippers of logs send |
//! | [`weight`] | what JSON would take up |

pub mod confluent;
pub mod kafka;
pub mod post;
pub mod weight;

use jiff::{SignedDuration, Timestamp};

use crate::api::EventSource;

/// The SASL mechanisms that brokers of Kafka know.
pub const MECHANISMS: [&str; 5] = ["GSSAPI", "OAUTHBEARER", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];

/// The longest name that is kept, in characters.
const LONGEST: usize = 256;
/// How long before it was heard something may have happened, to be believed.
const PAST: SignedDuration = SignedDuration::from_hours(1);
/// The same for after: clocks differ.
const FUTURE: SignedDuration = SignedDuration::from_secs(5);

/// A client was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What was refused.
    pub what: Refused,
    /// Who it was, without `User:`; of a login that failed, as far as it is known.
    pub principal: Option<String>,
    /// Where it came from.
    pub address: Option<String>,
    /// Why a login failed, in the broker's words. They may hold what somebody unknown sent: they tell nothing apart.
    pub why: Option<String>,
    /// When, as the broker says.
    pub at: Option<Timestamp>,
    /// Who tells.
    pub source: EventSource,
}

/// What was refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Refused {
    /// A request.
    Access {
        /// Kafka's operation, as `Read`.
        operation: String,
        /// The kind of resource, as `Topic`.
        resource_type: String,
        /// The resource.
        resource_name: String,
        /// The request of the protocol, as `Fetch`.
        api: Option<String>,
    },
    /// A login.
    Login {
        /// The SASL mechanism, where the broker names one; of [`MECHANISMS`].
        mechanism: Option<&'static str>,
    },
}

impl Refused {
    /// A login that failed for this reason.
    fn login(why: &str) -> Self {
        let named =
            why.rsplit_once("SASL mechanism ").map(|(_, name)| name.split([' ', ',', ')']).next().unwrap_or(name));
        Self::Login { mechanism: named.and_then(|name| MECHANISMS.into_iter().find(|m| *m == name)) }
    }

    /// Whether it was a login: then nobody knows who it was, whatever name was tried.
    pub fn is_login(&self) -> bool {
        matches!(self, Self::Login { .. })
    }
}

impl Refusal {
    /// When it happened, as far as that can be believed of what was heard `now`.
    pub fn time(&self, now: Timestamp) -> Timestamp {
        self.at.filter(|at| *at >= now - PAST && *at <= now + FUTURE).map_or(now, |at| at.min(now))
    }
}

/// Text of somebody else's, fit to be shown: as [`harmless`], and not longer than a name may be.
pub fn fit(text: &str) -> String {
    let mut fit: String = text.chars().take(LONGEST).map(shown).collect();
    if text.chars().nth(LONGEST).is_some() {
        fit.push('…');
    }
    fit
}

/// Text of somebody else's, whole, without characters that do something to a terminal.
pub fn harmless(text: &str) -> String {
    text.chars().map(shown).collect()
}

fn shown(c: char) -> char {
    if is_fit(c) { c } else { '\u{fffd}' }
}

/// Neither a control character, nor one that changes the direction or the look of what stands around it, nor one without any look.
fn is_fit(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
        && !matches!(c, '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// A principal without its type. Other types than `User` keep theirs.
fn principal(text: &str) -> String {
    fit(text.strip_prefix("User:").unwrap_or(text))
}

/// `CLUSTER_ACTION`, `ClusterAction` or `clusterAction` as `ClusterAction`.
fn camel(word: &str) -> Option<String> {
    if word.is_empty() || word.len() > 64 || !word.chars().all(|c| c.is_ascii_alphabetic() || c == '_') {
        return None;
    }
    let shout = word.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    let part = |part: &str| {
        let (first, rest) = part.split_at(part.len().min(1));
        first.to_ascii_uppercase() + &if shout { rest.to_ascii_lowercase() } else { rest.to_owned() }
    };
    Some(word.split('_').map(part).collect())
}
