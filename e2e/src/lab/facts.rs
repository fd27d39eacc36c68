//! What tests need to know of the lab: written by `up` to `lab.json`, read by
//! [`Lab::current`].

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::command::{read, write};

/// The lab that this process runs in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lab {
    /// The state directory: the value of `WEIR_LAB`.
    pub state: PathBuf,
    /// The kubeconfig of the cluster's administrator.
    pub kubeconfig: PathBuf,
    /// The lab's Kafka.
    pub kafka: Kafka,
    /// Names of the images in the cluster.
    pub images: Images,
}

/// The lab's Kafka: three brokers, StandardAuthorizer, no access without an ACL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kafka {
    /// The namespace of the brokers (StatefulSet and headless Service `kafka`, Service `bootstrap`).
    pub namespace: String,
    /// The cluster id.
    pub cluster_id: String,
    /// Bootstrap servers of the listener for SCRAM-SHA-512, SCRAM-SHA-256 and PLAIN over TLS.
    pub scram: String,
    /// Bootstrap servers of the listener for OAUTHBEARER over TLS: ServiceAccount tokens.
    pub oauth: String,
    /// Bootstrap servers of the listener for client certificates.
    pub mtls: String,
    /// PEM of the authority that signed the brokers' certificates.
    pub ca: PathBuf,
    /// PEM of the authority whose client certificates the brokers accept on [`mtls`](Self::mtls).
    pub clients_ca: PathBuf,
    /// PEM of its key, with which client certificates may be signed.
    pub clients_ca_key: PathBuf,
    /// A super user with SCRAM-SHA-512 and with SCRAM-SHA-256.
    pub admin: Credential,
    /// A super user with PLAIN.
    pub plain_admin: Credential,
    /// The certificate of a super user, `User:CN=mtls-admin`.
    pub mtls_admin_cert: PathBuf,
    /// Its key, PEM (PKCS #8).
    pub mtls_admin_key: PathBuf,
    /// The issuer of tokens that [`oauth`](Self::oauth) accepts: the cluster itself.
    pub oauth_issuer: String,
    /// The audience of tokens that [`oauth`](Self::oauth) accepts.
    pub oauth_audience: String,
    /// Properties with which Kafka's command-line tools are [`admin`](Self::admin).
    pub admin_properties: PathBuf,
}

/// A name and a password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// The name, without `User:`.
    pub username: String,
    /// The password.
    pub password: String,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credential").field("username", &self.username).finish_non_exhaustive()
    }
}

/// Names of the images in the cluster; pods use them with `imagePullPolicy: Never`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Images {
    /// A shell and busybox' tools.
    pub busybox: String,
    /// Kafka: command-line tools in `/opt/kafka/bin` (on PATH), Connect, MirrorMaker 2, a shell.
    pub kafka: String,
    /// kcat, a client on librdkafka, and a shell.
    pub kcat: String,
    /// The operator, once `e2e/lab image weir` has loaded it.
    pub weir: String,
}

impl Lab {
    /// The lab of the `e2e/lab exec` that started this process. Fails, saying
    /// so, where there is none.
    pub fn current() -> Result<Self> {
        let state = env::var_os("WEIR_LAB").context("WEIR_LAB is not set: run this by `e2e/lab exec -- COMMAND`")?;
        Self::read(Path::new(&state))
    }

    /// The lab of a state directory.
    pub fn read(state: &Path) -> Result<Self> {
        let file = state.join("lab.json");
        serde_json::from_str(&read(&file)?).with_context(|| format!("failed to parse {}", file.display()))
    }

    /// Writes `lab.json`.
    pub(crate) fn write(&self) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("failed to write lab.json")?;
        write(&self.state.join("lab.json"), text)
    }
}
