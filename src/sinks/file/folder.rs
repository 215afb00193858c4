//! Opening, renaming and deleting files below the template's literal folder, where no symlink is followed.
//!
//! Values of events choose names down there, so every step is taken with `openat` from the folder above. The literal
//! folder itself is the operator's word: symlinks in it are followed.

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Mode of new files, before the umask.
const FILE_MODE: Mode = Mode::from_raw_mode(0o640);
/// Mode of new folders below the literal folder, before the umask.
const FOLDER_MODE: Mode = Mode::from_raw_mode(0o750);

/// Whether something can be tried again, or never will work for this path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Problem {
    /// The disk, the rights, the limits: may be repaired any time.
    Wait(String),
    /// The path itself: too long, a symlink, a folder in its place.
    Path(String),
}

impl Problem {
    /// What an error means that came while `doing` something.
    pub(super) fn of(errno: Errno, doing: &str, path: &[u8]) -> Problem {
        let path = String::from_utf8_lossy(path);
        let text = std::io::Error::from(errno);
        match errno {
            Errno::LOOP => {
                Problem::Path(format!("cannot {doing} `{path}`: a symlink stands there, which is not followed"))
            }
            Errno::NOTDIR | Errno::NAMETOOLONG | Errno::ISDIR | Errno::INVAL | Errno::ILSEQ => {
                Problem::Path(format!("cannot {doing} `{path}`: {text}"))
            }
            _ => Problem::Wait(format!("cannot {doing} `{path}`: {text}")),
        }
    }

    /// As [`of`](Problem::of), for the standard library's errors.
    pub(super) fn of_io(error: &std::io::Error, doing: &str, path: &[u8]) -> Problem {
        match Errno::from_io_error(error) {
            Some(errno) => Problem::of(errno, doing, path),
            None => Problem::Wait(format!("cannot {doing} `{}`: {error}", String::from_utf8_lossy(path))),
        }
    }

    /// What went wrong.
    pub(super) fn text(&self) -> &str {
        match self {
            Problem::Wait(text) | Problem::Path(text) => text,
        }
    }
}

/// How many bytes of `prefix`, the literal beginning of all paths, are the folder: up to its last `/`, with it.
pub(super) fn literal_len(prefix: &str) -> usize {
    prefix.rfind('/').map_or(0, |i| i + 1)
}

/// What is done about folders that are missing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Make,
    Fail,
}

/// Opens the folder that `path` is in; gives it and the file's name. `literal` bytes of `path` are the literal folder.
pub(super) fn open_parent(path: &[u8], literal: usize, missing: Missing) -> Result<(OwnedFd, &[u8]), Problem> {
    let fail = |errno| Problem::of(errno, "open the folder of", path);
    let (root, below) = path.split_at(literal.min(path.len()));
    let root = Path::new(OsStr::from_bytes(if root.is_empty() { b"." } else { root }));
    if missing == Missing::Make && !root.is_dir() {
        use std::os::unix::fs::DirBuilderExt;
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(root);
        made.map_err(|e| Problem::of_io(&e, "make the folder", root.as_os_str().as_bytes()))?;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut folder = rustix::fs::openat(CWD, root, flags, Mode::empty()).map_err(fail)?;
    let mut names = below.split(|&c| c == b'/').filter(|n| !n.is_empty() && *n != b".").peekable();
    while let Some(name) = names.next() {
        if name == b".." || name.contains(&0) {
            return Err(Problem::Path(format!("`{}` leaves its folder", String::from_utf8_lossy(path))));
        }
        if names.peek().is_none() {
            return Ok((folder, name));
        }
        let open = |folder: &OwnedFd| rustix::fs::openat(folder, name, flags | OFlags::NOFOLLOW, Mode::empty());
        folder = match open(&folder) {
            Err(Errno::NOENT) if missing == Missing::Make => {
                match rustix::fs::mkdirat(&folder, name, FOLDER_MODE) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(errno) => return Err(fail(errno)),
                }
                open(&folder)
            }
            // Linux says "not a directory" of a symlink that is not followed.
            Err(Errno::NOTDIR) if is_symlink(&folder, name) => Err(Errno::LOOP),
            other => other,
        }
        .map_err(fail)?;
    }
    Err(Problem::Path(format!("`{}` names no file", String::from_utf8_lossy(path))))
}

fn is_symlink(folder: &OwnedFd, name: &[u8]) -> bool {
    rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|s| rustix::fs::FileType::from_raw_mode(s.st_mode) == rustix::fs::FileType::Symlink)
}

/// Opens a regular file for reading and appending, made where there is none; whether it was made, is said too.
pub(super) fn open_file(path: &[u8], literal: usize) -> Result<(OwnedFd, Stat, bool), Problem> {
    let fail = |errno| Problem::of(errno, "open", path);
    let (folder, name) = open_parent(path, literal, Missing::Make)?;
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let (file, made) = match rustix::fs::openat(&folder, name, flags, Mode::empty()) {
        Err(Errno::NOENT) => match rustix::fs::openat(&folder, name, flags | OFlags::CREATE, FILE_MODE) {
            Ok(file) => (file, true),
            Err(errno) => return Err(fail(errno)),
        },
        Ok(file) => (file, false),
        Err(errno) => return Err(fail(errno)),
    };
    let stat = rustix::fs::fstat(&file).map_err(fail)?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::RegularFile {
        return Err(Problem::Path(format!(
            "cannot write `{}`: it is not a regular file",
            String::from_utf8_lossy(path)
        )));
    }
    // File systems without locks are written without.
    if rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
        let path = String::from_utf8_lossy(path);
        return Err(Problem::Wait(format!("cannot write `{path}`: another sink or agent writes it")));
    }
    Ok((file, stat, made))
}

/// Renames the file at `path` within its folder to the same name with `.{stamp}` behind it, or `.{stamp}-N` where that
/// exists; gives the new path.
pub(super) fn set_aside(path: &[u8], literal: usize, stamp: &str) -> Result<Vec<u8>, Problem> {
    let fail = |errno| Problem::of(errno, "rename", path);
    let (folder, name) = open_parent(path, literal, Missing::Fail)?;
    for n in 0.. {
        let suffix = if n == 0 { format!(".{stamp}") } else { format!(".{stamp}-{n}") };
        let new = [name, suffix.as_bytes()].concat();
        let renamed = match rustix::fs::renameat_with(&folder, name, &folder, &new[..], RenameFlags::NOREPLACE) {
            // The file system or the system cannot do that in one step.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                match rustix::fs::statat(&folder, &new[..], AtFlags::SYMLINK_NOFOLLOW) {
                    Err(Errno::NOENT) => rustix::fs::renameat(&folder, name, &folder, &new[..]),
                    Ok(_) => Err(Errno::EXIST),
                    Err(errno) => Err(errno),
                }
            }
            other => other,
        };
        match renamed {
            Ok(()) => return Ok([path, suffix.as_bytes()].concat()),
            Err(Errno::EXIST) if n < 1000 => {}
            Err(errno) => return Err(fail(errno)),
        }
    }
    Err(fail(Errno::EXIST))
}

/// Device and number of what stands at `path`; `None` where there is nothing.
pub(super) fn identity(path: &[u8]) -> Option<(u64, u64)> {
    let stat = rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    Some(ids(&stat))
}

/// Device and number of a file.
#[allow(clippy::unnecessary_cast, reason = "the types differ between systems")]
pub(super) fn ids(stat: &Stat) -> (u64, u64) {
    (stat.st_dev as u64, stat.st_ino as u64)
}

/// Deletes the file at `path` where it still is the one with this device and number.
pub(super) fn delete(path: &[u8], literal: usize, identity: (u64, u64)) -> Result<bool, Problem> {
    let fail = |errno| Problem::of(errno, "delete", path);
    let (folder, name) = match open_parent(path, literal, Missing::Fail) {
        Ok(found) => found,
        Err(Problem::Wait(_)) if !Path::new(OsStr::from_bytes(path)).exists() => return Ok(false),
        Err(problem) => return Err(problem),
    };
    match rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(fail(errno)),
        Ok(stat) if ids(&stat) != identity => Ok(false),
        Ok(_) => match rustix::fs::unlinkat(&folder, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(fail(errno)),
        },
    }
}

/// Makes the folder's entry for a new file survive a loss of power.
pub(super) fn sync_parent(path: &[u8], literal: usize) -> Result<(), Problem> {
    let (folder, _) = open_parent(path, literal, Missing::Fail)?;
    rustix::fs::fsync(&folder).map_err(|errno| Problem::of(errno, "sync the folder of", path))
}
