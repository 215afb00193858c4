//! Histograms and summaries of somebody else, put together from the parts that they come in.
//!
//! OTLP and remote write bring `lat_bucket`, `lat_sum` and `lat_count`, each a sample; on the page they are one metric `lat` of
//! its type, by labels, buckets in the order of their bounds. What did not come is not made up, but for the bucket without a
//! bound, which holds what the count says. Where a histogram lacks more than that, its parts stand for themselves.

use super::exemplar::{self, Exemplar};
use super::names::{Kind, Part, PartKind};
use super::registry::{Data, Family, FamilyOptions, Series, without};
use super::sample::{Format, each_label, write_head, write_sample};
use std::collections::BTreeMap;

/// One histogram or summary, all its series.
pub(super) struct Whole<'r> {
    kind: Kind,
    /// Of a part that says most about it.
    options: Option<&'r FamilyOptions>,
    /// By labels as they stand between the braces.
    points: BTreeMap<Vec<u8>, Point<'r>>,
    pub(super) parts: Vec<(&'r Family, Vec<&'r Series>)>,
}

/// The samples with the same labels.
#[derive(Default)]
struct Point<'r> {
    /// Bounds or quantiles with their values.
    steps: Vec<(f64, &'r Series)>,
    sum: Option<f64>,
    count: Option<f64>,
    created: Option<f64>,
    exemplars: Vec<&'r Exemplar>,
}

fn value(series: &Series) -> f64 {
    match series.data {
        Data::Number(x) => x,
        Data::Histogram { .. } | Data::Summary(_) => f64::NAN,
    }
}

impl<'r> Whole<'r> {
    pub(super) fn new(kind: Kind) -> Self {
        Whole { kind, options: None, points: BTreeMap::new(), parts: Vec::new() }
    }

    /// Whether it is what its type demands: how many there were in all, and no sum without that.
    pub(super) fn is_complete(&self) -> bool {
        let is_complete = |point: &Point<'_>| {
            let infinite = point.steps.iter().any(|(bound, _)| *bound == f64::INFINITY);
            (point.count.is_some() || infinite) && (point.sum.is_none() || point.count.is_some())
        };
        self.kind != Kind::Histogram || self.points.values().all(is_complete)
    }

    /// Adds the series of a part.
    pub(super) fn add(&mut self, family: &'r Family, part: &Part, series: Vec<&'r Series>) {
        if self.options.is_none_or(|options| options.help.is_empty()) {
            self.options = Some(&family.options);
        }
        for &series in &series {
            let labels = match part.kind.label() {
                Some(label) => without(&series.labels, label.as_bytes()),
                None => series.labels.to_vec(),
            };
            let point = self.points.entry(labels).or_default();
            point.exemplars.extend(&series.exemplars);
            match part.kind {
                PartKind::Bucket | PartKind::Quantile => point.steps.push((step(series, part.kind), series)),
                PartKind::Sum => point.sum = Some(value(series)),
                PartKind::Count => point.count = Some(value(series)),
                PartKind::Created => point.created = Some(value(series)),
            }
        }
        self.parts.push((family, series));
    }
}

/// The bound of a bucket, or a quantile.
fn step(series: &Series, kind: PartKind) -> f64 {
    let mut found = f64::NAN;
    each_label(&series.labels, |name, value| {
        if kind.label().is_some_and(|label| label.as_bytes() == name) {
            found = std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN);
        }
    });
    found
}

/// Appends the metric.
pub(super) fn write(name: &str, whole: &Whole<'_>, format: Format, out: &mut Vec<u8>) {
    let Some(options) = whole.options else { return };
    write_head(name, whole.kind, options, format, out);
    for (labels, point) in &whole.points {
        match whole.kind {
            Kind::Histogram => write_histogram(name, labels, point, format, out),
            _ => write_summary(name, labels, point, format, out),
        }
        if let (Some(created), Format::OpenMetrics) = (point.created, format) {
            write_sample((name, "_created"), labels, None, created, format, out);
            out.push(b'\n');
        }
    }
}

fn sorted<'p>(point: &'p Point<'_>) -> Vec<(f64, &'p Series)> {
    let mut steps: Vec<(f64, &Series)> = point.steps.clone();
    steps.sort_by(|a, b| a.0.total_cmp(&b.0));
    // Two spellings of one bound are one bucket.
    steps.dedup_by(|b, a| a.0 == b.0);
    steps
}

fn write_histogram(name: &str, labels: &[u8], point: &Point<'_>, format: Format, out: &mut Vec<u8>) {
    let mut buckets: Vec<(f64, f64)> =
        sorted(point).into_iter().map(|(bound, series)| (bound, value(series))).collect();
    if let Some(count) = point.count.filter(|_| buckets.last().is_none_or(|(bound, _)| *bound != f64::INFINITY)) {
        buckets.push((f64::INFINITY, count));
    }
    let mut below = f64::NEG_INFINITY;
    for (bound, value) in &buckets {
        write_sample((name, "_bucket"), labels, Some(("le", *bound)), *value, format, out);
        let of_bucket = |exemplar: &&&Exemplar| exemplar.value > below && exemplar.value <= *bound;
        let latest = point.exemplars.iter().filter(of_bucket).max_by_key(|exemplar| exemplar.at);
        if let (Some(exemplar), Format::OpenMetrics) = (latest, format) {
            exemplar::write(exemplar, out);
        }
        out.push(b'\n');
        below = *bound;
    }
    // OpenMetrics: neither without the other, and none where values below zero have buckets.
    let both = point.sum.is_some() && point.count.is_some() && buckets.first().is_none_or(|(bound, _)| *bound >= 0.0);
    if format == Format::Text || both {
        write_totals(name, labels, point, format, out);
    }
}

fn write_summary(name: &str, labels: &[u8], point: &Point<'_>, format: Format, out: &mut Vec<u8>) {
    for (quantile, series) in sorted(point) {
        write_sample((name, ""), labels, Some(("quantile", quantile)), value(series), format, out);
        out.push(b'\n');
    }
    write_totals(name, labels, point, format, out);
}

fn write_totals(name: &str, labels: &[u8], point: &Point<'_>, format: Format, out: &mut Vec<u8>) {
    for (suffix, value) in [("_sum", point.sum), ("_count", point.count)] {
        if let Some(value) = value {
            write_sample((name, suffix), labels, None, value, format, out);
            out.push(b'\n');
        }
    }
}
