//! The `file` sink: lines at the end of files, whose paths may depend on the event.
//!
//! It runs on a thread of its own. Lines gather in one buffer per file and are written together: as soon as nothing more
//! waits, at the latest at 256 KiB (compressed: after `batch.timeout`, at the latest at `batch.max_bytes`). Text and JSON
//! that nobody changed is written from the read buffer itself. A batch is acknowledged once all its lines are written and
//! the lengths of its files are recorded in `data_dir`, with `fsync: batch` once they are on disk.
//!
//! What it promises: no torn line, whatever happens (see `files.rs`); no file outside the literal folder of `path`,
//! no symlink followed below it (`folder.rs`); nothing deleted that it did not write (`journal.rs`). A full disk, missing
//! rights, an I/O error: it waits, says so once a minute, `/ready` fails, and it goes on by itself; its buffer fills and
//! does what `when_full` says. A path that can never be written (a symlink, a folder in its place, too long) sends the
//! event to the dead letter with `reason="path"`, one that lacks a field with `reason="template"`; where `path` is the same
//! for every event it is waited for instead.

mod codec;
mod files;
mod folder;
mod journal;
mod run;
#[cfg(test)]
mod tests;

pub use codec::Compression;

use crate::component::{BuildContext, BuildError, SinkRun};
use crate::encoding::Encoding;
use crate::template::NameTemplate;
use std::time::Duration;

/// When what was written is made to survive a loss of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Fsync {
    /// Before it is acknowledged.
    Batch,
    /// Once a second.
    Interval,
    /// When the system sees fit. It survives the end of the process all the same.
    #[default]
    Never,
}

/// When a file is set aside and a new one begun, and how long the old ones stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Rotate {
    /// Before the file grows past so many bytes. A single longer line has a file of its own; a compressed file is
    /// rotated behind the member with which it came to this size.
    pub size: Option<u64>,
    /// At the first write in a new period of this length, counted from midnight UTC.
    pub every: Option<Duration>,
    /// Rotated files that stay, per path.
    pub keep: Option<usize>,
    /// Rotated files, and those of earlier dates where the path has a date in it, are deleted when their last line is
    /// this old.
    pub max_age: Option<Duration>,
}

/// What a file sink does. [`FileSinkOptions::new`] gives the defaults.
#[derive(Clone, Debug)]
pub struct FileSinkOptions {
    /// Where lines go.
    pub path: NameTemplate,
    /// How events become lines.
    pub encoding: Encoding,
    /// How files are compressed.
    pub compression: Compression,
    /// Rotation.
    pub rotate: Option<Rotate>,
    /// Syncing.
    pub fsync: Fsync,
    /// Files open at once.
    pub max_open_files: usize,
    /// Paths written to within an hour.
    pub max_paths: usize,
    /// Compressed files: bytes of lines, before compression, that make a member. `0` for the default.
    pub member_bytes: usize,
    /// Compressed files: how long lines wait for a member to fill.
    pub member_timeout: Duration,
}

impl FileSinkOptions {
    /// The defaults, for one path.
    pub fn new(path: NameTemplate) -> Self {
        FileSinkOptions {
            path,
            encoding: Encoding::Json,
            compression: Compression::None,
            rotate: None,
            fsync: Fsync::Never,
            max_open_files: 256,
            max_paths: 10_000,
            member_bytes: 1 << 20,
            member_timeout: Duration::from_secs(5),
        }
    }
}

/// The `file` sink.
pub struct FileSink;

impl FileSink {
    /// A sink that is ready to run. Opens nothing yet.
    ///
    /// Errors: none so far.
    #[allow(clippy::new_ret_no_self, reason = "what runs is a closure on a thread of its own")]
    pub fn new(options: FileSinkOptions, context: &BuildContext) -> Result<SinkRun, BuildError> {
        let context = context.clone();
        Ok(SinkRun::Thread(Box::new(move |input| run::run(options, &context, input))))
    }
}
