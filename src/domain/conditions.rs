//! Conditions from problems.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::problem::{Problem, Remedy};
use crate::api::{ConditionType, Reason};

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
                message: truncated(message),
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

/// A condition's message holds at most 32768 bytes.
fn truncated(mut message: String) -> String {
    const MOST: usize = 2048;
    if message.len() > MOST {
        let end = (0..=MOST).rev().find(|i| message.is_char_boundary(*i)).unwrap_or(0);
        message.truncate(end);
        message.push('…');
    }
    message
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{Progress, conditions, merge, progress};
    use crate::api::Reason;
    use crate::domain::problem::Problem;

    #[test]
    fn what_the_user_must_mend_comes_before_what_is_awaited() {
        let problems = [Problem::waiting(Reason::Applying, "b"), Problem::invalid(Reason::RoleNotFound, "a")];
        let got = progress(&problems, Progress::Ready(String::new()));
        assert_eq!(got, Progress::Stalled(Reason::RoleNotFound, "b; a".into()));
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
