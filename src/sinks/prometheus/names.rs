//! Names that an exposition may have, and which of them a metric takes for itself.

pub(super) use crate::encoding::remote_write::{NameOf, push_name};

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by bucket.
    Histogram,
    /// Quantiles.
    Summary,
    /// A sample of another exposition, taken over as it is.
    Unknown,
}

impl Kind {
    /// As the text format calls it.
    pub(super) fn text_name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            Kind::Summary => "summary",
            Kind::Unknown => "untyped",
        }
    }

    /// As OpenMetrics calls it.
    pub(super) fn open_name(self) -> &'static str {
        match self {
            Kind::Unknown => "unknown",
            other => other.text_name(),
        }
    }

    /// The suffixes of the names that such a metric takes besides its own.
    fn suffixes(self) -> &'static [&'static str] {
        match self {
            Kind::Histogram => &["_bucket", "_sum", "_count", "_created"],
            Kind::Summary => &["_sum", "_count", "_created"],
            Kind::Counter | Kind::Gauge | Kind::Unknown => &[],
        }
    }

    /// Every name that a metric takes: no other may have one of them in either format.
    pub(super) fn claims(self, name: &str) -> impl Iterator<Item = String> {
        // OpenMetrics calls a counter's family by the name without `_total`.
        let family = if self == Kind::Counter { name.strip_suffix("_total") } else { None };
        let created = family.map(|f| format!("{f}_created"));
        let suffixed = self.suffixes().iter().map(move |s| format!("{name}{s}"));
        std::iter::once(name.to_owned()).chain(family.map(str::to_owned)).chain(created).chain(suffixed)
    }
}

/// What a sample is of somebody else's histogram or summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PartKind {
    /// How much lies at or below a bound; has the label `le`.
    Bucket,
    /// A value that a share lies below; has the label `quantile`.
    Quantile,
    Sum,
    Count,
    /// When it began.
    Created,
}

impl PartKind {
    /// The label that tells samples of one point apart.
    pub(super) fn label(self) -> Option<&'static str> {
        match self {
            PartKind::Bucket => Some("le"),
            PartKind::Quantile => Some("quantile"),
            PartKind::Sum | PartKind::Count | PartKind::Created => None,
        }
    }
}

/// A family that is part of somebody else's histogram or summary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// The name of the whole.
    pub(super) base: String,
    /// Histogram or summary.
    pub(super) whole: Kind,
    pub(super) kind: PartKind,
}

impl Part {
    /// The part that a metric of this name is, of a whole of this kind.
    pub(super) fn of(name: &str, whole: Kind) -> Option<Part> {
        let suffixes: &[(&str, PartKind)] = match whole {
            Kind::Histogram => &[
                ("_bucket", PartKind::Bucket),
                ("_sum", PartKind::Sum),
                ("_count", PartKind::Count),
                ("_created", PartKind::Created),
            ],
            Kind::Summary => &[
                ("_sum", PartKind::Sum),
                ("_count", PartKind::Count),
                ("_created", PartKind::Created),
                ("", PartKind::Quantile),
            ],
            _ => &[],
        };
        let found = suffixes.iter().find_map(|(suffix, kind)| Some((name.strip_suffix(suffix)?, *kind)));
        let (base, kind) = found.filter(|(base, _)| !base.is_empty())?;
        Some(Part { base: base.to_owned(), whole, kind })
    }
}

/// Whether a metric may be called so.
pub(super) fn is_metric_name(name: &str) -> bool {
    is_name(name, |c| c == b':')
}

/// Whether a label may be called so; names that begin with `__` are the server's own.
pub(super) fn is_label_name(name: &str) -> bool {
    is_name(name, |_| false) && !name.starts_with("__")
}

fn is_name(name: &str, also: impl Fn(u8) -> bool) -> bool {
    let bytes = name.as_bytes();
    bytes.first().is_some_and(|c| !c.is_ascii_digit())
        && bytes.iter().all(|&c| c.is_ascii_alphanumeric() || c == b'_' || also(c))
}

/// Appends a label's value as it stands between quotes.
pub(super) fn push_label_value(value: &[u8], out: &mut Vec<u8>) {
    let value = cut(value);
    let mut rest = value;
    while let Some(at) = rest.iter().position(|&c| matches!(c, b'\\' | b'"' | b'\n')) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(match rest[at] {
            b'\n' => b"\\n",
            b'"' => b"\\\"",
            _ => b"\\\\",
        });
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// Longest label value; what is longer is cut at a character.
const MAX_VALUE_BYTES: usize = 1024;

fn cut(value: &[u8]) -> &[u8] {
    if value.len() <= MAX_VALUE_BYTES {
        return value;
    }
    let mut end = MAX_VALUE_BYTES;
    while end > 0 && value[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    &value[..end]
}

/// Whole numbers below this are written without point or exponent.
pub(super) const WHOLE: f64 = 1e15;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_as_the_exposition_demands() {
        for (name, metric, label) in [
            ("a", true, true),
            ("_a1", true, true),
            ("a:b", true, false),
            ("__a", true, false),
            ("1a", false, false),
            ("a-b", false, false),
            ("", false, false),
            ("é", false, false),
        ] {
            assert_eq!((is_metric_name(name), is_label_name(name)), (metric, label), "{name}");
        }
    }

    #[test]
    fn names_of_events_become_allowed_ones() {
        let name = |text: &str, of| {
            let mut out = Vec::new();
            push_name(text.as_bytes(), of, &mut out);
            String::from_utf8_lossy(&out).into_owned()
        };
        for text in ["http.server.duration", "9lives", "", "é", "__name__", "a:b", "le"] {
            assert!(is_metric_name(&name(text, NameOf::Metric)), "{text}");
            assert!(is_label_name(&name(text, NameOf::Label)), "{text}");
        }
        assert_eq!(name("http.server.duration", NameOf::Metric), "http_server_duration");
    }

    #[test]
    fn label_values_are_escaped_and_bounded() {
        let mut out = Vec::new();
        push_label_value("a\"b\\c\nd".as_bytes(), &mut out);
        assert_eq!(out, br#"a\"b\\c\nd"#);
        out.clear();
        push_label_value("é".repeat(600).as_bytes(), &mut out);
        assert_eq!(out.len(), 1024);
        assert!(std::str::from_utf8(&out).is_ok());
    }
}
