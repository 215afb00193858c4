//! Names and values as two members of one object: `{"name":"password","value":"x"}`, `name: DB_PASSWORD` and `value: x`,
//! `<add key="password" value="x"/>`.

use super::value::{self, Context};
use super::{Key, Word, key, key_before};
use super::{ends, none, programs};
use crate::transforms::redact::ascii::{ALNUM, is};
use crate::transforms::redact::find::Found;

/// Keys whose value is the name of another value.
const NAMES: [&[u8]; 20] = [
    b"column",
    b"instancepath",
    b"name",
    b"key",
    b"k",
    b"field",
    b"header",
    b"param",
    b"parameter",
    b"variable",
    b"attribute",
    b"property",
    b"setting",
    b"option",
    b"parameterkey",
    b"optionname",
    b"label",
    b"prompt",
    b"question",
    b"cs1label",
];

/// Keys of the value beside it.
const VALUES: [&[u8]; 25] = [
    b"before",
    b"after",
    b"old",
    b"new",
    b"from",
    b"to",
    b"old_value",
    b"new_value",
    b"rejected_value",
    b"value",
    b"val",
    b"v",
    b"content",
    b"data",
    b"text",
    b"parametervalue",
    b"optionvalue",
    b"newvalue",
    b"string_value",
    b"values",
    b"plaintext",
    b"inner",
    b"raw",
    b"answer",
    b"cs1",
];

/// By the lower five bits of their first byte: one bit for each length that one of [`NAMES`] or [`VALUES`] has.
static LENGTHS: [u16; 32] = {
    let mut lengths = [0; 32];
    let mut i = 0;
    while i < NAMES.len() + VALUES.len() {
        let word = if i < NAMES.len() { NAMES[i] } else { VALUES[i - NAMES.len()] };
        lengths[(word[0] & 31) as usize] |= 1 << word.len();
        i += 1;
    }
    lengths
};

/// Most members between the two.
const MAX_BETWEEN: usize = 4;

/// What a field of an event may be in a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::transforms::redact) enum PairKey {
    Name,
    Value,
}

impl PairKey {
    /// The part that a field of this name may have.
    pub(in crate::transforms::redact) fn of(key: &[u8]) -> Option<Self> {
        let first = key.first()? | 0x20;
        if key.len() > 14 || LENGTHS[usize::from(first & 31)] >> key.len() & 1 == 0 {
            return None;
        }
        let same = |w: &&[u8]| w.len() == key.len() && w[0] == first && key.eq_ignore_ascii_case(w);
        let any = |list: &[&[u8]]| list.iter().any(same);
        if any(&NAMES) { Some(Self::Name) } else { any(&VALUES).then_some(Self::Value) }
    }
}

/// The value that belongs to the name that this key has as its value, or the value of this key when the name follows.
pub(super) fn after_name(text: &[u8], after: usize, key: &Key, encoded: bool) -> Option<Found> {
    let name = &text[key.start..key.end];
    let name = name.strip_prefix(b".").unwrap_or(name);
    if name.len() > 14 || encoded {
        return None;
    }
    let pair = match PairKey::of(name) {
        Some(pair) => pair,
        None if name == b"path" && of_changes(text, key) => PairKey::Name,
        None if name == b"id" && matches!(key.quote, super::Quote::Double(_)) => return after_id(text, after),
        None => return None,
    };
    match pair {
        PairKey::Name => {
            let (from, to, next) = scalar(text, after)?;
            if let Some(found) = programs::set_output(text, key, from) {
                return Some(found);
            }
            let word = key::word_of(&text[from..to]).filter(|w| *w != Word::Pin)?;
            if let Some(found) = programs::set_variable(text, key, to) {
                return Some(found);
            }
            if let Some(found) = part_of_form(text, next) {
                return Some(found);
            }
            let mut at = next;
            for _ in 0..MAX_BETWEEN {
                let (other, after) = next_member(text, at)?;
                if PairKey::of(&text[other.start..other.end]) == Some(PairKey::Value) {
                    return value::after(
                        text,
                        after,
                        &Context { key: &other, word, encoded: false, colon: text[after - 1] == b':' },
                    );
                }
                at = scalar(text, after)?.2;
            }
            None
        }
        PairKey::Value => {
            if let Some(word) = owner(text, key).or_else(|| named_before(text, key)) {
                return value::after(
                    text,
                    after,
                    &Context { key, word, encoded: false, colon: text[after - 1] == b':' },
                );
            }
            let (_, _, mut at) = scalar(text, after)?;
            for _ in 0..MAX_BETWEEN {
                let (other, other_after) = next_member(text, at)?;
                let (from, to, next) = scalar(text, other_after)?;
                if PairKey::of(&text[other.start..other.end]) == Some(PairKey::Name) {
                    let word = key::word_of(&text[from..to]).filter(|w| *w != Word::Pin)?;
                    return value::after(
                        text,
                        after,
                        &Context { key, word, encoded: false, colon: text[after - 1] == b':' },
                    );
                }
                at = next;
            }
            None
        }
    }
}

/// Whether a `path` is one of a patch or of a list of changes.
#[cold]
fn of_changes(text: &[u8], key: &Key) -> bool {
    let near = &text[key.start.saturating_sub(200)..text.len().min(key.end + 400)];
    [&b"\"op\""[..], b"\"from\"", b"\"old", b"\"before\""].iter().any(|w| memchr::memmem::find(near, w).is_some())
}

/// As [`after_name`] of an `id`, which names a field of a form: only a value that looks like a secret.
fn after_id(text: &[u8], after: usize) -> Option<Found> {
    let (from, to, mut at) = scalar(text, after)?;
    let word = key::word_of(&text[from..to]).filter(|w| matches!(w, Word::Plain | Word::Token))?;
    for _ in 0..MAX_BETWEEN {
        let (key, after) = next_member(text, at)?;
        if PairKey::of(&text[key.start..key.end]) == Some(PairKey::Value) {
            let found = value::after(text, after, &Context { key: &key, word, encoded: false, colon: true })?;
            return none::looks_secret(&text[found.start..found.end]).then_some(found);
        }
        at = scalar(text, after)?.2;
    }
    None
}

/// The word that a member before this one of the same object says: `{"field":"password","before":"x","after":"y"}`.
fn named_before(text: &[u8], key: &Key) -> Option<Word> {
    const MAX: usize = 240;
    if key.quote != super::Quote::Double(0) {
        return None;
    }
    let least = key.start.saturating_sub(MAX);
    let mut at = least + memchr::memrchr(b'{', &text[least..key.start])? + 1;
    for _ in 0..=MAX_BETWEEN {
        let (other, after) = next_member(text, at)?;
        let (from, to, next) = scalar(text, after)?;
        if next > key.start {
            return None;
        }
        let name = &text[other.start..other.end];
        if PairKey::of(name) == Some(PairKey::Name) || name == b"path" {
            return key::word_of(&text[from..to]).filter(|w| *w != Word::Pin);
        }
        at = next;
    }
    None
}

/// The value of a field of a form in parts: behind the empty line that follows its name and perhaps other lines.
fn part_of_form(text: &[u8], at: usize) -> Option<Found> {
    let mut line = ends::line_break(text, at)?;
    let start = (0..3).find_map(|_| {
        let empty = ends::line_break(text, line);
        if empty.is_none() {
            let near = text.len().min(line + 200);
            let over = (line..near).find(|&i| ends::line_break(text, i).is_some())?;
            line = ends::line_break(text, over)?;
        }
        empty
    })?;
    let end = (start..text.len()).find(|&i| ends::line_break(text, i).is_some()).unwrap_or(text.len());
    (start < end && !none::is_placeholder(&text[start..end])).then(|| Found::plain(start, end))
}

/// The word of what a value is a part of: `Token(value=x`, `Secret { inner: x`, `password[0].value=x`.
fn owner(text: &[u8], key: &Key) -> Option<Word> {
    let head = text[..key.start].trim_ascii_end();
    let (&last, head) = head.split_last()?;
    let head = match last {
        b'(' | b'{' => head.trim_ascii_end(),
        b']' if text[key.start] == b'.' => {
            let digits = head.iter().rev().take_while(|b| b.is_ascii_digit()).count();
            head[..head.len() - digits].strip_suffix(b"[")?
        }
        _ => return None,
    };
    key::word_of(&head[super::key_start(head, head.len())..]).filter(|w| matches!(w, Word::Plain | Word::Token))
}

/// A string or a word behind a separator: where it begins and ends, and what is behind it.
fn scalar(text: &[u8], after: usize) -> Option<(usize, usize, usize)> {
    const MAX: usize = 200;
    let at = ends::skip_space(text, after);
    let limit = text.len().min(at + MAX);
    if let Some((open, slashes)) = ends::quote_at(text, at) {
        let quote = text[open];
        let mut i = open + 1;
        while i < limit {
            if text[i] == quote && ends::slashes_before(&text[open + 1..], i - open - 1) == slashes {
                return Some((open + 1, i - slashes, i + 1));
            }
            i += 1;
        }
        return None;
    }
    let part = |b: u8| is(b, ALNUM) || matches!(b, b'_' | b'-' | b'.' | b':' | b'/');
    let end = at + text[at..limit].iter().take_while(|&&b| part(b)).count();
    (end > at).then_some((at, end, end))
}

/// The next key of the same object, and what is behind its separator.
fn next_member(text: &[u8], at: usize) -> Option<(Key, usize)> {
    const MAX: usize = 40;
    let mut i = ends::skip_space(text, at);
    if matches!(text.get(i), Some(b',' | b';')) {
        i = ends::skip_space(text, i + 1);
    }
    let begin = i;
    if let Some((open, _)) = ends::quote_at(text, i) {
        i = open + 1;
    }
    while i < text.len() && i < begin + MAX && (is(text[i], ALNUM) || matches!(text[i], b'_' | b'-' | b'.')) {
        i += 1;
    }
    if let Some((close, _)) = ends::quote_at(text, i) {
        i = close + 1;
    }
    i = ends::skip_space(text, i);
    if !matches!(text.get(i), Some(b':' | b'=')) || i == begin {
        return None;
    }
    let key = key_before(text, i)?;
    let arrow = text[i] == b'=' && text.get(i + 1) == Some(&b'>');
    (key.start >= at).then_some((key, i + 1 + usize::from(arrow)))
}
