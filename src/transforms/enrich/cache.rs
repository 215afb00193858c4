//! A bounded map from bytes to bytes, for answers that cost more to find than to keep.
//!
//! Two generations: what is found or used goes into the young one; when that is full, it becomes the old one and what was
//! in the old one and never used since is forgotten. So what is used stays, in constant time and without links.

use hashbrown::HashMap;

/// Longer keys or values are not kept.
const LONGEST: usize = 8 << 10;

/// The cache; one per worker.
#[derive(Debug)]
pub(super) struct Cache {
    young: Generation,
    old: Generation,
    /// Most entries of a generation.
    entries: usize,
    /// Most bytes of a generation's keys and values.
    bytes: usize,
    /// Room for an answer that is not kept.
    passing: Vec<u8>,
}

#[derive(Debug, Default)]
struct Generation {
    places: HashMap<Box<[u8]>, u32>,
    values: Vec<Box<[u8]>>,
    bytes: usize,
}

impl Generation {
    fn insert(&mut self, key: Box<[u8]>, value: Box<[u8]>) -> u32 {
        self.bytes += key.len() + value.len();
        let at = self.values.len() as u32;
        self.values.push(value);
        self.places.insert(key, at);
        at
    }
}

impl Cache {
    /// Keeps at most `entries` answers and `bytes` bytes of keys and answers.
    pub(super) fn new(entries: usize, bytes: usize) -> Self {
        let (entries, bytes) = ((entries / 2).max(1), bytes / 2);
        Cache { young: Generation::default(), old: Generation::default(), entries, bytes, passing: Vec::new() }
    }

    /// An empty cache with the same bounds.
    pub(super) fn fork(&self) -> Self {
        Cache {
            young: Generation::default(),
            old: Generation::default(),
            entries: self.entries,
            bytes: self.bytes,
            passing: Vec::new(),
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = self.fork();
    }

    /// The answer to `key`, which `find` appends to the empty buffer it is given where it is not known.
    #[inline]
    pub(super) fn get(&mut self, key: &[u8], find: impl FnOnce(&mut Vec<u8>)) -> &[u8] {
        match self.young.places.get(key) {
            Some(&at) => &self.young.values[at as usize],
            None => self.miss(key, find),
        }
    }

    #[cold]
    fn miss(&mut self, key: &[u8], find: impl FnOnce(&mut Vec<u8>)) -> &[u8] {
        let (key, value) = match self.old.places.remove_entry(key) {
            Some((key, at)) => (key, std::mem::take(&mut self.old.values[at as usize])),
            None => {
                self.passing.clear();
                find(&mut self.passing);
                if key.len() > LONGEST || self.passing.len() > LONGEST {
                    return &self.passing;
                }
                (key.into(), self.passing.as_slice().into())
            }
        };
        if self.young.values.len() >= self.entries || self.young.bytes + key.len() + value.len() > self.bytes {
            self.old = std::mem::take(&mut self.young);
        }
        let at = self.young.insert(key, value);
        &self.young.values[at as usize]
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.young.places.len() + self.old.places.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn answers_are_right_and_the_bounds_hold(keys in prop::collection::vec(0u8..40, 0..400)) {
            let mut cache = Cache::new(16, 400);
            for key in keys {
                let value = vec![key; usize::from(key)];
                let got = cache.get(&[key], |out| out.extend_from_slice(&value)).to_vec();
                prop_assert_eq!(got, value);
                prop_assert!(cache.len() <= 16);
                prop_assert!(cache.young.bytes + cache.old.bytes <= 400);
            }
        }
    }

    #[test]
    fn what_is_used_stays() {
        let mut cache = Cache::new(8, 1 << 20);
        let mut found = 0;
        for n in 0..200u32 {
            cache.get(b"hot", |_| found += 1);
            cache.get(&n.to_le_bytes(), |_| ());
        }
        assert_eq!(found, 1);
    }

    #[test]
    fn long_answers_are_given_and_not_kept() {
        let mut cache = Cache::new(8, 1 << 20);
        let mut found = 0;
        for _ in 0..2 {
            let answer = cache.get(b"k", |out| {
                found += 1;
                out.resize(LONGEST + 1, b'x');
            });
            assert_eq!(answer.len(), LONGEST + 1);
        }
        assert_eq!((found, cache.len()), (2, 0));
    }
}
