//! Values whose anchor is a quote or the end of a tag.
//!
//! `<password>x</password>` · `<property name="password">x</property>` · `<name>password</name><value>x</value>` ·
//! `["password", "x"]` · `('authorization', 'Bearer x')` · `IDENTIFIED BY 'x'` · `password "x"`.

use super::value::{self, Context};
use super::{Key, PairKey, Quote, Word, key};
use super::{ends, none, programs};
use crate::transforms::redact::ascii::{ALNUM, KEY, UPPER, is, is_before, run_back};
use crate::transforms::redact::find::Found;
use memchr::{memchr, memchr3, memmem, memrchr};

/// The longest tag that is looked at.
const MAX_TAG: usize = 200;

/// The leftmost value at or after `from`.
#[inline(never)]
pub(in crate::transforms::redact::find) fn find(text: &[u8], from: usize) -> Option<Found> {
    let mut at = from;
    while let Some(found) = memchr3(b'"', b'\'', b'>', &text[at..]) {
        let sign = at + found;
        at = sign + 1;
        let hit = match text[sign] {
            b'>' => element(text, sign),
            _ => list_of_two(text, sign)
                .or_else(|| behind_word(text, sign))
                .or_else(|| behind_arrow(text, sign))
                .or_else(|| tuple(text, sign))
                .or_else(|| argument(text, sign))
                .or_else(|| side_by_side(text, sign))
                .or_else(|| programs::quoted(text, sign))
                .or_else(|| in_flat_list(text, sign)),
        };
        if let Some(hit) = hit.filter(|h| h.start >= from) {
            return Some(hit);
        }
    }
    None
}

/// The text of the element whose tag ends at `end`, if its name or the attribute that names it says that it is a secret.
fn element(text: &[u8], end: usize) -> Option<Found> {
    // Only a name, a quote or a blank stands before the end of such a tag.
    if !is_before(text, end, ALNUM) && !matches!(text[..end].last(), Some(b'"' | b'\'' | b'_' | b'-')) {
        return None;
    }
    let least = end.saturating_sub(MAX_TAG);
    let open = match memrchr(b'<', &text[least..end]) {
        Some(open) => least + open + 1,
        // The text may have been cut within the tag.
        None if least == 0 && super::key_start(text, end) == 0 => 0,
        None => return None,
    };
    let tag = &text[open..end];
    // A type with a type in it, as in `Option<Token>`; a word in the place of a value.
    let generic = open >= 2 && is(text[open - 2], ALNUM);
    let sign = matches!(text.get(end + 1), Some(b' ' | b'"' | b'\'' | b'`' | b'@' | b':'));
    let closed = || {
        memchr(b'<', &text[end..text.len().min(end + ends::MAX_BRACKET)])
            .is_some_and(|p| text[end + p..].starts_with(b"</"))
    };
    if generic || (sign && !closed()) {
        return None;
    }
    if tag.first() == Some(&b'/') || tag.contains(&b'>') {
        return None;
    }
    content(text, tag, end + 1, b"</")
}

/// The text behind a tag that names a secret, up to the tag that closes it.
fn content(text: &[u8], tag: &[u8], start: usize, close: &[u8]) -> Option<Found> {
    let name_end = tag.iter().position(|&b| b <= b' ').unwrap_or(tag.len());
    let name = tag[..name_end].rsplit(|&b| b == b':').next()?;
    if !name.iter().all(|&b| is(b, KEY)) {
        return None;
    }
    let mut start = start;
    let mut first = ends::skip_space(text, start);
    // `<AdminPassword><Value>x</Value>`.
    if text.get(first) == Some(&b'<')
        && let Some(close) = memchr(b'>', &text[first..text.len().min(first + 60)]).map(|p| first + p)
        && close - first > 5
        && text[close - 5..close].eq_ignore_ascii_case(b"value")
    {
        start = close + 1;
        first = ends::skip_space(text, start);
    }
    if text.get(first) == Some(&b'<') && !text[first..].starts_with(b"<![CDATA[") {
        return None;
    }
    if let Some(word) = key::word_of(name).or_else(|| attribute(&tag[name_end..])) {
        let cdata = text[first..].starts_with(b"<![CDATA[");
        let end = if cdata { memmem::find(&text[start..], close) } else { memchr(b'<', &text[start..]) };
        if end.is_none() && text.get(start) == Some(&b' ') {
            // `--token <TOKEN>    what it is for`.
            return None;
        }
        let end = end.or_else(|| memchr(b'\n', &text[start..])).map_or(text.len(), |p| start + p);
        return secret(text, word, trimmed(text, start, end));
    }
    if PairKey::of(name) != Some(PairKey::Name) && !matches!(name, b"td" | b"th" | b"dt") {
        return None;
    }
    // `<name>password</name><value>x</value>`.
    let end = start + memchr(b'<', &text[start..text.len().min(start + MAX_TAG)])?;
    let named = trimmed(text, start, end);
    let word = key::word_of(&text[named.0..named.1])?;
    let after = end + memchr(b'>', &text[end..text.len().min(end + MAX_TAG)])? + 1;
    let next = ends::skip_space(text, after);
    let other = text.get(next).filter(|&&b| b == b'<').map(|_| next + 1)?;
    let other_end = other + memchr(b'>', &text[other..text.len().min(other + MAX_TAG)])?;
    let other_name = text[other..other_end].split(|&b| b == b' ').next()?;
    if PairKey::of(other_name) != Some(PairKey::Value) && !matches!(other_name, b"string" | b"td" | b"dd") {
        return None;
    }
    let mut start = other_end + 1;
    if text[start..].starts_with(b"<string>") {
        start += 8;
    }
    let end = start + memchr(b'<', &text[start..])?;
    secret(text, word, trimmed(text, start, end))
}

fn trimmed(text: &[u8], start: usize, end: usize) -> (usize, usize) {
    let from = ends::skip_space(text, start).min(end);
    (from, ends::space_before(text, end).max(from))
}

fn secret(text: &[u8], word: Word, (start, end): (usize, usize)) -> Option<Found> {
    let inner = &text[start..end];
    let none = inner.is_empty() || inner.first() == Some(&b'<') && !inner.starts_with(b"<![CDATA[");
    if none || none::is_placeholder(inner) || none::no_secret(word, inner) {
        return None;
    }
    Some(Found::plain(start, end))
}

/// The word of the value of an attribute such as `name="password"`.
fn attribute(attributes: &[u8]) -> Option<Word> {
    let mut rest = attributes;
    while let Some(p) = memchr(b'=', rest) {
        let name = &rest[run_back(rest, 0, p, ALNUM)..p];
        let quote = *rest.get(p + 1)?;
        if !matches!(quote, b'"' | b'\'') {
            return None;
        }
        let start = p + 2;
        let end = start + memchr(quote, &rest[start..])?;
        if PairKey::of(name) == Some(PairKey::Name)
            && let Some(word) = key::word_of(&rest[start..end])
        {
            return Some(word);
        }
        rest = &rest[end + 1..];
    }
    None
}

/// As [`programs::flat_pair`], of a list in a text: the string that ends at `close` follows another one.
fn in_flat_list(text: &[u8], close: usize) -> Option<Found> {
    if text.get(close + 1) != Some(&b',') || !is_before(text, close, ALNUM) {
        return None;
    }
    let start = super::key_start(text, close);
    let before = text[..start.saturating_sub(1)].trim_ascii_end();
    if before.ends_with(b",") { programs::flat_pair(text, close) } else { None }
}

/// As [`list_of_two`], of the list whose bracket is at `bracket`.
pub(super) fn list_of_two_at(text: &[u8], bracket: usize) -> Option<Found> {
    let (open, slashes) = ends::quote_at(text, ends::skip_space(text, bracket + 1))?;
    let close = open + 1 + memchr(b'"', &text[open + 1..text.len().min(open + 100)])?;
    if slashes > 0 { None } else { list_of_two(text, close) }
}

/// The second of two strings in brackets of which the first, closed by the quote at `close`, is a key of a secret.
fn list_of_two(text: &[u8], close: usize) -> Option<Found> {
    let slashes = ends::slashes_before(text, close);
    let mut at = ends::skip_space(text, close + 1);
    if text.get(at) != Some(&b',') {
        return None;
    }
    let end = close - slashes;
    let quote = text[close];
    let start = super::key_start(text, end);
    if start == end || start == 0 || text[start - 1] != quote || ends::slashes_before(text, start - 1) != slashes {
        return None;
    }
    let name = &text[start..end];
    let word = key::word_of(name).filter(|w| *w != Word::Pin)?;
    // The bracket before it, perhaps behind a prefix such as `b`.
    let open = ends::space_before(text, start - 1 - slashes);
    let open = if is_before(text, open, ALNUM) { open - 1 } else { open };
    if !matches!(text[..open].last(), Some(b'[' | b'(' | b'{')) {
        return None;
    }
    at = ends::skip_space(text, at + 1);
    let prefixed = text.get(at).is_some_and(|&b| is(b, ALNUM)) && matches!(text.get(at + 1), Some(b'"' | b'\''));
    let at = at + usize::from(prefixed);
    let json = if quote == b'"' { Quote::Double(slashes) } else { Quote::Single };
    ends::quote_at(text, at).or_else(|| text.get(at).filter(|b| b.is_ascii_digit()).map(|_| (at, 0)))?;
    let key = Key { quote: json, start, end };
    let cx = Context { key: &key, word, encoded: false, colon: false };
    let found = value::begins(text, at, &cx)?;
    let (from, to) = (found.start, found.end);
    // Only two, and not two names.
    let behind = match ends::quote_at(text, to) {
        Some((q, _)) if found.wrap == 0 => q + 1,
        _ => to,
    };
    let over = ends::skip_space(text, behind);
    if !matches!(text.get(over), Some(b']' | b')' | b'}')) {
        return None;
    }
    let second = &text[from..to];
    if is_name(second) || none::is_placeholder(second) || none::no_secret(word, second) {
        return None;
    }
    Some(found)
}

/// Whether a text is the name of a field as well.
fn is_name(text: &[u8]) -> bool {
    const NAMES: [&[u8]; 9] =
        [b"username", b"user", b"email", b"login", b"name", b"id", b"host", b"phone", b"remember"];
    NAMES.iter().any(|n| text.eq_ignore_ascii_case(n))
        || (key::word_of(text).is_some() && !text.iter().any(u8::is_ascii_digit))
}

/// A string in quotes behind a word: `IDENTIFIED BY 'x'`, `WITH PASSWORD 'x'`.
fn behind_word(text: &[u8], sign: usize) -> Option<Found> {
    const WORDS: [&[u8]; 16] = [
        b"plaintext",
        b"by values",
        b"password from",
        b"securestring -string",
        b" : psk",
        b" : eap",
        b"-asplaintext -force -string",
        b"password",
        b"passwd",
        b"passphrase",
        b"identified by",
        b"password is",
        b"password was",
        b"password to",
        b"encrypted by",
        b"securestring",
    ];
    let slashes = ends::slashes_before(text, sign);
    let mut at = sign - slashes;
    // `E'x'`, `N'x'`, `b"x"`.
    if is_before(text, at, ALNUM) && at >= 2 && text[at - 2] == b' ' {
        at -= 1;
    }
    if !matches!(text[..at].last(), Some(b' ' | b'(')) {
        return None;
    }
    let before = &text[..at - 1];
    let ends = |w: &[u8]| before.len() >= w.len() && before[before.len() - w.len()..].eq_ignore_ascii_case(w);
    let call = text[at - 1] == b'(';
    let word =
        if call { ends(b"password") || ends(b"passwd") || setter(before) } else { WORDS.iter().any(|w| ends(w)) };
    let by = || {
        ((ends(b" by") || ends(b" replace") || ends(b" as")) && has_near(before, b"identified"))
            || (ends(b" to") && (has_near(before, b"password from") || has_near(before, b"password changed from")))
            || ([&b" sha"[..], b" md5", b" aes", b" des"].iter().any(|w| ends(w)) && has_near(before, b"createuser"))
    };
    // Only where it looks like one: `secret "x"` is the name of one as a rule.
    let looks = || {
        before.ends_with(b" pwd")
            || (before.ends_with(b" SECRET") || ends(b"secret") || ends(b" with value") || ends(b"default"))
                && near_word(before)
    };
    let doubtful = !word && !call && !by();
    if !word && (call || doubtful && !looks()) {
        return None;
    }
    if ends::Enclosing::of(text, at).any(text[sign], slashes) {
        return None;
    }
    let key = Key { quote: Quote::None, start: at - 1, end: at - 1 };
    let cx = Context { key: &key, word: Word::Plain, encoded: false, colon: false };
    let found = value::quoted(text, sign, slashes, &cx)?;
    let value = &text[found.start..found.end];
    let long = !ends(b"secret") || (value.len() >= 20 && value.iter().any(|&b| is(b, UPPER)));
    let none = none::is_placeholder(value) || (doubtful && !(long && none::looks_secret(value)));
    (!none).then_some(found)
}

/// Whether a word of a secret is among the last of a text: `--db-password string  the password (default`.
fn near_word(text: &[u8]) -> bool {
    let near = &text[text.len().saturating_sub(100)..];
    near.split(|&b| !is(b, KEY)).any(|w| w.len() > 5 && key::word_of(w) == Some(Word::Plain))
}

/// The argument of a function that takes it as a password, after others: `connect("db", "bob", "x")`, `login('bob', 'x')`.
fn argument(text: &[u8], sign: usize) -> Option<Found> {
    // Names in lower case and without signs, and the place of the password, from 1.
    const FUNCTIONS: [(&[u8], usize); 18] = [
        (b"auth", 1),
        (b"login", 1),
        (b"signin", 1),
        (b"authenticate", 1),
        (b"basicauth", 1),
        (b"setbasicauth", 1),
        (b"httpbasicauth", 1),
        (b"passwordauthentication", 1),
        (b"networkcredential", 1),
        (b"usernamepasswordcredentials", 1),
        (b"getconnection", 2),
        (b"connect", 2),
        (b"mysqlconnect", 2),
        (b"mysqliconnect", 2),
        (b"construct", 2),
        (b"pdo", 2),
        (b"spaddlogin", 1),
        (b"credentials", 3),
    ];
    let head = text[..sign].trim_ascii_end();
    let head = head.strip_suffix(b"Some(").unwrap_or(head).trim_ascii_end().strip_suffix(b",")?;
    // Back over the arguments before it, to the bracket and the name; `sp_addlogin` has none.
    let least = head.len().saturating_sub(MAX_TAG);
    let (mut at, mut place, mut quote) = (head.len(), 1, None);
    let name_end = loop {
        at = at.checked_sub(1).filter(|&at| at >= least)?;
        match (text[at], quote) {
            (b, Some(q)) if b == q => quote = None,
            (_, Some(_)) => {}
            (b @ (b'"' | b'\''), None) => quote = Some(b),
            (b',', None) => place += 1,
            (b'(', None) => break at,
            (b' ', None) if text[..at].ends_with(b"sp_addlogin") => break at,
            (b'\n' | b')' | b';' | b'{' | b'}' | b'[' | b']', None) => return None,
            _ => {}
        }
    };
    let start = super::key_start(text, name_end);
    let mut name = [0; 32];
    let mut len = 0;
    for &b in text[start..name_end].rsplit(|&b| b == b'.').next()? {
        *name.get_mut(len)? = b.to_ascii_lowercase();
        len += usize::from(is(b, ALNUM));
    }
    let name = &name[..len];
    let first_is_key = || {
        let first = text[name_end + 1..head.len()].trim_ascii();
        let inner = first.get(1..first.len().saturating_sub(1)).unwrap_or_default();
        place == 1 && key::word_of(inner).is_some_and(|w| matches!(w, Word::Plain | Word::Token))
    };
    let of_key = matches!(name, b"string" | b"stringvar" | b"setdefault" | b"put" | b"set" | b"setenv" | b"add");
    let setter = name.ends_with(b"userpassword") && place == 1;
    if !FUNCTIONS.contains(&(name, place)) && !setter && !(of_key && first_is_key()) {
        return None;
    }
    let slashes = ends::slashes_before(text, sign);
    let key = Key { quote: Quote::Single, start: sign, end: sign };
    let cx = Context { key: &key, word: Word::Plain, encoded: false, colon: false };
    let found = value::quoted(text, sign, slashes, &cx)?;
    let value = &text[found.start..found.end];
    (!is_name(value) && !none::is_placeholder(value) && (!of_key || none::looks_secret(value))).then_some(found)
}

/// A string in a tuple of Erlang or Elixir, behind a word: `{password,"x"}`, `{password,<<"x">>}`.
fn tuple(text: &[u8], sign: usize) -> Option<Found> {
    let slashes = ends::slashes_before(text, sign);
    let head = text[..sign - slashes].trim_ascii_end();
    let head = head.strip_suffix(b"<<").unwrap_or(head).trim_ascii_end().strip_suffix(b",")?;
    let start = super::key_start(head, head.len());
    let open = head[..start].strip_suffix(b":").unwrap_or(&head[..start]);
    if start == head.len() || !open.ends_with(b"{") {
        return None;
    }
    let word = key::word_of(&head[start..]).filter(|w| matches!(w, Word::Plain | Word::Token | Word::Pass))?;
    let key = Key { quote: Quote::None, start, end: head.len() };
    let cx = Context { key: &key, word, encoded: false, colon: false };
    let found = value::quoted(text, sign, slashes, &cx)?;
    (!none::is_placeholder(&text[found.start..found.end])).then_some(found)
}

/// The second of two strings with a blank between, of which the first, closed at `close`, is a key of a secret:
/// `"CONFIG" "SET" "requirepass" "x"`; and behind `"AUTH"` the last of one or two.
fn side_by_side(text: &[u8], close: usize) -> Option<Found> {
    let next = close + 2;
    if text.get(close + 1) != Some(&b' ') || text.get(next) != Some(&text[close]) {
        return None;
    }
    let start = super::key_start(text, close);
    let before = text[..start].last()?;
    if start == close || (*before != text[close] && *before != b':') {
        return None;
    }
    let name = &text[start..close];
    let key = Key { quote: Quote::Single, start, end: close };
    let cx = Context { key: &key, word: Word::Plain, encoded: false, colon: false };
    let string = |open: usize| value::quoted(text, open, 0, &cx);
    let found = if name == b"PLAIN" && text[..start].ends_with(b"AUTHENTICATE \"") {
        string(next)?
    } else if name == b"AUTH" {
        let first = string(next)?;
        match text.get(first.end..first.end + 3) {
            Some(t) if t[1] == b' ' && t[2] == text[close] => string(first.end + 2)?,
            _ => first,
        }
    } else {
        key::word_of(name).filter(|w| matches!(w, Word::Plain))?;
        string(next)?
    };
    let value = &text[found.start..found.end];
    (!none::is_placeholder(value) && none::looks_secret(value)).then_some(found)
}

/// Whether a text ends with the name of a function that takes a secret: `setToken`, `withApiKey`.
fn setter(before: &[u8]) -> bool {
    let name = &before[super::key_start(before, before.len())..];
    let name = name.rsplit(|&b| b == b'.').next().unwrap_or(name);
    [&b"set"[..], b"with", b"use"].iter().any(|p| name.starts_with(p)) && key::word_of(name) == Some(Word::Plain)
}

/// Whether the word, in any case, is among the last bytes of a text.
fn has_near(text: &[u8], word: &[u8]) -> bool {
    let near = &text[text.len().saturating_sub(80)..];
    near.windows(word.len()).any(|w| w.eq_ignore_ascii_case(word))
}

/// A string behind an arrow or a comma: `"password" -> "x"`, `password = "x" -> "y"`, `{:password, "x"}`.
fn behind_arrow(text: &[u8], sign: usize) -> Option<Found> {
    let slashes = ends::slashes_before(text, sign);
    let at = sign - slashes;
    let head = text[..at].strip_suffix(b" ")?;
    let (head, arrow) = if let Some(head) = head.strip_suffix(b"->").or_else(|| head.strip_suffix("→".as_bytes())) {
        (head.trim_ascii_end(), true)
    } else {
        (head.strip_suffix(b",")?, false)
    };
    let mut end = head.len();
    if arrow {
        while end > 0 && matches!(head[end - 1], b'"' | b'\'' | b'\\') {
            end -= 1;
        }
    }
    let start = super::key_start(head, end);
    let atom = start >= 2 && head[start - 1] == b':' && matches!(head[start - 2], b'{' | b'[' | b'(');
    let mut word = if arrow || atom { key::word_of(&head[start..end]) } else { None };
    if word.is_none() && arrow {
        // What is changed from and to: the key is the first of the line.
        let least = at.saturating_sub(MAX_TAG);
        let line = memrchr(b'\n', &text[least..at]).map_or(least, |p| least + p + 1);
        let equals = line + memchr(b'=', &text[line..at])?;
        let key = super::key_before(text, equals)?;
        word = key::word_of(&text[key.start..key.end]);
    }
    let key = Key { quote: Quote::None, start: at, end: at };
    let cx = Context { key: &key, word: word?, encoded: false, colon: false };
    let found = value::quoted(text, sign, slashes, &cx)?;
    (!none::is_placeholder(&text[found.start..found.end])).then_some(found)
}
