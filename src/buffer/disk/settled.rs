//! Which records are done with: delivered, dropped or lost, in whatever order that came.

use std::collections::BTreeMap;

/// A set of record numbers as runs, with the number of written events in each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settled {
    /// Every record below is settled.
    low: u64,
    /// Written events of the records below `low`.
    low_events: u64,
    /// Settled runs above `low`: first number → (behind the last, events). Neither touching each other nor `low`.
    runs: BTreeMap<u64, (u64, u64)>,
}

impl Settled {
    /// A set from its parts; runs that overlap are joined, their events added once.
    pub(crate) fn new(low: u64, low_events: u64, runs: impl IntoIterator<Item = (u64, u64, u64)>) -> Self {
        let mut set = Settled { low, low_events, runs: BTreeMap::new() };
        for (from, to, events) in runs {
            set.add(from, to, events);
        }
        set
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
            && t >= from
        {
            (start, end, sum) = (f, end.max(t), sum.saturating_add(n));
            self.runs.remove(&f);
        }
        while let Some((&f, &(t, n))) = self.runs.range(from..=end).next() {
            (end, sum) = (end.max(t), sum.saturating_add(n));
            self.runs.remove(&f);
        }
        if start <= self.low {
            self.low = end;
            self.low_events = self.low_events.saturating_add(sum);
        } else {
            self.runs.insert(start, (end, sum));
        }
        true
    }

    /// Whether all of `from..to` is settled. An empty range is.
    pub(crate) fn covers(&self, from: u64, to: u64) -> bool {
        from >= to || self.next_unsettled(from) >= to
    }

    /// The first record from `seq` on that is not settled.
    pub(crate) fn next_unsettled(&self, seq: u64) -> u64 {
        let seq = seq.max(self.low);
        match self.runs.range(..=seq).next_back() {
            Some((_, &(to, _))) if to > seq => to,
            _ => seq,
        }
    }

    /// Events of the runs that lie wholly in `from..to`.
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

    proptest! {
        #[test]
        fn it_is_a_set(low in 0u64..20, adds in prop::collection::vec((0u64..60, 0u64..8), 0..40)) {
            let mut set = Settled::new(low, 0, []);
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
                prop_assert_eq!(&Settled::new(set.low(), set.low_events(), set.runs()), &set);
            }
        }
    }
}
