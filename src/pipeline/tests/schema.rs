//! The schema takes what the reader takes.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::*;
use super::documents::registry;
use crate::settings::*;

/// As much of draft 7 as our schemas use; an unknown keyword fails the test.
pub(super) fn mistakes(schema: &Value, value: &Value, root: &Value, at: &str, out: &mut Vec<String>) {
    let Value::Object(schema) = schema else { return };
    let fits = |schema: &Value| {
        let mut inner = Vec::new();
        mistakes(schema, value, root, at, &mut inner);
        inner.is_empty()
    };
    let matches = |pattern: &Value, text: &str| {
        regex_automata::meta::Regex::new(pattern.as_str().unwrap()).unwrap().is_match(text)
    };
    let is = |kind: &str| match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.as_i64().is_some() || value.as_u64().is_some(),
        other => panic!("type {other}"),
    };
    for (keyword, argument) in schema {
        let good = match keyword.as_str() {
            "$schema" | "title" | "description" | "default" | "definitions" | "examples" => true,
            // What editors show.
            "markdownDescription" | "markdownEnumDescriptions" | "patternErrorMessage" => true,
            "$ref" => {
                let target = root.pointer(argument.as_str().unwrap().trim_start_matches('#')).unwrap();
                mistakes(target, value, root, at, out);
                true
            }
            "type" => match argument {
                Value::Array(kinds) => kinds.iter().any(|kind| is(kind.as_str().unwrap())),
                kind => is(kind.as_str().unwrap()),
            },
            "enum" => argument.as_array().unwrap().contains(value),
            "const" => argument == value,
            "anyOf" => argument.as_array().unwrap().iter().any(fits),
            "oneOf" => argument.as_array().unwrap().iter().filter(|schema| fits(schema)).count() == 1,
            "allOf" => {
                argument.as_array().unwrap().iter().for_each(|schema| mistakes(schema, value, root, at, out));
                true
            }
            "if" => {
                if fits(argument) {
                    mistakes(&schema["then"], value, root, at, out);
                }
                true
            }
            "then" => true,
            "pattern" => value.as_str().is_none_or(|text| matches(argument, text)),
            "minLength" => value.as_str().is_none_or(|text| text.len() as u64 >= argument.as_u64().unwrap()),
            "maxLength" => value.as_str().is_none_or(|text| text.len() as u64 <= argument.as_u64().unwrap()),
            "minItems" => value.as_array().is_none_or(|items| items.len() as u64 >= argument.as_u64().unwrap()),
            "minimum" => value.as_f64().is_none_or(|n| n >= argument.as_f64().unwrap()),
            "exclusiveMinimum" => value.as_f64().is_none_or(|n| n > argument.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|n| n <= argument.as_f64().unwrap()),
            "required" => value.as_object().is_none_or(|map| {
                argument.as_array().unwrap().iter().all(|key| map.contains_key(key.as_str().unwrap()))
            }),
            "properties" => {
                for (key, value) in value.as_object().into_iter().flatten() {
                    if let Some(schema) = argument.get(key) {
                        mistakes(schema, value, root, &format!("{at}.{key}"), out);
                    }
                }
                true
            }
            "propertyNames" => {
                for key in value.as_object().into_iter().flat_map(|map| map.keys()) {
                    mistakes(argument, &Value::String(key.clone()), root, &format!("{at}.{key}"), out);
                }
                true
            }
            "additionalProperties" => {
                for (key, value) in value.as_object().into_iter().flatten() {
                    if schema.get("properties").is_some_and(|known| known.get(key).is_some()) {
                        continue;
                    }
                    let at = format!("{at}.{key}");
                    match argument {
                        Value::Bool(true) => {}
                        Value::Bool(false) => out.push(format!("{at}: unknown key")),
                        schema => mistakes(schema, value, root, &at, out),
                    }
                }
                true
            }
            "items" => {
                for (n, item) in value.as_array().into_iter().flatten().enumerate() {
                    mistakes(argument, item, root, &format!("{at}[{n}]"), out);
                }
                true
            }
            other => panic!("keyword {other} at {at}: teach it to this test"),
        };
        if !good {
            out.push(format!("{at}: {keyword} {argument:.200} does not take {value:.200}"));
        }
    }
}

/// The text as JSON, as an editor sees it: nothing interpolated.
pub(super) fn as_json(text: &str) -> Value {
    let (mut sources, mut out) = (SourceMap::default(), Diagnostics::default());
    let file = sources.add("t", text);
    let node = yaml::parse(file, &mut sources, &mut out).unwrap();
    Value::read(&node, &mut Reader::new(&mut sources, &mut out)).unwrap()
}

fn check(schema: &Value, text: &str) -> Vec<String> {
    let mut out = Vec::new();
    mistakes(schema, &as_json(text), schema, "", &mut out);
    out
}

#[test]
fn the_schema_takes_what_the_reader_takes_and_refuses_what_it_refuses() {
    let schema = json_schema(registry());
    let good = [
        "sources:\n  a: {type: file, include: [x], max_line_bytes: 64KiB, glob_interval: 10s, decode: json}\n",
        "sources:\n  a: {type: file, include: ['${X}'], max_line_bytes: '${SIZE}', glob_interval: '${T:-5s}'}\n",
        "sources:\n  a: {type: file, include: [], max_line_bytes: 1024, attach: [file], decode: '${D}'}\n",
        "transforms:\n  r: {type: redact, inputs: [a], rate: '${R}', to: '{{ x }}'}\nsinks:\n",
        "sinks:\n  o: {type: out, inputs: [a], buffer: {type: disk, max_size: 1GiB}, dead_letter: b}\n",
        "threads: 4\nmemory_limit: 10MB\nshutdown_timeout: 1h30m\napi: {listen: '1.2.3.4:5', auth: {bearer: ['${file:/x}']}}\n",
        "tests:\n  - {name: a, input: [{at: x, line: y}], expect: [{at: z, count: 1, fields: {a.b: [1]}}]}\n",
    ];
    for text in good {
        assert_eq!(check(&schema, text), Vec::<String>::new(), "{text}");
        let environment: BTreeMap<String, String> =
            [("X", "x"), ("SIZE", "5"), ("D", "json"), ("R", "0.5")].map(|(k, v)| (k.into(), v.into())).into();
        let said = load_texts(&[("t", text)], &environment, registry()).report.render();
        assert!(!said.contains("unknown key") && !said.contains("expected"), "{said}");
    }
    let bad = [
        "sources:\n  a: {type: file, include: [x], max_line_byte: 64KiB}\n",
        "sources:\n  a: {type: file, include: x}\n",
        "sources:\n  a: {type: file}\n",
        "sources:\n  a: {type: redact}\n",
        "sources:\n  a: {include: [x]}\n",
        "sources:\n  a.b: {type: file, include: [x]}\n",
        "sources:\n  a: {type: file, include: [x], max_line_bytes: 64 parsecs}\n",
        "sources:\n  a: {type: file, include: [x], glob_interval: 10}\n",
        "sources:\n  a: {type: file, include: [x], decode: jsn}\n",
        "sinks:\n  o: {type: out, buffer: {type: disk}}\n",
        "thread: 4\n",
        "threads: 0\n",
        "api: {}\n",
    ];
    for text in bad {
        assert_ne!(check(&schema, text), Vec::<String>::new(), "{text}");
        let loaded = load_texts(&[("t", text)], &BTreeMap::new(), registry());
        assert!(loaded.config.is_none(), "{text}");
    }
}

#[test]
fn every_pipeline_in_the_repository_fits_the_schema_of_this_build() {
    let schema = json_schema(crate::registry::built_in());
    let mut folders = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines")];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                let text = std::fs::read_to_string(&path).unwrap();
                assert_eq!(check(&schema, &text), Vec::<String>::new(), "{}", path.display());
            }
        }
    }
}

#[test]
fn the_reference_has_every_key_of_the_schema() {
    let text = reference::markdown(registry(), None).unwrap();
    for key in ["data_dir", "api.listen", "max_line_bytes", "decode", "buffer (type: disk).max_size", "dead_letter"] {
        assert!(text.contains(&format!("| `{key}` |")), "{key} in\n{text}");
    }
    assert!(text.contains("| `memory_limit` | a size such as `64KiB` or `10MB` | `24MiB` |"), "{text}");
    assert!(reference::markdown(registry(), Some("redact")).unwrap().contains("### transform `redact`"));
    assert!(reference::markdown(registry(), Some("nope")).is_none());
}
