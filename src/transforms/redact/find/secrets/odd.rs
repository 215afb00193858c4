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
    let name = &text[key.start..key.end];
    if name.ends_with(b"thin") || name.ends_with(b"oci") {
        return oracle(text, after);
    }
    if name.last().is_some_and(|&b| is(b, DIGIT)) && key.start > 0 && text[key.start - 1] == b':' {
        return pgpass(text, after, key);
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

fn real(text: &[u8], found: &Found) -> bool {
    !none::is_placeholder(&text[found.start..found.end])
}

/// A hash of a password as `crypt` writes it: `$6$salt$hash`.
fn hash(text: &[u8], at: usize) -> Option<Found> {
    const IDS: [&[u8]; 11] =
        [b"$1$", b"$2a$", b"$2b$", b"$2y$", b"$5$", b"$6$", b"$7$", b"$y$", b"$apr1$", b"$argon2", b"$pbkdf2"];
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
            b'(' => return true,
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

/// What is typed behind a prompt: `password for bob: x`, `Password (again): x`, `password is: x`; where it looks like a
/// secret.
pub(super) fn prompt(text: &[u8], after: usize, key: &Key) -> Option<Found> {
    const MAX_PROMPT: usize = 48;
    if text.get(after) != Some(&b' ') || key.quote != Quote::None {
        return None;
    }
    let from = key.start.saturating_sub(MAX_PROMPT);
    let before = &text[from..key.end];
    if !may_be_prompt(before, key.end - key.start) {
        return None;
    }
    let word = [&b"password"[..], b"passphrase", b"passcode"].iter().find_map(|w| {
        let at = memmem::rfind(before, &w[1..])?;
        let first = at.checked_sub(1).is_some_and(|f| before[f] | 0x20 == w[0]);
        first.then_some(at + w.len() - 1)
    })?;
    let between = before[word..].trim_ascii();
    // As MySQL says it.
    let between = between.strip_prefix(b"is generated ").unwrap_or(between);
    let simple =
        between.iter().all(|&b| is(b, ALNUM) || matches!(b, b' ' | b'(' | b')' | b'\'' | b'_' | b'-' | b'@' | b'.'));
    let shape = matches!(between, b"is" | b"was" | b"now") || between.starts_with(b"for ") || between.starts_with(b"(");
    let user = between.ends_with(b"user") || between.ends_with(b"host") || between.ends_with(b"port");
    if !simple || !shape || user || between.iter().filter(|&&b| b == b' ').count() > 3 {
        return None;
    }
    let at = ends::skip_blanks(text, after);
    let near = &text[..text.len().min(at + MAX)];
    let len = near[at..].iter().take_while(|&&b| b > b' ' && !matches!(b, b',' | b';' | b'"')).count();
    if at + len == near.len() && near.len() < text.len() {
        return None;
    }
    let value = &text[at..at + len];
    let path = value.iter().any(|b| matches!(b, b'/' | b'(' | b'='));
    (none::looks_secret(value) && !path).then(|| Found::plain(at, at + len))
}
