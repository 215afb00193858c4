//! Structured data: `[id a="1" b="x\]"][other]`.
//! Source: RFC 5424, section 6.3.

use crate::event::json::{self, Class};
use crate::framing::span::Span;

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
    /// There is a backslash in the value.
    escaped: bool,
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

#[inline]
fn name(text: &[u8], at: usize) -> Option<Span> {
    Span::new(at, json::find(text, at, Class::NotSdName)).non_empty()
}

/// ` name="value"` at `at`; without quotes the value ends at a blank or at the closing bracket, as ESXi writes it.
#[inline]
fn param(text: &[u8], at: usize) -> Option<Param> {
    if text.get(at) != Some(&b' ') {
        return None;
    }
    let name = name(text, at + 1)?;
    if text.get(name.end..name.end + 2) != Some(b"=\"") {
        return bare_param(text, name);
    }
    let from = name.end + 2;
    let (mut at, mut escaped) = (from, false);
    loop {
        at = json::find(text, at, Class::QuoteOrBackslash);
        if *text.get(at)? == b'"' {
            return Some(Param { name, value: Span::new(from, at), escaped, end: at + 1 });
        }
        escaped = true;
        at += 2;
    }
}

/// ` name=value` at `at`, whose name this is.
#[cold]
fn bare_param(text: &[u8], name: Span) -> Option<Param> {
    let from = (text.get(name.end) == Some(&b'=')).then_some(name.end + 1)?;
    let len = text[from..].iter().position(|c| matches!(c, b' ' | b']' | b'"'))?;
    let value = Span::new(from, from + len).non_empty()?;
    (text[value.end] != b'"').then_some(Param { name, value, escaped: false, end: value.end })
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
        out.push(b':');
        let from = out.len();
        at = match params_that_differ(text, element.params, out) {
            Some(end) => end,
            None => {
                out.truncate(from);
                params_that_repeat(text, element.params, out)
            }
        };
        at += 1;
    }
    out.push(b'}');
}

/// Most parameters whose names are compared one by one.
const FEW: usize = 12;

/// Appends the parameters from `at` as an object and returns the position behind the last. `None` where a name comes
/// twice, or there are more than [`FEW`]; what was appended then is to be thrown away.
#[inline]
fn params_that_differ(text: &[u8], mut at: usize, out: &mut Vec<u8>) -> Option<usize> {
    let mut names = [Span::default(); FEW];
    let mut count = 0;
    out.push(b'{');
    while let Some(found) = param(text, at) {
        let name = found.name.of(text);
        if names[..count].iter().any(|other| other.len() == name.len() && other.of(text) == name) {
            return None;
        }
        *names.get_mut(count)? = found.name;
        if count > 0 {
            out.push(b',');
        }
        count += 1;
        string(name, out);
        out.push(b':');
        value(&found, text, out);
        at = found.end;
    }
    out.push(b'}');
    Some(at)
}

/// As [`params_that_differ`], for any number of them with any names.
#[cold]
fn params_that_repeat(text: &[u8], from: usize, out: &mut Vec<u8>) -> usize {
    let mut places: hashbrown::HashMap<&[u8], usize> = hashbrown::HashMap::new();
    let mut groups: Vec<Vec<Param>> = Vec::new();
    let mut at = from;
    while let Some(found) = param(text, at) {
        at = found.end;
        let group = *places.entry(found.name.of(text)).or_insert(groups.len());
        if group == groups.len() {
            groups.push(Vec::new());
        }
        groups[group].push(found);
    }
    out.push(b'{');
    for (n, group) in groups.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        string(group[0].name.of(text), out);
        out.push(b':');
        if group.len() > 1 {
            out.push(b'[');
        }
        for (n, found) in group.iter().enumerate() {
            if n > 0 {
                out.push(b',');
            }
            value(found, text, out);
        }
        if group.len() > 1 {
            out.push(b']');
        }
    }
    out.push(b'}');
    at
}

fn string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    json::escape(text, out);
    out.push(b'"');
}

/// A value without the escapes of RFC 5424 (`\"`, `\\`, `\]`; any other backslash stands for itself), as JSON.
#[inline]
fn value(found: &Param, text: &[u8], out: &mut Vec<u8>) {
    let mut rest = found.value.of(text);
    out.push(b'"');
    if found.escaped {
        while let Some(at) = memchr::memchr(b'\\', rest) {
            json::escape(&rest[..at], out);
            let escaped = matches!(rest.get(at + 1), Some(b'"' | b'\\' | b']'));
            let from = at + usize::from(escaped);
            json::escape(&rest[from..from + 1], out);
            rest = &rest[from + 1..];
        }
    }
    json::escape(rest, out);
    out.push(b'"');
}
