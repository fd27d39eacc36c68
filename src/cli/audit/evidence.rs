//! Puts together what happened to one thing: who asked, who approved, what was given and when, when it ended, and what was proven.

use anyhow::{Context, anyhow, bail};
use clap::Args;
use kube::{Api, Client, ResourceExt};

use super::topic::{Where, find};
use crate::api::{ExternalShare, RoleBinding, SecurityEventSpec, StreamClient};
use crate::domain::audit::chain;
use crate::domain::audit::proof::{Break, Proof};
use crate::kafka::Stored;
use crate::ports::TopicError;

/// Of what.
#[derive(Args, Debug)]
pub struct Evidence {
    /// The thing, as rolebinding/NAME, externalshare/NAME or streamclient/NAME; also one that is gone
    thing: String,
    /// The UID, where several things had the name one after the other
    #[arg(long)]
    uid: Option<String>,
    #[command(flatten)]
    at: Where,
}

/// Prints it.
///
/// # Errors
/// The topic cannot be read or proven, or knows nothing of the thing.
pub async fn evidence(client: &Client, namespace: &str, of: Evidence) -> anyhow::Result<()> {
    let (kind, name) = parse(&of.thing)?;
    let uid = match of.uid {
        Some(uid) => Some(uid),
        None => uid_of(client, namespace, kind, name).await?,
    };
    let topic = find(client, &of.at, None).await?;
    let walk = Walk {
        proof: Proof::new(topic.public_keys, topic.known, topic.is_whole),
        broken: None,
        namespace: namespace.to_owned(),
        kind,
        name: name.to_owned(),
        uid,
        found: Vec::new(),
    };
    let walk = topic.log.read(walk, |walk, stored| walk.take(&stored)).await;
    let walk = walk.map_err(|e| anyhow!("failed to read topic {}: {e}", topic.name))?;
    if walk.found.is_empty() {
        bail!("topic {} knows nothing of {kind} {namespace}/{name}", topic.name);
    }
    println!("# {kind} {namespace}/{name}");
    for (sequence, event) in &walk.found {
        say(*sequence, event);
    }
    match walk.broken.map_or_else(|| walk.proof.end(), Err) {
        Ok(proven) => println!(
            "\nThe audit topic is proven: chain {}, {} records, {} of them covered by a signed checkpoint.",
            proven.chain, proven.records, proven.signed
        ),
        Err(broken) => bail!("what stands above is not proven: topic {} is not what Weir wrote: {broken}", topic.name),
    }
    Ok(())
}

fn parse(thing: &str) -> anyhow::Result<(&'static str, &str)> {
    let (kind, name) = thing.split_once('/').with_context(|| format!("{thing}: write it as rolebinding/NAME"))?;
    let kind = match kind.to_lowercase().as_str() {
        "rolebinding" | "rolebindings" | "srb" => "RoleBinding",
        "externalshare" | "externalshares" | "xs" => "ExternalShare",
        "streamclient" | "streamclients" | "sclient" => "StreamClient",
        other => bail!("{other}: evidence is of a rolebinding, an externalshare or a streamclient"),
    };
    Ok((kind, name))
}

/// The UID of the thing, where it is there.
async fn uid_of(client: &Client, namespace: &str, kind: &str, name: &str) -> anyhow::Result<Option<String>> {
    let failed = || format!("failed to read {kind} {namespace}/{name}");
    Ok(match kind {
        "RoleBinding" => {
            let api: Api<RoleBinding> = Api::namespaced(client.clone(), namespace);
            api.get_opt(name).await.with_context(failed)?.and_then(|o| o.uid())
        }
        "ExternalShare" => {
            let api: Api<ExternalShare> = Api::namespaced(client.clone(), namespace);
            api.get_opt(name).await.with_context(failed)?.and_then(|o| o.uid())
        }
        _ => {
            let api: Api<StreamClient> = Api::namespaced(client.clone(), namespace);
            api.get_opt(name).await.with_context(failed)?.and_then(|o| o.uid())
        }
    })
}

struct Walk {
    proof: Proof,
    broken: Option<Break>,
    namespace: String,
    kind: &'static str,
    name: String,
    uid: Option<String>,
    found: Vec<(u64, SecurityEventSpec)>,
}

impl Walk {
    fn take(&mut self, stored: &Stored) -> Result<(), TopicError> {
        if self.broken.is_none() {
            self.broken = self.proof.take(stored.offset, &stored.record).err();
        }
        // What can be read is told, proven or not.
        if let Ok((event, link)) = chain::read(&stored.record.value)
            && self.is_about(&event)
        {
            self.found.push((link.sequence, event));
        }
        Ok(())
    }

    fn is_about(&self, event: &SecurityEventSpec) -> bool {
        match &self.uid {
            Some(uid) => event.correlation.as_ref() == Some(uid) || event.object.uid.as_ref() == Some(uid),
            None => {
                event.object.kind == self.kind
                    && event.object.name == self.name
                    && event.object.namespace.as_ref() == Some(&self.namespace)
            }
        }
    }
}

fn say(sequence: u64, event: &SecurityEventSpec) {
    println!("\n{:.0}  {:?}  by {}  (record {sequence})", event.time.0, event.action, event.actor.name);
    println!("    {}: {}", event.reason, event.message);
    let lists = [("asked for by", &event.requested_by), ("principals", &event.principals), ("entries", &event.entries)];
    for (what, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
        println!("    {what}: {}", list.join("; "));
    }
}
