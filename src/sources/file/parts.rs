//! Container lines of one file: what is open in it, and the places that follow from that.
//!
//! Parts of one message, and lines of one trace, need not lie together: the other stream writes in between, and a rotation may
//! come. So a place in such a file is three: everything of stdout before one, of stderr before another, and everything else
//! before a third was given. [`Position`] has the least of them as its offset, where reading begins again after a
//! restart, and the others in [`Ahead`]: what lies before them is passed over then.
//!
//! What a file that was rotated away has open at its end goes on in the file that took its name ([`families`](super::families)).
//! Then the place of the old file stays where the open event begins, and that of the new file at its beginning, until the
//! event is settled: first in the new file, then in the old one, and both are saved together. A crash in between finds
//! both as they were.

use super::identity::{Ahead, Position, Predecessor};
use super::lines::{Lines, Taken, bare_end};
use super::window::View;
use crate::event::Frames;
use crate::framing::container::{Frames as Joined, Joiner, Judge, Rule};
use std::collections::VecDeque;

/// A file, or contents that are gone, whose open event goes on elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ancestor {
    /// This slot and generation.
    File(Predecessor),
    /// Contents of the same file; nobody can read them again.
    Gone,
}

/// See [the module](self).
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// Everything before it was given, or is open.
    pub(super) read: Position,
    joiner: Joiner,
    /// Where the lines stand that begin what is open.
    starts: Vec<Position>,
    /// Where the messages and events begin that were handed on and are not settled, by stream, in their order.
    handed: [VecDeque<Position>; 2],
    /// Where those came from that were taken over and are open, by stream, in their order: the files they have been through.
    ancestors: [VecDeque<Vec<Ancestor>>; 2],
    /// What was inherited and has been given, with the number of the chunk that has it and the stream.
    given: VecDeque<(u32, usize, Vec<Ancestor>)>,
    /// The file before may hand something on.
    pub(super) link: Link,
    /// Bytes that what is open takes, when it was last measured.
    measured: usize,
}

/// What a new file waits for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Link {
    /// Nothing any more. The last state.
    #[default]
    Done,
    /// Nobody asked yet. Next: `Waits` or `Done`.
    Open,
    /// Files of the same name, each up to this many bytes. Next: `Done`.
    Waits(Vec<(Predecessor, u64)>),
}

impl Parts {
    /// Goes on at a position.
    pub(super) fn at(position: Position) -> Self {
        let Ahead { given, skipping } = position.ahead;
        let joiner =
            if position.ahead == Ahead::default() { Joiner::default() } else { Joiner::resumed(given, skipping) };
        Parts { read: Position { ahead: Ahead::default(), ..position }, joiner, ..Parts::default() }
    }

    /// Whether the position alone says all.
    pub(super) fn is_new(&self) -> bool {
        self.joiner.is_new()
            && self.handed.iter().all(VecDeque::is_empty)
            && self.given.is_empty()
            && self.link == Link::Done
    }

    /// The position that can be saved once all that was given is settled.
    pub(super) fn position(&self) -> Position {
        let mut ahead = Ahead::default();
        let mut least = self.read;
        for n in 0..2 {
            let handed = self.handed[n].front().copied();
            let inherited = (self.joiner.earlier(n) > 0).then(Position::default);
            let own = self.joiner.places(n).filter_map(|place| self.start(place));
            let start = handed.into_iter().chain(inherited).chain(own).min_by_key(|start| start.offset);
            ahead.given[n] = start.map_or(self.read.offset.max(self.joiner.passed(n)), |start| start.offset);
            ahead.skipping[n] = start.is_none() && self.joiner.is_skipping(n);
            if let Some(start) = start.filter(|start| start.offset < least.offset) {
                least = start;
            }
        }
        ahead.given[2] = self.read.offset.max(self.joiner.passed(2));
        if ahead.given.iter().all(|given| *given == least.offset) {
            ahead.given = [0; 3];
        }
        Position { ahead, ..least }
    }

    fn start(&self, place: u64) -> Option<Position> {
        self.starts.iter().find(|start| start.offset == place).copied()
    }

    /// Everything before `buf[end]` was taken. `place` tells the position of a place in `buf`, whose first byte stands at
    /// `base`.
    pub(super) fn advance(&mut self, end: usize, base: u64, place: impl Fn(usize) -> Position) {
        self.read = place(end);
        let open = (0..2).flat_map(|n| self.joiner.places(n));
        let start = |at: u64| self.start(at).unwrap_or_else(|| place((at - base) as usize));
        self.starts = open.map(start).collect();
    }

    /// Reading begins at a position, of which nothing was known before.
    pub(super) fn go_on_at(&mut self, position: Position) {
        let link = std::mem::take(&mut self.link);
        *self = Parts { link, ..Parts::at(position) };
    }

    /// Nothing but zeros lies before this place and behind what was read.
    pub(super) fn pass(&mut self, to: Position) {
        self.read = to;
    }

    /// What was taken over and is open no more goes with the chunk `number`.
    pub(super) fn note_given(&mut self, number: u32) {
        for n in 0..2 {
            while self.ancestors[n].len() > self.joiner.earlier(n)
                && let Some(ancestors) = self.ancestors[n].pop_front()
            {
                self.given.push_back((number, n, ancestors));
            }
        }
    }

    /// Something that was taken over and that a settled chunk had: its stream, and the files it has been through.
    pub(super) fn next_settled(&mut self, settled: impl Fn(u32) -> bool) -> Option<(usize, Vec<Ancestor>)> {
        let (_, n, ancestors) = self.given.pop_front_if(|(number, ..)| settled(*number))?;
        Some((n, ancestors))
    }

    /// The oldest of what was handed on from this stream is settled.
    pub(super) fn handed_is_settled(&mut self, n: usize) {
        self.handed[n].pop_front();
    }

    /// Takes over what the file before, `who`, has open in a stream of which nothing was given here. Tells how much.
    pub(super) fn inherit(&mut self, from: &mut Parts, who: Predecessor) -> usize {
        let mut count = 0;
        for n in 0..2 {
            let untouched = self.read.offset == 0 && self.joiner.passed(n) == 0;
            if !untouched || !from.handed[n].is_empty() {
                continue;
            }
            let mut own: Vec<Position> = from.joiner.places(n).filter_map(|place| from.start(place)).collect();
            own.sort_unstable_by_key(|start| start.offset);
            let earlier = std::mem::take(&mut from.ancestors[n]);
            from.handed[n] = earlier.iter().map(|_| Position::default()).chain(own).collect();
            self.ancestors[n] = earlier;
            self.ancestors[n].resize(from.handed[n].len(), Vec::new());
            self.ancestors[n].iter_mut().for_each(|ancestors| ancestors.push(Ancestor::File(who)));
            self.joiner.inherit(n, &mut from.joiner);
            count += from.handed[n].len();
        }
        count
    }

    /// The contents are gone: what is open goes on in those that have taken their place.
    pub(super) fn begin_anew(&mut self) {
        self.read = Position::default();
        self.starts.clear();
        self.joiner.begin_anew();
        for n in 0..2 {
            // What was on its way is not waited for.
            self.handed[n].clear();
            self.ancestors[n].resize(self.joiner.earlier(n), Vec::new());
            self.ancestors[n].iter_mut().for_each(|ancestors| ancestors.push(Ancestor::Gone));
        }
    }

    /// Whether something is open.
    pub(super) fn is_open(&self) -> bool {
        (0..2).any(|n| self.joiner.is_open(n))
    }

    /// Where what stream `n` has open came from.
    pub(super) fn ancestors(&self, n: usize) -> impl Iterator<Item = &Ancestor> {
        self.ancestors[n].iter().flatten()
    }

    /// When something that is open has waited for long enough: monotonic nanoseconds.
    pub(super) fn due(&self, rule: &Rule) -> Option<u64> {
        self.joiner.due(rule)
    }

    /// Bytes that what is open takes, and what they were when this was asked last.
    pub(super) fn measure(&mut self) -> (usize, usize) {
        let held = self.joiner.held_bytes();
        (held, std::mem::replace(&mut self.measured, held))
    }

    /// Bytes that what is open takes, when it was last measured.
    pub(super) fn measured(&self) -> usize {
        self.measured
    }

    /// Lets go of what is open, which stands in a copy too; what was given and handed on stays known.
    pub(super) fn forget_open(&mut self) {
        (self.read, self.joiner, self.link) = (Position::default(), Joiner::default(), Link::Open);
        self.starts.clear();
    }

    /// Gives what is open: all of it, of one stream, or what has waited for long enough by `now`.
    pub(super) fn give(&mut self, judge: &mut Judge, what: Give) -> Joined {
        let mut joined = Joined::default();
        match what {
            Give::All => self.joiner.finish(judge, &mut joined),
            Give::Stream(n) => self.joiner.finish_stream(judge, n, &mut joined),
            Give::Due(now) => self.joiner.expire(judge, now, &mut joined),
        }
        joined
    }
}

/// What of the open messages and events is given.
#[derive(Clone, Copy, Debug)]
pub(super) enum Give {
    All,
    Stream(usize),
    /// What has waited for long enough at this time: monotonic nanoseconds.
    Due(u64),
}

/// What ends with a view.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    /// Its last line, though it is unfinished: nothing more will come.
    pub(super) line: bool,
    /// What these streams have open then.
    pub(super) streams: [bool; 2],
}

/// Lines of a container that are being taken from a view.
struct Joining<'a> {
    joiner: &'a mut Joiner,
    judge: &'a mut Judge,
    view: View<'a>,
    /// The time of the turn: monotonic nanoseconds.
    now: u64,
    out: Joined,
}

impl Joining<'_> {
    /// Takes a line, without its end.
    fn line(&mut self, from: usize, to: usize) {
        let place = self.view.base + from as u64;
        self.joiner.line(self.judge, self.view.buf, from, to, place, self.now, &mut self.out);
    }

    /// Deals with a line that is too long; where its rest begins.
    fn cut(&mut self, lines: &Lines, from: usize, to: usize) -> usize {
        let View { buf, base, .. } = self.view;
        let to = bare_end(buf, from, to);
        let mut pieces = Vec::new();
        let rest = lines.cut(buf, from, to, base, &mut pieces, &mut self.out.long);
        if pieces.is_empty() {
            self.joiner.drop_line(self.judge, &buf[from..to], base + from as u64);
        }
        for (from, to, _) in pieces {
            self.line(from as usize, to as usize);
        }
        rest
    }
}

impl Lines {
    /// As [`take`](Lines::take), with the lines of a container joined.
    pub(super) fn take_parts(
        &self,
        parts: &mut Parts,
        judge: &mut Judge,
        view: View<'_>,
        now: u64,
        ends: Ends,
    ) -> Taken {
        let View { buf, start, searched, .. } = view;
        let mut taken = Taken { end: start, skipping: parts.read.skipping, ..Taken::default() };
        let mut joining = Joining { joiner: &mut parts.joiner, judge, view, now, out: Joined::default() };
        for newline in memchr::memchr_iter(b'\n', &buf[searched.max(start)..]).map(|i| searched.max(start) + i) {
            let at = taken.end;
            if taken.skipping {
                taken.skipping = false;
            } else if self.is_long(buf, at, newline) {
                let rest = joining.cut(self, at, newline);
                if self.splits() {
                    joining.line(rest, newline);
                }
            } else {
                joining.line(at, newline);
            }
            taken.end = newline + 1;
        }
        if taken.skipping {
            taken.end = buf.len();
        } else if self.is_long(buf, taken.end, buf.len()) {
            let rest = joining.cut(self, taken.end, buf.len());
            taken.skipping = !self.splits();
            taken.end = if taken.skipping { buf.len() } else { rest };
        }
        if ends.line && taken.end < buf.len() {
            joining.line(taken.end, buf.len());
            taken.end = buf.len();
        }
        let Joining { joiner, judge, mut out, .. } = joining;
        joiner.keep(judge, buf);
        for n in (0..2).filter(|n| ends.streams[*n]) {
            joiner.finish_stream(judge, n, &mut out);
        }
        taken.joined(out);
        taken
    }
}

impl Taken {
    /// Takes in what was framed.
    pub(super) fn joined(&mut self, out: Joined) {
        self.long += out.long;
        self.splits += out.splits;
        self.frames = (!out.spans.is_empty()).then_some(Frames::Spans(out.spans));
        self.text = out.joined;
    }
}
