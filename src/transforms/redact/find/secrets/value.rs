//! Where the value behind a separator begins, and what of it is the secret.

use super::block::block;
use super::ends::{
    MAX_NAME, after_value, bracket_end, ends_value, escaped_space, line_end, quote_at, quote_end, skip_blanks,
    skip_colours, skip_space, slashes_before, token_end,
};
use super::header::{Scheme, after_scheme, header, header_end, names_next, scheme};
use super::none::{doubtful, is_code, is_placeholder, looks_secret, no_secret, says_nothing, version_of};
use super::{Key, Quote, Word};
use crate::transforms::redact::ascii::{ALNUM, DIGIT, HEX, LOWER, TYPE, UPPER, is, is_at, run};
use crate::transforms::redact::find::Found;
use memchr::memmem;

/// What is known of a value before it is looked at.
pub(super) struct Context<'a> {
    pub(super) key: &'a Key,
    pub(super) word: Word,
    /// The separator was written as URLs do.
    pub(super) encoded: bool,
    /// The separator was a colon.
    pub(super) colon: bool,
}

/// The value that begins somewhere after the separator.
pub(super) fn after(text: &[u8], after: usize, cx: &Context<'_>) -> Option<Found> {
    let mut at = after;
    // `:=` and `::`; `=>`, `==` and `===`.
    while at < text.len()
        && at < after + 2
        && (text[at] == b'=' || (cx.colon && text[at] == b':') || (!cx.colon && text[at] == b'>'))
    {
        at += 1;
    }
    let arrow = at > after && text[at - 1] == b'>';
    at = skip_blanks(text, at);
    while let Some(next) = escaped_space(text, at).filter(|&e| text[e - 1] == b't') {
        at = skip_blanks(text, next);
    }
    if cx.key.quote == Quote::None && !arrow {
        if let Some(found) = block(text, at, cx) {
            return found;
        }
    } else {
        at = skip_space(text, at);
    }
    if cx.encoded && text.get(at) == Some(&b'+') {
        at += 1;
    }
    if matches!(text.get(at), Some(b'\x1b' | b'#' | b'\\')) {
        at = skip_blanks(text, skip_colours(text, at));
    }
    if cx.key.quote == Quote::None {
        if closes_key(text, after, at, cx) {
            return None;
        }
        if cx.colon {
            at = behind_tag(text, behind_type(text, at));
            if points(text, at) || (at > after && declared(text, at, cx)) {
                return None;
            }
        }
        at = behind_annotation(text, behind_markup(text, at));
    }
    let found = begins(text, at, cx)?;
    let value = &text[found.start..found.end];
    let quoted = is_before_quote(text, found.start);
    let in_url = value.starts_with(b"***@") && text[..cx.key.start].ends_with(b"://");
    let none = in_url
        || is_placeholder(value)
        || (found.wrap == 0 && (!quoted || doubtful(cx.word)) && no_secret(cx.word, value))
        || version_of(cx.word, value)
        || says_nothing(value)
        || (cx.word == Word::Token && quoted && of_a_text(text, &found))
        || (!quoted && cx.key.quote == Quote::None && at > after && code(text, at, found.end, cx));
    if !none {
        return Some(found);
    }
    fallback(text, at, cx)
}

/// Whether a word in quotes is one of the tokens of a text, as models and parsers show them: `token="Haus" lemma="haus"`.
fn of_a_text(text: &[u8], found: &Found) -> bool {
    const BESIDE: [&[u8]; 5] = [b"logprob", b"lemma=", b"pos=", b"lemma\"", b"upos"];
    let letters = |b: &u8| is(*b, UPPER | LOWER) || *b >= 0x80 || *b == b'\'';
    let near = &text[found.start.saturating_sub(MAX_NAME)..text.len().min(found.end + MAX_NAME)];
    text[found.start..found.end].iter().all(letters) && BESIDE.iter().any(|w| memmem::find(near, w).is_some())
}

/// Whether what stands at `at` is source code, up to `end` or the end of the brackets there.
fn code(text: &[u8], at: usize, end: usize, cx: &Context<'_>) -> bool {
    let name = &text[cx.key.start..cx.key.end];
    let end = end.max(at);
    let plain = run(&text[..end], at, ALNUM);
    // Most values are a word: code only where it is the name of the key.
    if plain == end && end > at && !name.ends_with(&text[at..end]) {
        return false;
    }
    // Brackets may go on behind what was taken for the value.
    let brackets =
        end <= at || text.get(plain..end).is_some_and(|v| v.iter().any(|&b| matches!(b, b'(' | b'[' | b'{')));
    let whole = if brackets { token_end(text, at, cx).max(end) } else { end };
    is_code(&text[at..whole], name)
        && (matches!(text.get(whole), None | Some(b' ' | b';' | b',' | b')' | b'\n' | b'>' | b'}')))
}

/// Whether the quote at `at` closes the string that the key and its separator stand in: `grep "password=" f`,
/// `{"label":"Password:","x":1}`.
fn closes_key(text: &[u8], after: usize, at: usize, cx: &Context<'_>) -> bool {
    let Some((quote, level)) = quote_at(text, at) else { return false };
    let over = matches!(text.get(quote + 1), None | Some(b' ' | b')' | b']' | b'}' | b'\n' | b','));
    let head = &text[..cx.key.start];
    over && at <= after + 1 && head.last() == Some(&text[quote]) && slashes_before(head, head.len() - 1) == level
}

/// Whether a tag of YAML stands at `at` that says where the value is to be taken from: `!secret name`, `!Ref Name`.
fn points(text: &[u8], at: usize) -> bool {
    const TAGS: [&[u8]; 8] =
        [b"!secret ", b"!Ref ", b"!GetAtt ", b"!Sub ", b"!ImportValue ", b"!reference ", b"!env_var ", b"!include "];
    text.get(at) == Some(&b'!') && TAGS.iter().any(|t| text[at..].starts_with(t))
}

/// Whether a type and source code stand at `at`: `token: CancellationToken = source.token;`.
fn declared(text: &[u8], at: usize, cx: &Context<'_>) -> bool {
    if !is_at(text, at, UPPER) {
        return false;
    }
    let end = run(&text[..text.len().min(at + MAX_NAME)], at, TYPE);
    let value = end + 3;
    text[end..].starts_with(b" = ") && code(text, value, value, cx)
}

/// Behind what closes the emphasis of a key: `**Password:** x`, `<b>Password:</b> x`.
fn behind_markup(text: &[u8], at: usize) -> usize {
    match text.get(at..at + 3) {
        Some([b'*', b'*', b' ']) => skip_blanks(text, at + 3),
        Some([b'<', b'/', _]) => {
            let near = &text[at..text.len().min(at + 12)];
            let close = memchr::memchr(b'>', near).map_or(at, |p| at + p + 1);
            let value = skip_blanks(text, close);
            if matches!(text.get(value), None | Some(b'<' | b'\n')) { at } else { value }
        }
        _ => at,
    }
}

/// Behind what debuggers and printers put before a string: `(string) (len=3) "x"`, `0x55e0 "x"`.
fn behind_annotation(text: &[u8], at: usize) -> usize {
    if !matches!(text.get(at), Some(b'(' | b'0')) {
        return at;
    }
    const TYPES: [&[u8]; 9] =
        [b"string)", b"*string)", b"str)", b"len=", b"cap=", b"[]uint8)", b"[]byte)", b"const char", b"char *"];
    let near = &text[..text.len().min(at + MAX_NAME)];
    let mut next = at;
    for _ in 0..3 {
        let end = match near.get(next) {
            Some(b'(') if TYPES.iter().any(|t| near[next + 1..].starts_with(t)) => {
                memchr::memchr(b')', &near[next..]).map(|p| next + p + 1)
            }
            Some(b'0') if near[next..].starts_with(b"0x") => Some(run(near, next + 2, HEX)),
            _ => None,
        };
        match end.filter(|&e| near.get(e) == Some(&b' ')) {
            Some(end) => next = end + 1,
            None => break,
        }
    }
    if next > at && quote_at(text, next).is_some() { next } else { at }
}

/// The string that stands in for a value which is taken from elsewhere: `process.env.DB_PASSWORD || 'x'`.
fn fallback(text: &[u8], at: usize, cx: &Context<'_>) -> Option<Found> {
    let line = line_end(text, at).min(at + 160);
    let near = text.get(at..line)?;
    let sign = [&b" || "[..], b" ?? ", b" or "].iter().find_map(|s| memmem::find(near, s).map(|p| at + p + s.len()))?;
    let (open, level) = quote_at(text, sign)?;
    let code = text[at..sign].iter().take_while(|&&b| b > b' ').any(|&b| matches!(b, b'.' | b'(' | b'['));
    quoted(text, open, level, cx).filter(|f| code && !is_placeholder(&text[f.start..f.end]))
}

/// Behind the tag or the anchor of a value of YAML: `password: !!str x`, `password: &name x`.
fn behind_tag(text: &[u8], at: usize) -> usize {
    let tag = text[at..].starts_with(b"!!") || (text.get(at) == Some(&b'&') && is_at(text, at + 1, ALNUM));
    if !tag {
        return at;
    }
    let near = &text[..text.len().min(at + MAX_NAME)];
    let end = at + near[at..].iter().take_while(|&&b| is(b, ALNUM) || matches!(b, b'!' | b'&' | b'_' | b'-')).count();
    let value = skip_blanks(text, end);
    if value > end && text.get(value).is_some_and(|&b| b > b' ') { value } else { at }
}

/// Behind the type of a declaration: `password: &str = "x"`.
pub(super) fn behind_type(text: &[u8], at: usize) -> usize {
    let end = run(&text[..text.len().min(at + MAX_NAME)], at, TYPE);
    let equals = skip_blanks(text, end);
    let typed = end > at && equals > end && text[equals..].starts_with(b"= ");
    let value = skip_blanks(text, equals + 1);
    if typed && quote_at(text, value).is_some() { value } else { at }
}

pub(super) fn is_before_quote(text: &[u8], start: usize) -> bool {
    start > 0 && matches!(text[start - 1], b'"' | b'\'' | b'`' | b';')
}

/// The value that begins at `at`, which is no blank.
pub(super) fn begins(text: &[u8], at: usize, cx: &Context<'_>) -> Option<Found> {
    let b = *text.get(at)?;
    let key = cx.key;
    if let Quote::Double(level) = key.quote
        && let Some(found) = json_value(text, at, level)
    {
        return found;
    }
    if let Quote::Alias(alias) = key.quote
        && text[at..].starts_with(alias)
    {
        return aliased(text, at + alias.len(), alias, cx.word);
    }
    if matches!(b, b'[' | b'(' | b'{' | b'<')
        && let Some(found) = bracketed(text, at, cx)
    {
        return found;
    }
    if text[at..].starts_with(b"''") && is_at(text, at + 2, ALNUM) {
        // In a string of SQL.
        return aliased(text, at + 2, b"''", cx.word);
    }
    if let Some((open, level)) = quote_at(text, at) {
        return quoted(text, open, level, cx);
    }
    if b >= 0x80
        && let Some(found) = typographic(text, at)
    {
        return Some(found);
    }
    if cx.key.quote == Quote::None
        && !cx.colon
        && !cx.encoded
        && let Some(found) = enclosed(text, at, cx)
    {
        return Some(found);
    }
    if text[at..].starts_with(b"%22") || text[at..].starts_with(b"%27") {
        let start = at + 3;
        let end =
            memmem::find(&text[start..], &text[at..start]).map_or_else(|| token_end(text, start, cx), |p| start + p);
        return (start < end).then(|| Found::plain(start, end));
    }
    if key.quote == Quote::None && cx.colon && matches!(cx.word, Word::Authorization | Word::Cookie) {
        return header(text, at, cx);
    }
    unquoted(text, at, cx)
}

/// A value in the quotes of printers, to the quote that closes it or to the end of the line.
fn typographic(text: &[u8], at: usize) -> Option<Found> {
    const QUOTES: [(&str, &[&str]); 7] = [
        ("“", &["”"]),
        ("„", &["“", "”"]),
        ("‘", &["’"]),
        ("«", &["»"]),
        ("‹", &["›"]),
        ("「", &["」"]),
        ("『", &["』"]),
    ];
    let (open, closes) = QUOTES.iter().find(|(open, _)| text[at..].starts_with(open.as_bytes()))?;
    let start = skip_blanks(text, at + open.len());
    let line = line_end(text, start);
    let close = closes.iter().filter_map(|c| memmem::find(&text[start..line], c.as_bytes())).min();
    let mut end = close.map_or(line, |p| start + p);
    while end > start && text[end - 1] == b' ' {
        end -= 1;
    }
    end = super::ends::wide_blanks_before(text, end).max(start);
    (start < end).then(|| Found::plain(start, end))
}

/// The value of a pair that stands in quotes as a whole, as in environments and arguments: `"PASSWORD=a b"`.
fn enclosed(text: &[u8], at: usize, cx: &Context<'_>) -> Option<Found> {
    let head = &text[..cx.key.start];
    let head = head.strip_suffix(b"--").unwrap_or(head);
    let (&quote, head) = head.split_last().filter(|(q, _)| matches!(q, b'"' | b'\''))?;
    let level = head.iter().rev().take_while(|&&b| b == b'\\').count();
    let begins = matches!(head[..head.len() - level].last(), None | Some(b' ' | b'\t' | b'\n' | b'[' | b',' | b'='));
    let inner = head.ends_with(b"=") && is_at(text, cx.key.start, LOWER);
    if !begins || inner || text.get(at) == Some(&quote) {
        return None;
    }
    encloses(text, cx.key, at, quote, level).map(|end| Found::plain(at, end))
}

/// Where the quote with so many backslashes closes a pair of this key whose value begins at `at`, if the pair is all that
/// stands in the quotes: the value is a plain one of several words; or the key is an option or in capitals, as in
/// environments, and no other such pair follows.
pub(super) fn encloses(text: &[u8], key: &Key, at: usize, quote: u8, level: usize) -> Option<usize> {
    let near = &text[..text.len().min(at + 512)];
    let (end, close) = quote_end(&near[..line_end(near, at)], at, quote, level)?;
    let value = &text[at..end];
    if close - end != level || !after_value(text, close + 1, quote) || value.is_empty() || is_placeholder(value) {
        return None;
    }
    let plain = !value.iter().any(|&b| matches!(b, b'=' | b':' | b'"' | b'\'' | b'\\')) && value.contains(&b' ');
    let capital = |b: &u8| is(*b, UPPER | DIGIT) || *b == b'_';
    let dashes = text[..key.start].ends_with(b"--") || text[key.start..].starts_with(b"--");
    let own = dashes || text[key.start..key.end].iter().all(capital);
    let next = |word: &[u8]| {
        let name = word.strip_prefix(b"--").unwrap_or(word);
        let name_end = name.iter().position(|b| *b == b'=').unwrap_or(0);
        name_end > 0 && (name.len() < word.len() || name[..name_end].iter().all(capital))
    };
    // Without blanks and `&` it is over there anyway.
    let several = value.iter().any(|&b| matches!(b, b' ' | b'&' | b',' | b';' | b'|'));
    let alone = several && !value.split(|&b| b == b' ').skip(1).any(next);
    (plain || (own && alone)).then_some(end)
}

/// A value in what stands for quotes, to the next of them that is not escaped.
pub(super) fn aliased(text: &[u8], start: usize, alias: &[u8], word: Word) -> Option<Found> {
    let mut from = start;
    let end = loop {
        match memmem::find(&text[from..], alias) {
            Some(p) if text[..from + p].ends_with(b"\\") || text[..from + p].ends_with(b"%5C") => {
                from += p + alias.len()
            }
            Some(p) => break from + p,
            None => break line_end(text, start),
        }
    };
    let value = after_scheme(text, start, end, word);
    (value < end).then(|| Found::plain(value, end))
}

/// An unquoted value, which may be a scheme and its credentials.
pub(super) fn unquoted(text: &[u8], at: usize, cx: &Context<'_>) -> Option<Found> {
    let mut end = token_end(text, at, cx);
    if end == at {
        return None;
    }
    if cx.word == Word::Phrase {
        return Some(Found::plain(at, header_end(text, at, cx.key)));
    }
    if cx.word == Word::Authorization && cx.key.quote == Quote::None {
        return header(text, at, cx);
    }
    if cx.word == Word::Cookie {
        while text[end - 1] == b';' || text.get(end) == Some(&b';') {
            let next = skip_blanks(text, end + usize::from(text.get(end) == Some(&b';')));
            let goes_on = token_end(text, next, cx);
            if goes_on <= next {
                break;
            }
            end = goes_on;
        }
    }
    if cx.word == Word::Plain && text[end..].starts_with(b" / ") {
        // `creds: bob / x`.
        let second = end + 3 + text[end + 3..].iter().take(MAX_NAME).take_while(|&&b| b > b' ' && b != b'"').count();
        if looks_secret(&text[end + 3..second]) {
            return Some(Found::plain(at, second));
        }
    }
    if !matches!(scheme(&text[at..end], cx.word), Scheme::None) {
        let next = skip_blanks(text, end);
        let next_end = token_end(text, next, cx);
        // Alone, the word is the value.
        if next > end && next_end > next && !names_next(text, next) {
            return Some(Found::plain(next, next_end));
        }
    }
    Some(Found::plain(at, end))
}

/// A value in quotes, without them. A quote that something follows which cannot follow a value closes nothing.
pub(super) fn quoted(text: &[u8], open: usize, level: usize, cx: &Context<'_>) -> Option<Found> {
    let quote = text[open];
    let mut start = open + 1;
    let three =
        level == 0 && text[start..].starts_with(&[quote, quote]) && text.get(start + 2).is_some_and(|&b| b != quote);
    if three && !after_value(text, start + 1, quote) {
        start += 2;
        let end = memmem::find(&text[start..], &[quote; 3]).map_or_else(|| line_end(text, start), |p| start + p);
        return (start < end).then(|| Found::plain(start, end));
    }
    let mut from = start;
    let end = loop {
        let Some((end, close)) = quote_end(text, from, quote, level) else {
            // Not closed: the rest of the line, or what was closed before.
            let rest = line_end(text, start);
            break if from > start { token_end(text, from, cx).max(from) } else { rest };
        };
        if quote == b'\'' && level == 0 && text[close + 1..].starts_with(b"\\''") {
            // A shell's way to write an apostrophe.
            from = close + 4;
            continue;
        }
        if after_value(text, close + 1, quote) || (end == start && from == start) {
            break end;
        }
        // Doubled, or not the end.
        from = close + 1 + usize::from(text.get(close + 1) == Some(&quote));
    };
    let value = after_scheme(text, start, end, cx.word);
    if cx.word == Word::Authorization && !matches!(cx.key.quote, Quote::None) && no_secret(cx.word, &text[value..end]) {
        return None;
    }
    (value < end).then(|| Found::plain(value, end))
}

/// The value of a JSON key whose quotes have `level` backslashes: numbers, booleans, arrays and objects become a
/// string, null stays. `None` when the value is a string, or no JSON.
pub(super) fn json_value(text: &[u8], at: usize, level: usize) -> Option<Option<Found>> {
    let wrap = u8::try_from(level + 1).ok()?;
    let end = match *text.get(at)? {
        b'{' | b'[' => {
            let end = container_end(text, at, level);
            // `[]string{"x"}` is no JSON.
            if is_at(text, end, ALNUM) || matches!(text.get(end), Some(b'{' | b'(' | b'[' | b'*')) {
                return None;
            }
            if level == 0 && super::shape::describes(&text[at..end]) {
                return Some(None);
            }
            end
        }
        b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => {
            let mut end = at;
            while end < text.len() && (is(text[end], ALNUM) || matches!(text[end], b'-' | b'+' | b'.')) {
                end += 1;
            }
            let word = &text[at..end];
            let literal = word == b"true" || word == b"false" || word == b"null";
            if !literal
                && (is(text[at], LOWER)
                    || !word.iter().all(|&b| is(b, DIGIT) || matches!(b, b'-' | b'+' | b'.' | b'e' | b'E')))
            {
                return None;
            }
            // Not JSON unless something that may follow a value does.
            if !matches!(text.get(end), None | Some(b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r' | b'\\')) {
                return None;
            }
            // Neither says anything.
            if literal {
                return Some(None);
            }
            end
        }
        _ => return None,
    };
    Some(Some(Found { wrap, ..Found::plain(at, end) }))
}

/// The end of the array or object at `at`, or of the text when it is cut off.
pub(super) fn container_end(text: &[u8], at: usize, level: usize) -> usize {
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
                let slashes = slashes_before(&text[at..], i - at);
                if slashes != level {
                    // The string that holds the JSON ends here.
                    return i - slashes;
                }
                match quote_end(text, i + 1, b'"', level) {
                    Some((end, close)) if close - end == level => i = close,
                    Some((end, _)) => return end,
                    None => return line_end(text, i),
                }
            }
            _ => {}
        }
        i += 1;
    }
    text.len()
}

/// What stands in brackets, as Java and Go print headers and maps: `token=[x y]`. `None` where more follows the bracket:
/// then all of it is the value.
pub(super) fn bracketed(text: &[u8], at: usize, cx: &Context<'_>) -> Option<Option<Found>> {
    let end = bracket_end(text, at)?;
    let next = text.get(end).copied();
    if next.is_some_and(|b| !ends_value(text, end, b)) {
        return None;
    }
    let (start, close) = (at + 1, end - 1);
    if is_placeholder(&text[at..end]) {
        return Some(None);
    }
    let (mut from, mut to) = (start, close);
    if let Some((open, slashes)) = quote_at(text, from).filter(|q| q.0 < close) {
        // `["x"]`, and `["x", "y"]` from the first to the last quote.
        if let Some(last) = text[open + 1..close].iter().rposition(|&b| b == text[open]) {
            if last + open + 2 + slashes < close && text[open + 2 + last..close].iter().any(|&b| is(b, ALNUM)) {
                return Some(Some(Found::plain(start, close)));
            }
            from = open + 1;
            to = open + 1 + last - slashes.min(last);
        }
    }
    let value = after_scheme(text, from, to, cx.word);
    Some((value < to).then(|| Found::plain(value, to)))
}
