//! What each call of the partner API does. Decisions of partners become AccessApprovals, which Weir then carries out; nothing else
//! is written but the ConfigMaps with encrypted credentials.

use std::sync::Arc;

use anyhow::Context;
use axum::http::StatusCode;
use jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::runtime::reflector::store::{Store, Writer};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::api::{
    Acceptance, AccessApproval, AccessApprovalSpec, DataProduct, Decision, ExternalShare, Invitation, PARTNER_REVIEWER,
    Partner, RequestKind, RequestRef, Scope, Side, TargetKind, TargetRef, UidRef,
};
use crate::domain::contract::contract;
use crate::domain::exchange::{Accept, Because, CopyProgress, Offer, SealedCredential, ShareState, Terms};
use crate::domain::names::guest_uid;
use crate::domain::secret::Secret;
use crate::k8s::bundles::{Bundles, Taken};
use crate::k8s::feed::{Fed, feed};
use crate::sealing;

/// Why a call is refused.
#[derive(Debug)]
pub struct Refused {
    /// The status of the answer.
    pub status: StatusCode,
    /// In a sentence.
    pub why: String,
}

impl Refused {
    /// One with this status.
    pub fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Self { status, why: why.into() }
    }
}

impl From<kube::Error> for Refused {
    fn from(error: kube::Error) -> Self {
        warn!(%error, "the API server did not do as it was asked");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "that did not work just now: try again")
    }
}

/// See the module.
pub struct Desk {
    client: Client,
    bundles: Bundles,
    invitations: Store<Invitation>,
    approvals: Store<AccessApproval>,
    shares: Store<ExternalShare>,
    partners: Store<Partner>,
    products: Store<DataProduct>,
}

/// A share with one of its partners.
struct Between {
    share: Arc<ExternalShare>,
    partner: Arc<Partner>,
}

impl Desk {
    /// Watches what it needs, and returns once all of it is known.
    ///
    /// # Errors
    /// The process is to end before that.
    pub async fn open(client: Client, namespace: &str, shutdown: &CancellationToken) -> anyhow::Result<Self> {
        let desk = Self {
            bundles: Bundles::new(client.clone(), namespace),
            invitations: watch(&client),
            approvals: watch(&client),
            shares: watch(&client),
            partners: watch(&client),
            products: watch(&client),
            client,
        };
        let known = async {
            tokio::try_join!(
                desk.invitations.wait_until_ready(),
                desk.approvals.wait_until_ready(),
                desk.shares.wait_until_ready(),
                desk.partners.wait_until_ready(),
                desk.products.wait_until_ready()
            )
        };
        tokio::select! {
            known = known => drop(known.context("a watch ended")?),
            () = shutdown.cancelled() => anyhow::bail!("it was ended before it knew the shares"),
        }
        Ok(desk)
    }

    /// What an invitation is to; also for who accepted it already.
    pub async fn look(&self, secret: &Secret, key: Option<&str>) -> Result<Offer, Refused> {
        let (_, between) = self.invited_or_answered(secret, key).await?;
        Ok(self.offer(&between))
    }

    /// The contract of what an invitation is to.
    pub async fn offered_contract(&self, secret: &Secret, key: Option<&str>) -> Result<Value, Refused> {
        let (_, between) = self.invited_or_answered(secret, key).await?;
        Ok(self.contract_of(&between))
    }

    /// The contract of a share.
    pub fn contract(&self, key: &str, share: &str) -> Result<Value, Refused> {
        Ok(self.contract_of(&self.known_share(key, share)?))
    }

    /// Accepts it, for a key.
    pub async fn accept(&self, secret: &Secret, key: &str, accept: Accept) -> Result<Offer, Refused> {
        let (invitation, between) = self.invited_or_answered(secret, Some(key)).await?;
        let offer = self.offer(&between);
        if offer.hash != accept.terms {
            return Err(Refused::new(StatusCode::CONFLICT, "the terms are not those that you looked at: look again"));
        }
        // Whatever cannot be encrypted for could never be fetched.
        if let Err(why) = sealing::seal(&accept.recipient, &Secret::new("")) {
            return Err(Refused::new(StatusCode::BAD_REQUEST, why.to_string()));
        }
        let acceptance = Acceptance {
            invitation: invitation.uid().unwrap_or_default(),
            public_key_hash: key.to_owned(),
            recipient: accept.recipient,
        };
        let decision = (Decision::Approved, Some(offer.terms.scope(&between.share)), Some(acceptance));
        self.answer(&invitation, &between, decision, None).await?;
        Ok(offer)
    }

    /// Rejects it.
    pub async fn reject(&self, secret: &Secret, why: Because) -> Result<(), Refused> {
        let (invitation, between) = self.invited_or_answered(secret, None).await?;
        self.answer(&invitation, &between, (Decision::Denied, None, None), why.reason).await
    }

    /// The shares that were accepted with a key.
    pub fn shares(&self, key: &str) -> Vec<ShareState> {
        let known = self.known(key).into_iter();
        known.map(|between| self.state(&between)).collect()
    }

    /// Hands out the encrypted credential, once.
    pub async fn fetch(&self, key: &str, share: &str) -> Result<SealedCredential, Refused> {
        let between = self.known_share(key, share)?;
        match self.bundles.take(share, Timestamp::now()).await? {
            Taken::Sealed { version, sealed } => {
                info!(share = %between.name(), partner = %between.partner.name_any(), version, "a credential was fetched");
                Ok(SealedCredential { version, sealed })
            }
            Taken::Nothing => {
                Err(Refused::new(StatusCode::NOT_FOUND, "there is no credential yet: see the state of the share"))
            }
            Taken::Before(at) => Err(Refused::new(
                StatusCode::GONE,
                format!("the credential was fetched at {at}, and is handed out once: rotate for another"),
            )),
            Taken::Busy => Err(Refused::new(StatusCode::CONFLICT, "it is being changed just now: try again")),
        }
    }

    /// Asks for the next version.
    pub async fn rotate(&self, key: &str, share: &str) -> Result<(), Refused> {
        self.known_share(key, share)?;
        if self.bundles.ask_for_rotation(share, Timestamp::now()).await? {
            Ok(())
        } else {
            Err(Refused::new(StatusCode::NOT_FOUND, "there is no credential yet: see the state of the share"))
        }
    }

    /// Takes the acceptance back, for good.
    pub async fn withdraw(&self, key: &str, share: &str, why: Because) -> Result<(), Refused> {
        let between = self.known_share(key, share)?;
        let name = format!("withdrawn-{share}");
        let approval = between.decision(&name, (Decision::Revoked, None, None), why.reason);
        self.write(&approval).await.map(drop)
    }

    /// The share that an invitation is to, which can still be answered; or was, with this very key: the answer may have been lost.
    async fn invited_or_answered(
        &self,
        secret: &Secret,
        key: Option<&str>,
    ) -> Result<(Arc<Invitation>, Between), Refused> {
        let (invitation, between) = self.invitation(secret).await?;
        let Some(answer) = self.answered(&invitation).await? else { return Ok((invitation, between)) };
        let by = answer.spec.acceptance.as_ref().map(|a| a.public_key_hash.as_str());
        if by.is_some() && by == key { Ok((invitation, between)) } else { Err(void()) }
    }

    async fn invitation(&self, secret: &Secret) -> Result<(Arc<Invitation>, Between), Refused> {
        let hash = hex::encode(Sha256::digest(secret.expose()));
        let all = self.invitations.state();
        let invitation = all.iter().find(|i| i.spec.secret_hash == hash).cloned().ok_or_else(void)?;
        let spec = &invitation.spec;
        let rival = |i: &&Arc<Invitation>| {
            i.namespace() == invitation.namespace()
                && (&i.spec.share_ref.uid, &i.spec.partner_ref.uid) == (&spec.share_ref.uid, &spec.partner_ref.uid)
        };
        let newest = all.iter().filter(rival).max_by_key(|i| (i.creation_timestamp(), i.name_any()));
        let is_newest = newest.is_some_and(|i| i.uid() == invitation.uid());
        if !is_newest || spec.expires_at.0 <= Timestamp::now() || invitation.metadata.deletion_timestamp.is_some() {
            return Err(void());
        }
        let namespace = invitation.namespace().unwrap_or_default();
        // As they are now, and not as they were a moment ago.
        let shares: Api<ExternalShare> = Api::namespaced(self.client.clone(), &namespace);
        let partners: Api<Partner> = Api::all(self.client.clone());
        let (share, partner) =
            tokio::try_join!(shares.get_opt(&spec.share_ref.name), partners.get_opt(&spec.partner_ref.name))?;
        let share = share.filter(|s| s.uid().as_ref() == Some(&spec.share_ref.uid) && is_open(s)).ok_or_else(void)?;
        let partner = partner.filter(|p| p.uid().as_ref() == Some(&spec.partner_ref.uid)).ok_or_else(void)?;
        if !share.spec.partner_refs.iter().any(|p| p.name == partner.name_any()) {
            return Err(void());
        }
        Ok((invitation, Between { share: Arc::new(share), partner: Arc::new(partner) }))
    }

    /// How an invitation was answered.
    async fn answered(&self, invitation: &Invitation) -> Result<Option<AccessApproval>, Refused> {
        let namespace = invitation.namespace().unwrap_or_default();
        let approvals: Api<AccessApproval> = Api::namespaced(self.client.clone(), &namespace);
        Ok(approvals.get_opt(&answer_to(invitation)).await?)
    }

    async fn answer(
        &self,
        invitation: &Invitation,
        between: &Between,
        decision: (Decision, Option<Scope>, Option<Acceptance>),
        reason: Option<String>,
    ) -> Result<(), Refused> {
        let key = decision.2.as_ref().map(|a| a.public_key_hash.clone());
        let approval = between.decision(&answer_to(invitation), decision, reason);
        // One name for all answers: the API server lets only the first be made.
        if self.write(&approval).await? {
            return Ok(());
        }
        let first = self.answered(invitation).await?.and_then(|a| a.spec.acceptance).map(|a| a.public_key_hash);
        if key.is_some() && first == key { Ok(()) } else { Err(void()) }
    }

    /// Writes a decision; whether there was none of its name before.
    async fn write(&self, approval: &AccessApproval) -> Result<bool, Refused> {
        let namespace = approval.namespace().unwrap_or_default();
        let approvals: Api<AccessApproval> = Api::namespaced(self.client.clone(), &namespace);
        match approvals.create(&PostParams::default(), approval).await {
            Ok(_) => {
                let spec = &approval.spec;
                info!(%namespace, share = spec.request_ref.name, by = spec.reviewer, decision = ?spec.decision, "decided");
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Every share whose newest acceptance was made with `key`.
    fn known(&self, key: &str) -> Vec<Between> {
        let approvals = self.approvals.state();
        let mut found: Vec<Between> = Vec::new();
        for approval in &approvals {
            let Some(acceptance) = approval.spec.acceptance.as_ref() else { continue };
            if acceptance.public_key_hash == key
                && is_newest_acceptance(approval, &approvals)
                && let Some(between) = self.between(approval)
                && !found.iter().any(|f| f.id() == between.id())
            {
                found.push(between);
            }
        }
        found
    }

    fn known_share(&self, key: &str, share: &str) -> Result<Between, Refused> {
        let known = self.known(key).into_iter().find(|between| between.id() == share);
        known.ok_or_else(|| Refused::new(StatusCode::FORBIDDEN, "no such share was accepted with this certificate"))
    }

    /// The share and the partner of a partner's decision, as they are now.
    fn between(&self, approval: &AccessApproval) -> Option<Between> {
        let (of, partner) = (&approval.spec.request_ref, approval.spec.partner_ref.as_ref()?);
        if approval.spec.side != Side::Consumer || approval.namespace().as_ref() != Some(&of.namespace) {
            return None;
        }
        let share = self.shares.find(|s| s.uid().as_ref() == Some(&of.uid))?;
        let partner = self.partners.find(|p| p.uid().as_ref() == Some(&partner.uid))?;
        Some(Between { share, partner })
    }

    fn terms(&self, between: &Between) -> Terms {
        self.with_products(between, |products| Terms::of(&between.share, &between.partner, products))
    }

    fn contract_of(&self, between: &Between) -> Value {
        self.with_products(between, |products| contract(&between.share, &between.partner, products))
    }

    /// With the products of the share's namespace.
    fn with_products<T>(&self, between: &Between, then: impl FnOnce(&[&DataProduct]) -> T) -> T {
        let namespace = between.share.namespace();
        let products = self.products.state();
        let here: Vec<_> = products.iter().filter(|p| p.namespace() == namespace).map(AsRef::as_ref).collect();
        then(&here)
    }

    fn offer(&self, between: &Between) -> Offer {
        let terms = self.terms(between);
        Offer { hash: terms.hash(), terms }
    }

    fn state(&self, between: &Between) -> ShareState {
        let partners = between.share.status.iter().flat_map(|s| &s.partners);
        let state = partners.into_iter().find(|p| p.name == between.partner.name_any()).cloned();
        let copy = between.share.status.as_ref().and_then(|s| s.replication.as_ref()).map(CopyProgress::from);
        ShareState { share: between.id(), terms: self.terms(between), state, copy }
    }
}

impl Between {
    fn id(&self) -> String {
        guest_uid(&self.share.uid().unwrap_or_default(), &self.partner.uid().unwrap_or_default())
    }

    fn name(&self) -> String {
        format!("{}/{}", self.share.namespace().unwrap_or_default(), self.share.name_any())
    }

    /// A decision of the partner. It goes with the share.
    fn decision(
        &self,
        name: &str,
        (decision, scope, acceptance): (Decision, Option<Scope>, Option<Acceptance>),
        reason: Option<String>,
    ) -> AccessApproval {
        let (share, partner) = (self.share.name_any(), self.partner.name_any());
        AccessApproval {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: self.share.namespace(),
                owner_references: self.share.owner_ref(&()).map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            spec: AccessApprovalSpec {
                request_ref: RequestRef {
                    kind: RequestKind::ExternalShare,
                    namespace: self.share.namespace().unwrap_or_default(),
                    name: share.clone(),
                    uid: self.share.uid().unwrap_or_default(),
                },
                target_ref: TargetRef { kind: TargetKind::ExternalShare, name: share },
                reviewer: format!("{PARTNER_REVIEWER}{partner}"),
                partner_ref: Some(UidRef { name: partner, uid: self.partner.uid().unwrap_or_default() }),
                side: Side::Consumer,
                decision,
                scope,
                acceptance,
                reason,
            },
        }
    }
}

/// Whoever guesses is told no more than whoever comes too late.
fn void() -> Refused {
    Refused::new(
        StatusCode::UNAUTHORIZED,
        "this invitation is unknown, expired, answered, or replaced by another: ask for a new one",
    )
}

/// Whether a share can still be accepted.
fn is_open(share: &ExternalShare) -> bool {
    share.metadata.deletion_timestamp.is_none()
        && share.spec.revoke.is_none()
        && share.spec.validity.not_after.0 > Timestamp::now()
}

fn answer_to(invitation: &Invitation) -> String {
    format!("answer-{}", invitation.uid().unwrap_or_default())
}

fn is_newest_acceptance(approval: &AccessApproval, all: &[Arc<AccessApproval>]) -> bool {
    let same = |a: &&Arc<AccessApproval>| {
        a.spec.acceptance.is_some()
            && a.spec.request_ref.uid == approval.spec.request_ref.uid
            && a.spec.partner_ref == approval.spec.partner_ref
    };
    let newest = all.iter().filter(same).max_by_key(|a| (a.creation_timestamp(), a.name_any()));
    newest.is_some_and(|a| a.uid() == approval.uid())
}

/// Everything of a kind, kept up to date.
fn watch<K>(client: &Client) -> Store<K>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + Sync + 'static,
{
    let writer = Writer::<K>::default();
    let reader = writer.as_reader();
    let api = Api::all(client.clone());
    tokio::spawn(async move { feed(api, writer, |_: Fed<K>| {}).await });
    reader
}
