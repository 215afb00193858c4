//! Structured data: `[id a="1" b="x\]"][other]`.
//! Source: RFC 5424, section 6.3.

use super::super::span::Span;
use crate::event::json;

/// One element: its id, and where its parameters begin.
struct Element {
    id: Span,
    /// At the blank before the first parameter, or at the closing bracket.
    params: usize,
}

/// One parameter: name, value between its quotes, and the position behind them.
struct Param {
    name: Span,
    value: Span,
    end: usize,
}

/// Where the structured data that begins at `at` ends; `None` where it breaks the grammar, or gives an id twice.
pub(super) fn end(text: &[u8], at: usize) -> Option<usize> {
    let mut ids = [Span::default(); 8];
    let (mut count, mut at) = (0, at);
    while text.get(at) == Some(&b'[') {
        let element = element(text, at)?;
        let id = element.id.of(text);
        if ids.iter().take(count).any(|other| other.of(text) == id) {
            return None;
        }
        if let Some(place) = ids.get_mut(count) {
            *place = element.id;
            count += 1;
        }
        at = element.params;
        while let Some(param) = param(text, at) {
            at = param.end;
        }
        if text.get(at) != Some(&b']') {
            return None;
        }
        at += 1;
    }
    (at > 0 && text.get(at - 1) == Some(&b']')).then_some(at)
}

fn element(text: &[u8], at: usize) -> Option<Element> {
    let id = name(text, at + 1)?;
    Some(Element { id, params: id.end })
}

/// An SD-NAME: printable, without `=`, `]`, `"` and blanks.
fn name(text: &[u8], at: usize) -> Option<Span> {
    let rest = text.get(at..)?;
    let len = rest.iter().take_while(|c| c.is_ascii_graphic() && !matches!(c, b'=' | b']' | b'"')).count();
    Span::new(at, at + len).non_empty()
}

/// ` name="value"` at `at`.
fn param(text: &[u8], at: usize) -> Option<Param> {
    if text.get(at) != Some(&b' ') {
        return None;
    }
    let name = name(text, at + 1)?;
    if text.get(name.end..name.end + 2) != Some(b"=\"") {
        return None;
    }
    let from = name.end + 2;
    let mut at = from;
    loop {
        at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text.get(at) == Some(&b'"') {
            return Some(Param { name, value: Span::new(from, at), end: at + 1 });
        }
        at += 2;
    }
}

/// Appends structured data as a JSON object of objects, `{"id": {"name": "value"}}`; a name given several times in one
/// element (as RFC 5424 allows) has the array of its values.
///
/// Shape: `text` is what [`end`] has checked; anything else gives an object of what could be read.
pub fn write_structured_data(text: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    out.push(b'{');
    while text.get(at) == Some(&b'[') {
        let Some(element) = element(text, at) else { break };
        if at > 0 {
            out.push(b',');
        }
        string(element.id.of(text), out);
        out.extend_from_slice(b":{");
        at = element.params;
        while let Some(found) = param(text, at) {
            at = found.end;
            let same = |other: &Param| other.name.of(text) == found.name.of(text);
            if params(text, element.params).take_while(|p| p.end < found.end).any(|p| same(&p)) {
                continue;
            }
            if out.last() != Some(&b'{') {
                out.push(b',');
            }
            string(found.name.of(text), out);
            out.push(b':');
            let mut others = params(text, found.end).filter(same);
            match others.next() {
                None => value(found.value.of(text), out),
                Some(second) => {
                    out.push(b'[');
                    value(found.value.of(text), out);
                    for other in std::iter::once(second).chain(others) {
                        out.push(b',');
                        value(other.value.of(text), out);
                    }
                    out.push(b']');
                }
            }
        }
        out.push(b'}');
        at += 1;
    }
    out.push(b'}');
}

fn params(text: &[u8], mut at: usize) -> impl Iterator<Item = Param> + '_ {
    std::iter::from_fn(move || {
        let found = param(text, at)?;
        at = found.end;
        Some(found)
    })
}

fn string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    json::escape(text, out);
    out.push(b'"');
}

/// A value without the escapes of RFC 5424 (`\"`, `\\`, `\]`; any other backslash stands for itself), as JSON.
fn value(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        json::escape(&rest[..at], out);
        let escaped = matches!(rest.get(at + 1), Some(b'"' | b'\\' | b']'));
        let from = at + usize::from(escaped);
        json::escape(&rest[from..from + 1], out);
        rest = &rest[from + 1..];
    }
    json::escape(rest, out);
    out.push(b'"');
}
