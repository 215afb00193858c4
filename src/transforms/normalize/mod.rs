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

mod doubt;
mod engine;
mod explain;
mod level;
mod producers;

pub use engine::{Normalize, canonical_names};
pub use level::{Level, LevelNumbers};

use crate::component::common::Attach;
use crate::component::plan::TransformPlan;
use crate::component::{BuildContext, Transform};
use crate::error::BuildError;
use crate::event::{FieldPath, Sym};
use crate::settings::{Map, Reader, Spanned, config, config_enum};
use crate::text::snake_case;
use crate::time::{InputFormat, Zone};

config_enum! {
    /// What the events are to become.
    pub enum Schema {
        /// Log records.
        Log = "log",
        /// Metric samples.
        Metric = "metric",
        /// Trace spans.
        Trace = "trace",
    }
}

config_enum! {
    /// Where fields go that play no part in the schema.
    pub enum KeepRest {
        /// Into the object `metadata`.
        Metadata = "metadata",
        /// They stay where they are.
        Root = "root",
        /// They are discarded.
        Drop = "drop",
    }
}

config_enum! {
    /// How canonical names are spelled.
    pub enum Case {
        /// `traceId`
        Camel = "camel",
        /// `trace_id`
        Snake = "snake",
    }
}

config_enum! {
    /// What an unknown level becomes.
    pub enum UnknownLevel {
        /// `INFO`.
        Info = "info",
        /// It is kept as it is.
        Keep = "keep",
    }
}

config_enum! {
    /// Where a level comes from that an event has not.
    pub enum LevelFrom {
        /// From the field `status`: 5xx is `ERROR`, 4xx is `WARN`.
        Status = "status",
        /// From nowhere: it is `INFO`.
        Nothing = "none",
    }
}

config! {
    /// Gives events one shape: canonical fields found under their aliases, renamed in place, values in one form.
    pub struct NormalizeConfig {
        /// What it reads.
        pub inputs: Vec<Spanned<String>>,
        /// The shape.
        pub schema: Schema = Schema::Log,
        /// Further aliases by canonical name.
        pub fields: Map<Vec<String>> = Map::default(),
        /// Where fields go that play no part; `metadata` for logs, `root` for metrics and traces.
        pub keep_rest: Option<KeepRest> = None,
        /// Spelling of canonical names.
        pub case: Case = Case::Camel,
        /// What an unknown level becomes.
        pub unknown: UnknownLevel = UnknownLevel::Info,
        /// Levels of words and numbers of your own, which go before the ones that are known: `{200: INFO, major: ERROR}`.
        pub levels: Map<Level> = Map::default(),
        /// What numbers in the place of a level mean.
        pub numbers: LevelNumbers = LevelNumbers::Auto,
        /// Where the level of events comes from that have none; `status` where a source upstream decodes `access`, else `none`.
        pub level_from: Option<LevelFrom> = None,
        /// Formats of timestamps (strftime codes), tried before the common ones.
        pub formats: Vec<InputFormat> = Vec::new(),
        /// Metadata to copy into fields.
        pub attach: Vec<Attach> = Vec::new(),
    }
}

impl TransformPlan for NormalizeConfig {
    fn inputs(&self) -> &[Spanned<String>] {
        &self.inputs
    }

    fn outputs(&self) -> Vec<String> {
        // Only a metric can fail to be shaped.
        if self.schema == Schema::Metric { vec!["rejected".into()] } else { Vec::new() }
    }

    fn check(&self, cx: &mut Reader<'_>) {
        let known: Vec<&str> = canonical_names(self.schema).collect();
        for (name, _) in &self.fields.0 {
            if !known.contains(&name.value.as_str()) && !known.iter().any(|k| snake_case(k) == name.value) {
                let message =
                    format!("`{}` is not a canonical field of the schema `{}`", name.value, self.schema.word());
                cx.error(name.span, message).suggest(&name.value, known.iter().copied());
            }
        }
    }

    fn reads_times(&self) -> bool {
        true
    }

    fn build(self: Box<Self>, cx: &BuildContext) -> Result<Box<dyn Transform>, BuildError> {
        let mut options = NormalizeOptions::new(self.schema);
        options.fields = self.fields.0.iter().map(|(name, aliases)| (name.value.clone(), aliases.clone())).collect();
        options.keep_rest = self.keep_rest.unwrap_or(options.keep_rest);
        options.case = self.case;
        options.unknown = self.unknown;
        options.levels = self.levels.0.iter().map(|(word, level)| (word.value.clone(), *level)).collect();
        options.numbers = self.numbers;
        options.level_from_status = self.level_from.map_or(cx.reads_access_logs, |from| from == LevelFrom::Status);
        options.formats = self.formats.clone();
        options.zone = Zone::from_jiff(cx.timezone.clone());
        options.attach = Attach::pairs(&self.attach);
        Ok(Box::new(Normalize::new(options)))
    }
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
    /// Levels of further words and numbers, which go first.
    pub levels: Vec<(String, Level)>,
    /// What numbers mean.
    pub numbers: LevelNumbers,
    /// Whether an event without level has that of its `status`.
    pub level_from_status: bool,
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
            levels: Vec::new(),
            numbers: LevelNumbers::Auto,
            level_from_status: false,
            formats: Vec::new(),
            zone: Zone::default(),
            attach: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
