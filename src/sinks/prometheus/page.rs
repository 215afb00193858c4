//! The page: all series in the text format 0.0.4, or in OpenMetrics 1.0.0.
//!
//! Names are the same in both. OpenMetrics wants `_total` behind every counter; one without it is called `unknown` there
//! rather than renamed. Counts are whole numbers: what `sample_rate` weighed is rounded.

use super::names::Kind;
use super::registry::{Data, Family, Registry, Series};

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

/// Appends the whole page.
pub(super) fn write(registry: &Registry, format: Format, out: &mut Vec<u8>) {
    for family in &registry.families {
        let mut series = family.series.iter().filter(|s| !registry.is_over(s)).peekable();
        if series.peek().is_some() {
            write_family(family, series, format, out);
        }
    }
    if format == Format::OpenMetrics {
        out.extend_from_slice(b"# EOF\n");
    }
}

fn write_family<'f>(family: &'f Family, shown: impl Iterator<Item = &'f Series>, format: Format, out: &mut Vec<u8>) {
    let o = &family.options;
    let mut name = o.name.as_str();
    let mut kind = o.kind;
    if format == Format::OpenMetrics && kind == Kind::Counter {
        match name.strip_suffix("_total") {
            Some(family) if !family.is_empty() => name = family,
            _ => kind = Kind::Unknown,
        }
    }
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
    for series in shown {
        let mut sample = |suffix: &str, extra: Option<(&str, f64)>, value: f64| {
            out.extend_from_slice(o.name.as_bytes());
            out.extend_from_slice(suffix.as_bytes());
            if extra.is_some() || !series.labels.is_empty() {
                out.push(b'{');
                out.extend_from_slice(&series.labels);
                if let Some((label, bound)) = extra {
                    if !series.labels.is_empty() {
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
