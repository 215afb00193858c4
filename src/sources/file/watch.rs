//! What wakes the reader: hints of the kernel that something happened to a path, verdicts, the end of the run.
//!
//! Hints only make it look sooner: each is a path to be looked at, and a sweep looks at all of them anyway.

use hashbrown::HashSet;
use notify::event::{EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// One thread's doorbell.
#[derive(Default)]
pub(super) struct Wake {
    rung: Mutex<bool>,
    bell: Condvar,
}

impl Wake {
    pub(super) fn wake(&self) {
        *self.rung.lock().unwrap_or_else(|e| e.into_inner()) = true;
        self.bell.notify_one();
    }

    /// Waits until it is rung, at most for `timeout`.
    pub(super) fn wait(&self, timeout: Duration) {
        let rung = self.rung.lock().unwrap_or_else(|e| e.into_inner());
        let mut rung = self.bell.wait_timeout_while(rung, timeout, |rung| !*rung).unwrap_or_else(|e| e.into_inner()).0;
        *rung = false;
    }
}

impl std::task::Wake for Wake {
    fn wake(self: Arc<Self>) {
        Wake::wake(&self);
    }
}

/// Hints heard and not yet looked at.
#[derive(Default)]
pub(super) struct Hints {
    pub(super) paths: HashSet<PathBuf>,
    /// Some were lost: look at everything.
    pub(super) all: bool,
}

/// More hints than that at a time say no more than "look at everything".
const MAX_HINTS: usize = 20_000;
/// A busy folder rings once per write; the listener sleeps that long after each such stretch of listening, so that
/// the kernel folds repeats.
const REST: Duration = Duration::from_millis(2);

/// Watches folders.
pub(super) struct Watch {
    watcher: RecommendedWatcher,
    hints: Arc<Mutex<Hints>>,
}

impl Watch {
    /// Errors: the system has no watches left, or none at all.
    pub(super) fn new(wake: Arc<Wake>) -> notify::Result<Self> {
        let hints = Arc::new(Mutex::new(Hints::default()));
        let heard = hints.clone();
        let mut rested = Instant::now();
        let watcher = RecommendedWatcher::new(
            move |event: notify::Result<notify::Event>| {
                if note(event, &heard) {
                    wake.wake();
                }
                if rested.elapsed() > REST {
                    // At most half of the time is spent listening, however many writes there are.
                    std::thread::sleep(REST);
                    rested = Instant::now();
                }
            },
            notify::Config::default(),
        )?;
        Ok(Watch { watcher, hints })
    }

    /// Hears of what happens to the entries of `dir` from now on.
    ///
    /// Errors: the system has no watches left, or [the folder itself](concerns_folder) is not to be watched.
    pub(super) fn add(&mut self, dir: &Path) -> notify::Result<()> {
        self.watcher.watch(dir, RecursiveMode::NonRecursive)
    }

    pub(super) fn remove(&mut self, dir: &Path) {
        // It may be gone with its folder already.
        let _gone = self.watcher.unwatch(dir);
    }

    /// Takes what was heard.
    pub(super) fn take(&self) -> Hints {
        std::mem::take(&mut *self.hints.lock().unwrap_or_else(|e| e.into_inner()))
    }
}

/// Whether an error of [`Watch::add`] is one of that folder, which is gone or may not be read, and not of all of them.
pub(super) fn concerns_folder(error: &notify::Error) -> bool {
    match &error.kind {
        notify::ErrorKind::PathNotFound => true,
        notify::ErrorKind::Io(error) => matches!(
            error.kind(),
            io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
        ),
        _ => false,
    }
}

/// Notes an event; whether there is something to look at.
fn note(event: notify::Result<notify::Event>, hints: &Mutex<Hints>) -> bool {
    let mut hints = hints.lock().unwrap_or_else(|e| e.into_inner());
    match event {
        Ok(event) if event.need_rescan() => hints.all = true,
        Ok(event) => {
            // Opening and closing say nothing; our own opening least of all.
            if matches!(event.kind, EventKind::Access(_) | EventKind::Modify(ModifyKind::Metadata(_))) {
                return false;
            }
            if hints.paths.len() >= MAX_HINTS {
                hints.all = true;
                hints.paths.clear();
            }
            if !hints.all {
                hints.paths.extend(event.paths);
            }
        }
        Err(_) => hints.all = true,
    }
    true
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_write_and_a_new_file_are_heard_of() {
        let dir = tempfile::tempdir().unwrap();
        let wake = Arc::new(Wake::default());
        let mut watch = Watch::new(wake.clone()).unwrap();
        watch.add(dir.path()).unwrap();
        let file = dir.path().join("a.log");
        std::fs::write(&file, "x").unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            wake.wait(Duration::from_secs(1));
            if watch.take().paths.contains(&file) {
                break;
            }
            assert!(Instant::now() < deadline, "never heard of it");
        }
    }

    #[test]
    fn a_bell_rung_before_the_wait_is_not_missed() {
        let wake = Wake::default();
        wake.wake();
        let start = Instant::now();
        wake.wait(Duration::from_secs(60));
        assert!(start.elapsed() < Duration::from_secs(30));
    }
}
