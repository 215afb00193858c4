//! What a sink says about its server: where events go, how they are written, what an answer means.

use super::exchange::{Answer, Request};
use super::load::{Load, Record, Target};
use crate::event::EventRef;
use reqwest::header::HeaderValue;
use std::fmt;

/// Why an event cannot be sent at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsendable {
    /// The reason it is counted under.
    pub reason: &'static str,
    /// In words.
    pub detail: String,
}

/// What an answer means for the records of a load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// The server has all of them.
    Delivered,
    /// The server has all but these (places in the load, ascending), which it refused for good.
    Refused(Vec<Refusal>),
    /// The server does not have them, or not all and it is not known which, and they are not to be sent again.
    RefusedAll {
        /// The reason they are counted under.
        reason: &'static str,
        /// The server's words.
        detail: String,
    },
    /// Something in it cannot be taken: halved down to the one record, which is refused.
    Halve {
        /// The reason that record is counted under.
        reason: &'static str,
        /// The server's words.
        detail: String,
    },
    /// Not now.
    Retry {
        /// What it is counted as.
        kind: &'static str,
        /// In words.
        detail: String,
        /// The server itself is in trouble: counts for the circuit breaker.
        broken: bool,
        /// The server has too much: fewer requests at a time.
        pressure: bool,
        /// Tries up to which this is believed to pass; then the load is refused. `None`: for ever.
        tries: Option<u32>,
    },
    /// The configuration or the server's set-up is at fault: nothing will get through until someone acts.
    Misconfigured {
        /// In words, with what to do.
        detail: String,
    },
    /// The server does not take the compression.
    Uncompressible {
        /// The server's words.
        detail: String,
    },
}

/// One record that the server refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its place in the load.
    pub record: usize,
    /// The reason it is counted under.
    pub reason: &'static str,
    /// The server's words.
    pub detail: String,
}

/// A kind of server.
pub trait Protocol: Send + 'static {
    /// Appends the name of the partition that an event belongs to. Events of one request are of one partition.
    ///
    /// `now` is the wall clock in nanoseconds since 1970 UTC, read once a batch, here and below.
    fn partition(&mut self, event: EventRef<'_>, now: i64, name: &mut Vec<u8>) -> Result<(), Unsendable>;

    /// Where a partition's requests go.
    fn target(&self, partition: &[u8]) -> Target;

    /// Appends an event to `body` and notes where it stands: everything in `record` but `end`, which the caller sets.
    /// Where the record is not the event's JSON with bytes added before its last one, `original` gets that JSON.
    fn encode(
        &mut self,
        event: EventRef<'_>,
        target: &Target,
        now: i64,
        body: &mut Vec<u8>,
        record: &mut Record,
        original: &mut Original<'_>,
    ) -> Result<(), Unsendable>;

    /// Whether each batch is the whole state of its time: then it takes the place of those before it that are not delivered.
    fn supersedes(&self) -> bool {
        false
    }

    /// What a record is called in messages, in the plural.
    fn records_are(&self) -> &'static str {
        "events"
    }

    /// `Authorization`, where there is one.
    fn authorization(&mut self, now: i64) -> Option<HeaderValue>;

    /// What an answer means.
    fn judge(&self, answer: &Answer, load: &Load, now: i64) -> Judgement;

    /// Most bytes of an answer to a load that are worth keeping.
    fn max_answer(&self, _records: usize) -> usize {
        64 << 10
    }

    /// Requests that tell whether the server is there and takes the credentials, one after the other.
    fn health_checks(&self) -> Vec<Request> {
        Vec::new()
    }
}

/// Takes the JSON of an event whose record does not hold it.
pub struct Original<'a> {
    pub(super) bytes: &'a mut Vec<u8>,
    pub(super) ends: &'a mut Vec<u32>,
}

impl Original<'_> {
    /// Keeps the event as it is; returns what goes into [`Record::original`].
    pub fn keep(&mut self, event: EventRef<'_>) -> u32 {
        event.write_json(self.bytes);
        self.ends.push(self.bytes.len() as u32);
        self.ends.len() as u32
    }
}

impl fmt::Debug for Original<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Original({})", self.ends.len())
    }
}
