//! The tokens that are taken, as the Secrets had them when they were last read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

/// How long whoever shows an unknown token waits until Secrets are read anew.
const PATIENCE: Duration = Duration::from_secs(5);

/// SHA-256 of a token.
pub type Digested = [u8; 32];

/// The digest of a token, by which it is known.
pub fn digest(token: &str) -> Digested {
    Sha256::digest(token.trim()).into()
}

/// The tokens of one StreamCluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Their digests.
    pub digests: Vec<Digested>,
    /// They are those of the Secret as it was a moment ago; else nobody could ask.
    pub is_certain: bool,
}

/// By StreamCluster.
pub type Known = BTreeMap<String, Taken>;

struct Read {
    begun: Instant,
    of: Known,
}

/// What is known of them; nothing before they were read.
#[derive(Clone)]
pub struct Tokens {
    read: Arc<watch::Sender<Option<Read>>>,
    wanted: Arc<Notify>,
}

impl Default for Tokens {
    fn default() -> Self {
        Self { read: Arc::new(watch::Sender::new(None)), wanted: Arc::default() }
    }
}

impl Tokens {
    /// Takes these, and no others: reading them began at `begun`.
    pub fn set(&self, begun: Instant, of: Known) {
        self.read.send_replace(Some(Read { begun, of }));
    }

    /// Returns once somebody showed a token that is not known since the last time.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Whether a token is one of the cluster's; `None` while nobody can tell. Before one is called wrong the Secrets are read anew: a
    /// shipper may throw away what it sent with a token that was made a moment ago.
    pub(super) async fn has(&self, cluster: &str, token: &str) -> Option<bool> {
        let (digest, now) = (digest(token), Instant::now());
        match self.known(cluster, &digest) {
            Some(false) => {}
            known => return known,
        }
        let mut reads = self.read.subscribe();
        self.wanted.notify_one();
        let anew = reads.wait_for(|read| read.as_ref().is_some_and(|read| read.begun >= now));
        timeout(PATIENCE, anew).await.ok()?.ok()?;
        self.known(cluster, &digest)
    }

    /// Digests are compared: how long that takes tells nothing of a token.
    fn known(&self, cluster: &str, digest: &Digested) -> Option<bool> {
        let read = self.read.borrow();
        match read.as_ref()?.of.get(cluster) {
            Some(taken) if taken.digests.contains(digest) => Some(true),
            Some(taken) => taken.is_certain.then_some(false),
            None => Some(false),
        }
    }
}
