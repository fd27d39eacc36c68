//! Whom the partner API turned away, on the way to the operator: in a ConfigMap that the chart makes.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};
use tracing::warn;

use super::objects::as_weir;
use crate::domain::audit::callers::{Report, add, read};
use crate::domain::audit::windows::Closed;

/// Its name.
const NAME: &str = "weir-partner-reports";

/// See the module.
pub struct Reports(Api<ConfigMap>);

impl Reports {
    /// That of `namespace`.
    pub fn new(client: Client, namespace: &str) -> Self {
        Self(Api::namespaced(client, namespace))
    }

    /// Puts reports there; those that there is no room for come back.
    ///
    /// # Errors
    /// As the API server says; also where somebody changed it at the same moment.
    pub async fn put(&self, reports: Vec<Report>) -> Result<Vec<Report>, kube::Error> {
        let mut map = self.0.get(NAME).await?;
        let left = add(map.data.get_or_insert_default(), reports);
        self.0.replace(NAME, &as_weir(), &map).await?;
        Ok(left)
    }

    /// What waits there, and what takes it away once it is told; `None` where there is no partner API.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn waiting(&self) -> Result<Option<(Vec<Closed>, ConfigMap)>, kube::Error> {
        let map = self.0.get_opt(NAME).await?;
        let waiting = map.and_then(|map| Some((map.data.clone().filter(|data| !data.is_empty())?, map)));
        let Some((data, map)) = waiting else { return Ok(None) };
        let (closed, unread) = read(&data, Timestamp::now());
        if unread > 0 {
            warn!(unread, "reports of the partner API cannot be read: they are thrown away");
        }
        Ok(Some((closed, ConfigMap { data: None, ..map })))
    }

    /// Takes away what was told, unless more came meanwhile: then all of it is told again, as the same events.
    ///
    /// # Errors
    /// As the API server says.
    pub async fn told(&self, emptied: &ConfigMap) -> Result<(), kube::Error> {
        match self.0.replace(NAME, &as_weir(), emptied).await {
            Err(kube::Error::Api(status)) if status.is_conflict() => Ok(()),
            other => other.map(drop),
        }
    }
}
