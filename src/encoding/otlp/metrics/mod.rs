//! Metric events to `ResourceMetrics`: the way back of [`decoding::otlp`](crate::decoding::otlp), which makes several events
//! of a histogram or a summary. Where those come one behind the other they become one point again, which stands in the bytes
//! of the first; the others are its riders. A part without its whole is a sum or a gauge of its own, with its type in the
//! metric's `metadata` (`prometheus.type`).
//!
//! | Event | Becomes |
//! |---|---|
//! | `counter` | a monotonic sum |
//! | `gauge`, or any other type, with `temporality` | a sum that is not monotonic: an up-down counter |
//! | `gauge`, or any other type, without | a gauge |
//! | `histogram`: buckets to `+Inf`, sum, count, and `_min` and `_max` among them | a histogram with bounds |
//! | `summary`: quantiles, sum, count | a summary |
//!
//! Labels become the point's attributes. Further fields of the event are not sent: they would make another series of each
//! value they have.

use super::attributes::{pair, pairs};
use super::ids::{push_id, read_id};
use super::{OtlpEncoder, Unfit, time_of};
use crate::encoding::finite_number;
use crate::event::{EventKind, EventRef, Str, Sym, Value, json};
use crate::time::TimestampReader;
use crate::wire::protobuf::{push_bytes, push_fixed64, push_message, push_number};

/// Temporalities by number.
const DELTA: u64 = 1;
const CUMULATIVE: u64 = 2;

/// Writes metric events.
#[derive(Debug)]
pub struct MetricEncoder {
    /// Writes attributes.
    values: OtlpEncoder,
    reader: TimestampReader,
    temporality: Sym,
    /// `kind: incremental` is a step too.
    kind: Sym,
    starts: [Sym; 2],
    exemplars: Sym,
    /// Events still to come that stand in the bytes of one before.
    riders: u32,
    /// Of a batch (by address and time) the rows that are known to be no whole: up to this one.
    parts: (usize, i64, usize),
    /// The name of the whole at hand.
    base: Vec<u8>,
    name: Vec<u8>,
    /// Upper bounds of buckets and how much lies at or below each; quantiles and their values.
    pairs: Vec<(f64, f64)>,
}

/// What a type is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Counter,
    Histogram,
    Summary,
    Other,
}

/// What one event is of a histogram or a summary.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Part {
    /// A bucket by its upper bound, or a quantile.
    Pair(f64),
    Sum,
    Count,
    Min,
    Max,
}

/// Several events that are one point. Its buckets or quantiles are in [`MetricEncoder::pairs`].
#[derive(Clone, Copy, Debug, Default)]
struct Whole {
    events: u32,
    sum: Option<f64>,
    count: Option<u64>,
    min: Option<f64>,
    max: Option<f64>,
    /// Row of the event with exemplars.
    exemplars: Option<usize>,
}

impl MetricEncoder {
    /// `reader` reads times that are text or numbers.
    pub fn new(reader: TimestampReader) -> Self {
        MetricEncoder {
            values: OtlpEncoder::logs(reader.clone()),
            reader,
            temporality: Sym::from_config("temporality"),
            kind: Sym::from_config("kind"),
            starts: [Sym::from_config("startTimestamp"), Sym::from_config("start_timestamp")],
            exemplars: Sym::from_config("exemplars"),
            riders: 0,
            parts: (0, 0, 0),
            base: Vec::new(),
            name: Vec::new(),
            pairs: Vec::new(),
        }
    }

    /// Appends an event whose time is `time`, in nanoseconds since 1970 UTC, and tells how many of those behind it in its
    /// batch stand in what was written. Those must be given next, in their order; nothing is appended for them.
    ///
    /// Errors: nothing was appended.
    pub fn write(&mut self, event: EventRef<'_>, time: i64, out: &mut Vec<u8>) -> Result<u32, Unfit> {
        let from = out.len();
        let result = push_message(1, out, |out| push_message(2, out, |out| self.write_record(event, time, out)));
        if !matches!(result, Ok((_, true))) {
            out.truncate(from);
        }
        result.map(|(riders, _)| riders)
    }

    /// As [`write`](Self::write), without resource and scope: as field 2 of a `ScopeMetrics`. Tells too whether something was
    /// appended.
    ///
    /// Errors: nothing was appended.
    pub fn write_record(&mut self, event: EventRef<'_>, time: i64, out: &mut Vec<u8>) -> Result<(u32, bool), Unfit> {
        if self.riders > 0 {
            self.riders -= 1;
            return Ok((0, false));
        }
        let Some(Value::Str(name)) = event.field(Sym::NAME).filter(|name| !is_empty(*name)) else {
            return Err(Unfit("the metric has no `name`"));
        };
        let Some(value) = event.field(Sym::VALUE).filter(|value| finite_number(*value).is_some()) else {
            return Err(Unfit("the metric's `value` is not a finite number"));
        };
        let kind = type_of(event);
        let whole = self.whole(event, kind);
        push_message(2, out, |out| match whole {
            Some(whole) => {
                push_bytes(1, &self.base, out);
                self.about(event, out);
                match kind {
                    Type::Summary => self.summary(event, time, &whole, out),
                    _ => self.histogram(event, time, &whole, out),
                }
            }
            None => {
                push_bytes(1, name.text(&mut self.name), out);
                self.about(event, out);
                self.number(event, kind, value, time, out);
            }
        });
        self.riders = whole.map_or(0, |whole| whole.events - 1);
        Ok((self.riders, true))
    }

    /// Description and unit.
    fn about(&mut self, event: EventRef<'_>, out: &mut Vec<u8>) {
        self.values.text(event.field(Sym::DESCRIPTION), 2, out);
        self.values.text(event.field(Sym::UNIT), 3, out);
    }

    fn says(&self, event: EventRef<'_>, key: Sym, word: &[u8]) -> bool {
        event.field(key).and_then(|v| v.as_str()).is_some_and(|s| s.is(word))
    }

    /// The event's temporality, where it has one.
    fn temporality(&self, event: EventRef<'_>) -> Option<u64> {
        match () {
            () if self.says(event, self.temporality, b"delta") || self.says(event, self.kind, b"incremental") => {
                Some(DELTA)
            }
            () if self.says(event, self.temporality, b"cumulative") => Some(CUMULATIVE),
            () => None,
        }
    }

    /// A number that is a point of its own.
    fn number(&mut self, event: EventRef<'_>, kind: Type, value: Value<'_>, time: i64, out: &mut Vec<u8>) {
        let temporality = self.temporality(event);
        let is_sum = match kind {
            Type::Counter | Type::Histogram => true,
            Type::Summary => false,
            Type::Other => temporality.is_some(),
        };
        push_message(if is_sum { 7 } else { 5 }, out, |out| {
            push_message(1, out, |out| {
                self.times(event, time, out);
                match value.as_i64() {
                    Some(n) => push_fixed64(6, n as u64, out),
                    None => push_fixed64(4, finite_number(value).unwrap_or_default().to_bits(), out),
                }
                self.push_exemplars(event, 5, out);
                self.attributes(event, 7, None, out);
            });
            if is_sum {
                push_number(2, temporality.unwrap_or(CUMULATIVE), out);
                push_number(3, u64::from(kind != Type::Other), out);
            }
        });
        let word = match kind {
            Type::Histogram => "histogram",
            Type::Summary => "summary",
            Type::Counter | Type::Other => return,
        };
        pair(b"prometheus.type", Value::from(word), 12, &mut self.values.plain, out);
    }

    fn histogram(&mut self, event: EventRef<'_>, time: i64, whole: &Whole, out: &mut Vec<u8>) {
        push_message(9, out, |out| {
            push_message(1, out, |out| {
                self.times(event, time, out);
                push_fixed64(4, whole.count.unwrap_or_default(), out);
                for (number, value) in [(5, whole.sum), (11, whole.min), (12, whole.max)] {
                    if let Some(value) = value {
                        push_fixed64(number, value.to_bits(), out);
                    }
                }
                let mut below = 0.0;
                push_message(6, out, |out| {
                    for (_, count) in &self.pairs {
                        out.extend_from_slice(&((count - below) as u64).to_le_bytes());
                        below = *count;
                    }
                });
                push_message(7, out, |out| {
                    for (bound, _) in self.pairs.iter().filter(|(bound, _)| bound.is_finite()) {
                        out.extend_from_slice(&bound.to_le_bytes());
                    }
                });
                if let Some(row) = whole.exemplars {
                    self.push_exemplars(event.batch().event(row), 8, out);
                }
                self.attributes(event, 9, Some(b"le"), out);
            });
            push_number(2, self.temporality(event).unwrap_or(CUMULATIVE), out);
        });
    }

    fn summary(&mut self, event: EventRef<'_>, time: i64, whole: &Whole, out: &mut Vec<u8>) {
        push_message(11, out, |out| {
            push_message(1, out, |out| {
                self.times(event, time, out);
                push_fixed64(4, whole.count.unwrap_or_default(), out);
                push_fixed64(5, whole.sum.unwrap_or_default().to_bits(), out);
                for (quantile, value) in &self.pairs {
                    push_message(6, out, |out| {
                        push_fixed64(1, quantile.to_bits(), out);
                        push_fixed64(2, value.to_bits(), out);
                    });
                }
                self.attributes(event, 7, Some(b"quantile"), out);
            });
        });
    }

    fn times(&mut self, event: EventRef<'_>, time: i64, out: &mut Vec<u8>) {
        let start = self.starts.iter().find_map(|key| event.field(*key));
        if let Some(start) = start.and_then(|value| time_of(value, &self.reader, event.batch().received_at)) {
            push_fixed64(2, start.max(0) as u64, out);
        }
        push_fixed64(3, time.max(0) as u64, out);
    }

    /// The labels, without one.
    fn attributes(&mut self, event: EventRef<'_>, number: u32, without: Option<&[u8]>, out: &mut Vec<u8>) {
        let Some(Value::Object(labels)) = event.field(Sym::LABELS) else { return };
        let mut plain = Vec::new();
        for child in json::Children::new(labels) {
            let key = json::str_of(&labels[child.key.0..child.key.1]);
            let value = json::value_of(&labels[child.value.0..child.value.1]);
            if value != Value::Null && without.is_none_or(|without| !key.is(without)) {
                pair(key.text(&mut plain), value, number, &mut self.values.plain, out);
            }
        }
    }

    /// The exemplars of an event.
    fn push_exemplars(&mut self, event: EventRef<'_>, number: u32, out: &mut Vec<u8>) {
        let Some(Value::Array(exemplars)) = event.field(self.exemplars) else { return };
        let now = event.batch().received_at;
        for child in json::Children::new(exemplars) {
            let exemplar = &exemplars[child.value.0..child.value.1];
            if !matches!(json::value_of(exemplar), Value::Object(_)) {
                continue;
            }
            push_message(number, out, |out| {
                for child in json::Children::new(exemplar) {
                    let key = &exemplar[child.key.0..child.key.1];
                    match (key, json::value_of(&exemplar[child.value.0..child.value.1])) {
                        (_, Value::Null) => {}
                        (b"timestamp", value) if time_of(value, &self.reader, now).is_some() => {
                            push_fixed64(2, time_of(value, &self.reader, now).unwrap_or_default().max(0) as u64, out);
                        }
                        (b"value", value) if value.as_i64().is_some() => {
                            push_fixed64(6, value.as_i64().unwrap_or_default() as u64, out);
                        }
                        (b"value", value) if value.as_f64().is_some() => {
                            push_fixed64(3, value.as_f64().unwrap_or_default().to_bits(), out);
                        }
                        (b"spanId", Value::Str(id)) if read_id::<8>(id.bytes).is_some() => {
                            _ = push_id::<8>(id.bytes, 4, out)
                        }
                        (b"traceId", Value::Str(id)) if read_id::<16>(id.bytes).is_some() => {
                            _ = push_id::<16>(id.bytes, 5, out);
                        }
                        (b"attributes" | b"labels", Value::Object(object)) => {
                            pairs(object, 7, &mut self.values.plain, out)
                        }
                        (key, value) => pair(key, value, 7, &mut self.values.plain, out),
                    }
                }
            });
        }
    }

    // ---- parts of one point -------------------------------------------------------------------------------------

    /// The histogram or summary that begins with an event, where the events behind it make it whole.
    fn whole(&mut self, event: EventRef<'_>, kind: Type) -> Option<Whole> {
        let batch = event.batch();
        let (address, time, first) = (std::ptr::from_ref(batch) as usize, batch.received_at, event.row());
        let known = (self.parts.0, self.parts.1) == (address, time) && first < self.parts.2;
        if known || !self.begin(event, kind) {
            return None;
        }
        let (mut whole, mut last) = (Whole::default(), first);
        for row in first..batch.rows() {
            if !batch.is_live(row) {
                continue;
            }
            let part = batch.event(row);
            if row > first && !self.goes_with(event, part, kind) || !self.add(part, kind, &mut whole) {
                break;
            }
            whole.events += 1;
            last = row;
            if matches!(part.field(self.exemplars), Some(Value::Array(_))) {
                whole.exemplars.get_or_insert(row);
            }
        }
        let is_whole = match kind {
            Type::Summary => whole.sum.is_some() && whole.count.is_some(),
            _ => {
                let all = self.pairs.last().filter(|(bound, _)| *bound == f64::INFINITY).map(|(_, count)| *count);
                whole.count.is_some() && whole.count.map(|n| n as f64) == all
            }
        };
        if is_whole {
            return Some(whole);
        }
        // So that its other parts are not looked at again and again.
        self.parts = (address, time, last + 1);
        None
    }

    /// Whether a histogram or summary may begin with this event; its name becomes `base`.
    fn begin(&mut self, event: EventRef<'_>, kind: Type) -> bool {
        self.pairs.clear();
        let Some(Value::Str(name)) = event.field(Sym::NAME) else { return false };
        let name = name.text(&mut self.name);
        let base = match kind {
            Type::Histogram if label(event, b"le").is_some() => name.strip_suffix(b"_bucket"),
            Type::Summary if label(event, b"quantile").is_some() => Some(name),
            Type::Summary => name.strip_suffix(b"_sum"),
            _ => None,
        };
        let Some(base) = base.filter(|base| !base.is_empty()) else { return false };
        self.base.clear();
        self.base.extend_from_slice(base);
        true
    }

    /// Whether two events are of one point, as far as that is not in their names and values.
    fn goes_with(&self, a: EventRef<'_>, b: EventRef<'_>, kind: Type) -> bool {
        let same = |key: Sym| a.field(key) == b.field(key);
        b.kind() == EventKind::Metric
            && a.time() == b.time()
            && same(Sym::TIMESTAMP)
            && same(Sym::UNIT)
            && same(Sym::DESCRIPTION)
            && self.starts.iter().all(|key| same(*key))
            && (type_of(b) == Type::Other || self.temporality(a) == self.temporality(b))
            && rest_of_labels(a, own_label(kind)).eq(rest_of_labels(b, own_label(kind)))
    }

    /// Adds an event to the whole; `false` where it is no further part of it.
    fn add(&mut self, event: EventRef<'_>, kind: Type, whole: &mut Whole) -> bool {
        let Some(part) = self.part(event, kind) else { return false };
        let Some(value) = event.field(Sym::VALUE) else { return false };
        let Some(number) = finite_number(value) else { return false };
        let place = match part {
            Part::Pair(bound) if kind == Type::Summary => {
                self.pairs.push((bound, number));
                return true;
            }
            Part::Pair(bound) => {
                let (before, below) = self.pairs.last().copied().unwrap_or((f64::NEG_INFINITY, 0.0));
                let fits = bound > before && number >= below && whole_number(value).is_some();
                if fits {
                    self.pairs.push((bound, number));
                }
                return fits;
            }
            Part::Count => {
                let count = whole_number(value).filter(|_| whole.count.is_none());
                whole.count = whole.count.or(count);
                return count.is_some();
            }
            Part::Sum => &mut whole.sum,
            Part::Min => &mut whole.min,
            Part::Max => &mut whole.max,
        };
        if place.is_none() {
            *place = Some(number);
            return true;
        }
        false
    }

    /// What an event is of the whole called `base`.
    fn part(&mut self, event: EventRef<'_>, kind: Type) -> Option<Part> {
        let of_kind = type_of(event) == kind;
        let extreme = type_of(event) == Type::Other && self.temporality(event).is_none();
        let has_own = has_label(event, own_label(kind));
        let Some(Value::Str(name)) = event.field(Sym::NAME) else { return None };
        let name = name.text(&mut self.name);
        match (kind, name.strip_prefix(&self.base[..])?) {
            (Type::Histogram, b"_bucket") if of_kind => label(event, b"le").map(Part::Pair),
            (Type::Summary, b"") if of_kind => label(event, b"quantile").map(Part::Pair),
            // The others would lose theirs.
            _ if has_own => None,
            (_, b"_sum") if of_kind => Some(Part::Sum),
            (_, b"_count") if of_kind => Some(Part::Count),
            (Type::Histogram, b"_min") if extreme => Some(Part::Min),
            (Type::Histogram, b"_max") if extreme => Some(Part::Max),
            _ => None,
        }
    }
}

fn is_empty(value: Value<'_>) -> bool {
    matches!(value, Value::Str(text) if text.bytes.is_empty())
}

fn type_of(event: EventRef<'_>) -> Type {
    let is = |kind: &[u8]| {
        event.field(Sym::TYPE).and_then(|v| v.as_str()).is_some_and(|s| s.bytes.eq_ignore_ascii_case(kind))
    };
    match () {
        () if is(b"counter") => Type::Counter,
        () if is(b"histogram") => Type::Histogram,
        () if is(b"summary") => Type::Summary,
        () => Type::Other,
    }
}

fn has_label(event: EventRef<'_>, name: &[u8]) -> bool {
    let Some(Value::Object(labels)) = event.field(Sym::LABELS) else { return false };
    json::Children::new(labels).any(|c| json::key_is(&labels[c.key.0..c.key.1], name))
}

/// A label that is a number.
fn label(event: EventRef<'_>, name: &[u8]) -> Option<f64> {
    let Some(Value::Object(labels)) = event.field(Sym::LABELS) else { return None };
    let child = json::Children::new(labels).find(|c| json::key_is(&labels[c.key.0..c.key.1], name))?;
    let value = match json::value_of(&labels[child.value.0..child.value.1]) {
        Value::Str(Str { bytes, .. }) => std::str::from_utf8(bytes).ok()?.parse().ok()?,
        other => other.as_f64()?,
    };
    (!f64::is_nan(value)).then_some(value)
}

/// The label that tells the parts of such a point apart.
fn own_label(kind: Type) -> &'static [u8] {
    if kind == Type::Summary { b"quantile" } else { b"le" }
}

/// The labels but one, as they stand in the text.
fn rest_of_labels<'e>(event: EventRef<'e>, without: &[u8]) -> impl Iterator<Item = (&'e [u8], &'e [u8])> {
    let labels = match event.field(Sym::LABELS) {
        Some(Value::Object(labels)) => labels,
        _ => b"{}",
    };
    let members = json::Children::new(labels).map(|c| (&labels[c.key.0..c.key.1], &labels[c.value.0..c.value.1]));
    members.filter(move |(key, _)| !json::key_is(key, without))
}

/// A count: a whole number that is not below 0 and stays what it is as a float.
fn whole_number(value: Value<'_>) -> Option<u64> {
    let x = finite_number(value)?;
    (x >= 0.0 && x.fract() == 0.0 && x <= 9_007_199_254_740_992.0).then_some(x as u64)
}

#[cfg(test)]
mod tests;
