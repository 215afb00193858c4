//! UTF-16 in bytes: where its lines end, and its text in UTF-8.
//!
//! Code units stand at even places of a file. All places here are places of bytes, so that a reader can count them, prove
//! them and go on at them as in any other file; only the text of a frame is put into UTF-8.

/// Which byte of a code unit comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wide {
    /// The low one: UTF-16LE.
    Little,
    /// The high one: UTF-16BE.
    Big,
}

/// Bytes of a byte order mark.
pub const BOM_BYTES: usize = 2;

impl Wide {
    /// What a byte order mark at the start of a text says.
    pub fn of_bom(text: &[u8]) -> Option<Wide> {
        match text {
            [0xff, 0xfe, ..] => Some(Wide::Little),
            [0xfe, 0xff, ..] => Some(Wide::Big),
            _ => None,
        }
    }

    /// The code unit at `at`; `None` where it is not whole.
    fn unit(self, buf: &[u8], at: usize) -> Option<u16> {
        let bytes = [*buf.get(at)?, *buf.get(at + 1)?];
        Some(match self {
            Wide::Little => u16::from_le_bytes(bytes),
            Wide::Big => u16::from_be_bytes(bytes),
        })
    }

    /// Where the first line end at or behind `from` stands, `from` being the place of a code unit.
    pub fn newline(self, buf: &[u8], from: usize) -> Option<usize> {
        let low = usize::from(self == Wide::Big);
        let mut at = from + low;
        loop {
            at += memchr::memchr(b'\n', buf.get(at..)?)?;
            // Only in the low byte of a unit whose high byte is zero.
            if (at - low - from).is_multiple_of(2) && self.unit(buf, at - low) == Some(u16::from(b'\n')) {
                return Some(at - low);
            }
            at += 1;
        }
    }

    /// Behind the last line end of `buf[from..]`, `from` being the place of a code unit; `None` where there is none.
    pub fn behind_last_newline(self, buf: &[u8], from: usize) -> Option<usize> {
        let mut end = from + (buf.len().checked_sub(from)? & !1);
        while end > from && self.unit(buf, end - 2) != Some(u16::from(b'\n')) {
            end -= 2;
        }
        (end > from).then_some(end)
    }

    /// Where the line `buf[from..to]` ends without the carriage return that belongs to its end.
    pub fn bare_end(self, buf: &[u8], from: usize, to: usize) -> usize {
        let last = to - (to - from) % 2;
        if last >= from + 2 && self.unit(buf, last - 2) == Some(u16::from(b'\r')) { last - 2 } else { to }
    }

    /// Where a piece of at most `max_bytes`, four at least, that begins at `from` ends: never within a character.
    pub fn boundary(self, buf: &[u8], from: usize, max_bytes: usize) -> usize {
        let cut = (from + (max_bytes & !1).max(4)).min(buf.len());
        let splits_pair = |at: usize| {
            self.unit(buf, at - 2).is_some_and(|unit| (0xd800..0xdc00).contains(&unit))
                && self.unit(buf, at).is_some_and(|unit| (0xdc00..0xe000).contains(&unit))
        };
        if cut >= from + 4 && splits_pair(cut) { cut - 2 } else { cut }
    }

    /// Appends a text in UTF-8; true where something in it stood for no character, half a code unit at its end included.
    pub fn append_utf8(self, raw: &[u8], out: &mut Vec<u8>) -> bool {
        let (units, half) = raw.as_chunks::<2>();
        let units = units.iter().map(|pair| match self {
            Wide::Little => u16::from_le_bytes(*pair),
            Wide::Big => u16::from_be_bytes(*pair),
        });
        let mut replaced = !half.is_empty();
        let mut bytes = [0; 4];
        for unit in char::decode_utf16(units) {
            let character = unit.unwrap_or_else(|_| {
                replaced = true;
                char::REPLACEMENT_CHARACTER
            });
            out.extend_from_slice(character.encode_utf8(&mut bytes).as_bytes());
        }
        if !half.is_empty() {
            out.extend_from_slice(char::REPLACEMENT_CHARACTER.encode_utf8(&mut bytes).as_bytes());
        }
        replaced
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn raw(wide: Wide, text: &str) -> Vec<u8> {
        let bytes = |unit: u16| if wide == Wide::Little { unit.to_le_bytes() } else { unit.to_be_bytes() };
        text.encode_utf16().flat_map(bytes).collect()
    }

    #[test]
    fn characters_that_have_the_byte_of_a_line_end_are_none() {
        for wide in [Wide::Little, Wide::Big] {
            // U+0A0D, U+010A, U+0A00, then a real one.
            let text = raw(wide, "\u{a0d}\u{10a}\u{a00}x\r\ny");
            assert_eq!(wide.newline(&text, 0), Some(10));
            assert_eq!(wide.bare_end(&text, 0, 10), 8);
            assert_eq!(wide.behind_last_newline(&text, 0), Some(12));
            assert_eq!(wide.newline(&text, 12), None);
            // The last byte has not come yet.
            assert_eq!(wide.newline(&text[..11], 0), None);
        }
    }

    #[test]
    fn halves_are_replaced_and_said() {
        let mut out = Vec::new();
        assert!(Wide::Little.append_utf8(b"a\0\x00\xd8b\0\x63", &mut out));
        assert_eq!(std::str::from_utf8(&out).unwrap(), "a\u{fffd}b\u{fffd}");
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(text in "\\PC{0,40}", max in 2usize..12) {
            for wide in [Wide::Little, Wide::Big] {
                let bytes = raw(wide, &text);
                let (mut from, mut out) = (0, Vec::new());
                while from < bytes.len() {
                    let to = wide.boundary(&bytes, from, max);
                    prop_assert!(to > from && to - from <= max.max(4));
                    prop_assert!(!wide.append_utf8(&bytes[from..to], &mut out));
                    from = to;
                }
                prop_assert_eq!(std::str::from_utf8(&out).unwrap(), &text);
            }
        }
    }
}
