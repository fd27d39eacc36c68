//! What a share copies, as it was found: its topics at the destination, who reads and who writes, and the connector.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use crate::api::{ABANDON_ANNOTATION, ConditionType, ExternalShare, Reason, ReplicationStatus};
use crate::controllers::applier::Link;
use crate::controllers::context::Context;
use crate::controllers::copies::CopyState;
use crate::controllers::live::{evidence, live};
use crate::domain::conditions::whole_seconds;
use crate::domain::names::connector_name;
use crate::domain::problem::Problem;
use crate::domain::product;
use crate::domain::share::copy::Copy;

/// How many topics a status names.
const TOPICS: usize = 100;

/// See the module.
pub struct Copying {
    /// What stands in the way, sorted.
    pub problems: Vec<Problem>,
    /// What is left of a copy that is over, for people; `None` where nothing is, or it is not over.
    pub remains: Option<String>,
    /// What the status says.
    pub status: ReplicationStatus,
}

/// Looks at what a share copies.
pub fn look(context: &Context, share: &ExternalShare, copy: &Copy) -> Copying {
    let share_uid = share.uid().unwrap_or_default();
    let before = share.status.as_ref();
    let healthy = ConditionType::ReplicationHealthy.to_string();
    let was_healthy = before.is_some_and(|b| b.conditions.iter().any(|c| c.type_ == healthy && c.status == "True"));
    let before = before.and_then(|status| status.replication.as_ref());
    let state = context.copies.get(&share_uid);
    let seen = state.as_ref().ok_or(before.filter(|_| was_healthy));
    let problems = if copy.is_over { Vec::new() } else { problems(context, copy, seen) };
    let left = Left::of(context, copy, state.as_ref());
    let refused = |uid: &str| evidence(context, uid).and_then(|evidence| evidence.refused_at);
    let refused_at = refused(&copy.source.uid);
    let refused_at = match copy.is_linked {
        true => refused_at,
        false => refused_at.zip(refused(&copy.target.uid)).map(|(a, b)| a.max(b)),
    };
    let status = status(&share_uid, copy, state, &left, refused_at, before);
    Copying { problems, remains: left.said(copy), status }
}

/// What the engine saw; before it looked, what another process saw flow well.
type Seen<'a> = Result<&'a CopyState, Option<&'a ReplicationStatus>>;

fn problems(context: &Context, copy: &Copy, seen: Seen<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let at = |problem: Problem| {
        // What a product could do about it, a copy cannot.
        let what = problem.message.split(": set adopt").next().unwrap_or_default();
        let advice =
            if problem.reason == Reason::TopicExists { ": delete it, or share under another name" } else { "" };
        Problem { message: format!("the copy on StreamCluster {}: {what}{advice}", copy.cluster), ..problem }
    };
    for of in copy.products() {
        problems.extend(product::view(&context.world.index(), of).problems.into_iter().map(at));
        let uid = of.metadata.uid.as_deref().unwrap_or_default();
        let outcome = context.world.handle(&copy.cluster).and_then(|h| h.state().products.get(uid).cloned());
        problems.extend(outcome.into_iter().flat_map(|o| o.problems).map(at));
    }
    if !copy.flows.is_empty() {
        for end in [&copy.source, &copy.target] {
            problems.extend(live(context, &end.uid, &end.resolution).problems);
        }
        problems.extend(unflowing(copy, seen));
    }
    problems.sort();
    problems.dedup();
    problems
}

/// What stands in the way of what is meant to flow now.
fn unflowing(copy: &Copy, seen: Seen<'_>) -> Option<Problem> {
    let yet = || Problem::waiting(Reason::ReplicationStarting, "the engine has yet to take up what is to be copied");
    match seen {
        Ok(state) if copy.flows.keys().eq(&state.meant) => state.problem.clone(),
        Ok(_) => Some(yet()),
        Err(before) => before.is_none_or(|b| b.state.is_none() || b.topics != topics(copy)).then(yet),
    }
}

/// What a status names of the topics that flow.
fn topics(copy: &Copy) -> Vec<String> {
    copy.flows.iter().take(TOPICS).map(|(topic, copy)| format!("{topic} -> {copy}")).collect()
}

/// What is left of a copy that is over.
struct Left {
    connector: bool,
    principals: bool,
    topics: bool,
}

impl Left {
    fn of(context: &Context, copy: &Copy, state: Option<&CopyState>) -> Self {
        let uids = [&copy.source.uid, &copy.target.uid];
        let index = context.world.index();
        let products: Vec<_> = copy.products().filter_map(|p| p.uid()).collect();
        let topics = products.iter().any(|uid| index.recorded_for(&copy.cluster, uid).next().is_some());
        drop(index);
        let concerns = |name: &String| [&copy.source_cluster, &copy.cluster].contains(&name);
        let known = |name: &str| {
            let index = context.world.index();
            uids.iter().any(|uid| index.client_cluster(uid) == Some(name))
        };
        let held = context.world.handles().iter().any(|(name, handle)| {
            let (ledger_read, free) = {
                let state = handle.state();
                (state.ledger_read, uids.iter().all(|uid| state.is_free_of(uid)))
            };
            (concerns(name) || ledger_read) && !is_abandoned(context, name) && (!free || known(name))
        });
        let abandoned = is_abandoned(context, &copy.cluster);
        // An engine that is not offered any more cannot be asked; without principals its connector does nothing.
        let connector = copy.engine.is_some() && !state.is_some_and(|s| s.is_gone);
        Self { connector: connector && !abandoned, principals: held, topics: topics && !abandoned }
    }

    fn said(&self, copy: &Copy) -> Option<String> {
        let what = [
            (self.principals, "the principals that copied"),
            (self.connector, if copy.is_linked { "the cluster link" } else { "the connector and its positions" }),
            (self.topics, "what Weir has on record of its topics"),
        ];
        let left: Vec<_> = what.into_iter().filter(|(left, _)| *left).map(|(_, what)| what).collect();
        (copy.is_over && !left.is_empty())
            .then(|| format!("removing the copy on StreamCluster {}: {}", copy.cluster, left.join(", ")))
    }
}

/// Whether a cluster is out of reach and given up by the platform, or nobody registered it.
fn is_abandoned(context: &Context, cluster: &str) -> bool {
    let given_up = {
        let index = context.world.index();
        index.cluster(cluster).is_none_or(|c| c.annotations().contains_key(ABANDON_ANNOTATION))
    };
    given_up && !context.world.handle(cluster).is_some_and(|h| h.state().link == Link::Governing)
}

fn status(
    share_uid: &str,
    copy: &Copy,
    state: Option<CopyState>,
    left: &Left,
    refused_at: Option<Timestamp>,
    before: Option<&ReplicationStatus>,
) -> ReplicationStatus {
    let now = Timestamp::now();
    let first_at = |at: Option<Timestamp>, before: Option<&Time>| {
        // What was seen once stays so: nothing is made for a share that is over.
        copy.is_over.then(|| before.cloned().or(at.map(|at| Time(whole_seconds(at))))).flatten()
    };
    let first = |seen: bool, before: Option<&Time>| first_at(seen.then_some(now), before);
    let progress = match state {
        Some(state) => progress(&state, now),
        // Until this process has looked, what another one saw is what there is to say.
        None => before.filter(|_| !copy.is_over).cloned().unwrap_or_default(),
    };
    ReplicationStatus {
        destination: copy.cluster.clone(),
        engine: copy.engine.as_ref().map(|e| e.name.clone()).unwrap_or_default(),
        connector: connector_name(share_uid, &copy.source_cluster),
        topics: topics(copy),
        removed_at: first(!left.connector, before.and_then(|b| b.removed_at.as_ref())),
        principals_removed_at: first(!left.principals, before.and_then(|b| b.principals_removed_at.as_ref())),
        logins_refused_at: first_at(refused_at, before.and_then(|b| b.logins_refused_at.as_ref())),
        topics_released_at: first(!left.topics, before.and_then(|b| b.topics_released_at.as_ref())),
        ..progress
    }
}

/// How far a copy is.
fn progress(state: &CopyState, now: Timestamp) -> ReplicationStatus {
    let flow = state.flow.as_ref();
    ReplicationStatus {
        state: state.connector.map(|s| s.word().to_owned()),
        lag_records: flow.map(|f| f.lag()),
        lag_seconds: flow.map(|f| f.waits_for(now).as_secs()),
        records_per_second: flow.and_then(|f| f.rate()),
        last_copied_at: flow.and_then(|f| f.last_copied_at).map(|at| Time(whole_seconds(at))),
        ..ReplicationStatus::default()
    }
}
