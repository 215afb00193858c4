//! Checkpoints for people: what is in them, and to forget it.

use super::Store;
use super::format::MAGIC;
use std::io;
use std::path::{Path, PathBuf};

/// How far one file was read, for people.
#[derive(Clone, Debug)]
pub struct FilePlace {
    /// Where it was seen last.
    pub path: PathBuf,
    /// Everything before it is settled.
    pub offset: u64,
    /// Bytes of the file, where it is still there under that name.
    pub size: Option<u64>,
    /// Its device.
    pub device: u64,
    /// Its inode.
    pub inode: u64,
    /// The number the source gave it.
    pub generation: u64,
    /// It is the newest generation of its device and inode.
    pub current: bool,
}

fn has_checkpoint(dir: &Path) -> bool {
    ["files.0", "files.1"].iter().any(|name| {
        let mut magic = [0; 4];
        let read = std::fs::File::open(dir.join(name)).and_then(|mut f| io::Read::read_exact(&mut f, &mut magic));
        read.is_ok() && &magic == MAGIC
    })
}

/// The places in the checkpoint that lies in `dir`, by path; `None` where there is none. Changes nothing.
pub fn places(dir: &Path) -> io::Result<Option<Vec<FilePlace>>> {
    if !has_checkpoint(dir) {
        return Ok(None);
    }
    let store = Store::open(dir)?;
    let mut places: Vec<FilePlace> = store
        .iter()
        .map(|(generation, known)| {
            let meta = std::fs::metadata(&known.path).ok();
            let same = |m: &std::fs::Metadata| {
                use std::os::unix::fs::MetadataExt;
                known.identity.device == 0 || (m.dev(), m.ino()) == (known.identity.device, known.identity.inode)
            };
            FilePlace {
                path: known.path.to_path_buf(),
                offset: known.at.offset,
                size: meta.filter(same).map(|m| m.len()),
                device: known.identity.device,
                inode: known.identity.inode,
                generation,
                current: known.current,
            }
        })
        .collect();
    places.sort_by(|a, b| (&a.path, a.generation).cmp(&(&b.path, b.generation)));
    Ok(Some(places))
}

/// Forgets the places of these files, of all where none is named; how many there were. No agent may use the folder.
pub fn forget_places(dir: &Path, files: &[PathBuf]) -> io::Result<usize> {
    if !has_checkpoint(dir) {
        return Ok(0);
    }
    let mut store = Store::open(dir)?;
    let wanted = |path: &Path| files.is_empty() || files.iter().any(|f| f == path);
    let gone: Vec<u64> = store.iter().filter(|(_, k)| wanted(&k.path)).map(|(g, _)| g).collect();
    for &generation in &gone {
        store.remove(generation);
    }
    if files.is_empty() {
        // As if there had never been a run: `start_at` holds again.
        for name in ["files.0", "files.1", "recent.0", "recent.1"] {
            match std::fs::remove_file(dir.join(name)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        crate::storage::data_dir::sync_dir(dir)?;
    } else if !gone.is_empty() {
        store.whole = true;
        store.changes += 1;
        if let Some(write) = store.next_write(i64::MIN) {
            write.perform()?;
            store.written(&write);
        }
    }
    Ok(gone.len())
}
