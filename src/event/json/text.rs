//! Escapes of JSON strings, and numbers as JSON text.

use super::simd;

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
#[inline]
pub fn is_clean(text: &[u8]) -> bool {
    match text.len() {
        16.. => simd::has_none(text, simd::Class::Unclean),
        n => !needs_escape(word(text, 0, n.min(8))) && (n <= 8 || !needs_escape(word(text, n - 8, n))),
    }
}

/// The bytes of `text[from..to]`, eight at most, and letters behind them. Shape: `from` is 0 or `to - from` is 8.
#[inline(always)]
fn word(text: &[u8], from: usize, to: usize) -> u64 {
    if let Some(bytes) = text.get(from..from + 8).and_then(|b| b.first_chunk()) {
        return u64::from_le_bytes(*bytes);
    }
    let low = |n| u64::from_le_bytes([b'a'; 8]) << (n * 8);
    let (Some(head), Some(tail)) = (text.first_chunk::<4>(), text.last_chunk::<4>()) else {
        // Three at most.
        return text.iter().enumerate().fold(low(to), |word, (i, &c)| word | u64::from(c) << (i * 8));
    };
    u64::from(u32::from_le_bytes(*head)) | u64::from(u32::from_le_bytes(*tail)) << 32
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

/// Appends text as a string of JSON, in its quotes.
pub fn quote(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    escape(text, out);
    out.push(b'"');
}

/// Appends plain text as it stands inside a JSON string, without quotes.
#[inline]
pub fn escape(text: &[u8], out: &mut Vec<u8>) {
    if is_clean(text) {
        out.extend_from_slice(text);
    } else {
        escape_some(text, out);
    }
}

fn escape_some(text: &[u8], out: &mut Vec<u8>) {
    let mut from = 0;
    loop {
        let at = simd::find(text, from, simd::Class::Unclean);
        out.extend_from_slice(&text[from..at]);
        let Some(&c) = text.get(at) else { return };
        match ESCAPE[usize::from(c)] {
            b'u' => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', HEX[usize::from(c >> 4)], HEX[usize::from(c & 15)]]);
            }
            code => out.extend_from_slice(&[b'\\', code]),
        }
        from = at + 1;
    }
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
