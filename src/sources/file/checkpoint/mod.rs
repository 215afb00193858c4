//! How far each file was read and settled, on disk.
//!
//! Two kinds of file lie in `data_dir/<id>/`: `files.N` has every known file, `recent.N` those that changed since that
//! `files.N` was written, so that a second's work costs a second's changes, not all that is known. Each kind has two
//! slots, N = 0 and 1, written in turn by [`replace_file`](crate::storage::data_dir::replace_file): whatever happens to one, the other is the state before it.
//! An older state gives repeats, never gaps.
//!
//! [`mod@format`] has the layout of both.
//!
//! Reading: of the valid `files` slots the one with the highest sequence is taken; then every valid `recent` whose base is
//! not older, in the order of their sequence. A crash between a new `files` and its first `recent` leaves a `recent` with
//! an older base, which is passed over: all it says is in the new `files`.
//!
//! Cost: where N files are known and c of them change each second, a `recent` grows by c entries a second, and a new `files`
//! is written when all since the last have taken as much as two of it: about 2·√(N·c) entries a second, not N.

#[cfg(test)]
mod faults;
mod format;
mod places;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(super) use self::format::as_version;
pub use self::places::{FilePlace, forget_places, places};

use self::format::{Image, ImageKind, decode, encode};
use super::flight::{Flight, Settlement};
use super::identity::{Hasher, Head, Identity, Links, Position, Sum, look_at};
use crate::storage::data_dir::replace_file_on;
use crate::storage::{Disk, OpenFor, Storage};
use hashbrown::{HashMap, HashSet};
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Seconds after which a file that is not there any more is forgotten.
const FORGET_AFTER: i64 = 7 * 24 * 3600;
/// Most files that are not there any more, kept to know compressed and copied generations by, and to go on in those that come
/// back with their folder.
const MAX_GONE: usize = 20_000;
/// Most of them whose folder is there without them, so that they do not come back: archives and copies are made soon.
const MAX_DELETED: usize = 1_000;
/// But more within that many seconds, and so soon after a start: many may be rotated at once, and compressed one by one.
const SOON: i64 = 900;
/// Most of those.
const MAX_SOON: usize = 10_000;
/// They are counted when so many more files are known, and a 64th of all.
const COUNT_EVERY: usize = 256;
/// A file not seen for that many seconds and three looks through the folders is not there.
const GONE_AFTER: i64 = 60;
/// Nanoseconds after which a time of modification can be trusted to change with the contents.
const QUIET: i64 = 2_000_000_000;
/// Changes below that many are always written as `recent`.
const MIN_RECENT: usize = 1024;

/// What is known of one generation of a file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Known {
    pub(super) identity: Identity,
    pub(super) head: Head,
    /// Everything before it is settled.
    pub(super) at: Position,
    /// Where it was seen last.
    pub(super) path: Arc<Path>,
    /// When it was last seen to be there: seconds since 1970.
    pub(super) touched: i64,
    /// When it was changed last (which nobody can set), where all that it had then is settled; else 0. Nanoseconds since 1970.
    pub(super) changed: i64,
    /// When it had been modified last when what is settled was read; 0 where that is not known. Nanoseconds since 1970.
    pub(super) modified: i64,
    /// Bytes it had when it was looked at last, as far as that is known: what is missed where it is gone.
    pub(super) size: u64,
    /// It is the newest generation of its identity; others are gone, by deletion, truncation or reuse of the inode.
    pub(super) current: bool,
    /// Nothing more will come of it: a compressed file that was read to its end, or one that goes on in an archive or copy.
    pub(super) finished: bool,
    /// It is compressed; its places count decompressed bytes.
    pub(super) packed: bool,
    /// It lost its name, and was read to its end since: nothing is missed where it is gone.
    pub(super) left: bool,
    /// Its beginning was passed over by wish, and not delivered.
    pub(super) partial: bool,
}

impl Known {
    /// A file at its beginning.
    pub(super) fn new(identity: Identity, path: &Arc<Path>, touched: i64) -> Self {
        let (head, at) = (Head::default(), Position::default());
        let path = path.clone();
        let (finished, packed, left, partial) = (false, false, false, false);
        let (changed, modified, size, current) = (0, 0, 0, true);
        Known { identity, head, at, path, touched, changed, modified, size, current, finished, packed, left, partial }
    }

    /// What was made or modified later was not there when it was looked at last: nanoseconds since 1970.
    pub(super) fn since(&self) -> i64 {
        if self.at.offset == 0 {
            // Nothing of it was read: all that was written since it was made may be its.
            return self.identity.birth.saturating_sub(1);
        }
        if self.modified != 0 { self.modified } else { self.touched.saturating_mul(1_000_000_000) }
    }
}

/// A file to be written, and what it stands for.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) path: PathBuf,
    pub(super) bytes: Vec<u8>,
    kind: ImageKind,
    sequence: u64,
    /// Changes that the file holds.
    changes: u64,
}

impl Write {
    /// Puts the file in place. Blocks on the disk.
    pub(super) fn perform(&self) -> io::Result<()> {
        self.perform_on(&Disk)
    }

    fn perform_on(&self, storage: &dyn Storage) -> io::Result<()> {
        replace_file_on(storage, &self.path, &self.bytes)
    }
}

/// Sinks by number, with the parts of one generation that they hold and a position behind them, the least of these first.
pub(super) type BySink = Vec<(usize, Vec<Range<u64>>, Position)>;

/// A file that is being read, as it was when it was looked at last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) generation: u64,
    pub(super) head: Head,
    /// Everything before it was sent.
    pub(super) at: Position,
    /// Behind the last byte that counts.
    pub(super) end: u64,
    /// When it had been modified last.
    pub(super) modified: i64,
    /// When it was changed last, where all that it had then was sent; else 0.
    pub(super) changed: i64,
    /// Chunks of it have no verdict yet.
    pub(super) is_unsettled: bool,
}

/// A copy whose beginning is on its way from its original.
#[derive(Debug)]
struct Copied {
    generation: u64,
    /// Where its own reading began.
    from: Position,
    /// How far that is settled.
    reached: Option<Position>,
}

/// All that is known of files, and which of it is on disk.
#[derive(Debug, Default)]
pub(super) struct Store {
    dir: PathBuf,
    /// A tree, and boxes: files come and go for ever, and a hash table that is more than half full grows by that.
    files: BTreeMap<u64, Box<Known>>,
    by_identity: BTreeMap<Identity, u64>,
    /// What has not been there for long is forgotten when so many are known.
    forget_at: usize,
    /// When the first checkpoint of this run was written: seconds since 1970.
    started: Option<i64>,
    next_generation: u64,
    /// Changed since the `files` on disk.
    changed: HashSet<u64>,
    /// Number of changes ever, and how many of them are on disk.
    changes: u64,
    saved: u64,
    /// Of the last file written or under way.
    sequence: u64,
    /// Of the `files` on disk; 0 where there is none.
    base: u64,
    /// Slots written last, by kind.
    slots: [usize; 2],
    /// The next file must be a `files`: what is on disk is damaged or of before.
    whole: bool,
    /// Something of it was damaged: there was a run before, whatever is known of it.
    damaged: bool,
    /// Entries written as `recent` since the last `files`.
    written_since: usize,
    /// Copies of contents that were not settled as far as they had been read, by the generation that they are copies of.
    copies: HashMap<u64, Copied>,
    /// Seconds between two looks through the folders.
    pub(super) look_every: i64,
    /// The running hash of all places here.
    pub(super) hasher: Hasher,
    /// Its keys are on disk: what was told with them outside of here can be known again.
    pub(super) keys_kept: bool,
    /// At a start, sinks that hold more of a generation than others.
    pub(super) ahead: HashMap<u64, BySink>,
}

impl Store {
    /// Reads what is in `dir`, which is made where missing. What is damaged is said and passed over.
    ///
    /// Errors: the folder cannot be made or read.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        Store::open_on(&Disk, dir)
    }

    fn open_on(storage: &dyn Storage, dir: &Path) -> io::Result<Self> {
        storage.create_dir(dir)?;
        let mut store = Store { dir: dir.to_owned(), next_generation: 1, ..Store::default() };
        store.hasher = Hasher::random();
        let mut damaged = false;
        let mut read = |kind: ImageKind| -> io::Result<Vec<(usize, Image)>> {
            let mut images = Vec::new();
            for slot in 0..2 {
                let path = dir.join(format!("{}.{slot}", kind.name()));
                let bytes = match read_file(storage, &path) {
                    Ok(bytes) => bytes,
                    Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                    Err(e) => return Err(io::Error::new(e.kind(), format!("{}: {e}", path.display()))),
                };
                match decode(&bytes, kind) {
                    Ok(image) => images.push((slot, image)),
                    Err(why) => {
                        damaged = true;
                        tracing::error!(file = %path.display(), why, "a checkpoint file is damaged; using the one \
                            before it, so some lines may be read again");
                    }
                }
            }
            images.sort_by_key(|(_, image)| image.sequence);
            Ok(images)
        };
        let mut bases = read(ImageKind::Files)?;
        let recents = read(ImageKind::Recent)?;
        if let Some((slot, base)) = bases.pop() {
            (store.slots[0], store.base) = (slot, base.sequence);
            match base.keys {
                Some(keys) => (store.hasher, store.keys_kept) = (Hasher { keys }, true),
                // One of before: the keys are drawn now, and go to disk with the places.
                None => store.whole = true,
            }
            store.apply(base);
        }
        for (slot, recent) in recents {
            store.slots[1] = slot;
            store.sequence = store.sequence.max(recent.sequence);
            if recent.base >= store.base {
                store.whole |= recent.base != store.base;
                store.changed.extend(recent.entries.iter().map(|(generation, _)| *generation));
                if let Some(keys) = recent.keys.filter(|keys| *keys != store.hasher.keys) {
                    // Its `files` is lost: the keys of what is newer hold.
                    (store.hasher, store.keys_kept) = (Hasher { keys }, true);
                    store.whole = true;
                    store.files.values_mut().for_each(|known| known.at.sum = Sum::default());
                }
                store.apply(recent);
            }
        }
        store.whole |= damaged;
        store.damaged = damaged;
        store.by_identity = store.files.iter().filter(|(_, k)| k.current).map(|(g, k)| (k.identity, *g)).collect();
        Ok(store)
    }

    /// Puts the keys on disk before anything is told with them, in a `files` without a file: what is there counts as nothing
    /// ([`is_new`](Store::is_new)). Where that fails nothing is told until a checkpoint could be written.
    pub(super) fn keep_keys(&mut self) {
        if self.keys_kept || !self.is_new() {
            return;
        }
        let bytes = encode(ImageKind::Files, 0, 0, self.next_generation, self.hasher, std::iter::empty());
        let path = self.dir.join("files.0");
        match replace_file_on(&Disk, &path, &bytes) {
            Ok(()) => self.keys_kept = true,
            Err(error) => tracing::warn!(file = %path.display(), %error, "cannot write a checkpoint yet"),
        }
    }

    /// Numbers below are given already.
    pub(super) fn number_from(&mut self, next: u64) {
        self.next_generation = self.next_generation.max(next);
    }

    fn apply(&mut self, image: Image) {
        self.sequence = self.sequence.max(image.sequence);
        self.next_generation = self.next_generation.max(image.next_generation);
        self.files.extend(image.entries.into_iter().map(|(generation, known)| (generation, Box::new(known))));
    }

    /// Number of generations known.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// The newest generation of an identity.
    pub(super) fn find(&self, identity: Identity) -> Option<(u64, &Known)> {
        let generation = *self.by_identity.get(&identity)?;
        self.get(generation).map(|k| (generation, k))
    }

    /// One generation.
    pub(super) fn get(&self, generation: u64) -> Option<&Known> {
        self.files.get(&generation).map(|known| &**known)
    }

    /// All generations.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Known)> + Clone {
        self.files.iter().map(|(g, k)| (*g, &**k))
    }

    /// A number for a generation that may be entered later.
    pub(super) fn reserve(&mut self) -> u64 {
        self.next_generation += 1;
        self.next_generation - 1
    }

    /// Enters a new generation, which becomes the current one of its identity.
    pub(super) fn add(&mut self, known: Known) -> u64 {
        let generation = self.reserve();
        self.add_as(generation, known)
    }

    /// As above, with a number that was reserved.
    pub(super) fn add_as(&mut self, generation: u64, known: Known) -> u64 {
        if let Some(old) = self.by_identity.insert(known.identity, generation)
            && old != generation
        {
            self.update(old, |k| k.current = false);
        }
        self.files.insert(generation, Box::new(known));
        self.note(generation);
        generation
    }

    /// Changes what is known of a generation.
    pub(super) fn update(&mut self, generation: u64, change: impl FnOnce(&mut Known)) {
        if let Some(known) = self.files.get_mut(&generation) {
            change(known);
            self.note(generation);
        }
    }

    /// Enters a copy, which is read from `known.at` on. As long as generation `of`, its original, is not settled up to
    /// there, the copy stands where that does: what is on its way is read from the copy after a crash.
    pub(super) fn add_copy(&mut self, mut known: Known, of: Option<u64>) -> u64 {
        let from = known.at;
        let original = of.and_then(|of| Some((of, self.files.get(&of)?)));
        let Some((of, original)) = original.filter(|(_, k)| k.at.offset < from.offset) else { return self.add(known) };
        known.at = original.at;
        let generation = self.add(known);
        self.copies.insert(of, Copied { generation, from, reached: None });
        generation
    }

    /// Whether it is an original with a copy, or that copy, and not settled as far as the original was read.
    pub(super) fn is_unsettled_copy(&self, generation: u64) -> bool {
        self.copies.iter().any(|(of, copy)| *of == generation || copy.generation == generation)
    }

    /// What is settled of originals is settled of their copies; `flight` has what is not, of the file of this identity.
    pub(super) fn settle_copies(&mut self, identity: Identity, flight: &Flight) {
        if self.copies.is_empty() {
            return;
        }
        let of_file = |of: &u64| self.files.get(of).is_some_and(|k| k.identity == identity);
        let originals: Vec<u64> = self.copies.keys().copied().filter(of_file).collect();
        for of in originals {
            let Some(copy) = self.copies.get(&of) else { continue };
            let (generation, mut at) = (copy.generation, self.files.get(&of).map_or(copy.from, |k| k.at));
            if !flight.is_unsettled(of) || at.offset >= copy.from.offset {
                at = copy.reached.unwrap_or(copy.from);
                self.copies.remove(&of);
            }
            if self.files.get(&generation).is_some_and(|k| k.at != at) {
                self.update(generation, |k| (k.at, k.changed) = (at, 0));
            }
        }
    }

    /// Notes how far a generation of `file` is settled, and its head as it is known by now.
    pub(super) fn settle(&mut self, mark: Settlement, file: &Seen) {
        if let Some(copy) = self.copies.values_mut().find(|copy| copy.generation == mark.generation) {
            copy.reached = Some(mark.at);
            return;
        }
        let head = (mark.generation == file.generation).then_some(file.head);
        if self.files.get(&mark.generation).is_some_and(|k| k.at != mark.at || head.is_some_and(|h| h != k.head)) {
            self.update(mark.generation, |k| {
                k.at = mark.at;
                k.changed = 0;
                k.head = head.unwrap_or(k.head);
                if head.is_some() {
                    (k.size, k.modified) = (file.end, file.modified);
                }
            });
        }
    }

    /// Notes that a file is there, under this name.
    pub(super) fn moved(&mut self, generation: u64, path: &Arc<Path>, now: i64) {
        let Some(known) = self.files.get_mut(&generation) else { return };
        known.touched = now;
        if known.path == *path {
            // One text for both.
            known.path = path.clone();
        } else {
            self.update(generation, |k| k.path = path.clone());
        }
    }

    /// Notes that a file was looked at and has no more than is settled. Only where it has been quiet for a while: two
    /// changes in quick succession may have one time.
    pub(super) fn seen_whole(&mut self, file: &Seen, wall: i64) {
        if wall.saturating_sub(file.changed) < QUIET {
            return;
        }
        let settled = |k: &Known| k.at == file.at && k.changed != file.changed;
        if file.changed != 0 && !file.is_unsettled && self.get(file.generation).is_some_and(settled) {
            self.update(file.generation, |k| {
                k.changed = file.changed;
                k.head = file.head;
                k.size = file.end;
            });
        }
    }

    /// Notes how large a file is; written with the next change of it.
    pub(super) fn note_size(&mut self, generation: u64, size: u64) {
        if let Some(known) = self.files.get_mut(&generation) {
            known.size = size;
        }
    }

    /// Notes that a file was replaced on disk by one of the same contents (as when a layer of an overlay is copied up).
    pub(super) fn replace_identity(&mut self, generation: u64, identity: Identity) {
        let Some(known) = self.files.get(&generation) else { return };
        if self.by_identity.get(&known.identity) == Some(&generation) {
            self.by_identity.remove(&known.identity);
        }
        self.by_identity.insert(identity, generation);
        self.update(generation, |k| (k.identity, k.changed) = (identity, 0));
    }

    /// Current generations by device and inode alone.
    pub(super) fn by_node(&self) -> HashMap<(u64, u64), u64> {
        self.by_identity.iter().map(|(identity, generation)| ((identity.device, identity.inode), *generation)).collect()
    }

    /// The number that the next new file gets.
    pub(super) fn next_generation(&self) -> u64 {
        self.next_generation
    }

    /// Whether there was nothing on disk.
    pub(super) fn is_new(&self) -> bool {
        self.sequence == 0 && !self.damaged
    }

    /// Has a checkpoint written even where there is no file to speak of: the next start is not the first.
    pub(super) fn make_known(&mut self) {
        if self.base == 0 {
            self.changes += 1;
        }
    }

    /// Notes that a file is still there; written with the next `files`.
    pub(super) fn touch(&mut self, generation: u64, now: i64) {
        if let Some(known) = self.files.get_mut(&generation) {
            known.touched = now;
        }
    }

    fn note(&mut self, generation: u64) {
        self.changed.insert(generation);
        self.changes += 1;
    }

    /// Whether something is not on disk yet.
    pub(super) fn is_dirty(&self) -> bool {
        self.changes != self.saved
    }

    /// Whether the next file written is a `files`.
    pub(super) fn next_is_whole(&self) -> bool {
        let entries = self.files.len();
        self.whole
            || self.base == 0
            || self.changed.len() > MIN_RECENT
                && (self.changed.len() > entries / 4 || self.written_since > entries.saturating_mul(2))
    }

    /// What is to be written now, `now` in seconds since 1970; `None` where all is on disk. Only one at a time: the next
    /// after [`written`](Store::written) or [`not_written`](Store::not_written).
    pub(super) fn next_write(&mut self, now: i64) -> Option<Write> {
        if !self.is_dirty() {
            return None;
        }
        let whole = self.next_is_whole();
        let kind = if whole { ImageKind::Files } else { ImageKind::Recent };
        if whole || self.files.len() >= self.forget_at {
            self.forget(now);
        }
        let sequence = self.sequence + 1;
        let base = if whole { sequence } else { self.base };
        let bytes = if whole {
            encode(kind, sequence, base, self.next_generation, self.hasher, self.iter())
        } else {
            let changed = self.changed.iter().filter_map(|g| Some((*g, self.get(*g)?)));
            encode(kind, sequence, base, self.next_generation, self.hasher, changed)
        };
        let slot = 1 - self.slots[kind as usize];
        let path = self.dir.join(format!("{}.{slot}", kind.name()));
        self.sequence = sequence;
        if whole {
            // What changes from here on belongs to the next `recent`.
            self.changed.clear();
            self.written_since = 0;
        } else {
            self.written_since += self.changed.len();
        }
        Some(Write { path, bytes, kind, sequence, changes: self.changes })
    }

    /// Notes that a file is on disk.
    pub(super) fn written(&mut self, write: &Write) {
        self.slots[write.kind as usize] = 1 - self.slots[write.kind as usize];
        self.saved = write.changes;
        if write.kind == ImageKind::Files {
            self.base = write.sequence;
            self.whole = false;
            self.keys_kept = true;
        }
    }

    /// Notes that a file could not be written: what it held is still to be written.
    pub(super) fn not_written(&mut self, write: &Write) {
        if write.kind == ImageKind::Files {
            self.whole = true;
        }
    }

    /// Drops what has not been there for long.
    fn forget(&mut self, now: i64) {
        let present = now.saturating_sub(GONE_AFTER + 3 * self.look_every);
        let mut gone: Vec<(i64, u64)> =
            self.files.iter().filter(|(_, k)| k.touched < present).map(|(g, k)| (k.touched, *g)).collect();
        gone.sort_unstable();
        let started = *self.started.get_or_insert(now);
        let mut folders = Folders::default();
        let mut newer = gone.len();
        for (touched, generation) in gone {
            let old = newer > MAX_GONE || touched < now.saturating_sub(FORGET_AFTER);
            let most = if touched.max(started) >= now.saturating_sub(SOON) { MAX_SOON } else { MAX_DELETED };
            let mut deleted = || self.files.get(&generation).is_some_and(|k| folders.lack(k));
            if old || newer > most && deleted() {
                self.remove(generation);
            }
            newer -= 1;
        }
        self.forget_at = self.files.len() + COUNT_EVERY.max(self.files.len() / 64);
    }

    fn remove(&mut self, generation: u64) {
        if let Some(known) = self.files.remove(&generation)
            && self.by_identity.get(&known.identity) == Some(&generation)
        {
            self.by_identity.remove(&known.identity);
        }
    }
}

/// Devices of folders, each looked at once.
#[derive(Default)]
struct Folders(HashMap<PathBuf, Option<u64>>);

impl Folders {
    /// Whether the folder of a file that is gone is there, or one above it, on the file's device. Where it is not, files may
    /// come back with it: a filesystem that is not mounted.
    fn lack(&mut self, known: &Known) -> bool {
        let Some(dir) = known.path.parent() else { return false };
        let device = match self.0.get(dir) {
            Some(device) => *device,
            None => {
                let device = device_of(dir);
                self.0.insert(dir.to_owned(), device);
                device
            }
        };
        device == Some(known.identity.device)
    }
}

/// The device of a folder, or of the nearest above it that is there; `None` where that cannot be told.
fn device_of(dir: &Path) -> Option<u64> {
    for dir in dir.ancestors() {
        match look_at(if dir.as_os_str().is_empty() { Path::new(".") } else { dir }, Links::Follow) {
            Ok(found) => return Some(found.identity.device),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(_) => return None,
        }
    }
    None
}

/// A whole file.
fn read_file(storage: &dyn Storage, path: &Path) -> io::Result<Vec<u8>> {
    let file = storage.open(path, OpenFor::Read)?;
    let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
    let got = file.read_at(&mut bytes, 0)?;
    bytes.truncate(got);
    Ok(bytes)
}
