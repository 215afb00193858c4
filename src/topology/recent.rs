//! The last frames of each source, kept in memory for `tidegate plan`: never on disk, never more than a bound.
//!
//! They are copied from one batch now and then, before it is decoded: after n frames or n KiB nothing is taken for n milliseconds, so
//! a busy source loses a thousandth of its time at most, and of a quiet one every frame is there. In between a batch costs one
//! relaxed load.

use crate::event::{Batch, Chunk, Frames, Origin, Packer, Slab, Unpacker};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Most bytes that are kept of one source, where `memory_limit` allows.
pub const MAX_RECENT_BYTES: usize = 1 << 20;
/// What a span takes beside its text.
const SPAN_BYTES: usize = size_of::<(u32, u32, u64)>();

/// The last frames of one source; shared by all workers.
pub struct Recent {
    made: Instant,
    /// Milliseconds since `made` from which on a batch is taken.
    due: AtomicU64,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// 0: nothing is kept.
    max_frames: usize,
    max_bytes: usize,
    taken: VecDeque<Taken>,
}

/// Not to be taken, ever or while another worker does.
const NEVER: u64 = u64::MAX;

/// Frames of one batch.
#[derive(Clone)]
pub struct Taken {
    /// Where they come from.
    pub origin: Arc<Origin>,
    /// When they were read: nanoseconds since 1970 UTC.
    pub received_at: i64,
    text: Arc<Vec<u8>>,
    what: What,
}

#[derive(Clone)]
enum What {
    /// Frames in `text`: start, end, place in the file; `true` where the source has put them into UTF-8.
    Frames(VecDeque<(u32, u32, u64)>, bool),
    /// `text` is so many events that the source made itself, packed.
    Events(usize),
}

/// A frame before it is decoded, or an event that its source made itself.
pub enum Frame {
    /// To be decoded; `true` where the source has put it into UTF-8, whatever its `charset`.
    Text(Vec<u8>, u64, bool),
    /// Needs no decoding.
    Event(Batch),
}

impl Recent {
    /// Keeps so many frames and bytes at most.
    pub fn new(max_frames: usize, max_bytes: usize) -> Arc<Recent> {
        let recent = Recent { made: Instant::now(), due: AtomicU64::new(NEVER), kept: Mutex::default() };
        recent.set_bounds(max_frames, max_bytes);
        Arc::new(recent)
    }

    /// Keeps so many from now on; 0: none.
    pub fn set_bounds(&self, max_frames: usize, max_bytes: usize) {
        let mut kept = self.kept.lock().unwrap_or_else(|e| e.into_inner());
        (kept.max_frames, kept.max_bytes) = (max_frames, max_bytes);
        kept.trim();
        let due = if max_frames == 0 { NEVER } else { 0 };
        self.due.store(due, Ordering::Relaxed);
    }

    fn since(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.made).as_millis()).unwrap_or(u64::MAX)
    }

    /// Copies frames of a chunk where it is time to, and nobody else does just now.
    #[inline]
    pub fn look(&self, chunk: &Chunk, now: Instant) {
        let due = self.due.load(Ordering::Relaxed);
        if due == NEVER {
            return;
        }
        let ms = self.since(now);
        if ms >= due && self.due.compare_exchange(due, NEVER, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.take(chunk, ms);
        }
    }

    #[cold]
    fn take(&self, chunk: &Chunk, ms: u64) {
        let mut kept = self.kept.lock().unwrap_or_else(|e| e.into_inner());
        if kept.max_frames == 0 {
            return;
        }
        let (frames, bytes) = kept.sums();
        let left = |max: usize, used: usize, least: usize| (max - used.min(max)).max(least).max(1);
        let few = left(kept.max_frames, frames, kept.max_frames / 4);
        let taken = Taken::of(chunk, few, left(kept.max_bytes, bytes, kept.max_bytes / 2));
        let wait = taken.len().max(taken.bytes() >> 10).max(1) as u64;
        if !taken.is_empty() {
            kept.taken.push_back(taken);
            kept.trim();
        }
        self.due.store(ms.saturating_add(wait), Ordering::Relaxed);
    }

    /// What is there, oldest first.
    pub fn all(&self) -> Vec<Taken> {
        self.kept.lock().unwrap_or_else(|e| e.into_inner()).taken.iter().cloned().collect()
    }
}

impl Kept {
    /// Frames and bytes.
    fn sums(&self) -> (usize, usize) {
        self.taken.iter().fold((0, 0), |(frames, bytes), taken| (frames + taken.len(), bytes + taken.bytes()))
    }

    /// Lets the oldest go that are too many.
    fn trim(&mut self) {
        let (mut frames, mut bytes) = self.sums();
        while frames > self.max_frames || bytes > self.max_bytes {
            let Some(first) = self.taken.front_mut() else { break };
            match &mut first.what {
                What::Frames(spans, _) if bytes <= self.max_bytes && spans.len() > 1 => {
                    spans.pop_front();
                    (frames, bytes) = (frames - 1, bytes - SPAN_BYTES);
                }
                _ => {
                    (frames, bytes) = (frames - first.len(), bytes - first.bytes());
                    self.taken.pop_front();
                }
            }
        }
    }
}

impl Taken {
    /// The first frames of a chunk, so many and so many bytes at most.
    fn of(chunk: &Chunk, frames: usize, bytes: usize) -> Taken {
        let mut text = Vec::new();
        let mut spans = VecDeque::new();
        let mut put = |start: usize, end: usize, place: u64| {
            let fits = spans.len() < frames && text.len() + end - start + (spans.len() + 1) * SPAN_BYTES <= bytes;
            if fits {
                let at = text.len() as u32;
                text.extend_from_slice(&chunk.text[start..end]);
                spans.push_back((at, text.len() as u32, place));
            }
            fits
        };
        let is_utf8 = matches!(chunk.frames, Frames::Utf8(_));
        match &chunk.frames {
            Frames::Lines { start, end } => {
                let mut at = *start;
                while at < *end {
                    let stop = memchr::memchr(b'\n', &chunk.text[at..*end]).map_or(*end, |n| at + n);
                    let bare = stop - usize::from(stop > at && chunk.text[stop - 1] == b'\r');
                    if !put(at, bare, chunk.offset + at as u64) {
                        break;
                    }
                    at = stop + 1;
                }
            }
            Frames::Spans(all) | Frames::Utf8(all) => {
                _ = all.iter().all(|(start, end, place)| put(*start as usize, *end as usize, *place));
            }
            Frames::Decoded(batch) => {
                let rows = batch.rows().min(frames);
                let events = Packer::default().pack(batch, 0..rows, &mut text);
                let (events, text) = if text.len() > bytes { (0, Vec::new()) } else { (events, text) };
                let (origin, received_at) = (batch.origin.clone(), batch.received_at);
                return Taken { origin, received_at, text: Arc::new(text), what: What::Events(events) };
            }
        }
        let what = What::Frames(spans, is_utf8);
        Taken { origin: chunk.origin.clone(), received_at: chunk.received_at, text: Arc::new(text), what }
    }

    /// Lines of a text that somebody gives in place of what a source has read: one frame each, as they stand.
    pub fn of_lines(origin: Arc<Origin>, received_at: i64, text: Vec<u8>) -> Taken {
        let (mut spans, mut at) = (VecDeque::new(), 0);
        for line in text.split_inclusive(|b| *b == b'\n') {
            let bare = line.strip_suffix(b"\n").unwrap_or(line);
            let bare = bare.strip_suffix(b"\r").unwrap_or(bare);
            spans.push_back((at as u32, (at + bare.len()) as u32, at as u64));
            at += line.len();
        }
        Taken { origin, received_at, text: Arc::new(text), what: What::Frames(spans, true) }
    }

    /// How many frames.
    pub fn len(&self) -> usize {
        match &self.what {
            What::Frames(spans, _) => spans.len(),
            What::Events(events) => *events,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether its source has put it into UTF-8, whatever its `charset`.
    pub fn is_utf8(&self) -> bool {
        matches!(self.what, What::Frames(_, true))
    }

    fn bytes(&self) -> usize {
        match &self.what {
            What::Frames(spans, _) => self.text.len() + spans.len() * SPAN_BYTES,
            What::Events(_) => self.text.len(),
        }
    }

    /// The frames in order, each with a number that tells it from the others: of its first line, where they are lines.
    pub fn frames(&self) -> Vec<(u64, Frame)> {
        match &self.what {
            What::Frames(spans, is_utf8) => {
                let mut line = 1;
                let frame = |(start, end, place): &(u32, u32, u64)| {
                    let text = self.text[*start as usize..*end as usize].to_vec();
                    let number = line;
                    line += 1 + memchr::memchr_iter(b'\n', &text).count() as u64;
                    (number, Frame::Text(text, *place, *is_utf8))
                };
                spans.iter().map(frame).collect()
            }
            What::Events(_) => {
                let whole = Unpacker::default().unpack(Slab::from_vec((*self.text).clone()), crate::ack::Ack::none());
                let Ok(whole) = whole else { return Vec::new() };
                let one = |row: usize| {
                    let mut batch = whole.sibling();
                    batch.copy_event(&whole, row);
                    (row as u64 + 1, Frame::Event(batch))
                };
                (0..whole.rows()).map(one).collect()
            }
        }
    }

    /// The frames as the lines that they were joined of, where they are text.
    pub fn lines(&self) -> Option<Vec<u8>> {
        let What::Frames(spans, _) = &self.what else { return None };
        let mut text = Vec::with_capacity(self.text.len() + spans.len());
        for (start, end, _) in spans {
            text.extend_from_slice(&self.text[*start as usize..*end as usize]);
            text.push(b'\n');
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::ack::Ack;
    use crate::event::{EventKind, Sym, Value};
    use std::time::Duration;

    fn chunk(text: &str) -> Chunk {
        let frames = Frames::Lines { start: 0, end: text.len() };
        let text = Slab::from_vec(text.as_bytes().to_vec());
        Chunk { text, frames, origin: Origin::of_source("in"), offset: 0, received_at: 7, ack: Ack::none() }
    }

    fn texts_of(recent: &Recent) -> Vec<String> {
        let text = |(_, frame)| match frame {
            Frame::Text(text, ..) => String::from_utf8(text).unwrap(),
            Frame::Event(batch) => {
                let mut out = Vec::new();
                batch.iter().for_each(|event| event.write_json(&mut out));
                String::from_utf8(out).unwrap()
            }
        };
        recent.all().iter().flat_map(Taken::frames).map(text).collect()
    }

    #[test]
    fn the_last_frames_are_there_and_no_more_than_the_bounds_allow() {
        let recent = Recent::new(10, 1 << 20);
        let start = recent.made;
        for n in 0..100 {
            // Long enough after the one before.
            recent.look(&chunk(&format!("a{n}\r\nb{n}\nc{n}")), start + Duration::from_millis(n * 1000));
        }
        let texts = texts_of(&recent);
        assert_eq!(texts.len(), 10, "{texts:?}");
        // Once it is full, a quarter of it is taken of a batch.
        assert_eq!(texts[6..], ["a98", "b98", "a99", "b99"]);
        assert_eq!(texts[0], "a95", "{texts:?}");
        let small = Recent::new(1000, 256);
        for n in 0..100 {
            small.look(&chunk(&"x".repeat(60)), start + Duration::from_millis(n * 10_000));
            small.look(&chunk(&"y".repeat(400)), start + Duration::from_millis(n * 10_000 + 5000));
        }
        assert!(small.kept.lock().unwrap().sums().1 <= 256);
        assert!(!small.all().is_empty(), "one that is too long takes the place of no other");
        small.set_bounds(0, 0);
        small.look(&chunk("z"), start + Duration::from_secs(100_000));
        assert!(small.all().is_empty());
        small.set_bounds(1, 100);
        small.look(&chunk("z"), start + Duration::from_secs(100_000));
        assert_eq!(texts_of(&small), ["z"]);
    }

    #[test]
    fn of_a_busy_source_a_thousand_frames_a_second_are_copied_and_of_a_quiet_one_all() {
        let recent = Recent::new(1000, 1 << 20);
        let lines: String = (0..500).map(|n| format!("{n}\n")).collect();
        let mut taken = 0;
        for ms in 0..10_000 {
            let before = recent.due.load(Ordering::Relaxed);
            recent.look(&chunk(&lines), recent.made + Duration::from_millis(ms));
            taken += usize::from(recent.due.load(Ordering::Relaxed) != before);
        }
        // The first two fill it, then a quarter of it at a time.
        assert_eq!(taken, 2 + (10_000 - 1000) / 250);
        let quiet = Recent::new(1000, 1 << 20);
        for n in 0..50 {
            quiet.look(&chunk(&format!("{n}\n")), quiet.made + Duration::from_millis(n * 2));
        }
        assert_eq!(texts_of(&quiet).len(), 50);
    }

    #[test]
    fn events_that_a_source_made_itself_come_back_as_they_were() {
        let mut batch = Batch::new(Slab::default(), Origin::of_source("in"), 7, Ack::none());
        for n in 0..3 {
            let row = batch.push_event(EventKind::Metric);
            batch.event_mut(row).push(Sym::MESSAGE, Value::I64(n));
        }
        let recent = Recent::new(2, 1 << 20);
        let frames = Frames::Decoded(batch);
        let chunk = Chunk { frames, ..chunk("") };
        recent.look(&chunk, recent.made);
        assert_eq!(texts_of(&recent), [r#"{"message":0}"#, r#"{"message":1}"#]);
        assert!(recent.all()[0].lines().is_none());
    }

    #[test]
    fn joined_lines_come_apart_again() {
        let taken = Taken::of_lines(Origin::of_source("in"), 0, b"a\r\nb\n\nc".to_vec());
        assert_eq!(taken.lines().unwrap(), b"a\nb\n\nc\n");
        let numbers: Vec<u64> = taken.frames().iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [1, 2, 3, 4]);
    }
}
