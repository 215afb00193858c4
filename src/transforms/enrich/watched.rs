//! A value read from a file, read again when the file changes.
//!
//! A thread of its own looks at the file every few seconds; when size, time or inode have changed and then stayed the
//! same for one more look (so that a file still being written is left alone), it reads the file and swaps the value.
//! A file that is gone, cannot be read, is no such file, or is less than what is in use (empty, without a part that it had,
//! cut off) leaves the old value in use and is said once in the log. Workers notice a new value by one atomic load a batch.

use crate::error::chain;
use crate::sync::Locked;
use crate::telemetry::log_throttle::LogThrottle;
use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

/// How often a file is looked at; a change is seen within two looks.
pub(super) const INTERVAL: Duration = Duration::from_secs(2);

/// Why a file cannot be used.
#[derive(Debug)]
pub(super) enum FileError {
    /// It cannot be read.
    Read(io::Error),
    /// It is not what it should be: what is wrong.
    Malformed(String),
    /// It could be used, but must not take the place of the one in use, which knows more.
    Worse(String),
    /// Changes of it would not be seen: there is no thread for it.
    Watch(io::Error),
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileError::Read(source) => source.fmt(f),
            FileError::Malformed(why) | FileError::Worse(why) => f.write_str(why),
            FileError::Watch(_) => f.write_str("cannot start a thread to watch it"),
        }
    }
}

impl std::error::Error for FileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            FileError::Read(source) => std::error::Error::source(source),
            FileError::Watch(source) => Some(source),
            FileError::Malformed(_) | FileError::Worse(_) => None,
        }
    }
}

impl From<String> for FileError {
    fn from(why: String) -> FileError {
        FileError::Malformed(why)
    }
}

impl From<&str> for FileError {
    fn from(why: &str) -> FileError {
        FileError::Malformed(why.to_owned())
    }
}

/// Reads a value from the file; why it cannot, or why it may not take the place of the one in use, otherwise.
type Load<T> = dyn Fn(&Path, Option<&T>) -> Result<T, FileError> + Send + Sync;

struct Shared<T> {
    path: PathBuf,
    value: Mutex<Arc<T>>,
    version: AtomicU64,
    /// Changes that could not be used, counted again each minute for as long as the file is like that.
    refused: AtomicU64,
    /// The last of them.
    why: Mutex<String>,
    load: Box<Load<T>>,
}

/// A worker's view of the value.
pub(super) struct Watched<T> {
    shared: Arc<Shared<T>>,
    version: u64,
    value: Arc<T>,
}

/// What tells one state of a file from another.
type Signature = (i64, i64, u64, u64);

fn signature(path: &Path) -> Option<Signature> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.mtime(), meta.mtime_nsec(), meta.len(), meta.ino()))
}

impl<T: Send + Sync + 'static> Watched<T> {
    /// Reads the file and begins to watch it.
    ///
    /// Errors: what `load` says.
    pub(super) fn open(
        path: &Path,
        interval: Duration,
        load: impl Fn(&Path, Option<&T>) -> Result<T, FileError> + Send + Sync + 'static,
    ) -> Result<Self, FileError> {
        let seen = signature(path);
        let value = Arc::new(load(path, None)?);
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            value: Mutex::new(value.clone()),
            version: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            why: Mutex::default(),
            load: Box::new(load),
        });
        let watching = Arc::downgrade(&shared);
        std::thread::Builder::new()
            .name("tidegate-watch".into())
            .spawn(move || watch(&watching, seen, interval))
            .map_err(FileError::Watch)?;
        Ok(Watched { shared, version: 0, value })
    }

    /// Takes over a new value; whether there was one. Called once a batch.
    #[inline]
    pub(super) fn refresh(&mut self) -> bool {
        let version = self.shared.version.load(Ordering::Acquire);
        if version == self.version {
            return false;
        }
        self.value = self.shared.value.locked().clone();
        self.version = version;
        true
    }

    /// Changes of the file that could not be used since any worker last asked.
    pub(super) fn refused(&self) -> u64 {
        match self.shared.refused.load(Ordering::Relaxed) {
            0 => 0,
            _ => self.shared.refused.swap(0, Ordering::Relaxed),
        }
    }

    /// Why the file as it is now cannot be used.
    pub(super) fn why(&self) -> String {
        self.shared.why.locked().clone()
    }

    /// The value.
    #[inline]
    pub(super) fn value(&self) -> &T {
        &self.value
    }

    /// A view for another worker.
    pub(super) fn fork(&self) -> Self {
        Watched { shared: self.shared.clone(), version: self.version, value: self.value.clone() }
    }
}

/// Looks until nobody uses the value any more.
fn watch<T>(watching: &Weak<Shared<T>>, loaded: Option<Signature>, interval: Duration) {
    let (mut loaded, mut seen) = (loaded, loaded);
    let mut unusable: Option<LogThrottle> = None;
    loop {
        std::thread::sleep(interval);
        let Some(shared) = watching.upgrade() else { return };
        let now = signature(&shared.path);
        if now == loaded && unusable.as_mut().is_some_and(|throttle| throttle.due(1).is_some()) {
            shared.refused.fetch_add(1, Ordering::Relaxed);
        }
        if now == loaded || now != seen {
            seen = now;
            continue;
        }
        let old = shared.value.locked().clone();
        let read = (shared.load)(&shared.path, Some(&old));
        // Written to while it was read: what was read may be a mixture.
        seen = signature(&shared.path);
        if seen != now {
            continue;
        }
        loaded = now;
        unusable = None;
        match read {
            Ok(value) => {
                *shared.value.locked() = Arc::new(value);
                shared.version.fetch_add(1, Ordering::Release);
                tracing::info!(path = %shared.path.display(), "file changed and was read again");
            }
            Err(error) => {
                let why = chain(&error);
                let shown = format!("{}: {why}", shared.path.display());
                *shared.why.locked() = shown;
                shared.refused.fetch_add(1, Ordering::Relaxed);
                let mut throttle = LogThrottle::default();
                unusable = throttle.due(1).map(|_| throttle);
                tracing::error!(
                    path = %shared.path.display(), error = %why,
                    "the file changed and cannot be used; what was read before stays in use, but a start with this file would fail"
                );
            }
        }
    }
}

/// Whether the last line of a text has its end, as every line has that was written to its end by a program.
///
/// Errors: that of the text `before` had, and this one's has not.
pub(super) fn last_line_ends(text: &str, before: Option<bool>) -> Result<bool, FileError> {
    match text.ends_with('\n') {
        false if before == Some(true) => Err(FileError::Worse(
            "its last line has no end, as that of the file before had: it was cut off, or is not written to its end"
                .into(),
        )),
        ends => Ok(ends),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::time::clock::monotonic;

    fn until(mut done: impl FnMut() -> bool) {
        let deadline = monotonic() + Duration::from_secs(20);
        while !done() {
            assert!(monotonic() < deadline, "nothing happened in 20 seconds");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn a_changed_file_is_read_again_and_a_bad_one_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("n");
        let write = |text: &str| {
            std::fs::write(dir.path().join("new"), text).unwrap();
            std::fs::rename(dir.path().join("new"), &path).unwrap();
        };
        let load = |path: &Path, old: Option<&i32>| -> Result<i32, FileError> {
            let text = std::fs::read_to_string(path).map_err(FileError::Read)?;
            let n = text.trim().parse().map_err(|_| "no number")?;
            if old.is_some_and(|old| n < *old) { Err(FileError::Worse("less".to_owned())) } else { Ok(n) }
        };
        assert!(matches!(Watched::open(&path, INTERVAL, load).err().unwrap(), FileError::Read(_)));
        write("1");
        let mut watched = Watched::open(&path, Duration::from_millis(5), load).unwrap();
        let mut other = watched.fork();
        assert!(!watched.refresh());
        write("two");
        until(|| watched.refused() == 1);
        assert!(!watched.refresh());
        assert_eq!(*watched.value(), 1);
        write("3");
        until(|| watched.refresh());
        assert_eq!(*watched.value(), 3);
        until(|| other.refresh());
        assert_eq!((*other.value(), other.refused()), (3, 0));
        write("2");
        until(|| watched.refused() == 1);
        std::fs::remove_file(&path).unwrap();
        until(|| watched.refused() == 1);
        assert!(!watched.refresh());
        write("4");
        until(|| watched.refresh());
        assert_eq!((*watched.value(), watched.refused()), (4, 0));
    }
}
