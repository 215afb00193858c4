//! Events to bytes: one line per event, a whole batch at a time, into a buffer that the caller keeps.
//!
//! Nothing is allocated per event. Adjacent events whose bytes stand side by side in the batch's text, line ends
//! included, are copied as one run: text that nobody changed, and JSON lines that nobody changed.
//!
//! | Encoding | A line is |
//! |---|---|
//! | `json` | the event as one JSON object, fields in order, what nobody changed byte for byte |
//! | `text` | the plain text of `message`; an event without one as JSON |
//! | `logfmt` | `key=value` by fields in order; objects and arrays as quoted JSON |
//! | `csv` | the listed fields, quoted as RFC 4180 says, absent ones empty |

mod csv;
mod event_time;
mod line;
mod logfmt;
pub mod object;
pub mod otlp;
pub mod remote_write;
#[cfg(test)]
mod tests;

pub use event_time::EventTime;
pub use line::{Line, LineWord, LineWriter};

use crate::event::{Batch, EventRef, FieldPath, Sym, Value};
use crate::settings::{config, config_choice, config_enum};

config_choice! {
    /// How events become lines.
    pub enum EncodingConfig {
        /// One JSON object a line.
        Json = "json",
        /// The plain text of `message`; an event without one as JSON.
        Text = "text",
        /// `key=value` pairs.
        Logfmt = "logfmt",
        /// Listed fields, separated by commas.
        Csv(CsvConfig) = "csv",
    }
}

config! {
    /// The columns of CSV lines.
    pub struct CsvConfig {
        /// Fields, in the order of the columns; an absent one is an empty column.
        pub fields: Vec<FieldPath>,
        /// What becomes of texts that a spreadsheet would take for a formula.
        pub formulas: Formulas = Formulas::Escape,
    }
}

config_enum! {
    /// What becomes of texts that a spreadsheet would take for a formula: those that begin with `=`, `@`, `+` or `-` and are
    /// no numbers.
    pub enum Formulas {
        /// They get an apostrophe in front, which spreadsheets do not show.
        Escape = "escape",
        /// They stay as they are, for programs that read the file.
        Keep = "keep",
    }
}

/// How events become lines.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Encoding {
    /// One JSON object a line.
    #[default]
    Json,
    /// The plain text of `message`; an event without one as JSON.
    Text,
    /// `key=value` pairs.
    Logfmt,
    /// These fields, separated by commas.
    Csv(Vec<FieldPath>, Formulas),
}

impl From<EncodingConfig> for Encoding {
    fn from(config: EncodingConfig) -> Self {
        match config {
            EncodingConfig::Json => Encoding::Json,
            EncodingConfig::Text => Encoding::Text,
            EncodingConfig::Logfmt => Encoding::Logfmt,
            EncodingConfig::Csv(csv) => Encoding::Csv(csv.fields, csv.formulas),
        }
    }
}

/// A finite number, or text that is one.
pub(crate) fn finite_number(value: Value<'_>) -> Option<f64> {
    let number = match value {
        Value::Str(text) => std::str::from_utf8(text.bytes).ok()?.trim().parse().ok()?,
        other => other.as_f64()?,
    };
    number.is_finite().then_some(number)
}

/// Turns events into lines. Keeps its own work space: one per thread.
#[derive(Debug)]
pub struct Encoder {
    encoding: Encoding,
    work: Vec<u8>,
}

impl Encoder {
    /// An encoder.
    pub fn new(encoding: Encoding) -> Self {
        Encoder { encoding, work: Vec::new() }
    }

    /// How events become lines.
    pub fn encoding(&self) -> &Encoding {
        &self.encoding
    }

    /// Appends one event as a line, with its line end.
    #[inline]
    pub fn event(&mut self, event: EventRef<'_>, out: &mut Vec<u8>) {
        match &self.encoding {
            Encoding::Json => write_json_line(event, out),
            Encoding::Text => match event.field(Sym::MESSAGE) {
                Some(Value::Null) | None => write_json_line(event, out),
                Some(message) => message.append_text(out),
            },
            Encoding::Logfmt => logfmt::write(event, &mut self.work, out),
            Encoding::Csv(fields, formulas) => csv::write(event, fields, *formulas, &mut self.work, out),
        }
        out.push(b'\n');
    }

    /// Appends the batch's live events, each as a line.
    pub fn batch(&mut self, batch: &Batch, out: &mut Vec<u8>) {
        let text = batch.text();
        // The bytes of `text` that are to be copied next: lines of adjacent events, without the last line end.
        let mut run = 0..0;
        for event in batch.iter() {
            let Some(span) = self.span(event) else {
                flush_run(text, &mut run, out);
                self.event(event, out);
                continue;
            };
            if run.end != 0 && span.start == run.end + 1 && text.get(run.end) == Some(&b'\n') {
                run.end = span.end;
                continue;
            }
            flush_run(text, &mut run, out);
            if span.is_empty() {
                out.push(b'\n');
            } else {
                run = span;
            }
        }
        flush_run(text, &mut run, out);
    }

    /// The batch's lines as they already stand in its text, where they do so without a gap: nothing has to be copied.
    pub fn in_place<'b>(&self, batch: &'b Batch) -> Option<&'b [u8]> {
        if !matches!(self.encoding, Encoding::Json | Encoding::Text) {
            return None;
        }
        if self.encoding == Encoding::Text
            && let Some(lines) = batch.plain_lines()
        {
            return Some(lines).filter(|lines| !lines.is_empty());
        }
        let text: &[u8] = batch.text();
        let mut events = batch.iter();
        let mut run = self.span(events.next()?)?;
        for event in events {
            let span = self.span(event)?;
            if span.start != run.end + 1 || text.get(run.end) != Some(&b'\n') {
                return None;
            }
            run.end = span.end;
        }
        if text.get(run.end) == Some(&b'\n') { text.get(run.start..=run.end) } else { None }
    }

    /// Where the event's line stands in its batch's text as it is to be written, if it does.
    #[inline]
    fn span(&self, event: EventRef<'_>) -> Option<std::ops::Range<usize>> {
        match self.encoding {
            Encoding::Json => event.json_span(),
            Encoding::Text => event.text_span(Sym::MESSAGE),
            _ => None,
        }
    }
}

/// Writes an event as one line of JSON: between the tokens of an object that came on several lines, their ends become blanks.
/// (Inside strings they are escaped.)
#[inline]
fn write_json_line(event: EventRef<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    event.write_json(out);
    let mut at = start;
    while let Some(i) = memchr::memchr(b'\n', &out[at..]) {
        out[at + i] = b' ';
        at += i + 1;
    }
}

/// Copies the run and its line end, taking the one that stands behind it along where there is one.
fn flush_run(text: &[u8], run: &mut std::ops::Range<usize>, out: &mut Vec<u8>) {
    if run.end != 0 {
        if text.get(run.end) == Some(&b'\n') {
            out.extend_from_slice(&text[run.start..=run.end]);
        } else {
            out.extend_from_slice(&text[run.clone()]);
            out.push(b'\n');
        }
        *run = 0..0;
    }
}
