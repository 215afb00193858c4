//! Exponential histograms, of OTLP and of Prometheus (there called native), as buckets with upper bounds.
//!
//! With a scale `s`, a bucket with index `i` holds what lies between `2^(i / 2^s)` and `2^((i+1) / 2^s)`; the negative ones
//! mirror that. Only buckets that hold something, and those next below them, become bounds: a sum over all below each of
//! them says the same.

/// Buckets on one side of zero: index and count, ascending by index, empty ones left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Buckets {
    counts: Vec<(i64, f64)>,
}

impl Buckets {
    /// Counts one after the other from the index `offset`.
    pub(super) fn dense(offset: i64, counts: impl Iterator<Item = f64>) -> Buckets {
        let counts = (0i64..).zip(counts).filter(|(_, n)| *n > 0.0);
        Buckets { counts: counts.map(|(i, n)| (offset.saturating_add(i), n)).collect() }
    }

    /// Appends a bucket behind the others.
    pub(super) fn push(&mut self, index: i64, count: f64) {
        if count > 0.0 {
            self.counts.push((index, count));
        }
    }
}

/// An exponential histogram.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Exponential {
    pub(super) scale: i64,
    pub(super) zero_threshold: f64,
    pub(super) zero_count: f64,
    pub(super) positive: Buckets,
    pub(super) negative: Buckets,
}

impl Exponential {
    /// Buckets that hold something.
    pub(super) fn len(&self) -> usize {
        self.positive.counts.len() + self.negative.counts.len()
    }

    /// Lower bound of the positive bucket `index`, which is the upper one of the bucket before.
    fn bound(&self, index: i64) -> f64 {
        // Scales are -10 to 20 by the specification; outside of what a power can say it ends at 0 or infinity.
        let step = (-(self.scale.clamp(-64, 64) as f64)).exp2();
        (index as f64 * step).exp2()
    }

    /// Bounds, ascending and finite, and how much lies at or below each.
    pub(super) fn below(&self) -> Vec<(f64, f64)> {
        let mut out: Vec<(f64, f64)> = Vec::new();
        let mut sum = 0.0;
        let mut push = |bound: f64, count: f64| {
            sum += count;
            match out.last_mut() {
                Some(last) if last.0 >= bound => last.1 = sum,
                _ if bound.is_finite() => out.push((bound, sum)),
                _ => {}
            }
        };
        let mut before = None;
        for (index, count) in self.negative.counts.iter().rev() {
            if before != Some(index.saturating_add(1)) {
                push(-self.bound(index.saturating_add(1)), 0.0);
            }
            push(-self.bound(*index), *count);
            before = Some(*index);
        }
        if self.zero_count > 0.0 {
            push(self.zero_threshold.max(0.0), self.zero_count);
        }
        let mut before = None;
        for (index, count) in &self.positive.counts {
            if before != Some(*index) {
                push(self.bound(*index), 0.0);
            }
            push(self.bound(index.saturating_add(1)), *count);
            before = Some(index.saturating_add(1));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_become_sums_below_their_upper_bounds() {
        let histogram = Exponential {
            scale: 0,
            zero_threshold: 0.0,
            zero_count: 2.0,
            positive: Buckets::dense(0, [3.0, 0.0, 1.0].into_iter()),
            negative: Buckets::dense(1, [4.0].into_iter()),
        };
        // Scale 0: powers of two. Negative index 1: -4 to -2; positive 0: 1 to 2, positive 2: 4 to 8.
        let expected = [(-4.0, 0.0), (-2.0, 4.0), (0.0, 6.0), (1.0, 6.0), (2.0, 9.0), (4.0, 9.0), (8.0, 10.0)];
        assert_eq!(histogram.below(), expected);
    }

    #[test]
    fn scales_beyond_reason_still_give_ascending_bounds() {
        for scale in [-1_000_000, -11, 21, 400, i64::MAX, i64::MIN] {
            for offset in [i64::MIN, -5, 0, i64::MAX] {
                let side = || Buckets::dense(offset, [1.0, 1.0].into_iter());
                let histogram = Exponential {
                    scale,
                    zero_threshold: f64::NAN,
                    zero_count: 1.0,
                    positive: side(),
                    negative: side(),
                };
                let below = histogram.below();
                assert!(below.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{scale} {offset}: {below:?}");
            }
        }
    }
}
