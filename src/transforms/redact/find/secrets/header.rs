//! The values of headers: a scheme, and all of what follows up to the end of the header.

use super::ends::{Enclosing, MAX_NAME, own_slashes, skip_blanks, token_end};
use super::none::{is_placeholder, no_secret};
use super::value::Context;
use super::{Key, Word};
use crate::transforms::redact::ascii::{ALNUM, LOWER, UPPER, is, is_at};
use crate::transforms::redact::find::Found;
use memchr::memchr;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    None,
    /// One token follows.
    Token,
    /// Parameters with commas and quotes follow, to the end of the header.
    Parameters,
}

/// What the first word of a value says about it. Other keys than `authorization` have the two common schemes only.
pub(super) fn scheme(word: &[u8], key: Word) -> Scheme {
    const COMMON: &[&[u8]] = &[b"bearer", b"basic"];
    const TOKEN: &[&[u8]] =
        &[b"negotiate", b"ntlm", b"apikey", b"api-key", b"jwt", b"splunk", b"key", b"geniekey", b"ssws"];
    const PARAMETERS: &[&[u8]] = &[
        b"digest",
        b"aws4-hmac-sha256",
        b"oauth",
        b"hawk",
        b"signature",
        b"sharedkey",
        b"token",
        b"sharedaccesssignature",
    ];
    if word.len() > 24 {
        return Scheme::None;
    }
    let any = |list: &[&[u8]]| list.iter().any(|s| word.eq_ignore_ascii_case(s));
    if any(COMMON) {
        Scheme::Token
    } else if key != Word::Authorization {
        Scheme::None
    } else if any(TOKEN) {
        Scheme::Token
    } else if any(PARAMETERS) {
        Scheme::Parameters
    } else {
        Scheme::None
    }
}

/// Where a quoted value begins when it is a known scheme and its credentials: after the scheme.
pub(super) fn after_scheme(text: &[u8], start: usize, end: usize, key: Word) -> usize {
    let Some(space) = memchr(b' ', &text[start..end.min(start + 26)]) else { return start };
    if matches!(scheme(&text[start..start + space], key), Scheme::None) {
        return start;
    }
    let value = skip_blanks(text, start + space);
    if value < end { value } else { start }
}

/// The value of a header that is written without quotes: all of it but its scheme, to the end of the header.
pub(super) fn header(text: &[u8], at: usize, cx: &Context<'_>) -> Option<Found> {
    let whole = |from: usize| Some(Found::plain(from, header_end(text, from, cx.key))).filter(|f| f.start < f.end);
    if cx.word == Word::Cookie {
        return whole(at);
    }
    let first = token_end(text, at, cx);
    let word_end = at + text[at..first].iter().take_while(|&&b| b != b',').count();
    let word = &text[at..word_end];
    if no_secret(cx.word, word) {
        return None;
    }
    let scheme = scheme(word, cx.word);
    let value = unfold(text, skip_blanks(text, word_end));
    if scheme != Scheme::None && value > word_end && is_placeholder(&text[value..token_end(text, value, cx)]) {
        let token = token_end(text, value, cx);
        if token > value {
            return None;
        }
    }
    let nothing = match scheme {
        Scheme::None => true,
        Scheme::Token => header_over(text, value),
        Scheme::Parameters => value >= header_end(text, at, cx.key),
    };
    let value = if nothing || value == word_end { at } else { value };
    if value == at || scheme == Scheme::Token {
        // One token; what follows is not of this header, or all of it is.
        let token = token_end(text, value, cx);
        if token > value && header_over(text, token) && unfold(text, token) == token {
            return Some(Found::plain(value, token));
        }
    }
    whole(value)
}

/// Behind the line end at `at` where the line below goes on with the same header: it begins with a blank.
pub(super) fn unfold(text: &[u8], at: usize) -> usize {
    let line = at + usize::from(text.get(at) == Some(&b'\r'));
    let folded = text.get(line) == Some(&b'\n') && matches!(text.get(line + 1), Some(b' ' | b'\t'));
    let next = skip_blanks(text, line + 1);
    if folded && !names_next(text, next) && next < text.len() { next } else { at }
}

/// Whether a header is over at `at`, or the next one or another `name=` begins there.
pub(super) fn header_over(text: &[u8], at: usize) -> bool {
    let next = skip_blanks(text, at);
    let Some(&b) = text.get(next) else { return true };
    let name = if b == b',' { skip_blanks(text, next + 1) } else { next };
    matches!(b, b'\n' | b'\r' | b'\\' | b'"' | b'\'' | b'`' | b'}' | b']' | b')' | b'&' | b'<' | b'>')
        || names_next(text, name)
}

/// Whether `name=` or `Name:` stands at `at`.
pub(super) fn names_next(text: &[u8], at: usize) -> bool {
    let name = |b: u8| is(b, ALNUM) || matches!(b, b'_' | b'-' | b'.');
    let end = at + text[at..].iter().take(MAX_NAME).take_while(|&&b| name(b)).count();
    // The padding of base64 is no separator.
    let padding = text.get(end) == Some(&b'=')
        && text.get(end + 1).is_none_or(|&b| b <= b' ' || matches!(b, b'=' | b',' | b'"' | b'\''));
    end > at + 1 && is(text[at], UPPER | LOWER) && matches!(text.get(end), Some(b'=' | b':')) && !padding
}

/// Where the header that stands before the colon at `colon`, in the same line, begins: behind a blank, its name.
pub(super) fn next_header(text: &[u8], at: usize, colon: usize) -> Option<usize> {
    let name = |b: u8| is(b, ALNUM) || b == b'-';
    let len = text[at..colon].iter().rev().take(MAX_NAME).take_while(|&&b| name(b)).count();
    let start = colon - len;
    let header = len >= 3 && start > at && text[start - 1] == b' ' && is(text[start], UPPER | LOWER);
    header.then(|| start - text[at..start].iter().rev().take_while(|&&b| matches!(b, b' ' | b',' | b';')).count())
}

/// The end of the header of this key whose value begins at `at`: of its line, also where the line end is escaped, or of the
/// quotes that enclose all of it, or where the next header begins in the same line.
pub(super) fn header_end(text: &[u8], at: usize, key: &Key) -> usize {
    let mut around: Option<Enclosing> = None;
    let mut i = at;
    while i < text.len() {
        match text[i] {
            b'\n' | b'\r' => {
                let next = unfold(text, i);
                if next == i {
                    return i;
                }
                i = next;
                continue;
            }
            b':' if text.get(i + 1) == Some(&b' ') => {
                if let Some(end) = next_header(text, at, i) {
                    return end;
                }
            }
            b'\\' => {
                let slashes = text[i..].iter().take_while(|&&b| b == b'\\').count();
                let own = own_slashes(slashes);
                let over = match text.get(i + slashes) {
                    Some(b'"') if around.get_or_insert_with(|| Enclosing::around(text, key)).double(own) => {
                        return i + slashes - own;
                    }
                    Some(b'n' | b'r') => slashes % 2 == 1,
                    Some(b'x') => text[i + slashes..].starts_with(b"x22"),
                    _ => false,
                };
                if over {
                    return i;
                }
                i += slashes;
            }
            b'"' if around.get_or_insert_with(|| Enclosing::around(text, key)).double(0) => return i,
            b'\''
                if !is_at(text, i + 1, ALNUM) && around.get_or_insert_with(|| Enclosing::around(text, key)).single =>
            {
                return i;
            }
            _ => {}
        }
        i += 1;
    }
    text.len()
}
