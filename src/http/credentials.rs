//! Signing: what a request shows of who sends it. It may take time, as where a token is fetched.
//!
//! One signer serves all requests of a sink. It sees the request as it is sent, body and all, and marks it with a stamp that says
//! which credentials it has; an answer is told to it with that stamp, so that credentials that have run out are renewed once
//! for all requests in flight, which are then sent again.

use super::client::HttpExchange;
use super::exchange::{Exchange, Lost, LostKind, Request};
use super::failure::ClientError;
use super::mask::Mask;
use super::settings::ClientConfig;
use crate::settings::{Map, Reader, Secret, Spanned, config, config_choice};
use crate::sync::BoxFuture;
use crate::sync::Locked;
use crate::time::{NS_PER_SEC, clock};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use sha2::Sha256;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

config! {
    /// User and password.
    pub struct BasicAuth {
        /// The user.
        pub user: Spanned<String>,
        /// The password.
        pub password: Secret,
    }
}

impl BasicAuth {
    /// Notes mistakes.
    pub fn check(&self, cx: &mut Reader<'_>) {
        if self.user.value.contains(':') {
            cx.error(self.user.span, "a user's name has no `:`; the server would split it there".to_owned());
        }
    }

    /// The `Authorization` made of them.
    pub fn header(&self) -> String {
        basic(&self.user.value, self.password.reveal())
    }

    /// Texts that must never be shown.
    pub fn secrets(&self) -> Vec<String> {
        vec![self.password.reveal().to_owned(), format!("{}:{}", self.user.value, self.password.reveal())]
    }
}

/// A request that shows who sends it.
#[derive(Debug)]
pub struct Signed {
    /// The request.
    pub request: Request,
    /// Which credentials it has.
    pub stamp: u64,
}

/// A request that was not answered, or could not be signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unsigned {
    /// Nothing usable came back.
    Lost(Lost),
    /// Whoever gives credentials gives none; in words.
    Refused(String),
}

impl Unsigned {
    /// In words.
    pub fn words(&self) -> &str {
        match self {
            Unsigned::Lost(lost) => &lost.why,
            Unsigned::Refused(words) => words,
        }
    }
}

/// Signs requests.
pub trait Sign: Send + Sync {
    /// Signs one request. Dropping the future gives it up.
    fn sign(&self, request: Request) -> BoxFuture<Result<Signed, Unsigned>>;

    /// Hears the status of an answer to a request with this stamp; whether the request is to be signed and sent once more.
    fn heard(&self, _stamp: u64, _status: u16) -> bool {
        false
    }
}

/// Shows nothing, or the same with every request.
#[derive(Debug, Default)]
pub struct Constant(pub Option<(HeaderName, HeaderValue)>);

impl Sign for Constant {
    fn sign(&self, mut request: Request) -> BoxFuture<Result<Signed, Unsigned>> {
        if let Some((name, value)) = &self.0 {
            request.headers.insert(name, value.clone());
        }
        Box::pin(std::future::ready(Ok(Signed { request, stamp: 0 })))
    }
}

/// A header's value that is not shown; `None` where a header cannot have it.
pub fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// `Authorization` for a user and a password.
pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

config_choice! {
    /// How a sink proves who it is.
    pub enum AuthConfig {
        /// User and password.
        Basic(BasicAuth) = "basic",
        /// A fixed token, sent as `Bearer`.
        Bearer(Secret) = "bearer",
        /// A signature of each request.
        Hmac(HmacAuth) = "hmac",
        /// Tokens of OAuth 2.0, by client credentials.
        Oauth2(Oauth2Auth) = "oauth2",
    }
}

config! {
    /// A signature of each request: the hexadecimal HMAC-SHA256 of `timestamp.body`, the body as it is sent (compressed,
    /// where it is), with a key that both sides know.
    pub struct HmacAuth {
        /// The key.
        pub key: Secret,
        /// Header with the signature, after `prefix`.
        pub header: String = "X-Signature".to_owned(),
        /// What stands before the signature, such as `sha256=`.
        pub prefix: String = "sha256=".to_owned(),
        /// Header with the time of signing, in seconds since 1970. Left empty: the body alone is signed.
        pub timestamp_header: String = "X-Timestamp".to_owned(),
    }
}

config! {
    /// Tokens by client credentials (RFC 6749, section 4.4). A token is renewed before it expires, and where the server answers
    /// 401, once for all requests.
    pub struct Oauth2Auth {
        /// Where tokens are given: `https://login.example.com/oauth2/token`.
        pub token_url: Spanned<String>,
        /// The client.
        pub client_id: String,
        /// Its secret.
        pub client_secret: Secret,
        /// What the token is to be good for, separated by blanks.
        pub scope: Option<String> = None,
        /// Further parameters of the request for a token, such as `audience`.
        pub parameters: Map<Secret> = Map::default(),
    }
}

/// What a sink's `auth` may say.
pub trait Credentials {
    /// Notes mistakes.
    fn check(&self, cx: &mut Reader<'_>);

    /// Texts that must never be shown.
    fn secrets(&self) -> Vec<String>;

    /// What signs. Tokens are fetched with the time-out, proxy and certificates of `common`, and `mask` hides them in whatever
    /// anybody says.
    ///
    /// Errors: a text has characters that no header may have; a file of certificates cannot be read.
    fn signer(&self, common: &ClientConfig, mask: &Mask) -> Result<Arc<dyn Sign>, ClientError>;
}

/// What signs with these credentials; without some nothing is shown.
pub fn signer_of(
    auth: Option<&impl Credentials>,
    common: &ClientConfig,
    mask: &Mask,
) -> Result<Arc<dyn Sign>, ClientError> {
    auth.map_or_else(|| Ok(Arc::new(Constant::default()) as Arc<dyn Sign>), |auth| auth.signer(common, mask))
}

/// Signs with the same `Authorization` each time.
///
/// Errors: it has characters that no header may have.
pub fn authorization(text: &str) -> Result<Arc<dyn Sign>, ClientError> {
    let value = sensitive(text).ok_or(ClientError::Credentials)?;
    Ok(Arc::new(Constant(Some((AUTHORIZATION, value)))))
}

/// `Authorization` for a token.
pub fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

impl Credentials for AuthConfig {
    fn check(&self, cx: &mut Reader<'_>) {
        match self {
            AuthConfig::Basic(basic) => basic.check(cx),
            AuthConfig::Bearer(_) => {}
            AuthConfig::Hmac(hmac) => cx.within("hmac", |cx| hmac.check(cx)),
            AuthConfig::Oauth2(oauth2) => {
                let url = Url::parse(&oauth2.token_url.value).ok();
                if !url.is_some_and(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some()) {
                    let message = format!("`token_url`{} must begin with `http://` or `https://`", cx.place());
                    cx.error(oauth2.token_url.span, message);
                }
            }
        }
    }

    fn secrets(&self) -> Vec<String> {
        match self {
            AuthConfig::Basic(basic) => basic.secrets(),
            AuthConfig::Bearer(token) => vec![token.reveal().to_owned()],
            AuthConfig::Hmac(hmac) => vec![hmac.key.reveal().to_owned()],
            AuthConfig::Oauth2(oauth2) => {
                let mut secrets = vec![oauth2.client_secret.reveal().to_owned()];
                secrets.extend(oauth2.parameters.iter().map(|(_, value)| value.reveal().to_owned()));
                secrets
            }
        }
    }

    fn signer(&self, common: &ClientConfig, mask: &Mask) -> Result<Arc<dyn Sign>, ClientError> {
        match self {
            AuthConfig::Basic(basic) => authorization(&basic.header()),
            AuthConfig::Bearer(token) => authorization(&bearer(token.reveal())),
            AuthConfig::Hmac(hmac) => Ok(Arc::new(BodySigner::new(hmac).ok_or(ClientError::Credentials)?)),
            AuthConfig::Oauth2(oauth2) => {
                let url = Url::parse(&oauth2.token_url.value);
                let url = url.map_err(|_| ClientError::Address { setting: "auth.oauth2.token_url" })?;
                // Headers are for the server that events go to.
                let common = ClientConfig { headers: Map::default(), ..common.clone() };
                let exchange = Arc::new(HttpExchange::build(&common, &url, mask.clone())?);
                Ok(Arc::new(Tokens::new(oauth2, url, exchange, mask.clone())))
            }
        }
    }
}

impl HmacAuth {
    fn check(&self, cx: &mut Reader<'_>) {
        if self.key.is_empty() {
            cx.error_at("key", "`auth.hmac.key` is empty; anybody could sign with it");
        }
        for (key, name) in [("header", &self.header), ("timestamp_header", &self.timestamp_header)] {
            if !name.is_empty() && HeaderName::from_bytes(name.as_bytes()).is_err() {
                cx.error_at(key, format!("`{name}` in `auth.hmac` is not a header name"));
            }
        }
        if self.header.is_empty() {
            cx.error_at("header", "`auth.hmac` needs a `header`");
        }
        if HeaderValue::from_str(&self.prefix).is_err() {
            cx.error_at("prefix", "`auth.hmac` needs a `prefix` that a header can have");
        }
    }
}

/// Signs bodies.
struct BodySigner {
    mac: Hmac<Sha256>,
    prefix: String,
    header: HeaderName,
    timestamp_header: Option<HeaderName>,
}

impl BodySigner {
    fn new(config: &HmacAuth) -> Option<Self> {
        let timestamp = Some(config.timestamp_header.as_bytes()).filter(|name| !name.is_empty());
        Some(BodySigner {
            mac: Hmac::new_from_slice(config.key.reveal().as_bytes()).ok()?,
            prefix: config.prefix.clone(),
            header: HeaderName::from_bytes(config.header.as_bytes()).ok()?,
            timestamp_header: timestamp.map(HeaderName::from_bytes).transpose().ok()?,
        })
    }

    fn signed(&self, mut request: Request, now_ns: i64) -> Request {
        let mut mac = self.mac.clone();
        if let Some(name) = &self.timestamp_header {
            let seconds = now_ns.div_euclid(NS_PER_SEC);
            mac.update(format!("{seconds}.").as_bytes());
            request.headers.insert(name, HeaderValue::from(seconds));
        }
        mac.update(request.body.as_deref().unwrap_or_default());
        let mut text = self.prefix.clone();
        for byte in mac.finalize().into_bytes() {
            // Writing into a text cannot fail.
            _ = write!(text, "{byte:02x}");
        }
        if let Some(value) = sensitive(&text) {
            request.headers.insert(&self.header, value);
        }
        request
    }
}

impl Sign for BodySigner {
    fn sign(&self, request: Request) -> BoxFuture<Result<Signed, Unsigned>> {
        let signed = Signed { request: self.signed(request, clock::now_ns()), stamp: 0 };
        Box::pin(std::future::ready(Ok(signed)))
    }
}

/// A token that says of none how long it is good for is taken for this long.
const UNSAID_LIFETIME: Duration = Duration::from_secs(300);
/// Bytes of an answer with a token.
const MAX_TOKEN_ANSWER: usize = 64 << 10;

/// Tokens of OAuth 2.0.
struct Tokens(Arc<Fetched>);

struct Fetched {
    exchange: Arc<dyn Exchange>,
    ask: Request,
    mask: Mask,
    /// The token at hand. Held while another is fetched, so that one fetches for all.
    current: tokio::sync::Mutex<Option<Token>>,
    /// Stamp of the token that a server has turned away, and which is replaced.
    turned_away: AtomicU64,
    /// The token at hand took the place of one that was turned away, and nothing has got through with it.
    unproven: AtomicBool,
    /// Stamps count up.
    stamps: AtomicU64,
}

#[derive(Clone)]
struct Token {
    header: HeaderValue,
    stamp: u64,
    /// In monotonic nanoseconds.
    renew_at: u64,
}

impl Tokens {
    fn new(config: &Oauth2Auth, url: Url, exchange: Arc<dyn Exchange>, mask: Mask) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        // A query is written as a form is.
        let mut form = url.clone();
        form.set_query(None);
        {
            let mut pairs = form.query_pairs_mut();
            pairs.append_pair("grant_type", "client_credentials");
            pairs.append_pair("client_id", &config.client_id);
            pairs.append_pair("client_secret", config.client_secret.reveal());
            if let Some(scope) = &config.scope {
                pairs.append_pair("scope", scope);
            }
            for (name, value) in config.parameters.iter() {
                pairs.append_pair(&name.value, value.reveal());
            }
        }
        let body = Some(Bytes::from(form.query().unwrap_or_default().to_owned()));
        Tokens(Arc::new(Fetched {
            exchange,
            ask: Request { method: Method::POST, url, headers, body },
            mask,
            current: tokio::sync::Mutex::new(None),
            turned_away: AtomicU64::new(0),
            unproven: AtomicBool::new(false),
            stamps: AtomicU64::new(0),
        }))
    }
}

impl Fetched {
    async fn token(&self) -> Result<Token, Unsigned> {
        let mut current = self.current.lock().await;
        let turned_away = self.turned_away.load(Ordering::Acquire);
        if let Some(token) = current.as_ref().filter(|t| t.stamp > turned_away && clock::monotonic_ns() < t.renew_at) {
            return Ok(token.clone());
        }
        let token = self.fetch().await?;
        self.mask.minted(token.header.to_str().unwrap_or_default().trim_start_matches("Bearer "));
        *current = Some(token.clone());
        Ok(token)
    }

    async fn fetch(&self) -> Result<Token, Unsigned> {
        #[derive(serde::Deserialize)]
        struct Given {
            access_token: String,
            #[serde(default)]
            expires_in: Option<serde_json::Value>,
        }
        let asked = clock::monotonic_ns();
        let answer = self.exchange.send(self.ask.clone(), MAX_TOKEN_ANSWER).await.map_err(|lost| {
            Unsigned::Lost(Lost { why: format!("no token from {}: {}", self.host(), lost.why), ..lost })
        })?;
        let refused =
            |what: &str| Unsigned::Refused(format!("no token from {}: {what}; check `auth.oauth2`", self.host()));
        match answer.status {
            200..=299 => {}
            status @ (408 | 429 | 500..) => {
                let why = format!("no token from {}: HTTP {status}", self.host());
                return Err(Unsigned::Lost(Lost { kind: LostKind::Broken, why }));
            }
            status => return Err(refused(&format!("HTTP {status}: {}", self.mask.words(&answer.body)))),
        }
        let given: Given =
            serde_json::from_slice(&answer.body).map_err(|_| refused("its answer has no `access_token`"))?;
        let lifetime = given.expires_in.and_then(|n| n.as_f64().or_else(|| n.as_str()?.parse().ok()));
        let lifetime = lifetime
            .filter(|s| s.is_finite() && *s > 0.0)
            .map_or(UNSAID_LIFETIME, |s| Duration::from_secs_f64(s.min(1e9)));
        let header = sensitive(&bearer(&given.access_token));
        let header = header.ok_or_else(|| refused("its token has characters that no header may have"))?;
        // A tenth before its end, but not more than a minute.
        let early = (lifetime / 10).min(Duration::from_secs(60));
        let renew_at = asked.saturating_add(u64::try_from((lifetime - early).as_nanos()).unwrap_or(u64::MAX));
        Ok(Token { header, stamp: self.stamps.fetch_add(1, Ordering::Relaxed) + 1, renew_at })
    }

    fn host(&self) -> &str {
        self.ask.url.host_str().unwrap_or_default()
    }
}

impl Sign for Tokens {
    fn sign(&self, mut request: Request) -> BoxFuture<Result<Signed, Unsigned>> {
        let tokens = self.0.clone();
        Box::pin(async move {
            let token = tokens.token().await?;
            request.headers.insert(AUTHORIZATION, token.header);
            Ok(Signed { request, stamp: token.stamp })
        })
    }

    fn heard(&self, stamp: u64, status: u16) -> bool {
        if status != 401 {
            if (200..300).contains(&status) {
                self.0.unproven.store(false, Ordering::Release);
            }
            return false;
        }
        if stamp <= self.0.turned_away.load(Ordering::Acquire) {
            // Another request has found out before.
            return true;
        }
        self.0.turned_away.store(stamp, Ordering::Release);
        // Where a new one does no better it was not the token's age: then there is another after a wait only.
        !self.0.unproven.swap(true, Ordering::AcqRel)
    }
}

/// A signer that makes its header itself: anew now and then, and once where a server turns it away.
pub struct Renewed<F> {
    header: Mutex<F>,
    /// Counts the headers that took the place of one that was turned away; and the last that was.
    stamp: AtomicU64,
    turned_away: AtomicU64,
    /// The header took the place of one that was turned away, and nothing has got through with it.
    unproven: AtomicBool,
}

impl<F: FnMut(i64, bool) -> Option<HeaderValue> + Send> Renewed<F> {
    /// `header` is asked for `Authorization` with the time of now, in nanoseconds since 1970 UTC, and whether the one that it gave before
    /// is not to be given again.
    pub fn new(header: F) -> Self {
        let (header, stamp) = (Mutex::new(header), AtomicU64::new(1));
        Renewed { header, stamp, turned_away: AtomicU64::new(0), unproven: AtomicBool::new(false) }
    }
}

impl<F: FnMut(i64, bool) -> Option<HeaderValue> + Send> Sign for Renewed<F> {
    fn sign(&self, mut request: Request) -> BoxFuture<Result<Signed, Unsigned>> {
        let mut header = self.header.locked();
        let mut stamp = self.stamp.load(Ordering::Acquire);
        let anew = self.turned_away.load(Ordering::Acquire) >= stamp;
        if anew {
            stamp += 1;
            self.stamp.store(stamp, Ordering::Release);
        }
        if let Some(value) = header(clock::now_ns(), anew) {
            request.headers.insert(AUTHORIZATION, value);
        }
        Box::pin(std::future::ready(Ok(Signed { request, stamp })))
    }

    fn heard(&self, stamp: u64, status: u16) -> bool {
        if status != 401 {
            if (200..300).contains(&status) {
                self.unproven.store(false, Ordering::Release);
            }
            return false;
        }
        // Another request may have found out before.
        if self.turned_away.fetch_max(stamp, Ordering::AcqRel) >= stamp {
            return true;
        }
        !self.unproven.swap(true, Ordering::AcqRel)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::exchange::Answer;
    use super::*;
    use crate::settings::read_text;
    use std::collections::BTreeMap;

    fn auth(text: &str) -> AuthConfig {
        read_text("t", text, &BTreeMap::new()).0.unwrap()
    }

    fn request(body: &'static [u8]) -> Request {
        let url = "http://server/".parse().unwrap();
        Request { method: Method::POST, url, headers: HeaderMap::new(), body: Some(Bytes::from_static(body)) }
    }

    #[tokio::test]
    async fn basic_is_standard_base64_with_padding() {
        let auth = auth("{basic: {user: root@example.com, password: 'Complexpass#123'}}");
        let signer = auth.signer(&crate::settings::Settings::defaults(), &Mask::default()).unwrap();
        let signed = signer.sign(request(b"")).await.unwrap().request;
        let shown = &signed.headers[AUTHORIZATION];
        assert!(shown.is_sensitive());
        assert_eq!(shown.to_str().unwrap(), "Basic cm9vdEBleGFtcGxlLmNvbTpDb21wbGV4cGFzcyMxMjM=");
    }

    #[tokio::test]
    async fn what_a_server_turns_away_is_made_anew_once_for_all_requests() {
        let mut made = 0;
        let signer = Renewed::new(move |_, anew| {
            made += usize::from(anew);
            sensitive(&format!("Bearer {made}"))
        });
        let mut shown = Vec::new();
        for _ in 0..100 {
            shown.push(signer.sign(request(b"")).await.unwrap());
        }
        assert!(shown.iter().all(|s| s.stamp == 1 && s.request.headers[AUTHORIZATION] == "Bearer 0"));
        assert!(!signer.heard(1, 200));
        assert!(shown.iter().all(|s| signer.heard(s.stamp, 401)), "each of them is sent once more");
        let mut again = Vec::new();
        for _ in 0..100 {
            again.push(signer.sign(request(b"")).await.unwrap());
        }
        assert!(again.iter().all(|s| s.stamp == 2 && s.request.headers[AUTHORIZATION] == "Bearer 1"), "made once");
        assert!(!signer.heard(2, 401), "a new one that does no better is not the answer");
    }

    #[test]
    fn a_signature_is_that_of_the_body_with_its_time() {
        let AuthConfig::Hmac(config) = auth("{hmac: {key: k3y}}") else { panic!() };
        let signed = BodySigner::new(&config).unwrap().signed(request(b"body"), 1_750_000_000 * NS_PER_SEC + 5);
        // printf '1750000000.body' | openssl dgst -sha256 -hmac k3y
        assert_eq!(
            (&signed.headers["x-timestamp"], &signed.headers["x-signature"]),
            (
                &HeaderValue::from_static("1750000000"),
                &HeaderValue::from_static("sha256=57663b0c5ddf27223fe60e6cb9bfdb1d4e1064bfcb30e46149e1d501ae9ab2a7")
            )
        );
        let AuthConfig::Hmac(config) = auth("{hmac: {key: k3y, timestamp_header: '', prefix: '', header: X-Sig}}")
        else {
            panic!()
        };
        let signed = BodySigner::new(&config).unwrap().signed(request(b"body"), 0);
        assert_eq!(signed.headers["x-sig"], "6e23c49398c0354c8322b0687f3bd60cf3b3cb564665a650ed5eddcdd61b43d6");
        assert_eq!(signed.headers.len(), 1);
    }

    /// Gives tokens `t1`, `t2`, … after a while.
    struct Giver {
        given: AtomicU64,
        asked: Mutex<Vec<Request>>,
        answer: fn(u64) -> (u16, String),
    }

    impl Exchange for Arc<Giver> {
        fn send(&self, request: Request, _max: usize) -> BoxFuture<Result<Answer, Lost>> {
            let me = self.clone();
            Box::pin(async move {
                me.asked.lock().unwrap().push(request);
                tokio::time::sleep(Duration::from_millis(20)).await;
                let (status, body) = (me.answer)(me.given.fetch_add(1, Ordering::SeqCst) + 1);
                Ok(Answer { status, body: body.into(), ..Answer::default() })
            })
        }
    }

    fn tokens(answer: fn(u64) -> (u16, String)) -> (Arc<Giver>, Arc<Tokens>, Mask) {
        let giver = Arc::new(Giver { given: AtomicU64::new(0), asked: Mutex::default(), answer });
        let text = "{oauth2: {token_url: 'http://login/token', client_id: me, client_secret: 's&cret', scope: 'a b', parameters: {audience: logs}}}";
        let AuthConfig::Oauth2(config) = auth(text) else { panic!() };
        let (mask, url) = (Mask::default(), config.token_url.value.parse().unwrap());
        (giver.clone(), Arc::new(Tokens::new(&config, url, Arc::new(giver), mask.clone())), mask)
    }

    fn hour(n: u64) -> (u16, String) {
        (200, format!("{{\"access_token\":\"token-000{n}\",\"token_type\":\"Bearer\",\"expires_in\":3600}}"))
    }

    async fn shown(tokens: &Tokens) -> (String, u64) {
        let signed = tokens.sign(request(b"")).await.unwrap();
        (signed.request.headers[AUTHORIZATION].to_str().unwrap().to_owned(), signed.stamp)
    }

    #[tokio::test]
    async fn one_token_is_fetched_for_all_and_a_new_one_once_when_it_is_turned_away() {
        let (giver, tokens, mask) = tokens(hour);
        let all = futures::future::join_all((0..5).map(|_| shown(&tokens))).await;
        assert!(all.iter().all(|t| t == &("Bearer token-0001".to_owned(), 1)), "{all:?}");
        let ask = giver.asked.lock().unwrap()[0].clone();
        let form = "grant_type=client_credentials&client_id=me&client_secret=s%26cret&scope=a+b&audience=logs";
        assert_eq!((ask.method, ask.body.unwrap()), (Method::POST, Bytes::from(form)));
        assert_eq!(mask.text("bad token token-0001"), "bad token ***");
        // All five are turned away: all are sent again, with one new token.
        assert!(!tokens.heard(1, 200));
        assert!((0..5).all(|_| tokens.heard(1, 401)));
        let all = futures::future::join_all((0..5).map(|_| shown(&tokens))).await;
        assert!(all.iter().all(|t| t == &("Bearer token-0002".to_owned(), 2)), "{all:?}");
        assert_eq!(giver.given.load(Ordering::SeqCst), 2);
        // That one does no better: it is the server's no, and the next attempt asks for another.
        assert!(!tokens.heard(2, 401));
        assert_eq!(shown(&tokens).await.0, "Bearer token-0003");
        assert!(!tokens.heard(3, 200));
        assert!(tokens.heard(3, 401), "one that was good can be renewed again");
    }

    #[tokio::test]
    async fn a_token_is_renewed_before_it_expires() {
        let (giver, tokens, _) = tokens(|n| (200, format!("{{\"access_token\":\"t{n}\",\"expires_in\":\"0.4\"}}")));
        assert_eq!(shown(&tokens).await.0, "Bearer t1");
        let begin = std::time::Instant::now();
        while shown(&tokens).await.0 == "Bearer t1" {
            assert!(begin.elapsed() < Duration::from_secs(20));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(begin.elapsed() >= Duration::from_millis(300), "not before nine tenths are over");
        assert!(giver.given.load(Ordering::SeqCst) >= 2);
    }

    #[tokio::test]
    async fn whoever_gives_no_token_is_not_there_or_says_no() {
        for (answer, lost, words) in [
            ((|_| (503, "busy".into())) as fn(u64) -> (u16, String), true, "no token from login: HTTP 503"),
            (
                |_| (401, "{\"error\":\"invalid_client\"}".into()),
                false,
                "no token from login: HTTP 401: {\"error\":\"invalid_client\"}; check `auth.oauth2`",
            ),
            (
                |_| (200, "<html>".into()),
                false,
                "no token from login: its answer has no `access_token`; check `auth.oauth2`",
            ),
        ] {
            let (_, tokens, _) = tokens(answer);
            let why = tokens.sign(request(b"")).await.unwrap_err();
            assert_eq!((matches!(why, Unsigned::Lost(_)), why.words()), (lost, words));
        }
    }
}
