//! The page: all series in the text format 0.0.4, or in OpenMetrics 1.0.0.
//!
//! Names are the same in both. OpenMetrics wants `_total` behind every counter; one without it is called `unknown` there
//! rather than renamed. Counts are whole numbers: what `sample_rate` weighed is rounded.
//!
//! Metrics come in the order of their names, series of one in that of their labels, so that two pages can be compared. The parts
//! of somebody else's histogram or summary ([`whole`]) are one metric.

use super::exemplar;
use super::names::{Kind, PartKind};
use super::registry::{Data, Family, Registry, Series};
use super::sample::{Format, write_head, write_sample};
use super::whole::{self, Whole};
use std::collections::BTreeMap;

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
        // OpenMetrics: no sum, and so no count, where values below zero have buckets.
        let below_zero = matches!(series.data, Data::Histogram { .. }) && o.buckets.first().is_some_and(|b| *b < 0.0);
        let buckets_only = format == Format::OpenMetrics && below_zero;
        series.data.each_sample(o, |suffix, extra, value| {
            if buckets_only && suffix != "_bucket" {
                return;
            }
            write_sample((&o.name, suffix), &series.labels, extra, value, format, out);
            if kind == Kind::Counter
                && format == Format::OpenMetrics
                && let Some(exemplar) = series.exemplars.last()
            {
                exemplar::write(exemplar, out);
            }
            out.push(b'\n');
        });
    }
}
