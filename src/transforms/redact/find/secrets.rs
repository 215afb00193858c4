//! The value after a word such as `password` or `api key` and `:` or `=`.
//!
//! The separator is the anchor: from there back to the key (over spaces, quotes, brackets), forth to the value. The
//! value only is a hit: key, separator and quotes stay.
//!
//! What is understood, by example (the value is `x`):
//! `password=x` · `Password : x` · `db_password := x` · `apiKey => 'x'` · `{"token":"x"}` · `{\"token\":\"x\"}` (JSON in a
//! string, up to four levels) · `{"pin_secret":{"a":1}}` and `"token":5` (replaced by a string, so that JSON stays JSON) ·
//! `Authorization: Bearer x` (the scheme stays) · `Authorization: Digest x…` (to the end of the line) ·
//! `[Authorization:[Bearer x]]` · `?access_token=x&` · `user[password]=x` · `%3Ftoken%3Dx%26` (URL in a URL).
//!
//! An unquoted value ends at white space or a quote, and at `, ; & | ) ] } > <` or an escaped line end where what
//! follows shows that the value is over (space, end, punctuation, `name=`); else such a byte is taken as part of it.

use super::Found;
use crate::transforms::redact::ascii::{ALNUM, DIGIT, LOWER, UPPER, is, is_at, is_before, run_back};
use memchr::{memchr, memchr2, memchr3};

/// Quotes deeper than this many levels of escaping are treated as plain bytes.
const MAX_BACKSLASHES: usize = 15;
/// How far the bracket that closes `token=[…` may be.
const MAX_BRACKET: usize = 512;
/// How far a `name=` after a delimiter is looked for.
const MAX_NAME: usize = 48;

/// The leftmost value at or after `from`, of a separator at or after `from`.
#[inline]
pub(super) fn find(text: &[u8], from: usize) -> Option<Found> {
    let mut at = from;
    while let Some(found) = memchr3(b':', b'=', b'%', &text[at..]) {
        let sep = at + found;
        at = sep + 1;
        let after = if text[sep] == b'%' {
            match text.get(sep + 1..sep + 3) {
                Some(b"3D" | b"3d" | b"3A" | b"3a") => sep + 3,
                _ => continue,
            }
        } else {
            sep + 1
        };
        if let Some(key) = key_before(text, sep)
            && let Some(hit) = value_after(text, after, &key, text[sep] == b'%')
        {
            return Some(hit);
        }
    }
    None
}

/// Whether a field of this name holds a secret as its value.
pub(in crate::transforms::redact) fn is_secret_key(key: &[u8]) -> bool {
    key_word(key, key.len()).is_some()
}

/// A secret's key, as found before a separator.
struct Key {
    /// Of the quote around the key: how many backslashes stand before it. `None` without quotes.
    quote: Option<usize>,
    word: Word,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Plain,
    /// `pass`: too common a word to count before a colon, unless quoted.
    Pass,
    /// The value begins with a scheme.
    Authorization,
}

#[inline]
fn key_before(text: &[u8], sep: usize) -> Option<Key> {
    let mut end = sep;
    while end > 0 && matches!(text[end - 1], b' ' | b'\t') {
        end -= 1;
    }
    if end == 0 {
        return None;
    }
    let mut quote = None;
    if !is(text[end - 1], LOWER | UPPER | DIGIT) || matches!(text[end - 1], b'2' | b'D' | b'd') {
        end = before_closers(text, end, &mut quote);
    }
    let word = key_word(text, end)?;
    if word == Word::Pass && quote.is_none() && text[sep] == b':' {
        return None;
    }
    Some(Key { quote, word })
}

/// Steps back over what may close a key: a quote with its backslashes, a bracket, and both as URLs have them.
fn before_closers(text: &[u8], mut end: usize, quote: &mut Option<usize>) -> usize {
    for _ in 0..3 {
        let Some(&last) = text[..end].last() else { break };
        match last {
            b'"' | b'\'' | b'`' => {
                let bare = run_back_while(text, end - 1, |b| b == b'\\');
                if last == b'"' {
                    *quote = Some(end - 1 - bare);
                }
                end = bare;
            }
            b']' => end -= 1,
            b'2' if text[..end].ends_with(b"%22") => end -= 3,
            b'D' | b'd' if end >= 3 && text[end - 3..end].eq_ignore_ascii_case(b"%5d") => end -= 3,
            _ => break,
        }
    }
    end
}

fn run_back_while(text: &[u8], mut end: usize, keep: impl Fn(u8) -> bool) -> usize {
    while end > 0 && keep(text[end - 1]) {
        end -= 1;
    }
    end
}

/// The word that the key ending at `end` ends with. Parts of a word may have one of `_`, `-`, `.` or a space between.
#[inline]
fn key_word(text: &[u8], end: usize) -> Option<Word> {
    let last = *text.get(end.checked_sub(1)?)?;
    if last.is_ascii_digit() {
        // `password2`
        let end = run_back(text, end.saturating_sub(3), end, DIGIT);
        return if end > 0 && !text[end - 1].is_ascii_digit() { key_word(text, end) } else { None };
    }
    let ends = |parts: &[&[u8]]| word_start(text, end, parts).is_some();
    // At the start of a word: `DB_PASS`, `dbPass`, but not `bypass`.
    let own = |word: &[u8]| word_start(text, end, &[word]).filter(|&s| bounded(text, s));
    let plain = |yes: bool| yes.then_some(Word::Plain);
    match last | 0x20 {
        b'd' => plain(ends(&[b"pass", b"word"]) || ends(&[b"passwd"]) || ends(&[b"pwd"])),
        b'n' => {
            if ends(&[b"authorization"]) {
                return Some(Word::Authorization);
            }
            plain(ends(&[b"token"]) || ends(&[b"password", b"confirmation"]))
        }
        b't' => plain(ends(&[b"secret"]) || ends(&[b"passwort"]) || ends(&[b"kennwort"])),
        b'y' => plain(KEYS.iter().any(|k| ends(&[k, b"key"]))),
        b's' => {
            if let Some(start) = own(b"pass") {
                let compound = start > 0 && (is_before(text, start, ALNUM) || matches!(text[start - 1], b'_' | b'-'));
                return Some(if compound { Word::Plain } else { Word::Pass });
            }
            let plurals: [&[&[u8]]; 5] =
                [&[b"secrets"], &[b"passwords"], &[b"credentials"], &[b"api", b"keys"], &[b"access", b"keys"]];
            plain(plurals.iter().any(|p| ends(p)))
        }
        b'e' => plain(
            ends(&[b"passphrase"])
                || ends(&[b"pass", b"phrase"])
                || ends(&[b"passcode"])
                || ends(&[b"amz", b"signature"])
                || ends(&[b"goog", b"signature"]),
        ),
        b'l' => plain(ends(&[b"credential"])),
        b'h' => plain(ends(&[b"password", b"hash"])),
        b'm' => plain(ends(&[b"password", b"confirm"])),
        b'p' => plain(own(b"otp").is_some() || own(b"totp").is_some()),
        b'v' => plain(own(b"cvv").is_some()),
        b'c' => plain(own(b"cvc").is_some()),
        _ => None,
    }
}

/// What makes a `key` a secret: the key itself is none (`cache key: x`).
const KEYS: &[&[u8]] = &[
    b"api",
    b"access",
    b"secret",
    b"private",
    b"auth",
    b"encryption",
    b"signing",
    b"master",
    b"account",
    b"shared",
    b"session",
    b"app",
    b"consumer",
    b"subscription",
    b"hmac",
    b"crypto",
    b"ssh",
];

/// Where the word of these parts begins, if the text before `end` ends with it.
fn word_start(text: &[u8], end: usize, parts: &[&[u8]]) -> Option<usize> {
    let mut at = end;
    for (i, part) in parts.iter().enumerate().rev() {
        let start = at.checked_sub(part.len())?;
        if !text[start..at].eq_ignore_ascii_case(part) {
            return None;
        }
        at = start;
        if i > 0 && at > 0 && matches!(text[at - 1], b'_' | b'-' | b'.' | b' ') {
            at -= 1;
        }
    }
    Some(at)
}

/// Whether a word begins at `start`: nothing alphanumeric before, or a change of case.
fn bounded(text: &[u8], start: usize) -> bool {
    !is_before(text, start, ALNUM) || (is(text[start], UPPER) && is_before(text, start, LOWER | DIGIT))
}

/// The value that begins somewhere after the separator.
fn value_after(text: &[u8], after: usize, key: &Key, encoded: bool) -> Option<Found> {
    let mut at = after;
    // `=>`, `:=`, `==`, `::`
    while at < text.len() && at < after + 2 && matches!(text[at], b'=' | b'>' | b':') {
        at += 1;
    }
    while at < text.len() && matches!(text[at], b' ' | b'\t') {
        at += 1;
    }
    let b = *text.get(at)?;
    if let Some(level) = key.quote {
        if let Some(found) = json_value(text, at, level) {
            return found;
        }
    } else if matches!(b, b'[' | b'(' | b'{' | b'<')
        && let Some(found) = bracketed(text, at, key)
    {
        return found;
    }
    if let Some((open, backslashes)) = quote_at(text, at) {
        let start = open + 1;
        let end = quote_end(text, start, text[open], backslashes);
        let value = after_scheme(text, start, end, key.word);
        return (value < end).then(|| Found::plain(value, end));
    }
    if text[at..].starts_with(b"%22") {
        let start = at + 3;
        let end = text[start..]
            .windows(3)
            .position(|w| w == b"%22")
            .map_or_else(|| token_end(text, start, true), |p| start + p);
        return (start < end).then(|| Found::plain(start, end));
    }
    unquoted(text, at, key, encoded)
}

/// An unquoted value, which may be a scheme and its credentials.
fn unquoted(text: &[u8], at: usize, key: &Key, encoded: bool) -> Option<Found> {
    let end = token_end(text, at, encoded);
    if end == at {
        return None;
    }
    match scheme(&text[at..end], key.word) {
        Scheme::None if key.word == Word::Authorization => {
            // A scheme we do not know: the credentials follow where they do not look like prose.
            let next = skip_blanks(text, end);
            let next_end = token_end(text, next, encoded);
            let odd = next > end
                && text[at..end].iter().all(|&b| is(b, ALNUM) || b == b'-')
                && next_end > next
                && (next_end - next >= 16 || text[next..next_end].iter().any(u8::is_ascii_digit));
            Some(Found::plain(at, if odd { next_end } else { end }))
        }
        Scheme::None => Some(Found::plain(at, end)),
        Scheme::Token => {
            let next = skip_blanks(text, end);
            let next_end = token_end(text, next, encoded);
            // Alone, the word is the value.
            if next > end && next_end > next { Some(Found::plain(next, next_end)) } else { Some(Found::plain(at, end)) }
        }
        Scheme::Parameters => {
            let next = skip_blanks(text, end);
            let next_end = line_end(text, next);
            if next > end && next_end > next { Some(Found::plain(next, next_end)) } else { Some(Found::plain(at, end)) }
        }
    }
}

enum Scheme {
    None,
    /// One token follows.
    Token,
    /// Parameters with commas and quotes follow, to the end of the line.
    Parameters,
}

/// What the first word of a value says about it. Other keys than `authorization` have the two common schemes only.
fn scheme(word: &[u8], key: Word) -> Scheme {
    const COMMON: &[&[u8]] = &[b"bearer", b"basic"];
    const TOKEN: &[&[u8]] = &[b"token", b"negotiate", b"ntlm", b"apikey", b"jwt", b"splunk", b"key"];
    const PARAMETERS: &[&[u8]] = &[b"digest", b"aws4-hmac-sha256", b"oauth", b"hawk", b"signature", b"sharedkey"];
    if word.len() > 16 {
        return Scheme::None;
    }
    if COMMON.iter().any(|s| word.eq_ignore_ascii_case(s)) {
        Scheme::Token
    } else if key != Word::Authorization {
        Scheme::None
    } else if TOKEN.iter().any(|s| word.eq_ignore_ascii_case(s)) {
        Scheme::Token
    } else if PARAMETERS.iter().any(|s| word.eq_ignore_ascii_case(s)) {
        Scheme::Parameters
    } else {
        Scheme::None
    }
}

/// Where a quoted value begins when it is a known scheme and its credentials: after the scheme.
fn after_scheme(text: &[u8], start: usize, end: usize, key: Word) -> usize {
    let Some(space) = memchr(b' ', &text[start..end.min(start + 20)]) else { return start };
    if matches!(scheme(&text[start..start + space], key), Scheme::None) {
        return start;
    }
    let value = skip_blanks(text, start + space);
    if value < end { value } else { start }
}

fn skip_blanks(text: &[u8], mut at: usize) -> usize {
    while at < text.len() && matches!(text[at], b' ' | b'\t') {
        at += 1;
    }
    at
}

fn line_end(text: &[u8], at: usize) -> usize {
    memchr2(b'\n', b'\r', &text[at..]).map_or(text.len(), |p| at + p)
}

/// A quote at `at`, after at most [`MAX_BACKSLASHES`]: its place and how many backslashes there were.
fn quote_at(text: &[u8], at: usize) -> Option<(usize, usize)> {
    let mut open = at;
    while open < text.len() && text[open] == b'\\' && open - at <= MAX_BACKSLASHES {
        open += 1;
    }
    (open - at <= MAX_BACKSLASHES && matches!(text.get(open), Some(b'"' | b'\'' | b'`'))).then_some((open, open - at))
}

/// Where the string ends that was opened by `quote` after `level` backslashes: before the backslashes of the quote
/// that closes it, or at the end of the line when none does.
fn quote_end(text: &[u8], start: usize, quote: u8, level: usize) -> usize {
    let mut at = start;
    while let Some(found) = memchr(quote, &text[at..]) {
        let place = at + found;
        if let Some(own) = closing(slashes_before(text, at, place), level) {
            return place - own;
        }
        at = place + 1;
    }
    line_end(text, start)
}

fn slashes_before(text: &[u8], from: usize, place: usize) -> usize {
    text[from..place].iter().rev().take_while(|&&b| b == b'\\').count()
}

/// Whether a quote after `slashes` backslashes ends a string whose quotes are written with `level` of them, and how
/// many of them are its own. Both are unescaped level by level until the quote is bare in one of them; when that is
/// the outer one, the string was cut off.
fn closing(slashes: usize, level: usize) -> Option<usize> {
    if slashes.is_multiple_of(2) {
        return Some(0);
    }
    if level == 0 {
        return None;
    }
    closing((slashes - 1) / 2, (level - 1) / 2).map(|own| 2 * own + 1)
}

/// The value of a JSON key whose quotes have `level` backslashes: numbers, booleans, arrays and objects become a
/// string, null stays. `None` when the value is a string, or no JSON.
fn json_value(text: &[u8], at: usize, level: usize) -> Option<Option<Found>> {
    let wrap = u8::try_from(level + 1).ok()?;
    let end = match text[at] {
        b'{' | b'[' => container_end(text, at, level),
        b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => {
            let mut end = at;
            while end < text.len() && (is(text[end], ALNUM) || matches!(text[end], b'-' | b'+' | b'.')) {
                end += 1;
            }
            let word = &text[at..end];
            let literal = word == b"true" || word == b"false" || word == b"null";
            if !literal && is(text[at], LOWER) {
                return None;
            }
            // Not JSON unless something that may follow a value does.
            if !matches!(text.get(end), None | Some(b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r' | b'\\')) {
                return None;
            }
            if word == b"null" {
                return Some(None);
            }
            end
        }
        _ => return None,
    };
    Some(Some(Found { start: at, end, wrap }))
}

/// The end of the array or object at `at`, or of the text when it is cut off.
fn container_end(text: &[u8], at: usize, level: usize) -> usize {
    let mut depth = 0usize;
    let mut i = at;
    while i < text.len() {
        match text[i] {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return i + 1;
                }
            }
            b'"' => {
                let slashes = slashes_before(text, at, i);
                if slashes != level {
                    // The string that holds the JSON ends here.
                    return i - slashes;
                }
                let end = quote_end(text, i + 1, b'"', level);
                let own = text[end..].iter().take_while(|&&b| b == b'\\').count();
                if own != level || text.get(end + own) != Some(&b'"') {
                    return end;
                }
                i = end + own;
            }
            _ => {}
        }
        i += 1;
    }
    text.len()
}

/// What stands in brackets after a key without quotes, as Java and Go print headers and maps: `token=[x y]`.
fn bracketed(text: &[u8], at: usize, key: &Key) -> Option<Option<Found>> {
    let close = match text[at] {
        b'[' => b']',
        b'(' => b')',
        b'{' => b'}',
        _ => b'>',
    };
    let start = at + 1;
    let window = &text[start..text.len().min(start + MAX_BRACKET)];
    let end = start + window.iter().position(|&b| b == close || b == b'\n')?;
    if text[end] != close {
        return None;
    }
    let (mut from, mut to) = (start, end);
    if let Some((open, slashes)) = quote_at(text, from).filter(|q| q.0 < end) {
        // `["x"]`, and `["x", "y"]` from the first to the last quote.
        if let Some(last) = text[open + 1..end].iter().rposition(|&b| b == text[open]) {
            from = open + 1;
            to = open + 1 + last - slashes.min(last);
        }
    }
    let value = after_scheme(text, from, to, key.word);
    Some((value < to).then(|| Found::plain(value, to)))
}

/// The end of an unquoted value; `encoded` where delimiters are written as URLs do.
fn token_end(text: &[u8], start: usize, encoded: bool) -> usize {
    let mut at = start;
    while at < text.len() {
        let b = text[at];
        let over = match b {
            0..=b' ' | b'"' => true,
            b'\'' | b'`' => !is_at(text, at + 1, ALNUM),
            b',' | b';' | b'&' | b'|' => !continues(text, at + 1, b == b';'),
            b')' | b']' | b'}' | b'>' => !is_at(text, at + 1, ALNUM),
            b'<' => !is_at(text, at + 1, ALNUM),
            b'%' if encoded => text[at..].starts_with(b"%22") || text[at..].starts_with(b"%26"),
            b'\\' => {
                let run = text[at..].iter().take_while(|&&b| b == b'\\').count();
                match text.get(at + run) {
                    Some(b'"' | b'\'') => true,
                    Some(b'n' | b'r' | b't') if run % 2 == 1 => !continues(text, at + run + 1, false),
                    _ => {
                        at += run - 1;
                        false
                    }
                }
            }
            _ => false,
        };
        if over {
            return at;
        }
        at += 1;
    }
    at
}

/// Whether a value goes on behind a delimiter: what follows is neither its end nor the next `name=`.
fn continues(text: &[u8], at: usize, spaces: bool) -> bool {
    if !is_at(text, at, ALNUM) && !matches!(text.get(at), Some(b'!'..=b'~')) {
        return false;
    }
    if matches!(text[at], b'"' | b'\'' | b',' | b';' | b'&' | b'|' | b')' | b']' | b'}' | b'\\' | b'{' | b'[') {
        return false;
    }
    let name = |b: u8| is(b, ALNUM) || matches!(b, b'_' | b'-' | b'.' | b'[' | b']' | b'%') || (spaces && b == b' ');
    let end = at + text[at..].iter().take(MAX_NAME).take_while(|&&b| name(b)).count();
    !(end > at && matches!(text.get(end), Some(b'=' | b':')))
}
