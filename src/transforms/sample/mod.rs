//! `sample`: fewer events, without bias.
//!
//! ```yaml
//! thin:
//!   type: sample
//!   inputs: [app]
//!   always: 'level == "ERROR"'
//!   by: level
//!   rates: {DEBUG: 0.01, INFO: 0.1, default: 1.0}
//!   key: traceId
//! ```
//!
//! In this order: `always` keeps; `dedupe` folds repeats; `rate`, `by` with `rates`, or `rules` (the first that holds)
//! give each event a share, and it is kept with that probability; `limit` keeps what fits a token bucket.
//!
//! - With `key`, an event is kept where the xxh3-64 (seed 0) of the value is below share · 2⁶⁴: all events of one key share
//!   one fate, on every agent. Without the field: by chance.
//! - What is kept with a share below 1 says so in `sample_rate`, multiplied with an earlier one: the sum of
//!   1 / `sample_rate` estimates how many there were. An event that `limit` lets pass stands for those it dropped since
//!   the one before in its bucket.
//! - `dedupe` passes the first event of a kind at once; those that follow within the window are dropped,
//!   `reason="folded"`, and at its end one event, the first repeat with `count` set to their number, is created.
//!
//! Dropped: `reason="sampled"`, `"rate_limited"`, `"folded"`. A value that is absent or of another type makes a
//! condition false and is counted. Limits and windows are one for all workers; their state is bounded
//! ([`limit::KEPT_VALUES`], [`dedupe::MAX_KINDS`], [`dedupe::MAX_BYTES`]). A crash loses the counts of open windows.

mod dedupe;
mod explain;
mod limit;
mod share;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::component::plan::TransformPlan;
use crate::component::{BuildContext, Chance, Emitter, Notes, Rule, Transform};
use crate::condition::{Condition, Faults};
use crate::error::BuildError;
use crate::event::{Batch, EventRef, FieldPath, Sym, Value};
use crate::settings::{Map, Reader, Size, Span, Spanned, config};
use crate::sync::Locked;

use dedupe::Folder;
use limit::Limiter;
use share::{Rates, with_text};

pub use share::Share;

#[cfg(test)]
mod tests;

config! {
    /// Keeps a share of the events, evenly, and says in `sample_rate` which.
    pub struct SampleConfig {
        /// What it reads.
        pub inputs: Vec<Spanned<String>>,
        /// The share of all events that is kept.
        pub rate: Option<Spanned<Share>>,
        /// The field whose value chooses the share, out of `rates`.
        pub by: Option<Spanned<FieldPath>>,
        /// Shares by value of the field `by`; `default` is for the others, else they are all kept.
        pub rates: Option<Spanned<Map<Share>>>,
        /// Shares by condition: the first that holds; where none does, the event is kept.
        pub rules: Option<Spanned<Vec<SampleRule>>>,
        /// A field whose equal values share one fate, such as `traceId`.
        pub key: Option<Spanned<FieldPath>>,
        /// Keeps no more than so many a second.
        pub limit: Option<Spanned<LimitConfig>>,
        /// Events that are kept whatever else is said.
        pub always: Option<Condition>,
        /// Folds repeats within a time into one event with a `count`.
        pub dedupe: Option<DedupeConfig>,
    }
}

config! {
    /// The share of the events for which a condition holds.
    pub struct SampleRule {
        /// Which events.
        pub when: Condition,
        /// The share of them that is kept.
        pub rate: Share,
    }
}

config! {
    /// A token bucket: so many a second, and bursts.
    pub struct LimitConfig {
        /// Events a second. One of this and `bytes_per_second`.
        pub events_per_second: Option<Spanned<f64>>,
        /// Bytes a second, of the lines as they were read.
        pub bytes_per_second: Option<Spanned<Size>>,
        /// How much may pass at once after a pause, in events or bytes; what a second allows, where left out.
        pub burst: Option<Spanned<Size>>,
        /// A field whose values have a bucket each, by their text (`7` and `"7"` share one; absent and null too). The 10,000 values
        /// that came last keep theirs; one that did not come for longer begins with a full one.
        pub by: Option<FieldPath>,
    }
}

config! {
    /// When two events are the same, and for how long.
    pub struct DedupeConfig {
        /// Fields that must be equal, in type too: `"123"` is not 123, `"true"` not true, null not absent. Numbers are compared by
        /// value (1 is 1.0), objects and arrays as they are written. Events of different kinds are never the same.
        pub fields: Spanned<Vec<FieldPath>>,
        /// For how long repeats are folded, from the first on.
        pub window: Spanned<Duration> = Spanned::new(Duration::from_secs(10), Span::default()),
    }
}

impl TransformPlan for SampleConfig {
    fn inputs(&self) -> &[Spanned<String>] {
        &self.inputs
    }

    fn check(&self, cx: &mut Reader<'_>) {
        let choices = [
            ("rate", self.rate.as_ref().map(|s| s.span)),
            ("by", self.by.as_ref().map(|s| s.span)),
            ("rules", self.rules.as_ref().map(|s| s.span)),
        ];
        let mut given = choices.iter().filter_map(|(name, span)| span.map(|span| (*name, span)));
        let first = given.next();
        for (name, span) in given {
            let other = first.map_or("", |f| f.0);
            cx.error(span, format!("`{name}` and `{other}` cannot both choose the share{}", cx.place()))
                .help("keep one of `rate`, `by` with `rates`, and `rules`");
        }
        match (&self.by, &self.rates) {
            (Some(by), None) => {
                cx.error(by.span, format!("`by` needs `rates`{}", cx.place()))
                    .help("write `rates: {DEBUG: 0.1, default: 1.0}`");
            }
            (None, Some(rates)) => {
                cx.error(rates.span, format!("`rates` needs `by`{}", cx.place()))
                    .help("name the field whose values these are, as in `by: level`");
            }
            _ => {}
        }
        if let (Some(key), None) = (&self.key, first) {
            cx.error(key.span, format!("`key` needs a share{}", cx.place())).help("add `rate`, such as `rate: 0.1`");
        }
        if let Some(limit) = &self.limit {
            limit.check(limit.span, cx);
        }
        if let Some(dedupe) = &self.dedupe {
            if dedupe.fields.is_empty() {
                cx.error(dedupe.fields.span, "`fields` of `dedupe` needs at least one field");
            }
            if dedupe.window.is_zero() {
                cx.error(dedupe.window.span, "`window` of `dedupe` must be longer than 0");
            }
        }
        if first.is_none() && self.rates.is_none() && self.limit.is_none() && self.dedupe.is_none() {
            cx.error_at("", format!("nothing says what to keep{}", cx.place()))
                .help("add `rate`, `by` with `rates`, `rules`, `limit` or `dedupe`");
        }
    }

    fn when_changed(&self) -> Option<&'static str> {
        let keeps = self.limit.is_some() || self.dedupe.is_some();
        keeps.then_some("its buckets and windows begin anew")
    }

    fn build(self: Box<Self>, cx: &BuildContext) -> Result<Box<dyn Transform>, BuildError> {
        let choice = match (self.rate, self.by, self.rules) {
            (Some(rate), ..) => Choice::All(rate.value),
            (_, Some(by), _) => Choice::By(by.value, Arc::new(Rates::new(self.rates.iter().flat_map(|r| r.iter())))),
            (.., Some(rules)) => Choice::Rules(rules.value.into_iter().map(|r| (r.when, r.rate)).collect()),
            _ => Choice::All(Share::ALL),
        };
        Ok(Box::new(Sample {
            choice,
            key: self.key.map(|k| k.value),
            always: self.always,
            limit: self.limit.map(|l| Arc::new(Mutex::new(l.value.build()))),
            dedupe: self.dedupe.map(|d| Arc::new(Mutex::new(Folder::new(d.fields.value, d.window.value)))),
            random: fastrand::Rng::new(),
            chance: cx.chance,
            text: Vec::new(),
        }))
    }
}

impl LimitConfig {
    fn check(&self, span: Span, cx: &mut Reader<'_>) {
        match (&self.events_per_second, &self.bytes_per_second) {
            (Some(_), Some(bytes)) => {
                cx.error(bytes.span, "`limit` takes one of `events_per_second` and `bytes_per_second`");
            }
            (Some(events), None) if events.value <= 0.0 => {
                cx.error(events.span, "`events_per_second` must be above 0");
            }
            (None, Some(bytes)) if bytes.bytes() == 0 => {
                cx.error(bytes.span, "`bytes_per_second` must be above 0");
            }
            (None, None) => {
                cx.error(span, "`limit` needs `events_per_second` or `bytes_per_second`");
            }
            _ => {}
        }
        if let Some(burst) = self.burst.as_ref().filter(|b| b.bytes() == 0) {
            cx.error(burst.span, "`burst` must be above 0");
        }
    }

    fn build(self) -> Limiter {
        let (per_second, bytes) = match (self.events_per_second, self.bytes_per_second) {
            (Some(events), _) => (events.value, false),
            (None, bytes) => (bytes.map_or(f64::INFINITY, |b| b.bytes() as f64), true),
        };
        let burst = self.burst.map_or(per_second.max(1.0), |b| b.bytes() as f64);
        Limiter::new(per_second, burst, bytes, self.by)
    }
}

/// Where an event's share comes from.
#[derive(Clone)]
enum Choice {
    All(Share),
    By(FieldPath, Arc<Rates>),
    Rules(Vec<(Condition, Share)>),
}

/// Samples events; see the module's docs.
struct Sample {
    choice: Choice,
    key: Option<FieldPath>,
    always: Option<Condition>,
    limit: Option<Arc<Mutex<Limiter>>>,
    dedupe: Option<Arc<Mutex<Folder>>>,
    random: fastrand::Rng,
    chance: Chance,
    text: Vec<u8>,
}

/// State that all workers share is used by one at a time, for a batch.
fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.locked()
}

/// A number that is the event's own, and another one for each `sample` on its way.
fn number_of(event: EventRef<'_>) -> u64 {
    let earlier = event.field(Sym::SAMPLE_RATE).and_then(|v| v.as_f64()).unwrap_or(1.0);
    let mut all = [0; 32];
    all[..16].copy_from_slice(&event.batch().ids.to_le_bytes());
    all[16..24].copy_from_slice(&event.offset().to_le_bytes());
    all[24..].copy_from_slice(&earlier.to_bits().to_le_bytes());
    xxhash_rust::xxh3::xxh3_64(&all)
}

impl Sample {
    /// The share of an event.
    #[inline]
    fn share(&mut self, event: EventRef<'_>, faults: &mut Faults) -> Share {
        match &mut self.choice {
            Choice::All(share) => *share,
            Choice::By(path, rates) => match event.get(path) {
                Some(value) => rates.of(value, &mut self.text),
                None => rates.default,
            },
            Choice::Rules(rules) => rules
                .iter_mut()
                .find_map(|(when, share)| when.holds(event, faults).then_some(*share))
                .unwrap_or(Share::ALL),
        }
    }

    /// Whether an event is among those of its share.
    #[inline]
    fn keeps(&mut self, share: Share, event: EventRef<'_>) -> bool {
        if self.chance == Chance::Kept {
            return !share.is_none();
        }
        let keyed = self.key.as_ref().and_then(|key| event.get(key)).filter(|v| !matches!(v, Value::Null));
        let number = match keyed {
            Some(value) => with_text(value, &mut self.text, xxhash_rust::xxh3::xxh3_64),
            None if self.chance == Chance::ByEvent => number_of(event),
            None => self.random.u64(..),
        };
        share.takes(number)
    }
}

impl Transform for Sample {
    fn apply(&mut self, batch: &mut Batch, out: &mut Emitter<'_>) {
        let now = batch.received_at;
        let mut faults = Faults::default();
        let (mut sampled, mut limited, mut folded) = (0, 0, 0);
        let (limit, dedupe) = (self.limit.clone(), self.dedupe.clone());
        let mut limiter = limit.as_deref().map(lock);
        let mut folder = dedupe.as_deref().map(lock);
        if let Some(folder) = &mut folder {
            folder.expire(now, out);
        }
        for row in 0..batch.rows() {
            let event = batch.event(row);
            if !event.is_live() {
                continue;
            }
            if let Some(always) = &mut self.always
                && always.holds(event, &mut faults)
            {
                continue;
            }
            if let Some(folder) = &mut folder
                && folder.folds(event, now, out)
            {
                batch.drop_row(row);
                folded += 1;
                continue;
            }
            let share = self.share(event, &mut faults);
            let mut rate = 1.0;
            if !share.is_all() {
                if !self.keeps(share, event) {
                    batch.drop_row(row);
                    sampled += 1;
                    continue;
                }
                rate = share.rate();
            }
            if let Some(limiter) = &mut limiter {
                match limiter.take(event, now, &mut self.text) {
                    Some(part) => rate *= part,
                    None => {
                        batch.drop_row(row);
                        limited += 1;
                        continue;
                    }
                }
            }
            if rate < 1.0 {
                let earlier = event.field(Sym::SAMPLE_RATE).and_then(|v| v.as_f64());
                let earlier = earlier.filter(|r| *r > 0.0 && *r <= 1.0).unwrap_or(1.0);
                batch.event_mut(row).set_field(Sym::SAMPLE_RATE, Value::F64(rate * earlier));
            }
        }
        out.dropped("sampled", sampled);
        out.dropped("rate_limited", limited);
        out.dropped("folded", folded);
        faults.drain(|kind, n| out.error(kind, n));
    }

    fn fork(&self) -> Box<dyn Transform> {
        Box::new(Sample {
            choice: self.choice.clone(),
            key: self.key.clone(),
            always: self.always.clone(),
            limit: self.limit.clone(),
            dedupe: self.dedupe.clone(),
            random: fastrand::Rng::new(),
            chance: self.chance,
            text: Vec::new(),
        })
    }

    fn may_redo(&self) -> bool {
        self.limit.is_none() && self.dedupe.is_none()
    }

    fn tick_interval(&self) -> Option<Duration> {
        self.dedupe.as_deref().map(|folder| lock(folder).tick_interval())
    }

    fn tick(&mut self, now: i64, out: &mut Emitter<'_>) {
        if let Some(folder) = &self.dedupe {
            lock(folder).expire(now, out);
        }
    }

    fn finish(&mut self, now: i64, out: &mut Emitter<'_>) {
        if let Some(folder) = &self.dedupe {
            lock(folder).flush(now, out);
        }
    }

    fn explain(&mut self, event: EventRef<'_>, notes: &mut Notes) {
        self.tell(event, notes);
    }

    fn rules(&self) -> Vec<Rule> {
        self.deciding()
    }
}
