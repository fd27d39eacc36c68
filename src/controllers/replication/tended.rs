//! An engine that Strimzi runs: a Secret and a resource a share.

use std::slice::from_ref;

use tracing::warn;

use super::credentials::Shape;
use super::deployment::Logins;
use super::round::{Asked, Copying, Engine, RoundError, Snapshot};
use crate::api::Strimzi;
use crate::domain::names::resource_name;
use crate::k8s::files::FilesSecret;

impl Engine {
    /// One look. Returns whether to look again at once.
    pub(super) async fn look_at_strimzi(&mut self, spec: &Strimzi, now: &Snapshot) -> Result<bool, RoundError> {
        let (client, namespace) = (self.context.client.clone(), spec.namespace.as_str());
        let is_there = self.context.world.index().namespace(namespace).is_some();
        if !is_there {
            now.copying.iter().for_each(|c| self.tell_of_nothing(c, namespace));
            return Ok(false);
        }
        let secret = |name: &str| FilesSecret::new(&client, namespace, name, &now.workers);
        let shown = FilesSecret::all(&client, namespace, &now.workers).await?;
        let mut logins = Logins::new();
        for c in &now.copying {
            let name = c.resource();
            let mut files = shown.get(&name).cloned().unwrap_or_default();
            match self.hand_over(&secret(&name), Shape::Parts, from_ref(c), &mut files).await {
                Ok(of_it) => logins.extend(of_it),
                Err(error) => warn!(secret = name, %error, "failed to write credentials; it is tried again"),
            }
        }
        let connectors = self.connectors(Asked::Strimzi(spec.clone()), &now.workers)?;
        let (again, left) = self.look_at(connectors.as_ref(), now, &logins).await?;
        // A Secret goes when its resource went.
        let is_kept = |name: &String| {
            let lives = |c: &Copying| !c.copy.is_over && c.resource() == *name;
            now.copying.iter().any(lives) || left.iter().any(|connector| resource_name(connector) == *name)
        };
        for name in shown.keys().filter(|name| !is_kept(name)) {
            secret(name).remove().await?;
        }
        Ok(again)
    }

    /// Where there is no namespace, nothing is in it.
    fn tell_of_nothing(&self, c: &Copying, namespace: &str) {
        if c.copy.is_over {
            self.tell_gone(c);
        } else {
            self.tell_starting(c, &format!("namespace {namespace} of engine {} does not exist", self.key.name));
        }
    }
}
