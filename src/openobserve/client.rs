//! The client: one server and organization, its version asked once, bounded retries.
//!
//! A request that makes something (POST) is sent again only where the server has not seen it, or has said that it did nothing; every
//! other is sent again after whatever may pass: four times in all.

use super::config::ServerConfig;
use super::version::Version;
use crate::error::BuildError;
use crate::http::{
    Answer, AuthConfig, Backoff, ClientConfig, Exchange, HttpExchange, LostKind, Mask, Request, RetryConfig, Sign,
    Unsigned, address, below, signer_of,
};
use crate::settings::{Settings, Spanned};
use crate::time::clock;
use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use serde_json::Value;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// Longest answer that is read.
const MAX_ANSWER: usize = 256 << 20;
/// How often a request is sent at most.
const ATTEMPTS: u32 = 4;
/// Longest wait between two of them.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// A request that failed for good: method, URL and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// What was asked: `GET http://…`.
    pub request: String,
    /// The status of the answer; `None` where there was none.
    pub status: Option<u16>,
    /// In words, of the server where it has said some.
    pub words: String,
    /// What the server says it is (`code` of its body).
    pub code: Option<u64>,
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.request)?;
        match self.status {
            Some(status @ (401 | 403)) => {
                write!(f, "{status}: the credentials under `auth` are not taken: {}", self.words)
            }
            Some(status) => write!(f, "{status}: {}", self.words),
            None => f.write_str(&self.words),
        }
    }
}

impl std::error::Error for ApiError {}

/// How often a request may be sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    /// Whatever became of it.
    Always,
    /// Only where it was not done.
    Undone,
}

/// A server, ready to be asked.
pub struct Client {
    base: Url,
    organization: String,
    exchange: Arc<dyn Exchange>,
    signer: Arc<dyn Sign>,
    mask: Mask,
    version: Version,
    /// How far the server's clock is ahead, in nanoseconds, by its last answer; `i64::MIN` for not known.
    clock: AtomicI64,
}

impl Client {
    /// Asks the server for its version.
    ///
    /// Errors: credentials or certificates that cannot be used; no answer.
    pub async fn connect(config: &ServerConfig) -> Result<Client, ConnectError> {
        let ServerConfig { url, organization, auth, client, .. } = config;
        let mut client = Client::prepare(url, organization, auth.as_ref(), client, &config.secrets())?;
        client.ask_version().await?;
        Ok(client)
    }

    /// A client that has asked for nothing yet.
    ///
    /// Errors: credentials or certificates that cannot be used.
    pub fn prepare(
        url: &Spanned<String>,
        organization: &str,
        auth: Option<&AuthConfig>,
        config: &ClientConfig,
        secrets: &[String],
    ) -> Result<Client, BuildError> {
        let mask = Mask::new(secrets.iter().map(String::as_str));
        let base = address(url).ok_or_else(|| BuildError::config("`url` is not an address"))?;
        let exchange = HttpExchange::build(config, &base, mask.clone()).map_err(BuildError::from)?;
        let signer = signer_of(auth, config, &mask).map_err(BuildError::from)?;
        let organization = organization.trim().to_owned();
        Ok(Client {
            base,
            organization,
            exchange: Arc::new(exchange),
            signer,
            mask,
            version: Version::NEWEST,
            clock: AtomicI64::new(i64::MIN),
        })
    }

    async fn ask_version(&mut self) -> Result<(), ApiError> {
        let url = below(&self.base, &["config"]);
        let about = self.send(Method::GET, url, None, Again::Always).await?;
        let text = about.get("version").and_then(Value::as_str).unwrap_or_default();
        self.version = Version::parse(text).unwrap_or(Version::NEWEST);
        Ok(())
    }

    /// The version of the server.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The server's address and organization: names its state.
    pub fn name(&self) -> String {
        format!("{} {}", self.base.as_str().trim_end_matches('/'), self.organization)
    }

    /// The organization.
    pub fn organization(&self) -> &str {
        &self.organization
    }

    /// How far the server's clock is ahead of ours, in nanoseconds; `None` where it does not tell its time.
    pub fn clock_offset(&self) -> Option<i64> {
        Some(self.clock.load(Ordering::Relaxed)).filter(|offset| *offset != i64::MIN)
    }

    /// Asks below `/api/{organization}`.
    pub async fn get(&self, parts: &[&str], query: &[(&str, &str)]) -> Result<Value, ApiError> {
        self.send(Method::GET, self.url(&[], parts, query), None, Again::Always).await
    }

    /// Asks below `/api/v2/{organization}`.
    pub async fn get_v2(&self, parts: &[&str], query: &[(&str, &str)]) -> Result<Value, ApiError> {
        self.send(Method::GET, self.url(&["v2"], parts, query), None, Again::Always).await
    }

    /// Sends something below `/api/{organization}`, or `/api/v2/{organization}`.
    pub async fn change(&self, call: Call<'_>) -> Result<Value, ApiError> {
        let before: &[&str] = if call.v2 { &["v2"] } else { &[] };
        let again = if call.method == Method::POST { Again::Undone } else { Again::Always };
        self.send(call.method, self.url(before, call.parts, call.query), call.body, again).await
    }

    /// A question that is sent by POST and changes nothing.
    pub async fn ask(&self, parts: &[&str], query: &[(&str, &str)], body: &Value) -> Result<Value, ApiError> {
        self.send(Method::POST, self.url(&[], parts, query), Some(body), Again::Always).await
    }

    /// As [`ask`](Self::ask); the answer as it came.
    pub async fn ask_bytes(&self, parts: &[&str], query: &[(&str, &str)], body: &Value) -> Result<Bytes, ApiError> {
        let (asked, answer) = self.taken(Method::POST, self.url(&[], parts, query), Some(body), Again::Always).await?;
        if answer.cut { Err(self.too_large(asked)) } else { Ok(answer.body) }
    }

    fn url(&self, before: &[&str], parts: &[&str], query: &[(&str, &str)]) -> Url {
        let mut path = vec!["api"];
        path.extend(before);
        path.push(&self.organization);
        path.extend(parts);
        let mut url = below(&self.base, &path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    async fn send(&self, method: Method, url: Url, body: Option<&Value>, again: Again) -> Result<Value, ApiError> {
        let (asked, answer) = self.taken(method, url, body, again).await?;
        self.read(asked, &answer)
    }

    /// What was asked, and the answer of a server that took it.
    async fn taken(
        &self,
        method: Method,
        url: Url,
        body: Option<&Value>,
        again: Again,
    ) -> Result<(String, Answer), ApiError> {
        let mut retry = RetryConfig::defaults();
        retry.max = Duration::from_secs(5);
        let backoff = Backoff::new(&retry);
        let body = body.map(|body| Bytes::from(body.to_string()));
        let mut failed = 0;
        loop {
            let mut headers = HeaderMap::new();
            if body.is_some() {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            }
            let request = Request { method: method.clone(), url: url.clone(), headers, body: body.clone() };
            let asked = format!("{method} {}", self.mask.text(url.as_str()));
            let (error, wait) = match self.signed(request).await {
                Ok(answer) if (200..300).contains(&answer.status) => return Ok((asked, answer)),
                Ok(answer) => {
                    let error = self.refused(asked, &answer);
                    let passes = matches!(answer.status, 408 | 429 | 500 | 502 | 503 | 504);
                    let undone = matches!(answer.status, 429 | 503);
                    let may = passes && (again == Again::Always || undone);
                    (error, may.then_some(answer.retry_after.unwrap_or_default()))
                }
                Err(unsigned) => {
                    let error =
                        ApiError { request: asked, status: None, words: self.mask.text(unsigned.words()), code: None };
                    let unseen = matches!(&unsigned, Unsigned::Lost(lost) if lost.kind == LostKind::Connect);
                    let lost = matches!(unsigned, Unsigned::Lost(_));
                    (error, (lost && (again == Again::Always || unseen)).then_some(Duration::ZERO))
                }
            };
            failed += 1;
            let Some(wait) = wait.filter(|_| failed < ATTEMPTS) else { return Err(error) };
            tracing::debug!(%error, "asked again");
            tokio::time::sleep(wait.max(backoff.wait(failed)).min(MAX_WAIT)).await;
        }
    }

    /// One request, signed anew where its token has run out.
    async fn signed(&self, request: Request) -> Result<Answer, Unsigned> {
        let signed = self.signer.sign(request.clone()).await?;
        let answer = self.exchange.send(signed.request, MAX_ANSWER).await.map_err(Unsigned::Lost)?;
        if let Some(date) = answer.date {
            self.clock.store(date.saturating_sub(clock::now_ns()), Ordering::Relaxed);
        }
        if !self.signer.heard(signed.stamp, answer.status) {
            return Ok(answer);
        }
        let signed = self.signer.sign(request).await?;
        self.exchange.send(signed.request, MAX_ANSWER).await.map_err(Unsigned::Lost)
    }

    fn too_large(&self, request: String) -> ApiError {
        let words = format!("the answer is larger than {} MiB", MAX_ANSWER >> 20);
        ApiError { request, status: None, words, code: None }
    }

    fn read(&self, request: String, answer: &Answer) -> Result<Value, ApiError> {
        let fail =
            |words: &str| ApiError { request: request.clone(), status: None, words: words.to_owned(), code: None };
        if answer.cut {
            return Err(self.too_large(request));
        }
        if answer.body.trim_ascii().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&answer.body).map_err(|_| fail("the answer is not JSON; is this OpenObserve's address?"))
    }

    fn refused(&self, request: String, answer: &Answer) -> ApiError {
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
        let text = |key: &str| body.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let mut words = match (text("message").or(text("error")), text("error_detail")) {
            (Some(message), Some(detail)) if detail != message => format!("{message}: {detail}"),
            (Some(message), _) => message.to_owned(),
            (None, _) => String::from_utf8_lossy(&answer.body).into_owned(),
        };
        if words.trim().is_empty() {
            words = "no words".to_owned();
        }
        let code = body.get("code").and_then(Value::as_u64);
        ApiError { request, status: Some(answer.status), words: self.mask.text(&words), code }
    }
}

/// A change that is asked of the server.
pub struct Call<'c> {
    /// How.
    pub method: Method,
    /// Below `/api/v2`.
    pub v2: bool,
    /// The path.
    pub parts: &'c [&'c str],
    /// The query.
    pub query: &'c [(&'c str, &'c str)],
    /// What is sent.
    pub body: Option<&'c Value>,
}

impl<'c> Call<'c> {
    /// Of the first interface.
    pub fn v1(method: Method, parts: &'c [&'c str], body: Option<&'c Value>) -> Self {
        Call { method, v2: false, parts, query: &[], body }
    }
}

/// Why a server cannot be asked at all.
#[derive(Debug)]
pub enum ConnectError {
    /// The settings.
    Build(BuildError),
    /// The server.
    Api(ApiError),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::Build(error) => f.write_str(&error.words()),
            ConnectError::Api(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ConnectError {}

impl From<BuildError> for ConnectError {
    fn from(error: BuildError) -> Self {
        ConnectError::Build(error)
    }
}

impl From<ApiError> for ConnectError {
    fn from(error: ApiError) -> Self {
        ConnectError::Api(error)
    }
}
