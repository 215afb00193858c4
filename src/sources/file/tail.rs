//! One file that is being read: who it is, and where we are in it.

use super::archive::Packed;
use super::beginning::Beginning;
use super::checkpoint::Seen;
use super::doubt::Doubt;
use super::ending::Ending;
use super::flight::Flight;
use super::handle::Handle;
use super::held::ForSinks;
use super::identity::{Ahead, Head, Identity, Look, Position, Predecessor};
use super::looked::{Looked, News};
use super::owners::Owner;
use super::parts::Parts;
use super::passed::Passed;
use super::paths::Paths;
use super::schedule::Due;
use crate::event::Origin;
use std::sync::Arc;

/// Whether a name leads to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TailState {
    /// One of its paths does. Next: `Gone` when the last path is lost.
    Present,
    /// It was renamed out of sight or deleted, and is read to its end. Next: `Present` when it is found under another
    /// name that matches, or closed some time after its last growth.
    Gone {
        /// When it was lost or last grew: monotonic nanoseconds.
        since: u64,
        /// It was read to its end since then; who waits for its rest may go on.
        read: bool,
        /// Bytes that it had then; 0 where it never had a name that matches.
        size: u64,
    },
    /// Closed; only kept until the verdicts on its chunks are there.
    Closed,
}

/// One file: parts by idea, each of which keeps what holds among its fields, and what the acts on files decide.
#[derive(Debug)]
pub(super) struct Tail {
    /// Its number in the checkpoints; a new one when its contents are replaced.
    pub(super) generation: u64,
    pub(super) identity: Identity,
    /// Device and inode, as folders tell it.
    pub(super) node: (u64, u64),
    pub(super) head: Head,
    pub(super) paths: Paths,
    pub(super) origin: Arc<Origin>,
    pub(super) handle: Handle,
    /// It is compressed, and this reads it; places count decompressed bytes.
    pub(super) packed: Option<Box<Packed>>,
    pub(super) beginning: Beginning,
    /// Everything before it was sent.
    pub(super) at: Position,
    pub(super) passed: Passed,
    pub(super) flight: Flight,
    /// As of the last look.
    pub(super) look: Looked,
    pub(super) doubt: Doubt,
    /// Bytes from where reading goes on that are no whole line yet, where they are few.
    pub(super) stash: Box<[u8]>,
    /// Copytruncate leaves zeros before what a writer without O_APPEND goes on with.
    pub(super) zeros: bool,
    pub(super) state: TailState,
    /// The file that had its name before, to be read to its end first.
    pub(super) after: Option<Predecessor>,
    /// When it is read, and looked at again.
    pub(super) due: Due,
    /// What the next turn does at its end.
    pub(super) ending: Ending,
    /// It cannot be read, which was said once.
    pub(super) failing: bool,
    /// When it last grew: monotonic nanoseconds.
    pub(super) grown: u64,
    /// What it adds to `file_lag_bytes`.
    pub(super) lag: u64,
    /// Container lines that wait for others; `None` where none do.
    pub(super) parts: Option<Box<Parts>>,
    /// What sinks are told of its places.
    pub(super) for_sinks: ForSinks,
    /// Whose it is, where somebody knows.
    pub(super) owner: Option<Box<Owner>>,
    /// It waits for that to be known.
    pub(super) attends: bool,
    /// By which of the reader's rules its container lines are joined.
    pub(super) rule: u8,
}

impl Tail {
    /// Notes the present place as one that was passed.
    pub(super) fn note_passed(&mut self) {
        // Where something waits for its next part, it is not at one place.
        if self.at.ahead == Ahead::default() && self.at.offset == self.reading().offset {
            self.passed.note(self.at, self.look.modified());
        }
    }

    /// Whether all that it had at the last look was sent.
    pub(super) fn is_whole(&self) -> bool {
        self.packed.is_none() && self.doubt.is_none() && !self.at.skipping && self.at.offset == self.look.size()
    }

    /// As the checkpoints are told of it.
    pub(super) fn seen(&self) -> Seen {
        Seen {
            generation: self.generation,
            head: self.head,
            at: self.at,
            end: self.end(),
            modified: self.look.modified(),
            changed: if self.is_whole() { self.look.changed() } else { 0 },
            is_unsettled: self.flight.outstanding() > 0,
        }
    }

    /// A turn of reading begins at `mono` (monotonic nanoseconds) with this look. A file that was changed and has not grown was
    /// written into: that may be room that was laid out in it, else it is to be compared.
    pub(super) fn begin_turn(&mut self, look: Look, mono: u64) {
        match self.look.begin_turn(look, self.end()) {
            News::Grown => self.doubt.clear(),
            News::Odd => self.doubt.suspect(mono),
            News::InRoom | News::None => {}
        }
    }

    /// Behind the last byte that counts, as of the last look: room for lines to come is not in the file yet.
    pub(super) fn end(&self) -> u64 {
        if self.packed.is_some() { self.at.offset } else { self.look.end() }
    }

    /// Whether the file has no name any more, and is there for as long as its handle is open.
    pub(super) fn is_deleted(&self) -> bool {
        self.state != TailState::Closed
            && self.handle.get().is_some_and(|file| rustix::fs::fstat(file).is_ok_and(|stat| stat.st_nlink == 0))
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
}
