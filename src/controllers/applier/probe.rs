//! Tries what somebody else than Weir's administrator may do on a cluster: one without any entry, or one whose access ended.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::try_join_all;
use tokio::time::Instant;

use crate::controllers::context::Context;
use crate::domain::canary::certificate;
use crate::domain::secret::Secret;
use crate::kafka::KafkaProbe;
use crate::pki::sign_client_certificate;
use crate::ports::{AccessProbe, KafkaEndpoint, KafkaError, KafkaSasl, KafkaTls, ProbeOutcome};

/// How long brokers may take to learn of a credential, or to forget it: they do so one after the other.
pub const LEARNING: Duration = Duration::from_secs(5);

/// What somebody logs in with.
pub enum Credential {
    /// A SCRAM user and its password.
    User(String, Secret),
    /// A certificate and its key, in PEM.
    Certificate(String, Secret),
}

/// How somebody enters a cluster at `servers`, whose brokers are known by `tls`.
pub fn endpoint(tls: Option<&KafkaTls>, servers: &[String], credential: Credential) -> KafkaEndpoint {
    let ca = |client| tls.map(|tls| KafkaTls { ca_pem: tls.ca_pem.clone(), client });
    let (tls, sasl) = match credential {
        Credential::User(username, password) => (ca(None), Some(KafkaSasl::ScramSha512 { username, password })),
        Credential::Certificate(certificate, key) => (ca(Some((certificate, key))), None),
    };
    KafkaEndpoint { bootstrap_servers: servers.to_vec(), tls, sasl }
}

/// A certificate of `principal` that lasts minutes, signed by the authority in the Secret `signer`.
///
/// # Errors
/// What is wrong with the Secret or the authority.
pub async fn signed(context: &Context, signer: &str, principal: &str) -> Result<Credential, String> {
    let (ca, key) = context.secrets.signer(signer).await.map_err(|e| e.to_string())?;
    let signed = sign_client_certificate(&ca, &key, principal, &certificate(), None)
        .map_err(|why| format!("Secret {signer}: {why}"))?;
    Ok(Credential::Certificate(signed.certificate_pem, signed.key_pem))
}

/// What each of `brokers` does about a fetch of `topics`. While any refuses the login they are asked again, until `patience` is over:
/// they learn of a credential one after the other.
///
/// # Errors
/// A broker did not answer.
pub async fn outcomes(
    endpoint: &KafkaEndpoint,
    topics: &[String],
    brokers: &BTreeSet<i32>,
    patience: Duration,
) -> Result<Outcomes, KafkaError> {
    let ids: Vec<_> = brokers.iter().copied().collect();
    let ask = || KafkaProbe.probe_fetch(endpoint, topics, Some(&ids));
    again(patience, ask, |outcome| outcome == ProbeOutcome::LoginRefused).await
}

/// What each broker, by its address, does about a login. While any accepts it they are asked again, until `patience` is over: they
/// forget a credential one after the other.
///
/// # Errors
/// A broker did not answer.
pub async fn logins(
    endpoint: &KafkaEndpoint,
    topics: &[String],
    addresses: &BTreeMap<i32, String>,
    patience: Duration,
) -> Result<Outcomes, KafkaError> {
    let ask = || async {
        let each = addresses.iter().map(|(id, address)| async move {
            // Whoever refuses is asked nothing else, so that it is this one that does.
            let endpoint = KafkaEndpoint { bootstrap_servers: vec![address.clone()], ..endpoint.clone() };
            KafkaProbe.probe_fetch(&endpoint, topics, Some(&[*id])).await
        });
        Ok(try_join_all(each).await?.into_iter().flatten().collect())
    };
    again(patience, ask, |outcome| outcome != ProbeOutcome::LoginRefused).await
}

/// By broker's id.
type Outcomes = BTreeMap<i32, ProbeOutcome>;

async fn again<F>(
    patience: Duration,
    ask: impl Fn() -> F,
    is_early: fn(ProbeOutcome) -> bool,
) -> Result<Outcomes, KafkaError>
where
    F: Future<Output = Result<Outcomes, KafkaError>>,
{
    let deadline = Instant::now() + patience;
    loop {
        let outcomes = ask().await?;
        if Instant::now() > deadline || !outcomes.values().any(|outcome| is_early(*outcome)) {
            return Ok(outcomes);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
