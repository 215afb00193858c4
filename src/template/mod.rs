//! Templates: text with values of the event in it.
//!
//! ```text
//! ./out/%Y-%m-%d/{{ service }}-{{ @source | default("none") }}.ndjson
//! ```
//!
//! `{{ path }}` takes a field and `{{ @file }}` metadata; `{{ path | default("x") }}` says what stands for an absent
//! one, and `null` is as good as absent. Strings come as their text, everything else as its JSON. Braces are literal
//! text unless two open ones stand together; to write those, use `{{ "{{" }}`.
//!
//! In paths, streams and indexes ([`Template::with_time`]) strftime codes are filled in from the event's time, in UTC,
//! and a percent sign is `%%`. Elsewhere a percent sign is itself.
//!
//! A template is parsed once; rendering appends to a buffer of the caller's and allocates nothing else. What an absent
//! field without default means (rejected, dead letter, empty label) is the caller's: it is given the path.

mod sanitize;
mod setting;

use std::fmt;
use std::ops::Range;

use crate::event::{EventRef, FieldPath, Sym, Value};
use crate::time::{Strftime, parse_rfc3339};

pub use sanitize::sanitize_tail;

#[cfg(test)]
mod tests;

/// A parsed template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Time(Strftime),
    Value { path: FieldPath, default: Option<Box<str>> },
}

/// A template for a path, a stream or an index: strftime codes in it are the event's time ([`Template::with_time`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameTemplate(pub Template);

impl std::ops::Deref for NameTemplate {
    type Target = Template;

    fn deref(&self) -> &Template {
        &self.0
    }
}

/// A mistake in a template, and the bytes of it that are at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateError {
    /// Bytes of the template's text.
    pub at: Range<usize>,
    /// What is wrong, as a lowercase fragment.
    pub message: String,
    /// What to write instead, where that is known.
    pub help: Option<String>,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for TemplateError {}

/// The field that a template needed and the event does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing<'t>(pub &'t FieldPath);

impl fmt::Display for Missing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the event has no field `{}`", self.0)
    }
}

impl std::error::Error for Missing<'_> {}

/// How values are put into the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// As they are.
    Raw,
    /// As one component of a file path or a stream name: see [`sanitize_tail`].
    Component,
    /// As part of a URL: percent-encoded, so that it stays within its segment or parameter.
    Url,
}

impl Template {
    /// Parses a template in which percent signs are text.
    pub fn parse(text: &str) -> Result<Template, TemplateError> {
        parse(text, Percent::Text)
    }

    /// Parses a template in which `%Y` and its like are the event's time.
    pub fn with_time(text: &str) -> Result<Template, TemplateError> {
        parse(text, Percent::Time)
    }

    /// A template that is only this text, whatever stands in it.
    #[must_use]
    pub fn literal(text: &str) -> Template {
        let parts = if text.is_empty() { Vec::new() } else { vec![Part::Text(text.into())] };
        Template { text: text.to_owned(), parts }
    }

    /// As written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The result, where it is the same for every event.
    #[must_use]
    pub fn as_literal(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The text before the first value or time: what every result begins with.
    #[must_use]
    pub fn literal_prefix(&self) -> &str {
        match self.parts.first() {
            Some(Part::Text(text)) => text,
            Some(Part::Time(time)) => time.leading_text(),
            _ => "",
        }
    }

    /// A text as it may come out: `x` for each value, for the time that of the beginning of 2026.
    #[must_use]
    pub fn sample(&self) -> String {
        let mut out = Vec::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Time(time) => time.write(1_767_225_600_000_000_000, &mut out),
                Part::Value { .. } => out.push(b'x'),
            }
        }
        String::from_utf8_lossy(&out).into_owned()
    }

    /// Whether the event's time is in it.
    #[must_use]
    pub fn has_time(&self) -> bool {
        self.parts.iter().any(|p| matches!(p, Part::Time(_)))
    }

    /// The fields and metadata it takes, in order.
    pub fn paths(&self) -> impl Iterator<Item = &FieldPath> {
        self.parts.iter().filter_map(|p| match p {
            Part::Value { path, .. } => Some(path),
            _ => None,
        })
    }

    /// Appends the text for an event, values as they are.
    ///
    /// Errors: a field is absent and has no default; `out` is as before.
    #[inline]
    pub fn render(&self, event: EventRef<'_>, out: &mut Vec<u8>) -> Result<(), Missing<'_>> {
        self.render_as(Values::Raw, event, out)
    }

    /// Appends the text for an event; [`Values`] says how values go in.
    ///
    /// Errors: a field is absent and has no default; `out` is as before.
    pub fn render_as(&self, values: Values, event: EventRef<'_>, out: &mut Vec<u8>) -> Result<(), Missing<'_>> {
        let before = out.len();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Time(time) => time.write(event_time(event), out),
                Part::Value { path, default } => {
                    if push_value(path, values, event, out) {
                        continue;
                    }
                    match default {
                        Some(text) => out.extend_from_slice(text.as_bytes()),
                        None => {
                            out.truncate(before);
                            return Err(Missing(path));
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// The field of the event itself that it is the text of, where it is nothing else.
    pub(crate) fn as_field(&self) -> Option<Sym> {
        match self.parts.as_slice() {
            [Part::Value { path, default: None }] if path.rest().is_empty() => path.first(),
            _ => None,
        }
    }

    /// Appends the text for an event, with nothing where a field is absent (Prometheus labels).
    pub fn render_or_empty(&self, event: EventRef<'_>, out: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Time(time) => time.write(event_time(event), out),
                Part::Value { path, default } => {
                    if !push_value(path, Values::Raw, event, out) {
                        out.extend_from_slice(default.as_deref().unwrap_or_default().as_bytes());
                    }
                }
            }
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Appends the value at a path; `false` where there is none.
fn push_value(path: &FieldPath, values: Values, event: EventRef<'_>, out: &mut Vec<u8>) -> bool {
    let value = match event_value(event, path) {
        None | Some(Value::Null) => return false,
        Some(value) => value,
    };
    let start = out.len();
    value.append_text(out);
    match values {
        Values::Raw => {}
        Values::Component => sanitize_tail(out, start),
        Values::Url => sanitize::percent_encode_tail(out, start),
    }
    true
}

/// [`EventRef::get`] for a path that does not live as long as the batch.
fn event_value<'a>(event: EventRef<'a>, path: &'a FieldPath) -> Option<Value<'a>> {
    event.get(path)
}

/// The time of an event, in nanoseconds since 1970 UTC: the one a component has read, else its `timestamp` field where
/// that is RFC 3339 or a time, else when it was received.
#[must_use]
pub fn event_time(event: EventRef<'_>) -> i64 {
    if let Some(ns) = event.time() {
        return ns;
    }
    let field = match event.field(Sym::TIMESTAMP) {
        Some(Value::Timestamp(ns)) => Some(ns),
        Some(Value::Str(s)) => parse_rfc3339(s.bytes).map(|stamp| stamp.ns),
        _ => None,
    };
    field.unwrap_or(event.batch().received_at)
}

fn fail<T>(at: Range<usize>, message: impl Into<String>, help: Option<&str>) -> Result<T, TemplateError> {
    Err(TemplateError { at, message: message.into(), help: help.map(str::to_owned) })
}

/// What percent signs in the text of a template are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Percent {
    Text,
    Time,
}

fn parse(text: &str, percent: Percent) -> Result<Template, TemplateError> {
    let mut parts = Vec::new();
    let mut at = 0;
    while let Some(open) = text[at..].find("{{").map(|i| at + i) {
        push_text(&mut parts, &text[at..open], at, percent)?;
        let close = closing(text, open)?;
        parts.push(placeholder(text, open + 2..close)?);
        at = close + 2;
    }
    push_text(&mut parts, &text[at..], at, percent)?;
    // Literal placeholders join their neighbours, so that a template without values is one text.
    let mut joined: Vec<Part> = Vec::with_capacity(parts.len());
    for part in parts {
        match (joined.last_mut(), part) {
            (Some(Part::Text(last)), Part::Text(text)) => *last = format!("{last}{text}").into(),
            (_, part) => joined.push(part),
        }
    }
    Ok(Template { text: text.to_owned(), parts: joined })
}

fn push_text(parts: &mut Vec<Part>, text: &str, at: usize, percent: Percent) -> Result<(), TemplateError> {
    if text.is_empty() {
        return Ok(());
    }
    if percent == Percent::Text {
        parts.push(Part::Text(text.into()));
        return Ok(());
    }
    let compiled = Strftime::parse(text).map_err(|e| TemplateError {
        at: at + e.at.start..at + e.at.end,
        message: e.message,
        help: None,
    })?;
    parts.push(match compiled.as_text() {
        Some(text) => Part::Text(text.into()),
        None => Part::Time(compiled),
    });
    Ok(())
}

/// Where the `}}` of the `{{` at `open` stands; quoted text is passed over.
fn closing(text: &str, open: usize) -> Result<usize, TemplateError> {
    let bytes = text.as_bytes();
    let mut i = open + 2;
    while i < bytes.len() {
        match bytes[i] {
            b'}' if bytes.get(i + 1) == Some(&b'}') => return Ok(i),
            quote @ (b'"' | b'\'') => {
                i += 1;
                while i < bytes.len() && bytes[i] != quote {
                    i += if bytes[i] == b'\\' { 2 } else { 1 };
                }
                i += 1;
            }
            _ => i += 1,
        }
    }
    fail(open..open + 2, "this `{{` is never closed", Some("write `}}` after the field's name"))
}

/// What stands between `{{` and `}}`.
fn placeholder(text: &str, inner: Range<usize>) -> Result<Part, TemplateError> {
    let (range, filter) = match pipe(&text[inner.clone()]) {
        Some(i) => (inner.start..inner.start + i, Some(inner.start + i + 1..inner.end)),
        None => (inner.clone(), None),
    };
    let range = trim(text, range);
    if range.is_empty() {
        return fail(inner.start - 2..inner.end + 2, "a field's name is missing here", Some("write `{{ field }}`"));
    }
    let default = filter.map(|range| default(text, trim(text, range))).transpose()?;
    let path = &text[range.clone()];
    // `{{ "{{" }}`: a text that no field is called.
    if default.is_none() && path == "\"{{\"" {
        return Ok(Part::Text("{{".into()));
    }
    match FieldPath::parse(path) {
        Ok(path) => Ok(Part::Value { path, default }),
        Err(e) => {
            let help = path.strip_prefix('.').map(|p| format!("write `{{{{ {p} }}}}`"));
            let at = (range.start + e.at).min(range.end);
            // The place of a missing name may be the end; there the last character is shown.
            let at = if at == range.end { last_char(text, at) } else { at..range.end };
            fail(at, e.message, help.as_deref())
        }
    }
}

/// The character that ends at `end`.
fn last_char(text: &str, end: usize) -> Range<usize> {
    text[..end].char_indices().next_back().map_or(end..end, |(i, _)| i..end)
}

/// The first `|` outside quotes.
fn pipe(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (i, c) in text.char_indices() {
        match (quote, c) {
            (Some(_), '\\') if !escaped => {
                escaped = true;
                continue;
            }
            (Some(q), c) if q == c && !escaped => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '|') => return Some(i),
            _ => {}
        }
        escaped = false;
    }
    None
}

fn trim(text: &str, range: Range<usize>) -> Range<usize> {
    let inner = &text[range.clone()];
    let start = range.start + (inner.len() - inner.trim_start().len());
    start..start.max(range.start + inner.trim_end().len())
}

/// `default("text")`.
fn default(text: &str, range: Range<usize>) -> Result<Box<str>, TemplateError> {
    const HELP: &str = "the only filter is `default(\"text\")`";
    let filter = &text[range.clone()];
    let name = filter.split('(').next().unwrap_or_default().trim();
    let shown = if range.is_empty() { range.start.saturating_sub(1)..range.end } else { range.clone() };
    if name != "default" {
        return fail(shown, format!("unknown filter `{name}`"), Some(HELP));
    }
    let Some(argument) = filter.split_once('(').and_then(|(_, rest)| rest.trim_end().strip_suffix(')')).map(str::trim)
    else {
        return fail(shown, "`default` needs its text in parentheses", Some(HELP));
    };
    let mut chars = argument.chars();
    let Some(quote @ ('"' | '\'')) = chars.next() else {
        return fail(shown, "the text of `default` needs quotes", Some(HELP));
    };
    let mut value = String::new();
    loop {
        match chars.next() {
            None => return fail(shown, "this quote is never closed", None),
            Some(c) if c == quote => break,
            Some('\\') => match chars.next() {
                Some('n') => value.push('\n'),
                Some('t') => value.push('\t'),
                Some(c @ ('\\' | '"' | '\'')) => value.push(c),
                _ => return fail(shown, "escapes in a text are `\\\\`, `\\\"`, `\\'`, `\\n` and `\\t`", None),
            },
            Some(c) => value.push(c),
        }
    }
    if chars.next().is_some() {
        return fail(shown, "`default` takes one text", Some(HELP));
    }
    Ok(value.into())
}
