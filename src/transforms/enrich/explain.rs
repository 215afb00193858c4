//! What each enrichment adds to an event, and why it adds nothing.

use super::lookup::KeySetting;
use super::{Enrich, Step, key_of, text_of};
use crate::component::trial::{alone, changes, value_of_batch};
use crate::component::{Delta, Emitter, Notes, Rule};
use crate::event::{EventRef, FieldPath};

impl Step {
    /// Where it stands; `geoip` and `lookup` count their steps.
    fn rule(&self, places: &mut (usize, usize)) -> Rule {
        let next = |key: &str, n: &mut usize| {
            let rule = Rule::at(&[key, &format!("[{n}]")]);
            *n += 1;
            rule
        };
        match self {
            Step::Fields(_) => Rule::at(&["fields"]),
            Step::Put(path, _) => Rule::at(&[path.text()]),
            Step::Geoip { .. } => next("geoip", &mut places.0),
            Step::UserAgent { .. } => Rule::at(&["user_agent"]),
            Step::Kubernetes { .. } => Rule::at(&["kubernetes"]),
            Step::Lookup { .. } => next("lookup", &mut places.1),
        }
    }

    /// The field that it asks, where the event has no text there.
    fn unasked(&self, event: EventRef<'_>) -> Option<&FieldPath> {
        let from = match self {
            Step::Geoip { from, .. } | Step::UserAgent { from, .. } => from,
            Step::Fields(_) | Step::Put(..) | Step::Kubernetes { .. } | Step::Lookup { .. } => return None,
        };
        text_of(event.batch(), event.row(), from, &mut Vec::new()).is_none().then_some(from)
    }
}

impl Enrich {
    /// The enrichments.
    pub(super) fn deciding(&self) -> Vec<Rule> {
        let mut places = (0, 0);
        let mut out = Vec::new();
        for step in &self.steps {
            let rule = step.rule(&mut places);
            if let Step::Lookup { when: Some(_), .. } = step {
                let path: Vec<&str> = rule.path.iter().map(String::as_str).chain(["when"]).collect();
                out.push(Rule::condition(&path));
            }
            match step {
                Step::Fields(fields) => out.extend(fields.names().map(|name| Rule::at(&["fields", name]))),
                _ => out.push(rule),
            }
        }
        out
    }

    /// Does to a copy of the event what is to be done, step by step, and tells what each adds.
    pub(super) fn tell(&mut self, event: EventRef<'_>, notes: &mut Notes) {
        let Enrich { steps, work } = self;
        let (mut batch, row, mut places) = (alone(event), event.row(), (0, 0));
        for step in steps {
            let rule = step.rule(&mut places);
            let at = batch.event(row);
            if let Some(path) = step.unasked(at) {
                notes.say(format!("`{}` adds nothing: there is no text at `{path}`", rule.name()));
                continue;
            }
            let mut asked = String::new();
            if let Step::Lookup { when, key, .. } = step {
                let path: Vec<&str> = rule.path.iter().map(String::as_str).chain(["when"]).collect();
                if let Some(when) = when
                    && !notes.condition(Rule::condition(&path), when, at, ("looked up", "not looked up"))
                {
                    continue;
                }
                let text =
                    key_of(&batch, row, key, &mut work.text).map(|key| String::from_utf8_lossy(key).into_owned());
                let name = match key {
                    KeySetting::Path(path) => path.to_string(),
                    KeySetting::Template(template) => template.text().to_owned(),
                };
                asked = match text {
                    Some(text) => format!("the key `{name}` is \"{text}\": "),
                    None => format!("the event has no key `{name}`: "),
                };
            }
            let before = value_of_batch(&batch).unwrap_or_default();
            let (mut delta, mut json) = (Delta::default(), Vec::new());
            let mut emitter = Emitter::new("explain", true, &mut delta, &mut json);
            emitter.rejected_at = Some(event.batch().received_at);
            step.apply(&mut batch, work, &mut emitter);
            if !batch.is_live(row) {
                let ends = delta.rejected.iter().map(|(reason, _)| format!("goes to `rejected` ({reason})"));
                let ends = ends.chain(delta.dropped.iter().map(|(reason, _)| format!("dropped ({reason})")));
                notes.hit(rule, format!("{asked}{}", ends.collect::<Vec<_>>().join(", ")));
                return;
            }
            let found = changes(&before, &value_of_batch(&batch).unwrap_or_default());
            let set = |change: &crate::component::trial::Change| {
                Some(format!("`{}` is set to {}", change.place(), change.shown()?))
            };
            match step {
                Step::Fields(fields) => fields.names().for_each(|name| {
                    let is_its = |place: &str| place == name || place.starts_with(&format!("{name}."));
                    let own: Vec<String> = found.iter().filter(|c| is_its(&c.place())).filter_map(set).collect();
                    let text = if own.is_empty() {
                        format!("`{name}` has that value already, or no place")
                    } else {
                        own.join(", ")
                    };
                    notes.hit(Rule::at(&["fields", name]), text);
                }),
                _ if found.is_empty() => {
                    let why: Vec<&str> = delta.errors.iter().map(|(kind, _)| *kind).collect();
                    let why = if why.is_empty() {
                        "nothing was found, or is there already".to_owned()
                    } else {
                        why.join(", ")
                    };
                    notes.say(format!("`{}` adds nothing: {asked}{why}", rule.name()));
                }
                _ => notes.hit(rule, format!("{asked}{}", found.iter().filter_map(set).collect::<Vec<_>>().join(", "))),
            }
        }
    }
}
