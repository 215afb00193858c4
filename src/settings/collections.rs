//! Settings that hold others: lists, maps by name, optional values, values with their place.

use std::ops::{Deref, DerefMut};

use serde_json::{Value, json};

use super::node::{Node, NodeKind};
use super::reader::Reader;
use super::schema::SchemaBuilder;
use super::setting::{FieldDoc, Setting};
use super::source_map::Span;

impl<T: Setting> Setting for Option<T> {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        if node.is_null() { Some(None) } else { T::read(node, cx).map(Some) }
    }

    fn schema(g: &mut SchemaBuilder) -> Value {
        T::schema(g)
    }

    fn describe() -> String {
        T::describe()
    }

    fn default_text(&self) -> Option<String> {
        self.as_ref().and_then(T::default_text)
    }

    fn default_json(&self) -> Option<Value> {
        self.as_ref().and_then(T::default_json)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn accepts(node: &Node) -> bool {
        node.is_null() || T::accepts(node)
    }

    fn words() -> Vec<(&'static str, String)> {
        T::words()
    }

    fn fields() -> Vec<FieldDoc> {
        T::fields()
    }
}

impl<T: Setting> Setting for Box<T> {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        T::read(node, cx).map(Self::new)
    }

    fn schema(g: &mut SchemaBuilder) -> Value {
        T::schema(g)
    }

    fn describe() -> String {
        T::describe()
    }

    fn default_text(&self) -> Option<String> {
        T::default_text(self)
    }

    fn default_json(&self) -> Option<Value> {
        T::default_json(self)
    }

    fn accepts(node: &Node) -> bool {
        T::accepts(node)
    }

    fn words() -> Vec<(&'static str, String)> {
        T::words()
    }

    fn fields() -> Vec<FieldDoc> {
        T::fields()
    }
}

/// "list of strings": the words for one thing with the thing itself in the plural.
fn list_of(of: &str) -> String {
    for (one, many) in [
        ("a string", "strings"),
        ("a number", "numbers"),
        ("a mapping", "mappings"),
        ("a field path", "field paths"),
        ("a regular expression", "regular expressions"),
        ("a timestamp format", "timestamp formats"),
        ("a duration", "durations"),
        ("a path", "paths"),
        ("a list of ", "lists of "),
        ("the name of metadata:", "names of metadata:"),
        ("an address", "addresses"),
        ("a condition", "conditions"),
    ] {
        if let Some(rest) = of.strip_prefix(one) {
            return format!("a list of {many}{rest}");
        }
    }
    format!("a list of {of}")
}

impl<T: Setting> Setting for Vec<T> {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let items = match &node.kind {
            NodeKind::Seq(items) => items,
            _ if T::lone() && T::accepts(node) => return T::read(node, cx).map(|value| vec![value]),
            _ => {
                let lone = node.scalar_text().filter(|_| T::accepts(node) && !node.secret && !node.interpolated);
                let keys = node.as_map().filter(|map| map.iter().all(|entry| entry.value.scalar_text().is_some()));
                let keys =
                    keys.map(|map| map.iter().map(|entry| quoted_if_needed(&entry.key)).collect::<Vec<_>>().join(", "));
                let inside =
                    lone.map(|text| quoted_if_needed(text).to_string()).or(keys.filter(|keys| !keys.is_empty()));
                let help = inside.map(|text| format!("write a list: [{text}]"));
                cx.expected(node, &Self::describe()).helps.extend(help);
                return None;
            }
        };
        let read: Vec<Option<T>> =
            items.iter().enumerate().map(|(index, item)| cx.element(index, item, |cx| T::read(item, cx))).collect();
        read.into_iter().collect()
    }

    fn schema(g: &mut SchemaBuilder) -> Value {
        let items = T::schema(g);
        if T::lone() {
            json!({"anyOf": [{"type": "array", "items": items}, items]})
        } else {
            json!({"type": "array", "items": items})
        }
    }

    fn describe() -> String {
        list_of(&T::describe())
    }

    fn default_text(&self) -> Option<String> {
        let items: Option<Vec<_>> = self.iter().map(T::default_text).collect();
        items.map(|items| format!("[{}]", items.join(", ")))
    }

    fn default_json(&self) -> Option<Value> {
        self.iter().map(T::default_json).collect::<Option<_>>().map(Value::Array)
    }

    fn accepts(node: &Node) -> bool {
        matches!(node.kind, NodeKind::Seq(_)) || T::lone() && T::accepts(node)
    }

    fn words() -> Vec<(&'static str, String)> {
        T::words()
    }

    fn fields() -> Vec<FieldDoc> {
        T::fields()
    }
}

fn quoted_if_needed(text: &str) -> String {
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'));
    if plain { text.to_owned() } else { Value::String(text.to_owned()).to_string() }
}

/// One value or a list of them: `listen: udp://…` or `listen: [udp://…, tcp://…]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OneOrMany<T>(pub Vec<T>);

impl<T> Deref for OneOrMany<T> {
    type Target = Vec<T>;
    fn deref(&self) -> &Vec<T> {
        &self.0
    }
}

impl<T: Setting> Setting for OneOrMany<T> {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        if let NodeKind::Seq(_) = node.kind {
            Vec::read(node, cx).map(Self)
        } else {
            T::read(node, cx).map(|value| Self(vec![value]))
        }
    }

    fn schema(g: &mut SchemaBuilder) -> Value {
        let items = T::schema(g);
        json!({"anyOf": [items, {"type": "array", "items": items}]})
    }

    fn describe() -> String {
        format!("{}, or a list of such", T::describe())
    }

    fn default_text(&self) -> Option<String> {
        if let [one] = self.0.as_slice() { one.default_text() } else { self.0.default_text() }
    }

    fn default_json(&self) -> Option<Value> {
        if let [one] = self.0.as_slice() { one.default_json() } else { self.0.default_json() }
    }

    fn accepts(node: &Node) -> bool {
        matches!(node.kind, NodeKind::Seq(_)) || T::accepts(node)
    }

    fn words() -> Vec<(&'static str, String)> {
        T::words()
    }

    fn fields() -> Vec<FieldDoc> {
        T::fields()
    }
}

/// A value and where it stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Its place.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// A value at a place.
    pub fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }
}

impl<T> Deref for Spanned<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Setting> Setting for Spanned<T> {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        T::read(node, cx).map(|value| Self { value, span: node.span })
    }

    fn schema(g: &mut SchemaBuilder) -> Value {
        T::schema(g)
    }

    fn describe() -> String {
        T::describe()
    }

    fn default_text(&self) -> Option<String> {
        self.value.default_text()
    }

    fn default_json(&self) -> Option<Value> {
        self.value.default_json()
    }

    fn absent() -> Option<Self> {
        T::absent().map(|value| Self { value, span: Span::default() })
    }

    fn accepts(node: &Node) -> bool {
        T::accepts(node)
    }

    fn lone() -> bool {
        T::lone()
    }

    fn words() -> Vec<(&'static str, String)> {
        T::words()
    }

    fn fields() -> Vec<FieldDoc> {
        T::fields()
    }
}

/// Values by names that the user chooses, in written order; names are distinct.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map<T>(pub Vec<(Spanned<String>, T)>);

impl<T> Default for Map<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Deref for Map<T> {
    type Target = Vec<(Spanned<String>, T)>;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<T> DerefMut for Map<T> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl<T> Map<T> {
    /// The value under `name`.
    pub fn get(&self, name: &str) -> Option<&T> {
        self.0.iter().find(|(key, _)| key.value == name).map(|(_, value)| value)
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(key, _)| key.value.as_str())
    }
}

impl<T> IntoIterator for Map<T> {
    type Item = (Spanned<String>, T);
    type IntoIter = std::vec::IntoIter<Self::Item>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<T: Setting> Setting for Map<T> {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let NodeKind::Map(entries) = &node.kind else {
            cx.expected(node, &Self::describe());
            return None;
        };
        let read: Vec<Option<_>> = entries
            .iter()
            .map(|entry| {
                let value = cx.under(entry, |cx| T::read(&entry.value, cx))?;
                Some((Spanned::new(entry.key.clone(), entry.key_span), value))
            })
            .collect();
        read.into_iter().collect::<Option<_>>().map(Self)
    }

    fn schema(g: &mut SchemaBuilder) -> Value {
        json!({"type": "object", "additionalProperties": T::schema(g)})
    }

    fn describe() -> String {
        format!("a mapping of names, each to {}", T::describe())
    }

    fn default_text(&self) -> Option<String> {
        let entries: Option<Vec<_>> =
            self.0.iter().map(|(key, value)| Some(format!("{}: {}", key.value, value.default_text()?))).collect();
        entries.map(|entries| format!("{{{}}}", entries.join(", ")))
    }

    fn default_json(&self) -> Option<Value> {
        let entries: Option<serde_json::Map<_, _>> =
            self.0.iter().map(|(key, value)| Some((key.value.clone(), value.default_json()?))).collect();
        entries.map(Value::Object)
    }

    fn accepts(node: &Node) -> bool {
        matches!(node.kind, NodeKind::Map(_))
    }

    fn words() -> Vec<(&'static str, String)> {
        T::words()
    }

    fn fields() -> Vec<FieldDoc> {
        T::fields()
    }
}
