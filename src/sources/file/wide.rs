//! Files in UTF-16: told by the byte order mark at their beginning, or by `charset`.
//!
//! Places stay those of bytes; the lines' texts are put into UTF-8 here, before a worker sees them.

use super::joined::AtEnd;
use super::lines::{Lines, LongLines, Taken};
use super::window::View;
use crate::event::Frames;
use crate::framing::multiline::{Aggregator, Matcher};
use crate::framing::wide::Wide;

/// What the code units of a file are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Units {
    /// Its beginning was not looked at.
    #[default]
    Unknown,
    /// Bytes.
    Bytes,
    /// Two bytes each.
    Wide(Wide),
}

impl Units {
    pub(super) fn wide(self) -> Option<Wide> {
        match self {
            Units::Wide(wide) => Some(wide),
            Units::Unknown | Units::Bytes => None,
        }
    }
}

/// A place of a code unit at or before `at`, and one at or behind it; `base` is the place of the buffer in the file.
pub(super) fn unit_before(base: u64, at: usize) -> usize {
    at - ((base as usize + at) & 1).min(at)
}

pub(super) fn unit_behind(base: u64, at: usize) -> usize {
    at + ((base as usize + at) & 1)
}

/// Lines of UTF-16 that are being taken from a buffer.
struct Taking<'a> {
    wide: Wide,
    buf: &'a [u8],
    offset: u64,
    spans: Vec<(u32, u32, u64)>,
    text: Vec<u8>,
    invalid: u64,
}

impl Taking<'_> {
    /// Adds the frame `buf[from..to]`, without a carriage return at its end.
    fn push(&mut self, from: usize, to: usize) {
        let to = self.wide.bare_end(self.buf, from, to);
        self.push_all(from, to);
    }

    fn push_all(&mut self, from: usize, to: usize) {
        let at = self.text.len() as u32;
        self.invalid += u64::from(self.wide.append_utf8(&self.buf[from..to], &mut self.text));
        self.spans.push((at, self.text.len() as u32, self.offset + from as u64));
    }
}

impl Lines {
    /// As [`take_joined`](Lines::take_joined) for a file in UTF-16, with or without a rule for joining.
    pub(super) fn take_wide(
        &self,
        wide: Wide,
        mut matcher: Option<&mut Matcher>,
        View { buf, start, searched, base: offset }: View<'_>,
        skipping: bool,
        open: AtEnd,
    ) -> Taken {
        let mut to = Taking { wide, buf, offset, spans: Vec::new(), text: Vec::new(), invalid: 0 };
        let mut taken = Taken { end: start, skipping, ..Taken::default() };
        let mut at = unit_behind(offset, start).min(buf.len());
        let searched = if matcher.is_some() { 0 } else { unit_before(offset, searched) };
        // What there is of a line that is not whole.
        let whole = if open.ends_line() { buf.len() } else { unit_before(offset, buf.len()).max(at) };
        let (mut state, mut first, mut line) = (Aggregator::default(), at, Vec::new());
        while at < buf.len() {
            let newline = wide.newline(buf, at.max(searched));
            let end = newline.unwrap_or(whole);
            let next = newline.map_or(whole, |newline| newline + 2);
            let bare = wide.bare_end(buf, at, end);
            if taken.skipping {
                (at, first, taken.skipping) = (next, next, newline.is_none());
            } else if bare - at > self.most_wide() {
                if state.flush() {
                    to.push(first, at - 2);
                }
                at = self.cut_wide(&mut to, at, bare, &mut taken.long);
                if !self.splits() {
                    (at, taken.skipping) = (next, newline.is_none());
                } else if newline.is_some() || open.ends_line() {
                    // The last piece of a line that was split is judged as a line.
                    first = at;
                    continue;
                }
                first = at;
            } else if newline.is_some() || open.ends_line() {
                self.judge_wide(&mut to, matcher.as_deref_mut(), &mut state, (&mut first, at, end, next), &mut line);
                at = next;
            }
            if newline.is_none() {
                break;
            }
        }
        if open != AtEnd::Keep && state.flush() {
            let end = if at >= first + 2 && wide.newline(buf, at - 2) == Some(at - 2) { at - 2 } else { at };
            to.push(first, end);
            first = at;
        }
        taken.splits = state.splits();
        taken.end = if state.is_open() { first } else { at };
        taken.invalid = to.invalid;
        taken.text = to.text;
        taken.frames = (!to.spans.is_empty()).then_some(Frames::Utf8(to.spans));
        taken
    }

    /// Longest line: room for a character at least.
    fn most_wide(&self) -> usize {
        self.max_bytes.max(4)
    }

    /// Deals with a line `buf[from..to]`, without its end, that is too long; where its rest begins.
    fn cut_wide(&self, out: &mut Taking<'_>, mut from: usize, to: usize, long: &mut u64) -> usize {
        match self.long {
            LongLines::Skip => *long += 1,
            LongLines::Truncate => {
                out.push_all(from, out.wide.boundary(&out.buf[..to], from, self.most_wide()));
                *long += 1;
            }
            LongLines::Split => {
                while to - from > self.most_wide() {
                    let end = out.wide.boundary(&out.buf[..to], from, self.most_wide());
                    out.push_all(from, end);
                    from = end;
                    *long += 1;
                }
            }
        }
        from
    }

    /// Takes the line `buf[at..end]`, the one behind it beginning at `next` and the open event at `first`.
    fn judge_wide(
        &self,
        out: &mut Taking<'_>,
        matcher: Option<&mut Matcher>,
        state: &mut Aggregator,
        (first, at, end, next): (&mut usize, usize, usize, usize),
        line: &mut Vec<u8>,
    ) {
        let Some(matcher) = matcher else {
            out.push(at, end);
            *first = next;
            return;
        };
        line.clear();
        out.wide.append_utf8(&out.buf[at..out.wide.bare_end(out.buf, at, end)], line);
        // The matcher's own clock is not used: how long an event waits is known by the file's last growth.
        let action = state.push(matcher, line, 0);
        if action.flushes_before() {
            out.push(*first, at - 2);
        }
        if !action.joins() {
            *first = at;
        }
        if action.flushes_after() {
            out.push(*first, end);
            *first = next;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::framing::multiline::{Limits, Multiline, Preset};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn raw(wide: Wide, text: &str) -> Vec<u8> {
        let bytes = |unit: u16| if wide == Wide::Little { unit.to_le_bytes() } else { unit.to_be_bytes() };
        text.encode_utf16().flat_map(bytes).collect()
    }

    /// What comes of a text that is read in pieces, with places, and how many lines were cut.
    fn read(
        wide: Wide,
        pieces: &[&[u8]],
        max_bytes: usize,
        long: LongLines,
        joined: bool,
    ) -> (Vec<(u64, String)>, u64) {
        let rule = Lines { max_bytes, long };
        let mut matcher = Matcher::new(Arc::new(Multiline::preset(Preset::Indent, Limits::default())));
        let (mut buf, mut base, mut searched, mut skipping) = (Vec::new(), 0u64, 0, false);
        let (mut out, mut cuts) = (Vec::new(), 0);
        let last: &[u8] = b"";
        for (i, part) in pieces.iter().chain([&last]).enumerate() {
            buf.extend_from_slice(part);
            let open = if i == pieces.len() { AtEnd::Finish } else { AtEnd::Keep };
            let matcher = joined.then_some(&mut matcher);
            let taken = rule.take_wide(wide, matcher, View { searched, ..View::of(&buf, base) }, skipping, open);
            cuts += taken.long;
            if let Some(Frames::Utf8(spans)) = taken.frames {
                for s in spans {
                    out.push((s.2, String::from_utf8(taken.text[s.0 as usize..s.1 as usize].to_vec()).unwrap()));
                }
            }
            buf.drain(..taken.end);
            base += taken.end as u64;
            (searched, skipping) = (buf.len(), taken.skipping);
        }
        (out, cuts)
    }

    #[test]
    fn lines_have_the_places_of_their_bytes_however_they_come() {
        let text = "one \u{fc}\r\n\n two\u{a0d}\u{10a}\r\n\u{1f600}end";
        for wide in [Wide::Little, Wide::Big] {
            let bytes = raw(wide, text);
            let want = [(0, "one \u{fc}"), (14, ""), (16, " two\u{a0d}\u{10a}"), (32, "\u{1f600}end")];
            let joined = [(0, "one \u{fc}"), (14, "\n two\u{a0d}\u{10a}"), (32, "\u{1f600}end")];
            let owned =
                |events: &[(u64, &str)]| events.iter().map(|(at, t)| (*at, (*t).to_owned())).collect::<Vec<_>>();
            for piece in 1..=bytes.len() {
                let pieces: Vec<&[u8]> = bytes.chunks(piece).collect();
                assert_eq!(read(wide, &pieces, 100, LongLines::Truncate, false).0, owned(&want), "pieces of {piece}");
                assert_eq!(read(wide, &pieces, 100, LongLines::Truncate, true).0, owned(&joined), "pieces of {piece}");
            }
        }
    }

    #[test]
    fn half_a_unit_at_the_end_is_said_and_nothing_of_it_is_lost() {
        let rule = Lines { max_bytes: 100, long: LongLines::Truncate };
        let taken = rule.take_wide(Wide::Little, None, View::of(b"a\0\n\0b\0c", 0), false, AtEnd::Keep);
        assert_eq!((taken.end, &taken.text[..]), (4, &b"a"[..]));
        let taken = rule.take_wide(Wide::Little, None, View::of(b"a\0\n\0b\0c", 0), false, AtEnd::Finish);
        assert_eq!((taken.end, &taken.text[..], taken.invalid), (7, "ab\u{fffd}".as_bytes(), 1));
    }

    proptest! {
        /// Lines about as long as the longest, with and without joining, any division, any rule.
        #[test]
        fn divisions_change_nothing(
            lines in prop::collection::vec("[ a\u{fc}\u{1f600}]{0,7}(\n|\r\n)", 0..8),
            cuts in prop::collection::vec(0usize..200, 0..6),
            max in 2usize..16,
            which in 0usize..3,
            joined in any::<bool>(),
        ) {
            let long = [LongLines::Truncate, LongLines::Skip, LongLines::Split][which];
            let bytes = raw(Wide::Big, &lines.concat());
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let whole = read(Wide::Big, &[&bytes], max, long, joined);
            prop_assert_eq!(read(Wide::Big, &pieces, max, long, joined), whole.clone());
            if long == LongLines::Split {
                let text: String = whole.0.iter().flat_map(|(_, text)| text.chars().filter(|c| !"\r\n".contains(*c))).collect();
                prop_assert_eq!(text, lines.concat().replace(['\r', '\n'], ""));
            }
        }
    }
}
