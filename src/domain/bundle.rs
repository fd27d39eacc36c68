//! A partner's credential on its way: encrypted for that partner alone, in a ConfigMap of Weir's own namespace, until it is fetched.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::core::ObjectMeta;

use super::names::ObjectKey;
use crate::api::{MANAGED_BY, MANAGED_BY_LABEL};

/// The label that says which share a bundle is of: its UID.
pub const SHARE_LABEL: &str = "weir.dev/share";
/// The share's namespace.
const NAMESPACE_LABEL: &str = "weir.dev/share-namespace";
/// The share's name.
const NAME_LABEL: &str = "weir.dev/share-name";
/// When the partner fetched it; the encrypted text is gone then.
pub const FETCHED_ANNOTATION: &str = "weir.dev/fetched-at";
/// Each new value asks for the next version: set by the partner.
pub const ROTATE_ANNOTATION: &str = "weir.dev/rotate";
/// The key of the encrypted text: JSON with the contents of files by their names.
pub const SEALED: &str = "bundle.age";

/// See the module. It holds nothing that anybody but the partner can use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// UID of the guest.
    pub guest: String,
    /// The share.
    pub share: ObjectKey,
    /// Its UID.
    pub share_uid: String,
    /// The Partner's name.
    pub partner: String,
    /// The credential's version.
    pub version: u32,
    /// SHA-256 of the credential.
    pub fingerprint: String,
    /// Whom it is encrypted for.
    pub recipient: String,
    /// The encrypted text, until it is fetched.
    pub sealed: Option<String>,
    /// When it was fetched.
    pub fetched_at: Option<String>,
    /// The partner's last wish for another version.
    pub rotate: Option<String>,
}

/// Before the UID of a guest: the name of its ConfigMap.
const PREFIX: &str = "weir-bundle-";

/// The name of a guest's ConfigMap.
pub fn name(guest: &str) -> String {
    format!("{PREFIX}{guest}")
}

/// The guest whose ConfigMap has this name.
pub fn guest_of(name: &str) -> Option<&str> {
    name.strip_prefix(PREFIX)
}

/// The share that a ConfigMap with this metadata is of.
pub fn share_of(meta: &ObjectMeta) -> Option<ObjectKey> {
    let labels = meta.labels.as_ref()?;
    Some(ObjectKey::new(labels.get(NAMESPACE_LABEL)?, labels.get(NAME_LABEL)?))
}

impl Bundle {
    /// As it is stored.
    pub fn to_config_map(&self, namespace: &str) -> ConfigMap {
        let texts = [
            ("partner", self.partner.as_str()),
            ("version", &self.version.to_string()),
            ("fingerprint", &self.fingerprint),
            ("recipient", &self.recipient),
        ];
        let mut data: BTreeMap<_, _> = texts.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        data.extend(self.sealed.iter().map(|sealed| (SEALED.to_owned(), sealed.clone())));
        let annotations = [(FETCHED_ANNOTATION, &self.fetched_at), (ROTATE_ANNOTATION, &self.rotate)].into_iter();
        let annotations = annotations.filter_map(|(key, value)| Some((key.to_owned(), value.clone()?)));
        let labels = [
            (MANAGED_BY_LABEL, MANAGED_BY),
            (SHARE_LABEL, &self.share_uid),
            (NAMESPACE_LABEL, &self.share.namespace),
            (NAME_LABEL, &self.share.name),
        ];
        ConfigMap {
            metadata: ObjectMeta {
                namespace: Some(namespace.to_owned()),
                name: Some(name(&self.guest)),
                labels: Some(labels.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()),
                annotations: Some(annotations.collect()),
                ..ObjectMeta::default()
            },
            data: Some(data),
            ..ConfigMap::default()
        }
    }

    /// From how it is stored; `None` where something is missing.
    pub fn from_config_map(map: &ConfigMap) -> Option<Self> {
        let (meta, data) = (&map.metadata, map.data.as_ref()?);
        let text = |key: &str| data.get(key).cloned();
        let annotation = |key: &str| meta.annotations.as_ref().and_then(|a| a.get(key)).cloned();
        Some(Self {
            guest: guest_of(meta.name.as_ref()?)?.to_owned(),
            share: share_of(meta)?,
            share_uid: meta.labels.as_ref()?.get(SHARE_LABEL)?.clone(),
            partner: text("partner")?,
            version: text("version")?.parse().ok()?,
            fingerprint: text("fingerprint")?,
            recipient: text("recipient")?,
            sealed: text(SEALED),
            fetched_at: annotation(FETCHED_ANNOTATION),
            rotate: annotation(ROTATE_ANNOTATION),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Bundle;
    use crate::domain::names::ObjectKey;

    #[test]
    fn what_is_stored_is_what_is_read() {
        let bundle = Bundle {
            guest: "0123".into(),
            share: ObjectKey::new("payments", "out"),
            share_uid: "u".into(),
            partner: "acme".into(),
            version: 3,
            fingerprint: "f".into(),
            recipient: "age1x".into(),
            sealed: Some("s".into()),
            fetched_at: None,
            rotate: Some("r".into()),
        };
        let fetched = Bundle { sealed: None, fetched_at: Some("2026-01-01T00:00:00Z".into()), ..bundle.clone() };
        for bundle in [bundle, fetched] {
            assert_eq!(Bundle::from_config_map(&bundle.to_config_map("weir-system")), Some(bundle));
        }
    }
}
