//! The workers of an engine: their certificates, their files and their pods.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tracing::warn;

use super::credentials::{self, Outcome};
use super::round::{Copying, Engine, RoundError, is_known};
use crate::api::{MirrorMaker2, StreamClient};
use crate::domain::engine::Worker;
use crate::domain::replication::connector::Login;
use crate::domain::replication::worker::{self, PROPERTIES, REST_AUTHORITY, REST_PASSWORD, REST_STORE};
use crate::domain::secret::Secret;
use crate::k8s::workers::{Files, Workers};
use crate::pki;
use crate::replication::Credentials;

/// Keys of what Weir calls the workers with.
const CALLER_CERTIFICATE: &str = "tls.crt";
const CALLER_KEY: &str = "tls.key";
const CALLER_AUTHORITY: &str = "ca.crt";
/// What the workers read at their start, and no more.
const READ_AT_START: [&str; 4] = [PROPERTIES, REST_AUTHORITY, REST_PASSWORD, REST_STORE];
/// How often the workers are applied although nothing changed, so that what others changed comes back.
const APPLIED: Duration = Duration::from_secs(60);

/// By share's UID, how its source and its target log in.
pub(super) type Logins = BTreeMap<String, (Option<Login>, Option<Login>)>;

/// What was done last.
#[derive(Default)]
pub(super) struct Applied {
    /// The Deployment, by its spec and the hash of what it reads at its start.
    deployment: Option<(MirrorMaker2, String, Instant)>,
    /// The hash of the other files that the pods were shown.
    files: Option<String>,
}

impl Engine {
    /// Has the workers be as they should. Returns what to call them with, and how copiers log in; `None` while they themselves
    /// cannot.
    pub(super) async fn deploy(
        &mut self,
        workers: &Workers,
        spec: &MirrorMaker2,
        worker: Option<&Worker>,
        copying: &[Copying],
        before: Files,
    ) -> Result<(Credentials, Option<Logins>), RoundError> {
        let mut files = before.clone();
        let caller = pair(workers, &mut files).await?;
        let (own, logins, publications) = self.advance_all(worker, copying, &mut files);
        self.keep_only(worker, copying, &mut files);
        if let (Some(own), Some(worker)) = (&own, worker) {
            let login = files.get(&own.file).cloned().unwrap_or_else(|| Secret::new(""));
            files.insert(PROPERTIES.to_owned(), worker::properties(&worker.uid, &login, own.ca_pem.as_deref()));
        }
        if files != before {
            workers.put_files(&files).await?;
        }
        publications.into_iter().for_each(credentials::Publication::tell);
        if own.is_none() {
            return Ok((caller, None));
        }
        self.apply(workers, spec, &files).await?;
        Ok((caller, Some(logins)))
    }

    /// Takes the next step in the life of each credential.
    fn advance_all(
        &self,
        worker: Option<&Worker>,
        copying: &[Copying],
        files: &mut Files,
    ) -> (Option<Login>, Logins, Vec<credentials::Publication>) {
        let mut publications = Vec::new();
        let mut step = |client: Option<&StreamClient>| {
            let outcome = client.map(|c| credentials::advance(&self.context, c, files)).unwrap_or_default();
            let Outcome { login, problems, publication } = outcome;
            publications.extend(publication);
            for problem in problems {
                warn!(problem = %problem.message, "a credential cannot be issued");
            }
            login
        };
        let own = step(worker.map(|w| w.client.as_ref()));
        let logins = copying.iter().map(|c| {
            let [source, target] = c.clients();
            (c.uid(), (step(source), step(target)))
        });
        let logins = logins.collect();
        (own, logins, publications)
    }

    /// Takes out the files of whoever has no credential any more.
    fn keep_only(&self, worker: Option<&Worker>, copying: &[Copying], files: &mut Files) {
        let mut living: Vec<_> = worker.iter().map(|w| w.uid.as_str()).collect();
        for c in copying {
            let keeps = c.copy.source.client.is_some() || !is_known(&self.context, c);
            living.extend([c.copy.source.uid.as_str(), c.copy.target.uid.as_str()].into_iter().filter(|_| keeps));
        }
        credentials::keep_only(files, &living, &READ_AT_START);
    }

    async fn apply(&mut self, workers: &Workers, spec: &MirrorMaker2, files: &Files) -> Result<(), RoundError> {
        let at_start = hash(files.iter().filter(|(file, _)| READ_AT_START.contains(&file.as_str())));
        let is_applied = self
            .applied
            .deployment
            .as_ref()
            .is_some_and(|(was, hash, at)| was == spec && *hash == at_start && at.elapsed() < APPLIED);
        if !is_applied {
            workers.deploy(spec, &at_start).await?;
            self.applied.deployment = Some((spec.clone(), at_start, Instant::now()));
        }
        let others = hash(files.iter().filter(|(file, _)| !READ_AT_START.contains(&file.as_str())));
        if self.applied.files.as_ref() != Some(&others) {
            workers.show_files(&others).await?;
            self.applied.files = Some(others);
        }
        Ok(())
    }
}

fn hash<'a>(files: impl Iterator<Item = (&'a String, &'a Secret)>) -> String {
    let mut hash = Sha256::new();
    for (file, text) in files {
        hash.update(file);
        hash.update(text.expose());
    }
    hex::encode(&hash.finalize()[..16])
}

/// The certificates of workers and caller, made where they are missing or old.
async fn pair(workers: &Workers, files: &mut Files) -> Result<Credentials, RoundError> {
    let known = workers.caller().await?.as_ref().and_then(caller);
    if let Some(known) = known
        && files.get(REST_AUTHORITY).is_some_and(|ca| ca.expose() == known.ca_pem)
        && files.contains_key(REST_STORE)
        && !pki::is_pair_old(&known.ca_pem, Timestamp::now())
    {
        return Ok(known);
    }
    let pair = pki::pair(&[workers.host()]).map_err(RoundError::Certificate)?;
    let caller = Files::from([
        (CALLER_AUTHORITY.to_owned(), Secret::new(&pair.authority_pem)),
        (CALLER_CERTIFICATE.to_owned(), Secret::new(&pair.caller_pem)),
        (CALLER_KEY.to_owned(), pair.caller_key_pem.clone()),
    ]);
    workers.put_caller(&caller).await?;
    files.insert(REST_STORE.to_owned(), Secret::new(STANDARD.encode(&pair.server_store)));
    files.insert(REST_PASSWORD.to_owned(), Secret::new(format!("password={}\n", pair.password.expose())));
    files.insert(REST_AUTHORITY.to_owned(), Secret::new(&pair.authority_pem));
    Ok(Credentials { ca_pem: pair.authority_pem, certificate_pem: pair.caller_pem, key_pem: pair.caller_key_pem })
}

fn caller(files: &Files) -> Option<Credentials> {
    let text = |key: &str| files.get(key).map(|s| s.expose().to_owned());
    Some(Credentials {
        ca_pem: text(CALLER_AUTHORITY)?,
        certificate_pem: text(CALLER_CERTIFICATE)?,
        key_pem: files.get(CALLER_KEY)?.clone(),
    })
}
