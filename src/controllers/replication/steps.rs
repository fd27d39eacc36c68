//! Steps with connectors, each on record before it has anything copied.

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt;
use tracing::info;

use super::deployment::Logins;
use super::round::{Copying, Engine, RoundError, Snapshot};
use crate::api::{Action, Outcome};
use crate::domain::event::{Gain, Happening};
use crate::domain::replication::connector::CLASS;
use crate::domain::replication::plan::{ObservedConnector, Step, narrowing, next};
use crate::domain::share::copy::source_alias;
use crate::k8s::objects::object_ref;
use crate::ports::{Connectors, RestError};

impl Engine {
    /// Takes the next step with the connector of a share. Returns whether there was one.
    pub(super) async fn step(
        &mut self,
        connect: &dyn Connectors,
        now: &Snapshot,
        c: &Copying,
        logins: &Logins,
        observed: &BTreeMap<String, ObservedConnector>,
    ) -> Result<bool, RoundError> {
        let name = c.connector();
        let desired = self.desired(now, c, logins);
        let seen = observed.get(&name);
        let step = match (next(desired.as_ref(), seen), seen) {
            // Whoever takes a configuration and then shows another one may do so for ever: what else there is to do goes on.
            (Some(Step::Configure(config)), Some(seen)) if !self.retries.may_configure(&name, &config) => {
                next(desired.as_ref(), Some(&ObservedConnector { config, ..seen.clone() }))
            }
            (step, _) => step,
        };
        let Some(step) = step else { return Ok(false) };
        let more = step.widens(seen);
        let waits = match more {
            _ if !self.may(c, &name, &step) => Ok(()),
            Some(topics) => match self.put_on_record(c, &name, step.name(), topics).await {
                Ok(()) => return self.take_noted(connect, c, &name, step, true).await.map(|()| true),
                Err(error) => Err(error),
            },
            None => return self.take_noted(connect, c, &name, step, false).await.map(|()| true),
        };
        // What is to be less does not wait with it.
        let less = desired.as_ref().zip(seen).and_then(|(desired, seen)| narrowing(desired, seen));
        let less = less.filter(|step| match step {
            Step::Configure(config) => self.retries.may_configure(&name, config),
            step => self.may(c, &name, step),
        });
        let is_less = less.is_some();
        if let Some(step) = less {
            self.take_noted(connect, c, &name, step, false).await?;
        }
        waits.map(|()| is_less)
    }

    /// Takes a step, and notes what came of it.
    async fn take_noted(
        &mut self,
        connect: &dyn Connectors,
        c: &Copying,
        name: &str,
        step: Step,
        widens: bool,
    ) -> Result<(), RoundError> {
        let taken = self.take(connect, c, name, &step).await;
        match &taken {
            Ok(()) => {
                info!(connector = name, step = step.name(), "took a step");
                if !widens && !matches!(step, Step::Restart { .. }) {
                    // What it had more is on record anew when it comes back.
                    self.intents.forget_all(&format!("{name}/"));
                }
                if let Step::Configure(config) = step {
                    self.retries.configured(name, config);
                }
            }
            Err(error) => info!(connector = name, step = step.name(), %error, "a step failed; it is tried again"),
        }
        taken
    }

    /// Puts on record that a step with a connector, or a link, is about to have these topics copied.
    ///
    /// # Errors
    /// It cannot be put on record: then the step is not to be taken.
    pub(super) async fn put_on_record(
        &mut self,
        c: &Copying,
        name: &str,
        step: &str,
        topics: BTreeSet<String>,
    ) -> Result<(), RoundError> {
        let (source, cluster) = (&c.copy.source_cluster, &self.key.cluster);
        // As they are called: connectors have patterns.
        let copy = |what: &str| Gain::new(format!("Copy {} from {source} to {cluster}", what.replace('\\', "")));
        let gains = if topics.is_empty() { vec![copy(name)] } else { topics.iter().map(|t| copy(t)).collect() };
        let object = object_ref("ExternalShare", &c.key, c.share.uid());
        let message = format!("{name} is about to copy from StreamCluster {source} to StreamCluster {cluster}: {step}");
        let happening =
            Happening::new(Action::AccessWidening, object, "Copying", message).ended(Outcome::Pending).on(cluster);
        let gains = BTreeMap::from([(format!("{name}/{step}"), gains)]);
        let told = self.intents.put_on_record(&self.context, &gains, |_, _| happening).await;
        told.map_err(RoundError::Unrecorded)
    }

    /// Whether a step may be taken now: nothing runs, and nothing that runs is stopped for more, before every broker shows what
    /// the copiers need; and what fails again and again is started again ever more rarely.
    fn may(&mut self, c: &Copying, name: &str, step: &Step) -> bool {
        match step {
            Step::Create(_) | Step::StopToPosition | Step::Position(..) | Step::Resume => {
                c.is_prepared && self.waits_for_access(c).is_none()
            }
            Step::Restart { only_failed } => self.retries.may_restart(name, *only_failed),
            Step::Stop | Step::Configure(_) | Step::Remove(_) => true,
        }
    }

    async fn take(&mut self, connect: &dyn Connectors, c: &Copying, name: &str, step: &Step) -> Result<(), RoundError> {
        match step {
            Step::Create(config) => {
                if !connect.has_plugin(CLASS).await? {
                    let message =
                        format!("Kafka Connect has no {CLASS}: put Apache Kafka's connect-mirror among its plugins");
                    return Err(RestError { status: Some(501), message }.into());
                }
                connect.create(name, config).await?;
            }
            Step::Stop | Step::StopToPosition => connect.stop(name).await?,
            Step::Configure(config) => connect.configure(name, config).await?,
            Step::Resume => connect.resume(name).await?,
            Step::Restart { only_failed } => connect.restart(name, *only_failed).await?,
            Step::Remove(config) => connect.remove(name, config).await?,
            Step::Position(topics, config) => {
                // Somebody may have deleted it, and its positions outlived it: what was begun goes on.
                let begun = connect.begun(name).await?;
                let is_new = |topic: &&String| !begun.keys().any(|(of, _)| of == *topic);
                let topics: BTreeSet<_> = topics.iter().filter(is_new).cloned().collect();
                let first = self.sources.first(&self.context, &c.copy.source_cluster, &topics, &c.copy.history).await;
                let first = first.map_err(RestError::unanswered)?;
                if !first.is_empty() {
                    connect.set_positions(name, source_alias(&c.key), &first).await?;
                }
                connect.configure(name, config).await?;
            }
        }
        Ok(())
    }
}
