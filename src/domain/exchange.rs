//! What Weir and a partner say to one another over the partner API: terms and answers, as JSON.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::ResourceExt;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::names::guest_uid;
use crate::api::{
    Access, ApprovedStream, Classification, CredentialType, DataProduct, ExternalShare, History, Partner, Pattern,
    ReplicationStatus, Scope, SharedWith,
};

/// What a partner agrees to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Terms {
    /// Names the share from now on.
    pub share: String,
    /// The share's name, for people.
    pub name: String,
    /// The partner's organisation.
    pub organisation: String,
    /// What is shared.
    pub products: Vec<OfferedProduct>,
    /// How.
    pub pattern: Pattern,
    /// With pattern Copy: which of the records that were there before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<History>,
    /// What it may be used for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// From when on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Until when.
    pub not_after: Timestamp,
    /// What one authenticates with.
    pub credentials: CredentialType,
    /// The most that one may use, by Kafka's names; for each broker.
    pub quotas: BTreeMap<String, f64>,
}

/// A product that is shared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OfferedProduct {
    /// Its name.
    pub name: String,
    /// What it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Who answers for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// How sensitive it is, by its own word.
    pub classification: Classification,
    /// Its streams that are shared.
    pub streams: Vec<String>,
}

/// An acceptance of exactly these terms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Accept {
    /// [`Terms::hash`] of what was looked at.
    pub terms: String,
    /// The age recipient that credentials are to be encrypted for.
    pub recipient: String,
}

/// A rejection, or a withdrawal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Because {
    /// Why, for people.
    #[serde(default)]
    pub reason: Option<String>,
}

/// Terms, and their hash.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    /// What is offered.
    pub terms: Terms,
    /// [`Terms::hash`] of it.
    pub hash: String,
}

/// How a share is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShareState {
    /// [`Terms::share`].
    pub share: String,
    /// What was offered.
    pub terms: Terms,
    /// How far it is; `None` while Weir has not looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<SharedWith>,
    /// How far what it copies is, with pattern Copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copy: Option<CopyProgress>,
}

/// How far a copy is behind its source: as [`ReplicationStatus`] has it, without what is only of this side's concern.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CopyProgress {
    /// Records that are not copied yet; an upper bound.
    pub lag_records: Option<i64>,
    /// For how long records have been waiting, in seconds.
    pub lag_seconds: Option<i64>,
    /// Records a second, over the last minute.
    pub records_per_second: Option<i64>,
    /// When a record was last seen to be copied.
    pub last_copied_at: Option<Timestamp>,
}

impl From<&ReplicationStatus> for CopyProgress {
    fn from(status: &ReplicationStatus) -> Self {
        Self {
            lag_records: status.lag_records,
            lag_seconds: status.lag_seconds,
            records_per_second: status.records_per_second,
            last_copied_at: status.last_copied_at.as_ref().map(|at| at.0),
        }
    }
}

/// A version of the credential.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SealedCredential {
    /// Which version.
    pub version: u32,
    /// Armoured age: JSON with the contents of files by their names.
    pub sealed: String,
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refusal {
    /// In a sentence, with what to do.
    pub error: String,
}

impl Terms {
    /// Those of `share` for `partner`; `products` are those that it names and that exist.
    pub fn of(share: &ExternalShare, partner: &Partner, products: &[&DataProduct]) -> Self {
        let spec = &share.spec;
        let offered = |name: &str, streams: &[String]| {
            let product = products.iter().find(|p| p.name_any() == name)?;
            let named = |s: &String| streams.is_empty() || streams.contains(s);
            Some(OfferedProduct {
                name: name.to_owned(),
                description: product.spec.description.clone(),
                owner: product.spec.owner.as_ref().map(|o| o.contact.clone().unwrap_or_else(|| o.team.clone())),
                classification: product.spec.classification,
                streams: product.spec.streams.iter().map(|s| s.name.clone()).filter(named).collect(),
            })
        };
        Self {
            share: guest_uid(&share.uid().unwrap_or_default(), &partner.uid().unwrap_or_default()),
            name: share.name_any(),
            organisation: partner.spec.organisation.clone(),
            products: spec.products.iter().filter_map(|p| offered(&p.name, &p.streams)).collect(),
            pattern: spec.pattern,
            history: (spec.pattern == Pattern::Copy).then(|| spec.history.clone()),
            purpose: spec.purpose.clone(),
            not_before: spec.validity.not_before.as_ref().map(|at| at.0),
            not_after: spec.validity.not_after.0,
            credentials: spec.credentials.type_,
            quotas: super::binding::quota_map(spec.quotas.as_ref()),
        }
    }

    /// SHA-256 of the terms as JSON, in hexadecimal.
    pub fn hash(&self) -> String {
        // A struct with string keys: this cannot fail.
        hex::encode(Sha256::digest(serde_json::to_vec(self).unwrap_or_default()))
    }

    /// What an acceptance of them, of `share`, allows.
    pub fn scope(&self, share: &ExternalShare) -> Scope {
        let stream = |product: &OfferedProduct, stream: &String| ApprovedStream {
            product: product.name.clone(),
            stream: stream.clone(),
            access: vec![Access::Read],
        };
        Scope {
            subjects: Vec::new(),
            pattern: Some(self.pattern),
            destination: share.spec.destination.as_ref().map(|to| to.cluster_ref.name.clone()),
            purpose: self.purpose.clone(),
            streams: self.products.iter().flat_map(|p| p.streams.iter().map(|s| stream(p, s))).collect(),
            not_after: Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(self.not_after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Terms;
    use crate::api::ExternalShare;

    fn share(streams: &[&str], purpose: &str) -> ExternalShare {
        let share = json!({"metadata": {"name": "out", "uid": "s"}, "spec": {
            "products": [{"name": "orders", "streams": streams}, {"name": "gone"}], "partnerRefs": [{"name": "acme"}],
            "pattern": "Copy", "destination": {"clusterRef": {"name": "shared"}},
            "validity": {"notAfter": "2026-12-01T00:00:00Z"}, "purpose": purpose}});
        serde_json::from_value(share).unwrap()
    }

    fn terms(streams: &[&str], purpose: &str) -> Terms {
        let partner = json!({"metadata": {"name": "acme", "uid": "p"}, "spec": {"organisation": "Acme"}});
        let product = json!({"metadata": {"name": "orders"}, "spec": {"clusterRef": {"name": "main"},
            "classification": "Public", "streams": [{"name": "placed"}, {"name": "paid"}]}});
        let partner = serde_json::from_value(partner).unwrap();
        Terms::of(&share(streams, purpose), &partner, &[&serde_json::from_value(product).unwrap()])
    }

    #[test]
    fn terms_name_what_is_there_and_an_acceptance_is_of_just_that() {
        let all = terms(&[], "audit");
        assert_eq!(all.products.len(), 1);
        assert_eq!(all.products[0].streams, ["placed", "paid"]);
        let scope = terms(&["paid"], "audit").scope(&share(&["paid"], "audit"));
        assert_eq!(scope.streams.iter().map(|s| s.stream.as_str()).collect::<Vec<_>>(), ["paid"]);
        assert_eq!((scope.purpose.as_deref(), scope.destination.as_deref()), (Some("audit"), Some("shared")));
    }

    #[test]
    fn terms_that_differ_in_anything_have_another_hash() {
        let all = terms(&[], "audit");
        assert_eq!(all.hash(), terms(&[], "audit").hash());
        assert_ne!(all.hash(), terms(&[], "else").hash());
        assert_ne!(all.hash(), terms(&["paid"], "audit").hash());
    }
}
