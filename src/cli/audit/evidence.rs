//! Puts together what happened to one thing: who asked, who approved, what was given and when, when it ended, and what was proven.

use std::collections::BTreeSet;
use std::fmt::Debug;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use jiff::Timestamp;
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::topic::{Where, find};
use crate::api::{ExternalShare, RoleBinding, SecurityEventSpec, StreamClient};
use crate::domain::audit::chain;
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
    let thing = Thing { kind, namespace: namespace.to_owned(), name: name.to_owned() };
    let there = match of.uid {
        Some(uid) => Some(uid),
        None => uid_of(client, namespace, kind, name).await?,
    };
    let topic = find(client, &of.at, None).await?;
    let unread = |e: TopicError| anyhow!("failed to read topic {}: {e}", topic.name);
    let uids = match there {
        Some(uid) => BTreeSet::from([uid]),
        // One that is gone: the record knows what was called that.
        None => {
            topic.log.read(BTreeSet::new(), move |uids, stored| thing.known_as(uids, &stored)).await.map_err(unread)?
        }
    };
    let proof = Proof::new(topic.public_keys, topic.known, topic.retention);
    let walk = Walk { proof, uids, found: Vec::new() };
    let walk = topic.log.read(walk, |walk, stored| walk.take(&stored)).await.map_err(unread)?;
    if walk.found.is_empty() {
        bail!("topic {} knows nothing of {kind} {namespace}/{name}", topic.name);
    }
    for (uid, events) in sections(&walk.found, &walk.uids) {
        println!("# {kind} {namespace}/{name}, UID {uid}");
        for (sequence, event) in events {
            say(*sequence, event);
        }
        println!();
    }
    match walk.proof.end(Timestamp::now()) {
        Ok(proven) => println!(
            "The audit topic is proven: chain {}, {} records, {} of them covered by a signed checkpoint.",
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

/// What it is about, by its name.
struct Thing {
    kind: &'static str,
    namespace: String,
    name: String,
}

impl Thing {
    fn known_as(&self, uids: &mut BTreeSet<String>, stored: &Stored) -> Result<(), TopicError> {
        if let Ok((event, _)) = chain::read(&stored.record.value) {
            uids.extend(self.uid_in(&event).cloned());
        }
        Ok(())
    }

    /// Its UID, if the event is about it.
    fn uid_in<'a>(&self, event: &'a SecurityEventSpec) -> Option<&'a String> {
        let object = &event.object;
        let is_it =
            object.kind == self.kind && object.name == self.name && object.namespace.as_ref() == Some(&self.namespace);
        object.uid.as_ref().filter(|_| is_it)
    }
}

/// Events with their places in the chain.
type Found = Vec<(u64, SecurityEventSpec)>;

/// By UID, what happened to it, and what was decided about it; in the order in which they began.
fn sections<'a>(found: &'a Found, uids: &'a BTreeSet<String>) -> Vec<(&'a String, Vec<&'a (u64, SecurityEventSpec)>)> {
    let of = |uid: &'a String| (uid, found.iter().filter(|(_, event)| concerns(event, uid)).collect::<Vec<_>>());
    let mut sections: Vec<_> = uids.iter().map(of).filter(|(_, events)| !events.is_empty()).collect();
    sections.sort_by_key(|(_, events)| events[0].0);
    sections
}

/// Whether an event is about the object with this UID, or about something that is tied to it.
fn concerns(event: &SecurityEventSpec, uid: &String) -> bool {
    event.correlation.as_ref() == Some(uid) || event.object.uid.as_ref() == Some(uid)
}

struct Walk {
    proof: Proof,
    uids: BTreeSet<String>,
    found: Found,
}

impl Walk {
    fn take(&mut self, stored: &Stored) -> Result<(), TopicError> {
        // What can be read is told, proven or not.
        if let Some((event, link)) = self.proof.take(stored.offset, &stored.record)
            && self.uids.iter().any(|uid| concerns(&event, uid))
        {
            self.found.push((link.sequence, event));
        }
        Ok(())
    }
}

/// Texts of others are shown without what does something to a terminal.
fn say(sequence: u64, event: &SecurityEventSpec) {
    let by = harmless(&event.actor.name);
    println!("\n{:.0}  {:?}  by {by}  (record {sequence})", event.time.0, event.action);
    println!("    {}: {}", harmless(&event.reason), harmless(&event.message));
    let lists = [
        ("asked for by", &event.requested_by, None),
        ("principals", &event.principals, event.principal_count),
        ("entries", &event.entries, event.entry_count),
    ];
    for (what, list, of) in lists.into_iter().filter(|(_, list, _)| !list.is_empty()) {
        let others = of.map(|of| format!("; these are the first {} of {of}", list.len())).unwrap_or_default();
        println!("    {what}: {}{others}", harmless(&list.join("; ")));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use jiff::Timestamp;

    use super::{Thing, sections};
    use crate::api::{Action, ObjectRef, SecurityEventSpec};
    use crate::domain::event::{Happening, event};

    fn told(action: Action, (kind, namespace, name): (&str, &str, &str), uid: &str) -> SecurityEventSpec {
        let namespace = Some(namespace.to_owned());
        let object = ObjectRef { kind: kind.into(), namespace, name: name.into(), uid: Some(uid.into()) };
        event(Happening::new(action, object, "r", "m"), "k", Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn of_what_is_gone_each_that_had_the_name_has_its_decisions_and_nothing_of_others() {
        let binding = ("RoleBinding", "fraud", "b");
        let mut approved = told(Action::RequestApproved, ("AccessApproval", "payments", "a"), "a1");
        approved.correlation = Some("u1".into());
        let events = [
            told(Action::AccessGranted, binding, "u2"),
            approved,
            told(Action::AccessGranted, binding, "u1"),
            told(Action::AccessGranted, ("RoleBinding", "billing", "b"), "u3"),
            told(Action::AccessGranted, ("RoleBinding", "fraud", "c"), "u4"),
        ];
        let thing = Thing { kind: "RoleBinding", namespace: "fraud".into(), name: "b".into() };
        let uids: BTreeSet<_> = events.iter().filter_map(|e| thing.uid_in(e).cloned()).collect();
        let found = (0..).zip(events).collect();
        let sections = sections(&found, &uids);
        let of: Vec<_> = sections
            .iter()
            .map(|(uid, events)| (uid.as_str(), events.iter().map(|(at, _)| *at).collect::<Vec<_>>()))
            .collect();
        assert_eq!(of, [("u2", vec![0]), ("u1", vec![1, 2])]);
    }
}
