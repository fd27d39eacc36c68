//! The head of a chain, signed: a JWS in compact form (RFC 7515) with Ed25519 (RFC 8037), so that anybody can verify it. Who has only
//! the topic cannot make one; who keeps one elsewhere finds out that the topic ends earlier, or tells something else.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::chain::Head;
use crate::domain::secret::Secret;

/// What is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Which chain.
    pub chain: String,
    /// How many records it had.
    pub records: u64,
    /// SHA-256 of the last of them, in hexadecimal.
    pub hash: String,
    /// When it was signed.
    pub time: Timestamp,
}

/// Signs checkpoints.
pub struct Signer {
    key: Ed25519KeyPair,
}

impl Signer {
    /// With a private key in PEM (PKCS #8, RFC 8410), as `openssl genpkey -algorithm ed25519` makes it.
    ///
    /// # Errors
    /// It is none.
    pub fn from_pem(pem: &Secret) -> Result<Self, String> {
        let how = "make one with: openssl genpkey -algorithm ed25519";
        let body: String = pem.expose().lines().filter(|l| !l.starts_with("-----")).map(str::trim).collect();
        let der =
            zeroize::Zeroizing::new(STANDARD.decode(body).map_err(|_| format!("it is no private key in PEM: {how}"))?);
        let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der)
            .map_err(|_| format!("it is no Ed25519 key in PKCS #8: {how}"))?;
        Ok(Self { key })
    }

    /// The public key: 32 bytes in base64url.
    pub fn public_key(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.key.public_key().as_ref())
    }

    /// Signs the head of a chain.
    pub fn sign(&self, head: &Head, now: Timestamp) -> String {
        let Head { id, records, hash } = head.clone();
        let header = json!({"alg": "EdDSA", "kid": thumbprint(&self.public_key()), "typ": "weir-checkpoint"});
        let payload = json!(Checkpoint { chain: id, records, hash, time: now });
        let text = [header, payload].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(text.as_bytes()).as_ref());
        format!("{text}.{signature}")
    }

    /// Seals a head of a chain that is about to be written: the signature in base64url.
    pub fn seal(&self, head: &Head) -> String {
        URL_SAFE_NO_PAD.encode(self.key.sign(sealed(head).as_bytes()).as_ref())
    }
}

/// Whether a head was sealed with the key that belongs to `public_key`.
pub fn is_sealed(head: &Head, seal: &str, public_key: &str) -> bool {
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text.trim()).ok();
    let (Some(key), Some(seal)) = (decode(public_key), decode(seal)) else { return false };
    UnparsedPublicKey::new(&ED25519, key).verify(sealed(head).as_bytes(), &seal).is_ok()
}

/// What is signed: never what stands for a checkpoint, which is a JWS.
fn sealed(head: &Head) -> String {
    format!("weir-seal {} {} {}", head.id, head.records, head.hash)
}

/// What a signed checkpoint says, if it was signed with the key that belongs to `public_key`.
///
/// # Errors
/// It was not.
pub fn verify(jws: &str, public_key: &str) -> Result<Checkpoint, String> {
    let not = |what: &str| format!("the checkpoint is no JWS in compact form: {what}");
    let (text, signature) = jws.trim().rsplit_once('.').ok_or_else(|| not("it has no dots"))?;
    let (header, payload) = text.split_once('.').ok_or_else(|| not("it has one dot"))?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|e| not(&e.to_string()));
    let key = URL_SAFE_NO_PAD.decode(public_key.trim()).map_err(|e| format!("the public key is no base64url: {e}"))?;
    let header: serde_json::Value = serde_json::from_slice(&decode(header)?).map_err(|e| not(&e.to_string()))?;
    if header["alg"] != "EdDSA" {
        return Err("the checkpoint is signed otherwise than with EdDSA".into());
    }
    UnparsedPublicKey::new(&ED25519, key)
        .verify(text.as_bytes(), &decode(signature)?)
        .map_err(|_| "the checkpoint was not signed with this key".to_owned())?;
    serde_json::from_slice(&decode(payload)?).map_err(|e| not(&e.to_string()))
}

/// The thumbprint of the key that a checkpoint says it was signed with.
pub fn key_id(jws: &str) -> Option<String> {
    let header = URL_SAFE_NO_PAD.decode(jws.trim().split('.').next()?).ok()?;
    let header: serde_json::Value = serde_json::from_slice(&header).ok()?;
    header["kid"].as_str().map(str::to_owned)
}

/// The thumbprint of a public key (RFC 7638, with the members of RFC 8037).
pub fn thumbprint(public_key: &str) -> String {
    let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{public_key}"}}"#);
    URL_SAFE_NO_PAD.encode(Sha256::digest(members))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{Signer, verify};
    use crate::domain::audit::chain::Head;
    use crate::domain::secret::Secret;

    // RFC 8410, section 10.3.
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";

    #[test]
    fn what_was_signed_verifies_with_its_own_key_alone() {
        let signer = Signer::from_pem(&Secret::new(KEY)).unwrap();
        let head = Head { records: 7, ..Head::new("c") };
        let jws = signer.sign(&head, Timestamp::UNIX_EPOCH);
        let checkpoint = verify(&jws, &signer.public_key()).unwrap();
        assert_eq!((checkpoint.records, checkpoint.hash), (7, head.hash));
        let other = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        assert_eq!(verify(&jws, other).unwrap_err(), "the checkpoint was not signed with this key");
        let (text, signature) = jws.rsplit_once('.').unwrap();
        assert!(verify(&format!("{text}x.{signature}"), &signer.public_key()).is_err());
        assert!(verify("a.b", &signer.public_key()).is_err());
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_repeated() {
        for pem in ["", "hello", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"] {
            let Err(why) = Signer::from_pem(&Secret::new(pem)) else { panic!("{pem:?} was taken") };
            assert!(why.contains("openssl genpkey") && !why.contains("AAAA"));
        }
    }
}
