//! The page: all series in the text format 0.0.4, or in OpenMetrics 1.0.0.
//!
//! Names are the same in both. OpenMetrics wants `_total` behind every counter; one without it is called `unknown` there
//! rather than renamed. Counts are whole numbers: what `sample_rate` weighed is rounded.
//!
//! Metrics come in the order of their names, series of one in that of their labels, so that two pages can be compared. The parts
//! of somebody else's histogram or summary ([`whole`]) are one metric.

use super::exemplar;
use super::names::{Kind, PartKind};
use super::registry::{Data, Family, FamilyOptions, Registry, Series};
use super::whole::{self, Whole};
use std::collections::BTreeMap;

/// A way to write the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Prometheus' text format.
    Text,
    /// OpenMetrics.
    OpenMetrics,
}

impl Format {
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// What a reader with this `Accept` header gets: OpenMetrics where it is asked for no less than plain text.
    pub(super) fn accepted(accept: &str) -> Format {
        let (mut open, mut text) = (0.0, 0.0);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let (mut quality, mut version) = (1.0, None);
            for part in parts {
                match part.split_once('=') {
                    Some(("q", q)) => quality = q.parse().unwrap_or(0.0),
                    Some(("version", v)) => version = Some(v),
                    _ => {}
                }
            }
            let best: &mut f64 = match (kind, version) {
                ("application/openmetrics-text", None | Some("1.0.0" | "0.0.1")) => &mut open,
                ("text/plain", None | Some("0.0.4")) | ("text/*" | "*/*", _) => &mut text,
                _ => continue,
            };
            *best = best.max(quality);
        }
        if open > 0.0 && open >= text { Format::OpenMetrics } else { Format::Text }
    }
}

/// What stands below one name.
enum Metric<'r> {
    /// A family with its series.
    Family(&'r Family, Vec<&'r Series>),
    /// The parts of somebody else's histogram or summary.
    Whole(Whole<'r>),
}

/// Appends the whole page.
pub(super) fn write(registry: &Registry, format: Format, out: &mut Vec<u8>) {
    let mut metrics: BTreeMap<&str, Metric<'_>> = BTreeMap::new();
    for family in &registry.families {
        let mut series: Vec<&Series> = family.series.iter().filter(|s| !registry.is_over(s)).collect();
        if series.is_empty() {
            continue;
        }
        // The text format knows no time of beginning: there it is a metric of its own.
        let of_whole = |kind| kind != PartKind::Created || format == Format::OpenMetrics;
        match family.options.part.as_ref().filter(|part| of_whole(part.kind)) {
            Some(part) => {
                let metric = metrics.entry(&part.base).or_insert_with(|| Metric::Whole(Whole::new(part.whole)));
                if let Metric::Whole(whole) = metric {
                    whole.add(family, part, series);
                }
            }
            None => {
                series.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
                metrics.insert(&family.options.name, Metric::Family(family, series));
            }
        }
    }
    for (name, metric) in metrics {
        match metric {
            Metric::Family(family, series) => write_family(family, series, format, out),
            Metric::Whole(whole) if whole.is_complete() => whole::write(name, &whole, format, out),
            Metric::Whole(whole) => {
                let mut parts = whole.parts;
                parts.sort_unstable_by(|a, b| a.0.options.name.cmp(&b.0.options.name));
                for (family, mut series) in parts {
                    series.sort_unstable_by(|a, b| a.labels.cmp(&b.labels));
                    write_family(family, series, format, out);
                }
            }
        }
    }
    if format == Format::OpenMetrics {
        out.extend_from_slice(b"# EOF\n");
    }
}

/// Appends what stands in front of the samples of a metric.
pub(super) fn write_head(name: &str, kind: Kind, o: &FamilyOptions, format: Format, out: &mut Vec<u8>) {
    if !o.help.is_empty() {
        write_meta("HELP", name, out);
        for c in o.help.chars() {
            match c {
                '\\' => out.extend_from_slice(b"\\\\"),
                '\n' => out.extend_from_slice(b"\\n"),
                '"' if format == Format::OpenMetrics => out.extend_from_slice(b"\\\""),
                c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        out.push(b'\n');
    }
    write_meta("TYPE", name, out);
    let type_name = if format == Format::Text { kind.text_name() } else { kind.open_name() };
    out.extend_from_slice(type_name.as_bytes());
    out.push(b'\n');
    // OpenMetrics: the unit must end the name.
    let named = name.strip_suffix(o.unit.as_str()).is_some_and(|n| n.len() > 1 && n.ends_with('_'));
    if format == Format::OpenMetrics && !o.unit.is_empty() && named {
        write_meta("UNIT", name, out);
        out.extend_from_slice(o.unit.as_bytes());
        out.push(b'\n');
    }
}

/// Appends a sample without its line's end: labels as they stand between the braces, and a bound or quantile behind them.
pub(super) fn write_sample(
    (name, suffix): (&str, &str),
    labels: &[u8],
    extra: Option<(&str, f64)>,
    value: f64,
    format: Format,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(suffix.as_bytes());
    if extra.is_some() || !labels.is_empty() {
        out.push(b'{');
        out.extend_from_slice(labels);
        if let Some((label, bound)) = extra {
            if !labels.is_empty() {
                out.push(b',');
            }
            out.extend_from_slice(label.as_bytes());
            out.extend_from_slice(b"=\"");
            write_bound(bound, format, out);
            out.push(b'"');
        }
        out.push(b'}');
    }
    out.push(b' ');
    write_number(value, out);
}

fn write_family(family: &Family, shown: Vec<&Series>, format: Format, out: &mut Vec<u8>) {
    let o = &family.options;
    let mut name = o.name.as_str();
    let is_time = o.part.as_ref().is_some_and(|part| part.kind == PartKind::Created);
    let mut kind = if is_time { Kind::Gauge } else { o.kind };
    if format == Format::OpenMetrics && kind == Kind::Counter {
        match name.strip_suffix("_total") {
            Some(family) if !family.is_empty() => name = family,
            _ => kind = Kind::Unknown,
        }
    }
    write_head(name, kind, o, format, out);
    for series in shown {
        let mut sample = |suffix: &str, extra: Option<(&str, f64)>, value: f64| {
            write_sample((&o.name, suffix), &series.labels, extra, value, format, out);
            if kind == Kind::Counter
                && format == Format::OpenMetrics
                && let Some(exemplar) = series.exemplars.last()
            {
                exemplar::write(exemplar, out);
            }
            out.push(b'\n');
        };
        match &series.data {
            Data::Number(x) => sample("", None, *x),
            Data::Histogram { counts, sum } => {
                let mut count = 0.0;
                let bounds = o.buckets.iter().copied().chain([f64::INFINITY]);
                for (bound, n) in bounds.zip(counts) {
                    count += n;
                    sample("_bucket", Some(("le", bound)), count.round());
                }
                // OpenMetrics: no sum, and so no count, where values below zero have buckets.
                if format == Format::Text || o.buckets.first().is_none_or(|b| *b >= 0.0) {
                    sample("_sum", None, *sum);
                    sample("_count", None, count.round());
                }
            }
            Data::Summary(summary) => {
                for &q in &o.quantiles {
                    sample("", Some(("quantile", q)), summary.quantile(q).unwrap_or(f64::NAN));
                }
                sample("_sum", None, summary.sum);
                sample("_count", None, summary.count.round());
            }
        }
    }
}

fn write_meta(word: &str, name: &str, out: &mut Vec<u8>) {
    for part in ["# ", word, " ", name, " "] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// A bucket's bound or a quantile; OpenMetrics always writes a point.
fn write_bound(x: f64, format: Format, out: &mut Vec<u8>) {
    write_number(x, out);
    if format == Format::OpenMetrics && x.is_finite() && x == x.trunc() && x.abs() < WHOLE {
        out.extend_from_slice(b".0");
    }
}

/// Gives the names and plain values of labels as they stand in the exposition.
pub(super) fn each_label(labels: &[u8], mut give: impl FnMut(&[u8], Vec<u8>)) {
    let mut rest = labels;
    while let Some(at) = memchr::memchr(b'=', rest) {
        let name = &rest[..at];
        let mut value = Vec::new();
        // Behind `="`.
        let mut i = at + 2;
        while let Some(&c) = rest.get(i).filter(|c| **c != b'"') {
            let escaped = c == b'\\';
            i += usize::from(escaped);
            match rest.get(i) {
                Some(b'n') if escaped => value.push(b'\n'),
                Some(&c) => value.push(c),
                None => {}
            }
            i += 1;
        }
        give(name, value);
        // Behind `",`.
        rest = rest.get(i + 2..).unwrap_or_default();
    }
}

/// Whole numbers below this are written without point or exponent.
const WHOLE: f64 = 1e15;

pub(super) fn write_number(x: f64, out: &mut Vec<u8>) {
    if x.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if x.is_infinite() {
        out.extend_from_slice(if x > 0.0 { b"+Inf" } else { b"-Inf" });
    } else if x == x.trunc() && x.abs() < WHOLE {
        out.extend_from_slice(itoa::Buffer::new().format(x as i64).as_bytes());
    } else {
        out.extend_from_slice(ryu::Buffer::new().format_finite(x).as_bytes());
    }
}
