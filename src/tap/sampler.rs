//! Which of the events that pass are looked at: a fair sample of each second, decided event by event without looking at them.
//!
//! Each event is taken with the same probability, the share; where more come than were expected it is halved, and whoever keeps
//! what was taken thins out the earlier ones in the same measure. The first window is short, so that
//! something is seen at once, and how much comes is known soon.

/// Length of the first window, in milliseconds.
const FIRST_MS: u64 = 100;
/// Of the others.
const WINDOW_MS: u64 = 1000;

/// The window that a time lies in, in milliseconds since the tap was opened.
pub fn window_at(ms: u64) -> u64 {
    if ms < FIRST_MS { 0 } else { 1 + (ms - FIRST_MS) / WINDOW_MS }
}

/// When a window ends.
pub fn end_of(window: u64) -> u64 {
    FIRST_MS + window * WINDOW_MS
}

/// Says which events are taken.
#[derive(Debug)]
pub struct Sampler {
    /// Events that are to be taken in a window.
    target: u64,
    window: Option<u64>,
    share: f64,
    /// Taken in this window, as far as they count at the present share.
    taken: u64,
    /// Events of this window so far.
    came: u64,
    /// Events that are passed over before the next one that is taken.
    skip: u64,
}

impl Sampler {
    /// Takes about so many of a window.
    pub fn new(target: u64) -> Sampler {
        Sampler { target: target.max(1), window: None, share: 1.0, taken: 0, came: 0, skip: 0 }
    }

    /// Begins a window, where it is another than before.
    pub fn begin(&mut self, window: u64) {
        if self.window == Some(window) {
            return;
        }
        let length = if self.window == Some(0) { FIRST_MS as f64 / WINDOW_MS as f64 } else { 1.0 };
        if self.window.is_some() {
            let expected = (self.came as f64 / length).max(1.0);
            self.share = (1.5 * self.target as f64 / expected).min(1.0);
        }
        self.window = Some(window);
        (self.taken, self.came) = (0, 0);
        self.skip = self.gap();
    }

    /// The share of events that is taken now. What was taken at a greater one counts for less.
    #[cfg(test)]
    fn share(&self) -> f64 {
        self.share
    }

    /// Which of `events` more events are taken: calls `take` with their places, in order. It says whether it could.
    pub fn pick(&mut self, events: u64, mut take: impl FnMut(u64, f64) -> bool) {
        self.came += events;
        while self.skip < events {
            if take(self.skip, self.share) {
                self.taken += 1;
                if self.taken >= 2 * self.target {
                    self.share /= 2.0;
                    self.taken /= 2;
                }
            }
            self.skip = self.skip.saturating_add(1).saturating_add(self.gap());
        }
        self.skip -= events;
    }

    fn gap(&self) -> u64 {
        if self.share >= 1.0 {
            return 0;
        }
        // Geometric: how many fail before one succeeds.
        let gap = (1.0 - fastrand::f64()).ln() / (1.0 - self.share).ln();
        if gap < 1e18 { gap as u64 } else { u64::MAX / 2 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Thinned out by their shares, events of all parts of a window are equally likely, however many come.
    #[test]
    fn the_sample_is_fair_and_bounded() {
        fastrand::seed(7);
        for per_window in [20_u64, 100, 1_000, 200_000] {
            let mut parts = [0.0_f64; 4];
            let mut most = 0;
            let mut sampler = Sampler::new(100);
            for window in 0..40 {
                sampler.begin(window);
                let mut taken = Vec::new();
                for part in 0..4 {
                    for _ in 0..5 {
                        sampler.pick(per_window / 20, |_, share| {
                            taken.push((part, share));
                            true
                        });
                    }
                }
                most = most.max(if window > 0 { taken.len() } else { 0 });
                assert!(taken.iter().all(|(_, share)| *share >= sampler.share()));
                taken.iter().for_each(|(part, share): &(usize, f64)| parts[*part] += 1.0 / share);
            }
            assert!(most <= 400, "{per_window}: {most}");
            // Estimates of how many came: each a quarter of all.
            let came = (per_window / 20 * 5 * 40) as f64;
            for part in parts {
                assert!((part / came - 1.0).abs() < 0.25, "{per_window}: {parts:?} of {came}");
            }
        }
    }

    #[test]
    fn where_few_come_all_are_taken() {
        let mut sampler = Sampler::new(100);
        for window in 0..10 {
            sampler.begin(window);
            let mut places = Vec::new();
            sampler.pick(3, |place, _| {
                places.push(place);
                true
            });
            assert_eq!(places, [0, 1, 2]);
        }
    }

    #[test]
    fn windows_follow_each_other() {
        assert_eq!([0, 99, 100, 1099, 1100].map(window_at), [0, 0, 1, 1, 2]);
        assert_eq!([0, 1].map(end_of), [100, 1100]);
        for ms in 0..5000 {
            assert!(ms < end_of(window_at(ms)));
        }
    }
}
