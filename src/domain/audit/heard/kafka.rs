//! Lines of Apache Kafka's brokers: refusals of the authorizer (logger `kafka.authorizer.logger`), and logins that failed (logger
//! `org.apache.kafka.common.network.Selector`).
//!
//! Names of principals are the platform's; names of resources are whatever a client asked for, and may hold anything, such as the
//! rest of another line. So a line is read from its left to the resource's name, and from its right back to it.

use std::net::IpAddr;

use super::{Refusal, Refused, camel, fit, principal};
use crate::api::EventSource;

/// The logger of refusals.
const AUTHORIZER: &str = "kafka.authorizer.logger";
/// The logger of logins that failed.
const SELECTOR: &str = "org.apache.kafka.common.network.Selector";

/// A message of one of the two loggers; `None` for every other one.
pub fn message(logger: &str, message: &str) -> Option<Refusal> {
    match logger {
        AUTHORIZER => denial(message.trim()),
        SELECTOR => login(message.trim()),
        _ => None,
    }
}

/// A whole line, as Kafka's own layout has it (`[time] LEVEL message (logger)`), or with the logger before the message
/// (`time LEVEL logger: message`).
pub fn line(line: &str) -> Option<Refusal> {
    let line = line.trim();
    for logger in [AUTHORIZER, SELECTOR] {
        if let Some((head, told)) = line.split_once(&format!(" {logger}: "))
            && is_head(head)
        {
            return message(logger, told);
        }
        if let Some(rest) = line.strip_suffix(&format!(" ({logger})"))
            && let Some((_, told)) = rest.strip_prefix('[').and_then(|r| r.split_once("] "))
            && let Some((level, told)) = told.split_once(' ')
            && is_level(level)
        {
            return message(logger, told);
        }
    }
    None
}

/// A time and a level, and nothing that a client could have written.
fn is_head(head: &str) -> bool {
    let (time, level) = head.rsplit_once(' ').unwrap_or(("", head));
    let of_time = |c: char| c.is_ascii_digit() || "-:.,TZ+ []/".contains(c);
    is_level(level) && time.len() <= 40 && time.chars().all(of_time)
}

fn is_level(level: &str) -> bool {
    matches!(level, "TRACE" | "DEBUG" | "INFO" | "WARN" | "ERROR" | "FATAL")
}

/// `Principal = P is Denied operation = O from host = H on resource = T:PATTERN:NAME for request = R with resourceRefCount = N ...`
/// (`StandardAuthorizerData`; older authorizers write `Operation`).
fn denial(message: &str) -> Option<Refusal> {
    let rest = message.strip_prefix("Principal = ")?;
    let (who, rest) = split_either(rest, " is Denied operation = ", " is Denied Operation = ")?;
    let (operation, rest) = rest.split_once(" from host = ")?;
    let (host, rest) = rest.split_once(" on resource = ")?;
    let (resource, tail) = rest.rsplit_once(" for request = ").map_or((rest, None), |(name, tail)| (name, Some(tail)));
    let (resource_type, resource) = resource.split_once(':')?;
    let (pattern, name) = resource.split_once(':')?;
    if who.is_empty() || !matches!(pattern, "LITERAL" | "PREFIXED") {
        return None;
    }
    let api = tail.and_then(|tail| tail.split(' ').next()).and_then(camel);
    Some(Refusal {
        what: Refused::Access {
            operation: camel(operation)?,
            resource_type: camel(resource_type)?,
            resource_name: fit(name),
            api,
        },
        principal: Some(principal(who)),
        address: Some(address(host)?),
        why: None,
        at: None,
        source: EventSource::BrokerLog,
    })
}

/// `[SocketServer ...] Failed authentication with /H (channelId=...) (WHY)`; older ones have no `channelId`. What a broker says so of
/// its own clients' logins begins otherwise. `WHY` may hold what somebody unknown sent.
fn login(message: &str) -> Option<Refusal> {
    let (_, rest) = message.strip_prefix("[SocketServer")?.split_once("] Failed ")?;
    let rest = rest.strip_prefix("re-").unwrap_or(rest).strip_prefix("authentication with ")?;
    let (host, why) = rest.split_once(" (")?;
    let why = match why.strip_prefix("channelId=") {
        Some(channel) => channel.split_once(") (")?.1,
        None => why,
    };
    let why = why.strip_suffix(')').unwrap_or(why);
    Some(Refusal {
        what: Refused::login(why),
        principal: None,
        address: Some(address(host)?),
        why: Some(fit(why)),
        at: None,
        source: EventSource::BrokerLog,
    })
}

/// An address as Java writes it: `name/10.0.0.1`, `/10.0.0.1`, or without the slash.
pub(super) fn address(host: &str) -> Option<String> {
    let address = host.rsplit_once('/').map_or(host, |(_, address)| address);
    let address = address.trim_start_matches('[').trim_end_matches(']');
    // An interface may stand behind: fe80::1%eth0.
    let address = address.split('%').next().unwrap_or(address);
    Some(address.parse::<IpAddr>().ok()?.to_canonical().to_string())
}

fn split_either<'a>(text: &'a str, one: &str, other: &str) -> Option<(&'a str, &'a str)> {
    match (text.split_once(one), text.split_once(other)) {
        (Some(a), Some(b)) => Some(if a.0.len() <= b.0.len() { a } else { b }),
        (a, b) => a.or(b),
    }
}
