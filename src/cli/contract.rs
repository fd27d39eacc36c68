//! Prints the data contract of a share with a partner.

use anyhow::Context;
use clap::Args;
use kube::api::{ListParams, ObjectMeta};
use kube::{Api, Client};
use serde_json::Value;

use super::decide::share_with;
use crate::api::{DataProduct, Partner, PartnerSpec, PartnerStanding};
use crate::domain::contract::contract;

/// Which one.
#[derive(Args, Debug)]
pub struct Contract {
    /// The ExternalShare
    share: String,
    /// The Partner
    #[arg(long)]
    partner: String,
}

/// Prints it.
///
/// # Errors
/// The share or its products cannot be read, or it is not for the partner.
pub async fn print(client: &Client, namespace: &str, of: &Contract) -> anyhow::Result<()> {
    let Contract { share: name, partner } = of;
    let (share, known) = share_with(client, namespace, name, partner).await?;
    let status = share.status.iter().flat_map(|s| &s.partners).find(|p| p.name == *partner);
    // Of a Partner, owners see what their shares say of it.
    let organisation = status.and_then(|p| p.organisation.clone()).unwrap_or_default();
    let partner = Partner {
        metadata: ObjectMeta { name: Some(known.name), uid: Some(known.uid), ..ObjectMeta::default() },
        spec: PartnerSpec {
            organisation,
            contacts: Vec::new(),
            networks: Vec::new(),
            agreements: Vec::new(),
            standing: PartnerStanding::default(),
        },
        status: None,
    };
    let products: Api<DataProduct> = Api::namespaced(client.clone(), namespace);
    let products = products.list(&ListParams::default()).await.context("failed to list DataProducts")?;
    print_contract(&contract(&share, &partner, &products.iter().collect::<Vec<_>>()))
}

/// As YAML, which is how contracts are kept.
pub fn print_contract(contract: &Value) -> anyhow::Result<()> {
    print!("{}", serde_yaml::to_string(contract).context("failed to print the contract")?);
    Ok(())
}
