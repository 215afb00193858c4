//! Lines joined to events of several lines.
//!
//! A file's place is always the start of an event. So nothing is kept between two turns of reading: the lines of an open
//! event are read and judged again, and a crash in the middle of one gives it whole.

use super::lines::{Lines, Taken, bare_end, push};
use super::window::View;
use crate::event::Frames;
use crate::framing::multiline::{Aggregator, Matcher};

/// What becomes of an event that may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AtEnd {
    /// It stays open.
    Keep,
    /// It has waited long enough; an unfinished line behind it stays.
    Close,
    /// Nothing more will come: an unfinished line ends too.
    Finish,
    /// The same, and nothing goes on elsewhere: container messages that lack a part end as well.
    Flush,
}

impl AtEnd {
    /// An unfinished line at the end is a line.
    pub(super) fn ends_line(self) -> bool {
        matches!(self, AtEnd::Finish | AtEnd::Flush)
    }
}

impl Lines {
    /// As [`take`](Lines::take), with events of several lines. The view begins with the start of an event.
    pub(super) fn take_joined(&self, matcher: &mut Matcher, view: View<'_>, skipping: bool, open: AtEnd) -> Taken {
        let View { buf, start, base: offset, .. } = view;
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
            if newline.is_none() && !open.ends_line() && !self.is_long(buf, at, buf.len()) {
                break;
            }
            let end = newline.map_or(buf.len(), |i| at + i);
            let next = (end + 1).min(buf.len());
            if at == end && newline.is_none() {
                break;
            }
            if self.is_long(buf, at, end) {
                if state.flush() {
                    push(buf, first, at - 1, offset, &mut spans);
                }
                let rest = self.cut(buf, at, bare_end(buf, at, end), offset, &mut spans, &mut taken.long);
                // The last piece of a line that was split is judged as a line.
                at = if self.splits() { rest } else { next };
                first = at;
                taken.skipping = !self.splits() && newline.is_none();
                continue;
            }
            // The matcher's own clock is not used: how long an event waits is known by the file's last growth.
            let action = state.push(matcher, &buf[at..bare_end(buf, at, end)], 0);
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
        if open != AtEnd::Keep && state.flush() {
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
    use proptest::prelude::*;
    use std::sync::Arc;

    /// What comes of a text that is read in pieces, with places, and how many lines were cut.
    fn read_pieces(text: &[&[u8]], max_bytes: usize, long: LongLines) -> (Vec<(u64, String)>, u64) {
        let rule = Lines { max_bytes, long };
        let mut matcher = Matcher::new(Arc::new(Multiline::preset(Preset::Indent, Limits::default())));
        let (mut buf, mut base, mut skipping) = (Vec::new(), 0u64, false);
        let (mut out, mut cuts) = (Vec::new(), 0);
        let last: &[u8] = b"";
        for (i, part) in text.iter().chain([&last]).enumerate() {
            buf.extend_from_slice(part);
            let open = if i == text.len() { AtEnd::Finish } else { AtEnd::Keep };
            let taken = rule.take_joined(&mut matcher, View::of(&buf, base), skipping, open);
            cuts += taken.long;
            if let Some(Frames::Spans(spans)) = taken.frames {
                for s in spans {
                    out.push((s.2, String::from_utf8(buf[s.0 as usize..s.1 as usize].to_vec()).unwrap()));
                }
            }
            buf.drain(..taken.end);
            base += taken.end as u64;
            skipping = taken.skipping;
        }
        (out, cuts)
    }

    fn read(text: &[u8], piece: usize, max_bytes: usize, long: LongLines) -> Vec<(u64, String)> {
        read_pieces(&text.chunks(piece).collect::<Vec<_>>(), max_bytes, long).0
    }

    const RULES: [LongLines; 3] = [LongLines::Truncate, LongLines::Skip, LongLines::Split];

    #[test]
    fn any_division_of_the_input_gives_the_same_events() {
        let text = b"a\r\n b\r\n c\nd\n\n e\nffffffffff\n g\nh\n i";
        for long in RULES {
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

    #[test]
    fn a_line_of_exactly_the_most_bytes_is_not_long_whatever_its_end() {
        for long in RULES {
            for (text, cuts) in [("abc\n", 0), ("abc\r\n", 0), ("abc", 0), ("abc\r", 0), ("abcd\r\n", 1), ("abcd", 1)] {
                for piece in 1..=text.len() {
                    let pieces: Vec<&[u8]> = text.as_bytes().chunks(piece).collect();
                    let (events, counted) = read_pieces(&pieces, 3, long);
                    assert_eq!(counted, cuts, "{text:?}, {long:?}, pieces of {piece}: {events:?}");
                    let first = events.first().map(|(at, text)| (*at, text.as_str()));
                    assert_eq!(
                        first,
                        (cuts == 0 || long != LongLines::Skip).then_some((0, "abc")),
                        "{text:?}, {long:?}"
                    );
                }
            }
        }
    }

    proptest! {
        /// Lines about as long as the longest, any line end, any division.
        #[test]
        fn line_ends_and_divisions_do_not_change_what_is_long(
            max in 1usize..12,
            lines in prop::collection::vec((-2isize..=2, 1usize..4, "\n|\r\n|\r\r\n|\r", any::<bool>()), 0..8),
            cuts in prop::collection::vec(0usize..200, 0..6),
            which in 0usize..3,
        ) {
            let mut text = String::new();
            for (more, times, end, indented) in lines {
                let from = text.len();
                text.extend(std::iter::repeat_n('x', (max * times).saturating_add_signed(more)));
                if indented && text.len() > from {
                    text.replace_range(from..=from, " ");
                }
                text.push_str(&end);
            }
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &text.as_bytes()[pair[0]..pair[1]]).collect();
            let whole = read_pieces(&[text.as_bytes()], max, RULES[which]);
            prop_assert_eq!(read_pieces(&pieces, max, RULES[which]), whole.clone(), "{:?}", text);
            let bare = |line: &str| line.strip_suffix('\n').map_or(line, |l| l.strip_suffix('\r').unwrap_or(l)).len();
            let is_long = |line: &str| bare(line) > max + usize::from(!line.ends_with('\n') && line.ends_with('\r'));
            prop_assert_eq!(whole.1 > 0, text.split_inclusive('\n').any(is_long), "{:?}", text);
        }
    }
}
