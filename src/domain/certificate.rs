//! How long a client's certificate lasts, and when it is renewed. A certificate never outlives the authority that signed it.

use jiff::{SignedDuration, Timestamp};

use crate::api::Credentials;

/// How long a certificate is valid where the client does not say when it rotates, and its authority lasts as long.
pub const LIFETIME: SignedDuration = SignedDuration::from_hours(365 * 24);
/// How long the certificate before stays valid beside one that came because of its age, where the client does not say: nobody
/// asked for that renewal, so whoever mounts the Secret has time to be restarted.
pub const RENEWAL_OVERLAP: SignedDuration = SignedDuration::from_hours(7 * 24);

/// How long a certificate should be valid: for two rotation periods and the overlap, so that a late rotation cuts nobody off.
pub fn lifetime(credentials: &Credentials) -> SignedDuration {
    let Some(rotation) = &credentials.rotation else { return LIFETIME };
    let (every, overlap) = (std::time::Duration::from(rotation.every), std::time::Duration::from(rotation.overlap));
    SignedDuration::try_from(every * 2 + overlap).unwrap_or(LIFETIME)
}

/// When a certificate that is signed `now` ends, by an authority that ends at `authority`; `None` where that has ended.
pub fn end(credentials: &Credentials, now: Timestamp, authority: Timestamp) -> Option<Timestamp> {
    let wanted = now.checked_add(lifetime(credentials)).unwrap_or(authority);
    (authority > now).then(|| wanted.min(authority))
}

/// When two thirds of a certificate's time are over. One on record without an end is of a Weir that signed for [`LIFETIME`].
pub fn renew_at(issued: Timestamp, end: Option<Timestamp>) -> Timestamp {
    let lasts = end.map_or(LIFETIME, |end| end.duration_since(issued));
    issued.checked_add(lasts / 3 * 2).unwrap_or(issued)
}

/// Whether an authority that ends at `authority` signs for longer than a certificate that ends at `end`. One that does not is
/// not asked: as its end came near, it would sign again and again for an ever shorter time.
pub fn is_longer(authority: Option<Timestamp>, end: Option<Timestamp>) -> bool {
    match (authority, end) {
        (Some(authority), Some(end)) => authority > end,
        (Some(_), None) => true,
        (None, _) => false,
    }
}

/// Whether certificates signed `now` without `rotation` end earlier than they should, with their authority.
pub fn shortens(authority: Timestamp, now: Timestamp) -> bool {
    authority.duration_since(now) < LIFETIME
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::{LIFETIME, end, is_longer, renew_at, shortens};
    use crate::api::Credentials;

    fn at(hours: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hours)
    }

    #[test]
    fn a_certificate_never_outlives_its_authority() {
        let silent = Credentials::default();
        let rotating: Credentials = serde_json::from_str(r#"{"rotation": {"every": "10h", "overlap": "2h"}}"#).unwrap();
        let ten_years = at(10 * 365 * 24);
        assert_eq!(end(&silent, at(0), ten_years), Some(at(0) + LIFETIME));
        assert_eq!(end(&rotating, at(0), ten_years), Some(at(22)));
        assert_eq!(end(&silent, at(0), at(5)), Some(at(5)));
        assert_eq!(end(&rotating, at(0), at(5)), Some(at(5)));
        assert_eq!(end(&silent, at(5), at(5)), None);
        assert_eq!((shortens(at(5), at(0)), shortens(ten_years, at(0))), (true, false));
    }

    #[test]
    fn a_certificate_is_renewed_when_two_thirds_of_its_time_are_over() {
        assert_eq!(renew_at(at(0), Some(at(9))), at(6));
        assert_eq!(renew_at(at(3), Some(at(9))), at(7));
        assert_eq!(renew_at(at(0), None), at(365 * 16));
    }

    #[test]
    fn an_authority_that_lasts_no_longer_than_the_certificate_is_not_asked() {
        assert!(is_longer(Some(at(10)), Some(at(9))));
        assert!(!is_longer(Some(at(9)), Some(at(9))));
        assert!(!is_longer(None, Some(at(9))));
        assert!(is_longer(Some(at(9)), None));
    }
}
