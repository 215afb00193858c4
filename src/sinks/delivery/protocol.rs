//! What a sink says about its server: where events go, how they are written, what an answer means.

use super::request_body::{BatchPart, Groups, Record, RequestBody, Target};
use crate::ack::Ack;
use crate::event::{Batch, EventRef, JsonRows, Slab, Sym};
use crate::http::{Answer, Request};
use bytes::Bytes;
use std::fmt;

/// Why an event cannot be sent at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsendable {
    /// The reason it is counted under.
    pub reason: &'static str,
    /// In words.
    pub detail: String,
}

impl Unsendable {
    /// The template of this setting lacks a field.
    pub fn template(setting: &str, why: impl fmt::Display) -> Self {
        Unsendable { reason: "template", detail: format!("`{setting}`: {why}") }
    }
}

/// What an answer means for the records of a load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// The server has all of them.
    Delivered,
    /// The server has all but these (places in the load, ascending), which it refused for good.
    Refused(Vec<Refusal>),
    /// The server has all but `refused`, which it refused for good, and `again`, which are sent again alone; both are places
    /// in the load, ascending, none in both.
    Partial {
        /// Refused for good.
        refused: Vec<Refusal>,
        /// Not now.
        again: Vec<usize>,
        /// What the latter are counted as.
        kind: &'static str,
        /// Why not now, in words.
        detail: String,
        /// The server has too much: fewer requests at a time.
        pressure: bool,
    },
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
///
/// A body is begun with what its target's [`Framing`](super::Framing) says, each event appends a
/// [`record`](Protocol::record), and [`finish`](Protocol::finish) makes of the records what is sent: mostly the same bytes;
/// where records of one group stand together (streams, resources), those in that order. A load that is halved, or of which
/// some records go again, is finished anew.
pub trait Protocol: Send + 'static {
    /// What the sink notes beside each record.
    type Mark: Copy + Default + fmt::Debug + Send + Sync + 'static;

    /// Appends the name of the partition that an event belongs to. Events of one request are of one partition.
    ///
    /// `now` is the wall clock in nanoseconds since 1970 UTC, read once a batch, here and below.
    fn partition(&mut self, event: EventRef<'_>, now: i64, name: &mut Vec<u8>) -> Result<(), Unsendable>;

    /// Where a partition's requests go.
    fn target(&self, partition: &[u8]) -> Target;

    /// A request of a partition, without its body: where what was [heard](Protocol::heard) of the server changes it.
    fn request(&self, target: &Target) -> Request {
        target.request()
    }

    /// Appends an event to the body and notes in the draft's `record` what is known of it: all but `end`, `offset` and
    /// `noted`, which the caller sets. An event that [`event_json`](Protocol::event_json) does not find in the record is
    /// [kept](Draft::keep).
    ///
    /// Errors: the caller takes back what was appended.
    fn record(&mut self, event: EventRef<'_>, draft: &mut Draft<'_, Self::Mark>) -> Result<(), Unsendable>;

    /// Gives what went wrong without ending an event since it was asked last: kinds of errors, and how often. Asked once a
    /// batch.
    fn faults(&mut self, _count: &mut dyn FnMut(&'static str, u64)) {}

    /// What is sent, before compression.
    fn finish(&self, load: &RequestBody<Self::Mark>) -> Bytes {
        load.body.clone()
    }

    /// Appends the event of record `n` as the sink was given it, as JSON, where it was not [kept](Draft::keep).
    fn event_json(&self, load: &RequestBody<Self::Mark>, n: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(load.record(n));
    }

    /// Whether each batch is the whole state of its time: then it takes the place of those before it that are not delivered.
    fn supersedes(&self) -> bool {
        false
    }

    /// The labels of the stream of an event, where the system has such a thing: for whoever wants to see them.
    fn labels(&mut self, _event: EventRef<'_>) -> Option<Vec<(String, String)>> {
        None
    }

    /// What a record is called in messages, in the plural.
    fn records_are(&self) -> &'static str {
        "events"
    }

    /// What an answer means.
    fn judge(&self, answer: &Answer, load: &RequestBody<Self::Mark>, now: i64) -> Judgement;

    /// What an answer says of the server as such, whatever it says of the records: called before [`judge`](Protocol::judge).
    fn heard(&mut self, _answer: &Answer) {}

    /// Most bytes of an answer to a load that are worth keeping.
    fn max_answer(&self, _records: usize) -> usize {
        64 << 10
    }

    /// Requests that tell whether the server is there and takes the credentials, one after the other.
    fn health_checks(&self) -> Vec<Request> {
        Vec::new()
    }
}

/// A body that is being filled, and the record that is appended to it.
pub struct Draft<'a, M> {
    /// Its bytes.
    pub body: &'a mut Vec<u8>,
    /// The groups that its records belong to.
    pub groups: &'a mut Groups,
    /// What is known of the record.
    pub record: Record<M>,
    /// Where the body goes.
    pub target: &'a Target,
    /// The wall clock in nanoseconds since 1970 UTC, read once a batch.
    pub now: i64,
    pub(super) originals: &'a mut Vec<u8>,
    pub(super) original_ends: &'a mut Vec<u32>,
}

impl<M> Draft<'_, M> {
    /// Keeps the event as it is beside the body ([`Record::original`]).
    pub fn keep(&mut self, event: EventRef<'_>) {
        event.write_json(self.originals);
        self.original_ends.push(self.originals.len() as u32);
        self.record.original = self.original_ends.len() as u32;
    }
}

impl<M> fmt::Debug for Draft<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Draft({} bytes)", self.body.len())
    }
}

impl<M: Copy> RequestBody<M> {
    /// The event of record `n` as the sink was given it, as JSON.
    pub fn event_json<P: Protocol<Mark = M>>(&self, protocol: &P, n: usize, out: &mut Vec<u8>) {
        match self.original(n) {
            Some(event) => out.extend_from_slice(event),
            None => protocol.event_json(self, n, out),
        }
    }

    /// A batch of the events of `rows`, which are all records of `part`, with a share of the part's acknowledgement.
    pub fn read_back<P: Protocol<Mark = M>>(&self, protocol: &P, part: &BatchPart, rows: &[usize], ack: Ack) -> Batch {
        let mut text = Vec::new();
        let mut lines = Vec::with_capacity(rows.len());
        for &n in rows {
            let start = text.len();
            self.event_json(protocol, n, &mut text);
            lines.push((start, text.len()));
        }
        let mut batch = Batch::new(Slab::from_vec(text), part.origin.clone(), part.received_at, ack);
        batch.ids = part.ids;
        let mut reader = JsonRows::default();
        for (&n, (start, end)) in rows.iter().zip(lines) {
            let record = self.records[n];
            if reader.push(&mut batch, start, end, record.offset).is_err() {
                // What we wrote ourselves reads back, unless a transform has nested it past what is read: then as text.
                batch.push_line(start, end, record.offset);
                batch.push_text_field(Sym::MESSAGE, start, end);
            }
            let row = batch.rows() - 1;
            let mut event = batch.event_mut(row);
            if record.noted != i64::MIN {
                event.set_time(record.noted);
            }
            event.set_kind(self.target.kind);
        }
        batch
    }
}
