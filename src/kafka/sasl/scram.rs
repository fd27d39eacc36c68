//! SCRAM (RFC 5802, RFC 7677): the client's side, and the derivation of salted passwords. Pure and synchronous.

use std::fmt;
use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::{digest, hmac, pbkdf2};
use zeroize::Zeroizing;

use crate::domain::secret::Secret;
use crate::ports::ScramMechanism;

/// The fewest iterations that a server may ask for (RFC 7677, section 4; Kafka's own lower bound).
const MIN_ITERATIONS: u32 = 4096;
/// The most: beyond it a server would only burn our processor. Kafka itself stores at most 16,384.
const MAX_ITERATIONS: u32 = 1_000_000;

/// The client's first message has been made; the server's is awaited.
pub(super) struct Scram {
    mechanism: ScramMechanism,
    password: Secret,
    nonce: String,
    first_bare: String,
}

/// The client's proof has been made; the server's is awaited.
pub(super) struct Proven {
    mechanism: ScramMechanism,
    server_signature: Vec<u8>,
}

/// What is wrong with the server's side of the exchange. Never holds what was exchanged.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ScramError {
    /// A message that is not as RFC 5802 has it.
    Malformed,
    /// The server's nonce does not continue ours: someone replays.
    Nonce,
    /// Iterations outside of what is safe and sensible.
    Iterations,
    /// The server does not know the password: it is not the one that we think.
    ServerSignature,
    /// The server's `e=` attribute.
    Refused(String),
}

impl fmt::Display for ScramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("the broker's SCRAM message is malformed"),
            Self::Nonce => f.write_str("the broker's nonce does not continue ours"),
            Self::Iterations => write!(f, "the broker asks for iterations outside {MIN_ITERATIONS}..={MAX_ITERATIONS}"),
            Self::ServerSignature => f.write_str("the broker could not prove that it knows the credential"),
            Self::Refused(why) => write!(f, "the broker refused: {why}"),
        }
    }
}

impl Scram {
    /// Begins an exchange; `nonce` is fresh and unguessable (printable ASCII without commas).
    pub(super) fn new(mechanism: ScramMechanism, username: &str, password: Secret, nonce: String) -> Self {
        // Order matters: the escape itself contains '='.
        let name = username.replace('=', "=3D").replace(',', "=2C");
        let first_bare = format!("n={name},r={nonce}");
        Self { mechanism, password, nonce, first_bare }
    }

    /// The client-first-message, without channel binding.
    pub(super) fn first(&self) -> String {
        format!("n,,{}", self.first_bare)
    }

    /// The client-final-message for the server's first. Runs PBKDF2: a millisecond or more of a core.
    pub(super) fn prove(self, server_first: &str) -> Result<(String, Proven), ScramError> {
        let mut attributes = server_first.split(',');
        let mut next = |name: &str| {
            let attribute = attributes.next().ok_or(ScramError::Malformed)?;
            attribute.strip_prefix(name).ok_or(ScramError::Malformed)
        };
        let nonce = next("r=")?;
        let salt = BASE64.decode(next("s=")?).map_err(|_| ScramError::Malformed)?;
        let iterations: u32 = next("i=")?.parse().map_err(|_| ScramError::Malformed)?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(ScramError::Nonce);
        }
        if !(MIN_ITERATIONS..=MAX_ITERATIONS).contains(&iterations) {
            return Err(ScramError::Iterations);
        }
        let iterations = NonZeroU32::new(iterations).ok_or(ScramError::Iterations)?;
        let without_proof = format!("c=biws,r={nonce}");
        let auth_message = format!("{},{server_first},{without_proof}", self.first_bare);
        let salted = salted_password(self.mechanism, &self.password, &salt, iterations);
        let client_key = Zeroizing::new(keyed_hash(self.mechanism, &salted, b"Client Key"));
        let stored_key = hash(self.mechanism, &client_key);
        let signature = keyed_hash(self.mechanism, &stored_key, auth_message.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(key, sign)| key ^ sign).collect();
        let server_key = Zeroizing::new(keyed_hash(self.mechanism, &salted, b"Server Key"));
        let server_signature = keyed_hash(self.mechanism, &server_key, auth_message.as_bytes());
        let proven = Proven { mechanism: self.mechanism, server_signature };
        Ok((format!("{without_proof},p={}", BASE64.encode(proof)), proven))
    }
}

impl Proven {
    /// Checks the server-final-message: the server must know the credential as well.
    pub(super) fn verify(&self, server_final: &str) -> Result<(), ScramError> {
        if let Some(why) = server_final.strip_prefix("e=") {
            return Err(ScramError::Refused(why.chars().take(100).collect()));
        }
        let verifier = server_final.strip_prefix("v=").and_then(|rest| rest.split(',').next());
        let theirs = verifier.and_then(|v| BASE64.decode(v).ok()).ok_or(ScramError::Malformed)?;
        // Hashed before the comparison, so that its time tells nothing.
        let same = hash(self.mechanism, &theirs) == hash(self.mechanism, &self.server_signature);
        if same { Ok(()) } else { Err(ScramError::ServerSignature) }
    }
}

/// `SaltedPassword` of RFC 5802: PBKDF2 over the password's UTF-8, as Kafka's own tools derive it.
pub(in crate::kafka) fn salted_password(
    mechanism: ScramMechanism,
    password: &Secret,
    salt: &[u8],
    iterations: NonZeroU32,
) -> Zeroizing<Vec<u8>> {
    let password = password.expose().as_bytes();
    let (algorithm, length) = match mechanism {
        ScramMechanism::Sha256 => (pbkdf2::PBKDF2_HMAC_SHA256, digest::SHA256_OUTPUT_LEN),
        ScramMechanism::Sha512 => (pbkdf2::PBKDF2_HMAC_SHA512, digest::SHA512_OUTPUT_LEN),
    };
    let mut salted = Zeroizing::new(vec![0; length]);
    pbkdf2::derive(algorithm, iterations, salt, password, &mut salted);
    salted
}

fn hash(mechanism: ScramMechanism, data: &[u8]) -> Vec<u8> {
    let algorithm = match mechanism {
        ScramMechanism::Sha256 => &digest::SHA256,
        ScramMechanism::Sha512 => &digest::SHA512,
    };
    digest::digest(algorithm, data).as_ref().to_vec()
}

fn keyed_hash(mechanism: ScramMechanism, key: &[u8], data: &[u8]) -> Vec<u8> {
    let algorithm = match mechanism {
        ScramMechanism::Sha256 => hmac::HMAC_SHA256,
        ScramMechanism::Sha512 => hmac::HMAC_SHA512,
    };
    hmac::sign(&hmac::Key::new(algorithm, key), data).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::{Proven, Scram, ScramError};
    use crate::domain::secret::Secret;
    use crate::ports::ScramMechanism;

    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const SERVER_FIRST: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    fn client(mechanism: ScramMechanism) -> Scram {
        Scram::new(mechanism, "user", Secret::new("pencil"), NONCE.into())
    }

    fn proven() -> Proven {
        client(ScramMechanism::Sha256).prove(SERVER_FIRST).unwrap().1
    }

    #[test]
    fn the_example_of_rfc_7677_holds() {
        let scram = client(ScramMechanism::Sha256);
        assert_eq!(scram.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let (last, proven) = scram.prove(SERVER_FIRST).unwrap();
        assert_eq!(
            last,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert_eq!(proven.verify("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), Ok(()));
    }

    #[test]
    fn the_same_exchange_with_sha_512_holds() {
        let (last, proven) = client(ScramMechanism::Sha512).prove(SERVER_FIRST).unwrap();
        // Computed with Python's hashlib.
        assert!(
            last.ends_with(
                "p=gMGXRcevScNtxZ6/8lQYpGtnsNAc3mGcmNomv+xnoOMw+3R2xNJdMNnzMlTN8PPC6wdp6dybEmDYXYTxwnYPJQ=="
            ),
            "{last}"
        );
        assert_eq!(
            proven.verify("v=ZQnYEgWQMFmmsM8aQMF0nDDCy/AgCzkwk8CmMZYcMg0vSVlKDanekLtifDSeVGT4+5ZxXnJq199RVG2rR7N7Zw=="),
            Ok(())
        );
    }

    #[test]
    fn a_nonce_that_does_not_continue_ours_is_a_replay() {
        for nonce in ["other%x", NONCE] {
            let message = format!("r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
            assert_eq!(client(ScramMechanism::Sha256).prove(&message).map(|_| ()), Err(ScramError::Nonce));
        }
    }

    #[test]
    fn iterations_have_a_lower_and_an_upper_bound() {
        for iterations in ["1", "4095", "1000001"] {
            let message = format!("r={NONCE}x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i={iterations}");
            assert_eq!(client(ScramMechanism::Sha256).prove(&message).map(|_| ()), Err(ScramError::Iterations));
        }
    }

    #[test]
    fn messages_out_of_form_are_refused() {
        for message in ["", "s=W22Z,r=x,i=4096", "r=rOprNGfwEbeRWgbNEkqOx,s=%%,i=4096", "m=ext,r=a,s=b,i=4096"] {
            assert_eq!(client(ScramMechanism::Sha256).prove(message).map(|_| ()), Err(ScramError::Malformed));
        }
    }

    #[test]
    fn a_server_that_does_not_know_the_password_is_refused() {
        assert_eq!(proven().verify("v=AAAA"), Err(ScramError::ServerSignature));
        assert_eq!(proven().verify("e=invalid-proof"), Err(ScramError::Refused("invalid-proof".into())));
        assert_eq!(proven().verify("x"), Err(ScramError::Malformed));
    }

    #[test]
    fn commas_and_equals_signs_in_names_are_escaped() {
        let scram = Scram::new(ScramMechanism::Sha256, "CN=a,b", Secret::new("x"), "n".into());
        assert_eq!(scram.first(), "n,,n=CN=3Da=2Cb,r=n");
    }
}
