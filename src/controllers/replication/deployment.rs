//! The workers of an engine: their files, and, where Weir runs them, their certificates and their pods.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tracing::warn;

use super::credentials::{self, Outcome, Shape};
use super::round::{Copying, Engine, RoundError, Snapshot, is_known};
use crate::api::{MirrorMaker2, StreamClient};
use crate::domain::engine::{Carrier, Worker};
use crate::domain::replication::connector::{Login, Part, file_of};
use crate::domain::replication::worker::{self, PROPERTIES, REST_AUTHORITY, REST_PASSWORD, REST_STORE};
use crate::domain::secret::Secret;
use crate::k8s::files::{Files, FilesSecret};
use crate::k8s::workers::Workers;
use crate::pki;
use crate::ports::RestEndpoint;

/// Keys of what Weir calls the workers with.
const CALLER_CERTIFICATE: &str = "tls.crt";
const CALLER_KEY: &str = "tls.key";
const CALLER_AUTHORITY: &str = "ca.crt";
/// What the workers read at their start, and no more.
const READ_AT_START: [&str; 4] = [PROPERTIES, REST_AUTHORITY, REST_PASSWORD, REST_STORE];
/// How often the workers are applied although nothing changed, so that what others changed comes back.
const APPLIED: Duration = Duration::from_secs(60);

/// How to call the workers, and how copiers log in; the latter `None` while the workers themselves cannot.
pub(super) type Reached = (RestEndpoint, Option<Logins>);
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
    /// Has the workers that Weir runs be as they should.
    pub(super) async fn deploy(
        &mut self,
        workers: &Workers,
        now: &Snapshot,
        before: Files,
    ) -> Result<Reached, RoundError> {
        let (worker, copying) = (now.worker.as_deref(), now.copying.as_slice());
        let mut files = before.clone();
        let caller = pair(workers, &mut files).await?;
        let (own, logins, publications) = self.advance_all(Shape::Properties, worker, copying, &mut files);
        self.keep_only(worker, copying, &mut files);
        if let (Some(own), Some(worker)) = (&own, worker) {
            let login = files.get(&file_of(&own.files, Part::Properties)).cloned().unwrap_or_else(|| Secret::new(""));
            files.insert(PROPERTIES.to_owned(), worker::properties(&worker.uid, &login, own.ca_pem.as_deref()));
        }
        if files != before {
            workers.files().write(&files).await?;
        }
        publications.into_iter().for_each(credentials::Publication::tell);
        let (Carrier::Own(spec), Some(_)) = (&now.carrier, own) else { return Ok((caller, None)) };
        self.apply(workers, spec, &files).await?;
        Ok((caller, Some(logins)))
    }

    /// The same with workers that somebody else runs: they are given the files of those who copy, and nothing else. `files` are
    /// what they were shown before.
    pub(super) async fn hand_over(
        &mut self,
        shown: &FilesSecret,
        shape: Shape,
        copying: &[Copying],
        files: &mut Files,
    ) -> Result<Logins, RoundError> {
        let before = files.clone();
        let (_, logins, publications) = self.advance_all(shape, None, copying, files);
        self.keep_only(None, copying, files);
        if *files != before {
            shown.write(files).await?;
        }
        publications.into_iter().for_each(credentials::Publication::tell);
        Ok(logins)
    }

    /// Takes the next step in the life of each credential.
    fn advance_all(
        &self,
        shape: Shape,
        worker: Option<&Worker>,
        copying: &[Copying],
        files: &mut Files,
    ) -> (Option<Login>, Logins, Vec<credentials::Publication>) {
        let mut publications = Vec::new();
        let mut step = |client: Option<&StreamClient>| {
            let outcome = client.map(|c| credentials::advance(&self.context, c, shape, files)).unwrap_or_default();
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
async fn pair(workers: &Workers, files: &mut Files) -> Result<RestEndpoint, RoundError> {
    let known = workers.caller().read().await?.and_then(|files| Caller::read(&files));
    if let Some(known) = known
        && files.get(REST_AUTHORITY).is_some_and(|ca| ca.expose() == known.ca_pem)
        && files.contains_key(REST_STORE)
        && !pki::is_pair_old(&known.ca_pem, Timestamp::now())
    {
        return Ok(known.of(workers));
    }
    let pair = pki::pair(&[workers.host()]).map_err(RoundError::Certificate)?;
    let caller = Caller { ca_pem: pair.authority_pem, certificate_pem: pair.caller_pem, key_pem: pair.caller_key_pem };
    workers.caller().write(&caller.files()).await?;
    files.insert(REST_STORE.to_owned(), Secret::new(STANDARD.encode(&pair.server_store)));
    files.insert(REST_PASSWORD.to_owned(), Secret::new(format!("password={}\n", pair.password.expose())));
    files.insert(REST_AUTHORITY.to_owned(), Secret::new(&caller.ca_pem));
    Ok(caller.of(workers))
}

/// What Weir calls workers of its own with.
struct Caller {
    ca_pem: String,
    certificate_pem: String,
    key_pem: Secret,
}

impl Caller {
    fn read(files: &Files) -> Option<Self> {
        let text = |key: &str| files.get(key).map(|s| s.expose().to_owned());
        Some(Self {
            ca_pem: text(CALLER_AUTHORITY)?,
            certificate_pem: text(CALLER_CERTIFICATE)?,
            key_pem: files.get(CALLER_KEY)?.clone(),
        })
    }

    fn files(&self) -> Files {
        Files::from([
            (CALLER_AUTHORITY.to_owned(), Secret::new(&self.ca_pem)),
            (CALLER_CERTIFICATE.to_owned(), Secret::new(&self.certificate_pem)),
            (CALLER_KEY.to_owned(), self.key_pem.clone()),
        ])
    }

    fn of(self, workers: &Workers) -> RestEndpoint {
        let client = Some((self.certificate_pem, self.key_pem));
        RestEndpoint { url: workers.url(), ca_pem: Some(self.ca_pem), client, basic: None }
    }
}
