//! Lines of the page: heads of families, samples, numbers.

use super::names::{Kind, WHOLE, write_number};
use super::registry::FamilyOptions;

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

fn write_meta(word: &str, name: &str, out: &mut Vec<u8>) {
    for part in ["# ", word, " ", name, " "] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// A bucket's bound or a quantile; OpenMetrics always writes a point.
pub(super) fn write_bound(x: f64, format: Format, out: &mut Vec<u8>) {
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
