//! Whether values are the same, and how they differ, a line each.

use serde_json::{Map, Value};

/// Whether two values say the same: numbers by value, whatever their spelling; members in any order.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => decimal(&a.to_string()) == decimal(&b.to_string()),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}

/// A number in one spelling: sign, digits without zeros at either end, exponent. Exact, however long it is.
fn decimal(text: &str) -> (bool, String, i128) {
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], text[at + 1..].trim_start_matches('+').parse::<i64>()),
        None => (text, Ok(0)),
    };
    // An exponent past 64 bits is a number of its own.
    let Ok(exponent) = exponent else { return (false, text.to_owned(), 0) };
    let negative = mantissa.starts_with('-');
    let (whole, fraction) =
        mantissa.trim_start_matches('-').split_once('.').unwrap_or((mantissa.trim_start_matches('-'), ""));
    let digits = format!("{whole}{fraction}");
    let bare = digits.trim_start_matches('0');
    let short = bare.trim_end_matches('0');
    if short.is_empty() {
        return (false, "0".to_owned(), 0);
    }
    let exponent = i128::from(exponent) - fraction.len() as i128 + (bare.len() - short.len()) as i128;
    (negative, short.to_owned(), exponent)
}

/// What is wanted, written as what is there where both are the same, its members in the same order: so that a difference shows
/// nothing but differences.
pub(super) fn aligned(want: &Value, is: &Value) -> Value {
    match (want, is) {
        (want, is) if same(want, is) => is.clone(),
        (Value::Object(want), Value::Object(is)) => {
            let mut out = Map::new();
            for (key, value) in is {
                if let Some(want) = want.get(key) {
                    out.insert(key.clone(), aligned(want, value));
                }
            }
            out.extend(want.iter().filter(|(key, _)| !is.contains_key(*key)).map(|(k, v)| (k.clone(), v.clone())));
            Value::Object(out)
        }
        (Value::Array(want), Value::Array(is)) => {
            let each = |(n, want): (usize, &Value)| is.get(n).map_or_else(|| want.clone(), |is| aligned(want, is));
            Value::Array(want.iter().enumerate().map(each).collect())
        }
        (want, _) => want.clone(),
    }
}

/// Of several objects the one with the most members that are as wanted.
pub(super) fn nearest<'v>(want: &Value, values: &'v [Value]) -> Option<&'v Value> {
    let alike = |value: &Value| {
        let members = want.as_object().into_iter().flatten();
        members.filter(|(key, want)| value.get(key.as_str()).is_some_and(|is| same(want, is))).count()
    };
    values.iter().rev().max_by_key(|value| alike(value))
}

/// A value on several lines, with a line end.
pub(super) fn pretty(value: &Value) -> String {
    format!("{}\n", serde_json::to_string_pretty(value).unwrap_or_default())
}

/// The lines that differ, with some around them; `-` is the first text, `+` the second.
pub(super) fn text_diff(before: &str, after: &str) -> String {
    let diff = similar::TextDiff::from_lines(before, after);
    let text = diff.unified_diff().context_radius(2).missing_newline_hint(false).to_string();
    text.lines().filter(|line| !line.starts_with("@@")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn value(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn numbers_are_the_same_by_value() {
        for (a, b, is) in [
            ("3.5", "3.50", true),
            ("1", "1.0", true),
            ("1e3", "1000", true),
            ("-0", "0", true),
            ("0.1", "1E-1", true),
            ("12345678901234567890123", "12345678901234567890123.0", true),
            ("12345678901234567890123", "12345678901234567890124", false),
            ("1", "-1", false),
            ("10", "1", false),
            ("1", "\"1\"", false),
            (r#"{"a":[1,{"b":2.0}],"c":3}"#, r#"{"c":3.0,"a":[1,{"b":2}]}"#, true),
            (r#"{"a":1}"#, r#"{"a":1,"b":1}"#, false),
        ] {
            assert_eq!((same(&value(a), &value(b)), same(&value(b), &value(a))), (is, is), "{a} {b}");
        }
    }

    #[test]
    fn a_difference_shows_nothing_but_what_differs() {
        let (want, is) = (value(r#"{"n":1.0,"level":"WARN","x":1}"#), value(r#"{"level":"INFO","n":1,"y":2}"#));
        let diff = text_diff(&pretty(&aligned(&want, &is)), &pretty(&is));
        assert_eq!(
            diff,
            " {\n-  \"level\": \"WARN\",\n+  \"level\": \"INFO\",\n   \"n\": 1,\n-  \"x\": 1\n+  \"y\": 2\n }"
        );
        let others = [value(r#"{"n":2}"#), value(r#"{"n":1,"x":1}"#), value(r#"{"x":1}"#)];
        assert_eq!(nearest(&want, &others), Some(&others[1]));
        assert_eq!(nearest(&want, &[]), None);
    }
}
