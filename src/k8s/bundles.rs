//! Partners' bundles in Weir's own namespace.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client};

use super::objects::as_weir;
use crate::domain::bundle::{Bundle, SHARE_LABEL, name};

/// What came of taking an encrypted credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It, and of which version it is.
    Sealed {
        /// The version.
        version: u32,
        /// The encrypted text.
        sealed: String,
    },
    /// There is none yet.
    Nothing,
    /// It was taken before, then.
    Before(String),
    /// Somebody changed it at the same moment.
    Busy,
}

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

    /// Puts a bundle in the place of what was there, unless that changes meanwhile. The partner's last wish stays.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn put(&self, bundle: Bundle) -> Result<(), kube::Error> {
        let name = name(&bundle.guest);
        let Some(before) = self.maps.get_opt(&name).await? else {
            return self.maps.create(&as_weir(), &bundle.to_config_map(&self.namespace)).await.map(drop);
        };
        let rotate = Bundle::from_config_map(&before).and_then(|b| b.rotate);
        self.replace(&before, Bundle { rotate, ..bundle }).await
    }

    /// Takes the encrypted text out of a guest's bundle: whoever calls is the only one who got it.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn take(&self, guest: &str, now: Timestamp) -> Result<Taken, kube::Error> {
        let Some(map) = self.maps.get_opt(&name(guest)).await? else { return Ok(Taken::Nothing) };
        let Some(mut bundle) = Bundle::from_config_map(&map) else { return Ok(Taken::Nothing) };
        let Some(sealed) = bundle.sealed.take() else {
            return Ok(bundle.fetched_at.map_or(Taken::Nothing, Taken::Before));
        };
        let version = bundle.version;
        bundle.fetched_at = Some(format!("{now:.0}"));
        match self.replace(&map, bundle).await {
            Ok(()) => Ok(Taken::Sealed { version, sealed }),
            Err(kube::Error::Api(status)) if status.is_conflict() => Ok(Taken::Busy),
            Err(error) => Err(error),
        }
    }

    /// Asks for the next version of a guest's credential; whether there is one to follow.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn ask_for_rotation(&self, guest: &str, now: Timestamp) -> Result<bool, kube::Error> {
        let Some(map) = self.maps.get_opt(&name(guest)).await? else { return Ok(false) };
        let Some(bundle) = Bundle::from_config_map(&map) else { return Ok(false) };
        self.replace(&map, Bundle { rotate: Some(now.to_string()), ..bundle }).await?;
        Ok(true)
    }

    async fn replace(&self, before: &ConfigMap, bundle: Bundle) -> Result<(), kube::Error> {
        let mut map = bundle.to_config_map(&self.namespace);
        map.metadata.resource_version.clone_from(&before.metadata.resource_version);
        self.maps.replace(&name(&bundle.guest), &as_weir(), &map).await.map(drop)
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
