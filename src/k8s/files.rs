//! A Secret of Weir's with files that workers read.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret as KubeSecret;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client, ResourceExt};

use super::objects::{as_weir, gone_is_fine};
use crate::api::{MANAGED_BY, MANAGED_BY_LABEL};
use crate::domain::secret::Secret;

/// The end of the names of files that are binary.
const BINARY: &str = ".p12";
/// The label that all workers have, and its value.
pub const NAME: &str = "app.kubernetes.io/name";
/// See [`NAME`].
pub const CONNECT: &str = "weir-connect";
/// The label that tells what is one engine's from what is another's.
pub const INSTANCE: &str = "app.kubernetes.io/instance";

/// Contents by key; of binary ones, whose names end in `.p12`, in Base64.
pub type Files = BTreeMap<String, Secret>;

/// The labels of everything of an engine's, by the name of its workers.
pub fn labels(workers: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned()),
        (NAME.to_owned(), CONNECT.to_owned()),
        (INSTANCE.to_owned(), workers.to_owned()),
    ])
}

/// See the module.
pub struct FilesSecret {
    api: Api<KubeSecret>,
    namespace: String,
    name: String,
    workers: String,
}

impl FilesSecret {
    /// The Secret `name` in `namespace`, of the engine whose workers are called `workers`.
    pub fn new(client: &Client, namespace: &str, name: &str, workers: &str) -> Self {
        Self {
            api: Api::namespaced(client.clone(), namespace),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            workers: workers.to_owned(),
        }
    }

    /// What is in all that are of these workers, in `namespace`, by their names.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn all(client: &Client, namespace: &str, workers: &str) -> Result<BTreeMap<String, Files>, kube::Error> {
        let api: Api<KubeSecret> = Api::namespaced(client.clone(), namespace);
        let of_them = ListParams::default().labels(&format!("{INSTANCE}={workers},{MANAGED_BY_LABEL}={MANAGED_BY}"));
        Ok(api.list(&of_them).await?.into_iter().map(|secret| (secret.name_any(), files(secret))).collect())
    }

    /// What is in it; `None` where there is none.
    ///
    /// # Errors
    /// As the API server says; it is somebody else's.
    pub async fn read(&self) -> Result<Option<Files>, kube::Error> {
        let Some(secret) = self.api.get_opt(&self.name).await? else { return Ok(None) };
        self.own(secret.labels())?;
        Ok(Some(files(secret)))
    }

    /// Writes it.
    ///
    /// # Errors
    /// As the API server says; it is somebody else's.
    pub async fn write(&self, files: &Files) -> Result<(), kube::Error> {
        let bytes = |key: &str, text: &Secret| {
            let decoded = key.ends_with(BINARY).then(|| STANDARD.decode(text.expose()).ok()).flatten();
            decoded.unwrap_or_else(|| text.expose().as_bytes().to_vec())
        };
        let data = files.iter().map(|(key, text)| (key.clone(), ByteString(bytes(key, text))));
        let before = self.api.get_metadata_opt(&self.name).await?;
        let mut secret = KubeSecret { data: Some(data.collect()), ..KubeSecret::default() };
        secret.metadata.name = Some(self.name.clone());
        secret.metadata.labels = Some(labels(&self.workers));
        let params = as_weir();
        let Some(before) = before else { return self.api.create(&params, &secret).await.map(drop) };
        self.own(before.labels())?;
        secret.metadata.resource_version = before.resource_version();
        self.api.replace(&self.name, &params, &secret).await.map(drop)
    }

    /// Removes it.
    ///
    /// # Errors
    /// As the API server says; what is gone is no error.
    pub async fn remove(&self) -> Result<(), kube::Error> {
        gone_is_fine(self.api.delete(&self.name, &DeleteParams::background()).await.map(drop))
    }

    fn own(&self, labels: &BTreeMap<String, String>) -> Result<(), kube::Error> {
        if labels.get(INSTANCE) == Some(&self.workers) {
            return Ok(());
        }
        let Self { namespace, name, .. } = self;
        let why = format!("Secret {namespace}/{name} is not this engine's: delete it, and Weir makes its own");
        Err(kube::Error::Service(why.into()))
    }
}

fn files(secret: KubeSecret) -> Files {
    let text = |key: &str, bytes: Vec<u8>| {
        if key.ends_with(BINARY) { Some(STANDARD.encode(bytes)) } else { String::from_utf8(bytes).ok() }
    };
    let file = |(key, bytes): (String, ByteString)| text(&key, bytes.0).map(|text| (key, Secret::new(text)));
    secret.data.into_iter().flatten().filter_map(file).collect()
}
