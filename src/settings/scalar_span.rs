//! From a place in a scalar's text to its place in the file, through quotes, escapes and folding.

use std::ops::Range;

use super::node::{Node, NodeKind, Style};
use super::source_map::{SourceMap, Span};

impl Node {
    /// The place of a byte range of [`Self::text`] in the file, whatever the quotes. `None` where it cannot be told, as in an
    /// interpolated scalar.
    pub(crate) fn span_within(&self, at: Range<usize>, sources: &SourceMap) -> Option<Span> {
        if self.interpolated {
            return None;
        }
        let NodeKind::Str(_) = self.kind else { return None };
        locate(self, at, sources)
    }
}

/// The place of a byte range of the node's text; `None` where written and read text cannot be aligned.
fn locate(node: &Node, at: Range<usize>, sources: &SourceMap) -> Option<Span> {
    let raw = sources.text(node.span);
    let map = align(raw, &node.text, node.style)?;
    let place = |offset: usize| map.partition_point(|&(text, _)| text <= offset).checked_sub(1).map(|n| map[n]);
    let (_, start) = place(at.start.min(node.text.len()))?;
    let end = if at.end > at.start {
        // The end of the last character within, not the start of the one behind, which may be lines away.
        let last =
            node.text.get(at.start..at.end.min(node.text.len())).and_then(|part| part.char_indices().next_back());
        match last {
            Some((offset, _)) => {
                let index = map.partition_point(|&(text, _)| text <= at.start + offset).checked_sub(1)?;
                let width = raw.get(map[index].1..)?.chars().next().map_or(1, char::len_utf8);
                let next = map.get(index + 1).map_or(raw.len(), |&(_, raw)| raw);
                let escape = node.style == Style::Double && raw.as_bytes().get(map[index].1) == Some(&b'\\');
                if escape { next } else { map[index].1 + width }
            }
            None => start,
        }
    } else {
        start
    };
    let base = node.span.start as usize;
    Some(Span::new(node.span.file, base + start, base + end.max(start)))
}

/// Pairs of byte offsets (in the text, in `raw`) for each character of the text and for its end.
fn align(raw: &str, text: &str, style: Style) -> Option<Vec<(usize, usize)>> {
    let mut map = Vec::with_capacity(text.len() + 1);
    let mut at = match style {
        Style::Single | Style::Double => 1,
        Style::Plain | Style::Literal | Style::Folded | Style::Flow => 0,
    };
    for (offset, c) in text.char_indices() {
        let rest = raw.get(at..)?;
        if rest.is_empty() && c == '\n' {
            // The last line ends behind what is marked as the scalar.
            map.push((offset, at));
            continue;
        }
        let next = rest.chars().next();
        let line_end = matches!(next, Some('\n' | '\r'));
        if style == Style::Double && next == Some('\\') && !rest[1..].starts_with(['\n', '\r']) {
            map.push((offset, at));
            at += escape_length(rest)?;
        } else if style == Style::Double && next == Some('\\') {
            at += 1;
            at += blank_length(&raw[at..]);
            map.push((offset, at));
            at += if raw[at..].starts_with('\\') { escape_length(&raw[at..])? } else { c.len_utf8() };
        } else if style == Style::Single && rest.starts_with("''") {
            map.push((offset, at));
            at += 2;
        } else if next == Some(c) && !line_end {
            map.push((offset, at));
            at += c.len_utf8();
            if matches!(style, Style::Plain | Style::Single | Style::Double) && matches!(c, ' ' | '\t') {
                // Blanks before a fold belong to no character.
                let blanks = raw[at..].len() - raw[at..].trim_start_matches([' ', '\t']).len();
                if raw[at + blanks..].starts_with(['\n', '\r']) && text[offset + 1..].starts_with(|c| c != ' ') {
                    at += blank_length(&raw[at..]);
                }
            }
        } else if line_end && c == '\n' && matches!(style, Style::Literal) {
            map.push((offset, at));
            at += if rest.starts_with("\r\n") { 2 } else { 1 };
            at += indentation(raw, at, text, offset);
        } else if line_end && matches!(c, ' ' | '\n') {
            map.push((offset, at));
            let newlines = text[offset..].bytes().take_while(|&b| b == b'\n').count();
            // A run of line ends in the text is one longer in the file: skip it all at its last character.
            if c == '\n' && newlines > 1 {
                at += if rest.starts_with("\r\n") { 2 } else { 1 };
                at += raw[at..].len() - raw[at..].trim_start_matches([' ', '\t']).len();
            } else {
                at += blank_length(rest);
            }
        } else {
            return None;
        }
    }
    map.push((text.len(), at.min(raw.len())));
    Some(map)
}

fn blank_length(text: &str) -> usize {
    text.len() - text.trim_start_matches([' ', '\t', '\n', '\r']).len()
}

/// Blanks of the file at `at` that are indentation: as many as the text does not have there itself.
fn indentation(raw: &str, at: usize, text: &str, newline: usize) -> usize {
    let count = |s: &str| s.len() - s.trim_start_matches(' ').len();
    count(&raw[at..]).saturating_sub(count(&text[newline + 1..]))
}

fn escape_length(rest: &str) -> Option<usize> {
    Some(match rest.as_bytes().get(1)? {
        b'x' => 4,
        b'u' => 6,
        b'U' => 10,
        _ => 1 + rest[1..].chars().next()?.len_utf8(),
    })
}
