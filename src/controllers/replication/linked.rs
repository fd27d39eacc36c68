//! An engine of cluster links: a link a share, which the destination's own brokers run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kube::ResourceExt;
use tokio::time::timeout;
use tracing::{info, warn};

use super::credentials::Shape;
use super::deployment::Logins;
use super::report::{PATIENCE, PATIENCE_OF_RECORDS, failed, failing, starting, stuck};
use super::round::{Copying, Engine, RoundError, Snapshot, is_known};
use crate::api::ClusterLink;
use crate::controllers::applier::Order;
use crate::controllers::copies::CopyState;
use crate::domain::index::Update;
use crate::domain::names::{MIRROR, connector_prefix, guest_key, link_prefix};
use crate::domain::problem::Problem;
use crate::domain::replication::flow::{Flow, Positions};
use crate::domain::replication::link::{
    Link, LinkStep, MirrorState, ObservedLink, changeable, config, fingerprint, login, next,
};
use crate::domain::replication::plan::State;
use crate::domain::secret::Secret;
use crate::k8s::files::{Files, FilesSecret};
use crate::ports::{ClusterLinks, KafkaError, RestEndpoint, RestError};
use crate::replication::LinkClient;

/// Who is asked for links: where, of which cluster.
pub(super) struct Links {
    endpoint: RestEndpoint,
    path: String,
    cluster: String,
    client: Arc<LinkClient>,
}

/// A share's link, as it should be and as it is.
struct Linked<'a> {
    c: &'a Copying,
    name: String,
    desired: Option<Link>,
    seen: Option<ObservedLink>,
    /// Topics at the destination with names of its copies that no link made.
    strange: BTreeSet<String>,
}

/// The key, among the files, of the fingerprint of the login that a link was given last.
fn note(c: &Copying) -> String {
    format!("{}.given", c.copy.source.uid)
}

impl Engine {
    /// One look. Returns whether to look again at once.
    pub(super) async fn look_at_links(
        &mut self,
        spec: &ClusterLink,
        shown: &FilesSecret,
        now: &Snapshot,
    ) -> Result<bool, RoundError> {
        let files = shown.read().await?;
        let is_gone = |c: &Copying| self.context.copies.get(&c.uid()).is_some_and(|state| state.is_gone);
        if files.is_none() && now.copying.iter().all(|c| c.copy.is_over && is_gone(c)) {
            return Ok(false);
        }
        let mut files = files.unwrap_or_default();
        let logins = self.hand_over(shown, Shape::Parts, &now.copying, &mut files).await?;
        let endpoint = self.context.secrets.rest(&spec.url, &spec.secret_ref.name).await?;
        let links = self.links(endpoint, &spec.path)?;
        // First the topics: one that was there by then, and that no link shows afterwards, is nobody's mirror.
        let copies: BTreeSet<_> = now.copying.iter().flat_map(|c| c.copy.flows.values().cloned()).collect();
        let there = self.sources.existing(&self.context, &self.key.cluster, &copies).await.map_err(unanswered)?;
        let mut observed = links.list(&now.copying.iter().map(|c| connector_prefix(&c.uid())).collect()).await?;
        let mut again = false;
        let mut failures = BTreeMap::new();
        self.forget_all_but(|name| observed.contains_key(name));
        let known: Vec<_> = now.copying.iter().filter(|c| is_known(&self.context, c)).collect();
        for c in &known {
            again |= remove_others(links.as_ref(), c, &observed).await;
        }
        let mut all: Vec<_> = known.iter().map(|c| self.linked(c, &logins, &files, &mut observed, &there)).collect();
        for of in &mut all {
            self.tell_what_is_there(of, &there);
            match self.step_of_link(links.as_ref(), of).await {
                Ok(None) => {}
                Ok(Some(given)) => {
                    again = true;
                    if let Some(given) = given {
                        files.insert(note(of.c), Secret::new(given));
                        shown.write(&files).await?;
                    }
                }
                Err(error) => drop(failures.insert(of.c.uid(), error)),
            }
        }
        for of in &all {
            let others = observed.keys().any(|name| name.starts_with(&connector_prefix(&of.c.uid())));
            self.report_link(of, others, failures.remove(&of.c.uid())).await;
        }
        if !now.is_wanted && observed.is_empty() && all.iter().all(|of| of.seen.is_none()) {
            info!("nothing is copied any more; what was made for it is removed");
            shown.remove().await?;
            self.links = None;
        }
        Ok(again)
    }

    fn links(&mut self, endpoint: RestEndpoint, path: &str) -> Result<Arc<LinkClient>, RestError> {
        let cluster = self.cluster_id(&self.key.cluster)?;
        let is_same = |of: &&Links| of.endpoint == endpoint && of.path == path && of.cluster == cluster;
        if let Some(of) = self.links.as_ref().filter(is_same) {
            return Ok(of.client.clone());
        }
        let client = Arc::new(LinkClient::new(&endpoint, path, &cluster)?);
        self.links = Some(Links { endpoint, path: path.to_owned(), cluster, client: client.clone() });
        Ok(client)
    }

    /// Kafka's id of a cluster.
    fn cluster_id(&self, cluster: &str) -> Result<String, RestError> {
        let handle = self.context.world.handle(cluster);
        let id = handle.and_then(|handle| Some(handle.state().facts.as_ref()?.cluster_id.clone()));
        id.ok_or_else(|| RestError::not_yet(format!("StreamCluster {cluster} is not connected")))
    }

    fn linked<'a>(
        &self,
        c: &'a Copying,
        logins: &Logins,
        files: &Files,
        observed: &mut BTreeMap<String, ObservedLink>,
        there: &BTreeSet<String>,
    ) -> Linked<'a> {
        let name = c.connector();
        let mut seen = observed.remove(&name);
        if let Some(seen) = &mut seen {
            seen.given = files.get(&note(c)).map(|given| given.expose().to_owned());
        }
        let source = logins.get(&c.uid()).and_then(|(source, _)| source.as_ref());
        let desired = (!c.copy.is_over).then(|| Link {
            config: config(&link_prefix(&c.uid()), &c.copy.history),
            login: source.and_then(|source| login(source, files)),
            mirrors: c.copy.flows.iter().map(|(source, copy)| (copy.clone(), source.clone())).collect(),
        });
        let is_mirror = |copy: &String| seen.as_ref().is_some_and(|seen| seen.mirrors.contains_key(copy));
        let copies = desired.iter().flat_map(|desired| desired.mirrors.keys());
        let strange = copies.filter(|copy| there.contains(*copy) && !is_mirror(copy)).cloned().collect();
        Linked { c, name, desired, seen, strange }
    }

    /// Has the others know which topics are there, and which of them are not the link's.
    fn tell_what_is_there(&self, of: &Linked<'_>, there: &BTreeSet<String>) {
        let Some(desired) = &of.desired else { return };
        let mirror = guest_key(&of.c.key, MIRROR);
        let uid = of.c.copy.mirror.uid().unwrap_or_default();
        let Some(handle) = self.context.world.handle(&self.key.cluster) else { return };
        let is_new = {
            let state = handle.state();
            let shown = state.products.get(&uid).map(|outcome| &outcome.partitions);
            let is_shown = |copy: &String| shown.is_some_and(|shown| shown.contains_key(copy));
            desired.mirrors.keys().any(|copy| there.contains(copy) && !is_shown(copy))
        };
        if is_new {
            let products = BTreeSet::from([mirror]);
            handle.order(Order::Dirty { principals: BTreeSet::new(), products, clients: BTreeSet::new() });
        }
        // While nothing flows it is not asked what is there: what was found before holds.
        if !desired.mirrors.is_empty() {
            self.context.world.apply(Update::Strange(of.c.key.clone(), of.strange.clone()));
        }
    }

    /// Takes the next step with the link of a share. Returns what it was, as far as it gave the link a login.
    async fn step_of_link(
        &mut self,
        links: &dyn ClusterLinks,
        of: &mut Linked<'_>,
    ) -> Result<Option<Option<String>>, RoundError> {
        let Linked { c, name, desired, seen, strange } = &*of;
        let given = desired.as_ref().and_then(|d| Some(fingerprint(d.login.as_ref()?)));
        let asked = desired.as_ref().map(|d| {
            let login = given.iter().map(|given| ("login".to_owned(), given.clone()));
            d.config.clone().into_iter().chain(login).collect::<BTreeMap<_, _>>()
        });
        let asked = asked.unwrap_or_default();
        let step = match (next(desired.as_ref(), seen.as_ref(), strange), seen) {
            // Whoever takes a configuration and then shows another one may do so for ever: what else there is to do goes on.
            (Some(LinkStep::Configure), Some(seen)) if !self.retries.may_configure(name, &asked) => {
                let as_asked = ObservedLink { config: asked.clone(), given: given.clone(), ..seen.clone() };
                next(desired.as_ref(), Some(&as_asked), strange)
            }
            (step, _) => step,
        };
        let needs_access = matches!(step, Some(LinkStep::Create | LinkStep::Mirror(_) | LinkStep::Resume(_)));
        if needs_access && self.waits_for_access(c).is_some() {
            return Ok(None);
        }
        let Some(step) = step else { return Ok(None) };
        let with_login = |config: BTreeMap<String, String>| -> BTreeMap<String, Secret> {
            let login = desired.iter().filter_map(|d| d.login.clone()).flatten();
            config.into_iter().map(|(key, value)| (key, Secret::new(value))).chain(login).collect()
        };
        let config = desired.as_ref().map(|d| d.config.clone()).unwrap_or_default();
        let taken = match &step {
            LinkStep::Create => {
                let source = self.cluster_id(&c.copy.source_cluster)?;
                links.create(name, &source, &with_login(config)).await
            }
            LinkStep::Configure => links.configure(name, &with_login(changeable(&config))).await,
            LinkStep::Mirror(topics) => mirror(links, name, topics).await,
            LinkStep::Pause(copies) => links.pause(name, copies).await,
            LinkStep::Resume(copies) => links.resume(name, copies).await,
            LinkStep::Failover(copies) => links.failover(name, copies).await,
            LinkStep::Remove => links.remove(name).await,
        };
        match &taken {
            Ok(()) => info!(link = name, step = step.name(), "took a step"),
            Err(error) => info!(link = name, step = step.name(), %error, "a step failed; it is tried again"),
        }
        taken?;
        let gives_login = matches!(step, LinkStep::Create | LinkStep::Configure);
        if gives_login {
            let name = name.clone();
            self.retries.configured(&name, asked);
        }
        Ok(Some(given.filter(|_| gives_login)))
    }

    /// Tells how a copy is. `others` says whether the share has other links.
    async fn report_link(&mut self, of: &Linked<'_>, others: bool, failure: Option<RoundError>) {
        let Linked { c, name, desired, seen, .. } = of;
        let mirrors = desired.as_ref().map(|d| d.mirrors.clone()).unwrap_or_default();
        let is_running = seen.as_ref().is_some_and(|seen| seen.is_running(&mirrors));
        if is_running && self.is_measured_anew(name) {
            let found = timeout(PATIENCE, self.how_far(c)).await.ok().and_then(Result::ok);
            self.measured(name, found.map(Some));
        }
        let flow = self.flow(name);
        let problem = c.is_meant().then(|| problem(of, is_running, flow.as_ref(), failure)).flatten();
        let is_gone = c.copy.is_over && seen.is_none() && !others;
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

fn unanswered(error: KafkaError) -> RestError {
    RestError { status: None, message: error.to_string() }
}

/// Each of them, and the first that is refused is told.
async fn mirror(links: &dyn ClusterLinks, name: &str, topics: &BTreeMap<String, String>) -> Result<(), RestError> {
    let mut refused = Ok(());
    for (copy, source) in topics {
        let made = links.mirror(name, source, copy).await;
        let made = made.map_err(|error| RestError { message: format!("topic {source}: {}", error.message), ..error });
        refused = refused.and(made);
    }
    refused
}

/// Removes links of a share that copies from elsewhere by now.
async fn remove_others(links: &dyn ClusterLinks, c: &Copying, observed: &BTreeMap<String, ObservedLink>) -> bool {
    let (own, prefix) = (c.connector(), connector_prefix(&c.uid()));
    // As long as nobody knows where it copies from, any of them may be the one.
    if c.copy.source_cluster.is_empty() && !c.copy.is_over {
        return false;
    }
    let mut again = false;
    for (name, seen) in observed.iter().filter(|(name, _)| name.starts_with(&prefix) && **name != own) {
        let done = match next(None, Some(seen), &BTreeSet::new()) {
            Some(LinkStep::Failover(copies)) => links.failover(name, &copies).await,
            Some(LinkStep::Remove) => links.remove(name).await,
            _ => continue,
        };
        match done {
            Ok(()) => again = true,
            Err(error) => warn!(link = name, %error, "failed to remove it; it is tried again"),
        }
    }
    again
}

/// How a link is, in the words of connectors.
fn state(seen: &ObservedLink, is_running: bool) -> State {
    let any = |state| seen.mirrors.values().any(|mirror| mirror.state == state);
    match () {
        () if is_running => State::Running,
        () if seen.failure.is_some() || any(MirrorState::Failed) => State::Failed,
        () if any(MirrorState::Paused) => State::Paused,
        () if seen.mirrors.values().all(|mirror| mirror.state == MirrorState::Stopped) => State::Stopped,
        () => State::Unassigned,
    }
}

/// What stands in the way of records that are meant to flow.
fn problem(of: &Linked<'_>, is_running: bool, flow: Option<&Flow>, failure: Option<RoundError>) -> Option<Problem> {
    let Linked { name, desired, seen, .. } = of;
    if let Some(failure) = failure {
        return Some(failed(&format!("link {name}"), flow, &failure));
    }
    let Some(seen) = seen else { return Some(starting("the link is being made")) };
    if let Some(why) = &seen.failure {
        return Some(failing(format!("link {name} failed: {why}")));
    }
    for copy in desired.iter().flat_map(|d| d.mirrors.keys()) {
        let Some(mirror) = seen.mirrors.get(copy) else {
            return Some(starting(&format!("topic {copy} is yet to be made by the link")));
        };
        match mirror.state {
            MirrorState::Active => {}
            MirrorState::Failed => {
                let why = mirror.failure.as_deref().unwrap_or_default();
                return Some(failing(format!("link {name} does not copy into topic {copy}: {why}")));
            }
            MirrorState::Stopped | MirrorState::Stopping => {
                let advice = "delete it, and the link makes it anew";
                return Some(failing(format!("somebody took topic {copy} out of link {name}: {advice}")));
            }
            MirrorState::Paused | MirrorState::Pending => {
                return Some(starting(&format!("topic {copy} is yet to be taken up by the link")));
            }
        }
    }
    if is_running && flow.is_none() {
        return Some(starting("it is yet to be seen how far the copy is"));
    }
    stuck(&format!("link {name}"), flow, PATIENCE_OF_RECORDS)
}
