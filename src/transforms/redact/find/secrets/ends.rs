//! Where a value ends: quotes, brackets and delimiters, and what encloses them.

use super::header::header_end;
use super::value::Context;
use super::{Key, Quote};
use crate::transforms::redact::ascii::{ALNUM, DIGIT, UPPER, is, is_at, is_before, run};
use memchr::{memchr, memchr2, memrchr2};

/// Quotes deeper than this many levels of escaping are treated as plain bytes.
pub(super) const MAX_BACKSLASHES: usize = 15;

/// How far the bracket that closes a value may be.
pub(super) const MAX_BRACKET: usize = 4096;

/// How deep brackets are followed.
pub(super) const MAX_DEPTH: usize = 32;

/// How far a `name=` after a delimiter is looked for.
pub(super) const MAX_NAME: usize = 48;

/// How far back the quote is looked for that encloses a value.
pub(super) const MAX_BACK: usize = 1024;

/// Which quotes are open around a place, as far as its line tells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Enclosing {
    /// By backslashes before the quote.
    pub(super) doubles: u32,
    pub(super) single: bool,
    /// The line is longer than what is looked at.
    pub(super) cut: bool,
}

impl Enclosing {
    /// Those around a key and its own quotes.
    pub(super) fn around(text: &[u8], key: &Key) -> Self {
        let mut found = Self::of(text, key.start);
        match key.quote {
            Quote::Double(level) if level <= MAX_BACKSLASHES => found.doubles ^= 1 << level,
            Quote::Single => found.single = !found.single,
            _ => {}
        }
        found
    }

    pub(super) fn of(text: &[u8], at: usize) -> Self {
        let least = at.saturating_sub(MAX_BACK);
        let line = memchr::memrchr(b'\n', &text[least..at]).map(|p| least + p + 1);
        let from = line.unwrap_or(least);
        let mut found = Self { doubles: 0, single: false, cut: line.is_none() && least > 0 };
        let mut end = at;
        while let Some(p) = memrchr2(b'"', b'\'', &text[from..end]).map(|p| from + p) {
            let slashes = slashes_before(text, p).min(p - from);
            if text[p] == b'\'' {
                // An apostrophe is no quote.
                if !(is_before(text, p, ALNUM) && is_at(text, p + 1, ALNUM)) {
                    found.single = !found.single;
                }
            } else if own_slashes(slashes) <= MAX_BACKSLASHES {
                found.doubles ^= 1 << own_slashes(slashes);
            }
            end = p - slashes;
        }
        found
    }

    /// Whether this quote, with so many backslashes, is open.
    pub(super) fn any(&self, quote: u8, slashes: usize) -> bool {
        if quote == b'"' { self.double(slashes) } else { self.single }
    }

    /// Whether a `"` with so many backslashes is open.
    pub(super) fn double(&self, slashes: usize) -> bool {
        slashes <= MAX_BACKSLASHES && self.doubles & 1 << slashes != 0
    }
}

/// Behind blanks and tabs at `at`, and blanks beyond ASCII.
pub(super) fn skip_blanks(text: &[u8], mut at: usize) -> usize {
    while at < text.len() && matches!(text[at], b' ' | b'\t') {
        at += 1;
    }
    match text.get(at) {
        Some(0xc2 | 0xe2 | 0xe3) => match wide_blank(&text[at..]) {
            0 => at,
            len => skip_blanks(text, at + len),
        },
        _ => at,
    }
}

/// The length of a blank beyond ASCII that a text begins with: unbreakable, narrow or wide.
fn wide_blank(text: &[u8]) -> usize {
    match text {
        [0xc2, 0xa0, ..] => 2,
        [0xe2, 0x80, 0x80..=0x8a | 0xaf, ..] | [0xe3, 0x80, 0x80, ..] => 3,
        _ => 0,
    }
}

/// Where blanks begin that end at `end`, the last of which is beyond ASCII.
pub(super) fn wide_blanks_before(text: &[u8], mut end: usize) -> usize {
    loop {
        let wide = (2..=3).find(|&n| end >= n && wide_blank(&text[end - n..end]) == n);
        match (wide, text[..end].last()) {
            (Some(n), _) => end -= n,
            (None, Some(b' ' | b'\t')) => end -= 1,
            _ => return end,
        }
    }
}

/// What begins a code that colours the text behind it, as it is or as logs write it.
const COLOURS: [&[u8]; 4] = [b"\x1b[", b"#033[", b"\\u001b[", b"\\x1b["];

/// Behind the codes at `at` that colour text.
pub(super) fn skip_colours(text: &[u8], mut at: usize) -> usize {
    while let Some(code) = COLOURS.iter().find(|c| text[at..].starts_with(c)) {
        let start = at + code.len();
        let len = text[start..].iter().take(16).take_while(|&&b| is(b, DIGIT) || b == b';').count();
        if text.get(start + len) != Some(&b'm') {
            break;
        }
        at = start + len + 1;
    }
    at
}

/// Where a code begins that colours text and ends, with its `m`, at `end`; `end` where there is none.
pub(super) fn colour_before(text: &[u8], end: usize) -> usize {
    let from = end.saturating_sub(16);
    let len = text[from..end - 1].iter().rev().take_while(|&&b| is(b, DIGIT) || b == b';').count();
    let start = end - 1 - len;
    COLOURS.iter().find(|c| text[..start].ends_with(c)).map_or(end, |c| start - c.len())
}

/// Behind the word at `at`, which ends at a blank, and the blanks after it.
pub(super) fn token_of(text: &[u8], at: usize) -> usize {
    let near = &text[at..text.len().min(at + MAX_BRACKET)];
    skip_blanks(text, at + near.iter().take_while(|&&b| b > b' ').count())
}

/// Skips white space, line ends too, also where it is escaped (`\n`, `\\n`).
pub(in crate::transforms::redact) fn skip_space(text: &[u8], mut at: usize) -> usize {
    while let Some(&b) = text.get(at) {
        match b {
            b' ' | b'\t' | b'\n' | b'\r' => at += 1,
            b'\\' => match escaped_space(text, at) {
                Some(end) => at = end,
                None => break,
            },
            _ => break,
        }
    }
    at
}

/// The end of an escaped line end or tab at `at`.
pub(super) fn escaped_space(text: &[u8], at: usize) -> Option<usize> {
    let slashes = text[at..].iter().take(MAX_BACKSLASHES + 1).take_while(|&&b| b == b'\\').count();
    let letter = matches!(text.get(at + slashes), Some(b'n' | b'r' | b't'));
    (letter && slashes.is_power_of_two()).then_some(at + slashes + 1)
}

/// Where white space begins that ends at `end`, as [`skip_space`] skips it.
#[inline]
pub(in crate::transforms::redact) fn space_before(text: &[u8], mut end: usize) -> usize {
    loop {
        match text[..end] {
            [.., b' ' | b'\t' | b'\n' | b'\r'] => end -= 1,
            [.., b'\\', b'n' | b'r' | b't'] => end -= 1 + slashes_before(text, end - 1),
            _ => return end,
        }
    }
}

pub(super) fn line_end(text: &[u8], at: usize) -> usize {
    memchr2(b'\n', b'\r', &text[at..]).map_or(text.len(), |p| at + p)
}

/// A quote at `at`, after at most [`MAX_BACKSLASHES`]: its place and how many backslashes there were.
pub(super) fn quote_at(text: &[u8], at: usize) -> Option<(usize, usize)> {
    let mut open = at;
    while open < text.len() && text[open] == b'\\' && open - at <= MAX_BACKSLASHES {
        open += 1;
    }
    (open - at <= MAX_BACKSLASHES && matches!(text.get(open), Some(b'"' | b'\'' | b'`'))).then_some((open, open - at))
}

/// Whether what stands at `at`, behind a quote, shows that the quote closed a value.
pub(super) fn after_value(text: &[u8], at: usize, quote: u8) -> bool {
    match text.get(at) {
        None => true,
        Some(&b) if b == quote => false,
        Some(b'_' | b'-' | b'$' | b'@' | b'=' | b'(' | b'{' | b'[') => false,
        Some(&b) => !is(b, ALNUM),
    }
}

/// Where the string ends that was opened by `quote` after `level` backslashes: before the backslashes of the quote
/// that closes it, and that quote. `None` when none does.
pub(super) fn quote_end(text: &[u8], start: usize, quote: u8, level: usize) -> Option<(usize, usize)> {
    let mut at = start;
    while let Some(found) = memchr(quote, &text[at..]) {
        let place = at + found;
        let slashes = slashes_before(&text[start..], place - start);
        if let Some(own) = closing(slashes, level) {
            return Some((place - own, place));
        }
        at = place + 1;
    }
    None
}

/// How many of so many backslashes before a quote belong to it, and not to the text before it: `\\\\"` closes a string that
/// ends with a backslash.
pub(super) fn own_slashes(slashes: usize) -> usize {
    if slashes.is_multiple_of(2) { 0 } else { 2 * own_slashes((slashes - 1) / 2) + 1 }
}

/// How many backslashes stand before `place`.
pub(super) fn slashes_before(text: &[u8], place: usize) -> usize {
    text[..place].iter().rev().take_while(|&&b| b == b'\\').count()
}

/// Whether a quote after `slashes` backslashes ends a string whose quotes are written with `level` of them, and how
/// many of them are its own. Both are unescaped level by level until the quote is bare in one of them; when that is
/// the outer one, the string was cut off.
pub(super) fn closing(slashes: usize, level: usize) -> Option<usize> {
    if slashes.is_multiple_of(2) {
        return Some(0);
    }
    if level == 0 {
        return None;
    }
    closing((slashes - 1) / 2, (level - 1) / 2).map(|own| 2 * own + 1)
}

/// Behind the bracket that closes the one at `at`, strings and brackets in between skipped.
pub(super) fn bracket_end(text: &[u8], at: usize) -> Option<usize> {
    let mut stack = [0u8; MAX_DEPTH];
    let mut depth = 0;
    let limit = text.len().min(at + MAX_BRACKET);
    let mut i = at;
    while i < limit {
        let b = text[i];
        match b {
            b'(' | b'[' | b'{' | b'<' if !(b == b'<' && depth > 0) => {
                if depth == MAX_DEPTH {
                    return None;
                }
                stack[depth] = match b {
                    b'(' => b')',
                    b'[' => b']',
                    b'{' => b'}',
                    _ => b'>',
                };
                depth += 1;
            }
            b'"' | b'`' => {
                let slashes = slashes_before(&text[at..], i - at);
                if let Some((_, close)) = quote_end(&text[..limit], i + 1, b, slashes) {
                    i = close;
                }
            }
            b'\'' if !is_before(text, i, ALNUM) => {
                if let Some((_, close)) = quote_end(&text[..limit], i + 1, b, 0) {
                    i = close;
                }
            }
            _ if depth > 0 && b == stack[depth - 1] => {
                depth -= 1;
                if depth == 0 {
                    return Some(i + 1);
                }
            }
            _ => {}
        }
        i += 1;
    }
    None
}

/// Whether the delimiter or bracket `b` at `at` ends an unquoted value.
pub(super) fn ends_value(text: &[u8], at: usize, b: u8) -> bool {
    match b {
        0..=b' ' | b'"' | b'\'' | b'`' => true,
        b',' | b';' | b'&' | b'|' => !continues(text, at + 1, b == b';'),
        b')' | b']' | b'}' | b'>' | b'<' | b'/' | b'\\' => !is_at(text, at + 1, ALNUM) || b == b'\\',
        b'.' | b':' | b'?' | b'!' => text.get(at + 1).is_none_or(|&n| n <= b' '),
        _ => b >= 0x80 && wide_end(&text[at..]),
    }
}

/// The end of an unquoted value.
pub(super) fn token_end(text: &[u8], start: usize, cx: &Context<'_>) -> usize {
    let mut around = None;
    let mut at = start;
    while at < text.len() {
        let b = text[at];
        match b {
            // Most of a value.
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => {
                at = run(text, at, ALNUM);
                continue;
            }
            0..=b' ' => match over_blank(text, start, at) {
                Some(next) => {
                    at = next;
                    continue;
                }
                None => return at,
            },
            b'"' | b'\'' | b'`' => {
                let around = around.get_or_insert_with(|| Enclosing::around(text, cx.key));
                match in_value(text, at, at, around) {
                    Some(next) => {
                        at = next;
                        continue;
                    }
                    None => return at,
                }
            }
            b',' | b';' | b'|' if !continues(text, at + 1, b == b';') => return at,
            b'&' => match entity(&text[at..]) {
                Entity::Amp if !continues(text, at + 5, false) => return at,
                Entity::Quote => return at,
                Entity::None if !continues(text, at + 1, false) => return at,
                _ => {}
            },
            b'(' | b'[' | b'{' => {
                at = bracket_end(text, at).unwrap_or_else(|| header_end(text, at + 1, cx.key));
                continue;
            }
            b')' | b']' | b'}' | b'>' if closes(text, at + 1) => return at,
            b'<' => match bracket_end(text, at).filter(|&e| at == start && !text[at..e].contains(&b' ')) {
                Some(end) => {
                    at = end;
                    continue;
                }
                None if !is_at(text, at + 1, ALNUM) || text[at..].starts_with(b"<br") => return at,
                None => {}
            },
            b'%' if cx.encoded
                && [&b"%22"[..], b"%26", b"%2522", b"%2526"].iter().any(|e| text[at..].starts_with(e)) =>
            {
                return at;
            }
            b'\\' => match backslashes(text, at, cx, &mut around) {
                Some(next) => {
                    at = next;
                    continue;
                }
                None => return at,
            },
            0x80.. if wide_end(&text[at..]) => return at,
            _ => {}
        }
        at += 1;
    }
    at
}

/// Behind the backslashes at `at` and what they escape; `None` where the value ends.
pub(super) fn backslashes(text: &[u8], at: usize, cx: &Context<'_>, around: &mut Option<Enclosing>) -> Option<usize> {
    let slashes = text[at..].iter().take_while(|&&b| b == b'\\').count();
    match text.get(at + slashes) {
        Some(b'"' | b'\'') => {
            let of_value = slashes - own_slashes(slashes);
            if of_value > 0 {
                return Some(at + of_value);
            }
            let around = around.get_or_insert_with(|| Enclosing::around(text, cx.key));
            in_value(text, at, at + slashes, around)
        }
        Some(b'n' | b'r' | b't') if slashes % 2 == 1 && !continues(text, at + slashes + 1, false) => None,
        Some(b'x') if text[at + slashes..].starts_with(b"x22") => None,
        Some(b'\n') if slashes % 2 == 1 && matches!(text.get(at + slashes + 1), Some(b' ' | b'\t')) => {
            // The line below goes on with the value.
            Some(skip_blanks(text, at + slashes + 1))
        }
        _ => Some(at + slashes),
    }
}

/// A value goes on over a blank only where what stands before says so: `string(7) "x"`, `new Secret("x")`.
pub(super) fn over_blank(text: &[u8], start: usize, at: usize) -> Option<usize> {
    let so_far = &text[start..at];
    if so_far.is_empty() || so_far.len() > 24 || text[at] != b' ' {
        return None;
    }
    let next = skip_blanks(text, at);
    let php = so_far.starts_with(b"string(") && so_far.ends_with(b")");
    let quote = matches!(text.get(next), Some(b'"' | b'\''))
        || (text.get(next) == Some(&b'\\') && quote_at(text, next).is_some());
    let constructor = so_far == b"new" && is_at(text, next, UPPER);
    let structure =
        text.get(next) == Some(&b'{') && is(so_far[0], UPPER) && so_far.iter().all(|&b| is(b, ALNUM) || b == b':');
    (structure || (quote && (php || so_far == b"Just" || so_far == b"string")) || constructor).then_some(next)
}

/// Behind the quote at `quote` (its backslashes begin at `at`) and the string that it opens, when it belongs to an
/// unquoted value; `None` where it closes what encloses the value.
pub(super) fn in_value(text: &[u8], at: usize, quote: usize, around: &Enclosing) -> Option<usize> {
    let level = quote - at;
    let q = text[quote];
    let closes_outer = match q {
        b'"' => around.double(level) || (around.cut && closes(text, quote + 1)),
        b'\'' => !is_at(text, quote + 1, ALNUM) && around.single,
        _ => !is_at(text, quote + 1, ALNUM),
    };
    if closes_outer {
        return None;
    }
    let near = &text[..text.len().min(quote + MAX_BRACKET)];
    let line = line_end(near, quote);
    match quote_end(&text[..line], quote + 1, q, level) {
        // Cut off by the end of what encloses it.
        Some((end, close)) if close - end != level => Some(end),
        Some((_, close)) if q != b'\'' || !is_before(text, at, ALNUM) => Some(close + 1),
        _ => Some(quote + 1),
    }
}

/// Whether a closing bracket or quote before `at` is followed by something that shows that a value is over.
pub(super) fn closes(text: &[u8], at: usize) -> bool {
    match text.get(at) {
        None => true,
        Some(b'.' | b':' | b'?' | b'!') => text.get(at + 1).is_none_or(|&n| n <= b' '),
        Some(&b) => {
            b <= b' '
                || matches!(
                    b,
                    b',' | b';' | b')' | b']' | b'}' | b'>' | b'<' | b'"' | b'\'' | b'`' | b'\\' | b'&' | b'|' | b'/'
                )
        }
    }
}

pub(super) enum Entity {
    None,
    Amp,
    Quote,
}

pub(super) fn entity(text: &[u8]) -> Entity {
    const QUOTES: [&[u8]; 7] = [b"&quot;", b"&#34;", b"&#39;", b"&apos;", b"&lt;", b"&gt;", b"&#x22;"];
    if text.starts_with(b"&amp;") {
        Entity::Amp
    } else if QUOTES.iter().any(|q| text.starts_with(q)) {
        Entity::Quote
    } else {
        Entity::None
    }
}

/// Whether a text begins with white space or punctuation beyond ASCII: `，`, `。`, `；`, `”`, a wide or unbreakable blank.
pub(super) fn wide_end(text: &[u8]) -> bool {
    matches!(
        text,
        [0xc2, 0xa0 | 0xbb, ..]
            | [0xe2, 0x80, 0x80..=0x8a | 0x9c | 0x9d | 0xa8 | 0xa9 | 0xaf, ..]
            | [0xe3, 0x80, 0x80..=0x82 | 0x8d | 0x8f | 0x91, ..]
            | [0xef, 0xbc, 0x8c | 0x9b | 0x89 | 0x81, ..]
    )
}

/// Whether a value goes on behind a delimiter: what follows is neither its end nor the next `name=`.
pub(super) fn continues(text: &[u8], at: usize, spaces: bool) -> bool {
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

/// Behind the line end at `at`, also an escaped one.
pub(super) fn line_break(text: &[u8], at: usize) -> Option<usize> {
    let one = |at: usize, letter: u8, byte: u8| match text.get(at) {
        Some(&b) if b == byte => Some(at + 1),
        Some(b'\\') => escaped_space(text, at).filter(|&e| text[e - 1] == letter),
        _ => None,
    };
    let at = one(at, b'r', b'\r').unwrap_or(at);
    one(at, b'n', b'\n')
}
