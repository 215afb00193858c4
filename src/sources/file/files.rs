//! What becomes of single files: found, opened, renamed, replaced, lost, closed.

use super::checkpoint::Known;
use super::flight::Flight;
use super::identity::{HEAD_BYTES, Head, Identity, Look, MARK_BYTES, Position, look_at, look_into, open, read_at};
use super::tail::{Out, Place, Tail};
use super::tailer::{MILLISECOND, Now, SECOND, Tailer};
use crate::event::Origin;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// First wait between two looks at an idle file that nothing tells of.
const FIRST_WAIT: u64 = 100 * MILLISECOND;
/// Longest wait where sweeps are the only way to see growth; grows with the number of files.
const LONGEST_POLL: u64 = SECOND;
const FILES_A_SECOND: u64 = 2000;
/// Longest wait where notices work: the sweep only covers what they miss.
const LONGEST_WATCHED: u64 = 10 * SECOND;
/// A file that lost its name is looked at that often.
const GONE_WAIT: u64 = 250 * MILLISECOND;
/// An unfinished last line of a file that lost its name is sent when nothing came for that long.
const UNFINISHED_AFTER: u64 = 2 * SECOND;
/// A deleted file is closed when nothing came for that long; its space is not free before.
const DELETED_CLOSE_AFTER: u64 = 5 * SECOND;
/// A renamed file is closed when nothing came for that long: writers go on for a while until they are told.
const RENAMED_CLOSE_AFTER: u64 = 30 * SECOND;
/// How far back from the end a line start is sought with `start_at: end`.
const SEEK_BACK: u64 = 64 << 10;

impl Tailer {
    /// Looks at what stands at `path`. `hinted`: nothing has to be concluded about notices.
    pub(super) fn examine(&mut self, path: &Path, now: Now, hinted: bool) {
        let look = match look_at(path, self.plan.follow_symlinks) {
            Ok(look) if look.is_file => look,
            Ok(_) => return self.lose(path, now),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return self.lose(path, now);
            }
            Err(error) => return self.unreadable(path, &error),
        };
        if let Some(&key) = self.by_path.get(path)
            && let Some(tail) = &self.tails[key]
        {
            if tail.node == (look.identity.device, look.identity.inode)
                && (self.plan.identity_bytes.is_some() || tail.identity.birth == look.identity.birth)
            {
                self.looked(key, look, hinted, now);
                return;
            }
            let old = (key, tail.generation);
            self.lose(path, now);
            self.found(path, look, Some(old), now);
            return;
        }
        self.found(path, look, None, now);
    }

    /// A file at a path that led to no file we read, or to another.
    fn found(&mut self, path: &Path, look: Look, after: Option<(usize, u64)>, now: Now) {
        if self.plan.identity_bytes.is_none()
            && let Some(&key) = self.by_identity.get(&look.identity)
        {
            self.add_path(key, path, now);
            return;
        }
        if self.is_own(path) {
            return;
        }
        if let Some(age) = self.plan.ignore_older
            && now.wall.saturating_sub(look.modified) > age.as_nanos() as i64
        {
            if let Some((generation, _)) = self.store.find(look.identity) {
                self.store.touch(generation, now.seconds());
            }
            return;
        }
        if let Err(error) = self.start(path, after, now) {
            // Gone between the two looks: the next one sees what is there then.
            if error.kind() != io::ErrorKind::NotFound {
                self.unreadable(path, &error);
            }
        } else if self.unreadable.remove(path) {
            tracing::info!(source = %self.plan.id, file = %path.display(), "readable now");
        }
    }

    fn unreadable(&mut self, path: &Path, error: &io::Error) {
        if self.unreadable.insert(path.to_owned()) {
            self.counters.update(|t| t.error("open", 1));
            tracing::error!(source = %self.plan.id, file = %path.display(), %error, "cannot read a file; trying again");
        }
    }

    /// Whether the agent writes this file itself.
    fn is_own(&self, path: &Path) -> bool {
        if self.plan.own.iter().any(|own| path.starts_with(own)) {
            return true;
        }
        let Ok(real) = path.canonicalize() else { return false };
        self.plan.own.iter().any(|own| real.starts_with(own))
    }

    /// Opens a file and starts to read it, from where it was left or from its beginning.
    fn start(&mut self, path: &Path, after: Option<(usize, u64)>, now: Now) -> io::Result<()> {
        let file = open(path, self.plan.follow_symlinks)?;
        let look = look_into(&file)?;
        if !look.is_file {
            return Ok(());
        }
        let Some(identity) = self.identify(&file, look)? else { return Ok(()) };
        if let Some(&key) = self.by_identity.get(&identity) {
            self.add_path(key, path, now);
            // With `fingerprint: {bytes: N}` it may be another inode with the same contents.
            if let Some(tail) = &mut self.tails[key] {
                tail.node = (look.identity.device, look.identity.inode);
                self.open += usize::from(tail.file.replace(file).is_none());
            }
            return Ok(());
        }
        let shared: Arc<Path> = path.into();
        let (generation, head, at) = self.place(&file, identity, look, &shared, now)?;
        let name: Arc<str> = path.to_string_lossy().into();
        let origin = Arc::new(Origin {
            source: self.plan.id.clone(),
            file: Some(name),
            host: Some(self.plan.host.clone()),
            order: xxh3_64(path.as_os_str().as_encoded_bytes()),
            ..Origin::default()
        });
        let mut tail = Box::new(Tail {
            generation,
            identity,
            node: (look.identity.device, look.identity.inode),
            head,
            paths: vec![shared.clone()],
            path: shared.clone(),
            origin,
            file: Some(file),
            at,
            flight: Flight::at(at),
            looked: (look.size, look.modified),
            stash: Box::default(),
            place: Place::Present,
            queued: false,
            after,
            check_at: 0,
            wait: FIRST_WAIT,
            unhinted: false,
            failing: false,
            finish: false,
            close_after: false,
            used: self.uses,
            grown: now.mono,
            lag: 0,
            zeros: false,
        });
        self.open += 1;
        let key = self.free.pop().unwrap_or_else(|| {
            self.tails.push(None);
            self.tails.len() - 1
        });
        self.by_identity.insert(identity, key);
        self.note_link(path, &shared);
        self.by_path.insert(shared, key);
        self.queue(key, &mut tail);
        self.measure(&mut tail);
        self.tails[key] = Some(tail);
        self.spare_handles();
        Ok(())
    }

    /// Notices come for the place where a file really lies.
    fn note_link(&mut self, path: &Path, shared: &Arc<Path>) {
        if !self.polls()
            && let Ok(real) = path.canonicalize()
            && real != path
        {
            self.linked.insert(real, shared.clone());
            self.next_scan = 0;
        }
    }

    /// What makes the file that file; `None` where it is too short to tell.
    fn identify(&self, file: &OwnedFd, look: Look) -> io::Result<Option<Identity>> {
        let Some(bytes) = self.plan.identity_bytes else { return Ok(Some(look.identity)) };
        let mut head = vec![0; bytes];
        let short = read_at(file, &mut head, 0)? < bytes;
        Ok((!short).then(|| Identity { inode: xxh3_64(&head), ..Identity::default() }))
    }

    /// Where to go on in a file: its generation, its head as far as known, the position.
    fn place(
        &mut self,
        file: &OwnedFd,
        identity: Identity,
        look: Look,
        path: &Arc<Path>,
        now: Now,
    ) -> io::Result<(u64, Head, Position)> {
        let mut bytes = [0; HEAD_BYTES];
        let len = read_at(file, &mut bytes, 0)?;
        let bytes = &bytes[..len];
        if let Some((generation, known)) = self.store.find(identity) {
            let (head, at) = (known.head, known.at);
            if at.offset <= look.size && (!self.plan.check_contents || head.fits(bytes) && mark_holds(file, at)?) {
                let head = if len > head.len as usize { Head::of(bytes) } else { head };
                self.store.update(generation, |k| {
                    k.path = path.clone();
                    k.touched = now.seconds();
                });
                tracing::debug!(file = %path.display(), offset = at.offset, "reading goes on");
                return Ok((generation, head, at));
            }
            tracing::info!(source = %self.plan.id, file = %path.display(),
                "its contents were replaced while nobody looked; reading from the beginning");
        } else {
            tracing::info!(source = %self.plan.id, file = %path.display(), "found");
        }
        let at = if self.plan.from_end && self.first_start && !self.scanned {
            last_line_start(file, look.size)?
        } else {
            Position::default()
        };
        let head = Head::of(bytes);
        let known =
            Known { identity, head, at, path: path.clone(), touched: now.seconds(), current: true, finished: false };
        Ok((self.store.add(known), head, at))
    }

    /// A further name of a file we read, or read until its verdicts are in.
    fn add_path(&mut self, key: usize, path: &Path, now: Now) {
        let Some(mut tail) = self.tails[key].take() else { return };
        let shared: Arc<Path> = path.into();
        if !tail.paths.iter().any(|p| **p == *path) {
            tail.paths.push(shared.clone());
        }
        self.note_link(path, &shared);
        self.by_path.insert(shared.clone(), key);
        if tail.place != Place::Present {
            tail.place = Place::Present;
            tail.path = shared.clone();
            self.queue(key, &mut tail);
        }
        self.store.update(tail.generation, |k| {
            k.path = shared;
            k.touched = now.seconds();
        });
        self.tails[key] = Some(tail);
    }

    /// `path` does not lead any more to the file it led to.
    fn lose(&mut self, path: &Path, now: Now) {
        let Some(key) = self.by_path.remove(path) else { return };
        let Some(mut tail) = self.tails[key].take() else { return };
        tail.paths.retain(|p| **p != *path);
        if let Some(other) = tail.paths.first() {
            tail.path = other.clone();
        } else {
            tracing::info!(source = %self.plan.id, file = %path.display(), "rotated or removed; reading it to its end");
            tail.place = Place::Gone { since: now.mono, read: false };
            // The name's next file waits for this one.
            if !tail.queued {
                tail.queued = true;
                self.ready.push_front(key);
            }
        }
        self.tails[key] = Some(tail);
    }

    /// Takes in what a look at a file by its path told.
    fn looked(&mut self, key: usize, look: Look, hinted: bool, now: Now) {
        let Some(mut tail) = self.tails[key].take() else { return };
        if (look.size, look.modified) != tail.looked {
            tail.unhinted = !hinted && !self.polls();
            tail.wait = FIRST_WAIT;
            self.queue(key, &mut tail);
        }
        self.store.touch(tail.generation, now.seconds());
        self.tails[key] = Some(tail);
    }

    /// The look that is due.
    pub(super) fn check(&mut self, key: usize, now: Now) {
        let Some(tail) = &self.tails[key] else { return };
        let path = tail.path.clone();
        let look = match &tail.file {
            Some(file) => look_into(file),
            None if tail.place == Place::Present => return self.examine_idle(key, &path, now),
            None => return self.close(key),
        };
        let Some(mut tail) = self.tails[key].take() else { return };
        match look {
            Ok(look) if (look.size, look.modified) != tail.looked => {
                if tail.place == Place::Present {
                    tail.unhinted = !self.polls();
                }
                tail.wait = FIRST_WAIT;
                self.queue(key, &mut tail);
            }
            Ok(look) => {
                if tail.failing {
                    self.queue(key, &mut tail);
                }
                self.idle(key, &mut tail, look, now);
            }
            Err(error) => self.failed(key, &mut tail, &error, now),
        }
        self.tails[key] = Some(tail);
    }

    fn examine_idle(&mut self, key: usize, path: &Path, now: Now) {
        self.examine(path, now, false);
        if let Some(mut tail) = self.tails[key].take() {
            if !tail.queued {
                self.wait_longer(key, &mut tail, now);
            }
            self.tails[key] = Some(tail);
        }
    }

    /// A look that found nothing new.
    fn idle(&mut self, key: usize, tail: &mut Tail, look: Look, now: Now) {
        if let Place::Gone { since, .. } = tail.place {
            let quiet = now.mono - since.max(tail.grown);
            let close = quiet >= if look.links == 0 { DELETED_CLOSE_AFTER } else { RENAMED_CLOSE_AFTER };
            if close || quiet >= UNFINISHED_AFTER && !tail.stash.is_empty() {
                tail.finish = true;
                tail.close_after = close;
                self.queue(key, tail);
            } else {
                self.schedule(key, tail, now.mono + GONE_WAIT);
            }
            return;
        }
        if let Some(after) = self.plan.remove_after
            && self.removable(tail, look, now, after.as_nanos() as u64)
        {
            self.remove(tail);
        }
        self.wait_longer(key, tail, now);
    }

    fn wait_longer(&mut self, key: usize, tail: &mut Tail, now: Now) {
        let longest = if self.polls() || tail.unhinted {
            LONGEST_POLL.max(self.by_path.len() as u64 * SECOND / FILES_A_SECOND)
        } else {
            LONGEST_WATCHED
        };
        let longest = self.plan.remove_after.map_or(longest, |d| longest.min(d.as_nanos() as u64));
        tail.wait = (tail.wait * 2).min(longest).max(MILLISECOND);
        self.schedule(key, tail, now.mono + tail.wait);
    }

    /// A turn of reading came to the end of the file.
    pub(super) fn ended(&mut self, key: usize, tail: &mut Tail, grew: bool, now: Now) {
        if tail.close_after && tail.at.offset >= tail.looked.0 {
            tail.place = Place::Closed;
            return;
        }
        (tail.finish, tail.close_after) = (false, false);
        if grew {
            tail.wait = FIRST_WAIT;
        }
        let wait = if matches!(tail.place, Place::Gone { .. }) { GONE_WAIT } else { tail.wait };
        self.schedule(key, tail, now.mono + wait);
    }

    /// The contents that were read so far are gone: what of them was read and not sent is sent, then it begins anew.
    pub(super) fn replaced(&mut self, key: usize, tail: &mut Tail, now: Now, out: &mut dyn Out) {
        let cut = tail.looked.0 < tail.at.offset;
        let how = if cut { "cut off" } else { "written anew in place" };
        tracing::info!(source = %self.plan.id, file = %tail.path.display(), how, "reading from its new beginning");
        self.counters.update(|t| t.error("truncated", 1));
        self.reader.send_stash(key, tail, now.wall, out);
        let known = Known {
            identity: tail.identity,
            head: Head::default(),
            at: Position::default(),
            path: tail.path.clone(),
            touched: now.seconds(),
            current: true,
            finished: false,
        };
        tail.generation = self.store.add(known);
        tail.head = Head::default();
        tail.at = Position::default();
        tail.zeros = true;
        tail.flight.restart(tail.at);
        self.queue(key, tail);
    }

    pub(super) fn failed(&mut self, key: usize, tail: &mut Tail, error: &io::Error, now: Now) {
        if !tail.failing {
            tail.failing = true;
            self.counters.update(|t| t.error("read", 1));
            tracing::error!(source = %self.plan.id, file = %tail.path.display(), %error, "cannot read on; trying again");
        }
        if tail.place == Place::Present && tail.file.take().is_some() {
            self.open -= 1;
        }
        self.wait_longer(key, tail, now);
    }

    /// Whether everything in the file was delivered and it has been quiet for long enough.
    fn removable(&self, tail: &Tail, look: Look, now: Now, after: u64) -> bool {
        tail.at.offset == look.size
            && tail.flight.outstanding() == 0
            && tail.flight.settled() == tail.at
            && now.mono.saturating_sub(tail.grown) >= after
            && now.wall.saturating_sub(look.modified) >= after as i64
    }

    fn remove(&mut self, tail: &mut Tail) {
        let same = look_at(&tail.path, false)
            .is_ok_and(|l| l.is_file && (l.identity.device, l.identity.inode) == tail.node && l.size == tail.at.offset);
        if !same {
            return;
        }
        match std::fs::remove_file(&tail.path) {
            Ok(()) => tracing::info!(source = %self.plan.id, file = %tail.path.display(), "delivered and removed"),
            Err(error) => {
                self.counters.update(|t| t.error("remove", 1));
                tracing::warn!(source = %self.plan.id, file = %tail.path.display(), %error, "cannot remove a delivered file");
                tail.grown = u64::MAX / 2;
            }
        }
    }

    /// Opens the file again where its handle was closed; `false` where its name leads to another one now.
    pub(super) fn ensure_open(&mut self, tail: &mut Tail) -> io::Result<bool> {
        self.uses += 1;
        tail.used = self.uses;
        if tail.file.is_some() {
            return Ok(true);
        }
        let file = match open(&tail.path, self.plan.follow_symlinks) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(e),
        };
        let look = look_into(&file)?;
        if self.identify(&file, look)? != Some(tail.identity) {
            return Ok(false);
        }
        tail.file = Some(file);
        self.open += 1;
        self.spare_handles();
        Ok(true)
    }

    /// Closes handles where too many are open: of idle files first, those used longest ago first. Files without a name
    /// keep theirs.
    fn spare_handles(&mut self) {
        if self.open <= self.plan.max_open {
            return;
        }
        let mut idle: Vec<(bool, u64, usize)> = self
            .tails
            .iter()
            .enumerate()
            .filter_map(|(key, t)| t.as_ref().map(|t| (key, t)))
            .filter(|(_, t)| t.file.is_some() && t.place == Place::Present)
            .map(|(key, t)| (t.queued, t.used, key))
            .collect();
        idle.sort_unstable();
        for (_, _, key) in idle.into_iter().take(self.plan.max_open / 8 + 1) {
            if let Some(tail) = &mut self.tails[key]
                && tail.file.take().is_some()
            {
                self.open -= 1;
            }
        }
    }

    /// With `once`: files that should have been read and could not.
    pub(super) fn unread(&self) -> usize {
        if !self.plan.once {
            return 0;
        }
        self.unreadable.len() + self.tails.iter().flatten().filter(|t| t.failing).count()
    }

    /// Ends the reading of a file; it is forgotten here once all verdicts are in.
    pub(super) fn close(&mut self, key: usize) {
        let Some(mut tail) = self.tails[key].take() else { return };
        if tail.file.take().is_some() {
            self.open -= 1;
        }
        tail.place = Place::Closed;
        self.measure(&mut tail);
        let settled = tail.flight.outstanding() == 0;
        self.tails[key] = Some(tail);
        if settled {
            self.release(key);
        }
    }

    /// Forgets a closed file; what is known of it stays in the store.
    pub(super) fn release(&mut self, key: usize) {
        if let Some(tail) = self.tails[key].take() {
            self.by_identity.remove(&tail.identity);
            self.free.push(key);
        }
    }
}

/// Whether the bytes before a position are those that were there.
fn mark_holds(file: &OwnedFd, at: Position) -> io::Result<bool> {
    let mut bytes = [0; MARK_BYTES];
    let bytes = &mut bytes[..at.mark_len()];
    let len = read_at(file, bytes, at.offset - bytes.len() as u64)?;
    Ok(len == bytes.len() && Position::mark_of(bytes) == at.mark)
}

/// Behind the last whole line, where its end is near enough; else the end.
fn last_line_start(file: &OwnedFd, size: u64) -> io::Result<Position> {
    let from = size.saturating_sub(SEEK_BACK + MARK_BYTES as u64);
    let mut bytes = vec![0; (size - from) as usize];
    let len = read_at(file, &mut bytes, from)?;
    bytes.truncate(len);
    let end = memchr::memrchr(b'\n', &bytes).map_or(if from == 0 { 0 } else { len }, |i| i + 1);
    bytes.truncate(end);
    Ok(Position { offset: from + end as u64, mark: Position::mark_of(&bytes), skipping: false })
}
