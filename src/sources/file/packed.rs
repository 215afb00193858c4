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

use super::checkpoint::Known;
use super::formats::{SNIFF_BYTES, Sniff, sniff};
use super::heavy::Pass;
use super::identity::{HEAD_BYTES, Hasher, Head, Identity, Look, Position, Running, look_at, look_into, read_at};
use super::joined::Open;
use super::rotation::{Adopted, Predecessor, Sibling, is_packed_name, is_rotation_of};
use super::tail::{Out, Place, Reader, TURN_BYTES, Tail, Turn, mark_len};
use super::tailer::{Now, SECOND, Tailer};
use super::unpack::{Allow, Format, MOST_ZSTD_BYTES, Memory, format_of, skip, stream};
use super::wide::unit_behind;
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
/// Files that cannot be decompressed here, told one by one.
const TELL_FOREIGN: usize = 10;

/// What a file is.
pub(super) enum Kind {
    Plain,
    Packed(Format),
    /// Not to be read: of another format, or compressed where such files are not wanted.
    Ignored,
    /// Too short to tell, and may be growing.
    Unknown,
}

/// How a compressed file is being read.
pub(super) struct Packed {
    format: Format,
    /// `None` before the first read, and after the file ended too soon.
    stream: Option<Box<dyn Read + Send>>,
    /// What was decompressed and not sent, behind the bytes that the mark covers.
    carry: Vec<u8>,
    /// Everything was read.
    pub(super) ended: bool,
    /// Where to begin is not known yet.
    deciding: Option<Box<Deciding>>,
    /// It ended too soon when it had this size; since when it has not grown, monotonic nanoseconds, 0 where that is to be
    /// noted.
    short: Option<(u64, u64)>,
    /// It ends too soon, and has been looked at for long enough: what is there is read.
    cut: bool,
    /// It could not be decompressed to its end, said once.
    pub(super) told: bool,
    /// It takes much memory: it is decompressed only while it has the turn.
    heavy: bool,
    pass: Pass,
}

/// Comparing an archive with what was read.
struct Deciding {
    running: Running,
    /// Places that were read, in order of their offsets.
    goals: Vec<(u64, Position)>,
    /// Those of them that are proven.
    proven: Vec<(u64, Position)>,
    /// Generations that are being read: whether all that was compared is the same.
    live: Vec<u64>,
    /// A copy begins like this of which it is not known yet how far it is settled.
    unsettled: bool,
    /// It was decompressed to its end, or to where it is damaged.
    done: bool,
    /// It matches no pattern, and is only looked at for what became of other files: since when one is new.
    hidden: Option<i64>,
    /// Since when it waits for files that are being read; 0 where it does not.
    waits: u64,
    /// One of them is another archive.
    for_archive: bool,
    /// It needs more memory than is granted: nothing could be compared.
    refused: Option<Memory>,
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packed").field("format", &self.format).field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Packed {
    fn new(format: Format, deciding: Option<Box<Deciding>>, pass: Pass) -> Self {
        let carry = Vec::new();
        let (ended, cut, told, heavy) = (false, false, false, false);
        Packed { format, stream: None, carry, ended, deciding, short: None, cut, told, heavy, pass }
    }

    /// How much memory it may take now.
    fn allowed(&self) -> Allow {
        if self.heavy { Allow::Heavy } else { Allow::Light }
    }

    /// A stream that takes much memory is open.
    #[cfg(test)]
    pub(super) fn is_heavy_and_open(&self) -> bool {
        self.heavy && self.stream.is_some()
    }

    /// Nothing is decompressed until it is read again.
    pub(super) fn rest(&mut self) {
        if self.stream.is_none() && self.heavy {
            self.pass.give_back();
        }
    }

    /// It is not read any more in this run: others may be.
    pub(super) fn leave_turn(&mut self) {
        self.stream = None;
        self.pass.give_back();
    }

    /// Whether it may decompress now; where not, what it had open is gone, and it goes on from where the file is read to.
    pub(super) fn has_turn(&mut self, now: u64) -> bool {
        if !self.heavy || self.pass.take(now) {
            return true;
        }
        (self.stream, self.carry) = (None, Vec::new());
        false
    }
}

impl Tail {
    /// It is an archive that waits for other files, or to grow.
    pub(super) fn waits(&self) -> bool {
        let waits = |packed: &Packed| packed.short.is_some() || packed.deciding.as_ref().is_some_and(|d| d.waits > 0);
        self.packed.as_deref().is_some_and(waits)
    }

    /// It is an archive that is cut off, which was told.
    pub(super) fn is_told_cut(&self) -> bool {
        self.packed.as_ref().is_some_and(|packed| packed.cut && packed.told)
    }

    /// It is an archive that has something to be compared with.
    pub(super) fn compares(&self) -> bool {
        self.packed.as_deref().and_then(|packed| packed.deciding.as_ref()).is_some_and(|deciding| !deciding.done)
    }

    /// Where to begin in it is not known yet.
    pub(super) fn is_deciding(&self) -> bool {
        self.packed.as_ref().is_some_and(|packed| packed.deciding.is_some())
    }
}

/// How comparing a piece ended.
enum Compared {
    More,
    End,
    /// The file ends before its stream does.
    Short,
    /// It takes much memory.
    Heavy,
    /// It cannot be decompressed from here on.
    Damaged(io::Error),
}

impl Reader {
    /// As [`read`](Reader::read), for a compressed file.
    pub(super) fn read_packed(
        &mut self,
        key: usize,
        tail: &mut Tail,
        packed: &mut Packed,
        wall: i64,
        out: &mut dyn Out,
    ) -> Turn {
        if packed.ended {
            return Turn::End;
        }
        let Some(file) = &tail.file else { return Turn::End };
        match look_into(file) {
            Ok(look) => {
                let size = tail.looked.0;
                (tail.looked, tail.changed, tail.seen) = ((look.size, look.modified), look.changed, wall);
                if let Some((short, _)) = packed.short {
                    if look.size == short && (!packed.cut || packed.told) {
                        return Turn::End;
                    }
                    // All of it is decompressed again: not with each piece that is added.
                    if look.size != size && look.size < short * 2 {
                        return Turn::End;
                    }
                    if look.size != short {
                        (packed.short, packed.cut, packed.told) = (None, false, false);
                    }
                }
            }
            Err(e) => return Turn::Failed(e),
        }
        if !packed.has_turn(self.mono) {
            return Turn::Waits;
        }
        if packed.deciding.is_some() {
            return compare(tail, packed);
        }
        let mut stream = match packed.stream.take() {
            Some(stream) => stream,
            None => {
                let from = tail.reading();
                let skipped = match skip(file, packed.format, packed.allowed(), from.offset, self.hasher) {
                    Ok(skipped) => skipped,
                    Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return self.cut(tail, packed),
                    Err(e) => return self.corrupt(tail, packed, &e),
                };
                let there = skipped.running.at;
                let other = self.check_contents && from.is_proof() && !there.proves(&from);
                if (there.offset, there.mark) != (from.offset, from.mark) || other {
                    return Turn::Replaced;
                }
                packed.carry = skipped.running.before().to_vec();
                if from.offset > 0 {
                    tail.units = self.units_of(&skipped.beginning);
                }
                skipped.stream
            }
        };
        let mut buf = self.pool.take();
        buf.append(&mut packed.carry);
        let from = tail.reading();
        let mut start = from.mark_len();
        let mut base = from.offset - start as u64;
        let mut searched = start;
        let mut budget = TURN_BYTES;
        let turn = loop {
            let room = (buf.capacity() - buf.len()).max(64 << 10) as u64;
            let before = buf.len();
            let read = (&mut stream).take(room).read_to_end(&mut buf);
            let at_end = matches!(read, Ok(0));
            let open = if at_end { Open::Finish } else { Open::Keep };
            if before == 0 && base == 0 {
                tail.units = self.units_of(&buf);
                start = mark_len(&buf, tail.units);
                searched = start;
            }
            let ends_line = match tail.units.wide() {
                None => buf.last() == Some(&b'\n'),
                Some(wide) => wide.behind_last_newline(&buf, unit_behind(base, start)) == Some(buf.len()),
            };
            let unfinished = buf.len() > start && !ends_line;
            if at_end && unfinished && !packed.cut && !self.once {
                // Members may be added, in which its last line goes on.
                packed.short = Some((tail.looked.0, 0));
                drop(self.pool.freeze(buf));
                return Turn::End;
            }
            let taken = match (&mut self.matcher, &mut self.judge, &mut tail.parts) {
                (matcher, ..) if let Some(wide) = tail.units.wide() => {
                    let skipping = tail.at.skipping;
                    self.lines.take_wide(wide, matcher.as_mut(), &buf, start, searched, skipping, base, open)
                }
                (_, Some(judge), Some(parts)) => {
                    self.lines.take_parts(parts, judge, &buf, start, searched, base, self.mono, at_end, [false; 2])
                }
                (Some(matcher), ..) => self.lines.take_joined(matcher, &buf, start, tail.at.skipping, base, open),
                (None, ..) => self.lines.take(&buf, start, searched, tail.at.skipping, base),
            };
            budget = budget.saturating_sub((buf.len() - before) as u64);
            if taken.end > start
                && let Some(turn) = self.send(key, tail, &mut buf, &mut base, &mut start, taken, wall, out)
            {
                break turn;
            }
            searched = buf.len();
            match read {
                Ok(0) => {
                    packed.ended = true;
                    if buf.len() > start
                        && let Some(turn) = self.send_rest(key, tail, &mut buf, &mut base, &mut start, wall, out)
                    {
                        break turn;
                    }
                    break Turn::End;
                }
                Ok(_) if budget == 0 => break Turn::More,
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                    // It may be growing; what is there is read again from its beginning when it has grown.
                    drop(self.pool.freeze(buf));
                    return self.cut(tail, packed);
                }
                Err(e) => {
                    drop(self.pool.freeze(buf));
                    return self.corrupt(tail, packed, &e);
                }
            }
        };
        // What was not sent stands behind the bytes of the mark, where the next turn wants it.
        packed.carry = buf[start - tail.reading().mark_len().min(start)..].to_vec();
        packed.stream = (!packed.ended).then_some(stream);
        drop(self.pool.freeze(buf));
        turn
    }

    /// The file ends before its stream does.
    fn cut(&mut self, tail: &Tail, packed: &mut Packed) -> Turn {
        if !packed.cut {
            packed.short = Some((tail.looked.0, 0));
        } else if !packed.told {
            packed.told = true;
            self.damaged += 1;
            self.counters.update(|t| t.error("corrupt", 1));
            tracing::error!(file = %tail.path.display(), compressed_bytes = tail.looked.0, offset = tail.at.offset,
                "a compressed file is cut off: it ends before its stream does. What is there was read, what follows is \
                 missing; it is read on if the file grows");
        }
        Turn::End
    }

    /// It cannot be decompressed from here on, or not yet.
    fn corrupt(&mut self, tail: &Tail, packed: &mut Packed, error: &io::Error) -> Turn {
        match Memory::of(error) {
            Some(Memory::Heavy) => {
                packed.heavy = true;
                return Turn::More;
            }
            Some(Memory::TooLarge { needed, most }) => return self.too_large(tail, packed, Some(needed), most),
            // The library has no kind for it; only the first frame is looked at here.
            None if packed.format == Format::Zstd && error.to_string().contains("too much memory") => {
                return self.too_large(tail, packed, None, MOST_ZSTD_BYTES);
            }
            None => {}
        }
        packed.ended = true;
        packed.told = true;
        self.damaged += 1;
        self.counters.update(|t| t.error("corrupt", 1));
        tracing::error!(file = %tail.path.display(), %error, offset = tail.at.offset,
            "a compressed file is damaged: what follows this place in what it holds is lost, unless it is repaired in place");
        Turn::End
    }

    /// It needs more memory than is granted: it is left as it is, and looked at again when it has another size.
    fn too_large(&mut self, tail: &Tail, packed: &mut Packed, needed: Option<u64>, most: u64) -> Turn {
        (packed.short, packed.cut) = (Some((tail.looked.0, 0)), true);
        if std::mem::replace(&mut packed.told, true) {
            return Turn::End;
        }
        self.tell_too_large(tail, packed.format, needed, most);
        Turn::End
    }

    fn tell_too_large(&mut self, tail: &Tail, format: Format, needed: Option<u64>, most: u64) {
        self.damaged += 1;
        self.counters.update(|t| t.error("window_too_large", 1));
        let mib = |bytes: u64| format!("{}MiB", bytes.div_ceil(1 << 20));
        let needed = needed.map_or_else(|| format!("more than {}", mib(most)), mib);
        let (granted, file) = (mib(most), tail.path.display());
        match format {
            Format::Xz => tracing::error!(%file, needed, granted, offset = tail.at.offset,
                "an xz file needs a dictionary that is larger than what is granted here: it is left as it is, and not read. \
                 Compress it with `xz -9` or less, and without `dict=` above 64MiB"),
            _ => tracing::error!(%file, needed, granted, offset = tail.at.offset,
                "a zstd file needs a window of more than 128 MiB (`zstd --long=28` and above), which is not granted here: it is \
                 left as it is, and not read. Compress it with `--long=27` or without"),
        }
    }
}

/// Compares a piece of an archive with what was read.
fn compare(tail: &mut Tail, packed: &mut Packed) -> Turn {
    let (Some(deciding), Some(file)) = (&mut packed.deciding, &tail.file) else { return Turn::End };
    if deciding.done {
        return Turn::End;
    }
    if packed.stream.is_none() {
        deciding.begin();
        match stream(file, packed.format, if packed.heavy { Allow::Heavy } else { Allow::Light }) {
            Ok(stream) => packed.stream = Some(stream),
            Err(e) => match Memory::of(&e) {
                Some(Memory::Heavy) => {
                    packed.heavy = true;
                    return Turn::More;
                }
                Some(refused) => {
                    (deciding.done, deciding.refused) = (true, Some(refused));
                    return Turn::End;
                }
                None => return Turn::Failed(e),
            },
        }
    }
    let Some(stream) = &mut packed.stream else { return Turn::End };
    match deciding.piece(stream) {
        Compared::More => return Turn::More,
        Compared::Heavy => {
            (packed.stream, packed.heavy) = (None, true);
            return Turn::More;
        }
        Compared::End => deciding.done = true,
        Compared::Short if packed.cut => deciding.done = true,
        Compared::Short => packed.short = Some((tail.looked.0, 0)),
        Compared::Damaged(error) => {
            tracing::debug!(file = %tail.path.display(), %error, "damaged after what could be compared");
            (deciding.done, deciding.refused) = (true, Memory::of(&error));
        }
    }
    packed.stream = None;
    Turn::End
}

impl Deciding {
    fn new(hasher: Hasher, hidden: Option<i64>) -> Box<Self> {
        Box::new(Deciding {
            running: Running::new(hasher),
            goals: Vec::new(),
            proven: Vec::new(),
            live: Vec::new(),
            unsettled: false,
            done: false,
            hidden,
            waits: 0,
            for_archive: false,
            refused: None,
        })
    }

    fn begin(&mut self) {
        self.running = Running::new(self.running.hasher());
        self.proven.clear();
    }

    fn piece(&mut self, stream: &mut Box<dyn Read + Send>) -> Compared {
        let mut buf = vec![0; 64 << 10];
        let mut left = TURN_BYTES as usize;
        while left > 0 {
            let n = match stream.read(&mut buf) {
                Ok(0) => return Compared::End,
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Compared::Short,
                Err(e) if Memory::of(&e) == Some(Memory::Heavy) => return Compared::Heavy,
                Err(e) => return Compared::Damaged(e),
            };
            left = left.saturating_sub(n);
            let mut bytes = &buf[..n];
            // Places that were read lie within: the hash is compared at each.
            let from = self.running.at.offset;
            let first = self.goals.partition_point(|(_, goal)| goal.offset <= from);
            for (generation, goal) in &self.goals[first..] {
                if goal.offset > from + n as u64 {
                    break;
                }
                let (piece, rest) = bytes.split_at((goal.offset - self.running.at.offset) as usize);
                self.running.push(piece);
                bytes = rest;
                if self.running.at.proves(goal) {
                    self.proven.push((*generation, *goal));
                }
            }
            self.running.push(bytes);
        }
        Compared::More
    }
}

impl Tailer {
    /// Starts to read a compressed file, or to find out where to begin in it.
    #[allow(clippy::too_many_arguments, reason = "what is known of a file being opened")]
    pub(super) fn start_packed(
        &mut self,
        path: &Path,
        file: OwnedFd,
        look: Look,
        after: Option<Predecessor>,
        adopted: Option<Adopted<'_>>,
        format: Format,
        now: Now,
    ) -> io::Result<Option<Predecessor>> {
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
        tail.file = Some(file);
        self.open += 1;
        if hidden.is_some() {
            tail.place = Place::Gone { since: now.mono, read: false };
        } else {
            tail.paths.push(shared.clone());
        }
        if tail.is_deciding() {
            self.prepare(&mut tail);
        }
        let key = self.insert(tail);
        if hidden.is_none() {
            self.note_link(path, &shared);
            self.by_path.insert(shared, key);
        }
        self.opened(key);
        Ok(self.tails[key].as_ref().map(|t| (key, t.generation)))
    }

    /// A file of which nothing was read, and which was empty before or held something else, does not begin as text does.
    pub(super) fn tell_kind(&mut self, key: usize, tail: &mut Tail, now: Now) {
        let Some(file) = tail.file.take() else { return };
        let (path, look) = (tail.path.clone(), look_into(&file));
        let kind = look.and_then(|look| self.packed_format(&path, &file, look, now));
        tail.file = Some(file);
        match kind {
            Ok(Kind::Plain) => {
                tail.is_text = true;
                self.queue(key, tail);
            }
            Ok(Kind::Packed(format)) => {
                tail.generation = self.store.reserve();
                tail.packed = Some(Box::new(Packed::new(
                    format,
                    Some(Deciding::new(self.store.hasher, None)),
                    self.plan.heavy.pass(),
                )));
                tail.stash = Box::default();
                self.prepare(tail);
                self.queue(key, tail);
            }
            Ok(Kind::Ignored) => tail.place = Place::Closed,
            Ok(Kind::Unknown) => {
                tail.untold = true;
                return self.schedule(key, tail, now.mono + WAIT / 4);
            }
            Err(error) => self.failed(key, tail, &error, now),
        }
        tail.untold = false;
    }

    /// What a file is, by its first bytes.
    pub(super) fn packed_format(&mut self, path: &Path, file: &OwnedFd, look: Look, now: Now) -> io::Result<Kind> {
        let mut head = [0; SNIFF_BYTES];
        let len = read_at(file, &mut head, 0)?;
        let sniffed = sniff(&head[..len]);
        let format = match sniffed {
            Sniff::Plain => return Ok(Kind::Plain),
            Sniff::Foreign(name) => {
                self.tell_foreign(path, name);
                return Ok(Kind::Ignored);
            }
            Sniff::Short => {
                let young = now.wall.saturating_sub(look.modified) < 5 * SECOND as i64;
                if !self.plan.once && young && (len > 0 || is_packed_name(path)) {
                    self.next_scan = self.next_scan.min(now.mono + SECOND);
                    return Ok(Kind::Unknown);
                }
                return Ok(Kind::Plain);
            }
            _ => match Format::of(sniffed) {
                Some(format) => format,
                None => return Ok(Kind::Plain),
            },
        };
        if !self.plan.compressed {
            self.tell_foreign(path, format.name());
            return Ok(Kind::Ignored);
        }
        Ok(Kind::Packed(format))
    }

    /// A file that is left alone, as it is compressed.
    fn tell_foreign(&mut self, path: &Path, format: &'static str) {
        if !self.foreign.insert(path.to_owned()) {
            return;
        }
        let wanted = self.plan.compressed;
        if !wanted {
            tracing::info!(source = %self.plan.id, file = %path.display(), format, "compressed, and left alone: `compressed: ignore`");
            return;
        }
        self.counters.update(|t| t.error("unknown_compression", 1));
        match self.foreign.len() {
            n if n <= TELL_FOREIGN => tracing::warn!(
                source = %self.plan.id, file = %path.display(), format,
                "compressed in a format that is not read here, and left alone. Exclude it, or use gzip, zstd, xz or bzip2"
            ),
            n if n == TELL_FOREIGN + 1 => tracing::warn!(source = %self.plan.id, file = %path.display(), format,
                "more files are compressed in formats that are not read here; they are counted as `unknown_compression`"),
            _ => {}
        }
    }

    /// Finds what an archive is to be compared with.
    fn prepare(&self, tail: &mut Tail) {
        let Tail { generation: own, path, name, file, packed: Some(packed), .. } = tail else { return };
        let (Some(file), Some(deciding)) = (file, &mut packed.deciding) else { return };
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
        let file = match &tail.file {
            Some(file) => file,
            None => match super::identity::open(&tail.path, self.plan.follow_symlinks) {
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
            return self.queue(key, tail);
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
                whole.proves(goal) || self.live(*generation).is_some_and(|t| t.place == Place::Closed)
            });
        tracing::trace!(file = %tail.path.display(), len, ?goals, ?proven, ?live, full, covered, awaited, "comparing");
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
                return self.schedule(key, tail, now.mono + WAIT / 4);
            }
        }
        let gone = |generation: &u64| {
            self.live(*generation).is_none()
                && self.store.get(*generation).is_some_and(|k| !k.finished || k.packed)
                && !self.is_there(*generation)
        };
        let rest = proven.iter().filter(|(generation, _)| gone(generation)).max_by_key(|(_, at)| at.offset).copied();
        let modified = tail.looked.1;
        let (at, finished) = match rest {
            _ if full || covered => (whole, true),
            Some((generation, at)) => {
                self.store.update(generation, |k| k.finished = true);
                (at, false)
            }
            // One that matches no pattern is read where it was written into since the last look.
            None if hidden.is_some_and(|since| since == 0 || modified <= since) => {
                self.tell_refused(tail);
                tail.place = Place::Closed;
                packed_done(tail);
                return;
            }
            None => (self.store.hasher.start(), false),
        };
        packed_done(tail);
        if at.offset == 0 {
            self.leave_family(tail);
        }
        // What became of them is known: they are not looked for any more.
        for generation in became_this {
            if finished && self.live(generation).is_none() && !self.is_there(generation) {
                self.store.update(generation, |k| k.finished = true);
            }
        }
        let known = Known::new(tail.identity, &tail.path, now.seconds());
        let (head, changed) = (tail.head, if finished { tail.changed } else { 0 });
        // What it holds was not delivered either where the beginning of that was passed over.
        let of = proven.iter().map(|(generation, _)| generation).chain(&live);
        let partial = at.offset > 0 && of.filter_map(|of| self.store.get(*of)).any(|k| k.partial);
        self.store.add_as(tail.generation, Known { head, at, finished, changed, packed: true, partial, ..known });
        self.packed_known += 1;
        tail.at = at;
        tail.parts.iter_mut().for_each(|parts| parts.go_on_at(at));
        if finished {
            tracing::debug!(source = %self.plan.id, file = %tail.path.display(), bytes = len, "compressed, all of it was read before");
            tail.place = Place::Closed;
        } else {
            tracing::info!(source = %self.plan.id, file = %tail.path.display(), offset = at.offset, "found, compressed");
            self.queue(key, tail);
        }
    }

    /// An archive that matches no pattern may have what is sought, and could not be looked into.
    fn tell_refused(&mut self, tail: &Tail) {
        let Some(packed) = &tail.packed else { return };
        if let Some(Memory::TooLarge { needed, most }) = packed.deciding.as_ref().and_then(|d| d.refused)
            && self.foreign.insert(tail.path.to_path_buf())
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
                    let rest = t.place != Place::Closed && t.unread() > 0 || t.flight.outstanding() > 0;
                    rest || t.at.offset != goal.offset || settled != Some(goal.offset)
                }
                None => self.store.is_unsettled_copy(*generation) || settled.is_some_and(|s| s != goal.offset),
            }
        };
        // One that has more than was read of it when it was compared may have all of this.
        let growing = |generation: &u64| {
            let goal = goals.iter().find(|(g, _)| g == generation).map_or(0, |(_, at)| at.offset);
            self.live(*generation).is_some_and(|t| t.place != Place::Closed && t.end() >= len && goal < len)
        };
        goals.iter().any(moves) || live.iter().any(growing)
    }

    /// An archive ended too soon: it may be growing.
    pub(super) fn short_packed(&mut self, key: usize, tail: &mut Tail, now: Now) {
        let (once, size) = (self.plan.once, tail.looked.0);
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
            return self.queue(key, tail);
        }
        self.schedule(key, tail, now.mono + WAIT / 2);
    }

    /// Whether a file that is being read has all that an archive of `len` decompressed bytes has, and that is settled; `None`
    /// where it has not, or not as far as it was read.
    fn covers(&self, generation: u64, len: u64, archive: &Tail) -> Option<bool> {
        let tail = self.live(generation).filter(|t| t.at.offset >= len)?;
        let settled = self.store.get(generation)?.at.offset >= len;
        let (file, packed, ours) = (tail.file.as_ref()?, archive.packed.as_ref()?, archive.file.as_ref()?);
        same_contents(file, ours, packed.format, len).is_ok_and(|same| same).then_some(settled)
    }

    /// Whether a file of this generation is there, though it is not being read.
    fn is_there(&self, generation: u64) -> bool {
        self.store
            .get(generation)
            .is_some_and(|k| k.current && look_at(&k.path, true).is_ok_and(|l| l.identity == k.identity))
            || self.renamed.iter().any(|r| r.is(generation))
    }

    /// Whether another archive that begins alike is being read, or was found earlier and will be.
    fn waits_for_archive(&self, archive: &Tail) -> bool {
        self.tails.iter().flatten().any(|t| {
            let Some(packed) = &t.packed else { return false };
            t.generation < archive.generation
                && t.head == archive.head
                && t.place != Place::Closed
                && packed.short.is_none()
                && (!packed.ended || t.flight.outstanding() > 0)
        })
    }

    /// The file of a generation that is being read, or whose verdicts are awaited.
    fn live(&self, generation: u64) -> Option<&Tail> {
        let identity = self.store.get(generation)?.identity;
        let tail = self.tails[*self.by_identity.get(&identity)?].as_ref()?;
        (tail.generation == generation && (tail.place != Place::Closed || tail.flight.outstanding() > 0))
            .then_some(&**tail)
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
            if matches || self.by_identity.contains_key(&identity) || known && !anew {
                continue;
            }
            // What its name does not say to be a generation is read only where it goes on with what was read.
            let since = if sibling.is_generation { since } else { i64::MAX };
            let adopted = Adopted { name: path, from: None, since };
            match self.start(&sibling.path, last, Some(adopted), now) {
                Ok(started) => last = started.or(last),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => self.unreadable(&sibling.path, &error),
            }
        }
        last
    }

    /// An archive of which all was delivered: removes it where `remove_after` says so.
    pub(super) fn remove_packed(&mut self, path: &Path, look: Look, now: Now) {
        let Some(after) = self.plan.remove_after else { return };
        let since = *self.packed_since.entry(look.identity).or_insert(now.mono);
        let wait = (after.as_nanos() as u64)
            .saturating_sub(now.mono - since)
            .max((after.as_nanos() as i64).saturating_sub(now.wall.saturating_sub(look.modified)).max(0) as u64);
        if wait > 0 {
            self.next_scan = self.next_scan.min(now.mono + wait);
            return;
        }
        self.packed_since.remove(&look.identity);
        // A link is not removed, nor what it leads to.
        if look_at(path, false).is_ok_and(|l| l.is_file && l.identity == look.identity && l.changed == look.changed) {
            self.remove_file(path);
        }
    }
}

/// Where to begin is known, or it is not read at all.
fn packed_done(tail: &mut Tail) {
    if let Some(packed) = &mut tail.packed {
        packed.deciding = None;
        packed.stream = None;
        packed.carry = Vec::new();
    }
}

/// Whether what an archive holds begins with these bytes; `false` where there is no such archive.
pub(super) fn archive_begins_with(path: &Path, identity: Identity, bytes: &[u8]) -> bool {
    let begins = || -> io::Result<bool> {
        let file = super::identity::open(path, true)?;
        let Some(format) = format_of(&file)? else { return Ok(false) };
        let mut ours = vec![0; bytes.len()];
        let same = look_into(&file)?.identity == identity;
        stream(&file, format, Allow::Heavy)?.read_exact(&mut ours)?;
        Ok(same && ours == bytes)
    };
    begins().unwrap_or(false)
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
