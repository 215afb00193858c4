//! Events as components of the embedding program see them.

use crate::event::{Batch, EventMut, EventRef, FieldPath, Value, json};
use serde_json::Value as Json;

/// Where a value stands in an event: `level`, `http.status`, `items[0]`; or metadata such as `@source`. Made once and kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field(FieldPath);

impl Field {
    /// Reads the path.
    ///
    /// Errors: what is wrong with it, in words.
    pub fn new(path: &str) -> Result<Field, String> {
        FieldPath::parse(path).map(Field).map_err(|e| format!("`{path}` is not the path of a field: {e}"))
    }
}

/// An event, to read.
#[derive(Clone, Copy)]
pub struct Event<'a>(pub(super) EventRef<'a>);

impl Event<'_> {
    /// The event as one JSON object, its fields in order, what nobody changed as it came.
    pub fn json(&self) -> String {
        let mut out = Vec::new();
        self.write_json(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    /// As [`json`](Event::json), appended to a buffer of one's own.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        self.0.write_json(out);
    }

    /// The value of a field; `None` where there is none.
    pub fn get(&self, field: &Field) -> Option<Json> {
        value_of(self.0, field)
    }
}

impl std::fmt::Debug for Event<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.json())
    }
}

fn value_of(event: EventRef<'_>, field: &Field) -> Option<Json> {
    let value = event.get(&field.0)?;
    let mut text = Vec::new();
    value.append_json(&mut text);
    serde_json::from_slice(&text).ok()
}

/// An event, to change.
pub struct EventChange<'a>(pub(super) EventMut<'a>);

impl EventChange<'_> {
    /// The event as it is now.
    pub fn event(&self) -> Event<'_> {
        Event(self.0.as_ref())
    }

    /// The value of a field; `None` where there is none.
    pub fn get(&self, field: &Field) -> Option<Json> {
        value_of(self.0.as_ref(), field)
    }

    /// Sets a field, and makes the objects that it stands in. `false`: something else stands in the way; nothing is changed.
    pub fn set(&mut self, field: &Field, value: impl Into<Json>) -> bool {
        match value.into() {
            Json::String(text) => self.0.set(&field.0, Value::from(text.as_bytes())),
            value => self.0.set(&field.0, json::value_of(value.to_string().as_bytes())),
        }
    }

    /// Takes a field away; whether it was there.
    pub fn remove(&mut self, field: &Field) -> bool {
        self.0.remove(&field.0)
    }
}

impl std::fmt::Debug for EventChange<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.event().fmt(f)
    }
}

/// Events that reached a sink together, in order.
#[derive(Clone, Copy)]
pub struct Events<'a>(pub(super) &'a Batch);

impl Events<'_> {
    /// How many there are; never 0.
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = Event<'_>> {
        self.0.iter().map(Event)
    }
}

impl std::fmt::Debug for Events<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
