//! Values of events as part of a file path or a stream name: they cannot leave the place they were put in.

/// Longest value in a path or stream name, in bytes; what is longer is cut at a character.
pub const MAX_COMPONENT_BYTES: usize = 128;

/// Makes the value that stands in `out` from `start` on one plain name: separators (`/` and `\`), NUL and control characters
/// become `_`; `.`, `..` and the empty text become `_`; at most [`MAX_COMPONENT_BYTES`].
pub fn sanitize_tail(out: &mut Vec<u8>, start: usize) {
    let len = out.len() - start;
    let tail = &out[start..];
    let plain = len != 0
        && len <= MAX_COMPONENT_BYTES
        && tail.iter().all(|&b| b >= b' ' && b != 0x7f && b != 0xc2 && b != b'/' && b != b'\\');
    if !plain {
        replace(out, start);
    }
    match &out[start..] {
        [b'.'] | [b'.', b'.'] | [] => {
            out.truncate(start);
            out.push(b'_');
        }
        _ => {}
    }
}

/// Replaces in place: every replacement is one byte long.
fn replace(out: &mut Vec<u8>, start: usize) {
    let (mut from, mut to) = (start, start);
    while from < out.len() && to - start <= MAX_COMPONENT_BYTES {
        let b = out[from];
        // U+0080 to U+009F are control characters too.
        let wide = b == 0xc2 && out.get(from + 1).is_some_and(|c| (0x80..0xa0).contains(c));
        let bad = wide || b < b' ' || b == 0x7f || b == b'/' || b == b'\\';
        out[to] = if bad { b'_' } else { b };
        from += if wide { 2 } else { 1 };
        to += 1;
    }
    if to - start > MAX_COMPONENT_BYTES {
        to = start + MAX_COMPONENT_BYTES;
        // Not within a character: back over continuation bytes, where the cut stands before one.
        while to > start && out[to] & 0xc0 == 0x80 {
            to -= 1;
        }
    }
    out.truncate(to);
}

/// Percent-encodes all but the unreserved characters of RFC 3986 in what stands in `out` from `start` on. What is nothing but
/// dots would lead out of its segment, encoded too: each becomes `_`.
pub(super) fn percent_encode_tail(out: &mut Vec<u8>, start: usize) {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    if out[start..].iter().all(|b| *b == b'.') {
        out[start..].fill(b'_');
    }
    if out[start..].iter().all(|b| plain(*b)) {
        return;
    }
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let value = out.split_off(start);
    for b in value {
        if plain(b) {
            out.push(b);
        } else {
            out.extend_from_slice(&[b'%', HEX[usize::from(b >> 4)], HEX[usize::from(b & 15)]]);
        }
    }
}
