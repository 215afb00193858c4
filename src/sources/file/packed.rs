//! Compressed files: decompressed as a stream, with places that count decompressed bytes.
//!
//! A `.gz` or `.zst` is most often what became of a file that was read before. It is known by the hash of its decompressed
//! head and by what stands before our place in it; then only what follows that place is given. While the plain file is
//! still being read itself, the compressed one is left alone: it has nothing that the plain one has not.

use super::checkpoint::Known;
use super::identity::{HEAD_BYTES, Head, Identity, Look, MARK_BYTES, Position, look_into, read_at};
use super::joined::Open;
use super::rotation::{Adopted, Sibling, Turnstile, is_packed_name, is_rotation_of};
use super::tail::{Out, Place, Reader, TURN_BYTES, Tail, Turn};
use super::tailer::{Now, SECOND, Tailer};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Gzip,
    Zstd,
}

/// What a file is.
pub(super) enum Kind {
    Plain,
    Packed(Format),
    /// Too short to tell, and may be growing.
    Unknown,
}

impl Format {
    /// What a file with these first bytes is.
    fn of(head: &[u8]) -> Option<Self> {
        match head {
            [0x1f, 0x8b, ..] => Some(Format::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Format::Zstd),
            _ => None,
        }
    }
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
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packed").field("format", &self.format).field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl Packed {
    fn new(format: Format) -> Self {
        Packed { format, stream: None, carry: Vec::new(), ended: false }
    }
}

/// Decompresses from the start of the file.
fn stream(file: &OwnedFd, format: Format) -> io::Result<Box<dyn Read + Send>> {
    // The handles share a place in the file, so it is a new one each time.
    let raw = BufReader::with_capacity(64 << 10, FromStart { file: File::from(file.try_clone()?), at: 0 });
    Ok(match format {
        Format::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(raw)),
        Format::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(raw)?),
    })
}

/// Reads a file without moving the place that its handles share.
struct FromStart {
    file: File,
    at: u64,
}

impl Read for FromStart {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = std::os::unix::fs::FileExt::read_at(&self.file, buf, self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

/// Where to begin in a compressed file.
enum Start {
    /// Nowhere, for now or for good.
    Not,
    /// All in it was read before it was compressed.
    Done(Head, Position),
    At(Head, Position),
}

/// The length that the end of a gzip file tells, modulo 2³²; of the last member, where there are several.
fn gzip_length(file: &OwnedFd, size: u64) -> io::Result<u32> {
    let mut bytes = [0; 4];
    let len = read_at(file, &mut bytes, size.saturating_sub(4))?;
    Ok(if len == 4 { u32::from_le_bytes(bytes) } else { 0 })
}

/// A stream that was read up to a place, and the bytes before it that a mark covers.
struct Skipped {
    stream: Box<dyn Read + Send>,
    before: Vec<u8>,
    /// Bytes there were; less than asked for where the stream ended.
    len: u64,
}

/// Reads over the first `offset` bytes.
fn skip(file: &OwnedFd, format: Format, offset: u64) -> io::Result<Skipped> {
    let mut stream = stream(file, format)?;
    let mut buf = vec![0; 64 << 10];
    let (mut before, mut len) = (Vec::new(), 0);
    while len < offset {
        let most = (buf.len() as u64).min(offset - len) as usize;
        let n = match stream.read(&mut buf[..most]) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        len += n as u64;
        before.extend_from_slice(&buf[..n]);
        before.drain(..before.len().saturating_sub(MARK_BYTES));
    }
    Ok(Skipped { stream, before, len })
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
        let mut stream = match packed.stream.take() {
            Some(stream) => stream,
            None => {
                let Some(file) = &tail.file else { return Turn::End };
                match look_into(file) {
                    Ok(look) => tail.looked = (look.size, look.modified),
                    Err(e) => return Turn::Failed(e),
                }
                let skipped = match skip(file, packed.format, tail.at.offset) {
                    Ok(skipped) => skipped,
                    Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Turn::End,
                    Err(e) => return self.corrupt(tail, packed, &e),
                };
                if skipped.len < tail.at.offset || Position::mark_of(&skipped.before) != tail.at.mark {
                    return Turn::Replaced;
                }
                packed.carry = skipped.before;
                skipped.stream
            }
        };
        let mut buf = self.pool.take();
        buf.append(&mut packed.carry);
        let mut start = tail.at.mark_len();
        let mut base = tail.at.offset - start as u64;
        let mut searched = start;
        let mut budget = TURN_BYTES;
        let turn = loop {
            let room = (buf.capacity() - buf.len()).max(64 << 10) as u64;
            let before = buf.len();
            let read = (&mut stream).take(room).read_to_end(&mut buf);
            let at_end = matches!(read, Ok(0));
            let open = if at_end { Open::Finish } else { Open::Keep };
            if before == 0 && buf.starts_with(b"\xef\xbb\xbf") {
                start = 3;
                searched = 3;
            }
            let taken = match &mut self.matcher {
                None => self.lines.take(&buf, start, searched, tail.at.skipping, base),
                Some(matcher) => self.lines.take_joined(matcher, &buf, start, tail.at.skipping, base, open),
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
                    // It is still being written; what is there is read again from its beginning when it has grown.
                    drop(self.pool.freeze(buf));
                    return Turn::End;
                }
                Err(e) => {
                    drop(self.pool.freeze(buf));
                    return self.corrupt(tail, packed, &e);
                }
            }
        };
        // What was not sent stands behind the bytes of the mark, where the next turn wants it.
        packed.carry = buf[start - tail.at.mark_len().min(start)..].to_vec();
        packed.stream = Some(stream);
        drop(self.pool.freeze(buf));
        turn
    }

    fn corrupt(&mut self, tail: &Tail, packed: &mut Packed, error: &io::Error) -> Turn {
        packed.ended = true;
        self.counters.update(|t| t.error("corrupt", 1));
        tracing::error!(file = %tail.path.display(), %error, offset = tail.at.offset,
            "a compressed file is damaged; what follows in it is lost");
        Turn::End
    }
}

impl Tailer {
    /// Starts to read a compressed file.
    #[allow(clippy::too_many_arguments, reason = "what is known of a file being opened")]
    pub(super) fn start_packed(
        &mut self,
        path: &Path,
        file: OwnedFd,
        look: Look,
        after: Option<Turnstile>,
        adopted: Option<Adopted<'_>>,
        format: Format,
        now: Now,
    ) -> io::Result<Option<Turnstile>> {
        let identity = look.identity;
        let shared: Arc<Path> = path.into();
        let name: Arc<Path> = adopted.as_ref().map_or_else(|| shared.clone(), |a| a.name.into());
        let mut tail = self.new_tail(identity, look, &shared, &name, now);
        if let Some((generation, known)) = self.store.find(identity) {
            (tail.generation, tail.head, tail.at) = (generation, known.head, known.at);
        } else {
            let (head, at) = match self.place_packed(path, &file, look, format, adopted.as_ref(), now)? {
                Start::Not => return Ok(None),
                Start::Done(head, at) => {
                    let known = Known::new(identity, &name, now.seconds());
                    self.store.add(Known { head, at, finished: true, ..known });
                    return Ok(None);
                }
                Start::At(head, at) => (head, at),
            };
            (tail.head, tail.at) = (head, at);
            tail.generation = self.store.add(Known { head, at, ..Known::new(identity, &name, now.seconds()) });
            tracing::info!(source = %self.plan.id, file = %path.display(), offset = at.offset, "found, compressed");
        }
        tail.after = after;
        tail.packed = Some(Box::new(Packed::new(format)));
        tail.file = Some(file);
        self.open += 1;
        let hidden = adopted.is_some();
        if hidden {
            tail.place = Place::Gone { since: now.mono, read: false };
        } else {
            tail.paths.push(shared.clone());
        }
        let key = self.insert(tail);
        if !hidden {
            self.by_path.insert(shared, key);
        }
        self.opened(key);
        Ok(self.tails[key].as_ref().map(|t| (key, t.generation)))
    }

    /// What a file is, by its name and first bytes.
    pub(super) fn packed_format(&mut self, path: &Path, file: &OwnedFd, look: Look, now: Now) -> io::Result<Kind> {
        if !is_packed_name(path) || self.plan.identity_bytes.is_some() {
            return Ok(Kind::Plain);
        }
        let mut magic = [0; 4];
        let len = read_at(file, &mut magic, 0)?;
        if let Some(format) = Format::of(&magic[..len]) {
            return Ok(Kind::Packed(format));
        }
        let young = now.wall.saturating_sub(look.modified) < 5 * SECOND as i64;
        if len < magic.len() && (young || len == 0) {
            self.next_scan = self.next_scan.min(now.mono + SECOND);
            return Ok(Kind::Unknown);
        }
        Ok(Kind::Plain)
    }

    /// Where to begin in a compressed file not known yet; `None` where it is to be left alone for now.
    fn place_packed(
        &mut self,
        path: &Path,
        file: &OwnedFd,
        look: Look,
        format: Format,
        adopted: Option<&Adopted<'_>>,
        now: Now,
    ) -> io::Result<Start> {
        let covered = self.covered.get(&look.identity).copied();
        if covered.is_some_and(|generation| self.is_live(generation)) {
            return Ok(Start::Not);
        }
        self.covered.remove(&look.identity);
        let mut bytes = Vec::with_capacity(HEAD_BYTES);
        let read = stream(file, format).and_then(|s| s.take(HEAD_BYTES as u64).read_to_end(&mut bytes));
        if let Err(e) = read
            && e.kind() == io::ErrorKind::UnexpectedEof
            && bytes.len() < HEAD_BYTES
        {
            // Hardly begun.
            self.next_scan = self.next_scan.min(now.mono + SECOND);
            return Ok(Start::Not);
        }
        let head = Head::of(&bytes);
        // It was found to be the beginning of what was read, whose writer went on behind it: it has nothing new.
        if let Some(at) = covered.and_then(|generation| self.store.get(generation)).map(|known| known.at)
            && skip(file, format, at.offset).is_ok_and(|skipped| skipped.len < at.offset)
        {
            return Ok(Start::Done(head, at));
        }
        let mut candidates = self.candidates(path, look.identity, &bytes, adopted);
        if candidates.iter().any(|(generation, _)| self.store.is_unsettled_copy(*generation)) {
            // How far it was read is told when that is settled.
            self.next_scan = self.next_scan.min(now.mono + SECOND);
            return Ok(Start::Not);
        }
        // One that is still being read has what the compressed file has, or will have read it.
        candidates.sort_by_key(|(generation, _)| !self.is_live(*generation));
        for (generation, known) in candidates {
            let live = self.is_live(generation);
            let at = self.live_position(generation).unwrap_or(known.at);
            if !live && format == Format::Gzip && gzip_length(file, look.size)? == at.offset as u32 {
                // It begins as that one did and is as long as what was read of it.
                return Ok(Start::Done(head, at));
            }
            let skipped = match skip(file, format, at.offset) {
                Ok(skipped) => skipped,
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                    self.next_scan = self.next_scan.min(now.mono + SECOND);
                    return Ok(Start::Not);
                }
                Err(_) => continue,
            };
            let same = if skipped.len == at.offset {
                Position::mark_of(&skipped.before) == at.mark
            } else {
                live && self.live_bytes_before(generation, skipped.len) == Some(skipped.before)
            };
            if same && live {
                self.covered.insert(look.identity, generation);
                return Ok(Start::Not);
            }
            if same {
                return Ok(Start::At(head, at));
            }
        }
        // What had a name that matches is read once; what lies beside it only where it goes on with what we know.
        Ok(if adopted.is_none() { Start::At(head, Position::default()) } else { Start::Not })
    }

    /// Generations that begin as these bytes do, likeliest first.
    fn candidates(&self, path: &Path, own: Identity, bytes: &[u8], adopted: Option<&Adopted<'_>>) -> Vec<(u64, Known)> {
        // What is being read has more of its head than what is settled.
        let head = |g: u64, k: &Known| self.live(g).map_or(k.head, |t| t.head);
        let fits = |g: u64, k: &Known| k.identity != own && head(g, k).len > 0 && head(g, k).fits(bytes);
        // A copy of it that was read goes by a name of its own where the patterns match that.
        let named = |k: &Known| adopted.is_none_or(|a| *k.path == *a.name || is_rotation_of(a.name, &k.path));
        let mut list: Vec<(u64, Known)> =
            self.store.iter().filter(|(g, k)| fits(*g, k) && named(k)).map(|(g, k)| (g, k.clone())).collect();
        list.sort_by_key(|(_, k)| (k.path.parent() != path.parent(), std::cmp::Reverse(k.at.offset)));
        list.truncate(8);
        list
    }

    /// Whether the generation is being read now, from a file of its own.
    fn is_live(&self, generation: u64) -> bool {
        self.live(generation).is_some_and(|t| t.place != Place::Closed || t.flight.outstanding() > 0)
    }

    fn live(&self, generation: u64) -> Option<&Tail> {
        let identity = self.store.get(generation)?.identity;
        let tail = self.tails[*self.by_identity.get(&identity)?].as_ref()?;
        (tail.generation == generation).then_some(&**tail)
    }

    fn live_position(&self, generation: u64) -> Option<Position> {
        self.live(generation).map(|t| t.at)
    }

    fn live_bytes_before(&self, generation: u64, offset: u64) -> Option<Vec<u8>> {
        let file = self.live(generation)?.file.as_ref()?;
        let mut bytes = vec![0; MARK_BYTES.min(usize::try_from(offset).ok()?)];
        let from = offset - bytes.len() as u64;
        let len = read_at(file, &mut bytes, from).ok()?;
        (len == bytes.len()).then_some(bytes)
    }

    /// Looks for what became of generations of `path` among compressed files beside it; whom the next has to wait for.
    pub(super) fn adopt_packed(
        &mut self,
        path: &Path,
        siblings: &[Sibling],
        mut last: Option<Turnstile>,
        now: Now,
    ) -> Option<Turnstile> {
        let mut packed: Vec<&Sibling> = siblings.iter().filter(|s| is_packed_name(&s.path)).collect();
        packed.sort_by_key(|s| s.look.modified);
        for sibling in packed {
            let identity = sibling.look.identity;
            if self.store.find(identity).is_some() || self.by_identity.contains_key(&identity) {
                continue;
            }
            let adopted = Adopted { name: path, from: None };
            match self.start(&sibling.path, last, Some(adopted), now) {
                Ok(started) => last = started.or(last),
                Err(error) => self.unreadable(&sibling.path, &error),
            }
        }
        last
    }
}
