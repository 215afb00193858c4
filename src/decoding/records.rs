//! Batches out of a request that holds many events: one after the other, so that a large request needs the memory of
//! one batch beside its own.

use crate::ack::Ack;
use crate::event::{Batch, Origin, Slab, Value};
use crate::framing::span::Span;
use crate::time::write_rfc3339_utc;
use crate::wire::protobuf::{Fields, Malformed};
use std::sync::Arc;

/// Events after which a batch is full.
const MOST_EVENTS: usize = 2048;
/// Bytes after which a batch is full.
const MOST_BYTES: usize = 512 << 10;

/// What became of the records of a request, beside the events they made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Events made.
    pub events: u64,
    /// Records that are no events by rule, with the reason they are to be counted under; sorted by it.
    pub dropped: Vec<(&'static str, u64)>,
    /// Records that cannot be read though the request can, to be told to the sender.
    pub refused: u64,
    /// Why, of the last of them.
    pub why: &'static str,
    /// Texts that were no UTF-8, which was replaced.
    pub invalid_utf8: u64,
}

impl Summary {
    pub(super) fn drop_one(&mut self, reason: &'static str) {
        match self.dropped.binary_search_by_key(&reason, |d| d.0) {
            Ok(at) => self.dropped[at].1 += 1,
            Err(at) => self.dropped.insert(at, (reason, 1)),
        }
    }

    pub(super) fn refuse(&mut self, why: &'static str) {
        self.refused += 1;
        self.why = why;
    }
}

/// A request that is being read record by record; it knows places in the request's bytes, which it is given.
pub(super) trait Records {
    /// Appends the events of the next record to `batch`; `false` where there is none. Called with an empty batch, it
    /// must not refer to events of one before.
    fn next_into(&mut self, request: &[u8], batch: &mut Batch, summary: &mut Summary) -> Result<bool, Malformed>;
}

/// Where a part of `whole`, a slice of it, is in it. Empty parts are at its start.
pub(super) fn place(whole: &[u8], part: &[u8]) -> Span {
    let at = if part.is_empty() { 0 } else { part.as_ptr() as usize - whole.as_ptr() as usize };
    Span::new(at, at + part.len())
}

/// The next field `number` of the message in `at`, which moves behind it.
pub(super) fn next_of<'b>(request: &'b [u8], at: &mut Span, number: u32) -> Result<Option<&'b [u8]>, Malformed> {
    let mut fields = Fields::new(at.of(request));
    while let Some(field) = fields.next() {
        if let (n, value) = field?
            && n == number
        {
            at.start = at.end - fields.left();
            return value.bytes().map(Some);
        }
    }
    at.start = at.end;
    Ok(None)
}

/// The batches of a request.
pub(super) struct Batches<B, R> {
    request: B,
    records: R,
    origin: Arc<Origin>,
    received_at: i64,
    pub(super) summary: Summary,
    ended: bool,
}

impl<B: AsRef<[u8]>, R: Records> Batches<B, R> {
    pub(super) fn new(request: B, records: R, origin: Arc<Origin>, received_at: i64) -> Self {
        Batches { request, records, origin, received_at, summary: Summary::default(), ended: false }
    }

    /// The next batch, without acknowledgement.
    pub(super) fn next_batch(&mut self) -> Result<Option<Batch>, Malformed> {
        // With tables of its own: used ones come with as much room as their last batch needed, and would count as full.
        let mut batch = Batch::new(Slab::default(), self.origin.clone(), self.received_at, Ack::none());
        while !self.ended && batch.rows() < MOST_EVENTS && batch.pinned_bytes() < MOST_BYTES {
            self.ended = !self.records.next_into(self.request.as_ref(), &mut batch, &mut self.summary)?;
        }
        self.summary.events += batch.len() as u64;
        Ok((!batch.is_empty()).then_some(batch))
    }

    /// Reads everything without keeping it: what there is and the reader as it was at the end, or why it cannot be read.
    pub(super) fn read_through(mut self, most_bytes: u64) -> Result<(Summary, R), Malformed> {
        let mut written = 0;
        while let Some(batch) = self.next_batch()? {
            written +=
                batch.iter().flat_map(|e| e.fields()).map(|(k, v)| (k.len() + 4 + len_of(v)) as u64).sum::<u64>();
            if written > most_bytes {
                return Err(Malformed("its events repeat so much that they are many times larger than the request"));
            }
            batch.recycle();
        }
        Ok((self.summary, self.records))
    }
}

fn len_of(value: Value<'_>) -> usize {
    match value {
        Value::Str(s) => s.bytes.len(),
        Value::Number(raw) | Value::Object(raw) | Value::Array(raw) => raw.len(),
        _ => 8,
    }
}

/// Bytes that the events of a request of so many bytes may have together.
pub(super) fn most_bytes(request: usize) -> u64 {
    (256 << 20) + 32 * request as u64
}

/// Appends a time in RFC 3339 with as many digits as it has.
pub(super) fn push_time(ns: i64, out: &mut Vec<u8>) {
    let digits = match ns {
        _ if ns % 1_000_000 == 0 => 3,
        _ if ns % 1_000 == 0 => 6,
        _ => 9,
    };
    write_rfc3339_utc(ns, digits, out);
}

/// Appends a bound or quantile as Prometheus writes it: whole numbers without a point.
pub(super) fn push_bound(x: f64, out: &mut Vec<u8>) {
    if x == f64::INFINITY {
        out.extend_from_slice(b"+Inf");
    } else if x == f64::NEG_INFINITY {
        out.extend_from_slice(b"-Inf");
    } else if x.fract() == 0.0 && x.abs() < 1e15 {
        out.extend_from_slice(itoa::Buffer::new().format(x as i64).as_bytes());
    } else {
        out.extend_from_slice(ryu::Buffer::new().format(x).as_bytes());
    }
}

/// A count as a value.
pub(super) fn count(n: u64) -> Value<'static> {
    i64::try_from(n).map_or(Value::F64(n as f64), Value::I64)
}
