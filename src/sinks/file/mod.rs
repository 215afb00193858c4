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
mod known;
mod run;
#[cfg(test)]
mod tests;
mod undo;

use crate::component::common::SinkCommon;
use crate::component::plan::{Preview, SinkPlan};
use crate::component::{BuildContext, SinkRun};
use crate::doctor::{Finding, Host, general};
use crate::encoding::{Encoder, Encoding, EncodingConfig};
use crate::error::{BuildError, chain};
use crate::event::EventRef;
use crate::settings::{Reader, Settings, Size, Spanned, config, config_enum};
use crate::template::{NameTemplate, Values};
use std::path::{Path, PathBuf};
use std::time::Duration;

config_enum! {
    /// How the file's bytes are compressed.
    pub enum Compression {
        /// Not at all.
        None = "none",
        /// gzip, one member a flush.
        Gzip = "gzip",
        /// zstd, one frame a flush.
        Zstd = "zstd",
    }
}

config_enum! {
    /// When what was written is made to survive a loss of power.
    pub enum Fsync {
        /// Before it counts as delivered.
        Batch = "batch",
        /// Once a second.
        Interval = "interval",
        /// When the system sees fit; it survives the end of the process all the same.
        Never = "never",
    }
}

config! {
    /// When a file is set aside and a new one begun, and how long the old ones stay.
    pub struct RotateConfig {
        /// Set a file aside before it grows past this. A longer line has a file of its own; a compressed file is set
        /// aside once it has come to this size.
        pub size: Option<Size> = None,
        /// Set it aside at the first line of a new period, counted from midnight UTC: `1d`, `1h`.
        pub every: Option<Duration> = None,
        /// Rotated files that stay, per path. All of them where it is left out.
        pub keep: Option<usize> = None,
        /// Delete rotated files, and those of earlier dates where `path` has a date in it, once their last line is so old.
        pub max_age: Option<Duration> = None,
    }
}

config! {
    /// How many lines make one gzip member or zstd frame.
    pub struct MemberConfig {
        /// Bytes of lines, before compression.
        pub max_bytes: Size = Size::mib(1),
        /// How long lines wait for it to fill.
        pub timeout: Duration = Duration::from_secs(5),
    }
}

config! {
    /// Writes lines to the end of files, whose paths may depend on the event.
    pub struct FileConfig {
        /// Where lines go: `./out/%Y-%m-%d/{{ service }}.ndjson`. Folders are made. Values become single names, and no
        /// symlink is followed below the folder that stands literally in front.
        pub path: Spanned<NameTemplate>,
        /// How they are written.
        flatten pub writing: WritingConfig,
        /// What all sinks have.
        flatten pub common: SinkCommon,
    }
}

config! {
    /// How files are written.
    pub struct WritingConfig {
        /// How events become lines.
        pub encoding: EncodingConfig = EncodingConfig::Json,
        /// How files are compressed.
        pub compression: Compression = Compression::None,
        /// How many lines a compressed file takes at once; others are written as soon as nothing more waits.
        pub batch: MemberConfig = MemberConfig::defaults(),
        /// Rotation. Only files that this sink wrote are ever deleted.
        pub rotate: Option<RotateConfig> = None,
        /// When what was written is made to survive a loss of power.
        pub fsync: Fsync = Fsync::Never,
        /// Files open at once.
        pub max_open_files: usize = 256,
        /// Paths written to within an hour; events for more go to the dead letter.
        pub max_paths: usize = 10_000,
    }
}

impl SinkPlan for FileConfig {
    fn common(&self) -> &SinkCommon {
        &self.common
    }

    fn check(&self, cx: &mut Reader<'_>) {
        let path = &self.path.value;
        let (span, text) = (self.path.span, path.text());
        let below = text.get(folder::literal_len(path.literal_prefix())..).unwrap_or(text);
        if text.is_empty() || text.ends_with('/') {
            cx.error(span, "`path` names a folder, expected a file").help("write `./out/{{ service }}.ndjson`");
        } else if path.as_literal().is_none() && below.split('/').any(|name| name == "..") {
            cx.error(span, "`..` must not come after a value or a date in `path`");
        }
        if let Some(rotate) = &self.writing.rotate {
            if rotate.size.is_none() && rotate.every.is_none() && (rotate.max_age.is_none() || !path.has_time()) {
                cx.error_at("rotate", "`rotate` needs `size` or `every`").help("write `rotate: {every: 1d, keep: 7}`");
            }
            for (key, zero) in [
                ("size", rotate.size.is_some_and(|s| s.bytes() == 0)),
                ("every", rotate.every.is_some_and(|d| d.is_zero())),
                ("max_age", rotate.max_age.is_some_and(|d| d.is_zero())),
            ] {
                if zero {
                    cx.error_at(&format!("rotate.{key}"), format!("`rotate.{key}` must be more than 0"));
                }
            }
        }
        for (key, most) in [("max_open_files", self.writing.max_open_files), ("max_paths", self.writing.max_paths)] {
            if most == 0 {
                cx.error_at(key, format!("`{key}` must be at least 1"));
            }
        }
    }

    fn writes(&self) -> Vec<PathBuf> {
        let path = &self.path.value;
        let prefix = path.literal_prefix();
        vec![match path.as_literal() {
            Some(path) => PathBuf::from(path),
            None => PathBuf::from(prefix.get(..folder::literal_len(prefix)).filter(|p| !p.is_empty()).unwrap_or(".")),
        }]
    }

    fn examine(&self, _host: &Host) -> Vec<Finding> {
        let tried = self.writes().into_iter().map(|path| match self.path.value.as_literal() {
            Some(_) => general::try_folder(path.parent().unwrap_or(Path::new("."))),
            None => general::try_folder(&path),
        });
        let failed = tried.filter_map(Result::err);
        failed
            .map(|why| {
                Finding::loss(
                    format!("{}: it takes nothing", chain(&why)),
                    "make it for the agent's user, or set another `path`",
                )
            })
            .collect()
    }

    fn writes_like(&self) -> Option<PathBuf> {
        Some(PathBuf::from(self.path.value.sample()))
    }

    fn keeps_places(&self) -> bool {
        true
    }

    fn preview(&self, _zone: &jiff::tz::TimeZone) -> Option<Box<dyn Preview>> {
        let (path, encoder) = (self.path.value.clone(), Encoder::new(self.writing.encoding.clone().into()));
        Some(Box::new(Shown { path, encoder }))
    }

    fn when_changed(&self) -> Option<&'static str> {
        Some("ends its write; the new one goes on at the end of each file")
    }

    fn build(self: Box<Self>, cx: &BuildContext) -> Result<SinkRun, BuildError> {
        FileSink::new(FileSinkOptions::of(self.path.value, self.writing), cx)
    }
}

/// Shows a line, and the file it would go to.
struct Shown {
    path: NameTemplate,
    encoder: Encoder,
}

impl Preview for Shown {
    fn show(&mut self, event: EventRef<'_>, out: &mut Vec<u8>) -> Result<Option<String>, String> {
        let mut path = Vec::new();
        self.path.render_as(Values::Component, event, &mut path).map_err(|why| format!("`path`: {why}"))?;
        self.encoder.event(event, out);
        out.pop();
        Ok(Some(String::from_utf8_lossy(&path).into_owned()))
    }
}

/// When a file is set aside and how long the old ones stay; see [`RotateConfig`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Rotate {
    /// Before the file grows past so many bytes.
    pub size: Option<u64>,
    /// At the first line of a new period.
    pub every: Option<Duration>,
    /// Rotated files that stay, per path.
    pub keep: Option<usize>,
    /// Age at which they go.
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
    /// Compressed files: bytes of lines, before compression, that make a member.
    pub member_bytes: usize,
    /// Compressed files: how long lines wait for a member to fill.
    pub member_timeout: Duration,
}

impl FileSinkOptions {
    /// The defaults, for one path.
    pub fn new(path: NameTemplate) -> Self {
        Self::of(path, WritingConfig::defaults())
    }

    /// As configured.
    fn of(path: NameTemplate, writing: WritingConfig) -> Self {
        FileSinkOptions {
            path,
            encoding: writing.encoding.into(),
            compression: writing.compression,
            rotate: writing.rotate.map(|r| Rotate {
                size: r.size.map(Size::bytes),
                every: r.every,
                keep: r.keep,
                max_age: r.max_age,
            }),
            fsync: writing.fsync,
            max_open_files: writing.max_open_files,
            max_paths: writing.max_paths,
            member_bytes: writing.batch.max_bytes.as_usize(),
            member_timeout: writing.batch.timeout,
        }
    }
}

/// The `file` sink.
pub struct FileSink;

impl FileSink {
    /// A sink that is ready to run. Opens nothing yet.
    ///
    /// Errors: none so far.
    #[expect(clippy::new_ret_no_self, reason = "what runs is a closure on a thread of its own")]
    pub fn new(options: FileSinkOptions, context: &BuildContext) -> Result<SinkRun, BuildError> {
        let context = context.clone();
        Ok(SinkRun::Thread(Box::new(move |input| run::run(options, &context, input))))
    }
}
