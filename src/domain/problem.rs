//! Why something cannot be as the spec says.

use crate::api::Reason;

/// Who has to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Remedy {
    /// The user: nothing changes until a spec does.
    Invalid,
    /// Something else is expected to come by itself.
    Waiting,
}

/// One thing that stands in the way. Problems of an object are kept sorted, so that the same ones read the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Who has to act.
    pub remedy: Remedy,
    /// Which kind of problem.
    pub reason: Reason,
    /// What it is about, with the value at fault, and what to do.
    pub message: String,
}

impl Problem {
    /// One that the user must mend.
    pub fn invalid(reason: Reason, message: impl Into<String>) -> Self {
        Self { remedy: Remedy::Invalid, reason, message: message.into() }
    }

    /// One that goes away by itself.
    pub fn waiting(reason: Reason, message: impl Into<String>) -> Self {
        Self { remedy: Remedy::Waiting, reason, message: message.into() }
    }
}
