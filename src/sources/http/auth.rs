//! Who may send: basic, bearer tokens, tokens that somebody else has signed, or a signature over the body as received.

use crate::error::BuildError;
use crate::http::jwt::{TokenAuth, Tokens, Wrong};
use crate::http::{KnownText, UserPassword};
use crate::settings::{OneOrMany, Reader, Secret, config};
use crate::time::clock;
use base64::Engine;
use hmac::{Hmac, KeyInit, Mac};
use hyper::header::{self, HeaderMap, HeaderName};
use sha2::Sha256;
use std::sync::Arc;
use std::time::Duration;

config! {
    /// What a client must show: any one of the ways that are set.
    pub struct AuthConfig {
        /// User and password, one or several. The user is `@user`.
        pub basic: OneOrMany<UserPassword> = OneOrMany(Vec::new()),
        /// Tokens, any of which will do: `Authorization: Bearer …`, or `ApiKey …` of Elastic clients.
        pub bearer: Vec<Secret> = Vec::new(),
        /// A signature of each request.
        pub hmac: Option<HmacConfig> = None,
        /// Tokens that somebody else has signed, as `Authorization: Bearer …`. Their subject is `@user`.
        pub jwt: Option<TokenAuth> = None,
    }
}

config! {
    /// A signature of each request: the hexadecimal HMAC-SHA256 of `timestamp.body`, the body as it is sent (compressed,
    /// where it is), with a key that both sides know.
    pub struct HmacConfig {
        /// The key.
        pub key: Secret,
        /// Header with the signature; a leading `sha256=` is passed over.
        pub header: String = "X-Signature".to_owned(),
        /// Header with the time of signing, in seconds (or milliseconds) since 1970.
        pub timestamp_header: String = "X-Timestamp".to_owned(),
        /// How far that time may be from now. Within it, a request that is sent twice is taken twice.
        pub tolerance: Duration = Duration::from_secs(300),
    }
}

impl AuthConfig {
    /// Notes what cannot work.
    pub(super) fn check(&self, cx: &mut Reader<'_>) {
        if self.basic.is_empty() && self.bearer.is_empty() && self.hmac.is_none() && self.jwt.is_none() {
            cx.error_at("", "`auth` of an http source is empty; it needs `basic`, `bearer`, `hmac` or `jwt`");
        }
        if let Some(jwt) = &self.jwt {
            jwt.check("jwt", cx);
        }
        let Some(hmac) = &self.hmac else { return };
        for (key, name) in [("hmac.header", &hmac.header), ("hmac.timestamp_header", &hmac.timestamp_header)] {
            if HeaderName::from_bytes(name.as_bytes()).is_err() {
                cx.error_at(key, format!("`{name}` in `auth.hmac` is not a header name"));
            }
        }
    }
}

/// Checks who sends.
pub(super) struct Auth {
    /// `user:password`, and the user.
    basic: Vec<(KnownText, Arc<str>)>,
    /// The tokens.
    bearer: Vec<KnownText>,
    hmac: Option<Signature>,
    tokens: Option<Tokens>,
}

struct Signature {
    mac: Hmac<Sha256>,
    header: HeaderName,
    timestamp_header: HeaderName,
    tolerance: Duration,
}

/// What the head of a request has shown.
pub(super) enum Shown {
    /// It may come in.
    Allowed {
        /// Who it is, where that is known.
        user: Option<Arc<str>>,
    },
    /// It may come in if its body is signed so.
    Signed(SignedBody),
    /// It may not; whether it showed credentials at all.
    Refused {
        /// They are wrong.
        wrong: bool,
    },
    /// That cannot be told now: it is to ask again.
    Unavailable,
}

/// A signature whose body is yet to come.
pub(super) struct SignedBody {
    mac: Hmac<Sha256>,
    signature: Vec<u8>,
}

impl SignedBody {
    /// Whether the body, as received, is the one that was signed.
    pub(super) fn verifies(mut self, body: &[u8]) -> bool {
        self.mac.update(body);
        // Compares in time that does not depend on where they differ.
        self.mac.verify_slice(&self.signature).is_ok()
    }
}

impl Auth {
    /// Of settings that were checked; `None` lets everybody in.
    ///
    /// Errors: what asks for published keys cannot be made.
    pub(super) fn new(config: Option<&AuthConfig>) -> Result<Auth, BuildError> {
        let Some(config) = config else {
            return Ok(Auth { basic: Vec::new(), bearer: Vec::new(), hmac: None, tokens: None });
        };
        let basic = config.basic.iter().map(|b| (KnownText::of(b.pair().as_bytes()), Arc::from(b.user.as_str())));
        let hmac = config.hmac.as_ref().and_then(|h| {
            Some(Signature {
                mac: Hmac::new_from_slice(h.key.reveal().as_bytes()).ok()?,
                header: HeaderName::from_bytes(h.header.as_bytes()).ok()?,
                timestamp_header: HeaderName::from_bytes(h.timestamp_header.as_bytes()).ok()?,
                tolerance: h.tolerance,
            })
        });
        Ok(Auth {
            basic: basic.collect(),
            bearer: config.bearer.iter().map(|t| KnownText::of(t.reveal().as_bytes())).collect(),
            hmac,
            tokens: config.jwt.as_ref().map(Tokens::new).transpose()?,
        })
    }

    /// Whether the head of a request shows what it must; asks for published keys where a token needs them.
    pub(super) async fn shown(&self, headers: &HeaderMap) -> Shown {
        let shown = self.check(headers);
        let (Shown::Refused { wrong: true }, Some(tokens)) = (&shown, &self.tokens) else { return shown };
        let given = headers.get(header::AUTHORIZATION).and_then(|given| given.to_str().ok()?.split_once(' '));
        let Some((_, token)) = given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")) else { return shown };
        match tokens.subject(token.trim()).await {
            Ok(subject) => Shown::Allowed { user: subject.map(Arc::from) },
            Err(Wrong::Unavailable) => Shown::Unavailable,
            Err(wrong) => {
                tracing::debug!(?wrong, "a token is refused");
                shown
            }
        }
    }

    /// Whether everybody may send.
    pub(super) fn is_open(&self) -> bool {
        self.basic.is_empty() && self.bearer.is_empty() && self.hmac.is_none() && self.tokens.is_none()
    }

    /// The same, without tokens that are signed.
    fn check(&self, headers: &HeaderMap) -> Shown {
        if self.is_open() {
            return Shown::Allowed { user: None };
        }
        if let Some(signature) = &self.hmac
            && headers.contains_key(&signature.header)
        {
            return match signature.begin(headers) {
                Some(signed) => Shown::Signed(signed),
                None => Shown::Refused { wrong: true },
            };
        }
        let Some(given) = headers.get(header::AUTHORIZATION) else { return Shown::Refused { wrong: false } };
        let (scheme, rest) = given.to_str().ok().and_then(|text| text.split_once(' ')).unwrap_or_default();
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("basic") {
            let decoded = base64::engine::general_purpose::STANDARD.decode(rest).unwrap_or_default();
            let given = KnownText::of(&decoded);
            let mut found = None;
            for (want, user) in &self.basic {
                if want.is(&given) {
                    found = Some(user.clone());
                }
            }
            if let Some(user) = found {
                return Shown::Allowed { user: Some(user) };
            }
        } else if (scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("apikey"))
            && KnownText::of(rest.as_bytes()).is_one_of(&self.bearer)
        {
            return Shown::Allowed { user: None };
        }
        Shown::Refused { wrong: true }
    }
}

impl Signature {
    /// The check of a body whose head is in order; `None` where it is not, or too old.
    fn begin(&self, headers: &HeaderMap) -> Option<SignedBody> {
        let text = headers.get(&self.timestamp_header)?.to_str().ok()?.trim();
        let given = headers.get(&self.header)?.to_str().ok()?.trim();
        let signature = from_hex(given.strip_prefix("sha256=").unwrap_or(given))?;
        let number: i64 = text.parse().ok()?;
        // Past the year 5000 in seconds: milliseconds.
        let millis = if number.unsigned_abs() > 100_000_000_000 { number } else { number.checked_mul(1000)? };
        let apart = (clock::now_ns() / 1_000_000).abs_diff(millis);
        if u128::from(apart) > self.tolerance.as_millis() {
            return None;
        }
        let mut mac = self.mac.clone();
        mac.update(text.as_bytes());
        mac.update(b".");
        Some(SignedBody { mac, signature })
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| char::from(c).to_digit(16).map(|d| d as u8);
    let pairs = text.as_bytes().chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::settings::read_text;
    use std::collections::BTreeMap;

    fn auth(yaml: &str) -> Auth {
        let (config, report) = read_text::<AuthConfig>("t.yaml", yaml, &BTreeMap::<String, String>::new());
        Auth::new(Some(&config.unwrap_or_else(|| panic!("{}", report.render())))).unwrap()
    }

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (HeaderName::from_bytes(n.as_bytes()).unwrap(), v.parse().unwrap())).collect()
    }

    /// The user it is let in as (`-` for none), or why it is not.
    fn verdict(auth: &Auth, pairs: &[(&str, &str)]) -> String {
        match auth.check(&headers(pairs)) {
            Shown::Allowed { user } => user.as_deref().unwrap_or("-").to_owned(),
            Shown::Signed(_) => "signed".into(),
            Shown::Refused { wrong } => if wrong { "wrong" } else { "missing" }.into(),
            Shown::Unavailable => "later".into(),
        }
    }

    #[test]
    fn each_way_lets_in_those_who_know_and_nobody_else() {
        let auth = auth("{basic: [{user: ann, password: x}, {user: bob, password: 'a:b'}], bearer: [t0ken]}");
        let basic = |text: &str| format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(text));
        for (header, want) in [
            (basic("ann:x"), "ann"),
            (basic("bob:a:b"), "bob"),
            (basic("ann:a:b"), "wrong"),
            (basic("ann:"), "wrong"),
            ("Basic !!!".into(), "wrong"),
            ("bearer t0ken".into(), "-"),
            ("ApiKey t0ken".into(), "-"),
            ("Bearer t0ken1".into(), "wrong"),
            ("Bearer ".into(), "wrong"),
            ("Bearer".into(), "wrong"),
            ("t0ken".into(), "wrong"),
        ] {
            assert_eq!(verdict(&auth, &[("authorization", &header)]), want, "{header}");
        }
        assert_eq!(verdict(&auth, &[]), "missing");
        assert_eq!(verdict(&Auth::new(None).unwrap(), &[]), "-");
    }

    #[test]
    fn a_signature_is_of_its_body_and_time() {
        let auth = auth("hmac: {key: k3y, tolerance: 1m}");
        let now = clock::now_ns() / 1_000_000_000;
        let sign = |time: &str, body: &[u8]| {
            let mut mac = Hmac::<Sha256>::new_from_slice(b"k3y").unwrap();
            mac.update(format!("{time}.").as_bytes());
            mac.update(body);
            mac.finalize().into_bytes().iter().map(|b| format!("{b:02x}")).collect::<String>()
        };
        let check = |time: &str, signature: &str, body: &[u8]| match auth
            .check(&headers(&[("x-timestamp", time), ("x-signature", signature)]))
        {
            Shown::Signed(signed) => signed.verifies(body),
            _ => false,
        };
        let time = now.to_string();
        let signature = sign(&time, b"body");
        assert!(check(&time, &signature, b"body"));
        assert!(check(&time, &format!("sha256={}", signature.to_uppercase()), b"body"));
        let millis = (now * 1000).to_string();
        assert!(check(&millis, &sign(&millis, b"body"), b"body"));
        assert!(!check(&time, &signature, b"bodx"));
        assert!(!check(&(now + 1).to_string(), &signature, b"body"));
        assert!(!check(&time, &signature[..62], b"body"));
        assert!(!check(&time, "zz", b"body"));
        for old in [now - 70, now + 70] {
            let old = old.to_string();
            assert!(!check(&old, &sign(&old, b"body"), b"body"), "{old}");
        }
        // Without a signature, or with credentials of a way that is not set, nobody comes in.
        assert_eq!(verdict(&auth, &[]), "missing");
        assert_eq!(verdict(&auth, &[("authorization", "Bearer ")]), "wrong");
    }
}
