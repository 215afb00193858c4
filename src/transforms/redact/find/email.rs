//! Addresses: found by their `@` (or `%40`, as URLs have it) and extended both ways.

use super::Found;
use crate::transforms::redact::ascii::{ALNUM, HEX, LOCAL, LOWER, UPPER, class, is};
use memchr::memchr2;

/// How far the local part is followed to the left. RFC 5321 allows 64 bytes.
const MAX_LOCAL: usize = 320;

/// The leftmost address at or after `from`.
#[inline]
pub(super) fn find(text: &[u8], from: usize) -> Option<Found> {
    let mut at = from;
    // No local part reaches over the sign before it.
    let mut left = from;
    while let Some(found) = memchr2(b'@', b'%', &text[at..]) {
        let sign = at + found;
        let after = if text[sign] == b'@' {
            sign + 1
        } else if text[sign..].starts_with(b"%40") {
            sign + 3
        } else {
            at = sign + 1;
            continue;
        };
        let start = local_start(text, left.max(sign.saturating_sub(MAX_LOCAL)), sign);
        if start < sign
            && let Some(end) = domain_end(text, after)
        {
            return Some(Found::plain(start, end));
        }
        left = after;
        at = after;
    }
    None
}

/// Two-byte letters of European scripts (U+00C0 to U+052F): they occur in names and domains, and other than with
/// Chinese, what stands before an address without a space is part of it.
fn is_lead(b: u8) -> bool {
    (0xc3..=0xd4).contains(&b)
}

fn local_start(text: &[u8], left: usize, sign: usize) -> usize {
    let mut start = sign;
    while start > left {
        if class(text[start - 1]) & (ALNUM | LOCAL) != 0 {
            start -= 1;
        } else if start - left >= 2 && text[start - 1] & 0xc0 == 0x80 && is_lead(text[start - 2]) {
            start -= 2;
        } else {
            break;
        }
    }
    if text[sign] == b'%' {
        // An encoded byte of a URL, as the `%3D` in `email%3Dx%40example.com`, is no part of it, unless it is a plus.
        let encoded = |w: &[u8]| w[0] == b'%' && is(w[1], HEX) && is(w[2], HEX) && !w[1..].eq_ignore_ascii_case(b"2B");
        if let Some(last) = text[start..sign].windows(3).rposition(encoded) {
            start += last + 3;
        }
    }
    while start < sign && matches!(text[start], b'.' | b'-' | b'%') {
        start += 1;
    }
    start
}

/// The end of a domain at `start`: labels with dots, of which the last has two letters at least.
fn domain_end(text: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    let mut label = start;
    let mut end = None;
    loop {
        let b = text.get(at).copied().unwrap_or(0);
        if b == b'.' {
            if at == start {
                return None;
            }
            at += 1;
            label = at;
            // The letters of this label end the domain, should it be the last one.
            let mut letters = at;
            while letters < text.len() {
                if is(text[letters], UPPER | LOWER) {
                    letters += 1;
                } else if letters + 1 < text.len() && is_lead(text[letters]) {
                    letters += 2;
                } else {
                    break;
                }
            }
            if letters - label >= 2 {
                end = Some(letters);
            }
            at = letters;
        } else if is(b, ALNUM) || b == b'-' {
            at += 1;
        } else if is_lead(b) && at + 1 < text.len() {
            at += 2;
        } else {
            // Internationalised top-level domains have digits and dashes.
            if label > start && at - label > 4 && text[label..label + 4].eq_ignore_ascii_case(b"xn--") {
                let trimmed = at - text[label..at].iter().rev().take_while(|&&b| b == b'-').count();
                return Some(trimmed);
            }
            return end;
        }
    }
}
