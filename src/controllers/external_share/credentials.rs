//! A partner's credentials: each version is issued as a client's is, and left encrypted for the partner to fetch.

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use crate::api::{ExternalShare, Reason, StreamClient};
use crate::controllers::applier::Order;
use crate::controllers::context::Context;
use crate::controllers::issuing::{Life, Turn, too_many};
use crate::controllers::reconcile::ReconcileError;
use crate::domain::bundle::Bundle;
use crate::domain::connection::{Issued, Version, authentication_of, external_listener, secret_data};
use crate::domain::ledger::{ClientRecord, VersionRecord};
use crate::domain::names::{ObjectKey, guest_key};
use crate::domain::problem::Problem;
use crate::domain::secret::Secret;
use crate::domain::share::Guest;
use crate::sealing::seal;

/// What was found and done.
#[derive(Default)]
pub struct Report {
    /// What the ledger has.
    pub record: Option<ClientRecord>,
    /// What stands in the way.
    pub problems: Vec<Problem>,
    /// When the newest version was fetched.
    pub fetched_at: Option<String>,
    /// Where the partner connects.
    pub bootstrap_servers: Vec<String>,
    /// When to look again.
    pub wake: Option<Timestamp>,
}

/// Takes the next step in the life of a partner's credentials.
///
/// # Errors
/// The API server refused or did not answer.
pub async fn advance(context: &Context, share: &ExternalShare, guest: &Guest) -> Result<Report, ReconcileError> {
    let record = context.world.index().client_record(&guest.uid).cloned();
    let mut report = Report { record, ..Report::default() };
    let Some((client, acceptance)) = guest.client.as_ref().zip(guest.acceptance.as_ref()) else { return Ok(report) };
    let mut life = match Life::of(context, client, |spec, kind| external_listener(spec, kind).is_some()) {
        // No certificate outlives the share.
        Ok(life) => Life { authority: life.authority.into_iter().chain(guest.ends_at).min(), ..life },
        Err(problem) => {
            report.problems.push(problem);
            return Ok(report);
        }
    };
    report.record.clone_from(&life.record);
    report.bootstrap_servers = bootstrap_servers(context, client);
    let bundle = context.bundles.get(&guest.uid).await?.filter(|b| b.recipient == acceptance.recipient);
    let key = guest_key(&context.world.index().key_of(share), &guest.partner);
    let turn = life.turn(context, client, &key, bundle.as_ref().map(|b| b.fingerprint.as_str()));
    report.fetched_at = bundle.and_then(|b| b.fetched_at);
    let Life { handle, record, problem, .. } = life;
    let has_current = record.as_ref().is_some_and(|r| r.current().is_some());
    match turn {
        Turn::Waits(why) => {
            // After a failure the next try waits; without one, the record that comes wakes this share at once.
            report.wake = problem.is_some().then(|| Timestamp::now() + SignedDuration::from_secs(5));
            report.waits(has_current, why);
        }
        Turn::Publish(version, issued) => {
            if let Some(files) = files(context, client, &version, &issued) {
                match seal(&acceptance.recipient, &files) {
                    Ok(sealed) => {
                        put(context, share, guest, &version, &acceptance.recipient, sealed).await?;
                        handle.order(Order::Published(key, version.version));
                    }
                    Err(why) => report.problems.push(Problem::invalid(Reason::Invalid, why.to_string())),
                }
            }
            report.waits(has_current, "the credential is being encrypted for the partner");
        }
        Turn::Late(at) => {
            report.wake = Some(at);
            report.problems.push(too_many(at, "asks for rotation again and again"));
        }
        Turn::Rest(next) => report.wake = next,
    }
    report.problems.extend(problem);
    Ok(report)
}

impl Report {
    /// The first credential is waited for; the next one is not, for the one before still works.
    fn waits(&mut self, has_current: bool, why: &str) {
        if !has_current {
            self.problems.push(Problem::waiting(Reason::Applying, why));
        }
    }
}

async fn put(
    context: &Context,
    share: &ExternalShare,
    guest: &Guest,
    version: &VersionRecord,
    recipient: &str,
    sealed: String,
) -> Result<(), ReconcileError> {
    let bundle = Bundle {
        guest: guest.uid.clone(),
        share: ObjectKey::new(share.namespace().unwrap_or_default(), share.name_any()),
        share_uid: share.uid().unwrap_or_default(),
        partner: guest.partner.clone(),
        version: version.version,
        fingerprint: version.fingerprint.clone(),
        recipient: recipient.to_owned(),
        sealed: Some(sealed),
        fetched_at: None,
        rotate: None,
    };
    Ok(context.bundles.put(bundle).await?)
}

/// What the partner gets: the contents of files by their names, as JSON.
fn files(context: &Context, client: &StreamClient, version: &VersionRecord, issued: &Issued) -> Option<Secret> {
    let cluster = &client.spec.cluster_ref.name;
    let credentials = &client.spec.credentials;
    let ca_pem = context.ca_pem(cluster);
    let index = context.world.index();
    let listener = external_listener(index.cluster_spec(cluster)?, authentication_of(credentials.type_))?;
    let data = secret_data(listener, ca_pem.as_deref(), &Version::of(".", version, issued, credentials));
    let files: std::collections::BTreeMap<_, _> = data.iter().map(|(name, text)| (name, text.expose())).collect();
    serde_json::to_string(&files).ok().map(Secret::new)
}

fn bootstrap_servers(context: &Context, client: &StreamClient) -> Vec<String> {
    let index = context.world.index();
    let spec = index.cluster_spec(&client.spec.cluster_ref.name);
    let kind = authentication_of(client.spec.credentials.type_);
    spec.and_then(|s| external_listener(s, kind)).map(|l| l.bootstrap_servers.clone()).unwrap_or_default()
}
