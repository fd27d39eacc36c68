//! How much a caller may ask: so much from one address, and of those that are not known so much from all of them.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};

use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::domain::network::of_one;

/// Calls a minute from one address (of IPv6, from one network of 64 bits).
const FROM_ONE: u32 = 120;
/// Calls a minute without a known key, which are those with an invitation, from everywhere.
const OF_STRANGERS: u32 = 600;
/// After so many calls, addresses that were quiet are forgotten.
const FORGET_EVERY: u32 = 1000;

/// See the module.
pub struct Limits {
    by_address: DefaultKeyedRateLimiter<IpAddr>,
    strangers: DefaultDirectRateLimiter,
    calls: AtomicU32,
}

impl Default for Limits {
    fn default() -> Self {
        let a_minute = |calls| Quota::per_minute(NonZeroU32::new(calls).unwrap_or(NonZeroU32::MIN));
        Self {
            by_address: RateLimiter::keyed(a_minute(FROM_ONE)),
            strangers: RateLimiter::direct(a_minute(OF_STRANGERS)),
            calls: AtomicU32::new(0),
        }
    }
}

impl Limits {
    /// Whether another call from `address` is heard.
    pub fn allow(&self, address: IpAddr) -> bool {
        if self.calls.fetch_add(1, Ordering::Relaxed) % FORGET_EVERY == FORGET_EVERY - 1 {
            self.by_address.retain_recent();
        }
        self.by_address.check_key(&of_one(address)).is_ok()
    }

    /// Whether another call by somebody unknown is heard.
    pub fn allow_stranger(&self) -> bool {
        self.strangers.check().is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::{FROM_ONE, Limits, OF_STRANGERS};

    #[test]
    fn who_asks_too_much_is_not_heard_and_others_are() {
        let limits = Limits::default();
        let of = |address: &str| (0..FROM_ONE + 5).filter(|_| limits.allow(address.parse().unwrap())).count();
        assert_eq!(of("192.0.2.1"), FROM_ONE as usize);
        assert_eq!(of("192.0.2.2"), FROM_ONE as usize);
        assert_eq!(of("2001:db8::1"), FROM_ONE as usize);
        assert_eq!(of("2001:db8::2"), 0, "the same network");
        assert_eq!((0..OF_STRANGERS + 5).filter(|_| limits.allow_stranger()).count(), OF_STRANGERS as usize);
    }
}
