//! Field paths as settings.

use serde_json::{Value, json};

use crate::settings::{Node, Reader, SchemaBuilder, Setting, read_string};

use super::{FieldPath, Meta};

impl Setting for FieldPath {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let text = read_string(node, cx, &Self::describe())?;
        match FieldPath::parse(text) {
            Ok(path) => {
                cx.asks(Meta::names_in([&path]));
                Some(path)
            }
            Err(error) => {
                let message = format!("{}: {error}", cx.subject());
                let at = error.at.min(text.len());
                let end = text[at..].chars().next().map_or(at, |c| at + c.len_utf8());
                cx.error_in(node, at..end, message);
                None
            }
        }
    }

    fn schema(_: &mut SchemaBuilder) -> Value {
        json!({"type": "string", "minLength": 1})
    }

    fn describe() -> String {
        "a field path such as `a.b[0]`".into()
    }

    fn default_text(&self) -> Option<String> {
        Some(self.to_string())
    }

    fn accepts(node: &Node) -> bool {
        node.as_str().is_some()
    }
}
