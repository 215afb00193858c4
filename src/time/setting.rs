//! Time zones as settings.

use serde_json::{Value, json};

use crate::settings::{Node, Reader, SchemaBuilder, Setting, read_string};

use super::Zone;

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
