//! What there is to tell of a binding's access, by what was told of it before.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api::{Action, Reason, RoleBindingStatus};
use crate::controllers::announced::{changes, taken};
use crate::domain::conditions::Progress;

/// One thing to tell.
#[derive(Debug, PartialEq)]
pub struct News {
    pub action: Action,
    /// Why, in a word.
    pub reason: &'static str,
    /// Why, in a sentence.
    pub message: String,
    /// Whose access it is.
    pub principals: BTreeSet<String>,
    /// What was given, or taken.
    pub entries: BTreeSet<String>,
    /// How many entries that are, where not all are known.
    pub of: Option<i64>,
}

/// What a binding had, and has.
pub struct Change<'a> {
    /// The status as it was told.
    pub before: &'a RoleBindingStatus,
    /// All entries that it was told to have, where that is known.
    pub had: Option<BTreeSet<String>>,
    /// What the status is to say.
    pub after: &'a RoleBindingStatus,
    /// All entries that it has.
    pub has: &'a BTreeSet<String>,
}

/// What there is to tell of a change: of one that takes and gives, both.
pub fn of_change(change: Change<'_>, progress: &Progress) -> Vec<News> {
    let Change { before, had, after, has } = change;
    let why = |reason, message: &str| match progress {
        Progress::Stalled(why, text) => (why.as_str(), text.clone()),
        Progress::Ready(_) | Progress::Reconciling(..) => (reason, message.to_owned()),
    };
    let tell = |action, (reason, message), whose: &RoleBindingStatus, entries: BTreeSet<String>| News {
        action,
        reason,
        message,
        principals: whose.principals.iter().cloned().collect(),
        entries,
        of: None,
    };
    let was = match (&before.entries, &after.entries) {
        (None, None) => return Vec::new(),
        (None, Some(_)) => {
            return vec![tell(Action::AccessGranted, why("Granted", "access began"), after, has.clone())];
        }
        (Some(was), None) => {
            let is_expired = matches!(progress, Progress::Stalled(Reason::Expired, _));
            let (action, reason) =
                if is_expired { (Action::AccessExpired, "Expired") } else { (Action::AccessRevoked, "Revoked") };
            let (entries, of) = taken(had, was);
            return vec![News { of, ..tell(action, why(reason, "access ended"), before, entries) }];
        }
        (Some(was), Some(_)) => was,
    };
    let told = changes((was, had.as_ref()), (after.entries.as_ref(), has)).into_iter().map(|changed| {
        let whose = if changed.action == Action::AccessNarrowed { before } else { after };
        tell(changed.action, why(changed.reason, changed.message), whose, changed.entries)
    });
    told.collect()
}

/// Of a binding that is deleted, whose status was told as `before`. By `begun`, brokers gave something to these principals by it,
/// and no end of that was told: it may go before any status says that it began. `abandoned` is a cluster that is given up.
/// `had` is all that it was told to have, where that is known.
pub fn of_deletion(
    before: &RoleBindingStatus,
    had: Option<BTreeSet<String>>,
    begun: BTreeSet<String>,
    abandoned: Option<&str>,
) -> Option<News> {
    let principals = before.principals.iter().cloned().chain(begun.iter().cloned()).collect();
    if before.entries.is_none() && begun.is_empty() {
        let withdrawn = || News {
            action: Action::RequestWithdrawn,
            reason: "Deleted",
            message: "it was deleted before anybody decided".into(),
            principals,
            entries: BTreeSet::new(),
            of: None,
        };
        return is_asking(before).then(withdrawn);
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
    let (entries, of) = before.entries.as_ref().map(|was| taken(had, was)).unwrap_or_default();
    Some(News { action, reason, message, principals, entries, of })
}

/// Whether the status says that it waits for an owner.
pub fn is_asking(status: &RoleBindingStatus) -> bool {
    let waits = |c: &Condition| c.type_ == "Ready" && c.reason == Reason::AwaitingApproval.as_str();
    status.conditions.iter().any(waits)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use jiff::Timestamp;

    use super::{Change, News, of_change, of_deletion};
    use crate::api::{Action, EntriesStatus, Reason, RoleBindingStatus};
    use crate::domain::conditions::{Progress, conditions, merge};

    fn set(texts: &[&str]) -> BTreeSet<String> {
        texts.iter().map(ToString::to_string).collect()
    }

    /// Of a binding that has these entries.
    fn has(entries: &[&str]) -> RoleBindingStatus {
        let entries = EntriesStatus {
            count: i64::try_from(entries.len()).unwrap(),
            hash: entries.concat(),
            sample: entries.iter().map(ToString::to_string).collect(),
        };
        RoleBindingStatus { entries: Some(entries), principals: vec!["app".into()], ..RoleBindingStatus::default() }
    }

    fn nothing() -> RoleBindingStatus {
        RoleBindingStatus::default()
    }

    fn asks() -> RoleBindingStatus {
        let waits = Progress::Reconciling(Reason::AwaitingApproval, String::new());
        RoleBindingStatus { conditions: merge(&[], conditions(&waits), None, Timestamp::UNIX_EPOCH), ..nothing() }
    }

    /// What it is, why, and which entries.
    fn told(news: &News) -> (Action, &'static str, String) {
        (news.action, news.reason, news.entries.iter().cloned().collect())
    }

    #[test]
    fn each_change_of_access_is_told_with_what_came_and_what_went() {
        use Action::{AccessExpired, AccessGranted, AccessNarrowed, AccessRevoked};
        let ready = Progress::Ready("r".into());
        let stalled = |reason| Progress::Stalled(reason, "s".into());
        let no_role = stalled(Reason::RoleNotFound);
        type Told<'a> = &'a [(Action, &'a str, &'a str)];
        let cases: &[(&[&str], &[&str], &Progress, Told)] = &[
            (&[], &[], &ready, &[]),
            (&[], &["a", "b"], &ready, &[(AccessGranted, "Granted", "ab")]),
            (&["a"], &["a"], &ready, &[]),
            (&["a", "b"], &["b"], &ready, &[(AccessNarrowed, "Narrowed", "a")]),
            (&["a", "b"], &["b"], &no_role, &[(AccessNarrowed, "RoleNotFound", "a")]),
            (&["a"], &["a", "b"], &ready, &[(AccessGranted, "Widened", "b")]),
            (&["a", "b"], &["b", "c"], &ready, &[(AccessNarrowed, "Narrowed", "a"), (AccessGranted, "Widened", "c")]),
            (&["a", "b"], &[], &ready, &[(AccessRevoked, "Revoked", "ab")]),
            (&["a"], &[], &stalled(Reason::Denied), &[(AccessRevoked, "Denied", "a")]),
            (&["a"], &[], &stalled(Reason::Expired), &[(AccessExpired, "Expired", "a")]),
        ];
        let status = |entries: &[&str]| if entries.is_empty() { nothing() } else { has(entries) };
        for (had, has, progress, wanted) in cases {
            let (before, after) = (status(had), status(has));
            let change = Change { before: &before, had: Some(set(had)), after: &after, has: &set(has) };
            let news = of_change(change, progress);
            let wanted: Vec<_> =
                wanted.iter().map(|(action, reason, of)| (*action, *reason, (*of).to_owned())).collect();
            assert_eq!(news.iter().map(told).collect::<Vec<_>>(), wanted, "{had:?} {has:?}");
            assert!(news.iter().all(|news| news.principals == set(&["app"])), "{news:?}");
        }
    }

    #[test]
    fn where_nobody_knows_what_it_had_a_change_is_told_as_what_it_has_and_an_end_by_what_the_status_names() {
        let ready = Progress::Ready("r".into());
        let mut before = has(&["a", "b"]);
        before.entries.as_mut().unwrap().sample.pop();
        let change = |after: RoleBindingStatus, has: BTreeSet<String>| {
            let news = of_change(Change { before: &before, had: None, after: &after, has: &has }, &ready);
            assert!(after.entries.is_some() || news[0].of == Some(2), "{news:?}");
            news.iter().map(told).collect::<Vec<_>>()
        };
        assert_eq!(change(has(&["b"]), set(&["b"])), [(Action::AccessGranted, "Changed", "b".into())]);
        assert_eq!(change(nothing(), set(&[])), [(Action::AccessRevoked, "Revoked", "a".into())]);
    }

    #[test]
    fn a_deletion_ends_what_was_told_and_what_only_brokers_knew_of() {
        type Told<'a> = Option<(Action, &'a str, &'a [&'a str])>;
        let revoked = |of: &'static [&str]| Some((Action::AccessRevoked, "Deleted", of));
        let cases: [(RoleBindingStatus, &[&str], Option<&str>, Told); 8] = [
            (nothing(), &[], None, None),
            (asks(), &[], None, Some((Action::RequestWithdrawn, "Deleted", &[]))),
            (has(&["a"]), &[], None, revoked(&["app"])),
            (has(&["a"]), &["etl", "app"], None, revoked(&["app", "etl"])),
            (nothing(), &["app"], None, revoked(&["app"])),
            (asks(), &["app"], None, revoked(&["app"])),
            (nothing(), &["app"], Some("main"), Some((Action::AccessOrphaned, "ClusterAbandoned", &["app"]))),
            (nothing(), &[], Some("main"), None),
        ];
        for (before, begun, abandoned, told) in cases {
            let news = of_deletion(&before, None, set(begun), abandoned);
            let news = news.map(|news| (news.action, news.reason, news.principals));
            assert_eq!(news, told.map(|(action, reason, of)| (action, reason, set(of))), "{before:?}");
        }
        let known = of_deletion(&has(&["a", "b"]), Some(set(&["a", "b"])), set(&[]), None).unwrap();
        assert_eq!(known.entries, set(&["a", "b"]), "all of it, where that is known");
    }
}
