//! Invites a partner to a share.

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{DeleteParams, ListParams, ObjectMeta, PostParams};
use kube::{Api, Client, ResourceExt};
use sha2::{Digest, Sha256};

use super::decide::{duration, share_with};
use super::me;
use crate::api::{Invitation, InvitationSpec, UidRef};
use crate::domain::conditions::whole_seconds;

/// Bytes of randomness in an invitation: 256 bits, which nobody guesses, and whose hash gives nothing away.
const SECRET_BYTES: usize = 32;

/// Whom.
#[derive(Args, Debug)]
pub struct Invite {
    /// The ExternalShare of the namespace
    share: String,
    /// The Partner
    #[arg(long)]
    partner: String,
    /// How long it can be answered
    #[arg(long = "for", value_name = "DURATION", value_parser = duration, default_value = "168h")]
    lasts: SignedDuration,
}

/// Makes an invitation, and prints its secret, once. The one before is void.
///
/// # Errors
/// There is no such share or partner; or the API server refuses.
pub async fn invite(client: &Client, namespace: &str, whom: Invite) -> anyhow::Result<()> {
    let Invite { share: name, partner, lasts } = whom;
    let (share, partner_ref) = share_with(client, namespace, &name, &partner).await?;
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes).map_err(|e| anyhow::anyhow!("failed to get random bytes: {e}"))?;
    let secret = URL_SAFE_NO_PAD.encode(bytes);
    let expires_at = whole_seconds(Timestamp::now() + lasts);
    let invitation = Invitation {
        metadata: ObjectMeta { generate_name: Some(format!("{name}-{partner}-")), ..ObjectMeta::default() },
        spec: InvitationSpec {
            share_ref: UidRef { name: name.clone(), uid: share.uid().unwrap_or_default() },
            partner_ref,
            secret_hash: hex::encode(Sha256::digest(&secret)),
            expires_at: Time(expires_at),
            inviter: me(client).await?,
        },
    };
    let invitations: Api<Invitation> = Api::namespaced(client.clone(), namespace);
    let made = invitations.create(&PostParams::default(), &invitation).await;
    let made =
        made.with_context(|| format!("failed to invite Partner {partner} to ExternalShare {namespace}/{name}"))?;
    let former = invitations.list(&ListParams::default()).await.context("failed to list Invitations")?;
    let replaced = |i: &Invitation| {
        (&i.spec.share_ref, &i.spec.partner_ref) == (&made.spec.share_ref, &made.spec.partner_ref)
            && i.uid() != made.uid()
    };
    for invitation in former.into_iter().filter(replaced) {
        let name = invitation.name_any();
        let gone = invitations.delete(&name, &DeleteParams::default()).await;
        gone.with_context(|| format!("failed to delete the Invitation {name}, which is void now"))?;
    }
    eprintln!(
        "invitation.weir.dev/{} made; it is void after {expires_at}, after it is answered, or with the next.",
        made.name_any()
    );
    eprintln!("Give this to Partner {partner} on a way that only it can read. It is not shown again:");
    println!("{secret}");
    Ok(())
}
