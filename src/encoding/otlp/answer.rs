//! What the answer to an export says: whether something was rejected.

use crate::wire::protobuf::{Fields, Malformed};

/// What an answer of the OTLP endpoints says.
pub enum Exported {
    /// How many were rejected, and why.
    Rejected(u64, String),
    /// Some were, and how many cannot be read; its words.
    Unreadable(String),
    /// Counts by stream, as the other interfaces answer.
    Counts,
    /// A status of its own inside, and its words.
    Code(u16, String),
    /// It is no such answer.
    Foreign,
}

/// Reads the body of an `Export…ServiceResponse`, in protocol buffers or JSON, whatever its content type says.
pub fn exported(body: &[u8]) -> Exported {
    match body.trim_ascii_start().first() {
        Some(b'{') => serde_json::from_slice(body).map_or(Exported::Foreign, in_json),
        _ if body.trim_ascii() == b"null" => Exported::Rejected(0, String::new()),
        _ => partial_success(body).map_or(Exported::Foreign, |(n, words)| Exported::Rejected(n, words)),
    }
}

/// Reads an answer in JSON; each signal has its own word for what was rejected.
fn in_json(answer: serde_json::Map<String, serde_json::Value>) -> Exported {
    let words = |value: Option<&serde_json::Value>| value.and_then(|v| v.as_str()).unwrap_or_default().to_owned();
    let code = answer.get("code").map(|code| code.as_u64().and_then(|n| u16::try_from(n).ok()));
    if let Some(code) = code.flatten().filter(|code| !(200..300).contains(code)) {
        return Exported::Code(code, words(answer.get("message").or_else(|| answer.get("error"))));
    }
    if answer.get("error").is_some_and(|error| !error.is_null()) {
        return Exported::Foreign;
    }
    if answer.get("status").is_some_and(serde_json::Value::is_array) {
        return Exported::Counts;
    }
    match answer.get("partialSuccess").or_else(|| answer.get("partial_success")) {
        Some(serde_json::Value::Null) => Exported::Rejected(0, String::new()),
        Some(serde_json::Value::Object(partial)) => {
            let words = words(partial.get("errorMessage").or_else(|| partial.get("error_message")));
            match partial.iter().find(|(key, value)| key.starts_with("rejected") && !value.is_null()) {
                None => Exported::Rejected(0, words),
                Some((_, value)) => match rejected(value) {
                    Some(rejected) => Exported::Rejected(rejected, words),
                    None => Exported::Unreadable(format!("{value} {words}")),
                },
            }
        }
        Some(other) => Exported::Unreadable(other.to_string()),
        None if answer.is_empty() || code.flatten().is_some() => Exported::Rejected(0, String::new()),
        None => Exported::Foreign,
    }
}

/// A count: a number without fraction, or a text of digits.
fn rejected(value: &serde_json::Value) -> Option<u64> {
    let whole = |x: f64| (x >= 0.0 && x.fract() == 0.0 && x < 9e15).then_some(x as u64);
    value.as_u64().or_else(|| value.as_f64().and_then(whole)).or_else(|| value.as_str()?.trim().parse().ok())
}

/// The same in protocol buffers: how many were rejected, and why.
fn partial_success(body: &[u8]) -> Result<(u64, String), Malformed> {
    let mut partial = (0, String::new());
    for field in Fields::new(body) {
        let (1, message) = field? else { continue };
        for field in Fields::new(message.bytes()?) {
            match field? {
                (1, rejected) => partial.0 = rejected.u64()?,
                (2, words) => partial.1 = String::from_utf8_lossy(words.bytes()?).into_owned(),
                _ => {}
            }
        }
    }
    Ok(partial)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_answer_of_otlp_says_is_read_or_not_taken_for_success() {
        let said = |text: &str| match exported(text.as_bytes()) {
            Exported::Rejected(n, words) => format!("rejected {n} {words}"),
            Exported::Unreadable(words) => format!("unreadable {words}"),
            Exported::Counts => "counts".to_owned(),
            Exported::Code(code, words) => format!("code {code} {words}"),
            Exported::Foreign => "foreign".to_owned(),
        };
        for (answer, want) in [
            ("{}", "rejected 0 "),
            (r#"{"partialSuccess":null}"#, "rejected 0 "),
            (r#"{"partialSuccess":{}}"#, "rejected 0 "),
            (r#"{"partialSuccess":{"errorMessage":"slow down"}}"#, "rejected 0 slow down"),
            (r#"{"partialSuccess":{"rejectedLogRecords":"3","errorMessage":"old"}}"#, "rejected 3 old"),
            (r#"{"partialSuccess":{"rejectedSpans":3.0}}"#, "rejected 3 "),
            (r#"{"partial_success":{"rejected_data_points":3,"error_message":"old"}}"#, "rejected 3 old"),
            (r#"{"partialSuccess":{"rejectedLogRecords":"3 records"}}"#, "unreadable \"3 records\" "),
            (r#"{"partialSuccess":{"rejectedLogRecords":-1}}"#, "unreadable -1 "),
            (r#"{"partialSuccess":"all"}"#, "unreadable \"all\""),
            (r#"{"code":500,"message":"boom"}"#, "code 500 boom"),
            (r#"{"code":429,"error":"slow"}"#, "code 429 slow"),
            (r#"{"code":200,"message":"ok"}"#, "rejected 0 "),
            (r#"{"code":200,"status":[{"name":"a","successful":0,"failed":10}]}"#, "counts"),
            (r#"{"error":"disk full"}"#, "foreign"),
            (r#"{"hello":"world"}"#, "foreign"),
        ] {
            assert_eq!(said(answer), want, "{answer}");
        }
    }
}
