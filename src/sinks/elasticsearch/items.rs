//! The items of an answer to a bulk request, as far as they say what became of the documents: one status each, and the error
//! of those that have one.
//!
//! An answer has an item for each document, and nearly all of them say that all is well. So an answer that has nothing but
//! statuses, as the sink asks for it, is read as the text that it is; of any other the items are read straight from the answer's
//! bytes, and only errors are made values of. An answer of which that way cannot make sense (a status that is text) is read
//! once more as any JSON.

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use std::fmt;

/// What became of one document.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Item {
    /// HTTP status; 500 where there is none: an error of the server.
    pub(super) status: u16,
    error: Option<Box<Value>>,
}

impl Item {
    /// Type and reason of the error, with its cause; empty where it has none.
    pub(super) fn words(&self) -> (String, String) {
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        match self.error.as_deref() {
            None => (String::new(), String::new()),
            Some(error @ Value::Object(_)) => {
                let reason = match &error["caused_by"]["reason"] {
                    Value::String(cause) => format!("{} ({cause})", text(&error["reason"])),
                    _ => text(&error["reason"]),
                };
                (text(&error["type"]), reason)
            }
            Some(error) => ("error".to_owned(), text(error)),
        }
    }
}

/// The items of an answer in order; `None` where it is no answer to a bulk request.
pub(super) fn read(answer: &[u8]) -> Option<Vec<Item>> {
    if let Some(items) = read_statuses(answer) {
        return Some(items);
    }
    let mut from = serde_json::Deserializer::from_slice(answer);
    let items = ReadAnswer.deserialize(&mut from).and_then(|items| from.end().map(|()| items));
    items.ok().flatten().or_else(|| read_any(answer))
}

/// The items of `{"errors":false,"items":[{"index":{"status":201}},…]}`, without blanks; `None` where anything stands otherwise.
fn read_statuses(answer: &[u8]) -> Option<Vec<Item>> {
    let heads: [&[u8]; 2] = [br#"{"errors":false,"items":["#, br#"{"items":["#];
    let rest = heads.iter().find_map(|head| answer.strip_prefix(*head))?;
    let mut rest = rest.strip_suffix(b"]}")?;
    let mut items = Vec::with_capacity(rest.len() / br#"{"index":{"status":201}},"#.len() + 1);
    loop {
        let (name, status): (usize, &[u8; 12]) = match rest.get(..3)? {
            br#"{"i"# => (rest.strip_prefix(br#"{"index"#)?.len(), br#"":{"status":"#),
            br#"{"c"# => (rest.strip_prefix(br#"{"create"#)?.len(), br#"":{"status":"#),
            _ => return None,
        };
        let (digits, behind) = rest[rest.len() - name..].strip_prefix(status)?.split_first_chunk::<3>()?;
        let digit = |c: u8| c.is_ascii_digit().then(|| u16::from(c - b'0'));
        let [hundreds, tens, ones] = *digits;
        let status = digit(hundreds).filter(|n| *n > 0)? * 100 + digit(tens)? * 10 + digit(ones)?;
        items.push(Item { status, error: None });
        match behind.strip_prefix(b"}}")? {
            [] => return Some(items),
            behind => rest = behind.strip_prefix(b",")?,
        }
    }
}

/// The same by way of values, whatever stands in the items.
fn read_any(answer: &[u8]) -> Option<Vec<Item>> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    let items = answer.get("items")?.as_array()?;
    Some(items.iter().map(item_of).collect())
}

fn item_of(item: &Value) -> Item {
    let item = item.as_object().and_then(|item| item.values().next()).unwrap_or(&Value::Null);
    let status = item["status"].as_u64().and_then(|n| u16::try_from(n).ok()).unwrap_or(500);
    let error = Some(&item["error"]).filter(|error| !error.is_null());
    Item { status, error: error.map(|error| Box::new(error.clone())) }
}

/// A member that is read, of an answer or of what stands in an item.
#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Member {
    Items,
    Status,
    Error,
    #[serde(other)]
    Other,
}

/// What is read of one object or list, here and below. Only objects and lists themselves are: derived readers would take a
/// list for an object.
macro_rules! read_by {
    ($visitor:ident, $value:ty, $what:literal, $by:ident, $visit:ident, $from:ident: $access:ident, $body:block) => {
        struct $visitor;

        impl<'de> Visitor<'de> for $visitor {
            type Value = $value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($what)
            }

            fn $visit<A: $access<'de>>(self, mut $from: A) -> Result<$value, A::Error> $body
        }

        impl<'de> DeserializeSeed<'de> for $visitor {
            type Value = $value;

            fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<$value, D::Error> {
                from.$by(self)
            }
        }
    };
}

read_by!(ReadAnswer, Option<Vec<Item>>, "an answer", deserialize_map, visit_map, from: MapAccess, {
    let mut items = None;
    while let Some(member) = from.next_key()? {
        match member {
            Member::Items => items = Some(from.next_value_seed(ReadItems)?),
            _ => _ = from.next_value::<IgnoredAny>()?,
        }
    }
    Ok(items)
});

read_by!(ReadItems, Vec<Item>, "a list of items", deserialize_seq, visit_seq, from: SeqAccess, {
    let mut items = Vec::new();
    while let Some(item) = from.next_element_seed(ReadItem)? {
        items.push(item);
    }
    Ok(items)
});

// `{"index":{"status":201}}`: the first member counts, whatever its name is.
read_by!(ReadItem, Item, "an item", deserialize_map, visit_map, from: MapAccess, {
    let mut item = Item { status: 500, error: None };
    if from.next_key::<IgnoredAny>()?.is_some() {
        item = from.next_value_seed(ReadOutcome)?;
    }
    while from.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(item)
});

read_by!(ReadOutcome, Item, "what became of a document", deserialize_map, visit_map, from: MapAccess, {
    let mut item = Item { status: 500, error: None };
    while let Some(member) = from.next_key()? {
        match member {
            Member::Status => item.status = from.next_value::<Option<u16>>()?.unwrap_or(500),
            Member::Error => item.error = from.next_value::<Option<Value>>()?.map(Box::new),
            _ => _ = from.next_value::<IgnoredAny>()?,
        }
    }
    Ok(item)
});

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn said(answer: &str) -> Option<Vec<(u16, String, String)>> {
        let of = |item: &Item| (item.status, item.words().0, item.words().1);
        Some(read(answer.as_bytes())?.iter().map(of).collect())
    }

    #[test]
    fn items_are_read_as_servers_write_them() {
        let ok = |status| (status, String::new(), String::new());
        let answer = concat!(
            r#"{"took":3,"errors":true,"items":[{"index":{"status":201}},"#,
            r#"{"create":{"_index":"a","_id":"1","_shards":{"total":2},"_seq_no":0,"status":200}},"#,
            r#"{"index":{"status":400,"error":{"type":"mapper_parsing_exception","reason":"no","caused_by":{"reason":"why"}}}},"#,
            r#"{"index":{"error":"IndexMissing","status":"404"}},{},7,{"index":null},{"index":{"status":99999}}]}"#
        );
        let words = |status, kind: &str, reason: &str| (status, kind.to_owned(), reason.to_owned());
        let want = vec![
            ok(201),
            ok(200),
            words(400, "mapper_parsing_exception", "no (why)"),
            words(500, "error", "IndexMissing"),
            ok(500),
            ok(500),
            ok(500),
            ok(500),
        ];
        assert_eq!(said(answer), Some(want));
        for other in
            ["", "{}", "[]", "[[]]", "<html>", r#"{"items":null}"#, r#"{"items":{}}"#, r#"{"items":[{"index":"#]
        {
            assert_eq!(said(other), None, "{other}");
        }
    }

    #[test]
    fn statuses_alone_are_read_as_any_answer_is() {
        let item = |name: &str, status: &str| format!("{{\"{name}\":{{\"status\":{status}}}}}");
        let (good, made) = (item("index", "201"), item("create", "409"));
        let odd = [
            item("index", "20"),
            item("index", "2010"),
            item("index", "012"),
            item("index", "-20"),
            item("index", "2e2"),
            item("delete", "200"),
            item("indexes", "200"),
            "{}".to_owned(),
            String::new(),
            format!("{good} "),
            "{\"index\":{\"status\":201},\"x\":1}".to_owned(),
            "{\"index\":{\"status\":201,\"error\":\"e\"}}".to_owned(),
        ];
        for head in
            ["{\"errors\":false,\"items\":[", "{\"items\":[", "{\"errors\":true,\"items\":[", "{\"took\":1,\"items\":["]
        {
            let of = |items: &[&str]| format!("{head}{}]}}", items.join(","));
            let plain = of(&[&good, &made, &good]);
            assert_eq!(read(plain.as_bytes()), read_any(plain.as_bytes()));
            assert_eq!(read(plain.as_bytes()).unwrap().iter().map(|i| i.status).collect::<Vec<_>>(), [201, 409, 201]);
            for odd in &odd {
                let (odd, good) = (odd.as_str(), good.as_str());
                for items in [&[odd, good][..], &[good, odd], &[odd]] {
                    let answer = of(items);
                    assert_eq!(read(answer.as_bytes()), read_any(answer.as_bytes()), "{answer}");
                }
            }
            for end in 0..plain.len() {
                assert_eq!(read(&plain.as_bytes()[..end]), None, "{}", &plain[..end]);
            }
            let more = format!("{plain}]}}");
            assert_eq!(read(more.as_bytes()), None);
        }
        assert!(read_statuses(format!("{{\"items\":[{good},{made}]}}").as_bytes()).is_some(), "the short way is taken");
    }

    /// Members of an item's object and of an answer, of which servers and strangers may write any.
    fn item() -> impl Strategy<Value = String> {
        let member = prop_oneof![
            8 => (200u32..210).prop_map(|n| format!(r#""status":{n}"#)),
            2 => (0u32..70_000).prop_map(|n| format!(r#""status" : {n}"#)),
            1 => Just(r#""status":"201""#.to_owned()),
            1 => Just(r#""status":-1"#.to_owned()),
            1 => Just(r#""status":2e2"#.to_owned()),
            1 => Just(r#""st\u0061tus":201"#.to_owned()),
            1 => Just(r#""status":null"#.to_owned()),
            2 => Just(r#""error":{"type":"t","reason":"r \"]}","caused_by":{"reason":"c"}}"#.to_owned()),
            1 => Just(r#""error":"text""#.to_owned()),
            1 => Just(r#""error":null"#.to_owned()),
            1 => Just(r#""error":1.50"#.to_owned()),
            3 => Just(r#""_id":"a]},{\"status\":201}""#.to_owned()),
        ];
        let object = proptest::collection::vec(member, 0..4).prop_map(|m| format!("{{{}}}", m.join(",")));
        prop_oneof![
            12 => object.clone().prop_map(|o| format!(r#"{{"index":{o}}}"#)),
            2 => object.prop_map(|o| format!(r#"{{"create":{o},"index":{{"status":500}}}}"#)),
            1 => Just("{}".to_owned()),
            1 => Just("null".to_owned()),
            1 => Just("[1]".to_owned()),
            1 => Just(r#"{"index":[201,null]}"#.to_owned()),
        ]
    }

    proptest! {
        /// The way straight through the bytes and the way by values find the same, also where an answer is cut off.
        #[test]
        fn both_ways_find_the_same(items in proptest::collection::vec(item(), 0..8), cut in 0usize..400) {
            let answer = format!(r#"{{"took":1,"errors":false,"items":[{}],"x":[]}}"#, items.join(","));
            prop_assert_eq!(read(answer.as_bytes()), read_any(answer.as_bytes()), "{}", answer);
            let head = &answer.as_bytes()[..cut.min(answer.len())];
            prop_assert_eq!(read(head), read_any(head));
        }
    }
}
