//! The language of configuration: text to a tree with places, to typed settings. Knows no component.
//!
//! 1. [`yaml`] reads each file into a [`Node`] tree that knows where everything stood.
//! 2. [`interpolate`] replaces `${…}` in scalars.
//! 3. [`Setting`]s are read out of the tree. Each is defined once, with [`config!`](macros) and its like: struct, reader,
//!    JSON schema and reference come from that one text. A [`Reader`] gathers every mistake and goes on.
//!
//! Checking touches nothing but the files read, the environment and the files that `${file:…}` names.
//!
//! A component writes:
//!
//! ```ignore
//! config! {
//!     /// Reads lines from files.
//!     pub struct FileConfig {
//!         /// Globs of the files to read.
//!         pub include: Vec<String>,
//!         /// Longest line.
//!         pub max_line_bytes: Size = Size::mib(1),
//!         flatten pub common: SourceCommon,
//!     }
//! }
//! ```
//!
//! and, for a type of its own (a regex, a template), implements [`Setting`]: `read_string` gives the text,
//! [`Reader::error_in`] reports at a byte range of that text whatever quotes it was written in.
//!
//! Secrets: the values of [`Secret`] settings, of keys named like secrets, and of `${file:…}` show as `***` in excerpts and
//! messages; the value of any `${VAR}` shows as the expression.

mod collections;
mod diagnostic;
mod editor;
pub(crate) mod foreign;
mod forms;
pub mod interpolate;
pub mod macros;
mod network;
pub mod node;
mod pattern;
mod quantity;
mod reader;
mod scalar_span;
mod scalars;
mod schema;
mod secret;
mod setting;
mod source_map;
pub mod yaml;

#[cfg(test)]
mod tests;

pub use collections::{Map, OneOrMany, Spanned};
pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub(crate) use diagnostic::{hide_named, nearest};
pub(crate) use editor::dress;
pub use forms::{
    ChoiceSchema, by_type_schema, chosen, field_doc, field_schema, key_name, no_form, not_a_word, read_chosen,
    read_tagged, tag, tagged_docs, tagged_schema, words_in_words, words_schema,
};
pub use interpolate::{Environment, ProcessEnvironment};
#[allow(unused_imports, reason = "a form that no setting uses yet")]
pub(crate) use macros::{
    config, config_choice, config_doc, config_enum, config_field, config_tagged, config_union, text_setting,
};
pub use network::Network;
pub use node::{Node, NodeKind};
pub use pattern::explain_pattern;
pub use quantity::{Size, duration_text, parse_duration};
pub(crate) use reader::abridged;
pub use reader::{Asked, Keys, Reader};
pub use scalars::read_string;
pub use schema::{Properties, SchemaBuilder};
pub use secret::{Secret, mask_known, mask_log};
pub use setting::{FieldDoc, Setting, Settings, doc_text, read_block, read_key};
pub use source_map::{SourceMap, Span};

/// Reads one value from a text that stands for a whole file: for tests and small tools.
///
/// Shape: the value, where the text had no error, and everything that was found.
pub fn read_text<T: Setting>(name: &str, text: &str, environment: &dyn Environment) -> (Option<T>, Report) {
    read_and_check(name, text, environment, |_, _| ())
}

/// As [`read_text`]; what was read is checked as a block of its own.
pub fn read_and_check<T: Setting>(
    name: &str,
    text: &str,
    environment: &dyn Environment,
    check: impl FnOnce(&T, &mut Reader<'_>),
) -> (Option<T>, Report) {
    let mut report = Report::default();
    let file = report.sources.add(name, text);
    let Some(mut node) = yaml::parse(file, &mut report.sources, &mut report.diagnostics) else { return (None, report) };
    interpolate::interpolate(&mut node, environment, &mut report.sources, &mut report.diagnostics);
    let mut reader = Reader::new(&mut report.sources, &mut report.diagnostics);
    let value = T::read(&node, &mut reader);
    if let Some(value) = &value {
        reader.checking(&node, |reader| check(value, reader));
    }
    (value.filter(|_| !report.diagnostics.has_errors()), report)
}

/// What was found in a configuration, with the texts to show it in.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The texts.
    pub sources: SourceMap,
    /// What was found in them.
    pub diagnostics: Diagnostics,
}

impl Report {
    /// As text, for stderr; empty where nothing was found.
    pub fn render(&self) -> String {
        self.diagnostics.render(&self.sources, None)
    }

    /// As text for a terminal of so many columns.
    pub fn render_within(&self, columns: Option<usize>) -> String {
        self.diagnostics.render(&self.sources, columns)
    }

    /// For programs: see [`Diagnostics::to_json`].
    pub fn to_json(&self) -> serde_json::Value {
        self.diagnostics.to_json(&self.sources)
    }
}
