//! Files that lost their name and were read to their end: their handles are closed, their sizes are looked at.
//!
//! Writers go on in a renamed file until they are told, most often for seconds, some for ever. So after 30 s of silence the
//! handle is closed, and for as long as the file is there, at its new name or another one, its size is looked at with each
//! look through the folders. What was written to it is read, and counts in `file_lag_bytes` until then. Where it is gone, the
//! archives that were made since it was modified last are asked whether they have more of it than was read.
//!
//! A file that could not be opened under the name it was found at is looked at in the same way when it lost that name.

use super::checkpoint::Known;
use super::discovery::Found;
use super::identity::{Identity, look_at};
use super::identity::{Look, open, read_at};
use super::rotation::{Adopted, Sibling, is_packed_name, is_rotation_of};
use super::tail::Tail;
use super::tailer::{Now, Tailer};
use hashbrown::HashSet;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Most of them that are looked at; those renamed longest ago are given up first, with a word.
const MOST: usize = 10_000;

/// One of them.
#[derive(Debug)]
pub(super) struct Renamed {
    generation: u64,
    identity: Identity,
    /// The name its lines go by.
    name: Arc<Path>,
    /// Where it is.
    path: PathBuf,
    /// Its size and time of modification when nothing in it was unread.
    looked: (u64, i64),
    /// What it adds to `file_lag_bytes`.
    lag: u64,
}

impl Renamed {
    /// Whether it is this generation.
    pub(super) fn is(&self, generation: u64) -> bool {
        self.generation == generation
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Where an open file is now; `None` where it has no name any more.
pub(super) fn path_of(file: &OwnedFd) -> Option<PathBuf> {
    let path = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    let there = look_at(&path, false).ok()?;
    let own = super::identity::look_into(file).ok()?;
    (there.identity == own.identity).then_some(path)
}

impl Tailer {
    /// A file that lost its name is being closed: looks at it from now on, where it is still there.
    pub(super) fn keep_looking(&mut self, tail: &Tail) {
        let Some(path) = tail.file.as_ref().and_then(path_of) else { return };
        // One that matches is found as any other file.
        if tail.packed.is_none() && !self.plan.patterns.matches(&path) {
            let Tail { generation, identity, looked, .. } = *tail;
            self.renamed.push_back(Renamed { generation, identity, name: tail.name.clone(), path, looked, lag: 0 });
            if self.renamed.len() > MOST
                && let Some(oldest) = self.renamed.pop_front()
            {
                self.lag -= oldest.lag;
                tracing::warn!(source = %self.plan.id, file = %oldest.path.display(), most = MOST,
                    "too many renamed files are still there; what is written to this one is not seen any more");
            }
        }
    }

    /// The same for one that was found at a start, with nothing new in it.
    pub(super) fn watch_renamed(&mut self, generation: u64, known: &Known, name: &Arc<Path>, path: &Path) {
        if !known.packed && self.renamed.len() < MOST {
            let looked = (known.at.offset, known.modified);
            let (identity, name, path) = (known.identity, name.clone(), path.to_owned());
            self.renamed.push_back(Renamed { generation, identity, name, path, looked, lag: 0 });
        }
    }

    /// A file that is at `path` could not be opened.
    pub(super) fn note_shut(&mut self, path: &Path, look: Look, now: Now) {
        if self.plan.identity_bytes.is_some() {
            return;
        }
        let generation = match self.store.find(look.identity) {
            Some((generation, _)) => generation,
            None => self.store.add(Known::new(look.identity, &path.into(), now.seconds())),
        };
        self.shut.insert(path.to_owned(), (generation, look.identity));
    }

    /// Where `path` led to a file that could not be opened, and leads to `there` now: looks for that one.
    pub(super) fn seek_shut(&mut self, path: &Path, there: Option<Identity>) {
        if self.shut.get(path).is_none_or(|(_, identity)| there == Some(*identity)) {
            return;
        }
        let Some((generation, identity)) = self.shut.remove(path) else { return };
        let found = match self.find_by_identity(path, identity) {
            Ok(Some(found)) => found,
            Ok(None) => return,
            Err(_) => {
                // Nobody can look now.
                self.shut.insert(path.to_owned(), (generation, identity));
                return;
            }
        };
        // One that matches is found as any other file.
        if !self.plan.patterns.matches(&found.path) && self.renamed.len() < MOST {
            let (name, path, looked) = (path.into(), found.path, (u64::MAX, 0));
            self.renamed.push_back(Renamed { generation, identity, name, path, looked, lag: 0 });
        }
    }

    /// The same of all whose paths lead to nothing.
    pub(super) fn seek_all_shut(&mut self, found: &Found) {
        if self.shut.is_empty() {
            return;
        }
        let there: HashSet<&Path> = found.paths();
        let gone: Vec<PathBuf> = self.shut.keys().filter(|path| !there.contains(path.as_path())).cloned().collect();
        gone.iter().for_each(|path| self.seek_shut(path, None));
    }

    /// A renamed file is gone: the archives made since it was modified last may have more of it than was read.
    /// Whether there are such.
    fn seek_in_archives(&mut self, renamed: &Renamed, now: Now) -> bool {
        let at = self.store.get(renamed.generation).map(|k| k.at);
        let Some(at) = at.filter(|at| at.is_proof()) else { return false };
        let is_it = |s: &Sibling| {
            let made = if s.look.identity.birth != 0 { s.look.identity.birth } else { s.look.changed };
            let named = is_rotation_of(&renamed.path, &s.path) || is_rotation_of(&renamed.name, &s.path);
            made >= renamed.looked.1 && is_packed_name(&s.path) && named && !ends_at(&s.path, at.offset)
        };
        let archives: Vec<Sibling> =
            self.siblings(&renamed.name).unwrap_or_default().into_iter().filter(is_it).collect();
        if !archives.is_empty() {
            // Only what is proven to be the rest of something that was read is read of them.
            self.adopt_packed(&renamed.name, &archives, 0, None, now);
        }
        !archives.is_empty()
    }

    /// Looks at all of them.
    pub(super) fn look_at_renamed(&mut self, now: Now) {
        let mut kept = std::mem::take(&mut self.renamed);
        kept.retain_mut(|renamed| self.look_at_one_renamed(renamed, now));
        kept.append(&mut self.renamed);
        self.renamed = kept;
    }

    /// Whether it has to be looked at again.
    fn look_at_one_renamed(&mut self, renamed: &mut Renamed, now: Now) -> bool {
        if self.by_identity.contains_key(&renamed.identity) {
            // It is being read, or its last verdicts are awaited.
            return self.tails[self.by_identity[&renamed.identity]]
                .as_ref()
                .is_some_and(|t| t.place == super::tail::Place::Closed);
        }
        let there = look_at(&renamed.path, false).ok().filter(|look| look.identity == renamed.identity);
        let look = match there {
            Some(look) => look,
            None => match self.find_by_identity(&renamed.path, renamed.identity) {
                Err(_) => return true,
                Ok(Some(found)) => {
                    renamed.path = found.path;
                    found.look
                }
                Ok(None) => {
                    self.lag -= renamed.lag;
                    if !self.seek_in_archives(renamed, now) && renamed.lag > 0 {
                        self.counters.update(|t| t.error("rest_not_found", 1));
                        tracing::error!(source = %self.plan.id, file = %renamed.path.display(), bytes_not_read = renamed.lag,
                            "renamed, written to and gone before it could be read: the rest is lost");
                    }
                    return false;
                }
            },
        };
        self.store.touch(renamed.generation, now.seconds());
        let Some(at) = self.store.get(renamed.generation).map(|k| k.at) else {
            self.lag -= renamed.lag;
            return false;
        };
        if look.size == at.offset || (look.size, look.modified) == renamed.looked {
            return true;
        }
        let lag = look.size.saturating_sub(at.offset);
        self.lag = self.lag - renamed.lag + lag;
        renamed.lag = lag;
        let adopted = Adopted { name: &renamed.name.clone(), from: None, since: 0 };
        match self.start(&renamed.path.clone(), None, Some(adopted), now) {
            Ok(_) => {
                self.lag -= renamed.lag;
                renamed.lag = 0;
                false
            }
            Err(error) => {
                self.unreadable(&renamed.path.clone(), &error);
                true
            }
        }
    }
}

/// Whether what a gzip file holds is as long as that, as far as its last bytes tell.
fn ends_at(path: &Path, len: u64) -> bool {
    let last = || -> std::io::Result<u32> {
        let file = open(path, false)?;
        let size = super::identity::look_into(&file)?.size;
        let mut bytes = [0; 4];
        read_at(&file, &mut bytes, size.saturating_sub(4))?;
        Ok(u32::from_le_bytes(bytes))
    };
    path.extension().is_some_and(|e| e == "gz") && last().is_ok_and(|last| last == len as u32)
}
