//! Lines joined to events of several lines.
//!
//! A file's place is always the start of an event. So nothing is kept between two turns of reading: the lines of an open
//! event are read and judged again, and a crash in the middle of one gives it whole.

use super::lines::{Lines, Taken, push};
use crate::component::Frames;
use crate::framing::multiline::{Aggregator, Matcher};

/// What becomes of an event that may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Open {
    /// It stays open.
    Keep,
    /// It has waited long enough; an unfinished line behind it stays.
    Close,
    /// Nothing more will come: an unfinished line ends too.
    Finish,
}

impl Lines {
    /// As [`take`](Lines::take), with events of several lines. `start` is the start of an event.
    pub(super) fn take_joined(
        &self,
        matcher: &mut Matcher,
        buf: &[u8],
        start: usize,
        skipping: bool,
        offset: u64,
        open: Open,
    ) -> Taken {
        let mut taken = Taken { end: start, skipping, ..Taken::default() };
        if skipping {
            let Some(i) = memchr::memchr(b'\n', &buf[start..]) else {
                taken.end = buf.len();
                return taken;
            };
            (taken.end, taken.skipping) = (start + i + 1, false);
        }
        let mut state = Aggregator::default();
        let mut spans = Vec::new();
        // The open event is `buf[first..at]`.
        let (mut first, mut at) = (taken.end, taken.end);
        loop {
            let newline = memchr::memchr(b'\n', &buf[at..]);
            if newline.is_none() && open != Open::Finish && buf.len() - at <= self.max_bytes {
                break;
            }
            let end = newline.map_or(buf.len(), |i| at + i);
            let next = (end + 1).min(buf.len());
            if at == end && newline.is_none() {
                break;
            }
            if end - at > self.max_bytes {
                if state.flush() {
                    push(buf, first, at - 1, offset, &mut spans);
                }
                let rest = self.cut(buf, at, end, offset, &mut spans, &mut taken.long);
                // The last piece of a line that was split is judged as a line.
                at = if self.splits() { rest } else { next };
                first = at;
                taken.skipping = !self.splits() && newline.is_none();
                continue;
            }
            let line = &buf[at..end];
            // The matcher's own clock is not used: how long an event waits is known by the file's last growth.
            let action = state.push(matcher, line.strip_suffix(b"\r").unwrap_or(line), 0);
            if action.flushes_before() {
                push(buf, first, at - 1, offset, &mut spans);
            }
            if !action.joins() {
                first = at;
            }
            if action.flushes_after() {
                push(buf, first, end, offset, &mut spans);
                first = next;
            }
            at = next;
        }
        if open != Open::Keep && state.flush() {
            let end = if buf[at - 1] == b'\n' { at - 1 } else { at };
            push(buf, first, end, offset, &mut spans);
            first = at;
        }
        taken.splits = state.splits();
        taken.end = if state.is_open() { first } else { at };
        taken.frames = (!spans.is_empty()).then_some(Frames::Spans(spans));
        taken
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::lines::LongLines;
    use super::*;
    use crate::framing::multiline::{Limits, Multiline, Preset};
    use std::sync::Arc;

    fn read(text: &[u8], piece: usize, max_bytes: usize, long: LongLines) -> Vec<(u64, String)> {
        let rule = Lines { max_bytes, long };
        let mut matcher = Matcher::new(Arc::new(Multiline::preset(Preset::Indent, Limits::default())));
        let (mut buf, mut base, mut skipping) = (Vec::new(), 0u64, false);
        let mut out = Vec::new();
        let pieces: Vec<&[u8]> = text.chunks(piece).chain([&b""[..]]).collect();
        for (i, part) in pieces.iter().enumerate() {
            buf.extend_from_slice(part);
            let open = if i + 1 == pieces.len() { Open::Finish } else { Open::Keep };
            let taken = rule.take_joined(&mut matcher, &buf, 0, skipping, base, open);
            if let Some(Frames::Spans(spans)) = taken.frames {
                for s in spans {
                    out.push((s.2, String::from_utf8(buf[s.0 as usize..s.1 as usize].to_vec()).unwrap()));
                }
            }
            buf.drain(..taken.end);
            base += taken.end as u64;
            skipping = taken.skipping;
        }
        out
    }

    #[test]
    fn any_division_of_the_input_gives_the_same_events() {
        let text = b"a\r\n b\r\n c\nd\n\n e\nffffffffff\n g\nh\n i";
        for long in [LongLines::Truncate, LongLines::Skip, LongLines::Split] {
            for max in [4, 9, 10, 100] {
                let whole = read(text, text.len(), max, long);
                for piece in 1..text.len() {
                    assert_eq!(read(text, piece, max, long), whole, "{long:?}, max {max}, pieces of {piece}");
                }
            }
        }
        let events: Vec<(u64, String)> = read(text, 5, 100, LongLines::Skip);
        let want = [(0, "a\r\n b\r\n c"), (10, "d"), (12, "\n e"), (16, "ffffffffff\n g"), (30, "h\n i")];
        assert_eq!(events, want.map(|(at, text)| (at, text.to_owned())));
    }
}
