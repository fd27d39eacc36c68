//! What was put on record of late as about to be given: what is tried again needs no second record.

use std::collections::BTreeMap;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::audit::Standing;
use super::context::Context;
use crate::domain::event::{Gain, Happening};
use crate::domain::problem::Problem;

/// After so long it is put on record again.
const FOR: Duration = Duration::from_secs(600);

/// By principal, or whoever else is about to get something: what, as a hash, and when that was put on record.
#[derive(Debug, Default)]
pub struct Intents(BTreeMap<String, (Vec<u8>, Instant)>);

impl Intents {
    /// Puts on record what each is about to get. `told` makes the event of those of whom it is not on record yet.
    ///
    /// # Errors
    /// Not all of it is on record: then nothing of it is to be given.
    pub async fn put_on_record(
        &mut self,
        context: &Context,
        gains: &BTreeMap<String, Vec<Gain>>,
        told: impl FnOnce(usize, usize) -> Happening,
    ) -> Result<(), Problem> {
        // What cannot be written now is not given either because it could be a while ago.
        if matches!(context.trail.standing(), Standing::Lost(..)) {
            self.0.clear();
        }
        let now = Instant::now();
        let new: BTreeMap<_, _> = gains.iter().filter(|(whose, what)| !self.has(whose, what, now)).collect();
        let all: Vec<_> = new.values().flat_map(|what| what.iter().cloned()).collect();
        if all.is_empty() {
            return Ok(());
        }
        context.intend(told(new.len(), all.len()), &all).await?;
        // Where there is no AuditTrail nothing is on record, and one may come.
        if context.trail.standing() != Standing::Unwanted {
            new.into_iter().for_each(|(whose, what)| self.note(whose, what, now));
        }
        Ok(())
    }

    /// Forgets what is on record of somebody: it was done, or something else was.
    pub fn forget(&mut self, whose: &str) {
        self.0.remove(whose);
    }

    /// Forgets what is on record of all whose name begins so.
    pub fn forget_all(&mut self, beginning: &str) {
        self.0.retain(|whose, _| !whose.starts_with(beginning));
    }

    fn has(&self, whose: &str, what: &[Gain], now: Instant) -> bool {
        let known = self.0.get(whose).filter(|(_, at)| now.duration_since(*at) < FOR);
        known.is_some_and(|(hash, _)| *hash == hash_of(what))
    }

    fn note(&mut self, whose: &str, what: &[Gain], now: Instant) {
        self.0.retain(|_, (_, at)| now.duration_since(*at) < FOR);
        self.0.insert(whose.to_owned(), (hash_of(what), now));
    }
}

fn hash_of(gains: &[Gain]) -> Vec<u8> {
    let mut hash = Sha256::new();
    for gain in gains {
        for part in [gain.principal.as_deref().unwrap_or_default(), &gain.entry] {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
    }
    hash.finalize().to_vec()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{FOR, Intents};
    use crate::domain::event::Gain;

    #[test]
    fn the_same_is_on_record_for_ten_minutes_and_anything_else_is_not() {
        let (mut intents, now) = (Intents::default(), Instant::now());
        let gains = [Gain::of("a", "read x"), Gain::of("a", "read y")];
        intents.note("a", &gains, now);
        assert!(intents.has("a", &gains, now + FOR - Duration::from_secs(1)));
        assert!(!intents.has("a", &gains, now + FOR));
        assert!(!intents.has("a", &gains[..1], now));
        assert!(!intents.has("a", &[Gain::of("b", "read x"), Gain::of("a", "read y")], now));
        assert!(!intents.has("b", &gains, now));
        intents.forget("a");
        assert!(!intents.has("a", &gains, now));
        intents.note("link/resume", &gains, now);
        intents.forget_all("link/");
        assert!(!intents.has("link/resume", &gains, now));
    }

    #[test]
    fn what_is_too_old_takes_no_room() {
        let (mut intents, now) = (Intents::default(), Instant::now());
        intents.note("a", &[Gain::new("x")], now);
        intents.note("b", &[Gain::new("x")], now + FOR);
        assert_eq!(intents.0.keys().collect::<Vec<_>>(), ["b"]);
    }
}
