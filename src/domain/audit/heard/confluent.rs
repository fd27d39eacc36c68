//! Confluent Server's audit log: CloudEvents of the types `io.confluent.kafka.server/authorization` and `.../authentication`
//! (<https://docs.confluent.io/platform/current/security/compliance/audit-logs/audit-logs-concepts.html>).

use jiff::Timestamp;
use serde_json::Value;

use super::{Refusal, Refused, camel, fit, kafka, principal};
use crate::api::EventSource;

/// Before the kind of event.
const PREFIX: &str = "io.confluent.kafka.server/";

/// Whether it is such an event at all.
pub fn is(event: &Value) -> bool {
    event["type"].as_str().is_some_and(|t| t.starts_with(PREFIX))
}

/// What it refuses; `None` where it grants, and for other events.
pub fn event(event: &Value) -> Option<Refusal> {
    let data = &event["data"];
    let what = match event["type"].as_str()?.strip_prefix(PREFIX)? {
        "authorization" => denial(data)?,
        "authentication" => login(data)?,
        _ => return None,
    };
    let at = event["time"].as_str().and_then(|t| t.parse::<Timestamp>().ok());
    Some(Refusal { what, principal: who(data), address: address(data), at, source: EventSource::ConfluentAuditLog })
}

fn denial(data: &Value) -> Option<Refused> {
    let info = &data["authorizationInfo"];
    if info["granted"].as_bool()? {
        return None;
    }
    Some(Refused::Access {
        operation: camel(info["operation"].as_str()?)?,
        resource_type: camel(info["resourceType"].as_str()?)?,
        resource_name: fit(info["resourceName"].as_str()?),
        // `kafka.Produce`, `mds.Authorize`
        api: data["methodName"].as_str().and_then(|m| camel(m.rsplit('.').next()?)),
    })
}

fn login(data: &Value) -> Option<Refused> {
    let result = &data["result"];
    let status = result["status"].as_str().unwrap_or_default();
    if !matches!(status, "UNAUTHENTICATED" | "UNKNOWN_USER_DENIED" | "UNAUTHORIZED" | "FAILURE") {
        return None;
    }
    let why = result["message"].as_str().or(result["data"]["errorMessage"].as_str()).unwrap_or(status);
    Some(Refused::Login { why: fit(why) })
}

/// Version 1 has a text; version 2 may have an object for each kind of principal.
fn who(data: &Value) -> Option<String> {
    let who = &data["authenticationInfo"]["principal"];
    let text = who
        .as_str()
        .or_else(|| who["confluentUser"]["resourceId"].as_str())
        .or_else(|| who["confluentServiceAccount"]["resourceId"].as_str())
        .or_else(|| data["authenticationInfo"]["identity"].as_str())?;
    // `None:UNKNOWN_USER` is nobody.
    (!text.is_empty() && !text.starts_with("None:")).then(|| principal(text))
}

fn address(data: &Value) -> Option<String> {
    let meta = &data["requestMetadata"];
    let text = ["clientAddress", "client_address"].iter().find_map(|name| match &meta[*name] {
        Value::String(text) => Some(text.as_str()),
        Value::Array(all) => all.first().and_then(|a| a["ip"].as_str()),
        _ => None,
    });
    let text = text.or_else(|| data["clientAddress"].as_array()?.first()?["ip"].as_str())?;
    kafka::address(text)
}
