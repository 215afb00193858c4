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
use super::discovery::Entry;
use super::files::{Files, Opened};
use super::identity::{HEAD_BYTES, Identity, Links, Look, Position, Predecessor, look_at, look_into, open, read_at};
use super::names::is_packed_name;
use super::now::Now;
use super::proof::{self, AT_ONCE, mark_holds};
use super::renamed::{Renamed, Seen};
use super::rotations::{Adopted, Copies, Gap, Missing, Original};
use super::siblings::{Sibling, Siblings, begins_with_all_of};
use super::tail::TailState;
use super::waiting::Pending;
use hashbrown::{HashMap, HashSet};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Most generations adopted between two looks.
const MAX_BETWEEN: usize = 1000;
/// Looks at a folder in which names wander.
const MOST_LOOKS: usize = 5;

impl Files {
    /// Reads generations that had the name `path` between the file it led to before and the one that it leads to now;
    /// which one the newest has to wait for.
    pub(super) fn adopt_between(&mut self, path: &Path, new: Look, now: Now) -> Option<Predecessor> {
        let gap = self.rotations.found(path, new.identity.birth)?;
        match self.between(path, gap, now) {
            Ok(adopted) => adopted.or(gap.last),
            Err(_) => {
                // Looked for again with the next look through the folders, as those that are missing.
                self.rotations.put_off(path, gap);
                gap.last
            }
        }
    }

    /// Looks again for generations in between where a folder could not be looked into.
    pub(super) fn adopt_unlooked(&mut self, now: Now) {
        for (path, gap) in self.rotations.take_put_off() {
            if self.between(&path, gap, now).is_err() {
                self.rotations.put_off(&path, gap);
            }
        }
    }

    /// The same for all paths that led to a file before and lead to none now.
    pub(super) fn adopt_all_missed(&mut self, now: Now) {
        for path in self.rotations.changed() {
            if self.tails.at_path(&path).is_none() {
                self.adopt_missed(&path, now);
            }
        }
    }

    /// As above, where `path` leads to no file at this moment.
    pub(super) fn adopt_missed(&mut self, path: &Path, now: Now) {
        let Some(gap) = self.rotations.gap(path) else { return };
        match self.between(path, gap, now) {
            Ok(Some(last)) if Some(last) != gap.last => {
                if let Some(tail) = self.tails.get(last.0) {
                    self.rotations.lose(path, last.0, tail, now);
                }
            }
            Ok(_) => {}
            Err(_) => self.rotations.look_again(path),
        }
    }

    /// Reads generations that had the name `path` within a gap, archives of them included; whom the next has to wait for.
    ///
    /// Errors: a folder cannot be looked into now.
    fn between(&mut self, path: &Path, mut gap: Gap, now: Now) -> io::Result<Option<Predecessor>> {
        if self.plan.identity_bytes.is_some() {
            return Ok(gap.last);
        }
        // While names wander (`app.log.1` becomes `app.log.2`), another look finds what this one missed.
        for _ in 0..MOST_LOOKS {
            let siblings = Siblings::new(&self.plan).of(path)?;
            let (adopted, wandered) = self.adopt_those_between(path, &siblings, &gap, now);
            gap.last = adopted;
            if !wandered {
                // Of those that are made of what was written since.
                let modified = gap.since.1;
                let newer: Vec<Sibling> =
                    siblings.into_iter().filter(|s| s.is_generation && s.look.modified >= modified).collect();
                return Ok(self.adopt_packed(path, &newer, modified - 1, gap.last, now));
            }
        }
        Ok(gap.last)
    }

    /// As above, of these; whether one had another name, or none, when it was opened.
    fn adopt_those_between(
        &mut self,
        path: &Path,
        siblings: &[Sibling],
        gap: &Gap,
        now: Now,
    ) -> (Option<Predecessor>, bool) {
        let Gap { since, generation, mut last, until } = *gap;
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
        self.store.find(identity).is_some() || self.tails.of_identity(&identity).is_some() || self.waiting.has(identity)
    }

    /// Whether what a file holds is known: it is being read, waits, or is as it was when all of it was settled. One that was
    /// written anew since (`cp app.log app.log.1` over the copy of yesterday) is not.
    pub(super) fn is_taken(&self, sibling: &Sibling) -> bool {
        let identity = sibling.look.identity;
        if self.tails.of_identity(&identity).is_some() || self.waiting.has(identity) {
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
        let opened = open(&sibling.path, self.plan.links).and_then(|file| Ok((look_into(&file)?, file)));
        let started = match opened {
            Ok((look, _)) if look.identity != sibling.look.identity => return (last, false),
            Ok((look, file)) => {
                let adopted = Adopted { name: path, from: None, since: 0 };
                self.start_file(Opened { path: &sibling.path, file, look }, last, Some(adopted), now)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return (last, false),
            Err(error) => Err(error),
        };
        match started {
            Ok(started) => (started.or(last), true),
            Err(error) => {
                self.unreadable.tell(&sibling.path, &error);
                (last, true)
            }
        }
    }

    /// Whether it is proven that all of a file was read, as what this generation is.
    fn was_read(&self, sibling: &Sibling, generation: u64) -> bool {
        let live = self.tails.iter().find(|t| t.generation == generation).map(|t| t.at);
        let Some(at) = live.or_else(|| self.store.get(generation).map(|k| k.at)) else { return false };
        at.is_proof()
            && sibling.look.size == at.offset
            && at.offset <= AT_ONCE
            && open(&sibling.path, Links::Keep)
                .and_then(|file| proof::holds(self.store.hasher, &file, at))
                .unwrap_or(false)
    }

    /// Looks for a copy of contents that are gone from `path`, and has its rest read, and for generations made since; whom
    /// the new contents have to wait for, and whether there is a copy.
    pub(super) fn adopt_copy(&mut self, path: &Path, of: &Original, now: Now) -> Copies {
        let siblings = self.siblings_of(path);
        let (mut last, mut copied, mut has_all) = (None, false, false);
        for (birth, candidate) in self.candidates(of, &siblings) {
            let goal = if copied { None } else { self.copied(of, &candidate, birth) };
            match (goal, candidate) {
                (Some((goal, proven)), candidate) => {
                    copied = true;
                    has_all = has_rest(candidate.file().0, of);
                    last = self.adopt_rest(path, of, candidate, (goal, proven), now).or(last);
                }
                (None, Candidate::Waiting(pending)) => self.take_up(pending, None, now),
                (None, Candidate::FoundFiles(sibling, _)) => {
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

    /// What lies beside `path`, as far as its folder can be looked into.
    fn siblings_of(&mut self, path: &Path) -> Vec<Sibling> {
        Siblings::new(&self.plan).of(path).unwrap_or_else(|error| {
            self.unreadable.tell(path.parent().unwrap_or(path), &error);
            Vec::new()
        })
    }

    /// What may be a copy of contents that are gone, with the time when it was made. The oldest is the copy of what is gone;
    /// later ones are copies of what came after it.
    fn candidates(&mut self, of: &Original, siblings: &[Sibling]) -> Vec<(i64, Candidate)> {
        let mut candidates: Vec<(i64, Candidate)> = Vec::new();
        for pending in self.waiting.take_copies(of.generation) {
            self.handles.released();
            candidates.push((pending.look.identity.birth, Candidate::Waiting(pending)));
        }
        if self.plan.identity_bytes.is_none() && self.plan.check_contents {
            for sibling in siblings {
                if !self.is_taken(sibling)
                    && !is_packed_name(&sibling.path)
                    && !candidates.iter().any(|(_, c)| c.file().1.identity == sibling.look.identity)
                    && let Ok(file) = open(&sibling.path, Links::Keep)
                {
                    candidates.push((sibling.look.identity.birth, Candidate::FoundFiles(sibling.clone(), file)));
                }
            }
        }
        candidates.sort_by_key(|(birth, _)| *birth);
        candidates
    }

    /// Reads the rest of contents that are gone from their copy, from a place on: at once where it is proven what lies before
    /// that. Whom the new contents have to wait for.
    fn adopt_rest(
        &mut self,
        path: &Path,
        of: &Original,
        copy: Candidate,
        (goal, proven): (Position, bool),
        now: Now,
    ) -> Option<Predecessor> {
        self.store.update(of.generation, |k| k.finished = true);
        let (copy, file, look) = copy.parts();
        tracing::info!(source = %self.plan.id, file = %path.display(), copy = %copy.display(),
            offset = goal.offset, "what was cut off goes on in its copy");
        let opened = Opened { path: &copy, file, look };
        if !proven {
            self.prove_copy(opened, of.clone(), goal, path, now);
            return None;
        }
        let adopted = Adopted { name: path, from: Some((Some(of.clone()), goal)), since: 0 };
        self.start_file(opened, None, Some(adopted), now).unwrap_or_else(|error| {
            self.unreadable.tell(&copy, &error);
            None
        })
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
            return mark_holds(file, goal).is_ok_and(|holds| holds).then_some((goal, false));
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
            inodes.contains(&e.inode)
                && look_at(&e.path, Links::Keep).is_ok_and(|l| self.store.find(l.identity).is_some())
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
            if known.current && !known.finished && self.tails.of_identity(&known.identity).is_none() {
                missing.entry(known.path.clone()).or_default().push((generation, known.clone()));
            }
        }
        missing.retain(|path, _| self.plan.patterns.matches(path));
        self.rotations.seek_again(false);
        // Into each folder one look.
        let mut beside = Siblings::new(&self.plan);
        for (path, mut generations) in missing {
            // Several that were found at one start have their numbers in the order of finding.
            generations.sort_by_key(|(generation, known)| (known.identity.birth, *generation));
            self.adopt_missing_of(&path, generations, &mut beside, now);
        }
    }

    /// As above, of those that were known under one name, the newest last.
    fn adopt_missing_of(&mut self, path: &Arc<Path>, generations: Vec<(u64, Known)>, beside: &mut Siblings, now: Now) {
        let present = self.tails.at_path(path);
        let there = match look_at(path, self.plan.links) {
            Ok(look) => Some(look.identity),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => None,
            // A folder on the way lets nobody look, which is told: nothing is known to be gone.
            Err(_) => return,
        };
        let newest = generations
            .last()
            .map(|(generation, known)| (*generation, known.identity, (known.identity.birth, known.since())));
        if newest.is_some_and(|(_, identity, _)| there == Some(identity)) {
            // It has its name, and is not read for another reason.
            return;
        }
        let Ok(siblings) = beside.of(path) else { return self.rotations.seek_again(true) };
        let mut last: Option<Predecessor> = None;
        let mut lost: Vec<(u64, Known)> = Vec::new();
        for (generation, known) in generations {
            // The folders were looked into just now.
            match beside.with_identity(path, known.identity).unwrap_or_default() {
                Some(sibling) if known.packed || sibling.look.size == known.at.offset && known.at.is_proof() => {
                    self.renamed.watch(generation, &known, path, &sibling.path);
                }
                Some(sibling) => last = self.adopt_whole(path, &sibling, last, now).0,
                None if known.left || known.packed => {}
                None => lost.push((generation, known)),
            }
        }
        if let Some(since) = lost.iter().map(|(_, k)| k.since()).min() {
            last = self.adopt_packed(path, &siblings, since, last, now);
        }
        for (generation, known) in lost {
            self.rotations.miss(Missing {
                generation,
                path: path.clone(),
                unread: known.size.saturating_sub(known.at.offset),
                offset: known.at.offset,
                replaced: there.is_some(),
            });
        }
        let is_new =
            |files: &Files, key: usize| files.tails.get(key).is_none_or(|t| t.generation >= files.start.first_new);
        if let Some((generation, _, since)) = newest
            && present.is_none_or(|key| is_new(self, key))
        {
            let until = present.and_then(|key| self.tails.get(key)).map_or(0, |t| t.identity.birth);
            let mut gap = Gap { since, generation, last, until };
            match self.between(path, gap, now) {
                Ok(adopted) => gap.last = adopted,
                Err(_) => self.rotations.seek_again(true),
            }
            last = gap.last;
            if present.is_none() {
                self.rotations.lose_in(path, gap, now);
                self.adopt_missed(path, now);
            }
        }
        if let (Some(key), Some(last)) = (present, last)
            && let Some(tail) = self.tails.get_mut(key)
        {
            tail.after = Some(last);
        }
    }

    /// Tells of generations whose rest was looked for and found nowhere, as soon as nothing is open that may have it.
    pub(super) fn tell_missing(&mut self) {
        let may_be_found = || self.waiting.are_proving() || self.tails.iter().any(|t| t.is_deciding());
        if self.rotations.are_missing() && !may_be_found() {
            self.rotations.tell_missing(&mut self.store, &self.counters, &self.plan.id);
        }
    }

    /// A file whose name and handle are both gone: it may lie beside its old name.
    pub(super) fn gone_without_handle(&mut self, key: usize, now: Now) {
        let Some(tail) = self.tails.get(key) else { return };
        if tail.state == TailState::Closed {
            return self.close(key);
        }
        let (identity, name) = (tail.identity, tail.paths.here().clone());
        let file = Siblings::new(&self.plan).with_identity(&name, identity).and_then(|found| match found {
            Some(found) => match open(&found.path, Links::Keep) {
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
                if let Some(mut tail) = self.tails.take(key) {
                    self.wait_longer(key, &mut tail, now);
                    self.tails.put(key, tail);
                }
                return;
            }
        };
        match file {
            Some((file, path)) => {
                let Some(mut tail) = self.tails.take(key) else { return };
                tail.paths.is_now_at(&path);
                let size = if let TailState::Gone { size, .. } = tail.state { size } else { 0 };
                tail.state = TailState::Gone { since: now.mono, read: false, size };
                self.handles.give(&mut tail, file);
                self.schedule.queue(key, &mut tail.due);
                self.tails.put(key, tail);
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

    /// Looks at all files that lost their name and were read to their end.
    pub(super) fn look_at_renamed(&mut self, now: Now) {
        let mut kept = self.renamed.take();
        kept.retain_mut(|renamed| self.look_at_one_renamed(renamed, now));
        self.renamed.put_back(kept);
    }

    /// Whether it has to be looked at again.
    fn look_at_one_renamed(&mut self, renamed: &mut Renamed, now: Now) -> bool {
        if let Some(key) = self.tails.of_identity(&renamed.identity) {
            // It is being read, or its last verdicts are awaited.
            return self.tails.get(key).is_some_and(|t| t.state == TailState::Closed);
        }
        match renamed.look(&self.plan, &mut self.store, now) {
            Seen::Same => true,
            Seen::Forgotten => false,
            Seen::Grown => {
                let adopted = Adopted { name: &renamed.name, from: None, since: 0 };
                let started = self.begin(&renamed.path, None, Some(adopted), now);
                started.inspect_err(|error| self.unreadable.tell(&renamed.path, error)).is_err()
            }
            Seen::Gone => {
                let archives = renamed.archives(&self.plan, &self.store);
                if !archives.is_empty() {
                    // Only what is proven to be the rest of something that was read is read of them.
                    self.adopt_packed(&renamed.name, &archives, 0, None, now);
                } else if renamed.lag > 0 {
                    self.counters.update(|t| t.error("rest_not_found", 1));
                    tracing::error!(source = %self.plan.id, file = %renamed.path.display(), bytes_not_read = renamed.lag,
                        "renamed, written to and gone before it could be read: the rest is lost");
                }
                false
            }
        }
    }
}

/// Whether a file has the unfinished line that stood behind what was read.
pub(super) fn has_rest(file: &OwnedFd, of: &Original) -> bool {
    let mut rest = vec![0; of.unfinished.len()];
    read_at(file, &mut rest, of.reading).is_ok_and(|len| rest[..len] == *of.unfinished)
}

/// What may be a copy.
enum Candidate {
    Waiting(Pending),
    FoundFiles(Sibling, OwnedFd),
}

impl Candidate {
    fn file(&self) -> (&OwnedFd, Look) {
        match self {
            Candidate::Waiting(pending) => (&pending.file, pending.look),
            Candidate::FoundFiles(sibling, file) => (file, sibling.look),
        }
    }

    fn parts(self) -> (PathBuf, OwnedFd, Look) {
        match self {
            Candidate::Waiting(pending) => (pending.path, pending.file, pending.look),
            Candidate::FoundFiles(sibling, file) => (sibling.path, file, sibling.look),
        }
    }
}
