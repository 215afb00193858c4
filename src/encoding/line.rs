//! An event as one text without a line end, in a form that the user chooses.

use super::{Encoder, Encoding};
use crate::event::EventRef;
use crate::settings::{config_enum, config_union};
use crate::template::Template;

config_enum! {
    /// The words for it.
    pub enum LineWord {
        /// The event as JSON.
        Json = "json",
        /// `key=value` pairs.
        Logfmt = "logfmt",
        /// The plain text of `message`; an event without one as JSON.
        Text = "text",
    }
}

config_union! {
    /// What the line is.
    pub enum Line {
        /// A word.
        Word(LineWord),
        /// A template.
        Template(Template),
    }
}

/// Writes lines.
#[derive(Debug)]
pub enum LineWriter {
    /// In an encoding.
    Encoded(Encoder),
    /// What a template makes of the event; what is absent is empty.
    Template(Template),
}

impl LineWriter {
    /// As configured.
    pub fn new(line: &Line) -> Self {
        LineWriter::Encoded(Encoder::new(match line {
            Line::Word(LineWord::Json) => Encoding::Json,
            Line::Word(LineWord::Logfmt) => Encoding::Logfmt,
            Line::Word(LineWord::Text) => Encoding::Text,
            Line::Template(template) => return LineWriter::Template(template.clone()),
        }))
    }

    /// Whether a line is the whole event as JSON, so that the event can be read back from it.
    pub fn is_whole(&self) -> bool {
        matches!(self, LineWriter::Encoded(encoder) if *encoder.encoding() == Encoding::Json)
    }

    /// Puts the event's line in place of what was in `out`.
    pub fn write(&mut self, event: EventRef<'_>, out: &mut Vec<u8>) {
        out.clear();
        self.append(event, out);
    }

    /// Appends the event's line.
    #[inline]
    pub fn append(&mut self, event: EventRef<'_>, out: &mut Vec<u8>) {
        match self {
            LineWriter::Encoded(encoder) => {
                encoder.event(event, out);
                out.pop();
            }
            LineWriter::Template(template) => template.render_or_empty(event, out),
        }
    }
}
