//! What a partner does, without any access to Kubernetes: answers an invitation, fetches credentials, looks, withdraws.

mod https;
mod keys;

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};
use tabwriter::TabWriter;

use self::https::Server;
use self::keys::{Keys, write_private};
use super::contract::print_contract;
use crate::api::HistoryStart;
use crate::domain::exchange::{Accept, Because, Offer, SealedCredential, ShareState, Terms};
use crate::domain::secret::Secret;
use crate::sealing;

/// Where, and with which keys.
#[derive(Args, Debug)]
pub struct Partner {
    /// The partner API, as https://HOST:PORT
    #[arg(long, env = "WEIR_PARTNER_API", global = true, default_value = "")]
    server: String,
    /// Certificates of authorities to trust, in PEM; by default those of this machine
    #[arg(long, value_name = "FILE", global = true)]
    ca: Option<PathBuf>,
    /// Directory of the keys that are made when a share is accepted
    #[arg(long, default_value = "weir-partner", global = true)]
    keys: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what an invitation is to
    Look(Invitation),
    /// Print the data contract (ODCS v3.1.0) of an invitation, or of an accepted share
    Contract {
        /// Which share, by its id or its name; needed where there are several
        share: Option<String>,
        /// The invitation, as it was given, where it is not accepted yet; passed over where a share is named
        #[arg(long, env = "WEIR_INVITATION", hide_env_values = true, allow_hyphen_values = true)]
        invitation: Option<String>,
    },
    /// Accept it: makes keys, which from then on say who one is
    Accept(Accepting),
    /// Reject it
    Reject(Rejecting),
    /// List the shares that were accepted with these keys, and how they are
    Shares {
        /// As JSON, with everything
        #[arg(long)]
        json: bool,
    },
    /// Fetch the credential, which is handed out once, and write its files
    Credential {
        /// Which share, by its id or its name; needed where there are several
        share: Option<String>,
        /// Directory to write to
        #[arg(long, short)]
        output: PathBuf,
    },
    /// Ask for another credential; the one before goes on working for a while
    Rotate {
        /// Which share, by its id or its name; needed where there are several
        share: Option<String>,
    },
    /// Take the acceptance back, for good
    Withdraw {
        /// Which share, by its id or its name; needed where there are several
        share: Option<String>,
        /// Why, for people
        #[arg(long)]
        reason: Option<String>,
    },
}

#[derive(Args, Debug)]
struct Invitation {
    /// The invitation, as it was given; better in the environment than among the arguments, which others may see
    #[arg(long, env = "WEIR_INVITATION", hide_env_values = true, allow_hyphen_values = true)]
    invitation: String,
}

#[derive(Args, Debug)]
struct Accepting {
    #[command(flatten)]
    invitation: Invitation,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

#[derive(Args, Debug)]
struct Rejecting {
    #[command(flatten)]
    invitation: Invitation,
    /// Why, for people
    #[arg(long)]
    reason: Option<String>,
}

/// Does it.
///
/// # Errors
/// Says what did not work, and what to do.
pub async fn execute(partner: Partner) -> anyhow::Result<()> {
    if partner.server.is_empty() {
        bail!("say where the partner API is: --server https://HOST:PORT, or WEIR_PARTNER_API");
    }
    match &partner.command {
        Command::Look(invitation) => {
            let offer = partner.look(invitation, None).await?;
            print_terms(&offer.terms)
        }
        Command::Contract { share, invitation } => partner.contract(share.as_deref(), invitation.as_deref()).await,
        Command::Accept(accepting) => partner.accept(accepting).await,
        Command::Reject(rejecting) => {
            let body = json!(Because { reason: rejecting.reason.clone() });
            let server = partner.server(None, Some(&rejecting.invitation))?;
            server.call::<()>(Method::POST, "/v1/invitation/rejection", Some(body)).await?;
            println!("rejected");
            Ok(())
        }
        Command::Shares { json } => partner.shares(*json).await,
        Command::Credential { share, output } => partner.credential(share.as_deref(), output).await,
        Command::Rotate { share } => {
            let (server, share) = partner.of_share(share.as_deref()).await?;
            server.call::<()>(Method::POST, &format!("/v1/shares/{share}/rotation"), Some(json!({}))).await?;
            println!("another credential is being made: fetch it with weir partner credential");
            Ok(())
        }
        Command::Withdraw { share, reason } => {
            let (server, share) = partner.of_share(share.as_deref()).await?;
            let body = json!(Because { reason: reason.clone() });
            server.call::<()>(Method::POST, &format!("/v1/shares/{share}/withdrawal"), Some(body)).await?;
            println!("withdrawn");
            Ok(())
        }
    }
}

impl Partner {
    fn server(&self, keys: Option<&Keys>, invitation: Option<&Invitation>) -> anyhow::Result<Server> {
        let secret = invitation.map(|i| Secret::new(i.invitation.trim()));
        Server::new(&self.server, self.ca.as_deref(), keys, secret)
    }

    async fn look(&self, invitation: &Invitation, keys: Option<&Keys>) -> anyhow::Result<Offer> {
        self.server(keys, Some(invitation))?.call(Method::GET, "/v1/invitation", None).await
    }

    async fn contract(&self, share: Option<&str>, invitation: Option<&str>) -> anyhow::Result<()> {
        let invitation = invitation.filter(|secret| share.is_none() && !secret.trim().is_empty());
        let contract: Value = match invitation {
            Some(secret) => {
                let invitation = Invitation { invitation: secret.to_owned() };
                let keys = Keys::read(&self.keys).ok();
                self.server(keys.as_ref(), Some(&invitation))?
                    .call(Method::GET, "/v1/invitation/contract", None)
                    .await?
            }
            None => {
                let (server, share) = self.of_share(share).await?;
                server.call(Method::GET, &format!("/v1/shares/{share}/contract"), None).await?
            }
        };
        print_contract(&contract)
    }

    async fn accept(&self, accepting: &Accepting) -> anyhow::Result<()> {
        let known = Keys::read(&self.keys).ok();
        let offer = self.look(&accepting.invitation, known.as_ref()).await?;
        print_terms(&offer.terms)?;
        if !accepting.yes && !confirmed()? {
            bail!("not accepted");
        }
        let keys = Keys::read_or_make(&self.keys)?;
        let body = json!(Accept { terms: offer.hash, recipient: keys.recipient.clone() });
        let server = self.server(Some(&keys), Some(&accepting.invitation))?;
        let accepted: Offer = server.call(Method::POST, "/v1/invitation/acceptance", Some(body)).await?;
        println!(
            "accepted: share {} with the keys in {}; keep them, and let nobody else have them",
            accepted.terms.share,
            self.keys.display()
        );
        Ok(())
    }

    async fn all(&self) -> anyhow::Result<(Server, Vec<ShareState>)> {
        let keys = Keys::read(&self.keys)?;
        let server = self.server(Some(&keys), None)?;
        let shares = server.call(Method::GET, "/v1/shares", None).await?;
        Ok((server, shares))
    }

    /// The share that is meant.
    async fn of_share(&self, named: Option<&str>) -> anyhow::Result<(Server, String)> {
        let (server, all) = self.all().await?;
        let meant = |s: &&ShareState| named.is_none_or(|named| s.share == named || s.terms.name == named);
        let meant: Vec<_> = all.iter().filter(meant).map(|s| s.share.clone()).collect();
        match (meant.as_slice(), named) {
            ([only], _) => Ok((server, only.clone())),
            ([], Some(named)) => bail!("no share {named} was accepted with the keys in {}", self.keys.display()),
            ([], None) => bail!("no share was accepted with the keys in {}", self.keys.display()),
            (several, _) => bail!("say which share: {}", several.join(", ")),
        }
    }

    async fn shares(&self, as_json: bool) -> anyhow::Result<()> {
        let (_, all) = self.all().await?;
        if as_json {
            println!("{}", serde_json::to_string_pretty(&all)?);
            return Ok(());
        }
        let mut table = TabWriter::new(std::io::stdout());
        writeln!(table, "SHARE\tNAME\tPHASE\tTOPICS\tGROUPS\tREAD\tLAG\tCOPY BEHIND\tUNTIL\tMESSAGE")?;
        for ShareState { share, terms, state, copy } in all {
            let phase = state.as_ref().map_or_else(|| "Unknown".to_owned(), |s| format!("{:?}", s.phase));
            let topics = state.as_ref().map(|s| s.topics.join(", ")).unwrap_or_default();
            let groups =
                state.as_ref().and_then(|s| s.group_prefix.clone()).map(|p| format!("{p}*")).unwrap_or_default();
            let behind = copy.and_then(|c| c.lag_seconds).map(|s| format!("{s} s")).unwrap_or_default();
            let usage = state.as_ref().and_then(|s| s.usage.as_ref());
            let read = usage.map(|u| format!("{} since {:.0}", u.records, u.since.0)).unwrap_or_default();
            let lag = usage.map(|u| u.lag_records.to_string()).unwrap_or_default();
            let evidence = state.as_ref().and_then(|s| s.revocation.as_ref()?.evidence.clone());
            let message = state.map(|s| s.message).into_iter().chain(evidence).collect::<Vec<_>>().join("; ");
            let (name, until) = (terms.name, terms.not_after);
            writeln!(
                table,
                "{share}\t{name}\t{phase}\t{topics}\t{groups}\t{read}\t{lag}\t{behind}\t{until}\t{message}"
            )?;
        }
        table.flush().context("failed to print")
    }

    async fn credential(&self, share: Option<&str>, output: &Path) -> anyhow::Result<()> {
        let keys = Keys::read(&self.keys)?;
        // Before it is handed out, which happens once.
        std::fs::create_dir_all(output).with_context(|| format!("failed to make {}", output.display()))?;
        let (server, share) = self.of_share(share).await?;
        let path = format!("/v1/shares/{share}/credential");
        let SealedCredential { version, sealed } = server.call(Method::POST, &path, Some(json!({}))).await?;
        // It can be decrypted with age itself, should anything below fail.
        write_private(&output.join("bundle.age"), &Secret::new(&*sealed))?;
        let files = sealing::open(&keys.identity, &sealed)?;
        let files: BTreeMap<String, String> =
            serde_json::from_str(files.expose()).context("failed to read the bundle")?;
        for (name, text) in files {
            if name.contains(['/', '\\']) || name.starts_with('.') {
                bail!("the bundle has a file {name:?}, which is no plain name");
            }
            write_private(&output.join(name), &Secret::new(text))?;
        }
        println!("version {version} is in {}", output.display());
        Ok(())
    }
}

fn print_terms(terms: &Terms) -> anyhow::Result<()> {
    let mut table = TabWriter::new(std::io::stdout());
    writeln!(table, "share\t{}", terms.name)?;
    writeln!(table, "for\t{}", terms.organisation)?;
    for product in &terms.products {
        let description = product.description.as_ref().map(|d| format!(" ({d})")).unwrap_or_default();
        writeln!(table, "product\t{}{description}: {}", product.name, product.streams.join(", "))?;
        if let Some(owner) = &product.owner {
            writeln!(table, "\tby {owner}, {:?}", product.classification)?;
        }
    }
    writeln!(table, "purpose\t{}", terms.purpose.as_deref().unwrap_or("(none is named)"))?;
    let from = terms.not_before.map_or_else(|| "now".to_owned(), |at| at.to_string());
    writeln!(table, "valid\t{from} to {}", terms.not_after)?;
    let history = terms.history.as_ref().map(|h| match &h.since {
        Some(since) => format!(" of what was written since {}", since.0),
        None if h.from == HistoryStart::All => " of all that is there".to_owned(),
        None => " of what is written from then on".to_owned(),
    });
    let history = history.unwrap_or_default();
    writeln!(table, "access\t{:?}{history}, by {:?}", terms.pattern, terms.credentials)?;
    for (quota, value) in &terms.quotas {
        writeln!(table, "quota\t{quota} {value} on each broker")?;
    }
    table.flush().context("failed to print")
}

fn confirmed() -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("nobody is there to ask: look first, and accept with --yes");
    }
    print!("Accept? [y/N] ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).context("failed to read the answer")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
