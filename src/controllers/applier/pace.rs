//! How long changes are gathered: the more of them come, the longer, so that a flood is few rounds and a single change waits
//! hardly at all. Narrowings never wait for widenings.

use std::time::Duration;

/// How long a change is waited for another one to come with it.
pub const SHORTEST: Duration = Duration::from_millis(20);
/// How long changes are gathered in a flood.
const LONGEST: Duration = Duration::from_secs(2);
/// A round with so many changes is one of a flood.
const FLOOD: usize = 16;

/// See the module.
#[derive(Debug)]
pub struct Pace(Duration);

impl Default for Pace {
    fn default() -> Self {
        Self(SHORTEST)
    }
}

impl Pace {
    /// How long to gather for the next round.
    pub fn wait(&self) -> Duration {
        self.0
    }

    /// Takes note of how many changes a round had.
    pub fn had(&mut self, changes: usize) {
        self.0 = if changes < FLOOD { SHORTEST } else { (self.0 * 2).min(LONGEST) };
    }
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, Pace, SHORTEST};

    #[test]
    fn a_flood_is_gathered_ever_longer_and_a_single_change_at_once() {
        let mut pace = Pace::default();
        let mut waits = Vec::new();
        for _ in 0..10 {
            waits.push(pace.wait());
            pace.had(100);
        }
        assert_eq!(waits[0], SHORTEST);
        assert!(waits.windows(2).all(|w| w[0] <= w[1]));
        assert_eq!(pace.wait(), LONGEST);
        pace.had(1);
        assert_eq!(pace.wait(), SHORTEST);
    }
}
