//! What one request carries: encoded records, and whose they are.
//!
//! A load keeps bytes and places, not the batches its records came from: those give back their memory as soon as they are
//! encoded. Where a record is refused, its event is read back from the bytes.

use crate::ack::{Ack, Rows};
use crate::event::{Batch, EventKind, JsonRows, Origin, Slab, Sym};
use bytes::Bytes;
use reqwest::Url;
use reqwest::header::{HeaderName, HeaderValue};
use std::sync::Arc;
use tokio::time::Instant;

/// What stands around and between the records of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Framing {
    /// Before the first record.
    pub open: &'static [u8],
    /// Between two records.
    pub between: &'static [u8],
    /// Behind the last record.
    pub close: &'static [u8],
}

impl Framing {
    /// A JSON array.
    pub const ARRAY: Framing = Framing { open: b"[", between: b",", close: b"]" };
    /// One behind the other: fields of a message of protocol buffers.
    pub const FIELDS: Framing = Framing { open: b"", between: b"", close: b"" };
    /// Lines, each with its end.
    pub const LINES: Framing = Framing { open: b"", between: b"\n", close: b"\n" };
}

/// Where the requests of one partition go.
#[derive(Debug)]
pub struct Target {
    /// The name of the partition, formatted: a stream.
    pub name: String,
    /// What its events are.
    pub kind: EventKind,
    /// Address of the requests.
    pub url: Url,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// Further headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// How records stand in a body.
    pub framing: Framing,
    /// Bodies are a block of snappy, whatever the sink's `compression` says: part of the interface.
    pub snappy: bool,
}

/// One record of a body.
#[derive(Debug, Clone, Copy, Default)]
pub struct Record {
    /// Behind its last byte.
    pub end: u32,
    /// Where the event's own JSON begins.
    pub doc: u32,
    /// Bytes that the sink added before the last byte of the event's JSON.
    pub added: u32,
    /// Place of the untouched event in [`Load::originals`], where the record does not hold it: 0 for none, else from 1.
    pub original: u32,
    /// The time that was sent, in microseconds since 1970 UTC.
    pub time: i64,
    /// The event's time as components had read it, in nanoseconds since 1970 UTC; `i64::MIN` for none.
    pub noted: i64,
    /// Place in the file.
    pub offset: u64,
    /// What the sink knows the record by in answers; grows from record to record.
    pub tag: u64,
    /// So many records behind this one stand in its bytes and have none of their own: they are sent, taken and refused
    /// together.
    pub riders: u32,
}

/// Consecutive records of one batch.
#[derive(Debug)]
pub struct Part {
    /// Its share of the verdict.
    pub ack: Ack,
    /// Where its events come from.
    pub origin: Arc<Origin>,
    /// When they were read.
    pub received_at: i64,
    /// How many records.
    pub records: u32,
    /// Which events of their batch they are, where someone wants to hear of parts of it; else none.
    pub rows: Rows,
}

/// The content of one request.
#[derive(Debug)]
pub struct Load {
    /// Where it goes.
    pub target: Arc<Target>,
    /// The body.
    pub body: Bytes,
    /// Its records in order.
    pub records: Vec<Record>,
    /// Whose they are, in order.
    pub parts: Vec<Part>,
    /// JSON of events whose record is not made of it; behind each other, ends in `original_ends`.
    pub originals: Vec<u8>,
    /// Ends in `originals`.
    pub original_ends: Vec<u32>,
    /// Attempts that failed.
    pub failed: u32,
    /// When the first attempt was made.
    pub first_attempt: Option<Instant>,
    /// Why the last attempt failed.
    pub words: String,
}

impl Load {
    /// Events in it.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Bytes of memory that its events take.
    pub fn bytes(&self) -> usize {
        self.body.len() + self.records.len() * size_of::<Record>() + self.originals.len()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Where record `n` begins.
    fn start(&self, n: usize) -> usize {
        match n.checked_sub(1) {
            Some(before) => self.records[before].end as usize + self.target.framing.between.len(),
            None => self.target.framing.open.len(),
        }
    }

    /// The bytes of record `n`.
    pub fn record(&self, n: usize) -> &[u8] {
        &self.body[self.start(n)..self.records[n].end as usize]
    }

    /// The event of record `n` as the sink was given it, as JSON.
    pub fn event_json(&self, n: usize, out: &mut Vec<u8>) {
        let record = self.records[n];
        if let Some(i) = (record.original as usize).checked_sub(1) {
            let start = i.checked_sub(1).map_or(0, |before| self.original_ends[before] as usize);
            out.extend_from_slice(&self.originals[start..self.original_ends[i] as usize]);
            return;
        }
        let doc = &self.body[record.doc as usize..record.end as usize];
        if let Some(last) = doc.len().checked_sub(1) {
            out.extend_from_slice(&doc[..last.saturating_sub(record.added as usize)]);
            out.push(doc[last]);
        }
    }

    /// Where the load may be cut in two halves, about: not between records that go together.
    fn middle(&self) -> Option<usize> {
        let half = (self.records.len() / 2).max(1);
        let (mut at, mut before) = (0, None);
        while let Some(record) = self.records.get(at) {
            if at >= half {
                break;
            }
            before = Some(at).filter(|at| *at > 0);
            at += 1 + record.riders as usize;
        }
        if at < self.records.len() { Some(at) } else { before }
    }

    /// Whether it has halves.
    pub fn is_divisible(&self) -> bool {
        self.middle().is_some()
    }

    /// The first record of each group of records that go together.
    pub fn groups(&self) -> impl Iterator<Item = usize> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let first = at;
            at += 1 + self.records.get(first)?.riders as usize;
            Some(first)
        })
    }

    /// Two loads of about one half of the records each. The load must be [divisible](Load::is_divisible).
    pub fn halves(mut self) -> (Load, Load) {
        let middle = self.middle().unwrap_or(self.records.len() / 2);
        let mut first_parts = Vec::new();
        let mut left = middle as u32;
        let mut rest = std::mem::take(&mut self.parts).into_iter();
        let mut second_parts = Vec::new();
        for mut part in rest.by_ref() {
            if part.records <= left {
                left -= part.records;
                first_parts.push(part);
                continue;
            }
            if left > 0 {
                let rows = part.rows.split_to(left as usize);
                let share = Part { ack: part.ack.clone(), origin: part.origin.clone(), records: left, rows, ..part };
                first_parts.push(share);
            }
            second_parts.push(Part { records: part.records - left, ..part });
            break;
        }
        second_parts.extend(rest);
        let second = self.slice(middle, self.records.len(), second_parts);
        let first = self.slice(0, middle, first_parts);
        (first, second)
    }

    /// A load of the records `from..to`.
    fn slice(&self, from: usize, to: usize, parts: Vec<Part>) -> Load {
        let framing = self.target.framing;
        let (start, end) = (self.start(from), self.records[to - 1].end as usize);
        let mut body = Vec::with_capacity(framing.open.len() + end - start + framing.close.len());
        body.extend_from_slice(framing.open);
        body.extend_from_slice(&self.body[start..end]);
        body.extend_from_slice(framing.close);
        // A place moves by less than the length of `open` forward at most, so it stays a 32-bit number.
        let shift = |at: u32| (at as usize + framing.open.len() - start) as u32;
        let mut originals = Vec::new();
        let mut original_ends = Vec::new();
        let mut records = self.records[from..to].to_vec();
        for (n, record) in records.iter_mut().enumerate() {
            if record.original > 0 {
                self.event_json(from + n, &mut originals);
                original_ends.push(originals.len() as u32);
                record.original = original_ends.len() as u32;
            }
            record.end = shift(record.end);
            record.doc = shift(record.doc);
        }
        Load {
            target: self.target.clone(),
            body: Bytes::from(body),
            records,
            parts,
            originals,
            original_ends,
            failed: 0,
            first_attempt: self.first_attempt,
            words: String::new(),
        }
    }

    /// A batch of the events of `rows`, which are all records of `part`, with a share of the part's acknowledgement.
    pub fn read_back(&self, part: &Part, rows: &[usize], ack: Ack) -> Batch {
        let mut text = Vec::new();
        let mut lines = Vec::with_capacity(rows.len());
        for &n in rows {
            let start = text.len();
            self.event_json(n, &mut text);
            lines.push((start, text.len()));
        }
        let mut batch = Batch::new(Slab::from_vec(text), part.origin.clone(), part.received_at, ack);
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
