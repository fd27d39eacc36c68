//! What Kafka Connect reports of a connector, by its REST interface and wherever that is passed on.

use serde::Deserialize;

use super::plan::State;

/// The status of a connector (`GET /connectors/{name}/status`).
#[derive(Clone, Debug, Deserialize)]
pub struct Reported {
    connector: One,
    #[serde(default)]
    tasks: Vec<One>,
}

#[derive(Clone, Debug, Deserialize)]
struct One {
    state: String,
    trace: Option<String>,
}

impl One {
    /// A state that is not known is one on its way: nothing is done about it.
    fn state(&self) -> State {
        State::of(&self.state).unwrap_or(State::Unassigned)
    }
}

impl Reported {
    /// How the connector is.
    pub fn state(&self) -> State {
        self.connector.state()
    }

    /// How each of its tasks is.
    pub fn tasks(&self) -> Vec<State> {
        self.tasks.iter().map(One::state).collect()
    }

    /// What the first that failed said, in a line.
    pub fn failure(&self) -> Option<String> {
        let trace = [&self.connector].into_iter().chain(&self.tasks).find_map(|one| one.trace.as_ref());
        trace.map(|trace| first_cause(trace))
    }
}

/// Of a stack trace, what it is about.
pub fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(512).collect()
}

/// Of a Java stack trace, the last cause, which says what is wrong.
fn first_cause(trace: &str) -> String {
    let cause = trace.lines().filter_map(|line| line.strip_prefix("Caused by: ")).next_back();
    first_line(cause.unwrap_or(trace))
}

#[cfg(test)]
mod tests {
    use super::first_cause;

    #[test]
    fn a_trace_without_a_cause_is_its_own() {
        assert_eq!(first_cause("java.lang.Error: x\n\tat y"), "java.lang.Error: x");
    }
}
