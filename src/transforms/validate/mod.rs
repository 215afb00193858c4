//! `validate`: data quality.
//!
//! ```yaml
//! quality:
//!   type: validate
//!   inputs: [app]
//!   schema: log
//!   rules:
//!     - {check: 'traceId.matches("^[0-9a-f]{32}$")', error: "traceId is not 32 hex digits"}
//!     - {when: 'duration > 60000', warn: "took {{ duration }} ms"}
//! ```
//!
//! Judges each event by the built-in rules of a `schema` (`builtin.rs` lists them), by a `json_schema` and by `rules`
//! of the user: a `check` must hold, a `when` marks a fault. Where a `check` cannot be said (an absent field, another
//! type) it has failed; a `when` then marks nothing; both are counted (`condition_absent`, `condition_type`).
//!
//! An event with errors goes to `id.rejected` with `quality.errors: [{rule, message}]` (`on_error: reject`), goes on with
//! them (`tag`) or is dropped (`drop`, `reason="validate"`). Warnings go on as `quality.warnings`, unless `warnings:
//! ignore`. What an event has there already stays, in front. Findings are counted by rule
//! (`tidegate_validate_errors_total`, `tidegate_validate_warnings_total`).
//!
//! Works on each event alone, holds nothing, and allocates nothing for events without fault, but for `json_schema`, which
//! builds a tree of each event.

mod builtin;
mod explain;
mod finding;
mod schema;

use std::path::PathBuf;
use std::sync::Arc;

use crate::component::plan::TransformPlan;
use crate::component::{BuildContext, Emitter, Notes, Rule as Setting, Transform};
use crate::condition::{Condition, Faults, Outcome};
use crate::error::BuildError;
use crate::event::{Batch, EventRef};
use crate::settings::{Reader, Spanned, config, config_enum};
use crate::template::Template;

use builtin::Builtin;
use finding::{Findings, Severity};
use schema::JsonSchema;

#[cfg(test)]
mod tests;

config_enum! {
    /// What the events are meant to be.
    pub enum ValidateSchema {
        /// Log records.
        Log = "log",
        /// Metric samples.
        Metric = "metric",
        /// Trace spans.
        Trace = "trace",
    }
}

config_enum! {
    /// What becomes of an event with errors.
    pub enum OnError {
        /// It goes to `id.rejected`.
        Reject = "reject",
        /// It goes on, with its errors in `quality.errors`.
        Tag = "tag",
        /// It is dropped.
        Drop = "drop",
    }
}

config_enum! {
    /// What becomes of warnings.
    pub enum Warnings {
        /// They go into `quality.warnings`.
        Tag = "tag",
        /// They are counted only.
        Ignore = "ignore",
    }
}

config! {
    /// Judges events: by the rules of a schema, by a JSON schema, by conditions.
    pub struct ValidateConfig {
        /// What it reads.
        pub inputs: Vec<Spanned<String>>,
        /// The built-in rules to apply.
        pub schema: Option<ValidateSchema>,
        /// A JSON schema (any draft) that events must satisfy; read at start, references to other files are not followed.
        pub json_schema: Option<Spanned<PathBuf>>,
        /// Conditions of your own.
        pub rules: Vec<Spanned<RuleConfig>> = Vec::new(),
        /// What becomes of an event with errors.
        pub on_error: OnError = OnError::Reject,
        /// What becomes of warnings.
        pub warnings: Warnings = Warnings::Tag,
    }
}

config! {
    /// A condition, and what to say of events that are at fault.
    pub struct RuleConfig {
        /// Must hold. One of this and `when`.
        pub check: Option<Condition>,
        /// Marks a fault where it holds.
        pub when: Option<Condition>,
        /// Makes the fault an error, with this message. One of this and `warn`.
        pub error: Option<Template>,
        /// Makes the fault a warning, with this message.
        pub warn: Option<Template>,
        /// What the rule is called in findings and counters; its condition, where left out.
        pub name: Option<String>,
    }
}

impl TransformPlan for ValidateConfig {
    fn inputs(&self) -> &[Spanned<String>] {
        &self.inputs
    }

    fn reads_once(&self) -> Vec<PathBuf> {
        self.json_schema.iter().map(|path| path.value.clone()).collect()
    }

    fn outputs(&self) -> Vec<String> {
        if self.on_error == OnError::Reject { vec!["rejected".into()] } else { Vec::new() }
    }

    fn check(&self, cx: &mut Reader<'_>) {
        for (n, rule) in self.rules.iter().enumerate() {
            match (&rule.check, &rule.when) {
                (Some(_), Some(_)) => {
                    cx.error_at(&format!("rules[{n}].when"), "a rule has one of `check` and `when`");
                }
                (None, None) => {
                    cx.error(rule.span, "this rule has no condition")
                        .help("add `check` (must hold) or `when` (marks a fault)");
                }
                _ => {}
            }
            match (&rule.error, &rule.warn) {
                (Some(_), Some(_)) => {
                    cx.error_at(&format!("rules[{n}].warn"), "a rule has one of `error` and `warn`");
                }
                (None, None) => {
                    cx.error(rule.span, "this rule says nothing").help("add `error` or `warn` with a message");
                }
                _ => {}
            }
        }
        if self.schema.is_none() && self.json_schema.is_none() && self.rules.is_empty() {
            cx.error_at("rules", format!("nothing says what to check{}", cx.place()))
                .help("add `schema`, `json_schema` or `rules`");
        }
    }

    fn build(self: Box<Self>, _cx: &BuildContext) -> Result<Box<dyn Transform>, BuildError> {
        let mut names: Vec<Arc<str>> = Builtin::NAMES.iter().map(|name| Arc::from(*name)).collect();
        let mut rules = Vec::new();
        for rule in self.rules {
            let rule = rule.value;
            let (Some(condition), Some((severity, message))) = (
                rule.check.as_ref().or(rule.when.as_ref()).cloned(),
                rule.error.map(|m| (Severity::Error, m)).or(rule.warn.map(|m| (Severity::Warning, m))),
            ) else {
                return Err(BuildError::config("a rule needs a condition and a message"));
            };
            let name = rule.name.unwrap_or_else(|| condition.text().to_owned());
            names.push(name.into());
            let must_hold = rule.check.is_some();
            rules.push(Rule { condition, must_hold, severity, message, number: names.len() - 1 });
        }
        let json_schema = self.json_schema.map(|path| JsonSchema::load(&path)).transpose()?.map(Arc::new);
        names.push("json_schema".into());
        Ok(Box::new(Validate {
            builtin: self.schema.map(Builtin::new),
            json_schema,
            rules,
            on_error: self.on_error,
            warnings: self.warnings,
            findings: Findings::new(names.into()),
            text: Vec::new(),
        }))
    }
}

/// A rule of the user.
#[derive(Clone)]
struct Rule {
    condition: Condition,
    /// `check`, not `when`.
    must_hold: bool,
    severity: Severity,
    message: Template,
    /// Among the names of all rules.
    number: usize,
}

/// Judges events; see the module's docs.
struct Validate {
    builtin: Option<Builtin>,
    json_schema: Option<Arc<JsonSchema>>,
    rules: Vec<Rule>,
    on_error: OnError,
    warnings: Warnings,
    findings: Findings,
    text: Vec<u8>,
}

impl Validate {
    /// Gathers what is wrong with an event.
    #[inline]
    fn judge(&mut self, event: EventRef<'_>, faults: &mut Faults) {
        if let Some(builtin) = &mut self.builtin {
            builtin.judge(event, &mut self.findings, &mut self.text);
        }
        for rule in &mut self.rules {
            let at_fault = match rule.condition.evaluate(event) {
                Outcome::True => !rule.must_hold,
                Outcome::False => rule.must_hold,
                Outcome::Fault(fault) => {
                    faults.note(fault);
                    rule.must_hold
                }
            };
            if at_fault {
                self.findings.add_with(rule.severity, rule.number, |out| rule.message.render_or_empty(event, out));
            }
        }
        if let Some(schema) = &self.json_schema {
            schema.judge(event, &mut self.findings, &mut self.text);
        }
    }
}

impl Transform for Validate {
    fn apply(&mut self, batch: &mut Batch, out: &mut Emitter<'_>) {
        let mut faults = Faults::default();
        let mut dropped = 0;
        for row in 0..batch.rows() {
            let event = batch.event(row);
            if !event.is_live() {
                continue;
            }
            self.judge(event, &mut faults);
            if self.findings.is_empty() {
                continue;
            }
            let has_errors = self.findings.has_errors();
            if has_errors && self.on_error == OnError::Drop {
                batch.drop_row(row);
                dropped += 1;
            } else {
                self.findings.tag(&mut batch.event_mut(row), self.warnings == Warnings::Tag);
                if has_errors && self.on_error == OnError::Reject {
                    out.reject(batch, row, "validate", &self.findings.errors_in_words());
                }
            }
            self.findings.clear();
        }
        out.dropped("validate", dropped);
        self.findings.publish(out);
        faults.drain(|kind, n| out.error(kind, n));
    }

    fn fork(&self) -> Box<dyn Transform> {
        Box::new(Validate {
            builtin: self.builtin.clone(),
            json_schema: self.json_schema.clone(),
            rules: self.rules.clone(),
            on_error: self.on_error,
            warnings: self.warnings,
            findings: self.findings.fork(),
            text: Vec::new(),
        })
    }

    fn explain(&mut self, event: EventRef<'_>, notes: &mut Notes) {
        self.tell(event, notes);
    }

    fn rules(&self) -> Vec<Setting> {
        self.checks()
    }
}
