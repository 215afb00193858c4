//! One file that is being read: who it is, where we are in it, and one turn of reading.

use super::flight::{Flight, Settlement, Verdicts};
use super::identity::{HEAD_BYTES, Head, Identity, MARK_BYTES, Position, look_into, read_at};
use super::joined::Open;
use super::lines::{Lines, LongLines, Taken};
use super::packed::Packed;
use super::rotation::Turnstile;
use crate::ack::Ack;
use crate::component::{Chunk, Frames};
use crate::event::{Origin, Slab, SlabPool};
use crate::framing::multiline::Matcher;
use crate::telemetry::Counters;
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

/// Bytes of one read buffer.
pub(super) const SLAB_BYTES: usize = 256 << 10;
/// Bytes that one file may give before the next has its turn.
pub(super) const TURN_BYTES: u64 = 1 << 20;
/// Chunks below this are copied to memory of their own size, so that little text does not pin a whole read buffer.
const SMALL_BYTES: usize = SLAB_BYTES / 4;
/// Unfinished last lines up to this are kept in case the file is cut off before they are finished.
const STASH_BYTES: usize = 16 << 10;

/// Whether a name leads to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// One of its paths does. Next: `Gone` when the last path is lost.
    Present,
    /// It was renamed out of sight or deleted, and is read to its end. Next: `Present` when it is found under another
    /// name that matches, or closed some time after its last growth.
    Gone {
        /// When it was lost or last grew: monotonic nanoseconds.
        since: u64,
        /// It was read to its end since then; who waits for its rest may go on.
        read: bool,
    },
    /// Closed; only kept until the verdicts on its chunks are there.
    Closed,
}

/// One file.
#[derive(Debug)]
pub(super) struct Tail {
    /// Its number in the checkpoints; a new one when its contents are replaced.
    pub(super) generation: u64,
    pub(super) identity: Identity,
    /// Device and inode, as folders tell it.
    pub(super) node: (u64, u64),
    pub(super) head: Head,
    /// Names that lead to it now; the first gave it its origin unless that is lost.
    pub(super) paths: Vec<Arc<Path>>,
    /// Where it is.
    pub(super) path: Arc<Path>,
    /// The name its lines go by: where it was found first.
    pub(super) name: Arc<Path>,
    pub(super) origin: Arc<Origin>,
    /// `None` while it is idle and others need the handle.
    pub(super) file: Option<OwnedFd>,
    /// It is compressed, and this reads it; places count decompressed bytes.
    pub(super) packed: Option<Box<Packed>>,
    /// Everything before it was sent.
    pub(super) at: Position,
    pub(super) flight: Flight,
    /// As of the last look: size, and time of modification.
    pub(super) looked: (u64, i64),
    /// Bytes from `at` on that are no whole line yet, where they are few.
    pub(super) stash: Box<[u8]>,
    pub(super) place: Place,
    /// It stands in the queue of files to be read.
    pub(super) queued: bool,
    /// The file that had its name before, to be read to its end first.
    pub(super) after: Option<Turnstile>,
    /// When it is looked at again: monotonic nanoseconds, and the wait before that.
    pub(super) check_at: u64,
    pub(super) wait: u64,
    /// A sweep found growth that no hint had told of: hints do not work here.
    pub(super) unhinted: bool,
    /// Why it cannot be read, said once.
    pub(super) failing: bool,
    /// What the next turn does with an unfinished line or event at the end.
    pub(super) open: Open,
    /// Size at which an open event was looked for in vain.
    pub(super) expired_at: u64,
    /// And then it is closed.
    pub(super) close_after: bool,
    /// When it was last used: of idle handles the oldest is closed first.
    pub(super) used: u64,
    /// When it last grew: monotonic nanoseconds.
    pub(super) grown: u64,
    /// What it adds to `file_lag_bytes`.
    pub(super) lag: u64,
    /// Copytruncate leaves zeros before what a writer without O_APPEND goes on with.
    pub(super) zeros: bool,
}

impl Tail {
    /// Whether all that it had at the last look was sent.
    pub(super) fn is_whole(&self) -> bool {
        self.packed.is_none() && !self.at.skipping && self.at.offset == self.looked.0
    }
}

/// How a turn ended.
#[derive(Debug)]
pub(super) enum Turn {
    /// The file has nothing more for now.
    End,
    /// Others first.
    More,
    /// Downstream is full; a chunk is [held](Reader::held).
    Blocked,
    /// Downstream is gone.
    Closed,
    /// The contents are not those that were read so far: cut off, or written anew.
    Replaced,
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

/// What all files of a source share for being read.
pub(super) struct Reader {
    pub(super) pool: SlabPool,
    pub(super) lines: Lines,
    /// Joins lines.
    pub(super) matcher: Option<Matcher>,
    /// Most bytes of an event of several lines; 0 where lines are not joined.
    pub(super) max_event_bytes: usize,
    pub(super) verdicts: Arc<Verdicts>,
    pub(super) counters: Arc<Counters>,
    /// Contents tell files apart, besides the inode.
    pub(super) check_contents: bool,
    /// A chunk that found no room. Nothing is read while there is one.
    pub(super) held: Option<Chunk>,
    /// Chunks without a verdict.
    pub(super) outstanding: u64,
    /// What was reached without a chunk and is settled with that.
    pub(super) passed: Vec<Settlement>,
}

impl Reader {
    /// Whether the file behind `tail` still begins as it did, and more of its head is known now.
    fn head_holds(&self, tail: &mut Tail, file: &OwnedFd) -> io::Result<bool> {
        if !self.check_contents {
            return Ok(true);
        }
        let mut bytes = [0; HEAD_BYTES];
        let len = read_at(file, &mut bytes, 0)?;
        let bytes = &bytes[..len];
        if !tail.head.fits(bytes) {
            return Ok(false);
        }
        if len > tail.head.len as usize {
            tail.head = Head::of(bytes);
        }
        Ok(true)
    }

    /// Reads on in `tail` (slot `key`, open), up to its end or for [`TURN_BYTES`]. `open`: what becomes of an
    /// unfinished line or event at the end.
    pub(super) fn read(&mut self, key: usize, tail: &mut Tail, open: Open, wall: i64, out: &mut dyn Out) -> Turn {
        if let Some(mut packed) = tail.packed.take() {
            let turn = self.read_packed(key, tail, &mut packed, wall, out);
            tail.packed = Some(packed);
            return turn;
        }
        let Some(file) = tail.file.take() else { return Turn::End };
        let mut buf = self.pool.take();
        let turn = self.read_file(key, tail, &file, &mut buf, open, wall, out);
        drop(self.pool.freeze(buf));
        tail.file = Some(file);
        turn
    }

    #[allow(clippy::too_many_arguments, reason = "the state of one reading loop")]
    fn read_file(
        &mut self,
        key: usize,
        tail: &mut Tail,
        file: &OwnedFd,
        buf: &mut Vec<u8>,
        mut open: Open,
        wall: i64,
        out: &mut dyn Out,
    ) -> Turn {
        match look_into(file) {
            Ok(look) => {
                let looked = (look.size, look.modified);
                if open == Open::Close && tail.looked != looked {
                    // It goes on after all.
                    open = Open::Keep;
                }
                tail.looked = looked;
            }
            Err(e) => return Turn::Failed(e),
        }
        // The bytes before our place come along, to see that they are the ones we know.
        let known = tail.at.mark_len();
        let mut base = tail.at.offset - known as u64;
        let mut start = known;
        let mut searched = start;
        let mut budget = TURN_BYTES;
        let mut first = true;
        loop {
            if buf.len() == buf.capacity() {
                // An unfinished line fills the buffer: up to the longest line allowed it may grow.
                let most = self.lines.max_bytes + self.max_event_bytes + MARK_BYTES + 4096;
                buf.reserve_exact(buf.capacity().min(most.saturating_sub(buf.len())).max(4096));
            }
            let at = base + buf.len() as u64;
            let n = match rustix::io::pread(file, spare_capacity(buf), at) {
                Ok(n) => n,
                Err(Errno::INTR) => continue,
                Err(e) => return Turn::Failed(e.into()),
            };
            if first || n > 0 {
                // After reading and before sending: what was read belongs to the contents that begin like this.
                match self.head_holds(tail, file) {
                    Ok(true) => {}
                    Ok(false) => return Turn::Replaced,
                    Err(e) => return Turn::Failed(e),
                }
            }
            if first {
                if buf.len() < known || self.check_contents && Position::mark_of(&buf[..known]) != tail.at.mark {
                    return Turn::Replaced;
                }
                if tail.at.offset == 0 && buf.starts_with(b"\xef\xbb\xbf") {
                    start = 3;
                }
                searched = start;
                first = false;
            }
            let zeros = if tail.zeros { buf[start..].iter().take_while(|b| **b == 0).count() } else { 0 };
            start += zeros;
            searched = searched.max(start);
            let at_end = n == 0;
            let taken = match &mut self.matcher {
                None => self.lines.take(buf, start, searched, tail.at.skipping, base),
                Some(matcher) => {
                    let open = if at_end { open } else { Open::Keep };
                    self.lines.take_joined(matcher, buf, start, tail.at.skipping, base, open)
                }
            };
            if taken.end > start || zeros > 0 {
                tail.zeros &= taken.frames.is_none();
                budget = budget.saturating_sub((taken.end - start + zeros) as u64);
                let turn = self.send(key, tail, buf, &mut base, &mut start, taken, wall, out);
                if let Some(turn) = turn {
                    return turn;
                }
            }
            searched = buf.len();
            if at_end {
                break;
            }
            if budget == 0 {
                tail.stash = Box::default();
                return Turn::More;
            }
        }
        if open == Open::Finish
            && buf.len() > start
            && let Some(turn) = self.send_rest(key, tail, buf, &mut base, &mut start, wall, out)
        {
            return turn;
        }
        let rest = &buf[start..];
        tail.stash = if rest.len() <= STASH_BYTES { rest.into() } else { Box::default() };
        Turn::End
    }

    /// Sends an unfinished last line.
    #[allow(clippy::too_many_arguments, reason = "the state of one reading loop")]
    pub(super) fn send_rest(
        &mut self,
        key: usize,
        tail: &mut Tail,
        buf: &mut Vec<u8>,
        base: &mut u64,
        start: &mut usize,
        wall: i64,
        out: &mut dyn Out,
    ) -> Option<Turn> {
        let end = buf.len();
        let frames = (!tail.at.skipping).then_some(Frames::Lines { start: *start, end });
        let taken = Taken { end, frames, ..Taken::default() };
        self.send(key, tail, buf, base, start, taken, wall, out)
    }

    /// Sends what was taken from `buf` and moves what is left to the front of a buffer; a turn where it cannot go on.
    #[allow(clippy::too_many_arguments, reason = "the state of one reading loop")]
    pub(super) fn send(
        &mut self,
        key: usize,
        tail: &mut Tail,
        buf: &mut Vec<u8>,
        base: &mut u64,
        start: &mut usize,
        taken: Taken,
        wall: i64,
        out: &mut dyn Out,
    ) -> Option<Turn> {
        let end = taken.end;
        let before = &buf[end.saturating_sub(MARK_BYTES)..end];
        let then = Position { offset: *base + end as u64, mark: Position::mark_of(before), skipping: taken.skipping };
        self.count_long(taken.long, taken.splits);
        tail.at = then;
        tail.stash = Box::default();
        let Some(frames) = taken.frames else {
            let mark = Settlement { generation: tail.generation, at: then };
            self.passed.extend(tail.flight.pass(mark));
            let keep = before.len();
            buf.drain(..end - keep);
            *base += (end - keep) as u64;
            *start = keep;
            return None;
        };
        let from = match &frames {
            Frames::Spans(spans) => spans.first().map_or(*start, |s| s.0 as usize),
            _ => *start,
        };
        let keep = before.len();
        let (text, frames, offset) = if end - from <= SMALL_BYTES {
            let text = Slab::from_vec(buf[from..end].to_vec());
            let offset = *base + from as u64;
            buf.drain(..end - keep);
            (text, moved(frames, from), offset)
        } else {
            let mut next = self.pool.take();
            next.extend_from_slice(&buf[end - keep..]);
            let full = std::mem::replace(buf, next);
            (self.pool.freeze(full), frames, *base)
        };
        *base += (end - keep) as u64;
        *start = keep;
        let number = tail.flight.push(Settlement { generation: tail.generation, at: then });
        self.outstanding += 1;
        let token = (key as u64) << 32 | u64::from(number);
        let ack = Ack::new(self.verdicts.clone(), token);
        let chunk = Chunk { text, frames, origin: tail.origin.clone(), offset, received_at: wall, ack };
        match out.send(chunk) {
            Sent::Yes => None,
            Sent::Full(chunk) => {
                debug_assert!(self.held.is_none(), "one chunk is held at most");
                self.held = Some(chunk);
                Some(Turn::Blocked)
            }
            Sent::Closed => Some(Turn::Closed),
        }
    }

    /// Sends the unfinished line that was read before the contents went away.
    pub(super) fn send_stash(&mut self, key: usize, tail: &mut Tail, wall: i64, out: &mut dyn Out) {
        let text = std::mem::take(&mut tail.stash);
        if text.is_empty() || tail.at.skipping {
            return;
        }
        let (end, offset) = (text.len(), tail.at.offset);
        let frames = match &mut self.matcher {
            None => Some(Frames::Lines { start: 0, end }),
            Some(matcher) => self.lines.take_joined(matcher, &text, 0, false, offset, Open::Finish).frames,
        };
        let Some(frames) = frames else { return };
        // Of what the mark covers only the line itself is at hand.
        let mark = if end < MARK_BYTES { tail.at.mark } else { Position::mark_of(&text) };
        let at = Position { offset: offset + end as u64, mark, ..tail.at };
        let number = tail.flight.push(Settlement { generation: tail.generation, at });
        self.outstanding += 1;
        let chunk = Chunk {
            text: Slab::from_vec(text.into_vec()),
            frames,
            origin: tail.origin.clone(),
            offset,
            received_at: wall,
            ack: Ack::new(self.verdicts.clone(), (key as u64) << 32 | u64::from(number)),
        };
        if let Sent::Full(chunk) = out.send(chunk) {
            debug_assert!(self.held.is_none(), "one chunk is held at most");
            self.held = Some(chunk);
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

/// Frames of a text whose first `by` bytes are gone.
fn moved(frames: Frames, by: usize) -> Frames {
    match frames {
        Frames::Lines { start, end } => Frames::Lines { start: start - by, end: end - by },
        Frames::Spans(mut spans) => {
            for span in &mut spans {
                (span.0, span.1) = (span.0 - by as u32, span.1 - by as u32);
            }
            Frames::Spans(spans)
        }
        decoded => decoded,
    }
}
