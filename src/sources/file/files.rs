//! All that a source knows of its files, and what everything that is done with them shares.
//!
//! Each part owns its fields and keeps what holds among them; here they come together. What becomes of a file (found, opened,
//! renamed, replaced, lost, closed) may be the reason for something to become of another: a file that begins anew has a copy
//! read, which waits for a file before it. So those are acts of the whole, in files by occasion: [`start`](super::start),
//! [`life`](super::life), [`rotation`](super::rotation), [`pending`](super::pending), [`packed`](super::packed),
//! [`comparing`](super::comparing), [`giving`](super::giving). Who is read when is [`tailer`](super::tailer)'s.

use super::archives::Archives;
use super::checkpoint::Store;
use super::comparisons::Comparisons;
use super::families::{Families, settle_given};
use super::flight::Verdicts;
use super::handles::{Handles, Spare};
use super::identity::{Identity, Look, Predecessor, look_into, open, read_at};
use super::missed::Missed;
use super::notices::Notices;
use super::now::{MILLISECOND, Now, SECOND};
use super::owners::Owners;
use super::plan::Plan;
use super::reader::{KEEP_SLABS, Reader, SLAB_BYTES};
use super::renamed::RenamedFiles;
use super::rotations::Rotations;
use super::schedule::Schedule;
use super::tail::{Tail, TailState};
use super::tails::Tails;
use super::unreadable::Unreadable;
use super::waiting::Waiting;
use super::watch::Wake;
use crate::ack::Verdict;
use crate::event::{Origin, SlabPool};
use crate::framing::container::Judge;
use crate::framing::multiline::Matcher;
use crate::telemetry::Counters;
use hashbrown::HashMap;
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// Longest wait where looks are the only way to see growth; grows with the number of files.
const LONGEST_POLL: u64 = SECOND;
const FILES_A_SECOND: u64 = 2000;
/// Longest wait where notices work: looks only cover what they miss. Grows with the number of files, too.
pub(super) const LONGEST_WATCHED: u64 = 10 * SECOND;
const WATCHED_FILES_A_SECOND: u64 = 1000;
/// Looks that are not pressing are done together, so that idle files do not each wake the thread.
const TOGETHER: u64 = 250 * MILLISECOND;
/// A deleted file that was quiet for that long is closed where its handle is needed.
const DELETED_REST: u64 = 5 * SECOND;
/// With `start_at: end`, that much of what is passed over is hashed in all files, to know copies of it.
const PROVEN_STARTS: u64 = 512 << 20;

/// A file that was opened.
pub(super) struct Opened<'a> {
    pub(super) path: &'a Path,
    pub(super) file: OwnedFd,
    /// A look into it.
    pub(super) look: Look,
}

/// What differs while the first look through the folders is not over.
#[derive(Debug)]
pub(super) struct Start {
    /// The first look through the folders is over.
    pub(super) is_over: bool,
    /// There was no checkpoint at all.
    pub(super) is_first: bool,
    /// Generations from here on were found in this run.
    pub(super) first_new: u64,
    /// Bytes that may still be hashed of what `start_at: end` passes over.
    pub(super) bytes: u64,
    /// Generations by device and inode alone, once they are asked for.
    pub(super) nodes: Option<HashMap<(u64, u64), u64>>,
}

/// See [the module](self).
pub(super) struct Files {
    pub(super) plan: Arc<Plan>,
    pub(super) counters: Arc<Counters>,
    /// What is known of files, and goes to disk.
    pub(super) store: Store,
    /// Those that are being read.
    pub(super) tails: Tails,
    /// How they are read.
    pub(super) reader: Reader,
    /// When they are.
    pub(super) schedule: Schedule,
    pub(super) handles: Handles,
    pub(super) notices: Notices,
    pub(super) comparisons: Comparisons,
    pub(super) families: Families,
    pub(super) rotations: Rotations,
    pub(super) renamed: RenamedFiles,
    pub(super) waiting: Waiting,
    pub(super) archives: Archives,
    pub(super) unreadable: Unreadable,
    /// What `include` does not reach.
    pub(super) missed: Missed,
    pub(super) start: Start,
    /// Stands in for the origin of a file that was not read yet.
    pub(super) nameless: Arc<Origin>,
    /// Who knows whose files are, where somebody does.
    pub(super) owners: Option<Box<dyn Owners>>,
    /// Files that wait for that.
    pub(super) attending: Vec<usize>,
}

impl Files {
    /// No file is known yet but those in `store`.
    pub(super) fn new(plan: Plan, counters: Arc<Counters>, wake: &Arc<Wake>, store: Store) -> Self {
        let reader = Reader {
            pool: SlabPool::new(SLAB_BYTES, KEEP_SLABS),
            lines: plan.lines,
            wide: plan.wide,
            matcher: plan.multiline.clone().map(Matcher::new),
            judge: plan.containers.clone().map(Judge::new),
            other_judges: Vec::new(),
            rules: plan.containers.iter().cloned().collect(),
            mono: 0,
            max_event_bytes: plan.multiline.as_ref().map_or(0, |m| m.limits().max_bytes),
            verdicts: Verdicts::new(wake.clone()),
            counters: counters.clone(),
            check_contents: plan.check_contents,
            once: plan.once,
            hasher: store.hasher,
            source: plan.id.clone(),
            keys_kept: store.keys_kept,
            held: None,
            outstanding: 0,
            damaged: 0,
            passed: Vec::new(),
        };
        let start = Start {
            is_over: false,
            is_first: store.is_new(),
            first_new: store.next_generation(),
            bytes: PROVEN_STARTS,
            nodes: None,
        };
        let plan = Arc::new(plan);
        Files {
            reader,
            tails: Tails::default(),
            schedule: Schedule::default(),
            handles: Handles::new(plan.max_open),
            notices: Notices::new(&plan, wake),
            comparisons: Comparisons::new(store.hasher, plan.check_contents),
            families: Families::default(),
            rotations: Rotations::default(),
            renamed: RenamedFiles::new(&plan),
            waiting: Waiting::default(),
            archives: Archives::new(&store),
            unreadable: Unreadable::new(plan.id.clone(), counters.clone()),
            missed: Missed::default(),
            start,
            nameless: Arc::default(),
            owners: None,
            attending: Vec::new(),
            plan,
            counters,
            store,
        }
    }

    /// Has a file read when it is its turn.
    pub(super) fn queue(&mut self, key: usize) {
        if let Some(tail) = self.tails.get_mut(key) {
            self.schedule.queue(key, &mut tail.due);
        }
    }

    /// What the lines of a file share; made when it is read first, as most files may never be.
    pub(super) fn ensure_origin(&self, tail: &mut Tail) {
        if !Arc::ptr_eq(&tail.origin, &self.nameless) {
            return;
        }
        tail.origin = Arc::new(Origin {
            source: self.plan.id.clone(),
            file: Some(tail.paths.first().to_string_lossy().into()),
            host: Some(self.plan.host.clone()),
            // All generations of a name share it, so that they stay in order.
            order: xxh3_64(tail.paths.first().as_os_str().as_encoded_bytes()),
            ..Origin::default()
        });
    }

    /// Takes a file in, to be read as soon as it is its turn.
    pub(super) fn insert(&mut self, mut tail: Box<Tail>) -> usize {
        let key = self.tails.add(&mut tail);
        if self.reader.judge.is_some() {
            self.families.expect(key, &mut tail, &self.tails);
        }
        self.schedule.queue(key, &mut tail.due);
        self.tails.put(key, tail);
        key
    }

    /// Notices come for the place where a file really lies.
    pub(super) fn note_link(&mut self, path: &Path, shared: &Arc<Path>) {
        if self.notices.note_link(path, shared) {
            self.schedule.scan_by(0);
        }
    }

    /// A look at a file found nothing: it is looked at again after a longer wait.
    pub(super) fn wait_longer(&mut self, key: usize, tail: &mut Tail, now: Now) {
        let longest = if self.notices.are_off() || tail.due.is_unhinted() {
            LONGEST_POLL.max(self.tails.path_count() as u64 * SECOND / FILES_A_SECOND)
        } else {
            LONGEST_WATCHED.max(self.tails.path_count() as u64 * SECOND / WATCHED_FILES_A_SECOND)
        };
        let longest = self.plan.remove_after.map_or(longest, |d| longest.min(d.as_nanos() as u64));
        let wait = tail.due.wait_longer(longest);
        let at = now.mono + wait;
        self.schedule.look_at(key, &mut tail.due, if wait < SECOND { at } else { at.next_multiple_of(TOGETHER) });
    }

    /// Removes a file all of which was delivered; whether that could be done.
    pub(super) fn remove_file(&mut self, path: &Path) -> bool {
        match std::fs::remove_file(path) {
            Ok(()) => {
                tracing::info!(source = %self.plan.id, file = %path.display(), "delivered and removed");
                true
            }
            Err(error) => {
                self.counters.update(|t| t.error("remove", 1));
                tracing::warn!(source = %self.plan.id, file = %path.display(), %error, "cannot remove a delivered file");
                false
            }
        }
    }

    /// Opens the file again where its handle was closed; `false` where its name leads to another one now.
    pub(super) fn ensure_open(&mut self, key: usize, tail: &mut Tail) -> io::Result<bool> {
        self.handles.is_used(tail);
        if tail.handle.is_open() {
            return Ok(true);
        }
        let file = match self.open_path(tail.paths.here()) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(e),
        };
        let look = look_into(&file)?;
        if self.identify(&file, look)? != Some(tail.identity) {
            return Ok(false);
        }
        self.handles.give(tail, file);
        self.spare_handles();
        self.handles.keep(key, tail.handle.used());
        Ok(true)
    }

    /// With `once`: files that should have been read and could not, and folders that may have some.
    pub(super) fn unread(&self) -> usize {
        if !self.plan.once {
            return 0;
        }
        let failing = self.tails.iter().filter(|t| t.failing).count();
        self.missed.unread + self.unreadable.count() + self.reader.damaged + failing
    }

    /// Ends the reading of a file; it is forgotten here once all verdicts are in.
    pub(super) fn close(&mut self, key: usize) {
        let Some(mut tail) = self.tails.take(key) else { return };
        if tail.has_open_parts() {
            // What is open of it is given first.
            self.schedule.queue(key, &mut tail.due);
        }
        self.handles.close(&mut tail);
        tail.state = TailState::Closed;
        self.tails.measure(&mut tail);
        let settled = tail.flight.outstanding() == 0 && !tail.has_open_parts();
        self.tails.put(key, tail);
        if settled {
            self.release(key);
        }
    }

    /// Forgets a closed file; what is known of it stays in the store.
    fn release(&mut self, key: usize) {
        let Some(tail) = self.tails.remove(key) else { return };
        // What failed is read again at the next start.
        let settled = self.store.get(tail.generation).is_some_and(|k| k.at == tail.at);
        if settled && tail.packed.as_ref().is_some_and(|p| p.ended) {
            let changed = tail.look.changed();
            if let Some(after) = self.plan.remove_after {
                self.archives.was_delivered(tail.identity, tail.grown);
                self.schedule.scan_by(tail.grown.saturating_add(after.as_nanos() as u64));
            }
            self.archives.was_read();
            // What could not be read of it was not delivered either: it is not removed.
            let damaged = tail.packed.as_ref().is_some_and(|p| p.told);
            self.store.update(tail.generation, |k| {
                (k.finished, k.changed, k.partial) = (true, changed, k.partial || damaged);
            });
        } else if settled && tail.packed.is_none() && tail.paths.all().is_empty() && tail.unread() == 0 {
            self.store.update(tail.generation, |k| k.left = true);
        }
    }

    /// What makes the file that file; `None` where it is too short to tell.
    pub(super) fn identify(&self, file: &OwnedFd, look: Look) -> io::Result<Option<Identity>> {
        let Some(bytes) = self.plan.identity_bytes else { return Ok(Some(look.identity)) };
        let mut head = vec![0; bytes];
        let short = read_at(file, &mut head, 0)? < bytes;
        Ok((!short).then(|| Identity { inode: xxh3_64(&head), ..Identity::default() }))
    }

    /// A file lost this name.
    pub(super) fn note_rotated(&mut self, path: &Path, who: Predecessor) {
        if self.reader.judge.is_some() {
            self.families.note_rotated(path, who, &self.tails);
        }
    }

    /// A handle was opened.
    pub(super) fn opened(&mut self, key: usize) {
        let Some(tail) = self.tails.get(key) else { return };
        self.handles.keep(key, tail.handle.used());
        self.spare_handles();
    }

    /// Closes handles where too many are open: of idle files first, those used longest ago first. Files without a name
    /// keep theirs.
    pub(super) fn spare_handles(&mut self) {
        self.handles.tidy(&self.tails);
        if !self.handles.are_too_many() {
            return;
        }
        self.handles.tell(&self.plan.id);
        self.handles.close_oldest(&mut self.tails, Spare::Idle);
        self.spare_gone();
        self.handles.close_oldest(&mut self.tails, Spare::All);
    }

    /// The same of files that lost their name and were read to their end, before their time: those renamed are looked at as after
    /// it, and those deleted were quiet for a while.
    fn spare_gone(&mut self) {
        let mono = self.reader.mono;
        if !self.handles.may_spare_gone(mono) {
            return;
        }
        let done = |tail: &Tail| {
            let TailState::Gone { since, read: true, .. } = tail.state else { return None };
            let idle =
                tail.packed.is_none() && !tail.due.is_queued() && tail.stash.is_empty() && !tail.has_open_parts();
            let rests = mono.saturating_sub(since.max(tail.grown)) >= DELETED_REST || !tail.is_deleted();
            let all = idle
                && tail.handle.is_open()
                && tail.unread() == 0
                && !tail.doubt.is_suspect()
                && !tail.doubt.has_proof();
            (all && rests).then_some(since)
        };
        let tails = self.tails.with_keys();
        let mut gone: Vec<(u64, usize)> = tails.filter_map(|(key, tail)| Some((done(tail)?, key))).collect();
        gone.sort_unstable();
        for (_, key) in gone {
            if self.handles.open() <= self.handles.enough() {
                break;
            }
            let Some(tail) = self.tails.get(key) else { continue };
            self.renamed.keep_looking(tail);
            self.close(key);
        }
        self.handles.spared_gone();
    }

    /// Opens a file to be read. Where the process has no handle left, others give up theirs.
    pub(super) fn open_path(&mut self, path: &Path) -> io::Result<OwnedFd> {
        let opened = open(path, self.plan.links);
        let none_left = |error: &io::Error| {
            [Errno::MFILE, Errno::NFILE].iter().any(|e| error.raw_os_error() == Some(e.raw_os_error()))
        };
        if !opened.as_ref().is_err_and(none_left) || !self.handles.none_left() {
            return opened;
        }
        self.spare_handles();
        open(path, self.plan.links)
    }

    /// What is read is there: not to be forgotten, however long ago the last look through the folders was.
    pub(super) fn touch_all(&mut self, now: Now) {
        if self.store.next_is_whole() {
            for tail in self.tails.iter().filter(|t| t.state == TailState::Present) {
                self.store.touch(tail.generation, now.seconds());
            }
        }
    }

    /// Takes in a verdict.
    pub(super) fn hear(&mut self, token: u64, verdict: Verdict) {
        self.reader.outstanding = self.reader.outstanding.saturating_sub(1);
        let key = (token >> 32) as usize;
        let Some(tail) = self.tails.get_mut(key) else { return };
        let seen = tail.seen();
        tail.flight.settle(token as u32, verdict, |mark| self.store.settle(mark, &seen));
        self.store.settle_copies(tail.identity, &tail.flight);
        self.settle_given(key);
        self.release_settled(key);
    }

    /// Notes what was inherited by a file and is settled with its chunks.
    pub(super) fn settle_given(&mut self, key: usize) {
        for from in settle_given(key, &mut self.tails, &mut self.store) {
            self.release_settled(from);
        }
    }

    /// Forgets a closed file of which nothing is on its way.
    pub(super) fn release_settled(&mut self, key: usize) {
        let is_settled =
            |tail: &Tail| tail.state == TailState::Closed && tail.flight.outstanding() == 0 && !tail.has_open_parts();
        if self.tails.get(key).is_some_and(is_settled) {
            self.release(key);
        }
    }
}
