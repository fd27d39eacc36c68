//! What is said of each copy, and how far it is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use tokio::time::timeout;

use super::round::{Copying, Engine, RoundError};
use crate::api::Reason;
use crate::controllers::copies::CopyState;
use crate::domain::names::connector_prefix;
use crate::domain::problem::Problem;
use crate::domain::replication::flow::{Flow, Positions};
use crate::domain::replication::plan::ObservedConnector;
use crate::ports::Connectors;

/// How often it is asked how far a copy is.
const MEASURED: Duration = Duration::from_secs(5);
/// How long that may take; where it takes longer, it is not asked again before [`MEASURED_AGAIN`].
pub(super) const PATIENCE: Duration = Duration::from_secs(3);
/// See [`PATIENCE`].
const MEASURED_AGAIN: Duration = Duration::from_secs(30);

/// So long may records wait before the copy counts as failing.
pub(super) const PATIENCE_OF_RECORDS: SignedDuration = SignedDuration::from_secs(60);
/// The same where it is told only every two minutes how far a copy is.
const PATIENCE_OF_RECORDS_TENDED: SignedDuration = SignedDuration::from_secs(300);

fn patience_of_records(seen: &ObservedConnector) -> SignedDuration {
    if seen.is_tended { PATIENCE_OF_RECORDS_TENDED } else { PATIENCE_OF_RECORDS }
}

/// How far a copy was, and when it is asked again.
pub(super) struct Measure {
    again: Instant,
    flow: Option<Flow>,
}

impl Engine {
    /// Tells how a copy is.
    pub(super) async fn report(
        &mut self,
        connect: &dyn Connectors,
        c: &Copying,
        observed: &BTreeMap<String, ObservedConnector>,
        failure: Option<RoundError>,
    ) {
        let name = c.connector();
        let seen = observed.get(&name);
        let is_running = seen.is_some_and(ObservedConnector::is_running);
        if is_running && c.is_meant() {
            self.measure(connect, c, &name).await;
        }
        let flow = self.flow(&name);
        let patience = seen.map_or(PATIENCE_OF_RECORDS, patience_of_records);
        let is_stuck = flow.as_ref().is_some_and(|f| f.is_stuck(Timestamp::now(), patience));
        if is_running && flow.is_some() && !is_stuck {
            self.retries.forgive(&name);
        }
        let problem = c.is_meant().then(|| problem(c, &name, seen, flow.as_ref(), failure)).flatten();
        let problem = problem.or_else(|| self.taking_up(c, seen));
        let is_there = observed.keys().any(|name| name.starts_with(&connector_prefix(&c.uid())));
        let is_gone = c.copy.is_over && !is_there;
        let connector = seen.map(|s| s.state);
        self.tell(c, CopyState { connector, problem, flow, is_gone, ..CopyState::default() });
    }

    /// Who runs the connector was told of something new to copy, and has yet to see that.
    fn taking_up(&self, c: &Copying, seen: Option<&ObservedConnector>) -> Option<Problem> {
        let before = self.context.copies.get(&c.uid());
        let is_known = before.is_some_and(|b| b.problem.is_none() && c.copy.flows.keys().eq(&b.meant));
        let is_current = seen.is_none_or(|seen| seen.is_current);
        (c.is_meant() && !is_current && !is_known).then(|| starting("it is yet to be taken up"))
    }

    /// Asks how far the copy is, where that was not asked of late.
    async fn measure(&mut self, connect: &dyn Connectors, c: &Copying, name: &str) {
        if !self.is_measured_anew(name) {
            return;
        }
        let topics: BTreeSet<_> = c.copy.flows.keys().cloned().collect();
        let sources = &mut self.sources;
        let ask = async {
            let listed = connect.positions(name).await.ok()?;
            if !listed.is_new {
                return Some(None);
            }
            let ends = sources.ends(&self.context, &c.copy.source_cluster, &topics).await.ok()?;
            let copied = listed.positions.into_iter().filter(|((topic, _), _)| topics.contains(topic));
            Some(Some((copied.collect(), ends)))
        };
        let asked = timeout(PATIENCE, ask).await.ok().flatten();
        self.measured(name, asked);
    }

    /// What was seen to flow.
    pub(super) fn flow(&self, name: &str) -> Option<Flow> {
        self.measures.get(name).and_then(|m| m.flow.clone())
    }

    /// Whether it is time to ask how far a copy is.
    pub(super) fn is_measured_anew(&self, name: &str) -> bool {
        self.measures.get(name).is_none_or(|m| m.again <= Instant::now())
    }

    /// Takes what was found: what is copied, and the source's ends. Nothing inside is found where nobody looked since the last time;
    /// `None` where nobody answered.
    pub(super) fn measured(&mut self, name: &str, found: Option<Option<(Positions, Positions)>>) {
        let before = self.measures.remove(name).and_then(|m| m.flow);
        let now = Timestamp::now();
        let (wait, flow) = match (found, before) {
            (Some(Some((copied, ends))), Some(before)) => (MEASURED, Some(before.then(ends, copied, now))),
            (Some(Some((copied, ends))), None) => (MEASURED, Some(Flow::first(ends, copied, now))),
            (Some(None), before) => (MEASURED, before),
            (None, before) => (MEASURED_AGAIN, before),
        };
        self.measures.insert(name.to_owned(), Measure { again: Instant::now() + wait, flow });
    }

    /// There are no workers, and so no connectors of theirs.
    pub(super) fn tell_gone(&self, c: &Copying) {
        self.tell(c, CopyState { is_gone: c.copy.is_over, ..CopyState::default() });
    }

    /// The workers are on their way.
    pub(super) fn tell_starting(&self, c: &Copying, why: &str) {
        self.tell(c, CopyState { problem: c.is_meant().then(|| starting(why)), ..CopyState::default() });
    }

    /// The look failed for all of them.
    pub(super) fn tell_all(&self, copying: &[Copying], error: &RoundError) {
        let name = &self.key.name;
        for c in copying {
            let before = self.context.copies.get(&c.uid()).unwrap_or_default();
            // What starts up does not answer yet.
            let problem = if before.flow.is_some() {
                failing(format!("engine {name} does not do what it is asked: {error}"))
            } else {
                starting(&format!("engine {name} is not there yet: {error}"))
            };
            self.tell(c, CopyState { problem: c.is_meant().then_some(problem), ..before });
        }
    }

    pub(super) fn tell(&self, c: &Copying, state: CopyState) {
        // What was seen to be gone is not made again while its share is over.
        let was_gone = self.context.copies.get(&c.uid()).is_some_and(|before| before.is_gone);
        let is_gone = c.copy.is_over && (state.is_gone || was_gone);
        let meant = c.copy.flows.keys().filter(|_| c.is_meant()).cloned().collect();
        let state = CopyState { is_gone, meant, ..state };
        if self.context.copies.set(&c.uid(), state) {
            self.context.world.report_share(&c.key);
        }
    }
}

/// What stands in the way of records that are meant to flow.
fn problem(
    c: &Copying,
    name: &str,
    seen: Option<&ObservedConnector>,
    flow: Option<&Flow>,
    failure: Option<RoundError>,
) -> Option<Problem> {
    if let Some(failure) = failure {
        return Some(failed(&format!("connector {name}"), flow, &failure));
    }
    let Some(seen) = seen else { return Some(starting("the connector is being made")) };
    if let Some(why) = &seen.failure {
        return Some(failing(format!("connector {name} failed and is started again: {why}")));
    }
    let begun = seen.positioned();
    if let Some(topic) = c.copy.flows.keys().find(|topic| !begun.contains(*topic)) {
        return Some(starting(&format!("the connector has yet to begin with topic {topic}")));
    }
    match (seen.is_running(), flow) {
        (true, flow) => stuck(&format!("connector {name}"), flow, patience_of_records(seen)),
        (false, Some(_)) => {
            let what = "no task at work: it is started again; the workers' log says why";
            Some(failing(format!("connector {name} has {what}")))
        }
        (false, None) => Some(starting("the connector is being started")),
    }
}

/// What to say where a step failed: what has not run yet may still be on its way.
pub(super) fn failed(what: &str, flow: Option<&Flow>, failure: &RoundError) -> Problem {
    if let RoundError::Unrecorded(problem) = failure {
        return problem.clone();
    }
    let has_run = flow.is_some() || !failure.is_passing();
    if has_run { failing(format!("{what}: {failure}")) } else { starting(&format!("{what} is being made: {failure}")) }
}

/// What to say where nothing is copied although whatever copies says that it runs.
pub(super) fn stuck(what: &str, flow: Option<&Flow>, patience: SignedDuration) -> Option<Problem> {
    let now = Timestamp::now();
    let flow = flow.filter(|flow| flow.is_stuck(now, patience))?;
    let waits = flow.waits_for(now).as_secs();
    Some(failing(format!(
        "{what} says that it runs: nothing was copied for {waits} s although the source grew, or all of it was aborted"
    )))
}

pub(super) fn starting(why: &str) -> Problem {
    Problem::waiting(Reason::ReplicationStarting, why)
}

pub(super) fn failing(why: String) -> Problem {
    Problem::waiting(Reason::ReplicationFailing, why)
}
