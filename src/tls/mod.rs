//! TLS: here the client's side, for whatever Weir calls, with host names always verified; in [`server`] the other one; in [`https`]
//! what is called over it.

pub mod https;
pub mod server;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

use crate::domain::secret::Secret;

/// What stands in the way, in a sentence that names no content of what cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TlsError(String);

impl TlsError {
    /// One that says this.
    pub fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

/// Which versions are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versions {
    /// 1.2 (RFC 5246) and 1.3 (RFC 8446).
    SinceTls12,
    /// 1.3 alone.
    Tls13,
}

/// Builds it: trusting the authorities in `ca_pem`, or the system's; with a certificate chain and its key, or without.
///
/// # Errors
/// PEM that cannot be used.
pub fn client_config(
    ca_pem: Option<&str>,
    client: Option<(&str, &Secret)>,
    versions: Versions,
) -> Result<ClientConfig, TlsError> {
    let roots = roots(ca_pem)?;
    let versions: &[&SupportedProtocolVersion] = match versions {
        Versions::SinceTls12 => &[&TLS13, &TLS12],
        Versions::Tls13 => &[&TLS13],
    };
    let builder = ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_protocol_versions(versions)
        .map_err(|e| TlsError(format!("failed to set up TLS: {e}")))?
        .with_root_certificates(roots);
    let Some((chain, key)) = client else { return Ok(builder.with_no_client_auth()) };
    let chain = certificates(chain, "the client certificate")?;
    let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes())
        .map_err(|_| TlsError("failed to read the client's private key: not a key in PEM".into()))?;
    builder
        .with_client_auth_cert(chain, key)
        .map_err(|e| TlsError(format!("failed to use the client certificate with its key: {e}")))
}

/// The trusted authorities: those given, or the system's.
fn roots(ca_pem: Option<&str>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    match ca_pem {
        Some(pem) => {
            for certificate in certificates(pem, "the certificate authority")? {
                roots
                    .add(certificate)
                    .map_err(|e| TlsError(format!("failed to use the certificate authority: {e}")))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                let why = "failed to find the system's certificate authorities: name one";
                return Err(TlsError(why.into()));
            }
        }
    }
    Ok(roots)
}

fn certificates(pem: &str, what: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|e| TlsError(format!("failed to read {what}: {e}")))?;
    if found.is_empty() {
        return Err(TlsError(format!("failed to read {what}: no certificate in the PEM")));
    }
    Ok(found)
}
