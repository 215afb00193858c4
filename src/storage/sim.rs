//! A filesystem in memory that forgets, tears and fails as real ones may.
//!
//! What was not synced may be lost by a power cut, sector by sector and in any order; names survive in the order they
//! were changed. A failed sync leaves pages that no later sync writes. Every call counts as a step, and the run can be
//! made to end at any of them.

use super::{FileId, OpenFor, Storage, StoredFile};
use crate::sync::Locked;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

/// Unit of what a power cut tears.
const SECTOR: usize = 512;

#[derive(Clone, Default)]
struct Inode {
    /// What a reader sees.
    seen: Vec<u8>,
    /// What survives a power cut for certain.
    safe: Vec<u8>,
    /// Writes since the last sync; a length alone where the bytes are `None`.
    pending: Vec<(u64, Option<Vec<u8>>)>,
}

#[derive(Clone)]
enum NameOp {
    Set(PathBuf, usize),
    /// From, to. A rename is whole or not at all, as journals make it.
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

#[derive(Clone, Default)]
struct World {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    safe_names: BTreeMap<PathBuf, usize>,
    pending_names: Vec<NameOp>,
    /// Steps until everything stops.
    steps_left: Option<u64>,
    steps: u64,
    stopped: bool,
    /// Bytes that fit.
    room: Option<u64>,
    /// Syncs (of files or folders) that fail next.
    failing_syncs: u32,
    /// Writes that fail next, half done.
    failing_writes: u32,
    /// Opens for writing that fail next.
    failing_opens: u32,
    /// With this error of the system, where it is not 0.
    failing_with: i32,
    /// Folders that were deleted and not made again.
    gone: BTreeSet<PathBuf>,
    /// The filesystem that folders are on: others than 0 stand for a volume that is not mounted.
    device: u64,
    /// How often the power went.
    boots: u64,
}

/// The filesystem.
#[derive(Clone, Default)]
pub(crate) struct Sim(Arc<Mutex<World>>);

struct SimFile {
    world: Arc<Mutex<World>>,
    inode: usize,
}

/// What ended the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crash {
    /// The process was killed: what it wrote is there.
    Kill,
    /// The power went: what was not synced is there or not.
    Power,
}

fn stopped() -> io::Error {
    io::Error::other("the run has ended")
}

fn apply(bytes: &mut Vec<u8>, at: u64, write: &[u8]) {
    let at = at as usize;
    if bytes.len() < at + write.len() {
        bytes.resize(at + write.len(), 0);
    }
    bytes[at..at + write.len()].copy_from_slice(write);
}

impl World {
    /// Counts a step; `Err` when the run has ended, `Ok(true)` when it ends with this step.
    fn step(&mut self) -> io::Result<bool> {
        if self.stopped {
            return Err(stopped());
        }
        self.steps += 1;
        if let Some(left) = &mut self.steps_left {
            if *left == 0 {
                self.stopped = true;
                return Ok(true);
            }
            *left -= 1;
        }
        Ok(false)
    }

    fn used(&self) -> u64 {
        self.names.values().map(|&i| self.inodes[i].seen.len() as u64).sum()
    }

    /// Errors: the folder that `path` is to be in is not there.
    fn has_folder_of(&self, path: &Path) -> io::Result<()> {
        match path.parent() {
            Some(dir) if self.is_gone(dir) => Err(io::ErrorKind::NotFound.into()),
            _ => Ok(()),
        }
    }

    fn is_gone(&self, dir: &Path) -> bool {
        self.gone.iter().any(|gone| dir.starts_with(gone))
    }

    fn is_below(path: &Path, dir: &Path) -> bool {
        path.starts_with(dir) && path != dir
    }
}

impl Sim {
    fn lock(&self) -> MutexGuard<'_, World> {
        self.0.locked()
    }

    /// Ends the run after `steps` more steps.
    pub(crate) fn stop_after(&self, steps: u64) {
        self.lock().steps_left = Some(steps);
    }

    /// Steps so far.
    pub(crate) fn steps(&self) -> u64 {
        self.lock().steps
    }

    /// Whether the run has ended.
    pub(crate) fn has_stopped(&self) -> bool {
        self.lock().stopped
    }

    /// Limits the bytes of all files.
    pub(crate) fn set_room(&self, room: Option<u64>) {
        self.lock().room = room;
    }

    /// Lets the next syncs fail.
    pub(crate) fn fail_syncs(&self, n: u32) {
        self.lock().failing_syncs = n;
    }

    /// Lets the next writes fail, half done.
    pub(crate) fn fail_writes(&self, n: u32) {
        self.lock().failing_writes = n;
    }

    /// Lets the next writes fail with an error of the system, half done.
    pub(crate) fn fail_writes_with(&self, n: u32, errno: rustix::io::Errno) {
        let mut world = self.lock();
        (world.failing_writes, world.failing_with) = (n, errno.raw_os_error());
    }

    /// Lets the next opens for writing fail.
    pub(crate) fn fail_opens(&self, n: u32) {
        self.lock().failing_opens = n;
    }

    /// Bytes of all files.
    pub(crate) fn used(&self) -> u64 {
        self.lock().used()
    }

    /// Names and contents of all files, as a reader sees them.
    pub(crate) fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let world = self.lock();
        world.names.iter().map(|(name, &i)| (name.clone(), world.inodes[i].seen.clone())).collect()
    }

    /// Replaces a file's bytes, behind everybody's back.
    pub(crate) fn put(&self, path: &Path, bytes: Vec<u8>) {
        let mut world = self.lock();
        let inode = Inode { seen: bytes.clone(), safe: bytes, pending: Vec::new() };
        world.inodes.push(inode);
        let i = world.inodes.len() - 1;
        world.names.insert(path.to_owned(), i);
        world.safe_names.insert(path.to_owned(), i);
    }

    /// Removes a file behind everybody's back.
    pub(crate) fn take(&self, path: &Path) {
        let mut world = self.lock();
        world.names.remove(path);
        world.safe_names.remove(path);
    }

    /// Deletes a folder with all that is in it, behind everybody's back. Files that are open can still be used.
    pub(crate) fn take_folder(&self, dir: &Path) {
        let mut world = self.lock();
        world.names.retain(|path, _| !World::is_below(path, dir));
        world.safe_names.retain(|path, _| !World::is_below(path, dir));
        world.gone.insert(dir.to_owned());
    }

    /// Lets folders be on another filesystem, as where a volume is not mounted any more; 0 is the one they were on.
    pub(crate) fn set_device(&self, device: u64) {
        self.lock().device = device;
    }

    /// Cuts a file behind everybody's back.
    pub(crate) fn cut(&self, path: &Path, len: usize) {
        let mut world = self.lock();
        if let Some(&inode) = world.names.get(path) {
            let inode = &mut world.inodes[inode];
            inode.seen.truncate(len);
            inode.safe.truncate(len);
            inode.pending.clear();
        }
    }

    /// The filesystem as the next start finds it.
    pub(crate) fn after(&self, crash: Crash, random: &mut fastrand::Rng) -> Sim {
        let world = self.lock();
        let boots = world.boots + u64::from(crash == Crash::Power);
        let mut next = World { boots, ..World::default() };
        let names = match crash {
            Crash::Kill => world.names.clone(),
            Crash::Power => {
                let mut names = world.safe_names.clone();
                let kept = random.usize(..=world.pending_names.len());
                for op in &world.pending_names[..kept] {
                    match op {
                        NameOp::Set(path, inode) => drop(names.insert(path.clone(), *inode)),
                        NameOp::Rename(from, to) => {
                            if let Some(inode) = names.remove(from) {
                                names.insert(to.clone(), inode);
                            }
                        }
                        NameOp::Remove(path) => drop(names.remove(path)),
                    }
                }
                names
            }
        };
        for (name, inode) in names {
            let inode = &world.inodes[inode];
            let bytes = match crash {
                Crash::Kill => inode.seen.clone(),
                Crash::Power => torn(inode, random),
            };
            next.inodes.push(Inode { seen: bytes.clone(), safe: bytes, pending: Vec::new() });
            let i = next.inodes.len() - 1;
            next.names.insert(name.clone(), i);
            next.safe_names.insert(name, i);
        }
        Sim(Arc::new(Mutex::new(next)))
    }
}

/// What a power cut leaves of a file.
fn torn(inode: &Inode, random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = inode.safe.clone();
    // From "nothing arrived" to "everything arrived".
    let share = random.u32(0..=4);
    for (at, write) in &inode.pending {
        let Some(write) = write else {
            if random.u32(0..4) < share {
                bytes.resize(*at as usize, 0);
            }
            continue;
        };
        let mut from = 0;
        while from < write.len() {
            let sector_end = ((*at as usize + from) / SECTOR + 1) * SECTOR - *at as usize;
            let to = sector_end.min(write.len());
            if random.u32(0..4) < share {
                apply(&mut bytes, at + from as u64, &write[from..to]);
            }
            from = to;
        }
    }
    bytes
}

impl Storage for Sim {
    fn open(&self, path: &Path, how: OpenFor) -> io::Result<Arc<dyn StoredFile>> {
        let mut world = self.lock();
        if world.stopped {
            return Err(stopped());
        }
        if how == OpenFor::Write && world.failing_opens > 0 {
            world.failing_opens -= 1;
            return Err(io::Error::other("simulated"));
        }
        let inode = match (world.names.get(path), how) {
            (Some(&inode), _) => inode,
            (None, OpenFor::Read) => return Err(io::ErrorKind::NotFound.into()),
            (None, OpenFor::Write) => {
                world.has_folder_of(path)?;
                if world.step()? {
                    return Err(stopped());
                }
                world.inodes.push(Inode::default());
                let inode = world.inodes.len() - 1;
                world.names.insert(path.to_owned(), inode);
                world.pending_names.push(NameOp::Set(path.to_owned(), inode));
                inode
            }
        };
        Ok(Arc::new(SimFile { world: self.0.clone(), inode }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.lock();
        if world.step()? {
            return Err(stopped());
        }
        let inode = world.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        world.names.insert(to.to_owned(), inode);
        world.pending_names.push(NameOp::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.lock();
        if world.step()? {
            return Err(stopped());
        }
        world.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        world.pending_names.push(NameOp::Remove(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.lock();
        if world.step()? {
            return Err(stopped());
        }
        if world.is_gone(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if world.failing_syncs > 0 {
            world.failing_syncs -= 1;
            return Err(io::Error::other("simulated"));
        }
        world.safe_names = world.names.clone();
        world.pending_names.clear();
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<(String, u64)>> {
        let world = self.lock();
        let inside = world.names.iter().filter(|(path, _)| path.parent() == Some(dir));
        Ok(inside
            .filter_map(|(path, &i)| Some((path.file_name()?.to_str()?.to_owned(), world.inodes[i].seen.len() as u64)))
            .collect())
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.lock().gone.retain(|gone| !dir.starts_with(gone));
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send>> {
        self.lock().has_folder_of(path)?;
        Ok(Box::new(()))
    }

    fn identity(&self, path: &Path) -> io::Result<FileId> {
        let world = self.lock();
        if let Some(&inode) = world.names.get(path) {
            return Ok(FileId { device: world.device, inode: inode as u64 });
        }
        // Whatever is no file and was not deleted is a folder, with a number that files do not have.
        if world.is_gone(path) || path.extension().is_some() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(FileId { device: world.device, inode: u64::MAX })
    }

    fn boot(&self) -> u64 {
        self.lock().boots + 1
    }
}

impl SimFile {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.locked()
    }
}

impl StoredFile for SimFile {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let world = self.world();
        if world.stopped {
            return Err(stopped());
        }
        let bytes = &world.inodes[self.inode].seen;
        let from = usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
        let n = buf.len().min(bytes.len() - from);
        buf[..n].copy_from_slice(&bytes[from..from + n]);
        Ok(n)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut world = self.world();
        let last = world.step()?;
        let growth = (at + bytes.len() as u64).saturating_sub(world.inodes[self.inode].seen.len() as u64);
        let full = world.room.is_some_and(|room| world.used() + growth > room);
        let failing = world.failing_writes > 0;
        let done = if last || full || failing { bytes.len() / 2 } else { bytes.len() };
        let inode = &mut world.inodes[self.inode];
        apply(&mut inode.seen, at, &bytes[..done]);
        inode.pending.push((at, Some(bytes[..done].to_vec())));
        if last {
            return Err(stopped());
        }
        if failing {
            world.failing_writes -= 1;
            return Err(match world.failing_with {
                0 => io::Error::other("simulated"),
                errno => io::Error::from_raw_os_error(errno),
            });
        }
        if full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = self.world();
        if world.step()? {
            return Err(stopped());
        }
        if world.failing_syncs > 0 {
            world.failing_syncs -= 1;
            // The pages count as clean from now on, though they never arrived.
            world.inodes[self.inode].pending.clear();
            return Err(io::Error::other("simulated"));
        }
        let inode = &mut world.inodes[self.inode];
        // What an earlier failed sync has forgotten stays forgotten.
        for (at, write) in std::mem::take(&mut inode.pending) {
            match write {
                Some(write) => apply(&mut inode.safe, at, &write),
                None => inode.safe.resize(at as usize, 0),
            }
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.world().inodes[self.inode].seen.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut world = self.world();
        let last = world.step()?;
        let inode = &mut world.inodes[self.inode];
        inode.seen.resize(len as usize, 0);
        inode.pending.push((len, None));
        if last { Err(stopped()) } else { Ok(()) }
    }

    fn identity(&self) -> io::Result<FileId> {
        Ok(FileId { device: self.world().device, inode: self.inode as u64 })
    }
}
