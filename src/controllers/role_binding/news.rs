//! What there is to tell of a binding's access, by what was told of it before.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api::{Action, Reason, RoleBindingStatus};
use crate::domain::conditions::Progress;

/// One thing to tell.
#[derive(Debug)]
pub struct News {
    pub action: Action,
    /// Why, in a word.
    pub reason: &'static str,
    /// Why, in a sentence.
    pub message: String,
    /// Whose access it is, and to what.
    pub about: RoleBindingStatus,
}

impl News {
    /// Names these principals, too.
    pub fn name(&mut self, principals: BTreeSet<String>) {
        let named = std::mem::take(&mut self.about.principals);
        self.about.principals = named.into_iter().chain(principals).collect::<BTreeSet<_>>().into_iter().collect();
    }
}

/// Of a binding whose status was told as `before`, and is to say `after`, which for all that is known has nothing that it had not
/// before: `gains_nothing`.
pub fn of_change(
    before: &RoleBindingStatus,
    after: &RoleBindingStatus,
    gains_nothing: bool,
    progress: &Progress,
) -> Option<News> {
    let (action, reason, message) = match (&before.entries, &after.entries) {
        (None, Some(_)) => (Action::AccessGranted, "Granted", "access began"),
        (Some(was), Some(is)) if was.hash == is.hash => return None,
        (Some(_), Some(_)) if gains_nothing => (Action::AccessNarrowed, "Narrowed", "access became less"),
        (Some(_), Some(_)) => (Action::AccessGranted, "Changed", "access changed"),
        (Some(_), None) if matches!(progress, Progress::Stalled(Reason::Expired, _)) => {
            (Action::AccessExpired, "Expired", "access ended")
        }
        (Some(_), None) => (Action::AccessRevoked, "Revoked", "access ended"),
        (None, None) => return None,
    };
    let (reason, message) = match progress {
        Progress::Stalled(why, text) => (why.as_str(), text.as_str()),
        Progress::Ready(_) | Progress::Reconciling(..) => (reason, message),
    };
    let about = if after.entries.is_some() { after } else { before };
    Some(News { action, reason, message: message.to_owned(), about: about.clone() })
}

/// Of a binding that is deleted, whose status was told as `before`. By `begun`, brokers gave something to these principals by it,
/// and no end of that was told: it may go before any status says that it began. `abandoned` is a cluster that is given up.
pub fn of_deletion(before: RoleBindingStatus, begun: BTreeSet<String>, abandoned: Option<&str>) -> Option<News> {
    if before.entries.is_none() && begun.is_empty() {
        let withdrawn = |about| News {
            action: Action::RequestWithdrawn,
            reason: "Deleted",
            message: "it was deleted before anybody decided".into(),
            about,
        };
        return is_asking(&before).then(|| withdrawn(before));
    }
    let (action, reason, message) = match abandoned {
        None => (Action::AccessRevoked, "Deleted", "the binding was deleted".to_owned()),
        Some(cluster) => {
            let message = format!(
                "the binding was deleted, and StreamCluster {cluster} is abandoned: what it left there is removed when the \
                 cluster returns"
            );
            (Action::AccessOrphaned, "ClusterAbandoned", message)
        }
    };
    let mut news = News { action, reason, message, about: before };
    news.name(begun);
    Some(news)
}

/// Whether the status says that it waits for an owner.
pub fn is_asking(status: &RoleBindingStatus) -> bool {
    let waits = |c: &Condition| c.type_ == "Ready" && c.reason == Reason::AwaitingApproval.as_str();
    status.conditions.iter().any(waits)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{News, of_change, of_deletion};
    use crate::api::{Action, EntriesStatus, Reason, RoleBindingStatus};
    use crate::domain::conditions::{Progress, conditions, merge};

    fn has(count: i64, hash: &str) -> RoleBindingStatus {
        let entries = Some(EntriesStatus { count, hash: hash.into(), sample: vec![hash.into()] });
        RoleBindingStatus { entries, principals: vec!["app".into()], ..RoleBindingStatus::default() }
    }

    fn nothing() -> RoleBindingStatus {
        RoleBindingStatus::default()
    }

    fn asks() -> RoleBindingStatus {
        let waits = Progress::Reconciling(Reason::AwaitingApproval, String::new());
        RoleBindingStatus { conditions: merge(&[], conditions(&waits), None, Timestamp::UNIX_EPOCH), ..nothing() }
    }

    /// What it is, why, and whose access.
    fn in_short(news: Option<News>) -> Option<(Action, &'static str, Vec<String>)> {
        news.map(|n| (n.action, n.reason, n.about.principals))
    }

    fn app(action: Action, reason: &'static str) -> Option<(Action, &'static str, Vec<String>)> {
        Some((action, reason, vec!["app".into()]))
    }

    #[test]
    fn each_change_of_access_is_told_and_what_stays_is_not() {
        let ready = Progress::Ready("r".into());
        let stalled = |reason| Progress::Stalled(reason, "s".into());
        for (before, after, gains_nothing, progress, told) in [
            (nothing(), nothing(), false, &ready, None),
            (nothing(), has(1, "a"), false, &ready, app(Action::AccessGranted, "Granted")),
            (has(1, "a"), has(1, "a"), true, &ready, None),
            (has(2, "a"), has(1, "b"), true, &ready, app(Action::AccessNarrowed, "Narrowed")),
            (
                has(2, "a"),
                has(1, "b"),
                true,
                &stalled(Reason::RoleNotFound),
                app(Action::AccessNarrowed, "RoleNotFound"),
            ),
            // Fewer entries than before, and others.
            (has(2, "a"), has(1, "b"), false, &ready, app(Action::AccessGranted, "Changed")),
            (has(1, "a"), has(1, "b"), false, &ready, app(Action::AccessGranted, "Changed")),
            (has(1, "a"), nothing(), true, &ready, app(Action::AccessRevoked, "Revoked")),
            (has(1, "a"), nothing(), true, &stalled(Reason::Denied), app(Action::AccessRevoked, "Denied")),
            (has(1, "a"), nothing(), true, &stalled(Reason::Expired), app(Action::AccessExpired, "Expired")),
        ] {
            let news = of_change(&before, &after, gains_nothing, progress);
            assert_eq!(in_short(news), told, "{before:?} {after:?} {progress:?}");
        }
    }

    #[test]
    fn a_deletion_ends_what_was_told_and_what_only_brokers_knew_of() {
        let begun = |of: &[&str]| of.iter().map(ToString::to_string).collect();
        let both = vec!["app".to_owned(), "etl".to_owned()];
        for (before, begun, abandoned, told) in [
            (nothing(), begun(&[]), None, None),
            (asks(), begun(&[]), None, Some((Action::RequestWithdrawn, "Deleted", vec![]))),
            (has(1, "a"), begun(&[]), None, app(Action::AccessRevoked, "Deleted")),
            (has(1, "a"), begun(&["etl", "app"]), None, Some((Action::AccessRevoked, "Deleted", both))),
            (nothing(), begun(&["app"]), None, app(Action::AccessRevoked, "Deleted")),
            (asks(), begun(&["app"]), None, app(Action::AccessRevoked, "Deleted")),
            (nothing(), begun(&["app"]), Some("main"), app(Action::AccessOrphaned, "ClusterAbandoned")),
            (nothing(), begun(&[]), Some("main"), None),
        ] {
            assert_eq!(in_short(of_deletion(before, begun, abandoned)), told);
        }
    }
}
