//! How far each file was read and settled, on disk.
//!
//! Two kinds of file lie in `data_dir/<id>/`: `files.N` has every known file, `recent.N` those that changed since that
//! `files.N` was written, so that a second's work costs a second's changes, not all that is known. Each kind has two
//! slots, N = 0 and 1, written in turn by [`replace_file`](crate::storage::data_dir::replace_file): whatever happens to one, the other is the state before it.
//! An older state gives repeats, never gaps.
//!
//! Layout, little-endian:
//!
//! | Field | Bytes | |
//! |---|---|---|
//! | magic | 4 | `TGFC` |
//! | version | 2 | 3 |
//! | kind | 2 | 0 `files`, 1 `recent` |
//! | sequence | 8 | grows by one with each file of either kind |
//! | base | 8 | of `recent`: sequence of the `files` it adds to; of `files`: its own |
//! | next generation | 8 | first number not given to a file yet |
//! | entries | 8 | number of entries |
//! | body length | 8 | bytes behind the checksum |
//! | keys | 16 | of the running hash: two random numbers, the same in all files of the folder; since version 3 |
//! | checksum | 4 | CRC-32C of all bytes before it and of the body |
//! | body | | the entries |
//!
//! An entry: generation 8, device 8, inode 8, birth 8, head hash 8, head length 4, flags 1 (1 current, 2 skipping,
//! 4 finished, 8 compressed, 16 left, 32 ahead, 64 partial), 1 stream flags (1 and 2 skipping in stdout and stderr), 2 zero bytes, offset
//! 8, mark 8, sum 16, touched 8 (seconds since 1970), changed 8, modified 8, size 8, path length 4, path; with flag 32, how far
//! stdout, stderr and other lines were given, 8 each. Version 1 and 2 have no `sum`, `modified` and `size` and no flags from 8
//! on; version 2 has the time of modification in place of `changed`, and version 1 nothing. What they do not say is not known,
//! and nothing is passed over because of it.
//!
//! Reading: of the valid `files` slots the one with the highest sequence is taken; then every valid `recent` whose base is
//! not older, in the order of their sequence. A crash between a new `files` and its first `recent` leaves a `recent` with
//! an older base, which is passed over: all it says is in the new `files`.
//!
//! Cost: where N files are known and c of them change each second, a `recent` grows by c entries a second, and a new `files`
//! is written when all since the last have taken as much as two of it: about 2·√(N·c) entries a second, not N.

use super::flight::{Flight, Settlement};
use super::identity::{Ahead, Hasher, Head, Identity, Position, Sum, look_at};
use crate::storage::data_dir::replace_file_on;
use crate::storage::{Disk, Open, Storage};
use hashbrown::{HashMap, HashSet};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MAGIC: &[u8; 4] = b"TGFC";
const VERSION: u16 = 3;
/// Oldest version that is read.
const OLDEST_VERSION: u16 = 1;
const HEADER_BYTES: usize = 68;
const ENTRY_BYTES: usize = 116;

/// Bytes before the body, with the checksum.
fn header_bytes(version: u16) -> usize {
    if version >= 3 { HEADER_BYTES } else { HEADER_BYTES - 16 }
}

/// Bytes of an entry without its path.
fn entry_bytes(version: u16) -> usize {
    match version {
        1 => ENTRY_BYTES - 40,
        2 => ENTRY_BYTES - 32,
        _ => ENTRY_BYTES,
    }
}

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

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Files = 0,
    Recent = 1,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Files => "files",
            Kind::Recent => "recent",
        }
    }
}

/// A file to be written, and what it stands for.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) path: PathBuf,
    pub(super) bytes: Vec<u8>,
    kind: Kind,
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
        let mut read = |kind: Kind| -> io::Result<Vec<(usize, Image)>> {
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
        let mut bases = read(Kind::Files)?;
        let recents = read(Kind::Recent)?;
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
        let bytes = encode(Kind::Files, 0, 0, self.next_generation, self.hasher, std::iter::empty());
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
        let kind = if whole { Kind::Files } else { Kind::Recent };
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
        if write.kind == Kind::Files {
            self.base = write.sequence;
            self.whole = false;
            self.keys_kept = true;
        }
    }

    /// Notes that a file could not be written: what it held is still to be written.
    pub(super) fn not_written(&mut self, write: &Write) {
        if write.kind == Kind::Files {
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
        match look_at(if dir.as_os_str().is_empty() { Path::new(".") } else { dir }, true) {
            Ok(found) => return Some(found.identity.device),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(_) => return None,
        }
    }
    None
}

/// A whole file.
fn read_file(storage: &dyn Storage, path: &Path) -> io::Result<Vec<u8>> {
    let file = storage.open(path, Open::Read)?;
    let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
    let got = file.read_at(&mut bytes, 0)?;
    bytes.truncate(got);
    Ok(bytes)
}

/// How far one file was read, for people.
#[derive(Clone, Debug)]
pub struct FilePlace {
    /// Where it was seen last.
    pub path: PathBuf,
    /// Everything before it is settled.
    pub offset: u64,
    /// Bytes of the file, where it is still there under that name.
    pub size: Option<u64>,
    /// Its device.
    pub device: u64,
    /// Its inode.
    pub inode: u64,
    /// The number the source gave it.
    pub generation: u64,
    /// It is the newest generation of its device and inode.
    pub current: bool,
}

fn has_checkpoint(dir: &Path) -> bool {
    ["files.0", "files.1"].iter().any(|name| {
        let mut magic = [0; 4];
        let read = std::fs::File::open(dir.join(name)).and_then(|mut f| io::Read::read_exact(&mut f, &mut magic));
        read.is_ok() && &magic == MAGIC
    })
}

/// The places in the checkpoint that lies in `dir`, by path; `None` where there is none. Changes nothing.
pub fn places(dir: &Path) -> io::Result<Option<Vec<FilePlace>>> {
    if !has_checkpoint(dir) {
        return Ok(None);
    }
    let store = Store::open(dir)?;
    let mut places: Vec<FilePlace> = store
        .iter()
        .map(|(generation, known)| {
            let meta = std::fs::metadata(&known.path).ok();
            let same = |m: &std::fs::Metadata| {
                use std::os::unix::fs::MetadataExt;
                known.identity.device == 0 || (m.dev(), m.ino()) == (known.identity.device, known.identity.inode)
            };
            FilePlace {
                path: known.path.to_path_buf(),
                offset: known.at.offset,
                size: meta.filter(same).map(|m| m.len()),
                device: known.identity.device,
                inode: known.identity.inode,
                generation,
                current: known.current,
            }
        })
        .collect();
    places.sort_by(|a, b| (&a.path, a.generation).cmp(&(&b.path, b.generation)));
    Ok(Some(places))
}

/// Forgets the places of these files, of all where none is named; how many there were. No agent may use the folder.
pub fn forget_places(dir: &Path, files: &[PathBuf]) -> io::Result<usize> {
    if !has_checkpoint(dir) {
        return Ok(0);
    }
    let mut store = Store::open(dir)?;
    let wanted = |path: &Path| files.is_empty() || files.iter().any(|f| f == path);
    let gone: Vec<u64> = store.iter().filter(|(_, k)| wanted(&k.path)).map(|(g, _)| g).collect();
    for &generation in &gone {
        store.remove(generation);
    }
    if files.is_empty() {
        // As if there had never been a run: `start_at` holds again.
        for name in ["files.0", "files.1", "recent.0", "recent.1"] {
            match std::fs::remove_file(dir.join(name)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        crate::storage::data_dir::sync_dir(dir)?;
    } else if !gone.is_empty() {
        store.whole = true;
        store.changes += 1;
        if let Some(write) = store.next_write(i64::MIN) {
            write.perform()?;
            store.written(&write);
        }
    }
    Ok(gone.len())
}

struct Image {
    sequence: u64,
    base: u64,
    next_generation: u64,
    /// Of the running hash; `None` in versions that have none.
    keys: Option<[u64; 2]>,
    entries: Vec<(u64, Known)>,
}

fn encode<'a>(
    kind: Kind,
    sequence: u64,
    base: u64,
    next_generation: u64,
    hasher: Hasher,
    entries: impl Iterator<Item = (u64, &'a Known)> + Clone,
) -> Vec<u8> {
    let room = entries.clone().map(|(_, k)| ENTRY_BYTES + k.path.as_os_str().len() + 8 * 3).sum::<usize>();
    let mut out = Vec::with_capacity(HEADER_BYTES + room);
    out.resize(HEADER_BYTES, 0);
    let mut count = 0u64;
    for (generation, k) in entries {
        count += 1;
        let path = k.path.as_os_str().as_bytes();
        for n in [generation, k.identity.device, k.identity.inode, k.identity.birth as u64, k.head.hash] {
            out.extend_from_slice(&n.to_le_bytes());
        }
        out.extend_from_slice(&k.head.len.to_le_bytes());
        let ahead = k.at.ahead.flags();
        let flags = [k.current, k.at.skipping, k.finished, k.packed, k.left, ahead & 1 != 0, k.partial];
        let flags = flags.iter().rev().fold(0, |flags, flag| flags << 1 | u8::from(*flag));
        out.extend_from_slice(&[flags, ahead >> 1, 0, 0]);
        let [a, b] = k.at.sum.0;
        for n in [k.at.offset, k.at.mark, a, b, k.touched as u64, k.changed as u64, k.modified as u64, k.size] {
            out.extend_from_slice(&n.to_le_bytes());
        }
        out.extend_from_slice(&(path.len() as u32).to_le_bytes());
        out.extend_from_slice(path);
        for n in k.at.ahead.given.into_iter().filter(|_| k.at.ahead.is_ahead()) {
            out.extend_from_slice(&n.to_le_bytes());
        }
    }
    let body = (out.len() - HEADER_BYTES) as u64;
    out[..4].copy_from_slice(MAGIC);
    out[4..6].copy_from_slice(&VERSION.to_le_bytes());
    out[6..8].copy_from_slice(&(kind as u16).to_le_bytes());
    let [key_0, key_1] = hasher.keys;
    for (i, n) in [sequence, base, next_generation, count, body, key_0, key_1].into_iter().enumerate() {
        out[8 + i * 8..16 + i * 8].copy_from_slice(&n.to_le_bytes());
    }
    let checksum = checksum(&out, HEADER_BYTES);
    out[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
    out
}

fn checksum(file: &[u8], header: usize) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&file[..header - 4]), &file[header..])
}

/// Takes fixed-width numbers off the front.
struct Cut<'a>(&'a [u8]);

impl<'a> Cut<'a> {
    fn bytes(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    fn u64(&mut self) -> Option<u64> {
        self.bytes(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.bytes(4)?.try_into().ok().map(u32::from_le_bytes)
    }
}

fn decode(file: &[u8], kind: Kind) -> Result<Image, &'static str> {
    if file.len() < header_bytes(OLDEST_VERSION) {
        return Err("it is shorter than its header");
    }
    if &file[..4] != MAGIC {
        return Err("it does not begin as a checkpoint file does");
    }
    let version = u16::from_le_bytes([file[4], file[5]]);
    if !(OLDEST_VERSION..=VERSION).contains(&version) {
        return Err("it is of another version");
    }
    let header = header_bytes(version);
    if file.len() < header {
        return Err("it is shorter than its header");
    }
    if file[6..8] != (kind as u16).to_le_bytes() {
        return Err("it is of another kind");
    }
    let mut cut = Cut(&file[8..header]);
    let mut next = || cut.u64().unwrap_or(0);
    let (sequence, base, next_generation, count, body) = (next(), next(), next(), next(), next());
    let keys = (version >= 3).then(|| [next(), next()]);
    if body != (file.len() - header) as u64 {
        return Err("its length is wrong");
    }
    if file[header - 4..header] != checksum(file, header).to_le_bytes() {
        return Err("its checksum is wrong");
    }
    let room = (body as usize) / entry_bytes(version);
    let mut entries = Vec::with_capacity(room.min(usize::try_from(count).unwrap_or(0)));
    let mut cut = Cut(&file[header..]);
    for _ in 0..count {
        entries.push(entry(&mut cut, version).ok_or("its entries end too soon")?);
    }
    Ok(Image { sequence, base, next_generation, keys, entries })
}

fn entry(cut: &mut Cut<'_>, version: u16) -> Option<(u64, Known)> {
    let generation = cut.u64()?;
    let identity = Identity { device: cut.u64()?, inode: cut.u64()?, birth: cut.u64()? as i64 };
    let hash = cut.u64()?;
    let head = Head { len: cut.u32()?, hash };
    let ([flags, streams], _) = cut.bytes(4)?.split_first_chunk().map(|(a, b)| (*a, b))?;
    let (offset, mark) = (cut.u64()?, cut.u64()?);
    let sum = if version >= 3 { Sum([cut.u64()?, cut.u64()?]) } else { Sum::default() };
    let mut at = Position { offset, mark, sum, skipping: flags & 2 != 0, ..Position::default() };
    let touched = cut.u64()? as i64;
    let changed = if version >= 2 { cut.u64()? as i64 } else { 0 };
    let (changed, modified, size) =
        if version >= 3 { (changed, cut.u64()? as i64, cut.u64()?) } else { (0, changed, 0) };
    let len = cut.u32()? as usize;
    let path: Arc<Path> = Path::new(OsStr::from_bytes(cut.bytes(len)?)).into();
    let (current, finished) = (flags & 1 != 0, flags & 4 != 0);
    // Versions of before do not tell; their names did.
    let packed = flags & 8 != 0 || version < 3 && super::names::is_packed_name(&path);
    let (left, partial) = (flags & 16 != 0, flags & 64 != 0);
    at.ahead = Ahead::read(flags >> 5 & 1 | streams << 1, || cut.u64())?;
    let known =
        Known { identity, head, at, path, touched, changed, modified, size, current, finished, packed, left, partial };
    Some((generation, known))
}

/// What an agent of before would have written in place of a file.
#[cfg(test)]
pub(super) fn as_version(file: &[u8], version: u16) -> Vec<u8> {
    let mut out = file[..HEADER_BYTES - 20].to_vec();
    out.extend_from_slice(&[0; 4]);
    let mut rest = &file[HEADER_BYTES..];
    while rest.len() >= ENTRY_BYTES {
        let length = rest[ENTRY_BYTES - 4..ENTRY_BYTES].try_into().map_or(0, u32::from_le_bytes) as usize;
        // Up to the mark, without the sum; the times; the path.
        out.extend_from_slice(&rest[..64]);
        out.extend_from_slice(&rest[80..if version == 1 { 88 } else { 96 }]);
        out.extend_from_slice(&rest[ENTRY_BYTES - 4..ENTRY_BYTES + length]);
        rest = &rest[ENTRY_BYTES + length..];
    }
    out[4..6].copy_from_slice(&version.to_le_bytes());
    let header = header_bytes(version);
    let body = (out.len() - header) as u64;
    out[header - 12..header - 4].copy_from_slice(&body.to_le_bytes());
    let checksum = checksum(&out, header);
    out[header - 4..header].copy_from_slice(&checksum.to_le_bytes());
    out
}

#[cfg(test)]
mod faults;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn known(inode: u64, offset: u64) -> Known {
        Known {
            identity: Identity { device: 1, inode, birth: -5 },
            head: Head::of(b"head"),
            at: Position {
                offset,
                mark: 9,
                skipping: offset % 2 == 1,
                sum: Sum([offset, 7]),
                ahead: match offset % 3 {
                    0 => Ahead::default(),
                    1 => Ahead { given: [offset, offset + 5, offset + 9], skipping: [false, true] },
                    _ => Ahead { given: [0; 3], skipping: [true, false] },
                },
            },
            path: Path::new("/var/log/a.log").into(),
            touched: 1_000_000,
            changed: 77 + offset as i64,
            modified: 78,
            size: offset + 3,
            current: true,
            finished: false,
            packed: offset.is_multiple_of(3),
            left: offset.is_multiple_of(5),
            partial: offset.is_multiple_of(7),
        }
    }

    fn save(store: &mut Store, now: i64) {
        let write = store.next_write(now).unwrap();
        write.perform().unwrap();
        store.written(&write);
    }

    fn sorted(store: &Store) -> Vec<(u64, Known)> {
        let mut all: Vec<(u64, Known)> = store.iter().map(|(g, k)| (g, k.clone())).collect();
        all.sort_by_key(|(g, _)| *g);
        all
    }

    #[test]
    fn what_was_saved_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        let a = store.add(known(1, 10));
        store.add(known(2, 21));
        save(&mut store, 1_000_000);
        assert!(store.next_write(1_000_000).is_none());
        store.update(a, |k| k.at.offset = 30);
        save(&mut store, 1_000_000);
        store.add(known(1, 0));
        save(&mut store, 1_000_000);
        let again = Store::open(dir.path()).unwrap();
        assert_eq!(sorted(&again), sorted(&store));
        assert_eq!(again.find(known(1, 0).identity).unwrap().0, 3);
        assert!(!again.get(a).unwrap().current);
        assert_eq!(again.next_generation, 4);
    }

    #[test]
    fn any_damage_to_the_newest_file_falls_back_to_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        let a = store.add(known(1, 10));
        save(&mut store, 0);
        for offset in [20, 30] {
            store.update(a, |k| k.at.offset = offset);
            save(&mut store, 0);
        }
        let newest = dir.path().join("recent.0");
        let good = std::fs::read(&newest).unwrap();
        for i in 0..good.len() {
            let mut bad = good.clone();
            bad[i] ^= 0x41;
            std::fs::write(&newest, &bad).unwrap();
            let store = Store::open(dir.path()).unwrap();
            assert_eq!(store.get(a).unwrap().at.offset, 20, "byte {i}");
            std::fs::write(&newest, &good[..i]).unwrap();
            assert_eq!(Store::open(dir.path()).unwrap().get(a).unwrap().at.offset, 20, "cut at {i}");
        }
        std::fs::write(&newest, &good).unwrap();
        assert_eq!(Store::open(dir.path()).unwrap().get(a).unwrap().at.offset, 30);
    }

    #[test]
    fn a_crash_after_any_durable_step_leaves_the_state_before_or_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        let a = store.add(known(1, 0));
        for step in 1..200u64 {
            store.update(a, |k| k.at = Position { offset: step, mark: step, ..Position::default() });
            if step % 7 == 0 {
                store.whole = true;
            }
            let write = store.next_write(0).unwrap();
            // Before the rename: half of the new file lies beside the old one.
            std::fs::write(write.path.with_extension("x.tmp"), &write.bytes[..write.bytes.len() / 2]).unwrap();
            let before = Store::open(dir.path()).unwrap();
            assert_eq!(before.get(a).map_or(0, |k| k.at.offset), step - 1);
            write.perform().unwrap();
            let after = Store::open(dir.path()).unwrap();
            assert_eq!(after.get(a).unwrap().at.offset, step);
            if step % 5 == 0 {
                store = after;
            } else {
                store.written(&write);
            }
        }
    }

    #[test]
    fn files_that_are_long_gone_are_forgotten_and_present_ones_never() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        let (old, present) = (store.add(known(1, 10)), store.add(known(2, 10)));
        let now = 1_000_000 + FORGET_AFTER + 1;
        store.touch(present, now);
        store.whole = true;
        save(&mut store, now);
        let store = Store::open(dir.path()).unwrap();
        assert!(store.get(old).is_none() && store.find(known(1, 0).identity).is_none());
        assert!(store.get(present).is_some());
    }

    /// As files come and go for ever, what is known of those that are gone has its bound in number, whatever is written.
    #[test]
    fn what_is_remembered_of_files_that_are_gone_has_a_bound() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        let mut most = 0;
        for inode in 0..45_000 {
            // Each is seen for the last time in the second in which it came.
            let second = 1_000_000 + inode as i64 / 100;
            store.add(Known { touched: second, ..known(inode, 10) });
            if inode % 100 == 0
                && let Some(write) = store.next_write(second)
            {
                store.written(&write);
            }
            most = most.max(store.len());
        }
        // Those of the last minute are not known to be gone.
        let bound = MAX_GONE + 62 * 100;
        assert!(most <= bound + bound / 64 + 100, "{most} of {bound}");
        assert!(most > MAX_GONE && store.by_identity.len() == store.len());
    }

    /// A rotation every second for hours, in a folder that is there: few are remembered, and those of another filesystem all.
    #[test]
    fn of_files_that_their_folder_lacks_few_are_remembered_and_those_of_the_last_minutes() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let device = std::fs::metadata(dir.path()).unwrap().dev();
        let mut store = Store::open(&dir.path().join("data")).unwrap();
        let in_a_folder_that_went_too: Arc<Path> = dir.path().join("pod/7/0.log").into();
        let mut elsewhere = Vec::new();
        let mut most = 0;
        for second in 0..10_000 {
            let now = 1_000_000 + second as i64;
            let mut known = Known { touched: now, path: in_a_folder_that_went_too.clone(), ..known(second, 10) };
            known.identity.device = device + u64::from(second % 1000 == 0);
            let generation = store.add(known);
            if second % 1000 == 0 {
                elsewhere.push(generation);
            }
            if second % 20 == 0
                && let Some(write) = store.next_write(now)
            {
                store.written(&write);
            }
            if second > 2 * SOON as u64 {
                most = most.max(store.len());
            }
        }
        // Those of the last minute are not known to be gone; they are counted when so many more are known.
        let bound = MAX_DELETED + elsewhere.len() + GONE_AFTER as usize + COUNT_EVERY + 40;
        assert!(most >= MAX_DELETED && most <= bound, "{most} of {bound}");
        assert!(elsewhere.iter().all(|generation| store.get(*generation).is_some()));
        assert_eq!(store.by_identity.len(), store.len());
    }

    /// A hundred rotations a second: not even those of the last minutes are all remembered.
    #[test]
    fn of_very_many_files_that_went_within_minutes_the_last_are_remembered() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let device = std::fs::metadata(dir.path()).unwrap().dev();
        let path: Arc<Path> = dir.path().join("a.log").into();
        let mut store = Store::open(&dir.path().join("data")).unwrap();
        let mut most = 0;
        for inode in 0..30_000 {
            let now = 1_000_000 + inode as i64 / 100;
            let mut known = Known { touched: now, path: path.clone(), ..known(inode, 10) };
            known.identity.device = device;
            store.add(known);
            if inode % 100 == 0
                && let Some(write) = store.next_write(now)
            {
                store.written(&write);
            }
            most = most.max(store.len());
        }
        // Those of the last minute are not known to be gone.
        let bound = MAX_SOON + 62 * 100;
        assert!(most > MAX_SOON && most <= bound + bound / 64 + COUNT_EVERY + 100, "{most} of {bound}");
    }

    /// After a start nobody knows yet what became of the files that were rotated meanwhile.
    #[test]
    fn soon_after_a_start_all_that_were_there_before_are_known() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let device = std::fs::metadata(dir.path()).unwrap().dev();
        let path: Arc<Path> = dir.path().join("a.log").into();
        let mut store = Store::open(&dir.path().join("data")).unwrap();
        for inode in 0..5_000 {
            let mut known = Known { path: path.clone(), ..known(inode, 10) };
            known.identity.device = device;
            store.add(known);
        }
        save(&mut store, 1_000_000);
        let mut store = Store::open(&dir.path().join("data")).unwrap();
        for (later, remembered) in [(0, 5_000), (SOON, 5_000), (SOON + 1, MAX_DELETED)] {
            store.whole = true;
            store.changes += 1;
            save(&mut store, 1_100_000 + later);
            assert_eq!(store.len(), remembered, "{later} s after the start");
        }
    }

    #[test]
    fn half_a_million_files_are_read_in_seconds_and_one_change_costs_little() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path()).unwrap();
        for inode in 0..500_000 {
            store.add(known(inode, 10));
        }
        save(&mut store, 1_000_000);
        let start = std::time::Instant::now();
        let mut store = Store::open(dir.path()).unwrap();
        // A build without optimization on a busy machine; a release build takes a quarter of a second.
        assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
        assert_eq!(store.len(), 500_000);
        store.update(7, |k| k.at.offset = 12);
        assert!(store.next_write(1_000_000).unwrap().bytes.len() < 1000);
    }
}
