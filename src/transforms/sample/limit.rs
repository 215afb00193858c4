//! `limit`: token buckets, one for all events or one by value.

use super::share::with_text;
use crate::event::{EventRef, FieldPath};
use crate::time::NS_PER_SEC;
use xxhash_rust::xxh3::xxh3_128;

/// Most buckets. Further values share one, until some bucket has been full for a while and is forgotten.
pub(super) const MAX_BUCKETS: usize = 10_000;

/// How often buckets that are full again are looked for.
const SWEEP_NS: i64 = NS_PER_SEC;

/// Token buckets for all workers.
pub(super) struct Limiter {
    per_second: f64,
    burst: f64,
    /// Tokens are bytes, not events.
    bytes: bool,
    by: Option<FieldPath>,
    one: Bucket,
    many: hashbrown::HashMap<u128, Bucket>,
    swept: i64,
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
        Limiter { per_second, burst, bytes, by, one, many: hashbrown::HashMap::new(), swept: i64::MIN }
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
        let key = event.get(by).map_or(0, |value| with_text(value, text, xxh3_128));
        if self.many.len() >= MAX_BUCKETS && !self.many.contains_key(&key) {
            self.sweep(now);
            if self.many.len() >= MAX_BUCKETS {
                return &mut self.one;
            }
        }
        let fresh = Bucket { tokens: self.burst, at: now, skipped: 0 };
        self.many.entry(key).or_insert(fresh)
    }

    /// Forgets buckets that are full: a new one would be the same.
    fn sweep(&mut self, now: i64) {
        if now.saturating_sub(self.swept) < SWEEP_NS {
            return;
        }
        self.swept = now;
        let (per_second, burst) = (self.per_second, self.burst);
        self.many.retain(|_, bucket| {
            bucket.refill(now, per_second, burst);
            bucket.tokens < burst
        });
    }

    #[cfg(test)]
    pub(super) fn buckets(&self) -> usize {
        self.many.len()
    }
}

/// Bytes of the line an event was read from, or of its JSON.
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
