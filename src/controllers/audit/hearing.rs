//! What brokers refuse clients: heard from the intake, counted in windows, told when a window closes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;

use crate::audit::intake::{Digested, Heard, Known, Taken, Tokens, digest};
use crate::controllers::context::Context;
use crate::domain::audit::bursts::Bursts;
use crate::domain::audit::callers::Callers;
use crate::domain::audit::denied::{burst, happening};
use crate::domain::audit::heard::Refusal;
use crate::domain::audit::windows::{Closed, Windows};
use crate::k8s::credentials::CredentialsError;
use crate::k8s::reports::Reports;

/// How often it is looked for windows that are over.
const EVERY: Duration = Duration::from_secs(1);
/// How often it is looked for reports of the partner API.
const REPORTS_EVERY: Duration = Duration::from_secs(5);
/// How often the Secrets with tokens are read.
const TOKENS_EVERY: Duration = Duration::from_secs(10);
/// How often they are read at most, where somebody shows tokens that are not known.
const TOKENS_AT_MOST: Duration = Duration::from_secs(1);
/// How long after it began to lead an instance hears of what the one before tried.
const OF_FORMER: SignedDuration = SignedDuration::from_mins(2);

/// Counts what is heard, and tells of it and of the intake's `callers`. What Weir tries itself, from its `own` address, is not told.
/// Returns once the process is to end, and all that was heard until then is on record.
pub async fn hear(context: Arc<Context>, mut heard: mpsc::Receiver<Heard>, callers: Arc<Callers>, own: Option<IpAddr>) {
    let mut counted = Counted { own: own.map(|address| address.to_canonical().to_string()), ..Counted::default() };
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {
                let now = Timestamp::now();
                tell(&context, [counted.windows.close(now), callers.close(now)].concat()).await;
            }
            Some(post) = heard.recv() => counted.take(&context, post).await,
            () = context.shutdown.cancelled() => break,
        }
    }
    // What comes now is sent again, to another instance.
    heard.close();
    while let Some(post) = heard.recv().await {
        counted.take(&context, post).await;
    }
    tell(&context, [counted.windows.close_all(), callers.close_all()].concat()).await;
}

#[derive(Default)]
struct Counted {
    windows: Windows,
    bursts: Bursts,
    own: Option<String>,
}

impl Counted {
    async fn take(&mut self, context: &Context, post: Heard) {
        let Heard { cluster, refusals, .. } = &post;
        let now = Timestamp::now();
        let mut told = Vec::new();
        for refusal in self.of_others(context, cluster, refusals, now) {
            self.windows.take(cluster, refusal, now);
            told.extend(self.bursts.take(cluster, refusal, now));
            context.trail.counts.refusals.fetch_add(1, Ordering::Relaxed);
        }
        let told: Vec<_> = {
            let index = context.world.index();
            told.iter().map(|b| burst(&index, b)).collect()
        };
        context.record_all(told).await;
    }

    /// Without what Weir tries itself: as nobody, and as somebody whose access has ended.
    fn of_others<'a>(
        &self,
        context: &Context,
        cluster: &str,
        refusals: &'a [Refusal],
        now: Timestamp,
    ) -> Vec<&'a Refusal> {
        let mut others: Vec<_> = refusals.iter().collect();
        // One lock after the other.
        if let Some(handle) = context.world.handle(cluster) {
            let state = handle.state();
            others.retain(|refusal| !state.on_trial.has(refusal, self.own.as_deref(), now));
        }
        // What the leader before tried is not known: it may be any of those whose removal it left under way. Logins of its own that
        // brokers name nobody of are told.
        if now < context.running_since + OF_FORMER {
            let index = context.world.index();
            others.retain(|refusal| refusal.principal.as_deref().is_none_or(|p| !index.is_leaving(cluster, p)));
        }
        others
    }
}

async fn tell(context: &Context, closed: Vec<Closed>) {
    let told: Vec<_> = {
        let index = context.world.index();
        closed.iter().map(|closed| happening(&index, closed)).collect()
    };
    context.record_all(told).await;
}

/// Tells whom the partner API turned away, for ever: another process reports it.
pub async fn turned_away(context: Arc<Context>, reports: Reports) {
    loop {
        let told = async {
            if let Some((closed, emptied)) = reports.waiting().await? {
                tell(&context, closed).await;
                reports.told(&emptied).await?;
            }
            Ok::<_, kube::Error>(())
        };
        if let Err(error) = told.await {
            warn!(%error, "failed to find out whom the partner API turned away");
        }
        sleep(REPORTS_EVERY).await;
    }
}

/// Keeps the tokens as the Secrets have them, for ever.
pub async fn tokens(context: Arc<Context>, tokens: Tokens) {
    let mut faults: BTreeMap<String, String> = BTreeMap::new();
    // By cluster: the Secret, and what stood in it.
    let mut before: BTreeMap<String, (String, Vec<Digested>)> = BTreeMap::new();
    loop {
        let begun = Instant::now();
        let (mut read, mut known, mut wrong) = (BTreeMap::new(), Known::new(), BTreeMap::new());
        for (cluster, secret) in secrets(&context) {
            let taken = match context.secrets.tokens(&secret).await {
                Ok(of) => Taken { digests: of.iter().map(|token| digest(token)).collect(), is_certain: true },
                Err(error) => {
                    let stays = before.get(&cluster).filter(|(of, _)| *of == secret).map(|(_, of)| of.clone());
                    let is_asked = !matches!(error, CredentialsError::Unreadable { .. });
                    wrong.insert(cluster.clone(), error.to_string());
                    // In doubt nobody may post; while nobody can tell, who could before still can.
                    let digests = if is_asked { Vec::new() } else { stays.unwrap_or_default() };
                    Taken { digests, is_certain: is_asked }
                }
            };
            read.insert(cluster.clone(), (secret, taken.digests.clone()));
            known.insert(cluster, taken);
        }
        for (cluster, why) in wrong.iter().filter(|(cluster, why)| faults.get(*cluster) != Some(why)) {
            let posting = known.get(cluster).map_or(0, |taken| taken.digests.len());
            warn!(cluster, why, tokens = posting, "the tokens for logs of this cluster's brokers cannot be read");
        }
        (before, faults) = (read, wrong);
        tokens.set(begun, known);
        sleep(TOKENS_AT_MOST).await;
        let _ = timeout(TOKENS_EVERY - TOKENS_AT_MOST, tokens.wanted()).await;
    }
}

/// By cluster, the Secret with its tokens.
fn secrets(context: &Context) -> Vec<(String, String)> {
    let index = context.world.index();
    let of = |name: &str| {
        let secret = index.cluster_spec(name)?.broker_logs.as_ref()?.token_secret_ref.as_ref()?.name.clone();
        Some((name.to_owned(), secret))
    };
    index.cluster_names().filter_map(of).collect()
}
