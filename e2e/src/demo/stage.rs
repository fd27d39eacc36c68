//! What the steps need: the lab, names that are this run's own, narration, and waiting.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;

use super::Step;
use super::shell::{sh, try_sh};
use crate::lab::Lab;
use crate::lab::command::{render, tail};
use crate::lab::paths::Paths;

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(200);
/// When a wait first says that it still waits; then after twice that, and so on.
const PATIENCE: Duration = Duration::from_secs(5);
/// Columns of what is said of a step.
const WIDTH: usize = 110;

/// What the steps need.
pub struct Stage {
    /// The lab.
    pub lab: Lab,
    /// The checkout's places.
    pub paths: Paths,
    /// Sets this run's records and consumer groups apart from those of earlier ones.
    pub run: String,
    /// When it began.
    pub began: Timestamp,
    start: Instant,
    step: Instant,
}

impl Stage {
    /// The stage in the lab that this process runs in.
    ///
    /// # Errors
    /// There is none.
    pub fn new() -> Result<Self> {
        let (began, now) = (Timestamp::now(), Instant::now());
        let run = format!("{:x}", began.as_second());
        Ok(Self { lab: Lab::current()?, paths: Paths::find()?, run, began, start: now, step: now })
    }

    /// The time since it began.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Announces a step.
    pub fn open(&mut self, number: usize, step: &Step) {
        self.step = Instant::now();
        println!("\n== {number}. {}", step.title);
        for line in wrapped(step.shows) {
            println!("   {line}");
        }
        println!("   Look: e2e/lab exec -- {}", step.look);
    }

    /// Says that the step holds.
    pub fn close(&self) {
        println!("   Holds, after {:.1} s", self.step.elapsed().as_secs_f64());
    }

    /// Says what is being done.
    pub fn doing(&self, text: &str) {
        println!("   [{:5.1}s] {text}", self.elapsed().as_secs_f64());
    }

    /// Says what was seen.
    pub fn seen(&self, text: &str) {
        for (at, line) in text.trim_end().lines().enumerate() {
            println!("   {:8} {} {line}", "", if at == 0 { "->" } else { "  " });
        }
    }

    /// Asks `look` until it has an answer, and says every few seconds that it still waits. `look` returns what it saw
    /// instead as `Err`.
    ///
    /// # Errors
    /// There was no answer within `limit`: the error holds what was seen last.
    pub fn until<T>(&self, what: &str, limit: Duration, mut look: impl FnMut() -> Result<T, String>) -> Result<T> {
        let start = Instant::now();
        let mut patience = PATIENCE;
        loop {
            let last = match look() {
                Ok(answer) => return Ok(answer),
                Err(last) => last,
            };
            if start.elapsed() > limit {
                bail!("{what}: not within {} s; last seen: {}", limit.as_secs(), tail(last.trim(), 600));
            }
            if start.elapsed() > patience {
                patience *= 2;
                let line = last.trim().lines().last().unwrap_or_default();
                self.doing(&format!("... still waiting for {what}: {line}"));
            }
            std::thread::sleep(POLL);
        }
    }

    /// Waits until an object's condition Ready is True.
    ///
    /// # Errors
    /// It did not become so: the error holds reason and message.
    pub fn until_ready(&self, object: &str, limit: Duration) -> Result<()> {
        let path = "{range .status.conditions[?(@.type==\"Ready\")]}{.status} {.reason}: {.message}{end}";
        let ask = format!("kubectl get {object} -o jsonpath='{path}'");
        self.until(&format!("{object} to be Ready"), limit, || match try_sh(&ask) {
            (true, text) if text.starts_with("True") => Ok(()),
            (_, text) => Err(text),
        })
    }

    /// Applies a manifest of `e2e/manifests/demo`.
    ///
    /// # Errors
    /// The API server refused.
    pub fn apply(&self, manifest: &str) -> Result<()> {
        let text = render(manifest, &[("RUN", &self.run)]);
        super::shell::sh_with("kubectl apply -f -", &text).map(drop)
    }

    /// A file of the checkout.
    pub fn file(&self, name: &str) -> String {
        self.paths.root.join(name).display().to_string()
    }

    /// What the brokers' authorizer refused a principal since `since`: for each broker the time of the first refusal and
    /// its line.
    ///
    /// # Errors
    /// A log could not be read.
    pub fn refusals(&self, principal: &str, since: Timestamp) -> Result<Vec<(u32, Timestamp, String)>> {
        let mut found = Vec::new();
        for broker in 0..3 {
            let log = sh(&format!("kubectl -n kafka logs kafka-{broker} --timestamps --since-time={since}"))?;
            let wanted = format!("Principal = User:{principal} is Denied");
            for line in log.lines().filter(|line| line.contains(&wanted)) {
                let (at, rest) = line.split_once(' ').unwrap_or_default();
                let at: Timestamp = at.parse().with_context(|| format!("failed to read the time of {line}"))?;
                if at >= since {
                    found.push((broker, at, rest.to_owned()));
                    break;
                }
            }
        }
        Ok(found)
    }
}

/// `text` in lines of at most [`WIDTH`] columns.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + word.len() < WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
