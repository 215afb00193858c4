//! Escapes of JSON strings, and numbers as JSON text.

/// Bytes that need an escape inside a JSON string: 0 for none, `u` for `\u00XX`, else the letter behind the backslash.
const ESCAPE: [u8; 256] = {
    let mut table = [0u8; 256];
    let mut i = 0;
    while i < 0x20 {
        table[i] = b'u';
        i += 1;
    }
    table[0x08] = b'b';
    table[0x09] = b't';
    table[0x0a] = b'n';
    table[0x0c] = b'f';
    table[0x0d] = b'r';
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table
};

/// Whether plain text can stand inside a JSON string as it is.
pub fn is_clean(text: &[u8]) -> bool {
    let mut chunks = text.chunks_exact(8);
    for chunk in &mut chunks {
        let word = u64::from_le_bytes(chunk.try_into().unwrap_or([0; 8]));
        if needs_escape(word) {
            return false;
        }
    }
    chunks.remainder().iter().all(|&c| ESCAPE[usize::from(c)] == 0)
}

/// Whether one of eight bytes is a control character, a quote or a backslash. May not err towards `false`.
#[inline(always)]
fn needs_escape(word: u64) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let below = word.wrapping_sub(ONES * 0x20) & !word;
    let zero = |x: u64| x.wrapping_sub(ONES) & !x;
    (below | zero(word ^ (ONES * 0x22)) | zero(word ^ (ONES * 0x5c))) & HIGH != 0
}

/// Appends plain text as it stands inside a JSON string, without quotes.
pub fn escape(text: &[u8], out: &mut Vec<u8>) {
    let mut from = 0;
    let mut i = 0;
    while i < text.len() {
        if let Some(chunk) = text.get(i..i + 8) {
            let word = u64::from_le_bytes(chunk.try_into().unwrap_or([0; 8]));
            if !needs_escape(word) {
                i += 8;
                continue;
            }
        }
        let end = (i + 8).min(text.len());
        while i < end {
            let code = ESCAPE[usize::from(text[i])];
            if code != 0 {
                out.extend_from_slice(&text[from..i]);
                if code == b'u' {
                    const HEX: &[u8; 16] = b"0123456789abcdef";
                    let c = text[i];
                    out.extend_from_slice(&[
                        b'\\',
                        b'u',
                        b'0',
                        b'0',
                        HEX[usize::from(c >> 4)],
                        HEX[usize::from(c & 15)],
                    ]);
                } else {
                    out.extend_from_slice(&[b'\\', code]);
                }
                from = i + 1;
            }
            i += 1;
        }
    }
    out.extend_from_slice(&text[from..]);
}

/// Appends the plain text of what stands inside a JSON string; a lone surrogate becomes U+FFFD.
///
/// Escapes that are not valid (the scanner lets none through) are kept as they stand.
pub fn unescape(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        let (c, used) = match rest.get(1) {
            Some(b'"') => ('"', 2),
            Some(b'\\') => ('\\', 2),
            Some(b'/') => ('/', 2),
            Some(b'b') => ('\u{8}', 2),
            Some(b'f') => ('\u{c}', 2),
            Some(b'n') => ('\n', 2),
            Some(b'r') => ('\r', 2),
            Some(b't') => ('\t', 2),
            Some(b'u') => match (hex(rest, 2), hex(rest, 8)) {
                (Some(high @ 0xd800..0xdc00), Some(low @ 0xdc00..0xe000)) if rest.get(6..8) == Some(b"\\u") => {
                    let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                    (char::from_u32(code).unwrap_or('\u{fffd}'), 12)
                }
                (Some(code), _) => (char::from_u32(code).unwrap_or('\u{fffd}'), 6),
                (None, _) => ('\\', 1),
            },
            _ => ('\\', 1),
        };
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        rest = &rest[used..];
    }
    out.extend_from_slice(rest);
}

fn hex(text: &[u8], at: usize) -> Option<u32> {
    let digits = text.get(at..at + 4)?;
    digits.iter().try_fold(0, |n, &c| Some(n << 4 | char::from(c).to_digit(16)?))
}

/// Appends a float as JSON; what is not finite becomes `null`.
pub fn write_f64(x: f64, out: &mut Vec<u8>) {
    if x.is_finite() {
        out.extend_from_slice(ryu::Buffer::new().format_finite(x).as_bytes());
    } else {
        out.extend_from_slice(b"null");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn escape_matches_serde_json_and_unescape_undoes_it(text in "(\\PC|[\\x00-\\x1f\"\\\\]){0,40}") {
            let mut out = Vec::new();
            escape(text.as_bytes(), &mut out);
            let want = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(std::str::from_utf8(&out).unwrap(), &want[1..want.len() - 1]);
            prop_assert_eq!(is_clean(text.as_bytes()), out == text.as_bytes());
            let mut back = Vec::new();
            unescape(&out, &mut back);
            prop_assert_eq!(back, text.as_bytes());
        }
    }

    #[test]
    fn surrogates_pair_up_and_lone_ones_become_replacement_characters() {
        let mut out = Vec::new();
        unescape(br"\ud83d\ude00 \ud83d \ude00x\u00e9", &mut out);
        assert_eq!(std::str::from_utf8(&out).unwrap(), "😀 \u{fffd} \u{fffd}xé");
    }
}
