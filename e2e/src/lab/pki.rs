//! Keys and certificates: one authority for Kubernetes, one for Kafka's
//! brokers, one for Kafka's clients, the key of ServiceAccount tokens, and
//! the key of the tests' own tokens. Made once for each lab.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ED25519, date_time_ymd,
};

use super::command::{read, write};
use super::kubernetes::{NODE, NODE_IP, SERVICE_IP};
use super::paths::Paths;

/// The key with which tests sign tokens of their own; also its id for Kafka.
pub const TEST_TOKENS: &str = "test-tokens";
/// Who brokers are to each other.
const BROKER: &str = "weir-lab-broker";

/// The name of Weir's intake of brokers' logs.
pub const INTAKE: &str = "weir-intake.weir-system.svc.cluster.local";

/// Where one certificate and its key are.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The certificate, PEM.
    pub cert: PathBuf,
    /// The key, PEM (PKCS #8).
    pub key: PathBuf,
}

/// The certificate that `name` has in the directory `dir` (the state directory
/// by either of its paths).
pub fn pair(dir: &Path, name: &str) -> Pair {
    let dir = dir.join("pki").join(name);
    Pair { cert: dir.join("cert.pem"), key: dir.join("key.pem") }
}

/// The key that this lab's checkpoints of the audit topic are signed with: Ed25519, PKCS #8, PEM. Made the first time.
pub fn audit_key(state: &Path) -> Result<String> {
    let file = pair(state, "audit").key;
    if !file.exists() {
        write(&file, KeyPair::generate_for(&PKCS_ED25519)?.serialize_pem())?;
    }
    read(&file)
}

/// A certificate to be signed: its directory, common name, organisation and
/// further names.
struct Leaf<'a> {
    name: &'a str,
    cn: &'a str,
    organisation: &'a str,
    names: Vec<String>,
}

/// Makes what is not there yet.
pub fn ensure(paths: &Paths) -> Result<()> {
    for (name, cn) in [("ca", "weir-lab"), ("kafka-ca", "weir-lab-kafka"), ("clients-ca", "weir-lab-clients")] {
        authority(&paths.state, name, cn).with_context(|| format!("failed to make the authority {name}"))?;
    }
    for (ca, leaf) in leaves() {
        sign(&paths.state, ca, &leaf).with_context(|| format!("failed to make the certificate of {}", leaf.name))?;
    }
    for name in ["service-accounts", TEST_TOKENS] {
        token_key(&paths.state, name).with_context(|| format!("failed to make the key of tokens {name}"))?;
    }
    Ok(())
}

/// Everyone who has a certificate, with the authority that signs it.
fn leaves() -> Vec<(&'static str, Leaf<'static>)> {
    let user = |name, cn, organisation| {
        let names = Vec::new();
        ("ca", Leaf { name, cn, organisation, names })
    };
    let mut leaves = vec![
        user("admin", "admin", "system:masters"),
        user("apiserver-kubelet-client", "apiserver-kubelet-client", "system:masters"),
        user("kube-controller-manager", "system:kube-controller-manager", ""),
        user("kube-scheduler", "system:kube-scheduler", ""),
        user("kube-proxy", "system:kube-proxy", ""),
        user("coredns", "system:coredns", ""),
        user("kubelet", "system:node:weir-lab", "system:nodes"),
    ];
    let api = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "localhost",
        NODE,
        NODE_IP,
        SERVICE_IP,
        "127.0.0.1",
    ];
    let server = |ca, name, cn, names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        (ca, Leaf { name, cn, organisation: "", names })
    };
    leaves.push(server("ca", "apiserver", "kube-apiserver", &api));
    leaves.push(server("ca", "kubelet-server", NODE, &[NODE, NODE_IP, "127.0.0.1"]));
    leaves.push(server("clients-ca", "mtls-admin", "mtls-admin", &[]));
    // The brokers ship to it, and believe this authority already.
    leaves.push(server("kafka-ca", "intake", "weir-intake", &[INTAKE]));
    leaves
}

fn params(cn: &str, organisation: &str, names: Vec<String>) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(names)?;
    let mut subject = DistinguishedName::new();
    if !organisation.is_empty() {
        subject.push(DnType::OrganizationName, organisation);
    }
    subject.push(DnType::CommonName, cn);
    params.distinguished_name = subject;
    params.not_before = date_time_ymd(2024, 1, 1);
    params.not_after = date_time_ymd(2049, 1, 1);
    Ok(params)
}

fn authority(state: &Path, name: &str, cn: &str) -> Result<()> {
    let files = pair(state, name);
    if files.cert.exists() {
        return Ok(());
    }
    let mut params = params(cn, "", Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate()?;
    write(&files.key, key.serialize_pem())?;
    write(&files.cert, params.self_signed(&key)?.pem())
}

fn sign(state: &Path, ca: &str, leaf: &Leaf<'_>) -> Result<()> {
    let files = pair(state, leaf.name);
    if files.cert.exists() {
        return Ok(());
    }
    let (cert, key) = signed(state, ca, params(leaf.cn, leaf.organisation, leaf.names.clone())?)?;
    write(&files.key, key)?;
    write(&files.cert, cert)
}

/// A certificate for brokers that answer to `names`, and its key, in PEM.
pub fn brokers(state: &Path, names: Vec<String>) -> Result<(String, String)> {
    signed(state, "kafka-ca", params(BROKER, "", names)?).context("failed to make the certificate of brokers")
}

/// The certificate and its key, in PEM.
fn signed(state: &Path, ca: &str, mut params: CertificateParams) -> Result<(String, String)> {
    let authority = pair(state, ca);
    let authority_key = KeyPair::from_pem(&read(&authority.key)?)?;
    let issuer = Issuer::from_ca_cert_pem(&read(&authority.cert)?, authority_key)?;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    Ok((params.signed_by(&key, &issuer)?.pem(), key.serialize_pem()))
}

/// A key pair (P-256) of tokens: `cert` is the public key alone.
fn token_key(state: &Path, name: &str) -> Result<()> {
    let files = pair(state, name);
    if files.cert.exists() {
        return Ok(());
    }
    let key = KeyPair::generate()?;
    write(&files.key, key.serialize_pem())?;
    write(&files.cert, key.public_key_pem())
}
