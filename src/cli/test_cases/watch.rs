//! Waits until a file changes.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How often files are looked at.
const INTERVAL: Duration = Duration::from_millis(200);

/// Size and time of a file, which tell whether it has changed.
type Stamp = Option<(u64, Option<SystemTime>)>;

/// Files as they were before they were read, so that no change is missed that comes while tests run.
pub(super) struct Seen {
    /// Files and folders of the configuration: files may come and go in these.
    config: Vec<PathBuf>,
    files: Vec<PathBuf>,
    stamps: Vec<(PathBuf, Stamp)>,
}

impl Seen {
    /// Looks at the files of a configuration, before it is read.
    pub(super) fn of(config: &[PathBuf]) -> Seen {
        let mut seen = Seen { config: config.to_vec(), files: Vec::new(), stamps: Vec::new() };
        seen.stamps = seen.look();
        seen
    }

    /// Looks at further files, before they are read.
    pub(super) fn add(&mut self, files: impl IntoIterator<Item = PathBuf>) {
        for file in files {
            if !self.files.contains(&file) {
                self.stamps.push((file.clone(), stamp(&file)));
                self.files.push(file);
            }
        }
    }

    fn look(&self) -> Vec<(PathBuf, Stamp)> {
        let mut all: Vec<PathBuf> = self.files.clone();
        self.config.iter().for_each(|path| add(path, &mut all));
        all.into_iter().map(|path| (path.clone(), stamp(&path))).collect()
    }

    /// Waits until one of them is another; which.
    pub(super) fn until_changed(&self) -> PathBuf {
        loop {
            let now = self.look();
            let is_new = |file: &&(PathBuf, Stamp)| !self.stamps.contains(file);
            let is_gone = |file: &&(PathBuf, Stamp)| !now.contains(file);
            if let Some((path, _)) = now.iter().find(is_new).or_else(|| self.stamps.iter().find(is_gone)) {
                return path.clone();
            }
            std::thread::sleep(INTERVAL);
        }
    }
}

/// A file, or the files of a folder.
fn add(path: &Path, all: &mut Vec<PathBuf>) {
    match std::fs::read_dir(path) {
        Ok(entries) => entries.flatten().for_each(|entry| {
            let path = entry.path();
            if path.extension().is_some_and(|e| e == "yaml" || e == "yml") {
                all.push(path);
            }
        }),
        Err(_) => all.push(path.to_owned()),
    }
}

fn stamp(path: &Path) -> Stamp {
    let about = std::fs::metadata(path).ok()?;
    Some((about.len(), about.modified().ok()))
}
