//! Puts together what happened to one thing: who asked, who approved, what was given and when, when it ended, and what was proven.

use std::fmt::Debug;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use jiff::Timestamp;
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::topic::{Where, find};
use crate::api::{ExternalShare, RoleBinding, SecurityEventSpec, StreamClient};
use crate::domain::audit::heard::harmless;
use crate::domain::audit::proof::Proof;
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
        proof: Proof::new(topic.public_keys, topic.known, topic.retention),
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
    match walk.proof.end(Timestamp::now()) {
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
    let uid = match kind {
        "RoleBinding" => uid::<RoleBinding>(client, namespace, name).await,
        "ExternalShare" => uid::<ExternalShare>(client, namespace, name).await,
        _ => uid::<StreamClient>(client, namespace, name).await,
    };
    uid.with_context(|| format!("failed to read {kind} {namespace}/{name}"))
}

async fn uid<K>(client: &Client, namespace: &str, name: &str) -> Result<Option<String>, kube::Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    Ok(api.get_opt(name).await?.and_then(|object| object.uid()))
}

struct Walk {
    proof: Proof,
    namespace: String,
    kind: &'static str,
    name: String,
    uid: Option<String>,
    found: Vec<(u64, SecurityEventSpec)>,
}

impl Walk {
    fn take(&mut self, stored: &Stored) -> Result<(), TopicError> {
        // What can be read is told, proven or not.
        if let Some((event, link)) = self.proof.take(stored.offset, &stored.record)
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

/// Texts of others are shown without what does something to a terminal.
fn say(sequence: u64, event: &SecurityEventSpec) {
    let by = harmless(&event.actor.name);
    println!("\n{:.0}  {:?}  by {by}  (record {sequence})", event.time.0, event.action);
    println!("    {}: {}", harmless(&event.reason), harmless(&event.message));
    let lists = [("asked for by", &event.requested_by), ("principals", &event.principals), ("entries", &event.entries)];
    for (what, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
        println!("    {what}: {}", harmless(&list.join("; ")));
    }
}
