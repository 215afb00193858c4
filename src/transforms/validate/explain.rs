//! What each check says of an event.

use super::finding::Severity;
use super::{OnError, Validate, Warnings};
use crate::component::trial::{alone, tried, value_of_batch};
use crate::component::{Notes, Rule};
use crate::condition::{Fault, Outcome};
use crate::event::{EventRef, Sym};
use serde_json::Value;

/// Where the rule with this number stands.
fn place(n: usize, must_hold: bool) -> Rule {
    Rule::condition(&["rules", &format!("[{n}]"), if must_hold { "check" } else { "when" }])
}

fn in_words(severity: Severity, name: &str, message: &str) -> String {
    let word = if severity == Severity::Error { "error" } else { "warning" };
    format!("{word} of `{name}`: {message}")
}

/// Tells what one check has found.
fn tell_found(rule: Rule, found: Vec<(Severity, String)>, notes: &mut Notes) {
    match found.is_empty() {
        true => notes.judged(rule, true, "nothing is wrong"),
        false => found.into_iter().for_each(|(_, text)| notes.judged(rule.clone(), false, text)),
    }
}

impl Validate {
    /// What the rules of the schema find: what the transform with nothing but these writes into `quality`, so that the work itself
    /// has one caller.
    fn of_schema(&self, event: EventRef<'_>) -> Vec<(Severity, String)> {
        let mut only = Validate {
            builtin: self.builtin.clone(),
            json_schema: None,
            rules: Vec::new(),
            on_error: OnError::Tag,
            warnings: Warnings::Tag,
            findings: self.findings.fork(),
            text: Vec::new(),
        };
        let mut batch = alone(event);
        batch.event_mut(event.row()).remove_field(Sym::QUALITY);
        let made = value_of_batch(&tried(&mut only, batch).batch).unwrap_or_default();
        let list = |key: &str, severity: Severity| -> Vec<(Severity, String)> {
            let found = made["quality"][key].as_array().into_iter().flatten();
            let text = |found: &Value, key: &str| found[key].as_str().unwrap_or_default().to_owned();
            found.map(|found| (severity, in_words(severity, &text(found, "rule"), &text(found, "message")))).collect()
        };
        let mut all = list("errors", Severity::Error);
        all.extend(list("warnings", Severity::Warning));
        all
    }

    /// The checks.
    pub(super) fn checks(&self) -> Vec<Rule> {
        let schema = self.builtin.as_ref().map(|_| Rule::condition(&["schema"]));
        let rules = self.rules.iter().enumerate().map(|(n, rule)| place(n, rule.must_hold));
        let json_schema = self.json_schema.as_ref().map(|_| Rule::condition(&["json_schema"]));
        schema.into_iter().chain(rules).chain(json_schema).collect()
    }

    /// Tells what each check says of an event, and what becomes of it.
    pub(super) fn tell(&mut self, event: EventRef<'_>, notes: &mut Notes) {
        let mut findings = self.findings.fork();
        let (mut errors, mut warnings) = (false, false);
        if self.builtin.is_some() {
            let found = self.of_schema(event);
            errors |= found.iter().any(|(severity, _)| *severity == Severity::Error);
            warnings |= !found.is_empty();
            tell_found(Rule::condition(&["schema"]), found, notes);
        }
        for (n, rule) in self.rules.iter().enumerate() {
            let story = rule.condition.story(event);
            let at_fault = match story.outcome {
                Outcome::True => !rule.must_hold,
                Outcome::False => rule.must_hold,
                Outcome::Fault(_) => rule.must_hold,
            };
            let mut text = story.words(rule.condition.text());
            if at_fault {
                let mut message = Vec::new();
                rule.message.render_or_empty(event, &mut message);
                let word = if rule.severity == Severity::Error { "error" } else { "warning" };
                text.push_str(&format!("; {word}: {}", String::from_utf8_lossy(&message)));
                errors |= rule.severity == Severity::Error;
                warnings |= rule.severity == Severity::Warning;
            } else if matches!(story.outcome, Outcome::Fault(Fault::Absent)) {
                text.push_str("; nothing is wrong");
            }
            notes.judged(place(n, rule.must_hold), story.outcome == Outcome::True, text);
        }
        if let Some(schema) = &self.json_schema {
            schema.judge(event, &mut findings, &mut self.text);
            errors |= findings.has_errors();
            let mut found = Vec::new();
            findings.each(|severity, name, message| found.push((severity, in_words(severity, name, message))));
            tell_found(Rule::condition(&["json_schema"]), found, notes);
        }
        match (errors, self.on_error) {
            (true, OnError::Reject) => notes.hit(Rule::at(&["on_error"]), "has errors: goes to `rejected` (validate)"),
            (true, OnError::Drop) => notes.hit(Rule::at(&["on_error"]), "has errors: dropped (validate)"),
            (true, OnError::Tag) => {
                notes.hit(Rule::at(&["on_error"]), "has errors: goes on, with them in `quality.errors`")
            }
            (false, _) if warnings && self.warnings == Warnings::Tag => {
                notes.say("has warnings: goes on, with them in `quality.warnings`");
            }
            (false, _) => {}
        }
    }
}
