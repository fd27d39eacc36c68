//! Partners' bundles in Weir's own namespace.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Client};

use super::objects::FIELD_MANAGER;
use crate::domain::bundle::{Bundle, SHARE_LABEL, name};

/// See the module.
pub struct Bundles {
    namespace: String,
    maps: Api<ConfigMap>,
}

impl Bundles {
    /// Those of `namespace`.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), maps: Api::namespaced(client, namespace) }
    }

    /// That of a guest; `None` where there is none, or none that can be read.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn get(&self, guest: &str) -> Result<Option<Bundle>, kube::Error> {
        Ok(self.maps.get_opt(&name(guest)).await?.as_ref().and_then(Bundle::from_config_map))
    }

    /// Puts a bundle in the place of what was there.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn put(&self, bundle: &Bundle) -> Result<(), kube::Error> {
        let map = bundle.to_config_map(&self.namespace);
        let params = PatchParams::apply(FIELD_MANAGER).force();
        self.maps.patch(&name(&bundle.guest), &params, &Patch::Apply(&map)).await.map(drop)
    }

    /// Removes those of a share, but for the guests named.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn keep_only(&self, share_uid: &str, guests: &[&str]) -> Result<(), kube::Error> {
        let of_share = ListParams::default().labels(&format!("{SHARE_LABEL}={share_uid}"));
        let keep: Vec<_> = guests.iter().map(|guest| name(guest)).collect();
        for map in self.maps.list(&of_share).await? {
            let name = map.metadata.name.unwrap_or_default();
            if !keep.contains(&name) {
                match self.maps.delete(&name, &DeleteParams::default()).await {
                    Err(kube::Error::Api(status)) if status.is_not_found() => {}
                    other => drop(other?),
                }
            }
        }
        Ok(())
    }
}
