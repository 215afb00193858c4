//! What decompresses: gzip, zstd, xz and bzip2, as streams from the start of a file, with bounded memory.
//!
//! - Members, frames and streams may follow each other, and zeros behind the last are padding, as of tapes and blocks.
//! - Memory: gzip takes 32 KiB. What more than [`LIGHT_BYTES`] would take is [refused as heavy](Memory::Heavy) unless it is
//!   [allowed](Allow), so that the caller can see to it that such archives are read one at a time; what more than
//!   [`MOST_XZ_BYTES`] or [`MOST_ZSTD_BYTES`] would take is refused always. What a stream takes is what its header asks for; of
//!   xz it is not more than its contents, where its index is there to tell, and if that says less than there is, that is damage.
//! - Errors: `UnexpectedEof` where the file ends before its stream does; [`Memory`] as above; all else is damage. What
//!   was decompressed before is given first.

use super::formats::{SNIFF_BYTES, Sniff, sniff};
use super::heavy::LIGHT_BYTES;
use super::identity::{Hasher, Identity, Links, Running, look_into, open, read_at};
use crate::framing::wide::{BOM_BYTES, Wide};
use flate2::bufread::GzDecoder;
use lzma_rust2::{Action, Status, XzStream};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::path::Path;

/// Largest dictionary of xz: that of `xz -9`. The format goes up to 4 GiB.
pub(super) const MOST_XZ_BYTES: u64 = 64 << 20;
/// Largest window of zstd: that of `zstd --long=27`, and what its tool takes unasked.
pub(super) const MOST_ZSTD_BYTES: u64 = 128 << 20;
/// Beside the dictionary: what the decoder of xz counts as its own, and what rounding adds.
const BESIDE_XZ_BYTES: u64 = 128 << 10;

/// A format of compression that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Gzip,
    Zstd,
    Xz,
    Bzip2,
}

impl Format {
    /// The format of a file that begins so, where it is one.
    pub(super) fn of(sniffed: Sniff) -> Option<Format> {
        match sniffed {
            Sniff::Gzip => Some(Format::Gzip),
            Sniff::Zstd => Some(Format::Zstd),
            Sniff::Xz => Some(Format::Xz),
            Sniff::Bzip2 => Some(Format::Bzip2),
            Sniff::Plain | Sniff::Foreign(_) | Sniff::Short => None,
        }
    }

    /// Its name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Format::Gzip => "gzip",
            Format::Zstd => "zstd",
            Format::Xz => "xz",
            Format::Bzip2 => "bzip2",
        }
    }
}

/// How much memory decompressing may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Allow {
    /// [`LIGHT_BYTES`].
    Light,
    /// As much as is granted at all: by who has the turn, and for beginnings, since a window is filled as it is used.
    Heavy,
}

/// Why a stream was refused, within an [`io::Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Memory {
    /// More than [`LIGHT_BYTES`]: it has to have the turn.
    Heavy,
    /// More than is granted, both in bytes.
    TooLarge { needed: u64, most: u64 },
}

impl Memory {
    /// What an error says of memory, where it does.
    pub(super) fn of(error: &io::Error) -> Option<Memory> {
        error.get_ref()?.downcast_ref::<Memory>().copied()
    }

    /// Whether `needed` bytes are granted where `most` is granted at most.
    fn check(needed: u64, most: u64, allow: Allow) -> io::Result<()> {
        if needed > most {
            return Err(io::Error::other(Memory::TooLarge { needed, most }));
        }
        if needed > LIGHT_BYTES && allow == Allow::Light {
            return Err(io::Error::other(Memory::Heavy));
        }
        Ok(())
    }
}

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Memory::Heavy => write!(f, "takes much memory, and others are being read"),
            Memory::TooLarge { needed, most } => {
                write!(f, "needs {needed} bytes of memory, at most {most} are granted")
            }
        }
    }
}

impl std::error::Error for Memory {}

/// Decompresses from the start of the file.
///
/// Errors: the file cannot be read; [`Memory`], which may come while it is read too.
pub(super) fn stream(file: &OwnedFd, format: Format, allow: Allow) -> io::Result<Box<dyn Read + Send>> {
    // The handles share a place in the file, so it is a new one each time.
    let raw = BufReader::with_capacity(64 << 10, FromStart { file: File::from(file.try_clone()?), at: 0 });
    if format == Format::Zstd {
        if let Some(window) = zstd_window(file)? {
            Memory::check(window, MOST_ZSTD_BYTES, allow)?;
        }
        return Ok(Box::new(zstd::stream::read::Decoder::with_buffer(raw)?));
    }
    Ok(Box::new(Members { format, allow, state: State::Between(raw), first: true, zeros: 0 }))
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

impl Seek for FromStart {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.file.metadata()?.len().checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

type Raw = BufReader<FromStart>;

/// The members of a file (gzip), or its streams (xz, bzip2), one after the other.
struct Members {
    format: Format,
    allow: Allow,
    state: State,
    /// The next one is the first.
    first: bool,
    /// Zeros that were read over behind the last.
    zeros: u64,
}

enum State {
    /// The next one is looked for.
    Between(Raw),
    Gzip(GzDecoder<Raw>),
    Bzip2(Box<Bzip2>),
    Xz(Box<Xz>),
    /// All is read, or nothing more can be.
    Ended,
}

impl Read for Members {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while !buf.is_empty() {
            let n = match &mut self.state {
                State::Ended => return Ok(0),
                State::Between(_) => {
                    self.begin_next()?;
                    continue;
                }
                State::Gzip(member) => member.read(buf)?,
                State::Bzip2(stream) => stream.read(buf)?,
                State::Xz(stream) => stream.read(buf)?,
            };
            if n > 0 {
                return Ok(n);
            }
            self.state = match std::mem::replace(&mut self.state, State::Ended) {
                State::Gzip(member) => State::Between(member.into_inner()),
                State::Bzip2(stream) => State::Between(stream.raw),
                State::Xz(stream) => State::Between(stream.raw),
                State::Between(raw) => State::Between(raw),
                State::Ended => State::Ended,
            };
        }
        Ok(0)
    }
}

impl Members {
    /// Begins the next member, or ends. Errors leave it where it was.
    fn begin_next(&mut self) -> io::Result<()> {
        let State::Between(raw) = &mut self.state else { return Ok(()) };
        let mut at_end = false;
        if !self.first {
            skip_zeros(raw, &mut self.zeros)?;
            at_end = raw.fill_buf()?.is_empty();
            // Streams of xz may have padding between them, in fours; behind members of others it is at the end.
            let padding = self.zeros == 0 || self.format == Format::Xz && self.zeros.is_multiple_of(4);
            if !at_end && !padding {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "what follows is not a member"));
            }
        }
        if self.format == Format::Bzip2 && !at_end {
            Memory::check(bzip2_memory(raw)?, u64::MAX, self.allow)?;
        }
        let State::Between(raw) = std::mem::replace(&mut self.state, State::Ended) else { return Ok(()) };
        (self.first, self.zeros) = (false, 0);
        self.state = match self.format {
            _ if at_end => State::Ended,
            Format::Gzip | Format::Zstd => State::Gzip(GzDecoder::new(raw)),
            Format::Bzip2 => State::Bzip2(Box::new(Bzip2::new(raw))),
            Format::Xz => State::Xz(Box::new(Xz::new(raw, self.allow))),
        };
        Ok(())
    }
}

/// Reads over zeros, and adds how many there were.
fn skip_zeros(raw: &mut impl BufRead, zeros: &mut u64) -> io::Result<()> {
    loop {
        let bytes = raw.fill_buf()?;
        let n = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
        let more = n == bytes.len() && n > 0;
        raw.consume(n);
        *zeros += n as u64;
        if !more {
            return Ok(());
        }
    }
}

/// What a stream of bzip2 takes: four bytes for each of its block, which its header's digit says, and tables. Where there is no
/// such digit the decoder says what is wrong.
fn bzip2_memory(raw: &mut Raw) -> io::Result<u64> {
    let digit = raw.fill_buf()?.get(3).filter(|digit| digit.is_ascii_digit());
    Ok(digit.map_or(0, |digit| u64::from(digit - b'0') * 400_000 + 100_000))
}

/// One stream of bzip2.
struct Bzip2 {
    raw: Raw,
    decoder: bzip2::Decompress,
    /// What ended it, told once all that came before was given.
    error: Option<io::Error>,
    done: bool,
}

impl Bzip2 {
    fn new(raw: Raw) -> Self {
        Bzip2 { raw, decoder: bzip2::Decompress::new(false), error: None, done: false }
    }

    fn step(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let input = self.raw.fill_buf()?;
        let at_end = input.is_empty();
        let (before_in, before) = (self.decoder.total_in(), self.decoder.total_out());
        let step = self.decoder.decompress(input, buf);
        let taken = usize::try_from(self.decoder.total_in() - before_in).unwrap_or(usize::MAX);
        self.raw.consume(taken);
        let n = usize::try_from(self.decoder.total_out() - before).unwrap_or(buf.len()).min(buf.len());
        match step {
            Ok(bzip2::Status::StreamEnd) => self.done = true,
            Ok(bzip2::Status::MemNeeded) => self.error = Some(io::ErrorKind::OutOfMemory.into()),
            Ok(_) if n == 0 && at_end => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) => self.error = Some(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
        Ok(n)
    }
}

impl Read for Bzip2 {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while !self.done {
            if let Some(error) = self.error.take() {
                return Err(error);
            }
            let n = self.step(buf)?;
            if n > 0 {
                return Ok(n);
            }
        }
        Ok(0)
    }
}

/// One stream of xz.
struct Xz {
    raw: Raw,
    decoder: XzStream,
    allow: Allow,
    /// What all streams hold by the index, where a dictionary was granted because of that.
    claimed: Option<u64>,
    /// What ended it, told once all that came before was given.
    error: Option<io::Error>,
    done: bool,
}

impl Xz {
    fn new(raw: Raw, allow: Allow) -> Self {
        let decoder = XzStream::new_mem_limit(false, kib(LIGHT_BYTES + BESIDE_XZ_BYTES));
        Xz { raw, decoder, allow, claimed: None, error: None, done: false }
    }

    /// The next block wants more memory: grants it, or says why not.
    fn grant(&mut self) -> io::Result<()> {
        let wanted = u64::from(self.decoder.memory_usage().unwrap_or(u32::MAX)) << 10;
        let dictionary = wanted.saturating_sub(BESIDE_XZ_BYTES).max(LIGHT_BYTES + 1);
        let mut needed = dictionary;
        let file = FromStart { file: self.raw.get_ref().file.try_clone()?, at: 0 };
        if let Ok(claimed) = lzma_rust2::xz_uncompressed_size(BufReader::new(file)) {
            // The dictionary is filled as it is used, and doubles.
            let used = claimed.checked_next_power_of_two().unwrap_or(u64::MAX);
            if used < dictionary {
                (needed, self.claimed) = (used, Some(claimed));
            }
        }
        Memory::check(needed, MOST_XZ_BYTES, self.allow)?;
        self.decoder.set_mem_limit(kib(wanted));
        Ok(())
    }

    fn step(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let input = self.raw.fill_buf()?;
        let action = if input.is_empty() { Action::Finish } else { Action::Run };
        let at_end = input.is_empty();
        let (before_in, before) = (self.decoder.total_in(), self.decoder.total_out());
        let step = self.decoder.process(input, buf, action);
        // An error does not say how much of the input was taken before it.
        self.raw.consume(usize::try_from(self.decoder.total_in() - before_in).unwrap_or(usize::MAX));
        match step {
            Ok(step) => {
                self.done = step.status == Status::StreamEnd;
                if at_end && step.bytes_produced == 0 && !self.done {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            Err(error) => self.error = Some(error),
        }
        let out = self.decoder.total_out();
        if self.claimed.is_some_and(|claimed| out > claimed) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "there is more in it than its index says"));
        }
        Ok(usize::try_from(out - before).unwrap_or(buf.len()).min(buf.len()))
    }
}

impl Read for Xz {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while !self.done {
            if let Some(error) = self.error.take() {
                if error.kind() != io::ErrorKind::OutOfMemory {
                    return Err(error);
                }
                self.grant()?;
            }
            let n = self.step(buf)?;
            if n > 0 {
                return Ok(n);
            }
        }
        Ok(0)
    }
}

/// In KiB, rounded up.
fn kib(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX - 1)
}

/// Window of the first frame of a zstd file, in bytes; `None` where the file is too short to tell. Source: RFC 8878, 3.1.1.1.
fn zstd_window(file: &OwnedFd) -> io::Result<Option<u64>> {
    let mut at = 0;
    loop {
        let mut head = [0; 18];
        let len = read_at(file, &mut head, at)?;
        let (magic, rest) = head.split_at(4);
        if len >= 8 && magic[0] & 0xf0 == 0x50 && magic[1..] == [0x2a, 0x4d, 0x18] {
            // To be skipped.
            at += 8 + u64::from(u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]));
            continue;
        }
        let flags = rest[0];
        if flags & 0x20 == 0 {
            let (exponent, mantissa) = (rest[1] >> 3, u64::from(rest[1] & 7));
            let base = 1u64 << (10 + u32::from(exponent));
            return Ok((len >= 6).then_some(base + base / 8 * mantissa));
        }
        // All of it is one window: as large as its contents.
        let dictionary = [0, 1, 2, 4][usize::from(flags & 3)];
        let size = [1, 2, 4, 8][usize::from(flags >> 6)];
        let from = 1 + dictionary;
        let mut bytes = [0; 8];
        bytes[..size].copy_from_slice(&rest[from..from + size]);
        return Ok((len >= 4 + from + size).then_some(u64::from_le_bytes(bytes)));
    }
}

/// A stream that was read up to a place, and what it held; the place is before the one asked for where the stream ended.
pub(super) struct Skipped {
    pub(super) stream: Box<dyn Read + Send>,
    pub(super) running: Running,
    /// Its first bytes, as far as they were read over.
    pub(super) beginning: Vec<u8>,
}

/// Reads over the first `offset` bytes.
pub(super) fn skip(file: &OwnedFd, format: Format, allow: Allow, offset: u64, hasher: Hasher) -> io::Result<Skipped> {
    let mut stream = stream(file, format, allow)?;
    let mut buf = vec![0; 64 << 10];
    let mut running = Running::new(hasher);
    let mut beginning = Vec::new();
    while running.at.offset < offset {
        let most = (buf.len() as u64).min(offset - running.at.offset) as usize;
        let n = match stream.read(&mut buf[..most]) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        running.push(&buf[..n]);
        beginning.extend_from_slice(&buf[..n.min(BOM_BYTES.saturating_sub(beginning.len()))]);
    }
    Ok(Skipped { stream, running, beginning })
}

/// The text of a file as it is read: of an archive what is in it, of UTF-16 what it says, without the mark at its start;
/// `most` bytes at most.
///
/// Errors: it cannot be read, is damaged, or takes more memory than is granted.
pub(super) fn text_of(path: &Path, wide: Option<Wide>, most: u64) -> io::Result<Vec<u8>> {
    let file = open(path, Links::Follow)?;
    let mut text = Vec::new();
    match format_of(&file)? {
        Some(format) => stream(&file, format, Allow::Heavy)?.take(most).read_to_end(&mut text)?,
        None => FromStart { file: File::from(file), at: 0 }.take(most).read_to_end(&mut text)?,
    };
    let marked = Wide::of_bom(&text);
    if let Some(wide) = marked.or(wide) {
        let mut out = Vec::new();
        wide.append_utf8(&text[if marked.is_some() { BOM_BYTES } else { 0 }..], &mut out);
        return Ok(out);
    }
    if text.starts_with(b"\xef\xbb\xbf") {
        text.drain(..3);
    }
    Ok(text)
}

/// The format of a file by its first bytes, where it is one that is read.
pub(super) fn format_of(file: &OwnedFd) -> io::Result<Option<Format>> {
    let mut head = [0; SNIFF_BYTES];
    let len = read_at(file, &mut head, 0)?;
    Ok(Format::of(sniff(&head[..len])))
}
/// Whether what an archive holds begins with these bytes; `false` where there is no such archive.
pub(super) fn archive_begins_with(path: &Path, identity: Identity, bytes: &[u8]) -> bool {
    let begins = || -> io::Result<bool> {
        let file = open(path, Links::Follow)?;
        let Some(format) = format_of(&file)? else { return Ok(false) };
        let mut ours = vec![0; bytes.len()];
        let same = look_into(&file)?.identity == identity;
        stream(&file, format, Allow::Heavy)?.read_exact(&mut ours)?;
        Ok(same && ours == bytes)
    };
    begins().unwrap_or(false)
}
