//! Tokens that somebody else has signed, at the `http` source: keys that are published, fail and change; and from agent to agent.

use crate::agent::{config, eventually, lines, output, tidegate};
use crate::http::Receiver;
use crate::wire::{Wire, reply};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

fn pair(pkcs8: &[u8]) -> EcdsaKeyPair {
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &SystemRandom::new()).unwrap()
}

fn new_pair() -> EcdsaKeyPair {
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
    pair(pkcs8.as_ref())
}

/// A set of one key as it is published.
fn set(pair: &EcdsaKeyPair, id: &str) -> String {
    let point = pair.public_key().as_ref();
    let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let key = json!({"kty": "EC", "crv": "P-256", "kid": id, "x": number(&point[1..33]), "y": number(&point[33..])});
    json!({"keys": [key]}).to_string()
}

fn now() -> i64 {
    crate::openobserve_double::now_micros() / 1_000_000
}

fn token(pair: &EcdsaKeyPair, head: &Value, more: &Value) -> String {
    let mut claims = json!({"iss": "login", "sub": "ann", "aud": "logs", "exp": now() + 3600});
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", encode(head), encode(&claims));
    let signature = pair.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

const SETTINGS: &str = "issuer: login, audience: logs, algorithms: [ES256]";

#[test]
fn keys_are_published_fail_and_change_and_only_who_is_meant_comes_in() {
    let published: Arc<Mutex<Option<String>>> = Arc::default();
    let shared = published.clone();
    let server = Wire::start(move |_| match &*shared.lock().unwrap() {
        Some(set) => reply(200, set.clone()),
        None => reply(500, "later"),
    });
    let jwt = format!(", attach: [user], auth: {{jwt: {{jwks_url: \"http://{}/keys\", {SETTINGS}}}}}", server.address);
    let receiver = Receiver::start(&jwt);
    let post = |token: &str, body: &str| {
        let bearer = format!("Bearer {token}");
        receiver.post("/", &[("authorization", &bearer)], body.as_bytes())
    };
    let (first, second) = (new_pair(), new_pair());
    let head = |id: &str| json!({"alg": "ES256", "kid": id});
    let good = token(&first, &head("1"), &json!({}));
    let later = post(&good, "{\"n\":0}");
    assert_eq!(later.status, 503, "whose token it is cannot be told yet");
    *published.lock().unwrap() = Some(set(&first, "1"));
    assert_eq!(post(&good, "{\"n\":1}").status, 200);
    for (what, token) in [
        ("another audience", token(&first, &head("1"), &json!({"aud": "metrics"}))),
        ("another issuer", token(&first, &head("1"), &json!({"iss": "elsewhere"}))),
        ("expired", token(&first, &head("1"), &json!({"exp": now() - 3600}))),
        ("not yet", token(&first, &head("1"), &json!({"nbf": now() + 3600}))),
        ("another key", token(&second, &head("1"), &json!({}))),
        ("none", token(&first, &json!({"alg": "none", "kid": "1"}), &json!({}))),
        ("no algorithm of the list", token(&first, &json!({"alg": "HS256", "kid": "1"}), &json!({}))),
        ("nothing", "x".into()),
    ] {
        assert_eq!(post(&token, "{\"n\":9}").status, 401, "{what}");
    }
    assert_eq!(receiver.post("/", &[], b"{\"n\":9}").status, 401);
    // The key is changed: at once the new one counts, and the old one no more.
    *published.lock().unwrap() = Some(set(&second, "2"));
    assert_eq!(post(&token(&second, &head("2"), &json!({"sub": "bob"})), "{\"n\":2}").status, 200);
    assert_eq!(post(&good, "{\"n\":9}").status, 401);
    let out = receiver.dir.path().join("out");
    let rows: Vec<Value> = lines(&out).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let users: Vec<(i64, &str)> =
        rows.iter().map(|r| (r["n"].as_i64().unwrap(), r["user_name"].as_str().unwrap())).collect();
    assert_eq!(users, [(1, "ann"), (2, "bob")]);
    receiver.agent.stop();
}

#[test]
fn what_one_agent_signs_with_its_private_key_another_takes() {
    let fixtures = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/jwt");
    let public = fixtures.join("p256.pub");
    let jwt = format!(
        ", attach: [user], auth: {{jwt: {{keys: [{{public_key: \"${{file:{}}}\"}}], {SETTINGS}}}}}",
        public.display()
    );
    let receiver = Receiver::start(&jwt);
    let dir = tempfile::tempdir().unwrap();
    let auth = |key: &str| {
        let key = fixtures.join(key);
        format!(
            "auth: {{jwt: {{key: \"${{file:{}}}\", algorithm: ES256, issuer: login, subject: edge, audience: logs}}}}",
            key.display()
        )
    };
    let write = |auth: &str| {
        config(
            dir.path(),
            &format!(
                "data_dir: ./data\nsources: {{in: {{type: demo, count: 20, rate: 0, decode: json}}}}\n\
                 sinks: {{o2: {{type: openobserve, inputs: [in], url: \"http://{}\", stream: s, {auth}}}}}\n",
                receiver.address
            ),
        );
    };
    write(&auth("p256.key"));
    let (code, _, said) = output(tidegate(dir.path(), &["run", "--once", "--config", "tidegate.yaml"]));
    assert_eq!(code, Some(0), "{said}");
    let out = receiver.dir.path().join("out");
    eventually("all have come", || lines(&out).len() == 20);
    assert!(lines(&out).iter().all(|line| serde_json::from_str::<Value>(line).unwrap()["user_name"] == "edge"));
    // A key that cannot sign so is a mistake, at its place, and is not shown.
    write(&auth("rsa.key"));
    let (code, _, said) = output(tidegate(dir.path(), &["validate", "--config", "tidegate.yaml"]));
    assert!(code == Some(78) && said.contains("is not a private key of P-256"), "{said}");
    assert!(!said.contains("BEGIN PRIVATE KEY-----\nM"), "{said}");
    receiver.agent.stop();
}
