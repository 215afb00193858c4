//! `dedupe`: repeats within a time are folded into one event with a `count`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::ack::Ack;
use crate::component::Emitter;
use crate::event::{Batch, EventKind, EventRef, FieldPath, JsonRows, Origin, Slab, Sym, Value};
use crate::time::write_rfc3339_utc;
use xxhash_rust::xxh3::xxh3_128;

/// Most kinds of event remembered; the oldest ends early.
pub(super) const MAX_KINDS: usize = 10_000;
/// Most bytes of repeats kept for their summaries; the oldest ends early.
pub(super) const MAX_BYTES: usize = 2 << 20;

/// Windows for all workers.
pub(super) struct Folder {
    fields: Vec<FieldPath>,
    window_ns: i64,
    /// By hash of the fields: 128 bits, so two kinds are never taken for one.
    kinds: hashbrown::HashMap<u128, Kind>,
    /// Windows are equally long, so they end in the order in which they began.
    ends: VecDeque<(i64, u128)>,
    /// Bytes of all `Kind::repeat`.
    bytes: usize,
    identity: Vec<u8>,
}

struct Kind {
    repeats: u64,
    repeat: Option<Repeat>,
}

/// The first repeat of a kind, from which the summary is made.
struct Repeat {
    json: Box<[u8]>,
    origin: Arc<Origin>,
    kind: EventKind,
    time: Option<i64>,
    offset: u64,
}

impl Folder {
    pub(super) fn new(fields: Vec<FieldPath>, window: Duration) -> Folder {
        Folder {
            fields,
            window_ns: i64::try_from(window.as_nanos()).unwrap_or(i64::MAX),
            kinds: hashbrown::HashMap::new(),
            ends: VecDeque::new(),
            bytes: 0,
            identity: Vec::new(),
        }
    }

    /// Often enough that no summary is late by much.
    pub(super) fn tick_interval(&self) -> Duration {
        Duration::from_nanos(self.window_ns.unsigned_abs()).clamp(Duration::from_millis(50), Duration::from_secs(1))
    }

    /// Whether the event repeats one of its window; then it is counted there. What has to make room is put out.
    pub(super) fn folds(&mut self, event: EventRef<'_>, now: i64, out: &mut Emitter<'_>) -> bool {
        let key = self.key(event);
        if let Some(kind) = self.kinds.get_mut(&key) {
            kind.repeats += 1;
            if kind.repeat.is_none() {
                let mut json = Vec::new();
                event.write_json(&mut json);
                self.bytes += json.len();
                kind.repeat = Some(Repeat {
                    json: json.into(),
                    origin: event.batch().origin.clone(),
                    kind: event.kind(),
                    time: event.time(),
                    offset: event.offset(),
                });
                if self.bytes > MAX_BYTES {
                    self.end(now, out, |folder, _| folder.bytes > MAX_BYTES);
                }
            }
            return true;
        }
        if self.kinds.len() >= MAX_KINDS {
            self.end(now, out, |folder, _| folder.kinds.len() >= MAX_KINDS);
        }
        self.kinds.insert(key, Kind { repeats: 0, repeat: None });
        self.ends.push_back((now.saturating_add(self.window_ns), key));
        false
    }

    /// Puts out the summaries of windows that have ended.
    pub(super) fn expire(&mut self, now: i64, out: &mut Emitter<'_>) {
        if self.ends.front().is_some_and(|(end, _)| *end <= now) {
            self.end(now, out, |_, end| end <= now);
        }
    }

    /// Puts out all summaries: no more events will come.
    pub(super) fn flush(&mut self, now: i64, out: &mut Emitter<'_>) {
        self.end(now, out, |_, _| true);
    }

    /// Ends windows, oldest first, while `go_on`; summaries of one origin leave together.
    fn end(&mut self, now: i64, out: &mut Emitter<'_>, go_on: impl Fn(&Folder, i64) -> bool) {
        let mut summaries: Vec<(u64, Repeat)> = Vec::new();
        while let Some((end, key)) = self.ends.front().copied() {
            if !go_on(self, end) {
                break;
            }
            self.ends.pop_front();
            if let Some(Kind { repeats, repeat: Some(repeat) }) = self.kinds.remove(&key) {
                self.bytes -= repeat.json.len();
                summaries.push((repeats, repeat));
            }
        }
        for same in summaries.chunk_by(|(_, a), (_, b)| Arc::ptr_eq(&a.origin, &b.origin)) {
            let batch = summary_batch(same, now);
            out.created(batch.len() as u64);
            out.emit(0, batch);
        }
    }

    /// The hash of the event's kind and the fields' values; absent ones count.
    #[inline(always)]
    fn key(&mut self, event: EventRef<'_>) -> u128 {
        self.identity.clear();
        self.identity.push(event.kind() as u8);
        for field in &self.fields {
            push_identity(event.get(field), &mut self.identity);
        }
        xxh3_128(&self.identity)
    }

    /// The fields that must be equal.
    pub(super) fn fields(&self) -> &[FieldPath] {
        &self.fields
    }

    /// Whether the event would be folded, were it given now. Changes nothing; looks through all windows.
    pub(super) fn repeats(&mut self, event: EventRef<'_>, now: i64) -> bool {
        let key = self.key(event);
        self.kinds.contains_key(&key) && self.ends.iter().any(|(end, kind)| *kind == key && *end > now)
    }

    #[cfg(test)]
    pub(super) fn kinds(&self) -> usize {
        self.kinds.len()
    }
}

/// Appends a value so that two of them are the same bytes where they are equal, and no two of them run together: its type,
/// the length of its text, its text. Numbers are equal by value, whatever their spelling, as in conditions; the rest as it is
/// written.
fn push_identity(value: Option<Value<'_>>, out: &mut Vec<u8>) {
    let tag = match value {
        None => b'-',
        Some(Value::Null) => b'n',
        Some(Value::Bool(_)) => b'b',
        Some(Value::I64(_) | Value::F64(_) | Value::Number(_)) => b'#',
        Some(Value::Str(_) | Value::Timestamp(_)) => b's',
        Some(Value::Object(_)) => b'o',
        Some(Value::Array(_)) => b'a',
    };
    out.push(tag);
    let at = out.len();
    out.extend_from_slice(&[0; 8]);
    match value {
        None => {}
        Some(Value::Number(spelling)) => push_decimal(spelling, out),
        Some(Value::I64(n)) => push_decimal(itoa::Buffer::new().format(n).as_bytes(), out),
        Some(Value::F64(x)) if !x.is_finite() => out.extend_from_slice(&x.to_bits().to_le_bytes()),
        Some(Value::F64(x)) => push_decimal(ryu::Buffer::new().format_finite(x).as_bytes(), out),
        Some(Value::Timestamp(ns)) => write_rfc3339_utc(ns, if ns % 1_000_000 == 0 { 3 } else { 9 }, out),
        Some(value) => value.append_text(out),
    }
    let len = (out.len() - at - 8) as u64;
    out[at..at + 8].copy_from_slice(&len.to_le_bytes());
}

/// Appends a JSON number in one spelling: sign, digits without zeros at either end, exponent. Exact, however long it is.
fn push_decimal(spelling: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let (mantissa, exponent) = match spelling.iter().position(|b| matches!(b, b'e' | b'E')) {
        Some(at) => (&spelling[..at], std::str::from_utf8(&spelling[at + 1..]).ok().and_then(|e| e.parse().ok())),
        None => (spelling, Some(0i64)),
    };
    // An exponent past 64 bits is a number of its own.
    let Some(mut exponent) = exponent.filter(|e| e.unsigned_abs() < 1 << 62) else {
        return out.extend_from_slice(spelling);
    };
    if mantissa.first() == Some(&b'-') {
        out.push(b'-');
    }
    let (digits, mut fraction) = (out.len(), false);
    for &byte in mantissa {
        match byte {
            b'.' => fraction = true,
            b'0'..=b'9' => {
                exponent -= i64::from(fraction);
                if byte != b'0' || out.len() > digits {
                    out.push(byte);
                }
            }
            _ => {}
        }
    }
    while out.len() > digits && out.last() == Some(&b'0') {
        out.pop();
        exponent += 1;
    }
    if out.len() == digits {
        out.truncate(start);
        out.push(b'0');
        return;
    }
    out.push(b'e');
    out.extend_from_slice(itoa::Buffer::new().format(exponent).as_bytes());
}

/// A batch of summaries that share their origin. They acknowledge nothing: what they stand for is settled.
fn summary_batch(summaries: &[(u64, Repeat)], now: i64) -> Batch {
    let mut text = Vec::with_capacity(summaries.iter().map(|(_, r)| r.json.len()).sum());
    for (_, repeat) in summaries {
        text.extend_from_slice(&repeat.json);
    }
    let origin = summaries.first().map(|(_, r)| r.origin.clone()).unwrap_or_default();
    let mut batch = Batch::new(Slab::from_vec(text), origin, now, Ack::none());
    let mut rows = JsonRows::default();
    let mut start = 0;
    for (count, repeat) in summaries {
        let end = start + repeat.json.len();
        // Written by us a moment ago; were it ever not JSON, the text would still be there.
        if rows.push(&mut batch, start, end, repeat.offset).is_err() {
            batch.push_line(start, end, repeat.offset);
            batch.push_text_field(Sym::MESSAGE, start, end);
        }
        let row = batch.rows() - 1;
        let mut event = batch.event_mut(row);
        event.set_kind(repeat.kind);
        if let Some(time) = repeat.time {
            event.set_time(time);
        }
        event.set_field(Sym::COUNT, Value::I64(i64::try_from(*count).unwrap_or(i64::MAX)));
        start = end;
    }
    batch
}
