//! All files that are being read, each in a slot of its own, and the ways to it: its names and its identity.
//!
//! Who does something with a file takes it out of its slot and puts it back; whoever looks meanwhile finds the slot empty.

use super::identity::{Identity, Predecessor};
use super::tail::{Tail, TailState};
use hashbrown::HashMap;
use std::path::Path;
use std::sync::Arc;

/// See [the module](self).
#[derive(Default)]
pub(super) struct Tails {
    /// `None`: nobody has the slot, or its file is taken.
    slots: Vec<Option<Box<Tail>>>,
    /// Slots that nobody has.
    free: Vec<usize>,
    /// Names that lead to a file here: each is one of its `paths`.
    by_path: HashMap<Arc<Path>, usize>,
    /// One for each file that has a slot.
    by_identity: HashMap<Identity, usize>,
    /// Bytes that they have and that were not read: the sum of their `lag`.
    lag: u64,
}

impl Tails {
    /// A slot for a file, which is put there later.
    pub(super) fn add(&mut self, tail: &mut Tail) -> usize {
        let key = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.by_identity.insert(tail.identity, key);
        self.measure(tail);
        key
    }

    /// Forgets a file with its names; its slot is free.
    pub(super) fn remove(&mut self, key: usize) -> Option<Box<Tail>> {
        let tail = self.slots[key].take()?;
        self.by_identity.remove(&tail.identity);
        for path in tail.paths.all() {
            self.by_path.remove(path);
        }
        self.free.push(key);
        Some(tail)
    }

    /// Takes a file out of its slot, to be put back.
    pub(super) fn take(&mut self, key: usize) -> Option<Box<Tail>> {
        self.slots[key].take()
    }

    /// Puts back what was taken.
    pub(super) fn put(&mut self, key: usize, tail: Box<Tail>) {
        self.slots[key] = Some(tail);
    }

    pub(super) fn get(&self, key: usize) -> Option<&Tail> {
        self.slots.get(key)?.as_deref()
    }

    pub(super) fn get_mut(&mut self, key: usize) -> Option<&mut Tail> {
        self.slots.get_mut(key)?.as_deref_mut()
    }

    /// The file of a slot, where it still is that generation.
    pub(super) fn of(&self, (key, generation): Predecessor) -> Option<&Tail> {
        self.get(key).filter(|tail| tail.generation == generation)
    }

    /// What others wait for that come after the file of this slot.
    pub(super) fn predecessor(&self, key: usize) -> Option<Predecessor> {
        self.get(key).map(|tail| (key, tail.generation))
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Tail> {
        self.slots.iter().filter_map(Option::as_deref)
    }

    /// All of them, with their slots.
    pub(super) fn with_keys(&self) -> impl Iterator<Item = (usize, &Tail)> {
        self.slots.iter().enumerate().filter_map(|(key, tail)| Some((key, tail.as_deref()?)))
    }

    /// As above, to be changed.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut Tail)> {
        self.slots.iter_mut().enumerate().filter_map(|(key, tail)| Some((key, tail.as_deref_mut()?)))
    }

    /// All slots, those that nobody has included.
    pub(super) fn keys(&self) -> std::ops::Range<usize> {
        0..self.slots.len()
    }

    /// The file that a name leads to.
    pub(super) fn at_path(&self, path: &Path) -> Option<usize> {
        self.by_path.get(path).copied()
    }

    /// Names that lead to files, and to which.
    pub(super) fn paths(&self) -> impl Iterator<Item = (&Arc<Path>, usize)> {
        self.by_path.iter().map(|(path, key)| (path, *key))
    }

    /// How many names lead to files.
    pub(super) fn path_count(&self) -> usize {
        self.by_path.len()
    }

    /// A name leads to a file from now on, which has it among its own.
    pub(super) fn name(&mut self, path: Arc<Path>, key: usize) {
        self.by_path.insert(path, key);
    }

    /// A name leads nowhere any more; where it led.
    pub(super) fn unname(&mut self, path: &Path) -> Option<usize> {
        self.by_path.remove(path)
    }

    /// The slot of a file that is being read, or whose verdicts are awaited.
    pub(super) fn of_identity(&self, identity: &Identity) -> Option<usize> {
        self.by_identity.get(identity).copied()
    }

    /// A file that was taken has another identity from now on.
    pub(super) fn replace_identity(&mut self, key: usize, tail: &mut Tail, identity: Identity) {
        self.by_identity.remove(&tail.identity);
        tail.identity = identity;
        self.by_identity.insert(identity, key);
    }

    /// Whether the file that had the name before is to be read first.
    pub(super) fn must_wait(&mut self, key: usize) -> bool {
        let Some(before) = self.get(key).and_then(|tail| tail.after) else { return false };
        let waiting = self.of(before).is_some_and(|old| {
            !old.failing && !old.waits() && matches!(old.state, TailState::Gone { read: false, .. })
        });
        if !waiting && let Some(tail) = self.get_mut(key) {
            tail.after = None;
        }
        waiting
    }

    /// Counts what a file adds to `file_lag_bytes`.
    pub(super) fn measure(&mut self, tail: &mut Tail) {
        let lag = if tail.state == TailState::Closed || tail.packed.is_some() { 0 } else { tail.unread() };
        self.lag = self.lag - tail.lag + lag;
        tail.lag = lag;
    }

    /// Bytes that files have and that were not read.
    pub(super) fn lag(&self) -> u64 {
        self.lag
    }
}
