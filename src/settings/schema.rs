//! The JSON Schema of the configuration, put together from its settings.

use serde_json::{Map, Value, json};

/// Collects the definitions that a schema refers to.
#[derive(Debug, Default)]
pub struct SchemaBuilder {
    definitions: Map<String, Value>,
    /// Full type name of each definition, to tell two structs of one name apart.
    owners: Vec<(String, &'static str)>,
}

/// The keys of a block.
#[derive(Debug, Default)]
pub struct Properties {
    /// Key to schema, in order.
    pub keys: Map<String, Value>,
    /// The keys that must be given.
    pub required: Vec<String>,
}

impl Properties {
    /// Adds a key. One that may be left out may be `null`, which is the same.
    pub fn add(&mut self, name: &str, schema: Value, about: &str, default: Option<Value>, required: bool) {
        let mut schema = match schema {
            // Draft 7 ignores what stands beside a reference.
            Value::Object(map) if map.contains_key("$ref") => json!({"allOf": [Value::Object(map)]}),
            other => other,
        };
        if !required {
            schema = or_null(schema);
        }
        if let Value::Object(map) = &mut schema {
            if !about.is_empty() {
                map.insert("description".into(), about.into());
            }
            if let Some(default) = default {
                map.insert("default".into(), default);
            }
        }
        self.keys.insert(name.to_owned(), schema);
        if required {
            self.required.push(name.to_owned());
        }
    }

    /// An object of these keys and no others.
    pub fn into_schema(self, about: &str) -> Value {
        let mut schema = json!({"type": "object", "properties": self.keys, "additionalProperties": false});
        if let Value::Object(map) = &mut schema {
            if !about.is_empty() {
                map.insert("description".into(), about.into());
            }
            if !self.required.is_empty() {
                map.insert("required".into(), json!(self.required));
            }
        }
        schema
    }
}

/// The schema of what `schema` takes, and of `null`.
fn or_null(schema: Value) -> Value {
    let Value::Object(mut map) = schema else { return schema };
    // Anything, `null` too.
    if map.is_empty() {
        return Value::Object(map);
    }
    let nothing = json!({"type": "null"});
    let says_more = map.contains_key("enum") || map.contains_key("anyOf");
    match map.get("type").cloned() {
        Some(Value::Array(kinds)) if kinds.contains(&"null".into()) => return Value::Object(map),
        // What else such a schema says is said of values of that type only.
        Some(Value::String(kind)) if !says_more => {
            map.insert("type".into(), json!([kind, "null"]));
            return Value::Object(map);
        }
        _ => {}
    }
    if map.len() == 1
        && let Some(Value::Array(forms)) = map.get_mut("anyOf")
    {
        forms.push(nothing);
        return Value::Object(map);
    }
    json!({"anyOf": [Value::Object(map), nothing]})
}

impl SchemaBuilder {
    /// A reference to the schema of `T`, made once however often it is asked for; `make` may refer to itself.
    pub fn define<T: 'static>(&mut self, name: &str, make: impl FnOnce(&mut Self) -> Value) -> Value {
        let owner = std::any::type_name::<T>();
        if let Some((key, _)) = self.owners.iter().find(|(_, known)| *known == owner) {
            return json!({"$ref": format!("#/definitions/{key}")});
        }
        let mut key = name.to_owned();
        let mut n = 2;
        while self.owners.iter().any(|(known, _)| *known == key) {
            key = format!("{name}{n}");
            n += 1;
        }
        self.owners.push((key.clone(), owner));
        let schema = make(self);
        self.definitions.insert(key.clone(), schema);
        json!({"$ref": format!("#/definitions/{key}")})
    }

    /// A value that is `schema`, or a string with `${…}` in it that becomes one.
    pub fn interpolated(&mut self, schema: Value) -> Value {
        struct Interpolated;
        let reference = self.define::<Interpolated>("interpolated", |_| {
            json!({
                "type": "string",
                "pattern": "\\$\\{[^}]+\\}",
                "description": "An environment variable or a file: ${VAR}, ${VAR:-default}, ${VAR:?message}, ${file:/path}."
            })
        });
        json!({"anyOf": [schema, reference]})
    }

    /// The definitions made so far.
    pub fn into_definitions(self) -> Map<String, Value> {
        let mut entries: Vec<_> = self.definitions.into_iter().collect();
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        entries.into_iter().collect()
    }
}
