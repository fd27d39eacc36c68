//! What controllers that have credentials issued share: a client's, and a partner's.

use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;

use super::applier::{ClusterHandle, Order, not_connected};
use super::context::Context;
use crate::api::{ListenerAuthentication, Reason, StreamClient, StreamClusterSpec};
use crate::domain::conditions::whole_seconds;
use crate::domain::connection::{Issued, authentication_of};
use crate::domain::ledger::{ClientRecord, VersionRecord};
use crate::domain::names::{ObjectKey, PrincipalKey};
use crate::domain::problem::Problem;
use crate::domain::rotation::{MOST_VERSIONS, ROTATE, Situation, Step, WINDOW, decide};

/// The credentials of a client, or of a guest, at this moment.
pub struct Life {
    /// The applier of its cluster.
    pub handle: Arc<ClusterHandle>,
    /// What the ledger has.
    pub record: Option<ClientRecord>,
    /// The version that is being issued.
    pub issuing: Option<VersionRecord>,
    /// The credential itself and its version, while this process holds it.
    pub held: Option<(u32, Issued)>,
    /// When the authority ends that signs certificates, as far as it is known.
    pub authority: Option<Timestamp>,
    /// Why the last try failed.
    pub problem: Option<Problem>,
}

/// What is left to do with a credential.
pub enum Turn {
    /// Wait, for this.
    Waits(&'static str),
    /// Put this version where it is published, and then order [`Order::Published`].
    Publish(VersionRecord, Issued),
    /// Too many versions were issued of late: the next one comes not before this.
    Late(Timestamp),
    /// Nothing, until the time given, if any.
    Rest(Option<Timestamp>),
}

impl Life {
    /// That of `client`.
    ///
    /// # Errors
    /// Its cluster is not governed, or its namespace no tenant, or there is no listener for it.
    pub fn of(
        context: &Context,
        client: &StreamClient,
        has_listener: impl Fn(&StreamClusterSpec, ListenerAuthentication) -> bool,
    ) -> Result<Self, Problem> {
        let handle = admitted(context, client, has_listener)?;
        let uid = client.uid().unwrap_or_default();
        let record = context.world.index().client_record(&uid).cloned();
        let state = handle.state();
        let (held, problem) = (state.credentials.get(&uid).cloned(), state.client_problems.get(&uid).cloned());
        let authority = state.authority.clone().and_then(Result::ok);
        drop(state);
        let issuing = record.as_ref().and_then(|r| r.issuing()).cloned();
        Ok(Self { handle, record, issuing, held, authority, problem })
    }

    /// Takes the step that is next as far as it needs no place to publish: orders what the applier has to do.
    pub fn turn(&mut self, context: &Context, client: &StreamClient, key: &ObjectKey, published: Option<&str>) -> Turn {
        let number = self.issuing.as_ref().map(|v| v.version);
        match self.step(context, client, published) {
            Step::Issue(_) => {
                let last = self.record.as_ref().map_or(0, |r| r.last_version);
                self.handle.order(Order::Issue(key.clone(), last));
                Turn::Waits("a credential is being issued")
            }
            Step::AwaitBrokers => Turn::Waits("the credential is on its way to every broker"),
            Step::Publish => match self.issuing.clone().zip(self.held.clone()) {
                Some((version, (_, issued))) => Turn::Publish(version, issued),
                None => Turn::Waits("a credential is being issued"),
            },
            Step::MarkPublished => {
                self.handle.order(Order::Published(key.clone(), number.unwrap_or_default()));
                Turn::Waits("the credential was published")
            }
            Step::AwaitTurn(at) => Turn::Late(at),
            Step::Rest(next) => Turn::Rest(next),
        }
    }

    /// What to do next, where a credential with fingerprint `published` stands where it is published. Why the last try failed is over
    /// where nothing is to be issued.
    pub fn step(&mut self, context: &Context, client: &StreamClient, published: Option<&str>) -> Step {
        let number = self.issuing.as_ref().map(|v| v.version);
        let step = decide(&Situation {
            record: self.record.as_ref(),
            in_secret: published,
            in_memory: self.held.as_ref().is_some_and(|(version, _)| Some(*version) == number),
            on_brokers: self.is_on_brokers(context, &client.spec.cluster_ref.name),
            credentials: &client.spec.credentials,
            rotate: client.annotations().get(ROTATE).map(String::as_str),
            authority: self.authority,
            running_since: context.running_since,
            now: Timestamp::now(),
        });
        if !matches!(step, Step::Issue(_) | Step::AwaitTurn(_)) && self.problem.take().is_some() {
            self.handle.state().client_problems.remove(&client.uid().unwrap_or_default());
        }
        step
    }

    /// Whether every broker knows the version being issued, with all the access that it should have.
    fn is_on_brokers(&self, context: &Context, cluster: &str) -> bool {
        let Some(issuing) = &self.issuing else { return false };
        let key = PrincipalKey { cluster: cluster.to_owned(), principal: issuing.principal.clone() };
        let desired = context.world.index().desired(&key).grants;
        let state = self.handle.state();
        let access = match state.verified.get(&issuing.principal) {
            Some(grants) => *grants == desired,
            None => desired.is_empty(),
        };
        access && state.known_identities.contains(&issuing.principal)
    }
}

/// The applier of the client's cluster, if the client may be known there.
fn admitted(
    context: &Context,
    client: &StreamClient,
    has_listener: impl Fn(&StreamClusterSpec, ListenerAuthentication) -> bool,
) -> Result<Arc<ClusterHandle>, Problem> {
    let cluster = &client.spec.cluster_ref.name;
    let handle = context.world.handle(cluster);
    let index = context.world.index();
    let Some(spec) = index.cluster_spec(cluster) else {
        return Err(Problem::waiting(Reason::ClusterNotFound, format!("StreamCluster {cluster} does not exist")));
    };
    index.tenant_of(cluster, &index.key_of(client))?;
    let kind = client.spec.credentials.type_;
    if !has_listener(spec, authentication_of(kind)) {
        return Err(Problem::invalid(
            Reason::NoListener,
            format!("StreamCluster {cluster} has no listener for credentials of type {kind:?}"),
        ));
    }
    let handle = handle.ok_or_else(|| not_connected(cluster))?;
    let obstacle = handle.state().link.obstacle(cluster);
    obstacle.map_or(Ok(handle), Err)
}

/// What to say where the next version comes later. `whom_to_look_for` ends the sentence.
pub fn too_many(at: Timestamp, whom_to_look_for: &str) -> Problem {
    let minutes = WINDOW.as_mins();
    Problem::waiting(
        Reason::TooManyVersions,
        format!(
            "{MOST_VERSIONS} versions were issued within {minutes} minutes: the next one comes at {at}; find out who \
             {whom_to_look_for}",
            at = whole_seconds(at)
        ),
    )
}
