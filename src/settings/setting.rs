//! What can stand in a configuration: how it is read, what its schema is, how it is called.

use serde_json::{Value, json};

use super::diagnostic::Diagnostics;
use super::node::{Node, NodeKind};
use super::reader::{Keys, Reader};
use super::schema::{Properties, SchemaBuilder};
use super::source_map::{SourceMap, Span};

/// A value of a configuration.
pub trait Setting: Sized + 'static {
    /// Reads one value. On a mistake notes it in `cx`, returns `None`, and the caller goes on with its siblings.
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self>;

    /// The JSON schema of the value.
    fn schema(g: &mut SchemaBuilder) -> Value;

    /// The type in words, with its article: "a duration such as `5s`". Used in the reference and in "expected …, found …".
    fn describe() -> String;

    /// How a default is shown in the reference. `None` where there is nothing worth showing.
    fn default_text(&self) -> Option<String> {
        None
    }

    /// A default as the schema gives it.
    fn default_json(&self) -> Option<Value> {
        self.default_text().map(Value::String)
    }

    /// The value where the key is absent and has no default of its own: `None` makes the key required.
    fn absent() -> Option<Self> {
        None
    }

    /// Whether the value could be meant for this type at all; tells the forms of a setting with several apart.
    fn accepts(node: &Node) -> bool {
        _ = node;
        true
    }

    /// Whether a lone value may stand where a list of these is expected.
    fn lone() -> bool {
        false
    }

    /// The words it may be, each with what it means, for the reference.
    fn words() -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// The settings inside, for the reference.
    fn fields() -> Vec<FieldDoc> {
        Vec::new()
    }
}

/// A block of settings, written with [`config!`](super::config).
pub trait Settings: Setting {
    /// The struct's name.
    const NAME: &'static str;

    /// What the block is, from its doc comment.
    fn about() -> String;

    /// Its keys in order, those of flattened blocks included.
    fn field_docs(out: &mut Vec<FieldDoc>);

    /// Takes its keys and reads them. Does not look at what is left over.
    fn read_keys(keys: &mut Keys<'_>, cx: &mut Reader<'_>) -> Option<Self>;

    /// The schemas of its keys.
    fn properties(g: &mut SchemaBuilder, out: &mut Properties);

    /// The block with nothing set.
    ///
    /// # Panics
    /// If a key is required: such a block has no defaults.
    fn defaults() -> Self {
        let (mut sources, mut out) = (SourceMap::default(), Diagnostics::default());
        let node = Node::empty_map(Span::default());
        let read = Self::read(&node, &mut Reader::new(&mut sources, &mut out));
        match read {
            Some(value) => value,
            None => panic!("{} has required keys and so no defaults", Self::NAME),
        }
    }
}

/// One key of a block, for the reference.
#[derive(Debug, Clone)]
pub struct FieldDoc {
    /// The key.
    pub name: String,
    /// What it does.
    pub about: String,
    /// Its type in words.
    pub kind: String,
    /// Its default as written in YAML.
    pub default: Option<String>,
    /// Must be given.
    pub required: bool,
    /// The words that it may be, with their meaning where that is more than the word.
    pub words: Vec<(&'static str, String)>,
    /// The keys inside.
    pub nested: fn() -> Vec<FieldDoc>,
}

/// Reads a block: its keys, then what is left over as unknown.
#[inline(never)]
pub fn read_block<T: Settings>(node: &Node, cx: &mut Reader<'_>) -> Option<T> {
    let mut keys = cx.keys(node, &T::describe())?;
    let value = T::read_keys(&mut keys, cx);
    let mut docs = Vec::new();
    T::field_docs(&mut docs);
    let known: Vec<String> = docs.into_iter().map(|doc| doc.name).collect();
    if cx.unknown_keys(&keys, &known) { None } else { value }
}

/// Reads the key `name` of a block; `default` is its value where it is absent, or `null`, which is the same. Once for each type
/// rather than each key.
#[inline(never)]
pub fn read_key<T: Setting>(
    keys: &mut Keys<'_>,
    cx: &mut Reader<'_>,
    name: &str,
    default: Option<fn() -> T>,
) -> Option<T> {
    let entry = keys.take(name);
    if entry.is_none_or(|entry| entry.value.is_null())
        && let Some(value) = default.map(|default| default()).or_else(T::absent)
    {
        return Some(value);
    }
    match entry {
        Some(entry) => cx.under(entry, |cx| T::read(&entry.value, cx)),
        None => {
            missing_key(keys.span(), cx, name, &T::describe());
            None
        }
    }
}

fn missing_key(span: Span, cx: &mut Reader<'_>, name: &str, what: &str) {
    let message = format!("missing key `{name}`{}", cx.place());
    let span = cx.opened_at(span);
    let diagnostic = cx.error(span, message).help(format!("`{name}` is {what}"));
    diagnostic.missing = Some(name.to_owned());
}

/// Words of a doc comment: lines joined, paragraphs kept.
#[inline(never)]
pub fn doc_text(lines: &[&str]) -> String {
    let mut out = String::new();
    for line in lines {
        let line = line.trim();
        if line.is_empty() {
            if !out.is_empty() && !out.ends_with("\n\n") {
                out.push_str("\n\n");
            }
        } else {
            if !out.is_empty() && !out.ends_with('\n') {
                out.push(' ');
            }
            out.push_str(line);
        }
    }
    out.trim_end().to_owned()
}

/// A free-form value.
impl Setting for Value {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        Some(match &node.kind {
            NodeKind::Null => Value::Null,
            NodeKind::Bool(value) => Value::Bool(*value),
            NodeKind::Int(_) | NodeKind::Float(_) => match number(&node.kind, &node.text) {
                Some(number) => Value::Number(number),
                None => {
                    cx.expected(node, "a finite number");
                    return None;
                }
            },
            NodeKind::Str(text) => Value::String(text.clone()),
            NodeKind::Seq(items) => {
                let mut list = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    list.push(cx.element(index, item, |cx| Value::read(item, cx)));
                }
                Value::Array(list.into_iter().collect::<Option<_>>()?)
            }
            NodeKind::Map(entries) => {
                let mut map = Vec::with_capacity(entries.len());
                for entry in entries {
                    map.push(cx.under(entry, |cx| Value::read(&entry.value, cx)).map(|v| (entry.key.clone(), v)));
                }
                Value::Object(map.into_iter().collect::<Option<_>>()?)
            }
        })
    }

    fn schema(_: &mut SchemaBuilder) -> Value {
        json!({})
    }

    fn describe() -> String {
        "any value".into()
    }

    fn default_text(&self) -> Option<String> {
        Some(self.to_string())
    }

    fn default_json(&self) -> Option<Value> {
        Some(self.clone())
    }
}

/// A number in its own spelling where JSON has that spelling.
fn number(kind: &NodeKind, text: &str) -> Option<serde_json::Number> {
    if let Ok(number) = serde_json::from_str(text) {
        return Some(number);
    }
    match kind {
        NodeKind::Int(value) => serde_json::from_str(&value.to_string()).ok(),
        NodeKind::Float(value) => serde_json::Number::from_f64(*value),
        _ => None,
    }
}

impl SchemaBuilder {
    /// The schema of a block.
    pub fn block<T: Settings>(&mut self) -> Value {
        self.define::<T>(T::NAME, |g| {
            let mut properties = Properties::default();
            T::properties(g, &mut properties);
            properties.into_schema(&T::about())
        })
    }
}
