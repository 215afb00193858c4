//! What is redacted of an event, at which place and by which rule: found out by redacting it, and then each place alone.

use super::event::{Redact, RedactOptions};
use super::paths::{PathGlob, WrittenPaths};
use super::scanner::{Action, HashKey, Rules};
use crate::component::trial::{Change, Step, alone, batch_of, changes, value_of_event};
use crate::component::{Notes, Rule};
use crate::event::{Batch, EventRef};
use serde_json::{Map, Value};

/// Where each of them stands.
const PLACES: [&[&str]; 4] =
    [&["fields", "drop"], &["fields", "mask"], &["fields", "hash"], &["fields", "keep_last", "of"]];

fn place_of_path(list: usize, n: usize) -> Rule {
    let element = format!("[{n}]");
    let path: Vec<&str> = PLACES[list].iter().copied().chain([element.as_str()]).collect();
    Rule::at(&path)
}

impl WrittenPaths {
    fn rules(&self) -> impl Iterator<Item = Rule> {
        let lists = self.0.iter().enumerate();
        lists.flat_map(|(list, paths)| (0..paths.len()).map(move |n| place_of_path(list, n)))
    }

    /// The path of a list by which a batch is changed.
    fn deciding(&self, list: usize, make: impl Fn() -> Option<Batch>) -> Option<Rule> {
        let is_it = |path: &PathGlob| {
            let rules = Rules::new(&[], &[], Action::Mask).ok()?;
            let mut options = RedactOptions::new(rules);
            match list {
                0 => options.drop = vec![path.clone()],
                1 => options.mask = vec![path.clone()],
                2 => options.hash = (vec![path.clone()], HashKey::new(b"explain")),
                _ => options.keep_last = (vec![path.clone()], 0),
            }
            let (_, hits) = Redact::new(options).ok()?.made_of(make()?);
            (!hits.is_empty()).then_some(())
        };
        let paths = self.0.get(list)?;
        paths.iter().position(|path| is_it(path).is_some()).map(|n| place_of_path(list, n))
    }
}

/// The fields of an event with nothing but what is at the end of the way; elements of lists keep their places.
fn only(value: &Value, steps: &[Step]) -> Value {
    match (steps.split_first(), value) {
        (Some((Step::Key(key), rest)), Value::Object(all)) => {
            let inner = all.get(key).map(|inner| (key.clone(), only(inner, rest)));
            Value::Object(inner.into_iter().collect())
        }
        (Some((Step::Place(n), rest)), Value::Array(all)) => {
            let element = |(at, inner)| if at == *n { only(inner, rest) } else { Value::Null };
            Value::Array(all.iter().enumerate().map(element).collect())
        }
        _ => value.clone(),
    }
}

impl Redact {
    /// Everything that may redact.
    pub(super) fn deciding(&self) -> Vec<Rule> {
        let (patterns, all) = self.rule_counts();
        Rule::each("patterns", patterns)
            .chain(Rule::each("detect", all - patterns))
            .chain(self.written().rules())
            .collect()
    }

    /// Tells what is redacted, place by place. What was there is not repeated.
    pub(super) fn tell(&mut self, event: EventRef<'_>, notes: &mut Notes) {
        let before = value_of_event(event);
        let (after, all) = self.made_of(alone(event));
        let found = changes(&before, &after.unwrap_or_default());
        if found.is_empty() {
            notes.say("nothing is found that is to be redacted");
        }
        for change in &found {
            self.tell_place(change, &before, &all, event, notes);
        }
    }

    fn tell_place(&self, change: &Change, before: &Value, all: &[usize], event: EventRef<'_>, notes: &mut Notes) {
        // A key that was found itself is there under another name.
        let Some(old) = &change.before else { return };
        let alone = || match only(before, &change.steps) {
            Value::Object(fields) => batch_of(fields, event),
            _ => batch_of(Map::new(), event),
        };
        let mut hits = alone().map(|batch| self.made_of(batch).1).unwrap_or_default();
        if hits.is_empty() {
            // What makes it a secret stands beside it.
            hits = all.to_vec();
        }
        let becomes = match change.shown() {
            Some(text) => format!("becomes {text}"),
            None if old.is_null() => "goes".to_owned(),
            None => "goes, with its name".to_owned(),
        };
        let (patterns, rules) = self.rule_counts();
        for hit in hits {
            let rule = match hit {
                n if n < patterns => Some(Rule::at(&["patterns", &format!("[{n}]")])),
                n if n < rules => Some(Rule::at(&["detect", &format!("[{}]", n - patterns)])),
                n => self.written().deciding(n - rules, alone),
            };
            let name = self.rule_name(hit);
            let what = if hit < rules { format!("`{name}` is found") } else { format!("`{name}` names it") };
            notes.hit_at(rule, &change.place(), format!("{what}: {becomes}"));
        }
    }
}
