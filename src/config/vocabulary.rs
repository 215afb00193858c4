//! Settings in the words of the event model: field paths, time zones.

use serde_json::{Value, json};

use super::node::Node;
use super::reader::Reader;
use super::scalars::read_string;
use super::schema::SchemaBuilder;
use super::setting::Setting;
use crate::event::FieldPath;
use crate::time::Zone;

impl Setting for FieldPath {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let text = read_string(node, cx, &Self::describe())?;
        match FieldPath::parse(text) {
            Ok(path) => {
                cx.asks([&path]);
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

impl Setting for Zone {
    fn read(node: &Node, cx: &mut Reader<'_>) -> Option<Self> {
        let text = read_string(node, cx, &Self::describe())?;
        match Zone::parse(text) {
            Ok(zone) => Some(zone),
            Err(_) => {
                let names: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
                cx.expected(node, &Self::describe()).suggest(text, names.iter().map(String::as_str));
                None
            }
        }
    }

    fn schema(_: &mut SchemaBuilder) -> Value {
        json!({"type": "string"})
    }

    fn describe() -> String {
        "a time zone such as `Europe/Berlin`, `UTC`, `local` or `+02:00`".into()
    }

    fn default_text(&self) -> Option<String> {
        (*self == Zone::UTC).then(|| "UTC".to_owned())
    }

    fn accepts(node: &Node) -> bool {
        node.as_str().is_some()
    }
}
