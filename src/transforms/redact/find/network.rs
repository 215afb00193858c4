//! Addresses of machines, and credentials in URLs.

use super::Found;
use crate::transforms::redact::ascii::{ALNUM, DIGIT, HEX, is, is_at, is_before, run, run_back};
use memchr::{memchr, memchr2, memchr3, memmem};
use std::net::Ipv6Addr;

/// A dotted quad. Four numbers of a longer run of dotted numbers are none: an object identifier, a telephone number.
pub(super) fn ipv4(text: &[u8], from: usize) -> Option<Found> {
    let mut at = from;
    while let Some(found) = memchr(b'.', &text[at..]) {
        let dot = at + found;
        at = dot + 1;
        let start = run_back(text, from.max(dot.saturating_sub(4)), dot, DIGIT);
        if start == dot || is_before(text, start, ALNUM) || (start > 0 && matches!(text[start - 1], b'_' | b'+')) {
            continue;
        }
        if start >= 2 && text[start - 1] == b'.' && is(text[start - 2], DIGIT) {
            at = run_of_numbers(text, dot + 1);
            continue;
        }
        if let Some(end) = quad_at(text, start).filter(|_| !after_version(text, start)) {
            return Some(Found::plain(start, end));
        }
    }
    None
}

/// Whether the numbers at `start` are called a version: `Version=4.0.0.0`.
fn after_version(text: &[u8], start: usize) -> bool {
    let head = text[..start].trim_ascii_end();
    let head = head.strip_suffix(b"=").or_else(|| head.strip_suffix(b":")).unwrap_or(head);
    head.len() >= 7 && head[head.len() - 7..].eq_ignore_ascii_case(b"version")
}

fn quad_at(text: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    for part in 0..4 {
        let end = run(text, at, DIGIT);
        if end == at || end - at > 3 {
            return None;
        }
        let value = text[at..end].iter().fold(0u32, |v, &b| v * 10 + u32::from(b - b'0'));
        if value > 255 {
            return None;
        }
        at = end;
        if part < 3 {
            if text.get(at) != Some(&b'.') {
                return None;
            }
            at += 1;
        }
    }
    let more = text.get(at) == Some(&b'.') && is_at(text, at + 1, DIGIT);
    (!is_at(text, at, ALNUM) && text.get(at) != Some(&b'_') && !more).then_some(at)
}

/// The end of the dotted numbers at `at`.
fn run_of_numbers(text: &[u8], mut at: usize) -> usize {
    while is_at(text, at, DIGIT) || (text.get(at) == Some(&b'.') && is_at(text, at + 1, DIGIT)) {
        at += 1;
    }
    at
}

/// Whether the word that goes on at `at` with hexadecimal digits is a label before an address, such as `IPv6:`.
fn labelled(text: &[u8], at: usize) -> bool {
    const LABELS: [&[u8]; 5] = [b"ipv", b"ip", b"inet", b"v", b"addr"];
    let word = &text[run_back(text, at.saturating_sub(8), at, ALNUM)..at];
    LABELS.iter().any(|l| word.eq_ignore_ascii_case(l))
}

/// The longest text of an IPv6 address with an IPv4 tail.
const MAX_IPV6: usize = 45;

/// An IPv6 address, with its zone. One digit at least: `dead::beef` may be a path in a program, `::` anything, unless
/// it follows `=` or `[`.
pub(super) fn ipv6(text: &[u8], from: usize) -> Option<Found> {
    let part = |b: u8| is(b, HEX) || b == b':' || b == b'.';
    let mut at = from;
    while let Some(found) = memchr(b':', &text[at..]) {
        let colon = at + found;
        let mut start = run_back(text, at, colon, HEX);
        let mut end = colon;
        while end < text.len() && part(text[end]) {
            end += 1;
        }
        at = end;
        // `IPv6:2001:db8::1`, `addr:fe80::1`: the first colon is not the address's.
        let word = is_before(text, start, ALNUM) || (start > 0 && text[start - 1] == b'_');
        if word && start < colon && !labelled(text, start) {
            // `text2001:db8::1`: the word goes on into the address.
            continue;
        }
        if word || (start == colon && text.get(colon + 1) != Some(&b':')) {
            start = colon + 1;
        }
        while end > start && (text[end - 1] == b'.' || (text[end - 1] == b':' && end >= 2 && text[end - 2] != b':')) {
            end -= 1;
        }
        let address = &text[start.min(end)..end];
        let any = address == b"::" && start > 0 && matches!(text[start - 1], b'=' | b'[');
        if address.len() > MAX_IPV6 || !(any || address.iter().any(|&b| is(b, DIGIT))) {
            continue;
        }
        if is_at(text, end, ALNUM) || text.get(end) == Some(&b'_') {
            continue;
        }
        let parsed = str::from_utf8(&text[start..end]).is_ok_and(|s| s.parse::<Ipv6Addr>().is_ok());
        if !parsed {
            continue;
        }
        if text.get(end) == Some(&b'%') && is_at(text, end + 1, ALNUM) {
            end = run(text, end + 1, ALNUM);
        }
        return Some(Found::plain(start, end));
    }
    None
}

/// The end of six groups of one or two digits that begin with one of one digit, as macOS shows them: `0:1a:2b:3c:4d:5e`.
fn short_mac(text: &[u8], start: usize) -> Option<usize> {
    let (mut at, mut pairs, mut letters) = (start, 0, false);
    for group in 0..6 {
        let end = run(&text[..text.len().min(at + 3)], at, HEX);
        if end == at || end - at > 2 || (group < 5 && text.get(end) != Some(&b':')) {
            return None;
        }
        pairs += usize::from(end - at == 2);
        letters |= text[at..end].iter().any(|&b| !is(b, DIGIT));
        at = end + usize::from(group < 5);
    }
    let more = is_at(text, at, ALNUM) || text.get(at) == Some(&b':');
    (pairs >= 2 && letters && !more).then_some(at)
}

/// Six to eight pairs with `:` or `-`, or three groups of four with `.`; not all zeros.
pub(super) fn mac_address(text: &[u8], from: usize) -> Option<Found> {
    let mut at = from;
    while let Some(found) = memchr3(b':', b'-', b'.', &text[at..]) {
        let sign = at + found;
        at = sign + 1;
        let size = if text[sign] == b'.' { 4 } else { 2 };
        let Some(start) = sign.checked_sub(size).filter(|&s| s >= from) else { continue };
        if text[sign] == b':'
            && !is(text[start], ALNUM)
            && let Some(end) = short_mac(text, sign - 1)
        {
            return Some(Found::plain(sign - 1, end));
        }
        if is_before(text, start, ALNUM) {
            continue;
        }
        // Part of something longer.
        if start >= 2 && text[start - 1] == text[sign] && is(text[start - 2], HEX) {
            continue;
        }
        let mut groups = 0;
        let mut end = start;
        while groups < 9 && text.get(end..end + size).is_some_and(|g| g.iter().all(|&b| is(b, HEX))) {
            end += size;
            groups += 1;
            if text.get(end) == Some(&text[sign]) && is_at(text, end + 1, HEX) {
                end += 1;
            } else {
                break;
            }
        }
        let count = if size == 4 { groups == 3 } else { matches!(groups, 6..=8) };
        if count && !is_at(text, end, ALNUM) && text[start..end].iter().any(|&b| is(b, ALNUM) && b != b'0') {
            return Some(Found::plain(start, end));
        }
    }
    None
}

/// User and password of a URL (`https://user:password@host`), or a long name alone, which is a token.
///
/// Placeholders stay: `${PASSWORD}`, `{{pass}}`, `YOUR_PASSWORD`, `xxxx`, `password`, anything of three bytes or less.
pub(super) fn url_credentials(text: &[u8], from: usize, slashes: &memmem::Finder<'_>) -> Option<Found> {
    let mut at = from;
    while let Some(found) = slashes.find(&text[at..]) {
        let colon = at + found;
        let (end, credentials) = credentials(text, colon);
        at = end;
        if let Some((start, _, sign)) = credentials {
            return Some(Found::plain(start, sign));
        }
    }
    None
}

/// The password alone of a URL whose `://` begins at `colon`.
pub(super) fn url_password(text: &[u8], colon: usize) -> Option<Found> {
    let (_, password, sign) = credentials(text, colon).1?;
    Some(Found::plain(password, sign))
}

/// Behind the host and the port of a URL: where its user begins, where its password does, and its `@`; `None` where there
/// is no password, or one that stands for it.
fn credentials(text: &[u8], colon: usize) -> (usize, Option<(usize, usize, usize)>) {
    let start = colon + 3;
    if !is_before(text, colon, ALNUM) {
        return (start, None);
    }
    let mut end = start;
    let mut sign = None;
    while end < text.len() {
        match text[end] {
            b'@' => sign = Some(end),
            b'/' | b'?' | b'#' | b'"' | b'\'' | b'`' | b'<' | b'>' | b'\\' | 0..=b' ' => break,
            _ => {}
        }
        end += 1;
    }
    if sign.is_none() {
        sign = past_delimiters(text, start, end);
    }
    let Some(sign) = sign.filter(|&s| s > start) else { return (end, None) };
    let end = end.max(sign);
    let scheme = &text[run_back(text, colon.saturating_sub(16), colon, ALNUM)..colon];
    let web = [&b"http"[..], b"https", b"ftp"].iter().any(|s| scheme.eq_ignore_ascii_case(s));
    let password = match memchr2(b':', b':', &text[start..sign]) {
        Some(p) => Some(start + p + 1).filter(|&p| !is_placeholder(&text[p..sign], web)),
        None => (sign - start >= 16).then_some(start),
    };
    (end, password.map(|p| (start, p, sign)))
}

/// The `@` of a URL whose password has `/`, `?` or `#`, at the first of which its host would be over: only where what
/// stands there is no port.
fn past_delimiters(text: &[u8], start: usize, end: usize) -> Option<usize> {
    let colon = start + memchr::memchr(b':', &text[start..end])?;
    let password = colon + 1;
    let port = text[password..end].iter().all(|&b| is(b, DIGIT));
    if port || !matches!(text.get(end), Some(b'/' | b'?' | b'#')) {
        return None;
    }
    let near = &text[end..text.len().min(end + 64)];
    let len = near.iter().take_while(|&&b| b > b' ' && !matches!(b, b'"' | b'\'' | b'<' | b'>' | b'`' | b'\\')).count();
    let sign = memchr::memrchr(b'@', &near[..len])?;
    is_at(text, end + sign + 1, ALNUM).then_some(end + sign)
}

fn is_placeholder(password: &[u8], web: bool) -> bool {
    const WORDS: &[&[u8]] = &[b"password", b"mypassword", b"passwd", b"your_password", b"yourpassword"];
    // In the documentation of databases.
    const MORE: &[&[u8]] = &[b"pass", b"secret"];
    let any = |words: &[&[u8]]| words.iter().any(|w| password.eq_ignore_ascii_case(w));
    password.len() <= 3
        || any(WORDS)
        || (!web && any(MORE))
        || password.iter().all(|&b| b == password[0])
        || (password.ends_with(b"}") && (password.starts_with(b"{") || password.starts_with(b"${")))
        || (password.starts_with(b"<") && password.ends_with(b">"))
        || password.get(..5).is_some_and(|p| p.eq_ignore_ascii_case(b"your_"))
        || password.get(..8).is_some_and(|p| p.eq_ignore_ascii_case(b"replace_"))
}
