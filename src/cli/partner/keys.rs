//! A partner's keys: one that says who it is, in TLS, and one that credentials are encrypted for.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use rcgen::{CertificateParams, DnType, KeyPair};

use crate::domain::secret::Secret;
use crate::sealing::{new_identity, recipient_of};

/// See the module.
pub struct Keys {
    /// The certificate, in PEM. Nobody signs it: its key is what counts.
    pub certificate_pem: String,
    /// Its key, in PEM.
    pub key_pem: Secret,
    /// The age identity.
    pub identity: Secret,
    /// The age recipient of that.
    pub recipient: String,
}

impl Keys {
    /// Those of a directory.
    ///
    /// # Errors
    /// There are none.
    pub fn read(directory: &Path) -> anyhow::Result<Self> {
        let read = |name: &str| {
            let path = directory.join(name);
            let hint = "weir partner accept makes the keys, and --keys names their directory";
            std::fs::read_to_string(&path).with_context(|| format!("failed to read {}: {hint}", path.display()))
        };
        let identity = Secret::new(read("identity.age")?);
        Ok(Self {
            certificate_pem: read("tls.crt")?,
            key_pem: Secret::new(read("tls.key")?),
            recipient: recipient_of(&identity)?,
            identity,
        })
    }

    /// Those of a directory, made if there are none.
    ///
    /// # Errors
    /// They cannot be read or written.
    pub fn read_or_make(directory: &Path) -> anyhow::Result<Self> {
        if directory.join("tls.key").exists() {
            return Self::read(directory);
        }
        std::fs::create_dir_all(directory).with_context(|| format!("failed to make {}", directory.display()))?;
        let key = KeyPair::generate().context("failed to make a key")?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "weir partner");
        let certificate = params.self_signed(&key).context("failed to make a certificate")?;
        let (identity, _) = new_identity();
        write_private(&directory.join("identity.age"), &identity)?;
        write_private(&directory.join("tls.crt"), &Secret::new(certificate.pem()))?;
        write_private(&directory.join("tls.key"), &Secret::new(key.serialize_pem()))?;
        Self::read(directory)
    }
}

/// Writes a file that only its owner can read.
pub fn write_private(path: &Path, text: &Secret) -> anyhow::Result<()> {
    let file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path);
    let mut file = file.with_context(|| format!("failed to write {}", path.display()))?;
    file.write_all(text.expose().as_bytes()).with_context(|| format!("failed to write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::Keys;

    #[test]
    fn keys_are_made_once_and_only_their_owner_can_read_them() {
        let directory = std::env::temp_dir().join(format!("weir-keys-{}", std::process::id()));
        assert!(Keys::read(&directory).err().unwrap().to_string().contains("weir partner accept"));
        let made = Keys::read_or_make(&directory).unwrap();
        let again = Keys::read_or_make(&directory).unwrap();
        assert_eq!(made.recipient, again.recipient);
        assert_eq!(made.certificate_pem, again.certificate_pem);
        for name in ["tls.key", "identity.age"] {
            let mode = std::fs::metadata(directory.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
