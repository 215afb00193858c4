//! One file that is being read: who it is, and where we are in it.

use super::archive::Packed;
use super::checkpoint::Seen;
use super::flight::Flight;
use super::held::Spared;
use super::identity::{Ahead, Head, Identity, Look, Position, Predecessor};
use super::joined::Open;
use super::owners::Owner;
use super::parts::Parts;
use super::proof::Proof;
use super::schedule::Due;
use super::wide::Units;
use crate::ack::place::FileOf;
use crate::event::Origin;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

/// Whether a name leads to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// One of its paths does. Next: `Gone` when the last path is lost.
    Present,
    /// It was renamed out of sight or deleted, and is read to its end. Next: `Present` when it is found under another
    /// name that matches, or closed some time after its last growth.
    Gone {
        /// When it was lost or last grew: monotonic nanoseconds.
        since: u64,
        /// It was read to its end since then; who waits for its rest may go on.
        read: bool,
    },
    /// Closed; only kept until the verdicts on its chunks are there.
    Closed,
}

/// One file.
#[derive(Debug)]
pub(super) struct Tail {
    /// Its number in the checkpoints; a new one when its contents are replaced.
    pub(super) generation: u64,
    pub(super) identity: Identity,
    /// Device and inode, as folders tell it.
    pub(super) node: (u64, u64),
    pub(super) head: Head,
    /// Names that lead to it now; the first gave it its origin unless that is lost.
    pub(super) paths: Vec<Arc<Path>>,
    /// Where it is.
    pub(super) path: Arc<Path>,
    /// The name its lines go by: where it was found first.
    pub(super) name: Arc<Path>,
    pub(super) origin: Arc<Origin>,
    /// `None` while it is idle and others need the handle.
    pub(super) file: Option<OwnedFd>,
    /// It is compressed, and this reads it; places count decompressed bytes.
    pub(super) packed: Option<Box<Packed>>,
    /// Everything before it was sent.
    pub(super) at: Position,
    /// Places that were passed in this run, oldest first: what a copy that is shorter than what was read is known by.
    pub(super) past: VecDeque<Past>,
    pub(super) flight: Flight,
    /// As of the last look: size, and time of modification.
    pub(super) looked: (u64, i64),
    /// As of the last look: when the system noted a change.
    pub(super) changed: i64,
    /// When that was: nanoseconds since 1970.
    pub(super) seen: i64,
    /// As of before the present turn of reading: where it ended, and when it had been modified last.
    pub(super) before: (u64, i64),
    /// Zeros at its end: room that was laid out for lines to come.
    pub(super) room: u64,
    /// What lies before our place is being compared with what was read of it.
    pub(super) proof: Option<Box<Proof>>,
    /// What was read of it is known not to stand in it any more.
    pub(super) replaced: bool,
    /// Since when it is to be compared, as it was changed and did not grow: monotonic nanoseconds; 0 where it is not.
    pub(super) suspect: u64,
    /// When it was compared last: monotonic nanoseconds.
    pub(super) compared: u64,
    /// Its first bytes say that it is no archive.
    pub(super) is_text: bool,
    /// What its code units are.
    pub(super) units: Units,
    /// Its first bytes are too few to say what it is.
    pub(super) untold: bool,
    /// Bytes that it had when it lost its last name.
    pub(super) lost_size: u64,
    /// Bytes from `at` on that are no whole line yet, where they are few.
    pub(super) stash: Box<[u8]>,
    pub(super) place: Place,
    /// The file that had its name before, to be read to its end first.
    pub(super) after: Option<Predecessor>,
    /// When it is read, and looked at again.
    pub(super) due: Due,
    /// A sweep found growth that no hint had told of: hints do not work here.
    pub(super) unhinted: bool,
    /// Why it cannot be read, said once.
    pub(super) failing: bool,
    /// What the next turn does with an unfinished line or event at the end.
    pub(super) open: Open,
    /// Size at which an open event was looked for in vain.
    pub(super) expired_at: u64,
    /// And then it is closed.
    pub(super) close_after: bool,
    /// When it was last used: of idle handles the oldest is closed first.
    pub(super) used: u64,
    /// When it last grew: monotonic nanoseconds.
    pub(super) grown: u64,
    /// What it adds to `file_lag_bytes`.
    pub(super) lag: u64,
    /// Copytruncate leaves zeros before what a writer without O_APPEND goes on with.
    pub(super) zeros: bool,
    /// Container lines that wait for others; `None` where none do.
    pub(super) parts: Option<Box<Parts>>,
    /// The present generation as sinks are told of it.
    pub(super) told: Option<Arc<FileOf>>,
    /// Sinks that hold more of it than was read.
    pub(super) spared: Option<Spared>,
    /// It is a copy, or has one, of contents that are on their way from elsewhere.
    pub(super) stands_in: bool,
    /// Whose it is, where somebody knows.
    pub(super) owner: Option<Box<Owner>>,
    /// It waits for that to be known.
    pub(super) attends: bool,
    /// By which of the reader's rules its container lines are joined.
    pub(super) rule: u8,
}

/// A place that was passed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past {
    pub(super) at: Position,
    /// When the file had been modified last by then.
    pub(super) modified: i64,
}

/// Most places that are remembered of one file.
const MOST_PAST: usize = 32;

impl Tail {
    /// Notes the present place as one that was passed. Older ones get fewer.
    pub(super) fn note_past(&mut self) {
        // Where something waits for its next part, it is not at one place.
        if self.at.ahead != Ahead::default() || self.at.offset != self.reading().offset {
            return;
        }
        if self.past.len() >= MOST_PAST {
            let mut n = 0;
            self.past.retain(|_| {
                n += 1;
                n > MOST_PAST / 2 || n % 2 == 0
            });
        }
        self.past.push_back(Past { at: self.at, modified: self.looked.1 });
    }

    /// Whether all that it had at the last look was sent.
    pub(super) fn is_whole(&self) -> bool {
        let certain = self.proof.is_none() && self.suspect == 0 && !self.replaced;
        self.packed.is_none() && certain && !self.at.skipping && self.at.offset == self.looked.0
    }

    /// As the checkpoints are told of it.
    pub(super) fn seen(&self) -> Seen {
        Seen {
            generation: self.generation,
            head: self.head,
            at: self.at,
            end: self.end(),
            modified: self.looked.1,
            changed: if self.is_whole() { self.changed } else { 0 },
            is_unsettled: self.flight.outstanding() > 0,
        }
    }

    /// Takes in a look of `mono` (monotonic nanoseconds) and `wall`. One that was changed and has not grown was written into:
    /// that may be room that was laid out in it, else it is to be compared.
    pub(super) fn take_look(&mut self, look: Look, mono: u64, wall: i64) {
        let looked = (look.size, look.modified);
        if look.size > self.looked.0 {
            self.suspect = 0;
        } else if looked != self.looked && self.room == 0 && self.suspect == 0 {
            self.suspect = mono;
        }
        self.before = (self.end(), self.looked.1);
        (self.looked, self.changed, self.seen, self.room) = (looked, look.changed, wall, 0);
    }

    /// Behind the last byte that counts, as of the last look: room for lines to come is not in the file yet.
    pub(super) fn end(&self) -> u64 {
        if self.packed.is_some() { self.at.offset } else { self.looked.0.saturating_sub(self.room) }
    }

    /// Whether the file has no name any more, and is there for as long as its handle is open.
    pub(super) fn is_deleted(&self) -> bool {
        self.place != Place::Closed
            && self.file.as_ref().is_some_and(|file| rustix::fs::fstat(file).is_ok_and(|stat| stat.st_nlink == 0))
    }

    /// Bytes that it is known to have and that were not sent.
    pub(super) fn unread(&self) -> u64 {
        self.end().saturating_sub(self.reading().offset)
    }

    /// Where reading goes on: everything before it was sent, or is open.
    pub(super) fn reading(&self) -> Position {
        self.parts.as_ref().map_or(self.at, |parts| parts.read)
    }

    /// Whether parts or lines that are read wait for others.
    pub(super) fn has_open_parts(&self) -> bool {
        self.parts.as_ref().is_some_and(|parts| parts.is_open())
    }

    /// It is an archive that waits for other files, or to grow.
    pub(super) fn waits(&self) -> bool {
        let waits = |packed: &Packed| packed.short.is_some() || packed.deciding.as_ref().is_some_and(|d| d.waits > 0);
        self.packed.as_deref().is_some_and(waits)
    }

    /// It is an archive that is cut off, which was told.
    pub(super) fn is_told_cut(&self) -> bool {
        self.packed.as_ref().is_some_and(|packed| packed.cut && packed.told)
    }

    /// It is an archive that has something to be compared with.
    pub(super) fn compares(&self) -> bool {
        self.packed.as_deref().and_then(|packed| packed.deciding.as_ref()).is_some_and(|deciding| !deciding.done)
    }

    /// Where to begin in it is not known yet.
    pub(super) fn is_deciding(&self) -> bool {
        self.packed.as_ref().is_some_and(|packed| packed.deciding.is_some())
    }

    /// The contents before our place are other ones than those that were read.
    pub(super) fn is_disproved(&self) -> bool {
        self.proof.as_ref().is_some_and(|proof| proof.failed)
    }
}
