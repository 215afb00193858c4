//! What a transform makes of one event alone, and where two events differ: how explanations are found out without a word in the code
//! that does the work.

use super::transform::{Delta, Emitter, Transform};
use crate::ack::Ack;
use crate::condition::shortened;
use crate::event::{Batch, EventRef, JsonRows, Slab};
use serde_json::{Map, Value};

/// What a transform makes of one event alone.
pub(crate) struct Tried {
    /// What stays.
    pub(crate) batch: Batch,
    /// What it counts.
    pub(crate) delta: Delta,
}

/// The event in a batch of its own.
pub(crate) fn alone(event: EventRef<'_>) -> Batch {
    let mut alone = event.batch().snapshot();
    for row in 0..alone.rows() {
        if row != event.row() {
            alone.drop_row(row);
        }
    }
    alone
}

/// Applies a transform to a batch that nobody else has; what it puts out by name is gone.
pub(crate) fn tried(transform: &mut dyn Transform, mut batch: Batch) -> Tried {
    let (mut delta, mut json) = (Delta::default(), Vec::new());
    let now = batch.received_at;
    let mut emitter = Emitter::new("explain", true, &mut delta, &mut json);
    emitter.rejected_at = Some(now);
    transform.apply(&mut batch, &mut emitter);
    Tried { batch, delta }
}

/// An event as JSON; null where it is none.
pub(crate) fn value_of_event(event: EventRef<'_>) -> Value {
    let mut json = Vec::new();
    event.write_json(&mut json);
    serde_json::from_slice(&json).unwrap_or_default()
}

/// The first live event of a batch as JSON.
pub(crate) fn value_of_batch(batch: &Batch) -> Option<Value> {
    batch.iter().next().map(value_of_event)
}

/// A batch of one event with these fields, of where `like` is from.
pub(crate) fn batch_of(fields: Map<String, Value>, like: EventRef<'_>) -> Option<Batch> {
    let text = Value::Object(fields).to_string().into_bytes();
    let end = text.len();
    let from = like.batch();
    let mut batch = Batch::new(Slab::from_vec(text), from.origin.clone(), from.received_at, Ack::none());
    JsonRows::default().push(&mut batch, 0, end, like.offset()).ok()?;
    batch.event_mut(0).set_kind(like.kind());
    Some(batch)
}

/// A step into a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Key(String),
    Place(usize),
}

/// A place at which two values differ.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Change {
    /// The way to it.
    pub(crate) steps: Vec<Step>,
    /// What was there.
    pub(crate) before: Option<Value>,
    /// What is there.
    pub(crate) after: Option<Value>,
}

impl Change {
    /// As a path is written.
    pub(crate) fn place(&self) -> String {
        let mut out = String::new();
        for step in &self.steps {
            match step {
                Step::Place(n) => out.push_str(&format!("[{n}]")),
                Step::Key(key) => {
                    out.push_str(if out.is_empty() { "" } else { "." });
                    out.push_str(key);
                }
            }
        }
        out
    }

    /// The new value as it is shown.
    pub(crate) fn shown(&self) -> Option<String> {
        self.after.as_ref().map(|value| shortened(&value.to_string()))
    }
}

/// Where two values differ, as far in as it can be told.
pub(crate) fn changes(before: &Value, after: &Value) -> Vec<Change> {
    let mut out = Vec::new();
    walk(&mut Vec::new(), Some(before), Some(after), &mut out);
    out
}

fn walk(steps: &mut Vec<Step>, before: Option<&Value>, after: Option<&Value>, out: &mut Vec<Change>) {
    if before == after {
        return;
    }
    let mut step = |step: Step, before: Option<&Value>, after: Option<&Value>| {
        steps.push(step);
        walk(steps, before, after, out);
        steps.pop();
    };
    match (before, after) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            old.iter().for_each(|(key, value)| step(Step::Key(key.clone()), Some(value), new.get(key)));
            let added = new.iter().filter(|(key, _)| !old.contains_key(*key));
            added.for_each(|(key, value)| step(Step::Key(key.clone()), None, Some(value)));
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) if old.len() == new.len() => {
            let pairs = old.iter().zip(new).enumerate();
            pairs.for_each(|(n, (old, new))| step(Step::Place(n), Some(old), Some(new)));
        }
        _ => out.push(Change { steps: steps.clone(), before: before.cloned(), after: after.cloned() }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn changes_are_told_as_far_in_as_they_are() {
        let value = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let before = value(r#"{"a":1,"b":{"c":[1,{"d":"x"}],"e":1},"g":1.0}"#);
        let after = value(r#"{"a":1,"b":{"c":[1,{"d":"y"}]},"f":true,"g":1.0}"#);
        let found: Vec<_> = changes(&before, &after).into_iter().map(|c| (c.place(), c.shown())).collect();
        assert_eq!(
            found,
            [
                ("b.c[1].d".to_owned(), Some("\"y\"".to_owned())),
                ("b.e".to_owned(), None),
                ("f".to_owned(), Some("true".to_owned()))
            ]
        );
    }
}
