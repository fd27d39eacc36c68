//! By what it shows that a cluster's brokers let in nobody whom nobody gave anything.

use std::collections::BTreeMap;

use crate::api::{
    AdminCredentialType, CredentialType, Credentials, Listener, ListenerAuthentication as Authentication, Rotation,
    StreamClusterSpec,
};

/// The user without any entry that must be denied. Nobody but Weir makes users with a `~`.
pub const USER: &str = "~weir-canary";
/// The same, as a distinguished name.
pub const DISTINGUISHED_NAME: &str = "CN=~weir-canary";
/// A topic that nothing is about: who has no entry must be denied it.
pub const TOPIC: &str = "__weir_canary";

/// The authorizer whose settings are known: that of Kafka itself (KIP-801).
const STANDARD_AUTHORIZER: &str = "org.apache.kafka.metadata.authorizer.StandardAuthorizer";
const AUTHORIZER: &str = "authorizer.class.name";
const OPEN: &str = "allow.everyone.if.no.acl.found";

/// How to find out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof<'a> {
    /// A SCRAM user without any entry is denied on these servers' cluster.
    Scram(&'a [String]),
    /// A certificate without any entry is.
    Certificate {
        /// Bootstrap servers.
        servers: &'a [String],
        /// The Secret with the authority that signs it.
        signer: &'a str,
    },
    /// Nobody can log in to be denied: every broker's configuration has to tell.
    Configuration,
}

/// The best proof that a cluster admits: to be denied is better than to read that one would be.
pub fn proof(spec: &StreamClusterSpec) -> Proof<'_> {
    if let Some(servers) = servers(spec, CredentialType::ScramSha512) {
        return Proof::Scram(servers);
    }
    match (servers(spec, CredentialType::Mtls), &spec.identity.mtls) {
        (Some(servers), Some(mtls)) => Proof::Certificate { servers, signer: &mtls.signer_secret_ref.name },
        _ => Proof::Configuration,
    }
}

/// Where Weir can log in with a credential of this kind as somebody else.
pub fn servers(spec: &StreamClusterSpec, kind: CredentialType) -> Option<&[String]> {
    let (admin, authentication) = match kind {
        CredentialType::ScramSha512 => (AdminCredentialType::ScramSha512, Authentication::ScramSha512),
        CredentialType::Mtls => (AdminCredentialType::Mtls, Authentication::Mtls),
    };
    if spec.admin_credentials.type_ == admin {
        return Some(&spec.bootstrap_servers);
    }
    let listener: Option<&Listener> = spec.listeners.iter().find(|l| l.authentication == authentication);
    listener.map(|l| l.bootstrap_servers.as_slice())
}

/// For how long the certificate is signed: it is made anew at each look.
pub fn certificate() -> Credentials {
    let minutes = |n| std::time::Duration::from_mins(n).into();
    let rotation = Rotation { every: minutes(5), overlap: minutes(0) };
    Credentials { rotation: Some(rotation), ..Credentials::default() }
}

/// Whether a broker with this configuration, by key, is closed by default; a value that the broker hides is `None`.
///
/// # Errors
/// Why that cannot be told, as what follows the broker's name.
pub fn closed_by_configuration(configuration: &BTreeMap<String, Option<String>>) -> Result<(), String> {
    let authorizer = configuration.get(AUTHORIZER).cloned().flatten().unwrap_or_default();
    if authorizer != STANDARD_AUTHORIZER {
        return Err(format!("has {AUTHORIZER}={authorizer}, whose settings are not known"));
    }
    // Kafka hides the values of keys that it does not define itself; without the key, the authorizer denies.
    match configuration.get(OPEN) {
        None => Ok(()),
        Some(Some(value)) if value == "false" => Ok(()),
        Some(Some(value)) => Err(format!("has {OPEN}={value}")),
        Some(None) => Err(format!("sets {OPEN} and hides its value: remove the line, false is the default")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::{Proof, closed_by_configuration, proof};
    use crate::api::StreamClusterSpec;

    fn spec(admin: &str, listeners: &[&str], signer: bool) -> StreamClusterSpec {
        let listener = |l: &&str| json!({"name": l, "bootstrapServers": [format!("{l}:9092")], "authentication": l});
        let mut spec = json!({
            "bootstrapServers": ["admin:9092"],
            "adminCredentials": {"type": admin, "secretRef": {"name": "admin"}},
            "listeners": listeners.iter().map(listener).collect::<Vec<_>>(),
        });
        if signer {
            spec["identity"] = json!({"mtls": {"signerSecretRef": {"name": "signer"}}});
        }
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn who_can_log_in_is_asked_before_the_configuration() {
        let (scram, mtls, oauth) = ("ScramSha512", "Mtls", "OauthBearer");
        let is = |admin, listeners: &[&str], signer, expected: Proof<'_>| {
            assert_eq!(proof(&spec(admin, listeners, signer)), expected, "{admin}, {listeners:?}, {signer}");
        };
        let at = |name: &str| [format!("{name}:9092")];
        is(scram, &[mtls], true, Proof::Scram(&at("admin")));
        is(mtls, &[oauth, scram], true, Proof::Scram(&at(scram)));
        is(mtls, &[oauth], true, Proof::Certificate { servers: &at("admin"), signer: "signer" });
        is(oauth, &[oauth, mtls], true, Proof::Certificate { servers: &at(mtls), signer: "signer" });
        // Nobody signs a certificate.
        is(mtls, &[mtls], false, Proof::Configuration);
        is(oauth, &[oauth], true, Proof::Configuration);
        is("Plain", &[], false, Proof::Configuration);
    }

    #[test]
    fn a_configuration_tells_that_a_broker_is_closed_only_where_nothing_is_in_doubt() {
        let standard = "org.apache.kafka.metadata.authorizer.StandardAuthorizer";
        let told = |authorizer: &str, open: Option<Option<&str>>| {
            let mut all = BTreeMap::from([("authorizer.class.name".to_owned(), Some(authorizer.to_owned()))]);
            if let Some(value) = open {
                all.insert("allow.everyone.if.no.acl.found".into(), value.map(Into::into));
            }
            closed_by_configuration(&all)
        };
        assert_eq!(told(standard, None), Ok(()));
        assert_eq!(told(standard, Some(Some("false"))), Ok(()));
        assert!(told(standard, Some(Some("true"))).is_err());
        assert!(told(standard, Some(None)).unwrap_err().contains("hides its value"));
        assert!(told("com.example.Authorizer", None).unwrap_err().contains("com.example.Authorizer"));
        assert!(closed_by_configuration(&BTreeMap::new()).is_err(), "a broker that tells nothing");
    }
}
