//! One turn of reading a file: its bytes, the lines in them, the chunks that go out.

use super::flight::{Settlement, Verdicts};
use super::formats::{SNIFF_BYTES, Sniff, sniff};
use super::held::End;
use super::identity::{Ahead, HEAD_BYTES, Hasher, Head, MARK_BYTES, Position, Sum, look_into, read_at};
use super::joined::AtEnd;
use super::lines::{Lines, LongLines, Taken};
use super::parts::{Ends, Give, Parts};
use super::tail::Tail;
use super::wide::{Units, unit_before, unit_behind};
use super::window::{View, Window};
use crate::ack::Ack;
use crate::ack::place::NOWHERE;
use crate::event::{Chunk, Frames, Slab, SlabPool};
use crate::framing::container::{Frames as Joined, Judge, Rule};
use crate::framing::multiline::Matcher;
use crate::framing::wide::{BOM_BYTES, Wide};
use crate::telemetry::Counters;
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;

mod packed;
mod told;

/// Bytes of one read buffer.
pub(super) const SLAB_BYTES: usize = 256 << 10;
/// Read buffers kept for reuse.
pub(super) const KEEP_SLABS: usize = 8;
/// Bytes that one file may give before the next has its turn.
pub(super) const TURN_BYTES: u64 = 1 << 20;
/// Chunks below this are copied to memory of their own size, so that little text does not pin a whole read buffer.
const SMALL_BYTES: usize = SLAB_BYTES / 4;
/// Unfinished last lines up to this are kept in case the file is cut off before they are finished.
const STASH_BYTES: usize = 16 << 10;
/// Zeros at the start of a line, that many and more, are no part of it.
const LEADING_ZEROS: usize = 64;
/// So many zeros within a line are a hole: what is before it is a line of its own.
const HOLE_BYTES: u64 = 4096;

/// How a turn ended.
#[derive(Debug)]
pub(super) enum Turn {
    /// The file has nothing more for now.
    End,
    /// Others first.
    More,
    /// It is the turn of another archive that takes much memory.
    Waits,
    /// Downstream is full; a chunk is [held](Reader::held).
    Blocked,
    /// Downstream is gone.
    Closed,
    /// The contents are not those that were read so far: cut off, or written anew.
    Replaced,
    /// Nothing of it was read yet, and its first bytes may be those of an archive.
    NoText,
    Failed(io::Error),
}

/// What became of a chunk.
pub(super) enum Sent {
    Yes,
    /// No room; try again.
    Full(Chunk),
    Closed,
}

/// Where chunks go.
pub(super) trait Out {
    fn send(&mut self, chunk: Chunk) -> Sent;
}

/// One file's turn of being read.
pub(super) struct Reading<'a> {
    /// Its slot.
    pub(super) key: usize,
    pub(super) tail: &'a mut Tail,
    /// The time of the turn: nanoseconds since 1970.
    pub(super) wall: i64,
    pub(super) out: &'a mut dyn Out,
}

/// How far the bytes of a window are lines.
struct Lying {
    /// Nothing follows it for now.
    at_end: bool,
    /// Zeros follow it that are no part of a line, up to this place.
    hole: Option<u64>,
    /// Zeros before it were passed over.
    skipped: bool,
    /// An event that sinks were given ends with it.
    ended: Option<End>,
}

/// What all files of a source share for being read.
pub(super) struct Reader {
    pub(super) pool: SlabPool,
    pub(super) lines: Lines,
    /// `charset` says that files are in UTF-16.
    pub(super) wide: Option<Wide>,
    /// Joins lines.
    pub(super) matcher: Option<Matcher>,
    /// Joins container lines: by the rule of the file that was read last.
    pub(super) judge: Option<Judge>,
    /// The others that were in use, each by its own rule.
    pub(super) other_judges: Vec<Judge>,
    /// Rules by number; the first is the source's.
    pub(super) rules: Vec<Arc<Rule>>,
    /// The time of this turn: monotonic nanoseconds.
    pub(super) mono: u64,
    /// Most bytes of an event of several lines; 0 where lines are not joined.
    pub(super) max_event_bytes: usize,
    pub(super) hasher: Hasher,
    /// Id of the source.
    pub(super) source: Arc<str>,
    /// The keys of `hasher` are on disk: a place that was told can be known again.
    pub(super) keys_kept: bool,
    pub(super) verdicts: Arc<Verdicts>,
    pub(super) counters: Arc<Counters>,
    /// Contents tell files apart, besides the inode.
    pub(super) check_contents: bool,
    /// Files are read to their end once.
    pub(super) once: bool,
    /// A chunk that found no room. Nothing is read while there is one.
    pub(super) held: Option<Chunk>,
    /// Chunks without a verdict.
    pub(super) outstanding: u64,
    /// Archives that could not be read to their end.
    pub(super) damaged: usize,
    /// What was reached without a chunk and is settled with that.
    pub(super) passed: Vec<Settlement>,
}

impl Reader {
    /// Whether the file behind `tail` still begins as it did.
    fn head_holds(&self, tail: &Tail, file: &OwnedFd) -> io::Result<bool> {
        if !self.check_contents || tail.head.len == 0 {
            return Ok(true);
        }
        let mut bytes = [0; HEAD_BYTES];
        let len = read_at(file, &mut bytes[..tail.head.len as usize], 0)?;
        Ok(tail.head.fits(&bytes[..len]))
    }

    /// The head is that of all that was sent, up to [`HEAD_BYTES`].
    fn lengthen_head(tail: &mut Tail, file: &OwnedFd) -> io::Result<()> {
        let wanted = tail.at.offset.min(HEAD_BYTES as u64) as usize;
        if (tail.head.len as usize) < wanted {
            let mut bytes = [0; HEAD_BYTES];
            let len = read_at(file, &mut bytes[..wanted], 0)?;
            tail.head = Head::of(&bytes[..len]);
        }
        Ok(())
    }

    /// Reads on in `tail` (slot `key`, open), up to its end or for [`TURN_BYTES`]. `open`: what becomes of an
    /// unfinished line or event at the end.
    pub(super) fn read(&mut self, key: usize, tail: &mut Tail, open: AtEnd, wall: i64, out: &mut dyn Out) -> Turn {
        if tail.doubt.is_replaced() {
            if let Some(look) = tail.handle.get().and_then(|file| look_into(file).ok()) {
                tail.begin_turn(look, self.mono);
            }
            return Turn::Replaced;
        }
        self.choose_rule(tail);
        if self.judge.is_some() && tail.parts.is_none() {
            tail.parts = Some(Box::new(Parts::at(tail.at)));
        }
        let mut on = Reading { key, tail, wall, out };
        let turn = if let Some(mut packed) = on.tail.packed.take() {
            let turn = self.read_packed(&mut on, &mut packed);
            on.tail.packed = Some(packed);
            turn
        } else {
            let Some(file) = on.tail.handle.lend() else { return Turn::End };
            let mut window = Window::at(self.pool.take(), &on.tail.reading());
            let turn = self.read_file(&mut on, &file, &mut window, open);
            drop(self.pool.freeze(window.into_buf()));
            on.tail.handle.put(file);
            turn
        };
        if !matches!(turn, Turn::End) {
            return turn;
        }
        let what = if open == AtEnd::Flush { Give::All } else { Give::Due(self.mono) };
        self.send_parts(key, on.tail, what, wall, on.out).unwrap_or(turn)
    }

    fn read_file(&mut self, on: &mut Reading<'_>, file: &OwnedFd, window: &mut Window, mut open: AtEnd) -> Turn {
        match look_into(file) {
            Ok(look) => {
                if open == AtEnd::Close && !on.tail.look.is_like(&look) {
                    // It goes on after all.
                    open = AtEnd::Keep;
                }
                on.tail.begin_turn(look, self.mono);
            }
            Err(e) => return Turn::Failed(e),
        }
        let from = on.tail.reading();
        let (mut budget, mut first) = (TURN_BYTES, true);
        loop {
            // An unfinished line fills the buffer: up to the longest line allowed it may grow.
            window.make_room(self.lines.max_bytes + self.max_event_bytes + MARK_BYTES + 4096);
            let n = match window.fill(file) {
                Ok(n) => n,
                Err(e) => return Turn::Failed(e),
            };
            if first || n > 0 {
                // After reading and before sending: what was read belongs to the contents that begin like this.
                match self.head_holds(on.tail, file) {
                    Ok(true) => {}
                    Ok(false) => return Turn::Replaced,
                    Err(e) => return Turn::Failed(e),
                }
            }
            if std::mem::take(&mut first)
                && let Some(turn) = self.begin(on.tail, file, window, &from)
            {
                return turn;
            }
            let lying = match self.pass_over(on.tail, file, window, n == 0) {
                Ok(lying) => lying,
                Err(e) => return Turn::Failed(e),
            };
            let sent = self.send_lines(on, file, window, &lying, open);
            let read = match sent {
                Ok(read) => read,
                Err(turn) => return turn,
            };
            budget = budget.saturating_sub(read);
            window.is_searched();
            if lying.at_end {
                break;
            }
            if budget == 0 {
                on.tail.stash = Box::default();
                return Turn::More;
            }
        }
        if open.ends_line()
            && !window.rest().is_empty()
            && let Some(turn) = self.send_rest(on, window)
        {
            return turn;
        }
        let rest = window.rest();
        on.tail.stash = if rest.len() <= STASH_BYTES { rest.into() } else { Box::default() };
        Turn::End
    }

    /// The first bytes of a turn, read from a place on: a turn where they are not what stood there, or no text.
    fn begin(&mut self, tail: &mut Tail, file: &OwnedFd, window: &mut Window, from: &Position) -> Option<Turn> {
        // The bytes before our place came along, to see that they are the ones we know.
        let known = from.mark_len();
        let buf = window.buf();
        if buf.len() < known || self.check_contents && Position::mark_of(&buf[..known]) != from.mark {
            return Some(Turn::Replaced);
        }
        if from.offset == 0 && !tail.beginning.is_text() && !buf.is_empty() {
            if sniff(&buf[..buf.len().min(SNIFF_BYTES)]) != Sniff::Plain {
                return Some(Turn::NoText);
            }
            tail.beginning.note_text();
        }
        self.look_for_mark(tail, file, buf, from.offset);
        if from.offset == 0 {
            window.skip_to(mark_len(window.buf(), tail.beginning.units()));
        }
        // A part of a mark is an unfinished line as long as the rest is missing.
        let goes_on =
            window.rest().starts_with(&tail.stash) || from.offset == 0 && window.buf().starts_with(&tail.stash);
        // Else the unfinished line was another one.
        (self.check_contents && !goes_on).then_some(Turn::Replaced)
    }

    /// Passes over zeros that are no part of a line, and finds how far there are lines. `ended`: the file ends with the window.
    fn pass_over(&self, tail: &mut Tail, file: &OwnedFd, window: &mut Window, ended: bool) -> io::Result<Lying> {
        let wide = tail.beginning.units().wide();
        let zeros = match window.rest() {
            rest @ [0, ..] => leading_zeros(rest),
            _ => 0,
        };
        let leading = if zeros >= LEADING_ZEROS || tail.zeros { zeros } else { 0 };
        let mut text = window.start() + leading;
        if wide.is_some() {
            // Half of a character may be a zero.
            text = unit_before(window.base(), text).max(window.start());
        }
        let skipped = text > window.start();
        let mut lying = Lying { at_end: ended, hole: None, skipped, ended: None };
        let behind = text.max(window.searched().saturating_sub(HOLE_BYTES as usize));
        let base = wide.map(|_| window.base());
        if let Some((end, next)) = zeros_within(window.buf(), behind, base) {
            (lying.hole, lying.at_end) = (Some(window.place(next)), false);
            window.cut(end);
        } else if let Some(end) = zeros_from(window.buf(), window.start(), base) {
            let next = zeros_end(file, window.end())?.map(|next| if wide.is_some() { next & !1 } else { next });
            match next {
                None => {
                    tail.look.ends_at(window.place(end));
                    lying.at_end = true;
                    window.cut(end);
                }
                Some(next) if next - window.place(end) >= HOLE_BYTES || end == window.start() && skipped => {
                    lying.hole = Some(next);
                    window.cut(end);
                }
                Some(_) => {}
            }
        }
        window.skip_to(text);
        let (from, upto) = (window.place(window.start()), window.end());
        if tail.parts.is_some() {
            lying.ended = tail.for_sinks.take_passed(upto);
        } else if self.matcher.is_some() {
            lying.ended = tail.for_sinks.take_end(from, upto);
        }
        if let Some(end) = lying.ended {
            // An event that sinks were given ends where it ended then, whatever joins it now: they are spared no more.
            window.cut((end.offset.max(from) - window.base()) as usize);
            (lying.hole, lying.at_end) = (None, false);
        }
        Ok(lying)
    }

    /// Sends the lines of a window, and passes over the hole after them; how many bytes were dealt with, or a turn where it
    /// cannot go on.
    fn send_lines(
        &mut self,
        on: &mut Reading<'_>,
        file: &OwnedFd,
        window: &mut Window,
        lying: &Lying,
        open: AtEnd,
    ) -> Result<u64, Turn> {
        let open = match lying {
            Lying { ended: Some(_), .. } => AtEnd::Close,
            Lying { hole: Some(_), .. } => AtEnd::Finish,
            Lying { at_end: true, .. } => open,
            _ => AtEnd::Keep,
        };
        let streams = lying.ended.map_or([false; 2], |end| end.streams);
        let taken = self.take(on.tail, window.view(), open, Ends { line: open.ends_line(), streams });
        let reading = on.tail.reading().offset;
        let skipped = window.place(window.start()) > reading && lying.skipped;
        let mut read = 0;
        if taken.end > window.start() || skipped || taken.frames.is_some() {
            on.tail.zeros &= taken.frames.is_none();
            read = window.place(taken.end).saturating_sub(reading);
            if let Some(turn) = self.send(on, window, taken) {
                return Err(turn);
            }
            Self::lengthen_head(on.tail, file).map_err(Turn::Failed)?;
        }
        if let Some(next) = lying.hole {
            if !window.rest().is_empty()
                && let Some(turn) = self.send_rest(on, window)
            {
                return Err(turn);
            }
            self.pass_zeros(on.tail, window, next);
        }
        Ok(read)
    }

    /// Takes lines from the front of a view, by the rule that the source and the file have for them.
    fn take(&mut self, tail: &mut Tail, view: View<'_>, open: AtEnd, ends: Ends) -> Taken {
        let skipping = tail.at.skipping;
        match (&mut self.matcher, &mut self.judge, &mut tail.parts) {
            (matcher, ..) if let Some(wide) = tail.beginning.units().wide() => {
                self.lines.take_wide(wide, matcher.as_mut(), view, skipping, open)
            }
            (_, Some(judge), Some(parts)) => self.lines.take_parts(parts, judge, view, self.mono, ends),
            (Some(matcher), ..) => self.lines.take_joined(matcher, view, skipping, open),
            (None, ..) => self.lines.take(view.buf, view.start, view.searched, skipping, view.base),
        }
    }

    /// Goes on after a hole that ends at `next`: all in the window was sent.
    fn pass_zeros(&mut self, tail: &mut Tail, window: &mut Window, next: u64) {
        let reading = tail.reading();
        let from = (reading.offset - window.base()) as usize;
        let at = self.hasher.zeros(reading, &window.buf()[..from], next - reading.offset);
        tail.at = match &mut tail.parts {
            None => at,
            Some(parts) => {
                parts.pass(at);
                parts.position()
            }
        };
        self.passed.extend(tail.flight.pass(Settlement { generation: tail.generation, at: tail.at }));
        window.jump(from, &at);
    }

    /// Sends an unfinished last line.
    fn send_rest(&mut self, on: &mut Reading<'_>, window: &mut Window) -> Option<Turn> {
        let (start, end) = (window.start(), window.buf().len());
        let skipping = on.tail.at.skipping;
        let taken = match on.tail.beginning.units().wide() {
            Some(wide) => {
                let view = View { searched: 0, ..window.view() };
                self.lines.take_wide(wide, self.matcher.as_mut(), view, skipping, AtEnd::Finish)
            }
            None => {
                let frames = (!skipping).then_some(Frames::Lines { start, end });
                Taken { end, frames, ..Taken::default() }
            }
        };
        self.send(on, window, taken)
    }

    /// Sends what was taken from a window and moves that on; a turn where it cannot go on.
    fn send(&mut self, on: &mut Reading<'_>, window: &mut Window, mut taken: Taken) -> Option<Turn> {
        let tail = &mut *on.tail;
        let (end, base, start) = (taken.end, window.base(), window.start());
        let (from, hasher, buf) = (tail.reading(), self.hasher, window.buf());
        let known = (from.offset - base) as usize;
        let place = |at: usize| Position {
            skipping: taken.skipping && at == end,
            ahead: Ahead::default(),
            ..hasher.extend(from, buf, known, at)
        };
        let then = match &mut tail.parts {
            None => place(end),
            Some(parts) => {
                parts.advance(end, base, place);
                parts.position()
            }
        };
        if base == 0 && (tail.head.len as usize) < HEAD_BYTES && tail.packed.is_none() {
            tail.head = Head::of(&buf[..end]);
        }
        self.count_long(taken.long, taken.splits);
        self.count_invalid(taken.invalid);
        tail.at = then;
        tail.note_passed();
        tail.stash = Box::default();
        let owner = tail.owner.as_ref();
        let dropped = |frames: &Frames| owner.is_some_and(|o| o.drops(frames, self.mono, &self.counters));
        let Some(frames) = taken.frames.take().filter(|frames| !dropped(frames)) else {
            let mark = Settlement { generation: tail.generation, at: then };
            self.passed.extend(tail.flight.pass(mark));
            if let Some(parts) = &mut tail.parts {
                parts.note_given(tail.flight.newest());
            }
            window.advance(end);
            return None;
        };
        let first = match &frames {
            // Those of container lines come in the order in which they were completed.
            Frames::Spans(spans) if tail.parts.is_some() => Joined::first(spans).unwrap_or(end),
            Frames::Spans(spans) => spans.first().map_or(start, |s| s.0 as usize),
            _ => start,
        };
        let chunk = self.cut_out(window, first..end, frames, taken.text);
        self.send_chunk(on, (from.offset, then), chunk)
    }

    /// Takes the text of frames out of a window, which goes on after it: the text, the frames in it, and its place.
    fn cut_out(
        &mut self,
        window: &mut Window,
        Range { start: from, end }: Range<usize>,
        frames: Frames,
        mut joined: Vec<u8>,
    ) -> (Slab, Frames, u64) {
        let base = window.base();
        if matches!(frames, Frames::Utf8(_)) {
            window.advance(end);
            return (Slab::from_vec(joined), frames, base);
        }
        if end - from + joined.len() <= SMALL_BYTES {
            let mut text = Vec::with_capacity(end - from + joined.len());
            text.extend_from_slice(&window.buf()[from..end]);
            text.append(&mut joined);
            window.advance(end);
            return (Slab::from_vec(text), moved(frames, from, end), base + from as u64);
        }
        let mut full = window.advance_into(end, self.pool.take());
        if joined.is_empty() {
            return (self.pool.freeze(full), frames, base);
        }
        full.truncate(end);
        full.append(&mut joined);
        (self.pool.freeze(full), moved(frames, 0, end), base)
    }

    /// Sends a chunk with which everything before `at` was sent; a turn where it cannot go on.
    fn send_chunk(
        &mut self,
        on: &mut Reading<'_>,
        (from, at): (u64, Position),
        (text, frames, offset): (Slab, Frames, u64),
    ) -> Option<Turn> {
        let tail = &mut *on.tail;
        let number = tail.flight.push(Settlement { generation: tail.generation, at });
        if let Some(parts) = &mut tail.parts {
            parts.note_given(number);
        }
        self.outstanding += 1;
        let ack = self.ack(on.key, tail, number, (from, &at));
        let chunk = Chunk { text, frames, origin: tail.origin.clone(), offset, received_at: on.wall, ack };
        match on.out.send(chunk) {
            Sent::Yes => None,
            Sent::Full(chunk) => {
                debug_assert!(self.held.is_none(), "one chunk is held at most");
                self.held = Some(chunk);
                Some(Turn::Blocked)
            }
            Sent::Closed => Some(Turn::Closed),
        }
    }

    /// The acknowledgement of chunk `number`, before which is `from` and behind which is `at`.
    fn ack(&self, key: usize, tail: &mut Tail, number: u32, (from, at): (u64, &Position)) -> Ack {
        let token = (key as u64) << 32 | u64::from(number);
        match self.place(tail, from, at) {
            Some(place) => Ack::placed(self.verdicts.clone(), token, place),
            None => Ack::new(self.verdicts.clone(), token),
        }
    }

    /// Sends container lines that are open; a turn where it cannot go on.
    pub(super) fn send_parts(
        &mut self,
        key: usize,
        tail: &mut Tail,
        what: Give,
        wall: i64,
        out: &mut dyn Out,
    ) -> Option<Turn> {
        self.take_judge(tail);
        let (Some(judge), Some(parts)) = (&mut self.judge, &mut tail.parts) else { return None };
        let mut joined = parts.give(judge, what);
        let offset = joined.spans.first()?.2;
        Joined::resolve(&mut joined.spans, 0, 0);
        let at = parts.position();
        tail.at = at;
        self.count_long(joined.long, joined.splits);
        let frames = Frames::Spans(joined.spans);
        if tail.owner.as_ref().is_some_and(|owner| owner.drops(&frames, self.mono, &self.counters)) {
            self.passed.extend(tail.flight.pass(Settlement { generation: tail.generation, at }));
            if let Some(parts) = &mut tail.parts {
                parts.note_given(tail.flight.newest());
            }
            return None;
        }
        let chunk = (Slab::from_vec(joined.joined), frames, offset);
        self.send_chunk(&mut Reading { key, tail, wall, out }, (NOWHERE, at), chunk)
    }

    /// Sends the unfinished line that was read before the contents went away.
    pub(super) fn send_stash(&mut self, key: usize, tail: &mut Tail, wall: i64, out: &mut dyn Out) {
        let text = std::mem::take(&mut tail.stash);
        if text.is_empty() || tail.at.skipping {
            return;
        }
        let from = tail.reading();
        let (end, offset) = (text.len(), from.offset);
        // Of what the mark covers only the line itself is at hand.
        let mark = if end < MARK_BYTES { from.mark } else { Position::mark_of(&text) };
        // The contents are gone: nothing will be compared with this place.
        let mut at = Position { offset: offset + end as u64, mark, sum: Sum::default(), ..from };
        let mut text = text.into_vec();
        self.take_judge(tail);
        let frames = match (&mut self.matcher, &mut self.judge, &mut tail.parts) {
            (_, Some(judge), Some(parts)) => {
                let ends = Ends { line: true, streams: [false; 2] };
                let mut taken = self.lines.take_parts(parts, judge, View::of(&text, offset), self.mono, ends);
                parts.advance(end, offset, |i| Position { offset: offset + i as u64, ..at });
                at = parts.position();
                self.count_long(taken.long, taken.splits);
                text.append(&mut taken.text);
                taken.frames.map(|frames| moved(frames, 0, end))
            }
            (matcher, ..) if let Some(wide) = tail.beginning.units().wide() => {
                let taken = self.lines.take_wide(wide, matcher.as_mut(), View::of(&text, offset), false, AtEnd::Finish);
                self.count_invalid(taken.invalid);
                text = taken.text;
                taken.frames
            }
            (Some(matcher), ..) => {
                self.lines.take_joined(matcher, View::of(&text, offset), false, AtEnd::Finish).frames
            }
            (None, ..) => Some(Frames::Lines { start: 0, end }),
        };
        let dropped = |frames: &Frames| tail.owner.as_ref().is_some_and(|o| o.drops(frames, self.mono, &self.counters));
        let Some(frames) = frames.filter(|frames| !dropped(frames)) else { return };
        let number = tail.flight.push(Settlement { generation: tail.generation, at });
        self.outstanding += 1;
        let chunk = Chunk {
            text: Slab::from_vec(text),
            frames,
            origin: tail.origin.clone(),
            offset,
            received_at: wall,
            ack: self.ack(key, tail, number, (from.offset, &at)),
        };
        if let Sent::Full(chunk) = out.send(chunk) {
            debug_assert!(self.held.is_none(), "one chunk is held at most");
            self.held = Some(chunk);
        }
    }

    fn count_invalid(&self, invalid: u64) {
        if invalid > 0 {
            self.counters.update(|t| t.error("invalid_utf8", invalid));
        }
    }

    fn count_long(&self, long: u64, splits: u64) {
        if long == 0 && splits == 0 {
            return;
        }
        let skip = self.lines.long == LongLines::Skip;
        self.counters.update(|t| {
            t.error("long_lines", long);
            t.error("multiline_limit", splits);
            if skip {
                t.events_in += long;
                t.drop_events("long_line", long);
            }
        });
    }
}

impl Reader {
    /// Joins the lines of a file by the rule that its owner asks for, from the next event on.
    fn choose_rule(&mut self, tail: &mut Tail) {
        if let Some(owner) = &tail.owner
            && !tail.has_open_parts()
        {
            let wanted = owner.rule.as_ref().or(self.rules.first());
            let known = wanted.map(|wanted| self.rules.iter().position(|rule| Arc::ptr_eq(rule, wanted)));
            tail.rule = match (known, wanted) {
                (Some(Some(n)), _) => n as u8,
                (_, Some(wanted)) if self.rules.len() <= usize::from(u8::MAX) => {
                    self.rules.push(wanted.clone());
                    (self.rules.len() - 1) as u8
                }
                _ => 0,
            };
        }
        self.take_judge(tail);
    }

    /// Takes the judge by whose rule the lines of a file are joined.
    fn take_judge(&mut self, tail: &Tail) {
        let Some(rule) = self.rules.get(usize::from(tail.rule)) else { return };
        let is = |judge: &Judge| std::ptr::eq(judge.rule(), &**rule);
        if self.judge.as_ref().is_some_and(is) {
            return;
        }
        let other = self.other_judges.iter().position(is).map(|n| self.other_judges.swap_remove(n));
        let judge = other.unwrap_or_else(|| Judge::new(rule.clone()));
        self.other_judges.extend(self.judge.replace(judge));
    }

    /// What a file is in that begins like this: its first two bytes, or all that it has.
    pub(super) fn units_of(&self, beginning: &[u8]) -> Units {
        // What a container's runtime writes is in UTF-8.
        if self.judge.is_some() {
            return Units::Bytes;
        }
        match (Wide::of_bom(beginning), self.wide, beginning) {
            (Some(wide), ..) | (None, Some(wide), [_, _, ..]) => Units::Wide(wide),
            // The other half of a mark may follow.
            (None, _, [] | [0xfe | 0xff]) | (None, Some(_), _) => Units::Unknown,
            (None, None, _) => Units::Bytes,
        }
    }

    /// Looks at the beginning of a file, `from` being the place where its bytes in `buf` begin.
    pub(super) fn look_for_mark(&self, tail: &mut Tail, file: &OwnedFd, buf: &[u8], from: u64) {
        if tail.beginning.units() != Units::Unknown {
            return;
        }
        let mut beginning = [0; BOM_BYTES];
        let beginning = match from {
            0 => &buf[..buf.len().min(BOM_BYTES)],
            _ => match super::identity::read_at(file, &mut beginning, 0) {
                Ok(len) => &beginning[..len],
                Err(_) => return,
            },
        };
        tail.beginning.note_units(self.units_of(beginning));
    }
}

fn leading_zeros(bytes: &[u8]) -> usize {
    let blocks = bytes.chunks_exact(64).take_while(|block| block.iter().fold(0, |all, b| all | b) == 0).count() * 64;
    blocks + bytes[blocks..].iter().take_while(|b| **b == 0).count()
}

/// Bytes of the byte order mark at the start of a file.
pub(super) fn mark_len(buf: &[u8], units: Units) -> usize {
    match units {
        Units::Wide(_) if Wide::of_bom(buf).is_some() => BOM_BYTES,
        Units::Wide(_) => 0,
        _ if buf.starts_with(b"\xef\xbb\xbf") => 3,
        _ => 0,
    }
}

/// From where to where zeros stand within `bytes`, behind `from`, that are no part of a line: a hole, or many at the start of
/// one. Of UTF-16, `wide` is the place of `bytes` in the file: halves of characters are no such zeros.
fn zeros_within(bytes: &[u8], mut from: usize, wide: Option<u64>) -> Option<(usize, usize)> {
    // One byte of as many as matter: where none of them is zero there are no such zeros, and text is passed at once.
    if bytes.get(from..)?.iter().step_by(LEADING_ZEROS).all(|b| *b != 0) {
        return None;
    }
    loop {
        let zeros = from + memchr::memchr(0, bytes.get(from..)?)?;
        let end = zeros + leading_zeros(&bytes[zeros..]);
        if end == bytes.len() {
            return None;
        }
        let leads = zeros > 0 && bytes[zeros - 1] == b'\n';
        let least = if leads { LEADING_ZEROS } else { HOLE_BYTES as usize };
        if end - zeros >= least {
            return Some(wide.map_or((zeros, end), |base| (unit_behind(base, zeros), unit_before(base, end))));
        }
        from = end;
    }
}

/// Where zeros begin that stand at the end of `bytes`, behind `start`; `wide` as above.
fn zeros_from(bytes: &[u8], start: usize, wide: Option<u64>) -> Option<usize> {
    if bytes.last() != Some(&0) {
        return None;
    }
    let text = bytes.iter().rposition(|b| *b != 0).map_or(0, |i| i + 1).max(start);
    let text = wide.map_or(text, |base| unit_behind(base, text));
    (text < bytes.len()).then_some(text)
}

/// Where zeros end that go on at `from`; `None` where nothing else follows. Holes are not read.
fn zeros_end(file: &OwnedFd, from: u64) -> io::Result<Option<u64>> {
    let mut at = from;
    let mut block = Vec::new();
    loop {
        match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(data) => at = data.max(at),
            Err(Errno::NXIO) => return Ok(None),
            // A file system that does not tell of holes.
            Err(_) => {}
        }
        // Most often the zeros end soon.
        block.resize(if block.is_empty() { 4096 } else { SLAB_BYTES }, 0);
        let len = read_at(file, &mut block, at)?;
        let zeros = leading_zeros(&block[..len]);
        if zeros < len {
            return Ok(Some(at + zeros as u64));
        }
        if len < block.len() {
            return Ok(None);
        }
        at += len as u64;
    }
}

/// Frames of a text whose first `by` bytes are gone, and which ends at `end` where joined lines follow.
fn moved(frames: Frames, by: usize, end: usize) -> Frames {
    match frames {
        Frames::Lines { start, end } => Frames::Lines { start: start - by, end: end - by },
        Frames::Spans(mut spans) => {
            Joined::resolve(&mut spans, by, end);
            Frames::Spans(spans)
        }
        decoded => decoded,
    }
}
