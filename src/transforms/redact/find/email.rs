//! Addresses: found by their `@` (or `%40`, as URLs have it, or the wide `＠`) and extended both ways.
//!
//! Letters of any script count. What stands before an address without a blank is part of it, unless it is of a script that
//! is written without blanks and letters of ours come between (`邮箱bob@example.com`).
//!
//! No addresses are users of version control (`git@github.com:a/b.git`), images (`icon@2x.png`), packages with their version
//! (`react@18.2.next`) and units (`getty@tty1.service`).

use super::Found;
use crate::transforms::redact::ascii::{ALNUM, DIGIT, HEX, LOCAL, LOWER, UPPER, class, escape_before, is, run_back};
use crate::transforms::redact::marks::{Marks, WIDE};
use memchr::{memchr2, memchr3};

/// How far the local part is followed to the left. RFC 5321 allows 64 bytes.
const MAX_LOCAL: usize = 320;

/// The leftmost address at or after `from`.
#[inline(never)]
pub(super) fn find(text: &[u8], from: usize, marks: &Marks) -> Option<Found> {
    let wide = marks.has(WIDE);
    let next = |text: &[u8]| if wide { memchr3(b'@', b'%', 0xef, text) } else { memchr2(b'@', b'%', text) };
    let mut at = from;
    // No local part reaches over the sign before it.
    let mut left = from;
    while let Some(found) = next(&text[at..]) {
        let sign = at + found;
        let after = if text[sign] == b'@' {
            sign + 1
        } else if text[sign..].starts_with(b"%40") || text[sign..].starts_with("＠".as_bytes()) {
            sign + 3
        } else {
            at = sign + 1;
            continue;
        };
        let left_most = left.max(sign.saturating_sub(MAX_LOCAL));
        let mut start = local_start(text, left_most, sign);
        if start == sign && text[..sign].ends_with(b"\"") && sign > left_most {
            // `"ada lovelace"@example.org`.
            let quoted = memchr::memrchr(b'"', &text[left_most..sign - 1]).map(|p| left_most + p);
            start = quoted.filter(|&q| q + 65 > sign && !text[q..sign].contains(&b'\n')).unwrap_or(sign);
        }
        if start < sign
            && let Some(end) = literal_end(text, after)
        {
            return Some(Found::plain(start, end));
        }
        if start < sign
            && let Some(end) = domain_end(text, after)
            && !is_other(text, start, sign, &text[after..end])
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

/// The length of a letter beyond ASCII at `at`, 0 where there is none: punctuation, blanks and emoji are no letters.
fn wide(text: &[u8], at: usize) -> usize {
    match text[at..] {
        [0xc3..=0xdf, 0x80..=0xbf, ..] => 2,
        [0xe2, 0x80..=0xaf, ..] | [0xe3, 0x80, ..] | [0xef, 0xbc..=0xbd, ..] => 0,
        [0xe0..=0xef, 0x80..=0xbf, 0x80..=0xbf, ..] => 3,
        _ => 0,
    }
}

/// The length of a letter beyond ASCII that ends at `end`.
fn wide_before(text: &[u8], left: usize, end: usize) -> usize {
    (2..=3).find(|&n| end >= left + n && wide(text, end - n) == n).unwrap_or(0)
}

fn local_start(text: &[u8], left: usize, sign: usize) -> usize {
    // A backslash ends it, so that no escape but the first may be within.
    let mut start = run_back(text, left, sign, ALNUM | LOCAL);
    start += usize::from(start < sign && escape_before(text, start + 1));
    while start > left && !escape_before(text, start) {
        if class(text[start - 1]) & (ALNUM | LOCAL) != 0 {
            start -= 1;
        } else if start - left >= 2 && text[start - 1] & 0xc0 == 0x80 && is_lead(text[start - 2]) {
            start -= 2;
        } else {
            break;
        }
    }
    // No letter of ours begins it: letters of any script do.
    if start == sign || !is(text[start], UPPER | LOWER) {
        while start > left && !escape_before(text, start) {
            match wide_before(text, left, start) {
                0 if class(text[start - 1]) & (ALNUM | LOCAL) != 0 => start -= 1,
                0 => break,
                n => start -= n,
            }
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

/// The end of an address of a network in brackets: `[192.0.2.55]`, `[IPv6:2001:db8::1]`.
fn literal_end(text: &[u8], start: usize) -> Option<usize> {
    let inner = text[start..].strip_prefix(b"[")?;
    let len = inner.iter().take(48).take_while(|&&b| is(b, ALNUM) || matches!(b, b'.' | b':')).count();
    let numbers = inner[..len].iter().filter(|&&b| is(b, DIGIT)).count();
    (numbers >= 4 && inner.get(len) == Some(&b']')).then_some(start + len + 2)
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
            let letters = letters_end(text, at);
            if letters - label >= 2 {
                end = Some(letters);
            }
            at = letters;
        } else if is(b, ALNUM) || b == b'-' {
            at += 1;
        } else if b >= 0x80 && wide(text, at) > 0 && (is_lead(b) || end != Some(at)) {
            at += wide(text, at);
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

/// Behind the letters at `at`: all of the script that the first one is of, ours or any other.
fn letters_end(text: &[u8], at: usize) -> usize {
    let ours = text.get(at).is_some_and(|&b| is(b, UPPER | LOWER) || is_lead(b));
    let mut end = at;
    while end < text.len() {
        if ours && is(text[end], UPPER | LOWER) {
            end += 1;
        } else if text[end] >= 0x80 && wide(text, end) > 0 && (!ours || is_lead(text[end])) {
            end += wide(text, end);
        } else {
            break;
        }
    }
    end
}

/// Whether it only looks like an address.
fn is_other(text: &[u8], start: usize, sign: usize, domain: &[u8]) -> bool {
    const USERS: [&[u8]; 6] = [b"git", b"hg", b"svn", b"gitlab", b"gitea", b"bzr"];
    const TAGS: [&[u8]; 10] =
        [b"next", b"canary", b"beta", b"alpha", b"rc", b"latest", b"dev", b"nightly", b"snapshot", b"experimental"];
    let local = &text[start..sign];
    let top = domain.rsplit(|&b| b == b'.').next().unwrap_or(domain);
    let any = |list: &[&[u8]], word: &[u8]| list.iter().any(|w| word.eq_ignore_ascii_case(w));
    if any(&USERS, local) || is_file_type(top) {
        return true;
    }
    let digits = |label: Option<&[u8]>| label.is_some_and(|l| !l.is_empty() && l.iter().all(|&b| is(b, DIGIT)));
    let mut labels = domain.split(|&b| b == b'.');
    let (first, second) = (labels.next(), labels.next());
    digits(first) && (digits(second) || any(&TAGS, top))
}

/// Whether the last label of a domain is what files and units of systemd end with.
fn is_file_type(top: &[u8]) -> bool {
    let mut lower = [0; 9];
    let Some(lower) = lower.get_mut(..top.len()) else { return false };
    lower.copy_from_slice(top);
    lower.make_ascii_lowercase();
    matches!(
        &*lower,
        b"png"
            | b"jpg"
            | b"jpeg"
            | b"gif"
            | b"svg"
            | b"webp"
            | b"css"
            | b"scss"
            | b"jsx"
            | b"tsx"
            | b"json"
            | b"html"
            | b"xml"
            | b"yml"
            | b"yaml"
            | b"java"
            | b"class"
            | b"dll"
            | b"exe"
            | b"log"
            | b"txt"
            | b"conf"
            | b"service"
            | b"socket"
            | b"timer"
            | b"mount"
            | b"slice"
            | b"scope"
            | b"device"
            | b"automount"
            | b"swap"
    )
}
