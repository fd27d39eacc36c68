//! One look at an engine: its workers and their files, then the connector of each share, then what flows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kube::ResourceExt;
use tracing::{info, warn};

use super::credentials::Shape;
use super::deployment::{Applied, Logins};
use super::linked::Links;
use super::positions::Sources;
use super::report::Measure;
use super::retries::Retries;
use crate::api::{ExternalShare, KafkaConnect, StreamClient, Strimzi};
use crate::controllers::context::Context;
use crate::controllers::intents::Intents;
use crate::controllers::live::live;
use crate::domain::engine::{self, Carrier, Worker};
use crate::domain::index::Update;
use crate::domain::names::{
    CONNECTOR, EngineKey, ObjectKey, connector_name, connector_prefix, resource_name, workers_name,
};
use crate::domain::problem::Problem;
use crate::domain::replication::connector::{
    Connector, DIRECTORY, ENGINE, Login, PROVIDER, Secrets, Setting, connector,
};
use crate::domain::replication::plan::{ObservedConnector, Step, next};
use crate::domain::share::copy::Copy;
use crate::k8s::credentials::CredentialsError;
use crate::k8s::files::FilesSecret;
use crate::k8s::strimzi::StrimziResources;
use crate::k8s::workers::Workers;
use crate::ports::{Connectors, RestEndpoint, RestError};
use crate::replication::ConnectClient;

/// Why a look did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum RoundError {
    /// The API server refused, or did not answer.
    #[error("{0}")]
    Kubernetes(#[from] kube::Error),
    /// Whoever copies refused, or did not answer.
    #[error("{0}")]
    Rest(#[from] RestError),
    /// A certificate could not be made.
    #[error("{0}")]
    Certificate(String),
    /// The Secret with which Weir is known to the workers.
    #[error("{0}")]
    Secret(#[from] CredentialsError),
    /// More is to be copied, and that cannot be put on record: it waits.
    #[error("{}", .0.message)]
    Unrecorded(Problem),
}

impl RoundError {
    /// Whether it goes away by itself: the workers are sharing out their work, or the connector is not where it will be.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Rest(error) if error.is_passing())
    }
}

/// An engine from look to look.
pub struct Engine {
    pub(super) context: Arc<Context>,
    pub(super) key: EngineKey,
    pub(super) sources: Sources,
    asked: Option<(Asked, Arc<dyn Connectors>)>,
    pub(super) applied: Applied,
    pub(super) retries: Retries,
    pub(super) measures: BTreeMap<String, Measure>,
    pub(super) links: Links,
    pub(super) intents: Intents,
}

/// Who is asked for connectors.
#[derive(Clone, PartialEq)]
pub(super) enum Asked {
    Connect(RestEndpoint),
    Strimzi(Strimzi),
}

/// A share that copies by the engine, as of the beginning of a look.
pub(super) struct Copying {
    pub(super) key: ObjectKey,
    pub(super) share: Arc<ExternalShare>,
    pub(super) copy: Arc<Copy>,
    /// What the engine keeps for it alone has its place.
    pub(super) is_prepared: bool,
}

impl Copying {
    pub(super) fn uid(&self) -> String {
        self.share.uid().unwrap_or_default()
    }

    /// The name of its connector, or of its link.
    pub(super) fn connector(&self) -> String {
        connector_name(&self.uid(), &self.copy.source_cluster)
    }

    /// The name of the resource that has that, and of its Secret, where Strimzi runs it.
    pub(super) fn resource(&self) -> String {
        resource_name(&self.connector())
    }

    /// The identities of its ends.
    pub(super) fn clients(&self) -> [Option<&StreamClient>; 2] {
        [self.copy.source.client.as_deref(), self.copy.target.client.as_deref()]
    }

    /// Whether records are meant to flow.
    pub(super) fn is_meant(&self) -> bool {
        !self.copy.is_over && !self.copy.flows.is_empty()
    }
}

/// What there is to look at.
pub(super) struct Snapshot {
    pub(super) carrier: Carrier,
    /// The name of its workers, which tells what is theirs.
    pub(super) workers: String,
    pub(super) worker: Option<Arc<Worker>>,
    pub(super) copying: Vec<Copying>,
    pub(super) is_wanted: bool,
}

impl Engine {
    /// The engine with this key.
    pub fn new(context: Arc<Context>, key: EngineKey) -> Self {
        Self {
            context,
            key,
            sources: Sources::default(),
            asked: None,
            applied: Applied::default(),
            retries: Retries::default(),
            measures: BTreeMap::new(),
            links: Links::default(),
            intents: Intents::default(),
        }
    }

    /// Looks once. Returns whether to look again at once.
    ///
    /// # Errors
    /// See [`RoundError`]; the shares are told.
    pub async fn round(&mut self) -> Result<bool, RoundError> {
        // Before the ledgers are read, it seems that nothing is copied and nobody has a credential.
        if !self.context.is_settled(&self.key.cluster) {
            return Ok(false);
        }
        let Some(now) = self.snapshot() else { return Ok(false) };
        let looked = self.look(&now).await;
        if let Err(error) = &looked {
            self.tell_all(&now.copying, error);
        }
        looked
    }

    /// What the index says; `None` where the engine is not offered.
    fn snapshot(&self) -> Option<Snapshot> {
        let index = self.context.world.index();
        let by_it = index.copies().filter(|(_, copy)| copy.engine.as_ref() == Some(&self.key));
        let copying = by_it.filter_map(|(key, copy)| {
            let is_prepared = copy.is_prepared(&index);
            Some(Copying { key: key.clone(), share: index.share(key)?.clone(), copy: copy.clone(), is_prepared })
        });
        Some(Snapshot {
            carrier: engine::carrier(&index, &self.key)?,
            workers: workers_name(&engine::worker_uid(&index, &self.key)?),
            worker: index.worker(&self.key).cloned(),
            copying: copying.collect(),
            is_wanted: index.is_engine_wanted(&self.key),
        })
    }

    async fn look(&mut self, now: &Snapshot) -> Result<bool, RoundError> {
        let client = &self.context.client;
        let workers = Workers::new(client.clone(), &self.context.installation.namespace, &self.key, &now.workers);
        let shown = match &now.carrier {
            Carrier::Own(_) => workers.files(),
            Carrier::Existing(KafkaConnect { credentials, .. }) => {
                FilesSecret::new(client, &credentials.namespace, &credentials.secret_name, &now.workers)
            }
            Carrier::Strimzi(spec) => return self.look_at_strimzi(spec, now).await,
            Carrier::Links(spec) => return self.look_at_links(spec, &workers.files(), now).await,
        };
        let files = shown.read().await?;
        // Without files there are no connectors that could log in anywhere, and none is made.
        let is_idle = files.is_none() && !now.is_wanted;
        self.context.world.apply(Update::EngineIdle(self.key.clone(), is_idle));
        if is_idle {
            now.copying.iter().for_each(|c| self.tell_gone(c));
            return Ok(false);
        }
        let mut files = files.unwrap_or_default();
        let (endpoint, logins) = if let Carrier::Existing(spec) = &now.carrier {
            let logins = self.hand_over(&shown, Shape::Properties, &now.copying, &mut files).await?;
            (self.context.secrets.rest(&spec.url, &spec.secret_ref.name).await?, Some(logins))
        } else {
            self.deploy(&workers, now, files).await?
        };
        let Some(logins) = logins else {
            now.copying.iter().for_each(|c| self.tell_starting(c, "Kafka Connect waits for its credentials"));
            return Ok(false);
        };
        let connectors = self.connectors(Asked::Connect(endpoint), &now.workers)?;
        let (again, left) = self.look_at(connectors.as_ref(), now, &logins).await?;
        if !now.is_wanted && left.is_empty() {
            info!("nothing is copied any more; what was made for it is removed");
            if let Carrier::Own(_) = &now.carrier {
                workers.remove().await?
            } else {
                shown.remove().await?
            }
            self.applied = Applied::default();
            self.asked = None;
        }
        Ok(again)
    }

    /// Looks at every connector. Returns whether to look again at once, and which there were.
    pub(super) async fn look_at(
        &mut self,
        connect: &dyn Connectors,
        now: &Snapshot,
        logins: &Logins,
    ) -> Result<(bool, BTreeSet<String>), RoundError> {
        let id = self.id();
        // Only at workers that Weir runs there are no connectors of others.
        let is_alone = matches!(now.carrier, Carrier::Own(_));
        let is_ours = |seen: &ObservedConnector| seen.config.get(ENGINE).map_or(is_alone, |of| *of == id);
        let mut observed = connect.list(CONNECTOR).await?;
        observed.retain(|_, seen| is_ours(seen));
        let mut again = self.remove_others(connect, &now.copying, &observed).await;
        let mut failures = BTreeMap::new();
        let known: Vec<_> = now.copying.iter().filter(|c| is_known(&self.context, c)).collect();
        for c in &known {
            match self.step(connect, now, c, logins, &observed).await {
                Ok(stepped) => again |= stepped,
                Err(error) => drop(failures.insert(c.uid(), error)),
            }
        }
        self.forget_all_but(|name| observed.contains_key(name));
        for c in &known {
            self.report(connect, c, &observed, failures.remove(&c.uid())).await;
        }
        Ok((again, observed.into_keys().collect()))
    }

    /// Forgets what is known of connectors, or links, that are no more.
    pub(super) fn forget_all_but(&mut self, is_there: impl Fn(&String) -> bool) {
        self.measures.retain(|name, _| is_there(name));
        self.retries.retain(is_there);
    }

    /// Tells its connectors from those of other engines, and of other installations of Weir, at the same Kafka Connect.
    fn id(&self) -> String {
        format!("{}/{}/{}", self.context.installation.id, self.key.cluster, self.key.name)
    }

    pub(super) fn connectors(&mut self, asked: Asked, workers: &str) -> Result<Arc<dyn Connectors>, RoundError> {
        if let Some((before, connectors)) = &self.asked
            && *before == asked
        {
            return Ok(connectors.clone());
        }
        let connectors: Arc<dyn Connectors> = match &asked {
            Asked::Connect(endpoint) => Arc::new(ConnectClient::new(endpoint)?),
            Asked::Strimzi(spec) => Arc::new(StrimziResources::new(self.context.client.clone(), spec.clone(), workers)),
        };
        self.asked = Some((asked, connectors.clone()));
        Ok(connectors)
    }

    pub(super) fn desired(
        &self,
        Snapshot { carrier, .. }: &Snapshot,
        c: &Copying,
        logins: &Logins,
    ) -> Option<Connector> {
        let name = c.resource();
        let (tuning, secrets) = match carrier {
            Carrier::Own(of) => (&of.tuning, Secrets::Files { provider: PROVIDER, directory: DIRECTORY }),
            Carrier::Existing(KafkaConnect { credentials, tuning, .. }) => {
                (tuning, Secrets::Files { provider: &credentials.provider, directory: &credentials.directory })
            }
            Carrier::Strimzi(of) => (&of.tuning, Secrets::Secret(&name)),
            Carrier::Links(_) => return None,
        };
        let setting = Setting { engine: &self.id(), tuning, secrets };
        let topics: BTreeSet<_> = c.copy.flows.keys().cloned().collect();
        let logins = logins.get(&c.uid());
        let both: Option<(&Login, &Login)> = logins.and_then(|(source, target)| source.as_ref().zip(target.as_ref()));
        (!c.copy.is_over).then(|| connector(&c.share, &c.copy.source_cluster, setting, &topics, both))
    }

    /// What the copiers' access waits for.
    pub(super) fn waits_for_access(&self, c: &Copying) -> Option<Problem> {
        let ends = [&c.copy.source, &c.copy.target];
        ends.into_iter().find_map(|end| live(&self.context, &end.uid, &end.resolution).problems.into_iter().next())
    }

    /// Removes connectors of shares that are no more, or that copy from elsewhere by now.
    async fn remove_others(
        &mut self,
        connect: &dyn Connectors,
        copying: &[Copying],
        observed: &BTreeMap<String, ObservedConnector>,
    ) -> bool {
        let is_of = |c: &Copying, name: &str| {
            // As long as nobody knows where it copies from, any of them may be the one.
            let unknown = c.copy.source_cluster.is_empty() && !c.copy.is_over;
            c.connector() == name || (unknown && name.starts_with(&connector_prefix(&c.uid())))
        };
        let mut again = false;
        for (name, seen) in observed.iter().filter(|(name, _)| !copying.iter().any(|c| is_of(c, name))) {
            let done = match next(None, Some(seen)) {
                Some(Step::Stop) => connect.stop(name).await,
                Some(Step::Remove(config)) => connect.remove(name, &config).await,
                _ => continue,
            };
            match done {
                Ok(()) => {
                    self.intents.forget_all(&format!("{name}/"));
                    again = true;
                }
                Err(error) => warn!(connector = name, %error, "failed to remove it; it is tried again"),
            }
        }
        again
    }
}

/// Whether it is known what a share copies: its source was looked at, or that does not matter any more.
pub(super) fn is_known(context: &Context, c: &Copying) -> bool {
    let source = &c.copy.source_cluster;
    c.copy.is_over || source.is_empty() || context.is_settled(source)
}
