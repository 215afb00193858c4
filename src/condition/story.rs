//! Why a condition holds for one event, or does not: its value, the part that settled it, and the values in it. For `explain`.

use super::ast::{Expr, ExprKind};
use super::{Condition, Outcome, parser};
use crate::event::{EventRef, FieldPath};

/// Longest value that is shown, in characters.
const MAX_VALUE: usize = 200;

/// What a condition says of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Story {
    /// Its value.
    pub outcome: Outcome,
    /// The part of it that settled the value; the whole where no single part did.
    pub part: String,
    /// The fields and metadata in that part, each with its value as JSON; `None` where the event has none.
    pub values: Vec<(String, Option<String>)>,
}

impl Story {
    /// In words, beginning with the condition `text`.
    pub fn words(&self, text: &str) -> String {
        let mut out = match self.outcome {
            Outcome::True => format!("`{text}` is true"),
            Outcome::False => format!("`{text}` is false"),
            Outcome::Fault(fault) => format!("`{text}` cannot be told ({}) and counts as false", fault.kind()),
        };
        if self.part != text {
            out.push_str(&format!(" by `{}`", self.part));
        }
        let value = |(path, value): &(String, Option<String>)| match value {
            Some(value) => format!("`{path}` is {value}"),
            None => format!("there is no `{path}`"),
        };
        if !self.values.is_empty() {
            out.push_str(": ");
            out.push_str(&self.values.iter().map(value).collect::<Vec<_>>().join(", "));
        }
        out
    }
}

impl Condition {
    /// Evaluates it for an event, and tells why it comes out so. Slow: it is read anew.
    pub fn story(&self, event: EventRef<'_>) -> Story {
        let outcome = outcome_of(self.text(), event).unwrap_or(Outcome::False);
        let mut part = self.text().to_owned();
        // One step further in as long as one operand settles the whole.
        while let Some(inner) = settling(&part, event) {
            part = inner;
        }
        let paths = Condition::parse(&part).map(|c| c.paths().to_vec()).unwrap_or_default();
        let values = paths.iter().map(|path| (path.text().to_owned(), value_of(event, path))).collect();
        Story { outcome, part, values }
    }
}

fn outcome_of(text: &str, event: EventRef<'_>) -> Option<Outcome> {
    Some(Condition::parse(text).ok()?.evaluate(event))
}

/// The one operand of `&&` or `||` that settles a text's value.
fn settling(text: &str, event: EventRef<'_>) -> Option<String> {
    let whole = outcome_of(text, event)?;
    let (operands, settled): (Vec<Expr>, fn(Outcome) -> bool) = match (parser::parse(text).ok()?.kind, whole) {
        (ExprKind::And(all), Outcome::False) => (all, |o| o == Outcome::False),
        (ExprKind::Or(all), Outcome::True) => (all, |o| o == Outcome::True),
        (ExprKind::And(all) | ExprKind::Or(all), Outcome::Fault(_)) => (all, |o| matches!(o, Outcome::Fault(_))),
        _ => return None,
    };
    let texts = operands.iter().filter_map(|operand| text.get(operand.span.clone()));
    texts.filter(|part| *part != text).find(|part| outcome_of(part, event).is_some_and(settled)).map(str::to_owned)
}

/// A value as JSON, cut off where it is long.
pub fn value_of(event: EventRef<'_>, path: &FieldPath) -> Option<String> {
    let mut json = Vec::new();
    event.get(path)?.append_json(&mut json);
    Some(shortened(&String::from_utf8_lossy(&json)))
}

/// A text, cut off where it is long.
pub fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_VALUE) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::ack::Ack;
    use crate::event::{Batch, JsonRows, Origin, Slab};

    fn words(condition: &str, json: &str) -> String {
        let text = json.as_bytes().to_vec();
        let end = text.len();
        let mut batch = Batch::new(Slab::from_vec(text), Origin::of_source("s"), 0, Ack::none());
        JsonRows::default().push(&mut batch, 0, end, 0).unwrap();
        Condition::parse(condition).unwrap().story(batch.event(0)).words(condition)
    }

    #[test]
    fn the_part_that_settles_a_condition_is_told_with_its_values() {
        assert_eq!(words("a > 1", r#"{"a":3.50}"#), "`a > 1` is true: `a` is 3.50");
        assert_eq!(
            words(r#"a > 1 && (b == "x" || c)"#, r#"{"a":3,"b":"y","c":false}"#),
            r#"`a > 1 && (b == "x" || c)` is false by `(b == "x" || c)`: `b` is "y", `c` is false"#
        );
        assert_eq!(
            words(r#"a > 5 || b == "y""#, r#"{"a":3,"b":"y"}"#),
            r#"`a > 5 || b == "y"` is true by `b == "y"`: `b` is "y""#
        );
        assert_eq!(
            words("a > 1 && b > 1", r#"{"a":3}"#),
            "`a > 1 && b > 1` cannot be told (condition_absent) and counts as false by `b > 1`: there is no `b`"
        );
        assert_eq!(words(r#"@source == "s""#, "{}"), r#"`@source == "s"` is true: `@source` is "s""#);
    }
}
