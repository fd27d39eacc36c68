//! What shippers of logs send: lines of text; JSON, one object or an array of them or one a line; OTLP in JSON.

use jiff::Timestamp;
use serde_json::{Deserializer, Value};

use super::weight::{OF_BODY, OF_RECORD, is_light};
use super::{Refusal, confluent, kafka};

/// The names that shippers give to a record's parts.
const MESSAGE: [&str; 5] = ["message", "log", "msg", "body", "MESSAGE"];
const LOGGER: [&str; 6] = ["logger", "loggerName", "logger_name", "log.logger", "category", "class"];
const TIME: [&str; 5] = ["@timestamp", "timestamp", "time", "date", "instant"];

/// Why a body is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It would take up too much; it was not parsed.
    #[error("the body has more values than are taken at once: send smaller batches")]
    TooHeavy,
    /// It is no JSON, or no records.
    #[error("{0}")]
    Unreadable(String),
}

/// What was in a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Post {
    /// Refusals of clients.
    pub refusals: Vec<Refusal>,
    /// Records that are about something else.
    pub others: usize,
}

impl Post {
    fn add(&mut self, refusal: Option<Refusal>) {
        match refusal {
            Some(refusal) => self.refusals.push(refusal),
            None => self.others += 1,
        }
    }
}

/// Lines of a log, each a record in JSON, or as Kafka's layout has it. In the latter a message that holds line ends is several
/// lines: who can, has its layout write JSON.
pub fn lines(body: &[u8]) -> Post {
    let mut post = Post::default();
    for line in body.split(|byte| *byte == b'\n') {
        let line = String::from_utf8_lossy(line);
        if !line.trim().is_empty() {
            post.add(told(None, line.trim()));
        }
    }
    post
}

/// One record of a topic: JSON, or one line of a log, as JSON that would take up too much is read, too.
pub fn record(value: &[u8]) -> Post {
    match within(value, OF_RECORD) {
        Ok(post) => post,
        Err(_) => {
            let mut post = Post::default();
            post.add(told(None, String::from_utf8_lossy(value).trim()));
            post
        }
    }
}

/// JSON: values one after the other, each a record, an array of records, or an export of OTLP.
///
/// # Errors
/// See [`Unfit`].
pub fn json(body: &[u8]) -> Result<Post, Unfit> {
    within(body, OF_BODY)
}

fn within(body: &[u8], most: usize) -> Result<Post, Unfit> {
    // A line of a log is none, whatever a client has written into it.
    let is_tree = body.trim_ascii_start().first().is_some_and(|first| matches!(first, b'{' | b'['));
    if is_tree && !is_light(body, most) {
        return Err(Unfit::TooHeavy);
    }
    let mut post = Post::default();
    for value in Deserializer::from_slice(body).into_iter::<Value>() {
        let value = value.map_err(|e| Unfit::Unreadable(format!("the body is no JSON: {e}")))?;
        match value {
            Value::Array(records) => records.iter().try_for_each(|r| post.take(r))?,
            record => post.take(&record)?,
        }
    }
    Ok(post)
}

impl Post {
    fn take(&mut self, record: &Value) -> Result<(), Unfit> {
        if !record.is_object() {
            return Err(Unfit::Unreadable("a record is no JSON object".into()));
        }
        if let Some(resources) = record.get("resourceLogs").and_then(Value::as_array) {
            self.otlp(resources);
        } else if confluent::is(record) {
            self.add(confluent::event(record));
        } else {
            self.add(structured(record));
        }
        Ok(())
    }

    /// `ExportLogsServiceRequest` (OTLP 1.x, JSON encoding).
    fn otlp(&mut self, resources: &[Value]) {
        fn each<'a>(value: &'a Value, name: &str) -> &'a [Value] {
            value[name].as_array().map(Vec::as_slice).unwrap_or_default()
        }
        for scope in resources.iter().flat_map(|r| each(r, "scopeLogs")) {
            for record in each(scope, "logRecords") {
                let text = record["body"]["stringValue"].as_str().unwrap_or_default();
                let attribute = |name: &str| {
                    let attributes = record["attributes"].as_array()?.iter();
                    let found = attributes.into_iter().find(|a| a["key"] == name)?;
                    found["value"]["stringValue"].as_str()
                };
                let logger = LOGGER.iter().find_map(|name| attribute(name));
                let logger = logger.or_else(|| scope["scope"]["name"].as_str());
                let nanos = |name: &str| {
                    let value = &record[name];
                    let number = value.as_str().and_then(|n| n.parse::<i128>().ok());
                    number.or(value.as_i64().map(i128::from)).filter(|n| *n > 0)
                };
                let nanos = nanos("timeUnixNano").or_else(|| nanos("observedTimeUnixNano"));
                let at = nanos.and_then(|n| Timestamp::from_nanosecond(n).ok());
                self.add(told(logger, text).map(|r| Refusal { at: at.or(r.at), ..r }));
            }
        }
    }
}

/// What the parts of a record say, by whatever names a shipper gives them.
struct Parts<'a> {
    logger: Option<&'a str>,
    message: &'a str,
    at: Option<Timestamp>,
}

impl<'a> Parts<'a> {
    /// `None` without a message.
    fn of(record: &'a Value) -> Option<Self> {
        let text = |names: &[&str]| names.iter().find_map(|name| record[*name].as_str());
        let at = text(&TIME).and_then(|t| t.parse().ok());
        Some(Self { logger: text(&LOGGER), message: text(&MESSAGE)?, at })
    }
}

/// A record with a message, and with the logger's name or with the whole line as its message; or one in which another record, or an
/// event, stands as text.
fn structured(record: &Value) -> Option<Refusal> {
    let Parts { logger, message, at } = Parts::of(record)?;
    told(logger, message).map(|r| Refusal { at: r.at.or(at), ..r })
}

fn told(logger: Option<&str>, text: &str) -> Option<Refusal> {
    if let Some(refusal) = logger.and_then(|logger| kafka::message(logger, text)) {
        return Some(refusal);
    }
    if text.starts_with('{')
        && is_light(text.as_bytes(), OF_RECORD)
        && let Ok(inner) = serde_json::from_str::<Value>(text)
    {
        if confluent::is(&inner) {
            return confluent::event(&inner);
        }
        // Once is enough: what stands in a record's text holds no further record.
        let Parts { logger, message, at } = Parts::of(&inner)?;
        return kafka::message(logger?, message).map(|r| Refusal { at, ..r });
    }
    kafka::line(text)
}

#[cfg(test)]
mod tests;
