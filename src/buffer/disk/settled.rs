//! Which records are done with: delivered, dropped or lost, in whatever order that came.

use std::collections::{BTreeMap, BTreeSet};

/// A set of record numbers as runs, with the number of written events in each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settled {
    /// Every record below is settled.
    low: u64,
    /// Written events of the records below `low`.
    low_events: u64,
    /// Settled runs above `low`: first number → (behind the last, events). None touches `low`; two touch each other
    /// only at a cut.
    runs: BTreeMap<u64, (u64, u64)>,
    /// Where segments begin: runs are not joined there, so that the events settled within a segment are known.
    cuts: BTreeSet<u64>,
}

impl Settled {
    /// A set from its parts; runs that overlap are joined, their events added once, runs that touch stay apart.
    pub(crate) fn new(low: u64, low_events: u64, runs: &[(u64, u64, u64)]) -> Self {
        Settled::cut_at(runs.iter().map(|r| r.0), low, low_events, runs.iter().copied())
    }

    /// A set from its parts, with segments that begin at `cuts`.
    pub(crate) fn cut_at(
        cuts: impl IntoIterator<Item = u64>,
        low: u64,
        low_events: u64,
        runs: impl IntoIterator<Item = (u64, u64, u64)>,
    ) -> Self {
        let cuts = cuts.into_iter().filter(|&cut| cut > low).collect();
        let mut set = Settled { low, low_events, runs: BTreeMap::new(), cuts };
        for (from, to, events) in runs {
            set.add(from, to, events);
        }
        set
    }

    /// A segment begins at `seq`, from which on nothing is settled yet.
    pub(crate) fn cut(&mut self, seq: u64) {
        if seq > self.low {
            self.cuts.insert(seq);
        }
    }

    /// Where the first segment from `seq` on begins, as far as it is above what is settled as a whole; else the last number
    /// that there is.
    pub(crate) fn next_cut(&self, seq: u64) -> u64 {
        self.cuts.range(seq..).next().copied().unwrap_or(u64::MAX)
    }

    /// The first record that is not settled.
    pub(crate) fn low(&self) -> u64 {
        self.low
    }

    /// Written events of the records below [`low`](Settled::low).
    pub(crate) fn low_events(&self) -> u64 {
        self.low_events
    }

    /// Settled runs above `low`: first, behind the last, events.
    pub(crate) fn runs(&self) -> impl Iterator<Item = (u64, u64, u64)> + '_ {
        self.runs.iter().map(|(&from, &(to, events))| (from, to, events))
    }

    /// Written events of all settled records.
    pub(crate) fn events(&self) -> u64 {
        self.runs.values().fold(self.low_events, |sum, &(_, n)| sum.saturating_add(n))
    }

    /// Behind the last settled record.
    pub(crate) fn end(&self) -> u64 {
        self.runs.last_key_value().map_or(self.low, |(_, &(to, _))| to)
    }

    /// Settles `from..to`, which hold `events` written events; `false`, and nothing is changed, where all of it was
    /// settled before. Where part of it was, `events` are those of the rest.
    pub(crate) fn add(&mut self, from: u64, to: u64, events: u64) -> bool {
        let from = from.max(self.low);
        if from >= to || self.covers(from, to) {
            return false;
        }
        let (mut start, mut end, mut sum) = (from, to, events);
        if let Some((&f, &(t, n))) = self.runs.range(..from).next_back()
            && (t > from || t == from && !self.cuts.contains(&from))
        {
            (start, end, sum) = (f, end.max(t), sum.saturating_add(n));
            self.runs.remove(&f);
        }
        while let Some((&f, &(t, n))) = self.runs.range(from..=end).next()
            && (f < end || !self.cuts.contains(&end))
        {
            (end, sum) = (end.max(t), sum.saturating_add(n));
            self.runs.remove(&f);
        }
        self.runs.insert(start, (end, sum));
        while let Some((&f, &(t, n))) = self.runs.first_key_value()
            && f <= self.low
        {
            self.low = t;
            self.low_events = self.low_events.saturating_add(n);
            self.runs.remove(&f);
        }
        if self.cuts.first().is_some_and(|&cut| cut <= self.low) {
            self.cuts = self.cuts.split_off(&(self.low + 1));
        }
        true
    }

    /// Whether all of `from..to` is settled. An empty range is.
    pub(crate) fn covers(&self, from: u64, to: u64) -> bool {
        from >= to || self.next_unsettled(from) >= to
    }

    /// The first record from `seq` on that is not settled.
    pub(crate) fn next_unsettled(&self, seq: u64) -> u64 {
        let mut seq = seq.max(self.low);
        while let Some((_, &(to, _))) = self.runs.range(..=seq).next_back()
            && to > seq
        {
            seq = to;
        }
        seq
    }

    /// Written events of the settled records among `from..to`, before which `before` events were written: exact where
    /// a segment begins at `from` or the record before is not settled, and likewise at `to`.
    pub(crate) fn events_between(&self, from: u64, to: u64, before: u64) -> u64 {
        let below = if self.low > from { self.low_events.saturating_sub(before) } else { 0 };
        below.saturating_add(self.events_within(from, to))
    }

    /// Events of the runs above `low` that lie wholly in `from..to`.
    pub(crate) fn events_within(&self, from: u64, to: u64) -> u64 {
        self.runs.range(from..to).filter(|(_, (end, _))| *end <= to).map(|(_, (_, n))| n).sum()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn what_is_settled_within_a_segment_is_known() {
        // One event a record; segments begin at 0, 10 and 20.
        let mut set = Settled::new(0, 0, &[]);
        for seq in (0..30).filter(|n| n % 7 != 3) {
            if seq % 10 == 0 {
                set.cut(seq);
            }
            set.add(seq, seq + 1, 1);
        }
        let model = |from: u64| (from..from + 10).filter(|n| n % 7 != 3).count() as u64;
        for from in [0, 10, 20] {
            assert_eq!(set.events_between(from, from + 10, from), model(from));
        }
    }

    proptest! {
        #[test]
        fn it_is_a_set(
            low in 0u64..20,
            cuts in prop::collection::btree_set(0u64..60, 0..4),
            adds in prop::collection::vec((0u64..60, 0u64..8), 0..40),
        ) {
            let mut set = Settled::cut_at(cuts.clone(), low, 0, []);
            let mut model: BTreeSet<u64> = (0..low).collect();
            let mut events = 0;
            for (from, len) in adds {
                let new: Vec<u64> = (from..from + len).filter(|n| !model.contains(n)).collect();
                let count = new.len() as u64;
                prop_assert_eq!(set.add(from, from + len, count), count > 0);
                events += count;
                model.extend(new);
                prop_assert_eq!(set.events(), events);
                let first = (0..).find(|n| !model.contains(n)).unwrap();
                prop_assert_eq!(set.low(), first);
                prop_assert_eq!(set.end(), model.last().map_or(low, |l| (l + 1).max(low)));
                for seq in 0..70 {
                    prop_assert_eq!(set.next_unsettled(seq), (seq..).find(|n| !model.contains(n)).unwrap());
                    prop_assert_eq!(set.covers(seq, seq + 3), (seq..seq + 3).all(|n| model.contains(&n)));
                }
                let again = Settled::cut_at(cuts.clone(), set.low(), set.low_events(), set.runs());
                prop_assert_eq!(&again, &set);
            }
        }
    }
}
