//! Which settings that decide something have decided something in the tests.
//!
//! A condition counts twice: it has to be true once and false once. All else counts once: a route, a rule, a rate, a pattern, a path,
//! an alias. What counts is what `explain` tells.

use crate::cli::places::Places;
use crate::component::Rule;
use crate::telemetry::ComponentKind;
use crate::text::escape::Page;
use crate::topology::{Inline, Stage};
use std::collections::HashMap;

/// How often a setting has decided.
#[derive(Clone, Copy, Debug, Default)]
struct Hits {
    all: u64,
    yes: u64,
    no: u64,
}

struct Part {
    id: String,
    kind: ComponentKind,
    type_name: &'static str,
    rules: Vec<(Rule, Hits)>,
}

/// Counts over all tests.
#[derive(Default)]
pub(super) struct Coverage {
    parts: Vec<Part>,
    /// Places in `parts` by id.
    places: HashMap<String, usize>,
}

impl Coverage {
    /// Takes in what there is to decide, once.
    pub(super) fn know(&mut self, inline: &Inline) {
        if !self.parts.is_empty() {
            return;
        }
        for (id, kind, type_name, rules) in inline.rules() {
            self.places.insert(id.to_owned(), self.parts.len());
            let rules = rules.into_iter().map(|rule| (rule, Hits::default())).collect();
            self.parts.push(Part { id: id.to_owned(), kind, type_name, rules });
        }
    }

    /// Counts what was told in one test.
    pub(super) fn add(&mut self, stages: &[Stage]) {
        for stage in stages {
            let Some(part) = self.places.get(&stage.id).and_then(|n| self.parts.get_mut(*n)) else { continue };
            for note in &stage.notes {
                let Some(told) = &note.rule else { continue };
                let known = part.rules.iter_mut().find(|(rule, _)| rule.path == told.path && rule.which == told.which);
                let Some((_, hits)) = known else { continue };
                hits.all += 1;
                hits.yes += u64::from(note.outcome == Some(true));
                hits.no += u64::from(note.outcome == Some(false));
            }
        }
    }

    /// Covered, and all there is to cover.
    fn sums(&self) -> (u64, u64) {
        let all = self.parts.iter().flat_map(|part| &part.rules);
        all.map(|(rule, hits)| score(rule, hits)).fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1))
    }

    /// Of 100; 100 where there is nothing to cover.
    pub(super) fn percent(&self) -> f64 {
        match self.sums() {
            (_, 0) => 100.0,
            (covered, all) => covered as f64 * 100.0 / all as f64,
        }
    }

    /// Shows each component, its settings and how often they decided.
    pub(super) fn show(&self, places: &Places, page: &mut Page) {
        let (covered, all) = self.sums();
        writeln!(page, "coverage: {covered} of {all} ({:.1} %)", self.percent());
        for part in self.parts.iter().filter(|part| !part.rules.is_empty()) {
            let sums = part.rules.iter().map(|(rule, hits)| score(rule, hits));
            let (covered, all) = sums.fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1));
            writeln!(page, "  {} ({}): {covered} of {all}", part.id, part.type_name);
            for (rule, hits) in &part.rules {
                let at = places.of_rule(part.kind, &part.id, rule);
                let at = at.map_or_else(String::new, |(file, line)| format!("  {file}:{line}"));
                writeln!(page, "    {}: {}{at}", rule.name(), words(rule, hits));
            }
        }
    }
}

fn score(rule: &Rule, hits: &Hits) -> (u64, u64) {
    match rule.is_condition {
        true => (u64::from(hits.yes > 0) + u64::from(hits.no > 0), 2),
        false => (u64::from(hits.all > 0), 1),
    }
}

fn words(rule: &Rule, hits: &Hits) -> String {
    match (rule.is_condition, hits) {
        (_, Hits { all: 0, .. }) => "0 hits".to_owned(),
        (false, Hits { all: 1, .. }) => "1 hit".to_owned(),
        (false, hits) => format!("{} hits", hits.all),
        (true, Hits { yes: 0, no, .. }) => format!("never true, {no} false"),
        (true, Hits { yes, no: 0, .. }) => format!("{yes} true, never false"),
        (true, Hits { yes, no, .. }) => format!("{yes} true, {no} false"),
    }
}
