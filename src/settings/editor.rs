//! The schema as editors show it: what a hover says, and what a completion puts in.
//!
//! Editors that are driven by a schema (yaml-language-server and what is built on it) show the description nearest to the value: one within
//! `anyOf` hides that of the setting. They complete a key with its colon where the schema says of what type its value is, and name
//! definitions in their messages. So, over the schema as it is put together from settings:
//!
//! - A setting's own text is the one description of it. Forms (a size, a word, a block) have none; what each word means stands with the
//!   word.
//! - `markdownDescription` is that text with the default and an example.
//! - Where all forms of a setting are blocks, or lists, it says so itself.
//! - Definitions are named as a user would: `batch`, not the name of a type of ours.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// Values that show what a setting is for, where its type does not: key and value as YAML writes them. A value stands for each
/// setting of that name whose schema takes it.
const EXAMPLES: &[(&str, &str)] = &[
    ("attach", "[\"file\", \"host\"]"),
    ("auth", "{\"basic\": {\"user\": \"${O2_USER}\", \"password\": \"${O2_PASSWORD}\"}}"),
    ("buckets", "[10, 50, 100, 500, 1000]"),
    ("by", "\"level\""),
    ("ca_file", "\"/etc/ssl/certs/ca.pem\""),
    ("cert", "\"/etc/tidegate/tls/cert.pem\""),
    ("charset", "\"latin1\""),
    ("data_dir", "\"/var/lib/tidegate\""),
    ("database", "\"/usr/share/GeoIP/GeoLite2-City.mmdb\""),
    ("dead_letter", "\"rejects\""),
    ("detect", "[\"secrets\", \"email\", \"credit_card\"]"),
    ("endpoints", "[\"http://localhost:9200\"]"),
    ("exclude", "[\"*.gz\", \"/var/log/app/debug.log\"]"),
    ("headers", "{\"X-Tenant\": \"shop\"}"),
    ("include", "[\"/var/log/app/*.log\"]"),
    ("index", "\"logs-{{ service }}-%Y.%m.%d\""),
    ("inputs", "[\"app\"]"),
    ("key", "\"/etc/tidegate/tls/key.pem\""),
    ("labels", "{\"service\": \"{{ service }}\"}"),
    ("listen", "\"127.0.0.1:8686\""),
    ("listen", "\"udp://0.0.0.0:514\""),
    ("name", "\"app_events_total\""),
    ("organization", "\"default\""),
    ("password", "\"${O2_PASSWORD}\""),
    ("path", "\"./out/%Y-%m-%d/{{ service }}.ndjson\""),
    ("path", "\"/var/lib/tidegate/table.csv\""),
    ("pattern", "\"^(?<level>[A-Z]+) (?<message>.*)$\""),
    ("proxy", "\"http://proxy.example.com:3128\""),
    ("rates", "{\"ERROR\": 1.0, \"INFO\": 0.1}"),
    ("regex", "\"user-[0-9]+\""),
    ("rotated_to", "[\"/var/log/old/*\"]"),
    ("server_name", "\"logs.example.com\""),
    ("start", "\"^\\\\d{4}-\""),
    ("stream", "\"{{ service }}-logs\""),
    ("timezone", "\"Europe/Berlin\""),
    ("token", "\"${TOKEN}\""),
    ("url", "\"http://localhost:5080\""),
    ("user", "\"${O2_USER}\""),
    ("value", "\"duration\""),
    ("when", "\"level == \\\"ERROR\\\"\""),
    ("token_file", "\"/var/run/secrets/kubernetes.io/serviceaccount/token\""),
    ("node", "\"${NODE_NAME}\""),
    ("reason", "\"filtered\""),
    ("snapshot", "\"snapshots/one.json\""),
    ("jwks_url", "\"https://login.example.com/keys\""),
    ("id", "\"key-1\""),
    ("secret", "\"${TOKEN}\""),
    ("public_key", "\"/etc/tidegate/keys/issuer.pem\""),
    ("query", "\"SELECT * FROM default\""),
    ("fields", "[\"pod\"]"),
    ("default", "\"other\""),
    ("absent", "[\"password\"]"),
    ("always", "\"level == \\\"ERROR\\\"\""),
    ("api_key", "\"${ELASTIC_API_KEY}\""),
    ("at", "\"app\""),
    ("audience", "\"openobserve\""),
    ("bearer", "\"${TOKEN}\""),
    ("bloom", "[\"trace_id\"]"),
    ("body", "\"{alert_name}: {alert_count} events\""),
    ("breakdown", "\"service\""),
    ("check", "\"duration >= 0\""),
    ("client_ca_file", "\"/etc/tidegate/tls/clients.pem\""),
    ("client_id", "\"tidegate\""),
    ("client_secret", "\"${CLIENT_SECRET}\""),
    ("column", "\"level\""),
    ("condition", "\"^\\\\s\""),
    ("description", "\"Requests by status\""),
    ("destinations", "[\"oncall\"]"),
    ("email", "[\"oncall@example.com\"]"),
    ("environment", "\"prod\""),
    ("error", "\"duration is negative\""),
    ("event", "{\"level\": \"ERROR\", \"message\": \"x\"}"),
    ("events", "[{\"message\": \"x\"}]"),
    ("field", "\"level\""),
    ("fields", "[\"timestamp\", \"level\", \"message\"]"),
    ("fields", "{\"environment\": \"prod\"}"),
    ("file", "\"/etc/tidegate/table.csv\""),
    ("folder", "\"shop\""),
    ("from", "\"client_ip\""),
    ("full_text", "[\"message\"]"),
    ("group", "\"adm\""),
    ("index", "[\"traceId\"]"),
    ("into", "\"geo\""),
    ("issuer", "\"tidegate\""),
    ("json_schema", "\"./event.schema.json\""),
    ("key_id", "\"2026-01\""),
    ("label", "\"Service\""),
    ("line", "\"{\\\"level\\\":\\\"error\\\"}\""),
    ("lines", "[\"first\", \"second\"]"),
    ("names", "[\"logs.example.com\"]"),
    ("now", "\"2026-01-01T00:00:00Z\""),
    ("of", "[\"level\", \"message\"]"),
    ("options", "[\"prod\", \"staging\"]"),
    ("origins", "[\"https://shop.example\"]"),
    ("outputs", "{\"errors\": \"level == \\\"ERROR\\\"\"}"),
    ("owner", "\"syslog\""),
    ("partition", "[\"service\"]"),
    ("pipeline", "\"logs\""),
    ("promql", "\"sum(rate(app_events_total[5m]))\""),
    ("regexes", "\"/etc/tidegate/regexes.yaml\""),
    ("replace", "\"$1***\""),
    ("routing_key", "\"${PAGERDUTY_KEY}\""),
    ("schema_fields", "[\"level\", \"service\"]"),
    ("scope", "\"logs.write\""),
    ("sinks", "{\"out\": {\"type\": \"console\", \"inputs\": [\"app\"]}}"),
    ("sources", "{\"app\": {\"type\": \"file\", \"include\": [\"/var/log/app/*.log\"]}}"),
    ("sql", "\"SELECT level, count(*) AS n FROM app GROUP BY level\""),
    ("subject", "\"agent-7\""),
    ("success", "\"@status == 200\""),
    ("template", "\"oncall\""),
    ("tenant", "\"shop\""),
    ("text", "\"## Errors\""),
    ("title", "\"Errors\""),
    ("to", "\"parsed\""),
    ("token_url", "\"https://login.example.com/oauth2/token\""),
    ("transforms", "{\"few\": {\"type\": \"filter\", \"inputs\": [\"app\"], \"when\": \"level == \\\"ERROR\\\"\"}}"),
    ("unit", "\"seconds\""),
    ("version", "\"1.4.2\""),
    ("vrl", "\". = parse_json!(.message)\""),
    ("warn", "\"no service\""),
];

/// Makes the schema of a whole configuration one for editors.
pub(crate) fn dress(root: &mut Value) {
    let definitions = root["definitions"].as_object().cloned().unwrap_or_default();
    Dress { definitions: &definitions }.schema(root);
    if let Some(all) = root["definitions"].as_object_mut() {
        for definition in all.values_mut() {
            silence(definition);
            apart(definition);
        }
    }
    rename(root, &definitions);
}

struct Dress<'d> {
    definitions: &'d Map<String, Value>,
}

impl Dress<'_> {
    /// All settings below.
    fn schema(&self, schema: &mut Value) {
        match schema {
            Value::Object(map) => {
                if let Some(Value::Object(properties)) = map.get_mut("properties") {
                    properties.iter_mut().for_each(|(key, setting)| self.setting(key, setting));
                }
                for (key, below) in map.iter_mut().filter(|(key, _)| *key != "default") {
                    match below {
                        Value::Object(by_name) if key == "properties" || key == "definitions" => {
                            by_name.values_mut().for_each(|below| self.schema(below));
                        }
                        below => self.schema(below),
                    }
                }
            }
            Value::Array(list) => list.iter_mut().for_each(|below| self.schema(below)),
            _ => {}
        }
    }

    fn setting(&self, key: &str, setting: &mut Value) {
        let example = self.example_of(key, setting);
        let kinds = self.kinds(setting);
        let Value::Object(map) = setting else { return };
        forms_of(map).for_each(silence);
        tell_apart(map);
        if !map.contains_key("type") && !map.contains_key("const") && !map.contains_key("enum") {
            let of = |wanted: &str| {
                kinds.iter().all(|kind| *kind == wanted || *kind == "null") && kinds.contains(&wanted.into())
            };
            for kind in ["object", "array"].into_iter().filter(|kind| of(kind)) {
                let is_optional = kinds.iter().any(|kind| kind == "null");
                map.insert("type".into(), if is_optional { json!([kind, "null"]) } else { kind.into() });
            }
        }
        let Some(own) = map.get("description").and_then(Value::as_str).filter(|_| !map.contains_key("const")) else {
            return;
        };
        let mut text = own.to_owned();
        if let Some(default) = map.get("default").filter(|default| !default.is_null()) {
            text.push_str(&format!("\n\nDefault: `{}`", yaml(default)));
        }
        if let Some(example) = example {
            text.push_str(&format!("\n\nExample: `{key}: {}`", yaml(&example)));
        }
        map.insert("markdownDescription".into(), text.into());
    }

    /// What the schema refers to, or it.
    fn resolved<'s>(&'s self, schema: &'s Value) -> &'s Value {
        let name = schema.get("$ref").and_then(Value::as_str).and_then(|to| to.strip_prefix("#/definitions/"));
        name.and_then(|name| self.definitions.get(name)).unwrap_or(schema)
    }

    /// The types that values may have; "any" for what is not known.
    fn kinds(&self, schema: &Value) -> Vec<String> {
        let schema = self.resolved(schema);
        match schema.get("type") {
            Some(Value::String(kind)) => return vec![kind.clone()],
            Some(Value::Array(kinds)) => return kinds.iter().filter_map(|k| k.as_str().map(str::to_owned)).collect(),
            _ => {}
        }
        let forms = ["anyOf", "allOf", "oneOf"].iter().find_map(|key| schema.get(*key)).and_then(Value::as_array);
        match forms {
            Some(forms) => forms.iter().flat_map(|form| self.kinds(form)).collect(),
            None => vec!["any".to_owned()],
        }
    }

    /// A value that the setting takes.
    fn example_of(&self, key: &str, setting: &Value) -> Option<Value> {
        let shown = EXAMPLES.iter().filter(|(name, _)| *name == key);
        let shown = shown.filter_map(|(_, text)| serde_json::from_str::<Value>(text).ok());
        let mut shown = shown.filter(|value| self.takes(setting, value));
        shown.next().or_else(|| self.any_of(setting, 0)).or_else(|| setting.get("default").cloned())
    }

    /// Some value of the schema: a form with a default of its own first, then the first one.
    fn any_of(&self, schema: &Value, depth: usize) -> Option<Value> {
        if depth > 6 {
            return None;
        }
        let schema = self.resolved(schema);
        if let Some(word) = schema.get("enum").and_then(Value::as_array).and_then(|words| words.first()) {
            return Some(word.clone());
        }
        if let Some(word) = schema.get("const") {
            return Some(word.clone());
        }
        if let Some(default) =
            schema.get("default").filter(|v| !matches!(v, Value::Null) && **v != json!([]) && **v != json!({}))
        {
            return Some(default.clone());
        }
        let forms = ["anyOf", "allOf", "oneOf"].iter().find_map(|key| schema.get(*key)).and_then(Value::as_array);
        let kind = match schema.get("type") {
            Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str),
            Some(kind) => kind.as_str(),
            None => None,
        };
        match kind {
            Some("object") => return self.block(schema, depth),
            Some("array") => return Some(json!([self.any_of(schema.get("items")?, depth + 1)?])),
            Some("boolean") => return Some(true.into()),
            Some("integer") => {
                return Some(schema.get("minimum").filter(|n| n.as_i64() > Some(0)).cloned().unwrap_or(10.into()));
            }
            Some("number") => return Some(json!(0.5)),
            Some("string") => return text_like(schema.get("pattern").and_then(Value::as_str)),
            _ => {}
        }
        forms?.iter().find_map(|form| self.any_of(form, depth + 1))
    }

    /// A block with what it must have, or with its first key.
    fn block(&self, schema: &Value, depth: usize) -> Option<Value> {
        // A block of one of several types: the first.
        let first = schema.get("allOf").and_then(|forms| forms.get(0)).and_then(|form| form.get("then"));
        let schema = first.unwrap_or(schema);
        let properties = schema.get("properties").and_then(Value::as_object)?;
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let mut out = Map::new();
        for (key, setting) in
            properties.iter().filter(|(key, _)| required.is_empty() || required.contains(&key.as_str()))
        {
            out.insert(key.clone(), self.nested_example(key, setting, depth + 1)?);
            if required.is_empty() {
                break;
            }
        }
        Some(Value::Object(out))
    }

    fn nested_example(&self, key: &str, setting: &Value, depth: usize) -> Option<Value> {
        let mut shown = EXAMPLES.iter().filter(|(name, _)| *name == key);
        let shown =
            shown.find_map(|(_, text)| serde_json::from_str(text).ok().filter(|value| self.takes(setting, value)));
        shown.or_else(|| self.any_of(setting, depth))
    }

    /// Whether the schema takes a value, as far as that decides which example is one: its type, its words, its pattern, its keys.
    fn takes(&self, schema: &Value, value: &Value) -> bool {
        let schema = self.resolved(schema);
        let is = |kind: &str| match kind {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            other => other == "null" && value.is_null(),
        };
        let all = |key: &str| schema.get(key).and_then(Value::as_array);
        let fits = match schema.get("type") {
            Some(Value::String(kind)) => is(kind),
            Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).any(is),
            _ => true,
        };
        let text = value.as_str().zip(schema.get("pattern").and_then(Value::as_str));
        let matches = text.is_none_or(|(text, pattern)| {
            regex_automata::meta::Regex::new(pattern).is_ok_and(|regex| regex.is_match(text))
        });
        let keys =
            value.as_object().zip(schema.get("properties").and_then(Value::as_object)).is_none_or(|(map, known)| {
                map.iter().all(|(key, value)| known.get(key).is_some_and(|schema| self.takes(schema, value)))
                    && all("required").into_iter().flatten().filter_map(Value::as_str).all(|key| map.contains_key(key))
            });
        let each = |schema: Option<&Value>, values: Vec<&Value>| {
            schema.is_none_or(|schema| schema.is_boolean() || values.iter().all(|value| self.takes(schema, value)))
        };
        let more = schema.get("additionalProperties").filter(|_| schema.get("properties").is_none());
        fits && matches
            && keys
            && all("enum").is_none_or(|words| words.contains(value))
            && schema.get("const").is_none_or(|word| word == value)
            && all("anyOf").is_none_or(|forms| forms.iter().any(|form| self.takes(form, value)))
            && all("allOf")
                .is_none_or(|forms| forms.iter().all(|form| form.get("if").is_some() || self.takes(form, value)))
            && each(schema.get("items"), value.as_array().into_iter().flatten().collect())
            && each(more, value.as_object().into_iter().flat_map(Map::values).collect())
    }
}

/// A text as a pattern wants it, of the patterns that there are.
fn text_like(pattern: Option<&str>) -> Option<Value> {
    let shown = ["text", "64KiB", "5s", "127.0.0.1:8686", "udp://0.0.0.0:514", "name", "@file"];
    let regex = regex_automata::meta::Regex::new(pattern?).ok()?;
    shown.into_iter().find(|text| regex.is_match(*text)).map(Value::from)
}

/// The forms that a value may have.
fn forms_of(map: &mut Map<String, Value>) -> impl Iterator<Item = &mut Value> {
    let forms = map.iter_mut().filter(|(key, _)| ["anyOf", "allOf", "oneOf", "then"].contains(&key.as_str()));
    forms.flat_map(|(_, forms)| match forms {
        Value::Array(list) => list.iter_mut().collect::<Vec<_>>(),
        one => vec![one],
    })
}

/// Takes away what a form says of itself, and its forms of themselves.
fn silence(form: &mut Value) {
    let Value::Object(map) = form else { return };
    map.remove("description");
    forms_of(map).for_each(silence);
}

/// Makes forms of one value different for who compares them by what they say of themselves, as yaml-language-server does: forms that are
/// alike to it all apply at once, and it shows them in place of the setting's text. No keys are no condition for what is no block.
fn tell_apart(map: &mut Map<String, Value>) {
    for key in ["anyOf", "oneOf"] {
        for form in map.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten() {
            if let Value::Object(inner) = form {
                tell_apart(inner);
            }
            apart(form);
        }
    }
}

fn apart(form: &mut Value) {
    if let Value::Object(map) = form
        && !map.contains_key("$ref")
        && !map.contains_key("properties")
    {
        map.insert("properties".into(), json!({}));
    }
}

/// A value as YAML writes it on one line.
fn yaml(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let entries: Vec<String> = map.iter().map(|(key, value)| format!("{key}: {}", yaml(value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
        Value::Array(list) => format!("[{}]", list.iter().map(yaml).collect::<Vec<_>>().join(", ")),
        Value::String(text) => {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
            let is_word = text.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '/'))
                && text.chars().all(plain);
            if is_word { text.clone() } else { value.to_string() }
        }
        other => other.to_string(),
    }
}

/// Gives definitions the names that users know, here and where they are referred to.
fn rename(root: &mut Value, definitions: &Map<String, Value>) {
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for old in definitions.keys() {
        let known = known_as(old);
        let mut new = known.clone();
        let mut n = 2;
        while names.values().any(|taken| *taken == new) {
            new = format!("{known}_{n}");
            n += 1;
        }
        names.insert(old.clone(), new);
    }
    if let Some(all) = root["definitions"].as_object_mut() {
        *all = std::mem::take(all)
            .into_iter()
            .map(|(old, value)| (names.get(&old).cloned().unwrap_or(old), value))
            .collect();
    }
    refer(root, &names);
}

fn refer(schema: &mut Value, names: &BTreeMap<String, String>) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::String(to)) = map.get_mut("$ref")
                && let Some(name) = to.strip_prefix("#/definitions/").and_then(|old| names.get(old))
            {
                *to = format!("#/definitions/{name}");
            }
            map.values_mut().for_each(|below| refer(below, names));
        }
        Value::Array(list) => list.iter_mut().for_each(|below| refer(below, names)),
        _ => {}
    }
}

/// `BatchConfig` as `batch`, `UserAgentSetting` as `user_agent`.
fn known_as(name: &str) -> String {
    let name = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let name = name.strip_suffix("Config").or_else(|| name.strip_suffix("Setting")).unwrap_or(name);
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    if out == "interpolated" { "environment_variable".into() } else { out }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn schema() -> Value {
        crate::pipeline::json_schema(crate::registry::built_in())
    }

    /// Every setting of a schema, with its key.
    fn settings(schema: &Value, out: &mut Vec<(String, Value)>) {
        match schema {
            Value::Object(map) => {
                if let Some(Value::Object(properties)) = map.get("properties") {
                    out.extend(properties.iter().map(|(key, setting)| (key.clone(), setting.clone())));
                }
                for (key, below) in map.iter().filter(|(key, _)| *key != "default") {
                    match below {
                        Value::Object(by_name) if key == "properties" || key == "definitions" => {
                            by_name.values().for_each(|below| settings(below, out));
                        }
                        below => settings(below, out),
                    }
                }
            }
            Value::Array(list) => list.iter().for_each(|below| settings(below, out)),
            _ => {}
        }
    }

    #[test]
    fn every_setting_says_what_it_is_with_its_default_and_an_example_and_no_form_hides_it() {
        let schema = schema();
        let mut all = Vec::new();
        settings(&schema, &mut all);
        assert!(all.len() > 500, "{}", all.len());
        let mut without = Vec::new();
        for (key, setting) in all.iter().filter(|(key, setting)| key != "type" && setting.get("const").is_none()) {
            let text = setting["markdownDescription"].as_str().unwrap_or_else(|| panic!("{key}: {setting}"));
            assert!(text.starts_with(setting["description"].as_str().unwrap()), "{key}: {text}");
            if setting.get("default").is_some_and(|default| !default.is_null()) {
                assert!(text.contains("\n\nDefault: `"), "{key}: {text}");
            }
            if !text.contains("\n\nExample: `") {
                without.push(key.clone());
            }
            let mut forms = setting.clone();
            let map = forms.as_object_mut().unwrap();
            assert!(forms_of(map).all(|form| form.get("description").is_none()), "{key}: {setting}");
        }
        assert!(without.len() * 40 < all.len(), "{} of {} have no example: {without:?}", without.len(), all.len());
    }

    #[test]
    fn definitions_have_names_that_users_know_and_all_are_there() {
        let schema = schema();
        let text = schema.to_string();
        for reference in text.split("\"#/definitions/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(schema["definitions"].get(name).is_some(), "{name}");
            assert!(!name.contains(|c: char| c.is_ascii_uppercase()), "{name}");
        }
    }
}
