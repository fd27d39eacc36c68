//! How versions of credentials leave once their access is gone: brokers are told to forget them, and the ledger does once every
//! broker was seen without them. On that way Weir proves of a share's that they can do nothing; see [`crate::domain::evidence`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use tokio::sync::Semaphore;
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, timeout};

use super::credentials::password;
use super::probe::{self, Credential, LEARNING, endpoint, signed};
use super::session::{Session, SessionError};
use crate::api::{Action, CredentialType, ObjectRef, Outcome};
use crate::domain::canary;
use crate::domain::event::Happening;
use crate::domain::evidence::{Attempt, Evidence, Next, ProbeOutcome, Stage, next};
use crate::domain::index::Index;
use crate::domain::ledger::{Change, ClientRecord, VersionRecord};
use crate::domain::names::{ObjectKey, engine_of_worker, share_of_guest};
use crate::domain::rotation;
use crate::domain::secret::Secret;
use crate::domain::share;
use crate::k8s::objects::object_ref;
use crate::kafka::KafkaProbe;
use crate::ports::{AccessProbe, Disposition, KafkaEndpoint, KafkaError, ScramChange, ScramMechanism};

/// How many principals are tried at once: each is a login at every broker.
const AT_ONCE: usize = 16;
/// How long one attempt may take. The credential is Weir's meanwhile, and its removal waits no longer for evidence.
const ATTEMPT: Duration = Duration::from_secs(20);
/// The same where others are tried before it.
const IN_TURN: Duration = Duration::from_secs(60);

/// The principals that leave. See the module.
pub(super) struct Departures {
    stages: BTreeMap<String, Stage>,
    trials: BTreeMap<String, Trial>,
    attempts: JoinSet<Answer>,
    tried: HashMap<Id, String>,
    places: Arc<Semaphore>,
}

/// One principal that is tried.
struct Trial {
    /// The guest, or the end of a copy, that it was issued to.
    uid: String,
    /// How Weir logs in as it; `None` where it cannot, or brokers did not let it.
    endpoint: Option<KafkaEndpoint>,
    /// Where each broker is that let it.
    addresses: Addresses,
    topics: BTreeSet<String>,
    /// The hosts that it could read from, where these are not all.
    hosts: Option<Vec<String>>,
    evidence: Evidence,
}

/// By broker's id.
type Addresses = BTreeMap<i32, String>;
/// What came of an attempt, and where the brokers are, as far as it told.
pub(super) type Answer = (Attempt, Addresses);

/// A principal whose access is gone.
struct Leaver {
    uid: String,
    key: ObjectKey,
    kind: CredentialType,
    version: VersionRecord,
}

impl Default for Departures {
    fn default() -> Self {
        Self {
            stages: BTreeMap::new(),
            trials: BTreeMap::new(),
            attempts: JoinSet::new(),
            tried: HashMap::new(),
            places: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }
}

impl Departures {
    /// SCRAM users that brokers were told to forget, and that not every broker was seen without.
    pub(super) fn told(&self) -> impl Iterator<Item = String> {
        self.stages.iter().filter(|(_, stage)| **stage == Stage::Told).map(|(user, _)| user.clone())
    }

    /// Takes note of the users that no broker shows any more.
    pub(super) fn seen(&mut self, is_absent: impl Fn(&str) -> bool) {
        let told = self.stages.iter_mut().filter(|(_, stage)| **stage == Stage::Told);
        told.filter(|(user, _)| is_absent(user)).for_each(|(_, stage)| *stage = Stage::Absent);
    }

    /// What came of the next attempt that ends; `None` where none is under way.
    pub(super) async fn answered(&mut self) -> Option<(String, Answer)> {
        let (id, answer) = match self.attempts.join_next_with_id().await? {
            Ok((id, answer)) => (id, answer),
            Err(broken) => (broken.id(), (Err(broken.to_string()), Addresses::new())),
        };
        Some((self.tried.remove(&id)?, answer))
    }

    fn next(&self, leaver: &Leaver, is_over: bool) -> Next {
        let principal = &leaver.version.principal;
        let can_log_in = self.trials.get(principal).is_some_and(|trial| trial.endpoint.is_some());
        let wants_evidence = is_over && share_of_guest(&leaver.key).is_some();
        let has_user = leaver.kind == CredentialType::ScramSha512;
        next(self.stages.get(principal).copied(), wants_evidence, can_log_in, has_user)
    }

    /// Has every one of `brokers` asked for what the principal read, beside everything else.
    fn deny(&mut self, principal: &str, brokers: &BTreeSet<i32>) {
        let brokers = brokers.clone();
        self.attempt(principal, |endpoint, topics, _| async move {
            let outcomes = probe::outcomes(&endpoint, &topics, &brokers, LEARNING).await?;
            Ok((outcomes, KafkaProbe.addresses(&endpoint).await?))
        });
    }

    /// Has every broker asked whether it lets the principal in.
    fn refuse(&mut self, principal: &str) {
        self.attempt(principal, |endpoint, topics, addresses| async move {
            Ok((probe::logins(&endpoint, &topics, &addresses, LEARNING).await?, Addresses::new()))
        });
    }

    fn attempt<F>(&mut self, principal: &str, ask: impl FnOnce(KafkaEndpoint, Vec<String>, Addresses) -> F)
    where
        F: Future<Output = Result<(BTreeMap<i32, ProbeOutcome>, Addresses), KafkaError>> + Send + 'static,
    {
        let Some(trial) = self.trials.get(principal) else { return };
        let Some(endpoint) = trial.endpoint.clone() else { return };
        let mut topics: Vec<_> = trial.topics.iter().cloned().collect();
        if topics.is_empty() {
            topics.push(canary::TOPIC.to_owned());
        }
        let (asked, places) = (ask(endpoint, topics, trial.addresses.clone()), self.places.clone());
        let in_turn = async move {
            let _place = places.acquire().await;
            timeout(ATTEMPT, asked).await
        };
        let attempt = async move {
            match timeout(IN_TURN, in_turn).await {
                Ok(Ok(Ok((outcomes, addresses)))) => (Ok(outcomes), addresses),
                Ok(Ok(Err(error))) => (Err(error.to_string()), Addresses::new()),
                Ok(Err(_)) | Err(_) => (Err("there was no answer in time".to_owned()), Addresses::new()),
            }
        };
        let task = self.attempts.spawn(attempt);
        self.tried.insert(task.id(), principal.to_owned());
    }
}

impl Session<'_> {
    /// Whether somebody, or a share, still has the identity that the ledger has this of.
    pub(super) fn is_alive(&self, index: &Index, uid: &str, record: &ClientRecord) -> bool {
        index.client(&record.key()).is_some_and(|client| {
            client.uid().as_deref() == Some(uid)
                && client.spec.cluster_ref.name == self.cluster
                && client.metadata.deletion_timestamp.is_none()
        })
    }

    /// Has each version whose access is gone take its next step out.
    pub(super) async fn forget_retired(&mut self) -> Result<(), SessionError> {
        let orphans: BTreeSet<_> = {
            let index = self.context.world.index();
            let records = self.ledger.clients.iter().filter(|(uid, record)| !self.is_alive(&index, uid, record));
            records.map(|(uid, _)| uid.clone()).collect()
        };
        let (mut deny, mut tell, mut refuse) = (Vec::new(), Vec::new(), Vec::new());
        let mut gone: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for leaver in self.leavers() {
            let principal = leaver.version.principal.clone();
            match self.departures.next(&leaver, orphans.contains(&leaver.uid)) {
                Next::Deny => deny.push(leaver),
                Next::Tell => tell.push(principal),
                Next::Refuse => refuse.push(principal),
                Next::Forget => gone.entry(leaver.uid).or_default().push(principal),
                Next::Wait => {}
            }
        }
        for principal in refuse {
            self.try_as(&principal);
            self.departures.refuse(&principal);
            self.departures.stages.insert(principal, Stage::Refusing);
        }
        self.tell_to_forget(tell).await?;
        self.write_forgotten(gone, &orphans).await?;
        if self.deny(deny).await? {
            return Ok(());
        }
        // Who cannot be tried waits for nothing.
        Box::pin(self.forget_retired()).await
    }

    fn leavers(&self) -> Vec<Leaver> {
        let mut leavers = Vec::new();
        for (uid, record) in &self.ledger.clients {
            for version in record.versions.iter().filter(|v| v.retired) {
                let principal = &version.principal;
                let has_access = self.ledger.grants.contains_key(principal) || self.pending.contains_key(principal);
                if !has_access && !self.late.users().contains(principal) {
                    let (key, kind) = (record.key(), record.kind);
                    leavers.push(Leaver { uid: uid.clone(), key, kind, version: version.clone() });
                }
            }
        }
        leavers
    }

    /// Makes the principals' credentials Weir's, and has brokers asked for what they read. Returns whether each is under way.
    async fn deny(&mut self, leavers: Vec<Leaver>) -> Result<bool, SessionError> {
        if leavers.is_empty() {
            return Ok(true);
        }
        let brokers = self.serving_brokers().await?;
        let mut users = Vec::new();
        let principals: Vec<_> = leavers.iter().map(|leaver| leaver.version.principal.clone()).collect();
        for leaver in leavers {
            let principal = leaver.version.principal.clone();
            let (topics, hosts) = {
                let index = self.context.world.index();
                (share::read_by(&index, &leaver.key), share::bound_to(&index, &leaver.key))
            };
            let mut trial = Trial {
                uid: leaver.uid.clone(),
                endpoint: None,
                addresses: Addresses::new(),
                topics,
                hosts,
                evidence: Evidence::default(),
            };
            match self.enter_as(&leaver).await {
                Ok((endpoint, password)) => {
                    trial.endpoint = Some(endpoint);
                    users.extend(password.map(|password| (principal.clone(), password)));
                }
                Err(why) => trial.evidence.gap(format!("Weir could not log in as {principal}: {why}")),
            }
            if leaver.kind == CredentialType::Mtls {
                let until = leaver.version.expires_at.map(|at| format!(" until {at:.0}")).unwrap_or_default();
                trial
                    .evidence
                    .gap(format!("its certificate can log in{until}, for Kafka revokes none, and do nothing"));
            }
            self.departures.trials.insert(principal, trial);
        }
        self.take_over(users).await?;
        let mut all = true;
        for principal in principals {
            let can = self.departures.trials.get(&principal).is_some_and(|trial| trial.endpoint.is_some());
            let stage = if can { Stage::Denying } else { Stage::Denied };
            if can {
                self.try_as(&principal);
            }
            self.departures.deny(&principal, &brokers);
            self.departures.stages.insert(principal.clone(), stage);
            self.show(&principal);
            all &= can;
        }
        Ok(all)
    }

    /// How Weir enters as the principal, and the password that brokers are to be given for it.
    async fn enter_as(&self, leaver: &Leaver) -> Result<(KafkaEndpoint, Option<Secret>), String> {
        let principal = &leaver.version.principal;
        let spec = self.context.world.index().cluster_spec(self.cluster).cloned();
        let spec = spec.ok_or("its StreamCluster was deleted")?;
        let servers = canary::servers(&spec, leaver.kind).ok_or("there is no listener for its kind of credential")?;
        let (credential, password) = match leaver.kind {
            CredentialType::ScramSha512 => {
                let password = password()?;
                (Credential::User(principal.clone(), password.clone()), Some(password))
            }
            CredentialType::Mtls => {
                let signer = spec.identity.mtls.as_ref().map(|mtls| mtls.signer_secret_ref.name.clone());
                let signer = signer.ok_or("its StreamCluster has no identity.mtls")?;
                (signed(self.context, &signer, principal).await?, None)
            }
        };
        Ok((endpoint(self.canary.tls.as_ref(), servers, credential), password))
    }

    /// Gives brokers passwords for users that leave, which nobody but Weir knows.
    async fn take_over(&mut self, users: Vec<(String, Secret)>) -> Result<(), SessionError> {
        if users.is_empty() {
            return Ok(());
        }
        self.context.may_write()?;
        let changes = self.setting(users.iter().cloned());
        for ((user, _), result) in users.into_iter().zip(self.admin.alter_scram(&changes).await?) {
            match (result, self.departures.trials.get_mut(&user)) {
                (Err(error), _) if error.disposition == Disposition::UnknownOutcome => return Err(error.into()),
                (Err(error), Some(trial)) => {
                    trial.endpoint = None;
                    trial.evidence.gap(format!("brokers did not take a credential of Weir's for {user}: {error}"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Lets it be known that the principal is refused because Weir tries it.
    fn try_as(&self, principal: &str) {
        let lasts = SignedDuration::try_from(IN_TURN).unwrap_or_default();
        self.handle.state().on_trial.begin(principal, Timestamp::now(), lasts);
    }

    /// Takes what came of an attempt.
    pub(super) fn answered(&mut self, principal: &str, (attempt, addresses): Answer) {
        self.handle.state().on_trial.end(principal, Timestamp::now());
        let lifetime = self.handle.state().facts.as_ref().and_then(|f| f.session_lifetime_seconds);
        let Some(trial) = self.departures.trials.get_mut(principal) else { return };
        let now = Timestamp::now();
        let stage = if self.departures.stages.get(principal) == Some(&Stage::Denying) {
            if !trial.evidence.tried(attempt, &trial.topics, now) {
                trial.endpoint = None;
            }
            if let Some(hosts) = &trial.hosts {
                trial.evidence.tried_from_elsewhere(hosts);
            }
            trial.addresses = addresses;
            Stage::Denied
        } else {
            trial.evidence.tried_login(attempt, lifetime.map(SignedDuration::from_secs), now);
            Stage::Refused
        };
        self.departures.stages.insert(principal.to_owned(), stage);
        self.show(principal);
    }

    /// Shows others what is proven so far.
    fn show(&self, principal: &str) {
        let Some(Trial { uid, evidence, .. }) = self.departures.trials.get(principal) else { return };
        let Some(record) = self.ledger.clients.get(uid) else { return };
        let is_back = self.is_alive(&self.context.world.index(), uid, record);
        if !is_back {
            let mut state = self.handle.state();
            state.evidence.entry(uid.clone()).or_default().insert(principal.to_owned(), evidence.clone());
        }
        self.context.world.reconcile_client(&record.key());
    }

    /// Removes SCRAM users from the brokers; that each of them did it is seen later.
    async fn tell_to_forget(&mut self, users: Vec<String>) -> Result<(), SessionError> {
        if users.is_empty() {
            return Ok(());
        }
        self.context.may_write()?;
        let mechanism = ScramMechanism::Sha512;
        let changes: Vec<_> = users.iter().cloned().map(|user| ScramChange::Delete { user, mechanism }).collect();
        for (user, result) in users.into_iter().zip(self.admin.alter_scram(&changes).await?) {
            result?;
            self.departures.stages.insert(user, Stage::Told);
        }
        self.look_again_at(Instant::now());
        Ok(())
    }

    /// Strikes versions from the ledger that left, and the records of identities that will not come again.
    async fn write_forgotten(
        &mut self,
        gone: BTreeMap<String, Vec<String>>,
        orphans: &BTreeSet<String>,
    ) -> Result<(), SessionError> {
        let mut changes = Vec::new();
        let mut revoked = Vec::new();
        let uids: BTreeSet<_> = gone.keys().chain(orphans).cloned().collect();
        for uid in uids {
            let Some(record) = self.ledger.clients.get(&uid) else { continue };
            let principals = gone.get(&uid).cloned().unwrap_or_default();
            let after = rotation::forgotten(record, &principals);
            let is_without = orphans.contains(&uid) && after.versions.is_empty();
            let over = is_without && !self.context.world.index().may_return(&record.key());
            if is_without {
                let mut state = self.handle.state();
                state.credentials.remove(&uid);
                state.client_problems.remove(&uid);
            }
            if !principals.is_empty() {
                revoked.push((uid.clone(), record.key(), principals));
            } else if !over {
                continue;
            }
            changes.push(Change::Client(uid, (!over).then_some(after)));
        }
        self.commit(changes.clone()).await?;
        self.announce(changes);
        let (mut told, mut owners) = (Vec::new(), Vec::new());
        for (uid, key, principals) in revoked {
            self.handle.state().known_identities.retain(|p| !principals.contains(p));
            told.extend(self.said_of(&key, uid, principals));
            owners.push(key);
        }
        self.context.record_all(told).await;
        owners.iter().for_each(|key| self.context.world.reconcile_client(key));
        Ok(())
    }

    /// That versions left, and what was proven of them: events with their keys.
    fn said_of(&mut self, key: &ObjectKey, uid: String, principals: Vec<String>) -> Vec<(Happening, String)> {
        let message = format!("every broker was seen without {}", principals.join(", "));
        let happening = Happening::new(Action::CredentialRevoked, self.object_of(key, uid), "Retired", message)
            .on(self.cluster)
            .of(principals.clone());
        let mut said = vec![(happening.clone(), principals.join(","))];
        for principal in principals {
            self.departures.stages.remove(&principal);
            let Some(Trial { evidence, .. }) = self.departures.trials.remove(&principal) else { continue };
            let proof = Happening {
                action: Action::RevocationProbed,
                outcome: if evidence.against.is_empty() { Outcome::Success } else { Outcome::Failure },
                reason: format!("{:?}", evidence.proven()),
                message: evidence.said(),
                principals: vec![principal.clone()],
                ..happening.clone()
            };
            said.push((proof, format!("probed/{principal}")));
        }
        said
    }

    /// What a version was issued to: a client, or a share, for a partner or for copying; or a cluster, for the workers that copy to
    /// it.
    fn object_of(&self, key: &ObjectKey, uid: String) -> ObjectRef {
        let index = self.context.world.index();
        if let Some((share, _)) = share_of_guest(key) {
            // So that it is found among what happened to the share.
            let uid = index.share(&share).and_then(|s| s.uid());
            return object_ref("ExternalShare", &share, uid);
        }
        match engine_of_worker(key) {
            Some(engine) => {
                let uid = index.cluster(&engine.cluster).and_then(|c| c.uid());
                object_ref("StreamCluster", &ObjectKey::new("", engine.cluster), uid)
            }
            None => object_ref("StreamClient", key, Some(uid)),
        }
    }
}
