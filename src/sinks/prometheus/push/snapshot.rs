//! The state of the series at one moment, as series of a write request.

use super::super::names::Kind;
use super::super::registry::{Family, Registry, Series};
use super::super::{names, sample};
use crate::ack::Ack;
use crate::encoding::remote_write::{Described, STALE, push_described, push_labels, push_sample, push_series};
use crate::event::{Batch, EventKind, Origin, Slab, Sym};
use std::collections::HashSet;
use std::sync::Arc;

/// Which series are in a snapshot. Those that are over are in each until the receiver has one: with what it does not know
/// of them, and with the mark that ends them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Which {
    /// All.
    All,
    /// Those that have changed since the receiver had a snapshot.
    Unsent,
    /// All, and all end with it.
    Last,
}

/// Series that somebody sent who is gone: those that do not come again end. By their labels as a write request has them.
#[derive(Debug, Default)]
pub(in super::super) struct Heirless {
    pub(in super::super) names: HashSet<Box<[u8]>>,
    /// The snapshot that ends them; 0 for none.
    pub(in super::super) ended_by: u64,
}

/// Encoded series, one behind the other.
#[derive(Debug, Default)]
pub(in super::super) struct Snapshot {
    /// From 1; of two the later has all counts that the earlier has.
    pub(in super::super) number: u64,
    text: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

impl Snapshot {
    /// Takes one, as of `ms`, in milliseconds since 1970 UTC; a mark that ends a series stands behind its last value, one
    /// millisecond later. The registry must have been looked at ([`Registry::age`]). `end`: series without an heir end now.
    pub(in super::super) fn take(
        registry: &mut Registry,
        which: Which,
        ms: i64,
        heirless: &mut Heirless,
        end: bool,
    ) -> Snapshot {
        let mut snapshot = Snapshot { number: registry.begin_snapshot(), ..Snapshot::default() };
        let mut encoded = Vec::new();
        for family in &registry.families {
            for series in &family.series {
                let (over, unsent) = (registry.is_over(series), registry.is_unsent(series));
                let value = unsent || !over && which != Which::Unsent;
                let mark = over || which == Which::Last;
                if !value && !mark {
                    continue;
                }
                let what = registry.describes.then(|| described(family, series));
                each_sample(family, series, &mut encoded, |labels, sample| {
                    if !heirless.names.is_empty() {
                        heirless.names.remove(labels);
                    }
                    let mark_at = if value { ms + 1 } else { ms };
                    snapshot.push(labels, value.then_some((sample.to_bits(), ms)), mark.then_some(mark_at), what);
                });
            }
        }
        if end && !heirless.names.is_empty() {
            heirless.ended_by = snapshot.number;
            heirless.names.iter().for_each(|labels| snapshot.push(labels, None, Some(ms), None));
        }
        snapshot
    }

    fn push(&mut self, labels: &[u8], value: Option<(u64, i64)>, mark: Option<i64>, what: Option<Described<'_>>) {
        let samples = |out: &mut Vec<u8>| {
            if let Some((bits, ms)) = value {
                push_sample(bits, ms, out);
            }
            if let Some(ms) = mark {
                push_sample(STALE, ms, out);
            }
            if let Some(what) = what {
                push_described(what, out);
            }
        };
        push_series(labels, samples, &mut self.text);
        self.ends.push(self.text.len());
    }

    /// How many series.
    pub(in super::super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// As a batch: each series the text of an event.
    pub(super) fn into_batch(self, ack: Ack, origin: Arc<Origin>, received_at: i64) -> Batch {
        let mut batch = Batch::new(Slab::from_vec(self.text), origin, received_at, ack);
        let mut start = 0;
        for end in self.ends {
            batch.push_event(EventKind::Metric);
            batch.push_text_field(Sym::MESSAGE, start, end);
            start = end;
        }
        batch
    }

    /// Its series, encoded.
    #[cfg(test)]
    pub(in super::super) fn request(&self) -> &[u8] {
        &self.text
    }
}

/// Labels of all that a snapshot of the registry would hold.
pub(super) fn names(registry: &Registry) -> HashSet<Box<[u8]>> {
    let mut names = HashSet::new();
    let mut encoded = Vec::new();
    for family in &registry.families {
        for series in &family.series {
            each_sample(family, series, &mut encoded, |labels, _| _ = names.insert(labels.into()));
        }
    }
    names
}

/// What the samples of a series are: parts of a histogram or a summary are of its type.
fn described<'f>(family: &'f Family, series: &Series) -> Described<'f> {
    let o = &family.options;
    let kind = match o.part.as_ref().map_or(o.kind, |part| part.whole) {
        Kind::Unknown => 0,
        Kind::Counter => 1,
        Kind::Gauge => 2,
        Kind::Histogram => 3,
        Kind::Summary => 5,
    };
    Described { kind, help: &o.help, unit: &o.unit, created: series.created }
}

/// Gives the samples that a series has in a write request: labels, as they stand there, and value. `encoded` is work space.
fn each_sample(family: &Family, series: &Series, encoded: &mut Vec<u8>, mut give: impl FnMut(&[u8], f64)) {
    let o = &family.options;
    let mut own: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    sample::each_label(&series.labels, |name, value| {
        // An empty label is no label.
        if !value.is_empty() {
            own.push((name.to_vec(), value));
        }
    });
    series.data.each_sample(o, |suffix, extra, value| {
        let name = [o.name.as_bytes(), suffix.as_bytes()].concat();
        let mut bound = Vec::new();
        let mut labels: Vec<(&[u8], &[u8])> = own.iter().map(|(name, value)| (&name[..], &value[..])).collect();
        labels.push((b"__name__", &name));
        if let Some((label, x)) = extra {
            names::write_number(x, &mut bound);
            labels.push((label.as_bytes(), &bound));
        }
        labels.sort_unstable();
        encoded.clear();
        push_labels(labels, encoded);
        give(encoded, value);
    });
}
