//! Client certificates, signed by the authority that the platform gave.

use std::time::Duration;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose,
    SerialNumber,
};
use time::OffsetDateTime;

use crate::api::Rotation;
use crate::domain::connection::Issued;
use crate::domain::secret::Secret;

/// How long a certificate is valid where the client does not rotate.
const DEFAULT_VALIDITY: Duration = Duration::from_secs(365 * 24 * 3600);
/// Clocks of brokers may be behind by this much.
const SKEW: Duration = Duration::from_secs(300);

/// Signs a certificate for `principal`, a distinguished name as [`crate::domain::names::issued_principal`] makes it. It is
/// valid for two rotation periods, so that a late rotation cuts nobody off, and is useless once its entries are gone.
///
/// # Errors
/// What is wrong with the authority, without its key.
pub fn sign_client_certificate(
    ca_pem: &str,
    ca_key_pem: &Secret,
    principal: &str,
    rotation: Option<&Rotation>,
) -> Result<Issued, String> {
    let ca_key = KeyPair::from_pem(ca_key_pem.expose()).map_err(|_| "tls.key is no private key in PEM".to_owned())?;
    let issuer =
        Issuer::from_ca_cert_pem(ca_pem, ca_key).map_err(|e| format!("tls.crt is no usable authority: {e}"))?;
    let key = KeyPair::generate().map_err(|e| format!("failed to make a key: {e}"))?;
    let validity = rotation.map_or(DEFAULT_VALIDITY, |r| Duration::from(r.every) * 2 + Duration::from(r.overlap));
    let now = OffsetDateTime::now_utc();
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished_name(principal);
    params.not_before = now - SKEW;
    params.not_after = now + validity;
    params.serial_number = Some(serial()?);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, &issuer).map_err(|e| format!("failed to sign: {e}"))?;
    Ok(Issued::Certificate { certificate_pem: certificate.pem(), key_pem: Secret::new(key.serialize_pem()) })
}

/// A random positive serial number of 127 bits (RFC 5280, section 4.1.2.2).
fn serial() -> Result<SerialNumber, String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|e| format!("failed to get random bytes: {e}"))?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

/// RFC 2253 writes the last attribute first.
fn distinguished_name(principal: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    for part in principal.rsplit(',') {
        match part.split_once('=') {
            Some(("CN", value)) => name.push(DnType::CommonName, value),
            Some(("OU", value)) => name.push(DnType::OrganizationalUnitName, value),
            Some(("O", value)) => name.push(DnType::OrganizationName, value),
            _ => {}
        }
    }
    name
}
