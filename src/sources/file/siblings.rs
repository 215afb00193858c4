//! What lies beside a file, and where `rotated_to` says: its rotated generations, its copies, and what became of it.

use super::discovery::FoundFiles;
use super::identity::{Identity, Links, Look, look_at, open, read_at};
use super::names::{is_generation_name, is_rotated_name, name_of};
use super::plan::Plan;
use super::proof::AT_ONCE;
use hashbrown::HashMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file beside another.
#[derive(Clone, Debug)]
pub(super) struct Sibling {
    pub(super) path: PathBuf,
    pub(super) look: Look,
    /// Its name is one that rotations give and nobody else.
    pub(super) is_generation: bool,
}

/// When something was made, removed or renamed in a folder; 0 where there is none.
pub(super) fn modified(dir: &Path) -> i64 {
    look_at(dir, Links::Follow).map_or(0, |look| look.modified)
}

/// The names in a folder, with their inodes; none where there is no such folder.
///
/// Errors: nobody can look into it now (too many open files, no permission). Nothing is known to be gone then.
fn names_in(dir: &Path) -> io::Result<Vec<(OsString, u64)>> {
    let name = |e: std::fs::DirEntry| (e.file_name(), std::os::unix::fs::DirEntryExt::ino(&e));
    match std::fs::read_dir(dir) {
        Ok(entries) => entries.map(|entry| entry.map(name)).collect(),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Names in folders, each looked into once.
#[derive(Default)]
struct Folders(HashMap<PathBuf, Vec<(OsString, u64)>>);

impl Folders {
    fn names(&mut self, dir: &Path) -> io::Result<&[(OsString, u64)]> {
        if !self.0.contains_key(dir) {
            self.0.insert(dir.to_owned(), names_in(dir)?);
        }
        Ok(self.0.get(dir).map_or(&[], Vec::as_slice))
    }
}

/// Most links on the way from a path to a file.
const MOST_LINKS: usize = 8;

/// Where rotations of a file happen that is found at `path`: there, and where the link leads that stands there.
fn homes(path: &Path) -> Vec<PathBuf> {
    let mut homes = vec![path.to_owned()];
    while let Some(target) = homes.last().and_then(|home| std::fs::read_link(home).ok())
        && homes.len() <= MOST_LINKS
    {
        let home = homes.last().and_then(|home| home.parent()).map_or(target.clone(), |dir| dir.join(&target));
        homes.push(home);
    }
    homes
}

/// Looks beside files; into each folder once, for as long as this lives.
pub(super) struct Siblings {
    plan: Arc<Plan>,
    folders: Folders,
    /// Files that match `rotated_to`; `None` where nobody asked yet.
    elsewhere: Option<Vec<Sibling>>,
}

impl Siblings {
    pub(super) fn new(plan: &Arc<Plan>) -> Self {
        Siblings { plan: plan.clone(), folders: Folders::default(), elsewhere: None }
    }

    /// Regular files beside `path` (or beside what it links to), or where `rotated_to` says, whose names are what a rotation
    /// makes of its name.
    ///
    /// Errors: a folder cannot be looked into now.
    pub(super) fn of(&mut self, path: &Path) -> io::Result<Vec<Sibling>> {
        let Siblings { plan, folders, elsewhere } = self;
        let elsewhere = elsewhere.get_or_insert_with(|| rotated_elsewhere(plan));
        let mut siblings: Vec<Sibling> = Vec::new();
        for home in homes(path) {
            let (Some(base), Some(dir)) = (name_of(&home), home.parent()) else { continue };
            let beside = folders.names(dir)?.iter().filter(|(name, _)| is_rotated_name(&base, &name.to_string_lossy()));
            siblings.extend(beside.filter_map(|(name, _)| sibling(plan, home.with_file_name(name), &base)));
            for other in elsewhere.iter() {
                let name = name_of(&other.path);
                if other.path.parent() != home.parent()
                    && name.is_some_and(|n| n == base || is_rotated_name(&base, &n))
                    && let Some(other) = sibling(plan, other.path.clone(), &base)
                {
                    siblings.push(other);
                }
            }
        }
        Ok(siblings)
    }

    /// A file of this identity in the folder of `path`, whatever its name, or where `rotated_to` says.
    ///
    /// Errors: a folder cannot be looked into now.
    pub(super) fn with_identity(&mut self, path: &Path, identity: Identity) -> io::Result<Option<Sibling>> {
        let Siblings { plan, folders, elsewhere } = self;
        for home in homes(path) {
            let Some(dir) = home.parent() else { continue };
            let beside = folders.names(dir)?.iter().filter(|(_, inode)| *inode == identity.inode);
            let mut beside = beside.filter_map(|(name, _)| sibling(plan, home.with_file_name(name), ""));
            if let Some(found) = beside.find(|s| s.look.identity == identity) {
                return Ok(Some(found));
            }
        }
        let elsewhere = elsewhere.get_or_insert_with(|| rotated_elsewhere(plan));
        Ok(elsewhere.iter().find(|s| s.look.identity == identity).cloned())
    }
}

/// The file at `path` beside another whose name is `base`.
fn sibling(plan: &Plan, path: PathBuf, base: &str) -> Option<Sibling> {
    let look = look_at(&path, Links::Keep).ok()?;
    let is_generation = name_of(&path).is_some_and(|name| name == base || is_generation_name(base, &name));
    (look.is_file && !plan.is_own(&path)).then_some(Sibling { path, look, is_generation })
}

/// Files that match `rotated_to`.
fn rotated_elsewhere(plan: &Plan) -> Vec<Sibling> {
    if plan.rotated_to.is_empty() {
        return Vec::new();
    }
    let mut found = FoundFiles::default();
    plan.rotated_to.walk(plan.links, &mut found);
    found.entries.into_iter().filter_map(|e| sibling(plan, e.path, "")).collect()
}

/// Whether the file at `path` begins with all that another one holds.
pub(super) fn begins_with_all_of(path: &Path, other: &Sibling) -> bool {
    let same = || -> std::io::Result<bool> {
        let (ours, theirs) = (open(path, Links::Follow)?, open(&other.path, Links::Keep)?);
        let mut bytes = [vec![0; 128 << 10], vec![0; 128 << 10]];
        let mut at = 0;
        while at < other.look.size {
            let lens = [read_at(&ours, &mut bytes[0], at)?, read_at(&theirs, &mut bytes[1], at)?];
            if lens[1] == 0 {
                break;
            }
            if lens[0] < lens[1] || bytes[0][..lens[1]] != bytes[1][..lens[1]] {
                return Ok(false);
            }
            at += lens[1] as u64;
        }
        Ok(true)
    };
    other.look.size <= AT_ONCE && same().unwrap_or(false)
}
