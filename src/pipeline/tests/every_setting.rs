//! What holds of every setting of every type of component, whichever they are: a wrong value is told at its key, no mistake is
//! without a place, and `null` is as if the key were not there. The settings are those of the schema of this build.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::super::*;
use super::schema::{as_json, mistakes};
use crate::settings::node::Node;
use crate::settings::*;

/// One step from a component to a setting.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// A key; a block that `type` tells from others has that word.
    Key { key: String, of_type: Option<String> },
    /// The element of a list.
    Element,
    /// A name that the user chooses.
    Name,
}

/// A setting: how it is reached, whether it may be left out, and whether any value will do.
#[derive(Debug, Clone)]
struct Found {
    steps: Vec<Step>,
    optional: bool,
    takes_anything: bool,
    /// The schema of the key of the component that it is, or is part of.
    top: String,
}

/// Walks a schema down to every key in it.
struct Walk<'s> {
    root: &'s Value,
    /// References on the way here: a definition within itself is not followed again.
    within: Vec<&'s str>,
    steps: Vec<Step>,
    top: String,
    found: Vec<Found>,
}

impl<'s> Walk<'s> {
    fn schema(&mut self, schema: &'s Value) {
        let Value::Object(map) = schema else { return };
        if let Some(target) = map.get("$ref").and_then(Value::as_str)
            && !self.within.contains(&target)
        {
            self.within.push(target);
            self.schema(self.root.pointer(target.trim_start_matches('#')).unwrap());
            self.within.pop();
        }
        for several in ["anyOf", "allOf", "oneOf"] {
            map.get(several).and_then(Value::as_array).into_iter().flatten().for_each(|form| self.schema(form));
        }
        if let Some(then) = map.get("then") {
            self.schema(then);
        }
        if let Some(items) = map.get("items") {
            self.below(Step::Element, items);
        }
        if let Some(each) = map.get("additionalProperties").filter(|each| each.is_object()) {
            self.below(Step::Name, each);
        }
        let Some(properties) = map.get("properties").and_then(Value::as_object) else { return };
        let of_type = properties.get("type").and_then(|t| t.get("const")).and_then(Value::as_str).map(str::to_owned);
        let required: Vec<&str> =
            map.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        for (key, schema) in properties {
            if key == "type" && (of_type.is_some() || schema.get("enum").is_some() && map.contains_key("allOf")) {
                continue;
            }
            if self.steps.is_empty() {
                self.top = schema.to_string();
            }
            self.steps.push(Step::Key { key: key.clone(), of_type: of_type.clone() });
            let keywords = ["description", "default", "markdownDescription"];
            let takes_anything =
                schema.as_object().is_some_and(|map| map.keys().all(|k| keywords.contains(&k.as_str())));
            let optional = !required.contains(&key.as_str());
            let (steps, top) = (self.steps.clone(), self.top.clone());
            self.found.push(Found { steps, optional, takes_anything, top });
            self.schema(schema);
            self.steps.pop();
        }
    }

    fn below(&mut self, step: Step, schema: &'s Value) {
        self.steps.push(step);
        self.schema(schema);
        self.steps.pop();
    }
}

/// Every setting of the components of one section of the document.
fn settings(root: &Value, section: &str) -> Vec<Found> {
    let component = &root["properties"][section]["additionalProperties"];
    let mut walk = Walk { root, within: Vec::new(), steps: Vec::new(), top: String::new(), found: Vec::new() };
    walk.schema(component);
    let mut seen = BTreeSet::new();
    walk.found.retain(|found| seen.insert(found.steps.clone()));
    walk.found
}

/// `steps` below `at` made, with `value` at their end; `None` takes away what is there.
fn put(at: &mut Value, steps: &[Step], value: Option<Value>) {
    let Some((step, rest)) = steps.split_first() else {
        *at = value.unwrap_or(Value::Null);
        return;
    };
    match step {
        Step::Key { key, of_type } => {
            if !at.is_object() {
                *at = json!({});
            }
            let Value::Object(map) = at else { return };
            if let Some(word) = of_type
                && map.get("type").and_then(Value::as_str) != Some(word)
            {
                // Another form than the one that is there: none of its keys are the same.
                *map = Map::from_iter([("type".to_owned(), word.as_str().into())]);
            }
            match (rest, value) {
                ([], None) => _ = map.remove(key),
                (_, value) => put(map.entry(key.clone()).or_insert(Value::Null), rest, value),
            }
        }
        Step::Element => {
            if !at.as_array().is_some_and(|items| !items.is_empty()) {
                *at = json!([null]);
            }
            put(&mut at[0], rest, value);
        }
        Step::Name => {
            if !at.as_object().is_some_and(|map| !map.is_empty()) {
                *at = json!({"name": null});
            }
            let first = at.as_object_mut().and_then(|map| map.values_mut().next());
            put(first.unwrap(), rest, value);
        }
    }
}

/// What stands at `steps` below a node: from the key to the end of its value.
fn place(node: &Node, steps: &[Step]) -> Option<Span> {
    let (step, rest) = steps.split_first()?;
    let entry = match step {
        Step::Key { key, .. } => node.entry(key)?,
        Step::Name => node.as_map()?.first()?,
        Step::Element => return place(node.as_seq()?.first()?, rest),
    };
    if rest.is_empty() { Some(entry.key_span.to(entry.value.span)) } else { place(&entry.value, rest) }
}

/// A component, and what it needs to be a configuration.
fn document(section: &str, component: &Value) -> Value {
    let mut document = json!({
        "sources": {"in": {"type": "demo"}},
        "sinks": {"out": {"type": "blackhole", "inputs": ["in"]}},
    });
    document[section]["it"] = component.clone();
    document
}

/// The mistakes in a document, and where the setting stands in it.
struct Read {
    errors: Vec<(Option<Span>, String)>,
    setting: Option<Span>,
    shown: String,
}

fn read(section: &str, component: &Value, steps: &[Step]) -> Read {
    let text = format!("{:#}", document(section, component));
    let environment: BTreeMap<String, String> =
        ["O2_USER", "O2_PASSWORD", "REDACT_KEY"].map(|name| (name.to_owned(), "a-value-of-it".to_owned())).into();
    let loaded = load_texts(&[("t.json", &text)], &environment, crate::registry::built_in());
    let errors = loaded.report.diagnostics.sorted().into_iter().filter(|d| d.severity == Severity::Error);
    let errors = errors.map(|d| (d.span, d.message)).collect();
    let (mut sources, mut out) = (SourceMap::default(), Diagnostics::default());
    let file = sources.add("t.json", text.as_str());
    let root = yaml::parse(file, &mut sources, &mut out).unwrap();
    let setting = root.get(section).and_then(|section| section.get("it")).and_then(|it| place(it, steps));
    Read { errors, setting, shown: loaded.report.render() }
}

/// The path in words: `buffer(type: disk).max_size`.
fn words(steps: &[Step]) -> String {
    let mut out = String::new();
    for (n, step) in steps.iter().enumerate() {
        match step {
            Step::Key { key, of_type: Some(word) } => out.push_str(&format!("(type: {word}).{key}")),
            Step::Key { key, of_type: None } if n == 0 => out.push_str(key),
            Step::Key { key, of_type: None } => out.push_str(&format!(".{key}")),
            Step::Element => out.push_str("[]"),
            Step::Name => out.push_str(".<name>"),
        }
    }
    out
}

const SECTIONS: [&str; 3] = ["sources", "transforms", "sinks"];

/// No setting but one of any form takes this.
fn wrong() -> Value {
    json!([[[[{}]]]])
}

#[test]
fn a_wrong_value_of_any_setting_is_told_at_its_key() {
    let schema = json_schema(crate::registry::built_in());
    let mut seen = 0;
    for section in SECTIONS {
        for found in settings(&schema, section).iter().filter(|found| !found.takes_anything) {
            let mut component = json!({});
            put(&mut component, &found.steps, Some(wrong()));
            let read = read(section, &component, &found.steps);
            let (at, name) = (read.setting.unwrap(), words(&found.steps));
            let here = |span: &Option<Span>| span.is_some_and(|span| at.start <= span.start && span.end <= at.end);
            assert!(read.errors.iter().any(|(span, _)| here(span)), "{section} {name}:\n{}", read.shown);
            let placed = read.errors.iter().all(|(span, _)| span.is_some());
            assert!(placed, "a mistake without a place: {section} {name}:\n{}", read.shown);
            seen += 1;
        }
    }
    assert!(seen > 500, "{seen} settings");
}

#[test]
fn null_is_as_if_the_key_were_not_there_for_reader_and_schema() {
    let schema = json_schema(crate::registry::built_in());
    let mut seen = 0;
    for section in SECTIONS {
        for found in settings(&schema, section).iter().filter(|found| found.optional) {
            let (mut without, mut with) = (json!({}), json!({}));
            put(&mut without, &found.steps, None);
            put(&mut with, &found.steps, Some(Value::Null));
            let name = words(&found.steps);
            let said = |component: &Value| {
                let read = read(section, component, &found.steps);
                (read.errors.into_iter().map(|(_, message)| message).collect::<Vec<_>>(), read.shown)
            };
            let ((absent, _), (null, shown)) = (said(&without), said(&with));
            assert_eq!(null, absent, "{section} {name}: null reads otherwise:\n{shown}");
            let refused = |component: &Value| {
                let mut out = Vec::new();
                mistakes(&schema, &document(section, component), &schema, "", &mut out);
                out.len()
            };
            assert_eq!(refused(&with), refused(&without), "{section} {name}: the schema tells null from nothing");
            seen += 1;
        }
    }
    assert!(seen > 500, "{seen} settings");
}

/// One component of each type, as `pipelines/` shows it: section, type, settings.
fn shown() -> Vec<(&'static str, String, Value)> {
    let mut out: Vec<(&'static str, String, Value)> = Vec::new();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for path in files.iter().filter(|path| path.extension().is_some_and(|e| e == "yaml")) {
        let document = as_json(&std::fs::read_to_string(path).unwrap());
        for section in SECTIONS {
            for component in document[section].as_object().into_iter().flat_map(|map| map.values()) {
                let name = component["type"].as_str().unwrap();
                if out.iter().any(|(s, n, _)| *s == section && n == name) {
                    continue;
                }
                let mut component = component.clone();
                if section != "sources" {
                    component["inputs"] = json!(["in"]);
                }
                component.as_object_mut().unwrap().remove("dead_letter");
                if read(section, &component, &[]).errors.is_empty() {
                    out.push((section, name.to_owned(), component));
                }
            }
        }
    }
    out
}

/// Values that one setting or another cannot mean.
fn odd() -> Vec<Value> {
    vec![
        json!(""),
        json!("\u{0}"),
        json!("{{"),
        json!("a b:c"),
        json!("http://"),
        json!("0s"),
        json!("999999999GiB"),
        json!(0),
        json!(-1),
        json!(true),
        json!([]),
        json!({}),
        json!([""]),
        json!({"": ""}),
        json!({"__name__": "\u{0}"}),
    ]
}

#[test]
fn no_odd_value_of_any_setting_is_refused_without_a_place() {
    let schema = json_schema(crate::registry::built_in());
    let shown = shown();
    let types = crate::registry::built_in().names().len();
    assert_eq!(shown.len(), types, "{:?}", shown.iter().map(|(s, n, _)| (s, n)).collect::<Vec<_>>());
    let mut tried = BTreeSet::new();
    for (section, of_type, component) in &shown {
        let is_own =
            |found: &&Found| matches!(&found.steps[0], Step::Key { of_type: Some(word), .. } if word == of_type);
        for found in settings(&schema, section).iter().filter(is_own) {
            // What many types have is tried once.
            let path = words(&found.steps).replacen(&format!("(type: {of_type})"), "", 1);
            if !tried.insert((*section, path, found.top.clone())) {
                continue;
            }
            for value in odd() {
                let mut component = component.clone();
                put(&mut component, &found.steps, Some(value.clone()));
                let read = read(section, &component, &found.steps);
                let name = format!("{section} {}", words(&found.steps));
                let placed = read.errors.iter().all(|(span, _)| span.is_some());
                assert!(placed, "a mistake without a place: {name}: {value}:\n{}", read.shown);
            }
        }
    }
}
