//! A compressed file that is being read, or compared with what was read before.

use super::heavy::Pass;
use super::identity::{Hasher, Position, Running};
use super::unpack::{Allow, Format, Memory, stream};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

/// Bytes that are compared in a turn.
const PIECE_BYTES: usize = 1 << 20;

/// How a compressed file is being read.
pub(super) struct Packed {
    pub(super) format: Format,
    /// `None` before the first read, and after the file ended too soon.
    pub(super) stream: Option<Box<dyn Read + Send>>,
    /// What was decompressed and not sent, behind the bytes that the mark covers.
    pub(super) carry: Vec<u8>,
    /// Everything was read.
    pub(super) ended: bool,
    /// Where to begin is not known yet.
    pub(super) deciding: Option<Box<Deciding>>,
    /// It ended too soon when it had this size; since when it has not grown, monotonic nanoseconds, 0 where that is to be
    /// noted.
    pub(super) short: Option<(u64, u64)>,
    /// It ends too soon, and has been looked at for long enough: what is there is read.
    pub(super) cut: bool,
    /// It could not be decompressed to its end, said once.
    pub(super) told: bool,
    /// It takes much memory: it is decompressed only while it has the turn.
    pub(super) heavy: bool,
    pass: Pass,
}

/// Comparing an archive with what was read.
pub(super) struct Deciding {
    pub(super) running: Running,
    /// Places that were read, in order of their offsets.
    pub(super) goals: Vec<(u64, Position)>,
    /// Those of them that are proven.
    pub(super) proven: Vec<(u64, Position)>,
    /// Generations that are being read: whether all that was compared is the same.
    pub(super) live: Vec<u64>,
    /// A copy begins like this of which it is not known yet how far it is settled.
    pub(super) unsettled: bool,
    /// It was decompressed to its end, or to where it is damaged.
    pub(super) done: bool,
    /// It matches no pattern, and is only looked at for what became of other files: since when one is new.
    pub(super) hidden: Option<i64>,
    /// Since when it waits for files that are being read; 0 where it does not.
    pub(super) waits: u64,
    /// One of them is another archive.
    pub(super) for_archive: bool,
    /// It needs more memory than is granted: nothing could be compared.
    pub(super) refused: Option<Memory>,
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packed").field("format", &self.format).field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Packed {
    pub(super) fn new(format: Format, deciding: Option<Box<Deciding>>, pass: Pass) -> Self {
        let carry = Vec::new();
        let (ended, cut, told, heavy) = (false, false, false, false);
        Packed { format, stream: None, carry, ended, deciding, short: None, cut, told, heavy, pass }
    }

    /// How much memory it may take now.
    pub(super) fn allowed(&self) -> Allow {
        if self.heavy { Allow::Heavy } else { Allow::Light }
    }

    /// A stream that takes much memory is open.
    #[cfg(test)]
    pub(super) fn is_heavy_and_open(&self) -> bool {
        self.heavy && self.stream.is_some()
    }

    /// Nothing is decompressed until it is read again.
    pub(super) fn rest(&mut self) {
        if self.stream.is_none() && self.heavy {
            self.pass.give_back();
        }
    }

    /// Whether it is worth while to read on in a file that has `size` bytes now and had `before` when it was looked at last: one
    /// that ended too soon has to have grown.
    pub(super) fn may_go_on(&mut self, size: u64, before: u64) -> bool {
        let Some((short, _)) = self.short else { return true };
        if size == short && (!self.cut || self.told) {
            return false;
        }
        // All of it is decompressed again: not with each piece that is added.
        if size != before && size < short * 2 {
            return false;
        }
        if size != short {
            (self.short, self.cut, self.told) = (None, false, false);
        }
        true
    }

    /// It is not read any more in this run: others may be.
    pub(super) fn leave_turn(&mut self) {
        self.stream = None;
        self.pass.give_back();
    }

    /// Whether it may decompress now; where not, what it had open is gone, and it goes on from where the file is read to.
    pub(super) fn has_turn(&mut self, now: u64) -> bool {
        if !self.heavy || self.pass.take(now) {
            return true;
        }
        (self.stream, self.carry) = (None, Vec::new());
        false
    }
}

/// How comparing a piece ended.
enum Compared {
    More,
    End,
    /// The file ends before its stream does.
    Short,
    /// It takes much memory.
    Heavy,
    /// It cannot be decompressed from here on.
    Damaged(io::Error),
}

impl Packed {
    /// Compares a piece with what was read; whether there is more to compare now. `size`: that of the file.
    ///
    /// Errors: the file cannot be read.
    pub(super) fn compare(&mut self, file: &OwnedFd, size: u64, path: &Path) -> io::Result<bool> {
        let Some(deciding) = self.deciding.as_mut().filter(|deciding| !deciding.done) else { return Ok(false) };
        if self.stream.is_none() {
            deciding.begin();
            match stream(file, self.format, if self.heavy { Allow::Heavy } else { Allow::Light }) {
                Ok(stream) => self.stream = Some(stream),
                Err(e) => match Memory::of(&e) {
                    Some(Memory::Heavy) => {
                        self.heavy = true;
                        return Ok(true);
                    }
                    Some(refused) => {
                        (deciding.done, deciding.refused) = (true, Some(refused));
                        return Ok(false);
                    }
                    None => return Err(e),
                },
            }
        }
        let Some(stream) = &mut self.stream else { return Ok(false) };
        match deciding.piece(stream) {
            Compared::More => return Ok(true),
            Compared::Heavy => {
                (self.stream, self.heavy) = (None, true);
                return Ok(true);
            }
            Compared::End => deciding.done = true,
            Compared::Short if self.cut => deciding.done = true,
            Compared::Short => self.short = Some((size, 0)),
            Compared::Damaged(error) => {
                tracing::debug!(file = %path.display(), %error, "damaged after what could be compared");
                (deciding.done, deciding.refused) = (true, Memory::of(&error));
            }
        }
        self.stream = None;
        Ok(false)
    }

    /// Where to begin is known, or it is not read at all.
    pub(super) fn is_decided(&mut self) {
        (self.deciding, self.stream, self.carry) = (None, None, Vec::new());
    }
}

impl Deciding {
    pub(super) fn new(hasher: Hasher, hidden: Option<i64>) -> Box<Self> {
        Box::new(Deciding {
            running: Running::new(hasher),
            goals: Vec::new(),
            proven: Vec::new(),
            live: Vec::new(),
            unsettled: false,
            done: false,
            hidden,
            waits: 0,
            for_archive: false,
            refused: None,
        })
    }

    fn begin(&mut self) {
        self.running = Running::new(self.running.hasher());
        self.proven.clear();
    }

    fn piece(&mut self, stream: &mut Box<dyn Read + Send>) -> Compared {
        let mut buf = vec![0; 64 << 10];
        let mut left = PIECE_BYTES;
        while left > 0 {
            let n = match stream.read(&mut buf) {
                Ok(0) => return Compared::End,
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Compared::Short,
                Err(e) if Memory::of(&e) == Some(Memory::Heavy) => return Compared::Heavy,
                Err(e) => return Compared::Damaged(e),
            };
            left = left.saturating_sub(n);
            let mut bytes = &buf[..n];
            // Places that were read lie within: the hash is compared at each.
            let from = self.running.at.offset;
            let first = self.goals.partition_point(|(_, goal)| goal.offset <= from);
            for (generation, goal) in &self.goals[first..] {
                if goal.offset > from + n as u64 {
                    break;
                }
                let (piece, rest) = bytes.split_at((goal.offset - self.running.at.offset) as usize);
                self.running.push(piece);
                bytes = rest;
                if self.running.at.proves(goal) {
                    self.proven.push((*generation, *goal));
                }
            }
            self.running.push(bytes);
        }
        Compared::More
    }
}
