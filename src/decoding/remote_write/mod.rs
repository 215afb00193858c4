//! Prometheus remote write 1.0: `WriteRequest` to metric events, one a sample.
//!
//! Fields, in order: `name, value, type, labels, unit, description, timestamp, exemplars`; `labels` without `__name__`, in
//! the order they came. As for [OTLP](super::otlp), a request is read through before anything of it is handed on.
//!
//! - A series has no type in this protocol: now and then a request brings those of all metrics. [`Families`] remembers
//!   them; until then the type is guessed from the name (`…_total` a counter, `…_bucket` with `le` a histogram, `quantile`
//!   a summary, else a gauge). Parts of a histogram or summary have its type, as `normalize` and the sinks take it.
//! - Native histograms become buckets with upper bounds, as exponential ones of OTLP do.
//! - The mark that ends a series is an event with `stale: true` and without a value ([`EventRef::is_stale`]).
//! - Exemplars go with a sample of their series, the last in the request: Prometheus sends them in entries of their own, with
//!   the labels of the series and no sample. Those whose series has no sample in the request are dropped (`no_sample`).
//! - Dropped are values that are no finite numbers (`not_finite`), series without a name (`no_name`) and without anything
//!   (`no_sample`), and what stands in fields that the protocol does not have (`unknown_field`): no event could be made of
//!   them that a sink could send. Types that cannot be remembered are no records, and are guessed on.
//!
//! [`EventRef::is_stale`]: crate::event::EventRef::is_stale
//!
//! Source: <https://prometheus.io/docs/specs/prw/remote_write_spec/>.

use super::histogram::{Buckets, Exponential};
use super::records::{self, Batches, Records, Summary, most_bytes, next_of, place, push_bound};
use crate::event::{Batch, EventKind, EventMut, Form, Origin, Str, Sym, Value, json};
use crate::framing::span::Span;
use crate::sync::Locked;
use crate::wire::protobuf::{Fields, Malformed, Wire, repeated_fixed64, repeated_varint, unzigzag};
use hashbrown::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

/// Metrics whose types are remembered.
const MOST_FAMILIES: usize = 20_000;
/// Bytes of a name, help or unit that are remembered.
const LONGEST: usize = 1024;
/// Exemplars of one request that are looked after; further ones are dropped (`too_many`).
const MOST_EXEMPLARS: usize = 1 << 16;
/// Most buckets of one native histogram.
const MOST_BUCKETS: usize = 4096;
/// The value that marks the end of a series.
const STALE: u64 = 0x7ff0_0000_0000_0002;
/// The schema of native histograms whose bounds are given.
const CUSTOM_BOUNDS: i64 = -53;

/// Types, units and help of metrics, as servers that write have told them.
#[derive(Debug, Default)]
pub struct Families {
    known: Mutex<HashMap<Box<[u8]>, Family>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Family {
    kind: &'static str,
    unit: Box<[u8]>,
    help: Box<[u8]>,
}

impl Families {
    fn lock(&self) -> MutexGuard<'_, HashMap<Box<[u8]>, Family>> {
        self.known.locked()
    }

    /// Remembers what the request says of its metrics. Counts the fields in it that version 1.0 does not have.
    fn learn(&self, request: &[u8]) -> Result<u64, Malformed> {
        let mut unknown = 0;
        for field in Fields::new(request) {
            let metadata = match field? {
                (1, _) => continue,
                (3, metadata) => metadata,
                // Its texts and its series, in which version 1.0 would see nothing.
                (4 | 5, Wire::Bytes(_)) => return Err(Malformed("it is a request of remote write 2.0; 1.0 is taken")),
                (_, Wire::Bytes(bytes)) => {
                    unknown += u64::from(!bytes.is_empty());
                    continue;
                }
                _ => continue,
            };
            let (mut kind, mut name, mut help, mut unit) = (0, &b""[..], &b""[..], &b""[..]);
            for field in Fields::new(metadata.bytes()?) {
                match field? {
                    (1, number) => kind = number.u64()?,
                    (2, text) => name = text.bytes()?,
                    (4, text) => help = text.bytes()?,
                    (5, text) => unit = text.bytes()?,
                    _ => {}
                }
            }
            let utf8 = [name, help, unit].iter().all(|text| text.len() <= LONGEST && std::str::from_utf8(text).is_ok());
            if name.is_empty() || !utf8 {
                continue;
            }
            let kind = match kind {
                1 => "counter",
                3 | 4 => "histogram",
                5 => "summary",
                _ => "gauge",
            };
            let family = Family { kind, unit: unit.into(), help: help.into() };
            let mut known = self.lock();
            let room = known.len() < MOST_FAMILIES;
            match known.get_mut(name) {
                Some(old) => *old = family,
                None if room => _ = known.insert(name.into(), family),
                None => {}
            }
        }
        Ok(unknown)
    }

    /// The family of a series, by its name or by what is left of it without what its parts add.
    fn of(&self, name: &[u8]) -> Option<Family> {
        let known = self.lock();
        if let Some(family) = known.get(name) {
            return Some(family.clone());
        }
        let suffixes = [&b"_bucket"[..], b"_sum", b"_count", b"_total", b"_created"];
        let parent = suffixes.iter().find_map(|suffix| name.strip_suffix(*suffix))?;
        known.get(parent).cloned()
    }
}

/// A request that can be read to its end.
#[derive(Debug)]
pub struct Request {
    bytes: Vec<u8>,
    max_event: usize,
    families: Arc<Families>,
    exemplars: Exemplars,
    summary: Summary,
}

impl Request {
    /// Reads a whole request, decompressed. Samples of series whose labels have more than `max_event` bytes are dropped
    /// (`too_large`).
    ///
    /// Errors: why it cannot be taken; to be answered with 400.
    pub fn read(bytes: Vec<u8>, max_event: usize, families: &Arc<Families>) -> Result<Request, Malformed> {
        let unknown = families.learn(&bytes)?;
        let read_through = |exemplars| {
            let walk = Walk::new(bytes.len(), max_event, families.clone(), exemplars);
            Batches::new(&bytes, walk, Origin::of_source(""), 0).read_through(most_bytes(bytes.len()))
        };
        let (mut summary, mut walk) = read_through(Exemplars::default())?;
        let mut exemplars = Exemplars::default();
        if walk.saw_exemplars {
            // Most requests have none, and are read through once.
            (summary, walk) = read_through(Exemplars::of(&bytes)?)?;
            exemplars = walk.exemplars;
            exemplars.settle(&bytes, max_event, &mut summary)?;
        }
        for _ in 0..unknown {
            summary.drop_one("unknown_field");
        }
        Ok(Request { bytes, max_event, families: families.clone(), exemplars, summary })
    }

    /// What is in it.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Its events, batch by batch. The batches have no acknowledgement yet.
    pub fn into_batches(self, origin: Arc<Origin>, received_at: i64) -> impl Iterator<Item = Batch> + Send + use<> {
        let walk = Walk::new(self.bytes.len(), self.max_event, self.families, self.exemplars);
        let mut batches = Batches::new(self.bytes, walk, origin, received_at);
        // It was read to its end before: there is nothing that cannot be read.
        std::iter::from_fn(move || batches.next_batch().ok().flatten())
    }
}

fn exemplars_key() -> Sym {
    static KEY: OnceLock<Sym> = OnceLock::new();
    *KEY.get_or_init(|| Sym::from_config("exemplars"))
}

/// Exemplars of a request by the series they are of, and the samples they go with.
#[derive(Debug, Default)]
struct Exemplars {
    /// By the labels' bytes, one behind the other.
    groups: HashMap<Vec<u8>, Group>,
    /// How many there are beyond [`MOST_EXEMPLARS`].
    beyond: u64,
    /// The samples are known: they are written, where before they are looked for.
    settled: bool,
}

/// The exemplars of one series.
#[derive(Debug, Default)]
struct Group {
    exemplars: Vec<Span>,
    /// The sample: first byte of its entry, and how many samples of the entry are behind it.
    sample: Option<(usize, usize)>,
}

impl Exemplars {
    /// Those of a request.
    fn of(request: &[u8]) -> Result<Exemplars, Malformed> {
        let mut groups: HashMap<Vec<u8>, Group> = HashMap::new();
        let mut labels = Vec::new();
        let (mut count, mut beyond) = (0, 0);
        for field in Fields::new(request) {
            let (1, series) = field? else { continue };
            let series = series.bytes()?;
            labels_of(series, &mut labels)?;
            for field in Fields::new(series) {
                let (3, exemplar) = field? else { continue };
                let exemplar = place(request, exemplar.bytes()?);
                if count == MOST_EXEMPLARS {
                    beyond += 1;
                    continue;
                }
                count += 1;
                groups.entry_ref(&labels[..]).or_default().exemplars.push(exemplar);
            }
        }
        Ok(Exemplars { groups, beyond, settled: false })
    }

    /// Checks them, once the samples are known. Those without a sample, and those that have no room in its event, are
    /// dropped.
    fn settle(&mut self, request: &[u8], max_event: usize, summary: &mut Summary) -> Result<(), Malformed> {
        for _ in 0..self.beyond {
            summary.drop_one("too_many");
        }
        let mut text = Vec::new();
        let mut known = Summary::default();
        for group in self.groups.values_mut() {
            text.clear();
            let mut result = Ok(());
            group.exemplars.retain(|exemplar| {
                let before = text.len();
                result = result.and_then(|()| write_exemplar(exemplar.of(request), &mut known, &mut text));
                let fits = group.sample.is_some() && text.len() + 2 <= max_event;
                if !fits {
                    text.truncate(before);
                    summary.drop_one(if group.sample.is_some() { "too_large" } else { "no_sample" });
                }
                // A comma follows it.
                text.push(b',');
                fits
            });
            result?;
        }
        summary.invalid_utf8 += known.invalid_utf8;
        self.settled = true;
        Ok(())
    }
}

/// The labels of a series as they stand in it, one behind the other.
fn labels_of(series: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    out.clear();
    for field in Fields::new(series) {
        if let (1, label) = field? {
            let label = label.bytes()?;
            // A length before each, so that two series never look alike.
            out.extend_from_slice(&(label.len() as u64).to_le_bytes());
            out.extend_from_slice(label);
        }
    }
    Ok(())
}

/// One series at a time, and of that one sample.
struct Walk {
    max_event: usize,
    families: Arc<Families>,
    exemplars: Exemplars,
    /// There were exemplars.
    saw_exemplars: bool,
    /// The labels of the series at hand, where the request has exemplars.
    key: Vec<u8>,
    /// What is left of the request.
    rest: Span,
    /// The series at hand.
    series: Span,
    /// What is left of it: samples and histograms.
    samples: Span,
    /// Samples left in it.
    left: usize,
    name: Vec<u8>,
    /// Labels as the members of an object, without the closing brace.
    labels: Vec<u8>,
    family: Family,
    text: Vec<u8>,
}

impl Walk {
    /// Through a request of `len` bytes.
    fn new(len: usize, max_event: usize, families: Arc<Families>, exemplars: Exemplars) -> Self {
        Walk {
            max_event,
            families,
            exemplars,
            saw_exemplars: false,
            key: Vec::new(),
            rest: Span::new(0, len),
            series: Span::default(),
            samples: Span::default(),
            left: 0,
            name: Vec::new(),
            labels: Vec::new(),
            family: Family::default(),
            text: Vec::new(),
        }
    }

    fn enter(&mut self, series: &[u8], summary: &mut Summary) -> Result<(), Malformed> {
        self.name.clear();
        self.labels.clear();
        let (mut le, mut quantile, mut exemplars) = (false, false, false);
        self.left = 0;
        for field in Fields::new(series) {
            let label = match field? {
                (1, label) => label.bytes()?,
                (2 | 4, _) => {
                    self.left += 1;
                    continue;
                }
                (3, _) => {
                    exemplars = true;
                    continue;
                }
                (_, Wire::Bytes(bytes)) if !bytes.is_empty() => {
                    summary.drop_one("unknown_field");
                    continue;
                }
                _ => continue,
            };
            let (mut name, mut value) = (&b""[..], &b""[..]);
            for field in Fields::new(label) {
                match field? {
                    (1, text) => name = text.bytes()?,
                    (2, text) => value = text.bytes()?,
                    _ => {}
                }
            }
            if name == b"__name__" {
                self.name.clear();
                self.name.extend_from_slice(&replaced(value, summary));
                continue;
            }
            (le, quantile) = (le || name == b"le", quantile || name == b"quantile");
            self.labels.extend_from_slice(if self.labels.is_empty() { b"{\"" } else { b",\"" });
            json::escape(&replaced(name, summary), &mut self.labels);
            self.labels.extend_from_slice(b"\":\"");
            json::escape(&replaced(value, summary), &mut self.labels);
            self.labels.push(b'"');
        }
        if self.labels.is_empty() {
            self.labels.push(b'{');
        }
        self.family = self.families.of(&self.name).unwrap_or_else(|| {
            let kind = match &self.name[..] {
                [.., b'_', b't', b'o', b't', b'a', b'l'] => "counter",
                name if le && name.ends_with(b"_bucket") => "histogram",
                _ if quantile => "summary",
                _ => "gauge",
            };
            Family { kind, ..Family::default() }
        });
        self.saw_exemplars |= exemplars;
        if self.left == 0 && !exemplars {
            summary.drop_one("no_sample");
        }
        if !self.exemplars.groups.is_empty() {
            labels_of(series, &mut self.key)?;
        }
        let unfit = match self.name.len() {
            0 => Some("no_name"),
            len if len + self.labels.len() > self.max_event => Some("too_large"),
            _ => None,
        };
        if let Some(reason) = unfit {
            for _ in 0..std::mem::take(&mut self.left) {
                summary.drop_one(reason);
            }
        }
        Ok(())
    }

    /// Appends an event; one without a value is the end of its series.
    fn event<'b>(
        &mut self,
        batch: &'b mut Batch,
        suffix: &str,
        value: Option<Value<'_>>,
        le: Option<f64>,
        ms: i64,
    ) -> EventMut<'b> {
        if value.is_none() {
            batch.set_stale();
        }
        let row = batch.push_event(EventKind::Metric);
        let mut event = batch.event_mut(row);
        let clean = |bytes| Value::Str(Str { bytes, form: Form::Clean });
        self.text.clear();
        self.text.extend_from_slice(&self.name);
        self.text.extend_from_slice(suffix.as_bytes());
        event.push(Sym::NAME, Value::from(&self.text[..]));
        match value {
            Some(value) => event.push(Sym::VALUE, value),
            None => event.push(Sym::STALE, Value::Bool(true)),
        };
        event.push(Sym::TYPE, clean(self.family.kind.as_bytes()));
        let len = self.labels.len();
        if let Some(bound) = le {
            self.labels.extend_from_slice(if len == 1 { b"\"le\":\"" } else { b",\"le\":\"" });
            push_bound(bound, &mut self.labels);
            self.labels.push(b'"');
        }
        self.labels.push(b'}');
        event.push(Sym::LABELS, Value::Object(&self.labels));
        self.labels.truncate(len);
        for (key, text) in [(Sym::UNIT, &self.family.unit), (Sym::DESCRIPTION, &self.family.help)] {
            if !text.is_empty() {
                event.push(key, Value::from(&text[..]));
            }
        }
        let ns = ms.saturating_mul(1_000_000);
        self.text.clear();
        records::push_time(ns, &mut self.text);
        event.push(Sym::TIMESTAMP, clean(&self.text));
        event.set_time(ns);
        event
    }

    fn sample(
        &mut self,
        request: &[u8],
        sample: &[u8],
        batch: &mut Batch,
        summary: &mut Summary,
    ) -> Result<(), Malformed> {
        let (mut value, mut ms) = (0.0f64, 0);
        for field in Fields::new(sample) {
            match field? {
                (1, number) => value = number.f64()?,
                (2, number) => ms = number.i64()?,
                _ => {}
            }
        }
        self.left -= 1;
        if value.to_bits() == STALE {
            self.event(batch, "", None, None, ms);
        } else if !value.is_finite() {
            summary.drop_one("not_finite");
        } else {
            self.event(batch, "", Some(number(value)), None, ms);
            self.exemplars(request, batch, summary)?;
        }
        Ok(())
    }

    /// Appends the exemplars that go with the sample that was made an event last.
    fn exemplars(&mut self, request: &[u8], batch: &mut Batch, summary: &mut Summary) -> Result<(), Malformed> {
        if self.exemplars.groups.is_empty() {
            return Ok(());
        }
        let Some(group) = self.exemplars.groups.get_mut(&self.key[..]) else { return Ok(()) };
        let sample = Some((self.series.start, self.left));
        if !self.exemplars.settled {
            group.sample = sample;
        } else if group.sample == sample && !group.exemplars.is_empty() {
            self.text.clear();
            for exemplar in &group.exemplars {
                self.text.push(if self.text.is_empty() { b'[' } else { b',' });
                write_exemplar(exemplar.of(request), summary, &mut self.text)?;
            }
            self.text.push(b']');
            let row = batch.rows() - 1;
            batch.event_mut(row).push(exemplars_key(), Value::Array(&self.text));
        }
        Ok(())
    }

    fn histogram(
        &mut self,
        request: &[u8],
        message: &[u8],
        batch: &mut Batch,
        summary: &mut Summary,
    ) -> Result<(), Malformed> {
        let mut native = Native::default();
        for field in Fields::new(message) {
            let (number, value) = field?;
            match number {
                1 => native.count = value.u64()? as f64,
                2 => native.count = value.f64()?,
                3 => native.sum = value.f64()?,
                4 => native.schema = value.sint()?,
                5 => native.zero_threshold = value.f64()?,
                6 => native.zero_count = value.u64()? as f64,
                7 => native.zero_count = value.f64()?,
                8 => native.negative.span(value.bytes()?)?,
                9 => repeated_varint(value, &mut native.negative.deltas)?,
                10 => repeated_fixed64(value, &mut native.negative.counts)?,
                11 => native.positive.span(value.bytes()?)?,
                12 => repeated_varint(value, &mut native.positive.deltas)?,
                13 => repeated_fixed64(value, &mut native.positive.counts)?,
                15 => native.ms = value.i64()?,
                16 => repeated_fixed64(value, &mut native.bounds)?,
                _ => {}
            }
        }
        self.left -= 1;
        let ms = native.ms;
        if native.sum.to_bits() == STALE {
            self.family.kind = "histogram";
            self.event(batch, "", None, None, ms);
            return Ok(());
        }
        let Some(below) = native.below().filter(|_| native.count.is_finite() && native.zero_count.is_finite()) else {
            summary.drop_one("unreadable");
            return Ok(());
        };
        self.family.kind = "histogram";
        for (bound, count) in below {
            self.event(batch, "_bucket", Some(number(count)), Some(bound), ms);
        }
        self.event(batch, "_bucket", Some(number(native.count)), Some(f64::INFINITY), ms);
        if native.sum.is_finite() {
            self.event(batch, "_sum", Some(Value::F64(native.sum)), None, ms);
        } else {
            summary.drop_one("not_finite");
        }
        self.event(batch, "_count", Some(number(native.count)), None, ms);
        self.exemplars(request, batch, summary)
    }
}

fn write_exemplar(exemplar: &[u8], summary: &mut Summary, out: &mut Vec<u8>) -> Result<(), Malformed> {
    out.extend_from_slice(b"{\"labels\":{");
    let (mut value, mut ms) = (0.0, 0);
    let start = out.len();
    for field in Fields::new(exemplar) {
        match field? {
            (1, label) => {
                let mut pair = [&b""[..]; 2];
                for field in Fields::new(label.bytes()?) {
                    if let (n @ (1 | 2), text) = field? {
                        pair[n as usize - 1] = text.bytes()?;
                    }
                }
                out.extend_from_slice(if out.len() == start { b"\"" } else { b",\"" });
                json::escape(&replaced(pair[0], summary), out);
                out.extend_from_slice(b"\":\"");
                json::escape(&replaced(pair[1], summary), out);
                out.push(b'"');
            }
            (2, number) => value = number.f64()?,
            (3, number) => ms = number.i64()?,
            _ => {}
        }
    }
    out.extend_from_slice(b"},\"value\":");
    json::write_f64(value, out);
    out.extend_from_slice(b",\"timestamp\":\"");
    records::push_time(ms.saturating_mul(1_000_000), out);
    out.extend_from_slice(b"\"}");
    Ok(())
}

fn number(x: f64) -> Value<'static> {
    if x.fract() == 0.0 && x.abs() < 9e15 { Value::I64(x as i64) } else { Value::F64(x) }
}

fn replaced<'t>(text: &'t [u8], summary: &mut Summary) -> std::borrow::Cow<'t, [u8]> {
    match simdutf8::basic::from_utf8(text) {
        Ok(_) => text.into(),
        Err(_) => {
            summary.invalid_utf8 += 1;
            String::from_utf8_lossy(text).into_owned().into_bytes().into()
        }
    }
}

/// A native histogram.
#[derive(Default)]
struct Native {
    count: f64,
    sum: f64,
    schema: i64,
    zero_threshold: f64,
    zero_count: f64,
    positive: Side,
    negative: Side,
    bounds: Vec<u64>,
    ms: i64,
}

/// Buckets on one side of zero, as the protocol has them.
#[derive(Default)]
struct Side {
    /// Gap before, and buckets in a row.
    spans: Vec<(i64, u64)>,
    /// Of integer histograms: differences to the bucket before, zigzag.
    deltas: Vec<u64>,
    /// Of float histograms.
    counts: Vec<u64>,
}

impl Side {
    fn span(&mut self, message: &[u8]) -> Result<(), Malformed> {
        let mut span = (0, 0);
        for field in Fields::new(message) {
            match field? {
                (1, offset) => span.0 = offset.sint()?,
                (2, length) => span.1 = length.u64()?,
                _ => {}
            }
        }
        self.spans.push(span);
        Ok(())
    }

    /// Index and count of each bucket; `None` where the parts do not go together.
    fn buckets(&self) -> Option<Vec<(i64, f64)>> {
        let mut counts = Vec::new();
        if self.counts.is_empty() {
            let mut count = 0i64;
            for delta in &self.deltas {
                count = count.checked_add(unzigzag(*delta))?;
                counts.push(count as f64);
            }
        } else {
            counts.extend(self.counts.iter().map(|bits| f64::from_bits(*bits)));
        }
        let total: u64 = self.spans.iter().try_fold(0u64, |sum, span| sum.checked_add(span.1))?;
        if total != counts.len() as u64 || counts.len() > MOST_BUCKETS || !counts.iter().all(|c| *c >= 0.0) {
            return None;
        }
        let mut out = Vec::new();
        let (mut index, mut at) = (0i64, counts.into_iter());
        for (gap, length) in &self.spans {
            index = index.checked_add(*gap)?;
            for _ in 0..*length {
                out.push((index, at.next()?));
                index = index.checked_add(1)?;
            }
        }
        Some(out)
    }
}

impl Native {
    /// Bounds and how much lies at or below each.
    fn below(&self) -> Option<Vec<(f64, f64)>> {
        let positive = self.positive.buckets()?;
        if self.schema == CUSTOM_BOUNDS {
            let mut sum = 0.0;
            let mut out = Vec::new();
            let mut buckets = positive.into_iter().peekable();
            for (i, bound) in self.bounds.iter().enumerate() {
                while let Some((_, count)) = buckets.next_if(|b| b.0 <= i as i64) {
                    sum += count;
                }
                out.push((f64::from_bits(*bound), sum));
            }
            let fits = out.len() <= MOST_BUCKETS && out.is_sorted_by(|a, b| a.0 < b.0);
            // The count of all stands at +Inf.
            out.pop_if(|last| last.0 == f64::INFINITY);
            return (fits && !out.iter().any(|b| b.0.is_nan())).then_some(out);
        }
        // A bucket's upper bound has its index here; in OTLP its lower bound has.
        let side = |buckets: Vec<(i64, f64)>| {
            let mut out = Buckets::default();
            for (index, count) in buckets {
                out.push(index.saturating_sub(1), count);
            }
            out
        };
        let exponential = Exponential {
            scale: self.schema,
            zero_threshold: self.zero_threshold,
            zero_count: self.zero_count,
            positive: side(positive),
            negative: side(self.negative.buckets()?),
        };
        Some(exponential.below())
    }
}

impl Records for Walk {
    fn next_into(&mut self, request: &[u8], batch: &mut Batch, summary: &mut Summary) -> Result<bool, Malformed> {
        loop {
            let mut fields = Fields::new(self.samples.of(request));
            while let Some(field) = fields.next() {
                let (number, value) = field?;
                if let 2 | 4 = number {
                    self.samples.start = self.samples.end - fields.left();
                    match number {
                        2 => self.sample(request, value.bytes()?, batch, summary)?,
                        _ => self.histogram(request, value.bytes()?, batch, summary)?,
                    }
                    return Ok(true);
                }
            }
            let Some(series) = next_of(request, &mut self.rest, 1)? else { return Ok(false) };
            self.enter(series, summary)?;
            self.series = place(request, series);
            self.samples = if self.left > 0 { self.series } else { Span::default() };
        }
    }
}

#[cfg(test)]
mod tests;
