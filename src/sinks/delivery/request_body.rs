//! What one request carries: encoded records, and whose they are.
//!
//! A load keeps bytes and places, not the batches its records came from: those give back their memory as soon as they are
//! encoded. Where a record is refused, its event is read back from the bytes.

use super::values::Known;
use crate::ack::{Ack, Rows};
use crate::event::{EventKind, Origin};
use crate::http::Request;
use bytes::Bytes;
use hashbrown::HashMap;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
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
    /// Method of the requests.
    pub method: Method,
    /// Address of the requests.
    pub url: Url,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// Further headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// How records stand in a body.
    pub framing: Framing,
    /// Bodies are a block of snappy, which is part of the interface: with `compression: none` one that holds them as they are.
    pub snappy: bool,
}

/// The first byte of a partition's name where it says what the events are, which those of one request have in common.
pub fn byte_of(kind: EventKind) -> u8 {
    match kind {
        EventKind::Log => b'l',
        EventKind::Metric => b'm',
        EventKind::Trace => b't',
    }
}

/// What the events of a partition are by its [first byte](byte_of), and the rest of its name.
pub fn kind_of(partition: &[u8]) -> (EventKind, &[u8]) {
    match partition.split_first() {
        Some((b'm', rest)) => (EventKind::Metric, rest),
        Some((b't', rest)) => (EventKind::Trace, rest),
        Some((_, rest)) => (EventKind::Log, rest),
        None => (EventKind::Log, partition),
    }
}

impl Target {
    /// Of POST requests to this address: fields one behind the other, no header of their own.
    pub fn post(name: impl Into<String>, kind: EventKind, url: Url, content_type: &'static str) -> Target {
        let (name, method, headers) = (name.into(), Method::POST, Vec::new());
        Target { name, kind, method, url, content_type, headers, framing: Framing::FIELDS, snappy: false }
    }

    /// A request to it, without its body.
    pub fn request(&self) -> Request {
        let mut headers = HeaderMap::with_capacity(4);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.extend(self.headers.iter().cloned());
        Request { method: self.method.clone(), url: self.url.clone(), headers, body: None }
    }
}

/// One record of a body.
#[derive(Debug, Clone, Copy, Default)]
pub struct Record<M> {
    /// Behind its last byte.
    pub end: u32,
    /// Place of the untouched event in [`RequestBody::originals`], where the record does not hold it: 0 for none, else from 1.
    pub original: u32,
    /// So many records behind this one stand in its bytes and have none of their own: they are sent, taken and refused
    /// together.
    pub riders: u32,
    /// Its group, where records have some: see [`Groups`].
    pub group: u32,
    /// The event's time as components had read it, in nanoseconds since 1970 UTC; `i64::MIN` for none.
    pub noted: i64,
    /// Place in the file.
    pub offset: u64,
    /// What the sink notes of it.
    pub mark: M,
}

/// Names of the groups that a body's records belong to, numbered in the order in which they came. What the records of one
/// group have in common is written once.
#[derive(Debug, Clone, Default)]
pub struct Groups {
    text: Vec<u8>,
    ends: Vec<u32>,
    places: HashMap<u64, u32>,
    last: u32,
    /// By place of a [`Known`] name its group, from 1, and of which generation those places are.
    known: Vec<u32>,
    generation: u32,
}

impl Groups {
    /// The number of the group with this name that is remembered: found by its place, not by its text.
    #[inline]
    pub fn of_known(&mut self, known: Known<'_>) -> u32 {
        if self.generation == known.generation
            && let Some(n) = self.known.get(known.place).and_then(|n| n.checked_sub(1))
        {
            return n;
        }
        self.note(known)
    }

    fn note(&mut self, known: Known<'_>) -> u32 {
        if self.generation != known.generation {
            self.generation = known.generation;
            self.known.clear();
        }
        let n = self.of(known.name);
        if self.known.len() <= known.place {
            self.known.resize(known.place + 1, 0);
        }
        self.known[known.place] = n + 1;
        n
    }

    /// The number of the group with this name, a new one where there was none.
    pub fn of(&mut self, name: &[u8]) -> u32 {
        if self.last < self.ends.len() as u32 && self.name(self.last) == name {
            return self.last;
        }
        let mut hash = xxhash_rust::xxh3::xxh3_64(name);
        // Two names with one hash: the later stands at the next free place.
        loop {
            match self.places.get(&hash) {
                Some(&n) if self.name(n) == name => {
                    self.last = n;
                    return n;
                }
                Some(_) => hash = hash.wrapping_add(1),
                None => break,
            }
        }
        let n = self.ends.len() as u32;
        self.text.extend_from_slice(name);
        self.ends.push(self.text.len() as u32);
        self.places.insert(hash, n);
        self.last = n;
        n
    }

    /// The name of group `n`.
    pub fn name(&self, n: u32) -> &[u8] {
        let start = (n as usize).checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        &self.text[start..self.ends[n as usize] as usize]
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of all names.
    pub fn bytes(&self) -> usize {
        self.text.len()
    }
}

/// Consecutive records of one batch.
#[derive(Debug)]
pub struct BatchPart {
    /// Its share of the verdict.
    pub ack: Ack,
    /// Where its events come from.
    pub origin: Arc<Origin>,
    /// When they were read.
    pub received_at: i64,
    /// What their `@id`s are made of.
    pub ids: u128,
    /// How many records.
    pub records: u32,
    /// Which events of their batch they are, where someone wants to hear of parts of it; else none.
    pub rows: Rows,
}

/// The content of one request.
#[derive(Debug)]
pub struct RequestBody<M> {
    /// Where it goes.
    pub target: Arc<Target>,
    /// The body.
    pub body: Bytes,
    /// Its records in order.
    pub records: Vec<Record<M>>,
    /// The groups of its records.
    pub groups: Arc<Groups>,
    /// Whose they are, in order.
    pub parts: Vec<BatchPart>,
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

impl<M: Copy> RequestBody<M> {
    /// Events in it.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Bytes of memory that its events take.
    pub fn bytes(&self) -> usize {
        self.body.len() + self.records.len() * size_of::<Record<M>>() + self.originals.len() + self.groups.bytes()
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

    /// The event of record `n` as it was kept beside the body, where it was.
    pub fn original(&self, n: usize) -> Option<&[u8]> {
        let i = (self.records[n].original as usize).checked_sub(1)?;
        let start = i.checked_sub(1).map_or(0, |before| self.original_ends[before] as usize);
        Some(&self.originals[start..self.original_ends[i] as usize])
    }

    /// Gives the number of each group that has records and their places, records in order, groups as they came.
    pub fn each_group(&self, mut give: impl FnMut(u32, &[u32])) {
        let mut starts = vec![0u32; self.groups.len() + 1];
        for record in &self.records {
            starts[record.group as usize + 1] += 1;
        }
        for n in 1..starts.len() {
            starts[n] += starts[n - 1];
        }
        let mut next = starts.clone();
        let mut places = vec![0u32; self.records.len()];
        for (place, record) in self.records.iter().enumerate() {
            let at = &mut next[record.group as usize];
            places[*at as usize] = place as u32;
            *at += 1;
        }
        for n in 0..self.groups.len() {
            let of_group = &places[starts[n] as usize..starts[n + 1] as usize];
            if !of_group.is_empty() {
                give(n as u32, of_group);
            }
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
    pub fn groups_of_riders(&self) -> impl Iterator<Item = usize> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let first = at;
            at += 1 + self.records.get(first)?.riders as usize;
            Some(first)
        })
    }

    /// Two loads of about one half of the records each. The load must be [divisible](RequestBody::is_divisible).
    pub fn halves(mut self) -> (RequestBody<M>, RequestBody<M>) {
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
                let share =
                    BatchPart { ack: part.ack.clone(), origin: part.origin.clone(), records: left, rows, ..part };
                first_parts.push(share);
            }
            second_parts.push(BatchPart { records: part.records - left, ..part });
            break;
        }
        second_parts.extend(rest);
        let second = self.pick(middle..self.records.len(), second_parts);
        let first = self.pick(0..middle, first_parts);
        (first, second)
    }

    /// A load of these records, ascending, which belong to `parts`.
    pub(super) fn pick(&self, places: impl IntoIterator<Item = usize>, parts: Vec<BatchPart>) -> RequestBody<M> {
        let framing = self.target.framing;
        let mut body = Vec::with_capacity(self.body.len());
        body.extend_from_slice(framing.open);
        let (mut originals, mut original_ends, mut records) = (Vec::new(), Vec::new(), Vec::new());
        for n in places {
            if !records.is_empty() {
                body.extend_from_slice(framing.between);
            }
            body.extend_from_slice(self.record(n));
            let mut record = self.records[n];
            if let Some(event) = self.original(n) {
                originals.extend_from_slice(event);
                original_ends.push(originals.len() as u32);
                record.original = original_ends.len() as u32;
            }
            // No larger than before, so it stays a 32-bit number.
            record.end = body.len() as u32;
            records.push(record);
        }
        body.extend_from_slice(framing.close);
        RequestBody {
            target: self.target.clone(),
            body: Bytes::from(body),
            records,
            groups: self.groups.clone(),
            parts,
            originals,
            original_ends,
            failed: 0,
            first_attempt: self.first_attempt,
            words: String::new(),
        }
    }
}
