//! `limit`: token buckets, one for all events or one by value.
//!
//! Buckets of values are in two generations, as many as [`KEPT_VALUES`] in each: what comes is in the young one, and when
//! that is full, it becomes the old one and what has not come since the last time is forgotten. So the values that came
//! last have their buckets for certain, whoever makes up further ones, and an event costs the same however many there
//! are. A value that was forgotten begins with a full bucket, and what was turned away there is missing in the next
//! `sample_rate` (it is counted as dropped all the same).

use super::share::with_text;
use crate::event::{EventRef, FieldPath, Value};
use crate::time::NS_PER_SEC;
use xxhash_rust::xxh3::xxh3_128;

/// The values that came last and have their buckets for certain; there are twice as many buckets at most, of 48 bytes.
pub(super) const KEPT_VALUES: usize = 10_000;

/// Token buckets for all workers.
pub(super) struct Limiter {
    per_second: f64,
    burst: f64,
    /// Tokens are bytes, not events.
    bytes: bool,
    by: Option<FieldPath>,
    one: Bucket,
    young: hashbrown::HashMap<u128, Bucket>,
    old: hashbrown::HashMap<u128, Bucket>,
}

/// What an event would find.
pub(super) struct Seen {
    /// In its bucket.
    pub(super) tokens: f64,
    /// That it takes.
    pub(super) cost: f64,
    /// That a bucket holds at most.
    pub(super) burst: f64,
    /// Tokens are bytes, not events.
    pub(super) bytes: bool,
    /// The field that tells buckets apart.
    pub(super) by: Option<FieldPath>,
    /// There are enough.
    pub(super) passes: bool,
}

#[derive(Clone, Copy)]
struct Bucket {
    /// May be below 0 after a large event.
    tokens: f64,
    /// When `tokens` was right.
    at: i64,
    /// Events turned away since the last that passed.
    skipped: u64,
}

impl Bucket {
    fn refill(&mut self, now: i64, per_second: f64, burst: f64) {
        let passed = now.saturating_sub(self.at);
        if passed > 0 {
            self.tokens = (self.tokens + passed as f64 / NS_PER_SEC as f64 * per_second).min(burst);
            self.at = now;
        }
    }
}

impl Limiter {
    pub(super) fn new(per_second: f64, burst: f64, bytes: bool, by: Option<FieldPath>) -> Limiter {
        let one = Bucket { tokens: burst, at: i64::MIN, skipped: 0 };
        let (young, old) = Default::default();
        Limiter { per_second, burst, bytes, by, one, young, old }
    }

    /// Takes an event's tokens at `now`: the share of its bucket's events that it stands for, or `None` where it is
    /// turned away. An event larger than the burst passes a full bucket, and those after it wait the longer.
    pub(super) fn take(&mut self, event: EventRef<'_>, now: i64, text: &mut Vec<u8>) -> Option<f64> {
        let cost = if self.bytes { size(event, text) as f64 } else { 1.0 };
        let (per_second, burst) = (self.per_second, self.burst);
        let bucket = self.bucket(event, now, text);
        bucket.refill(now, per_second, burst);
        if bucket.tokens < cost.min(burst) {
            bucket.skipped += 1;
            return None;
        }
        bucket.tokens -= cost;
        Some(1.0 / (std::mem::take(&mut bucket.skipped) + 1) as f64)
    }

    fn bucket(&mut self, event: EventRef<'_>, now: i64, text: &mut Vec<u8>) -> &mut Bucket {
        let Some(by) = &self.by else {
            return &mut self.one;
        };
        // Null is as good as absent. Values of one text are one, of whatever type: the same user in two spellings.
        let key = match event.get(by) {
            None | Some(Value::Null) => 0,
            Some(value) => with_text(value, text, xxh3_128),
        };
        let mut known = None;
        if self.young.len() >= KEPT_VALUES && !self.young.contains_key(&key) {
            known = self.old.remove(&key);
            self.old.clear();
            std::mem::swap(&mut self.young, &mut self.old);
        }
        let (old, fresh) = (&mut self.old, Bucket { tokens: self.burst, at: now, skipped: 0 });
        self.young.entry(key).or_insert_with(|| known.or_else(|| old.remove(&key)).unwrap_or(fresh))
    }

    /// What the event would find, were it given now. Changes nothing.
    pub(super) fn look(&self, event: EventRef<'_>, now: i64, text: &mut Vec<u8>) -> Seen {
        let cost = if self.bytes { size(event, text) as f64 } else { 1.0 };
        let mut bucket = match &self.by {
            None => self.one,
            Some(by) => {
                let key = match event.get(by) {
                    None | Some(Value::Null) => 0,
                    Some(value) => with_text(value, text, xxh3_128),
                };
                let known = self.young.get(&key).or_else(|| self.old.get(&key)).copied();
                known.unwrap_or(Bucket { tokens: self.burst, at: now, skipped: 0 })
            }
        };
        bucket.refill(now, self.per_second, self.burst);
        let passes = bucket.tokens >= cost.min(self.burst);
        let (burst, bytes, by) = (self.burst, self.bytes, self.by.clone());
        Seen { tokens: bucket.tokens, cost, burst, bytes, by, passes }
    }

    #[cfg(test)]
    pub(super) fn buckets(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

/// Bytes of the line an event was read from, or of its JSON.
#[inline]
fn size(event: EventRef<'_>, text: &mut Vec<u8>) -> usize {
    match event.line().len() {
        0 => {
            text.clear();
            event.write_json(text);
            text.len()
        }
        n => n,
    }
}
