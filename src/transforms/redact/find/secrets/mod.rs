//! The value after a word such as `password` or `api key`.
//!
//! Three finders share the work, so that each passes over the text once:
//! - this one takes `:`, `=` and what stands for them in URLs as its anchor: from there back to the key (over blanks,
//!   quotes, brackets), forth to the value;
//! - [`quotes`]: elements of XML, lists of two, values in quotes behind a word (`IDENTIFIED BY 'x'`);
//! - [`words`]: options of commands (`--password x`, `mysql -px`) and words behind which a value follows after a blank.
//!
//! The value only is a hit: key, separator and quotes stay.
//!
//! **Where a value ends** is told by what encloses it: its own quotes or brackets, the quotes that the whole `key=value`
//! stands in, the end of the header, the indentation of its block. Where that cannot be told, more is masked, not less: a
//! quote that closes nothing is part of the value, and so is what follows a bracket without a blank.
//!
//! What is understood, by example (the value is `x`):
//! `password=x` · `Password : x` · `db_password := x` · `apiKey => 'x'` · `{"token":"x"}` · `{\"token\":\"x\"}` (JSON in a
//! string, up to four levels) · `{"pin_secret":{"a":1}}` and `"token":5` (replaced by a string, so that JSON stays JSON) ·
//! `password: Some("x")`, `b"x"` · `Authorization: Bearer x` (the scheme stays) · `Authorization: Digest x…` (to the end of
//! the header) · `[Authorization:[Bearer x]]` · `?access_token=x&` · `user[password][]=x` · `%3Ftoken%3Dx%26` (URL in a
//! URL) · `&quot;password&quot;:&quot;x&quot;` · `password: |` and the lines below · `{"name":"password","value":"x"}`.

mod block;
mod ends;
mod header;
mod key;
mod none;
mod odd;
mod pairs;
pub(super) mod programs;
pub(super) mod quotes;
mod shape;
mod value;
pub(super) mod words;

pub(in crate::transforms::redact) use ends::{skip_space, space_before};
pub(in crate::transforms::redact) use key::Word;
pub(in crate::transforms::redact) use pairs::PairKey;

use super::{Found, network};
use crate::transforms::redact::ascii::{ALNUM, DIGIT, KEY, is, run_back};
use crate::transforms::redact::marks::Marks;

/// The leftmost value at or after `from`, of a separator at or after `from`.
#[inline(never)]
pub(super) fn find(text: &[u8], from: usize, marks: &Marks) -> Option<Found> {
    for (block, mut bits) in marks.places(from, |p| p.separators) {
        while bits != 0 {
            let sep = block + bits.trailing_zeros() as usize;
            bits &= bits - 1;
            let encoded = text[sep] == b'%';
            let mut after = sep + 1;
            if encoded {
                match text.get(sep + 1..sep + 3) {
                    Some(b"3D" | b"3d" | b"3A" | b"3a") => after = sep + 3,
                    // Encoded twice.
                    Some(b"25") if matches!(text.get(sep + 3..sep + 5), Some(b"3D" | b"3d" | b"3A" | b"3a")) => {
                        after = sep + 5;
                    }
                    _ => continue,
                }
            }
            // Most separators have a digit, a blank or a bracket before them that no key ends with.
            let Some(key) = key_before(text, sep) else {
                if sep > 0 && text[sep - 1] == b'\n' && text[sep] == b':' {
                    // What stands above may be the key.
                    let found = programs::explicit_key(text, sep);
                    if found.is_some_and(|f| f.start >= from) {
                        return found;
                    }
                }
                continue;
            };
            if let Some(hit) = separated(text, sep, after, &key, encoded, marks).filter(|h| h.start >= from) {
                return Some(hit);
            }
        }
    }
    None
}

/// The value of what stands before the separator.
fn separated(text: &[u8], sep: usize, after: usize, key: &Key, encoded: bool, marks: &Marks) -> Option<Found> {
    if text[after..].starts_with(b"//") {
        return network::url_password(text, sep);
    }
    let name = &text[key.start..key.end];
    if let Some(found) = odd::value(text, after, key, encoded, marks) {
        return Some(found);
    }
    if let Some(word) = key::word_of(name).or_else(|| longer_word(text, key)) {
        if key.start > 4 && text[key.start - 1] == b'/' && matches!(word, Word::Pass | Word::Plain) {
            // `user/pass: bob/x`.
            if let Some(found) = programs::behind_slash(text, after, key) {
                return found;
            }
        }
        if word == Word::Pass
            && key.quote == Quote::None
            && text[sep] == b':'
            && !odd::pass_of_openssl(text, key.start)
            && !odd::looks_passed(text, after)
        {
            return None;
        }
        if key.quote == Quote::None && not_a_key(text, sep, after, key, word) {
            return None;
        }
        let found = value::after(text, after, &value::Context { key, word, encoded, colon: text[sep] == b':' });
        // Within a reference a colon stands before each part.
        return found.filter(|_| !(text[..key.start].ends_with(b":") && in_reference(text, key.start)));
    }
    let mut found = pairs::after_name(text, after, key, encoded);
    let next = text.get(after);
    if found.is_none() && next == Some(&b' ') && key.quote == Quote::None && odd::may_prompt(text, key) {
        found = odd::prompt(text, after, key);
    }
    let named = programs::may_be_named(name) || matches!(next, Some(b'\n' | b'\r'));
    if found.is_none() && named {
        found = odd::named(text, sep, after, key).or_else(|| programs::named(text, sep, after, key));
    }
    if found.is_none() && next == Some(&b' ') && text.get(after + 1) == Some(&b'[') {
        found = programs::of_radius(text, after + 1);
    }
    found
}

/// Whether the words before the separator only look like a key: `unexpected token: x`, `input[type=password]:focus`,
/// `scope=token:read`, `string password = 2;`, `token: bucket exhausted`.
#[inline(never)]
fn not_a_key(text: &[u8], sep: usize, after: usize, key: &Key, word: Word) -> bool {
    let before = &text[..key.start];
    if word == Word::Token && in_grammar(text, key.start) {
        return true;
    }
    if word == Word::Pass && text[sep] == b'=' {
        // `pass=2 of 3`.
        let digits = text[after..].iter().take(6).take_while(|b| b.is_ascii_digit()).count();
        return digits > 0 && text[after + digits..].starts_with(b" of ");
    }
    if before.ends_with(b"type=") && text[key.end] == b']' {
        return true;
    }
    if before.ends_with(b"=") && text[sep] == b':' && matches!(word, Word::Token | Word::Weak) {
        return true;
    }
    let at = ends::skip_blanks(text, after);
    if at == after {
        return text[sep] == b':' && is_place(text, after, key, word);
    }
    if text[sep] == b'=' {
        // The number of a field in Protocol Buffers.
        let digits = text[at..].iter().take(3).take_while(|b| b.is_ascii_digit()).count();
        let declared = [&b"string "[..], b"bytes ", b"bool ", b"int32 ", b"int64 "].iter().any(|t| before.ends_with(t));
        return declared && digits > 0 && text.get(at + digits) == Some(&b';');
    }
    // A sentence about it: its next word and another one.
    let end = at + text[at..].iter().take(24).take_while(|b| b.is_ascii_lowercase()).count();
    let next = text.get(end) == Some(&b' ') && text.get(end + 1).is_some_and(u8::is_ascii_lowercase);
    next && (key::is_about(&text[at..end]) || key::word_of(&text[at..end]).is_some())
}

/// Whether a key and what follows its colon without a blank is a place in a file (`token.rs:12`), the name of something in a
/// program (`auth::login`, `token:17:profile`), or of a right, a task or a state (`secrets:read`, `auth:migrate`, `a.token:hover`).
fn is_place(text: &[u8], after: usize, key: &Key, word: Word) -> bool {
    const FILES: [&[u8]; 20] = [
        b"rs", b"go", b"py", b"js", b"ts", b"java", b"kt", b"rb", b"php", b"cs", b"cpp", b"c", b"h", b"yaml", b"yml",
        b"json", b"toml", b"tf", b"sql", b"sh",
    ];
    const ACTIONS: [&[u8]; 20] = [
        b"read",
        b"write",
        b"list",
        b"get",
        b"create",
        b"delete",
        b"update",
        b"admin",
        b"manage",
        b"rotate",
        b"refresh",
        b"revoke",
        b"secret",
        b"hover",
        b"focus",
        b"active",
        b"before",
        b"after",
        b"generate",
        b"decrypt",
    ];
    let name = &text[key.start..key.end];
    let kind = name.rsplit(|&b| b == b'.').next().unwrap_or(name);
    if kind.len() < name.len() && FILES.contains(&kind) && text.get(after).is_some_and(u8::is_ascii_digit) {
        return true;
    }
    if text[..key.start].ends_with(b"=") {
        return false;
    }
    // Not of passwords, which may be any word.
    let doubtful =
        matches!(word, Word::Token | Word::Weak) || matches!(kind, b"secrets" | b"Secrets" | b"secret" | b"token");
    if !doubtful {
        return false;
    }
    if text.get(after) == Some(&b':') {
        return text.get(after + 1).is_some_and(u8::is_ascii_alphabetic);
    }
    let end = after + text[after..].iter().take(24).take_while(|b| b.is_ascii_lowercase()).count();
    let over = text.get(end).is_none_or(|&b| b <= b' ' || matches!(b, b':' | b',' | b'"' | b'{' | b')'));
    let value = &text[after..end];
    if end > after && over && (word == Word::Weak || ACTIONS.contains(&value)) {
        return true;
    }
    let digits = text[after..].iter().take(12).take_while(|b| b.is_ascii_digit()).count();
    matches!(word, Word::Token | Word::Weak) && digits > 0 && text.get(after + digits) == Some(&b':')
}

/// Whether a place is within `{{resolve:…}}` or the ARN of a secret, which say where it is kept.
#[inline(never)]
fn in_reference(text: &[u8], at: usize) -> bool {
    let near = &text[at.saturating_sub(120)..at];
    let open = |sign: &[u8], over: u8| memchr::memmem::rfind(near, sign).is_some_and(|p| !near[p..].contains(&over));
    open(b"{{resolve:", b'}') || open(b"arn:aws:secretsmanager:", b' ')
}

/// Whether a field of this name holds a secret as its value, and what kind of one.
pub(in crate::transforms::redact) fn secret_key(key: &[u8]) -> Option<Word> {
    key::word_of(key)
}

/// Whether the value of a field with such a key says that there is no secret.
pub(in crate::transforms::redact) fn no_secret(word: Word, value: &[u8]) -> bool {
    let secret = value.strip_prefix(b"Bearer ").or_else(|| value.strip_prefix(b"Basic ")).unwrap_or(value);
    match word {
        Word::Token if value.starts_with(b" ") => true,
        Word::Token => none::is_placeholder(secret) || none::says_nothing(secret),
        word => {
            let none = none::is_placeholder(secret) || none::says_nothing(secret);
            none || none::doubtful(word) && none::no_secret(word, value)
        }
    }
}

/// Whether the object or array that a text begins with, below the name of a secret, describes it and has none.
pub(in crate::transforms::redact) fn describes(json: &[u8]) -> bool {
    shape::describes(json)
}

/// A value within the JSON of an object or array that is a secret.
#[derive(Clone, Copy, Debug)]
pub(in crate::transforms::redact) struct Named {
    /// Where it begins; behind the quote where it is a string.
    pub(in crate::transforms::redact) start: usize,
    /// It is only a part of a string, from `start` to its end.
    pub(in crate::transforms::redact) part: bool,
}

/// Gives `each` the values within the JSON of an object or array that belong to a name of a secret in the same object or list
/// of two, or to an option in the same list: `["mysql","-px"]`, `["app","--token","x"]`, `["DB_PASSWORD=x y"]`.
pub(in crate::transforms::redact) fn named_values(json: &[u8], mut each: impl FnMut(Named)) {
    for colon in memchr::memchr_iter(b':', json) {
        // What stands in a string is not of this object.
        let Some(key) = key_before(json, colon).filter(|k| k.quote == Quote::Double(0)) else { continue };
        if let Some(found) = pairs::after_name(json, colon + 1, &key, false) {
            each(Named { start: found.start, part: false });
        }
    }
    for bracket in memchr::memchr_iter(b'[', json) {
        if let Some(found) = quotes::list_of_two_at(json, bracket) {
            each(Named { start: found.start, part: false });
        }
        if json.get(bracket + 1) == Some(&b'"') {
            in_list(json, bracket + 1, &mut each);
        }
    }
    let element = |quote: usize| matches!(json[..skip_back(json, quote)].last(), Some(b'[' | b','));
    for quote in memchr::memmem::find_iter(json, b"\"-").filter(|&q| element(q)) {
        if let Some(found) = words::option_at(json, quote + 1) {
            each(Named { start: found.start, part: json[found.start - 1] != b'"' });
        }
    }
    for equals in memchr::memchr_iter(b'=', json) {
        let Some(key) = key_before(json, equals).filter(|k| k.quote == Quote::None) else { continue };
        let open = json[..key.start].strip_suffix(b"--").unwrap_or(&json[..key.start]).len();
        if open == 0 || json[open - 1] != b'"' || !element(open - 1) {
            continue;
        }
        let word = key::word_of(&json[key.start..key.end]);
        if word.is_some_and(|w| value::encloses(json, &key, equals + 1, b'"', 0).is_some() && w != Word::Pwd) {
            each(Named { start: equals + 1, part: true });
        }
    }
}

/// Gives `each` the elements of a list of strings, whose first quote is at `quote`, that are the lines of a private key or follow
/// the name of a secret header.
fn in_list(json: &[u8], mut quote: usize, each: &mut impl FnMut(Named)) {
    const MOST: usize = 256;
    let mut private = false;
    for _ in 0..MOST {
        let Some((end, close)) = ends::quote_end(json, quote + 1, b'"', 0) else { return };
        let line = &json[quote + 1..end];
        if private {
            each(Named { start: quote + 1, part: false });
        }
        if line.starts_with(b"-----") && line.ends_with(b"-----") {
            private = line.starts_with(b"-----BEGIN ")
                && (line.ends_with(b"PRIVATE KEY-----") || line.ends_with(b"KEY BLOCK-----"));
        } else if let Some(found) = programs::flat_pair(json, close) {
            each(Named { start: found.start, part: json[found.start - 1] != b'"' });
        }
        if json.get(close + 1) != Some(&b',') || json.get(close + 2) != Some(&b'"') {
            return;
        }
        quote = close + 2;
    }
}

/// Where white space begins that ends at `end`.
fn skip_back(text: &[u8], end: usize) -> usize {
    text[..end].trim_ascii_end().len()
}

/// What is around a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quote {
    None,
    /// `"` behind so many backslashes.
    Double(usize),
    /// `'` or a backtick.
    Single,
    /// Something that stands for a quote: its text is `text[at..at + len]`.
    Alias(&'static [u8]),
}

/// A key as found before a separator: `text[start..end]`, without what is around it.
struct Key {
    quote: Quote,
    start: usize,
    end: usize,
}

/// What stands for a quote: in URLs, in HTML, in logs of web servers, in CSV.
const ALIASES: [&[u8]; 9] = [b"%2522", b"%22", b"&quot;", b"\\x22", b"%27", b"&#34;", b"&#39;", b"&apos;", b"\"\""];

#[inline]
fn key_before(text: &[u8], sep: usize) -> Option<Key> {
    let mut end = sep;
    while end > 0 && matches!(text[end - 1], b' ' | b'\t') {
        end -= 1;
    }
    if end > 0 && text[end - 1] >= 0x80 {
        end = ends::wide_blanks_before(text, end);
    }
    if end == 0 {
        return None;
    }
    let mut quote = Quote::None;
    let last = text[end - 1];
    if !is(last, ALNUM) || may_close(&text[..end]) {
        end = before_closers(text, end, &mut quote);
    }
    let start = key_start(text, end);
    (start < end).then_some(Key { quote, start, end })
}

/// Whether the letter or digit that a text ends with may belong to what closes a key: `%22`, `\\x22`, `%5D`, `\\n`.
#[inline(always)]
fn may_close(text: &[u8]) -> bool {
    matches!(text, [.., b'%' | b'x', _, _] | [.., b'5', b'2', b'2'] | [.., b'\\', _] | [.., b'm'])
}

/// Where the run of bytes that a key may have begins, at most [`key::MAX_KEY`] before its end.
#[inline]
fn key_start(text: &[u8], end: usize) -> usize {
    let least = end.saturating_sub(key::MAX_KEY);
    let mut start = run_back(text, least, end, KEY);
    if start == end || start == 0 {
        return start;
    }
    while start > least && text[start - 1] == b'%' {
        if !key::encodes_letter(text, start) {
            // `%26token`: what stands before is another value.
            return (start + 2).min(end);
        }
        start = run_back(text, least, start - 1, KEY);
    }
    // Not in the middle of a character, nor in that of an escaped line end.
    if start > 0 && text[start - 1] == b'\\' && matches!(text[start], b'n' | b'r' | b't') {
        start += 1;
    }
    while start < end && text[start] & 0xc0 == 0x80 {
        start += 1;
    }
    start
}

/// Steps back over what may close a key: white space within JSON, a quote with its backslashes or what stands for one, and
/// brackets, with an index in them, also as URLs have them.
fn before_closers(text: &[u8], mut end: usize, quote: &mut Quote) -> usize {
    if text[..end].ends_with(b"m") {
        end = ends::colour_before(text, end);
    }
    let over_space = ends::space_before(text, end);
    if over_space < end {
        // JSON may have line ends before the colon; elsewhere the line is over.
        let tabs = !text[over_space..end].iter().any(|b| matches!(b, b'n' | b'r' | b'\n' | b'\r'));
        if !tabs && !matches!(text[..over_space].last(), Some(b'"' | b';' | b'2')) {
            return end;
        }
        end = over_space;
    }
    for _ in 0..5 {
        let Some(&last) = text[..end].last() else { break };
        if let Some(alias) = ALIASES.iter().find(|a| text[..end].ends_with(a)) {
            // `""` is a quote of CSV only where a name stands before it.
            *quote = Quote::Alias(alias);
            end -= alias.len();
            continue;
        }
        match last {
            b'"' | b'\'' | b'`' => {
                let bare = end - 1 - ends::slashes_before(text, end - 1);
                *quote = if last == b'"' { Quote::Double(end - 1 - bare) } else { Quote::Single };
                end = bare;
            }
            b']' => {
                end = run_back(text, end.saturating_sub(8), end - 1, DIGIT);
                if text[..end].ends_with(b"[") {
                    end -= 1;
                }
            }
            b' ' if *quote != Quote::None => end -= 1,
            b')' | b'*' => end -= 1,
            b'D' | b'd' if end >= 3 && text[end - 3..end].eq_ignore_ascii_case(b"%5d") => {
                end = run_back(text, end.saturating_sub(8), end - 3, DIGIT);
                if end >= 3 && text[end - 3..end].eq_ignore_ascii_case(b"%5b") {
                    end -= 3;
                }
            }
            _ => break,
        }
    }
    end
}

/// The word of a key of several words with blanks between (`api key`, `mot de passe`), of which the last one says nothing.
fn longer_word(text: &[u8], key: &Key) -> Option<Word> {
    const LAST: [&[u8]; 13] = [
        b"key",
        b"keys",
        b"code",
        b"codes",
        b"phrase",
        b"passe",
        b"word",
        b"community",
        b"id",
        b"pass",
        b"string",
        b"content",
        b"sandi",
    ];
    if key.start == 0 || text[key.start - 1] != b' ' {
        return None;
    }
    let name = &text[key.start..key.end];
    let number = name.iter().all(u8::is_ascii_digit) && !text[..key.start].ends_with(b" of ");
    if !(number || LAST.iter().any(|l| name.eq_ignore_ascii_case(l)) || key.quote != Quote::None || !name.is_ascii()) {
        return None;
    }
    let mut start = key.start;
    for _ in 0..3 {
        if start == 0 || text[start - 1] != b' ' {
            break;
        }
        let before = key_start(text, start - 1);
        if before == start - 1 {
            break;
        }
        start = before;
        if let Some(word) = key::word_of(&text[start.max(key.end.saturating_sub(key::MAX_KEY))..key.end]) {
            return Some(word);
        }
    }
    None
}

/// Whether `token` is one that a parser complains of: `unexpected token: x`.
fn in_grammar(text: &[u8], start: usize) -> bool {
    const BEFORE: [&[u8]; 8] =
        [b"unexpected", b"illegal", b"invalid", b"bad", b"unknown", b"next", b"parse", b"missing"];
    let Some(end) = start.checked_sub(1).filter(|&e| text[e] == b' ') else { return false };
    let word = &text[run_back(text, end.saturating_sub(12), end, ALNUM)..end];
    BEFORE.iter().any(|b| word.eq_ignore_ascii_case(b))
}
