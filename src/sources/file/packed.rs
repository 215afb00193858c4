//! Compressed files: decompressed as a stream, with places that count decompressed bytes.
//!
//! An archive is known by its first bytes, whatever its name. Most often it is what became of a file that was read before.
//! So where it begins as something does that was read, all of it is decompressed first and compared:
//!
//! - it is as long as what was read, and has the same running hash: nothing in it is new;
//! - it begins with all that was read of a file that is gone: its rest is read;
//! - it holds what a file holds that is still being read (it is made of it just now): it waits for that;
//! - else it is read from its beginning. Two files that exist at the same time are two files: an archive that goes on behind
//!   what a file holds that is there, and was read to its end, is none of that.
//!
//! One that ends too soon may be growing. When it has not for 10 s (at once with `--once`), what is there is read, and it is
//! said to be cut.
//!
//! What takes much memory to decompress is decompressed one at a time ([`heavy`](super::heavy)); what would take more than is
//! granted at all ([`unpack`](super::unpack)) is left, which is said and counted, and looked at again when it is another file.

use super::archive::{Deciding, Packed};
use super::checkpoint::Known;
use super::files::{Files, Opened};
use super::formats::{SNIFF_BYTES, Sniff, sniff};
use super::identity::{
    HEAD_BYTES, Head, Identity, Links, Look, Position, Predecessor, look_at, look_into, open, read_at,
};
use super::names::{is_packed_name, is_rotation_of};
use super::now::{Now, SECOND};
use super::rotations::Adopted;
use super::siblings::Sibling;
use super::tail::{Tail, TailState};
use super::unpack::{Allow, Format, Memory, stream};
use hashbrown::HashMap;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

/// An archive that ends too soon is taken for cut when it has not grown for that long.
const CUT_AFTER: u64 = 10 * SECOND;
/// How long an archive waits between two looks at what it depends on.
const WAIT: u64 = SECOND;
/// And for how long in all, before it is read as a file of its own.
const LONGEST_WAIT: u64 = 60 * SECOND;
/// Bytes that are compared with a file that is being read, from the beginning on.
const COMPARED_BYTES: u64 = 256 << 10;
/// Most generations that one archive is compared with.
const MOST_CANDIDATES: usize = 64;

/// What a file is.
pub(super) enum FileKind {
    Plain,
    Packed(Format),
    /// Not to be read: of another format, or compressed where such files are not wanted.
    Ignored,
    /// Too short to tell, and may be growing.
    Unknown,
}

/// What comparing an archive with what was read has told.
struct Comparison {
    /// The place after all that it holds.
    whole: Position,
    /// Places that were read and lie in it, with their generations.
    proven: Vec<(u64, Position)>,
    /// Generations that are being read and begin like it.
    live: Vec<u64>,
    /// Those that have become it.
    became_this: Vec<u64>,
    /// All that it holds was read.
    is_known: bool,
    /// It matches no pattern: since when one is new.
    hidden: Option<i64>,
}

impl Files {
    /// Starts to read a compressed file, or to find out where to begin in it.
    pub(super) fn start_packed(
        &mut self,
        opened: Opened<'_>,
        after: Option<Predecessor>,
        adopted: Option<Adopted<'_>>,
        format: Format,
        now: Now,
    ) -> Option<Predecessor> {
        let Opened { path, file, look } = opened;
        let identity = look.identity;
        let shared: Arc<Path> = path.into();
        let name: Arc<Path> = adopted.as_ref().map_or_else(|| shared.clone(), |a| a.name.into());
        let mut tail = self.new_tail(identity, look, &shared, &name, now);
        let hidden = adopted.as_ref().map(|a| a.since);
        let mut deciding = None;
        let written_anew =
            |known: &Known| hidden.is_some() && known.finished && known.changed != 0 && known.changed != look.changed;
        let known = self.store.find(identity).filter(|(_, known)| known.packed && !written_anew(known));
        if let Some((generation, known)) = known {
            (tail.generation, tail.head, tail.at) = (generation, known.head, known.at);
            self.store.update(generation, |k| k.finished = false);
        } else {
            tail.generation = self.store.reserve();
            deciding = Some(Deciding::new(self.store.hasher, hidden));
        }
        tail.after = after;
        tail.packed = Some(Box::new(Packed::new(format, deciding, self.plan.heavy.pass())));
        self.handles.give(&mut tail, file);
        if hidden.is_some() {
            tail.state = TailState::Gone { since: now.mono, read: false, size: 0 };
        } else {
            tail.paths.add(&shared);
        }
        if tail.is_deciding() {
            self.prepare(&mut tail);
        }
        let key = self.insert(tail);
        if hidden.is_none() {
            self.note_link(path, &shared);
            self.tails.name(shared, key);
        }
        self.opened(key);
        self.tails.predecessor(key)
    }

    /// A file of which nothing was read, and which was empty before or held something else, does not begin as text does.
    pub(super) fn tell_kind(&mut self, key: usize, tail: &mut Tail, now: Now) {
        let Some(file) = tail.handle.lend() else { return };
        let (path, look) = (tail.paths.here().clone(), look_into(&file));
        let kind = look.and_then(|look| self.packed_format(&path, &file, look, now));
        tail.handle.put(file);
        match kind {
            Ok(FileKind::Plain) => {
                tail.beginning.note_text();
                self.schedule.queue(key, &mut tail.due);
            }
            Ok(FileKind::Packed(format)) => {
                tail.generation = self.store.reserve();
                tail.packed = Some(Box::new(Packed::new(
                    format,
                    Some(Deciding::new(self.store.hasher, None)),
                    self.plan.heavy.pass(),
                )));
                tail.stash = Box::default();
                self.prepare(tail);
                self.schedule.queue(key, &mut tail.due);
            }
            Ok(FileKind::Ignored) => tail.state = TailState::Closed,
            Ok(FileKind::Unknown) => {
                tail.beginning.note_untold();
                return self.schedule.look_at(key, &mut tail.due, now.mono + WAIT / 4);
            }
            Err(error) => self.failed(key, tail, &error, now),
        }
        tail.beginning.is_told();
    }

    /// What a file is, by its first bytes.
    pub(super) fn packed_format(&mut self, path: &Path, file: &OwnedFd, look: Look, now: Now) -> io::Result<FileKind> {
        let mut head = [0; SNIFF_BYTES];
        let len = read_at(file, &mut head, 0)?;
        let sniffed = sniff(&head[..len]);
        let format = match sniffed {
            Sniff::Plain => return Ok(FileKind::Plain),
            Sniff::Foreign(name) => {
                self.archives.tell_foreign(path, name, &self.plan, &self.counters);
                return Ok(FileKind::Ignored);
            }
            Sniff::Short => {
                let young = now.wall.saturating_sub(look.modified) < 5 * SECOND as i64;
                if !self.plan.once && young && (len > 0 || is_packed_name(path)) {
                    self.schedule.scan_by(now.mono + SECOND);
                    return Ok(FileKind::Unknown);
                }
                return Ok(FileKind::Plain);
            }
            _ => match Format::of(sniffed) {
                Some(format) => format,
                None => return Ok(FileKind::Plain),
            },
        };
        if !self.plan.compressed {
            self.archives.tell_foreign(path, format.name(), &self.plan, &self.counters);
            return Ok(FileKind::Ignored);
        }
        Ok(FileKind::Packed(format))
    }

    /// Finds what an archive is to be compared with.
    fn prepare(&self, tail: &mut Tail) {
        let Tail { generation: own, paths, handle, packed: Some(packed), .. } = tail else { return };
        let (Some(file), Some(deciding)) = (handle.get(), &mut packed.deciding) else { return };
        (deciding.goals, deciding.live) = (Vec::new(), Vec::new());
        (deciding.done, deciding.unsettled) = (false, false);
        deciding.proven.clear();
        let mut bytes = Vec::with_capacity(HEAD_BYTES);
        // What cannot be read here is told when it is read.
        let read =
            stream(file, packed.format, Allow::Heavy).and_then(|s| s.take(HEAD_BYTES as u64).read_to_end(&mut bytes));
        if bytes.is_empty() {
            deciding.done = read.is_ok();
            return;
        }
        tail.head = Head::of(&bytes);
        // Most heads are of the same length.
        let mut of_length: HashMap<u32, u64> = HashMap::new();
        let mut fits = |head: Head| {
            let hash = || bytes.get(..head.len as usize).map_or(!head.hash, |b| Head::of(b).hash);
            head.len > 0 && *of_length.entry(head.len).or_insert_with(hash) == head.hash
        };
        for (generation, known) in self.store.iter() {
            if generation == *own || known.head.len > 0 && !fits(known.head) {
                continue;
            }
            let live = self.live(generation);
            if !fits(live.map_or(known.head, |t| t.head)) {
                continue;
            }
            deciding.unsettled |= self.store.is_unsettled_copy(generation);
            if live.is_some() && self.differs_from_live(generation, file, packed.format) {
                continue;
            }
            if live.is_some_and(|t| t.packed.is_none()) {
                deciding.live.push(generation);
            }
            let at = live.map_or(known.at, |t| t.at);
            if at.is_proof() {
                deciding.goals.push((generation, at));
            }
        }
        // Those that are likeliest, where there are too many: of the same name, and the longest.
        let related = |generation: &u64| {
            let (path, name) = (paths.here(), paths.first());
            self.store
                .get(*generation)
                .is_some_and(|k| k.path == *name || is_rotation_of(&k.path, path) || k.path.parent() == path.parent())
        };
        deciding.goals.sort_by_key(|(generation, at)| (!related(generation), std::cmp::Reverse(at.offset)));
        deciding.goals.truncate(MOST_CANDIDATES);
        deciding.goals.sort_by_key(|(_, at)| at.offset);
        // Nothing that was read begins like this: no need to look further.
        deciding.done = deciding.goals.is_empty() && deciding.live.is_empty() && !deciding.unsettled;
    }

    /// Whether the beginning of an archive is another one than that of a file that is being read.
    fn differs_from_live(&self, generation: u64, archive: &OwnedFd, format: Format) -> bool {
        let Some(tail) = self.live(generation).filter(|t| t.packed.is_none()) else { return false };
        let opened;
        let file = match tail.handle.get() {
            Some(file) => file,
            None => match open(tail.paths.here(), self.plan.links) {
                // The name may lead to another file by now.
                Ok(file) if look_into(&file).is_ok_and(|l| l.identity == tail.identity) => {
                    opened = file;
                    &opened
                }
                _ => return false,
            },
        };
        let mut ours = Vec::new();
        if stream(archive, format, Allow::Heavy).and_then(|s| s.take(COMPARED_BYTES).read_to_end(&mut ours)).is_err()
            && ours.is_empty()
        {
            return false;
        }
        let mut theirs = vec![0; ours.len()];
        let len = read_at(file, &mut theirs, 0).unwrap_or(0);
        ours[..len] != theirs[..len]
    }

    /// A turn of comparing came to its end: where to begin in the archive, where that can be told.
    pub(super) fn decide_packed(&mut self, key: usize, tail: &mut Tail, now: Now) {
        let Some(packed) = &mut tail.packed else { return };
        let Some(deciding) = &mut packed.deciding else { return };
        if !deciding.done {
            return self.short_packed(key, tail, now);
        }
        let for_archive = self.waits_for_archive(tail);
        let Some(deciding) = tail.packed.as_mut().and_then(|p| p.deciding.as_mut()) else { return };
        if std::mem::replace(&mut deciding.for_archive, for_archive) && !for_archive {
            // It was read meanwhile.
            self.prepare(tail);
            return self.schedule.queue(key, &mut tail.due);
        }
        let whole = deciding.running.at;
        let (len, unsettled) = (whole.offset, deciding.unsettled);
        let (goals, proven, live, hidden) =
            (deciding.goals.clone(), deciding.proven.clone(), deciding.live.clone(), deciding.hidden);
        let settled = |generation: u64| self.store.get(generation).map_or(0, |k| k.at.offset);
        let holds_all =
            |(generation, goal): &(u64, Position)| whole.proves(goal) && settled(*generation) >= goal.offset;
        let full = proven.iter().any(holds_all);
        let became_this: Vec<u64> = proven.iter().filter(|goal| holds_all(goal)).map(|(g, _)| *g).collect();
        // A file that is there is another one, unless it has all of this.
        let covers: Vec<bool> = live.iter().filter_map(|generation| self.covers(*generation, len, tail)).collect();
        let covered = covers.contains(&true);
        // What is known to have all of it and is not settled is waited for, however long that takes.
        let awaited = unsettled
            || covers.contains(&false)
            || proven.iter().any(|(generation, goal)| {
                whole.proves(goal) || self.live(*generation).is_some_and(|t| t.state == TailState::Closed)
            });
        tracing::trace!(file = %tail.paths.here().display(), len, ?goals, ?proven, ?live, full, covered, awaited, "comparing");
        if !full && !covered && (unsettled || for_archive || self.may_be_told_later(&goals, &proven, &live, len)) {
            let Some(deciding) = tail.packed.as_mut().and_then(|p| p.deciding.as_mut()) else { return };
            if deciding.waits == 0 {
                deciding.waits = now.mono;
            }
            // With `--once` all is at its end already, but for the verdicts.
            let late = now.mono - deciding.waits >= LONGEST_WAIT && !awaited;
            let late = late || self.plan.once && self.reader.outstanding == 0;
            if !late {
                self.prepare(tail);
                return self.schedule.look_at(key, &mut tail.due, now.mono + WAIT / 4);
            }
        }
        let is_known = full || covered;
        self.begin_packed(key, tail, &Comparison { whole, proven, live, became_this, is_known, hidden }, now);
    }

    /// It is known where to begin in an archive: there it is read, or it is closed where nothing in it is new.
    fn begin_packed(&mut self, key: usize, tail: &mut Tail, comparison: &Comparison, now: Now) {
        let Comparison { whole, proven, live, became_this, is_known, hidden } = comparison;
        let gone = |generation: &u64| {
            self.live(*generation).is_none()
                && self.store.get(*generation).is_some_and(|k| !k.finished || k.packed)
                && !self.is_there(*generation)
        };
        let rest = proven.iter().filter(|(generation, _)| gone(generation)).max_by_key(|(_, at)| at.offset).copied();
        let modified = tail.look.modified();
        let (at, finished) = match rest {
            _ if *is_known => (*whole, true),
            Some((generation, at)) => {
                self.store.update(generation, |k| k.finished = true);
                (at, false)
            }
            // One that matches no pattern is read where it was written into since the last look.
            None if hidden.is_some_and(|since| since == 0 || modified <= since) => {
                self.tell_refused(tail);
                tail.state = TailState::Closed;
                tail.packed.iter_mut().for_each(|packed| packed.is_decided());
                return;
            }
            None => (self.store.hasher.start(), false),
        };
        tail.packed.iter_mut().for_each(|packed| packed.is_decided());
        if at.offset == 0 {
            self.families.leave(tail);
        }
        // What became of them is known: they are not looked for any more.
        for generation in became_this {
            if finished && self.live(*generation).is_none() && !self.is_there(*generation) {
                self.store.update(*generation, |k| k.finished = true);
            }
        }
        let known = Known::new(tail.identity, tail.paths.here(), now.seconds());
        let (head, changed) = (tail.head, if finished { tail.look.changed() } else { 0 });
        // What it holds was not delivered either where the beginning of that was passed over.
        let of = proven.iter().map(|(generation, _)| generation).chain(live);
        let partial = at.offset > 0 && of.filter_map(|of| self.store.get(*of)).any(|k| k.partial);
        self.store.add_as(tail.generation, Known { head, at, finished, changed, packed: true, partial, ..known });
        self.archives.was_read();
        tail.at = at;
        tail.parts.iter_mut().for_each(|parts| parts.go_on_at(at));
        if finished {
            tracing::debug!(source = %self.plan.id, file = %tail.paths.here().display(), bytes = whole.offset, "compressed, all of it was read before");
            tail.state = TailState::Closed;
        } else {
            tracing::info!(source = %self.plan.id, file = %tail.paths.here().display(), offset = at.offset, "found, compressed");
            self.schedule.queue(key, &mut tail.due);
        }
    }

    /// An archive that matches no pattern may have what is sought, and could not be looked into.
    fn tell_refused(&mut self, tail: &Tail) {
        let Some(packed) = &tail.packed else { return };
        if let Some(Memory::TooLarge { needed, most }) = packed.deciding.as_ref().and_then(|d| d.refused)
            && self.archives.leave_alone(tail.paths.here())
        {
            self.reader.tell_too_large(tail, packed.format, Some(needed), most);
        }
    }

    /// Whether files that are being read may turn out to have all that an archive of `len` decompressed bytes has, or to be
    /// gone, once they have come to rest.
    fn may_be_told_later(&self, goals: &[(u64, Position)], proven: &[(u64, Position)], live: &[u64], len: u64) -> bool {
        let is_proven = |generation: u64| proven.iter().any(|(g, _)| *g == generation);
        let moves = |(generation, goal): &(u64, Position)| {
            if !is_proven(*generation) && goal.offset <= len {
                return false;
            }
            let settled = self.store.get(*generation).map(|k| k.at.offset);
            match self.live(*generation) {
                Some(t) => {
                    let rest = t.state != TailState::Closed && t.unread() > 0 || t.flight.outstanding() > 0;
                    rest || t.at.offset != goal.offset || settled != Some(goal.offset)
                }
                None => self.store.is_unsettled_copy(*generation) || settled.is_some_and(|s| s != goal.offset),
            }
        };
        // One that has more than was read of it when it was compared may have all of this.
        let growing = |generation: &u64| {
            let goal = goals.iter().find(|(g, _)| g == generation).map_or(0, |(_, at)| at.offset);
            self.live(*generation).is_some_and(|t| t.state != TailState::Closed && t.end() >= len && goal < len)
        };
        goals.iter().any(moves) || live.iter().any(growing)
    }

    /// An archive ended too soon: it may be growing.
    pub(super) fn short_packed(&mut self, key: usize, tail: &mut Tail, now: Now) {
        let (once, size) = (self.plan.once, tail.look.size());
        let Some(packed) = &mut tail.packed else { return };
        let short = packed.short.get_or_insert((size, now.mono));
        if short.1 == 0 {
            short.1 = now.mono;
        }
        if packed.cut {
            return self.wait_longer(key, tail, now);
        }
        if once || short.0 == size && now.mono - short.1 >= CUT_AFTER {
            packed.cut = true;
            return self.schedule.queue(key, &mut tail.due);
        }
        self.schedule.look_at(key, &mut tail.due, now.mono + WAIT / 2);
    }

    /// Whether a file that is being read has all that an archive of `len` decompressed bytes has, and that is settled; `None`
    /// where it has not, or not as far as it was read.
    fn covers(&self, generation: u64, len: u64, archive: &Tail) -> Option<bool> {
        let tail = self.live(generation).filter(|t| t.at.offset >= len)?;
        let settled = self.store.get(generation)?.at.offset >= len;
        let (file, packed, ours) = (tail.handle.get()?, archive.packed.as_ref()?, archive.handle.get()?);
        same_contents(file, ours, packed.format, len).is_ok_and(|same| same).then_some(settled)
    }

    /// Whether a file of this generation is there, though it is not being read.
    fn is_there(&self, generation: u64) -> bool {
        self.store
            .get(generation)
            .is_some_and(|k| k.current && look_at(&k.path, Links::Follow).is_ok_and(|l| l.identity == k.identity))
            || self.renamed.has(generation)
    }

    /// Whether another archive that begins alike is being read, or was found earlier and will be.
    fn waits_for_archive(&self, archive: &Tail) -> bool {
        self.tails.iter().any(|t| {
            let Some(packed) = &t.packed else { return false };
            t.generation < archive.generation
                && t.head == archive.head
                && t.state != TailState::Closed
                && packed.short.is_none()
                && (!packed.ended || t.flight.outstanding() > 0)
        })
    }

    /// The file of a generation that is being read, or whose verdicts are awaited.
    fn live(&self, generation: u64) -> Option<&Tail> {
        let identity = self.store.get(generation)?.identity;
        let tail = self.tails.of((self.tails.of_identity(&identity)?, generation))?;
        (tail.state != TailState::Closed || tail.flight.outstanding() > 0).then_some(tail)
    }

    /// Looks for what became of generations of `path` among compressed files beside it; whom the next has to wait for.
    /// `since`: those written into later are read even where they hold nothing that was read.
    pub(super) fn adopt_packed(
        &mut self,
        path: &Path,
        siblings: &[Sibling],
        since: i64,
        mut last: Option<Predecessor>,
        now: Now,
    ) -> Option<Predecessor> {
        if !self.plan.compressed || self.plan.identity_bytes.is_some() {
            return last;
        }
        let mut packed: Vec<&Sibling> = siblings.iter().filter(|s| is_packed_name(&s.path)).collect();
        packed.sort_by_key(|s| s.look.modified);
        for sibling in packed {
            let identity: Identity = sibling.look.identity;
            let matches = self.plan.patterns.matches(&sibling.path);
            // One that is known and was written anew since holds something else.
            let known = self.store.find(identity).is_some();
            let anew = !self.is_taken(sibling) && sibling.look.modified > since;
            if matches || self.tails.of_identity(&identity).is_some() || known && !anew {
                continue;
            }
            // What its name does not say to be a generation is read only where it goes on with what was read.
            let since = if sibling.is_generation { since } else { i64::MAX };
            let adopted = Adopted { name: path, from: None, since };
            match self.begin(&sibling.path, last, Some(adopted), now) {
                Ok(started) => last = started.or(last),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => self.unreadable.tell(&sibling.path, &error),
            }
        }
        last
    }

    /// An archive of which all was delivered: removes it where `remove_after` says so.
    pub(super) fn remove_packed(&mut self, path: &Path, look: Look, now: Now) {
        let Some(after) = self.plan.remove_after else { return };
        let since = self.archives.delivered_since(look.identity, now.mono);
        let wait = (after.as_nanos() as u64)
            .saturating_sub(now.mono - since)
            .max((after.as_nanos() as i64).saturating_sub(now.wall.saturating_sub(look.modified)).max(0) as u64);
        if wait > 0 {
            self.schedule.scan_by(now.mono + wait);
            return;
        }
        self.archives.is_removed(look.identity);
        // A link is not removed, nor what it leads to.
        if look_at(path, Links::Keep)
            .is_ok_and(|l| l.is_file && l.identity == look.identity && l.changed == look.changed)
        {
            self.remove_file(path);
        }
    }
}

/// Whether the first `len` bytes of a file are those of an archive. One that takes much memory has the turn when it is decided
/// about.
fn same_contents(file: &OwnedFd, archive: &OwnedFd, format: Format, len: u64) -> io::Result<bool> {
    let mut stream = stream(archive, format, Allow::Heavy)?;
    let (mut ours, mut theirs) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut at = 0;
    while at < len {
        let n = stream.read(&mut ours)?;
        if n == 0 || read_at(file, &mut theirs[..n], at)? < n || ours[..n] != theirs[..n] {
            return Ok(false);
        }
        at += n as u64;
    }
    Ok(true)
}
