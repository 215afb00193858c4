//! What is settled within one record: a sink that was given a batch may deliver it in several requests.

use std::ops::Range;

/// How the events stand in the position file: as runs, or as one bit each.
const RUNS: u8 = 0;
const BITS: u8 = 1;

/// Events of a record that are settled while others are not, by their places in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Within {
    /// In order; none is empty, none touches the next.
    runs: Vec<Range<u32>>,
    events: u64,
}

impl Within {
    /// How many they are.
    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    /// The events as runs, in order.
    pub(crate) fn runs(&self) -> impl Iterator<Item = Range<u32>> + '_ {
        self.runs.iter().cloned()
    }

    /// Settles more, given in order; returns how many were not settled before.
    pub(crate) fn add(&mut self, more: impl Iterator<Item = Range<u32>>) -> u64 {
        let before = self.events;
        let old = std::mem::take(&mut self.runs);
        let (mut old, mut more) = (old.into_iter().peekable(), more.filter(|run| !run.is_empty()).peekable());
        loop {
            let next = match (old.peek(), more.peek()) {
                (Some(a), Some(b)) if a.start <= b.start => old.next(),
                (_, Some(_)) => more.next(),
                _ => old.next(),
            };
            let Some(next) = next else { break };
            match self.runs.last_mut() {
                Some(last) if next.start <= last.end => last.end = last.end.max(next.end),
                _ => self.runs.push(next),
            }
        }
        self.events = self.runs.iter().map(|run| u64::from(run.end - run.start)).sum();
        self.events - before
    }

    /// Only those below `end`.
    pub(crate) fn below(&self, end: u32) -> Within {
        let mut all = Within::default();
        all.add(self.runs().map(|run| run.start.min(end)..run.end.min(end)));
        all
    }

    /// The places in the record of events that are counted among those not settled here.
    pub(crate) fn places_of(&self, among_others: impl Iterator<Item = Range<u32>>) -> Vec<Range<u32>> {
        let mut places = Vec::new();
        let mut settled = self.runs.iter().peekable();
        // Settled events before the place that is looked at.
        let mut skipped = 0u32;
        for Range { mut start, end } in among_others {
            while start < end {
                while let Some(run) = settled.next_if(|run| run.start <= start.saturating_add(skipped)) {
                    skipped += run.end - run.start;
                }
                let to = settled.peek().map_or(end, |run| end.min(run.start - skipped));
                places.push(start.saturating_add(skipped)..to.saturating_add(skipped));
                start = to;
            }
        }
        places
    }

    /// Appends the form of them that is shorter.
    pub(crate) fn to_bytes(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.push(RUNS);
        let mut at = 0;
        for run in &self.runs {
            put_varint((run.start - at).into(), out);
            put_varint((run.end - run.start).into(), out);
            at = run.end;
        }
        let bits = (at as usize).div_ceil(8);
        if out.len() - start > 1 + bits {
            out.truncate(start);
            out.push(BITS);
            out.resize(start + 1 + bits, 0);
            for place in self.runs().flatten() {
                out[start + 1 + place as usize / 8] |= 1 << (place % 8);
            }
        }
    }

    /// Reads them back; `None` where the bytes say something else.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Within> {
        let (form, mut bytes) = bytes.split_first()?;
        let mut all = Within::default();
        match *form {
            RUNS => {
                let mut runs = Vec::new();
                let mut at = 0u32;
                while !bytes.is_empty() {
                    let mut number = || u32::try_from(take_varint(&mut bytes)?).ok();
                    let start = at.checked_add(number()?)?;
                    at = start.checked_add(number()?)?;
                    runs.push(start..at);
                }
                all.add(runs.into_iter());
            }
            BITS => {
                let set = |place: &u32| bytes[*place as usize / 8] & 1 << (place % 8) != 0;
                let places = u32::try_from(bytes.len() * 8).ok()?;
                all.add((0..places).filter(set).map(|place| place..place + 1));
            }
            _ => return None,
        }
        Some(all)
    }
}

/// Appends a number, seven bits a byte, lowest first.
pub(super) fn put_varint(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Takes such a number off the front.
pub(super) fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut n = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        n |= bits << shift;
        if byte < 0x80 {
            return (bits << shift >> shift == bits).then_some(n);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn runs_of(set: &BTreeSet<u32>) -> Vec<Range<u32>> {
        let mut all = Within::default();
        all.add(set.iter().map(|&n| n..n + 1));
        all.runs().collect()
    }

    proptest! {
        #[test]
        fn it_is_a_set(adds in prop::collection::vec(prop::collection::btree_set(0u32..200, 0..80), 0..6)) {
            let (mut within, mut model) = (Within::default(), BTreeSet::new());
            for add in adds {
                let new = add.difference(&model).count() as u64;
                prop_assert_eq!(within.add(runs_of(&add).into_iter()), new);
                model.extend(add);
                prop_assert_eq!(within.events(), model.len() as u64);
                prop_assert_eq!(within.runs().flatten().collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
                let mut bytes = Vec::new();
                within.to_bytes(&mut bytes);
                prop_assert!(bytes.len() <= 26);
                prop_assert_eq!(Within::from_bytes(&bytes), Some(within.clone()));
            }
            let below: Vec<u32> = model.iter().copied().filter(|n| *n < 100).collect();
            prop_assert_eq!(within.below(100).runs().flatten().collect::<Vec<_>>(), below);
        }

        #[test]
        fn places_among_the_others_are_found(
            settled in prop::collection::btree_set(0u32..60, 0..50),
            picked in prop::collection::btree_set(0u32..60, 0..50),
        ) {
            let mut within = Within::default();
            within.add(runs_of(&settled).into_iter());
            let others: Vec<u32> = (0..200).filter(|n| !settled.contains(n)).collect();
            let expected: Vec<u32> = picked.iter().map(|&n| others[n as usize]).collect();
            let places = within.places_of(runs_of(&picked).into_iter());
            prop_assert_eq!(places.into_iter().flatten().collect::<Vec<_>>(), expected);
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Some(within) = Within::from_bytes(&bytes) {
                let mut again = Vec::new();
                within.to_bytes(&mut again);
                prop_assert_eq!(Within::from_bytes(&again), Some(within));
            }
        }
    }
}
