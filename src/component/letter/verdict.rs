//! What `validate` wrote into an event that it rejected, taken off again: replayed, it is the event that came.

use crate::event::Segment;
use crate::event::json::{self, Children};

/// The event without the errors that its letter is about, which are the last ones in `quality.errors`; `detail` has their
/// words. Other bytes stay as they are.
pub(super) fn without(event: Vec<u8>, detail: &str) -> Vec<u8> {
    let quality = [Segment::Key("quality".into())];
    let errors = [quality[0].clone(), Segment::Key("errors".into())];
    let Some(list) = json::get(&event, &errors) else { return event };
    let items: Vec<&[u8]> = Children::new(list).map(|child| &list[child.value.0..child.value.1]).collect();
    let words = |item: &[u8]| {
        let message = serde_json::from_slice::<serde_json::Value>(item).ok()?;
        Some(message.get("message")?.as_str()?.to_owned())
    };
    let of_letter = |n: &usize| {
        let said: Option<Vec<String>> = items[items.len() - n..].iter().map(|item| words(item)).collect();
        said.is_some_and(|said| said.join("; ") == detail)
    };
    let Some(n) = (1..=items.len()).find(of_letter) else { return event };
    let mut out = Vec::with_capacity(event.len());
    let earlier = &items[..items.len() - n];
    if earlier.is_empty() {
        json::remove(&event, &errors, &mut out);
        if json::get(&out, &quality) == Some(b"{}") {
            let with_empty = std::mem::take(&mut out);
            json::remove(&with_empty, &quality, &mut out);
        }
    } else {
        json::set(&event, &errors, &[b"[", &*earlier.join(&b","[..]), b"]"].concat(), &mut out);
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_the_errors_of_the_letter_are_taken_off() {
        let (a, b) = (r#"{"rule":"r","message":"a; b"}"#, r#"{"rule":"s","message":"c"}"#);
        for (event, detail, want) in [
            (format!(r#"{{"n":1.10,"quality":{{"errors":[{a}]}}}}"#), "a; b", r#"{"n":1.10}"#.to_owned()),
            (format!(r#"{{"quality":{{"errors":[{a},{b}]}},"n":1}}"#), "a; b; c", r#"{"n":1}"#.to_owned()),
            (format!(r#"{{"quality":{{"errors":[{a},{b}]}}}}"#), "c", format!(r#"{{"quality":{{"errors":[{a}]}}}}"#)),
            (
                format!(r#"{{"quality":{{"errors":[{b}],"warnings":[1]}}}}"#),
                "c",
                r#"{"quality":{"warnings":[1]}}"#.to_owned(),
            ),
            (format!(r#"{{"quality":{{"errors":[{b}]}}}}"#), "d", format!(r#"{{"quality":{{"errors":[{b}]}}}}"#)),
            (r#"{"quality":3}"#.to_owned(), "d", r#"{"quality":3}"#.to_owned()),
        ] {
            let got = without(event.clone().into_bytes(), detail);
            assert_eq!(String::from_utf8(got).unwrap(), want, "{event}");
        }
    }
}
