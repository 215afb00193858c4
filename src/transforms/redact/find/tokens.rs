//! Tokens whose issuer gave them a prefix, PEM keys, and strings that look random.

use super::Found;
use crate::transforms::redact::ascii::{
    ALNUM, DASH, DIGIT, HEX, LOWER, UPPER, escape_before, is, is_at, is_before, run,
};
use memchr::memmem;
use regex_automata::Span;
use regex_automata::util::prefilter::Prefilter;

/// What is known of the text where a prefix was found.
pub(super) enum Check {
    Hit(Found),
    /// No hit begins before this place.
    Next(usize),
}

impl Check {
    pub(super) fn hit(start: usize, end: usize) -> Self {
        Self::Hit(Found::plain(start, end))
    }
}

/// Finds the prefixes of a kind of token, then checks the place.
pub(in crate::transforms::redact) struct Anchored {
    prefixes: Prefilter,
    check: fn(&[u8], Span) -> Check,
}

impl Anchored {
    pub(super) fn new(prefixes: &[&str], check: fn(&[u8], Span) -> Check) -> Option<Self> {
        Some(Self { prefixes: Prefilter::new(regex_automata::MatchKind::LeftmostFirst, prefixes)?, check })
    }

    pub(super) fn find(&self, text: &[u8], from: usize) -> Option<Found> {
        let mut at = from;
        while at < text.len() {
            let span = self.prefixes.find(text, Span { start: at, end: text.len() })?;
            match (self.check)(text, span) {
                Check::Hit(found) => return Some(found),
                Check::Next(next) => at = next.max(span.start + 1),
            }
        }
        None
    }
}

/// A service token of Doppler, which may have the name of a configuration before what is secret.
pub(super) fn doppler(text: &[u8], at: Span) -> Check {
    let name = run(text, at.end, ALNUM | DASH);
    let start = if text.get(name) == Some(&b'.') { name + 1 } else { at.end };
    let end = run(text, start, ALNUM | DASH);
    if end - start >= 40 { Check::hit(at.start, end) } else { Check::Next(at.end) }
}

/// Three parts in base64url, of which the first decodes to `{"…`; the five parts of an encrypted one too.
pub(super) fn jwt(text: &[u8], at: Span) -> Check {
    if is_before(text, at.start, ALNUM) {
        return Check::Next(at.end);
    }
    let first = run(text, at.start, ALNUM | DASH);
    if text.get(first) != Some(&b'.') || first - at.start < 10 {
        return Check::Next(first);
    }
    let second = run(text, first + 1, ALNUM | DASH);
    if text.get(second) != Some(&b'.') {
        return Check::Next(first + 1);
    }
    let mut end = run(text, second + 1, ALNUM | DASH);
    for _ in 0..2 {
        if text.get(end) == Some(&b'.') && is_at(text, end + 1, ALNUM | DASH) {
            end = run(text, end + 1, ALNUM | DASH);
        }
    }
    Check::hit(at.start, end)
}

/// Access key ids by their prefix, and the secret access key after its name.
pub(super) const AWS_KEY: &[&str] = &[
    "AKIA",
    "ASIA",
    "ABIA",
    "ACCA",
    "AGPA",
    "AIDA",
    "AIPA",
    "ANPA",
    "ANVA",
    "APKA",
    "AROA",
    "A3T",
    "secret_access_key",
    "SECRET_ACCESS_KEY",
    "secretAccessKey",
    "SecretAccessKey",
    "AWS_SECRET_KEY",
    "aws_secret_key",
    "AWS_SECRET",
    "aws_secret",
];
pub(super) fn aws_key(text: &[u8], at: Span) -> Check {
    if at.end - at.start > 4 {
        return aws_secret(text, at);
    }
    let end = at.start + 20;
    let key = text.get(at.start..end).is_some_and(|k| k.iter().all(|&b| is(b, UPPER | DIGIT)));
    if key && !is_before(text, at.start, ALNUM) && !is_at(text, end, ALNUM) {
        return Check::hit(at.start, end);
    }
    Check::Next(at.start + 1)
}

/// Exactly forty characters of base64 after a name and a separator.
fn aws_secret(text: &[u8], at: Span) -> Check {
    let base64 = |b: u8| is(b, ALNUM) || b == b'/' || b == b'+';
    let mut start = at.end;
    // `_ACCESS_KEY`, quotes, spaces and the separator.
    let limit = text.len().min(at.end + 24);
    let mut separator = false;
    while start < limit {
        match text[start] {
            b'=' | b':' | b' ' | b'\t' => separator = true,
            b'"' | b'\'' | b'\\' | b'>' => {}
            b if !separator && (is(b, UPPER | LOWER) || b == b'_') => {}
            _ => break,
        }
        start += 1;
    }
    let end = start + 40;
    let whole = text.get(start..end).is_some_and(|k| k.iter().all(|&b| base64(b)));
    if separator && whole && !text.get(end).is_some_and(|&b| base64(b) || b == b'=') {
        return Check::hit(start, end);
    }
    Check::Next(at.end)
}

/// Personal, OAuth, user, server and refresh tokens, the fine-grained ones, and app tokens that hold a JWT.
pub(super) fn github_token(text: &[u8], at: Span) -> Check {
    if is_before(text, at.start, ALNUM) {
        return Check::Next(at.end);
    }
    let fine = at.end - at.start > 4;
    let classes = if fine { ALNUM | DASH } else { ALNUM };
    let end = run(text, at.end, classes);
    if end - at.end >= if fine { 60 } else { 36 } {
        return Check::hit(at.start, end);
    }
    if !fine && text.get(end) == Some(&b'_') && is_at(text, at.end, DIGIT) && text[end + 1..].starts_with(b"eyJ") {
        let span = Span { start: end + 1, end: end + 4 };
        // The JWT follows `_`, which is no letter.
        if let Check::Hit(found) = jwt(text, span) {
            return Check::hit(at.start, found.end);
        }
    }
    Check::Next(end.max(at.end))
}

/// Bot, user, app, refresh and legacy tokens; incoming webhooks.
pub(super) fn slack_token(text: &[u8], at: Span) -> Check {
    if text[at.start] == b'h' {
        let end = run(text, at.end, ALNUM | DASH);
        let mut end = end;
        let mut parts = 1;
        while text.get(end) == Some(&b'/') && is_at(text, end + 1, ALNUM) {
            end = run(text, end + 1, ALNUM | DASH);
            parts += 1;
        }
        if parts < 3 {
            return Check::Next(at.end);
        }
        let start = if text[..at.start].ends_with(b"https://") { at.start - 8 } else { at.start };
        return Check::hit(start, end);
    }
    if is_before(text, at.start, ALNUM) {
        return Check::Next(at.end);
    }
    let mut end = run(text, at.end, ALNUM | DASH);
    if text[at.end - 1] == b'.' && text.get(end) == Some(&b'-') {
        end = run(text, end + 1, ALNUM | DASH);
    }
    let digits = text[at.end..end].iter().any(|&b| is(b, DIGIT));
    if end - at.end >= 10 && digits { Check::hit(at.start, end) } else { Check::Next(end) }
}

/// Secret and restricted keys, and secrets of webhooks; publishable keys are none.
pub(super) fn stripe_key(text: &[u8], at: Span) -> Check {
    let end = run(text, at.end, ALNUM);
    if is_before(text, at.start, ALNUM) || end - at.end < 24 {
        return Check::Next(end.max(at.end));
    }
    Check::hit(at.start, end)
}

/// `SG.`, 22 and 43 characters.
pub(super) fn sendgrid_key(text: &[u8], at: Span) -> Check {
    if is_before(text, at.start, ALNUM | DASH) {
        return Check::Next(at.end);
    }
    let first = run(text, at.end, ALNUM | DASH);
    if first - at.end == 22 && text.get(first) == Some(&b'.') {
        let end = run(text, first + 1, ALNUM | DASH);
        if end - first - 1 == 43 {
            return Check::hit(at.start, end);
        }
    }
    Check::Next(first)
}

/// PEM blocks, also with their line ends escaped. One without an end goes as far as it looks like a key.
pub(super) const PRIVATE_KEY: &[&str] = &["---BEGIN ", "--- BEGIN "];
pub(super) fn private_key(text: &[u8], at: Span) -> Check {
    let title = run_of_title(text, at.end);
    let name = &text[at.end..title];
    if text[at.end - 7] == b' ' {
        return ssh2(text, at, title);
    }
    let at = Span { start: at.start.saturating_sub(2), end: at.end };
    if !text[at.start..].starts_with(b"-----BEGIN ") {
        return Check::Next(title);
    }
    let private = name.ends_with(b"PRIVATE KEY")
        || name.ends_with(b"PRIVATE KEY BLOCK")
        || name.ends_with(b"OpenVPN Static key V1");
    if !private || !text[title..].starts_with(b"-----") {
        return Check::Next(title);
    }
    let body = title + 5;
    if let Some(p) = memmem::find(&text[body..], b"-----").filter(|&p| text[body + p..].starts_with(b"-----END ")) {
        let title = run_of_title(text, body + p + 9);
        let dashes = text[title..].iter().take(5).take_while(|&&b| b == b'-').count();
        return Check::hit(at.start, title + dashes);
    }
    // Cut off: the key, its headers (`Proc-Type: 4,ENCRYPTED`) and line ends, escaped or not.
    let key = |b: u8| {
        is(b, ALNUM)
            || matches!(b, b'+' | b'/' | b'=' | b'\\' | b'\n' | b'\r' | b' ' | b'\t' | b':' | b',' | b'.' | b'-')
    };
    let mut end = body + text[body..].iter().take_while(|&&b| key(b)).count();
    // An escaped quote ended it: its backslashes are not ours.
    if matches!(text.get(end), Some(b'"' | b'\'')) {
        end -= text[body..end].iter().rev().take_while(|&&b| b == b'\\').count();
    }
    while matches!(text[end - 1], b' ' | b'\t' | b'\n' | b'\r') {
        end -= 1;
    }
    Check::hit(at.start, end)
}

/// The block of a private key of SSH2, whose lines have four dashes and a blank.
fn ssh2(text: &[u8], at: Span, title: usize) -> Check {
    let start = at.start.saturating_sub(1);
    let name = text[at.end..title].trim_ascii_end();
    if !text[start..].starts_with(b"---- BEGIN ") || !name.ends_with(b"PRIVATE KEY") {
        return Check::Next(title);
    }
    const END: &[u8] = b"PRIVATE KEY ----";
    let end = memmem::find(&text[title..], b"---- END ")
        .and_then(|p| memmem::find(&text[title + p..], END).map(|e| title + p + e + END.len()));
    Check::hit(start, end.unwrap_or(text.len()))
}

fn run_of_title(text: &[u8], mut at: usize) -> usize {
    let limit = text.len().min(at + 64);
    while at < limit && (is(text[at], ALNUM) || text[at] == b' ') {
        at += 1;
    }
    at
}

/// Long tokens of many different characters.
///
/// Letters of both cases with digits: 24 bytes and 3.8 bits a byte; hexadecimal: 40 bytes and 3 bits a byte. Shorter
/// hexadecimal numbers are ids of traces, spans and requests as a rule, and those stay.
pub(super) fn high_entropy(text: &[u8], from: usize) -> Option<Found> {
    const MIN: usize = 24;
    let part = |b: u8| is(b, ALNUM | DASH) || b == b'+' || b == b'/';
    let mut at = from;
    // A token has a byte in every window of this size; look at its last byte first.
    while at + MIN <= text.len() {
        if let Some(k) = text[at..at + MIN].iter().rposition(|&b| !part(b)) {
            at += k + 1;
            continue;
        }
        let mut end = at + MIN;
        while end < text.len() && part(text[end]) {
            end += 1;
        }
        // The letter of an escaped line end is no part of it.
        at += usize::from(escape_before(text, at + 1));
        let cut = at > from || from == 0 || !part(text[from - 1]);
        if cut && looks_random(&text[at..end]) {
            while end < text.len() && text[end] == b'=' {
                end += 1;
            }
            return Some(Found::plain(at, end));
        }
        at = end;
    }
    None
}

fn looks_random(token: &[u8]) -> bool {
    let mut counts = [0u32; 256];
    for &b in token {
        counts[usize::from(b)] += 1;
    }
    let any = |r: std::ops::RangeInclusive<u8>| {
        counts[usize::from(*r.start())..=usize::from(*r.end())].iter().any(|&n| n > 0)
    };
    let (digits, upper, lower) = (any(b'0'..=b'9'), any(b'A'..=b'Z'), any(b'a'..=b'z'));
    let n = token.len() as f64;
    let entropy: f64 = counts.iter().filter(|&&c| c > 0).map(|&c| f64::from(c) / n).map(|p| -p * p.log2()).sum();
    if token.iter().all(|&b| is(b, HEX)) {
        return token.len() >= 40 && digits && (upper || lower) && entropy >= 3.0;
    }
    digits && upper && lower && entropy >= 3.8
}
