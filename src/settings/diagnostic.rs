//! Mistakes in a configuration, each at its place, and how they are shown.
//!
//! ```text
//! error: unknown key `max_line_byte` in source `app`
//!   --> pipelines/edge.yaml:14:5
//!    |
//! 14 |     max_line_byte: 64KiB
//!    |     ^^^^^^^^^^^^^
//!    = help: did you mean `max_line_bytes`?
//! ```

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Write as _;
use std::ops::Range;

use serde_json::Value;

use crate::text::escape::{Form, escaped, line as line_of};
use crate::text::mask::HIDDEN;

use super::source_map::{SourceFile, SourceMap, Span};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can be used, but probably does not do what was meant.
    Warning,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Where; `None` for what has no place in a file.
    pub span: Option<Span>,
    /// What, in a sentence without a full stop.
    pub message: String,
    /// Other places that belong to it, with what they are.
    pub notes: Vec<(Span, String)>,
    /// What to do.
    pub helps: Vec<String>,
    /// The key that it says is missing: taken back where an unknown key turns out to be that one misspelled.
    pub(crate) missing: Option<String>,
    /// Keys, ids and suggestions it names: the agent's own words, which stay whatever a secret or a variable holds.
    pub(crate) own: Vec<String>,
    /// It quotes the value as it was written, `${…}` and all: nothing in it came out of a variable.
    pub(crate) as_written: bool,
}

impl Diagnostic {
    /// A mistake at `span`.
    pub fn new(severity: Severity, span: Option<Span>, message: impl Into<String>) -> Self {
        Self {
            severity,
            span,
            message: message.into(),
            notes: Vec::new(),
            helps: Vec::new(),
            missing: None,
            own: Vec::new(),
            as_written: false,
        }
    }

    /// Adds what to do about it.
    pub fn help(&mut self, text: impl Into<String>) -> &mut Self {
        self.helps.push(text.into());
        self
    }

    /// Adds `did you mean …` where one of `names` is close to `wrong`.
    pub fn suggest<'n>(&mut self, wrong: &str, names: impl IntoIterator<Item = &'n str>) -> &mut Self {
        if let Some(near) = nearest(wrong, names) {
            let help = format!("did you mean `{near}`?");
            self.own.push(near.to_owned());
            self.helps.push(help);
        }
        self
    }

    /// Says that this word in it is the agent's own, such as an example: it stays whatever a variable holds.
    pub fn own_word(&mut self, word: &str) -> &mut Self {
        self.own.push(word.to_owned());
        self
    }

    /// Adds another place that belongs to it.
    pub fn note(&mut self, span: Span, text: impl Into<String>) -> &mut Self {
        self.notes.push((span, text.into()));
        self
    }
}

/// The name nearest to `wrong`, if one is near enough to be what was meant.
pub(crate) fn nearest<'n>(wrong: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    if wrong.len() > 100 {
        return None;
    }
    let fold = |name: &str| name.to_lowercase().replace(['-', ' '], "_");
    let wrong = fold(wrong);
    let mut best: Option<(f64, &str)> = None;
    for name in names {
        let folded = fold(name);
        let length = wrong.chars().count().max(folded.chars().count());
        let distance = strsim::damerau_levenshtein(&wrong, &folded);
        let allowed = (length / 3).clamp(1, 4);
        let prefix =
            wrong.len() >= 4 && (folded.starts_with(&wrong) || wrong.starts_with(&folded)) && folded.len() >= 4;
        let score = if folded == wrong {
            2.0
        } else if distance <= allowed && distance < length {
            1.0 - distance as f64 / length as f64
        } else if prefix {
            0.3
        } else {
            continue;
        };
        if best.is_none_or(|(score_before, _)| score > score_before) {
            best = Some((score, name));
        }
    }
    best.map(|(_, name)| name)
}

/// Everything found in one reading, and the texts it points into.
#[derive(Debug, Clone, Default)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    /// Texts that must not appear in any message.
    secrets: HashSet<String>,
    /// What was put into scalars: messages at such a place show the expression in place of the value.
    interpolated: Vec<Interpolated>,
    /// Scalars whose interpolation failed, which was said: what else is wrong with them comes of that.
    broken: Vec<Span>,
    discarded: Option<Diagnostic>,
}

#[derive(Debug, Clone)]
struct Interpolated {
    span: Span,
    /// Value and what to show for it, longest value first.
    pieces: Vec<(String, String)>,
}

/// How many are shown of one reading: a file that is wrong this often is another kind of file.
const MAX_SHOWN: usize = 200;

/// Texts shorter than this are not searched for in messages: they would match by chance.
const SHORTEST_SCRUBBED: usize = 3;

impl Diagnostics {
    /// Adds one.
    pub fn push(&mut self, diagnostic: Diagnostic) -> &mut Diagnostic {
        self.list.push(diagnostic);
        let last = self.list.len() - 1;
        &mut self.list[last]
    }

    /// Something to write to that is never shown.
    pub(crate) fn discard(&mut self) -> &mut Diagnostic {
        self.discarded.insert(Diagnostic::new(Severity::Warning, None, ""))
    }

    /// Remembers that the interpolation of the scalar at `span` failed.
    pub(crate) fn add_broken(&mut self, span: Span) {
        self.broken.push(span);
    }

    /// Whether a place is in a scalar whose interpolation failed.
    pub(crate) fn is_broken(&self, span: Span) -> bool {
        self.broken.iter().any(|b| b.file == span.file && b.start <= span.start && span.end <= b.end)
    }

    /// Remembers a text that no message may show.
    pub fn add_secret(&mut self, text: &str) {
        for part in text.split(['\n', '\r']).map(str::trim).chain([text]) {
            if part.len() >= SHORTEST_SCRUBBED && !self.secrets.contains(part) {
                self.secrets.insert(part.to_owned());
            }
        }
    }

    /// Remembers that the scalar at `span` was `written`, became `value`, and which values stand for which expressions.
    pub(crate) fn add_interpolated(
        &mut self,
        span: Span,
        value: &str,
        written: &str,
        mut pieces: Vec<(String, String)>,
    ) {
        pieces.push((value.to_owned(), written.to_owned()));
        pieces.retain(|(piece, _)| !piece.is_empty());
        pieces.sort_by_key(|(piece, _)| std::cmp::Reverse(piece.len()));
        self.interpolated.push(Interpolated { span, pieces });
    }

    /// Takes back that `key` is missing, said at `span`.
    pub(crate) fn retract_missing(&mut self, span: Span, key: &str) {
        self.list.retain(|said| said.span != Some(span) || said.missing.as_deref() != Some(key));
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether one of them is an error.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// Errors found.
    pub fn error_count(&self) -> usize {
        self.list.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count()
    }

    /// Warnings found.
    pub fn warning_count(&self) -> usize {
        self.list.len() - self.error_count()
    }

    /// All (the first 200 of them), sorted by file and position, secrets replaced by `***`, each said once.
    pub fn sorted(&self) -> Vec<Diagnostic> {
        let mut list = self.list.clone();
        list.sort_by_key(|a| (a.span.is_none(), a.span, a.severity));
        list.dedup();
        list.truncate(MAX_SHOWN);
        let mut secrets: Vec<&str> = self.secrets.iter().map(String::as_str).collect();
        secrets.sort_by_key(|secret| (std::cmp::Reverse(secret.len()), *secret));
        for diagnostic in &mut list {
            let (span, as_written) = (diagnostic.span, diagnostic.as_written);
            let hidden = self.hidden(span.as_slice(), as_written, &secrets);
            diagnostic.message = hide_named(&hidden.in_text(&diagnostic.message, &diagnostic.own));
            diagnostic.helps.iter_mut().for_each(|help| *help = hidden.in_text(help, &diagnostic.own));
            for (at, note) in &mut diagnostic.notes {
                let spans: Vec<Span> = span.into_iter().chain([*at]).collect();
                *note = hide_named(&self.hidden(&spans, as_written, &secrets).in_text(note, &diagnostic.own));
            }
        }
        list
    }

    /// What must not show in the words of a diagnostic at `spans`.
    fn hidden<'d>(&'d self, spans: &[Span], as_written: bool, secrets: &[&'d str]) -> Hidden<'d> {
        let here = |span: Span| {
            spans
                .iter()
                .any(|at| at.file == span.file && at.start <= span.end && span.start <= at.end.max(at.start + 1))
        };
        let put_in: Vec<&Interpolated> = self.interpolated.iter().filter(|put_in| here(put_in.span)).collect();
        let pieces = || put_in.iter().flat_map(|put_in| &put_in.pieces);
        let mut needles: Vec<Needle<'d>> = Vec::new();
        if !as_written {
            for (value, shown) in pieces().filter(|(value, shown)| value.len() >= SHORTEST_SCRUBBED && value != shown) {
                needles.push(Needle { text: value, shown, anywhere: shown == HIDDEN || !may_be_a_word(value) });
            }
        }
        for &secret in secrets {
            // Where the secret itself stands, a parser's words hold it bare.
            let own = !as_written && pieces().any(|(value, _)| value == secret);
            needles.push(Needle { text: secret, shown: HIDDEN, anywhere: own || !may_be_a_word(secret) });
        }
        needles.sort_by_key(|n| std::cmp::Reverse(n.text.len()));
        Hidden { needles, values: if as_written { Vec::new() } else { pieces().collect() } }
    }

    /// All of them as text, for stderr, with a last line that counts them. Empty where there are none. Excerpts are cut to
    /// `columns`, the width of the terminal.
    pub fn render(&self, sources: &SourceMap, columns: Option<usize>) -> String {
        let mut out = String::new();
        for diagnostic in self.sorted() {
            render_one(&mut out, &diagnostic, sources, columns.unwrap_or(usize::MAX));
            out.push('\n');
        }
        let (errors, warnings) = (self.error_count(), self.warning_count());
        if errors + warnings > MAX_SHOWN {
            _ = writeln!(out, "the first {MAX_SHOWN} are shown");
        }
        let count = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
        match (errors, warnings) {
            (0, 0) => {}
            (0, w) => _ = writeln!(out, "{}", count(w, "warning")),
            (e, 0) => _ = writeln!(out, "{}", count(e, "error")),
            (e, w) => _ = writeln!(out, "{}, {}", count(e, "error"), count(w, "warning")),
        }
        out
    }
}

impl Diagnostics {
    /// All of them for programs.
    ///
    /// Shape: a list of `{severity, message, help: [text], file, line, column, end_line, end_column, notes: [{message, file, …}]}`;
    /// lines and columns (characters) begin with 1; a mistake without a place has none of them.
    pub fn to_json(&self, sources: &SourceMap) -> Value {
        let place = |span: Option<Span>, mut out: serde_json::Map<String, Value>| {
            if let Some((span, file)) = span.and_then(|span| Some((span, sources.file(span.file)?))) {
                let (line, column) = file.position(span.start);
                let (end_line, end_column) = file.position(span.end);
                out.insert("file".into(), file.name().into());
                for (name, n) in
                    [("line", line), ("column", column), ("end_line", end_line), ("end_column", end_column)]
                {
                    out.insert(name.into(), n.into());
                }
            }
            Value::Object(out)
        };
        let of = |diagnostic: &Diagnostic| {
            let mut out = serde_json::Map::new();
            out.insert("severity".into(), diagnostic.severity.word().into());
            out.insert("message".into(), diagnostic.message.clone().into());
            out.insert("help".into(), diagnostic.helps.clone().into());
            let notes: Vec<Value> = diagnostic
                .notes
                .iter()
                .map(|(span, text)| {
                    place(Some(*span), [("message".to_owned(), text.clone().into())].into_iter().collect())
                })
                .collect();
            out.insert("notes".into(), notes.into());
            place(diagnostic.span, out)
        };
        self.sorted().iter().map(of).collect()
    }
}

impl Severity {
    fn word(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

fn render_one(out: &mut String, diagnostic: &Diagnostic, sources: &SourceMap, columns: usize) {
    let word = diagnostic.severity.word();
    _ = writeln!(out, "{word}: {}", printable(&diagnostic.message));
    let widest = diagnostic.span.iter().chain(diagnostic.notes.iter().map(|(span, _)| span));
    let width = widest
        .filter_map(|span| sources.file(span.file).map(|file| file.position(span.start).0.to_string().len()))
        .max()
        .unwrap_or(1)
        .max(2);
    if let Some((span, file)) = diagnostic.span.and_then(|span| Some((span, sources.file(span.file)?))) {
        excerpt(out, (width, columns), file, span, "-->", ('^', ""));
    }
    for (span, text) in &diagnostic.notes {
        if let Some(file) = sources.file(span.file) {
            excerpt(out, (width, columns), file, *span, ":::", ('-', &printable(text)));
        }
    }
    for help in &diagnostic.helps {
        _ = writeln!(out, "{:width$} = help: {}", "", printable(help));
    }
}

/// The longest part of a source line that is shown.
const MAX_SHOWN_COLUMNS: usize = 160;
/// So much of it is shown on the narrowest terminal.
const MIN_SHOWN_COLUMNS: usize = 24;

/// The line at `span`, marked and labelled. `width` is that of the line numbers, `columns` that of the terminal.
fn excerpt(
    out: &mut String,
    (width, columns): (usize, usize),
    file: &SourceFile,
    span: Span,
    arrow: &str,
    (mark, label): (char, &str),
) {
    let (line, column) = file.position(span.start);
    _ = writeln!(out, "{:width$}{arrow} {}:{line}:{column}", "", line_of(file.name()));
    let mut range = file.line_range(line);
    // A comment says nothing about the mistake, and may say anything.
    let comment = range.start + comment_start(&file.text()[range.clone()]);
    if comment >= span.start as usize {
        range.end = range.start + file.text()[range.start..comment].trim_end().len();
    }
    let from = (span.start as usize).clamp(range.start, range.end);
    let to = (span.end as usize).clamp(from, range.end);
    let (text, from, to) = shown_line(file, range, from..to);
    let room = columns.saturating_sub(width + " | ……".chars().count()).clamp(MIN_SHOWN_COLUMNS, MAX_SHOWN_COLUMNS);
    let (text, from, to) = shorten(&text, from, to, room);
    let marks = mark.to_string().repeat(to.saturating_sub(from).max(1));
    _ = writeln!(out, "{:width$} |", "");
    _ = writeln!(out, "{line:>width$} | {text}");
    let space = if label.is_empty() { "" } else { " " };
    _ = writeln!(out, "{:width$} | {}{marks}{space}{label}", "", " ".repeat(from));
}

/// The line with what is masked replaced by `***`, and the marked columns in it.
fn shown_line(file: &SourceFile, line: Range<usize>, marked: Range<usize>) -> (String, usize, usize) {
    let mut masks: Vec<Range<usize>> = file
        .masked(&line)
        .iter()
        .map(|mask| {
            // Indentation of the further lines of a long value stays.
            let start = mask.start.max(line.start);
            let indent = file.text()[start..line.end].len() - file.text()[start..line.end].trim_start().len();
            (start + indent).min(mask.end.min(line.end))..mask.end.min(line.end)
        })
        .collect();
    masks.extend(
        url_passwords(&file.text()[line.clone()]).map(|range| range.start + line.start..range.end + line.start),
    );
    masks.extend(
        named_secrets(&file.text()[line.clone()]).map(|range| range.start + line.start..range.end + line.start),
    );
    masks.retain(|mask| !mask.is_empty());
    masks.sort_by_key(|mask| mask.start);
    let mut text = String::new();
    let (mut from, mut to) = (None, None);
    let mut column = 0;
    let mut masks = masks.into_iter().peekable();
    let mut at = line.start;
    while at < line.end {
        if at >= marked.start && from.is_none() {
            from = Some(column);
        }
        if at >= marked.end && to.is_none() {
            to = Some(column);
        }
        while masks.peek().is_some_and(|mask| mask.end <= at) {
            masks.next();
        }
        if let Some(mask) = masks.peek().filter(|mask| mask.start <= at) {
            let end = mask.end.min(line.end);
            text.push_str("***");
            if marked.start < end && marked.start > at && from.is_none() {
                from = Some(column);
            }
            column += 3;
            if marked.end <= end && marked.end > at && to.is_none() {
                to = Some(column);
            }
            at = end;
            continue;
        }
        let c = file.text()[at..].chars().next().unwrap_or(' ');
        let shown = if c == '\t' || c.is_control() || is_format(c) { ' ' } else { c };
        text.push(shown);
        column += 1;
        at += c.len_utf8();
    }
    let from = from.unwrap_or(column);
    (text, from, to.unwrap_or(column).max(from))
}

/// Cuts a long line around the marked columns, to `room` of them and an ellipsis at each cut.
fn shorten(text: &str, from: usize, to: usize, room: usize) -> (String, usize, usize) {
    let length = text.chars().count();
    if length <= room {
        return (text.to_owned(), from, to);
    }
    // All of what is marked, where that fits, with what stands before it as far as there is room.
    let before = room.saturating_sub(to - from).min(room / 2);
    let start = from.saturating_sub(before).min(length - room);
    let end = start + room;
    let mut out = String::new();
    let shift = if start > 0 {
        out.push('…');
        1
    } else {
        0
    };
    out.extend(text.chars().skip(start).take(end - start));
    if end < length {
        out.push('…');
    }
    (out, from - start + shift, to.min(end) - start + shift)
}

/// Byte ranges of credentials in `scheme://user:password@host` or `scheme://token@host` within `text`.
fn url_passwords(text: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    text.match_indices("://").filter_map(move |(at, _)| {
        let start = at + 3;
        let end = text[start..].find(['"', '\'', '`', ' ', '\t', '\n']).map_or(text.len(), |n| start + n);
        let authority = text[start..end].find(['/', ',', '?', '#']).map_or(end, |n| start + n);
        let host = match text[start..authority].rfind('@') {
            Some(n) => start + n,
            // A password with a `/` or the like: what stands after the `:` is no port.
            None => {
                let port = text[start..authority].rsplit_once(':')?.1;
                let is_port = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
                start + text[start..end].rfind('@').filter(|_| !is_port)?
            }
        };
        let from = text[start..host].find(':').map_or(start, |n| start + n + 1);
        Some(from..host)
    })
}

/// A text that must not show.
struct Needle<'d> {
    text: &'d str,
    /// What stands in its place.
    shown: &'d str,
    /// Outside of quotes too: it is no word that the agent itself may have written there.
    anywhere: bool,
}

/// What must not show in some words.
struct Hidden<'d> {
    /// Longest first.
    needles: Vec<Needle<'d>>,
    /// Values that were put in, with how they are written: parsers quote parts of them.
    values: Vec<&'d (String, String)>,
}

impl Hidden<'_> {
    /// The words with each place of a needle replaced, once, and not searched again. What stands in backticks is a value, or
    /// one of the agent's `own` words, which stay.
    fn in_text(&self, text: &str, own: &[String]) -> String {
        if self.needles.is_empty() && self.values.is_empty() {
            return text.to_owned();
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        let mut quoted = false;
        while let Some(c) = rest.chars().next() {
            let needle = self.needles.iter().find(|n| (quoted || n.anywhere) && rest.starts_with(n.text));
            if let Some(needle) = needle {
                out.push_str(needle.shown);
                rest = &rest[needle.text.len()..];
                continue;
            }
            out.push(c);
            rest = &rest[c.len_utf8()..];
            if c != '`' {
                continue;
            }
            quoted = !quoted;
            if !quoted {
                continue;
            }
            let fragment = &rest[..rest.find('`').unwrap_or(rest.len())];
            if own.iter().any(|word| word == fragment) {
                out.push_str(fragment);
                rest = &rest[fragment.len()..];
            } else if self.is_part_of_a_value(fragment) {
                out.push_str(HIDDEN);
                rest = &rest[fragment.len()..];
            }
        }
        out
    }

    fn is_part_of_a_value(&self, fragment: &str) -> bool {
        let part = fragment.trim_end_matches('…');
        part.len() >= SHORTEST_SCRUBBED
            && self
                .values
                .iter()
                .any(|(value, written)| value.len() > part.len() && value.contains(part) && !written.contains(part))
    }
}

/// Letters only: a text that the agent's own words may hold by chance.
fn may_be_a_word(text: &str) -> bool {
    text.len() <= 16 && text.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_')
}

/// Byte ranges of values after a name of a secret and `=`: in the query of a URL, in a connection string.
fn named_secrets(text: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    text.match_indices('=').filter_map(move |(at, _)| {
        let name_end = text[..at].trim_end();
        let start = name_end
            .rfind(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.')))
            .map_or(0, |n| n + name_end[n..].chars().next().map_or(1, char::len_utf8));
        if name_end[start..].is_empty() || !crate::text::mask::is_secret_name(&name_end[start..]) {
            return None;
        }
        let value = at + 1;
        let quote = text[value..].chars().next().filter(|c| matches!(c, '"' | '\''));
        let length = match quote {
            Some(quote) => text[value + 1..].find(quote).map_or(text.len() - value, |n| n + 2),
            None => text[value..]
                .find(|c: char| c.is_whitespace() || matches!(c, '&' | ';' | '"' | '\'' | '`' | ',' | '#'))
                .unwrap_or(text.len() - value),
        };
        (length > 0).then_some(value..value + length)
    })
}

/// What the text names as a secret itself, hidden.
pub(crate) fn hide_named(text: &str) -> String {
    let mut ranges: Vec<Range<usize>> = named_secrets(text).chain(url_passwords(text)).collect();
    if ranges.is_empty() {
        return text.to_owned();
    }
    ranges.sort_by_key(|range| range.start);
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    for range in ranges {
        if range.start < at {
            at = at.max(range.end);
            continue;
        }
        out.push_str(&text[at..range.start]);
        out.push_str(HIDDEN);
        at = range.end;
    }
    out.push_str(&text[at.min(text.len())..]);
    out
}

/// Where the comment of a line begins, or its end. A `#` in quotes is none.
fn comment_start(line: &str) -> usize {
    let (mut quote, mut before) = (None, ' ');
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (None, '#') if before.is_whitespace() => return at,
            (None, '"' | '\'') if before.is_whitespace() || matches!(before, '[' | '{' | ',' | ':') => quote = Some(c),
            (Some(open), c) if open == c && before != '\\' => quote = None,
            _ => {}
        }
        before = c;
    }
    line.len()
}

/// On a terminal's side: text from a file never steers it. Line ends are those of a parser's words.
fn printable(text: &str) -> Cow<'_, str> {
    match escaped(text, Form::Text) {
        text if text.contains('\t') => Cow::Owned(text.replace('\t', "\\t")),
        text => text,
    }
}

/// Characters that change how their neighbours are shown (bidirectional overrides and the like).
fn is_format(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}
