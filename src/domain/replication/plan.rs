//! From the connector that a share should have and the one that Kafka Connect has, to the next step.

use std::collections::{BTreeMap, BTreeSet};

use super::connector::{self, Connector, LOGINS};

/// The state of a connector or a task (Kafka Connect's `AbstractStatus.State`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// At work.
    Running,
    /// Not at work, and by itself at work again once it is resumed; its tasks are kept.
    Paused,
    /// Not at work, without tasks (KIP-875).
    Stopped,
    /// It failed and stays so until it is started again.
    Failed,
    /// On its way to a worker.
    Unassigned,
    /// Being started again.
    Restarting,
}

impl State {
    /// By Kafka Connect's word.
    pub fn of(word: &str) -> Option<Self> {
        let known = [
            ("RUNNING", Self::Running),
            ("PAUSED", Self::Paused),
            ("STOPPED", Self::Stopped),
            ("FAILED", Self::Failed),
            ("UNASSIGNED", Self::Unassigned),
            ("RESTARTING", Self::Restarting),
        ];
        known.into_iter().find(|(name, _)| *name == word).map(|(_, state)| state)
    }

    /// Kafka Connect's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Paused => "PAUSED",
            Self::Stopped => "STOPPED",
            Self::Failed => "FAILED",
            Self::Unassigned => "UNASSIGNED",
            Self::Restarting => "RESTARTING",
        }
    }
}

/// A connector as Kafka Connect has it.
#[derive(Clone, Debug, PartialEq)]
pub struct ObservedConnector {
    /// How it is.
    pub state: State,
    /// How each of its tasks is.
    pub tasks: Vec<State>,
    /// What the first that failed said, in its first line.
    pub failure: Option<String>,
    /// Its configuration.
    pub config: BTreeMap<String, String>,
    /// Whoever runs it starts again what failed of it, and stops what is removed; and needs its configuration for whatever else is
    /// asked.
    pub is_tended: bool,
    /// Whoever runs it has taken up its configuration as it is now.
    pub is_current: bool,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Make it, stopped, with this configuration.
    Create(BTreeMap<String, String>),
    /// Have it let go of its tasks, for it is not to run.
    Stop,
    /// The same because positions can only be set then.
    StopToPosition,
    /// Set the first positions of these topics, then this configuration.
    Position(BTreeSet<String>, BTreeMap<String, String>),
    /// Give it this configuration.
    Configure(BTreeMap<String, String>),
    /// Have it go on.
    Resume,
    /// Start it again: what failed of it, or all of it where nothing failed and yet nothing is at work.
    Restart {
        /// What failed alone.
        only_failed: bool,
    },
    /// Give it this configuration, which logs in nowhere, for there may be no credentials any more; make it forget its positions;
    /// delete it.
    Remove(BTreeMap<String, String>),
}

impl Step {
    /// In a word, for logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Create(_) => "create",
            Self::Stop | Self::StopToPosition => "stop",
            Self::Position(..) => "position",
            Self::Configure(_) => "configure",
            Self::Resume => "resume",
            Self::Restart { .. } => "restart",
            Self::Remove(_) => "remove",
        }
    }

    /// The topics of which more is copied once it is taken, as patterns; `None` where it begins nothing and adds nothing. What only
    /// failed is started again without more.
    pub fn widens(&self, observed: Option<&ObservedConnector>) -> Option<BTreeSet<String>> {
        let before = observed.map(|seen| connector::copied(&seen.config)).unwrap_or_default();
        match self {
            Self::Create(config) | Self::Position(_, config) => Some(connector::copied(config)),
            // It is the first step towards more, and stops what goes on.
            Self::StopToPosition | Self::Resume => Some(before),
            Self::Configure(config) => {
                let more: BTreeSet<_> = connector::copied(config).difference(&before).cloned().collect();
                (!more.is_empty()).then_some(more)
            }
            Self::Stop | Self::Restart { .. } | Self::Remove(_) => None,
        }
    }
}

impl ObservedConnector {
    /// Topics whose first position is set.
    pub fn positioned(&self) -> BTreeSet<String> {
        connector::positioned(&self.config)
    }

    /// Whether it runs with all its tasks, and has any.
    pub fn is_running(&self) -> bool {
        self.state == State::Running && !self.tasks.is_empty() && self.tasks.iter().all(|t| *t == State::Running)
    }

    fn has_failed(&self) -> bool {
        self.state == State::Failed || self.tasks.contains(&State::Failed)
    }
}

/// The next step; `None` where nothing is to be done.
pub fn next(desired: Option<&Connector>, observed: Option<&ObservedConnector>) -> Option<Step> {
    let (desired, observed) = match (desired, observed) {
        (None, None) => return None,
        (None, Some(observed)) if observed.state == State::Stopped || observed.is_tended => {
            let of_no_login =
                |key: &str| key.ends_with(".alias") || !LOGINS.iter().any(|prefix| key.starts_with(prefix));
            let rest = observed.config.iter().filter(|(key, _)| of_no_login(key));
            return Some(Step::Remove(rest.map(|(k, v)| (k.clone(), v.clone())).collect()));
        }
        (None, Some(_)) => return Some(Step::Stop),
        (Some(desired), None) => {
            return desired.runs().then(|| Step::Create(desired.config_with(&BTreeSet::new())));
        }
        (Some(desired), Some(observed)) => (desired, observed),
    };
    if observed.is_tended && desired.has_login {
        let config = desired.config_with(&observed.positioned());
        if observed.config != config {
            return Some(Step::Configure(config));
        }
    }
    if !desired.runs() {
        return (observed.state != State::Stopped).then_some(Step::Stop);
    }
    let positioned = observed.positioned();
    let wanted: BTreeSet<_> = positioned.union(&desired.topics).cloned().collect();
    let new: BTreeSet<_> = desired.topics.difference(&positioned).cloned().collect();
    let config = desired.config_with(&wanted);
    if !new.is_empty() {
        return Some(if observed.state == State::Stopped { Step::Position(new, config) } else { Step::StopToPosition });
    }
    if observed.config != config {
        return Some(Step::Configure(config));
    }
    match observed.state {
        State::Stopped | State::Paused => Some(Step::Resume),
        // Without a login or without access, tasks vanish or are for ever on their way, and nothing says that it failed.
        _ if observed.is_running() || observed.is_tended => None,
        _ => Some(Step::Restart { only_failed: observed.has_failed() }),
    }
}

/// The next step while nothing more may be copied: one that takes away, if there is one.
pub fn narrowing(desired: &Connector, observed: &ObservedConnector) -> Option<Step> {
    next(Some(&desired.within(&observed.config)), Some(observed)).filter(|step| step.widens(Some(observed)).is_none())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::{ObservedConnector, State, Step, narrowing, next};
    use crate::api::History;
    use crate::domain::replication::connector::{Connector, POSITIONED};

    fn desired(topics: &[&str]) -> Connector {
        Connector {
            name: "weir-xs-1".into(),
            config: BTreeMap::from([
                ("topics".to_owned(), topics.join(",")),
                ("source.cluster.sasl.jaas.config".to_owned(), "${file:/etc/weir/s:sasl.jaas.config}".to_owned()),
            ]),
            topics: topics.iter().map(|t| (*t).to_owned()).collect(),
            history: History::default(),
            has_login: true,
        }
    }

    /// As Kafka Connect has it once `step` was taken.
    fn after(step: Step, before: Option<ObservedConnector>) -> Option<ObservedConnector> {
        let stopped = |config| ObservedConnector {
            state: State::Stopped,
            tasks: Vec::new(),
            failure: None,
            config,
            is_tended: false,
            is_current: true,
        };
        let Some(before) = before else {
            let Step::Create(config) = step else { panic!("{step:?} of nothing") };
            return Some(stopped(config));
        };
        match step {
            Step::Create(_) => panic!("it is there already"),
            Step::Remove(config) => {
                assert!(config.keys().all(|key| key == "topics" || key == POSITIONED), "{config:?}");
                None
            }
            Step::Stop | Step::StopToPosition => Some(stopped(before.config)),
            Step::Position(_, config) => {
                assert_eq!(before.state, State::Stopped, "positions are set while it is stopped");
                Some(stopped(config))
            }
            Step::Configure(config) => Some(ObservedConnector { config, ..before }),
            Step::Resume | Step::Restart { .. } => {
                Some(ObservedConnector { state: State::Running, tasks: vec![State::Running], ..before })
            }
        }
    }

    /// All steps until nothing is to be done.
    fn steps(desired: Option<&Connector>, observed: &mut Option<ObservedConnector>) -> Vec<Step> {
        let mut steps = Vec::new();
        while let Some(step) = next(desired, observed.as_ref()) {
            *observed = after(step.clone(), observed.take());
            steps.push(step);
            assert!(steps.len() < 10, "{steps:?}");
        }
        steps
    }

    fn names(steps: &[Step]) -> Vec<String> {
        steps.iter().map(|s| format!("{s:?}").split(['(', ' ']).next().unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn a_connector_has_its_positions_before_it_runs() {
        let mut observed = None;
        let steps = steps(Some(&desired(&["a", "b"])), &mut observed);
        assert_eq!(names(&steps), ["Create", "Position", "Resume"]);
        assert!(observed.unwrap().is_running());
    }

    #[test]
    fn a_stream_that_is_added_gets_a_position_of_its_own_and_the_others_keep_theirs() {
        let mut observed = None;
        steps(Some(&desired(&["a"])), &mut observed);
        let added = steps(Some(&desired(&["a", "b"])), &mut observed);
        assert_eq!(names(&added), ["StopToPosition", "Position", "Resume"]);
        let Step::Position(topics, _) = &added[1] else { panic!("{added:?}") };
        assert_eq!(topics.iter().collect::<Vec<_>>(), ["b"]);
        let narrowed = steps(Some(&desired(&["b"])), &mut observed);
        assert_eq!(names(&narrowed), ["Configure"]);
        let again = steps(Some(&desired(&["a", "b"])), &mut observed);
        assert_eq!(names(&again), ["Configure"], "a goes on where it was");
    }

    #[test]
    fn what_should_not_run_is_stopped_and_keeps_its_positions() {
        let mut observed = None;
        steps(Some(&desired(&["a"])), &mut observed);
        let suspended = Connector { has_login: false, ..desired(&["a"]) };
        assert_eq!(names(&steps(Some(&suspended), &mut observed)), ["Stop"]);
        assert_eq!(names(&steps(Some(&desired(&["a"])), &mut observed)), ["Resume"]);
        assert_eq!(next(Some(&suspended), None), None, "what never ran is not made");
    }

    #[test]
    fn what_is_over_forgets_its_positions_once_it_has_stopped() {
        let mut observed = None;
        steps(Some(&desired(&["a"])), &mut observed);
        assert_eq!(names(&steps(None, &mut observed)), ["Stop", "Remove"]);
        assert_eq!(observed, None);
    }

    #[test]
    fn what_is_not_at_work_is_started_again() {
        let mut observed = None;
        steps(Some(&desired(&["a"])), &mut observed);
        let with = |state, task| ObservedConnector { state, tasks: vec![task], ..observed.clone().unwrap() };
        for (state, task, only_failed) in [
            (State::Failed, State::Running, true),
            (State::Running, State::Failed, true),
            (State::Running, State::Restarting, false),
            (State::Unassigned, State::Unassigned, false),
        ] {
            let step = next(Some(&desired(&["a"])), Some(&with(state, task)));
            assert_eq!(step, Some(Step::Restart { only_failed }));
        }
        let idle = ObservedConnector { tasks: Vec::new(), ..with(State::Running, State::Running) };
        assert_eq!(next(Some(&desired(&["a"])), Some(&idle)), Some(Step::Restart { only_failed: false }));
    }

    #[test]
    fn whatever_begins_or_adds_to_copying_widens_it_and_nothing_else_does() {
        let mut observed = None;
        let widening = |desired: Option<&Connector>, observed: &mut Option<ObservedConnector>| {
            let mut all = Vec::new();
            while let Some(step) = next(desired, observed.as_ref()) {
                all.push((step.name(), step.widens(observed.as_ref()).is_some()));
                *observed = after(step, observed.take());
            }
            all
        };
        let begun = widening(Some(&desired(&["a", "b"])), &mut observed);
        assert_eq!(begun, [("create", true), ("position", true), ("resume", true)]);
        assert_eq!(widening(Some(&desired(&["b"])), &mut observed), [("configure", false)]);
        assert_eq!(widening(Some(&desired(&["a", "b"])), &mut observed), [("configure", true)]);
        let more = widening(Some(&desired(&["a", "b", "c"])), &mut observed);
        assert_eq!(more, [("stop", true), ("position", true), ("resume", true)]);
        let suspended = Connector { has_login: false, ..desired(&["a"]) };
        assert_eq!(widening(Some(&suspended), &mut observed), [("stop", false)]);
        assert_eq!(widening(None, &mut observed), [("remove", false)]);
        let topics = next(Some(&desired(&["a", "b"])), None).and_then(|step| step.widens(None));
        assert_eq!(topics, Some(BTreeSet::from(["a".to_owned(), "b".to_owned()])));
    }

    #[test]
    fn what_is_no_longer_copied_goes_also_while_nothing_more_may_come() {
        let mut observed = None;
        steps(Some(&desired(&["a", "b"])), &mut observed);
        let seen = observed.clone().unwrap();
        for more in [desired(&["a", "c"]), desired(&["a", "c", "d"])] {
            let step = narrowing(&more, &seen);
            assert_eq!(step, next(Some(&desired(&["a"])), Some(&seen)), "{more:?}");
        }
        assert_eq!(narrowing(&desired(&["c"]), &seen), Some(Step::Stop));
        assert_eq!(narrowing(&desired(&["a", "b", "c"]), &seen), None, "what goes on goes on");
        let stopped = ObservedConnector { state: State::Stopped, tasks: Vec::new(), ..seen };
        assert_eq!(narrowing(&desired(&["a", "b"]), &stopped), None);
    }
}
