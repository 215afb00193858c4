//! A step of writes that the end of a process has interrupted: whether it came through, and how it is undone.
//!
//! The last write of a step came through where its file goes as far and has its first and its last bytes: then the step counts,
//! in the boot in which it was written. It is short where its file has a part of it: then nothing of the step was acknowledged, and
//! all that it wrote is cut off again, where it comes again and nothing else stands behind it. Where neither can be told
//! (somebody did something to the file) nothing is done: what was written stays, and may come a second time.

use super::known::{Announced, FileId, HASHED_BYTES, Known};
use crate::ack::place::Places;
use hashbrown::HashMap;
use rustix::fs::{CWD, Mode, OFlags, openat};
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use xxhash_rust::xxh3::xxh3_64;

/// Device and inode of a file.
type Node = (u64, u64);

/// A file that a step writes to.
#[derive(Clone, Copy)]
struct Grown {
    node: Node,
    /// Its length before the step.
    before: u64,
    /// The last write to it, unless that failed.
    last: Option<Announced>,
    /// Its length once that is done.
    end: u64,
}

/// Writes that belong together.
#[derive(Default)]
pub(super) struct Step {
    files: Vec<Grown>,
    /// Not all that was written comes again.
    once: bool,
    /// The last write, unless that failed.
    last: Option<(Node, Announced)>,
    /// Where the last write ends it: how far files of sources are written then.
    pub(super) places: Option<Places>,
}

impl Step {
    /// A write is about to be done.
    pub(super) fn announced(&mut self, file: Node, write: Announced, again: bool) {
        self.once |= !again;
        self.last = Some((file, write));
        let end = write.end();
        match self.files.iter_mut().find(|grown| grown.node == file) {
            Some(grown) => {
                // Somebody else wrote between.
                self.once |= grown.end != write.from;
                (grown.last, grown.end) = (Some(write), end);
            }
            None => self.files.push(Grown { node: file, before: write.from, last: Some(write), end }),
        }
    }

    /// The last write came no further than this.
    pub(super) fn failed(&mut self, file: Option<Node>, len: u64) {
        (self.places, self.last) = (None, None);
        if let Some(grown) = self.files.iter_mut().find(|grown| Some(grown.node) == file) {
            (grown.last, grown.end, grown.before) = (None, len, grown.before.min(len));
        }
    }
}

/// Opens one of the sink's own files, where it is still the one; with its length.
fn open(known: &Known) -> Option<(File, u64)> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let path = Path::new(OsStr::from_bytes(&known.path));
    let file = File::from(openat(CWD, path, flags, Mode::empty()).ok()?);
    let meta = file.metadata().ok()?;
    ((meta.dev(), meta.ino()) == (known.dev, known.ino) && meta.is_file()).then_some((file, meta.len()))
}

/// Whether the bytes of a write stand in the file: all of them, as far as its ends tell.
fn came_through(file: &File, size: u64, write: &Announced) -> bool {
    let short = usize::try_from(write.len).unwrap_or(usize::MAX).min(HASHED_BYTES);
    let mut bytes = [0; HASHED_BYTES];
    let mut is_there =
        |at: u64, hash: u64| file.read_exact_at(&mut bytes[..short], at).is_ok() && xxh3_64(&bytes[..short]) == hash;
    size >= write.end() && is_there(write.from, write.head) && is_there(write.end() - short as u64, write.tail)
}

/// Whether what a file has behind `from` can be a part of the write, and nothing else.
fn is_part(file: &File, from: u64, size: u64, write: &Announced) -> bool {
    let short = usize::try_from(write.len).unwrap_or(usize::MAX).min(HASHED_BYTES);
    let mut bytes = [0; HASHED_BYTES];
    if size > write.end() {
        return false;
    }
    if size - from < short as u64 {
        // Too little to tell whose it is: a line without its end is nobody's.
        let mut last = [0];
        return size > from && file.read_exact_at(&mut last, size - 1).is_ok() && last != *b"\n";
    }
    file.read_exact_at(&mut bytes[..short], from).is_ok() && xxh3_64(&bytes[..short]) == write.head
}

/// What the last write of a step has come to, as its file tells.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Came {
    Through,
    /// The process ended before it was done.
    Short,
    /// Somebody did something to the file since.
    Unknown,
}

fn came(known: Option<&Known>, write: &Announced) -> Came {
    let Some((file, size)) = known.and_then(open) else { return Came::Unknown };
    if came_through(&file, size, write) {
        Came::Through
    } else if size == write.from && size > 0 || size > write.from && is_part(&file, write.from, size, write) {
        Came::Short
    } else {
        Came::Unknown
    }
}

/// Counts the step where its last write came through; undoes it where that is short, as nothing of it was acknowledged then.
/// `boot` is the present one.
pub(super) fn finish(step: Step, files: &mut HashMap<FileId, Known>, boot: u64, sink: &str, places: &mut Places) {
    let of = |node: Node| files.iter().find(|(_, k)| (k.dev, k.ino) == node).map(|(id, known)| (*id, known));
    let last = step.last.map(|(node, write)| (of(node).is_some_and(|(_, k)| k.boot == boot && boot != 0), node, write));
    let is_short = match (&step.places, last) {
        (Some(ends), Some((same_boot, node, write))) => match came(of(node).map(|(_, k)| k), &write) {
            Came::Through if same_boot => {
                places.note_all(ends.iter());
                false
            }
            Came::Short => true,
            _ => false,
        },
        // It was never ended, so nothing of it was acknowledged.
        _ => true,
    };
    if !is_short {
        return;
    }
    let grown: Vec<(FileId, Grown)> = step.files.iter().filter_map(|grown| Some((of(grown.node)?.0, *grown))).collect();
    for (id, grown) in grown {
        let Some(known) = files.get_mut(&id) else { continue };
        let same_boot = known.boot == boot && boot != 0;
        known.len = grown.before;
        if same_boot && !step.once {
            undo(known, &grown, sink);
        }
    }
}

/// Cuts a file to what it was before the step, where nothing but the step's bytes are behind that.
fn undo(known: &Known, grown: &Grown, sink: &str) {
    let Some((file, size)) = open(known).filter(|(_, size)| *size > grown.before) else { return };
    let ours = match &grown.last {
        None => size == grown.end,
        Some(write) => size == write.from || size >= write.from && is_part(&file, write.from, size, write),
    };
    if !ours {
        return;
    }
    let (path, bytes) = (String::from_utf8_lossy(&known.path), size - grown.before);
    match file.set_len(grown.before) {
        Ok(()) => {
            tracing::info!(component = sink, %path, bytes, "an interrupted write is undone: its lines come again")
        }
        Err(error) => {
            tracing::warn!(component = sink, %path, %error, "an interrupted write cannot be undone: its lines come twice");
        }
    }
}

#[cfg(test)]
mod tests;
