//! Credentials: what the user wrote, and the `Authorization` header made of it.

use crate::http::{ClientConfig, ClientError};
use crate::settings::{Map, Reader, Secret, config, config_choice, config_enum};
use crate::sinks::delivery::{BasicAuth, Credentials, Mask, Renewed, Sign, authorization, basic, bearer, sensitive};
use crate::time::NS_PER_SEC;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::HeaderValue;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::json;
use sha2::{Sha256, Sha384, Sha512};
use std::sync::Arc;
use std::time::Duration;

config_choice! {
    /// How the sink proves who it is.
    pub enum AuthConfig {
        /// User and password, or user and ingestion passcode.
        Basic(BasicAuth) = "basic",
        /// A fixed token, sent as `Bearer`.
        Bearer(Secret) = "bearer",
        /// An ingestion token of the organization (`o2oi_…`).
        Token(Secret) = "token",
        /// A token that the sink signs itself, sent as `Bearer` and renewed before it expires, and once where the server answers 401.
        Jwt(JwtAuth) = "jwt",
    }
}

config! {
    /// A signed token.
    pub struct JwtAuth {
        /// The key it is signed with.
        pub key: Secret,
        /// How it is signed.
        pub algorithm: JwtAlgorithm = JwtAlgorithm::Hs256,
        /// Claim `iss`.
        pub issuer: Option<String> = None,
        /// Claim `sub`.
        pub subject: Option<String> = None,
        /// Claim `aud`.
        pub audience: Option<String> = None,
        /// Header `kid`: which key it is.
        pub key_id: Option<String> = None,
        /// Further claims.
        pub claims: Map<serde_json::Value> = Map::default(),
        /// How long a token is good for. A new one is made when nine tenths of this are over.
        pub lifetime: Duration = Duration::from_secs(3600),
    }
}

config_enum! {
    /// How a token is signed.
    pub enum JwtAlgorithm {
        /// HMAC with SHA-256.
        Hs256 = "HS256",
        /// HMAC with SHA-384.
        Hs384 = "HS384",
        /// HMAC with SHA-512.
        Hs512 = "HS512",
        /// RSA with SHA-256; `key` is a private key in PEM (PKCS #8, `-----BEGIN PRIVATE KEY-----`).
        Rs256 = "RS256",
        /// ECDSA on P-256; `key` is a private key in PEM (PKCS #8).
        Es256 = "ES256",
    }
}

/// User name beside an ingestion token: the server takes any.
const TOKEN_USER: &str = "tidegate";

impl Credentials for AuthConfig {
    fn check(&self, cx: &mut Reader<'_>) {
        match self {
            AuthConfig::Basic(basic) => basic.check(cx),
            AuthConfig::Jwt(jwt) => {
                if let Err(why) = signature(jwt, b"") {
                    cx.error_at("jwt.key", format!("`auth.jwt.key`: {why}"));
                }
            }
            AuthConfig::Bearer(_) | AuthConfig::Token(_) => {}
        }
    }

    fn secrets(&self) -> Vec<String> {
        match self {
            AuthConfig::Basic(basic) => basic.secrets(),
            AuthConfig::Bearer(token) => vec![token.reveal().to_owned()],
            AuthConfig::Token(token) => {
                vec![token.reveal().to_owned(), format!("{TOKEN_USER}:{}", token.reveal())]
            }
            AuthConfig::Jwt(jwt) => vec![jwt.key.reveal().to_owned()],
        }
    }

    fn signer(&self, _client: &ClientConfig, mask: &Mask) -> Result<Arc<dyn Sign>, ClientError> {
        authorization(&match self {
            AuthConfig::Basic(basic) => basic.header(),
            AuthConfig::Bearer(token) => bearer(token.reveal()),
            AuthConfig::Token(token) => basic(TOKEN_USER, token.reveal()),
            AuthConfig::Jwt(jwt) => return Ok(Arc::new(Renewed::new(tokens(jwt.clone(), mask.clone())))),
        })
    }
}

/// Gives the header with a token as of now; the one before, unless it is to be made anew.
fn tokens(config: JwtAuth, mask: Mask) -> impl FnMut(i64, bool) -> Option<HeaderValue> + Send {
    // The token in use, and when it is to be renewed, in nanoseconds since 1970 UTC.
    let mut current: Option<(HeaderValue, i64)> = None;
    move |now_ns, anew| {
        if let Some((value, renew)) = &current
            && now_ns < *renew
            && !anew
        {
            return Some(value.clone());
        }
        let token = sign(&config, now_ns);
        mask.minted(&token);
        let value = sensitive(&bearer(&token))?;
        let lifetime = i64::try_from(config.lifetime.as_nanos()).unwrap_or(i64::MAX);
        current = Some((value.clone(), now_ns.saturating_add(lifetime / 10 * 9)));
        Some(value)
    }
}

/// A signed token (RFC 7519) that is good from now.
fn sign(config: &JwtAuth, now_ns: i64) -> String {
    let mut header = json!({"alg": config.algorithm.word(), "typ": "JWT"});
    if let Some(id) = &config.key_id {
        header["kid"] = json!(id);
    }
    let issued = now_ns.div_euclid(NS_PER_SEC);
    let mut claims = json!({});
    for (name, value) in config.claims.iter() {
        claims[name.as_str()] = value.clone();
    }
    for (name, value) in [("iss", &config.issuer), ("sub", &config.subject), ("aud", &config.audience)] {
        if let Some(value) = value {
            claims[name] = json!(value);
        }
    }
    claims["iat"] = json!(issued);
    claims["exp"] = json!(issued.saturating_add_unsigned(config.lifetime.as_secs().max(1)));
    let encode = |json: &serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let signed = format!("{}.{}", encode(&header), encode(&claims));
    // That the key can sign was checked with the settings.
    let signature = signature(config, signed.as_bytes()).unwrap_or_default();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// The signature of a text.
///
/// Errors: the key is none of the algorithm's.
fn signature(config: &JwtAuth, text: &[u8]) -> Result<Vec<u8>, &'static str> {
    let key = config.key.reveal();
    let secret = key.as_bytes();
    match config.algorithm {
        JwtAlgorithm::Hs256 => Ok(mac::<Hmac<Sha256>>(secret, text)),
        JwtAlgorithm::Hs384 => Ok(mac::<Hmac<Sha384>>(secret, text)),
        JwtAlgorithm::Hs512 => Ok(mac::<Hmac<Sha512>>(secret, text)),
        JwtAlgorithm::Rs256 => {
            const ODD: &str = "it is not a private key of RSA in PEM (`-----BEGIN PRIVATE KEY-----`)";
            let pair = private_key(key).and_then(|der| RsaKeyPair::from_pkcs8(&der).ok()).ok_or(ODD)?;
            let mut out = vec![0; pair.public().modulus_len()];
            pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text, &mut out).map_err(|_| ODD)?;
            Ok(out)
        }
        JwtAlgorithm::Es256 => {
            const ODD: &str = "it is not a private key of P-256 in PEM (`-----BEGIN PRIVATE KEY-----`)";
            let random = SystemRandom::new();
            let der = private_key(key).ok_or(ODD)?;
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der, &random).map_err(|_| ODD)?;
            Ok(pair.sign(&random, text).map_err(|_| ODD)?.as_ref().to_vec())
        }
    }
}

/// A private key out of its PEM.
fn private_key(pem: &str) -> Option<Vec<u8>> {
    let body = pem.trim().strip_prefix("-----BEGIN PRIVATE KEY-----")?.split("-----END PRIVATE KEY-----").next()?;
    STANDARD.decode(body.split_whitespace().collect::<String>()).ok()
}

fn mac<M: Mac + KeyInit>(key: &[u8], text: &[u8]) -> Vec<u8> {
    // HMAC takes keys of any length.
    let Ok(mut mac) = <M as KeyInit>::new_from_slice(key) else { return Vec::new() };
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn jwt() -> JwtAuth {
        let text = "{key: your-256-bit-secret, issuer: me, lifetime: 10m, claims: {role: writer}}";
        crate::settings::read_text("t", text, &std::collections::BTreeMap::new()).0.unwrap()
    }

    #[test]
    fn a_token_is_kept_and_renewed_before_it_expires() {
        let mask = Mask::default();
        let mut header = tokens(jwt(), mask.clone());
        let start = 1_750_000_000 * NS_PER_SEC;
        let first = header(start, false).unwrap();
        assert!(first.is_sensitive());
        assert_eq!(header(start + 539 * NS_PER_SEC, false).unwrap(), first);
        let second = header(start + 541 * NS_PER_SEC, false).unwrap();
        assert_ne!(second, first);
        let text = second.to_str().unwrap().strip_prefix("Bearer ").unwrap().to_owned();
        // A server that repeats a token repeats it to nobody.
        for shown in [&first, &second] {
            let echo = format!("you sent {{'authorization': '{}'}}", shown.to_str().unwrap());
            assert_eq!(mask.text(&echo), "you sent {'authorization': 'Bearer ***'}");
        }
        let claims = URL_SAFE_NO_PAD.decode(text.split('.').nth(1).unwrap()).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!(claims, json!({"role": "writer", "iss": "me", "iat": 1_750_000_541, "exp": 1_750_001_141}));
    }

    #[tokio::test]
    async fn what_is_signed_with_a_private_key_is_verified_with_the_public_one_and_with_no_other() {
        use crate::http::jwt::{TokenAuth, Tokens};
        let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/jwt");
        let read = |name: &str| std::fs::read_to_string(format!("{fixtures}/{name}")).unwrap();
        let environment = std::collections::BTreeMap::from([
            ("RSA".to_owned(), read("rsa.key")),
            ("EC".to_owned(), read("p256.key")),
            ("RSA_PUBLIC".to_owned(), read("rsa.pub")),
            ("EC_PUBLIC".to_owned(), read("p256.pub")),
        ]);
        for (key, other, algorithm) in [("RSA", "EC", "RS256"), ("EC", "RSA", "ES256")] {
            let text = format!("{{key: '${{{key}}}', algorithm: {algorithm}, subject: me}}");
            let jwt: JwtAuth = crate::settings::read_text("t", &text, &environment).0.unwrap();
            let token = sign(&jwt, crate::time::clock::now_ns());
            for (public, good) in [(key, true), (other, false)] {
                let text = format!("keys: [{{public_key: '${{{public}_PUBLIC}}'}}]");
                let auth: TokenAuth = crate::settings::read_text("t", &text, &environment).0.unwrap();
                let subject = Tokens::new(&auth).unwrap().subject(&token).await;
                assert_eq!(subject == Ok(Some("me".into())), good, "{algorithm} {public}");
            }
            // A key of the other kind signs nothing.
            let wrong = JwtAuth { key: Secret::new(environment[other].clone()), ..jwt };
            assert!(signature(&wrong, b"x").unwrap_err().contains("is not a private key"));
        }
    }

    #[test]
    fn the_signature_is_the_one_of_rfc_7519() {
        // The example of RFC 7515, appendix A.1, has a key that is no text; this one is jwt.io's.
        let signed = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ";
        let signature = mac::<Hmac<Sha256>>(b"your-256-bit-secret", signed.as_bytes());
        assert_eq!(URL_SAFE_NO_PAD.encode(signature), "SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c");
    }
}
