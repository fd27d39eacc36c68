//! Carries out what clients' credentials should be: issues versions, and lets them retire. How they leave is [`super::departure`]'s.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use kube::ResourceExt;
use sha2::{Digest, Sha256};
use tracing::{info, warn};

use super::session::{Session, SessionError, waiting};
use crate::api::{CredentialType, Reason, StreamClient};
use crate::domain::connection::Issued;
use crate::domain::event::Gain;
use crate::domain::ledger::{Change, ClientRecord, VersionRecord};
use crate::domain::names::{ObjectKey, issued_principal};
use crate::domain::problem::Problem;
use crate::domain::rotation::{self, ROTATE};
use crate::domain::secret::Secret;
use crate::pki::{Signed, sign_client_certificate};
use crate::ports::{Disposition, ScramChange, ScramMechanism};

/// Bytes of randomness in a password: 256 bits, so that its hash gives nothing away.
const PASSWORD_BYTES: usize = 32;

/// A version that is being issued.
struct Fresh {
    uid: String,
    version: u32,
    principal: String,
    issued: Issued,
}

impl Session<'_> {
    /// Lets versions retire whose time is over, and takes note of those that are in their Secrets. Returns their principals.
    pub(super) async fn settle_versions(
        &mut self,
        clients: &BTreeSet<ObjectKey>,
        published: &BTreeMap<ObjectKey, u32>,
    ) -> Result<BTreeSet<String>, SessionError> {
        let mut changes = self.retirements(clients);
        changes.extend(self.publications(published));
        self.commit(changes.clone()).await?;
        let principals = principals_of(&changes);
        self.announce(changes);
        Ok(principals)
    }

    /// Issues what was ordered. Returns the principals of those clients.
    pub(super) async fn credentials(
        &mut self,
        issue: BTreeMap<ObjectKey, u32>,
    ) -> Result<BTreeSet<String>, SessionError> {
        let mut changes = Vec::new();
        let mut fresh = Vec::new();
        for (key, after) in self.on_record(issue).await {
            if let Some((change, version)) = self.issue(&key, after).await {
                changes.push(change);
                fresh.push(version);
                self.intents.forget(&whose(&key));
            }
        }
        self.commit(changes.clone()).await?;
        let failed = self.upsert(&fresh).await?;
        self.keep_in_memory(fresh, &failed);
        let principals = principals_of(&changes);
        self.announce(changes);
        Ok(principals)
    }

    /// What is about to be issued is on record first. Where it cannot be, nothing is issued.
    async fn on_record(&mut self, issue: BTreeMap<ObjectKey, u32>) -> BTreeMap<ObjectKey, u32> {
        let credential = |(key, after): (&ObjectKey, &u32)| {
            (whose(key), vec![Gain::new(format!("Credential {key} {}", after.saturating_add(1)))])
        };
        let gains = issue.iter().map(credential).collect();
        let message = |_, what| format!("{what} credentials are about to be issued");
        let Err(problem) = self.intend(&gains, message).await else { return issue };
        for key in issue.keys() {
            if let Some(uid) = self.context.world.index().client(key).and_then(ResourceExt::uid) {
                self.refuse(key, uid, problem.clone());
            }
        }
        BTreeMap::new()
    }

    /// Takes note of why a client's credential was not issued.
    fn refuse(&self, key: &ObjectKey, uid: String, problem: Problem) {
        let before = self.handle.state().client_problems.insert(uid, problem.clone());
        // Whoever asked asks again by itself.
        if before.as_ref() != Some(&problem) {
            self.context.world.reconcile_client(key);
        }
    }

    /// Records with versions whose time is over, or whose client was deleted.
    fn retirements(&self, clients: &BTreeSet<ObjectKey>) -> Vec<Change> {
        let now = Timestamp::now();
        let index = self.context.world.index();
        let records = self.ledger.clients.iter().filter(|(_, record)| {
            clients.contains(&record.key()) || rotation::next_retirement(record).is_some_and(|at| at <= now)
        });
        records
            .filter_map(|(uid, record)| {
                let alive = self.is_alive(&index, uid, record);
                Some(Change::Client(uid.clone(), Some(rotation::retired(record, !alive, now)?)))
            })
            .collect()
    }

    fn publications(&self, published: &BTreeMap<ObjectKey, u32>) -> Vec<Change> {
        let now = Timestamp::now();
        let index = self.context.world.index();
        let mut state = self.handle.state();
        let mut changes = Vec::new();
        for (key, version) in published {
            let Some(client) = index.client(key) else { continue };
            let Some(uid) = client.uid() else { continue };
            let Some(record) =
                self.ledger.clients.get(&uid).filter(|r| r.issuing().is_some_and(|v| v.version == *version))
            else {
                continue;
            };
            state.credentials.remove(&uid);
            changes.push(Change::Client(uid, Some(rotation::published(record, &client.spec.credentials, now))));
        }
        changes
    }

    /// Makes the next version of a client's credential.
    async fn issue(&self, key: &ObjectKey, after: u32) -> Option<(Change, Fresh)> {
        let client = self.context.world.index().client(key).cloned()?;
        if client.metadata.deletion_timestamp.is_some() || client.spec.cluster_ref.name != self.cluster {
            return None;
        }
        let uid = client.uid()?;
        let record = self.ledger.clients.get(&uid);
        let last = record.map_or(0, |r| r.last_version);
        if last != after {
            return None;
        }
        let version = last + 1;
        let principal = issued_principal(client.spec.credentials.type_, key, &uid, version);
        let (issued, expires_at) = match self.make_credential(&client, &principal).await {
            Ok(made) => made,
            Err(problem) => {
                self.refuse(key, uid, problem);
                return None;
            }
        };
        let entry = VersionRecord {
            version,
            principal: principal.clone(),
            fingerprint: fingerprint(&issued),
            issued_at: Timestamp::now(),
            published: false,
            retires_at: None,
            expires_at,
            retired: false,
        };
        let template = ClientRecord {
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            kind: client.spec.credentials.type_,
            last_version: 0,
            versions: Vec::new(),
            rotate: None,
            recent: Vec::new(),
        };
        let rotate = client.annotations().get(ROTATE).map(String::as_str);
        let record = record.map(|r| rotation::pardoned(r, self.context.running_since));
        let record = rotation::issued(record.as_ref(), template, entry, rotate, &client.spec.credentials);
        info!(client = %key, version, "issuing a credential");
        self.handle.state().evidence.remove(&uid);
        Some((Change::Client(uid.clone(), Some(record)), Fresh { uid, version, principal, issued }))
    }

    /// Makes a credential, and says when it ends by itself.
    async fn make_credential(
        &self,
        client: &StreamClient,
        principal: &str,
    ) -> Result<(Issued, Option<Timestamp>), Problem> {
        match client.spec.credentials.type_ {
            CredentialType::ScramSha512 => {
                let password = password().map_err(|why| Problem::waiting(Reason::Invalid, why))?;
                Ok((Issued::Password(password), None))
            }
            CredentialType::Mtls => {
                let signer = self
                    .context
                    .world
                    .index()
                    .cluster_spec(self.cluster)
                    .and_then(|s| s.identity.mtls.as_ref().map(|m| m.signer_secret_ref.name.clone()));
                let Some(signer) = signer else {
                    return Err(Problem::invalid(
                        Reason::NoListener,
                        format!("StreamCluster {} has no identity.mtls: it issues no certificates", self.cluster),
                    ));
                };
                let (ca_pem, ca_key) = self
                    .context
                    .secrets
                    .signer(&signer)
                    .await
                    .map_err(|e| Problem::waiting(Reason::SecretInvalid, e.to_string()))?;
                let guest = ObjectKey::new(client.namespace().unwrap_or_default(), client.name_any());
                let latest = self.context.world.index().guest(&guest).and_then(|g| g.ends_at);
                sign_client_certificate(&ca_pem, &ca_key, principal, &client.spec.credentials, latest)
                    .map(|Signed { certificate_pem, key_pem, expires_at }| {
                        (Issued::Certificate { certificate_pem, key_pem }, Some(expires_at))
                    })
                    .map_err(|why| Problem::waiting(Reason::SecretInvalid, format!("Secret {signer}: {why}")))
            }
        }
    }

    /// Gives brokers again what one of them lost. Returns what could not be put on record before, to be tried again.
    pub(super) async fn restore(
        &mut self,
        mut lost: BTreeMap<String, Secret>,
    ) -> Result<BTreeMap<String, Secret>, SessionError> {
        {
            let state = self.handle.state();
            // One that was replaced while it waited is not to come back.
            let current: BTreeSet<_> =
                self.ledger.clients.values().filter_map(|r| r.current()).map(|v| &v.principal).collect();
            lost.retain(|principal, _| state.lost_identities.contains(principal) && current.contains(principal));
        }
        let gain = |principal: &String| {
            (format!("lost {principal}"), vec![Gain::of(principal, format!("Credential User:{principal}"))])
        };
        let gains = lost.keys().map(gain).collect();
        let message = |_, what| format!("{what} credentials that a broker lost are about to be given to it again");
        if let Err(problem) = self.intend(&gains, message).await {
            warn!(problem = %problem.message, "SCRAM users that a broker lost wait");
            return Ok(lost);
        }
        if lost.is_empty() {
            return Ok(lost);
        }
        gains.keys().for_each(|whose| self.intents.forget(whose));
        let principals: Vec<_> = lost.keys().cloned().collect();
        let changes = self.setting(lost);
        self.context.may_write()?;
        for (principal, result) in principals.iter().zip(self.admin.alter_scram(&changes).await?) {
            result?;
            self.handle.state().lost_identities.remove(principal);
            info!(principal, "restored a SCRAM user");
        }
        Ok(BTreeMap::new())
    }

    /// The changes that give users these passwords.
    pub(super) fn setting(&self, users: impl IntoIterator<Item = (String, Secret)>) -> Vec<ScramChange> {
        let index = self.context.world.index();
        let iterations = index.cluster_spec(self.cluster).map_or(4096, |s| s.identity.scram_iterations);
        let mechanism = ScramMechanism::Sha512;
        let upsert = |(user, password)| ScramChange::Upsert { user, mechanism, iterations, password };
        users.into_iter().map(upsert).collect()
    }

    /// Gives SCRAM credentials to the brokers. Returns the problem of each client for which that failed.
    async fn upsert(&mut self, fresh: &[Fresh]) -> Result<BTreeMap<String, Problem>, SessionError> {
        let (of, users): (Vec<_>, Vec<_>) = fresh
            .iter()
            .filter_map(|f| match &f.issued {
                Issued::Password(password) => Some((&f.uid, (f.principal.clone(), password.clone()))),
                Issued::Certificate { .. } => None,
            })
            .unzip();
        let changes = self.setting(users);
        let mut failed = BTreeMap::new();
        if changes.is_empty() {
            return Ok(failed);
        }
        self.context.may_write()?;
        for (uid, result) in of.into_iter().zip(self.admin.alter_scram(&changes).await?) {
            match result {
                Ok(()) => {}
                Err(error) if error.disposition == Disposition::UnknownOutcome => return Err(error.into()),
                Err(error) => drop(failed.insert(uid.clone(), waiting(&error))),
            }
        }
        Ok(failed)
    }

    fn keep_in_memory(&self, fresh: Vec<Fresh>, failed: &BTreeMap<String, Problem>) {
        let mut state = self.handle.state();
        for Fresh { uid, version, principal, issued } in fresh {
            if let Some(problem) = failed.get(&uid) {
                // It stays out of memory: the client is then issued another version.
                state.client_problems.insert(uid, problem.clone());
                continue;
            }
            state.client_problems.remove(&uid);
            if matches!(issued, Issued::Certificate { .. }) {
                state.known_identities.insert(principal);
            }
            state.credentials.insert(uid, (version, issued));
        }
    }
}

/// Under what it is remembered that a credential of this client is on record as about to be issued.
fn whose(client: &ObjectKey) -> String {
    format!("credential {client}")
}

/// The principals of the clients that changed.
fn principals_of(changes: &[Change]) -> BTreeSet<String> {
    let versions = changes.iter().filter_map(|change| match change {
        Change::Client(_, Some(record)) => Some(&record.versions),
        _ => None,
    });
    versions.flatten().map(|version| version.principal.clone()).collect()
}

/// A new password.
///
/// # Errors
/// The system has no randomness.
pub(super) fn password() -> Result<Secret, String> {
    let mut bytes = [0; PASSWORD_BYTES];
    getrandom::fill(&mut bytes).map_err(|e| format!("failed to get random bytes: {e}"))?;
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(bytes)))
}

/// SHA-256 of a password or certificate, in hexadecimal.
pub fn fingerprint(issued: &Issued) -> String {
    let text = match issued {
        Issued::Password(password) => password.expose(),
        Issued::Certificate { certificate_pem, .. } => certificate_pem,
    };
    hex::encode(Sha256::digest(text.as_bytes()))
}
