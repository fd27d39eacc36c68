//! Conditions from problems.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::problem::{Problem, Remedy};
use crate::api::{ConditionType, Reason};

/// The longest message, in bytes; the API server takes 32768.
const MOST: usize = 2048;

/// How far an object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The brokers were asked and have it all; the message says what.
    Ready(String),
    /// On its way, or waiting.
    Reconciling(Reason, String),
    /// The user must act. What is not concerned works all the same.
    Stalled(Reason, String),
}

impl Progress {
    /// What the user must mend, as one problem.
    pub fn refusal(&self) -> Option<Problem> {
        match self {
            Self::Stalled(reason, message) => Some(Problem::invalid(*reason, message)),
            Self::Ready(_) | Self::Reconciling(..) => None,
        }
    }
}

/// Those of `problems` that the user must mend, and that a status with the conditions `before` does not say yet; each once.
pub fn newly_refused<'a>(
    problems: impl IntoIterator<Item = &'a Problem>,
    before: &[Condition],
) -> BTreeSet<&'a Problem> {
    let says = |c: &Condition, problem: &Problem| c.type_ == "Stalled" && c.message.contains(&problem.message);
    let is_new = |p: &&Problem| p.remedy == Remedy::Invalid && !before.iter().any(|c| says(c, p));
    problems.into_iter().filter(is_new).collect()
}

/// How far an object with these problems is; `ready` where there are none.
pub fn progress(problems: &[Problem], ready: Progress) -> Progress {
    let Some(first) = problems.iter().min_by_key(|p| p.remedy) else { return ready };
    let messages: Vec<_> = problems.iter().take(10).map(|p| p.message.as_str()).collect();
    let mut message = messages.join("; ");
    if problems.len() > messages.len() {
        message.push_str(&format!("; and {} more", problems.len() - messages.len()));
    }
    match first.remedy {
        Remedy::Invalid => Progress::Stalled(first.reason, message),
        Remedy::Waiting => Progress::Reconciling(first.reason, message),
    }
}

/// `Ready`, and beside it `Reconciling` or `Stalled` while one of them holds (kstatus).
pub fn conditions(progress: &Progress) -> Vec<(ConditionType, bool, Reason, String)> {
    match progress {
        Progress::Ready(message) => vec![(ConditionType::Ready, true, Reason::Ready, message.clone())],
        Progress::Reconciling(reason, message) => vec![
            (ConditionType::Ready, false, *reason, message.clone()),
            (ConditionType::Reconciling, true, *reason, message.clone()),
        ],
        Progress::Stalled(reason, message) => vec![
            (ConditionType::Ready, false, *reason, message.clone()),
            (ConditionType::Stalled, true, *reason, message.clone()),
        ],
    }
}

/// The conditions to write: each keeps its `lastTransitionTime` while its status stays, so that an unchanged status is equal
/// to the one before.
pub fn merge(
    before: &[Condition],
    after: Vec<(ConditionType, bool, Reason, String)>,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    after
        .into_iter()
        .map(|(type_, holds, reason, message)| {
            let status = if holds { "True" } else { "False" };
            let same = before.iter().find(|c| c.type_ == type_.as_str() && c.status == status);
            Condition {
                type_: type_.to_string(),
                status: status.into(),
                reason: reason.to_string(),
                message: truncated(message, MOST),
                observed_generation: generation,
                // The API server keeps whole seconds.
                last_transition_time: same.map_or_else(|| Time(whole_seconds(now)), |c| c.last_transition_time.clone()),
            }
        })
        .collect()
}

/// `at` without its fraction of a second.
pub fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// A text, cut off behind `most` bytes.
pub fn truncated(mut text: String, most: usize) -> String {
    if text.len() > most {
        let end = (0..=most).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{Progress, conditions, merge, newly_refused, progress};
    use crate::api::Reason;
    use crate::domain::problem::Problem;

    #[test]
    fn what_the_user_must_mend_comes_before_what_is_awaited() {
        let problems = [Problem::waiting(Reason::Applying, "b"), Problem::invalid(Reason::RoleNotFound, "a")];
        let got = progress(&problems, Progress::Ready(String::new()));
        assert_eq!(got, Progress::Stalled(Reason::RoleNotFound, "b; a".into()));
    }

    #[test]
    fn what_the_user_must_mend_is_refused_once_until_the_status_says_it() {
        let [lost, gone] = ["lost", "gone"].map(|what| Problem::invalid(Reason::RoleNotFound, what));
        let waits = Problem::waiting(Reason::Applying, "waits");
        let all = [&lost, &waits, &lost];
        assert_eq!(newly_refused(all, &[]), [&lost].into());
        let far = progress(&[lost.clone(), waits.clone()], Progress::Ready(String::new()));
        assert_eq!(newly_refused(far.refusal().as_ref(), &[]).len(), 1);
        let before = merge(&[], conditions(&far), Some(1), Timestamp::UNIX_EPOCH);
        assert_eq!(newly_refused([&lost, &waits, &gone], &before), [&gone].into());
        // That something waits, or does not, is no other refusal.
        let later = progress(&[lost], Progress::Ready(String::new()));
        assert!(newly_refused(later.refusal().as_ref(), &before).is_empty());
        assert_eq!(progress(&[waits], Progress::Ready(String::new())).refusal(), None);
    }

    #[test]
    fn a_condition_that_stays_keeps_its_transition_time() {
        let early = Timestamp::from_second(100).unwrap();
        let late = Timestamp::from_second(200).unwrap();
        let first = merge(&[], conditions(&Progress::Ready("x".into())), Some(1), early);
        let second = merge(&first, conditions(&Progress::Ready("x".into())), Some(1), late);
        assert_eq!(first, second);
        let third = merge(&first, conditions(&Progress::Reconciling(Reason::Applying, "y".into())), Some(1), late);
        assert_eq!(third[0].last_transition_time.0, late);
    }
}
