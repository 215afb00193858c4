//! What the server's answers mean. A 200 is not enough: records may have been refused behind it.
//!
//! | Answer | Meaning here |
//! |---|---|
//! | 200, all successful | delivered |
//! | 200, some failed, as many as are outside the window | those to the dead letter, the others delivered |
//! | 200, some failed, another number | all to the dead letter, `uncertain`: some are stored, and which is not said |
//! | 200, counts that do not add up, more columns than the server takes | halved: nothing of it was stored |
//! | 200, counts that do not add up | all to the dead letter, `uncertain` |
//! | 200, `_bulk`, items with an error | those to the dead letter by their `_id`, the others delivered |
//! | 200, `_bulk`, a whole stream failed because the server is overloaded | tried again |
//! | 200, metrics in JSON, a stream whose count is what was sent | delivered, whatever is said of others |
//! | 200, metrics in JSON, a stream that is not named | its records to the dead letter, `refused`, with what to do |
//! | 200, metrics in JSON, another count | the stream's records to the dead letter, `uncertain`; where all failed, `refused` |
//! | 2xx, remote write | delivered |
//! | 200 or 206, OTLP, nothing rejected | delivered |
//! | 200 or 206, OTLP, some rejected | as with `failed` above; where all are, `refused` |
//! | 200 or 206, OTLP, rejected, and how many cannot be read | all to the dead letter, `uncertain` |
//! | 200 or 206, OTLP, with counts of streams or a code inside | as with `_json` |
//! | 200, not OpenObserve's | a configuration fault: something else answers at this address |
//! | 400 `is being deleted` | tried again for a while |
//! | 400 `Quota exceeded`, `not an ingester` | a configuration fault |
//! | others | as [`judge_status`] says |

use super::config::{Api, Window};
use super::{Mark, OpenObserve, metrics};
use crate::encoding::otlp::answer::{Exported, exported};
use crate::event::EventKind;
use crate::sinks::delivery::{Answer, Judgement, Mask, Refusal, RequestBody, is_overload, judge_status, overloaded};
use serde::Deserialize;
use std::collections::{HashMap, HashSet};

/// How often a stream that is being deleted is tried: some minutes with the default waits.
const DELETING_TRIES: u32 = 20;

/// What the answers of an interface say of the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// How many of the one stream were taken and how many failed.
    Counts,
    /// The same, of each stream of metrics.
    CountsOfMetrics,
    /// What became of each.
    Items,
    /// How many were rejected.
    Rejected,
    /// Nothing: all or none.
    Nothing,
}
/// Reads answers.
#[derive(Debug, Clone)]
pub(super) struct Judge {
    pub(super) window: Window,
    pub(super) max_columns: usize,
    pub(super) check_counts: bool,
    pub(super) api: Api,
    /// Begins the `_id` of every record of this process.
    pub(super) nonce: String,
    pub(super) mask: MaskOf,
}

/// A mask without `Debug` output.
#[derive(Clone)]
pub(super) struct MaskOf(pub(super) Mask);

impl std::fmt::Debug for MaskOf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mask")
    }
}

/// The answer of `_json`, `_multi` and the metrics endpoint.
#[derive(Deserialize)]
struct Counts {
    code: Option<u16>,
    #[serde(default)]
    message: Option<String>,
    status: Option<Vec<StreamCounts>>,
}

#[derive(Deserialize)]
struct StreamCounts {
    #[serde(default)]
    name: String,
    #[serde(default)]
    successful: u64,
    #[serde(default)]
    failed: u64,
    #[serde(default)]
    error: Option<String>,
}

/// The answer of `_bulk`.
#[derive(Deserialize)]
struct Bulk {
    items: Option<Vec<serde_json::Value>>,
}

/// What an answer says of one record.
struct Item {
    id: Option<String>,
    status: u16,
    /// Kind and reason.
    error: Option<(String, String)>,
}

impl Item {
    /// Reads an item in whatever shape: what is odd about one says nothing about the others. What cannot be read at all has
    /// no `_id`, so its record is one of which nothing is said.
    fn read(item: &serde_json::Value) -> Option<Item> {
        let (_, item) = item.as_object()?.iter().next()?;
        let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let member = |of: &serde_json::Value, name| of.get(name).map(text).unwrap_or_default();
        let error = match item.get("error") {
            None | Some(serde_json::Value::Null) => None,
            Some(error @ serde_json::Value::Object(_)) => Some((member(error, "type"), member(error, "reason"))),
            Some(error) => Some((String::new(), text(error))),
        };
        let status = item.get("status").map(text).unwrap_or_default();
        Some(Item { id: item.get("_id").map(text), status: status.parse().unwrap_or(0), error })
    }
}

impl Judge {
    /// What an answer to a load means.
    pub(super) fn judge(
        &self,
        answer: &Answer,
        server: &OpenObserve,
        load: &RequestBody<Mark>,
        says: Verdict,
        now_ns: i64,
    ) -> Judgement {
        if answer.status == 400
            && let Some(judgement) = self.judge_bad_request(answer)
        {
            return judgement;
        }
        if let Some(judgement) = judge_status(answer, &self.mask.0) {
            return judgement;
        }
        match says {
            Verdict::Rejected => self.judge_otlp(answer, server, load, now_ns),
            Verdict::Items => self.judge_bulk(answer, load),
            Verdict::Counts => self.judge_counts(answer, server, load, now_ns),
            Verdict::CountsOfMetrics => self.judge_metric_counts(answer, load),
            Verdict::Nothing => Judgement::Delivered,
        }
    }

    /// An `Export…ServiceResponse`, in protocol buffers or JSON, whatever its content type says.
    fn judge_otlp(&self, answer: &Answer, server: &OpenObserve, load: &RequestBody<Mark>, now_ns: i64) -> Judgement {
        let exported = exported(&answer.body);
        let (rejected, error) = match exported {
            Exported::Rejected(rejected, error) => (rejected, error),
            Exported::Unreadable(words) => {
                let detail = format!("sent {}, and how many were rejected cannot be read: {words}", load.len());
                return Judgement::RefusedAll { reason: "uncertain", detail: self.mask.0.text(&detail) };
            }
            Exported::Counts => return self.judge_counts(answer, server, load, now_ns),
            Exported::Code(code, words) => {
                let inner = Answer { status: code, body: words.into(), ..answer.clone() };
                return judge_status(&inner, &self.mask.0).unwrap_or_else(|| self.not_ours(answer));
            }
            Exported::Foreign => return self.not_ours(answer),
        };
        if rejected == 0 {
            return Judgement::Delivered;
        }
        let error = self.mask.0.text(&error);
        // Records that go together are one point to the server.
        let sent = load.groups_of_riders().count() as u64;
        // It takes metrics of any time.
        let outside = if load.target.kind == EventKind::Metric { Vec::new() } else { self.outside(load, now_ns) };
        if outside.len() as u64 == rejected {
            return refused_as_outside(outside, &error);
        }
        let reason = if rejected == sent { "refused" } else { "uncertain" };
        Judgement::RefusedAll { reason, detail: format!("sent {sent}, rejected {rejected}: {error}") }
    }

    /// The records whose times the server does not take.
    fn outside(&self, load: &RequestBody<Mark>, now_ns: i64) -> Vec<usize> {
        (0..load.len()).filter(|&n| !self.window.holds(load.records[n].mark.time, now_ns)).collect()
    }

    fn judge_bad_request(&self, answer: &Answer) -> Option<Judgement> {
        let words = self.mask.0.words(&answer.body);
        if words.contains("is being deleted") {
            return Some(Judgement::Retry {
                kind: "stream_deleted",
                detail: format!("HTTP 400: {words}"),
                broken: false,
                pressure: false,
                tries: Some(DELETING_TRIES),
            });
        }
        if is_overload(&words) {
            return Some(overloaded(self.mask.0.text(&words)));
        }
        let fault = words.contains("Quota exceeded for this organization") || words.contains("not an ingester");
        fault.then(|| Judgement::Misconfigured { detail: format!("HTTP 400: {words}") })
    }

    fn not_ours(&self, answer: &Answer) -> Judgement {
        let words = self.mask.0.words(&answer.body);
        let status = answer.status;
        Judgement::Misconfigured {
            detail: format!("HTTP {status}, but what answers is not OpenObserve; check `url`. It said: {words}"),
        }
    }

    /// The counts by stream in an answer; or what the answer means where there are none.
    fn counts(&self, answer: &Answer) -> Result<Vec<StreamCounts>, Judgement> {
        let Ok(counts) = serde_json::from_slice::<Counts>(&answer.body) else { return Err(self.not_ours(answer)) };
        if let Some(code) = counts.code.filter(|c| !(200..300).contains(c)) {
            let inner = Answer { status: code, body: counts.message.unwrap_or_default().into(), ..answer.clone() };
            return Err(judge_status(&inner, &self.mask.0).unwrap_or_else(|| self.not_ours(answer)));
        }
        counts.status.ok_or_else(|| self.not_ours(answer))
    }

    /// Metrics: each stream is judged by itself.
    fn judge_metric_counts(&self, answer: &Answer, load: &RequestBody<Mark>) -> Judgement {
        let streams = match self.counts(answer) {
            Ok(streams) => streams,
            Err(judgement) => return judgement,
        };
        let mut said: HashMap<u64, StreamCounts> = HashMap::new();
        for stream in streams {
            let tag = metrics::tag_of(&mut stream.name.clone().into_bytes());
            match said.get_mut(&tag) {
                None => _ = said.insert(tag, stream),
                Some(before) => {
                    before.successful = before.successful.saturating_add(stream.successful);
                    before.failed = before.failed.saturating_add(stream.failed);
                    before.error = stream.error.or(before.error.take());
                }
            }
        }
        let mut sent: HashMap<u64, (u64, usize)> = HashMap::new();
        for (n, record) in load.records.iter().enumerate() {
            sent.entry(record.mark.tag).or_insert((0, n)).0 += 1;
        }
        let refused: HashMap<u64, (&'static str, String)> = sent
            .into_iter()
            .filter_map(|(tag, (sent, first))| {
                let verdict = match said.get(&tag) {
                    Some(counts) if counts.failed == 0 && (counts.successful == sent || !self.check_counts) => {
                        return None;
                    }
                    None if !self.check_counts => return None,
                    Some(counts) => {
                        let error = counts.error.as_deref().map(|e| format!(": {e}")).unwrap_or_default();
                        let (successful, failed) = (counts.successful, counts.failed);
                        let reason = if successful == 0 && failed == sent { "refused" } else { "uncertain" };
                        let name = &counts.name;
                        (reason, format!("`{name}`: sent {sent}, successful {successful}, failed {failed}{error}"))
                    }
                    None => ("refused", not_named(load.record(first))),
                };
                Some((tag, (verdict.0, self.mask.0.text(&verdict.1))))
            })
            .collect();
        if refused.is_empty() {
            return Judgement::Delivered;
        }
        let refusal = |(record, tag): (usize, u64)| {
            let (reason, detail) = refused.get(&tag)?.clone();
            Some(Refusal { record, reason, detail })
        };
        let tags = load.records.iter().map(|record| record.mark.tag);
        Judgement::Refused(tags.enumerate().filter_map(refusal).collect())
    }

    fn judge_counts(&self, answer: &Answer, server: &OpenObserve, load: &RequestBody<Mark>, now_ns: i64) -> Judgement {
        let streams = match self.counts(answer) {
            Ok(streams) => streams,
            Err(judgement) => return judgement,
        };
        let sent = load.len() as u64;
        let (mut successful, mut failed) = (0u64, 0u64);
        let mut error = String::new();
        for stream in streams {
            successful = successful.saturating_add(stream.successful);
            failed = failed.saturating_add(stream.failed);
            error = stream.error.unwrap_or(error);
        }
        let error = self.mask.0.text(&error);
        if failed == 0 && (successful == sent || !self.check_counts) {
            return Judgement::Delivered;
        }
        let mut detail = format!("sent {sent}, successful {successful}, failed {failed}");
        if !error.is_empty() {
            detail = format!("{detail}: {error}");
        }
        if failed == 0 && successful == 0 && load.target.kind == EventKind::Log {
            let columns = columns_of(server, load);
            if columns > self.max_columns {
                detail =
                    format!("{detail} (its records have {columns} columns together, more than {})", self.max_columns);
                return Judgement::Halve { reason: "too_many_columns", detail };
            }
        }
        if failed > 0 && (successful.saturating_add(failed) == sent || !self.check_counts) {
            let outside = self.outside(load, now_ns);
            if outside.len() as u64 == failed {
                return refused_as_outside(outside, &error);
            }
        }
        Judgement::RefusedAll { reason: "uncertain", detail }
    }

    fn judge_bulk(&self, answer: &Answer, load: &RequestBody<Mark>) -> Judgement {
        if answer.cut {
            let detail = format!("sent {}; the answer was too long to be read", load.len());
            return Judgement::RefusedAll { reason: "uncertain", detail };
        }
        let Ok(Bulk { items: Some(items) }) = serde_json::from_slice::<Bulk>(&answer.body) else {
            return self.not_ours(answer);
        };
        // What is said of each record: nothing, taken, refused.
        let mut said: Vec<Option<Option<Refusal>>> = vec![None; load.len()];
        let mut of_no_record = String::new();
        for item in items.iter().filter_map(Item::read) {
            let refused = item.status >= 300 || item.error.is_some();
            let words = item.error.as_ref().map(|(kind, reason)| format!("{kind}: {reason}")).unwrap_or_default();
            let Some(record) = item.id.as_deref().and_then(|id| self.record_of(id, load)) else {
                if refused {
                    of_no_record = words;
                }
                continue;
            };
            let place = &mut said[record];
            if refused {
                let reason = item.error.as_ref().map_or("refused", |(kind, words)| reason_of(kind, words));
                *place = Some(Some(Refusal { record, reason, detail: self.mask.0.text(&words) }));
            } else if place.is_none() {
                *place = Some(None);
            }
        }
        let silent = said.iter().filter(|s| s.is_none()).count();
        if silent == load.len() && is_overload(&of_no_record) {
            // It says so of the stream as a whole: nothing was written.
            return overloaded(self.mask.0.text(&of_no_record));
        }
        let taken = said.iter().filter(|s| matches!(s, Some(None))).count();
        let refused = load.len() - taken - silent;
        let uncertain = match (silent, of_no_record.is_empty()) {
            (0, _) => None,
            (_, true) if !self.check_counts => None,
            _ => {
                let words = if of_no_record.is_empty() { "nothing is said of some" } else { of_no_record.as_str() };
                let detail = format!("sent {}, successful {taken}, failed {refused}: {words}", load.len());
                Some(self.mask.0.text(&detail))
            }
        };
        let mut refusals = Vec::new();
        for (record, said) in said.into_iter().enumerate() {
            match (said, &uncertain) {
                (Some(Some(refusal)), _) => refusals.push(refusal),
                (None, Some(detail)) => {
                    refusals.push(Refusal { record, reason: "uncertain", detail: detail.clone() });
                }
                (Some(None), _) | (None, None) => {}
            }
        }
        if refusals.is_empty() { Judgement::Delivered } else { Judgement::Refused(refusals) }
    }

    /// The record that was sent with this `_id`.
    fn record_of(&self, id: &str, load: &RequestBody<Mark>) -> Option<usize> {
        let tag: u64 = id.strip_prefix(self.nonce.as_str())?.strip_prefix('-')?.parse().ok()?;
        load.records.binary_search_by_key(&tag, |r| r.mark.tag).ok()
    }

    /// Bytes of an answer worth keeping.
    pub(super) fn max_answer(&self, records: usize) -> usize {
        // An item of `_bulk` has some 200 bytes, with a long error 600.
        if self.api == Api::Bulk { (64 << 10) + records * 1024 } else { 64 << 10 }
    }
}

/// Why a metric is not named in an answer, and what to do about it; from its record.
fn not_named(record: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Metric {
        #[serde(rename = "__name__")]
        name: String,
        #[serde(rename = "__type__")]
        kind: String,
    }
    let (name, kind) = serde_json::from_slice(record).map_or_else(|_| Default::default(), |m: Metric| (m.name, m.kind));
    let help = match kind.as_str() {
        "histogram" | "summary" => {
            "; version 0.8 drops histograms and summaries on this interface: set `metrics_api: otlp` (or remote_write)"
        }
        _ => "; see the server's log, or try `metrics_api: otlp`",
    };
    format!("the server took nothing of the {kind} `{name}` and did not say so{help}")
}

fn refused_as_outside(records: Vec<usize>, words: &str) -> Judgement {
    let refusal = |record| Refusal { record, reason: "outside_window", detail: words.to_owned() };
    Judgement::Refused(records.into_iter().map(refusal).collect())
}

fn reason_of(kind: &str, words: &str) -> &'static str {
    let window = words.starts_with("Too old data") || words.starts_with("Too far data");
    match kind {
        "timestamp_parsing_failed" if window => "outside_window",
        "timestamp_parsing_failed" => "timestamp",
        "schema_conformance_failed" => "schema",
        "pipeline_execution_failed" => "pipeline",
        _ => "refused",
    }
}

/// How many columns the server would make of the records together.
///
/// Source: `flatten_with_level` of OpenObserve 0.93 with its default depth. Parses the body again: only for an answer that
/// is not explained otherwise.
fn columns_of(server: &OpenObserve, load: &RequestBody<Mark>) -> usize {
    let mut columns = HashSet::new();
    let mut json = Vec::new();
    for n in 0..load.len() {
        json.clear();
        load.event_json(server, n, &mut json);
        if let Ok(serde_json::Value::Object(object)) = serde_json::from_slice(&json) {
            flatten("", &object, 1, &mut columns);
        }
    }
    columns.insert("_timestamp".to_owned());
    columns.len()
}

/// The server's `ZO_INGEST_FLATTEN_LEVEL`.
const FLATTEN_LEVEL: usize = 3;

fn flatten(prefix: &str, object: &serde_json::Map<String, serde_json::Value>, depth: usize, out: &mut HashSet<String>) {
    for (key, value) in object {
        let mut name: String = if prefix.is_empty() { String::new() } else { format!("{prefix}_") };
        name.extend(key.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }));
        match value {
            serde_json::Value::Null => {}
            serde_json::Value::Object(inner) if inner.is_empty() => {}
            serde_json::Value::Array(inner) if inner.is_empty() => {}
            serde_json::Value::Object(inner) if depth < FLATTEN_LEVEL => flatten(&name, inner, depth + 1, out),
            _ => _ = out.insert(name),
        }
    }
}
