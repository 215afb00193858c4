//! Prometheus remote write 1.0: the parts of a `WriteRequest`. Each series is a field of its own, so that such pieces, one
//! behind the other in any number, are a request.
//!
//! Source: <https://prometheus.io/docs/specs/prw/remote_write_spec/>.

use super::otlp::Unfit;
use crate::event::{EventRef, Sym, Value, json};
use crate::wire::protobuf::{Fields, Malformed, push_bytes, push_fixed64, push_message, push_number, push_varint};
use hashbrown::HashMap;

/// The value that marks the end of a series.
pub const STALE: u64 = 0x7ff0_0000_0000_0002;

/// The header in which a request says what it is.
pub const VERSION: (&str, &str) = ("x-prometheus-remote-write-version", "0.1.0");

/// The content type of requests.
pub const CONTENT_TYPE: &str = "application/x-protobuf";

/// The same of version 2.0.
pub const VERSION_2: (&str, &str) = ("x-prometheus-remote-write-version", "2.0.0");

/// The content type of requests of version 2.0.
pub const CONTENT_TYPE_2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

/// What a series is besides its labels and samples: version 2.0 says it with each of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Described<'a> {
    /// Type as 2.0 numbers them: counter 1, gauge 2, histogram 3, summary 5; 0 for unknown.
    pub kind: u64,
    /// What it is, in words.
    pub help: &'a str,
    /// Its unit.
    pub unit: &'a str,
    /// When it began at zero, in milliseconds since 1970 UTC; 0 for unknown.
    pub created: i64,
}

/// Fields of a series that 2.0 has and 1.0 has not.
const METADATA: u32 = 5;
const CREATED: u32 = 6;

/// Appends what a series is, as fields of a `TimeSeries` that only [`version_2`] reads: texts stand in them as they are.
pub fn push_described(what: Described<'_>, out: &mut Vec<u8>) {
    if what == Described::default() {
        return;
    }
    push_message(METADATA, out, |out| {
        push_number(1, what.kind, out);
        push_bytes(3, what.help.as_bytes(), out);
        push_bytes(4, what.unit.as_bytes(), out);
    });
    if what.created != 0 {
        push_number(CREATED, what.created as u64, out);
    }
}

/// The same series without what only version 2.0 says of them.
///
/// Errors: they are no series.
pub fn version_1(request: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::with_capacity(request.len());
    for field in Fields::new(request) {
        let (1, one) = field? else { continue };
        push_message(1, &mut out, |out| {
            for field in Fields::new(one.bytes()?) {
                if let (number @ (1 | 2), part) = field? {
                    push_bytes(number, part.bytes()?, out);
                }
            }
            Ok(())
        })?;
    }
    Ok(out)
}

/// How many samples are in series that lie one behind the other.
pub fn samples(request: &[u8]) -> u64 {
    let series = Fields::new(request).filter_map(|field| field.ok()?.1.bytes().ok());
    series.map(|one| Fields::new(one).filter(|field| matches!(field, Ok((2, _)))).count() as u64).sum()
}

/// A `Request` of version 2.0 with the series of a `WriteRequest` of 1.0, which lie one behind the other; texts are written once.
///
/// Source: <https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/>.
///
/// Errors: it is no such request.
pub fn version_2(request: &[u8]) -> Result<Vec<u8>, Malformed> {
    let (mut symbols, mut series) = (Symbols::new(), Vec::with_capacity(request.len() / 2));
    let (mut refs, mut rest) = (Vec::new(), Vec::new());
    for field in Fields::new(request) {
        let (1, one) = field? else { continue };
        refs.clear();
        rest.clear();
        for field in Fields::new(one.bytes()?) {
            match field? {
                (1, label) => {
                    for text in Fields::new(label.bytes()?) {
                        push_varint(symbols.place(text?.1.bytes()?), &mut refs);
                    }
                }
                (2, sample) => push_bytes(2, sample.bytes()?, &mut rest),
                (METADATA, what) => push_message(METADATA, &mut rest, |out| {
                    for field in Fields::new(what.bytes()?) {
                        match field? {
                            (1, kind) => push_number(1, kind.u64()?, out),
                            (number, text) => push_number(number, symbols.place(text.bytes()?), out),
                        }
                    }
                    Ok(())
                })?,
                (CREATED, ms) => push_number(CREATED, ms.u64()?, &mut rest),
                _ => {}
            }
        }
        push_message(5, &mut series, |out| {
            push_bytes(1, &refs, out);
            out.extend_from_slice(&rest);
        });
    }
    let mut out = Vec::with_capacity(series.len() * 2);
    symbols.texts.iter().for_each(|symbol| push_bytes(4, symbol, &mut out));
    out.extend_from_slice(&series);
    Ok(out)
}

/// Texts of a request of version 2.0, each once; the first is the empty one.
struct Symbols<'a> {
    texts: Vec<&'a [u8]>,
    places: HashMap<&'a [u8], u64>,
}

impl<'a> Symbols<'a> {
    fn new() -> Self {
        Symbols { texts: vec![b""], places: HashMap::from([(&b""[..], 0)]) }
    }

    fn place(&mut self, text: &'a [u8]) -> u64 {
        *self.places.entry(text).or_insert_with(|| {
            self.texts.push(text);
            self.texts.len() as u64 - 1
        })
    }
}

/// Appends labels as fields of a `TimeSeries`. They must be sorted by name, each name once.
pub fn push_labels<'a>(labels: impl IntoIterator<Item = (&'a [u8], &'a [u8])>, out: &mut Vec<u8>) {
    for (name, value) in labels {
        push_message(1, out, |out| {
            push_bytes(1, name, out);
            push_bytes(2, value, out);
        });
    }
}

/// Appends a sample as a field of a `TimeSeries`: the bits of its value, and milliseconds since 1970 UTC.
pub fn push_sample(bits: u64, ms: i64, out: &mut Vec<u8>) {
    push_message(2, out, |out| {
        push_fixed64(1, bits, out);
        push_number(2, ms as u64, out);
    });
}

/// Appends a series as a field of a `WriteRequest`: labels that [`push_labels`] wrote, and samples.
pub fn push_series(labels: &[u8], samples: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
    push_message(1, out, |out| {
        out.extend_from_slice(labels);
        samples(out);
    });
}

/// What a name is that of: what may stand in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameOf {
    /// A metric: with colons.
    Metric,
    /// A label.
    Label,
}

/// Appends a name, with `_` for what may not stand in it.
pub fn push_name(name: &[u8], of: NameOf, out: &mut Vec<u8>) {
    let colons = of == NameOf::Metric;
    let start = out.len();
    if name.first().is_none_or(u8::is_ascii_digit) {
        out.push(b'_');
    }
    out.extend(name.iter().map(|&c| if c.is_ascii_alphanumeric() || (colons && c == b':') { c } else { b'_' }));
    // `__` in front is kept for the server's own labels.
    if !colons && out[start..].starts_with(b"__") {
        out.splice(start..start, *b"label");
    }
}

/// How long it is not said again what a metric is.
const METADATA_NS: i64 = 60 * 1_000_000_000;
/// Metrics of which it is remembered when that was said.
const MOST_FAMILIES: usize = 20_000;

/// Writes metric events, a series with one sample each. What a metric is (type, unit, help) goes along now and then, as the
/// protocol has it.
#[derive(Debug)]
pub struct RemoteWriteEncoder {
    /// Names of families, and when it was said what they are.
    said: HashMap<Box<[u8]>, i64>,
    name: Vec<u8>,
    /// Names and values of labels.
    text: Vec<u8>,
    /// Places in `text`: where a name begins, where its value begins, and where that ends.
    labels: Vec<(u32, u32, u32)>,
    encoded: Vec<u8>,
    raw: Vec<u8>,
    temporality: Sym,
    kind: Sym,
}

impl Default for RemoteWriteEncoder {
    fn default() -> Self {
        RemoteWriteEncoder {
            said: HashMap::new(),
            name: Vec::new(),
            text: Vec::new(),
            labels: Vec::new(),
            encoded: Vec::new(),
            raw: Vec::new(),
            temporality: Sym::from_config("temporality"),
            kind: Sym::from_config("kind"),
        }
    }
}

impl RemoteWriteEncoder {
    /// Appends an event. `time` is its time and `now` the time of now, in nanoseconds since 1970 UTC.
    ///
    /// Errors: nothing was appended.
    pub fn write(&mut self, event: EventRef<'_>, time: i64, now: i64, out: &mut Vec<u8>) -> Result<(), Unfit> {
        self.raw.clear();
        if let Some(Value::Str(name)) = event.field(Sym::NAME) {
            name.append_text(&mut self.raw);
        }
        if self.raw.is_empty() {
            return Err(Unfit("the metric has no `name`"));
        }
        let value = event.field(Sym::VALUE).and_then(super::finite_number);
        let value = value.ok_or(Unfit("the metric's `value` is not a finite number"))?;
        let says = |key: Sym, word: &[u8]| event.field(key).and_then(|v| v.as_str()).is_some_and(|s| s.is(word));
        if says(self.temporality, b"delta") || says(self.kind, b"incremental") {
            return Err(Unfit("remote write knows no steps (`temporality: delta`), OTLP does"));
        }
        self.name.clear();
        push_name(&self.raw, NameOf::Metric, &mut self.name);
        self.read_labels(event);
        let text = &self.text;
        let name_of = |l: &(u32, u32, u32)| &text[l.0 as usize..l.1 as usize];
        let labels = self.labels.iter().map(|l| (name_of(l), &text[l.1 as usize..l.2 as usize]));
        self.encoded.clear();
        // An empty label is no label.
        push_labels(labels.filter(|(_, value)| !value.is_empty()), &mut self.encoded);
        self.metadata(event, now, out);
        push_series(&self.encoded, |out| push_sample(value.to_bits(), time.div_euclid(1_000_000), out), out);
        Ok(())
    }

    /// Gathers name and labels, sorted; of two with one name the first stays.
    fn read_labels(&mut self, event: EventRef<'_>) {
        let RemoteWriteEncoder { name, text, labels, .. } = self;
        text.clear();
        labels.clear();
        text.extend_from_slice(b"__name__");
        text.extend_from_slice(name);
        labels.push((0, 8, text.len() as u32));
        if let Some(Value::Object(object)) = event.field(Sym::LABELS) {
            for child in json::Children::new(object) {
                let at = text.len() as u32;
                push_name(&object[child.key.0..child.key.1], NameOf::Label, text);
                let value_at = text.len() as u32;
                match json::value_of(&object[child.value.0..child.value.1]) {
                    Value::Null => {}
                    value => value.append_text(text),
                }
                labels.push((at, value_at, text.len() as u32));
            }
        }
        let name_of = |l: &(u32, u32, u32)| &text[l.0 as usize..l.1 as usize];
        // Unstable: a stable sort allocates. The place breaks ties, so the first stays first.
        labels.sort_unstable_by(|a, b| name_of(a).cmp(name_of(b)).then(a.0.cmp(&b.0)));
        labels.dedup_by(|b, a| name_of(a) == name_of(b));
    }

    /// Appends `MetricMetadata` of the event's metric, where that was not done lately.
    fn metadata(&mut self, event: EventRef<'_>, now: i64, out: &mut Vec<u8>) {
        let is = |kind: &[u8]| {
            event.field(Sym::TYPE).and_then(|v| v.as_str()).is_some_and(|s| s.bytes.eq_ignore_ascii_case(kind))
        };
        let (kind, parts): (u64, &[&[u8]]) = match () {
            () if is(b"counter") => (1, &[]),
            () if is(b"gauge") => (2, &[]),
            () if is(b"histogram") => (3, &[b"_bucket", b"_sum", b"_count"]),
            () if is(b"summary") => (5, &[b"_sum", b"_count"]),
            () => return,
        };
        let family = parts.iter().find_map(|part| self.name.strip_suffix(*part)).unwrap_or(&self.name);
        match self.said.get_mut(family) {
            Some(at) if (0..METADATA_NS).contains(&now.saturating_sub(*at)) => return,
            Some(at) => *at = now,
            None => {
                if self.said.len() >= MOST_FAMILIES {
                    self.said.clear();
                }
                self.said.insert(family.into(), now);
            }
        }
        let raw = &mut self.raw;
        push_message(3, out, |out| {
            push_number(1, kind, out);
            push_bytes(2, family, out);
            for (number, key) in [(4, Sym::DESCRIPTION), (5, Sym::UNIT)] {
                if let Some(Value::Str(text)) = event.field(key) {
                    raw.clear();
                    text.append_text(raw);
                    push_bytes(number, raw, out);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::ack::Ack;
    use crate::decoding::remote_write::{Families, Request};
    use crate::event::{Batch, EventKind, JsonRows, Origin, Slab};
    use std::sync::Arc;

    fn batch(line: &str) -> Batch {
        let mut batch = Batch::new(Slab::from_vec(line.into()), Origin::of_source("in"), 0, Ack::none());
        JsonRows::default().push(&mut batch, 0, line.len(), 0).unwrap();
        batch.event_mut(0).set_kind(EventKind::Metric);
        batch
    }

    /// What is read again of events that were written into one request.
    fn there_and_back(lines: &[&str]) -> Vec<String> {
        let mut encoder = RemoteWriteEncoder::default();
        let mut body = Vec::new();
        for line in lines {
            encoder.write(batch(line).event(0), 1_736_503_200_123_456_789, 5, &mut body).unwrap();
        }
        let request = Request::read(body, 1 << 20, &Arc::new(Families::default())).unwrap();
        let mut out = Vec::new();
        for batch in request.into_batches(Origin::of_source("in"), 0) {
            for event in batch.iter() {
                let mut line = Vec::new();
                event.write_json(&mut line);
                out.push(String::from_utf8(line).unwrap());
            }
        }
        out
    }

    #[test]
    fn samples_come_back_with_their_labels_and_what_their_metric_is() {
        let out = there_and_back(&[
            r#"{"name":"http.hits","value":5,"type":"counter","labels":{"z":"1","A":"q\"\n","b":"","n":null,"z ":"2"},"unit":"1","description":"all"}"#,
            r#"{"name":"lat_bucket","value":3,"type":"histogram","labels":{"le":"0.5"}}"#,
            r#"{"name":"temp","value":"-1.5","type":"Gauge"}"#,
        ]);
        let time = r#""timestamp":"2025-01-10T10:00:00.123Z"}"#;
        assert_eq!(
            out,
            [
                format!(
                    r#"{{"name":"http_hits","value":5,"type":"counter","labels":{{"A":"q\"\n","z":"1","z_":"2"}},"unit":"1","description":"all",{time}"#
                ),
                format!(r#"{{"name":"lat_bucket","value":3,"type":"histogram","labels":{{"le":"0.5"}},{time}"#),
                format!(r#"{{"name":"temp","value":-1.5,"type":"gauge","labels":{{}},{time}"#),
            ]
        );
    }

    #[test]
    fn what_a_metric_is_goes_along_once_a_minute() {
        let mut encoder = RemoteWriteEncoder::default();
        let hit = batch(r#"{"name":"hits_total","value":5,"type":"counter"}"#);
        let mut said = |now: i64| {
            let mut body = Vec::new();
            encoder.write(hit.event(0), 0, now * 1_000_000_000, &mut body).unwrap();
            Fields::new(&body).map(|field| field.unwrap().0).collect::<Vec<_>>()
        };
        assert_eq!(said(0), [3, 1]);
        assert_eq!(said(59), [1]);
        assert_eq!(said(60), [3, 1]);
        // A clock that was set back does not silence it.
        assert_eq!(said(10), [3, 1]);
    }

    #[test]
    fn what_no_series_can_be_made_of_is_refused() {
        for line in [
            r#"{"value":5}"#,
            r#"{"name":"","value":5}"#,
            r#"{"name":"x"}"#,
            r#"{"name":"x","value":"NaN"}"#,
            r#"{"name":"x","value":5,"temporality":"delta"}"#,
        ] {
            let mut body = b"before".to_vec();
            assert!(RemoteWriteEncoder::default().write(batch(line).event(0), 0, 0, &mut body).is_err(), "{line}");
            assert_eq!(body, b"before");
        }
    }
}
