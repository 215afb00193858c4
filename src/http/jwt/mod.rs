//! Tokens that others have signed (RFC 7519): read, and verified with keys that are known or published.
//!
//! A token is good where one of the allowed algorithms has signed it with a key of that algorithm's kind, and its claims hold now. The
//! token never says what is allowed: `none` is no algorithm here, and a public key is never a secret of HMAC, as a key has one kind.
//!
//! **Published keys** (`jwks_url`) are read with the first token, again once an hour, and where the key of a token is not known; once a
//! second at most, by one request for all that wait. Where they cannot be read, those that are known go on to count, and of a token whose key
//! is not known it is said that this cannot be told now.

use super::client::HttpExchange;
use super::exchange::{Exchange, Request};
use super::mask::Mask;
use super::settings::{ClientConfig, address, check_address};
use crate::error::BuildError;
use crate::settings::{Map, OneOrMany, Reader, Secret, Settings as _, Spanned, config, config_enum};
use crate::sync::Locked;
use crate::time::{NS_PER_SEC, clock};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use reqwest::Url;
use reqwest::header::HeaderMap;
use ring::{hmac, signature};
use serde_json::Value;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

config_enum! {
    /// How tokens are signed.
    pub enum TokenAlgorithm {
        /// HMAC with SHA-256.
        Hs256 = "HS256",
        /// HMAC with SHA-384.
        Hs384 = "HS384",
        /// HMAC with SHA-512.
        Hs512 = "HS512",
        /// RSA with SHA-256, keys of 2,048 bits and more.
        Rs256 = "RS256",
        /// RSA with SHA-384.
        Rs384 = "RS384",
        /// RSA with SHA-512.
        Rs512 = "RS512",
        /// ECDSA on P-256.
        Es256 = "ES256",
        /// ECDSA on P-384.
        Es384 = "ES384",
    }
}

config! {
    /// A key that tokens are signed with.
    pub struct TokenKey {
        /// What tokens call it (`kid`); left out: it is tried for each.
        pub id: Option<String> = None,
        /// The secret, of HMAC.
        pub secret: Option<Secret> = None,
        /// The public key of RSA or ECDSA: PEM, `-----BEGIN PUBLIC KEY-----`.
        pub public_key: Option<Spanned<String>> = None,
    }
}

config! {
    /// Tokens that somebody else has signed (JWT). Their subject is the user.
    pub struct TokenAuth {
        /// The keys.
        pub keys: Vec<TokenKey> = Vec::new(),
        /// Where keys are published (a JWK set), in place of `keys`.
        pub jwks_url: Option<Spanned<String>> = None,
        /// Who must have made a token (`iss`); left out: anybody.
        pub issuer: Option<String> = None,
        /// For whom it must be (`aud`), any of these; left out: for anybody.
        pub audience: OneOrMany<String> = OneOrMany(Vec::new()),
        /// What it may be signed with.
        pub algorithms: Vec<TokenAlgorithm> = vec![TokenAlgorithm::Rs256, TokenAlgorithm::Es256, TokenAlgorithm::Hs256],
        /// How far clocks may be apart.
        pub leeway: Duration = Duration::from_secs(60),
        /// Values that further claims must have, any of those listed: `{org: [default]}`.
        pub claims: Map<OneOrMany<String>> = Map::default(),
    }
}

/// How old published keys may be.
const MAX_AGE: Duration = Duration::from_secs(3600);
/// Shortest time between two looks for keys that are not known; and for keys that are, and old, where a look has failed.
const BETWEEN: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 1000 });
const AGAIN: Duration = Duration::from_secs(10);
/// Longest wait for them.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest key set and longest token that are read.
const MAX_KEYS: usize = 1 << 20;
const MAX_TOKEN: usize = 16 << 10;

impl TokenAuth {
    /// Notes mistakes; `under` is where these settings stand, below the block that is read.
    pub fn check(&self, under: &str, cx: &mut Reader<'_>) {
        let at = |key: &str| format!("{under}.{key}");
        if self.keys.is_empty() == self.jwks_url.is_none() {
            cx.error_at(under, format!("`{under}` needs one of `keys` and `jwks_url`"));
        }
        if let Some(url) = &self.jwks_url {
            check_address(cx, "jwks_url", url, "https://login.example.com/.well-known/jwks.json");
        }
        if self.algorithms.is_empty() {
            cx.error_at(&at("algorithms"), format!("`{under}.algorithms` is empty: no token would be taken"));
        }
        for key in &self.keys {
            match (&key.secret, &key.public_key) {
                (Some(secret), None) if secret.reveal().contains("-----BEGIN") => {
                    let what = format!("a `secret` of `{under}.keys` is a key in PEM, which everybody may know");
                    cx.error_at(&at("keys"), what).help("write it under `public_key`");
                }
                (Some(secret), None) if secret.reveal().len() < 16 => {
                    cx.error_at(&at("keys"), format!("a `secret` of `{under}.keys` is shorter than 16 bytes"));
                }
                (Some(_), None) => {}
                (None, Some(key)) => {
                    if let Err(why) = of_pem(&key.value) {
                        cx.error(key.span, format!("`public_key`: {why}"));
                    }
                }
                _ => {
                    cx.error_at(&at("keys"), format!("a key of `{under}.keys` needs one of `secret` and `public_key`"));
                }
            }
        }
    }
}

/// What a key can verify.
#[derive(Clone)]
enum Material {
    Hmac(Arc<[u8]>),
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
}

#[derive(Clone)]
struct Key {
    id: Option<String>,
    /// The one algorithm that it is for, where it says so.
    algorithm: Option<String>,
    material: Material,
}

/// Keys, and when they were read.
struct Known {
    keys: Arc<[Key]>,
    read: Option<Instant>,
}

/// Where keys are published.
struct Published {
    url: Url,
    exchange: Arc<dyn Exchange>,
    /// When they were asked for last. Held while they are asked for.
    asked: tokio::sync::Mutex<Option<Instant>>,
}

/// Verifies tokens.
pub struct Tokens {
    known: Mutex<Known>,
    published: Option<Published>,
    algorithms: Vec<TokenAlgorithm>,
    issuer: Option<String>,
    audience: Vec<String>,
    leeway: i64,
    claims: Vec<(String, Vec<String>)>,
}

/// What is wrong with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// It is not good, and why.
    Refused(&'static str),
    /// Its key is not known, and may be published by now.
    Unknown,
    /// That cannot be told, as the keys cannot be read.
    Unavailable,
}

impl Tokens {
    /// Of settings that were checked.
    ///
    /// Errors: what is needed to ask for published keys cannot be made.
    pub fn new(config: &TokenAuth) -> Result<Tokens, BuildError> {
        let key = |key: &TokenKey| {
            let material = match (&key.secret, &key.public_key) {
                (Some(secret), _) => Ok(Material::Hmac(secret.reveal().as_bytes().into())),
                (None, Some(pem)) => of_pem(&pem.value),
                (None, None) => Err("it is empty"),
            };
            let material = material.map_err(|why| BuildError::config(format!("a key of `jwt.keys`: {why}")))?;
            Ok::<Key, BuildError>(Key { id: key.id.clone(), algorithm: None, material })
        };
        let keys = config.keys.iter().map(key).collect::<Result<Arc<[Key]>, _>>()?;
        let published = match &config.jwks_url {
            None => None,
            Some(url) => {
                let at = address(url).ok_or_else(|| BuildError::config("`jwks_url` is not an address"))?;
                let client = ClientConfig { timeout: TIMEOUT, ..ClientConfig::defaults() };
                let exchange = HttpExchange::build(&client, &at, Mask::new([])).map_err(BuildError::from)?;
                Some(Published { url: at, exchange: Arc::new(exchange), asked: tokio::sync::Mutex::default() })
            }
        };
        Ok(Tokens {
            known: Mutex::new(Known { keys, read: None }),
            published,
            algorithms: config.algorithms.clone(),
            issuer: config.issuer.clone(),
            audience: config.audience.0.clone(),
            leeway: i64::try_from(config.leeway.as_secs()).unwrap_or(i64::MAX),
            claims: config.claims.iter().map(|(name, values)| (name.value.clone(), values.0.clone())).collect(),
        })
    }

    /// The subject of a token that is good now.
    ///
    /// Errors: it is not.
    pub async fn subject(&self, token: &str) -> Result<Option<String>, Wrong> {
        let now = clock::now_ns() / NS_PER_SEC;
        let Some(published) = &self.published else { return self.verify(token, now).map_err(refused) };
        self.keep_young(published).await;
        let before = self.known.locked().read;
        match self.verify(token, now) {
            Err(Wrong::Unknown) => {}
            other => return other,
        }
        let read = self.read_anew(published, before).await;
        match self.verify(token, now) {
            Err(Wrong::Unknown) if read.is_err() => Err(Wrong::Unavailable),
            other => other.map_err(refused),
        }
    }

    /// Reads keys that are known for long again, where nobody does; those that are known go on to count where that fails.
    async fn keep_young(&self, published: &Published) {
        let read = self.known.locked().read;
        if read.is_none_or(|at| at.elapsed() < MAX_AGE) {
            return;
        }
        let Ok(mut asked) = published.asked.try_lock() else { return };
        if asked.is_none_or(|at| at.elapsed() >= AGAIN) {
            // What is wrong has been logged.
            _ = self.ask(published).await;
            *asked = Some(clock::monotonic());
        }
    }

    /// Reads the keys, unless somebody has since `before`; once a second, and once for all that wait.
    ///
    /// Errors: they cannot be read.
    async fn read_anew(&self, published: &Published, before: Option<Instant>) -> Result<(), ()> {
        let begun = clock::monotonic();
        let mut asked = published.asked.lock().await;
        let read = self.known.locked().read;
        if read != before {
            return Ok(());
        }
        if let Some(at) = *asked {
            if at >= begun {
                return Err(());
            }
            tokio::time::sleep(BETWEEN.saturating_sub(at.elapsed())).await;
        }
        let result = self.ask(published).await;
        *asked = Some(clock::monotonic());
        result
    }

    /// Asks for the keys.
    ///
    /// Errors: there is no answer, or it is no set of keys; that has been logged.
    async fn ask(&self, published: &Published) -> Result<(), ()> {
        let answer = published.exchange.send(Request::get(published.url.clone(), HeaderMap::new()), MAX_KEYS).await;
        let keys = match answer {
            Ok(answer) if (200..300).contains(&answer.status) && !answer.cut => of_set(&answer.body),
            Ok(answer) => {
                tracing::warn!(status = answer.status, "keys of tokens cannot be read from `jwks_url`");
                return Err(());
            }
            Err(lost) => {
                tracing::warn!(error = %lost.why, "keys of tokens cannot be read from `jwks_url`");
                return Err(());
            }
        };
        let Some(keys) = keys else {
            tracing::warn!("what `jwks_url` answers is not a set of keys");
            return Err(());
        };
        *self.known.locked() = Known { keys, read: Some(clock::monotonic()) };
        Ok(())
    }

    /// The subject of a token that is good at a time (in seconds), by the keys that are known.
    fn verify(&self, token: &str, now: i64) -> Result<Option<String>, Wrong> {
        let fail = Wrong::Refused;
        if token.len() > MAX_TOKEN {
            return Err(fail("it is too long"));
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(fail("it is not a token"))?;
        let (head, claims) = signed.split_once('.').ok_or(fail("it is not a token"))?;
        let json = |part: &str| -> Option<Value> { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok() };
        let head = json(head).filter(Value::is_object).ok_or(fail("its head cannot be read"))?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| fail("its signature cannot be read"))?;
        let named = head["alg"].as_str().unwrap_or_default();
        let algorithm = self.algorithms.iter().find(|known| known.word() == named);
        let algorithm = *algorithm.ok_or(fail("its algorithm is not allowed"))?;
        if head.get("crit").is_some() {
            return Err(fail("it asks for what is not understood"));
        }
        let keys = self.known.locked().keys.clone();
        let id = head["kid"].as_str();
        let mut fits = keys.iter().filter(|key| match (id, &key.id) {
            (Some(asked), Some(id)) => asked == id,
            _ => true,
        });
        let mut any = false;
        let good = fits.any(|key| {
            let for_it = key.algorithm.as_deref().is_none_or(|only| only == named);
            any |= for_it;
            for_it && key.material.verifies(algorithm, signed.as_bytes(), &signature)
        });
        if !good {
            // A token without a key's name may be of one that is new as well.
            let new = self.published.is_some() && (!any || id.is_none());
            return Err(if new || !any { Wrong::Unknown } else { fail("its signature is wrong") });
        }
        let claims = json(claims).filter(Value::is_object).ok_or(fail("its claims cannot be read"))?;
        self.hold(&claims, now)?;
        Ok(claims["sub"].as_str().map(str::to_owned))
    }

    /// Whether claims hold now.
    fn hold(&self, claims: &Value, now: i64) -> Result<(), Wrong> {
        let fail = Wrong::Refused;
        let time = |key: &str| claims.get(key).map(|value| value.as_f64().filter(|time| time.is_finite()));
        let now = now as f64;
        let leeway = self.leeway as f64;
        match time("exp") {
            Some(Some(end)) if now < end + leeway => {}
            Some(Some(_)) => return Err(fail("it has expired")),
            _ => return Err(fail("it does not say when it expires")),
        }
        for key in ["nbf", "iat"] {
            match time(key) {
                None => {}
                Some(Some(begin)) if begin - leeway <= now => {}
                _ => return Err(fail("it is not good yet")),
            }
        }
        let is = |value: &Value, wanted: &dyn Fn(&str) -> bool| match value {
            Value::String(text) => wanted(text),
            Value::Array(list) => list.iter().filter_map(Value::as_str).any(wanted),
            Value::Number(_) | Value::Bool(_) => wanted(&value.to_string()),
            _ => false,
        };
        if self.issuer.as_ref().is_some_and(|issuer| claims["iss"].as_str() != Some(issuer)) {
            return Err(fail("somebody else has made it"));
        }
        if !self.audience.is_empty() && !is(&claims["aud"], &|one| self.audience.iter().any(|wanted| wanted == one)) {
            return Err(fail("it is for somebody else"));
        }
        for (name, values) in &self.claims {
            if !is(&claims[name.as_str()], &|one| values.iter().any(|wanted| wanted == one)) {
                return Err(fail("a claim has another value"));
            }
        }
        Ok(())
    }
}

/// Where there is nobody to ask, a key that is not known is a wrong one.
fn refused(wrong: Wrong) -> Wrong {
    if wrong == Wrong::Unknown { Wrong::Refused("its key is not known") } else { wrong }
}

impl Material {
    /// Whether this key has signed it with this algorithm; a key of another kind has not.
    fn verifies(&self, algorithm: TokenAlgorithm, signed: &[u8], given: &[u8]) -> bool {
        use TokenAlgorithm::{Es256, Es384, Hs256, Hs384, Hs512, Rs256, Rs384, Rs512};
        let rsa =
            |n: &[u8], e: &[u8], how| signature::RsaPublicKeyComponents { n, e }.verify(how, signed, given).is_ok();
        match (self, algorithm) {
            (Material::Hmac(key), Hs256 | Hs384 | Hs512) => {
                let how = match algorithm {
                    Hs384 => hmac::HMAC_SHA384,
                    Hs512 => hmac::HMAC_SHA512,
                    _ => hmac::HMAC_SHA256,
                };
                hmac::verify(&hmac::Key::new(how, key), signed, given).is_ok()
            }
            (Material::Rsa { n, e }, Rs256) => rsa(n, e, &signature::RSA_PKCS1_2048_8192_SHA256),
            (Material::Rsa { n, e }, Rs384) => rsa(n, e, &signature::RSA_PKCS1_2048_8192_SHA384),
            (Material::Rsa { n, e }, Rs512) => rsa(n, e, &signature::RSA_PKCS1_2048_8192_SHA512),
            (Material::P256(point), Es256) => {
                let key = signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point);
                key.verify(signed, given).is_ok()
            }
            (Material::P384(point), Es384) => {
                let key = signature::UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, point);
                key.verify(signed, given).is_ok()
            }
            _ => false,
        }
    }
}

/// The keys of a JWK set (RFC 7517) that tokens can be signed with; secrets among them are nobody's to publish. `None`: it is no set.
fn of_set(text: &[u8]) -> Option<Arc<[Key]>> {
    let set: Value = serde_json::from_slice(text).ok()?;
    let list = set.get("keys")?.as_array()?;
    let key = |jwk: &Value| {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?.trim_end_matches('=')).ok();
        if text("use").is_some_and(|what| what != "sig") {
            return None;
        }
        let point = |size: usize| {
            let (x, y) = (bytes("x")?, bytes("y")?);
            (x.len() == size && y.len() == size).then(|| [&[4u8][..], &x, &y].concat())
        };
        let material = match (text("kty")?, text("crv")) {
            // Numbers without leading zeros.
            ("RSA", _) => {
                let number = |bytes: Vec<u8>| bytes.into_iter().skip_while(|b| *b == 0).collect();
                Material::Rsa { n: number(bytes("n")?), e: number(bytes("e")?) }
            }
            ("EC", Some("P-256")) => Material::P256(point(32)?),
            ("EC", Some("P-384")) => Material::P384(point(48)?),
            _ => return None,
        };
        Some(Key { id: text("kid").map(str::to_owned), algorithm: text("alg").map(str::to_owned), material })
    };
    Some(list.iter().filter_map(key).collect())
}

/// A public key in PEM: SubjectPublicKeyInfo (RFC 5280) of RSA, P-256 or P-384.
fn of_pem(text: &str) -> Result<Material, &'static str> {
    const ODD: &str = "it is not a public key in PEM: `-----BEGIN PUBLIC KEY-----`, of RSA, P-256 or P-384";
    let body = text.trim().strip_prefix("-----BEGIN PUBLIC KEY-----").ok_or(ODD)?;
    let body: String = body.split("-----END PUBLIC KEY-----").next().unwrap_or_default().split_whitespace().collect();
    let der = STANDARD.decode(body).map_err(|_| ODD)?;
    of_der(&der).ok_or(ODD)
}

fn of_der(der: &[u8]) -> Option<Material> {
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
    const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
    const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
    const P384: &[u8] = &[0x2b, 0x81, 4, 0, 0x22];
    let (info, _) = element(der, 0x30)?;
    let (algorithm, rest) = element(info, 0x30)?;
    let (bits, _) = element(rest, 3)?;
    // No unused bits.
    let bits = bits.strip_prefix(&[0])?;
    let (kind, parameters) = element(algorithm, 6)?;
    if kind == RSA {
        let (numbers, _) = element(bits, 0x30)?;
        let (n, rest) = element(numbers, 2)?;
        let (e, _) = element(rest, 2)?;
        let number = |bytes: &[u8]| bytes.iter().copied().skip_while(|b| *b == 0).collect::<Vec<u8>>();
        return Some(Material::Rsa { n: number(n), e: number(e) });
    }
    let curve = element(parameters, 6).filter(|_| kind == EC)?.0;
    match (curve, bits.len()) {
        (P256, 65) => Some(Material::P256(bits.to_vec())),
        (P384, 97) => Some(Material::P384(bits.to_vec())),
        _ => None,
    }
}

/// The contents of an element of DER with this tag, and what is behind it.
fn element(text: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = text.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first > 0x80 {
        let bytes = usize::from(first & 0x7f);
        if bytes > 3 || rest.len() < bytes {
            return None;
        }
        length = rest[..bytes].iter().fold(0, |n, byte| n << 8 | usize::from(*byte));
        rest = &rest[bytes..];
    }
    (found == tag && rest.len() >= length).then(|| rest.split_at(length))
}

#[cfg(test)]
mod tests;
