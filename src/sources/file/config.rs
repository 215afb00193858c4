//! What the user writes.

use super::discovery::check_pattern;
use super::identity::Links;
use super::lines::LongLines;
use crate::component::common::SourceCommon;
use crate::decoding::Charset;
use crate::framing::MultilineSetting;
use crate::settings::{Reader, Size, Span, Spanned, config, config_choice, config_enum};
use std::time::Duration;

config! {
    /// Reads lines from files, through rotation and restarts, without losing one or giving one twice.
    pub struct FileConfig {
        /// Files to read: paths with `*`, `?`, `[…]`, `{…,…}` and `**`.
        pub include: Vec<Spanned<String>>,
        /// Files not to read; a pattern without a slash holds for the name in any folder.
        pub exclude: Vec<Spanned<String>> = Vec::new(),
        /// Where to begin with files that are there at the first start. Files that appear later are read from the beginning.
        pub start_at: StartAt = StartAt::Beginning,
        /// Which lines make one event. `decode: cri` and `decode: docker` join split messages by themselves; what is joined then is
        /// their texts, each stream by itself.
        pub multiline: Option<MultilineSetting>,
        /// With `decode: cri` and `decode: docker`: how long a message waits for its next part, also for one in the file that takes
        /// the name of a rotated one.
        pub partial_timeout: Duration = Duration::from_secs(10),
        /// Longest line, without its end; of a container message that was split, the line that its parts make.
        pub max_line_bytes: Spanned<Size> = Spanned::new(Size::mib(1), Span::default()),
        /// What becomes of longer lines.
        pub long_lines: LongLines = LongLines::Truncate,
        /// What the files are in, by a label of the WHATWG's Encoding Standard: `latin1`, `shift_jis`, `gbk`, `utf-16le`, … Files
        /// that begin with the mark of UTF-16 are read as that without it. Compressed ones hold the same.
        pub charset: Option<Charset>,
        /// Files not changed for that long are not read, unless they were before.
        pub ignore_older: Option<Duration>,
        /// Files are deleted that long after everything in them was delivered and nothing more was added.
        pub remove_after: Option<Duration>,
        /// What becomes of files that match and are compressed with gzip, zstd, xz or bzip2: known by their first bytes, not
        /// their names. Files compressed with something else are left alone, with a warning.
        pub compressed: Compressed = Compressed::Auto,
        /// What tells a file from another of the same name.
        pub fingerprint: Fingerprint = Fingerprint::Auto,
        /// How often folders are looked through for new files; where the system tells of changes, a tenth as often. Not more
        /// than 10,000 files a second.
        pub glob_interval: Duration = Duration::from_secs(1),
        /// How changes are noticed.
        pub watch: WatchMode = WatchMode::Auto,
        /// Whether links to files and folders are followed.
        pub follow_symlinks: bool = true,
        /// Where the rest of a rotated file is looked for besides its own folder and `include`: paths as in `include`, such as
        /// `/var/log/old/*` for logrotate's `olddir`. What matches is read only as the rest of a file that was being read.
        pub rotated_to: Vec<Spanned<String>> = Vec::new(),
        /// What all sources have.
        flatten pub common: SourceCommon,
    }
}

config_enum! {
    /// Where to begin in a file.
    pub enum StartAt {
        /// At its first line.
        Beginning = "beginning",
        /// Behind its last whole line.
        End = "end",
    }
}

config_enum! {
    /// What becomes of compressed files.
    pub enum Compressed {
        /// One of which it is proven that its bytes were read, by length and hash of what was decompressed, gives only the
        /// rest; others are read once.
        Auto = "auto",
        /// They are left alone.
        Ignore = "ignore",
    }
}

config_enum! {
    /// How changes are noticed.
    pub enum WatchMode {
        /// The system's notices (inotify) and, as they may fail, a slow sweep.
        Auto = "auto",
        /// A sweep alone.
        Poll = "poll",
    }
}

config_choice! {
    /// What tells a file from another of the same name.
    pub enum Fingerprint {
        /// Device, inode, time of birth and a hash of its beginning.
        Auto = "auto",
        /// Device, inode and time of birth alone, for files whose beginning is changed in place.
        Inode = "inode",
        /// A hash of its first bytes alone, that many; for file systems whose inodes do not last. Shorter files wait.
        Bytes(Spanned<Size>) = "bytes",
    }
}

/// Longest `max_line_bytes`: places in a read buffer are 32-bit.
const MAX_MAX_LINE_BYTES: u64 = 1 << 30;
/// Longest beginning to hash.
const MAX_FINGERPRINT_BYTES: u64 = 1 << 20;

impl FileConfig {
    /// What becomes of links.
    pub(super) fn links(&self) -> Links {
        if self.follow_symlinks { Links::Follow } else { Links::Keep }
    }

    pub(crate) fn note_mistakes(&self, cx: &mut Reader<'_>) {
        if self.charset.is_some_and(|charset| charset.encoding().is_some()) && self.common.decode.container().is_some()
        {
            cx.error_at(
                "charset",
                "`charset` is not for `decode: cri` and `decode: docker`: their runtimes write UTF-8",
            );
        }
        for pattern in self.include.iter().chain(&self.exclude).chain(&self.rotated_to) {
            if let Err(why) = check_pattern(pattern) {
                cx.error(pattern.span, format!("this pattern cannot be read: {why}"));
            }
        }
        if !(1..=MAX_MAX_LINE_BYTES).contains(&self.max_line_bytes.bytes()) {
            cx.error(self.max_line_bytes.span, "`max_line_bytes` must be from 1 to 1GiB");
        }
        if let Fingerprint::Bytes(n) = &self.fingerprint
            && !(1..=MAX_FINGERPRINT_BYTES).contains(&n.bytes())
        {
            cx.error(n.span, "`fingerprint: {bytes: N}` must be from 1 to 1MiB");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::settings::read_text;
    use std::collections::BTreeMap;

    #[test]
    fn patterns_that_cannot_be_read_are_mistakes_at_their_place() {
        let yaml = "include: ['/a/*.log']\nexclude: ['b[']\nrotated_to: ['/a/old/*', '/c/{d', '']\n";
        let (config, mut report) = read_text::<FileConfig>("test.yaml", yaml, &BTreeMap::new());
        config.unwrap().note_mistakes(&mut Reader::new(&mut report.sources, &mut report.diagnostics));
        let said = report.render();
        for place in ["test.yaml:2:", "test.yaml:3:26", "test.yaml:3:35"] {
            assert!(said.contains(place), "{place} in {said}");
        }
    }
}
