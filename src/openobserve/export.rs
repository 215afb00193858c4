//! All rows of a stream as the server's own text, page by page in the order of `_timestamp`.
//!
//! As [`rows`](super::rows) pages, but no value is made of a row: a page is the answer's body and where its rows lie, so that pages of
//! some MiB take little more. How many rows are asked for follows their size. A page holds all rows of the times that it covers,
//! so that who has kept a page goes on at [`Page::next`].

use super::client::Client;
use super::query::{MAX_PAGE, QueryError, Range, partial, question};
use super::sql;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use std::ops::Range as Span;

/// Bytes that an answer should have.
const PAGE_BYTES: usize = 4 << 20;
/// Rows of the first page, before their size is known.
const FIRST_ROWS: usize = 200;
/// Rows of a page at most, where not very many have one time.
const MOST_ROWS: usize = 50_000;

/// Rows of a time range.
pub struct Page {
    body: Bytes,
    rows: Vec<Span<usize>>,
    /// The first time that is not in it: microseconds since 1970 UTC.
    pub next: i64,
}

impl Page {
    /// The rows, each a JSON object.
    pub fn rows(&self) -> impl Iterator<Item = &[u8]> {
        self.rows.iter().filter_map(|span| self.body.get(span.clone()))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.rows.len()
    }

    /// Bytes of the answer.
    pub fn bytes(&self) -> usize {
        self.body.len()
    }
}

/// A stream on its way.
pub struct Export<'c> {
    client: &'c Client,
    sql: String,
    stream_type: String,
    at: i64,
    to: i64,
    width: i64,
    size: usize,
}

impl<'c> Export<'c> {
    /// Of a query whose rows are events with their `_timestamp`.
    pub fn new(client: &'c Client, sql: &str, stream_type: &str, range: Range) -> Export<'c> {
        Export {
            client,
            sql: format!("{sql} ORDER BY _timestamp ASC"),
            stream_type: stream_type.to_owned(),
            at: range.from,
            to: range.to,
            width: range.to.saturating_sub(range.from).max(1),
            size: FIRST_ROWS,
        }
    }

    /// The next page, which may be empty; `None` at the end.
    ///
    /// Errors: the server's; an answer that stays partial; rows that are not in order.
    pub async fn next(&mut self) -> Result<Option<Page>, QueryError> {
        while self.at < self.to {
            let end = self.at.saturating_add(self.width).min(self.to);
            let body = question(&self.sql, Range { from: self.at, to: end }, self.size);
            let asked = [("type", self.stream_type.as_str()), ("use_cache", "false")];
            let body = self.client.ask_bytes(&["_search"], &asked, &body).await?;
            let (about, mut rows) =
                take_apart(&body).ok_or_else(|| QueryError::Order("the answer cannot be read".into()))?;
            if let Some(why) = partial(&about) {
                if end - self.at <= 1_000_000 {
                    return Err(QueryError::Partial(why));
                }
                self.width = (end - self.at) / 2;
                continue;
            }
            let full = rows.len() >= self.size;
            let bounds = bounds(&body, &rows)?;
            let mut next = end;
            if let Some((first, last)) = bounds.filter(|_| full) {
                if first == last {
                    if self.size >= MAX_PAGE {
                        return Err(QueryError::Order(format!("more than {MAX_PAGE} rows have the time {last}")));
                    }
                    self.size *= 2;
                    continue;
                }
                let kept = rows.partition_point(|row| time_of(&body[row.clone()]).is_some_and(|time| time < last));
                rows.truncate(kept);
                next = last;
            }
            if !rows.is_empty() {
                let each = (body.len() / rows.len()).max(1);
                self.size = (PAGE_BYTES / each).clamp(100, MOST_ROWS);
            }
            self.at = next;
            return Ok(Some(Page { body, rows, next }));
        }
        Ok(None)
    }
}

/// The query of all columns of a stream: by their names, as `SELECT *` gives 500 of them at most.
///
/// `schema` is what the server says of the stream. Empty where it has no columns.
pub fn all_columns(stream: &str, schema: &Value) -> Option<String> {
    let names = |key: &str| {
        let list = schema.get(key).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(|field| field.get("name")?.as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    let (mut columns, own) = (names("schema"), names("uds_schema"));
    if !own.is_empty() {
        // All that has no column of its own lies in this one.
        columns = own;
        columns.push("_all".into());
    }
    // Made by the server of the others.
    columns.retain(|name| !matches!(name.as_str(), "_all_values" | "_o2_id"));
    columns.sort_unstable();
    columns.dedup();
    if columns.is_empty() {
        return None;
    }
    if !columns.iter().any(|name| name == "_timestamp") {
        columns.push("_timestamp".into());
    }
    let list = columns.iter().map(|name| sql::identifier(name)).collect::<Vec<_>>().join(", ");
    Some(format!("SELECT {list} FROM {}", sql::identifier(stream)))
}

/// What an answer says of itself, and where its rows lie.
fn take_apart(body: &[u8]) -> Option<(Value, Vec<Span<usize>>)> {
    let mut about = Map::new();
    let mut rows = Vec::new();
    for (key, value) in members(body, 0)? {
        let text = &body[value.clone()];
        match &body[key] {
            b"hits" if text.first() == Some(&b'[') => rows = elements(body, value.start)?,
            key @ (b"is_partial" | b"function_error" | b"new_start_time") => {
                let key = String::from_utf8_lossy(key).into_owned();
                about.insert(key, serde_json::from_slice(text).ok()?);
            }
            _ => {}
        }
    }
    Some((Value::Object(about), rows))
}

/// First and last time of rows in order.
fn bounds(body: &[u8], rows: &[Span<usize>]) -> Result<Option<(i64, i64)>, QueryError> {
    let mut bounds: Option<(i64, i64)> = None;
    for row in rows {
        let Some(time) = time_of(&body[row.clone()]) else {
            return Err(QueryError::Order("the rows have no `_timestamp`".into()));
        };
        bounds = match bounds {
            Some((_, last)) if time < last => {
                return Err(QueryError::Order("the server does not give the rows in the order of `_timestamp`".into()));
            }
            Some((first, _)) => Some((first, time)),
            None => Some((time, time)),
        };
    }
    Ok(bounds)
}

/// `_timestamp` of a row.
pub fn time_of(row: &[u8]) -> Option<i64> {
    let (_, value) = members(row, 0)?.into_iter().find(|(key, _)| &row[key.clone()] == b"_timestamp")?;
    std::str::from_utf8(&row[value]).ok()?.parse().ok()
}

/// A hash of what a row says: whatever the order of its columns, and whether a number has become a text since, as columns widen.
pub fn hash_of(row: &[u8]) -> Option<u128> {
    let mut sum = 0u128;
    let mut text = Vec::new();
    for (key, value) in members(row, 0)? {
        text.clear();
        text.extend_from_slice(&row[key]);
        text.push(0);
        let value = &row[value];
        let bare = value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")).unwrap_or(value);
        text.extend_from_slice(bare.strip_suffix(b".0").unwrap_or(bare));
        sum = sum.wrapping_add(xxhash_rust::xxh3::xxh3_128(&text));
    }
    Some(sum)
}

/// A row of a stream of metrics as the JSON of a metric of this type, as it goes through pipelines.
///
/// Errors: it is no JSON object; in words.
pub fn metric_of(row: &[u8], kind: &str) -> Result<Vec<u8>, String> {
    let mut row: Map<String, Value> = serde_json::from_slice(row).map_err(|e| format!("a row is not JSON: {e}"))?;
    let mut take = |key: &str| row.shift_remove(key).unwrap_or_default();
    let (name, value, time) = (take("__name__"), take("value"), take("_timestamp"));
    for made in ["__hash__", "__type__"] {
        take(made);
    }
    let event = json!({"name": name, "type": kind, "value": value, "timestamp": time, "labels": row});
    Ok(event.to_string().into_bytes())
}

fn blank(text: &[u8], mut at: usize) -> usize {
    while text.get(at).is_some_and(u8::is_ascii_whitespace) {
        at += 1;
    }
    at
}

/// Where a string that begins at `at` ends.
fn string_end(text: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        match text[at] {
            b'"' => return Some(at + 1),
            _ => at += 2,
        }
    }
}

/// Where a value that begins at `at` ends.
fn value_end(text: &[u8], at: usize) -> Option<usize> {
    match *text.get(at)? {
        b'"' => string_end(text, at),
        b'{' | b'[' => {
            let (mut depth, mut at) = (0usize, at);
            loop {
                match *text.get(at)? {
                    b'"' => {
                        at = string_end(text, at)?;
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => {
                        depth -= 1;
                        if depth == 0 {
                            return Some(at + 1);
                        }
                    }
                    _ => {}
                }
                at += 1;
            }
        }
        _ => {
            let ends = |b: &u8| matches!(b, b',' | b'}' | b']') || b.is_ascii_whitespace();
            Some(text[at..].iter().position(ends).map_or(text.len(), |n| at + n))
        }
    }
}

/// Keys (without their quotes) and values of an object; `None` where it is none.
fn members(text: &[u8], at: usize) -> Option<Vec<(Span<usize>, Span<usize>)>> {
    let mut at = blank(text, at);
    if text.get(at) != Some(&b'{') {
        return None;
    }
    let mut out = Vec::with_capacity(16);
    at = blank(text, at + 1);
    while text.get(at) != Some(&b'}') {
        if text.get(at) != Some(&b'"') {
            return None;
        }
        let end = string_end(text, at)?;
        let key = at + 1..end - 1;
        at = blank(text, end);
        if text.get(at) != Some(&b':') {
            return None;
        }
        at = blank(text, at + 1);
        let end = value_end(text, at)?;
        out.push((key, at..end));
        at = blank(text, end);
        if text.get(at) == Some(&b',') {
            at = blank(text, at + 1);
        }
    }
    Some(out)
}

/// The elements of a list.
fn elements(text: &[u8], at: usize) -> Option<Vec<Span<usize>>> {
    let mut out = Vec::new();
    let mut at = blank(text, at + 1);
    while text.get(at) != Some(&b']') {
        let end = value_end(text, at)?;
        if end == at {
            return None;
        }
        out.push(at..end);
        at = blank(text, end);
        if text.get(at) == Some(&b',') {
            at = blank(text, at + 1);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rows_are_found_in_an_answer_with_what_it_says_of_itself() {
        let rows =
            [json!({"_timestamp": 5, "a": "]},{\"\\", "b": {"c": [1, "}"]}}), json!({"a": null, "_timestamp": 6})];
        let body = json!({"took": 1, "hits": rows, "is_partial": false, "function_error": ["x"], "total": 2});
        for text in [body.to_string(), format!(" {body:#} ")] {
            let (about, found) = take_apart(text.as_bytes()).unwrap();
            assert_eq!(about, json!({"is_partial": false, "function_error": ["x"]}));
            let read: Vec<Value> =
                found.iter().map(|span| serde_json::from_str(&text[span.clone()]).unwrap()).collect();
            assert_eq!(read, rows);
            assert_eq!(bounds(text.as_bytes(), &found).unwrap(), Some((5, 6)));
        }
        for bad in ["", "[]", "{\"hits\":[{\"a\":1}", "{\"hits\" [1]}", "{\"hits\":[1,", "{\"hits\":[}]}", "{1}"] {
            assert!(take_apart(bad.as_bytes()).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_row_has_one_hash_whatever_the_order_of_its_columns_and_the_types_that_they_widened_to() {
        let hash = |text: &str| hash_of(text.as_bytes()).unwrap();
        let one = hash(r#"{"_timestamp":1,"n":5,"f":2.0,"b":true,"t":"x"}"#);
        assert_eq!(one, hash(r#"{ "t": "x", "b": "true", "n": "5", "f": 2, "_timestamp": 1 }"#));
        assert_ne!(one, hash(r#"{"_timestamp":1,"n":6,"f":2.0,"b":true,"t":"x"}"#));
        assert_ne!(hash(r#"{"a":"x","b":"y"}"#), hash(r#"{"a":"y","b":"x"}"#));
    }

    #[test]
    fn columns_are_named_but_for_those_that_the_server_makes() {
        let schema =
            json!({"schema": [{"name": "b"}, {"name": "_timestamp"}, {"name": "a\"x"}, {"name": "_all_values"}]});
        assert_eq!(all_columns("my-s", &schema).unwrap(), "SELECT \"_timestamp\", \"a\"\"x\", \"b\" FROM \"my-s\"");
        let own = json!({"schema": [{"name": "b"}], "uds_schema": [{"name": "_timestamp"}, {"name": "c"}]});
        assert_eq!(all_columns("s", &own).unwrap(), "SELECT \"_all\", \"_timestamp\", \"c\" FROM \"s\"");
        assert_eq!(all_columns("s", &json!({"schema": []})), None);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused(text in "[\\[\\]{}\",:\\\\ a1]{0,40}") {
            if let Some((_, rows)) = take_apart(text.as_bytes()) {
                prop_assert!(rows.iter().all(|row| text.get(row.clone()).is_some()));
            }
            hash_of(text.as_bytes());
        }
    }
}
