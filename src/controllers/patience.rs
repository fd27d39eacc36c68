//! What is under way is not worth a status write unless it takes long: most changes are on every broker within a second.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::api::Reason;
use crate::domain::conditions::Progress;

/// How long something may be under way before its status says so.
pub const LIMIT: Duration = Duration::from_secs(2);

/// Since when objects are under way, by UID.
#[derive(Debug, Default)]
pub struct Patience(Mutex<HashMap<String, Instant>>);

impl Patience {
    /// Whether to say nothing yet of an object that is this far. It is to be looked at again after [`LIMIT`].
    pub fn waits(&self, uid: Option<&str>, progress: &Progress) -> bool {
        let Some(uid) = uid else { return false };
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if is_passing(progress) {
            return since.entry(uid.to_owned()).or_insert_with(Instant::now).elapsed() < LIMIT;
        }
        since.remove(uid);
        false
    }

    /// Forgets an object that goes.
    pub fn forget(&self, uid: Option<&str>) {
        if let Some(uid) = uid {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
        }
    }
}

/// It is being carried out, or misses something that may be applied together with it.
pub fn is_passing(progress: &Progress) -> bool {
    use Reason::{Applying, ClusterNotFound, ProductNotFound, RoleNotFound, StreamNotFound, SubjectNotFound};
    match progress {
        Progress::Ready(_) => false,
        Progress::Reconciling(reason, _) | Progress::Stalled(reason, _) => matches!(
            reason,
            Applying | ClusterNotFound | ProductNotFound | RoleNotFound | StreamNotFound | SubjectNotFound
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::Patience;
    use crate::api::Reason;
    use crate::domain::conditions::Progress;

    #[test]
    fn what_passes_by_itself_is_waited_for_and_nothing_else() {
        let patience = Patience::default();
        let applying = Progress::Reconciling(Reason::Applying, String::new());
        assert!(patience.waits(Some("u"), &applying));
        assert!(!patience.waits(Some("u"), &Progress::Ready(String::new())));
        assert!(patience.waits(Some("u"), &Progress::Stalled(Reason::RoleNotFound, String::new())));
        assert!(!patience.waits(Some("u"), &Progress::Stalled(Reason::NotBindable, String::new())));
        assert!(!patience.waits(Some("u"), &Progress::Reconciling(Reason::ClusterNotReady, String::new())));
    }
}
