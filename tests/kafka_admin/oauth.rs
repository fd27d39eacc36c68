//! OAUTHBEARER, against a token endpoint of the test's own whose public key the brokers have.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{KeyPair, SigningKey as _};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use weir::domain::secret::Secret;
use weir::kafka::{KafkaAdminClient, KafkaLedger};
use weir::ports::{Disposition, KafkaAdmin, KafkaEndpoint, KafkaSasl, Ledger, OauthClient};

use crate::kafka_lab::{Oauth, all, endpoint, file, lab, unique};

/// Lifetime of the tokens, in seconds.
const LIFETIME: u64 = 8;

/// A signed token (RFC 7519, RFC 7515 with ES256).
fn token(oauth: &Oauth, key: &KeyPair) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let header = serde_json::json!({"alg": "ES256", "kid": oauth.key_id, "typ": "JWT"});
    let claims = serde_json::json!({
        "iss": oauth.issuer, "aud": oauth.audience, "sub": oauth.subject, "scope": "kafka",
        "iat": now, "exp": now + LIFETIME,
    });
    let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&header), part(&claims));
    let signature = fixed(&key.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// An ECDSA signature as JOSE has it: both integers in 32 bytes each, out of their DER.
fn fixed(der: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = &der[2..];
    for _ in 0..2 {
        let (length, integer) = (usize::from(rest[1]), &rest[2..]);
        let bytes = &integer[..length];
        let bytes = &bytes[length.saturating_sub(32)..];
        out.extend(std::iter::repeat_n(0, 32 - bytes.len()));
        out.extend(bytes);
        rest = &integer[length..];
    }
    out
}

/// Serves tokens on loopback to the client `weir` with the secret `s3cret&`; counts them.
async fn token_endpoint(oauth: Oauth) -> (String, String, Arc<AtomicU32>) {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}/token", listener.local_addr().unwrap().port());
    let issued = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&issued);
    let signer = KeyPair::from_pem(&file(&oauth.signing_key)).unwrap();
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(tcp).await else { continue };
            let mut request = Vec::new();
            while !String::from_utf8_lossy(&request).contains("grant_type=client_credentials") {
                let mut some = [0; 4096];
                let read = stream.read(&mut some).await.unwrap();
                assert!(read > 0, "not the grant of client credentials");
                request.extend(&some[..read]);
            }
            let basic = format!("Basic {}", STANDARD.encode("weir:s3cret%26"));
            let known = String::from_utf8_lossy(&request).contains(&basic);
            let (status, body) = if known {
                count.fetch_add(1, Ordering::SeqCst);
                let token = token(&oauth, &signer);
                ("200 OK", serde_json::json!({"access_token": token, "expires_in": LIFETIME, "token_type": "Bearer"}))
            } else {
                let words = "no such client or secret";
                ("401 Unauthorized", serde_json::json!({"error": "invalid_client", "error_description": words}))
            };
            let body = body.to_string();
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    (url, own.cert.pem(), issued)
}

fn oauth_endpoint(oauth: &Oauth, token_url: &str, ca_pem: &str, secret: &str) -> KafkaEndpoint {
    let client = OauthClient {
        token_url: token_url.into(),
        ca_pem: Some(ca_pem.into()),
        client_id: "weir".into(),
        client_secret: Secret::new(secret),
        scope: Some("kafka".into()),
    };
    endpoint(&oauth.bootstrap, &oauth.ca, Some(KafkaSasl::OauthBearer(client)))
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn tokens_log_in_and_are_replaced_before_they_expire() {
    let Some(oauth) = lab().oauth else { panic!("the lab's description has no oauth listener") };
    let (url, ca, issued) = token_endpoint(oauth.clone()).await;
    let endpoint = oauth_endpoint(&oauth, &url, &ca, "s3cret&");
    let client = KafkaAdminClient::connect(&endpoint, "weir-test").await.unwrap();
    let lifetime = client.features().await.unwrap().session_lifetime.expect("a session ends with its token");
    assert!(lifetime <= Duration::from_secs(LIFETIME), "{lifetime:?}");
    let dialled = client.requests_sent()["ApiVersions"];
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(LIFETIME + 3) {
        client.describe_scram(None, None).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(client.requests_sent()["ApiVersions"], dialled, "the connection was never replaced");
    assert!(issued.load(Ordering::SeqCst) >= 2);
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn the_ledger_is_kept_with_tokens_as_well() {
    let Some(oauth) = lab().oauth else { panic!("the lab's description has no oauth listener") };
    let (url, ca, _) = token_endpoint(oauth.clone()).await;
    let endpoint = oauth_endpoint(&oauth, &url, &ca, "s3cret&");
    let client = Arc::new(KafkaAdminClient::connect(&endpoint, "weir-test").await.unwrap());
    let name = unique("oauth-ledger");
    let ledger = KafkaLedger::new(&endpoint, Arc::clone(&client) as Arc<dyn KafkaAdmin>, &name).unwrap();
    ledger.open().await.unwrap();
    ledger.commit(&[("k".into(), Some("v".into()))]).await.unwrap();
    assert_eq!(ledger.open().await, Ok(BTreeMap::from([("k".into(), "v".into())])));
    all(client.delete_topics(&[name]).await.unwrap());
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_client_that_the_issuer_does_not_know_is_named_without_its_secret() {
    let Some(oauth) = lab().oauth else { panic!("the lab's description has no oauth listener") };
    let (url, ca, _) = token_endpoint(oauth.clone()).await;
    let endpoint = oauth_endpoint(&oauth, &url, &ca, "wr0ng");
    let e = KafkaAdminClient::connect(&endpoint, "weir-test").await.err().unwrap();
    assert_eq!(e.disposition, Disposition::Permanent);
    assert!(e.message.contains("as \"weir\": invalid_client: no such client or secret"), "{e}");
    assert!(!format!("{e:?}").contains("wr0ng"), "{e}");
}

#[tokio::test]
#[ignore = "needs the lab: make test"]
async fn a_token_for_another_audience_is_refused_by_the_broker() {
    let Some(oauth) = lab().oauth else { panic!("the lab's description has no oauth listener") };
    let elsewhere = Oauth { audience: "elsewhere".into(), ..oauth.clone() };
    let (url, ca, _) = token_endpoint(elsewhere).await;
    let endpoint = oauth_endpoint(&oauth, &url, &ca, "s3cret&");
    let e = KafkaAdminClient::connect(&endpoint, "weir-test").await.err().unwrap();
    assert_eq!((e.code, e.disposition), (Some(58), Disposition::Permanent), "{e}");
    assert!(e.message.contains("OAUTHBEARER") && !e.message.contains("eyJ"), "{e}");
}
