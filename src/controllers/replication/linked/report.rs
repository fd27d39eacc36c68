//! What is said of a share's link, and how far it is.

use std::collections::BTreeMap;

use tokio::time::timeout;

use super::super::report::{PATIENCE, PATIENCE_OF_RECORDS, failed, failing, starting, stuck};
use super::super::round::{Copying, Engine, RoundError};
use super::Linked;
use crate::controllers::copies::CopyState;
use crate::domain::problem::Problem;
use crate::domain::replication::flow::{Flow, Positions};
use crate::domain::replication::link::{MirrorState, ObservedLink, ObservedMirror};
use crate::domain::replication::plan::State;
use crate::ports::KafkaError;

impl Engine {
    /// Tells how a copy is.
    pub(super) async fn report_link(&mut self, linked: &Linked<'_>, failure: Option<RoundError>) {
        let Linked { copying: c, name, desired, seen, .. } = linked;
        let mirrors = desired.as_ref().map(|d| d.mirrors.clone()).unwrap_or_default();
        let is_running = seen.as_ref().is_some_and(|seen| seen.is_running(&mirrors));
        if is_running && self.is_measured_anew(name) {
            let found = timeout(PATIENCE, self.how_far(c)).await.ok().and_then(Result::ok);
            self.measured(name, found.map(Some));
        }
        let flow = self.flow(name);
        if is_running && flow.is_some() {
            self.retries.forgive(name);
        }
        let is_gone = self.is_gone(linked);
        let problem = c.is_meant().then(|| problem(linked, is_running, flow.as_ref(), failure)).flatten();
        let connector = seen.as_ref().map(|seen| state(seen, is_running));
        self.tell(c, CopyState { connector, problem, flow, is_gone, ..CopyState::default() });
    }

    /// What is copied of each partition, and the source's ends. Mirror topics have the offsets of their sources.
    async fn how_far(&mut self, c: &Copying) -> Result<(Positions, Positions), KafkaError> {
        let (sources, copies) = (c.copy.flows.keys().cloned().collect(), c.copy.flows.values().cloned().collect());
        let copied = self.sources.ends(&self.context, &self.key.cluster, &copies).await?;
        let ends = self.sources.ends(&self.context, &c.copy.source_cluster, &sources).await?;
        let source_of: BTreeMap<_, _> = c.copy.flows.iter().map(|(source, copy)| (copy, source)).collect();
        let copied = copied.into_iter().filter(|(_, end)| *end > 0).filter_map(|((copy, partition), end)| {
            let source = source_of.get(&copy)?;
            Some((((*source).clone(), partition), end - 1))
        });
        Ok((copied.collect(), ends))
    }
}

/// How a link is, in the words of connectors.
fn state(seen: &ObservedLink, is_running: bool) -> State {
    let any = |states: &[MirrorState]| seen.mirrors.values().any(|mirror| states.contains(&mirror.state));
    match () {
        () if is_running => State::Running,
        () if seen.failure.is_some() || any(&[MirrorState::Failed, MirrorState::Waiting]) => State::Failed,
        () if any(&[MirrorState::Paused]) => State::Paused,
        () if any(&[MirrorState::Stopped]) && !any(&[MirrorState::Pending, MirrorState::Active]) => State::Stopped,
        () => State::Unassigned,
    }
}

/// What to do about a mirror topic that does not go on. What is written until it is made anew is not copied with every history.
const ANEW: &str = "delete it at the destination, and the link makes it anew from where the share's history says";

/// What stands in the way of records that are meant to flow.
fn problem(linked: &Linked<'_>, is_running: bool, flow: Option<&Flow>, failure: Option<RoundError>) -> Option<Problem> {
    let Linked { name, desired, seen, .. } = linked;
    let what = format!("link {name}");
    if let Some(failure) = failure {
        return Some(failed(&what, flow, &failure));
    }
    let Some(seen) = seen else { return Some(starting("the link is being made")) };
    if let Some(why) = &seen.failure {
        return Some(failing(format!("{what} failed: {why}")));
    }
    let mut copies = desired.iter().flat_map(|d| d.mirrors.keys());
    let obstacle = copies.find_map(|copy| match seen.mirrors.get(copy) {
        Some(mirror) => of_topic(&what, copy, mirror),
        None if linked.strange.contains(copy) => {
            Some(failing(format!("topic {copy} is there, and {what} has it not among its own: {ANEW}")))
        }
        None => Some(starting(&format!("topic {copy} is yet to be made by the link"))),
    });
    let unknown = || (is_running && flow.is_none()).then(|| starting("it is yet to be seen how far the copy is"));
    obstacle.or_else(unknown).or_else(|| stuck(&what, flow, PATIENCE_OF_RECORDS))
}

/// What stands in the way of one topic.
fn of_topic(link: &str, copy: &str, mirror: &ObservedMirror) -> Option<Problem> {
    let why = mirror.failure.as_deref().unwrap_or_default();
    match mirror.state {
        MirrorState::Active => None,
        MirrorState::Waiting => Some(failing(format!("{link} does not copy into topic {copy} now: {why}"))),
        MirrorState::Failed => Some(failing(format!("{link} does not copy into topic {copy} any more: {why}: {ANEW}"))),
        MirrorState::Stopped | MirrorState::Stopping => {
            Some(failing(format!("somebody took topic {copy} out of {link}: {ANEW}")))
        }
        MirrorState::Paused | MirrorState::Pending => {
            Some(starting(&format!("topic {copy} is yet to be taken up by the link")))
        }
    }
}
