//! The folder where state is kept: its lock, and the one way in which small files in it are replaced.

use crate::storage::{Disk, NO_LINKS, OpenFor, Storage};
use crate::sync::Locked;
use rustix::fs::{FlockOperation, flock};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Keeps other agents out of a `data_dir` for as long as it lives; the kernel frees it with the process.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    file: Mutex<File>,
}

impl Lock {
    /// Takes it again where its file was deleted or moved away.
    ///
    /// Errors: it cannot be made, or another agent has the one that is there now.
    pub fn renew(&self) -> io::Result<()> {
        let mut file = self.file.locked();
        let held = file.metadata()?;
        match std::fs::metadata(&self.path) {
            Ok(there) if (there.dev(), there.ino()) == (held.dev(), held.ino()) => return Ok(()),
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let new = open_lock(&self.path)?;
        flock(&new, FlockOperation::NonBlockingLockExclusive)?;
        *file = new;
        Ok(())
    }
}

fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).custom_flags(NO_LINKS).open(path)
}

/// Whether an agent runs with this `data_dir`. Makes nothing.
pub fn is_in_use(dir: &Path) -> bool {
    let Ok(file) = OpenOptions::new().read(true).custom_flags(NO_LINKS).open(dir.join("lock")) else { return false };
    // A shared lock, for a moment: two that ask do not take each other for an agent.
    matches!(flock(&file, FlockOperation::NonBlockingLockShared), Err(rustix::io::Errno::WOULDBLOCK))
}

/// What is wrong with a folder of state that others may have a hand in: whoever can make names there can have the agent
/// read, or lose, what they like. Nothing where it is this user's, and only they may write.
pub fn strangers(meta: &std::fs::Metadata) -> Option<String> {
    let us = rustix::process::geteuid().as_raw();
    let mode = meta.mode() & 0o7777;
    if meta.uid() != us && meta.uid() != 0 {
        return Some(format!("it belongs to the user with the number {}, this is {us}", meta.uid()));
    }
    let who = match (mode & 0o002 != 0, mode & 0o020 != 0) {
        (true, _) => "everybody",
        (false, true) => "its group",
        (false, false) => return None,
    };
    Some(format!("{who} may write there (mode {mode:04o})"))
}

/// Refuses a file of state that belongs to somebody else.
fn check_owner(file: &File) -> io::Result<()> {
    let (owner, us) = (file.metadata()?.uid(), rustix::process::geteuid().as_raw());
    if owner == us || owner == 0 || us == 0 {
        return Ok(());
    }
    Err(io::Error::other(format!("it belongs to the user with the number {owner}, this is {us}")))
}

/// Why a `data_dir` cannot be this agent's.
#[derive(Debug)]
pub enum DataDirError {
    /// It is not there and cannot be made.
    Create {
        /// The folder.
        dir: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Nothing can be written in it.
    Write {
        /// The folder.
        dir: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file of state belongs to somebody else, or cannot be locked.
    Lock {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another agent has it.
    InUse {
        /// The folder.
        dir: PathBuf,
    },
}

impl std::fmt::Display for DataDirError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DataDirError::Create { dir, .. } => {
                write!(f, "cannot create data_dir {}; make it or name another", dir.display())
            }
            DataDirError::Write { dir, source } => {
                write!(f, "cannot write in data_dir {}", dir.display())?;
                match source.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) {
                    true => f.write_str("; `lock` there is a link, which the agent has not made: look who has"),
                    false => Ok(()),
                }
            }
            DataDirError::Lock { path, .. } => write!(f, "cannot lock {}", path.display()),
            DataDirError::InUse { dir } => write!(
                f,
                "another agent uses data_dir {}: stop it, or give this one a `data_dir` of its own",
                dir.display()
            ),
        }
    }
}

impl std::error::Error for DataDirError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            DataDirError::Create { source, .. }
            | DataDirError::Write { source, .. }
            | DataDirError::Lock { source, .. } => Some(source),
            DataDirError::InUse { .. } => None,
        }
    }
}

/// Makes `dir` (mode 0700) where it is missing and locks it.
///
/// Errors: it cannot be made or written, or another agent has it.
pub fn lock_data_dir(dir: &Path) -> Result<Lock, DataDirError> {
    create_dir(dir).map_err(|source| DataDirError::Create { dir: dir.to_owned(), source })?;
    if let Some(why) = std::fs::metadata(dir).ok().as_ref().and_then(strangers) {
        tracing::warn!(
            data_dir = %dir.display(),
            "STATE IS NOT SAFE HERE: {why}; others can take what is buffered, and make the agent read files anew or not at \
             all. `chmod 700` it, with this user as its owner"
        );
    }
    let path = dir.join("lock");
    let file = open_lock(&path).map_err(|source| DataDirError::Write { dir: dir.to_owned(), source })?;
    if let Err(source) = check_owner(&file) {
        return Err(DataDirError::Lock { path, source });
    }
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock { path, file: Mutex::new(file) }),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(DataDirError::InUse { dir: dir.to_owned() }),
        Err(error) => Err(DataDirError::Lock { path, source: error.into() }),
    }
}

/// Makes a folder with all above it, readable by the owner only; one that exists is left as it is.
pub fn create_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Replaces a small file as a whole: write beside it, sync, rename, sync the folder.
///
/// A crash at any point leaves the old file or the new one, never a mixture; a leftover `<name>.tmp` is overwritten
/// by the next call.
pub fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_file_on(&Disk, path, bytes)
}

/// As [`replace_file`], on a filesystem of the caller's.
pub(crate) fn replace_file_on(storage: &dyn Storage, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    let temporary = PathBuf::from(name);
    let file = storage.open(&temporary, OpenFor::Write)?;
    file.set_len(0)?;
    file.write_at(bytes, 0)?;
    file.sync()?;
    drop(file);
    storage.rename(&temporary, path)?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    storage.sync_dir(dir.unwrap_or(Path::new(".")))
}

/// Makes what was created, renamed or removed in a folder durable.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_data_dir_has_one_owner_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        let lock = lock_data_dir(&path).unwrap();
        let refused = lock_data_dir(&path).unwrap_err();
        assert!(
            matches!(refused, DataDirError::InUse { .. }) && refused.to_string().contains("another agent"),
            "{refused}"
        );
        drop(lock);
        assert!(lock_data_dir(&path).is_ok());
    }

    #[test]
    fn a_lock_is_taken_again_where_its_folder_was_deleted_and_not_from_another_agent() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        let lock = lock_data_dir(&path).unwrap();
        lock.renew().unwrap();
        std::fs::remove_dir_all(&path).unwrap();
        assert!(lock.renew().is_err(), "the folder is not there");
        create_dir(&path).unwrap();
        lock.renew().unwrap();
        assert!(lock_data_dir(&path).is_err());
        std::fs::rename(&path, dir.path().join("moved")).unwrap();
        let _other = lock_data_dir(&path).unwrap();
        assert!(lock.renew().is_err());
    }

    #[test]
    fn no_file_of_state_is_written_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let precious = dir.path().join("precious");
        std::fs::write(&precious, "precious").unwrap();
        let data = dir.path().join("data");
        create_dir(&data).unwrap();
        let link = |name: &str| std::os::unix::fs::symlink(&precious, data.join(name)).unwrap();
        link("lock");
        let refused = lock_data_dir(&data).unwrap_err();
        assert!(refused.to_string().contains("is a link"), "{refused}");
        link("state.tmp");
        assert!(replace_file(&data.join("state"), b"evil").is_err());
        assert!(Disk.open(&data.join("state.tmp"), OpenFor::Write).is_err());
        assert!(Disk.open(&data.join("state.tmp"), OpenFor::Read).is_err());
        assert!(Disk.lock(&data.join("lock")).is_err());
        assert_eq!(std::fs::read(&precious).unwrap(), b"precious");
    }

    #[test]
    fn a_folder_that_others_have_a_hand_in_is_told_from_our_own() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let of_mode = |mode: u32| {
            std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(mode)).unwrap();
            strangers(&std::fs::metadata(dir.path()).unwrap())
        };
        assert_eq!((of_mode(0o700), of_mode(0o755)), (None, None));
        assert!(of_mode(0o777).unwrap().contains("everybody may write there (mode 0777)"));
        assert!(of_mode(0o770).unwrap().contains("its group"));
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(dir.path(), Some(12345), None).unwrap();
            assert!(of_mode(0o700).unwrap().contains("number 12345"));
        }
    }

    #[test]
    fn who_asks_whether_a_folder_is_in_use_hears_of_agents_only() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_in_use(dir.path()));
        let lock = lock_data_dir(dir.path()).unwrap();
        assert!(is_in_use(dir.path()));
        drop(lock);
        assert!(!is_in_use(dir.path()));
    }

    #[test]
    fn a_file_is_replaced_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        replace_file(&path, b"old, and longer").unwrap();
        replace_file(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
