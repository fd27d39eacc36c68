//! What brokers refuse clients: heard from the intake, counted in windows, told when a window closes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tracing::warn;

use crate::audit::intake::{Heard, Tokens};
use crate::controllers::context::Context;
use crate::domain::audit::bursts::Bursts;
use crate::domain::audit::denied::{burst, happening, is_canary};
use crate::domain::audit::heard::Refusal;
use crate::domain::audit::windows::Windows;
use crate::domain::event::Happening;

/// How often it is looked for windows that are over.
const EVERY: Duration = Duration::from_secs(1);
/// How often the Secrets with tokens are read.
const TOKENS_EVERY: Duration = Duration::from_secs(10);

/// Counts what is heard, for ever. What comes from `own`, this instance's own address, is Weir's own trying.
pub async fn hear(context: Arc<Context>, mut heard: mpsc::Receiver<Heard>, own: Option<IpAddr>) {
    let own = own.map(|address| address.to_canonical().to_string());
    let (mut windows, mut bursts) = (Windows::default(), Bursts::default());
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => tell(&context, &mut windows).await,
            post = heard.recv() => {
                let Some(Heard { cluster, refusals }) = post else { return };
                let now = Timestamp::now();
                let mut told = Vec::new();
                for refusal in refusals.iter().filter(|r| !is_own(r, own.as_deref())) {
                    windows.take(&cluster, refusal, now);
                    told.extend(bursts.take(&cluster, refusal, now));
                    context.trail.counts.refusals.fetch_add(1, Ordering::Relaxed);
                }
                let told: Vec<_> = {
                    let index = context.world.index();
                    told.iter().map(|b| burst(&index, b)).collect()
                };
                record(&context, told).await;
            }
        }
    }
}

/// Weir tries what must be refused: as nobody, and as somebody whose access has ended.
fn is_own(refusal: &Refusal, own: Option<&str>) -> bool {
    is_canary(refusal.principal.as_deref()) || (own.is_some() && refusal.address.as_deref() == own)
}

async fn tell(context: &Context, windows: &mut Windows) {
    let told: Vec<_> = {
        let index = context.world.index();
        windows.close(Timestamp::now()).iter().map(|closed| happening(&index, closed)).collect()
    };
    record(context, told).await;
}

async fn record(context: &Context, told: Vec<(Happening, String)>) {
    let told = told.into_iter().map(|(happening, key)| async move { context.record(happening, &key).await });
    futures::future::join_all(told).await;
}

/// Keeps the tokens as the Secrets have them, for ever.
pub async fn tokens(context: Arc<Context>, tokens: Tokens) {
    let mut faults: BTreeMap<String, String> = BTreeMap::new();
    loop {
        let secrets: Vec<_> = {
            let index = context.world.index();
            let of = |name: &str| {
                let secret = index.cluster_spec(name)?.broker_logs.as_ref()?.token_secret_ref.as_ref()?.name.clone();
                Some((name.to_owned(), secret))
            };
            index.clusters().filter_map(of).collect()
        };
        let mut known = BTreeMap::new();
        let mut wrong = BTreeMap::new();
        for (cluster, secret) in secrets {
            match context.secrets.tokens(&secret).await {
                Ok(of) => drop(known.insert(cluster, of)),
                // In doubt nobody may post.
                Err(error) => drop(wrong.insert(cluster, error.to_string())),
            }
        }
        for (cluster, why) in wrong.iter().filter(|(cluster, why)| faults.get(*cluster) != Some(why)) {
            warn!(cluster, why, "nobody may post logs of this cluster's brokers");
        }
        faults = wrong;
        tokens.set(known);
        tokio::time::sleep(TOKENS_EVERY).await;
    }
}
