//! [`Framer`]: a stream of bytes to frames of one or several lines, for sources that carry unfinished bytes over.

use std::sync::Arc;

use super::lines::{Lines, LongLines, bare_end, push};
use super::multiline::{Aggregator, Matcher, Multiline};

/// Frames as [`Frames::Spans`](crate::event::Frames::Spans) has them: start, end, place in the stream.
pub type Spans = Vec<(u32, u32, u64)>;

/// Cuts one stream into frames.
///
/// The caller reads into a buffer, calls [`frame`](Framer::frame), sends what is framed, and begins the next buffer with the
/// bytes that are not.
#[derive(Debug)]
pub struct Framer {
    matcher: Matcher,
    state: Aggregator,
    /// Bytes at the head of the next buffer that belong to the open event, line ends included.
    judged: usize,
    /// Longer lines are split; the last piece of one is judged as a line.
    lines: Lines,
    /// Cuts since the last [`take_long`](Self::take_long).
    long: u64,
}

impl Framer {
    /// A framer at the start of a stream.
    pub fn new(rule: Arc<Multiline>) -> Self {
        let lines = Lines { max_bytes: usize::MAX, long: LongLines::Split };
        Framer { matcher: Matcher::new(rule), state: Aggregator::default(), judged: 0, lines, long: 0 }
    }

    /// The same, that splits lines longer than `max_line_bytes`, which are 1 at least and do not count a line's end.
    pub fn with_max_line(mut self, max_line_bytes: usize) -> Self {
        self.lines.max_bytes = max_line_bytes.max(1);
        self
    }

    /// Where lines were split since the last call: how often.
    pub fn take_long(&mut self) -> u64 {
        std::mem::take(&mut self.long)
    }

    /// Appends the frames of `buf` that are complete; returns where the bytes begin that must come first in the next
    /// buffer: an event that is still open, and a line without end.
    ///
    /// Units: `offset` is the place of `buf[0]` in the stream; `now_nanos` as in [`Aggregator::push`].
    pub fn frame(&mut self, buf: &[u8], offset: u64, now_nanos: u64, out: &mut Spans) -> usize {
        let (mut first, mut at) = (0, self.judged.min(buf.len()));
        loop {
            let newline = memchr::memchr(b'\n', &buf[at..]);
            let end = newline.map_or(buf.len(), |newline| at + newline);
            if self.lines.is_long(buf, at, end) {
                if self.state.flush() {
                    push(buf, first, at.saturating_sub(1), offset, out);
                }
                at = self.lines.cut(buf, at, bare_end(buf, at, end), offset, out, &mut self.long);
                first = at;
            } else if newline.is_some() {
                first = self.line(buf, first, at, end, offset, now_nanos, out);
                at = end + 1;
            } else {
                break;
            }
        }
        self.judged = at - first;
        first
    }

    /// Bytes at the head of the next buffer that belong to the open event.
    pub fn judged(&self) -> usize {
        self.judged
    }

    /// Whether the open event has waited long enough: [`flush`](Framer::flush) it.
    pub fn is_expired(&self, now_nanos: u64) -> bool {
        self.state.is_expired(&self.matcher, now_nanos)
    }

    /// Appends the frame of the open event at the head of `buf`, if there is one; returns where the bytes begin that
    /// are left.
    pub fn flush(&mut self, buf: &[u8], offset: u64, out: &mut Spans) -> usize {
        let end = std::mem::take(&mut self.judged).min(buf.len());
        if self.state.flush() {
            push(buf, 0, end.saturating_sub(1), offset, out);
        }
        end
    }

    /// Appends the frames of all that is left at the end of the stream, a last line without end included.
    pub fn finish(&mut self, buf: &[u8], offset: u64, now_nanos: u64, out: &mut Spans) {
        let (mut first, at) = (0, self.judged.min(buf.len()));
        if at < buf.len() {
            first = self.line(buf, first, at, buf.len(), offset, now_nanos, out);
        }
        self.judged = 0;
        if self.state.flush() {
            let end = if buf.last() == Some(&b'\n') { buf.len() - 1 } else { buf.len() };
            push(buf, first, end, offset, out);
        }
    }

    /// Judges the line `buf[at..end]` while the open event begins at `first`; returns where the open event begins then.
    #[expect(clippy::too_many_arguments, reason = "all of them are places in one buffer")]
    fn line(
        &mut self,
        buf: &[u8],
        first: usize,
        at: usize,
        end: usize,
        offset: u64,
        now_nanos: u64,
        out: &mut Spans,
    ) -> usize {
        let action = self.state.push(&mut self.matcher, &buf[at..bare_end(buf, at, end)], now_nanos);
        let mut first = first;
        if action.flushes_before() {
            push(buf, first, at.saturating_sub(1), offset, out);
        }
        if !action.joins() {
            first = at;
        }
        if action.flushes_after() {
            push(buf, first, end, offset, out);
            first = (end + 1).min(buf.len());
        }
        first
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::multiline::{Limits, Mode, Preset};
    use super::*;
    use proptest::prelude::*;

    /// The frames of a stream that arrives in pieces, with their places.
    fn frames(rule: Multiline, pieces: &[&[u8]]) -> Vec<(u64, String)> {
        limited(rule, usize::MAX, pieces).0
    }

    /// The same with a longest line, and how often a line was split.
    fn limited(rule: Multiline, max_line: usize, pieces: &[&[u8]]) -> (Vec<(u64, String)>, u64) {
        let mut framer = Framer::new(Arc::new(rule)).with_max_line(max_line);
        let (mut rest, mut offset, mut out) = (Vec::new(), 0, Vec::new());
        let take = |buf: &[u8], spans: &Spans, out: &mut Vec<(u64, String)>| {
            for (from, to, at) in spans {
                out.push((*at, String::from_utf8_lossy(&buf[*from as usize..*to as usize]).into_owned()));
            }
        };
        for piece in pieces {
            let mut buf = std::mem::take(&mut rest);
            buf.extend_from_slice(piece);
            let mut spans = Vec::new();
            let keep = framer.frame(&buf, offset, 0, &mut spans);
            take(&buf, &spans, &mut out);
            rest.extend_from_slice(&buf[keep..]);
            offset += keep as u64;
        }
        let mut spans = Vec::new();
        framer.finish(&rest, offset, 0, &mut spans);
        take(&rest, &spans, &mut out);
        (out, framer.take_long())
    }

    #[test]
    fn events_are_framed_with_their_places() {
        let text = b"a\r\n b\r\nc\n\n d";
        let want = vec![(0, "a\r\n b".to_owned()), (7, "c".to_owned()), (9, "\n d".to_owned())];
        assert_eq!(frames(Multiline::preset(Preset::Indent, Limits::default()), &[text]), want);
    }

    #[test]
    fn an_event_that_expires_leaves_an_unfinished_line_behind() {
        let rule = Multiline::preset(Preset::Indent, Limits { timeout_nanos: 5, ..Limits::default() });
        let mut framer = Framer::new(Arc::new(rule));
        let mut out = Vec::new();
        assert_eq!(framer.frame(b"a\n b\n part", 0, 1, &mut out), 0);
        assert!(out.is_empty() && !framer.is_expired(5) && framer.is_expired(6));
        assert_eq!(framer.flush(b"a\n b\n part", 0, &mut out), 5);
        assert_eq!(out, [(0, 4, 0)]);
        assert!(!framer.is_expired(100));
        out.clear();
        framer.finish(b" part", 5, 7, &mut out);
        assert_eq!(out, [(0, 5, 5)]);
    }

    #[test]
    fn a_line_of_exactly_the_most_bytes_is_not_split_whatever_its_end() {
        for (text, cuts) in [("abc\n", 0), ("abc\r\n", 0), ("abc", 0), ("abc\r", 0), ("abcd\r\n", 1), ("abcdefg\n", 2)]
        {
            for piece in 1..=text.len() {
                let pieces: Vec<&[u8]> = text.as_bytes().chunks(piece).collect();
                let (frames, counted) = limited(Multiline::preset(Preset::Indent, Limits::default()), 3, &pieces);
                assert_eq!(counted, cuts, "{text:?} in pieces of {piece}: {frames:?}");
                assert_eq!(frames.len() as u64, cuts + 1, "{text:?} in pieces of {piece}: {frames:?}");
            }
        }
    }

    proptest! {
        /// However the stream is cut, the frames are the same.
        #[test]
        fn any_split_of_the_input_gives_the_same_frames(
            text in "([ a-c;]{0,4}\r?\n){0,12}[ a-c]{0,3}",
            cuts in prop::collection::vec(0usize..80, 0..8),
            which in 0usize..5,
            max in 1usize..8,
        ) {
            let rule = || match which {
                0 => Multiline::preset(Preset::Indent, Limits { max_bytes: 9, ..Limits::default() }),
                n => {
                    let modes = [Mode::ContinueThrough, Mode::ContinuePast, Mode::HaltBefore, Mode::HaltWith];
                    Multiline::rule("^a", modes[n - 1], ";|^$", Limits::default()).unwrap()
                }
            };
            let text = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
            let whole = frames(rule(), &[text]);
            prop_assert_eq!(frames(rule(), &pieces), whole.clone());
            let split = limited(rule(), max, &[text]);
            prop_assert_eq!(limited(rule(), max, &pieces), split.clone());
            let bare = |line: &[u8]| line.strip_suffix(b"\r").unwrap_or(line).len();
            prop_assert_eq!(split.1 > 0, text.split(|c| *c == b'\n').any(|line| bare(line) > max));
            // Frames and the line ends between them are the whole stream.
            for frames in [&whole, &split.0] {
                let mut at = 0;
                for (place, frame) in frames {
                    prop_assert!(text[at..*place as usize].iter().all(|c| matches!(c, b'\r' | b'\n')));
                    at = *place as usize + frame.len();
                }
                prop_assert!(text[at..].iter().all(|c| matches!(c, b'\r' | b'\n')));
            }
        }
    }
}
