//! What becomes of files under names that match no pattern: rotated generations and copies beside the file.
//!
//! Beside `app.log`, the names `app.log.1`, `app.log-20250101`, `app-20250101.log` and their like are its rotated
//! generations, and so are files of these names, or of its own, that match `rotated_to`. They are looked at when `app.log` is
//! found to be another file than before, or to begin anew:
//!
//! - the generation read last, known by its inode: its rest is read (also when all this happened while the agent was
//!   down), whatever its name is now, as long as it is in its folder or in one of `rotated_to`;
//! - a copy of what was cut off (copytruncate), proven by the running hash over all that was read: its rest is read. One that
//!   is shorter than what was read (the writer went on between the copy and the cut) is proven as far as a place that was
//!   passed on the way; it must have all that was read before it was made, else it is no copy of this;
//! - generations in between, which lived shorter than it took to look: those made after the last look and before
//!   the present file are read whole, however they begin;
//! - archives of them (see [`packed`](super::packed)).
//!
//! What was read of a file and whose rest is found nowhere is told as an error, with the bytes that are known to be missing.

use super::checkpoint::Known;
use super::discovery::{Entry, Found};
use super::identity::{HEAD_BYTES, Identity, Look, Position, look_at, look_into, open, read_at};
use super::pending::Pending;
use super::proof::{self, AT_ONCE};
use super::tail::{Past, Place, Tail};
use super::tailer::{Now, Tailer};
use hashbrown::{HashMap, HashSet};
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file that another waits for: its slot and generation.
pub(super) type Predecessor = (usize, u64);

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

/// Most generations adopted between two looks.
const MAX_BETWEEN: usize = 1000;
/// Looks at a folder in which names wander.
const MOST_LOOKS: usize = 5;
/// Generations without a trace that are told one by one.
const TELL_MISSING: usize = 10;

/// The last file that a path led to, where it leads to none any more.
#[derive(Debug)]
pub(super) struct Lost {
    /// When it was made and last modified.
    since: (i64, i64),
    predecessor: Option<Predecessor>,
    /// The generation it was.
    generation: u64,
    /// When the path was lost: monotonic nanoseconds.
    pub(super) at: u64,
    /// When its folder was changed, as of the last look for generations in between.
    folder_modified: i64,
}

impl Lost {
    pub(super) fn new(key: usize, tail: &Tail, now: Now) -> Self {
        let since = (tail.identity.birth, tail.looked.1);
        let (predecessor, generation) = (Some((key, tail.generation)), tail.generation);
        Lost { since, predecessor, generation, at: now.mono, folder_modified: 0 }
    }
}

/// A file beside another.
#[derive(Clone, Debug)]
pub(super) struct Sibling {
    pub(super) path: PathBuf,
    pub(super) look: Look,
    /// Its name is one that rotations give and nobody else.
    pub(super) is_generation: bool,
}

/// Whether `path` is what a rotation makes of `of`, beside it.
pub(super) fn is_rotation_of(of: &Path, path: &Path) -> bool {
    let names = || name_of(of).zip(name_of(path));
    of.parent() == path.parent() && names().is_some_and(|(base, name)| is_rotated_name(&base, &name))
}

/// Whether `name` may be what a rotation, or whoever makes copies, makes of `base`: good enough where the contents are proven.
pub(super) fn is_rotated_name(base: &str, name: &str) -> bool {
    added(base, name).next().is_some()
}

/// Whether `name` is what a rotation makes of `base`, and nobody else: numbers, dates, and the words that rotations put behind
/// a name. Good enough to read a file for no other reason than its name: `app-error.log` is no generation of `app.log`.
pub(super) fn is_generation_name(base: &str, name: &str) -> bool {
    added(base, name).any(|added| {
        let mut parts = added.split(['.', '-', '_', ':', '@']).filter(|part| !part.is_empty()).peekable();
        parts.peek().is_some() && parts.all(is_part_of_rotation)
    })
}

/// What `name` has more than `base`, behind it or before its extension, without the ending of compressed files.
fn added<'a>(base: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    let bare = PACKED_ENDS.iter().find_map(|end| name.strip_suffix(end)).filter(|bare| bare.len() > 1);
    let joined = |rest: &&str| rest.len() > 1 && rest.starts_with(['.', '-', '_']);
    [Some(name), bare].into_iter().flatten().flat_map(move |name| {
        let behind = name.strip_prefix(base);
        let between = base
            .rsplit_once('.')
            .filter(|(stem, _)| !stem.is_empty())
            .and_then(|(stem, extension)| name.strip_prefix(stem)?.strip_suffix(extension)?.strip_suffix('.'));
        [behind, between].into_iter().flatten().filter(joined)
    })
}

/// A number, a date or time, a month, or one of the words that rotations use.
fn is_part_of_rotation(part: &str) -> bool {
    const WORDS: [&str; 19] = [
        "old", "bak", "back", "backup", "prev", "previous", "orig", "save", "saved", "rotated", "rotate", "archive",
        "archived", "last", "copy", "gz", "zst", "xz", "bz2",
    ];
    const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let lower = part.to_ascii_lowercase();
    // `20250101T100000Z`, `10h`, `w05`.
    let digits = lower.bytes().filter(u8::is_ascii_digit).count();
    let letters = lower.bytes().filter(u8::is_ascii_alphabetic).count();
    digits > 0 && letters <= 2 && digits + letters == lower.len()
        || WORDS.contains(&&*lower)
        || MONTHS.contains(&&*lower)
}

/// Whether a name says by itself that the file is a rotated generation: numbers or a date behind another name.
pub(super) fn is_numbered(name: &str) -> bool {
    base_names(name).any(|base| {
        let rest = name.strip_prefix(&*base).or_else(|| {
            let (stem, extension) = base.rsplit_once('.')?;
            name.strip_prefix(stem)?.strip_suffix(extension)?.strip_suffix('.')
        });
        rest.is_some_and(|rest| {
            rest.bytes().any(|b| b.is_ascii_digit())
                && rest.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_' | b':' | b'T' | b'Z'))
        })
    })
}

/// How names of compressed files end that are read.
pub(super) const PACKED_ENDS: [&str; 4] = [".gz", ".zst", ".xz", ".bz2"];

/// Whether a name is that of a compressed file.
pub(super) fn is_packed_name(path: &Path) -> bool {
    path.extension().and_then(|e| e.to_str()).is_some_and(|e| PACKED_ENDS.iter().any(|end| end[1..] == *e))
}

/// Names of which `name` may be a rotated generation.
pub(super) fn base_names(name: &str) -> impl Iterator<Item = String> + '_ {
    let extension = name.rfind('.').map(|dot| &name[dot..]);
    name.char_indices().skip(1).filter(|(_, c)| matches!(c, '.' | '-' | '_')).flat_map(move |(i, _)| {
        let cut = name[..i].to_owned();
        let with = extension.filter(|e| i + e.len() < name.len()).map(|e| format!("{cut}{e}"));
        [Some(cut), with].into_iter().flatten()
    })
}

/// When something was made, removed or renamed in a folder; 0 where there is none.
fn modified(dir: &Path) -> i64 {
    look_at(dir, true).map_or(0, |look| look.modified)
}

/// The names in a folder, with their inodes; none where there is no such folder.
///
/// Errors: nobody can look into it now (too many open files, no permission). Nothing is known to be gone then.
fn names_in(dir: &Path) -> io::Result<Vec<(OsString, u64)>> {
    let name = |e: std::fs::DirEntry| (e.file_name(), std::os::unix::fs::DirEntryExt::ino(&e));
    match std::fs::read_dir(dir) {
        Ok(entries) => entries.map(|entry| entry.map(name)).collect(),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Names in folders, each looked into once.
#[derive(Default)]
struct Folders(HashMap<PathBuf, Vec<(OsString, u64)>>);

impl Folders {
    fn names(&mut self, dir: &Path) -> io::Result<&[(OsString, u64)]> {
        if !self.0.contains_key(dir) {
            self.0.insert(dir.to_owned(), names_in(dir)?);
        }
        Ok(self.0.get(dir).map_or(&[], Vec::as_slice))
    }
}

/// Most links on the way from a path to a file.
const MOST_LINKS: usize = 8;

/// Where rotations of a file happen that is found at `path`: there, and where the link leads that stands there.
fn homes(path: &Path) -> Vec<PathBuf> {
    let mut homes = vec![path.to_owned()];
    while let Some(target) = homes.last().and_then(|home| std::fs::read_link(home).ok())
        && homes.len() <= MOST_LINKS
    {
        let home = homes.last().and_then(|home| home.parent()).map_or(target.clone(), |dir| dir.join(&target));
        homes.push(home);
    }
    homes
}

/// A file's name, for comparing it with others.
fn name_of(path: &Path) -> Option<std::borrow::Cow<'_, str>> {
    path.file_name().map(|name| name.to_string_lossy())
}

impl Tailer {
    /// Regular files beside `path` (or beside what it links to), or where `rotated_to` says, whose names are what a rotation
    /// makes of its name.
    ///
    /// Errors: a folder cannot be looked into now.
    pub(super) fn siblings(&self, path: &Path) -> io::Result<Vec<Sibling>> {
        self.siblings_among(path, &mut Folders::default(), &self.rotated_elsewhere())
    }

    /// As above, with the names in folders and the files elsewhere.
    fn siblings_among(&self, path: &Path, folders: &mut Folders, elsewhere: &[Sibling]) -> io::Result<Vec<Sibling>> {
        let mut siblings: Vec<Sibling> = Vec::new();
        for home in homes(path) {
            let (Some(base), Some(dir)) = (name_of(&home), home.parent()) else { continue };
            let beside = folders.names(dir)?.iter().filter(|(name, _)| is_rotated_name(&base, &name.to_string_lossy()));
            let beside: Vec<Sibling> =
                beside.filter_map(|(name, _)| self.sibling(home.with_file_name(name), &base)).collect();
            siblings.extend(beside);
            for other in elsewhere {
                let name = name_of(&other.path);
                if other.path.parent() != home.parent()
                    && name.is_some_and(|n| n == base || is_rotated_name(&base, &n))
                    && let Some(other) = self.sibling(other.path.clone(), &base)
                {
                    siblings.push(other);
                }
            }
        }
        Ok(siblings)
    }

    /// The file at `path` beside another whose name is `base`.
    fn sibling(&self, path: PathBuf, base: &str) -> Option<Sibling> {
        let look = look_at(&path, false).ok()?;
        let is_generation = name_of(&path).is_some_and(|name| name == base || is_generation_name(base, &name));
        (look.is_file && !self.is_own(&path)).then_some(Sibling { path, look, is_generation })
    }

    /// Files that match `rotated_to`.
    fn rotated_elsewhere(&self) -> Vec<Sibling> {
        if self.plan.rotated_to.is_empty() {
            return Vec::new();
        }
        let mut found = Found::default();
        self.plan.rotated_to.walk(self.plan.follow_symlinks, &mut found);
        found.entries.into_iter().filter_map(|e| self.sibling(e.path, "")).collect()
    }

    /// A file of this identity in the folder of `path`, whatever its name, or where `rotated_to` says.
    ///
    /// Errors: a folder cannot be looked into now.
    pub(super) fn find_by_identity(&self, path: &Path, identity: Identity) -> io::Result<Option<Sibling>> {
        self.find_among(path, identity, &mut Folders::default(), &self.rotated_elsewhere())
    }

    /// As above, with the names in folders and the files elsewhere.
    fn find_among(
        &self,
        path: &Path,
        identity: Identity,
        folders: &mut Folders,
        elsewhere: &[Sibling],
    ) -> io::Result<Option<Sibling>> {
        for home in homes(path) {
            let Some(dir) = home.parent() else { continue };
            let beside = folders.names(dir)?.iter().filter(|(_, inode)| *inode == identity.inode);
            let mut beside = beside.filter_map(|(name, _)| self.sibling(home.with_file_name(name), ""));
            if let Some(found) = beside.find(|s| s.look.identity == identity) {
                return Ok(Some(found));
            }
        }
        Ok(elsewhere.iter().find(|s| s.look.identity == identity).cloned())
    }

    /// Reads generations that had the name `path` between the file it led to before and the one that it leads to now;
    /// which one the newest has to wait for.
    pub(super) fn adopt_between(&mut self, path: &Path, new: Look, now: Now) -> Option<Predecessor> {
        let lost = self.lost.remove(path)?;
        let last = lost.predecessor;
        match self.between(path, lost.since, new.identity.birth, lost.generation, last, now) {
            Ok(adopted) => adopted.or(last),
            Err(_) => {
                // Looked for again with the next look through the folders, as those that are missing.
                self.unlooked.push((path.to_owned(), lost, new.identity.birth));
                last
            }
        }
    }

    /// Looks again for generations in between where a folder could not be looked into.
    pub(super) fn adopt_unlooked(&mut self, now: Now) {
        for (path, lost, until) in std::mem::take(&mut self.unlooked) {
            if self.between(&path, lost.since, until, lost.generation, lost.predecessor, now).is_err() {
                self.unlooked.push((path, lost, until));
            }
        }
    }

    /// The same for all paths that led to a file before and lead to none now.
    pub(super) fn adopt_all_missed(&mut self, now: Now) {
        // One look at each folder, however many were lost in it.
        let mut folders: HashMap<&Path, i64> = HashMap::new();
        let mut paths: Vec<PathBuf> = Vec::new();
        for (path, lost) in &self.lost {
            let Some(dir) = path.parent() else { continue };
            let folder = *folders.entry(dir).or_insert_with(|| modified(dir));
            if lost.folder_modified != folder && !self.by_path.contains_key(path.as_path()) {
                paths.push(path.clone());
            }
        }
        drop(folders);
        for path in paths {
            self.adopt_missed(&path, now);
        }
    }

    /// As above, where `path` leads to no file at this moment.
    pub(super) fn adopt_missed(&mut self, path: &Path, now: Now) {
        let folder = path.parent().map_or(0, modified);
        let Some(lost) = self.lost.get_mut(path) else { return };
        if std::mem::replace(&mut lost.folder_modified, folder) == folder {
            return;
        }
        let (since, generation, last) = (lost.since, lost.generation, lost.predecessor);
        let adopted = match self.between(path, since, 0, generation, last, now) {
            Ok(adopted) => adopted.filter(|l| Some(*l) != last),
            Err(_) => {
                self.lost.get_mut(path).into_iter().for_each(|lost| lost.folder_modified = 0);
                None
            }
        };
        let Some(last) = adopted else { return };
        if let Some(tail) = &self.tails[last.0] {
            self.lost.insert(path.into(), Lost::new(last.0, tail, now));
        }
    }

    /// Reads generations that had the name `path`, archives of them included. `since`: birth and last modification of the last
    /// one known, which was `generation`; `until`: birth of the present one, 0 where there is none.
    ///
    /// Errors: a folder cannot be looked into now.
    pub(super) fn between(
        &mut self,
        path: &Path,
        since: (i64, i64),
        until: i64,
        generation: u64,
        mut last: Option<Predecessor>,
        now: Now,
    ) -> io::Result<Option<Predecessor>> {
        if self.plan.identity_bytes.is_some() {
            return Ok(last);
        }
        // While names wander (`app.log.1` becomes `app.log.2`), another look finds what this one missed.
        for _ in 0..MOST_LOOKS {
            let siblings = self.siblings(path)?;
            let (adopted, wandered) = self.adopt_those_between(path, &siblings, since, until, generation, last, now);
            last = adopted;
            if !wandered {
                // Of those that are made of what was written since.
                let newer: Vec<Sibling> =
                    siblings.into_iter().filter(|s| s.is_generation && s.look.modified >= since.1).collect();
                return Ok(self.adopt_packed(path, &newer, since.1 - 1, last, now));
            }
        }
        Ok(last)
    }

    /// As above, of these; whether one had another name, or none, when it was opened.
    #[expect(clippy::too_many_arguments, reason = "what is known of a gap between generations")]
    fn adopt_those_between(
        &mut self,
        path: &Path,
        siblings: &[Sibling],
        since: (i64, i64),
        until: i64,
        generation: u64,
        mut last: Option<Predecessor>,
        now: Now,
    ) -> (Option<Predecessor>, bool) {
        let mut found: Vec<(i64, &Sibling)> = Vec::new();
        for sibling in siblings {
            if !sibling.is_generation
                || self.is_known(sibling.look.identity)
                || is_packed_name(&sibling.path)
                || self.plan.patterns.matches(&sibling.path)
            {
                continue;
            }
            let identity = sibling.look.identity;
            let (at, fits) = if identity.birth != 0 && since.0 != 0 {
                // What was made after the present one may be a copy of what that one held before it was cut off. Times of birth
                // come from a coarse clock: several files may have the same.
                let later = until != 0 && identity.birth > until;
                (identity.birth, identity.birth >= since.0 && !(later && begins_with_all_of(path, sibling)))
            } else {
                (sibling.look.modified, sibling.look.modified >= since.1)
            };
            if fits && !self.was_read(sibling, generation) {
                found.push((at, sibling));
            }
        }
        found.sort_by_key(|(at, _)| *at);
        let mut wandered = false;
        for (_, sibling) in found.into_iter().take(MAX_BETWEEN) {
            let (adopted, is_it) = self.adopt_whole(path, sibling, last, now);
            (last, wandered) = (adopted, wandered || !is_it);
        }
        (last, wandered)
    }

    /// Whether a file is known by its identity, or waits.
    pub(super) fn is_known(&self, identity: Identity) -> bool {
        self.store.find(identity).is_some()
            || self.by_identity.contains_key(&identity)
            || self.pending.contains_key(&identity)
    }

    /// Whether what a file holds is known: it is being read, waits, or is as it was when all of it was settled. One that was
    /// written anew since (`cp app.log app.log.1` over the copy of yesterday) is not.
    pub(super) fn is_taken(&self, sibling: &Sibling) -> bool {
        let identity = sibling.look.identity;
        if self.by_identity.contains_key(&identity) || self.pending.contains_key(&identity) {
            return true;
        }
        self.store.find(identity).is_some_and(|(_, known)| {
            known.changed != 0 && known.changed == sibling.look.changed
                || sibling.look.size == known.at.offset && known.modified == sibling.look.modified
        })
    }

    /// Reads a file under the name `path` that had that name; whether it was the file that was seen.
    fn adopt_whole(
        &mut self,
        path: &Path,
        sibling: &Sibling,
        last: Option<Predecessor>,
        now: Now,
    ) -> (Option<Predecessor>, bool) {
        let opened = open(&sibling.path, self.plan.follow_symlinks).and_then(|file| Ok((look_into(&file)?, file)));
        let started = match opened {
            Ok((look, _)) if look.identity != sibling.look.identity => return (last, false),
            Ok((look, file)) => {
                let adopted = Adopted { name: path, from: None, since: 0 };
                self.start_file(&sibling.path, file, look, last, Some(adopted), now)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return (last, false),
            Err(error) => Err(error),
        };
        match started {
            Ok(started) => (started.or(last), true),
            Err(error) => {
                self.unreadable(&sibling.path, &error);
                (last, true)
            }
        }
    }

    /// Whether it is proven that all of a file was read, as what this generation is.
    fn was_read(&self, sibling: &Sibling, generation: u64) -> bool {
        let live = self.tails.iter().flatten().find(|t| t.generation == generation).map(|t| t.at);
        let Some(at) = live.or_else(|| self.store.get(generation).map(|k| k.at)) else { return false };
        at.is_proof()
            && sibling.look.size == at.offset
            && at.offset <= AT_ONCE
            && open(&sibling.path, false).and_then(|file| proof::holds(self.store.hasher, &file, at)).unwrap_or(false)
    }

    /// Looks for a copy of contents that are gone from `path`, and has its rest read, and for generations made since; whom
    /// the new contents have to wait for, and whether there is a copy.
    pub(super) fn adopt_copy(&mut self, path: &Path, of: &Original, now: Now) -> Copies {
        let waiting: Vec<Identity> =
            self.pending.iter().filter(|(_, p)| p.may_copy(of.generation)).map(|(identity, _)| *identity).collect();
        let mut candidates: Vec<(i64, Candidate)> = Vec::new();
        for identity in waiting {
            if let Some(pending) = self.pending.remove(&identity) {
                self.open -= 1;
                candidates.push((identity.birth, Candidate::Waiting(pending)));
            }
        }
        let siblings = self.siblings(path).unwrap_or_else(|error| {
            self.unreadable(path.parent().unwrap_or(path), &error);
            Vec::new()
        });
        if self.plan.identity_bytes.is_none() && self.plan.check_contents {
            for sibling in &siblings {
                if !self.is_taken(sibling)
                    && !is_packed_name(&sibling.path)
                    && !candidates.iter().any(|(_, c)| c.look().identity == sibling.look.identity)
                    && let Ok(file) = open(&sibling.path, false)
                {
                    candidates.push((sibling.look.identity.birth, Candidate::Found(sibling.clone(), file)));
                }
            }
        }
        // The oldest is the copy of what is gone; later ones are copies of what came after it.
        candidates.sort_by_key(|(birth, _)| *birth);
        let (mut last, mut copied, mut has_all) = (None, false, false);
        for (birth, candidate) in candidates {
            let goal = if copied { None } else { self.copied(of, &candidate, birth) };
            match (goal, candidate) {
                (Some((goal, proven)), candidate) => {
                    copied = true;
                    has_all = has_rest(candidate.file().0, of);
                    self.store.update(of.generation, |k| k.finished = true);
                    let (copy, file, look) = candidate.parts();
                    tracing::info!(source = %self.plan.id, file = %path.display(), copy = %copy.display(),
                        offset = goal.offset, "what was cut off goes on in its copy");
                    if proven {
                        let adopted = Adopted { name: path, from: Some((Some(of.clone()), goal)), since: 0 };
                        match self.start_file(&copy, file, look, None, Some(adopted), now) {
                            Ok(started) => last = started.or(last),
                            Err(error) => self.unreadable(&copy, &error),
                        }
                    } else {
                        self.prove_copy(&copy, file, look, (of.clone(), goal), path, now);
                    }
                }
                (None, Candidate::Waiting(pending)) => self.take_up(pending, None, now),
                (None, Candidate::Found(sibling, _)) => {
                    // One that matches is found as any other file.
                    let since = if birth != 0 { birth > of.since } else { sibling.look.modified >= of.since };
                    if since && sibling.is_generation && !self.plan.patterns.matches(&sibling.path) {
                        last = self.adopt_whole(path, &sibling, last, now).0;
                    }
                }
            }
        }
        if !copied && self.plan.identity_bytes.is_none() {
            last = self.adopt_packed(path, &siblings, of.since, last, now);
        }
        Copies { last, found: copied, has_all }
    }

    /// Up to where a file holds what was read of the original, and whether that is proven already.
    fn copied(&self, of: &Original, candidate: &Candidate, birth: i64) -> Option<(Position, bool)> {
        let (file, look) = candidate.file();
        let look = look_into(file).unwrap_or(look);
        if of.at.offset == 0 {
            // Nothing is passed over: the unfinished line need not be given in a piece.
            return (has_rest(file, of) && !of.unfinished.is_empty()).then_some((of.at, true));
        }
        let goal = if look.size >= of.at.offset {
            of.at
        } else {
            // All that was read before it was made must be in it.
            let least = of.past.iter().filter(|p| p.modified < birth).map(|p| p.at.offset).max();
            if birth == 0 || least.is_none_or(|least| look.size < least) {
                return None;
            }
            of.past.iter().map(|p| p.at).filter(|at| at.offset <= look.size).max_by_key(|at| at.offset)?
        };
        if !goal.is_proof() {
            return None;
        }
        if goal.offset > AT_ONCE {
            // Likely enough to wait for the proof: it begins and ends alike.
            let mut bytes = [0; HEAD_BYTES];
            read_at(file, &mut bytes, 0).ok()?;
            return super::files::mark_holds(file, goal).is_ok_and(|holds| holds).then_some((goal, false));
        }
        proof::holds(self.store.hasher, file, goal).is_ok_and(|holds| holds).then_some((goal, true))
    }

    /// At the first look through the folders, files known from before come first: what became of them is known when the
    /// others are looked at.
    pub(super) fn known_first(&self, entries: &mut [Entry]) {
        let current = self.store.iter().filter(|(_, k)| k.current);
        let inodes: HashSet<u64> = current.map(|(_, k)| k.identity.inode).collect();
        // An inode may have been given to another file since.
        let is_known = |e: &Entry| {
            inodes.contains(&e.inode) && look_at(&e.path, false).is_ok_and(|l| self.store.find(l.identity).is_some())
        };
        if !inodes.is_empty() {
            entries.sort_by_cached_key(|e| !is_known(e));
        }
    }

    /// After the first look through the folders: files known from before that no pattern leads to any more are sought
    /// beside their old names, and so are generations that came and went meanwhile.
    pub(super) fn adopt_missing(&mut self, now: Now) {
        let mut missing: HashMap<Arc<Path>, Vec<(u64, Known)>> = HashMap::new();
        for (generation, known) in self.store.iter() {
            if known.current && !known.finished && !self.by_identity.contains_key(&known.identity) {
                missing.entry(known.path.clone()).or_default().push((generation, known.clone()));
            }
        }
        missing.retain(|path, _| self.plan.patterns.matches(path));
        let mut folders = Folders::default();
        self.missing_again = false;
        let elsewhere = if missing.is_empty() { Vec::new() } else { self.rotated_elsewhere() };
        for (path, mut generations) in missing {
            // Several that were found at one start have their numbers in the order of finding.
            generations.sort_by_key(|(generation, known)| (known.identity.birth, *generation));
            let present = self.by_path.get(&path).copied();
            let newest = generations.last().cloned();
            let mut last: Option<Predecessor> = None;
            let mut lost: Vec<(u64, Known)> = Vec::new();
            let there = match look_at(&path, self.plan.follow_symlinks) {
                Ok(look) => Some(look.identity),
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => None,
                // A folder on the way lets nobody look, which is told: nothing is known to be gone.
                Err(_) => continue,
            };
            if newest.as_ref().is_some_and(|(_, k)| there == Some(k.identity)) {
                // It has its name, and is not read for another reason.
                continue;
            }
            let Ok(siblings) = self.siblings_among(&path, &mut folders, &elsewhere) else {
                self.missing_again = true;
                continue;
            };
            for (generation, known) in generations {
                // The folders were looked into just now.
                match self.find_among(&path, known.identity, &mut folders, &elsewhere).unwrap_or_default() {
                    Some(sibling) if known.packed || sibling.look.size == known.at.offset && known.at.is_proof() => {
                        self.watch_renamed(generation, &known, &path, &sibling.path);
                    }
                    Some(sibling) => last = self.adopt_whole(&path, &sibling, last, now).0,
                    None if known.left || known.packed => {}
                    None => lost.push((generation, known)),
                }
            }
            let since = lost.iter().map(|(_, k)| k.since()).min();
            if let Some(since) = since {
                last = self.adopt_packed(&path, &siblings, since, last, now);
            }
            for (generation, known) in lost {
                self.missing.push(Missing {
                    generation,
                    path: path.clone(),
                    unread: known.size.saturating_sub(known.at.offset),
                    offset: known.at.offset,
                    replaced: there.is_some(),
                });
            }
            let until = present.and_then(|key| self.tails[key].as_ref()).map_or(0, |t| t.identity.birth);
            if let Some((generation, newest)) = newest
                && present.and_then(|key| self.tails[key].as_ref()).is_none_or(|t| t.generation >= self.first_new)
            {
                let since = (newest.identity.birth, newest.since());
                match self.between(&path, since, until, generation, last, now) {
                    Ok(adopted) => last = adopted,
                    Err(_) => self.missing_again = true,
                }
                if present.is_none() {
                    let (predecessor, at) = (last, now.mono);
                    let lost = Lost { since, predecessor, generation, at, folder_modified: 0 };
                    self.lost.insert(path.to_path_buf(), lost);
                    self.adopt_missed(&path, now);
                }
            }
            if let (Some(key), Some(last)) = (present, last)
                && let Some(tail) = &mut self.tails[key]
            {
                tail.after = Some(last);
            }
        }
    }

    /// Tells of generations whose rest was looked for and found nowhere, as soon as nothing is open that may have it.
    pub(super) fn tell_missing(&mut self) {
        if self.missing.is_empty() || self.is_proving() || self.tails.iter().flatten().any(|t| t.is_deciding()) {
            return;
        }
        let missing = std::mem::take(&mut self.missing);
        let claimed = |m: &Missing| self.store.get(m.generation).is_none_or(|k| k.finished);
        let missing: Vec<Missing> = missing.into_iter().filter(|m| !claimed(m)).collect();
        let (mut errors, mut bytes) = (0, 0);
        for m in &missing {
            self.store.update(m.generation, |k| k.finished = true);
            if m.unread == 0 && !m.replaced {
                // Deleted, and all that it was known to have was read.
                tracing::info!(source = %self.plan.id, file = %m.path.display(), offset = m.offset,
                    "gone while nobody looked; all that it was known to have was read");
                continue;
            }
            errors += 1;
            bytes += m.unread;
            if errors <= TELL_MISSING {
                tracing::error!(
                    source = %self.plan.id, file = %m.path.display(), read_to = m.offset, bytes_not_read = m.unread,
                    "the file known under this name is gone and its rest is not found: what followed the place up to which it \
                     was settled cannot be read any more. If it is moved to another folder, name that in `rotated_to`"
                );
            }
        }
        if errors > TELL_MISSING {
            tracing::error!(source = %self.plan.id, files = errors, bytes_not_read = bytes,
                "files are gone whose rest is not found");
        }
        if errors > 0 {
            self.counters.update(|t| t.error("rest_not_found", errors as u64));
        }
    }

    /// A file whose name and handle are both gone: it may lie beside its old name.
    pub(super) fn gone_without_handle(&mut self, key: usize, now: Now) {
        let Some(tail) = &self.tails[key] else { return };
        if tail.place == Place::Closed {
            return self.close(key);
        }
        let (identity, name) = (tail.identity, tail.path.clone());
        let file = self.find_by_identity(&name, identity).and_then(|found| match found {
            Some(found) => match open(&found.path, false) {
                Ok(file) => Ok(Some((file, found.path))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            },
            None => Ok(None),
        });
        let file = match file {
            Ok(file) => file,
            Err(_) if self.plan.once => None,
            Err(_) => {
                // Nobody can look now (too many open files, no permission): nothing is known to be gone.
                if let Some(mut tail) = self.tails[key].take() {
                    self.wait_longer(key, &mut tail, now);
                    self.tails[key] = Some(tail);
                }
                return;
            }
        };
        match file {
            Some((file, path)) => {
                let Some(mut tail) = self.tails[key].take() else { return };
                tail.path = path.into();
                tail.place = Place::Gone { since: now.mono, read: false };
                tail.file = Some(file);
                self.open += 1;
                self.queue(key, &mut tail);
                self.tails[key] = Some(tail);
            }
            None => {
                let unread = tail.unread();
                if unread > 0 && tail.packed.is_none() {
                    tracing::error!(
                        source = %self.plan.id, file = %name.display(), read_to = tail.at.offset, bytes_not_read = unread,
                        "gone before it was read to its end, while its handle was closed: the rest is lost"
                    );
                    self.counters.update(|t| t.error("rest_not_found", 1));
                }
                self.close(key);
            }
        }
    }
}

/// Whether the file at `path` begins with all that another one holds.
pub(super) fn begins_with_all_of(path: &Path, other: &Sibling) -> bool {
    let same = || -> std::io::Result<bool> {
        let (ours, theirs) = (open(path, true)?, open(&other.path, false)?);
        let mut bytes = [vec![0; 128 << 10], vec![0; 128 << 10]];
        let mut at = 0;
        while at < other.look.size {
            let lens = [read_at(&ours, &mut bytes[0], at)?, read_at(&theirs, &mut bytes[1], at)?];
            if lens[1] == 0 {
                break;
            }
            if lens[0] < lens[1] || bytes[0][..lens[1]] != bytes[1][..lens[1]] {
                return Ok(false);
            }
            at += lens[1] as u64;
        }
        Ok(true)
    };
    other.look.size <= AT_ONCE && same().unwrap_or(false)
}

/// Whether a file has the unfinished line that stood behind what was read.
pub(super) fn has_rest(file: &OwnedFd, of: &Original) -> bool {
    let mut rest = vec![0; of.unfinished.len()];
    read_at(file, &mut rest, of.reading).is_ok_and(|len| rest[..len] == *of.unfinished)
}

/// What may be a copy.
enum Candidate {
    Waiting(Pending),
    Found(Sibling, OwnedFd),
}

impl Candidate {
    fn look(&self) -> Look {
        match self {
            Candidate::Waiting(pending) => pending.look,
            Candidate::Found(sibling, _) => sibling.look,
        }
    }

    fn file(&self) -> (&OwnedFd, Look) {
        match self {
            Candidate::Waiting(pending) => (&pending.file, pending.look),
            Candidate::Found(sibling, file) => (file, sibling.look),
        }
    }

    fn parts(self) -> (PathBuf, OwnedFd, Look) {
        match self {
            Candidate::Waiting(pending) => (pending.path, pending.file, pending.look),
            Candidate::Found(sibling, file) => (sibling.path, file, sibling.look),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_dates_behind_a_name_are_known() {
        for name in ["app.log.1", "app.log-20250101", "app-2025-01-01.log", "app.log.2025-01-01T10:00:00Z"] {
            assert!(is_numbered(name), "{name}");
        }
        for name in ["app.log", "app-error.log", "1.log", "app.log.old"] {
            assert!(!is_numbered(name), "{name}");
        }
    }

    #[test]
    fn rotated_names_are_told_from_others() {
        for name in ["app.log.1", "app.log-20250101", "app.log_old", "app-20250101.log", "app.1.log"] {
            assert!(is_rotated_name("app.log", name), "{name}");
            assert!(base_names(name).any(|b| b == "app.log"), "{name}");
        }
        for name in ["app.log", "app.logs", "apple.log", "app.log.", "other.log", "app.txt", "appx.1.log"] {
            assert!(!is_rotated_name("app.log", name), "{name}");
        }
        for name in
            ["app-20250101.log.gz", "app-2025-01-01.log.zst", "app.log.2.gz", "app.log.3.xz", "app-20250101.log.bz2"]
        {
            assert!(is_rotated_name("app.log", name) && is_generation_name("app.log", name), "{name}");
        }
        for name in
            ["app.log.1", "app.log-20250101", "app.log_old", "app.1.log", "app.log.2025-01-01T10:00:00Z", "app.log.bak"]
        {
            assert!(is_generation_name("app.log", name), "{name}");
        }
        for name in
            ["app-2025-Jan-01.log", "app.log.20250101-1735689600", "app.log.old.1", "app-2025-01-01T10-00-00.123.log"]
        {
            assert!(is_generation_name("app.log", name), "{name}");
        }
        for name in ["app-error.log", "app_audit.log", "app.log.pos", "app-debug.log", "app.log.swp", "app-v2beta.log"]
        {
            assert!(!is_generation_name("app.log", name), "{name}");
        }
        assert!(is_rotated_name("noext", "noext.1"));
        assert!(!is_rotated_name(".hidden", "a.hidden"));
    }
}
