//! Leader election by a `coordination.k8s.io/v1` Lease, as client-go does it: a lease that another holds is taken over only
//! once it was seen unchanged for its whole duration by our own clock, and every write carries the resourceVersion read.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::watch;
use tracing::{info, warn};

/// How long a lease holds after its last renewal.
const DURATION: Duration = Duration::from_secs(15);
/// How often it is renewed, and tried for.
const PERIOD: Duration = Duration::from_secs(2);
/// After this long without a renewal, nothing is sent any more: well before another may take over.
const SEND_LIMIT: Duration = Duration::from_secs(10);

/// On the Lease: where the leader's intake is, as `address:port`.
const INTAKE_ANNOTATION: &str = "weir.dev/intake";

/// Proof of leadership, asked before each write to a Kafka cluster.
#[derive(Clone, Debug)]
pub struct Leadership(Arc<Mutex<Option<Instant>>>);

impl Leadership {
    /// Whether the lease was renewed recently enough that nobody else can hold it.
    pub fn holds(&self) -> bool {
        let renewed = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        renewed.is_some_and(|at| at.elapsed() < SEND_LIMIT)
    }

    fn renewed(&self, at: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
    }
}

/// A candidate for leadership.
pub struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
    leadership: Leadership,
    /// Where this candidate's intake is, for the others.
    intake: Option<SocketAddr>,
    leader_s_intake: watch::Sender<Option<SocketAddr>>,
    away_since: Mutex<Timestamp>,
}

impl Candidate {
    /// A candidate for lease `name` in `namespace`, called `identity`, whose intake is at `intake`.
    pub fn new(client: Client, namespace: &str, name: &str, identity: &str, intake: Option<SocketAddr>) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.into(),
            identity: identity.into(),
            leadership: Leadership(Arc::new(Mutex::new(None))),
            intake,
            leader_s_intake: watch::Sender::new(None),
            away_since: Mutex::new(Timestamp::MIN),
        }
    }

    /// Since when nobody had led when this candidate began to: the last renewal of whoever did before. The beginning of time where
    /// that is not known.
    pub fn away_since(&self) -> Timestamp {
        *self.away_since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Proof of leadership, for those who write.
    pub fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }

    /// Where the intake of whoever leads is.
    pub fn leader_s_intake(&self) -> watch::Receiver<Option<SocketAddr>> {
        self.leader_s_intake.subscribe()
    }

    /// Returns once this candidate leads.
    pub async fn acquire(&self) {
        let mut seen: Option<(Option<String>, Instant)> = None;
        loop {
            let started = Instant::now();
            match self.try_acquire(&mut seen).await {
                Ok(true) => {
                    self.leadership.renewed(started);
                    info!(identity = %self.identity, "leading");
                    return;
                }
                Ok(false) => {}
                Err(error) => warn!(%error, "failed to read or write Lease {}", self.name),
            }
            tokio::time::sleep(PERIOD).await;
        }
    }

    /// Renews the lease until that fails for too long or another holds it; then returns.
    pub async fn keep(&self) {
        while self.leadership.holds() {
            tokio::time::sleep(PERIOD).await;
            let started = Instant::now();
            match tokio::time::timeout(PERIOD * 2, self.renew()).await {
                Ok(Ok(true)) => self.leadership.renewed(started),
                Ok(Ok(false)) => {
                    warn!("Lease {} is held by another", self.name);
                    return;
                }
                Ok(Err(error)) => warn!(%error, "failed to renew Lease {}", self.name),
                Err(_) => warn!("failed to renew Lease {} in time", self.name),
            }
        }
    }

    /// Gives the lease up, so that another need not wait for its end.
    pub async fn release(&self) {
        let released = async {
            let mut lease = self.api.get(&self.name).await?;
            if holder(&lease) == Some(self.identity.as_str()) {
                lease.spec.get_or_insert_default().holder_identity = Some(String::new());
                self.api.replace(&self.name, &PostParams::default(), &lease).await?;
            }
            Ok::<_, kube::Error>(())
        };
        if let Err(error) = released.await {
            warn!(%error, "failed to release Lease {}", self.name);
        }
    }

    async fn try_acquire(&self, seen: &mut Option<(Option<String>, Instant)>) -> Result<bool, kube::Error> {
        let Some(lease) = self.api.get_opt(&self.name).await? else {
            let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
            let mut lease = Lease { metadata, spec: Some(self.spec(None)) };
            self.note_intake(&mut lease);
            return written(self.api.create(&PostParams::default(), &lease).await);
        };
        let version = lease.metadata.resource_version.clone();
        if seen.as_ref().is_none_or(|(v, _)| *v != version) {
            *seen = Some((version, Instant::now()));
        }
        let held_by_another = holder(&lease).is_some_and(|h| !h.is_empty() && h != self.identity);
        let unchanged_for = seen.as_ref().map_or(Duration::ZERO, |(_, since)| since.elapsed());
        let duration = lease.spec.as_ref().and_then(|s| s.lease_duration_seconds).and_then(|s| u64::try_from(s).ok());
        self.leader_s_intake.send_replace(intake(&lease).filter(|_| held_by_another));
        if held_by_another && unchanged_for < duration.map_or(DURATION, Duration::from_secs) {
            return Ok(false);
        }
        let away_since = renewed_at(&lease).unwrap_or(Timestamp::MIN);
        let leads = self.write(lease).await?;
        if leads {
            *self.away_since.lock().unwrap_or_else(PoisonError::into_inner) = away_since;
        }
        Ok(leads)
    }

    async fn renew(&self) -> Result<bool, kube::Error> {
        let lease = self.api.get(&self.name).await?;
        if holder(&lease) != Some(self.identity.as_str()) {
            return Ok(false);
        }
        self.write(lease).await
    }

    async fn write(&self, mut lease: Lease) -> Result<bool, kube::Error> {
        lease.spec = Some(self.spec(lease.spec.as_ref()));
        self.note_intake(&mut lease);
        written(self.api.replace(&self.name, &PostParams::default(), &lease).await)
    }

    fn note_intake(&self, lease: &mut Lease) {
        let annotations = lease.metadata.annotations.get_or_insert_default();
        match self.intake {
            Some(at) => drop(annotations.insert(INTAKE_ANNOTATION.to_owned(), at.to_string())),
            None => drop(annotations.remove(INTAKE_ANNOTATION)),
        }
    }

    fn spec(&self, before: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let same = before.filter(|b| b.holder_identity.as_ref() == Some(&self.identity));
        let transitions = before.and_then(|b| b.lease_transitions).unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: same.and_then(|b| b.acquire_time.clone()).or_else(|| Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(if same.is_some() || before.is_none() { transitions } else { transitions + 1 }),
            ..LeaseSpec::default()
        }
    }
}

fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref()
}

fn renewed_at(lease: &Lease) -> Option<Timestamp> {
    Some(lease.spec.as_ref()?.renew_time.as_ref()?.0)
}

/// Where the leader's intake is.
fn intake(lease: &Lease) -> Option<SocketAddr> {
    lease.metadata.annotations.as_ref()?.get(INTAKE_ANNOTATION)?.parse().ok()
}

/// A conflict means that another was faster.
fn written(result: Result<Lease, kube::Error>) -> Result<bool, kube::Error> {
    match result {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

    use super::renewed_at;

    #[test]
    fn whoever_led_was_last_heard_of_when_the_lease_was_renewed_also_where_it_was_given_up() {
        assert_eq!(renewed_at(&Lease::default()), None);
        let at = Timestamp::UNIX_EPOCH;
        let spec =
            LeaseSpec { renew_time: Some(MicroTime(at)), holder_identity: Some(String::new()), ..Default::default() };
        assert_eq!(renewed_at(&Lease { spec: Some(spec), ..Lease::default() }), Some(at));
    }
}
