//! Forms of their own, whose key is no word of a secret: connection strings, files of passwords, hashes, prompts.
//!
//! `jdbc:oracle:thin:scott/x@` · `root:x@tcp(db:3306)` · `host:5432:db:user:x` (`.pgpass`) · `bob:$apr1$x` (`htpasswd`) ·
//! `-passin pass:x` · `Password (again): x` · `password for bob: x`.

use super::{Key, Quote};
use super::{ends, none};
use crate::transforms::redact::ascii::{ALNUM, DIGIT, is};
use crate::transforms::redact::find::Found;
use crate::transforms::redact::marks::{AT, Marks};
use memchr::{memchr, memmem};

/// How far a connection string is looked at.
const MAX: usize = 96;

/// The value behind a separator at `after`, whatever the key says.
#[inline]
pub(super) fn value(text: &[u8], after: usize, key: &Key, encoded: bool, marks: &Marks) -> Option<Found> {
    let next = *text.get(after)?;
    // Most separators have a blank behind them.
    if next <= b' ' || encoded || key.quote != Quote::None {
        return None;
    }
    if next == b'$' {
        return hash(text, after);
    }
    if next == b'{' {
        return of_scheme(text, after);
    }
    let name = &text[key.start..key.end];
    if name.ends_with(b"thin") || name.ends_with(b"oci") {
        return oracle(text, after);
    }
    if name.last().is_some_and(|&b| is(b, DIGIT)) && key.start > 0 && text[key.start - 1] == b':' {
        return super::programs::hashes_of_windows(text, after).or_else(|| pgpass(text, after, key));
    }
    if !marks.has(AT) {
        return None;
    }
    let near = &text[after..text.len().min(after + MAX)];
    let at = memchr(b'@', near)?;
    let host = &near[at + 1..];
    let dsn = host.starts_with(b"tcp(") || host.starts_with(b"unix(");
    (dsn && at > 0 && !near[..at].contains(&b' ')).then(|| Found::plain(after, after + at)).filter(|f| real(text, f))
}

/// The password behind its scheme, as in files of mail servers and directories: `bob:{PLAIN}x:1000`.
fn of_scheme(text: &[u8], at: usize) -> Option<Found> {
    let near = &text[at..text.len().min(at + 24)];
    let close = memchr(b'}', near).filter(|&c| c > 2 && text[at - 1] == b':')?;
    const SCHEMES: [&[u8]; 12] =
        [b"PLAIN", b"CLEAR", b"CRYPT", b"SHA", b"SSHA", b"MD5", b"BLF", b"ARGON", b"CRAM", b"SCRAM", b"PBKDF", b"NT"];
    if !SCHEMES.iter().any(|s| near[1..].starts_with(s)) {
        return None;
    }
    if !near[1..close].iter().all(|&b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-') {
        return None;
    }
    let start = at + close + 1;
    let len = text[start..].iter().take(2 * MAX).take_while(|&&b| b > b' ' && !matches!(b, b':' | b'"' | b',')).count();
    (len >= 4).then(|| Found::plain(start, start + len)).filter(|f| real(text, f))
}

/// Values whose key is a secret in one kind of text only: keys of Wi-Fi codes, JWKs, files of PuTTY and JAAS, SDP and SRTP,
/// and what stands in for a value that is not given.
#[inline(never)]
pub(super) fn named(text: &[u8], sep: usize, after: usize, key: &Key) -> Option<Found> {
    let name = &text[key.start..key.end];
    let before = &text[..key.start];
    let near = &before[before.len().saturating_sub(6 * MAX)..];
    let has = |word: &[u8]| memmem::find(near, word).is_some();
    let up_to = |start: usize, over: &dyn Fn(u8) -> bool| {
        let len = text[start..].iter().take_while(|&&b| !over(b)).count();
        (len > 0).then(|| Found::plain(start, start + len)).filter(|f| real(text, f))
    };
    match name {
        b"P" if before.ends_with(b";") && has(b"WIFI:") => up_to(after, &|b| b == b';' || b < b' '),
        b"inline" if has(b"crypto:") => up_to(after, &|b| b == b'|' || b <= b' '),
        b"Private-Lines" => {
            let line = ends::line_break(
                text,
                after + text[after..].iter().take(4).take_while(|&&b| is(b, DIGIT) || b == b' ').count(),
            )?;
            let end = memmem::find(&text[line..], b"Private-").map_or(text.len(), |p| line + p);
            Some(Found::plain(line, ends::space_before(text, end))).filter(|f| f.start < f.end)
        }
        b"d" | b"p" | b"q" | b"dp" | b"dq" | b"qi" if matches!(key.quote, Quote::Double(_)) => {
            let (open, level) = ends::quote_at(text, ends::skip_space(text, after))?;
            let (end, _) = ends::quote_end(text, open + 1, b'"', level)?;
            let token = text[open + 1..end].iter().all(|&b| is(b, ALNUM) || matches!(b, b'-' | b'_'));
            let jwk = end - open > 20
                && token
                && (has(b"kty") || memmem::find(&text[end..text.len().min(end + 600)], b"kty").is_some());
            jwk.then(|| Found::plain(open + 1, end))
        }
        b"default" => {
            let at = ends::skip_space(text, after);
            let (open, level) = ends::quote_at(text, at)?;
            let word = |w: &[u8]| w.len() > 5 && super::key::word_of(w) == Some(super::Word::Plain);
            let (end, _) = ends::quote_end(text, open + 1, text[open], level)?;
            let value = &text[open + 1..end];
            let named = near.split(|&b| !(is(b, ALNUM) || matches!(b, b'_' | b'-'))).any(word);
            (named && none::looks_secret(value)).then(|| Found::plain(open + 1, end)).filter(|f| real(text, f))
        }
        _ if text[sep] == b'=' && name.starts_with(b"user_") && has(b"LoginModule") => {
            let (open, _) = ends::quote_at(text, after)?;
            up_to(open + 1, &|b| b == b'"' || b < b' ')
        }
        _ => below(text, sep, after, key),
    }
}

/// A password alone in a paragraph below the line that speaks of it: `the following password to proceed:`.
fn below(text: &[u8], sep: usize, after: usize, key: &Key) -> Option<Found> {
    if text[sep] != b':' || !matches!(text.get(after), Some(b'\n' | b'\r')) || key.quote != Quote::None {
        return None;
    }
    let near = &text[..key.end];
    let near = &near[near.len().saturating_sub(MAX)..];
    let line = &near[memchr::memrchr(b'\n', near).map_or(0, |p| p + 1)..];
    if let Some(codes) = super::programs::codes_below(text, line, after) {
        return Some(codes);
    }
    memmem::find(line, b"password").or_else(|| memmem::find(line, b"Password"))?;
    let start = ends::skip_space(text, after);
    let len = text[start..].iter().take(MAX).take_while(|&&b| b > b' ').count();
    let alone = matches!(text.get(start + len), None | Some(b'\n' | b'\r'));
    let value = &text[start..start + len];
    (alone && len >= 12 && none::looks_secret(value) && !value.contains(&b'/'))
        .then(|| Found::plain(start, start + len))
}

fn real(text: &[u8], found: &Found) -> bool {
    !none::is_placeholder(&text[found.start..found.end])
}

/// A hash of a password as `crypt` writes it: `$6$salt$hash`.
fn hash(text: &[u8], at: usize) -> Option<Found> {
    const IDS: [&[u8]; 14] = [
        b"$1$",
        b"$2a$",
        b"$2b$",
        b"$2y$",
        b"$5$",
        b"$6$",
        b"$7$",
        b"$y$",
        b"$apr1$",
        b"$argon2",
        b"$pbkdf2",
        b"$$apr1$$",
        b"$$2y$$",
        b"$$2b$$",
    ];
    if !IDS.iter().any(|id| text[at..].starts_with(id)) {
        return None;
    }
    let part = |b: u8| is(b, ALNUM) || matches!(b, b'$' | b'.' | b'/' | b'+' | b'=' | b',' | b'-' | b'_');
    let end = at + text[at..].iter().take_while(|&&b| part(b)).count();
    (end > at + 8).then(|| Found::plain(at, end))
}

/// The password of `scott/tiger@//host`.
fn oracle(text: &[u8], after: usize) -> Option<Found> {
    let near = &text[after..text.len().min(after + MAX)];
    let slash = memchr(b'/', near)?;
    let sign = memchr(b'@', near)?;
    (slash + 1 < sign && slash > 0 && !near[..sign].contains(&b' '))
        .then(|| Found::plain(after + slash + 1, after + sign))
        .filter(|f| real(text, f))
}

/// The last of five fields of a line: host, port, database, user and password.
fn pgpass(text: &[u8], after: usize, key: &Key) -> Option<Found> {
    let host = super::key_start(text, key.start - 1);
    if host == key.start - 1
        || (host > 0 && text[host - 1] != b'\n')
        || !text[key.start..key.end].iter().all(|&b| is(b, DIGIT))
    {
        return None;
    }
    let near = &text[after..text.len().min(after + 2 * MAX)];
    let line = near.iter().position(|&b| b <= b' ').or((near.len() == text.len() - after).then_some(near.len()))?;
    let first = memchr(b':', &near[..line])?;
    let second = first + 1 + memchr(b':', &near[first + 1..line])?;
    let name = near.first().is_some_and(|&b| is(b, ALNUM) && !is(b, DIGIT) || b == b'*');
    (name && second + 1 < line).then(|| Found::plain(after + second + 1, after + line)).filter(|f| real(text, f))
}

/// Whether `pass` stands behind an option of openssl: `-passin pass:x`.
pub(super) fn pass_of_openssl(text: &[u8], start: usize) -> bool {
    [&b"-passin "[..], b"-passout ", b"-pass ", b"-kpass "].iter().any(|o| text[..start].ends_with(o))
}

/// Whether a text may end as prompts do, whose last word has so many bytes: `is`, or within five words `for` or a bracket.
#[inline]
fn may_be_prompt(text: &[u8], last: usize) -> bool {
    if matches!(&text[text.len() - last..], b"is" | b"was" | b"now") {
        return true;
    }
    let (mut blanks, mut end) = (0, text.len());
    for at in (0..text.len()).rev() {
        match text[at] {
            b'(' | b'#' | b'[' => return true,
            b' ' => {
                blanks += 1;
                if text[..end].ends_with(b"for") {
                    return true;
                }
                if blanks > 5 {
                    return false;
                }
                end = at;
            }
            _ => {}
        }
    }
    text[..end].ends_with(b"for")
}

/// Whether what follows `pass:` without a blank looks like a secret, as in `map[user:a pass:x1-y2]`.
pub(super) fn looks_passed(text: &[u8], after: usize) -> bool {
    let near = &text[after..text.len().min(after + MAX)];
    let len = near.iter().take_while(|&&b| b > b' ' && !matches!(b, b']' | b'}' | b')' | b',' | b'"')).count();
    none::looks_secret(&near[..len])
}

/// How long a prompt may be.
const MAX_PROMPT: usize = 48;

/// Whether the key and what stands before it may be a prompt.
#[inline]
pub(super) fn may_prompt(text: &[u8], key: &Key) -> bool {
    may_be_prompt(&text[key.start.saturating_sub(MAX_PROMPT)..key.end], key.end - key.start)
}

/// Where the last word of a secret ends that a prompt asks for.
fn end_of_word(prompt: &[u8]) -> Option<usize> {
    const WORDS: [&[u8]; 6] = [b"password", b"passphrase", b"passcode", b"secret key", b"api key", b"token"];
    let ends = |end: usize, w: &[u8]| end >= w.len() && prompt[end - w.len()..end].eq_ignore_ascii_case(w);
    (2..=prompt.len()).rev().find(|&end| {
        let last = [prompt[end - 2] | 0x20, prompt[end - 1] | 0x20];
        matches!(&last, b"rd" | b"se" | b"de" | b"ey" | b"en") && WORDS.iter().any(|w| ends(end, w))
    })
}

/// What is typed behind a prompt: `password for bob: x`, `Password (again): x`, `password is: x`; where it looks like a
/// secret.
#[inline(never)]
pub(super) fn prompt(text: &[u8], after: usize, key: &Key) -> Option<Found> {
    let before = &text[key.start.saturating_sub(MAX_PROMPT)..key.end];
    let word = end_of_word(before)?;
    let between = before[word..].trim_ascii();
    // As MySQL says it.
    let between = between.strip_prefix(b"is generated ").unwrap_or(between);
    let simple = between
        .iter()
        .all(|&b| is(b, ALNUM) || matches!(b, b' ' | b'(' | b')' | b'\'' | b'_' | b'-' | b'@' | b'.' | b'#' | b'['));
    let shape = matches!(between, b"is" | b"was" | b"now")
        || between.starts_with(b"for ")
        || matches!(between.first(), Some(b'(' | b'#' | b'['));
    let last = between.rsplit(|&b| b == b' ').next().unwrap_or(between);
    let user = matches!(last, b"user" | b"host" | b"port");
    if !simple || !shape || user || between.iter().filter(|&&b| b == b' ').count() > 3 {
        return None;
    }
    let at = ends::skip_blanks(text, after);
    let near = &text[..text.len().min(at + MAX)];
    let over = |i: usize| near.get(i + 1).is_none_or(|&b| b <= b' ');
    let len = (at..near.len())
        .take_while(|&i| near[i] > b' ' && near[i] != b'"' && !(matches!(near[i], b',' | b';') && over(i)))
        .count();
    if at + len == near.len() && near.len() < text.len() {
        return None;
    }
    let value = &text[at..at + len];
    let path = value.iter().any(|b| matches!(b, b'/' | b'(' | b'='));
    (none::looks_secret(value) && !path).then(|| Found::plain(at, at + len))
}
