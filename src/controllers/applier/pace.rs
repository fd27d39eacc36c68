//! How long changes are gathered before they are carried out together: the more of them come, the longer, so that a flood is few
//! rounds and a single change waits hardly at all. Narrowings never wait for widenings.

use std::time::Duration;

use tokio::time::Instant;

/// How long a change is waited for another one to come with it.
const SHORTEST: Duration = Duration::from_millis(20);
/// How long changes are gathered in a flood.
const LONGEST: Duration = Duration::from_secs(5);
/// A flood has passed once nothing came for so long.
const LULL: Duration = Duration::from_secs(1);
/// By how much longer than the last the next round of a flood gathers.
const GROWTH: u32 = 4;
/// A round with so many changes is one of a flood.
const FLOOD: usize = 16;
/// How long the brokers are given in a flood before the first look, which then as a rule is the last: looking at once and again
/// would cost as many requests each time.
const PATIENCE: Duration = Duration::from_millis(100);

/// See the module.
#[derive(Debug)]
pub struct Pace {
    longest: Duration,
    gathering: Option<Gathering>,
}

#[derive(Debug)]
struct Gathering {
    /// At the latest.
    end: Instant,
    /// If nothing more comes.
    lull: Instant,
}

impl Default for Pace {
    fn default() -> Self {
        Self { longest: SHORTEST, gathering: None }
    }
}

impl Pace {
    /// Takes note of a change, and whether it takes access away.
    pub fn came(&mut self, narrows: bool, now: Instant) {
        let gathering = self.gathering.get_or_insert(Gathering { end: now + self.longest, lull: now });
        gathering.lull = now + self.longest.min(LULL);
        if narrows {
            gathering.end = gathering.end.min(now + SHORTEST);
        }
    }

    /// When what was gathered is to be carried out; `None` while there is nothing.
    pub fn due(&self) -> Option<Instant> {
        self.gathering.as_ref().map(|g| g.end.min(g.lull))
    }

    /// Takes note of a round that carries out what was gathered, so many changes.
    pub fn carries_out(&mut self, changes: usize) {
        if self.gathering.take().is_some() {
            self.longest = if changes < FLOOD { SHORTEST } else { (self.longest * GROWTH).min(LONGEST) };
        }
    }

    /// When the brokers are first asked whether they show the round that ends `now`; `None` is at once. Rounds that come close
    /// together do not put off a look that was `planned`.
    pub fn first_look(&self, planned: Option<Instant>, now: Instant) -> Option<Instant> {
        let at = now + PATIENCE;
        (self.longest > SHORTEST).then(|| planned.map_or(at, |planned| planned.min(at)))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::{LONGEST, LULL, PATIENCE, Pace, SHORTEST};

    fn in_a_flood() -> Pace {
        let mut pace = Pace::default();
        for _ in 0..10 {
            pace.came(false, Instant::now());
            pace.carries_out(100);
        }
        pace.carries_out(0);
        assert!(pace.first_look(None, Instant::now()).is_some(), "a round in which nothing had come says nothing");
        pace
    }

    #[test]
    fn a_single_change_waits_hardly_at_all() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        assert_eq!(pace.due(), None);
        pace.came(false, now);
        assert_eq!(pace.due(), Some(now + SHORTEST));
        pace.came(false, now + SHORTEST / 2);
        assert_eq!(pace.due(), Some(now + SHORTEST), "others do not put it off");
        pace.carries_out(2);
        assert_eq!((pace.due(), pace.first_look(Some(now), now)), (None, None), "it is looked for at once");
    }

    #[test]
    fn a_flood_is_gathered_ever_longer_until_it_has_passed() {
        let (mut pace, now) = (in_a_flood(), Instant::now());
        let mut at = now;
        while at < now + LONGEST {
            pace.came(false, at);
            at += LULL / 2;
        }
        assert_eq!(pace.due(), Some(now + LONGEST));
        let mut pace = in_a_flood();
        pace.came(false, now);
        assert_eq!(pace.due(), Some(now + LULL), "nothing more comes");
        pace.carries_out(1);
        pace.came(false, now);
        assert_eq!(pace.due(), Some(now + SHORTEST));
    }

    #[test]
    fn rounds_that_follow_one_another_do_not_put_off_the_look() {
        let (pace, now) = (in_a_flood(), Instant::now());
        let first = pace.first_look(None, now);
        assert_eq!(first, Some(now + PATIENCE));
        assert_eq!(pace.first_look(first, now + PATIENCE / 2), first);
        assert_eq!(pace.first_look(first, now + PATIENCE * 2), first, "it is due");
        let later = Some(now + PATIENCE * 5);
        assert_eq!(pace.first_look(later, now), first, "what was looked for in vain waited longer");
    }

    #[test]
    fn what_narrows_does_not_wait_for_the_flood() {
        let (mut pace, now) = (in_a_flood(), Instant::now());
        pace.came(false, now);
        let later = now + LULL / 2;
        pace.came(true, later);
        pace.came(false, later + SHORTEST / 2);
        assert_eq!(pace.due(), Some(later + SHORTEST));
    }
}
