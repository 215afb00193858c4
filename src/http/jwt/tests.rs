#![allow(clippy::unwrap_used)]
use super::*;
use crate::http::exchange::{Answer, Lost, LostKind};
use crate::settings::read_and_check;
use crate::sync::BoxFuture;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

const RSA_KEY: &str = include_str!("../../../tests/fixtures/jwt/rsa.key");
const RSA_PUBLIC: &str = include_str!("../../../tests/fixtures/jwt/rsa.pub");
const EC_PUBLIC: &str = include_str!("../../../tests/fixtures/jwt/p256.pub");
const EC_KEY: &str = include_str!("../../../tests/fixtures/jwt/p256.key");
const SECRET: &str = "a-secret-of-sixteen-bytes-and-more";
const NOW: i64 = 1_700_000_000;

fn der(pem: &str) -> Vec<u8> {
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    STANDARD.decode(body).unwrap()
}

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn hs256(secret: &[u8], head: &Value, claims: &Value) -> String {
    let text = format!("{}.{}", encode(head), encode(claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(tag))
}

fn rs256(head: &Value, claims: &Value) -> String {
    let key = RsaKeyPair::from_pkcs8(&der(RSA_KEY)).unwrap();
    let text = format!("{}.{}", encode(head), encode(claims));
    let mut out = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut out).unwrap();
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(out))
}

fn es256_by(key: &[u8], head: &Value, claims: &Value) -> String {
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key, &random).unwrap();
    let text = format!("{}.{}", encode(head), encode(claims));
    let out = key.sign(&random, text.as_bytes()).unwrap();
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(out))
}

fn es256(head: &Value, claims: &Value) -> String {
    es256_by(&der(EC_KEY), head, claims)
}

fn claims() -> Value {
    json!({"iss": "login", "sub": "ann", "aud": ["logs", "x"], "org": "default", "iat": NOW, "exp": NOW + 600})
}

/// Good until the year 3000.
fn lasting() -> Value {
    let mut claims = claims();
    claims["exp"] = json!(32_503_680_000i64);
    claims
}

fn settings(more: &str) -> TokenAuth {
    let indented = |pem: &str| pem.lines().map(|line| format!("      {line}\n")).collect::<String>();
    let text = format!(
        "keys:\n  - {{id: h, secret: {SECRET}}}\n  - id: r\n    public_key: |\n{}  - id: e\n    public_key: |\n{}\
         issuer: login\naudience: logs\nclaims: {{org: [default, other]}}\n{more}",
        indented(RSA_PUBLIC),
        indented(EC_PUBLIC)
    );
    let (read, report) =
        read_and_check::<TokenAuth>("t.yaml", &text, &BTreeMap::<String, String>::new(), |auth, cx| {
            auth.check("jwt", cx)
        });
    read.unwrap_or_else(|| panic!("{}", report.render()))
}

fn said(tokens: &Tokens, token: &str) -> String {
    match tokens.verify(token, NOW) {
        Ok(subject) => subject.unwrap_or_default(),
        Err(Wrong::Refused(why)) => why.to_owned(),
        Err(other) => format!("{other:?}"),
    }
}

#[test]
fn each_algorithm_is_verified_with_a_key_of_its_kind_and_with_no_other() {
    let tokens = Tokens::new(&settings("")).unwrap();
    let head = |alg: &str, kid: &str| json!({"alg": alg, "kid": kid});
    let good = [
        hs256(SECRET.as_bytes(), &head("HS256", "h"), &claims()),
        rs256(&head("RS256", "r"), &claims()),
        es256(&head("ES256", "e"), &claims()),
        // Without a name all of them are tried.
        rs256(&json!({"alg": "RS256"}), &claims()),
    ];
    for token in &good {
        assert_eq!(said(&tokens, token), "ann", "{token}");
        let (text, _) = token.rsplit_once('.').unwrap();
        // Another signature, other claims, none at all.
        assert_ne!(said(&tokens, &format!("{text}.{}", URL_SAFE_NO_PAD.encode([0; 64]))), "ann");
        let mut other = claims();
        other["sub"] = json!("root");
        let parts: Vec<&str> = token.split('.').collect();
        assert_ne!(said(&tokens, &format!("{}.{}.{}", parts[0], encode(&other), parts[2])), "ann");
        for cut in [text.to_owned(), format!("{text}."), token[..token.len() - 2].to_owned(), format!("{token}.x")] {
            assert_ne!(said(&tokens, &cut), "ann", "{cut}");
        }
    }
    for alg in ["none", "None", "NONE", "", "HS384", "PS256", "RS512"] {
        let text = format!("{}.{}", encode(&head(alg, "r")), encode(&claims()));
        assert_eq!(said(&tokens, &format!("{text}.")), "its algorithm is not allowed", "{alg}");
    }
    // HMAC with a public key as its secret: in PEM, in DER, with and without the key's name.
    for secret in [RSA_PUBLIC.as_bytes(), RSA_PUBLIC.trim().as_bytes(), EC_PUBLIC.as_bytes(), &der(RSA_PUBLIC)] {
        for head in [head("HS256", "r"), head("HS256", "e"), head("HS256", "h"), json!({"alg": "HS256"})] {
            let said = said(&tokens, &hs256(secret, &head, &claims()));
            assert_eq!(said, "its signature is wrong", "{head}");
        }
    }
    assert_eq!(
        said(&tokens, &rs256(&head("RS256", "h"), &claims())),
        "its signature is wrong",
        "the key of another name"
    );
    assert_eq!(said(&tokens, &rs256(&head("RS256", "z"), &claims())), "Unknown");
    let crit = json!({"alg": "RS256", "kid": "r", "crit": ["exp"]});
    assert_eq!(said(&tokens, &rs256(&crit, &claims())), "it asks for what is not understood");
    let only = Tokens::new(&settings("algorithms: [ES256]")).unwrap();
    assert_eq!(said(&only, &good[1]), "its algorithm is not allowed");
    assert_eq!(said(&only, &good[2]), "ann");
}

#[test]
fn claims_must_hold_now() {
    let tokens = Tokens::new(&settings("leeway: 30s")).unwrap();
    let check = |change: &dyn Fn(&mut Value)| {
        let mut claims = claims();
        change(&mut claims);
        said(&tokens, &hs256(SECRET.as_bytes(), &json!({"alg": "HS256", "kid": "h"}), &claims))
    };
    let with = |key: &'static str, value: Value| check(&|claims: &mut Value| claims[key] = value.clone());
    for (key, value, want) in [
        ("exp", json!(NOW - 29), "ann"),
        ("exp", json!(NOW - 30), "it has expired"),
        ("exp", json!(NOW as f64 + 0.5), "ann"),
        ("exp", json!("never"), "it does not say when it expires"),
        ("nbf", json!(NOW + 30), "ann"),
        ("nbf", json!(NOW + 31), "it is not good yet"),
        ("nbf", json!("soon"), "it is not good yet"),
        ("iat", json!(NOW + 31), "it is not good yet"),
        ("iss", json!("login2"), "somebody else has made it"),
        ("iss", json!(["login"]), "somebody else has made it"),
        ("aud", json!("logs"), "ann"),
        ("aud", json!("log"), "it is for somebody else"),
        ("aud", json!(["x"]), "it is for somebody else"),
        ("org", json!("other"), "ann"),
        ("org", json!(["a", "default"]), "ann"),
        ("org", json!("third"), "a claim has another value"),
        ("org", json!({"default": 1}), "a claim has another value"),
        ("sub", json!(5), ""),
    ] {
        assert_eq!(with(key, value.clone()), want, "{key} {value}");
    }
    let without = |key: &'static str| check(&|claims: &mut Value| drop(claims.as_object_mut().unwrap().remove(key)));
    let gone = ["exp", "iss", "aud", "org", "nbf", "iat"].map(without);
    let want = [
        "it does not say when it expires",
        "somebody else has made it",
        "it is for somebody else",
        "a claim has another value",
    ];
    assert_eq!(gone[..4], want);
    assert_eq!(gone[4..], ["ann", "ann"]);
    assert_eq!(check(&|claims: &mut Value| *claims = json!([1])), "its claims cannot be read");
}

#[test]
fn mistakes_are_told_at_their_place() {
    for (text, words) in [
        ("{}", "needs one of `keys` and `jwks_url`"),
        ("{keys: [{secret: 0123456789abcdef0}], jwks_url: 'http://x/k'}", "needs one of `keys` and `jwks_url`"),
        ("{keys: [{secret: short}]}", "shorter than 16 bytes"),
        ("{keys: [{id: x}]}", "needs one of `secret` and `public_key`"),
        ("{keys: [{secret: '-----BEGIN PUBLIC KEY-----'}]}", "which everybody may know"),
        ("{keys: [{public_key: '-----BEGIN CERTIFICATE-----'}]}", "is not a public key in PEM"),
        ("{jwks_url: 'login'}", "`jwks_url`"),
        ("{jwks_url: 'http://x/k', algorithms: []}", "no token would be taken"),
        ("{jwks_url: 'http://x/k', algorithms: [none]}", "`HS256`"),
    ] {
        let environment = BTreeMap::<String, String>::new();
        let (_, report) = read_and_check::<TokenAuth>("t.yaml", text, &environment, |auth, cx| auth.check("jwt", cx));
        assert!(report.render().contains(words), "{text}: {}", report.render());
    }
}

/// A server of keys: answers with what is there, counted, after a while.
#[derive(Default)]
struct Keys {
    set: Mutex<Option<String>>,
    asked: AtomicUsize,
    wait: Duration,
}

impl Exchange for Arc<Keys> {
    fn send(&self, _request: Request, _max: usize) -> BoxFuture<Result<Answer, Lost>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let (set, wait) = (self.set.locked().clone(), self.wait);
        Box::pin(async move {
            tokio::time::sleep(wait).await;
            match set {
                Some(set) => Ok(Answer { status: 200, body: set.into(), ..Answer::default() }),
                None => Err(Lost { kind: LostKind::Connect, why: "nobody is there".into() }),
            }
        })
    }
}

fn published(keys: &Arc<Keys>) -> Tokens {
    let mut tokens = Tokens::new(&settings("")).unwrap();
    tokens.known.locked().keys = Arc::new([]);
    tokens.published = Some(Published {
        url: Url::parse("http://login/keys").unwrap(),
        exchange: Arc::new(keys.clone()),
        asked: tokio::sync::Mutex::default(),
    });
    tokens
}

/// A new pair: the private key, and the public one as it is published.
fn pair(id: &str) -> (Vec<u8>, Value) {
    let random = SystemRandom::new();
    let private = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, private.as_ref(), &random).unwrap();
    let point = key.public_key().as_ref();
    let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let public = json!({"kty": "EC", "crv": "P-256", "kid": id, "use": "sig", "x": number(&point[1..33]), "y": number(&point[33..])});
    (private.as_ref().to_vec(), public)
}

fn set(keys: &[&Value]) -> Option<String> {
    Some(json!({"keys": keys}).to_string())
}

#[tokio::test]
async fn published_keys_are_read_once_for_all_that_wait_and_again_when_they_change() {
    let server = Arc::new(Keys { wait: Duration::from_millis(20), ..Keys::default() });
    let (first, first_public) = pair("1");
    let (second, second_public) = pair("2");
    let encryption =
        json!({"kty": "EC", "crv": "P-256", "kid": "3", "use": "enc", "x": first_public["x"], "y": first_public["y"]});
    let secret = json!({"kty": "oct", "kid": "4", "k": URL_SAFE_NO_PAD.encode(SECRET)});
    *server.set.locked() = set(&[&first_public, &encryption, &secret]);
    let tokens = published(&server);
    let token = |key: &[u8], id: &str| es256_by(key, &json!({"alg": "ES256", "kid": id}), &lasting());
    let one = token(&first, "1");
    let all = futures::future::join_all((0..100).map(|_| tokens.subject(&one))).await;
    assert!(all.iter().all(|subject| *subject == Ok(Some("ann".into()))), "{all:?}");
    assert_eq!(server.asked.load(Ordering::SeqCst), 1);
    // A key for encryption and a secret that is published sign nothing.
    assert!(matches!(tokens.subject(&token(&first, "3")).await, Err(Wrong::Refused(_))));
    let by_secret = hs256(SECRET.as_bytes(), &json!({"alg": "HS256", "kid": "4"}), &lasting());
    assert!(matches!(tokens.subject(&by_secret).await, Err(Wrong::Refused(_))));
    // The key is changed for another.
    *server.set.locked() = set(&[&second_public]);
    let before = server.asked.load(Ordering::SeqCst);
    let new = token(&second, "2");
    let all = futures::future::join_all((0..100).map(|_| tokens.subject(&new))).await;
    assert!(all.iter().all(|subject| *subject == Ok(Some("ann".into()))), "{all:?}");
    assert_eq!(server.asked.load(Ordering::SeqCst), before + 1);
    assert!(matches!(tokens.subject(&one).await, Err(Wrong::Refused(_))), "the old key is gone");
}

#[tokio::test]
async fn where_keys_cannot_be_read_known_ones_count_and_of_others_it_cannot_be_told() {
    let server = Arc::new(Keys { wait: Duration::from_millis(20), ..Keys::default() });
    let (first, first_public) = pair("1");
    let (second, _) = pair("2");
    let tokens = published(&server);
    let token = |key: &[u8], id: &str| es256_by(key, &json!({"alg": "ES256", "kid": id}), &lasting());
    let (one, two) = (token(&first, "1"), token(&second, "2"));
    let all = futures::future::join_all((0..50).map(|_| tokens.subject(&one))).await;
    assert!(all.iter().all(|subject| *subject == Err(Wrong::Unavailable)), "{all:?}");
    assert_eq!(server.asked.load(Ordering::SeqCst), 1, "one has asked for all");
    *server.set.locked() = set(&[&first_public]);
    assert_eq!(tokens.subject(&one).await, Ok(Some("ann".into())));
    for broken in [None, Some("<html>".to_owned()), Some("{\"keys\": 5}".to_owned())] {
        *server.set.locked() = broken;
        assert_eq!(tokens.subject(&one).await, Ok(Some("ann".into())));
        assert_eq!(tokens.subject(&two).await, Err(Wrong::Unavailable));
    }
    // Keys that are known for long are read again, and go on to count where that fails.
    let asked = server.asked.load(Ordering::SeqCst);
    let long_ago = clock::monotonic().checked_sub(MAX_AGE);
    tokens.known.locked().read = long_ago;
    *tokens.published.as_ref().unwrap().asked.lock().await = None;
    assert_eq!(tokens.subject(&one).await, Ok(Some("ann".into())));
    assert_eq!(server.asked.load(Ordering::SeqCst), asked + 1);
}
