//! What is remembered of files whose names lead elsewhere now, or nowhere: which were lost, and whose rest is looked for.

use super::checkpoint::Store;
use super::identity::{Position, Predecessor};
use super::now::{Now, SECOND};
use super::passed::Past;
use super::siblings::modified;
use super::tail::Tail;
use crate::telemetry::Counters;
use hashbrown::HashMap;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How long the last file of a path that leads nowhere is remembered.
const KEEP_LOST: u64 = 3600 * SECOND;
/// And of how many such paths at most: those that were lost last.
const MOST_LOST: usize = 4000;
/// Generations without a trace that are told one by one.
const TELL_MISSING: usize = 10;

/// What a file was, whose name matches no pattern now.
pub(super) struct Adopted<'a> {
    /// The name under which its lines go on.
    pub(super) name: &'a Path,
    /// Where it is proven that all before it was read, and of what that is a copy, if of a file.
    pub(super) from: Option<(Option<Original>, Position)>,
    /// An archive that was written into before is none of a generation since: nanoseconds since 1970.
    pub(super) since: i64,
}

/// Contents that are gone from their file, and may stand in a copy.
#[derive(Clone, Debug)]
pub(super) struct Original {
    pub(super) generation: u64,
    /// Everything before it was read.
    pub(super) at: Position,
    /// Places that were passed on the way.
    pub(super) past: Vec<Past>,
    /// Not all of what was read is settled.
    pub(super) unsettled: bool,
    /// When it was modified last, as far as that is known.
    pub(super) since: i64,
    /// What was read of an unfinished line, where that is kept, and where it stood.
    pub(super) unfinished: Box<[u8]>,
    pub(super) reading: u64,
}

/// What was found in place of contents that are gone.
#[derive(Default)]
pub(super) struct Copies {
    /// Whom the new contents have to wait for.
    pub(super) last: Option<Predecessor>,
    /// There is a copy of them.
    pub(super) found: bool,
    /// Which has the unfinished line as well.
    pub(super) has_all: bool,
}

/// A generation of which the rest is being looked for.
#[derive(Debug)]
pub(super) struct Missing {
    pub(super) generation: u64,
    pub(super) path: Arc<Path>,
    /// Bytes known to be there and not read.
    pub(super) unread: u64,
    pub(super) offset: u64,
    /// Its name leads to another file now, or to other contents.
    pub(super) replaced: bool,
}

/// A time between two files of one name, in which others may have had it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gap {
    /// When the last file known was made and last modified.
    pub(super) since: (i64, i64),
    /// The generation it was.
    pub(super) generation: u64,
    /// Who is to be read before what is found.
    pub(super) last: Option<Predecessor>,
    /// When the present file was made; 0 where there is none.
    pub(super) until: i64,
}

/// The last file that a path led to, where it leads to none any more.
#[derive(Debug)]
struct Lost {
    /// Up to now.
    gap: Gap,
    /// When the path was lost: monotonic nanoseconds.
    at: u64,
    /// When its folder was changed, as of the last look for generations in between.
    folder_modified: i64,
}

/// See [the module](self).
#[derive(Debug, Default)]
pub(super) struct Rotations {
    /// Paths that led to a file before, and may again.
    lost: BTreeMap<PathBuf, Lost>,
    /// Generations whose rest is looked for.
    missing: Vec<Missing>,
    /// A folder could not be looked into when they were sought.
    is_seeking: bool,
    /// Paths in whose folders generations in between are still to be looked for.
    unlooked: Vec<(PathBuf, Gap)>,
}

impl Rotations {
    /// A path leads nowhere any more; it led to `tail` last.
    pub(super) fn lose(&mut self, path: &Path, key: usize, tail: &Tail, now: Now) {
        let since = (tail.identity.birth, tail.look.modified());
        let last = Some((key, tail.generation));
        self.lose_in(path, Gap { since, generation: tail.generation, last, until: 0 }, now);
    }

    /// As above, of a file that is not read.
    pub(super) fn lose_in(&mut self, path: &Path, gap: Gap, now: Now) {
        self.lost.insert(path.to_owned(), Lost { gap, at: now.mono, folder_modified: 0 });
    }

    /// A path leads to a file again; what is between that, made at `until`, and the one before.
    pub(super) fn found(&mut self, path: &Path, until: i64) -> Option<Gap> {
        self.lost.remove(path).map(|lost| Gap { until, ..lost.gap })
    }

    /// What may be found between the last file of a path and now, where its folder was changed since that was asked.
    pub(super) fn gap(&mut self, path: &Path) -> Option<Gap> {
        let folder = path.parent().map_or(0, modified);
        let lost = self.lost.get_mut(path)?;
        (std::mem::replace(&mut lost.folder_modified, folder) != folder).then_some(lost.gap)
    }

    /// The folder could not be looked into: it is asked again.
    pub(super) fn look_again(&mut self, path: &Path) {
        if let Some(lost) = self.lost.get_mut(path) {
            lost.folder_modified = 0;
        }
    }

    /// Paths that lead nowhere, in folders that were changed since they were looked into.
    pub(super) fn changed(&self) -> Vec<PathBuf> {
        // One look at each folder, however many were lost in it.
        let mut folders: HashMap<&Path, i64> = HashMap::new();
        let mut paths = Vec::new();
        for (path, lost) in &self.lost {
            let Some(dir) = path.parent() else { continue };
            if *folders.entry(dir).or_insert_with(|| modified(dir)) != lost.folder_modified {
                paths.push(path.clone());
            }
        }
        paths
    }

    /// Forgets paths that were lost long ago, and those lost first of more than are remembered.
    pub(super) fn forget(&mut self, now: Now) {
        self.lost.retain(|_, lost| now.mono - lost.at < KEEP_LOST);
        let more = self.lost.len().saturating_sub(MOST_LOST);
        if more > 0 {
            let mut all: Vec<(u64, PathBuf)> = self.lost.iter().map(|(path, lost)| (lost.at, path.clone())).collect();
            all.sort_unstable();
            for (_, path) in all.iter().take(more) {
                self.lost.remove(path);
            }
        }
    }

    /// How many paths are remembered that lead nowhere.
    pub(super) fn lost(&self) -> usize {
        self.lost.len()
    }

    /// A folder could not be looked into: it is looked into again with the next look through the folders.
    pub(super) fn put_off(&mut self, path: &Path, gap: Gap) {
        self.unlooked.push((path.to_owned(), gap));
    }

    /// What was put off.
    pub(super) fn take_put_off(&mut self) -> Vec<(PathBuf, Gap)> {
        std::mem::take(&mut self.unlooked)
    }

    /// The rest of a generation is to be found somewhere.
    pub(super) fn miss(&mut self, missing: Missing) {
        self.missing.push(missing);
    }

    /// Whether files that are missing are to be sought again, as a folder could not be looked into.
    pub(super) fn are_sought(&self) -> bool {
        self.is_seeking
    }

    /// See [`are_sought`](Rotations::are_sought).
    pub(super) fn seek_again(&mut self, again: bool) {
        self.is_seeking = again;
    }

    /// Whether the rest of something is looked for.
    pub(super) fn are_missing(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Tells of generations whose rest was looked for and found nowhere. To be called when nothing is open that may have it.
    pub(super) fn tell_missing(&mut self, store: &mut Store, counters: &Counters, source: &str) {
        let missing = std::mem::take(&mut self.missing);
        let claimed = |m: &Missing| store.get(m.generation).is_none_or(|k| k.finished);
        let missing: Vec<Missing> = missing.into_iter().filter(|m| !claimed(m)).collect();
        let (mut errors, mut bytes) = (0, 0);
        for m in &missing {
            store.update(m.generation, |k| k.finished = true);
            if m.unread == 0 && !m.replaced {
                // Deleted, and all that it was known to have was read.
                tracing::info!(source = %source, file = %m.path.display(), offset = m.offset,
                    "gone while nobody looked; all that it was known to have was read");
                continue;
            }
            errors += 1;
            bytes += m.unread;
            if errors <= TELL_MISSING {
                tracing::error!(
                    source = %source, file = %m.path.display(), read_to = m.offset, bytes_not_read = m.unread,
                    "the file known under this name is gone and its rest is not found: what followed the place up to which it \
                     was settled cannot be read any more. If it is moved to another folder, name that in `rotated_to`"
                );
            }
        }
        if errors > TELL_MISSING {
            tracing::error!(source = %source, files = errors, bytes_not_read = bytes,
                "files are gone whose rest is not found");
        }
        if errors > 0 {
            counters.update(|t| t.error("rest_not_found", errors as u64));
        }
    }
}
