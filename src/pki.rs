//! Client certificates, signed by the authority that the platform gave; and those of a server of Weir's own and its caller.

use std::fmt::Display;
use std::time::Duration;

use jiff::Timestamp;
use p12_keystore::{KeyStore, KeyStoreEntry, PrivateKeyChain};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SerialNumber,
};
use time::OffsetDateTime;
use x509_parser::pem::Pem;

use crate::api::Credentials;
use crate::domain::certificate;
use crate::domain::secret::Secret;

/// Clocks of brokers may be behind by this much.
const SKEW: Duration = Duration::from_secs(300);

/// A certificate as it was signed.
#[derive(Debug)]
pub struct Signed {
    /// The certificate.
    pub certificate_pem: String,
    /// Its key.
    pub key_pem: Secret,
    /// When it ends: at [`certificate::end`], in whole seconds.
    pub expires_at: Timestamp,
}

/// Signs a certificate for `principal`, a distinguished name as [`crate::domain::names::issued_principal`] makes it. It never
/// outlives the authority, nor `latest`, and is useless once its entries are gone.
///
/// # Errors
/// What is wrong with the authority, without its key.
pub fn sign_client_certificate(
    ca_pem: &str,
    ca_key_pem: &Secret,
    principal: &str,
    credentials: &Credentials,
    latest: Option<Timestamp>,
) -> Result<Signed, String> {
    let now = Timestamp::now();
    let authority = authority_end(ca_pem)?;
    let end = certificate::end(credentials, now, latest.map_or(authority, |at| at.min(authority)))
        .ok_or_else(|| format!("the authority in tls.crt ended at {authority}: put one there that is valid"))?;
    let ca_key = KeyPair::from_pem(ca_key_pem.expose()).map_err(|_| "tls.key is no private key in PEM".to_owned())?;
    let issuer =
        Issuer::from_ca_cert_pem(ca_pem, ca_key).map_err(|e| format!("tls.crt is no usable authority: {e}"))?;
    let key = KeyPair::generate().map_err(|e| format!("failed to make a key: {e}"))?;
    let time = |at: Timestamp| OffsetDateTime::from_unix_timestamp(at.as_second()).map_err(|e| e.to_string());
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished_name(principal);
    params.not_before = time(now)? - SKEW;
    params.not_after = time(end)?;
    params.serial_number = Some(serial()?);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, &issuer).map_err(|e| format!("failed to sign: {e}"))?;
    Ok(Signed {
        certificate_pem: certificate.pem(),
        key_pem: Secret::new(key.serialize_pem()),
        expires_at: Timestamp::from_second(end.as_second()).unwrap_or(end),
    })
}

/// An authority whose key nobody has any more, and two certificates by it: of a server, and of the one who calls it.
#[derive(Debug)]
pub struct Pair {
    /// The authority.
    pub authority_pem: String,
    /// The server's certificate and key, and the authority as trusted: PKCS #12 (RFC 7292) as Java reads it.
    pub server_store: Vec<u8>,
    /// The password of that.
    pub password: Secret,
    /// The caller's certificate.
    pub caller_pem: String,
    /// Its key.
    pub caller_key_pem: Secret,
}

/// How long a [`Pair`] is good for.
const PAIR_LASTS: Duration = Duration::from_secs(730 * 86_400);

/// Makes a [`Pair`]; the server answers to `names`. The server may also call others like it.
///
/// # Errors
/// A name is none, or there is no randomness.
pub fn pair(names: &[String]) -> Result<Pair, String> {
    use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    let begin = OffsetDateTime::from_unix_timestamp(Timestamp::now().as_second()).map_err(|e| e.to_string())?;
    let params = |name: &str, names: &[String]| {
        let mut params = CertificateParams::new(names.to_vec()).map_err(unmade)?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = begin - SKEW;
        params.not_after = begin + PAIR_LASTS;
        params.serial_number = Some(serial()?);
        Ok::<_, String>(params)
    };
    let ca_key = KeyPair::generate().map_err(unmade)?;
    let mut ca = params("Weir, for one engine", &[])?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = ca.self_signed(&ca_key).map_err(unmade)?;
    let issuer = Issuer::new(ca, ca_key);
    let signed = |name: &str, names: &[String], usages: Vec<ExtendedKeyUsagePurpose>| {
        let key = KeyPair::generate().map_err(unmade)?;
        let mut params = params(name, names)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = usages;
        let certificate = params.signed_by(&key, &issuer).map_err(unmade)?;
        Ok::<_, String>((certificate, key))
    };
    let (server, server_key) = signed("worker", names, vec![ServerAuth, ClientAuth])?;
    let (caller, caller_key) = signed("weir", &[], vec![ClientAuth])?;
    let password = password()?;
    Ok(Pair {
        server_store: store(&server, &server_key, &authority, &password)?,
        authority_pem: authority.pem(),
        password,
        caller_pem: caller.pem(),
        caller_key_pem: Secret::new(caller_key.serialize_pem()),
    })
}

fn unmade(why: impl Display) -> String {
    format!("failed to make a certificate: {why}")
}

fn password() -> Result<Secret, String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|e| format!("failed to get random bytes: {e}"))?;
    Ok(Secret::new(hex::encode(bytes)))
}

fn store(
    certificate: &Certificate,
    key: &KeyPair,
    authority: &Certificate,
    password: &Secret,
) -> Result<Vec<u8>, String> {
    let own = p12_keystore::Certificate::from_der(certificate.der()).map_err(unmade)?;
    let trusted = p12_keystore::Certificate::from_der(authority.der()).map_err(unmade)?;
    let private = p12_keystore::PrivateKey::from_der(key.serialized_der()).map_err(unmade)?;
    let chain = PrivateKeyChain::new("worker", private, [own]);
    let mut store = KeyStore::new();
    store.add_entry("worker", KeyStoreEntry::PrivateKeyChain(chain));
    store.add_entry("authority", KeyStoreEntry::Certificate(trusted));
    store.writer(password.expose()).write().map_err(unmade)
}

/// Whether a [`Pair`] with this authority, in PEM, should be made anew: half of its time is over, or it cannot be read.
pub fn is_pair_old(authority_pem: &str, now: Timestamp) -> bool {
    authority_end(authority_pem).map_or(true, |end| now.checked_add(PAIR_LASTS / 2).map_or(true, |half| half > end))
}

/// When an authority ends; of a chain, the certificate that ends first.
///
/// # Errors
/// It is no certificate in PEM.
pub fn authority_end(ca_pem: &str) -> Result<Timestamp, String> {
    let what = |e: &dyn Display| format!("tls.crt is no certificate in PEM: {e}");
    let mut first: Option<i64> = None;
    for pem in Pem::iter_from_buffer(ca_pem.as_bytes()) {
        let pem = pem.map_err(|e| what(&e))?;
        let end = pem.parse_x509().map_err(|e| what(&e))?.validity().not_after.timestamp();
        first = Some(first.map_or(end, |f| f.min(end)));
    }
    let end = first.ok_or_else(|| what(&"there is none"))?;
    Timestamp::from_second(end).map_err(|e| what(&e))
}

/// Whether a private key is that of a certificate, both in PEM.
pub fn belongs(certificate_pem: &str, key_pem: &Secret) -> bool {
    let Ok(key) = KeyPair::from_pem(key_pem.expose()) else { return false };
    let Some(Ok(pem)) = Pem::iter_from_buffer(certificate_pem.as_bytes()).next() else { return false };
    pem.parse_x509().is_ok_and(|c| *c.public_key().subject_public_key.data == *key.public_key_raw())
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

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
    use time::OffsetDateTime;

    use super::{authority_end, belongs, is_pair_old, pair, sign_client_certificate};
    use crate::api::Credentials;
    use crate::domain::secret::Secret;

    fn authority(ends_in: SignedDuration) -> (String, Secret) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let end = Timestamp::now() + ends_in;
        params.not_after = OffsetDateTime::from_unix_timestamp(end.as_second()).unwrap();
        (params.self_signed(&key).unwrap().pem(), Secret::new(key.serialize_pem()))
    }

    #[test]
    fn a_certificate_ends_with_its_authority_at_the_latest_and_has_its_own_key() {
        let (ca, key) = authority(SignedDuration::from_hours(30));
        let signed =
            sign_client_certificate(&ca, &key, "CN=~0-1,OU=app,O=fraud", &Credentials::default(), None).unwrap();
        let (certificate_pem, key_pem) = (&signed.certificate_pem, &signed.key_pem);
        assert_eq!(signed.expires_at, authority_end(&ca).unwrap());
        assert_eq!(authority_end(certificate_pem).unwrap(), signed.expires_at, "what is told is what is signed");
        assert!(belongs(certificate_pem, key_pem));
        assert!(!belongs(certificate_pem, &key));
    }

    #[test]
    fn a_pair_is_renewed_once_half_of_its_time_is_over() {
        let pair = pair(&["weir-connect.weir.svc".to_owned()]).unwrap();
        assert!(belongs(&pair.caller_pem, &pair.caller_key_pem));
        let days = |n: i64| Timestamp::now() + SignedDuration::from_hours(24 * n);
        assert!(!is_pair_old(&pair.authority_pem, days(300)));
        assert!(is_pair_old(&pair.authority_pem, days(400)));
        assert!(is_pair_old("", days(0)));
    }

    #[test]
    fn an_authority_that_has_ended_signs_nothing() {
        let (ca, key) = authority(SignedDuration::from_hours(-1));
        let why = sign_client_certificate(&ca, &key, "CN=~0-1", &Credentials::default(), None).unwrap_err();
        assert!(why.contains("the authority in tls.crt ended at"), "{why}");
    }
}
