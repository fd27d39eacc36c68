//! Proves the audit topic.

use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use jiff::Timestamp;
use kube::Client;

use super::topic::{Where, find, verified};
use crate::domain::audit::checkpoint::Checkpoint;
use crate::domain::audit::proof::{Proof, Proven};

/// How often it is told how far it is.
const TELL_EVERY: u64 = 100_000;

/// Against what.
#[derive(Args, Debug)]
pub struct Verify {
    /// File with checkpoints that were kept elsewhere, one a line: each has to agree with the topic
    #[arg(long)]
    checkpoints: Option<PathBuf>,
    /// Public key that checkpoints verify with, too (Ed25519 in base64url), as one that signed before; several may be given
    #[arg(long, allow_hyphen_values = true)]
    public_key: Vec<String>,
    /// Another topic of the same cluster, as a copy
    #[arg(long)]
    topic: Option<String>,
    #[command(flatten)]
    at: Where,
}

/// Proves it, and says what was proven.
///
/// # Errors
/// Breaks that nobody confirmed; or what does not let one find out.
pub async fn verify(client: &Client, of: Verify) -> anyhow::Result<()> {
    let topic = find(client, &of.at, of.topic).await?;
    let public_keys = [topic.public_keys, of.public_key].concat();
    let mut outside: Vec<Checkpoint> = topic.known.into_iter().collect();
    if let Some(file) = &of.checkpoints {
        let text = std::fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))?;
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
            let checkpoint = verified(line, &public_keys);
            outside.push(checkpoint.with_context(|| format!("{}, line {number}", file.display()))?);
        }
    }
    let proof = Proof::new(public_keys, outside, topic.retention);
    let walk = topic.log.read((proof, 0_u64), |(proof, taken), stored| {
        proof.take(stored.offset, &stored.record);
        *taken += 1;
        if taken.is_multiple_of(TELL_EVERY) {
            eprintln!("{taken} records so far");
        }
        Ok(())
    });
    let (proof, _) = walk.await.map_err(|e| anyhow!("failed to read topic {}: {e}", topic.name))?;
    match proof.end(Timestamp::now()) {
        Ok(proven) => say(&topic.name, &proven),
        Err(broken) => bail!("topic {} is not what Weir wrote: {broken}", topic.name),
    }
    Ok(())
}

fn say(topic: &str, proven: &Proven) {
    if proven.records == 0 {
        println!("topic {topic} has no record");
        return;
    }
    println!("topic {topic}, chain {}: records {} to {}", proven.chain, proven.first, proven.records - 1);
    println!("each is behind the one that it was written behind; none is missing in between");
    for what in &proven.confirmed {
        println!("it was broken, and somebody confirmed it, as is on record behind: {what}");
    }
    if !proven.is_sealed {
        println!("the last one is not sealed with a key that is known: somebody else may have written the last ones");
    }
    if proven.first > 0 {
        println!("those before record {} are past the topic's retention", proven.first);
    }
    match proven.signed_at {
        Some(at) => println!(
            "{} records are covered by a checkpoint, signed at {at:.0}; {} came after it",
            proven.signed,
            proven.records.saturating_sub(proven.signed)
        ),
        None if proven.of_other_keys > 0 => println!(
            "{} checkpoints were signed with keys that are not known, and prove nothing: give these by --public-key",
            proven.of_other_keys
        ),
        None => {
            println!("no checkpoint covers any of them: that the end is there, and was not written anew, is not proven")
        }
    }
}
