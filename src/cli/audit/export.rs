//! Prints events of the audit topic.

use std::io::{BufWriter, Stdout, Write};

use anyhow::{Context, anyhow};
use clap::{Args, ValueEnum};
use jiff::{SignedDuration, Timestamp};
use kube::Client;

use super::topic::{Where, find};
use crate::api::SecurityEventSpec;
use crate::domain::audit::chain;
use crate::domain::audit::heard::harmless;
use crate::domain::event::cloudevent;
use crate::kafka::Stored;
use crate::ports::TopicError;

/// Which, and how.
#[derive(Args, Debug)]
pub struct Export {
    /// Only what happened since: a time (RFC 3339), or how long ago, as 24h or 30m
    #[arg(long)]
    since: Option<String>,
    /// How to print them, one a line
    #[arg(long, value_enum, default_value = "ocsf")]
    format: Format,
    #[command(flatten)]
    at: Where,
}

/// Formats.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Format {
    /// OCSF 1.8.0, in JSON, as it stands in the topic
    Ocsf,
    /// CloudEvents 1.0, in JSON, with OCSF as data
    Cloudevents,
    /// Comma-separated values (RFC 4180), the first line names them
    Csv,
}

/// The columns of [`Format::Csv`].
const COLUMNS: &str = "sequence,time,actor,actorType,action,kind,namespace,name,outcome,reason,message,severity,source,cluster,\
                       principals,address,count,requestedBy,uid,correlation";

/// Prints them.
///
/// # Errors
/// The topic cannot be read. What is in it and not Weir's is passed over, and said.
pub async fn export(client: &Client, of: Export) -> anyhow::Result<()> {
    let since = of.since.as_deref().map(|text| parse_since(text, Timestamp::now())).transpose()?;
    let topic = find(client, &of.at, None).await?;
    let mut out = BufWriter::new(std::io::stdout());
    if matches!(of.format, Format::Csv) {
        writeln!(out, "{COLUMNS}").context("failed to print")?;
    }
    let print = Print { out, since, format: of.format };
    let printed = topic.log.read(print, |print, stored| print.take(&stored).map_err(TopicError::Unavailable)).await;
    let mut printed = printed.map_err(|e| anyhow!("failed to export topic {}: {e}", topic.name))?;
    printed.out.flush().context("failed to print")
}

/// A time, or how long before `now`.
pub fn parse_since(text: &str, now: Timestamp) -> anyhow::Result<Timestamp> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    let ago: SignedDuration =
        text.parse().with_context(|| format!("--since {text}: neither a time (RFC 3339) nor a duration, as 24h"))?;
    Ok(now - ago)
}

struct Print {
    out: BufWriter<Stdout>,
    since: Option<Timestamp>,
    format: Format,
}

impl Print {
    fn take(&mut self, stored: &Stored) -> Result<(), String> {
        let value = &stored.record.value;
        let (event, link) = match chain::read(value) {
            Ok(read) => read,
            Err(why) => {
                let at = stored.offset;
                eprintln!("offset {at} is passed over: the record is not Weir's: {why}; weir audit verify tells more");
                return Ok(());
            }
        };
        if self.since.is_some_and(|since| event.time.0 < since) {
            return Ok(());
        }
        let line = match self.format {
            Format::Ocsf => String::from_utf8_lossy(value).into_owned(),
            Format::Cloudevents => {
                let data = serde_json::from_slice(value).map_err(|e| e.to_string())?;
                cloudevent(&event, data).to_string()
            }
            Format::Csv => csv(&event, link.sequence),
        };
        writeln!(self.out, "{line}").map_err(|e| format!("failed to print: {e}"))
    }
}

fn csv(event: &SecurityEventSpec, sequence: u64) -> String {
    let object = &event.object;
    let address = event.client.as_ref().and_then(|c| c.address.clone()).unwrap_or_default();
    let cells = [
        sequence.to_string(),
        event.time.0.to_string(),
        event.actor.name.clone(),
        format!("{:?}", event.actor.type_),
        format!("{:?}", event.action),
        object.kind.clone(),
        object.namespace.clone().unwrap_or_default(),
        object.name.clone(),
        format!("{:?}", event.outcome),
        event.reason.clone(),
        event.message.clone(),
        format!("{:?}", event.severity),
        format!("{:?}", event.source),
        event.cluster.clone().unwrap_or_default(),
        event.principals.join(" "),
        address,
        event.count.to_string(),
        event.requested_by.join(" "),
        event.uid.clone(),
        event.correlation.clone().unwrap_or_default(),
    ];
    cells.map(|cell| quoted(&cell)).join(",")
}

/// A cell (RFC 4180), without what does something to a terminal. What a spreadsheet would take for a formula gets an apostrophe before
/// it.
fn quoted(cell: &str) -> String {
    let formula = cell.trim_start().starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠'])
        || cell.starts_with(['\t', '\r', '\n']);
    let cell = harmless(cell);
    let text = if formula { format!("'{cell}") } else { cell };
    if text.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{parse_since, quoted};

    #[test]
    fn cells_are_quoted_and_are_never_formulas() {
        assert_eq!(quoted("a"), "a");
        assert_eq!(quoted("a,\"b\"\nc"), "\"a,\"\"b\"\"\u{fffd}c\"");
        assert_eq!(quoted("\u{1b}[2J\u{202e}a"), "\u{fffd}[2J\u{fffd}a");
        for formula in ["=1+1", "+1", "-1", "@a", " =1+1"] {
            assert_eq!(quoted(formula), format!("'{formula}"));
        }
    }

    #[test]
    fn since_is_a_time_or_how_long_ago() {
        let now: Timestamp = "2026-05-02T00:00:00Z".parse().unwrap();
        assert_eq!(parse_since("2026-05-01T00:00:00Z", now).unwrap(), parse_since("24h", now).unwrap());
        assert!(parse_since("yesterday", now).unwrap_err().to_string().contains("--since yesterday"));
    }
}
