//! Credentials: what the user wrote, and the `Authorization` header made of it.

use crate::http::{ClientConfig, ClientError};
use crate::settings::{Map, Reader, Secret, config, config_choice, config_enum};
use crate::sinks::delivery::{BasicAuth, Credentials, Mask, Renewed, Sign, authorization, basic, bearer, sensitive};
use crate::time::NS_PER_SEC;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::HeaderValue;
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
        /// A token that the sink signs itself, sent as `Bearer` and renewed before it expires.
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
    }
}

/// User name beside an ingestion token: the server takes any.
const TOKEN_USER: &str = "tidegate";

impl Credentials for AuthConfig {
    fn check(&self, cx: &mut Reader<'_>) {
        if let AuthConfig::Basic(basic) = self {
            basic.check(cx);
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

/// Gives the header with a token as of now.
fn tokens(config: JwtAuth, mask: Mask) -> impl FnMut(i64) -> Option<HeaderValue> + Send {
    // The token in use, and when it is to be renewed, in nanoseconds since 1970 UTC.
    let mut current: Option<(HeaderValue, i64)> = None;
    move |now_ns| {
        if let Some((value, renew)) = &current
            && now_ns < *renew
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
    let key = config.key.reveal().as_bytes();
    let signature = match config.algorithm {
        JwtAlgorithm::Hs256 => mac::<Hmac<Sha256>>(key, signed.as_bytes()),
        JwtAlgorithm::Hs384 => mac::<Hmac<Sha384>>(key, signed.as_bytes()),
        JwtAlgorithm::Hs512 => mac::<Hmac<Sha512>>(key, signed.as_bytes()),
    };
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
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
        let first = header(start).unwrap();
        assert!(first.is_sensitive());
        assert_eq!(header(start + 539 * NS_PER_SEC).unwrap(), first);
        let second = header(start + 541 * NS_PER_SEC).unwrap();
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

    #[test]
    fn the_signature_is_the_one_of_rfc_7519() {
        // The example of RFC 7515, appendix A.1, has a key that is no text; this one is jwt.io's.
        let signed = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ";
        let signature = mac::<Hmac<Sha256>>(b"your-256-bit-secret", signed.as_bytes());
        assert_eq!(URL_SAFE_NO_PAD.encode(signature), "SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c");
    }
}
