//! What auditors do: prove the audit topic, take events out of it, and put together what happened to one thing.

mod evidence;
mod export;
mod topic;
mod types;
mod verify;

use clap::Subcommand;
use kube::Client;

/// Commands about the audit topic.
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Prove that the audit topic is what Weir wrote, or name the first break
    Verify(verify::Verify),
    /// Print events of the audit topic, oldest first
    Export(export::Export),
    /// Print what happened to one request, share or client, from the first wish to the proof of its end
    Evidence(evidence::Evidence),
    /// Print every type of event, as a table in Markdown
    Types,
}

/// Does it.
///
/// # Errors
/// Says what did not work, and what to do.
pub async fn execute(
    command: Audit,
    connect: impl Future<Output = anyhow::Result<(Client, String)>>,
) -> anyhow::Result<()> {
    match command {
        Audit::Verify(of) => verify::verify(&connect.await?.0, of).await,
        Audit::Export(of) => export::export(&connect.await?.0, of).await,
        Audit::Evidence(of) => {
            let (client, namespace) = connect.await?;
            evidence::evidence(&client, &namespace, of).await
        }
        Audit::Types => types::print(),
    }
}
