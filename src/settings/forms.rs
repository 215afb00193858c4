//! What the macros call: words, choices, tagged blocks, and the docs and schemas of keys.

use serde_json::{Value, json};

use super::node::Node;
use super::reader::Reader;
use super::schema::{Properties, SchemaBuilder};
use super::setting::{FieldDoc, Setting, Settings, doc_text};

/// The key a field stands for: `r#type` is `type`.
pub fn key_name(field: &str) -> &str {
    field.trim_start_matches("r#")
}

/// The documentation of one key.
#[inline(never)]
pub fn field_doc<T: Setting>(field: &str, about: &[&str], default: Option<&T>) -> FieldDoc {
    FieldDoc {
        name: key_name(field).to_owned(),
        about: doc_text(about),
        kind: T::describe(),
        default: default.and_then(T::default_text),
        required: default.is_none() && T::absent().is_none(),
        words: T::words(),
        nested: T::fields,
    }
}

/// Adds the schema of one key.
#[inline(never)]
pub fn field_schema<T: Setting>(
    g: &mut SchemaBuilder,
    out: &mut Properties,
    field: &str,
    about: &[&str],
    default: Option<&T>,
) {
    let schema = T::schema(g);
    let required = default.is_none() && T::absent().is_none();
    out.add(key_name(field), schema, &doc_text(about), default.and_then(T::default_json), required);
}

/// "`a`, `b` or `c`".
pub fn words_in_words(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// Of very many words a message lists so many.
const MAX_LISTED: usize = 20;

/// Notes that a value is none of the words.
pub fn not_a_word(node: &Node, cx: &mut Reader<'_>, words: &[&str]) {
    let text = node.scalar_text().unwrap_or_default();
    let listed = match words.get(..MAX_LISTED).filter(|_| words.len() > 2 * MAX_LISTED) {
        Some(first) => {
            let first: Vec<String> = first.iter().map(|word| format!("`{word}`")).collect();
            format!("{} or one of {} more (the reference lists them)", first.join(", "), words.len() - MAX_LISTED)
        }
        None => words_in_words(words),
    };
    // `encoding: {codec: json}` of others.
    let inner = match node.as_map() {
        Some([entry]) => entry.value.scalar_text().filter(|inner| words.contains(inner)),
        _ => None,
    };
    let diagnostic = cx.expected(node, &listed).suggest(text, words.iter().copied());
    if let Some(word) = inner {
        diagnostic.help(format!("write the word alone: {word}"));
    }
}

/// Notes that a value has none of the shapes that a setting may have.
pub fn no_form(node: &Node, cx: &mut Reader<'_>, forms: &str) {
    let words: Vec<&str> = forms.split('`').skip(1).step_by(2).collect();
    let text = node.scalar_text().unwrap_or_default();
    cx.expected(node, forms).suggest(text, words);
}

/// A schema of words, each with its description.
pub fn words_schema(words: &[(&str, &[&str])]) -> Value {
    let about: Vec<String> = words.iter().map(|(_, doc)| doc_text(doc)).collect();
    let list: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    match about.iter().all(String::is_empty) {
        true => json!({"type": "string", "enum": list}),
        false => json!({"type": "string", "enum": list, "markdownEnumDescriptions": about}),
    }
}

/// Which word or single key stands there, and the value under that key. Words are `(word, has a value)`.
pub fn chosen<'n>(
    node: &'n Node,
    cx: &mut Reader<'_>,
    words: &[(&'static str, bool)],
) -> Option<(&'static str, Option<&'n super::node::Entry>)> {
    let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    if let Some(text) = node.scalar_text() {
        let found = words.iter().find(|(word, _)| *word == text);
        match found {
            Some(_) => {}
            // No word alone will do.
            None if words.iter().all(|(_, has_value)| *has_value) => {
                let first = names.first().copied().unwrap_or_default();
                let help = format!("write a mapping such as {{{first}: {{…}}}}");
                cx.expected(node, &words_in_words(&names)).help(help);
            }
            None => not_a_word(node, cx, &names),
        }
        return found.map(|(word, _)| (*word, None));
    }
    let Some(entries) = node.as_map() else {
        cx.expected(node, &words_in_words(&names));
        return None;
    };
    // `encoding: {codec: json}` of others.
    if let [entry] = entries
        && let Some(word) = entry.value.scalar_text().filter(|word| names.contains(word))
        && !names.contains(&entry.key.as_str())
    {
        let message = format!("unknown key `{}`{}", entry.key, cx.place());
        cx.error(entry.key_span, message).help(format!("write the word alone: {word}"));
        return None;
    }
    let mut known = None;
    let mut fine = true;
    for entry in entries {
        match words.iter().find(|(word, _)| *word == entry.key) {
            Some((word, has_value)) => {
                if !has_value && !entry.value.is_null() {
                    let message = format!("`{word}` has no settings{}", cx.place());
                    cx.error(entry.key_span, message).help(format!("write the bare word: {word}"));
                    fine = false;
                } else if let Some((first, _)) = known {
                    let message = format!("`{first}` and `{word}` exclude each other{}", cx.place());
                    cx.error(entry.key_span, message);
                    fine = false;
                } else {
                    known = Some((*word, Some(entry)));
                }
            }
            None => {
                let message = format!("unknown key `{}`{}", entry.key, cx.place());
                let near = super::diagnostic::nearest(&entry.key, names.iter().copied());
                cx.hide_unknown(entry, near);
                let help = match near {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("one of {}", words_in_words(&names)),
                };
                cx.error(entry.key_span, message).help(help);
                fine = false;
            }
        }
    }
    if known.is_none() && fine {
        cx.expected(node, &words_in_words(&names));
    }
    known.filter(|_| fine)
}

/// Reads the value of a chosen key; a bare word stands for a value with nothing set.
#[inline(never)]
pub fn read_chosen<T: Setting>(entry: Option<&super::node::Entry>, cx: &mut Reader<'_>, word: &str) -> Option<T> {
    match entry {
        Some(entry)
            if entry.value.is_null() && T::absent().is_none() && T::accepts(&Node::empty_map(entry.value.span)) =>
        {
            cx.under(entry, |cx| T::read(&Node::empty_map(entry.value.span), cx))
        }
        Some(entry) => cx.under(entry, |cx| T::read(&entry.value, cx)),
        None => {
            if let Some(value) = T::absent() {
                return Some(value);
            }
            let (span, place) = (cx.opened_at(super::source_map::Span::default()), cx.subject());
            let empty = Node::empty_map(span);
            if !T::accepts(&empty) {
                let message = format!("`{word}` needs a value for {place}");
                cx.error(span, message).help(format!("write {{{word}: …}}, {}", T::describe()));
                return None;
            }
            T::read(&empty, cx)
        }
    }
}

/// The forms of a choice.
#[derive(Debug, Default)]
pub struct ChoiceSchema {
    words: Vec<(String, String)>,
    forms: Vec<Value>,
}

impl ChoiceSchema {
    /// A word without settings.
    pub fn word(&mut self, word: &str, about: &[&str]) {
        self.words.push((word.to_owned(), doc_text(about)));
    }

    /// A key with a value; a bare word as well where it needs nothing.
    pub fn value<T: Setting>(&mut self, g: &mut SchemaBuilder, word: &str, about: &[&str]) {
        let about = doc_text(about);
        let mut properties = Properties::default();
        let bare = T::fields().iter().all(|field| !field.required) && T::accepts(&Node::empty_map(Default::default()));
        if bare {
            self.words.push((word.to_owned(), about.clone()));
        }
        let schema = T::schema(g);
        properties.add(word, schema, &about, None, true);
        self.forms.push(properties.into_schema(""));
    }

    /// All forms together.
    pub fn into_schema(self, g: &mut SchemaBuilder) -> Value {
        let mut forms = Vec::new();
        if !self.words.is_empty() {
            let words: Vec<(&str, [&str; 1])> =
                self.words.iter().map(|(word, about)| (word.as_str(), [about.as_str()])).collect();
            let words: Vec<(&str, &[&str])> = words.iter().map(|(word, about)| (*word, about.as_slice())).collect();
            let words = words_schema(&words);
            forms.push(g.interpolated(words));
        }
        forms.extend(self.forms);
        json!({"anyOf": forms})
    }
}

/// The `type` of a tagged block.
pub fn tag(node: &Node, cx: &mut Reader<'_>, words: &[&'static str]) -> Option<&'static str> {
    if node.as_map().is_none() {
        cx.expected(node, &format!("a mapping whose `type` is {}", words_in_words(words)));
        return None;
    }
    let Some(entry) = node.entry("type") else {
        let message = format!("missing key `type`{}", cx.place());
        let span = cx.block_span(node);
        cx.error(span, message).help(format!("`type` is {}", words_in_words(words)));
        return None;
    };
    let text = entry.value.scalar_text();
    let found = words.iter().find(|word| Some(**word) == text).copied();
    if found.is_none() {
        cx.under(entry, |cx| not_a_word(&entry.value, cx, words));
    }
    found
}

/// Reads a tagged block apart from its `type`.
pub fn read_tagged<T: Settings>(node: &Node, cx: &mut Reader<'_>) -> Option<T> {
    let mut keys = cx.keys(node, &T::describe())?;
    keys.take("type");
    let value = T::read_keys(&mut keys, cx);
    let mut known: Vec<String> = T::fields().into_iter().map(|doc| doc.name).collect();
    known.push("type".into());
    if cx.unknown_keys(&keys, &known) { None } else { value }
}

/// The schema of one form of a tagged block: its word and its object.
pub fn tagged_schema<T: Settings>(g: &mut SchemaBuilder, word: &str, about: &[&str]) -> (String, Value) {
    let mut properties = Properties::default();
    let about = doc_text(about);
    properties.add("type", json!({"const": word}), &about, None, true);
    T::properties(g, &mut properties);
    (word.to_owned(), properties.into_schema(&about))
}

/// A schema that picks one of several objects by their `type`, so that editors complain about, and complete, that one only.
pub fn by_type_schema(about: &str, forms: Vec<(String, Value)>) -> Value {
    let words: Vec<&str> = forms.iter().map(|(word, _)| word.as_str()).collect();
    let meanings: Vec<&str> = forms
        .iter()
        .map(|(_, form)| form["description"].as_str().unwrap_or_default().lines().next().unwrap_or_default())
        .collect();
    let mut schema = json!({
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"type": "string", "enum": words, "markdownEnumDescriptions": meanings}},
    });
    let branches: Vec<Value> = forms
        .iter()
        .map(
            |(word, form)| json!({"if": {"properties": {"type": {"const": word}}, "required": ["type"]}, "then": form}),
        )
        .collect();
    if let Value::Object(map) = &mut schema {
        if !about.is_empty() {
            map.insert("description".into(), about.into());
        }
        if !branches.is_empty() {
            map.insert("allOf".into(), Value::Array(branches));
        }
    }
    schema
}

/// The keys of one form of a tagged block.
pub fn tagged_docs<T: Settings>(out: &mut Vec<FieldDoc>, word: &str, about: &[&str]) {
    out.push(FieldDoc {
        name: format!("type: {word}"),
        about: doc_text(about),
        kind: "a mapping".into(),
        default: None,
        required: false,
        words: Vec::new(),
        nested: T::fields,
    });
}
