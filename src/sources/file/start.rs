//! Files are found and begin to be read: from where they were left, from their beginning, or from their end.

use super::beginning::Beginning;
use super::checkpoint::Known;
use super::discovery::Entry;
use super::doubt::Doubt;
use super::ending::Ending;
use super::files::{Files, LONGEST_WATCHED, Opened};
use super::flight::Flight;
use super::handle::Handle;
use super::held::ForSinks;
use super::identity::{
    HEAD_BYTES, Hasher, Head, Identity, Links, Look, MARK_BYTES, Position, Predecessor, Running, look_at, look_into,
    open, read_at,
};
use super::looked::Looked;
use super::names::{is_packed_name, is_rotation_of};
use super::now::Now;
use super::packed::FileKind;
use super::passed::Passed;
use super::paths::Paths;
use super::proof::{self, mark_holds};
use super::rotations::{Adopted, Copies, Missing, Original};
use super::schedule::Due;
use super::siblings::{Siblings, begins_with_all_of};
use super::tail::{Tail, TailState};
use super::wide::unit_behind;
use crate::framing::wide::{BOM_BYTES, Wide};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Files that are said one by one to be found by the first look through the folders.
pub(super) const SAID_AT_FIRST: usize = 100;
/// With `start_at: end`, what is passed over is hashed up to that length, to know copies of it.
const PROVEN_START: u64 = 64 << 20;
/// However much was hashed of others.
const PROVEN_ALWAYS: u64 = 1 << 20;
/// How far back from the end a line start is sought with `start_at: end`.
const SEEK_BACK: u64 = 64 << 10;

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

impl Files {
    /// A file at a path that led to no file we read, or to another.
    pub(super) fn found(&mut self, path: &Path, look: Look, now: Now) {
        if self.plan.identity_bytes.is_none()
            && let Some(key) = self.tails.of_identity(&look.identity)
        {
            self.add_path(key, path, now);
            return;
        }
        if let Some(pending) = self.waiting.get_mut(look.identity) {
            if pending.path != path {
                pending.path = path.to_owned();
            }
            return self.look_at_pending(look.identity, now);
        }
        if let Some((generation, known)) = self.store.find(look.identity)
            && known.packed
            && known.finished
            && (known.changed == 0 || known.changed == look.changed)
        {
            let partial = known.partial;
            self.store.touch(generation, now.seconds());
            if !partial {
                self.remove_packed(path, look, now);
            }
            return;
        }
        if self.plan.is_own(path) {
            return self.unreadable.tell_own(path);
        }
        if let Some(age) = self.plan.ignore_older
            && now.wall.saturating_sub(look.modified) > age.as_nanos() as i64
            && !self.was_found(path, look)
        {
            return;
        }
        self.renamed.seek_shut(path, Some(look.identity));
        // What is judged is what is read: the name may lead to the next file by now.
        let opened = self.open_path(path).and_then(|file| Ok(Opened { path, look: look_into(&file)?, file }));
        let opened = match opened {
            Ok(opened) => opened,
            // Gone between the two looks: the next one sees what is there then, and what had the name meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                self.renamed.note_shut(path, look.identity, &mut self.store, now);
                return self.unreadable.tell(path, &error);
            }
        };
        let there = opened.look;
        if self.plan.identity_bytes.is_none() && there.identity != look.identity && there.is_file {
            return self.found(path, there, now);
        }
        // Several generations may have passed between two looks.
        let after = self.adopt_between(path, there, now);
        match self.start_opened(opened, after, now) {
            Ok(_) => {
                self.renamed.is_open(path);
                self.unreadable.is_readable(path);
            }
            Err(error) => {
                self.renamed.note_shut(path, there.identity, &mut self.store, now);
                self.unreadable.tell(path, &error);
            }
        }
    }

    /// Whether a file was found before, and is read on however old it is.
    fn was_found(&self, path: &Path, look: Look) -> bool {
        if self.plan.identity_bytes.is_none() {
            return self.store.find(look.identity).is_some();
        }
        let identity = open(path, self.plan.links).and_then(|file| self.identify(&file, look));
        matches!(identity, Ok(Some(identity)) if self.store.find(identity).is_some())
    }

    /// A file is too short for its fingerprint: it waits, but where nothing is waited for it is not read.
    fn tell_short(&mut self, path: &Path, look: Look) -> io::Result<Option<Predecessor>> {
        if !self.plan.once || look.size == 0 {
            return Ok(None);
        }
        self.unreadable.tell_short(path, look.size);
        Err(io::ErrorKind::InvalidData.into())
    }

    /// Opens a file and starts to read it, from where it was left or from its beginning. `adopted`: it has no name that
    /// matches, but is what became of a file that had one. What is told names the new tail, for others to wait for.
    pub(super) fn begin(
        &mut self,
        path: &Path,
        after: Option<Predecessor>,
        adopted: Option<Adopted<'_>>,
        now: Now,
    ) -> io::Result<Option<Predecessor>> {
        let file = self.open_path(path)?;
        let opened = Opened { path, look: look_into(&file)?, file };
        match adopted {
            None => self.start_opened(opened, after, now),
            Some(_) if !opened.look.is_file => Ok(None),
            Some(_) => self.start_file(opened, after, adopted, now),
        }
    }

    /// As above, of an open file whose name matches.
    fn start_opened(
        &mut self,
        mut opened: Opened<'_>,
        after: Option<Predecessor>,
        now: Now,
    ) -> io::Result<Option<Predecessor>> {
        let Opened { path, look, .. } = opened;
        if !look.is_file {
            return Ok(None);
        }
        if self.tails.of_identity(&look.identity).is_none() {
            opened.file = match self.waits(path, opened.file, look, now) {
                Ok(()) => return Ok(None),
                Err(file) => file,
            };
        }
        self.start_file(opened, after, None, now)
    }

    /// As above, of an open file.
    pub(super) fn start_file(
        &mut self,
        opened: Opened<'_>,
        after: Option<Predecessor>,
        adopted: Option<Adopted<'_>>,
        now: Now,
    ) -> io::Result<Option<Predecessor>> {
        let Opened { path, file, look } = opened;
        let Some(identity) = self.identify(&file, look)? else {
            return self.tell_short(path, look);
        };
        if let Some(key) = self.tails.of_identity(&identity) {
            if adopted.is_none() {
                self.add_path(key, path, now);
            }
            // With `fingerprint: {bytes: N}` it may be another inode with the same contents.
            if let Some(tail) = self.tails.get_mut(key) {
                tail.node = (look.identity.device, look.identity.inode);
                self.handles.give(tail, file);
            }
            return Ok(None);
        }
        // What was read as text goes on as text.
        if self.store.find(identity).is_none_or(|(_, k)| k.packed || k.at.offset == 0) {
            match self.packed_format(path, &file, look, now)? {
                FileKind::Plain => {}
                FileKind::Packed(format) => {
                    return Ok(self.start_packed(Opened { path, file, look }, after, adopted, format, now));
                }
                FileKind::Ignored | FileKind::Unknown => return Ok(None),
            }
        }
        let shared: Arc<Path> = path.into();
        let name: Arc<Path> = adopted.as_ref().map_or_else(|| shared.clone(), |a| a.name.into());
        let mut tail = self.new_tail(identity, look, &shared, &name, now);
        tail.after = after;
        (tail.generation, tail.head, tail.at) = match &adopted {
            Some(Adopted { from: Some((of, at)), .. }) => {
                let mut bytes = [0; HEAD_BYTES];
                let len = read_at(&file, &mut bytes, 0)?;
                let head = Head::of(&bytes[..len.min(usize::try_from(at.offset).unwrap_or(usize::MAX))]);
                let partial = of.as_ref().is_some_and(|of| self.store.get(of.generation).is_some_and(|k| k.partial));
                let known = Known { head, at: *at, partial, ..Known::new(identity, &name, now.seconds()) };
                let of = of.as_ref().filter(|of| of.unsettled).map(|of| of.generation);
                (self.store.add_copy(known, of), head, *at)
            }
            _ => self.place(&mut tail, &file, &name, now)?,
        };
        self.handles.give(&mut tail, file);
        if adopted.is_some() {
            tail.state = TailState::Gone { since: now.mono, read: false, size: 0 };
        } else {
            tail.paths.add(&shared);
        }
        let proves = tail.doubt.is_comparing();
        let key = self.insert(tail);
        if proves {
            self.comparisons.queue(key);
        }
        if adopted.is_none() {
            self.note_link(path, &shared);
            self.tails.name(shared, key);
        }
        self.opened(key);
        Ok(self.tails.predecessor(key))
    }

    /// A file not read yet, without place, handle or names.
    pub(super) fn new_tail(
        &self,
        identity: Identity,
        look: Look,
        path: &Arc<Path>,
        name: &Arc<Path>,
        now: Now,
    ) -> Box<Tail> {
        Box::new(Tail {
            generation: 0,
            identity,
            node: (look.identity.device, look.identity.inode),
            head: Head::default(),
            paths: Paths::new(path, name),
            origin: self.nameless.clone(),
            handle: Handle::closed(self.handles.uses()),
            packed: None,
            beginning: Beginning::default(),
            at: self.store.hasher.start(),
            passed: Passed::default(),
            flight: Flight::default(),
            look: Looked::new(look),
            doubt: Doubt::none(),
            stash: Box::default(),
            zeros: false,
            state: TailState::Present,
            after: None,
            due: Due::default(),
            ending: Ending::default(),
            failing: false,
            grown: now.mono,
            lag: 0,
            parts: None,
            for_sinks: ForSinks::default(),
            owner: None,
            attends: false,
            rule: 0,
        })
    }

    /// Where to go on in a file: its generation, its head as far as known, the position.
    fn place(
        &mut self,
        tail: &mut Tail,
        file: &OwnedFd,
        name: &Arc<Path>,
        now: Now,
    ) -> io::Result<(u64, Head, Position)> {
        if self.store.find(tail.identity).is_none()
            && let Some(generation) = self.known_by_node(tail, file)?
        {
            tracing::info!(source = %self.plan.id, file = %tail.paths.here().display(), "copied up to another layer; the same file");
            self.store.replace_identity(generation, tail.identity);
        }
        let (mut head, mut at) = (Head::default(), self.store.hasher.start());
        if let Some((generation, known)) = self.store.find(tail.identity) {
            let known = known.clone();
            if self.goes_on(tail, file, (generation, &known), name, now)? {
                return Ok((generation, known.head, known.at));
            }
        } else {
            if self.start.is_over || self.tails.path_count() < SAID_AT_FIRST {
                tracing::info!(source = %self.plan.id, file = %tail.paths.here().display(), "found");
            } else {
                tracing::debug!(source = %self.plan.id, file = %tail.paths.here().display(), "found");
            }
            if self.plan.from_end && self.start.is_first && !self.start.is_over {
                (head, at) = self.last_line(tail, file)?;
            }
        }
        let known = Known { head, at, partial: at.offset > 0, ..Known::new(tail.identity, name, now.seconds()) };
        Ok((self.store.add(known), head, at))
    }

    /// Whether a file that is known goes on where it was left; else what it had is sought in copies of it.
    fn goes_on(
        &mut self,
        tail: &mut Tail,
        file: &OwnedFd,
        (generation, known): (u64, &Known),
        name: &Arc<Path>,
        now: Now,
    ) -> io::Result<bool> {
        (tail.generation, tail.head, tail.at) = (generation, known.head, known.at);
        // Copies have names that are made of the one it had.
        let had = if is_rotation_of(&known.path, name) { known.path.clone() } else { name.clone() };
        let of = Original {
            generation,
            at: known.at,
            past: Vec::new(),
            unsettled: false,
            since: known.since(),
            unfinished: Box::default(),
            reading: known.at.offset,
        };
        let as_known = self.is_as_known(tail, file, known)?;
        let mut copies = Copies::default();
        if !as_known || self.may_have_been_cut(tail, &had, known) {
            copies = self.adopt_copy(&had, &of, now);
            tail.after = copies.last.or(tail.after);
        }
        // A writer that did not notice that its file was emptied leaves zeros before what it goes on with.
        tail.zeros = known.at.offset == 0 || !as_known;
        if as_known && !copies.found {
            self.store.moved(generation, name, now.seconds());
            let spared = if self.plan.check_contents { self.store.spare(generation, tail.at, file)? } else { None };
            if let Some(upto) = tail.for_sinks.spare(spared) {
                tracing::debug!(source = %self.plan.id, file = %tail.paths.here().display(), upto, "sinks hold more than others");
            }
            tracing::debug!(file = %tail.paths.here().display(), offset = known.at.offset, "reading goes on");
            return Ok(true);
        }
        tail.doubt.stop_comparing();
        tracing::info!(source = %self.plan.id, file = %tail.paths.here().display(),
            "its contents were replaced while nobody looked; reading from the beginning");
        if !copies.found && !known.finished {
            self.rotations.miss(Missing {
                generation,
                path: name.clone(),
                unread: known.size.saturating_sub(known.at.offset),
                offset: known.at.offset,
                replaced: true,
            });
        }
        Ok(false)
    }

    /// With `start_at: end`: the place of the last line of a file, and its head.
    fn last_line(&mut self, tail: &Tail, file: &OwnedFd) -> io::Result<(Head, Position)> {
        let mut mark = [0; BOM_BYTES];
        let len = read_at(file, &mut mark, 0)?;
        let wide = self.reader.units_of(&mark[..len]).wide();
        let at = last_line_start(file, tail.look.size(), wide, self.store.hasher, &mut self.start.bytes)?;
        let mut bytes = vec![0; HEAD_BYTES.min(usize::try_from(at.offset).unwrap_or(HEAD_BYTES))];
        let len = read_at(file, &mut bytes, 0)?;
        Ok((Head::of(&bytes[..len]), at))
    }

    /// At the first look: whether files were made beside one since it was looked at last that hold what it does not: it may
    /// have been cut off, though it begins with all that was read.
    fn may_have_been_cut(&self, tail: &Tail, had: &Path, known: &Known) -> bool {
        // One that was renamed is not cut off any more, and generations since are read after it.
        if self.start.is_over
            || *known.path != **tail.paths.here()
            || known.changed != 0 && known.changed == tail.look.changed()
            || self.plan.identity_bytes.is_some()
        {
            return false;
        }
        let since = known.since();
        Siblings::new(&self.plan).of(had).unwrap_or_default().iter().any(|s| {
            let made = if s.look.identity.birth != 0 { s.look.identity.birth } else { s.look.modified };
            made > since
                && !self.is_known(s.look.identity)
                && !is_packed_name(&s.path)
                && !begins_with_all_of(tail.paths.here(), s)
        })
    }

    /// Whether a file is the one that is known, as far as can be told at once; the rest is proven beside other work.
    fn is_as_known(&mut self, tail: &mut Tail, file: &OwnedFd, known: &Known) -> io::Result<bool> {
        if known.at.offset > tail.look.size() {
            return Ok(false);
        }
        if !self.plan.check_contents {
            return Ok(true);
        }
        if known.changed != 0 && (known.changed, known.size) == (tail.look.changed(), tail.look.size()) {
            return Ok(true);
        }
        let mut bytes = [0; HEAD_BYTES];
        let len = read_at(file, &mut bytes, 0)?;
        Ok(known.head.fits(&bytes[..len]) && mark_holds(file, known.at)? && self.comparisons.begin(tail, file)?)
    }

    /// At the first look: the generation of a file whose device and inode are known with another time of birth, and which has
    /// all that was read.
    fn known_by_node(&mut self, tail: &Tail, file: &OwnedFd) -> io::Result<Option<u64>> {
        if self.start.is_over || self.plan.identity_bytes.is_some() || !is_on_overlay(file) {
            return Ok(None);
        }
        let nodes = self.start.nodes.get_or_insert_with(|| self.store.by_node());
        let Some(&generation) = nodes.get(&tail.node) else { return Ok(None) };
        let Some(at) = self.store.get(generation).filter(|k| k.current && !k.packed).map(|k| k.at) else {
            return Ok(None);
        };
        let same = at.is_proof() && at.offset <= tail.look.size() && proof::holds(self.store.hasher, file, at)?;
        Ok(same.then_some(generation))
    }

    /// A further name of a file we read, or read until its verdicts are in.
    fn add_path(&mut self, key: usize, path: &Path, now: Now) {
        let Some(mut tail) = self.tails.take(key) else { return };
        let shared: Arc<Path> = path.into();
        tail.paths.add(&shared);
        self.note_link(path, &shared);
        self.tails.name(shared.clone(), key);
        if tail.state != TailState::Present {
            tail.state = TailState::Present;
            self.schedule.queue(key, &mut tail.due);
        }
        self.store.update(tail.generation, |k| {
            k.path = shared;
            k.touched = now.seconds();
        });
        self.tails.put(key, tail);
    }

    /// At the first look through the folders: takes in a file that is as it was when all in it was settled. It is not read,
    /// and opened only so that deleting it loses nothing, as far as there are handles. Whether it is such a file.
    pub(super) fn start_idle(&mut self, entry: &Entry, dir: &mut RealDir, now: Now) -> bool {
        let path = &*entry.path;
        if entry.is_symlink || self.plan.identity_bytes.is_some() {
            return false;
        }
        let Ok(look) = look_at(path, Links::Keep) else { return false };
        let Some((generation, known)) = self.store.find(look.identity) else { return false };
        let unchanged = known.changed != 0 && (known.at.offset, known.changed) == (look.size, look.changed);
        // What the file before has open goes on in an empty one.
        let may_inherit = self.reader.judge.is_some() && known.at.offset == 0;
        let by_now = self.tails.of_identity(&look.identity).is_some() || dir.is_below(path, &self.plan.own);
        if !look.is_file || !unchanged || known.finished || known.packed || known.at.skipping || by_now || may_inherit {
            return false;
        }
        let (head, at) = (known.head, known.at);
        let shared: Arc<Path> = if *known.path == *path { known.path.clone() } else { path.into() };
        let mut tail = self.new_tail(look.identity, look, &shared, &shared, now);
        (tail.generation, tail.head, tail.at) = (generation, head, at);
        if self.handles.has_room() {
            let opened = open(path, self.plan.links);
            let Ok(file) = opened else { return false };
            let is_the_same = |l: Look| (l.identity, l.size, l.changed) == (look.identity, look.size, look.changed);
            if !look_into(&file).is_ok_and(is_the_same) {
                return false;
            }
            self.handles.give(&mut tail, file);
        }
        self.store.moved(generation, &shared, now.seconds());
        tail.paths.add(&shared);
        let key = self.tails.add(&mut tail);
        tail.due.look_rarely(LONGEST_WATCHED);
        self.wait_longer(key, &mut tail, now);
        if tail.handle.is_open() {
            self.handles.keep(key, tail.handle.used());
        }
        self.tails.put(key, tail);
        self.tails.name(shared, key);
        true
    }
}

/// Whether a file lies on an overlay, where its time of birth changes when it is first written to.
pub(super) fn is_on_overlay(file: &OwnedFd) -> bool {
    const OVERLAYFS_SUPER_MAGIC: i64 = 0x794c_7630;
    rustix::fs::fstatfs(file).is_ok_and(|s| s.f_type == OVERLAYFS_SUPER_MAGIC)
}

/// Behind the last whole line, where its end is near enough; else the end.
fn last_line_start(
    file: &OwnedFd,
    size: u64,
    wide: Option<Wide>,
    hasher: Hasher,
    left: &mut u64,
) -> io::Result<Position> {
    let from = size.saturating_sub(SEEK_BACK + MARK_BYTES as u64);
    let mut bytes = vec![0; (size - from) as usize];
    let len = read_at(file, &mut bytes, from)?;
    bytes.truncate(len);
    let behind = match wide {
        None => memchr::memrchr(b'\n', &bytes).map(|i| i + 1),
        Some(wide) => wide.behind_last_newline(&bytes, unit_behind(from, 0)),
    };
    let end = behind.unwrap_or(if from == 0 { 0 } else { len });
    bytes.truncate(end);
    let offset = from + end as u64;
    if offset <= PROVEN_ALWAYS || offset <= PROVEN_START.min(*left) {
        *left = left.saturating_sub(offset);
        let mut running = Running::new(hasher);
        running.read(file, offset, u64::MAX)?;
        return Ok(running.at);
    }
    // What is passed over by wish is not read, and so nothing is proven by it.
    Ok(Position { offset, mark: Position::mark_of(&bytes), ..Position::default() })
}
