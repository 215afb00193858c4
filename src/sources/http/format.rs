//! What a wire format is to the `http` source: bodies to events, and outcomes to the answers its clients expect.
//!
//! The source authenticates a request, reads its whole body within the limits and decompresses it; then it asks the
//! [`Format`] of the path, which either refuses all of it or says what to take. What is taken goes to the workers part
//! by part, and when all of it is delivered (or received, as `acknowledge` says) the format's answer is sent.

use crate::event::{Batch, Origin};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// Variables of a request's path, `@http.<name>`.
pub type Variables = Vec<(Arc<str>, Arc<str>)>;

/// Everything of a request but its body.
#[derive(Debug)]
pub struct Head {
    /// The method; `POST` or `PUT` where there is a body to decode.
    pub method: Method,
    /// The path, as sent.
    pub path: String,
    /// The headers.
    pub headers: HeaderMap,
    /// Variables of the path, percent-decoded.
    pub variables: Variables,
}

impl Head {
    /// A header as text; `None` where it is absent or no text.
    pub fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The media type without its parameters, in lower case; empty where none was sent.
    pub fn content_type(&self) -> Cow<'_, str> {
        let whole = self.header(header::CONTENT_TYPE).unwrap_or_default();
        let essence = whole.split(';').next().unwrap_or_default().trim();
        match essence.bytes().any(|c| c.is_ascii_uppercase()) {
            true => essence.to_ascii_lowercase().into(),
            false => essence.into(),
        }
    }

    /// The variable `name` of the path.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.iter().find(|(n, _)| &**n == name).map(|(_, value)| &**value)
    }
}

/// A request that may come in: authenticated, within the limits, its body whole and decompressed.
#[derive(Debug)]
pub struct Request {
    /// All but the body.
    pub head: Arc<Head>,
    /// The body, decompressed.
    pub body: Vec<u8>,
    /// What its events share; variables of the path are in it.
    pub origin: Arc<Origin>,
    /// When the body was whole: nanoseconds since 1970 UTC.
    pub received_at: i64,
    /// Longest body, in decompressed bytes: for formats that decompress themselves.
    pub max_body: usize,
    /// Longest single event, in bytes of its text.
    pub max_event: usize,
}

/// What a format takes of a request.
pub struct Taken {
    /// Events, to be handed over in order.
    pub parts: Box<dyn Iterator<Item = BodyPart> + Send>,
    /// What is said once they are delivered.
    pub answer: Box<dyn FnOnce() -> Answer + Send>,
    /// The answer needs the body: its memory stays charged until the answer is out.
    pub keeps_body: bool,
    /// Records that are no events by rule, by the reason they are counted under.
    pub dropped: Vec<(&'static str, u64)>,
    /// Records that the answer says were refused.
    pub refused: u64,
    /// Texts that were no UTF-8 and were replaced.
    pub invalid_utf8: u64,
}

impl Taken {
    /// Takes parts, with an answer made when they are delivered.
    pub fn parts(
        parts: impl Iterator<Item = BodyPart> + Send + 'static,
        answer: impl FnOnce() -> Answer + Send + 'static,
    ) -> Taken {
        Taken {
            parts: Box::new(parts),
            answer: Box::new(answer),
            keeps_body: false,
            dropped: Vec::new(),
            refused: 0,
            invalid_utf8: 0,
        }
    }
}

/// Some of a request's events: what becomes one chunk on its way to the workers.
pub enum BodyPart {
    /// Lines, for the workers to decode as `decode` says.
    Lines(Vec<u8>),
    /// JSON values in `text` that have been found valid, for the workers to decode.
    Json {
        /// Their bytes, and no more than those.
        text: Vec<u8>,
        /// Where they are: start, end.
        frames: Vec<(u32, u32)>,
        /// Where their origin is another than the request's: variables differ.
        origin: Option<Arc<Origin>>,
    },
    /// Events that are decoded already.
    Events(Batch),
}

/// Turns the bodies of one wire format into events.
pub trait Format: Send + Sync {
    /// Reads a whole request. Nothing has been taken before this returns, so a mistake anywhere refuses all of it,
    /// unless the format answers item by item.
    ///
    /// Errors: the answer that refuses it.
    fn read(&self, request: Request) -> Result<Taken, Answer>;

    /// Whether its clients send one block of snappy, with `Content-Encoding: snappy` or without a word.
    fn takes_snappy(&self) -> bool {
        false
    }

    /// The answer to a request that is refused whatever is in it.
    ///
    /// `Retry-After`, where the refusal has one, is added by the source.
    fn refuse(&self, _head: &Head, refusal: &Refusal) -> Answer {
        Answer::text(refusal.status(), &refusal.to_string())
    }
}

/// Why a request is refused whatever is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It shows no credentials, or (`shown`) not the right ones.
    Unauthorized {
        /// Whether it showed some.
        shown: bool,
    },
    /// The body is larger than this many bytes, decompressed.
    TooLarge(usize),
    /// The body did not come in time.
    Slow,
    /// This content encoding is not understood.
    Encoding(String),
    /// The body cannot be decompressed; why.
    Corrupt(String),
    /// There is too much in flight: the sinks are slower than the clients, or fail.
    Busy,
    /// Not delivered within `acknowledge_timeout`; the events may still arrive.
    NotDelivered,
    /// The agent stops.
    Stopping,
}

impl Refusal {
    /// The usual status.
    pub fn status(&self) -> StatusCode {
        match self {
            Refusal::Unauthorized { .. } => StatusCode::UNAUTHORIZED,
            Refusal::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::Slow => StatusCode::REQUEST_TIMEOUT,
            Refusal::Encoding(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Refusal::Corrupt(_) => StatusCode::BAD_REQUEST,
            Refusal::Busy | Refusal::NotDelivered | Refusal::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// When to try again.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Refusal::Busy | Refusal::Stopping => Some(Duration::from_secs(2)),
            Refusal::NotDelivered => Some(Duration::from_secs(5)),
            _ => None,
        }
    }

    /// The name it is counted by.
    pub fn kind(&self) -> &'static str {
        match self {
            Refusal::Unauthorized { .. } => "unauthorized",
            Refusal::TooLarge(_) => "too_large",
            Refusal::Slow => "slow",
            Refusal::Encoding(_) => "encoding",
            Refusal::Corrupt(_) => "corrupt",
            Refusal::Busy => "busy",
            Refusal::NotDelivered => "not_delivered",
            Refusal::Stopping => "stopping",
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refusal::Unauthorized { shown: false } => f.write_str("credentials are missing"),
            Refusal::Unauthorized { shown: true } => f.write_str("credentials are wrong"),
            Refusal::TooLarge(max) => write!(f, "the body is larger than {max} bytes"),
            Refusal::Slow => f.write_str("the body did not come in time"),
            Refusal::Encoding(name) => {
                write!(f, "content encoding `{name}` is not understood; gzip, zstd and deflate are")
            }
            Refusal::Corrupt(why) => write!(f, "the body cannot be decompressed: {why}"),
            Refusal::Busy => f.write_str("too much is in flight, try again later"),
            Refusal::NotDelivered => f.write_str("not delivered in time, try again later"),
            Refusal::Stopping => f.write_str("stopping, try again later"),
        }
    }
}

/// What a client is told.
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// Headers besides those of HTTP itself.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: AnswerBody,
}

/// The body of an [`Answer`].
pub enum AnswerBody {
    /// All of it.
    Whole(Vec<u8>),
    /// Made piece by piece as the client reads it.
    Pieces(Box<dyn Iterator<Item = Vec<u8>> + Send>),
}

impl Answer {
    /// An answer without body.
    pub fn empty(status: StatusCode) -> Answer {
        Answer { status, headers: Vec::new(), body: AnswerBody::Whole(Vec::new()) }
    }

    /// An answer of this media type.
    pub fn of(status: StatusCode, content_type: &'static str, body: impl Into<Vec<u8>>) -> Answer {
        let body = AnswerBody::Whole(body.into());
        Answer { status, headers: vec![(header::CONTENT_TYPE, HeaderValue::from_static(content_type))], body }
    }

    /// A line of text.
    pub fn text(status: StatusCode, line: &str) -> Answer {
        Answer::of(status, "text/plain; charset=utf-8", format!("{line}\n"))
    }

    /// A JSON text.
    pub fn json(status: StatusCode, body: impl Into<Vec<u8>>) -> Answer {
        Answer::of(status, "application/json", body)
    }

    /// With a header more; left out where the value is no header's.
    pub fn with(mut self, name: HeaderName, value: &str) -> Answer {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.retain(|(n, _)| *n != name);
            self.headers.push((name, value));
        }
        self
    }
}

/// Bytes of one part of a larger body.
pub(super) const PART_BYTES: usize = 256 << 10;
/// Most events of one part.
pub(super) const PART_EVENTS: usize = 4096;

pub(super) fn mistake(status: StatusCode, text: &str) -> Answer {
    Answer::json(status, serde_json::json!({"error": text}).to_string())
}

pub(super) fn too_long(max_event: usize) -> String {
    format!("an event is larger than {max_event} bytes (max_event)")
}
