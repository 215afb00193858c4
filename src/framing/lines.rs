//! Finding lines in a read buffer: one look for the last line end where all is well, line by line where one is too long.
//!
//! A line end is `\n`, with or without a `\r` before it, and no part of the line: one of exactly `max_bytes` is not too long.
//! So a `\r` at the end of what has come so far does not make a line longer yet.

use crate::event::Frames;
use crate::settings::config_enum;

config_enum! {
    /// What becomes of a line longer than `max_line_bytes`.
    pub enum LongLines {
        /// Its beginning is kept.
        Truncate = "truncate",
        /// It is dropped.
        Skip = "skip",
        /// It becomes several events.
        Split = "split",
    }
}

/// The rule for lines.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lines {
    /// Without the line end.
    pub(crate) max_bytes: usize,
    pub(crate) long: LongLines,
}

/// What [`Lines::take`] took from the front of a buffer.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// Behind the last byte that is dealt with: the start of a line, or of the rest of one that is being skipped.
    pub(crate) end: usize,
    /// `None` where nothing of it is to be sent.
    pub(crate) frames: Option<Frames>,
    /// `end` lies within a line that was too long.
    pub(crate) skipping: bool,
    /// Lines that were cut or skipped; with `split`, cuts.
    pub(crate) long: u64,
    /// Events of several lines that were split because they were too large.
    pub(crate) splits: u64,
    /// Joined lines, which stand nowhere in the buffer; the texts of all frames where they are [`Frames::Utf8`].
    pub(crate) text: Vec<u8>,
    /// Frames in which something stood for no character, where they were put into UTF-8.
    pub(crate) invalid: u64,
}

impl std::fmt::Debug for Frames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Frames::Lines { start, end } => write!(f, "Lines({start}..{end})"),
            Frames::Spans(spans) => write!(f, "Spans({spans:?})"),
            Frames::Utf8(spans) => write!(f, "Utf8({spans:?})"),
            Frames::Decoded(batch) => write!(f, "Decoded({})", batch.len()),
        }
    }
}

impl Lines {
    /// Takes all whole lines of `buf[start..]`, and of an unfinished one what makes it too long already.
    ///
    /// `searched`: no line end lies in `buf[start..searched]`. `skipping`: `start` lies within a line that was too long.
    /// `offset`: place in the file of `buf[0]`.
    pub(crate) fn take(&self, buf: &[u8], start: usize, searched: usize, skipping: bool, offset: u64) -> Taken {
        let from = searched.max(start);
        let end = memchr::memrchr(b'\n', &buf[from..]).map_or(start, |i| from + i + 1);
        if !skipping && !self.is_long(buf, end, buf.len()) && !self.has_long_line(&buf[start..end]) {
            let frames = (end > start).then_some(Frames::Lines { start, end });
            return Taken { end, frames, ..Taken::default() };
        }
        self.one_by_one(buf, start, skipping, offset)
    }

    /// Lines that are too long become several events.
    pub(crate) fn splits(&self) -> bool {
        self.long == LongLines::Split
    }

    /// Whether the line `buf[from..to]`, without its `\n` or not at its end yet, is too long.
    pub(crate) fn is_long(&self, buf: &[u8], from: usize, to: usize) -> bool {
        bare_end(buf, from, to) - from > self.max_bytes
    }

    /// Whether one of these whole lines is too long. Looks at about one line in each `max_bytes`.
    fn has_long_line(&self, lines: &[u8]) -> bool {
        let mut at = 0;
        while lines.len() - at > self.max_bytes + 1 {
            // The last line end that a line beginning at `at` may have.
            let most = at + self.max_bytes;
            match memchr::memrchr(b'\n', &lines[at..=most]) {
                Some(i) => at += i + 1,
                None if lines[most..].starts_with(b"\r\n") => at = most + 2,
                None => return true,
            }
        }
        false
    }

    fn one_by_one(&self, buf: &[u8], start: usize, skipping: bool, offset: u64) -> Taken {
        let mut spans = Vec::new();
        let mut taken = Taken { end: start, skipping, ..Taken::default() };
        while let Some(i) = memchr::memchr(b'\n', &buf[taken.end..]) {
            let (mut from, to) = (taken.end, taken.end + i);
            let bare = bare_end(buf, from, to);
            let is_long = self.is_long(buf, from, to);
            if is_long && !taken.skipping {
                from = self.cut(buf, from, bare, offset, &mut spans, &mut taken.long);
            }
            if !taken.skipping && (!is_long || self.splits()) {
                spans.push((from as u32, bare as u32, offset + from as u64));
            }
            taken.skipping = false;
            taken.end = to + 1;
        }
        if taken.skipping {
            taken.end = buf.len();
        } else if self.is_long(buf, taken.end, buf.len()) {
            let bare = bare_end(buf, taken.end, buf.len());
            let rest = self.cut(buf, taken.end, bare, offset, &mut spans, &mut taken.long);
            taken.skipping = !self.splits();
            taken.end = if taken.skipping { buf.len() } else { rest };
        }
        taken.frames = (!spans.is_empty()).then_some(Frames::Spans(spans));
        taken
    }

    /// Deals with a line `buf[from..to]`, without its end, that is too long; where its rest begins.
    pub(crate) fn cut(
        &self,
        buf: &[u8],
        mut from: usize,
        to: usize,
        offset: u64,
        spans: &mut Vec<(u32, u32, u64)>,
        long: &mut u64,
    ) -> usize {
        match self.long {
            LongLines::Skip => *long += 1,
            LongLines::Truncate => {
                let end = self.boundary(buf, from);
                spans.push((from as u32, end as u32, offset + from as u64));
                *long += 1;
            }
            LongLines::Split => {
                while to - from > self.max_bytes {
                    let end = self.boundary(buf, from);
                    spans.push((from as u32, end as u32, offset + from as u64));
                    from = end;
                    *long += 1;
                }
            }
        }
        from
    }

    /// Where a piece that begins at `from` ends: never within a character.
    pub(crate) fn boundary(&self, buf: &[u8], from: usize) -> usize {
        let end = from + self.max_bytes;
        let mut cut = end;
        while end - cut < 3 && cut > from + 1 && buf.get(cut).is_some_and(|b| b & 0xc0 == 0x80) {
            cut -= 1;
        }
        // Four bytes of continuation are no character at all.
        if buf.get(cut).is_some_and(|b| b & 0xc0 == 0x80) { end } else { cut }
    }
}

/// Adds a line without its line end.
pub(crate) fn push(buf: &[u8], from: usize, to: usize, offset: u64, spans: &mut Vec<(u32, u32, u64)>) {
    spans.push((from as u32, bare_end(buf, from, to) as u32, offset + from as u64));
}

/// Where a line `buf[from..to]` ends without the `\r` that belongs to its end.
pub(crate) fn bare_end(buf: &[u8], from: usize, to: usize) -> usize {
    if to > from && buf[to - 1] == b'\r' { to - 1 } else { to }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    /// Feeds a text in pieces as a reader does, and gives the lines with their places, and how many were cut. What is left
    /// at the end is a line.
    fn read(text: &[&[u8]], piece: usize, max_bytes: usize, long: LongLines) -> (Vec<(String, u64)>, u64) {
        let rule = Lines { max_bytes, long };
        let (mut buf, mut base, mut searched, mut skipping) = (Vec::new(), 0u64, 0, false);
        let (mut lines, mut cuts) = (Vec::new(), 0);
        for part in text.iter().flat_map(|part| part.chunks(piece)) {
            buf.extend_from_slice(part);
            let taken = rule.take(&buf, 0, searched, skipping, base);
            cuts += taken.long;
            match taken.frames {
                Some(Frames::Lines { start, end }) => {
                    let mut at = start;
                    for line in buf[start..end].split_inclusive(|&b| b == b'\n') {
                        let bare = line.strip_suffix(b"\n").unwrap();
                        let bare = bare.strip_suffix(b"\r").unwrap_or(bare);
                        lines.push((String::from_utf8(bare.to_vec()).unwrap(), base + at as u64));
                        at += line.len();
                    }
                }
                Some(Frames::Spans(spans)) => lines.extend(
                    spans.iter().map(|s| (String::from_utf8(buf[s.0 as usize..s.1 as usize].to_vec()).unwrap(), s.2)),
                ),
                _ => {}
            }
            buf.drain(..taken.end);
            base += taken.end as u64;
            (searched, skipping) = (buf.len(), taken.skipping);
        }
        if !buf.is_empty() && !skipping {
            let bare = bare_end(&buf, 0, buf.len());
            lines.push((String::from_utf8(buf[..bare].to_vec()).unwrap(), base));
        }
        (lines, cuts)
    }

    /// What the rule says, line by line over the whole text; how often a line is cut.
    fn model(text: &str, max: usize, long: LongLines) -> (Vec<(String, u64)>, u64) {
        let (mut out, mut cuts, mut at) = (Vec::new(), 0, 0);
        for line in text.split_inclusive('\n') {
            let body = line.strip_suffix('\n').unwrap_or(line);
            let body = body.strip_suffix('\r').unwrap_or(body);
            if body.len() <= max {
                out.push((body.to_owned(), at));
            } else {
                match long {
                    LongLines::Skip => cuts += 1,
                    LongLines::Truncate => {
                        out.push((body[..max].to_owned(), at));
                        cuts += 1;
                    }
                    LongLines::Split => {
                        let mut from = 0;
                        while body.len() - from > max {
                            out.push((body[from..from + max].to_owned(), at + from as u64));
                            from += max;
                            cuts += 1;
                        }
                        out.push((body[from..].to_owned(), at + from as u64));
                    }
                }
            }
            at += line.len() as u64;
        }
        (out, cuts)
    }

    const RULES: [LongLines; 3] = [LongLines::Truncate, LongLines::Skip, LongLines::Split];

    #[test]
    fn any_division_of_the_input_gives_the_same_lines() {
        let text = "a\n\nbb\r\nccc\ndddddddddddddddddddddd\neeee\nfffff\nggggggggggg\n\nhhhhhhhhhhhhhhhh\ni\n";
        for long in RULES {
            for max in [3, 4, 5, 7, 21, 22, 100] {
                let expected = model(text, max, long);
                for piece in 1..=text.len() {
                    let got = read(&[text.as_bytes()], piece, max, long);
                    assert_eq!(got, expected, "{long:?}, max {max}, pieces of {piece}");
                    assert_eq!(got.1 == 0, max >= 22, "{long:?}, max {max}, pieces of {piece}");
                }
            }
        }
    }

    #[test]
    fn a_line_of_exactly_the_most_bytes_is_not_long_whatever_its_end() {
        for long in RULES {
            for (text, cuts) in [
                ("abc\n", 0),
                ("abc\r\n", 0),
                ("abc", 0),
                ("abc\r", 0),
                ("abcd\n", 1),
                ("abcd\r\n", 1),
                ("abc\r\r\n", 1),
            ] {
                for piece in 1..=text.len() {
                    let (lines, counted) = read(&[text.as_bytes()], piece, 3, long);
                    assert_eq!(counted, cuts, "{text:?}, {long:?}, pieces of {piece}: {lines:?}");
                    assert_eq!((lines, counted), model(text, 3, long), "{text:?}, {long:?}, pieces of {piece}");
                }
            }
        }
    }

    proptest! {
        /// Lines about as long as the longest, any line end, any division.
        #[test]
        fn line_ends_and_divisions_do_not_change_what_is_long(
            max in 1usize..12,
            lines in prop::collection::vec((-2isize..=2, 1usize..4, "\n|\r\n|\r\r\n|\r"), 0..8),
            last in 0usize..14,
            cuts in prop::collection::vec(0usize..200, 0..6),
            which in 0usize..3,
        ) {
            let mut text = String::new();
            for (more, times, end) in lines {
                text.extend(std::iter::repeat_n('x', (max * times).saturating_add_signed(more)));
                text.push_str(&end);
            }
            text.extend(std::iter::repeat_n('y', last));
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &text.as_bytes()[pair[0]..pair[1]]).collect();
            let got = read(&pieces, usize::MAX, max, RULES[which]);
            prop_assert_eq!(got, model(&text, max, RULES[which]), "{:?}", text);
        }
    }

    #[test]
    fn a_cut_never_falls_into_a_character() {
        let (lines, _) = read(&["xxé€éé\n".as_bytes()], 100, 4, LongLines::Split);
        let lines: Vec<&str> = lines.iter().map(|(l, _)| l.as_str()).collect();
        assert_eq!(lines, ["xxé", "€", "éé"]);
    }
}
