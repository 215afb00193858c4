//! `normalize`: one shape for every event.
//!
//! ```yaml
//! shape: {type: normalize, inputs: [app], schema: log, keep_rest: root}
//! ```
//!
//! Finds the canonical fields of a schema under their aliases (the canonical name first, then the aliases in order),
//! renames them in place, puts their values into shape, and appends those that are missing and have a default. What
//! plays no part stays with the event as `keep_rest` says. Never drops a log event; a metric without a name or a
//! numeric value goes to `id.rejected`. Works on each event alone and holds nothing.

mod engine;
mod level;

pub use engine::{Normalize, canonical_names};

use crate::event::{FieldPath, Sym};
use crate::time::{InputFormat, Zone};

/// What the events are to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Schema {
    /// Log records.
    #[default]
    Log,
    /// Metric samples.
    Metric,
    /// Trace spans.
    Trace,
}

/// Where fields go that play no part in the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepRest {
    /// Into the object `metadata`.
    Metadata,
    /// They stay where they are.
    Root,
    /// Away.
    Drop,
}

/// How canonical names are spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Case {
    /// `traceId`
    #[default]
    Camel,
    /// `trace_id`
    Snake,
}

/// What an unknown level becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum UnknownLevel {
    /// `INFO`.
    #[default]
    Info,
    /// It is kept as it is.
    Keep,
}

/// What a [`Normalize`] is to do.
#[derive(Clone, Debug)]
pub struct NormalizeOptions {
    /// The shape.
    pub schema: Schema,
    /// Further aliases by canonical name.
    pub fields: Vec<(String, Vec<String>)>,
    /// Where the rest goes.
    pub keep_rest: KeepRest,
    /// Spelling of canonical names.
    pub case: Case,
    /// What unknown levels become.
    pub unknown: UnknownLevel,
    /// Formats of timestamps, tried before the common ones.
    pub formats: Vec<InputFormat>,
    /// Zone of timestamps that name none.
    pub zone: Zone,
    /// Metadata to copy into fields.
    pub attach: Vec<(FieldPath, Sym)>,
}

impl NormalizeOptions {
    /// The defaults of a schema.
    pub fn new(schema: Schema) -> Self {
        NormalizeOptions {
            schema,
            fields: Vec::new(),
            keep_rest: if schema == Schema::Log { KeepRest::Metadata } else { KeepRest::Root },
            case: Case::Camel,
            unknown: UnknownLevel::Info,
            formats: Vec::new(),
            zone: Zone::default(),
            attach: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
