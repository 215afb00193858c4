//! Resources: what they are called, in what order they depend on each other, and how two states of one are compared.

use serde_json::{Map, Value};

/// The kinds of resources, in the order in which they depend on each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A stream.
    Stream,
    /// A function.
    Function,
    /// A pipeline on the server.
    Pipeline,
    /// A folder.
    Folder,
    /// A template of notifications.
    Template,
    /// Where notifications go.
    Destination,
    /// An alert.
    Alert,
    /// A dashboard.
    Dashboard,
}

impl Kind {
    /// All of them, in their order.
    pub const ALL: [Kind; 8] = [
        Kind::Stream,
        Kind::Function,
        Kind::Pipeline,
        Kind::Folder,
        Kind::Template,
        Kind::Destination,
        Kind::Alert,
        Kind::Dashboard,
    ];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Stream => "stream",
            Kind::Function => "function",
            Kind::Pipeline => "pipeline",
            Kind::Folder => "folder",
            Kind::Template => "template",
            Kind::Destination => "destination",
            Kind::Alert => "alert",
            Kind::Dashboard => "dashboard",
        }
    }

    /// The key of its section in a configuration.
    pub fn section(self) -> &'static str {
        match self {
            Kind::Stream => "streams",
            Kind::Function => "functions",
            Kind::Pipeline => "pipelines",
            Kind::Folder => "folders",
            Kind::Template => "templates",
            Kind::Destination => "destinations",
            Kind::Alert => "alerts",
            Kind::Dashboard => "dashboards",
        }
    }

    /// Whether its description carries the mark of what made it; the others have no description on the server.
    pub fn is_marked(self) -> bool {
        matches!(self, Kind::Pipeline | Kind::Folder | Kind::Alert | Kind::Dashboard)
    }
}

/// Name of a resource: `alert.errors`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// What it is.
    pub kind: Kind,
    /// Its name in the configuration.
    pub name: String,
}

impl Key {
    /// Of a kind and a name.
    pub fn new(kind: Kind, name: &str) -> Key {
        Key { kind, name: name.to_owned() }
    }

    /// From `alert.errors`.
    pub fn parse(text: &str) -> Option<Key> {
        let (kind, name) = text.split_once('.')?;
        let kind = Kind::ALL.into_iter().find(|known| known.word() == kind)?;
        (!name.is_empty()).then(|| Key::new(kind, name))
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.kind.word(), self.name)
    }
}

/// A resource as the configuration has it.
#[derive(Debug, Clone)]
pub struct Desired {
    /// Its name.
    pub key: Key,
    /// Its fields, in the form that [`Observed`] has too; only what the configuration names.
    pub fields: Value,
    /// Paths of fields whose values are never shown.
    pub secret: &'static [&'static str],
    /// What the server's version has no place for, in words.
    pub unsupported: Vec<String>,
    /// The server's version has no such resources at all.
    pub impossible: bool,
}

/// A resource as the server has it.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// What the server calls it in paths.
    pub id: String,
    /// What people call it: the name that tells it apart, but for a dashboard, whose is its title.
    pub name: String,
    /// Its fields.
    pub fields: Value,
    /// Its description, where it has one.
    pub description: String,
    /// What a change must carry: a dashboard's hash, a pipeline's version.
    pub hash: String,
    /// Id of its folder.
    pub folder: String,
    /// As the server gave it.
    pub raw: Value,
}

/// What the mark begins with; the name stands after it.
const MARK: &str = "[tidegate: ";

/// A description with the mark of a resource.
pub fn marked(description: &str, name: &str) -> String {
    match description.trim_end() {
        "" => format!("{MARK}{name}]"),
        text => format!("{text} {MARK}{name}]"),
    }
}

/// The name in the mark of a description.
pub fn mark_of(description: &str) -> Option<&str> {
    let at = description.rfind(MARK)? + MARK.len();
    description[at..].trim_end().strip_suffix(']')
}

/// A description without its mark.
pub fn unmarked(description: &str) -> &str {
    match mark_of(description).and_then(|_| description.rfind(MARK)) {
        Some(at) => description[..at].trim_end(),
        None => description,
    }
}

/// One field that differs.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Its keys: `query.sql`, `panels[1].title`.
    pub path: String,
    /// As the server has it.
    pub from: Value,
    /// As the configuration has it.
    pub to: Value,
}

/// What differs between a desired and an observed state: of the desired's keys only.
pub fn differences(desired: &Value, observed: &Value) -> Vec<Difference> {
    let mut out = Vec::new();
    compare("", desired, observed, &mut out);
    out
}

fn compare(path: &str, desired: &Value, observed: &Value, out: &mut Vec<Difference>) {
    match (desired, observed) {
        (Value::Object(want), Value::Object(have)) => {
            for (key, value) in want {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                compare(&path, value, have.get(key).unwrap_or(&Value::Null), out);
            }
        }
        (Value::Array(want), Value::Array(have)) if want.len() == have.len() => {
            for (n, (want, have)) in want.iter().zip(have).enumerate() {
                compare(&format!("{path}[{n}]"), want, have, out);
            }
        }
        _ if same(desired, observed) => {}
        _ => out.push(Difference { path: path.to_owned(), from: observed.clone(), to: desired.clone() }),
    }
}

/// Whether two values say the same: numbers by value, and all that is nothing is one.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        _ => a == b || is_nothing(a) && is_nothing(b),
    }
}

/// Whether a value is null or an empty text, list or mapping.
pub fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.values().all(Value::is_null),
        _ => false,
    }
}

/// The leaves of a value, each with its path; lists of plain values are leaves.
pub fn leaves(value: &Value) -> Vec<(String, &Value)> {
    fn walk<'v>(path: String, value: &'v Value, out: &mut Vec<(String, &'v Value)>) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    walk(if path.is_empty() { key.clone() } else { format!("{path}.{key}") }, value, out);
                }
            }
            Value::Array(list) if list.iter().any(|v| v.is_object() || v.is_array()) => {
                list.iter().enumerate().for_each(|(n, value)| walk(format!("{path}[{n}]"), value, out));
            }
            _ => out.push((path, value)),
        }
    }
    let mut out = Vec::new();
    walk(String::new(), value, &mut out);
    out
}

/// A hash of a value, whatever the order of its keys.
pub fn hash(value: &Value) -> String {
    fn put(value: &Value, out: &mut Vec<u8>) {
        match value {
            Value::Object(map) => {
                let mut keys: Vec<&String> = map.keys().collect();
                keys.sort_unstable();
                out.push(b'{');
                for key in keys {
                    out.extend_from_slice(Value::String(key.clone()).to_string().as_bytes());
                    put(&map[key.as_str()], out);
                }
                out.push(b'}');
            }
            Value::Array(list) => {
                out.push(b'[');
                list.iter().for_each(|value| {
                    put(value, out);
                    out.push(b',');
                });
                out.push(b']');
            }
            other => out.extend_from_slice(other.to_string().as_bytes()),
        }
    }
    let mut text = Vec::new();
    put(value, &mut text);
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(&text))
}

/// A mapping of those entries that are something.
pub fn object<const N: usize>(entries: [(&str, Option<Value>); N]) -> Value {
    let entries = entries.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    Value::Object(entries.collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_is_named_is_compared_and_numbers_by_value() {
        let have = json!({"a": 1.0, "b": {"c": [], "d": "x"}, "e": [{"f": 1, "g": 2}], "h": "theirs"});
        assert_eq!(differences(&json!({"a": 1, "b": {"c": null}, "e": [{"f": 1}], "i": ""}), &have), []);
        let found = differences(&json!({"a": 2, "b": {"d": "y"}, "e": [{"f": 3}]}), &have);
        let paths: Vec<&str> = found.iter().map(|d| d.path.as_str()).collect();
        assert_eq!(paths, ["a", "b.d", "e[0].f"]);
        assert_eq!(differences(&json!({"e": []}), &have).len(), 1);
    }

    #[test]
    fn a_mark_is_put_found_and_taken_off() {
        for text in ["", "what it is", "of [tidegate: other] too"] {
            let with = marked(text, "orders");
            assert_eq!((mark_of(&with), unmarked(&with)), (Some("orders"), text));
        }
        assert_eq!((mark_of("plain"), unmarked("plain")), (None, "plain"));
    }

    #[test]
    fn a_hash_does_not_know_the_order_of_keys() {
        assert_eq!(hash(&json!({"a": 1, "b": [1, 2]})), hash(&json!({"b": [1, 2], "a": 1})));
        assert_ne!(hash(&json!({"a": [1, 2]})), hash(&json!({"a": [12]})));
    }
}
