//! `dedupe`: repeats within a time are folded into one event with a `count`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::ack::Ack;
use crate::component::Emitter;
use crate::event::{Batch, EventKind, EventRef, FieldPath, JsonRows, Origin, Slab, Sym, Value};
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

    /// The hash of the fields' values; absent ones count.
    fn key(&mut self, event: EventRef<'_>) -> u128 {
        self.identity.clear();
        for field in &self.fields {
            match event.get(field) {
                None => self.identity.push(0),
                Some(value) => {
                    // The length keeps `a`, `b c` apart from `a b`, `c`.
                    self.identity.push(1);
                    let at = self.identity.len();
                    self.identity.extend_from_slice(&[0; 8]);
                    value.append_text(&mut self.identity);
                    let len = (self.identity.len() - at - 8) as u64;
                    self.identity[at..at + 8].copy_from_slice(&len.to_le_bytes());
                }
            }
        }
        xxh3_128(&self.identity)
    }

    #[cfg(test)]
    pub(super) fn kinds(&self) -> usize {
        self.kinds.len()
    }
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
