//! What the lab tells the person who waits: one line a step, with the seconds
//! since the start; and waiting for a condition with a deadline.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(100);

/// Says what happens, with the time since it was made.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    start: Instant,
}

impl Progress {
    /// Starts the clock.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Prints one line on standard error.
    pub fn say(&self, text: impl AsRef<str>) {
        let elapsed = self.start.elapsed().as_secs_f64();
        eprintln!("[{elapsed:6.1}s] {}", text.as_ref());
    }
}

/// Asks `condition` until it says `Ok(true)`. Fails at its first error, and
/// with `what` once `limit` has passed.
pub fn wait_for(what: &str, limit: Duration, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !condition()? {
        if start.elapsed() > limit {
            bail!("{what} did not happen within {} s", limit.as_secs());
        }
        sleep(POLL);
    }
    Ok(())
}
