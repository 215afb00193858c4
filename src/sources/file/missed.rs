//! What `include` does not reach, told once: patterns that meet no file, and folders that cannot be looked into.
//!
//! A pattern is judged at the first look at which nothing was in its way. One that met a file then is not told of when its
//! files go, as they may come and go. One that was told of is told of again when it has met something and does not any more
//! at two looks in a row, or when the reason is another.

use super::discovery::{Closed, Entry, FoundFiles, Met, NotAFile};
use super::plan::Plan;
use super::tails::Tails;
use crate::settings::nearest;
use hashbrown::HashMap;
use std::fmt::{self, Display};
use std::path::{Path, PathBuf};

/// Folders that are told of one by one at a look.
const TOLD_AT_ONCE: usize = 100;
/// Names of a folder that are compared with one that is not there.
const NAMES_COMPARED: usize = 10_000;

/// Why a pattern meets no file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// What has the name is no file.
    Instead(PathBuf, NotAFile),
    /// `exclude` takes out what it meets.
    Excluded(PathBuf),
    /// A file, or a folder on the way, is not there.
    Missing(PathBuf),
    /// Its folders are there, and no name in them fits.
    Nothing,
}

impl Why {
    /// `None` where it met a file, or where a [closed](super::discovery::FoundFiles::closed) folder is the reason.
    pub(super) fn of(met: &Met) -> Option<Why> {
        if met.files || met.closed {
            return None;
        }
        Some(match met {
            Met { instead: Some((path, kind)), .. } => Why::Instead(path.clone(), *kind),
            Met { excluded: Some(path), .. } => Why::Excluded(path.clone()),
            Met { missing: Some(path), .. } => Why::Missing(path.clone()),
            _ => Why::Nothing,
        })
    }

    fn is_like(&self, other: &Why) -> bool {
        match (self, other) {
            (Why::Instead(_, one), Why::Instead(_, other)) => one == other,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }

    /// In words, with what may have been meant; `pattern` as the user wrote it.
    pub(super) fn explain(&self, pattern: &str, looks_on: bool) -> String {
        let later = if looks_on { "; files that come are read" } else { "" };
        match self {
            Why::Instead(path, kind) => {
                let path = path.display();
                match kind {
                    NotAFile::Folder => {
                        format!("{path} is a folder; did you mean `{}/*`?", pattern.trim_end_matches('/'))
                    }
                    NotAFile::Fifo => format!("{path} is a FIFO, and only regular files are read"),
                    NotAFile::Socket => format!("{path} is a socket, and only regular files are read"),
                    NotAFile::Device => format!("{path} is a device, and only regular files are read"),
                    NotAFile::DeadLink => format!("{path} is a link that leads nowhere{later}"),
                    NotAFile::Link => format!("{path} is a link, and `follow_symlinks` is false"),
                }
            }
            Why::Excluded(path) => format!("`exclude` takes out what it meets, such as {}", path.display()),
            Why::Missing(path) => {
                let (missing, above) = first_missing(path);
                match above {
                    Some(above) if !above.exists() => {
                        return format!("{} is a link that leads nowhere", above.display());
                    }
                    Some(above) if !above.is_dir() => return format!("{} is not a folder", above.display()),
                    _ => {}
                }
                match above.and_then(|above| nearest_in(above, missing)) {
                    Some(near) => format!("{} is not there; did you mean {}?", missing.display(), near.display()),
                    None => format!("{} is not there{later}", missing.display()),
                }
            }
            Why::Nothing => format!("no name fits{later}"),
        }
    }
}

/// The highest part of a path that is not there, and what is above it; that may be no folder, the path itself included.
fn first_missing(path: &Path) -> (&Path, Option<&Path>) {
    let mut missing = path;
    for above in path.ancestors() {
        if above.symlink_metadata().is_ok() {
            return (missing, Some(above));
        }
        missing = above;
    }
    (missing, None)
}

/// What is in `dir` and has nearly that name. A name that goes on after it is what a rotation made of it.
fn nearest_in(dir: &Path, wrong: &Path) -> Option<PathBuf> {
    let wrong = wrong.file_name()?.to_str()?;
    let entries = std::fs::read_dir(dir).ok()?;
    let names: Vec<String> =
        entries.flatten().take(NAMES_COMPARED).filter_map(|e| e.file_name().into_string().ok()).collect();
    let is_rotated = |name: &str| name.strip_prefix(wrong).is_some_and(|rest| rest.starts_with(['.', '-', '_']));
    nearest(wrong, names.iter().map(String::as_str).filter(|name| !is_rotated(name))).map(|near| dir.join(near))
}

/// A folder that cannot be looked into, in words.
pub(super) struct ClosedFolder<'a>(pub(super) &'a Path, pub(super) &'a Closed);

impl Display for ClosedFolder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Closed { error, files } = self.1;
        write!(f, "{}: {error}", self.0.display())?;
        match files {
            0 => Ok(()),
            1 => write!(f, "; 1 file in it is not read"),
            n => write!(f, "; {n} files in it are not read"),
        }
    }
}

/// What is known of one pattern.
#[derive(Debug, Default)]
enum Judged {
    /// It was not judged yet.
    #[default]
    Not,
    /// Its last look met a file. Next: `Missed` where it was told of before.
    Met {
        told: bool,
    },
    /// It was told of before and met a file since, but not at the last look. Next: `Missed` at the next one.
    Missed,
    Told(Why),
}

/// What was told.
#[derive(Debug, Default)]
pub(super) struct Missed {
    patterns: Vec<Judged>,
    /// Folders that cannot be looked into.
    folders: Vec<PathBuf>,
    /// Of the last look: files and folders that should have been read and could not.
    pub(super) unread: usize,
}

/// Something to be told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Telling {
    /// This pattern meets no file.
    None(usize, Why),
    /// This pattern meets files now.
    Some(usize),
    Closed(PathBuf),
    /// Further folders, that many.
    MoreClosed(usize),
    Open(PathBuf),
}

impl Missed {
    /// What is to be told after a look.
    fn judge(&mut self, found: &FoundFiles) -> Vec<Telling> {
        let mut out = Vec::new();
        self.patterns.resize_with(found.met.len(), Judged::default);
        for (i, (judged, met)) in self.patterns.iter_mut().zip(&found.met).enumerate() {
            let why = Why::of(met);
            if why.is_none() && !met.files {
                // A folder is in the way, which is told.
                continue;
            }
            *judged = match (std::mem::take(judged), why) {
                (Judged::Not, None) => Judged::Met { told: false },
                (Judged::Told(_), None) => {
                    out.push(Telling::Some(i));
                    Judged::Met { told: true }
                }
                (Judged::Missed, None) => Judged::Met { told: true },
                (Judged::Met { told: true }, Some(_)) => Judged::Missed,
                (Judged::Told(before), Some(why)) if before.is_like(&why) => Judged::Told(before),
                (Judged::Not | Judged::Missed | Judged::Told(_), Some(why)) => {
                    out.push(Telling::None(i, why.clone()));
                    Judged::Told(why)
                }
                (met @ Judged::Met { .. }, _) => met,
            };
        }
        if found.closed.is_empty() && self.folders.is_empty() {
            self.unread = 0;
            return out;
        }
        let mut new: Vec<&PathBuf> = found.closed.keys().filter(|dir| !self.folders.contains(dir)).collect();
        new.sort();
        let more = new.len().saturating_sub(TOLD_AT_ONCE);
        let more = more + if self.folders.is_empty() { found.closed_more } else { 0 };
        out.extend(new.iter().take(TOLD_AT_ONCE).map(|dir| Telling::Closed((*dir).clone())));
        out.extend((more > 0).then_some(Telling::MoreClosed(more)));
        for dir in self.folders.drain(..).filter(|dir| !found.closed.contains_key(dir)) {
            // One that is gone is no news here.
            out.extend(dir.is_dir().then_some(Telling::Open(dir)));
        }
        self.folders.extend(found.closed.keys().cloned());
        self.unread = found.closed.values().map(|closed| closed.files.max(1)).sum::<usize>() + found.closed_more;
        out
    }
}

impl Missed {
    /// Tells what a look did not reach. Files that are being read are not lost because their folder lets nobody look.
    pub(super) fn tell(&mut self, found: &mut FoundFiles, plan: &Plan, tails: &Tails) {
        for telling in self.judge(found) {
            let pattern = |i: usize| plan.patterns.written().get(i).map(String::as_str).unwrap_or_default();
            match telling {
                Telling::None(i, why) => {
                    let (pattern, why) = (pattern(i), why.explain(pattern(i), !plan.once));
                    tracing::warn!(source = %plan.id, "no file matches `{pattern}`: {why}");
                }
                Telling::Some(i) => tracing::info!(source = %plan.id, "files match `{}` now", pattern(i)),
                Telling::Closed(dir) => {
                    let Some(closed) = found.closed.get(&dir) else { continue };
                    let closed = ClosedFolder(&dir, closed);
                    tracing::warn!(source = %plan.id, "cannot look for files in {closed}");
                }
                Telling::MoreClosed(n) => {
                    tracing::warn!(source = %plan.id, "cannot look for files in further folders: {n}");
                }
                Telling::Open(dir) => {
                    tracing::info!(source = %plan.id, "files in {} can be looked for again", dir.display());
                }
            }
        }
        if found.closed.is_empty() {
            return;
        }
        let shut: HashMap<_, _> = tails
            .paths()
            .filter(|(path, _)| path.ancestors().skip(1).any(|above| found.closed.contains_key(above)))
            .filter_map(|(path, key)| Some((path.to_path_buf(), tails.get(key)?.node)))
            .collect();
        found.entries.retain(|entry| !shut.contains_key(&entry.path));
        found.entries.extend(shut.into_iter().map(|(path, (device, inode))| Entry {
            path,
            inode,
            device,
            is_symlink: false,
        }));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::discovery::Patterns;
    use super::super::identity::Links;
    use super::*;
    use std::io;

    fn walk(dir: &Path, include: &[&str], exclude: &[&str], links: Links) -> FoundFiles {
        let include: Vec<String> = include.iter().map(|p| format!("{}/{p}", dir.display())).collect();
        let exclude: Vec<String> = exclude.iter().map(|p| (*p).to_owned()).collect();
        let mut found = FoundFiles::default();
        Patterns::new(&include, &exclude).unwrap().walk(links, &mut found);
        assert_eq!(found.met.len(), include.len());
        found
    }

    /// What is said of one pattern, with the folder's name left out.
    fn said(dir: &Path, pattern: &str, exclude: &[&str]) -> Option<String> {
        let found = walk(dir, &[pattern], exclude, Links::Follow);
        let why = Why::of(&found.met[0])?.explain(pattern, false);
        Some(why.replace(&format!("{}/", dir.display()), ""))
    }

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let d = dir.path();
        for path in ["app/a.log", "app/sub/x", "folders/one/x", "rotated/old.log.1"] {
            std::fs::create_dir_all(d.join(path).parent().unwrap()).unwrap();
            std::fs::write(d.join(path), "").unwrap();
        }
        std::fs::create_dir(d.join("empty")).unwrap();
        let fifo = std::process::Command::new("mkfifo").arg(d.join("pipe.log")).status().unwrap();
        assert!(fifo.success());
        std::os::unix::net::UnixListener::bind(d.join("sock.log")).unwrap();
        for (to, link) in
            [("nowhere", "dead.log"), ("app/a.log", "live.log"), ("app", "folder.log"), ("/dev/null", "device.log")]
        {
            std::os::unix::fs::symlink(if to.starts_with('/') { to.into() } else { d.join(to) }, d.join(link)).unwrap();
        }
        dir
    }

    #[test]
    fn why_a_pattern_meets_no_file_is_told_with_what_may_be_meant() {
        let tree = tree();
        let d = tree.path();
        for (pattern, why) in [
            ("app", "app is a folder; did you mean `app/*`?"),
            ("app/", "app is a folder; did you mean `app/*`?"),
            ("folders/*", "folders/one is a folder; did you mean `folders/*/*`?"),
            ("folder.log", "folder.log is a folder; did you mean `folder.log/*`?"),
            ("pipe.log", "pipe.log is a FIFO, and only regular files are read"),
            ("pipe.*", "pipe.log is a FIFO, and only regular files are read"),
            ("{pipe,sock}.log", "pipe.log is a FIFO, and only regular files are read"),
            ("sock.log", "sock.log is a socket, and only regular files are read"),
            ("dev*.log", "device.log is a device, and only regular files are read"),
            ("dead.log", "dead.log is a link that leads nowhere"),
            ("de?d.log", "dead.log is a link that leads nowhere"),
            ("app/A.LOG", "app/A.LOG is not there; did you mean app/a.log?"),
            ("app/other.txt", "app/other.txt is not there"),
            ("rotated/old.log", "rotated/old.log is not there"),
            ("none/a.log", "none is not there"),
            ("none/deeper/*.log", "none is not there"),
            ("ap/*.log", "ap is not there; did you mean app?"),
            ("app/*/y.log", "app/sub/y.log is not there"),
            ("app/a.log/*.log", "app/a.log is not a folder"),
            ("app/a.log/b.log", "app/a.log is not a folder"),
            ("dead.log/*.log", "dead.log is a link that leads nowhere"),
            ("empty/*.log", "no name fits"),
            ("empty/**/*.log", "no name fits"),
        ] {
            assert_eq!(said(d, pattern, &[]).as_deref(), Some(why), "{pattern}");
        }
        assert_eq!(said(d, "app/*.log", &["a.*"]), Some("`exclude` takes out what it meets, such as app/a.log".into()));
        assert_eq!(said(d, "app/a.log", &["a.*"]), Some("`exclude` takes out what it meets, such as app/a.log".into()));
        // One file is enough, whatever stands beside it.
        for pattern in ["app/*", "*.log", "{none,app}/a.log", "live.log", "app/**", "**/a.log"] {
            assert_eq!(said(d, pattern, &[]), None, "{pattern}");
        }
        let found = walk(d, &["live.log"], &[], Links::Keep);
        assert_eq!(Why::of(&found.met[0]), Some(Why::Instead(d.join("live.log"), NotAFile::Link)));
    }

    #[test]
    fn each_pattern_is_judged_by_itself() {
        let tree = tree();
        let found = walk(tree.path(), &["app/*.log", "app/a.log", "app/*.txt", "app"], &[], Links::Follow);
        let missed: Vec<bool> = found.met.iter().map(|met| Why::of(met).is_some()).collect();
        assert_eq!(missed, [false, false, true, true]);
    }

    fn met(files: bool) -> FoundFiles {
        FoundFiles { met: vec![Met { files, ..Met::default() }], ..FoundFiles::default() }
    }

    fn told(missed: &mut Missed, found: &FoundFiles) -> Vec<&'static str> {
        let name = |telling| match telling {
            Telling::None(0, Why::Nothing) => "nothing",
            Telling::None(0, _) => "other",
            Telling::Some(0) => "some",
            Telling::Closed(_) => "closed",
            Telling::Open(_) => "open",
            _ => "unexpected",
        };
        missed.judge(found).into_iter().map(name).collect()
    }

    #[test]
    fn a_pattern_is_told_of_once_until_that_changes() {
        let folder = || Some((PathBuf::from("/x"), NotAFile::Folder));
        let instead = FoundFiles { met: vec![Met { instead: folder(), ..Met::default() }], ..FoundFiles::default() };
        let mut missed = Missed::default();
        let looks = [
            (&met(false), &["nothing"][..]),
            (&met(false), &[]),
            (&instead, &["other"]),
            (&instead, &[]),
            (&met(true), &["some"]),
            (&met(true), &[]),
            // The moment between a rotation's two steps.
            (&met(false), &[]),
            (&met(true), &[]),
            (&met(false), &[]),
            (&met(false), &["nothing"]),
            (&met(false), &[]),
            (&met(true), &["some"]),
        ];
        for (i, (found, want)) in looks.iter().enumerate() {
            assert_eq!(told(&mut missed, found), *want, "look {i}");
        }
        // One that met a file at first: files come and go.
        let mut missed = Missed::default();
        for (i, found) in [met(true), met(false), met(false), met(true)].iter().enumerate() {
            assert_eq!(told(&mut missed, found), [""; 0], "look {i}");
        }
    }

    fn closed(dir: &Path, files: usize) -> FoundFiles {
        let why = Closed { error: io::ErrorKind::PermissionDenied.into(), files };
        let met = Met { closed: true, ..Met::default() };
        FoundFiles { met: vec![met], closed: HashMap::from_iter([(dir.to_owned(), why)]), ..FoundFiles::default() }
    }

    #[test]
    fn a_closed_folder_is_told_of_once_and_the_pattern_is_judged_when_it_is_open() {
        let dir = tempfile::tempdir().unwrap();
        let mut missed = Missed::default();
        for _ in 0..2 {
            assert_eq!(told(&mut missed, &closed(dir.path(), 0)), ["closed"]);
            assert_eq!(told(&mut missed, &closed(dir.path(), 7)), [""; 0]);
            assert_eq!(missed.unread, 7);
            assert_eq!(told(&mut missed, &met(true)), ["open"]);
            assert_eq!(missed.unread, 0);
        }
        let mut missed = Missed::default();
        assert_eq!(told(&mut missed, &closed(dir.path(), 0)), ["closed"]);
        assert_eq!(missed.unread, 1);
        assert_eq!(told(&mut missed, &met(false)), ["nothing", "open"]);
        // A folder that is gone is not open.
        let gone = dir.path().join("gone");
        assert_eq!(told(&mut missed, &closed(&gone, 0)), ["closed"]);
        assert_eq!(told(&mut missed, &met(false)), [""; 0]);
    }

    #[test]
    fn of_many_closed_folders_the_first_are_named() {
        let found = FoundFiles {
            closed: (0..1000)
                .map(|n| {
                    (format!("/d/{n:04}").into(), Closed { error: io::ErrorKind::PermissionDenied.into(), files: 0 })
                })
                .collect(),
            closed_more: 50,
            ..FoundFiles::default()
        };
        let mut missed = Missed::default();
        let told = missed.judge(&found);
        assert_eq!(told.len(), TOLD_AT_ONCE + 1);
        assert_eq!(told.first(), Some(&Telling::Closed("/d/0000".into())));
        assert_eq!(told.last(), Some(&Telling::MoreClosed(950)));
        assert_eq!(missed.unread, 1050);
        assert_eq!(missed.judge(&found), []);
    }

    #[test]
    fn a_closed_folder_tells_how_many_files_it_keeps() {
        let found = closed(Path::new("/logs"), 12);
        let (dir, why) = found.closed.iter().next().unwrap();
        assert_eq!(ClosedFolder(dir, why).to_string(), "/logs: permission denied; 12 files in it are not read");
    }
}
