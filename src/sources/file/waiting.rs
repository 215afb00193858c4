//! New files of which it is not known yet where to begin in them: their handles are kept (see [`pending`](super::pending)).

use super::identity::{Identity, Look, Position, Predecessor, Running};
use super::now::MILLISECOND;
use super::rotations::Original;
use hashbrown::HashMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// How often a file that waits is looked at.
const LOOK_EVERY: u64 = 100 * MILLISECOND;

/// One of them.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) file: OwnedFd,
    pub(super) path: PathBuf,
    pub(super) look: Look,
    /// The file that is being read and of which it may be a copy.
    pub(super) copy: Option<Predecessor>,
    /// The archive that was read and out of which it may have come: its generation.
    pub(super) unpacked: Option<u64>,
    /// It is a copy of what is gone, if that is proven.
    pub(super) proves: Option<Box<Proves>>,
    /// When it was found, and when it last grew: monotonic nanoseconds.
    pub(super) found: u64,
    pub(super) grown: u64,
    /// Since when it has all of what it may be a copy of.
    pub(super) caught_up: Option<u64>,
}

/// What a file is compared with to be known as a copy of what is gone.
#[derive(Debug)]
pub(super) struct Proves {
    pub(super) of: Original,
    /// Where it goes on.
    pub(super) goal: Position,
    pub(super) running: Running,
    /// The name its lines go by.
    pub(super) name: PathBuf,
}

impl Pending {
    /// One that was found at `now` (monotonic nanoseconds).
    pub(super) fn new(path: PathBuf, file: OwnedFd, look: Look, now: u64) -> Self {
        let (copy, unpacked, proves, caught_up) = (None, None, None, None);
        Pending { file, path, look, copy, unpacked, proves, found: now, grown: now, caught_up }
    }

    /// Whether it may be a copy of this generation.
    fn may_copy(&self, of: u64) -> bool {
        self.copy.is_some_and(|(_, generation)| generation == of)
    }
}

/// See [the module](self). The handle of each counts among those that are open.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    files: HashMap<Identity, Pending>,
    /// When they are looked at next: monotonic nanoseconds.
    next: u64,
}

impl Waiting {
    /// One waits that was found as a file of this identity.
    pub(super) fn put(&mut self, identity: Identity, pending: Pending) {
        self.files.insert(identity, pending);
    }

    /// Takes one out, to be decided about.
    pub(super) fn take(&mut self, identity: Identity) -> Option<Pending> {
        self.files.remove(&identity)
    }

    /// Takes out those that may be copies of this generation.
    pub(super) fn take_copies(&mut self, of: u64) -> Vec<Pending> {
        let copies = self.files.iter().filter(|(_, p)| p.may_copy(of)).map(|(identity, _)| *identity);
        let copies: Vec<Identity> = copies.collect();
        copies.into_iter().filter_map(|identity| self.files.remove(&identity)).collect()
    }

    pub(super) fn get_mut(&mut self, identity: Identity) -> Option<&mut Pending> {
        self.files.get_mut(&identity)
    }

    pub(super) fn has(&self, identity: Identity) -> bool {
        self.files.contains_key(&identity)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// When they are looked at next, where there are such: monotonic nanoseconds.
    pub(super) fn next_look(&self) -> Option<u64> {
        (!self.is_empty()).then_some(self.next)
    }

    /// Those that are to be looked at now: none before their time.
    pub(super) fn due(&self, now: u64) -> Vec<Identity> {
        if now < self.next { Vec::new() } else { self.files.keys().copied().collect() }
    }

    /// They were looked at.
    pub(super) fn looked_at(&mut self, now: u64) {
        self.next = now + LOOK_EVERY;
    }

    /// Whether one waits that gets on by being looked at again at once.
    pub(super) fn are_proving(&self) -> bool {
        self.files.values().any(|p| p.proves.is_some())
    }
}
