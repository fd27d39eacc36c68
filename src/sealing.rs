//! Encrypts what only one partner may read, in the age format (<https://age-encryption.org/v1>). No I/O.

use std::str::FromStr;

use age::x25519;

use crate::domain::secret::Secret;

/// Why something could not be encrypted or decrypted.
#[derive(Debug, thiserror::Error)]
pub enum SealingError {
    /// The recipient is none.
    #[error("failed to read age recipient {0:?}: {1}")]
    Recipient(String, &'static str),
    /// The identity is none.
    #[error("failed to read the age identity: {0}")]
    Identity(&'static str),
    /// It could not be encrypted.
    #[error("failed to encrypt for {0}: {1}")]
    Encrypt(String, String),
    /// It could not be decrypted, for it is for somebody else, or was changed.
    #[error("failed to decrypt: {0}")]
    Decrypt(String),
}

/// A new identity, and the recipient that others encrypt for.
pub fn new_identity() -> (Secret, String) {
    use age::secrecy::ExposeSecret;
    let identity = x25519::Identity::generate();
    (Secret::new(identity.to_string().expose_secret()), identity.to_public().to_string())
}

/// The recipient of an identity.
///
/// # Errors
/// See [`SealingError`].
pub fn recipient_of(identity: &Secret) -> Result<String, SealingError> {
    let identity = x25519::Identity::from_str(identity.expose().trim()).map_err(SealingError::Identity)?;
    Ok(identity.to_public().to_string())
}

/// Encrypts `text` for `recipient`, as armoured text.
///
/// # Errors
/// See [`SealingError`].
pub fn seal(recipient: &str, text: &Secret) -> Result<String, SealingError> {
    let to = x25519::Recipient::from_str(recipient).map_err(|why| SealingError::Recipient(recipient.into(), why))?;
    age::encrypt_and_armor(&to, text.expose().as_bytes())
        .map_err(|why| SealingError::Encrypt(recipient.into(), why.to_string()))
}

/// Decrypts what [`seal`] encrypted for this identity.
///
/// # Errors
/// See [`SealingError`].
pub fn open(identity: &Secret, sealed: &str) -> Result<Secret, SealingError> {
    let identity = x25519::Identity::from_str(identity.expose().trim()).map_err(SealingError::Identity)?;
    let text = age::decrypt(&identity, sealed.as_bytes()).map_err(|why| SealingError::Decrypt(why.to_string()))?;
    String::from_utf8(text).map(Secret::new).map_err(|_| SealingError::Decrypt("it is no text".into()))
}

#[cfg(test)]
mod tests {
    use super::{new_identity, open, seal};
    use crate::domain::secret::Secret;

    #[test]
    fn only_whom_it_is_for_can_read_it_and_only_unchanged() {
        let ((mine, to), (other, _)) = (new_identity(), new_identity());
        let sealed = seal(&to, &Secret::new("the bundle")).unwrap();
        assert!(!sealed.contains("the bundle") && sealed.starts_with("-----BEGIN AGE ENCRYPTED FILE-----"));
        assert_eq!(open(&mine, &sealed).unwrap().expose(), "the bundle");
        assert!(open(&other, &sealed).is_err());
        let middle = sealed.len() / 2;
        let changed = format!(
            "{}{}{}",
            &sealed[..middle],
            if &sealed[middle..=middle] == "A" { "B" } else { "A" },
            &sealed[middle + 1..]
        );
        assert!(open(&mine, &changed).is_err());
        assert!(seal("age1nobody", &Secret::new("x")).is_err());
    }
}
