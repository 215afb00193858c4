//! What becomes of files under names that match no pattern: rotated generations and copies beside the file.
//!
//! Beside `app.log`, the names `app.log.1`, `app.log-20250101`, `app-20250101.log` and their like are its rotated
//! generations. They are looked at when `app.log` is found to be another file than before, or to begin anew:
//!
//! - the generation read last, known by its inode: its rest is read (also when all this happened while the agent was
//!   down);
//! - generations in between, which lived shorter than it took to look: those made after the last one known and before
//!   the present one are read whole;
//! - a copy of what was cut off (copytruncate), known by its beginning and by what stands before our place: its rest is read,
//!   which the original has no more.

use super::checkpoint::Known;
use super::discovery::Entry;
use super::files::{mark_holds, place_at};
use super::identity::{HEAD_BYTES, Head, Identity, Look, Position, look_at, open, read_at};
use super::tail::{Place, Tail};
use super::tailer::{Now, SECOND, Tailer};
use hashbrown::{HashMap, HashSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file that another waits for: its slot and generation.
pub(super) type Turnstile = (usize, u64);

/// What a file was, whose name matches no pattern now.
pub(super) struct Adopted<'a> {
    /// The name under which its lines go on.
    pub(super) name: &'a Path,
    /// What it is a copy of, where it is one.
    pub(super) from: Option<Original>,
}

/// Contents that are gone from their file, and may stand in a copy.
#[derive(Clone, Copy)]
pub(super) struct Original {
    pub(super) generation: u64,
    pub(super) identity: Identity,
    pub(super) head: Head,
    /// Everything before it was read.
    pub(super) at: Position,
    /// Not all of that is settled.
    pub(super) unsettled: bool,
}

/// A file that may be a copy in the making is left alone until it was quiet for that long.
const COPY_TIME: u64 = 5 * SECOND;
/// A copy does not go on growing when it is longer than its original, and is made some day.
const OUTGROWN_TIME: u64 = 60 * SECOND;
const LONGEST_COPY: u64 = 600 * SECOND;
/// A copy that was made longer ago is not taken for one of what has just been cut off: nanoseconds.
const YOUNG: i64 = 600 * SECOND as i64;
/// Most generations adopted between two looks.
const MAX_BETWEEN: usize = 1000;

/// The last file that a path led to, where it leads to none any more.
#[derive(Debug)]
pub(super) struct Lost {
    /// When it was made and last modified.
    since: (i64, i64),
    head: Head,
    turnstile: Option<Turnstile>,
    /// When the path was lost: monotonic nanoseconds.
    pub(super) at: u64,
    /// When its folder was changed, as of the last look for generations in between.
    folder_modified: i64,
}

impl Lost {
    pub(super) fn new(key: usize, tail: &Tail, now: Now) -> Self {
        let since = (tail.identity.birth, tail.looked.1);
        Lost { since, head: tail.head, turnstile: Some((key, tail.generation)), at: now.mono, folder_modified: 0 }
    }
}

/// A file beside another.
pub(super) struct Sibling {
    pub(super) path: PathBuf,
    pub(super) look: Look,
}

/// Whether `path` is what a rotation makes of `of`, beside it.
pub(super) fn is_rotation_of(of: &Path, path: &Path) -> bool {
    let name = |path: &Path| path.file_name().and_then(|n| n.to_str()).map(str::to_owned);
    of.parent() == path.parent() && name(of).zip(name(path)).is_some_and(|(base, name)| is_rotated_name(&base, &name))
}

/// Whether `name` is what a rotation makes of `base`.
pub(super) fn is_rotated_name(base: &str, name: &str) -> bool {
    let joined = |rest: &str| rest.len() > 1 && rest.starts_with(['.', '-', '_']);
    if name.strip_prefix(base).is_some_and(joined) {
        return true;
    }
    base.rsplit_once('.').is_some_and(|(stem, extension)| {
        let middle = name.strip_prefix(stem).and_then(|n| n.strip_suffix(extension)).and_then(|n| n.strip_suffix('.'));
        !stem.is_empty() && middle.is_some_and(joined)
    })
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

/// Whether a name is that of a compressed file.
pub(super) fn is_packed_name(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "gz" || e == "zst")
}

/// Names of which `name` may be a rotated generation.
fn base_names(name: &str) -> impl Iterator<Item = String> + '_ {
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

fn names_in(dir: &Path) -> Vec<OsString> {
    std::fs::read_dir(dir).map(|e| e.flatten().map(|e| e.file_name()).collect()).unwrap_or_default()
}

impl Tailer {
    /// Regular files beside `path` whose names are what a rotation makes of its name.
    pub(super) fn siblings(&self, path: &Path) -> Vec<Sibling> {
        path.parent().map_or_else(Vec::new, |dir| self.siblings_among(path, &names_in(dir)))
    }

    /// As above, with the names in its folder.
    fn siblings_among(&self, path: &Path, names: &[OsString]) -> Vec<Sibling> {
        let Some(base) = path.file_name().and_then(|n| n.to_str()) else { return Vec::new() };
        let mut siblings = Vec::new();
        for name in names {
            if !name.to_str().is_some_and(|name| is_rotated_name(base, name)) {
                continue;
            }
            let path = path.with_file_name(name);
            if let Ok(look) = look_at(&path, false)
                && look.is_file
                && !self.is_own(&path)
            {
                siblings.push(Sibling { path, look });
            }
        }
        siblings
    }

    /// Reads generations that had the name `path` between the file it led to before and the one that it leads to now;
    /// which one the newest has to wait for.
    pub(super) fn adopt_between(&mut self, path: &Path, new: Look, now: Now) -> Option<Turnstile> {
        let lost = self.lost.remove(path)?;
        let last = lost.turnstile;
        self.between(path, lost.since, new.identity.birth, lost.head, last, now).or(last)
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
        let (since, head, last) = (lost.since, lost.head, lost.turnstile);
        let Some(last) = self.between(path, since, 0, head, last, now).filter(|l| Some(*l) != last) else { return };
        if let Some(tail) = &self.tails[last.0] {
            self.lost.insert(path.into(), Lost::new(last.0, tail, now));
        }
    }

    /// Reads generations that had the name `path`. `since`: birth and last modification of the last one known, `until`:
    /// birth of the present one, 0 where there is none.
    fn between(
        &mut self,
        path: &Path,
        since: (i64, i64),
        until: i64,
        head: Head,
        mut last: Option<Turnstile>,
        now: Now,
    ) -> Option<Turnstile> {
        let mut found: Vec<(i64, Sibling)> = Vec::new();
        if self.plan.identity_bytes.is_some() {
            return last;
        }
        for sibling in self.siblings(path) {
            let identity = sibling.look.identity;
            let known = self.store.find(identity).is_some() || self.by_identity.contains_key(&identity);
            if known || is_packed_name(&sibling.path) || self.plan.patterns.matches(&sibling.path) {
                continue;
            }
            let (at, fits) = if identity.birth != 0 && since.0 != 0 {
                (identity.birth, identity.birth > since.0 && (until == 0 || identity.birth <= until))
            } else {
                (sibling.look.modified, sibling.look.modified >= since.1)
            };
            if fits && !self.begins_with(&sibling.path, head) {
                found.push((at, sibling));
            }
        }
        found.sort_by_key(|(at, _)| *at);
        for (_, sibling) in found.into_iter().take(MAX_BETWEEN) {
            let adopted = Adopted { name: path, from: None };
            match self.start(&sibling.path, last, Some(adopted), now) {
                Ok(started) => last = started.or(last),
                Err(error) => self.unreadable(&sibling.path, &error),
            }
        }
        last
    }

    /// Whether a file has this beginning: then it is a copy and no generation of its own.
    fn begins_with(&self, path: &Path, head: Head) -> bool {
        let mut bytes = [0; HEAD_BYTES];
        let read = open(path, false).and_then(|file| read_at(&file, &mut bytes, 0));
        head.len > 0 && read.is_ok_and(|len| head.fits(&bytes[..len]))
    }

    /// Looks for a copy of contents that are gone from `path`, and has its rest read.
    pub(super) fn adopt_copy(&mut self, path: &Path, of: Original, now: Now) -> Option<Turnstile> {
        let Original { head, at, .. } = of;
        if head.len == 0 || self.plan.identity_bytes.is_some() || !self.plan.check_contents {
            return None;
        }
        for sibling in self.siblings(path) {
            let identity = sibling.look.identity;
            let known = self.store.find(identity).is_some() || self.by_identity.contains_key(&identity);
            if known || is_packed_name(&sibling.path) {
                continue;
            }
            if sibling.look.size < at.offset {
                self.pass_over_copy(path, &sibling, of, now);
                continue;
            }
            if !self.begins_with(&sibling.path, head)
                || !open(&sibling.path, false).and_then(|file| mark_holds(&file, at)).unwrap_or(false)
            {
                continue;
            }
            tracing::info!(source = %self.plan.id, file = %path.display(), copy = %sibling.path.display(),
                "what was cut off goes on in its copy");
            self.suspects.remove(&sibling.path);
            let adopted = Adopted { name: path, from: Some(of) };
            match self.start(&sibling.path, None, Some(adopted), now) {
                Ok(started) => return started,
                Err(error) => self.unreadable(&sibling.path, &error),
            }
        }
        None
    }

    /// The writer went on between the copy and the cut, and all of it was read: the copy has nothing new, and stands for
    /// what is not settled. It is known by a full head, and by its youth: what else might begin alike is older.
    fn pass_over_copy(&mut self, path: &Path, sibling: &Sibling, of: Original, now: Now) {
        let birth = sibling.look.identity.birth;
        let young = birth != 0 && birth >= of.identity.birth && now.wall.saturating_sub(birth) < YOUNG;
        if of.head.len as usize != HEAD_BYTES || !young || !self.begins_with(&sibling.path, of.head) {
            return;
        }
        let Ok(at) = open(&sibling.path, false).and_then(|file| place_at(&file, sibling.look.size)) else { return };
        tracing::info!(source = %self.plan.id, file = %path.display(), copy = %sibling.path.display(),
            "a copy of what was cut off, all of which was read");
        self.suspects.remove(&sibling.path);
        let name = Arc::from(&*sibling.path);
        let known = Known { head: of.head, at, ..Known::new(sibling.look.identity, &name, now.seconds()) };
        self.store.add_copy(known, of.unsettled.then_some(of.generation));
    }

    /// Whether a new file may be a copy, still in the making, of one that will be cut off. It is left alone for a while.
    pub(super) fn is_suspect(&mut self, path: &Path, look: Look, now: Now) -> bool {
        if self.plan.once
            || self.first_start && !self.scanned
            || !self.plan.check_contents
            || self.plan.identity_bytes.is_some()
            || self.store.find(look.identity).is_some()
        {
            self.suspects.remove(path);
            return false;
        }
        let Some(outgrown) = self.begins_like_a_live_one(path, look) else {
            self.suspects.remove(path);
            return false;
        };
        let (of, since) = *self.suspects.entry(path.to_owned()).or_insert((look.identity, now.mono));
        let since = if of == look.identity { since } else { now.mono };
        self.suspects.insert(path.to_owned(), (look.identity, since));
        let quiet = now.wall.saturating_sub(look.modified) as u64;
        let watched = now.mono - since;
        let never_quiet = watched >= OUTGROWN_TIME && outgrown || watched >= LONGEST_COPY;
        if watched >= COPY_TIME && quiet >= COPY_TIME || never_quiet {
            self.suspects.remove(path);
            return false;
        }
        self.next_scan = self.next_scan.min(now.mono + SECOND);
        true
    }

    /// Whether it is longer than the file that is read and begins alike, if there is one.
    fn begins_like_a_live_one(&self, path: &Path, look: Look) -> Option<bool> {
        let name = path.file_name().and_then(|n| n.to_str())?;
        base_names(name).find_map(|base| {
            let tail = self.tails[*self.by_path.get(&*path.with_file_name(base))?].as_ref()?;
            // A copy is younger than its original, which still has its name.
            let (birth, of) = (look.identity.birth, tail.identity.birth);
            let there = look_at(&tail.path, self.plan.follow_symlinks);
            let there = there.ok().filter(|l| l.identity == tail.identity)?;
            if birth != 0 && birth < of {
                return None;
            }
            // Too short to tell is likely enough, for the moment.
            let alike =
                tail.head.len > 0 && (look.size < u64::from(tail.head.len) || self.begins_with(path, tail.head));
            alike.then_some(look.size > there.size)
        })
    }

    /// At the first look through the folders, files known from before come first: what became of them is known when the
    /// others are looked at.
    pub(super) fn known_first(&self, entries: &mut [Entry]) {
        let current = self.store.iter().filter(|(_, k)| k.current);
        let known: HashSet<(&Path, u64)> = current.map(|(_, k)| (&*k.path, k.identity.inode)).collect();
        // A name that a rotation gives may have been given to another file since, with the number of one that is gone.
        let is_the_same = |e: &Entry| {
            let name = e.path.file_name().and_then(|n| n.to_str());
            name.is_none_or(|n| base_names(n).next().is_none())
                || look_at(&e.path, false).is_ok_and(|look| self.store.find(look.identity).is_some())
        };
        if !known.is_empty() {
            entries.sort_by_cached_key(|e| !(known.contains(&(&*e.path, e.inode)) && is_the_same(e)));
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
        let mut names: HashMap<PathBuf, Vec<OsString>> = HashMap::new();
        for (path, mut generations) in missing {
            // Several that were found at one start have their numbers in the order of finding.
            generations.sort_by_key(|(generation, known)| (known.identity.birth, *generation));
            let present = self.by_path.get(&path).copied();
            let newest = generations.last().map(|(_, k)| k.clone());
            let (mut last, mut lost): (Option<Turnstile>, bool) = (None, false);
            let there = look_at(&path, self.plan.follow_symlinks).map(|l| l.identity);
            if newest.as_ref().is_some_and(|k| there.is_ok_and(|identity| identity == k.identity)) {
                // It has its name, and is not read for another reason.
                continue;
            }
            let dir = path.parent().unwrap_or(&path);
            let names = names.entry(dir.to_owned()).or_insert_with(|| names_in(dir));
            let siblings = self.siblings_among(&path, names);
            for (_, known) in generations {
                let found = siblings.iter().find(|s| s.look.identity == known.identity);
                match found {
                    Some(sibling) if sibling.look.size > known.at.offset => {
                        let adopted = Adopted { name: &path, from: None };
                        match self.start(&sibling.path, last, Some(adopted), now) {
                            Ok(started) => last = started.or(last),
                            Err(error) => self.unreadable(&sibling.path, &error),
                        }
                    }
                    Some(_) => {}
                    None => lost = true,
                }
            }
            if lost {
                last = self.adopt_packed(&path, &siblings, last, now);
            }
            let until = present.and_then(|key| self.tails[key].as_ref()).map_or(0, |t| t.identity.birth);
            if let Some(newest) = newest
                && present.and_then(|key| self.tails[key].as_ref()).is_none_or(|t| t.generation >= self.first_new)
            {
                let since = (newest.identity.birth, newest.touched.saturating_mul(SECOND as i64));
                last = self.between(&path, since, until, newest.head, last, now);
                if present.is_none() {
                    let lost = Lost { since, head: newest.head, turnstile: last, at: now.mono, folder_modified: 0 };
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

    /// A file whose name and handle are both gone: it may lie beside its old name.
    pub(super) fn gone_without_handle(&mut self, key: usize, now: Now) {
        let Some(tail) = &self.tails[key] else { return };
        if tail.place == Place::Closed || tail.packed.is_some() {
            return self.close(key);
        }
        let (identity, name) = (tail.identity, tail.path.clone());
        let found = self.siblings(&name).into_iter().find(|s| s.look.identity == identity);
        let file = found.and_then(|s| open(&s.path, false).ok().map(|file| (file, s.path)));
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
            None => self.close(key),
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
        assert!(is_rotated_name("noext", "noext.1"));
        assert!(!is_rotated_name(".hidden", "a.hidden"));
    }
}
