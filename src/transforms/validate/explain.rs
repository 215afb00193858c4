//! What each check says of an event.

use super::finding::{Findings, Severity};
use super::{OnError, Validate, Warnings};
use crate::component::{Notes, Rule};
use crate::condition::{Fault, Outcome};
use crate::event::EventRef;

/// Where the rule with this number stands.
fn place(n: usize, must_hold: bool) -> Rule {
    Rule::condition(&["rules", &format!("[{n}]"), if must_hold { "check" } else { "when" }])
}

/// Tells what one check has found, and forgets it.
fn tell_found(rule: Rule, findings: &mut Findings, notes: &mut Notes) {
    let mut found = Vec::new();
    findings.each(|severity, name, message| {
        let word = if severity == Severity::Error { "error" } else { "warning" };
        found.push(format!("{word} of `{name}`: {message}"));
    });
    match found.is_empty() {
        true => notes.judged(rule, true, "nothing is wrong"),
        false => found.into_iter().for_each(|text| notes.judged(rule.clone(), false, text)),
    }
    findings.clear();
}

impl Validate {
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
        if let Some(builtin) = &mut self.builtin {
            builtin.judge(event, &mut findings, &mut self.text);
            errors |= findings.has_errors();
            warnings |= !findings.is_empty();
            tell_found(Rule::condition(&["schema"]), &mut findings, notes);
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
            tell_found(Rule::condition(&["json_schema"]), &mut findings, notes);
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
