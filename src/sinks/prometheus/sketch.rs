//! Quantiles of a stream in bounded memory: counts by logarithmic bucket, within 1 % of the value.
//!
//! As DDSketch (Masson, Rim, Lee, VLDB 2019): a value x > 0 falls into bucket ceil(log_g x) with g = (1 + a) / (1 - a), so
//! any value of a bucket is within a of its middle. Past [`MAX_BUCKETS`] the smallest values share a bucket. Once the range
//! of values is known nothing is allocated any more.

/// Relative error.
const ACCURACY: f64 = 0.01;
/// Buckets per sign; e^20 between smallest and largest value.
const MAX_BUCKETS: usize = 1024;
/// Smaller values count as 0.
const SMALLEST: f64 = 1e-9;

/// Counts of values.
#[derive(Clone, Debug, Default)]
pub(super) struct Sketch {
    positive: Store,
    negative: Store,
    zero: f64,
    count: f64,
    /// Smallest and largest value, where `count` is not 0: quantiles do not leave them.
    range: (f64, f64),
}

#[derive(Clone, Debug, Default)]
struct Store {
    /// Number of the first bucket.
    first: i32,
    counts: Vec<f64>,
}

fn ln_gamma() -> f64 {
    ((1.0 + ACCURACY) / (1.0 - ACCURACY)).ln()
}

impl Store {
    fn add(&mut self, x: f64, weight: f64) {
        let n = (x.ln() / ln_gamma()).ceil() as i32;
        if self.counts.is_empty() {
            self.first = n;
        }
        if n < self.first {
            let more = ((self.first - n) as usize).min(MAX_BUCKETS - self.counts.len());
            self.counts.splice(0..0, std::iter::repeat_n(0.0, more));
            self.first -= more as i32;
        }
        let mut at = (n - self.first).max(0) as usize;
        if at >= MAX_BUCKETS {
            let fold = (at + 1 - MAX_BUCKETS).min(self.counts.len());
            let folded: f64 = self.counts.drain(..fold).sum();
            self.first = n - (MAX_BUCKETS as i32 - 1);
            // The rest moves with the new first bucket; what was folded is in it.
            let gap = (at + 1 - MAX_BUCKETS).saturating_sub(fold);
            if gap > 0 {
                self.counts.clear();
            }
            if self.counts.is_empty() {
                self.counts.push(0.0);
            }
            self.counts[0] += folded;
            at = MAX_BUCKETS - 1;
        }
        if at >= self.counts.len() {
            self.counts.resize(at + 1, 0.0);
        }
        self.counts[at] += weight;
    }

    fn value(&self, at: usize) -> f64 {
        let upper = (ln_gamma() * f64::from(self.first + at as i32)).exp();
        upper * (1.0 - ACCURACY)
    }

    fn clear(&mut self) {
        self.counts.iter_mut().for_each(|c| *c = 0.0);
    }
}

impl Sketch {
    /// Adds a finite value.
    pub(super) fn add(&mut self, x: f64, weight: f64) {
        self.range = if self.count > 0.0 { (self.range.0.min(x), self.range.1.max(x)) } else { (x, x) };
        self.count += weight;
        if x.abs() < SMALLEST {
            self.zero += weight;
        } else if x > 0.0 {
            self.positive.add(x, weight);
        } else {
            self.negative.add(-x, weight);
        }
    }

    /// Forgets all values, keeping the memory.
    pub(super) fn clear(&mut self) {
        (self.zero, self.count) = (0.0, 0.0);
        self.positive.clear();
        self.negative.clear();
    }

    /// The value below which the share `q` of the values of both sketches lies; `None` where there are none.
    pub(super) fn quantile(a: &Sketch, b: &Sketch, q: f64) -> Option<f64> {
        let count = a.count + b.count;
        if count <= 0.0 {
            return None;
        }
        let mut rank = q * count;
        let mut last = 0.0;
        // From the most negative value up.
        let mut negative: Vec<(f64, f64)> = Vec::new();
        let mut positive: Vec<(f64, f64)> = Vec::new();
        for sketch in [a, b] {
            let list = |store: &Store| {
                let filled = store.counts.iter().enumerate().filter(|(_, c)| **c > 0.0);
                filled.map(|(at, c)| (store.value(at), *c)).collect::<Vec<_>>()
            };
            negative.extend(list(&sketch.negative).into_iter().map(|(x, c)| (-x, c)));
            positive.extend(list(&sketch.positive));
        }
        negative.sort_by(|x, y| x.0.total_cmp(&y.0));
        positive.sort_by(|x, y| x.0.total_cmp(&y.0));
        let zero = a.zero + b.zero;
        for (x, c) in negative.into_iter().chain((zero > 0.0).then_some((0.0, zero))).chain(positive) {
            last = x;
            rank -= c;
            if rank <= 1e-9 * count {
                break;
            }
        }
        let mut ranges = [a, b].into_iter().filter(|s| s.count > 0.0).map(|s| s.range);
        let first = ranges.next().unwrap_or((last, last));
        let (low, high) = ranges.fold(first, |r, s| (r.0.min(s.0), r.1.max(s.1)));
        Some(last.clamp(low, high))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn no_values_have_no_quantile_and_clearing_forgets_all() {
        let mut sketch = Sketch::default();
        assert_eq!(Sketch::quantile(&sketch, &Sketch::default(), 0.5), None);
        sketch.add(3.0, 2.0);
        assert!((Sketch::quantile(&sketch, &Sketch::default(), 0.5).unwrap() - 3.0).abs() < 0.05);
        sketch.clear();
        assert_eq!(Sketch::quantile(&sketch, &Sketch::default(), 0.5), None);
    }

    #[test]
    fn a_wide_range_keeps_its_upper_quantiles_in_bounded_memory() {
        for upwards in [true, false] {
            let mut sketch = Sketch::default();
            let mut values: Vec<f64> = (0..400).map(|n| 10f64.powf(f64::from(n) / 20.0 - 8.0)).collect();
            if !upwards {
                values.reverse();
            }
            for x in &values {
                sketch.add(*x, 1.0);
            }
            assert!(sketch.positive.counts.len() <= MAX_BUCKETS);
            assert_eq!(sketch.positive.counts.iter().sum::<f64>(), 400.0);
            values.sort_by(f64::total_cmp);
            let p99 = Sketch::quantile(&sketch, &Sketch::default(), 0.99).unwrap();
            assert!((p99 / values[395] - 1.0).abs() < 0.02, "{p99} {}", values[395]);
        }
    }

    proptest! {
        #[test]
        fn quantiles_are_within_their_accuracy(
            values in proptest::collection::vec(-1e6f64..1e6, 1..200),
            split in 0usize..200,
            q in 0.0f64..=1.0,
        ) {
            let (mut a, mut b) = (Sketch::default(), Sketch::default());
            for (n, x) in values.iter().enumerate() {
                if n < split { a.add(*x, 1.0) } else { b.add(*x, 1.0) }
            }
            let mut sorted = values.clone();
            sorted.sort_by(f64::total_cmp);
            let rank = ((q * sorted.len() as f64).ceil() as usize).clamp(1, sorted.len());
            let got = Sketch::quantile(&a, &b, q).unwrap();
            // The exact rank may fall on either neighbour when q * n is integral up to rounding.
            let near = |x: f64| (got - x).abs() <= x.abs() * 0.0101 + 1e-6;
            let low = rank.saturating_sub(2);
            prop_assert!(sorted[low..(rank + 1).min(sorted.len())].iter().any(|x| near(*x)), "{got} {:?}", sorted[rank - 1]);
        }
    }
}
