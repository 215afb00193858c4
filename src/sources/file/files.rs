//! What becomes of single files: found, opened, renamed, replaced, lost, closed.

use super::checkpoint::Known;
use super::flight::Flight;
use super::identity::{
    HEAD_BYTES, Hasher, Head, Identity, Look, MARK_BYTES, Position, Running, look_at, look_into, open, read_at,
};
use super::joined::Open;
use super::packed::Kind;
use super::proof;
use super::rotation::{
    Adopted, Copies, Lost, Missing, Original, Predecessor, base_names, begins_with_all_of, is_numbered, is_packed_name,
    is_rotation_of,
};
use super::tail::{Out, Place, Tail};
use super::tailer::{MILLISECOND, Now, SECOND, Tailer};
use super::wide::{Units, unit_behind};
use crate::event::Origin;
use crate::framing::wide::{BOM_BYTES, Wide};
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// First wait between two looks at an idle file that nothing tells of.
const FIRST_WAIT: u64 = 100 * MILLISECOND;
/// Longest wait where sweeps are the only way to see growth; grows with the number of files.
const LONGEST_POLL: u64 = SECOND;
const FILES_A_SECOND: u64 = 2000;
/// Longest wait where notices work: the sweep only covers what they miss. Grows with the number of files, too.
pub(super) const LONGEST_WATCHED: u64 = 10 * SECOND;
const WATCHED_FILES_A_SECOND: u64 = 1000;
/// Looks that are not pressing are done together, so that idle files do not each wake the thread.
const TOGETHER: u64 = 250 * MILLISECOND;
/// Files that are said one by one to be found by the first look through the folders.
pub(super) const SAID_AT_FIRST: usize = 100;
/// A file that lost its name is looked at that often.
const GONE_WAIT: u64 = 250 * MILLISECOND;
/// An unfinished last line of a file that lost its name is sent when nothing came for that long.
const UNFINISHED_AFTER: u64 = 2 * SECOND;
/// The same of one that only has a number in its name: its writer may have all the time.
const UNFINISHED_NUMBERED_AFTER: u64 = 600 * SECOND;
/// A file that lost its name is closed when nothing came for that long: writers go on for a while until they are told. The
/// space of a deleted one is not free before.
const GONE_CLOSE_AFTER: u64 = 30 * SECOND;
/// The same for a deleted one that grew since: its writer holds it, and its space, as well.
const WRITTEN_CLOSE_AFTER: u64 = 600 * SECOND;
/// With `start_at: end`, what is passed over is hashed up to that length, to know copies of it.
const PROVEN_START: u64 = 64 << 20;
/// That much of it in all files; longer ones than this are not hashed then.
pub(super) const PROVEN_STARTS: u64 = 512 << 20;
const PROVEN_ALWAYS: u64 = 1 << 20;
/// How far back from the end a line start is sought with `start_at: end`.
const SEEK_BACK: u64 = 64 << 10;

impl Tailer {
    /// Looks at what stands at `path`. `hinted`: nothing has to be concluded about notices.
    pub(super) fn examine(&mut self, path: &Path, now: Now, hinted: bool) {
        let look = match look_at(path, self.plan.follow_symlinks) {
            Ok(look) if look.is_file => look,
            Ok(_) => return self.lose(path, now),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                self.lose(path, now);
                self.seek_shut(path, None);
                self.adopt_missed(path, now);
                return;
            }
            Err(error) => {
                // Its folder lets nobody look: what is open is read on.
                return match self.by_path.get(path) {
                    Some(&key) if self.tails[key].as_ref().is_some_and(|t| t.file.is_some()) => self.check(key, now),
                    _ => self.unreadable(path, &error),
                };
            }
        };
        if let Some(&key) = self.by_path.get(path)
            && let Some(tail) = &self.tails[key]
        {
            if tail.node == (look.identity.device, look.identity.inode)
                && (self.plan.identity_bytes.is_some()
                    || tail.identity.birth == look.identity.birth
                    || self.is_copied_up(key, path, now))
            {
                self.looked(key, look, hinted, now);
                return;
            }
            self.lose(path, now);
        }
        self.found(path, look, now);
    }

    /// Whether a file with the device and inode of one that is read, but another time of birth, has all that was read: then
    /// it is the same file, copied up to another layer of an overlay. It is read on there.
    fn is_copied_up(&mut self, key: usize, path: &Path, now: Now) -> bool {
        let Some(mut tail) = self.tails[key].take() else { return false };
        let same = self.copied_up(&tail, path).unwrap_or(None);
        if let Some((file, look)) = &same {
            tracing::info!(source = %self.plan.id, file = %path.display(), "copied up to another layer; the same file");
            self.by_identity.remove(&tail.identity);
            tail.identity = look.identity;
            self.by_identity.insert(tail.identity, key);
            self.store.replace_identity(tail.generation, look.identity);
            match file.try_clone() {
                Ok(file) => self.open += usize::from(tail.file.replace(file).is_none()),
                Err(_) => self.open -= usize::from(tail.file.take().is_some()),
            }
            tail.grown = now.mono;
            self.queue(key, &mut tail);
        }
        self.tails[key] = Some(tail);
        same.is_some()
    }

    fn copied_up(&self, tail: &Tail, path: &Path) -> io::Result<Option<(OwnedFd, Look)>> {
        let file = open(path, self.plan.follow_symlinks)?;
        let look = look_into(&file)?;
        if !is_on_overlay(&file) {
            return Ok(None);
        }
        let node = (look.identity.device, look.identity.inode) == tail.node && tail.packed.is_none();
        // What was deleted is another file. Where nothing was read, nothing is passed over.
        let deleted = tail.file.as_ref().is_some_and(|file| look_into(file).is_ok_and(|l| l.links == 0));
        if deleted {
            return Ok(None);
        }
        let same = !self.plan.check_contents
            || tail.at.offset == 0
            || tail.at.is_proof() && look.size >= tail.at.offset && proof::holds(self.store.hasher, &file, tail.at)?;
        Ok((node && same).then_some((file, look)))
    }

    /// A file at a path that led to no file we read, or to another.
    fn found(&mut self, path: &Path, look: Look, now: Now) {
        if self.plan.identity_bytes.is_none()
            && let Some(&key) = self.by_identity.get(&look.identity)
        {
            self.add_path(key, path, now);
            return;
        }
        if let Some(pending) = self.pending.get_mut(&look.identity) {
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
        if self.is_own(path) {
            if self.unreadable.insert(path.to_owned()) {
                tracing::warn!(source = %self.plan.id, file = %path.display(), "not read: the agent writes there itself");
            }
            return;
        }
        if let Some(age) = self.plan.ignore_older
            && now.wall.saturating_sub(look.modified) > age.as_nanos() as i64
            && !self.was_found(path, look)
        {
            return;
        }
        self.seek_shut(path, Some(look.identity));
        // What is judged is what is read: the name may lead to the next file by now.
        let opened = self.open_path(path).and_then(|file| Ok((look_into(&file)?, file)));
        let (there, file) = match opened {
            Ok(opened) => opened,
            // Gone between the two looks: the next one sees what is there then, and what had the name meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                self.note_shut(path, look, now);
                return self.unreadable(path, &error);
            }
        };
        if self.plan.identity_bytes.is_none() && there.identity != look.identity && there.is_file {
            return self.found(path, there, now);
        }
        // Several generations may have passed between two looks.
        let after = self.adopt_between(path, there, now);
        match self.start_opened(path, file, there, after, now) {
            Ok(_) => {
                self.shut.remove(path);
                if self.unreadable.remove(path) {
                    tracing::info!(source = %self.plan.id, file = %path.display(), "readable now");
                }
            }
            Err(error) => {
                self.note_shut(path, there, now);
                self.unreadable(path, &error);
            }
        }
    }

    /// Whether a file was found before, and is read on however old it is.
    fn was_found(&self, path: &Path, look: Look) -> bool {
        if self.plan.identity_bytes.is_none() {
            return self.store.find(look.identity).is_some();
        }
        let identity = open(path, self.plan.follow_symlinks).and_then(|file| self.identify(&file, look));
        matches!(identity, Ok(Some(identity)) if self.store.find(identity).is_some())
    }

    pub(super) fn unreadable(&mut self, path: &Path, error: &io::Error) {
        if self.unreadable.insert(path.to_owned()) {
            self.counters.update(|t| t.error("open", 1));
            tracing::error!(source = %self.plan.id, file = %path.display(), %error, "cannot read a file; trying again");
        }
    }

    /// A file is too short for its fingerprint: it waits, but where nothing is waited for it is not read.
    fn tell_short(&mut self, path: &Path, look: Look) -> io::Result<Option<Predecessor>> {
        if !self.plan.once || look.size == 0 {
            return Ok(None);
        }
        if self.unreadable.insert(path.to_owned()) {
            self.counters.update(|t| t.error("open", 1));
            tracing::error!(source = %self.plan.id, file = %path.display(), bytes_not_read = look.size,
                "shorter than what `fingerprint: {{bytes: N}}` wants to tell it from others: not read");
        }
        Err(io::ErrorKind::InvalidData.into())
    }

    /// Whether the agent writes this file itself.
    pub(super) fn is_own(&self, path: &Path) -> bool {
        if self.plan.own.iter().any(|own| path.starts_with(own)) {
            return true;
        }
        let Ok(real) = path.canonicalize() else { return false };
        self.plan.own.iter().any(|own| real.starts_with(own))
    }

    /// Opens a file and starts to read it, from where it was left or from its beginning. `adopted`: it has no name that
    /// matches, but is what became of a file that had one. What is told names the new tail, for others to wait for.
    pub(super) fn start(
        &mut self,
        path: &Path,
        after: Option<Predecessor>,
        adopted: Option<Adopted<'_>>,
        now: Now,
    ) -> io::Result<Option<Predecessor>> {
        let file = self.open_path(path)?;
        let look = look_into(&file)?;
        match adopted {
            None => self.start_opened(path, file, look, after, now),
            Some(_) if !look.is_file => Ok(None),
            Some(_) => self.start_file(path, file, look, after, adopted, now),
        }
    }

    /// As above, of an open file whose name matches.
    fn start_opened(
        &mut self,
        path: &Path,
        mut file: OwnedFd,
        look: Look,
        after: Option<Predecessor>,
        now: Now,
    ) -> io::Result<Option<Predecessor>> {
        if !look.is_file {
            return Ok(None);
        }
        if !self.by_identity.contains_key(&look.identity) {
            file = match self.waits(path, file, look, now) {
                Ok(()) => return Ok(None),
                Err(file) => file,
            };
        }
        self.start_file(path, file, look, after, None, now)
    }

    /// As above, of an open file.
    pub(super) fn start_file(
        &mut self,
        path: &Path,
        file: OwnedFd,
        look: Look,
        after: Option<Predecessor>,
        adopted: Option<Adopted<'_>>,
        now: Now,
    ) -> io::Result<Option<Predecessor>> {
        let Some(identity) = self.identify(&file, look)? else {
            return self.tell_short(path, look);
        };
        if let Some(&key) = self.by_identity.get(&identity) {
            if adopted.is_none() {
                self.add_path(key, path, now);
            }
            // With `fingerprint: {bytes: N}` it may be another inode with the same contents.
            if let Some(tail) = &mut self.tails[key] {
                tail.node = (look.identity.device, look.identity.inode);
                self.open += usize::from(tail.file.replace(file).is_none());
            }
            return Ok(None);
        }
        // What was read as text goes on as text.
        if self.store.find(identity).is_none_or(|(_, k)| k.packed || k.at.offset == 0) {
            match self.packed_format(path, &file, look, now)? {
                Kind::Plain => {}
                Kind::Packed(format) => return self.start_packed(path, file, look, after, adopted, format, now),
                Kind::Ignored | Kind::Unknown => return Ok(None),
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
        tail.file = Some(file);
        self.open += 1;
        if adopted.is_some() {
            tail.place = Place::Gone { since: now.mono, read: false };
        } else {
            tail.paths.push(shared.clone());
        }
        let proves = tail.proof.is_some();
        let key = self.insert(tail);
        if proves {
            self.proofs.push_back(key);
        }
        if adopted.is_none() {
            self.note_link(path, &shared);
            self.by_path.insert(shared, key);
        }
        self.opened(key);
        Ok(self.tails[key].as_ref().map(|t| (key, t.generation)))
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
            paths: Vec::new(),
            path: path.clone(),
            name: name.clone(),
            origin: self.nameless.clone(),
            file: None,
            packed: None,
            at: self.store.hasher.start(),
            past: VecDeque::new(),
            flight: Flight::default(),
            looked: (look.size, look.modified),
            changed: look.changed,
            seen: now.wall,
            before: (look.size, look.modified),
            room: 0,
            proof: None,
            replaced: false,
            suspect: 0,
            compared: 0,
            is_text: false,
            units: Units::Unknown,
            untold: false,
            lost_size: 0,
            stash: Box::default(),
            place: Place::Present,
            queued: false,
            after: None,
            check_at: 0,
            wait: FIRST_WAIT,
            unhinted: false,
            failing: false,
            open: Open::Keep,
            expired_at: 0,
            close_after: false,
            used: self.uses,
            grown: now.mono,
            lag: 0,
            zeros: false,
            parts: None,
            told: None,
            spared: None,
            stands_in: false,
        })
    }

    /// What the lines of a file share; made when it is read first, as most files may never be.
    pub(super) fn ensure_origin(&self, tail: &mut Tail) {
        if !Arc::ptr_eq(&tail.origin, &self.nameless) {
            return;
        }
        tail.origin = Arc::new(Origin {
            source: self.plan.id.clone(),
            file: Some(tail.name.to_string_lossy().into()),
            host: Some(self.plan.host.clone()),
            // All generations of a name share it, so that they stay in order.
            order: xxh3_64(tail.name.as_os_str().as_encoded_bytes()),
            ..Origin::default()
        });
    }

    /// Takes a file in, to be read as soon as it is its turn.
    pub(super) fn insert(&mut self, mut tail: Box<Tail>) -> usize {
        let key = self.keep(&mut tail);
        self.expect_parts(key, &mut tail);
        self.queue(key, &mut tail);
        self.tails[key] = Some(tail);
        key
    }

    /// A slot for a file.
    pub(super) fn keep(&mut self, tail: &mut Tail) -> usize {
        let key = self.free.pop().unwrap_or_else(|| {
            self.tails.push(None);
            self.tails.len() - 1
        });
        self.by_identity.insert(tail.identity, key);
        self.measure(tail);
        key
    }

    /// Notices come for the place where a file really lies.
    pub(super) fn note_link(&mut self, path: &Path, shared: &Arc<Path>) {
        if !self.polls()
            && path.is_symlink()
            && let Ok(real) = path.canonicalize()
        {
            self.linked.insert(real, shared.clone());
            self.next_scan = 0;
        }
    }

    /// What makes the file that file; `None` where it is too short to tell.
    fn identify(&self, file: &OwnedFd, look: Look) -> io::Result<Option<Identity>> {
        let Some(bytes) = self.plan.identity_bytes else { return Ok(Some(look.identity)) };
        let mut head = vec![0; bytes];
        let short = read_at(file, &mut head, 0)? < bytes;
        Ok((!short).then(|| Identity { inode: xxh3_64(&head), ..Identity::default() }))
    }

    /// Where to go on in a file: its generation, its head as far as known, the position.
    fn place(
        &mut self,
        tail: &mut Tail,
        file: &OwnedFd,
        name: &Arc<Path>,
        now: Now,
    ) -> io::Result<(u64, Head, Position)> {
        let mut at = self.store.hasher.start();
        let mut head = Head::default();
        if self.store.find(tail.identity).is_none()
            && let Some(generation) = self.known_by_node(tail, file)?
        {
            tracing::info!(source = %self.plan.id, file = %tail.path.display(), "copied up to another layer; the same file");
            self.store.replace_identity(generation, tail.identity);
        }
        if let Some((generation, known)) = self.store.find(tail.identity) {
            let known = known.clone();
            (tail.generation, tail.head, tail.at) = (generation, known.head, known.at);
            // Copies have names that are made of the one it had.
            let had = if is_rotation_of(&known.path, name) { known.path.clone() } else { name.clone() };
            let (at, since) = (known.at, known.since());
            let of = Original {
                generation,
                at,
                past: Vec::new(),
                unsettled: false,
                since,
                unfinished: Box::default(),
                reading: at.offset,
            };
            let as_known = self.is_as_known(tail, file, &known)?;
            let mut copies = Copies::default();
            if !as_known || self.may_have_been_cut(tail, &had, &known) {
                copies = self.adopt_copy(&had, &of, now);
                tail.after = copies.last.or(tail.after);
            }
            // A writer that did not notice that its file was emptied leaves zeros before what it goes on with.
            tail.zeros = known.at.offset == 0 || !as_known;
            if as_known && !copies.found {
                self.store.moved(generation, name, now.seconds());
                self.spare_sinks(tail, file)?;
                tracing::debug!(file = %tail.path.display(), offset = known.at.offset, "reading goes on");
                return Ok((generation, known.head, known.at));
            }
            tail.proof = None;
            tracing::info!(source = %self.plan.id, file = %tail.path.display(),
                "its contents were replaced while nobody looked; reading from the beginning");
            if !copies.found && !known.finished {
                self.missing.push(Missing {
                    generation,
                    path: name.clone(),
                    unread: known.size.saturating_sub(known.at.offset),
                    offset: known.at.offset,
                    replaced: true,
                });
            }
        } else {
            if self.scanned || self.by_path.len() < SAID_AT_FIRST {
                tracing::info!(source = %self.plan.id, file = %tail.path.display(), "found");
            } else {
                tracing::debug!(source = %self.plan.id, file = %tail.path.display(), "found");
            }
            if self.plan.from_end && self.first_start && !self.scanned {
                let mut mark = [0; BOM_BYTES];
                let len = read_at(file, &mut mark, 0)?;
                let wide = self.reader.units_of(&mark[..len]).wide();
                at = last_line_start(file, tail.looked.0, wide, self.store.hasher, &mut self.start_bytes)?;
                let mut bytes = vec![0; HEAD_BYTES.min(usize::try_from(at.offset).unwrap_or(HEAD_BYTES))];
                let len = read_at(file, &mut bytes, 0)?;
                head = Head::of(&bytes[..len]);
            }
        }
        let known = Known { head, at, partial: at.offset > 0, ..Known::new(tail.identity, name, now.seconds()) };
        Ok((self.store.add(known), head, at))
    }

    /// At the first look: whether files were made beside one since it was looked at last that hold what it does not: it may
    /// have been cut off, though it begins with all that was read.
    fn may_have_been_cut(&self, tail: &Tail, had: &Path, known: &Known) -> bool {
        // One that was renamed is not cut off any more, and generations since are read after it.
        if self.scanned
            || *known.path != *tail.path
            || known.changed != 0 && known.changed == tail.changed
            || self.plan.identity_bytes.is_some()
        {
            return false;
        }
        let since = known.since();
        self.siblings(had).unwrap_or_default().iter().any(|s| {
            let made = if s.look.identity.birth != 0 { s.look.identity.birth } else { s.look.modified };
            made > since
                && !self.is_known(s.look.identity)
                && !is_packed_name(&s.path)
                && !begins_with_all_of(&tail.path, s)
        })
    }

    /// Whether a file is the one that is known, as far as can be told at once; the rest is proven beside other work.
    fn is_as_known(&mut self, tail: &mut Tail, file: &OwnedFd, known: &Known) -> io::Result<bool> {
        if known.at.offset > tail.looked.0 {
            return Ok(false);
        }
        if !self.plan.check_contents {
            return Ok(true);
        }
        if known.changed != 0 && (known.changed, known.size) == (tail.changed, tail.looked.0) {
            return Ok(true);
        }
        let mut bytes = [0; HEAD_BYTES];
        let len = read_at(file, &mut bytes, 0)?;
        Ok(known.head.fits(&bytes[..len]) && mark_holds(file, known.at)? && self.begin_proof(tail, file)?)
    }

    /// At the first look: the generation of a file whose device and inode are known with another time of birth, and which has
    /// all that was read.
    fn known_by_node(&mut self, tail: &Tail, file: &OwnedFd) -> io::Result<Option<u64>> {
        if self.scanned || self.plan.identity_bytes.is_some() || !is_on_overlay(file) {
            return Ok(None);
        }
        let nodes = self.nodes.get_or_insert_with(|| self.store.by_node());
        let Some(&generation) = nodes.get(&tail.node) else { return Ok(None) };
        let Some(at) = self.store.get(generation).filter(|k| k.current && !k.packed).map(|k| k.at) else {
            return Ok(None);
        };
        let same = at.is_proof() && at.offset <= tail.looked.0 && proof::holds(self.store.hasher, file, at)?;
        Ok(same.then_some(generation))
    }

    /// A further name of a file we read, or read until its verdicts are in.
    fn add_path(&mut self, key: usize, path: &Path, now: Now) {
        let Some(mut tail) = self.tails[key].take() else { return };
        let shared: Arc<Path> = path.into();
        if !tail.paths.iter().any(|p| **p == *path) {
            tail.paths.push(shared.clone());
        }
        self.note_link(path, &shared);
        self.by_path.insert(shared.clone(), key);
        if tail.place != Place::Present {
            tail.place = Place::Present;
            tail.path = shared.clone();
            self.queue(key, &mut tail);
        }
        self.store.update(tail.generation, |k| {
            k.path = shared;
            k.touched = now.seconds();
        });
        self.tails[key] = Some(tail);
    }

    /// `path` does not lead any more to the file it led to.
    fn lose(&mut self, path: &Path, now: Now) {
        let Some(key) = self.by_path.remove(path) else { return };
        let Some(mut tail) = self.tails[key].take() else { return };
        tail.paths.retain(|p| **p != *path);
        self.note_rotated(path, (key, tail.generation));
        if let Some(other) = tail.paths.first() {
            tail.path = other.clone();
        } else {
            tracing::info!(source = %self.plan.id, file = %path.display(), "rotated or removed; reading it to its end");
            tail.place = Place::Gone { since: now.mono, read: false };
            tail.lost_size = tail.looked.0;
            if let Some(look) = tail.file.as_ref().and_then(|file| look_into(file).ok()) {
                tail.lost_size = look.size;
                if (look.size, look.modified) == tail.looked {
                    // Its name is what was changed.
                    tail.changed = look.changed;
                }
            }
            self.lost.insert(path.into(), Lost::new(key, &tail, now));
            // The name's next file waits for this one.
            if !tail.queued {
                tail.queued = true;
                self.ready.push_front(key);
            }
        }
        self.tails[key] = Some(tail);
    }

    /// Takes in what a look at a file by its path told.
    fn looked(&mut self, key: usize, look: Look, hinted: bool, now: Now) {
        let Some(mut tail) = self.tails[key].take() else { return };
        let inode = self.plan.identity_bytes.is_none();
        tail.replaced |= inode && tail.packed.is_none() && look.size < tail.reading().offset;
        if (look.size, look.modified) != tail.looked {
            tail.unhinted = !hinted && !self.polls();
            tail.wait = FIRST_WAIT;
            self.queue(key, &mut tail);
        } else if tail.failing || tail.untold {
            self.queue(key, &mut tail);
        } else {
            self.nothing_new(key, &mut tail, look, now);
        }
        self.store.touch(tail.generation, now.seconds());
        self.tails[key] = Some(tail);
    }

    /// The look that is due.
    pub(super) fn check(&mut self, key: usize, now: Now) {
        let Some(tail) = &self.tails[key] else { return };
        let path = tail.path.clone();
        let look = match &tail.file {
            Some(file) => look_into(file),
            None if tail.place == Place::Present => return self.examine_idle(key, &path, now),
            None if self.open < self.plan.max_open => return self.gone_without_handle(key, now),
            // It is opened when it is read.
            None => {
                if let Some(mut tail) = self.tails[key].take() {
                    self.queue(key, &mut tail);
                    self.tails[key] = Some(tail);
                }
                return;
            }
        };
        let Some(mut tail) = self.tails[key].take() else { return };
        match look {
            Ok(look) if (look.size, look.modified) != tail.looked => {
                tail.replaced |= tail.packed.is_none() && look.size < tail.reading().offset;
                if tail.place == Place::Present {
                    tail.unhinted = !self.polls();
                }
                tail.wait = FIRST_WAIT;
                self.queue(key, &mut tail);
            }
            Ok(look) => {
                if tail.failing || tail.untold {
                    self.queue(key, &mut tail);
                }
                self.idle(key, &mut tail, look, now);
            }
            Err(error) => self.failed(key, &mut tail, &error, now),
        }
        self.tails[key] = Some(tail);
    }

    /// Neither the size of a file nor its time of modification is another one than at the last look.
    fn nothing_new(&mut self, key: usize, tail: &mut Tail, look: Look, now: Now) {
        if look.changed != tail.changed {
            self.changed_otherwise(tail, look, now);
        }
        if tail.suspect != 0 {
            self.compare_suspect(key, tail, now);
        }
        self.store.seen_whole(tail, now.wall);
    }

    fn examine_idle(&mut self, key: usize, path: &Path, now: Now) {
        self.examine(path, now, false);
        if let Some(mut tail) = self.tails[key].take() {
            if self.parts_are_due(&tail, now) {
                self.queue(key, &mut tail);
            }
            if !tail.queued {
                self.schedule_parts(key, &mut tail);
                self.wait_longer(key, &mut tail, now);
            }
            self.tails[key] = Some(tail);
        }
    }

    /// A look that found nothing new.
    fn idle(&mut self, key: usize, tail: &mut Tail, look: Look, now: Now) {
        if tail.waits() || tail.is_deciding() {
            // What it waits for may have come. One that is gone for good is not waited for.
            tail.close_after = look.links == 0 && tail.is_told_cut() && now.mono - tail.grown >= GONE_CLOSE_AFTER;
            return self.queue(key, tail);
        }
        self.nothing_new(key, tail, look, now);
        if let Place::Gone { since, .. } = tail.place {
            let quiet = now.mono - since.max(tail.grown);
            let written = look.links == 0 && look.size > tail.lost_size;
            let close = quiet >= if written { WRITTEN_CLOSE_AFTER } else { GONE_CLOSE_AFTER };
            if close && written && !tail.close_after {
                self.counters.update(|t| t.error("closed_deleted", 1));
                tracing::warn!(source = %self.plan.id, file = %tail.path.display(), read_to = tail.at.offset,
                    "deleted, and its writer went on in it, but not for ten minutes: it is closed, and what may still be \
                     written to it is lost");
            }
            if close || quiet >= UNFINISHED_AFTER && !tail.stash.is_empty() {
                tail.open = if close { Open::Flush } else { Open::Finish };
                tail.close_after = close;
                self.queue(key, tail);
            } else if self.parts_are_due(tail, now) {
                self.queue(key, tail);
            } else {
                self.schedule(key, tail, now.mono + GONE_WAIT);
            }
            return;
        }
        if tail.at.offset < look.size - tail.room.min(look.size)
            && tail.expired_at != tail.end()
            && let Some(after) = unfinished_after(tail, look)
        {
            if now.mono - tail.grown >= after {
                tail.open = Open::Finish;
                tail.expired_at = tail.end();
                return self.queue(key, tail);
            }
            self.schedule(key, tail, tail.grown + after);
        }
        if self.parts_are_due(tail, now) {
            return self.queue(key, tail);
        }
        if let Some(timeout) = self.may_expire(tail) {
            let quiet = now.mono - tail.grown;
            if quiet >= timeout {
                tail.open = Open::Close;
                tail.expired_at = tail.end();
                self.queue(key, tail);
                return;
            }
            self.schedule(key, tail, now.mono + timeout - quiet);
        }
        if let Some(after) = self.plan.remove_after
            && self.removable(tail, look, now, after.as_nanos() as u64)
        {
            self.remove(tail);
        }
        self.schedule_parts(key, tail);
        self.wait_longer(key, tail, now);
    }

    /// How long an event of several lines may stay open, where there may be one.
    fn may_expire(&self, tail: &Tail) -> Option<u64> {
        let multiline = self.plan.multiline.as_ref()?;
        let unsent = tail.at.offset < tail.end() && tail.expired_at != tail.end();
        (unsent && tail.place == Place::Present).then_some(multiline.limits().timeout_nanos.max(MILLISECOND))
    }

    pub(super) fn wait_longer(&mut self, key: usize, tail: &mut Tail, now: Now) {
        let longest = if self.polls() || tail.unhinted {
            LONGEST_POLL.max(self.by_path.len() as u64 * SECOND / FILES_A_SECOND)
        } else {
            LONGEST_WATCHED.max(self.by_path.len() as u64 * SECOND / WATCHED_FILES_A_SECOND)
        };
        let longest = self.plan.remove_after.map_or(longest, |d| longest.min(d.as_nanos() as u64));
        tail.wait = (tail.wait * 2).min(longest).max(MILLISECOND);
        let at = now.mono + tail.wait;
        self.schedule(key, tail, if tail.wait < SECOND { at } else { at.next_multiple_of(TOGETHER) });
    }

    /// A turn of reading came to the end of the file.
    pub(super) fn ended(&mut self, key: usize, tail: &mut Tail, grew: bool, now: Now) {
        if let Some(packed) = &tail.packed {
            if tail.is_deciding() {
                self.decide_packed(key, tail, now);
            } else if (packed.ended || tail.close_after) && !tail.has_open_parts() {
                tail.place = Place::Closed;
            } else if packed.ended {
                self.wait_longer(key, tail, now);
            } else {
                self.short_packed(key, tail, now);
            }
            if tail.has_open_parts() {
                self.schedule_parts(key, tail);
            }
            return;
        }
        if tail.close_after && tail.reading().offset >= tail.end() {
            self.keep_looking(tail);
            tail.place = Place::Closed;
            return;
        }
        (tail.open, tail.close_after) = (Open::Keep, false);
        self.store.seen_whole(tail, now.wall);
        if grew {
            tail.wait = FIRST_WAIT;
        }
        let mut wait = if matches!(tail.place, Place::Gone { .. }) { GONE_WAIT } else { tail.wait };
        if let Some(timeout) = self.may_expire(tail) {
            wait = wait.min(timeout);
        }
        self.schedule(key, tail, now.mono + wait);
        self.schedule_parts(key, tail);
    }

    /// The contents that were read so far are gone: what of them was read and not sent is sent, then it begins anew.
    pub(super) fn replaced(&mut self, key: usize, tail: &mut Tail, now: Now, out: &mut dyn Out) {
        let cut = tail.packed.is_none() && tail.looked.0 < tail.at.offset;
        let how = if cut { "cut off" } else { "written anew in place" };
        tracing::info!(source = %self.plan.id, file = %tail.path.display(), how, "reading from its new beginning");
        self.counters.update(|t| t.error("truncated", 1));
        self.store.update(tail.generation, |k| k.head = tail.head);
        let Tail { generation, at, before: (size, since), .. } = *tail;
        let at = tail.proof.take().map_or(at, |proof| proof.goal());
        let unsettled = tail.flight.is_unsettled(generation);
        let past = std::mem::take(&mut tail.past).into();
        let (unfinished, reading) = (tail.stash.clone(), tail.reading().offset);
        let of = Original { generation, at, past, unsettled, since, unfinished, reading };
        let had = if is_rotation_of(&tail.name, &tail.path) { tail.name.clone() } else { tail.path.clone() };
        let copies = self.adopt_copy(&had, &of, now);
        tail.after = copies.last.or(tail.after.take());
        if copies.found && copies.has_all {
            // The copy has the unfinished line too.
            tail.stash = Box::default();
            self.forget_parts(key, tail, now, out);
        } else {
            let unfinished = tail.stash.len() as u64;
            let read = tail.reading().offset + unfinished;
            self.reader.send_stash(key, tail, now.wall, out);
            let unread = size.saturating_sub(read);
            if unread > 0 && tail.packed.is_none() && !copies.found {
                let path = tail.path.clone();
                self.missing.push(Missing { generation, path, unread, offset: at.offset, replaced: true });
            }
            if copies.found {
                self.forget_parts(key, tail, now, out);
            } else {
                tail.parts.iter_mut().for_each(|parts| parts.begin_anew());
            }
        }
        tail.generation = self.store.add(Known::new(tail.identity, &tail.path, now.seconds()));
        tail.head = Head::default();
        tail.at = self.store.hasher.start();
        tail.before = (tail.looked.0, tail.looked.1);
        tail.room = 0;
        tail.zeros = true;
        // What it is now its first bytes tell.
        (tail.packed, tail.is_text, tail.untold, tail.units) = (None, false, false, Units::Unknown);
        (tail.replaced, tail.suspect, tail.compared) = (false, 0, now.mono);
        self.queue(key, tail);
    }

    pub(super) fn failed(&mut self, key: usize, tail: &mut Tail, error: &io::Error, now: Now) {
        if !tail.failing {
            tail.failing = true;
            self.counters.update(|t| t.error("read", 1));
            tracing::error!(source = %self.plan.id, file = %tail.path.display(), %error, "cannot read on; trying again");
        }
        if tail.place == Place::Present && tail.file.take().is_some() {
            self.open -= 1;
        }
        self.wait_longer(key, tail, now);
    }

    /// Whether everything in the file was delivered and it has been quiet for long enough. Of an empty one nothing was, and its
    /// writer may be about to begin.
    fn removable(&self, tail: &Tail, look: Look, now: Now, after: u64) -> bool {
        (tail.is_whole() && tail.at.offset == look.size)
            && look.size > 0
            && tail.flight.outstanding() == 0
            && self.store.get(tail.generation).is_some_and(|k| k.at == tail.at && !k.partial)
            && now.mono.saturating_sub(tail.grown) >= after
            && now.wall.saturating_sub(look.modified) >= after as i64
    }

    fn remove(&mut self, tail: &mut Tail) {
        let same = look_at(&tail.path, false)
            .is_ok_and(|l| l.is_file && (l.identity.device, l.identity.inode) == tail.node && l.size == tail.at.offset);
        if !same {
            return;
        }
        if !self.remove_file(&tail.path) {
            tail.grown = u64::MAX / 2;
        }
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
        self.uses += 1;
        tail.used = self.uses;
        if tail.file.is_some() {
            return Ok(true);
        }
        let file = match self.open_path(&tail.path.clone()) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(e),
        };
        let look = look_into(&file)?;
        if self.identify(&file, look)? != Some(tail.identity) {
            return Ok(false);
        }
        tail.file = Some(file);
        self.open += 1;
        self.spare_handles();
        self.handles.push_back((key, tail.used));
        Ok(true)
    }

    /// With `once`: files that should have been read and could not, and folders that may have some.
    pub(super) fn unread(&self) -> usize {
        if !self.plan.once {
            return 0;
        }
        let failing = self.tails.iter().flatten().filter(|t| t.failing).count();
        self.missed.unread + self.unreadable.len() + self.reader.damaged + failing
    }

    /// Ends the reading of a file; it is forgotten here once all verdicts are in.
    pub(super) fn close(&mut self, key: usize) {
        let Some(mut tail) = self.tails[key].take() else { return };
        if tail.has_open_parts() {
            // What is open of it is given first.
            self.queue(key, &mut tail);
        }
        if tail.file.take().is_some() {
            self.open -= 1;
        }
        tail.place = Place::Closed;
        self.measure(&mut tail);
        let settled = tail.flight.outstanding() == 0 && !tail.has_open_parts();
        self.tails[key] = Some(tail);
        if settled {
            self.release(key);
        }
    }

    /// Forgets a closed file; what is known of it stays in the store.
    pub(super) fn release(&mut self, key: usize) {
        if let Some(tail) = self.tails[key].take() {
            self.by_identity.remove(&tail.identity);
            for path in &tail.paths {
                self.by_path.remove(path);
            }
            // What failed is read again at the next start.
            let settled = self.store.get(tail.generation).is_some_and(|k| k.at == tail.at);
            if settled && tail.packed.as_ref().is_some_and(|p| p.ended) {
                let changed = tail.changed;
                if let Some(after) = self.plan.remove_after {
                    self.packed_since.insert(tail.identity, tail.grown);
                    self.next_scan = self.next_scan.min(tail.grown.saturating_add(after.as_nanos() as u64));
                }
                self.packed_known += 1;
                // What could not be read of it was not delivered either: it is not removed.
                let damaged = tail.packed.as_ref().is_some_and(|p| p.told);
                self.store.update(tail.generation, |k| {
                    (k.finished, k.changed, k.partial) = (true, changed, k.partial || damaged);
                });
            } else if settled && tail.packed.is_none() && tail.paths.is_empty() && tail.unread() == 0 {
                self.store.update(tail.generation, |k| k.left = true);
            }
            self.free.push(key);
        }
    }
}

/// After how much silence the unfinished line of a file that still has a name that matches is given up on; `None` where it is
/// waited for. Nothing more is to be expected in one that was renamed, or that has a number in its name where the file without
/// that was made after it was modified last.
fn unfinished_after(tail: &Tail, look: Look) -> Option<u64> {
    let name = tail.path.file_name().and_then(|n| n.to_str())?;
    let is_successor = |base: String| {
        let there = look_at(&tail.path.with_file_name(base), true).ok().filter(|l| l.is_file);
        there.is_some_and(|l| (if l.identity.birth != 0 { l.identity.birth } else { l.modified }) > look.modified)
    };
    let rotated = *tail.path != *tail.name || is_numbered(name) && base_names(name).any(is_successor);
    match tail.packed {
        Some(_) => None,
        None if rotated => Some(UNFINISHED_AFTER),
        None => is_numbered(name).then_some(UNFINISHED_NUMBERED_AFTER),
    }
}

/// Whether a file lies on an overlay, where its time of birth changes when it is first written to.
fn is_on_overlay(file: &OwnedFd) -> bool {
    const OVERLAYFS_SUPER_MAGIC: i64 = 0x794c_7630;
    rustix::fs::fstatfs(file).is_ok_and(|s| s.f_type == OVERLAYFS_SUPER_MAGIC)
}

/// Whether the bytes before a position are those that were there.
pub(super) fn mark_holds(file: &OwnedFd, at: Position) -> io::Result<bool> {
    let mut bytes = [0; MARK_BYTES];
    let bytes = &mut bytes[..at.mark_len()];
    let len = read_at(file, bytes, at.offset - bytes.len() as u64)?;
    Ok(len == bytes.len() && Position::mark_of(bytes) == at.mark)
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
