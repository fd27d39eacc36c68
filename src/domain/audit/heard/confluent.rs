//! The audit log of Confluent Server and Confluent Cloud: CloudEvents of the types `io.confluent.kafka.server/authorization`,
//! `.../authentication` and `.../request`
//! (<https://docs.confluent.io/platform/current/security/compliance/audit-logs/audit-logs-concepts.html>), in both versions of `data`.
//!
//! No Confluent Server was there to be asked: this follows what is published of it.

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
        "authentication" => Refused::login(why(data)?),
        "request" => request(data)?,
        _ => return None,
    };
    let at = event["time"].as_str().and_then(|t| t.parse::<Timestamp>().ok());
    let why = why(data).filter(|_| what.is_login()).map(fit);
    Some(Refusal {
        what,
        principal: who(data),
        address: address(data),
        why,
        at,
        source: EventSource::ConfluentAuditLog,
    })
}

/// A member by its name in camel case, or as some versions have it, in snake case.
fn member<'a>(value: &'a Value, camel: &str, snake: &str) -> &'a Value {
    value.get(camel).unwrap_or(&value[snake])
}

fn denial(data: &Value) -> Option<Refused> {
    let info = member(data, "authorizationInfo", "authorization_info");
    let denied = match info["granted"].as_bool() {
        Some(granted) => !granted,
        // Version 2 has a word for it.
        None => info["result"].as_str().is_some_and(|r| r.to_ascii_uppercase().starts_with("DEN")),
    };
    if !denied {
        return None;
    }
    Some(Refused::Access {
        operation: camel(info["operation"].as_str()?)?,
        resource_type: camel(member(info, "resourceType", "resource_type").as_str()?)?,
        resource_name: fit(member(info, "resourceName", "resource_name").as_str()?),
        api: method(data),
    })
}

/// Confluent Cloud tells so of what it refuses to produce and to fetch.
fn request(data: &Value) -> Option<Refused> {
    let result = &data["result"];
    let error = result["data"]["errorType"].as_str().or_else(|| result["data"]["error_type"].as_str())?;
    if !error.ends_with("AUTHORIZATION_FAILED") {
        return None;
    }
    let api = method(data)?;
    let operation = match api.as_str() {
        "Produce" => "Write",
        "Fetch" | "FetchConsumer" | "FetchFollower" => "Read",
        _ => "Unknown",
    };
    // `crn://confluent.cloud/.../kafka=lkc-1/topic=NAME`
    let name = member(data, "resourceName", "resource_name").as_str().unwrap_or_default();
    let (kind, name) = name.rsplit_once('/').map_or(("", name), |(_, last)| last.split_once('=').unwrap_or(("", last)));
    Some(Refused::Access {
        operation: operation.into(),
        resource_type: camel(kind).unwrap_or_else(|| "Topic".into()),
        resource_name: fit(name),
        api: Some(api),
    })
}

/// `kafka.Produce`, `mds.Authorize`: what stands behind the last dot.
fn method(data: &Value) -> Option<String> {
    camel(member(data, "methodName", "method_name").as_str()?.rsplit('.').next()?)
}

/// Why a login failed; `None` where it did not.
fn why(data: &Value) -> Option<&str> {
    let result = &data["result"];
    let status = result["status"].as_str().unwrap_or_default();
    if status.is_empty() || status == "SUCCESS" {
        return None;
    }
    let why = result["message"].as_str().filter(|m| !m.is_empty());
    Some(why.unwrap_or(status))
}

/// Version 1 has a text; version 2 an object for each kind of principal. Of a login that failed, the name that was tried is told.
fn who(data: &Value) -> Option<String> {
    let info = member(data, "authenticationInfo", "authentication_info");
    let who = &info["principal"];
    let kinds = ["confluentUser", "confluentServiceAccount", "identityPool", "group"];
    let text = who
        .as_str()
        .filter(|text| !text.starts_with("None:"))
        .or_else(|| kinds.iter().find_map(|kind| who[kind]["resourceId"].as_str()))
        .or_else(|| info["metadata"]["identifier"].as_str())
        .or_else(|| info["identity"].as_str())?;
    (!text.is_empty()).then(|| principal(text))
}

fn address(data: &Value) -> Option<String> {
    let of = |value: &Value| -> Option<String> {
        let text = match value {
            Value::String(text) => text.as_str(),
            Value::Array(all) => all.first()?["ip"].as_str()?,
            _ => return None,
        };
        kafka::address(text)
    };
    let meta = member(data, "requestMetadata", "request_metadata");
    of(member(meta, "clientAddress", "client_address")).or_else(|| of(&data["clientAddress"]))
}
