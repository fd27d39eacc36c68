//! TLS of the partner API. Whoever calls may show a certificate; its key is who the caller is, and nobody signs it: a partner made
//! it when it accepted.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use x509_parser::parse_x509_certificate;

/// Who calls.
#[derive(Clone, Debug)]
pub struct Peer {
    /// From where.
    pub address: IpAddr,
    /// SHA-256 of its public key (DER, SubjectPublicKeyInfo), in hexadecimal, where it showed a certificate.
    pub key: Option<String>,
}

impl Peer {
    /// Whoever is at the other end.
    pub fn of(stream: &TlsStream<TcpStream>, address: SocketAddr) -> Self {
        let shown = stream.get_ref().1.peer_certificates().and_then(|all| all.first());
        Self { address: address.ip(), key: shown.and_then(public_key_hash) }
    }
}

/// SHA-256 of a certificate's public key, in hexadecimal.
pub fn public_key_hash(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = parse_x509_certificate(certificate).ok()?;
    Some(hex::encode(Sha256::digest(parsed.tbs_certificate.subject_pki.raw)))
}

/// What looks at callers' certificates.
pub fn any_key() -> Arc<dyn ClientCertVerifier> {
    Arc::new(AnyKey(Arc::new(ring::default_provider())))
}

/// Accepts every certificate whose key the caller has.
#[derive(Debug)]
struct AnyKey(Arc<CryptoProvider>);

impl ClientCertVerifier for AnyKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
