//! Values in the lines below their key, as in YAML.

use super::Word;
use super::ends::{Enclosing, MAX_BACK, line_break, own_slashes, skip_blanks};
use super::none::{doubtful, is_placeholder, no_secret};
use super::value::Context;
use crate::transforms::redact::ascii::{ALNUM, DIGIT, is};
use crate::transforms::redact::find::Found;
use memchr::{memmem, memrchr};

/// The lines that are further in than the line of the key, where nothing follows a key in its line, as in YAML; and nothing
/// where there are none. `None` where something follows, which is the value.
#[inline]
pub(super) fn block(text: &[u8], at: usize, cx: &Context<'_>) -> Option<Option<Found>> {
    match text.get(at) {
        Some(b'!' | b'&' | b'|' | b'>' | b'\n' | b'\r' | b'\\') => lines(text, at, cx),
        Some(b'#') if cx.colon && text[at - 1] == b' ' => lines(text, at, cx),
        _ => None,
    }
}

/// As [`block`], where a line end or the head of a block may stand at `at`.
fn lines(text: &[u8], at: usize, cx: &Context<'_>) -> Option<Option<Found>> {
    let key = cx.key;
    let header = block_header(text, at);
    let first = line_break(text, header)?;
    let explicit = header > at;
    if !cx.colon || (doubtful(cx.word) && cx.word != Word::Plural) {
        return Some(None);
    }
    let escaped = text[header] == b'\\';
    let own = indentation(text, key.start, escaped);
    let around = Enclosing::around(text, key);
    let (mut start, mut end) = (None, first);
    let mut line = first;
    loop {
        let content = skip_blanks(text, line);
        let over = line_over(text, content, &around);
        if over > content {
            let item = text[content..].starts_with(b"- ") && content - line >= own && !explicit;
            if content - line <= own && !item {
                break;
            }
            start.get_or_insert(content);
            end = over;
        }
        match line_break(text, over) {
            Some(next) => line = next,
            None => break,
        }
    }
    let Some(start) = start.filter(|&s| s < end) else { return Some(None) };
    let value = &text[start..end];
    let none = is_placeholder(value) || no_secret(cx.word, value) || refers(value);
    Some((!none).then(|| Found::plain(start, end)))
}

/// Whether a block says where a secret is, as manifests do: `secret:` and `secretName: x` below it.
pub(super) fn refers(block: &[u8]) -> bool {
    const KEYS: [&[u8]; 14] = [
        b"file:",
        b"external:",
        b"path:",
        b"- name:",
        b"type: string",
        b"secretName:",
        b"name:",
        b"existingSecret:",
        b"enabled:",
        b"create:",
        b"optional:",
        b"key:",
        b"defaultMode:",
        b"items:",
    ];
    // `db:` and `file: x` below it.
    let below = block.iter().position(|&b| b == b'\n').filter(|&p| block[..p].ends_with(b":"));
    let below = below.map_or(block, |p| block[p + 1..].trim_ascii_start());
    KEYS.iter().any(|k| block.starts_with(k)) || below.starts_with(b"file:") || below.starts_with(b"external:")
}

/// Behind `|`, `>-`, `|2+`, `!!binary |`, `&name` where a block may follow.
pub(super) fn block_header(text: &[u8], at: usize) -> usize {
    let mut i = at;
    for _ in 0..2 {
        if matches!(text.get(i), Some(b'!' | b'&')) {
            i += text[i..]
                .iter()
                .take_while(|&&b| is(b, ALNUM) || matches!(b, b'!' | b'&' | b'_' | b'-' | b'/'))
                .count();
            i = skip_blanks(text, i);
        }
    }
    if matches!(text.get(i), Some(b'|' | b'>')) {
        i += 1 + text[i + 1..].iter().take(2).take_while(|&&b| matches!(b, b'+' | b'-') || is(b, DIGIT)).count();
    }
    let mut i = skip_blanks(text, i);
    if text.get(i) == Some(&b'#') && i > 0 && text[i - 1] == b' ' {
        // A comment.
        i = super::ends::line_end(text, i);
    }
    if line_break(text, i).is_some() { i } else { skip_blanks(text, at) }
}

/// The end of a line of a block: its line end, or the end of the string that the block stands in.
pub(super) fn line_over(text: &[u8], at: usize, around: &Enclosing) -> usize {
    let mut i = at;
    while i < text.len() {
        match text[i] {
            b'\n' | b'\r' => return i,
            b'\\' => {
                let slashes = text[i..].iter().take_while(|&&b| b == b'\\').count();
                match text.get(i + slashes) {
                    Some(b'n' | b'r') if slashes.is_power_of_two() => return i,
                    Some(b'"') if around.double(own_slashes(slashes)) => return i + slashes - own_slashes(slashes),
                    _ => i += slashes,
                }
            }
            b'"' if around.double(0) => return i,
            _ => {}
        }
        i += 1;
    }
    text.len()
}

/// How far in the line of a key is, with `- ` of a list.
pub(super) fn indentation(text: &[u8], key: usize, escaped: bool) -> usize {
    let least = key.saturating_sub(MAX_BACK);
    let line = &text[least..key];
    let mut start = memrchr(b'\n', line).map_or(0, |p| p + 1);
    if escaped {
        // The line begins behind an escaped line end, or with the string that it stands in.
        let broken = memmem::rfind(&line[start..], b"\\n").map_or(0, |p| p + 2);
        let string = memrchr(b'"', &line[start..]).map_or(0, |p| p + 1);
        start += broken.max(string);
    }
    line[start..].iter().take_while(|&&b| b == b' ').count()
}
