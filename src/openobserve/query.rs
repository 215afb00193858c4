//! Rows of a query, all of them.
//!
//! **Pages.** A query whose rows are events is asked in pages in the order of `_timestamp`: of a full page the rows of its last time are
//! put aside, and the next page begins at that time, so that no row is lost or comes twice however many have one time. A page whose rows
//! all have one time is asked again, twice as large. An answer that says that it is partial (the server's longest time range, a
//! limit of its own) is not taken: the time range is halved until it is whole. Any other query (groups, sums, an order or limit of its
//! own) is asked once.

use super::client::{ApiError, Client};
use super::sql;
use crate::settings::parse_duration;
use crate::time::parse_rfc3339;
use serde_json::{Value, json};

/// Rows in a page.
pub const PAGE: usize = 10_000;
/// Largest page, where very many rows have one time; and most rows of a query that is asked once.
pub(super) const MAX_PAGE: usize = 4_000_000;

/// A time range in microseconds since 1970 UTC: `from` belongs to it, `to` does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Where it begins.
    pub from: i64,
    /// Where it ends.
    pub to: i64,
}

/// A question.
#[derive(Debug, Clone)]
pub struct Question {
    /// SQL, as it goes to the server.
    pub sql: String,
    /// `logs`, `metrics` or `traces`.
    pub stream_type: String,
    /// The time range.
    pub range: Range,
    /// Rows in a page.
    pub page: usize,
}

/// Asks, and hands on the rows of each page with the share of the time range that is done, from 0 to 1.
///
/// Errors: the server's; an answer that stays partial; rows without `_timestamp` or out of order.
pub async fn rows(
    client: &Client,
    question: &Question,
    each: &mut dyn FnMut(Vec<Value>, f64) -> Result<(), String>,
) -> Result<(), QueryError> {
    let Question { sql, stream_type, range, page } = question;
    let sql = sql.trim().trim_end_matches(';').trim_end();
    if !sql::is_of_events(sql) {
        let answer = search(client, sql, stream_type, *range, MAX_PAGE).await?;
        if let Some(why) = partial(&answer) {
            return Err(QueryError::Partial(why));
        }
        return each(hits(answer), 1.0).map_err(QueryError::Output);
    }
    let ordered = format!("{sql} ORDER BY _timestamp ASC");
    let (mut at, mut width, mut size) = (range.from, range.to.saturating_sub(range.from), *page);
    while at < range.to {
        let end = at.saturating_add(width).min(range.to);
        let answer = search(client, &ordered, stream_type, Range { from: at, to: end }, size).await?;
        if let Some(why) = partial(&answer) {
            if end - at <= 1_000_000 {
                return Err(QueryError::Partial(why));
            }
            width = (end - at) / 2;
            continue;
        }
        let mut found = hits(answer);
        let full = found.len() >= size;
        let (first, last) = bounds(&found)?.unwrap_or((at, at));
        if full && first == last {
            if size >= MAX_PAGE {
                return Err(QueryError::Order(format!("more than {MAX_PAGE} rows have the time {last}")));
            }
            size *= 2;
            continue;
        }
        at = end;
        if full {
            found.retain(|row| time(row).is_some_and(|t| t < last));
            at = last;
        }
        size = *page;
        let done = (at - range.from) as f64 / (range.to - range.from).max(1) as f64;
        each(found, done).map_err(QueryError::Output)?;
    }
    Ok(())
}

/// A time as it is written: `now`, before now, or RFC 3339; in microseconds since 1970 UTC.
///
/// Errors: it is none of these; in words.
pub fn parse_time(text: &str, now: i64) -> Result<i64, String> {
    if text == "now" {
        return Ok(now);
    }
    if let Some(before) = text.strip_prefix('-').and_then(parse_duration) {
        return Ok(now.saturating_sub(i64::try_from(before.as_micros()).unwrap_or(i64::MAX)));
    }
    let stamp = parse_rfc3339(text.as_bytes()).map(|stamp| stamp.ns / 1000);
    stamp.ok_or_else(|| format!("`{text}` is not a time such as `-1h`, `now` or `2026-11-30T10:00:00Z`"))
}

/// Why there are no rows, or not all.
#[derive(Debug)]
pub enum QueryError {
    /// The server.
    Api(ApiError),
    /// The server gives only a part, however short the time range; why.
    Partial(String),
    /// Rows cannot be paged.
    Order(String),
    /// They cannot be written.
    Output(String),
}

impl std::fmt::Display for QueryError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            QueryError::Api(error) => error.fmt(f),
            QueryError::Partial(why) => write!(f, "the server gives only a part of the rows: {why}"),
            QueryError::Order(words) | QueryError::Output(words) => f.write_str(words),
        }
    }
}

impl std::error::Error for QueryError {}

impl From<ApiError> for QueryError {
    fn from(error: ApiError) -> Self {
        QueryError::Api(error)
    }
}

/// One search.
///
/// Errors: the server's; a stream that is not there is one.
pub async fn search(
    client: &Client,
    sql: &str,
    stream_type: &str,
    range: Range,
    size: usize,
) -> Result<Value, ApiError> {
    let body = question(sql, range, size);
    client.ask(&["_search"], &[("type", stream_type), ("use_cache", "false")], &body).await
}

/// The body of a search.
pub(super) fn question(sql: &str, range: Range, size: usize) -> Value {
    json!({
        "query": {"sql": sql, "start_time": range.from, "end_time": range.to, "from": 0, "size": size, "quick_mode": false},
        "search_type": "other", "timeout": 0,
    })
}

/// A question in PromQL over a range, in steps of seconds.
///
/// Errors: the server's.
pub async fn promql(client: &Client, query: &str, range: Range, step: i64) -> Result<Value, ApiError> {
    let seconds = |micros: i64| (micros / 1_000_000).to_string();
    let (start, end, step) = (seconds(range.from), seconds(range.to), step.to_string());
    let query = [("query", query), ("start", start.as_str()), ("end", end.as_str()), ("step", step.as_str())];
    client.get(&["prometheus", "api", "v1", "query_range"], &query).await
}

/// The rows of an answer.
pub fn hits(mut answer: Value) -> Vec<Value> {
    match answer.get_mut("hits").map(Value::take) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    }
}

/// Why an answer is not whole.
pub(super) fn partial(answer: &Value) -> Option<String> {
    let words = match answer.get("function_error") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("; "),
        _ => String::new(),
    };
    let cut = answer.get("is_partial").and_then(Value::as_bool) == Some(true);
    let moved = answer.get("new_start_time").is_some_and(|t| !t.is_null());
    (cut || moved || !words.is_empty()).then(|| if words.is_empty() { "it does not say why".into() } else { words })
}

fn time(row: &Value) -> Option<i64> {
    row.get("_timestamp").and_then(Value::as_i64)
}

/// First and last time of rows in order.
fn bounds(rows: &[Value]) -> Result<Option<(i64, i64)>, QueryError> {
    let mut bounds: Option<(i64, i64)> = None;
    for row in rows {
        let Some(time) = time(row) else { return Err(QueryError::Order("the rows have no `_timestamp`".into())) };
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
