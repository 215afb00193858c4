//! Data points.

use super::any::{Values, key_and_value};
use super::{TOO_LARGE, Walk, any, close, keys, last, member, push_clean, push_text, push_time, time_of};
use crate::decoding::histogram::{Buckets, Exponential};
use crate::decoding::records::{self, Summary, next_of, place, push_bound};
use crate::event::{Batch, EventKind, Sym, Value, json};
use crate::framing::span::Span;
use crate::wire::protobuf::{Fields, Malformed, repeated_fixed64, repeated_varint};

/// Most buckets of one point; no library makes more than some hundred.
const MOST_BUCKETS: usize = 4096;

/// A point's `flags`: there is no value.
const NO_RECORDED_VALUE: u64 = 1;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Gauge,
    Sum,
    Histogram,
    Exponential,
    Summary,
}

/// What the points of a metric have in common.
#[derive(Clone, Copy)]
struct Metric {
    name: Span,
    description: Span,
    unit: Span,
    form: Form,
    kind: &'static str,
    temporality: Option<&'static str>,
}

/// Where a request of metrics stands.
#[derive(Default)]
pub(super) struct Reader {
    metric: Option<Metric>,
    /// What is left of its points.
    points: Span,
    /// Labels that come from the resource: place of the key, and of the member's text in `common`.
    resource: Vec<(Span, Span)>,
    common: Vec<u8>,
    /// Members of the scope.
    scope: Vec<u8>,
    /// The labels of the point at hand, without the closing brace.
    labels: Vec<u8>,
    /// Keys of the point's own labels.
    own: Vec<Span>,
    numbers: Vec<u64>,
    bounds: Vec<u64>,
    name: Vec<u8>,
    text: Vec<u8>,
}

/// What a point is read from, and where its events go.
struct To<'b> {
    request: &'b [u8],
    batch: &'b mut Batch,
    values: &'b mut Values,
}

impl Reader {
    pub(super) fn enter_resource(
        &mut self,
        request: &[u8],
        resource: &[u8],
        values: &mut Values,
    ) -> Result<(), Malformed> {
        self.resource.clear();
        self.common.clear();
        for field in Fields::new(resource) {
            let (1, pair) = field? else { continue };
            let (key, _) = key_and_value(pair.bytes()?)?;
            let from = self.common.len();
            values.label(pair.bytes()?, &mut self.common)?;
            self.resource.push((place(request, key), Span::new(from, self.common.len())));
        }
        Ok(())
    }

    /// Bytes that every point gets from the metric, the scope and the resource.
    fn common_len(&self) -> usize {
        let of_metric = self.metric.map_or(0, |m| m.name.len() + m.description.len() + m.unit.len());
        of_metric + self.scope.len() + self.common.len()
    }

    pub(super) fn enter_scope(&mut self, scope: &[u8], values: &mut Values) -> Result<(), Malformed> {
        self.scope.clear();
        for field in Fields::new(scope) {
            let (name, text) = match field? {
                (1, text) => ("otel_scope_name", text.bytes()?),
                (2, text) => ("otel_scope_version", text.bytes()?),
                _ => continue,
            };
            if !text.is_empty() {
                self.scope.extend_from_slice(b",\"");
                self.scope.extend_from_slice(name.as_bytes());
                self.scope.extend_from_slice(b"\":");
                values.string(text, &mut self.scope);
            }
        }
        Ok(())
    }

    /// Makes the labels of a point whose attributes stand in field `number`.
    fn make_labels(&mut self, request: &[u8], point: &[u8], number: u32, values: &mut Values) -> Result<(), Malformed> {
        self.own.clear();
        self.labels.clear();
        for field in Fields::new(point) {
            let (n, pair) = field?;
            if n == number {
                self.labels.push(if self.labels.is_empty() { b'{' } else { b',' });
                self.own.push(place(request, key_and_value(pair.bytes()?)?.0));
                values.label(pair.bytes()?, &mut self.labels)?;
            }
        }
        for (key, member) in &self.resource {
            if !self.own.iter().any(|own| own.of(request) == key.of(request)) {
                self.labels.push(if self.labels.is_empty() { b'{' } else { b',' });
                self.labels.extend_from_slice(member.of(&self.common));
            }
        }
        let scope = if self.labels.is_empty() { self.scope.get(1..).unwrap_or_default() } else { &self.scope };
        if self.labels.is_empty() {
            self.labels.push(b'{');
        }
        self.labels.extend_from_slice(scope);
        Ok(())
    }

    /// Appends an event: the metric's name with `suffix`, with one more label.
    fn sample(
        &mut self,
        to: &mut To<'_>,
        suffix: &str,
        kind: &'static str,
        value: Value<'_>,
        label: Option<(&str, f64)>,
        (time, start): (u64, u64),
    ) {
        let Some(metric) = self.metric else { return };
        let To { request, batch, values } = to;
        batch.push_event(EventKind::Metric);
        self.name.clear();
        self.name.extend_from_slice(metric.name.of(request));
        self.name.extend_from_slice(suffix.as_bytes());
        push_text(batch, Sym::NAME, &self.name, values, &mut self.text);
        last(batch).push(Sym::VALUE, value);
        push_clean(batch, Sym::TYPE, kind.as_bytes());
        let len = self.labels.len();
        if let Some((name, bound)) = label {
            self.labels.extend_from_slice(if len == 1 { b"\"" } else { b",\"" });
            self.labels.extend_from_slice(name.as_bytes());
            self.labels.extend_from_slice(b"\":\"");
            push_bound(bound, &mut self.labels);
            self.labels.push(b'"');
        }
        self.labels.push(b'}');
        last(batch).push(Sym::LABELS, Value::Object(&self.labels));
        self.labels.truncate(len);
        for (key, text) in [(Sym::UNIT, metric.unit), (Sym::DESCRIPTION, metric.description)] {
            if !text.is_empty() {
                push_text(batch, key, text.of(request), values, &mut self.text);
            }
        }
        push_time(batch, Sym::TIMESTAMP, time, &mut self.text);
        if let Some(ns) = time_of(time) {
            last(batch).set_time(ns);
        }
        push_time(batch, keys().start_timestamp, start, &mut self.text);
        if let (Some(temporality), true) = (metric.temporality, !matches!(suffix, "_min" | "_max")) {
            push_clean(batch, keys().temporality, temporality.as_bytes());
        }
    }

    /// Appends the exemplars in field `number` of a point to the last event.
    fn exemplars(&mut self, to: &mut To<'_>, point: &[u8], number: u32) -> Result<(), Malformed> {
        self.text.clear();
        for field in Fields::new(point) {
            let (n, exemplar) = field?;
            if n == number {
                self.text.push(if self.text.is_empty() { b'[' } else { b',' });
                write_exemplar(exemplar.bytes()?, to.values, &mut self.text)?;
            }
        }
        if !self.text.is_empty() {
            self.text.push(b']');
            last(to.batch).push(keys().exemplars, Value::Array(&self.text));
        }
        Ok(())
    }

    fn number(&mut self, point: &[u8], to: &mut To<'_>, summary: &mut Summary) -> Result<(), Malformed> {
        let (mut times, mut flags, mut value, mut exemplars) = ((0, 0), 0, None, false);
        for field in Fields::new(point) {
            match field? {
                (2, start) => times.1 = start.u64()?,
                (3, time) => times.0 = time.u64()?,
                (4, number) => value = Some(Value::F64(number.f64()?)),
                (6, number) => value = Some(Value::I64(number.i64()?)),
                (5, _) => exemplars = true,
                (8, number) => flags = number.u64()?,
                _ => {}
            }
        }
        self.make_labels(to.request, point, 7, to.values)?;
        let kind = self.metric.map_or("gauge", |m| m.kind);
        match value {
            _ if flags & NO_RECORDED_VALUE != 0 => summary.drop_one("no_recorded_value"),
            None => summary.refuse("a data point has no value"),
            Some(Value::F64(x)) if !x.is_finite() => summary.drop_one("not_finite"),
            Some(value) => {
                self.sample(to, "", kind, value, None, times);
                if exemplars {
                    self.exemplars(to, point, 5)?;
                }
            }
        }
        Ok(())
    }

    /// Appends what histograms of both kinds have beside their buckets.
    fn totals(
        &mut self,
        to: &mut To<'_>,
        count: u64,
        sums: [(&str, Option<f64>); 3],
        times: (u64, u64),
        summary: &mut Summary,
    ) {
        for (suffix, value) in sums {
            let kind = if suffix == "_sum" { "histogram" } else { "gauge" };
            match value {
                Some(value) if value.is_finite() => self.sample(to, suffix, kind, Value::F64(value), None, times),
                Some(_) => summary.drop_one("not_finite"),
                None => {}
            }
        }
        self.sample(to, "_count", "histogram", records::count(count), None, times);
    }

    fn histogram(&mut self, point: &[u8], to: &mut To<'_>, summary: &mut Summary) -> Result<(), Malformed> {
        let (mut times, mut flags, mut count, mut exemplars) = ((0, 0), 0, 0, false);
        let (mut sum, mut min, mut max) = (None, None, None);
        self.numbers.clear();
        self.bounds.clear();
        for field in Fields::new(point) {
            match field? {
                (2, start) => times.1 = start.u64()?,
                (3, time) => times.0 = time.u64()?,
                (4, number) => count = number.u64()?,
                (5, number) => sum = Some(number.f64()?),
                (6, number) => repeated_fixed64(number, &mut self.numbers)?,
                (7, number) => repeated_fixed64(number, &mut self.bounds)?,
                (8, _) => exemplars = true,
                (10, number) => flags = number.u64()?,
                (11, number) => min = Some(number.f64()?),
                (12, number) => max = Some(number.f64()?),
                _ => {}
            }
        }
        self.make_labels(to.request, point, 9, to.values)?;
        if flags & NO_RECORDED_VALUE != 0 {
            summary.drop_one("no_recorded_value");
            return Ok(());
        }
        let (numbers, bounds) = (std::mem::take(&mut self.numbers), std::mem::take(&mut self.bounds));
        let fits = numbers.is_empty() && bounds.is_empty() || numbers.len() == bounds.len() + 1;
        let ascending = bounds.windows(2).all(|pair| f64::from_bits(pair[0]) < f64::from_bits(pair[1]));
        if !fits || !ascending || bounds.len() > MOST_BUCKETS || bounds.iter().any(|b| f64::from_bits(*b).is_nan()) {
            summary.refuse("a histogram's buckets do not go with its bounds");
        } else {
            let mut below = 0u64;
            for (number, bound) in numbers.iter().zip(&bounds) {
                below = below.saturating_add(*number);
                let bound = f64::from_bits(*bound);
                if bound < f64::INFINITY {
                    let value = records::count(below);
                    self.sample(to, "_bucket", "histogram", value, Some(("le", bound)), times);
                }
            }
            let inf = Some(("le", f64::INFINITY));
            self.sample(to, "_bucket", "histogram", records::count(count), inf, times);
            self.totals(to, count, [("_min", min), ("_max", max), ("_sum", sum)], times, summary);
            if exemplars {
                self.exemplars(to, point, 8)?;
            }
        }
        (self.numbers, self.bounds) = (numbers, bounds);
        Ok(())
    }

    fn exponential(&mut self, point: &[u8], to: &mut To<'_>, summary: &mut Summary) -> Result<(), Malformed> {
        let (mut times, mut flags, mut count, mut exemplars) = ((0, 0), 0, 0, false);
        let (mut sum, mut min, mut max) = (None, None, None);
        let mut exponential = Exponential::default();
        for field in Fields::new(point) {
            match field? {
                (2, start) => times.1 = start.u64()?,
                (3, time) => times.0 = time.u64()?,
                (4, number) => count = number.u64()?,
                (5, number) => sum = Some(number.f64()?),
                (6, number) => exponential.scale = number.sint()?,
                (7, number) => exponential.zero_count = number.u64()? as f64,
                (8, buckets) => exponential.positive = read_buckets(buckets.bytes()?)?,
                (9, buckets) => exponential.negative = read_buckets(buckets.bytes()?)?,
                (10, number) => flags = number.u64()?,
                (11, _) => exemplars = true,
                (12, number) => min = Some(number.f64()?),
                (13, number) => max = Some(number.f64()?),
                (14, number) => exponential.zero_threshold = number.f64()?,
                _ => {}
            }
        }
        self.make_labels(to.request, point, 1, to.values)?;
        if flags & NO_RECORDED_VALUE != 0 {
            summary.drop_one("no_recorded_value");
            return Ok(());
        }
        if exponential.len() > MOST_BUCKETS {
            summary.refuse("a histogram has too many buckets");
            return Ok(());
        }
        for (bound, below) in exponential.below() {
            let value = records::count(below as u64);
            self.sample(to, "_bucket", "histogram", value, Some(("le", bound)), times);
        }
        let inf = Some(("le", f64::INFINITY));
        self.sample(to, "_bucket", "histogram", records::count(count), inf, times);
        self.totals(to, count, [("_min", min), ("_max", max), ("_sum", sum)], times, summary);
        if exemplars {
            self.exemplars(to, point, 11)?;
        }
        Ok(())
    }

    fn summary(&mut self, point: &[u8], to: &mut To<'_>, summary: &mut Summary) -> Result<(), Malformed> {
        let (mut times, mut flags, mut count, mut sum) = ((0, 0), 0, 0, 0.0);
        for field in Fields::new(point) {
            match field? {
                (2, start) => times.1 = start.u64()?,
                (3, time) => times.0 = time.u64()?,
                (4, number) => count = number.u64()?,
                (5, number) => sum = number.f64()?,
                (8, number) => flags = number.u64()?,
                _ => {}
            }
        }
        self.make_labels(to.request, point, 7, to.values)?;
        if flags & NO_RECORDED_VALUE != 0 {
            summary.drop_one("no_recorded_value");
            return Ok(());
        }
        for field in Fields::new(point) {
            let (6, pair) = field? else { continue };
            let (mut quantile, mut value) = (0.0, 0.0);
            for field in Fields::new(pair.bytes()?) {
                match field? {
                    (1, number) => quantile = number.f64()?,
                    (2, number) => value = number.f64()?,
                    _ => {}
                }
            }
            if value.is_finite() && quantile.is_finite() {
                self.sample(to, "", "summary", Value::F64(value), Some(("quantile", quantile)), times);
            } else {
                summary.drop_one("not_finite");
            }
        }
        if sum.is_finite() {
            self.sample(to, "_sum", "summary", Value::F64(sum), None, times);
        } else {
            summary.drop_one("not_finite");
        }
        self.sample(to, "_count", "summary", records::count(count), None, times);
        Ok(())
    }
}

impl Walk {
    /// Appends the events of the next data point; `false` where there is none.
    pub(super) fn next_point(
        &mut self,
        request: &[u8],
        batch: &mut Batch,
        summary: &mut Summary,
    ) -> Result<bool, Malformed> {
        loop {
            let point = next_of(request, &mut self.metrics.points, 1)?;
            if let (Some(point), Some(metric)) = (point, self.metrics.metric) {
                if point.len() + self.metrics.common_len() > self.max_event {
                    summary.refuse(TOO_LARGE);
                    continue;
                }
                let reader = &mut self.metrics;
                let to = &mut To { request, batch, values: &mut self.values };
                match metric.form {
                    Form::Gauge | Form::Sum => reader.number(point, to, summary)?,
                    Form::Histogram => reader.histogram(point, to, summary)?,
                    Form::Exponential => reader.exponential(point, to, summary)?,
                    Form::Summary => reader.summary(point, to, summary)?,
                }
                return Ok(true);
            }
            let Some(record) = self.next_record(request, summary)? else { return Ok(false) };
            self.enter_metric(request, record, summary)?;
        }
    }

    fn enter_metric(&mut self, request: &[u8], record: &[u8], summary: &mut Summary) -> Result<(), Malformed> {
        let (mut name, mut description, mut unit, mut data) = (&b""[..], &b""[..], &b""[..], None);
        let mut part_of = None;
        for field in Fields::new(record) {
            let (number, value) = field?;
            let form = match number {
                1 => {
                    name = value.bytes()?;
                    continue;
                }
                2 => {
                    description = value.bytes()?;
                    continue;
                }
                3 => {
                    unit = value.bytes()?;
                    continue;
                }
                5 => Form::Gauge,
                7 => Form::Sum,
                9 => Form::Histogram,
                10 => Form::Exponential,
                11 => Form::Summary,
                12 => {
                    part_of = part_of.or(prometheus_type(value.bytes()?)?);
                    continue;
                }
                _ => continue,
            };
            if let Some((_, points)) = data.replace((form, value.bytes()?)) {
                // Of several the last counts.
                refuse_points(points, "a metric has data of several kinds", summary)?;
            }
        }
        self.metrics.points = Span::default();
        let Some((form, points)) = data else {
            summary.refuse("a metric has no data, or data of an unknown kind");
            return Ok(());
        };
        let (mut temporality, mut monotonic) = (0, false);
        for field in Fields::new(points) {
            match field? {
                (2, number) => temporality = number.u64()?,
                (3, number) => monotonic = number.u64()? != 0,
                _ => {}
            }
        }
        if name.is_empty() {
            return refuse_points(points, "a metric has no name", summary);
        }
        let kind = match form {
            Form::Gauge | Form::Sum if part_of.is_some() => part_of.unwrap_or("gauge"),
            Form::Sum if monotonic => "counter",
            Form::Gauge | Form::Sum => "gauge",
            Form::Histogram | Form::Exponential => "histogram",
            Form::Summary => "summary",
        };
        let temporality = match (form, temporality) {
            (Form::Gauge | Form::Summary, _) => None,
            (_, 1) => Some("delta"),
            (_, 2) => Some("cumulative"),
            _ => None,
        };
        let at = |part| place(request, part);
        let (name, description, unit) = (at(name), at(description), at(unit));
        self.metrics.metric = Some(Metric { name, description, unit, form, kind, temporality });
        self.metrics.points = at(points);
        Ok(())
    }
}

/// What a number is a part of, by an entry of its metric's metadata: one that another agent of ours has sent on.
fn prometheus_type(pair: &[u8]) -> Result<Option<&'static str>, Malformed> {
    let (key, value) = key_and_value(pair)?;
    let mut kind = None;
    for field in Fields::new(value.unwrap_or_default()) {
        if let (1, text) = field? {
            kind =
                ["histogram", "summary"].into_iter().find(|kind| kind.as_bytes() == text.bytes().unwrap_or_default());
        }
    }
    Ok(kind.filter(|_| key == b"prometheus.type"))
}

/// Refuses every point of a metric's data.
fn refuse_points(data: &[u8], why: &'static str, summary: &mut Summary) -> Result<(), Malformed> {
    for field in Fields::new(data) {
        if let (1, _) = field? {
            summary.refuse(why);
        }
    }
    Ok(())
}

fn read_buckets(message: &[u8]) -> Result<Buckets, Malformed> {
    let mut offset = 0;
    let mut counts = Vec::new();
    for field in Fields::new(message) {
        match field? {
            (1, number) => offset = number.sint()?,
            (2, numbers) => repeated_varint(numbers, &mut counts)?,
            _ => {}
        }
    }
    Ok(Buckets::dense(offset, counts.into_iter().map(|n| n as f64)))
}

fn write_exemplar(exemplar: &[u8], values: &mut Values, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let start = out.len();
    let mut attributes = false;
    for field in Fields::new(exemplar) {
        match field? {
            (2, time) => {
                if let Some(ns) = time_of(time.u64()?) {
                    member(out, start, "timestamp");
                    out.push(b'"');
                    records::push_time(ns, out);
                    out.push(b'"');
                }
            }
            (3, value) => {
                member(out, start, "value");
                json::write_f64(value.f64()?, out);
            }
            (6, value) => {
                member(out, start, "value");
                out.extend_from_slice(itoa::Buffer::new().format(value.i64()?).as_bytes());
            }
            (n @ (4 | 5), id) => {
                member(out, start, if n == 4 { "spanId" } else { "traceId" });
                out.push(b'"');
                any::hex(id.bytes()?, out);
                out.push(b'"');
            }
            (7, _) => attributes = true,
            _ => {}
        }
    }
    if attributes {
        member(out, start, "attributes");
        values.object(exemplar, 7, out)?;
    }
    close(out, start);
    Ok(())
}
