//! Finding lines in a read buffer: one look for the last line end where all is well, line by line where one is too long.

use crate::component::Frames;
use crate::config::config_enum;

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
pub(super) struct Lines {
    /// Without the line end.
    pub(super) max_bytes: usize,
    pub(super) long: LongLines,
}

/// What [`Lines::take`] took from the front of a buffer.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Behind the last byte that is dealt with: the start of a line, or of the rest of one that is being skipped.
    pub(super) end: usize,
    /// `None` where nothing of it is to be sent.
    pub(super) frames: Option<Frames>,
    /// `end` lies within a line that was too long.
    pub(super) skipping: bool,
    /// Lines that were cut or skipped; with `split`, cuts.
    pub(super) long: u64,
    /// Events of several lines that were split because they were too large.
    pub(super) splits: u64,
}

impl std::fmt::Debug for Frames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Frames::Lines { start, end } => write!(f, "Lines({start}..{end})"),
            Frames::Spans(spans) => write!(f, "Spans({spans:?})"),
            Frames::Decoded(batch) => write!(f, "Decoded({})", batch.len()),
        }
    }
}

impl Lines {
    /// Takes all whole lines of `buf[start..]`, and of an unfinished one what makes it too long already.
    ///
    /// `searched`: no line end lies in `buf[start..searched]`. `skipping`: `start` lies within a line that was too long.
    /// `offset`: place in the file of `buf[0]`.
    pub(super) fn take(&self, buf: &[u8], start: usize, searched: usize, skipping: bool, offset: u64) -> Taken {
        let from = searched.max(start);
        let end = memchr::memrchr(b'\n', &buf[from..]).map_or(start, |i| from + i + 1);
        if !skipping && buf.len() - end <= self.max_bytes && !self.has_long_line(&buf[start..end]) {
            let frames = (end > start).then_some(Frames::Lines { start, end });
            return Taken { end, frames, ..Taken::default() };
        }
        self.one_by_one(buf, start, skipping, offset)
    }

    /// Lines that are too long become several events.
    pub(super) fn splits(&self) -> bool {
        self.long == LongLines::Split
    }

    /// Whether one of these whole lines is too long. Looks at about one line in each `max_bytes`.
    fn has_long_line(&self, lines: &[u8]) -> bool {
        let mut at = 0;
        while lines.len() - at > self.max_bytes + 1 {
            // The last line end that a line beginning at `at` may have.
            match memchr::memrchr(b'\n', &lines[at..=at + self.max_bytes]) {
                Some(i) => at += i + 1,
                None => return true,
            }
        }
        false
    }

    fn one_by_one(&self, buf: &[u8], start: usize, skipping: bool, offset: u64) -> Taken {
        let mut spans = Vec::new();
        let mut taken = Taken { end: start, skipping, ..Taken::default() };
        while let Some(i) = memchr::memchr(b'\n', &buf[taken.end..]) {
            let (from, to) = (taken.end, taken.end + i);
            if taken.skipping {
                taken.skipping = false;
            } else if i > self.max_bytes {
                let rest = self.cut(buf, from, to, offset, &mut spans, &mut taken.long);
                if self.long == LongLines::Split {
                    push(buf, rest, to, offset, &mut spans);
                }
            } else {
                push(buf, from, to, offset, &mut spans);
            }
            taken.end = to + 1;
        }
        if taken.skipping {
            taken.end = buf.len();
        } else if buf.len() - taken.end > self.max_bytes {
            let rest = self.cut(buf, taken.end, buf.len(), offset, &mut spans, &mut taken.long);
            taken.skipping = self.long != LongLines::Split;
            taken.end = if taken.skipping { buf.len() } else { rest };
        }
        taken.frames = (!spans.is_empty()).then_some(Frames::Spans(spans));
        taken
    }

    /// Deals with a line `buf[from..to]` that is too long; where its rest begins.
    pub(super) fn cut(
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
    fn boundary(&self, buf: &[u8], from: usize) -> usize {
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
pub(super) fn push(buf: &[u8], from: usize, to: usize, offset: u64, spans: &mut Vec<(u32, u32, u64)>) {
    let bare = if to > from && buf[to - 1] == b'\r' { to - 1 } else { to };
    spans.push((from as u32, bare as u32, offset + from as u64));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Feeds `text` in pieces as a reader does, and gives the lines with their places.
    fn read(text: &[u8], piece: usize, max_bytes: usize, long: LongLines) -> (Vec<(String, u64)>, u64) {
        let rule = Lines { max_bytes, long };
        let (mut buf, mut base, mut searched, mut skipping) = (Vec::new(), 0u64, 0, false);
        let (mut lines, mut cuts) = (Vec::new(), 0);
        for part in text.chunks(piece) {
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
        (lines, cuts)
    }

    /// What the rule says, line by line over the whole text.
    fn model(text: &str, max: usize, long: LongLines) -> Vec<(String, u64)> {
        let mut out = Vec::new();
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            let Some(body) = line.strip_suffix('\n') else { break };
            if body.len() <= max {
                out.push((body.strip_suffix('\r').unwrap_or(body).to_owned(), at));
            } else {
                match long {
                    LongLines::Skip => {}
                    LongLines::Truncate => out.push((body[..max].to_owned(), at)),
                    LongLines::Split => {
                        let mut from = 0;
                        while body.len() - from > max {
                            out.push((body[from..from + max].to_owned(), at + from as u64));
                            from += max;
                        }
                        out.push((body[from..].to_owned(), at + from as u64));
                    }
                }
            }
            at += line.len() as u64;
        }
        out
    }

    #[test]
    fn any_division_of_the_input_gives_the_same_lines() {
        let text = "a\n\nbb\r\nccc\ndddddddddddddddddddddd\neeee\nfffff\nggggggggggg\n\nhhhhhhhhhhhhhhhh\ni\n";
        for long in [LongLines::Truncate, LongLines::Skip, LongLines::Split] {
            for max in [3, 4, 5, 7, 21, 22, 100] {
                let expected = model(text, max, long);
                for piece in 1..=text.len() {
                    let (lines, cuts) = read(text.as_bytes(), piece, max, long);
                    assert_eq!(lines, expected, "{long:?}, max {max}, pieces of {piece}");
                    assert_eq!(cuts == 0, max >= 22, "{long:?}, max {max}, pieces of {piece}");
                }
            }
        }
    }

    #[test]
    fn a_cut_never_falls_into_a_character() {
        let (lines, _) = read("xxé€éé\n".as_bytes(), 100, 4, LongLines::Split);
        let lines: Vec<&str> = lines.iter().map(|(l, _)| l.as_str()).collect();
        assert_eq!(lines, ["xxé", "€", "éé"]);
    }
}
