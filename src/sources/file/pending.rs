//! New files of which it is not known yet where to begin in them.
//!
//! A file that appears beside `app.log` under a name that a rotation gives, and that begins as `app.log` does, may be a copy
//! that `copytruncate` is making: when it is done, `app.log` is emptied, and the copy has what was not read of it. Read at
//! once, all of it would come twice. So it is opened at once, its handle is kept, and the decision where to begin waits:
//!
//! - as soon as it differs from the original in one byte, or is longer, it is a file of its own and read;
//! - when the original is emptied and the copy is proven to hold what was read of it, its rest is read
//!   (see [`rotation`](super::rotation));
//! - when it has not grown for 5 s, or has had all of the original for 5 s, it is a file of its own: two files that exist at
//!   the same time are two files.
//!
//! The same holds for a file that comes out of an archive which was read (`gunzip`): it is what was read, when it is as long
//! and has the same running hash; else a file of its own.
//!
//! What is deleted while it waits is read to its end: the handle is there.

use super::checkpoint::Known;
use super::files::{Files, Opened};
use super::identity::{
    HEAD_BYTES, Identity, Look, MARK_BYTES, Position, Predecessor, Running, look_at, look_into, open, read_at,
};
use super::life::Prompt;
use super::names::{base_names, is_rotated_name};
use super::now::{Now, SECOND};
use super::proof::{self, mark_holds};
use super::rotations::{Adopted, Original};
use super::tail::{Tail, TailState};
use super::unpack::archive_begins_with;
use super::waiting::{Pending, Proves};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// A file that may be a copy in the making is left alone until it was quiet for that long.
const COPY_TIME: u64 = 5 * SECOND;
/// And never for longer than that.
const LONGEST_COPY: u64 = 600 * SECOND;
/// Bytes that are hashed before it is the turn of other work.
const PIECE: u64 = 4 << 20;

/// What was decided.
enum Decision {
    Wait,
    /// It is a file of its own.
    Own,
    /// All before this place was read.
    ReadTo(Position),
}

impl Files {
    /// Whether a new file has to wait; it is taken in for that.
    pub(super) fn waits(&mut self, path: &Path, file: OwnedFd, look: Look, now: Now) -> Result<(), OwnedFd> {
        let known = self.store.find(look.identity).is_some();
        if known || !self.plan.check_contents || self.plan.identity_bytes.is_some() {
            return Err(file);
        }
        let mut bytes = [0; HEAD_BYTES];
        let Ok(len) = read_at(&file, &mut bytes, 0) else { return Err(file) };
        let bytes = &bytes[..len];
        // At a start, and where the source reads once, files are as they are.
        let settled = self.plan.once || self.start.is_first && !self.start.is_over;
        let unpacked = self.archive_of(path, bytes, look);
        let original = if settled { None } else { self.original_of(path, look, bytes) };
        let copy = original.and_then(|key| Some((key, self.tails.get(key)?.generation)));
        if copy.is_none() && unpacked.is_none() {
            return Err(file);
        }
        tracing::debug!(source = %self.plan.id, file = %path.display(), ?copy, ?unpacked, "waits: it may be a copy");
        let pending = Pending { copy, unpacked, ..Pending::new(path.to_owned(), file, look, now.mono) };
        self.waiting.put(look.identity, pending);
        self.handles.opened();
        self.look_at_pending(look.identity, now);
        Ok(())
    }

    /// Looks at those whose time it is.
    pub(super) fn look_at_all_pending(&mut self, now: Now) {
        let due = self.waiting.due(now.mono);
        if due.is_empty() {
            return;
        }
        for identity in due {
            self.look_at_pending(identity, now);
        }
        self.waiting.looked_at(now.mono);
    }

    /// Looks at one of them, and takes it out where it is decided.
    pub(super) fn look_at_pending(&mut self, identity: Identity, now: Now) {
        let Some(mut pending) = self.waiting.take(identity) else { return };
        let decision = match self.decide(&mut pending, now) {
            Ok(decision) => decision,
            Err(error) => {
                tracing::debug!(file = %pending.path.display(), %error, "cannot tell whether it is a copy");
                Decision::Own
            }
        };
        let at = match decision {
            Decision::Wait => {
                self.waiting.put(identity, pending);
                return;
            }
            Decision::Own => None,
            Decision::ReadTo(at) => Some(at),
        };
        self.handles.released();
        self.take_up(pending, at, now);
    }

    /// Starts to read one that waited, from `at` or from its beginning.
    pub(super) fn take_up(&mut self, pending: Pending, at: Option<Position>, now: Now) {
        let Pending { file, path, look, proves, .. } = pending;
        let (of, name) = proves.map_or((None, None), |proves| (Some(proves.of), Some(proves.name)));
        let look = look_into(&file).unwrap_or(look);
        // Whether its name still leads to it is seen by the next look through the folders.
        let present = look_at(&path, self.plan.links).is_ok_and(|l| l.identity == look.identity);
        let name = name.unwrap_or_else(|| path.clone());
        let from = at.map(|at| (of, at));
        let adopted = (from.is_some() || !present || name != path).then_some(Adopted { name: &name, from, since: 0 });
        match self.start_file(Opened { path: &path, file, look }, None, adopted, now) {
            Ok(started) if present && self.plan.patterns.matches(&path) => {
                if started.is_some() {
                    self.examine(&path, now, Prompt::Hint);
                }
            }
            Ok(_) => {}
            Err(error) => self.unreadable.tell(&path, &error),
        }
    }

    /// Has the copy of what is gone proven beside other work; its rest, from `goal` on, or all of it, is read then under `name`.
    pub(super) fn prove_copy(&mut self, copy: Opened<'_>, of: Original, goal: Position, name: &Path, now: Now) {
        let Opened { path, file, look } = copy;
        let proves = Proves { of, goal, running: Running::new(self.store.hasher), name: name.to_owned() };
        let pending = Pending::new(path.to_owned(), file, look, now.mono);
        self.handles.opened();
        self.waiting.put(look.identity, Pending { proves: Some(Box::new(proves)), ..pending });
    }

    fn decide(&mut self, pending: &mut Pending, now: Now) -> io::Result<Decision> {
        let look = look_into(&pending.file)?;
        if (look.size, look.modified) != (pending.look.size, pending.look.modified) {
            (pending.grown, pending.caught_up) = (now.mono, None);
        }
        pending.look = look;
        if let Some(proves) = &mut pending.proves {
            if !proves.running.read(&pending.file, proves.goal.offset, PIECE)? {
                return Ok(Decision::Wait);
            }
            let same = proves.running.at.proves(&proves.goal);
            return Ok(if same { Decision::ReadTo(proves.goal) } else { Decision::Own });
        }
        if look.links == 0 {
            return Ok(Decision::Own);
        }
        let quiet = now.mono - pending.grown >= COPY_TIME || self.plan.once;
        let late = now.mono - pending.found >= LONGEST_COPY;
        let mut wait = false;
        if let Some(at) = pending.unpacked.and_then(|generation| self.store.get(generation)).map(|k| k.at) {
            if look.size == at.offset && proof::holds(self.store.hasher, &pending.file, at)? {
                return Ok(Decision::ReadTo(at));
            }
            wait = look.size <= at.offset && self.start.is_over;
        }
        if !wait {
            pending.unpacked = None;
        }
        if let Some(copy) = pending.copy {
            if self.may_be_copy(pending, copy, now)? {
                wait = true;
            } else {
                pending.copy = None;
            }
        }
        Ok(if wait && !quiet && !late { Decision::Wait } else { Decision::Own })
    }

    /// Whether a file may still be the copy that is being made of one that is read.
    fn may_be_copy(&mut self, pending: &mut Pending, of: Predecessor, now: Now) -> io::Result<bool> {
        let size = pending.look.size;
        let Some(tail) = self.tails.of(of) else { return Ok(false) };
        let Some(original) = self.look_at_original(tail)? else { return Ok(false) };
        if !is_intact(tail, &original)? {
            // It was emptied: reading it tells, and decides about its copies.
            self.queue(of.0);
            return Ok(true);
        }
        if size > original.0.size || !same_ends(&pending.file, &original.1, size)? {
            return Ok(false);
        }
        if size == original.0.size {
            pending.caught_up.get_or_insert(now.mono);
        }
        Ok(pending.caught_up.is_none_or(|since| now.mono - since < COPY_TIME))
    }

    /// A look at the file that a new one may be a copy of, and a handle; `None` where it has no such name any more.
    fn look_at_original(&self, tail: &Tail) -> io::Result<Option<(Look, OwnedFd)>> {
        if tail.state != TailState::Present {
            return Ok(None);
        }
        let file = match tail.handle.get() {
            Some(file) => file.try_clone()?,
            None => open(tail.paths.here(), self.plan.links)?,
        };
        let look = look_into(&file)?;
        Ok((look.identity == tail.identity).then_some((look, file)))
    }

    /// The file that is read and of which this may be a copy: the name is one that a rotation gives it, and it begins alike.
    fn original_of(&self, path: &Path, look: Look, bytes: &[u8]) -> Option<usize> {
        let name = path.file_name().and_then(|n| n.to_str())?;
        let elsewhere = self.plan.rotated_to.matches(path);
        let is_it = |key: usize| -> bool {
            let Some(tail) = self.tails.get(key).filter(|t| t.state == TailState::Present && t.packed.is_none()) else {
                return false;
            };
            // A copy is younger than its original.
            let (birth, of) = (look.identity.birth, tail.identity.birth);
            if birth != 0 && birth < of {
                return false;
            }
            let Ok(Some((there, file))) = self.look_at_original(tail) else { return false };
            let mut head = [0; HEAD_BYTES];
            let Ok(len) = read_at(&file, &mut head, 0) else { return false };
            if !is_intact(tail, &(there, file)).unwrap_or(true) {
                // It was emptied, which is not noticed yet.
                let unfinished = usize::try_from(tail.reading().offset).ok().and_then(|at| bytes.get(at..));
                return tail.head.len > 0 && tail.head.fits(bytes)
                    || !tail.stash.is_empty() && unfinished.is_some_and(|rest| rest.starts_with(&tail.stash));
            }
            look.size <= there.size && head[..len].starts_with(bytes)
        };
        let beside = base_names(name).filter_map(|base| self.tails.at_path(&path.with_file_name(base)));
        let found = beside.into_iter().find(|key| is_it(*key));
        if found.is_some() || !elsewhere {
            return found;
        }
        let named = |of: &Path| {
            of.file_name().and_then(|n| n.to_str()).is_some_and(|of| of == name || is_rotated_name(of, name))
        };
        self.tails.paths().filter(|(of, _)| named(of)).map(|(_, key)| key).find(|key| is_it(*key))
    }

    /// The archive that was read to its end and of which this file may have come out: its generation.
    fn archive_of(&self, path: &Path, bytes: &[u8], look: Look) -> Option<u64> {
        if !self.archives.are_known() {
            return None;
        }
        let stem = path.file_name()?;
        // As long as the archive is there it can be asked; where it is gone, nothing more is coming out of it.
        let is_it = |k: &Known| {
            k.packed
                && k.finished
                && k.at.is_proof()
                && k.path.file_stem() == Some(stem)
                && if look.size == k.at.offset {
                    k.head.fits(bytes)
                } else {
                    look.size < k.at.offset && archive_begins_with(&k.path, k.identity, bytes)
                }
        };
        self.store.iter().find(|(_, k)| is_it(k)).map(|(generation, _)| generation)
    }
}

/// Whether what was read of a file is still in it, as far as can be told at once.
fn is_intact(tail: &Tail, (look, file): &(Look, OwnedFd)) -> io::Result<bool> {
    if look.size < tail.at.offset {
        return Ok(false);
    }
    let mut bytes = [0; HEAD_BYTES];
    let len = read_at(file, &mut bytes, 0)?;
    let mut unfinished = vec![0; tail.stash.len()];
    let rest = read_at(file, &mut unfinished, tail.reading().offset)?;
    Ok(tail.head.fits(&bytes[..len]) && mark_holds(file, tail.at)? && unfinished[..rest] == *tail.stash)
}

/// Whether the last bytes before `size` are the same in both.
fn same_ends(a: &OwnedFd, b: &OwnedFd, size: u64) -> io::Result<bool> {
    let from = size.saturating_sub(MARK_BYTES as u64 * 64);
    let mut bytes = [[0; MARK_BYTES * 64]; 2];
    let most = (size - from) as usize;
    let lens = [read_at(a, &mut bytes[0][..most], from)?, read_at(b, &mut bytes[1][..most], from)?];
    Ok(bytes[0][..lens[0]] == bytes[1][..lens[1]])
}
