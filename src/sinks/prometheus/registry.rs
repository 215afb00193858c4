//! The series: what is counted, by metric and labels. Finding one that is there allocates nothing.
//!
//! A series that is over (it has not changed for `expire_after`, or its end was said) is not shown any more and forgotten. Where the series are sent
//! somewhere, it is forgotten when the receiver has its last value and the mark that ends it; until then it counts for
//! `max_series`, and one that changes again goes on from where it was.
//!
//! Somebody else's histogram or summary comes in parts, each a family of its own here ([`Part`]); the page puts them together.
//! Bounds that its last point does not have any more (an exponential histogram has changed its scale) are over.

use super::exemplar::{self, Exemplar};
use super::names::{Kind, Part, PartKind};
use super::sketch::Sketch;
use crate::time::clock;
use hashbrown::{HashMap, HashTable};

/// What one sample changes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    /// Adds to a counter, a gauge or an unknown.
    Add(f64),
    /// Sets a counter, a gauge or an unknown.
    Set(f64),
    /// A value seen, as often as the weight says; of a histogram or a summary.
    Observe { value: f64, weight: f64 },
}

/// Why a sample was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// There are as many series as may be.
    Full,
}

/// When the bounds and quantiles leave that a histogram or summary of somebody else's has no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// Its last point is a state of which all parts came at once.
    AtOnce,
    /// Its series come one by one, as of a scrape: one that is late by a point is still there.
    AfterTwo,
    /// Its points are steps, each with what it adds to.
    Never,
}

/// What a family is made with.
#[derive(Clone, Debug)]
pub(super) struct FamilyOptions {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) help: String,
    pub(super) unit: String,
    /// Upper bounds of a histogram, growing, without +Inf.
    pub(super) buckets: Vec<f64>,
    /// Of a summary.
    pub(super) quantiles: Vec<f64>,
    /// How far back a summary looks, in nanoseconds: between half of it and all of it.
    pub(super) window_ns: u64,
    /// What it is of somebody else's histogram or summary.
    pub(super) part: Option<Part>,
}

/// All series of one metric.
pub(super) struct Family {
    pub(super) options: FamilyOptions,
    pub(super) series: Vec<Series>,
    index: HashTable<u32>,
    /// The series found last.
    last: usize,
}

/// One series.
pub(super) struct Series {
    /// As they stand between the braces of the exposition.
    pub(super) labels: Box<[u8]>,
    hash: u64,
    pub(super) data: Data,
    /// When it was changed last, on the monotonic clock.
    changed: u64,
    /// The time that its last two different samples had themselves, the later first; 0 for none.
    stamps: (i64, i64),
    /// When parts leave that its point does not have.
    leave: Leave,
    /// When it began at zero, in milliseconds since 1970 UTC; 0 for unknown.
    pub(super) created: i64,
    /// Ascending by time.
    pub(super) exemplars: Vec<Exemplar>,
    /// Its end was said, and it has not changed since.
    ended: bool,
    /// The number of the first snapshot that has its last change.
    version: u64,
    /// The first snapshot that ends it, where that is not before its last change; 0 for none.
    ended_by: u64,
}

/// How far the series have been sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    /// The last snapshot that the receiver has; 0 for none.
    delivered: u64,
    /// Series that were forgotten though the receiver does not know that they have ended.
    pub(super) given_up: u64,
    /// When they were looked for last, on the monotonic clock.
    looked: Option<u64>,
}

/// What a series holds.
pub(super) enum Data {
    Number(f64),
    Histogram {
        /// By bucket, not added up; the last is +Inf.
        counts: Box<[f64]>,
        sum: f64,
    },
    Summary(Box<Summary>),
}

impl Data {
    /// Gives the samples that it is shown as: what is put behind the family's name, the label that only this sample has (`le`,
    /// `quantile`) with its number, and the value. Counts are whole numbers.
    pub(super) fn each_sample(
        &self,
        o: &FamilyOptions,
        mut give: impl FnMut(&'static str, Option<(&'static str, f64)>, f64),
    ) {
        match self {
            Data::Number(x) => give("", None, *x),
            Data::Histogram { counts, sum } => {
                let mut count = 0.0;
                for (bound, more) in o.buckets.iter().copied().chain([f64::INFINITY]).zip(counts) {
                    count += more;
                    give("_bucket", Some(("le", bound)), count.round());
                }
                give("_sum", None, *sum);
                give("_count", None, count.round());
            }
            Data::Summary(summary) => {
                for &q in &o.quantiles {
                    give("", Some(("quantile", q)), summary.quantile(q).unwrap_or(f64::NAN));
                }
                give("_sum", None, summary.sum);
                give("_count", None, summary.count.round());
            }
        }
    }
}

/// A summary: count and sum since the start, quantiles of the last while.
pub(super) struct Summary {
    pub(super) count: f64,
    pub(super) sum: f64,
    now: Sketch,
    before: Sketch,
    /// When `now` was begun.
    began: u64,
}

impl Summary {
    fn turn(&mut self, now: u64, window: u64) {
        let half = (window / 2).max(1);
        let age = now.saturating_sub(self.began);
        if age >= half {
            std::mem::swap(&mut self.now, &mut self.before);
            self.now.clear();
            if age >= 2 * half {
                self.before.clear();
            }
            self.began = now;
        }
    }

    pub(super) fn quantile(&self, q: f64) -> Option<f64> {
        Sketch::quantile(&self.now, &self.before, q)
    }
}

impl Series {
    fn is_over(&self, now: u64, expire_after: Option<u64>) -> bool {
        self.ended || expire_after.is_some_and(|after| now.saturating_sub(self.changed) > after)
    }
}

impl Data {
    fn new(options: &FamilyOptions, now: u64) -> Data {
        match options.kind {
            Kind::Counter | Kind::Gauge | Kind::Unknown => Data::Number(0.0),
            Kind::Histogram => Data::Histogram { counts: vec![0.0; options.buckets.len() + 1].into(), sum: 0.0 },
            Kind::Summary => Data::Summary(Box::new(Summary {
                count: 0.0,
                sum: 0.0,
                now: Sketch::default(),
                before: Sketch::default(),
                began: now,
            })),
        }
    }
}

/// Number of a family.
pub(super) type FamilyId = usize;

/// All families.
pub(super) struct Registry {
    pub(super) families: Vec<Family>,
    by_name: HashMap<Box<[u8]>, FamilyId>,
    claimed: HashMap<Box<[u8]>, FamilyId>,
    series: usize,
    max_series: usize,
    expire_after_ns: Option<u64>,
    /// When it was looked at last.
    now: u64,
    /// The end of a series was said since.
    some_ended: bool,
    /// A part of a histogram or summary has changed since the last look.
    parts_changed: bool,
    /// Exemplars that there are.
    exemplars: usize,
    /// The number of the next snapshot.
    version: u64,
    /// Where the series are sent somewhere.
    pub(super) sent: Option<Sent>,
    /// What they are is sent with them.
    pub(super) describes: bool,
    /// Events that were counted since the page was fetched, and whether it ever was.
    pub(super) unseen: (u64, bool),
}

/// How often series are looked for that make place for others.
const LOOK_NS: u64 = 1_000_000_000;

/// Another metric has that name, or one that goes with it; the metric's own name.
#[derive(Debug)]
pub(super) struct Taken(pub(super) String);

impl Registry {
    pub(super) fn new(max_series: usize, expire_after_ns: Option<u64>) -> Self {
        Registry {
            families: Vec::new(),
            by_name: HashMap::new(),
            claimed: HashMap::new(),
            series: 0,
            max_series,
            expire_after_ns,
            now: 0,
            some_ended: false,
            parts_changed: false,
            exemplars: 0,
            version: 1,
            sent: None,
            describes: false,
            unseen: (0, false),
        }
    }

    /// Keeps series that have expired until the receiver knows it.
    pub(super) fn keep_until_sent(&mut self) {
        self.sent = Some(Sent { delivered: 0, given_up: 0, looked: None });
    }

    /// Series that there are.
    pub(super) fn len(&self) -> usize {
        self.series
    }

    /// The family called `name`.
    pub(super) fn family(&self, name: &[u8]) -> Option<FamilyId> {
        self.by_name.get(name).copied()
    }

    /// Adds a family.
    pub(super) fn add(&mut self, options: FamilyOptions) -> Result<FamilyId, Taken> {
        let whole = |options: &FamilyOptions| options.part.as_ref().map(|part| (part.base.clone(), part.whole));
        let own = whole(&options);
        let base = own.as_ref().map(|(base, _)| base.clone());
        let claims: Vec<String> = options.kind.claims(&options.name).chain(base).collect();
        for name in &claims {
            let Some(&id) = self.claimed.get(name.as_bytes()) else { continue };
            let owner = &self.families[id].options;
            let theirs = whole(owner);
            match theirs {
                // Another part of the same.
                Some(_) if theirs == own => {}
                // The name is but that of a whole, which is shown in its parts from now on.
                Some((base, _)) if base == *name && base != owner.name => self.take_apart(&base),
                _ => return Err(Taken(owner.name.clone())),
            }
        }
        let id = self.families.len();
        for name in claims {
            self.claimed.insert(name.as_bytes().into(), id);
        }
        self.by_name.insert(options.name.as_bytes().into(), id);
        self.families.push(Family { options, series: Vec::new(), index: HashTable::new(), last: 0 });
        Ok(id)
    }

    /// Shows a histogram or summary of somebody else's in its parts: another metric has the name of the whole.
    #[cold]
    fn take_apart(&mut self, base: &str) {
        for (id, family) in self.families.iter_mut().enumerate() {
            if family.options.part.as_ref().is_some_and(|part| part.base == base) {
                family.options.part = None;
                self.claimed.insert(family.options.name.as_bytes().into(), id);
            }
        }
        self.claimed.remove(base.as_bytes());
    }

    /// Notes the own time of the sample that was taken last into `family`, and when parts leave that its point does not have.
    pub(super) fn stamp(&mut self, family: FamilyId, at: i64, leave: Leave) {
        let family = &mut self.families[family];
        let (Some(_), Some(series)) = (&family.options.part, family.series.get_mut(family.last)) else { return };
        if series.stamps.0 != at {
            series.stamps = (at, series.stamps.0);
        }
        series.leave = leave;
        self.parts_changed = true;
    }

    /// Says when the series that was changed last in `family` began at zero, in milliseconds since 1970 UTC.
    pub(super) fn began(&mut self, family: FamilyId, ms: i64) {
        let family = &mut self.families[family];
        if let Some(series) = family.series.get_mut(family.last) {
            series.created = ms;
        }
    }

    /// Adds exemplars to the series that was changed last in `family`.
    #[cold]
    pub(super) fn add_exemplars(&mut self, family: FamilyId, more: Vec<Exemplar>) {
        let family = &mut self.families[family];
        let Some(series) = family.series.get_mut(family.last) else { return };
        let before = series.exemplars.len();
        let room = exemplar::MOST_OF_ALL.saturating_sub(self.exemplars) + before;
        series.exemplars.extend(more);
        series.exemplars.sort_by_key(|exemplar| exemplar.at);
        let over = series.exemplars.len().saturating_sub(room.min(exemplar::MOST));
        series.exemplars.drain(..over);
        self.exemplars = self.exemplars + series.exemplars.len() - before;
    }

    /// Ends bounds and quantiles that are not in the last point of their histogram or summary any more.
    fn end_left_parts(&mut self) {
        if !std::mem::take(&mut self.parts_changed) {
            return;
        }
        let mut counts: HashMap<(&str, &[u8]), i64> = HashMap::new();
        for family in &self.families {
            let Some(Part { base, kind: PartKind::Count, .. }) = &family.options.part else { continue };
            for series in &family.series {
                let oldest = match series.leave {
                    Leave::AtOnce => series.stamps.0,
                    Leave::AfterTwo => series.stamps.1,
                    Leave::Never => continue,
                };
                counts.insert((base, &series.labels), oldest);
            }
        }
        let mut left: Vec<(FamilyId, usize)> = Vec::new();
        for (id, family) in self.families.iter().enumerate() {
            let Some(Part { base, kind, .. }) = &family.options.part else { continue };
            let Some(label) = kind.label() else { continue };
            for (n, series) in family.series.iter().enumerate().filter(|(_, series)| !series.ended) {
                let labels = without(&series.labels, label.as_bytes());
                if counts.get(&(base.as_str(), &*labels)).is_some_and(|oldest| series.stamps.0 < *oldest) {
                    left.push((id, n));
                }
            }
        }
        drop(counts);
        for (id, n) in left {
            (self.families[id].series[n].ended, self.some_ended) = (true, true);
        }
    }

    /// Whether one more family may come: as many as there may be series.
    pub(super) fn has_room_for_family(&self) -> bool {
        self.families.len() < self.max_series.max(1)
    }

    /// Changes the series of `family` with these labels (as they stand in the exposition); `now` is the monotonic clock.
    pub(super) fn change(&mut self, family: FamilyId, labels: &[u8], change: Change, now: u64) -> Result<(), Refused> {
        match self.try_change(family, labels, change, now) {
            Err(Refused::Full) if self.make_place(now) => self.try_change(family, labels, change, now),
            result => result,
        }
    }

    fn try_change(&mut self, family: FamilyId, labels: &[u8], change: Change, now: u64) -> Result<(), Refused> {
        let version = self.version;
        let f = &mut self.families[family];
        let at = match f.series.get(f.last) {
            Some(series) if *series.labels == *labels => f.last,
            _ => {
                let hash = xxhash_rust::xxh3::xxh3_64(labels);
                let (index, series) = (&mut f.index, &f.series);
                match index.find(hash, |&n| *series[n as usize].labels == *labels) {
                    Some(&n) => n as usize,
                    None if self.series >= self.max_series => return Err(Refused::Full),
                    None => {
                        self.series += 1;
                        let n = f.series.len();
                        let data = Data::new(&f.options, now);
                        f.series.push(Series {
                            labels: labels.into(),
                            hash,
                            data,
                            changed: now,
                            stamps: (0, 0),
                            leave: Leave::Never,
                            created: begins_now(&f.options, change),
                            exemplars: Vec::new(),
                            ended: false,
                            version,
                            ended_by: 0,
                        });
                        let series = &f.series;
                        f.index.insert_unique(hash, n as u32, |&n| series[n as usize].hash);
                        n
                    }
                }
            }
        };
        f.last = at;
        let series = &mut f.series[at];
        (series.changed, series.ended, series.version) = (now, false, version);
        match (&mut series.data, change) {
            (Data::Number(n), Change::Add(x)) => *n += x,
            (Data::Number(n), Change::Set(x)) => *n = x,
            (Data::Histogram { counts, sum }, Change::Observe { value, weight }) => {
                let bucket = f.options.buckets.partition_point(|bound| *bound < value);
                counts[bucket] += weight;
                *sum += value * weight;
            }
            (Data::Summary(summary), Change::Observe { value, weight }) => {
                summary.turn(now, f.options.window_ns);
                summary.count += weight;
                summary.sum += value * weight;
                summary.now.add(value, weight);
            }
            // The collector gives each kind its own changes.
            _ => debug_assert!(false, "a change of another kind"),
        }
        Ok(())
    }

    /// Says that the series of `family` that have these labels beside the one called `part` are over.
    pub(super) fn end_parts(&mut self, family: FamilyId, labels: &[u8], part: &str) {
        let is_part =
            |series: &Series| series.labels.len() > labels.len() && without(&series.labels, part.as_bytes()) == labels;
        for series in self.families[family].series.iter_mut().filter(|s| is_part(s)) {
            (series.ended, self.some_ended) = (true, true);
        }
    }

    /// Lets summaries grow old, and removes series that have not changed for `expire_after`, but for those whose receiver
    /// does not know it yet.
    pub(super) fn age(&mut self, now: u64) {
        self.now = now;
        self.end_left_parts();
        for family in &mut self.families {
            for series in &mut family.series {
                if let Data::Summary(summary) = &mut series.data {
                    summary.turn(now, family.options.window_ns);
                }
            }
        }
        let after = self.expire_after_ns;
        if self.sent.is_none() && (after.is_some() || std::mem::take(&mut self.some_ended)) {
            self.remove(|s| s.is_over(now, after));
        }
    }

    /// Says that a series is over; `false` where there is none with these labels.
    pub(super) fn end(&mut self, family: FamilyId, labels: &[u8]) -> bool {
        let f = &mut self.families[family];
        let hash = xxhash_rust::xxh3::xxh3_64(labels);
        let (index, series) = (&f.index, &mut f.series);
        let Some(&n) = index.find(hash, |&n| *series[n as usize].labels == *labels) else { return false };
        series[n as usize].ended = true;
        self.some_ended = true;
        true
    }

    /// Whether a series is over, as of the last [look](Registry::age).
    pub(super) fn is_over(&self, series: &Series) -> bool {
        series.is_over(self.now, self.expire_after_ns)
    }

    /// Whether the receiver does not know the last change of a series.
    pub(super) fn is_unsent(&self, series: &Series) -> bool {
        self.sent.is_some_and(|sent| series.version > sent.delivered)
    }

    /// Begins a snapshot and gives its number: what changes from now on is in the next. Series that are over are ended by
    /// it, unless one before does.
    pub(super) fn begin_snapshot(&mut self) -> u64 {
        let number = self.version;
        self.version += 1;
        let (now, after) = (self.now, self.expire_after_ns);
        for series in self.families.iter_mut().flat_map(|f| &mut f.series) {
            if series.is_over(now, after) && series.ended_by < series.version {
                series.ended_by = number;
            }
        }
        number
    }

    /// The receiver has this snapshot, and with it all that those before it had.
    pub(super) fn delivered(&mut self, number: u64) {
        let Some(sent) = &mut self.sent else { return };
        sent.delivered = sent.delivered.max(number);
        self.remove(|s| s.ended_by >= s.version && s.ended_by <= number && s.ended_by > 0);
    }

    /// Forgets series that only wait for their end to be known; whether there were any.
    #[cold]
    fn make_place(&mut self, now: u64) -> bool {
        let after = self.expire_after_ns;
        let Some(sent) = &mut self.sent else { return false };
        if sent.looked.is_some_and(|at| now.saturating_sub(at) < LOOK_NS) {
            return false;
        }
        sent.looked = Some(now);
        let delivered = sent.delivered;
        let removed = self.remove(|s| s.is_over(now, after) && s.version <= delivered);
        if let Some(sent) = &mut self.sent {
            sent.given_up += removed as u64;
        }
        removed > 0
    }

    /// Removes series; how many.
    fn remove(&mut self, gone: impl Fn(&Series) -> bool) -> usize {
        let mut all = 0;
        for family in &mut self.families {
            let before = family.series.len();
            let mut exemplars = 0;
            family.series.retain(|s| {
                let gone = gone(s);
                exemplars += if gone { s.exemplars.len() } else { 0 };
                !gone
            });
            self.exemplars -= exemplars;
            let removed = before - family.series.len();
            if removed == 0 {
                continue;
            }
            all += removed;
            family.index.clear();
            family.last = 0;
            let series = &family.series;
            for (n, s) in series.iter().enumerate() {
                family.index.insert_unique(s.hash, n as u32, |&n| series[n as usize].hash);
            }
        }
        self.series -= all;
        all
    }
}

/// The time of now, in milliseconds since 1970 UTC, where a series that comes with this change is counted up from zero here; else 0.
/// Read once a series, as it must not move.
#[cold]
fn begins_now(options: &FamilyOptions, change: Change) -> i64 {
    let counts = matches!(options.kind, Kind::Counter | Kind::Histogram | Kind::Summary);
    match change {
        Change::Add(_) | Change::Observe { .. } if counts => clock::now_ns() / 1_000_000,
        _ => 0,
    }
}

/// Labels as they stand in the exposition, without the one called `name`.
pub(super) fn without(labels: &[u8], name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(labels.len());
    let mut rest = labels;
    while let Some(at) = memchr::memchr(b'=', rest) {
        // Behind `="`, to the quote that no backslash stands before.
        let mut end = at + 2;
        while let Some(&c) = rest.get(end).filter(|c| **c != b'"') {
            end += if c == b'\\' { 2 } else { 1 };
        }
        let end = (end + 1).min(rest.len());
        if &rest[..at] != name {
            if !out.is_empty() {
                out.push(b',');
            }
            out.extend_from_slice(&rest[..end]);
        }
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    out
}
