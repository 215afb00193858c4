//! Which alias gave each canonical field of an event, and by which rule its value took its form.

use super::engine::{LEVEL, MESSAGE, NONE, Normalize, Part, SIGN, TIMESTAMP};
use super::{KeepRest, Schema};
use crate::component::trial::{alone, tried, value_of_event};
use crate::component::{Notes, Rule, Transform};
use crate::condition::shortened;
use crate::event::{EventRef, Value, json};
use crate::text::snake_case;
use serde_json::Value as Json;

/// The names under which producers have a level, a time and a message where these are in no alias.
const PRODUCED: [(usize, &[&str]); 3] = [
    (LEVEL, &["Severity", "Level", "LogLevel", "s", "label"]),
    (TIMESTAMP, &["t", "instant", "timeMillis", "published", "EventTime", "Timestamp"]),
    (MESSAGE, &["Message", "short_message", "displayMessage"]),
];

/// Where an event has a canonical field.
struct Source {
    name: String,
    value: Json,
}

fn as_json(value: Value<'_>) -> Json {
    let mut text = Vec::new();
    value.append_json(&mut text);
    serde_json::from_slice(&text).unwrap_or_default()
}

impl Normalize {
    /// The aliases, levels and formats of the user's own.
    pub(super) fn deciding(&self) -> Vec<Rule> {
        let options = &self.options;
        let alias = |(name, aliases): &(String, Vec<String>)| -> Vec<Rule> {
            (0..aliases.len()).map(|n| Rule::at(&["fields", name, &format!("[{n}]")])).collect()
        };
        let mut out: Vec<Rule> = options.fields.iter().flat_map(alias).collect();
        out.extend(options.levels.iter().map(|(word, _)| Rule::at(&["levels", word])));
        out.extend(Rule::each("formats", options.formats.len()));
        out
    }

    /// Tells where each canonical field comes from and what becomes of its value; those that are as they came are left out.
    pub(super) fn tell(&mut self, event: EventRef<'_>, notes: &mut Notes) {
        let found = self.find(event);
        let came = value_of_event(event);
        let made = tried(&mut *self.fork(), alone(event));
        if let Some((reason, _)) = made.delta.rejected.first() {
            let why = match *reason {
                "metric_without_name" => "a metric needs a string `name`",
                _ => "a metric needs a numeric `value`",
            };
            return notes.say(format!("{why}: goes to `rejected` ({reason})"));
        }
        let Some(after) = made.batch.iter().next() else { return };
        let shaped = value_of_event(after);
        for (n, part) in self.parts.iter().enumerate() {
            let name = part.name.text();
            let Some(value) = after.field(part.name).map(as_json) else { continue };
            let source = match found.at[n] {
                NONE => nested(part, event)
                    .or_else(|| if found.any & (1 << SIGN) == 0 { None } else { self.produced(n, &came, &shaped) }),
                at => {
                    let name = String::from_utf8_lossy(event.key_text_at(usize::from(at))).into_owned();
                    Some(Source { name, value: as_json(event.value_at(usize::from(at))) })
                }
            };
            match source {
                Some(source) if source.name == name && source.value == value => {}
                Some(source) => {
                    let unread = name == "timestamp" && shaped.get("timestamp_original") == Some(&source.value);
                    self.tell_part(n, &source, (&value, unread), notes);
                }
                // What has no place of its own is told below.
                None if name == "metadata" => {}
                None => self.tell_missing(n, name, &came, &value, notes),
            }
        }
        self.tell_rest(&came, &shaped, notes);
    }

    /// What a producer wrote under a name of its own, which is gone.
    fn produced(&self, part: usize, came: &Json, shaped: &Json) -> Option<Source> {
        let (_, names) = PRODUCED.iter().find(|(n, _)| *n == part && self.options.schema == Schema::Log)?;
        let is_gone = |name: &&&str| {
            came.get(**name).is_some() && shaped.get(**name).is_none() && shaped["metadata"].get(**name).is_none()
        };
        let name = names.iter().find(is_gone)?;
        Some(Source { name: (*name).to_owned(), value: came[*name].clone() })
    }

    /// `unread`: the time in it cannot be read.
    fn tell_part(&self, n: usize, source: &Source, (value, unread): (&Json, bool), notes: &mut Notes) {
        let part = &self.parts[n];
        let name = part.name.text();
        let (was, is) = (shortened(&source.value.to_string()), shortened(&value.to_string()));
        let mut text = if source.name == name {
            format!("`{name}`: ")
        } else if PRODUCED.iter().any(|(p, names)| *p == n && names.contains(&source.name.as_str()))
            && !part.names.contains(&source.name)
        {
            format!("`{name}` is what its producer calls `{}`: ", source.name)
        } else {
            format!("`{name}` is taken from its alias `{}`: ", source.name)
        };
        text.push_str(&if was == is { format!("{was} stays") } else { format!("{was} becomes {is}") });
        let mut rules = self.alias_rule(part, &source.name);
        if self.options.schema == Schema::Log && n == LEVEL {
            let (rule, why) = self.level_rule(&source.value, value);
            text.push_str(&why);
            rules = rule.or(rules);
        }
        if unread {
            text.push_str(", the time when it was read: this one is not read (timestamp_unreadable) and stays in `timestamp_original`");
        } else if is_time(name) && was != is {
            let written = source.value.as_str().unwrap_or_default().trim().as_bytes();
            let format = self.options.formats.iter().position(|format| format.fits(written));
            if let Some(format) = format {
                rules = Some(Rule::at(&["formats", &format!("[{format}]")]));
            }
            text.push_str(if format.is_some() { ", by this format" } else { ", UTC in one form" });
        }
        notes.0.push(crate::component::Note { rule: rules, outcome: None, place: Some(name.to_owned()), text });
    }

    /// The setting that gives a name to a part, where it is the user's own.
    fn alias_rule(&self, part: &Part, alias: &str) -> Option<Rule> {
        let canonical = snake_case(part.name.text());
        let own = self.options.fields.iter().filter(|(name, _)| snake_case(name) == canonical);
        own.filter_map(|(name, aliases)| {
            let n = aliases.iter().position(|a| a == alias)?;
            Some(Rule::at(&["fields", name, &format!("[{n}]")]))
        })
        .next()
    }

    fn level_rule(&self, was: &Json, is: &Json) -> (Option<Rule>, String) {
        let text = was.as_str().map_or_else(|| was.to_string(), str::to_owned);
        let own = self.options.levels.iter().find(|(word, _)| word.trim().eq_ignore_ascii_case(text.trim()));
        if let Some((word, _)) = own {
            return (Some(Rule::at(&["levels", word])), ", by a level of your own".to_owned());
        }
        let known = match was.as_f64().or_else(|| text.trim().parse().ok()) {
            Some(number) if number.fract() == 0.0 => self.levels.of_number(number as i64),
            _ => self.levels.of_text(text.as_bytes()),
        };
        let why = match known {
            Some(_) if was == is => "",
            Some(_) if text.trim().parse::<f64>().is_ok() => ", as `numbers` counts",
            Some(_) => ", a word that is known",
            None => ", as it is not known (level_unknown)",
        };
        (None, why.to_owned())
    }

    /// Tells of a field that the event has under no name.
    fn tell_missing(&self, n: usize, name: &str, came: &Json, value: &Json, notes: &mut Notes) {
        let why = match self.options.schema {
            Schema::Log if n == TIMESTAMP => ", the time when it was read",
            Schema::Log if n == LEVEL && self.options.level_from_status && came.get("status").is_some() => {
                ", by the event's `status`"
            }
            _ => "",
        };
        let text = format!("`{name}` is under no name: it is {}{why}", shortened(&value.to_string()));
        notes.0.push(crate::component::Note { rule: None, outcome: None, place: Some(name.to_owned()), text });
    }

    /// Tells what became of the fields that play no part.
    fn tell_rest(&self, came: &Json, shaped: &Json, notes: &mut Notes) {
        let is_part = |key: &str| self.parts.iter().any(|part| part.names.iter().any(|name| name == key));
        let gone = came.as_object().into_iter().flatten().map(|(key, _)| key.as_str());
        let gone: Vec<&str> = gone.filter(|key| shaped.get(*key).is_none() && !is_part(key)).collect();
        let names = |keys: &[&str]| keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
        match self.options.keep_rest {
            KeepRest::Metadata => {
                let moved: Vec<&str> = gone.into_iter().filter(|key| shaped["metadata"].get(*key).is_some()).collect();
                if !moved.is_empty() {
                    notes.say(format!("no part of the schema, put into `metadata`: {}", names(&moved)));
                }
            }
            KeepRest::Drop if !gone.is_empty() => {
                notes.say(format!("no part of the schema, dropped: {}", names(&gone)));
            }
            KeepRest::Root | KeepRest::Drop => {}
        }
    }
}

fn is_time(name: &str) -> bool {
    matches!(name, "timestamp" | "startTime" | "start_time" | "endTime" | "end_time")
}

/// The value of a part that is in an object, under an alias with dots.
fn nested(part: &Part, event: EventRef<'_>) -> Option<Source> {
    part.nested.iter().find_map(|(first, rest, rank)| {
        let Value::Object(raw) = event.field(*first)? else { return None };
        let value = json::get(raw, rest).filter(|value| *value != b"null")?;
        Some(Source { name: part.names.get(*rank)?.clone(), value: serde_json::from_slice(value).ok()? })
    })
}
