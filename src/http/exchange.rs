//! One request and its answer, apart from how it travels: the driver is tested without sockets.

use crate::sync::BoxFuture;
use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::{Method, Url};
use std::time::Duration;

/// A request to be sent.
#[derive(Debug, Clone)]
pub struct Request {
    /// How.
    pub method: Method,
    /// Where to.
    pub url: Url,
    /// `Content-Type`, `Content-Encoding`, `Authorization` and the like; those of the configuration are added later.
    pub headers: HeaderMap,
    /// What to send, where there is something.
    pub body: Option<Bytes>,
}

impl Request {
    /// A GET.
    pub fn get(url: Url, headers: HeaderMap) -> Request {
        Request { method: Method::GET, url, headers, body: None }
    }
}

/// What came back.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// How long the server wants to be left alone.
    pub retry_after: Option<Duration>,
    /// `Location`, for messages.
    pub location: Option<String>,
    /// What the server's clock shows (`Date`): nanoseconds since 1970 UTC.
    pub date: Option<i64>,
    /// All of its head.
    pub headers: HeaderMap,
    /// The body, cut at the sink's limit.
    pub body: Bytes,
    /// The body was longer than the limit.
    pub cut: bool,
}

/// Nothing usable came back; whether the server took the request is unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// What it counts as.
    pub kind: LostKind,
    /// In words, without credentials.
    pub why: String,
}

/// How a request was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostKind {
    /// No connection: refused, no such host, TLS failed. The server has seen nothing.
    Connect,
    /// The connection broke on the way.
    Broken,
    /// No whole answer in time.
    Timeout,
}

impl LostKind {
    /// The `kind` of the error counter.
    pub fn name(self) -> &'static str {
        match self {
            LostKind::Connect => "connect",
            LostKind::Broken => "connection",
            LostKind::Timeout => "timeout",
        }
    }
}

/// Sends requests.
pub trait Exchange: Send + Sync {
    /// Sends one request and waits for the whole answer, whose body is kept up to `max_answer` bytes. Dropping the
    /// future gives the request up.
    fn send(&self, request: Request, max_answer: usize) -> BoxFuture<Result<Answer, Lost>>;
}
