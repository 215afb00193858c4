//! Many files of which few have anything new: taking them in without reading them, and which of them keep their handles.

use super::discovery::Entry;
use super::files::LONGEST_WATCHED;
use super::identity::{Look, look_at, look_into, open};
use super::tail::{Place, Tail};
use super::tailer::{MILLISECOND, Now, SECOND, Tailer};
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Files that lost their name are looked through for handles that often at most, where no more of them were opened.
const SPARE_EVERY: u64 = 20 * MILLISECOND;
/// A deleted file that was quiet for that long is closed where its handle is needed.
const DELETED_REST: u64 = 5 * SECOND;
/// Handles that a source needs at least.
const LEAST_OPEN: usize = 8;

/// The folder asked for last, and what it really is.
#[derive(Default)]
pub(super) struct RealDir {
    dir: PathBuf,
    real: PathBuf,
}

impl RealDir {
    /// Whether a file, which is no link itself, is one of `own` or lies below one.
    fn is_below(&mut self, path: &Path, own: &[PathBuf]) -> bool {
        let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return true };
        if self.dir != dir {
            let Ok(real) = dir.canonicalize() else { return true };
            (self.dir, self.real) = (dir.to_owned(), real);
        }
        own.iter().any(|own| {
            path.starts_with(own)
                || self.real.starts_with(own)
                || own.parent() == Some(&self.real) && own.ends_with(name)
        })
    }
}

impl Tailer {
    /// At the first look through the folders: takes in a file that is as it was when all in it was settled. It is not read,
    /// and opened only so that deleting it loses nothing, as far as there are handles. Whether it is such a file.
    pub(super) fn start_idle(&mut self, entry: &Entry, dir: &mut RealDir, now: Now) -> bool {
        let path = &*entry.path;
        if entry.is_symlink || self.plan.identity_bytes.is_some() {
            return false;
        }
        let Ok(look) = look_at(path, false) else { return false };
        let Some((generation, known)) = self.store.find(look.identity) else { return false };
        let unchanged = known.changed != 0 && (known.at.offset, known.changed) == (look.size, look.changed);
        // What the file before has open goes on in an empty one.
        let may_inherit = self.reader.judge.is_some() && known.at.offset == 0;
        let by_now = self.by_identity.contains_key(&look.identity) || dir.is_below(path, &self.plan.own);
        if !look.is_file || !unchanged || known.finished || known.packed || known.at.skipping || by_now || may_inherit {
            return false;
        }
        let (head, at) = (known.head, known.at);
        let shared: Arc<Path> = if *known.path == *path { known.path.clone() } else { path.into() };
        let mut tail = self.new_tail(look.identity, look, &shared, &shared, now);
        (tail.generation, tail.head, tail.at) = (generation, head, at);
        if self.open < self.plan.max_open {
            let opened = open(path, self.plan.follow_symlinks);
            let Ok(file) = opened else { return false };
            let is_the_same = |l: Look| (l.identity, l.size, l.changed) == (look.identity, look.size, look.changed);
            if !look_into(&file).is_ok_and(is_the_same) {
                return false;
            }
            tail.file = Some(file);
            self.open += 1;
        }
        self.store.moved(generation, &shared, now.seconds());
        tail.paths.push(shared.clone());
        let key = self.keep(&mut tail);
        tail.wait = LONGEST_WATCHED;
        self.wait_longer(key, &mut tail, now);
        if tail.file.is_some() {
            self.handles.push_back((key, tail.used));
        }
        self.tails[key] = Some(tail);
        self.by_path.insert(shared, key);
        true
    }

    /// A handle was opened.
    pub(super) fn opened(&mut self, key: usize) {
        let Some(tail) = &self.tails[key] else { return };
        self.handles.push_back((key, tail.used));
        self.spare_handles();
    }

    /// Closes handles where too many are open: of idle files first, those used longest ago first. Files without a name
    /// keep theirs.
    pub(super) fn spare_handles(&mut self) {
        if self.handles.len() > 2 * self.open + 1024 {
            // What was closed for another reason and opened again stands there twice.
            let open =
                |(key, t): (usize, &Option<Box<Tail>>)| t.as_ref().filter(|t| t.file.is_some()).map(|t| (key, t.used));
            self.handles = self.tails.iter().enumerate().filter_map(open).collect();
            self.handles.make_contiguous().sort_unstable_by_key(|(_, used)| *used);
        }
        if self.open <= self.plan.max_open {
            return;
        }
        if !std::mem::replace(&mut self.handles_told, true) {
            tracing::warn!(source = %self.plan.id, open = self.open, limit = self.plan.max_open,
                "more files than there are handles for: those that were quiet for longest are closed and looked at by their \
                 size. What is deleted before it is read is lost; raise the limit of open files (LimitNOFILE, ulimit -n)");
        }
        let enough = self.plan.max_open - self.plan.max_open / 8;
        for also_queued in [false, true] {
            if also_queued {
                self.spare_gone(enough);
            }
            for _ in 0..self.handles.len() {
                if self.open <= enough {
                    return;
                }
                let Some((key, used)) = self.handles.pop_front() else { return };
                let Some(tail) = &mut self.tails[key] else { continue };
                if tail.file.is_none() {
                    continue;
                }
                if tail.place != Place::Present || tail.used != used || tail.queued && !also_queued {
                    self.handles.push_back((key, tail.used));
                } else {
                    tail.file = None;
                    self.open -= 1;
                }
            }
        }
    }

    /// The same of files that lost their name and were read to their end, before their time: those renamed are looked at as after
    /// it, and those deleted were quiet for a while.
    fn spare_gone(&mut self, enough: usize) {
        if self.open <= enough || self.open < self.spare_from && self.reader.mono < self.next_spare {
            return;
        }
        self.next_spare = self.reader.mono + SPARE_EVERY;
        let mono = self.reader.mono;
        let done = |tail: &Tail| {
            let Place::Gone { since, read: true } = tail.place else { return None };
            let idle = tail.packed.is_none() && !tail.queued && tail.stash.is_empty() && !tail.has_open_parts();
            let rests =
                mono.saturating_sub(since.max(tail.grown)) >= DELETED_REST || !super::drain_deleted::is_deleted(tail);
            let all = idle && tail.file.is_some() && tail.unread() == 0 && tail.suspect == 0 && tail.proof.is_none();
            (all && rests).then_some(since)
        };
        let tails = self.tails.iter().enumerate();
        let mut gone: Vec<(u64, usize)> =
            tails.filter_map(|(key, tail)| tail.as_deref().and_then(done).map(|since| (since, key))).collect();
        gone.sort_unstable();
        for (_, key) in gone {
            if self.open <= enough {
                break;
            }
            let Some(tail) = self.tails[key].take() else { continue };
            self.keep_looking(&tail);
            self.tails[key] = Some(tail);
            self.close(key);
        }
        // All of them are looked at: not for each one that is opened.
        self.spare_from = self.open + (self.plan.max_open / 8).max(1);
    }

    /// Opens a file to be read. Where the process has no handle left, others give up theirs.
    pub(super) fn open_path(&mut self, path: &Path) -> io::Result<OwnedFd> {
        let opened = open(path, self.plan.follow_symlinks);
        let none_left = |error: &io::Error| {
            [Errno::MFILE, Errno::NFILE].iter().any(|e| error.raw_os_error() == Some(e.raw_os_error()))
        };
        if !opened.as_ref().is_err_and(none_left) || self.open <= LEAST_OPEN {
            return opened;
        }
        self.plan.max_open = (self.open - self.open.div_ceil(8)).max(LEAST_OPEN);
        self.next_spare = 0;
        self.spare_handles();
        open(path, self.plan.follow_symlinks)
    }
}
