//! Finding the agent that runs, and asking it: by what it leaves in its `data_dir`, with the credentials of its configuration.

use super::errors::PathError;
use crate::error::Cause;
use crate::http::Opened;
use crate::pipeline::{ApiConfig, ApiListen, Globals, UNIX};
use crate::sinks::delivery::{Exchange, HttpExchange, Mask, Request};
use base64::Engine;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::fmt::{Display, Formatter};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a refusal may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer of the API.
const MAX_ANSWER: usize = 64 << 20;

/// What a running agent says of itself in `data_dir/agent.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Running {
    version: u32,
    address: String,
    process: u32,
    /// Who can read it may ask what only the agent's own user may ask, where no `api.auth` is set.
    #[serde(default)]
    token: String,
}

/// Why an agent could not be asked.
#[derive(Debug)]
pub(super) enum AgentError {
    /// No configuration can be read that says where it is.
    NoConfiguration,
    /// None with an `api` runs on this `data_dir`.
    NotRunning(PathBuf),
    /// What it says of itself cannot be read.
    Path(PathError),
    /// The same, as it is something else.
    NotASign(PathBuf, serde_json::Error),
    /// There is no address in the configuration.
    NoApi,
    /// What it is called cannot be asked.
    Address(String, Cause),
    /// The system gives no runtime.
    Runtime(std::io::Error),
    /// It did not answer in time.
    NoAnswer(String),
    /// The connection was lost: in words that may be shown.
    Lost(String, String),
    /// Its answer is longer than any of ours.
    TooLong(String),
    /// It asks who we are.
    Unauthorized(String),
    /// It does not know the call.
    Earlier(String),
    /// It says why not, in these words.
    Refused(String),
    /// It answers with this status, and in these words; it is called so, where that says something.
    Answer(Option<String>, u16, String),
    /// Its answer is something else than was asked for: what not, and why.
    NotThat(String, &'static str, serde_json::Error),
}

impl Display for AgentError {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            AgentError::NoConfiguration => f.write_str(
                "the configuration cannot be read, so the agent cannot be found by it: name it with `--url`",
            ),
            AgentError::NotRunning(data_dir) => write!(
                f,
                "no agent with an `api` runs on {}: start one with `api: {{listen: \"127.0.0.1:8686\"}}`, or name it with `--url`",
                data_dir.display()
            ),
            AgentError::Path(error) => error.fmt(f),
            AgentError::NotASign(path, e) => write!(f, "{}: {e}; name the agent with `--url`", path.display()),
            AgentError::NoApi => f.write_str("the configuration has no `api`: start the agent with one, or name a URL"),
            AgentError::Address(base, _) => f.write_str(base),
            AgentError::Runtime(error) => error.fmt(f),
            AgentError::NoAnswer(base) => write!(f, "{base}: no answer"),
            AgentError::Lost(base, why) => write!(f, "{base}: {why}"),
            AgentError::TooLong(base) => write!(f, "{base}: the answer is too long"),
            AgentError::Unauthorized(base) => write!(
                f,
                "{base}: the agent asks for credentials: set TIDEGATE_API_TOKEN, or `api.auth` in the configuration"
            ),
            AgentError::Earlier(base) => write!(f, "{base}: this agent cannot do that: is it of an earlier version?"),
            AgentError::Refused(why) => f.write_str(why),
            AgentError::Answer(Some(base), status, words) => write!(f, "{base}: HTTP {status}: {words}"),
            AgentError::Answer(None, status, words) => write!(f, "HTTP {status}: {words}"),
            AgentError::NotThat(base, what, _) => write!(f, "{base}: this is not {what}"),
        }
    }
}

impl Error for AgentError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            AgentError::Path(error) => error.source(),
            AgentError::NotASign(_, error) | AgentError::NotThat(_, _, error) => Some(error),
            AgentError::Address(_, cause) => Some(&**cause),
            AgentError::Runtime(error) => error.source(),
            _ => None,
        }
    }
}

fn file(data_dir: &Path) -> PathBuf {
    data_dir.join("agent.json")
}

/// Says where this agent can be asked, until dropped.
pub(super) struct Sign(PathBuf);

impl Sign {
    /// Errors: the file cannot be written; then nobody finds the agent by it.
    pub(super) fn put_up(data_dir: &Path, address: &str, token: &str) -> std::io::Result<Sign> {
        let (address, token) = (address.to_owned(), token.to_owned());
        let running = Running { version: 1, address, process: std::process::id(), token };
        let (path, new) = (file(data_dir), data_dir.join("agent.json.new"));
        drop(std::fs::remove_file(&new));
        let mut to = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        to.write_all(&serde_json::to_vec(&running)?)?;
        drop(to);
        std::fs::rename(&new, &path)?;
        Ok(Sign(path))
    }
}

impl Sign {
    /// Another one stands in its place, which stays.
    pub(super) fn taken_over(self) {
        std::mem::forget(self);
    }
}

impl Drop for Sign {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

/// Where the agent is: `url`, or what it left in its `data_dir`, or what its configuration says.
///
/// Errors: it cannot be told; with the next step.
pub(super) fn base(url: Option<&str>, globals: Option<&Globals>) -> Result<String, AgentError> {
    if let Some(url) = url.filter(|url| !url.is_empty()) {
        return Ok(url.trim_end_matches('/').to_owned());
    }
    let globals = globals.ok_or(AgentError::NoConfiguration)?;
    let path = file(&globals.data_dir);
    match std::fs::read(&path) {
        Ok(text) => {
            let running: Running = serde_json::from_slice(&text).map_err(|e| AgentError::NotASign(path, e))?;
            Ok(running.address)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(AgentError::NotRunning(globals.data_dir.clone()))
        }
        Err(error) => Err(AgentError::Path(PathError::at(&path)(error))),
    }
}

/// The address that a configuration says.
pub(super) fn address_of(api: &ApiConfig) -> String {
    match &api.listen.value {
        ApiListen::Tcp(address) => format!("{}://{address}", if api.tls.is_some() { "https" } else { "http" }),
        unix @ ApiListen::Unix(_) => unix.to_string(),
    }
}

/// A token that nobody can guess.
///
/// Errors: the system gives no random numbers.
pub(super) fn new_token() -> std::io::Result<String> {
    let mut bytes = [0; 32];
    let random = rustls::crypto::ring::default_provider().secure_random;
    random.fill(&mut bytes).map_err(|_| std::io::Error::other("no random numbers"))?;
    Ok(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes))
}

/// Puts a question to the agent at `base`, as its own user where that can be shown; see [`ask`].
///
/// Errors: it did not answer.
pub(super) fn post(
    base: &str,
    path: &str,
    body: Vec<u8>,
    globals: Option<&Globals>,
    patience: Duration,
) -> Result<(u16, Vec<u8>), AgentError> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let running = globals.and_then(|g| std::fs::read(file(&g.data_dir)).ok());
    let running = running.and_then(|text| serde_json::from_slice::<Running>(&text).ok());
    // A token is for the agent that has it, not for whoever is named by `--url`.
    let token = running.filter(|running| running.address == base).map(|running| running.token);
    if let Some(mut value) = token.and_then(|token| HeaderValue::from_str(&token).ok()) {
        value.set_sensitive(true);
        headers.insert(crate::api::OWN_TOKEN, value);
    }
    exchange(base, Method::POST, path, (headers, Some(body)), globals, patience)
}

/// The answer of the agent at `base`: status and body. Credentials: `TIDEGATE_API_TOKEN`, else those of its configuration.
///
/// Errors: it did not answer.
pub(super) fn ask(
    base: &str,
    method: Method,
    path: &str,
    globals: Option<&Globals>,
    patience: Duration,
) -> Result<(u16, Vec<u8>), AgentError> {
    exchange(base, method, path, (HeaderMap::new(), None), globals, patience)
}

/// The URL to ask, and the path of the socket to ask at, where it is one.
fn url_of(base: &str, path: &str) -> Result<(Url, Option<PathBuf>), AgentError> {
    let parse = |url: String| Url::parse(&url).map_err(|e| AgentError::Address(base.to_owned(), e.into()));
    match base.strip_prefix(UNIX) {
        Some(socket) => Ok((parse(format!("http://localhost{path}"))?, Some(PathBuf::from(socket)))),
        None => Ok((parse(format!("{base}{path}"))?, None)),
    }
}

fn client(base: &str, url: &Url, ca: Option<&Path>, socket: Option<&Path>) -> Result<HttpExchange, AgentError> {
    let client = match socket {
        Some(socket) => HttpExchange::at_socket(url, socket),
        None => HttpExchange::plain(url, ca),
    };
    client.map_err(|e| AgentError::Address(base.to_owned(), e.into()))
}

/// An answer that comes in pieces.
pub(super) struct Stream {
    runtime: tokio::runtime::Runtime,
    opened: Opened,
}

impl Stream {
    /// The next piece; none at the end, or after `patience`.
    ///
    /// Errors: the agent is lost.
    pub(super) fn next(&mut self, patience: Duration) -> Result<Option<bytes::Bytes>, Piece> {
        let opened = &mut self.opened;
        self.runtime.block_on(async {
            match tokio::time::timeout(patience, opened.piece()).await {
                Err(_) => Err(Piece::Late),
                Ok(Err(_)) => Err(Piece::Lost),
                Ok(Ok(piece)) => Ok(piece),
            }
        })
    }
}

/// Why there is no piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// None came in time.
    Late,
    /// The agent has gone.
    Lost,
}

/// Puts a question to the agent at `base`, whose answer comes in pieces where it is a good one.
///
/// Errors: it did not answer, or not with a good one.
pub(super) fn stream(base: &str, path: &str, body: Vec<u8>, globals: Option<&Globals>) -> Result<Stream, AgentError> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let (url, socket) = url_of(base, path)?;
    authorize(&mut headers, globals);
    let ca = ca_of(globals);
    let called = || base.to_owned();
    let request = Request { method: Method::POST, body: Some(body.into()), ..Request::get(url, headers) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AgentError::Runtime)?;
    let client = client(base, &request.url, ca.as_deref(), socket.as_deref())?;
    let mut opened = runtime.block_on(client.open(request)).map_err(|lost| AgentError::Lost(called(), lost.why))?;
    if opened.status == 200 {
        return Ok(Stream { runtime, opened });
    }
    let mut body = Vec::new();
    let all = async {
        while let Ok(Some(piece)) = opened.piece().await
            && body.len() < MAX_ANSWER
        {
            body.extend_from_slice(&piece);
        }
    };
    _ = runtime.block_on(async { tokio::time::timeout(PATIENCE, all).await });
    let detail = serde_json::from_slice::<serde_json::Value>(&body).ok();
    let detail = detail.as_ref().and_then(|answer| answer["detail"].as_str());
    Err(match (opened.status, detail) {
        (401, _) => AgentError::Unauthorized(called()),
        (404, None) => AgentError::Earlier(called()),
        (_, Some(detail)) => AgentError::Refused(detail.to_owned()),
        (status, None) => AgentError::Answer(Some(called()), status, words(&body)),
    })
}

fn ca_of(globals: Option<&Globals>) -> Option<PathBuf> {
    globals.and_then(|g| g.api.as_ref()).and_then(|api| api.tls.as_ref()).map(|tls| tls.cert.clone())
}

/// Adds credentials: `TIDEGATE_API_TOKEN`, else those of the configuration.
fn authorize(headers: &mut HeaderMap, globals: Option<&Globals>) {
    let api = globals.and_then(|g| g.api.as_ref());
    let configured = api.and_then(|api| api.auth.as_ref()).and_then(|auth| match (&auth.basic, auth.bearer.first()) {
        (_, Some(token)) => Some(format!("Bearer {}", token.reveal())),
        (Some(basic), None) => Some(crate::http::basic(&basic.user, basic.password.reveal())),
        (None, None) => None,
    });
    let auth = std::env::var("TIDEGATE_API_TOKEN").ok().map(|token| format!("Bearer {token}")).or(configured);
    if let Some(mut value) = auth.and_then(|text| HeaderValue::from_str(&text).ok()) {
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
}

fn exchange(
    base: &str,
    method: Method,
    path: &str,
    (mut headers, body): (HeaderMap, Option<Vec<u8>>),
    globals: Option<&Globals>,
    patience: Duration,
) -> Result<(u16, Vec<u8>), AgentError> {
    let (url, socket) = url_of(base, path)?;
    authorize(&mut headers, globals);
    let ca = ca_of(globals);
    let request = Request { method, body: body.map(Into::into), ..Request::get(url, headers) };
    let called = || base.to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AgentError::Runtime)?;
    let exchange = client(base, &request.url, ca.as_deref(), socket.as_deref())?;
    let answer = runtime.block_on(async {
        let answer = tokio::time::timeout(patience, exchange.send(request, MAX_ANSWER)).await;
        answer.map_err(|_| AgentError::NoAnswer(called()))
    })?;
    let answer = answer.map_err(|lost| AgentError::Lost(called(), lost.why))?;
    match answer.status {
        _ if answer.cut => Err(AgentError::TooLong(called())),
        401 => Err(AgentError::Unauthorized(called())),
        status => Ok((status, answer.body.to_vec())),
    }
}

/// A body that is no answer of ours, in words that may be shown.
pub(super) fn words(body: &[u8]) -> String {
    Mask::default().words(body)
}
