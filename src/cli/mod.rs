//! What people do with `weir`, or as `kubectl weir`: with their own rights, by their kubeconfig.

mod audit;
mod contract;
mod decide;
mod invite;
mod partner;
mod requests;

use anyhow::Context;
use clap::{Args, Subcommand};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};

use crate::api::Decision;

/// Where, and as whom.
#[derive(Args, Debug)]
pub struct Target {
    /// Namespace; that of the current context by default
    #[arg(short, long, global = true)]
    namespace: Option<String>,
    /// Context of the kubeconfig
    #[arg(long, global = true)]
    context: Option<String>,
    /// Act as this user, as kubectl does: takes the right to impersonate
    #[arg(long = "as", value_name = "USER", global = true)]
    user: Option<String>,
}

/// Commands for people.
#[derive(Debug, Subcommand)]
pub enum People {
    /// What a partner does, without any access to Kubernetes
    Partner(partner::Partner),
    /// Prove the audit topic, and take events out of it
    #[command(subcommand)]
    Audit(audit::Audit),
    #[command(flatten)]
    Colleagues(Colleagues),
}

/// Commands for those who have access to Kubernetes.
#[derive(Debug, Subcommand)]
pub enum Colleagues {
    /// List what waits for an approval in a namespace
    Requests(requests::Requests),
    /// Approve what waits: what comes later needs another approval
    Approve(decide::Approve),
    /// Deny a request, whatever was approved of it
    Deny(decide::Against),
    /// Take back what a request was given, at once
    Revoke(decide::Against),
    /// Print the data contract (ODCS v3.1.0) of a share with a partner
    Contract(contract::Contract),
    /// Invite a partner to a share: prints, once, what the partner answers with
    Invite(invite::Invite),
}

/// Does it.
///
/// # Errors
/// Says what did not work, and what to do.
pub async fn execute(command: People, target: Target) -> anyhow::Result<()> {
    let command = match command {
        People::Partner(partner) => return partner::execute(partner).await,
        People::Audit(command) => return audit::execute(command, connect(target)).await,
        People::Colleagues(command) => command,
    };
    let (client, namespace) = connect(target).await?;
    match command {
        Colleagues::Requests(which) => requests::list(&client, &namespace, &which).await,
        Colleagues::Approve(what) => decide::approve(&client, &namespace, what).await,
        Colleagues::Deny(what) => decide::against(&client, &namespace, what, Decision::Denied).await,
        Colleagues::Revoke(what) => decide::against(&client, &namespace, what, Decision::Revoked).await,
        Colleagues::Contract(of) => contract::print(&client, &namespace, &of).await,
        Colleagues::Invite(whom) => invite::invite(&client, &namespace, whom).await,
    }
}

async fn connect(target: Target) -> anyhow::Result<(Client, String)> {
    let mut config = match target.context {
        Some(context) => {
            let kubeconfig = Kubeconfig::read().context("failed to read the kubeconfig")?;
            let options = KubeConfigOptions { context: Some(context), ..KubeConfigOptions::default() };
            Config::from_custom_kubeconfig(kubeconfig, &options).await.context("failed to read the kubeconfig")?
        }
        None => Config::infer().await.context("failed to find out how to reach the API server")?,
    };
    config.auth_info.impersonate = target.user.or(config.auth_info.impersonate);
    let namespace = target.namespace.unwrap_or_else(|| config.default_namespace.clone());
    Ok((Client::try_from(config).context("failed to reach the API server")?, namespace))
}

/// Whom the API server takes one for.
async fn me(client: &Client) -> anyhow::Result<String> {
    let reviews: Api<SelfSubjectReview> = Api::all(client.clone());
    let (params, empty) = (PostParams::default(), SelfSubjectReview::default());
    let review = reviews.create(&params, &empty).await.context("failed to ask the API server for one's own name")?;
    review.status.and_then(|s| s.user_info).and_then(|u| u.username).context("the API server gives one no name")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::People;

    #[derive(Parser)]
    struct Cli {
        #[command(subcommand)]
        _command: People,
    }

    #[test]
    fn what_is_given_in_base64url_may_begin_with_a_dash() {
        for arguments in [
            &["weir", "partner", "look", "--invitation", "-Zm9v"][..],
            &["weir", "partner", "contract", "--invitation", "-Zm9v"],
            &["weir", "audit", "verify", "--public-key", "-Zm9v", "--public-key", "--Zm9"],
        ] {
            assert!(Cli::try_parse_from(arguments).is_ok(), "{arguments:?}");
        }
    }
}
