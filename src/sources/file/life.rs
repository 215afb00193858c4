//! What becomes of files that are being read: what looks at them tell, when they lose their names, are replaced, or end.

use super::beginning::Beginning;
use super::checkpoint::Known;
use super::files::Files;
use super::identity::{Head, Links, Look, look_at, look_into, open};
use super::names::{base_names, is_numbered, is_rotation_of};
use super::now::{MILLISECOND, Now, SECOND};
use super::proof;
use super::reader::Out;
use super::rotations::{Missing, Original};
use super::start::is_on_overlay;
use super::tail::{Tail, TailState};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// A file that lost its name is looked at that often.
const GONE_WAIT: u64 = 250 * MILLISECOND;
/// An unfinished last line of a file that lost its name is sent when nothing came for that long.
const UNFINISHED_AFTER: u64 = 2 * SECOND;
/// The same of one that only has a number in its name: its writer may have all the time.
const UNFINISHED_NUMBERED_AFTER: u64 = 600 * SECOND;
/// A file that lost its name is closed when nothing came for that long: writers go on for a while until they are told. The
/// space of a deleted one is not free before.
const GONE_CLOSE_AFTER: u64 = 30 * SECOND;
/// The same for a deleted one that grew since: its writer holds it, and its space, as well.
const WRITTEN_CLOSE_AFTER: u64 = 600 * SECOND;

/// Why a path is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prompt {
    /// A notice told of it, or something that says nothing about notices.
    Hint,
    /// It was its turn: where it grew, no notice had told of that.
    Turn,
}

impl Files {
    /// Looks at what stands at `path`.
    pub(super) fn examine(&mut self, path: &Path, now: Now, prompt: Prompt) {
        let look = match look_at(path, self.plan.links) {
            Ok(look) if look.is_file => look,
            Ok(_) => return self.lose(path, now),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                self.lose(path, now);
                self.renamed.seek_shut(path, None);
                self.adopt_missed(path, now);
                return;
            }
            Err(error) => {
                // Its folder lets nobody look: what is open is read on.
                return match self.tails.at_path(path) {
                    Some(key) if self.tails.get(key).is_some_and(|t| t.handle.is_open()) => self.check(key, now),
                    _ => self.unreadable.tell(path, &error),
                };
            }
        };
        if let Some(key) = self.tails.at_path(path)
            && let Some(tail) = self.tails.get(key)
        {
            if tail.node == (look.identity.device, look.identity.inode)
                && (self.plan.identity_bytes.is_some()
                    || tail.identity.birth == look.identity.birth
                    || self.is_copied_up(key, path, now))
            {
                self.looked(key, look, prompt, now);
                return;
            }
            self.lose(path, now);
        }
        self.found(path, look, now);
    }

    /// Whether a file with the device and inode of one that is read, but another time of birth, has all that was read: then
    /// it is the same file, copied up to another layer of an overlay. It is read on there.
    fn is_copied_up(&mut self, key: usize, path: &Path, now: Now) -> bool {
        let Some(mut tail) = self.tails.take(key) else { return false };
        let same = self.copied_up(&tail, path).unwrap_or(None);
        if let Some((file, look)) = &same {
            tracing::info!(source = %self.plan.id, file = %path.display(), "copied up to another layer; the same file");
            self.tails.replace_identity(key, &mut tail, look.identity);
            self.store.replace_identity(tail.generation, look.identity);
            match file.try_clone() {
                Ok(file) => self.handles.give(&mut tail, file),
                Err(_) => self.handles.close(&mut tail),
            }
            tail.grown = now.mono;
            self.schedule.queue(key, &mut tail.due);
        }
        self.tails.put(key, tail);
        same.is_some()
    }

    fn copied_up(&self, tail: &Tail, path: &Path) -> io::Result<Option<(OwnedFd, Look)>> {
        let file = open(path, self.plan.links)?;
        let look = look_into(&file)?;
        if !is_on_overlay(&file) {
            return Ok(None);
        }
        let node = (look.identity.device, look.identity.inode) == tail.node && tail.packed.is_none();
        // What was deleted is another file. Where nothing was read, nothing is passed over.
        let deleted = tail.handle.get().is_some_and(|file| look_into(file).is_ok_and(|l| l.links == 0));
        if deleted {
            return Ok(None);
        }
        let same = !self.plan.check_contents
            || tail.at.offset == 0
            || tail.at.is_proof() && look.size >= tail.at.offset && proof::holds(self.store.hasher, &file, tail.at)?;
        Ok((node && same).then_some((file, look)))
    }

    /// `path` does not lead any more to the file it led to.
    fn lose(&mut self, path: &Path, now: Now) {
        let Some(key) = self.tails.unname(path) else { return };
        let Some(mut tail) = self.tails.take(key) else { return };
        self.note_rotated(path, (key, tail.generation));
        if !tail.paths.remove(path) {
            tracing::info!(source = %self.plan.id, file = %path.display(), "rotated or removed; reading it to its end");
            let mut size = tail.look.size();
            if let Some(look) = tail.handle.get().and_then(|file| look_into(file).ok()) {
                size = look.size;
                if tail.look.is_like(&look) {
                    // Its name is what was changed.
                    tail.look.note_change(look);
                }
            }
            tail.state = TailState::Gone { since: now.mono, read: false, size };
            self.rotations.lose(path, key, &tail, now);
            // The name's next file waits for this one.
            self.schedule.queue_first(key, &mut tail.due);
        }
        self.tails.put(key, tail);
    }

    /// Takes in what a look at a file by its path told.
    fn looked(&mut self, key: usize, look: Look, prompt: Prompt, now: Now) {
        let Some(mut tail) = self.tails.take(key) else { return };
        let inode = self.plan.identity_bytes.is_none();
        if inode && tail.packed.is_none() && look.size < tail.reading().offset {
            tail.doubt.replace();
        }
        if !tail.look.is_like(&look) {
            tail.due.set_unhinted(prompt == Prompt::Turn && !self.notices.are_off());
            tail.due.look_soon();
            self.schedule.queue(key, &mut tail.due);
        } else if tail.failing || tail.beginning.is_untold() || tail.attends {
            self.schedule.queue(key, &mut tail.due);
        } else {
            self.nothing_new(key, &mut tail, look, now);
        }
        self.store.touch(tail.generation, now.seconds());
        self.tails.put(key, tail);
    }

    /// The name of a file that was to be opened leads to another one: the look sorts it out.
    pub(super) fn led_elsewhere(&mut self, key: usize, tail: Box<Tail>, now: Now) {
        let path = tail.paths.here().clone();
        self.tails.put(key, tail);
        self.examine(&path, now, Prompt::Turn);
        if self.tails.get(key).is_some_and(|tail| !tail.handle.is_open() && tail.state != TailState::Present) {
            self.gone_without_handle(key, now);
            // Its handle can be spared then.
            self.schedule.read_next(key);
        }
    }

    /// The look that is due.
    pub(super) fn check(&mut self, key: usize, now: Now) {
        let Some(tail) = self.tails.get(key) else { return };
        let path = tail.paths.here().clone();
        let look = match tail.handle.get() {
            Some(file) => look_into(file),
            None if tail.state == TailState::Present => return self.examine_idle(key, &path, now),
            None if self.handles.has_room() => return self.gone_without_handle(key, now),
            // It is opened when it is read.
            None => {
                return self.queue(key);
            }
        };
        let Some(mut tail) = self.tails.take(key) else { return };
        match look {
            Ok(look) if !tail.look.is_like(&look) => {
                if tail.packed.is_none() && look.size < tail.reading().offset {
                    tail.doubt.replace();
                }
                if tail.state == TailState::Present {
                    tail.due.set_unhinted(!self.notices.are_off());
                }
                tail.due.look_soon();
                self.schedule.queue(key, &mut tail.due);
            }
            Ok(look) => {
                if tail.failing || tail.beginning.is_untold() || tail.attends {
                    self.schedule.queue(key, &mut tail.due);
                }
                self.idle(key, &mut tail, look, now);
            }
            Err(error) => self.failed(key, &mut tail, &error, now),
        }
        self.tails.put(key, tail);
    }

    /// Neither the size of a file nor its time of modification is another one than at the last look.
    fn nothing_new(&mut self, key: usize, tail: &mut Tail, look: Look, now: Now) {
        if look.changed != tail.look.changed() {
            self.changed_otherwise(tail, look, now);
        }
        if tail.doubt.is_suspect() {
            self.compare_suspect(key, tail, now);
        }
        self.store.seen_whole(&tail.seen(), now.wall);
    }

    fn examine_idle(&mut self, key: usize, path: &Path, now: Now) {
        self.examine(path, now, Prompt::Turn);
        if let Some(mut tail) = self.tails.take(key) {
            if self.parts_are_due(&tail, now) {
                self.schedule.queue(key, &mut tail.due);
            }
            self.schedule.queue_first(key, &mut tail.due);
            self.tails.put(key, tail);
        }
    }

    /// A look that found nothing new.
    fn idle(&mut self, key: usize, tail: &mut Tail, look: Look, now: Now) {
        if tail.waits() || tail.is_deciding() {
            // What it waits for may have come. One that is gone for good is not waited for.
            let is_gone = look.links == 0 && tail.is_told_cut() && now.mono - tail.grown >= GONE_CLOSE_AFTER;
            tail.ending.close_archive_if(is_gone);
            return self.schedule.queue(key, &mut tail.due);
        }
        self.nothing_new(key, tail, look, now);
        if let TailState::Gone { since, size, .. } = tail.state {
            let quiet = now.mono - since.max(tail.grown);
            let written = look.links == 0 && look.size > size;
            let close = quiet >= if written { WRITTEN_CLOSE_AFTER } else { GONE_CLOSE_AFTER };
            if close && written && !tail.ending.closes() {
                self.counters.update(|t| t.error("closed_deleted", 1));
                tracing::warn!(source = %self.plan.id, file = %tail.paths.here().display(), read_to = tail.at.offset,
                    "deleted, and its writer went on in it, but not for ten minutes: it is closed, and what may still be \
                     written to it is lost");
            }
            if close || quiet >= UNFINISHED_AFTER && !tail.stash.is_empty() {
                if close {
                    tail.ending.close()
                } else {
                    tail.ending.finish()
                }
                self.schedule.queue(key, &mut tail.due);
            } else if self.parts_are_due(tail, now) {
                self.schedule.queue(key, &mut tail.due);
            } else {
                self.schedule.look_at(key, &mut tail.due, now.mono + GONE_WAIT);
            }
            return;
        }
        if tail.at.offset < look.size.saturating_sub(tail.look.room())
            && !tail.ending.is_expired(tail.end())
            && let Some(after) = unfinished_after(tail, look)
        {
            if now.mono - tail.grown >= after {
                tail.ending.expire_line(tail.end());
                return self.schedule.queue(key, &mut tail.due);
            }
            self.schedule.look_at(key, &mut tail.due, tail.grown + after);
        }
        if self.parts_are_due(tail, now) {
            return self.schedule.queue(key, &mut tail.due);
        }
        if let Some(timeout) = self.may_expire(tail) {
            let quiet = now.mono - tail.grown;
            if quiet >= timeout {
                tail.ending.expire_event(tail.end());
                self.schedule.queue(key, &mut tail.due);
                return;
            }
            self.schedule.look_at(key, &mut tail.due, now.mono + timeout - quiet);
        }
        if let Some(after) = self.plan.remove_after
            && self.removable(tail, look, now, after.as_nanos() as u64)
        {
            self.remove(tail);
        }
        self.schedule_parts(key, tail);
        self.wait_longer(key, tail, now);
    }

    /// How long an event of several lines may stay open, where there may be one.
    fn may_expire(&self, tail: &Tail) -> Option<u64> {
        let multiline = self.plan.multiline.as_ref()?;
        let unsent = tail.at.offset < tail.end() && !tail.ending.is_expired(tail.end());
        (unsent && tail.state == TailState::Present).then_some(multiline.limits().timeout_nanos.max(MILLISECOND))
    }

    /// A turn of reading came to the end of the file.
    pub(super) fn ended(&mut self, key: usize, tail: &mut Tail, grew: bool, now: Now) {
        if let Some(packed) = &tail.packed {
            if tail.is_deciding() {
                self.decide_packed(key, tail, now);
            } else if (packed.ended || tail.ending.closes()) && !tail.has_open_parts() {
                tail.state = TailState::Closed;
            } else if packed.ended {
                self.wait_longer(key, tail, now);
            } else {
                self.short_packed(key, tail, now);
            }
            if tail.has_open_parts() {
                self.schedule_parts(key, tail);
            }
            return;
        }
        if tail.ending.closes() && tail.reading().offset >= tail.end() {
            self.renamed.keep_looking(tail);
            tail.state = TailState::Closed;
            return;
        }
        tail.ending.is_done();
        self.store.seen_whole(&tail.seen(), now.wall);
        if grew {
            tail.due.look_soon();
        }
        let mut wait = if matches!(tail.state, TailState::Gone { .. }) { GONE_WAIT } else { tail.due.wait() };
        if let Some(timeout) = self.may_expire(tail) {
            wait = wait.min(timeout);
        }
        self.schedule.look_at(key, &mut tail.due, now.mono + wait);
        self.schedule_parts(key, tail);
    }

    /// The contents that were read so far are gone: what of them was read and not sent is sent, then it begins anew.
    pub(super) fn replaced(&mut self, key: usize, tail: &mut Tail, now: Now, out: &mut dyn Out) {
        let cut = tail.packed.is_none() && tail.look.size() < tail.at.offset;
        let how = if cut { "cut off" } else { "written anew in place" };
        tracing::info!(source = %self.plan.id, file = %tail.paths.here().display(), how, "reading from its new beginning");
        self.counters.update(|t| t.error("truncated", 1));
        self.store.update(tail.generation, |k| k.head = tail.head);
        let (generation, (size, since)) = (tail.generation, tail.look.before());
        // About what it begins with there is no doubt.
        let at = tail.doubt.begin_anew(now).unwrap_or(tail.at);
        let unsettled = tail.flight.is_unsettled(generation);
        let past = tail.passed.take();
        let (unfinished, reading) = (tail.stash.clone(), tail.reading().offset);
        let of = Original { generation, at, past, unsettled, since, unfinished, reading };
        let had = if is_rotation_of(tail.paths.first(), tail.paths.here()) {
            tail.paths.first().clone()
        } else {
            tail.paths.here().clone()
        };
        let copies = self.adopt_copy(&had, &of, now);
        tail.after = copies.last.or(tail.after.take());
        if copies.found && copies.has_all {
            // The copy has the unfinished line too.
            tail.stash = Box::default();
            self.forget_parts(key, tail, now, out);
        } else {
            let unfinished = tail.stash.len() as u64;
            let read = tail.reading().offset + unfinished;
            self.reader.send_stash(key, tail, now.wall, out);
            let unread = size.saturating_sub(read);
            if unread > 0 && tail.packed.is_none() && !copies.found {
                let path = tail.paths.here().clone();
                self.rotations.miss(Missing { generation, path, unread, offset: at.offset, replaced: true });
            }
            if copies.found {
                self.forget_parts(key, tail, now, out);
            } else {
                tail.parts.iter_mut().for_each(|parts| parts.begin_anew());
            }
        }
        tail.generation = self.store.add(Known::new(tail.identity, tail.paths.here(), now.seconds()));
        tail.head = Head::default();
        tail.at = self.store.hasher.start();
        tail.look.begin_anew();
        tail.zeros = true;
        // What it is now its first bytes tell.
        (tail.packed, tail.beginning) = (None, Beginning::default());
        self.schedule.queue(key, &mut tail.due);
    }

    pub(super) fn failed(&mut self, key: usize, tail: &mut Tail, error: &io::Error, now: Now) {
        if !tail.failing {
            tail.failing = true;
            self.counters.update(|t| t.error("read", 1));
            tracing::error!(source = %self.plan.id, file = %tail.paths.here().display(), %error, "cannot read on; trying again");
        }
        if tail.state == TailState::Present {
            self.handles.close(tail);
        }
        self.wait_longer(key, tail, now);
    }

    /// Whether everything in the file was delivered and it has been quiet for long enough. Of an empty one nothing was, and its
    /// writer may be about to begin.
    fn removable(&self, tail: &Tail, look: Look, now: Now, after: u64) -> bool {
        (tail.is_whole() && tail.at.offset == look.size)
            && look.size > 0
            && tail.flight.outstanding() == 0
            && self.store.get(tail.generation).is_some_and(|k| k.at == tail.at && !k.partial)
            && now.mono.saturating_sub(tail.grown) >= after
            && now.wall.saturating_sub(look.modified) >= after as i64
    }

    fn remove(&mut self, tail: &mut Tail) {
        let same = look_at(tail.paths.here(), Links::Keep)
            .is_ok_and(|l| l.is_file && (l.identity.device, l.identity.inode) == tail.node && l.size == tail.at.offset);
        if !same {
            return;
        }
        if !self.remove_file(tail.paths.here()) {
            tail.grown = u64::MAX / 2;
        }
    }
}

/// After how much silence the unfinished line of a file that still has a name that matches is given up on; `None` where it is
/// waited for. Nothing more is to be expected in one that was renamed, or that has a number in its name where the file without
/// that was made after it was modified last.
fn unfinished_after(tail: &Tail, look: Look) -> Option<u64> {
    let name = tail.paths.here().file_name().and_then(|n| n.to_str())?;
    let is_successor = |base: String| {
        let there = look_at(&tail.paths.here().with_file_name(base), Links::Follow).ok().filter(|l| l.is_file);
        there.is_some_and(|l| (if l.identity.birth != 0 { l.identity.birth } else { l.modified }) > look.modified)
    };
    let rotated =
        **tail.paths.here() != **tail.paths.first() || is_numbered(name) && base_names(name).any(is_successor);
    match tail.packed {
        Some(_) => None,
        None if rotated => Some(UNFINISHED_AFTER),
        None => is_numbered(name).then_some(UNFINISHED_NUMBERED_AFTER),
    }
}
