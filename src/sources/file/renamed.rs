//! Files that lost their name and were read to their end: their handles are closed, their sizes are looked at.
//!
//! Writers go on in a renamed file until they are told, most often for seconds, some for ever. So after 30 s of silence the
//! handle is closed, and for as long as the file is there, at its new name or another one, its size is looked at with each
//! look through the folders. What was written to it is read, and counts in `file_lag_bytes` until then. Where it is gone, the
//! archives that were made since it was modified last are asked whether they have more of it than was read.
//!
//! A file that could not be opened under the name it was found at is looked at in the same way when it lost that name.

use super::checkpoint::{Known, Store};
use super::discovery::FoundFiles;
use super::identity::{Identity, Links, look_at, look_into, open, read_at};
use super::names::{is_packed_name, is_rotation_of};
use super::now::Now;
use super::plan::Plan;
use super::siblings::{Sibling, Siblings};
use super::tail::Tail;
use hashbrown::{HashMap, HashSet};
use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Most of them that are looked at; those renamed longest ago are given up first, with a word.
const MOST: usize = 10_000;

/// One of them.
#[derive(Debug)]
pub(super) struct Renamed {
    pub(super) generation: u64,
    pub(super) identity: Identity,
    /// The name its lines go by.
    pub(super) name: Arc<Path>,
    /// Where it is.
    pub(super) path: PathBuf,
    /// Its size and time of modification when nothing in it was unread.
    looked: (u64, i64),
    /// What it adds to `file_lag_bytes`, as it was looked at last.
    pub(super) lag: u64,
}

/// What a look at one of them tells.
pub(super) enum Seen {
    /// Nothing new, or nobody can look now.
    Same,
    /// It was written to.
    Grown,
    /// It is not there any more.
    Gone,
    /// Nothing is known of it any more.
    Forgotten,
}

impl Renamed {
    /// Looks at it, where it is now.
    pub(super) fn look(&mut self, plan: &Arc<Plan>, store: &mut Store, now: Now) -> Seen {
        let there = look_at(&self.path, Links::Keep).ok().filter(|look| look.identity == self.identity);
        let look = match there {
            Some(look) => look,
            None => match Siblings::new(plan).with_identity(&self.path, self.identity) {
                Err(_) => return Seen::Same,
                Ok(Some(found)) => {
                    self.path = found.path;
                    found.look
                }
                Ok(None) => return Seen::Gone,
            },
        };
        store.touch(self.generation, now.seconds());
        let Some(at) = store.get(self.generation).map(|k| k.at) else { return Seen::Forgotten };
        if look.size == at.offset || (look.size, look.modified) == self.looked {
            return Seen::Same;
        }
        self.lag = look.size.saturating_sub(at.offset);
        Seen::Grown
    }

    /// One that is gone: the archives made since it was modified last, which may have more of it than was read.
    pub(super) fn archives(&self, plan: &Arc<Plan>, store: &Store) -> Vec<Sibling> {
        let at = store.get(self.generation).map(|k| k.at);
        let Some(at) = at.filter(|at| at.is_proof()) else { return Vec::new() };
        let is_it = |s: &Sibling| {
            let made = if s.look.identity.birth != 0 { s.look.identity.birth } else { s.look.changed };
            let named = is_rotation_of(&self.path, &s.path) || is_rotation_of(&self.name, &s.path);
            made >= self.looked.1 && is_packed_name(&s.path) && named && !ends_at(&s.path, at.offset)
        };
        Siblings::new(plan).of(&self.name).unwrap_or_default().into_iter().filter(is_it).collect()
    }
}

/// See [the module](self).
pub(super) struct RenamedFiles {
    plan: Arc<Plan>,
    /// Those renamed longest ago first.
    list: VecDeque<Renamed>,
    /// What they add to `file_lag_bytes`: the sum of their `lag`, but for those that are [taken](RenamedFiles::take).
    lag: u64,
    /// Files that could not be opened, as they were found at their paths: their generation and identity.
    shut: HashMap<PathBuf, (u64, Identity)>,
}

impl RenamedFiles {
    pub(super) fn new(plan: &Arc<Plan>) -> Self {
        RenamedFiles { plan: plan.clone(), list: VecDeque::new(), lag: 0, shut: HashMap::new() }
    }

    /// A file that lost its name is being closed: looks at it from now on, where it is still there.
    pub(super) fn keep_looking(&mut self, tail: &Tail) {
        let Some(path) = tail.handle.get().and_then(path_of) else { return };
        // One that matches is found as any other file.
        if tail.packed.is_none() && !self.plan.patterns.matches(&path) {
            let Tail { generation, identity, .. } = *tail;
            let looked = tail.look.written();
            self.list.push_back(Renamed {
                generation,
                identity,
                name: tail.paths.first().clone(),
                path,
                looked,
                lag: 0,
            });
            if self.list.len() > MOST
                && let Some(oldest) = self.list.pop_front()
            {
                self.lag -= oldest.lag;
                tracing::warn!(source = %self.plan.id, file = %oldest.path.display(), most = MOST,
                    "too many renamed files are still there; what is written to this one is not seen any more");
            }
        }
    }

    /// The same for one that was found at a start, with nothing new in it.
    pub(super) fn watch(&mut self, generation: u64, known: &Known, name: &Arc<Path>, path: &Path) {
        if !known.packed && self.list.len() < MOST {
            let looked = (known.at.offset, known.modified);
            let (identity, name, path) = (known.identity, name.clone(), path.to_owned());
            self.list.push_back(Renamed { generation, identity, name, path, looked, lag: 0 });
        }
    }

    /// All of them, to be looked at; those that are kept are to be [put back](RenamedFiles::put_back).
    pub(super) fn take(&mut self) -> VecDeque<Renamed> {
        self.lag = 0;
        std::mem::take(&mut self.list)
    }

    /// As above, before those that came meanwhile.
    pub(super) fn put_back(&mut self, mut kept: VecDeque<Renamed>) {
        kept.append(&mut self.list);
        self.list = kept;
        self.lag = self.list.iter().map(|renamed| renamed.lag).sum();
    }

    /// Where they are.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.list.iter().map(|renamed| renamed.path.as_path())
    }

    /// Whether this generation is one of them.
    pub(super) fn has(&self, generation: u64) -> bool {
        self.list.iter().any(|renamed| renamed.generation == generation)
    }

    /// What they add to `file_lag_bytes`.
    pub(super) fn lag(&self) -> u64 {
        self.lag
    }

    /// A file of this identity that is at `path` could not be opened.
    pub(super) fn note_shut(&mut self, path: &Path, identity: Identity, store: &mut Store, now: Now) {
        if self.plan.identity_bytes.is_some() {
            return;
        }
        let generation = match store.find(identity) {
            Some((generation, _)) => generation,
            None => store.add(Known::new(identity, &path.into(), now.seconds())),
        };
        self.shut.insert(path.to_owned(), (generation, identity));
    }

    /// What is at `path` could be opened.
    pub(super) fn is_open(&mut self, path: &Path) {
        self.shut.remove(path);
    }

    /// Where `path` led to a file that could not be opened, and leads to `there` now: looks for that one.
    pub(super) fn seek_shut(&mut self, path: &Path, there: Option<Identity>) {
        if self.shut.get(path).is_none_or(|(_, identity)| there == Some(*identity)) {
            return;
        }
        let Some((generation, identity)) = self.shut.remove(path) else { return };
        let found = match Siblings::new(&self.plan).with_identity(path, identity) {
            Ok(Some(found)) => found,
            Ok(None) => return,
            Err(_) => {
                // Nobody can look now.
                self.shut.insert(path.to_owned(), (generation, identity));
                return;
            }
        };
        // One that matches is found as any other file.
        if !self.plan.patterns.matches(&found.path) && self.list.len() < MOST {
            let (name, path, looked) = (path.into(), found.path, (u64::MAX, 0));
            self.list.push_back(Renamed { generation, identity, name, path, looked, lag: 0 });
        }
    }

    /// The same of all whose paths lead to nothing.
    pub(super) fn seek_all_shut(&mut self, found: &FoundFiles) {
        if self.shut.is_empty() {
            return;
        }
        let there: HashSet<&Path> = found.paths();
        let gone: Vec<PathBuf> = self.shut.keys().filter(|path| !there.contains(path.as_path())).cloned().collect();
        gone.iter().for_each(|path| self.seek_shut(path, None));
    }
}

/// Where an open file is now; `None` where it has no name any more.
pub(super) fn path_of(file: &OwnedFd) -> Option<PathBuf> {
    let path = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    let there = look_at(&path, Links::Keep).ok()?;
    let own = look_into(file).ok()?;
    (there.identity == own.identity).then_some(path)
}

/// Whether what a gzip file holds is as long as that, as far as its last bytes tell.
fn ends_at(path: &Path, len: u64) -> bool {
    let last = || -> std::io::Result<u32> {
        let file = open(path, Links::Keep)?;
        let size = look_into(&file)?.size;
        let mut bytes = [0; 4];
        read_at(&file, &mut bytes, size.saturating_sub(4))?;
        Ok(u32::from_le_bytes(bytes))
    };
    path.extension().is_some_and(|e| e == "gz") && last().is_ok_and(|last| last == len as u32)
}
