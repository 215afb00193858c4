//! The little of a filesystem that buffers and checkpoints need, behind a trait so that tests can stop it at every step.

pub(crate) mod data_dir;
#[cfg(test)]
pub(crate) mod sim;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpenFor {
    /// To read what is there.
    Read,
    /// To read and write; made where it is not there, never cut.
    Write,
}

/// What a file or folder is, whatever it is called: two names with the same are one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileId {
    /// The filesystem that it is on.
    pub(crate) device: u64,
    /// Its number there.
    pub(crate) inode: u64,
}

impl FileId {
    fn of(meta: &std::fs::Metadata) -> FileId {
        FileId { device: meta.dev(), inode: meta.ino() }
    }
}

/// A folder's filesystem. Every call may fail and may be the last one before a crash.
pub(crate) trait Storage: Send + Sync {
    /// Opens a file.
    fn open(&self, path: &Path, how: OpenFor) -> io::Result<Arc<dyn StoredFile>>;
    /// Renames a file within a folder, replacing what is there. Survives a crash only after [`sync_dir`](Storage::sync_dir).
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes names that were made, renamed and removed in a folder survive a crash.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Names and lengths of the files in a folder; none where the folder is not there.
    fn list(&self, dir: &Path) -> io::Result<Vec<(String, u64)>>;
    /// Makes a folder, 0700, with those above it; nothing where it is there.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Locks a file for this process until what is returned is dropped.
    ///
    /// Errors: `WouldBlock` where another has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send>>;
    /// What stands at `path`, be it a file or a folder.
    fn identity(&self, path: &Path) -> io::Result<FileId>;
    /// Identifies this boot of the machine; 0 where that is not known.
    fn boot(&self) -> u64;
}

/// Makes a folder anew that was deleted while it was in use.
///
/// Errors: what is left of its path is on another filesystem than `device`, on which it was: a volume that is not mounted
/// any more is not a folder that was deleted, and what is written in its place would be hidden once it is mounted again.
pub(crate) fn make_again(storage: &dyn Storage, dir: &Path, device: u64) -> io::Result<()> {
    let mut above = Some(dir);
    while let Some(at) = above {
        let named = if at.as_os_str().is_empty() { Path::new(".") } else { at };
        match storage.identity(named) {
            Ok(id) if id.device == device => return storage.create_dir(dir),
            Ok(_) => {
                let why = format!("`{}` is on another filesystem now; is its volume not mounted?", named.display());
                return Err(io::Error::other(why));
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => above = at.parent(),
            Err(e) => return Err(e),
        }
    }
    storage.create_dir(dir)
}

/// Identifies this boot of the machine; 0 where the system does not say.
pub(crate) fn boot_id() -> u64 {
    std::fs::read("/proc/sys/kernel/random/boot_id").map_or(0, |id| xxhash_rust::xxh3::xxh3_64(&id) | 1)
}

/// An open file.
pub(crate) trait StoredFile: Send + Sync {
    /// Reads at `at`; fewer bytes than asked for at the end of the file only.
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize>;
    /// Writes all of `bytes` at `at`; after an error any part of them may have been written.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;
    /// Makes what was written survive a power loss. After an error nothing is known of what was written since the last
    /// success, not even if a later call succeeds.
    fn sync(&self) -> io::Result<()>;
    /// Bytes in the file.
    fn len(&self) -> io::Result<u64>;
    /// Cuts or extends the file.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Which file it is, whatever its name, or whether it has one.
    fn identity(&self) -> io::Result<FileId>;
}

/// For opening files of state: a link in the place of one is an error. Who can plant one would have the agent write
/// wherever it may.
pub(crate) const NO_LINKS: i32 = rustix::fs::OFlags::NOFOLLOW.bits() as i32;

/// The real thing.
pub(crate) struct Disk;

impl Storage for Disk {
    fn open(&self, path: &Path, how: OpenFor) -> io::Result<Arc<dyn StoredFile>> {
        let mut options = OpenOptions::new();
        options.read(true).mode(0o600).custom_flags(NO_LINKS);
        if how == OpenFor::Write {
            options.write(true).create(true).truncate(false);
        }
        Ok(Arc::new(options.open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<(String, u64)>> {
        let entries = match std::fs::read_dir(dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry?;
            let meta = entry.metadata()?;
            if let (true, Ok(name)) = (meta.is_file(), entry.file_name().into_string()) {
                files.push((name, meta.len()));
            }
        }
        Ok(files)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(NO_LINKS);
        let file = options.open(path)?;
        file.try_lock().map_err(io::Error::from)?;
        Ok(Box::new(file))
    }

    fn identity(&self, path: &Path) -> io::Result<FileId> {
        Ok(FileId::of(&std::fs::metadata(path)?))
    }

    fn boot(&self) -> u64 {
        static BOOT: std::sync::LazyLock<u64> = std::sync::LazyLock::new(boot_id);
        *BOOT
    }
}

impl StoredFile for File {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match FileExt::read_at(self, &mut buf[done..], at + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        File::set_len(self, len)
    }

    fn identity(&self) -> io::Result<FileId> {
        Ok(FileId::of(&self.metadata()?))
    }
}
