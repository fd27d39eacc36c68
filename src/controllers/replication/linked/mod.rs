//! An engine of cluster links: a link a share, which the destination's own brokers run.

mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::ResourceExt;
use tracing::{info, warn};

use super::EVERY;
use super::credentials::Shape;
use super::deployment::Logins;
use super::round::{Copying, Engine, RoundError, Snapshot, is_known};
use crate::api::ClusterLink;
use crate::controllers::applier::Order;
use crate::domain::index::{SeenLink, Update};
use crate::domain::names::{MIRROR, connector_prefix, guest_key, link_prefix};
use crate::domain::replication::link::{Around, Link, LinkStep, ObservedLink, config, fingerprint, login, steps};
use crate::domain::secret::Secret;
use crate::k8s::files::{Files, FilesSecret};
use crate::ports::{ClusterLinks, RestEndpoint, RestError};
use crate::replication::LinkClient;

/// So long may a topic be there before its link has it among its own: one server may show what another one does not yet.
const UNLISTED: Duration = Duration::from_secs(60);
/// So long may a link take to let its topics go before it is deleted by force: by then its share has no access at the source.
const LEAVING: Duration = Duration::from_secs(300);

/// What is remembered of links from look to look.
#[derive(Default)]
pub(super) struct Links {
    client: Option<(RestEndpoint, String, String, Arc<LinkClient>)>,
    /// Since when topics have been there that no link has among its own.
    unlisted: BTreeMap<String, Instant>,
    /// Since when links are to go.
    leaving: BTreeMap<String, Instant>,
    /// When a call about a link was last not answered: it may yet be carried out.
    unanswered: BTreeMap<String, Instant>,
    /// When the applier was last told of topics of a share, which it did not show.
    told: BTreeMap<String, Instant>,
    /// What was done last, by share, with the name of the link: the same again waits for the next look.
    taken: BTreeMap<String, Vec<(String, LinkStep)>>,
}

/// A share's link, as it should be and as it is.
struct Linked<'a> {
    copying: &'a Copying,
    name: String,
    desired: Option<Link>,
    seen: Option<ObservedLink>,
    /// Other links of the share, which copied from elsewhere.
    others: BTreeMap<String, ObservedLink>,
    /// Topics that it should have, that have been there for a while, and that are not among its own.
    strange: BTreeSet<String>,
    /// Why it could not be looked at.
    failure: Option<RestError>,
    /// Another one of the share could not be.
    is_other_unseen: bool,
}

/// The key, among the files, of the fingerprint of the login that a link was given last.
fn note(copying: &Copying) -> String {
    format!("{}.given", copying.copy.source.uid)
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
        if files.is_none() && now.copying.iter().all(|c| self.has_no_link(c)) {
            now.copying.iter().for_each(|c| self.tell_of_no_link(c));
            return Ok(false);
        }
        let (was_there, mut files) = (files.is_some(), files.unwrap_or_default());
        let logins = self.hand_over(shown, Shape::Parts, &now.copying, &mut files).await?;
        let endpoint = self.context.secrets.rest(&spec.url, &spec.secret_ref.name).await?;
        let links = self.client(endpoint, &spec.path)?;
        // First the topics: one that was there by then, and that no link shows afterwards, may be a stranger's.
        let copies: BTreeSet<_> = now.copying.iter().flat_map(|c| c.copy.flows.values().cloned()).collect();
        let there =
            self.sources.existing(&self.context, &self.key.cluster, &copies).await.map_err(RestError::unanswered)?;
        let mut found = links.list(&now.copying.iter().map(|c| connector_prefix(&c.uid())).collect()).await?;
        let is_empty = found.is_empty();
        self.forget_all_but(|name| found.contains_key(name));
        self.links.unlisted.retain(|copy, _| there.contains(copy));
        let known = now.copying.iter().filter(|c| is_known(&self.context, c));
        let mut all: Vec<_> = known.map(|c| linked(c, &logins, &files, &mut found)).collect();
        let mut due = Vec::new();
        for linked in &mut all {
            self.tell_what_is_there(linked, &there);
            due.push(self.due(linked, &there));
        }
        let mut failures: Vec<_> = all.iter().map(|linked| linked.failure.clone().map(RoundError::from)).collect();
        let mut again = false;
        // A source that takes its time to answer holds up nobody's end, and nobody's new login.
        for widens in [false, true] {
            for (place, linked) in all.iter().enumerate() {
                let steps = due[place].iter().filter(|(_, step)| step.widens() == widens);
                let (is_new, taken) = self.take_steps(links.as_ref(), linked, steps, &mut files, shown).await;
                again |= is_new;
                if let Err(error) = taken {
                    failures[place].get_or_insert(error);
                }
            }
        }
        for ((linked, due), failure) in all.iter().zip(due).zip(failures) {
            self.links.taken.insert(linked.copying.uid(), due);
            self.report_link(linked, failure).await;
        }
        if was_there && !now.is_wanted && is_empty {
            info!("nothing is copied any more; what was made for it is removed");
            shown.remove().await?;
            self.links = Links::default();
        }
        Ok(again)
    }

    /// Whether it need not be asked for the link of a share: nothing was ever made for one, or it was seen to be gone.
    fn has_no_link(&self, c: &Copying) -> bool {
        let was_seen = || self.context.copies.get(&c.uid()).is_some_and(|state| state.is_gone);
        let had_any = || {
            let (index, mirror) = (self.context.world.index(), c.copy.mirror.uid().unwrap_or_default());
            let has_topics = index.recorded_for(&c.copy.cluster, &mirror).next().is_some();
            index.client_record(&c.copy.source.uid).is_some() || has_topics
        };
        c.copy.source.client.is_none() && ((c.copy.is_over && was_seen()) || !had_any())
    }

    fn tell_of_no_link(&self, c: &Copying) {
        let seen = SeenLink { is_gone: c.copy.is_over, ..SeenLink::default() };
        self.context.world.apply(Update::Link(c.key.clone(), seen));
        self.tell_gone(c);
    }

    fn client(&mut self, endpoint: RestEndpoint, path: &str) -> Result<Arc<LinkClient>, RestError> {
        let cluster = self.cluster_id(&self.key.cluster)?;
        if let Some((of, below, id, client)) = &self.links.client
            && (of, below.as_str(), id) == (&endpoint, path, &cluster)
        {
            return Ok(client.clone());
        }
        let client = Arc::new(LinkClient::new(&endpoint, path, &cluster)?);
        self.links.client = Some((endpoint, path.to_owned(), cluster, client.clone()));
        Ok(client)
    }

    /// Kafka's id of a cluster.
    fn cluster_id(&self, cluster: &str) -> Result<String, RestError> {
        let handle = self.context.world.handle(cluster);
        let id = handle.and_then(|handle| Some(handle.state().facts.as_ref()?.cluster_id.clone()));
        id.ok_or_else(|| RestError::not_yet(format!("StreamCluster {cluster} is not connected")))
    }

    /// Has the others know which topics are the link's.
    fn tell_what_is_there(&mut self, linked: &mut Linked<'_>, there: &BTreeSet<String>) {
        let c = linked.copying;
        if linked.failure.is_some() || linked.is_other_unseen {
            return;
        }
        let listed: BTreeSet<_> = linked.links().flat_map(|link| link.mirrors.keys().cloned()).collect();
        let wanted: BTreeSet<_> = linked.desired.iter().flat_map(|d| d.mirrors.keys()).collect();
        let is_unlisted = |copy: &String| there.contains(copy) && !listed.contains(copy);
        let now = Instant::now();
        self.links.unlisted.retain(|copy, _| !listed.contains(copy));
        let mut strange = BTreeSet::new();
        for copy in wanted.iter().filter(|copy| is_unlisted(copy)) {
            let since = *self.links.unlisted.entry((*copy).clone()).or_insert(now);
            if now.duration_since(since) > UNLISTED {
                strange.insert((*copy).clone());
            }
        }
        linked.strange.clone_from(&strange);
        // The share stops to want what is a stranger's: that goes on being one until somebody takes it away.
        let before = self.context.world.index().strange(&c.key);
        strange.extend(before.into_iter().filter(|copy| !wanted.contains(copy) && !listed.contains(copy)));
        let is_gone = self.is_gone(linked);
        let told = self.links.told.get(&c.uid());
        let is_shown = self.is_shown(c, there) || told.is_some_and(|at| now.duration_since(*at) < EVERY);
        self.context.world.apply(Update::Link(c.key.clone(), SeenLink { listed, strange, is_gone }));
        let handle = self.context.world.handle(&self.key.cluster).filter(|_| !is_shown);
        if let Some(handle) = handle {
            self.links.told.insert(c.uid(), now);
            let products = BTreeSet::from([guest_key(&c.key, MIRROR)]);
            handle.order(Order::Dirty { principals: BTreeSet::new(), products, clients: BTreeSet::new() });
        }
    }

    /// Whether a share is over, and no link of it is there, nor may yet come.
    fn is_gone(&self, linked: &Linked<'_>) -> bool {
        let since = self.links.unanswered.get(&linked.name);
        let may_come = since.is_some_and(|at| at.elapsed() < UNLISTED);
        let is_seen = linked.failure.is_none() && !linked.is_other_unseen;
        linked.copying.copy.is_over && is_seen && !may_come && linked.links().next().is_none()
    }

    /// Whether the applier saw all the share's copies that are there.
    fn is_shown(&self, c: &Copying, there: &BTreeSet<String>) -> bool {
        let uid = c.copy.mirror.uid().unwrap_or_default();
        let Some(handle) = self.context.world.handle(&self.key.cluster) else { return true };
        let state = handle.state();
        let shown = state.products.get(&uid).map(|outcome| &outcome.partitions);
        let is_shown = |copy: &String| shown.is_some_and(|shown| shown.contains_key(copy));
        c.copy.flows.values().all(|copy| !there.contains(copy) || is_shown(copy))
    }

    /// Takes steps with the links of a share. Returns whether any is another one than at the look before, and the first failure.
    async fn take_steps(
        &mut self,
        links: &dyn ClusterLinks,
        linked: &Linked<'_>,
        steps: impl Iterator<Item = &(String, LinkStep)>,
        files: &mut Files,
        shown: &FilesSecret,
    ) -> (bool, Result<(), RoundError>) {
        let (mut is_new, mut done) = (false, Ok(()));
        for due in steps {
            let (name, step) = due;
            let taken = self.take_link_step(links, linked, name, step, files, shown).await;
            match &taken {
                Ok(()) => info!(link = name, step = step.name(), "took a step"),
                Err(error) => warn!(link = name, step = step.name(), %error, "a step failed; it is tried again"),
            }
            match &taken {
                Err(RoundError::Rest(RestError { status: None, .. })) => {
                    self.links.unanswered.insert(name.clone(), Instant::now());
                }
                // It was not tried, and is of use once it can be.
                Err(RoundError::Unrecorded(_)) => self.retries.forgive(name),
                Ok(()) if step.narrows() => self.intents.forget_all(&format!("{name}/")),
                _ => {}
            }
            let before = self.links.taken.get(&linked.copying.uid());
            is_new |= taken.is_ok() && !before.is_some_and(|before| before.contains(due));
            done = done.and(taken);
        }
        (is_new, done)
    }

    /// The steps that are due with the links of a share, by their names, and may be taken now.
    fn due(&mut self, linked: &Linked<'_>, there: &BTreeSet<String>) -> Vec<(String, LinkStep)> {
        let Linked { copying: c, name, desired, seen, others, .. } = linked;
        // As long as nobody knows where it copies from, any link may be the one: nothing is to end.
        if c.copy.source_cluster.is_empty() && !c.copy.is_over {
            return Vec::new();
        }
        let unseen = ObservedLink::default();
        let mut all = Vec::new();
        if linked.failure.is_some() {
            // One that cannot be looked at goes by force, too.
            let late = c.copy.is_over && self.around(c, name, &unseen, there).is_late;
            all.extend(late.then_some(LinkStep::Remove { by_force: true }));
        } else {
            let around = self.around(c, name, seen.as_ref().unwrap_or(&unseen), there);
            all.extend(steps(desired.as_ref(), seen.as_ref(), around));
        }
        let has_access = self.waits_for_access(c).is_none();
        all.retain(|step| match step {
            step if step.widens() => has_access && self.retries.may_restart(name, true),
            // Whoever takes a configuration and then shows another one may do so for ever.
            LinkStep::Configure => self.retries.may_configure(name, &linked.asked()),
            _ => true,
        });
        let mut all: Vec<_> = all.into_iter().map(|step| (name.clone(), step)).collect();
        for (name, other) in others {
            let leaving = steps(None, Some(other), self.around(c, name, other, there));
            all.extend(leaving.into_iter().map(|step| (name.clone(), step)));
        }
        all
    }

    fn around<'a>(&mut self, c: &Copying, name: &str, seen: &ObservedLink, there: &'a BTreeSet<String>) -> Around<'a> {
        let is_leaving = c.copy.is_over || c.connector() != name;
        if !is_leaving {
            self.links.leaving.remove(name);
            return Around { there, unrecorded: false, is_late: false };
        }
        let now = Instant::now();
        let since = *self.links.leaving.entry(name.to_owned()).or_insert(now);
        let index = self.context.world.index();
        let unrecorded = seen.mirrors.keys().any(|copy| index.is_promised(&self.key.cluster, copy));
        Around { there, unrecorded, is_late: now.duration_since(since) > LEAVING }
    }

    /// Takes one step with one link.
    async fn take_link_step(
        &mut self,
        links: &dyn ClusterLinks,
        linked: &Linked<'_>,
        name: &str,
        step: &LinkStep,
        files: &mut Files,
        shown: &FilesSecret,
    ) -> Result<(), RoundError> {
        let c = linked.copying;
        if step.widens() {
            self.put_on_record(c, name, step.name(), step.copied(&c.copy.flows)).await?;
        }
        self.context.may_write().map_err(|error| RestError::not_yet(error.to_string()))?;
        let (config, login) = linked.desired.as_ref().map(|d| (d.config.clone(), d.login.clone())).unwrap_or_default();
        let login = login.unwrap_or_default();
        match step {
            LinkStep::Create => {
                let source = self.cluster_id(&c.copy.source_cluster)?;
                links.create(name, &source, &config, &login).await?;
            }
            LinkStep::Configure => links.configure(name, &config, &login).await?,
            LinkStep::Mirror(topics) => return self.mirror(links, c, name, topics).await,
            LinkStep::Pause(copies) => links.pause(name, copies).await?,
            LinkStep::Resume(copies) => links.resume(name, copies).await?,
            LinkStep::Failover(copies) => links.failover(name, copies).await?,
            LinkStep::Remove { by_force } => links.remove(name, *by_force).await?,
        }
        if matches!(step, LinkStep::Create | LinkStep::Configure) {
            self.retries.configured(name, linked.asked());
            files.insert(note(c), Secret::new(fingerprint(&login)));
            shown.write(files).await?;
        }
        Ok(())
    }

    /// Has each of the topics mirrored that the share still wants. Nothing is held up by one that is refused.
    async fn mirror(
        &self,
        links: &dyn ClusterLinks,
        c: &Copying,
        name: &str,
        topics: &BTreeMap<String, String>,
    ) -> Result<(), RoundError> {
        let mut done = Ok(());
        for (copy, source) in topics {
            let is_wanted =
                self.context.world.index().copy(&c.key).is_some_and(|now| now.flows.get(source) == Some(copy));
            if !is_wanted || self.context.may_write().is_err() {
                continue;
            }
            let made = links.mirror(name, source, copy).await;
            let is_answered = made.as_ref().err().is_none_or(|error| error.status.is_some());
            let made =
                made.map_err(|error| RestError { message: format!("topic {source}: {}", error.message), ..error });
            done = done.and(made.map_err(RoundError::from));
            // The rest would not be answered either.
            if !is_answered {
                break;
            }
        }
        done
    }
}

impl Linked<'_> {
    /// Every link of the share that is there.
    fn links(&self) -> impl Iterator<Item = &ObservedLink> {
        self.seen.iter().chain(self.others.values())
    }

    /// What the link is asked to be, without anything that is secret.
    fn asked(&self) -> BTreeMap<String, String> {
        let Some(desired) = &self.desired else { return BTreeMap::new() };
        let login = desired.login.iter().map(|login| ("login".to_owned(), fingerprint(login)));
        desired.config.clone().into_iter().chain(login).collect()
    }
}

/// Takes what was found of a share's links.
fn linked<'a>(
    c: &'a Copying,
    logins: &Logins,
    files: &Files,
    found: &mut BTreeMap<String, Result<ObservedLink, RestError>>,
) -> Linked<'a> {
    let (name, prefix) = (c.connector(), connector_prefix(&c.uid()));
    let names: Vec<_> = found.keys().filter(|name| name.starts_with(&prefix)).cloned().collect();
    let (mut seen, mut others, mut failure, mut is_other_unseen) = (None, BTreeMap::new(), None, false);
    for of in names {
        match found.remove(&of) {
            Some(Ok(mut link)) if of == name => {
                link.given = files.get(&note(c)).map(|given| given.expose().to_owned());
                seen = Some(link);
            }
            Some(Ok(link)) => drop(others.insert(of, link)),
            Some(Err(error)) if of == name => failure = Some(error),
            Some(Err(_)) => is_other_unseen = true,
            None => {}
        }
    }
    let source = logins.get(&c.uid()).and_then(|(source, _)| source.as_ref());
    let desired = (!c.copy.is_over).then(|| Link {
        config: config(&link_prefix(&c.uid()), &c.copy.history),
        login: source.and_then(|source| login(source, files)),
        mirrors: c.copy.flows.iter().map(|(source, copy)| (copy.clone(), source.clone())).collect(),
    });
    Linked { copying: c, name, desired, seen, others, strange: BTreeSet::new(), failure, is_other_unseen }
}
